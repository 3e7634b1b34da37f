"""The pool on a real PostgreSQL: statements slow, killed and cancelled, and who comes after."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail
from twisted.internet.task import deferLater

from mail6m.storage import pool as module
from mail6m.storage.errors import Unavailable
from mail6m.storage.pool import Pool, Prepared, Row, text
from tests.reactor_thread import run, the_reactor
from tests.stored import NOWHERE, ask, new_pool

PID = "SELECT pg_backend_pid()"


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    """A pool with a single connection, so that whoever comes next gets the one just used."""
    with new_pool(database, size=1) as pool:
        yield pool


def query(pool: Pool, sql: str, *parameters: Any) -> list[Row]:
    """The rows of one statement through the pool."""
    return run(lambda: pool.query(sql, parameters))


async def all_of(work: Sequence[Awaitable[Any]]) -> list[Any]:
    """The results, or the exceptions, of things that go on at the same time."""
    running: list[Deferred[Any]] = [ensureDeferred(one) for one in work]  # type: ignore[arg-type]
    results = []
    for one in running:
        try:
            results.append(await one)
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            results.append(error)
    return results


def terminate(dsn: str, pid: int) -> None:
    """End a backend, and wait until it is gone."""
    assert ask(dsn, "SELECT pg_terminate_backend(%s, 10000)", pid) == [(True,)]


# Statements that go wrong


def test_a_statement_that_takes_too_long(database: str) -> None:
    """It is `Unavailable`, and the same connection serves the next caller at once."""
    with new_pool(database, size=1, timeout=0.2) as pool:
        before = query(pool, PID)
        with pytest.raises(Unavailable, match="too long"):
            query(pool, "SELECT pg_sleep(20)")
        assert pool.last_error == "a statement took too long"
        assert query(pool, PID) == before


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT 1/0", psycopg2.errors.DivisionByZero),
        ("SELEKT", psycopg2.errors.SyntaxError),
        ("INSERT INTO schema_version VALUES (1, 'again')", psycopg2.errors.UniqueViolation),
    ],
)
def test_a_refused_statement(pool: Pool, sql: str, error: type[Exception]) -> None:
    """The database's own error comes through, and the connection is none the worse."""
    before = query(pool, PID)
    with pytest.raises(error):
        query(pool, sql)
    assert query(pool, PID) == before


@pytest.mark.parametrize("parameters", [("a\0b",), ("\ud800",), (object(),), (1, 2, 3)])
def test_parameters_that_cannot_be_sent(pool: Pool, parameters: tuple[Any, ...]) -> None:
    """An error before anything is sent takes no connection out of use."""
    for _ in range(3):
        with pytest.raises((ValueError, TypeError, psycopg2.ProgrammingError)):
            query(pool, "SELECT %s", *parameters)
    assert query(pool, "SELECT 1") == [(1,)]


def test_one_statement_is_one_transaction(pool: Pool) -> None:
    """A statement that fails half-way leaves nothing behind."""
    query(pool, "CREATE TABLE half (n integer UNIQUE)")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        query(pool, "INSERT INTO half SELECT n % 3 FROM generate_series(1, 5) n")
    assert query(pool, "SELECT * FROM half") == []


# Callers that go away


def test_a_cancelled_caller_does_not_poison_the_next(pool: Pool) -> None:
    """The caller goes at once; the next one waits for the statement, and gets its own rows."""
    before = query(pool, PID)

    async def cancelled() -> tuple[bool, list[Row]]:
        leaving = ensureDeferred(pool.query("SELECT 'not yours', pg_sleep(0.2)"))
        next_one = ensureDeferred(pool.query("SELECT 'yours', pg_backend_pid()"))
        leaving.cancel()
        with pytest.raises(CancelledError):
            await leaving
        at_once = not next_one.called
        return at_once, await next_one

    at_once, rows = run(cancelled)
    assert at_once
    assert rows == [("yours", *before[0])]


def test_a_caller_is_cancelled_while_it_waits_for_a_connection(pool: Pool) -> None:
    """The connection it waited for goes to those behind it."""

    async def cancelled() -> list[Any]:
        first = ensureDeferred(pool.query("SELECT 1, pg_sleep(0.05)"))
        leaving = ensureDeferred(pool.query("SELECT 2"))
        third = ensureDeferred(pool.query("SELECT 3"))
        leaving.cancel()
        with pytest.raises(CancelledError):
            await leaving
        return [(await first)[0][0], (await third)[0][0]]

    assert run(cancelled) == [1, 3]
    assert query(pool, "SELECT 4") == [(4,)]


