"""Sealed content: it opens to what was sealed, whole, under the right key, or not at all."""

from __future__ import annotations

import os
import random
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail6m.seal import (
    PART,
    PIECE,
    TAG,
    Key,
    Keyring,
    Opening,
    SealError,
    compress,
    fitting_quality,
    master_key,
    open_all,
    seal,
    seal_pieces,
)

KEY = Key(bytes(range(32)))
MESSAGE = UUID(int=6)
NOISE = random.Random(6).randbytes(40_000)
"""Content that does not get smaller, and so makes five parts."""

contents = st.binary(max_size=300) | st.builds(
    lambda unit, times: unit * times, st.binary(min_size=1, max_size=40), st.integers(0, 5_000)
)


@given(contents, st.integers(0, 9))
def test_what_was_sealed_opens(content: bytes, quality: int) -> None:
    """Any content at any quality comes back byte for byte."""
    assert open_all(KEY, MESSAGE, seal(KEY, MESSAGE, compress(content, quality))) == content


@settings(max_examples=50)
@given(st.lists(contents, max_size=8), st.integers(0, 9))
def test_pieces_of_any_size_open_to_their_sum(pieces: list[bytes], quality: int) -> None:
    """It does not matter how the content was cut before it was sealed, empty pieces included."""
    parts = list(seal_pieces(KEY, MESSAGE, pieces, quality))
    assert open_all(KEY, MESSAGE, parts) == b"".join(pieces)
    assert all(len(part) == PART + TAG for part in parts[:-1])
    assert len(parts[-1]) <= PART + TAG


@pytest.mark.parametrize("parts", [1, 2])
def test_a_last_part_that_is_exactly_full(parts: int) -> None:
    """A body that ends with a full part opens, and shows when that part is missing."""
    content = next(
        NOISE[:size]
        for size in range(parts * PART - 64, parts * PART)
        if len(brotli.compress(NOISE[:size], quality=5)) == parts * PART
    )
    sealed = seal(KEY, MESSAGE, compress(content, 5))
    assert [len(part) for part in sealed] == [PART + TAG] * parts
    assert open_all(KEY, MESSAGE, sealed) == content
    with pytest.raises(SealError):
        open_all(KEY, MESSAGE, sealed[:-1])


