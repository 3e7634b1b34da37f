"""Links that let somebody choose a password: for who has forgotten it, and for who is invited."""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mail6m.access.brake import Brake, Counted, TooManyFailures
from mail6m.access.passwords import Passwords
from mail6m.access.signin import address_typed, new_token, token_hash
from mail6m.letters import Notice, Notices
from mail6m.model import HOUSE, Act
from mail6m.networks import client_of
from mail6m.notices import catalogue
from mail6m.storage.accounts import Account, Accounts
from mail6m.storage.audit import By

PATH = "/mot-de-passe?jeton="
"""Where a link leads to, within the console."""


class Kind(NamedTuple):
    """A letter with a link."""

    name: str
    """Of its template."""
    seconds: float
    """How long the link is good."""
    act: Act
    """What the audit says of it."""


FORGOTTEN = Kind(catalogue.PASSWORD.name, 3_600.0, Act.PASSWORD_LINK_SENT)
INVITATION = Kind(catalogue.INVITATION.name, 7 * 86_400.0, Act.INVITATION_SENT)


class NoAddress(Exception):
    """Where the console is reached from outside is not known (``--console-url``)."""


class PasswordLinks:
    """Sends links, and honours them: each is good once, and not for long.

    They begin with what `Notices` knows of the console's address: what a request says of it may be
    a stranger's invention.
    """

    log = Logger()

    def __init__(
        self,
        accounts: Accounts,
        passwords: Passwords,
        notices: Notices,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._notices = notices
        self._brake = Brake(accounts)

    async def forgotten(self, email: str, client: str, language: str) -> None:
        """Send a link, if the address has an account.

        Everything that depends on the address is done after this has returned: nobody can tell by
        the answer, nor by the time it takes. Raises `TooManyFailures` for a client that asks for
        too many addresses.
        """
        await self._brake.attempt(Counted("asking", client_of(client)))
        ensureDeferred(self._remind(address_typed(email), client, language)).addErrback(self._lost)

    async def invite(self, by: By, account: int, language: str) -> None:
        """Send an account of the same customer its first link.

        Raises `TooManyFailures`, `NoAddress`, or `mail6m.intake.Rejected` if it cannot be queued.
        """
        invited = await self._accounts.get(by.customer, account)
        await self._brake.attempt(
            Counted("inviting", str(by.customer)), Counted("letters", invited.email.lower())
        )
        await self._send(INVITATION, by, invited, language)

    async def account_of(self, token: str) -> Account | None:
        """Whose password a link lets choose; None if it is good no more."""
        return await self._accounts.by_token(token_hash(token))

    async def choose(self, token: str, password: str, client: str) -> bool:
        """Choose a password by a link; False if it is good no more. All sessions end."""
        account = await self.account_of(token)
        if account is None:
            return False
        hashed = await self._passwords.hash(password)
        by = By(account.customer, account.email, client)
        return await self._accounts.use_token(by, token_hash(token), hashed)

    async def _remind(self, email: str, client: str, language: str) -> None:
        try:
            await self._brake.attempt(Counted("letters", email.lower()))
        except TooManyFailures:
            return
        account = await self._accounts.find(email)
        if account is not None:
            by = By(account.customer, account.email, client)
            await self._send(FORGOTTEN, by, account, language)

    async def _send(self, kind: Kind, by: By, account: Account, language: str) -> None:
        if not self._notices.base:
            raise NoAddress
        company, preferred = await self._accounts.addressed(account.customer)
        values = {
            "company": " ".join(company.split()),  # it can make no paragraph of its own
            "email": account.email,
            "by": by.account,
            "house": account.customer == HOUSE,
        }
        token, to = new_token(), [account.email]
        notice = Notice(account.customer, to, preferred or language, PATH + token, values)
        await self._accounts.add_token(
            by, account.account, token_hash(token), kind.seconds, kind.act
        )
        await self._notices.post(kind.name, notice)

    def _lost(self, failure: Failure) -> None:
        if failure.check(NoAddress):
            self.log.error("no letter with a link can be sent: --console-url must be set")
        else:
            self.log.failure("a letter with a link could not be sent", failure)
