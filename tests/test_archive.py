"""The archive on a real PostgreSQL: what is stored is found, whole, and by its customer only."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail6m.model import Client, Envelope, Message, Notify, Recipient, Shelf
from mail6m.seal import open_all
from mail6m.storage.archive import Archive, NewDelivery, NewMessage
from mail6m.storage.catalogue import Catalogue
from mail6m.storage.errors import Refused, Unavailable
from mail6m.storage.pool import Pool
from tests.reactor_thread import run
from tests.stored import KEY, NOON, NOWHERE, ask, by, new_customer, new_message, new_pool

NOISE = random.Random(2).randbytes(100_000)
"""Makes thirteen parts."""


@pytest.fixture(scope="module")
def pool(database: str) -> Iterator[Pool]:
    """Connections."""
    with new_pool(database) as pool:
        Catalogue(pool)  # each connection prepares its statements when it is opened
        yield pool


@pytest.fixture(scope="module")
def archive(database: str, pool: Pool) -> Iterator[Archive]:
    """The archive in the shared database; every test has customers of its own."""
    archive = Archive(pool, database, 20.0)
    yield archive
    archive.close()


@pytest.fixture
def customer() -> int:
    """A customer's number."""
    return new_customer()


def store(archive: Archive, *messages: NewMessage, slot: int = 0) -> None:
    """Commit messages the small way."""
    run(lambda: archive.store(messages, slot))


def listed(archive: Archive, customer: int) -> list[Message]:
    """A customer's cabinet."""
    return run(lambda: Catalogue(archive._pool).page(customer, Shelf.CABINET, 1, 1_000)).messages


def found(archive: Archive, customer: int) -> list[UUID]:
    """The ids of what is in a customer's cabinet."""
    return [message.id for message in listed(archive, customer)]


def delete(archive: Archive, customer: int, *messages: UUID) -> int:
    """Delete messages; how many there were."""
    return run(lambda: archive.delete(by(customer), messages))


def parts(archive: Archive, customer: int, message: UUID) -> list[bytes]:
    """All parts of a message."""
    return run(lambda: archive.parts(customer, message, 0, 1_000))


def counts(dsn: str, customer: int) -> dict[int, tuple[int, int]]:
    """Messages and stored bytes by shelf, as the counters have it."""
    sql = """SELECT shelf, sum(messages)::bigint, sum(bytes)::bigint FROM shelf_count
             WHERE customer_id = %s GROUP BY shelf"""
    return {shelf: (messages, octets) for shelf, messages, octets in ask(dsn, sql, customer)}


def contents(dsn: str, customer: int) -> dict[int, tuple[int, int]]:
    """The same, counted out: messages, and the octets of their parts."""
    sql = """SELECT shelf, count(DISTINCT message_id), sum(length(sealed))::bigint
             FROM message JOIN body USING (customer_id, message_id)
             WHERE customer_id = %s GROUP BY shelf"""
    return {shelf: (messages, octets) for shelf, messages, octets in ask(dsn, sql, customer)}


# Stored and read back


def test_what_is_stored_comes_back(archive: Archive, customer: int) -> None:
    """Every column of the list, and every part."""
    new = new_message(customer, NOISE, recipients=("marie@mondomaine.fr", "élan@mondomaine.fr"))
    store(archive, new)
    message = run(lambda: archive.get(customer, new.id))
    assert message == Message(
        customer=customer,
        id=new.id,
        received_at=datetime.fromtimestamp(NOON / 1000, UTC),
        sender="anne@example.org",
        recipients=("marie@mondomaine.fr", "élan@mondomaine.fr"),
        header_from="Anne <anne@example.org>",
        header_to="Marie",
        subject="Bonjour",
        message_id="<1@example.org>",
        raw_size=len(NOISE),
        stored_size=sum(map(len, new.parts)),
        sha256=new.sha256,
        spam=None,
        shelf=Shelf.CABINET,
        brought_back=False,
    )
    assert listed(archive, customer) == [message]
    assert parts(archive, customer, new.id) == list(new.parts)
    assert open_all(KEY, new.id, parts(archive, customer, new.id)) == NOISE


