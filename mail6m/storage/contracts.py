"""Contracts: since when, until when, what has been had, and what is due once.

They outlive their customers, whose accounts are to be kept (decision 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from mail6m.billing.invoice import Party
from mail6m.billing.months import Contract, Had, Sent
from mail6m.model import Act, Plan
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool

_GET = """
SELECT started_on, ended_on,
       (SELECT json_agg(json_build_array(since, plan, capacity, monthly) ORDER BY since)
        FROM contract_plan p WHERE p.customer_id = c.customer_id),
       (SELECT json_agg(json_build_array(object, on_day)) FROM charge d
        WHERE d.customer_id = c.customer_id AND kind = 'disc'),
       billed_from
FROM contract c WHERE customer_id = %s"""

# Less months invoiced than begun, or a disc that is on no invoice: somebody has to look.
_TO_INVOICE = """
WITH invoiced AS (
    SELECT l.customer_id, l.kind, l.object FROM invoice_line l JOIN invoice i USING (number)
    WHERE i.kind = 'invoice'
), months AS (
    SELECT customer_id, count(*) AS months FROM invoiced WHERE kind = 'month' GROUP BY customer_id
), begun AS (
    SELECT customer_id,
           age(date_trunc('month', least(ended_on, %(before)s::date - 1)::timestamp),
               date_trunc('month', greatest(started_on, billed_from)::timestamp)) AS span
    FROM contract WHERE started_on < %(before)s
)
SELECT customer_id FROM begun LEFT JOIN months USING (customer_id)
WHERE 12 * extract(year FROM span) + extract(month FROM span) + 1 > coalesce(months, 0)
UNION
SELECT customer_id FROM charge d
WHERE on_day < %(before)s AND NOT EXISTS (
    SELECT FROM invoiced v
    WHERE v.customer_id = d.customer_id AND v.kind = d.kind AND v.object = d.object)
ORDER BY customer_id"""

_BUYER = "SELECT coalesce(buyer, buyer_of(customer_id)) FROM contract WHERE customer_id = %s"

# One change of what a customer has comes after the other, invoices being among them, and sees what
# that has done: a statement before, since what is looked at is what was there when it began.
LOCKED = "SELECT 1 FROM contract WHERE customer_id = %(customer)s FOR UPDATE;"
"""Goes before a statement that changes the plan of ``customer``, or its invoices."""

_AGREE = LOCKED + audited(
    """
    INSERT INTO contract_plan (customer_id, since, plan, capacity, monthly)
    SELECT customer_id, %(since)s, %(plan)s, %(capacity)s, %(monthly)s FROM contract c
    WHERE customer_id = %(customer)s AND started_on <= %(since)s
      AND (ended_on IS NULL OR ended_on >= %(since)s)
      AND (%(plan)s = 'dedicated' OR EXISTS (
          SELECT FROM customer k WHERE k.customer_id = c.customer_id AND k.plan = 'dedicated'))
      AND NOT EXISTS (
          SELECT FROM invoice_line l JOIN invoice i USING (customer_id, number)
          WHERE l.customer_id = c.customer_id AND l.kind = 'month' AND i.kind = 'invoice'
            AND l.day >= date_trunc('month', %(since)s::timestamp))
    ON CONFLICT (customer_id, since) DO UPDATE
    SET plan = excluded.plan, capacity = excluded.capacity, monthly = excluded.monthly
    RETURNING customer_id""",
    """
    UPDATE preferences p SET next_plan = NULL, next_plan_on = NULL FROM done
    WHERE p.customer_id = done.customer_id AND next_plan_on >= %(since)s""",
    """
    DELETE FROM contract_plan p USING done
    WHERE p.customer_id = done.customer_id AND p.since > %(since)s
      AND p.plan = 'dedicated' AND %(plan)s <> 'dedicated'""",
)

_CALL_OFF = LOCKED + audited("""
    DELETE FROM contract_plan p USING customer c
    WHERE p.customer_id = %(customer)s AND c.customer_id = p.customer_id AND c.plan <> 'dedicated'
      AND p.plan = 'dedicated' AND p.since > %(today)s
    RETURNING p.customer_id""")

# What is ordered takes effect with its order; this is what operators write down: a dedicated
# cabinet, and the plan that comes after one.
_APPLY = """
UPDATE customer c SET plan = p.plan, capacity = p.capacity
FROM (SELECT DISTINCT ON (customer_id) customer_id, plan, capacity FROM contract_plan
      WHERE since <= %s ORDER BY customer_id, since DESC) AS p
WHERE p.customer_id = c.customer_id AND 'dedicated' IN (p.plan, c.plan)
  AND (c.plan, c.capacity) <> (p.plan, p.capacity)
RETURNING c.customer_id"""


class Contracts:
    """The tables ``contract``, ``contract_plan`` and ``charge``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, customer: int) -> Contract:
        """A customer's, though it may have ended. Raises `Refused` if it has never had one."""
        rows = await self._pool.query(_GET, (customer,))
        if not rows:
            raise Refused(f"there is no contract of customer {customer}")
        started_on, ended_on, plans, discs, billed_from = rows[0]
        had = tuple(Had(date.fromisoformat(since), *rest) for since, *rest in plans)
        sent = tuple(Sent(serial, date.fromisoformat(on)) for serial, on in discs or ())
        return Contract(customer, started_on, ended_on, had, sent, billed_from)

    async def to_invoice(self, before: date) -> Sequence[int]:
        """Customers of whom something before a day, the first of a month, is on no invoice."""
        rows = await self._pool.query(_TO_INVOICE, {"before": before})
        return [customer for (customer,) in rows]

    async def buyer(self, customer: int) -> Party:
        """What an invoice says of it, who may be a customer no more. Raises `Refused`."""
        rows = await self._pool.query(_BUYER, (customer,))
        if not rows or rows[0][0] is None:
            raise Refused(f"nothing is known of customer {customer} that an invoice could say")
        return Party(**rows[0][0])

    async def agree(self, by: By, since: date, capacity: int, monthly: int) -> bool:
        """A dedicated cabinet, in place of what was ordered; bytes, cents a month.

        False if the contract is not there then, or if a month from there on is on an invoice.
        """
        parameters = {"plan": "dedicated", "capacity": capacity, "monthly": monthly}
        act = note(by, Act.PRICE_AGREED, f"{capacity}, {monthly} ({since})")
        return await self._have(by, since, parameters | act)

    async def return_to(self, by: By, since: date, plan: Plan) -> bool:
        """A plan at the tariff's price after a dedicated cabinet, whatever was agreed on for later.

        False as for `agree`, or if none is had.
        """
        parameters = {"plan": plan.value, "capacity": plan.capacity, "monthly": None}
        act = note(by, Act.PLAN_ORDERED, f"{plan.value} ({since})")
        return await self._have(by, since, parameters | act)

    async def call_off(self, by: By, today: date) -> bool:
        """What was agreed on and has not begun is not to be; False if there is nothing."""
        parameters = {"customer": by.customer, "today": today}
        act = note(by, Act.PLAN_ORDER_WITHDRAWN, "dedicated")
        return bool(await self._pool.query(_CALL_OFF, parameters | act))

    async def _have(self, by: By, since: date, what: dict[str, Any]) -> bool:
        when = {"customer": by.customer, "since": since}
        return bool(await self._pool.query(_AGREE, what | when))

    async def apply(self, today: date) -> Sequence[int]:
        """Have customers get what was agreed on by a day, or comes after that; who got any."""
        return [customer for (customer,) in await self._pool.query(_APPLY, (today,))]
