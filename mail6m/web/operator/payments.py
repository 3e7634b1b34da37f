"""Paiements: statements of the bank, and what of them is for which invoice."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wtforms import Form
from wtforms.validators import InputRequired

from mail6m.billing.matching import Verdict
from mail6m.billing.payments import Bookkeeping, Imported
from mail6m.billing.statement import Fault, NoStatement
from mail6m.storage.errors import Refused
from mail6m.storage.payments import Kept, Payments
from mail6m.web.forms import Euros, Line, at_most
from mail6m.web.invoices import METHODS
from mail6m.web.menu import N_
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

PATH = "/exploitation/paiements"
MOST = 100
"""Entries that are shown; when they have been dealt with, there are the next."""
NEWEST = 20
"""Payments that are shown."""
FAULTS = {
    Fault.TOO_LARGE: N_("Ce fichier est trop grand."),
    Fault.NOT_XML: N_("Ce fichier n'est pas du XML correct."),
    Fault.NO_STATEMENT: N_("Ce fichier XML n'est pas un relevé CAMT.053."),
    Fault.NO_COLUMNS: N_("Ce n'est pas un relevé : aucune ligne ne nomme une date et un montant."),
    Fault.CURRENCY: N_("Ce relevé n'est pas en euros."),
    Fault.AMOUNT: N_("Un montant est illisible."),
    Fault.DATE: N_("Une date est illisible."),
}
VERDICTS = {
    Verdict.MATCHED: N_("Paiement repris"),
    Verdict.PART: N_("Paiement repris"),
    Verdict.OTHER_AMOUNT: N_("Autre montant que celui qui reste à payer"),
    Verdict.AMBIGUOUS: N_("Plusieurs factures nommées"),
    Verdict.UNKNOWN: N_("Aucune facture reconnue"),
    Verdict.PERHAPS: N_("Peut-être déjà enregistré, ou d'un autre relevé"),
}
"""Why an entry waits; what was matched waits only if its payment was taken back."""


class AssignForm(Form):
    """Which invoice so much of an entry is for."""

    number = Line(N_("Facture"), [InputRequired(N_("Indiquez une facture.")), at_most(20)])
    amount = Euros(N_("Montant"), [InputRequired(N_("Indiquez le montant."))])


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry that somebody has to look at, with its form."""

    kept: Kept
    form: AssignForm
    why: str


class PaymentPages:
    """Money that has come in."""

    def __init__(self, payments: Payments, bookkeeping: Bookkeeping) -> None:
        self._payments = payments
        self._bookkeeping = bookkeeping

    @page(PATH, Access.OBSERVER)
    async def show(self, visit: Visit) -> Answer:
        """Paiements: what of the bank's statements waits for somebody, and what came in last."""
        return await self._page()

    @act(PATH, Access.BOOKKEEPER)
    async def import_statement(self, visit: Visit) -> Answer:
        """The button Importer: a statement of the bank, CAMT.053 or CSV."""
        octets = visit.files.get("releve", b"")
        try:
            imported = await self._bookkeeping.import_statement(visit.by, octets)
        except NoStatement as error:
            return await self._page(error=error, status=400)
        return await self._page(imported=imported)

    @act(PATH + "/affecter", Access.BOOKKEEPER)
    async def assign(self, visit: Visit) -> Answer:
        """The button Affecter: so much of an entry is for an invoice; sent twice, it is once."""
        kept = await self._entry(visit)
        form = AssignForm(visit.form)
        if not form.validate():
            return await self._page(wrong=(kept, form), status=400)
        number = (form.number.data or "").strip()
        source, seen = kept.entry.source, visit.form.get("deja", "")
        if not re.fullmatch("[0-9]{1,15}", seen):
            raise NotFound
        try:
            await self._bookkeeping.assign(visit.by, source, number, form.amount.data, int(seen))
        except Refused:
            said = N_("Il n'y a pas de facture %(number)s, ou cette ligne n'a plus autant.")
            form.number.errors = [visit._(said) % {"number": number}]
            return await self._page(wrong=(kept, form), status=409)
        said = visit._(N_("Le paiement de %(number)s est enregistré.")) % {"number": number}
        return Redirect(PATH, said)

    @act(PATH + "/ecarter", Access.BOOKKEEPER)
    async def put_aside(self, visit: Visit) -> Answer:
        """The button Mettre de côté: an entry is for no invoice, for a reason."""
        kept = await self._entry(visit)
        reason = visit.form.get("raison", "").strip()
        if not reason:
            return Redirect(PATH, visit._(N_("Dites pourquoi vous la mettez de côté.")))
        await self._payments.put_aside(visit.by, kept.entry.source, reason[:200])
        return Redirect(PATH, visit._(N_("La ligne est mise de côté.")))

    @act(PATH + "/reprendre", Access.BOOKKEEPER)
    async def take_up(self, visit: Visit) -> Answer:
        """The button Reprendre: an entry that was put aside waits again."""
        kept = await self._entry(visit)
        await self._payments.take_up(visit.by, kept.entry.source)
        return Redirect(PATH, visit._(N_("La ligne est reprise.")))

    async def _page(
        self,
        *,
        imported: Imported | None = None,
        error: NoStatement | None = None,
        wrong: tuple[Kept, AssignForm] | None = None,
        status: int = 200,
    ) -> Answer:
        forms = {wrong[0].entry.source: wrong[1]} if wrong is not None else {}
        kept = await self._payments.waiting(MOST)
        values = {
            "waiting": [
                Waiting(one, forms.get(one.entry.source) or _proposed(one), VERDICTS[one.verdict])
                for one in kept
            ],
            "more": len(kept) == MOST,
            "aside": await self._payments.aside(NEWEST),
            "newest": await self._payments.newest(NEWEST),
            "imported": imported,
            "fault": FAULTS[error.fault] if error is not None else None,
            "found": error.found if error is not None else "",
            "line": error.line if error is not None else 0,
            "methods": METHODS,
        }
        return Html("operator/payments.html", values, status)

    async def _entry(self, visit: Visit) -> Kept:
        try:
            return await self._payments.entry(visit.form.get("ligne", ""))
        except Refused:
            raise NotFound from None


def _proposed(kept: Kept) -> AssignForm:
    """With the invoice that it names, if that is one."""
    number = kept.named[0] if len(kept.named) == 1 else ""
    return AssignForm(None, data={"number": number, "amount": kept.left})
