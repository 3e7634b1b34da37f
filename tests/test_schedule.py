"""The retry schedule: soon at first, hourly later, five days in all, and never in step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail6m.delivery.schedule import (
    LIFETIME,
    PROBES,
    RETRIES,
    WARN_AFTER,
    next_attempt,
    next_probe,
    settle,
    warning_due,
)
from mail6m.model import State, Verdict

QUEUED_AT = datetime(2026, 3, 4, 10, 12, tzinfo=UTC)
EVENLY = 0.5
jitters = st.floats(0, 1, exclude_max=True)


def attempts_until_given_up(jitter: float) -> list[datetime]:
    """When a delivery is tried, if every attempt fails at once."""
    times = [QUEUED_AT]
    while when := next_attempt(len(times), times[-1], QUEUED_AT, jitter):
        times.append(when)
        assert len(times) < 1_000, "never given up"
    return times


def test_the_table_lasts_the_lifetime() -> None:
    """The sum in the comment is right: the waits end at 5 days, and none is shorter than before."""
    assert timedelta(days=5) == LIFETIME == sum(RETRIES, timedelta())
    assert all(wait <= longer for wait, longer in pairwise(RETRIES))
    assert RETRIES[0] == timedelta(minutes=1)
    assert RETRIES[-1] == timedelta(hours=1)


def test_the_last_attempt_is_at_the_end_of_the_lifetime() -> None:
    """Without jitter the last of 126 attempts falls on the lifetime's end, and none after it."""
    times = attempts_until_given_up(EVENLY)
    assert times[-1] == QUEUED_AT + LIFETIME
    assert len(times) == len(RETRIES) + 1 == 126


def test_the_first_hour_holds_most_of_the_early_attempts() -> None:
    """A host that was busy or greylists gets the message soon: 6 attempts in the first hour."""
    first_hour = [
        when for when in attempts_until_given_up(EVENLY) if when - QUEUED_AT < RETRIES[-1]
    ]
    assert len(first_hour) == 6


@settings(deadline=None)
@given(jitters)
def test_any_jitter_tries_to_about_the_end(jitter: float) -> None:
    """Whatever the jitter, attempts go on to within about a wait of the end, never beyond it."""
    last = attempts_until_given_up(jitter)[-1]
    assert timedelta(0) <= QUEUED_AT + LIFETIME - last <= RETRIES[-1] * 1.1


@settings(deadline=None)
@given(st.integers(1, 500), jitters)
def test_jitter_stays_within_ten_per_cent(attempts: int, jitter: float) -> None:
    """A wait is the table's, give or take a tenth; beyond the table it is the last."""
    when = next_attempt(attempts, QUEUED_AT, QUEUED_AT, jitter)
    assert when is not None
    wait = RETRIES[attempts - 1] if attempts <= len(RETRIES) else RETRIES[-1]
    assert wait * 0.9 <= when - QUEUED_AT <= wait * 1.1


def test_jitter_spreads_over_the_whole_tenth() -> None:
    """The ends of the jitter are the ends of the spread, so that a herd does disperse."""
    soonest = next_attempt(6, QUEUED_AT, QUEUED_AT, 0)
    latest = next_attempt(6, QUEUED_AT, QUEUED_AT, 0.999999)
    assert soonest == QUEUED_AT + timedelta(minutes=27)
    assert latest is not None
    assert latest > QUEUED_AT + timedelta(minutes=32, seconds=59)


def test_a_delivery_that_slept_past_its_lifetime_is_given_up_after_one_attempt() -> None:
    """When the server was stopped for a week, the attempt it makes on its return is the last."""
    assert next_attempt(1, QUEUED_AT + timedelta(days=7), QUEUED_AT, EVENLY) is None


@pytest.mark.parametrize("none", [0, -1])
def test_a_wait_follows_a_try(none: int) -> None:
    """Counting from 0 by mistake is told at once, not turned into the table's last wait."""
    with pytest.raises(ValueError, match="at least one"):
        next_attempt(none, QUEUED_AT, QUEUED_AT, EVENLY)
    with pytest.raises(ValueError, match="at least one"):
        next_probe(none, QUEUED_AT, EVENLY)


def test_warning_is_due_after_four_hours() -> None:
    """The sender hears of a delay at 4 hours, not a second before."""
    assert timedelta(hours=4) == WARN_AFTER
    assert not warning_due(QUEUED_AT, QUEUED_AT + WARN_AFTER - timedelta(seconds=1))
    assert warning_due(QUEUED_AT, QUEUED_AT + WARN_AFTER)


@settings(deadline=None)
@given(st.integers(1, 10_000), jitters)
def test_probes_slow_down_to_ten_minutes(failures: int, jitter: float) -> None:
    """A host that is down is probed after 5 s at first and every 10 minutes at last, ±10 %."""
    assert PROBES[0] == timedelta(seconds=5)
    assert PROBES[-1] == timedelta(minutes=10)
    assert all(wait < longer for wait, longer in pairwise(PROBES))
    wait = PROBES[failures - 1] if failures <= len(PROBES) else PROBES[-1]
    assert wait * 0.9 <= next_probe(failures, QUEUED_AT, jitter) - QUEUED_AT <= wait * 1.1


def test_settle_follows_the_verdict() -> None:
    """Done is delivered, never is failed, later is queued until the lifetime is over."""
    at_once, at_last = QUEUED_AT, QUEUED_AT + LIFETIME
    soon = QUEUED_AT + timedelta(minutes=1)
    for now, later in [(at_once, (State.QUEUED, soon)), (at_last, (State.EXPIRED, None))]:
        assert settle(Verdict.LATER, 1, now, QUEUED_AT, EVENLY) == later
        assert settle(Verdict.DONE, 1, now, QUEUED_AT, EVENLY) == (State.DELIVERED, None)
        assert settle(Verdict.NEVER, 1, now, QUEUED_AT, EVENLY) == (State.FAILED, None)
