"""Invoices and credit notes as they were issued. They are added, and never changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from mail6m.billing.invoice import Draft, Invoice, Kind, Line, LineKind, Party, Seller, Standing
from mail6m.model import Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.contracts import LOCKED
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row, text

_SELECT = """
SELECT * FROM (
    SELECT i.customer_id, i.number, i.kind, i.issued_on, i.due_on, i.quarter, i.corrects, i.reason,
           i.reference, i.seller, i.buyer,
           (SELECT json_agg(json_build_array(kind, day, plan, object, gross, vat, net)
                            ORDER BY position)
            FROM invoice_line l WHERE (l.customer_id, l.number) = (i.customer_id, i.number)),
           coalesce((SELECT sum(amount) FROM payment p
                     WHERE (p.customer_id, p.number) = (i.customer_id, i.number)), 0)::bigint
               AS paid,
           coalesce((SELECT -sum(c.gross) FROM invoice c
                     WHERE (c.customer_id, c.corrects) = (i.customer_id, i.number)), 0)::bigint
               AS credited,
           EXISTS (SELECT FROM invoice_document d
                   WHERE (d.customer_id, d.number) = (i.customer_id, i.number)) AS documented,
           i.gross, (SELECT o.issued_on FROM invoice o WHERE o.number = i.corrects) AS corrected_on
    FROM invoice i
) AS standing"""

_NEWEST_FIRST = "ORDER BY issued_on DESC, length(number) DESC, number DESC"

_GET = f"{_SELECT} WHERE customer_id = %s AND number = %s"
_OF = f"{_SELECT} WHERE customer_id = %s {_NEWEST_FIRST}"
_BY_NUMBER = f"{_SELECT} WHERE number = %s"

# In one go over all of them: asked one by one, thousands of invoices would take a second.
_UNPAID = """
SELECT i.number FROM invoice i
LEFT JOIN (SELECT number, sum(amount) AS paid FROM payment GROUP BY number) AS p USING (number)
LEFT JOIN (SELECT corrects AS number, -sum(gross) AS credited FROM invoice
           WHERE corrects IS NOT NULL GROUP BY corrects) AS c USING (number)
WHERE i.kind = 'invoice' AND i.gross > coalesce(paid, 0) + coalesce(credited, 0)"""

_ALL = f"""{_SELECT}
WHERE (%(customer)s::integer IS NULL OR customer_id = %(customer)s)
  AND (NOT %(unpaid)s OR number IN ({_UNPAID}))
  AND (%(due_before)s::date IS NULL OR due_on < %(due_before)s)
{_NEWEST_FIRST} OFFSET %(offset)s LIMIT %(limit)s"""

_CREDITS = f"{_SELECT} WHERE customer_id = %s AND corrects = %s {_NEWEST_FIRST}"

_INVOICED = """
SELECT i.quarter, (SELECT json_agg(json_build_array(kind, day, plan, object, gross, vat, net))
                   FROM invoice_line l WHERE (l.customer_id, l.number) = (i.customer_id, i.number))
FROM invoice i WHERE customer_id = %s AND kind = 'invoice'"""

_UNDOCUMENTED = """
SELECT i.customer_id, i.number FROM invoice i
WHERE NOT EXISTS (SELECT FROM invoice_document d
                  WHERE (d.customer_id, d.number) = (i.customer_id, i.number))
