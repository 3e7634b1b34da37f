"""Factures, as those who keep the books see them: everybody's, and what is to be paid."""

from __future__ import annotations

import re
import secrets
from datetime import date
from typing import Any
from urllib.parse import urlencode

from wtforms import Form, ValidationError
from wtforms.validators import InputRequired

from mail6m.billing.credits import CreditNotes, TooMuch
from mail6m.billing.invoice import Standing
from mail6m.billing.months import paris_day
from mail6m.billing.payments import Bookkeeping, Twice
from mail6m.notices.catalogue import kind_of
from mail6m.storage.documents import DocumentTable
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from mail6m.storage.ledger import Ledger, Which
from mail6m.storage.payments import Method, Payments
from mail6m.web.forms import NO_AMOUNT, Day, Euros, Line, at_most, cents_in
from mail6m.web.invoices import METHODS, PLAN_NAMES, document, seen, state_of, words
from mail6m.web.menu import N_
from mail6m.web.pager import numbered
from mail6m.web.preferences import Choice
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

PATH = "/exploitation/factures"
ROWS = 50
_MOST_LINES = 200
"""Of an invoice that a credit note is made about in the console; three months, and discs."""
WHICH = {
    "impayees": (Which.UNPAID, N_("À payer")),
    "retard": (Which.OVERDUE, N_("En retard")),
    "toutes": (Which.ALL, N_("Toutes")),
}
_BY_HAND = (Method.CHEQUE, Method.TRANSFER)

_NOT_YET = N_("Cette date n'est pas possible.")
_ONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
_SENT = N_(
    "Un paiement est déjà enregistré depuis cette page : vérifiez, puis enregistrez à nouveau."
)
_LIKE = N_(
    "Un paiement de ce montant et de cette date est déjà enregistré. Si c'en est un autre, cochez"
    " la case."
)


class PaymentForm(Form):
    """A cheque, or a transfer that no statement has brought."""

    method = Choice(N_("Moyen"))
    amount = Euros(N_("Montant"), [InputRequired(N_("Indiquez le montant."))])
    on = Day(N_("Reçu le"), [InputRequired(N_("Indiquez la date."))])
    reference = Line(N_("Référence"), [at_most(140)])

    def __init__(self, visit: Visit, given: Any = None, **data: Any) -> None:
        super().__init__(given, data=data)
        self.method.choices = [(one.value, visit._(METHODS[one])) for one in _BY_HAND]
        self._today = today(visit)

    def validate_on(self, field: Day) -> None:
        """It has been received."""
        if field.data is not None and not date(2000, 1, 1) <= field.data <= self._today:
            raise ValidationError(_NOT_YET)


def today(visit: Visit) -> date:
    """The seller's day."""
    return paris_day(visit.now)


