"""How long the operators' first page takes when there is much, and whether its figures are right.

Rows as intake leaves them, without bodies, search entries and counters by the minute, which that
page does not read; counters by the day, which it does, are what the messages add up to.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from html import unescape
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psycopg2

from bench.browsers import Browser
from bench.figure import Figure, progress
from bench.gateways import Mail6M
from bench.load import BenchError, free_ports
from mail6m.access.signin import new_token, token_hash, totp_owner
from mail6m.model import HOUSE
from mail6m.seal import Keyring, master_key
from mail6m.storage.backlog import BOUNDS
from mail6m.storage.embedded import Embedded

CUSTOMERS = 1_000
EACH = 20_000
"""Messages of each: 20,000,000, over a year."""
QUEUED = 100_000
DESTINATIONS = 5_000
DOWN = 200
BATCH = 500
"""Messages of each customer that one statement adds."""
WRITERS = 2
"""Connections that fill the tables, each for its share of the customers."""
TIMES = 50
TARGET = 100
"""Milliseconds."""

_CUSTOMERS = """
INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)
SELECT nextval('customer_number'), 'Client ' || n, 'tiroir', 1000000000000, '\\x00'
FROM generate_series(2, %(customers)s) AS n;
INSERT INTO preferences (customer_id)
SELECT customer_id FROM customer ON CONFLICT DO NOTHING;
CREATE TABLE filled AS
SELECT customer_id, row_number() OVER (ORDER BY customer_id) AS place
FROM customer WHERE customer_id <> 0;
"""

# In the order of arrival, as it is where many customers' mail comes in at once.
_FILL = """
WITH new AS MATERIALIZED (
    SELECT c.customer_id, n, uuidv7(-age) AS id, now() - age AS received_at
    FROM generate_series(%(first)s, %(last)s, -1) AS n
    JOIN filled c ON c.place %% %(writers)s = %(writer)s,
         LATERAL (SELECT n * interval '26 minutes' + c.place * interval '1 second' AS age)
    ORDER BY n DESC, c.place DESC
), deliveries AS (
    INSERT INTO delivery (customer_id, message_id, number, recipient, notify, original,
                          destination, state, attempts, queued_at, next_attempt_at, attempted_at,
                          last_reply, host)
    SELECT customer_id, id, 0, 'personne@client.test', 0, '', 'client.test', 1, 1, received_at,
           received_at, received_at, '250 2.0.0 Ok', '127.0.0.1' FROM new
)
INSERT INTO message (customer_id, message_id, shelf, received_at, raw_size, stored_size, sender,
                     recipients, header_from, header_to, subject, header_message_id, sha256,
                     client_address, client_name, client_hello, protocol, tls, smtputf8, eightbit,
                     returns, envid)
SELECT customer_id, id, 0, received_at, 4096, 1600, 'anne@sender.test',
       '{personne@client.test}', 'anne@sender.test', 'personne@client.test', 'Facture ' || n,
       n || '@sender.test', sha256(n::text::bytea), '192.0.2.1', '', 'sender.test', 'ESMTP', '',
       false, false, '', ''
FROM new
"""

_COUNT = """
INSERT INTO shelf_count (customer_id, shelf, day, slot, messages, bytes, raw_bytes)
SELECT customer_id, shelf, day_of(message_id), 0, count(*), sum(stored_size), sum(raw_size)
FROM message GROUP BY customer_id, shelf, day_of(message_id)
"""

# Of the newest messages, some to a few destinations, and to most destinations few.
_QUEUE = """
WITH chosen AS (
    SELECT customer_id, message_id, row_number() OVER () AS n
    FROM filled CROSS JOIN LATERAL (
        SELECT message_id FROM message m WHERE m.customer_id = filled.customer_id
        ORDER BY message_id DESC LIMIT %(queued)s / %(customers)s) AS newest
)
UPDATE delivery d SET state = 0, attempts = 1 + n %% 12, warned = true,
    destination = 'domaine' || floor(%(destinations)s * power(n / %(queued)s::float, 3)) || '.test',
    queued_at = now() - (n %% 4700) * interval '91 seconds',
    next_attempt_at = now() + interval '2 hours' + (n %% 3600) * interval '1 second',
    last_reply = '451 4.7.1 Revenez plus tard (' || n || ')'
