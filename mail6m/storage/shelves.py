"""What the shelves hold, and the moves from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from mail6m.model import Shelf
from mail6m.storage.notices import CABINET_FULL
from mail6m.storage.pool import Pool

# What moves is how a customer hears that the cabinet is full; once, until it has been much emptier.
_SHED = f"""
WITH done AS MATERIALIZED (
    SELECT moved, room FROM shed(%(customer)s, %(most)s)
), told AS (
    INSERT INTO notice (customer_id, kind, subject)
    SELECT customer_id, '{CABINET_FULL}', '' FROM done, customer
    WHERE moved > 0 AND customer_id = %(customer)s ON CONFLICT DO NOTHING
)
SELECT moved, room FROM done"""

# A customer's counters are some thousand rows, one day's after the other.
_FULL = """
SELECT c.customer_id FROM customer c
WHERE c.capacity < (SELECT coalesce(sum(n.bytes), 0) FROM shelf_count n
                    WHERE n.customer_id = c.customer_id AND n.shelf = 0)
ORDER BY c.customer_id"""

_HELD = """
SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(bytes), 0)::bigint,
       coalesce(sum(raw_bytes), 0)::bigint
FROM shelf_count WHERE customer_id = %s AND shelf = %s"""

_END = """
SELECT to_timestamp(minute::bigint * 60) FROM minute_count WHERE customer_id = %s AND shelf = %s
GROUP BY minute HAVING sum(messages) > 0 ORDER BY minute {} LIMIT 1"""
_FIRST, _LAST = _END.format("ASC"), _END.format("DESC")

# What has come in lately, and stands on a shelf still; the day that is not over yet does not count.
_LATELY = """
SELECT coalesce(sum(bytes), 0)::bigint, coalesce(sum(raw_bytes), 0)::bigint,
       coalesce(sum(messages), 0)::bigint, coalesce(max(%(today)s - day), 0)
FROM shelf_count
WHERE customer_id = %(customer)s AND shelf IN (0, 1)
  AND day >= %(today)s - %(days)s AND day < %(today)s"""

_CELLARS = """
SELECT customer_id, sum(messages)::bigint, sum(raw_bytes)::bigint FROM shelf_count
WHERE shelf = 1 GROUP BY customer_id HAVING sum(messages) > 0 ORDER BY customer_id"""

_SECTORS = """
SELECT coalesce(sum((raw_size + 2047) / 2048), 0)::bigint FROM message m
WHERE customer_id = %s AND shelf = 1
  AND (spam IS NOT TRUE OR (SELECT archive_spam FROM preferences p WHERE p.customer_id = %s))"""

_DEPARTED = "SELECT fate, messages FROM departed WHERE customer_id = %s"


class Shed(NamedTuple):
    """What a move came to."""

    moved: int
    """Messages."""
    room: int
    """Stored bytes that the cabinet may still take; less than nothing if it is too full."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a shelf holds, and the minutes that its oldest and its newest message came in."""

    messages: int
    bytes: int
    """Stored."""
    raw_bytes: int
    first: datetime | None
    last: datetime | None


class Arrivals(NamedTuple):
    """What came in over a number of whole days."""

    bytes: int
    """Stored."""
    raw_bytes: int
    messages: int
    days: int


class Shelves:
    """The tables ``shelf_count``, ``minute_count`` and ``departed``, and the moves they count."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def full(self) -> Sequence[int]:
        """The customers whose cabinet holds more than it may."""
        return [customer for (customer,) in await self._pool.query(_FULL)]

    async def shed(self, customer: int, most: int) -> Shed:
        """Move the oldest messages of a full cabinet to the cellar, at most so many of them.

        It ends where the cabinet holds what it may. One transaction, counters included.
        """
        rows = await self._pool.query(_SHED, {"customer": customer, "most": most})
        moved, room = rows[0]
        return Shed(moved, room if room is not None else 0)

    async def held(self, customer: int, shelf: Shelf) -> Held:
        """What is on a customer's shelf."""
        on = (customer, int(shelf))
        [(messages, stored, raw)] = await self._pool.query(_HELD, on)
        ends = [await self._pool.query(end, on) for end in (_FIRST, _LAST)]
        first, last = (rows[0][0].astimezone(UTC) if rows else None for rows in ends)
        return Held(messages, stored, raw, first, last)

    async def arrivals(self, customer: int, now: datetime, days: int) -> Arrivals:
        """What came in over the last so many days, or since the first message if that is less."""
        today = int(now.timestamp()) // 86_400
        parameters = {"customer": customer, "today": today, "days": days}
        return Arrivals(*(await self._pool.query(_LATELY, parameters))[0])

    async def cellars(self) -> list[tuple[int, int, int]]:
        """Customers with mail in the cellar: how many messages, and how many bytes as received."""
        return [
            (customer, messages, raw)
            for customer, messages, raw in await self._pool.query(_CELLARS)
        ]

    async def sectors_in_cellar(self, customer: int) -> int:
        """Sectors of 2,048 bytes that the contents of a cellar would take on discs."""
        return int((await self._pool.query(_SECTORS, (customer, customer)))[0][0])

    async def departed(self, customer: int) -> dict[str, int]:
        """How many messages have left the shelves for good, by their fate."""
        return {fate: count for fate, count in await self._pool.query(_DEPARTED, (customer,))}  # noqa: C416
