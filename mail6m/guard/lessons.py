"""A customer knows better: the mark is corrected, and the antispam learns from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Protocol
from uuid import UUID

from twisted.internet.defer import DeferredLock, ensureDeferred
from twisted.logger import Logger

from mail6m.guard.scanner import ScanFailure
from mail6m.reader import Reader
from mail6m.seal import SealError
from mail6m.storage.archive import Archive
from mail6m.storage.audit import By
from mail6m.storage.errors import StorageError

MOST_WAITING = 2_000
"""Lessons; marks are corrected all the same."""


class Pupil(Protocol):
    """Who learns (`mail6m.guard.antispam.Antispam`)."""

    def learn(self, content: AsyncIterator[bytes], spam: bool) -> Coroutine[Any, Any, None]:
        """Learn from a message. Raises `ScanFailure`."""


class Lessons:
    """Corrects marks, and teaches in the background, one message after the other."""

    log = Logger()

    def __init__(self, archive: Archive, reader: Reader, pupil: Pupil, largest: int) -> None:
        self._archive = archive
        self._reader = reader
        self._pupil = pupil
        self._largest = largest
        self._lock = DeferredLock()

    async def correct(self, by: By, messages: Sequence[UUID], spam: bool) -> list[UUID]:
        """Mark messages in the customer's cabinet; those that were marked otherwise before."""
        corrected = await self._archive.mark(by, messages, spam)
        for message in corrected:
            if len(self._lock.waiting) >= MOST_WAITING:
                self.log.warn(
                    "too many lessons wait: the antispam learns nothing of {id}", id=message
                )
                continue
            ensureDeferred(self._in_turn(by, message, spam))
        return corrected

    async def _in_turn(self, by: By, message: UUID, spam: bool) -> None:
        await self._lock.acquire()
        try:
            await self._teach(by, message, spam)
        except Exception:  # noqa: BLE001 - the mark is corrected, whoever has not learnt from it
            self.log.failure("a lesson failed")
        finally:
            self._lock.release()

    async def _teach(self, by: By, message: UUID, spam: bool) -> None:
        """The content is read for the scanner alone."""
        try:
            if (await self._archive.get(by.customer, message)).raw_size <= self._largest:
                await self._pupil.learn(self._reader.pieces(by.customer, message), spam)
        except (ScanFailure, StorageError, SealError) as error:
            self.log.warn(
                "{id} could not be taught to the antispam: {error}", id=message, error=error
            )
