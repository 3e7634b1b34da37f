"""The journal: what everybody did, filtered, page by page, and as a file; and what it costs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from mail6m.model import HOUSE, Act, Role
from mail6m.storage.audit import NOW, Audit, Place, Stretch, Wanted
from mail6m.storage.pool import Pool
from tests.console_client import Browser, Console, listening, new_house, new_operator
from tests.reactor_thread import run
from tests.stored import ask, new_pool

PATH = "/exploitation/journal"
DAWN = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
MARC, CELINE = "Marc@duchemin.test", "celine@voisin.test"


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """The console."""
    with listening(dsn) as console:
        yield console


@pytest.fixture(scope="module")
def browser(at: Console) -> Browser:
    """One who looks on."""
    browser = at.browser()
    browser.enter(at, new_operator(at, Role.OBSERVER))
    return browser


@pytest.fixture(scope="module")
def pool(dsn: str, at: Console) -> Iterator[Pool]:
    """Two customers and the house have done something every minute of some days."""
    ask(
        dsn,
        "INSERT INTO audit (customer_id, at, account, client_address, act, object)"
        " SELECT CASE WHEN n %% 3 = 0 THEN 0 ELSE 700 + n %% 3 END, %s + n * interval '1 minute',"
        " CASE WHEN n %% 3 = 1 THEN %s ELSE %s END, '192.0.2.1',"
        " CASE WHEN n %% 100 = 7 THEN 'disc ordered' ELSE 'signed in' END, n::text"
        " FROM generate_series(1, 3000) AS n",
        DAWN, MARC, CELINE,
    )  # fmt: skip
    with new_pool(dsn, 4) as pool:
        yield pool


def walk(
    pool: Pool, wanted: Wanted, before: Place = NOW, limit: int = 50, most: int = 400
) -> Stretch:
    """A stretch of the journal."""
    return run(lambda: Audit(pool).walk(wanted, before, limit, most))


def whole(pool: Pool, wanted: Wanted, limit: int = 50, most: int = 400) -> list[str]:
    """What all stretches have, one after the other."""
    found, before = [], NOW
    for _ in range(500):
        stretch = walk(pool, wanted, before, limit, most)
        found += [noted.entry.object for noted in stretch.acts]
        if stretch.next is None:
            return found
        assert stretch.next < before
        before = stretch.next
    raise AssertionError("it does not end")


BEFORE_ALL = DAWN + timedelta(minutes=3_001)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), lambda n: True),
        (Wanted(customer=701), lambda n: n % 3 == 1),
        (Wanted(customer=HOUSE), lambda n: n % 3 == 0),
        (Wanted(account=MARC.lower()), lambda n: n % 3 == 1),
        (Wanted(act="disc ordered"), lambda n: n % 100 == 7),
        (Wanted(customer=702, act="disc ordered"), lambda n: n % 3 == 2 and n % 100 == 7),
        (Wanted(customer=702, account=MARC), lambda n: False),
        (Wanted(account=CELINE, act="disc ordered"), lambda n: n % 3 != 1 and n % 100 == 7),
        (Wanted(since=DAWN + timedelta(minutes=2_000)), lambda n: n >= 2_000),
        (Wanted(customer=701, until=DAWN + timedelta(minutes=10)), lambda n: n % 3 == 1 and n < 10),
    ],
)
@pytest.mark.parametrize(("limit", "most"), [(50, 400), (7, 20), (5_000, 5_000)])
def test_every_act_is_found_once(
    pool: Pool, wanted: Wanted, expected: object, limit: int, most: int
) -> None:
    """Newest first, however short the stretches are."""
    assert callable(expected)
    end = min(wanted.until, BEFORE_ALL)
    asked = Wanted(wanted.customer, wanted.account, wanted.act, max(wanted.since, DAWN), end)
    numbers = [str(n) for n in range(3_000, 0, -1) if expected(n)]
    assert whole(pool, asked, limit, most) == numbers


def test_a_walk_is_bounded(pool: Pool) -> None:
    """Where nothing comes through the filter, no more is looked at than was said; it can go on."""
    stretch = walk(pool, Wanted(customer=702, account=MARC, until=BEFORE_ALL), most=100)
    assert stretch.acts == []
    assert stretch.reached is not None
    assert stretch.next is not None
    assert stretch.reached == DAWN + timedelta(minutes=3_000 - 1 - 3 * 99)


def test_who_and_whose(pool: Pool, at: Console) -> None:
    """An act has its customer's name, unless there is none any more; the house has its own."""
    house = new_house(at)
    [mine, *_] = walk(pool, Wanted(customer=house.number)).acts
    assert (mine.customer, mine.company) == (house.number, house.company)
    [gone, *_] = walk(pool, Wanted(customer=701)).acts
    assert (gone.customer, gone.company) == (701, "")


