"""Money: what is due around every edge of a calendar, by totals that were worked out by hand.

The brochure's prices (section IX): tiroir 40 €, malle 75 €, armoire 100 € a month, a disc 15 €,
taxes included, the first month free. "A month begun is always due" (section VIII).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail6m.billing.credits import CreditNotes, left_of
from mail6m.billing.identifiers import (
    bare,
    is_bic,
    is_european_vat_number,
    is_iban,
    is_siret,
    is_vat_number,
)
from mail6m.billing.invoice import (
    Invoice,
    Kind,
    Line,
    LineKind,
    Party,
    Seller,
    VatPart,
    with_nets,
)
from mail6m.billing.money import net_of, share, vat_on
from mail6m.billing.months import (
    Contract,
    Had,
    NoPrice,
    Sent,
    bills,
    end_of_month,
    lines_due,
    next_quarter,
    paris_day,
    quarter_of,
)
from mail6m.billing.quarters import PAUSE, Invoicing
from mail6m.billing.sellers import faults
from mail6m.billing.tariff import Tariff, Tariffs
from mail6m.model import Plan
from mail6m.shelves.closing import term
from mail6m.storage.contracts import Contracts
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from mail6m.storage.tariffs import SellerTable, TariffTable
from tests.reactor_thread import run
from tests.stored import ask, by, new_customer, new_database, new_pool

BROCHURE = Tariff(date(2005, 1, 1), 4000, 7500, 10000, 1500, 2000, 1)
DEARER = {"tiroir": 4200, "malle": 7900, "armoire": 10500, "disc": 1600}


def _and(since: str, **changed: int) -> Tariffs:
    """The brochure's prices, and others from a day on."""
    return Tariffs([BROCHURE, replace(BROCHURE, since=date.fromisoformat(since), **changed)])


TARIFFS = {
    "brochure": Tariffs([BROCHURE]),
    "free 0": Tariffs([replace(BROCHURE, free_months=0)]),
    "free 2": Tariffs([replace(BROCHURE, free_months=2)]),
    "1 Feb": _and("2026-02-01", **DEARER),
    "15 Feb": _and("2026-02-15", **DEARER),
    "15 Feb, free 0": Tariffs(
        [
            replace(BROCHURE, free_months=0),
            replace(BROCHURE, since=date(2026, 2, 15), free_months=0, **DEARER),
        ]
    ),
    "2 free from Feb": _and("2026-02-01", free_months=2),
    "0 free from Feb": _and("2026-02-01", free_months=0),
}

