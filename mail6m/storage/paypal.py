"""What customers pay by PayPal, from the button to the capture."""

from __future__ import annotations

from dataclasses import dataclass

from mail6m.model import Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.pool import Pool, text

_ADD = audited("""
    INSERT INTO paypal_order (customer_id, order_id, number, amount, asked_by)
    VALUES (%(customer)s, %(order_id)s, %(number)s, %(amount)s, %(by_account)s)
    RETURNING order_id""")

_COLUMNS = "customer_id, order_id, number, amount, asked_by"
_GET = f"SELECT {_COLUMNS} FROM paypal_order WHERE customer_id = %s AND order_id = %s"
_FIND = f"SELECT {_COLUMNS} FROM paypal_order WHERE order_id = %s"
_SETTLED = "UPDATE paypal_order SET settled_at = now() WHERE customer_id = %s AND order_id = %s"

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


class PayPalOrders:
    """The table ``paypal_order``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, by: By, order_id: str, number: str, amount: int) -> None:
        """Somebody of a customer's is about to pay an invoice."""
        parameters = {
            "customer": by.customer,
            "order_id": order_id,
            "number": text(number),
            "amount": amount,
        }
        await self._pool.query(_ADD, parameters | note(by, Act.PAYMENT_ASKED, number))

    async def get(self, customer: int, order_id: str) -> Asked | None:
        """One of a customer's."""
        rows = await self._pool.query(_GET, (customer, text(order_id)))
        return Asked(*rows[0]) if rows else None

    async def find(self, order_id: str) -> Asked | None:
        """Anybody's, for what PayPal itself says of it."""
        rows = await self._pool.query(_FIND, (text(order_id),))
        return Asked(*rows[0]) if rows else None

    async def settled(self, asked: Asked) -> None:
        """Nothing more will come of it."""
        await self._pool.query(_SETTLED, (asked.customer, asked.order_id))

    async def captured(self, customer: int, number: str) -> int:
        """How many times something of an invoice was paid by PayPal."""
        return int((await self._pool.query(_CAPTURED, (customer, text(number))))[0][0])
