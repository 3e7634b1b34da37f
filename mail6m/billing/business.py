"""The business, put together: its tables and what is done with them, each made once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred

from mail6m.billing.agreements import Agreements
from mail6m.billing.credits import CreditNotes
from mail6m.billing.documents import Documents
from mail6m.billing.payments import Bookkeeping
from mail6m.billing.quarters import Invoicing
from mail6m.billing.showcase import Showcase
from mail6m.storage.contracts import Contracts
from mail6m.storage.documents import DocumentTable
from mail6m.storage.invoices import Invoices
from mail6m.storage.ledger import Ledger
from mail6m.storage.payments import Payments
from mail6m.storage.pool import Pool
from mail6m.storage.tariffs import SellerTable, TariffTable


class Business:
    """Prices, contracts, invoices, payments: what server, console and commands have of them."""

    def __init__(
        self, pool: Pool, in_thread: Callable[..., Deferred[Any]], now: Callable[[], datetime]
    ) -> None:
        # Tables
        self.tariffs, self.sellers = TariffTable(pool), SellerTable(pool)
        self.contracts = Contracts(pool)
        self.invoices, self.pdfs = Invoices(pool), DocumentTable(pool)
        self.payments, self.ledger = Payments(pool), Ledger(pool)
        # What is sold
        self.showcase = Showcase(self.tariffs, self.sellers, now)
        self.agreements = Agreements(self.contracts, now)
        # What is invoiced
        self.invoicing = Invoicing(self.contracts, self.tariffs, self.sellers, self.invoices, now)
        self.documents = Documents(self.invoices, self.pdfs, in_thread)
        self.credit_notes = CreditNotes(self.invoices, self.sellers, now)
        # What comes in
        self.bookkeeping = Bookkeeping(self.payments, self.invoices, in_thread, now)
