"""What operators are told of their machine, in time: a certificate that ends, a disk that fills up.

These two stop mail if nobody acts, on a day that is known before. Whatever has happened already is
on the operators' pages and in the metrics; and of a queue of ours that goes nowhere no letter could
tell.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from mail6m.model import HOUSE
from mail6m.notices.catalogue import CERTIFICATE_ENDING, DISK_FILLING
from mail6m.storage.notices import NoticeTable

SOON, VERY_SOON = timedelta(days=14), timedelta(days=3)
"""Before a certificate's end: operators are told twice."""
SHARE, ENOUGH = 20, 20_000_000_000
"""A disk fills up when less than one part in twenty is free, and less than 20 GB; or less than four
times what must be free for mail to be taken in (``--least-free``)."""
AGAIN = 1.5
"""With so many times that much room it does not any more."""


class MachineWatch:
    """Looks after one machine."""

    def __init__(
        self,
        table: NoticeTable,
        disk: Path,
        least_free: int,
        certificates: Callable[[], Iterable[tuple[str, datetime]]],
        now: Callable[[], datetime],
    ) -> None:
        """``certificates`` says each name that there is one for, and when that ends."""
        self._table = table
        self._disk = disk
        self._place = f"{socket.gethostname()}:{disk.resolve()}"
        self._least_free = least_free
        self._certificates = certificates
        self._now = now

    async def look(self) -> None:
        """Have operators told of what they should do something about. Raises `Unavailable`."""
        await self._look_at_certificates()
        await self._look_at_disk()

    async def _look_at_certificates(self) -> None:
        names: dict[datetime, list[str]] = {}
        for name, ends in self._certificates():
            names.setdefault(ends, []).append(name)
        for ends, of in names.items():
            left = ends - self._now()
            if left > SOON:
                continue
            day, listed = ends.date().isoformat(), ", ".join(sorted(of))
            days = VERY_SOON.days if left <= VERY_SOON else SOON.days
            facts = {"names": listed, "last_day": day}
            subject = f"{day} {days} {listed}"
            await self._table.add(HOUSE, CERTIFICATE_ENDING.name, subject, facts)

    async def _look_at_disk(self) -> None:
        room = os.statvfs(self._disk)
        free, whole = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
        low = max(4 * self._least_free, min(whole // SHARE, ENOUGH))
        if free < low:
            facts = {"place": self._place, "free": free, "least": self._least_free}
            await self._table.add(HOUSE, DISK_FILLING.name, self._place, facts)
        elif free >= AGAIN * low:
            await self._table.end(HOUSE, DISK_FILLING.name, self._place)
