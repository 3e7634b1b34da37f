"""Every letter: in both languages, as text and as HTML, as mail; and whatever its values are."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mail6m.web
from mail6m.letters import Letter, compose
from mail6m.notices.catalogue import KINDS, OPTIONAL, TOPICS, Kind
from mail6m.web.render import Renderer, one_line
from mail6m.web.words import LANGUAGES
from tests.test_letters import body

BASE = "https://console.mail6m.test"
END = f"{BASE}/desabonnement/12.queue.Y0BkLmZy.{'x' * 43}"
NOW = datetime(2026, 3, 1, 16, 1, 21, tzinfo=UTC)
TEMPLATES = Path(mail6m.web.__file__).parent / "templates" / "letters"
LETTERS = [
    pytest.param(kind, language, id=f"{kind.name}-{language}")
    for kind in KINDS
    for language in LANGUAGES
]
HOSTILE = (
    "Dupont\n\nhttps://evil.example\r\nBcc: x@evil.example\n\n<script>alert(1)</script>"
    "<img src=x onerror=alert(1)>\u2028\u202eetirW\u2066 {{ 7*7 }} %s\x1b[31m\x85fin"
)
"""Lines, a header, markup, letters that run backwards, and a terminal's colour."""
_RENDERER = Renderer("1")


def written(kind: Kind, language: str, values: Mapping[str, Any] | None = None) -> Letter:
    """The letter as it is sent."""
    given = {"link": BASE + kind.path, **(values if values is not None else kind.values)}
    if kind.topic:
        given["unsubscribe"] = END
    return _RENDERER.letter(kind.name, language, **given)


def hostile(value: Any, text: str = HOSTILE) -> Any:
    """The same value, as somebody writes it who means harm."""
    if isinstance(value, str):
        return text
    if isinstance(value, SimpleNamespace):
        return SimpleNamespace(**{name: hostile(one, text) for name, one in vars(value).items()})
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        kept = ("time_zone", "language")
        return replace(value, **{n: hostile(v, text) for n, v in named.items() if n not in kept})
    return value


def all_hostile(kind: Kind, text: str = HOSTILE) -> dict[str, Any]:
    """All its values."""
    return {
        name: value if name == "time_zone" else hostile(value, text)
        for name, value in kind.values.items()
    }


class Page(HTMLParser):
    """What a mail reader makes of a letter's HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.said: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element, and what it names."""
        self.tags.append(tag)
        named = dict(attrs)
        if tag == "a":
            self.links.append(named.get("href") or "")
        self.fetched += [value or "" for name, value in attrs if name in ("src", "background")]

    def handle_data(self, data: str) -> None:
        """A text."""
        if self.tags[-1:] != ["style"] and data.strip():
            self.said.append(data)


def links_of(text: str) -> list[str]:
    """The links that stand on a line of their own."""
    return re.findall(r"^https?://\S+$", text, re.MULTILINE)


def test_there_are_words_for_every_letter_and_no_others() -> None:
    """A template for each, and no template that is nobody's."""
    assert {path.stem for path in TEMPLATES.glob("*.txt")} == {kind.name for kind in KINDS}
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_who_may_do_without_has_a_topic() -> None:
    """And whoever has to get it has not."""
    for kind in KINDS:
        assert (kind.why == OPTIONAL) == bool(kind.topic), kind.name
        assert kind.topic in ("", *TOPICS)
    assert {kind.topic for kind in KINDS} - {""} == set(TOPICS)


