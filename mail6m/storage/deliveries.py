"""The queue: what is still to be relayed, who has it in hand, and what became of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from mail6m.model import (
    Act,
    Client,
    Delivery,
    Envelope,
    Judgement,
    Recipient,
    Shelf,
    State,
    id_text,
)
from mail6m.storage import arrays
from mail6m.storage.archive import LEASED
from mail6m.storage.audit import By, note
from mail6m.storage.errors import Refused
from mail6m.storage.judgements import decode
from mail6m.storage.pool import Pool, Prepared, Row, text

AT_ONCE = 5_000
"""Deliveries that one statement changes, of those that an operator lets go, or has tried now."""
CHANNEL = "mail6m_queue"
"""NOTIFY goes here when deliveries have become due at an operator's wish."""

# A delivery is free when nobody has it in hand. Those of dead servers are freed by `servers`, but
# for what a server committed after it had been given up: that is free when it is due again.
_FREE = """(q.server_id IS NULL
    OR NOT EXISTS (SELECT 1 FROM server s WHERE s.server_id = q.server_id))"""

_LEASED_ROWS = """
    UPDATE delivery q SET
        server_id = %(server)s, next_attempt_at = now() + %(leased)s * interval '1 second'
    FROM due
    WHERE q.customer_id = due.customer_id AND q.message_id = due.message_id
      AND q.number = due.number
    RETURNING q.*
)
SELECT q.customer_id, q.message_id, q.number, q.recipient, q.notify, q.original, q.destination,
       q.attempts, q.queued_at, q.warned, q.last_reply,
       m.sender, m.client_address, m.client_hello, m.client_name, m.protocol, m.tls,
       m.smtputf8, m.eightbit, m.returns, m.envid, m.raw_size, m.received_at, m.shelf,
       m.spam, m.judgement, m.requiretls
FROM leased q JOIN message m USING (customer_id, message_id)
ORDER BY q.queued_at, q.message_id, q.number"""

# All that something waits for, by a loose walk of the index.
DESTINATIONS = """
WITH RECURSIVE destinations AS (
    (SELECT destination FROM delivery WHERE state = 0 ORDER BY destination LIMIT 1)
    UNION ALL
    SELECT (SELECT n.destination FROM delivery n
            WHERE n.state = 0 AND n.destination > d.destination ORDER BY n.destination LIMIT 1)
    FROM destinations d WHERE d.destination IS NOT NULL
)"""
"""The beginning of a statement; they are ``destinations``."""

# Destination by destination, so that no backlog hides another one.
_LEASE = f"""{DESTINATIONS}, due AS (
    SELECT x.* FROM destinations d CROSS JOIN LATERAL (
        SELECT q.customer_id, q.message_id, q.number FROM delivery q
        WHERE q.destination = d.destination AND q.state = 0 AND q.next_attempt_at <= now()
          AND {_FREE}
        ORDER BY q.next_attempt_at LIMIT %(each)s FOR UPDATE SKIP LOCKED) x
    WHERE d.destination <> ALL (%(without)s::text[])
      AND d.destination NOT IN (SELECT destination FROM destination)
      AND d.destination NOT IN (SELECT destination FROM held_destination)
    LIMIT %(limit)s
), leased AS ({_LEASED_ROWS}"""

# Whoever moves next_probe_at on is the one who probes, with one message. A destination that
# nothing waits for any more is forgotten.
_LEASE_PROBES = f"""
WITH ripe AS (
    SELECT destination, EXISTS (SELECT 1 FROM delivery q WHERE q.destination = d.destination
                                AND q.state = 0) AS wanted
    FROM destination d WHERE next_probe_at <= now()
      AND d.destination NOT IN (SELECT destination FROM held_destination) FOR UPDATE SKIP LOCKED
), chosen AS (
    UPDATE destination d SET next_probe_at = now() + interval '2 minutes'
    FROM ripe WHERE d.destination = ripe.destination AND wanted RETURNING d.destination
), emptied AS (
    DELETE FROM destination d USING ripe WHERE d.destination = ripe.destination AND NOT wanted
), due AS (
    SELECT x.* FROM chosen d CROSS JOIN LATERAL (
        SELECT q.customer_id, q.message_id, q.number FROM delivery q
        WHERE q.destination = d.destination AND q.state = 0 AND {_FREE}
        ORDER BY q.next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED) x
), leased AS ({_LEASED_ROWS}"""

# Those whose time is up, or who should hear that it takes long, however their destination is; but
# the time of what an operator holds stands still.
_LEASE_LATE = f"""
WITH due AS (
    SELECT q.customer_id, q.message_id, q.number FROM delivery q
    WHERE q.state = 0 AND {_FREE}
      AND q.destination NOT IN (SELECT destination FROM held_destination)
      AND (q.queued_at <= now() - %(lifetime)s * interval '1 second'
           OR (NOT q.warned AND q.queued_at <= now() - %(warn_after)s * interval '1 second'))
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), leased AS ({_LEASED_ROWS}"""

