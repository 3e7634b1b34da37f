"""The catalogue of a shelf: its pages by number, and the search.

A search never lets the planner choose. It walks the newest entries of the period first, which ends
the search for a common term; what has few hits, or none, is then asked of the index of grams, which
is quick for exactly those (docs/storage.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from mail6m.fold import Field, grams, spans
from mail6m.model import Criteria, Message, Shelf, id_text
from mail6m.storage.archive import COLUMNS, DAY, first_id, read_message
from mail6m.storage.arrays import numbers, texts, words
from mail6m.storage.pool import Pool, text

STEP = 4_000
"""Entries that are walked before anything else is tried: two or three milliseconds."""
STRIDE = 20_000
"""Entries that are walked at a time after that."""
LONGEST_WALK = 60_000
"""Entries that are walked at most where the walk is likely to end the search."""
_FIRST, _LAST = UUID(int=0), UUID(int=(1 << 128) - 1)

_BATCHES = """
SELECT u.unindexed_id, m.customer_id, m.message_id, m.sender, m.recipients, m.header_from,
       m.header_to, m.subject
FROM (SELECT * FROM unindexed ORDER BY unindexed_id LIMIT %s) u
CROSS JOIN LATERAL unnest(u.customers, u.messages) AS k (customer, id)
LEFT JOIN message m ON m.customer_id = k.customer AND m.message_id = k.id"""

_INDEX = """
SELECT index_messages(%s::bigint[], %s::integer[], %s::uuid[],
                      %s::text[], %s::text[], %s::text[])"""

_WAITING = "SELECT coalesce(sum(cardinality(messages)), 0)::bigint FROM unindexed"

_HOLDS = """
SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(bytes), 0)::bigint,
       coalesce(sum(raw_bytes), 0)::bigint
FROM shelf_count WHERE customer_id = %s AND shelf = %s"""

# Which day the message of an offset is of, newest first, and how many are newer than that day.
_PLACE = """
SELECT day, through - messages AS newer FROM (
    SELECT day, messages, sum(messages) OVER (ORDER BY day DESC) AS through FROM (
        SELECT day, sum(messages) AS messages FROM shelf_count
        WHERE customer_id = %s AND shelf = %s GROUP BY day) AS days) AS places
WHERE through > %s ORDER BY day DESC LIMIT 1"""

_PAGE = f"""
SELECT {COLUMNS} FROM message m
WHERE customer_id = %(customer)s AND shelf = %(shelf)s AND message_id < %(before)s::uuid
ORDER BY message_id DESC OFFSET %(offset)s LIMIT %(limit)s"""

_SOME = f"""
SELECT {COLUMNS} FROM message m
WHERE customer_id = %s AND shelf = %s AND message_id = ANY (%s::uuid[])
ORDER BY message_id DESC"""

# The walk goes down the primary key, which is the order of arrival.
_BETWEEN = """
SELECT message_id FROM message
WHERE customer_id = %s AND shelf = %s AND message_id >= %s::uuid AND message_id < %s::uuid
ORDER BY message_id DESC LIMIT %s"""

_WITHIN = """
SELECT coalesce(sum(messages), 0)::bigint FROM shelf_count
WHERE customer_id = %s AND shelf = %s AND day BETWEEN %s AND %s"""

_WALK = """
WITH walked AS MATERIALIZED (
    SELECT message_id, sender, recipient, subject FROM search_entry
    WHERE customer_id = %(customer)s AND shelf = %(shelf)s
      AND message_id >= %(low)s::uuid AND message_id < %(high)s::uuid
    ORDER BY message_id DESC LIMIT %(step)s
)
SELECT (SELECT count(*) FROM walked),
       (SELECT message_id FROM walked ORDER BY message_id LIMIT 1),
       ARRAY(SELECT message_id FROM walked
             WHERE (%(sender)s = '' OR strpos(sender, %(sender)s) > 0)
               AND (%(recipient)s = '' OR strpos(recipient, %(recipient)s) > 0)
               AND (%(subject)s = '' OR strpos(subject, %(subject)s) > 0)
             ORDER BY message_id DESC LIMIT %(limit)s)::text[]"""

_FIND = """
SELECT id FROM find_entries(%s, %s::smallint, %s::uuid, %s::uuid, %s::bigint[], %s::bigint[],
                            %s::bigint[], %s::bigint[], %s::bigint[], %s, %s, %s) AS id
