"""The way in on a real PostgreSQL: what is archived for whom, and what a sender hears instead."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.python.threadpool import ThreadPool

from mail6m.content import Budget, Content
from mail6m.directory import OWN, Directory
from mail6m.header import read
from mail6m.intake import SMALL, Accepted, Intake, Receipt, Rejected, new_message_id
from mail6m.model import (
    HOUSE,
    Client,
    Domain,
    Envelope,
    Host,
    Judged,
    Judgement,
    Message,
    Recipient,
    Reply,
    Shelf,
)
from mail6m.reader import Reader
from mail6m.seal import Keyring, SealError
from mail6m.settings import Settings
from mail6m.storage.archive import Archive, NewMessage
from mail6m.storage.catalogue import Catalogue
from mail6m.storage.customers import Customers
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.domains import Domains
from mail6m.storage.pool import Pool
from mail6m.turn import Turn
from tests.reactor_thread import run, the_reactor
from tests.stored import NOWHERE, ask, by, new_pool

HOSTNAME = "mx.mail6m.test"
SETTINGS = Settings(hostname=HOSTNAME, spool_threshold=200_000, max_header_size=10_000)
KEYRING = Keyring(bytes(32))
LETTER = b"From: Anne <anne@example.org>\r\nSubject: =?utf-8?q?=C3=89lan?=\r\n\r\nBonjour.\r\n"
NOISE = random.Random(3).randbytes(700_000)


class WayOut:
    """`mail6m.intake.Outgoing` that keeps a note of what it is given."""

    def __init__(self, server: int | None = 7) -> None:
        self.server = server
        self.offered: list[Accepted] = []
        self.doubted: list[NewMessage] = []

    def takes(self, destination: str, content: Content) -> int | None:
        return self.server

    def offer(self, accepted: Sequence[Accepted]) -> None:
        self.offered += accepted
        accepted[0].content.close()

    def doubt(self, messages: Sequence[NewMessage]) -> None:
        self.doubted += messages


class Ledger:
    """`mail6m.intake.Clients` and `Cabinets`: keeps a note of what was archived, and how large."""

    def __init__(self) -> None:
        self.messages: list[NewMessage] = []
        self.added_up: list[tuple[int, int]] = []

    def accepted(self, message: NewMessage) -> None:
        self.messages.append(message)

    def added(self, customer: int, stored: int) -> None:
        self.added_up.append((customer, stored))


class CountingArchive(Archive):
    """Tells the commits of small messages from those of large ones."""

    def __init__(self, pool: Pool, dsn: str) -> None:
        super().__init__(pool, dsn, 20.0)
        self.small: list[int] = []
        self.large = 0

    async def store(self, messages: Sequence[NewMessage], slot: int) -> None:
        self.small.append(len(messages))
        await super().store(messages, slot)

    def store_large(self, bodies: Sequence[tuple[NewMessage, Iterable[bytes]]], slot: int) -> None:
        self.large += 1
        super().store_large(bodies, slot)


class Ours(NamedTuple):
    """The customers whose mail these tests bring."""

    marie: int
    """mondomaine.fr"""
    paul: int
    """example.test and example.org"""


class House:
    """All that stands behind the door."""

    def __init__(self, dsn: str, pool: Pool, spool: Path, threads: ThreadPool) -> None:
        self.dsn = dsn
        self.domains, self.customers = Domains(pool), Customers(pool)
        self.archive = CountingArchive(pool, dsn)
        self.deliveries = Deliveries(pool)
        self.directory = Directory(
            the_reactor(), self.domains, self.customers, KEYRING, HOSTNAME, None
        )
        self.reader = Reader(self.archive, self.directory)
        self.catalogue = Catalogue(pool)
        self.budget = Budget(10_000_000)
        self.spool = spool
        self._threads = threads
        self.reset()

    def reset(self, store: Archive | None = None, server: int | None = 7) -> Intake:
        """A way in where nothing has happened yet, perhaps over another archive."""
        self.out, self.ledger = WayOut(server), Ledger()
        self.archive.small, self.archive.large = [], 0
        self.intake = Intake(
            the_reactor(),
            Turn(the_reactor()),
            SETTINGS,
            store or self.archive,
            self.directory,
            self.out,
            self.ledger,
            self.ledger,
            self._threads,
        )
        return self.intake

    def content(self, octets: bytes) -> Content:
        """A content in hand."""
        content = Content(self.budget, self.spool, SETTINGS.spool_threshold)
        for start in range(0, len(octets), 60_000):
            content.write(octets[start : start + 60_000])
        return content

    def accept(self, octets: bytes, *recipients: str, **envelope: Any) -> Receipt:
        """Bring a message."""
        content = self.content(octets)
        return run(lambda: self.intake.accept(addressed(*recipients, **envelope), content))

    def accept_together(self, letters: Sequence[bytes]) -> list[UUID | int]:
        """Bring messages at once; of each its id, or the code of the reply that refuses it."""
        contents = [self.content(letter) for letter in letters]

        async def accept() -> list[UUID | int]:
            running = [
                ensureDeferred(self.intake.accept(addressed(), content)) for content in contents
            ]
            results: list[UUID | int] = []
            for one in running:
                try:
                    results.append((await one).id)
                except Rejected as error:
                    results.append(error.reply.code)
            return results

        return run(accept)

    def refusal(self, octets: bytes, *recipients: str) -> Reply:
        """What the sender of a message hears that is not taken; its content must be closed."""
        content = self.content(octets)
        with pytest.raises(Rejected) as caught:
            run(lambda: self.intake.accept(addressed(*recipients), content))
        assert self.budget.used == 0
        assert content._file is None or content._file.closed
        assert self.out.offered == []
        assert self.ledger.messages == []
        return caught.value.reply

    def read(self, customer: int, message: UUID) -> bytes:
        """A message's octets, read back."""

        async def pieces() -> bytes:
            return b"".join([piece async for piece in self.reader.pieces(customer, message)])

        return run(pieces)

    def get(self, customer: int, message: UUID) -> Message:
        """What the archive knows of a message."""
        return run(lambda: self.archive.get(customer, message))

    def archived(self, customer: int) -> list[Message]:
        """A customer's archive."""
        return run(lambda: self.catalogue.page(customer, Shelf.CABINET, 1, 10_000)).messages


