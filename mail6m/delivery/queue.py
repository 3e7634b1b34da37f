"""The way out: what is due is leased, handed to couriers, and what came of it is recorded.

A lane leads to each destination. A message just accepted goes straight into its lane, from
memory; everything else is leased from the database when its time has come. A destination that
cannot be reached closes its lane: its messages stay in the database, one of them at a time is
tried, and the first that gets through opens the lane again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from mail6m.batch import Batches
from mail6m.content import Content
from mail6m.delivery.bounce import Action
from mail6m.delivery.consignment import Consignment, Item, Shared
from mail6m.delivery.courier import Courier
from mail6m.delivery.demands import Demands
from mail6m.delivery.heading import Heading
from mail6m.delivery.lane import Lane
from mail6m.delivery.reports import Report
from mail6m.delivery.route import Routes
from mail6m.delivery.schedule import LIFETIME, WARN_AFTER, next_probe, settle, warning_due
from mail6m.directory import OWN
from mail6m.intake import Accepted, Rejected
from mail6m.journal import Journal
from mail6m.model import Notify, Outcome, Reply, Shelf, State, Verdict
from mail6m.reader import Reader
from mail6m.settings import Settings
from mail6m.storage.archive import NewMessage
from mail6m.storage.deliveries import Deliveries, Due, Record
from mail6m.storage.errors import StorageError, Unavailable
from mail6m.storage.servers import LEASE, Servers
from mail6m.turn import Turn

MOST_FILES = 100
"""Contents in files that are kept open to be relayed; beyond it they are read back later."""
AT_ONCE = 200
"""Deliveries leased at a time for one destination."""
COMPANY = 0.05
"""Seconds that an outcome waits for others, to be written down together: nobody waits for it."""
ROUND_PATIENCE = 0.006
"""Seconds that a round of couriers waits while clients talk: less than a commit does, so that hosts
think about what they are asked while the commit is made."""
OFFER_PATIENCE = 0.01
"""Seconds that what has just been committed waits before it sets out while clients talk: they are
to have their 250 first, and the next commit is to be under way."""
NOTE_PATIENCE = 0.02
"""Seconds that deliveries wait while clients talk, to be noted together."""
LIMIT = 1_000
_SUCCESS = int(Notify.SUCCESS)  # an "and" of flags costs thirty times that of integers
LATE_EVERY = 60.0
BURY_EVERY = 10.0


class Queue:
    """Every delivery that is in this process's hands."""

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        turn: Turn,
        settings: Settings,
        deliveries: Deliveries,
        servers: Servers,
        routes: Routes,
        demands: Demands,
        reader: Reader,
        heading: Heading,
        journal: Journal,
        clock: Callable[[], datetime],
        name: str,
    ) -> None:
        self.settings = settings
        self.routes = routes
        self._demands = demands
        self._reactor = reactor
        self._turn = turn
        self._deliveries = deliveries
        self._servers = servers
        self._reader = reader
        self._journal = journal
        self._clock = clock
        self._name = name
        self._heading = heading
        self._report: Report | None = None
        self._server: int | None = None
        self._lanes: dict[str, Lane] = {}
        self._held: frozenset[str] = frozenset()
        self._accepted: list[Sequence[Accepted]] = []
        self._returned: list[tuple[int, UUID, str]] = []
        self._delivered: list[Consignment] = []
        self._records: Batches[Record] = Batches(
            partial(reactor.callLater, COMPANY), self._commit, most=1_000
        )
        self._stopping = False
        self._polling = False
        self._again = False
        self._poll_call = LoopingCall(self.poll)
        self._renewed = self._buried = self._looked_late = 0.0
        self._settling = 0
        self._files = 0
        self._quiet: list[Deferred[None]] = []
        self._poll_call.clock = reactor

    # Life

    async def start(self, report: Report) -> None:
        """Take a lease, and begin. Raises `Unavailable`."""
        self._report = report
        self._server = await self._servers.enlist(self._name)
        self._renewed = self._reactor.seconds()
        self._poll_call.start(self.settings.queue_poll)

    async def stop(self) -> None:
        """Stop sending, write down what is known, and give back the rest."""
        self._stopping = True
        if self._poll_call.running:
            self._poll_call.stop()
        for lane in list(self._lanes.values()):
            lane.stop()
        if self._settling:
            quiet: Deferred[None] = Deferred()
            self._quiet.append(quiet)
            await quiet
        self._note_delivered()
        await self._records.finished()
        if self._server is not None:
            server, self._server = self._server, None
            await self._servers.resign(server)

    def soon(self, work: Callable[[], None]) -> None:
        """See `mail6m.delivery.lane.Keeper`."""
        self._turn.when_quiet(work, ROUND_PATIENCE)

    def new_courier(self, lane: Lane) -> Courier:
        """A courier for a lane."""
        return Courier(
            self._reactor,
            self._turn,
            self.settings,
            self._demands,
            self._reader,
            self._heading,
            lane,
        )

    # From intake (mail6m.intake.Outgoing)

    def takes(self, destination: str, content: Content) -> int | None:
        """See `mail6m.intake.Outgoing`."""
        lane = self._lanes.get(destination)
        if self._stopping or destination in self._held:
            return None
        if lane is not None and (lane.down or lane.full):
            return None
        if not content.in_memory and self._files >= MOST_FILES:
            return None
        return self._server

    def offer(self, accepted: Sequence[Accepted]) -> None:
        """See `mail6m.intake.Outgoing`; who has brought it waits for a 250, and comes first."""
        self._accepted.append(accepted)
        self._turn.when_quiet(self._send_off, OFFER_PATIENCE)

    def _send_off(self) -> None:
        waiting, self._accepted = self._accepted, []
        for accepted in waiting:
            try:
                self._send(accepted)
            except Exception:  # noqa: BLE001 - it is committed, so it must go out some other way
                self.log.failure("a message could not set out from memory")
                self.doubt([one.message for one in accepted])

    def _send(self, accepted: Sequence[Accepted]) -> None:
        now = self._clock()
        consignments = [c for one in accepted for c in _consignments(one, now)]
        if not consignments or self._stopping:
            accepted[0].content.close()
            return
        content = accepted[0].content
        if content.in_memory:
            shared = Shared(content, len(consignments), _nothing)
        else:
            self._files += 1
            shared = Shared(content, len(consignments), self._file_closed)
        for consignment in consignments:
            consignment.shared = shared
            self._lane(consignment.destination).add(consignment)

    def _file_closed(self) -> None:
        self._files -= 1

    def doubt(self, messages: Sequence[NewMessage]) -> None:
        """See `mail6m.intake.Outgoing`."""
        self._returned.extend(
            (message.customer, message.id, delivery.destination)
            for message in messages
            for delivery in message.deliveries
        )

    # From the lanes

    def settled(
        self, consignment: Consignment, reports_passed_on: bool, next_at: datetime | None = None
    ) -> None:
        """Write down what became of a consignment, after telling its sender if need be.

        ``next_at``, when it is known, goes before the schedule for what is to be tried again.
        """
        if self._stopping and all(o.verdict is Verdict.LATER for o in consignment.outcomes):
            consignment.let_go()
            return
        if not consignment.ours and self._all_delivered(consignment, reports_passed_on):
            return
        self._settling += 1
        ensureDeferred(self._settle(consignment, reports_passed_on, next_at)).addErrback(
            lambda failure: self.log.failure("an outcome was not recorded", failure)
        ).addBoth(self._settled)

    def is_down(self, lane: Lane, reply: Reply) -> datetime:
        """A destination cannot be reached; the time of the next probe."""
        next_probe_at = next_probe(lane.failures, self._clock(), _jitter())
        self.log.warn(
            "{destination} cannot be reached, next try at {at}: {reply}",
            destination=lane.name,
            at=next_probe_at.isoformat(timespec="seconds"),
            reply=str(reply),
        )
        self._in_background(self._deliveries.down(lane.name, next_probe_at, str(reply)))
        return next_probe_at

    def is_up(self, destination: str) -> None:
        """A destination can be reached again: what waits for it is due."""

        async def up() -> None:
            await self._deliveries.up(destination)
            await self.poll()

        self._in_background(up())

    def give_back(self, consignments: Iterable[Consignment]) -> None:
        """These wait in the database for better times."""
        for consignment in consignments:
            consignment.let_go()
            self._returned.append(
                (consignment.customer, consignment.message, consignment.destination)
            )

    def _all_delivered(self, consignment: Consignment, reports_passed_on: bool) -> bool:
        """The usual case, at the least cost: everybody has it, and nobody wants to be told."""
        for item, outcome in zip(consignment.items, consignment.outcomes, strict=True):
            if outcome.verdict is not Verdict.DONE:
                return False
            if item.recipient.notify & _SUCCESS and not reports_passed_on:
                return False
        self._delivered.append(consignment)
        self._turn.when_quiet(self._note_delivered, NOTE_PATIENCE)
        return True

    def _note_delivered(self) -> None:
        """All that have been delivered meanwhile, one after the other: see `mail6m.turn`."""
        delivered, self._delivered = self._delivered, []
        now = self._clock()
        for consignment in delivered:
            consignment.let_go()
            for item, outcome in zip(consignment.items, consignment.outcomes, strict=True):
                item.attempts += 1
                self._journal.settled(consignment, item, outcome, State.DELIVERED, now)
                record = _record(consignment, item, outcome, State.DELIVERED, None, False)
                self._records.put(record)

    def _settled(self, result: Any) -> None:
        self._settling -= 1
        if not self._settling:
            quiet, self._quiet = self._quiet, []
            for deferred in quiet:
                deferred.callback(None)

    async def _settle(
        self, consignment: Consignment, reports_passed_on: bool, given: datetime | None
    ) -> None:
        now = self._clock()
        records, failed, warned, relayed = [], [], [], []
        for item, outcome in zip(consignment.items, consignment.outcomes, strict=True):
            item.attempts += 1
            state, next_at = settle(outcome.verdict, item.attempts, now, item.queued_at, _jitter())
            next_at = next_at and (given or next_at)
            self._journal.settled(consignment, item, outcome, state, now)
            warn = state is State.QUEUED and not item.warned and warning_due(item.queued_at, now)
            if state in (State.FAILED, State.EXPIRED):
                failed.append((item, outcome))
            elif warn:
                warned.append((item, outcome))
            elif item.recipient.notify & _SUCCESS and state is State.DELIVERED:
                relayed.append((item, outcome))
            records.append(_record(consignment, item, outcome, state, next_at, warn))
        if failed or warned or (relayed and not reports_passed_on):
            await self._tell(consignment, failed, warned, [] if reports_passed_on else relayed)
        consignment.let_go()
        try:
            await self._write_down(records)
            if consignment.ours and all(record.state is not State.QUEUED for record in records):
                await self._deliveries.forget_transit([(consignment.customer, consignment.message)])
        except Unavailable:
            pass  # only when stopping; the lease runs out

    async def _write_down(self, records: Sequence[Record]) -> None:
        pending = [self._records.add(record) for record in records]
        for done in pending:
            await done

    async def _tell(self, consignment: Consignment, failed: Any, warned: Any, relayed: Any) -> None:
        """A report is queued before the outcome is recorded: it goes twice at worst, never not."""
        assert self._report is not None
        told: tuple[tuple[Action, Any], ...] = (
            ("failed", failed),
            ("delayed", warned),
            ("relayed", relayed),
        )
        for action, items in told:
            while items:
                try:
                    await self._report(consignment, action, items)
                    break
                except Rejected as error:
                    if error.reply.code >= 500 or self._stopping:
                        break
                    await deferLater(self._reactor, 5.0)
                except StorageError:
                    if self._stopping:
                        break
                    await deferLater(self._reactor, 5.0)
                except Exception:  # noqa: BLE001 - the outcome is recorded all the same
                    self.log.failure("no report on {id}", id=consignment.message)
                    break

    async def _commit(self, records: Sequence[Record]) -> None:
        """What has happened must be written down, however long the database is away."""
        while True:
            try:
                await self._deliveries.record(records)
                return
            except Unavailable:
                if self._stopping:
                    raise
                # Soon, since what is not written down is sent again if we die now.
                await deferLater(self._reactor, 0.2)

    # Looking for what is due

    def look(self) -> None:
        """There is reason to look now."""
        if self._poll_call.running:
            self._in_background(self.poll())

    def reroute(self) -> None:
        """Domains have changed: open sessions with hosts that are theirs no longer are ended.

        Lanes by MX look-up have no hosts that a command could change.
        """
        for lane in list(self._lanes.values()):
            if not lane.name.startswith(OWN):
                self._in_background(lane.reroute())

    async def poll(self) -> None:
        """Look for what is due; called every second, and when there is reason to."""
        if self._polling:
            self._again = True
            return
        self._polling = True
        try:
            await self._poll()
        except Unavailable as error:
            self.log.debug("the queue waits for the database: {error}", error=error)
        except Exception:  # noqa: BLE001 - the next look may fare better
            self.log.failure("the queue could not be looked through")
        finally:
            self._polling = False
        if self._again and not self._stopping:
            self._again = False
            self._reactor.callLater(0, lambda: ensureDeferred(self.poll()))

    async def _poll(self) -> None:
        now = self._reactor.seconds()
        for lane in list(self._lanes.values()):
            lane.check(now)
            if lane.empty and not lane.down:
                del self._lanes[lane.name]
        await self._keep_lease(now)
        server = self._server
        if server is None or self._stopping:
            return
        self._note_held(frozenset(one.destination for one in await self._deliveries.held()))
        await self._release(server)
        without = [lane.name for lane in self._lanes.values() if lane.full or lane.down]
        due = await self._deliveries.lease(server, without=without, each=AT_ONCE, limit=LIMIT)
        probes = await self._deliveries.lease_probes(server)
        await self._note_down(now)
        for consignment in _gathered([*due, *probes]):
            self._lane(consignment.destination).add(consignment)
        if due:
            self._again = True
        if now - self._looked_late > LATE_EVERY:
            self._looked_late = now
            await self._look_after_late(server)

    async def _keep_lease(self, now: float) -> None:
        # First ourselves: a database that was away for longer than a lease is no death of ours.
        if self._server is not None and now - self._renewed > LEASE / 4:
            if not await self._servers.renew(self._server):
                self.log.warn("this server was away for so long that it was given up")
                self._server = await self._servers.enlist(self._name)
            self._renewed = now
        if now - self._buried > BURY_EVERY:
            self._buried = now
            await self._servers.bury()

    async def _release(self, server: int) -> None:
        if self._returned:
            released, self._returned = self._returned, []
            try:
                await self._deliveries.release(server, released)
            except BaseException:
                self._returned.extend(released)
                raise

    async def _note_down(self, now: float) -> None:
        """Other processes, too, find out which destinations are down, and that they are back."""
        down = {row.destination: row for row in await self._deliveries.down_list()}
        self._journal.destinations_down.set(len(down))
        for name, row in down.items():
            lane = self._lane(name)
            if lane.empty or lane.down:
                lane.down = True
                lane.failures = row.failures
        for lane in self._lanes.values():
            if lane.down and lane.name not in down:
                lane.down = False

    def _note_held(self, held: frozenset[str]) -> None:
        """Operators want the mail of these to wait: none is leased, and what was goes back."""
        if held != self._held:
            self._held = held
            for lane in self._lanes.values():
                lane.hold(lane.name in held)

    async def _look_after_late(self, server: int) -> None:
        due = await self._deliveries.lease_late(
            server,
            lifetime=LIFETIME.total_seconds(),
            warn_after=WARN_AFTER.total_seconds(),
            limit=LIMIT,
        )
        for consignment in _gathered(due):
            reply = Reply(450, "4.4.7", "Not delivered yet: the destination cannot be reached")
            consignment.outcomes = [Outcome(Verdict.LATER, reply)] * len(consignment.items)
            self.settled(consignment, False)

    def _lane(self, destination: str) -> Lane:
        lane = self._lanes.get(destination)
        if lane is None:
            lane = self._lanes[destination] = Lane(destination, self)
            lane.hold(destination in self._held)
        return lane

    def _in_background(self, work: Any) -> None:
        def failed(failure: Any) -> None:
            if failure.check(Unavailable) is None:
                self.log.failure("the queue's book-keeping failed", failure)

        ensureDeferred(work).addErrback(failed)


