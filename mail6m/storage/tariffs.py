"""Prices and the seller, each from a day on; what has held on a day in the past is not changed."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import date

from mail6m.billing.invoice import Party, Seller
from mail6m.billing.sellers import Sellers, SellerSince
from mail6m.billing.tariff import Tariff, Tariffs
from mail6m.model import Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row, text

_PRICES = [field.name for field in fields(Tariff)]
_OF_PARTY = ("name", "street", "postcode", "city", "country", "email", "phone", "siret",
             "vat_number")  # fmt: skip
_OF_SELLER = ("legal", "iban", "bic", "payment_days", "late_rate")


def _set(table: str, names: list[str]) -> str:
    """From a day on, in place of what may have been said of that day."""
    return audited(f"""
    INSERT INTO {table} ({", ".join(names)}) VALUES ({", ".join(f"%({name})s" for name in names)})
    ON CONFLICT (since) DO UPDATE
    SET {", ".join(f"{name} = excluded.{name}" for name in names[1:])}
    RETURNING since""")


_ALL_TARIFFS = f"SELECT {', '.join(_PRICES)} FROM tariff"
_SET_TARIFF = _set("tariff", _PRICES)
_DROP_TARIFF = audited("DELETE FROM tariff WHERE since = %(since)s RETURNING since")

_COLUMNS = ["since", *_OF_PARTY, *_OF_SELLER]
_ALL_SELLERS = f"SELECT {', '.join(_COLUMNS)} FROM seller"
_SET_SELLER = _set("seller", _COLUMNS)
_DROP_SELLER = audited("DELETE FROM seller WHERE since = %(since)s RETURNING since")


class TariffTable:
    """The table ``tariff``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> Tariffs:
        """All there have been, are, and will be."""
        return Tariffs(Tariff(*row) for row in await self._pool.query(_ALL_TARIFFS))

    async def set(self, by: By, tariff: Tariff, today: date) -> None:
        """Have it hold from its day on. Raises `Refused` if that day is past."""
        _not_past(tariff.since, today)
        said = ", ".join(f"{name} {value}" for name, value in asdict(tariff).items())
        await self._pool.query(_SET_TARIFF, asdict(tariff) | note(by, Act.TARIFF_SET, said))

    async def drop(self, by: By, since: date, today: date) -> None:
        """Forget one that does not hold yet. Raises `Refused`."""
        await _drop(self._pool, _DROP_TARIFF, note(by, Act.TARIFF_SET, f"-{since}"), since, today)


class SellerTable:
    """The table ``seller``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> Sellers:
        """All there have been, are, and will be."""
        return Sellers(_seller(row) for row in await self._pool.query(_ALL_SELLERS))

    async def set(self, by: By, since: date, seller: Seller, today: date) -> None:
        """Have it send the invoices from a day on. Raises `Refused` if that day is past."""
        _not_past(since, today)
        party = asdict(seller.party)
        values = {name: party[name] for name in _OF_PARTY}
        values |= {name: getattr(seller, name) for name in _OF_SELLER}
        values = {k: text(v) if isinstance(v, str) else v for k, v in values.items()}
        act = note(by, Act.SELLER_SET, f"{seller.party.name} ({since})")
        await self._pool.query(_SET_SELLER, values | {"since": since} | act)

    async def drop(self, by: By, since: date, today: date) -> None:
        """Forget one that is none yet. Raises `Refused`."""
        await _drop(self._pool, _DROP_SELLER, note(by, Act.SELLER_SET, f"-{since}"), since, today)


def _not_past(since: date, today: date) -> None:
    if since < today:
        raise Refused(f"{since} is past, and what held then stays: say a day from {today} on")


async def _drop(pool: Pool, sql: str, act: dict[str, object], since: date, today: date) -> None:
    if since <= today:
        raise Refused(f"what holds since {since} stays")
    if not await pool.query(sql, {"since": since} | act):
        raise Refused(f"there is nothing that begins on {since}")


def _seller(row: Row) -> SellerSince:
    since, *values = row
    party = Party(**dict(zip(_OF_PARTY, values, strict=False)))
    rest = dict(zip(_OF_SELLER, values[len(_OF_PARTY) :], strict=True))
    return SellerSince(since, Seller(party, **rest))
