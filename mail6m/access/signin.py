"""Signing in: password, second factor, session."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from mail6m.access.brake import Brake, Counted, guesses
from mail6m.access.factor import recovery_hash, step_of
from mail6m.access.passwords import Passwords
from mail6m.dialogue.address import AddressError, canonical
from mail6m.model import HOUSE, Act
from mail6m.seal import Keyring
from mail6m.storage.accounts import Account, Accounts
from mail6m.storage.audit import Audit, By
from mail6m.storage.sessions import Identity, Sessions


class WrongPassword(Exception):
    """The address or the password is not right; which of them is not said."""


class WrongCode(Exception):
    """The code is not right, or has been used."""


@dataclass(frozen=True, slots=True)
class Entered:
    """A session's token, for the cookie, and whether the second factor is still to be given."""

    token: str
    complete: bool


def token_hash(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def new_token() -> str:
    """256 bits of chance."""
    return secrets.token_urlsafe(32)


def address_typed(email: str) -> str:
    """An address as accounts have it, however somebody types it."""
    try:
        return canonical(email.strip())
    except AddressError:  # nobody's, then
        return email.strip()


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
        self._brake = Brake(accounts)

    async def enter(self, email: str, password: str, client: str, agent: str) -> Entered:
        """Begin a session. Raises `WrongPassword` or `mail6m.access.brake.TooManyFailures`."""
        email = address_typed(email)
        counted = guesses(email, client)
        await self._brake.attempt(*counted)
        account = await self._accounts.find(email)
        stored = account.password_hash if account is not None else None
        fits = await self._passwords.fits(stored, password)
        if account is None or not fits:
            # Noted either way, so that it takes as long; an address that is nobody's is not kept.
            customer, name = (HOUSE, "?") if account is None else (account.customer, account.email)
            await self._audit.add(By(customer, name, client), Act.SIGN_IN_FAILED)
            raise WrongPassword
        await self._brake.succeeded(counted)
        await self._accounts.sweep()
        await self._sessions.sweep()
        if account.password_hash and self._passwords.is_old(account.password_hash):
            new_hash = await self._passwords.hash(password)
            await self._accounts.rehash(account.customer, account.account, new_hash)
        return await self.begin(account, client, agent)

    async def begin(self, account: Account, client: str, agent: str) -> Entered:
        """Begin a session of somebody who has just proved to have the password."""
        token = new_token()
        complete = account.totp_secret is None
        by = By(account.customer, account.email, client)
        await self._sessions.open(
            by, account.account, token_hash(token), complete=complete, agent=agent
        )
        return Entered(token, complete)

    async def second_factor(self, identity: Identity, token: str, code: str, client: str) -> str:
        """Complete a session with a code; its new token. Raises as `prove` does."""
        await self.prove(identity, code, client)
        new = new_token()
        by = By(identity.customer, identity.email, client)
        if not await self._sessions.complete(by, token_hash(token), token_hash(new)):
            raise WrongCode
        return new

    async def prove(self, identity: Identity, code: str, client: str) -> None:
        """Take a code, of the phone or for recovery; it is used up then.

        Raises `WrongCode` or `mail6m.access.brake.TooManyFailures`.
        """
        counted = codes_of(identity)
        await self._brake.attempt(*counted)
        account = await self._accounts.get(identity.customer, identity.account)
        by = By(account.customer, account.email, client)
        if not await self._takes(account, code, by):
            await self._audit.add(by, Act.WRONG_CODE)
            raise WrongCode
        await self._brake.succeeded(counted)

    async def confirm(self, identity: Identity, password: str, client: str) -> bool:
        """Whether somebody who is in knows the password; braked as at the door.

        Raises `mail6m.access.brake.TooManyFailures`.
        """
        counted = guesses(identity.email, client)
        await self._brake.attempt(*counted)
        account = await self._accounts.get(identity.customer, identity.account)
        if await self._passwords.fits(account.password_hash, password):
            await self._brake.succeeded(counted)
            return True
        await self._audit.add(By(account.customer, account.email, client), Act.WRONG_PASSWORD)
        return False

    async def _takes(self, account: Account, code: str, by: By) -> bool:
        if account.totp_secret is None:
            return False
        owner = totp_owner(account.customer, account.account)
        secret = self._keyring.unwrap_for(owner, account.totp_secret).decode()
        step = step_of(secret, code, self._clock())
        if step is not None:
            return await self._accounts.use_step(account.customer, account.account, step)
        [hashed] = recovery_hashes(self._keyring, account.customer, account.account, [code])
        return await self._accounts.use_recovery(by, account.account, hashed)


def codes_of(identity: Identity) -> tuple[Counted, ...]:
    """What a code for an account is counted under."""
    return (Counted("codes", f"{identity.customer} {identity.account}"),)


def totp_owner(customer: int, account: int) -> str:
    """Whose second factor a wrapped secret is."""
    return f"second factor of account {customer}-{account}"


def recovery_hashes(
    keyring: Keyring, customer: int, account: int, codes: Iterable[str]
) -> list[bytes]:
    """What is stored of an account's recovery codes."""
    key = keyring.secret(f"recovery codes of account {customer}-{account}")
    return [recovery_hash(key, code) for code in codes]
