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
from mail6m.access.signup import Mode, SignUp
from mail6m.billing.agreements import Agreements
from mail6m.billing.checkout import Checkout
from mail6m.billing.credits import CreditNotes
from mail6m.billing.payments import Bookkeeping
from mail6m.billing.showcase import Showcase
from mail6m.delivery.demands import Demands
from mail6m.delivery.giving_up import GivingUp
from mail6m.delivery.trial import Trial
from mail6m.directory import Directory
from mail6m.domains import Declarations
from mail6m.guard.lessons import Lessons
from mail6m.letters import Letters, Notices
from mail6m.notices.subscriptions import subscriptions
from mail6m.oversight.overview import Overview
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
from mail6m.shelves.writing import DiscWriting
from mail6m.storage.accounts import Accounts
from mail6m.storage.archive import Archive
from mail6m.storage.audit import Audit
from mail6m.storage.backlog import BacklogTable
from mail6m.storage.claims import Claims
from mail6m.storage.clientele import Clientele
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
from mail6m.storage.signups import Signups
from mail6m.storage.tariffs import SellerTable, TariffTable
from mail6m.storage.tokens import Tokens
from mail6m.storage.trials import Trials
from mail6m.storage.whitelist import Whitelist
from mail6m.turn import Turn
from mail6m.web.accounts import AccountPages
from mail6m.web.activity import ActivityPages
from mail6m.web.api.discs import DiscOperations
from mail6m.web.api.gate import Api
from mail6m.web.api.invoices import InvoiceOperations
from mail6m.web.api.messages import MessageOperations
from mail6m.web.api.queue import QueueOperations
from mail6m.web.api.token import TokenOperations
from mail6m.web.api.usage import UsageOperations
from mail6m.web.cabinet import CabinetPages
from mail6m.web.cellar import CellarPages
from mail6m.web.discs import DiscPages
from mail6m.web.domains import DomainPages
from mail6m.web.forgotten import ForgottenPages
from mail6m.web.guard import Guard, Network
from mail6m.web.invoices import InvoicePages
from mail6m.web.keys import KeyPages
from mail6m.web.leaving import LeavingPages
from mail6m.web.operator.accounts import OperatorAccountPages
from mail6m.web.operator.archivist import OperatorArchivistPages
from mail6m.web.operator.customers import CustomerPages, Files
from mail6m.web.operator.discs import OperatorDiscPages
from mail6m.web.operator.invoices import HouseInvoicePages
from mail6m.web.operator.journal import JournalPages
from mail6m.web.operator.notices import NoticePages
from mail6m.web.operator.overview import OverviewPages
from mail6m.web.operator.payments import PaymentPages
from mail6m.web.operator.queue import OperatorQueuePages
from mail6m.web.operator.signups import OperatorSignUpPages
from mail6m.web.operator.tariffs import TariffPages
from mail6m.web.preferences import PreferencesPages
from mail6m.web.public import PublicPages
from mail6m.web.queue import QueuePages
from mail6m.web.render import Renderer
from mail6m.web.security import SecurityPages
from mail6m.web.signin import SignInPages
from mail6m.web.signup import SignUpPages
from mail6m.web.start import StartPages
from mail6m.web.unsubscribing import UnsubscribingPages
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
    KeyPages,
    PublicPages,
    SignUpPages,
    OperatorSignUpPages,
    StartPages,
    OperatorQueuePages,
    OperatorDiscPages,
    OperatorArchivistPages,
    CustomerPages,
    JournalPages,
    OperatorAccountPages,
    UnsubscribingPages,
    NoticePages,
    TariffPages,
)
"""The groups of pages that `console` makes, in its order and in that of docs/console-routes.md."""

OPERATIONS: tuple[type, ...] = (
    MessageOperations,
    UsageOperations,
    QueueOperations,
    DiscOperations,
    InvoiceOperations,
    TokenOperations,
)
"""The groups of operations of the API, in the order of docs/api.md."""


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
    api_rate: int
    """Requests a minute of one key of the API."""
    signup: Mode
    hosted_by: str
    """Who hosts the public pages; empty: whoever edits them."""
    overview: Overview
    backlog: BacklogTable
    giving_up: GivingUp
    disc_writing: DiscWriting


