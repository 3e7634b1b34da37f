"""The cellar: what it holds, and when the next things will happen (the brochure, section IV)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from mail6m.model import Shelf
from mail6m.shelves.disc.layout import SECTOR
from mail6m.storage.customers import Customers
from mail6m.storage.shelves import Arrivals, Held, Shelves

LOOKED_BACK = 90
"""Days whose mail says what is to come."""
_FORESEEABLE = 3_650
"""Days; what would happen later than that cannot be foreseen."""


class Forecast(NamedTuple):
    """Days from now on; None: not in the foreseeable future."""

    cabinet_full: int | None
    """Until the cabinet is full; 0 if it is."""
    next_disc: int | None
    """Until the cellar holds what fills a disc."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be said of a customer's cellar."""

    held: Held
    image_size: int
    """About how large a disc's image would be of all that is there, in bytes."""
    disc_capacity: int
    arrivals: Arrivals
    forecast: Forecast


class Cellar:
    """What a customer has in the cellar, in figures: no message is shown."""

    def __init__(
        self,
        shelves: Shelves,
        customers: Customers,
        disc_capacity: int,
        now: Callable[[], datetime],
    ) -> None:
        self._shelves = shelves
        self._customers = customers
        self._disc_capacity = disc_capacity
        self._now = now

    async def report(self, customer: int) -> Report:
        """All there is to say. Raises `Refused` if there is no such customer."""
        of = await self._customers.get(customer)
        held = await self._shelves.held(customer, Shelf.CELLAR)
        arrivals = await self._shelves.arrivals(customer, self._now(), LOOKED_BACK)
        size = image_size(held.messages, held.raw_bytes)
        ahead = forecast(of.capacity - of.cabinet_bytes, self._disc_capacity - size, arrivals)
        return Report(held, size, self._disc_capacity, arrivals, ahead)


def image_size(messages: int, raw_bytes: int) -> int:
    """About how large the image of a disc is with so many messages of so many bytes in all.

    A message fills its last sector by half, and what the disc says about it, in its directories
    and in its lists, is taken for half a sector more. A disc is planned to the byte, not by this.
    """
    return raw_bytes + messages * SECTOR


def forecast(room: int, disc_room: int, arrivals: Arrivals) -> Forecast:
    """When the cabinet will be full, and when there is a disc's worth in the cellar.

    If mail comes in as it did; ``room`` is what the cabinet can still take, in stored bytes, and
    ``disc_room`` what a disc could beside all that the cellar holds, in bytes of an image.
    """
    if not arrivals.messages:
        return Forecast(None, 0 if disc_room <= 0 else None)
    stored = arrivals.bytes / arrivals.days
    written = image_size(arrivals.messages, arrivals.raw_bytes) / arrivals.days
    full = max(room / stored, 0)
    disc = full + disc_room / written if disc_room > 0 else 0
    return Forecast(_foreseeable(full), _foreseeable(disc))


def _foreseeable(days: float) -> int | None:
    return int(days) if days <= _FORESEEABLE else None
