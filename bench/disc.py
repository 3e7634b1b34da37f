"""A disc of full size: how fast it is written and checked, in how much memory, and beside mail."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from statistics import median

import psycopg2

from bench.figure import Figure, per_second, progress
from bench.gateways import CHECKOUT, Mail6M
from bench.load import BenchError, Load, Sink, free_ports, measure
from mail6m.intake import new_message_id
from mail6m.model import Client, Envelope, Recipient, Shelf, Summary
from mail6m.seal import Key, Keyring, compress, master_key, seal
from mail6m.storage.archive import Archive, NewMessage
from mail6m.storage.embedded import Embedded

CAPACITY = 4_700_000_000
RAW = 4_750_000_000
"""Bytes of messages in the cellar: more than a disc takes."""
SIZES = ((0.72, 3_000, 15_000), (0.23, 20_000, 100_000), (0.05, 200_000, 700_000))
"""Parts of the messages, and how small and how large they are: mean 43 KB."""
BATCH = 200
MINUTE = 60_000
LONGEST = 600.0


def disc(root: Path, rounds: int) -> list[Figure]:
    """Write a disc of 4.7 GB while mail comes and goes, after the same mail alone."""
    del rounds  # there is one disc
    load = Load("4 KB, 20 sessions kept", 20, 6_000, reuse=True)
    with Sink(root, *free_ports(1)) as sink:
        with Mail6M(root, sink.port) as gateway:
            customer, data = gateway.customer, gateway.data
        messages = _fill(data, customer)
        with Mail6M(root, sink.port) as gateway:
            gateway.ask("shelves", "sweep")
            answer = gateway.ask("disc", "accept", "--customer", str(customer))
            serial = _serial(answer)
            alone = [measure(sink, gateway.port, load).delivered for _ in range(3)]
            gateway.settle()
            idle = _resident(gateway.pid)
            beside: list[float] = []
            with _Writing(data, serial) as writing:
                while not writing.over.wait(0.5):
                    beside.append(measure(sink, gateway.port, load).delivered)
            written, peak, grown = writing.disc, writing.peak, _resident(gateway.pid) - idle
            quiet = _checked(gateway, serial)
    image = int(str(written["image_bytes"]))
    progress(f"  {written['messages']} of {messages} messages; mail {median(alone):.0f}/s alone")
    return [
        Figure(
            "a disc written and checked",
            image / 1e6 / writing.seconds,
            "MB/s",
            ">=",
            40,
            f"{image / 1e9:.3f} GB, {written['messages']} messages, {writing.seconds:.0f} s beside"
            f" mail, and {writing.erased:.0f} s to erase them;"
            f" checked alone at {image / 1e6 / quiet:.0f} MB/s",
        ),
        Figure(
            "memory for it, over the idle server's",
            (peak - idle) / 1e6,
            "MB",
            "<=",
            300,
            f"the process that writes has {peak / 1e6:.0f} MB at its peak, an idle server"
            f" {idle / 1e6:.0f}; the server grew by {grown / 1e6:.0f}",
        ),
        Figure("of a disc's capacity", image / CAPACITY, "", ">=", 0.98, f"{image} bytes"),
        Figure(
            "mail while a disc is written",
            median(beside) / median(alone),
            "of the rate alone",
            ">=",
            0.6,
            f"alone {per_second(median(alone))}, beside {per_second(median(beside))},"
            f" {len(beside)} loads",
        ),
    ]


def _serial(answer: object) -> str:
    match answer:
        case {"serial": str(serial)}:
            return serial
    raise BenchError(f"disc accept printed {answer!r}")


def _checked(gateway: Mail6M, serial: str) -> float:
    begun = time.monotonic()
    gateway.ask("disc", "verify", serial)
    return time.monotonic() - begun


class _Writing:
    """`mail6m disc write`, in a process of its own, until it is over."""

    def __init__(self, data: Path, serial: str) -> None:
        program = "from mail6m.cli import main; raise SystemExit(main())"
        self._command = [sys.executable, "-c", program, "--data", str(data)]
        self._command += ["disc", "write", serial, "--json"]
        self.over = threading.Event()
        self.seconds = self.erased = 0.0
        self.peak = 0
        self.disc: dict[str, object] = {}
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        begun = time.time()
        with subprocess.Popen(self._command, cwd=CHECKOUT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            printed = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = status
        self.peak = usage.ru_maxrss * 1024
        if printed:
            self.disc = json.loads(printed)
            written = datetime.fromisoformat(str(self.disc["written_at"])).timestamp()
            self.seconds = written - begun
            self.erased = time.time() - written
        self.over.set()

    def __enter__(self) -> _Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(LONGEST)
        if not self.disc:
            raise BenchError("the disc was not written")


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _fill(data: Path, customer: int) -> int:
    """Put mail into the cellar of a server that does not run; how many messages."""
    embedded = Embedded(data / "postgres")
    dsn = embedded.start()
    try:
        with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT wrapped_key FROM customer WHERE customer_id = %s", (customer,))
            [(wrapped,)] = cursor.fetchall()
        keyring = Keyring(master_key(data / "keys" / "master.key"))
        key = Key(keyring.unwrap(customer, bytes(wrapped)))
        return _store(dsn, customer, key)
    finally:
        embedded.leave()


def _store(dsn: str, customer: int, key: Key) -> int:
    archive = Archive(_NoPool(), dsn, 120.0)  # type: ignore[arg-type]
    batch: list[NewMessage] = []
    count = done = 0
    for message in _messages(customer, key):
        batch.append(message)
        count += 1
        done += message.raw_size
        if len(batch) == BATCH or done >= RAW:
            archive.store_large([(one, one.parts) for one in batch], 1)
            batch = []
            if count % 10_000 < BATCH:
                progress(f"  {count} messages, {done / 1e9:.2f} of {RAW / 1e9:.2f} GB")
        if done >= RAW:
            break
    archive.close()
    return count


class _NoPool:
    """Large messages are stored without one."""

    def prepare(self, statement: object) -> None:
        """Nothing is asked."""


def _messages(customer: int, key: Key) -> Iterator[NewMessage]:
    chance = random.Random(4_700)
    attached = base64.encodebytes(chance.randbytes(24_000_000)).replace(b"\n", b"\r\n")
    words = b"Bonjour, voici le devis du chantier et la facture de la commande.\r\n" * 400
    now = int(time.time() * 1000)
    number = 0
    while True:
        part = chance.random()
        low, high = next((low, high) for up_to, low, high in _cumulated() if part <= up_to)
        size = chance.randint(low, high)
        text = min(size, chance.randint(800, 9_000))
        at = chance.randrange(len(attached) - size)
        subject = f"Facture {number} du chantier {number % 777}"
        content = (
            f"From: client{number % 1000}@sender.test\r\nTo: personne{number % 50}@example.test\r\n"
            f"Subject: {subject}\r\nMessage-ID: <{number}@sender.test>\r\n\r\n"
        ).encode()
        content += words[:text] + attached[at : at + size - text]
        yield _sealed(customer, key, now - (200_000 - number) * MINUTE, subject, number, content)
        number += 1


def _cumulated() -> Iterator[tuple[float, int, int]]:
    total = 0.0
    for part, low, high in SIZES:
        total += part
        yield total + 1e-9, low, high


def _sealed(
    customer: int, key: Key, milliseconds: int, subject: str, number: int, content: bytes
) -> NewMessage:
    id_ = new_message_id(milliseconds)
    parts = seal(key, id_, compress(content, 1))
    sender, to = f"client{number % 1000}@sender.test", f"personne{number % 50}@example.test"
    return NewMessage(
        customer, id_, milliseconds, Shelf.CELLAR,
        Envelope(sender, (Recipient(to),), Client("192.0.2.1", "client.sender.test")),
        Summary(sender, to, subject, f"<{number}@sender.test>"), len(content),
        sum(map(len, parts)), hashlib.sha256(content).digest(), parts, [],
    )  # fmt: skip
