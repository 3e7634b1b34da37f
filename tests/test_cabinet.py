"""The cabinet on a real PostgreSQL: its pages are the list, and what is searched is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail6m.fold import Field, Grams, grams, spans, term
from mail6m.model import Criteria, Shelf, Summary
from mail6m.shelves.cabinet import Cabinet, criteria
from mail6m.shelves.indexer import Indexer
from mail6m.storage import catalogue
from mail6m.storage.archive import DAY, Archive, NewMessage
from mail6m.storage.catalogue import Catalogue, Entry
from tests.reactor_thread import run, the_reactor
from tests.stored import NOON, ask, by, new_customer, new_message, new_pool


class Shelves(NamedTuple):
    """An archive, and what is read of it."""

    archive: Archive
    catalogue: Catalogue
    indexer: Indexer
    cabinet: Cabinet


@pytest.fixture(scope="module")
def shelves(database: str) -> Iterator[Shelves]:
    """In the shared database; every test has customers of its own."""
    with new_pool(database) as pool:
        archive = Archive(pool, database, 20.0)
        own = Catalogue(pool)
        indexer = Indexer(the_reactor(), own)
        cabinet = Cabinet(own, indexer)
        yield Shelves(archive, own, indexer, cabinet)
        archive.close()


@pytest.fixture
def customer() -> int:
    """A customer's number."""
    return new_customer()


def store(shelves: Shelves, *messages: NewMessage) -> None:
    """Commit messages."""
    run(lambda: shelves.archive.store(messages, 0))


def delete(shelves: Shelves, customer: int, *messages: UUID) -> int:
    """Delete messages; how many there were."""
    return run(lambda: shelves.archive.delete(by(customer), messages))


def found(
    shelves: Shelves, customer: int, shelf: Shelf | None = None, limit: int = 100, **wanted: Any
) -> list[UUID]:
    """The ids of the newest messages that meet criteria."""
    on = [shelf] if shelf is not None else [Shelf.CABINET, Shelf.CELLAR]
    messages = run(lambda: shelves.cabinet.newest(customer, criteria(**wanted), on, limit))
    return [message.id for message in messages]


# Search


def stored(shelves: Shelves, customer: int, *messages: dict[str, Any]) -> list[UUID]:
    """The ids of messages that differ in what is given, a minute apart."""
    made = [
        new_message(customer, **{"milliseconds": NOON + number * 60_000, **given})
        for number, given in enumerate(messages)
    ]
    store(shelves, *made)
    return [one.id for one in made]


def summary(sender: str = "", recipients: str = "", subject: str = "") -> Summary:
    """A header's summary."""
    return Summary(sender, recipients, subject, "")


def test_newest_first_and_no_more_than_asked_for(shelves: Shelves, customer: int) -> None:
    """In order of arrival, whatever the order in which they were stored."""
    ids = stored(shelves, customer, *[{}] * 5)
    late = new_message(customer, milliseconds=NOON + 90_000)
    store(shelves, late)
    newest_first = [ids[4], ids[3], ids[2], late.id, ids[1], ids[0]]
    assert found(shelves, customer) == newest_first
    assert found(shelves, customer, limit=3) == newest_first[:3]


SENDERS = [
    {"sender": "Anne.Dupont@Example.org", "summary": summary()},
    {"sender": "bounce-17@list.example.org", "summary": summary(sender="Anne Martin <am@x.test>")},
    {"sender": "", "summary": summary()},
]


@pytest.mark.parametrize(
    ("part", "matches"),
    [
        ("anne", [0, 1]),
        ("ANNE.D", [0]),
        ("dupont@example.ORG", [0]),
        ("martin", [1]),
        ("<am@", [1]),
        ("example", [0, 1]),
        ("annemartin", []),
        ("", [0, 1, 2]),
    ],
)
def test_the_sender(shelves: Shelves, customer: int, part: str, matches: list[int]) -> None:
    """A part of the envelope's or of the header's, whatever the case."""
    ids = stored(shelves, customer, *SENDERS)
    assert found(shelves, customer, sender=part) == [ids[n] for n in reversed(matches)]


