"""Letters to the people who use the console: made into mail, and queued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Any, Protocol

from mail6m.delivery.own import OwnMail


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
