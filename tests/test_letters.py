"""Letters to those who use the console: well-formed, in the queue, and nowhere else."""

from __future__ import annotations

import email
import email.policy
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.python.threadpool import ThreadPool

from mail6m.access.brake import LIMITS, TooManyFailures
from mail6m.access.links import FORGOTTEN, INVITATION, NoAddress, PasswordLinks
from mail6m.access.passwords import Passwords
from mail6m.access.signin import token_hash
from mail6m.content import Budget
from mail6m.foundation import Foundation
from mail6m.intake import Rejected
from mail6m.journal import Journal
from mail6m.letters import Attachment, Letter, Notices, compose
from mail6m.model import Act, Reply, Role, Shelf
from mail6m.options import check
from mail6m.settings import Settings, SettingsError
from mail6m.storage.accounts import Account, Accounts
from mail6m.storage.audit import By
from mail6m.tap import Mail6M
from mail6m.web.render import Renderer
from mail6m.web.words import LANGUAGES
from tests.reactor_thread import run, the_reactor
from tests.stored import ask, new_database
from tests.test_access import quick_passwords
from tests.test_cli import Everything

NOW = datetime(2026, 3, 1, 16, 1, 21, tzinfo=UTC)
BASE = "https://console.mail6m.test"
LINK = re.compile(r"https://console\.mail6m\.test/mot-de-passe\?jeton=([\w-]{43})")
HOUR, WEEK = 3_600, 7 * 86_400
_LETTER = Letter("Déjà vu", "Bonjour,\n\nÀ bientôt.\n", "<p>À bientôt.</p>")


def parsed(octets: bytes) -> EmailMessage:
    """A message, with nothing wrong in it."""
    message = email.message_from_bytes(octets, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert not part.defects
    return message


def body(message: EmailMessage, kind: str) -> str:
    """What it says, to those who read plain text or HTML."""
    part = message.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


# As mail


def test_a_letter_is_mail_in_two_kinds() -> None:
    """Plain text first, then the same in HTML, in ASCII with CRLF, from the postmaster."""
    octets = compose("mail6m.test", "georges@duchemin.fr", _LETTER, NOW, "<1@mail6m.test>")
    assert octets.isascii()
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert max(map(len, octets.split(b"\r\n"))) <= 78
    message = parsed(octets)
    assert message["From"] == "Mail6M <postmaster@mail6m.test>"
    assert message["To"] == "georges@duchemin.fr"
    assert message["Subject"] == "Déjà vu"
    assert message["Message-ID"] == "<1@mail6m.test>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["MIME-Version"] == "1.0"
    assert parsedate_to_datetime(message["Date"]) == NOW
    assert message.get_content_type() == "multipart/alternative"
    kinds = [part.get_content_type() for part in message.iter_parts()]
    assert kinds == ["text/plain", "text/html"]
    assert body(message, "plain") == _LETTER.text
    assert body(message, "html").strip() == _LETTER.html


def test_an_address_in_unicode_gets_its_letter() -> None:
    """Its local part goes as it is, in UTF-8 (RFC 6532)."""
    octets = compose("mail6m.test", "rené@duchemin.fr", _LETTER, NOW, "<1@mail6m.test>")
    assert "\r\nTo: rené@duchemin.fr\r\n".encode() in octets


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [FORGOTTEN.name, INVITATION.name])
def test_a_letter_says_the_same_in_both_kinds(name: str, language: str) -> None:
    """Every paragraph, and the link, stand in the text and in the HTML, and a name is no markup."""
    link = f"{BASE}/mot-de-passe?jeton={'x' * 43}"
    letter = Renderer("1").letter(
        name, language, company="Dupont <& Fils>", email="a@x.test", by="b@x.test", link=link
    )
    assert "\n" not in letter.subject
    assert "Dupont <& Fils>" in letter.text
    assert "Dupont &lt;&amp; Fils&gt;" in letter.html
    assert f'href="{link}"' in letter.html
    assert f"\n{link}\n" in letter.text
    assert f'lang="{language}"' in letter.html
    plain = re.sub(r"<[^>]+>", "", letter.html)
    for paragraph in letter.text.strip().split("\n\n"):
        escaped = paragraph.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert escaped.replace("'", "&#39;") in plain or escaped in plain