def test_the_page(at: Console, browser: Browser, pool: Pool) -> None:
    """Its filters, and its pages, which lead on without saying how many there are."""
    first = browser.get(f"{PATH}?client=701&jour=2026-03-02")
    assert first.status == 200
    assert MARC in first.text
    assert CELINE not in first.text
    assert 'rel="next"' in first.text
    assert "Client 701" in first.text
    number = 0
    page, seen = first, first.text.count('class="act"')
    while 'rel="next"' in page.text:
        number += 1
        href = page.text.split('rel="next"')[0].rpartition('href="')[2].split('"')[0]
        page = browser.get(href)
        assert page.status == 200
        seen += page.text.count('class="act"')
    assert seen == 480  # a third of the minutes of a day, in Paris
    assert number == 9


def test_failures_to_sign_in_are_there(at: Console, browser: Browser) -> None:
    """Of accounts that exist, and of those that do not."""
    house = new_house(at)
    stranger = at.browser()
    stranger.sign_in(house.admin_email, "not this one")
    stranger.sign_in("nobody@example.org", "not this one")
    shown = browser.get(f"{PATH}?acte=sign-in+failed").text
    assert "Connexion refusée" in shown
    assert house.admin_email in shown
    assert "nobody@example.org" not in shown, "what a stranger types may be a password"
    assert ">?<" in shown


@pytest.mark.parametrize(
    "query",
    [
        "client=abc", "client=-1", "client=99999999999", "jour=hier", "acte=nothing",
        "compte=" + "a" * 400,
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for(browser: Browser, query: str) -> None:
    """Is said, by page and by file."""
    for path in (PATH, PATH + ".csv"):
        assert browser.get(f"{path}?{query}").status == 400


@pytest.mark.parametrize(
    "query",
    [
        "avant=", "avant=1-", "avant=-1", "avant=99999999999999999999-1", "avant=a-b", "page=x",
        "avant=250000000000000000-1", "compte=%00", "jour=9999-12-31", "jour=0001-01-01",
    ],
)  # fmt: skip
def test_what_is_typed_into_links(browser: Browser, query: str) -> None:
    """Never breaks it."""
    assert browser.get(f"{PATH}?{query}").status == 200


def test_the_file(at: Console, browser: Browser) -> None:
    """As a spreadsheet reads it; nothing in it is a formula."""
    house = new_house(at)
    at.ask(
        "INSERT INTO audit (customer_id, account, client_address, act, object, by_house)"
        " VALUES (%s, '=cmd|x', '192.0.2.9', 'plan changed', '@SUM(A1;\"B\")', true)",
        house.number,
    )
    answer = browser.get(f"{PATH}.csv?client={house.number}")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="journal-')
    rows = list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig")), delimiter=";"))
    assert [row["act"] for row in rows] == ["plan changed", "whitelist entry added"]
    assert rows[0]["account"] == "'=cmd|x"
    assert rows[0]["object"] == '\'@SUM(A1;"B")'
    assert (rows[0]["house"], rows[1]["house"]) == ("1", "0")
    assert rows[1]["company"] == house.company


def test_every_act_can_be_asked_for(browser: Browser) -> None:
    """By its label."""
    shown = browser.get(PATH).text
    assert all(f'value="{act.value}"' in shown for act in Act)
