"""What is to be told, and when; that it is told once; and who does not want to be told."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mail6m.letters import Notices
from mail6m.model import HOUSE, Act, Role
from mail6m.notices.catalogue import CABINET, QUEUE, TOPICS
from mail6m.notices.due import INTERVAL, DueNotices
from mail6m.notices.machine import MachineWatch
from mail6m.notices.subscriptions import PATH, Subscriber, Subscriptions
from mail6m.storage.accounts import Accounts
from mail6m.storage.archive import Archive
from mail6m.storage.audit import By
from mail6m.storage.errors import Unavailable
from mail6m.storage.notices import NoticeTable, Refusals
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.shelves import Shelves
from tests.posted import BASE, Post, Told, add_accounts, add_customer
from tests.reactor_thread import run
from tests.stored import ask, new_database, new_message, new_pool

CAPACITY = 1_000_000
HOUR = 3_600


@dataclass
class Office:
    """Where notices are sent from; the clock is turned by hand."""

    dsn: str
    pool: Any
    post: Post
    subscriptions: Subscriptions
    notices: Notices | None = None
    due: DueNotices | None = None
    passed: timedelta = timedelta()

    def now(self) -> datetime:
        """So much later than now."""
        return datetime.now(UTC) + self.passed

    def customer(self, email: str = "georges@duchemin.fr", plan: str = "tiroir") -> int:
        """A customer with an empty cabinet, and the domain ``dN.test``."""
        number = add_customer(self.dsn, email, plan=plan, capacity=CAPACITY)
        self.ask("INSERT INTO domain VALUES (%s, %s, '{127.0.0.1:9}')", number, f"d{number}.test")
        return number

    def ask(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement."""
        return ask(self.dsn, sql, *parameters)

    def tell(self) -> list[Told]:
        """What is sent at the next look around."""
        self.passed += INTERVAL
        assert self.due is not None
        return self.post.told_by(self.due.send)

    def fill(self, customer: int, part: float) -> None:
        """The cabinet holds such a part of what it may."""
        self.ask("DELETE FROM shelf_count WHERE customer_id = %s", customer)
        self.ask(
            "INSERT INTO shelf_count (customer_id, shelf, day, slot, messages, bytes, raw_bytes)"
            " VALUES (%s, 0, 20000, 0, 1, %s, 1)",
            *(customer, int(part * CAPACITY)),
        )

    def queued(self, customer: int, seconds: float, state: int = 0, reply: str = "") -> None:
        """A delivery to the customer's domain, of a message that came in so long ago."""
        self.ask(
            "INSERT INTO delivery (customer_id, message_id, number, recipient, notify, original,"
            " destination, state, attempts, queued_at, next_attempt_at, attempted_at, last_reply)"
            " SELECT %s, (left(first_id((extract(epoch FROM came) * 1000)::bigint)::text, 18)"
            " || right(%s, 18))::uuid, 0, 'a', 1, '', %s, %s, 1, came, now(), now(), %s"
            " FROM (SELECT now() - %s * interval '1 second' AS came) AS x",
            *(customer, str(uuid.uuid4()), f"d{customer}.test", state, reply, seconds),
        )

    def deliver(self, customer: int) -> None:
        """All that waits for the customer's domain has been delivered."""
        self.ask(
            "UPDATE delivery SET state = 1, attempted_at = now() + interval '1 second'"
            " WHERE customer_id = %s AND state = 0",
            customer,
        )


@pytest.fixture
def office(database: str) -> Iterator[Office]:
    """With a database of its own: nobody else is told."""
    dsn = new_database(database)
    with new_pool(dsn) as pool:
        subscriptions = Subscriptions(Refusals(pool), b"secret")
        office = Office(dsn, pool, Post(), subscriptions)
        office.notices = office.post.notices(office.now, subscriptions)
        office.due = DueNotices(
            NoticeTable(pool), PreferencesTable(pool), Accounts(pool), office.notices, office.now
        )
        yield office


TO = "georges@duchemin.fr"
FILLING = Told(TO, "Votre meuble est plein à 83 %")
FULL = Told(TO, "Votre meuble est rempli")