# In the queue


@dataclass
class Post:
    """An archive with a customer whose people get letters."""

    foundation: Foundation
    dsn: str
    links: PasswordLinks
    accounts: Accounts
    customer: int
    log: io.StringIO
    console_url: Callable[[], str] = lambda: BASE

    def account(self, address: str, stored: str | None = "hash") -> Account:
        """One of the customer's accounts."""
        by = By(self.customer, "georges@duchemin.fr", "192.0.2.7")
        number = run(lambda: self.accounts.add(by, address, Role.READER))
        ask(self.dsn, "UPDATE account SET password_hash = %s WHERE account_id = %s",
            stored, number)  # fmt: skip
        return run(lambda: self.accounts.get(self.customer, number))

    def forgotten(self, address: str, client: str = "192.0.2.7", language: str = "fr") -> None:
        """Ask for a link, and wait for what is done about it."""
        done: list[Any] = []

        async def ask_and_wait() -> None:
            with patch("mail6m.access.links.ensureDeferred", _kept(done)):
                await self.links.forgotten(address, client, language)
            for work in done:
                await work

        run(ask_and_wait)

    def invite(self, account: Account, language: str = "fr") -> None:
        """Send an invitation."""
        by = By(self.customer, "georges@duchemin.fr", "192.0.2.7")
        run(lambda: self.links.invite(by, account.account, language))

    def letters(self) -> list[tuple[str, str, EmailMessage]]:
        """What stands in the queue: recipient, destination and message, oldest first."""
        rows = ask(
            self.dsn,
            "SELECT d.recipient, d.destination, d.message_id, m.shelf, m.sender FROM delivery d"
            " JOIN message m USING (customer_id, message_id)"
            " WHERE customer_id = %s ORDER BY d.message_id",
            self.customer,
        )
        found = []
        for recipient, destination, id_, shelf, sender in rows:
            assert (shelf, sender) == (Shelf.TRANSIT, "")
            found.append((recipient, destination, parsed(self._octets(UUID(id_)))))
        return found

    def _octets(self, id_: UUID) -> bytes:
        async def read() -> bytes:
            pieces = self.foundation.reader.pieces(self.customer, id_)
            return b"".join([piece async for piece in pieces])

        return run(read)

    def tokens(self) -> list[str]:
        """The tokens of the links in the queue."""
        return [LINK.findall(body(message, "plain"))[0] for _, _, message in self.letters()]

    def acts(self) -> list[str]:
        """What the audit says."""
        sql = "SELECT act FROM audit WHERE customer_id = %s ORDER BY audit_id"
        return [act for [act] in ask(self.dsn, sql, self.customer)]


def _kept(done: list[Any]) -> Callable[[Any], Any]:
    """As `ensureDeferred`, but what it makes can be waited for."""
    from twisted.internet.defer import ensureDeferred

    def make(work: Any) -> Any:
        deferred = ensureDeferred(work)
        done.append(deferred)
        return deferred

    return make


@pytest.fixture(scope="module")
def foundation(database: str, place: Path) -> Iterator[tuple[Foundation, str, Any]]:
    """An archive of its own, since the master key of the shared one is nobody's."""
    dsn, reactor = new_database(database), the_reactor()
    data = place / "letters"
    foundation = Foundation(reactor, Settings(data=data, database=dsn, hostname="mail6m.test"))
    threads = ThreadPool(0, 1)
    threads.start()
    run(foundation.start)
    intake = foundation.intake(Everything(), Journal(reactor), threads)
    yield foundation, dsn, foundation.own_mail(intake, Budget(1 << 20))
    run(foundation.stop)
    threads.stop()


