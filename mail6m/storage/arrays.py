"""Python values -> PostgreSQL's array literals (PostgreSQL manual, 8.15.2), as one parameter each.

psycopg2 would make an expression of a list, ``ARRAY[...]``, a literal for each element, which it
takes longer to write and the server far longer to parse: a fifth of the cost of a whole message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mail6m.storage.pool import text


def numbers(values: Iterable[int | None]) -> str:
    """Of integers, and nulls."""
    return "{" + ",".join(map(str, values)).replace("None", "NULL") + "}"


def booleans(values: Iterable[bool]) -> str:
    """Of truth values."""
    return "{" + ",".join(["t" if value else "f" for value in values]) + "}"


def words(values: Iterable[str]) -> str:
    """Of what needs no quotes: UUIDs, timestamps, ``NULL``."""
    return "{" + ",".join(values) + "}"


def texts(values: Sequence[str]) -> str:
    """Of any text, as PostgreSQL can store it."""
    if not values:
        return "{}"
    together = "".join(values)
    if not together.isascii() or "\x00" in together:
        values = [text(value) for value in values]
    if '"' in together or "\\" in together:
        values = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(values) + '"}'
