"""How often clients may do something, and their neighbourhoods: counted in bounded memory."""

from __future__ import annotations

from collections import OrderedDict

from mail6m.networks import Place

MINUTE = 60.0
NEIGHBOURS = 8
"""A neighbourhood may do so many times what one client of it may."""
MOST = 50_000
"""Who is remembered, by each meter: some 15 MB. Beyond it, who has been away for longest is not."""
_GRAIN = 1e-3
"""Seconds that times may be wrong by, being sums of what 53 bits do not hold."""


class Meter:
    """How often each may do something: ``most`` at once, and ``most`` a minute in the long run.

    The generic cell rate algorithm (ITU-T I.371, annex A): what somebody has done is one number,
    the time when all of it would have been done at an even pace.
    """

    def __init__(self, most: int) -> None:
        self._step = MINUTE / most
        self._even: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._even)

    def full(self, who: str, now: float) -> bool:
        """Whether once more would be too often."""
        return self._even.get(who, now) + self._step > now + MINUTE + _GRAIN

    def left(self, who: str, now: float) -> int:
        """How many times more there may be at once."""
        return max(0, int((now + MINUTE + _GRAIN - self._owed(who, now)) / self._step))

    def until(self, who: str, now: float, times: int = 1) -> float:
        """Seconds until there may be so many at once; 0 if there may be now."""
        return max(0.0, self._owed(who, now) + times * self._step - now - MINUTE)

    def _owed(self, who: str, now: float) -> float:
        return max(self._even.get(who, now), now)

    def add(self, who: str, now: float) -> None:
        """Count once more."""
        even = self._even
        even[who] = max(even.get(who, now), now) + self._step
        even.move_to_end(who)
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Those at whose pace nothing is owed are as good as strangers."""
        even = self._even
        while len(even) > MOST or even[next(iter(even))] <= now:
            even.popitem(last=False)


class Rate:
    """How often a client may do something, and how often all of its neighbourhood together."""

    def __init__(self, most: int) -> None:
        """``most`` times a minute, for one client."""
        self._clients = Meter(most)
        self._networks = Meter(NEIGHBOURS * most)

    def take(self, place: Place, now: float) -> bool:
        """Count once more, unless that is too often; whether it was counted."""
        if self._clients.full(place.client, now) or self._networks.full(place.network, now):
            return False
        self._clients.add(place.client, now)
        self._networks.add(place.network, now)
        return True