# Each outcome finds its delivery by the primary key, whatever the statistics say: a plan that was
# made when the table was empty is kept for minutes. With "state = 0" the planner would rather go
# through all that is queued, once for each outcome, since it thinks that to be next to nothing. Two
# conditions that always hold make it expect few outcomes, and not read the whole table for them.
_RECORD = Prepared(
    "record",
    """
UPDATE delivery q SET
    state = r.state, attempts = r.attempts, attempted_at = now(), server_id = NULL,
    next_attempt_at = coalesce(r.next_attempt_at, q.next_attempt_at),
    last_reply = r.reply, host = r.host, tls = r.tls, warned = q.warned OR r.warned
FROM unnest(%s::integer[], %s::uuid[], %s::integer[], %s::smallint[], %s::integer[],
            %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::boolean[])
AS r (customer, id, number, state, attempts, next_attempt_at, reply, host, tls, warned)
WHERE q.customer_id = r.customer AND q.message_id = r.id AND q.number = r.number AND q.state < 1
  AND r.number >= 0 AND r.attempts >= 0""",
)

_RECORD_BY_KEY = f"SET LOCAL enable_seqscan = off; {_RECORD.execute}"
"""One request, and so one transaction: the setting holds for this statement alone."""

_RELEASE = """
UPDATE delivery q SET server_id = NULL, next_attempt_at = now()
FROM unnest(%s::integer[], %s::uuid[], %s::text[]) AS r (customer, id, destination)
WHERE q.customer_id = r.customer AND q.message_id = r.id AND q.destination = r.destination
  AND q.state = 0 AND q.server_id = %s"""

_FORGET_TRANSIT = """
WITH gone AS (
    DELETE FROM message m
    USING unnest(%(customers)s::integer[], %(ids)s::uuid[]) AS r (customer, id)
    WHERE m.customer_id = r.customer AND m.message_id = r.id AND m.shelf = 2
      AND NOT EXISTS (SELECT 1 FROM delivery q WHERE q.customer_id = m.customer_id
                      AND q.message_id = m.message_id AND q.state = 0)
    RETURNING m.customer_id, m.message_id, m.stored_size, m.raw_size
), bodies AS (
    DELETE FROM body b USING gone
    WHERE b.customer_id = gone.customer_id AND b.message_id = gone.message_id
), deliveries AS (
    DELETE FROM delivery d USING gone
    WHERE d.customer_id = gone.customer_id AND d.message_id = gone.message_id
)
INSERT INTO shelf_count AS c (customer_id, shelf, day, slot, messages, bytes, raw_bytes)
SELECT customer_id, 2, day_of(message_id), 0, -count(*), -sum(stored_size), -sum(raw_size)
FROM gone GROUP BY customer_id, day_of(message_id) ORDER BY customer_id, day_of(message_id)
ON CONFLICT (customer_id, shelf, day, slot) DO UPDATE
SET messages = c.messages + EXCLUDED.messages, bytes = c.bytes + EXCLUDED.bytes,
    raw_bytes = c.raw_bytes + EXCLUDED.raw_bytes"""

_DOWN = """
INSERT INTO destination AS d (destination, failures, next_probe_at, last_reply)
VALUES (%(destination)s, 1, %(next)s, %(reply)s)
ON CONFLICT (destination) DO UPDATE
SET failures = d.failures + 1, next_probe_at = EXCLUDED.next_probe_at,
    last_reply = EXCLUDED.last_reply"""

_DOWN_LIST = """
SELECT destination, failures, next_probe_at, last_reply, down_since FROM destination"""

_UP = "DELETE FROM destination WHERE destination = %s"

_HELD = "SELECT destination, held_at, held_by FROM held_destination ORDER BY destination"

_HELD_HOSTS = "SELECT host, held_at, held_by FROM held_host ORDER BY host"

_OF_HOST = "SELECT name FROM domain WHERE %(destination)s = ANY (host_names(hosts))"

_IS_NAMED = f"""
    SELECT name AS destination FROM domain WHERE name = %(destination)s
    UNION {_OF_HOST}
    UNION SELECT destination FROM delivery WHERE state = 0 AND destination = %(destination)s
    UNION SELECT destination FROM held_destination WHERE destination = %(destination)s"""

# Who declares a domain of that host just now is waited for: either it is found here, or it finds
# the host as it is then (`hold_by_host`).
_ALONE = "SELECT pg_advisory_xact_lock(x'686f6c64'::bigint);"

