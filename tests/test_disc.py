"""The image of a disc: what is on it, what it is called, and whether others can read it."""

from __future__ import annotations

import csv
import hashlib
import random
import subprocess
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail6m.model import Message, Shelf
from mail6m.shelves.disc import master
from mail6m.shelves.disc.image import Image
from mail6m.shelves.disc.layout import SECTOR, DiscError
from mail6m.shelves.disc.listing import TABLE, Label, _harmless
from mail6m.shelves.disc.master import Mastered, Mastering, Wanted
from mail6m.shelves.disc.names import FileNames, is_serial, new_serial
from mail6m.shelves.disc.readback import MANIFEST, check
from tests.harness import require

PARIS = ZoneInfo("Europe/Paris")
NOON = datetime(2005, 7, 1, 7, 30, 12, tzinfo=UTC)
FORMULAS = {
    "=1+1": "'=1+1",
    " =1+1": " '=1+1",
    "Facture;=cmd|'/c calc'!A1": "Facture;'=cmd|'/c calc'!A1",
    "a,\t@b; -c": "a,\t'@b; '-c",
    "a - b = c": "a - b = c",
    "Été": "Été",
}
"""What a cell of a table may not begin with, whatever separates cells."""
SUBJECTS = (
    "Notes de frais.",
    "Re: réunion du 13",
    "",
    "../../etc/passwd",
    "=1+1",
    "Œuvre 日本 😀",
    "a" * 300,
)


def letter(number: int, size: int) -> bytes:
    """A message that no other is."""
    return b"Subject: %d\r\n\r\n" % number + random.Random(number).randbytes(size)


class Cellar:
    """Messages to be written, some bytes each, and their contents."""

    def __init__(self, sizes: list[int], apart: timedelta = timedelta(hours=3)) -> None:
        self.letters = [letter(number, size) for number, size in enumerate(sizes)]
        self.messages = [
            Message(
                1, UUID(int=number + 1), NOON + number * apart, f"anne{number % 7}@example.org",
                ("marie@mondomaine.fr",), f"Anne {number % 7} <anne{number % 7}@example.org>",
                "Marie <marie@mondomaine.fr>", SUBJECTS[number % len(SUBJECTS)], f"<{number}@a>",
                len(octets), len(octets), hashlib.sha256(octets).digest(), None, Shelf.CELLAR,
                False,
            )
            for number, octets in enumerate(self.letters)
        ]  # fmt: skip

    def contents(self, wanted: list[Wanted]) -> Iterator[bytes]:
        """One behind the other, in pieces."""
        for message in wanted:
            octets = self.letters[message.id.int - 1]
            for at in range(0, len(octets), 5_000):
                yield octets[at : at + 5_000]


def make(
    folder: Path, cellar: Cellar, capacity: int = 10**9, *, archive_spam: bool = False
) -> Mastered:
    """An image of as many of them as there is room for."""
    label = Label("TCWGR3", "Duchemin & Fils <SA>", NOON.astimezone(PARIS))
    return Mastering(folder, label, capacity, PARIS).make(
        cellar.messages, cellar.contents, lambda part: None, lambda: None, archive_spam=archive_spam
    )


