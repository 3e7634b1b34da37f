"""What customers pay by PayPal, from the button to the capture."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mail6m.model import Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.pool import Pool, Row, text

# Of two windows in which the button is pressed, the second one has what the first has added.
_ADD = audited("""
    INSERT INTO paypal_order (customer_id, order_id, number, amount, asked_by)
    VALUES (%(customer)s, %(order_id)s, %(number)s, %(amount)s, %(by_account)s)
    ON CONFLICT (customer_id, number) WHERE settled_at IS NULL AND closed_at IS NULL DO NOTHING
    RETURNING order_id""")

_COLUMNS = "customer_id, order_id, number, amount, asked_by, created_at"
_GET = f"SELECT {_COLUMNS} FROM paypal_order WHERE customer_id = %s AND order_id = %s"
_FIND = f"SELECT {_COLUMNS} FROM paypal_order WHERE order_id = %s"
_OPEN = f"""
SELECT {_COLUMNS} FROM paypal_order
WHERE customer_id = %s AND number = %s AND settled_at IS NULL AND closed_at IS NULL"""

# One row is changed by one statement, so that no order is both closed and captured.
_CHANGED = "WHERE customer_id = %(customer)s AND order_id = %(order_id)s AND settled_at IS NULL"
_CLAIM = f"""
UPDATE paypal_order SET capturing_at = greatest(capturing_at, now())
{_CHANGED} AND closed_at IS NULL RETURNING order_id"""
_PENDING = f"UPDATE paypal_order SET capturing_at = 'infinity' {_CHANGED}"  # it is never old
_RELEASE = f"UPDATE paypal_order SET capturing_at = NULL {_CHANGED}"
_RELEASE_OLD = f"{_RELEASE} AND capturing_at < now() - interval '5 minutes'"
_CLOSE = f"""
UPDATE paypal_order SET closed_at = coalesce(closed_at, now())
{_CHANGED} AND capturing_at IS NULL RETURNING order_id"""
_SETTLED = f"UPDATE paypal_order SET settled_at = now() {_CHANGED}"
_OVER = f"""
{_SETTLED} AND (capturing_at IS DISTINCT FROM 'infinity' OR created_at < %(pending_before)s)"""

_UNDER_WAY = """
SELECT EXISTS (SELECT FROM paypal_order WHERE customer_id = %s AND number = %s
               AND settled_at IS NULL AND capturing_at IS NOT NULL)"""
_ANY_UNSETTLED = "SELECT EXISTS (SELECT FROM paypal_order WHERE settled_at IS NULL)"

_NEXT = f"""
UPDATE paypal_order SET looked_at = %(now)s WHERE (customer_id, order_id) IN (
    SELECT customer_id, order_id FROM paypal_order
    WHERE settled_at IS NULL AND created_at < %(before)s
      AND (looked_at IS NULL OR looked_at < %(looked_before)s)
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING {_COLUMNS}"""

_CAPTURED = """
SELECT count(*) FROM payment
WHERE customer_id = %s AND number = %s AND method = 'paypal' AND amount > 0"""


@dataclass(frozen=True, slots=True)
class Asked:
    """An order that a customer was sent to PayPal with."""

    customer: int
    order_id: str
    number: str
    """The invoice's."""
    amount: int
    """Cents."""
    asked_by: str
    asked_at: datetime


class PayPalOrders:
    """The table ``paypal_order``.

    An order is open, until it is closed, which is: never captured, or settled: nothing more will
    come of it. Of an invoice one is open at a time.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, by: By, order_id: str, number: str, amount: int) -> bool:
        """Somebody of a customer's is about to pay an invoice; False if another order is open."""
        parameters = {
            "customer": by.customer,
            "order_id": order_id,
            "number": text(number),
            "amount": amount,
        }
        return bool(await self._pool.query(_ADD, parameters | note(by, Act.PAYMENT_ASKED, number)))

    async def get(self, customer: int, order_id: str) -> Asked | None:
        """One of a customer's."""
        return _asked(await self._pool.query(_GET, (customer, text(order_id))))

    async def find(self, order_id: str) -> Asked | None:
        """Anybody's, for what PayPal itself says of it."""
        return _asked(await self._pool.query(_FIND, (text(order_id),)))

    async def open(self, customer: int, number: str) -> Asked | None:
        """The one of an invoice that is open."""
        return _asked(await self._pool.query(_OPEN, (customer, text(number))))

    async def claim(self, asked: Asked) -> bool:
        """Its money is about to be taken; False if it is not open any more."""
        return bool(await self._pool.query(_CLAIM, _key(asked)))

    async def pending(self, asked: Asked) -> None:
        """PayPal has its money, and looks into it."""
        await self._pool.query(_PENDING, _key(asked))

    async def release(self, asked: Asked) -> None:
        """Its money has not been taken after all."""
        await self._pool.query(_RELEASE, _key(asked))

    async def release_old(self, asked: Asked) -> None:
        """The same; but not if somebody has claimed it a moment ago, or PayPal looks into it."""
        await self._pool.query(_RELEASE_OLD, _key(asked))

    async def close(self, asked: Asked) -> bool:
        """It is never captured; False if that is under way."""
        return bool(await self._pool.query(_CLOSE, _key(asked)))

    async def settled(self, asked: Asked) -> None:
        """Nothing more will come of it."""
        await self._pool.query(_SETTLED, _key(asked))

    async def over(self, asked: Asked, pending_before: datetime) -> None:
        """The same; unless PayPal looks into its money, and it was asked for since then."""
        await self._pool.query(_OVER, _key(asked) | {"pending_before": pending_before})

    async def under_way(self, customer: int, number: str) -> bool:
        """Whether money for an invoice is being taken, or looked into."""
        return bool((await self._pool.query(_UNDER_WAY, (customer, text(number))))[0][0])

    async def any_unsettled(self) -> bool:
        """Whether something may come of anybody's."""
        return bool((await self._pool.query(_ANY_UNSETTLED))[0][0])

    async def next(self, now: datetime, before: datetime, looked_before: datetime) -> Asked | None:
        """One that is unsettled since before, and that nobody has looked at lately; it is yours."""
        times = {"now": now, "before": before, "looked_before": looked_before}
        return _asked(await self._pool.query(_NEXT, times))

    async def captured(self, customer: int, number: str) -> int:
        """How many times something of an invoice was paid by PayPal."""
        return int((await self._pool.query(_CAPTURED, (customer, text(number))))[0][0])


def _asked(rows: list[Row]) -> Asked | None:
    if not rows:
        return None
    customer, order_id, number, amount, by, at = rows[0]
    return Asked(customer, order_id, number, amount, by, at.astimezone(UTC))


def _key(asked: Asked) -> dict[str, object]:
    return {"customer": asked.customer, "order_id": asked.order_id}
