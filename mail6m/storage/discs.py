"""Discs, what becomes of them, and the cellar as it is read for one."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

import psycopg2
import psycopg2.errors
from psycopg2.extensions import connection as BlockingConnection

from mail6m.billing.invoice import Party
from mail6m.model import Act, Message, id_text
from mail6m.storage.archive import COLUMNS, read_message
from mail6m.storage.arrays import words
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused, Unavailable
from mail6m.storage.pool import Pool, Row, utc

_COLUMNS = """
    customer_id, serial, state, offered_at, answered_at, told, told_at, progress, written_at,
    shipped_at, received_at, destroyed_at, messages, left_out, raw_bytes, first_at, last_at,
    image_size, manifest_sha256, place"""

# Whoever subscribes to discs is not asked; whoever has refused the last one is not asked again.
_OFFER = audited("""
    INSERT INTO disc (customer_id, serial, state, answered_at)
    SELECT %(customer)s, %(serial)s,
           CASE WHEN disc_subscription THEN 'ordered' ELSE 'offered' END,
           CASE WHEN disc_subscription THEN now() END
    FROM preferences WHERE customer_id = %(customer)s
      AND (disc_subscription
           OR 'refused' IS DISTINCT FROM (SELECT state FROM disc WHERE customer_id = %(customer)s
                                          ORDER BY offered_at DESC LIMIT 1))
    ON CONFLICT DO NOTHING RETURNING serial""")

_SUBSCRIBED = """
SELECT d.customer_id FROM disc d JOIN preferences p USING (customer_id)
WHERE d.state = 'offered' AND p.disc_subscription ORDER BY d.customer_id"""

_ANSWER = audited("""
    UPDATE disc SET state = %(state)s, answered_at = now()
    WHERE customer_id = %(customer)s AND state = 'offered' RETURNING serial""")

_ALL = f"""
SELECT {_COLUMNS} FROM disc WHERE %(customer)s::integer IS NULL OR customer_id = %(customer)s
ORDER BY offered_at DESC, serial"""

_GET = f"SELECT {_COLUMNS} FROM disc WHERE serial = %s"

# What operators have to do with is not much at a time; of what is over, the last ones.
_IN_STATES = f"""
SELECT {_COLUMNS} FROM disc WHERE state = ANY (%(states)s::text[])
ORDER BY coalesce(destroyed_at, shipped_at, written_at, answered_at) DESC NULLS LAST, serial
LIMIT %(limit)s"""

_SENDER = """
SELECT name, street, postcode, city, country FROM seller
WHERE since <= %s ORDER BY since DESC LIMIT 1"""

_OPEN = f"SELECT {_COLUMNS} FROM disc WHERE state IN ('offered', 'shipped') ORDER BY offered_at"

_TELLING = """
UPDATE disc SET telling_at = %(now)s
WHERE serial = %(serial)s AND NOT %(letter)s = ANY (told)
  AND (telling_at IS NULL OR telling_at < %(now)s - interval '10 minutes')
RETURNING serial"""

_GONE = """
SELECT serial FROM disc WHERE state = 'destroyed'
UNION ALL SELECT unnest(serials) FROM closing WHERE key_destroyed_at IS NOT NULL"""

_ERRANDS = """
SELECT count(*) FILTER (WHERE state = 'ordered'), count(*) FILTER (WHERE state = 'written'),
       (SELECT count(*) FROM archivist_request WHERE state = 'waiting')
