"""Who did what: rows that are added in the statement that does it, and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mail6m.model import Act
from mail6m.storage.pool import Pool, text

_PAGE = """
SELECT at, account, client_address, act, object FROM audit
WHERE customer_id = %s ORDER BY audit_id DESC OFFSET %s LIMIT %s"""

_COUNT = """
SELECT count(*) FROM (SELECT 1 FROM audit WHERE customer_id = %s LIMIT %s) AS newest"""


class By(NamedTuple):
    """Who does something: a customer's account, by its address, from a client's address."""

    customer: int
    account: str
    client: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One act."""

    at: datetime
    account: str
    client: str
    act: str
    object: str


def audited(sql: str, *also: str, object_: str = "%(object)s") -> str:
    """A statement that returns rows, and what it did is noted if there is one at all.

    Its parameters are named, and `note` has those of the note; ``object_`` may name a column of the
    rows in place of what the note says. ``also`` are statements of the same transaction, which may
    read those rows as ``done``.
    """
    more = "".join(f", also_{number} AS ({one})" for number, one in enumerate(also))
    return f"""
WITH done AS ({sql}), noted AS (
    INSERT INTO audit (customer_id, account, client_address, act, object)
    SELECT %(by_customer)s, %(by_account)s, %(by_client)s, %(act)s, {object_} FROM done LIMIT 1
){more}
SELECT * FROM done"""


def note(by: By, act: Act, object_: object = "") -> dict[str, Any]:
    """The parameters that `audited` adds: who, which act, and on what."""
    return {
        "by_customer": by.customer,
        "by_account": text(by.account),
        "by_client": text(by.client),
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

    async def count(self, customer: int, most: int) -> int:
        """How many acts there are; counting ends at ``most``, so that it takes no time."""
        return int((await self._pool.query(_COUNT, (customer, most)))[0][0])
