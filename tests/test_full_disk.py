"""An overflow whose disk is full in the middle: nothing is lost, and with room it goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mail6m.model import Shelf
from mail6m.shelves.cabinet import criteria
from mail6m.storage.archive import MINUTE
from mail6m.storage.migrate import migrate
from tests.harness import Say, new_place
from tests.reactor_thread import run
from tests.shelved import House, assert_counted, make_house
from tests.small_disk import (
    Full,
    Place,
    SmallDisk,
    data_on_small_disk,
    fill_data,
    fill_log,
    log_on_small_disk,
)
from tests.stored import NOON, ask, new_pool

KEPT = 10
"""Messages that the cabinet has room for."""
MESSAGES = 3_000


def settle(house: House) -> int:
    """A customer whose cabinet has to give nearly all that it holds to the cellar."""
    customer = house.customer(KEPT)
    for first in range(0, MESSAGES, 500):
        house.store(customer, 500, NOON + first * MINUTE)
    run(lambda: house.cabinet.newest(customer, criteria("anne"), [Shelf.CABINET], 1))  # indexed
    return customer


def bodies(dsn: str, customer: int) -> list[tuple[object, ...]]:
    """What all messages are, in one line."""
    return ask(
        dsn,
        "SELECT count(*), md5(string_agg(message_id::text || md5(sealed), '' ORDER BY message_id))"
        " FROM body WHERE customer_id = %s",
        customer,
    )


@pytest.mark.parametrize(
    ("full", "fill", "complaint"),
    [
        (data_on_small_disk, fill_data, "could not extend file"),
        (log_on_small_disk, fill_log, "PANIC:  could not write to file"),
    ],
    ids=["the data", "the log"],
)
def test_an_overflow_on_a_full_disk_goes_on_when_there_is_room(
    full: Full, fill: Callable[[Place, SmallDisk], None], complaint: str, say: Say
) -> None:
    """PostgreSQL fails in the middle, or dies; nothing is lost or doubled, and the rest moves."""
    with new_place() as path, full(path) as (place, disk):
        migrate(place.dsn)
        with new_pool(place.dsn) as pool:
            house = make_house(place.dsn, pool)
            customer = settle(house)
        ids, content = house.on(customer, Shelf.CABINET), bodies(place.dsn, customer)
        assert len(ids) == MESSAGES
        fill(place, disk)
        assert place.server.refusal("shelves", "sweep").count("\n") == 1
        assert "No space left on device" in place.said
        assert complaint in place.said
        disk.make_room()

        place.start()
        cabinet, cellar = house.on(customer, Shelf.CABINET), house.on(customer, Shelf.CELLAR)
        say(f"{complaint}: {len(cellar)} of {MESSAGES} messages had moved")
        assert cellar + cabinet == ids
        assert 0 < len(cellar) < MESSAGES - KEPT
        assert_counted(place.dsn, customer)
        assert bodies(place.dsn, customer) == content

        with place.server as server:
            server.command("shelves", "sweep")
            assert house.on(customer, Shelf.CELLAR) == ids[:-KEPT]
            assert house.on(customer, Shelf.CABINET) == ids[-KEPT:]
            shown = server.customer(customer)
            assert shown["cabinet_messages"] == KEPT
            assert shown["cellar_messages"] == MESSAGES - KEPT
            assert_counted(place.dsn, customer)
            assert bodies(place.dsn, customer) == content
