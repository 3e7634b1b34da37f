"""Changing the size of a cabinet: a month that has begun is due, so it waits for the next one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

from twisted.logger import Logger

from mail6m.billing.months import paris_day
from mail6m.model import Plan
from mail6m.storage.audit import By
from mail6m.storage.contracts import Contracts
from mail6m.storage.plans import Plans
from mail6m.zones import zone_of

ACCOUNT = "mail6m"
"""Who changes a plan on the day that it was ordered for."""


def begins(today: date) -> date:
    """The day from which a plan holds that is chosen today: the first of a month, this or the next.

    The brochure (section VIII): « vous devez le faire nécessairement au premier jour du mois ».
    """
    if today.day == 1:
        return today
    return (today.replace(day=1) + timedelta(days=32)).replace(day=1)


class PlanChanges:
    """Takes orders, and carries them out when they are due."""

    log = Logger()

    def __init__(self, plans: Plans, contracts: Contracts, now: Callable[[], datetime]) -> None:
        self._plans = plans
        self._contracts = contracts
        self._now = now

    def begins(self, time_zone: str) -> date:
        """From when on a plan would hold that is chosen at this moment in a time zone."""
        return begins(self._today(time_zone))

    async def choose(self, by: By, plan: Plan, time_zone: str) -> None:
        """Have a plan as soon as can be; the one that the customer has withdraws an order."""
        if await self._plans.order(by, plan, self.begins(time_zone)):
            await self.apply()
        else:
            await self._plans.keep(by, plan)

    async def apply(self) -> int:
        """Carry out the orders of all customers whose day has begun where they are; how many.

        And what has been agreed on of dedicated cabinets, whose day begins in Paris.
        """
        applied = 0
        for order in await self._plans.due((self._now() + timedelta(days=1)).date()):
            if order.on <= self._today(order.time_zone):
                by = By(order.customer, ACCOUNT, "")
                if await self._plans.apply(by, order):
                    applied += 1
                    self.log.info(
                        "customer {customer} now has plan {plan}",
                        customer=order.customer,
                        plan=order.plan.value,
                    )
        return applied + len(await self._contracts.apply(paris_day(self._now())))

    def _today(self, time_zone: str) -> date:
        return self._now().astimezone(zone_of(time_zone)).date()
