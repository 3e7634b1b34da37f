"""Vue d'ensemble: how Mail6M is."""

from __future__ import annotations

from mail6m.web.menu import OPERATORS_HOME
from mail6m.web.routes import Access, page
from mail6m.web.visit import Answer, Html, Visit


class OverviewPages:
    """The first page of operators."""

    @page(OPERATORS_HOME, Access.OBSERVER)
    async def show(self, visit: Visit) -> Answer:
        """Vue d'ensemble: how Mail6M is."""
        return Html("operator/overview.html")
