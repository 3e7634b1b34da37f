"""A full cabinet gives its oldest mail to the cellar: on a real PostgreSQL, by a turned clock."""

from __future__ import annotations

import random
import smtplib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

import pytest
from twisted.internet.task import Clock

from mail6m.model import Shelf
from mail6m.shelves.cabinet import criteria
from mail6m.shelves.overflow import INTERVAL, PORTION, ROUND, SHARE, Overflow
from mail6m.storage.archive import DAY, MINUTE
from mail6m.storage.errors import Refused, Unavailable
from mail6m.storage.shelves import Shed, Shelves
from tests.harness import Server, new_place
from tests.reactor_thread import run
from tests.shelved import SIZE, House, assert_counted
from tests.stored import NOON, ask, new_customer, new_message

# One move


def test_the_oldest_move_and_no_more_of_them_than_is_needed(house: House) -> None:
    """In order of arrival, until the cabinet holds what it may."""
    customer = house.customer(room_for=7)
    ids = house.store(customer, 10)
    assert house.shed(customer) == Shed(3, 0)
    assert house.on(customer, Shelf.CELLAR) == ids[:3]
    assert house.on(customer, Shelf.CABINET) == ids[3:]
    assert house.shed(customer) == Shed(0, 0)
    assert_counted(house.dsn, customer)


