"""The end of a contract: what was taken in goes on first, then only a certificate is left."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

import psycopg2.errors
import pytest

from mail6m import __version__
from mail6m.directory import Directory
from mail6m.letters import Notices
from mail6m.model import HOUSE
from mail6m.seal import Keyring
from mail6m.shelves.closing import ClosingLetters, Ending
from mail6m.storage.closings import Closing, Closings
from mail6m.storage.customers import Customers
from mail6m.storage.domains import Domains
from mail6m.storage.errors import Refused
from mail6m.storage.exports import Exports
from mail6m.storage.pool import Pool
from mail6m.web.render import Renderer
from tests.console_client import MASTER, Console, House, dump, listening, new_house
from tests.reactor_thread import run, the_reactor
from tests.stored import by, new_pool


@pytest.fixture(scope="module")
def console(dsn: str) -> Iterator[Console]:
    """Where customers have everything that a customer can have."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def pool(dsn: str) -> Iterator[Pool]:
    """Connections."""
    with new_pool(dsn, size=3) as pool:
        yield pool


class Leaver(NamedTuple):
    """A customer who has everything that there is, and ends the contract."""

    at: Console
    house: House
    ending: Ending
    closings: Closings
    exports: Exports
    directory: Directory

    def ask(self, days: int = 0) -> Closing:
        """The end is asked for."""
        return run(lambda: self.ending.ask(by(self.house.number), days))

    def advance(self) -> int:
        """What is due is gone on with."""
        return run(self.ending.advance)

    def state(self) -> Closing:
        """How far it is."""
        found = run(lambda: self.ending.of(self.house.number))
        assert found is not None
        return found

    def let_an_hour_pass(self) -> None:
        """Since no mail is taken in."""
        self.at.ask("UPDATE closing SET closed_at = closed_at - interval '61 minutes'")

    def deliver_all(self) -> None:
        """Nothing waits to be relayed any more."""
        self.at.ask("DELETE FROM delivery WHERE customer_id = %s", self.house.number)

    def finish_discs(self) -> None:
        """No disc is under way."""
        self.at.ask(
            "UPDATE disc SET state = 'destroyed', destroyed_at = now() WHERE customer_id = %s",
            self.house.number,
        )

    def takes_mail(self) -> bool:
        """Whether mail for its domain is taken in."""
        self.directory.forget()
        return run(lambda: self.directory.owner(f"marie@{self.house.domain}")) is not None

    def has_a_way(self) -> bool:
        """Whether what was taken in can still go on."""
        self.directory.forget()
        return run(lambda: self.directory.find(self.house.domain)) is not None


@pytest.fixture
def leaver(console: Console, pool: Pool) -> Leaver:
    """With mail that waits to be relayed, and a disc that is on its way."""
    console.ask("DELETE FROM closing")
    closings = Closings(pool)
    house = new_house(console)
    number = house.number
    console.ask("INSERT INTO departed VALUES (%s, 'deleted', 1, 1)", number)
    console.ask(
        "INSERT INTO brought_back SELECT customer_id, message_id, now() FROM message"
        " WHERE customer_id = %s LIMIT 1",
        number,
    )
    run(lambda: Exports(pool).ask(by(number), "zip"))
    directory = Directory(
        the_reactor(), Domains(pool), Customers(pool), Keyring(MASTER), "mail6m.test", None
    )
    ending = Ending(closings, lambda: datetime.now(UTC))
    return Leaver(console, house, ending, closings, Exports(pool), directory)


BOOKS = {
    *("contract", "contract_plan", "charge", "invoice", "invoice_line", "invoice_document"),
    *("invoice_told", "payment", "paypal_order"),
}
"""What is kept for ten years (Code de commerce, L123-22)."""


def left_of(at: Console, customer: int) -> list[str]:
    """A customer's rows, but for the books."""
    return [row for row in dump(at, customer) if row.partition(" ")[0] not in BOOKS]


def test_nothing_is_left_but_the_certificate(leaver: Leaver) -> None:
    """In no table, of whatever it had; and other customers have all that they had."""
    other = new_house(leaver.at)
    before = dump(leaver.at, other.number)
    tables_before = {row.partition(" ")[0] for row in dump(leaver.at, leaver.house.number)}
    assert {"message", "body", "delivery", "account", "session", "disc", "audit", "domain",
            "export", "whitelist", "archivist_request", "shelf_count", "minute_count", "departed",
            "brought_back", "search_entry", "preferences", "customer", "domain_claim",
            "password_token"} <= tables_before | {"archivist_request"}  # fmt: skip
    leaver.deliver_all()
    leaver.finish_discs()
    leaver.ask()
    assert leaver.advance() == 0
    leaver.let_an_hour_pass()
    assert leaver.advance() == 1
    left = left_of(leaver.at, leaver.house.number)
    assert [row.partition(" ")[0] for row in left] == ["closing"]
    everything = "\n".join(
        row for row in dump(leaver.at) if row.partition(" ")[0] not in {*BOOKS, "statement_entry"}
    )
    hidden = [secret for secret in leaver.house.secrets if secret in everything]
    assert set(hidden) <= {
        leaver.house.company,
        leaver.house.word,
        leaver.house.disc,
        leaver.house.invoice,  # in the books
        *_of_the_certificate(leaver),
    }
    assert dump(leaver.at, other.number) == before
    assert leaver.advance() == 0, "it has been done"


