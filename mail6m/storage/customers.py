"""Customers, their keys and their first accounts."""

from __future__ import annotations

import psycopg2.errors

from mail6m.model import HOUSE, Customer
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row, text

_NUMBER = "SELECT nextval('customer_number')::integer"

_ADD = """
WITH new AS (
    INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)
    VALUES (%(customer)s, %(company)s, %(plan)s, %(capacity)s, %(wrapped_key)s)
    RETURNING customer_id
), preferences AS (
    INSERT INTO preferences (customer_id, email) VALUES (%(customer)s, %(email)s)
), contract AS (
    INSERT INTO contract (customer_id, started_on)
    VALUES (%(customer)s, (now() AT TIME ZONE 'Europe/Paris')::date)
), contract_plan AS (
    INSERT INTO contract_plan (customer_id, since, plan, capacity, monthly)
    VALUES (%(customer)s, (now() AT TIME ZONE 'Europe/Paris')::date, %(plan)s, %(capacity)s,
            %(monthly)s)
)
INSERT INTO account (customer_id, email, password_hash)
SELECT customer_id, %(email)s, %(password_hash)s FROM new
RETURNING customer_id"""

_ADD_HOUSE = """
WITH house AS (
    INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)
    VALUES (%s, 'Mail6M', 'dedicated', 9223372036854775807, %s) ON CONFLICT DO NOTHING
    RETURNING customer_id
)
INSERT INTO preferences (customer_id) SELECT customer_id FROM house
RETURNING customer_id"""

_LIST = """
SELECT c.customer_id, c.company, c.plan, c.capacity,
       coalesce(sum(n.messages) FILTER (WHERE n.shelf = 0), 0)::bigint,
       coalesce(sum(n.bytes) FILTER (WHERE n.shelf = 0), 0)::bigint,
       coalesce(sum(n.messages) FILTER (WHERE n.shelf = 1), 0)::bigint,
       coalesce(sum(n.bytes) FILTER (WHERE n.shelf = 1), 0)::bigint
FROM customer c LEFT JOIN shelf_count n USING (customer_id)
WHERE (%(customer)s::integer IS NULL AND c.customer_id <> 0) OR c.customer_id = %(customer)s
GROUP BY c.customer_id ORDER BY c.customer_id"""

_KEY = "SELECT wrapped_key FROM customer WHERE customer_id = %s"


class Customers:
    """The table ``customer``, and what stands by it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def next_number(self) -> int:
        """A customer number that nobody has had."""
        return int((await self._pool.query(_NUMBER))[0][0])

    async def add(
        self,
        *,
        customer: int,
        company: str,
        email: str,
        plan: str,
        capacity: int,
        wrapped_key: bytes,
        password_hash: str | None,
        monthly: int | None = None,
    ) -> None:
        """Add a customer with its first account, and its contract, which begins today.

        ``monthly``: the price of a dedicated cabinet, in cents. Raises `Refused` if the address is
        taken.
        """
        try:
            await self._pool.query(
                _ADD,
                {
                    "customer": customer,
                    "company": text(company),
                    "email": text(email),
                    "plan": plan,
                    "capacity": capacity,
                    "wrapped_key": wrapped_key,
                    "password_hash": password_hash,
                    "monthly": monthly,
                },
            )
        except psycopg2.errors.UniqueViolation as error:
            raise Refused(f"{email} already signs in to another account") from error

    async def add_house(self, wrapped_key: bytes) -> bool:
        """Make sure that Mail6M itself is a customer; says whether it was not."""
        return bool(await self._pool.query(_ADD_HOUSE, (HOUSE, wrapped_key)))

    async def all(self) -> list[Customer]:
        """Every customer, by number."""
        return [_customer(row) for row in await self._pool.query(_LIST, {"customer": None})]

    async def get(self, customer: int) -> Customer:
        """One customer. Raises `Refused` if there is none of that number."""
        rows = await self._pool.query(_LIST, {"customer": customer})
        if not rows:
            raise Refused(f"there is no customer {customer}")
        return _customer(rows[0])

    async def wrapped_key(self, customer: int) -> bytes:
        """The customer's key, wrapped. Raises `Refused` if there is no such customer."""
        rows = await self._pool.query(_KEY, (customer,))
        if not rows:
            raise Refused(f"there is no customer {customer}")
        return bytes(rows[0][0])


def _customer(row: Row) -> Customer:
    return Customer(*row)