def console(parts: Parts) -> tuple[Guard, list[object], Api]:
    """The guard, the pages behind it, and the API beside them."""
    sessions = Sessions(parts.pool, parts.session_idle, parts.session_lifetime)
    accounts, audit = Accounts(parts.pool), Audit(parts.pool)
    passwords = Passwords(parts.in_thread)
    signin = SignIn(accounts, sessions, audit, passwords, parts.keyring, parts.clock)
    security = Security(signin, accounts, sessions, passwords, parts.keyring, parts.clock)
    renderer = Renderer(__version__)
    wishes = subscriptions(parts.pool, parts.keyring)
    notices = Notices(parts.letters, renderer, parts.console_url, parts.clock, wishes)
    links = PasswordLinks(accounts, passwords, notices)
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
    claims, tokens = Claims(parts.pool), Tokens(parts.pool)
    declarations = Declarations(parts.reactor, parts.domains, claims, parts.resolver, ours)
    trial = Trial(parts.reactor, parts.demands, parts.hostname, ours)
    trials = Trials(parts.pool)
    showcase = Showcase(tariffs, sellers, parts.clock)
    signup = SignUp(
        parts.signup,
        Signups(parts.pool),
        Customers(parts.pool),
        accounts,
        signin,
        passwords,
        parts.keyring,
        parts.letters,
        renderer,
        parts.console_url,
    )

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
            trials,
        ),
        WhitelistPages(whitelist),
        PreferencesPages(
            PreferencesTable(parts.pool),
            plans,
            PlanChanges(plans, contracts, parts.clock),
            renderer.words,
            wishes,
        ),
        LeavingPages(parts.exporter, parts.ending, Customers(parts.pool), security, audit),
        ActivityPages(audit, parts.cabinet),
        OverviewPages(parts.overview),
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
        KeyPages(tokens),
        PublicPages(
            showcase,
            parts.mx_names,
            f"postmaster@{parts.hostname}",
            parts.hosted_by,
            parts.console_url,
        ),
        SignUpPages(signup, showcase),
        OperatorSignUpPages(signup),
        StartPages(declarations, trial, trials, audit, parts.cabinet, parts.mx_names),
        OperatorQueuePages(parts.backlog, parts.deliveries, parts.giving_up),
        OperatorDiscPages(
            parts.discs,
            parts.disc_life,
            parts.disc_writing,
            Customers(parts.pool),
            PreferencesTable(parts.pool),
            parts.in_thread,
        ),
        OperatorArchivistPages(parts.archivist, Customers(parts.pool)),
        CustomerPages(
            Files(
                Clientele(parts.pool),
                PreferencesTable(parts.pool),
                plans,
                parts.domains,
                claims,
                accounts,
                parts.discs,
                parts.deliveries,
                audit,
            ),
            PlanChanges(plans, contracts, parts.clock),
            Agreements(contracts, parts.clock),
            parts.ending,
            sessions,
        ),
        JournalPages(audit, parts.in_thread),
        OperatorAccountPages(accounts, links),
        UnsubscribingPages(wishes),
        NoticePages(notices, parts.letters, audit),
        TariffPages(tariffs, sellers),
    ]
    api = Api(
        tokens,
        [
            MessageOperations(parts.cabinet, parts.archive, parts.deliveries, reissue),
            UsageOperations(Customers(parts.pool)),
            QueueOperations(parts.deliveries),
            DiscOperations(parts.discs),
            InvoiceOperations(Invoices(parts.pool), DocumentTable(parts.pool)),
            TokenOperations(parts.api_rate),
        ],
        __version__,
        parts.api_rate,
        parts.turn,
        parts.reactor.seconds,
        guard.client,
    )
    return guard, pages, api
