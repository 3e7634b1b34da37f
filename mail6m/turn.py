"""The reactor's turn: everything is heard, then thought about, then answered.

A turn is what the reactor does between two looks at its sockets: under load, the work of dozens of
events. Each kind of work is done for all of them before the next kind: what has just been done is
still in the processor's caches, and takes half the time when it is done again. And what is said
goes out together: waking a peer costs several times the sending, and the second packet of a burst
finds it awake.

Clients come first, since they wait for us. What nobody waits for, relaying above all, is put off
until they are quiet: until all of them wait for a commit, which is when there is time for it
(docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol

from twisted.internet import epollreactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_LATELY = 0.1
"""Seconds since a client has talked, within which others are thought to talk on."""


class Speaker(Protocol):
    """A session that may have something to say."""

    def flush(self) -> None:
        """Say it now."""


class Listener(Speaker, Protocol):
    """A session with a client, which has heard something."""

    def advance(self) -> None:
        """Think about it now."""


class Turn:
    """The turn that the reactor is in."""

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._put_off: dict[float, dict[Callable[[], None], float]] = {}  # by patience: until when
        self._listeners: dict[Listener, None] = {}
        self._speakers: dict[Any, None] = {}
        self._scheduled = False
        self._heard_at = -inf

    def hear(self, listener: Listener) -> None:
        """A client is talking: let this session advance, and be flushed, at the end of the turn."""
        self._listeners[listener] = None
        if not self._scheduled:
            self._schedule()

    def say(self, speaker: Speaker) -> None:
        """Flush this session at the end of the turn, once, however often it is asked for."""
        self._speakers[speaker] = None
        if not self._scheduled:
            self._schedule()

    def when_quiet(self, work: Callable[[], None], patience: float) -> None:
        """Do this once, at the end of a turn in which no client talks, or in ``patience`` seconds.

        What has the least patience goes first, and what it says is on its way before the next.
        """
        kind = self._put_off.get(patience)
        if kind is None:
            kind = self._put_off[patience] = {}
        if work not in kind:
            kind[work] = self._clock.seconds() + patience
        if not self._scheduled:
            self._schedule()

    def later(self, at: float, work: Callable[[], None]) -> None:
        """Do this when it is that time by `now`; at once, if no client has talked lately."""
        now = self.now()
        if now < at and now - self._heard_at < _LATELY:
            self._clock.callLater(at - now, work)
        else:
            work()

    def now(self) -> float:
        """The reactor's time, in seconds."""
        return self._clock.seconds()

    def _schedule(self) -> None:
        self._scheduled = True
        self._clock.callLater(0, self._end)

    def _end(self) -> None:
        quiet = not self._listeners
        if not quiet:
            self._heard_at = self._clock.seconds()
        while self._listeners:  # an answer that came at once lets a session advance again
            listeners, self._listeners = self._listeners, {}
            self._do([listener.advance for listener in listeners])
            self._speakers.update(listeners)
        if self._put_off:
            self._do_what_was_put_off(quiet)
        self._flush()
        self._scheduled = False
        if self._put_off or self._listeners or self._speakers:
            self._schedule()

    def _do_what_was_put_off(self, quiet: bool) -> None:
        now = self._clock.seconds()
        due = [
            (patience, [work for work, until in kind.items() if quiet or now >= until])
            for patience, kind in self._put_off.items()
        ]
        for patience, works in sorted(due):
            if not works:
                continue
            kind = self._put_off[patience]
            for work in works:
                del kind[work]
            if not kind:
                del self._put_off[patience]
            self._do(works)
            self._flush()

    def _flush(self) -> None:
        speakers, self._speakers = self._speakers, {}
        self._do([speaker.flush for speaker in speakers])

    def _do(self, works: Sequence[Callable[[], None]]) -> None:
        for work in works:
            try:
                work()
            except Exception:  # noqa: BLE001 - the others' work must not suffer for it
                self.log.failure("something put off to the end of a turn went wrong")


class Round:
    """What several do one after the other when no client talks, rather than each on its own.

    While clients talk, a round begins ``company`` seconds after the last one at the earliest, and
    has ``patience`` for so many seconds more. One that comes by itself waits for nobody.
    """

    def __init__(self, turn: Turn, company: float, patience: float) -> None:
        self._turn = turn
        self._company = company
        self._patience = patience
        self._waiting: list[Deferred[None]] = []
        self._begun = -inf

    def join(self) -> Deferred[None]:
        """Fires when it is time."""
        fired: Deferred[None] = Deferred()
        self._waiting.append(fired)
        if len(self._waiting) == 1:
            self._turn.later(self._begun + self._company, self._gathered)
        return fired

    def _gathered(self) -> None:
        self._turn.when_quiet(self._begin, self._patience)

    def _begin(self) -> None:
        self._begun = self._turn.now()
        waiting, self._waiting = self._waiting, []
        for fired in waiting:
            fired.callback(None)


class _Plainly:
    """In the place of `twisted.python.log`, of which the epoll reactor uses this alone."""

    _log = Logger(namespace="mail6m.turn")

    @classmethod
    def callWithLogger(cls, _selectable: object, function: Callable[..., Any], *of: Any) -> None:
        """Call it; an exception ends neither the reactor nor the turn."""
        try:
            function(*of)
        except Exception:  # noqa: BLE001 - as the original has it
            cls._log.failure("an event of a socket went wrong")


def without_log_context() -> None:
    """Let the epoll reactor call sockets plainly.

    Twisted gives each of their events a context for what is logged by `twisted.python.log`, which
    nothing here is: a dozen calls every time, a twelfth of a message's cost.
    """
    vars(epollreactor)["log"] = _Plainly
