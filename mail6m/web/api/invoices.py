"""Invoices and credit notes, as they were issued."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from msgspec import Meta, Struct

from mail6m.billing import invoice
from mail6m.model import Scope
from mail6m.storage.documents import DocumentTable
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices as Table
from mail6m.web.api.caller import Caller
from mail6m.web.api.operation import Nothing, Pdf, operation
from mail6m.web.api.problem import Kind, Refusal


class ByNumber(Struct, frozen=True, forbid_unknown_fields=True):
    """One document."""

    number: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]{4}-[0-9]{4,9}$",
            description="An invoice's or a credit note's number.",
            examples=["2026-0042"],
        ),
    ]


class InvoiceLine(Struct, frozen=True, kw_only=True):
    """One thing that is due."""

    kind: invoice.LineKind
    day: Annotated[date, Meta(description="The first day of a month; the day a disc was sent.")]
    plan: Annotated[str, Meta(description="Of a month; empty for a disc.")]
    object: Annotated[str, Meta(description="A disc's serial number; else mostly empty.")]
    gross: Annotated[int, Meta(description="Cents, taxes included; 0: a free month.")]
    net: Annotated[int, Meta(description="Cents, without taxes.")]
    vat: Annotated[int, Meta(description="The rate, in hundredths of a percent.")]


class Summary(Struct, frozen=True, kw_only=True):
    """An invoice or a credit note, whose amounts are negative."""

    number: str
    kind: invoice.Kind
    issued_on: date
    due_on: date
    quarter: Annotated[date | None, Meta(description="Its first day.")]
    corrects: Annotated[str | None, Meta(description="The invoice that a credit note is about.")]
    reference: Annotated[str, Meta(description="What a transfer names (ISO 11649).")]
    gross: Annotated[int, Meta(description="Cents, taxes included.")]
    net: Annotated[int, Meta(description="Cents, without taxes.")]
    vat: Annotated[int, Meta(description="The taxes, in cents.")]
    paid: Annotated[int, Meta(description="Cents that have come in.")]
    credited: Annotated[int, Meta(description="Cents that credit notes have taken back.")]
    balance: Annotated[int, Meta(description="Cents that are still to be paid.")]


class Invoice(Struct, frozen=True, kw_only=True):
    """The same with its lines."""

    summary: Summary
    reason: Annotated[str, Meta(description="Of a credit note.")]
    lines: list[InvoiceLine]


class Invoices(Struct, frozen=True, kw_only=True):
    """All documents, the newest first."""

    invoices: list[Summary]


_SUMMARY = Summary(
    number="2026-0042",
    kind=invoice.Kind.INVOICE,
    issued_on=date(2026, 10, 1),
    due_on=date(2026, 10, 31),
    quarter=date(2026, 7, 1),
    corrects=None,
    reference="RF8820260042",
    gross=9_500,
    net=7_917,
    vat=1_583,
    paid=0,
    credited=0,
    balance=9_500,
)
_EXAMPLE = Invoice(
    summary=_SUMMARY,
    reason="",
    lines=[
        InvoiceLine(
            kind=invoice.LineKind.MONTH,
            day=date(2026, month, 1),
            plan="tiroir",
            object="",
            gross=gross,
            net=net,
            vat=2_000,
        )
        for month, gross, net in ((7, 0, 0), (8, 4_000, 3_333), (9, 4_000, 3_334))
    ]
    + [
        InvoiceLine(
            kind=invoice.LineKind.DISC,
            day=date(2026, 9, 14),
            plan="",
            object="TCWGR3",
            gross=1_500,
            net=1_250,
            vat=2_000,
        )
    ],
)


class InvoiceOperations:
    """The customer's invoices."""

    def __init__(self, table: Table, documents: DocumentTable) -> None:
        self._invoices = table
        self._documents = documents

    @operation("GET", "/invoices", Scope.INVOICES_READ, example=Invoices(invoices=[_SUMMARY]))
    async def list_invoices(self, caller: Caller, asked: Nothing) -> Invoices:
        """Invoices and credit notes, the newest first."""
        found = await self._invoices.of(caller.customer)
        return Invoices(invoices=[_summary(one) for one in found])

    @operation("GET", "/invoices/{number}", Scope.INVOICES_READ, example=_EXAMPLE)
    async def get_invoice(self, caller: Caller, asked: ByNumber) -> Invoice:
        """An invoice or a credit note, line by line."""
        try:
            found = await self._invoices.get(caller.customer, asked.number)
        except Refused:
            raise Refusal(Kind.NOT_FOUND) from None
        return Invoice(
            summary=_summary(found),
            reason=found.invoice.reason,
            lines=[_line(line) for line in found.invoice.lines],
        )

    @operation("GET", "/invoices/{number}/pdf", Scope.INVOICES_READ)
    async def get_invoice_pdf(self, caller: Caller, asked: ByNumber) -> Pdf:
        """The same as a PDF.

        It is made a moment after the document was issued; until then there is none.
        """
        pdf = await self._documents.get(caller.customer, asked.number)
        if pdf is None:
            raise Refusal(Kind.NOT_FOUND)
        return Pdf(f"{asked.number}.pdf", pdf)


def _summary(one: invoice.Standing) -> Summary:
    issued = one.invoice
    return Summary(
        number=issued.number,
        kind=issued.kind,
        issued_on=issued.issued_on,
        due_on=issued.due_on,
        quarter=issued.quarter,
        corrects=issued.corrects,
        reference=issued.reference,
        gross=issued.gross,
        net=issued.net,
        vat=issued.vat,
        paid=one.paid,
        credited=one.credited,
        balance=one.balance,
    )


def _line(line: invoice.Line) -> InvoiceLine:
    return InvoiceLine(
        kind=line.kind,
        day=line.day,
        plan=line.plan,
        object=line.object,
        gross=line.gross,
        net=line.net,
        vat=line.vat,
    )
