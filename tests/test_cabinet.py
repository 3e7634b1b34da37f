"""The cabinet on a real PostgreSQL: its pages are the list, and what is searched is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail6m.model import Shelf, Summary
from mail6m.shelves.cabinet import Cabinet, criteria
from mail6m.shelves.indexer import Indexer
from mail6m.storage.archive import Archive, NewMessage
from mail6m.storage.catalogue import Catalogue
from tests.reactor_thread import run, the_reactor
from tests.stored import NOON, new_customer, new_message, new_pool


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
        catalogue = Catalogue(pool)
        indexer = Indexer(the_reactor(), catalogue)
        cabinet = Cabinet(catalogue, indexer, lambda: datetime.now(UTC))
        yield Shelves(archive, catalogue, indexer, cabinet)
        archive.close()


@pytest.fixture
def customer() -> int:
    """A customer's number."""
    return new_customer()


def store(shelves: Shelves, *messages: NewMessage) -> None:
    """Commit messages."""
    run(lambda: shelves.archive.store(messages, 0))


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
