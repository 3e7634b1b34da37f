"""Migrations on a real PostgreSQL: once each, in order, all or none, and never backwards."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mail6m.storage import migrate as module
from mail6m.storage.errors import StorageError, Unavailable
from mail6m.storage.migrate import migrate, migrations
from tests.stored import NOWHERE, ask, new_database


@pytest.fixture
def empty(database: str) -> str:
    """The DSN of a database without any table."""
    return new_database(database)


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
