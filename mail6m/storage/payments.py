"""Payments, and the entries of bank statements that they are of."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from mail6m.billing.matching import Match, Payable, Verdict
from mail6m.billing.money import plain
from mail6m.billing.recognition import NEAR, Before, ByHand
from mail6m.billing.statement import Entry
from mail6m.model import HOUSE, Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row, text

_COLUMNS = """
    customer_id, payment_id, number, received_on, amount, method, reference, source, recorded_by,
    recorded_at, EXISTS (SELECT FROM payment b WHERE b.source = 'back:' || p.payment_id)"""

_RECORD = audited("""
    INSERT INTO payment (customer_id, number, received_on, amount, method, reference, source,
                         recorded_by)
    SELECT customer_id, number, %(received_on)s, %(amount)s, %(method)s, %(reference)s, %(source)s,
           %(by_account)s
    FROM invoice WHERE customer_id = %(customer)s AND number = %(number)s AND kind = 'invoice'
    ON CONFLICT (source) DO NOTHING RETURNING payment_id""")

# What is taken back of an entry waits for somebody again.
_TAKE_BACK = audited(
    """
    INSERT INTO payment (customer_id, number, received_on, amount, method, reference, source,
                         recorded_by, entry)
    SELECT customer_id, number, %(on)s, -amount, method, %(reason)s, 'back:' || payment_id,
           %(by_account)s, entry
    FROM payment WHERE customer_id = %(customer)s AND number = %(number)s AND payment_id = %(id)s
      AND amount > 0
    ON CONFLICT (source) DO NOTHING RETURNING entry, amount""",
    """
    UPDATE statement_entry e SET assigned = e.assigned + done.amount FROM done
    WHERE e.customer_id = 0 AND e.source = done.entry""",
)

_OF = f"""
SELECT {_COLUMNS} FROM payment p WHERE customer_id = %s AND number = %s
ORDER BY received_on, payment_id"""

_NEWEST = f"""
SELECT {_COLUMNS} FROM payment p ORDER BY recorded_at DESC, payment_id DESC LIMIT %s"""

_BY_SOURCE = f"SELECT {_COLUMNS} FROM payment p WHERE source = %s"

_PAYABLES = """
SELECT i.number, i.reference, (i.gross + coalesce(c.gross, 0) - coalesce(p.amount, 0))::bigint
FROM invoice i
LEFT JOIN (SELECT corrects, sum(gross) AS gross FROM invoice GROUP BY corrects) c
    ON c.corrects = i.number
LEFT JOIN (SELECT number, sum(amount) AS amount FROM payment GROUP BY number) p
    ON p.number = i.number
WHERE i.kind = 'invoice'"""

# An entry and what is certain of it are one: whoever imports it too finds it there. One after the
# other, and each with what is there when its turn comes: entries are never deleted, so as many as
# there were are those that it was compared with.
_IMPORT = """
SELECT pg_advisory_xact_lock(x'7061796d'::bigint);
WITH entry AS (
    INSERT INTO statement_entry (source, booked_on, amount, name, text, reference, account, bank,
                                 said, verdict, named, assigned, parts, imported_by)
    SELECT %(source)s, %(booked_on)s, %(amount)s, %(name)s, %(text)s, %(reference)s, %(account)s,
           %(bank)s, %(said_of_it)s::text[], %(verdict)s, %(named)s::text[], %(assigned)s,
           cardinality(%(numbers)s::text[]), %(by_account)s
    WHERE %(alike)s = (SELECT count(*) FROM statement_entry WHERE amount = %(amount)s
                       AND booked_on BETWEEN %(booked_on)s - %(near)s AND %(booked_on)s + %(near)s)
    ON CONFLICT DO NOTHING RETURNING source, booked_on
), paid AS (
    INSERT INTO payment (customer_id, number, received_on, amount, method, reference, source,
                         recorded_by, entry)
    SELECT i.customer_id, i.number, e.booked_on, s.share, 'transfer', %(said)s,
           e.source || '#' || s.part, %(by_account)s, e.source
    FROM entry e, unnest(%(numbers)s::text[], %(shares)s::bigint[]) WITH ORDINALITY
             AS s (number, share, part)
    JOIN invoice i ON i.number = s.number AND i.kind = 'invoice'
    RETURNING customer_id, number, amount
), noted AS (
    INSERT INTO audit (customer_id, account, client_address, act, object)
    SELECT customer_id, %(by_account)s, %(by_client)s, %(act)s,
           number || ' ' || to_char(amount / 100.0, 'FM9999999999990.00') FROM paid
)
SELECT source FROM entry"""

_ASSIGN = """
WITH entry AS (
    UPDATE statement_entry SET assigned = assigned + %(amount)s, parts = parts + 1
    WHERE customer_id = 0 AND source = %(source)s AND aside IS NULL
      AND assigned + %(amount)s <= amount AND assigned = coalesce(%(seen)s, assigned)
      AND EXISTS (SELECT FROM invoice WHERE customer_id = %(customer)s AND number = %(number)s
                  AND kind = 'invoice')
    RETURNING source, parts, booked_on, coalesce(nullif(text, ''), reference) AS said
), done AS (
    INSERT INTO payment (customer_id, number, received_on, amount, method, reference, source,
                         recorded_by, entry)
    SELECT %(customer)s, %(number)s, booked_on, %(amount)s, 'transfer', said,
           source || '#' || parts, %(by_account)s, source
    FROM entry RETURNING payment_id
), noted AS (
    INSERT INTO audit (customer_id, account, client_address, act, object)
    SELECT %(by_customer)s, %(by_account)s, %(by_client)s, %(act)s, %(object)s FROM done
)
SELECT payment_id FROM done"""

_PUT_ASIDE = audited("""
    UPDATE statement_entry SET aside = %(reason)s
    WHERE customer_id = 0 AND source = %(source)s AND aside IS NULL AND assigned < amount
    RETURNING source""")

_TAKE_UP = audited("""
    UPDATE statement_entry SET aside = NULL
    WHERE customer_id = 0 AND source = %(source)s AND aside IS NOT NULL RETURNING source""")

_ENTRY_COLUMNS = """
    source, booked_on, amount, name, text, reference, verdict, named, assigned, aside"""

_ENTRIES = """
SELECT source, booked_on, amount, name, text, reference, account, bank, said,
       named || ARRAY (SELECT p.number FROM payment p WHERE p.entry = e.source)
