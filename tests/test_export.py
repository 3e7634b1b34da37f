"""A file of all of a customer's mail: right, complete, and the same from whatever place on."""

from __future__ import annotations

import hashlib
import io
import random
import re
import subprocess
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.threads import deferToThread

from mail6m.directory import Directory
from mail6m.model import Shelf
from mail6m.seal import Key, SealError, seal_pieces
from mail6m.shelves.export import mbox, whole, zipped
from mail6m.shelves.export.kept import keep, part_of
from mail6m.shelves.export.whole import Changed
from mail6m.shelves.exports import Exporter
from mail6m.storage.blocking import Blocking
from mail6m.storage.errors import Refused
from mail6m.storage.exports import BY_KEY, Export, Exports
from mail6m.storage.pool import Pool
from mail6m.storage.preferences import PreferencesTable
from tests.harness import require
from tests.reactor_thread import run, the_reactor
from tests.shelved import House, make_house
from tests.stored import KEY, NOON, ask, by, new_message, new_pool

ARRIVED = datetime(2005, 7, 1, 8, 30, 12, tzinfo=UTC)

# The formats

_LINES = st.lists(
    st.sampled_from(
        [b"\r\n", b">", b"From ", b"Fro", b"m ", b"F", b"From", b"x", b"\r\n>", b"\r\n>>From me"]
    ),
    max_size=12,
).map(b"".join)


def cut(content: bytes, places: Sequence[int]) -> Iterator[bytes]:
    """The content in pieces."""
    bounds = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    return (content[a:b] for a, b in pairwise(bounds))


def unquoted(box: bytes) -> list[bytes]:
    """The messages of an mboxrd, as a reader takes them apart."""
    found = re.split(rb"(?m)^From .*\n", box)
    assert found[0] == b""
    return [
        re.sub(rb"(?m)^>(>*From )", rb"\1", text.removesuffix(b"\n")).replace(b"\n", b"\r\n")
        for text in found[1:]
    ]


@given(_LINES, st.lists(st.integers(0, 1_000), max_size=6))
def test_an_mbox_gives_every_message_back(content: bytes, places: list[int]) -> None:
    """Whatever its lines begin with, and wherever its pieces are cut."""
    content += b"\r\n"
    box = b"".join(mbox.entry("anne@example.org", ARRIVED, cut(content, places)))
    assert unquoted(box) == [content]


@pytest.mark.parametrize(
    ("sender", "line"),
    [
        ("", b"From MAILER-DAEMON Fri Jul  1 08:30:12 2005\n"),
        ('"a b"@example.org', b'From "a-b"@example.org Fri Jul  1 08:30:12 2005\n'),
        ("hélène@example.org", "From hélène@example.org Fri Jul  1 08:30:12 2005\n".encode()),
    ],
)
def test_the_line_before_a_message(sender: str, line: bytes) -> None:
    """Says who sent it, and when; there is always somebody, in one word."""
    assert next(mbox.entry(sender, ARRIVED, iter(()))) == line


def test_a_message_without_a_last_line_end_is_still_apart_from_the_next() -> None:
    """BDAT can bring one."""
    box = b"".join(mbox.entry("a@example.org", ARRIVED, iter([b"Subject: a\r\n\r\nfin"]))) * 2
    assert unquoted(box) == [b"Subject: a\r\n\r\nfin\r\n"] * 2


@pytest.mark.parametrize("offset", [0, (1 << 32) - 2, (1 << 32) - 1, 1 << 40])
@pytest.mark.parametrize("size", [3, (1 << 32) - 1, 1 << 33])
def test_a_directory_has_room_for_large_numbers(size: int, offset: int) -> None:
    """Zip64 begins where 32 bits end, and says the same as has been told."""
    member = zipped.Member("messages/2005/07/01/é.eml", *zipped.moment(ARRIVED), size, 0xDEADBEEF)
    directory = zipped.central(member, offset)
    assert list(zipped.members(directory)) == [member]
    archive = io.BytesIO(directory + zipped.end(1, len(directory), 0))
    [found] = zipfile.ZipFile(archive).infolist()
    assert (found.file_size, found.header_offset, found.CRC) == (size, offset, 0xDEADBEEF)
    assert found.filename == member.name
    assert found.date_time == (2005, 7, 1, 8, 30, 12)


