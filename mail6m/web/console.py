"""The console, put together: its guard, and a group of pages for each line of the menu."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.abstract import isIPAddress, isIPv6Address

from mail6m import __version__
from mail6m.access.links import PasswordLinks
from mail6m.access.passwords import InThread, Passwords
from mail6m.access.security import Security
from mail6m.access.signin import SignIn
from mail6m.access.signup import Mode, SignUp
from mail6m.billing.business import Business
from mail6m.billing.checkout import Checkout
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
from mail6m.settings import Settings
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
from mail6m.storage.customers import Customers
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.discs import Discs
from mail6m.storage.domains import Domains
from mail6m.storage.plans import Plans
from mail6m.storage.pool import Pool
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.recipients import Recipients
from mail6m.storage.sessions import Sessions
from mail6m.storage.signups import Signups
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
from mail6m.web.guard import Guard
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
    *(PublicPages, SignUpPages, SignInPages, ForgottenPages, UnsubscribingPages),
    *(SecurityPages, AccountPages, KeyPages),
    *(StartPages, DomainPages, WhitelistPages, QueuePages),
    *(CabinetPages, CellarPages, DiscPages, ActivityPages),
    *(PreferencesPages, InvoicePages, LeavingPages),
    *(OverviewPages, OperatorQueuePages, OperatorDiscPages, OperatorArchivistPages),
    *(OperatorSignUpPages, CustomerPages, OperatorAccountPages, JournalPages, NoticePages),
    *(HouseInvoicePages, PaymentPages, TariffPages),
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

    settings: Settings
    reactor: Any
    turn: Turn
    clock: Callable[[], datetime]
    in_thread: InThread
    console_url: Callable[[], str]
    """Scheme and host that the console is reached by from outside; nothing if not known."""

    pool: Pool
    keyring: Keyring
    letters: Letters

    domains: Domains
    directory: Directory
    resolver: Resolver
    demands: Demands

    archive: Archive
    deliveries: Deliveries
    lessons: Lessons
    preferences: PreferencesTable
    cabinet: Cabinet
    cellar: Cellar
    archivist: Archivist
    discs: Discs
    disc_life: DiscLife
    exporter: Exporter
    ending: Ending

    business: Business
    checkout: Checkout | None
    """Takes payments by PayPal; None: customers pay otherwise."""

    overview: Overview
    backlog: BacklogTable
    giving_up: GivingUp
    disc_writing: DiscWriting


class _Entrance:
    """Who may come in, and as whom; who may become somebody."""

    def __init__(self, parts: Parts) -> None:
        pool, settings = parts.pool, parts.settings
        self.accounts, self.audit, self.tokens = Accounts(pool), Audit(pool), Tokens(pool)
        self.sessions = Sessions(pool, settings.session_idle, settings.session_lifetime)
        passwords = Passwords(parts.in_thread)
        self.signin = SignIn(
            self.accounts, self.sessions, self.audit, passwords, parts.keyring, parts.clock
        )
        self.security = Security(
            self.signin, self.accounts, self.sessions, passwords, parts.keyring, parts.clock
        )
        self.renderer = Renderer(__version__)
        self.wishes = subscriptions(pool, parts.keyring)
        self.notices = Notices(
            parts.letters, self.renderer, parts.console_url, parts.clock, self.wishes
        )
        self.links = PasswordLinks(self.accounts, passwords, self.notices)
        self.customers = Customers(pool)
        self.signup = SignUp(
            Mode(settings.signup),
            Signups(pool),
            self.customers,
            self.accounts,
            self.signin,
            passwords,
            parts.keyring,
            parts.letters,
            self.renderer,
            parts.console_url,
        )
        self.guard = Guard(
            self.sessions,
            self.renderer,
            parts.keyring.secret("console forms"),
            [ip_network(network) for network in settings.trusted_proxy],
            parts.clock,
            parts.turn,
        )


class _Shared:
    """What several groups of pages share of a customer's things, each made once."""

    def __init__(self, parts: Parts) -> None:
        pool, settings = parts.pool, parts.settings
        ours = [settings.hostname, *settings.mx_names]
        self.claims, self.trials = Claims(pool), Trials(pool)
        self.declarations = Declarations(
            parts.reactor, parts.domains, self.claims, parts.resolver, ours
        )
        self.trial = Trial(parts.reactor, parts.demands, settings.hostname, ours)
        self.whitelist = Whitelist(pool)
        self.reissue = Reissue(parts.directory, parts.deliveries)
        self.plans = Plans(pool)
        self.plan_changes = PlanChanges(self.plans, parts.business.contracts, parts.clock)


def console(parts: Parts) -> tuple[Guard, list[object], Api]:
    """The guard, the pages behind it, and the API beside them."""
    entrance, shared = _Entrance(parts), _Shared(parts)
    pages = [
        *_of_everybody(parts, entrance),
        *_of_accounts(entrance),
        *_of_mail(parts, entrance, shared),
        *_of_contracts(parts, entrance, shared),
        *_of_operators(parts, entrance, shared),
        *_of_bookkeepers(parts),
    ]
    return entrance.guard, pages, _api(parts, entrance, shared)