FROM chosen c WHERE d.customer_id = c.customer_id AND d.message_id = c.message_id;
INSERT INTO destination (destination, failures, next_probe_at, last_reply)
SELECT 'domaine' || 7 * n || '.test', 9, now() + interval '2 hours', '451 4.4.1 Connection refused'
FROM generate_series(1, %(down)s) AS n;
INSERT INTO measure (span, begins_at, server, accepted, accepted_bytes, refused, relayed, deferred,
                     failed)
SELECT span, date_trunc('minute', now(), 'UTC') - n * span * interval '1 minute', 'serveur' || s,
       100 + n %% 77, 409600, 3, 99 + n %% 55, 7, 1
FROM (VALUES (1, 2880), (60, 2112)) AS spans (span, most), generate_series(1, most) AS n,
     generate_series(1, 3) AS s;
INSERT INTO standing (span, begins_at, taken_at, messages, bytes, queued, disk_free, database_bytes)
SELECT 1440, date_trunc('day', now(), 'UTC') - n * interval '1 day', now() - n * interval '1 day',
       20000000 - n * 55000, (20000000 - n * 55000) * 1600::bigint, 1000, 9e10, 2e10
FROM generate_series(1, 90) AS n;
INSERT INTO mishap SELECT 'serveur1', 'mail6m.bench: ' || n, 'warn', 'Une ligne du journal', n,
                          now(), now() FROM generate_series(1, 40) AS n
"""

_SLOWLY = """
SELECT (SELECT count(*) FROM message WHERE shelf IN (0, 1)),
       (SELECT sum(stored_size) FROM message WHERE shelf IN (0, 1)),
       (SELECT count(*) FROM customer WHERE customer_id <> 0)"""

_QUEUE_SLOWLY = """
WITH aged AS (
    SELECT destination, extract(epoch FROM (SELECT taken_at FROM queue_snapshot) - queued_at) AS age
    FROM delivery WHERE state = 0
)
SELECT count(*), count(DISTINCT destination), {} FROM aged"""


def overview(root: Path, rounds: int) -> list[Figure]:
    """The page of an operator who has signed in, over HTTP."""
    (nowhere,) = free_ports(1)
    with Mail6M(root, nowhere) as gateway:
        data = gateway.data
    begun = time.monotonic()
    token, truth = _fill(data)
    progress(f"  filled and counted in {time.monotonic() - begun:.0f} s")
    with Mail6M(root, nowhere) as gateway:
        browser = Browser(gateway.web, f"mail6m-session={token}")
        _wait_until_counted(browser)
        wrong = _compare(data, browser, truth)
        took = _asked(browser)
    detail = (
        f"median {median(took):.1f} ms of {TIMES}; {CUSTOMERS * EACH} messages of {CUSTOMERS}"
        f" customers, {QUEUED} deliveries to some {DESTINATIONS} destinations"
    )
    return [
        Figure("overview, wrong figures", len(wrong), "", "<=", 0, ", ".join(wrong) or "of six"),
        Figure("overview", max(took), "ms at worst", "<=", TARGET, detail),
    ]


def _fill(data: Path) -> tuple[str, tuple[int, ...]]:
    """All there is to be; the token of an operator's session, and what is counted row by row."""
    embedded = Embedded(data / "postgres")
    constants = {
        "customers": CUSTOMERS,
        "queued": QUEUED,
        "destinations": DESTINATIONS,
        "down": DOWN,
    }
    try:
        dsn = embedded.start()
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET synchronous_commit = off; SET maintenance_work_mem = '1GB'")
                cursor.execute("SET work_mem = '256MB'")
                cursor.execute(_CUSTOMERS, constants)
                _fill_tables(cursor, dsn)
                cursor.execute(_COUNT)
                cursor.execute(_QUEUE, constants)
                cursor.execute("DROP TABLE filled")
                progress("  VACUUM ...")
                cursor.execute("VACUUM (FREEZE, ANALYZE)")
                token = _operator(cursor, data)
                return token, _row(cursor, _SLOWLY)
    finally:
        embedded.leave()


def _row(cursor: Any, sql: str) -> tuple[int, ...]:
    cursor.execute(sql)
    [row] = cursor.fetchall()
    return tuple(map(int, row))