# Moments are UTC, noon if no hour is said. Paris is an hour ahead, and two in summer: the last
# Sunday of March is the 29th in 2026 and the 31st in 2024, that of October the 25th in 2026 and the
# 31st in 2027. A plan with a month is had from that month's first day on; "at" is the price of a
# dedicated one. Last come a quarter, how many lines its invoice has, and how many cents.
#
# begins       | plans                       | asked to end   | a disc is sent | due
TABLE = """
[brochure]
# The day of the beginning
26-01-01       | tiroir                      |                |                | 26-1 | 3 |  8000
26-01-01       | tiroir                      |                |                | 26-2 | 3 | 12000
26-01-15       | tiroir                      |                |                | 26-1 | 3 |  8000
26-01-15       | malle                       |                |                | 26-1 | 3 | 15000
26-01-15       | armoire                     |                |                | 26-1 | 3 | 20000
26-01-31       | tiroir                      |                |                | 26-1 | 3 |  8000
26-02-01       | tiroir                      |                |                | 26-1 | 2 |  4000
26-02-28       | tiroir                      |                |                | 26-1 | 2 |  4000
26-03-31       | tiroir                      |                |                | 26-1 | 1 |     0
26-03-31       | tiroir                      |                |                | 26-2 | 3 | 12000
26-03-31 21:59 | tiroir                      |                |                | 26-1 | 1 |     0
26-03-31 22:00 | tiroir                      |                |                | 26-1 | 0 |     0
26-03-31 22:00 | tiroir                      |                |                | 26-2 | 3 |  8000
25-12-31 22:59 | tiroir                      |                |                | 25-4 | 1 |     0
25-12-31 22:59 | tiroir                      |                |                | 26-1 | 3 | 12000
25-12-31 23:00 | tiroir                      |                |                | 25-4 | 0 |     0
25-12-31 23:00 | tiroir                      |                |                | 26-1 | 3 |  8000
26-09-30 21:59 | tiroir                      |                |                | 26-3 | 1 |     0
26-09-30 22:00 | tiroir                      |                |                | 26-3 | 0 |     0
26-10-31 22:59 | tiroir                      |                |                | 26-4 | 3 |  8000
26-10-31 23:00 | tiroir                      |                |                | 26-4 | 2 |  4000
# Leap days, and years without
24-02-29       | tiroir                      |                |                | 24-1 | 2 |  4000
24-02-29 22:59 | tiroir                      |                |                | 24-1 | 2 |  4000
24-02-29 23:00 | tiroir                      |                |                | 24-1 | 1 |     0
25-02-28 23:00 | tiroir                      |                |                | 25-1 | 1 |     0
24-02-29       | tiroir                      |                |                | 25-1 | 3 | 12000
24-02-29       | tiroir                      |                |                | 28-1 | 3 | 12000
# A month's last day on which the clocks are changed
24-03-31 00:30 | tiroir                      |                |                | 24-1 | 1 |     0
24-03-31 21:59 | tiroir                      |                |                | 24-1 | 1 |     0
24-03-31 22:00 | tiroir                      |                |                | 24-1 | 0 |     0
24-03-31 22:00 | tiroir                      |                |                | 24-2 | 3 |  8000
27-10-31 22:30 | tiroir                      |                |                | 27-4 | 3 |  8000
27-10-31 23:00 | tiroir                      |                |                | 27-4 | 2 |  4000
# Changes of size
26-01-10       | tiroir, 02 malle            |                |                | 26-1 | 3 | 15000
26-01-31       | tiroir, 02 malle            |                |                | 26-1 | 3 | 15000
26-01-10       | tiroir, 03 malle            |                |                | 26-1 | 3 | 11500
26-01-10       | tiroir, 04 malle            |                |                | 26-1 | 3 |  8000
26-01-10       | tiroir, 04 malle            |                |                | 26-2 | 3 | 22500
26-01-10       | tiroir, 02 malle, 03 armoire |                |                | 26-1 | 3 | 17500
25-12-05       | armoire, 03 tiroir          |                |                | 26-1 | 3 | 24000
25-11-10       | tiroir, 01 malle            |                |                | 25-4 | 2 |  4000
25-11-10       | tiroir, 01 malle            |                |                | 26-1 | 3 | 22500
24-01-05       | tiroir, 03 armoire          |                |                | 24-1 | 3 | 14000
26-01-10       | tiroir, 03 at 12345         |                |                | 26-1 | 3 | 16345
26-01-10       | at 33333                    |                |                | 26-1 | 3 | 66666
26-01-10       | at 33333, 03 at 30000       |                |                | 26-1 | 3 | 63333
26-01-10       | at 33333, 03 at 30000       |                |                | 26-2 | 3 | 90000
26-01-10       | at 0                        |                |                | 26-1 | 3 |     0
# Ends
26-01-10       | tiroir                      | 26-01-20       |                | 26-1 | 1 |     0
26-01-10       | tiroir                      | 26-01-20       |                | 26-2 | 0 |     0
26-01-10       | tiroir                      | 26-02-01       |                | 26-1 | 2 |  4000
26-01-10       | tiroir                      | 26-02-28 22:59 |                | 26-1 | 2 |  4000
26-01-10       | tiroir                      | 26-02-28 23:00 |                | 26-1 | 3 |  8000
26-01-10       | tiroir                      | 26-03-31 21:59 |                | 26-1 | 3 |  8000
26-01-10       | tiroir                      | 26-03-31 21:59 |                | 26-2 | 0 |     0
26-01-10       | tiroir                      | 26-03-31 22:00 |                | 26-2 | 1 |  4000
25-10-10       | tiroir                      | 25-12-31 22:59 |                | 25-4 | 3 |  8000
25-10-10       | tiroir                      | 25-12-31 22:59 |                | 26-1 | 0 |     0
25-10-10       | tiroir                      | 25-12-31 23:00 |                | 26-1 | 1 |  4000
24-01-10       | tiroir                      | 24-02-29 22:59 |                | 24-1 | 2 |  4000
24-01-10       | tiroir                      | 24-02-29 23:00 |                | 24-1 | 3 |  8000
24-02-29       | armoire                     | 24-02-29 13:00 |                | 24-1 | 1 |     0
27-09-01       | tiroir                      | 27-10-31 22:30 |                | 27-4 | 1 |  4000
27-09-01       | tiroir                      | 27-10-31 23:00 |                | 27-4 | 2 |  8000
26-01-10       | tiroir, 03 malle            | 26-02-15       |                | 26-1 | 2 |  4000
26-01-10       | tiroir, 03 malle            | 26-03-15       |                | 26-1 | 3 | 11500
# Discs
26-01-10       | tiroir                      |                | 26-03-31 21:30 | 26-1 | 4 |  9500
26-01-10       | tiroir                      |                | 26-03-31 23:30 | 26-1 | 3 |  8000
26-01-10       | tiroir                      |                | 26-03-31 23:30 | 26-2 | 4 | 13500
26-01-10       | tiroir                      |                | 26-01-20       | 26-1 | 4 |  9500
26-01-10       | tiroir                      |                | 26-02-01 twice | 26-1 | 5 | 11000
25-12-01       | tiroir                      |                | 25-12-31 22:59 | 25-4 | 2 |  1500
25-12-01       | tiroir                      |                | 25-12-31 23:00 | 25-4 | 1 |     0
25-12-01       | tiroir                      |                | 25-12-31 23:00 | 26-1 | 4 | 13500
24-01-05       | tiroir                      |                | 24-02-29       | 24-1 | 4 |  9500
26-09-01       | tiroir                      |                | 26-10-25 00:30 | 26-4 | 4 | 13500
26-08-01       | tiroir                      |                | 26-09-30 22:30 | 26-3 | 2 |  4000
26-08-01       | tiroir                      |                | 26-09-30 22:30 | 26-4 | 4 | 13500
26-01-10       | malle, 03 armoire           |                | 26-02-10       | 26-1 | 4 | 19000
26-01-10       | tiroir                      | 26-03-20       | 26-04-03       | 26-2 | 1 |  1500
26-01-10       | tiroir                      | 26-01-20       | 26-01-28       | 26-1 | 2 |  1500
# Prices that change within a quarter
[1 Feb]
25-12-10       | tiroir                      |                |                | 26-1 | 3 | 12400
25-12-10       | tiroir                      |                | 26-01-31 22:59 | 26-1 | 4 | 13900
25-12-10       | tiroir                      |                | 26-01-31 23:00 | 26-1 | 4 | 14000
25-12-10       | tiroir, 03 malle            |                |                | 26-1 | 3 | 16100
25-12-10       | at 33333                    |                |                | 26-1 | 3 | 99999
26-01-10       | armoire                     | 26-02-10       | 26-02-11       | 26-1 | 3 | 12100
[15 Feb]
25-12-10       | tiroir                      |                |                | 26-1 | 3 | 12200
25-12-10       | tiroir                      |                | 26-02-14 22:59 | 26-1 | 4 | 13700
25-12-10       | tiroir                      |                | 26-02-14 23:00 | 26-1 | 4 | 13800
26-02-20       | tiroir                      |                |                | 26-1 | 2 |  4200
[15 Feb, free 0]
26-02-10       | tiroir                      |                |                | 26-1 | 2 |  8200
26-02-20       | tiroir                      |                |                | 26-1 | 2 |  8400
# Free months: none, two, and when their number changes
[free 0]
26-03-31       | tiroir                      |                |                | 26-1 | 1 |  4000
26-01-01       | tiroir                      |                |                | 26-1 | 3 | 12000
26-01-10       | tiroir                      | 26-01-10 09:00 |                | 26-1 | 1 |  4000
24-02-29       | armoire                     | 24-02-29 13:00 |                | 24-1 | 1 | 10000
[free 2]
26-01-10       | tiroir                      |                |                | 26-1 | 3 |  4000
25-12-10       | tiroir                      |                |                | 25-4 | 1 |     0
25-12-10       | tiroir                      |                |                | 26-1 | 3 |  8000
26-01-10       | tiroir, 02 malle            |                |                | 26-1 | 3 |  7500
26-01-10       | tiroir                      | 26-02-10       | 26-02-20       | 26-1 | 3 |  1500
[2 free from Feb]
26-01-31 22:59 | tiroir                      |                |                | 26-1 | 3 |  8000
26-01-31 23:00 | tiroir                      |                |                | 26-1 | 2 |     0
26-01-31 23:00 | tiroir                      |                |                | 26-2 | 3 | 12000
[0 free from Feb]
26-01-31       | tiroir                      |                |                | 26-1 | 3 |  8000
26-02-01       | tiroir                      |                |                | 26-1 | 2 |  8000
"""


