"""Where an image is written to: in large pieces, however small those are that it is made of."""

from __future__ import annotations

import io
import os

PIECE = 1 << 22
"""Bytes that are written at a time."""
_PAGE = 4_096


class Output(io.RawIOBase):
    """A file whose room is taken beforehand, so that it is known whether there is enough.

    pycdlib goes to the place of each record before it writes it, which is nearly always where it is
    already; a file of the library's would write what it has each time.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        super().__init__()
        os.posix_fallocate(descriptor, 0, size)
        self._descriptor = descriptor
        self._kept = bytearray()
        self._start = 0

    def writable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def tell(self) -> int:
        """See `io.IOBase`."""
        return self._start + len(self._kept)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.IOBase`. From here on, there is nothing to be passed but padding."""
        if whence == io.SEEK_CUR:
            self.write(bytes(offset))
        elif offset != self.tell():
            self._write(len(self._kept))
            self._start = offset
        return self.tell()

    def write(self, octets: bytes) -> int:  # type: ignore[override]
        """See `io.RawIOBase`; all of it is taken."""
        self._kept += octets
        if len(self._kept) >= PIECE:
            self._write(len(self._kept) - self.tell() % _PAGE)
        return len(octets)

    def finish(self) -> None:
        """Write the rest, and see that all of it is on the disk."""
        self._write(len(self._kept))
        os.fsync(self._descriptor)

    def _write(self, octets: int) -> None:
        """The first so many of those that are kept."""
        with memoryview(self._kept) as kept:
            done = 0
            while done < octets:
                done += os.pwrite(self._descriptor, kept[done:octets], self._start + done)
        del self._kept[:octets]
        self._start += octets
