"""Values as a person reads them, in either language; pages that a list leads to; dates as typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib import resources
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup, escape
from werkzeug.datastructures import MultiDict
from wtforms.widgets import html_params

from mail6m.model import Message
from mail6m.web.cabinet import read_date
from mail6m.web.forms import attributes
from mail6m.web.menu import MENU, OPERATORS_MENU
from mail6m.web.pager import AROUND, Step, followed, numbered
from mail6m.web.render import Renderer, sender
from mail6m.web.visit import Visit
from mail6m.web.words import LANGUAGES, escaped, preferred

PARIS, NEW_YORK, UTC_ZONE = ZoneInfo("Europe/Paris"), ZoneInfo("America/New_York"), ZoneInfo("UTC")
RENDERER = Renderer("1")


def filtered(name: str, language: str, *arguments: Any) -> str:
    """What a filter of the templates makes."""
    return str(RENDERER._environments[language].filters[name](*arguments))


def visit(now: str | datetime, zone: ZoneInfo) -> Visit:
    """A visit at that time, by somebody in that zone."""
    at = now if isinstance(now, datetime) else datetime.fromisoformat(now).replace(tzinfo=UTC)
    return Visit(
        path="/", query=MultiDict(), form=MultiDict(), client="192.0.2.1", agent="",
        base="http://localhost", token="", language="fr", words=RENDERER.words["fr"],
        now=at, _zone=zone,
    )  # fmt: skip


# Moments

MOMENTS = [
    # The brochure's own example, and the day before.
    ("2005-07-08T14:01:21", "2005-07-08T15:00:00", PARIS, "Aujourd'hui 16:01:21"),
    ("2005-07-07T14:01:21", "2005-07-08T15:00:00", PARIS, "Hier 16:01:21"),
    ("2005-07-06T14:01:21", "2005-07-08T15:00:00", PARIS, "06/07/2005 16:01:21"),
    # Midnight is the customer's, not Greenwich's.
    ("2005-07-07T22:00:00", "2005-07-07T22:00:01", PARIS, "Aujourd'hui 00:00:00"),
    ("2005-07-07T21:59:59", "2005-07-07T22:00:01", PARIS, "Hier 23:59:59"),
    ("2005-07-07T21:59:59", "2005-07-07T22:00:01", UTC_ZONE, "Aujourd'hui 21:59:59"),
    ("2005-07-08T03:30:00", "2005-07-08T05:00:00", NEW_YORK, "Hier 23:30:00"),
    # The year's turn.
    ("2024-12-31T22:59:59", "2024-12-31T23:00:00", PARIS, "Hier 23:59:59"),
    # The day that has 23 hours, and the one that has 25: yesterday is a day, not 24 hours.
    ("2025-03-29T23:30:00", "2025-03-30T22:15:00", PARIS, "Hier 00:30:00"),
    ("2025-03-28T23:30:00", "2025-03-30T21:45:00", PARIS, "Hier 00:30:00"),
    ("2025-10-25T22:30:00", "2025-10-26T22:45:00", PARIS, "Aujourd'hui 00:30:00"),
    ("2025-10-26T00:30:00", "2025-10-26T12:00:00", PARIS, "Aujourd'hui 02:30:00"),
    ("2025-10-26T01:30:00", "2025-10-26T12:00:00", PARIS, "Aujourd'hui 02:30:00"),
    # What is still to come: an attempt of the queue.
    ("2005-07-08T22:30:00", "2005-07-08T15:00:00", PARIS, "09/07/2005 00:30:00"),
]


@pytest.mark.parametrize(("at", "now", "zone", "said"), MOMENTS)
def test_moments(at: str, now: str, zone: ZoneInfo, said: str) -> None:
    """Today and yesterday by the customer's own calendar, else the date."""
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert filtered("moment", "fr", moment, visit(now, zone)) == said


def test_moments_in_english() -> None:
    """By the English words."""
    now = visit("2005-07-08T15:00:00", PARIS)
    said = [
        filtered("moment", "en", datetime(2005, 7, day, 14, 1, 21, tzinfo=UTC), now)
        for day in (8, 7, 6)
    ]
    assert said == ["Today 16:01:21", "Yesterday 16:01:21", "6 Jul 2005 16:01:21"]