ORDER BY id DESC LIMIT %s"""


class Entry(NamedTuple):
    """What a message is searched by; the texts are folded."""

    customer: int
    message: UUID
    sender: str
    recipient: str
    subject: str


class Unindexed(NamedTuple):
    """A message without an entry, and the batch that says so; no message if it is gone."""

    batch: int
    customer: int | None
    message: UUID | None
    sender: str
    recipients: Sequence[str]
    header_from: str
    header_to: str
    subject: str


class Holding(NamedTuple):
    """What a shelf holds: messages, bytes stored, bytes as they were received."""

    messages: int
    bytes: int
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class Found:
    """Ids of messages, newest first, and whether there may be more than were asked for."""

    ids: list[UUID]
    more: bool


class Catalogue:
    """The tables ``search_entry``, ``unindexed`` and ``shelf_count``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def unindexed(self, batches: int) -> list[Unindexed]:
        """Messages of the oldest batches that have no entry yet."""
        return [
            Unindexed(batch, customer, UUID(id_) if id_ else None, *rest)
            for batch, customer, id_, *rest in await self._pool.query(_BATCHES, (batches,))
        ]

    async def index(self, batches: Sequence[int], entries: Sequence[Entry]) -> None:
        """Add entries for those messages that are still there, and have done with the batches."""
        await self._pool.query(
            _INDEX,
            (
                numbers(batches),
                numbers([entry.customer for entry in entries]),
                words([id_text(entry.message) for entry in entries]),
                texts([text(entry.sender) for entry in entries]),
                texts([text(entry.recipient) for entry in entries]),
                texts([text(entry.subject) for entry in entries]),
            ),
        )

    async def waiting(self) -> int:
        """How many messages have no entry yet."""
        return int((await self._pool.query(_WAITING))[0][0])

    async def holding(self, customer: int, shelf: Shelf) -> Holding:
        """What a customer has on a shelf."""
        rows = await self._pool.query(_HOLDS, (customer, int(shelf)))
        return Holding(*map(int, rows[0]))

    async def page(self, customer: int, shelf: Shelf, offset: int, limit: int) -> list[Message]:
        """Messages of a shelf from the ``offset``-th newest on, counted from 0."""
        before = _LAST
        if offset:
            rows = await self._pool.query(_PLACE, (customer, int(shelf), offset))
            if not rows:
                return []
            day, newer = rows[0]
            before = UUID(int=((day + 1) * DAY) << 80)
            offset -= int(newer)
        parameters = {
            "customer": customer,
            "shelf": int(shelf),
            "before": str(before),
            "offset": offset,
            "limit": limit,
        }
        return [read_message(row) for row in await self._pool.query(_PAGE, parameters)]

    async def some(self, customer: int, shelf: Shelf, ids: Sequence[UUID]) -> list[Message]:
        """Those of the messages that stand on the customer's shelf, newest first."""
        rows = await self._pool.query(_SOME, (customer, int(shelf), words(map(id_text, ids))))
        return [read_message(row) for row in rows]

    async def find(
        self,
        customer: int,
        shelf: Shelf,
        criteria: Criteria,
        *,
        before: UUID | None = None,
        enough: int,
        limit: int,
    ) -> Found:
        """The newest messages that meet all the criteria, older than ``before``.

        At least ``enough``, where there are so many, and at most ``limit``.
        """
        search = _Search(customer, shelf, criteria, before)
        if not criteria.has_text:
            ids = await self._between(search, limit)
            return Found(ids, len(ids) == limit)
        total = await self._within(search)
        ids: list[UUID] = []
        high, walked, step = search.high, 0, STEP
        while True:
            count, last, found = await self._walk(search, high, step, limit - len(ids))
            ids += found
            walked += count
            if len(ids) == limit:
                return Found(ids, True)
            if count < step or last is None:
                return Found(ids, False)
            if len(ids) >= enough:
                return Found(ids, True)
            high, step = last, STRIDE
            if total > LONGEST_WALK and _index_is_quicker(len(ids), walked, enough):
                break
        ids += await self._look_up(search, high, limit - len(ids))
        return Found(ids, len(ids) == limit)

    async def _between(self, search: _Search, limit: int) -> list[UUID]:
        """The newest messages of the period, whatever they say; the index has no part in it."""
        bounds = (str(search.low), str(search.high), limit)
        rows = await self._pool.query(_BETWEEN, (search.customer, search.shelf, *bounds))
        return [UUID(id_) for (id_,) in rows]

    async def _within(self, search: _Search) -> int:
        """No fewer entries than there are in the period of a search."""
        parameters = (search.customer, search.shelf, *search.days)
        return int((await self._pool.query(_WITHIN, parameters))[0][0])

    async def _walk(
        self, search: _Search, high: UUID, step: int, limit: int
    ) -> tuple[int, UUID | None, list[UUID]]:
        criteria = search.criteria
        rows = await self._pool.query(
            _WALK,
            {
                "customer": search.customer,
                "shelf": search.shelf,
                "low": str(search.low),
                "high": str(high),
                "step": step,
                "sender": criteria.sender,
                "recipient": criteria.recipient,
                "subject": criteria.subject,
                "limit": limit,
            },
        )
        count, last, found = rows[0]
        return int(count), UUID(last) if last else None, [UUID(id_) for id_ in found]

    async def _look_up(self, search: _Search, high: UUID, limit: int) -> list[UUID]:
        criteria = search.criteria
        every, anys = search.grams()
        rows = await self._pool.query(
            _FIND,
            (
                search.customer,
                search.shelf,
                str(search.low),
                str(high),
                every and numbers(every),
                *[numbers(any_) if any_ else None for any_ in anys],
                search.spans(),
                criteria.sender,
                criteria.recipient,
                criteria.subject,
                limit,
            ),
        )
        return [UUID(id_) for (id_,) in rows]


