"""A message as it goes on: behind what we say of it, without what others say in our name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from mail6m.delivery.consignment import Consignment
from mail6m.delivery.fields import cleaned, head_end, judged
from mail6m.delivery.trace import received
from mail6m.settings import Settings
from mail6m.signing import BodyDigest, Signer

_FOLDS = (b" ", b"\t")
LONGEST_HEAD = 1 << 21
"""Octets in which the first empty line is looked for."""


class Heading:
    """Puts in front of relayed messages what this server has to say."""

    def __init__(self, settings: Settings, signer: Signer) -> None:
        self._hostname = settings.hostname
        ours = (settings.hostname, *settings.mx, signer.domain)
        self._names = {name.lower() for name in ours if name}
        self._signer = signer

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
        opened = self._opened(consignment, content)
        if self._signer.seals(consignment.judgement.authentication):
            digest = BodyDigest()
            digest.feed(opened.body)
            front = self._seal(consignment, opened.head, digest) + front
        return front + (content if opened.untouched else opened.head + opened.rest)

    async def of_pieces(
        self, consignment: Consignment, front: bytes, reading: Callable[[], AsyncIterator[bytes]]
    ) -> AsyncIterator[bytes]:
        """The message with its front, piece by piece; it is read twice if it is to be sealed."""
        if self._signer.seals(consignment.judgement.authentication):
            front = await self._sealing(consignment, reading()) + front
        pieces = reading()
        opened = self._opened(consignment, await _beginning(pieces))
        yield front + opened.head + opened.rest
        async for piece in pieces:
            yield piece

    async def _sealing(self, consignment: Consignment, pieces: AsyncIterator[bytes]) -> bytes:
        opened = self._opened(consignment, await _beginning(pieces))
        digest = BodyDigest()
        digest.feed(opened.body)
        async for piece in pieces:
            digest.feed(piece)
        return self._seal(consignment, opened.head, digest)

    def _seal(self, consignment: Consignment, head: bytes, digest: BodyDigest) -> bytes:
        authentication = consignment.judgement.authentication
        return self._signer.seal_arc(head, digest.digest(), authentication, self._hostname)

    def _opened(self, consignment: Consignment, content: bytes) -> _Opened:
        if content[:1] in _FOLDS and not consignment.ours:
            # No header at all (RFC 5322, 2.2), but it would go on with the last field of ours.
            return _Opened(b"", b"\r\n" + content, untouched=False)
        end = head_end(content)
        head = content[:end]
        if not consignment.ours:
            chain_is_whole = consignment.judgement.authentication.arc == "pass"
            head = cleaned(head, self._names, chain_is_whole)
        return _Opened(head, content[end:], untouched=len(head) == end)


@dataclass(slots=True)
class _Opened:
    """A content, or its beginning."""

    head: bytes
    """The lines up to the first empty one, without what others say in our name."""
    rest: bytes
    untouched: bool

    @property
    def body(self) -> bytes:
        """What is behind the empty line."""
        return self.rest.removeprefix(b"\r\n")


async def _beginning(pieces: AsyncIterator[bytes]) -> bytes:
    """As many pieces as it takes to the first empty line."""
    content = b""
    async for piece in pieces:
        content += piece
        if head_end(content) < len(content) or len(content) > LONGEST_HEAD:
            break
    return content