@pytest.mark.parametrize(("kind", "language"), LETTERS)
def test_a_letter_says_the_same_in_text_and_in_html(kind: Kind, language: str) -> None:
    """Each paragraph, and the same links; the button has a label; nothing is fetched."""
    letter = written(kind, language)
    page = Page(letter.html)
    assert "\n" not in letter.subject
    assert 0 < len(letter.subject) <= 78
    assert letter.language == language
    assert f'<html lang="{language}">' in letter.html
    said = " ".join(page.said)
    for paragraph in letter.text.strip().split("\n\n"):
        if END not in paragraph:
            assert paragraph in said, paragraph
    assert sorted(set(links_of(letter.text))) == sorted(set(page.links))
    assert bool(kind.path) == (BASE + kind.path in page.links)
    assert page.fetched == []
    assert not set(page.tags) & {"img", "script", "iframe", "form", "link", "object"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_letter_is_translated_whole(kind: Kind) -> None:
    """No paragraph of the one language stands in the other."""
    french, english = (written(kind, language) for language in LANGUAGES)
    assert french.subject != english.subject
    values = {str(value) for value in kind.values.values()}
    both = set(french.text.split("\n\n")) & set(english.text.split("\n\n"))
    assert {one for one in both if not one.startswith("https://")} - values == set()
    if kind.button:
        buttons = [Page(letter.html).said for letter in (french, english)]
        assert kind.button in buttons[0]
        assert kind.button not in buttons[1]


@pytest.mark.parametrize(("kind", "language"), LETTERS)
def test_hostile_values_change_no_letter(kind: Kind, language: str) -> None:
    """No line, paragraph, link, field or element comes of them, and nothing runs backwards."""
    plain, worst = written(kind, language), written(kind, language, all_hostile(kind))
    assert "\n" not in worst.subject
    assert worst.text.count("\n") == plain.text.count("\n")
    assert Page(worst.html).links == Page(plain.html).links
    assert Page(worst.html).tags == Page(plain.html).tags
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", worst.text)
    message = as_mail(worst)
    assert message["Bcc"] is None
    assert message["Subject"] == worst.subject


@pytest.mark.parametrize(("kind", "language"), LETTERS)
def test_a_letter_is_good_mail(kind: Kind, language: str) -> None:
    """Parsed without a defect, short lines in ASCII, in its language, and answered by nobody."""
    letter = written(kind, language)
    message = as_mail(letter)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == language
    assert message["From"] == "Mail6M <postmaster@mail6m.test>"
    assert (message["List-Unsubscribe"] == f"<{END}>") == bool(kind.topic)
    assert (message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click") == bool(kind.topic)
    assert body(message, "plain") == letter.text
    assert body(message, "html").strip() == letter.html


@pytest.mark.parametrize(
    ("link", "signed", "posted"),
    [(END, True, True), (END, False, False), (END.replace("https", "http"), True, False)],
)
def test_one_click_takes_a_signature_and_https(link: str, signed: bool, posted: bool) -> None:
    """Without them the link is offered all the same, but no machine is asked to follow it."""
    letter = Letter("Objet", "Texte\n", "<p>Texte</p>", "fr", link)
    octets = compose("mail6m.test", "a@x.test", letter, NOW, "<1@mail6m.test>", signed=signed)
    assert octets.startswith(f"List-Unsubscribe: <{link}>\r\n".encode())
    assert (b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in octets) == posted


def as_mail(letter: Letter) -> EmailMessage:
    """A letter as it is queued and read again; checked as mail."""
    octets = compose("mail6m.test", "a@x.test", letter, NOW, "<1@mail6m.test>", signed=True)
    assert octets.isascii()
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert not part.defects
    assert [one.get_content_type() for one in message.iter_parts()] == ["text/plain", "text/html"]
    return message


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_a_value_is_a_part_of_one_line(text: str) -> None:
    """Whatever it is; and what is no control character, nor turns others around, stays."""
    made = one_line(text)
    assert len(made.splitlines()) <= 1
    assert made == one_line(made)
    assert [c for c in made if c.isalnum()] == [c for c in text if c.isalnum()]


def test_spaces_that_no_line_may_end_at_stay() -> None:
    """As numbers have them."""
    assert one_line("9\u202f307\u00a0Go") == "9\u202f307\u00a0Go"


def shown_table() -> Iterator[str]:
    """The table of docs/notices.md, from the catalogue; in English."""
    words = _RENDERER.words["en"]
    yield "| letter | when it is sent | why | unsubscribing |"
    yield "|---|---|---|---|"
    for kind in KINDS:
        when, why = words.gettext(kind.when), words.gettext(kind.why)
        yield f"| `{kind.name}` | {when} | {why} | {f'`{kind.topic}`' if kind.topic else '–'} |"


DOCUMENT = Path(__file__).parent.parent / "docs" / "notices.md"


def renewed(text: str) -> str:
    """The document with its table made anew."""
    made = "\n".join(shown_table())
    pattern = r"(<!-- table: notices -->\n).*?(<!-- end -->)"
    text, found = re.subn(pattern, lambda m: f"{m[1]}{made}\n{m[2]}", text, flags=re.DOTALL)
    assert found == 1, "no place for the table"
    return text


def test_the_documents_table_is_current() -> None:
    """The document says which letters there are; write it anew when this fails."""
    text = DOCUMENT.read_text("utf-8")
    assert renewed(text) == text, "run: PYTHONPATH=. python tests/test_notice_letters.py"


def test_dates_are_dates() -> None:
    """A sample has what the template's filters ask for."""
    for kind in KINDS:
        for name, value in kind.values.items():
            assert name != "last_day" or isinstance(value, date)


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text("utf-8")), "utf-8")