@given(st.data())
def test_an_altered_part_does_not_open(data: st.DataObject) -> None:
    """One bit anywhere is enough."""
    parts = seal(KEY, MESSAGE, compress(NOISE, 1))
    number = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, len(parts[number]) * 8 - 1))
    altered = bytearray(parts[number])
    altered[bit // 8] ^= 1 << bit % 8
    parts[number] = bytes(altered)
    with pytest.raises(SealError):
        open_all(KEY, MESSAGE, parts)


@given(st.data())
def test_a_part_of_another_length_does_not_open(data: st.DataObject) -> None:
    """A part that was cut, down to nothing, or that something was added to."""
    parts = seal(KEY, MESSAGE, compress(NOISE, 1))
    number = data.draw(st.integers(0, len(parts) - 1))
    length = data.draw(st.integers(0, len(parts[number]) - 1))
    parts[number] = data.draw(st.sampled_from([parts[number][:length], parts[number] + b"\0"]))
    with pytest.raises(SealError):
        open_all(KEY, MESSAGE, parts)


@given(st.lists(st.integers(0, 4), max_size=7).filter(lambda order: order != [0, 1, 2, 3, 4]))
def test_parts_in_another_order_do_not_open(order: list[int]) -> None:
    """Swapped, repeated or missing parts, the last one in particular, never pass for the whole."""
    parts = seal(KEY, MESSAGE, compress(NOISE, 1))
    assert len(parts) == 5
    with pytest.raises(SealError):
        open_all(KEY, MESSAGE, [parts[number] for number in order])


@pytest.mark.parametrize("foreign", range(5))
def test_parts_of_another_message_or_customer_do_not_open(foreign: int) -> None:
    """The same content in the same place, but sealed for another message or customer."""
    for key, message in ((KEY, UUID(int=7)), (Key(bytes(32)), MESSAGE)):
        parts = seal(KEY, MESSAGE, compress(NOISE, 1))
        parts[foreign] = seal(key, message, compress(NOISE, 1))[foreign]
        with pytest.raises(SealError):
            open_all(KEY, MESSAGE, parts)


def test_equal_contents_look_different() -> None:
    """No two messages have a stored byte sequence in common that would tell that they are equal."""
    assert seal(KEY, MESSAGE, compress(b"twice", 5)) != seal(
        KEY, UUID(int=7), compress(b"twice", 5)
    )
    assert seal(KEY, MESSAGE, compress(b"twice", 5)) != seal(
        Key(bytes(32)), MESSAGE, compress(b"twice", 5)
    )


def test_a_decompression_bomb_comes_in_small_pieces() -> None:
    """96 MB out of a single part never stand in memory at once."""
    size = 96 * (1 << 20)
    zeros = bytes(1 << 20)
    parts = list(seal_pieces(KEY, MESSAGE, (zeros for _ in range(96)), 5))
    assert sum(map(len, parts)) < size // 1_000
    opening = Opening(KEY, MESSAGE)
    total = 0
    for part in parts:
        for piece in opening.feed(part):
            assert len(piece) <= 2 * PIECE
            total += len(piece)
    assert opening.complete
    assert total == size


def test_sealing_asks_for_pieces_as_it_goes() -> None:
    """A large content is not collected before its first part is there."""
    asked = 0

    def pieces() -> Iterator[bytes]:
        nonlocal asked
        for start in range(0, 32):
            asked += 1
            yield random.Random(start).randbytes(PIECE)

    first = next(seal_pieces(KEY, MESSAGE, pieces(), 1))
    assert len(first) == PART + TAG
    assert asked < 8


def test_quality_follows_content() -> None:
    """What is dense already gets the quickest quality, and nobody gets more than was asked for."""
    text = b"Le facteur sonne toujours deux fois. " * 200
    assert fitting_quality(text, 5) == 5
    assert fitting_quality(NOISE, 5) == 1
    assert fitting_quality(NOISE, 0) == 0
    assert fitting_quality(b"", 5) <= 5


# Keys


def test_the_master_key_is_made_once(tmp_path: Path) -> None:
    """However many look for it at the same time, all get one key, and nothing else is left."""
    path = tmp_path / "master.key"
    many = 8
    start = threading.Barrier(many)

    def look(_: int) -> bytes:
        start.wait()
        return master_key(path)

    with ThreadPoolExecutor(many) as threads:
        keys = set(threads.map(look, range(many)))
    assert keys == {path.read_bytes()}
    assert [len(key) for key in keys] == [32]
    assert list(tmp_path.iterdir()) == [path]
    assert master_key(path) in keys


def test_the_master_key_is_its_owners_only(tmp_path: Path) -> None:
    """Mode 0600, whatever the umask."""
    before = os.umask(0)
    try:
        master_key(tmp_path / "master.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600


def test_a_crash_while_the_key_was_made_does_no_harm(tmp_path: Path) -> None:
    """A process with the number of one that died there still starts (containers repeat them)."""
    (tmp_path / f"master.{os.getpid()}").write_bytes(b"half a key")
    assert len(master_key(tmp_path / "master.key")) == 32


def test_two_data_directories_have_two_keys(tmp_path: Path) -> None:
    """The key is random."""
    assert master_key(tmp_path / "one.key") != master_key(tmp_path / "two.key")


@pytest.mark.parametrize("held", [b"", b"short", bytes(33)])
def test_a_damaged_master_key_is_not_replaced(tmp_path: Path, held: bytes) -> None:
    """The way out is a backup: a new key would make the archive unreadable for good."""
    path = tmp_path / "master.key"
    path.write_bytes(held)
    with pytest.raises(SealError, match="restore it from a backup"):
        master_key(path)
    assert path.read_bytes() == held


def test_a_customers_key_comes_back() -> None:
    """Wrapped anew each time, and unwrapped to the same 32 bytes."""
    keyring = Keyring(bytes(32))
    one, other = keyring.new_wrapped_key(1), keyring.new_wrapped_key(1)
    assert keyring.unwrap(1, one) == keyring.unwrap(1, one)
    assert len(keyring.unwrap(1, one)) == 32
    assert keyring.unwrap(1, one) != keyring.unwrap(1, other)
    assert keyring.unwrap(1, one) not in one


def test_the_wrong_master_key_says_so() -> None:
    """An operator who mixed up two directories reads it in the error."""
    wrapped = Keyring(bytes(32)).new_wrapped_key(3)
    with pytest.raises(SealError, match=r"customer 3 .*--data is not the directory"):
        Keyring(bytes(31) + b"\1").unwrap(3, wrapped)


def test_keys_cannot_change_owners() -> None:
    """A row whose key was put in another customer's place does not open."""
    keyring = Keyring(bytes(32))
    with pytest.raises(SealError):
        keyring.unwrap(2, keyring.new_wrapped_key(1))


@given(st.binary(max_size=80))
def test_no_wrapped_key_is_anything_but_a_seal_error(wrapped: bytes) -> None:
    """Whatever stands in the row, down to nothing."""
    with pytest.raises(SealError):
        Keyring(bytes(32)).unwrap(1, wrapped)