@given(st.integers(10**8, 4 * 10**9), st.integers(-200_000, 200_000))
def test_any_moment(since_1970: int, seconds: int) -> None:
    """Has its time to the second, and a day before it."""
    now = datetime.fromtimestamp(since_1970, UTC)
    moment = datetime.fromtimestamp(now.timestamp() + seconds, UTC)
    seen = visit(now, PARIS)
    day, _, time = filtered("moment", "fr", moment, seen).rpartition(" ")
    assert time == moment.astimezone(PARIS).strftime("%H:%M:%S")
    assert (day == "Aujourd'hui") == (
        moment.astimezone(PARIS).date() == now.astimezone(PARIS).date()
    )


def test_the_full_date() -> None:
    """With the day of the week and the zone."""
    at = datetime(2005, 7, 8, 14, 1, 21, tzinfo=UTC)
    seen = visit("2005-07-08T15:00:00", PARIS)
    assert filtered("clock", "fr", at, seen).startswith("vendredi 8 juillet 2005, 16:01:21 ")
    assert filtered("clock", "en", at, seen).startswith("Friday 8 July 2005, 16:01:21 ")


# Numbers

SIZES = [
    (0, "0 octets", "0 bytes"),
    (999, "999 octets", "999 bytes"),
    (1_000, "1 Ko", "1 KB"),
    (1_234, "1,2 Ko", "1.2 KB"),
    (99_949, "99,9 Ko", "99.9 KB"),
    (123_456, "123 Ko", "123 KB"),
    (999_499, "999 Ko", "999 KB"),
    (999_500, "1 Mo", "1 MB"),
    (1_500_000, "1,5 Mo", "1.5 MB"),
    (999_999_999, "1 Go", "1 GB"),
    (2_000_000_000, "2 Go", "2 GB"),
    (1_234_567_000_000, "1\u202f235 Go", "1,235 GB"),
]


@pytest.mark.parametrize(("octets", "french", "english"), SIZES)
def test_sizes(octets: int, french: str, english: str) -> None:
    """In decimal units, as the plans are sold."""
    assert filtered("size", "fr", octets) == french
    assert filtered("size", "en", octets) == english


@given(st.integers(0, 10**15))
def test_any_size(octets: int) -> None:
    """Has three figures or fewer, up to the largest unit."""
    number, _, unit = filtered("size", "en", octets).rpartition(" ")
    assert unit == "GB" or len(re.sub(r"\D", "", number)) <= 3


@pytest.mark.parametrize(
    ("tls", "french", "english"),
    [
        ("TLSv1.3 X, verified (DANE)", "machine vérifiée par le DNS (DANE)", "by the DNS (DANE)"),
        ("TLSv1.3 X, verified (certificate)", "par son certificat", "by its certificate"),
        ("TLSv1.3 X, not verified", "machine non vérifiée", "machine not verified"),
        ("TLSv1.3 X", "TLSv1.3 X", "TLSv1.3 X"),
    ],
)
def test_encryption(tls: str, french: str, english: str) -> None:
    """How a session was protected, and whether the host was verified; old records do not say."""
    for language, said in (("fr", french), ("en", english)):
        shown = filtered("encryption", language, tls)
        assert shown.startswith("TLSv1.3 X")
        assert shown.endswith(said)


def test_numbers() -> None:
    """With their thousands apart, and parts in percent."""
    assert filtered("decimal", "fr", 1234567) == "1\u202f234\u202f567"
    assert filtered("decimal", "en", 1234567) == "1,234,567"
    assert (
        filtered("percent", "fr", 0.617) == "62\u00a0%"
        or filtered("percent", "fr", 0.617) == "62 %"
    )
    assert filtered("percent", "en", 0.617) == "62%"


@pytest.mark.parametrize(
    ("named", "envelope", "said"),
    [
        ("Anne <anne@example.org>", "b@example.org", "anne@example.org"),
        ("anne@example.org", "b@example.org", "anne@example.org"),
        ("Anne <a@x> <anne@example.org> ", "b@example.org", "anne@example.org"),
        ("", "b@example.org", "b@example.org"),
        ("", "", ""),
        ("Anne <", "b@example.org", "Anne <"),
    ],
)
def test_senders(named: str, envelope: str, said: str) -> None:
    """As people know them, else as the envelope has them."""
    message: Message = SimpleNamespace(header_from=named, sender=envelope)  # type: ignore[assignment]
    assert sender(message) == said