def test_an_archive_of_very_many_members() -> None:
    """More than 65,535."""
    directory, octets = io.BytesIO(), io.BytesIO()
    for number in range(70_000):
        member = zipped.Member(f"{number}", 0, 33, 1, zlib.crc32(b"x"))
        directory.write(zipped.central(member, octets.tell()))
        octets.write(zipped.local(member) + b"x")
    place, all_of_it = octets.tell(), directory.getvalue()
    octets.write(all_of_it + zipped.end(70_000, len(all_of_it), place))
    with zipfile.ZipFile(octets) as archive:
        assert len(archive.namelist()) == 70_000
        assert archive.read("69999") == b"x"


# On a database


class _Keys:
    """Everybody has one key (as `mail6m.directory.Directory`)."""

    async def key(self, customer: int) -> Key:
        return KEY


class Desk(NamedTuple):
    """A house whose customers take their mail along."""

    house: House
    pool: Pool
    exporter: Exporter

    def customer(self) -> int:
        """With room for everything."""
        number = self.house.customer(room_for=1_000_000)
        ask(self.house.dsn, "INSERT INTO preferences (customer_id) VALUES (%s)", number)
        return number

    def store(self, customer: int, *contents: bytes, shelf: Shelf = Shelf.CABINET) -> list[Any]:
        """These come in, a minute apart, after those that are there; their ids."""
        [[last]] = ask(
            self.house.dsn, "SELECT count(*) FROM message WHERE customer_id = %s", customer
        )
        messages = [
            new_message(customer, content, milliseconds=NOON + (last + n) * 60_000, shelf=shelf)
            for n, content in enumerate(contents)
        ]
        for message, content in zip(messages, contents, strict=True):
            message.parts = list(seal_pieces(KEY, message.id, iter([content]), 1))
            message.stored_size = sum(map(len, message.parts))
        run(lambda: self.house.archive.store(messages, 0))
        return [message.id for message in messages]

    def export(self, customer: int, format_: str) -> Export:
        """A file that is ready."""
        run(lambda: self.exporter.ask(by(customer), format_))
        assert run(self.exporter.measure_all) == 1
        return self.of(customer, format_)

    def of(self, customer: int, format_: str) -> Export:
        """What is known of a file."""
        found = run(lambda: self.exporter.of(customer))
        return next(export for export in found if export.format == format_)

    def octets(self, export: Export, place: int = 0) -> bytes:
        """A file's, from a place on."""
        pieces: list[bytes] = []

        async def read() -> None:
            async for piece in self.exporter.pieces(export, place):
                pieces.append(piece)

        run(read)
        return b"".join(pieces)


@pytest.fixture
def desk(dsn: str) -> Iterator[Desk]:
    """With a desk where files are asked for."""
    with new_pool(dsn, size=3) as pool:
        blocking = Blocking(dsn, 20.0, *BY_KEY)
        exporter = Exporter(
            Exports(pool), blocking, cast(Directory, _Keys()), PreferencesTable(pool),
            deferToThread, the_reactor(),
        )  # fmt: skip
        yield Desk(make_house(dsn, pool), pool, exporter)
        blocking.close()


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three messages make a stretch, so that a few make several."""
    monkeypatch.setattr(whole, "MESSAGES", 3)


def contents_of(count: int) -> list[bytes]:
    """Contents that all differ, of several pages' length, one of them large, with any octets."""
    chance = random.Random(7)
    made = []
    for number in range(count):
        body = chance.randbytes(300_000 if number == 4 else 20_000).hex().encode()
        made.append(
            b"Subject: %d\r\n\r\nFrom here\r\n>From there\r\n\xe9\0 %s\r\n" % (number, body)
        )
    return made


def test_a_zip_file_has_every_message_as_it_came_in(desk: Desk, tmp_path: Path) -> None:
    """Of cabinet and cellar, in order; for zipfile, and for 7-Zip, which checks it all."""
    customer = desk.customer()
    contents = contents_of(8)
    desk.store(customer, *contents[:5], shelf=Shelf.CELLAR)
    desk.store(customer, *contents[5:])
    export = desk.export(customer, "zip")
    octets = desk.octets(export)
    assert (len(octets), hashlib.sha256(octets).digest()) == (export.size, export.sha256)
    assert export.messages == 8
    with zipfile.ZipFile(io.BytesIO(octets)) as archive:
        names = archive.namelist()
        assert [archive.read(name) for name in names] == contents
    assert names[0].startswith("messages/2025/06/15/")
    assert names[0].endswith(" anne@example.org Bonjour.eml")
    file = tmp_path / "all.zip"
    file.write_bytes(octets)
    done = subprocess.run([require("7z", "p7zip-full"), "t", file], check=True, capture_output=True)
    assert b"Everything is Ok" in done.stdout