def _nothing() -> None:
    """A content in memory leaves nothing to be counted."""


def _jitter() -> float:
    return random.random()  # noqa: S311 - so that retries do not all come at once


async def cancel(due: Sequence[Due], deliveries: Deliveries, report: Report) -> None:
    """Give up deliveries that are in hand: senders get a bounce, and they leave the queue.

    One bounce for all recipients of a message at one destination.
    """
    outcome = Outcome(Verdict.NEVER, Reply(554, "5.0.0", "Given up by the operator"))
    for consignment in _gathered(due):
        items = consignment.items
        await report(consignment, "failed", [(item, outcome) for item in items])
        await deliveries.record(
            [_record(consignment, item, outcome, State.CANCELLED, None, False) for item in items]
        )
        if consignment.ours:
            await deliveries.forget_transit([(consignment.customer, consignment.message)])


def _consignments(accepted: Accepted, now: datetime) -> list[Consignment]:
    """A new message's deliveries that are in this server's hands, by destination."""
    message = accepted.message
    by_destination: dict[str, list[Item]] = {}
    for number, new in enumerate(message.deliveries):
        if new.server is not None:
            items = by_destination.setdefault(new.destination, [])
            items.append(Item(number, new.recipient, 0, now))
    return [
        Consignment(
            message.customer,
            message.id,
            destination,
            message.envelope,
            message.raw_size,
            now,
            items,
            ours=message.shelf is Shelf.TRANSIT,
            judgement=message.judgement,
            header=accepted.header,
        )
        for destination, items in by_destination.items()
    ]


def _gathered(due: Iterable[Due]) -> list[Consignment]:
    """Leased deliveries, those of one message to one destination together."""
    gathered: dict[tuple[int, Any, str], Consignment] = {}
    for one in due:
        key = (one.customer, one.message, one.destination)
        consignment = gathered.get(key)
        if consignment is None:
            consignment = gathered[key] = Consignment(
                one.customer, one.message, one.destination, one.envelope, one.size,
                one.received_at, [], ours=one.ours, judgement=one.judgement,
            )  # fmt: skip
        consignment.items.append(
            Item(one.number, one.recipient, one.attempts, one.queued_at, one.warned)
        )
    return list(gathered.values())


def _record(
    consignment: Consignment,
    item: Item,
    outcome: Outcome,
    state: State,
    next_at: datetime | None,
    warned: bool,
) -> Record:
    return Record(
        consignment.customer, consignment.message, item.number, state, item.attempts, next_at,
        str(outcome.reply), outcome.host, outcome.tls, warned,
    )  # fmt: skip
