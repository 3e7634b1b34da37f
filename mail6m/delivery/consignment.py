"""A message on its way to one destination, for some recipients, and where its content is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from mail6m.content import Content
from mail6m.dialogue.client import Transfer
from mail6m.model import UNJUDGED, Envelope, Judgement, Outcome, Recipient
from mail6m.reader import Reader


@dataclass(slots=True)
class Item:
    """One recipient's delivery."""

    number: int
    recipient: Recipient
    attempts: int
    queued_at: datetime
    warned: bool = False


class Shared:
    """A content that several consignments read; the last one to let go closes it."""

    __slots__ = ("_closed", "_holders", "content")

    def __init__(self, content: Content, holders: int, closed: Callable[[], None]) -> None:
        self.content = content
        self._holders = holders
        self._closed = closed

    def let_go(self) -> None:
        """One holder less."""
        self._holders -= 1
        if self._holders == 0:
            self.content.close()
            self._closed()


@dataclass(slots=True, eq=False)
class Consignment:
    """What a courier takes to a host in one transaction."""

    customer: int
    message: UUID
    destination: str
    envelope: Envelope
    size: int
    received_at: datetime
    items: list[Item]
    ours: bool = False
    """Mail6M wrote it, and it is forgotten when it is delivered."""
    judgement: Judgement = UNJUDGED
    header: bytes | None = None
    """The header block, when it is at hand."""
    shared: Shared | None = None
    """The content, when it is at hand; else it is in the archive."""
    outcomes: list[Outcome] = field(default_factory=list)

    def transfer(self, front: bytes) -> Transfer:
        """The transaction to offer to a host, for a message with this in front of it."""
        return Transfer(
            sender=self.envelope.sender,
            recipients=[item.recipient for item in self.items],
            size=self.size + len(front),
            eightbit=self.envelope.eightbit,
            smtputf8=self.envelope.smtputf8 and self._international(),
            returns=self.envelope.returns,
            envid=self.envelope.envid,
            requiretls=self.envelope.requiretls,
        )

    def _international(self) -> bool:
        addresses = [self.envelope.sender, *(item.recipient.address for item in self.items)]
        if not all(address.isascii() for address in addresses):
            return True
        return self.header is None or not self.header.isascii()

    def let_go(self) -> None:
        """The content is not needed any more."""
        if self.shared is not None:
            self.shared.let_go()
            self.shared = None

    async def pieces(self, reader: Reader) -> AsyncIterator[bytes]:
        """The content, from where it is nearest."""
        if self.shared is not None:
            for piece in self.shared.content.pieces():
                yield piece
        else:
            async for piece in reader.pieces(self.customer, self.message):
                yield piece
