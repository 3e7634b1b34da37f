"""Invoices to be paid, in a database that is real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

from mail6m.billing.invoice import Draft, Invoice, Kind, Line, LineKind, Party, Seller, with_nets
from mail6m.storage.invoices import Invoices, _parameters
from mail6m.storage.pool import Pool
from tests.reactor_thread import run
from tests.stored import ask, by, new_customer

SELLER = Seller(
    Party("Mail6M", "18 Bis avenue du Val de Saône", "69580", "Sathonay-Camp", "FR"),
    "SARL au capital de 8 000 €",
    "FR7630006000011234567890189",
    "AGRIFRPP",
)
BUYER = Party("Duchemin", "ZI du parc", "59110", "La Madeleine", "FR", "georges@duchemin.fr")


Ask = Callable[..., Sequence[Sequence[Any]]]
"""Runs a statement with its parameters, and returns the rows."""


def drafted(customer: int, cents: int, issued_on: date, buyer: Party = BUYER, *more: Line) -> Draft:
    """An invoice of three months of so much, due thirty days after; and of what else is said."""
    quarter = (issued_on - timedelta(days=31)).replace(day=1)
    quarter = quarter.replace(month=(quarter.month - 1) // 3 * 3 + 1)
    months = [quarter.replace(month=quarter.month + later) for later in range(3)]
    lines = [Line(LineKind.MONTH, month, "tiroir", "", cents, 2000) for month in months]
    due_on = issued_on + timedelta(days=30)
    return Draft(
        customer, Kind.INVOICE, issued_on, due_on, SELLER, buyer, with_nets([*lines, *more]),
        quarter=quarter,
    )  # fmt: skip


def issued(ask: Ask, draft: Draft, pdf: bytes | None = b"%PDF-1.7") -> str:
    """An invoice of a customer's, who has a contract; its number."""
    ask("INSERT INTO contract VALUES (%s, '2020-01-01') ON CONFLICT DO NOTHING", draft.customer)
    given = _parameters(draft)
    named = ", ".join(["%s"] * len(given))
    [[number]] = ask(f"SELECT issue_invoice({named})", *given.values())
    if pdf is not None:
        ask("INSERT INTO invoice_document VALUES (%s, %s, %s)", draft.customer, number, pdf)
    return str(number)


def an_invoice(
    dsn: str,
    pool: Pool,
    customer: int | None = None,
    *,
    cents: int = 4000,
    issued_on: date = date(2026, 10, 1),
    buyer: Party = BUYER,
) -> Invoice:
    """Three months of so much; of a customer with a contract alone, if none is named."""
    number = customer if customer is not None else new_customer()
    ask(dsn, "INSERT INTO contract VALUES (%s, '2020-01-01') ON CONFLICT DO NOTHING", number)
    draft = drafted(number, cents, issued_on, buyer)
    invoice = run(lambda: Invoices(pool).issue(by(number), draft))
    assert invoice is not None
    return invoice


def a_credit(pool: Pool, invoice: Invoice, reason: str = "Geste commercial") -> Invoice:
    """A credit note about an invoice's first month."""
    first = invoice.lines[0]
    line = Line(first.kind, first.day, first.plan, first.object, -first.gross, first.vat)
    draft = Draft(
        invoice.customer, Kind.CREDIT, invoice.due_on, invoice.due_on, invoice.seller,
        invoice.buyer, with_nets([line]), corrects=invoice.number, reason=reason,
    )  # fmt: skip
    issued = run(lambda: Invoices(pool).issue(by(invoice.customer), draft))
    assert issued is not None
    return issued
