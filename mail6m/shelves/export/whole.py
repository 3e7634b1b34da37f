"""The whole file: measured stretch by stretch, and made again from any place on.

A stretch is a few messages in order of arrival. Its octets depend on them alone, and on what has
been noted of it, so that it is the same whenever it is made. A zip file has its directory behind
the last stretch.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from uuid import UUID
from zoneinfo import ZoneInfo

from mail6m.header import address_in
from mail6m.model import Message
from mail6m.seal import Key
from mail6m.shelves.contents import Unsealed
from mail6m.shelves.disc.names import FileNames
from mail6m.shelves.export import mbox, zipped
from mail6m.storage.exports import Export, MailReading, Stretch

FORMATS = ("zip", "mbox")
MESSAGES, OCTETS = 500, 8 << 20
"""Of a stretch at most, unless a single message has more."""


class Changed(Exception):
    """A message of the file has been deleted, or the file was asked for anew: it cannot go on."""

    def __init__(self) -> None:
        super().__init__("messages have been deleted since the file was measured: begin again")


class Measuring:
    """Measures a file. Blocking: for a thread."""

    def __init__(self, reading: MailReading, key: Key, format_: str, zone: ZoneInfo) -> None:
        self._reading = reading
        self._key = key
        self._format = format_
        self._zone = zone
        self._names = FileNames()
        self._digest = hashlib.sha256()
        self._number = self._start = self._messages = 0
        self._last: UUID | None = None
        self._at: Sequence[Message] = ()

    def next(self) -> Stretch | None:
        """The next stretch; None when there are no more messages."""
        self._at = messages = list(_first(self._reading.next(self._last, MESSAGES)))
        if not messages:
            return None
        directory = self._directory(messages) if self._format == "zip" else b""
        size = 0
        for piece in _made(self._reading, self._key, self._format, messages, directory):
            self._digest.update(piece)
            size += len(piece)
        ids = [message.id for message in messages]
        stretch = Stretch(self._number, ids, self._start, size, directory)
        self._number += 1
        self._start += size
        self._messages += len(messages)
        self._last = messages[-1].id
        return stretch

    def end(self) -> tuple[int, bytes]:
        """What comes behind the last stretch: how much it is, and the digest of the whole file."""
        size = 0
        if self._format == "zip":
            for piece in _tail(self._reading, self._messages, self._start):
                self._digest.update(piece)
                size += len(piece)
        return size, self._digest.digest()

    def has_changed(self) -> bool:
        """Whether a message of the stretch that was being measured has gone meanwhile."""
        ids = [message.id for message in self._at]
        return len(self._reading.some(ids)) != len(ids)

    def _directory(self, messages: Sequence[Message]) -> bytes:
        """Reads every content once, since a zip file says its checksum before it."""
        unsealed = _unsealed(self._reading, self._key, messages)
        place, entries = self._start, []
        for message in messages:
            crc = 0
            for piece in unsealed.content(message.id, message.raw_size):
                crc = zlib.crc32(piece, crc)
            member = self._member(message, crc)
            entries.append(zipped.central(member, place))
            place += len(zipped.local(member)) + member.size
        return b"".join(entries)

    def _member(self, message: Message, crc: int) -> zipped.Member:
        arrived = message.received_at.astimezone(self._zone)
        sender = address_in(message.header_from) or message.sender
        name = self._names.path(arrived, sender, message.subject)
        return zipped.Member(name, *zipped.moment(arrived), message.raw_size, crc)


def pieces(reading: MailReading, key: Key, export: Export, place: int) -> Iterator[bytes]:
    """The octets of a file that is ready, from a place on. Raises `Changed`, `SealError`."""
    while (stretch := reading.stretch(export.format, place)) is not None:
        messages = reading.some(stretch.messages)
        if not reading.is_as_it_was(export) or len(messages) != len(stretch.messages):
            raise Changed()
        made = _made(reading, key, export.format, messages, stretch.directory)
        yield from _without(place - stretch.start, made)
        place = stretch.start + stretch.size
    if export.format == "zip":
        tail = reading.measured(export.format)
        for piece in _without(place - tail, _tail(reading, export.messages, tail)):
            if not reading.is_as_it_was(export):
                raise Changed()
            yield piece


def _first(messages: Sequence[Message]) -> Iterator[Message]:
    """As many of them as make a stretch."""
    size = 0
    for message in messages:
        size += message.raw_size
        if size > OCTETS and size > message.raw_size:
            return
        yield message


def _made(
    reading: MailReading, key: Key, format_: str, messages: Sequence[Message], directory: bytes
) -> Iterator[bytes]:
    """The octets of a stretch."""
    unsealed = _unsealed(reading, key, messages)
    contents = (unsealed.content(message.id, message.raw_size) for message in messages)
    if format_ == "zip":
        for member, content in zip(zipped.members(directory), contents, strict=True):
            yield zipped.local(member)
            yield from content
    else:
        for message, content in zip(messages, contents, strict=True):
            yield from mbox.entry(message.sender, message.received_at, content)


def _unsealed(reading: MailReading, key: Key, messages: Sequence[Message]) -> Unsealed:
    return Unsealed(key, reading.bodies(messages[0].id, messages[-1].id))


def _tail(reading: MailReading, messages: int, place: int) -> Iterator[bytes]:
    """A zip file's directory, which stands at ``place``, and its end."""
    size = 0
    for directory in reading.directories("zip"):
        size += len(directory)
        yield directory
    yield zipped.end(messages, size, place)


def _without(skipped: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """All but the first so many octets."""
    for piece in pieces:
        if skipped < len(piece):
            yield piece[skipped:]
        skipped = max(skipped - len(piece), 0)
