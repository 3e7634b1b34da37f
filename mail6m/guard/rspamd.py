"""rspamd, over HTTP (https://rspamd.com/doc/architecture/protocol.html).

Messages are judged by the worker ``normal`` (or ``proxy``), and taught to the worker
``controller``, which listens elsewhere and may ask for a password.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from treq.client import HTTPClient
from treq.content import collect
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import CooperativeTask, cooperate
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from mail6m.content import Content
from mail6m.guard.scanner import Report, ScanFailure
from mail6m.model import Envelope

PORT, CONTROLLER_PORT = 11333, 11334
CONNECT_PATIENCE = 2.0
"""Seconds."""
SESSIONS = 20
"""Connections that are kept."""
_LARGEST_ANSWER = 1 << 20
_ROOM_FOR_RECIPIENTS = 16_384
"""Octets of recipients that rspamd is told of."""
_SPAM = frozenset({"reject", "add header", "rewrite subject", "quarantine"})
"""Its actions that mean spam; ``greylist`` and ``soft reject`` mean that it does not know yet."""


class Rspamd:
    """See `mail6m.guard.scanner.Scanner`."""

    def __init__(self, reactor: Any, url: str, controller: str, password: str | None) -> None:
        self.name = f"rspamd at {url}"
        self._url = url
        self._controller = controller
        self._password = password
        pool = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = SESSIONS
        self._client = HTTPClient(Agent(reactor, connectTimeout=CONNECT_PATIENCE, pool=pool))

    async def answers(self) -> None:
        """See `Scanner`."""
        try:
            response = await self._client.get(f"{self._url}/ping")
            answer = await _bounded(response)
        except Exception as error:
            raise ScanFailure(str(error) or type(error).__name__) from error
        if not answer.startswith(b"pong"):
            raise ScanFailure("what answers is no rspamd")

    async def scan(self, envelope: Envelope, content: Content) -> Report:
        """See `Scanner`."""
        body = content.whole() if content.in_memory else _Body(content)
        return _read(await self._post(f"{self._url}/checkv2", _told(envelope), body))

    async def learn(self, content: AsyncIterator[bytes], spam: bool) -> None:
        """See `Scanner`; what it has learnt already is no failure."""
        octets = b"".join([piece async for piece in content])
        headers = Headers({"Password": [self._password]} if self._password else {})
        what = "learnspam" if spam else "learnham"
        answer = await self._post(f"{self._controller}/{what}", headers, octets)
        error = answer.get("error", "")
        if not answer.get("success") and "already learned" not in error:
            raise ScanFailure(error or f"{what}: {answer}")

    async def _post(self, url: str, headers: Headers, body: Any) -> dict[str, Any]:
        try:
            response = await self._client.post(url, headers=headers, data=body)
            answer = json.loads(await _bounded(response))
        except ScanFailure:
            raise
        except Exception as error:
            raise ScanFailure(str(error) or type(error).__name__) from error
        if not isinstance(answer, dict):
            raise ScanFailure("its answer is no object of JSON")
        return answer


def _told(envelope: Envelope) -> Headers:
    """The envelope, as rspamd is told of it."""
    told: dict[str, list[str]] = {
        "From": [envelope.sender],
        "Rcpt": _some(recipient.address for recipient in envelope.recipients),
        "IP": [envelope.client.address],
        "Helo": [envelope.client.hello],
        "Hostname": [envelope.client.name or "unknown"],
    }
    return Headers({name: values for name, values in told.items() if values != [""]})


def _some(addresses: Iterable[str]) -> list[str]:
    """As many as rspamd takes for certain: of 80 KB of fields it hangs up."""
    told, room = [], _ROOM_FOR_RECIPIENTS
    for address in addresses:
        room -= len(address.encode())
        if room < 0:
            break
        told.append(address)
    return told


def _read(answer: dict[str, Any]) -> Report:
    try:
        return Report(
            str(answer["action"]) in _SPAM,
            float(answer["score"]),
            float(answer["required_score"]),
            tuple(str(name) for name in answer["symbols"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ScanFailure(f"its answer says not what it should: {answer.get('error')}") from error


async def _bounded(response: Any) -> bytes:
    pieces: list[bytes] = []
    size = 0

    def take(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if size <= _LARGEST_ANSWER:
            pieces.append(piece)

    await collect(response, take)
    if size > _LARGEST_ANSWER:
        raise ScanFailure("its answer has no end")
    if response.code // 100 not in (2, 4) and not pieces:
        raise ScanFailure(f"it answers {response.code}")
    return b"".join(pieces)


@implementer(IBodyProducer)
class _Body:
    """A content in a file, piece by piece."""

    _task: CooperativeTask[Any] | None = None

    def __init__(self, content: Content) -> None:
        self.length = content.size
        self._content = content

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Send all of it."""
        self._task = cooperate(self._send(consumer))
        return self._task.whenDone().addCallback(lambda _: None)

    def _send(self, consumer: IConsumer) -> Iterator[Deferred[None]]:
        for piece in self._content.pieces():
            consumer.write(piece)
            yield succeed(None)

    def pauseProducing(self) -> None:
        """The connection is full."""
        if self._task is not None:
            self._task.pause()

    def resumeProducing(self) -> None:
        """The connection takes more."""
        if self._task is not None:
            self._task.resume()

    def stopProducing(self) -> None:
        """Nobody wants it any more."""
        if self._task is not None:
            self._task.stop()