def test_the_envelope_comes_back(archive: Archive, customer: int) -> None:
    """All that a relay needs to know, odd characters included."""
    client = Client("2001:db8::1", "[fd00::1]", "mail.exämple.org", "UTF8SMTPS", "TLSv1.3 X")
    envelope = Envelope(
        "", (Recipient("a@b.test"),), client, True, True, "HDRS", "QQ\\'314\x7f", True
    )
    new = new_message(customer)
    new.envelope = envelope
    store(archive, new)
    got, size = run(lambda: archive.envelope(customer, new.id))
    assert got == envelope._replace(recipients=())
    assert size == new.raw_size
    assert run(lambda: archive.get(customer, new.id)).sender == ""


def test_parts_are_fetched_by_the_handful(archive: Archive, customer: int) -> None:
    """From any part on, and no more than there are."""
    new = new_message(customer, NOISE)
    store(archive, new)
    assert len(new.parts) == 13
    assert run(lambda: archive.parts(customer, new.id, 4, 3)) == list(new.parts[4:7])
    assert run(lambda: archive.parts(customer, new.id, 12, 64)) == [new.parts[12]]
    assert run(lambda: archive.parts(customer, new.id, 13, 64)) == []


@settings(max_examples=25)
@given(
    st.lists(st.text(st.characters(exclude_characters="\n"), min_size=1, max_size=20), max_size=4),
    st.text(max_size=30),
)
def test_no_address_spoils_a_commit(archive: Archive, addresses: list[str], hello: str) -> None:
    """NULs, lone surrogates, quotes and backslashes of strangers are stored as far as can be."""
    customer = new_customer()
    odd, plain = new_message(customer), new_message(customer)
    sender = addresses[0] if addresses else ""
    client = Client("192.0.2.1", hello, hello)
    odd.envelope = Envelope(sender, tuple(map(Recipient, addresses)), client, envid=hello)
    odd.deliveries = [
        NewDelivery(Recipient(address, 0, hello), "d.test", None) for address in addresses
    ]
    store(archive, odd, plain)
    message = run(lambda: archive.get(customer, odd.id))
    assert len(message.recipients) == len(addresses)
    storable = [a for a in addresses if a.isprintable()]
    assert [a for a in message.recipients if a in storable] == storable
    assert run(lambda: archive.get(customer, plain.id)).sender == "anne@example.org"


def test_a_commit_is_all_or_none(database: str, archive: Archive, customer: int) -> None:
    """A batch with a message that is there already leaves nothing of the others."""
    known, fresh = new_message(customer), new_message(customer, destination="mondomaine.fr")
    store(archive, known)
    before = counts(database, customer)
    with pytest.raises(Exception, match="duplicate key"):
        store(archive, fresh, known)
    assert found(archive, customer) == [known.id]
    assert parts(archive, customer, fresh.id) == []
    assert counts(database, customer) == before
    assert ask(database, "SELECT 1 FROM delivery WHERE customer_id = %s", customer) == []


def test_without_a_database(database: str) -> None:
    """Both ways in say `Unavailable`, which a sender hears as 451."""
    with new_pool(NOWHERE) as pool:
        archive = Archive(pool, NOWHERE, 1.0)
        new = new_message(1)
        with pytest.raises(Unavailable):
            store(archive, new)
        with pytest.raises(Unavailable):
            archive.store_large([(new, new.parts)], 0)


# The large way in


EVERYTHING = """
SELECT
    (SELECT jsonb_agg(to_jsonb(m) - 'customer_id') FROM message m WHERE customer_id = %(customer)s),
    (SELECT jsonb_agg(to_jsonb(b) - 'customer_id' ORDER BY part) FROM body b
     WHERE customer_id = %(customer)s),
    (SELECT jsonb_agg(to_jsonb(d) - '{customer_id,queued_at,next_attempt_at}'::text[]
     ORDER BY number) FROM delivery d WHERE customer_id = %(customer)s),
    (SELECT jsonb_agg(to_jsonb(c) - 'customer_id' ORDER BY shelf, day, slot) FROM shelf_count c
     WHERE customer_id = %(customer)s)"""