class Row(NamedTuple):
    """A line of the table."""

    tariffs: Tariffs
    contract: Contract
    quarter: date
    lines: int
    total: int


def _moment(text: str) -> datetime:
    day, _, hour = text.partition(" ")
    century = "20" if len(day) == 8 else ""
    return datetime.fromisoformat(f"{century}{day} {hour or '12:00'}").replace(tzinfo=UTC)


def _had(text: str, start: date) -> Had:
    """``tiroir``, ``03 malle``, ``at 33333``, ``03 at 30000``."""
    words = text.split()
    since = start
    if words[0].isdecimal():
        month = int(words.pop(0))
        since = date(start.year + (month < start.month), month, 1)
    if words[0] == "at":
        return Had(since, "dedicated", 10**12, int(words[1]))
    return Had(since, words[0], Plan(words[0]).capacity)


def _row(tariffs: str, text: str) -> Row:
    begins, plans, ends, discs, quarter, lines, total = map(str.strip, text.split("|"))
    start = paris_day(_moment(begins))
    sent = discs.removesuffix(" twice")
    serials = ["DISC1", "DISC2"][: 2 if sent != discs else 1 if discs else 0]
    contract = Contract(
        1,
        start,
        term(_moment(ends)).last_day if ends else None,
        tuple(_had(plan, start) for plan in plans.split(",")),
        tuple(Sent(serial, paris_day(_moment(sent))) for serial in serials),
    )
    first = date(2000 + int(quarter[:2]), int(quarter[3]) * 3 - 2, 1)
    return Row(TARIFFS[tariffs], contract, first, int(lines), int(total))


def _rows() -> Iterator[tuple[str, str]]:
    """The name of its tariffs, and the row."""
    tariffs = ""
    for line in TABLE.strip().splitlines():
        if line.startswith("["):
            tariffs = line.strip("[]")
        elif not line.startswith("#"):
            yield tariffs, line


ROWS = list(_rows())


@pytest.mark.parametrize(
    ("tariffs", "text"),
    ROWS,
    ids=[" ".join(" ".join(row).replace("|", "").split()) for row in ROWS],
)
def test_what_is_due(tariffs: str, text: str) -> None:
    """So many lines of so many cents together, in that quarter."""
    row = _row(tariffs, text)
    last = next_quarter(row.quarter) - timedelta(days=1)
    due = lines_due(row.contract, row.tariffs, row.quarter, last)
    assert (len(due), sum(line.gross for line in due)) == (row.lines, row.total)


