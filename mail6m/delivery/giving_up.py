"""Deliveries that somebody gives up: their senders are told, and they leave the queue."""

from __future__ import annotations

from uuid import UUID, uuid4

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from mail6m.delivery.queue import cancel
from mail6m.delivery.reports import Report
from mail6m.model import Act
from mail6m.storage.audit import Audit, By
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.errors import Refused
from mail6m.storage.servers import Servers

PORTION = 100
"""Deliveries that are taken in hand at a time: giving them up takes less than a lease holds."""


class GivingUp:
    """Gives deliveries up, one or all to a destination."""

    log = Logger()

    def __init__(
        self, deliveries: Deliveries, servers: Servers, audit: Audit, report: Report
    ) -> None:
        self._deliveries = deliveries
        self._servers = servers
        self._audit = audit
        self._report = report
        self._under_way: dict[str, int] = {}

    def under_way(self, destination: str) -> int | None:
        """How much this process has given up of what waits for a destination; None: it does not."""
        return self._under_way.get(destination)

    async def one(self, by: By, delivery: tuple[int, UUID, int]) -> None:
        """Give one up. Raises `Refused` if it is not to be had: done, or under way just now."""
        server = await self._servers.enlist(f"cancel {uuid4()}")
        try:
            due = await self._deliveries.lease_one(server, delivery)
            if due is None:
                raise Refused("that delivery is not in the queue, or is under way just now")
            await cancel([due], self._deliveries, self._report)
            await self._audit.add(by, Act.DELIVERIES_CANCELLED, "-".join(map(str, delivery)))
        finally:
            await self._servers.resign(server)

    def begin(self, by: By, destination: str) -> None:
        """Give up all that waits for a destination, beside other work."""
        if destination in self._under_way:
            return
        self._under_way[destination] = 0
        ensureDeferred(self.all_to(by, destination)).addErrback(
            lambda failure: self.log.failure("not all that was cancelled is given up", failure)
        ).addBoth(lambda _: self._under_way.pop(destination))

    async def all_to(self, by: By, destination: str) -> int:
        """Give up all that waits for a destination and is not under way just now; how much.

        What comes meanwhile is delivered. Broken off, the rest waits; it may be done again.
        """
        count = 0
        server = await self._servers.enlist(f"cancel {uuid4()}")
        try:
            while found := await self._deliveries.lease_some(server, destination, PORTION):
                await cancel(found, self._deliveries, self._report)
                count += len(found)
                if destination in self._under_way:
                    self._under_way[destination] = count
                if not await self._servers.renew(server):
                    raise Refused("the database was away: what is left waits")
        finally:
            await self._servers.resign(server)
            if count:
                await self._audit.add(by, Act.DELIVERIES_CANCELLED, f"{destination}: {count}")
        return count
