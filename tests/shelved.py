"""A house whose shelves are looked at: an archive on a real database, and what moves mail in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from twisted.internet.threads import deferToThread

from mail6m.directory import Directory
from mail6m.model import Shelf
from mail6m.seal import Keyring
from mail6m.shelves.archivist import Archivist
from mail6m.shelves.cabinet import Cabinet
from mail6m.shelves.discs import DiscLife, InThread
from mail6m.shelves.indexer import Indexer
from mail6m.shelves.overflow import PORTION, Overflow
from mail6m.storage.archive import MINUTE, Archive
from mail6m.storage.archivist import Requests
from mail6m.storage.catalogue import Catalogue
from mail6m.storage.customers import Customers
from mail6m.storage.discs import Discs
from mail6m.storage.domains import Domains
from mail6m.storage.pool import Pool
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.shelves import Shed, Shelves
from tests.reactor_thread import run, the_reactor
from tests.stored import NOON, ask, by, new_customer, new_message

SIZE = new_message(1).stored_size
"""Of the messages that are stored here, all the same."""
MASTER = Keyring(bytes(32))
"""What customers' keys are wrapped with where there are discs."""


class House(NamedTuple):
    """An archive, and what moves mail in it."""

    dsn: str
    archive: Archive
    shelves: Shelves
    cabinet: Cabinet
    overflow: Overflow
    archivist: Archivist

    def customer(self, room_for: int) -> int:
        """A new customer, whose cabinet holds so many messages."""
        number = new_customer()
        ask(
            self.dsn,
            "INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)"
            " VALUES (%s, 'Duchemin', 'dedicated', %s, '')",
            number,
            room_for * SIZE,
        )
        return number

    def resize(self, customer: int, room_for: int) -> None:
        """The customer has another plan."""
        ask(
            self.dsn,
            "UPDATE customer SET capacity = %s WHERE customer_id = %s",
            *(room_for * SIZE, customer),
        )

    def store(
        self, customer: int, count: int, start: int = NOON, apart: int = MINUTE
    ) -> list[UUID]:
        """So many messages come in, one after the other; their ids."""
        messages = [
            new_message(customer, milliseconds=start + number * apart) for number in range(count)
        ]
        run(lambda: self.archive.store(messages, 0))
        return [message.id for message in messages]

    def on(self, customer: int, shelf: Shelf) -> list[UUID]:
        """What stands on a shelf, the oldest first."""
        rows = ask(
            self.dsn,
            "SELECT message_id FROM message WHERE customer_id = %s AND shelf = %s ORDER BY 1",
            *(customer, int(shelf)),
        )
        return [UUID(id_) for (id_,) in rows]

    def shed(self, customer: int, most: int = PORTION) -> Shed:
        """Move once."""
        return run(lambda: self.shelves.shed(customer, most))

    def delete(self, customer: int, *ids: UUID) -> int:
        """Delete messages for good; how many there were."""
        return run(lambda: self.archive.delete(by(customer), ids))


def make_house(dsn: str, pool: Pool) -> House:
    """The parts, put together."""
    archive = Archive(pool, dsn, 20.0)
    catalogue, shelves = Catalogue(pool), Shelves(pool)
    indexer = Indexer(the_reactor(), catalogue)
    return House(
        dsn,
        archive,
        shelves,
        Cabinet(catalogue, indexer),
        Overflow(the_reactor(), shelves),
        Archivist(Requests(pool), catalogue, indexer, Customers(pool)),
    )


def make_disc_life(
    house: House,
    pool: Pool,
    folder: Path,
    capacity: int,
    in_thread: InThread[Any] = deferToThread,
) -> DiscLife:
    """Discs of that capacity, whose images are in a folder."""
    customers = Customers(pool)
    directory = Directory(the_reactor(), Domains(pool), customers, MASTER, "mail6m.test", None)
    return DiscLife(
        Discs(pool), house.shelves, customers, PreferencesTable(pool), directory, folder,
        house.dsn, capacity, in_thread, the_reactor(), lambda: datetime.now(UTC),
    )  # fmt: skip


COUNTS = """
SELECT shelf, count(*), sum(stored_size), sum(raw_size) FROM message
WHERE customer_id = %s GROUP BY shelf ORDER BY shelf"""
COUNTED = """
SELECT shelf, sum(messages), sum(bytes), sum(raw_bytes) FROM shelf_count
WHERE customer_id = %s GROUP BY shelf HAVING sum(messages) <> 0 ORDER BY shelf"""
MINUTES = """
SELECT shelf, minute_of(message_id), count(*) FROM message
WHERE customer_id = %s GROUP BY 1, 2 ORDER BY 1, 2"""
MINUTES_COUNTED = """
SELECT shelf, minute, sum(messages) FROM minute_count
WHERE customer_id = %s GROUP BY 1, 2 HAVING sum(messages) <> 0 ORDER BY 1, 2"""
ENTRIES_ELSEWHERE = """
SELECT count(*) FROM search_entry e JOIN message m USING (customer_id, message_id)
WHERE e.customer_id = %s AND e.shelf <> m.shelf"""


def assert_counted(dsn: str, customer: int) -> None:
    """The counters say what is there, to the byte, and the entries stand where the messages do."""
    assert_counts_fit(lambda sql: ask(dsn, sql, customer))


def assert_counts_fit(rows: Callable[[str], Sequence[tuple[Any, ...]]]) -> None:
    """As above, of the customer whose ``rows`` a statement finds."""
    assert rows(COUNTED) == rows(COUNTS)
    assert rows(MINUTES_COUNTED) == rows(MINUTES)
    assert rows(ENTRIES_ELSEWHERE) == [(0,)]
