"""File d'attente: what has not reached the receiving machine yet."""

from __future__ import annotations

from mail6m.storage.deliveries import Deliveries, read_delivery_id
from mail6m.storage.errors import Refused
from mail6m.web.menu import N_
from mail6m.web.pager import numbered
from mail6m.web.routes import act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

ROWS = 50


class QueuePages:
    """The customer's queue."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    @page("/file", viewed=True)
    async def list(self, visit: Visit) -> Answer:
        """File d'attente: what waits, in order of arrival, and the machines that are down."""
        count = await self._deliveries.waiting_count(visit.customer)
        last = max(1, -(-count // ROWS))
        number = visit.number("page", 1, last)
        waiting = await self._deliveries.waiting(visit.customer, (number - 1) * ROWS, ROWS)
        values = {
            "count": count,
            "waiting": waiting,
            "downs": await self._deliveries.down_of(visit.customer) if waiting else [],
            "pager": numbered(number, last, _path),
            "number": number,
            "back": _path(number),
        }
        return Html("queue.html", values)

    @act("/file/reessayer")
    async def retry(self, visit: Visit) -> Answer:
        """The buttons Réessayer maintenant: of one delivery, or of all that wait."""
        page = visit.form.get("page", "")
        back = _path(int(page) if page.isascii() and page.isdecimal() and len(page) < 9 else 1)
        if visit.form.get("tout") == "oui":
            count = await self._deliveries.retry(visit.by, customer=visit.customer)
            say = visit.words.ngettext(
                "%(count)s remise est essayée maintenant.",
                "%(count)s remises sont essayées maintenant.",
                count,
            )
            return Redirect(back, say % {"count": count} if count else visit._(_NOTHING))
        try:
            delivery = read_delivery_id(visit.form.get("id", ""))
        except Refused as error:
            raise NotFound from error
        if delivery[0] != visit.customer:
            raise NotFound
        tried = await self._deliveries.retry(visit.by, customer=visit.customer, delivery=delivery)
        return Redirect(back, visit._(_TRIED if tried else _NOTHING))


_TRIED = N_("La remise est essayée maintenant.")
_NOTHING = N_("Rien à réessayer : la remise est faite, ou en cours.")


def _path(number: int) -> str:
    return f"/file?page={number}" if number > 1 else "/file"
