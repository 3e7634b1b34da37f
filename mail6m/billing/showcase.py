"""What strangers are shown of the business, without a question to the database for each of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, Protocol

from mail6m.billing.invoice import Seller
from mail6m.billing.tariff import Tariff
from mail6m.storage.errors import Unavailable
from mail6m.zones import zone_of

FRESH = timedelta(minutes=1)
"""For so long nobody asks again."""
SELLERS_ZONE = zone_of("Europe/Paris")


class Shown(NamedTuple):
    """The prices that hold today, and who sells; None if nobody has said so."""

    tariff: Tariff
    seller: Seller | None


class Known(Protocol):
    """What is known (as `mail6m.storage.showcase.ShowcaseTable`)."""

    async def tariff(self, day: date) -> Tariff:
        """The prices that hold on a day. Raises `mail6m.billing.tariff.NoTariff`."""

    async def seller(self, day: date) -> Seller | None:
        """Who sells on a day."""


class Showcase:
    """Remembers what is shown; while the database is away, what was shown last."""

    def __init__(self, known: Known, clock: Callable[[], datetime]) -> None:
        self._known = known
        self._clock = clock
        self._shown: Shown | None = None
        self._asked_at = datetime.min.replace(tzinfo=UTC)

    async def today(self) -> Shown:
        """What holds now. Raises `Unavailable` if that has never been known."""
        now = self._clock()
        if self._shown is None or now - self._asked_at > FRESH:
            day = now.astimezone(SELLERS_ZONE).date()
            try:
                self._shown = Shown(await self._known.tariff(day), await self._known.seller(day))
            except Unavailable:
                if self._shown is None:
                    raise
            self._asked_at = now
        return self._shown