def as_stored(dsn: str, customer: int) -> tuple[Any, ...]:
    """All rows of a customer, in all tables, but for the number and the times of the queue."""
    return ask(dsn, EVERYTHING, {"customer": customer})[0]


@pytest.mark.parametrize("content", [b"", b"Subject: x\r\n\r\n", NOISE])
def test_the_large_way_is_the_same_way(database: str, archive: Archive, content: bytes) -> None:
    """`store` and `store_large` leave the same rows, but for the customer's number."""
    small = new_message(new_customer(), content, destination="mondomaine.fr", server=7)
    large = new_message(new_customer(), content, destination="mondomaine.fr", server=7)
    large.id, large.parts = small.id, small.parts
    large.stored_size = small.stored_size
    store(archive, small)
    archive.store_large([(large, iter(small.parts))], 0)
    assert as_stored(database, large.customer) == as_stored(database, small.customer)
    assert None not in as_stored(database, large.customer)


def test_the_large_way_reads_sizes_at_the_end(archive: Archive, customer: int) -> None:
    """Hash and stored size are known when the last part has been made, and not before."""
    new = new_message(customer, NOISE)
    sealed, digest = new.parts, new.sha256
    new.parts, new.stored_size, new.sha256 = (), 0, b""

    def made() -> Iterator[bytes]:
        yield from sealed
        new.stored_size, new.sha256 = sum(map(len, sealed)), digest

    archive.store_large([(new, made())], 2)
    message = run(lambda: archive.get(customer, new.id))
    assert (message.stored_size, message.sha256) == (sum(map(len, sealed)), digest)
    assert parts(archive, customer, new.id) == list(sealed)


def test_the_large_way_is_all_or_none(database: str, archive: Archive, customer: int) -> None:
    """Content that breaks off while it is sent leaves nothing, and the next message gets in."""
    first, second, third = (new_message(customer, NOISE) for _ in range(3))

    def breaks_off() -> Iterator[bytes]:
        yield second.parts[0]
        raise OSError("the spool is gone")

    for _ in range(3):
        with pytest.raises((OSError, Unavailable)):
            archive.store_large([(first, first.parts), (second, breaks_off())], 0)
    assert parts(archive, customer, first.id) == []
    assert found(archive, customer) == []
    archive.store_large([(third, third.parts)], 0)
    assert contents(database, customer) == counts(database, customer)
    assert found(archive, customer) == [third.id]


def test_the_large_way_survives_a_killed_backend(
    database: str, archive: Archive, customer: int
) -> None:
    """A connection that was kept and died meanwhile is replaced without anybody noticing."""
    for _ in range(2):
        new = new_message(customer, NOISE)
        archive.store_large([(new, new.parts)], 0)
        [spare] = archive._blocking._spare
        pid = spare.info.backend_pid
        assert ask(database, "SELECT pg_terminate_backend(%s, 10000)", pid) == [(True,)]
    assert len(found(archive, customer)) == 2


# Whose mail it is


def test_customers_do_not_see_each_other(database: str, archive: Archive, customer: int) -> None:
    """Nothing of a message is reached by another customer's number, not even by its own id."""
    other = new_customer()
    mine = new_message(customer, destination="mondomaine.fr")
    store(archive, mine)
    for intruder in (other, 0, -1):
        assert found(archive, intruder) == [] or intruder == 0
        assert parts(archive, intruder, mine.id) == []
        assert delete(archive, intruder, mine.id) == 0
        for way in (archive.get, archive.envelope):
            with pytest.raises(Refused, match="has no message"):
                run(lambda way=way, intruder=intruder: way(intruder, mine.id))  # type: ignore[misc]
    assert found(archive, customer) == [mine.id]
    assert parts(archive, customer, mine.id) == list(mine.parts)


