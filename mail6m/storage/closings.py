"""Contracts that end: who asked for it, when it is done, and what was destroyed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from mail6m.model import Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.pool import Pool, Row, utc

_COLUMNS = """
    customer_id, company, email, language, time_zone, asked_at, asked_by, due_at, closed_at,
    key_destroyed_at, destroyed_at, messages, raw_bytes, first_at, last_at, accounts, discs, told,
    (SELECT ended_on FROM contract t WHERE t.customer_id = closing.customer_id)"""

_ASK = audited(
    """
    INSERT INTO closing (customer_id, company, email, language, time_zone, asked_by, due_at)
    SELECT c.customer_id, c.company,
           coalesce(nullif(p.email, ''), (SELECT email FROM account a
                    WHERE a.customer_id = c.customer_id AND role = 'administrator'
                    ORDER BY account_id LIMIT 1), ''),
           coalesce(nullif(p.language, ''), 'fr'), p.time_zone, %(by_account)s, %(due_at)s
    FROM customer c JOIN preferences p USING (customer_id)
    WHERE c.customer_id = %(customer)s AND c.customer_id <> 0
    ON CONFLICT DO NOTHING RETURNING customer_id""",
    """
    UPDATE contract t SET ended_on = %(ended_on)s FROM done
    WHERE t.customer_id = done.customer_id""",
)

_WITHDRAW = audited(
    """
    DELETE FROM closing WHERE customer_id = %(customer)s AND closed_at IS NULL
    RETURNING customer_id""",
    """
    UPDATE contract t SET ended_on = NULL FROM done WHERE t.customer_id = done.customer_id""",
)

_OF = f"SELECT {_COLUMNS} FROM closing WHERE customer_id = %s"
_ALL = f"SELECT {_COLUMNS} FROM closing ORDER BY asked_at"

_CLOSE, _DESTROY_KEY = "SELECT close_customer(%s)", "SELECT destroy_key(%s)"
_ERASE = "SELECT erase_customer(%s, %s)"

_TELLING = """
UPDATE closing SET telling_at = %(now)s
WHERE customer_id = %(customer)s AND NOT %(letter)s = ANY (told)
  AND (telling_at IS NULL OR telling_at < %(now)s - interval '10 minutes')
RETURNING customer_id"""

_TOLD = """
UPDATE closing SET told = told || %(letter)s::text, telling_at = NULL
WHERE customer_id = %(customer)s AND NOT %(letter)s = ANY (told)"""


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a contract; when all is destroyed, the certificate of that."""

    customer: int
    company: str
    email: str
    """Where letters about it go to."""
    language: str
    time_zone: str
    asked_at: datetime
    asked_by: str
    due_at: datetime
    closed_at: datetime | None
    """Since when no mail is taken in."""
    key_destroyed_at: datetime | None
    destroyed_at: datetime | None
    messages: int
    """That were destroyed, in cabinet and cellar."""
    raw_bytes: int
    first_at: datetime | None
    last_at: datetime | None
    accounts: int
    discs: int
    """That had been written for the customer, and whose images had been destroyed before."""
    told: tuple[str, ...]
    """The letters about it that have been sent."""
    ended_on: date | None
    """The last day that is due; None: it ended before there were contracts."""

    @property
    def asker(self) -> str:
        """Who asked for it, as customers know them: operators are Mail6M."""
        return self.asked_by if "@" in self.asked_by else "Mail6M"


class Closings:
    """The table ``closing``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ask(self, by: By, ended_on: date, due_at: datetime) -> bool:
        """The contract ends on a day, and then all is destroyed; False if that has been said.

        Until ``due_at`` it can be withdrawn, and mail is taken in.
        """
        parameters = {"customer": by.customer, "ended_on": ended_on, "due_at": due_at}
        return bool(await self._pool.query(_ASK, parameters | note(by, Act.CLOSING_ASKED)))

    async def withdraw(self, by: By) -> bool:
        """It goes on; False if it was not to end, or has ended."""
        parameters = {"customer": by.customer} | note(by, Act.CLOSING_WITHDRAWN)
        return bool(await self._pool.query(_WITHDRAW, parameters))

    async def of(self, customer: int) -> Closing | None:
        """A customer's, if there is one."""
        rows = await self._pool.query(_OF, (customer,))
        return _closing(rows[0]) if rows else None

    async def all(self) -> list[Closing]:
        """All of them, those that are done, too."""
        return [_closing(row) for row in await self._pool.query(_ALL)]

    async def close(self, customer: int) -> bool:
        """Take in no more mail, if it is time, and nothing is under way; whether it was done."""
        return bool((await self._pool.query(_CLOSE, (customer,)))[0][0])

    async def destroy_key(self, customer: int) -> bool:
        """Destroy the key of one that was closed, if nothing is under way; whether it was done."""
        return bool((await self._pool.query(_DESTROY_KEY, (customer,)))[0][0])

    async def erase(self, customer: int, most: int) -> int:
        """Erase so many messages without a key; the last time, 0, everything else is erased."""
        return int((await self._pool.query(_ERASE, (customer, most)))[0][0])

    async def telling(self, customer: int, letter: str, now: datetime) -> bool:
        """A letter is about to be sent; False if it has been, or somebody else is about to."""
        parameters = {"customer": customer, "letter": letter, "now": now}
        return bool(await self._pool.query(_TELLING, parameters))

    async def told(self, customer: int, letter: str) -> None:
        """A letter has been sent."""
        await self._pool.query(_TOLD, {"customer": customer, "letter": letter})


def _closing(row: Row) -> Closing:
    (customer, company, email, language, zone, asked_at, asked_by, due, closed, key, destroyed,
     messages, raw, first, last, accounts, discs, told, ended_on) = row  # fmt: skip
    return Closing(
        customer, company, email, language, zone, asked_at.astimezone(UTC), asked_by,
        due.astimezone(UTC), utc(closed), utc(key), utc(destroyed), messages, raw, utc(first),
        utc(last), accounts, discs, tuple(told), ended_on,
    )  # fmt: skip
