"""Fills an archive by SQL, much faster than mail could: rows as intake and indexer leave them.

The bodies are of the size that a sealed 4 KB mail has, and cannot be opened.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from bench.figure import progress
from mail6m.model import Shelf, State
from mail6m.storage.embedded import Embedded

BATCH = 100_000

SEALED = 1_600
"""Bytes of a body: what remains of a mail of 4 KB after brotli."""

# The newest message is of this moment, and each one before it 15 s older: 2,000,000 are a year.
FILL = """
WITH new AS MATERIALIZED (
    SELECT n, uuidv7(-n * interval '15 s') AS id, now() - n * interval '15 s' AS received_at,
           'client' || n %% 1000 || '@sender.test' AS sender,
           'personne' || n %% 50 || '@example.test' AS recipient,
           'Facture ' || n || ' du chantier ' || n %% 777 AS subject
    FROM generate_series(%(first)s, %(last)s, -1) AS n
), bodies AS (
    INSERT INTO body (customer_id, message_id, part, sealed)
    SELECT %(customer)s, id, 0, decode(repeat(md5(n::text), %(sealed)s / 16), 'hex') FROM new
), deliveries AS (
    INSERT INTO delivery (customer_id, message_id, number, recipient, notify, original,
                          destination, state, attempts, queued_at, next_attempt_at, attempted_at,
                          last_reply, host)
    SELECT %(customer)s, id, 0, recipient, 0, '', 'example.test', %(delivered)s, 1, received_at,
           received_at, received_at, '250 2.0.0 Ok', '127.0.0.1' FROM new
), entries AS (
    INSERT INTO search_entry (customer_id, shelf, message_id, sender, recipient, subject)
    SELECT %(customer)s, %(shelf)s, id, sender, recipient, lower(subject) FROM new
)
INSERT INTO message (customer_id, message_id, shelf, received_at, raw_size, stored_size, sender,
                     recipients, header_from, header_to, subject, header_message_id, sha256,
                     client_address, client_name, client_hello, protocol, tls, smtputf8, eightbit,
                     returns, envid)
SELECT %(customer)s, id, %(shelf)s, received_at, 4096, %(sealed)s, sender, ARRAY[recipient],
       sender, recipient, subject, n || '@sender.test', sha256(n::text::bytea), '192.0.2.1', '',
       'client.sender.test', 'ESMTP', '', false, false, '', ''
FROM new
"""

COUNT = """
INSERT INTO shelf_count (customer_id, shelf, day, slot, messages, bytes, raw_bytes)
SELECT customer_id, shelf, day_of(message_id), 0, count(*), sum(stored_size), sum(raw_size)
FROM message WHERE customer_id = %(customer)s GROUP BY customer_id, shelf, day_of(message_id);
INSERT INTO minute_count (customer_id, shelf, minute, slot, messages)
SELECT customer_id, shelf, minute_of(message_id), 0, count(*)
FROM message WHERE customer_id = %(customer)s GROUP BY customer_id, shelf, minute_of(message_id)
"""


@contextmanager
def indexed_afterwards(cursor: Any) -> Iterator[None]:
    """Make the index of grams when its table is full, in a fifth of the time."""
    cursor.execute("SELECT pg_get_indexdef('search_grams'::regclass)")
    ((index,),) = cursor.fetchall()
    cursor.execute("DROP INDEX search_grams")
    yield
    progress("  the index of grams ...")
    begun = time.monotonic()
    cursor.execute("SET maintenance_work_mem = '2GB'; SET max_parallel_maintenance_workers = 2")
    cursor.execute(index)
    progress(f"  ... took {time.monotonic() - begun:.0f} s")


def fill(data: Path, customer: int, messages: int) -> None:
    """Add delivered messages to an empty cabinet, in the embedded database under ``data``.

    For a server that does not run: when this was the last to use the database, it stops with a
    checkpoint, and nothing is left to be written behind a measurement.
    """
    embedded = Embedded(data / "postgres")
    constants = {
        "customer": customer,
        "messages": messages,
        "sealed": SEALED,
        "shelf": int(Shelf.CABINET),
        "delivered": int(State.DELIVERED),
    }
    try:
        with closing(psycopg2.connect(embedded.start())) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                with indexed_afterwards(cursor):
                    for first in range(messages, 0, -BATCH):
                        last = max(first - BATCH + 1, 1)
                        cursor.execute(FILL, constants | {"first": first, "last": last})
                        progress(f"  {messages - last + 1} of {messages} messages filled in")
                    cursor.execute(COUNT, constants)
                cursor.execute("VACUUM (FREEZE, ANALYZE)")
    finally:
        embedded.leave()