def _of_the_certificate(leaver: Leaver) -> list[str]:
    closing = leaver.state()
    said = f"{closing.company} {closing.email}"
    return [secret for secret in leaver.house.secrets if secret in said]


def test_the_certificate_says_what_was_destroyed(leaver: Leaver) -> None:
    """How many messages, of which period, how many accounts and discs, when, and who asked."""
    size, first, last = leaver.at.ask(
        "SELECT sum(raw_size), min(received_at), max(received_at) FROM message"
        " WHERE customer_id = %s",
        leaver.house.number,
    )[0]
    leaver.deliver_all()
    leaver.finish_discs()
    leaver.ask()
    leaver.advance()
    leaver.let_an_hour_pass()
    leaver.advance()
    done = leaver.state()
    assert (done.messages, done.raw_bytes, done.first_at, done.last_at) == (5, size, first, last)
    assert (done.accounts, done.discs) == (3, 1)
    assert done.asked_by == by(1).account
    assert done.key_destroyed_at is not None
    assert done.destroyed_at is not None


def test_nothing_happens_before_the_day(leaver: Leaver) -> None:
    """Until then it can be withdrawn, and then it was never said."""
    leaver.deliver_all()
    leaver.finish_discs()
    before = dump(leaver.at, leaver.house.number)
    assert (leaver.ask(days=7).due_at - datetime.now(UTC)).days in (6, 7)
    with pytest.raises(Refused):
        leaver.ask(days=7)
    assert leaver.advance() == 0
    assert leaver.state().closed_at is None
    run(lambda: leaver.ending.withdraw(by(leaver.house.number)))
    assert leaver.advance() == 0
    left = [row for row in dump(leaver.at, leaver.house.number) if not row.startswith("audit ")]
    assert left == [row for row in before if not row.startswith("audit ")]
    with pytest.raises(Refused):
        run(lambda: leaver.ending.withdraw(by(leaver.house.number)))


def test_mail_that_waits_is_relayed_first(leaver: Leaver) -> None:
    """No more is taken in from the day on; what there is still finds its way, with its key."""
    leaver.finish_discs()
    leaver.ask()
    assert leaver.takes_mail()
    leaver.advance()
    assert not leaver.takes_mail()
    assert leaver.has_a_way()
    leaver.let_an_hour_pass()
    leaver.advance()
    assert leaver.state().key_destroyed_at is None
    assert leaver.has_a_way()
    leaver.deliver_all()
    assert leaver.advance() == 1
    assert not leaver.has_a_way()


def test_a_message_that_is_being_committed_is_waited_for(leaver: Leaver) -> None:
    """The key is not destroyed in the hour after the domains are closed."""
    leaver.deliver_all()
    leaver.finish_discs()
    leaver.ask()
    leaver.advance()
    leaver.at.ask("UPDATE closing SET closed_at = closed_at - interval '59 minutes'")
    leaver.advance()
    assert leaver.state().closed_at is not None
    assert leaver.state().key_destroyed_at is None


def test_a_domain_that_is_declared_meanwhile_is_closed_too(leaver: Leaver) -> None:
    """And the hour begins again."""
    leaver.deliver_all()
    leaver.finish_discs()
    leaver.ask()
    leaver.advance()
    leaver.let_an_hour_pass()
    leaver.at.ask(
        "INSERT INTO domain (customer_id, name, hosts) VALUES (%s, %s, %s)",
        *(leaver.house.number, f"autre-{leaver.house.domain}", ["127.0.0.1:25"]),
    )
    assert leaver.advance() == 0
    assert leaver.state().key_destroyed_at is None
    leaver.let_an_hour_pass()
    assert leaver.advance() == 1


