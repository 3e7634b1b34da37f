"""Inscriptions: who has confirmed an address and waits to become a customer."""

from __future__ import annotations

from wtforms import Form
from wtforms.validators import DataRequired

from mail6m.access.signup import WAITING, Mode, SignUp, Taken
from mail6m.web.forms import Line, at_most
from mail6m.web.menu import N_
from mail6m.web.preferences import PLANS
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit


class RefusalForm(Form):
    """Why somebody may not become a customer."""

    reason = Line(
        N_("Motif du refus"), [DataRequired(N_("Dites pourquoi vous refusez.")), at_most(500)]
    )


class OperatorSignUpPages:
    """What operators decide about those who sign up."""

    def __init__(self, signup: SignUp) -> None:
        self._signup = signup

    @page(WAITING, Access.OBSERVER)
    async def list(self, visit: Visit) -> Answer:
        """Inscriptions: those that wait, the oldest first."""
        return await self._list(RefusalForm())

    @act(f"{WAITING}/<int:number>/accepter", Access.OPERATOR)
    async def accept(self, visit: Visit, number: int) -> Answer:
        """The button Accepter: it becomes a customer."""
        try:
            accepted = await self._signup.accept(visit.by, _within(number))
        except Taken:
            return Redirect(WAITING, visit._("Cette adresse a un compte depuis : rien n'est fait."))
        if accepted is None:
            raise NotFound
        say = visit._("%(company)s est cliente, et en est avertie.")
        return Redirect(WAITING, say % {"company": accepted.wanted.company})

    @act(f"{WAITING}/<int:number>/refuser", Access.OPERATOR)
    async def refuse(self, visit: Visit, number: int) -> Answer:
        """The button Refuser: it is forgotten, and told why."""
        form = RefusalForm(visit.form)
        if not form.validate():
            return await self._list(form, number, 400)
        reason = " ".join((form.reason.data or "").split())
        refused = await self._signup.refuse(visit.by, _within(number), reason)
        if refused is None:
            raise NotFound
        say = visit._("L'inscription de %(company)s est refusée.")
        return Redirect(WAITING, say % {"company": refused.wanted.company})

    async def _list(self, form: RefusalForm, number: int = 0, status: int = 200) -> Answer:
        values = {"waiting": await self._signup.waiting(), "form": form, "number": number}
        values["plans"] = PLANS
        values["closed"] = self._signup.mode is not Mode.APPROVAL
        return Html("operator/signups.html", values, status)


def _within(number: int) -> int:
    """A number that PostgreSQL knows. Raises `NotFound`."""
    if number >= 1 << 63:
        raise NotFound
    return number
