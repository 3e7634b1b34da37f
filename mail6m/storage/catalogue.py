"""The catalogue of a shelf: its pages by number, and the search.

A search never lets the planner choose. It walks the newest entries of the period first, which ends
the search for a common term; what has few hits, or none, is then asked of the index of grams, which
is quick for exactly those (docs/storage.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from mail6m.fold import Field, Grams, grams, spans
from mail6m.model import Criteria, Message, Shelf, id_text
from mail6m.storage.archive import COLUMNS, DAY, first_id, read_message
from mail6m.storage.arrays import numbers, texts, words
from mail6m.storage.pool import Pool, Prepared

NEAR = 1_000
"""Messages that a page is found behind by passing them: a millisecond at the most."""
STEP = 2_000
"""Entries that are walked before anything else is tried: about two milliseconds."""
STRIDE = 6_000
"""Entries that are walked at a time after that."""
LONGEST_WALK = 24_000
"""Entries that are walked at most where the walk is likely to end the search."""
CANDIDATES = 2_000
"""Entries that are looked at in no order; where there are more, the newest are tried first."""
SAMPLE = 200
"""Entries that say which grams are rare."""
GRAMS = 4
"""Grams that the index is asked for: more of them narrow little, and cost as much each."""
WINDOW = 1 << 20
"""Milliseconds of the first window for that, a quarter of an hour; the next are eight times it."""
_MANY = 1 << 30
_FIRST, _LAST = UUID(int=0), UUID(int=(1 << 128) - 1)

_BATCHES = """
SELECT u.unindexed_id, m.customer_id, m.message_id, m.sender, m.recipients, m.header_from,
       m.header_to, m.subject
FROM (SELECT *, sum(size) OVER (ORDER BY unindexed_id) - size AS before
      FROM (SELECT * FROM unindexed ORDER BY unindexed_id LIMIT %s) AS oldest) AS u
CROSS JOIN LATERAL unnest(u.customers, u.messages) AS k (customer, id)
LEFT JOIN message m ON m.customer_id = k.customer AND m.message_id = k.id
WHERE u.before < %s"""

_INDEX = """
SELECT index_messages(%s::bigint[], %s::integer[], %s::uuid[],
                      %s::text[], %s::text[], %s::text[])"""

_WAITING = "SELECT coalesce(sum(size), 0)::bigint FROM unindexed"

# Behind the last page there is the last page.
_PAGE = Prepared(
    "page",
    f"""
SELECT h.messages, h.bytes, h.raw_bytes, {COLUMNS}
FROM (SELECT %s::integer AS customer, %s::smallint AS shelf, %s::bigint AS number,
             %s::bigint AS rows, %s::bigint AS near) AS a
CROSS JOIN LATERAL (
    SELECT coalesce(sum(messages), 0)::bigint AS messages, coalesce(sum(bytes), 0)::bigint AS bytes,
           coalesce(sum(raw_bytes), 0)::bigint AS raw_bytes
    FROM shelf_count WHERE customer_id = a.customer AND shelf = a.shelf) AS h
CROSS JOIN LATERAL shelf_place(
    a.customer, a.shelf, least(a.number - 1, greatest(h.messages - 1, 0) / a.rows) * a.rows, a.near
) AS p
LEFT JOIN LATERAL shelf_page(
    a.customer, a.shelf, '{_FIRST}', p.high, p.skipped, a.rows) AS m ON true