FROM disc WHERE state IN ('ordered', 'written')"""

_TOLD = """
UPDATE disc SET told = told || %(letter)s::text, told_at = telling_at, telling_at = NULL
WHERE serial = %(serial)s AND NOT %(letter)s = ANY (told)"""

_SILENT = audited("""
    UPDATE disc SET state = 'refused', answered_at = now()
    WHERE customer_id = %(customer)s AND serial = %(serial)s AND state = 'offered'
      AND NOT (SELECT disc_subscription FROM preferences WHERE customer_id = %(customer)s)
    RETURNING serial""")

_PROGRESS = "UPDATE disc SET progress = %s WHERE serial = %s AND state = 'ordered'"

_LEAVE = audited("""
    SELECT left_on_disc FROM leave_on_disc(
        %(customer)s, %(serial)s, %(ids)s::uuid[], %(spam)s::uuid[], %(raw)s, %(first)s, %(last)s,
        %(size)s, %(manifest)s, %(place)s) AS left_on_disc
    WHERE left_on_disc""")

_ORDER_ANYWAY = audited("""
    INSERT INTO disc (customer_id, serial, state, answered_at)
    SELECT %(customer)s, %(serial)s, 'ordered', now()
    WHERE 'refused' = (SELECT state FROM disc WHERE customer_id = %(customer)s
                       ORDER BY offered_at DESC LIMIT 1)
    ON CONFLICT DO NOTHING RETURNING serial""")

_THIN = "SELECT thin_cellar(%s, %s, %s)"

_TO_ERASE = """
SELECT customer_id FROM minute_count WHERE shelf = 3
GROUP BY customer_id HAVING sum(messages) > 0 ORDER BY customer_id"""

_ERASE = "SELECT erase_what_is_on_discs(%s, %s)"

# It is due once, on the day that it is first sent.
_SHIP = audited(
    """
    UPDATE disc SET state = 'shipped', shipped_at = now(), told = array_remove(told, 'disc_shipped')
    FROM (SELECT serial AS named, shipped_at IS NULL AS first FROM disc
          WHERE customer_id = %(customer)s AND serial = %(serial)s FOR UPDATE) AS before
    WHERE customer_id = %(customer)s AND serial = named AND state IN ('written', 'shipped')
    RETURNING customer_id, serial, first""",
    """
    INSERT INTO charge (customer_id, kind, object, on_day)
    SELECT customer_id, 'disc', serial, %(day)s FROM done WHERE first ON CONFLICT DO NOTHING""",
)

_RECEIVE = audited("""
    UPDATE disc SET received_at = now()
    WHERE customer_id = %(customer)s AND serial = %(serial)s AND state = 'shipped'
      AND received_at IS NULL
    RETURNING serial""")

_ARRIVED = """
    state = 'shipped' AND (received_at IS NOT NULL
                           OR shipped_at < now() - %(days)s * interval '1 day')"""

_DESTROY = audited(f"""
    UPDATE disc SET state = 'destroyed', destroyed_at = now()
    WHERE customer_id = %(customer)s AND serial = %(serial)s AND {_ARRIVED}
    RETURNING serial""")

_DUE = f"SELECT {_COLUMNS} FROM disc WHERE {_ARRIVED} ORDER BY shipped_at"

# What is still to be relayed goes on no disc yet.
_CELLAR = f"""
SELECT {COLUMNS} FROM message m
WHERE customer_id = %s AND shelf = 1
  AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.customer_id = m.customer_id
                  AND d.message_id = m.message_id AND d.state = 0)
