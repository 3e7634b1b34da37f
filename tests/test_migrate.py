"""Migrations on a real PostgreSQL: once each, in order, all or none, and never backwards."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mail6m.storage import migrate as module
from mail6m.storage.errors import StorageError, Unavailable
from mail6m.storage.migrate import migrate, migrations
from tests.stored import NOWHERE, ask, empty_database


@pytest.fixture
def empty(database: str) -> str:
    """The DSN of a database without any table."""
    return empty_database(database)


def tables(dsn: str) -> set[str]:
    """The names of a database's tables."""
    return {
        name for (name,) in ask(dsn, "SELECT tablename FROM pg_tables WHERE schemaname='public'")
    }


def test_migrations_are_numbered_without_a_gap() -> None:
    """From 1 on, none missing, none twice."""
    numbers = [number for number, _, _ in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert all(name.startswith(f"{number:04d}_") for number, name, _ in migrations())


def test_twice_is_nothing(empty: str) -> None:
    """The first run applies everything, in order; the second finds nothing to do."""
    names = [name for _, name, _ in migrations()]
    assert migrate(empty) == names
    assert {"message", "body", "delivery", "schema_version"} <= tables(empty)
    assert migrate(empty) == []
    assert ask(empty, "SELECT name FROM schema_version ORDER BY number") == [(n,) for n in names]


def test_two_at_once_apply_once(empty: str) -> None:
    """Servers that start together do not trip over each other."""
    many = 4
    start = threading.Barrier(many)

    def begin(_: int) -> list[str]:
        start.wait()
        return migrate(empty)

    with ThreadPoolExecutor(many) as threads:
        applied = list(threads.map(begin, range(many)))
    assert sorted(applied) == [*[[]] * (many - 1), [name for _, name, _ in migrations()]]


def test_a_newer_schema_stops_the_start(empty: str) -> None:
    """One line that names both schemas and the remedy, and nothing is touched."""
    migrate(empty)
    known = len(migrations())
    ask(empty, "INSERT INTO schema_version VALUES (%s, '9999_later.sql')", known + 1)
    with pytest.raises(StorageError) as caught:
        migrate(empty)
    line = str(caught.value)
    assert "\n" not in line
    assert f"schema {known + 1}," in line
    assert f"knows {known}:" in line
    assert "start a newer mail6m" in line
    assert not caught.value.transient


def test_a_failing_migration_is_undone(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the run stays, what went well before it included; the mended one then goes on."""
    known = migrations()
    migrate(empty)
    next_ = len(known) + 1
    good = (next_, "good.sql", "CREATE TABLE good ()")
    bad = (next_ + 1, "bad.sql", "CREATE TABLE bad (); SELECT 1/0")
    monkeypatch.setattr(module, "migrations", lambda: [*known, good, bad])
    with pytest.raises(StorageError, match="undone: division by zero"):
        migrate(empty)
    assert not {"good", "bad"} & tables(empty)
    assert ask(empty, "SELECT max(number) FROM schema_version") == [(len(known),)]
    mended = (next_ + 1, "bad.sql", "CREATE TABLE bad ()")
    monkeypatch.setattr(module, "migrations", lambda: [*known, good, mended])
    assert migrate(empty) == ["good.sql", "bad.sql"]
    assert {"good", "bad"} <= tables(empty)


def test_a_failure_lets_the_next_start_in(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is gone with the run that failed."""
    with monkeypatch.context() as patched:
        patched.setattr(module, "migrations", lambda: [(1, "bad.sql", "SELECT 1/0")])
        with pytest.raises(StorageError):
            migrate(empty)
    assert tables(empty) == set()
    assert migrate(empty)


def test_without_a_database() -> None:
    """It is `Unavailable`, in a line that says what cannot be reached."""
    with pytest.raises(Unavailable, match="cannot reach the database"):
        migrate(NOWHERE)


def test_a_dsn_that_is_none() -> None:
    """An operator's slip of the pen is an error of ours, not of the driver's."""
    with pytest.raises(StorageError, match="no database's address"):
        migrate("postgresql://[")


MESSAGE = """
INSERT INTO message (customer_id, message_id, shelf, received_at, raw_size, stored_size, sender,
                     recipients, header_from, header_to, subject, header_message_id, sha256,
                     client_address, client_name, client_hello, protocol, tls, smtputf8, eightbit,
                     returns, envid)
SELECT 1 + n % 2, (lpad(to_hex(1750000000000 + n * 30000000::bigint), 12, '0')
                   || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
       CASE WHEN n % 10 = 0 THEN 2 WHEN n % 5 = 0 THEN 1 ELSE 0 END,
       to_timestamp(1750000000 + n * 30000), 1000 + n, 500 + n, 'a@b.fr', '{c@d.fr}', '', '', 's',
       '', '', '', '', '', 'SMTP', '', false, false, '', ''
FROM generate_series(1, 450) AS n"""

DAYS = """
SELECT customer_id, shelf, day, sum(messages)::bigint, sum(bytes)::bigint, sum(raw_bytes)::bigint
FROM shelf_count GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
DAYS_OF_MESSAGES = """
SELECT customer_id, shelf, extract(epoch FROM received_at)::bigint / 86400 AS day, count(*),
       sum(stored_size)::bigint, sum(raw_size)::bigint
FROM message GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
MINUTES = "SELECT customer_id, shelf, minute, messages FROM minute_count ORDER BY 1, 2, 3"
MINUTES_OF_MESSAGES = """
SELECT customer_id, shelf, extract(epoch FROM received_at)::bigint / 60, count(*)
FROM message WHERE shelf <> 2 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
NOTED = """
SELECT k.customer, k.id FROM unindexed u, unnest(u.customers, u.messages) AS k (customer, id)
ORDER BY 1, 2"""


def test_an_archive_of_schema_1_goes_on(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its messages are counted by day and minute, and noted for the index: no search misses one."""
    known = migrations()
    with monkeypatch.context() as patched:
        patched.setattr(module, "migrations", lambda: known[:1])
        migrate(empty)
    ask(empty, MESSAGE)
    ask(empty, "INSERT INTO shelf_count VALUES (1, 0, 0, 7, 7), (1, 0, 1, -7, -7)")
    assert migrate(empty) == [name for _, name, _ in known[1:]]
    assert ask(empty, DAYS) == ask(empty, DAYS_OF_MESSAGES)
    assert ask(empty, MINUTES) == ask(empty, MINUTES_OF_MESSAGES)
    messages = "SELECT customer_id, message_id FROM message WHERE shelf <> 2 ORDER BY 1, 2"
    assert ask(empty, NOTED) == ask(empty, messages)
    assert ask(empty, "SELECT max(size) <= 200, min(size) > 0 FROM unindexed") == [(True, True)]
