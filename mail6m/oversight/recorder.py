"""Writes down, once a minute, what has passed this server and how it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from mail6m import __version__
from mail6m.oversight.mishaps import Mishaps
from mail6m.shelves.background import Background
from mail6m.storage.health import CertificateEnd, Disk, Health
from mail6m.storage.measures import Measures, Tally

EVERY = 60.0
"""Seconds."""
TIDY = 60
"""Looks after which what is old is summed up."""


class Recorder(Background):
    """One server's own account of itself."""

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], datetime],
        server: str,
        measures: Measures,
        health: Health,
        mishaps: Mishaps,
        tally: Callable[[], Tally],
        scanner: Callable[[], str],
        certificates: Callable[[], Iterable[tuple[str, datetime]]],
        folders: Sequence[tuple[str, Path]],
    ) -> None:
        """``folders`` are those whose disks matter, and what they are for."""
        super().__init__(clock, EVERY)
        self._now = now
        self._server = server
        self._measures = measures
        self._health = health
        self._mishaps = mishaps
        self._tally = tally
        self._scanner = scanner
        self._certificates = certificates
        self._folders = folders
        self._written = Tally()
        self._looks = 0

    async def look(self) -> None:
        """Write it all down. What cannot be, is the next time."""
        await self._count()
        await self.report()
        await self._tell_mishaps()
        await self._measures.stand()
        if self._looks % TIDY == 0:
            await self._measures.sum_up()
            await self._health.forget()
        self._looks += 1

    async def close(self) -> None:
        """Write down what the last minute has brought, before the database is left."""
        self.stop()
        await self._count()
        await self._tell_mishaps()

    async def _count(self) -> None:
        """What has passed since the last look belongs to the minute that most of that was in."""
        tally = self._tally()
        passed = tally.since(self._written)
        if any(passed):
            middle = self._now() - timedelta(seconds=EVERY / 2)
            await self._measures.add(self._server, middle, passed)
        self._written = tally

    async def report(self) -> None:
        """Say how this server is."""
        certificates = [CertificateEnd(name, end) for name, end in self._certificates()]
        await self._health.report(
            self._server, __version__, self._scanner(), list(self._disks()), certificates
        )

    def _disks(self) -> Iterable[Disk]:
        for what, folder in self._folders:
            if folder.exists():
                usage = shutil.disk_usage(folder)
                yield Disk(what, usage.free, usage.total)

    async def _tell_mishaps(self) -> None:
        mishaps = self._mishaps.take()
        if not mishaps:
            return
        try:
            await self._health.add_mishaps(self._server, mishaps)
        except BaseException:
            self._mishaps.put_back(mishaps)
            raise
