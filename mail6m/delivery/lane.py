"""The way to one destination: what waits for it, who carries it, and whether it can be reached."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from mail6m.delivery.consignment import Consignment
from mail6m.delivery.courier import Courier
from mail6m.delivery.route import NoRoute, Routes
from mail6m.model import Outcome, Reply, Verdict
from mail6m.settings import Settings
from mail6m.storage.errors import StorageError

MOST_PENDING = 1_000
"""Consignments that a lane holds; what comes beyond waits in the database."""
SHARE = 2
"""Consignments waiting for which one courier is thought to be enough."""
BRISK = 0.05
"""Seconds for a transaction, within which a host is thought to answer at once."""


class Keeper(Protocol):
    """Who keeps the lanes, as a lane sees it."""

    settings: Settings
    routes: Routes

    def new_courier(self, lane: Lane) -> Courier:
        """A courier for a lane."""

    def soon(self, work: Callable[[], None]) -> None:
        """When no client is talking, and before long."""

    def settled(
        self, consignment: Consignment, reports_passed_on: bool, next_at: datetime | None = None
    ) -> None:
        """Every item of it has an outcome."""

    def is_down(self, lane: Lane, reply: Reply) -> datetime:
        """The destination cannot be reached; the time of the next probe."""

    def is_up(self, destination: str) -> None:
        """The destination can be reached again."""

    def give_back(self, consignments: Iterable[Consignment]) -> None:
        """These wait in the database for better times."""


class Lane:
    """The way to one destination."""

    log = Logger()

    def __init__(self, name: str, keeper: Keeper) -> None:
        self.name = name
        self.down = False
        self.held = False
        """An operator wants its mail to wait."""
        self.failures = 0
        self._keeper = keeper
        self._pending: deque[Consignment] = deque()
        self._couriers: list[Courier] = []
        self._pace = 0.0
        self._roused = False
        self._first: Consignment | None = None
        self._on_the_way = 0
        self._enough = keeper.settings.relay_sessions

    @property
    def full(self) -> bool:
        """It holds as much as it should."""
        return len(self._pending) >= MOST_PENDING

    @property
    def empty(self) -> bool:
        """Nothing waits here, and nobody works."""
        return not self._pending and not self._couriers

    def add(self, consignment: Consignment) -> None:
        """Send this on its way, together with what else comes until there is time for it."""
        if self.held:
            self._keeper.give_back([consignment])
            return
        self._pending.append(consignment)
        if not self._roused:
            self._roused = True
            self._keeper.soon(self._rouse)

    def _rouse(self) -> None:
        """Put as many couriers to work as are of use.

        With a host that answers at once, few couriers with much to do are better than many with
        little: the next message's envelope then travels with this one's content. A host that takes
        its time gets a courier for each message.
        """
        self._roused = False
        wanted = -(-len(self._pending) // (SHARE if self._pace < BRISK else 1))
        for courier in self._couriers:
            if wanted <= 0 or not self._pending:
                break
            if courier.ready:
                courier.work()
                wanted -= 1
        self._call_couriers()

    def _call_couriers(self, at_least: int = 0) -> None:
        """Send out another courier if there is more waiting than those there are will soon take.

        What has waited for longer than a second gets more of them (see `check`). One goes ahead
        until it is known that the host is there.
        """
        of_use = max(at_least, -(-len(self._pending) // SHARE))
        there = not self.down and any(courier.reached for courier in self._couriers)
        wanted = min(self._enough if there else 1, of_use)
        while self._pending and len(self._couriers) < wanted:
            courier = self._keeper.new_courier(self)
            self._couriers.append(courier)
            self._on_the_way += 1
            ensureDeferred(self._send_out(courier))

    async def _send_out(self, courier: Courier) -> None:
        try:
            route = await self._keeper.routes.find(self.name)
        except NoRoute as error:
            if error.reply.code >= 500:
                self._couriers.remove(courier)
                self._on_the_way -= 1
                self._settle_all(error.reply)
            else:
                self.ended(courier, error.reply)
        except StorageError as error:
            self.ended(courier, Reply(451, "4.3.0", f"The archive cannot be reached: {error}"))
        else:
            await courier.travel(route)

    # Dispatch, for the couriers

    def next(self) -> Consignment | None:
        """See `Dispatch`."""
        return self._pending.popleft() if self._pending else None

    def settled(self, consignment: Consignment, *, reports_passed_on: bool, seconds: float) -> None:
        """See `Dispatch`."""
        self._pace += (seconds - self._pace) / 8
        self._keeper.settled(consignment, reports_passed_on)

    def reached(self) -> None:
        """See `Dispatch`."""
        self._on_the_way -= 1
        self._enough = self._keeper.settings.relay_sessions
        self._keeper.soon(self._rouse)

    def served(self) -> None:
        """See `Dispatch`."""
        self.failures = 0
        if self.down:
            self.down = False
            self.log.info("{destination} is back", destination=self.name)
            self._keeper.is_up(self.name)

    def ended(self, courier: Courier, reply: Reply) -> None:
        """See `Dispatch`."""
        self._couriers.remove(courier)
        if not courier.reached:
            self._on_the_way -= 1
            if any(other.reached for other in self._couriers):
                # The host takes no more sessions than it has: that will do.
                self._enough = max(1, len(self._couriers))
                return
        elif not courier.in_vain:
            self._call_couriers()
            return
        if not self._couriers:  # else others are still trying: the last of them will say
            self._close(reply, tried=courier.reached)

    def _close(self, reply: Reply, *, tried: bool) -> None:
        """The destination is down: one message has been tried, or counts as tried; no others."""
        self.down = True
        self.failures += 1
        next_probe_at = self._keeper.is_down(self, reply)
        if self._pending and not tried:
            self._settle_one(self._pending.popleft(), reply, next_probe_at)
        if self._pending:
            waiting, self._pending = list(self._pending), deque()
            self._keeper.give_back(waiting)

    def _settle_all(self, reply: Reply) -> None:
        waiting, self._pending = list(self._pending), deque()
        for consignment in waiting:
            self._settle_one(consignment, reply)

    def _settle_one(
        self, consignment: Consignment, reply: Reply, next_at: datetime | None = None
    ) -> None:
        verdict = Verdict.NEVER if reply.code >= 500 else Verdict.LATER
        consignment.outcomes = [Outcome(verdict, reply)] * len(consignment.items)
        self._keeper.settled(consignment, False, next_at)

    def check(self, now: float) -> None:
        """Look after the sessions; called every second."""
        for courier in list(self._couriers):
            courier.check(now)
        first = self._pending[0] if self._pending else None
        stuck, self._first = first is not None and first is self._first, first
        if stuck and not self._on_the_way:
            busy = len(self._couriers)
            self._call_couriers(at_least=busy + min(len(self._pending), busy + 1))

    def hold(self, held: bool) -> None:
        """Keep mail from going out, or no longer: what a host has begun to get, it gets."""
        if held and not self.held:
            waiting, self._pending = list(self._pending), deque()
            self._keeper.give_back(waiting)
            for courier in list(self._couriers):
                courier.retire()
        self.held = held

    async def reroute(self) -> None:
        """Whoever is on a way that is not the way any more goes no further."""
        try:
            route = await self._keeper.routes.find(self.name)
        except (NoRoute, StorageError):  # who sets out next is told why
            route = None
        for courier in list(self._couriers):
            if courier.route is not None and courier.route != route:
                courier.retire()

    def stop(self) -> None:
        """Stop at once."""
        self._pending.clear()
        for courier in list(self._couriers):
            courier.stop()
