"""A content in hand: wherever it is, it reads as it was written, and gives back its room."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail6m.content import PIECE, Budget, Content

THRESHOLD = 1_000
LIMIT = 10_000


def filled(content: Content, *pieces: bytes) -> Content:
    """The content, with this written to it."""
    for piece in pieces:
        content.write(piece)
    return content


@pytest.mark.parametrize(("size", "in_memory"), [(0, True), (1_000, True), (1_001, False)])
def test_beyond_the_threshold_it_is_a_file(tmp_path: Path, size: int, in_memory: bool) -> None:
    """Exactly as large as allowed stays in memory; an octet more goes to a file, whole."""
    budget = Budget(LIMIT)
    octets = bytes(range(256)) * 4
    content = filled(Content(budget, tmp_path, THRESHOLD), octets[: size // 2])
    content.write(octets[size // 2 : size])
    assert content.in_memory is in_memory
    assert content.size == size
    assert budget.used == (size if in_memory else 0)
    assert b"".join(content.pieces()) == octets[:size]
    if in_memory:
        assert content.whole() == octets[:size]
    content.close()
    assert budget.used == 0


def test_writing_goes_on_after_reading(tmp_path: Path) -> None:
    """What was read once is not all that there is, in memory and in the file alike."""
    content = filled(Content(Budget(LIMIT), tmp_path, THRESHOLD), b"a" * 400)
    assert content.whole() == b"a" * 400
    assert content.head(3) == b"aaa"
    content.write(b"b" * 400)
    assert content.whole() == b"a" * 400 + b"b" * 400
    content.write(b"c" * 400)
    assert not content.in_memory
    assert b"".join(content.pieces()) == b"a" * 400 + b"b" * 400 + b"c" * 400
    content.write(b"d")
    assert b"".join(content.pieces())[-2:] == b"cd"
    content.close()


@pytest.mark.parametrize("size", [0, 1, 700, 3_000])
def test_beginning_and_middle(tmp_path: Path, size: int) -> None:
    """Samples are the octets of that place, and never more than there are."""
    octets = (b"%05d" * 600) % tuple(range(600))
    content = filled(Content(Budget(LIMIT), tmp_path, THRESHOLD), octets[:size])
    assert content.head(10) == octets[: min(10, size)]
    assert content.head(10_000) == octets[:size]
    middle = content.middle(100)
    assert len(middle) == min(100, size)
    assert middle in octets[:size]
    if size > 1_000:
        assert octets.index(middle) == size // 2 - 50
    content.close()


def test_the_budget_is_shared_and_given_back(tmp_path: Path) -> None:
    """When others hold all the memory, a small content goes to a file, and memory comes back."""
    budget = Budget(1_000)
    first = filled(Content(budget, tmp_path, THRESHOLD), b"1" * 600)
    second = filled(Content(budget, tmp_path, THRESHOLD), b"2" * 300)
    assert (first.in_memory, second.in_memory, budget.used) == (True, True, 900)
    second.write(b"2" * 200)
    assert not second.in_memory
    assert budget.used == 600
    first.close()
    assert budget.used == 0
    third = filled(Content(budget, tmp_path, THRESHOLD), b"3" * 1_000)
    assert third.in_memory
    assert b"".join(second.pieces()) == b"2" * 500
    second.close()
    third.close()
    assert budget.used == 0


def test_closing_twice_gives_back_once(tmp_path: Path) -> None:
    """A second close, as after an error, does not make memory that is not there."""
    budget = Budget(LIMIT)
    other = filled(Content(budget, tmp_path, THRESHOLD), b"o" * 500)
    for size in (800, 1_800):
        content = filled(Content(budget, tmp_path, THRESHOLD), b"x" * size)
        content.close()
        content.close()
        assert budget.used == other.size


writes = st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=700)), max_size=30)


@given(writes, st.permutations(range(4)))
def test_any_interleaving(sequence: list[tuple[int, bytes]], closing: list[int]) -> None:
    """Several contents under one budget: it is never overdrawn, and each reads its own octets."""
    budget = Budget(1_500)
    with TemporaryDirectory() as directory:
        contents = [Content(budget, Path(directory), THRESHOLD) for _ in range(4)]
        written = [b""] * 4
        for which, data in sequence:
            contents[which].write(data)
            written[which] += data
            in_memory = sum(content.size for content in contents if content.in_memory)
            assert budget.used == in_memory <= budget.limit
        for which in closing:
            assert b"".join(contents[which].pieces()) == written[which]
            contents[which].close()
        assert budget.used == 0


def test_several_readers_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Two couriers read one file turn by turn, and somebody looks at its head in between."""
    octets = b"".join(bytes([number]) * (PIECE // 2) for number in range(9))
    content = filled(Content(Budget(LIMIT), tmp_path, THRESHOLD), octets)
    readers = content.pieces(), content.pieces()
    got: tuple[list[bytes], list[bytes]] = [], []
    next_pieces = zip_longest(*readers)
    got[0].append(next(readers[0]))  # one is ahead of the other
    for pair in next_pieces:
        assert content.head(1) == b"\0"
        for pieces, piece in zip(got, pair, strict=True):
            if piece is not None:
                pieces.append(piece)
    assert b"".join(got[0]) == octets
    assert b"".join(got[1]) == octets
    assert all(len(piece) <= PIECE for piece in chain(*got))
    content.close()


def test_a_file_has_no_name(tmp_path: Path) -> None:
    """After a crash nothing is left to be cleaned up, and nobody can open somebody's mail."""
    content = filled(Content(Budget(LIMIT), tmp_path, THRESHOLD), b"x" * 5_000)
    assert not content.in_memory
    assert list(tmp_path.iterdir()) == []
    content.close()


def test_without_a_spool_the_error_shows(tmp_path: Path) -> None:
    """A directory that is gone is an `OSError` at the write, and no memory stays taken."""
    budget = Budget(LIMIT)
    content = filled(Content(budget, tmp_path / "gone", THRESHOLD), b"x" * 900)
    with pytest.raises(OSError, match="gone"):
        content.write(b"x" * 900)
    content.close()
    assert budget.used == 0


@contextmanager
def files_of_at_most(octets: int) -> Iterator[None]:
    """A file system as good as full: the kernel writes what fits, and only then refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 500, 4_096, 150_000])
def test_a_full_disk_shows_itself_at_once(tmp_path: Path, room: int) -> None:
    """The write that does not fit fails, even when its first half did: nothing is lost unseen."""
    budget = Budget(LIMIT)
    content = filled(Content(budget, tmp_path, THRESHOLD), b"x" * 900)
    with files_of_at_most(room), pytest.raises(OSError, match="File too large"):
        content.write(b"y" * 200_000)
    content.close()
    assert budget.used == 0


def test_a_disk_that_fills_up_later(tmp_path: Path) -> None:
    """The same for a content that had gone to its file long before."""
    content = filled(Content(Budget(LIMIT), tmp_path, THRESHOLD), b"x" * 4_000)
    with files_of_at_most(5_000):
        content.write(b"y" * 1_000)
        with pytest.raises(OSError, match="File too large"):
            content.write(b"z")
    assert b"".join(content.pieces()) == b"x" * 4_000 + b"y" * 1_000
    content.close()


def test_what_was_closed_cannot_be_read(tmp_path: Path) -> None:
    """An empty message must not be taken for the one that was there."""
    content = Content(Budget(100), tmp_path, 100)
    content.write(b"Bonjour")
    content.close()
    with pytest.raises(ValueError, match="closed"):
        content.whole()
