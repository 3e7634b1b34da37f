"""``mail6m payment``: money that has come in for invoices."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from mail6m.billing.statement import LARGEST, NoStatement
from mail6m.cli.arguments import cents, day, nonempty
from mail6m.cli.command import CommandLine, operator
from mail6m.foundation import Foundation
from mail6m.model import HOUSE
from mail6m.storage.errors import Refused
from mail6m.storage.payments import Kept, Method, Payment

_SHOWN = 100
_BY_HAND = (Method.CHEQUE, Method.TRANSFER)


def declare(line: CommandLine) -> None:
    """Add the noun and its verbs."""
    noun = line.noun("payment", "money that has come in for invoices")
    one = noun.verb("import", payment_import)
    one.add_argument("file", type=Path, metavar="FILE", help="CAMT.053 or CSV")
    one = noun.verb("record", payment_record)
    one.add_argument("number", type=nonempty, metavar="NUMBER", help="the invoice's")
    one.add_argument("--amount", type=cents, required=True, metavar="CENTS")
    one.add_argument("--method", choices=[method.value for method in _BY_HAND], required=True)
    one.add_argument("--on", type=day, metavar="DATE", help="when it came in [today]")
    one.add_argument("--reference", type=nonempty, metavar="TEXT")
    one = noun.verb("list", payment_list)
    one.add_argument("--invoice", type=nonempty, metavar="NUMBER")
    noun.verb("waiting", payment_waiting)


async def payment_import(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A bank's statement: what certainly is for an invoice is recorded, the rest waits."""
    octets = await deferToThread(_read, options.file)
    try:
        imported = await foundation.business.bookkeeping.import_statement(operator(HOUSE), octets)
    except NoStatement as error:
        raise Refused(f"{options.file}: {error}") from error
    return {
        "entries": imported.entries,
        "recorded": imported.recorded,
        "waiting": imported.waiting,
        "known": imported.known,
    }


async def payment_record(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A cheque or a transfer has come in for an invoice."""
    on: date = options.on or foundation.business.bookkeeping.today
    standing = await foundation.business.bookkeeping.record(
        operator(HOUSE),
        options.number,
        options.amount,
        Method(options.method),
        on,
        options.reference or "",
    )
    return {
        "number": options.number,
        "amount": options.amount,
        "balance": standing.balance,
    }


async def payment_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """Payments of an invoice, or those that were recorded last."""
    if options.invoice is None:
        return [_payment(one) for one in await foundation.business.payments.newest(_SHOWN)]
    standing = await foundation.business.invoices.by_number(options.invoice)
    of = await foundation.business.payments.of(standing.invoice.customer, options.invoice)
    return [_payment(one) for one in of]


async def payment_waiting(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """What statements have brought, and nobody has said yet what it is for."""
    return [_kept(one) for one in await foundation.business.payments.waiting(_SHOWN)]


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(LARGEST + 1)


def _payment(one: Payment) -> dict[str, Any]:
    return {
        "payment": one.id,
        "number": one.number,
        "customer": one.customer,
        "received_on": one.received_on.isoformat(),
        "amount": one.amount,
        "method": one.method.value,
        "reference": one.reference,
        "recorded_by": one.recorded_by,
        "taken_back": one.taken_back,
    }


def _kept(one: Kept) -> dict[str, Any]:
    return {
        "booked_on": one.entry.booked_on.isoformat(),
        "amount": one.entry.amount,
        "left": one.left,
        "name": one.entry.name,
        "text": one.entry.text,
        "reference": one.entry.reference,
        "verdict": one.verdict.value,
        "named": list(one.named),
    }
