"""A disc whose writing is killed, or has no room: the sum holds, and it can be begun anew."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import resource
import signal
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg2
import pytest

from mail6m.shelves.disc.names import new_serial
from mail6m.storage.embedded import Embedded
from tests.harness import COMMAND_SECONDS, LOOPBACK, ROOT, Say, Server, new_place
from tests.processes import Running
from tests.reactor_thread import PATIENCE
from tests.scripted_peer import Peer
from tests.small_disk import SmallDisk, fill_log, log_on_small_disk, small_disk

MESSAGES = 15
SIZE = 230_000
"""Bytes of noise in each, which are written as twice as many."""
CAPACITY = 6_000_000
IMAGES = 40_000_000
"""Bytes of the small disk that images are on."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One whose discs are small."""
    with new_place() as place, Server(place, "--disc-capacity", str(CAPACITY)) as server:
        yield server


class Database:
    """A server's own PostgreSQL, which this process uses, too."""

    def __init__(self, server: Server) -> None:
        self._embedded = Embedded(server.data / "postgres")
        self.dsn = self._embedded.start()

    def close(self) -> None:
        """Be done with it."""
        self._embedded.leave()


@pytest.fixture(scope="module")
def dsn(server: Server) -> Iterator[str]:
    """Of its database."""
    with contextlib.closing(Database(server)) as database:
        yield database.dsn


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of the machine that all mail goes on to."""
    with Peer() as peer:
        yield peer.port


@functools.cache
def letter(number: int) -> str:
    """A message full of noise."""
    noise = random.Random(number).randbytes(SIZE).hex()
    lines = "\n".join(noise[at : at + 70] for at in range(0, len(noise), 70))
    return f"Subject: {number}\n\n{lines}\n"


class Account:
    """A customer with a cabinet for nothing, and where the mail is that was accepted."""

    def __init__(self, server: Server, dsn: str, name: str, port: int) -> None:
        self.server = server
        self.dsn = dsn
        self.domain = f"{name}.test"
        words = ("customer", "add", "--company", name, "--email", f"g@{self.domain}")
        self.number = int(server.command(*words, "--capacity", "1000")["customer"])
        server.add_domain(self.domain, self.number, port)
        self.accepted = 0

    def ask(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows."""
        with contextlib.closing(psycopg2.connect(self.dsn)) as connection, connection:
            cursor = connection.cursor()
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def receive(self) -> None:
        """Messages come in by SMTP, and go to the cellar."""
        with smtplib.SMTP(LOOPBACK, self.server.smtp_port, timeout=PATIENCE) as client:
            for number in range(MESSAGES):
                client.sendmail("a@example.org", [f"g@{self.domain}"], letter(number))
        self.accepted += MESSAGES
        waiting = "SELECT count(*) FROM delivery WHERE customer_id = %s AND state = 0"
        self._ask_until_none(waiting)  # what is not relayed yet goes on no disc
        self._ask_until_none("SELECT moved FROM shed(%s, 100)")

    def _ask_until_none(self, count: str) -> None:
        """Over one connection: to open them all would cost more than what is waited for."""
        with contextlib.closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(count, (self.number,))
            while cursor.fetchall() != [(0,)]:
                cursor.execute(count, (self.number,))

    def order(self) -> str:
        """A disc is ordered."""
        if offered := self.ask(
            "UPDATE disc SET state = 'ordered' WHERE customer_id = %s AND state = 'offered'"
            " RETURNING serial",
            self.number,
        ):
            return str(offered[0][0])
        serial = new_serial()
        order = "INSERT INTO disc (customer_id, serial, state) VALUES (%s, %s, 'ordered')"
        self.ask(order, self.number, serial)
        return serial

    def state(self, serial: str) -> str:
        """What has become of a disc."""
        return str(self.ask("SELECT state FROM disc WHERE serial = %s", serial)[0][0])

    def sum(self) -> int:
        """Cabinet, cellar, discs, deleted and destroyed."""
        [[total]] = self.ask(
            "SELECT (SELECT count(*) FROM message WHERE customer_id = c AND shelf IN (0, 1))"
            " + (SELECT coalesce(sum(messages), 0) FROM departed WHERE customer_id = c)"
            " + (SELECT coalesce(sum(messages + left_out), 0) FROM disc WHERE customer_id = c)"
            " FROM (SELECT %s AS c) AS one",
            self.number,
        )
        return int(total)

    def counted(self) -> bool:
        """Whether the counters say what is there."""
        [[same]] = self.ask(
            "SELECT (SELECT count(*) FROM message WHERE customer_id = c)"
            " = (SELECT sum(messages) FROM shelf_count WHERE customer_id = c)"
            " AND (SELECT count(DISTINCT message_id) FROM body WHERE customer_id = c)"
            " = (SELECT count(*) FROM message WHERE customer_id = c)"
            " FROM (SELECT %s AS c) AS one",
            self.number,
        )
        return bool(same)


