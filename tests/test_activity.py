"""Activité: every act has its words, and the page shows the customer's, newest first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from unittest.mock import patch
from uuid import UUID

import pytest

from mail6m.model import Act
from mail6m.storage.audit import Audit
from mail6m.web import activity
from mail6m.web.activity import ACTS, ROWS
from tests.console_client import Browser, Console, House, Page, listening, new_house
from tests.reactor_thread import run
from tests.stored import new_pool

PATH = "/activite"
GONE = UUID("01980000-0000-7000-8000-000000000000")


def test_every_act_has_words_of_its_own() -> None:
    """No act is shown under its code name, or under another's words."""
    missing = set(Act) - set(ACTS)
    assert not missing, f"mail6m.web.activity.ACTS needs labels for {sorted(missing)}"
    assert len(set(ACTS.values())) == len(ACTS)


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console with a database of its own."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer."""
    return new_house(at)


@pytest.fixture
def browser(at: Console, house: House) -> Browser:
    """Its administrator's."""
    browser = at.browser()
    browser.enter(at, house.admin)
    return browser


def note(at: Console, house: House, act: str, object_: object = "") -> None:
    """Something that was done."""
    at.ask(
        "INSERT INTO audit (customer_id, account, client_address, act, object)"
        " VALUES (%s, 'lucie@example.org', '2001:db8::7', %s, %s)",
        house.number,
        act,
        str(object_),
    )


def objects(page: Page) -> list[str]:
    """What stands in the column "Sur quoi", without its markup."""
    cells = re.findall(r'<td class="object">(.*?)</td>', page.text, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in cells]


def test_who_what_when_from_where_on_what(at: Console, house: House, browser: Browser) -> None:
    """One line has it all, and what somebody typed is text."""
    note(at, house, Act.WHITELIST_ADDED, "100% <b>cargo.com")
    text = browser.get(PATH).body.decode()
    row = text.partition("<tbody>")[2].partition("</tr>")[0]
    for said in (
        *("Aujourd&#39;hui", "lucie@example.org", "2001:db8::7", "100% &lt;b&gt;cargo.com"),
        "Entrée ajoutée à la liste blanche",
    ):
        assert said in row


def test_what_an_operator_did(at: Console, house: House, browser: Browser) -> None:
    """Is Mail6M's, and was done on a command line."""
    at.ask(
        "INSERT INTO audit (customer_id, account, client_address, act)"
        " VALUES (%s, 'operator', 'command line', %s)",
        house.number,
        Act.DELIVERIES_RETRIED,
    )
    text = browser.get(PATH).text
    assert '<td class="account">Mail6M</td>' in text
    assert '<td class="client code">en ligne de commande</td>' in text


def test_newest_first_page_by_page(at: Console, house: House, browser: Browser) -> None:
    """Fifty to a page; a page that is not there is the last one."""
    for number in range(ROWS + 1):
        note(at, house, Act.WHITELIST_ADDED, f"d{number}.example")
    newest_first = [f"d{number}.example" for number in reversed(range(ROWS + 1))]
    first = browser.get(PATH)
    assert objects(first) == newest_first[:ROWS]
    assert 'href="/activite?page=2"' in first.text
    rest = [newest_first[ROWS], f"objet-{house.word}"]
    assert objects(browser.get(f"{PATH}?page=2")) == rest
    assert objects(browser.get(f"{PATH}?page=999999")) == rest


def test_messages_lead_to_their_details(at: Console, house: House, browser: Browser) -> None:
    """While they exist, and are this customer's; of many messages the first ones are named."""
    theirs = new_house(at)
    note(at, house, Act.MESSAGE_REISSUED, house.messages[0])
    note(at, house, Act.MESSAGE_REISSUED, theirs.messages[0])
    note(at, house, Act.MESSAGES_DELETED, " ".join(map(str, [GONE] * 12)))
    page = browser.get(PATH)
    links = re.findall(r'href="(/details[^"]*)"', page.text)
    assert links == [f"/details?id={house.messages[0]}"]
    assert browser.get(links[0]).status == 200
    assert objects(page)[:3] == [
        f"{GONE} {GONE} {GONE} + 9",
        str(theirs.messages[0]),
        str(house.messages[0]),
    ]


def test_fields_are_called_as_on_their_page(at: Console, house: House, browser: Browser) -> None:
    """Preferences by their labels."""
    note(at, house, Act.PREFERENCES_CHANGED, "postcode, cabinet_rows")
    assert objects(browser.get(PATH))[0] == "Code Postal, Lignes dans le meuble"


def test_what_another_version_wrote_is_shown(at: Console, house: House, browser: Browser) -> None:
    """Acts and objects that are unknown here are shown as they are."""
    note(at, house, "moon landed", "disc 7")
    note(at, house, Act.MESSAGES_DELETED, "twelve of them")
    note(at, house, Act.PREFERENCES_CHANGED, "shoe_size")
    page = browser.get(PATH)
    assert page.status == 200
    assert objects(page)[:3] == ["shoe_size", "twelve of them", "disc 7"]
    assert "moon landed" in page.text


def test_counting_ends_somewhere(at: Console, house: House, browser: Browser) -> None:
    """However long the audit is; the last page says that there is more."""
    for number in range(ROWS * 2):
        note(at, house, Act.WHITELIST_ADDED, f"d{number}.example")
    with new_pool(at.dsn) as pool:
        audit = Audit(pool)
        assert run(lambda: audit.count(house.number, 10)) == 10
        assert run(lambda: audit.count(house.number, 1_000)) == ROWS * 2 + 1
    more = "les plus anciens sont conservés"
    assert more not in browser.get(f"{PATH}?page=3").text
    with patch.object(activity, "MOST", ROWS * 2):
        page = browser.get(f"{PATH}?page=3")
        assert more in page.text
        assert objects(page)[-1] == "d0.example"
        assert more not in browser.get(PATH).text


def test_administrators_only(at: Console, house: House, browser: Browser) -> None:
    """Readers are refused, and do not find it in the menu; nobody sees another customer's."""
    theirs = new_house(at)
    assert f"objet-{theirs.word}" not in browser.get(PATH).text
    reader = at.browser()
    reader.enter(at, house.reader)
    assert reader.get(PATH).status == 403
    assert f'href="{PATH}"' not in reader.get("/meuble").text
