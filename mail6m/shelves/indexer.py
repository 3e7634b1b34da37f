"""Writes what messages are searched by, a moment after they have been committed.

A commit leaves a note of its messages, and an entry costs PostgreSQL more than a message does: so
the notes wait while clients talk; a search has some of them worked off first if it is time for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from mail6m.fold import term
from mail6m.shelves.background import Background
from mail6m.storage.catalogue import Catalogue, Entry, Unindexed

PORTION = 100
"""Messages at a time, and those that were committed with the last of them: some 40 ms."""
INTERVAL = 0.5
"""Seconds between two looks for notes."""
SHARE = 25
"""While clients talk, a portion is followed by a rest this many times as long."""


class Indexer(Background):
    """Works off the notes of commits."""

    def __init__(self, clock: IReactorTime, catalogue: Catalogue) -> None:
        super().__init__(clock, INTERVAL)
        self._catalogue = catalogue
        self._lock = DeferredLock()
        self._rest_until = 0.0

    async def catch_up(self) -> None:
        """Work off all the notes there are. Raises `Unavailable`."""
        while await self._portion(whenever=True):
            pass

    async def refresh(self) -> bool:
        """Work off a portion, unless clients come first; whether messages may wait still.

        Raises `Unavailable`.
        """
        if self._resting:
            return True
        return await self._portion()

    @property
    def _resting(self) -> bool:
        return self._clock.seconds() < self._rest_until

    async def look(self) -> None:
        """Work off notes until there are none, or it is time to rest."""
        while self.going_on() and await self._portion():
            pass

    async def _portion(self, *, whenever: bool = False) -> bool:
        """Work off a portion, if it is not time to rest; whether there may be another."""
        await self._lock.acquire()
        try:
            if self._resting and not whenever:
                return False
            begun = self._clock.seconds()
            rows = await self._catalogue.unindexed(PORTION)
            if rows:
                await self._catalogue.index(
                    sorted({row.batch for row in rows}), list(_entries(rows))
                )
            if self._busy():
                now = self._clock.seconds()
                self._rest_until = now + SHARE * (now - begun)
            return len(rows) >= PORTION
        finally:
            self._lock.release()


def _entries(rows: Iterable[Unindexed]) -> Iterable[Entry]:
    for row in rows:
        if row.customer is not None and row.message is not None:
            sender = _together(term(row.sender), term(row.header_from))
            recipient = _together("\n".join(map(term, row.recipients)), term(row.header_to))
            yield Entry(row.customer, row.message, sender, recipient, term(row.subject))


def _together(envelope: str, header: str) -> str:
    """Both, in lines of their own; one of them where it says what the other does."""
    return header if envelope in header else f"{envelope}\n{header}"
