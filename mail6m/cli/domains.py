"""``mail6m domain``: domains, and where their mail goes on to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mail6m.cli.arguments import domain_name, host, number
from mail6m.cli.command import CommandLine, operator
from mail6m.cli.output import time_or_none
from mail6m.dialogue.address import canonical_domain
from mail6m.foundation import Foundation
from mail6m.guard.listed import MOST_OCTETS, NoList, read_list
from mail6m.model import Domain, TlsPolicy
from mail6m.storage.domains import read_host
from mail6m.storage.errors import Refused
from mail6m.storage.recipients import Recipients


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
    one = noun.verb("recipients", domain_recipients)
    one.add_argument("name", metavar="NAME", type=domain_name)
    change = one.add_mutually_exclusive_group()
    change.add_argument("--import", dest="list", metavar="FILE.csv", type=Path,
                        help="take mail in for the addresses in it only")  # fmt: skip
    change.add_argument("--clear", action="store_true", help="the list is removed")
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


async def domain_recipients(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Whom the domain takes mail for: by a list, or as its machine says."""
    domain = await _declared(foundation, options.name)
    recipients, by = Recipients(foundation.pool), operator(domain.customer)
    if options.list is not None:
        await recipients.replace(by, domain.name, _local_parts(options.list, domain.name))
    elif options.clear and not await recipients.clear(by, domain.name):
        raise Refused(f"{domain.name} has no list of recipients")
    domain = await _declared(foundation, domain.name)
    standing = await recipients.standing(domain)
    return {
        "domain": domain.name,
        "customer": domain.customer,
        "verify_recipients": domain.verify_recipients,
        "listed": domain.listed,
        "known": standing.known,
        "last_probe": time_or_none(standing.at),
        "last_result": standing.result,
        "last_words": standing.words,
    }


def _local_parts(file: Path, domain: str) -> list[str]:
    try:
        with file.open("rb") as opened:
            return read_list(opened.read(MOST_OCTETS + 1), domain)
    except OSError as error:
        raise Refused(f"--import {file}: {error.strerror}") from error
    except NoList as error:
        raise Refused(f"--import {file}: {error}") from error


async def domain_remove(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Mail for the domain is refused from now on."""
    domain = await _declared(foundation, options.name)
    await foundation.domains.remove(operator(domain.customer), domain.name)
    return {"domain": domain.name, "customer": domain.customer}


async def _declared(foundation: Foundation, typed: str) -> Domain:
    name = canonical_domain(typed)
    domain = await foundation.domains.find(name)
    if domain is None:
        raise Refused(f"{name} is not declared")
    return domain


def _domain(domain: Domain) -> dict[str, Any]:
    return {
        "domain": domain.name,
        "customer": domain.customer,
        "to": [str(host) for host in domain.hosts],
        "tls": domain.tls.value,
        "verify_recipients": domain.verify_recipients,
    }
