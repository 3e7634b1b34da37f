"""``mail6m signing``: the key that signs our own mail and seals what is relayed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from mail6m.cli.arguments import domain_name
from mail6m.cli.command import CommandLine
from mail6m.foundation import Foundation
from mail6m.signing import make_key, public_record, published, read_key, signing_name


def declare(line: CommandLine) -> None:
    """Add the noun and its verb."""
    one = line.noun("signing", "the key that signs our own mail").verb(
        "key", signing_key, makes=True
    )
    one.add_argument("--domain", type=domain_name, metavar="NAME", help="[--signing-domain]")
    one.add_argument("--selector", metavar="NAME", help="[--signing-selector]")
    one.add_argument("--kind", choices=["rsa", "ed25519"], default="rsa")


async def signing_key(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Make a key unless it is there, and say what to publish and to set."""
    settings = foundation.settings
    domain, selector = signing_name(
        replace(
            settings,
            signing_domain=options.domain or settings.signing_domain,
            signing_selector=options.selector or settings.signing_selector,
        )
    )
    path = settings.data.resolve() / "keys" / f"signing-{selector}.{domain}.pem"
    made = not path.exists()
    record = public_record(make_key(path, options.kind) if made else read_key(path))
    name = f"{selector}._domainkey.{domain}"
    return {
        "made": made,
        "name": name,
        "record": record,
        "zone": published(name, record),
        "settings": f"--signing-key {path} --signing-domain {domain} --signing-selector {selector}",
    }
