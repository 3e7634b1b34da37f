"""Lists of recipients, as spreadsheets write them (CSV, RFC 4180)."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Sequence

from mail6m.dialogue.address import AddressError, canonical

MOST_OCTETS = 1_000_000
MOST_ADDRESSES = 50_000
_SEPARATORS = re.compile(r"[;,\t]")
_LINES = re.compile(r"\r\n|\r|\n")
_SHOWN = 100
"""Characters of what is wrong that are shown."""


class Wrong(enum.Enum):
    """Why something is no list."""

    NO_ADDRESS = "not an address"
    ELSEWHERE = "an address at another domain"
    EMPTY = "no address at all"
    TOO_LARGE = "more octets than a list may have"
    TOO_MANY = "more addresses than a list may have"


class NoList(ValueError):
    """A file that is no list of recipients: why, and where."""

    def __init__(self, why: Wrong, line: int = 0, text: str = "") -> None:
        where = f"line {line}: {text!r}: " if line else ""
        super().__init__(where + why.value)
        self.why = why
        self.line = line
        self.text = text


def read_list(data: bytes, domain: str) -> list[str]:
    """The local parts of the addresses in a file, in lower case, each once, in order.

    A line has one address of the domain or more, among other columns; the first one may have none:
    it names the columns. Raises `NoList`.
    """
    if len(data) > MOST_OCTETS:
        raise NoList(Wrong.TOO_LARGE)
    found = set(_addresses(_LINES.split(_text(data)), domain))
    if not found:
        raise NoList(Wrong.EMPTY)
    if len(found) > MOST_ADDRESSES:
        raise NoList(Wrong.TOO_MANY)
    return sorted(found)


def write_list(local_parts: Iterable[str], domain: str) -> bytes:
    """A file that `read_list` reads, and a spreadsheet."""
    lines = ["adresse", *(f"{local_part}@{domain}" for local_part in local_parts), ""]
    return "\r\n".join(lines).encode("utf-8-sig")


def on_list(local_part: str) -> tuple[str, str]:
    """What a recipient is called on a list: all of it, or without its detail (RFC 5233).

    Capitals make no difference; to most machines a detail makes none either, and it is for them to
    refuse one.
    """
    name = local_part.lower()
    return name, name.partition("+")[0] or name


def _text(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("windows-1252", "replace")


def _addresses(lines: Sequence[str], domain: str) -> Iterator[str]:
    first = True
    for number, line in enumerate(lines, 1):
        cells = [cell.strip(" \"'<>") for cell in _SEPARATORS.split(line)]
        filled = [cell for cell in cells if cell]
        addresses = [cell for cell in filled if "@" in cell]
        if filled and not addresses and not first:
            raise NoList(Wrong.NO_ADDRESS, number, filled[0][:_SHOWN])
        first = first and not filled
        for typed in addresses:
            yield _local_part(typed, domain, number)


def _local_part(typed: str, domain: str, line: int) -> str:
    try:
        local_part, _, at = canonical(typed).rpartition("@")
    except AddressError as error:
        raise NoList(Wrong.NO_ADDRESS, line, typed[:_SHOWN]) from error
    if local_part == "*":  # it would take in nobody, where everybody was meant
        raise NoList(Wrong.NO_ADDRESS, line, typed[:_SHOWN])
    if at != domain:
        raise NoList(Wrong.ELSEWHERE, line, typed[:_SHOWN])
    return local_part.lower()
