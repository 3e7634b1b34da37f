"""Liste de vos DVD: what is offered, and what becomes of it (the brochure's VII.IV)."""

from __future__ import annotations

from mail6m.billing.months import paris_day
from mail6m.shelves.discs import DiscLife
from mail6m.storage.discs import Disc, Discs
from mail6m.storage.errors import Refused
from mail6m.storage.tariffs import TariffTable
from mail6m.web.menu import N_
from mail6m.web.routes import act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

PATH = "/dvd"
_UNDER_WAY = ("ordered", "written", "shipped")


class DiscPages:
    """The customer's discs."""

    def __init__(self, discs: Discs, life: DiscLife, tariffs: TariffTable) -> None:
        self._discs = discs
        self._life = life
        self._tariffs = tariffs

    @page(PATH)
    async def list(self, visit: Visit) -> Answer:
        """DVD: what is offered, and the discs there are, the newest first."""
        discs = await self._discs.all(visit.customer)
        values = {
            "offered": next((disc for disc in discs if disc.state == "offered"), None),
            "refused": discs[0] if discs and discs[0].state == "refused" else None,
            "discs": [disc for disc in discs if disc.state not in ("offered", "refused")],
            "under_way": any(disc.state in _UNDER_WAY for disc in discs),
            "price": (await self._tariffs.all()).at(paris_day(visit.now)).disc,
        }
        return Html("discs.html", values)

    @page("/dvd/<serial>/certificat")
    async def certificate(self, visit: Visit, serial: str) -> Answer:
        """What was on a disc, and that it has been destroyed here."""
        disc = await self._own(visit, serial)
        if disc.state not in ("written", "shipped", "destroyed"):
            raise NotFound
        return Html("disc.html", {"disc": disc})

    @act("/dvd/commander")
    async def order(self, visit: Visit) -> Answer:
        """The button Commander."""
        return await self._answer(visit, True)

    @act("/dvd/refuser")
    async def refuse(self, visit: Visit) -> Answer:
        """The button Refuser: asks once."""
        if visit.form.get("sur") != "oui":
            return Html("disc_refuse.html")
        return await self._answer(visit, False)

    @act("/dvd/<serial>/recu")
    async def receive(self, visit: Visit, serial: str) -> Answer:
        """The link Reçu: the disc has arrived, and its image is destroyed here; asks once."""
        disc = await self._own(visit, serial)
        if disc.state == "shipped" and visit.form.get("sur") != "oui":
            return Html("disc_receive.html", {"disc": disc})
        try:
            await self._life.receive(visit.by, serial)
        except Refused:
            return Redirect(PATH, visit._(_NOT_SENT))
        return Redirect(PATH, visit._(_RECEIVED) % {"serial": serial})

    async def _own(self, visit: Visit, serial: str) -> Disc:
        try:
            disc = await self._discs.get(serial)
        except Refused as error:
            raise NotFound from error
        if disc.customer != visit.customer:
            raise NotFound
        return disc

    async def _answer(self, visit: Visit, accepted: bool) -> Answer:
        try:
            serial = await self._life.answer(visit.by, accepted)
        except Refused:
            return Redirect(PATH, visit._(_NOT_OFFERED))
        return Redirect(PATH, visit._(_ORDERED if accepted else _REFUSED) % {"serial": serial})


_ORDERED = N_("Le DVD %(serial)s est commandé.")
_REFUSED = N_("Le DVD %(serial)s est refusé.")
_NOT_OFFERED = N_("Aucun DVD n'est proposé en ce moment.")
_RECEIVED = N_("Le DVD %(serial)s est reçu : son image est détruite chez nous.")
_NOT_SENT = N_("Ce DVD n'est pas en route.")
