"""The catalogue of a shelf: its pages by number, and the search.

A search never lets the planner choose. It walks the newest entries of the period first, which ends
the search for a common term; what has few hits, or none, is then asked of the index of grams, which
is quick for exactly those (docs/storage.md). The index has the cabinet only: the cellar is walked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from mail6m.fold import Field, Grams, grams, spans
from mail6m.model import Criteria, Message, Shelf, id_text
from mail6m.storage.archive import COLUMNS, first_id, read_message
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
FEW = 2
"""Windows that the index is asked for first: what was common lately is found there."""
CANDIDATES = 2_000
"""Entries that are looked at in no order; where there are more, it goes on window by window."""
SAMPLE = 200
"""Entries that say which grams are rare."""
GRAMS = 4
"""Grams that the index is asked for: more of them narrow little, and cost as much each."""
WINDOW = 1 << 20
"""Milliseconds of the first window, a quarter of an hour; each is eight times the one before."""
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

_BETWEEN_OF_KIND = """
SELECT message_id FROM newest_entries(%s, %s::smallint, %s, %s::uuid, %s::uuid, %s)
ORDER BY message_id DESC"""

_SOME = f"""
SELECT {COLUMNS} FROM message m
WHERE customer_id = %s AND shelf = %s AND message_id = ANY (%s::uuid[])
ORDER BY message_id DESC"""

_WALK = """
SELECT walked, last, ids::text[], entries, sample
FROM walk_entries(%s, %s::smallint, %s, %s::uuid, %s::uuid, %s, %s, %s, %s, %s, %s, %s)"""

_FIND = """
SELECT ids::text[]
FROM find_in_windows(%s, %s, %s::uuid[], %s::uuid[], %s, %s, %s::uuid, %s::bigint[], %s,
                     %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s, %s, %s, %s, %s)"""


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
            walk = await self._walk(search, high, step, enough - len(ids), limit - len(ids))
            ids += walk.found
            walked += walk.walked
            if walk.last is None or walk.walked < step or len(ids) >= enough:
                return ids
            high, step = walk.last, STRIDE
            if shelf is Shelf.CABINET and _index_is_quicker(len(ids), walked, enough):
                rarest = search.rarest(walk.entries, walk.sample)
                return ids + await self._look_up(
                    search, rarest, high, enough - len(ids), limit - len(ids)
                )

    async def _between(self, search: _Search, limit: int) -> list[UUID]:
        """The newest messages of the period, whatever they say; the index has no part in it."""
        bounds = (str(search.low), str(search.high), limit)
        if search.criteria.spam is None:
            rows = await self._pool.query(_BETWEEN, (search.customer, search.shelf, *bounds))
        else:
            of_kind = (search.customer, search.shelf, search.criteria.spam)
            rows = await self._pool.query(_BETWEEN_OF_KIND, of_kind + bounds)
        return [UUID(id_) for (id_,) in rows]

    async def _walk(self, search: _Search, high: UUID, step: int, enough: int, limit: int) -> _Walk:
        where = (search.customer, search.shelf, search.criteria.spam, str(search.low), str(high))
        how_many = (enough, limit, SAMPLE)
        rows = await self._pool.query(_WALK, (*where, step, *search.texts, *how_many))
        walked, last, found, entries, sample = rows[0]
        return _Walk(
            walked, UUID(last) if last else None, list(map(UUID, found)), entries or 0, sample or []
        )

    async def _look_up(
        self, search: _Search, rarest: list[int], high: UUID, enough: int, limit: int
    ) -> list[UUID]:
        """What the index finds, below ``high``."""
        lows, highs = search.windows(high)
        spans = [search.spans(*window) for window in zip(lows, highs, strict=True)]
        parameters = (
            search.customer,
            search.criteria.spam,
            words(map(str, lows)),
            words(map(str, highs)),
            texts(list(map(numbers, spans))),
            FEW,
            str(search.low),
            _some(search.spans(search.low, high)),
            CANDIDATES,
            *map(_some, (rarest, *search.anys())),
            *search.texts,
            enough,
            limit,
        )
        [(ids,)] = await self._pool.query(_FIND, parameters)
        return list(map(UUID, ids))


class _Walk(NamedTuple):
    """Entries that were walked: how many, the last of them, and the ids of those that fit.

    Where the search goes on, a sample of what the shelf's newest entries say, field by field.
    """

    walked: int
    last: UUID | None
    found: list[UUID]
    entries: int
    sample: list[str]


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

    def rarest(self, entries: int, sample: Sequence[str]) -> list[int]:
        """Of each term the grams that the entries of a sample have least often."""
        terms = [
            _rarest(every, texts_.encode())
            for every, texts_ in zip(self.every(), sample, strict=False)
            if every
        ]
        each = max(GRAMS // max(len(terms), 1), 2)
        chosen = [choice for term in terms for choice in term[:each]]
        # What most entries have narrows nothing.
        rare = [gram for count, gram in chosen if count < entries / 2]
        return rare or [gram for _, gram in chosen]

    def windows(self, high: UUID) -> tuple[list[UUID], list[UUID]]:
        """Where the windows to look through begin, and where they end, the newest one first."""
        milliseconds, first = high.int >> 80, max(self.low.int >> 80, 1)
        lows, width = [], WINDOW
        while milliseconds - width > first:
            milliseconds -= width
            lows.append(UUID(int=milliseconds << 80))
            width *= 8
        return [*lows, max(self.low, UUID(int=1 << 80))], [high, *lows]

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


def _some(grams_: list[int]) -> str | None:
    """An array of PostgreSQL's, or null: asks for nothing."""
    return numbers(grams_) if grams_ else None


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
