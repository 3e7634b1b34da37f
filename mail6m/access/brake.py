"""The brake on guessing, and on letters to people who did not ask for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from mail6m.networks import client_of
from mail6m.storage.accounts import Accounts

WINDOW = 900.0
"""Seconds in which attempts are counted."""
LIMITS = {
    "here": 6,  # passwords, by account and address together
    "address": 40,  # passwords, by address
    "account": 60,  # passwords, by account
    "codes": 10,  # codes of a second factor, by account
    "letters": 3,  # letters that were asked for, by the address that they go to
    "asking": 20,  # questions for a letter, by the address that asks
    "inviting": 30,  # invitations, by customer
    "signing up": 1,  # letters about signing up, by the address that they go to
    "tags": 3,  # the same, to all addresses that are one but for what follows a +
    "signups": 10,  # who signs up, by the address that asks
    "neighbours": 40,  # the same, by the network that the address is in
    "confirming": 10,  # passwords with a letter's link, by the link
}
"""How many are let pass."""
_WINDOWS = {
    "signing up": 3_600.0,
    "tags": 3_600.0,
    "signups": 86_400.0,
    "neighbours": 86_400.0,
}
"""Seconds, where it is another window."""
_FORGIVEN = {"here", "codes"}
"""Counts that a right answer ends; from the others it takes away its own attempt only."""


class TooManyFailures(Exception):
    """Somebody has tried too often; the right answer is not looked at, either."""


class Counted(NamedTuple):
    """What attempts are counted under."""

    kind: str
    name: str

    @property
    def key(self) -> bytes:
        """What is stored: whether there is such an account is not to be read there."""
        return hashlib.sha256(f"{self.kind} {self.name}".encode("utf-8", "replace")).digest()


def guesses(email: str, client: str) -> tuple[Counted, ...]:
    """What a password for an account, given from an address, is counted under.

    The narrowest comes first: what it stops does not count against the account, so that one
    address alone cannot lock anybody out.
    """
    account, address = email.lower(), client_of(client)
    return (
        Counted("here", f"{account} {address}"),
        Counted("address", address),
        Counted("account", account),
    )


class Brake:
    """Counts attempts, and stops those who try too often."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def attempt(self, *counted: Counted) -> None:
        """Count an attempt before it is made. Raises `TooManyFailures`."""
        for one in counted:
            window = _WINDOWS.get(one.kind, WINDOW)
            if await self._accounts.attempt(one.key, window) > LIMITS[one.kind]:
                raise TooManyFailures

    async def succeeded(self, counted: Iterable[Counted]) -> None:
        """The attempt was a good one."""
        for one in counted:
            if one.kind in _FORGIVEN:
                await self._accounts.forgive(one.key)
            else:
                await self._accounts.take_back(one.key)
