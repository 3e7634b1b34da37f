"""What a customer has, and what of it is used."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from mail6m.model import Scope
from mail6m.storage.customers import Customers
from mail6m.web.api.caller import Caller
from mail6m.web.api.operation import Nothing, operation


class Shelf(Struct, frozen=True, kw_only=True):
    """What stands on a shelf."""

    messages: int
    bytes: Annotated[int, Meta(description="Octets stored.")]


class Usage(Struct, frozen=True, kw_only=True):
    """The plan, and what is used of it."""

    company: str
    plan: Annotated[str, Meta(description="`tiroir`, `malle`, `armoire` or `dedicated`.")]
    capacity: Annotated[int, Meta(description="Octets that the cabinet has room for.")]
    cabinet: Shelf
    cellar: Shelf


_EXAMPLE = Usage(
    company="Duchemin",
    plan="tiroir",
    capacity=2_000_000_000,
    cabinet=Shelf(messages=48_211, bytes=1_204_518_332),
    cellar=Shelf(messages=0, bytes=0),
)


class UsageOperations:
    """How full it is."""

    def __init__(self, customers: Customers) -> None:
        self._customers = customers

    @operation("GET", "/usage", Scope.USAGE_READ, example=_EXAMPLE)
    async def get_usage(self, caller: Caller, asked: Nothing) -> Usage:
        """The plan, and what cabinet and cellar hold."""
        customer = await self._customers.get(caller.customer)
        return Usage(
            company=customer.company,
            plan=customer.plan,
            capacity=customer.capacity,
            cabinet=Shelf(messages=customer.cabinet_messages, bytes=customer.cabinet_bytes),
            cellar=Shelf(messages=customer.cellar_messages, bytes=customer.cellar_bytes),
        )