# A destination's own name weighs more than that of a host: releasing the host leaves it held. What
# is being let go just now is held again, by this.
_HOLD = f"""{_ALONE}
WITH named AS ({_IS_NAMED}), of_host AS ({_OF_HOST}), host AS (
    INSERT INTO held_host (host, held_by)
    SELECT %(destination)s, %(by_account)s WHERE EXISTS (SELECT 1 FROM of_host)
    ON CONFLICT DO NOTHING RETURNING host
), held AS (
    INSERT INTO held_destination AS h (destination, held_by, host)
    SELECT destination, %(by_account)s, nullif(%(destination)s, destination) FROM named
    ON CONFLICT (destination) DO UPDATE
    SET host = EXCLUDED.host, let_go_at = NULL, held_again = coalesce(h.let_go_at, h.held_again)
    WHERE h.let_go_at IS NOT NULL OR (EXCLUDED.host IS NULL AND h.host IS NOT NULL)
    RETURNING destination
), noted AS (
    INSERT INTO audit (customer_id, account, client_address, act, object)
    SELECT %(by_customer)s, %(by_account)s, %(by_client)s, %(act)s, name
    FROM (SELECT destination FROM held UNION SELECT host FROM host) AS one (name)
), told AS (SELECT pg_notify('{CHANNEL}', ''))
SELECT (SELECT count(*) FROM named), (SELECT count(*) FROM held), (SELECT count(*) FROM told)"""

# What is let go is let go piece by piece, held until all of it is younger. Of an act that did not
# come to its end, what it has done is known: the next one goes on from there.
#
# A domain stays held as long as another host of it is: but for one that is held by a host and let
# go by its own name, which goes alone. What other holds keep of a host's domains is told.
_LETTING_GO = f"""{_ALONE}
WITH host AS (
    DELETE FROM held_host WHERE host = %(destination)s RETURNING host
), concerned AS (
    SELECT h.destination, CASE WHEN h.let_go_at IS NULL AND coalesce(h.host, o.host) = o.host THEN (
        SELECT min(other.host) FROM domain JOIN held_host other
            ON other.host = ANY (host_names(domain.hosts))
        WHERE domain.name = h.destination AND other.host <> o.host) END AS other
    FROM (SELECT %(destination)s) AS o (host) JOIN held_destination h
        ON o.host IN (h.destination, h.host)
), changed AS (
    UPDATE held_destination h SET
        host = coalesce(c.other, h.host),
        let_go_at = CASE WHEN c.other IS NULL THEN coalesce(h.let_go_at, now()) END
    FROM concerned c WHERE h.destination = c.destination
    RETURNING h.destination, h.let_go_at IS NULL AS kept
), noted AS (
    INSERT INTO audit (customer_id, account, client_address, act, object)
    SELECT %(by_customer)s, %(by_account)s, %(by_client)s, %(act)s, name
    FROM (SELECT host FROM host
          UNION SELECT destination FROM changed WHERE kept AND destination = %(destination)s
          EXCEPT SELECT destination FROM changed WHERE NOT kept) AS one (name)
)
SELECT destination, kept FROM changed
UNION ALL SELECT destination, true FROM held_destination
WHERE destination IN ({_OF_HOST}) AND let_go_at IS NULL
  AND destination NOT IN (SELECT destination FROM changed)"""

# The time that a delivery was held does not count: neither as its age, nor for its retries. Those
# that have been seen to are known by their time, which is that of the act; by an act after which it
# was held again, they have been made younger up to then.
_MAKE_YOUNGER = f"""
WITH held AS MATERIALIZED (
    SELECT destination, held_at, let_go_at, held_again FROM held_destination
    WHERE destination = %(destination)s AND let_go_at IS NOT NULL FOR UPDATE
), due AS (
    SELECT q.customer_id, q.message_id, q.number, h.let_go_at,
           CASE q.next_attempt_at WHEN h.held_again THEN h.held_again ELSE h.held_at END AS held_at
    FROM held h JOIN delivery q USING (destination)
    WHERE q.state = 0 AND q.queued_at < h.let_go_at AND q.next_attempt_at <> h.let_go_at AND {_FREE}
    LIMIT %(limit)s FOR UPDATE OF q
), younger AS (
    UPDATE delivery q SET
        next_attempt_at = due.let_go_at,
        queued_at = q.queued_at + (due.let_go_at - greatest(q.queued_at, due.held_at))
    FROM due WHERE q.customer_id = due.customer_id AND q.message_id = due.message_id
      AND q.number = due.number
    RETURNING 1
)
SELECT count(*) FROM younger"""

