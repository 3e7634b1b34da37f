"""What strangers are shown of the business: the prices that hold on a day, and who sells."""

from __future__ import annotations

from datetime import date

from mail6m.billing.invoice import Party, Seller
from mail6m.billing.tariff import NoTariff, Tariff
from mail6m.storage.pool import Pool

_TARIFF = """
SELECT since, tiroir, malle, armoire, disc, vat, free_months FROM tariff
WHERE since <= %s ORDER BY since DESC LIMIT 1"""

_SELLER = """
SELECT name, street, postcode, city, country, email, phone, siret, vat_number, legal, iban, bic,
       payment_days, late_rate
FROM seller WHERE since <= %s ORDER BY since DESC LIMIT 1"""


class ShowcaseTable:
    """The tables ``tariff`` and ``seller``, as far as everybody may know."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def tariff(self, day: date) -> Tariff:
        """The prices that hold on a day. Raises `NoTariff`."""
        rows = await self._pool.query(_TARIFF, (day,))
        if not rows:
            raise NoTariff(f"no prices are known for {day}")
        return Tariff(*rows[0])

    async def seller(self, day: date) -> Seller | None:
        """Who sells on a day; None if nobody has said so."""
        rows = await self._pool.query(_SELLER, (day,))
        if not rows:
            return None
        name, street, postcode, city, country, email, phone, siret, vat_number, *rest = rows[0]
        party = Party(
            name, street, postcode, city, country, email, phone,
            siret=siret, vat_number=vat_number,
        )  # fmt: skip
        return Seller(party, *rest)
