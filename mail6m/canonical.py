"""A message as signatures see it: canonical forms and their hashes (RFC 6376, 3.4 and 3.7).

Everything here is linear in what strangers wrote, and takes a body piece by piece. dkimpy's forms
are patterns that go back and forth in runs of spaces (seconds for 100 KB of them), and want the
message in memory; they are what the tests compare these with.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

_FIELDS = re.compile(rb"\r\n(?![ \t])")
_EMPTY = b"\r\n" * 4_096


def body_start(octets: bytes) -> int:
    """Where the body begins: behind the first empty line (RFC 6376, 3.4.3); at the end without one.

    `mail6m.header.header_end` ends a header at a line that is no field. Here such a line must not
    end it: who takes an empty line out of a signed message would make a header out of its body.
    """
    if octets.startswith(b"\r\n"):
        return 2
    end = octets.find(b"\r\n\r\n")
    return len(octets) if end < 0 else end + 4


def relaxed_field(field: bytes) -> bytes:
    """A header field, given without its last CRLF, in the form of RFC 6376, 3.4.2, likewise."""
    name, _, value = field.partition(b":")
    value = _single_spaced(value.replace(b"\r\n", b""))
    return name.rstrip(b" \t").lower() + b":" + value.strip(b" ")


def canonical_body(pieces: Iterable[bytes], *, relaxed: bool) -> Iterator[bytes]:
    """A body in the form of RFC 6376, 3.4.4, or the simple one of 3.4.3, as it comes."""
    body = CanonicalBody(relaxed=relaxed)
    for piece in pieces:
        yield from body.feed(piece)
    yield from body.end()


class CanonicalBody:
    """A body in canonical form, for who is given it piece by piece."""

    def __init__(self, *, relaxed: bool) -> None:
        self._relaxed = relaxed
        self._held = b""
        self._lines = 0
        self._something = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What is certain of it now."""
        data = self._held + piece if self._held else piece
        if self._relaxed:
            data = _single_spaced(data).replace(b" \r\n", b"\r\n")
        # What may still become the end of a line waits for the next piece,
        end = len(data) - data.endswith(b"\r")
        end -= data.endswith(b" ", 0, end)
        self._held, data = data[end:], data[:end]
        # and empty lines wait for a line that is not, since those at the end do not count.
        blank = _blank_lines(data)
        if len(data) == 2 * blank:
            self._lines += blank
            return
        yield from _line_ends(self._lines)
        yield data[: len(data) - 2 * blank]
        self._lines, self._something = blank, True

    def end(self) -> Iterator[bytes]:
        """The rest: that was all of it."""
        held = self._held
        if held and not (self._relaxed and held == b" "):
            yield from _line_ends(self._lines)
            yield held
            self._something = True
        if self._something or not self._relaxed:
            yield b"\r\n"


def _single_spaced(text: bytes) -> bytes:
    """Each run of spaces and tabs as one space; a long run takes few passes, as each halves it."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text


def _blank_lines(data: bytes) -> int:
    """How many CRLF it ends with."""
    tail = data[len(data.rstrip(b"\r\n")) :]
    lines, odd = divmod(len(tail), 2)
    if odd or tail != b"\r\n" * lines:  # a bare CR or LF among them
        lines = 0
        while tail.endswith(b"\r\n", 0, len(tail) - 2 * lines):
            lines += 1
    return lines


def _line_ends(lines: int) -> Iterator[bytes]:
    for start in range(0, lines, 4_096):
        yield _EMPTY[: 2 * (lines - start)]


class Signable:
    """A message whose signatures are made or verified: its fields by name, its body by hashes."""

    def __init__(self, header: bytes, body: Callable[[], Iterable[bytes]]) -> None:
        """``header`` may end with its blank line; ``body`` gives what follows, at each call."""
        self._body = body
        self._fields: dict[bytes, list[bytes]] = {}
        for field in _FIELDS.split(header):
            name, colon, _ = field.partition(b":")
            if colon:
                self._fields.setdefault(name.rstrip(b" \t").lower(), []).append(field)
        self._relaxed: dict[bytes, bytes] = {}
        self._hashes: dict[bool, tuple[bytes, int]] = {}

    def named(self, name: bytes) -> Sequence[bytes]:
        """All fields of this name, given in lower case, from the top; without their last CRLF."""
        return self._fields.get(name, ())

    def relaxed(self, field: bytes) -> bytes:
        """One of its fields in relaxed form."""
        form = self._relaxed.get(field)
        if form is None:
            form = self._relaxed[field] = relaxed_field(field)
        return form

    def selected(self, names: Iterable[bytes], *, relaxed: bool) -> list[bytes]:
        """The fields that a signature's h= names, in canonical form (RFC 6376, 5.4.2).

        A name that comes again means the next field upwards; what is not there is the empty string.
        """
        taken: dict[bytes, int] = {}
        found = []
        for name in names:
            fields = self._fields.get(name, ())
            place = taken[name] = taken.get(name, 0) + 1
            if place <= len(fields):
                field = fields[-place]
                found.append(self.relaxed(field) if relaxed else field)
        return found

    def body_hash(self, *, relaxed: bool) -> tuple[bytes, int]:
        """SHA-256 of the canonical body, and the octets that it has."""
        known = self._hashes.get(relaxed)
        if known is None:
            digest, size = hashlib.sha256(), 0
            for piece in canonical_body(self._body(), relaxed=relaxed):
                digest.update(piece)
                size += len(piece)
            known = self._hashes[relaxed] = digest.digest(), size
        return known


def signed_octets(selected: Sequence[bytes], signature: bytes, *, relaxed: bool) -> bytes:
    """What a signature is made of: fields in canonical form, then its own without b= (3.7)."""
    bare = without_b(signature)
    return b"\r\n".join([*selected, relaxed_field(bare) if relaxed else bare])


def without_b(field: bytes) -> bytes:
    """The signature's field with its b= empty, the space around it gone as well (3.5)."""
    name, _, value = field.partition(b":")
    tags = value.split(b";")
    for number, tag in enumerate(tags):
        key, equals, _ = tag.partition(b"=")
        if equals and key.strip() == b"b":
            tags[number] = key + equals
    return name + b":" + b";".join(tags)
