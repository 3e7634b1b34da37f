"""The operator's commands (../shared/design/contract.md), as a script and as a person uses them.

Most run in this process, on a database of their own; what only a process shows runs in one.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import argon2
import pytest
from twisted.python.threadpool import ThreadPool

from mail6m import __version__
from mail6m.billing.months import end_of_month, next_month, paris_day, quarter_of
from mail6m.cli import parser, program
from mail6m.content import Budget, Content
from mail6m.foundation import Foundation
from mail6m.intake import Accepted
from mail6m.journal import Journal
from mail6m.model import Client, Envelope, Recipient
from mail6m.settings import Settings
from mail6m.storage.archive import NewMessage
from mail6m.storage.migrate import migrations
from tests.billed import drafted, issued
from tests.harness import ROOT
from tests.reactor_thread import run, the_reactor
from tests.stored import NOWHERE, ask, new_database

LETTER = b"From: Anne <anne@example.org>\r\nSubject: Devis\r\n\r\nBonjour \xff\0\r\n"
NOISE = random.Random(4).randbytes(300_000)
MESSAGE_FIELDS = {
    *("id", "received_at", "sender", "recipients", "subject", "raw_size", "stored_size"),
    *("sha256", "spam", "shelf"),
}
DELIVERY_FIELDS = {"id", "message", "recipient", "attempts", "next_attempt_at", "last_reply"}
CUSTOMER_FIELDS = {
    *("customer", "company", "plan", "capacity", "cabinet_messages", "cabinet_bytes"),
    *("cellar_messages", "cellar_bytes"),
}


class Done(NamedTuple):
    """What a command came to."""

    status: int
    out: bytes
    err: str


class Everything:
    """`mail6m.intake.Outgoing` that leaves all to the queue."""

    def takes(self, destination: str, content: Content) -> int | None:
        return None

    def offer(self, accepted: Sequence[Accepted]) -> None:
        accepted[0].content.close()

    def doubt(self, messages: Sequence[NewMessage]) -> None:
        raise AssertionError("the database is there")


class Site:
    """An archive, and its operator."""

    def __init__(self, dsn: str, data: Path) -> None:
        self.dsn, self.data = dsn, data
        self.foundation = Foundation(the_reactor(), Settings(data=data, database=dsn))
        self.threads = ThreadPool(0, 1)
        self.threads.start()
        run(self.foundation.start)
        self.intake = self.foundation.intake(Everything(), Journal(the_reactor()), self.threads)

    def close(self) -> None:
        """Leave nothing behind."""
        run(self.foundation.stop)
        self.threads.stop()

    def mail6m(self, *words: str, stdin: str = "") -> Done:
        """A command's status, and what it printed."""
        words = ("--data", str(self.data), "--database", self.dsn, *words)
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        before, sys.stdin = sys.stdin, io.StringIO(stdin)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                try:
                    options = parser().parse_args(words)
                    run(lambda: program.run(the_reactor(), options))
                    status = 0
                except SystemExit as stop:
                    status = stop.code if isinstance(stop.code, int) else 0
        finally:
            sys.stdin = before
        out.flush()
        assert isinstance(out.buffer, io.BytesIO)
        return Done(status, out.buffer.getvalue(), err.getvalue())

    def json(self, *words: str, stdin: str = "") -> Any:
        """The one JSON value that a command prints."""
        done = self.mail6m(*words, "--json", stdin=stdin)
        assert (done.status, done.err) == (0, "")
        assert done.out.endswith(b"\n")
        return json.loads(done.out)

    def refusal(self, *words: str, stdin: str = "") -> str:
        """The one line that a refused command prints."""
        done = self.mail6m(*words, stdin=stdin)
        assert self.mail6m(*words, "--json", stdin=stdin) == done
        assert (done.status, done.out) == (1, b"")
        assert done.err.startswith("mail6m: ")
        assert done.err.count("\n") == 1
        assert "Traceback" not in done.err
        return done.err

    def misuse(self, *words: str) -> str:
        """What a wrong usage prints."""
        done = self.mail6m(*words)
        assert (done.status, done.out) == (2, b"")
        assert "usage: mail6m" in done.err
        return done.err

    def customer(self, **options: str) -> int:
        """A new customer's number."""
        given = {"company": "Duchemin", "email": f"{uuid4()}@mondomaine.fr", **options}
        words = [word for name, value in given.items() for word in (f"--{name}", value)]
        return int(self.json("customer", "add", *words)["customer"])

    def receive(self, octets: bytes, *recipients: str, sender: str = "anne@example.org") -> str:
        """The id of a message that has come in."""
        content = Content(Budget(1 << 30), self.data / "spool", 1 << 20)
        content.write(octets)
        to = tuple(map(Recipient, recipients))
        envelope = Envelope(sender, to, Client("192.0.2.1", "mail.example.org"))
        return str(run(lambda: self.intake.accept(envelope, content)).id)


class Home(NamedTuple):
    """A customer with a domain."""

    number: int
    domain: str


