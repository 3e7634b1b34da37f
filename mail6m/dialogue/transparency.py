"""What ends a message, and dot-stuffing: RFC 5321, 4.1.1.4 and 4.5.2.

The end of data is CRLF.CRLF and nothing else. A CR or an LF alone never ends anything; it is
noticed, so that the whole message can be refused: software that is laxer than this one would
see other lines, and other messages, in the same bytes ("SMTP smuggling").
"""

from __future__ import annotations

_END = b"\r\n.\r\n"
_PREFIXES = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


_NOT_NEWLINES = bytes(octet for octet in range(256) if octet not in b"\r\n")


def has_bare_newline(content: bytes) -> bool:
    """Is there a CR or an LF that is not part of a CRLF?"""
    # Two passes: counting CR, LF and CRLF would be three, and twice the time.
    return len(content.translate(None, _NOT_NEWLINES)) != 2 * content.count(b"\r\n")


class Unstuffing:
    """Finds the end of data in a stream, and takes the stuffed dots out, in linear time."""

    __slots__ = ("_fresh", "bare_newline")

    def __init__(self) -> None:
        self._fresh = True
        self.bare_newline = False
        """A bare CR or LF has been seen."""

    def feed(self, data: bytes) -> tuple[bytes, int, bool]:
        """Take what can be taken of ``data``: (content, octets used, whether the end was found).

        What is not used may be the beginning of the end, and must be fed again, with more.
        """
        # The CRLF that ends the DATA line also counts as the one before a dot.
        virtual = 2 if self._fresh else 0
        if virtual:
            data = b"\r\n" + data
        # A large attachment has no dot at all, and one look for that is thirty times quicker.
        dots = b"." in data
        end = data.find(_END) if dots else -1
        if end >= 0:
            raw, used, ended = data[: end + 2], end + 5, True
        else:
            used = len(data) - _held_back(data)
            raw, ended = (data if used == len(data) else data[:used]), False
            if virtual and used < 2:
                return b"", 0, False
        self._fresh = False
        # One pass more over the data, and no more, tells both kinds of newline apart.
        if not self.bare_newline:
            self.bare_newline = has_bare_newline(raw)
        if dots and b"\r\n." in raw:
            raw = raw.replace(b"\r\n.", b"\r\n")
        return (raw[virtual:] if virtual else raw), used - virtual, ended


def _held_back(data: bytes) -> int:
    """How many octets at the end of ``data`` could begin an end of data."""
    for prefix in _PREFIXES:
        if data.endswith(prefix):
            return len(prefix)
    return 0


class Stuffing:
    """Content in pieces -> the octets that follow DATA, with the end of data after the last one."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def feed(self, content: bytes) -> bytes:
        """The octets to send for the next piece of content."""
        if not content:
            return b""
        # The stuffed form of a piece depends on the two octets before it: look at them together.
        tail = self._tail
        self._tail = (tail + content[-2:])[-2:]
        if b"." not in content:
            return content
        return (tail + content).replace(b"\r\n.", b"\r\n..")[len(tail) :]

    def end(self) -> bytes:
        """The end of data; a last line without its CRLF (possible with BDAT) is given one."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
