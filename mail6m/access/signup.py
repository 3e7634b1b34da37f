"""Signing up: asked for in a form, confirmed by a letter's link, decided by an operator if need be.

Who has the letter must know the password as well, so that nobody makes an account for somebody
else's address and waits there for its owner to come. Nothing that was typed stands in the letter to
an address that has not confirmed it: we would carry it to whomever the asker likes.

An address gets few letters, whoever asks for them, and so anybody can use up those of somebody
else. That keeps nobody out: what was asked for without a letter is kept like all else, and whoever
has any letter of the same address confirms that which has the password typed then.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mail6m.access.brake import Brake, Counted, TooManyFailures
from mail6m.access.passwords import Passwords
from mail6m.access.signin import Entered, SignIn, WrongPassword, new_token, token_hash
from mail6m.dialogue.address import split_tag
from mail6m.letters import Letter, Letters, Writer
from mail6m.model import HOUSE, Act
from mail6m.networks import place_of
from mail6m.seal import Keyring
from mail6m.storage.accounts import Accounts
from mail6m.storage.audit import By
from mail6m.storage.customers import Customers
from mail6m.storage.errors import Refused
from mail6m.storage.signups import Signup, Signups, Wanted

DAYS = 3
"""How long a letter's link is good."""
CONFIRM = "/inscription/confirmer?jeton="
START = "/demarrage"
WAITING = "/exploitation/inscriptions"
"""Where letters lead to, within the console."""
_AT_ONCE = 20
"""Sign-ups under way: each waits for its password to be hashed, two at a time."""


class Mode(enum.StrEnum):
    """Who may sign up (``--signup``)."""

    OPEN = "open"
    APPROVAL = "approval"
    """An operator decides."""
    CLOSED = "closed"


class Closed(Exception):
    """Nobody signs up here."""


class NotGood(Exception):
    """The link is none, or has been used, or has run out."""


class Taken(Exception):
    """The address has got an account meanwhile."""


