"""Who names recipients that do not exist, one after the other, is slowed down."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

WINDOW = 600.0
"""Seconds in which `Guessing` allows so many."""
STEP = 0.25
"""Seconds by which an answer is held back longer each time."""
LONGEST = 5.0
MOST = 10_000
"""Client networks that are remembered."""


class _Record(NamedTuple):
    level: float
    """Unknown recipients, of which one is forgotten now and then."""
    at: float
    slowed: int
    """Answers that have been held back since there was none on the record."""


class Guessing:
    """Counts unknown recipients by client network, of which so many are allowed in ten minutes.

    They are forgotten one by one, so that nobody gains by waiting for the end of a period.
    """

    def __init__(self, clock: IReactorTime, allowed: int) -> None:
        """``allowed`` is 0 where there is no limit."""
        self._clock = clock
        self._allowed = allowed
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def too_many(self, network: str) -> bool:
        """Whether its next question will be held back."""
        if not self._allowed or network not in self._records:
            return False
        return self._full(self._record(network, self._clock.seconds()).level)

    def note(self, network: str) -> bool:
        """One more recipient that does not exist; whether that was one too many."""
        if not self._allowed:
            return False
        now = self._clock.seconds()
        record = self._record(network, now)
        level = min(record.level + 1, self._allowed)  # what was under way already is no one's fault
        self._put(network, _Record(level, now, record.slowed))
        return not self._full(record.level) and self._full(level)

    def delay(self, network: str) -> float:
        """How many seconds its next question is to be held back, and not answered; 0: it may ask.

        Each time it is longer.
        """
        if not self.too_many(network):
            return 0.0
        now = self._clock.seconds()
        record = self._record(network, now)
        self._put(network, _Record(record.level, now, record.slowed + 1))
        return min(LONGEST, STEP * (record.slowed + 1))

    def _full(self, level: float) -> bool:
        """Another one would be more than is allowed."""
        return level > self._allowed - 1

    def _record(self, network: str, now: float) -> _Record:
        record = self._records.get(network)
        if record is None:
            return _Record(0.0, now, 0)
        level = record.level - (now - record.at) * self._allowed / WINDOW
        return _Record(level, now, record.slowed) if level > 0 else _Record(0.0, now, 0)

    def _put(self, network: str, record: _Record) -> None:
        self._records[network] = record
        self._records.move_to_end(network)
        while len(self._records) > MOST:
            self._records.popitem(last=False)
