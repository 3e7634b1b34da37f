"""Pages and letters out of templates, and values as a person reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import groupby
from typing import Any

from babel import Locale
from babel.dates import format_date, format_datetime, format_timedelta
from babel.numbers import format_currency, format_decimal
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from mail6m.header import address_in
from mail6m.letters import Letter
from mail6m.model import Message
from mail6m.notices.catalogue import kind_of
from mail6m.web.menu import MENU, N_, OPERATORS_MENU, WAYS, Entry
from mail6m.web.visit import Html, Visit
from mail6m.web.words import LANGUAGES, TranslatedEnvironment, translations
from mail6m.zones import zone_of


def _grouped(menu: Iterable[Entry]) -> list[list[Entry]]:
    return [list(lines) for _, lines in groupby(menu, key=lambda line: line.group)]


_MENU, _OPERATORS_MENU = _grouped(MENU), _grouped(OPERATORS_MENU)
_VIEWED_MENU = _grouped(
    entry for entry in MENU if not entry.administrators and entry.path != "/securite"
)
"""What operators see of a customer's; the account that signed in is their own."""
_DATES = {"fr": "dd/MM/yyyy", "en": "d MMM yyyy"}
_PERCENT = {"fr": "#,##0 %", "en": "#,##0%"}
_WHOLE_EUROS = {"fr": "#,##0\u00a0¤", "en": "¤#,##0"}
_UNITS = {"fr": ("octets", "Ko", "Mo", "Go"), "en": ("bytes", "KB", "MB", "GB")}

_VERIFIED = {
    "verified (certificate)": N_("machine vérifiée par son certificat"),
    "verified (DANE)": N_("machine vérifiée par le DNS (DANE)"),
    "not verified": N_("machine non vérifiée"),
}