def writing(server: Server, serial: str) -> Running:
    """`mail6m disc write`, under way."""
    return server.running("disc", "write", serial)


def write(server: Server, serial: str) -> None:
    """The disc, written to the end."""
    assert server.command("disc", "write", serial)["state"] == "written"


Seen = Callable[[Account, str], bool]


def there(ending: str) -> Seen:
    """A file or folder of the disc's is there."""
    return lambda account, serial: (account.server.data / "discs" / f"{serial}{ending}").exists()


MOMENTS: list[tuple[str, Seen, float]] = [
    ("before anything", lambda account, serial: True, 0.0),
    ("planning", there(".work"), 0.0),
    ("room taken", there(".part"), 0.0),
    ("writing", there(".part"), 0.02),
    ("reading back", there(".part"), 0.06),
    ("renamed", there(".iso"), 0.0),
    ("leaving the cellar", there(".iso"), 0.006),
    ("erasing", lambda account, serial: account.state(serial) == "written", 0.0),
]
"""What is seen, and how many seconds later the process is killed."""


def kill(process: Running, seen: Callable[[], bool], later: float) -> None:
    """At that moment; it may be over before."""
    with process:
        while not seen():
            if process.wait(0.001):
                return
        if not process.wait(later):
            process.send(signal.SIGKILL)


def test_the_sum_holds_whenever_the_writing_is_killed(
    server: Server, dsn: str, port: int, say: Say
) -> None:
    """Kill -9 at every step: the disc is written or not, and no message is lost or doubled."""
    account, images, told = Account(server, dsn, "tue", port), server.data / "discs", []
    for name, seen, later in MOMENTS:
        account.receive()
        serial = account.order()
        process = writing(server, serial)
        kill(process, partial(seen, account, serial), later)
        state = account.state(serial)
        told.append(f"{name}: {state}")
        assert state in ("ordered", "written")
        assert account.sum() == account.accepted
        if state == "ordered":
            write(server, serial)
        server.command("shelves", "sweep")  # what was on it and not erased yet
        assert account.sum() == account.accepted
        assert account.counted()
        assert server.command("disc", "verify", serial)["files"] >= 1 + 7
        left = {path.suffix for path in images.iterdir()}
        assert left == {".iso"}
    say(f"a disc killed at {len(told)} moments: {', '.join(told)}")
    assert {state.rpartition(" ")[2] for state in told} == {"ordered", "written"}


