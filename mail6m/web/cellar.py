"""La cave: what it holds in figures, and what will happen next. Never a message."""

from __future__ import annotations

from datetime import timedelta

from mail6m.shelves.cellar import Cellar
from mail6m.web.routes import page
from mail6m.web.visit import Answer, Html, Visit


class CellarPages:
    """The customer's cellar."""

    def __init__(self, cellar: Cellar) -> None:
        self._cellar = cellar

    @page("/cave")
    async def show(self, visit: Visit) -> Answer:
        """La cave: how much is there, of which period, and how far it is from the next DVD."""
        report = await self._cellar.report(visit.customer)
        full_on, disc_on = (
            None if days is None else visit.today + timedelta(days=days) for days in report.forecast
        )
        return Html("cellar.html", {"report": report, "full_on": full_on, "disc_on": disc_on})
