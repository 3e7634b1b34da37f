"""What the browser tests stand on: a server with companies and mail, and windows onto it."""

from __future__ import annotations

import contextlib
import re
import smtplib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import argon2
import psycopg2
import pyotp
from playwright.sync_api import Browser, BrowserContext, Page, Response

from mail6m.access.signin import totp_owner
from mail6m.billing.invoice import Kind, Line, LineKind, with_nets
from mail6m.model import HOUSE, Judgement, Scope
from mail6m.notices.catalogue import QUEUE
from mail6m.notices.subscriptions import Subscriber, Subscriptions
from mail6m.seal import Keyring, master_key
from mail6m.shelves.disc.names import new_serial
from mail6m.storage.judgements import encode
from tests.billed import DUCHEMIN, drafted, issued
from tests.browser.letters import Letter
from tests.harness import LOOPBACK, Server
from tests.paypal import StandIn
from tests.scripted_peer import Mail, Peer
from tests.zone import Zone

PASSWORD = "tiroir-malle-armoire"
PATIENCE = 30.0
"""Seconds for what takes a fraction of one."""
FRENCH = {"locale": "fr-FR", "timezone_id": "Europe/Paris"}


@dataclass(frozen=True)
class Company:
    """A customer, with its first account and one domain."""

    number: int
    email: str
    domain: str


