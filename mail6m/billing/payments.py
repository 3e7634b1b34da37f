"""Payments are recorded: by hand, and out of bank statements. Nothing is ever deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from mail6m.billing.invoice import Kind, Standing
from mail6m.billing.matching import Match, Matching, Verdict
from mail6m.billing.months import paris_day
from mail6m.billing.recognition import NEAR, Recognition, near
from mail6m.billing.statement import Entry, read_statement
from mail6m.storage.audit import By
from mail6m.storage.errors import Refused, Unavailable
from mail6m.storage.invoices import Invoices
from mail6m.storage.payments import Method, NewPayment, Payment, Payments

_ATTEMPTS = 10
"""At a statement, while other processes import others of the same days."""


class InThread(Protocol):
    """Runs what blocks elsewhere (as `twisted.internet.threads.deferToThread`)."""

    def __call__(self, work: Callable[..., Any], /, *given: Any) -> Deferred[Any]:
        """What it returns, later."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What has become of a statement."""

    entries: int
    """Credits in it."""
    known: int
    """Those that had been imported before."""
    recorded: int
    """Those that are payments now."""
    waiting: int
    """Those that somebody has to look at."""


class Twice(Exception):
    """A payment has been recorded from the same form."""

    def __init__(self, same: bool) -> None:
        super().__init__("a payment has been recorded already")
        self.same = same
        """It was this very one."""