FROM statement_entry e WHERE booked_on BETWEEN %s AND %s ORDER BY imported_at, source"""

_BY_HAND = """
SELECT number, amount, received_on FROM payment p
WHERE received_on BETWEEN %s AND %s AND amount > 0 AND method <> 'paypal' AND entry IS NULL
  AND NOT EXISTS (SELECT FROM payment b WHERE b.source = 'back:' || p.payment_id)"""

_WAITING = f"""
SELECT {_ENTRY_COLUMNS} FROM statement_entry
WHERE assigned < amount AND aside IS NULL ORDER BY booked_on, source LIMIT %s"""

_ASIDE = f"""
SELECT {_ENTRY_COLUMNS} FROM statement_entry
WHERE aside IS NOT NULL ORDER BY booked_on DESC, source LIMIT %s"""

_ENTRY = f"SELECT {_ENTRY_COLUMNS} FROM statement_entry WHERE customer_id = 0 AND source = %s"


class Method(enum.StrEnum):
    """How somebody has paid."""

    CHEQUE = "cheque"
    TRANSFER = "transfer"
    PAYPAL = "paypal"


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that has come in for an invoice, or, negative, what was taken back of it; in cents."""

    customer: int
    id: int
    number: str
    """The invoice's."""
    received_on: date
    amount: int
    method: Method
    reference: str
    """A cheque's number, what a transfer says; why something is taken back."""
    source: str | None
    recorded_by: str
    recorded_at: datetime
    taken_back: bool


@dataclass(frozen=True, slots=True)
class NewPayment:
    """One that is to be recorded."""

    customer: int
    number: str
    received_on: date
    amount: int
    method: Method
    reference: str = ""
    source: str | None = None
    """What it is known by elsewhere: with it, it is recorded once and no more."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry of a statement as it was imported, and what has become of it."""

    entry: Entry
    verdict: Verdict
    named: tuple[str, ...]
    assigned: int
    """Cents of it that are in payments."""
    aside: str | None
    """Why it is for no invoice, if it has been put aside."""

    @property
    def left(self) -> int:
        """Cents of it that are for no invoice yet."""
        return self.entry.amount - self.assigned


