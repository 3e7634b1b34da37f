"""L'archiviste, for operators: what customers ask to have back from the cellar."""

from __future__ import annotations

from mail6m.shelves.archivist import Archivist
from mail6m.storage.archivist import Request
from mail6m.storage.customers import Customers
from mail6m.storage.errors import Refused
from mail6m.web.menu import N_, OPERATORS_HOME
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

PATH = f"{OPERATORS_HOME}/archiviste"
WAITING = 20
"""Requests whose matches are counted for one page: each is a search."""
DECIDED = 30
LONGEST = 500
"""Characters of a reason."""


class OperatorArchivistPages:
    """Requests of all customers. Of the mail they show how much meets them, and nothing else."""

    def __init__(self, archivist: Archivist, customers: Customers) -> None:
        self._archivist = archivist
        self._customers = customers

    @page(PATH, Access.OBSERVER)
    async def list(self, visit: Visit) -> Answer:
        """L'archiviste: what waits to be decided, the oldest first, and what has been."""
        return await self._list(visit)

    @act(f"{PATH}/accorder", Access.OPERATOR)
    async def grant(self, visit: Visit) -> Answer:
        """The button Accorder: what was asked for goes back to the cabinet."""
        request = _number(visit)
        try:
            count = await self._archivist.grant(visit.identity.email, visit.client, request)
        except Refused as error:
            return Redirect(PATH, visit._(_NOT_GRANTED) % {"why": error})
        say = visit.words.ngettext(
            "%(count)s message est de retour dans le meuble.",
            "%(count)s messages sont de retour dans le meuble.",
            count,
        )
        return Redirect(PATH, say % {"count": count})

    @act(f"{PATH}/refuser", Access.OPERATOR)
    async def refuse(self, visit: Visit) -> Answer:
        """The button Refuser: it stays in the cellar, and the customer reads why."""
        request = _number(visit)
        reason = " ".join(visit.form.get("reason", "").split())
        if not 0 < len(reason) <= LONGEST:
            return await self._list(visit, request)
        try:
            await self._archivist.refuse(visit.identity.email, visit.client, request, reason)
        except Refused:
            return Redirect(PATH, visit._(_DECIDED))
        return Redirect(PATH, visit._(_REFUSED))

    async def _list(self, visit: Visit, unreasoned: int | None = None) -> Answer:
        waiting = list(reversed(await self._archivist.everywhere(None, waiting=True)))
        every = await self._archivist.everywhere(None, waiting=False)
        decided = sorted(
            (request for request in every if request.decided_at is not None),
            key=lambda request: request.decided_at or request.asked_at,
            reverse=True,
        )[:DECIDED]
        shown = waiting[:WAITING]
        numbers = {request.customer for request in [*shown, *decided]}
        values = {
            "waiting": [(request, await self._match(request)) for request in shown],
            "more": len(waiting) - len(shown),
            "decided": decided,
            "companies": await self._customers.companies(numbers),
            "unreasoned": unreasoned,
            "longest": LONGEST,
        }
        return Html("operator/archivist.html", values, 200 if unreasoned is None else 400)

    async def _match(self, request: Request) -> tuple[int, bool]:
        match = await self._archivist.match(request)
        return match.messages, match.too_many


def _number(visit: Visit) -> int:
    """Which request it is about."""
    value = visit.form.get("id", "")
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise NotFound
    return int(value)


_NOT_GRANTED = N_("Ce n'est pas accordé : %(why)s")
_REFUSED = N_("La demande est refusée, et le client en lit la raison.")
_DECIDED = N_("Cette demande a déjà sa réponse.")
