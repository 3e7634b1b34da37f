"""Templates, in French and English.

The French text is the key, word for word the brochure's; ``locale/en/console.po`` has the English.
It is read as it is at the start, so that there is nothing to compile.
"""

from __future__ import annotations

import io
import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Any

from babel.dates import format_date, format_datetime, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import NullTranslations, Translations
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from mail6m.letters import Letter
from mail6m.model import Message
from mail6m.web.menu import MENU
from mail6m.web.visit import Html, Visit

LANGUAGES = ("fr", "en")
"""The first one is for those who ask for neither."""

_LANGUAGE = re.compile(r"([a-zA-Z]+)(?:-[a-zA-Z0-9-]+)?(?:\s*;\s*[qQ]=([01](?:\.[0-9]{0,3})?))?")
_TIGHT = re.compile(r" (?=[:;?!»])|(?<=«) ")
_ADDRESS = re.compile(r"<([^<>]+)>\s*$")
_DATES = {"fr": "dd/MM/yyyy", "en": "d MMM yyyy"}
_PERCENT = {"fr": "#,##0 %", "en": "#,##0%"}
_UNITS = {"fr": ("octets", "Ko", "Mo", "Go"), "en": ("bytes", "KB", "MB", "GB")}


def preferred(header: str) -> str:
    """The language that an Accept-Language asks for most (RFC 9110, 12.5.4)."""
    best, weight = LANGUAGES[0], 0.0
    for part in header.split(","):
        match = _LANGUAGE.fullmatch(part.strip())
        if match is None or (language := match[1].lower()) not in LANGUAGES:
            continue
        if (quality := float(match[2] or 1)) > weight:
            best, weight = language, quality
    return best


class Renderer:
    """Makes pages, and letters."""

    def __init__(self, version: str) -> None:
        self.words = {language: _translations(language) for language in LANGUAGES}
        self._environments = {language: self._environment(language) for language in LANGUAGES}
        for environment in self._environments.values():
            environment.globals["version"] = version

    def page(self, visit: Visit, answer: Html) -> bytes:
        """A page as it is sent."""
        template = self._environments[visit.language].get_template(answer.template)
        return template.render(visit=visit, menu=MENU, **answer.values).encode()

    def letter(self, name: str, language: str, **values: Any) -> Letter:
        """A letter: its template's first line is the subject, and its paragraphs are the rest.

        A paragraph that is a link alone is a button, for those who read HTML.
        """
        known = language if language in self.words else LANGUAGES[0]
        environment = self._environments[known]
        text = environment.get_template(f"letters/{name}.txt").render(**values).strip()
        subject, *paragraphs = re.split(r"\n{2,}", text)
        frame = environment.get_template("letters/frame.html")
        html = frame.render(language=known, subject=subject, paragraphs=paragraphs)
        return Letter(subject, "\n\n".join(paragraphs) + "\n", html)

    def _environment(self, language: str) -> Environment:
        environment = Environment(
            loader=PackageLoader("mail6m.web"),
            autoescape=select_autoescape(disabled_extensions=("txt",), default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
            auto_reload=False,
        )
        environment.install_gettext_translations(self.words[language], newstyle=True)  # type: ignore[attr-defined]
        texts = _Texts(language, self.words[language])
        environment.filters |= {
            "moment": texts.moment,
            "clock": texts.clock,
            "day": texts.day,
            "size": texts.size,
            "decimal": texts.decimal,
            "percent": texts.percent,
            "sender": sender,
        }
        return environment


class _French(NullTranslations):
    """French as the code has it, with the spaces that no line may end at."""

    def gettext(self, message: str) -> str:
        """The text itself."""
        return _unbroken(message)

    def ngettext(self, singular: str, plural: str, n: int) -> str:
        """None, and a half, are singular in French."""
        return _unbroken(singular if n < 2 else plural)


@lru_cache(maxsize=2_000)
def _unbroken(text: str) -> str:
    return _TIGHT.sub("\u00a0", text)


def _translations(language: str) -> NullTranslations:
    if language == LANGUAGES[0]:
        return _French()
    file = resources.files("mail6m.web").joinpath("locale", language, "console.po")
    catalog = read_po(io.BytesIO(file.read_bytes()), locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return Translations(compiled)


def sender(message: Message) -> str:
    """The address that a message is from: the header's, as people know it, else the envelope's."""
    named = _ADDRESS.search(message.header_from)
    return (named[1] if named else message.header_from) or message.sender


class _Texts:
    """Values as a person of that language reads them."""

    def __init__(self, language: str, words: Any) -> None:
        self._language = language
        self._words = words

    def moment(self, at: datetime, visit: Visit) -> str:
        """``Aujourd'hui 16:01:21``, ``Hier …``, else the date."""
        local = at.astimezone(visit.zone)
        today = visit.now.astimezone(visit.zone).date()
        time = format_time(local, "HH:mm:ss", locale=self._language)
        if local.date() == today:
            day = self._words.gettext("Aujourd'hui")
        elif local.date() == today - timedelta(days=1):
            day = self._words.gettext("Hier")
        else:
            day = format_date(local, _DATES[self._language], locale=self._language)
        return f"{day} {time}"

    def clock(self, at: datetime, visit: Visit) -> str:
        """The full date, with the time to the second and the zone."""
        local = at.astimezone(visit.zone)
        pattern = "EEEE d MMMM yyyy, HH:mm:ss zzz"
        return format_datetime(local, pattern, locale=self._language)

    def day(self, day: date) -> str:
        """A date alone, in full."""
        first = self._language == "fr" and day.day == 1
        pattern = "d'er' MMMM yyyy" if first else "d MMMM yyyy"
        return format_date(day, pattern, locale=self._language)

    def size(self, octets: int) -> str:
        """Bytes, in decimal units."""
        units = _UNITS[self._language]
        power = 0
        while (value := octets / 1000**power) >= 999.5 and power < len(units) - 1:
            power += 1
        pattern = "#,##0" if power == 0 or value >= 100 else "#,##0.#"
        unit = units[0].removesuffix("s") if octets == 1 else units[power]
        return f"{format_decimal(value, pattern, locale=self._language)} {unit}"

    def decimal(self, number: float) -> str:
        """A number with its thousands apart."""
        return format_decimal(number, locale=self._language)

    def percent(self, part: float) -> str:
        """A part of 1 in percent."""
        return format_percent(part, _PERCENT[self._language], locale=self._language)
