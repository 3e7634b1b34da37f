"""Connections for threads: txpostgres has no COPY, and works in the reactor's thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import connection as BlockingConnection

from mail6m.storage.errors import Unavailable
from mail6m.storage.pool import Row


class Blocking:
    """As many connections as threads want one at the same time; they are kept, and used again."""

    def __init__(self, dsn: str, timeout: float, *options: str) -> None:
        """``options`` are settings of the sessions: ``enable_sort=off``."""
        self._dsn = dsn
        self._options = options
        self._timeout = timeout
        self._spare: list[BlockingConnection] = []

    @contextmanager
    def transaction(self) -> Iterator[BlockingConnection]:
        """A connection, and a transaction on it. Raises `Unavailable`."""
        connection = None
        try:
            connection = self._connection()
            with connection:
                yield connection
        except psycopg2.Error as error:
            if connection is not None:
                connection.close()
            raise Unavailable(str(error).strip()) from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        self._spare.append(connection)

    def query(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """The rows of one statement. Raises `Unavailable`."""
        with self.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()

    def close(self) -> None:
        """Close those that are not in use."""
        while self._spare:
            self._spare.pop().close()

    def _connection(self) -> BlockingConnection:
        while self._spare:
            connection = self._spare.pop()
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                return connection
            except psycopg2.Error:  # it died while it was idle
                connection.close()
        settings = (f"statement_timeout={int(self._timeout * 1000)}", *self._options)
        options = " ".join(f"-c {setting}" for setting in settings)
        return psycopg2.connect(self._dsn, connect_timeout=10, options=options)
