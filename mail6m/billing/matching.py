"""Which invoice money is for: by the reference that the invoice asks for, or by its number."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mail6m.billing.statement import Entry

_SHORTEST, _LONGEST = 5, 25
"""Characters of a reference (ISO 11649)."""
_APART = 3
"""Characters that may stand between two parts of a number: ``2026 - 0001``."""


class Verdict(enum.StrEnum):
    """What is found of an entry."""

    MATCHED = "matched"
    """It is what is to be paid, to the cent."""
    PART = "part"
    """The reference is right, with its check digits, and some of it is paid."""
    OTHER_AMOUNT = "other amount"
    """It names an invoice, and is another amount than is to be paid of it."""
    AMBIGUOUS = "ambiguous"
    """It names several, and is not what they are together."""
    UNKNOWN = "unknown"
    """It names none."""
    PERHAPS = "perhaps known"
    """It may be what another file has brought, or somebody has recorded."""


class Payable(NamedTuple):
    """An invoice that may be paid."""

    number: str
    reference: str
    balance: int
    """Cents that are still to be paid; none, or fewer, of one that has been."""


@dataclass(frozen=True, slots=True)
class Match:
    """What an entry is for."""

    verdict: Verdict
    shares: Mapping[str, int]
    """Invoices' numbers that it names, with what is certainly meant for each; else 0."""

    @property
    def certain(self) -> bool:
        """Whether nobody has to look at it."""
        return self.verdict in (Verdict.MATCHED, Verdict.PART)


class Matching:
    """Looks for invoices in what is written on transfers."""

    def __init__(self, invoices: Iterable[Payable]) -> None:
        self._by_reference: dict[str, str] = {}
        self._by_digits: dict[str, str] = {}
        self._balances: dict[str, int] = {}
        for number, reference, balance in invoices:
            self._by_reference[_bare(reference)] = number
            self._by_digits[number.replace("-", "")] = number
            self._balances[number] = balance

    def of(self, entry: Entry) -> Match:
        """What an entry is for.

        A number in a text may be a date, or somebody else's: with it alone, only an amount that is
        right to the cent is certain. A reference has check digits.
        """
        by_reference = self._references(f"{entry.reference} {entry.text}")
        named = by_reference or self._numbers(entry.text)
        if not named:
            return Match(Verdict.UNKNOWN, {})
        balances = {number: self._balances[number] for number in named}
        if sum(balances.values()) == entry.amount and min(balances.values()) > 0:
            return Match(Verdict.MATCHED, balances)
        if len(balances) > 1:
            return Match(Verdict.AMBIGUOUS, dict.fromkeys(balances, 0))
        [(number, balance)] = balances.items()
        if by_reference and entry.amount < balance:
            return Match(Verdict.PART, {number: entry.amount})
        return Match(Verdict.OTHER_AMOUNT, {number: 0})

    def paid(self, match: Match) -> None:
        """What is certain of an entry is paid: of two that name an invoice, the second finds it."""
        for number, share in match.shares.items():
            self._balances[number] -= share

    def _references(self, text: str) -> list[str]:
        """Of invoices, in whichever case and spaces; at each place the longest one."""
        bare = _bare(text)
        found: dict[str, None] = {}
        for match in re.finditer("(?=RF[0-9]{2})", bare):
            for length in range(_LONGEST, _SHORTEST - 1, -1):
                reference = bare[match.start() : match.start() + length]
                if reference in self._by_reference:
                    found[self._by_reference[reference]] = None
                    break
        return list(found)

    def _numbers(self, text: str) -> list[str]:
        """Invoices' numbers, whole, however they are spaced; what is written as a date is one."""
        groups = [match.span() for match in re.finditer("[0-9]+", text)]
        found: dict[str, None] = {}
        for first in range(len(groups)):
            digits, lengths = "", []
            for start, end in _together(text, groups[first:]):
                digits += text[start:end]
                lengths.append(end - start)
                if digits in self._by_digits and lengths != [4, 2, 2]:
                    found[self._by_digits[digits]] = None
        return list(found)


def _together(text: str, groups: Sequence[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """Groups of digits that nothing but a few signs keeps apart, as long as a number may be."""
    before, digits = groups[0][0], 0
    for start, end in groups:
        between = text[before:start]
        digits += end - start
        if len(between) > _APART or any(c.isalnum() for c in between) or digits > _LONGEST:
            return
        yield start, end
        before = end


def _bare(text: str) -> str:
    """Letters and digits alone, which are ASCII in references."""
    return re.sub("[^A-Z0-9]", "", text.upper())