@dataclass
class Stage:
    """A server, and the machine that all mail goes on to."""

    server: Server
    peer: Peer
    dsn: str
    zone: Zone = field(default_factory=Zone)
    """All that there is of the DNS, if the server asks it."""
    paypal: StandIn = field(default_factory=StandIn)
    """PayPal, if the server asks it."""
    cookies: dict[str, Any] = field(default_factory=dict)
    """The state of a browser in which somebody has signed in, by address."""
    secrets: dict[str, str] = field(default_factory=dict)
    """Of the second factors of operators, by address."""

    @property
    def base(self) -> str:
        """Where the console is."""
        return f"http://{LOOPBACK}:{self.server.web_port}"

    def company(self, name: str, domain: str = "", port: int = 0) -> Company:
        """A new customer, with mail to the machine at a port, the peer's if none is said.

        Without a domain it has just signed up.
        """
        email = f"administrateur@{domain or name.lower() + '.test'}"
        number = self.server.add_customer(name, email, password=PASSWORD)
        if domain:  # by the command it takes a second each time
            host = f"{LOOPBACK}:{port or self.peer.port}"
            self.sql(
                "INSERT INTO domain (customer_id, name, hosts, tls, verify_recipients)"
                " VALUES (%s, %s, %s, 'none', false)",
                (number, domain, [host]),
            )
        return Company(number, email, domain)

    def reader(self, company: Company, name: str = "lecteur") -> str:
        """Another account of it, which may only read; its address."""
        email = f"{name}@{company.domain}"
        row = (company.number, email, argon2.PasswordHasher().hash(PASSWORD))
        self.sql(
            "INSERT INTO account (customer_id, email, role, password_hash)"
            " VALUES (%s, %s, 'reader', %s)",
            row,
        )
        return email

    def operator(self, name: str = "exploitation", role: str = "operator") -> str:
        """One of those who run Mail6M, whose second factor is on; its address."""
        email = f"{name}@mail6m.test"
        if self.sql("SELECT 1 FROM account WHERE email = %s", (email,)):
            return email
        [[number]] = self.sql(
            "INSERT INTO account (customer_id, email, role, password_hash)"
            " VALUES (0, %s, %s, %s) RETURNING account_id",
            (email, role, argon2.PasswordHasher().hash(PASSWORD)),
        )
        keyring = Keyring(master_key(self.server.data / "keys" / "master.key"))
        self.secrets[email] = pyotp.random_base32()
        wrapped = keyring.wrap(totp_owner(HOUSE, number), self.secrets[email].encode())
        self.sql("UPDATE account SET totp_secret = %s WHERE account_id = %s", (wrapped, number))
        return email

    def unsubscribing(self, address: str) -> str:
        """The link of a letter about queues to somebody, within the console."""
        [[customer]] = self.sql("SELECT customer_id FROM account WHERE email = %s", (address,))
        keyring = Keyring(master_key(self.server.data / "keys" / "master.key"))
        links = Subscriptions(None, keyring.secret("unsubscribing"))  # type: ignore[arg-type]
        return links.path(Subscriber(customer, address, QUEUE))

    def post(self, letters: Iterable[Letter]) -> int:
        """Letters come in, in this order; how many."""
        count = 0
        with smtplib.SMTP(LOOPBACK, self.server.smtp_port, timeout=PATIENCE) as client:
            for letter in letters:
                client.sendmail(letter.sender, letter.to, letter.content)
                count += 1
        return count

    def send(self, letters: Iterable[Letter]) -> None:
        """The same; and the machine of their domain has them all."""
        before = len(self.peer.mails)
        count = self.post(letters)
        self.wait_for(lambda peer: len(peer.mails) >= before + count)

    def index(self, company: Company) -> None:
        """Wait until all that has come in can be found: an operator's search does."""
        words = ("--customer", str(company.number), "--subject", "Garage")
        self.server.command("message", "list", *words)

    def overflow(self, company: Company, left: int) -> None:
        """All but some messages have gone to the cellar, and came in over the last weeks."""
        self.index(company)
        self.sql(
            "UPDATE customer c SET capacity = (SELECT sum(stored_size) FROM"
            " (SELECT stored_size FROM message WHERE customer_id = c.customer_id"
            "  ORDER BY message_id DESC LIMIT %s) AS newest) WHERE customer_id = %s",
            (left, company.number),
        )
        self.server.command("shelves", "sweep")
        self.sql(
            "UPDATE shelf_count SET day = day - 40 * (1 - shelf) - 1 WHERE customer_id = %s",
            (company.number,),
        )

    def judge(self, company: Company, subject: str, judgement: Judgement) -> None:
        """The guard has found this out about messages that are in the cabinet."""
        self.index(company)
        row = (judgement.spam, encode(judgement), company.number, subject)
        self.sql(
            "WITH judged AS (UPDATE message SET spam = %s, judgement = %s"
            " WHERE customer_id = %s AND subject = %s RETURNING *)"
            " UPDATE search_entry e SET spam = j.spam IS TRUE FROM judged j"
            " WHERE e.customer_id = j.customer_id AND e.message_id = j.message_id",
            row,
        )

    def keys(self, company: Company) -> None:
        """Keys of the API: one that may do everything, one for a while, one that has run out."""
        for name, scopes, ends, used in (
            ("Comptabilité", ["usage:read", "invoices:read"], "400 days", "2 hours"),
            ("Supervision", [scope.value for scope in Scope], None, None),
            ("Ancien inventaire", ["discs:read"], "-3 days", "9 days"),
        ):
            self.sql(
                "INSERT INTO api_token (customer_id, token_hash, name, scopes, created_by,"
                " expires_at, last_used_at, account_id)"
                " SELECT %s, sha256(%s::bytea), %s, %s, %s,"
                " now() + %s::interval, now() - %s::interval,"
                " (SELECT min(account_id) FROM account WHERE customer_id = %s"
                " AND role = 'administrator')",
                (
                    *(company.number, name.encode(), name, scopes, company.email, ends, used),
                    company.number,
                ),
            )

    def archivist(self, company: Company) -> None:
        """Requests in every state; what was granted is back in the cabinet."""
        rows = self.sql(
            "INSERT INTO archivist_request"
            " (customer_id, account, sender, recipient, subject, since, reason)"
            " SELECT %s, %s, sender, recipient, subject, since::timestamptz, reason FROM"
            " (VALUES ('', 'service1@', '', NULL, 'Le garagiste ne retrouve plus sa facture.'),"
            "  ('belga.com', 'compta', '', '2005-07-01 9:30', 'Litige avec un client'),"
            "  ('', 'celine@', 'notes de frais', NULL, 'Contrôle fiscal'))"
            " AS v (sender, recipient, subject, since, reason) RETURNING request_id",
            (company.number, company.email),
        )
        (granted,), (refused,), _ = rows
        self.server.command("archivist", "grant", "--id", str(granted))
        because = "De ces dates, la cave n'a plus rien : le DVD TCWGR3 vous a été envoyé."
        self.server.command("archivist", "refuse", "--id", str(refused), "--because", because)

    def discs(self, company: Company, *states: str) -> None:
        """A disc in each of these states; the ones on the brochure among them."""
        serials = {"shipped": "TCWGR3", "destroyed": "BWTKKB"} if "shipped" in states else {}
        for state in states:
            serial = serials.get(state, new_serial())
            there = state in ("written", "shipped", "destroyed")
            self.sql(
                "INSERT INTO disc (customer_id, serial, state, progress, written_at, shipped_at,"
                " received_at, destroyed_at, messages, first_at, last_at, image_size,"
                " manifest_sha256) SELECT %(customer)s, %(serial)s, %(state)s, 0.42,"
                " CASE WHEN %(there)s THEN now() - interval '3 minutes' END,"
                " CASE WHEN %(state)s IN ('shipped', 'destroyed') THEN now() END,"
                " CASE WHEN %(state)s = 'destroyed' THEN now() END,"
                " CASE WHEN %(state)s = 'destroyed' THEN now() END, 61234,"
                " '2005-07-01 09:30+02', '2005-12-08 17:30+01', 4698765312,"
                " CASE WHEN %(there)s THEN sha256('manifest') END",
                {"customer": company.number, "serial": serial, "state": state, "there": there},
            )

    def oversight(self) -> None:
        """A day and three months of a busy server's, and what went wrong lately."""
        self.sql(
            "INSERT INTO measure SELECT 1, date_trunc('minute', now()) - n * interval '1 minute',"
            " 'autre.mail6m.test:/srv/mail6m:0', day, 4096 * day, day / 30, day * 0.97, day / 12,"
            " day / 300 FROM generate_series(0, 1500) AS n,"
            " LATERAL (SELECT (420 + 380 * sin(n / 229.0) + 60 * sin(n / 7.0))::integer AS day)"
            " ON CONFLICT DO NOTHING"
        )
        self.sql(
            "INSERT INTO standing SELECT 1440,"
            " date_trunc('day', now(), 'UTC') - n * interval '1 day',"
            " now() - n * interval '1 day', m, m * 1600, 40, 9e10, 2e10"
            " FROM generate_series(1, 89) AS n,"
            " LATERAL (SELECT (9 - n / 12.0)::bigint AS m) ON CONFLICT DO NOTHING"
        )
        report = (
            '[{"what": "data", "free": 4100000000, "size": 250000000000}]',
            '[{"name": "mx.mail6m.test", "ends": "2026-01-09T12:00:00+00:00"}]',
        )
        self.sql(
            "INSERT INTO server (name, lease_until)"
            " VALUES ('autre.mail6m.test:/srv/mail6m:0', now() + interval '1 hour')"
        )
        self.sql(
            "INSERT INTO server_report VALUES ('autre.mail6m.test:/srv/mail6m:0',"
            " now() + interval '1 hour', '0.1.0', 'rspamd', %s, %s) ON CONFLICT DO NOTHING",
            report,
        )
        self.sql(
            "INSERT INTO mishap SELECT 'autre.mail6m.test:/srv/mail6m:0', said, level, said, times,"
            " now(), now() - times * interval '7 minutes' FROM (VALUES"
            " ('warn', 'panne.test cannot be reached, next try at 2026-11-28T10:20:00+00:00:"
            " 451 4.4.1 Cannot connect to 127.0.0.1:9: Connection refused', 14),"
            " ('error', 'an outcome was not recorded (OperationalError)', 1))"
            " AS m (level, said, times) ON CONFLICT DO NOTHING"
        )

    def files(self, company: Company) -> None:
        """Of all its mail: one that is ready, and one that somebody is at for a long time."""
        self.sql(
            "INSERT INTO export (customer_id, format, wanted, worker, worked_at, ready_at,"
            " messages, size, sha256)"
            " SELECT %s, format, wanted, gen_random_uuid(), now() + interval '1 day', ready,"
            " messages, size, sha FROM (VALUES"
            " ('zip', 61234, now(), 61234, 4218765312, sha256('all')),"
            " ('mbox', 61234, NULL, 25718, 1765312001, NULL))"
            " AS v (format, wanted, ready, messages, size, sha)",
            (company.number,),
        )

    def invoices(self, company: Company) -> list[str]:
        """Four quarters and a credit note, in every state there is; their numbers."""
        numbers = []
        discs = (Line(LineKind.DISC, date(2026, 5, 12), "", "TCWGR3", 1500, 2000),)
        buyer = replace(DUCHEMIN, name=company.email.partition("@")[2])
        for month, year, cents, pdf, more in (
            (1, 2026, 4000, b"%PDF-1.7", ()),
            (4, 2026, 4000, b"%PDF-1.7", ()),
            (7, 2026, 7500, b"%PDF-1.7", discs),
            (10, 2026, 10000, None, ()),
        ):
            draft = drafted(company.number, cents, date(year, month, 1), buyer, *more)
            numbers.append(issued(self._ask, draft, pdf))
        line = replace(draft.lines[0], day=date(2026, 1, 1), gross=-4000, net=0)
        credit = replace(
            draft, kind=Kind.CREDIT, quarter=None, corrects=numbers[1], reason="Panne du 3 avril",
            lines=with_nets([line]), issued_on=date(2026, 4, 20),
        )  # fmt: skip
        numbers.append(issued(self._ask, credit))
        for number, amount, method, reference in (
            (numbers[0], 12000, "cheque", "0012345"),
            (numbers[1], 9000, "transfer", "VIR SEPA FACTURE"),
            (numbers[2], 10000, "paypal", "3C679366HH908993F"),
        ):
            self.sql(
                "INSERT INTO payment (customer_id, number, received_on, amount, method, reference,"
                " recorded_by) VALUES (%s, %s, '2026-07-12', %s, %s, %s, 'compta@mail6m.test')",
                (company.number, number, amount, method, reference),
            )
        return numbers

    def statements(self, invoice: str) -> None:
        """Entries of the bank's that wait, and one that was put aside."""
        rows = [
            ("a", 24000, "Duchemin", f"VIR SEPA FACTURE {invoice}", "other amount", [invoice]),
            ("b", 1500, "", "merci", "unknown", []),
            ("c", 4200, "Assurances du Nord", "REMBOURSEMENT SINISTRE 77", "unknown", []),
        ]
        for source, amount, name, said, verdict, named in rows:
            self.sql(
                "INSERT INTO statement_entry (source, booked_on, amount, name, text, reference,"
                " verdict, named, aside, imported_by)"
                " VALUES (%s, '2026-11-02', %s, %s, %s, '', %s, %s::text[], %s, 'compta')",
                (f"gallery:{source}", amount, name, said, verdict, named,
                 "Assurance" if source == "c" else None),
            )  # fmt: skip

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        return self.sql(statement, values)

    def received(self, recipient: str, count: int = 1) -> list[Mail]:
        """What the machine has got for somebody, once it is so much."""

        def found(peer: Peer) -> list[Mail]:
            return [mail for mail in peer.mails if recipient in mail.recipients]

        self.wait_for(lambda peer: len(found(peer)) >= count)
        return found(self.peer)

    def wait_for(self, seen: Callable[[Peer], bool]) -> None:
        """Wait until the machine has seen what it should."""
        if not self.peer.wait_for(seen, PATIENCE):
            raise self.server.error(f"only {len(self.peer.mails)} messages have arrived")

    def sql(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """What no page and no command brings about; the rows, if there are any."""
        with contextlib.closing(psycopg2.connect(self.dsn)) as connection, connection:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


@dataclass
class Window:
    """A page of a browser, with all that went wrong behind it."""

    page: Page
    base: str
    trouble: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.on("console", lambda said: self._hear(said.text, said.location.get("url", "")))
        self.page.on("pageerror", lambda error: self.trouble.append(f"script: {error}"))
        self.page.on("request", lambda request: self._see(request.url))
        self.page.on("requestfailed", lambda asked: self._fail(asked.url, asked.failure or ""))

    def _hear(self, said: str, of: str) -> None:
        # Chromium says so of a page with status 404, too, which may be what is tested.
        if of == self.page.url and said.startswith("Failed to load resource"):
            return
        self.trouble.append(f"console: {said} ({of})")

    def _see(self, url: str) -> None:
        if not url.startswith((self.base + "/", "data:")):
            self.trouble.append(f"a request to another host: {url}")

    def _fail(self, url: str, why: str) -> None:
        if why != "net::ERR_ABORTED":  # one that a click elsewhere has overtaken
            self.trouble.append(f"{url}: {why}")

    # What a person does

    def go(self, path: str) -> Response:
        """Open an address of the console."""
        response = self.page.goto(self.base + path)
        assert response is not None
        return response

    def click(self, name: str, role: Any = "button") -> Response:
        """Click on what is called so, and wait for the page that it leads to."""
        with self.page.expect_navigation() as navigation:
            self.page.get_by_role(role, name=name, exact=True).first.click()
        return navigation.value

    def sign_in(self, email: str, password: str = PASSWORD) -> Response:
        """Fill in the form of the page that is open, and send it."""
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label(re.compile("Mot de passe|Password")).fill(password)
        with self.page.expect_navigation() as navigation:
            self.page.locator("button.primary").click()
        return navigation.value

    def send(self, button: str, **fields: str) -> Response:
        """Fill in the form that has this button, and send it, whatever the browser thinks of it."""
        pressed = self.page.locator("main").get_by_role("button", name=button, exact=True).first
        form = pressed.locator("xpath=ancestor::form")
        form.evaluate("form => { form.noValidate = true }")
        for name, value in fields.items():
            field = form.locator(f"[name={name}]")
            if field.evaluate("field => field.localName") == "select":
                field.select_option(value)
            elif field.get_attribute("type") == "checkbox":
                field.set_checked(bool(value))
            elif field.get_attribute("type") == "file":
                field.set_input_files(
                    {"name": "a.csv", "mimeType": "text/csv", "buffer": value.encode()}
                )
            else:
                field.fill(value)
        with self.page.expect_navigation() as navigation:
            pressed.click()
        return navigation.value

    def choose(self, *subjects: str) -> None:
        """Tick messages of the list."""
        for subject in subjects:
            self.page.get_by_role("checkbox", name=f"Choisir « {subject} »", exact=True).check()

    # What a person sees

    @property
    def path(self) -> str:
        """Where the window is, with the query."""
        return self.page.url.removeprefix(self.base)

    @property
    def heading(self) -> str:
        """The page's h1."""
        return self.page.get_by_role("heading", level=1).inner_text().replace("\xa0", " ")

    @property
    def notices(self) -> list[str]:
        """What the page has to say."""
        return self.page.get_by_role("status").all_inner_texts()

    def rows(self) -> list[dict[str, str]]:
        """The messages of the list, as they are shown: date, sender, subject, recipient."""
        read = """rows => rows.map(row => Object.fromEntries(
            ["date", "sender", "subject", "recipient"].map(
                name => [name, row.querySelector("." + name).textContent.trim()])))"""
        rows: list[dict[str, str]] = self.page.locator(".messages tbody tr").evaluate_all(read)
        return rows

    def subjects(self) -> list[str]:
        """The subjects of the list, from its top."""
        return [row["subject"] for row in self.rows()]

    def facts(self) -> dict[str, str]:
        """What a page of details says, by its labels."""
        read = """facts => Object.fromEntries([...facts.querySelectorAll("div")].map(
            fact => [fact.children[0].textContent.trim(), fact.children[1].textContent.trim()]))"""
        facts: dict[str, str] = self.page.locator(".facts").first.evaluate(read)
        return facts


Open = Callable[..., Window]
"""Opens a window, in which the account of an address has signed in; the rest are options of
playwright's ``new_context``. Without an address nobody has, and its cookies are its own."""


@contextlib.contextmanager
def windows(browser: Browser, stage: Stage) -> Iterator[Open]:
    """Windows that must have seen no trouble when they are closed."""
    opened: list[tuple[BrowserContext, Window]] = []

    def open_(email: str = "", **options: Any) -> Window:
        cookies = stage.cookies.get(email)
        context = browser.new_context(**{**FRENCH, "storage_state": cookies, **options})
        window = Window(context.new_page(), stage.base)
        opened.append((context, window))
        if email and cookies is None:
            window.go("/connexion")
            window.sign_in(email)
            if email in stage.secrets:
                window.send("Continuer", code=pyotp.TOTP(stage.secrets[email]).now())
            stage.cookies[email] = context.storage_state()
        elif email:
            window.go("/")
        return window

    try:
        yield open_
    finally:
        for context, _ in opened:
            context.close()
    trouble = [line for _, window in opened for line in window.trouble]
    assert not trouble, "\n".join(trouble)


def turn_on_second_factor(window: Window) -> tuple[str, str]:
    """Through the page Sécurité, as somebody does who has a telephone; the secret, the code."""
    window.go("/securite")
    window.send("Activer")
    secret = window.page.locator(".secret").inner_text().replace(" ", "")
    code = pyotp.TOTP(secret).now()
    window.send("Activer", code=code, current=PASSWORD)
    return secret, code
