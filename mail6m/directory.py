"""Who is a customer here: the owner of an address, and the owner's key.

What is found is kept until the database says that something has changed (NOTIFY), or a minute has
passed; what is not found is asked for again each time, so that a new domain works at once.
"""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from mail6m.dialogue.address import domain_of
from mail6m.model import HOUSE, Domain
from mail6m.seal import Key, Keyring
from mail6m.storage.customers import Customers
from mail6m.storage.domains import Domains

KEPT = 60.0
OWN = "mx:"
"""Begins the name of a destination that is found by MX look-up, or through the smarthost."""


class Owner(NamedTuple):
    """Whose mail an address's is, and where it goes on to."""

    customer: int
    destination: str
    """Empty: nowhere, it is only archived."""
    address: str
    """What the recipient is called there."""


class Directory:
    """Domains and keys."""

    def __init__(
        self,
        clock: IReactorTime,
        domains: Domains,
        customers: Customers,
        keyring: Keyring,
        hostname: str,
        postmaster: str | None,
    ) -> None:
        self._clock = clock
        self._domains = domains
        self._customers = customers
        self._keyring = keyring
        self._hostname = hostname.lower()
        self._postmaster = postmaster
        self._known: dict[str, tuple[Domain, float]] = {}
        self._keys: dict[int, Key] = {}
        self._changes = 0

    def forget(self) -> None:
        """Something has changed in the database."""
        self._changes += 1
        self._known.clear()
        self._keys.clear()

    def known(self, domain: str) -> Domain | None:
        """The domain, if it is in memory."""
        entry = self._known.get(domain)
        if entry is None or entry[1] < self._clock.seconds():
            return None
        return entry[0]

    async def find(self, domain: str) -> Domain | None:
        """The domain of that canonical name, or None. Raises `Unavailable`."""
        if (known := self.known(domain)) is not None:
            return known
        changes = self._changes
        found = await self._domains.find(domain)
        if found is not None and changes == self._changes:  # else it may be as it was before
            self._known[domain] = (found, self._clock.seconds() + KEPT)
        return found

    async def owner(self, address: str) -> Owner | None:
        """Whose an address is; None if nobody's here. Raises `Unavailable`."""
        domain = domain_of(address)
        found = await self.find(domain) if domain else None
        if found is not None and not found.closed:
            return Owner(found.customer, found.name, address)
        return await self._house_owner(address) if self._is_ours(address, domain) else None

    def _is_ours(self, address: str, domain: str) -> bool:
        """RFC 5321, 4.5.1: ``postmaster``, without a domain or at our own."""
        local = address.rpartition("@")[0] or address
        ours = domain in ("", self._hostname) or domain.startswith("[")
        return ours and local.lower() == "postmaster"

    async def _house_owner(self, address: str) -> Owner:
        if self._postmaster is None:
            return Owner(HOUSE, "", address)
        domain = domain_of(self._postmaster)
        here = await self.find(domain)
        return Owner(HOUSE, domain if here is not None else OWN + domain, self._postmaster)

    def known_owner(self, address: str) -> Owner | None:
        """Whose an address is, as far as memory tells."""
        found = self.known(domain_of(address))
        if found is None or found.closed:
            return None
        return Owner(found.customer, found.name, address)

    def known_key(self, customer: int) -> Key | None:
        """The customer's key, if it is in memory."""
        return self._keys.get(customer)

    async def key(self, customer: int) -> Key:
        """The customer's key. Raises `Unavailable`, `Refused` or `SealError`."""
        key = self._keys.get(customer)
        if key is None:
            wrapped = await self._customers.wrapped_key(customer)
            key = self._keys[customer] = Key(self._keyring.unwrap(customer, wrapped))
        return key
