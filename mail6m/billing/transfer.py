"""How a bank is told to pay: the QR code of EPC069-12, and identifiers in groups of four."""

from __future__ import annotations

import io

import segno

from mail6m.billing.invoice import Invoice, Kind
from mail6m.billing.money import plain
from mail6m.billing.reference import spaced

NAME_LENGTH = 70
NAME_OCTETS = 200
"""Of a name in letters of several octets: the whole may have 331 (a code of version 13)."""
LARGEST = 99_999_999_999
"""Cents: 999 999 999,99 € (EPC069-12, table 2)."""


def asked(invoice: Invoice) -> bool:
    """Whether a transfer can pay it: there is an account, and something to pay into it."""
    to_pay = invoice.kind is Kind.INVOICE and 0 < invoice.gross <= LARGEST
    return to_pay and bool(invoice.seller.iban)


def payload(invoice: Invoice) -> str:
    """What the code says (EPC069-12, version 002, SEPA credit transfer, a structured reference)."""
    lines = (
        "BCD",
        "002",
        "1",  # UTF-8
        "SCT",
        compact(invoice.seller.bic),
        _name(invoice.seller.party.name),
        compact(invoice.seller.iban),
        f"EUR{plain(invoice.gross)}",
        "",  # no purpose
        compact(invoice.reference),
    )
    return "\n".join(lines)


def code(invoice: Invoice) -> str:
    """The code as SVG, at correction level M, as the guideline has it."""
    drawn = segno.make_qr(payload(invoice), error="m", boost_error=False, encoding="utf-8")
    svg = io.BytesIO()
    drawn.save(svg, kind="svg", border=0, xmldecl=False, svgclass=None, lineclass=None)
    return svg.getvalue().decode()


def compact(identifier: str) -> str:
    """An IBAN, BIC or reference without spaces, in capitals."""
    return "".join(identifier.split()).upper()


def grouped(identifier: str) -> str:
    """``FR76 3000 6000 …``: as people read it."""
    return spaced(compact(identifier)).replace(" ", "\u00a0")


def _name(name: str) -> str:
    short = " ".join(name.split())[:NAME_LENGTH]
    return short.encode()[:NAME_OCTETS].decode(errors="ignore")
