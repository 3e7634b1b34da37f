"""Overflow: a full cabinet gives its oldest mail to the cellar (the brochure, section IV).

Mail is taken in whether there is room for it or not. Each process keeps an eye on what it takes in
itself, so that a cabinet is looked at when it may have become full, and once a minute all of them
are: other processes take mail in, too, and plans change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import DeferredLock, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from mail6m.storage.errors import Unavailable
from mail6m.storage.shelves import Shelves

PORTION = 500
"""Messages that move at a time: some 20 ms."""
INTERVAL = 1.0
"""Seconds between two looks at the cabinets that may have become full."""
ROUND = 60
"""Looks after which all cabinets are looked at."""
SHARE = 2
"""While clients talk, a portion is followed by a rest this many times as long."""


class Overflow:
    """Keeps cabinets within what they may hold."""

    log = Logger()

    def __init__(self, clock: IReactorTime, shelves: Shelves) -> None:
        self._clock = clock
        self._shelves = shelves
        self._busy: Callable[[], bool] = lambda: False
        self._left: dict[int, int] = {}
        self._maybe_full: set[int] = set()
        self._looks = 0
        self._lock = DeferredLock()
        self._loop = LoopingCall(lambda: ensureDeferred(self._look()))
        self._loop.clock = clock

    def start(self, busy: Callable[[], bool]) -> None:
        """Keep an eye on all cabinets until `stop`; and work little while ``busy`` says so."""
        self._busy = busy
        self._loop.start(INTERVAL, now=False)

    def stop(self) -> None:
        """No more looks; a portion in hand is finished."""
        if self._loop.running:
            self._loop.stop()

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

    async def _look(self) -> None:
        everywhere = self._looks % ROUND == 0
        self._looks += 1
        customers, self._maybe_full = self._maybe_full, set()
        try:
            if everywhere:
                customers |= set(await self._shelves.full())
            await self._relieve(sorted(customers), lambda: self._loop.running)
        except Unavailable as error:
            self._maybe_full |= customers
            self.log.debug("the cabinets wait: {error}", error=error)
        except Exception:  # noqa: BLE001 - an exception would end the loop for good
            self._maybe_full |= customers
            self.log.failure("mail could not be moved to the cellar")

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
                if self._busy():
                    rest = SHARE * (self._clock.seconds() - begun)
                    await deferLater(self._clock, rest, lambda: None)
        finally:
            self._lock.release()
        return total
