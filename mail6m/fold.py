"""What messages are searched by: texts without case and accents, and the grams that index them.

`Élan`, `ÉLAN` and `elan` are one text here (Unicode Standard Annex 15, NFKD, without the marks). A
gram is a number that stands for three octets that follow each other in one field of one customer's
messages on one shelf; migration 0002 makes the same numbers of what is stored.
"""

from __future__ import annotations

import enum
import unicodedata
from typing import NamedTuple

SPAN_BITS = 28
"""A gram for the time of arrival stands for 2^28 milliseconds, about three days."""
_ENOUGH = 16
"""Grams of one term that are asked for: more hardly narrow what is found."""

# Letters that Unicode does not take apart, as people type them who have no such keys.
_LETTERS = str.maketrans(
    {"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "\0": None}
)


class Field(enum.IntEnum):
    """The fields that can be searched."""

    SENDER = 0
    RECIPIENT = 1
    SUBJECT = 2
    TIME = 3


class Grams(NamedTuple):
    """What the index is asked for, for one term: every one of some grams, or any one of others."""

    every: list[int]
    any: list[int]


def fold(text: str) -> str:
    """``text`` without case, accents and ligatures."""
    if text.isascii():
        return text.lower().replace("\0", "")
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join([c for c in apart if unicodedata.category(c) != "Mn"])
    return bare.translate(_LETTERS).encode("utf-8", "replace").decode("utf-8")


def term(text: str) -> str:
    """What somebody typed into a field of the search, folded; white space counts once."""
    return " ".join(fold(text).split())


def grams(customer: int, shelf: int, field: Field, folded: str) -> Grams:
    """The grams of a folded term. One or two octets may go on in any way."""
    base = (customer << 28) + (shelf << 26) + (field << 24)
    octets = folded.encode()
    if len(octets) >= 3:
        every = {
            base + (one << 16) + (two << 8) + three
            for one, two, three in zip(octets, octets[1:], octets[2:], strict=False)
        }
        return Grams(_spread(sorted(every)), [])
    missing = 8 * (3 - len(octets))
    first = base + (int.from_bytes(octets) << missing)
    return Grams([], list(range(first, first + (1 << missing))))


def spans(customer: int, shelf: int, first: int, last: int) -> list[int]:
    """The grams of the times from ``first`` to ``last``, in milliseconds since 1970."""
    base = (customer << 28) + (shelf << 26) + (Field.TIME << 24)
    return list(range(base + (first >> SPAN_BITS), base + (last >> SPAN_BITS) + 1))


def _spread(grams_: list[int]) -> list[int]:
    step = -(-len(grams_) // _ENOUGH)
    return grams_[::step]
