"""What is due of a contract: a line for each calendar month begun, and for each disc sent.

Months are calendar months, and days those of Paris, where the seller is (decision 9).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from mail6m.billing.invoice import Line, LineKind
from mail6m.billing.tariff import Tariff, Tariffs
from mail6m.model import Plan
from mail6m.zones import zone_of

DEDICATED = "dedicated"
"""The plan of a cabinet whose capacity and price have been agreed on."""
_PARIS = zone_of("Europe/Paris")
_DAY = timedelta(days=1)


class NoPrice(LookupError):
    """No price has been agreed on for a dedicated cabinet."""


@dataclass(frozen=True, slots=True)
class Had:
    """What a customer has, from a day on."""

    since: date
    plan: str
    """``tiroir``, ``malle``, ``armoire`` or ``dedicated``."""
    capacity: int
    """Stored bytes."""
    monthly: int | None = None
    """Cents that have been agreed on; None: the tariff's price."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A disc that was sent for the first time."""

    serial: str
    on: date


@dataclass(frozen=True, slots=True)
class Contract:
    """What a customer has had, and for how long."""

    customer: int
    started_on: date
    ended_on: date | None
    """Its last day, which is the last of a month; None: it goes on."""
    plans: tuple[Had, ...]
    """In order; the first is had from the start."""
    discs: tuple[Sent, ...] = ()
    billed_from: date | None = None
    """The first day of the month from which on it is due; None: from the start on."""

    def had(self, day: date) -> Had:
        """What is had on a day; before the start, what is had at the start."""
        return [one for one in self.plans if one.since <= max(day, self.plans[0].since)][-1]


def paris_day(moment: datetime) -> date:
    """The day that a moment falls on in Paris."""
    return moment.astimezone(_PARIS).date()


def midnight(day: date) -> datetime:
    """The moment at which a day begins in Paris."""
    return datetime.combine(day, time(), _PARIS)


def month_of(day: date) -> date:
    """The first day of its month."""
    return day.replace(day=1)


def next_month(day: date) -> date:
    """The first day of the month after its own."""
    return month_of(month_of(day) + 31 * _DAY)


def end_of_month(day: date) -> date:
    """The last day of its month."""
    return next_month(day) - _DAY


def quarter_of(day: date) -> date:
    """The first day of its calendar quarter."""
    return date(day.year, day.month - (day.month - 1) % 3, 1)


def next_quarter(day: date) -> date:
    """The first day of the quarter after its own."""
    return next_month(quarter_of(day) + 62 * _DAY)


def lines_due(contract: Contract, tariffs: Tariffs, first: date, last: date) -> list[Line]:
    """What is due of the months whose first day is in a period, and of the discs sent in it.

    Both days belong to the period. What was before `Contract.billed_from` is not due. Months come
    first, then discs, each in order; nets are left open.
    Raises `NoTariff` and `NoPrice`.
    """
    first = max(first, contract.billed_from or first)
    months = [
        _month(contract, tariffs, month, number)
        for number, month in enumerate(_months_begun(contract, last))
        if month >= first
    ]
    discs = sorted(contract.discs, key=lambda disc: (disc.on, disc.serial))
    return months + [_disc(disc, tariffs.at(disc.on)) for disc in discs if first <= disc.on <= last]


def bills(
    contract: Contract, tariffs: Tariffs, invoiced: Mapping[date, Sequence[Line]], before: date
) -> Iterator[tuple[date, list[Line]]]:
    """Quarters that are over and have no invoice, and what is to stand on theirs.

    What an earlier one has left out is on the next: free months of a quarter in which nothing was
    due, and what came to be known too late.
    """
    known = {_item(line) for lines in invoiced.values() for line in lines}
    quarter = quarter_of(contract.started_on)
    while quarter < before:
        if quarter not in invoiced:
            last = next_quarter(quarter) - _DAY
            due = lines_due(contract, tariffs, month_of(contract.started_on), last)
            lines = [line for line in due if _item(line) not in known]
            if sum(line.gross for line in lines):
                known |= {_item(line) for line in lines}
                yield quarter, lines
        quarter = next_quarter(quarter)


def _months_begun(contract: Contract, last: date) -> Iterator[date]:
    month = month_of(contract.started_on)
    while month <= min(last, contract.ended_on or last):
        yield month
        month = next_month(month)


def _month(contract: Contract, tariffs: Tariffs, month: date, number: int) -> Line:
    # The first month is the one in which the contract begins, on whatever day.
    begun = max(month, contract.started_on)
    had, tariff = contract.had(begun), tariffs.at(begun)
    free = number < tariffs.at(contract.started_on).free_months
    gross = 0 if free else _price(had, tariff)
    size = str(had.capacity) if had.plan == DEDICATED else ""
    return Line(LineKind.MONTH, month, had.plan, size, gross, tariff.vat)


def _price(had: Had, tariff: Tariff) -> int:
    if had.monthly is not None:
        return had.monthly
    if had.plan == DEDICATED:
        raise NoPrice("no price has been agreed on for the dedicated cabinet")
    return tariff.monthly(Plan(had.plan))


def _disc(disc: Sent, tariff: Tariff) -> Line:
    return Line(LineKind.DISC, disc.on, "", disc.serial, tariff.disc, tariff.vat)


def _item(line: Line) -> tuple[LineKind, str]:
    """What is never invoiced twice."""
    return line.kind, line.object if line.kind is LineKind.DISC else line.day.isoformat()
