"""A customer's file of all mail, kept on a disk of ours: for the operator who hands it over."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from mail6m.storage.errors import Refused
from mail6m.storage.exports import Export

_BLOCK = 1 << 20


def part_of(path: Path) -> Path:
    """Where a file is until all of it is there."""
    return path.with_name(path.name + ".part")


async def keep(
    path: Path,
    export: Export,
    pieces: Callable[[Export, int], AsyncIterator[bytes]],
    progress: Callable[[float], None],
) -> None:
    """Write a file, or go on where it was left; it has its name when it is whole and right.

    Raises `Refused` if what there was is of another file, and `OSError` on a full disk.
    """
    part = part_of(path)
    digest = hashlib.sha256()
    part.touch(mode=0o600)
    with part.open("a+b") as file:
        file.seek(0)
        while block := file.read(_BLOCK):
            digest.update(block)
        place = file.tell()
        if place < export.size:
            async for piece in pieces(export, place):
                file.write(piece)
                digest.update(piece)
                place += len(piece)
                progress(place / export.size)
        file.flush()
        os.fsync(file.fileno())
    if digest.digest() != export.sha256:
        raise Refused(f"{part} is not the beginning of this file: remove it, and begin again")
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
