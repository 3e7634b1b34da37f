"""Dedicated cabinets: a capacity and a price that the operator and a customer have agreed on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

from mail6m.billing.months import Contract, month_of, next_month, paris_day
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
        contract = await self._contracts.get(by.customer)
        today = paris_day(self._now())
        wanted = since or (today if today == month_of(today) else next_month(today))
        if wanted not in (month_of(wanted), contract.started_on):
            raise Refused(f"{wanted} is not the first of a month")
        if not await self._contracts.agree(by, wanted, capacity, monthly):
            raise Refused(
                f"on {wanted} there is no contract of customer {by.customer},"
                " or what follows is on an invoice"
            )
        await self._contracts.apply(today)
        return wanted
