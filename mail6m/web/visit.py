"""One request of one visitor: who it is, what it says, and how it wants to be answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from mail6m.model import HOUSE, Role
from mail6m.storage.audit import By
from mail6m.storage.sessions import Identity, Seen, Viewing
from mail6m.web.menu import HOME, OPERATORS_HOME
from mail6m.zones import zone_of


class NotFound(Exception):
    """There is nothing here for this visitor; whether for another is not said."""


@dataclass(frozen=True, slots=True)
class Html:
    """A page: a template, and what it shows."""

    template: str
    values: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    leads_to: str = ""
    """An origin that its forms may lead to, beside our own (`Leave`)."""
    lasting: int = 0
    """Seconds that it may be kept, where it is the same for every stranger who reads its language;
    a page for somebody who has signed in, or with a form, is not kept in any case."""


def is_inside(path: str) -> bool:
    """Whether a path is this console's, and never another site's, however a browser reads it."""
    return (
        path.startswith("/")
        and not path.startswith("//")
        and "\\" not in path
        and path.isascii()
        and path.isprintable()
    )


@dataclass(frozen=True, slots=True)
class Redirect:
    """Go there instead (303: with GET); ``say`` is said by the next page.

    ``session`` is a new session's token, or empty to end the session.
    """

    path: str
    say: str = ""
    session: str | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError` for a path that leads away from here."""
        if not is_inside(self.path):
            raise ValueError(f"{self.path!r} is no path of the console")


@dataclass(frozen=True, slots=True)
class Leave:
    """Go to another site (303), which is the one that is meant."""

    url: str
    origin: str
    """``https://NAME`` of that site. The page with the form has to name it, too (`Html`)."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for an address that is not there."""
        place = self.url.removeprefix(self.origin)
        if place == self.url or not is_inside(place):
            raise ValueError(f"{self.url!r} is not on {self.origin}")


@dataclass(frozen=True, slots=True)
class Plain:
    """A body that is no page."""

    body: bytes
    kind: str
    status: int = 200
    lasting: int = 0
    """Seconds that everybody may keep it."""
    policy: str = ""
    """A Content-Security-Policy in the place of the pages'."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file to be kept, which is made while it is sent."""

    name: str
    """In ASCII, and without quotes."""
    kind: str
    size: int
    etag: str
    """The same as long as all its octets are."""
    pieces: Callable[[int], AsyncIterator[bytes]]
    """Its octets, from a place on."""


Answer = Html | Redirect | Leave | Plain | Download


class Translate(Protocol):
    """The words of a language."""

    def gettext(self, message: str) -> str:
        """A French text in that language."""

    def ngettext(self, singular: str, plural: str, n: int) -> str:
        """The same, with a number."""


@dataclass(slots=True)
class Visit:
    """A request that has passed the guard."""

    path: str
    """With its query, as it may stand in a link."""
    query: MultiDict[str, str]
    form: MultiDict[str, str]
    """What was typed, of a POST; the CSRF token is gone."""
    client: str
    """The address that it comes from."""
    agent: str
    base: str
    """Scheme and host that the console is reached by: ``https://console.example.org``."""
    token: str
    """The session's; empty without one."""
    language: str
    words: Translate
    now: datetime
    files: dict[str, bytes] = field(default_factory=dict)
    """What files came with it, by the names of their fields."""
    asked_language: str = ""
    """The language that the address asks for (``?langue=en``); empty if it does not."""
    bind: Callable[[], str] = str
    """Makes the CSRF token, and sees to it that the browser can be known by it."""
    _csrf: str = ""
    viewing: Viewing | None = None
    """Whose console is seen, by an operator."""
    _seen: Seen | None = None
    _identity: Identity | None = None
    _zone: ZoneInfo | None = None
    _today: date | None = None

    @property
    def csrf(self) -> str:
        """The token of its forms. A stranger gets a cookie with the first form, not before."""
        if not self._csrf:
            self._csrf = self.bind()
        return self._csrf

    @property
    def impersonal(self) -> bool:
        """Whether its page would be the same for another stranger, so far."""
        return not self.token and not self._csrf

    @property
    def secure(self) -> bool:
        """Whether the browser came by TLS, be it to a proxy of ours."""
        return self.base.startswith("https:")

    @property
    def signed_in(self) -> bool:
        """Whether somebody has signed in, all the way."""
        return self._identity is not None and self._identity.complete

    @property
    def identity(self) -> Identity:
        """Who it is; only for routes that are not public."""
        if self._identity is None:
            raise NotFound
        return self._identity

    @property
    def customer(self) -> int:
        """Whose data may be shown, and whose alone."""
        return self.identity.customer

    @property
    def by(self) -> By:
        """Who does it, for the audit."""
        return By(self.identity.customer, self.identity.email, self.client)

    def by_house(self, customer: int) -> By:
        """Who does it to a customer's things, of those who run Mail6M."""
        if not self.operates:
            raise NotFound
        return By(customer, self.identity.email, self.client, house=True)

    def look_on(self) -> None:
        """Be a reader of the customer whose console is seen, from here on."""
        if self._seen is None:
            raise NotFound
        self._identity = self.identity.seeing(self._seen)

    @property
    def administrator(self) -> bool:
        """Whether it may change something."""
        return self.signed_in and self.identity.role == Role.ADMINISTRATOR

    @property
    def unlimited(self) -> bool:
        """Whether it may do everything, where it is: a customer's administrator, an operator."""
        of_all = (Role.ADMINISTRATOR, Role.OPERATOR)
        return self.signed_in and self.identity.role in of_all

    @property
    def operates(self) -> bool:
        """Whether it is one of those who run Mail6M."""
        return self.signed_in and self.identity.customer == HOUSE

    @property
    def may_operate(self) -> bool:
        """Whether it is an operator who may do whatever operators do."""
        return self.operates and self.identity.role == Role.OPERATOR

    @property
    def home(self) -> str:
        """The page that it begins with, once it has signed in."""
        return OPERATORS_HOME if self.operates and self.viewing is None else HOME

    @property
    def viewed(self) -> str:
        """The company whose console an operator sees."""
        return self._seen.company if self._seen is not None else ""

    @property
    def zone(self) -> ZoneInfo:
        """The customer's time zone."""
        if self._zone is None:
            self._zone = zone_of(self._identity.time_zone if self._identity else "Europe/Paris")
        return self._zone

    @property
    def today(self) -> date:
        """The day that it is there."""
        if self._today is None:
            self._today = self.now.astimezone(self.zone).date()
        return self._today

    def to(self, path: str) -> str:
        """A path as it stands in a link to a public page: in the language that was asked for."""
        return f"{path}?langue={self.asked_language}" if self.asked_language else path

    def _(self, message: str) -> str:
        """A French text in the visitor's language."""
        return self.words.gettext(message)

    def number(self, name: str, default: int, most: int = 1 << 31) -> int:
        """A number out of the query, if it is one from 1 to ``most``."""
        value = self.query.get(name, "")
        if value.isascii() and value.isdecimal() and len(value) < 12:
            return max(1, min(int(value), most))
        return default