class _Search:
    """A search, and what it means for keys and grams."""

    def __init__(
        self, customer: int, shelf: Shelf, criteria: Criteria, before: UUID | None
    ) -> None:
        self.customer = customer
        self.shelf = int(shelf)
        self.criteria = criteria
        self.low = first_id(criteria.since) if criteria.since else _FIRST
        self.high = min(first_id(criteria.until) if criteria.until else _LAST, before or _LAST)

    @property
    def days(self) -> tuple[int, int]:
        """The first and the last day of the period, since 1970."""
        return (self.low.int >> 80) // DAY, (self.high.int >> 80) // DAY

    def grams(self) -> tuple[list[int] | None, list[list[int]]]:
        """What every entry must have, and three sets of which it must have one each."""
        every: list[int] = []
        anys: list[list[int]] = []
        fields = (
            (Field.SENDER, self.criteria.sender),
            (Field.RECIPIENT, self.criteria.recipient),
            (Field.SUBJECT, self.criteria.subject),
        )
        for field, folded in fields:
            of = grams(self.customer, self.shelf, field, folded) if folded else ([], [])
            every += of[0]
            anys.append(of[1])
        return every or None, anys

    def spans(self) -> str | None:
        """The grams of the period; null for all time."""
        if self.criteria.since is None or self.criteria.until is None:
            return None
        first, last = self.low.int >> 80, self.high.int >> 80
        return numbers(spans(self.customer, self.shelf, first, last))


def _index_is_quicker(hits: int, walked: int, enough: int) -> bool:
    """Whether the walk so far says that it would go on for long."""
    if not hits:
        return True
    return (enough - hits) * walked / hits > LONGEST_WALK / 2
