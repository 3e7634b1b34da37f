"""File d'attente of all customers: by destination, with what operators can do about it."""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

from mail6m.delivery.giving_up import GivingUp
from mail6m.storage.backlog import BacklogTable
from mail6m.storage.deliveries import Deliveries, LetGo, read_delivery_id
from mail6m.storage.errors import Refused
from mail6m.web.menu import N_, OPERATORS_HOME
from mail6m.web.pager import numbered
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

PATH = f"{OPERATORS_HOME}/file"
DESTINATION = f"{OPERATORS_HOME}/destinations"
ROWS = 50


class OperatorQueuePages:
    """The queue, for operators. What a message is about is nowhere on them."""

    def __init__(self, backlog: BacklogTable, deliveries: Deliveries, giving_up: GivingUp) -> None:
        self._backlog = backlog
        self._deliveries = deliveries
        self._giving_up = giving_up

    @page(PATH, Access.OBSERVER)
    async def list(self, visit: Visit) -> Answer:
        """File d'attente: what waits, by destination."""
        return await self._list(visit)

    @page(f"{DESTINATION}/<destination>", Access.OBSERVER)
    async def show(self, visit: Visit, destination: str) -> Answer:
        """A destination: what waits for it, delivery by delivery."""
        backlog = await self._backlog.one(destination)
        if backlog is None:
            raise NotFound
        last = max(1, -(-backlog.deliveries // ROWS))
        number = visit.number("page", 1, last)
        values = {
            "one": backlog,
            "deliveries": await self._backlog.deliveries(destination, (number - 1) * ROWS, ROWS),
            "pager": numbered(number, last, lambda n: f"{_path(destination)}?page={n}"),
            "giving_up": self._giving_up.under_way(destination),
        }
        return Html("operator/destination.html", values)

    @act(f"{PATH}/retenir", Access.OPERATOR)
    async def hold(self, visit: Visit) -> Answer:
        """The button Retenir: nothing goes out to a destination until it is let go."""
        destination = visit.form.get("destination", "").strip()
        try:
            await self._deliveries.hold(visit.by, destination)
        except Refused:
            return await self._list(visit, destination)
        await self._backlog.take()
        return Redirect(_back(visit), visit._(_HELD) % {"destination": destination})

    @act(f"{PATH}/liberer", Access.OPERATOR)
    async def let_go(self, visit: Visit) -> Answer:
        """The button Libérer: what was held goes out."""
        destination = visit.form.get("destination", "")
        let_go = await self._deliveries.let_go(visit.by, destination)
        await self._backlog.take()
        return Redirect(_back(visit), _released(visit, destination, let_go))

    @act(f"{PATH}/reessayer", Access.OPERATOR)
    async def retry(self, visit: Visit) -> Answer:
        """The buttons Réessayer: all that waits for a destination, or one delivery, is due now."""
        if visit.form.get("id"):
            delivery = _delivery(visit)
            count = await self._deliveries.retry(visit.by, delivery=delivery)
        else:
            destination = visit.form.get("destination", "")
            if not destination:
                raise NotFound
            count = await self._deliveries.retry(visit.by, destination=destination)
        await self._backlog.take()
        say = visit.words.ngettext(
            "%(count)s remise est essayée maintenant.",
            "%(count)s remises sont essayées maintenant.",
            count,
        )
        return Redirect(_back(visit), say % {"count": count} if count else visit._(_NOTHING))

    @act(f"{PATH}/annuler", Access.OPERATOR)
    async def cancel(self, visit: Visit) -> Answer:
        """The buttons Annuler: senders are told that it will not be delivered; asks once."""
        if visit.form.get("id"):
            return await self._cancel_one(visit)
        destination = visit.form.get("destination", "")
        backlog = await self._backlog.one(destination)
        if backlog is None:
            raise NotFound
        if visit.form.get("sur") != "oui":
            return Html("operator/destination_cancel.html", {"one": backlog})
        self._giving_up.begin(visit.by, destination)
        return Redirect(PATH, visit._(_CANCELLING) % {"destination": destination})

    async def _cancel_one(self, visit: Visit) -> Answer:
        try:
            await self._giving_up.one(visit.by, _delivery(visit))
        except Refused:
            return Redirect(_back(visit), visit._(_NOTHING))
        await self._backlog.take()
        return Redirect(_back(visit), visit._(_CANCELLED))

    async def _list(self, visit: Visit, unknown: str | None = None) -> Answer:
        last = max(1, -(-await self._backlog.count() // ROWS))
        number = visit.number("page", 1, last)
        values = {
            "snapshot": await self._backlog.snapshot(),
            "destinations": await self._backlog.destinations((number - 1) * ROWS, ROWS),
            "pager": numbered(number, last, lambda n: f"{PATH}?page={n}"),
            "hosts": await self._deliveries.held_hosts(),
            "unknown": unknown,
        }
        return Html("operator/queue.html", values, 200 if unknown is None else 400)


def _delivery(visit: Visit) -> tuple[int, UUID, int]:
    try:
        return read_delivery_id(visit.form.get("id", ""))
    except Refused as error:
        raise NotFound from error


def _released(visit: Visit, destination: str, let_go: LetGo) -> str:
    """What has been released, and what another name keeps."""
    if destination.lower() in let_go.kept:
        return visit._(_KEPT) % {"destination": destination}
    say = visit.words.ngettext(
        "%(destination)s est libérée : %(count)s remise qui attendait part.",
        "%(destination)s est libérée : %(count)s remises qui attendaient partent.",
        let_go.deliveries,
    )
    if not let_go.deliveries:
        say = visit._(_LET_GO)
    if let_go.kept:
        say += " " + visit.words.ngettext(
            "%(kept)s de ses domaines reste retenu sous un autre nom.",
            "%(kept)s de ses domaines restent retenus sous un autre nom.",
            len(let_go.kept),
        )
    values = {"destination": destination, "count": let_go.deliveries, "kept": len(let_go.kept)}
    return say % values


def _back(visit: Visit) -> str:
    """Where the button was: on a destination's own page, or in the list."""
    here = visit.form.get("ici", "")
    return _path(here) if here else PATH


def _path(destination: str) -> str:
    return f"{DESTINATION}/{quote(destination, safe=':')}"


_HELD = N_("%(destination)s est retenue : ce qui attend, et ce qui arrive, attendra.")
_LET_GO = N_("%(destination)s est libérée : rien n'attendait.")
_KEPT = N_(
    "%(destination)s reste retenue : par une de ses machines, ou de nouveau entre-temps."
    " Libérez-la encore une fois pour qu'elle parte."
)
_NOTHING = N_("Rien à faire : la remise est faite, ou en cours.")
_CANCELLED = N_("La remise est annulée, et son expéditeur prévenu.")
_CANCELLING = N_("Ce qui attend pour %(destination)s est annulé, et les expéditeurs prévenus.")
