"""A finished image read back, by other eyes than the library's that wrote it.

The names are Joliet's, which are those that Windows and macOS see; ECMA-119 has the sections.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mail6m.shelves.disc.layout import SECTOR, DiscError

MANIFEST = "manifest-sha256.txt"
_PIECE = 1 << 20
_JOLIET = (b"%/@", b"%/C", b"%/E")
"""The escape sequences of Joliet's three levels (Joliet, section 3.3)."""


class File(NamedTuple):
    """A file of an image: its path, and where its content stands."""

    path: str
    offset: int
    length: int


class Checked(NamedTuple):
    """What a check has come to: files and bytes that are as the manifest says, and its own hash."""

    files: int
    bytes: int
    manifest: str
    """SHA-256, in hex."""


def check(image: Path, progress: Callable[[int], None]) -> Checked:
    """Compare every file with the manifest, and the manifest with the files.

    ``progress`` is told how many bytes have been read. Raises `DiscError` at the first difference.
    """
    with image.open("rb") as file:
        os.posix_fadvise(
            file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED
        )  # from the disk, not from memory
        files = sorted(list_files(file), key=lambda each: each.offset)
        wanted, own = _manifest(file, files)
        done = 0
        for each in files:
            if each.path == MANIFEST:
                continue
            expected = wanted.pop(each.path, None)
            if expected is None:
                raise DiscError(f"{image.name}: {each.path} is not in its manifest")
            if _sha256(file, each) != expected:
                raise DiscError(f"{image.name}: {each.path} is not what its manifest says")
            done += each.length
            progress(done)
        if wanted:
            raise DiscError(f"{image.name}: {next(iter(wanted))} is in its manifest and not there")
        return Checked(len(files) - 1, done, own)


def list_files(file: BinaryIO) -> Iterator[File]:
    """All files of an image. Raises `DiscError` if it is none, or has no names of Joliet's."""
    folders = [("", *_root(file))]
    while folders:
        above, extent, length = folders.pop()
        for name, is_folder, at, size in _records(_read(file, extent * SECTOR, length)):
            path = f"{above}{name}"
            if is_folder:
                folders.append((f"{path}/", at, size))
            else:
                yield File(path, at * SECTOR, size)


def _root(file: BinaryIO) -> tuple[int, int]:
    """Extent and length of Joliet's root (8.5; Joliet, section 3)."""
    for sector in range(16, 64):
        descriptor = _read(file, sector * SECTOR, SECTOR)
        if descriptor[1:6] != b"CD001" or descriptor[0] == 255:
            break
        if descriptor[0] == 2 and descriptor[88:91] in _JOLIET:
            return _place(descriptor[156:190])
    raise DiscError("this is no image of a disc with the names of Joliet")


def _records(folder: bytes) -> Iterator[tuple[str, bool, int, int]]:
    """The records of a directory (9.1), without itself and the one above."""
    at = 0
    while at < len(folder):
        length = folder[at]
        if not length:  # the rest of a sector
            at = (at // SECTOR + 1) * SECTOR
            continue
        record = folder[at : at + length]
        name = record[33 : 33 + record[32]]
        if name not in (b"\0", b"\1"):
            yield name.decode("utf-16-be").removesuffix(";1"), bool(record[25] & 2), *_place(record)
        at += length


def _place(record: bytes) -> tuple[int, int]:
    """Extent and length out of a record (9.1.3, 9.1.4), in the first of both orders (7.3.3)."""
    return int.from_bytes(record[2:6], "little"), int.from_bytes(record[10:14], "little")


def _manifest(file: BinaryIO, files: list[File]) -> tuple[dict[str, bytes], str]:
    """What the manifest says of each path, and its own hash."""
    place = next((each for each in files if each.path == MANIFEST), None)
    if place is None:
        raise DiscError(f"the image has no {MANIFEST}")
    content = _read(file, place.offset, place.length)
    lines = (line.split("  ", 1) for line in content.decode().splitlines())
    return (
        {path: bytes.fromhex(digest) for digest, path in lines},
        hashlib.sha256(content).hexdigest(),
    )


def _sha256(file: BinaryIO, of: File) -> bytes:
    digest, left = hashlib.sha256(), of.length
    file.seek(of.offset)
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise DiscError(f"the image ends in the middle of {of.path}")
        digest.update(piece)
        left -= len(piece)
    return digest.digest()


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    octets = file.read(length)
    if len(octets) < length:
        raise DiscError("the image is too short")
    return octets
