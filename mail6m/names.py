"""Clients' names: found from the address, and believed when the name leads back (RFC 8601, 2.7.3).

A name is looked up when a client comes, and used when it is there by the time a message has
ended: nobody waits for the DNS. Loopback addresses are not looked up.
"""

from __future__ import annotations

import ipaddress
import re
from collections import OrderedDict

from dns.rdtypes.ANY.PTR import PTR
from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorTime

from mail6m.resolver import Resolver

KEPT = 3_600.0
MOST = 10_000
"""Addresses whose names are remembered."""
AT_ONCE = 100
"""Look-ups under way; an address that comes while there are so many goes without a name."""

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")


class ClientNames:
    """Remembers what has been found, and looks up the rest in the background."""

    def __init__(self, clock: IReactorTime, resolver: Resolver) -> None:
        self._clock = clock
        self._resolver = resolver
        self._names: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._under_way: set[str] = set()

    def known(self, address: str) -> str:
        """The client's name, or nothing."""
        return self._names.get(address, ("", 0.0))[0]

    def look(self, address: str) -> None:
        """Find the name of this address, unless it is known or not worth it."""
        found = self._names.get(address)
        if found is not None and found[1] > self._clock.seconds():
            return
        if address in self._under_way or len(self._under_way) >= AT_ONCE:
            return
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:  # a Unix socket, or a zone
            return
        if ip.is_loopback:
            self._remember("", address)
            return
        self._under_way.add(address)
        done = ensureDeferred(self._find(ip))
        done.addErrback(lambda failure: "").addCallback(self._remember, address)

    async def _find(self, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
        pointers = (await self._resolver.look_up(ip.reverse_pointer, "PTR")).records
        names = [one.target.to_text(True) for one in pointers if isinstance(one, PTR)]
        for name in names[:3]:
            if _NAME.fullmatch(name) and ip in await self._addresses(name, ip.version):
                return name.lower()
        return ""

    async def _addresses(self, name: str, version: int) -> set[object]:
        answer = await self._resolver.look_up(name, "A" if version == 4 else "AAAA")
        return {ipaddress.ip_address(record.to_text()) for record in answer.records}

    def _remember(self, name: str, address: str) -> None:
        self._under_way.discard(address)
        self._names[address] = (name, self._clock.seconds() + KEPT)
        self._names.move_to_end(address)
        while len(self._names) > MOST:
            self._names.popitem(last=False)