def addressed(*recipients: str, sender: str = "anne@example.org", **values: Any) -> Envelope:
    """An envelope."""
    to = tuple(map(Recipient, recipients or ("marie@mondomaine.fr",)))
    return Envelope(sender, to, Client("192.0.2.1", "mail.example.org"), **values)


@pytest.fixture(scope="module")
def house(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A database, two customers and their domains."""
    threads = ThreadPool(0, 2)
    threads.start()
    with new_pool(dsn, size=4) as pool:
        house = House(dsn, pool, tmp_path_factory.mktemp("spool"), threads)
        run(lambda: house.customers.add_house(KEYRING.new_wrapped_key(HOUSE)))
        yield house
        house.archive.close()
    threads.stop()


@pytest.fixture(scope="module")
def ours(house: House) -> Ours:
    """The customers' numbers."""
    hosts = (Host("127.0.0.1", 2525),)
    for number, domains in ((1, ["mondomaine.fr"]), (2, ["example.test", "paul.test"])):
        wrapped = KEYRING.new_wrapped_key(number)
        run(
            lambda number=number, wrapped=wrapped: house.customers.add(  # type: ignore[misc]
                customer=number,
                company="Duchemin",
                email=f"{number}@example.org",
                plan="malle",
                capacity=5,
                wrapped_key=wrapped,
                password_hash=None,
            )
        )
        for name in domains:
            domain = Domain(name, number, hosts)
            run(lambda domain=domain: house.domains.add(by(domain.customer), domain))  # type: ignore[misc]
    return Ours(1, 2)


@pytest.fixture(autouse=True)
def fresh(house: House, ours: Ours) -> Iterator[None]:
    """Nothing has been brought, and afterwards no memory is held for it."""
    house.reset()
    yield
    assert house.budget.used == 0


# What is archived


def test_a_message_is_archived_and_offered(house: House, ours: Ours) -> None:
    """Octets, metadata and deliveries are there when the receipt is."""
    receipt = house.accept(LETTER, "Marie@mondomaine.fr", sender="", envid="q", returns="HDRS")
    assert house.read(ours.marie, receipt.id) == LETTER
    message = house.get(ours.marie, receipt.id)
    assert message.subject == "Élan"
    assert message.header_from == "Anne <anne@example.org>"
    assert (message.sender, message.recipients) == ("", ("Marie@mondomaine.fr",))
    assert message.sha256 == hashlib.sha256(LETTER).digest()
    assert (message.raw_size, message.shelf) == (len(LETTER), Shelf.CABINET)
    [accepted] = house.out.offered
    assert accepted.header == LETTER[: LETTER.index(b"Bonjour")]
    assert accepted.message.envelope.envid == "q"
    assert [new.id for new in house.ledger.messages] == [receipt.id]
    [delivery] = run(lambda: house.deliveries.of_message(ours.marie, receipt.id))
    assert (delivery.recipient, delivery.destination) == ("Marie@mondomaine.fr", "mondomaine.fr")


SIZES = [0, 1, SMALL, SMALL + 1, 200_000, 200_001, 700_000]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_comes_back(house: House, ours: Ours, size: int) -> None:
    """Small, large in memory and large in a file: the same octets, and honest figures."""
    octets = NOISE[:size]
    receipt = house.accept(octets)
    assert (house.archive.large, sum(house.archive.small)) == ((1, 0) if size > SMALL else (0, 1))
    assert house.read(ours.marie, receipt.id) == octets
    message = house.get(ours.marie, receipt.id)
    assert message.raw_size == size
    assert message.sha256 == hashlib.sha256(octets).digest()
    sql = "SELECT sum(length(sealed)) FROM body WHERE message_id = %s"
    assert ask(house.dsn, sql, str(receipt.id)) == [(message.stored_size,)]
    [noted] = house.ledger.messages
    assert (noted.stored_size, noted.sha256) == (message.stored_size, message.sha256)


AWKWARD = [
    b"Subject: nul \0 here\r\n\r\n\0\0\0",
    b"Subject: bare\nlf\r\n\rcr\r\n.\r\n..\r\n",
    b"\xff\xfe\x00latin\xe9\r\n" * 10,
    b"Subject: long " + b"x" * 8_000 + b"\r\n\r\n" + b"y" * 300_000,
    b"no end of line",
    b"\r\n.\r\n",
]


@pytest.mark.parametrize("octets", AWKWARD)
def test_awkward_octets_come_back(house: House, ours: Ours, octets: bytes) -> None:
    """What is archived is what was received: NULs, long lines, lone newlines, dots."""
    assert house.read(ours.marie, house.accept(octets).id) == octets


@settings(max_examples=25)
@given(
    st.binary(max_size=400) | st.builds(lambda unit: b"\r\n" + unit * 9_000, st.binary(max_size=20))
)
def test_any_octets_come_back(house: House, octets: bytes) -> None:
    """No content is refused for what it says, nor changed."""
    assert house.read(1, house.accept(octets).id) == octets


def test_the_beginning_alone(house: House, ours: Ours) -> None:
    """A bounce needs a header, and not all of a large message."""
    receipt = house.accept(LETTER + NOISE)
    assert run(lambda: house.reader.head(ours.marie, receipt.id, 50)) == LETTER[:50]
    head = run(lambda: house.reader.head(ours.marie, receipt.id, 1 << 30))
    assert head == LETTER + NOISE


# Several customers


@pytest.mark.parametrize("octets", [LETTER, LETTER + NOISE])
def test_mail_for_several_customers(house: House, ours: Ours, octets: bytes) -> None:
    """Archived once for each, under keys of their own, and nobody sees the others' recipients."""
    recipients = ("marie@mondomaine.fr", "paul@example.test", "anne@mondomaine.fr", "p@paul.test")
    receipt = house.accept(octets, *recipients)
    theirs = {
        ours.marie: ("marie@mondomaine.fr", "anne@mondomaine.fr"),
        ours.paul: ("paul@example.test", "p@paul.test"),
    }
    assert {m.message.customer for m in house.out.offered} == set(theirs)
    for customer, addresses in theirs.items():
        message = house.get(customer, receipt.id)
        assert message.recipients == addresses
        assert message.sha256 == hashlib.sha256(octets).digest()
        assert house.read(customer, receipt.id) == octets
        deliveries = run(
            lambda customer=customer: house.deliveries.of_message(  # type: ignore[misc]
                customer, receipt.id
            )
        )
        assert tuple(one.recipient for one in deliveries) == addresses
        offered = [m for m in house.out.offered if m.message.customer == customer]
        assert [len(offered), *[m.message.envelope.recipients for m in offered]] == [
            1, tuple(map(Recipient, addresses)),
        ]  # fmt: skip
    bodies = [
        run(lambda customer=c: house.archive.parts(customer, receipt.id, 0, 99))  # type: ignore[misc]
        for c in theirs
    ]
    assert not set(bodies[0]) & set(bodies[1])
    assert len(house.ledger.messages) == 2


def test_a_key_opens_its_customers_mail_only(house: House, ours: Ours) -> None:
    """Rows that were moved to another customer do not open there."""
    receipt = house.accept(LETTER)
    ask(
        house.dsn,
        """INSERT INTO body SELECT 2, message_id, part, sealed FROM body WHERE message_id = %s""",
        str(receipt.id),
    )
    with pytest.raises(SealError):
        house.read(ours.paul, receipt.id)


def test_a_body_that_was_cut_short(house: House, ours: Ours) -> None:
    """A row that is missing is an error, and never a shorter message."""
    receipt = house.accept(NOISE)
    last = len(run(lambda: house.archive.parts(ours.marie, receipt.id, 0, 999))) - 1
    sql = "DELETE FROM body WHERE message_id = %s AND part = %s RETURNING part"
    assert ask(house.dsn, sql, str(receipt.id), last) == [(last,)]
    with pytest.raises(SealError, match="missing"):
        house.read(ours.marie, receipt.id)


# What is not taken


def test_a_mail_loop(house: House) -> None:
    """Fifty hops are many, one more is a loop."""
    hop = b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    house.accept(hop * 50 + LETTER)
    house.reset()
    assert house.refusal(hop * 51 + LETTER)[:2] == (554, "5.4.6")


def header(size: int) -> bytes:
    """A header of exactly that size, with its blank line."""
    fill = b"".join(b"X-%04d: %s\r\n" % (n, b"x" * 40) for n in range(1_000))[: size - 60]
    fill = fill[: fill.rindex(b"\r\n") + 2]
    return fill + b"X: " + b"y" * (size - len(fill) - 7) + b"\r\n\r\n"


def test_a_header_that_is_too_big(house: House, ours: Ours) -> None:
    """The limit is what fits, and an octet more is 552, small or large, however it is made up."""
    limit = SETTINGS.max_header_size
    for body in (b"", b"x", NOISE):
        assert len(header(limit)) == limit
        house.accept(header(limit) + body)
        house.reset()
        assert house.refusal(header(limit + 1) + body)[:2] == (552, "5.3.4")
        assert house.refusal(header(3 * limit) + body)[:2] == (552, "5.3.4")
    assert house.refusal(b"Subject: " + b"x" * 2 * limit)[:2] == (552, "5.3.4")


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 10, 40, 70])
def test_a_big_header_whose_limit_falls_anywhere(house: House, shift: int) -> None:
    """In the middle of a field's name, too."""
    field = b"X-Quite-A-Long-Name-For-A-Field-That-Says-Nothing-At-All-To-Anybody: x\r\n"
    octets = b"A: " + b"a" * shift + b"\r\n" + field * 300 + b"\r\nbody\r\n"
    assert house.refusal(octets)[:2] == (552, "5.3.4")


