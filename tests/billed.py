"""Invoices for tests: some that people would get, and any that there could be."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import date, timedelta

from hypothesis import strategies as st

from mail6m.billing.invoice import Invoice, Kind, Line, LineKind, Party, Seller, with_nets
from mail6m.billing.reference import reference_of

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
