"""Letters about invoices: that there is one, or a credit note, and, while unpaid, two reminders.

That is all: whether somebody is suspended who does not pay is for an operator to decide. The
invoice goes with each of them, since the console may be closed to whoever reads it by then: the
last one of a contract is issued when the contract is over.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from mail6m.billing.documents import Documents
from mail6m.billing.invoice import Invoice, Kind, Standing
from mail6m.billing.months import paris_day
from mail6m.billing.reference import spaced
from mail6m.letters import Attachment, Notice, Notices
from mail6m.model import HOUSE
from mail6m.notices.addressees import Addressees, addressees
from mail6m.storage.accounts import Accounts
from mail6m.storage.closings import Closings
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from mail6m.storage.ledger import Account, Ledger
from mail6m.storage.preferences import PreferencesTable

PATH = "/factures"
"""Where an invoice is, within the console, with its number."""
ISSUED, CREDITED = "invoice", "credit_note"
REMINDERS = (("invoice_reminder", 15), ("invoice_last_reminder", 30))
"""The reminders, and how many days after the last day for paying they are sent."""
PATIENCE = timedelta(days=10)
"""What there must be between two reminders, whenever the first one was sent."""
NEW = timedelta(days=30)
"""An invoice that is older is not news any more."""


class NoAddress(Exception):
    """There is nobody to be told."""


class _Whom(NamedTuple):
    """Who reads a letter about an invoice."""

    addresses: list[str]
    language: str
    here: bool
    """They may still sign in."""


class InvoiceLetters:
    """Sends letters about invoices, each once."""

    def __init__(
        self,
        ledger: Ledger,
        invoices: Invoices,
        documents: Documents,
        closings: Closings,
        preferences: PreferencesTable,
        accounts: Accounts,
        notices: Notices,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._invoices = invoices
        self._documents = documents
        self._closings = closings
        self._preferences = preferences
        self._accounts = accounts
        self._notices = notices
        self._now = now

    async def send(self) -> int:
        """Send what is due; how many letters."""
        today = paris_day(self._now())
        sent = 0
        for account in await self._ledger.untold(
            today - timedelta(days=REMINDERS[0][1]), today - NEW
        ):
            letter = self._due(account)
            if letter is not None:
                of = partial(self._notice, account)
                sent += await self._notices.send(self._ledger, account.subject, letter, of)
        return sent

    def _due(self, account: Account) -> str | None:
        """The letter that is due now, one at a time and in their order."""
        today = paris_day(self._now())
        days = (today - account.due_on).days if account.balance > 0 else 0
        for letter, after in REMINDERS:
            if letter not in account.told:
                if days >= after:
                    return letter if self._has_waited(account) else None
                break
        fresh = today - account.issued_on <= NEW and not days > 0
        news = CREDITED if account.kind is Kind.CREDIT else ISSUED
        return news if fresh and news not in account.told else None

    def _has_waited(self, account: Account) -> bool:
        return account.told_at is None or self._now() - account.told_at >= PATIENCE

    async def _notice(self, account: Account) -> Notice:
        standing = await self._invoices.get(account.customer, account.number)
        pdf = await self._documents.get(account.customer, account.number)
        whom = await self._whom(standing.invoice)
        # In the name of one that is leaving it could not be sealed, or would put off the end.
        customer, path = (
            (account.customer, f"{PATH}/{account.number}") if whom.here else (HOUSE, "")
        )
        return Notice(
            customer,
            whom.addresses,
            whom.language,
            path,
            await self._values(standing) | {"here": whom.here},
            [Attachment(f"mail6m-{account.number}.pdf", "application/pdf", pdf)],
        )

    async def _values(self, standing: Standing) -> dict[str, object]:
        invoice = standing.invoice
        if invoice.corrects is None:
            return _of_invoice(standing)
        corrected = await self._invoices.get(invoice.customer, invoice.corrects)
        return {
            "company": " ".join(invoice.buyer.name.split()),
            "number": invoice.number,
            "corrects": invoice.corrects,
            "amount_back": -invoice.gross,
            "reason": invoice.reason,
            "balance": corrected.balance,
        }

    async def _whom(self, invoice: Invoice) -> _Whom:
        """Who reads it; of a customer that is leaving or gone, whoever is known from before."""
        closing = await self._closings.of(invoice.customer)
        known = await self._known(invoice.customer)
        here = known is not None and (closing is None or closing.closed_at is None)
        before = [closing.email if closing is not None else "", invoice.buyer.email]
        addresses = known.addresses if known is not None else []
        addresses = addresses or [address for address in before if address][:1]
        if not addresses:
            raise NoAddress(f"customer {invoice.customer} has no address to write to")
        if closing is not None and not here:
            return _Whom(addresses, closing.language, here)
        return _Whom(addresses, known.language if known is not None else "fr", here)

    async def _known(self, customer: int) -> Addressees | None:
        try:
            return await addressees(customer, self._preferences, self._accounts)
        except Refused:  # everything of it is destroyed
            return None


def _of_invoice(standing: Standing) -> dict[str, object]:
    invoice = standing.invoice
    return {
        "company": " ".join(invoice.buyer.name.split()),
        "number": invoice.number,
        "gross": invoice.gross,
        "balance": standing.balance,
        "due_on": invoice.due_on,
        "reference": spaced(invoice.reference),
        "iban": spaced("".join(invoice.seller.iban.split())),
        "payee": invoice.seller.party,
    }