def test_a_body_without_a_header_may_be_long(house: House, ours: Ours) -> None:
    """What is no header is not counted as one."""
    for octets in (b"\r\n" + b"x: y\r\n" * 5_000, b"not a field\r\n" * 5_000, b"\xe9" * 50_000):
        assert house.read(ours.marie, house.accept(octets).id) == octets


def test_the_domain_was_removed_meanwhile(house: House, ours: Ours) -> None:
    """Known at RCPT, gone at the end of data: the sender asks again, and nobody gets a part."""
    domain = Domain("short.test", ours.paul, (Host("127.0.0.1"),))
    run(lambda: house.domains.add(by(ours.paul), domain))
    assert run(lambda: house.directory.owner("paul@short.test")) is not None
    run(lambda: house.domains.remove(by(ours.paul), "short.test"))
    house.directory.forget()  # as the NOTIFY has it
    before = len(house.archived(ours.marie))
    assert house.refusal(LETTER, "marie@mondomaine.fr", "paul@short.test")[:2] == (451, "4.3.5")
    assert len(house.archived(ours.marie)) == before


LATER = (451, "4.3.0")


@pytest.mark.parametrize("octets", [LETTER, LETTER + NOISE])
def test_the_database_is_away(house: House, octets: bytes) -> None:
    """451 whatever was known before it went, and the way out is told to look after what may be."""
    with new_pool(NOWHERE) as pool:
        house.accept(LETTER)  # domain and key are in memory now
        house.reset(Archive(pool, NOWHERE, 1.0))
        assert house.refusal(octets)[:2] == LATER
        assert [m.envelope.recipients[0].address for m in house.out.doubted] == [
            "marie@mondomaine.fr"
        ]
        stranger = Directory(the_reactor(), Domains(pool), Customers(pool), KEYRING, HOSTNAME, None)
        known, house.directory = house.directory, stranger
        try:
            house.reset()
            assert house.refusal(octets)[:2] == LATER
            assert house.out.doubted == []
        finally:
            house.directory = known