# Cabinets


def test_a_cabinet_that_fills_is_told_of_once_a_crossing(office: Office) -> None:
    """At 80 %, and not again before it has been under 70 %."""
    customer = office.customer()
    story = [
        (0.79, []), (0.83, [FILLING]), (0.9, []), (0.75, []), (0.83, []), (0.7, []), (0.83, []),
        (0.69, []), (0.79, []), (0.83, [FILLING]),
    ]  # fmt: skip
    for part, expected in story:
        office.fill(customer, part)
        assert office.tell() == expected, part


def test_a_full_cabinet_is_told_of_when_its_mail_moves(office: Office) -> None:
    """Once, however often more of it moves; what fills is then no news; and after 70 %, again."""
    customer = office.customer()
    archive, shelves = Archive(office.pool, office.dsn, 10.0), Shelves(office.pool)
    messages = [new_message(customer) for _ in range(4)]
    size = messages[0].stored_size
    run(lambda: archive.store(messages, 0))
    for left, moved, expected in ((9, 0, []), (3, 1, [FULL]), (2, 1, []), (1, 1, [])):
        office.ask("UPDATE customer SET capacity = %s", left * size)
        assert run(lambda: shelves.shed(customer, 10)).moved == moved
        office.ask("UPDATE customer SET capacity = capacity * 1.1")
        assert office.tell() == expected, left
    office.ask("UPDATE customer SET capacity = %s", size * 3)
    assert office.tell() == []  # a larger plan: it is told again, should that be full
    office.ask("UPDATE customer SET capacity = %s", size - 1)
    assert run(lambda: shelves.shed(customer, 10)).moved == 1
    assert office.tell() == [FULL]
    archive.close()


def test_whoever_can_take_a_larger_one_is_told_so(office: Office) -> None:
    """Of the largest, and of one by agreement, another thing is said."""
    for plan, larger in (("tiroir", True), ("malle", True), ("armoire", False), ("dedicated", 0)):
        office.fill(office.customer(plan=plan), 0.83)
        office.tell()
        [(_, _, letter)] = office.post.sent
        assert ("choisissez un meuble plus grand" in letter.text) == larger
        assert ("un meuble à votre mesure" in letter.text) != larger


# Queues


def stuck(customer: int) -> Told:
    """The letter that it is."""
    return Told(TO, f"Les e-mails pour d{customer}.test attendent depuis une heure")


def moving(customer: int) -> Told:
    """The letter that it is no more."""
    return Told(TO, f"Les e-mails pour d{customer}.test arrivent de nouveau")


def test_a_domain_whose_mail_waits_is_told_of_at_both_ends(office: Office) -> None:
    """After an hour, once; and when it arrives again; and then anew."""
    customer = office.customer()
    for _ in range(2):
        office.queued(customer, HOUR - 60, reply="451 Not now")
        assert office.tell() == []
        office.queued(customer, HOUR + 60)
        assert office.tell() == [stuck(customer)]
        [(_, _, letter)] = office.post.sent
        assert "E-mails en attente\u00a0: 2" in letter.text
        assert "451 Not now" in letter.text
        assert office.tell() == []
        office.deliver(customer)
        assert office.tell() == [moving(customer)]
        assert office.tell() == []
        office.ask("DELETE FROM delivery")


def test_one_mailbox_is_not_the_domain(office: Office) -> None:
    """Where others get their mail, a delivery that waits for days is nobody's outage."""
    customer = office.customer()
    office.queued(customer, 50 * HOUR, reply="452 Mailbox full")
    office.queued(customer, 30 * HOUR, state=1)
    assert office.tell() == []


def test_a_machine_that_is_down_is_told_of_all_the_same(office: Office) -> None:
    """Whatever it has taken before; but only when it has been so for an hour."""
    customer = office.customer()
    office.queued(customer, 50 * HOUR, reply="452 Mailbox full")
    office.queued(customer, 30 * HOUR, state=1)
    office.ask(
        "INSERT INTO destination (destination, failures, next_probe_at, last_reply, down_since)"
        " VALUES (%s, 1, now(), 'connection refused', now() - interval '59 minutes')",
        f"d{customer}.test",
    )
    assert office.tell() == []
    office.ask("UPDATE destination SET down_since = down_since - interval '2 minutes'")
    assert office.tell() == [stuck(customer)]
    [(_, _, letter)] = office.post.sent
    assert "connection refused" in letter.text


