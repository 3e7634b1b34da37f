"""Who did what: rows that are added in the statement that does it, and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mail6m.model import HOUSE, Act
from mail6m.storage.pool import Pool, Row, text

_PAGE = """
SELECT at, account, client_address, act, object, by_house FROM audit
WHERE customer_id = %s ORDER BY audit_id DESC OFFSET %s LIMIT %s"""

_COUNT = """
SELECT count(*) FROM (SELECT 1 FROM audit WHERE customer_id = %s LIMIT %s) AS newest"""


# Of everybody's acts, those are walked that what narrows most leaves, and so many at most: a filter
# that nothing comes through costs no more than that, and the walk goes on from where it ended.
# Where nothing else is asked for, all that are walked are found.
_WALK = """
WITH walked AS MATERIALIZED (
    SELECT customer_id, audit_id, at, account, client_address, act, object, by_house FROM audit
    WHERE {narrowed} AND at >= %(since)s AND at < %(until)s
      AND (at, audit_id) < (%(before_at)s, %(before_id)s)
    ORDER BY at DESC, audit_id DESC LIMIT %(walk)s
), found AS (
    SELECT * FROM walked
    WHERE (%(customer)s::integer IS NULL OR customer_id = %(customer)s)
      AND (%(account)s = '' OR lower(account) = lower(%(account)s))
      AND (%(act)s = '' OR act = %(act)s)
    ORDER BY at DESC, audit_id DESC LIMIT %(limit)s
), reached AS (
    SELECT at, audit_id, count(*) OVER () AS walked FROM walked ORDER BY at, audit_id LIMIT 1
)
SELECT r.at, r.audit_id, r.walked, f.at, f.account, f.client_address, f.act, f.object, f.by_house,
       f.audit_id, f.customer_id, c.company
FROM reached r LEFT JOIN found f ON true LEFT JOIN customer c ON c.customer_id = f.customer_id
ORDER BY f.at DESC, f.audit_id DESC"""
_WALKS = {
    name: _WALK.format(narrowed=condition)
    for name, condition in {
        "customer": "customer_id = %(customer)s",
        "account": "lower(account) = lower(%(account)s)",
        "act": "act = %(act)s",
        "": "true",
    }.items()
}


class By(NamedTuple):
    """Who does something: a customer's account, by its address, from a client's address."""

    customer: int
    account: str
    client: str
    house: bool = False
    """It is one of those who run Mail6M, at a customer's data."""

    def at(self, customer: int) -> By:
        """The same, who does something to a customer's data."""
        return By(customer, self.account, self.client, self.house or self.customer == HOUSE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One act."""

    at: datetime
    account: str
    client: str
    act: str
    object: str
    house: bool = False
    """As of `By`."""


class Place(NamedTuple):
    """Where a walk has come to: it goes on with what is older."""

    at: datetime
    number: int


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = Place(datetime(9999, 1, 1, tzinfo=UTC), 0)
"""Before everything."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose acts, and which, all of it together; an empty text or None asks for nothing."""

    customer: int | None = None
    account: str = ""
    act: str = ""
    since: datetime = EPOCH
    until: datetime = NOW.at
    """The end of the period, not of it any more."""

    @property
    def _given(self) -> list[str]:
        given = {"customer": self.customer is not None, "account": self.account, "act": self.act}
        return [name for name, is_given in given.items() if is_given]

    @property
    def narrowed(self) -> str:
        """What it is looked for by: a customer's acts are fewer than an act's customers."""
        return next(iter(self._given), "")

    @property
    def has_more(self) -> bool:
        """Whether it asks for more than that."""
        return len(self._given) > 1


@dataclass(frozen=True, slots=True)
class Noted:
    """An act, and whose audit it stands in."""

    entry: Entry
    customer: int
    company: str
    """Empty if there is no such customer any more."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some acts, newest first, and where to go on."""

    acts: list[Noted]
    reached: datetime | None
    """How far back it has been looked, if that is not the beginning."""
    next: Place | None


def audited(sql: str, *also: str, object_: str = "%(object)s") -> str:
    """A statement that returns rows, and what it did is noted if there is one at all.

    Its parameters are named, and `note` has those of the note; ``object_`` may name a column of the
    rows in place of what the note says. ``also`` are statements of the same transaction, which may
    read those rows as ``done``.
    """
    more = "".join(f", also_{number} AS ({one})" for number, one in enumerate(also))
    return f"""
WITH done AS ({sql}), noted AS (
    INSERT INTO audit (customer_id, account, client_address, act, object, by_house)
    SELECT %(by_customer)s, %(by_account)s, %(by_client)s, %(act)s, {object_}, %(by_house)s
    FROM done LIMIT 1
){more}
SELECT * FROM done"""


def note(by: By, act: Act, object_: object = "") -> dict[str, Any]:
    """The parameters that `audited` adds: who, which act, and on what."""
    return {
        "by_customer": by.customer,
        "by_account": text(by.account),
        "by_client": text(by.client),
        "by_house": by.house,
        "act": str(act),
        "object": text(str(object_)),
    }


_NOTE = audited("SELECT 1")


class Audit:
    """The table ``audit``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, by: By, act: Act, object_: object = "") -> None:
        """Note an act that changes nothing else in the database."""
        await self._pool.query(_NOTE, note(by, act, object_))

    async def page(self, customer: int, offset: int, limit: int) -> list[Entry]:
        """A customer's acts, newest first."""
        rows = await self._pool.query(_PAGE, (customer, offset, limit))
        return [Entry(at.astimezone(UTC), *rest) for at, *rest in rows]

    async def walk(self, wanted: Wanted, before: Place, limit: int, most: int) -> Stretch:
        """Acts of all customers and of the house, so many, older than a place.

        No more than ``most`` are looked at: there may be more, though none, or few, were found.
        """
        parameters = {
            "customer": wanted.customer,
            "account": text(wanted.account),
            "act": text(wanted.act),
            "since": wanted.since,
            "until": wanted.until,
            "before_at": before.at,
            "before_id": before.number,
            "walk": most if wanted.has_more else limit,
            "limit": limit,
        }
        rows = await self._pool.query(_WALKS[wanted.narrowed], parameters)
        return _stretch(rows, limit, most)

    async def count(self, customer: int, most: int) -> int:
        """How many acts there are; counting ends at ``most``, so that it takes no time."""
        return int((await self._pool.query(_COUNT, (customer, most)))[0][0])


def _stretch(rows: Sequence[Row], limit: int, most: int) -> Stretch:
    found = [row[3:] for row in rows if row[3] is not None]
    acts = [
        Noted(Entry(at.astimezone(UTC), *of), customer, company or "")
        for at, *of, _, customer, company in found
    ]
    if len(found) == limit:
        at, *_, number, _, _ = found[-1]
        return Stretch(acts, at.astimezone(UTC), Place(at, number))
    if rows and rows[0][2] == most:
        at, number, *_ = rows[0]
        return Stretch(acts, at.astimezone(UTC), Place(at, number))
    return Stretch(acts, None, None)
