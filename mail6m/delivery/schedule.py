"""When a delivery is tried next, and when it is given up (RFC 5321, 4.5.4.1).

Pure: it reads no clock and throws no dice. Times are aware datetimes in UTC. A jitter is a number
in [0, 1) drawn by the caller; it spreads a wait evenly over ±10 %, so that what failed together
does not come back together.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from mail6m.model import State, Verdict

LIFETIME = timedelta(days=5)
"""How long a delivery is tried, from the time it was queued (RFC 5321: at least 4-5 days)."""

RETRIES: tuple[timedelta, ...] = (
    timedelta(minutes=1),  #   after attempt 1
    timedelta(minutes=2),  #   0 h 03
    timedelta(minutes=5),  #   0 h 08   greylisting mostly lets go about here
    timedelta(minutes=10),  #  0 h 18
    timedelta(minutes=15),  #  0 h 33
    timedelta(minutes=30),  #  1 h 03
    timedelta(minutes=57),  #  2 h 00   a round sum
    *[timedelta(hours=1)] * 118,
)  #                         120 h 00 = LIFETIME: 126 attempts in all
"""The waits after attempts 1, 2, 3…, before jitter. Beyond the table, its last one goes on."""

WARN_AFTER = timedelta(hours=4)
"""How long a delivery waits before its sender is told of the delay."""

PROBES: tuple[timedelta, ...] = (
    timedelta(seconds=5),
    timedelta(seconds=10),
    timedelta(seconds=30),
    timedelta(minutes=1),
    timedelta(minutes=2),
    timedelta(minutes=5),
    timedelta(minutes=10),  # and so on until the host is back
)
"""The waits after 1, 2, 3… failures in a row to reach a host, before jitter."""


def next_attempt(
    attempts: int, now: datetime, queued_at: datetime, jitter: float
) -> datetime | None:
    """When to try again after ``attempts`` (at least 1) attempts; None: give up.

    None means that the next attempt would fall after the lifetime, so the last attempt is made
    within about one wait of its end. A delivery that slept past its lifetime, the server being
    stopped, is still tried once before it is given up. Raises ValueError for no attempts.
    """
    when = now + _spread(_wait(RETRIES, attempts), jitter)
    return when if when <= queued_at + LIFETIME else None


def warning_due(queued_at: datetime, now: datetime) -> bool:
    """Whether the sender of what was queued at ``queued_at`` should hear of the delay by now."""
    return now - queued_at >= WARN_AFTER


def next_probe(failures: int, now: datetime, jitter: float) -> datetime:
    """When one probe goes to a host that could not be reached ``failures`` (at least 1) times.

    Raises ValueError for no failures.
    """
    return now + _spread(_wait(PROBES, failures), jitter)


def settle(
    outcome_verdict: Verdict, attempts: int, now: datetime, queued_at: datetime, jitter: float
) -> tuple[State, datetime | None]:
    """What becomes of a delivery after an attempt, and when it is tried again if it stays queued.

    ``attempts`` counts the attempt just made. The time is None in every state but QUEUED.
    """
    if outcome_verdict is Verdict.DONE:
        return State.DELIVERED, None
    if outcome_verdict is Verdict.NEVER:
        return State.FAILED, None
    when = next_attempt(attempts, now, queued_at, jitter)
    return (State.EXPIRED, None) if when is None else (State.QUEUED, when)


def _wait(table: tuple[timedelta, ...], count: int) -> timedelta:
    """The table's entry after ``count`` tries, counted from 1; its last entry goes on for ever."""
    if count < 1:
        raise ValueError(f"a wait follows at least one try, not {count}")
    return table[min(count, len(table)) - 1]


def _spread(wait: timedelta, jitter: float) -> timedelta:
    return wait * (0.9 + 0.2 * jitter)
