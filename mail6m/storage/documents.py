"""The PDF of each invoice. It is stored once, and never changed."""

from __future__ import annotations

from mail6m.storage.pool import Pool, text

_GET = "SELECT pdf FROM invoice_document WHERE customer_id = %s AND number = %s"

# Several processes may have made it: the first one's stays.
_STORE = """
INSERT INTO invoice_document (customer_id, number, pdf) VALUES (%s, %s, %s)
ON CONFLICT DO NOTHING RETURNING number"""


class DocumentTable:
    """The table ``invoice_document``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, customer: int, number: str) -> bytes | None:
        """The document of a customer's invoice, if it has been made."""
        rows = await self._pool.query(_GET, (customer, text(number)))
        return bytes(rows[0][0]) if rows else None

    async def store(self, customer: int, number: str, pdf: bytes) -> bool:
        """Keep it for good; false if there is one already, which stays."""
        return bool(await self._pool.query(_STORE, (customer, number, pdf)))