@pytest.fixture
def post(foundation: tuple[Foundation, str, Any]) -> Iterator[Post]:
    """A customer of its own, and everything that is logged meanwhile."""
    here, dsn, own = foundation
    ask(dsn, "DELETE FROM throttle")
    ask(dsn, "DELETE FROM account")
    ask(dsn, "DELETE FROM domain")

    async def add() -> int:
        number = await here.customers.next_number()
        await here.customers.add(
            customer=number,
            company="Duchemin",
            email="georges@duchemin.fr",
            plan="tiroir",
            capacity=2_000_000_000,
            wrapped_key=here.keyring.new_wrapped_key(number),
            password_hash="hash",
        )
        return number

    log = io.StringIO()
    observer = textFileLogObserver(log)
    accounts = Accounts(here.pool)
    made = Post(here, dsn, None, accounts, run(add), log)  # type: ignore[arg-type]
    made.links = PasswordLinks(
        accounts,
        quick_passwords(),
        Notices(
            here.letters(own), Renderer("1"), lambda: made.console_url(), lambda: datetime.now(UTC)
        ),
    )
    globalLogPublisher.addObserver(observer)
    yield made
    globalLogPublisher.removeObserver(observer)


def test_who_has_forgotten_the_password_gets_a_link(post: Post) -> None:
    """It stands in the queue, is good for an hour, and the audit says that it was sent."""
    account = post.account("celine@example.org")
    post.forgotten("  Celine@example.org ")
    [(recipient, destination, message)] = post.letters()
    assert (recipient, destination) == ("celine@example.org", "mx:example.org")
    assert message["To"] == "celine@example.org"
    for kind in ("plain", "html"):
        assert LINK.search(body(message, kind))
        assert "Duchemin" in body(message, kind)
    [token] = post.tokens()
    assert run(lambda: post.links.account_of(token)) == account
    assert _seconds_left(post, token) == pytest.approx(HOUR, abs=60)
    assert post.acts()[-1] == Act.PASSWORD_LINK_SENT


def _seconds_left(post: Post, token: str) -> float:
    sql = "SELECT extract(epoch FROM expires_at - now()) FROM password_token WHERE token_hash = %s"
    return float(ask(post.dsn, sql, token_hash(token))[0][0])


def test_a_letter_to_a_customers_own_domain_goes_to_its_machine(post: Post) -> None:
    """Not by MX, which leads here; and it is archived in nobody's cabinet."""
    ask(
        post.dsn,
        "INSERT INTO domain (customer_id, name, hosts) VALUES (%s, 'mondomaine.fr', '{[::1]:9}')",
        post.customer,
    )
    post.account("celine@mondomaine.fr")
    post.forgotten("celine@mondomaine.fr")
    [(recipient, destination, _)] = post.letters()
    assert (recipient, destination) == ("celine@mondomaine.fr", "mondomaine.fr")
    sql = "SELECT count(*) FROM message WHERE customer_id = %s AND shelf = 0"
    assert ask(post.dsn, sql, post.customer) == [(0,)]


def test_a_stranger_gets_nothing(post: Post) -> None:
    """No letter, no token, no word in the log: whoever asked is answered as ever."""
    for address in ("stranger@example.org", "no address", "", "a@b\x00\ud800"):
        post.forgotten(address)
    assert post.letters() == []
    assert ask(post.dsn, "SELECT count(*) FROM password_token") == [(0,)]
    assert post.log.getvalue() == ""


def test_the_answer_does_not_wait_for_the_address(post: Post) -> None:
    """What is done before the answer is the same for everybody: one count of who asks."""
    post.account("celine@example.org")
    before: list[list[str]] = []
    for address in ("celine@example.org", "stranger@example.org"):
        aside: list[Any] = []
        with (
            patch("mail6m.access.links.ensureDeferred", _put_off(aside)),
            patch.object(post.foundation.pool, "query", wraps=post.foundation.pool.query) as query,
        ):
            run(lambda address=address: post.links.forgotten(address, "192.0.2.7", "fr"))
        before.append([call.args[0] for call in query.call_args_list])
        [work] = aside
        work.close()
    assert before[0] == before[1]
    assert len(before[0]) == 1


def _put_off(aside: list[Any]) -> Callable[[Any], Any]:
    from twisted.internet.defer import Deferred

    def keep(work: Any) -> Any:
        aside.append(work)
        return Deferred()

    return keep


