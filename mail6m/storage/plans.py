"""The size of a customer's cabinet, and the one that it has ordered for later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from mail6m.model import Act, Plan
from mail6m.storage.audit import By, audited, note
from mail6m.storage.contracts import LOCKED
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row

DEDICATED = "dedicated"
"""The plan of a customer whose capacity has been agreed on with the operator."""

_GET = """
SELECT c.plan, c.capacity, p.next_plan, p.next_plan_on
FROM customer c JOIN preferences p USING (customer_id) WHERE customer_id = %s"""

# What has been agreed on for that day is not to be had otherwise by an order.
_ORDER = LOCKED + audited("""
    UPDATE preferences p SET next_plan = %(plan)s, next_plan_on = %(on)s FROM customer c
    WHERE p.customer_id = %(customer)s AND c.customer_id = p.customer_id
      AND c.plan NOT IN ('dedicated', %(plan)s) AND p.next_plan IS DISTINCT FROM %(plan)s
      AND 'dedicated' IS DISTINCT FROM (
          SELECT h.plan FROM contract_plan h
          WHERE h.customer_id = p.customer_id AND h.since <= %(on)s
          ORDER BY h.since DESC LIMIT 1)
    RETURNING p.customer_id""")

_KEEP = audited("""
    UPDATE preferences p SET next_plan = NULL, next_plan_on = NULL FROM customer c
    WHERE p.customer_id = %(customer)s AND c.customer_id = p.customer_id
      AND c.plan = %(plan)s AND p.next_plan IS NOT NULL
    RETURNING p.customer_id""")

_DUE = """
SELECT p.customer_id, p.next_plan, p.next_plan_on, p.time_zone
FROM preferences p JOIN customer c USING (customer_id)
WHERE p.next_plan_on <= %s AND c.plan <> 'dedicated' ORDER BY customer_id"""

# Several processes may do it at once: the order is taken by one of them. What is due from that day
# on changes with it.
_APPLY = LOCKED + audited(
    """
    UPDATE preferences SET next_plan = NULL, next_plan_on = NULL
    WHERE customer_id = %(customer)s AND next_plan = %(plan)s AND next_plan_on = %(on)s
    RETURNING customer_id""",
    """
    UPDATE customer c SET plan = %(plan)s, capacity = %(capacity)s FROM done
    WHERE c.customer_id = done.customer_id""",
    """
    INSERT INTO contract_plan (customer_id, since, plan, capacity)
    SELECT done.customer_id, greatest(%(on)s, started_on), %(plan)s, %(capacity)s
    FROM done JOIN contract USING (customer_id)
    ON CONFLICT (customer_id, since) DO UPDATE
    SET plan = excluded.plan, capacity = excluded.capacity, monthly = NULL""",
)


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a customer has, and what it will have."""

    plan: str
    capacity: int
    """Stored bytes in the cabinet."""
    next_plan: Plan | None
    next_plan_on: date | None
    """The day from which it has it, in its own time zone."""

    @property
    def wanted(self) -> str:
        """The plan that was chosen last."""
        return self.next_plan or self.plan


@dataclass(frozen=True, slots=True)
class Order:
    """A plan that a customer will have."""

    customer: int
    plan: Plan
    on: date
    time_zone: str


class Plans:
    """The plans of the table ``customer``, and those that are ordered in ``preferences``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of(self, customer: int) -> Subscription:
        """What a customer has. Raises `Refused` if there is no such customer."""
        rows = await self._pool.query(_GET, (customer,))
        if not rows:
            raise Refused(f"there is no customer {customer}")
        return _subscription(rows[0])

    async def order(self, by: By, plan: Plan, on: date) -> bool:
        """Have another plan from a day on; False if it is had or ordered, or is not to be had.

        Nor is it where a dedicated cabinet has been agreed on.
        """
        parameters = {"customer": by.customer, "plan": plan.value, "on": on}
        act = note(by, Act.PLAN_ORDERED, f"{plan.value} ({on})")
        return bool(await self._pool.query(_ORDER, parameters | act))

    async def keep(self, by: By, plan: Plan) -> bool:
        """Withdraw an order, if ``plan`` is what the customer has; False if there is none."""
        parameters = {"customer": by.customer, "plan": plan.value}
        act = note(by, Act.PLAN_ORDER_WITHDRAWN)
        return bool(await self._pool.query(_KEEP, parameters | act))

    async def due(self, day: date) -> Sequence[Order]:
        """The orders of all customers up to a day."""
        return [
            Order(customer, Plan(plan), on, zone)
            for customer, plan, on, zone in await self._pool.query(_DUE, (day,))
        ]

    async def apply(self, by: By, order: Order) -> bool:
        """Give a customer what it has ordered; False if somebody else has, or it was withdrawn."""
        parameters = {
            "customer": order.customer,
            "plan": order.plan.value,
            "on": order.on,
            "capacity": order.plan.capacity,
        }
        act = note(by, Act.PLAN_CHANGED, order.plan.value)
        return bool(await self._pool.query(_APPLY, parameters | act))


def _subscription(row: Row) -> Subscription:
    plan, capacity, next_plan, on = row
    return Subscription(plan, capacity, None if next_plan is None else Plan(next_plan), on)
