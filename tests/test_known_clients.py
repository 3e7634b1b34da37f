"""Clients that have behaved: remembered in bounded memory, and in a real database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.task import Clock

from mail6m.guard import known as module
from mail6m.guard.known import KnownClients
from mail6m.storage.clients import KnownClientsTable
from mail6m.storage.errors import Unavailable
from mail6m.storage.migrate import migrate
from mail6m.storage.pool import Pool
from tests.reactor_thread import run
from tests.stored import NOWHERE, ask, new_database, new_pool

DAY = 86_400.0
KNOWN_FOR = 30 * DAY
ONE, OTHER = "192.0.2.7", "2001:db8:1:2::/64"


class Time:
    """Now, by hand."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 28, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def pass_(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def dsn(database: str) -> str:
    """A database of this file's own."""
    dsn = new_database(database)
    migrate(dsn)
    return dsn


@pytest.fixture
def pool(dsn: str) -> Iterator[Pool]:
    """A pool, and nobody known."""
    ask(dsn, "DELETE FROM known_client")
    with new_pool(dsn) as pool:
        yield pool


@pytest.fixture
def time() -> Time:
    """Some noon."""
    return Time()


def memory(pool: Pool, time: Time) -> KnownClients:
    """What one process remembers."""
    return KnownClients(Clock(), KnownClientsTable(pool), KNOWN_FOR, time)


def known(pool: Pool) -> dict[str, datetime]:
    """What the database remembers."""
    return dict(run(lambda: pool.query("SELECT client, known_until FROM known_client")))  # type: ignore[arg-type]


def test_who_has_behaved_is_known_for_so_long(pool: Pool, time: Time) -> None:
    """And nobody else; the time is over to the second."""
    clients = memory(pool, time)
    clients.note(ONE)
    assert ONE in clients
    assert OTHER not in clients
    time.pass_(KNOWN_FOR - 1)
    assert ONE in clients
    time.pass_(1)
    assert ONE not in clients


def test_a_restart_forgets_nobody(pool: Pool, time: Time) -> None:
    """What was written is read by the next process at its start, until the same time."""
    before = memory(pool, time)
    before.note(ONE)
    before.note(OTHER)
    run(before.look)
    after = memory(pool, time)
    assert ONE not in after
    run(after.look)
    assert ONE in after
    assert OTHER in after
    time.pass_(KNOWN_FOR)
    assert ONE not in after


def test_the_last_words_of_a_process(pool: Pool, time: Time) -> None:
    """What it has not written yet when it stops, it writes then; a dead database is no obstacle."""
    clients = memory(pool, time)
    clients.note(ONE)
    run(clients.close)
    assert set(known(pool)) == {ONE}
    with new_pool(NOWHERE) as away:
        lost = memory(away, time)
        lost.note(OTHER)
        run(lost.close)


def test_processes_learn_from_each_other(pool: Pool, time: Time) -> None:
    """Within a minute or so, and without reading everything anew each time."""
    here, there = memory(pool, time), memory(pool, time)
    run(here.look)
    there.note(ONE)
    run(there.look)
    assert ONE not in here
    time.pass_(61)
    run(here.look)
    assert ONE in here


def test_a_client_is_written_once_a_day(pool: Pool, time: Time) -> None:
    """However much mail it brings; and its time begins anew when it is written."""
    clients = memory(pool, time)
    clients.note(ONE)
    run(clients.look)
    first = known(pool)[ONE]
    time.pass_(DAY - 1)
    clients.note(ONE)
    run(clients.look)
    assert known(pool)[ONE] == first
    time.pass_(2)
    clients.note(ONE)
    run(clients.look)
    assert known(pool)[ONE] == time() + timedelta(seconds=KNOWN_FOR)


def test_a_longer_time_is_not_cut_short(pool: Pool, time: Time) -> None:
    """Two processes that note the same client: the later end counts, whoever writes last."""
    table = KnownClientsTable(pool)
    late, early = time() + timedelta(days=30), time() + timedelta(days=29)
    run(lambda: table.note([(ONE, late)]))
    run(lambda: table.note([(ONE, early), (OTHER, early)]))
    assert known(pool) == {ONE: late, OTHER: early}


def test_memory_has_an_end(pool: Pool, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here and in the database: the latest stay."""
    monkeypatch.setattr(module, "MOST", 10)
    clients = memory(pool, time)
    for number in range(30):
        clients.note(f"192.0.2.{number}")
        time.pass_(1)
    assert len(clients) == 10
    run(clients.look)
    assert set(known(pool)) == {f"192.0.2.{number}" for number in range(20, 30)}


def test_the_latest_are_read_first(pool: Pool, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more in the database than is remembered here; and the oldest of those go first."""
    monkeypatch.setattr(module, "MOST", 10)
    days = [(f"192.0.2.{day}", time() + timedelta(days=day)) for day in range(1, 31)]
    run(lambda: KnownClientsTable(pool).note(days))
    clients = memory(pool, time)
    run(clients.look)
    assert {client for client, _ in days if client in clients} == {c for c, _ in days[20:]}
    clients.note(ONE)
    assert "192.0.2.21" not in clients
    assert "192.0.2.30" in clients


def test_those_whose_time_is_over_leave_the_database(pool: Pool, time: Time) -> None:
    """Nobody's address is kept for longer than it is of use."""
    clients = memory(pool, time)
    clients.note(ONE)
    run(clients.look)
    time.pass_(KNOWN_FOR + 61)
    run(clients.look)
    assert known(pool) == {}


def test_a_database_that_is_away(pool: Pool, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it; what could not be written is written later, as far as memory goes."""
    clients = memory(pool, time)
    with new_pool(NOWHERE) as away:
        clients._table = KnownClientsTable(away)
        clients.note(ONE)
        with pytest.raises(Unavailable):
            run(clients.look)
        assert ONE in clients
        clients.note(OTHER)
        monkeypatch.setattr(module, "MOST", 2)
        for number in range(10):
            clients.note(f"198.51.100.{number}")
            with pytest.raises(Unavailable):
                run(clients.look)
    clients._table = KnownClientsTable(pool)
    run(clients.look)
    assert set(known(pool)) == {"198.51.100.8", "198.51.100.9"}
