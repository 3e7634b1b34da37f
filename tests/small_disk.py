"""Small disks, which can be filled to the brim, and servers that have something on one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

from mail6m.storage.embedded import Embedded
from tests.harness import Server, require
from tests.stored import ask

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
        """Leave so many bytes; somebody else may be taking some just now."""
        with self._filler.open("wb") as file:
            taken = 0
            while (more := self._free() - room) > 0:
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), taken, more)
                    taken += more

    def _free(self) -> int:
        free = os.statvfs(self.path)
        return free.f_bavail * free.f_frsize

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


def fill_log(place: Place, disk: SmallDisk, room: int = ROOM_IN_LOG) -> None:
    """So that the last segment that there is has some room, and no other can be made."""
    disk.fill(0)
    with closing(psycopg2.connect(make_dsn(place.dsn, user="postgres"))) as writer:
        writer.autocommit = True
        while room_in_log(place) > room + 10_000:
            size = min(room_in_log(place) - room, MEGABYTE)
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