ORDER BY message_id"""

_BODIES = """
SELECT message_id::text, sealed FROM body
WHERE customer_id = %s AND message_id >= %s AND message_id <= %s ORDER BY message_id, part"""

_LOCK = "SELECT pg_try_advisory_lock(x'6d61696c'::integer, hashtext(%s))"


@dataclass(frozen=True, slots=True)
class Disc:
    """A disc, and what has become of it."""

    customer: int
    serial: str
    state: str
    """``offered``, ``refused``, ``ordered``, ``written``, ``shipped`` or ``destroyed``."""
    offered_at: datetime
    answered_at: datetime | None
    told: tuple[str, ...]
    """The letters about it that have been sent."""
    told_at: datetime | None
    """When the last one of them was."""
    progress: float
    """Of writing it, from 0 to 1."""
    written_at: datetime | None
    shipped_at: datetime | None
    received_at: datetime | None
    """When the customer has said so."""
    destroyed_at: datetime | None
    messages: int
    left_out: int
    """Spam of the same period, destroyed with it."""
    raw_bytes: int
    first_at: datetime | None
    last_at: datetime | None
    image_size: int
    manifest_sha256: bytes | None
    place: str
    """Where the image is: host, and folder."""


@dataclass(frozen=True, slots=True)
class Written:
    """What is on an image that is there."""

    messages: Sequence[UUID]
    left_out: Sequence[UUID]
    raw_bytes: int
    first: datetime
    last: datetime
    image_size: int
    manifest_sha256: bytes
    place: str


class Discs:
    """The table ``disc``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def offer(self, by: By, serial: str) -> bool:
        """Offer a disc; False if one is offered or ordered already, or the last one was refused."""
        parameters = {"customer": by.customer, "serial": serial}
        act = note(by, Act.DISC_OFFERED, serial)
        return bool(await self._pool.query(_OFFER, parameters | act))

    async def answer(self, by: By, accepted: bool) -> str | None:
        """Order or refuse what is offered; the serial number, or None if nothing is."""
        state, act = ("ordered", Act.DISC_ORDERED) if accepted else ("refused", Act.DISC_REFUSED)
        parameters = {"customer": by.customer, "state": state} | note(by, act)
        rows = await self._pool.query(_ANSWER, parameters)
        return str(rows[0][0]) if rows else None

    async def order_anyway(self, by: By, serial: str) -> bool:
        """Order a disc though the last one was refused; False if it was not."""
        parameters = {"customer": by.customer, "serial": serial}
        act = note(by, Act.DISC_ORDERED, serial)
        return bool(await self._pool.query(_ORDER_ANYWAY, parameters | act))

    async def all(self, customer: int | None = None) -> list[Disc]:
        """A customer's discs, or all of them, the newest first."""
        return [_disc(row) for row in await self._pool.query(_ALL, {"customer": customer})]

    async def sender(self, today: date) -> Party:
        """Who sends discs: the seller of that day, or Mail6M if nobody has said."""
        rows = await self._pool.query(_SENDER, (today,))
        return Party(*rows[0]) if rows else Party("Mail6M")

    async def in_states(self, *states: str, limit: int) -> list[Disc]:
        """Discs of all customers in any of these states, those that changed last before others."""
        parameters = {"states": list(states), "limit": limit}
        return [_disc(row) for row in await self._pool.query(_IN_STATES, parameters)]

    async def get(self, serial: str) -> Disc:
        """One disc. Raises `Refused` if there is none of that number."""
        rows = await self._pool.query(_GET, (serial,))
        if not rows:
            raise Refused(f"there is no disc {serial}")
        return _disc(rows[0])

    async def open(self) -> list[Disc]:
        """Those that are offered, or on their way, of all customers."""
        return [_disc(row) for row in await self._pool.query(_OPEN)]

    async def gone(self) -> set[str]:
        """Serial numbers of which no image may be left."""
        return {serial for (serial,) in await self._pool.query(_GONE)}

    async def errands(self) -> dict[str, int]:
        """How much waits for an operator, of each kind."""
        [(to_write, to_ship, requests)] = await self._pool.query(_ERRANDS)
        return {
            "disc to write": to_write,
            "disc to ship": to_ship,
            "request to the archivist": requests,
        }

    async def telling(self, serial: str, letter: str, now: datetime) -> bool:
        """A letter is about to be sent; False if it has been, or somebody else is about to.

        Where nothing comes of that, it is tried again ten minutes later.
        """
        parameters = {"serial": serial, "letter": letter, "now": now}
        return bool(await self._pool.query(_TELLING, parameters))

    async def told(self, serial: str, letter: str) -> None:
        """A letter has been sent."""
        await self._pool.query(_TOLD, {"serial": serial, "letter": letter})

    async def subscribed(self) -> list[int]:
        """Customers who are asked, and have subscribed meanwhile."""
        return [customer for (customer,) in await self._pool.query(_SUBSCRIBED)]

    async def silent(self, by: By, serial: str) -> bool:
        """Take silence for a refusal; False if there has been an answer."""
        return await self._step(_SILENT, by, serial, Act.DISC_REFUSED)

    async def progress(self, serial: str, part: float) -> None:
        """So much of it is written."""
        await self._pool.query(_PROGRESS, (part, serial))

    async def thin(self, customer: int, capacity: int, most: int) -> int:
        """Destroy the oldest of a cellar whose disc was refused, to keep it under one; how many.

        At most so many messages at once.
        """
        return int((await self._pool.query(_THIN, (customer, capacity, most)))[0][0])

    async def to_erase(self) -> list[int]:
        """Customers with messages that are on discs, and not erased yet."""
        return [customer for (customer,) in await self._pool.query(_TO_ERASE)]

    async def erase(self, customer: int, most: int) -> int:
        """Erase for good what is on discs, at most so many messages; how many there were."""
        return int((await self._pool.query(_ERASE, (customer, most)))[0][0])

    async def ship(self, by: By, serial: str, day: date) -> bool:
        """It is on its way, for the first time or again; False if it is not there to be sent.

        The first time, it is due on ``day``.
        """
        parameters = {"customer": by.customer, "serial": serial, "day": day}
        act = note(by, Act.DISC_SHIPPED, serial)
        return bool(await self._pool.query(_SHIP, parameters | act))

    async def receive(self, by: By, serial: str) -> bool:
        """It has arrived; False if it was not sent, or has arrived already."""
        return await self._step(_RECEIVE, by, serial, Act.DISC_RECEIVED)

    async def due(self, days: int) -> list[Disc]:
        """Those whose image is to be destroyed: acknowledged, or sent so many days ago."""
        return [_disc(row) for row in await self._pool.query(_DUE, {"days": days})]

    async def destroy(self, by: By, serial: str, days: int) -> bool:
        """Its image may be no more from now on; False if it was sent again, or is known to be."""
        parameters = {"customer": by.customer, "serial": serial, "days": days}
        act = note(by, Act.DISC_DESTROYED, serial)
        return bool(await self._pool.query(_DESTROY, parameters | act))

    async def _step(self, statement: str, by: By, serial: str, act: Act) -> bool:
        parameters = {"customer": by.customer, "serial": serial} | note(by, act, serial)
        return bool(await self._pool.query(statement, parameters))


