"""The one way in: envelope + content -> checked, sealed, committed -> receipt.

A receipt exists only after COMMIT, and a 250 only after a receipt.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn, Protocol
from uuid import UUID

from twisted.internet.defer import Deferred, DeferredSemaphore, ensureDeferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mail6m.batch import Batches
from mail6m.content import Content
from mail6m.directory import Directory, Owner
from mail6m.header import header_end, read
from mail6m.model import UNJUDGED, Envelope, Judged, Judgement, Recipient, Reply, Shelf, Summary
from mail6m.seal import Key, compress, fitting_quality, seal, seal_pieces
from mail6m.settings import Settings
from mail6m.storage.archive import Archive, NewDelivery, NewMessage
from mail6m.storage.errors import Unavailable
from mail6m.turn import Turn

MOST = 200
"""Small messages to a commit."""
HEAVIEST = 1 << 20
"""Octets of them: sealing so many takes some 30 ms, in which nobody else is served."""
COMPANY = 0.008
"""Seconds that a small message waits for others at most; when nobody else is talking, it goes."""
_SMALL_SLOT, _LARGE_SLOT = 0, 1
"""Of a shelf's counters: commits of the one kind never wait for a row that the other has locked."""
_LINE = 1_000
"""Octets read beyond the longest header: a field's name that is cut off is not seen as one."""
SMALL = 65_536
"""Octets up to which sealing is quicker than handing it to a thread."""


class Rejected(Exception):
    """The message is not taken; ``reply`` says why, and whether to try again."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(slots=True)
class Receipt:
    """A message that is archived: its id is its queue name."""

    id: UUID
    spam: bool = False
    """It is, for one of those whom it is for at least."""


@dataclass(slots=True)
class Accepted:
    """One customer's share of a message that has just been committed, for the way out."""

    message: NewMessage
    content: Content
    header: bytes


class Outgoing(Protocol):
    """The way out, as the way in sees it."""

    def takes(self, destination: str, content: Content) -> int | None:
        """This server's number, if a delivery can go out at once; else it waits in the queue."""

    def offer(self, accepted: Sequence[Accepted]) -> None:
        """These have been committed in this server's name. Closes the content when it is done."""

    def doubt(self, messages: Sequence[NewMessage]) -> None:
        """Whether these have been committed is not known."""


class Judging(Protocol):
    """Who looks at messages before they are archived."""

    def judge(
        self, envelope: Envelope, content: Content, customers: Collection[int]
    ) -> Deferred[Judged] | None:
        """What is found out about a message; None if nobody looks. Does not fail."""


class Clients(Protocol):
    """What intake tells the metrics."""

    def accepted(self, message: NewMessage) -> None:
        """A message has been archived."""


class Cabinets(Protocol):
    """Who sees to it that cabinets hold no more than they may."""

    def added(self, customer: int, stored: int) -> None:
        """So many bytes have come into a customer's cabinet."""


