"""Préférences: who the customer is, and how it likes to work (the brochure's section VIII)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from markupsafe import Markup, escape
from wtforms import BooleanField, Form, IntegerField, SelectField, ValidationError
from wtforms.fields.core import UnboundField
from wtforms.validators import DataRequired, Length

from mail6m.billing.identifiers import bare, is_european_vat_number, is_siret
from mail6m.dialogue.address import AddressError, canonical
from mail6m.model import Plan
from mail6m.notices.catalogue import TOPICS
from mail6m.notices.subscriptions import Subscriptions
from mail6m.shelves.plans import PlanChanges
from mail6m.storage.plans import DEDICATED, Plans, Subscription
from mail6m.storage.preferences import Preferences, PreferencesTable
from mail6m.web.forms import Line, attributes
from mail6m.web.menu import N_
from mail6m.web.routes import act, page
from mail6m.web.visit import Answer, Html, Redirect, Translate, Visit
from mail6m.zones import OTHERS, zones

FEWEST_ROWS, MOST_ROWS = 5, 200
LONGEST = 200
"""Characters of a text."""

PLANS = {Plan.TIROIR: N_("Tiroir"), Plan.MALLE: N_("Malle"), Plan.ARMOIRE: N_("Armoire")}
LANGUAGES = {"": N_("comme le navigateur"), "fr": "Français", "en": "English"}
_PLACES = {
    "Europe": N_("Europe"),
    "Africa": N_("Afrique"),
    "America": N_("Amérique"),
    "Asia": N_("Asie"),
    "Atlantic": N_("Atlantique"),
    "Australia": N_("Australie"),
    "Indian": N_("Océan Indien"),
    "Pacific": N_("Pacifique"),
    OTHERS: N_("Autres"),
}

_WRONG_ADDRESS = N_("Écrivez l'adresse comme georges@duchemin.fr.")
_WRONG_SIRET = N_("Un SIRET a 14 chiffres, et celui-ci n'est pas juste.")
_WRONG_VAT = N_("Ce numéro n'est pas juste : en France, c'est FR et 11 chiffres.")
_LENGTH = Length(max=LONGEST, message=N_("200 caractères au plus."))


def _one_line(typed: str | None) -> str:
    return " ".join((typed or "").split())


class Text(Line):
    """A line of text, cleared of needless space."""

    def __init__(self, label: str, required: str = "", **bound: Any) -> None:
        first = [DataRequired(required)] if required else []
        super().__init__(label, [*first, _LENGTH], filters=[_one_line], **bound)


def _bare(typed: str | None) -> str:
    return bare(typed or "")


class Number(Line):
    """A number that carries its own check, as it is typed with spaces or without; or none."""

    def __init__(
        self, label: str, is_right: Callable[[str], bool], wrong: str, **bound: Any
    ) -> None:
        super().__init__(label, filters=[_bare], **bound)
        self._is_right = is_right
        self._wrong = wrong

    def post_validate(self, form: Any, validation_stopped: bool) -> None:
        """It is right, if there is one."""
        if self.data and not self._is_right(self.data):
            raise ValidationError(self._wrong)


class Rows(IntegerField):
    """How many rows a list has."""

    def process_formdata(self, valuelist: list[str]) -> None:
        """What was typed, if it is a number that a list can have."""
        wrong = N_("Indiquez un nombre de 5 à 200.")
        try:
            super().process_formdata(valuelist)
        except ValueError as error:
            raise ValueError(wrong) from error
        if self.data is None or not FEWEST_ROWS <= self.data <= MOST_ROWS:
            raise ValueError(wrong)


class Choice(SelectField):
    """One of a list."""

    def pre_validate(self, form: Any) -> None:
        """It is in the list."""
        try:
            super().pre_validate(form)
        except ValidationError as error:
            raise ValidationError(N_("Choisissez dans la liste.")) from error


class ZoneSelect:
    """A select of all zones; as WTForms makes them, its 600 options take 40 ms for every page."""

    def __call__(self, field: Choice, **given: Any) -> Markup:
        """The element; a widget of WTForms."""
        chosen = escape(field.data)
        options = _zone_options(tuple(field.choices or ())).replace(
            f'<option value="{chosen}">', f'<option value="{chosen}" selected>'
        )
        given = {"id": field.id, "name": field.name, **given}
        return Markup(f"<select {attributes(**given)}>{options}</select>")  # noqa: S704 - escaped


@lru_cache(maxsize=len(LANGUAGES))
def _zone_choices(places: tuple[str, ...]) -> dict[str, list[tuple[str, str]]]:
    """The zones, by the names that the parts of the world have in a language."""
    return {
        label: [(name, _town(name, place)) for name in names]
        for label, (place, names) in zip(places, zones().items(), strict=True)
    }


@lru_cache(maxsize=len(LANGUAGES))
def _zone_options(places: tuple[str, ...]) -> str:
    return "".join(
        f'<optgroup label="{escape(label)}">'
        + "".join(f'<option value="{name}">{town}</option>' for name, town in choices)
        + "</optgroup>"
        for label, choices in _zone_choices(places).items()
    )


class PreferencesForm(Form):
    """The brochure's fields in its order, and after them the language, the time zone and others."""

    company = Text(N_("Société"), N_("Indiquez le nom de votre société."))
    last_name = Text(N_("Nom"))
    first_name = Text(N_("Prénom"))
    phone = Text(N_("Téléphone"))
    fax = Text(N_("Fax"))
    email = Text(N_("E-mail"), N_("Indiquez une adresse e-mail."))
    address = Text(N_("Adresse"))
    postcode = Text(N_("Code Postal"))
    city = Text(N_("Ville"))
    country = Text(N_("Pays"))
    cabinet_rows = Rows(N_("Lignes dans le meuble"))
    search_rows = Rows(N_("Lignes dans la recherche"))
    plan = Choice(N_("Meuble"))
    disc_subscription = BooleanField(N_("DVD"))
    archive_spam = BooleanField(N_("Spams"))
    language = Choice(N_("Langue"))
    time_zone = Choice(N_("Fuseau horaire"), widget=ZoneSelect())
    refuse_forged = BooleanField(N_("Usurpation"))
    siret = Number(N_("N° Siret"), is_siret, _WRONG_SIRET)
    vat_number = Number(N_("N° de TVA"), is_european_vat_number, _WRONG_VAT)

    def __init__(
        self,
        given: Any,
        stored: Preferences,
        subscription: Subscription,
        _: Callable[[str], str],
    ) -> None:
        super().__init__(given, data=asdict(stored) | {"plan": subscription.wanted})
        if subscription.plan == DEDICATED:
            del self.plan
        else:
            self.plan.choices = [(plan.value, _(label)) for plan, label in PLANS.items()]
        self.language.choices = [(code, _(name)) for code, name in LANGUAGES.items()]
        self.time_zone.choices = _zone_choices(tuple(_(_PLACES[place]) for place in zones()))

    def validate_email(self, field: Text) -> None:
        """An address that mail can be sent to; it is kept in its canonical form."""
        try:
            address = canonical(field.data or "")
        except AddressError as error:
            raise ValidationError(_WRONG_ADDRESS) from error
        if "." not in address.rpartition("@")[2] or "@" not in address:
            raise ValidationError(_WRONG_ADDRESS)
        field.data = address

    @property
    def wanted(self) -> Preferences:
        """What has been typed, once it is valid."""
        return Preferences(**{name: value for name, value in self.data.items() if name != "plan"})


