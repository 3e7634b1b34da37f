"""What passed the servers minute by minute, and how the archive stood hour by hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from mail6m.storage.pool import Pool

MINUTES_KEPT, HOURS_KEPT = 2, 90
"""Days after which minutes are summed up by the hour, and hours by the day."""
AGAIN = 50
"""Seconds after which the archive is summed up anew, by whichever server comes first."""

_ADD = """
INSERT INTO measure AS m (span, begins_at, server, accepted, accepted_bytes, refused, relayed,
                          deferred, failed)
VALUES (1, date_trunc('minute', %(at)s::timestamptz, 'UTC'), %(server)s, %(accepted)s,
        %(accepted_bytes)s, %(refused)s, %(relayed)s, %(deferred)s, %(failed)s)
ON CONFLICT (span, begins_at, server) DO UPDATE
SET accepted = m.accepted + EXCLUDED.accepted,
    accepted_bytes = m.accepted_bytes + EXCLUDED.accepted_bytes,
    refused = m.refused + EXCLUDED.refused, relayed = m.relayed + EXCLUDED.relayed,
    deferred = m.deferred + EXCLUDED.deferred, failed = m.failed + EXCLUDED.failed"""

_SUM_UP = """
WITH old AS (
    DELETE FROM measure WHERE span = %(span)s
      AND begins_at < date_trunc(%(unit)s, now(), 'UTC') - %(days)s * interval '1 day'
    RETURNING *
), summed AS (
    INSERT INTO measure AS m (span, begins_at, server, accepted, accepted_bytes, refused, relayed,
                              deferred, failed)
    SELECT %(into)s, date_trunc(%(unit)s, begins_at, 'UTC') AS at, server, sum(accepted),
           sum(accepted_bytes), sum(refused), sum(relayed), sum(deferred), sum(failed)
    FROM old GROUP BY at, server
    ON CONFLICT (span, begins_at, server) DO UPDATE
    SET accepted = m.accepted + EXCLUDED.accepted,
        accepted_bytes = m.accepted_bytes + EXCLUDED.accepted_bytes,
        refused = m.refused + EXCLUDED.refused, relayed = m.relayed + EXCLUDED.relayed,
        deferred = m.deferred + EXCLUDED.deferred, failed = m.failed + EXCLUDED.failed
)
SELECT count(*) FROM old"""

_FORGET = """
DELETE FROM standing WHERE span = 60 AND begins_at < now() - %s * interval '1 day'"""

_RATES = """
SELECT date_bin(%(step)s * interval '1 second', begins_at, %(since)s) AS at,
       sum(accepted)::bigint, sum(accepted_bytes)::bigint, sum(refused)::bigint,
       sum(relayed)::bigint, sum(deferred)::bigint, sum(failed)::bigint
FROM measure WHERE span = 1 AND begins_at >= %(since)s AND begins_at < %(until)s
GROUP BY at ORDER BY at"""

# By one server at a time; whoever comes while it is fresh finds nothing to do.
_STAND = """
WITH stale AS (
    SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM standing WHERE span = 1440
                               AND taken_at > now() - %(again)s * interval '1 second')
), held AS (
    SELECT coalesce(sum(messages), 0) AS messages, coalesce(sum(bytes), 0) AS bytes
    FROM shelf_count WHERE shelf IN (0, 1) AND EXISTS (SELECT 1 FROM stale)
), here AS (
    SELECT held.*, coalesce((SELECT deliveries FROM queue_snapshot), 0) AS queued,
           (SELECT min((disk ->> 'free')::bigint)
            FROM server_report r, jsonb_array_elements(r.disks) AS disk
            WHERE r.reported_at > now() - interval '5 minutes') AS disk_free,
           pg_database_size(current_database()) AS database_bytes
    FROM held, stale
)
INSERT INTO standing AS s (span, begins_at, taken_at, messages, bytes, queued, disk_free,
                           database_bytes)
SELECT span, date_trunc(unit, now(), 'UTC'), now(), messages, bytes, queued, disk_free,
       database_bytes
FROM here, (VALUES (60, 'hour'), (1440, 'day')) AS spans (span, unit)
ON CONFLICT (span, begins_at) DO UPDATE
SET taken_at = EXCLUDED.taken_at, messages = EXCLUDED.messages, bytes = EXCLUDED.bytes,
    queued = EXCLUDED.queued, disk_free = least(s.disk_free, EXCLUDED.disk_free),
    database_bytes = EXCLUDED.database_bytes"""

_STANDINGS = """
SELECT begins_at, taken_at, messages, bytes, queued, disk_free, database_bytes FROM standing
WHERE span = 1440 AND begins_at > now() - %s * interval '1 day' ORDER BY begins_at"""

_CUSTOMERS = "SELECT count(*) FROM customer WHERE customer_id <> 0"


class Tally(NamedTuple):
    """What has passed, since something or in some time."""

    accepted: int = 0
    """Messages, one for each customer."""
    accepted_bytes: int = 0
    """As received."""
    refused: int = 0
    """Messages, at their end."""
    relayed: int = 0
    """Deliveries."""
    deferred: int = 0
    """Attempts that are to be made again."""
    failed: int = 0
    """Deliveries that were given up."""

    def since(self, earlier: Tally) -> Tally:
        """What has been added."""
        return Tally(*(now - then for now, then in zip(self, earlier, strict=True)))


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stood at the end of a day in UTC, or stands."""

    day: datetime
    """Its beginning."""
    taken_at: datetime
    messages: int
    """In all cabinets and cellars."""
    bytes: int
    """As stored."""
    queued: int
    disk_free: int | None
    """The least of all servers', in all that day; None: nobody has said."""
    database_bytes: int


class Measures:
    """The tables ``measure`` and ``standing``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, server: str, at: datetime, tally: Tally) -> None:
        """This has passed a server in the minute of ``at``."""
        await self._pool.query(_ADD, {"server": server, "at": at} | tally._asdict())

    async def sum_up(self) -> int:
        """Make hours of old minutes, and days of old hours; how many rows went."""
        minutes = {"span": 1, "into": 60, "unit": "hour", "days": MINUTES_KEPT}
        hours = {"span": 60, "into": 1440, "unit": "day", "days": HOURS_KEPT}
        gone = [await self._pool.query(_SUM_UP, old) for old in (minutes, hours)]
        await self._pool.query(_FORGET, (HOURS_KEPT,))
        return sum(int(rows[0][0]) for rows in gone)

    async def rates(
        self, since: datetime, until: datetime, step: timedelta
    ) -> list[tuple[datetime, Tally]]:
        """What passed all servers, in steps from ``since``; a step in which none did is left out.

        For the last two days: what is older has no minutes any more.
        """
        parameters = {"since": since, "until": until, "step": step.total_seconds()}
        rows = await self._pool.query(_RATES, parameters)
        return [(at.astimezone(UTC), Tally(*counts)) for at, *counts in rows]

    async def stand(self) -> None:
        """Sum up how the archive stands, unless another server just has."""
        await self._pool.query(_STAND, {"again": AGAIN})

    async def standings(self, days: int) -> Sequence[Standing]:
        """How it stood at the end of each of the last days; the last one is how it stands."""
        rows = await self._pool.query(_STANDINGS, (days,))
        return [Standing(day.astimezone(UTC), at.astimezone(UTC), *rest) for day, at, *rest in rows]

    async def customers(self) -> int:
        """How many there are."""
        return int((await self._pool.query(_CUSTOMERS))[0][0])
