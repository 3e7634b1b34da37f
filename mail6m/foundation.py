"""What the server and the operator's commands both stand on: keys, database, tables, use cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from mail6m import __version__
from mail6m.billing.business import Business
from mail6m.billing.reminders import InvoiceLetters
from mail6m.content import Budget, Content
from mail6m.delivery.own import OwnMail
from mail6m.delivery.queue import cancel
from mail6m.delivery.reports import Reports
from mail6m.directory import Directory
from mail6m.intake import Accepted, Intake, Judging, Outgoing
from mail6m.journal import Journal
from mail6m.letters import Letters, Notices
from mail6m.model import HOUSE
from mail6m.notices.due import DueNotices
from mail6m.notices.subscriptions import subscriptions
from mail6m.oversight.backlog import BacklogCount
from mail6m.reader import Reader
from mail6m.seal import Keyring, master_key
from mail6m.settings import DISC_CAPACITY, Settings, SettingsError
from mail6m.shelves.archivist import Archivist
from mail6m.shelves.cabinet import Cabinet
from mail6m.shelves.cellar import Cellar
from mail6m.shelves.closing import ClosingLetters, Ending
from mail6m.shelves.correspondence import Correspondence
from mail6m.shelves.discs import DiscLife
from mail6m.shelves.exports import Exporter
from mail6m.shelves.indexer import Indexer
from mail6m.shelves.overflow import Overflow
from mail6m.shelves.plans import PlanChanges
from mail6m.shelves.sweep import Sweep, Swept
from mail6m.signing import Signer
from mail6m.storage.accounts import Accounts
from mail6m.storage.archive import Archive, NewMessage
from mail6m.storage.archivist import Requests
from mail6m.storage.backlog import BacklogTable
from mail6m.storage.blocking import Blocking
from mail6m.storage.catalogue import Catalogue
from mail6m.storage.closings import Closings
from mail6m.storage.customers import Customers
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.discs import Discs
from mail6m.storage.domains import Domains
from mail6m.storage.embedded import Embedded
from mail6m.storage.errors import Refused
from mail6m.storage.exports import BY_KEY, Exports
from mail6m.storage.health import Health
from mail6m.storage.measures import Measures
from mail6m.storage.migrate import migrate
from mail6m.storage.notices import NoticeTable
from mail6m.storage.plans import Plans
from mail6m.storage.pool import Pool
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.servers import Servers
from mail6m.storage.shelves import Shelves
from mail6m.storage.signups import Signups
from mail6m.turn import Turn
from mail6m.web.render import Renderer

EMBEDDED = "embedded:"


class Foundation:
    """What the server and the operator's commands both stand on: keys, database, tables."""

    log = Logger(namespace="mail6m")

    def __init__(self, reactor: Any, settings: Settings, *, serves: bool = False) -> None:
        self.reactor = reactor
        self._serves = serves
        self.turn = Turn(reactor)
        self.settings = settings
        self._embedded: Embedded | None = None
        self.dsn = settings.database

    def make_data(self) -> None:
        """Make the data directory, if it is not there yet. Raises `SettingsError`."""
        data = self.settings.data
        try:
            # Others may pass through, as the embedded PostgreSQL's own account must; not look in.
            data.mkdir(mode=0o711, parents=True, exist_ok=True)
            for private in ("keys", "spool"):
                (data / private).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"--data {data}: {error.strerror}") from error

    async def start(self) -> None:
        """Open the data directory and the database. Raises `SettingsError` or `StorageError`."""
        self.make_data()
        self._fetch_keys()
        await self._open_database()
        self._know_customers()
        self._put_up_shelves(await self._disc_capacity())
        self._oversee()
        self.business = Business(self.console_pool, deferToThread, now)
        await self.customers.add_house(self.keyring.new_wrapped_key(HOUSE))
        await self.directory.key(HOUSE)  # says at once if the master key is another database's

    def _fetch_keys(self) -> None:
        data = self.settings.data
        try:
            self.keyring = Keyring(master_key(data / "keys" / "master.key"))
        except OSError as error:
            raise SettingsError(f"--data {data}: {error.strerror}") from error
        self.signer = Signer(self.settings, time.time)

    async def _open_database(self) -> None:
        if self.settings.database == EMBEDDED:
            self._embedded = Embedded(self.settings.data.resolve() / "postgres")
            self.dsn = await deferToThread(self._embedded.start)
        for name in await deferToThread(migrate, self.dsn):
            self.log.info("applied migration {name}", name=name)
        timeout = self.settings.database_timeout
        self.pool = self._pool(self.settings.database_connections)
        # Apart, so that no message waits for a connection behind pages, or behind the indexer.
        self.console_pool = self._pool(self.settings.console_connections)
        self.archive = Archive(self.pool, self.dsn, timeout)
        self.blocking = Blocking(self.dsn, timeout, *BY_KEY)

    def _know_customers(self) -> None:
        """Whose mail it is, where it goes, and what waits to go there."""
        self.customers, self.domains = Customers(self.pool), Domains(self.pool)
        self.deliveries, self.servers = Deliveries(self.pool), Servers(self.pool)
        self.directory = Directory(
            self.reactor,
            self.domains,
            self.customers,
            self.keyring,
            self.settings.hostname,
            self.settings.postmaster,
        )
        self.reader = Reader(self.archive, self.directory)

    def _put_up_shelves(self, disc_capacity: int) -> None:
        pool, data = self.console_pool, self.settings.data
        self.catalogue, self.shelves, self.discs = Catalogue(pool), Shelves(pool), Discs(pool)
        self.preferences, self.closings = PreferencesTable(pool), Closings(pool)
        self.indexer = Indexer(self.reactor, self.catalogue)
        self.cabinet = Cabinet(self.catalogue, self.indexer)
        self.overflow = Overflow(self.reactor, self.shelves)
        self.cellar = Cellar(self.shelves, self.customers, disc_capacity, now)
        self.archivist = Archivist(Requests(pool), self.catalogue, self.indexer, self.customers)
        self.disc_life = DiscLife(
            self.discs,
            self.shelves,
            self.customers,
            self.preferences,
            self.directory,
            data / "discs",
            self.dsn,
            disc_capacity,
            deferToThread,
            self.reactor,
            now,
        )
        self.exporter = Exporter(
            Exports(pool),
            self.blocking,
            self.directory,
            self.preferences,
            deferToThread,
            self.reactor,
        )
        self.ending = Ending(self.closings, now)

    def _oversee(self) -> None:
        pool = self.console_pool
        self.measures, self.backlog, self.health = Measures(pool), BacklogTable(pool), Health(pool)
        self.backlog_count = BacklogCount(self.reactor, self.backlog, now)

    async def _disc_capacity(self) -> int:
        """The server's own; a command that is not told otherwise goes by what the server has."""
        capacity = self.settings.disc_capacity
        if self._serves:
            await self.servers.remember("disc_capacity", str(capacity))
        elif capacity == DISC_CAPACITY:
            capacity = int(await self.servers.recall("disc_capacity") or capacity)
        return capacity

    def _pool(self, connections: int) -> Pool:
        return Pool(self.reactor, self.dsn, connections, self.settings.database_timeout)

    def intake(
        self,
        outgoing: Outgoing,
        journal: Journal,
        threads: ThreadPool,
        judging: Judging | None = None,
    ) -> Intake:
        """The way in."""
        return Intake(
            self.reactor,
            self.turn,
            self.settings,
            self.archive,
            self.directory,
            outgoing,
            journal,
            self.overflow,
            threads,
            judging,
        )

    def own_mail(self, intake: Intake, budget: Budget) -> OwnMail:
        """The way into the queue for what Mail6M writes."""
        spool, threshold = self.settings.data / "spool", self.settings.spool_threshold
        return OwnMail(
            self.settings.hostname,
            self.directory,
            intake,
            lambda: Content(budget, spool, threshold),
            self.signer,
        )

    def reports(self, own: OwnMail) -> Reports:
        """Letters to senders."""
        return Reports(self.settings.hostname, self.reader, own, now)

    def letters(self, own: OwnMail) -> Letters:
        """Letters to those who use the console."""
        return Letters(self.settings.hostname, own, now)

    def sweep(self, own: OwnMail, console_url: Callable[[], str]) -> Sweep:
        """What time does by itself."""
        preferences, business = self.preferences, self.business
        accounts = Accounts(self.console_pool)
        notices = Notices(
            self.letters(own),
            Renderer(__version__),
            console_url,
            now,
            subscriptions(self.console_pool, self.keyring),
        )
        correspondences = (
            Correspondence(self.discs, preferences, accounts, business.tariffs, notices, now),
            ClosingLetters(self.closings, notices),
            InvoiceLetters(
                business.ledger,
                business.invoices,
                business.documents,
                self.closings,
                preferences,
                accounts,
                notices,
                now,
            ),
            DueNotices(NoticeTable(self.console_pool), preferences, accounts, notices, now),
        )
        plans = PlanChanges(Plans(self.pool), business.contracts, now)
        return Sweep(
            plans,
            self.overflow,
            self.disc_life,
            self.ending,
            business.invoicing,
            business.documents,
            correspondences,
            Signups(self.pool),
        )

    async def revive(self) -> None:
        """Start the embedded database again, should it have died."""
        if self._embedded is not None:
            await deferToThread(self._embedded.start)

    async def stop(self) -> None:
        """Close the database."""
        if hasattr(self, "pool"):
            self.pool.close()
            self.console_pool.close()
            self.archive.close()
            self.blocking.close()
        if self._embedded is not None:
            await deferToThread(self._embedded.leave)