def test_a_disk_without_room_changes_nothing(server: Server, dsn: str, port: int) -> None:
    """It is said in one line, before anything is written; with room, the same disc is written."""
    account, images = Account(server, dsn, "plein", port), server.data / "discs"
    account.receive()
    serial = account.order()
    images.mkdir(exist_ok=True)
    before = sorted(images.iterdir())

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

    done = subprocess.run(
        [sys.executable, "-m", "mail6m.cli", "--data", server.data, "disc", "write", serial],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=little,
        capture_output=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"File too large" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert sorted(images.iterdir()) == before
    assert account.state(serial) == "ordered"
    assert account.sum() == MESSAGES
    write(server, serial)
    assert account.sum() == MESSAGES
    assert images.stat().st_mode & 0o777 == 0o700  # an image is mail in clear


def write_until(
    account: Account, serial: str, seen: Callable[[], bool], then: Callable[[], None]
) -> tuple[int, str]:
    """Begin to write a disc, hold the process at that moment, and let it go on after something.

    Its status, and what it complained of.
    """
    with writing(account.server, serial) as process:
        while not seen() and not process.wait(0.001):
            pass
        process.send(signal.SIGSTOP)
        try:
            then()
        finally:
            process.send(signal.SIGCONT)
        done = process.done(COMMAND_SECONDS)
    return done.returncode, done.stderr.decode()


@pytest.fixture
def full() -> Iterator[tuple[Server, SmallDisk]]:
    """A server whose images are on a small disk of their own."""
    with new_place() as place:
        server = Server(place, "--disc-capacity", str(CAPACITY))
        with small_disk(server.data / "discs", IMAGES) as disk, server:
            yield server, disk


def test_the_sum_holds_whenever_the_disk_of_images_is_full(
    full: tuple[Server, SmallDisk], port: int, say: Say
) -> None:
    """ENOSPC at every step: all is as it was, or the disc is written; with room it can be."""
    server, disk = full
    with contextlib.closing(Database(server)) as database:
        account, told = Account(server, database.dsn, "comble", port), []
        for name, seen, _ in MOMENTS[:5]:
            account.receive()
            serial = account.order()
            status, complaint = write_until(
                account, serial, partial(seen, account, serial), lambda: disk.fill(0)
            )
            state = account.state(serial)
            told.append(f"{name}: {state}")
            assert (status, state) in [(0, "written"), (1, "ordered")]
            assert account.sum() == account.accepted
            if state == "ordered":
                assert "No space left on device" in complaint
                assert complaint.count("\n") == 1
                left = sorted(path.name for path in disk.path.glob(f"{serial}*"))
                assert left == []
            disk.make_room()
            if state == "ordered":
                write(server, serial)
            server.command("shelves", "sweep")
            assert account.sum() == account.accepted
            assert account.counted()
            server.command("disc", "verify", serial)
            server.command("disc", "ship", serial)
            server.command("disc", "receive", serial)  # or the small disk would hold them all
    say(f"images' disk full at {len(told)} moments: {', '.join(told)}")
    assert {state.rpartition(" ")[2] for state in told} == {"ordered", "written"}


@pytest.mark.parametrize("name", ["planning", "renamed"])
def test_the_sum_holds_when_the_databases_log_is_full(name: str, port: int, say: Say) -> None:
    """PostgreSQL dies in the middle of a disc: the disc is written later, and nothing twice."""
    seen = next(seen for moment, seen, _ in MOMENTS if moment == name)
    with new_place() as path, log_on_small_disk(path) as (place, disk):
        place.stop()
        server = Server(path, "--disc-capacity", str(CAPACITY))
        with server:
            place.start()
            account = Account(server, place.dsn, "journal", port)
            account.receive()
            serial = account.order()
        place.start()

        def fill() -> None:
            with contextlib.suppress(psycopg2.OperationalError):  # it may be this that is too much
                fill_log(place, disk, room=0)

        status, _ = write_until(account, serial, partial(seen, account, serial), fill)
        assert "PANIC:  could not write to file" in place.said
        assert status == 1
        disk.make_room()
        with server:
            place.start()
            account.dsn = place.dsn
            state = account.state(serial)
            say(f"the log full while {name}: {state}")
            assert account.sum() == account.accepted
            if state == "ordered":
                write(server, serial)
            server.command("shelves", "sweep")
            assert account.sum() == account.accepted
            assert account.counted()
            assert server.command("disc", "verify", serial)["files"] >= 1 + 7
