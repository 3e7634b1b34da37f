"""All that the operators' first page says, in a handful of queries that cost little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from twisted.internet.interfaces import IReactorTime

from mail6m.storage.backlog import Backlog, BacklogTable, Snapshot
from mail6m.storage.discs import Discs
from mail6m.storage.health import DatabaseState, Health, Mishap, ServerReport
from mail6m.storage.measures import Measures, Standing, Tally

STEP = timedelta(minutes=10)
"""Of the chart of a day."""
DAY = timedelta(days=1)
LATELY = timedelta(minutes=5)
"""What "now" means for a rate."""
DAYS = 90
"""Of the archive's growth."""
TROUBLED = 8
"""Destinations that are shown; the page of the queue has all."""
MISHAPS = 12


@dataclass(frozen=True, slots=True)
class View:
    """How Mail6M is."""

    begins_at: datetime
    """Of the first of `rates`."""
    rates: Sequence[Tally]
    """What passed in each whole `STEP` of 24 hours, up to the last one that is over."""
    lately: Tally
    """What passed in the last whole minutes, as many as `LATELY` has."""
    standings: Sequence[Standing]
    snapshot: Snapshot | None
    troubled: Sequence[Backlog]
    troubled_count: int
    """How many there are, of which those are the ones where most waits."""
    customers: int
    errands: Mapping[str, int]
    reports: Sequence[ServerReport]
    mishaps: Sequence[Mishap]
    database: DatabaseState
    latency: float
    """Seconds that PostgreSQL took to say how it is."""


class Overview:
    """Looks at the whole."""

    def __init__(
        self,
        clock: IReactorTime,
        measures: Measures,
        backlog: BacklogTable,
        health: Health,
        discs: Discs,
    ) -> None:
        self._clock = clock
        self._measures = measures
        self._backlog = backlog
        self._health = health
        self._discs = discs

    async def look(self, now: datetime) -> View:
        """How it is. Raises `Unavailable`."""
        begun = self._clock.seconds()
        database = await self._health.database()
        latency = self._clock.seconds() - begun
        begins_at = _floor(now, STEP) - DAY
        steps = dict(await self._measures.rates(begins_at, begins_at + DAY, STEP))
        minute = _floor(now, timedelta(minutes=1))
        lately = await self._measures.rates(minute - LATELY, minute, LATELY)
        troubled, troubled_count = await self._backlog.troubled(TROUBLED)
        return View(
            begins_at,
            [steps.get(begins_at + number * STEP, Tally()) for number in range(DAY // STEP)],
            lately[0][1] if lately else Tally(),
            await self._measures.standings(DAYS),
            await self._backlog.snapshot(),
            troubled,
            troubled_count,
            await self._measures.customers(),
            await self._discs.errands(),
            await self._health.reports(),
            await self._health.mishaps(MISHAPS),
            database,
            latency,
        )


def _floor(moment: datetime, step: timedelta) -> datetime:
    """The last full step before a moment, counted from midnight in UTC."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (moment - midnight) // step * step