def test_nobodys_mailbox_is_flooded(post: Post) -> None:
    """Beyond a few letters to an address nothing more is sent, and the answer is as ever."""
    post.account("celine@example.org")
    for number in range(LIMITS["letters"] + 2):
        post.forgotten("celine@example.org", f"192.0.2.{number}")
    assert len(post.letters()) == LIMITS["letters"]


def test_nobody_asks_for_everybody(post: Post) -> None:
    """An address that asks too often is told so, whomever it asks for."""
    for number in range(LIMITS["asking"]):
        post.forgotten(f"stranger{number}@example.org")
    with pytest.raises(TooManyFailures):
        post.forgotten("stranger@example.org")
    post.forgotten("stranger@example.org", "198.51.100.9")


def test_a_link_chooses_a_password_once(post: Post) -> None:
    """Then it is good no more, and neither is any other that was sent."""
    post.account("celine@example.org")
    for _ in range(2):
        post.forgotten("celine@example.org")
    first, second = post.tokens()
    choose = post.links.choose
    assert run(lambda: choose(first, "cave-archiviste-DVD", "192.0.2.7"))
    assert not run(lambda: choose(first, "another-password", "192.0.2.7"))
    assert not run(lambda: choose(second, "another-password", "192.0.2.7"))
    assert run(lambda: post.links.account_of(second)) is None
    account = run(lambda: post.accounts.find("celine@example.org"))
    assert account is not None
    passwords: Passwords = post.links._passwords
    assert run(lambda: passwords.fits(account.password_hash, "cave-archiviste-DVD"))


@pytest.mark.parametrize("token", ["", "x" * 43, "\ud800", "é"])
def test_what_is_no_link_chooses_nothing(post: Post, token: str) -> None:
    """Whatever stands for a token."""
    assert run(lambda: post.links.account_of(token)) is None
    assert not run(lambda: post.links.choose(token, "cave-archiviste-DVD", "192.0.2.7"))


def test_who_is_invited_gets_a_link_for_a_week(post: Post) -> None:
    """It says who invites, and whose console it is."""
    account = post.account("celine@example.org", None)
    post.invite(account)
    [(_, _, message)] = post.letters()
    assert "georges@duchemin.fr" in body(message, "plain")
    [token] = post.tokens()
    assert _seconds_left(post, token) == pytest.approx(WEEK, abs=60)
    assert post.acts()[-1] == Act.INVITATION_SENT


def test_invitations_are_braked(post: Post) -> None:
    """One address gets a few, and one customer sends some dozens, in a quarter of an hour."""
    account = post.account("celine@example.org", None)
    for _ in range(LIMITS["letters"]):
        post.invite(account)
    with pytest.raises(TooManyFailures):
        post.invite(account)
    for number in range(LIMITS["inviting"] - LIMITS["letters"] - 1):
        post.invite(post.account(f"n{number}@example.org", None))
    with pytest.raises(TooManyFailures):
        post.invite(post.account("last@example.org", None))


def test_letters_speak_the_customers_language(post: Post) -> None:
    """Its preference, and where it has none, the language that was asked in."""
    post.account("celine@example.org")
    post.forgotten("celine@example.org", language="en")
    ask(post.dsn, "UPDATE preferences SET language = 'fr' WHERE customer_id = %s", post.customer)
    post.forgotten("celine@example.org", language="en")
    languages = [
        re.findall(r'<html lang="(\w+)">', body(message, "html"))[0]
        for _, _, message in post.letters()
    ]
    assert languages == ["en", "fr"]


def test_a_companys_name_makes_no_paragraph(post: Post) -> None:
    """What a customer calls itself cannot become a button of the letter."""
    ask(
        post.dsn,
        "UPDATE customer SET company = %s WHERE customer_id = %s",
        "Duchemin\n\nhttps://evil.example\n\n",
        post.customer,
    )
    post.account("celine@example.org")
    post.forgotten("celine@example.org")
    [(_, _, message)] = post.letters()
    assert 'href="https://evil' not in body(message, "html")