# Of an act that was begun long ago, and not ended, the time since then has been held, too.
_LET_GO = f"""
WITH again AS (
    UPDATE held_destination SET held_at = let_go_at, let_go_at = now()
    WHERE destination = %(destination)s AND let_go_at < now() - interval '1 hour'
    RETURNING destination
), let_go AS (
    DELETE FROM held_destination
    WHERE destination = %(destination)s AND let_go_at >= now() - interval '1 hour'
    RETURNING destination
), probed AS (
    UPDATE destination SET next_probe_at = now()
    WHERE destination IN (SELECT destination FROM let_go)
), noted AS (
    INSERT INTO audit (customer_id, account, client_address, act, object)
    SELECT %(by_customer)s, %(by_account)s, %(by_client)s, %(act)s, destination FROM let_go
), told AS (SELECT pg_notify('{CHANNEL}', ''))
SELECT (SELECT count(*) FROM let_go), (SELECT count(*) FROM again),
       (SELECT count(*) FROM held_destination
        WHERE destination = %(destination)s AND let_go_at IS NULL),
       (SELECT count(*) FROM told)"""

_LEASE_SOME = f"""
WITH due AS (
    SELECT q.customer_id, q.message_id, q.number FROM delivery q
    WHERE q.destination = %(destination)s AND q.state = 0 AND {_FREE}
      AND q.queued_at <= (SELECT started_at FROM server WHERE server_id = %(server)s)
    ORDER BY q.next_attempt_at LIMIT %(limit)s FOR UPDATE OF q SKIP LOCKED
), leased AS ({_LEASED_ROWS}"""

_LIST = """
SELECT q.customer_id, q.message_id, q.number, q.recipient, q.destination, q.state, q.attempts,
       q.queued_at, q.next_attempt_at,
       CASE WHEN q.last_reply = '' THEN coalesce(d.last_reply, '') ELSE q.last_reply END
FROM delivery q LEFT JOIN destination d USING (destination)
WHERE q.state = 0 AND (%(customer)s::integer IS NULL OR q.customer_id = %(customer)s)
  AND (%(destination)s::text IS NULL OR q.destination = %(destination)s
       OR q.destination IN (SELECT name FROM domain WHERE EXISTS (
            SELECT 1 FROM unnest(hosts) h WHERE h = %(destination)s
               OR regexp_replace(h, ':[0-9]+$', '') = %(destination)s)))
ORDER BY q.next_attempt_at, q.message_id, q.number LIMIT %(limit)s"""

# What one customer waits for. It is found by destination: an index of each customer's would be work
# for every delivery. A domain that has been removed while mail waited is nobody's.
_OWN = f"""{DESTINATIONS}, own AS (
    SELECT q.* FROM destinations t LEFT JOIN domain ON domain.name = t.destination
    CROSS JOIN LATERAL (
        SELECT * FROM delivery q WHERE q.destination = t.destination AND q.state = 0
          AND q.customer_id = %(customer)s) q
    WHERE t.destination NOT LIKE 'mx:%%'
      AND coalesce(domain.customer_id, %(customer)s) = %(customer)s
)"""

_WAITING = f"""{_OWN}, page AS (
    SELECT * FROM own
    WHERE %(after)s::uuid IS NULL OR (message_id, number) > (%(after)s::uuid, %(number)s::bigint)
    ORDER BY message_id, number OFFSET %(offset)s LIMIT %(limit)s
)
SELECT q.customer_id, q.message_id, q.number, q.recipient, q.destination, q.state, q.attempts,
       q.queued_at, q.next_attempt_at, q.last_reply,
       m.sender, m.header_from, m.subject,
       EXISTS (SELECT 1 FROM server s WHERE s.server_id = q.server_id),
       EXISTS (SELECT 1 FROM destination d WHERE d.destination = q.destination),
       EXISTS (SELECT 1 FROM held_destination h WHERE h.destination = q.destination)
FROM page q JOIN message m USING (customer_id, message_id)
ORDER BY q.message_id, q.number"""

_WAITING_COUNT = f"{_OWN} SELECT count(*) FROM own"

_DOWN_OF = """
SELECT d.destination, d.failures, d.next_probe_at, d.last_reply, d.down_since
FROM destination d JOIN domain ON domain.name = d.destination
WHERE domain.customer_id = %(customer)s
  AND EXISTS (SELECT 1 FROM delivery q WHERE q.destination = d.destination AND q.state = 0
              AND q.customer_id = %(customer)s)
ORDER BY d.destination"""

_CHOSEN = f"""
    q.state = 0 AND (%(customer)s::integer IS NULL OR q.customer_id = %(customer)s)
    AND (%(destination)s::text IS NULL OR q.destination = %(destination)s
         OR q.destination IN ({_OF_HOST}))
    AND (%(of)s::integer IS NULL
         OR (q.customer_id, q.message_id, q.number) = (%(of)s, %(message)s::uuid, %(number)s))"""

