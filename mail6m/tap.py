"""The server, wired: the only file that knows everyone."""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import IO, Any, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, globalLogPublisher
from twisted.python.threadpool import ThreadPool
from twisted.web.client import Agent

from mail6m import __version__
from mail6m.billing.checkout import Checkout
from mail6m.billing.paypal import configured
from mail6m.certificates import Certificates
from mail6m.content import Budget
from mail6m.delivery.conversation import Caller
from mail6m.delivery.demands import Demands
from mail6m.delivery.giving_up import GivingUp
from mail6m.delivery.heading import Heading
from mail6m.delivery.own import OwnMail
from mail6m.delivery.queue import Queue
from mail6m.delivery.reports import Reports
from mail6m.delivery.route import Routes
from mail6m.delivery.sts import StsPolicies
from mail6m.foundation import Foundation, now
from mail6m.guard.antispam import Antispam
from mail6m.guard.authentication.authenticator import Authenticator
from mail6m.guard.clients import Clients
from mail6m.guard.judge import Judge
from mail6m.guard.known import KnownClients
from mail6m.guard.lessons import Lessons
from mail6m.guard.probes import Probes, opening
from mail6m.guard.recipients import Verification
from mail6m.guard.rules import RuleBook
from mail6m.guard.scanners import scanners
from mail6m.intake import Intake
from mail6m.journal import Journal
from mail6m.model import Host
from mail6m.names import ClientNames
from mail6m.notices.machine import MachineWatch
from mail6m.options import Options
from mail6m.oversight.mishaps import Mishaps
from mail6m.oversight.overview import Overview
from mail6m.oversight.recorder import Recorder
from mail6m.proxied import BehindProxy
from mail6m.published import Policies
from mail6m.reception import Reception
from mail6m.resolver import Resolver, nameservers
from mail6m.seal import SealError
from mail6m.settings import Settings, SettingsError
from mail6m.shelves.writing import DiscWriting
from mail6m.smtp import SmtpServerFactory
from mail6m.storage.archive import Archive
from mail6m.storage.audit import Audit
from mail6m.storage.clients import KnownClientsTable
from mail6m.storage.deliveries import CHANNEL as QUEUE_CHANNEL
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.domains import CHANNEL as ROUTES_CHANNEL
from mail6m.storage.domains import Domains, read_host
from mail6m.storage.embedded import EmbeddedError
from mail6m.storage.errors import StorageError
from mail6m.storage.notices import NoticeTable
from mail6m.storage.paypal import PayPalOrders
from mail6m.storage.recipients import Recipients
from mail6m.storage.sts import StsTable
from mail6m.storage.whitelist import CHANNEL as GUARD_CHANNEL
from mail6m.storage.whitelist import Whitelist
from mail6m.trust import Trust, WebTrust
from mail6m.turn import without_log_context
from mail6m.web.api.gate import Api
from mail6m.web.app import Web
from mail6m.web.console import Parts, console
from mail6m.web.guard import Guard