def test_an_mbox_has_every_message_as_it_came_in(desk: Desk) -> None:
    """When its quotes and its line ends are taken back."""
    customer = desk.customer()
    contents = contents_of(7)
    desk.store(customer, *contents)
    octets = desk.octets(desk.export(customer, "mbox"))
    assert unquoted(octets) == contents


@pytest.mark.parametrize("format_", whole.FORMATS)
def test_a_file_can_be_gone_on_with_from_any_place(desk: Desk, format_: str) -> None:
    """What is read from there on is what was read from the beginning."""
    customer = desk.customer()
    desk.store(customer, *contents_of(7))
    export = desk.export(customer, format_)
    octets = desk.octets(export)
    chance = random.Random(1)
    places = [
        0,
        1,
        export.size - 1,
        export.size,
        *(chance.randrange(export.size) for _ in "12345678"),
    ]
    for place in places:
        assert desk.octets(export, place) == octets[place:], place


@pytest.mark.parametrize("format_", whole.FORMATS)
def test_a_file_of_no_mail(desk: Desk, format_: str) -> None:
    """Is an empty one, which can be opened."""
    export = desk.export(desk.customer(), format_)
    octets = desk.octets(export)
    assert len(octets) == export.size
    if format_ == "zip":
        assert zipfile.ZipFile(io.BytesIO(octets)).namelist() == []


def test_mail_that_comes_later_is_not_in_it(desk: Desk) -> None:
    """And changes nothing of it; a file that is asked for anew has it."""
    customer = desk.customer()
    first, second = contents_of(2)
    desk.store(customer, first)
    export = desk.export(customer, "mbox")
    desk.store(customer, second)
    assert unquoted(desk.octets(export)) == [first]
    assert unquoted(desk.octets(desk.export(customer, "mbox"))) == [first, second]


def test_nothing_of_other_customers_is_in_it(desk: Desk) -> None:
    """Though their mail stands between."""
    one, other = desk.customer(), desk.customer()
    mine, theirs = contents_of(2)
    desk.store(one, mine, mine)
    desk.store(other, theirs)
    assert unquoted(desk.octets(desk.export(one, "mbox"))) == [mine, mine]


def test_a_file_ends_where_a_message_has_been_deleted(desk: Desk) -> None:
    """Rather than to go on with other octets than were measured."""
    customer = desk.customer()
    ids = desk.store(customer, *contents_of(7))
    export = desk.export(customer, "zip")
    desk.house.delete(customer, ids[5])
    with pytest.raises(Changed, match="begin again"):
        desk.octets(export)
    assert (
        len(zipfile.ZipFile(io.BytesIO(desk.octets(desk.export(customer, "zip")))).namelist()) == 6
    )


@pytest.mark.parametrize("format_", whole.FORMATS)
def test_a_file_that_was_asked_for_anew_is_another(desk: Desk, format_: str) -> None:
    """The old one is not gone on with."""
    customer = desk.customer()
    desk.store(customer, *contents_of(2))
    export = desk.export(customer, format_)
    desk.export(customer, format_)
    with pytest.raises(Changed):
        desk.octets(export)


def test_what_moves_to_the_cellar_changes_nothing(desk: Desk) -> None:
    """It is the same mail."""
    customer = desk.customer()
    desk.store(customer, *contents_of(4))
    export = desk.export(customer, "zip")
    octets = desk.octets(export)
    desk.house.resize(customer, room_for=1)
    assert run(lambda: desk.house.shelves.shed(customer, 2)).moved == 2
    assert desk.octets(export) == octets


@pytest.mark.parametrize(
    "alteration",
    [
        "UPDATE body SET sealed = set_byte(sealed, 9, (get_byte(sealed, 9) + 1) %% 256)",
        "UPDATE message SET raw_size = raw_size + 1",
        "DELETE FROM body",
    ],
)
def test_a_message_that_was_altered_is_not_given(desk: Desk, alteration: str) -> None:
    """Whatever of it is not as it came in."""
    customer = desk.customer()
    ids = desk.store(customer, *contents_of(2))
    export = desk.export(customer, "zip")
    where = " WHERE customer_id = %s AND message_id = %s"
    ask(desk.house.dsn, alteration + where, customer, str(ids[1]))
    with pytest.raises(SealError):
        desk.octets(export)


