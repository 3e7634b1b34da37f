"""Many small commits made into few: what comes while a commit is under way shares the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger

T = TypeVar("T")


class Batches(Generic[T]):
    """Hands what it is given to ``commit(items, lane)``, with at most ``lanes`` calls under way.

    ``schedule(work)`` says how long an item waits for others: it calls ``work`` when it is time.
    """

    log = Logger()

    def __init__(
        self,
        schedule: Callable[[Callable[[], None]], object],
        commit: Callable[[Sequence[T], int], Awaitable[None]],
        *,
        lanes: int,
        most: int,
    ) -> None:
        self._when_it_is_time = schedule
        self._commit = commit
        self._most = most
        self._waiting: deque[tuple[T, Deferred[None] | None]] = deque()
        self._lanes = lanes
        self._free = list(range(lanes))
        self._scheduled = False
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
        self._tell_if_finished()
        return done

    def _enqueue(self, item: T, done: Deferred[None] | None) -> None:
        self._waiting.append((item, done))
        if self._free and not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        self._when_it_is_time(self._start)

    def _start(self) -> None:
        self._scheduled = False
        while self._free and self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            ensureDeferred(self._run(batch, self._free.pop()))

    async def _run(self, batch: list[tuple[T, Deferred[None] | None]], lane: int) -> None:
        failure: BaseException | None = None
        try:
            await self._commit([item for item, _ in batch], lane)
        except Exception as error:  # noqa: BLE001 - it is handed to those who wait
            failure = error
        if failure is not None and len(batch) > 1 and not getattr(failure, "transient", False):
            await self._run_apart(batch, lane)
        else:
            for _, done in batch:
                self._fire(done, failure)
        self._free.append(lane)
        if self._waiting and not self._scheduled:
            if len(self._waiting) < self._most:
                self._schedule()
            else:
                self._start()
        self._tell_if_finished()

    async def _run_apart(self, batch: list[tuple[T, Deferred[None] | None]], lane: int) -> None:
        """One of them is at fault: the others must not suffer for it."""
        for item, done in batch:
            failure: BaseException | None = None
            try:
                await self._commit([item], lane)
            except Exception as error:  # noqa: BLE001 - it is handed to who waits
                failure = error
            self._fire(done, failure)

    def _fire(self, done: Deferred[None] | None, failure: BaseException | None) -> None:
        if done is None:
            if failure is not None:
                self.log.error("could not be committed: {failure}", failure=failure)
        elif done.called:
            return
        elif failure is None:
            done.callback(None)
        else:
            done.errback(failure)

    def _tell_if_finished(self) -> None:
        if self._finishing and not self._waiting and len(self._free) == self._lanes:
            finishing, self._finishing = self._finishing, []
            for done in finishing:
                done.callback(None)
