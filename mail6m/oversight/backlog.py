"""Keeps the count of the queue by destination fresh, at a cost that nobody notices."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from twisted.internet.interfaces import IReactorTime

from mail6m.shelves.background import Background
from mail6m.storage.backlog import BacklogTable

EVERY = 10.0
"""Seconds after which the queue is counted anew, by whichever server comes first."""
SHARE = 20
"""It rests so many times as long as counting took."""


class BacklogCount(Background):
    """Counts the queue, now and then, and when somebody has changed it by hand."""

    def __init__(
        self, clock: IReactorTime, table: BacklogTable, now: Callable[[], datetime]
    ) -> None:
        super().__init__(clock, EVERY)
        self._table = table
        self._now = now
        self._rests_until = 0.0

    async def look(self) -> None:
        """Count it, if nobody has lately."""
        begun = self._clock.seconds()
        if begun < self._rests_until:
            return
        last = await self._table.snapshot()
        if last is not None and (self._now() - last.taken_at).total_seconds() < EVERY / 2:
            return
        await self._table.take()
        self._rests_until = begun + SHARE * (self._clock.seconds() - begun)
