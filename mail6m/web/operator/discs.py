"""DVD of all customers: to write, to burn, to ship, with their labels."""

from __future__ import annotations

from mail6m.access.passwords import InThread
from mail6m.billing.invoice import Party
from mail6m.billing.labels import PER_SHEET, Label, labels
from mail6m.shelves.discs import DiscLife
from mail6m.shelves.writing import DiscWriting
from mail6m.storage.customers import Customers
from mail6m.storage.discs import Disc, Discs
from mail6m.storage.errors import Refused
from mail6m.storage.preferences import Preferences, PreferencesTable
from mail6m.web.menu import N_, OPERATORS_HOME
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Plain, Redirect, Visit

PATH = f"{OPERATORS_HOME}/dvd"
MOST = 200
"""Discs that are shown of what is to be done."""
OVER = 20
"""Discs that are shown of what is done."""


class OperatorDiscPages:
    """Discs, for operators."""

    def __init__(
        self,
        discs: Discs,
        life: DiscLife,
        writing: DiscWriting,
        customers: Customers,
        preferences: PreferencesTable,
        in_thread: InThread,
    ) -> None:
        self._discs = discs
        self._life = life
        self._writing = writing
        self._customers = customers
        self._preferences = preferences
        self._in_thread = in_thread

    @page(PATH, Access.OBSERVER)
    async def list(self, visit: Visit) -> Answer:
        """DVD: those to write, to burn and to ship, on their way, and arrived."""
        parts = {
            name: await self._discs.in_states(name, limit=limit)
            for name, limit in (
                ("ordered", MOST), ("written", MOST), ("shipped", MOST), ("destroyed", OVER),
            )
        }  # fmt: skip
        numbers = {disc.customer for discs in parts.values() for disc in discs}
        values = {
            **parts,
            "companies": await self._customers.companies(numbers),
            "wanted": self._writing.wanted,
            "failures": self._writing.failures,
            "under_way": bool(self._writing.wanted),
            "on_a_sheet": PER_SHEET,
        }
        return Html("operator/discs.html", values)

    @act(f"{PATH}/<serial>/ecrire", Access.OPERATOR)
    async def write(self, visit: Visit, serial: str) -> Answer:
        """The button Écrire: the image is made, beside the mail."""
        disc = await self._disc(serial)
        if disc.state != "ordered":
            return Redirect(PATH, visit._(_NOT_ORDERED) % {"serial": serial})
        try:
            self._writing.begin(visit.identity.email, visit.client, serial)
        except Refused:
            return Redirect(PATH, visit._(_ALREADY) % {"serial": serial})
        return Redirect(PATH, visit._(_BEGUN) % {"serial": serial})

    @act(f"{PATH}/<serial>/expedier", Access.OPERATOR)
    async def ship(self, visit: Visit, serial: str) -> Answer:
        """The button Expédier: the disc is on its way, for the first time or again."""
        await self._disc(serial)
        try:
            await self._life.ship(visit.identity.email, visit.client, serial)
        except Refused as error:
            return Redirect(PATH, visit._(_NOT_SHIPPED) % {"serial": serial, "why": error})
        return Redirect(PATH, visit._(_SHIPPED) % {"serial": serial})

    @page(f"{PATH}/etiquettes", Access.OPERATOR)
    async def print_labels(self, visit: Visit) -> Answer:
        """Étiquettes: the addresses that discs go to, as a sheet of labels."""
        serials = dict.fromkeys(visit.query.getlist("serial"))
        if not 0 < len(serials) <= MOST:
            raise NotFound
        sender = await self._discs.sender(visit.today)
        wanted = [Label(await self._addressee(serial), sender, serial) for serial in serials]
        first = visit.number("premiere", 1, PER_SHEET)
        pdf: bytes = await self._in_thread(lambda: labels(wanted, first))
        return Plain(pdf, "application/pdf")

    async def _addressee(self, serial: str) -> Party:
        disc = await self._disc(serial)
        try:
            return _party(await self._preferences.get(disc.customer))
        except Refused as error:  # it is no customer any more
            raise NotFound from error

    async def _disc(self, serial: str) -> Disc:
        try:
            return await self._discs.get(serial)
        except Refused as error:
            raise NotFound from error


def _party(of: Preferences) -> Party:
    """Where a letter to a customer goes."""
    return Party(
        of.company, of.address, of.postcode, of.city, of.country,
        contact=f"{of.first_name} {of.last_name}".strip(),
    )  # fmt: skip


_BEGUN = N_("L'image du DVD %(serial)s est en cours d'écriture.")
_ALREADY = N_("L'image du DVD %(serial)s est déjà en cours d'écriture.")
_NOT_ORDERED = N_("Le DVD %(serial)s n'est pas à écrire.")
_SHIPPED = N_("Le DVD %(serial)s est expédié.")
_NOT_SHIPPED = N_("Le DVD %(serial)s ne peut pas être expédié : %(why)s")
