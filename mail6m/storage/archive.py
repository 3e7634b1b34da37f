"""Messages: stored many to a commit, listed without their content, read part by part."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any
from uuid import UUID

from mail6m.model import (
    UNJUDGED,
    Act,
    Client,
    Envelope,
    Judgement,
    Message,
    Recipient,
    Shelf,
    Summary,
    id_text,
)
from mail6m.storage.arrays import booleans, numbers, texts, words
from mail6m.storage.audit import By, audited, note
from mail6m.storage.blocking import Blocking
from mail6m.storage.errors import Refused
from mail6m.storage.judgements import decode, encode
from mail6m.storage.pool import Pool, Prepared, Row

MINUTE, DAY = 60_000, 86_400_000
"""Milliseconds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRUTHS = {True: "t", False: "f", None: "NULL"}
_SHELVES = {shelf.value: shelf for shelf in Shelf}
_MILLISECOND = timedelta(milliseconds=1)
LEASED = 900
"""Seconds that others leave a delivery alone which its server has in hand."""

# One statement is one transaction and one round trip. In every array a message, or a part of
# one, has the same place; rows that belong together cannot be torn apart by a crash.
_MESSAGES = """
WITH messages AS (
    INSERT INTO message (
        customer_id, message_id, shelf, received_at, raw_size, stored_size, sender, recipients,
        header_from, header_to, subject, header_message_id, sha256,
        client_address, client_name, client_hello, protocol, tls,
        smtputf8, eightbit, returns, envid, requiretls, spam, judgement)
    SELECT customer, id, shelf, to_timestamp(milliseconds / 1000.0), raw, stored, sender,
           string_to_array(recipients, E'\\n'), header_from, header_to, subject, header_id,
           substring(digests FROM 32 * place::integer - 31 FOR 32),
           address, name, hello, protocol, tls, smtputf8, eightbit, returns, envid,
           requiretls, spam, nullif(judgement, '')::jsonb
    FROM unnest(
        %s::integer[], %s::uuid[], %s::smallint[], %s::bigint[], %s::bigint[], %s::bigint[],
        %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
        %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
        %s::boolean[], %s::boolean[], %s::text[], %s::text[], %s::boolean[], %s::boolean[],
        %s::text[])
    WITH ORDINALITY
    AS m (customer, id, shelf, milliseconds, raw, stored, sender, recipients,
          header_from, header_to, subject, header_id,
          address, name, hello, protocol, tls, smtputf8, eightbit, returns, envid,
          requiretls, spam, judgement, place),
    (SELECT %s::bytea AS digests) AS d
), deliveries AS (
    INSERT INTO delivery (
        customer_id, message_id, number, recipient, notify, original, destination,
        state, attempts, queued_at, next_attempt_at, server_id)
    SELECT customer, id, number, recipient, notify, original, destination, 0, 0, now(),
           now() + CASE WHEN server IS NULL THEN 0 ELSE %s::integer END * interval '1 second',
           server
    FROM unnest(%s::integer[], %s::uuid[], %s::integer[], %s::text[], %s::smallint[], %s::text[],
                %s::text[], %s::integer[])
    AS d (customer, id, number, recipient, notify, original, destination, server)
), counts AS (
    INSERT INTO shelf_count AS c (customer_id, shelf, day, slot, messages, bytes, raw_bytes)
    SELECT customer, shelf, day, %s::integer, messages, bytes, raw
    FROM unnest(%s::integer[], %s::smallint[], %s::integer[], %s::bigint[], %s::bigint[],
                %s::bigint[])
    AS n (customer, shelf, day, messages, bytes, raw)
    ON CONFLICT (customer_id, shelf, day, slot) DO UPDATE
    SET messages = c.messages + EXCLUDED.messages, bytes = c.bytes + EXCLUDED.bytes,
        raw_bytes = c.raw_bytes + EXCLUDED.raw_bytes
), minutes AS (
    INSERT INTO minute_count AS c (customer_id, shelf, minute, slot, messages)
    SELECT customer, shelf, minute, %s::integer, messages
    FROM unnest(%s::integer[], %s::smallint[], %s::integer[], %s::integer[])
    AS n (customer, shelf, minute, messages)
    ON CONFLICT (customer_id, shelf, minute, slot) DO UPDATE
    SET messages = c.messages + EXCLUDED.messages
), unindexed AS (
    INSERT INTO unindexed (customers, messages)
    SELECT customers, messages
    FROM (SELECT %s::integer[] AS customers, %s::uuid[] AS messages) AS u WHERE customers <> '{}'
)"""
# All parts come as one value, and are cut apart there: an array of them, PostgreSQL and psycopg2
# both read octet by octet, which took a quarter of the whole statement.
_BODIES = """
INSERT INTO body (customer_id, message_id, part, sealed)
SELECT customer, id, part, substring(whole FROM start FOR length)
FROM unnest(%s::integer[], %s::uuid[], %s::integer[], %s::integer[], %s::integer[])
     AS p (customer, id, part, start, length), (SELECT %s::bytea AS whole) AS w"""

