"""``mail6m tls``: certificates for STARTTLS."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mail6m.certificates import self_signed
from mail6m.cli.arguments import server_name
from mail6m.cli.command import CommandLine, Wrong
from mail6m.foundation import Foundation


def declare(line: CommandLine) -> None:
    """Add the noun and its verb."""
    noun = line.noun("tls", "certificates for STARTTLS")
    one = noun.verb("self-signed", tls_self_signed, makes=True, alone=True)
    one.add_argument("--name", action="append", type=server_name, metavar="NAME",
                     help="instead of --hostname; may be given several times")  # fmt: skip


async def tls_self_signed(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A key, and a certificate for it that nobody vouches for: enough to begin with."""
    foundation.make_data()
    keys = foundation.settings.data.resolve() / "keys"
    chain, key = keys / "tls.crt", keys / "tls.key"
    for path in (chain, key):
        if path.exists():
            raise Wrong(f"{path} is there already: remove it first, if nobody needs it")
    names = list(dict.fromkeys(options.name or [foundation.settings.hostname.lower()]))
    pem, private = self_signed(names, datetime.now(UTC))
    _write(key, private, 0o600)
    _write(chain, pem, 0o644)
    return {"names": names, "settings": f"--tls-cert {chain} --tls-key {key}"}


def _write(path: Path, octets: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(octets)
