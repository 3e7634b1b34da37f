"""What time does by itself: what is due is done, and what was left undone is finished."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mail6m.billing.documents import Documents
from mail6m.billing.quarters import Invoicing
from mail6m.shelves.closing import Ending
from mail6m.shelves.discs import DiscLife
from mail6m.shelves.overflow import Overflow
from mail6m.shelves.plans import PlanChanges
from mail6m.storage.signups import Signups


class Swept(NamedTuple):
    """How many there were of each."""

    plans_changed: int
    moved_to_cellar: int
    discs_offered: int
    messages_thinned: int
    """Of cellars whose disc was refused."""
    messages_erased: int
    """Which are on discs."""
    images_destroyed: int
    customers_destroyed: int
    """Whose contract had ended."""
    invoices_issued: int
    documents_made: int
    """PDFs of invoices."""
    signups_forgotten: int
    """Which nobody has confirmed in time."""
    letters_sent: int


class Correspondence(Protocol):
    """Who sends letters that are due."""

    async def send(self) -> int:
        """Send them; how many."""


class Sweep:
    """The periodic work of shelves and business; whoever comes second at it finds nothing to do."""

    def __init__(
        self,
        plans: PlanChanges,
        overflow: Overflow,
        discs: DiscLife,
        ending: Ending,
        invoicing: Invoicing,
        documents: Documents,
        correspondences: Sequence[Correspondence],
        signups: Signups,
    ) -> None:
        self._plans = plans
        self._overflow = overflow
        self._discs = discs
        self._ending = ending
        self._invoicing = invoicing
        self._documents = documents
        self._correspondences = correspondences
        self._signups = signups

    async def all(self) -> Swept:
        """Do all that is due; what fails does not keep the rest from being done.

        Raises what has failed first, when all has been tried.
        """
        failed: list[Exception] = []
        done = []
        for step in (
            self._plans.apply,
            self._overflow.sweep,
            self._discs.offer,
            self._discs.thin,
            self._discs.erase_all,
            self._discs.destroy,
            self._ending.advance,
            self._invoicing.issue_due,
            self._documents.make_missing,
            self._signups.forget_expired,
            self._send_letters,
        ):
            try:
                done.append(await step())
            except Exception as error:  # noqa: BLE001 - it is raised at the end
                failed.append(error)
                done.append(0)
        if failed:
            raise failed[0]
        return Swept(*done)

    async def _send_letters(self) -> int:
        return sum([await one.send() for one in self._correspondences])