def test_the_table_is_one() -> None:
    """It has the sixty rows and more that it was made for, and none twice."""
    assert len(ROWS) == len(set(ROWS)) > 60


def test_a_dedicated_cabinet_without_a_price_waits() -> None:
    """Nobody is sent an invoice about a price that has not been agreed on."""
    contract = Contract(1, date(2026, 1, 10), None, (Had(date(2026, 1, 10), "dedicated", 10**12),))
    with pytest.raises(NoPrice):
        lines_due(contract, TARIFFS["brochure"], date(2026, 1, 1), date(2026, 3, 31))


def test_an_older_archive_owes_nothing_of_before() -> None:
    """What was had before there were invoices is not known; a free month was long ago."""
    had = (Had(date(2024, 5, 10), "malle", 5_000_000_000),)
    discs = (Sent("BWTKKB", date(2026, 1, 31)), Sent("TCWGR3", date(2026, 2, 1)))
    contract = Contract(1, date(2024, 5, 10), None, had, discs, billed_from=date(2026, 2, 1))
    due = lines_due(contract, TARIFFS["brochure"], date(2024, 5, 1), date(2026, 3, 31))
    assert [line.gross for line in due] == [7500, 7500, 1500]
    quarters = bills(contract, TARIFFS["brochure"], {}, date(2026, 4, 1))
    assert [(first, len(lines)) for first, lines in quarters] == [(date(2026, 1, 1), 3)]


# Ends

TERMS = [
    # asked               last day      and destroyed, UTC
    ("2026-01-10 08:00", "2026-01-31", "2026-01-31 23:00"),
    ("2026-01-24 22:00", "2026-01-31", "2026-01-31 23:00"),
    ("2026-01-25 08:00", "2026-01-31", "2026-02-01 08:00"),
    ("2026-01-31 22:59", "2026-01-31", "2026-02-07 22:59"),
    ("2026-01-31 23:00", "2026-02-28", "2026-02-28 23:00"),
    ("2024-02-29 12:00", "2024-02-29", "2024-03-07 12:00"),
    ("2026-03-10 08:00", "2026-03-31", "2026-03-31 22:00"),
    ("2026-03-31 21:59", "2026-03-31", "2026-04-07 21:59"),
    ("2026-03-31 22:00", "2026-04-30", "2026-04-30 22:00"),
    ("2026-10-10 08:00", "2026-10-31", "2026-10-31 23:00"),
    ("2027-10-31 22:30", "2027-10-31", "2027-11-07 22:30"),
    ("2026-12-31 22:59", "2026-12-31", "2027-01-07 22:59"),
    ("2026-12-31 23:00", "2027-01-31", "2027-01-31 23:00"),
]


@pytest.mark.parametrize(("asked", "last_day", "due_at"), TERMS)
def test_ends(asked: str, last_day: str, due_at: str) -> None:
    """With the month in Paris; nothing is destroyed before it is over, nor within a week."""
    assert term(_moment(asked)) == (date.fromisoformat(last_day), _moment(due_at))


# Taxes


def _lines(*amounts: tuple[int, int]) -> tuple[Line, ...]:
    """Months with what they cost, and their rate."""
    months = enumerate(amounts, 1)
    return with_nets(
        Line(LineKind.MONTH, date(2026, month, 1), "tiroir", "", gross, rate)
        for month, (gross, rate) in months
    )


def _invoice(lines: tuple[Line, ...]) -> Invoice:
    day = date(2026, 4, 1)
    return Invoice(1, "2026-0001", Kind.INVOICE, day, day, date(2026, 1, 1), None, "", "RF",
                   Seller(Party("Mail6M")), Party("Duchemin"), lines)  # fmt: skip


TAXES = [
    # gross and rate of each line, nets of the lines; rate, net and VAT; rounding
    ([(4000, 2000)] * 3, [3333, 3334, 3333], [(2000, 10000, 2000)], 0),
    ([(0, 2000), (4000, 2000)], [0, 3333], [(2000, 3333, 667)], 0),
    ([(4000, 2000), (4000, 2000), (1500, 2000)], [3333, 3334, 1250], [(2000, 7917, 1583)], 0),
    ([(7500, 2000)] * 3, [6250, 6250, 6250], [(2000, 18750, 3750)], 0),
    ([(10000, 2000)] * 3, [8333, 8334, 8333], [(2000, 25000, 5000)], 0),
    ([(1500, 2000)], [1250], [(2000, 1250, 250)], 0),
    ([(4000, 2000), (4000, 2000), (4000, 2100)], [3333, 3334, 3306],
     [(2000, 6667, 1333), (2100, 3306, 694)], 0),
    ([(4000, 2000), (4000, 1960), (4000, 2000)], [3333, 3344, 3334],
     [(1960, 3344, 655), (2000, 6667, 1333)], 1),
    ([(4000, 0)], [4000], [(0, 4000, 0)], 0),
    ([(4000, 550)], [3791], [(550, 3791, 209)], 0),
    ([(1, 2000)], [1], [(2000, 1, 0)], 0),
    ([(3, 2000)], [3], [(2000, 3, 1)], -1),
    ([(12345, 2000)], [10288], [(2000, 10288, 2058)], -1),
    ([(12345, 2000)] * 3, [10288, 10287, 10288], [(2000, 30863, 6173)], -1),
]  # fmt: skip


