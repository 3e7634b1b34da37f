"""What customers ask the archivist for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from mail6m.model import Act, id_text
from mail6m.storage.arrays import words
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row, text, utc

_COLUMNS = """
    customer_id, request_id, asked_at, account, sender, recipient, subject, since, until, reason,
    state, decided_at, answer, messages"""

_ASK = audited("""
    INSERT INTO archivist_request
        (customer_id, account, sender, recipient, subject, since, until, reason)
    SELECT %(customer)s, %(by_account)s, %(sender)s, %(recipient)s, %(subject)s, %(since)s,
           %(until)s, %(reason)s
    WHERE (SELECT count(*) FROM archivist_request
           WHERE customer_id = %(customer)s AND state = 'waiting') < %(most)s
    RETURNING request_id""")

_ALL = f"""
SELECT {_COLUMNS} FROM archivist_request
WHERE (%(customer)s::integer IS NULL OR customer_id = %(customer)s)
  AND (%(waiting)s::boolean IS NOT TRUE OR state = 'waiting')
ORDER BY request_id DESC LIMIT %(limit)s"""

_GET = f"SELECT {_COLUMNS} FROM archivist_request WHERE request_id = %s"

_GRANT = audited("""
    SELECT messages FROM grant_request(%(customer)s, %(request)s, %(ids)s::uuid[],
                                       now() + %(days)s * interval '1 day') AS messages
    WHERE messages IS NOT NULL""")

_REFUSE = audited("""
    UPDATE archivist_request SET state = 'refused', decided_at = now(), answer = %(answer)s
    WHERE customer_id = %(customer)s AND request_id = %(request)s AND state = 'waiting'
    RETURNING request_id""")

_SIZE = """
SELECT coalesce(sum(stored_size), 0)::bigint FROM message
WHERE customer_id = %(customer)s AND message_id = ANY (%(ids)s::uuid[] || ARRAY(
    SELECT message_id FROM brought_back WHERE customer_id = %(customer)s))"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted: parts of texts as they were typed, a period, and why."""

    sender: str
    recipient: str
    subject: str
    since: datetime | None
    until: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and what has become of it."""

    customer: int
    id: int
    asked_at: datetime
    account: str
    wish: Wish
    state: str
    """``waiting``, ``granted`` or ``refused``."""
    decided_at: datetime | None
    answer: str
    messages: int | None
    """How many have been brought back."""


class Requests:
    """The tables ``archivist_request`` and ``brought_back``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ask(self, by: By, wish: Wish, most: int) -> bool:
        """Make a request; False if so many wait already."""
        parameters = {
            "customer": by.customer,
            "sender": text(wish.sender),
            "recipient": text(wish.recipient),
            "subject": text(wish.subject),
            "since": wish.since,
            "until": wish.until,
            "reason": text(wish.reason),
            "most": most,
        }
        act = note(by, Act.ARCHIVIST_ASKED, wish.reason)
        return bool(await self._pool.query(_ASK, parameters | act))

    async def all(
        self, customer: int | None, limit: int, *, waiting: bool = False
    ) -> Sequence[Request]:
        """Requests of a customer, or of all of them, the newest first."""
        parameters = {"customer": customer, "waiting": waiting, "limit": limit}
        return [_request(row) for row in await self._pool.query(_ALL, parameters)]

    async def get(self, request: int) -> Request:
        """One request. Raises `Refused` if there is none of that number."""
        rows = await self._pool.query(_GET, (request,))
        if not rows:
            raise Refused(f"there is no request {request}")
        return _request(rows[0])

    async def size(self, customer: int, ids: Sequence[UUID]) -> int:
        """Stored bytes of what has been brought back, and of what would be."""
        parameters = {"customer": customer, "ids": words(map(id_text, ids))}
        return int((await self._pool.query(_SIZE, parameters))[0][0])

    async def grant(self, by: By, request: int, ids: Sequence[UUID], days: int) -> int | None:
        """Bring messages back for so many days, in one transaction; how many were there still.

        None if somebody else has decided.
        """
        parameters = {
            "customer": by.customer,
            "request": request,
            "ids": words(map(id_text, ids)),
            "days": days,
        }
        act = note(by, Act.ARCHIVIST_GRANTED, request)
        rows = await self._pool.query(_GRANT, parameters | act)
        return int(rows[0][0]) if rows else None

    async def refuse(self, by: By, request: int, answer: str) -> bool:
        """Refuse; False if somebody else has decided."""
        parameters = {"customer": by.customer, "request": request, "answer": text(answer)}
        act = note(by, Act.ARCHIVIST_REFUSED, request)
        return bool(await self._pool.query(_REFUSE, parameters | act))


def _request(row: Row) -> Request:
    customer, id_, asked, account, sender, recipient, subject, since, until, *rest = row
    reason, state, decided, answer, messages = rest
    wish = Wish(sender, recipient, subject, utc(since), utc(until), reason)
    return Request(
        customer, id_, asked.astimezone(UTC), account, wish, state, utc(decided), answer, messages
    )