def test_what_a_cancelled_caller_asked_for_is_done(database: str, pool: Pool) -> None:
    """A statement that has been sent runs to its end: half a decision is none."""
    query(pool, "CREATE TABLE left_behind (n integer)")

    async def leave() -> None:
        leaving = ensureDeferred(pool.query("INSERT INTO left_behind SELECT 1 FROM pg_sleep(0.05)"))
        await deferLater(the_reactor(), 0.01)
        leaving.cancel()
        with pytest.raises(CancelledError):
            await leaving
        await pool.query("SELECT 1")

    run(leave)
    assert ask(database, "SELECT n FROM left_behind") == [(1,)]


# Connections that die


def test_a_backend_that_is_killed_at_work(database: str, pool: Pool) -> None:
    """Its caller hears `Unavailable`, once; the next one gets a new connection."""
    [(before,)] = query(pool, PID)

    async def killed() -> Any:
        working = ensureDeferred(pool.query("SELECT pg_sleep(20)"))
        the_reactor().callInThread(terminate, database, before)
        await working

    with pytest.raises(Unavailable):
        run(killed)
    [(after,)] = query(pool, PID)
    assert after != before


def test_a_backend_that_is_killed_while_idle(database: str) -> None:
    """Nobody hears of it but, at worst, the very next caller, and no place in the pool is lost."""
    with new_pool(database, size=2) as pool:
        both = ["SELECT pg_backend_pid(), pg_sleep(0.1)"] * 2
        for _ in range(3):
            rows = run(lambda: all_of([pool.query(sql) for sql in both]))
            pids = {result[0][0] for result in rows}
            assert len(pids) == 2
            for pid in pids:
                terminate(database, pid)
            failures = 0
            for _ in range(3):
                try:
                    query(pool, "SELECT 1")
                except Unavailable:
                    failures += 1
            assert failures <= 1


def test_callers_who_wait_behind_a_killed_backend(database: str, pool: Pool) -> None:
    """Only the one at work is hit: those who wait are served by its successor."""
    [(pid,)] = query(pool, PID)

    async def killed() -> list[Any]:
        the_reactor().callLater(0.05, the_reactor().callInThread, terminate, database, pid)
        return await all_of(
            [pool.query("SELECT pg_sleep(20)"), *(pool.query(f"SELECT {n}") for n in range(5))]
        )

    first, *others = run(killed)
    assert isinstance(first, Unavailable)
    assert others == [[(n,)] for n in range(5)]


# Many callers, and none


def test_more_callers_than_connections(database: str) -> None:
    """All are served with their own rows, by no more connections than allowed."""
    with new_pool(database, size=3) as pool:
        work = "SELECT %s::integer, pg_backend_pid(), pg_sleep(0.002)"
        rows = run(lambda: all_of([pool.query(work, (n,)) for n in range(100)]))
    assert [row[0][0] for row in rows] == list(range(100))
    assert 1 < len({row[0][1] for row in rows}) <= 3


@pytest.mark.parametrize("how", ["at once", "later"])
def test_without_a_database_nobody_waits_for_ever(how: str) -> None:
    """All callers hear `Unavailable`, those in the queue too, whenever the refusal comes."""
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))  # and does not listen
        later = f"host=127.0.0.1 port={refusing.getsockname()[1]} dbname=mail6m"
        with new_pool(NOWHERE if how == "at once" else later, size=2) as pool:
            for _ in range(2):
                results = run(lambda: all_of([pool.query("SELECT 1") for _ in range(7)]))
                assert [type(result) for result in results] == [Unavailable] * 7
                assert pool.last_error == str(results[-1]) != ""


def test_callers_hear_when_the_pool_is_closed(pool: Pool) -> None:
    """What is under way ends well; who waits, or comes later, is told."""

    async def closed() -> list[Any]:
        the_reactor().callLater(0.05, pool.close)
        return await all_of([pool.query("SELECT 1, pg_sleep(0.2)"), pool.query("SELECT 2")])

    first, second = run(closed)
    assert first[0][0] == 1
    assert isinstance(second, Unavailable)
    with pytest.raises(Unavailable, match="closed"):
        query(pool, "SELECT 1")


# NOTIFY