RECIPIENTS = [
    {"recipients": ("marie@mondomaine.fr", "Paul@mondomaine.fr"), "summary": summary()},
    {"recipients": ("info@mondomaine.fr",), "summary": summary(recipients="Équipe, Paul D.")},
]


@pytest.mark.parametrize(
    ("part", "matches"),
    [
        ("PAUL", [0, 1]),
        ("paul@", [0]),
        ("mondomaine", [0, 1]),
        ("équipe", [1]),
        ("EQUIPE", [1]),
        ("frpaul", []),
    ],
)
def test_the_recipient(shelves: Shelves, customer: int, part: str, matches: list[int]) -> None:
    """A part of one of the envelope's or of the header's, and never across two of them."""
    ids = stored(shelves, customer, *RECIPIENTS)
    assert found(shelves, customer, recipient=part) == [ids[n] for n in reversed(matches)]


SUBJECTS = [
    "Facture N°12 — Élan",
    "100 % de remise",
    "fichier_final",
    "fichier final",
    "C:\\Temp\\note",
    "l'été d'Anne \"quoted\"",
    "ΟΔΟΣ, ЖУК",
]


@pytest.mark.parametrize(
    ("part", "matches"),
    [
        ("facture", [0]),
        ("n°1", [0]),
        ("élan", [0]),
        ("elan", [0]),
        ("e\u0301lan", [0]),
        ("ÉLAN", [0]),
        ("%", [1]),
        ("100%", []),
        ("0 % d", [1]),
        ("_", [2]),
        ("r_f", [2]),
        ("\\", [4]),
        ("p\\n", [4]),
        ("'été d'", [5]),
        ('"QUOTED"', [5]),
        ("жук", [6]),
        (".*", []),
        ("zzz", []),
    ],
)
def test_the_subject(shelves: Shelves, customer: int, part: str, matches: list[int]) -> None:
    """Parts match whatever the case and accents; LIKE's and regular expressions' signs do not."""
    ids = stored(shelves, customer, *[{"summary": summary(subject=s)} for s in SUBJECTS])
    assert found(shelves, customer, subject=part) == [ids[n] for n in reversed(matches)]


@settings(max_examples=40)
@given(st.text(max_size=8))
def test_any_search(shelves: Shelves, part: str) -> None:
    """Whatever somebody types, it is looked for, and not an error."""
    for field in ("sender", "recipient", "subject"):
        assert found(shelves, 999, **{field: part}) == []


def test_all_criteria_must_hold(shelves: Shelves, customer: int) -> None:
    """Criteria narrow each other down."""
    one, two = stored(
        shelves,
        customer,
        {"sender": "a@x.test", "summary": summary(subject="eins")},
        {"sender": "a@x.test", "summary": summary(subject="zwei")},
    )
    assert found(shelves, customer, sender="a@x", subject="zwei") == [two]
    assert found(shelves, customer, sender="b@x", subject="zwei") == []
    assert found(shelves, customer, sender="a@x") == [two, one]


def moment(milliseconds: int) -> datetime:
    """So much after noon."""
    return datetime.fromtimestamp(NOON / 1000, UTC) + timedelta(milliseconds=milliseconds)


BOUNDS: Sequence[tuple[int | None, int | None, list[int]]] = [
    (None, None, [0, 1, 2]),
    (0, None, [0, 1, 2]),
    (1, None, [1, 2]),
    (60_000, None, [1, 2]),
    (60_001, None, [2]),
    (None, 120_000, [0, 1]),
    (None, 120_001, [0, 1, 2]),
    (60_000, 120_000, [1]),
    (60_000, 60_000, []),
    (120_000, 0, []),
    (None, 0, []),
]


@pytest.mark.parametrize(("since", "until", "matches"), BOUNDS)
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-9, minutes=-30))])
def test_time_bounds(
    shelves: Shelves,
    customer: int,
    since: int | None,
    until: int | None,
    matches: list[int],
    zone: timezone,
) -> None:
    """From a moment on, that moment included, until before another, to the millisecond."""
    ids = stored(shelves, customer, {}, {}, {})
    bounds = {
        "since": None if since is None else moment(since).astimezone(zone),
        "until": None if until is None else moment(until).astimezone(zone),
    }
    assert found(shelves, customer, **bounds) == [ids[n] for n in reversed(matches)]


