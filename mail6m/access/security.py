"""What the owner of an account does for its safety: password, second factor, recovery codes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from mail6m.access.factor import new_recovery_codes, new_secret, step_of
from mail6m.access.passwords import Passwords
from mail6m.access.signin import (
    SignIn,
    WrongCode,
    WrongPassword,
    new_token,
    recovery_hashes,
    token_hash,
    totp_owner,
)
from mail6m.model import HOUSE, Act
from mail6m.seal import Keyring
from mail6m.storage.accounts import Accounts
from mail6m.storage.audit import By
from mail6m.storage.sessions import Identity, Sessions


class NotNow(Exception):
    """It has been turned on or off meanwhile, or was never begun."""


class Security:
    """An account in its owner's hands.

    Whatever asks for the password raises `mail6m.access.signin.WrongPassword` or
    `mail6m.access.brake.TooManyFailures`, and what asks for a code `WrongCode`, too.
    """

    def __init__(
        self,
        signin: SignIn,
        accounts: Accounts,
        sessions: Sessions,
        passwords: Passwords,
        keyring: Keyring,
        clock: Callable[[], datetime],
    ) -> None:
        self._signin = signin
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._keyring = keyring
        self._clock = clock

    async def change_password(self, identity: Identity, by: By, current: str, new: str) -> str:
        """Another password; all other sessions end, and this one gets a new token."""
        await self.confirm(identity, by, current)
        hashed = await self._passwords.hash(new)
        await self._accounts.set_password(
            by, identity.account, hashed, Act.PASSWORD_CHANGED, session=identity.session
        )
        token = new_token()
        await self._sessions.rotate(identity.session, token_hash(token))
        return token

    async def offer(self, identity: Identity) -> None:
        """A secret for a second factor, which this session keeps until its first code is given."""
        sealed = self._keyring.wrap(_owner(identity), new_secret().encode())
        await self._sessions.offer_totp(identity.session, sealed)

    async def offered(self, identity: Identity) -> str | None:
        """The secret that waits for its first code."""
        sealed = await self._sessions.offered_totp(identity.session)
        if sealed is None or identity.two_factors:
            return None
        return self._keyring.unwrap_for(_owner(identity), sealed).decode()

    async def turn_on(self, identity: Identity, by: By, password: str, code: str) -> list[str]:
        """Ask for the second factor from now on; its recovery codes. Raises `NotNow`, too.

        All other sessions end: they have been opened without it.
        """
        secret = await self.offered(identity)
        if secret is None:
            raise NotNow
        await self.confirm(identity, by, password)
        step = step_of(secret, code, self._clock())
        if step is None:
            raise WrongCode
        codes, hashes = self._new_codes(identity)
        sealed = self._keyring.wrap(_owner(identity), secret.encode())
        if not await self._accounts.turn_totp_on(
            by, identity.account, sealed, step, hashes, session=identity.session
        ):
            raise NotNow
        await self._sessions.offer_totp(identity.session, None)
        return codes

    async def renew_codes(self, identity: Identity, by: By, password: str) -> list[str]:
        """New recovery codes; the old ones are good no more. Raises `NotNow`, too."""
        await self.confirm(identity, by, password)
        codes, hashes = self._new_codes(identity)
        if not await self._accounts.set_recovery(by, identity.account, hashes):
            raise NotNow
        return codes

    async def turn_off(self, identity: Identity, by: By, password: str, code: str) -> None:
        """Ask for no second factor any more. Raises `NotNow`, too: operators cannot be without."""
        if identity.customer == HOUSE:
            raise NotNow
        await self.confirm(identity, by, password)
        await self._signin.prove(identity, code, by.client)
        await self._accounts.turn_totp_off(by, identity.account)

    async def confirm(self, identity: Identity, by: By, password: str) -> None:
        """Make sure that it is the account's owner, by the password."""
        if not await self._signin.confirm(identity, password, by.client):
            raise WrongPassword

    def _new_codes(self, identity: Identity) -> tuple[list[str], list[bytes]]:
        codes = new_recovery_codes()
        hashes = recovery_hashes(self._keyring, identity.customer, identity.account, codes)
        return codes, hashes


def _owner(identity: Identity) -> str:
    return totp_owner(identity.customer, identity.account)