def test_what_was_given_up_has_not_arrived(office: Office) -> None:
    """A queue that is empty since its mail was cancelled is told of as no good news."""
    customer = office.customer()
    office.queued(customer, HOUR + 60)
    assert office.tell() == [stuck(customer)]
    office.ask("UPDATE delivery SET state = 4")
    assert office.tell() == []


def test_a_domain_that_is_gone_is_not_told_of(office: Office) -> None:
    """Nor is mail of our own, which goes by MX."""
    customer = office.customer()
    office.queued(customer, HOUR + 60)
    office.ask("DELETE FROM domain")
    office.ask("UPDATE delivery SET destination = 'mx:example.org' WHERE state = 9")
    assert office.tell() == []


# Accounts


@pytest.mark.parametrize("language", ["fr", "en"])
def test_a_password_that_has_changed_is_told_to_its_owner(office: Office, language: str) -> None:
    """By whom and from where; by our own hand, without an address; a first one is no news."""
    customer = office.customer()
    office.ask("UPDATE preferences SET language = %s", language)
    accounts = Accounts(office.pool)
    by = By(customer, "celine@duchemin.fr", "192.0.2.7")
    account = run(lambda: accounts.add(by, "celine@duchemin.fr", Role.READER))
    run(lambda: accounts.set_password(by, account, "one", Act.PASSWORD_CHOSEN))
    assert office.tell() == []
    run(lambda: accounts.set_password(by, account, "two", Act.PASSWORD_CHANGED))
    [(to, _)] = office.tell()
    assert to == "celine@duchemin.fr"
    [(_, _, letter)] = office.post.sent
    assert "192.0.2.7" in letter.text
    assert letter.language == language
    ours = By(customer, "operator", "command line")
    run(lambda: accounts.set_password(ours, account, "three", Act.PASSWORD_CHANGED))
    assert len(office.tell()) == 1
    [(_, _, letter)] = office.post.sent
    assert ("par Mail6M." in letter.text) == (language == "fr")
    assert "command line" not in letter.text


def test_a_password_chosen_by_a_link_is_told_too(office: Office) -> None:
    """Whoever has got hold of the letter cannot keep it from the owner; an invitation is none."""
    customer = office.customer()
    accounts = Accounts(office.pool)
    by = By(customer, "celine@duchemin.fr", "192.0.2.7")
    account = run(lambda: accounts.add(by, "celine@duchemin.fr", Role.READER))
    for token, told in ((b"1", 0), (b"2", 1)):
        run(lambda t=token: accounts.add_token(by, account, t, 60, Act.INVITATION_SENT))
        assert run(lambda t=token: accounts.use_token(by, t, "hash"))
        assert len(office.tell()) == told


def test_a_second_factor_that_is_gone_is_told(office: Office) -> None:
    """Of those who run Mail6M, too; and not where there was none."""
    office.ask(
        "INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)"
        " VALUES (0, 'Mail6M', 'dedicated', 1, 'key')"
    )
    office.ask("INSERT INTO preferences (customer_id) VALUES (0)")
    [[account]] = office.ask(
        "INSERT INTO account (customer_id, email, role, password_hash, totp_secret)"
        " VALUES (0, 'o@mail6m.test', 'operator', 'hash', 'x') RETURNING account_id"
    )
    accounts, by = Accounts(office.pool), By(HOUSE, "o@mail6m.test", "192.0.2.7")
    assert run(lambda: accounts.turn_totp_off(by, account))
    assert office.tell() == [
        Told("o@mail6m.test", "Votre compte Mail6M n'a plus de second facteur")
    ]
    assert not run(lambda: accounts.turn_totp_off(by, account))
    assert office.tell() == []


# How it is told