def test_a_move_goes_on_where_the_last_one_ended(house: House) -> None:
    """Portion by portion, it comes to the same."""
    customer = house.customer(room_for=2)
    ids = house.store(customer, 9, apart=MINUTE // 4)
    moved = []
    while (shed := house.shed(customer, most=3)).moved:
        moved.append(shed)
    assert moved == [Shed(3, -4 * SIZE), Shed(3, -SIZE), Shed(1, 0)]
    assert house.on(customer, Shelf.CELLAR) == ids[:7]
    assert_counted(house.dsn, customer)


def test_what_is_too_large_for_the_cabinet_goes_to_the_cellar(house: House) -> None:
    """A message that is larger than the cabinet is taken in all the same."""
    customer = house.customer(room_for=1)
    ask(house.dsn, "UPDATE customer SET capacity = 1 WHERE customer_id = %s", customer)
    [only] = house.store(customer, 1)
    assert house.shed(customer) == Shed(1, 1)
    assert house.on(customer, Shelf.CELLAR) == [only]


def test_a_cabinet_with_room_and_a_customer_who_is_none_are_left_alone(house: House) -> None:
    """Nothing moves, and the room is told."""
    customer = house.customer(room_for=3)
    house.store(customer, 2)
    assert house.shed(customer) == Shed(0, SIZE)
    assert house.shed(new_customer()) == Shed(0, 0)


def test_what_is_in_the_cellar_is_not_seen_online(house: House) -> None:
    """Not in the cabinet, not by the search, not in Details; an operator finds it in the cellar."""
    customer = house.customer(room_for=1)
    ids = house.store(customer, 3)
    run(lambda: house.cabinet.newest(customer, criteria("anne"), [Shelf.CABINET], 9))  # indexed
    house.shed(customer)

    def found(shelf: Shelf) -> list[UUID]:
        wanted = criteria(sender="anne", subject="jour")
        return [m.id for m in run(lambda: house.cabinet.newest(customer, wanted, [shelf], 9))]

    assert found(Shelf.CABINET) == ids[2:]
    assert found(Shelf.CELLAR) == ids[1::-1]
    page = run(lambda: house.cabinet.page(customer, 1, 20))
    assert [message.id for message in page.messages] == ids[2:]
    assert page.holding.messages == 1
    assert run(lambda: house.archive.details(customer, ids[2])).message.id == ids[2]
    with pytest.raises(Refused):
        run(lambda: house.archive.details(customer, ids[0]))


def test_what_is_indexed_after_it_has_moved_is_not_found_in_the_cabinet(house: House) -> None:
    """An entry is written for the shelf that the message stands on by then."""
    customer = house.customer(room_for=1)
    ids = house.store(customer, 2)
    house.shed(customer)
    messages = run(lambda: house.cabinet.newest(customer, criteria("anne"), [Shelf.CABINET], 9))
    assert [message.id for message in messages] == ids[1:]
    assert_counted(house.dsn, customer)


def test_counters_that_come_to_nothing_are_forgotten(house: House) -> None:
    """Of the days that are over; the page of a number is found without them all."""
    customer = house.customer(room_for=1)
    house.store(customer, 5, apart=DAY)
    house.shed(customer)
    rows = "SELECT count(*) FROM {} WHERE customer_id = %s AND shelf = 0"
    assert ask(house.dsn, rows.format("shelf_count"), customer) == [(1,)]
    assert ask(house.dsn, rows.format("minute_count"), customer) == [(1,)]
    assert_counted(house.dsn, customer)


def test_counters_of_today_are_kept_though_they_come_to_nothing(house: House) -> None:
    """A commit may be adding to them just now."""
    customer = house.customer(room_for=1)
    [[now]] = ask(house.dsn, "SELECT floor(extract(epoch FROM now()) * 1000)::bigint")
    house.store(customer, 3, start=now - 3 * MINUTE)
    house.shed(customer)
    rows = "SELECT count(DISTINCT minute) FROM minute_count WHERE customer_id = %s AND shelf = 0"
    assert ask(house.dsn, rows, customer) == [(3,)]
    assert_counted(house.dsn, customer)


# The ledger


def test_what_is_deleted_is_counted(house: House) -> None:
    """From either shelf; what is not there is not counted, and neither is mail of our own."""
    customer = house.customer(room_for=2)
    ids = house.store(customer, 4)
    house.shed(customer)
    own = new_message(customer, shelf=Shelf.TRANSIT)
    run(lambda: house.archive.store([own], 0))
    assert run(lambda: house.shelves.departed(customer)) == {}
    assert house.delete(customer, ids[0], ids[3], own.id) == 3
    assert house.delete(customer, ids[0]) == 0
    assert run(lambda: house.shelves.departed(customer)) == {"deleted": 2}
    assert_counted(house.dsn, customer)


# Several at once


def test_movers_and_deleters_at_once_neither_lose_nor_double(house: House) -> None:
    """While mail comes in, too: the counters say what is there, and the order is kept."""
    customer = house.customer(room_for=50)
    ids = house.store(customer, 400, apart=MINUTE // 10)

    def move(_: int) -> int:
        return house.shed(customer, most=20).moved

    def delete(number: int) -> int:
        return house.delete(customer, *ids[number * 40 : number * 40 + 5])

    def arrive(number: int) -> int:
        return len(house.store(customer, 10, start=NOON + DAY + number * MINUTE, apart=1))

    with ThreadPoolExecutor(8) as threads:
        moves = threads.map(move, range(40))
        deleted = sum(threads.map(delete, range(10)))
        arrived = sum(threads.map(arrive, range(10)))
        moved = sum(moves)
    while more := move(0):
        moved += more
    cabinet, cellar = house.on(customer, Shelf.CABINET), house.on(customer, Shelf.CELLAR)
    assert len(cabinet) == 50
    assert len(cabinet) + len(cellar) == 400 + arrived - deleted
    assert max(cellar) < min(cabinet)
    assert moved >= len(cellar)
    assert_counted(house.dsn, customer)


def test_a_sweep_looks_at_all_cabinets(house: House) -> None:
    """Also at one that has become smaller than what it holds."""
    some, other = house.customer(room_for=4), house.customer(room_for=9)
    house.store(some, 6)
    house.store(other, 8)
    assert run(house.overflow.sweep) == 2
    house.resize(other, 5)
    assert run(house.overflow.sweep) == 3
    assert run(house.overflow.sweep) == 0
    assert len(house.on(some, Shelf.CABINET)) == 4
    assert len(house.on(other, Shelf.CABINET)) == 5


# When it looks, by a turned clock

TOOK = 0.05
"""Seconds that a portion takes here."""


@dataclass
class Rows:
    """`Shelves`, with so many messages too many for each customer, of one byte each."""

    clock: Clock
    excess: dict[int, int] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    lists: int = 0
    trouble: Exception | None = None

    async def full(self) -> list[int]:
        """Whose cabinet holds too much."""
        self.lists += 1
        if self.trouble is not None:
            raise self.trouble
        return [customer for customer, excess in self.excess.items() if excess > 0]

    async def shed(self, customer: int, most: int) -> Shed:
        """Move them."""
        if self.trouble is not None:
            raise self.trouble
        self.asked.append(customer)
        self.clock.rightNow += TOOK
        moved = min(max(self.excess.get(customer, 0), 0), most)
        self.excess[customer] = self.excess.get(customer, 0) - moved
        return Shed(moved, -self.excess[customer])


def watching(busy: bool = False, **excess: int) -> tuple[Clock, Rows, Overflow]:
    """An overflow that has had its first look at all of them, when nothing was too much."""
    clock = Clock()
    rows = Rows(clock)
    overflow = Overflow(clock, cast(Shelves, rows))
    overflow.start(lambda: busy)
    clock.advance(INTERVAL)
    rows.excess = {int(name[1:]): amount for name, amount in excess.items()}
    return clock, rows, overflow


def test_the_first_look_is_at_all_cabinets() -> None:
    """Plans may have changed while no server ran."""
    clock = Clock()
    rows = Rows(clock, {1: 3, 2: -4})
    Overflow(clock, cast(Shelves, rows)).start(lambda: False)
    clock.advance(INTERVAL)
    assert rows.asked == [1]
    assert rows.excess == {1: 0, 2: -4}


def test_a_cabinet_is_looked_at_when_what_came_in_may_have_filled_it() -> None:
    """When half of the room that it had is taken, and not at each message."""
    clock, rows, overflow = watching(c1=-100)
    overflow.added(1, 10)  # nothing is known of it yet
    clock.advance(INTERVAL)
    assert rows.asked == [1]
    overflow.added(1, 30)
    overflow.added(1, 20)
    clock.advance(INTERVAL)
    assert rows.asked == [1]
    overflow.added(1, 1)
    clock.advance(INTERVAL)
    assert rows.asked == [1, 1]
    clock.advance(INTERVAL)
    assert rows.asked == [1, 1]


def test_once_in_a_while_all_cabinets_are_looked_at() -> None:
    """Other processes take mail in, too."""
    clock, rows, _ = watching(c1=2)
    clock.pump([INTERVAL] * (ROUND - 1))
    assert rows.asked == []
    clock.advance(INTERVAL)
    assert rows.asked == [1]
    assert rows.lists == 2


def test_when_something_has_changed_all_cabinets_are_looked_at_next() -> None:
    """A smaller plan moves the surplus as soon as it takes effect."""
    clock, rows, overflow = watching(c1=2)
    overflow.look_everywhere()
    clock.advance(INTERVAL)
    assert rows.asked == [1]


@pytest.mark.parametrize("busy", [False, True])
def test_clients_come_first(busy: bool) -> None:
    """A portion is followed by a rest while clients talk; else the next one comes at once."""
    clock, rows, overflow = watching(busy, c1=2 * PORTION + 1)
    overflow.added(1, 1)
    clock.advance(INTERVAL)
    assert rows.excess[1] == (PORTION + 1 if busy else 0)
    clock.advance(SHARE * TOOK - 0.01)
    assert rows.excess[1] == (PORTION + 1 if busy else 0)
    clock.pump([0.02] * 20)
    assert rows.excess[1] == 0


def test_a_database_that_is_away_is_asked_again() -> None:
    """What had to be looked at is not forgotten, whatever went wrong."""
    for trouble in (Unavailable("away"), RuntimeError("a mistake")):
        clock, rows, overflow = watching(c1=5)
        overflow.added(1, 1)
        rows.trouble = trouble
        clock.advance(INTERVAL)
        rows.trouble = None
        clock.advance(INTERVAL)
        assert rows.excess[1] == 0


def test_after_a_stop_nothing_is_looked_at() -> None:
    """The database is closed by then."""
    clock, rows, overflow = watching(c1=5)
    overflow.added(1, 1)
    overflow.stop()
    overflow.stop()
    clock.pump([INTERVAL] * ROUND)
    assert rows.asked == []


# A server


def test_a_server_that_is_killed_in_the_middle_moves_the_rest_afterwards() -> None:
    """Through real SMTP, with kill -9: accepted = cabinet + cellar, and the newest are above."""
    with new_place() as place, Server(place) as server:
        number = server.command(
            *("customer", "add", "--company", "Duchemin", "--email", "g@duchemin.test"),
            *("--capacity", "9000"),
        )["customer"]
        server.add_domain("duchemin.test", number, 9)
        sent = post(server, 40)
        server.kill()
        server.start()
        sent += post(server, 10)
        server.command("shelves", "sweep")
        shown = server.customer(number)
        assert shown["cabinet_bytes"] <= 9_000
        assert shown["cabinet_messages"] + shown["cellar_messages"] == sent
        newest = server.messages(number)
        shelves = [message["shelf"] for message in newest]
        assert shelves == sorted(shelves)  # the cabinet's first
        cellar = server.command("cellar", "show", "--customer", str(number))
        assert cellar["messages"] == shown["cellar_messages"]
        assert cellar["bytes"] == shown["cellar_bytes"]
        oldest = newest[-1]
        assert len(server.export(number, oldest["id"])) == oldest["raw_size"]


def post(server: Server, count: int) -> int:
    """Messages come in that do not compress; how many."""
    with smtplib.SMTP("127.0.0.1", server.smtp_port, timeout=30) as client:
        for number in range(count):
            noise = random.Random(number).randbytes(300).hex()
            client.sendmail("a@example.org", ["g@duchemin.test"], f"Subject: {number}\n\n{noise}\n")
    return count