class Ear:
    """An observer that can be waited for."""

    def __init__(self) -> None:
        self.heard = 0
        self._waiting: Deferred[None] | None = None

    def __call__(self) -> None:
        self.heard += 1
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def hears(self, cause: Callable[[], Any]) -> None:
        """Wait until something is heard that ``cause`` makes. Raises `TimeoutError`."""

        async def wait() -> None:
            heard: Deferred[None] = Deferred()
            self._waiting = heard
            the_reactor().callInThread(cause)
            await heard

        run(wait)


def listeners(dsn: str) -> list[int]:
    """The backends that listen."""
    sql = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' ORDER BY pid"
    return [pid for (pid,) in ask(dsn, sql)]


def test_notify_calls_the_observer(database: str) -> None:
    """At once when listening begins (one may have been missed), then at every NOTIFY it is for."""
    with new_pool(database) as pool:
        ear, other = Ear(), Ear()
        pool.listen("one", ear)
        pool.listen("other", other)
        run(pool.keep_listening)
        assert (ear.heard, other.heard) == (1, 1)
        ear.hears(lambda: ask(database, "NOTIFY one"))
        ear.hears(lambda: ask(database, "NOTIFY one"))
        assert (ear.heard, other.heard) == (3, 1)
        run(pool.keep_listening)
        assert (ear.heard, other.heard) == (3, 1)


def test_notify_calls_the_observer_after_the_listener_was_killed(database: str) -> None:
    """The next look finds out, listens anew, and calls the observer for what it has missed."""
    with new_pool(database) as pool:
        ear = Ear()
        pool.listen("killed", ear)
        before = listeners(database)
        for heard in (1, 3, 5):
            run(pool.keep_listening)
            assert ear.heard == heard
            ear.hears(lambda: ask(database, "NOTIFY killed"))
            [listener] = set(listeners(database)) - set(before)
            terminate(database, listener)


def test_listening_recovers_from_a_slow_database(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A LISTEN that took too long is not taken for one that was heard."""

    def too_slow(connection: Any, sql: str, parameters: Any = ()) -> Deferred[list[Row]]:
        if sql.startswith("LISTEN"):
            return fail(CancelledError())  # as txpostgres says it
        return really(connection, sql, parameters)

    really = module._run
    with new_pool(database) as pool:
        ear = Ear()
        pool.listen("slow", ear)
        with monkeypatch.context() as patched:
            patched.setattr(module, "_run", too_slow)
            with pytest.raises(Unavailable, match="too long"):
                run(pool.keep_listening)
        run(pool.keep_listening)
        ear.hears(lambda: ask(database, "NOTIFY slow"))


def test_listening_without_a_database() -> None:
    """It says so, as often as it is asked, and does not call the observer."""
    with new_pool(NOWHERE) as pool:
        ear = Ear()
        pool.listen("away", ear)
        for _ in range(2):
            with pytest.raises(Unavailable):
                run(pool.keep_listening)
        assert ear.heard == 0


# Text, and statements that are prepared


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters() | st.sampled_from("\0\ud800\udfff\x7f\\'\"%")))
def test_any_text_can_be_stored(pool: Pool, value: str) -> None:
    """NUL and lone surrogates are replaced, everything else comes back as it was."""
    stored = text(value)
    assert query(pool, "SELECT %s::text", stored) == [(stored,)]
    assert len(stored) == len(value)
    for was, is_ in zip(value, stored, strict=True):
        assert is_ == was or was == "\0" or "\ud800" <= was <= "\udfff"
    assert text(stored) == stored


def test_a_prepared_statement(database: str) -> None:
    """Every connection knows it from its start, a replacement for a dead one too."""
    statement = Prepared("sums", "SELECT %s::integer + n FROM unnest(%s::bigint[]) n")
    assert statement.prepare == (
        "PREPARE sums (integer, bigint[]) AS SELECT $1 + n FROM unnest($2) n"
    )
    with new_pool(database, size=2) as pool:
        pool.prepare(statement)
        for _ in range(2):
            results = run(
                lambda: all_of(
                    [pool.query(statement.execute, (1, [2, 3]))] * 1
                    + [pool.query(statement.execute, (1, []))]
                )
            )
            assert results == [[(3,), (4,)], []]
            [(pid,)] = query(pool, PID)
            terminate(database, pid)
            try:
                query(pool, "SELECT 1")
            except Unavailable:
                continue
