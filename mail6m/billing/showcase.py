"""What strangers are shown of the business, without a question to the database for each of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from mail6m.billing.invoice import Seller
from mail6m.billing.months import paris_day
from mail6m.billing.sellers import NoSeller
from mail6m.billing.tariff import Tariff
from mail6m.storage.errors import Unavailable
from mail6m.storage.tariffs import SellerTable, TariffTable

FRESH = timedelta(minutes=1)
"""For so long nobody asks again."""


class Shown(NamedTuple):
    """The prices that hold today, and who sells; None if nobody has said so."""

    tariff: Tariff
    seller: Seller | None


class Showcase:
    """Remembers what is shown; while the database is away, what was shown last."""

    def __init__(
        self, tariffs: TariffTable, sellers: SellerTable, clock: Callable[[], datetime]
    ) -> None:
        self._tariffs = tariffs
        self._sellers = sellers
        self._clock = clock
        self._shown: Shown | None = None
        self._asked_at = datetime.min.replace(tzinfo=UTC)

    async def today(self) -> Shown:
        """What holds now. Raises `NoTariff`; and `Unavailable` if that has never been known."""
        now = self._clock()
        if self._shown is None or now - self._asked_at > FRESH:
            try:
                self._shown = await self._at(paris_day(now))
            except Unavailable:
                if self._shown is None:
                    raise
            self._asked_at = now
        return self._shown

    async def _at(self, day: date) -> Shown:
        tariff, sellers = (await self._tariffs.all()).at(day), await self._sellers.all()
        try:
            return Shown(tariff, sellers.at(day))
        except NoSeller:
            return Shown(tariff, None)