class SignUp:
    """The way from a stranger to a customer."""

    log = Logger()

    def __init__(
        self,
        mode: Mode,
        signups: Signups,
        customers: Customers,
        accounts: Accounts,
        signin: SignIn,
        passwords: Passwords,
        keyring: Keyring,
        letters: Letters,
        writer: Writer,
        console_url: Callable[[], str],
    ) -> None:
        self._mode = mode
        self._signups = signups
        self._customers = customers
        self._accounts = accounts
        self._signin = signin
        self._passwords = passwords
        self._keyring = keyring
        self._letters = letters
        self._writer = writer
        self._console_url = console_url
        self._brake = Brake(accounts)
        self._under_way = 0

    @property
    def mode(self) -> Mode:
        """Closed, too, where no link can be written since nobody has said where the console is."""
        return self._mode if self._console_url() else Mode.CLOSED

    async def ask(self, wanted: Wanted, password: str, client: str) -> None:
        """Send the letter that confirms it.

        Everything that depends on the address is done after this has returned: nobody can tell by
        the answer, nor by the time it takes, whether the address has an account. Raises `Closed`,
        or `TooManyFailures` for a client that signs up too often.
        """
        if self.mode is Mode.CLOSED:
            raise Closed
        if self._under_way >= _AT_ONCE:
            raise TooManyFailures
        where = place_of(client)
        await self._brake.attempt(
            Counted("signups", where.client), Counted("neighbours", where.network)
        )
        self._under_way += 1
        asking = ensureDeferred(self._ask(wanted, password, client))
        asking.addErrback(self._lost).addBoth(self._done)

    async def of(self, token: str) -> Signup:
        """What a letter's link is about. Raises `NotGood`."""
        found = await self._signups.by_token(token_hash(token))
        if found is None:
            raise NotGood
        return found

    async def confirm(self, token: str, password: str, client: str, agent: str) -> Entered | None:
        """Make the customer, and begin a session; None if an operator has to decide first.

        Raises `Closed`, `NotGood`, `WrongPassword`, `TooManyFailures`, or `Taken`.
        """
        if self.mode is Mode.CLOSED:
            raise Closed
        signup = await self.of(token)
        counted = Counted("confirming", token)
        await self._brake.attempt(counted)
        signup = await self._meant(signup, password)
        await self._brake.succeeded((counted,))
        if signup.confirmed_at is not None:
            return None
        if await self._accounts.find(signup.wanted.email) is not None:
            await self._signups.forget(signup.signup)
            raise Taken
        if self.mode is Mode.APPROVAL:
            if await self._signups.confirm(signup.signup):
                await self._tell_operators(signup)
            return None
        return await self._enter(signup, client, agent)

    # What operators decide

    async def waiting(self) -> list[Signup]:
        """Those that wait for an operator, the oldest first."""
        return await self._signups.waiting()

    async def accept(self, by: By, signup: int) -> Signup | None:
        """Make it a customer, and write to it; None if somebody has decided. Raises `Taken`."""
        waiting = await self._signups.get(signup)
        if waiting is None or not await self._found(waiting, by):
            return None
        await self._tell("signup_accepted", waiting, link=self._console_url() + "/connexion")
        return waiting

    async def refuse(self, by: By, signup: int, reason: str) -> Signup | None:
        """Forget it, and say why; None if somebody has decided."""
        waiting = await self._signups.get(signup)
        if waiting is None or not await self._signups.refuse(by, waiting, reason):
            return None
        await self._tell("signup_refused", waiting, reason=reason)
        return waiting

    # How it is done

    async def _ask(self, wanted: Wanted, password: str, client: str) -> None:
        may_write = await self._may_write(wanted.email)
        account = await self._accounts.find(wanted.email)
        if account is not None:
            if may_write:
                link = self._console_url() + "/connexion"
                letter = self._writer.letter("signup_known", wanted.language, link=link)
                await self._letters.send(HOUSE, account.email, letter)
            return
        token = new_token()
        hashed = await self._passwords.hash(password)
        known_by = token_hash(token) if may_write else None
        await self._signups.add(wanted, hashed, known_by, client, DAYS * 86_400.0)
        if not may_write:
            return
        link = self._console_url() + CONFIRM + token
        letter = self._writer.letter("confirmation", wanted.language, link=link, days=DAYS)
        await self._letters.send(HOUSE, wanted.email, letter)

    async def _may_write(self, email: str) -> bool:
        """Whether the address gets one letter more, as it is or by its other names."""
        counted = [Counted("signing up", email.casefold())]
        mailbox, tag = split_tag(email.casefold())
        if tag:
            counted.insert(0, Counted("tags", mailbox))
        try:
            await self._brake.attempt(*counted)
        except TooManyFailures:
            return False
        return True

    async def _meant(self, signup: Signup, password: str) -> Signup:
        """That of an address's sign-ups which has the password. Raises `WrongPassword`.

        It takes the place of the one that the letter is of.
        """
        if await self._passwords.fits(signup.password_hash, password):
            return signup
        for other in await self._signups.beside(signup):
            if await self._passwords.fits(other.password_hash, password):
                try:
                    return await self._signups.put_in_place(signup, other)
                except Refused as error:
                    raise NotGood from error
        raise WrongPassword

    async def _enter(self, signup: Signup, client: str, agent: str) -> Entered:
        if not await self._found(signup, None, client):
            raise NotGood
        account = await self._accounts.find(signup.wanted.email)
        assert account is not None, "it has just been made"
        await self._tell("welcome", signup, link=self._console_url() + START)
        return await self._signin.begin(account, client, agent)

    async def _found(self, signup: Signup, operator: By | None, client: str = "") -> bool:
        number = await self._customers.next_number()
        key = self._keyring.new_wrapped_key(number)
        by = operator or By(number, signup.wanted.email, client)
        act = Act.SIGNED_UP if operator is None else Act.SIGNUP_ACCEPTED
        try:
            return await self._signups.found(by, act, signup, number, key)
        except Refused as error:
            await self._signups.forget(signup.signup)
            raise Taken from error

    async def _tell_operators(self, signup: Signup) -> None:
        link = self._console_url() + WAITING
        for email in await self._signups.operators():
            letter = self._writer.letter("signup_waiting", "fr", link=link, wanted=signup.wanted)
            await self._whether_or_not(email, letter)

    async def _tell(self, name: str, signup: Signup, **values: object) -> None:
        wanted = signup.wanted
        letter = self._writer.letter(name, wanted.language, wanted=wanted, **values)
        await self._whether_or_not(wanted.email, letter)

    async def _whether_or_not(self, email: str, letter: Letter) -> None:
        """What was decided stands, though the letter be lost."""
        try:
            await self._letters.send(HOUSE, email, letter)
        except Exception:  # noqa: BLE001 - whatever it is, the customer has been made
            self.log.failure("a letter about signing up could not be sent")

    def _lost(self, failure: Failure) -> None:
        self.log.failure("a letter about signing up could not be sent", failure)

    def _done(self, _: object) -> None:
        self._under_way -= 1
