"""The cabinet: its pages, the search, and what is done with chosen messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice
from uuid import UUID

from mail6m.fold import term
from mail6m.model import Criteria, Message, Shelf
from mail6m.shelves.indexer import Indexer
from mail6m.storage.catalogue import Catalogue, Page

AHEAD = 3
"""Pages behind the one that is shown, for which a search says whether they are there."""
_MESSAGES = 1_000
"""Messages that are fetched at a time."""


@dataclass(frozen=True, slots=True)
class Results:
    """A page of what was found, and where the next pages begin.

    ``nexts`` are the last ids of this page and of those after it, as far as they were looked at.
    """

    messages: list[Message]
    nexts: list[UUID]
    fresh: bool
    """There may be messages that are too fresh to be found yet."""


class Cabinet:
    """What a customer sees of the archive. Every question names the customer."""

    def __init__(self, catalogue: Catalogue, indexer: Indexer) -> None:
        self._catalogue = catalogue
        self._indexer = indexer

    async def page(self, customer: int, number: int, rows: int) -> Page:
        """A page, counted from 1, or the last one; and how much is in the cabinet."""
        return await self._catalogue.page(customer, Shelf.CABINET, number, rows)

    async def some(self, customer: int, ids: Sequence[UUID]) -> list[Message]:
        """Those of the messages that are in the customer's cabinet, newest first."""
        return await self._catalogue.some(customer, Shelf.CABINET, ids)

    async def search(
        self, customer: int, criteria: Criteria, rows: int, before: UUID | None = None
    ) -> Results:
        """A page of the messages that meet the criteria, older than ``before``."""
        fresh = await self._indexer.refresh()
        ids = await self._catalogue.find(
            customer,
            Shelf.CABINET,
            criteria,
            before=before,
            enough=rows + 1,
            limit=(AHEAD + 1) * rows + 1,
        )
        messages = await self._catalogue.some(customer, Shelf.CABINET, ids[:rows])
        ends = range(rows, len(ids), rows)
        return Results(messages, [ids[end - 1] for end in ends], fresh)

    async def newest(
        self, customer: int, criteria: Criteria, shelves: Sequence[Shelf], limit: int
    ) -> list[Message]:
        """The newest messages on some shelves that meet the criteria, the last to arrive included.

        It waits until all of them can be found.
        """
        if criteria.has_text:
            await self._indexer.catch_up()
        found = [
            await self._catalogue.find(customer, shelf, criteria, enough=limit, limit=limit)
            for shelf in shelves
        ]
        ids = list(islice(merge(*found, reverse=True), limit))
        messages: list[Message] = []
        for first in range(0, len(ids), _MESSAGES):
            some = ids[first : first + _MESSAGES]
            for shelf in shelves:
                messages += await self._catalogue.some(customer, shelf, some)
        return sorted(messages, key=lambda message: message.id, reverse=True)


def criteria(
    sender: str = "",
    recipient: str = "",
    subject: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    spam: bool | None = None,
) -> Criteria:
    """What somebody typed, as it is searched for."""
    return Criteria(term(sender), term(recipient), term(subject), since, until, spam)
