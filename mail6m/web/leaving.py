"""Emporter, résilier: all mail as a file, and the end of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wtforms import Form, PasswordField, ValidationError
from wtforms.validators import InputRequired

from mail6m.access.brake import TooManyFailures
from mail6m.access.security import Security
from mail6m.access.signin import WrongPassword
from mail6m.model import Act
from mail6m.shelves.closing import Ending, Term
from mail6m.shelves.export.whole import FORMATS
from mail6m.shelves.exports import Exporter
from mail6m.storage.audit import Audit
from mail6m.storage.customers import Customers
from mail6m.storage.errors import Refused
from mail6m.storage.exports import Export
from mail6m.web.forms import Line, at_most
from mail6m.web.menu import N_
from mail6m.web.preferences import Choice
from mail6m.web.routes import Access, act, page
from mail6m.web.security import PasswordForm, blame
from mail6m.web.visit import Answer, Download, Html, NotFound, Redirect, Visit

PATH = "/partir"
KINDS = {"zip": "application/zip", "mbox": "application/mbox"}
"""Media types (RFC 4155 has that of mbox)."""
_LABELS = {
    "zip": N_("ZIP : un fichier .eml par e-mail"),
    "mbox": N_("mbox : pour Thunderbird, Apple Mail et d'autres"),
}
_NEEDED = N_("Indiquez votre mot de passe.")


class ExportForm(PasswordForm):
    """Which file is wanted, and whether it is really an administrator who asks."""

    format = Choice(N_("Format"))

    def __init__(self, given: Any, _: Callable[[str], str]) -> None:
        super().__init__(given)
        self.format.choices = [(name, _(_LABELS[name])) for name in FORMATS]


class CloseForm(Form):
    """Whether the contract is really to end."""

    company = Line(N_("Nom de votre société"), [InputRequired(N_("Recopiez-le.")), at_most(200)])
    current = PasswordField(N_("Mot de passe actuel"), [InputRequired(_NEEDED), at_most(1000)])

    def __init__(self, given: Any, company: str) -> None:
        super().__init__(given)
        self._company = company

    def validate_company(self, field: Line) -> None:
        """It is the customer's, whatever its case and spaces."""
        if _plain(field.data or "") != _plain(self._company):
            raise ValidationError(N_("Ce n'est pas le nom de votre société."))


class LeavingPages:
    """What a customer takes along, and the end."""

    def __init__(
        self,
        exporter: Exporter,
        ending: Ending,
        customers: Customers,
        security: Security,
        audit: Audit,
    ) -> None:
        self._exporter = exporter
        self._ending = ending
        self._customers = customers
        self._security = security
        self._audit = audit

    @page(PATH, Access.ADMINISTRATOR)
    async def show(self, visit: Visit) -> Answer:
        """Emporter, résilier: files of all mail, and whether the contract is to end."""
        return await self._page(visit, ExportForm(None, visit._))

    @act(PATH + "/fichiers", suspended=True)
    async def ask(self, visit: Visit) -> Answer:
        """The button Préparer: a file of all mail is measured."""
        form = ExportForm(visit.form, visit._)
        if not form.validate():
            return await self._page(visit, form, 400)
        try:
            await self._security.confirm(visit.identity, visit.by, form.current.data or "")
        except (WrongPassword, TooManyFailures) as error:
            return await self._page(visit, form, blame(form, error))
        await self._exporter.ask(visit.by, form.format.data)
        return Redirect(PATH, visit._(N_("Votre fichier se prépare.")))

    @page(PATH + "/fichiers/<name>", Access.ADMINISTRATOR)
    async def download(self, visit: Visit, name: str) -> Answer:
        """A file of all mail, from any place on."""
        for export in await self._exporter.of(visit.customer):
            if name == _name(export) and export.sha256 is not None:
                return self._download(visit, export, export.sha256)
        raise NotFound

    @page(PATH + "/resilier", Access.ADMINISTRATOR)
    async def close_form(self, visit: Visit) -> Answer:
        """Whether the contract is really to end."""
        company = (await self._customers.get(visit.customer)).company
        return _closing(CloseForm(None, company), company, self._ending.term())

    @act(PATH + "/resilier", suspended=True)
    async def close(self, visit: Visit) -> Answer:
        """The button Résilier: the contract ends with the month."""
        company = (await self._customers.get(visit.customer)).company
        form = CloseForm(visit.form, company)
        term = self._ending.term()
        if not form.validate():
            return _closing(form, company, term, 400)
        try:
            await self._security.confirm(visit.identity, visit.by, form.current.data or "")
        except (WrongPassword, TooManyFailures) as error:
            return _closing(form, company, term, blame(form, error))
        try:
            await self._ending.ask(visit.by)
        except Refused:
            return Redirect(PATH)
        return Redirect(PATH, visit._(N_("Votre résiliation est demandée.")))

    @act(PATH + "/rester", suspended=True)
    async def stay(self, visit: Visit) -> Answer:
        """The button Annuler la résiliation."""
        try:
            await self._ending.withdraw(visit.by)
        except Refused:
            return Redirect(PATH)
        return Redirect(PATH, visit._(N_("Votre résiliation est annulée.")))

    async def _page(self, visit: Visit, form: ExportForm, status: int = 200) -> Answer:
        customer = await self._customers.get(visit.customer)
        exports = await self._exporter.of(visit.customer)
        values = {
            "form": form,
            "exports": [(export, _name(export)) for export in exports],
            "messages": customer.cabinet_messages + customer.cellar_messages,
            "under_way": any(export.ready_at is None and not export.failure for export in exports),
            "closing": await self._ending.of(visit.customer),
        }
        return Html("leaving.html", values, status)

    def _download(self, visit: Visit, export: Export, sha256: bytes) -> Answer:
        async def pieces(place: int) -> Any:
            await self._audit.add(visit.by, Act.EXPORT_TAKEN, export.format)
            async for piece in self._exporter.pieces(export, place):
                yield piece

        return Download(_name(export), KINDS[export.format], export.size, sha256.hex(), pieces)


def _closing(form: CloseForm, company: str, term: Term, status: int = 200) -> Answer:
    return Html("leaving_close.html", {"form": form, "company": company, "term": term}, status)


def _name(export: Export) -> str:
    """By its moment, so that a download is never gone on with out of another file."""
    return f"mail6m-{export.customer}-{export.asked_at:%Y-%m-%d-%Hh%Mm%S}.{export.format}"


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()