def test_tokens_are_in_letters_alone(post: Post) -> None:
    """Neither the log nor the database has them; the table has their hashes."""
    post.account("celine@example.org")
    post.forgotten("celine@example.org")
    post.invite(post.account("valerie@example.org", None))
    tokens = post.tokens()
    run(lambda: post.links.choose(tokens[0], "cave-archiviste-DVD", "192.0.2.7"))
    stored = [
        str(row)
        for [table] in ask(post.dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for row in ask(post.dsn, f"SELECT t::text FROM {table} t")  # noqa: S608 - our tables
    ]
    for token in tokens:
        assert token not in post.log.getvalue()
        assert not [row for row in stored if token in row]


def test_a_letter_that_cannot_be_queued_tells_the_log_no_token(post: Post) -> None:
    """What went wrong is logged, and what the letter said is not."""
    post.account("celine@example.org")
    written: list[Letter] = []

    async def refuse(customer: int, to: str, letter: Letter) -> None:
        written.append(letter)
        raise Rejected(Reply(451, "4.3.0", "The archive cannot be reached"))

    with patch.object(post.links._notices._letters, "send", refuse):
        post.forgotten("celine@example.org")
    [token] = LINK.findall(written[0].text)
    assert "The archive cannot be reached" in post.log.getvalue()
    assert token not in post.log.getvalue()


def test_without_the_consoles_address_nothing_is_sent(post: Post) -> None:
    """The log says what an operator has to do; who is inviting is told, too."""
    post.console_url = lambda: ""
    account = post.account("celine@example.org")
    post.forgotten("celine@example.org")
    assert "--console-url" in post.log.getvalue()
    with pytest.raises(NoAddress):
        post.invite(account)
    assert post.letters() == []
    assert ask(post.dsn, "SELECT count(*) FROM password_token") == [(0,)]


# Where the console is


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("tcp:0:interface=127.0.0.1", r"http://127\.0\.0\.1:\d+"),
        ("tcp:0:interface=\\:\\:1", r"http://\[::1\]:\d+"),
        ("tcp:0:interface=0.0.0.0", ""),
        ("unix:/tmp/mail6m-test-{}.sock", ""),
    ],
)
def test_the_consoles_address_is_known_on_a_loopback_alone(
    endpoint: str, expected: str, tmp_path: Path
) -> None:
    """Elsewhere it has to be said: what a request says of it is not to be trusted."""
    service = Mail6M(Settings())
    service._reactor = the_reactor()
    from twisted.internet.protocol import Factory

    async def listen() -> str:
        where = endpoint.replace("/tmp/mail6m-test-{}.sock", str(tmp_path / "web"))
        await service._listen([where], Factory(), service._web_ports, "web")
        found = service._console_url()
        await service._web_ports[0].stopListening()  # type: ignore[misc]
        return found

    assert re.fullmatch(expected, run(listen))


def test_the_consoles_address_can_be_said() -> None:
    """Then that is it, with or without a slash at its end."""
    for url in (BASE, f"{BASE}/"):
        assert Mail6M(check(Settings(console_url=url)))._console_url() == BASE


@pytest.mark.parametrize(
    "url", ["console.mail6m.test", "ftp://x.test", f"{BASE}/console", f"{BASE}?a", "https://a b"]
)
def test_a_console_address_that_makes_no_link_is_refused(url: str) -> None:
    """It is scheme and host, and nothing else."""
    with pytest.raises(SettingsError, match="--console-url"):
        check(Settings(console_url=url))


def test_a_file_goes_with_a_letter() -> None:
    """Beside its text and its HTML, to the octet, under its name."""
    pdf = b"%PDF-1.7\r\n\x00\xff" * 5_000
    letter = replace(_LETTER, attachments=[Attachment("f-1.pdf", "application/pdf", pdf)])
    octets = compose("mail6m.test", "georges@duchemin.fr", letter, NOW, "<1@mail6m.test>")
    assert max(map(len, octets.split(b"\r\n"))) <= 78
    message = parsed(octets)
    assert body(message, "plain") == _LETTER.text
    assert message["Content-Language"] == "fr"
    [attached] = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("f-1.pdf", pdf)
    assert attached.get_content_type() == "application/pdf"
