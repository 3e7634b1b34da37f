"""Options and wiring: the only file that knows everyone."""

from __future__ import annotations

import fcntl
import gc
import os
import re
import resource
import socket
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import IO, Any, cast
from uuid import UUID, uuid4

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.threadpool import ThreadPool
from twisted.web.client import Agent

from mail6m import __version__
from mail6m.certificates import Certificates
from mail6m.content import Budget, Content
from mail6m.delivery.conversation import Caller
from mail6m.delivery.demands import Demands
from mail6m.delivery.heading import Heading
from mail6m.delivery.own import OwnMail
from mail6m.delivery.queue import Queue, cancel
from mail6m.delivery.reports import Reports
from mail6m.delivery.route import Routes
from mail6m.delivery.sts import StsPolicies
from mail6m.directory import Directory
from mail6m.guard.antispam import Antispam
from mail6m.guard.authentication.authenticator import Authenticator
from mail6m.guard.blocklists import read_entry
from mail6m.guard.clients import Clients
from mail6m.guard.judge import Judge
from mail6m.guard.known import KnownClients
from mail6m.guard.lessons import Lessons
from mail6m.guard.probes import Probes, opening
from mail6m.guard.recipients import Verification
from mail6m.guard.rules import RuleBook
from mail6m.guard.scanners import check as check_scanner
from mail6m.guard.scanners import scanners
from mail6m.intake import Accepted, Intake, Judging, Outgoing
from mail6m.journal import Journal
from mail6m.letters import Letters, Notices
from mail6m.model import HOUSE, Host
from mail6m.names import ClientNames
from mail6m.proxied import BehindProxy
from mail6m.published import Policies
from mail6m.reader import Reader
from mail6m.reception import Reception
from mail6m.resolver import Resolver, nameservers
from mail6m.seal import Keyring, SealError, master_key
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
from mail6m.signing import Signer, signing_name
from mail6m.smtp import SmtpServerFactory
from mail6m.storage.accounts import Accounts
from mail6m.storage.archive import Archive, NewMessage
from mail6m.storage.archivist import Requests
from mail6m.storage.blocking import Blocking
from mail6m.storage.catalogue import Catalogue
from mail6m.storage.clients import KnownClientsTable
from mail6m.storage.closings import Closings
from mail6m.storage.customers import Customers
from mail6m.storage.deliveries import CHANNEL as QUEUE_CHANNEL
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.discs import Discs
from mail6m.storage.domains import CHANNEL as ROUTES_CHANNEL
from mail6m.storage.domains import Domains, read_host
from mail6m.storage.embedded import Embedded, EmbeddedError
from mail6m.storage.errors import Refused, StorageError
from mail6m.storage.exports import BY_KEY, Exports
from mail6m.storage.migrate import migrate
from mail6m.storage.plans import Plans
from mail6m.storage.pool import Pool
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.recipients import Recipients
from mail6m.storage.servers import Servers
from mail6m.storage.shelves import Shelves
from mail6m.storage.sts import StsTable
from mail6m.storage.whitelist import CHANNEL as GUARD_CHANNEL
from mail6m.storage.whitelist import Whitelist
from mail6m.trust import Trust, WebTrust
from mail6m.turn import Turn, without_log_context
from mail6m.web.app import Web
from mail6m.web.console import Parts, console
from mail6m.web.guard import Guard
from mail6m.web.render import Renderer

EMBEDDED = "embedded:"
_LISTS = {
    "smtp": "an endpoint",
    "web": "an endpoint",
    "mx": "a name",
    "trusted_proxy": "a network",
    "dns": "an address",
    "internal": "a network",
    "dnsbl": "ZONE[=VALUE][*WEIGHT]",
    "tls_cert": "a file",
    "tls_key": "a file",
}
"""Settings that may be given several times, and what each of their values is."""
_CONSOLE_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/?")
_PATHS = {"data", "tls_cert", "tls_key", "tls_ca", "rspamd_password_file", "signing_key"}
_HELP = {
    "data": "Keys, embedded database, disc images: all state that is not in an external database.",
    "database": "embedded: starts a private PostgreSQL under --data; or a libpq URL.",
    "smtp": "Twisted server endpoint for MX traffic; may be given several times.",
    "web": "Twisted server endpoint for the console; may be given several times.",
    "console_url": "Where browsers reach the console, for links in letters: https://NAME.",
    "hostname": "The name in the SMTP banner, in Received: and in bounces.",
    "tls_ca": "PEM certificates of authorities for receiving machines; without it, the system's.",
    "smarthost": "HOST[:PORT] where mail that Mail6M itself writes goes; without it, MX look-up.",
    "postmaster": "Address that mail to postmaster without a domain goes on to.",
    "scanner": "Antispam: auto, none, rspamd:URL or spamd:HOST:PORT.",
    "authentication": "SPF, DKIM, ARC and DMARC of mail from outside: on or off.",
    "signing_key": "PEM key that signs our own mail (DKIM) and seals relayed mail (ARC).",
    "signing_domain": "The domain that signs; without it, the hostname.",
    "signing_selector": "Its key is published as SELECTOR._domainkey.DOMAIN.",
    "disc_capacity": "Bytes of a disc's image, its file system included.",
}


