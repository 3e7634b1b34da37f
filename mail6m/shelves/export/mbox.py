"""A message as an mbox has it, of the kind mboxrd (RFC 4155, and qmail's mbox(5)).

Lines end with LF alone, as mail programs expect it there. Taking one ``>`` from every line that
begins with one or more of them and ``From ``, and giving lines their CR, makes a message again
what it was.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

_FROM = re.compile(rb"(\n>*)From ")
_BEGINNING = re.compile(rb"\n>*(F|Fr|Fro|From)?\Z")
"""The end of what has been read, if a line that has to be quoted may have begun there."""
_NO_SENDER = b"MAILER-DAEMON"


def entry(sender: str, arrived: datetime, content: Iterator[bytes]) -> Iterator[bytes]:
    """A message, after the line that says who sent it and when it came in, and before an empty one.

    ``sender`` is the envelope's.
    """
    name = re.sub(rb"\s", b"-", sender.encode("utf-8", "replace")) or _NO_SENDER
    yield b"From %s %s\n" % (name, time.asctime(arrived.astimezone(UTC).timetuple()).encode())
    last = b"\n"
    for piece in quoted(with_bare_lf(content)):
        yield piece
        last = piece[-1:]
    yield b"\n" if last == b"\n" else b"\n\n"


def with_bare_lf(content: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces of a content, in which lines end with LF instead of CRLF."""
    held = b""
    for piece in content:
        text = held + piece
        held = b"\r" if text.endswith(b"\r") else b""
        if text := text[: len(text) - len(held)].replace(b"\r\n", b"\n"):
            yield text
    if held:
        yield held


def quoted(content: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces in which no line begins with ``From `` any more.

    It gets a ``>`` before it, and so do lines that have some already. What may be the beginning of
    such a line is held back, with a newline before it that has been given away.
    """
    held = b"\n"
    for piece in content:
        given = len(held[:1])
        text = _FROM.sub(rb"\1>From ", held + piece)
        begun = _BEGINNING.search(text, max(0, text.rfind(b"\n")))
        if begun is None:
            ready, held = text, b""
        else:
            letters = begun[1] or b""
            ready, held = text[: len(text) - len(letters)], b"\n" + letters
        if ready := ready[given:]:
            yield ready
    if letters := held[1:]:
        yield letters
