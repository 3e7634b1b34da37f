"""Clients that have waited for their banner and then brought mail: they need not wait again.

They are kept in memory and in the database, so that a restart does not hold everybody up. Nobody
waits for the database: it is written to and read from in the background.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from twisted.internet.interfaces import IReactorTime

from mail6m.shelves.background import Background
from mail6m.storage.clients import KnownClientsTable
from mail6m.storage.errors import Unavailable

INTERVAL = 5.0
"""Seconds between two looks at what there is to write."""
SHARED = timedelta(minutes=1)
"""How often what other processes have written is read."""
OVERLAP = timedelta(minutes=5)
"""What others have written may be so late, or their clocks so far behind."""
RENEWED = 1 / 30
"""A client that behaves again is noted again when so much of its time has passed."""
MOST = 50_000
"""Clients that are remembered: some 15 MB."""


class KnownClients(Background):
    """Who is known, by the names of `mail6m.networks.client_of`."""

    def __init__(
        self,
        clock: IReactorTime,
        table: KnownClientsTable,
        known_for: float,
        now: Callable[[], datetime],
    ) -> None:
        """``known_for`` is in seconds."""
        super().__init__(clock, INTERVAL)
        self._table = table
        self._known_for = timedelta(seconds=known_for)
        self._now = now
        self._until: OrderedDict[str, datetime] = OrderedDict()
        self._unwritten: dict[str, datetime] = {}
        self._read_at: datetime | None = None

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._until)

    def __contains__(self, client: str) -> bool:
        """Whether that client is known."""
        until = self._until.get(client)
        return until is not None and until > self._now()

    def note(self, client: str) -> None:
        """It has behaved."""
        now = self._now()
        until = self._until.get(client)
        if until is not None and until - now > self._known_for * (1 - RENEWED):
            return
        self._unwritten[client] = now + self._known_for
        self._remember(client, now + self._known_for)

    async def look(self) -> None:
        """Write what is new, and now and then read what others have written."""
        await self.write()
        now = self._now()
        if self._read_at is None or now - self._read_at >= SHARED:
            await self._read(now)
            await self._table.forget(now, MOST)

    async def write(self) -> None:
        """Write what is new. Raises `Unavailable`."""
        unwritten, self._unwritten = self._unwritten, {}
        try:
            if unwritten:
                await self._table.note(unwritten.items())
        except Unavailable:
            self._unwritten = {
                client: until
                for client, until in (unwritten | self._unwritten).items()
                if client in self._until
            }
            raise

    async def close(self) -> None:
        """Write what is new, if that can be: the process stops."""
        self.stop()
        with suppress(Unavailable):
            await self.write()

    async def _read(self, now: datetime) -> None:
        after = now
        if self._read_at is not None:
            after = max(after, self._read_at + self._known_for - OVERLAP)
        for client, until in reversed(await self._table.latest(after, MOST)):
            self._remember(client, until)
        self._read_at = now

    def _remember(self, client: str, until: datetime) -> None:
        self._until[client] = until
        self._until.move_to_end(client)
        while len(self._until) > MOST:
            self._until.popitem(last=False)