# So many at a time: what has been seen to is known by its time, and by that of its attempt if it
# has been tried since, and failed again.
_RETRY = f"""
WITH due AS (
    SELECT q.customer_id, q.message_id, q.number FROM delivery q
    WHERE {_CHOSEN} AND {_FREE} AND q.next_attempt_at <> %(at)s
      AND (q.attempted_at IS NULL OR q.attempted_at < %(at)s)
    LIMIT %(limit)s FOR UPDATE OF q
), retried AS (
    UPDATE delivery q SET next_attempt_at = %(at)s FROM due
    WHERE q.customer_id = due.customer_id AND q.message_id = due.message_id
      AND q.number = due.number
    RETURNING q.destination
), probed AS (
    UPDATE destination SET next_probe_at = now()
    WHERE destination IN (SELECT destination FROM retried)
), noted AS (
    INSERT INTO audit (customer_id, account, client_address, act, object)
    SELECT %(by_customer)s, %(by_account)s, %(by_client)s, %(act)s,
           coalesce(%(object)s::text, concat(%(destination)s::text || ': ', count(*)))
    FROM retried HAVING count(*) > 0
), told AS (SELECT pg_notify('{CHANNEL}', ''))
SELECT (SELECT count(*) FROM retried), (SELECT count(*) FROM told)"""

_LEASE_ONE = f"""
WITH due AS (
    SELECT q.customer_id, q.message_id, q.number FROM delivery q
    WHERE (q.customer_id, q.message_id, q.number) = (%(of)s, %(message)s::uuid, %(number)s)
      AND q.state = 0 AND {_FREE} FOR UPDATE SKIP LOCKED
), leased AS ({_LEASED_ROWS}"""

_ADDED = """last AS (
    SELECT coalesce(max(number), -1) AS number FROM delivery
    WHERE customer_id = %(customer)s AND message_id = %(id)s
), added AS (
    INSERT INTO delivery (customer_id, message_id, number, recipient, notify, original,
                          destination, state, attempts, queued_at, next_attempt_at)
    SELECT %(customer)s, %(id)s::uuid, last.number + r.ordinality, r.recipient, 1, '',
           r.destination, 0, 0, now(), now()
    FROM last, unnest(%(recipients)s::text[], %(destinations)s::text[])
         WITH ORDINALITY AS r (recipient, destination, ordinality)
    WHERE EXISTS (SELECT 1 FROM message WHERE customer_id = %(customer)s AND message_id = %(id)s
                  FOR KEY SHARE)  -- or it may be deleted meanwhile, and the deliveries stay"""
_NOTED = """
    RETURNING 1
), noted AS (
    INSERT INTO audit (customer_id, account, client_address, act, object)
    SELECT %(by_customer)s, %(by_account)s, %(by_client)s, %(act)s, %(object)s FROM added LIMIT 1
), told AS (SELECT pg_notify('mail6m_queue', ''))
SELECT (SELECT count(*) FROM added), (SELECT count(*) FROM told)"""

_REISSUE = f"WITH {_ADDED}{_NOTED}"

# Whoever writes the key down is the one who queues; who comes at the same time waits for that.
_REISSUE_ONCE = f"""
WITH forgotten AS (
    DELETE FROM api_reissue WHERE customer_id = %(customer)s AND token_id = %(token)s
      AND key <> %(key)s AND at < now() - interval '1 day'
), once AS (
    INSERT INTO api_reissue AS o (customer_id, token_id, key, message_id, deliveries, without_way)
    SELECT %(customer)s, %(token)s, %(key)s, %(id)s::uuid,
           cardinality(%(recipients)s::text[]), %(without)s::text[]
    WHERE EXISTS (SELECT 1 FROM message WHERE customer_id = %(customer)s AND message_id = %(id)s)
    ON CONFLICT (customer_id, token_id, key) DO UPDATE
    SET message_id = EXCLUDED.message_id, deliveries = EXCLUDED.deliveries,
        without_way = EXCLUDED.without_way, at = now()
    WHERE o.at < now() - interval '1 day'
    RETURNING 1
), {_ADDED}
      AND EXISTS (SELECT 1 FROM once){_NOTED}"""

_REISSUED = """
SELECT message_id, deliveries, without_way FROM api_reissue
WHERE customer_id = %s AND token_id = %s AND key = %s AND at >= now() - interval '1 day'"""

# One that a server has in hand is tried already; its next_attempt_at is the end of the lease.
_DELIVERIES = """
SELECT customer_id, message_id, number, recipient, destination, state, attempts, queued_at,
       CASE WHEN server_id IS NULL THEN next_attempt_at ELSE queued_at END,
       last_reply, tls
FROM delivery WHERE customer_id = %s AND message_id = %s ORDER BY number"""

_LENGTH = """
SELECT count(*), min(queued_at),
       (SELECT last_reply FROM delivery WHERE state = 0 AND last_reply <> ''
        ORDER BY attempted_at DESC LIMIT 1)
FROM delivery WHERE state = 0"""


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery in this server's hands, with what is needed to make it."""

    customer: int
    message: UUID
    number: int
    recipient: Recipient
    destination: str
    attempts: int
    queued_at: datetime
    warned: bool
    last_reply: str
    envelope: Envelope
    """Without recipients."""
    size: int
    received_at: datetime
    ours: bool
    """Mail6M wrote it."""
    judgement: Judgement


