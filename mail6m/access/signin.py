"""Signing in: password, second factor, session; and brakes on guessing."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mail6m.access.factor import recovery_hash, step_of
from mail6m.access.passwords import Passwords
from mail6m.seal import Keyring
from mail6m.storage.accounts import Account, Accounts
from mail6m.storage.audit import Audit, By
from mail6m.storage.sessions import Identity, Sessions

WINDOW = 900.0
"""Seconds in which failures are counted."""
FAILURES = {"here": 6, "account": 60, "address": 40, "codes": 10}
"""How many are let pass: by account and address together, by account, by address; and of codes."""


class WrongPassword(Exception):
    """The address or the password is not right; which of them is not said."""


class WrongCode(Exception):
    """The code is not right, or has been used."""


class TooManyFailures(Exception):
    """Somebody has failed too often; the right password is not looked at, either."""


@dataclass(frozen=True, slots=True)
class Entered:
    """A session's token, for the cookie, and whether the second factor is still to be given."""

    token: str
    complete: bool


def token_hash(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).digest()


def new_token() -> str:
    """256 bits of chance."""
    return secrets.token_urlsafe(32)


class SignIn:
    """The way into the console."""

    def __init__(
        self,
        accounts: Accounts,
        sessions: Sessions,
        audit: Audit,
        passwords: Passwords,
        keyring: Keyring,
        clock: Callable[[], datetime],
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._audit = audit
        self._passwords = passwords
        self._keyring = keyring
        self._clock = clock

    async def enter(self, email: str, password: str, client: str, agent: str) -> Entered:
        """Begin a session. Raises `WrongPassword` or `TooManyFailures`."""
        keys = _keys(email, client)
        await self._hold_back(keys)
        account = await self._accounts.find(email)
        stored = account.password_hash if account is not None else None
        fits = await self._passwords.fits(stored, password)
        if account is None or not fits:
            await self._note_failure(keys)
            if account is not None:
                await self._audit.add(By(account.customer, account.email, client), "sign-in failed")
            raise WrongPassword
        await self._accounts.forgive(keys["here"])
        if account.password_hash and self._passwords.is_old(account.password_hash):
            new_hash = await self._passwords.hash(password)
            await self._accounts.rehash(account.customer, account.account, new_hash)
        token = new_token()
        complete = account.totp_secret is None
        by = By(account.customer, account.email, client)
        await self._sessions.open(
            by, account.account, token_hash(token), complete=complete, agent=agent
        )
        return Entered(token, complete)

    async def second_factor(self, identity: Identity, token: str, code: str, client: str) -> str:
        """Complete a session with a code; its new token. Raises `WrongCode`, `TooManyFailures`."""
        keys = {"codes": _key("codes", f"{identity.customer} {identity.account}")}
        await self._hold_back(keys)
        account = await self._accounts.get(identity.customer, identity.account)
        by = By(account.customer, account.email, client)
        if not await self.takes(account, code, by):
            await self._note_failure(keys)
            await self._audit.add(by, "wrong code")
            raise WrongCode
        await self._accounts.forgive(keys["codes"])
        new = new_token()
        if not await self._sessions.complete(by, token_hash(token), token_hash(new)):
            raise WrongCode
        return new

    async def takes(self, account: Account, code: str, by: By) -> bool:
        """Whether a code, of the phone or for recovery, is right; it is used up then."""
        if account.totp_secret is None:
            return False
        secret = self._keyring.unwrap_for(
            totp_owner(account.customer, account.account), account.totp_secret
        )
        step = step_of(secret.decode(), code, self._clock())
        if step is not None:
            return await self._accounts.use_step(account.customer, account.account, step)
        return await self._accounts.use_recovery(by, account.account, recovery_hash(code))

    async def confirm(self, identity: Identity, password: str, client: str) -> bool:
        """Whether somebody who is in knows the password; braked as at the door."""
        keys = _keys(identity.email, client)
        await self._hold_back(keys)
        account = await self._accounts.get(identity.customer, identity.account)
        if await self._passwords.fits(account.password_hash, password):
            return True
        await self._note_failure(keys)
        return False

    async def _hold_back(self, keys: dict[str, bytes]) -> None:
        for kind, key in keys.items():
            if await self._accounts.failures(key, WINDOW) >= FAILURES[kind]:
                raise TooManyFailures

    async def _note_failure(self, keys: dict[str, bytes]) -> None:
        for key in keys.values():
            await self._accounts.failed(key, WINDOW)


def totp_owner(customer: int, account: int) -> str:
    """Whose second factor a wrapped secret is."""
    return f"second factor of account {customer}-{account}"


def _keys(email: str, client: str) -> dict[str, bytes]:
    account, address = email.strip().lower(), _network(client)
    return {
        "here": _key("here", f"{account} {address}"),
        "account": _key("account", account),
        "address": _key("address", address),
    }


def _key(kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{kind} {name}".encode("utf-8", "replace")).digest()


def _network(client: str) -> str:
    """One who has an IPv6 address has 2^64 of them."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
