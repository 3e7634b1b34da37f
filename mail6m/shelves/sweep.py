"""What time does by itself: what is due is done, and what was left undone is finished."""

from __future__ import annotations

from typing import NamedTuple

from mail6m.shelves.correspondence import Correspondence
from mail6m.shelves.discs import DiscLife
from mail6m.shelves.overflow import Overflow
from mail6m.shelves.plans import PlanChanges


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
    letters_sent: int


class Sweep:
    """The periodic work of the shelves; whoever comes second at it finds nothing to do."""

    def __init__(
        self,
        plans: PlanChanges,
        overflow: Overflow,
        discs: DiscLife,
        correspondence: Correspondence,
    ) -> None:
        self._plans = plans
        self._overflow = overflow
        self._discs = discs
        self._correspondence = correspondence

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
            self._correspondence.send,
        ):
            try:
                done.append(await step())
            except Exception as error:  # noqa: BLE001 - it is raised at the end
                failed.append(error)
                done.append(0)
        if failed:
            raise failed[0]
        return Swept(*done)