def test_the_wrong_master_key(house: House, ours: Ours) -> None:
    """A key that does not open is our trouble: 451, and nothing is stored."""
    wrapped = Keyring(bytes(31) + b"\1").new_wrapped_key(ours.marie)
    sql = "UPDATE customer SET wrapped_key = %s WHERE customer_id = %s RETURNING 1"
    [(right,)] = ask(house.dsn, "SELECT wrapped_key FROM customer WHERE customer_id = 1")
    before = len(house.archived(ours.marie))
    ask(house.dsn, sql, wrapped, ours.marie)
    house.directory.forget()
    try:
        assert house.refusal(LETTER)[:2] == LATER
    finally:
        ask(house.dsn, sql, right, ours.marie)
        house.directory.forget()
    assert len(house.archived(ours.marie)) == before


def test_a_spool_that_cannot_be_read(house: House, ours: Ours) -> None:
    """A failing disk is a temporary trouble of ours, and leaves nothing in the archive."""

    class Broken(Content):
        """It cannot be read back."""

        def pieces(self) -> Iterator[bytes]:
            yield b"Subject: half"
            raise OSError(5, "Input/output error")

    before = house.archived(ours.marie)
    content = Broken(house.budget, house.spool, SETTINGS.spool_threshold)
    content.write(NOISE)
    with pytest.raises(Rejected) as caught:
        run(lambda: house.intake.accept(addressed(), content))
    assert caught.value.reply.code in (451, 452)
    assert house.archived(ours.marie) == before
    assert house.budget.used == 0


