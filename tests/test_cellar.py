"""The cellar in figures: what is there, and when the next things will happen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mail6m.model import Shelf
from mail6m.shelves.cellar import Cellar, Forecast, forecast, image_size
from mail6m.storage.archive import DAY, MINUTE
from mail6m.storage.customers import Customers
from mail6m.storage.errors import Refused
from mail6m.storage.shelves import Arrivals, Held, Shelves
from tests.console_client import Console, House, listening, new_house
from tests.reactor_thread import run
from tests.stored import NOON, new_customer, new_message, new_pool

MESSAGE = new_message(1)
NO_MAIL = Arrivals(0, 0, 0, 0)


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console with a database of its own."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer whose cabinet holds some messages of last year."""
    return new_house(at)


def at_noon(at: Console, customer: int, days: int, shelf: Shelf) -> None:
    """A message came in on each of the days before that of NOON, and stands on a shelf."""
    messages = [
        new_message(customer, milliseconds=NOON - day * DAY, shelf=shelf)
        for day in range(1, days + 1)
    ]
    run(lambda: at.archive.store(messages, 0))


def shown(at: Console, house: House, path: str = "/cave") -> str:
    """What the page says to the customer's reader, without its tags."""
    browser = at.browser(Accept_Language="fr")
    browser.enter(at, house.reader)
    page = browser.get(path)
    assert page.status == 200
    main = page.text.partition("<main")[2]
    return " ".join(re.sub(r"<[^>]+>", " ", main).replace("\u00a0", " ").split())


# What is to come


def test_without_mail_nothing_can_be_foreseen() -> None:
    """But a disc's worth that is there already."""
    assert forecast(1_000, 1_000, NO_MAIL) == Forecast(None, None)
    assert forecast(1_000, 0, NO_MAIL) == Forecast(None, 0)


def test_the_cabinet_is_full_when_its_room_is_used_up() -> None:
    """At so many stored bytes a day."""
    a_day = Arrivals(bytes=900, raw_bytes=2_000, messages=9, days=9)
    assert forecast(1_000, 10**12, a_day).cabinet_full == 10
    assert forecast(99, 10**12, a_day).cabinet_full == 0
    assert forecast(-5_000, 10**12, a_day).cabinet_full == 0


def test_a_disc_fills_when_the_cabinet_is_full() -> None:
    """What comes in then pushes as much into the cellar."""
    a_day = Arrivals(bytes=100, raw_bytes=1_000, messages=2, days=1)
    written = image_size(2, 1_000)
    assert forecast(1_000, 30 * written, a_day) == Forecast(10, 40)
    assert forecast(0, 30 * written, a_day) == Forecast(0, 30)
    assert forecast(0, -1, a_day) == Forecast(0, 0)


def test_what_is_too_far_is_not_foreseen() -> None:
    """A date in the next century helps nobody, and may be none at all."""
    a_day = Arrivals(bytes=1, raw_bytes=1, messages=1, days=1)
    assert forecast(10**10, 10**10, a_day) == Forecast(None, None)


def test_an_image_is_larger_than_its_messages() -> None:
    """Each begins a sector of its own, and is named in directories and lists."""
    assert image_size(0, 0) == 0
    assert image_size(1_000, 4_096_000) > 4_096_000 + 1_000 * 1_024


# What is there


def test_a_cellar_is_reported(at: Console, house: House) -> None:
    """Messages, bytes, the period to the minute; and what came in lately, on whatever shelf."""
    now = datetime.fromtimestamp(NOON / 1000, UTC)
    at_noon(at, house.number, 4, Shelf.CELLAR)
    at.ask("UPDATE customer SET capacity = 1 WHERE customer_id = %s", house.number)
    with new_pool(at.dsn) as pool:
        shelves = Shelves(pool)
        cellar = Cellar(shelves, Customers(pool), 10**6, lambda: now)
        report = run(lambda: cellar.report(house.number))
        with pytest.raises(Refused):
            run(lambda: cellar.report(new_customer()))
    minutes = [(NOON - day * DAY) // MINUTE * MINUTE / 1000 for day in (4, 1)]
    first, last = (datetime.fromtimestamp(minute, UTC) for minute in minutes)
    each = MESSAGE.stored_size, MESSAGE.raw_size
    assert report.held == Held(4, 4 * each[0], 4 * each[1], first, last)
    assert report.arrivals == Arrivals(4 * each[0], 4 * each[1], 4, 4)
    assert report.image_size == image_size(4, 4 * each[1])
    days = (10**6 - report.image_size) * 4 // report.image_size
    assert report.forecast == Forecast(0, days)


def test_only_mail_of_whole_days_of_the_last_ninety_counts(at: Console, house: House) -> None:
    """Today is not over, and what is older says little."""
    now = datetime.fromtimestamp(NOON / 1000, UTC)
    at_noon(at, house.number, 100, Shelf.CABINET)
    run(lambda: at.archive.store([new_message(house.number)], 0))
    with new_pool(at.dsn) as pool:
        arrivals = run(lambda: Shelves(pool).arrivals(house.number, now, 90))
    assert (arrivals.messages, arrivals.days) == (90, 90)


# The page


def test_an_empty_cellar_says_so(at: Console, house: House) -> None:
    """And that all mail is still in the cabinet."""
    said = shown(at, house)
    assert "Votre cave est vide" in said
    assert "archiviste" in said


def test_the_page_shows_figures_and_no_message(at: Console, house: House) -> None:
    """How many, how large, from when to when, and how far from a disc; of this customer alone."""
    at_noon(at, house.number, 12, Shelf.CELLAR)
    said = shown(at, house)
    assert "Messages 12 " in said
    assert "Prochain DVD 0 % sur 4,7 Go" in said
    assert "Période" in said
    assert "Bonjour" not in said
    assert "anne@example.org" not in said
    assert "Votre cave est vide" in shown(at, new_house(at))
