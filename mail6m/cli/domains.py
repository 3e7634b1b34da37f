"""``mail6m domain``: domains, and where their mail goes on to."""

from __future__ import annotations

import argparse
from typing import Any

from mail6m.cli.arguments import domain_name, host, number
from mail6m.cli.command import CommandLine, operator
from mail6m.dialogue.address import canonical_domain
from mail6m.model import Domain, TlsPolicy
from mail6m.storage.domains import read_host
from mail6m.storage.errors import Refused
from mail6m.tap import Foundation


def declare(line: CommandLine) -> None:
    """Add the noun and its verbs."""
    noun = line.noun("domain", "domains, and where their mail goes on to")
    one = noun.verb("add", domain_add)
    one.add_argument("name", metavar="NAME", type=domain_name)
    one.add_argument("--customer", type=number, required=True, metavar="N")
    one.add_argument("--to", required=True, action="append", type=host, metavar="HOST[:PORT]",
                     help="the receiving machine; again for a second one")  # fmt: skip
    one.add_argument(
        "--tls", choices=[policy.value for policy in TlsPolicy], default="opportunistic"
    )
    one.add_argument("--verify-recipients", action=argparse.BooleanOptionalAction, default=True)
    noun.verb("list", domain_list).add_argument("--customer", type=number, metavar="N")
    noun.verb("remove", domain_remove).add_argument("name", metavar="NAME", type=domain_name)


async def domain_add(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A domain whose mail is taken in, archived and relayed."""
    name = canonical_domain(options.name)
    hosts = tuple(map(read_host, options.to))
    tls = TlsPolicy(options.tls)
    domain = Domain(name, options.customer, hosts, tls, options.verify_recipients)
    await foundation.domains.add(operator(options.customer), domain)
    return {"domain": name}


async def domain_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """Domains, and where their mail goes on to."""
    return [_domain(domain) for domain in await foundation.domains.all(options.customer)]


async def domain_remove(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Mail for the domain is refused from now on."""
    name = canonical_domain(options.name)
    domain = await foundation.domains.find(name)
    if domain is None:
        raise Refused(f"{name} is not declared")
    await foundation.domains.remove(operator(domain.customer), name)
    return {"domain": name, "customer": domain.customer}


def _domain(domain: Domain) -> dict[str, Any]:
    return {
        "domain": domain.name,
        "customer": domain.customer,
        "to": [str(host) for host in domain.hosts],
        "tls": domain.tls.value,
        "verify_recipients": domain.verify_recipients,
    }
