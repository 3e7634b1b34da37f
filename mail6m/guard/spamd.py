"""SpamAssassin's spamd, over its own protocol (spamd/PROTOCOL in its source): SPAMC/1.5."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from mail6m.content import Content
from mail6m.delivery.trace import received
from mail6m.guard.scanner import Report, ScanFailure
from mail6m.model import Envelope, Host

PORT = 783
CONNECT_PATIENCE = 2.0
"""Seconds."""
ATTEMPT_DELAY = 0.02
"""Seconds after which a refusal is told as such; Twisted's own 0.3 are for the Internet."""
_LARGEST_ANSWER = 1 << 20
_STATUS = re.compile(rb"SPAMD/\S+ (\d+) ([^\r\n]*)\r\n")
_SPAM = re.compile(rb"\r\nSpam: (True|False) ; (-?[\d.]+) / (-?[\d.]+)\r\n")
_NOBODY = UUID(int=0)


class Spamd:
    """See `mail6m.guard.scanner.Scanner`."""

    def __init__(self, reactor: Any, host: Host, hostname: str) -> None:
        self.name = f"spamd at {host}"
        self._reactor = reactor
        self._host = host
        self._hostname = hostname

    async def answers(self) -> None:
        """See `Scanner`."""
        await self._ask(b"PING SPAMC/1.5\r\n\r\n", iter(()))

    async def scan(self, envelope: Envelope, content: Content) -> Report:
        """See `Scanner`. It knows the envelope by what a receiving machine puts in front."""
        front = _front(envelope, self._hostname)
        size = len(front) + content.size
        asked = f"SYMBOLS SPAMC/1.5\r\nContent-length: {size}\r\n\r\n".encode() + front
        return _read(await self._ask(asked, content.pieces()))

    async def learn(self, content: AsyncIterator[bytes], spam: bool) -> None:
        """See `Scanner`; spamd must have been started with ``--allow-tell``."""
        octets = b"".join([piece async for piece in content])
        asked = (
            f"TELL SPAMC/1.5\r\nMessage-class: {'spam' if spam else 'ham'}\r\nSet: local\r\n"
            f"Content-length: {len(octets)}\r\n\r\n"
        )
        await self._ask(asked.encode() + octets, iter(()))

    async def _ask(self, asked: bytes, pieces: Iterator[bytes]) -> bytes:
        """A conversation: all that is said, then all that is answered. Raises `ScanFailure`."""
        conversation = _Conversation(asked, pieces)
        endpoint = HostnameEndpoint(
            self._reactor,
            self._host.name,
            self._host.port,
            timeout=CONNECT_PATIENCE,
            attemptDelay=ATTEMPT_DELAY,
        )
        try:
            await endpoint.connect(Factory.forProtocol(lambda: conversation))
        except Exception as error:
            raise ScanFailure(str(error) or type(error).__name__) from error
        try:
            answer = await conversation.ended
        finally:
            conversation.cut_off()
        status = _STATUS.match(answer)
        if status is None:
            raise ScanFailure("what answers is no spamd")
        if status[1] != b"0":
            raise ScanFailure(status[2].decode("latin-1")[:200])
        return answer


def _front(envelope: Envelope, hostname: str) -> bytes:
    sender = envelope.sender.encode("utf-8", "replace")
    return b"Return-Path: <%b>\r\n" % sender + received(
        envelope, _NOBODY, hostname, datetime.now(UTC), ""
    )


def _read(answer: bytes) -> Report:
    head, _, body = answer.partition(b"\r\n\r\n")
    verdict = _SPAM.search(head + b"\r\n")
    if verdict is None:
        raise ScanFailure("its answer has no verdict")
    symbols = [name for name in re.split(r"[,\s]+", body.decode("latin-1")) if name]
    return Report(verdict[1] == b"True", float(verdict[2]), float(verdict[3]), tuple(symbols))


class _Conversation(Protocol):
    """Says what there is to say, as fast as it is taken, and hears all of the answer."""

    transport: Any

    def __init__(self, asked: bytes, pieces: Iterator[bytes]) -> None:
        self._asked = asked
        self._pieces = pieces
        self._heard = b""
        self.ended: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """Begin; the transport asks for the rest."""
        self.transport.write(self._asked)
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """There is room for another piece."""
        piece = next(self._pieces, None)
        if piece is None:
            self.transport.unregisterProducer()
            # It reads line by line: of a last line without an end it would wait for the rest.
            self.transport.loseWriteConnection()
        else:
            self.transport.write(piece)

    def stopProducing(self) -> None:
        """Nobody wants it any more."""

    def dataReceived(self, data: bytes) -> None:
        """A part of the answer."""
        self._heard += data
        if len(self._heard) > _LARGEST_ANSWER:
            self.cut_off()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end of the answer, or of everything."""
        if not self.ended.called:
            self.ended.callback(self._heard)

    def cut_off(self) -> None:
        """Close the connection, if it still stands."""
        if self.transport is not None and self.transport.connected:
            self.transport.abortConnection()
