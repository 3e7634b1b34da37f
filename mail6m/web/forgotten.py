"""Mot de passe oublié: asking for a link, and choosing a password by it."""

from __future__ import annotations

from wtforms import Form
from wtforms.validators import DataRequired

from mail6m.access.brake import TooManyFailures
from mail6m.access.links import PasswordLinks
from mail6m.web.forms import Line, at_most
from mail6m.web.menu import N_
from mail6m.web.newpassword import NewPasswordForm
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, Redirect, Visit


class ForgottenForm(Form):
    """Whose password."""

    email = Line(N_("E-mail"), [DataRequired(N_("Indiquez votre adresse e-mail.")), at_most(320)])


class ForgottenPages:
    """A way in for who has lost the password, or has none yet."""

    def __init__(self, links: PasswordLinks) -> None:
        self._links = links

    @page("/oubli", Access.PUBLIC)
    async def ask_form(self, visit: Visit) -> Answer:
        """The form to ask for a link with."""
        return Html("forgotten.html", {"form": ForgottenForm(), "wrong": ""})

    @act("/oubli", Access.PUBLIC)
    async def ask(self, visit: Visit) -> Answer:
        """Ask for a link; the answer is the same whoever it is."""
        form = ForgottenForm(visit.form)
        if not form.validate():
            return Html("forgotten.html", {"form": form, "wrong": ""}, 400)
        try:
            await self._links.forgotten(form.email.data or "", visit.client, visit.language)
        except TooManyFailures:
            wrong = N_("Trop d'essais. Attendez un quart d'heure, puis essayez à nouveau.")
            return Html("forgotten.html", {"form": form, "wrong": wrong}, 429)
        return Redirect("/oubli/envoi")

    @page("/oubli/envoi", Access.PUBLIC)
    async def asked(self, visit: Visit) -> Answer:
        """What to do next."""
        return Html("forgotten_sent.html")

    @page("/mot-de-passe", Access.PUBLIC)
    async def choose_form(self, visit: Visit) -> Answer:
        """The form that a letter's link leads to."""
        token = visit.query.get("jeton", "")
        account = await self._links.account_of(token)
        if account is None:
            return Html("link_expired.html", status=410)
        values = {"form": NewPasswordForm(), "token": token, "email": account.email}
        return Html("new_password.html", values)

    @act("/mot-de-passe", Access.PUBLIC)
    async def choose(self, visit: Visit) -> Answer:
        """Choose a password by a link, which is used up."""
        token = visit.form.get("jeton", "")
        account = await self._links.account_of(token)
        if account is None:
            return Html("link_expired.html", status=410)
        form = NewPasswordForm(visit.form, account.email)
        if not form.validate():
            values = {"form": form, "token": token, "email": account.email}
            return Html("new_password.html", values, 400)
        if not await self._links.choose(token, form.new.data or "", visit.client):
            return Html("link_expired.html", status=410)
        return Redirect("/connexion?choisi=oui", session="")