class Payments:
    """The tables ``payment`` and ``statement_entry``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record(self, by: By, new: NewPayment) -> bool:
        """Add one; False if there is no such invoice, or it has been recorded already."""
        parameters = {
            "customer": new.customer,
            "number": text(new.number),
            "received_on": new.received_on,
            "amount": new.amount,
            "method": new.method.value,
            "reference": text(new.reference),
            "source": new.source,
        }
        act = note(by, Act.PAYMENT_RECORDED, _object(new.number, new.amount))
        return bool(await self._pool.query(_RECORD, parameters | act))

    async def take_back(self, by: By, payment: Payment, on: date, reason: str) -> bool:
        """Take one back, by one of the negative amount; False if that has been done."""
        parameters = {
            "customer": payment.customer,
            "number": payment.number,
            "id": payment.id,
            "on": on,
            "reason": text(reason),
        }
        act = note(by, Act.PAYMENT_TAKEN_BACK, _object(payment.number, -payment.amount))
        return bool(await self._pool.query(_TAKE_BACK, parameters | act))

    async def of(self, customer: int, number: str) -> list[Payment]:
        """Those of an invoice, the first one first."""
        return [_payment(row) for row in await self._pool.query(_OF, (customer, text(number)))]

    async def newest(self, limit: int) -> list[Payment]:
        """What was recorded last, of everybody."""
        return [_payment(row) for row in await self._pool.query(_NEWEST, (limit,))]

    async def by_source(self, source: str) -> Payment | None:
        """The one that is known by that."""
        rows = await self._pool.query(_BY_SOURCE, (text(source),))
        return _payment(rows[0]) if rows else None

    async def payables(self) -> list[Payable]:
        """All invoices, those that are paid, too, with what is still to be paid of each."""
        return [Payable(*row) for row in await self._pool.query(_PAYABLES)]

    # Entries of statements

    async def import_entry(self, by: By, entry: Entry, match: Match, alike: int) -> bool:
        """Keep an entry, and record what is certain of it; False if it was there already.

        Or if others have come that it should be compared with: of its amount, and booked `NEAR` it,
        there were ``alike``.
        """
        shares: Mapping[str, int] = match.shares if match.certain else {}
        parameters = {
            "source": entry.source,
            "booked_on": entry.booked_on,
            "amount": entry.amount,
            "name": entry.name,
            "text": entry.text,
            "reference": entry.reference,
            "verdict": match.verdict.value,
            "named": list(match.shares),
            "assigned": sum(shares.values()),
            "numbers": list(shares),
            "shares": list(shares.values()),
            "said": entry.text or entry.reference,
            "account": entry.account,
            "bank": entry.bank,
            "said_of_it": list(entry.said),
            "alike": alike,
            "near": NEAR.days,
        }
        act = note(by, Act.PAYMENT_RECORDED)
        return bool(await self._pool.query(_IMPORT, parameters | act))

    async def entries(self, first: date, last: date) -> list[Before]:
        """Those that were booked from one day to another."""
        return [_before(row) for row in await self._pool.query(_ENTRIES, (first, last))]

    async def by_hand(self, first: date, last: date) -> list[ByHand]:
        """Payments from one day to another that somebody has recorded, and not taken back."""
        return [ByHand(*row) for row in await self._pool.query(_BY_HAND, (first, last))]

    async def assign(
        self, by: By, source: str, number: str, amount: int, seen: int | None = None
    ) -> bool:
        """Record so much of an entry for an invoice of ``by.customer``'s; False if it has less.

        Or if another part of it is assigned by now than was ``seen``.
        """
        parameters = {
            "customer": by.customer,
            "source": text(source),
            "number": text(number),
            "amount": amount,
            "seen": seen,
        }
        act = note(by, Act.PAYMENT_RECORDED, _object(number, amount))
        return bool(await self._pool.query(_ASSIGN, parameters | act))

    async def put_aside(self, by: By, source: str, reason: str) -> bool:
        """What is left of an entry is for no invoice; False if it does not wait."""
        parameters = {"source": text(source), "reason": text(reason)}
        act = note(by.at(HOUSE), Act.ENTRY_PUT_ASIDE, source)
        return bool(await self._pool.query(_PUT_ASIDE, parameters | act))

    async def take_up(self, by: By, source: str) -> bool:
        """An entry that was put aside waits again; False if it was not."""
        act = note(by.at(HOUSE), Act.ENTRY_TAKEN_UP, source)
        return bool(await self._pool.query(_TAKE_UP, {"source": text(source)} | act))

    async def waiting(self, limit: int) -> list[Kept]:
        """Entries that somebody has to look at, the oldest first."""
        return [_kept(row) for row in await self._pool.query(_WAITING, (limit,))]

    async def aside(self, limit: int) -> list[Kept]:
        """Entries that were put aside, the newest first."""
        return [_kept(row) for row in await self._pool.query(_ASIDE, (limit,))]

    async def entry(self, source: str) -> Kept:
        """An entry. Raises `Refused` if there is none."""
        rows = await self._pool.query(_ENTRY, (text(source),))
        if not rows:
            raise Refused("there is no such entry of a statement")
        return _kept(rows[0])


def _object(number: str, cents: int) -> str:
    """What the audit names: the invoice, and euros."""
    return f"{number} {plain(cents)}"


def _payment(row: Row) -> Payment:
    customer, id_, number, on, amount, method, reference, source, who, at, taken_back = row
    return Payment(
        customer, id_, number, on, amount, Method(method), reference, source, who,
        at.astimezone(UTC), taken_back,
    )  # fmt: skip


def _before(row: Row) -> Before:
    source, on, amount, name, said, reference, account, bank, pieces, numbers = row
    entry = Entry(source, on, amount, name, said, reference, account, bank, tuple(pieces))
    return Before(entry, frozenset(numbers))


def _kept(row: Row) -> Kept:
    source, on, amount, name, said, reference, verdict, named, assigned, aside = row
    entry = Entry(source, on, amount, name, said, reference)
    return Kept(entry, Verdict(verdict), tuple(named), assigned, aside)
