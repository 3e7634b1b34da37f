"""Factures: what a customer was invoiced, what is still to be paid, and how to pay it."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

from mail6m.billing.checkout import Checkout, Result, UnderWay
from mail6m.billing.invoice import Kind, Standing
from mail6m.billing.months import paris_day
from mail6m.billing.paypal import PayPalError
from mail6m.billing.reference import spaced
from mail6m.storage.documents import DocumentTable
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from mail6m.storage.payments import Method, Payments
from mail6m.web.menu import N_
from mail6m.web.preferences import PLANS
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Download, Html, Leave, NotFound, Redirect, Visit

PATH = "/factures"
METHODS = {
    Method.CHEQUE: N_("Chèque"),
    Method.TRANSFER: N_("Virement"),
    Method.PAYPAL: N_("PayPal"),
}
PLAN_NAMES = {plan.value: label for plan, label in PLANS.items()} | {
    "dedicated": N_("Solution dédiée")
}
_AWAY = N_("PayPal ne répond pas. Rien n'a été débité par nous ; essayez plus tard.")
_RESULTS = {
    Result.PAID: N_("Merci, votre paiement est enregistré."),
    Result.PENDING: N_(
        "PayPal vérifie votre paiement. Il sera enregistré dès qu'il sera confirmé."
    ),
    Result.DECLINED: N_("Votre banque a refusé ce paiement. Rien n'a été débité."),
    Result.OPEN: N_("Le paiement n'a pas été confirmé. Rien n'a été débité."),
    Result.OTHERWISE: N_("Cette facture a changé entre-temps. Rien n'a été débité."),
}


class State(enum.Enum):
    """What is to be done about an invoice: its label, and how it is shown."""

    DUE = N_("à payer"), "queued"
    OVERDUE = N_("en retard"), "failed"
    PAID = N_("payée"), "delivered"
    OVERPAID = N_("trop payée"), "queued"
    CREDITED = N_("annulée"), "cancelled"
    """By credit notes."""
    CREDIT = N_("avoir"), "cancelled"

    @property
    def label(self) -> str:
        """In French."""
        return self.value[0]

    @property
    def kind(self) -> str:
        """The style sheet's word."""
        return self.value[1]


def state_of(kind: Kind, balance: int, due_on: date, today: date, credited: bool = False) -> State:
    """``credited``: all of it was taken back by credit notes."""
    if kind is Kind.CREDIT:
        return State.CREDIT
    if balance > 0:
        return State.OVERDUE if due_on < today else State.DUE
    if balance < 0:
        return State.OVERPAID
    return State.CREDITED if credited else State.PAID


def seen(standing: Standing, visit: Visit) -> tuple[Standing, State]:
    """An invoice with its state, on the seller's day."""
    invoice = standing.invoice
    credited = standing.credited >= invoice.gross
    today = paris_day(visit.now)
    return standing, state_of(invoice.kind, standing.balance, invoice.due_on, today, credited)


def iban_spaced(iban: str) -> str:
    """As people read it (ISO 13616): groups of four."""
    bare = "".join(iban.split())
    return " ".join(bare[start : start + 4] for start in range(0, len(bare), 4))


def document(number: str, pdf: bytes) -> Download:
    """A PDF to be kept."""

    async def pieces(place: int) -> AsyncIterator[bytes]:
        yield pdf[place:]

    etag = hashlib.sha256(pdf).hexdigest()
    return Download(f"mail6m-{number}.pdf", "application/pdf", len(pdf), etag, pieces)


class InvoicePages:
    """A customer's invoices."""

    def __init__(
        self,
        invoices: Invoices,
        payments: Payments,
        documents: DocumentTable,
        checkout: Checkout | None,
    ) -> None:
        self._invoices = invoices
        self._payments = payments
        self._documents = documents
        self._checkout = checkout

    @page(PATH, viewed=True)
    async def list(self, visit: Visit) -> Answer:
        """Factures: the invoices and credit notes, newest first, with what is to be paid."""
        standings = await self._invoices.of(visit.customer)
        unpaid = sum(one.balance for one in standings if one.balance > 0)
        return Html(
            "invoices.html", {"lines": [seen(one, visit) for one in standings], "unpaid": unpaid}
        )

    @page(PATH + "/<number>", viewed=True)
    async def show(self, visit: Visit, number: str) -> Answer:
        """An invoice, or a credit note: its lines, its payments, and how to pay it."""
        standing, state = seen(await self._standing(visit, number), visit)
        invoice = standing.invoice
        unpaid, checkout = standing.balance > 0, self._checkout
        waits = unpaid and checkout is not None and await checkout.under_way(visit.customer, number)
        payable = unpaid and checkout is not None and visit.administrator and not waits
        values = {
            "standing": standing,
            "invoice": invoice,
            "state": state,
            "payments": await self._payments.of(visit.customer, number),
            "credits": await self._invoices.credits(visit.customer, number),
            "paypal": payable,
            "under_way": waits,
            "home": PATH,
        }
        leads_to = checkout.site if payable and checkout is not None else ""
        return Html("invoice.html", values | words(standing), leads_to=leads_to)

    @page(PATH + "/<number>.pdf")
    async def download(self, visit: Visit, number: str) -> Answer:
        """The same as a PDF to be kept."""
        await self._standing(visit, number)
        pdf = await self._documents.get(visit.customer, number)
        if pdf is None:
            return Redirect(f"{PATH}/{number}", visit._(N_("Le PDF est en préparation.")))
        return document(number, pdf)

    @act(PATH + "/<number>/paypal", suspended=True)
    async def pay(self, visit: Visit, number: str) -> Answer:
        """The button Payer par PayPal: on to PayPal, with what is left to be paid."""
        if self._checkout is None:
            raise NotFound
        await self._standing(visit, number)
        try:
            url = await self._checkout.begin(visit.by, number, visit.language)
        except Refused:
            return Redirect(f"{PATH}/{number}", visit._(N_("Il n'y a rien à payer.")))
        except UnderWay:
            return Redirect(f"{PATH}/{number}", visit._(_RESULTS[Result.PENDING]))
        except PayPalError:
            return Redirect(f"{PATH}/{number}", visit._(_AWAY))
        return Leave(url, self._checkout.site)

    @page(PATH + "/<number>/paypal", Access.ADMINISTRATOR)
    async def back(self, visit: Visit, number: str) -> Answer:
        """Where PayPal sends payers back to: what they have agreed to is taken, if it has not been.

        The order says whether there was an agreement, and it was this customer's who began it.
        """
        if self._checkout is None:
            raise NotFound
        order = visit.query.get("token", "")
        try:
            said = _RESULTS[await self._checkout.returned(visit.customer, number, order)]
        except Refused:
            raise NotFound from None
        except PayPalError:
            said = _UNKNOWN
        return Redirect(f"{PATH}/{number}", visit._(said))

    async def _standing(self, visit: Visit, number: str) -> Standing:
        try:
            return await self._invoices.get(visit.customer, number)
        except Refused:
            raise NotFound from None


_UNKNOWN = N_(
    "PayPal ne répond pas : votre paiement apparaîtra ici dès qu'il sera confirmé. Ne payez pas une"
    " seconde fois."
)


def words(standing: Standing) -> dict[str, Any]:
    """What the template of an invoice says of it, whoever looks at it."""
    seller = standing.invoice.seller
    return {
        "plans": PLAN_NAMES,
        "methods": METHODS,
        "iban": iban_spaced(seller.iban),
        "reference": spaced(standing.invoice.reference),
    }
