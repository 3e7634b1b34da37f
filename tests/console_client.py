"""A browser without a screen, and the whole console on a real PostgreSQL for it to look at."""

from __future__ import annotations

import http.client
import itertools
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from functools import cache, partial
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import urlencode
from uuid import UUID

import psycopg2
import pyotp
from argon2 import PasswordHasher
from prometheus_client import CollectorRegistry
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread, deferToThreadPool

from mail6m.access.signin import new_token, token_hash, totp_owner
from mail6m.access.signup import Mode
from mail6m.access.tokens import api_token_hash, new_api_token
from mail6m.billing.business import Business
from mail6m.billing.checkout import Checkout
from mail6m.billing.invoice import Party
from mail6m.billing.paypal import Order, Terms
from mail6m.delivery.demands import Demands
from mail6m.delivery.giving_up import GivingUp
from mail6m.directory import Directory
from mail6m.guard.lessons import Lessons
from mail6m.model import HOUSE, Role, Scope, Summary
from mail6m.oversight.overview import Overview
from mail6m.published import Policies
from mail6m.reader import Reader
from mail6m.seal import Keyring
from mail6m.settings import Settings
from mail6m.shelves.archivist import Archivist
from mail6m.shelves.cabinet import Cabinet
from mail6m.shelves.cellar import Cellar
from mail6m.shelves.closing import Ending
from mail6m.shelves.disc.names import new_serial
from mail6m.shelves.discs import DiscLife
from mail6m.shelves.exports import Exporter
from mail6m.shelves.indexer import Indexer
from mail6m.shelves.writing import DiscWriting
from mail6m.storage.archive import Archive
from mail6m.storage.archivist import Requests
from mail6m.storage.audit import Audit
from mail6m.storage.backlog import BacklogTable
from mail6m.storage.blocking import Blocking
from mail6m.storage.catalogue import Catalogue
from mail6m.storage.closings import Closings
from mail6m.storage.customers import Customers
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.discs import Discs
from mail6m.storage.domains import Domains
from mail6m.storage.exports import Exports
from mail6m.storage.health import Health
from mail6m.storage.measures import Measures
from mail6m.storage.paypal import PayPalOrders
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.servers import Servers
from mail6m.storage.shelves import Shelves
from mail6m.turn import Turn
from mail6m.web.app import Web
from mail6m.web.console import Parts, console
from mail6m.web.guard import Guard
from mail6m.web.routes import Access, Route
from tests.billed import drafted, issued
from tests.carried import trusted
from tests.reactor_thread import run, the_reactor
from tests.stored import NOON, NOWHERE, new_message, new_pool
from tests.zone import Told

PASSWORD = "tiroir-malle-armoire"
"""Every account's."""
NEW_PASSWORD = "cave-archiviste-DVD-2005"
MASTER = bytes(range(32, 64))

_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


# The console


class Letterbox:
    """Where the console's letters go (as `mail6m.letters.Letters`)."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, Any]] = []

    async def send(self, customer: int, to: str, letter: Any) -> None:
        """Keep it."""
        self.letters.append((to, letter))


class Pupil:
    """Who is taught what is spam (as `mail6m.guard.antispam.Antispam`)."""

    def __init__(self) -> None:
        self.learnt: list[tuple[bytes, bool]] = []

    async def learn(self, content: AsyncIterator[bytes], spam: bool) -> None:
        """Keep it."""
        self.learnt.append((b"".join([piece async for piece in content]), spam))


class Cashier:
    """Who takes payments by PayPal (as `mail6m.billing.paypal.PayPal`); nobody agrees to any."""

    site = "https://www.paypal.test"

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}

    async def create(self, request_id: str, terms: Terms) -> Order:
        """An order that waits for its payer."""
        order_id = f"ORDER{next(_numbers)}"
        approve = f"{self.site}/checkoutnow?token={order_id}"
        self.orders[order_id] = Order(
            order_id, "PAYER_ACTION_REQUIRED", terms.custom, terms.amount, (), approve
        )
        return self.orders[order_id]

    async def order(self, order_id: str) -> Order:
        """As it stands; one that is in the database alone waits, too."""
        waiting = Order(order_id, "PAYER_ACTION_REQUIRED", "", None, (), "")
        return self.orders.get(order_id, waiting)

    async def verifies(self, fields: Any, event: bytes) -> bool:
        """Nothing is PayPal's."""
        return False