def _of_everybody(parts: Parts, entrance: _Entrance) -> list[object]:
    """Strangers' pages, too."""
    settings, showcase = parts.settings, parts.business.showcase
    return [
        PublicPages(
            showcase,
            settings.mx_names,
            f"postmaster@{settings.hostname}",
            settings.hosted_by or "",
            parts.console_url,
        ),
        SignUpPages(entrance.signup, showcase),
        SignInPages(entrance.signin, entrance.sessions),
        ForgottenPages(entrance.links),
        UnsubscribingPages(entrance.wishes),
    ]


def _of_accounts(entrance: _Entrance) -> list[object]:
    """One's own account, and the customer's others."""
    return [
        SecurityPages(entrance.security, entrance.accounts, entrance.sessions),
        AccountPages(entrance.accounts, entrance.links),
        KeyPages(entrance.tokens),
    ]


def _of_mail(parts: Parts, entrance: _Entrance, shared: _Shared) -> list[object]:
    """What a customer's mail goes through, and where it is."""
    mx_names = parts.settings.mx_names

    def console_name() -> str:
        hostname = parts.settings.hostname
        name = urlsplit(parts.console_url()).hostname or hostname
        return hostname if isIPAddress(name) or isIPv6Address(name) else name

    return [
        StartPages(
            shared.declarations,
            shared.trial,
            shared.trials,
            entrance.audit,
            parts.cabinet,
            mx_names,
        ),
        DomainPages(
            shared.declarations,
            shared.trial,
            entrance.audit,
            Recipients(parts.pool),
            mx_names,
            console_name,
            shared.trials,
        ),
        WhitelistPages(shared.whitelist),
        QueuePages(parts.deliveries),
        CabinetPages(
            parts.cabinet,
            parts.archive,
            parts.deliveries,
            shared.reissue,
            parts.lessons,
            shared.whitelist,
            parts.domains,
            mx_names,
        ),
        CellarPages(parts.cellar, parts.archivist),
        DiscPages(parts.discs, parts.disc_life, parts.business.tariffs),
        ActivityPages(entrance.audit, parts.cabinet),
    ]


def _of_contracts(parts: Parts, entrance: _Entrance, shared: _Shared) -> list[object]:
    """What a customer has agreed to, pays, and ends."""
    business = parts.business
    return [
        PreferencesPages(
            parts.preferences,
            shared.plans,
            shared.plan_changes,
            entrance.renderer.words,
            entrance.wishes,
        ),
        InvoicePages(business.invoices, business.payments, business.pdfs, parts.checkout),
        LeavingPages(
            parts.exporter, parts.ending, entrance.customers, entrance.security, entrance.audit
        ),
    ]


def _of_operators(parts: Parts, entrance: _Entrance, shared: _Shared) -> list[object]:
    """The house's customers, machines and people."""
    return [
        OverviewPages(parts.overview),
        OperatorQueuePages(parts.backlog, parts.deliveries, parts.giving_up),
        OperatorDiscPages(
            parts.discs,
            parts.disc_life,
            parts.disc_writing,
            entrance.customers,
            parts.preferences,
            parts.in_thread,
        ),
        OperatorArchivistPages(parts.archivist, entrance.customers),
        OperatorSignUpPages(entrance.signup),
        CustomerPages(
            Files(
                Clientele(parts.pool),
                parts.preferences,
                shared.plans,
                parts.domains,
                shared.claims,
                entrance.accounts,
                parts.discs,
                parts.deliveries,
                entrance.audit,
            ),
            shared.plan_changes,
            parts.business.agreements,
            parts.ending,
            entrance.sessions,
        ),
        OperatorAccountPages(entrance.accounts, entrance.links),
        JournalPages(entrance.audit, parts.in_thread),
        NoticePages(entrance.notices, parts.letters, entrance.audit),
    ]


def _of_bookkeepers(parts: Parts) -> list[object]:
    """The house's money."""
    business = parts.business
    return [
        HouseInvoicePages(
            business.ledger,
            business.invoices,
            business.payments,
            business.pdfs,
            business.bookkeeping,
            business.credit_notes,
        ),
        PaymentPages(business.payments, business.bookkeeping),
        TariffPages(business.tariffs, business.sellers),
    ]


def _api(parts: Parts, entrance: _Entrance, shared: _Shared) -> Api:
    """What customers' programs may ask for."""
    rate = parts.settings.api_rate
    operations: list[object] = [
        MessageOperations(parts.cabinet, parts.archive, parts.deliveries, shared.reissue),
        UsageOperations(entrance.customers),
        QueueOperations(parts.deliveries),
        DiscOperations(parts.discs),
        InvoiceOperations(parts.business.invoices, parts.business.pdfs),
        TokenOperations(rate),
    ]
    return Api(
        entrance.tokens,
        operations,
        __version__,
        rate,
        parts.turn,
        parts.reactor.seconds,
        entrance.guard.client,
    )