class Record(NamedTuple):
    """What to write down of an attempt."""

    customer: int
    message: UUID
    number: int
    state: State
    attempts: int
    next_attempt_at: datetime | None
    reply: str
    host: str
    tls: str
    warned: bool = False


class Down(NamedTuple):
    """A destination that is down."""

    destination: str
    failures: int
    next_probe_at: datetime
    last_reply: str
    down_since: datetime


class Held(NamedTuple):
    """A destination whose mail waits until an operator lets it go, or a host."""

    destination: str
    held_at: datetime
    held_by: str


class LetGo(NamedTuple):
    """What is held no longer."""

    destinations: int
    deliveries: int
    """That waited for them."""
    kept: tuple[str, ...] = ()
    """The destinations of that name that are held still: by another name, or again meanwhile."""


class Waiting(NamedTuple):
    """A delivery that has not been made yet, and what people know its message by."""

    delivery: Delivery
    sender: str
    header_from: str
    subject: str
    under_way: bool
    """A server has it in hand."""
    down: bool
    """Its destination is down."""
    held: bool
    """Operators hold its destination."""


class Once(NamedTuple):
    """A key under which something is done once: of the API's key that it came with."""

    token: int
    key: bytes
    """SHA-256 of what the program said."""


class Already(NamedTuple):
    """What was done under such a key."""

    message: UUID
    deliveries: int
    without_way: list[str]


