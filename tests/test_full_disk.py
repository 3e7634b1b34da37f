"""An overflow whose disk is full in the middle: nothing is lost, and with room it goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

from mail6m.model import Shelf
from mail6m.shelves.cabinet import criteria
from mail6m.storage.archive import MINUTE
from mail6m.storage.embedded import Embedded
from mail6m.storage.migrate import migrate
from tests.harness import Say, Server, new_place, require
from tests.reactor_thread import run
from tests.shelved import House, assert_counted, make_house
from tests.stored import NOON, ask, new_pool

KEPT = 10
"""Messages that the cabinet has room for."""
MESSAGES = 3_000
MEGABYTE = 1 << 20
DATA_DISK = 192 * MEGABYTE
LOG_DISK = 80 * MEGABYTE
SEGMENT = 16 * MEGABYTE
"""Of PostgreSQL's log: it makes a new one when the last one is full."""
ROOM_IN_DATA = 1_000_000
"""Bytes: enough to move some portions, and not enough for all."""
ROOM_IN_LOG = 2_000_000


class SmallDisk:
    """A file system of its own, which can be filled to the brim."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, room: int) -> None:
        """Leave so many bytes."""
        with self._filler.open("wb") as file:
            free = os.statvfs(file.fileno())
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - room)

    def make_room(self) -> None:
        """Somebody has tidied up."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, size: int, *options: str) -> Iterator[SmallDisk]:
    """Mounted on a folder, for as long as it is used; without that, the test is skipped."""
    mount = require("mount", "mount")
    path.mkdir(parents=True)
    how = ",".join([f"size={size}", "mode=0700", *options])
    command = [mount, "-t", "tmpfs", "-o", how, "mail6m-test", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        why = mounted.stderr.splitlines()[0]
        missing = f"a small disk cannot be mounted ({why}): run as root, who may mount"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    disk = SmallDisk(path)
    try:
        yield disk
    finally:
        disk.make_room()
        subprocess.run(["umount", "--lazy", path], check=True)


class Place:
    """A data directory, whose PostgreSQL this process uses, too."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cluster = server.data / "postgres" / "cluster"
        self._embedded = Embedded(server.data / "postgres")
        self.dsn = ""

    def start(self) -> None:
        """Have PostgreSQL run, after a crash as well."""
        self.dsn = self._embedded.start()

    def stop(self) -> None:
        """Be done with it."""
        self._embedded.leave()

    def as_postgres(self, sql: str) -> int:
        """What its superuser asks for; a number, if there is one."""
        rows = ask(make_dsn(self.dsn, dbname="postgres", user="postgres"), sql)
        return int(rows[0][0]) if rows else 0

    @property
    def said(self) -> str:
        """What PostgreSQL has logged."""
        logs = (self.server.data / "postgres" / "log").glob("*.log")
        return "".join(log.read_text(errors="replace") for log in logs)


Full = Callable[[Path], AbstractContextManager[tuple[Place, SmallDisk]]]
"""Has a small disk somewhere."""


@contextmanager
def data_on_small_disk(place: Path) -> Iterator[tuple[Place, SmallDisk]]:
    """Tables and log are on one small disk."""
    server = Server(place)
    with small_disk(server.data / "postgres", DATA_DISK) as disk, used(Place(server)) as used_place:
        yield used_place, disk


@contextmanager
def log_on_small_disk(place: Path) -> Iterator[tuple[Place, SmallDisk]]:
    """The log alone is on a small disk."""
    with used(Place(Server(place))) as used_place:
        used_place.stop()
        log, owner = used_place.cluster / "pg_wal", used_place.cluster.stat()
        ids = f"uid={owner.st_uid}", f"gid={owner.st_gid}"
        with small_disk(place / "log", LOG_DISK, *ids) as disk:
            subprocess.run(["cp", "-a", f"{log}/.", disk.path], check=True)
            shutil.rmtree(log)
            log.symlink_to(disk.path)
            with used(used_place):
                yield used_place, disk


@contextmanager
def used(place: Place) -> Iterator[Place]:
    """With a PostgreSQL that runs, and none afterwards."""
    place.start()
    try:
        yield place
    finally:
        place.stop()
        place.server.remove()


def fill_data(place: Place, disk: SmallDisk) -> None:
    """So that some more pages of tables can be written."""
    place.as_postgres("SELECT 1 FROM pg_switch_wal()")
    place.as_postgres("CHECKPOINT")  # which begins the new segment: the log has room
    disk.fill(ROOM_IN_DATA)


def fill_log(place: Place, disk: SmallDisk) -> None:
    """So that the last segment that there is has some room, and no other can be made."""
    disk.fill(0)
    with closing(psycopg2.connect(make_dsn(place.dsn, user="postgres"))) as writer:
        writer.autocommit = True
        while room_in_log(place) > ROOM_IN_LOG:
            size = min(room_in_log(place) - ROOM_IN_LOG, MEGABYTE)
            emit = "SELECT pg_logical_emit_message(false, '', repeat('x', %s), true)"
            writer.cursor().execute(emit, (max(size, 10_000),))


def room_in_log(place: Place) -> int:
    """Bytes that can still be written into segments that are there."""
    here = place.as_postgres("SELECT pg_current_wal_insert_lsn() - '0/0'")
    segments = place.as_postgres(
        "SELECT count(*) FROM pg_ls_waldir() WHERE name >= pg_walfile_name(pg_current_wal_lsn())"
        " AND length(name) = 24"
    )
    return segments * SEGMENT - here % SEGMENT


def settle(house: House) -> int:
    """A customer whose cabinet has to give nearly all that it holds to the cellar."""
    customer = house.customer(KEPT)
    for first in range(0, MESSAGES, 500):
        house.store(customer, 500, NOON + first * MINUTE)
    run(lambda: house.cabinet.newest(customer, criteria("anne"), [Shelf.CABINET], 1))  # indexed
    return customer


def bodies(dsn: str, customer: int) -> list[tuple[object, ...]]:
    """What all messages are, in one line."""
    return ask(
        dsn,
        "SELECT count(*), md5(string_agg(message_id::text || md5(sealed), '' ORDER BY message_id))"
        " FROM body WHERE customer_id = %s",
        customer,
    )


@pytest.mark.parametrize(
    ("full", "fill", "complaint"),
    [
        (data_on_small_disk, fill_data, "could not extend file"),
        (log_on_small_disk, fill_log, "PANIC:  could not write to file"),
    ],
    ids=["the data", "the log"],
)
def test_an_overflow_on_a_full_disk_goes_on_when_there_is_room(
    full: Full, fill: Callable[[Place, SmallDisk], None], complaint: str, say: Say
) -> None:
    """PostgreSQL fails in the middle, or dies; nothing is lost or doubled, and the rest moves."""
    with new_place() as path, full(path) as (place, disk):
        migrate(place.dsn)
        with new_pool(place.dsn) as pool:
            house = make_house(place.dsn, pool)
            customer = settle(house)
        ids, content = house.on(customer, Shelf.CABINET), bodies(place.dsn, customer)
        assert len(ids) == MESSAGES
        fill(place, disk)
        assert place.server.refusal("shelves", "sweep").count("\n") == 1
        assert "No space left on device" in place.said
        assert complaint in place.said
        disk.make_room()

        place.start()
        cabinet, cellar = house.on(customer, Shelf.CABINET), house.on(customer, Shelf.CELLAR)
        say(f"{complaint}: {len(cellar)} of {MESSAGES} messages had moved")
        assert cellar + cabinet == ids
        assert 0 < len(cellar) < MESSAGES - KEPT
        assert_counted(place.dsn, customer)
        assert bodies(place.dsn, customer) == content

        with place.server as server:
            server.command("shelves", "sweep")
            assert house.on(customer, Shelf.CELLAR) == ids[:-KEPT]
            assert house.on(customer, Shelf.CABINET) == ids[-KEPT:]
            shown = server.customer(customer)
            assert shown["cabinet_messages"] == KEPT
            assert shown["cellar_messages"] == MESSAGES - KEPT
            assert_counted(place.dsn, customer)
            assert bodies(place.dsn, customer) == content
