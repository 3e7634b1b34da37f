"""What of a statement has been imported before, in whichever file; and what perhaps has been.

Files overlap: the day's and the month's, with more columns or with fewer, CAMT.053 and CSV of one
account. What is known is not kept again. Of what is equal in all that is said there may be several:
as many as one file had of them. And what may be known, or not, is for somebody to decide: to count
it by itself might count money twice, and to leave it out might lose some.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from mail6m.billing.statement import Entry, bare

NEAR = timedelta(days=3)
"""What may lie between the days that two sources name for the same money: booking and value."""


@dataclass(frozen=True, slots=True)
class Before:
    """An entry that has been kept."""

    entry: Entry
    numbers: frozenset[str]
    """Invoices that it names, or that some of it was assigned to."""


class ByHand(NamedTuple):
    """A payment that no statement has brought."""

    number: str
    amount: int
    received_on: date


class Recognition:
    """Compares the entries of one file with what was there before it."""

    def __init__(self, before: Iterable[Before], by_hand: Iterable[ByHand]) -> None:
        self._left: defaultdict[tuple[int, date], list[Before]] = defaultdict(list)
        """What was there, and has not been found in the file."""
        for one in before:
            self._left[one.entry.amount, one.entry.booked_on].append(one)
        self._by_hand = {(number, amount, on) for number, amount, on in by_hand}

    def new(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of the file that were not there; to be asked for once."""
        unequal = [entry for entry in entries if not self._found(entry, _is_stored)]
        return [entry for entry in unequal if not self._found(entry, _is_same)]

    def perhaps(self, entry: Entry, numbers: Collection[str]) -> bool:
        """Whether a new one that names these invoices may have been there in another shape."""
        for day in _near(entry.booked_on):
            if any((number, entry.amount, day) in self._by_hand for number in numbers):
                return True
            if any(_may_be(entry, numbers, one) for one in self._left[entry.amount, day]):
                return True
        return False

    def _found(self, entry: Entry, by: Callable[[Entry, Entry], bool]) -> bool:
        there = self._left[entry.amount, entry.booked_on]
        for place, one in enumerate(there):
            if by(entry, one.entry):
                del there[place]
                return True
        return False


def _is_stored(one: Entry, other: Entry) -> bool:
    return one.source == other.source


def _is_same(one: Entry, other: Entry) -> bool:
    """Of the same day and amount: what one of them says more stands in columns that only add.

    Between two kinds of file words alone prove nothing, and without words nothing does.
    """
    if _are_apart(one, other) or not _agree(one, other):
        return False
    if one.bank and one.bank == other.bank:
        return True
    pieces, others = ({bare(piece) for piece in entry.said} for entry in (one, other))
    shorter = pieces if len(pieces) < len(others) else others
    within = pieces <= others or others <= pieces or _words(one) == _words(other)
    return one.kind == other.kind and bool(shorter) and within


def _may_be(entry: Entry, numbers: Collection[str], one: Before) -> bool:
    """Of about the same day, and of the same amount: for the same invoice, or in the same words."""
    if _are_apart(entry, one.entry):
        return False
    return not one.numbers.isdisjoint(numbers) or _agree(entry, one.entry)


def _are_apart(one: Entry, other: Entry) -> bool:
    """They certainly are two: of two accounts, or by the bank's own references."""
    if one.account and other.account and one.account != other.account:
        return True
    both = bool(one.bank and other.bank)
    return both and one.kind == other.kind and one.bank != other.bank


def _agree(one: Entry, other: Entry) -> bool:
    """Neither contradicts the other: all that one of them says, the other says, too."""
    words, others = _words(one), _words(other)
    return words <= others or others <= words


def _words(entry: Entry) -> set[str]:
    return {word for piece in entry.said for word in bare(piece).split()}


def _near(day: date) -> Iterator[date]:
    """A day, and those around it."""
    for days in range(-NEAR.days, NEAR.days + 1):
        yield day + timedelta(days=days)
