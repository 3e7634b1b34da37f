"""Destination -> the hosts to try, in order."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.names import dns
from twisted.names.error import DNSNameError, DomainError

from mail6m.directory import OWN, Directory
from mail6m.model import Host, Reply, TlsPolicy

Answers = tuple[list[dns.RRHeader], list[dns.RRHeader], list[dns.RRHeader]]


@dataclass(frozen=True, slots=True)
class Route:
    """The hosts to try, in order, and how they are to be reached."""

    hosts: tuple[Host, ...]
    tls: TlsPolicy


class NoRoute(Exception):
    """There is nowhere to go; ``reply`` says for how long: 4xx for now, 5xx for good."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Resolver(Protocol):
    """What is asked of twisted.names."""

    def lookupMailExchange(self, name: str) -> Deferred[Answers]:
        """Answers, authority and additional records; fails as `twisted.names` does."""


class Routes:
    """Knows the way: customers' machines from the directory, others by MX (RFC 5321, 5.1)."""

    def __init__(self, directory: Directory, resolver: Resolver, smarthost: Host | None) -> None:
        self._directory = directory
        self._resolver = resolver
        self._smarthost = smarthost

    async def find(self, destination: str) -> Route:
        """The route to a destination. Raises `NoRoute`, or `Unavailable`."""
        if not destination.startswith(OWN):
            domain = await self._directory.find(destination)
            if domain is None:
                raise NoRoute(Reply(450, "4.4.4", f"{destination} is not declared any more"))
            return Route(domain.hosts, domain.tls)
        if self._smarthost is not None:
            return Route((self._smarthost,), TlsPolicy.OPPORTUNISTIC)
        name = destination.removeprefix(OWN)
        if name.startswith("["):
            address = name.strip("[]").removeprefix("ipv6:")
            return Route((Host(address),), TlsPolicy.OPPORTUNISTIC)
        hosts = tuple(Host(host) for host in await self._exchangers(name))
        return Route(hosts, TlsPolicy.OPPORTUNISTIC)

    async def _exchangers(self, domain: str) -> list[str]:
        try:
            answers, _, _ = await self._resolver.lookupMailExchange(domain)
        except DNSNameError as error:
            raise NoRoute(Reply(550, "5.1.2", f"{domain} does not exist")) from error
        except (DomainError, DNSLookupError, OSError, TimeoutError) as error:
            raise NoRoute(Reply(451, "4.4.3", f"The MX of {domain} cannot be looked up")) from error
        found = [cast(Any, answer.payload) for answer in answers if answer.type == dns.MX]
        random.shuffle(found)  # hosts of one preference share the load (RFC 5321, 5.1)
        found.sort(key=lambda record: record.preference)
        names = [record.name.name.decode("ascii").rstrip(".").lower() for record in found]
        if names == [""]:  # a null MX (RFC 7505)
            raise NoRoute(Reply(556, "5.1.10", f"{domain} takes no mail"))
        # Without an MX the domain itself is the host: its address records (RFC 5321, 5.1).
        return [name for name in names if name] or [domain]
