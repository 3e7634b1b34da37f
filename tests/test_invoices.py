"""Issuing: numbers without gaps, documents that stand for good, and their references."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import psycopg2.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail6m.billing.invoice import Draft, Kind, Line, LineKind, with_nets
from mail6m.billing.reference import is_reference, reference_of, spaced
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from tests.billed import DUCHEMIN, SELLER
from tests.reactor_thread import run
from tests.stored import ask, by, new_customer, new_pool

APRIL = date(2026, 4, 1)


def a_contract(dsn: str) -> int:
    """A customer of whom nothing is known but that it has a contract."""
    customer = new_customer()
    ask(dsn, "INSERT INTO contract VALUES (%s, '2026-01-01')", customer)
    return customer


def a_draft(customer: int, *months: int, year: int = 2026) -> Draft:
    """An invoice of some months of a tiroir, issued on the day after the first quarter."""
    lines = [Line(LineKind.MONTH, date(year, one, 1), "tiroir", "", 4000, 2000) for one in months]
    lines.append(Line(LineKind.DISC, date(year, 3, 31), "", f"D{customer}", 1500, 2000))
    return Draft(customer, Kind.INVOICE, date(year, 4, 1), date(year, 5, 1), SELLER, DUCHEMIN,
                 with_nets(lines), quarter=date(year, 1, 1))  # fmt: skip


def test_reading_back(dsn: str) -> None:
    """An invoice is read as it was issued, with its number, reference and what is to be paid."""
    customer = a_contract(dsn)
    draft = a_draft(customer, 1, 2, 3)
    with new_pool(dsn) as pool:
        invoices = Invoices(pool)
        issued = run(lambda: invoices.issue(by(customer), draft))
        assert issued is not None
        standing = run(lambda: invoices.get(customer, issued.number))
        assert standing.invoice == issued
        assert (issued.lines, issued.seller, issued.buyer) == (draft.lines, SELLER, DUCHEMIN)
        assert (issued.gross, issued.net, issued.vat) == (13500, 11250, 2250)
        assert issued.reference == reference_of(issued.number)
        assert (standing.balance, standing.documented) == (13500, False)
        assert (customer, issued.number) in run(invoices.undocumented)
        ask(dsn, "INSERT INTO payment (customer_id, number, received_on, amount, method,"
            " recorded_by) VALUES (%s, %s, '2026-05-03', 3500, 'cheque', 'op')",
            customer, issued.number)  # fmt: skip
        [standing] = run(lambda: invoices.of(customer))
        assert (standing.paid, standing.balance) == (3500, 10000)
        assert standing.overdue(date(2026, 5, 1)) == 0
        assert standing.overdue(date(2026, 5, 16)) == 15
        assert run(lambda: invoices.all(customer, unpaid=True)) == [standing]
        assert run(lambda: invoices.all(customer, unpaid=True, due_before=date(2026, 5, 1))) == []
        with pytest.raises(Refused, match="there is no invoice"):
            run(lambda: invoices.get(customer + 1_000_000, issued.number))


def test_once(dsn: str) -> None:
    """A quarter, a month and a disc are invoiced once; what comes too late takes no number."""
    customer = a_contract(dsn)
    with new_pool(dsn) as pool:
        invoices = Invoices(pool)
        assert run(lambda: invoices.issue(by(customer), a_draft(customer, 1, 2)))
        [(last,)] = ask(dsn, "SELECT last FROM invoice_year WHERE year = 2026")
        same_quarter = a_draft(customer, 3)
        same_month = replace(a_draft(customer, 2), quarter=APRIL, lines=same_quarter.lines[:0]
                             + a_draft(customer, 2).lines[:1])  # fmt: skip
        same_disc = replace(same_quarter, quarter=APRIL, lines=same_quarter.lines[1:])
        for late in (same_quarter, same_month, same_disc):
            assert run(lambda late=late: invoices.issue(by(customer), late)) is None
        assert ask(dsn, "SELECT last FROM invoice_year WHERE year = 2026") == [(last,)]


def test_no_gaps(dsn: str) -> None:
    """Two processes that issue the same invoices at once: each once, and no number is missing."""
    drafts = [a_draft(a_contract(dsn), 1, 2, 3, year=2031) for _ in range(12)]
    with new_pool(dsn, 4) as one, new_pool(dsn, 4) as other, ThreadPoolExecutor(8) as threads:
        issuers = [Invoices(one), Invoices(other)] * len(drafts)
        work = zip(issuers, sorted(drafts * 2, key=lambda draft: draft.customer), strict=True)
        issued = list(threads.map(lambda pair: run(lambda: pair[0].issue(by(1), pair[1])), work))
    numbers = sorted(one.number for one in issued if one is not None)
    assert numbers == [f"2031-{number:04d}" for number in range(1, 13)]


def test_what_is_issued_stands(dsn: str) -> None:
    """No row of an invoice can be changed or deleted."""
    customer = a_contract(dsn)
    with new_pool(dsn) as pool:
        run(lambda: Invoices(pool).issue(by(customer), a_draft(customer, 1)))
    for statement in (
        "UPDATE invoice SET gross = 0 WHERE customer_id = %s",
        "DELETE FROM invoice WHERE customer_id = %s",
        "UPDATE invoice_line SET gross = 0 WHERE customer_id = %s",
        "DELETE FROM invoice_line WHERE customer_id = %s",
    ):
        with pytest.raises(psycopg2.errors.RestrictViolation, match="issue a credit note"):
            ask(dsn, statement, customer)


def test_ten_thousand(dsn: str) -> None:
    """The number after 2032-9999 has five digits, and is the newest."""
    ask(dsn, "INSERT INTO invoice_year VALUES (2032, 9998)")
    customer = a_contract(dsn)
    with new_pool(dsn) as pool:
        invoices = Invoices(pool)
        first = a_draft(customer, 1, year=2032)
        second = replace(a_draft(customer, 2, year=2032), quarter=date(2032, 4, 1))
        run(lambda: invoices.issue(by(customer), first))
        run(lambda: invoices.issue(by(customer), replace(second, lines=second.lines[:1])))
        numbers = [standing.invoice.number for standing in run(lambda: invoices.of(customer))]
    assert numbers == ["2032-10000", "2032-9999"]


def test_references() -> None:
    """ISO 11649's own example is right, ours are, and one digit more or less is not."""
    assert is_reference("RF18539007547034")
    assert reference_of("2026-0001") == "RF3120260001"
    assert spaced("RF3120260001") == "RF31 2026 0001"
    for wrong in ("RF3120260002", "RF3220260001", "RF312026001", "3120260001", "RF31", ""):
        assert not is_reference(wrong)


@given(st.integers(2000, 2999), st.integers(1, 99_999))
def test_every_reference(year: int, number: int) -> None:
    """The reference of every number has the right check digits."""
    assert is_reference(reference_of(f"{year}-{number:04d}"))
