"""What is to be told and whether it has been, and who does not want to be told about what.

A notice becomes due in the statement that changes what it tells of, so that it is neither lost nor
due twice. What lasts (a cabinet that is full, a domain whose mail waits) is noted for as long as it
does: the note of what was told is what keeps it from being told again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mail6m.model import Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.deliveries import DESTINATIONS
from mail6m.storage.pool import Pool, text

PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a letter's name
FACTOR_OFF = "factor_off"
CABINET_FILLING = "cabinet_filling"
CABINET_FULL = "cabinet_full"
QUEUE_STUCK = "queue_stuck"
QUEUE_MOVING = "queue_moving"
CERTIFICATE_ENDING = "certificate_ending"
DISK_FILLING = "disk_filling"
_LASTING = (CABINET_FILLING, CABINET_FULL, QUEUE_STUCK, DISK_FILLING)
"""What is forgotten when it is over; everything else, when it is old."""


def owner_told(kind: str) -> str:
    """The part of an audited statement that has an account's owner told of it.

    ``done`` has the account's number and its customer's. A first password is no news.
    """
    return f"""
    INSERT INTO notice (customer_id, kind, subject, address, facts)
    SELECT a.customer_id, '{kind}', a.account_id || ' ' || clock_timestamp(), a.email,
           jsonb_build_object('by', %(by_account)s::text, 'client', %(by_client)s::text)
    FROM done JOIN account a USING (customer_id, account_id) WHERE a.password_hash IS NOT NULL"""


# Nobody can be written to in the name of a customer whose key is destroyed; and what could not be
# told for days is news no more.
_DUE = """
SELECT n.customer_id, n.kind, n.subject, n.address, n.facts, n.due_at, c.company, c.plan, c.capacity
FROM notice n JOIN customer c USING (customer_id)
WHERE n.told_at IS NULL AND n.due_at > now() - interval '3 days' AND c.wrapped_key <> ''
ORDER BY n.due_at LIMIT 1000"""

_TELLING = """
UPDATE notice SET telling_at = %(now)s
WHERE customer_id = %(customer)s AND kind = %(kind)s AND subject = %(subject)s
  AND told_at IS NULL
  AND (telling_at IS NULL OR telling_at < %(now)s - interval '10 minutes')
RETURNING 1"""

_TOLD = """
UPDATE notice SET told_at = telling_at, telling_at = NULL
WHERE customer_id = %(customer)s AND kind = %(kind)s AND subject = %(subject)s
  AND told_at IS NULL"""

_ADD = """
INSERT INTO notice (customer_id, kind, subject, facts)
VALUES (%(customer)s, %(kind)s, %(subject)s, %(facts)s) ON CONFLICT DO NOTHING"""

_END = "DELETE FROM notice WHERE customer_id = %s AND kind = %s AND subject = %s"

_FORGET = """
DELETE FROM notice WHERE due_at < now() - interval '60 days' AND kind <> ALL (%s)"""

# A cabinet that is full is filling no more. What it has been told of is told again when it has
# been much emptier.
_CABINETS = f"""
WITH held AS MATERIALIZED (
    SELECT c.customer_id, c.capacity,
           (SELECT coalesce(sum(n.bytes), 0) FROM shelf_count n
            WHERE n.customer_id = c.customer_id AND n.shelf = 0) AS bytes
    FROM customer c WHERE c.customer_id <> 0 AND c.wrapped_key <> ''
), emptied AS (
    DELETE FROM notice n USING held h
    WHERE n.customer_id = h.customer_id AND n.kind IN ('{CABINET_FILLING}', '{CABINET_FULL}')
      AND h.bytes < %(low)s * h.capacity
      AND (n.told_at IS NOT NULL OR n.due_at < now() - interval '3 days')
)
INSERT INTO notice (customer_id, kind, subject, facts)
SELECT customer_id, '{CABINET_FILLING}', '', jsonb_build_object('part', bytes::float8 / capacity)
FROM held h
WHERE bytes >= %(high)s * capacity AND bytes < capacity AND NOT EXISTS (
    SELECT 1 FROM notice n WHERE n.customer_id = h.customer_id
      AND n.kind IN ('{CABINET_FILLING}', '{CABINET_FULL}'))
