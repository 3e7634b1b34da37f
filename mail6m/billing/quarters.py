"""Invoices at the end of a quarter: what is due, and on no invoice yet, is issued; never twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from twisted.logger import Logger

from mail6m.billing.invoice import Draft, Invoice, Kind, Seller, with_nets
from mail6m.billing.months import (
    NoPrice,
    bills,
    paris_day,
    quarter_of,
)
from mail6m.billing.sellers import NoSeller
from mail6m.billing.tariff import NoTariff, Tariffs
from mail6m.storage.audit import By
from mail6m.storage.contracts import Contracts
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from mail6m.storage.tariffs import SellerTable, TariffTable

ACCOUNT = "mail6m"
"""Who issues invoices when a quarter is over."""
PAUSE = timedelta(hours=1)
"""From one look at what is due to the next."""
_DAY = timedelta(days=1)


@dataclass(slots=True)
class Round:
    """What came of looking once at what is due."""

    issued: list[Invoice] = field(default_factory=list)
    waiting: dict[int, str] = field(default_factory=dict)
    """Customers whose invoices cannot be issued as things are, and why."""
    failed: list[Exception] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What all invoices of a round have in common."""

    before: date
    """The first day of the quarter that is not over."""
    today: date
    tariffs: Tariffs
    seller: Seller


class Invoicing:
    """Issues invoices; whoever comes second at it finds nothing to do."""

    log = Logger()

    def __init__(
        self,
        contracts: Contracts,
        tariffs: TariffTable,
        sellers: SellerTable,
        invoices: Invoices,
        now: Callable[[], datetime],
    ) -> None:
        self._contracts = contracts
        self._tariffs = tariffs
        self._sellers = sellers
        self._invoices = invoices
        self._now = now
        self._looked_at: datetime | None = None
        self._told_on: date | None = None
        self.waiting: dict[int, str] = {}
        """Customers whose invoices could not be issued at the last look, and why."""

    async def issue_due(self) -> int:
        """Issue what is due, if nobody has looked for a while; how many invoices.

        Raises what has failed first, when all has been tried; the next sweep looks again.
        """
        now, last = self._now(), self._looked_at
        if last is not None and last <= now < last + PAUSE and _quarter(last) == _quarter(now):
            return 0
        done = await self.issue()
        if done.failed:
            raise done.failed[0]
        self._looked_at = now
        return len(done.issued)

    async def issue(self, until: date | None = None) -> Round:
        """Issue what is due of all quarters that are over (by ``until``); each by itself.

        Quarters that were missed are caught up with, of customers who are none any more, too.
        Raises `Refused` for a day to come.
        """
        today = paris_day(self._now())
        if until is not None and until > today:
            raise Refused(f"{until} is still to come")
        before = quarter_of(today if until is None else min(until + _DAY, today))
        done = Round()
        customers = await self._contracts.to_invoice(before)
        if customers:
            tariffs, sellers = await self._tariffs.all(), await self._sellers.all()
            try:
                terms = _Terms(before, today, tariffs, sellers.at(today))
            except NoSeller as error:
                done.waiting = await self._without_seller(customers, tariffs, before, str(error))
            else:
                for customer in customers:
                    await self._try(customer, terms, done)
        self.waiting = done.waiting
        self._tell(done.waiting, today)
        return done

    async def _without_seller(
        self, customers: Iterable[int], tariffs: Tariffs, before: date, why: str
    ) -> dict[int, str]:
        waiting = {}
        for customer in customers:
            try:
                due = await self._open(customer, tariffs, before)
            except (NoTariff, NoPrice, Refused):
                due = True
            if due:
                waiting[customer] = why
        return waiting

    async def _open(self, customer: int, tariffs: Tariffs, before: date) -> bool:
        contract = await self._contracts.get(customer)
        invoiced = await self._invoices.invoiced(customer)
        return any(lines for _, lines in bills(contract, tariffs, invoiced, before))

    async def _try(self, customer: int, terms: _Terms, done: Round) -> None:
        try:
            await self._issue_for(customer, terms, done)
        except (NoTariff, NoPrice, Refused) as error:
            done.waiting[customer] = str(error)
        except Exception as error:  # noqa: BLE001 - one must not keep the others
            done.failed.append(error)
            self.log.error(
                "customer {customer}: no invoice could be issued: {error}",
                customer=customer,
                error=error,
            )

    async def _issue_for(self, customer: int, terms: _Terms, done: Round) -> None:
        contract = await self._contracts.get(customer)
        invoiced = await self._invoices.invoiced(customer)
        for quarter, lines in bills(contract, terms.tariffs, invoiced, terms.before):
            draft = Draft(
                customer,
                Kind.INVOICE,
                terms.today,
                terms.today + timedelta(days=terms.seller.payment_days),
                terms.seller,
                await self._contracts.buyer(customer),
                with_nets(lines),
                quarter,
            )
            issued = await self._invoices.issue(By(customer, ACCOUNT, ""), draft)
            if issued is None:  # another process is at it, and goes on with it
                return
            done.issued.append(issued)
            self.log.info(
                "customer {customer}: invoice {number}", customer=customer, number=issued.number
            )

    def _tell(self, waiting: dict[int, str], today: date) -> None:
        """Operators hear of it once a day, and see it in the metrics."""
        if waiting and self._told_on != today:
            self._told_on = today
            for why in sorted(set(waiting.values())):
                count = sum(reason == why for reason in waiting.values())
                self.log.error(
                    "the invoices of {count} customers wait: {why}", count=count, why=why
                )


def _quarter(moment: datetime) -> date:
    return quarter_of(paris_day(moment))