ORDER BY i.issued_at, i.number"""

# A credit note is made up of what is left: if others have been issued meanwhile, it is none.
_ISSUE = LOCKED + audited(
    """
    SELECT number FROM (
        SELECT CASE WHEN %(others)s::bigint IS NULL OR %(others)s = (
                SELECT count(*) FROM invoice
                WHERE customer_id = %(customer)s AND corrects = %(corrects)s)
            THEN issue_invoice(
                %(customer)s, %(kind)s, %(issued_on)s, %(due_on)s, %(quarter)s, %(corrects)s,
                %(reason)s, %(seller)s, %(buyer)s, %(lines)s) END AS number) AS issued
    WHERE number IS NOT NULL""",
    object_="number",
)


class Invoices:
    """The tables ``invoice`` and ``invoice_line``, with what has been paid."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of(self, customer: int) -> list[Standing]:
        """A customer's invoices and credit notes, the newest first."""
        return [_standing(row) for row in await self._pool.query(_OF, (customer,))]

    async def get(self, customer: int, number: str) -> Standing:
        """One of a customer's. Raises `Refused` if it has none of that number."""
        return _only(await self._pool.query(_GET, (customer, text(number))), number)

    async def by_number(self, number: str) -> Standing:
        """Anybody's, for operators. Raises `Refused` if there is none of that number."""
        return _only(await self._pool.query(_BY_NUMBER, (text(number),)), number)

    async def all(
        self,
        customer: int | None = None,
        *,
        unpaid: bool = False,
        due_before: date | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[Standing]:
        """Everybody's, or a customer's, for operators; the newest first.

        ``unpaid``: invoices of which something is still to be paid; ``due_before``: until that day.
        """
        parameters = {
            "customer": customer,
            "unpaid": unpaid,
            "due_before": due_before,
            "offset": offset,
            "limit": limit,
        }
        return [_standing(row) for row in await self._pool.query(_ALL, parameters)]

    async def credits(self, customer: int, number: str) -> list[Standing]:
        """The credit notes about an invoice, the newest first."""
        rows = await self._pool.query(_CREDITS, (customer, text(number)))
        return [_standing(row) for row in rows]

    async def invoiced(self, customer: int) -> dict[date, list[Line]]:
        """What a customer's invoices have on them, by the first day of their quarter."""
        rows = await self._pool.query(_INVOICED, (customer,))
        return {quarter: [_line(line) for line in lines] for quarter, lines in rows}

    async def undocumented(self) -> list[tuple[int, str]]:
        """Customer and number of those whose PDF has not been made, the oldest first."""
        return [(customer, number) for customer, number in await self._pool.query(_UNDOCUMENTED)]

    async def issue(self, by: By, draft: Draft) -> Invoice | None:
        """Issue a document under the next number of its year, in one transaction.

        None, and no number is taken, if something of an invoice has been invoiced already, or if
        something was taken back since a credit note was made up. Whoever is second of two processes
        at it waits for the first, and gets None.
        """
        act = Act.INVOICE_ISSUED if draft.kind is Kind.INVOICE else Act.CREDIT_ISSUED
        rows = await self._pool.query(_ISSUE, _parameters(draft) | note(by, act))
        if not rows:
            return None
        return (await self.get(draft.customer, rows[0][0])).invoice


def _parameters(draft: Draft) -> dict[str, Any]:
    lines = [asdict(line) | {"day": line.day.isoformat()} for line in draft.lines]
    return {
        "customer": draft.customer,
        "kind": draft.kind.value,
        "issued_on": draft.issued_on,
        "due_on": draft.due_on,
        "quarter": draft.quarter,
        "corrects": draft.corrects,
        "others": draft.others,
        "reason": text(draft.reason),
        "seller": json.dumps(asdict(draft.seller)),
        "buyer": json.dumps(asdict(draft.buyer)),
        "lines": json.dumps(lines),
    }


def _only(rows: Sequence[Row], number: str) -> Standing:
    if not rows:
        raise Refused(f"there is no invoice {number}")
    return _standing(rows[0])


def _standing(row: Row) -> Standing:
    (customer, number, kind, issued_on, due_on, quarter, corrects, reason, reference, seller, buyer,
     lines, paid, credited, documented, _, corrected_on) = row  # fmt: skip
    invoice = Invoice(
        customer, number, Kind(kind), issued_on, due_on, quarter, corrects, reason, reference,
        Seller(Party(**seller.pop("party")), **seller), Party(**buyer), tuple(map(_line, lines)),
        corrected_on,
    )  # fmt: skip
    return Standing(invoice, paid, credited, documented)


def _line(values: list[Any]) -> Line:
    kind, day, plan, object_, gross, vat, net = values
    return Line(LineKind(kind), date.fromisoformat(day), plan, object_, gross, vat, net)