def extracted(made: Mastered, folder: Path) -> Path:
    """What xorriso finds on it, by the names of Rock Ridge."""
    require("xorriso", "xorriso")
    to = folder / "extracted"
    command = ["xorriso", "-osirrox", "on", "-indev", str(made.image), "-extract", "/", str(to)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return to


# Names


@given(st.text(), st.text())
def test_any_name_is_one_on_every_system(sender: str, subject: str) -> None:
    """Whatever a sender writes: short, without what names cannot have, inside its folder."""
    path = FileNames().path(
        NOON,
        sender.encode("utf-8", "replace").decode(),
        subject.encode("utf-8", "replace").decode(),
    )
    folder, _, name = path.rpartition("/")
    assert folder == "messages/2005/07/01"
    assert name.startswith("07h30m12")
    assert name.endswith(".eml")
    assert len(name.encode()) <= 64
    assert not set(name) & set('<>:"/\\|?*;\0')
    assert not any(unicodedata.category(letter).startswith("C") for letter in name)
    assert not name.removesuffix(".eml").endswith((" ", "."))
    assert "  " not in name


def test_a_name_says_time_sender_and_subject() -> None:
    """As they are read in a folder."""
    path = FileNames().path(NOON.astimezone(PARIS), "jacques@vermeulen.net", "Notes de frais.")
    assert path == "messages/2005/07/01/09h30m12 jacques@vermeulen.net Notes de frais.eml"


def test_no_two_names_are_the_same_anywhere() -> None:
    """Not by case, and not by how an accent is written; on another day it is another folder."""
    names = FileNames()
    subjects = ["Été", "été", unicodedata.normalize("NFD", "Été"), "ÉTÉ", "x" * 99, "x" * 99]
    paths = [names.path(NOON, "a@b", subject) for subject in subjects]
    known = {unicodedata.normalize("NFKD", path).casefold() for path in paths}
    assert len(known) == len(subjects)
    assert all(len(path.rpartition("/")[2].encode()) <= 64 for path in paths)
    assert names.path(NOON + timedelta(days=1), "a@b", "Été").endswith("a@b Été.eml")


def test_a_serial_number_cannot_be_misread() -> None:
    """Six capitals and digits, none of which looks like another."""
    serials = {new_serial() for _ in range(500)}
    assert len(serials) > 490
    assert all(map(is_serial, [*serials, "TCWGR3", "BWTKKB"]))
    assert not set("".join(serials)) & set("01IO")
    assert not any(map(is_serial, ["TCWGR0", "tcwgr3", "TCWGR", "TCWGR33", "OCWGR3"]))


# The image


def test_others_read_it_byte_for_byte(tmp_path: Path) -> None:
    """Xorriso extracts it, and sha256sum finds every file as the manifest says."""
    cellar = Cellar([0, 1, SECTOR - 14, SECTOR, 70_000, 3_000, 200] * 9)
    made = make(tmp_path, cellar)
    assert made.image == tmp_path / "TCWGR3.iso"
    assert made.image.stat().st_size == made.size
    disc = extracted(made, tmp_path)
    checked = subprocess.run(
        ["sha256sum", "--quiet", "-c", MANIFEST],
        cwd=disc,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    found = sorted(path.read_bytes() for path in disc.glob("messages/*/*/*/*.eml"))
    assert found == sorted(cellar.letters)
    first = "messages/2005/07/01/09h30m12 anne0@example.org Notes de frais.eml"
    assert (disc / first).read_bytes() == cellar.letters[0]
    assert hashlib.sha256((disc / MANIFEST).read_bytes()).hexdigest() == made.manifest
    names = {str(path.relative_to(disc)) for path in disc.rglob("*") if path.is_file()}
    listed = {line.split("  ", 1)[1] for line in (disc / MANIFEST).read_text().splitlines()}
    assert names == listed | {MANIFEST}


def test_an_independent_program_reads_the_names_of_joliet(tmp_path: Path) -> None:
    """As Windows and macOS do: 7z tests the image, and lists what the manifest lists."""
    require("7z", "p7zip-full")
    made = make(tmp_path, Cellar([5_000] * 40))
    tested = subprocess.run(["7z", "t", made.image], capture_output=True, timeout=60, check=False)
    assert tested.returncode == 0, tested.stdout
    to = tmp_path / "by 7z"
    subprocess.run(["7z", "x", f"-o{to}", made.image], capture_output=True, timeout=60, check=True)
    for line in (to / MANIFEST).read_text().splitlines():
        digest, path = line.split("  ", 1)
        assert hashlib.sha256((to / path).read_bytes()).hexdigest() == digest


def test_files_have_the_time_of_arrival(tmp_path: Path) -> None:
    """Which a folder can be sorted by."""
    disc = extracted(make(tmp_path, Cellar([100] * 5)), tmp_path)
    times = sorted(path.stat().st_mtime for path in disc.glob("messages/*/*/*/*.eml"))
    assert times == [(NOON + number * timedelta(hours=3)).timestamp() for number in range(5)]


def test_the_table_has_a_line_for_each_and_calculates_nothing(tmp_path: Path) -> None:
    """What would be a formula has an apostrophe in front."""
    cellar = Cellar([100] * 20)
    disc = extracted(make(tmp_path, cellar), tmp_path)
    with (disc / TABLE).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert {row["subject"] for row in rows} == {s if s != "=1+1" else "'=1+1" for s in SUBJECTS}
    for row, octets in zip(rows, cellar.letters, strict=True):
        assert (disc / row["file"]).read_bytes() == octets
        assert row["sha256"] == hashlib.sha256(octets).hexdigest()


def test_what_records_share_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Octet for octet, it is the image of records that share nothing but their times."""

    def times_only(image: Image, date: Any) -> None:
        for record, _ in image._iso.inodes[-1].linked_records:
            record.date = date
            if record.rock_ridge is not None:
                for entries in (record.rock_ridge.dr_entries, record.rock_ridge.ce_entries):
                    if entries is not None and entries.tf_record is not None:
                        times = entries.tf_record
                        times.access_time = times.modification_time = date
                        times.attribute_change_time = date

    monkeypatch.setattr("time.time", lambda: NOON.timestamp())  # of folders, and of the volume
    cellar = Cellar([200, 5_000, 0, 70_000] * 60, timedelta(minutes=20))
    shared = make(tmp_path, cellar).image.read_bytes()
    monkeypatch.setattr(Image, "_share", times_only)
    monkeypatch.setattr(Image, "_leave", lambda image, folder: None)
    assert make(tmp_path, cellar).image.read_bytes() == shared


def test_a_disc_is_filled_with_the_oldest(tmp_path: Path) -> None:
    """In order of arrival, up to the capacity and hardly less; never more."""
    chance = random.Random(7)
    cellar = Cellar([chance.choice([300, 3_000, 9_000, 60_000]) for _ in range(1_500)])
    capacity = 15_000_000
    made = make(tmp_path, cellar, capacity)
    count = len(made.load.messages)
    assert made.load.full
    assert count < len(cellar.messages)
    assert [message.id for message in made.load.messages] == [
        message.id for message in cellar.messages[:count]
    ]
    assert 0.98 * capacity <= made.size <= capacity
    assert made.load.raw_bytes == sum(map(len, cellar.letters[:count]))
    assert (made.load.first, made.load.last) == (NOON, cellar.messages[count - 1].received_at)


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_is_taken_for_a_formula(text: str) -> None:
    """By a spreadsheet that separates by commas, semicolons or tabs."""
    assert _harmless(text) == FORMULAS[text]


def test_a_disc_has_so_many_messages_at_the_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes memory until the image is written."""
    monkeypatch.setattr(master, "MOST", 4)
    made = make(tmp_path, Cellar([100] * 9))
    assert len(made.load.messages) == 4
    assert made.load.full


def test_spam_is_left_out_unless_it_is_archived(tmp_path: Path) -> None:
    """And said to be, so that it is destroyed with the others."""
    cellar = Cellar([500] * 6)
    cellar.messages[2] = cellar.messages[2]._replace(spam=True)
    made = make(tmp_path, cellar)
    assert made.load.left_out == [cellar.messages[2].id]
    assert len(made.load.messages) == 5
    made = make(tmp_path, cellar, archive_spam=True)
    assert (made.load.left_out, len(made.load.messages)) == ([], 6)


# When something goes wrong


def test_what_fits_nowhere_is_said(tmp_path: Path) -> None:
    """One message that is larger than a disc, or nothing at all."""
    for cellar in (Cellar([2_000_000]), Cellar([])):
        with pytest.raises(DiscError, match="no message in the cellar"):
            make(tmp_path, cellar, 1_500_000)
        assert list(tmp_path.iterdir()) == []


def no_room(wanted: list[Wanted]) -> Iterator[bytes]:
    """Contents that end in the middle, since the disk is full."""
    yield b"x" * wanted[0].size
    raise OSError(28, "No space left on device")


def too_short(wanted: list[Wanted]) -> Iterator[bytes]:
    """Contents of which a byte is missing."""
    yield b"x" * (sum(message.size for message in wanted) - 1)


def altered(wanted: list[Wanted]) -> Iterator[bytes]:
    """Contents that are not what came in."""
    yield b"x" * sum(message.size for message in wanted)


@pytest.mark.parametrize(
    ("contents", "error"),
    [
        (no_room, "No space left"),
        (too_short, "shorter than it was"),
        (altered, "is not what its manifest says"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, contents: Callable[[list[Wanted]], Iterator[bytes]], error: str
) -> None:
    """No image, no part of one, and it can be begun anew."""
    cellar = Cellar([3_000] * 5)
    (tmp_path / "TCWGR3.part").write_bytes(b"of a process that has died")
    label = Label("TCWGR3", "Duchemin", NOON)
    mastering = Mastering(tmp_path, label, 10**9, PARIS)
    with pytest.raises((OSError, DiscError), match=error):
        mastering.make(
            cellar.messages, contents, lambda part: None, lambda: None, archive_spam=False
        )
    assert list(tmp_path.iterdir()) == []
    make(tmp_path, cellar)


def test_an_image_that_was_altered_is_found(tmp_path: Path) -> None:
    """By one bit of a message, by its end, or by a file that the manifest does not know."""
    made = make(tmp_path, Cellar([4_000] * 8))
    whole = made.image.read_bytes()
    place = whole.index(letter(5, 4_000))
    damaged = {
        "not what its manifest says": whole[:place]
        + bytes([whole[place] ^ 1])
        + whole[place + 1 :],
        "too short|ends in the middle": whole[: len(whole) // 2],
        "no image": b"\0" * 100_000,
        "is not in its manifest|is in its manifest": whole.replace(
            "index.html".encode("utf-16-be"), "jndex.html".encode("utf-16-be")
        ),
    }
    for complaint, octets in damaged.items():
        made.image.write_bytes(octets)
        with pytest.raises(DiscError, match=complaint):
            check(made.image, lambda done: None)
    made.image.write_bytes(whole)
    assert check(made.image, lambda done: None).manifest == made.manifest


def test_progress_is_told(tmp_path: Path) -> None:
    """Of writing, then of reading back, up to the end."""
    cellar = Cellar([50_000] * 30)
    told: list[float] = []
    label = Label("TCWGR3", "Duchemin", NOON)
    Mastering(tmp_path, label, 10**9, PARIS).make(
        cellar.messages, cellar.contents, told.append, lambda: None, archive_spam=False
    )
    assert told == sorted(told)
    assert len(set(told)) > 20
    assert max(part for part in told if part <= 0.5) > 0.45
    assert told[-1] == 1