_STORE = Prepared("store", _MESSAGES + _BODIES)

_COPY = "COPY body (customer_id, message_id, part, sealed) FROM STDIN (FORMAT binary)"

COLUMNS = """
    m.customer_id, m.message_id, m.received_at, m.sender, m.recipients, m.header_from,
    m.header_to, m.subject, m.header_message_id, m.raw_size, m.stored_size, m.sha256, m.spam,
    m.shelf, EXISTS (SELECT FROM brought_back b WHERE b.customer_id = m.customer_id
                     AND b.message_id = m.message_id)"""

_GET = f"SELECT {COLUMNS} FROM message m WHERE customer_id = %s AND message_id = %s"

_ENVELOPE = """
SELECT sender, client_address, client_hello, client_name, protocol, tls, smtputf8, eightbit,
       returns, envid, raw_size, requiretls
FROM message WHERE customer_id = %s AND message_id = %s"""

_PARTS = """
SELECT part, sealed FROM body
WHERE customer_id = %s AND message_id = %s AND part >= %s AND part < %s ORDER BY part"""

_DELETE = audited("""
    SELECT count FROM delete_messages(%(customer)s, %(ids)s::uuid[]) AS count WHERE count > 0""")

_MARK = audited("""
    SELECT unnest(changed)::text AS id
    FROM mark_spam(%(customer)s, %(ids)s::uuid[], %(spam)s) AS changed""")

_DETAILS = f"""
SELECT {COLUMNS}, m.judgement, m.client_address, m.client_hello, m.client_name, m.protocol, m.tls
FROM message m WHERE customer_id = %s AND message_id = %s AND shelf = 0"""

_TOTALS = """
SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(bytes), 0)::bigint
FROM shelf_count WHERE shelf = %s"""


@dataclass(slots=True)
class NewDelivery:
    """A recipient to relay a new message to, and the server that has it in hand, if one has."""

    recipient: Recipient
    destination: str
    server: int | None


@dataclass(slots=True)
class NewMessage:
    """A message that is ready to be stored: sealed, and known by its metadata."""

    customer: int
    id: UUID
    milliseconds: int
    """Time of arrival, since 1970."""
    shelf: Shelf
    envelope: Envelope
    summary: Summary
    raw_size: int
    stored_size: int
    sha256: bytes
    parts: Sequence[bytes]
    deliveries: Sequence[NewDelivery]
    judgement: Judgement = UNJUDGED


@dataclass(frozen=True, slots=True)
class Details:
    """An archived message, and who brought it."""

    message: Message
    client: Client
    judgement: Judgement


