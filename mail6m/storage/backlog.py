"""The queue by destination and by age, for operators: as it was a moment ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from mail6m.model import Delivery, State
from mail6m.storage.pool import Pool, Row, utc

BOUNDS = (600, 3_600, 14_400, 86_400, 259_200)
"""Seconds: deliveries are counted by age below each of these, and beyond the last."""

_TIMES = ", ".join(map(str, reversed(BOUNDS)))

# One after the other, and each with what is there when its turn comes. What has not changed is not
# written again; the partial index has all that is queued, whatever the statistics say.
_TAKE = f"""
SET LOCAL enable_seqscan = off;
SELECT pg_advisory_xact_lock(x'71756575'::bigint);
WITH waiting AS MATERIALIZED (
    SELECT destination, count(*) AS deliveries, count(server_id) AS in_hand,
           min(queued_at) AS oldest_at, min(next_attempt_at) AS next_attempt_at,
           (array_agg(last_reply ORDER BY attempted_at DESC NULLS LAST))[1] AS last_reply
    FROM delivery WHERE state = 0 GROUP BY destination
), put AS (
    INSERT INTO queue_destination AS d
    SELECT destination, deliveries, in_hand, oldest_at, next_attempt_at, last_reply
    FROM waiting ORDER BY destination
    ON CONFLICT (destination) DO UPDATE
    SET deliveries = EXCLUDED.deliveries, in_hand = EXCLUDED.in_hand,
        oldest_at = EXCLUDED.oldest_at, next_attempt_at = EXCLUDED.next_attempt_at,
        last_reply = EXCLUDED.last_reply
    WHERE (d.deliveries, d.in_hand, d.oldest_at, d.next_attempt_at, d.last_reply)
          IS DISTINCT FROM (EXCLUDED.deliveries, EXCLUDED.in_hand, EXCLUDED.oldest_at,
                            EXCLUDED.next_attempt_at, EXCLUDED.last_reply)
), emptied AS (
    DELETE FROM queue_destination d
    WHERE NOT EXISTS (SELECT 1 FROM waiting w WHERE w.destination = d.destination)
), aged AS (
    SELECT width_bucket(-extract(epoch FROM now() - queued_at), (
               SELECT array_agg(-bound) FROM unnest(ARRAY[{_TIMES}]::numeric[]) bound)) AS bucket,
           count(*) AS deliveries
    FROM delivery WHERE state = 0 GROUP BY bucket
)
INSERT INTO queue_snapshot AS s (taken_at, deliveries, oldest_at, ages, unindexed)
SELECT now(), coalesce(sum(deliveries), 0), min(oldest_at),
       ARRAY(SELECT coalesce(aged.deliveries, 0)
             FROM generate_series({len(BOUNDS)}, 0, -1) AS b (bucket) LEFT JOIN aged USING (bucket)
             ORDER BY bucket DESC),
       (SELECT coalesce(sum(size), 0) FROM unindexed)
FROM waiting
ON CONFLICT (one) DO UPDATE
SET taken_at = EXCLUDED.taken_at, deliveries = EXCLUDED.deliveries,
    oldest_at = EXCLUDED.oldest_at, ages = EXCLUDED.ages, unindexed = EXCLUDED.unindexed"""

_SNAPSHOT = "SELECT taken_at, deliveries, oldest_at, ages, unindexed FROM queue_snapshot"

_BACKLOG = """
    coalesce(q.destination, h.destination), coalesce(q.deliveries, 0), coalesce(q.in_hand, 0),
    q.oldest_at, q.next_attempt_at, coalesce(nullif(d.last_reply, ''), q.last_reply, ''),
    d.down_since, d.next_probe_at, h.held_at, h.held_by
FROM queue_destination q FULL JOIN held_destination h USING (destination)
LEFT JOIN destination d ON d.destination = coalesce(q.destination, h.destination)"""

_DESTINATIONS = f"""
SELECT {_BACKLOG}
ORDER BY h.held_at IS NULL, d.down_since IS NULL, q.deliveries DESC NULLS LAST,
         coalesce(q.destination, h.destination)
OFFSET %(offset)s LIMIT %(limit)s"""

_COUNT = """
SELECT count(*) FROM queue_destination q FULL JOIN held_destination h USING (destination)"""

# What is down, held, or has waited for longer than the first retries take.
_TROUBLED = f"""
SELECT count(*) OVER (), {_BACKLOG}
WHERE h.held_at IS NOT NULL OR d.down_since IS NOT NULL OR q.oldest_at < now() - interval '1 hour'
ORDER BY q.deliveries DESC NULLS LAST, coalesce(q.destination, h.destination) LIMIT %(limit)s"""

# One destination as it is now: its own deliveries are soon counted, by the index.
_ONE = """
SELECT %(destination)s, q.deliveries, q.in_hand, q.oldest_at, q.next_attempt_at,
       coalesce(nullif(d.last_reply, ''), q.last_reply, ''),
       d.down_since, d.next_probe_at, h.held_at, h.held_by
