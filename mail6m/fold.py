"""What messages are searched by: texts without case and accents, and the grams that index them.

`Élan`, `ÉLAN` and `elan` are one text here (Unicode Standard Annex 15, NFKD, without the marks). A
gram is a number that stands for three octets that follow each other in one field of one customer's
messages on one shelf; migration 0002 makes the same numbers of what is stored.
"""

from __future__ import annotations

import enum
import itertools
import unicodedata
from typing import NamedTuple

_SPANS = (20, 24, 28, 32, 36)
"""The time of arrival is five grams: spans of so many bits of milliseconds."""
_MOST_SPANS = 16
_SPAN_MASK = (1 << 21) - 1

_UNSEEN = {"Mn", "Me", "Cf"}
"""Unicode's categories of marks on letters and of what nobody sees, joiners and soft hyphens."""

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
    """What an entry with a term has: every one of some grams, with the octets that they stand for.

    Of a term of one or two octets: any one of others.
    """

    every: dict[int, bytes]
    any: list[int]


def fold(text: str) -> str:
    """``text`` without case, accents and ligatures."""
    if text.isascii():
        return text.lower().replace("\0", "")
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join([c for c in apart if unicodedata.category(c) not in _UNSEEN])
    return bare.translate(_LETTERS).encode("utf-8", "replace").decode("utf-8")


def term(text: str) -> str:
    """What is searched for, and in: a text folded, in one line; white space counts once."""
    return " ".join(fold(text).split())


def grams(customer: int, shelf: int, field: Field, folded: str) -> Grams:
    """The grams of a folded term. One or two octets may go on in any way."""
    base = _base(customer, shelf, field)
    octets = folded.encode()
    if len(octets) >= 3:
        threes = [octets[at : at + 3] for at in range(len(octets) - 2)]
        return Grams({base + _gram(three[0], three[1], three[2]): three for three in threes}, [])
    if len(octets) == 2:
        return Grams({}, [base + _gram(octets[0], octets[1], third) for third in range(32)])
    seconds = itertools.product(range(32), range(32))
    return Grams({}, [base + _gram(octets[0], second, third) for second, third in seconds])


def spans(customer: int, shelf: int, first: int, last: int) -> list[int]:
    """The grams of the times from ``first`` to ``last``, in milliseconds since 1970: a few."""
    base = _base(customer, shelf, Field.TIME)
    level, bits = next(
        (level, bits)
        for level, bits in enumerate(_SPANS)
        if (last >> bits) - (first >> bits) < _MOST_SPANS or bits == _SPANS[-1]
    )
    numbers = range(first >> bits, (last >> bits) + 1)
    return [base + (level << 21) + (number & _SPAN_MASK) for number in numbers]


def _base(customer: int, shelf: int, field: Field) -> int:
    return (customer << 28) + (shelf << 26) + (field << 24)


def _gram(one: int, two: int, three: int) -> int:
    """The first octet whole, and five bits of the others: so that one letter has few grams."""
    return (one << 16) + ((two & 31) << 8) + (three & 31)