class Archive:
    """The tables ``message``, ``body`` and ``shelf_count``, and new rows of ``delivery``."""

    def __init__(self, pool: Pool, dsn: str, timeout: float) -> None:
        self._pool = pool
        self._blocking = Blocking(dsn, timeout)
        pool.prepare(_STORE)

    async def store(self, messages: Sequence[NewMessage], slot: int) -> None:
        """Commit messages, all or none. Raises `Unavailable`, after which they may be there."""
        await self._pool.query(_STORE.execute, _metadata(messages, slot) + _bodies(messages))

    def store_large(self, bodies: Sequence[tuple[NewMessage, Iterable[bytes]]], slot: int) -> None:
        """Commit messages whose parts are made while they are sent, all or none.

        A message's ``stored_size`` and ``sha256`` are read when its parts are exhausted. Blocking:
        call it in a thread. Raises `Unavailable`, after which the messages may be there.
        """
        with self._blocking.transaction() as connection, connection.cursor() as cursor:
            for message, parts in bodies:
                cursor.copy_expert(_COPY, _Rows(_copy_rows(message, parts)), size=1 << 17)
            messages = [message for message, _ in bodies]
            cursor.execute(_MESSAGES + " SELECT 1", _metadata(messages, slot))

    def close(self) -> None:
        """Close the connections that are kept for large messages."""
        self._blocking.close()

    async def get(self, customer: int, message: UUID) -> Message:
        """One message of a customer's. Raises `Refused` if there is none."""
        rows = await self._pool.query(_GET, (customer, str(message)))
        if not rows:
            raise Refused(f"customer {customer} has no message {message}")
        return read_message(rows[0])

    async def envelope(self, customer: int, message: UUID) -> tuple[Envelope, int]:
        """The envelope it came in, without recipients, and its size. Raises `Refused`."""
        rows = await self._pool.query(_ENVELOPE, (customer, str(message)))
        if not rows:
            raise Refused(f"customer {customer} has no message {message}")
        (sender, address, hello, name, protocol, tls, smtputf8, eightbit, returns, envid, size,
         requiretls) = rows[0]  # fmt: skip
        client = Client(address, hello, name, protocol, tls)
        envelope = Envelope(sender, (), client, smtputf8, eightbit, returns, envid, requiretls)
        return envelope, int(size)

    async def parts(self, customer: int, message: UUID, first: int, count: int) -> list[bytes]:
        """Sealed parts ``first`` to ``first + count - 1``, or as many as there are."""
        rows = await self._pool.query(_PARTS, (customer, str(message), first, first + count))
        return [bytes(sealed) for _, sealed in rows]

    async def delete(self, by: By, messages: Sequence[UUID]) -> int:
        """Delete messages for good, queued deliveries included; how many there were."""
        ids = [id_text(message) for message in messages]
        act = note(by, Act.MESSAGES_DELETED, " ".join(ids))
        parameters = {"customer": by.customer, "ids": words(ids)}
        rows = await self._pool.query(_DELETE, parameters | act)
        return int(rows[0][0]) if rows else 0

    async def mark(self, by: By, messages: Sequence[UUID], spam: bool) -> list[UUID]:
        """Mark messages in the cabinet as spam, or as none; those that were marked otherwise."""
        ids = [id_text(message) for message in messages]
        act = note(by, Act.MARKED_SPAM if spam else Act.MARKED_LEGITIMATE, " ".join(ids))
        parameters = {"customer": by.customer, "ids": words(ids), "spam": spam}
        return [UUID(id_) for (id_,) in await self._pool.query(_MARK, parameters | act)]

    async def details(self, customer: int, message: UUID) -> Details:
        """Everything about a message in the cabinet but its content. Raises `Refused`."""
        rows = await self._pool.query(_DETAILS, (customer, str(message)))
        if not rows:
            raise Refused(f"customer {customer} has no message {message}")
        *columns, judgement, address, hello, name, protocol, tls = rows[0]
        message_ = read_message(tuple(columns))
        client = Client(address, hello, name, protocol, tls)
        return Details(message_, client, decode(judgement, message_.spam))

    async def totals(self, shelf: Shelf) -> tuple[int, int]:
        """Messages and stored bytes on a shelf, of all customers."""
        rows = await self._pool.query(_TOTALS, (shelf,))
        return int(rows[0][0]), int(rows[0][1])


def _metadata(messages: Sequence[NewMessage], slot: int) -> list[Any]:
    """The parameters of ``_MESSAGES``."""
    ids = [id_text(m.id) for m in messages]
    envelopes = [m.envelope for m in messages]
    clients = [envelope.client for envelope in envelopes]
    summaries = [m.summary for m in messages]
    deliveries = [
        (m.customer, id_, number, d)
        for m, id_ in zip(messages, ids, strict=True)
        for number, d in enumerate(m.deliveries)
    ]
    return [
        numbers([m.customer for m in messages]),
        words(ids),
        numbers([int(m.shelf) for m in messages]),
        numbers([m.milliseconds for m in messages]),
        numbers([m.raw_size for m in messages]),
        numbers([m.stored_size for m in messages]),
        texts([envelope.sender for envelope in envelopes]),
        texts(["\n".join([r.address for r in e.recipients]) for e in envelopes]),
        texts([summary.sender for summary in summaries]),
        texts([summary.recipients for summary in summaries]),
        texts([summary.subject for summary in summaries]),
        texts([summary.message_id for summary in summaries]),
        texts([client.address for client in clients]),
        texts([client.name for client in clients]),
        texts([client.hello for client in clients]),
        texts([client.protocol for client in clients]),
        texts([client.tls for client in clients]),
        booleans([envelope.smtputf8 for envelope in envelopes]),
        booleans([envelope.eightbit for envelope in envelopes]),
        texts([envelope.returns for envelope in envelopes]),
        texts([envelope.envid for envelope in envelopes]),
        booleans([envelope.requiretls for envelope in envelopes]),
        words([_TRUTHS[m.judgement.spam] for m in messages]),
        texts([encode(m.judgement) for m in messages]),
        b"".join([m.sha256 for m in messages]),
        LEASED,
        numbers([customer for customer, _, _, _ in deliveries]),
        words([id_ for _, id_, _, _ in deliveries]),
        numbers([number for _, _, number, _ in deliveries]),
        texts([d.recipient.address for _, _, _, d in deliveries]),
        numbers([int(d.recipient.notify) for _, _, _, d in deliveries]),
        texts([d.recipient.original for _, _, _, d in deliveries]),
        texts([d.destination for _, _, _, d in deliveries]),
        numbers([d.server for _, _, _, d in deliveries]),
        *_tallies(messages, ids, slot),
    ]


