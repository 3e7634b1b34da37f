"""La cave: what it holds in figures, and what the archivist is asked for. Never a message."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from wtforms import ValidationError
from wtforms.validators import DataRequired

from mail6m.shelves.archivist import Archivist
from mail6m.shelves.cellar import Cellar
from mail6m.storage.archivist import Request, Wish
from mail6m.web.cabinet import TermsForm, read_date, search_path
from mail6m.web.forms import Line, at_most
from mail6m.web.menu import N_
from mail6m.web.routes import act, page
from mail6m.web.visit import Answer, Html, Redirect, Visit


class WishForm(TermsForm):
    """What the archivist is asked for."""

    reason = Line(
        N_("Motif"), [DataRequired(N_("Dites pourquoi, en quelques mots.")), at_most(500)]
    )

    def validate_sender(self, field: Line) -> None:
        """Something must be asked for."""
        asked = (self.sender, self.recipient, self.subject, self.since, self.until)
        if not any(one.data for one in asked):
            raise ValidationError(N_("Indiquez au moins une chose qui fait retrouver ces e-mails."))

    def wish(self) -> Wish:
        """What was typed, when it is valid."""
        since, until = (
            read_date(field.data, self.zone) if field.data else None
            for field in (self.since, self.until)
        )
        sender, recipient, subject, reason = (
            field.data or "" for field in (self.sender, self.recipient, self.subject, self.reason)
        )
        return Wish(sender, recipient, subject, since, until, reason)


class CellarPages:
    """The customer's cellar."""

    def __init__(self, cellar: Cellar, archivist: Archivist) -> None:
        self._cellar = cellar
        self._archivist = archivist

    @page("/cave", viewed=True)
    async def show(self, visit: Visit) -> Answer:
        """La cave: how much is there, of which period, and how far it is from the next DVD."""
        report = await self._cellar.report(visit.customer)
        full_on, disc_on = (
            None if days is None else visit.today + timedelta(days=days) for days in report.forecast
        )
        return Html("cellar.html", {"report": report, "full_on": full_on, "disc_on": disc_on})

    @page("/cave/archiviste", viewed=True)
    async def archivist(self, visit: Visit) -> Answer:
        """L'archiviste: what was asked for, and what became of it."""
        return await self._requests(visit, WishForm(None, visit.zone))

    @act("/cave/archiviste")
    async def ask(self, visit: Visit) -> Answer:
        """The button Demander: the archivist is asked to bring e-mails back."""
        form = WishForm(visit.form, visit.zone)
        if not form.validate():
            return await self._requests(visit, form, 400)
        if await self._archivist.ask(visit.by, form.wish()):
            return Redirect("/cave/archiviste", visit._("Votre demande est faite."))
        return Redirect("/cave/archiviste", visit._(_TOO_MANY))

    async def _requests(self, visit: Visit, form: WishForm, status: int = 200) -> Answer:
        requests = await self._archivist.of(visit.customer)
        shown = [(request, _found(request, visit.zone)) for request in requests]
        values: dict[str, Any] = {"form": form, "requests": shown}
        return Html("archivist.html", values, status)


_TOO_MANY = N_("Vingt de vos demandes attendent déjà : celle-ci n'a pas été faite.")


def _found(request: Request, zone: ZoneInfo) -> str:
    """Where what has been brought back is found: the search for it."""
    wish = request.wish
    since, until = (
        f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}" if moment else ""
        for moment in (wish.since, wish.until)
    )
    texts = {"sender": wish.sender, "recipient": wish.recipient, "subject": wish.subject}
    return search_path({**texts, "since": since, "until": until})
