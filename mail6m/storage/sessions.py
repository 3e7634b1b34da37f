"""Sessions of the console, by the SHA-256 of their tokens."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from mail6m.model import Act, Role
from mail6m.storage.audit import By, audited, note
from mail6m.storage.pool import Pool, Prepared, Row, text, utc

# A look also notes that the session is in use, once a minute; and says once what it had to say.
_LOOK = Prepared(
    "look",
    """
WITH seen AS (
    UPDATE session SET seen_at = now()
    WHERE token_hash = %s::bytea AND seen_at < now() - interval '1 minute'
      AND seen_at > now() - %s::float8 * interval '1 second'
)
SELECT s.session_id, s.complete, s.customer_id, c.company, s.account_id, a.email, a.role,
       a.totp_secret IS NOT NULL, c.plan, c.capacity, p.language, p.time_zone, p.cabinet_rows,
       p.search_rows, s.notices,
       EXISTS (SELECT FROM disc d WHERE d.customer_id = s.customer_id AND d.state = 'offered'),
       (SELECT due_at FROM closing e WHERE e.customer_id = s.customer_id),
       (SELECT suspended_at FROM contract k WHERE k.customer_id = s.customer_id),
       s.viewing, s.viewing_until
FROM session s
JOIN account a USING (customer_id, account_id)
JOIN customer c USING (customer_id)
JOIN preferences p USING (customer_id)
WHERE s.token_hash = %s::bytea
  AND s.seen_at > now() - %s::float8 * interval '1 second'
  AND s.created_at > now() - %s::float8 * interval '1 second'""",
)

_SEEN = """
SELECT c.customer_id, c.company, c.plan, c.capacity, p.time_zone, p.cabinet_rows, p.search_rows,
       EXISTS (SELECT FROM disc d WHERE d.customer_id = c.customer_id AND d.state = 'offered'),
       (SELECT due_at FROM closing e WHERE e.customer_id = c.customer_id),
       (SELECT suspended_at FROM contract k WHERE k.customer_id = c.customer_id)
FROM customer c JOIN preferences p USING (customer_id) WHERE customer_id = %s"""

# Noted for the customer, and for the house; so is its end, by the database itself.
_VIEW = audited(
    """
    UPDATE session s
    SET viewing = c.customer_id, viewing_by = %(by_account)s,
        viewing_until = now() + %(seconds)s * interval '1 second'
    FROM customer c JOIN preferences USING (customer_id)
    WHERE c.customer_id = %(customer)s AND c.customer_id <> 0
      AND s.session_id = %(session)s AND s.customer_id = 0
    RETURNING c.customer_id""",
    """
    INSERT INTO audit (customer_id, account, client_address, act, object, by_house)
    SELECT 0, %(by_account)s, %(by_client)s, %(act)s, customer_id::text, true FROM done""",
)

_LEAVE = """
UPDATE session SET viewing = NULL, viewing_until = NULL
WHERE session_id = %s AND viewing IS NOT NULL RETURNING 1"""
_LEAVE_OVERDUE = """
UPDATE session SET viewing = NULL, viewing_until = NULL WHERE viewing_until < now()"""

_OPEN = audited("""
    INSERT INTO session (token_hash, customer_id, account_id, complete, client_address, user_agent)
    VALUES (%(token)s, %(customer)s, %(account)s, %(complete)s, %(client)s, %(agent)s)
    RETURNING session_id""")

_COMPLETE = audited("""
    UPDATE session SET token_hash = %(new)s, complete = true
    WHERE token_hash = %(token)s AND NOT complete RETURNING session_id""")

_ROTATE = "UPDATE session SET token_hash = %s WHERE session_id = %s RETURNING 1"

_LIST = """
SELECT session_id, created_at, seen_at, client_address, user_agent FROM session
WHERE customer_id = %(customer)s AND account_id = %(account)s AND complete
  AND seen_at > now() - %(idle)s * interval '1 second'
  AND created_at > now() - %(lifetime)s * interval '1 second'
