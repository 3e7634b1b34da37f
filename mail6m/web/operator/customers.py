"""Clients: all customers, and one of them with what it has; what operators do for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from wtforms import Form, SelectField, ValidationError
from wtforms.validators import InputRequired, Optional

from mail6m.billing.agreements import Agreements
from mail6m.billing.months import paris_day
from mail6m.dialogue.address import AddressError, canonical_domain
from mail6m.model import Plan
from mail6m.shelves.closing import DAYS, Ending
from mail6m.shelves.plans import PlanChanges
from mail6m.storage.accounts import Accounts
from mail6m.storage.audit import Audit
from mail6m.storage.claims import Claims
from mail6m.storage.clientele import STATES, Client, Clientele
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.discs import Discs
from mail6m.storage.domains import Domains
from mail6m.storage.errors import Refused
from mail6m.storage.plans import DEDICATED, Plans
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.sessions import Sessions
from mail6m.web.accounts import OF_CUSTOMERS
from mail6m.web.activity import line_of
from mail6m.web.forms import NO_AMOUNT, Day, Euros, Line, at_most
from mail6m.web.menu import HOME, N_, OPERATORS_HOME
from mail6m.web.pager import numbered
from mail6m.web.preferences import PLANS, Choice
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

PATH = "/exploitation/clients"
ROWS = 25
"""Of each customer shown, what it holds is summed up over all its days: no more than that many."""
VIEW_SECONDS = 1_800.0
"""How long an operator sees a customer's console, unless it is left before."""
_MOST_NUMBER = 2**31 - 1
_MOST_GIGABYTES = 100_000
_LAST_ACTS, _LAST_INVOICES = 10, 20
_STATES = {
    "": N_("Tous"),
    "active": N_("En cours"),
    "suspended": N_("Suspendus"),
    "ending": N_("Sur le départ"),
}
assert set(_STATES) == {"", *STATES}
OPERATOR_PLANS = PLANS | {DEDICATED: N_("Dédié")}
"""What customers may have, in French."""


_DISC_STATES = {
    "offered": N_("proposé"),
    "refused": N_("refusé"),
    "ordered": N_("commandé"),
    "written": N_("gravé"),
    "shipped": N_("expédié"),
    "destroyed": N_("image détruite"),
}


class SearchForm(Form):
    """Which customers."""

    q = Line(N_("Recherche"), [at_most(320)])
    etat = SelectField(N_("État"), default="")

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit.query)
        self.etat.choices = [(state, visit._(label)) for state, label in _STATES.items()]


class PlanForm(Form):
    """Another size of cabinet; none is chosen beforehand if none is what the customer wants."""

    plan = Choice(N_("Meuble"), [InputRequired(N_("Choisissez dans la liste."))])

    def __init__(self, visit: Visit, given: Any, chosen: str) -> None:
        super().__init__(given, data={"plan": chosen})
        self.plan.choices = [(plan.value, visit._(label)) for plan, label in PLANS.items()]
        if not chosen:
            self.plan.choices.insert(0, ("", "–"))


class AgreementForm(Form):
    """A dedicated cabinet."""

    capacity = Line(N_("Capacité, en Go"), [InputRequired(N_("Indiquez la capacité."))])
    monthly = Euros(N_("Prix par mois, TTC"), [InputRequired(NO_AMOUNT)])
    since = Day(N_("À partir du"), [Optional()])

    def validate_capacity(self, field: Line) -> None:
        """So many gigabytes."""
        typed = "".join((field.data or "").split())
        if not (typed.isascii() and typed.isdecimal() and 0 < int(typed[:9]) <= _MOST_GIGABYTES):
            raise ValidationError(N_("Écrivez un nombre entier de Go, comme 50."))
        self.octets = int(typed) * 10**9


class EndForm(Form):
    """Whether the contract is really to end."""

    company = Line(N_("Nom du client"), [InputRequired(N_("Recopiez-le.")), at_most(200)])

    def __init__(self, given: Any, company: str) -> None:
        super().__init__(given)
        self._company = company

    def validate_company(self, field: Line) -> None:
        """It is the customer's, whatever its case and spaces."""
        if _plain(field.data or "") != _plain(self._company):
            raise ValidationError(N_("Ce n'est pas le nom de ce client."))


@dataclass(frozen=True, slots=True)
class Files:
    """Where it stands what a customer has."""

    clientele: Clientele
    preferences: PreferencesTable
    plans: Plans
    domains: Domains
    claims: Claims
    accounts: Accounts
    discs: Discs
    deliveries: Deliveries
    audit: Audit


