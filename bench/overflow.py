"""How fast a full cabinet sheds, and what clients notice of it."""

from __future__ import annotations

import smtplib
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median, quantiles

import psycopg2

from bench.catalogue import fill
from bench.figure import Figure, per_second, progress
from bench.gateways import Mail6M
from bench.load import RECIPIENT, SENDER, BenchError, Load, Sink, free_ports, measure
from mail6m.storage.embedded import Embedded

MOVED = 200_000
"""Messages that move on an idle server."""
BESIDE = 100_000
"""Messages that move while mail comes in, in each round: more than there is time for."""
_TOO_MUCH = """
UPDATE customer SET capacity = (
    SELECT sum(stored_size) FROM (
        SELECT stored_size FROM message WHERE customer_id = %(customer)s AND shelf = 0
        ORDER BY message_id OFFSET %(messages)s) AS newest)
WHERE customer_id = %(customer)s"""
_CELLAR = "SELECT sum(messages)::bigint FROM shelf_count WHERE customer_id = %s AND shelf = 1"


def overflow(root: Path, rounds: int) -> list[Figure]:
    """The rate of a sweep, and how long a client waits for its 250 while cabinets shed."""
    load = Load("4 KB, 20 sessions kept", 20, 20_000, reuse=True)
    with Sink(root, *free_ports(1)) as sink:
        with Mail6M(root, sink.port) as gateway:
            customer, data = gateway.customer, gateway.data
        fill(data, {customer: MOVED + (rounds + 1) * BESIDE})
        with Mail6M(root, sink.port) as gateway, _database(data) as database:
            begun = time.perf_counter()
            _have_too_much(database, customer, MOVED)
            _wait_for(database, customer, MOVED)
            rate = MOVED / (time.perf_counter() - begun)
            alone, beside, rates = [], [], []
            for number in range(rounds):
                progress(
                    f"round {number + 1} of {rounds}: mail while nothing moves, then beside it"
                )
                alone += _waits(sink, gateway, load)
                gateway.settle()
                before = _in_cellar(database, customer)
                _have_too_much(database, customer, BESIDE)
                begun = time.perf_counter()
                beside += _waits(sink, gateway, load)
                moved = _in_cellar(database, customer) - before
                rates.append(moved / (time.perf_counter() - begun))
                gateway.ask("shelves", "sweep")
                gateway.settle()
    p95s = [1000 * quantiles(took, n=20)[-1] for took in (alone, beside)]
    return [
        Figure("overflow", rate, "messages/s", ">=", 5_000, f"{MOVED} messages, idle server"),
        Figure(
            "a 250 while cabinets shed",
            p95s[1] / p95s[0],
            "times as long, p95",
            "<=",
            2,
            f"{p95s[0]:.0f} ms alone, {p95s[1]:.0f} ms beside {per_second(median(rates))} that move"
            f"; {len(alone)} and {len(beside)} messages",
        ),
    ]


def _waits(sink: Sink, gateway: Mail6M, load: Load) -> list[float]:
    """How long a client waits for each of its 250s while a load is on the gateway."""
    with _Client(gateway.port) as client:
        rate = measure(sink, gateway.port, load)
    progress(f"  {load.name}: {per_second(rate.delivered)} delivered")
    return client.took


@contextmanager
def _database(data: Path) -> Iterator[psycopg2.extensions.connection]:
    """A connection to a server's database."""
    embedded = Embedded(data / "postgres")
    try:
        with closing(psycopg2.connect(embedded.start())) as connection:
            connection.autocommit = True
            yield connection
    finally:
        embedded.leave()


def _have_too_much(database: psycopg2.extensions.connection, customer: int, messages: int) -> None:
    """Make the cabinet smaller by its oldest messages."""
    with database.cursor() as cursor:
        cursor.execute(_TOO_MUCH, {"customer": customer, "messages": messages})


def _in_cellar(database: psycopg2.extensions.connection, customer: int) -> int:
    with database.cursor() as cursor:
        cursor.execute(_CELLAR, (customer,))
        [[messages]] = cursor.fetchall()
    return int(messages or 0)


def _wait_for(database: psycopg2.extensions.connection, customer: int, messages: int) -> None:
    end = time.monotonic() + 300
    while (there := _in_cellar(database, customer)) < messages:
        if time.monotonic() > end:
            raise BenchError(f"{there} of {messages} messages are in the cellar after 300 s")
        time.sleep(0.1)


class _Client:
    """One that sends a message every now and then, and looks at its watch."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.took: list[float] = []

    def _send(self) -> None:
        content = "Subject: La montre\r\n\r\n" + 50 * ("Combien de temps ? " * 4 + "\r\n")
        with smtplib.SMTP("127.0.0.1", self._port, timeout=60) as smtp:
            smtp.ehlo()
            while not self._enough.wait(0.02):
                smtp.mail(SENDER)
                smtp.rcpt(RECIPIENT)
                begun = time.perf_counter()
                code, reply = smtp.data(content)
                self.took.append(time.perf_counter() - begun)
                if code != 250:
                    raise BenchError(f"{code} {reply.decode()}")

    def __enter__(self) -> _Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()