@pytest.mark.parametrize(("amounts", "nets", "parts", "rounding"), TAXES)
def test_taxes(
    amounts: list[tuple[int, int]],
    nets: list[int],
    parts: list[tuple[int, int, int]],
    rounding: int,
) -> None:
    """Prices include them; what is left without them adds up, rate by rate."""
    invoice = _invoice(_lines(*amounts))
    assert [line.net for line in invoice.lines] == nets
    assert list(invoice.parts) == [VatPart(*part) for part in parts]
    assert invoice.rounding == rounding


@given(st.lists(st.tuples(st.integers(0, 10**7), st.sampled_from([0, 550, 1960, 2000, 2100]))))
def test_nets_add_up(amounts: list[tuple[int, int]]) -> None:
    """The nets of a rate are together what the rate's prices are together without taxes."""
    invoice = _invoice(_lines(*amounts[:12]))
    for part in invoice.parts:
        gross = sum(line.gross for line in invoice.lines if line.vat == part.rate)
        assert part.net == net_of(gross, part.rate)
        assert abs(gross - part.net - vat_on(part.net, part.rate)) <= 1
    assert all(line.net >= 0 for line in invoice.lines)


# Every month once, however the sweep is timed

DAYS = st.dates(date(2023, 1, 1), date(2027, 12, 31))


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    """One that begins, changes, gets discs, and perhaps ends."""
    start = draw(st.dates(date(2023, 1, 1), date(2026, 12, 31)))
    changes = draw(st.sets(st.integers(1, 40), max_size=4))
    firsts = [date(start.year + (start.month + n - 1) // 12, (start.month + n - 1) % 12 + 1, 1)
              for n in sorted(changes)]  # fmt: skip
    plans = [Had(day, draw(st.sampled_from(Plan)).value, 1) for day in (start, *firsts)]
    end = draw(st.none() | st.dates(start, date(2027, 12, 31)).map(end_of_month))
    discs = draw(st.lists(st.dates(start, date(2027, 12, 31)), max_size=5))
    sent = tuple(Sent(f"D{number}", day) for number, day in enumerate(discs))
    return Contract(1, start, end, tuple(plans), sent)


@given(contracts(), st.lists(DAYS, max_size=8), st.integers(0, 3), st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_every_month_once(contract: Contract, looks: list[date], free: int, late: int) -> None:
    """What is due is on one invoice, once, whatever days somebody has looked at it on.

    Though it comes to be known late that a disc was sent.
    """
    tariffs = Tariffs([replace(BROCHURE, free_months=free)])
    invoiced: dict[date, list[Line]] = {}
    for look in [*sorted(looks), date(2029, 7, 1)]:
        until = look - timedelta(days=late)
        known = replace(contract, discs=tuple(disc for disc in contract.discs if disc.on <= until))
        for quarter, lines in bills(known, tariffs, invoiced, quarter_of(look)):
            assert quarter not in invoiced
            invoiced[quarter] = lines
    due = lines_due(contract, tariffs, contract.started_on.replace(day=1), date(2029, 6, 30))
    found = [(line.kind, line.day, line.object) for lines in invoiced.values() for line in lines]
    assert len(found) == len(set(found))
    assert set(found) >= {(line.kind, line.day, line.object) for line in due if line.gross}
    assert sum(line.gross for lines in invoiced.values() for line in lines) == sum(
        line.gross for line in due
    )


# Invoices, on a real PostgreSQL

SELLER = Seller(
    Party("Mail6M", "18 Bis avenue du Val de Saône", "69580", "Sathonay-Camp", "FR",
          "facturation@mail6m.com", siret="48437337800013", vat_number="FR06484373378"),
    "SARL au capital de 8 000 €", "FR1420041010050500013M02606", "PSSTFRPPLYO",
)  # fmt: skip


class Calendar:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, text: str) -> None:
        """It is that moment, in UTC."""
        self.now = _moment(text)


class Books:
    """Contracts and what is made of them, in a database of their own."""

    def __init__(self, dsn: str, pool: object) -> None:
        self.dsn, self.calendar = dsn, Calendar()
        self.contracts, self.invoices = Contracts(pool), Invoices(pool)  # type: ignore[arg-type]
        self.tariffs, self.sellers = TariffTable(pool), SellerTable(pool)  # type: ignore[arg-type]
        self.credit_notes = CreditNotes(self.invoices, self.sellers, self.calendar)
        self.invoicing = self.new_invoicing()

    def new_invoicing(self) -> Invoicing:
        """Another process's."""
        return Invoicing(self.contracts, self.tariffs, self.sellers, self.invoices, self.calendar)

    def contract(self, start: str, plan: str = "tiroir", monthly: int | None = None) -> int:
        """A customer's who is one no more, so that what is known of it stands in the contract."""
        customer = new_customer()
        ask(self.dsn, "INSERT INTO contract (customer_id, started_on, buyer)"
            """ VALUES (%s, %s, '{"name": "Duchemin"}')""", customer, start)  # fmt: skip
        ask(self.dsn, "INSERT INTO contract_plan VALUES (%s, %s, %s, 0, %s)",
            customer, start, plan, monthly)  # fmt: skip
        return customer

    def disc(self, customer: int, on: str) -> None:
        """One is due."""
        ask(self.dsn, "INSERT INTO charge VALUES (%s, 'disc', %s, %s)",
            customer, f"D{new_customer()}", on)  # fmt: skip

    def amounts(self, customer: int) -> list[tuple[str, int, int]]:
        """The quarter, lines and cents of a customer's invoices, the oldest first."""
        found = [standing.invoice for standing in run(lambda: self.invoices.of(customer))]
        return [(str(one.quarter), len(one.lines), one.gross) for one in reversed(found)]

    def take(self, number: str, amounts: dict[int, int | None] | None = None) -> Invoice:
        """A credit note."""
        return run(lambda: self.credit_notes.credit(by(0), number, "Geste commercial", amounts))


@pytest.fixture
def books(database: str) -> Iterator[Books]:
    """With somebody who sends the invoices."""
    dsn = new_database(database)
    with new_pool(dsn, 4) as pool:
        made = Books(dsn, pool)
        run(lambda: made.sellers.set(by(0), date(2026, 1, 1), SELLER, date(2026, 1, 1)))
        yield made


def test_a_quarter_s_end(books: Books) -> None:
    """Nothing on its last day, the invoice from the first second of the next on, and once."""
    customer = books.contract("2026-01-10")
    books.calendar.turn("2026-03-31 21:59")
    assert run(books.invoicing.issue_due) == 0
    books.calendar.turn("2026-03-31 22:00")
    assert run(books.invoicing.issue_due) == 1
    assert run(books.invoicing.issue_due) == 0
    assert run(lambda: books.new_invoicing().issue()).issued == []
    [standing] = run(lambda: books.invoices.of(customer))
    assert books.amounts(customer) == [("2026-01-01", 3, 8000)]
    assert (standing.invoice.issued_on, standing.invoice.due_on) == (
        date(2026, 4, 1),
        date(2026, 5, 1),
    )
    assert standing.invoice.seller == SELLER
    assert standing.invoice.buyer == Party("Duchemin")


def test_what_was_missed_is_caught_up_with(books: Books) -> None:
    """Quarter by quarter, of whom has left, too; free months wait for an invoice to stand on."""
    first, late = books.contract("2025-11-10"), books.contract("2025-12-20")
    gone, never = books.contract("2026-01-05"), books.contract("2026-01-05")
    ask(books.dsn, "UPDATE contract SET ended_on = '2026-02-28' WHERE customer_id = %s", gone)
    ask(books.dsn, "UPDATE contract SET ended_on = '2026-01-31' WHERE customer_id = %s", never)
    books.disc(gone, "2026-04-02")
    books.calendar.turn("2026-07-14 12:00")
    run(books.invoicing.issue_due)
    assert books.amounts(first) == [
        ("2025-10-01", 2, 4000), ("2026-01-01", 3, 12000), ("2026-04-01", 3, 12000)
    ]  # fmt: skip
    assert books.amounts(late) == [("2026-01-01", 4, 12000), ("2026-04-01", 3, 12000)]
    assert books.amounts(gone) == [("2026-01-01", 2, 4000), ("2026-04-01", 1, 1500)]
    assert books.amounts(never) == []


def test_what_came_too_late_is_on_the_next(books: Books) -> None:
    """A disc of a quarter whose invoice has been issued is not lost."""
    customer = books.contract("2026-01-10")
    books.calendar.turn("2026-04-01 08:00")
    run(books.invoicing.issue_due)
    books.disc(customer, "2026-03-31")
    books.calendar.turn("2026-07-01 08:00")
    run(books.invoicing.issue_due)
    assert books.amounts(customer) == [("2026-01-01", 3, 8000), ("2026-04-01", 4, 13500)]


def test_until(books: Books) -> None:
    """Of the quarters that were over by a day; not of days to come."""
    customer = books.contract("2025-10-10")
    books.calendar.turn("2026-07-14 12:00")
    for until, count in (
        ("2025-12-30", 0),
        ("2025-12-31", 1),
        ("2026-06-29", 2),
        ("2026-06-30", 3),
    ):
        run(lambda until=until: books.invoicing.issue(date.fromisoformat(until)))
        assert len(books.amounts(customer)) == count
    with pytest.raises(Refused, match="still to come"):
        run(lambda: books.invoicing.issue(date(2026, 7, 15)))


def test_one_does_not_keep_the_others(books: Books) -> None:
    """A price that is missing, or a buyer: the others have their invoices, and it is said whose."""
    unpriced, priced = books.contract("2026-01-10", "dedicated"), books.contract("2026-01-10")
    agreed = books.contract("2026-01-10", "dedicated", 33333)
    nameless = books.contract("2026-01-10")
    ask(books.dsn, "UPDATE contract SET buyer = NULL WHERE customer_id = %s", nameless)
    books.calendar.turn("2026-04-01 08:00")
    assert run(books.invoicing.issue_due) == 2
    assert set(books.invoicing.waiting) == {unpriced, nameless}
    assert "no price" in books.invoicing.waiting[unpriced]
    assert books.amounts(priced) == [("2026-01-01", 3, 8000)]
    assert books.amounts(agreed) == [("2026-01-01", 3, 66666)]
    assert run(lambda: books.contracts.agree(by(unpriced), date(2026, 1, 10), 10**12, 20000))
    assert run(books.invoicing.issue_due) == 0, "it has just looked"
    books.calendar.now += PAUSE
    assert run(books.invoicing.issue_due) == 1
    assert books.amounts(unpriced) == [("2026-01-01", 3, 40000)]
    assert set(books.invoicing.waiting) == {nameless}


def test_without_a_seller_nothing_is_lost(books: Books) -> None:
    """The invoices wait for somebody who sends them."""
    ask(books.dsn, "DELETE FROM seller")
    customer = books.contract("2026-01-10")
    books.contract("2026-03-10")  # nothing is due of it yet
    books.calendar.turn("2026-04-01 08:00")
    assert run(books.invoicing.issue_due) == 0
    assert list(books.invoicing.waiting) == [customer]
    run(lambda: books.sellers.set(by(0), date(2026, 4, 1), SELLER, date(2026, 4, 1)))
    assert len(run(books.invoicing.issue).issued) == 1
    assert books.invoicing.waiting == {}


def test_two_that_issue_at_once(books: Books) -> None:
    """Each customer has its invoice once, and no number is missing."""
    customers = [books.contract("2026-01-10") for _ in range(8)]
    books.calendar.turn("2026-04-01 08:00")
    both = [books.new_invoicing(), books.new_invoicing()]
    with ThreadPoolExecutor(2) as threads:
        rounds = list(threads.map(lambda one: run(one.issue), both))
    assert not [error for one in rounds for error in one.failed]
    numbers = sorted(invoice.number for one in rounds for invoice in one.issued)
    run(lambda: books.new_invoicing().issue())
    found = sorted(one.invoice.number for one in run(books.invoices.all))
    assert found == [f"2026-{number:04d}" for number in range(1, len(customers) + 1)]
    assert set(numbers) <= set(found)
    assert [len(books.amounts(customer)) for customer in customers] == [1] * len(customers)


def test_numbers_begin_anew_each_year(books: Books) -> None:
    """By the day of issue, which is what an invoice is filed under."""
    books.contract("2026-07-10")
    for moment in ("2026-10-01 08:00", "2026-12-31 22:59", "2026-12-31 23:00"):
        books.calendar.turn(moment)
        run(lambda: books.new_invoicing().issue())
    found = [one.invoice.number for one in run(books.invoices.all)]
    assert found == ["2027-0001", "2026-0001"]


# Credit notes


@pytest.fixture
def invoice(books: Books) -> Invoice:
    """Three months of a tiroir and a disc: 135 €."""
    customer = books.contract("2025-12-10")
    books.disc(customer, "2026-02-03")
    books.calendar.turn("2026-04-01 08:00")
    [issued] = [one for one in run(books.invoicing.issue).issued if one.gross == 13500]
    return issued


def test_the_free_month_stands_first(invoice: Invoice) -> None:
    """December was free, and nothing else was due in its quarter."""
    assert [(line.gross, line.net) for line in invoice.lines] == [
        (0, 0), (4000, 3333), (4000, 3334), (4000, 3333), (1500, 1250)
    ]  # fmt: skip


def test_all_is_taken_back(books: Books, invoice: Invoice) -> None:
    """To the cent, and once; the invoice itself stays as it is."""
    note = books.take(invoice.number)
    assert (note.kind, note.corrects, note.number) == (Kind.CREDIT, invoice.number, "2026-0002")
    assert (note.gross, note.net, note.vat) == (-13500, -11250, -2250)
    standing = run(lambda: books.invoices.by_number(invoice.number))
    assert standing.invoice == invoice
    assert (standing.credited, standing.balance) == (13500, 0)
    with pytest.raises(Refused, match="nothing is left"):
        books.take(invoice.number)
    with pytest.raises(Refused, match="is a credit note itself"):
        books.take(note.number)
    assert run(lambda: books.new_invoicing().issue()).issued == [], "and it is not due again"


PARTS: list[tuple[list[dict[int, int | None]], list[tuple[int, int]], int]] = [
    # credit notes, by lines        gross and net of each                     left
    ([{2: None}], [(-4000, -3333)], 9500),
    ([{5: None}], [(-1500, -1250)], 12000),
    ([{3: 1000}, {3: None}], [(-1000, -833), (-3000, -2501)], 9500),
    ([{2: 1}, {2: 3999}], [(-1, -1), (-3999, -3332)], 9500),
    ([{2: None, 3: None}, {4: 4000, 5: 1500}], [(-8000, -6667), (-5500, -4583)], 0),
]


@pytest.mark.parametrize(("notes", "amounts", "left"), PARTS)
def test_parts_are_taken_back(
    books: Books,
    invoice: Invoice,
    notes: list[dict[int, int | None]],
    amounts: list[tuple[int, int]],
    left: int,
) -> None:
    """Lines, or cents of them; nets come out even when nothing is left."""
    made = [books.take(invoice.number, part) for part in notes]
    assert [(note.gross, note.net) for note in made] == amounts
    assert sum(line.gross for line in left_of(invoice, made)) == left
    assert run(lambda: books.invoices.by_number(invoice.number)).balance == left


def test_a_credit_note_that_has_not_seen_another(
    books: Books, invoice: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is none: it was made up of what is not left any more."""
    books.take(invoice.number, {2: 1_000})

    async def none_yet(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(books.invoices, "credits", none_yet)
    with pytest.raises(Refused, match="meanwhile"):
        books.take(invoice.number, {2: 1_000})


@pytest.mark.parametrize(
    "amounts", [{2: 4001}, {1: None}, {6: None}, {0: 1}, {2: 0}, {2: -1}, {5: 1501}]
)
def test_never_more_than_is_left(
    books: Books, invoice: Invoice, amounts: dict[int, int | None]
) -> None:
    """Nor lines that are not there; and no number is taken."""
    with pytest.raises(Refused):
        books.take(invoice.number, amounts)
    books.take(invoice.number, {2: 3999})
    with pytest.raises(Refused, match="1 cents are left"):
        books.take(invoice.number, {2: 2})
    assert ask(books.dsn, "SELECT last FROM invoice_year WHERE year = 2026") == [(2,)]


def test_two_that_take_back_at_once(books: Books, invoice: Invoice) -> None:
    """The database sees to it that only one of them does."""

    def take(_: int) -> int:
        try:
            return books.take(invoice.number).gross
        except Refused:
            return 0

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(take, range(4))) == [-13500, 0, 0, 0]


@given(st.integers(1, 10**6), st.integers(0, 2100), st.data())
def test_nets_of_credit_notes_come_out_even(gross: int, rate: int, data: st.DataObject) -> None:
    """In whatever parts a line is taken back, their nets are the line's in the end."""
    left = gross
    nets, [line] = [], _lines((gross, rate))
    while left:
        part = data.draw(st.integers(max(1, left // 4), left))
        before, after = share(line.net, left, gross), share(line.net, left - part, gross)
        nets.append(before - after)
        left -= part
    assert sum(nets) == line.net
    assert all(net >= 0 for net in nets)


# Prices and the seller


def test_what_has_held_stays(books: Books) -> None:
    """Prices and seller of a day in the past can be neither added nor changed; others can."""
    today = date(2026, 2, 10)
    for past in (BROCHURE.since, today - timedelta(days=1)):
        with pytest.raises(Refused, match="is past"):
            run(lambda past=past: books.tariffs.set(by(0), replace(BROCHURE, since=past), today))
        with pytest.raises(Refused, match="is past"):
            run(lambda past=past: books.sellers.set(by(0), past, SELLER, today))
    for price in (4200, 4300):
        new = replace(BROCHURE, since=date(2026, 3, 1), tiroir=price)
        run(lambda new=new: books.tariffs.set(by(0), new, today))
    tariffs = run(books.tariffs.all)
    assert tariffs.at(date(2026, 2, 28)) == BROCHURE
    assert tariffs.at(date(2026, 3, 1)).tiroir == 4300
    with pytest.raises(Refused, match="stays"):
        run(lambda: books.tariffs.drop(by(0), BROCHURE.since, today))
    run(lambda: books.tariffs.drop(by(0), date(2026, 3, 1), today))
    assert run(books.tariffs.all).newest_first == [BROCHURE]
    with pytest.raises(Refused, match="nothing that begins"):
        run(lambda: books.sellers.drop(by(0), date(2027, 1, 1), today))


NUMBERS = [
    (is_siret, "48437337800013", True),  # the brochure's
    (is_siret, "48437337800014", False),
    (is_siret, "48437337900013", False),
    (is_siret, "4843733780001", False),
    (is_siret, "35600000049837", True),  # an office of La Poste
    (is_siret, "35600000049838", False),
    (is_vat_number, "FR06484373378", True),
    (is_vat_number, "FR07484373378", False),
    (is_vat_number, "BE0484373378", False),
    (is_european_vat_number, "FR06484373378", True),
    (is_european_vat_number, "FR07484373378", False),
    (is_european_vat_number, "BE0484373378", True),
    (is_european_vat_number, "CH0484373378", False),
    (is_iban, "FR1420041010050500013M02606", True),
    (is_iban, "DE89370400440532013000", True),
    (is_iban, "FR1420041010050500013M02607", False),
    (is_iban, "FR142004101005050001302606", False),
    (is_bic, "PSSTFRPPLYO", True),
    (is_bic, "PSSTFRPP", True),
    (is_bic, "PSSTFRPPL", False),
]


@pytest.mark.parametrize(("check", "number", "right"), NUMBERS)
def test_numbers_that_check_themselves(check: object, number: str, right: bool) -> None:
    """SIRET by Luhn's key, the VAT number by its own, an IBAN modulo 97."""
    assert callable(check)
    assert check(number) is right


def test_a_seller_is_looked_at() -> None:
    """What is missing or cannot be right is named."""
    assert faults(SELLER) == []
    assert bare("484 373 378 00013") == SELLER.party.siret
    wrong = replace(SELLER, iban="FR76", payment_days=61, legal="",
                    party=replace(SELLER.party, siret="1", city=""))  # fmt: skip
    assert faults(wrong) == ["city", "siret", "vat_number", "iban", "payment_days", "legal"]