class CellarReading:
    """A customer's cellar, read from one end to the other for a disc. Blocking: for a thread.

    Of one disc there is one at a time, whatever the process. Raises `Unavailable`.
    """

    def __init__(self, dsn: str, customer: int, serial: str) -> None:
        self._customer = customer
        self._reading: Generator[Row, None, None] | None = None
        try:
            self._connection: BlockingConnection = psycopg2.connect(dsn, connect_timeout=10)
            with self._connection, self._connection.cursor() as cursor:
                cursor.execute(_LOCK, (serial,))
                [(alone,)] = cursor.fetchall()
        except psycopg2.Error as error:
            raise Unavailable(str(error).strip()) from error
        if not alone:
            self._connection.close()
            raise Refused(f"disc {serial} is being written just now")

    def messages(self) -> Iterator[Message]:
        """All messages, the oldest first."""
        rows = self._begin("messages", _CELLAR, (self._customer,), 500)
        return map(read_message, rows)

    def bodies(self, first: UUID, last: UUID) -> Iterator[tuple[str, bytes]]:
        """The sealed parts of all messages between two, both included, in their order."""
        parameters = (self._customer, str(first), str(last))
        rows = self._begin("bodies", _BODIES, parameters, 128)
        return ((message, bytes(sealed)) for message, sealed in rows)

    def _begin(self, name: str, sql: str, parameters: Sequence[object], many: int) -> Iterator[Row]:
        """Read something else: what was being read is read no further."""
        self._end()
        self._reading = self._rows(name, sql, parameters, many)
        return self._reading

    def _rows(
        self, name: str, sql: str, parameters: Sequence[object], many: int
    ) -> Generator[Row, None, None]:
        try:
            with self._connection, self._connection.cursor() as cursor:
                # By the primary key, so that nothing is sorted.
                cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off;"
                               " SET LOCAL enable_seqscan = off")  # fmt: skip
                with closing(self._connection.cursor(name)) as rows:
                    rows.itersize = many
                    rows.execute(sql, parameters)
                    yield from rows
        except psycopg2.Error as error:
            raise Unavailable(str(error).strip()) from error

    def leave(self, by: By, serial: str, written: Written) -> bool:
        """Take the messages of an image that is there out of the cellar, in one transaction.

        False, and nothing has changed, if the disc is not ordered any more, or the cellar is not as
        it was when the image was planned. It is done on the connection that keeps others out: they
        stay out until the database has done with it, whatever becomes of this process.
        """
        parameters = {
            "customer": by.customer,
            "serial": serial,
            "ids": words(map(id_text, written.messages)),
            "spam": words(map(id_text, written.left_out)),
            "raw": written.raw_bytes,
            "first": written.first,
            "last": written.last,
            "size": written.image_size,
            "manifest": written.manifest_sha256,
            "place": written.place,
        }
        try:
            self._end()
            with self._connection, self._connection.cursor() as cursor:
                cursor.execute(_LEAVE, parameters | note(by, Act.DISC_WRITTEN, serial))
                return bool(cursor.fetchall())
        except psycopg2.Error as error:
            raise Unavailable(str(error).strip()) from error

    def still_alone(self) -> None:
        """Make sure that nobody else may have begun. Raises `Unavailable`."""
        try:
            self._end()
            with self._connection, self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error as error:
            raise Unavailable(f"the writing of a disc is no longer alone: {error}") from error

    def close(self) -> None:
        """Let another one begin."""
        try:
            self._end()
        finally:
            self._connection.close()

    def _end(self) -> None:
        """Read no further."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()


def _disc(row: Row) -> Disc:
    customer, serial, state, offered, answered, told, told_at, progress, *rest = row
    written, shipped, received, destroyed, messages, left_out, raw, first, last, *more = rest
    size, manifest, place = more
    return Disc(
        customer, serial, state, offered.astimezone(UTC), utc(answered), tuple(told),
        utc(told_at), progress, utc(written), utc(shipped), utc(received), utc(destroyed),
        messages, left_out, raw, utc(first), utc(last), size,
        bytes(manifest) if manifest is not None else None, place,
    )  # fmt: skip
