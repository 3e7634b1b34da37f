"""Each invoice gets its PDF, a moment after it has been issued: made once, and kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.logger import Logger

from mail6m.billing.document import pdf
from mail6m.billing.invoice import Invoice
from mail6m.storage.documents import DocumentTable
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices

InThread = Callable[[Callable[[Invoice], bytes], Invoice], Awaitable[bytes]]
"""As `twisted.internet.threads.deferToThread`."""


class Documents:
    """Makes and gives documents; of two processes at it, the first one's is kept."""

    log = Logger()

    def __init__(self, invoices: Invoices, table: DocumentTable, in_thread: InThread) -> None:
        self._invoices = invoices
        self._table = table
        self._in_thread = in_thread

    async def make_missing(self) -> int:
        """Make those that are not there yet; how many were made.

        Raises what has failed first, when all has been tried.
        """
        failed: list[Exception] = []
        made = 0
        for customer, number in await self._invoices.undocumented():
            try:
                made += await self._make(customer, number)
            except Exception as error:  # noqa: BLE001 - one must not keep the others
                failed.append(error)
                self.log.error(
                    "invoice {number} has no document: {error}", number=number, error=error
                )
        if failed:
            raise failed[0]
        return made

    async def get(self, customer: int, number: str) -> bytes:
        """The document of a customer's invoice, which is made now if it has not been yet.

        Raises `Refused` if the customer has no invoice of that number.
        """
        kept = await self._table.get(customer, number)
        if kept is None:
            await self._make(customer, number)
            kept = await self._table.get(customer, number)
        if kept is None:
            raise Refused(f"there is no document of invoice {number}")
        return kept

    async def _make(self, customer: int, number: str) -> bool:
        standing = await self._invoices.get(customer, number)
        made = await self._in_thread(pdf, standing.invoice)
        return await self._table.store(customer, number, made)
