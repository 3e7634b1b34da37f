"""Émettre: archived messages go to their recipients once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mail6m.directory import Directory
from mail6m.model import Message
from mail6m.storage.audit import By
from mail6m.storage.deliveries import Deliveries


class Reissued(NamedTuple):
    """How many deliveries were queued, and the recipients that there is no way to any more."""

    deliveries: int
    without_way: list[str]


class Reissue:
    """Queues messages again."""

    def __init__(self, directory: Directory, deliveries: Deliveries) -> None:
        self._directory = directory
        self._deliveries = deliveries

    async def send(self, by: By, messages: Sequence[Message]) -> Reissued:
        """Queue messages of the customer's for those recipients whose domain is still theirs."""
        count, without_way = 0, []
        for message in messages:
            ways = []
            for address in message.recipients:
                owner = await self._directory.owner(address)
                if owner is None or owner.customer != by.customer or not owner.destination:
                    without_way.append(address)
                else:
                    ways.append((owner.address, owner.destination))
            if ways:
                count += await self._deliveries.reissue(by, message.id, ways)
        return Reissued(count, without_way)
