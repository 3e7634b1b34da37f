"""Array literals: what goes in comes out of a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import cursor as Cursor

from mail6m.storage.arrays import booleans, numbers, texts, words


@pytest.fixture(scope="module")
def cursor(database: str) -> Iterator[Cursor]:
    """A cursor on the shared database."""
    connection = psycopg2.connect(database)
    with connection, connection.cursor() as opened:
        yield opened
    connection.close()


def _back(cursor: Cursor, literal: str, kind: str) -> list[object]:
    cursor.execute(f"SELECT %s::{kind}[]", (literal,))
    row = cursor.fetchone()
    assert row is not None
    return list(row[0])


SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@SHARED
@given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))))
def test_texts(cursor: Cursor, values: list[str]) -> None:
    """Quotes, backslashes, commas, braces, NULL and newlines are only text."""
    assert _back(cursor, texts(values), "text") == values


def test_what_postgresql_cannot_store(cursor: Cursor) -> None:
    """NUL and lone surrogates are replaced, and what stands beside them is not."""
    assert _back(cursor, texts(["a\x00b", "é", "\ud800"]), "text") == ["a\ufffdb", "é", "?"]


@SHARED
@given(st.lists(st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1))))
def test_numbers(cursor: Cursor, values: list[int | None]) -> None:
    """Integers and nulls."""
    assert _back(cursor, numbers(values), "bigint") == values


def test_the_rest(cursor: Cursor) -> None:
    """Truth values, and words that need no quotes; awkward words are text all the same."""
    assert _back(cursor, booleans([True, False]), "boolean") == [True, False]
    assert _back(cursor, words(["NULL", "abc"]), "text") == [None, "abc"]
    assert _back(cursor, texts(["NULL", "", '"', "\\", "{}", "a,b"]), "text") == [
        "NULL", "", '"', "\\", "{}", "a,b",
    ]  # fmt: skip