def test_what_is_begun_too_late_does_not_stop_the_end(leaver: Leaver) -> None:
    """Rows that come after the key has gone go, too; and no file is asked for any more."""
    leaver.deliver_all()
    leaver.finish_discs()
    leaver.ask()
    leaver.advance()
    leaver.let_an_hour_pass()
    number = leaver.house.number
    assert run(lambda: leaver.closings.destroy_key(number))
    with pytest.raises(Refused, match="no customer"):
        run(lambda: leaver.exports.ask(by(number), "zip"))
    late = (
        "INSERT INTO account (customer_id, email) VALUES (%s, 'tard@example.org')",
        "INSERT INTO export (customer_id, format, wanted) VALUES (%s, 'zip', 0)",
        "INSERT INTO domain_claim (customer_id, name, token, hosts, tls)"
        " VALUES (%s, 'tard.example.org', '', '{}', 'none')",
    )
    for statement in late:
        leaver.at.ask(statement, number)
    assert leaver.advance() == 1
    left = left_of(leaver.at, number)
    assert [row.partition(" ")[0] for row in left] == ["closing"]


def test_one_that_cannot_end_does_not_keep_the_others(leaver: Leaver) -> None:
    """What was wrong is raised when all have been gone on with."""
    other = new_house(leaver.at)
    for number in (other.number, leaver.house.number):
        run(lambda number=number: leaver.ending.ask(by(number), 0))
    leaver.deliver_all()
    leaver.finish_discs()
    leaver.advance()
    leaver.let_an_hour_pass()
    leaver.at.ask("DELETE FROM delivery WHERE customer_id = %s", other.number)
    leaver.at.ask("UPDATE disc SET state = 'destroyed' WHERE customer_id = %s", other.number)
    leaver.at.ask("CREATE TABLE holder (customer_id integer REFERENCES customer)")
    try:
        leaver.at.ask("INSERT INTO holder VALUES (%s)", other.number)
        with pytest.raises(psycopg2.errors.ForeignKeyViolation):
            leaver.advance()
        assert leaver.state().destroyed_at is not None
    finally:
        leaver.at.ask("DROP TABLE holder")


@pytest.mark.parametrize("state", ["written", "shipped"])
def test_a_disc_that_has_not_arrived_is_waited_for(leaver: Leaver, state: str) -> None:
    """Its image is all that there is of its messages."""
    leaver.deliver_all()
    leaver.at.ask("UPDATE disc SET state = %s WHERE customer_id = %s", state, leaver.house.number)
    leaver.ask()
    leaver.advance()
    leaver.let_an_hour_pass()
    leaver.advance()
    assert leaver.state().key_destroyed_at is None


def test_what_died_in_the_middle_is_gone_on_with(leaver: Leaver, pool: Pool) -> None:
    """The key is gone first, so that what is left can be read by nobody."""
    leaver.deliver_all()
    leaver.finish_discs()
    leaver.ask()
    leaver.advance()
    leaver.let_an_hour_pass()
    number = leaver.house.number
    assert run(lambda: leaver.closings.destroy_key(number))
    assert leaver.at.ask("SELECT wrapped_key FROM customer WHERE customer_id = %s", number) == [
        (memoryview(b""),)
    ]
    assert run(lambda: leaver.closings.erase(number, 2)) == 2
    assert leaver.advance() == 1
    assert leaver.state().messages == 5


def test_the_house_itself_has_no_contract(leaver: Leaver) -> None:
    """Nor has a customer that there is not."""
    for nobody in (HOUSE, 999_999):
        with pytest.raises(Refused):
            run(lambda nobody=nobody: leaver.ending.ask(by(nobody), 0))


class Desk:
    """Where letters are written (as `mail6m.letters.Letters`); sometimes it cannot."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, str, Any]] = []
        self.closed = False

    async def send(self, customer: int, to: str, letter: Any) -> None:
        """Keep it."""
        if self.closed:
            raise OSError("no room")
        self.sent.append((customer, to, letter))


def test_a_letter_at_the_beginning_and_one_at_the_end(leaver: Leaver) -> None:
    """Each once, to the customer's address, in our own name; what fails is tried again."""
    desk = Desk()
    notices = Notices(
        cast(Any, desk), Renderer(__version__),
        lambda: "https://console.mail6m.test", lambda: datetime.now(UTC),
    )  # fmt: skip
    letters = ClosingLetters(leaver.closings, notices)
    leaver.deliver_all()
    leaver.finish_discs()
    leaver.ask()
    desk.closed = True
    assert run(letters.send) == 0
    desk.closed = False
    leaver.at.ask("UPDATE closing SET telling_at = telling_at - interval '11 minutes'")
    assert run(letters.send) == 1
    assert run(letters.send) == 0
    leaver.advance()
    leaver.let_an_hour_pass()
    leaver.advance()
    assert run(letters.send) == 1
    assert run(letters.send) == 0
    (first, second) = desk.sent
    assert [customer for customer, _, _ in desk.sent] == [HOUSE, HOUSE]
    assert {to for _, to, _ in desk.sent} == {leaver.state().email}
    assert "https://console.mail6m.test/partir" in first[2].text
    assert leaver.house.company in second[2].subject
    assert "E-mails détruits\xa0: 5" in second[2].text
