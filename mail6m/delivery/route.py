"""Destination -> the hosts to try, in order."""

from __future__ import annotations

import random
from dataclasses import dataclass

from dns.rdtypes.ANY.MX import MX

from mail6m.delivery.sts import Policy, StsPolicies
from mail6m.directory import OWN, Directory
from mail6m.model import Host, Reply, TlsPolicy
from mail6m.resolver import DnsFailure, Resolver


@dataclass(frozen=True, slots=True)
class Route:
    """The hosts to try, in order, and how they are to be reached."""

    hosts: tuple[Host, ...]
    tls: TlsPolicy
    domain: str = ""
    """The domain whose MX they are; empty for hosts that somebody has named."""
    authentic: bool = True
    """Nobody on the way can have put other hosts in their place."""
    sts: Policy | None = None
    """What the domain says of TLS on its MX (MTA-STS)."""


class NoRoute(Exception):
    """There is nowhere to go; ``reply`` says for how long: 4xx for now, 5xx for good."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Routes:
    """Knows the way: customers' machines from the directory, others by MX (RFC 5321, 5.1)."""

    def __init__(
        self,
        directory: Directory,
        resolver: Resolver,
        policies: StsPolicies,
        smarthost: Host | None,
    ) -> None:
        self._directory = directory
        self._resolver = resolver
        self._policies = policies
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
        hosts, authentic = await self._exchangers(name)
        policy = await self._policies.of(name)
        return Route(hosts, TlsPolicy.OPPORTUNISTIC, name, authentic, policy)

    async def _exchangers(self, domain: str) -> tuple[tuple[Host, ...], bool]:
        """A domain's hosts, and whether the DNS proves that they are."""
        try:
            answer = await self._resolver.look_up(domain, "MX")
        except DnsFailure as error:
            raise NoRoute(Reply(451, "4.4.3", f"The MX of {domain} cannot be looked up")) from error
        if not answer.exists:
            raise NoRoute(Reply(550, "5.1.2", f"{domain} does not exist"))
        found = [record for record in answer.records if isinstance(record, MX)]
        random.shuffle(found)  # hosts of one preference share the load (RFC 5321, 5.1)
        found.sort(key=lambda record: record.preference)
        names = [record.exchange.to_text(True).lower() for record in found]
        if names == ["."]:  # a null MX (RFC 7505)
            raise NoRoute(Reply(556, "5.1.10", f"{domain} takes no mail"))
        # Without an MX the domain itself is the host: its address records (RFC 5321, 5.1).
        hosts = [name for name in names if name != "."] or [domain]
        return tuple(map(Host, hosts)), answer.authentic
