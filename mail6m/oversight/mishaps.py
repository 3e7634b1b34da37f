"""The warnings and errors of our own log, kept for the operators' page.

Of each kind (where in the program, and its words without their values) there is one, with how often
it has happened and its last words; so there is never more of them than the program has such lines.
Of an exception it says the kind and nothing else: what it says may be out of somebody's mail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from mail6m.storage.health import Mishap

LONGEST = 300
"""Characters of what is said."""
MOST = 200
"""Kinds that are kept until somebody takes them."""
_LEVELS = (LogLevel.warn, LogLevel.error, LogLevel.critical)


@implementer(ILogObserver)
class Mishaps:
    """Listens to the log."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._kept: dict[str, Mishap] = {}

    def __call__(self, event: LogEvent) -> None:
        """See `twisted.logger.ILogObserver`."""
        namespace = event.get("log_namespace", "")
        if event.get("log_level") not in _LEVELS or not _ours(namespace):
            return
        kind = f"{namespace}: {event.get('log_format') or ''}"
        known = self._kept.get(kind)
        if known is None and len(self._kept) >= MOST:
            return
        now = self._clock()
        first, times = (known.first_at, known.times + 1) if known is not None else (now, 1)
        level = event["log_level"].name
        self._kept[kind] = Mishap("", kind, level, _said(event), times, first, now)

    def take(self) -> Sequence[Mishap]:
        """What has happened since this was asked last."""
        kept, self._kept = self._kept, {}
        return list(kept.values())

    def put_back(self, mishaps: Sequence[Mishap]) -> None:
        """Nobody could do anything with these; what happened since is added."""
        for old in mishaps:
            new = self._kept.get(old.kind)
            if new is not None:
                old = replace(new, times=old.times + new.times, first_at=old.first_at)
            self._kept[old.kind] = old


def _ours(namespace: str) -> bool:
    return namespace == "mail6m" or namespace.startswith("mail6m.")


def _said(event: LogEvent) -> str:
    said = " ".join(formatEvent(event).split())
    failure = event.get("log_failure")
    if failure is not None:
        said = f"{said} ({failure.type.__name__})"
    return said if len(said) <= LONGEST else said[: LONGEST - 1] + "…"
