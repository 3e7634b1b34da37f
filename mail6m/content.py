"""A message's content while it is in hand: in memory while there is room, else in a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PIECE = 1 << 18


class Budget:
    """Octets of memory that all contents share."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, octets: int) -> bool:
        """Take so many if they are there."""
        if self.used + octets > self.limit:
            return False
        self.used += octets
        return True

    def give(self, octets: int) -> None:
        """Give back what was taken."""
        self.used -= octets


class Content:
    """A message's octets, written once, then read as often as needed, until `close`."""

    __slots__ = (
        "_budget",
        "_directory",
        "_file",
        "_pieces",
        "_taken",
        "_threshold",
        "in_memory",
        "size",
    )

    def __init__(self, budget: Budget, directory: Path, threshold: int) -> None:
        self._budget = budget
        self._directory = directory
        self._threshold = threshold
        self._pieces: list[bytes] = []
        self._taken = 0
        self._file: BinaryIO | None = None
        self.in_memory = True
        """It is in memory, whole."""
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add to it. Raises `OSError` when the disk is full."""
        self.size += len(data)
        if self._file is None:
            if self.size <= self._threshold and self._budget.take(len(data)):
                self._taken += len(data)
                self._pieces.append(data)
                return
            self._roll_over()
        self._append(data)

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        left = memoryview(data)
        while left:  # a disk that is nearly full takes a part, and says so at the next attempt only
            left = left[self._file.write(left) :]

    def _roll_over(self) -> None:
        # Unbuffered: what is here comes in large pieces, and a full disk must show itself at once.
        self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
        self.in_memory = False
        for piece in self._pieces:
            self._append(piece)
        self._give_back()

    def _give_back(self) -> None:
        self._pieces = []
        self._budget.give(self._taken)
        self._taken = 0

    def whole(self) -> bytes:
        """All of it. For what is `in_memory`. Raises `ValueError` when it has been closed."""
        if len(self._pieces) != 1:
            octets = b"".join(self._pieces)
            if len(octets) != self.size:
                raise ValueError("a content was read after it had been closed")
            self._pieces = [octets]
        return self._pieces[0]

    def head(self, octets: int) -> bytes:
        """Its beginning."""
        if self._file is None:
            return self.whole()[:octets]
        return os.pread(self._file.fileno(), octets, 0)

    def middle(self, octets: int) -> bytes:
        """A sample from its middle."""
        start = max(0, self.size // 2 - octets // 2)
        if self._file is None:
            return self.whole()[start : start + octets]
        return os.pread(self._file.fileno(), octets, start)

    def pieces(self) -> Iterator[bytes]:
        """All of it, piece by piece; several readers do not disturb each other."""
        if self._file is None:
            yield self.whole()
            return
        offset = 0
        while piece := os.pread(self._file.fileno(), PIECE, offset):
            offset += len(piece)
            yield piece

    def close(self) -> None:
        """Forget it; may be called again."""
        if self._file is not None:
            self._file.close()
        self._give_back()
