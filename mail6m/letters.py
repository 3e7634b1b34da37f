"""Letters to the people who use the console: made into mail, and queued; some once and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Any, Protocol, TypeVar

from twisted.logger import Logger

from mail6m.delivery.own import OwnMail
from mail6m.notices.catalogue import kind_of
from mail6m.notices.subscriptions import Subscriber, Subscriptions

Subject = TypeVar("Subject", contravariant=True)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a letter."""

    name: str
    """In ASCII."""
    kind: str
    """Its media type (RFC 2046), without parameters."""
    octets: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """What a letter says, in one language."""

    subject: str
    text: str
    html: str
    """The same, for those who read HTML."""
    language: str = "fr"
    unsubscribe: str = ""
    """Where one says that no more of these are wanted; empty, where one has to get them."""
    attachments: Sequence[Attachment] = ()


class Writer(Protocol):
    """Who knows the words of letters."""

    def letter(self, name: str, language: str, **values: Any) -> Letter:
        """The letter of that name, with these values.

        ``unsubscribe`` among them is a link that ends such letters.
        """


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
        name = self._own.new_name(now)
        octets = compose(self._hostname, to, letter, now, name, signed=self._own.signed)
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
    attachments: Sequence[Attachment] = ()


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
        subscriptions: Subscriptions | None = None,
    ) -> None:
        """``console_url`` says scheme and host that the console is reached by, if that is known.

        Without ``subscriptions`` only such letters can be sent as one has to get.
        """
        self._now = now
        self._letters = letters
        self._writer = writer
        self._console_url = console_url
        self._subscriptions = subscriptions

    @property
    def base(self) -> str:
        """What links begin with; nothing if it is not known."""
        return self._console_url()

    async def send(
        self, told: Told[Subject], subject: Subject, name: str, of: Callable[[], Awaitable[Notice]]
    ) -> bool:
        """Send the letter ``name`` about a subject, as ``of`` says; whether one has been sent now.

        It is claimed, queued, and then noted. If that cannot be, it is claimed again some time
        later.
        """
        if not await told.telling(subject, name, self._now()):
            return False
        try:
            sent = await self.post(name, await of())
            await told.told(subject, name)
        except Exception:  # noqa: BLE001 - whatever it is, the letter may not have been sent
            self.log.failure("letter {name} about {subject} waits", name=name, subject=subject)
            return False
        return sent > 0

    async def post(self, name: str, notice: Notice) -> int:
        """Queue the letter ``name`` now, for those who want it; how many they are.

        Raises `mail6m.intake.Rejected` if it cannot be queued.
        """
        readers = await self._readers(kind_of(name).topic, notice)
        for address, ending in readers:
            values = {"link": self._linked(notice.path), **notice.values, **ending}
            letter = self._writer.letter(name, notice.language, **values)
            letter = replace(letter, attachments=notice.attachments)
            await self._letters.send(notice.customer, address, letter)
        return len(readers)

    async def _readers(self, topic: str, notice: Notice) -> list[tuple[str, dict[str, str]]]:
        """Who gets it, each with a link that ends such letters, if they can do without."""
        if not topic:
            return [(address, {}) for address in notice.addresses]
        known = self._subscriptions
        assert known is not None, f"who is to hear about {topic} is not known here"
        willing = await known.willing(notice.customer, topic, notice.addresses)
        return [(one.address, self._ending(known, one)) for one in willing]

    def sample(self, name: str, customer: int, address: str, language: str) -> Letter:
        """The letter ``name``, as an address would get it, with values that are made up."""
        kind = kind_of(name)
        values = {"link": self._linked(kind.path), **kind.values}
        if kind.topic and self._subscriptions is not None:
            subscriber = Subscriber(customer, address, kind.topic)
            values |= self._ending(self._subscriptions, subscriber)
        return self._writer.letter(name, language, **values)

    def _ending(self, known: Subscriptions, subscriber: Subscriber) -> dict[str, str]:
        return {"unsubscribe": self._linked(known.path(subscriber))}

    def _linked(self, path: str) -> str:
        return self.base + path if self.base else ""


def compose(
    hostname: str, to: str, letter: Letter, now: datetime, name: str, *, signed: bool = False
) -> bytes:
    """A letter as mail (RFC 5322, with RFC 2046, 5.1.4), which nothing should answer (RFC 3834).

    What goes with it makes it a part of another multipart (5.1.3). ``name`` is its Message-ID. Only
    an address that is not ASCII needs SMTPUTF8. ``signed`` says that it will have a DKIM signature.
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
    for one in letter.attachments:
        kind, _, subtype = one.kind.partition("/")
        mail.add_attachment(one.octets, kind, subtype, filename=one.name)
    mail["Content-Language"] = letter.language
    return _unsubscribing(letter.unsubscribe, signed) + mail.as_bytes()


def _unsubscribing(link: str, signed: bool) -> bytes:
    """The fields of mail that one may do without (RFC 2369, 3.2; RFC 8058, 3.1).

    At one click only by HTTPS, and with a signature that covers them, as RFC 8058 demands. They are
    written here, since the standard library would break the link, and make it none.
    """
    if not link:
        return b""
    at_once = signed and link.startswith("https:")
    clicked = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" if at_once else ""
    return f"List-Unsubscribe: <{link}>\r\n{clicked}".encode("ascii")