def _parameters() -> list[list[Any]]:
    parameters: list[list[Any]] = [["config", "c", None, "TOML file with any of these options."]]
    for one in fields(Settings):
        if one.name not in _LISTS:
            default = "" if one.default is MISSING else f" [default: {one.default}]"
            text = _HELP.get(one.name, "see docs/operations.md") + default
            parameters.append([one.name.replace("_", "-"), None, None, text])
    return parameters


class Options(usage.Options):
    """The command line of ``twistd mail6m``; every option may stand in the TOML file, too."""

    synopsis = "[options]"
    longdesc = "Receive, archive and relay mail. See docs/operations.md for what each option does."

    optParameters = _parameters()

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for name in _LISTS:
            self[name.replace("_", "-")] = []

    def opt_smtp(self, endpoint: str) -> None:
        """Twisted server endpoint for MX traffic; may be given several times."""
        self["smtp"].append(endpoint)

    def opt_web(self, endpoint: str) -> None:
        """Twisted server endpoint for the console; may be given several times."""
        self["web"].append(endpoint)

    def opt_mx(self, name: str) -> None:
        """A name that customers' MX records point at; may be given several times, in order."""
        self["mx"].append(name)

    def opt_trusted_proxy(self, network: str) -> None:
        """Address or network of a reverse proxy in front of --web; may be given several times."""
        self["trusted-proxy"].append(network)

    def opt_dns(self, resolver: str) -> None:
        """ADDRESS[:PORT] of a resolver that validates DNSSEC; may be given several times."""
        self["dns"].append(resolver)

    def opt_internal(self, network: str) -> None:
        """Address or network of our own, trusted and not held up; may be given several times."""
        self["internal"].append(network)

    def opt_dnsbl(self, entry: str) -> None:
        """ZONE[=VALUE][*WEIGHT], a DNS list of clients; may be given several times."""
        self["dnsbl"].append(entry)

    def opt_tls_cert(self, file: str) -> None:
        """PEM chain for STARTTLS, read again when it changes; may be given several times (SNI)."""
        self["tls-cert"].append(file)

    def opt_tls_key(self, file: str) -> None:
        """PEM key of a --tls-cert, in the same order; read again when it changes."""
        self["tls-key"].append(file)

    def postOptions(self) -> None:
        """Check everything before anything starts."""
        try:
            self["settings"] = read_settings(self)
        except SettingsError as error:
            raise usage.UsageError(str(error)) from error


def read_settings(options: dict[str, Any]) -> Settings:
    """The TOML file's settings under the command line's. Raises `SettingsError`."""
    given: dict[str, Any] = {}
    if options.get("config"):
        given = _read_toml(Path(options["config"]))
    for one in fields(Settings):
        value = options.get(one.name.replace("_", "-"))
        if value:
            given[one.name] = value
    values = {name: _convert(name, value) for name, value in given.items()}
    return check(Settings(**values))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--config {path}: {error}") from error
    known = {one.name for one in fields(Settings)}
    named = {name.replace("-", "_"): value for name, value in table.items()}
    if unknown := sorted(set(named) - known):
        raise SettingsError(f"--config {path}: no such option: {', '.join(unknown)}")
    return named