# Languages


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("", "fr"),
        ("fr", "fr"),
        ("en", "en"),
        ("EN-gb", "en"),
        ("de", "fr"),
        ("de, en;q=0.5, fr;q=0.4", "en"),
        ("fr-CA, en;q=0.9", "fr"),
        ("en;q=0.4, fr;q=0.5", "fr"),
        ("fr; q=0.4 , en ; q=0.5", "en"),
        ("en;q=0", "fr"),
        ("en;q=0, fr;q=0", "fr"),
        ("en, fr", "en"),
        ("*", "fr"),
        ("english", "fr"),
        ("en;q=nan", "fr"),
        ("en;q=inf", "fr"),
        ("en;q=1e9", "fr"),
        ("en;q=, fr", "fr"),
        (",;,=,q", "fr"),
    ],
)
def test_the_language_that_is_asked_for(asked: str, language: str) -> None:
    """The one that weighs most of those that there are, else French."""
    assert preferred(asked) == language


@given(st.text(alphabet="enfr-;q=01.9, *", max_size=40) | st.text(max_size=20))
def test_any_language(asked: str) -> None:
    """Is one of ours in the end."""
    assert preferred(asked) in LANGUAGES


# Pages


def written(current: int, last: int) -> str:
    """The line as the brochure writes it."""
    pager = numbered(current, last, lambda number: f"/{number}")
    words = [
        "..." if s.number is None else str(s.number) if s.href else f"({s.number})"
        for s in pager.steps
    ]
    return " ".join([*(["«"] if pager.before else []), *words, *(["»"] if pager.after else [])])


def test_pages_as_in_the_brochure() -> None:
    """``Page (1) 2 3 4 ... 601 »``."""
    assert written(1, 601) == "(1) 2 3 4 ... 601 »"
    assert written(300, 601) == "« 1 ... 297 298 299 (300) 301 302 303 ... 601 »"
    assert written(601, 601) == "« 1 ... 598 599 600 (601)"
    assert written(1, 1) == "(1)"
    assert written(2, 3) == "« 1 (2) 3 »"


@given(st.integers(1, 60), st.integers(0, 60))
def test_any_pages(current: int, more: int) -> None:
    """First, last and those around are there, in order; a gap stands where pages are left out."""
    last = current + more
    pager = numbered(current, last, lambda number: f"/{number}")
    numbers = [step.number for step in pager.steps]
    assert numbers[0] == 1
    assert numbers[-1] == last
    assert set(range(max(1, current - AROUND), min(last, current + AROUND) + 1)) <= set(numbers)
    for position, number in enumerate(numbers):
        if number is None:
            before, after = numbers[position - 1], numbers[position + 1]
            assert before is not None
            assert after is not None
            assert after > before + 1
        elif position and (before := numbers[position - 1]) is not None:
            assert number == before + 1
    assert [s for s in pager.steps if s.number is not None and not s.href] == [Step(current)]
    assert pager.before == (f"/{current - 1}" if current > 1 else "")
    assert pager.after == (f"/{current + 1}" if current < last else "")


def test_pages_that_are_followed() -> None:
    """The first one, this one, and what was seen behind it."""
    pager = followed(1, "/first", ["/second", "/third"])
    assert pager.steps == [Step(1), Step(2, "/second"), Step(3, "/third")]
    assert (pager.before, pager.after) == ("", "/second")
    pager = followed(2, "/first", [])
    assert pager.steps == [Step(1, "/first"), Step(2)]
    assert (pager.before, pager.after) == ("/first", "")
    pager = followed(7, "/first", ["/eighth"])
    assert pager.steps == [Step(1, "/first"), Step(None), Step(7), Step(8, "/eighth")]
    assert (pager.before, pager.after) == ("", "/eighth")


# Dates as they are typed


