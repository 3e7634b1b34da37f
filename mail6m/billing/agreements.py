"""Dedicated cabinets: a capacity and a price that the operator and a customer have agreed on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

from mail6m.billing.months import Contract, month_of, next_month, paris_day
from mail6m.model import Plan
from mail6m.storage.audit import By
from mail6m.storage.contracts import Contracts
from mail6m.storage.errors import Refused


class Agreements:
    """Writes down what has been agreed on, and has it take effect."""

    def __init__(self, contracts: Contracts, now: Callable[[], datetime]) -> None:
        self._contracts = contracts
        self._now = now

    async def of(self, customer: int) -> Contract:
        """A customer's contract. Raises `Refused` if it has never had one."""
        return await self._contracts.get(customer)

    async def agree(self, by: By, capacity: int, monthly: int, since: date | None = None) -> date:
        """A cabinet of so many bytes for so many cents a month; from which day on.

        That is the first of a month, the next one to come if nobody says, or the day on which the
        contract begins. Raises `Refused` if a month from there on is on an invoice.
        """
        wanted = await self._day(by, since)
        if not await self._contracts.agree(by, wanted, capacity, monthly):
            raise Refused(_NO_CONTRACT.format(wanted, by.customer))
        await self._contracts.apply(paris_day(self._now()))
        return wanted

    async def end(self, by: By, plan: Plan, since: date | None = None) -> date:
        """A plan at the tariff's price after a dedicated cabinet; from which day on, as `agree`."""
        wanted = await self._day(by, since)
        if not await self._contracts.return_to(by, wanted, plan):
            raise Refused(_NOT_DEDICATED.format(wanted, by.customer))
        await self._contracts.apply(paris_day(self._now()))
        return wanted

    async def call_off(self, by: By) -> bool:
        """A dedicated cabinet that is not had yet is not to be; False if there is none."""
        return await self._contracts.call_off(by, paris_day(self._now()))

    def begins(self) -> date:
        """The day from which on something holds that is agreed on now, if nobody says another."""
        today = paris_day(self._now())
        return today if today == month_of(today) else next_month(today)

    async def _day(self, by: By, since: date | None) -> date:
        contract = await self._contracts.get(by.customer)
        wanted = since or self.begins()
        if wanted not in (month_of(wanted), contract.started_on):
            raise Refused(f"{wanted} is not the first of a month")
        return wanted


_NO_CONTRACT = "on {} there is no contract of customer {}, or what follows is on an invoice"
_NOT_DEDICATED = "customer {1} has no dedicated cabinet, or what follows {0} is on an invoice"
