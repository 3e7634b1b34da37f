"""Files of all of a customer's mail: what is known of them, and the mail as it is read for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from mail6m.model import Act, Message, id_text
from mail6m.storage.archive import COLUMNS, read_message
from mail6m.storage.arrays import words
from mail6m.storage.audit import By, audited, note
from mail6m.storage.blocking import Blocking
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row, text

ABANDONED = 600
"""Seconds after which a measuring that nothing has been heard of is begun anew."""
_COLUMNS = "customer_id, format, asked_at, wanted, ready_at, messages, size, sha256, failure"

_ASK = audited("""
    INSERT INTO export (customer_id, format, wanted)
    SELECT %(customer)s, %(format)s, coalesce(sum(messages), 0) FROM shelf_count
    WHERE customer_id = %(customer)s AND shelf IN (0, 1)
    HAVING NOT EXISTS (SELECT FROM closing
                       WHERE customer_id = %(customer)s AND key_destroyed_at IS NOT NULL)
    ON CONFLICT (customer_id, format) DO UPDATE
    SET asked_at = now(), wanted = EXCLUDED.wanted, worker = NULL, worked_at = NULL,
        ready_at = NULL, messages = 0, size = 0, sha256 = NULL, failure = ''
    RETURNING format""")

_OF = f"SELECT {_COLUMNS} FROM export WHERE customer_id = %s ORDER BY format DESC"

_BEGIN = f"""
WITH mine AS (
    UPDATE export SET worker = %(worker)s, worked_at = now(), messages = 0, size = 0
    WHERE (customer_id, format) IN (
        SELECT customer_id, format FROM export
        WHERE ready_at IS NULL AND failure = ''
          AND (worker IS NULL OR worked_at < now() - %(idle)s * interval '1 s')
        ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING {_COLUMNS}
), anew AS (
    DELETE FROM export_stretch WHERE (customer_id, format) IN (SELECT customer_id, format FROM mine)
)
SELECT {_COLUMNS} FROM mine"""

_ADD = """
WITH mine AS (
    UPDATE export SET worked_at = now(), messages = messages + cardinality(%(messages)s::uuid[]),
                      size = size + %(size)s
    WHERE customer_id = %(customer)s AND format = %(format)s AND worker = %(worker)s
      AND ready_at IS NULL
    RETURNING customer_id, format
)
INSERT INTO export_stretch (customer_id, format, number, messages, start, size, directory)
SELECT customer_id, format, %(number)s, %(messages)s::uuid[], %(start)s, %(size)s, %(directory)s
FROM mine RETURNING number"""

_FINISH = """
UPDATE export SET ready_at = now(), size = size + %(size)s, sha256 = %(sha256)s
WHERE customer_id = %(customer)s AND format = %(format)s AND worker = %(worker)s
  AND ready_at IS NULL
RETURNING size"""

_LEAVE = """
UPDATE export SET worker = NULL, failure = %(failure)s
WHERE customer_id = %(customer)s AND format = %(format)s AND worker = %(worker)s
  AND ready_at IS NULL"""

_STRETCHES = """
SELECT number, messages::text[], start, size, directory FROM export_stretch
WHERE customer_id = %s AND format = %s AND start + size > %s ORDER BY number LIMIT 1"""

_MEASURED = """
SELECT coalesce(sum(size), 0)::bigint FROM export_stretch WHERE customer_id = %s AND format = %s"""

_DIRECTORIES = """
SELECT directory FROM export_stretch WHERE customer_id = %s AND format = %s AND number = %s"""

_TAKEN = "SELECT ready_at FROM export WHERE customer_id = %s AND format = %s"

_NEXT = f"""
SELECT {COLUMNS} FROM message m
WHERE customer_id = %s AND message_id > %s AND shelf IN (0, 1)
ORDER BY message_id LIMIT %s"""

_SOME = f"""
SELECT {COLUMNS} FROM message m
WHERE customer_id = %s AND message_id = ANY (%s::uuid[]) AND shelf IN (0, 1)
ORDER BY message_id"""

_BODIES = """
SELECT message_id::text, part, sealed FROM body
WHERE customer_id = %s AND (message_id, part) > (%s::uuid, %s) AND message_id <= %s::uuid
ORDER BY message_id, part LIMIT %s"""
BY_KEY = ("enable_sort=off", "enable_bitmapscan=off", "enable_seqscan=off")
"""For the sessions that read: each statement walks the primary key, whatever the statistics say."""
_PARTS = 64
"""Parts that are read at a time: half a megabyte."""
_BEFORE_ALL = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Export:
    """A file of all of a customer's mail, or what will be one."""

    customer: int
    format: str
    """``zip`` or ``mbox``."""
    asked_at: datetime
    wanted: int
    """How many messages there were then."""
    ready_at: datetime | None
    """None while it is being measured."""
    messages: int
    size: int
    """Octets; of what has been measured."""
    sha256: bytes | None
    failure: str
    """Why there can be no file; empty if there can."""

    @property
    def progress(self) -> float:
        """How far the measuring is, from 0 to 1."""
        if self.ready_at is not None:
            return 1.0
        return min(self.messages / self.wanted, 1.0) if self.wanted else 0.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the file, made out of a few messages."""

    number: int
    messages: Sequence[UUID]
    start: int
    """The place of its first octet in the file."""
    size: int
    directory: bytes
    """What the end of a zip file says about them."""


class Exports:
    """The tables ``export`` and ``export_stretch``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ask(self, by: By, format_: str) -> None:
        """A file of all there is now is wanted; it takes the place of the one there was.

        Raises `Refused` if the customer's mail can be read no more.
        """
        parameters = {"customer": by.customer, "format": format_}
        if not await self._pool.query(_ASK, parameters | note(by, Act.EXPORT_ASKED, format_)):
            raise Refused(f"there is no customer {by.customer} any more")

    async def of(self, customer: int) -> list[Export]:
        """A customer's."""
        return [_export(row) for row in await self._pool.query(_OF, (customer,))]

    async def begin(self, worker: UUID) -> Export | None:
        """One that waits to be measured, by this worker from now on."""
        parameters = {"worker": str(worker), "idle": ABANDONED}
        rows = await self._pool.query(_BEGIN, parameters)
        return _export(rows[0]) if rows else None

    async def add(self, worker: UUID, export: Export, stretch: Stretch) -> bool:
        """A stretch has been measured; False if another worker has taken over."""
        parameters = _whose(worker, export) | {
            "number": stretch.number,
            "messages": words(map(id_text, stretch.messages)),
            "start": stretch.start,
            "size": stretch.size,
            "directory": stretch.directory,
        }
        return bool(await self._pool.query(_ADD, parameters))

    async def finish(self, worker: UUID, export: Export, more: int, sha256: bytes) -> bool:
        """All is measured, and so many octets at its end; False as for `add`."""
        parameters = _whose(worker, export) | {"size": more, "sha256": sha256}
        return bool(await self._pool.query(_FINISH, parameters))

    async def leave(self, worker: UUID, export: Export, failure: str = "") -> None:
        """Measure no further: another one may begin anew, if there is no reason why nobody can."""
        await self._pool.query(_LEAVE, _whose(worker, export) | {"failure": text(failure)})


class MailReading:
    """A customer's mail, and what its files are made of. Blocking: for a thread.

    Nothing is held in the database between two pieces. Raises `Unavailable`.
    """

    def __init__(self, database: Blocking, customer: int) -> None:
        self._database = database
        self._customer = customer

    def next(self, after: UUID | None, most: int) -> list[Message]:
        """The next messages in cabinet and cellar, in order of arrival."""
        parameters = (self._customer, str(after or _BEFORE_ALL), most)
        return [read_message(row) for row in self._database.query(_NEXT, parameters)]

    def some(self, messages: Sequence[UUID]) -> list[Message]:
        """Those of these that are there still, in order of arrival."""
        parameters = (self._customer, words(map(id_text, messages)))
        return [read_message(row) for row in self._database.query(_SOME, parameters)]

    def bodies(self, first: UUID, last: UUID) -> Iterator[tuple[str, bytes]]:
        """The sealed parts of all messages between two, both included, in their order."""
        at, part = str(first), -1
        while True:
            parameters = (self._customer, at, part, str(last), _PARTS)
            rows = self._database.query(_BODIES, parameters)
            yield from ((message, bytes(sealed)) for message, _, sealed in rows)
            if len(rows) < _PARTS:
                return
            at, part, _ = rows[-1]

    def is_as_it_was(self, export: Export) -> bool:
        """Whether the file has not been asked for anew."""
        rows = self._database.query(_TAKEN, (self._customer, export.format))
        return bool(rows) and rows[0][0] == export.ready_at

    def stretch(self, format_: str, place: int) -> Stretch | None:
        """The stretch that a place in the file is in; None behind the last one."""
        rows = self._database.query(_STRETCHES, (self._customer, format_, place))
        if not rows:
            return None
        number, messages, start, size, directory = rows[0]
        return Stretch(number, [UUID(id_) for id_ in messages], start, size, bytes(directory))

    def measured(self, format_: str) -> int:
        """The octets of all stretches."""
        return int(self._database.query(_MEASURED, (self._customer, format_))[0][0])

    def directories(self, format_: str) -> Iterator[bytes]:
        """What each stretch says of its messages, in their order."""
        number = 0
        while rows := self._database.query(_DIRECTORIES, (self._customer, format_, number)):
            yield bytes(rows[0][0])
            number += 1


def _whose(worker: UUID, export: Export) -> dict[str, object]:
    return {"worker": str(worker), "customer": export.customer, "format": export.format}


def _export(row: Row) -> Export:
    customer, format_, asked, wanted, ready, messages, size, sha256, failure = row
    return Export(
        customer, format_, asked.astimezone(UTC), wanted,
        ready.astimezone(UTC) if ready is not None else None, messages, size,
        bytes(sha256) if sha256 is not None else None, failure,
    )  # fmt: skip
