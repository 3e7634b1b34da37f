"""A message as it goes on: behind what we say of it, without what others say in our name."""

from __future__ import annotations

from collections.abc import AsyncIterator

from mail6m.delivery.consignment import Consignment
from mail6m.delivery.fields import cleaned, head_end, judged
from mail6m.delivery.trace import received
from mail6m.settings import Settings

LONGEST_HEAD = 1 << 21
"""Octets in which the first empty line is looked for."""


class Heading:
    """Puts in front of relayed messages what this server has to say."""

    def __init__(self, settings: Settings) -> None:
        self._hostname = settings.hostname
        self._names = {name.lower() for name in (settings.hostname, *settings.mx)}

    def front(self, consignment: Consignment) -> bytes:
        """What goes in front; nothing, where Mail6M wrote the message itself."""
        if consignment.ours:
            return b""
        only = consignment.items[0].recipient.address if len(consignment.items) == 1 else ""
        return judged(consignment.judgement, self._hostname) + received(
            consignment.envelope,
            consignment.message,
            self._hostname,
            consignment.received_at,
            only,
        )

    def of_whole(self, consignment: Consignment, front: bytes, content: bytes) -> bytes:
        """The message with its front, of a content in memory."""
        if consignment.ours:
            return content
        end = head_end(content)
        head = self._cleaned(consignment, content[:end])
        return front + content if len(head) == end else front + head + content[end:]

    async def of_pieces(
        self, consignment: Consignment, front: bytes, pieces: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """The message with its front, piece by piece."""
        content = b""
        async for piece in pieces:
            content += piece
            if head_end(content) < len(content) or len(content) > LONGEST_HEAD:
                break
        yield self.of_whole(consignment, front, content)
        async for piece in pieces:
            yield piece

    def _cleaned(self, consignment: Consignment, head: bytes) -> bytes:
        chain_is_whole = consignment.judgement.authentication.arc == "pass"
        return cleaned(head, self._names, chain_is_whole)