def test_a_file_that_cannot_be_made_says_why(desk: Desk) -> None:
    """It is not tried for ever, but when it is asked for again."""
    customer = desk.customer()
    ids = desk.store(customer, *contents_of(2))
    ask(desk.house.dsn, "DELETE FROM body WHERE customer_id = %s", customer)
    run(lambda: desk.exporter.ask(by(customer), "zip"))
    run(desk.exporter.measure_all)
    assert desk.of(customer, "zip").failure == f"parts of message {ids[0]} are missing"
    assert run(desk.exporter.measure_all) == 0
    desk.house.delete(customer, *ids)
    assert desk.export(customer, "zip").failure == ""


def test_a_measuring_that_is_stopped_is_left_to_others(desk: Desk) -> None:
    """At once: they need not wait until it is thought to be dead."""
    customer = desk.customer()
    desk.store(customer, *contents_of(4))
    run(lambda: desk.exporter.ask(by(customer), "zip"))
    going_on = iter([True, False])
    assert run(lambda: desk.exporter._measure_one(lambda: next(going_on)))
    assert desk.of(customer, "zip").ready_at is None
    assert run(desk.exporter.measure_all) == 1


def test_a_measuring_that_died_is_begun_anew(desk: Desk) -> None:
    """By another worker, once nothing has been heard of the first for a while; not before."""
    customer, exports = desk.customer(), Exports(desk.pool)
    desk.store(customer, *contents_of(4))
    run(lambda: desk.exporter.ask(by(customer), "mbox"))
    dead = new_message(1).id
    begun = run(lambda: exports.begin(dead))
    assert begun is not None
    assert run(desk.exporter.measure_all) == 0
    ask(desk.house.dsn, "UPDATE export SET worked_at = now() - interval '20 minutes'")
    assert run(desk.exporter.measure_all) == 1
    assert unquoted(desk.octets(desk.of(customer, "mbox"))) == contents_of(4)
    stretch = whole.Stretch(9, [dead], 0, 5, b"")
    assert not run(lambda: exports.add(dead, begun, stretch)), "the dead one was only asleep"
    assert not run(lambda: exports.finish(dead, begun, 0, b""))


def test_memory_does_not_grow_with_the_file(desk: Desk) -> None:
    """Fifty messages of 600 KB take no more than a few of them."""
    customer = desk.customer()
    content = random.Random(2).randbytes(300_000).hex().encode() + b"\r\n"
    for _ in range(5):
        desk.store(customer, *[content] * 10)
    export = desk.export(customer, "zip")
    tracemalloc.start()
    try:

        async def read() -> int:
            size = 0
            async for piece in desk.exporter.pieces(export, 0):
                size += len(piece)
            return size

        assert run(read) == export.size > 30_000_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


# Kept on a disk of ours


def test_a_kept_file_goes_on_where_it_was_cut(desk: Desk, tmp_path: Path) -> None:
    """It has its name when all of it is there, and nobody else may read it."""
    customer = desk.customer()
    desk.store(customer, *contents_of(5))
    export = desk.export(customer, "zip")
    octets = desk.octets(export)
    path, asked = tmp_path / "all.zip", []

    class Cut(Exception):
        pass

    async def cut_short(of: Export, place: int) -> Any:
        yield octets[place : place + 50_000]
        raise Cut

    async def the_rest(of: Export, place: int) -> Any:
        asked.append(place)
        yield octets[place:]

    with suppress(Cut):
        run(lambda: keep(path, export, cut_short, lambda part: None))
    assert not path.exists()
    run(lambda: keep(path, export, the_rest, lambda part: None))
    assert asked == [50_000]
    assert path.read_bytes() == octets
    assert path.stat().st_mode & 0o077 == 0


def test_another_files_beginning_is_not_gone_on_with(desk: Desk, tmp_path: Path) -> None:
    """It says which file stands in the way."""
    customer = desk.customer()
    desk.store(customer, *contents_of(2))
    export, path = desk.export(customer, "zip"), tmp_path / "all.zip"
    part_of(path).write_bytes(b"something else")
    with pytest.raises(Refused, match=r"all\.zip\.part is not the beginning"):
        run(lambda: keep(path, export, desk.exporter.pieces, lambda part: None))
    assert not path.exists()