class Deliveries:
    """The tables ``delivery`` and ``destination``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        pool.prepare(_RECORD)

    async def lease(
        self, server: int, *, without: Sequence[str], each: int, limit: int
    ) -> list[Due]:
        """Take in hand what is due, at most ``each`` for a destination, none for some."""
        parameters = {"server": server, "without": list(without), "each": each, "limit": limit}
        return await self._leased(_LEASE, parameters)

    async def lease_probes(self, server: int) -> list[Due]:
        """One delivery for every destination that is down and whose time to be probed has come."""
        return await self._leased(_LEASE_PROBES, {"server": server})

    async def lease_late(
        self, server: int, *, lifetime: float, warn_after: float, limit: int
    ) -> list[Due]:
        """Those queued longer than ``lifetime`` seconds, or ``warn_after`` without a warning."""
        parameters = {
            "server": server,
            "lifetime": lifetime,
            "warn_after": warn_after,
            "limit": limit,
        }
        return await self._leased(_LEASE_LATE, parameters)

    async def lease_one(self, server: int, delivery: tuple[int, UUID, int]) -> Due | None:
        """Take one delivery in hand, if it is queued and in nobody's hands."""
        customer, message, number = delivery
        parameters = {"server": server, "of": customer, "message": str(message), "number": number}
        found = await self._leased(_LEASE_ONE, parameters)
        return found[0] if found else None

    async def lease_some(self, server: int, destination: str, limit: int) -> list[Due]:
        """Take deliveries to a destination in hand, due or not, held or not: to give them up.

        Those that have come since the server enlisted are none of them.
        """
        parameters = {"server": server, "destination": destination, "limit": limit}
        return await self._leased(_LEASE_SOME, parameters)

    async def _leased(self, sql: str, parameters: Mapping[str, object]) -> list[Due]:
        return [_due(row) for row in await self._pool.query(sql, {**parameters, "leased": LEASED})]

    async def record(self, records: Sequence[Record]) -> None:
        """Write down what became of attempts, and let go of the deliveries."""
        columns = list(zip(*records, strict=True))
        customers, messages, numbers, states, attempts, times, replies, hosts, tls, warned = columns
        await self._pool.query(
            _RECORD_BY_KEY,
            (
                arrays.numbers(customers),
                arrays.words([id_text(message) for message in messages]),
                arrays.numbers(numbers),
                arrays.numbers([int(state) for state in states]),
                arrays.numbers(attempts),
                arrays.words(["NULL" if at is None else f'"{at.isoformat()}"' for at in times]),
                arrays.texts(replies),
                arrays.texts(hosts),
                arrays.texts(tls),
                arrays.booleans(warned),
            ),
        )

    async def release(self, server: int, untried: Sequence[tuple[int, UUID, str]]) -> None:
        """Let go of messages' deliveries to a destination, which no attempt was made at."""
        customers = [customer for customer, _, _ in untried]
        ids = [str(message) for _, message, _ in untried]
        destinations = [destination for _, _, destination in untried]
        await self._pool.query(_RELEASE, (customers, ids, destinations, server))

    async def forget_transit(self, messages: Sequence[tuple[int, UUID]]) -> None:
        """Delete those of our own messages that have nowhere to go any more."""
        customers = [customer for customer, _ in messages]
        ids = [str(message) for _, message in messages]
        await self._pool.query(_FORGET_TRANSIT, {"customers": customers, "ids": ids})

    async def down(self, destination: str, next_probe_at: datetime, reply: str) -> None:
        """The destination could not be reached."""
        parameters = {"destination": destination, "next": next_probe_at, "reply": text(reply)}
        await self._pool.query(_DOWN, parameters)

    async def up(self, destination: str) -> None:
        """The destination could be reached."""
        await self._pool.query(_UP, (destination,))

    async def down_list(self) -> list[Down]:
        """The destinations that are down."""
        return [_down(row) for row in await self._pool.query(_DOWN_LIST)]

    async def held(self) -> list[Held]:
        """The destinations that operators hold."""
        rows = await self._pool.query(_HELD)
        return [Held(name, at.astimezone(UTC), account) for name, at, account in rows]

    async def held_hosts(self) -> list[Held]:
        """The hosts that operators hold, whatever domains go on to them."""
        rows = await self._pool.query(_HELD_HOSTS)
        return [Held(name, at.astimezone(UTC), account) for name, at, account in rows]

    async def hold(self, by: By, destination: str) -> int:
        """Have what waits for a destination, and what comes, wait until `let_go`; how many
        destinations are held now that were not, or were by a host's name and are by their own.

        It is one as it stands in the queue, or the name of a host: then all domains that go on to
        it are held, and those that will. What is under way just now is finished. Raises `Refused`
        if there is no such destination.
        """
        parameters = {"destination": _name(destination)} | note(by, Act.DESTINATION_HELD)
        [(named, held, _)] = await self._pool.query(_HOLD, parameters)
        if not named:
            raise Refused(f"nothing waits for {destination}, and no domain has it")
        return int(held)

    async def let_go(self, by: By, destination: str) -> LetGo:
        """Have what was held go out now.

        What was held is younger by the time that it was, so that nothing is given up for it. That
        is done `AT_ONCE` deliveries at a time; if the database goes away meanwhile, the
        destination stays held, and it can be let go again. So it does if it is held by another
        name, too, or again meanwhile.
        """
        act = note(by, Act.DESTINATION_LET_GO)
        named = await self._pool.query(_LETTING_GO, {"destination": _name(destination)} | act)
        kept = LetGo(0, 0, tuple(name for name, kept in named if kept))
        gone = [await self._let_go({"destination": name} | act) for name, kept in named if not kept]
        numbers, deliveries, names = zip(kept, *gone, strict=True)
        return LetGo(sum(numbers), sum(deliveries), sum(names, ()))

    async def _let_go(self, parameters: dict[str, Any]) -> LetGo:
        gone, again, held, count = 0, 1, 0, 0
        while again:
            limited = {**parameters, "limit": AT_ONCE}
            while some := int((await self._pool.query(_MAKE_YOUNGER, limited))[0][0]):
                count += some
            [(gone, again, held, _)] = await self._pool.query(_LET_GO, parameters)
        return LetGo(gone, count if gone else 0, (parameters["destination"],) if held else ())

    async def queued(
        self, *, customer: int | None = None, destination: str | None = None, limit: int = 100_000
    ) -> list[Delivery]:
        """What is still to be relayed. ``destination`` is a domain or one of its hosts."""
        parameters = {"customer": customer, "destination": _name(destination), "limit": limit}
        return [_delivery(row) for row in await self._pool.query(_LIST, parameters)]

    async def waiting(
        self, customer: int, offset: int, limit: int, after: tuple[UUID, int] | None = None
    ) -> list[Waiting]:
        """What a customer's recipients have not got yet, in order of arrival.

        ``after`` names the delivery, by message and number, that the first one comes after.
        """
        message, number = after if after is not None else (None, None)
        parameters = {
            "customer": customer,
            "offset": offset,
            "limit": limit,
            "after": str(message) if message else None,
            "number": number,
        }
        rows = await self._pool.query(_WAITING, parameters)
        return [Waiting(_delivery(row[:10]), *row[10:]) for row in rows]

    async def waiting_count(self, customer: int) -> int:
        """How much that is."""
        return int((await self._pool.query(_WAITING_COUNT, {"customer": customer}))[0][0])

    async def down_of(self, customer: int) -> list[Down]:
        """The customer's destinations that are down while something waits for them."""
        rows = await self._pool.query(_DOWN_OF, {"customer": customer})
        return [_down(row) for row in rows]

    async def of_message(self, customer: int, message: UUID) -> list[Delivery]:
        """Everything that became of a message's recipients."""
        return [
            _delivery(row[:10], row[10])
            for row in await self._pool.query(_DELIVERIES, (customer, str(message)))
        ]

    async def retry(
        self,
        by: By,
        *,
        customer: int | None = None,
        destination: str | None = None,
        delivery: tuple[int, UUID, int] | None = None,
    ) -> int:
        """Make deliveries due now, and return how many; the audit has that, or the one.

        And the destination, if it is one's. It is done `AT_ONCE` deliveries at a time: broken off,
        the others wait for their turn.
        """
        of, message, number = delivery if delivery is not None else (None, None, None)
        parameters = {
            "customer": customer,
            "destination": _name(destination),
            "of": of,
            "message": str(message) if message else None,
            "number": number,
        }
        act = note(by, Act.DELIVERIES_RETRIED)
        act["object"] = "-".join(map(str, delivery)) if delivery is not None else None
        [(at,)] = await self._pool.query("SELECT now()")
        parameters |= act | {"at": at, "limit": AT_ONCE}
        count, some = 0, AT_ONCE
        while some == AT_ONCE:
            some = int((await self._pool.query(_RETRY, parameters))[0][0])
            count += some
        return count

    async def reissue(self, by: By, message: UUID, recipients: Sequence[tuple[str, str]]) -> int:
        """Queue a message again for (recipient, destination) pairs. Raises `Refused`."""
        parameters = {
            "customer": by.customer,
            "id": str(message),
            "recipients": [recipient for recipient, _ in recipients],
            "destinations": [destination for _, destination in recipients],
        }
        act = note(by, Act.MESSAGE_REISSUED, message)
        added = int((await self._pool.query(_REISSUE, parameters | act))[0][0])
        if recipients and not added:
            raise Refused(f"customer {by.customer} has no message {message}")
        return added

    async def reissue_once(
        self,
        by: By,
        once: Once,
        message: UUID,
        recipients: Sequence[tuple[str, str]],
        without_way: Sequence[str],
    ) -> bool:
        """As `reissue`, unless it has been done under that key; whether it was done now.

        ``without_way`` is what is answered beside the number of deliveries. Not done either if
        there is no such message.
        """
        parameters = {
            "customer": by.customer,
            "token": once.token,
            "key": once.key,
            "id": str(message),
            "recipients": [recipient for recipient, _ in recipients],
            "destinations": [destination for _, destination in recipients],
            "without": list(without_way),
        }
        act = note(by, Act.MESSAGE_REISSUED, message)
        return bool((await self._pool.query(_REISSUE_ONCE, parameters | act))[0][0])

    async def reissued(self, customer: int, once: Once) -> Already | None:
        """What has been done under a key within a day."""
        rows = await self._pool.query(_REISSUED, (customer, once.token, once.key))
        return Already(UUID(rows[0][0]), rows[0][1], list(rows[0][2])) if rows else None

    async def length(self) -> tuple[int, datetime | None, str]:
        """Deliveries that are queued, since when the oldest, and the last words of a host."""
        rows = await self._pool.query(_LENGTH)
        count, oldest, reply = rows[0]
        return int(count), oldest, reply or ""


