"""The PDF of an invoice, as it was made once."""

from __future__ import annotations

from mail6m.storage.pool import Pool, text

_PDF = "SELECT pdf FROM invoice_document WHERE customer_id = %s AND number = %s"


class Papers:
    """The table ``invoice_document``, to read."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def pdf(self, customer: int, number: str) -> bytes | None:
        """Of a customer's invoice; None if there is none, or it has not been made yet."""
        rows = await self._pool.query(_PDF, (customer, text(number)))
        return bytes(rows[0][0]) if rows else None