def test_what_cannot_be_sent_is_sent_later_and_then_no_more(office: Office) -> None:
    """Ten minutes later; after three days it is news no more."""
    office.fill(office.customer(), 0.83)
    office.post.trouble = Unavailable("away")
    assert office.tell() == []
    office.post.trouble = None
    assert office.tell() == []
    office.passed += timedelta(minutes=6)
    office.ask("UPDATE notice SET due_at = due_at - interval '4 days'")
    assert office.tell() == []
    office.ask("UPDATE notice SET due_at = now()")
    assert office.tell() == [FILLING]


def test_what_is_known_is_told_though_a_look_fails(office: Office) -> None:
    """A changed password does not wait for a queue that takes too long to be looked at."""
    office.fill(office.customer(), 0.83)
    office.passed += INTERVAL
    table = NoticeTable(office.pool)
    run(lambda: table.look_at_cabinets(0.8, 0.7))
    due = office.due
    assert due is not None
    with (
        patch.object(NoticeTable, "look_at_cabinets", side_effect=Unavailable("too slow")),
        pytest.raises(Unavailable),
    ):
        run(due.send)
    assert [letter.subject for _, _, letter in office.post.sent] != []


def test_nobody_is_written_to_in_the_name_of_who_has_no_key(office: Office) -> None:
    """A customer that is being destroyed is told of nothing but that."""
    customer = office.customer()
    office.fill(customer, 0.83)
    office.ask("UPDATE customer SET wrapped_key = ''")
    assert office.tell() == []
    office.ask("DELETE FROM domain; DELETE FROM preferences; DELETE FROM customer")
    assert office.ask("SELECT count(*) FROM notice") == [(0,)]


def test_what_was_told_long_ago_is_forgotten_unless_it_lasts(office: Office) -> None:
    """Or a cabinet that stays full would be told of every two months."""
    customer = office.customer()
    for kind in ("password_changed", "cabinet_full", "queue_moving"):
        office.ask(
            "INSERT INTO notice (customer_id, kind, subject, due_at, told_at)"
            " VALUES (%s, %s, '', now() - interval '61 days', now())",
            *(customer, kind),
        )
    office.fill(customer, 0.9)
    office.tell()
    assert office.ask("SELECT kind FROM notice") == [("cabinet_full",)]


def test_whoever_has_no_address_is_told_through_the_administrators(office: Office) -> None:
    """Each with a link of their own."""
    customer = office.customer(email="")
    administrators = add_accounts(office.dsn, customer)
    office.fill(customer, 0.83)
    assert [to for to, _ in office.tell()] == administrators
    ends = [letter.unsubscribe for _, _, letter in office.post.sent]
    tokens = [end.removeprefix(f"{BASE}{PATH}") for end in ends]
    assert [office.subscriptions.read(token) for token in tokens] == [
        Subscriber(customer, address, CABINET) for address in administrators
    ]


def test_whoever_has_unsubscribed_is_not_told(office: Office) -> None:
    """About that, whatever the case of the address; about the rest, and later again, they are."""
    customer = office.customer(email="Georges@duchemin.fr")
    ending = Subscriber(customer, "georges@DUCHEMIN.fr", CABINET)
    for _ in range(2):
        run(lambda: office.subscriptions.end(ending, "192.0.2.7"))
    office.fill(customer, 0.83)
    office.queued(customer, HOUR + 60)
    assert [subject for _, subject in office.tell()] == [stuck(customer).subject]
    assert office.ask("SELECT account, act, object FROM audit") == [
        ("georges@DUCHEMIN.fr", str(Act.NOTICES_REFUSED), "cabinet (georges@DUCHEMIN.fr)")
    ]
    by = By(customer, "georges@duchemin.fr", "192.0.2.7")
    run(lambda: office.subscriptions.choose(by, "georges@duchemin.fr", set(TOPICS)))
    office.fill(customer, 0.1)
    assert office.tell() == []
    office.fill(customer, 0.83)
    assert [subject for _, subject in office.tell()] == [FILLING.subject]


# Links