# Together


def test_a_receipt_tells_of_spam(house: House, ours: Ours) -> None:
    """What is spam for one of the customers is spam for whoever wants to know."""

    class Judge:
        def judge(self, envelope: Envelope, content: Content, customers: Any) -> Deferred[Judged]:
            return succeed(Judged({c: Judgement(spam=c == ours.paul) for c in customers}))

    house.intake._judging = cast(Any, Judge())
    assert not house.accept(LETTER, "marie@mondomaine.fr").spam
    assert house.accept(LETTER, "marie@mondomaine.fr", "paul@example.test").spam


def test_many_at_once_share_commits(house: House, ours: Ours) -> None:
    """A hundred senders, large messages among them: few commits, and everybody's own octets."""
    letters = [
        b"Subject: %d\r\n\r\n" % n + NOISE[: 90_000 if n % 25 == 0 else n] for n in range(100)
    ]
    contents = [house.content(letter) for letter in letters]

    async def accept() -> list[Receipt]:
        running = [
            ensureDeferred(house.intake.accept(addressed(), content)) for content in contents
        ]
        return [await one for one in running]

    receipts = run(accept)
    assert len({receipt.id for receipt in receipts}) == 100
    assert house.archive.large == 4
    assert sum(house.archive.small) == 96
    assert len(house.archive.small) <= 10
    for receipt, letter in zip(receipts, letters, strict=True):
        assert house.get(ours.marie, receipt.id).sha256 == hashlib.sha256(letter).digest()
    assert house.read(ours.marie, receipts[75].id) == letters[75]