def test_a_shared_message_is_deleted_for_one_customer_only(
    database: str, archive: Archive, customer: int
) -> None:
    """Mail for two customers has one id, and each has a copy of its own."""
    other = new_customer()
    one, two = (new_message(who, destination="d.test") for who in (customer, other))
    two.id = one.id
    store(archive, one, two)
    assert delete(archive, customer, one.id) == 1
    assert found(archive, customer) == []
    assert found(archive, other) == [one.id]
    assert parts(archive, other, one.id) == list(two.parts)
    sql = "SELECT customer_id FROM delivery WHERE message_id = %s"
    assert ask(database, sql, str(one.id)) == [(other,)]


def test_an_unknown_message(archive: Archive, customer: int) -> None:
    """`Refused`, in a line for the operator."""
    missing = uuid4()
    for way in (archive.get, archive.envelope):
        with pytest.raises(Refused, match=f"customer {customer} has no message {missing}"):
            run(lambda way=way: way(customer, missing))  # type: ignore[misc]
    assert delete(archive, customer, missing) == 0


# Counters


def test_counters_reconcile(database: str, archive: Archive, customer: int) -> None:
    """Through stores of both kinds, slots and shelves and deletes, they say what is there."""
    small = [new_message(customer, NOISE[:size]) for size in (10, 1_000, 20_000)]
    cellar = new_message(customer, shelf=Shelf.CELLAR)
    transit = new_message(customer, shelf=Shelf.TRANSIT)
    large = new_message(customer, NOISE)
    store(archive, small[0], small[1], cellar, slot=0)
    store(archive, small[2], transit, slot=1)
    archive.store_large([(large, large.parts)], slot=2)
    assert counts(database, customer) == contents(database, customer)
    assert counts(database, customer)[Shelf.CABINET][0] == 4
    assert delete(archive, customer, large.id) == 1
    assert delete(archive, customer, small[0].id, cellar.id) == 2
    expected = contents(database, customer) | {Shelf.CELLAR: (0, 0)}
    assert counts(database, customer) == expected


def test_a_delete_counts_once(database: str, archive: Archive, customer: int) -> None:
    """Who deletes a second time deletes nothing, and the counters do not go below what is there."""
    new = new_message(customer, destination="d.test")
    store(archive, new)
    assert delete(archive, customer, new.id, new.id) == 1
    assert delete(archive, customer, new.id) == 0
    assert counts(database, customer) == {Shelf.CABINET: (0, 0)}
    assert as_stored(database, customer)[:3] == (None, None, None)


def test_totals_are_of_everybody(archive: Archive, customer: int) -> None:
    """What the operator's status shows grows by what anybody stores on that shelf."""
    before = run(lambda: archive.totals(Shelf.CELLAR))
    new = [new_message(who, shelf=Shelf.CELLAR) for who in (customer, new_customer())]
    store(archive, *new, new_message(customer))
    messages, octets = run(lambda: archive.totals(Shelf.CELLAR))
    assert messages == before[0] + 2
    assert octets == before[1] + sum(one.stored_size for one in new)


# Queued


def test_deliveries_are_queued_with_the_message(
    database: str, archive: Archive, customer: int
) -> None:
    """Due at once when nobody has them in hand, and to others much later when a server has."""
    new = new_message(customer, destination="mondomaine.fr")
    new.deliveries = [
        NewDelivery(Recipient("a@d.test", Notify.SUCCESS | Notify.DELAY, "rfc822;a"), "d.test", 9),
        NewDelivery(Recipient("b@e.test"), "e.test", None),
    ]
    store(archive, new)
    sql = """SELECT number, recipient, notify, original, destination, state, attempts, server_id,
                    extract(epoch FROM next_attempt_at - queued_at)::integer
             FROM delivery WHERE customer_id = %s ORDER BY number"""
    assert ask(database, sql, customer) == [
        (0, "a@d.test", 10, "rfc822;a", "d.test", 0, 0, 9, 900),
        (1, "b@e.test", 0, "", "e.test", 0, 0, None, 0),
    ]
