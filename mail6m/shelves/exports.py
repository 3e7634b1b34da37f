"""All of a customer's mail as one file: measured in the background, given from any place on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar
from uuid import uuid4

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from mail6m.directory import Directory
from mail6m.seal import SealError
from mail6m.shelves.background import Background
from mail6m.shelves.export import whole
from mail6m.shelves.export.whole import Measuring
from mail6m.storage.audit import By
from mail6m.storage.blocking import Blocking
from mail6m.storage.exports import Export, Exports, MailReading
from mail6m.storage.preferences import PreferencesTable
from mail6m.zones import zone_of

T = TypeVar("T")
InThread = Callable[[Callable[[], T]], Deferred[T]]
INTERVAL = 2.0
"""Seconds between two looks for files that wait to be measured."""
SHARE = 3
"""While clients talk, a stretch is followed by a rest this many times as long."""
AT_ONCE = 2
"""Threads that make files."""
PIECE = 1 << 17
"""Octets that are handed on at a time, at least."""


class Exporter(Background):
    """Measures files, and gives them."""

    def __init__(
        self,
        exports: Exports,
        database: Blocking,
        directory: Directory,
        preferences: PreferencesTable,
        in_thread: InThread[Any],
        clock: IReactorTime,
    ) -> None:
        super().__init__(clock, INTERVAL)
        self._exports = exports
        self._database = database
        self._directory = directory
        self._preferences = preferences
        self._in_thread = in_thread
        self._threads = DeferredSemaphore(AT_ONCE)

    async def ask(self, by: By, format_: str) -> None:
        """A file of all there is now is wanted; it takes the place of the one there was."""
        await self._exports.ask(by, format_)

    async def of(self, customer: int) -> list[Export]:
        """A customer's files, those that are being measured, too."""
        return await self._exports.of(customer)

    async def measure_all(self) -> int:
        """Measure what waits for it; how many files. Raises `Unavailable`."""
        count = 0
        while await self._measure_one(lambda: True):
            count += 1
        return count

    async def pieces(self, export: Export, place: int) -> AsyncIterator[bytes]:
        """A file's octets from a place on.

        Raises `mail6m.shelves.export.whole.Changed`, `SealError` and `Unavailable`.
        """
        key = await self._directory.key(export.customer)
        reading = MailReading(self._database, export.customer)
        made = _gathered(whole.pieces(reading, key, export, place))
        while piece := await self._apart(lambda: next(made, b"")):
            yield piece

    async def look(self) -> None:
        """Measure what waits for it; what is stopped on the way, another process begins anew."""
        while self.going_on() and await self._measure_one(self.going_on):
            pass

    async def _measure_one(self, going_on: Callable[[], bool]) -> bool:
        """Measure the file that has waited longest; False if none does."""
        worker = uuid4()
        export = await self._exports.begin(worker)
        if export is None:
            return False
        customer = export.customer
        reading = MailReading(self._database, customer)
        zone = zone_of((await self._preferences.get(customer)).time_zone)
        measuring = Measuring(reading, await self._directory.key(customer), export.format, zone)
        try:
            while True:
                if not going_on():
                    await self._exports.leave(worker, export)
                    break
                begun = self._clock.seconds()
                stretch = await self._apart(measuring.next)
                if stretch is None:
                    more, sha256 = await self._apart(measuring.end)
                    await self._exports.finish(worker, export, more, sha256)
                    break
                if not await self._exports.add(worker, export, stretch):
                    break
                await self.rest(begun, SHARE)
        except SealError as error:
            gone = await self._apart(measuring.has_changed)
            self.log.warn(
                "the file of customer {customer} {waits}: {error}",
                customer=customer,
                waits="is begun anew" if gone else "cannot be made",
                error=error,
            )
            await self._exports.leave(worker, export, "" if gone else str(error))
        return True

    async def _apart(self, work: Callable[[], T]) -> T:
        """In a thread."""
        done: T = await self._threads.run(self._in_thread, work)
        return done


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same octets, in pieces that are worth handing on."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    if size:
        yield b"".join(gathered)
