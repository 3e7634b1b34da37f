"""Invoices for tests: some that people would get, some in a database, any that there could be."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st

from mail6m.billing.invoice import Draft, Invoice, Kind, Line, LineKind, Party, Seller, with_nets
from mail6m.billing.reference import reference_of
from mail6m.storage.invoices import Invoices, _parameters
from mail6m.storage.pool import Pool
from tests.reactor_thread import run
from tests.stored import ask, by, new_customer

SELLER = Seller(
    Party(
        "Mail6M", "18 bis avenue du Val de Saône", "69580", "Sathonay-Camp", "FR",
        "factures@mail6m.example", "04 00 00 00 00", "", "48437337800013", "FR06484373378",
    ),
    "SARL au capital de 10 000 €, RCS Lyon 484 373 378",
    "FR76 3000 6000 0112 3456 7890 189",
    "AGRIFRPP",
)  # fmt: skip
DUCHEMIN = Party(
    "Duchemin", "ZI du parc", "59110", "La Madeleine", "France", "georges@duchemin.fr",
    "0800101213", "Georges Alphan", "73282932000074", "FR44732829320",
)  # fmt: skip
STRANGER = Party(
    '#import "x" *株式会社* $x$ <a> & 😀 مرحبا שלום Łódź', "[1]: `rue` \\ 2", "10115", "Berlin",
    "Allemagne",
)  # fmt: skip
"""Somebody whose name looks like markup, and is written in the letters of many."""


def month(on: date, plan: str = "tiroir", gross: int = 4_000, size: str = "") -> Line:
    """A cabinet, for a month."""
    return Line(LineKind.MONTH, on, plan, size, gross, 2_000)


def disc(on: date, serial: str = "M6M-000012-0003", gross: int = 1_500) -> Line:
    """A disc that was sent."""
    return Line(LineKind.DISC, on, "", serial, gross, 2_000)


def invoice(*lines: Line, number: str = "2026-0001", buyer: Party = DUCHEMIN) -> Invoice:
    """Of the first quarter of 2026."""
    return Invoice(
        12, number, Kind.INVOICE, date(2026, 4, 1), date(2026, 5, 1), date(2026, 1, 1), None, "",
        reference_of(number), SELLER, buyer, with_nets(lines),
    )  # fmt: skip


FIRST = invoice(
    month(date(2026, 1, 1), gross=0),
    month(date(2026, 2, 1)),
    month(date(2026, 3, 1), "malle", 7_500),
    disc(date(2026, 3, 12)),
)
"""A free month, a change of size, and a disc: 130 €."""
LONG = invoice(
    month(date(2026, 1, 1), "dedicated", 123_400, "250000000000"),
    *(disc(date(2026, 1, 1) + timedelta(at), f"M6M-000012-{at:04d}") for at in range(60)),
)
"""Sixty discs."""
CREDIT = replace(
    invoice(month(date(2026, 2, 1), gross=-4_000), disc(date(2026, 3, 12), gross=-1_500)),
    number="2026-0002",
    kind=Kind.CREDIT,
    quarter=None,
    corrects="2026-0001",
    corrected_on=date(2026, 4, 1),
    reason="disque illisible",
)
BY_CHEQUE = replace(FIRST, seller=replace(SELLER, iban="", bic=""), buyer=STRANGER)
"""A seller without an account."""


# In a database that is real


Ask = Callable[..., Sequence[Sequence[Any]]]
"""Runs a statement with its parameters, and returns the rows."""


def drafted(
    customer: int, cents: int, issued_on: date, buyer: Party = DUCHEMIN, *more: Line
) -> Draft:
    """An invoice of three months of so much, due thirty days after; and of what else is said."""
    quarter = (issued_on - timedelta(days=31)).replace(day=1)
    quarter = quarter.replace(month=(quarter.month - 1) // 3 * 3 + 1)
    months = [quarter.replace(month=quarter.month + later) for later in range(3)]
    lines = [month(on, gross=cents) for on in months]
    due_on = issued_on + timedelta(days=30)
    return Draft(
        customer, Kind.INVOICE, issued_on, due_on, SELLER, buyer, with_nets([*lines, *more]),
        quarter=quarter,
    )  # fmt: skip


def issued(ask: Ask, draft: Draft, pdf: bytes | None = b"%PDF-1.7") -> str:
    """An invoice of a customer's, who has a contract; its number."""
    ask("INSERT INTO contract VALUES (%s, '2020-01-01') ON CONFLICT DO NOTHING", draft.customer)
    given = _parameters(draft)
    del given["others"]
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
    buyer: Party = DUCHEMIN,
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


# Any that there could be


def texts(most: int = 80) -> st.SearchStrategy[str]:
    """Whatever PostgreSQL keeps as text, with something to be seen in it."""
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.text(letters, min_size=1, max_size=most).filter(_seen)


def _seen(text: str) -> bool:
    return any(unicodedata.category(letter)[0] in "LNPS" for letter in text)


@st.composite
def invoices(draw: st.DrawFn) -> Invoice:
    """Any invoice or credit note."""
    rates = st.sampled_from([2_000, 1_000, 550, 210])
    gross = st.integers(0, 5_000_000)
    plans = st.sampled_from(["tiroir", "malle", "armoire", "dedicated"])
    lines = [
        Line(LineKind.MONTH, date(2026, at, 1), draw(plans), "", draw(gross), draw(rates))
        for at in range(1, draw(st.integers(1, 3)) + 1)
    ]
    for _ in range(draw(st.integers(0, 4))):
        sent = date(2026, 1, 1) + timedelta(draw(st.integers(0, 89)))
        lines.append(Line(LineKind.DISC, sent, "", draw(texts(20)), draw(gross), draw(rates)))
    optional = st.one_of(st.just(""), texts(40))
    buyer = Party(
        draw(texts()), draw(optional), draw(optional), draw(optional), draw(optional),
        draw(st.sampled_from(["", "georges@duchemin.fr"])), draw(optional), draw(optional),
        draw(st.sampled_from(["", "73282932000074", "nonsense"])),
    )  # fmt: skip
    seller = draw(st.sampled_from([SELLER, replace(SELLER, iban="", bic=""), _foreign()]))
    made = replace(invoice(*lines, buyer=buyer), seller=seller, reason=draw(optional))
    if draw(st.booleans()):
        return made
    back = with_nets(replace(line, gross=-line.gross) for line in lines)
    return replace(made, kind=Kind.CREDIT, corrects="2025-0007", lines=back)


def _foreign() -> Seller:
    return replace(SELLER, party=replace(SELLER.party, name="Ü" * 90), bic="")
