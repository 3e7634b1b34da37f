"""Letters to the people who use the console: made into mail, and queued; some once and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Any, Protocol, TypeVar

from twisted.logger import Logger

from mail6m.delivery.own import OwnMail

Subject = TypeVar("Subject", contravariant=True)


@dataclass(frozen=True, slots=True)
class Letter:
    """What a letter says, in one language."""

    subject: str
    text: str
    html: str
    """The same, for those who read HTML."""


class Writer(Protocol):
    """Who knows the words of letters."""

    def letter(self, name: str, language: str, **values: Any) -> Letter:
        """The letter of that name, with these values."""


class Letters:
    """Sends letters from the house's postmaster."""

    def __init__(self, hostname: str, own: OwnMail, clock: Callable[[], datetime]) -> None:
        self._hostname = hostname
        self._own = own
        self._clock = clock

    async def send(self, customer: int, to: str, letter: Letter) -> None:
        """Queue a letter to somebody of a customer's.

        Raises `mail6m.intake.Rejected` when it cannot be queued now.
        """
        now = self._clock()
        octets = compose(self._hostname, to, letter, now, self._own.new_name(now))
        await self._own.send(customer, to, octets)


@dataclass(frozen=True, slots=True)
class Notice:
    """Whom a letter goes to, and what it says."""

    customer: int
    """In whose name it is queued."""
    addresses: Sequence[str]
    language: str
    path: str
    """Where it leads to, within the console."""
    values: Mapping[str, Any]
    """What its template asks for, beside the link."""


class Told(Protocol[Subject]):
    """What keeps a note of the letters about each of its subjects."""

    async def telling(self, subject: Subject, letter: str, now: datetime, /) -> bool:
        """Claim a letter; False if it has been sent, or somebody else is about to send it."""

    async def told(self, subject: Subject, letter: str, /) -> None:
        """Note that a letter has been sent."""


class Notices:
    """Whoever writes to people does it through this: now, or once and no more."""

    log = Logger()

    def __init__(
        self,
        letters: Letters,
        writer: Writer,
        console_url: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        """``console_url`` says scheme and host that the console is reached by, if that is known."""
        self._now = now
        self._letters = letters
        self._writer = writer
        self._console_url = console_url

    @property
    def base(self) -> str:
        """What links begin with; nothing if it is not known."""
        return self._console_url()

    async def send(
        self, told: Told[Subject], subject: Subject, name: str, of: Callable[[], Awaitable[Notice]]
    ) -> bool:
        """Send the letter ``name`` about a subject, as ``of`` says; whether it has been sent now.

        It is claimed, queued, and then noted. If that cannot be, it is claimed again some time
        later.
        """
        if not await told.telling(subject, name, self._now()):
            return False
        try:
            await self.post(name, await of())
            await told.told(subject, name)
        except Exception:  # noqa: BLE001 - whatever it is, the letter may not have been sent
            self.log.failure("letter {name} about {subject} waits", name=name, subject=subject)
            return False
        return True

    async def post(self, name: str, notice: Notice) -> None:
        """Queue the letter ``name`` now. Raises `mail6m.intake.Rejected` if it cannot be."""
        base = self.base
        link = base + notice.path if base else ""
        letter = self._writer.letter(name, notice.language, link=link, **notice.values)
        for address in notice.addresses:
            await self._letters.send(notice.customer, address, letter)


def compose(hostname: str, to: str, letter: Letter, now: datetime, name: str) -> bytes:
    """A letter as mail (RFC 5322, with RFC 2046, 5.1.4), which nothing should answer (RFC 3834).

    ``name`` is its Message-ID. Only an address that is not ASCII needs SMTPUTF8.
    """
    mail = EmailMessage(policy=SMTP if to.isascii() else SMTPUTF8)
    mail["From"] = Address("Mail6M", "postmaster", hostname)
    local, _, domain = to.rpartition("@")
    mail["To"] = Address("", local, domain)
    mail["Subject"] = letter.subject
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = name
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(letter.text, cte="quoted-printable")
    mail.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    return mail.as_bytes()