class Mail6M(Service):
    """The whole server, as twistd runs it."""

    log = Logger(namespace="mail6m")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._ports: list[IListeningPort] = []
        self._web_ports: list[IListeningPort] = []
        self._started: Deferred[None] | None = None
        self._up = False
        self._exit_status = 0
        self._slot: IO[str] | None = None
        self._mishaps = Mishaps(now)
        globalLogPublisher.addObserver(self._mishaps)

    def startService(self) -> None:
        """Begin; what cannot be begun stops the process with one clear line."""
        super().startService()  # type: ignore[no-untyped-call]
        from twisted.internet import reactor

        self._reactor: Any = reactor
        reactor.addSystemEventTrigger("after", "shutdown", self._exit)
        self._started = ensureDeferred(self._start())
        self._started.addErrback(self._failed)

    def _failed(self, failure: Any) -> None:
        if failure.check(SettingsError, StorageError, EmbeddedError, SealError, OSError):
            self.log.critical("cannot start: {why}", why=" ".join(str(failure.value).split()))
        else:
            self.log.failure("cannot start", failure)
        self._exit_status = 1
        self._reactor.callWhenRunning(self._reactor.stop)

    def _exit(self) -> None:
        """Twisted ends by the signal that it got, or with 0 whatever happened; say what did."""
        self._reactor._exitSignal = None
        if self._exit_status:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self._exit_status)

    async def _start(self) -> None:
        reactor, settings = self._reactor, self.settings
        files = list(zip(settings.tls_cert, settings.tls_key, strict=True))
        self._certificates = Certificates(files) if files else None
        self._foundation = foundation = Foundation(reactor, settings, serves=True)
        await foundation.start()
        self._journal = Journal(reactor)
        self._budget = Budget(settings.memory_budget)
        self._threads = ThreadPool(0, settings.seal_threads, "seal")
        self._threads.start()
        self._know_the_internet()
        self._make_way_out(name := self._take_slot())
        self._make_guard()
        intake = foundation.intake(self._queue, self._journal, self._threads, self._judge)
        own_mail = foundation.own_mail(intake, self._budget)
        reports = foundation.reports(own_mail)
        await self._make_way_in(intake)
        await self._listen_to_database()
        await self._queue.start(reports.send)
        self._make_clocks(own_mail)
        self._oversee(name, reports)
        web = self._make_web(own_mail)
        await self._antispam.start(self._antispam_is)
        await self._open_doors(web)
        self._begin_rounds()
        self._up = True
        _settle_in()
        self.log.info(
            "Mail6M {version} is ready as {name}", version=__version__, name=settings.hostname
        )

    def _know_the_internet(self) -> None:
        """Its names, and whom to believe there."""
        reactor, settings = self._reactor, self.settings
        servers = nameservers([read_host(resolver, 53) for resolver in settings.dns])
        self._resolver = Resolver(reactor, servers)
        # Apart, so that no stranger's mail can keep ours from finding its way.
        self._of_strangers = Resolver(reactor, servers)
        trust = Trust(settings.tls_ca)
        trust.check()
        self._demands = Demands(self._resolver, trust)

    def _make_way_out(self, name: str) -> None:
        reactor, settings, foundation = self._reactor, self.settings, self._foundation
        sts = StsPolicies(
            reactor,
            self._resolver,
            Agent(reactor, WebTrust(settings.tls_ca), connectTimeout=settings.connect_timeout),
            StsTable(foundation.pool),
            now,
        )
        smarthost = read_host(settings.smarthost) if settings.smarthost is not None else None
        self._queue = Queue(
            reactor,
            foundation.turn,
            settings,
            foundation.deliveries,
            foundation.servers,
            Routes(foundation.directory, self._resolver, sts, smarthost),
            self._demands,
            foundation.reader,
            Heading(settings, foundation.signer),
            self._journal,
            now,
            name,
        )

    def _make_guard(self) -> None:
        """What is asked about messages."""
        reactor, settings = self._reactor, self.settings
        self._rules = RuleBook(reactor, Whitelist(self._foundation.pool))
        self._antispam = Antispam(
            reactor, settings, scanners(reactor, settings), self._journal.scanned
        )
        authenticator = Authenticator(settings, self._of_strangers, reactor, self._threads)
        self._judge = Judge(self._antispam, authenticator, self._rules)

    async def _make_way_in(self, intake: Intake) -> None:
        reactor, settings, foundation = self._reactor, self.settings, self._foundation
        self._known_clients = KnownClients(
            reactor,
            KnownClientsTable(foundation.console_pool),
            settings.banner_known_for,
            now,
        )
        if settings.banner_delay > 0:
            await self._known_clients.look()  # or everybody would be held up after a restart
        self._verification = self._recipients_verified()
        reception = Reception(
            reactor,
            settings,
            foundation.directory,
            intake,
            self._journal,
            self._budget,
            ClientNames(reactor, self._of_strangers),
            Clients(reactor, settings, self._of_strangers, self._known_clients, self._journal),
            self._verification,
        )
        self._factory = SmtpServerFactory(
            reactor, foundation.turn, settings, reception, self._certificates
        )

    def _recipients_verified(self) -> Verification:
        foundation, settings = self._foundation, self.settings
        ours = [settings.hostname, *settings.mx]
        caller = Caller(self._reactor, self._demands, settings.hostname, ours)
        return Verification(
            self._reactor,
            Recipients(foundation.pool),
            Probes(self._reactor, opening(caller)),
            self._journal,
            settings.max_unknown_recipients,
            settings.internal,
        )

    async def _listen_to_database(self) -> None:
        """Other servers, and the console, change what this one remembers."""
        pool = self._foundation.pool
        pool.listen(ROUTES_CHANNEL, self._routes_changed)
        pool.listen(QUEUE_CHANNEL, self._queue.look)
        pool.listen(GUARD_CHANNEL, self._rules.forget)
        await self._look_after()

    def _make_clocks(self, own_mail: OwnMail) -> None:
        """What comes round every second, which begins at once, and what does every minute."""
        self._care = LoopingCall(lambda: ensureDeferred(self._look_after()))
        self._care.clock = self._reactor
        self._care.start(1.0, now=False)
        self._sweep = self._foundation.sweep(own_mail, self._console_url)
        self._machine = MachineWatch(
            NoticeTable(self._foundation.console_pool),
            self.settings.data,
            self.settings.least_free,
            self._certificates.ends if self._certificates is not None else tuple,
            now,
        )
        self._calendar = LoopingCall(lambda: ensureDeferred(self._let_time_pass()))
        self._calendar.clock = self._reactor

    def _oversee(self, name: str, reports: Reports) -> None:
        """What operators see, and do."""
        foundation, data = self._foundation, self.settings.data
        self._recorder = Recorder(
            self._reactor,
            now,
            name,
            foundation.measures,
            foundation.health,
            self._mishaps,
            self._journal.tally,
            lambda: self._antispam.state,
            lambda: self._certificates.ends() if self._certificates is not None else [],
            [("data", data), ("discs", data / "discs")],
        )
        self._disc_writing = DiscWriting(foundation.disc_life)
        self._giving_up = GivingUp(
            foundation.deliveries,
            foundation.servers,
            Audit(foundation.console_pool),
            reports.send,
        )

    def _make_web(self, own_mail: OwnMail) -> Web:
        domains = Domains(self._foundation.console_pool)
        self._checkout = self._paypal()
        return Web(
            self._journal.registry,
            self._health,
            self._measure,
            Policies(self._reactor, domains, self.settings.mx_names).served,
            *self._console(own_mail, domains),
            self._checkout.notified if self._checkout is not None else None,
        )

    async def _open_doors(self, web: Web) -> None:
        await self._listen(self.settings.smtp, self._factory, self._ports, "SMTP")
        await self._listen(self.settings.web, web.site(), self._web_ports, "web")
        await self._foundation.servers.remember("console_url", self._console_url())

    def _begin_rounds(self) -> None:
        """What is done beside the mail; letters know from here on where the console is."""
        foundation, busy = self._foundation, self._journal.busy
        self._calendar.start(60.0)
        foundation.indexer.start(busy)
        foundation.overflow.start(busy)
        foundation.exporter.start(busy)
        foundation.backlog_count.start(busy, at_once=True)
        self._recorder.start(busy, at_once=True)
        if self.settings.banner_delay > 0:
            self._known_clients.start(busy)
        self._verification.start()

    def _antispam_is(self, state: str) -> None:
        """Operators are told, by the metrics and by ``mail6m status``."""
        self._journal.scanner.set(self._antispam.up)
        telling = ensureDeferred(self._foundation.servers.remember("antispam", state))
        telling.addErrback(lambda failure: failure.trap(StorageError) and None)

    def _paypal(self) -> Checkout | None:
        agent = Agent(self._reactor, WebTrust(), connectTimeout=self.settings.connect_timeout)
        paypal = configured(self._reactor, agent, self.settings)
        if paypal is None:
            return None
        business, orders = self._foundation.business, PayPalOrders(self._foundation.console_pool)
        payments, invoices = business.payments, business.invoices
        heard = self._journal.webhook
        return Checkout(paypal, orders, payments, invoices, self._console_url, now, heard)

    def _routes_changed(self) -> None:
        self._foundation.directory.forget()
        self._foundation.overflow.look_everywhere()
        self._queue.reroute()

    def _console(self, own_mail: OwnMail, domains: Domains) -> tuple[Guard, list[object], Api]:
        foundation, settings = self._foundation, self.settings
        pool = foundation.console_pool
        return console(
            Parts(
                settings=settings,
                reactor=self._reactor,
                turn=foundation.turn,
                clock=now,
                in_thread=deferToThread,
                console_url=self._console_url,
                pool=pool,
                keyring=foundation.keyring,
                letters=foundation.letters(own_mail),
                domains=domains,
                directory=foundation.directory,
                resolver=self._resolver,
                demands=self._demands,
                archive=Archive(pool, foundation.dsn, settings.database_timeout),
                deliveries=Deliveries(pool),
                lessons=Lessons(
                    foundation.archive, foundation.reader, self._antispam, settings.scan_largest
                ),
                preferences=foundation.preferences,
                cabinet=foundation.cabinet,
                cellar=foundation.cellar,
                archivist=foundation.archivist,
                discs=foundation.discs,
                disc_life=foundation.disc_life,
                exporter=foundation.exporter,
                ending=foundation.ending,
                business=foundation.business,
                checkout=self._checkout,
                overview=Overview(
                    self._reactor,
                    foundation.measures,
                    foundation.backlog,
                    foundation.health,
                    foundation.discs,
                ),
                backlog=foundation.backlog,
                giving_up=self._giving_up,
                disc_writing=self._disc_writing,
            )
        )

    def _console_url(self) -> str:
        """What links in letters begin with; nothing if nobody has said, and it cannot be known."""
        if self.settings.console_url is not None:
            return self.settings.console_url.rstrip("/")
        here: Any = self._web_ports[0].getHost() if self._web_ports else None
        if not isinstance(here, IPv4Address | IPv6Address) or not ip_address(here.host).is_loopback:
            return ""
        return f"http://{Host(here.host, here.port)}"

    async def _listen(
        self, endpoints: Sequence[str], factory: Any, ports: list[IListeningPort], what: str
    ) -> None:
        for description in endpoints:
            direct = description.removeprefix("haproxy:")
            proxied = direct != description
            expected = BehindProxy(factory, self._reactor) if proxied else factory
            try:
                port = await serverFromString(self._reactor, direct).listen(expected)
            except Exception as error:
                raise SettingsError(
                    f"cannot listen for {what} on {description}: {error}"
                ) from error
            ports.append(port)
            self.log.info("{what} on {address}", what=what, address=str(port.getHost()))

    def _take_slot(self) -> str:
        """A name that this process has to itself, and that its successor will have again."""
        for number in range(1_000):
            file = (self.settings.data / f"server-{number}.lock").open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            self._slot = file
            return f"{socket.gethostname()}:{self.settings.data.resolve()}:{number}"
        raise SettingsError(f"--data {self.settings.data}: too many servers share it")

    async def _look_after(self) -> None:
        """Keep the database at hand, as far as that is in our power."""
        try:
            await self._foundation.pool.keep_listening()
        except Exception as error:  # noqa: BLE001 - an exception would end this care for good
            self.log.warn("the database is away: {error}", error=error)
            try:
                await self._foundation.revive()
            except Exception as error:  # noqa: BLE001 - the next second may fare better
                self.log.error("the embedded database does not start: {error}", error=error)

    async def _let_time_pass(self) -> None:
        """Do what is due of shelves and business, and look at the certificates."""
        if self._certificates is not None:
            self._certificates.look(now())
        paypal = [self._checkout.sweep] if self._checkout is not None else []
        for step in (self._machine.look, self._sweep.all, *paypal):
            try:
                await step()
            except StorageError as error:
                self.log.warn("the shelves wait to be swept: {error}", error=error)
            except Exception:  # noqa: BLE001 - the next minute may fare better
                self.log.failure("the shelves could not be swept")

    async def _health(self) -> dict[str, Any]:
        try:
            await self._foundation.pool.query("SELECT 1")
            database = "ok"
        except StorageError as error:
            database = str(error)
        ok = self._up and database == "ok"
        return {"ok": ok, "version": __version__, "database": database}

    async def _measure(self) -> None:
        journal = self._journal
        journal.sessions.set(len(self._factory.sessions))
        journal.memory.set(self._budget.used)
        journal.known_clients.set(len(self._known_clients))
        if self._certificates is not None:
            journal.certificates(self._certificates.ends(), now())
        try:
            queued, oldest, _ = await self._foundation.deliveries.length()
            journal.unindexed.set(await self._foundation.catalogue.waiting())
            for kind, count in (await self._foundation.discs.errands()).items():
                journal.errands.labels(kind).set(count)
            waiting = len(self._foundation.business.invoicing.waiting)
            journal.errands.labels("invoice that waits").set(waiting)
        except StorageError:
            return
        journal.queued.set(queued)
        journal.oldest.set((now() - oldest).total_seconds() if oldest is not None else 0)

    def stopService(self) -> Any:
        """Stop accepting, finish the commit in hand, say 421, give the queue back."""
        super().stopService()  # type: ignore[no-untyped-call]
        return ensureDeferred(self._stop())

    async def _write_down(self) -> None:
        """What others, or the next to start, have to know."""
        await gatherResults(
            [
                ensureDeferred(self._queue.stop()),
                ensureDeferred(self._known_clients.close()),
                ensureDeferred(self._verification.stop()),
                ensureDeferred(self._record_the_last()),
            ]
        )

    async def _record_the_last(self) -> None:
        try:
            await self._recorder.close()
        except StorageError as error:
            self.log.debug("the last minute is not recorded: {error}", error=error)

    async def _stop(self) -> None:
        if not self._up:
            if hasattr(self, "_foundation"):
                await self._foundation.stop()
            if hasattr(self, "_threads"):
                self._threads.stop()
            return
        self._up = False
        self._foundation.indexer.stop()
        self._foundation.overflow.stop()
        self._foundation.exporter.stop()
        self._foundation.backlog_count.stop()
        self._disc_writing.stop()
        self._antispam.stop()
        for port in self._ports + self._web_ports:
            await cast(Any, port.stopListening())
        # Together less than the 10 s that the contract allows.
        await _at_most(self._reactor, 3.0, self._factory.shut_down())
        await _at_most(self._reactor, 1.5, ensureDeferred(self._write_down()))
        for loop in (self._care, self._calendar):
            if loop.running:
                loop.stop()
        self._threads.stop()
        await _at_most(self._reactor, 5.0, ensureDeferred(self._foundation.stop()))
        self.log.info("Mail6M has stopped")


def _settle_in() -> None:
    """Ask the system for as many files as it allows, and collector and reactor for less zeal.

    What stands after the start stays for good, so that the collector need not look at it again;
    and a message leaves few cycles behind, so that it need not look so often.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    without_log_context()


async def _at_most(reactor: Any, seconds: float, work: Deferred[None]) -> None:
    """Wait for ``work``, but not longer; it goes on by itself."""
    enough: Deferred[None] = Deferred()
    timer = reactor.callLater(seconds, enough.callback, None)

    def done(result: Any) -> None:
        if not enough.called:
            timer.cancel()
            enough.callback(None)

    work.addBoth(done)
    await enough


def makeService(options: Options) -> Mail6M:
    """What twistd calls."""
    return Mail6M(options["settings"])