class Intake:
    """Takes messages in, from SMTP and from Mail6M itself."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        turn: Turn,
        settings: Settings,
        archive: Archive,
        directory: Directory,
        outgoing: Outgoing,
        on_accept: Clients,
        cabinets: Cabinets,
        threads: ThreadPool,
        judging: Judging | None = None,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._archive = archive
        self._directory = directory
        self._outgoing = outgoing
        self._on_accept = on_accept
        self._cabinets = cabinets
        self._threads = threads
        self._judging = judging
        self._large = DeferredSemaphore(settings.seal_threads)
        self._batches: Batches[_Arrival] = Batches(
            partial(turn.when_quiet, patience=COMPANY),
            self._commit_small,
            most=MOST,
            weigh=lambda arrival: arrival.content.size,
            heaviest=HEAVIEST,
        )

    def accept(self, envelope: Envelope, content: Content) -> Deferred[Receipt]:
        """Archive a message for the customers that its recipients belong to, and relay it.

        ``content`` is closed when it is of no more use, whatever happens. Fails with `Rejected`.
        """
        owned = self._known(envelope)
        if owned is None:
            return ensureDeferred(self._ask_then_accept(envelope, content))
        return self._judge_then_take(envelope, _Arrival(_shares(envelope, *owned), content))

    async def submit(
        self, customer: int, envelope: Envelope, destination: str, content: Content
    ) -> Receipt:
        """Take in mail that Mail6M itself has written; it is kept only until it is delivered."""
        try:
            owner = Owner(customer, destination, envelope.recipients[0].address)
            key = await self._directory.key(customer)
        except Exception as error:
            content.close()
            raise Rejected(self._why(Failure())) from error
        share = _Share(customer, envelope, [(envelope.recipients[0], owner)], key, Shelf.TRANSIT)
        return await self._take(_Arrival([share], content, ours=True))

    def _known(self, envelope: Envelope) -> _Owned | None:
        """Whose the recipients are, and the keys, if all of it is in memory."""
        owners, keys = [], {}
        for recipient in envelope.recipients:
            owner = self._directory.known_owner(recipient.address)
            if owner is None:
                return None
            key = self._directory.known_key(owner.customer)
            if key is None:
                return None
            owners.append(owner)
            keys[owner.customer] = key
        return owners, keys

    async def _ask_then_accept(self, envelope: Envelope, content: Content) -> Receipt:
        owners, keys = [], {}
        try:
            for recipient in envelope.recipients:
                owner = await self._directory.owner(recipient.address)
                if owner is None:  # the domain was removed since RCPT: let the sender ask again
                    raise Rejected(Reply(451, "4.3.5", "A recipient's domain has just changed"))
                owners.append(owner)
                keys[owner.customer] = await self._directory.key(owner.customer)
        except Exception as error:
            content.close()
            raise Rejected(self._why(Failure())) from error
        arrival = _Arrival(_shares(envelope, owners, keys), content)
        return await self._judge_then_take(envelope, arrival)

    def _judge_then_take(self, envelope: Envelope, arrival: _Arrival) -> Deferred[Receipt]:
        if self._judging is None:
            return self._take(arrival)
        customers = [share.customer for share in arrival.shares]
        judging = self._judging.judge(envelope, arrival.content, customers)
        if judging is None:
            return self._take(arrival)
        return judging.addCallback(self._take_judged, arrival)

    def _take_judged(self, judged: Judged, arrival: _Arrival) -> Deferred[Receipt]:
        if judged.refusal is not None:
            arrival.content.close()
            raise Rejected(judged.refusal)
        for share in arrival.shares:
            share.judgement = judged.judgements[share.customer]
        return self._take(arrival)

    def _take(self, arrival: _Arrival) -> Deferred[Receipt]:
        content = arrival.content
        if content.in_memory and content.size <= SMALL:
            done = self._batches.add(arrival)
        else:
            self._prepare(arrival)
            refused = arrival.refusal is not None
            done = succeed(None) if refused else self._large.run(self._commit_large, arrival)
        return done.addCallbacks(
            self._stored, self._not_stored, callbackArgs=(arrival,), errbackArgs=(arrival,)
        )

    def _prepare(self, arrival: _Arrival) -> None:
        """Make its messages, with all but their bodies; or note why it must be refused."""
        if arrival.messages:  # the batch that it was in has failed, and it goes alone now
            return
        content = arrival.content
        try:
            most = content.size if arrival.ours else self._settings.max_header_size + _LINE
            header = content.head(most)
            end = header_end(header)
            arrival.header = header = header[:end]
            summary, hops = read(header)
            if not arrival.ours:
                self._check(end, hops)
            milliseconds = time.time_ns() // 1_000_000
            message_id = new_message_id(milliseconds)
            arrival.messages = [
                self._new_message(share, message_id, milliseconds, summary, content)
                for share in arrival.shares
            ]
        except Exception:  # noqa: BLE001 - it is handed to who waits for this one
            arrival.refusal = self._why(Failure())

    def _check(self, header_size: int, hops: int) -> None:
        if header_size > self._settings.max_header_size:
            raise Rejected(Reply(552, "5.3.4", "Message header too big"))
        if hops > self._settings.max_hops:
            raise Rejected(Reply(554, "5.4.6", f"Too many hops: {hops}, is this a mail loop?"))

    def _stored(self, done: None, arrival: _Arrival) -> Receipt:
        content = arrival.content
        if arrival.refusal is not None:
            content.close()
            raise Rejected(arrival.refusal)
        for message in arrival.messages:
            self._on_accept.accepted(message)
            if message.shelf is Shelf.CABINET:
                self._cabinets.added(message.customer, message.stored_size)
        self._outgoing.offer(
            [Accepted(message, content, arrival.header) for message in arrival.messages]
        )
        spam = any(share.judgement.spam for share in arrival.shares)
        return Receipt(arrival.messages[0].id, spam)

    def _not_stored(self, failure: Failure, arrival: _Arrival) -> NoReturn:
        self._outgoing.doubt(arrival.messages)
        arrival.content.close()
        raise Rejected(self._why(failure)) from failure.value

    def _why(self, failure: Failure) -> Reply:
        error = failure.value
        if isinstance(error, Rejected):
            return error.reply
        if isinstance(error, OSError):
            self.log.error("cannot read a message back from its spool: {error}", error=error)
            return Reply(452, "4.3.1", "Not enough room, try again later")
        if not isinstance(error, Unavailable):
            self.log.failure("a message could not be stored, its sender will try again", failure)
        return _LATER

    def _new_message(
        self, share: _Share, id_: UUID, milliseconds: int, summary: Summary, content: Content
    ) -> NewMessage:
        deliveries = [
            NewDelivery(
                recipient._replace(address=owner.address)
                if owner.address != recipient.address
                else recipient,
                owner.destination,
                self._outgoing.takes(owner.destination, content),
            )
            for recipient, owner in share.owned
            if owner.destination
        ]
        return NewMessage(
            share.customer, id_, milliseconds, share.shelf, share.envelope, summary,
            content.size, 0, b"", (), deliveries, share.judgement,
        )  # fmt: skip

    async def _commit_small(self, batch: Sequence[_Arrival]) -> None:
        """Read their headers, seal them, and store them.

        Each step is taken for all of them before the next: what it needs of code and tables is
        then still in the processor's caches.
        """
        for arrival in batch:
            self._prepare(arrival)
        batch = [arrival for arrival in batch if arrival.refusal is None]
        contents = [arrival.content.whole() for arrival in batch]
        digests = [hashlib.sha256(octets).digest() for octets in contents]
        compressed = [compress(octets, self._settings.quality) for octets in contents]
        messages = []
        for arrival, sha256, octets in zip(batch, digests, compressed, strict=True):
            for message, share in zip(arrival.messages, arrival.shares, strict=True):
                message.sha256 = sha256
                message.parts = seal(share.key, message.id, octets)
                message.stored_size = sum(map(len, message.parts))
                messages.append(message)
        if messages:
            await self._archive.store(messages, _SMALL_SLOT)

    def _commit_large(self, arrival: _Arrival) -> Deferred[None]:
        """In a thread: one pass over the content hashes, compresses, seals and sends it."""
        return deferToThreadPool(self._reactor, self._threads, self._send, arrival)

    def _send(self, arrival: _Arrival) -> None:
        content = arrival.content
        quality = fitting_quality(content.middle(SMALL), self._settings.quality)
        bodies = []
        for message, share in zip(arrival.messages, arrival.shares, strict=True):
            digest = hashlib.sha256()
            parts = seal_pieces(share.key, message.id, _hashed(content.pieces(), digest), quality)
            bodies.append((message, _measured(parts, message, digest)))
        self._archive.store_large(bodies, _LARGE_SLOT)


@dataclass(slots=True)
class _Share:
    customer: int
    envelope: Envelope
    owned: list[tuple[Recipient, Owner]]
    key: Key
    shelf: Shelf = Shelf.CABINET
    judgement: Judgement = UNJUDGED


@dataclass(slots=True)
class _Arrival:
    """A message on its way into the archive, for one customer or several."""

    shares: list[_Share]
    content: Content
    ours: bool = False
    """Mail6M has written it."""
    header: bytes = b""
    messages: list[NewMessage] = field(default_factory=list)
    """One for each of the shares, when it has been prepared."""
    refusal: Reply | None = None


_Owned = tuple[list[Owner], dict[int, Key]]
"""The owner of each recipient, and the key of each owner."""


def _shares(envelope: Envelope, owners: list[Owner], keys: dict[int, Key]) -> list[_Share]:
    """The envelope as each customer may see it."""
    if len(keys) == 1:
        [(customer, key)] = keys.items()
        owned = list(zip(envelope.recipients, owners, strict=True))
        return [_Share(customer, envelope, owned, key)]
    apart: dict[int, list[tuple[Recipient, Owner]]] = {}
    for recipient, owner in zip(envelope.recipients, owners, strict=True):
        apart.setdefault(owner.customer, []).append((recipient, owner))
    return [
        _Share(
            customer,
            envelope._replace(recipients=tuple(recipient for recipient, _ in owned)),
            owned,
            keys[customer],
        )
        for customer, owned in apart.items()
    ]


_LATER = Reply(451, "4.3.0", "The archive cannot be reached, try again later")


def new_message_id(milliseconds: int) -> UUID:
    """A UUID of version 7: time of arrival, then chance (RFC 9562, 5.7)."""
    chance = int.from_bytes(os.urandom(10), "big")
    high = (chance >> 62) & 0xFFF
    low = chance & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (high << 64) | (2 << 62) | low)


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


def _hashed(pieces: Iterator[bytes], digest: _Digest) -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def _measured(parts: Iterator[bytes], message: NewMessage, digest: _Digest) -> Iterator[bytes]:
    """The parts; when they are all gone, the message knows its stored size and its hash."""
    size = 0
    for part in parts:
        size += len(part)
        yield part
    message.stored_size = size
    message.sha256 = digest.digest()
