"""What is put off to the end of the reactor's turn.

A turn is what the reactor does between two looks at its sockets: under load, the work of dozens of
events. Two things are better done when all of it is known. Commits and couriers' rounds gather what
the whole turn has brought. And what is said goes out together: waking a peer costs several times
the sending, and the second packet of a burst finds it awake (docs/performance.md).
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
        self._works: list[Callable[[], None]] = []
        self._patient: list[tuple[Callable[[], None], float]] = []
        self._speakers: dict[Speaker, None] = {}
        self._scheduled = False

    def at_end(self, work: Callable[[], None]) -> None:
        """Do this when all events of the turn have been seen, before anything is said."""
        self._works.append(work)
        if not self._scheduled:
            self._schedule()

    def say(self, speaker: Speaker) -> None:
        """Flush this session at the end of the turn, once, however often it is asked for."""
        self._speakers[speaker] = None
        if not self._scheduled:
            self._schedule()

    def when_quiet(self, work: Callable[[], None], patience: float) -> None:
        """Do this at the end of a turn in which nobody has spoken, or in ``patience`` seconds."""
        self._patient.append((work, self._clock.seconds() + patience))
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        self._clock.callLater(0, self._end)

    def _end(self) -> None:
        self._do_what_has_waited()
        for work in self._works:  # which may grow meanwhile
            self._guarded(work)
        self._works.clear()
        speakers, self._speakers = self._speakers, {}
        for speaker in speakers:
            self._guarded(speaker.flush)
        self._scheduled = False
        if self._patient or self._works or self._speakers:
            self._schedule()

    def _do_what_has_waited(self) -> None:
        if not self._patient:
            return
        quiet, now = not self._speakers, self._clock.seconds()
        patient, self._patient = self._patient, []
        for work, until in patient:
            if quiet or now >= until:
                self._guarded(work)
            else:
                self._patient.append((work, until))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - the others' work must not suffer for it
            self.log.failure("something put off to the end of a turn went wrong")
