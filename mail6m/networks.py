"""Whom an IP address belongs to, and lists of networks."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple


class Place(NamedTuple):
    """Where a client is."""

    address: str
    """Its address, IPv4 as such even on a socket for both."""
    client: str
    """An IPv4 address, or an IPv6 /64: one who has an IPv6 address has 2^64 of them."""
    network: str
    """Its neighbourhood: an IPv4 /24, or an IPv6 /48, which is what a site gets (RFC 6177)."""


@lru_cache(maxsize=8_192)
def place_of(address: str) -> Place:
    """Where the client of that address is; what is no address is a place by itself."""
    ip = _read(address)
    if ip is None:
        return Place(address, address, address)
    if isinstance(ip, IPv4Address):
        return Place(str(ip), str(ip), _around(ip, 24))
    return Place(str(ip), _around(ip, 64), _around(ip, 48))


def _around(ip: IPv4Address | IPv6Address, bits: int) -> str:
    """The network of so many bits that an address is in; half the work of `ip_network`."""
    host = ip.max_prefixlen - bits
    return f"{type(ip)(int(ip) >> host << host)}/{bits}"


def client_of(address: str) -> str:
    """Whom an address belongs to: see `Place.client`."""
    return place_of(address).client


class Networks:
    """A list of addresses and networks, such as our own."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Raises `ValueError` for what is none."""
        self._networks = tuple(ip_network(network) for network in networks)
        self._has = lru_cache(maxsize=8_192)(self._look)

    def __contains__(self, address: str) -> bool:
        """Whether an address is in one of them; what is no address is a local socket, and is."""
        return self._has(address)

    def _look(self, address: str) -> bool:
        ip = _read(address)
        return ip is None or any(ip in network for network in self._networks)


def _read(address: str) -> IPv4Address | IPv6Address | None:
    try:
        ip = ip_address(address)
    except ValueError:  # a Unix socket
        return None
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped  # as a socket for both shows IPv4
    return ip
