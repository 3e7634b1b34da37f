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


class _Read(NamedTuple):
    """An entry, and what it says: found out once, for it is compared with many."""

    entry: Entry
    pieces: frozenset[str]
    words: frozenset[str]
    named: frozenset[str]
    """Invoices that its words name."""
    numbers: frozenset[str]
    """These, and those that some of it was assigned to."""


class Recognition:
    """Compares the entries of one file with what was there before it.

    Of many entries this takes its time: it is work for a thread.
    """

    def __init__(
        self,
        before: Iterable[Before],
        by_hand: Iterable[ByHand],
        names: Callable[[Entry], Collection[str]],
    ) -> None:
        """``names``: the invoices that an entry names."""
        self._names = names
        self._left: defaultdict[tuple[int, date], dict[str, _Read]] = defaultdict(dict)
        """What was there, and has not been found in the file; by what it is stored under."""
        for one in before:
            there = self._left[one.entry.amount, one.entry.booked_on]
            there[one.entry.source] = self._read(one.entry, one.numbers)
        self._by_hand = {(number, amount, on) for number, amount, on in by_hand}

    def new(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of the file that were not there; to be asked for once."""
        unequal = [entry for entry in entries if not self._is_stored(entry)]
        return [entry for entry in unequal if not self._is_found(entry)]

    def perhaps(self, entry: Entry) -> bool:
        """Whether a new one may have been there in another shape."""
        read = self._read(entry)
        for day in near(entry.booked_on):
            if any((number, entry.amount, day) in self._by_hand for number in read.named):
                return True
            there = self._left.get((entry.amount, day), {})
            if any(_may_be(read, one) for one in there.values()):
                return True
        return False

    def _is_stored(self, entry: Entry) -> bool:
        there = self._left[entry.amount, entry.booked_on]
        return there.pop(entry.source, None) is not None

    def _is_found(self, entry: Entry) -> bool:
        there = self._left[entry.amount, entry.booked_on]
        read = self._read(entry)
        for source, one in there.items():
            if _is_same(read, one):
                del there[source]
                return True
        return False

    def _read(self, entry: Entry, assigned: Collection[str] = ()) -> _Read:
        pieces = frozenset(map(bare, entry.said))
        words = frozenset(word for piece in pieces for word in piece.split())
        named = frozenset(self._names(entry))
        return _Read(entry, pieces, words, named, named.union(assigned))


def _is_same(one: _Read, other: _Read) -> bool:
    """Of the same day and amount: what one of them says more stands in columns that only add.

    Between two kinds of file words alone prove nothing, and without words nothing does. Nor is it
    the same if what one of them says more names an invoice: whoever pays twice may say it once.
    """
    if _are_apart(one.entry, other.entry) or not _agree(one, other):
        return False
    if one.entry.bank and one.entry.bank == other.entry.bank:
        return True
    if one.entry.kind != other.entry.kind or not one.pieces or not other.pieces:
        return False
    if one.words == other.words:
        return True
    poorer, richer = (one, other) if one.pieces < other.pieces else (other, one)
    return poorer.pieces < richer.pieces and richer.named <= poorer.numbers


def _may_be(one: _Read, other: _Read) -> bool:
    """Of about the same day, and of the same amount: for the same invoice, or in the same words."""
    if _are_apart(one.entry, other.entry):
        return False
    return not one.named.isdisjoint(other.numbers) or _agree(one, other)


def _are_apart(one: Entry, other: Entry) -> bool:
    """They certainly are two: of two accounts, or by the bank's own references."""
    if one.account and other.account and one.account != other.account:
        return True
    both = bool(one.bank and other.bank)
    return both and one.kind == other.kind and one.bank != other.bank


def _agree(one: _Read, other: _Read) -> bool:
    """Neither contradicts the other: all that one of them says, the other says, too."""
    return one.words <= other.words or other.words <= one.words


def near(day: date) -> Iterator[date]:
    """A day, and those around it."""
    for days in range(-NEAR.days, NEAR.days + 1):
        yield day + timedelta(days=days)