def _convert(name: str, value: Any) -> Any:
    kind = next(str(one.type) for one in fields(Settings) if one.name == name)
    option = "--" + name.replace("_", "-")
    if name in _LISTS:
        given = [value] if isinstance(value, str) else value
        if not isinstance(given, list) or not all(isinstance(e, str) for e in given):
            raise SettingsError(f"{option}: {_LISTS[name]}, or a list of them, is needed")
        return tuple(map(Path, given) if name in _PATHS else given)
    if name in _PATHS:
        return Path(str(value))
    try:
        if kind == "int":
            return int(value)
        if kind == "float":
            return float(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{option} {value}: a number is needed") from error
    if not isinstance(value, str):
        raise SettingsError(f"{option}: a text is needed")
    return value


_RANGES = (
    ("quality", 0, 11),
    ("seal_threads", 1, 64),
    ("database_connections", 1, 1_000),
    ("console_connections", 1, 1_000),
    ("relay_sessions", 1, 1_000),
    ("scans", 1, 1_000),
    ("max_message_size", 1_024, 1 << 40),
    ("max_line", 1_000, 65_536),
    ("disc_capacity", 100_000, 1 << 40),
    ("dnsbl_threshold", 1, 1_000),
    ("banner_known_for", 0, 31_536_000),
)


def check(settings: Settings) -> Settings:
    """The settings, if they can be used together. Raises `SettingsError`."""
    for one in fields(Settings):
        value = getattr(settings, one.name)
        if isinstance(value, int | float) and value < 0:
            raise SettingsError(f"--{one.name.replace('_', '-')} {value}: it cannot be negative")
    for name, least, most in _RANGES:
        value = getattr(settings, name)
        if not least <= value <= most:
            option = "--" + name.replace("_", "-")
            raise SettingsError(f"{option} {value}: it must be from {least} to {most}")
    if len(settings.tls_cert) != len(settings.tls_key):
        raise SettingsError("--tls-cert and --tls-key go together: a key for each chain, in order")
    check_scanner(settings)
    if settings.smarthost is not None:
        try:
            read_host(settings.smarthost)
        except ValueError as error:
            raise SettingsError(f"--smarthost {error}") from error
    for resolver in settings.dns:
        try:
            ip_address(read_host(resolver).name)
        except ValueError as error:
            raise SettingsError(f"--dns {resolver}: ADDRESS or ADDRESS:PORT is needed") from error
    _check_networks(settings)
    for entry in settings.dnsbl:
        try:
            read_entry(entry)
        except ValueError as error:
            raise SettingsError(f"--dnsbl {entry}: {error}") from error
    if settings.authentication not in ("on", "off"):
        raise SettingsError(f"--authentication {settings.authentication}: on or off")
    if settings.signing_key is not None:
        signing_name(settings)
    if settings.console_url is not None and not _CONSOLE_URL.fullmatch(settings.console_url):
        raise SettingsError(f"--console-url {settings.console_url}: https://NAME is needed")
    if not settings.hostname.isascii() or any(c.isspace() for c in settings.hostname):
        raise SettingsError(f"--hostname {settings.hostname}: an ASCII host name is needed")
    return settings


def _check_networks(settings: Settings) -> None:
    for name in ("trusted_proxy", "internal"):
        for network in getattr(settings, name):
            try:
                ip_network(network)
            except ValueError as error:
                option = "--" + name.replace("_", "-")
                raise SettingsError(f"{option} {network}: {error}") from error


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
        data = self.settings.data
        try:
            master = master_key(data / "keys" / "master.key")
        except OSError as error:
            raise SettingsError(f"--data {data}: {error.strerror}") from error
        if self.settings.database == EMBEDDED:
            self._embedded = Embedded(data.resolve() / "postgres")
            self.dsn = await deferToThread(self._embedded.start)
        applied = await deferToThread(migrate, self.dsn)
        for name in applied:
            self.log.info("applied migration {name}", name=name)
        self.keyring = Keyring(master)
        self.signer = Signer(self.settings, time.time)
        self.pool = self._pool(self.settings.database_connections)
        # Apart, so that no message waits for a connection behind pages, or behind the indexer.
        self.console_pool = self._pool(self.settings.console_connections)
        self.customers = Customers(self.pool)
        self.domains = Domains(self.pool)
        self.archive = Archive(self.pool, self.dsn, self.settings.database_timeout)
        self.deliveries = Deliveries(self.pool)
        self.servers = Servers(self.pool)
        disc_capacity = await self._disc_capacity()
        self.directory = Directory(
            self.reactor,
            self.domains,
            self.customers,
            self.keyring,
            self.settings.hostname,
            self.settings.postmaster,
        )
        self.reader = Reader(self.archive, self.directory)
        self.catalogue = Catalogue(self.console_pool)
        self.indexer = Indexer(self.reactor, self.catalogue)
        self.cabinet = Cabinet(self.catalogue, self.indexer)
        self.shelves = Shelves(self.console_pool)
        self.overflow = Overflow(self.reactor, self.shelves)
        self.cellar = Cellar(self.shelves, self.customers, disc_capacity, _now)
        self.archivist = Archivist(
            Requests(self.console_pool), self.catalogue, self.indexer, self.customers
        )
        self.discs = Discs(self.console_pool)
        self.disc_life = DiscLife(
            self.discs,
            self.shelves,
            self.customers,
            PreferencesTable(self.console_pool),
            self.directory,
            data / "discs",
            self.dsn,
            disc_capacity,
            deferToThread,
            self.reactor,
            _now,
        )
        self.blocking = Blocking(self.dsn, self.settings.database_timeout, *BY_KEY)
        self.exporter = Exporter(
            Exports(self.console_pool),
            self.blocking,
            self.directory,
            PreferencesTable(self.console_pool),
            deferToThread,
            self.reactor,
        )
        self.closings = Closings(self.console_pool)
        self.ending = Ending(self.closings)
        await self.customers.add_house(self.keyring.new_wrapped_key(HOUSE))
        await self.directory.key(HOUSE)  # says at once if the master key is another database's

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
        return Reports(self.settings.hostname, self.reader, own, _now)

    def letters(self, own: OwnMail) -> Letters:
        """Letters to those who use the console."""
        return Letters(self.settings.hostname, own, _now)

    def sweep(self, own: OwnMail, console_url: Callable[[], str]) -> Sweep:
        """What time does by itself."""
        preferences = PreferencesTable(self.console_pool)
        accounts = Accounts(self.console_pool)
        notices = Notices(self.letters(own), Renderer(__version__), console_url, _now)
        correspondences = (
            Correspondence(self.discs, preferences, accounts, notices, _now),
            ClosingLetters(self.closings, notices),
        )
        plans = PlanChanges(Plans(self.pool), _now)
        return Sweep(plans, self.overflow, self.disc_life, self.ending, correspondences)

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
            await cancel(due, foundation.deliveries, reports.send)
        finally:
            await foundation.servers.resign(server)


async def sweep(foundation: Foundation) -> Swept:
    """Do now what time does, as the server would."""
    settings = foundation.settings
    base = settings.console_url or await foundation.servers.recall("console_url") or ""
    with _pen(foundation) as own:
        return await foundation.sweep(own, lambda: base.rstrip("/")).all()


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
        self._journal = journal = Journal(reactor)
        self._budget = Budget(settings.memory_budget)
        self._threads = ThreadPool(0, settings.seal_threads, "seal")
        self._threads.start()
        smarthost = read_host(settings.smarthost) if settings.smarthost is not None else None
        named = [read_host(resolver, 53) for resolver in settings.dns]
        self._resolver = Resolver(reactor, nameservers(named))
        trust = Trust(settings.tls_ca)
        trust.check()
        self._demands = Demands(self._resolver, trust)
        sts = StsPolicies(
            reactor,
            self._resolver,
            Agent(reactor, WebTrust(settings.tls_ca), connectTimeout=settings.connect_timeout),
            StsTable(foundation.pool),
            _now,
        )
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
            journal,
            _now,
            self._take_slot(),
        )
        self._rules = RuleBook(reactor, Whitelist(foundation.pool))
        self._antispam = Antispam(reactor, settings, scanners(reactor, settings), journal.scanned)
        authenticator = Authenticator(settings, self._resolver, reactor, self._threads)
        judge = Judge(self._antispam, authenticator, self._rules)
        intake = foundation.intake(self._queue, journal, self._threads, judge)
        own_mail = foundation.own_mail(intake, self._budget)
        reports = foundation.reports(own_mail)
        self._known_clients = KnownClients(
            reactor,
            KnownClientsTable(foundation.console_pool),
            settings.banner_known_for,
            _now,
        )
        clients = Clients(reactor, settings, self._resolver, self._known_clients, journal)
        if settings.banner_delay > 0:
            await self._known_clients.look()  # or everybody would be held up after a restart
        self._verification = self._recipients_verified(journal)
        reception = Reception(
            reactor,
            settings,
            foundation.directory,
            intake,
            journal,
            self._budget,
            ClientNames(reactor, self._resolver),
            clients,
            self._verification,
        )
        self._factory = SmtpServerFactory(
            reactor, foundation.turn, settings, reception, self._certificates
        )
        foundation.pool.listen(ROUTES_CHANNEL, self._routes_changed)
        foundation.pool.listen(QUEUE_CHANNEL, self._queue.look)
        foundation.pool.listen(GUARD_CHANNEL, self._rules.forget)
        await self._look_after()
        await self._queue.start(reports.send)
        self._care = LoopingCall(lambda: ensureDeferred(self._look_after()))
        self._care.clock = reactor
        self._care.start(1.0, now=False)
        self._sweep = foundation.sweep(own_mail, self._console_url)
        self._calendar = LoopingCall(lambda: ensureDeferred(self._let_time_pass()))
        self._calendar.clock = reactor
        policies = Policies(reactor, Domains(foundation.console_pool), settings.mx_names)
        web = Web(
            journal.registry,
            self._health,
            self._measure,
            policies.served,
            *self._console(own_mail),
        )
        await self._antispam.start(self._antispam_is)
        await self._listen(settings.smtp, self._factory, self._ports, "SMTP")
        await self._listen(settings.web, web.site(), self._web_ports, "web")
        await foundation.servers.remember("console_url", self._console_url())
        self._calendar.start(60.0)  # from here on, letters know where the console is
        foundation.indexer.start(journal.busy)
        foundation.overflow.start(journal.busy)
        foundation.exporter.start(journal.busy)
        if settings.banner_delay > 0:
            self._known_clients.start(journal.busy)
        self._verification.start()
        self._up = True
        _settle_in()
        self.log.info(
            "Mail6M {version} is ready as {name}", version=__version__, name=settings.hostname
        )

    def _antispam_is(self, state: str) -> None:
        """Operators are told, by the metrics and by ``mail6m status``."""
        self._journal.scanner.set(self._antispam.up)
        telling = ensureDeferred(self._foundation.servers.remember("antispam", state))
        telling.addErrback(lambda failure: failure.trap(StorageError) and None)

    def _recipients_verified(self, journal: Journal) -> Verification:
        foundation, settings = self._foundation, self.settings
        ours = [settings.hostname, *settings.mx]
        caller = Caller(self._reactor, self._demands, settings.hostname, ours)
        return Verification(
            self._reactor,
            Recipients(foundation.pool),
            Probes(self._reactor, opening(caller)),
            journal,
            settings.max_unknown_recipients,
            settings.internal,
        )

    def _routes_changed(self) -> None:
        self._foundation.directory.forget()
        self._foundation.overflow.look_everywhere()
        self._queue.reroute()

    def _console(self, own_mail: OwnMail) -> tuple[Guard, list[object]]:
        foundation, settings = self._foundation, self.settings
        pool = foundation.console_pool
        return console(
            Parts(
                pool=pool,
                keyring=foundation.keyring,
                domains=Domains(pool),
                archive=Archive(pool, foundation.dsn, settings.database_timeout),
                deliveries=Deliveries(pool),
                directory=foundation.directory,
                cabinet=foundation.cabinet,
                cellar=foundation.cellar,
                archivist=foundation.archivist,
                discs=foundation.discs,
                disc_life=foundation.disc_life,
                exporter=foundation.exporter,
                ending=foundation.ending,
                lessons=Lessons(
                    foundation.archive, foundation.reader, self._antispam, settings.scan_largest
                ),
                letters=foundation.letters(own_mail),
                console_url=self._console_url,
                resolver=self._resolver,
                demands=self._demands,
                reactor=self._reactor,
                turn=foundation.turn,
                in_thread=deferToThread,
                clock=_now,
                hostname=settings.hostname,
                mx_names=settings.mx_names,
                trusted_proxies=[ip_network(network) for network in settings.trusted_proxy],
                session_idle=settings.session_idle,
                session_lifetime=settings.session_lifetime,
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
        """Do what is due of the shelves, and look at the certificates."""
        if self._certificates is not None:
            self._certificates.look(_now())
        try:
            await self._sweep.all()
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
            journal.certificates(self._certificates.ends(), _now())
        try:
            queued, oldest, _ = await self._foundation.deliveries.length()
            journal.unindexed.set(await self._foundation.catalogue.waiting())
            for kind, count in (await self._foundation.discs.errands()).items():
                journal.errands.labels(kind).set(count)
        except StorageError:
            return
        journal.queued.set(queued)
        journal.oldest.set((_now() - oldest).total_seconds() if oldest is not None else 0)

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
            ]
        )

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


def _now() -> datetime:
    return datetime.now(UTC)


def makeService(options: Options) -> Mail6M:
    """What twistd calls."""
    return Mail6M(options["settings"])