@pytest.fixture(scope="module")
def site(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A data directory and a database."""
    site = Site(new_database(database), tmp_path_factory.mktemp("site") / "data")
    yield site
    site.close()


@pytest.fixture
def home(site: Site) -> Home:
    """A customer and a domain that no other test knows."""
    number = site.customer()
    name = f"d{number}.test"
    site.json("domain", "add", name, "--customer", str(number), "--to", "127.0.0.1:2525")
    return Home(number, name)


# Leaving


def test_all_mail_goes_into_one_file(site: Site, home: Home, tmp_path: Path) -> None:
    """Whole, with its digest; what was interrupted is gone on with, and nothing is overwritten."""
    for content in (LETTER, NOISE, LETTER):
        site.receive(content, f"marie@{home.domain}")
    number, path = str(home.number), tmp_path / "all.zip"
    said = site.json("customer", "export", number, "--output", str(path))
    octets = path.read_bytes()
    assert said == {
        "customer": home.number,
        "file": str(path),
        "messages": 3,
        "bytes": len(octets),
        "sha256": hashlib.sha256(octets).hexdigest(),
    }
    with zipfile.ZipFile(path) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [LETTER, NOISE, LETTER]
    assert "is there already" in site.refusal("customer", "export", number, "--output", str(path))
    site.receive(LETTER, f"marie@{home.domain}")
    path.rename(tmp_path / "all.zip.part")
    os.truncate(tmp_path / "all.zip.part", len(octets) // 2)
    again = site.json("customer", "export", number, "--output", str(path))
    assert again == said, "it is the same file, without what has come since"
    assert path.read_bytes() == octets


def test_a_contract_ends(site: Site, home: Home) -> None:
    """It can be taken back until the day; then nothing is taken in, and a certificate is left."""
    site.receive(LETTER, f"marie@{home.domain}")
    number = str(home.number)
    assert "not to end" in site.refusal("customer", "certificate", number)
    asked = site.json("customer", "close", number)
    assert datetime.fromisoformat(asked["due_at"]) > datetime.now(UTC) + timedelta(days=6)
    assert asked["ended_on"] == end_of_month(paris_day(datetime.now(UTC))).isoformat()
    assert site.json("customer", "keep", number) == {"customer": home.number}
    assert "was not to end" in site.refusal("customer", "keep", number)
    site.json("customer", "close", number, "--days", "0")
    ask(site.dsn, "DELETE FROM delivery WHERE customer_id = %s", home.number)
    assert site.json("shelves", "sweep")["customers_destroyed"] == 0
    assert site.json("customer", "certificate", number)["closed_at"] is not None
    site.foundation.directory.forget()
    assert run(lambda: site.foundation.directory.owner(f"marie@{home.domain}")) is None
    ask(site.dsn, "UPDATE closing SET closed_at = closed_at - interval '61 minutes'")
    assert site.json("shelves", "sweep")["customers_destroyed"] == 1
    assert "there is no customer" in site.refusal("customer", "show", number)
    certificate = site.json("customer", "certificate", number)
    assert certificate["messages"] == 1
    assert certificate["raw_bytes"] == len(LETTER)
    assert None not in (certificate["key_destroyed_at"], certificate["destroyed_at"])


# Customers


def test_a_customer(site: Site) -> None:
    """Added, listed and shown, with the plan's capacity and empty shelves."""
    added = site.json(
        "customer", "add", "--company", "Duchemin & Fils", "--email", "Chef@mondomaine.fr"
    )
    assert list(added) == ["customer"]
    shown = site.json("customer", "show", str(added["customer"]))
    assert shown == {
        **dict.fromkeys(CUSTOMER_FIELDS, 0),
        "customer": added["customer"],
        "company": "Duchemin & Fils",
        "plan": "tiroir",
        "capacity": 2_000_000_000,
    }
    assert shown in site.json("customer", "list")
    email = ask(site.dsn, "SELECT email FROM account WHERE customer_id = %s", shown["customer"])
    assert email == [("Chef@mondomaine.fr",)]


@pytest.mark.parametrize(
    ("options", "plan", "capacity"),
    [
        ({"plan": "malle"}, "malle", 5_000_000_000),
        ({"plan": "armoire"}, "armoire", 10_000_000_000),
        ({"capacity": "123456789"}, "dedicated", 123_456_789),
    ],
)
def test_plans(site: Site, options: dict[str, str], plan: str, capacity: int) -> None:
    """The brochure's sizes, or one of the customer's own."""
    shown = site.json("customer", "show", str(site.customer(**options)))
    assert (shown["plan"], shown["capacity"]) == (plan, capacity)


def test_a_password_comes_by_stdin(site: Site) -> None:
    """It is kept as an argon2id hash, spaces and all, and printed nowhere."""
    password = " mot de passe é "
    words = ["customer", "add", "--company", "D", "--email", f"{uuid4()}@x.test"]
    done = site.mail6m(*words, "--password-stdin", "--json", stdin=password + "\nmore\n")
    assert done.status == 0
    assert "mot de passe" not in done.out.decode() + done.err
    number = json.loads(done.out)["customer"]
    [(hash_,)] = ask(site.dsn, "SELECT password_hash FROM account WHERE customer_id = %s", number)
    assert hash_.startswith("$argon2id$")
    assert argon2.PasswordHasher().verify(hash_, password)


@pytest.mark.parametrize("given", ["", "\n", "short\n", "1234567"])
def test_a_password_that_is_too_short(site: Site, given: str) -> None:
    """Refused, and no customer is left behind."""
    before = site.json("customer", "list")
    words = ["customer", "add", "--company", "D", "--email", f"{uuid4()}@x.test"]
    assert "8 characters" in site.refusal(*words, "--password-stdin", stdin=given)
    assert site.json("customer", "list") == before


def test_no_secret_goes_into_the_arguments() -> None:
    """Everybody on a machine can read them: no option takes a password, a key or a token."""
    options = [text for _, text in all_options(parser())]
    assert "--password-stdin" in options
    secret = ("password", "passwd", "secret", "token", "key")
    for command, option in all_options(parser()):
        if any(word in option for word in secret):
            assert command._option_string_actions[option].nargs == 0, option


def all_options(of: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Every option of a parser and of its commands."""
    for action in of._actions:
        yield from ((of, option) for option in action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from all_options(command)


def test_an_address_signs_in_once(site: Site) -> None:
    """Whatever its case, and the refused customer does not exist."""
    email = f"{uuid4()}@mondomaine.fr"
    site.customer(email=email)
    before = site.json("customer", "list")
    words = ("customer", "add", "--company", "D", "--email", email.upper())
    assert "already signs in" in site.refusal(*words)
    assert site.json("customer", "list") == before


# Accounts


def test_accounts_are_listed(site: Site) -> None:
    """With their role, and whether they have a password and a second factor; nothing secret."""
    number = site.customer(email=f"{uuid4()}@mondomaine.fr")
    [account] = site.json("account", "list", "--customer", str(number))
    [[email]] = ask(site.dsn, "SELECT email FROM account WHERE customer_id = %s", number)
    assert account == {
        "email": email,
        "role": "administrator",
        "password": False,
        "second_factor": False,
    }


def test_somebody_gets_another_password(site: Site) -> None:
    """It comes by stdin, ends the sessions, and the audit has it as the operator's."""
    number = site.customer(email=f"{uuid4()}@mondomaine.fr")
    account = _account_of(site, number)
    ask(
        site.dsn,
        "INSERT INTO session VALUES (%s, DEFAULT, %s, %s, true, now(), now(), '', '')",
        uuid4().bytes,
        *account[:2],
    )
    words = ["account", "password", "--email", account[2].upper(), "--password-stdin"]
    assert site.json(*words, stdin="cave-archiviste-DVD\n") == {
        "email": account[2],
        "customer": number,
    }
    [[stored]] = ask(site.dsn, "SELECT password_hash FROM account WHERE customer_id = %s", number)
    assert argon2.PasswordHasher().verify(stored, "cave-archiviste-DVD")
    sessions = "SELECT count(*) FROM session WHERE customer_id = %s"
    assert ask(site.dsn, sessions, number) == [(0,)]
    assert _last_act(site, number) == ("operator", "password changed", account[2])


@pytest.mark.parametrize("given", ["", "\n", "court\n", "abcabcabcabc\n"])
def test_an_operators_password_is_no_weaker(site: Site, given: str) -> None:
    """What the console refuses is refused here, too, and nothing is changed."""
    number = site.customer(email=f"{uuid4()}@mondomaine.fr")
    email = _account_of(site, number)[2]
    words = ("account", "password", "--email", email, "--password-stdin")
    assert "12 characters" in site.refusal(*words, stdin=given)
    stored = ask(site.dsn, "SELECT password_hash FROM account WHERE customer_id = %s", number)
    assert stored == [(None,)]


def test_who_has_lost_everything_is_let_in(site: Site) -> None:
    """The second factor goes, with its recovery codes; without one there is nothing to do."""
    number = site.customer(email=f"{uuid4()}@mondomaine.fr")
    email = _account_of(site, number)[2]
    ask(
        site.dsn,
        "UPDATE account SET totp_secret = 'sealed', recovery_hashes = '{a,b}'"
        " WHERE customer_id = %s",
        number,
    )
    assert site.json("account", "list", "--customer", str(number))[0]["second_factor"]
    words = ("account", "reset-factor", "--email", email)
    assert site.json(*words) == {"email": email, "customer": number}
    columns = "SELECT totp_secret, recovery_hashes FROM account WHERE customer_id = %s"
    assert ask(site.dsn, columns, number) == [(None, [])]
    assert _last_act(site, number) == ("operator", "second factor off", email)
    assert "no second factor" in site.refusal(*words)


@pytest.mark.parametrize("verb", [("password", "--password-stdin"), ("reset-factor",)])
def test_an_account_that_nobody_has(site: Site, verb: tuple[str, ...]) -> None:
    """It is said, in one line."""
    assert "nobody signs in" in site.refusal("account", *verb, "--email", f"{uuid4()}@x.test")


def test_who_runs_mail6m(site: Site) -> None:
    """The first one and others, their roles; what is done is noted; the last operator stays."""
    ask(site.dsn, "DELETE FROM account WHERE customer_id = 0")
    first, second = f"{uuid4()}@mail6m.test", f"{uuid4()}@mail6m.test"
    words = ("operator", "add", "--email", first, "--password-stdin")
    assert site.json(*words, stdin="tiroir-malle-armoire\n") == {"email": first, "role": "operator"}
    assert _last_act(site, 0) == ("operator", "password changed", first)
    site.json("operator", "add", "--email", second, "--role", "observer")
    assert _last_act(site, 0) == ("operator", "account added", f"{second} (observer)")
    rows = {row["email"]: row for row in site.json("operator", "list")}
    assert rows[first] == {
        "email": first, "role": "operator", "password": True, "second_factor": False
    }  # fmt: skip
    assert (rows[second]["role"], rows[second]["password"]) == ("observer", False)
    for verb in (("remove",), ("role", "--role", "bookkeeper")):
        refused = site.refusal("operator", verb[0], "--email", first, *verb[1:])
        assert "the last operator" in refused
    role = site.json("operator", "role", "--email", second, "--role", "operator")
    assert role == {"email": second, "role": "operator"}
    assert site.json("operator", "remove", "--email", first) == {"email": first}
    assert [row["email"] for row in site.json("operator", "list")] == [second]


def test_an_operator_who_cannot_be(site: Site) -> None:
    """An address that signs in already, a weak password, a customer's account, or its role."""
    number = site.customer(email=f"{uuid4()}@mondomaine.fr")
    email = _account_of(site, number)[2]
    assert "already signs in" in site.refusal("operator", "add", "--email", email)
    words = ("operator", "add", "--email", "new@mail6m.test", "--password-stdin")
    assert "12 characters" in site.refusal(*words, stdin="court\n")
    assert ask(site.dsn, "SELECT 1 FROM account WHERE email = 'new@mail6m.test'") == []
    for verb in (("remove",), ("role", "--role", "bookkeeper")):
        assert "no operator" in site.refusal("operator", verb[0], "--email", email, *verb[1:])
    site.misuse("operator", "add", "--email", "new@mail6m.test", "--role", "administrator")


def _account_of(site: Site, customer: int) -> tuple[int, int, str]:
    sql = "SELECT customer_id, account_id, email FROM account WHERE customer_id = %s"
    [(number, account, email)] = ask(site.dsn, sql, customer)
    return number, account, email


def _last_act(site: Site, customer: int) -> tuple[Any, ...]:
    sql = "SELECT account, act, object FROM audit WHERE customer_id = %s ORDER BY audit_id DESC"
    return ask(site.dsn, sql, customer)[0]


def test_a_key_that_signs(site: Site) -> None:
    """It is made once, and told as often as asked, with what the DNS and the server need."""
    words = ("signing", "key", "--domain", "example.org", "--selector", "s1", "--kind", "ed25519")
    made = site.json(*words)
    assert made["made"]
    assert made["name"] == "s1._domainkey.example.org"
    assert made["zone"] == f'{made["name"]}. IN TXT "{made["record"]}"'
    assert site.json(*words) == made | {"made": False}
    settings = made["settings"].split()
    assert settings[2:] == ["--signing-domain", "example.org", "--signing-selector", "s1"]
    assert Path(settings[1]).stat().st_mode & 0o777 == 0o600
    assert "--signing-selector" in site.refusal("signing", "key", "--selector", "../s1")


def test_mail6m_itself_is_not_in_the_list(site: Site) -> None:
    """It is no customer that anybody has added."""
    assert 0 not in [row["customer"] for row in site.json("customer", "list")]


BY_NUMBER = (
    ("customer", "show"),
    ("message", "list", "--customer"),
    ("domain", "add", "new.test", "--to", "h", "--customer"),
)


@pytest.mark.parametrize("words", BY_NUMBER)
def test_an_unknown_customer(site: Site, words: tuple[str, ...]) -> None:
    """Not found is 1; a number that no customer can have is a wrong usage."""
    assert "there is no customer" in site.refusal(*words, str((1 << 31) - 1))
    for number in (str(1 << 31), str(1 << 70), "1.0", "x", ""):
        site.misuse(*words, number)


# Domains


def test_a_domain(site: Site, home: Home) -> None:
    """Canonical, with hosts in order and its options."""
    words = ("domain", "add", "Élan.TEST.", "--customer", str(home.number))
    hosts = ("--to", "MX.example.org", "--to", "[2001:db8::1]:2525", "--to", "192.0.2.1:26")
    added = site.json(*words, *hosts, "--tls", "required", "--no-verify-recipients")
    assert added == {"domain": "xn--lan-9la.test"}
    rows = site.json("domain", "list", "--customer", str(home.number))
    assert rows == [
        {
            "domain": home.domain,
            "customer": home.number,
            "to": ["127.0.0.1:2525"],
            "tls": "opportunistic",
            "verify_recipients": True,
        },
        {
            "domain": "xn--lan-9la.test",
            "customer": home.number,
            "to": ["mx.example.org:25", "[2001:db8::1]:2525", "192.0.2.1:26"],
            "tls": "required",
            "verify_recipients": False,
        },
    ]
    everybodys = site.json("domain", "list")
    assert [row for row in everybodys if row["customer"] == home.number] == rows
    removed = site.json("domain", "remove", "éLAN.test")
    assert removed["domain"] == "xn--lan-9la.test"
    assert "not declared" in site.refusal("domain", "remove", "élan.test")


def test_a_domain_is_somebodys(site: Site, home: Home) -> None:
    """Declared once, whoever asks."""
    words = ("domain", "add", home.domain.upper(), "--to", "h", "--customer")
    for number in (home.number, site.customer()):
        assert "already declared" in site.refusal(*words, str(number))


@pytest.mark.parametrize(
    "words",
    [
        ("nodot", "--to", "h"),
        ("a b.test", "--to", "h"),
        ("[192.0.2.1]", "--to", "h"),
        ("-.test", "--to", "h"),
        ("", "--to", "h"),
        ("a.test", "--to", "h:0"),
        ("a.test", "--to", "h:99999"),
        ("a.test", "--to", "h:x"),
        ("a.test", "--to", ""),
        ("a.test", "--to", "a b"),
        ("a.test", "--to", "\udcff"),
        ("a.test", "--to", "h", "--tls", "maybe"),
        ("a.test",),
    ],
)
def test_domains_that_are_none(site: Site, words: tuple[str, ...]) -> None:
    """Wrong usage, told before anything is asked of the database."""
    site.misuse("domain", "add", *words, "--customer", "1")


# Messages


def test_messages(site: Site, home: Home) -> None:
    """Listed newest first, with the contract's fields, and counted."""
    first = site.receive(LETTER, f"marie@{home.domain}", f"paul@{home.domain}")
    second = site.receive(NOISE, f"marie@{home.domain}", sender="")
    number = str(home.number)
    newest, oldest = site.json("message", "list", "--customer", number)
    assert set(newest) == MESSAGE_FIELDS
    assert [newest["id"], oldest["id"]] == [second, first]
    assert oldest["recipients"] == [f"marie@{home.domain}", f"paul@{home.domain}"]
    assert (oldest["sender"], newest["sender"]) == ("anne@example.org", "")
    assert (oldest["subject"], oldest["shelf"], oldest["spam"]) == ("Devis", "cabinet", None)
    assert oldest["raw_size"] == len(LETTER)
    assert oldest["sha256"] == hashlib.sha256(LETTER).hexdigest()
    received = datetime.fromisoformat(oldest["received_at"])
    assert abs(received - datetime.now(UTC)) < timedelta(minutes=5)
    assert oldest["received_at"].endswith("Z")
    shown = site.json("customer", "show", number)
    assert shown["cabinet_messages"] == 2
    assert shown["cabinet_bytes"] == newest["stored_size"] + oldest["stored_size"]


def test_message_list_searches(site: Site, home: Home) -> None:
    """Every criterion of the contract does something, and the limit holds."""
    one = site.receive(LETTER, f"marie@{home.domain}")
    two = site.receive(LETTER.replace(b"Devis", b"Facture"), f"paul@{home.domain}", sender="b@x.fr")
    sql = "UPDATE message SET shelf = 1 WHERE message_id = %s"
    ask(site.dsn, sql, two)
    times = {row["id"]: row["received_at"] for row in found(site, home)}
    between = datetime.fromisoformat(times[two]).astimezone(UTC).isoformat()
    cases = [
        (("--sender", "ANNE"), [two, one]),
        (("--sender", "b@x"), [two]),
        (("--recipient", "Marie"), [one]),
        (("--subject", "fact"), [two]),
        (("--subject", "%"), []),
        (("--shelf", "cellar"), [two]),
        (("--shelf", "cabinet"), [one]),
        (("--limit", "1"), [two]),
        (("--from", between), [two]),
        (("--from", "2020-01-01T00:00:00+02:00", "--until", "2999-01-01T00:00:00z"), [two, one]),
        (("--until", "2020-01-01t00:00:00Z"), []),
    ]
    for words, ids in cases:
        assert [row["id"] for row in found(site, home, *words)] == ids, words


def found(site: Site, home: Home, *words: str) -> list[dict[str, Any]]:
    """The rows that ``message list`` prints."""
    rows = site.json("message", "list", "--customer", str(home.number), *words)
    assert isinstance(rows, list)
    return rows


@pytest.mark.parametrize(
    "words",
    [
        ("--limit", "0"), ("--limit", "-1"), ("--limit", "x"), ("--limit", str(1 << 64)),
        ("--from", "yesterday"), ("--until", "2024-13-01T00:00:00Z"), ("--shelf", "transit"),
        ("--nothing", "x"), ("extra",),
    ],
)  # fmt: skip
def test_message_list_misused(site: Site, words: tuple[str, ...]) -> None:
    """Wrong usage is 2."""
    site.misuse("message", "list", "--customer", "1", *words)


@pytest.mark.parametrize("octets", [LETTER, NOISE, b"", b"no newline at the end"])
@pytest.mark.parametrize("also", [(), ("--json",)])
def test_export_is_byte_exact(site: Site, home: Home, octets: bytes, also: tuple[str, ...]) -> None:
    """The message, the whole message and nothing but the message."""
    id_ = site.receive(octets, f"marie@{home.domain}")
    done = site.mail6m("message", "export", "--customer", str(home.number), "--id", id_, *also)
    assert done == Done(0, octets, "")


@pytest.mark.parametrize("verb", ["export", "reissue", "delete"])
def test_messages_that_are_not_there(site: Site, home: Home, verb: str) -> None:
    """An unknown id, and another customer's, are 1; what is no id is 2."""
    other = site.customer()
    id_ = site.receive(LETTER, f"marie@{home.domain}")
    for number, message in ((home.number, str(uuid4())), (other, id_), (0, id_)):
        words = ("message", verb, "--customer", str(number), "--id", message)
        assert "has no message" in site.refusal(*words)
    site.misuse("message", verb, "--customer", str(home.number), "--id", "1")
    site.misuse("message", verb, "--customer", str(home.number))
    assert [row["id"] for row in found(site, home)] == [id_]


def test_delete(site: Site, home: Home) -> None:
    """Gone from the list, the counters and the queue."""
    id_ = site.receive(LETTER, f"marie@{home.domain}")
    words = ("message", "delete", "--customer", str(home.number), "--id", id_)
    assert site.json(*words) == {"count": 1}
    assert found(site, home) == []
    assert queue(site, home) == []
    assert site.json("customer", "show", str(home.number))["cabinet_messages"] == 0
    assert "has no message" in site.refusal(*words)


def test_reissue(site: Site, home: Home) -> None:
    """Queued once more for every recipient."""
    id_ = site.receive(LETTER, f"marie@{home.domain}", f"paul@{home.domain}")
    ask(site.dsn, "UPDATE delivery SET state = 1 WHERE message_id = %s", id_)
    words = ("message", "reissue", "--customer", str(home.number), "--id", id_)
    assert site.json(*words) == {"count": 2}
    rows = queue(site, home)
    assert [row["id"] for row in rows] == [f"{home.number}-{id_}-{n}" for n in (2, 3)]
    assert {row["recipient"] for row in rows} == {f"{n}@{home.domain}" for n in ("marie", "paul")}
    site.json("domain", "remove", home.domain)
    assert "is not at a domain of customer" in site.refusal(*words)
    assert len(queue(site, home)) == 2


# The queue


def queue(site: Site, home: Home, *words: str) -> list[dict[str, Any]]:
    """The rows that ``queue list`` prints of a customer."""
    rows = site.json("queue", "list", "--customer", str(home.number), *words)
    assert isinstance(rows, list)
    return rows


def test_the_shelves(site: Site, home: Home) -> None:
    """A full cabinet is swept, its cellar shown, and what a customer asks for is granted once."""
    for number in range(4):
        site.receive(LETTER + bytes([number]), f"marie@{home.domain}")
    size = site.json("customer", "show", str(home.number))["cabinet_bytes"]
    resize = "UPDATE customer SET capacity = %s WHERE customer_id = %s"
    ask(site.dsn, resize, size * 6 // 10, home.number)
    swept = site.json("shelves", "sweep")
    assert swept.pop("moved_to_cellar") == 2
    assert swept.pop("letters_sent") == 1  # the cabinet is full
    assert set(swept.values()) == {0}
    cellar = site.json("cellar", "show", "--customer", str(home.number))
    assert (cellar["messages"], cellar["departed"]) == (2, {})
    assert cellar["first_received_at"] <= cellar["last_received_at"]
    ask(site.dsn, resize, 10**9, home.number)
    wish = (
        "INSERT INTO archivist_request VALUES (%s, DEFAULT, DEFAULT, 'm@x', '', '', %s, {}, 'ok')"
    )
    ask(site.dsn, wish.format("NULL, NULL"), home.number, "devis")
    ask(site.dsn, wish.format("NULL, now()"), home.number, "")
    of = ("archivist", "list", "--customer", str(home.number))
    waiting = site.json(*of)
    assert [(one["matches"], one["too_many"], one["state"]) for one in waiting] == [
        (2, False, "waiting"),
        (2, False, "waiting"),
    ]
    second, first = (str(one["id"]) for one in waiting)
    assert site.json("archivist", "grant", "--id", first) == {"id": int(first), "count": 2}
    assert "nothing in the cellar" in site.refusal("archivist", "grant", "--id", second)
    refuse = ("archivist", "refuse", "--id", second, "--because", "Rien")
    assert site.json(*refuse) == {"id": int(second)}
    assert "decided already" in site.refusal(*refuse)
    assert site.json(*of) == []
    decided = [
        (one["state"], one["brought_back"], one["answer"]) for one in site.json(*of, "--all")
    ]
    assert decided == [("refused", None, "Rien"), ("granted", 2, "")]
    assert site.json("cellar", "show", "--customer", str(home.number))["messages"] == 0


def test_the_queue(site: Site, home: Home) -> None:
    """A row for each recipient, by customer, by domain and by host."""
    id_ = site.receive(LETTER, f"marie@{home.domain}", f"paul@{home.domain}")
    rows = queue(site, home)
    assert [set(row) for row in rows] == [DELIVERY_FIELDS] * 2
    assert [row["id"] for row in rows] == [f"{home.number}-{id_}-{n}" for n in (0, 1)]
    assert {(row["message"], row["attempts"], row["last_reply"]) for row in rows} == {(id_, 0, "")}
    datetime.fromisoformat(rows[0]["next_attempt_at"])
    assert site.json("queue", "list", "--destination", home.domain.upper()) == rows
    for destination in ("127.0.0.1", "127.0.0.1:2525"):
        assert queue(site, home, "--destination", destination) == rows
    assert queue(site, home, "--destination", "nobody.test") == []
    assert queue(site, home, "--destination", "\udcff") == []
    assert all(row in site.json("queue", "list") for row in rows)


def test_retry(site: Site, home: Home) -> None:
    """What waits is due now: one delivery, a destination's or all of a customer's."""
    id_ = site.receive(LETTER, f"marie@{home.domain}", f"paul@{home.domain}")
    later = "UPDATE delivery SET next_attempt_at = now() + interval '1 day' WHERE message_id = %s"
    retry = ("queue", "retry")
    for words, count in (
        (("--customer", str(home.number)), 2),
        (("--destination", home.domain), 2),
        (("--id", f"{home.number}-{id_}-1"), 1),
        (("--customer", str(home.number), "--destination", "nobody.test"), 0),
    ):
        ask(site.dsn, later, id_)
        assert site.json(*retry, *words) == {"count": count}
        now = datetime.now(UTC) + timedelta(seconds=5)
        due = [r for r in queue(site, home) if datetime.fromisoformat(r["next_attempt_at"]) < now]
        assert len(due) == count
    for missing in (f"{home.number}-{id_}-2", f"{home.number}-{uuid4()}-0"):
        assert "is not in the queue" in site.refusal(*retry, "--id", missing)


@pytest.mark.parametrize("id_", ["", "x", "1-2-3", f"99999999999-{UUID(int=1)}-0"])
def test_ids_that_are_none(site: Site, id_: str) -> None:
    """What cannot be a delivery's id is refused in a line, and retries nothing."""
    for verb in ("retry", "cancel"):
        assert "is not the id of a delivery" in site.refusal("queue", verb, f"--id={id_}")


def test_cancel_gives_up_with_a_bounce(site: Site, home: Home) -> None:
    """The sender is told, the other recipient still gets it, the archive keeps it."""
    id_ = site.receive(LETTER, f"marie@{home.domain}", f"paul@{home.domain}")
    words = ("queue", "cancel", "--id", f"{home.number}-{id_}-0")
    assert site.json(*words) == {"count": 1}
    left = {row["recipient"]: row for row in queue(site, home)}
    assert set(left) == {f"paul@{home.domain}", "anne@example.org"}
    assert [row["id"] for row in found(site, home)] == [id_]
    bounce = left["anne@example.org"]["message"]
    export = ("message", "export", "--customer", str(home.number), "--id", bounce)
    text = site.mail6m(*export).out
    assert b"Action: failed" in text
    assert f"marie@{home.domain}".encode() in text
    assert f"paul@{home.domain}".encode() not in text
    assert "is not in the queue" in site.refusal(*words)
    assert site.json("customer", "show", str(home.number))["cabinet_messages"] == 1


def test_cancel_leaves_what_is_under_way(site: Site, home: Home) -> None:
    """A delivery in a server's hands is refused, and stays."""
    id_ = site.receive(LETTER, f"marie@{home.domain}")
    server = run(lambda: site.foundation.servers.enlist(str(uuid4())))
    sql = "UPDATE delivery SET server_id = %s WHERE message_id = %s"
    ask(site.dsn, sql, server, id_)
    words = ("--id", f"{home.number}-{id_}-0")
    assert "under way" in site.refusal("queue", "cancel", *words)
    assert "under way" in site.refusal("queue", "retry", *words)
    assert len(queue(site, home)) == 1


# The whole


def test_status(site: Site, home: Home) -> None:
    """Version, database, archive, queue and the last error, in one look."""
    site.receive(LETTER, f"marie@{home.domain}")
    before = site.json("status")
    site.receive(LETTER, f"marie@{home.domain}")
    after = site.json("status")
    assert after["version"] == __version__
    assert after["database"]["schema"] == len(migrations())
    assert int(after["database"]["postgresql"].split(".")[0]) >= 15
    assert after["cabinet"]["messages"] == before["cabinet"]["messages"] + 1
    assert after["queue"]["deliveries"] == before["queue"]["deliveries"] + 1
    assert after["queue"]["oldest_seconds"] >= 0
    assert after["last_error"] is None or isinstance(after["last_error"], str)
    at = datetime.now(UTC)
    run(lambda: site.foundation.deliveries.down(home.domain, at, "421 4.3.2 Away"))
    try:
        down = site.json("status")
    finally:
        run(lambda: site.foundation.deliveries.up(home.domain))
    assert down["queue"]["destinations_down"] == [home.domain]
    assert down["last_error"] == "421 4.3.2 Away"


READING = (
    ("customer", "list"),
    ("domain", "list"),
    ("queue", "list"),
    ("queue", "retry"),
    ("status",),
)


@pytest.mark.parametrize("words", READING)
def test_json_is_asked_for_anywhere(site: Site, words: tuple[str, ...]) -> None:
    """In front of the command or behind it, it is one line with one value."""
    for asked in (("--json", *words), (*words, "--json")):
        done = site.mail6m(*asked)
        assert done.status == 0
        assert done.out.count(b"\n") == 1
        json.loads(done.out)


def test_for_people(site: Site, home: Home) -> None:
    """Without --json it is a table, which shows the same."""
    id_ = site.receive(LETTER, f"marie@{home.domain}")
    number = str(home.number)
    for words, told in (
        (("customer", "list"), "Duchemin"),
        (("customer", "show", number), "cabinet_messages"),
        (("domain", "list"), home.domain),
        (("message", "list", "--customer", number), id_),
        (("queue", "list", "--customer", number), f"{number}-{id_}-0"),
        (("status",), "postgresql"),
    ):
        done = site.mail6m(*words)
        assert (done.status, done.err) == (0, "")
        assert told in done.out.decode()
    assert site.mail6m("queue", "list", "--destination", "nobody.test") == Done(0, b"", "")


@pytest.mark.parametrize(
    "words",
    [(), ("customer",), ("customer", "fire"), ("customer", "show"), ("customer", "show", "x"),
     ("customer", "add", "--company", " ", "--email", "a@b.test"),
     ("customer", "add", "--company", "D", "--email", "nobody"),
     ("customer", "add", "--company", "D", "--email", "a@b.test", "--plan", "sac"),
     ("customer", "add", "--company", "D", "--email", "a@b.test", "--capacity", "0"),
     ("customer", "add", "--company", "D"), ("queue", "cancel"), ("status", "now"),
     ("--frobnicate", "status")],
)  # fmt: skip
def test_wrong_usage(site: Site, words: tuple[str, ...]) -> None:
    """Exit status 2, with the usage on standard error."""
    site.misuse(*words)


# When something is missing


def test_another_data_directory(site: Site, tmp_path: Path) -> None:
    """The wrong --data for a database is told, before anything is stored under a wrong key."""
    other = Site.__new__(Site)
    other.dsn, other.data = site.dsn, tmp_path
    assert "--data is not the directory" in other.refusal("status")


@pytest.mark.parametrize("dsn", [NOWHERE, "postgresql://[", "garbage"])
def test_no_database(site: Site, dsn: str) -> None:
    """One line, whether the server is away or its address is none."""
    away = Site.__new__(Site)
    away.dsn, away.data = dsn, site.data
    assert "database" in away.refusal("status")


def test_no_data_directory(site: Site, tmp_path: Path) -> None:
    """A slip of the pen does not make a new archive; only the first customer does."""
    nowhere = Site.__new__(Site)
    nowhere.dsn, nowhere.data = site.dsn, tmp_path / "typo"
    assert "no such directory" in nowhere.refusal("customer", "list")
    assert not nowhere.data.exists()


def test_what_nobody_has_thought_of(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is ours is one line and exit status 1, and never silence."""

    async def broken(*_: Any) -> None:
        raise RuntimeError("the unforeseen\nin two lines")

    monkeypatch.setattr("mail6m.cli.status.status", broken)
    assert site.refusal("status") == "mail6m: RuntimeError: the unforeseen in two lines\n"


# As a process


def process(site: Site, *words: str, stdin: bytes | None = None) -> Done:
    """What a shell sees of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "mail6m.cli", "--data", site.data, "--database", site.dsn, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


# Money


SELLER = {
    "name": "Mail6M",
    "street": "18 Bis avenue du Val de Saône",
    "postcode": "69580",
    "city": "Sathonay-Camp",
    "email": "facturation@mail6m.com",
    "siret": "484 373 378 00013",
    "vat-number": "FR 06 484 373 378",
    "legal": "SARL au capital de 8 000 €",
    "iban": "FR14 2004 1010 0505 0001 3M02 606",
}


def _options(values: dict[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", value)]


def test_prices_hold_from_a_day_on(site: Site) -> None:
    """What is not said stays; what is past cannot be changed."""
    today = paris_day(datetime.now(UTC))
    later = (today + timedelta(days=40)).isoformat()
    new = site.json("tariff", "set", "--since", later, "--tiroir", "4200", "--free-months", "2")
    assert (new["tiroir"], new["malle"], new["free_months"], new["vat"]) == (4200, 7500, 2, 2000)
    [first, brochure] = site.json("tariff", "list")
    assert (first, brochure["since"], brochure["tiroir"]) == (new, "2005-01-01", 4000)
    past = (today - timedelta(days=1)).isoformat()
    assert "is past" in site.refusal("tariff", "set", "--since", past, "--disc", "1")
    assert "120 months" in site.refusal("tariff", "set", "--since", later, "--free-months", "121")
    assert "number of cents" in site.misuse("tariff", "set", "--since", later, "--disc", "15.00")


def test_the_seller_is_looked_at(site: Site) -> None:
    """SIRET, VAT number and IBAN by their keys; what is not said stays."""
    later = (paris_day(datetime.now(UTC)) + timedelta(days=40)).isoformat()
    setting = ("seller", "set", "--since", later)
    assert site.refusal(*setting, "--name", "Mail6M", "--siret", "1").endswith(
        "missing, or not right: --street, --postcode, --city, --email, --siret, --vat-number,"
        " --legal\n"
    )
    made = site.json(*setting, *_options(SELLER))
    assert (made["siret"], made["vat_number"]) == ("48437337800013", "FR06484373378")
    assert (made["country"], made["payment_days"]) == ("FR", 30)
    assert "--iban" in site.refusal(*setting, "--iban", "FR14 2004 1010 0505 0001 3M02 607")
    assert site.json(*setting, "--phone", "0800101213")["iban"] == made["iban"]
    [only] = site.json("seller", "show")
    assert (only["phone"], only["name"]) == ("0800101213", "Mail6M")


def test_invoices(site: Site) -> None:
    """They wait for a seller; then each is issued once, shown, and taken back in part."""
    today = paris_day(datetime.now(UTC))
    customer = site.customer()
    before = quarter_of(today) - timedelta(days=1)
    begun = quarter_of(before)
    for table in ("contract", "contract_plan"):
        column = "started_on" if table == "contract" else "since"
        ask(site.dsn, f"UPDATE {table} SET {column} = %s WHERE customer_id = %s", begun, customer)  # noqa: S608 - tables of ours
    waiting = site.json("invoice", "issue")
    assert waiting["issued"] == []
    assert [one["customer"] for one in waiting["waiting"]] == [customer]
    assert "mail6m seller set" in waiting["waiting"][0]["why"]
    site.json("seller", "set", "--since", today.isoformat(), *_options(SELLER))
    tomorrow = (today + timedelta(days=1)).isoformat()
    assert "still to come" in site.refusal("invoice", "issue", "--until", tomorrow)
    assert site.json("invoice", "issue", "--until", begun.isoformat())["issued"] == []
    [number] = site.json("invoice", "issue")["issued"]
    assert site.json("shelves", "sweep")["invoices_issued"] == 0
    [listed] = site.json("invoice", "list", "--customer", str(customer), "--unpaid")
    assert (listed["number"], listed["gross"], listed["balance"]) == (number, 8000, 8000)
    shown = site.json("invoice", "show", number)
    assert [line["gross"] for line in shown["lines"]] == [0, 4000, 4000]
    crediting = ("invoice", "credit", number, "--reason", "Geste commercial")
    note = site.json(*crediting, "--line", "2", "--line", "3=1000")
    assert (note["kind"], note["gross"], note["corrects"]) == ("credit", -5000, number)
    assert site.json("invoice", "show", number)["balance"] == 3000
    assert "3000 cents are left" in site.refusal(*crediting, "--line", "3=3001")
    assert site.json(*crediting)["gross"] == -3000
    assert site.json("invoice", "list", "--unpaid") == []
    assert "no invoice" in site.refusal("invoice", "show", "2020-0001")


def test_a_dedicated_cabinet(site: Site) -> None:
    """At a price from the first of a month, or from the beginning if none has been said."""
    today = paris_day(datetime.now(UTC))
    number = str(site.customer(capacity="50000000000", monthly="25000"))
    rows = "SELECT since, plan, capacity, monthly FROM contract_plan WHERE customer_id = %s"
    assert ask(site.dsn, rows, number) == [(today, "dedicated", 50 * 10**9, 25000)]
    agreeing = ("customer", "agree", number, "--capacity", "60000000000", "--monthly", "30000")
    site.json(*agreeing, "--since", today.isoformat())
    assert site.json("customer", "show", number)["capacity"] == 60 * 10**9
    first = next_month(today)
    assert site.json(*agreeing, "--since", first.isoformat())["since"] == first.isoformat()
    wrong = (first + timedelta(days=1)).isoformat()
    assert "is not the first of a month" in site.refusal(*agreeing, "--since", wrong)
    assert (
        site.json("customer", "plan", number, "--plan", "malle")["since"]
        == (today if today.day == 1 else first).isoformat()
    )
    assert ask(site.dsn, rows + " ORDER BY since", number)[-1][1] == "malle"
    assert "--capacity" in site.refusal(
        "customer", "add", "--company", "X", "--email", "x@x.test", "--monthly", "1"
    )


def test_the_process_tells(site: Site, home: Home) -> None:
    """Exit statuses 0, 1 and 2, bytes on standard output, errors on standard error."""
    id_ = site.receive(LETTER, f"marie@{home.domain}")
    words = ("message", "export", "--customer", str(home.number), "--id")
    assert process(site, *words, id_) == Done(0, LETTER, "")
    refused = process(site, *words, str(UUID(int=1)))
    said = f"mail6m: customer {home.number} has no message {UUID(int=1)}\n"
    assert refused == Done(1, b"", said)
    assert process(site, "nonsense")[:2] == (2, b"")


def test_who_reads_may_have_had_enough(site: Site, home: Home) -> None:
    """``mail6m message export … | head`` is no reason for a traceback."""
    id_ = site.receive(NOISE * 2, f"marie@{home.domain}")
    command = ["message", "export", "--customer", str(home.number), "--id", id_]
    with subprocess.Popen(
        [sys.executable, "-m", "mail6m.cli", "--data", site.data, "--database", site.dsn, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        assert export.stdout.read(10) == NOISE[:10]
        export.stdout.close()
        said = export.stderr.read().decode()
        export.wait(60)
    assert said.count("\n") <= 1
    assert "Traceback" not in said


# Payments


def test_a_cheque_is_recorded(site: Site) -> None:
    """With what is left of its invoice; it is listed, and stands in the customer's audit."""
    customer = site.customer()
    number = issued(partial(ask, site.dsn), drafted(customer, 4000, date(2026, 10, 1)))
    words = ("payment", "record", number, "--amount", "5000", "--method", "cheque")
    recorded = site.json(*words, "--on", "2026-11-05", "--reference", "0012345")
    assert recorded == {"number": number, "amount": 5000, "balance": 7000}
    [payment] = site.json("payment", "list", "--invoice", number)
    assert payment["received_on"] == "2026-11-05"
    assert (payment["method"], payment["reference"]) == ("cheque", "0012345")
    assert (payment["customer"], payment["recorded_by"]) == (customer, "operator")
    assert payment in site.json("payment", "list")
    [(account, object_)] = ask(
        site.dsn,
        "SELECT account, object FROM audit WHERE customer_id = %s AND act = 'payment recorded'",
        customer,
    )
    assert (account, object_) == ("operator", f"{number} 50.00")
    assert "no invoice" in site.refusal("payment", "record", "1-1", *words[3:])
    assert "yet to come" in site.refusal(*words, "--on", "2999-01-01")
    assert "more than nothing" in site.refusal(*words[:3], "--amount", "0", *words[5:])
    site.misuse(*words[:3], "--amount", "50.00", *words[5:])
    site.misuse(*words[:5], "--method", "paypal")


def test_a_statement_is_imported(site: Site, tmp_path: Path) -> None:
    """What is certain is recorded, the rest waits; a second time nothing changes."""
    number = issued(partial(ask, site.dsn), drafted(site.customer(), 4000, date(2026, 10, 1)))
    file = tmp_path / "releve.csv"
    file.write_text(f"Date;Montant;Motif\n2026-11-05;120,00;{number}\n2026-11-05;1,00;don\n")
    imported = site.json("payment", "import", str(file))
    assert imported == {"entries": 2, "recorded": 1, "waiting": 1, "known": 0}
    assert site.json("payment", "import", str(file))["known"] == 2
    [waiting] = site.json("payment", "waiting")
    assert (waiting["text"], waiting["left"], waiting["verdict"]) == ("don", 100, "unknown")
    file.write_text("rien")
    assert "no statement" in site.refusal("payment", "import", str(file))
    assert "No such file" in site.refusal("payment", "import", str(tmp_path / "none.csv"))