ON CONFLICT DO NOTHING"""

# The mail of a domain is stuck when the oldest that waits has done so for an hour, and either its
# machine cannot be reached, or it has taken nothing that came after that: a mailbox that is full,
# where others get their mail, is not the domain's.
_STUCK = f"""{DESTINATIONS}, waiting AS MATERIALIZED (
    SELECT o.customer_id, o.name, x.since, x.count
    FROM destinations t JOIN domain o ON o.name = t.destination
    CROSS JOIN LATERAL (
        SELECT min(queued_at) AS since, count(*) AS count FROM delivery q
        WHERE q.destination = o.name AND q.state = 0 AND q.customer_id = o.customer_id) AS x
    WHERE x.since <= now() - %(patience)s * interval '1 second'
      AND NOT EXISTS (SELECT 1 FROM held_destination h WHERE h.destination = o.name)
), stuck AS MATERIALIZED (
    SELECT w.*, down.last_reply FROM waiting w LEFT JOIN destination down
      ON down.destination = w.name AND down.down_since <= now() - %(patience)s * interval '1 second'
    WHERE down.destination IS NOT NULL OR NOT EXISTS (
        SELECT 1 FROM delivery q
        WHERE q.customer_id = w.customer_id AND q.destination = w.name AND q.state = 1
          AND q.message_id >= first_id((extract(epoch FROM w.since) * 1000)::bigint))
), ended AS (
    DELETE FROM notice n WHERE n.kind = '{QUEUE_STUCK}'
      AND (n.customer_id, n.subject) NOT IN (SELECT customer_id, name FROM stuck)
    RETURNING n.customer_id, n.subject, n.facts, n.due_at, n.told_at
), moving AS (
    INSERT INTO notice AS n (customer_id, kind, subject, facts)
    SELECT e.customer_id, '{QUEUE_MOVING}', e.subject, e.facts
    FROM ended e JOIN domain o ON o.customer_id = e.customer_id AND o.name = e.subject
    WHERE e.told_at IS NOT NULL AND EXISTS (
        SELECT 1 FROM delivery q
        WHERE q.customer_id = e.customer_id AND q.destination = e.subject AND q.state = 1
          AND q.attempted_at >= e.due_at AND q.message_id >= first_id(
              (extract(epoch FROM (e.facts ->> 'since')::timestamptz) * 1000)::bigint))
    ON CONFLICT (customer_id, kind, subject) DO UPDATE
    SET facts = EXCLUDED.facts, due_at = now(), telling_at = NULL, told_at = NULL
)
INSERT INTO notice (customer_id, kind, subject, facts)
SELECT s.customer_id, '{QUEUE_STUCK}', s.name, jsonb_build_object(
    'since', s.since, 'waiting', s.count,
    'reply', coalesce(s.last_reply, (
        SELECT last_reply FROM delivery q
        WHERE q.destination = s.name AND q.state = 0 AND q.customer_id = s.customer_id
          AND q.last_reply <> ''
        ORDER BY attempted_at DESC LIMIT 1), ''))
FROM stuck s WHERE NOT EXISTS (
    SELECT 1 FROM notice n WHERE n.customer_id = s.customer_id AND n.kind = '{QUEUE_STUCK}'
      AND n.subject = s.name)