@pytest.mark.parametrize(
    ("typed", "zone", "read"),
    [
        ("2005-07-01 9:30", PARIS, "2005-07-01T07:30:00"),
        ("2005-07-08 17:30", PARIS, "2005-07-08T15:30:00"),
        ("2005-07-01", PARIS, "2005-06-30T22:00:00"),
        (" 2005-7-1 ", PARIS, "2005-06-30T22:00:00"),
        ("2005-07-01T09:30", PARIS, "2005-07-01T07:30:00"),
        ("2005-07-01 09:30:15", PARIS, "2005-07-01T07:30:15"),
        ("2005-07-01 9h30", PARIS, "2005-07-01T07:30:00"),
        ("2005-07-01 9h", UTC_ZONE, None),
        ("2005-01-01 9:30", PARIS, "2005-01-01T08:30:00"),
        ("2005-07-01 9:30", NEW_YORK, "2005-07-01T13:30:00"),
        # An hour that there is not, and one that there is twice: the first.
        ("2025-03-30 2:30", PARIS, "2025-03-30T01:30:00"),
        ("2025-10-26 2:30", PARIS, "2025-10-26T00:30:00"),
        ("2024-02-29", UTC_ZONE, "2024-02-29T00:00:00"),
        ("2023-02-29", UTC_ZONE, None),
        ("2005-13-01", UTC_ZONE, None),
        ("2005-07-01 24:00", UTC_ZONE, None),
        ("2005-07-01 9:60", UTC_ZONE, None),
        ("0000-01-01", UTC_ZONE, None),
        ("05-07-01", UTC_ZONE, None),
        ("01/07/2005", UTC_ZONE, None),
        ("2005-07-01 9:30 x", UTC_ZONE, None),
        ("hier", UTC_ZONE, None),
        ("9999-12-31", UTC_ZONE, None),
        ("0001-01-01", UTC_ZONE, None),
        ("", UTC_ZONE, None),
    ],
)
def test_dates_as_typed(typed: str, zone: ZoneInfo, read: str | None) -> None:
    """As in the brochure, in the customer's time zone; what is no date is said to be none."""
    if read is None:
        with pytest.raises(ValueError):  # noqa: PT011 - several modules have a word for it
            read_date(typed, zone)
    else:
        assert read_date(typed, zone) == datetime.fromisoformat(read).replace(tzinfo=UTC)


# Pieces that name each other


def test_every_icon_is_drawn() -> None:
    """What the menu and the templates name, and nothing else, stands in icons.svg."""
    web = resources.files("mail6m.web")
    drawn = set(re.findall(r'<symbol id="([^"]+)"', (web / "static" / "icons.svg").read_text()))
    named = {entry.icon for entry in (*MENU, *OPERATORS_MENU)}
    for template in (web / "templates").iterdir():
        if template.name.endswith(".html"):
            text = template.read_text()
            named |= set(re.findall(r'icons\.svg#([a-z-]+)"', text))
            named |= set(re.findall(r'icon\("([a-z-]+)"\)', text))
    assert named == drawn


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_translated_when_compiled(language: str) -> None:
    """They are what the catalogue has, as markup; the values in them are escaped."""
    environment, words = RENDERER._environments[language], RENDERER.words[language]
    template = environment.from_string(
        """{% macro m(x) %}{{ _("Page %(number)s", number=x) }}{% endmacro %}"""
        """<i title="{{ _('Page suivante') }}">{{ m("<b>&") }}</i>"""
    )
    page = words.gettext("Page %(number)s") % {"number": "&lt;b&gt;&amp;"}
    assert template.render() == f'<i title="{words.gettext("Page suivante")}">{page}</i>'
    with pytest.raises(AssertionError, match="visit"):
        environment.from_string("{{ _(x) }}")


@given(st.text() | st.text("&<>\"'a;").map(Markup) | st.integers() | st.none())
def test_anything_is_escaped(value: Any) -> None:
    """As markupsafe does it: what is markup already stays as it is, and nothing else does."""
    assert escaped(value) == str(escape(value))
    page = RENDERER._environments["fr"].from_string("<p title='{{ value }}'>")
    assert page.render(value=value) == f"<p title='{escape(value)}'>"


@given(st.dictionaries(st.sampled_from(["id", "name", "data-x"]), st.text() | st.booleans()))
def test_attributes(given: dict[str, Any]) -> None:
    """As WTForms makes them, but for their order."""
    assert attributes(**dict(sorted(given.items()))) == html_params(**given)


def test_french_spaces_hold() -> None:
    """No line ends before a colon or within guillemets; none is singular."""
    words = RENDERER.words["fr"]
    assert words.gettext("Sûr ? « Oui » : %(n)s") == "Sûr\u00a0? «\u00a0Oui\u00a0»\u00a0: %(n)s"
    assert [words.ngettext("un", "des", n) for n in (0, 1, 2)] == ["un", "un", "des"]
