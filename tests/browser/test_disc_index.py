"""The index of a disc, in Chromium, from the disc itself: no server, and no network."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect

from mail6m.model import Message, Shelf
from mail6m.shelves.disc.listing import Label
from mail6m.shelves.disc.master import Mastering, Wanted
from tests.browser.judges import Axe, HtmlJudge, install
from tests.browser.letters import HOSTILE
from tests.harness import require

FIRST = datetime(2005, 7, 1, 7, 30, tzinfo=UTC)
COUNT = 5_321


def letter(number: int) -> bytes:
    """A message."""
    return b"Subject: %d\r\n\r\nBonjour.\r\n" % number


def message(number: int) -> Message:
    """What is known of it: most are alike, some stand out."""
    subject = f"Facture n° {number}"
    sender = f"Jacques <jacques{number % 9}@vermeulen.net>"
    if number == 77:
        subject = "Réunion à l'ÉCOLE, Œuvres"
    if number == 78:
        subject, sender = HOSTILE, "<script>alert(1)</script> <pirate@example.org>"
    octets = letter(number)
    return Message(
        1, UUID(int=number + 1), FIRST + timedelta(minutes=17 * number), "retour@vermeulen.net",
        ("celine@mondomaine.fr",), sender, "Céline <celine@mondomaine.fr>", subject, "<1@a>",
        len(octets), 50, hashlib.sha256(octets).digest(), number % 500 == 3, Shelf.CELLAR, False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disc, as it is when it has been put into a drive."""
    require("xorriso", "xorriso")
    folder = tmp_path_factory.mktemp("disc")

    def contents(wanted: list[Wanted]) -> Iterator[bytes]:
        return (letter(one.id.int - 1) for one in wanted)

    label = Label("TCWGR3", "Duchemin & Fils", FIRST)
    made = Mastering(folder, label, 10**9, ZoneInfo("Europe/Paris")).make(
        map(message, range(COUNT)), contents, lambda part: None, lambda: None, archive_spam=True
    )
    to = folder / "drive"
    command = ["xorriso", "-osirrox", "on", "-indev", str(made.image), "-extract", "/", str(to)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return to


@pytest.fixture
def page(disc: Path, browser: Browser) -> Iterator[Page]:
    """Its index, open."""
    context = browser.new_context(locale="fr-FR")
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda said: trouble.append(said.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "request",
        lambda asked: trouble.append(asked.url) if not asked.url.startswith("file:") else None,
    )
    page.goto((disc / "index.html").as_uri())
    yield page
    assert trouble == []
    context.close()


def subjects(page: Page) -> list[str]:
    """Those in the list."""
    return page.locator("#rows td.subject").all_inner_texts()


def search(page: Page, **fields: str) -> str:
    """Search, and what is said of it."""
    for name, value in fields.items():
        page.locator(f"#{name}").fill(value)
    page.get_by_role("button", name="Chercher").click()
    return page.locator("#said").inner_text()


def test_the_list_begins_with_the_newest(page: Page) -> None:
    """A hundred to a page, and one can turn them."""
    assert subjects(page)[:2] == [f"Facture n° {COUNT - 1}", f"Facture n° {COUNT - 2}"]
    assert len(subjects(page)) == 100
    expect(page.locator("#said")).to_have_text(f"{COUNT} messages")
    page.get_by_role("button", name="Page suivante").click()
    expect(page.locator("#page")).to_have_text("Page 2 sur 54")
    assert subjects(page)[0] == f"Facture n° {COUNT - 101}"
    assert page.get_by_role("heading", level=1).inner_text() == "DVD TCWGR3"
    assert "Duchemin & Fils" in page.locator("header").inner_text()


def test_columns_sort_it(page: Page) -> None:
    """Up, and down again."""
    page.get_by_role("button", name="Date", exact=True).click()
    assert subjects(page)[0] == "Facture n° 0"
    page.get_by_role("button", name="Taille").click()
    expect(page.locator("th.size")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Objet").click()
    page.get_by_role("button", name="Objet").click()
    assert subjects(page)[0].startswith("Réunion")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"subject": "reunion a l'ecole"}, "1 message"),
        ({"subject": "ŒUVRE"}, "1 message"),
        ({"subject": "oeuvre", "sender": "jacques"}, "1 message"),
        ({"subject": "facture", "sender": "pirate"}, "0 message"),
        ({"sender": "RETOUR@vermeulen"}, f"{COUNT} messages"),
        (
            {"recipient": "celine", "since": "2005-07-01 9:30", "until": "2005-07-01 9:31"},
            "1 message",
        ),
        ({"since": "2005-07-02", "until": "2005-07-03"}, "84 messages"),
        ({"since": "2005-02-30"}, "Écrivez la date comme 2005-07-01 9:30, ou 2005-07-01."),
    ],
)
def test_it_is_searched_as_in_the_console(page: Page, fields: dict[str, str], said: str) -> None:
    """By parts, without case and accents, all fields together."""
    assert search(page, **fields) == said
    if not said.startswith("Écrivez"):
        page.get_by_role("button", name="Tout montrer").click()
        expect(page.locator("#said")).to_have_text(f"{COUNT} messages")


def test_what_a_sender_wrote_is_text(page: Page) -> None:
    """However much it looks like a page."""
    assert search(page, sender="pirate") == "1 message"
    assert subjects(page) == [HOSTILE]
    assert page.locator("#rows td.sender").inner_text().startswith("<script>")
    assert page.title() == "DVD TCWGR3 – Mail6M"


def test_a_message_opens(page: Page, disc: Path) -> None:
    """Every link of the list leads to a file of the disc."""
    search(page, subject="oeuvres")
    link = page.locator("#rows a").get_attribute("href")
    assert link is not None
    address = page.evaluate("link => new URL(link, document.baseURI).href", link)
    path = page.evaluate("address => decodeURIComponent(new URL(address).pathname)", address)
    assert Path(path).read_bytes() == letter(77)
    assert Path(path).is_relative_to(disc)


def test_it_speaks_english_too(page: Page) -> None:
    """And says so in its language."""
    page.get_by_role("button", name="English").click()
    assert page.locator("html").get_attribute("lang") == "en"
    expect(page.get_by_role("button", name="Search")).to_be_visible()
    expect(page.locator("#page")).to_have_text("Page 1 of 54")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_stands_what_judges_ask(browser: Browser, disc: Path, shots: Path, theme: str) -> None:
    """axe-core, html-validate, its width, and a person who looks at it."""
    install()
    with HtmlJudge() as judge:
        assert judge.faults((disc / "index.html").read_text()) == []
    page = browser.new_page(
        locale="fr-FR", color_scheme=theme
    )  # axe-core asks for the styles itself
    page.goto((disc / "index.html").as_uri())
    expect(page.locator("#said")).to_have_text(f"{COUNT} messages")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert Axe().faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=shots / f"disque-{width}-{theme}.png")
    page.close()


def test_spam_is_marked(page: Page) -> None:
    """Where it has been archived."""
    search(page, subject="n° 503")
    assert subjects(page)[-1] == "Facture n° 503 (spam)"
