"""Overflow: a full cabinet gives its oldest mail to the cellar (the brochure, section IV).

Mail is taken in whether there is room for it or not. Each process keeps an eye on what it takes in
itself, so that a cabinet is looked at when it may have become full, and once a minute all of them
are: other processes take mail in, too, and plans change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from mail6m.shelves.background import Background
from mail6m.storage.shelves import Shelves

PORTION = 500
"""Messages that move at a time: some 20 ms."""
INTERVAL = 1.0
"""Seconds between two looks at the cabinets that may have become full."""
ROUND = 60
"""Looks after which all cabinets are looked at."""
SHARE = 2
"""While clients talk, a portion is followed by a rest this many times as long."""


class Overflow(Background):
    """Keeps cabinets within what they may hold."""

    def __init__(self, clock: IReactorTime, shelves: Shelves) -> None:
        super().__init__(clock, INTERVAL)
        self._shelves = shelves
        self._left: dict[int, int] = {}
        self._maybe_full: set[int] = set()
        self._looks = 0
        self._lock = DeferredLock()

    def added(self, customer: int, stored: int) -> None:
        """So many bytes have come into a customer's cabinet."""
        left = self._left.get(customer, 0) - stored
        self._left[customer] = left
        if left < 0:
            self._maybe_full.add(customer)

    def look_everywhere(self) -> None:
        """Look at all cabinets next time: plans may have changed."""
        self._looks = 0

    async def sweep(self) -> int:
        """Look at all cabinets now; how many messages have moved. Raises `Unavailable`."""
        return await self._relieve(await self._shelves.full(), lambda: True)

    async def look(self) -> None:
        """Relieve the cabinets that may have become full; all of them, once in a while."""
        everywhere = self._looks % ROUND == 0
        self._looks += 1
        customers, self._maybe_full = self._maybe_full, set()
        try:
            if everywhere:
                customers |= set(await self._shelves.full())
            await self._relieve(sorted(customers), self.going_on)
        except Exception:
            self._maybe_full |= customers
            raise

    async def _relieve(self, customers: Iterable[int], going_on: Callable[[], bool]) -> int:
        total = 0
        for customer in customers:
            moved = await self._shed(customer, going_on)
            if moved:
                self.log.info(
                    "customer {customer}: {moved} messages moved to the cellar",
                    customer=customer,
                    moved=moved,
                )
            total += moved
        return total

    async def _shed(self, customer: int, going_on: Callable[[], bool]) -> int:
        """Move what is too much, portion by portion."""
        total = 0
        await self._lock.acquire()
        try:
            while going_on():
                begun = self._clock.seconds()
                moved, room = await self._shelves.shed(customer, PORTION)
                total += moved
                # Another process may fill the other half before this one looks again.
                self._left[customer] = room // 2
                if room >= 0 or not moved:
                    break
                await self.rest(begun, SHARE)
        finally:
            self._lock.release()
        return total
