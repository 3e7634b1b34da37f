"""Archived messages, read back byte for byte, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from mail6m.directory import Directory
from mail6m.seal import Opening, SealError
from mail6m.storage.archive import Archive

PARTS = 64
"""Parts fetched at a time: about half a megabyte."""


class Reader:
    """Opens what `mail6m.intake` has sealed."""

    def __init__(self, archive: Archive, directory: Directory) -> None:
        self._archive = archive
        self._directory = directory

    async def pieces(self, customer: int, message: UUID) -> AsyncIterator[bytes]:
        """A message's content. Raises `Unavailable`, `Refused` or `SealError`."""
        opening = Opening(await self._directory.key(customer), message)
        first = 0
        while not opening.complete:
            parts = await self._archive.parts(customer, message, first, PARTS)
            if not parts:
                raise SealError(f"parts of message {message} are missing")
            for part in parts:
                for piece in opening.feed(part):
                    yield piece
            first += len(parts)

    async def head(self, customer: int, message: UUID, octets: int) -> bytes:
        """The beginning of a message's content. Raises as `pieces`."""
        head = b""
        async for piece in self.pieces(customer, message):
            head += piece
            if len(head) >= octets:
                break
        return head[:octets]