class _NothingOutgoing:
    """For the commands: what they queue is left for the servers (`mail6m.intake.Outgoing`)."""

    def takes(self, destination: str, content: Content) -> int | None:
        return None

    def offer(self, accepted: Sequence[Accepted]) -> None:
        accepted[0].content.close()

    def doubt(self, messages: Sequence[NewMessage]) -> None:
        """The servers will see for themselves."""


@contextmanager
def _pen(foundation: Foundation) -> Iterator[OwnMail]:
    """For a command: the way into the queue for what it writes."""
    threads = ThreadPool(0, 1, "seal")
    threads.start()
    try:
        intake = foundation.intake(_NothingOutgoing(), Journal(foundation.reactor), threads)
        yield foundation.own_mail(intake, Budget(foundation.settings.memory_budget))
    finally:
        threads.stop()


async def cancel_delivery(foundation: Foundation, delivery: tuple[int, UUID, int]) -> None:
    """Give a delivery up, and tell its sender. Raises `Refused` if it is not to be had."""
    with _pen(foundation) as own:
        reports = foundation.reports(own)
        server = await foundation.servers.enlist(f"cancel {uuid4()}")
        try:
            due = await foundation.deliveries.lease_one(server, delivery)
            if due is None:
                raise Refused("that delivery is not in the queue, or is under way just now")
            await cancel([due], foundation.deliveries, reports.send)
        finally:
            await foundation.servers.resign(server)


async def sweep(foundation: Foundation) -> Swept:
    """Do now what time does, as the server would."""
    settings = foundation.settings
    base = settings.console_url or await foundation.servers.recall("console_url") or ""
    with _pen(foundation) as own:
        return await foundation.sweep(own, lambda: base.rstrip("/")).all()


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)
