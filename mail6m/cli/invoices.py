"""``mail6m invoice``: what is due is issued, shown, and taken back."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mail6m.billing.invoice import Line, Standing
from mail6m.billing.months import paris_day
from mail6m.cli.arguments import cents, day, nonempty, number, positive
from mail6m.cli.command import CommandLine, operator
from mail6m.foundation import Foundation, now
from mail6m.model import HOUSE


def declare(line: CommandLine) -> None:
    """Add the noun and its verbs."""
    noun = line.noun("invoice", "invoices and credit notes; amounts are cents, taxes included")
    one = noun.verb("list", invoice_list)
    one.add_argument("--customer", type=number, metavar="N")
    one.add_argument("--unpaid", action="store_true", help="of which something is to be paid")
    noun.verb("show", invoice_show).add_argument("number", type=nonempty, metavar="NUMBER")
    noun.verb("pdf", invoice_pdf).add_argument("number", type=nonempty, metavar="NUMBER")
    one = noun.verb("issue", invoice_issue)
    one.add_argument("--until", type=day, metavar="DATE", help="quarters that were over by then")
    one = noun.verb("credit", invoice_credit)
    one.add_argument("number", type=nonempty, metavar="NUMBER")
    one.add_argument("--reason", type=nonempty, required=True, metavar="TEXT")
    one.add_argument(
        "--line", type=_part, action="append", metavar="K[=CENTS]", help="not all, but of this line"
    )


async def invoice_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """Invoices and credit notes, the newest first."""
    found = await foundation.business.invoices.all(options.customer, unpaid=options.unpaid)
    return [_standing(standing) for standing in found]


async def invoice_show(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """One of them, with its lines."""
    standing = await foundation.business.invoices.by_number(options.number)
    lines = [_line(place, line) for place, line in enumerate(standing.invoice.lines, 1)]
    return _standing(standing) | {"lines": lines}


async def invoice_pdf(foundation: Foundation, options: argparse.Namespace) -> None:
    """The document that the customer has of it, on standard output."""
    invoice = (await foundation.business.invoices.by_number(options.number)).invoice
    document = await foundation.business.documents.get(invoice.customer, invoice.number)
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()
    options.json = False  # nothing but the document may stand there


async def invoice_issue(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Issue now what is due of the quarters that are over."""
    done = await foundation.business.invoicing.issue(options.until)
    if done.failed:
        raise done.failed[0]
    return {
        "issued": [invoice.number for invoice in done.issued],
        "waiting": [{"customer": one, "why": why} for one, why in done.waiting.items()],
    }


async def invoice_credit(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Take back what is left of an invoice, or of some of its lines, by a credit note."""
    amounts = dict(options.line) if options.line else None
    issued = await foundation.business.credit_notes.credit(
        operator(HOUSE), options.number, options.reason, amounts
    )
    return _standing(await foundation.business.invoices.by_number(issued.number))


def _part(value: str) -> tuple[int, int | None]:
    place, _, amount = value.partition("=")
    return positive(place), cents(amount) if amount else None


def _standing(standing: Standing) -> dict[str, Any]:
    invoice = standing.invoice
    return {
        "number": invoice.number,
        "kind": invoice.kind.value,
        "customer": invoice.customer,
        "buyer": invoice.buyer.name,
        "issued_on": invoice.issued_on.isoformat(),
        "due_on": invoice.due_on.isoformat(),
        "quarter": invoice.quarter.isoformat() if invoice.quarter else None,
        "corrects": invoice.corrects,
        "reason": invoice.reason,
        "reference": invoice.reference,
        "gross": invoice.gross,
        "net": invoice.net,
        "vat": invoice.vat,
        "paid": standing.paid,
        "credited": standing.credited,
        "balance": standing.balance,
        "overdue_days": standing.overdue(paris_day(now())),
    }


def _line(place: int, line: Line) -> dict[str, Any]:
    return {
        "line": place,
        "kind": line.kind.value,
        "day": line.day.isoformat(),
        "plan": line.plan,
        "object": line.object,
        "gross": line.gross,
        "net": line.net,
        "vat_rate": line.vat,
    }