def test_a_link_is_good_for_one_address_and_one_topic(office: Office) -> None:
    """Whatever is changed in it, it is none any more."""
    subscriber = Subscriber(12, "rené+x.y@duchemin.fr", QUEUE)
    token = office.subscriptions.path(subscriber).removeprefix(PATH)
    assert office.subscriptions.read(token) == subscriber
    customer, topic, address, mac = token.split(".")
    others = [
        f"13.{topic}.{address}.{mac}", f"{customer}.{CABINET}.{address}.{mac}", token[:-1],
        f"{customer}.{topic}.{address[:-1]}A.{mac}", token + "A", "", ".", "...", mac, "é" * 40,
        f"{customer}.{topic}.{address}", "x" * 5_000, "\ud800",
    ]  # fmt: skip
    for other in others:
        assert office.subscriptions.read(other) is None, other
    elsewhere = Subscriptions(Refusals(office.pool), b"another secret")
    assert elsewhere.read(token) is None


def test_a_link_of_a_customer_that_is_gone_does_nothing(office: Office) -> None:
    """And fails at nothing."""
    run(lambda: office.subscriptions.end(Subscriber(999_999, "a@x.test", QUEUE), ""))
    assert office.ask("SELECT count(*) FROM notice_refusal") == [(0,)]


# Operators


@dataclass
class Machine:
    """A disk, and certificates."""

    free: int = 100_000_000_000
    whole: int = 400_000_000_000
    f_frsize: int = 1

    @property
    def f_bavail(self) -> int:
        """See `os.statvfs_result`."""
        return self.free

    @property
    def f_blocks(self) -> int:
        """See `os.statvfs_result`."""
        return self.whole


@pytest.fixture
def house(office: Office) -> Office:
    """With operators."""
    office.ask(
        "INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)"
        " VALUES (0, 'Mail6M', 'dedicated', 1, 'key')"
    )
    office.ask("INSERT INTO preferences (customer_id) VALUES (0)")
    for role in ("operator", "bookkeeper", "observer"):
        office.ask(
            "INSERT INTO account (customer_id, email, role) VALUES (0, %s, %s)",
            *(f"{role}@mail6m.test", role),
        )
    return office


def test_operators_are_told_of_a_certificate_twice(house: Office, tmp_path: Path) -> None:
    """14 days before it ends, and 3; of one with several names, once."""
    ends = datetime.now(UTC) + timedelta(days=20)
    names = [("mx2.mail6m.test", ends), ("mx1.mail6m.test", ends)]
    watch = MachineWatch(NoticeTable(house.pool), tmp_path, 0, lambda: names, house.now)
    told = []
    for day in range(21):
        house.passed = timedelta(days=day)
        house.ask("UPDATE notice SET due_at = now() WHERE told_at IS NULL")
        with patch("os.statvfs", lambda _: Machine()):
            run(watch.look)
            run(watch.look)
        told += [(day, to) for to, _ in house.tell()]
    assert told == [(6, "operator@mail6m.test"), (17, "operator@mail6m.test")]
    [facts] = house.ask("SELECT facts ->> 'names' FROM notice ORDER BY due_at LIMIT 1")
    assert facts == ("mx1.mail6m.test, mx2.mail6m.test",)


def test_operators_are_told_of_a_disk_once(house: Office, tmp_path: Path) -> None:
    """Below a twentieth, or 20 GB; again when there has been half as much more."""
    machine = Machine(whole=100_000_000_000)
    watch = MachineWatch(NoticeTable(house.pool), tmp_path, 268_435_456, tuple, house.now)
    told = []
    with patch("os.statvfs", lambda _: machine):
        for free in (6, 4.9, 3, 5.1, 4.9, 7.6, 4.9):
            machine.free = int(free * 1_000_000_000)
            run(watch.look)
            told += [free for _ in house.tell()]
        machine.whole, machine.free = 10**13, 21_000_000_000
        house.ask("DELETE FROM notice")
        run(watch.look)
        assert house.tell() == []
        machine.whole, machine.free = 10**9, 1_000_000_000
        run(watch.look)
        assert len(house.tell()) == 1  # four times what must be free
    assert told == [4.9, 4.9]