def test_one_that_cannot_be_stored_fails_alone(
    house: House, ours: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id that is there already spoils its own commit only."""
    taken = house.accept(LETTER).id
    ids = iter([taken] + [new_message_id(n) for n in range(4)])
    monkeypatch.setattr("mail6m.intake.new_message_id", lambda _: next(ids))
    results = house.accept_together([LETTER] * 5)
    assert results[0] == 451
    assert all(isinstance(one, UUID) for one in results[1:])
    assert len(house.archived(ours.marie)) >= 5


def test_one_that_is_refused_holds_up_nobody(house: House, ours: Ours) -> None:
    """A mail loop among others: it is refused alone, and they share one commit."""
    loop = b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * 51 + LETTER
    house.reset()
    results = house.accept_together([LETTER, loop, LETTER, LETTER])
    assert results[1] == 554
    assert [type(one) for one in results] == [UUID, int, UUID, UUID]
    assert house.archive.small == [3]
    assert len(house.ledger.messages) == 3


def test_a_large_one_that_is_refused_waits_for_nobody(house: House) -> None:
    """All threads are at work on other large messages, and it needs none to be refused."""
    for _ in range(SETTINGS.seal_threads):
        run(house.intake._large.acquire)
    loop = b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * 51 + LETTER
    assert house.refusal(loop + NOISE)[:2] == (554, "5.4.6")


def test_the_way_out_may_be_full(house: House, ours: Ours) -> None:
    """What it does not take is queued for whoever comes first."""
    house.reset(server=None)
    receipt = house.accept(LETTER)
    sql = "SELECT server_id, next_attempt_at <= now() FROM delivery WHERE message_id = %s"
    assert ask(house.dsn, sql, str(receipt.id)) == [(None, True)]


# Mail of our own, and to ourselves


def test_our_own_letters_are_in_transit(house: House, ours: Ours) -> None:
    """Stored and queued like any, but they are not the customer's archive."""
    before = len(house.archived(ours.marie))
    content = house.content(LETTER)
    destination = OWN + "example.org"
    receipt = run(
        lambda: house.intake.submit(
            ours.marie, addressed("anne@example.org", sender=""), destination, content
        )
    )
    assert house.get(ours.marie, receipt.id).shelf is Shelf.TRANSIT
    assert len(house.archived(ours.marie)) == before
    assert house.read(ours.marie, receipt.id) == LETTER
    [delivery] = run(lambda: house.deliveries.of_message(ours.marie, receipt.id))
    assert delivery.destination == destination


def test_mail_to_postmaster_is_the_houses(house: House) -> None:
    """Archived for Mail6M itself, and relayed nowhere when no postmaster is set."""
    receipt = house.accept(LETTER, "postmaster", f"Postmaster@{HOSTNAME}")
    assert house.get(HOUSE, receipt.id).recipients == ("postmaster", f"Postmaster@{HOSTNAME}")
    assert run(lambda: house.deliveries.of_message(HOUSE, receipt.id)) == []
    assert house.read(HOUSE, receipt.id) == LETTER


def test_postmaster_of_a_customers_domain_that_we_are_named_after(house: House, ours: Ours) -> None:
    """Whose mail it is does not depend on what happens to be in memory."""
    name = "mondomaine.fr"
    directory = Directory(the_reactor(), house.domains, house.customers, KEYRING, name, None)
    unknown = run(lambda: directory.owner(f"postmaster@{name}"))
    run(lambda: directory.owner(f"marie@{name}"))
    known = directory.known_owner(f"postmaster@{name}")
    assert known is None or known == unknown
    assert run(lambda: directory.owner(f"postmaster@{name}")) == unknown


# Ids


def test_ids_are_in_order_of_arrival() -> None:
    """RFC 9562, 5.7: version 7, the variant, and the time in front."""
    ids = [
        new_message_id(milliseconds) for milliseconds in (0, 1, 1_750_000_000_000, (1 << 48) - 1)
    ]
    assert ids == sorted(ids)
    assert {one.version for one in ids} == {7}
    assert {one.variant for one in ids} == {"specified in RFC 4122"}
    assert ids[2].int >> 80 == 1_750_000_000_000
    assert len({new_message_id(5) for _ in range(1_000)}) == 1_000


def test_summaries_are_those_of_the_header(house: House, ours: Ours) -> None:
    """What stands behind the blank line is not read."""
    octets = LETTER + b"Subject: no\r\nFrom: nobody@x.test\r\n"
    message = house.get(ours.marie, house.accept(octets).id)
    assert message.subject == read(LETTER)[0].subject
    assert message.header_from == "Anne <anne@example.org>"