ORDER BY seen_at DESC"""

_OF_ACCOUNT = "DELETE FROM session WHERE customer_id = %(customer)s AND account_id = %(account)s"
_CLOSE = audited(f"{_OF_ACCOUNT} AND session_id = %(session)s RETURNING session_id")
_CLOSE_OTHERS = audited(f"{_OF_ACCOUNT} AND session_id <> %(session)s RETURNING session_id")

_SWEEP = """
DELETE FROM session WHERE seen_at < now() - %s * interval '1 second'
   OR created_at < now() - %s * interval '1 second'"""

_NOTICE = "UPDATE session SET notices = notices || %s::text WHERE session_id = %s"
_HEARD = "UPDATE session SET notices = '{}' WHERE session_id = %s AND notices <> '{}'"

_OFFER = "UPDATE session SET totp_offered = %s WHERE session_id = %s"
_OFFERED = "SELECT totp_offered FROM session WHERE session_id = %s"


@dataclass(frozen=True, slots=True)
class Viewing:
    """An operator sees the console as a customer does."""

    customer: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """A customer, as whose account an operator sees the console."""

    customer: int
    company: str
    plan: str
    capacity: int
    time_zone: str
    cabinet_rows: int
    search_rows: int
    disc_offered: bool
    closes_at: datetime | None
    suspended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a session is: an account, its customer, and what they prefer."""

    session: int
    complete: bool
    """The second factor has been given, or there is none."""
    customer: int
    company: str
    account: int
    email: str
    role: Role
    two_factors: bool
    plan: str
    capacity: int
    """Stored bytes in the cabinet."""
    language: str
    """Empty: as the browser asks."""
    time_zone: str
    cabinet_rows: int
    search_rows: int
    notices: tuple[str, ...]
    """What the next page has to say."""
    disc_offered: bool
    """An offer waits for an answer."""
    closes_at: datetime | None
    """When the contract ends, if it is to end."""
    suspended_at: datetime | None = None
    """Since when the customer may look, but not act."""
    viewing: Viewing | None = None

    def seeing(self, seen: Seen) -> Identity:
        """An operator's, as a reader of that customer's; the language stays the operator's own."""
        there = {one.name: getattr(seen, one.name) for one in fields(Seen)}
        return replace(self, role=Role.READER, account=0, **there)


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as its owner sees it."""

    session: int
    created_at: datetime
    seen_at: datetime
    client: str
    agent: str


class Sessions:
    """The table ``session``. Times are seconds: without a request, and in all."""

    def __init__(self, pool: Pool, idle: float, lifetime: float) -> None:
        self._pool = pool
        self._limits = {"idle": idle, "lifetime": lifetime}
        pool.prepare(_LOOK)

    async def look(self, token_hash: bytes) -> Identity | None:
        """Who has that token; None if it is nobody's, or has run out."""
        idle, lifetime = self._limits["idle"], self._limits["lifetime"]
        parameters = (token_hash, idle, token_hash, idle, lifetime)
        rows = await self._pool.query(_LOOK.execute, parameters)
        return _identity(rows[0]) if rows else None

    async def seen(self, customer: int) -> Seen | None:
        """As whose account a customer's console is seen; None if there is no such customer."""
        rows = await self._pool.query(_SEEN, (customer,))
        if not rows:
            return None
        number, company, plan, capacity, zone, cabinet, search, offered, closes, suspended = rows[0]
        return Seen(
            number, company, plan, capacity, zone, cabinet, search, offered, utc(closes),
            utc(suspended),
        )  # fmt: skip

    async def view(self, by: By, session: int, seconds: float) -> bool:
        """Let an operator's session see the console of ``by.customer``, for so many seconds.

        False if there is no such customer.
        """
        parameters = {"customer": by.customer, "session": session, "seconds": seconds}
        return bool(await self._pool.query(_VIEW, parameters | note(by, Act.CONSOLE_SEEN)))

    async def leave(self, session: int) -> bool:
        """A session sees no customer's console any more; False if it saw none."""
        return bool(await self._pool.query(_LEAVE, (session,)))

    async def open(
        self, by: By, account: int, token_hash: bytes, *, complete: bool, agent: str
    ) -> None:
        """A session for somebody who has given the right password."""
        parameters: dict[str, Any] = {
            "token": token_hash,
            "customer": by.customer,
            "account": account,
            "complete": complete,
            "client": text(by.client),
            "agent": text(agent[:400]),
        }
        act = Act.SIGNED_IN if complete else Act.PASSWORD_GIVEN
        await self._pool.query(_OPEN, parameters | note(by, act))

    async def complete(self, by: By, token_hash: bytes, new_token_hash: bytes) -> bool:
        """The second factor has been given: the session goes on under another token."""
        parameters = {"token": token_hash, "new": new_token_hash}
        return bool(await self._pool.query(_COMPLETE, parameters | note(by, Act.SIGNED_IN)))

    async def rotate(self, session: int, new_token_hash: bytes) -> bool:
        """A session goes on under another token; False if it has just been closed."""
        return bool(await self._pool.query(_ROTATE, (new_token_hash, session)))

    async def all(self, customer: int, account: int) -> list[OpenSession]:
        """An account's sessions, the one used last first."""
        parameters = {"customer": customer, "account": account, **self._limits}
        return [
            OpenSession(session, created.astimezone(UTC), seen.astimezone(UTC), client, agent)
            for session, created, seen, client, agent in await self._pool.query(_LIST, parameters)
        ]

    async def close(
        self, by: By, account: int, session: int, act: Act = Act.SESSION_CLOSED
    ) -> bool:
        """End one session of an account; False if it has none of that number."""
        parameters = {"customer": by.customer, "account": account, "session": session}
        return bool(await self._pool.query(_CLOSE, parameters | note(by, act)))

    async def close_others(self, by: By, account: int, session: int = 0) -> None:
        """End all sessions of an account but that one."""
        parameters = {"customer": by.customer, "account": account, "session": session}
        act = note(by, Act.OTHER_SESSIONS_CLOSED)
        await self._pool.query(_CLOSE_OTHERS, parameters | act)

    async def sweep(self) -> None:
        """Delete sessions that have run out, and end what operators have seen long enough."""
        await self._pool.query(_LEAVE_OVERDUE)
        await self._pool.query(_SWEEP, (self._limits["idle"], self._limits["lifetime"]))

    async def notice(self, session: int, said: str) -> None:
        """Have the next page say something."""
        await self._pool.query(_NOTICE, (text(said), session))

    async def heard(self, session: int) -> None:
        """The notices have been shown."""
        await self._pool.query(_HEARD, (session,))

    async def offer_totp(self, session: int, secret: bytes | None) -> None:
        """Keep a sealed secret until its first code has been given."""
        await self._pool.query(_OFFER, (secret, session))

    async def offered_totp(self, session: int) -> bytes | None:
        """The sealed secret that waits for its first code."""
        rows = await self._pool.query(_OFFERED, (session,))
        return bytes(rows[0][0]) if rows and rows[0][0] is not None else None


def _identity(row: Row) -> Identity:
    (session, complete, customer, company, account, email, role, two_factors, plan, capacity,
     language, time_zone, cabinet_rows, search_rows, notices, offered, closes_at, suspended_at,
     viewing, until) = row  # fmt: skip
    return Identity(
        session, complete, customer, company, account, email, Role(role), two_factors, plan,
        capacity, language, time_zone, cabinet_rows, search_rows, tuple(notices),
        offered, utc(closes_at), utc(suspended_at),
        None if viewing is None else Viewing(viewing, until.astimezone(UTC)),
    )  # fmt: skip
