"""Numbered, forward-only migrations, run at start under a lock."""

from __future__ import annotations

import re
from importlib import resources

import psycopg2
import psycopg2.extensions

from mail6m.storage.errors import StorageError, Unavailable

_LOCK = 0x6D61696C366D  # "mail6m"
_NAME = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")

_CREATE = """
CREATE TABLE IF NOT EXISTS schema_version (
    number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
)"""


def migrations() -> list[tuple[int, str, str]]:
    """Every migration: (number, file name, SQL), in order, without a gap from 1."""
    found = []
    for entry in resources.files("mail6m.storage").joinpath("migrations").iterdir():
        if (match := _NAME.fullmatch(entry.name)) is not None:
            found.append((int(match[1]), entry.name, entry.read_text("utf-8")))
    return sorted(found)


def migrate(dsn: str) -> list[str]:
    """Bring the schema up to this program's, and return the names of what was applied.

    Blocking: call it in a thread. Raises `StorageError` if the schema is newer than the program,
    `Unavailable` if there is no database.
    """
    try:
        connection = psycopg2.connect(dsn, connect_timeout=15)
    except psycopg2.OperationalError as error:
        raise Unavailable(f"cannot reach the database: {str(error).strip()}") from error
    except psycopg2.ProgrammingError as error:
        raise StorageError(f"that is no database's address: {str(error).strip()}") from error
    try:
        return _apply(connection)
    except psycopg2.Error as error:
        raise StorageError(f"a migration failed, and was undone: {error}") from error
    finally:
        connection.close()


def _apply(connection: psycopg2.extensions.connection) -> list[str]:
    known = migrations()
    applied = []
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        cursor.execute(_CREATE)
        cursor.execute("SELECT coalesce(max(number), 0) FROM schema_version")
        row = cursor.fetchone()
        current = row[0] if row else 0
        if current > len(known):
            raise StorageError(
                f"the database has schema {current}, and this program knows {len(known)}:"
                " start a newer mail6m"
            )
        for number, name, sql in known[current:]:
            cursor.execute(sql)
            cursor.execute(
                "INSERT INTO schema_version (number, name) VALUES (%s, %s)", (number, name)
            )
            applied.append(name)
    return applied
