"""Many small commits made into few: one at a time, and what comes meanwhile shares the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger

T = TypeVar("T")
_Batch = list[tuple[T, Deferred[None] | None]]


class Batches(Generic[T]):
    """Hands what it is given to ``commit(items)``, up to ``most`` items at a time.

    ``schedule(work)`` says how long an item waits for others: it calls ``work`` when it is time.
    With ``weigh``, items go together up to the weight ``heaviest``; a heavier one goes alone.
    """

    log = Logger()

    def __init__(
        self,
        schedule: Callable[[Callable[[], None]], object],
        commit: Callable[[Sequence[T]], Awaitable[None]],
        *,
        most: int,
        weigh: Callable[[T], int] | None = None,
        heaviest: int = 0,
    ) -> None:
        self._when_it_is_time = schedule
        self._commit = commit
        self._most = most
        self._weigh = weigh
        self._heaviest = heaviest
        self._waiting: _Batch[T] = []
        self._busy = False  # a commit is under way, or will be when it is time
        self._left = False  # some had to stay behind for want of room, and have waited enough
        self._finishing: list[Deferred[None]] = []

    def add(self, item: T) -> Deferred[None]:
        """Commit ``item`` soon; fires when it is done, or with what went wrong."""
        done: Deferred[None] = Deferred()
        self._enqueue(item, done)
        return done

    def put(self, item: T) -> None:
        """Commit ``item`` soon; nobody waits for it, and what goes wrong is logged."""
        self._enqueue(item, None)

    def finished(self) -> Deferred[None]:
        """Fires when nothing waits, and nothing is under way."""
        done: Deferred[None] = Deferred()
        self._finishing.append(done)
        self._go_on()
        return done

    def _enqueue(self, item: T, done: Deferred[None] | None) -> None:
        self._waiting.append((item, done))
        if not self._busy:
            self._go_on()

    def _go_on(self) -> None:
        if self._busy:
            return
        if self._waiting:
            self._busy = True
            self._when_it_is_time(self._start)
        else:
            finishing, self._finishing = self._finishing, []
            for done in finishing:
                done.callback(None)

    def _start(self) -> None:
        fitting = self._fitting()
        batch, self._waiting = self._waiting[:fitting], self._waiting[fitting:]
        self._left = bool(self._waiting)
        ensureDeferred(self._run(batch))

    def _fitting(self) -> int:
        """How many of those that wait fit into one commit."""
        if self._weigh is None:
            return self._most
        weight = 0
        for number, (item, _) in enumerate(self._waiting[: self._most]):
            weight += self._weigh(item)
            if weight > self._heaviest and number > 0:
                return number
        return self._most

    async def _run(self, batch: _Batch[T]) -> None:
        failure = await self._outcome(batch)
        if failure is None or len(batch) == 1 or getattr(failure, "transient", False):
            for _, done in batch:
                self._tell(done, failure)
        else:
            # One of them is at fault: the others must not suffer for it.
            for one in batch:
                self._tell(one[1], await self._outcome([one]))
        if self._left or len(self._waiting) >= self._most:  # there is nothing to wait for
            self._start()
        else:
            self._busy = False
            self._go_on()

    async def _outcome(self, batch: _Batch[T]) -> BaseException | None:
        try:
            await self._commit([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is handed to those who wait
            return error
        return None

    def _tell(self, done: Deferred[None] | None, failure: BaseException | None) -> None:
        if done is None:
            if failure is not None:
                self.log.error("could not be written down: {failure}", failure=failure)
        elif done.called:  # who waited has gone away
            return
        elif failure is None:
            done.callback(None)
        else:
            done.errback(failure)
