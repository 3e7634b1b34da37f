"""Customers as operators see them: who they are, what they have, whether they may act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from mail6m.model import Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row, text, utc

STATES = ("active", "suspended", "ending")
"""What a list may be narrowed to."""


def _folded(sql: str) -> str:
    """A text without case and accents; of a thousand customers nobody needs an index for that."""
    return f"regexp_replace(normalize(lower({sql}), NFKD), '[\\u0300-\\u036f]', '', 'g')"


_FROM = f"""
FROM (SELECT '%%' || {_folded("%(part)s")} || '%%' AS part,
             '%%' || lower(%(part)s) || '%%' AS address) AS wanted, customer c
JOIN preferences p USING (customer_id)
LEFT JOIN contract k USING (customer_id)
LEFT JOIN closing e USING (customer_id)
WHERE c.customer_id <> 0 AND (%(customer)s::integer IS NULL OR c.customer_id = %(customer)s)
  AND CASE %(state)s
      WHEN 'active' THEN k.suspended_at IS NULL AND e.due_at IS NULL AND k.ended_on IS NULL
      WHEN 'suspended' THEN k.suspended_at IS NOT NULL
      WHEN 'ending' THEN e.due_at IS NOT NULL OR k.ended_on IS NOT NULL
      ELSE true END
  AND (wanted.part = '%%%%' OR {_folded("c.company")} LIKE wanted.part
       OR lower(p.email) LIKE wanted.address
       OR EXISTS (SELECT FROM account a WHERE a.customer_id = c.customer_id
                  AND lower(a.email) LIKE wanted.address)
       OR EXISTS (SELECT FROM domain d WHERE d.customer_id = c.customer_id
                  AND (d.name LIKE wanted.address OR d.name = %(a_label)s)))"""

_COUNT = f"SELECT count(*) {_FROM}"

# What they hold is summed up for those that are shown, and for no others.
_PAGE = f"""
WITH chosen AS MATERIALIZED (
    SELECT c.customer_id, c.company, p.email, c.plan, c.capacity, c.created_at, k.suspended_at,
           e.due_at, k.ended_on
    {_FROM} ORDER BY c.customer_id DESC OFFSET %(offset)s LIMIT %(limit)s
)
SELECT chosen.*,
       ARRAY (SELECT name FROM domain d WHERE d.customer_id = chosen.customer_id ORDER BY name),
       held.*
FROM chosen, LATERAL (
    SELECT coalesce(sum(messages) FILTER (WHERE shelf = 0), 0)::bigint,
           coalesce(sum(bytes) FILTER (WHERE shelf = 0), 0)::bigint,
           coalesce(sum(messages) FILTER (WHERE shelf = 1), 0)::bigint,
           coalesce(sum(bytes) FILTER (WHERE shelf = 1), 0)::bigint
    FROM shelf_count s WHERE s.customer_id = chosen.customer_id
) AS held
ORDER BY chosen.customer_id DESC"""

_TERMS = """
SELECT since, plan, capacity, monthly FROM contract_plan
WHERE customer_id = %s ORDER BY since DESC"""

_INVOICES = """
SELECT number, kind, issued_on FROM invoice WHERE customer_id = %s ORDER BY number DESC LIMIT %s"""

_SUSPEND = audited("""
    UPDATE contract SET suspended_at = now()
    WHERE customer_id = %(customer)s AND suspended_at IS NULL RETURNING customer_id""")

_RESUME = audited("""
    UPDATE contract SET suspended_at = NULL
    WHERE customer_id = %(customer)s AND suspended_at IS NOT NULL RETURNING customer_id""")


@dataclass(frozen=True, slots=True)
class Client:
    """A customer, at a glance. What it holds are messages, and stored bytes."""

    customer: int
    company: str
    email: str
    """Where letters to the company go to."""
    plan: str
    capacity: int
    since: datetime
    suspended_at: datetime | None
    closes_at: datetime | None
    ended_on: date | None
    """The last day of its contract."""
    domains: tuple[str, ...]
    cabinet_messages: int
    cabinet_bytes: int
    cellar_messages: int
    cellar_bytes: int


@dataclass(frozen=True, slots=True)
class Term:
    """What a customer has had, or will have, from a day on."""

    since: date
    plan: str
    capacity: int
    monthly: int | None
    """Cents that have been agreed on; None: what the tariff says."""


@dataclass(frozen=True, slots=True)
class Issued:
    """An invoice, or a credit note, by its number."""

    number: str
    kind: str
    issued_on: date


class Clientele:
    """The tables ``customer`` and ``contract``, and what stands by them, of all customers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def count(self, part: str = "", a_label: str = "", state: str = "") -> int:
        """How many customers there are of whom something has this part, in one of `STATES`.

        It is looked for in the company's name, in addresses and in domains, of which ``a_label`` is
        one in its canonical form.
        """
        parameters = _wanted(None, part, a_label, state)
        return int((await self._pool.query(_COUNT, parameters))[0][0])

    async def page(
        self, offset: int, limit: int, part: str = "", a_label: str = "", state: str = ""
    ) -> list[Client]:
        """So many of them, the newest first."""
        parameters = _wanted(None, part, a_label, state) | {"offset": offset, "limit": limit}
        return [_client(row) for row in await self._pool.query(_PAGE, parameters)]

    async def get(self, customer: int) -> Client:
        """One of them. Raises `Refused` if there is none of that number; the house is none."""
        parameters = _wanted(customer, "", "", "") | {"offset": 0, "limit": 1}
        rows = await self._pool.query(_PAGE, parameters)
        if not rows:
            raise Refused(f"there is no customer {customer}")
        return _client(rows[0])

    async def terms(self, customer: int) -> Sequence[Term]:
        """What its contract has been, and will be, the last first."""
        return [Term(*row) for row in await self._pool.query(_TERMS, (customer,))]

    async def invoices(self, customer: int, most: int) -> Sequence[Issued]:
        """Its invoices and credit notes, the last first."""
        return [Issued(*row) for row in await self._pool.query(_INVOICES, (customer, most))]

    async def suspend(self, by: By) -> bool:
        """Let ``by.customer`` look and not act, from now on; False if that is so already."""
        parameters = {"customer": by.customer} | note(by, Act.CONTRACT_SUSPENDED)
        return bool(await self._pool.query(_SUSPEND, parameters))

    async def resume(self, by: By) -> bool:
        """Let it act again; False if it may."""
        parameters = {"customer": by.customer} | note(by, Act.CONTRACT_RESUMED)
        return bool(await self._pool.query(_RESUME, parameters))


def _wanted(customer: int | None, part: str, a_label: str, state: str) -> dict[str, Any]:
    for special in ("\\", "%", "_"):
        part = part.replace(special, "\\" + special)
    return {"customer": customer, "part": text(part), "a_label": text(a_label), "state": state}


def _client(row: Row) -> Client:
    customer, company, email, plan, capacity, since, suspended, closes, ended, domains, *held = row
    return Client(
        customer, company, email, plan, capacity, since.astimezone(UTC), utc(suspended),
        utc(closes), ended, tuple(domains), *held,
    )  # fmt: skip