def read_delivery_id(value: str) -> tuple[int, UUID, int]:
    """``customer-message-number``, as `Delivery.id` writes it. Raises `Refused`."""
    customer, _, rest = value.partition("-")
    message, _, number = rest.rpartition("-")
    try:
        delivery = int(customer), UUID(message), int(number)
    except ValueError as error:
        raise Refused(f"{value!r} is not the id of a delivery") from error
    if max(delivery[0], delivery[2]) >= 1 << 31:
        raise Refused(f"{value!r} is not the id of a delivery")
    return delivery


def _name(destination: str | None) -> str | None:
    """A destination as it stands in the tables, whatever an operator typed."""
    return destination and text(destination).lower()


def _due(row: Row) -> Due:
    (customer, message, number, recipient, notify, original, destination, attempts, queued_at,
     warned, last_reply, sender, address, hello, name, protocol, tls, smtputf8, eightbit, returns,
     envid, size, received_at, shelf, spam, judgement, requiretls) = row  # fmt: skip
    client = Client(address, hello, name, protocol, tls)
    return Due(
        customer,
        UUID(message),
        number,
        Recipient(recipient, notify, original),
        destination,
        attempts,
        queued_at.astimezone(UTC),
        warned,
        last_reply,
        Envelope(sender, (), client, smtputf8, eightbit, returns, envid, requiretls),
        size,
        received_at.astimezone(UTC),
        shelf == Shelf.TRANSIT,
        decode(judgement, spam),
    )


def _down(row: Row) -> Down:
    destination, failures, probe, reply, since = row
    return Down(destination, failures, probe.astimezone(UTC), reply, since.astimezone(UTC))


def _delivery(row: Row, tls: str = "") -> Delivery:
    customer, message, number, recipient, destination, state, attempts, queued, next_, reply = row
    return Delivery(
        customer, UUID(message), number, recipient, destination, State(state), attempts,
        queued.astimezone(UTC), next_.astimezone(UTC), reply, tls,
    )  # fmt: skip
