"""The archivist: fetches mail from the cellar, when a customer has asked and an operator agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from mail6m.model import Shelf
from mail6m.shelves.cabinet import criteria
from mail6m.shelves.indexer import Indexer
from mail6m.storage.archivist import Request, Requests, Wish
from mail6m.storage.audit import By
from mail6m.storage.catalogue import Catalogue
from mail6m.storage.customers import Customers
from mail6m.storage.errors import Refused

KEPT = 30
"""Days that what was brought back stays in the cabinet."""
MOST = 10_000
"""Messages that one request may bring back: entering them into the index takes some seconds."""
WAITING = 20
"""Requests of a customer that may wait at once."""
SHOWN = 100
"""Requests that are shown, the newest ones."""


class Match(NamedTuple):
    """What a request asks for: how many messages; at most one more than may be brought back."""

    messages: int
    too_many: bool


class Archivist:
    """Takes requests, and decides them."""

    def __init__(
        self, requests: Requests, catalogue: Catalogue, indexer: Indexer, customers: Customers
    ) -> None:
        self._requests = requests
        self._catalogue = catalogue
        self._indexer = indexer
        self._customers = customers

    async def ask(self, by: By, wish: Wish) -> bool:
        """Make a request; False if too many wait already."""
        return await self._requests.ask(by, wish, WAITING)

    async def of(self, customer: int) -> Sequence[Request]:
        """A customer's requests, the newest first."""
        return await self._requests.all(customer, SHOWN)

    async def everywhere(self, customer: int | None, *, waiting: bool) -> Sequence[Request]:
        """Requests for an operator."""
        return await self._requests.all(customer, 1_000, waiting=waiting)

    async def match(self, request: Request) -> Match:
        """How many messages in the cellar meet what is asked for."""
        found = len(await self._find(request))
        return Match(min(found, MOST), found > MOST)

    async def grant(self, account: str, client: str, request: int) -> int:
        """Bring back what was asked for; how many messages. Raises `Refused`."""
        asked = await self._requests.get(request)
        ids = await self._find(asked)
        if not ids:
            raise Refused(f"nothing in the cellar meets request {request}")
        if len(ids) > MOST:
            raise Refused(f"more than {MOST} messages meet request {request}: it must ask for less")
        capacity = (await self._customers.get(asked.customer)).capacity
        if 2 * await self._requests.size(asked.customer, ids) > capacity:
            raise Refused(
                f"what has been brought back would take more than half of customer "
                f"{asked.customer}'s cabinet: request {request} must ask for less"
            )
        by = By(asked.customer, account, client, house=True)
        count = await self._requests.grant(by, request, ids, KEPT)
        if count is None:
            raise Refused(f"request {request} has been decided already")
        return count

    async def refuse(self, account: str, client: str, request: int, answer: str) -> None:
        """Say no, and why. Raises `Refused` if that has been decided already."""
        asked = await self._requests.get(request)
        if not await self._requests.refuse(
            By(asked.customer, account, client, house=True), request, answer
        ):
            raise Refused(f"request {request} has been decided already")

    async def _find(self, request: Request) -> list[UUID]:
        """The messages that are asked for, as far as `MOST` and one more."""
        wish = request.wish
        wanted = criteria(wish.sender, wish.recipient, wish.subject, wish.since, wish.until)
        if wanted.has_text:
            await self._indexer.catch_up()
        most = MOST + 1
        return await self._catalogue.find(
            request.customer, Shelf.CELLAR, wanted, enough=most, limit=most
        )
