"""Contents of messages, out of their sealed parts, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from mail6m.model import id_text
from mail6m.seal import Key, Opening, SealError


class Unsealed:
    """The contents of some messages, out of the sealed parts of more; both are in order.

    ``rows`` are ids as text, each with one of its parts.
    """

    def __init__(self, key: Key, rows: Iterator[tuple[str, bytes]]) -> None:
        self._key = key
        self._rows = rows
        self._of, self._part = "", b""

    def content(self, message: UUID, size: int) -> Iterator[bytes]:
        """A message's content, in pieces. It is read to its end before the next one is.

        Raises `SealError` if a part is missing or is not as it was sealed, or if the content has
        another size than when it came in.
        """
        name, read = id_text(message), 0
        while self._of < name:
            if not self._advance():
                break
        opening = Opening(self._key, message)
        while not opening.complete:
            if self._of != name:
                raise SealError(f"parts of message {name} are missing")
            for piece in opening.feed(self._part):
                read += len(piece)
                yield piece
            self._advance()
        if read != size:
            raise SealError(f"message {name} has {read} bytes, and had {size} at first")

    def _advance(self) -> bool:
        self._of, self._part = next(self._rows, ("", b""))
        return bool(self._of)
