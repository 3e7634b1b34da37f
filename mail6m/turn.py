"""What is put off to the end of the reactor's turn, or until nobody is talking.

A turn is what the reactor does between two looks at its sockets: under load, the work of dozens of
events. What is said goes out together at its end: waking a peer costs several times the sending,
and the second packet of a burst finds it awake.

Clients come first, since they wait for us. What nobody waits for, relaying above all, is put off
until they are quiet: until all of them wait for a commit, which is when there is time for it
(docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger


class Speaker(Protocol):
    """A session with something to say."""

    def flush(self) -> None:
        """Say it now."""


class Turn:
    """The turn that the reactor is in."""

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._put_off: dict[Callable[[], None], tuple[float, float]] = {}
        self._speakers: dict[Speaker, None] = {}
        self._quiet = True
        self._scheduled = False

    def say(self, speaker: Speaker) -> None:
        """Flush this session at the end of the turn, once, however often it is asked for."""
        self._speakers[speaker] = None
        if not self._scheduled:
            self._schedule()

    def hear(self) -> None:
        """A client is talking: this turn is not quiet."""
        self._quiet = False

    def when_quiet(self, work: Callable[[], None], patience: float) -> None:
        """Do this once, at the end of a turn in which no client talks, or in ``patience`` seconds.

        What has the least patience goes first.
        """
        if work not in self._put_off:
            self._put_off[work] = (patience, self._clock.seconds() + patience)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        self._clock.callLater(0, self._end)

    def _end(self) -> None:
        if self._put_off:
            self._do_what_was_put_off()
        self._quiet = True
        speakers, self._speakers = self._speakers, {}
        for speaker in speakers:
            self._guarded(speaker.flush)
        self._scheduled = False
        if self._put_off or self._speakers:
            self._schedule()

    def _do_what_was_put_off(self) -> None:
        now = self._clock.seconds()
        due = [
            (patience, work)
            for work, (patience, until) in self._put_off.items()
            if self._quiet or now >= until
        ]
        for _, work in sorted(due, key=_patience):
            del self._put_off[work]
            self._guarded(work)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - the others' work must not suffer for it
            self.log.failure("something put off to the end of a turn went wrong")


def _patience(item: tuple[float, Callable[[], None]]) -> float:
    return item[0]
