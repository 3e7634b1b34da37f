"""Connections to PostgreSQL through txpostgres: shared, replaced when they die.

Why not txpostgres' own pool and dead connection detector: cancelling one of their interactions
poisons the connection for its next user, and a query sent while a connection is being re-made
fails without need (design facts, txpostgres 2 and 4). Here a caller's cancellation stops at
`Pool.query`, and a connection that has failed is closed and forgotten.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_READ, POLL_WRITE
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from txpostgres import txpostgres

from mail6m.storage.errors import Unavailable

Row = tuple[Any, ...]

# What means that the database is away, or was too slow: txpostgres makes a CancelledError of a
# statement_timeout.
_AWAY = (psycopg2.OperationalError, psycopg2.InterfaceError, CancelledError)


class Prepared:
    """A statement that every connection parses and plans once, at its start.

    ``sql`` says the type of each parameter: ``%s::integer[]``.
    """

    def __init__(self, name: str, sql: str) -> None:
        types: list[str] = []

        def numbered(match: re.Match[str]) -> str:
            types.append(match[1])
            return f"${len(types)}"

        body = re.sub(r"%s::(\w+(?:\[\])?)", numbered, sql)
        self.prepare = f"PREPARE {name} ({', '.join(types)}) AS {body}"
        self.execute = f"EXECUTE {name} ({', '.join(f'%s::{type_}' for type_ in types)})"


class Pool:
    """Up to ``size`` connections, opened when they are needed."""

    log = Logger()

    def __init__(self, reactor: IReactorTime, dsn: str, size: int, timeout: float) -> None:
        self._reactor = reactor
        self._dsn = dsn
        self._size = size
        self._timeout = timeout
        self._open = 0
        self._idle: list[Any] = []
        self._waiting: deque[Deferred[None]] = deque()
        self._observers: dict[str, Callable[[], None]] = {}
        self._listener: Any = None
        self._listening = False
        self._prepared: list[Prepared] = []
        self._closed = False
        self.last_error = ""

    async def query(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """Run one statement (a transaction of its own), and return its rows.

        Raises `Unavailable` when the database is away or too slow, `psycopg2.Error` otherwise.
        A caller that is cancelled goes away alone: the statement runs to its end.
        """
        outer: Deferred[list[Row]] = Deferred()

        def done(result: Any) -> None:
            if not outer.called:
                outer.callback(result)

        ensureDeferred(self._query(sql, parameters)).addBoth(done)
        rows: list[Row] = await outer
        return rows

    async def _query(self, sql: str, parameters: Sequence[Any] | dict[str, Any]) -> list[Row]:
        connection = await self._acquire()
        healthy = False
        try:
            work = _run(connection, sql, parameters)
            rows: list[Row] = await self._within(connection, work)
            healthy = True
            return rows
        except _AWAY as error:
            healthy = isinstance(error, CancelledError)
            self.last_error = _why(error)
            raise Unavailable(self.last_error) from error
        except psycopg2.Error as error:
            healthy = True
            self.last_error = str(error).strip()
            raise
        finally:
            self._release(connection, healthy)

    def prepare(self, statement: Prepared) -> None:
        """Have connections that are opened from now on know this statement."""
        if statement not in self._prepared:
            self._prepared.append(statement)

    def listen(self, channel: str, observer: Callable[[], None]) -> None:
        """Call ``observer`` at every NOTIFY on ``channel``, and when one may have been missed."""
        self._observers[channel] = observer

    async def keep_listening(self) -> None:
        """Make sure that the connection that listens is alive; to be called every now and then."""
        if self._closed or not self._observers or self._listening:
            return
        self._listening = True
        try:
            if self._listener is not None:
                try:
                    await self._within(self._listener, _run(self._listener, "SELECT 1"))
                    return
                except Exception:  # noqa: BLE001 - whatever it is, the connection is of no more use
                    self._close_quietly(self._listener)
                    self._listener = None
            self._listener = connection = await self._connect()
            connection.addNotifyObserver(self._notified)
            for channel in self._observers:
                await self._within(connection, _run(connection, f"LISTEN {channel}"))
            for observer in self._observers.values():
                observer()
        except _AWAY as error:
            self._close_quietly(self._listener)
            self._listener = None
            raise Unavailable(_why(error)) from error
        finally:
            self._listening = False

    def close(self) -> None:
        """Close what is idle now, and the rest when it comes back."""
        self._closed = True
        for connection in self._idle:
            self._close_quietly(connection)
        self._idle.clear()
        if self._listener is not None:
            self._close_quietly(self._listener)
            self._listener = None
        while self._waiting:
            self._waiting.popleft().callback(None)

    def _notified(self, notify: Any) -> None:
        if (observer := self._observers.get(notify.channel)) is not None:
            observer()

    async def _acquire(self) -> Any:
        while True:
            if self._closed:
                raise Unavailable("the database connections are closed")
            while self._idle:
                connection = self._idle.pop()
                if not connection.lost:
                    return connection
                self._open -= 1
            if self._open < self._size:
                self._open += 1
                try:
                    return await self._connect()
                except BaseException:
                    self._open -= 1
                    self._wake()
                    raise
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter

    def _release(self, connection: Any, healthy: bool) -> None:
        if healthy and not self._closed:
            self._idle.append(connection)
        else:
            self._open -= 1
            self._close_quietly(connection)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.called:
                waiter.callback(None)
                return

    async def _connect(self) -> Any:
        connection = _Connection(reactor=self._reactor)
        try:
            await self._within(connection, connection.connect(self._dsn))
            milliseconds = int(self._timeout * 1000)
            settings = (
                f"SET statement_timeout = {milliseconds}; SET timezone = 'UTC';"
                "SET plan_cache_mode = force_generic_plan"
            )
            statements = [settings, *(statement.prepare for statement in self._prepared)]
            await self._within(connection, _run(connection, ";\n".join(statements)))
        except _AWAY as error:
            self.last_error = _why(error)
            self._close_quietly(connection)
            raise Unavailable(self.last_error) from error
        except BaseException:
            self._close_quietly(connection)
            raise
        return connection

    def _within(self, connection: Any, inner: Deferred[Any]) -> Deferred[Any]:
        """The result of ``inner``, without waiting for ever on a database that is dead.

        ``statement_timeout`` ends what the server still answers for; this ends the rest, a little
        later, by closing the connection.
        """
        outer: Deferred[Any] = Deferred()

        def too_late() -> None:
            self._close_quietly(connection)
            if not outer.called:
                outer.errback(Failure(psycopg2.OperationalError("the database does not answer")))

        timer = self._reactor.callLater(self._timeout + 5, too_late)

        def done(result: Any) -> None:
            if timer.active():
                timer.cancel()
            if not outer.called:
                outer.callback(result)

        inner.addBoth(done)
        return outer

    def _close_quietly(self, connection: Any) -> None:
        try:
            connection.close()
        except Exception as error:  # noqa: BLE001 - it was broken already
            self.log.debug("closing a connection: {error}", error=error)


class _Cursor(txpostgres.Cursor):  # type: ignore[misc]
    """One whose result is had in the turn in which it comes.

    txpostgres puts it off to the next, lest a callback begins a statement while the last one is
    still being read. Here nothing is done after the callback.
    """

    _pollingD: Any

    def continuePolling(self, swallowErrors: bool = False) -> None:
        """See `txpostgres.Cursor`."""
        try:
            state = self.pollable().poll()
        except Exception:
            if self._pollingD is None:
                if not swallowErrors:
                    raise
                return
            done, self._pollingD = self._pollingD, None
            done.errback(Failure())
            return
        if state == POLL_READ:
            self.reactor.addReader(self)
        elif state == POLL_WRITE:
            self.reactor.addWriter(self)
        elif self._pollingD is not None:
            done, self._pollingD = self._pollingD, None
            done.callback(self)


class _Connection(txpostgres.Connection):  # type: ignore[misc]
    """One that closes itself without a word when the database ends it while it is idle."""

    cursorFactory = _Cursor

    def doRead(self) -> None:
        """See `twisted.internet.interfaces.IReadDescriptor`."""
        try:
            super().doRead()
        except (*_AWAY, ValueError):  # raised only when nobody waits for a result
            self.close()

    def cursorFinished(self, cursor: Any) -> None:
        """A statement has ended; whether it has succeeded is not for us to say."""
        try:
            super().cursorFinished(cursor)
        except ValueError:  # the socket, which should be watched again, has been closed by libpq
            self.close()

    def cursor(self) -> Any:
        """A cursor, which watches the socket from here on in the connection's place.

        Not only when its statement has been sent, as txpostgres has it: libpq closes the socket of
        a dead connection while sending, and the reactor would take the next session's for it.
        """
        self.reactor.removeReader(self)
        return super().cursor()

    @property
    def lost(self) -> bool:
        """It has been closed."""
        return bool(self.pollable().closed)


def _run(connection: Any, sql: str, parameters: Any = ()) -> Deferred[list[Row]]:
    done: Deferred[Any] = connection.cursor().execute(sql, parameters or None)
    return done.addCallback(_rows)


def _rows(cursor: Any) -> list[Row]:
    try:
        return cursor.fetchall() if cursor.description is not None else []
    finally:
        cursor.close()


def _why(error: Exception) -> str:
    return str(error).strip() or "a statement took too long"


def text(value: str) -> str:
    """``value`` as PostgreSQL can store it: without NUL, and without lone surrogates."""
    if value.isascii() and "\x00" not in value:
        return value
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def utc(moment: datetime | None) -> datetime | None:
    """A time as PostgreSQL says it, if there is one."""
    return moment.astimezone(UTC) if moment is not None else None