ORDER BY m.message_id DESC""",
)

_BETWEEN = """
SELECT message_id FROM shelf_page(%s, %s::smallint, %s::uuid, %s::uuid, 0, %s)
ORDER BY message_id DESC"""

_SOME = f"""
SELECT {COLUMNS} FROM message m
WHERE customer_id = %s AND shelf = %s AND message_id = ANY (%s::uuid[])
ORDER BY message_id DESC"""

_SAMPLE = """
SELECT sender, recipient, subject FROM search_entry
WHERE customer_id = %s AND shelf = %s ORDER BY message_id DESC LIMIT %s"""

_OLDEST = """
SELECT coalesce(min(day), 0) FROM shelf_count WHERE customer_id = %s AND shelf = %s"""

_WALK = """
SELECT walked, last, ids::text[]
FROM walk_entries(%s, %s::smallint, %s::uuid, %s::uuid, %s, %s, %s, %s, %s)"""

_FIND = """
SELECT looked_at, ids::text[]
FROM find_entries(%s, %s::smallint, %s::uuid, %s::uuid, %s::bigint[], %s::bigint[], %s::bigint[],
                  %s::bigint[], %s::bigint[], %s, %s, %s, %s, %s)"""


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


class Page(NamedTuple):
    """A page of a shelf: what the shelf holds, and the messages of the page, newest first."""

    holding: Holding
    messages: list[Message]


class Catalogue:
    """The tables ``search_entry``, ``unindexed`` and ``shelf_count``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        pool.prepare(_PAGE)

    async def unindexed(self, messages: int) -> list[Unindexed]:
        """The oldest messages without an entry: those of so many batches as have enough of them."""
        return [
            Unindexed(batch, customer, UUID(id_) if id_ else None, *rest)
            for batch, customer, id_, *rest in await self._pool.query(
                _BATCHES, (messages, messages)
            )
        ]

    async def index(self, batches: Sequence[int], entries: Sequence[Entry]) -> None:
        """Add entries for those messages that are still there, and have done with the batches."""
        await self._pool.query(
            _INDEX,
            (
                numbers(batches),
                numbers([entry.customer for entry in entries]),
                words([id_text(entry.message) for entry in entries]),
                texts([entry.sender for entry in entries]),
                texts([entry.recipient for entry in entries]),
                texts([entry.subject for entry in entries]),
            ),
        )

    async def waiting(self) -> int:
        """How many messages have no entry yet."""
        return int((await self._pool.query(_WAITING))[0][0])

    async def page(self, customer: int, shelf: Shelf, number: int, rows: int) -> Page:
        """A page of a shelf, counted from 1, or the last one if there is none of that number."""
        parameters = (customer, int(shelf), number, rows, NEAR)
        found = await self._pool.query(_PAGE.execute, parameters)
        return Page(Holding(*found[0][:3]), [read_message(row[3:]) for row in found if row[3]])

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
    ) -> list[UUID]:
        """The newest messages that meet all the criteria, older than ``before``, newest first.

        At least ``enough``, where there are so many, and at most ``limit``.
        """
        search = _Search(customer, shelf, criteria, before)
        if not criteria.has_text:
            return await self._between(search, limit)
        ids: list[UUID] = []
        high, walked, step = search.high, 0, STEP
        while True:
            count, last, found = await self._walk(search, high, step, limit - len(ids))
            ids += found
            walked += count
            if count < step or last is None or len(ids) >= enough:
                return ids
            high, step = last, STRIDE
            if _index_is_quicker(len(ids), walked, enough):
                break
        return ids + await self._look_up(search, high, enough - len(ids), limit - len(ids))

    async def _between(self, search: _Search, limit: int) -> list[UUID]:
        """The newest messages of the period, whatever they say; the index has no part in it."""
        bounds = (str(search.low), str(search.high), limit)
        rows = await self._pool.query(_BETWEEN, (search.customer, search.shelf, *bounds))
        return [UUID(id_) for (id_,) in rows]

    async def _walk(
        self, search: _Search, high: UUID, step: int, limit: int
    ) -> tuple[int, UUID | None, list[UUID]]:
        bounds = (search.customer, search.shelf, str(search.low), str(high))
        rows = await self._pool.query(_WALK, (*bounds, step, *search.texts, limit))
        count, last, found = rows[0]
        return int(count), UUID(last) if last else None, [UUID(id_) for id_ in found]

    async def _look_up(self, search: _Search, high: UUID, enough: int, limit: int) -> list[UUID]:
        """What the index finds: all there is at once, or else window by window, newest first."""
        every, anys = await self._rarest(search), search.anys()
        if every:
            # Without terms of one or two letters: where those are common, they cost much.
            period = (search.low, high)
            looked_at, ids = await self._ask(search, (every, []), period, CANDIDATES, limit)
            if looked_at < CANDIDATES:
                return ids
        oldest = max(search.low, await self._oldest(search))
        ids, width = [], WINDOW
        while high > oldest and len(ids) < enough:
            low = max(oldest, UUID(int=max(0, (high.int >> 80) - width) << 80))
            wanted = limit - len(ids)
            _, found = await self._ask(search, (every, anys), (low, high), _MANY, wanted)
            ids += found
            high, width = low, width * 8
        return ids

    async def _ask(
        self,
        search: _Search,
        given: tuple[list[int], list[list[int]]],
        period: tuple[UUID, UUID],
        most: int,
        wanted: int,
    ) -> tuple[int, list[UUID]]:
        """How many entries were looked at, and the newest that were found."""
        every, anys = given
        low, high = period
        sets = [every, *(anys or [[], [], []]), search.spans(low, high)]
        bounds = (search.customer, search.shelf, str(low), str(high))
        asked = [numbers(grams_) if grams_ else None for grams_ in sets]
        parameters = (*bounds, *asked, *search.texts, most, wanted)
        rows = await self._pool.query(_FIND, parameters)
        looked_at, ids = rows[0]
        return int(looked_at), [UUID(id_) for id_ in ids]

    async def _rarest(self, search: _Search) -> list[int]:
        """Of each term the grams that the newest entries have least often."""
        entries = await self._pool.query(_SAMPLE, (search.customer, search.shelf, SAMPLE))
        terms = [
            _rarest(every, "\n".join(texts_).encode())
            for every, texts_ in zip(search.every(), zip(*entries, strict=True), strict=False)
            if every
        ]
        each = max(GRAMS // max(len(terms), 1), 2)
        chosen = [choice for term in terms for choice in term[:each]]
        # What most entries have narrows nothing.
        rare = [gram for count, gram in chosen if count < len(entries) / 2]
        return rare or [gram for _, gram in chosen]

    async def _oldest(self, search: _Search) -> UUID:
        """No message of the shelf has a lesser id."""
        rows = await self._pool.query(_OLDEST, (search.customer, search.shelf))
        return UUID(int=(int(rows[0][0]) * DAY) << 80)


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
    def texts(self) -> tuple[str, str, str]:
        """What is looked for in each field."""
        return self.criteria.sender, self.criteria.recipient, self.criteria.subject

    def every(self) -> list[dict[int, bytes]]:
        """The grams that every entry must have in each field, with what they stand for."""
        return [
            self._grams(field, folded).every
            for field, folded in zip(Field, self.texts, strict=False)
        ]

    def anys(self) -> list[list[int]]:
        """Sets of grams of which every entry must have one each; an empty set asks for nothing."""
        return [
            self._grams(field, folded).any for field, folded in zip(Field, self.texts, strict=False)
        ]

    def _grams(self, field: Field, folded: str) -> Grams:
        return grams(self.customer, self.shelf, field, folded) if folded else Grams({}, [])

    def spans(self, low: UUID, high: UUID) -> list[int]:
        """The grams of a period; none for all time."""
        if low == _FIRST:
            return []
        return spans(self.customer, self.shelf, low.int >> 80, high.int >> 80)


def _rarest(every: dict[int, bytes], sample: bytes) -> list[tuple[int, int]]:
    """How often a sample has each gram, and the gram; the rarest first."""
    # Of those that are equally rare, rather such as do not overlap.
    places = {gram: place % 3 for place, gram in enumerate(every)}
    counts = [(sample.count(octets), gram) for gram, octets in every.items()]
    return sorted(counts, key=lambda choice: (choice[0], places[choice[1]]))


def _index_is_quicker(hits: int, walked: int, enough: int) -> bool:
    """Whether the walk so far says that it would go on for long."""
    if not hits:
        return True
    return (enough - hits) * walked / hits > LONGEST_WALK / 2
