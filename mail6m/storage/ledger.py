"""All invoices as those who keep the books look at them: what is to be paid, and since when."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime

from mail6m.billing.invoice import Kind
from mail6m.storage.pool import Pool, Row, text, utc

_ACCOUNTS = """
SELECT i.customer_id, i.number, i.kind, i.buyer ->> 'name' AS company, i.issued_on, i.due_on,
       i.gross, i.reference,
       CASE WHEN i.kind = 'credit' THEN 0
            ELSE i.gross + coalesce(c.gross, 0) - coalesce(p.amount, 0) END::bigint AS balance
FROM invoice i
LEFT JOIN (SELECT corrects, sum(gross) AS gross FROM invoice GROUP BY corrects) c
    ON c.corrects = i.number
LEFT JOIN (SELECT number, sum(amount) AS amount FROM payment GROUP BY number) p
    ON p.number = i.number"""

# Texts are looked for as they are, and not as patterns.
_CHOSEN = f"""
FROM ({_ACCOUNTS}) AS account
WHERE (%(which)s = 'all' OR balance > 0 AND (%(which)s = 'unpaid' OR due_on < %(today)s))
  AND (%(words)s = '' OR position(lower(%(words)s) IN lower(company)) > 0
       OR position(%(words)s IN number) > 0
       OR replace(upper(%(words)s), ' ', '') = reference)"""

_PAGE = f"""
SELECT customer_id, number, kind, company, issued_on, due_on, gross, balance {_CHOSEN}
ORDER BY issued_on DESC, length(number) DESC, number DESC OFFSET %(offset)s LIMIT %(limit)s"""

_SUMS = f"SELECT count(*), coalesce(sum(balance) FILTER (WHERE balance > 0), 0)::bigint {_CHOSEN}"

_UNPAID = f"""
SELECT customer_id, number, kind, company, issued_on, due_on, gross, balance,
       coalesce(t.told, '{{}}'), t.told_at
FROM ({_ACCOUNTS}) AS account LEFT JOIN invoice_told t USING (customer_id, number)
WHERE kind = 'invoice' AND balance > 0 AND due_on <= %(overdue)s
   OR issued_on >= %(new)s
      AND EXISTS (SELECT FROM invoice_document d
                  WHERE (d.customer_id, d.number) = (account.customer_id, account.number))
ORDER BY issued_on, number"""

_TOLD_OF = "SELECT told FROM invoice_told WHERE customer_id = %s AND number = %s"

_TELLING = """
INSERT INTO invoice_told AS t (customer_id, number, telling_at)
VALUES (%(customer)s, %(number)s, %(now)s)
ON CONFLICT (customer_id, number) DO UPDATE SET telling_at = excluded.telling_at
WHERE NOT %(letter)s = ANY (t.told)
  AND (t.telling_at IS NULL OR t.telling_at < %(now)s - interval '10 minutes')
RETURNING number"""

_TOLD = """
UPDATE invoice_told SET told = told || %(letter)s::text, told_at = telling_at, telling_at = NULL
WHERE customer_id = %(customer)s AND number = %(number)s AND NOT %(letter)s = ANY (told)"""


class Which(enum.StrEnum):
    """What is looked at."""

    UNPAID = "unpaid"
    OVERDUE = "overdue"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Account:
    """An invoice or a credit note in one line; amounts are cents."""

    customer: int
    number: str
    kind: Kind
    company: str
    issued_on: date
    due_on: date
    gross: int
    balance: int
    """What is still to be paid; negative: to be paid back."""
    told: tuple[str, ...] = ()
    """Letters about it that have been sent, where they are asked for."""
    told_at: datetime | None = None
    """When the last of them was."""

    @property
    def subject(self) -> tuple[int, str]:
        """What letters about it are noted under."""
        return self.customer, self.number


class Ledger:
    """The tables ``invoice`` and ``payment`` together, and ``invoice_told``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(
        self, which: Which, words: str, today: date, offset: int, limit: int
    ) -> list[Account]:
        """Some of them, the newest first; ``words`` are of a number, a reference or a company."""
        parameters = _parameters(which, words, today) | {"offset": offset, "limit": limit}
        rows = await self._pool.query(_PAGE, parameters)
        return [_account(row) for row in rows]

    async def sums(self, which: Which, words: str, today: date) -> tuple[int, int]:
        """How many there are, and what is still to be paid of them."""
        [(count, unpaid)] = await self._pool.query(_SUMS, _parameters(which, words, today))
        return int(count), int(unpaid)

    async def untold(self, overdue: date, new: date) -> list[Account]:
        """What may need a letter: invoices unpaid and due until a day, or issued since another.

        Of the latter, credit notes among them, those alone whose PDF is there.
        """
        rows = await self._pool.query(_UNPAID, {"overdue": overdue, "new": new})
        return [_account((*row[:8], tuple(row[8]), utc(row[9]))) for row in rows]

    async def told_of(self, customer: int, number: str) -> tuple[str, ...]:
        """The letters about an invoice that have been sent."""
        rows = await self._pool.query(_TOLD_OF, (customer, text(number)))
        return tuple(rows[0][0]) if rows else ()

    async def telling(self, subject: tuple[int, str], letter: str, now: datetime) -> bool:
        """A letter is about to be sent; False if it has been, or somebody else is about to."""
        return bool(await self._pool.query(_TELLING, _told(subject, letter) | {"now": now}))

    async def told(self, subject: tuple[int, str], letter: str) -> None:
        """A letter has been sent."""
        await self._pool.query(_TOLD, _told(subject, letter))


def _account(row: Row) -> Account:
    customer, number, kind, *rest = row
    return Account(customer, number, Kind(kind), *rest)


def _parameters(which: Which, words: str, today: date) -> dict[str, object]:
    return {"which": which.value, "words": text(" ".join(words.split())), "today": today}


def _told(subject: tuple[int, str], letter: str) -> dict[str, object]:
    customer, number = subject
    return {"customer": customer, "number": number, "letter": letter}