_UNSUBSCRIBE = N_("Pour ne plus recevoir ces avis :")
_BREAKS = re.compile(r"[\t-\r\x1c-\x1f \x85\u2028\u2029]+")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the order of what stands around them (UAX #9)."""


class Renderer:
    """Makes pages, and letters."""

    def __init__(self, version: str) -> None:
        self.words = {language: translations(language) for language in LANGUAGES}
        self._environments = {language: self._environment(language) for language in LANGUAGES}
        self._letters = {language: self._environment(language, one_line) for language in LANGUAGES}
        for environment in self._environments.values():
            environment.globals |= {"version": version, "ways": WAYS}

    def page(self, visit: Visit, answer: Html) -> bytes:
        """A page as it is sent."""
        template = self._environments[visit.language].get_template(answer.template)
        return template.render(visit=visit, menu=_menu(visit), **answer.values).encode()

    def letter(self, name: str, language: str, **values: Any) -> Letter:
        """A letter: its template's first line is the subject, and its paragraphs are the rest.

        The paragraph that is its link alone is a button, for those who read HTML. Whatever a value
        is, it is a part of one line.
        """
        known = language if language in self.words else LANGUAGES[0]
        said = self._letters[known].get_template(f"letters/{name}.txt").render(**values)
        subject, *paragraphs = re.split(r"\n{2,}", said.strip())
        label, words = kind_of(name).button, self.words[known]
        unsubscribe = values.get("unsubscribe", "")
        html = self._environments[known].get_template("letters/frame.html").render(
            language=known,
            subject=subject,
            paragraphs=paragraphs,
            link=values.get("link", ""),
            button=words.gettext(label) if label else "",
            unsubscribe=unsubscribe,
        )  # fmt: skip
        if unsubscribe:
            paragraphs.append(f"{words.gettext(_UNSUBSCRIBE)}\n{unsubscribe}")
        return Letter(subject, "\n\n".join(paragraphs) + "\n", html, known, unsubscribe)

    def _environment(self, language: str, finalize: Any = None) -> Environment:
        environment = TranslatedEnvironment(
            self.words[language],
            loader=PackageLoader("mail6m.web"),
            autoescape=select_autoescape(disabled_extensions=("txt",), default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=finalize,
            auto_reload=False,
        )
        texts = _Texts(language, self.words[language])
        environment.filters |= {
            "moment": texts.moment,
            "clock": texts.clock,
            "day": texts.day,
            "local_day": texts.local_day,
            "local_moment": texts.local_moment,
            "size": texts.size,
            "decimal": texts.decimal,
            "percent": texts.percent,
            "rate": texts.rate,
            "encryption": texts.encryption,
            "amount": texts.amount,
            "month": texts.month,
            "quarter": texts.quarter,
            "euros": texts.euros,
            "sender": sender,
            "age": texts.age,
        }
        return environment


def _menu(visit: Visit) -> list[list[Entry]]:
    if visit.viewing is not None:
        return _VIEWED_MENU
    return _OPERATORS_MENU if visit.operates else _MENU


def one_line(value: object) -> str:
    """A value as a letter may have it: it makes no line of its own, and rearranges none."""
    return _UNSEEN.sub("", _BREAKS.sub(" ", str(value)))


def sender(message: Message) -> str:
    """The address that a message is from: the header's, as people know it, else the envelope's."""
    return address_in(message.header_from) or message.sender


class _Texts:
    """Values as a person of that language reads them."""

    def __init__(self, language: str, words: Any) -> None:
        self._language = language
        self._locale = Locale.parse(language)
        self._words = words
        self._date = lru_cache(maxsize=1_000)(self._new_date)
        self._number = lru_cache(maxsize=1_000)(self._new_number)

    def moment(self, at: datetime, visit: Visit, *, inside: bool = False) -> str:
        """``Aujourd'hui 16:01:21``, ``Hier …``, else the date; not capital ``inside`` a text."""
        local = at.astimezone(visit.zone)
        day = self._date(local.date(), visit.today)
        if inside:
            day = day[0].lower() + day[1:]
        return f"{day} {local:%H:%M:%S}"

    def _new_date(self, day: date, today: date) -> str:
        if day == today:
            return str(self._words.gettext("Aujourd'hui"))
        if day == today - timedelta(days=1):
            return str(self._words.gettext("Hier"))
        return format_date(day, _DATES[self._language], locale=self._locale)

    def clock(self, at: datetime, visit: Visit) -> str:
        """The full date, with the time to the second and the zone."""
        local = at.astimezone(visit.zone)
        pattern = "EEEE d MMMM yyyy, HH:mm:ss zzz"
        return format_datetime(local, pattern, locale=self._locale)

    def day(self, day: date) -> str:
        """A date alone, in full."""
        first = self._language == "fr" and day.day == 1
        pattern = "d'er' MMMM yyyy" if first else "d MMMM yyyy"
        return format_date(day, pattern, locale=self._locale)

    def local_day(self, at: datetime, zone: str) -> str:
        """The day that a moment falls on somewhere."""
        return self.day(at.astimezone(zone_of(zone)).date())

    def age(self, span: timedelta) -> str:
        """How long something is, or has been: ``3 heures``."""
        return format_timedelta(span, threshold=1.5, locale=self._locale)

    def local_moment(self, at: datetime, zone: str) -> str:
        """The minute that it is somewhere, and by whose clock."""
        there = zone_of(zone)
        local = at.astimezone(there)
        return f"{self.day(local.date())}, {local:%H:%M} ({there.key})"

    def size(self, octets: int) -> str:
        """Bytes, in decimal units."""
        units = _UNITS[self._language]
        power = 0
        while (value := octets / 1000**power) >= 999.5 and power < len(units) - 1:
            power += 1
        pattern = "#,##0" if power == 0 or value >= 100 else "#,##0.#"
        unit = units[0].removesuffix("s") if octets == 1 else units[power]
        return f"{self._number(round(value, 3), pattern)} {unit}"

    def decimal(self, number: float) -> str:
        """A number with its thousands apart."""
        return self._number(number, None)

    def percent(self, part: float) -> str:
        """A part of 1 in percent."""
        return self._number(round(part, 4), _PERCENT[self._language])

    def rate(self, hundredths: int) -> str:
        """Hundredths of a percent: ``20 %``, ``5,5 %``."""
        pattern = _PERCENT[self._language].replace("0", "0.##", 1)
        return self._number(Decimal(hundredths) / 10_000, pattern)

    def encryption(self, tls: str) -> str:
        """How a session with a receiving machine was protected (`mail6m.trust`)."""
        session, _, verified = tls.partition(", ")
        words = _VERIFIED.get(verified)
        return f"{session}, {self._words.gettext(words)}" if words is not None else session

    def amount(self, cents: int) -> str:
        """Money, to the cent: ``1 234,50 €``."""
        return format_currency(Decimal(cents) / 100, "EUR", locale=self._locale)

    def month(self, day: date) -> str:
        """``octobre 2026``."""
        return format_date(day, "MMMM y", locale=self._locale)

    def quarter(self, day: date) -> str:
        """``4e trimestre 2026``."""
        return format_date(day, "QQQQ y", locale=self._locale)

    def euros(self, cents: int) -> str:
        """A price: ``40 €``, ``40,50 €``."""
        pattern = _WHOLE_EUROS[self._language] if cents % 100 == 0 else None
        return format_currency(
            Decimal(cents) / 100, "EUR", pattern, locale=self._locale, currency_digits=not pattern
        )

    def _new_number(self, number: float | Decimal, pattern: str | None) -> str:
        return format_decimal(number, pattern, locale=self._locale)