def _write(dsn: str, writer: int) -> None:
    """A writer's share of the messages and their deliveries, the oldest first."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SET synchronous_commit = off; SET work_mem = '256MB'")
        constants = {"writers": WRITERS, "writer": writer}
        for first in range(EACH, 0, -BATCH):
            last = first - BATCH + 1
            cursor.execute(_FILL, constants | {"first": first, "last": last})
            if writer == 0 and last % 2_000 == 1:
                progress(f"  {CUSTOMERS * (EACH - last + 1)} messages")


def _fill_tables(cursor: Any, dsn: str) -> None:
    """Messages and deliveries; their indexes are made when they are full."""
    cursor.execute(
        "SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid IN ('message'::regclass, 'delivery'::regclass) AND contype = 'p'"
    )
    keys = cursor.fetchall()
    for table, name, _ in keys:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(lambda writer: _write(dsn, writer), range(WRITERS)))
    for table, name, definition in keys:
        progress(f"  the primary key of {table} ...")
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")


def _operator(cursor: Any, data: Path) -> str:
    """Somebody who runs Mail6M, with a second factor, and in the middle of a session."""
    cursor.execute(
        "INSERT INTO account (customer_id, email, role) VALUES (0, 'o@mail6m.test', 'operator')"
        " RETURNING account_id"
    )
    ((account,),) = cursor.fetchall()
    keyring = Keyring(master_key(data / "keys" / "master.key"))
    secret = keyring.wrap(totp_owner(HOUSE, account), os.urandom(20))
    cursor.execute("UPDATE account SET totp_secret = %s WHERE account_id = %s", (secret, account))
    token = new_token()
    cursor.execute(
        "INSERT INTO session (token_hash, customer_id, account_id, complete, client_address,"
        " user_agent) VALUES (%s, 0, %s, true, '127.0.0.1', 'bench')",
        (token_hash(token), account),
    )
    return token


def _wait_until_counted(browser: Browser) -> None:
    """The server counts everything by itself, when it has started."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        page = browser.get("/exploitation")
        figures = _figures(page)
        if len(figures) == 6 and "–" not in figures and figures[4] != "0":
            return
        time.sleep(1)
    raise BenchError("the server has not counted its archive and its queue within 2 minutes")


def _figures(page: str) -> list[str]:
    """What stands above on the page, without what separates thousands."""
    text = unescape(page).replace("\u202f", "").replace("\u00a0", "")
    found = re.findall(r"<dt>[^<]*</dt><dd>(?:<a[^>]*>)?([^<]*)", text)
    return [one.strip() for one in found]


def _compare(data: Path, browser: Browser, truth: Sequence[int]) -> list[str]:
    """The names of the figures that are not what counting the slow way comes to."""
    embedded = Embedded(data / "postgres")
    bounds = [0, *BOUNDS, 10**9]
    ages = ", ".join(
        f"count(*) FILTER (WHERE age >= {low} AND age < {high})" for low, high in pairwise(bounds)
    )
    try:
        connection = psycopg2.connect(embedded.start())
        with closing(connection), connection.cursor() as cursor:
            page = browser.get("/exploitation")
            queued, destinations, *by_age = _row(cursor, _QUEUE_SLOWLY.format(ages))
            there, waiting = _row(
                cursor, "SELECT count(*), sum(deliveries)::bigint FROM queue_destination"
            )
            messages, octets = _row(
                cursor, "SELECT messages, bytes FROM standing ORDER BY taken_at DESC LIMIT 1"
            )
    finally:
        embedded.leave()
    text = unescape(page).replace("\u202f", "").replace("\u00a0", "")
    shown = _figures(page)
    table = [int(one) for one in re.findall(r"<td>(\d+)</td></tr>", text)][-len(by_age) :]
    pairs = {
        "queue": (shown[2], str(queued)),
        "archived": (shown[4], str(truth[0])),
        "customers": (shown[5], str(truth[2])),
        "bytes": ((messages, octets), tuple(truth[:2])),
        "by age": (table, by_age),
        "by destination": ((there, waiting), (destinations, queued)),
    }
    for name, (said, counted) in pairs.items():
        progress(f"  {name}: {said}, counted {counted}")
    return [name for name, (said, counted) in pairs.items() if said != counted]


def _asked(browser: Browser) -> list[float]:
    """Milliseconds from request to answer."""
    took = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        browser.get("/exploitation")
        took.append(1000 * (time.perf_counter() - begun))
        time.sleep(0.1)
    return took