class Bookkeeping:
    """Records payments, and finds out what those of statements are for."""

    log = Logger()

    def __init__(
        self,
        payments: Payments,
        invoices: Invoices,
        in_thread: InThread,
        now: Callable[[], datetime],
    ) -> None:
        self._payments = payments
        self._invoices = invoices
        self._in_thread = in_thread
        self._now = now
        self._importing = DeferredLock()
        """Two files at once would not know of each other; other processes' are seen (`_keep`)."""

    @property
    def today(self) -> date:
        """The day that it is for the seller."""
        return paris_day(self._now())

    async def record(
        self,
        by: By,
        number: str,
        amount: int,
        method: Method,
        on: date,
        reference: str = "",
        once: str = "",
    ) -> Standing:
        """Record a payment; what is beyond the invoice's balance is an overpayment, and shown so.

        Returns the invoice as it stands then. Raises `Twice` if one has been recorded for it under
        the same word ``once``, and `Refused` if it cannot be.
        """
        standing = await self._payable(number)
        if amount <= 0:
            raise Refused("a payment is of more than nothing: take a wrong one back")
        if on > self.today:
            raise Refused(f"{on} is yet to come")
        customer = standing.invoice.customer
        source = _source(number, once)
        new = NewPayment(customer, number, on, amount, method, reference, source)
        if not await self._payments.record(by.at(customer), new):
            there = await self._payments.by_source(source or "")
            raise Twice(there is not None and _is(there, new))
        return await self._invoices.get(customer, number)

    async def like(self, number: str, amount: int, on: date, once: str = "") -> bool:
        """Whether as much of an invoice was paid on that day, and is not taken back.

        What was recorded under the word ``once`` is not another payment.
        """
        own = _source(number, once)
        said = [
            (one.amount, one.received_on, one.taken_back)
            for one in await self._of(number)
            if own is None or one.source != own
        ]
        return (amount, on, False) in said

    async def take_back(self, by: By, number: str, payment: int, reason: str) -> None:
        """Take back a payment that was a mistake. Raises `Refused` if it cannot be."""
        if not reason.strip():
            raise Refused("why it is taken back has to be said")
        for one in await self._of(number):
            if one.id == payment and one.method is Method.PAYPAL:
                raise Refused("it is taken back by a refund at PayPal, which is recorded by itself")
            if one.id == payment and one.amount > 0:
                by = by.at(one.customer)
                if await self._payments.take_back(by, one, self.today, reason):
                    return
                raise Refused("that payment has been taken back already")
        raise Refused(f"invoice {number} has no such payment")

    async def import_statement(self, by: By, octets: bytes) -> Imported:
        """Keep the credits of a statement, and record those that certainly are for an invoice.

        What is known of another file is not kept again; what perhaps is waits for somebody.
        Raises `mail6m.billing.statement.NoStatement` if it cannot be read; then nothing is kept.
        """
        entries: list[Entry] = await self._in_thread(read_statement, octets)
        await self._importing.acquire()
        try:
            return await self._import(by, entries)
        finally:
            self._importing.release()

    async def _import(self, by: By, entries: Sequence[Entry]) -> Imported:
        kept: list[Match] = []
        for _ in range(_ATTEMPTS):
            if await self._keep(by, entries, kept):
                recorded = sum(match.certain for match in kept)
                known = len(entries) - len(kept)
                return Imported(len(entries), known, recorded, len(kept) - recorded)
        raise Unavailable("others import statements of the same days")

    async def _keep(self, by: By, entries: Sequence[Entry], kept: list[Match]) -> bool:
        """Add what is new to what is kept; False if another process has kept the like meanwhile."""
        matching = Matching(await self._payments.payables())
        new, there = await self._compared(entries, matching)
        for entry, perhaps in new:
            match = matching.of(entry)
            if perhaps:
                match = Match(Verdict.PERHAPS, dict.fromkeys(match.shares, 0))
            alike = sum(there[entry.amount, day] for day in near(entry.booked_on))
            if not await self._payments.import_entry(by, entry, match, alike):
                return False
            there[entry.amount, entry.booked_on] += 1
            kept.append(match)
            if match.certain:
                matching.paid(match)
        return True

    async def _compared(
        self, entries: Sequence[Entry], matching: Matching
    ) -> tuple[list[tuple[Entry, bool]], Counter[tuple[int, date]]]:
        """Those that are new, and of each whether it perhaps is not; and how many there were.

        Those are counted by amount and day.
        """
        if not entries:
            return [], Counter()
        days = [entry.booked_on for entry in entries]
        first, last = min(days) - NEAR, max(days) + NEAR
        before = await self._payments.entries(first, last)
        by_hand = await self._payments.by_hand(first, last)

        def compare() -> list[tuple[Entry, bool]]:
            recognition = Recognition(before, by_hand, lambda entry: matching.of(entry).shares)
            return [(entry, recognition.perhaps(entry)) for entry in recognition.new(entries)]

        new: list[tuple[Entry, bool]] = await self._in_thread(compare)
        return new, Counter((one.entry.amount, one.entry.booked_on) for one in before)

    async def assign(
        self, by: By, source: str, number: str, amount: int, seen: int | None = None
    ) -> Standing:
        """Record so much of an entry for an invoice.

        Raises `Refused` if it cannot be, or more of the entry is assigned by now than was ``seen``.
        """
        standing = await self._payable(number)
        if amount <= 0:
            raise Refused("a payment is of more than nothing")
        by = by.at(standing.invoice.customer)
        if not await self._payments.assign(by, source, number, amount, seen):
            raise Refused("so much is not left of that entry")
        return await self._invoices.get(standing.invoice.customer, number)

    async def _payable(self, number: str) -> Standing:
        standing = await self._invoices.by_number(number)
        if standing.invoice.kind is Kind.CREDIT:
            raise Refused(f"{number} is a credit note, which nobody pays")
        return standing

    async def _of(self, number: str) -> list[Payment]:
        standing = await self._invoices.by_number(number)
        return await self._payments.of(standing.invoice.customer, number)


def _source(number: str, once: str) -> str | None:
    """What a payment is recorded under that has such a word."""
    return f"form:{number}:{once}" if once else None


def _is(there: Payment, new: NewPayment) -> bool:
    said = (there.amount, there.received_on, there.method, there.reference)
    return said == (new.amount, new.received_on, new.method, new.reference)