class HouseInvoicePages:
    """Everybody's invoices."""

    def __init__(
        self,
        ledger: Ledger,
        invoices: Invoices,
        payments: Payments,
        documents: DocumentTable,
        bookkeeping: Bookkeeping,
        credit_notes: CreditNotes,
    ) -> None:
        self._credit_notes = credit_notes
        self._ledger = ledger
        self._invoices = invoices
        self._payments = payments
        self._documents = documents
        self._bookkeeping = bookkeeping

    @page(PATH, Access.OBSERVER)
    async def list(self, visit: Visit) -> Answer:
        """Factures: those to be paid, overdue, or all, by number, reference or company."""
        chosen = visit.query.get("etat", "")
        chosen = chosen if chosen in WHICH else next(iter(WHICH))
        typed = visit.query.get("q", "").strip()[:100]
        which, day = WHICH[chosen][0], today(visit)
        count, unpaid = await self._ledger.sums(which, typed, day)
        last = max(1, -(-count // ROWS))
        number = visit.number("page", 1, last)
        accounts = await self._ledger.page(which, typed, day, (number - 1) * ROWS, ROWS)
        values = {
            "lines": [(a, state_of(a.kind, a.balance, a.due_on, day)) for a in accounts],
            "kinds": [(name, label) for name, (_, label) in WHICH.items()],
            "chosen": chosen,
            "typed": typed,
            "count": count,
            "unpaid": unpaid,
            "today": day,
            "pager": numbered(
                number, last, lambda n: f"{PATH}?{urlencode({'etat': chosen, 'q': typed})}&page={n}"
            ),
        }
        return Html("operator/invoices.html", values)

    @page(PATH + "/<number>", Access.OBSERVER)
    async def show(self, visit: Visit, number: str) -> Answer:
        """An invoice with its payments, letters and credit notes."""
        standing = await self._standing(number)
        data = {"amount": max(standing.balance, 0) or None, "on": today(visit)}
        return await self._page(visit, standing, PaymentForm(visit, **data))

    @page(PATH + "/<number>.pdf", Access.OBSERVER)
    async def download(self, visit: Visit, number: str) -> Answer:
        """The same as a PDF to be kept."""
        standing = await self._standing(number)
        pdf = await self._documents.get(standing.invoice.customer, number)
        if pdf is None:
            return Redirect(f"{PATH}/{number}", visit._(N_("Le PDF est en préparation.")))
        return document(number, pdf)

    @act(PATH + "/<number>/paiements", Access.BOOKKEEPER)
    async def record(self, visit: Visit, number: str) -> Answer:
        """The button Enregistrer: a cheque or a transfer has come in.

        A form is good for one payment, however often it is sent; for one more that looks like
        another, somebody has to say that it is.
        """
        standing = await self._standing(number)
        form = PaymentForm(visit, visit.form)
        if not form.validate() or standing.invoice.corrects is not None:
            return await self._page(visit, standing, form, 400)
        once = visit.form.get("once", "")
        if _ONCE.fullmatch(once) is None:
            return await self._page(visit, standing, form, 400, _SENT)
        try:
            said = await self._record(visit, number, form, once)
        except Twice as twice:
            if not twice.same:
                return await self._page(visit, standing, form, 409, _SENT)
            said = N_("Ce paiement avait déjà été enregistré : il ne l'est qu'une fois.")
        if not said:
            return await self._page(visit, standing, form, 409, _LIKE)
        return Redirect(f"{PATH}/{number}", visit._(said))

    async def _record(self, visit: Visit, number: str, form: PaymentForm, once: str) -> str:
        """What is said when it has been recorded; nothing if somebody has to look first."""
        amount, method, on = form.amount.data, Method(form.method.data), form.on.data
        assert on is not None
        book, anyway = self._bookkeeping, visit.form.get("quand-meme") == "1"
        if not anyway and await book.like(number, amount, on, once):
            return ""
        reference = form.reference.data or ""
        after = await book.record(visit.by, number, amount, method, on, reference, once)
        if after.balance < 0:
            return N_("Le paiement est enregistré : c'est plus qu'il n'en restait à payer.")
        return N_("Le paiement est enregistré.")

    @act(PATH + "/<number>/reprendre", Access.BOOKKEEPER)
    async def take_back(self, visit: Visit, number: str) -> Answer:
        """The button Reprendre: a payment was recorded by mistake, for a reason."""
        await self._standing(number)
        payment, reason = visit.form.get("paiement", ""), visit.form.get("raison", "").strip()
        if not payment.isascii() or not payment.isdecimal() or len(payment) > 15:
            raise NotFound
        if not reason:
            return Redirect(f"{PATH}/{number}", visit._(N_("Dites pourquoi vous le reprenez.")))
        try:
            await self._bookkeeping.take_back(visit.by, number, int(payment), reason[:200])
        except Refused:
            raise NotFound from None
        return Redirect(f"{PATH}/{number}", visit._(N_("Le paiement est repris.")))

    @page(PATH + "/<number>/avoir", Access.BOOKKEEPER)
    async def credit_form(self, visit: Visit, number: str) -> Answer:
        """What may be taken back of an invoice, line by line, and why."""
        await self._standing(number)
        return await self._credit(number, {}, "")

    @act(PATH + "/<number>/avoir", Access.BOOKKEEPER)
    async def credit(self, visit: Visit, number: str) -> Answer:
        """The button Émettre l'avoir: a credit note, which stands for good."""
        await self._standing(number)
        typed = {
            place: visit.form.get(f"ligne-{place}", "").strip()
            for place in range(1, _MOST_LINES + 1)
        }
        reason = visit.form.get("raison", "").strip()[:200]
        amounts = {place: cents_in(text) for place, text in typed.items() if text}
        wrong = ""
        if None in amounts.values():
            wrong = NO_AMOUNT
        elif not amounts or not reason:
            wrong = N_("Indiquez un montant au moins, et la raison.")
        if wrong:
            return await self._credit(number, typed, reason, wrong, 400)
        seen_before = visit.form.get("avoirs", "")
        others = int(seen_before) if re.fullmatch("[0-9]{1,4}", seen_before) else -1
        try:
            issued = await self._credit_notes.credit(visit.by, number, reason, amounts, others)
        except TooMuch as error:
            wrong = N_("C'est plus qu'il n'en reste de cette ligne.")
            return await self._credit(number, typed, reason, wrong, 409, error.place)
        except Refused:
            wrong = N_("Un avoir a été émis entre-temps : voici ce qu'il en reste.")
            return await self._credit(number, typed, reason, wrong, 409)
        said = visit._(N_("L'avoir %(number)s est émis.")) % {"number": issued.number}
        return Redirect(f"{PATH}/{issued.number}", said)

    async def _credit(
        self,
        number: str,
        typed: dict[int, str],
        reason: str,
        wrong: str = "",
        status: int = 200,
        place: int | None = None,
    ) -> Answer:
        """``place``: of the line that is wrong; without it, ``wrong`` is of the whole."""
        try:
            left, others = await self._credit_notes.left(number)
        except Refused:  # it is a credit note itself
            raise NotFound from None
        values = {
            "number": number,
            "left": [(place, line, typed.get(place, "")) for place, line in enumerate(left, 1)],
            "reason": reason,
            "others": others,
            "wrong": wrong,
            "wrong_place": place,
            "plans": PLAN_NAMES,
        }
        return Html("operator/credit.html", values, status)

    async def _page(
        self,
        visit: Visit,
        standing: Standing,
        form: PaymentForm,
        status: int = 200,
        wrong: str = "",
    ) -> Answer:
        invoice = standing.invoice
        customer, number = invoice.customer, invoice.number
        values = {
            "standing": standing,
            "invoice": invoice,
            "state": seen(standing, visit)[1],
            "payments": await self._payments.of(customer, number),
            "credits": await self._invoices.credits(customer, number),
            "told": [kind_of(name) for name in await self._ledger.told_of(customer, number)],
            "overdue": standing.overdue(today(visit)),
            "form": form,
            "once": secrets.token_urlsafe(16),
            "wrong": wrong,
            "like": wrong == _LIKE,
            "home": PATH,
        }
        return Html("operator/invoice.html", values | words(standing), status)

    async def _standing(self, number: str) -> Standing:
        try:
            return await self._invoices.by_number(number)
        except Refused:
            raise NotFound from None
