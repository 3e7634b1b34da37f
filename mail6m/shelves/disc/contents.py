"""The contents of a disc's messages, one behind the other, as they are written: once, in order."""

from __future__ import annotations

import io
from collections.abc import Iterator

from mail6m.shelves.disc.layout import DiscError


class Contents(io.RawIOBase):
    """All of a disc's messages as one file, of which nothing is in memory but what is being read.

    pycdlib goes to where a file's content begins when it writes it (`seek`). It writes in the order
    that files were added in: nobody has to go back.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pieces: Iterator[bytes] = iter(())
        self._left = b""
        self._at = 0

    def begin(self, pieces: Iterator[bytes]) -> None:
        """These are the contents, from the first one on."""
        self._pieces = pieces
        self._left = b""
        self._at = 0

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go where one is already. Raises `DiscError`."""
        if whence != io.SEEK_SET or offset != self._at:
            raise DiscError(f"contents are read in order: {offset} was asked for at {self._at}")
        return offset

    def read(self, size: int = -1) -> bytes:
        """The next so many bytes, all of them. Raises `DiscError` if there are not so many."""
        if len(self._left) < size:
            gathered = [self._left]
            have = len(self._left)
            while have < size:
                piece = next(self._pieces, None)
                if piece is None:
                    raise DiscError("a message is shorter than it was when it came in")
                gathered.append(piece)
                have += len(piece)
            self._left = b"".join(gathered)
        taken, self._left = self._left[:size], self._left[size:]
        self._at += len(taken)
        return taken
