"""How often clients may do something: by the clock, whatever they try, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail6m.guard import rates
from mail6m.guard.rates import MINUTE, NEIGHBOURS, Meter, Rate
from mail6m.networks import place_of

NAMES = "abcd"
moments = st.lists(st.floats(0, 40), min_size=1, max_size=120)
"""Seconds between attempts."""


def _try(meter: Meter, who: str, now: float) -> bool:
    if meter.full(who, now):
        return False
    meter.add(who, now)
    return True


def test_so_many_at_once_and_then_at_that_pace() -> None:
    """A rate of 6: six at once, then one every ten seconds."""
    meter = Meter(6)
    assert [_try(meter, "a", 0.0) for _ in range(8)] == [True] * 6 + [False] * 2
    assert not _try(meter, "a", 9.9)
    assert _try(meter, "a", 10.0)
    assert not _try(meter, "a", 10.0)
    assert [_try(meter, "a", 70.0) for _ in range(7)] == [True] * 6 + [False]


def test_what_is_left() -> None:
    """How many times more at once, and when there will be so many: what RateLimit tells."""
    meter = Meter(6)
    assert (meter.left("a", 0.0), meter.until("a", 0.0, 6)) == (6, 0.0)
    for _ in range(6):
        meter.add("a", 0.0)
    assert (meter.left("a", 0.0), meter.until("a", 0.0), meter.until("a", 0.0, 6)) == (
        0,
        10.0,
        60.0,
    )
    assert (meter.left("a", 10.0), meter.until("a", 10.0)) == (1, 0.0)


@given(moments, st.integers(1, 50))
def test_left_is_what_is_let_pass(pauses: list[float], most: int) -> None:
    """However it came to that: so many more are let pass at once, and then no more."""
    meter, now = Meter(most), 1_700_000_000.0
    for pause in pauses:
        now += pause
        _try(meter, "a", now)
    left = meter.left("a", now)
    assert [_try(meter, "a", now) for _ in range(left + 1)] == [True] * left + [False]


@given(moments, st.integers(1, 50))
def test_no_stretch_of_time_has_more(pauses: list[float], most: int) -> None:
    """Whenever one tries: over any stretch, ``most`` and the pace of it, and not one more."""
    meter, now, counted = Meter(most), 1_700_000_000.0, []
    for pause in pauses:
        now += pause if pause < 20 else 0.0  # bursts, too
        if _try(meter, "a", now):
            counted.append(now)
    for first, begun in enumerate(counted):
        for last in range(first, len(counted)):
            allowed = most + (counted[last] - begun) * most / MINUTE
            assert last - first + 1 <= allowed + 0.001


@given(st.lists(st.floats(0, 30), min_size=1, max_size=100), st.integers(1, 50))
def test_who_keeps_the_pace_is_never_refused(more: list[float], most: int) -> None:
    """Nor does it matter how long somebody goes on."""
    meter, now = Meter(most), 1_700_000_000.0
    for pause in more:
        assert _try(meter, "a", now)
        now += MINUTE / most + pause


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.floats(0, 15)), max_size=200), st.integers(1, 9)
)
def test_nobody_is_judged_by_others_or_by_what_was_forgotten(
    steps: list[tuple[str, float]], most: int
) -> None:
    """A meter for many does what a meter for each would do, that never forgets."""
    shared, own, now = Meter(most), {name: Meter(most) for name in NAMES}, 1_700_000_000.0
    for meter in own.values():
        meter._forget = lambda now: None  # type: ignore[method-assign]
    for who, pause in steps:
        now += pause
        assert _try(shared, who, now) is _try(own[who], who, now)


def test_who_has_kept_quiet_is_forgotten() -> None:
    """Memory is for those who were there within the last minute."""
    meter = Meter(10)
    for number in range(1_000):
        meter.add(str(number), 0.0)
    meter.add("later", 61.0)
    assert len(meter) == 1


def test_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand attackers take no more than the most, and the latest are remembered."""
    monkeypatch.setattr(rates, "MOST", 100)
    meter = Meter(1)
    for number in range(100_000):
        meter.add(str(number), 0.0)
    assert len(meter) == 100
    assert meter.full("99999", 0.0)
    assert not meter.full("0", 0.0)


def test_who_has_been_away_for_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on stays counted, however many come and go around it."""
    monkeypatch.setattr(rates, "MOST", 100)
    meter = Meter(6)
    for number in range(1_000):
        meter.add(str(number), 0.0)
        if number % 50 == 0:
            meter.add("busy", 0.0)
    assert meter.full("busy", 0.0)


def test_a_neighbourhood_has_a_rate_of_its_own() -> None:
    """Many addresses of one network do not help beyond eightfold; others are not concerned."""
    rate = Rate(5)
    tries = [(f"2001:db8:1:{number:x}::1", 0.0) for number in range(20) for _ in range(5)]
    counted = [rate.take(place_of(address), now) for address, now in tries]
    assert counted == [True] * 5 * NEIGHBOURS + [False] * (100 - 5 * NEIGHBOURS)
    assert rate.take(place_of("2001:db8:2::1"), 0.0)


def test_what_one_is_refused_is_not_the_neighbours() -> None:
    """A client far over its rate takes from its neighbourhood what it was let do, not more."""
    rate = Rate(5)
    assert sum(rate.take(place_of("192.0.2.1"), 0.0) for _ in range(1_000)) == 5
    assert all(rate.take(place_of("192.0.2.2"), 0.0) for _ in range(5))


def test_addresses_of_one_client() -> None:
    """All of an IPv6 /64 is one client."""
    rate = Rate(3)
    addresses = [f"2001:db8:1:2::{number:x}" for number in range(5)]
    assert [rate.take(place_of(one), 0.0) for one in addresses] == [True] * 3 + [False] * 2