ON CONFLICT DO NOTHING"""

_REFUSE = audited("""
    INSERT INTO notice_refusal (customer_id, address, topic)
    SELECT customer_id, %(address)s, %(topic)s FROM customer WHERE customer_id = %(customer)s
    ON CONFLICT DO NOTHING RETURNING customer_id""")

_WANT = audited("""
    DELETE FROM notice_refusal
    WHERE customer_id = %(customer)s AND address = %(address)s AND topic = %(topic)s
    RETURNING customer_id""")

_REFUSED = "SELECT topic FROM notice_refusal WHERE customer_id = %s AND address = %s"

_REFUSING = "SELECT address FROM notice_refusal WHERE customer_id = %s AND topic = %s"


@dataclass(frozen=True, slots=True)
class DueNotice:
    """Something that a customer is to be told."""

    customer: int
    kind: str
    """The name of the letter."""
    subject: str
    """What it is about, among those of its kind: a domain, for instance."""
    address: str
    """Whom it goes to; empty: whoever reads what is the customer's."""
    facts: Mapping[str, Any]
    """As JSON has them."""
    due_at: datetime
    company: str
    plan: str
    capacity: int
    """Of the cabinet, in stored bytes."""


class NoticeTable:
    """The table ``notice``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def due(self) -> list[DueNotice]:
        """What has not been told yet, the oldest first; a thousand at most."""
        return [
            DueNotice(
                customer, kind, subject, address, facts, at.astimezone(UTC), company, plan, size
            )
            for customer, kind, subject, address, facts, at, company, plan, size in (
                await self._pool.query(_DUE)
            )
        ]

    async def telling(self, notice: DueNotice, letter: str, now: datetime) -> bool:
        """It is about to be told; False if it has been, or somebody else is about to.

        Where nothing comes of that, it is tried again ten minutes later.
        """
        return bool(await self._pool.query(_TELLING, _key(notice, letter) | {"now": now}))

    async def told(self, notice: DueNotice, letter: str) -> None:
        """It has been told."""
        await self._pool.query(_TOLD, _key(notice, letter))

    async def add(
        self, customer: int, kind: str, subject: str, facts: Mapping[str, object]
    ) -> None:
        """Have something told, if it is not noted already."""
        given = {"customer": customer, "kind": kind, "subject": text(subject)}
        await self._pool.query(_ADD, given | {"facts": json.dumps(facts)})

    async def end(self, customer: int, kind: str, subject: str) -> None:
        """It is over; should it begin again, it is told again."""
        await self._pool.query(_END, (customer, kind, text(subject)))

    async def forget(self) -> None:
        """Forget what was told long ago."""
        await self._pool.query(_FORGET, (list(_LASTING),))

    async def look_at_cabinets(self, high: float, low: float) -> None:
        """Have customers told whose cabinet is filled to ``high``, a part of 1.

        Those below ``low`` are told again, should theirs fill once more.
        """
        await self._pool.query(_CABINETS, {"high": high, "low": low})

    async def look_at_queues(self, patience: float) -> None:
        """Have customers told of domains whose mail has waited for so many seconds, and of the end.

        The end is told of where the beginning was, and only if mail arrives again.
        """
        await self._pool.query(_STUCK, {"patience": patience})


class Refusals:
    """The table ``notice_refusal``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def refuse(self, by: By, address: str, topic: str) -> bool:
        """An address is not written to about that any more; False if it was not already."""
        act = note(by, Act.NOTICES_REFUSED, f"{topic} ({address})")
        return bool(await self._pool.query(_REFUSE, _refusal(by, address, topic) | act))

    async def want(self, by: By, address: str, topic: str) -> bool:
        """An address is written to about that again; False if it was already."""
        act = note(by, Act.NOTICES_WANTED, f"{topic} ({address})")
        return bool(await self._pool.query(_WANT, _refusal(by, address, topic) | act))

    async def refused(self, customer: int, address: str) -> Collection[str]:
        """What an address is not written to about."""
        rows = await self._pool.query(_REFUSED, (customer, text(address.lower())))
        return {topic for (topic,) in rows}

    async def refusing(self, customer: int, topic: str) -> Collection[str]:
        """A customer's addresses that are not written to about that, in lower case."""
        return {address for (address,) in await self._pool.query(_REFUSING, (customer, topic))}


def _key(notice: DueNotice, letter: str) -> dict[str, Any]:
    return {"customer": notice.customer, "kind": letter, "subject": notice.subject}


def _refusal(by: By, address: str, topic: str) -> dict[str, Any]:
    return {"customer": by.customer, "address": text(address.lower()), "topic": topic}