class CustomerPages:
    """The customers, for operators."""

    def __init__(
        self,
        files: Files,
        changes: PlanChanges,
        agreements: Agreements,
        ending: Ending,
        sessions: Sessions,
    ) -> None:
        self._files = files
        self._changes = changes
        self._agreements = agreements
        self._ending = ending
        self._sessions = sessions

    @page(PATH, Access.OBSERVER)
    async def list(self, visit: Visit) -> Answer:
        """Clients: all of them, or those that are looked for, the newest first."""
        form = SearchForm(visit)
        valid = form.validate()
        typed = (form.q.data or "").strip() if valid else ""
        if typed.isascii() and typed.isdecimal() and len(typed) < 10:
            try:
                return Redirect(path_to((await self._files.clientele.get(int(typed))).customer))
            except Refused:
                pass
        state = form.etat.data or "" if valid else ""
        wanted = (typed, _a_label(typed), state)
        count = await self._files.clientele.count(*wanted)
        last = max(1, -(-count // ROWS))
        number = visit.number("page", 1, last)
        query = {name: value for name, value in (("q", typed), ("etat", state)) if value}
        values = {
            "form": form,
            "count": count,
            "clients": await self._files.clientele.page((number - 1) * ROWS, ROWS, *wanted),
            "plans": OPERATOR_PLANS,
            "pager": numbered(number, last, lambda n: f"{PATH}?{urlencode(query | {'page': n})}"),
            "searched": bool(query),
        }
        return Html("operator/customers.html", values, 200 if valid else 400)

    @page(PATH + "/<int:number>", Access.OBSERVER)
    async def show(self, visit: Visit, number: int) -> Answer:
        """One customer: who it is, what it has, and what has been done last."""
        return await self._page(visit, await self._client(number))

    @act(PATH + "/<int:number>/meuble", Access.OPERATOR)
    async def change_plan(self, visit: Visit, number: int) -> Answer:
        """Another size of cabinet, or none that is dedicated, from the next first of a month on."""
        client = await self._client(number)
        form = await self._plan_form(visit, client, visit.form)
        if not form.validate():
            return await self._page(visit, client, form, 400)
        if client.plan == DEDICATED:
            try:
                await self._agreements.end(visit.by_house(number), Plan(form.plan.data))
            except Refused:
                form.plan.errors = [_INVOICED]
                return await self._page(visit, client, form, 409)
            return Redirect(path_to(number), visit._(N_("Le changement de meuble est noté.")))
        await self._agreements.call_off(visit.by_house(number))
        zone = (await self._files.preferences.get(number)).time_zone
        await self._changes.choose(visit.by_house(number), Plan(form.plan.data), zone)
        return Redirect(path_to(number), visit._(N_("Le changement de meuble est noté.")))

    @page(PATH + "/<int:number>/convenir", Access.OPERATOR)
    async def agree_form(self, visit: Visit, number: int) -> Answer:
        """Which dedicated cabinet has been agreed on with a customer, and its price."""
        return self._agreeing(await self._client(number), AgreementForm())

    @act(PATH + "/<int:number>/convenir", Access.OPERATOR)
    async def agree(self, visit: Visit, number: int) -> Answer:
        """A dedicated cabinet at a price, from the first of a month on."""
        client = await self._client(number)
        form = AgreementForm(visit.form)
        if not form.validate():
            return self._agreeing(client, form, 400)
        by, price = visit.by_house(number), form.monthly.data
        try:
            await self._agreements.agree(by, form.octets, price, form.since.data)
        except Refused:
            form.since.errors = [_INVOICED]
            return self._agreeing(client, form, 409)
        return Redirect(path_to(number), visit._(N_("Le meuble dédié est noté.")))

    @act(PATH + "/<int:number>/suspendre", Access.OPERATOR)
    async def suspend(self, visit: Visit, number: int) -> Answer:
        """Asks once, then lets a customer look and not act; its mail goes on."""
        client = await self._client(number)
        if visit.form.get("sur") != "oui":
            return Html("operator/suspend.html", {"client": client})
        await self._files.clientele.suspend(visit.by_house(number))
        return Redirect(path_to(number), visit._(N_("Le client est suspendu.")))

    @act(PATH + "/<int:number>/retablir", Access.OPERATOR)
    async def resume(self, visit: Visit, number: int) -> Answer:
        """Let a suspended customer act again."""
        await self._client(number)
        await self._files.clientele.resume(visit.by_house(number))
        return Redirect(path_to(number), visit._(N_("La suspension est levée.")))

    @page(PATH + "/<int:number>/resilier", Access.OPERATOR)
    async def end_form(self, visit: Visit, number: int) -> Answer:
        """Whether a customer's contract is really to end."""
        client = await self._client(number)
        return _ending(client, EndForm(None, client.company))

    @act(PATH + "/<int:number>/resilier", Access.OPERATOR)
    async def end(self, visit: Visit, number: int) -> Answer:
        """A customer's contract ends in a week, once its name has been typed."""
        client = await self._client(number)
        form = EndForm(visit.form, client.company)
        if not form.validate():
            return _ending(client, form, 400)
        try:
            await self._ending.ask(visit.by_house(number))
        except Refused:
            return Redirect(path_to(number))
        return Redirect(path_to(number), visit._(N_("La résiliation est demandée.")))

    @act(PATH + "/<int:number>/garder", Access.OPERATOR)
    async def keep(self, visit: Visit, number: int) -> Answer:
        """A contract that was to end goes on."""
        await self._client(number)
        try:
            await self._ending.withdraw(visit.by_house(number))
        except Refused:
            return Redirect(path_to(number))
        return Redirect(path_to(number), visit._(N_("La résiliation est annulée.")))

    @act(PATH + "/<int:number>/voir", Access.OPERATOR)
    async def view(self, visit: Visit, number: int) -> Answer:
        """See the console as a reader of that customer's does; it is noted for both."""
        session = visit.identity.session
        if not await self._sessions.view(visit.by_house(number), session, VIEW_SECONDS):
            raise NotFound
        return Redirect(HOME)

    @act(OPERATORS_HOME + "/quitter", Access.OPERATOR, viewed=True)
    async def leave(self, visit: Visit) -> Answer:
        """See a customer's console no more."""
        await self._sessions.leave(visit.identity.session)
        return Redirect(path_to(visit.viewing.customer) if visit.viewing else PATH)

    def _agreeing(self, client: Client, form: AgreementForm, status: int = 200) -> Answer:
        values = {"client": client, "form": form, "begins": self._agreements.begins()}
        return Html("operator/agree.html", values, status)

    async def _client(self, number: int) -> Client:
        try:
            return await self._files.clientele.get(min(number, _MOST_NUMBER))
        except Refused as error:
            raise NotFound from error

    async def _plan_form(self, visit: Visit, client: Client, given: Any = None) -> PlanForm:
        """One press is not to give up a dedicated cabinet that is had, or has been agreed on."""
        today = paris_day(visit.now)
        terms = await self._files.clientele.terms(client.customer)
        agreed = any(term.plan == DEDICATED and term.since > today for term in terms)
        wanted = (await self._files.plans.of(client.customer)).wanted
        return PlanForm(visit, given, "" if agreed or client.plan == DEDICATED else wanted)

    async def _page(
        self, visit: Visit, client: Client, form: PlanForm | None = None, status: int = 200
    ) -> Answer:
        files, number = self._files, client.customer
        preferences = await files.preferences.get(number)
        subscription = await files.plans.of(number)
        acts = await files.audit.page(number, 0, _LAST_ACTS)
        values = {
            "client": client,
            "form": form or await self._plan_form(visit, client),
            "preferences": preferences,
            "subscription": subscription,
            "begins": self._changes.begins(preferences.time_zone),
            "plans": OPERATOR_PLANS,
            "terms": await files.clientele.terms(number),
            "waiting": await files.deliveries.waiting_count(number),
            "domains": await files.domains.all(number),
            "claims": await files.claims.all(number),
            "accounts": await files.accounts.all(number),
            "roles": OF_CUSTOMERS.roles,
            "discs": await files.discs.all(number),
            "invoices": await files.clientele.invoices(number, _LAST_INVOICES),
            "disc_states": _DISC_STATES,
            "lines": [(None, line_of(entry, frozenset(), visit._)) for entry in acts],
            "may": visit.unlimited,
        }
        return Html("operator/customer.html", values, status)


_INVOICED = N_(
    "Prenez le premier d'un mois du contrat dont rien n'est facturé encore, ou son premier jour."
)


def path_to(customer: int) -> str:
    """The page of one customer."""
    return f"{PATH}/{customer}"


def _ending(client: Client, form: EndForm, status: int = 200) -> Answer:
    return Html("operator/end.html", {"client": client, "form": form, "days": DAYS}, status)


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _a_label(typed: str) -> str:
    """A domain as it is stored, if what was typed is one."""
    try:
        return canonical_domain(typed)
    except AddressError:
        return ""
