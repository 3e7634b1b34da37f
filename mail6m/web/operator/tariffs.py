"""Tarifs et société: what things cost, and who sends the invoices, each from a day on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from typing import Any

from wtforms import Form, ValidationError
from wtforms.validators import InputRequired

from mail6m.billing.identifiers import bare
from mail6m.billing.invoice import Party, Seller
from mail6m.billing.months import paris_day
from mail6m.billing.sellers import NoSeller, Sellers, faults
from mail6m.billing.tariff import Tariff, Tariffs
from mail6m.model import Role
from mail6m.storage.errors import Refused
from mail6m.storage.tariffs import SellerTable, TariffTable
from mail6m.web.forms import Line, at_most
from mail6m.web.menu import N_
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, Redirect, Visit

PATH = "/exploitation/tarifs"
_NEEDED = N_("Remplissez ce champ.")
_AMOUNT = re.compile(r"([0-9]{1,7})(?:[,.]([0-9]{1,2}))?")
_BARE = {"siret", "vat_number", "iban", "bic"}
_WRONG = {
    "siret": N_("Un SIRET a 14 chiffres, et celui-ci n'est pas juste."),
    "vat_number": N_("Ce numéro n'est pas juste, ou n'est pas celui de ce SIRET."),
    "iban": N_("Cet IBAN n'est pas juste."),
    "bic": N_("Un BIC a 8 ou 11 signes."),
}


def hundredths(typed: str) -> int:
    """``40``, ``40,5`` and ``40.50`` in hundredths. Raises `ValueError`."""
    match = _AMOUNT.fullmatch(re.sub(r"[\s€%\u00a0\u202f]", "", typed))
    if match is None:
        raise ValueError(typed)
    return int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0"))


def _plainly(value: int) -> str:
    whole, rest = divmod(value, 100)
    return f"{whole},{rest:02d}" if rest else str(whole)


class Read(Line):
    """A line of text that stands for a value."""

    def __init__(
        self,
        label: str,
        read: Callable[[str], Any],
        show: Callable[[Any], str],
        wrong: str,
        **bound: Any,
    ) -> None:
        super().__init__(label, [InputRequired(_NEEDED)], **bound)
        self._read, self._show, self._wrong = read, show, wrong

    def process_formdata(self, valuelist: list[str]) -> None:
        """What was typed, if it can be read."""
        try:
            self.data = self._read(valuelist[0].strip()) if valuelist else None
        except ValueError as error:
            self.data = None
            raise ValueError(self._wrong) from error

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return "" if self.data is None else self._show(self.data)


def _day(label: str, **bound: Any) -> Any:
    return Read(label, date.fromisoformat, date.isoformat, N_("Indiquez un jour."), **bound)


def _amount(label: str) -> Any:
    return Read(label, hundredths, _plainly, N_("Indiquez un montant comme 40 ou 40,50."))


def _rate(typed: str) -> int:
    if (rate := hundredths(typed)) >= 100_00:
        raise ValueError(typed)
    return rate


def _months(typed: str) -> int:
    if not (typed.isascii() and typed.isdecimal() and int(typed) <= 120):
        raise ValueError(typed)
    return int(typed)


class Since(Form):
    """A day from which on something holds."""

    since = _day(N_("À partir du"))

    def __init__(self, given: Any, data: dict[str, Any], today: date) -> None:
        super().__init__(given, data=data)
        self._today = today

    def validate_since(self, field: Read) -> None:
        """It is not past: what was invoiced stays as it is."""
        day: Any = field.data
        if day is not None and day < self._today:
            raise ValidationError(N_("Ce jour est passé."))


class TariffForm(Since):
    """Prices, taxes included."""

    tiroir = _amount(N_("Tiroir, par mois (€)"))
    malle = _amount(N_("Malle, par mois (€)"))
    armoire = _amount(N_("Armoire, par mois (€)"))
    disc = _amount(N_("DVD (€)"))
    vat = Read(N_("TVA (%)"), _rate, _plainly, N_("Indiquez un taux comme 20 ou 5,5."))
    free_months = Read(N_("Mois offerts"), _months, str, N_("Indiquez un nombre de 0 à 120."))

    @property
    def wanted(self) -> Tariff:
        """What has been typed, once it is valid."""
        return Tariff(**self.data)


def _text(label: str, most: int = 200) -> Line:
    return Line(label, [at_most(most)], filters=[lambda typed: " ".join((typed or "").split())])


class SellerForm(Since):
    """What invoices say of us."""

    since = _day(N_("À partir du"), id="seller-since")  # the other form of the page has one, too
    name = _text(N_("Société"))
    street = _text(N_("Adresse"))
    postcode = _text(N_("Code Postal"), 20)
    city = _text(N_("Ville"))
    country = _text(N_("Pays (deux lettres)"), 2)
    email = _text(N_("E-mail"))
    phone = _text(N_("Téléphone"), 40)
    siret = _text(N_("SIRET"), 40)
    vat_number = _text(N_("N° de TVA"), 40)
    legal = _text(N_("Forme, capital, registre"), 500)
    iban = _text(N_("IBAN"), 60)
    bic = _text(N_("BIC"), 20)
    payment_days = Read(N_("Jours pour payer"), _months, str, N_("Indiquez un nombre de 0 à 60."))
    late_rate = _text(N_("Pénalités de retard"))

    @property
    def wanted(self) -> Seller:
        """What has been typed, once it can be read."""
        typed = {name: value for name, value in self.data.items() if name != "since"}
        typed |= {name: bare(typed[name]) for name in _BARE}
        typed["country"] = typed["country"].upper()
        own = ("legal", "iban", "bic", "payment_days", "late_rate")
        rest = {name: typed.pop(name) for name in own}
        return Seller(Party(**typed), **rest)

    def validate(self, *_: Any, **__: Any) -> bool:
        """Nothing is missing, and the numbers are right by their own keys."""
        if not super().validate():
            return False
        wrong = faults(self.wanted)
        for name in wrong:
            field = self[name]
            missing = not field.data
            field.errors = [_NEEDED if missing else _WRONG.get(name, N_("Ce n'est pas juste."))]
        return not wrong


class TariffPages:
    """Prices and the seller."""

    def __init__(self, tariffs: TariffTable, sellers: SellerTable) -> None:
        self._tariffs = tariffs
        self._sellers = sellers

    @page(PATH, Access.OBSERVER)
    async def show(self, visit: Visit) -> Answer:
        """Tarifs et société: what holds, what will, and a form for what is to come."""
        return await self._page(visit)

    @act(PATH, Access.BOOKKEEPER)
    async def save(self, visit: Visit) -> Answer:
        """The button Enregistrer les tarifs."""
        form = TariffForm(visit.form, {}, _today(visit))
        if not form.validate():
            return await self._page(visit, tariff=form, status=400)
        await self._tariffs.set(visit.by, form.wanted, _today(visit))
        return Redirect(PATH, visit._(N_("Les tarifs sont enregistrés.")))

    @act(PATH + "/societe", Access.BOOKKEEPER)
    async def save_seller(self, visit: Visit) -> Answer:
        """The button Enregistrer la société."""
        form = SellerForm(visit.form, {}, _today(visit))
        if not form.validate():
            return await self._page(visit, seller=form, status=400)
        await self._sellers.set(visit.by, form.since.data, form.wanted, _today(visit))
        return Redirect(PATH, visit._(N_("Les coordonnées de la société sont enregistrées.")))

    @act(PATH + "/retirer", Access.BOOKKEEPER)
    async def drop(self, visit: Visit) -> Answer:
        """The button Retirer: what does not hold yet will not."""
        tables: dict[str, TariffTable | SellerTable]
        tables = {"tarif": self._tariffs, "societe": self._sellers}
        table = tables.get(visit.form.get("quoi", ""))
        try:
            since = date.fromisoformat(visit.form.get("depuis", ""))
        except ValueError:
            return Redirect(PATH)
        if table is not None:
            try:
                await table.drop(visit.by, since, _today(visit))
            except Refused:
                return Redirect(PATH, visit._(N_("Ce qui vaut déjà reste.")))
        return Redirect(PATH)

    async def _page(
        self,
        visit: Visit,
        tariff: TariffForm | None = None,
        seller: SellerForm | None = None,
        status: int = 200,
    ) -> Answer:
        tariffs, sellers, today = (
            await self._tariffs.all(),
            await self._sellers.all(),
            _today(visit),
        )
        values = {
            "tariffs": tariffs.newest_first,
            "sellers": sellers.newest_first,
            "today": today,
            "holds": tariffs.at(today).since,
            "sells": max((s.since for s in sellers.newest_first if s.since <= today), default=None),
            "tariff": tariff or TariffForm(None, _prices(tariffs, today), today),
            "seller": seller or SellerForm(None, _company(sellers, today), today),
            "writes": visit.identity.role in (Role.OPERATOR, Role.BOOKKEEPER),
        }
        return Html("operator/tariffs.html", values, status)


def _today(visit: Visit) -> date:
    return paris_day(visit.now)


def _prices(tariffs: Tariffs, today: date) -> dict[str, Any]:
    return asdict(replace(tariffs.at(today), since=today))


def _company(sellers: Sellers, today: date) -> dict[str, Any]:
    try:
        seller = sellers.at(today)
    except NoSeller:
        seller = Seller(Party("", country="FR"))
    return asdict(seller.party) | asdict(seller) | {"since": today}
