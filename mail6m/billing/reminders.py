"""Letters about invoices: that there is one, and, while it is unpaid, two reminders.

That is all: whether somebody is suspended who does not pay is for an operator to decide.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from mail6m.billing.invoice import Standing
from mail6m.billing.months import paris_day
from mail6m.billing.reference import spaced
from mail6m.letters import Notice, Notices
from mail6m.model import HOUSE
from mail6m.storage.accounts import Accounts
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from mail6m.storage.ledger import Account, Ledger
from mail6m.storage.preferences import PreferencesTable

PATH = "/factures"
"""Where a letter leads to, within the console, with the invoice's number."""
ISSUED = "invoice"
REMINDERS = (("invoice_reminder", 15), ("invoice_last_reminder", 30))
"""The reminders, and how many days after the last day for paying they are sent."""
PATIENCE = timedelta(days=10)
"""What there must be between two reminders, whenever the first one was sent."""
NEW = timedelta(days=30)
"""An invoice that is older is not news any more."""


class NoAddress(Exception):
    """There is nobody to be told."""


class InvoiceLetters:
    """Sends letters about invoices, each once."""

    def __init__(
        self,
        ledger: Ledger,
        invoices: Invoices,
        preferences: PreferencesTable,
        accounts: Accounts,
        notices: Notices,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._invoices = invoices
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
        return ISSUED if fresh and ISSUED not in account.told else None

    def _has_waited(self, account: Account) -> bool:
        return account.told_at is None or self._now() - account.told_at >= PATIENCE

    async def _notice(self, account: Account) -> Notice:
        standing = await self._invoices.get(account.customer, account.number)
        values = _values(standing)
        path = f"{PATH}/{account.number}"
        try:
            preferences = await self._preferences.get(account.customer)
        except Refused:  # its contract has ended, and it has no account any more
            if not standing.invoice.buyer.email:
                raise NoAddress(f"nobody is left of customer {account.customer}") from None
            return Notice(HOUSE, [standing.invoice.buyer.email], "fr", path, values)
        addresses = [preferences.email] if preferences.email else []
        addresses = addresses or await self._accounts.administrators(account.customer)
        if not addresses:
            raise NoAddress(f"customer {account.customer} has no address to write to")
        return Notice(account.customer, addresses, preferences.language or "fr", path, values)


def _values(standing: Standing) -> dict[str, object]:
    invoice = standing.invoice
    return {
        "company": " ".join(invoice.buyer.name.split()),
        "number": invoice.number,
        "gross": invoice.gross,
        "balance": standing.balance,
        "due_on": invoice.due_on,
        "reference": spaced(invoice.reference),
        "iban": spaced("".join(invoice.seller.iban.split())),
    }
