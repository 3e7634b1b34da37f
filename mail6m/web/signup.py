"""S'inscrire: the form, the letter's link, and what comes of it."""

from __future__ import annotations

from typing import Any

from wtforms import BooleanField, Form, PasswordField, RadioField, ValidationError
from wtforms.validators import DataRequired, InputRequired

from mail6m.access.brake import TooManyFailures
from mail6m.access.passwords import LEAST, too_weak
from mail6m.access.signin import WrongPassword
from mail6m.access.signup import START, Closed, Mode, NotGood, SignUp, Taken
from mail6m.billing.showcase import Showcase
from mail6m.dialogue.address import AddressError, canonical, domain_of
from mail6m.model import Plan
from mail6m.storage.signups import Wanted
from mail6m.web.forms import Line, at_most
from mail6m.web.menu import N_
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, Redirect, Visit

PATH = "/inscription"
_NO_ADDRESS = N_("Écrivez une adresse comme celine@mondomaine.fr.")
_TOO_OFTEN = N_("Trop d'essais. Attendez un quart d'heure, puis essayez à nouveau.")
_CABINETS = {Plan.TIROIR: N_("Tiroir"), Plan.MALLE: N_("Malle"), Plan.ARMOIRE: N_("Armoire")}


class SignUpForm(Form):
    """Who wants what."""

    company = Line(
        N_("Société"), [DataRequired(N_("Indiquez le nom de votre société.")), at_most(200)]
    )
    last_name = Line(N_("Nom"), [at_most(100)])
    first_name = Line(N_("Prénom"), [at_most(100)])
    email = Line(N_("E-mail"), [DataRequired(N_("Indiquez votre adresse e-mail.")), at_most(320)])
    password = PasswordField(
        N_("Mot de passe"), [InputRequired(N_("Choisissez un mot de passe.")), at_most(1000)]
    )
    plan = RadioField(N_("Meuble"), validate_choice=True)
    agreed = BooleanField(
        N_("Conditions"), [DataRequired(N_("Acceptez les conditions pour vous inscrire."))]
    )

    def __init__(self, given: Any = None, plan: str = "") -> None:
        known = plan if plan in [one.value for one in Plan] else Plan.TIROIR.value
        super().__init__(given, data={"plan": known})
        self.plan.choices = [(plan.value, label) for plan, label in _CABINETS.items()]

    def validate_email(self, field: Line) -> None:
        """An address that a letter can go to."""
        try:
            address = canonical((field.data or "").strip())
        except AddressError:
            raise ValidationError(_NO_ADDRESS) from None
        if "." not in domain_of(address):
            raise ValidationError(_NO_ADDRESS)
        self.address = address

    def validate_password(self, field: PasswordField) -> None:
        """Not one that is soon guessed."""
        if too_weak(field.data or "", (self.email.data or "").strip()):
            raise ValidationError(
                N_("Trop facile à deviner : prenez au moins 12 caractères, et pas votre adresse.")
            )

    def wanted(self, language: str) -> Wanted:
        """What was typed, each in one line."""
        typed = (self.company, self.last_name, self.first_name)
        company, last_name, first_name = (_line(field.data) for field in typed)
        plan = Plan(self.plan.data)
        return Wanted(self.address, company, last_name, first_name, plan, language)


class ConfirmForm(Form):
    """The password that was chosen, once more."""

    password = PasswordField(
        N_("Mot de passe"), [InputRequired(N_("Indiquez votre mot de passe.")), at_most(1000)]
    )


class SignUpPages:
    """From a stranger to a customer."""

    def __init__(self, signup: SignUp, showcase: Showcase) -> None:
        self._signup = signup
        self._showcase = showcase

    @page(PATH, Access.PUBLIC)
    async def form(self, visit: Visit) -> Answer:
        """The form to sign up with."""
        if visit.signed_in:
            return Redirect(visit.home)
        return await self._form(visit, SignUpForm(plan=visit.query.get("meuble", "")))

    @act(PATH, Access.PUBLIC)
    async def ask(self, visit: Visit) -> Answer:
        """Sign up: a letter is sent; the answer is the same whoever it is."""
        form = SignUpForm(visit.form)
        if not form.validate():
            return await self._form(visit, form, status=400)
        wanted = form.wanted(visit.language)
        try:
            await self._signup.ask(wanted, form.password.data or "", visit.client)
        except Closed:
            return await self._form(visit, form, status=403)
        except TooManyFailures:
            return await self._form(visit, form, _TOO_OFTEN, 429)
        return Redirect(visit.to(f"{PATH}/envoi"))

    @page(f"{PATH}/envoi", Access.PUBLIC)
    async def asked(self, visit: Visit) -> Answer:
        """What to do next."""
        return Html("public/signup_sent.html")

    @page(f"{PATH}/confirmer", Access.PUBLIC)
    async def confirm_form(self, visit: Visit) -> Answer:
        """Where the letter's link leads to; looking at it changes nothing."""
        token = visit.query.get("jeton", "")
        return await self._confirm_form(visit, token, ConfirmForm())

    @act(f"{PATH}/confirmer", Access.PUBLIC)
    async def confirm(self, visit: Visit) -> Answer:
        """Confirm the address by the letter's link and the password, and become a customer."""
        token, form = visit.form.get("jeton", ""), ConfirmForm(visit.form)
        if not form.validate():
            return await self._confirm_form(visit, token, form, status=400)
        password = form.password.data or ""
        try:
            entered = await self._signup.confirm(token, password, visit.client, visit.agent)
        except WrongPassword:
            wrong = N_("Ce n'est pas le mot de passe que vous avez choisi en vous inscrivant.")
            return await self._confirm_form(visit, token, form, wrong, 403)
        except TooManyFailures:
            return await self._confirm_form(visit, token, form, _TOO_OFTEN, 429)
        except (Closed, NotGood, Taken):
            return Html("public/signup_expired.html", status=410)
        if entered is None:
            return Redirect(visit.to(f"{PATH}/attente"))
        return Redirect(START, session=entered.token)

    @page(f"{PATH}/attente", Access.PUBLIC)
    async def waits(self, visit: Visit) -> Answer:
        """An operator decides."""
        return Html("public/signup_waits.html")

    async def _form(
        self, visit: Visit, form: SignUpForm, wrong: str = "", status: int = 200
    ) -> Answer:
        tariff, seller = await self._showcase.today()
        if self._signup.mode is Mode.CLOSED:
            return Html("public/signup_closed.html", {"seller": seller}, status)
        values = {
            "form": form,
            "wrong": wrong,
            "tariff": tariff,
            "least": LEAST,
            "approval": self._signup.mode is Mode.APPROVAL,
            "cabinets": [(plan, label, tariff.monthly(plan)) for plan, label in _CABINETS.items()],
        }
        return Html("public/signup.html", values, status)

    async def _confirm_form(
        self, visit: Visit, token: str, form: ConfirmForm, wrong: str = "", status: int = 200
    ) -> Answer:
        try:
            signup = await self._signup.of(token)
        except NotGood:
            return Html("public/signup_expired.html", status=410)
        if signup.confirmed_at is not None:
            return Html("public/signup_waits.html")
        values = {"form": form, "token": token, "wrong": wrong, "wanted": signup.wanted}
        values["cabinet"] = _CABINETS[signup.wanted.plan]
        return Html("public/signup_confirm.html", values, status)


def _line(typed: str | None) -> str:
    """What was typed, in one line, whatever it had for spaces, and without what is not seen."""
    spaced = (one if one.isprintable() else " " for one in typed or "")
    return " ".join("".join(spaced).split())