def _tallies(messages: Sequence[NewMessage], ids: Sequence[str], slot: int) -> list[Any]:
    counts: dict[tuple[int, int, int], list[int]] = {}
    minutes: dict[tuple[int, int, int], int] = {}
    kept = [(m, id_) for m, id_ in zip(messages, ids, strict=True) if m.shelf != Shelf.TRANSIT]
    for m in messages:
        count = counts.setdefault((m.customer, int(m.shelf), m.milliseconds // DAY), [0, 0, 0])
        count[0] += 1
        count[1] += m.stored_size
        count[2] += m.raw_size
    for m, _ in kept:
        minute = m.customer, int(m.shelf), m.milliseconds // MINUTE
        minutes[minute] = minutes.get(minute, 0) + 1
    # In one order everywhere, so that two transactions never wait for each other in a ring.
    days, each = sorted(counts), sorted(minutes)
    return [
        slot,
        *_columns(days),
        *[numbers([counts[day][place] for day in days]) for place in range(3)],
        slot,
        *_columns(each),
        numbers([minutes[minute] for minute in each]),
        numbers([m.customer for m, _ in kept]),
        words([id_ for _, id_ in kept]),
    ]


def _columns(keys: Sequence[tuple[int, int, int]]) -> list[str]:
    return [numbers([key[place] for key in keys]) for place in range(3)]


def _bodies(messages: Sequence[NewMessage]) -> list[Any]:
    """The parameters of ``_BODIES``."""
    rows = [(m, number, part) for m in messages for number, part in enumerate(m.parts)]
    lengths = [len(part) for _, _, part in rows]
    return [
        numbers([m.customer for m, _, _ in rows]),
        words([id_text(m.id) for m, _, _ in rows]),
        numbers([number for _, number, _ in rows]),
        numbers(accumulate(lengths[:-1], initial=1)),
        numbers(lengths),
        b"".join([part for _, _, part in rows]),
    ]


def _copy_rows(message: NewMessage, parts: Iterable[bytes]) -> Iterator[bytes]:
    """The rows of ``body`` in the binary format of COPY (PostgreSQL manual, COPY)."""
    yield b"PGCOPY\n\xff\r\n\0" + struct.pack(">II", 0, 0)
    key = struct.pack(">hiii16s", 4, 4, message.customer, 16, message.id.bytes)
    for number, part in enumerate(parts):
        yield key + struct.pack(">iii", 4, number, len(part)) + part
    yield b"\xff\xff"


class _Rows(io.RawIOBase):
    """What ``copy_expert`` reads from: rows made as they are asked for, never all at once."""

    def __init__(self, rows: Iterator[bytes]) -> None:
        self._rows = rows
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        pieces, have = [self._left], len(self._left)
        while have < size and (row := next(self._rows, None)) is not None:
            pieces.append(row)
            have += len(row)
        joined = b"".join(pieces)
        self._left = joined[size:]
        return joined[:size]


def first_id(when: datetime) -> UUID:
    """The least id that a message of this moment or a later one can have."""
    milliseconds = -((_EPOCH - when) // _MILLISECOND)  # rounded up
    return UUID(int=max(0, min(milliseconds, (1 << 48) - 1)) << 80)


def read_message(row: Row) -> Message:
    """A row of `COLUMNS`."""
    (customer, id_, received_at, sender, recipients, header_from, header_to, subject, message_id,
     raw, stored, sha256, spam, shelf, brought_back) = row  # fmt: skip
    return Message(
        customer, UUID(id_), received_at.astimezone(UTC), sender, tuple(recipients), header_from,
        header_to, subject, message_id, raw, stored, bytes(sha256), spam, _SHELVES[shelf],
        brought_back,
    )  # fmt: skip