@dataclass
class Console:
    """A console that listens on a loopback port."""

    dsn: str
    port: int
    guard: Guard
    web: Web
    indexer: Indexer
    archive: Archive
    exporter: Exporter
    letterbox: Letterbox
    pupil: Pupil
    database: Any
    """A connection of the test's own."""
    pages: Sequence[object] = ()
    """The groups of pages that there are."""

    def ask(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement."""
        with self.database.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description is not None else []

    def browser(self, **headers: str) -> Browser:
        """A new browser; ``headers`` go with each of its requests."""
        return Browser(self.port, {name.replace("_", "-"): headers[name] for name in headers})

    def catch_up(self) -> None:
        """Write what a search would write, so that it changes nothing any more."""
        run(self.indexer.catch_up)


@contextmanager
def listening(
    dsn: str,
    *,
    proxies: Sequence[str] = (),
    more_pages: Sequence[object] = (),
    resolver: Any = None,
    cashier: Any = None,
    idle: float = 3_600.0,
    lifetime: float = 43_200.0,
    api_rate: int = 100_000,
    signup: Mode = Mode.OPEN,
) -> Iterator[Console]:
    """The console on a database."""
    reactor = the_reactor()
    with new_pool(dsn, 4, 10.0) as pool:
        keyring, domains, customers = Keyring(MASTER), Domains(pool), Customers(pool)
        catalogue, archive = Catalogue(pool), Archive(pool, dsn, 10.0)
        indexer, letterbox, pupil = Indexer(reactor, catalogue), Letterbox(), Pupil()
        blocking = Blocking(dsn, 10.0)
        directory = Directory(reactor, domains, customers, keyring, "mail6m.test", None)
        in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        business = Business(pool, in_thread, lambda: datetime.now(UTC))
        settings = Settings(
            hostname="mail6m.test",
            mx=("mx1.mail6m.test", "mx2.mail6m.test"),
            trusted_proxy=tuple(proxies),
            session_idle=idle,
            session_lifetime=lifetime,
            api_rate=api_rate,
            signup=signup,
        )
        available: dict[str, Any] = {
            "settings": settings,
            "pool": pool,
            "reactor": reactor,
            "turn": Turn(reactor),
            "keyring": keyring,
            "domains": domains,
            "archive": archive,
            "deliveries": Deliveries(pool),
            "directory": directory,
            "cabinet": Cabinet(catalogue, indexer),
            "cellar": Cellar(Shelves(pool), customers, 4_700_000_000, lambda: datetime.now(UTC)),
            "archivist": Archivist(Requests(pool), catalogue, indexer, customers),
            "discs": Discs(pool),
            "disc_life": DiscLife(
                Discs(pool),
                Shelves(pool),
                customers,
                PreferencesTable(pool),
                directory,
                Path("/nonexistent"),
                dsn,
                4_700_000_000,
                deferToThread,
                reactor,
                lambda: datetime.now(UTC),
            ),
            "exporter": Exporter(
                Exports(pool), blocking, directory, PreferencesTable(pool), deferToThread, reactor
            ),
            "ending": Ending(Closings(pool), lambda: datetime.now(UTC)),
            "lessons": Lessons(archive, Reader(archive, directory), pupil, 2_000_000),
            "letters": letterbox,
            "console_url": lambda: "https://console.mail6m.test",
            "resolver": resolver or Told(),
            "demands": Demands(resolver or Told(), trusted()),
            "in_thread": in_thread,
            "clock": lambda: datetime.now(UTC),
            "business": business,
            "preferences": PreferencesTable(pool),
            "checkout": Checkout(
                cashier or Cashier(),
                PayPalOrders(pool),
                business.payments,
                business.invoices,
                lambda: "https://console.mail6m.test",
                lambda: datetime.now(UTC),
            ),
            "overview": Overview(
                reactor, Measures(pool), BacklogTable(pool), Health(pool), Discs(pool)
            ),
            "backlog": BacklogTable(pool),
            "giving_up": GivingUp(Deliveries(pool), Servers(pool), Audit(pool), _report),
        }
        available["disc_writing"] = DiscWriting(available["disc_life"])
        parts = Parts(**{one.name: available[one.name] for one in fields(Parts)})

        async def listen() -> tuple[Guard, list[object], Web, Any]:
            with patch("argon2.PasswordHasher", _quick_hasher):
                guard, pages, api = console(parts)
            policies = Policies(Clock(), domains, settings.mx_names)
            web = Web(
                CollectorRegistry(),
                _health,
                _measure,
                policies.served,
                guard,
                [*pages, *more_pages],
                api,
                available["checkout"].notified,
            )
            return guard, pages, web, reactor.listenTCP(0, web.site(), interface="127.0.0.1")

        guard, pages, web, port = run(listen)
        database = None
        if dsn != NOWHERE:
            database = psycopg2.connect(dsn)
            database.autocommit = True
        try:
            yield Console(
                dsn,
                port.getHost().port,
                guard,
                web,
                indexer,
                archive,
                available["exporter"],
                letterbox,
                pupil,
                database,
                pages,
            )
        finally:
            if database is not None:
                database.close()

            async def close() -> None:
                await (port.stopListening() or succeed(None))

            run(close)
            archive.close()
            blocking.close()


async def _report(consignment: Any, action: str, items: Any) -> None:
    """A bounce goes nowhere (as `mail6m.delivery.reports.Report`)."""


async def _health() -> dict[str, Any]:
    return {"ok": True}


async def _measure() -> None:
    pass


# The browser


class Page(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    cookies: list[str]
    """Set-Cookie fields."""
    body: bytes

    @property
    def text(self) -> str:
        """What somebody reads, its entities resolved, and every space a plain one."""
        return unescape(self.body.decode("utf-8", "replace")).replace("\u00a0", " ")

    @property
    def location(self) -> str:
        """Where it leads to."""
        return self.headers.get("location", "")


_BOUNDARY = "----0123456789abcdef"


def _part(name: str, value: Any) -> bytes:
    """A field of a form that has files (RFC 7578)."""
    file = '; filename="a.csv"\r\nContent-Type: text/csv' if isinstance(value, bytes) else ""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + (value if file else value.encode()) + b"\r\n"


class Browser:
    """Keeps cookies, and remembers the CSRF token of the last page that had one."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self.port = port
        self.headers = headers
        self.cookies: dict[str, str] = {}
        self.token = ""

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Page:
        """One request, as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = self.headers | (headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            read = response.read()
        finally:
            connection.close()
        page = Page(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            [value for name, value in response.getheaders() if name.lower() == "set-cookie"],
            read,
        )
        for cookie in page.cookies:
            self._keep(cookie)
        if found := _TOKEN.search(read.decode("utf-8", "replace")):
            self.token = unescape(found[1])
        return page

    def _keep(self, cookie: str) -> None:
        pair, *attributes = (part.strip() for part in cookie.split(";"))
        name, _, value = pair.partition("=")
        if not value or "Max-Age=0" in attributes:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value

    def get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Page:
        """Look at a page."""
        return self.request("GET", path + ("?" + urlencode(query) if query else ""))

    def post(
        self,
        path: str,
        form: Sequence[tuple[str, Any]] = (),
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Page:
        """Send a form, with the token that a page of ours has, or with another or none ("").

        Octets are a file's.
        """
        if token is None:
            token = self.any_token()
        typed = [*form, ("csrf", token)] if token else form
        if any(isinstance(value, bytes) for _, value in typed):
            body = b"".join(_part(*one) for one in typed) + f"--{_BOUNDARY}--\r\n".encode()
            kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
            return self.request("POST", path, body, kind | (headers or {}))
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, urlencode(typed).encode(), kind | (headers or {}))

    def any_token(self) -> str:
        """A token that holds for every form of this browser's now."""
        page = self.get("/connexion")
        for _ in range(2):  # it has a session; and an operator may have to turn on the factor
            if page.status == 303:
                page = self.get(page.location)
        while page.status == 303:  # it has a session
            page = self.get(page.location)
        return self.token

    def sign_in(self, email: str, password: str = PASSWORD, then: str = "") -> Page:
        """Through the form."""
        self.get("/connexion")
        form = [("email", email), ("password", password), ("suite", then)]
        return self.post("/connexion", form, token=self.token)

    def enter_for(self, at: Console, route: Route, house: House) -> None:
        """Have a session of somebody who may do all that is behind a route."""
        if route.access.of_house:
            self.enter(at, new_operator(at))
        else:
            self.enter(at, house.admin, complete=route.access is not Access.HALFWAY)

    def enter(self, at: Console, account: tuple[int, int], *, complete: bool = True) -> int:
        """Have a session without the form; its number."""
        token = new_token()
        self.cookies["mail6m-session"] = token
        return new_session(at, account, token, complete=complete)


# Two customers and what they have


@cache
def password_hash() -> str:
    """What is stored of `PASSWORD`."""
    return _quick_hasher().hash(PASSWORD)


def _quick_hasher() -> PasswordHasher:
    """As in production, but its hashes cost next to nothing."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def new_session(at: Console, account: tuple[int, int], token: str, *, complete: bool = True) -> int:
    """A session of an account's; its number."""
    [[number]] = at.ask(
        "INSERT INTO session (token_hash, customer_id, account_id, complete, client_address,"
        " user_agent) VALUES (%s, %s, %s, %s, '192.0.2.44', 'Firefox') RETURNING session_id",
        token_hash(token),
        *account,
        complete,
    )
    return int(number)


@dataclass(frozen=True)
class House:
    """A customer with something of everything; nobody else's has its word in it."""

    word: str
    number: int
    company: str
    domain: str
    claim: str
    listed: str
    """Its entry in the white list."""
    admin: tuple[int, int]
    reader: tuple[int, int]
    invited: tuple[int, int]
    """Who has no password yet."""
    colleague: tuple[int, int]
    """One of those who run Mail6M, who looks and does nothing, and has no password yet."""
    admin_email: str
    reader_email: str
    invited_email: str
    session: int
    """A session of the administrator's that nobody uses."""
    letter: str
    """The token of a letter to the reader."""
    disc: str
    """The serial number of one that is on its way."""
    key: str
    """A key of the API that may do everything."""
    key_number: int
    request: int
    """What it has asked the archivist for."""
    file: str
    """The name of one of all its mail, of which there is none."""
    invoice: str
    """The number of one that is to be paid."""
    payment: int
    """Of a part of it."""
    entry: str
    """Of a statement, which waits; and one that was put aside is called ``…-aside``."""
    order: str
    """PayPal's, which nobody has agreed to."""
    signup: str
    """The token of a letter to somebody who wants to be a customer as well."""
    waiting: int
    """The number of another one, who waits for an operator."""
    messages: list[UUID]
    deliveries: list[str] = field(default_factory=list)
    """As `Delivery.id` writes them."""
    secrets: list[str] = field(default_factory=list)
    """What no other customer may read anywhere."""


_numbers = itertools.count(1)


def new_house(at: Console) -> House:
    """A customer in the database of a console."""
    word = f"mot{next(_numbers)}z"
    [[number]] = at.ask("SELECT nextval('customer_number')::integer")
    key = Keyring(MASTER).new_wrapped_key(number)
    company, domain = f"Société {word}", f"{word}.example.org"
    at.ask(
        "INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)"
        " VALUES (%s, %s, 'tiroir', 2000000000, %s)",
        number,
        company,
        key,
    )
    at.ask(
        "INSERT INTO preferences (customer_id, last_name, first_name, phone, email, address, city,"
        " cabinet_rows) VALUES (%s, %s, %s, %s, %s, %s, %s, 2)",
        number,
        *(f"{part}-{word}" for part in ("nom", "prenom", "tel")),
        f"contact@{domain}",
        *(f"{part}-{word}" for part in ("rue", "ville")),
    )
    emails = [f"{name}@{domain}" for name in ("georges", "lucie", "paul")]
    accounts = [
        (
            number,
            at.ask(
                "INSERT INTO account (customer_id, email, role, password_hash)"
                " VALUES (%s, %s, %s, %s) RETURNING account_id",
                number,
                email,
                role,
                None if email.startswith("paul") else password_hash(),
            )[0][0],
        )
        for email, role in zip(emails, ("administrator", "reader", "reader"), strict=True)
    ]
    at.ask("INSERT INTO domain VALUES (%s, %s, '{127.0.0.1:9}')", number, domain)
    claim, listed, letter = f"claim-{word}.example.net", f"ami-{word}.example.net", new_token()
    at.ask(
        "INSERT INTO domain_claim (customer_id, name, token, hosts, tls)"
        " VALUES (%s, %s, %s, '{127.0.0.1:9}', 'opportunistic')",
        number,
        claim,
        f"jeton-{word}",
    )
    at.ask("INSERT INTO whitelist (customer_id, domain) VALUES (%s, %s)", number, listed)
    recipient = f"destinataire-{word}"
    at.ask("INSERT INTO listed_recipient VALUES (%s, %s, %s)", number, domain, recipient)
    at.ask("UPDATE domain SET listed = 1, listed_at = now() WHERE name = %s", domain)
    at.ask(
        "INSERT INTO recipient_verdict (customer_id, domain, local_part, taken, expires_at)"
        " VALUES (%s, %s, %s, true, now() + interval '1 day')",
        number, domain, recipient,
    )  # fmt: skip
    at.ask("INSERT INTO recipient_probe VALUES (%s, %s, 'taken', '250 Ok')", number, domain)
    at.ask(
        "INSERT INTO password_token (token_hash, customer_id, account_id, expires_at)"
        " VALUES (%s, %s, %s, now() + interval '1 hour')",
        token_hash(letter),
        *accounts[1],
    )
    at.ask(
        "INSERT INTO audit (customer_id, account, client_address, act, object)"
        " VALUES (%s, %s, '192.0.2.9', 'whitelist entry added', %s)",
        number,
        emails[0],
        f"objet-{word}",
    )
    messages = [
        new_message(
            number,
            milliseconds=NOON + position * 60_000,
            sender=f"anne{position}@expediteur-{word}.example",
            recipients=(f"marie{position}@{domain}",),
            destination=domain,
            summary=Summary(
                f"Anne {word} <anne@expediteur-{word}.example>",
                f"Marie <marie{position}@{domain}>",
                f"Sujet {position} {word}",
                f"<{position}@{word}.example>",
            ),
        )
        for position in range(5)
    ]
    run(lambda: at.archive.store(messages, 0))
    at.ask(
        "UPDATE delivery SET last_reply = %s, attempts = 3,"
        " next_attempt_at = now() + interval '1 hour' WHERE customer_id = %s",
        f"451 reponse-{word}",
        number,
    )
    disc = new_serial()
    at.ask(
        "INSERT INTO disc (customer_id, serial, state, written_at, shipped_at, messages, first_at,"
        " last_at, image_size, manifest_sha256)"
        " VALUES (%s, %s, 'shipped', now(), now(), 7, now(), now(), 4096, %s)",
        *(number, disc, token_hash(disc)),
    )
    [[asked]] = at.ask(
        "INSERT INTO export (customer_id, format, wanted, ready_at, sha256)"
        " VALUES (%s, 'mbox', 0, now(), %s) RETURNING asked_at",
        *(number, token_hash(word)),
    )
    invoice, payment, entry, order = new_invoice(at, number, word)
    key, key_number = new_key(at, number, word)
    [[request]] = at.ask(
        "INSERT INTO archivist_request (customer_id, account, sender, recipient, subject, reason)"
        " VALUES (%s, %s, '', '', %s, %s) RETURNING request_id",
        *(number, emails[0], f"demande-{word}", f"raison-{word}"),
    )
    at.ask(
        "INSERT INTO contract_plan (customer_id, since, plan, capacity)"
        " VALUES (%s, '2026-01-15', 'tiroir', 2000000000)",
        number,
    )
    colleague = new_operator(at, Role.OBSERVER)
    at.ask("UPDATE account SET password_hash = NULL WHERE account_id = %s", colleague[1])
    session = new_session(at, accounts[0], new_token())
    at.ask(
        "UPDATE session SET user_agent = %s WHERE session_id = %s",
        f"Firefox-{word}",
        session,
    )
    signup, waiting = (new_signup(at, f"{who}@inscrit-{word}.example") for who in ("un", "deux"))
    at.ask("UPDATE signup SET confirmed_at = now() WHERE signup_id = %s", waiting[1])
    at.catch_up()
    return House(
        word=word,
        number=number,
        company=company,
        domain=domain,
        claim=claim,
        listed=listed,
        admin=accounts[0],
        reader=accounts[1],
        invited=accounts[2],
        colleague=colleague,
        admin_email=emails[0],
        reader_email=emails[1],
        invited_email=emails[2],
        session=session,
        letter=letter,
        disc=disc,
        key=key,
        key_number=key_number,
        request=request,
        file=f"mail6m-{number}-{asked.astimezone(UTC):%Y-%m-%d-%Hh%Mm%S}.mbox",
        invoice=invoice,
        payment=payment,
        entry=entry,
        order=order,
        signup=signup[0],
        waiting=waiting[1],
        messages=[message.id for message in messages],
        deliveries=[f"{number}-{message.id}-0" for message in messages],
        secrets=[
            company, *emails, listed, claim, f"jeton-{word}", f"objet-{word}", f"nom-{word}",
            f"prenom-{word}", f"tel-{word}", f"rue-{word}", f"ville-{word}", f"contact@{domain}",
            recipient, f"expediteur-{word}", f"marie0@{domain}", f"Sujet 0 {word}",
            f"0@{word}.example", disc, f"cheque-{word}", f"payeur-{word}", order, entry, key,
            f"cle-{word}", invoice, f"demande-{word}", f"raison-{word}",
            f"reponse-{word}", f"Firefox-{word}", letter, domain, word,
            recipient,
            f"expediteur-{word}", f"marie0@{domain}", f"Sujet 0 {word}", f"0@{word}.example",
            disc, f"reponse-{word}", f"Firefox-{word}", letter, domain, word,
        ],
    )  # fmt: skip


def new_invoice(at: Console, customer: int, word: str) -> tuple[str, int, str, str]:
    """An invoice with its PDF, a payment of a part, and what may be of it; `House` says what."""
    buyer = Party(f"Société {word}", f"rue-{word}", "59110", f"ville-{word}", "FR")
    draft = drafted(customer, 4000, date(2026, 10, 1), buyer)
    number = issued(at.ask, draft, b"%PDF-1.7 " + word.encode())
    [[payment]] = at.ask(
        "INSERT INTO payment (customer_id, number, received_on, amount, method, reference,"
        " recorded_by) VALUES (%s, %s, '2026-11-02', 1000, 'cheque', %s, 'compta@mail6m.test')"
        " RETURNING payment_id",
        *(customer, number, f"cheque-{word}"),
    )
    for entry, aside in ((f"csv:{word}", None), (f"csv:{word}-aside", "Assurance")):
        at.ask(
            "INSERT INTO statement_entry (source, booked_on, amount, name, text, reference,"
            " verdict, named, aside, imported_by)"
            " VALUES (%s, '2026-11-02', 5000, %s, 'merci', '', 'unknown', '{}', %s, 'compta')",
            *(entry, f"payeur-{word}", aside),
        )
    order = f"ORDER-{word}"
    at.ask(
        "INSERT INTO paypal_order VALUES (%s, %s, %s, 11000, 'georges')", customer, order, number
    )
    return number, int(payment), f"csv:{word}", order


def new_key(
    at: Console, customer: int, word: str = "", scopes: Sequence[str] = tuple(Scope)
) -> tuple[str, int]:
    """A key of the API, and its number."""
    key = new_api_token()
    [[number]] = at.ask(
        "INSERT INTO api_token (customer_id, token_hash, name, scopes, created_by, account_id)"
        " VALUES (%s, %s, %s, %s, 'georges@duchemin.fr', (SELECT min(account_id) FROM account"
        " WHERE customer_id = %s AND role = 'administrator')) RETURNING token_id",
        customer, api_token_hash(key), f"cle-{word}", list(scopes), customer,
    )  # fmt: skip
    return key, int(number)


def new_operator(
    at: Console, role: Role = Role.OPERATOR, *, factor: bool = True
) -> tuple[int, int]:
    """One of those who run Mail6M, with a second factor if nothing else is said."""
    key = Keyring(MASTER).new_wrapped_key(HOUSE)
    at.ask(
        "INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)"
        " VALUES (0, 'Mail6M', 'dedicated', 9223372036854775807, %s) ON CONFLICT DO NOTHING",
        key,
    )
    at.ask("INSERT INTO preferences (customer_id) VALUES (0) ON CONFLICT DO NOTHING")
    [[account]] = at.ask(
        "INSERT INTO account (customer_id, email, role, password_hash) VALUES (0, %s, %s, %s)"
        " RETURNING account_id",
        f"{role}{next(_numbers)}@mail6m.test",
        role,
        password_hash(),
    )
    if factor:
        keyring = Keyring(MASTER)
        secret = keyring.wrap(totp_owner(HOUSE, account), pyotp.random_base32().encode())
        at.ask("UPDATE account SET totp_secret = %s WHERE account_id = %s", secret, account)
    return HOUSE, int(account)


def new_signup(at: Console, email: str) -> tuple[str, int]:
    """Somebody who wants to be a customer: the token of the letter, and the number."""
    token = new_token()
    [[number]] = at.ask(
        "INSERT INTO signup (token_hash, email, company, last_name, first_name, plan, language,"
        " password_hash, client_address, expires_at)"
        " VALUES (%s, %s, %s, 'Alphan', 'Georges', 'malle', 'fr', %s, '192.0.2.44',"
        " now() + interval '1 day') RETURNING signup_id",
        *(token_hash(token), email, f"Société de {email}", password_hash()),
    )
    return token, int(number)


def dump(at: Console, customer: int | None = None) -> list[str]:
    """Every row of every table, or a customer's; but not when a session was used, or has to say."""
    tables = at.ask(
        "SELECT table_name, bool_or(column_name = 'customer_id') FROM information_schema.columns"
        " JOIN information_schema.tables USING (table_schema, table_name)"
        " WHERE table_schema = 'public' AND table_type = 'BASE TABLE' GROUP BY table_name"
    )
    of = "" if customer is None else f" WHERE customer_id = {customer}"
    rows = " UNION ALL ".join(
        f"SELECT '{table} ' || (to_jsonb(t) - 'seen_at' - 'notices')::text FROM {table} t{of}"  # noqa: S608 - tables of ours, and a number
        for table, owned in tables
        if owned or customer is None
    )
    return sorted(row for [row] in at.ask(rows))


@cache
def _versions_sql(dsn: str) -> tuple[str, str]:
    """A table a row: its name, how many rows it has, and a sum of which versions they are of.

    The one of all rows, the other of a customer's.
    """
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid"
            " AND attname = 'customer_id') FROM pg_class c"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        tables = cursor.fetchall()
    # A session is written to when it is used, which changes nothing of what it is.
    which = {"session": "hashtextextended((to_jsonb(t) - 'seen_at' - 'notices')::text, 0)"}
    selects = [
        f"SELECT '{table}', count(*),"  # noqa: S608 - tables of ours
        f" sum({which.get(table, 'hashtidextended(ctid, xmin::text::bigint)')}) FROM {table} t"
        for table, _ in tables
    ]
    of = [
        f"{select} WHERE customer_id = %(customer)s"
        for select, (_, owned) in zip(selects, tables, strict=True)
        if owned
    ]
    return " UNION ALL ".join(selects), " UNION ALL ".join(of)


def versions(at: Console, customer: int | None = None) -> dict[str, tuple[int, object]]:
    """By table, what differs as soon as anything was written to it, or to a customer's rows.

    PostgreSQL gives a row that is written another place (ctid) or another transaction (xmin). That
    is looked at in a fraction of the time that `dump` takes, which has the rows themselves.
    """
    every, of = _versions_sql(at.dsn)
    with at.database.cursor() as cursor:
        cursor.execute(every if customer is None else of, {"customer": customer})
        return {table: (count, versions) for table, count, versions in cursor.fetchall()}
