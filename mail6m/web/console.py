"""The console, put together: its guard, and a group of pages for each line of the menu."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.abstract import isIPAddress, isIPv6Address

from mail6m import __version__
from mail6m.access.links import PasswordLinks
from mail6m.access.passwords import InThread, Passwords
from mail6m.access.security import Security
from mail6m.access.signin import SignIn
from mail6m.billing.checkout import Checkout
from mail6m.billing.credits import CreditNotes
from mail6m.billing.payments import Bookkeeping
from mail6m.delivery.demands import Demands
from mail6m.delivery.trial import Trial
from mail6m.directory import Directory
from mail6m.domains import Declarations
from mail6m.guard.lessons import Lessons
from mail6m.letters import Letters
from mail6m.resolver import Resolver
from mail6m.seal import Keyring
from mail6m.shelves.archivist import Archivist
from mail6m.shelves.cabinet import Cabinet
from mail6m.shelves.cellar import Cellar
from mail6m.shelves.closing import Ending
from mail6m.shelves.discs import DiscLife
from mail6m.shelves.exports import Exporter
from mail6m.shelves.plans import PlanChanges
from mail6m.shelves.reissue import Reissue
from mail6m.storage.accounts import Accounts
from mail6m.storage.archive import Archive
from mail6m.storage.audit import Audit
from mail6m.storage.claims import Claims
from mail6m.storage.contracts import Contracts
from mail6m.storage.customers import Customers
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.discs import Discs
from mail6m.storage.documents import DocumentTable
from mail6m.storage.domains import Domains
from mail6m.storage.invoices import Invoices
from mail6m.storage.ledger import Ledger
from mail6m.storage.payments import Payments
from mail6m.storage.plans import Plans
from mail6m.storage.pool import Pool
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.recipients import Recipients
from mail6m.storage.sessions import Sessions
from mail6m.storage.tariffs import SellerTable, TariffTable
from mail6m.storage.whitelist import Whitelist
from mail6m.turn import Turn
from mail6m.web.accounts import AccountPages
from mail6m.web.activity import ActivityPages
from mail6m.web.cabinet import CabinetPages
from mail6m.web.cellar import CellarPages
from mail6m.web.discs import DiscPages
from mail6m.web.domains import DomainPages
from mail6m.web.forgotten import ForgottenPages
from mail6m.web.guard import Guard, Network
from mail6m.web.invoices import InvoicePages
from mail6m.web.leaving import LeavingPages
from mail6m.web.operator.invoices import HouseInvoicePages
from mail6m.web.operator.overview import OverviewPages
from mail6m.web.operator.payments import PaymentPages
from mail6m.web.operator.tariffs import TariffPages
from mail6m.web.preferences import PreferencesPages
from mail6m.web.queue import QueuePages
from mail6m.web.render import Renderer
from mail6m.web.security import SecurityPages
from mail6m.web.signin import SignInPages
from mail6m.web.whitelist import WhitelistPages

PAGES: tuple[type, ...] = (
    SignInPages,
    ForgottenPages,
    SecurityPages,
    AccountPages,
    CabinetPages,
    CellarPages,
    DiscPages,
    QueuePages,
    DomainPages,
    WhitelistPages,
    PreferencesPages,
    LeavingPages,
    ActivityPages,
    OverviewPages,
    InvoicePages,
    HouseInvoicePages,
    PaymentPages,
    TariffPages,
)
"""The groups of pages that `console` makes, in its order and in that of docs/console-routes.md."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the console stands on."""

    pool: Pool
    keyring: Keyring
    domains: Domains
    archive: Archive
    deliveries: Deliveries
    directory: Directory
    cabinet: Cabinet
    cellar: Cellar
    archivist: Archivist
    discs: Discs
    disc_life: DiscLife
    exporter: Exporter
    ending: Ending
    lessons: Lessons
    letters: Letters
    console_url: Callable[[], str]
    """Scheme and host that the console is reached by from outside; nothing if not known."""
    resolver: Resolver
    demands: Demands
    reactor: Any
    turn: Turn
    in_thread: InThread
    clock: Callable[[], datetime]
    hostname: str
    """The name that we have in an SMTP session."""
    mx_names: Sequence[str]
    """The names that customers' MX records point at, the first one first."""
    trusted_proxies: Sequence[Network]
    session_idle: float
    session_lifetime: float
    checkout: Checkout | None
    """Takes payments by PayPal; None: customers pay otherwise."""


def console(parts: Parts) -> tuple[Guard, list[object]]:
    """The guard, and the pages behind it."""
    sessions = Sessions(parts.pool, parts.session_idle, parts.session_lifetime)
    accounts, audit = Accounts(parts.pool), Audit(parts.pool)
    passwords = Passwords(parts.in_thread)
    signin = SignIn(accounts, sessions, audit, passwords, parts.keyring, parts.clock)
    security = Security(signin, accounts, sessions, passwords, parts.keyring, parts.clock)
    renderer = Renderer(__version__)
    links = PasswordLinks(accounts, passwords, parts.letters, renderer, parts.console_url)
    guard = Guard(
        sessions,
        renderer,
        parts.keyring.secret("console forms"),
        parts.trusted_proxies,
        parts.clock,
        parts.turn,
    )
    whitelist = Whitelist(parts.pool)
    reissue = Reissue(parts.directory, parts.deliveries)
    plans, contracts = Plans(parts.pool), Contracts(parts.pool)
    tariffs, sellers = TariffTable(parts.pool), SellerTable(parts.pool)
    ours = [parts.hostname, *parts.mx_names]
    claims = Claims(parts.pool)
    invoices, payments = Invoices(parts.pool), Payments(parts.pool)
    documents = DocumentTable(parts.pool)
    bookkeeping = Bookkeeping(payments, invoices, parts.in_thread, parts.clock)
    declarations = Declarations(parts.reactor, parts.domains, claims, parts.resolver, ours)
    trial = Trial(parts.reactor, parts.demands, parts.hostname, ours)

    def console_name() -> str:
        name = urlsplit(parts.console_url()).hostname or parts.hostname
        return parts.hostname if isIPAddress(name) or isIPv6Address(name) else name

    pages: list[object] = [
        SignInPages(signin, sessions),
        ForgottenPages(links),
        SecurityPages(security, accounts, sessions),
        AccountPages(accounts, links),
        CabinetPages(
            parts.cabinet,
            parts.archive,
            parts.deliveries,
            reissue,
            parts.lessons,
            whitelist,
            parts.domains,
            parts.mx_names,
        ),
        CellarPages(parts.cellar, parts.archivist),
        DiscPages(parts.discs, parts.disc_life, tariffs),
        QueuePages(parts.deliveries),
        DomainPages(
            declarations,
            trial,
            audit,
            Recipients(parts.pool),
            parts.mx_names,
            console_name,
        ),
        WhitelistPages(whitelist),
        PreferencesPages(
            PreferencesTable(parts.pool),
            plans,
            PlanChanges(plans, contracts, parts.clock),
            renderer.words,
        ),
        LeavingPages(parts.exporter, parts.ending, Customers(parts.pool), security, audit),
        ActivityPages(audit, parts.cabinet),
        OverviewPages(),
        InvoicePages(invoices, payments, documents, parts.checkout),
        HouseInvoicePages(
            Ledger(parts.pool),
            invoices,
            payments,
            documents,
            bookkeeping,
            CreditNotes(invoices, sellers, parts.clock),
        ),
        PaymentPages(payments, bookkeeping),
        TariffPages(tariffs, sellers),
    ]
    return guard, pages
