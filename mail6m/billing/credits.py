"""Credit notes: what was invoiced is taken back, all of it or a part, and never more than is left.

An invoice that has been issued stays as it is (Code général des impôts, annexe II, art. 242 nonies
A): what corrects it is another document, which names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from mail6m.billing.invoice import Draft, Invoice, Kind, Line, Seller
from mail6m.billing.money import share
from mail6m.billing.months import paris_day
from mail6m.billing.sellers import NoSeller
from mail6m.storage.audit import By
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from mail6m.storage.tariffs import SellerTable


def left_of(invoice: Invoice, credit_notes: Iterable[Invoice]) -> list[Line]:
    """An invoice's lines with what is left of each, after the credit notes about it."""
    left = {_item(line): line for line in invoice.lines}
    for taken in [line for note in credit_notes for line in note.lines]:
        line = left[_item(taken)]
        left[_item(taken)] = replace(line, gross=line.gross + taken.gross, net=line.net + taken.net)
    return list(left.values())


def taken_back(line: Line, left: Line, amount: int) -> Line:
    """A credit note's line: an amount of what is left of an invoice's.

    When all is taken back, its nets and the invoice's are the same.
    """
    after = share(line.net, left.gross - amount, line.gross)
    return replace(line, gross=-amount, net=after - left.net)


class TooMuch(Refused):
    """More is to be taken back than is left of a line."""

    def __init__(self, number: str, place: int, left: int) -> None:
        super().__init__(f"of line {place} of invoice {number}, {left} cents are left")
        self.place = place


class Meanwhile(Refused):
    """Something was taken back since the lines were looked at."""

    def __init__(self, number: str) -> None:
        super().__init__(f"something of invoice {number} has been taken back meanwhile")


class CreditNotes:
    """Takes back what was invoiced."""

    def __init__(
        self, invoices: Invoices, sellers: SellerTable, now: Callable[[], datetime]
    ) -> None:
        self._invoices = invoices
        self._sellers = sellers
        self._now = now

    async def left(self, number: str) -> tuple[list[Line], int]:
        """An invoice's lines with what can be taken back of each, and its credit notes' number.

        Raises `Refused`.
        """
        _, left, others = await self._lines(number)
        return left, others

    async def credit(
        self,
        by: By,
        number: str,
        reason: str,
        amounts: Mapping[int, int | None] | None = None,
        others: int | None = None,
    ) -> Invoice:
        """Take back cents of lines, by their positions from 1 on; None: all that is left of one.

        Without ``amounts``, all that is left of the invoice. ``others``: how many credit notes it
        had when somebody looked at it; so what is sent twice is done once. Raises `Refused`, as
        `TooMuch` and `Meanwhile`. It is noted among the acts of the invoice's customer.
        """
        if not reason.strip():
            raise Refused("a credit note says why")
        invoice, left, now = await self._lines(number)
        if others is not None and others != now:
            raise Meanwhile(number)
        if amounts is None:
            amounts = {place: None for place, line in enumerate(left, 1) if line.gross}
        lines = tuple(_line(invoice, left, place, amounts[place]) for place in sorted(amounts))
        if not lines:
            raise Refused(f"nothing is left of invoice {number}")
        today = paris_day(self._now())
        draft = Draft(
            invoice.customer,
            Kind.CREDIT,
            today,
            today,
            await self._seller(invoice),
            invoice.buyer,
            lines,
            corrects=number,
            others=now,
            reason=reason.strip(),
        )
        issued = await self._invoices.issue(by.at(invoice.customer), draft)
        if issued is None:
            raise Meanwhile(number)
        return issued

    async def _lines(self, number: str) -> tuple[Invoice, list[Line], int]:
        invoice = (await self._invoices.by_number(number)).invoice
        if invoice.kind is Kind.CREDIT:
            raise Refused(f"{number} is a credit note itself")
        notes = await self._invoices.credits(invoice.customer, number)
        return invoice, left_of(invoice, [note.invoice for note in notes]), len(notes)

    async def _seller(self, invoice: Invoice) -> Seller:
        try:
            return (await self._sellers.all()).at(paris_day(self._now()))
        except NoSeller:
            return invoice.seller


def _line(invoice: Invoice, left: list[Line], place: int, amount: int | None) -> Line:
    if not 1 <= place <= len(left):
        raise Refused(f"invoice {invoice.number} has no line {place}")
    most = left[place - 1].gross
    wanted = most if amount is None else amount
    if not 0 < wanted <= most:
        raise TooMuch(invoice.number, place, most)
    return taken_back(invoice.lines[place - 1], left[place - 1], wanted)


def _item(line: Line) -> tuple[str, str, str]:
    return line.kind, line.day.isoformat(), line.object
