"""Prices, from a day on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from mail6m.model import Plan


@dataclass(frozen=True, slots=True)
class Tariff:
    """What things cost from a day on, in cents, taxes included."""

    since: date
    tiroir: int
    """A month."""
    malle: int
    armoire: int
    disc: int
    """A piece."""
    vat: int
    """The rate, in hundredths of a percent."""
    free_months: int
    """Months that are free for a contract that begins while it holds."""

    def monthly(self, plan: Plan) -> int:
        """Of a cabinet."""
        return {Plan.TIROIR: self.tiroir, Plan.MALLE: self.malle, Plan.ARMOIRE: self.armoire}[plan]


class NoTariff(LookupError):
    """There are no prices for that day."""


class Tariffs:
    """All there have been, are, and will be."""

    def __init__(self, tariffs: Iterable[Tariff]) -> None:
        self.newest_first = sorted(tariffs, key=lambda one: one.since, reverse=True)

    def at(self, day: date) -> Tariff:
        """The one that holds on a day. Raises `NoTariff`."""
        for tariff in self.newest_first:
            if tariff.since <= day:
                return tariff
        raise NoTariff(f"no prices are known for {day}")