LABELS: dict[str, str] = {
    name: unbound.args[0]
    for name, unbound in vars(PreferencesForm).items()
    if isinstance(unbound, UnboundField)
}
"""What the fields are called, in French, by their names in `Preferences`."""


class PreferencesPages:
    """The customer's own settings."""

    def __init__(
        self,
        preferences: PreferencesTable,
        plans: Plans,
        changes: PlanChanges,
        words: Mapping[str, Translate],
        subscriptions: Subscriptions,
    ) -> None:
        self._preferences = preferences
        self._plans = plans
        self._changes = changes
        self._words = words
        self._subscriptions = subscriptions

    @page("/preferences", viewed=True)
    async def show(self, visit: Visit) -> Answer:
        """Préférences: who the customer is, and how it likes to work."""
        stored = await self._preferences.get(visit.customer)
        subscription = await self._plans.of(visit.customer)
        form = PreferencesForm(None, stored, subscription, visit._)
        unwanted = await self._subscriptions.unwanted(visit.customer, stored.email)
        return self._page(form, stored, subscription, TOPICS.keys() - unwanted)

    @act("/preferences")
    async def save(self, visit: Visit) -> Answer:
        """The button Enregistrer."""
        stored = await self._preferences.get(visit.customer)
        subscription = await self._plans.of(visit.customer)
        form = PreferencesForm(visit.form, stored, subscription, visit._)
        topics = TOPICS.keys() & set(visit.form.getlist("avis"))
        if not form.validate():
            return self._page(form, stored, subscription, topics, status=400)
        wanted = form.wanted
        await self._preferences.save(visit.by, wanted)
        if "avis-demandes" in visit.form:  # a form that has boxes says so: none may be ticked
            await self._subscriptions.choose(visit.by, wanted.email, topics)
        if form.plan is not None:
            await self._changes.choose(visit.by, Plan(form.plan.data), wanted.time_zone)
        words = self._words.get(wanted.language, visit.words)
        return Redirect("/preferences", words.gettext(N_("Vos préférences sont enregistrées.")))

    def _page(
        self,
        form: PreferencesForm,
        stored: Preferences,
        subscription: Subscription,
        wanted_topics: Set[str],
        status: int = 200,
    ) -> Answer:
        values = {
            "form": form,
            "subscription": subscription,
            "plans": PLANS,
            "topics": TOPICS,
            "wanted_topics": wanted_topics,
            "begins": self._changes.begins(stored.time_zone),
        }
        return Html("preferences.html", values, status)


def _town(name: str, place: str) -> str:
    """``New York`` for ``America/New_York``: its group says the rest."""
    return name.removeprefix(f"{place}/").replace("_", " ")
