"""PDFs of invoices, as they were made once."""

from __future__ import annotations

from mail6m.storage.pool import Pool, text

_GET = "SELECT pdf FROM invoice_document WHERE customer_id = %s AND number = %s"


class Documents:
    """The table ``invoice_document``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, customer: int, number: str) -> bytes | None:
        """A customer's, if it has been made."""
        rows = await self._pool.query(_GET, (customer, text(number)))
        return bytes(rows[0][0]) if rows else None