def test_bounds_beyond_all_time(shelves: Shelves, customer: int) -> None:
    """The first and the last moment that Python knows are bounds like others."""
    ids = stored(shelves, customer, {})
    first = datetime.min.replace(tzinfo=UTC)
    last = datetime.max.replace(tzinfo=UTC)
    assert found(shelves, customer, since=first, until=last) == ids
    assert found(shelves, customer, since=last) == []
    assert found(shelves, customer, until=first) == []


def test_shelves(shelves: Shelves, customer: int) -> None:
    """Cabinet and cellar, or one of them; our own letters in transit are nobody's archive."""
    cabinet, cellar, _ = stored(
        shelves,
        customer,
        {"shelf": Shelf.CABINET},
        {"shelf": Shelf.CELLAR},
        {"shelf": Shelf.TRANSIT},
    )
    assert found(shelves, customer) == [cellar, cabinet]
    assert found(shelves, customer, shelf=Shelf.CABINET) == [cabinet]
    assert found(shelves, customer, shelf=Shelf.CELLAR) == [cellar]


# Pages


moments = st.sampled_from([1, 40_000, DAY // 3]).flatmap(
    lambda u: st.integers(0, 12).map(u.__mul__)
)


@pytest.fixture(scope="module")
def far() -> Iterator[None]:
    """Three messages are far: pages behind them are found by the counts of days and minutes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(catalogue, "NEAR", 2)
        yield


@settings(max_examples=40, deadline=None)
@given(st.lists(moments, max_size=40), st.integers(1, 11), st.sets(st.integers(0, 39)))
def test_pages_are_the_list(
    shelves: Shelves, far: None, moments: list[int], rows: int, deleted: set[int]
) -> None:
    """Put one after another, the pages are all messages, newest first, whatever the page's size."""
    customer = new_customer()
    made = [new_message(customer, milliseconds=NOON + moment) for moment in moments]
    stranger = new_message(new_customer())
    store(shelves, *made, stranger, new_message(customer, shelf=Shelf.CELLAR))
    gone = [one.id for number, one in enumerate(made) if number in deleted]
    assert delete(shelves, customer, *gone) == len(gone)
    left = sorted({one.id for one in made} - set(gone), reverse=True)
    pages = [
        run(lambda n=n: shelves.cabinet.page(customer, n, rows))  # type: ignore[misc]
        for n in range(1, max(1, -(-len(left) // rows)) + 1)
    ]
    assert [one.id for page in pages for one in page.messages] == left
    assert all(len(page.messages) == rows for page in pages[: len(left) // rows])
    assert {page.holding.messages for page in pages} == {len(left)}


def test_no_limit_is_too_large(shelves: Shelves, way: None, customer: int) -> None:
    """All that an operator can type is 2^62 - 1, which means everything."""
    ids = stored(shelves, customer, *[{"summary": summary(subject="Élan")}] * 3)
    everything = found(shelves, customer, subject="elan", limit=(1 << 62) - 1)
    assert everything == ids[::-1]


def test_a_page_far_beyond_the_last_is_the_last(shelves: Shelves, customer: int) -> None:
    """Whatever number somebody types behind page=, and however many messages there are."""
    assert run(lambda: shelves.cabinet.page(customer, 1 << 31, 1)).messages == []
    ids = stored(shelves, customer, {}, {})
    for number in (2, 3, 1 << 31):
        page = run(lambda n=number: shelves.cabinet.page(customer, n, 1))  # type: ignore[misc]
        assert [one.id for one in page.messages] == ids[:1]


def test_chosen_messages(shelves: Shelves, customer: int) -> None:
    """Only those that are in the customer's cabinet, newest first, whatever ids are named."""
    one, two = new_message(customer), new_message(customer, milliseconds=NOON + 5)
    cellar, foreign = new_message(customer, shelf=Shelf.CELLAR), new_message(new_customer())
    store(shelves, one, two, cellar, foreign)
    ids = [one.id, foreign.id, uuid4(), cellar.id, two.id, one.id]
    chosen = run(lambda: shelves.cabinet.some(customer, ids))
    assert [message.id for message in chosen] == [two.id, one.id]


# What every message has


UNACCOUNTED = """
SELECT count(*) FROM message m WHERE m.shelf <> 2
AND NOT EXISTS (SELECT 1 FROM search_entry e WHERE e.customer_id = m.customer_id
                AND e.shelf = m.shelf AND e.message_id = m.message_id)
AND NOT EXISTS (SELECT 1 FROM unindexed u, unnest(u.customers, u.messages) AS k (customer, id)
                WHERE k.customer = m.customer_id AND k.id = m.message_id)"""

ORPHANS = """
SELECT count(*) FROM search_entry e WHERE NOT EXISTS (
    SELECT 1 FROM message m WHERE m.customer_id = e.customer_id
    AND m.message_id = e.message_id AND m.shelf = e.shelf)"""

MINUTES_COUNTED = """
SELECT shelf, minute, sum(messages)::bigint FROM minute_count WHERE customer_id = %s
GROUP BY shelf, minute HAVING sum(messages) <> 0 ORDER BY shelf, minute"""

MINUTES_CONTAINED = """
SELECT shelf, minute_of(message_id), count(*) FROM message
WHERE customer_id = %s AND shelf <> 2 GROUP BY shelf, minute_of(message_id) ORDER BY 1, 2"""

COUNTED = """
SELECT shelf, day, sum(messages)::bigint, sum(bytes)::bigint, sum(raw_bytes)::bigint
FROM shelf_count WHERE customer_id = %s GROUP BY shelf, day HAVING sum(messages) <> 0
ORDER BY shelf, day"""

CONTAINED = """
SELECT shelf, day_of(message_id), count(*), sum(stored_size)::bigint, sum(raw_size)::bigint
FROM message WHERE customer_id = %s GROUP BY shelf, day_of(message_id) ORDER BY 1, 2"""


def sound(database: str, *customers: int) -> None:
    """Every message can be found, or will be; nothing else can; and the counters are right."""
    assert ask(database, UNACCOUNTED) == [(0,)]
    assert ask(database, ORPHANS) == [(0,)]
    for customer in customers:
        assert ask(database, COUNTED, customer) == ask(database, CONTAINED, customer)
        minutes = ask(database, MINUTES_CONTAINED, customer)
        assert ask(database, MINUTES_COUNTED, customer) == minutes


def test_from_the_commit_on_every_message_is_accounted_for(
    database: str, shelves: Shelves, customer: int
) -> None:
    """In a note or in an entry, large ones too, before and after the notes are worked off."""
    small = [new_message(customer, milliseconds=NOON + n * DAY) for n in range(3)]
    large, cellar = new_message(customer), new_message(customer, shelf=Shelf.CELLAR)
    transit = new_message(customer, shelf=Shelf.TRANSIT)
    store(shelves, *small, cellar, transit)
    shelves.archive.store_large([(large, large.parts)], 1)
    assert entries(database, customer) == set()
    sound(database, customer)
    run(lambda: shelves.indexer.catch_up())
    assert entries(database, customer) == {large.id, cellar.id, *(one.id for one in small)}
    sound(database, customer)
    assert delete(shelves, customer, small[0].id, large.id, cellar.id) == 3
    sound(database, customer)
    assert entries(database, customer) == {small[1].id, small[2].id}


def test_transit_leaves_no_note(database: str, shelves: Shelves, customer: int) -> None:
    """Our own letters are not searched, and a commit of nothing else has nothing to note."""
    run(lambda: shelves.indexer.catch_up())
    store(shelves, new_message(customer, shelf=Shelf.TRANSIT))
    assert run(lambda: shelves.catalogue.waiting()) == 0


def entries(database: str, customer: int) -> set[UUID]:
    """What the index knows of a customer's."""
    rows = ask(database, "SELECT message_id FROM search_entry WHERE customer_id = %s", customer)
    return {UUID(id_) for (id_,) in rows}


def test_deletion_leaves_nothing(database: str, shelves: Shelves, customer: int) -> None:
    """No row of any table, whether the message was indexed before or is after; others stay."""
    first, second, other = (new_message(customer, destination="d.test") for _ in range(3))
    store(shelves, first, other)
    run(lambda: shelves.indexer.catch_up())
    store(shelves, second)
    assert delete(shelves, customer, first.id, second.id) == 2
    run(lambda: shelves.indexer.catch_up())
    for table in ("message", "body", "delivery", "search_entry"):
        sql = f"SELECT DISTINCT message_id FROM {table} WHERE customer_id = %s"  # noqa: S608
        assert ask(database, sql, customer) == [(str(other.id),)], table
    sound(database, customer)


def test_what_is_deleted_while_it_is_indexed(
    database: str, shelves: Shelves, customer: int
) -> None:
    """Deleted between the indexer's look and its word, a message gets no entry."""
    new = new_message(customer)
    store(shelves, new)
    notes = run(lambda: shelves.catalogue.unindexed(1_000))
    [note] = [note for note in notes if note.message == new.id]
    assert delete(shelves, customer, new.id) == 1
    entry = Entry(customer, new.id, "a", "b", "c")
    run(lambda: shelves.catalogue.index([note.batch], [entry]))
    assert entries(database, customer) == set()
    sound(database, customer)


WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.mark.parametrize("first", ["index", "delete"])
def test_indexing_and_deleting_wait_for_each_other(
    database: str, shelves: Shelves, customer: int, first: str
) -> None:
    """While one of them has not committed, the other waits, and then sees what it has done."""
    new = new_message(customer)
    store(shelves, new)
    index = "SELECT index_messages('{}', %s, %s::uuid[], '{a}', '{b}', '{c}')"
    removal = "SELECT delete_messages(%s, %s::uuid[])"
    ways = {"index": (index, [customer]), "delete": (removal, customer)}
    second = "delete" if first == "index" else "index"
    with psycopg2.connect(database) as held, held.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        sql, whose = ways.pop(first)
        cursor.execute(sql, (whose, [str(new.id)]))
        sql, whose = ways[second]
        other = pool.submit(ask, database, sql, whose, [str(new.id)])
        while ask(database, WAITING) == [(0,)]:
            assert not other.done()
        held.commit()
        other.result(30)
    assert entries(database, customer) == set()
    assert ask(database, "SELECT 1 FROM message WHERE customer_id = %s", customer) == []


# Searched by everything that people write


GRAMS = "SELECT grams(%s, 0::smallint, %s::uuid, %s, %s, %s)"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6), st.data())
def test_the_index_has_the_grams_that_a_search_asks_for(
    database: str, sender: str, recipient: str, subject: str, data: st.DataObject
) -> None:
    """Python and PostgreSQL make the same numbers of any text, and of any time."""
    customer = data.draw(st.integers(0, 2**31 - 1))
    milliseconds = data.draw(st.integers(0, (1 << 48) - 1))
    id_ = UUID(int=milliseconds << 80)
    texts = [term(one) for one in (sender, recipient, subject)]
    [(indexed,)] = ask(database, GRAMS, customer, str(id_), *texts)
    for field, text in zip(Field, texts, strict=False):
        asked = grams(customer, 0, field, data.draw(part_of(text))) if text else Grams({}, [])
        assert set(asked.every) <= set(indexed)
        assert not asked.any or set(asked.any) & set(indexed)
    before, after = data.draw(st.integers(0, milliseconds)), data.draw(st.integers(0, 1 << 40))
    period = spans(customer, 0, milliseconds - before, milliseconds + after)
    assert set(period) & set(indexed)


ALPHABET = "aàbcéeæœßilno 01%_\\'\".@-ΣσжШ漢字한🙂"
FRAGMENTS = ["facture", "Élan", "ﬁn", "100 %", "œuvre", "жук", "Re: ", "a_b", "c\\d", "l'été"]
written = st.lists(st.sampled_from(FRAGMENTS) | st.text(ALPHABET, max_size=5), max_size=4).map(
    "".join
)


class Letter(NamedTuple):
    """What a message is searched by."""

    sender: str
    header_from: str
    recipients: tuple[str, ...]
    header_to: str
    subject: str
    minute: int

    def meets(self, wanted: Criteria) -> bool:
        """The search, as simple as can be."""
        fields = (
            (wanted.sender, (self.sender, self.header_from)),
            (wanted.recipient, (*self.recipients, self.header_to)),
            (wanted.subject, (self.subject,)),
        )
        return all(any(part in term(text) for text in texts) for part, texts in fields)


letters = st.builds(
    Letter, written, written, st.lists(written, min_size=1, max_size=2).map(tuple), written,
    written, st.integers(0, 2_000),
)  # fmt: skip


@pytest.fixture(scope="module", params=["walk", "index", "both", "windows"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each way that a search can take, and no other, however small the archive is."""
    limits = {
        "walk": {},
        "index": {"STEP": 1, "LONGEST_WALK": 0, "FEW": 0},
        "both": {"STEP": 1, "LONGEST_WALK": 0, "FEW": 1, "WINDOW": 1 << 18},
        "windows": {"STEP": 1, "LONGEST_WALK": 0, "CANDIDATES": 1, "WINDOW": 1 << 18},
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in limits[request.param].items():
            patched.setattr(catalogue, name, value)
        yield


@settings(max_examples=60, deadline=None)
@given(st.lists(letters, min_size=1, max_size=8), st.data())
def test_what_is_found_is_what_is_there(
    shelves: Shelves, way: None, written: list[Letter], data: st.DataObject
) -> None:
    """Any term of any length in any script, each way, finds what a plain filter does."""
    customer, stranger = new_customer(), new_customer()
    made = [message_of(customer, letter) for letter in written]
    store(shelves, *made, *[message_of(stranger, letter) for letter in written])
    letter = data.draw(st.sampled_from(written))
    parts = [
        data.draw(st.just("") | part_of(text) | st.text(ALPHABET, max_size=4))
        for text in (letter.sender + letter.header_from, letter.header_to, letter.subject)
    ]
    since, until = data.draw(st.sampled_from([(None, None), (5, 1_000), (None, 900), (700, None)]))
    wanted = criteria(*parts, *[None if m is None else moment(m * 60_000) for m in (since, until)])
    expected = [
        new.id
        for new, letter in zip(made, written, strict=True)
        if letter.meets(wanted)
        and (since is None or letter.minute >= since)
        and (until is None or letter.minute < until)
    ]
    rows = data.draw(st.integers(1, 3))
    assert paged(shelves, customer, wanted, rows) == sorted(expected, reverse=True)


def part_of(text: str) -> st.SearchStrategy[str]:
    """A part of a text."""
    bounds = st.tuples(st.integers(0, max(0, len(text) - 1)), st.integers(1, 6))
    return bounds.map(lambda b: text[b[0] : b[0] + b[1]])


def message_of(customer: int, letter: Letter) -> NewMessage:
    """The message that is searched by these."""
    return new_message(
        customer,
        milliseconds=NOON + letter.minute * 60_000,
        sender=letter.sender,
        recipients=letter.recipients,
        summary=summary(letter.header_from, letter.header_to, letter.subject),
    )


def paged(shelves: Shelves, customer: int, wanted: Criteria, rows: int) -> list[UUID]:
    """What a search finds, page after page by its own pointers."""
    run(lambda: shelves.indexer.catch_up())
    ids: list[UUID] = []
    before: UUID | None = None
    while True:
        results = run(
            lambda before=before: shelves.cabinet.search(customer, wanted, rows, before)  # type: ignore[misc]
        )
        ids += [message.id for message in results.messages]
        if not results.nexts:
            return ids
        assert len(results.messages) == rows
        before = results.nexts[0]
