"""Émettre: archived messages go to their recipients once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mail6m.directory import Directory
from mail6m.model import Message
from mail6m.storage.audit import By
from mail6m.storage.deliveries import Deliveries, Once
from mail6m.storage.errors import Refused


class Reissued(NamedTuple):
    """How many deliveries were queued, and the recipients that there is no way to any more."""

    deliveries: int
    without_way: list[str]


class OtherMessage(Exception):
    """The key of a request has been used for another message."""


class Reissue:
    """Queues messages again."""

    def __init__(self, directory: Directory, deliveries: Deliveries) -> None:
        self._directory = directory
        self._deliveries = deliveries

    async def send(self, by: By, messages: Sequence[Message]) -> Reissued:
        """Queue messages of the customer's for those recipients whose domain is still theirs."""
        count, without_way = 0, []
        for message in messages:
            ways, without = await self._ways(by, message)
            without_way += without
            if ways:
                count += await self._deliveries.reissue(by, message.id, ways)
        return Reissued(count, without_way)

    async def send_once(self, by: By, message: Message, once: Once) -> Reissued:
        """Queue one message, unless that has been done under the same key: then, what was done.

        Raises `OtherMessage` if it was done to another one, and `Refused` if the message is gone.
        """
        if (already := await self._deliveries.reissued(by.customer, once)) is None:
            ways, without_way = await self._ways(by, message)
            if not ways:
                return Reissued(0, without_way)
            if await self._deliveries.reissue_once(by, once, message.id, ways, without_way):
                return Reissued(len(ways), without_way)
            already = await self._deliveries.reissued(by.customer, once)  # at the same time
        if already is None:
            raise Refused(f"customer {by.customer} has no message {message.id}")
        if already.message != message.id:
            raise OtherMessage
        return Reissued(already.deliveries, already.without_way)

    async def _ways(self, by: By, message: Message) -> tuple[list[tuple[str, str]], list[str]]:
        """Recipients with their destinations, and those that there is no way to."""
        ways, without_way = [], []
        for address in message.recipients:
            owner = await self._directory.owner(address)
            if owner is None or owner.customer != by.customer or not owner.destination:
                without_way.append(address)
            else:
                ways.append((owner.address, owner.destination))
        return ways, without_way