FROM (SELECT count(*) AS deliveries, count(server_id) AS in_hand, min(queued_at) AS oldest_at,
             min(next_attempt_at) AS next_attempt_at,
             (array_agg(last_reply ORDER BY attempted_at DESC NULLS LAST))[1] AS last_reply
      FROM delivery WHERE state = 0 AND destination = %(destination)s) AS q
LEFT JOIN held_destination h ON h.destination = %(destination)s
LEFT JOIN destination d ON d.destination = %(destination)s
WHERE q.deliveries > 0 OR h.held_at IS NOT NULL OR d.down_since IS NOT NULL"""

_DELIVERIES = """
SELECT q.customer_id, q.message_id, q.number, q.recipient, q.destination, q.state, q.attempts,
       q.queued_at, q.next_attempt_at, q.last_reply, c.company, q.server_id IS NOT NULL
FROM delivery q LEFT JOIN customer c USING (customer_id)
WHERE q.state = 0 AND q.destination = %(destination)s
ORDER BY q.next_attempt_at, q.customer_id, q.message_id, q.number
OFFSET %(offset)s LIMIT %(limit)s"""


class Snapshot(NamedTuple):
    """The whole queue, at some moment."""

    taken_at: datetime
    deliveries: int
    oldest_at: datetime | None
    ages: Sequence[int]
    """How many deliveries are younger than each of `BOUNDS`, but not than the one before; and how
    many are older than all."""
    unindexed: int
    """Messages that no search finds yet."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for a destination."""

    destination: str
    deliveries: int
    in_hand: int
    """Of them, those that a server is about to deliver."""
    oldest_at: datetime | None
    next_attempt_at: datetime | None
    last_reply: str
    down_since: datetime | None
    """It cannot be reached; None: it can, as far as is known."""
    next_probe_at: datetime | None
    held_at: datetime | None
    """An operator holds it; None: nobody does."""
    held_by: str | None


class Queued(NamedTuple):
    """A delivery as operators see it: nothing of what the message is about."""

    delivery: Delivery
    company: str | None
    """Of whom the message is; None: that customer is no more."""
    in_hand: bool


class BacklogTable:
    """The tables ``queue_snapshot`` and ``queue_destination``, and what stands behind them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self) -> None:
        """Count the queue as it is now."""
        await self._pool.query(_TAKE)

    async def snapshot(self) -> Snapshot | None:
        """The whole queue when it was counted last; None if it never was."""
        rows = await self._pool.query(_SNAPSHOT)
        if not rows:
            return None
        at, deliveries, oldest, ages, unindexed = rows[0]
        return Snapshot(at.astimezone(UTC), deliveries, utc(oldest), ages, unindexed)

    async def destinations(self, offset: int, limit: int) -> Sequence[Backlog]:
        """By destination: first what is held, then what is down, then where most waits."""
        parameters = {"offset": offset, "limit": limit}
        return [_backlog(row) for row in await self._pool.query(_DESTINATIONS, parameters)]

    async def count(self) -> int:
        """How many destinations there are."""
        return int((await self._pool.query(_COUNT))[0][0])

    async def troubled(self, limit: int) -> tuple[Sequence[Backlog], int]:
        """Where most waits of what is held, is down, or has waited for more than an hour; and how
        many destinations are like that.
        """
        rows = await self._pool.query(_TROUBLED, {"limit": limit})
        return [_backlog(row[1:]) for row in rows], rows[0][0] if rows else 0

    async def one(self, destination: str) -> Backlog | None:
        """What waits for a destination now; None if nothing is known of it."""
        rows = await self._pool.query(_ONE, {"destination": destination})
        return _backlog(rows[0]) if rows else None

    async def deliveries(self, destination: str, offset: int, limit: int) -> Sequence[Queued]:
        """What waits for a destination, in the order in which it is tried."""
        parameters = {"destination": destination, "offset": offset, "limit": limit}
        return [_queued(row) for row in await self._pool.query(_DELIVERIES, parameters)]


def _backlog(row: Row) -> Backlog:
    name, deliveries, in_hand, oldest, next_, reply, down, probe, held, by = row
    return Backlog(
        name, deliveries, in_hand, utc(oldest), utc(next_), reply, utc(down), utc(probe),
        utc(held), by,
    )  # fmt: skip


def _queued(row: Row) -> Queued:
    customer, message, number, recipient, destination, state, attempts, queued, *rest = row
    next_, reply, company, in_hand = rest
    delivery = Delivery(
        customer, UUID(message), number, recipient, destination, State(state), attempts,
        queued.astimezone(UTC), next_.astimezone(UTC), reply,
    )  # fmt: skip
    return Queued(delivery, company, in_hand)
