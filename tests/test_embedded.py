"""The private PostgreSQL, with real servers in directories of their own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest

from mail6m.storage import embedded
from mail6m.storage.embedded import Embedded, EmbeddedError

ROOT = Path(__file__).parents[1]

USER = """
import sys
from pathlib import Path
from mail6m.storage.embedded import Embedded
database = Embedded(Path(sys.argv[1]))
print(database.start(), flush=True)
sys.stdin.read()
database.leave()
"""
"""A process that uses the database until its standard input ends."""

GUEST = """
import sys
from pathlib import Path
import psycopg2
from mail6m.storage.embedded import Embedded
for _ in range(4):
    database = Embedded(Path(sys.argv[1]))
    psycopg2.connect(database.start()).cursor().execute("SELECT 1")
    database.leave()
"""
"""A process that uses the database several times, each time for a moment."""


@pytest.fixture(scope="module")
def places() -> Iterator[Path]:
    """A directory that the server's user may enter, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(prefix="mail6m-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def place(places: Path) -> Iterator[Path]:
    """A new directory in it; cleared of servers afterwards."""
    directory = Path(tempfile.mkdtemp(dir=places))
    directory.chmod(0o711)
    yield directory
    _clear(directory)


@pytest.fixture(scope="module")
def made(places: Path) -> Path:
    """A finished data directory: initdb takes more than a second, so it is done once."""
    database = Embedded(places / "postgres")
    database.start()
    database.leave()
    return places / "postgres"


@pytest.fixture
def directory(made: Path) -> Iterator[Path]:
    """The finished data directory, without a server before and after."""
    yield made
    _clear(made)


@contextlib.contextmanager
def _moved(directory: Path, to: Path) -> Iterator[Path]:
    """The data directory, for a while at another place, whose parent is made."""
    to.parent.mkdir()
    directory.rename(to)
    try:
        yield to
    finally:
        _clear(to)
        to.rename(directory)


def _clear(directory: Path) -> None:
    for file in directory.rglob("postmaster.pid"):
        Embedded(file.parent.parent)._stop()


@contextlib.contextmanager
def _user(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is about to use the database; its first line says when it does."""
    command = [sys.executable, "-c", USER, str(directory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _kill_server(database: Embedded) -> None:
    """``kill -9``, and wait until the process is gone."""
    pid = database._postmaster()
    assert pid is not None
    with embedded._pidfd(pid) as process:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        embedded._await_end(process)


def _as(name: str, action: Callable[[], None]) -> str:
    """Run `action` as the user `name`, in a fork: what it raised, or nothing.

    Not in a new interpreter, which that user may not be allowed to read.
    """
    entry = pwd.getpwnam(name)
    said, says = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            action()
        except BaseException as error:  # noqa: BLE001 - it is told to the parent
            os.write(says, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(says)
    with os.fdopen(said, encoding="utf-8") as words:
        text = words.read()
    os.waitpid(child, 0)
    return text


def _do(url: str, statement: str) -> list[tuple[object, ...]]:
    """Execute a statement and commit; its rows, if it has any."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
        connection.commit()
    return rows


def _host(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def test_first_start(place: Path) -> None:
    """An empty place becomes a durable, checksummed UTF-8 database that no network reaches."""
    database = Embedded(place / "data" / "postgres")
    (place / "data" / "postgres" / "cluster.new").mkdir(parents=True)  # by a start that was killed
    owner = embedded._account(place)
    (place / "data" / "postgres").chmod(0o700)
    os.chown(place / "data" / "postgres", owner.uid, owner.gid)
    assert not database.running()
    url = database.start()
    wanted = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "wal_level": "minimal",
        "max_wal_size": "4GB",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "jit": "off",
        "TimeZone": "UTC",
    }
    for name, value in wanted.items():
        assert (name, _do(url, f"SHOW {name}")) == (name, [(value,)])
    assert _do(url, "SELECT datcollate FROM pg_database WHERE datname = 'mail6m'") == [("C",)]
    assert _do(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]
    database.leave()
    assert not database.running()


def test_committed_data_outlive_a_stop(directory: Path) -> None:
    """What was committed before the last user left is there at the next start; starts repeat."""
    database = Embedded(directory)
    url = database.start()
    assert database.start() == url
    _do(url, "CREATE TABLE cellar AS SELECT 42 AS messages")
    database.leave()
    database.leave()
    assert not database.running()
    assert _do(database.start(), "SELECT messages FROM cellar") == [(42,)]
    database.leave()


def test_last_user_stops_the_server(directory: Path) -> None:
    """With two processes, the server stays for the second and goes with it."""
    database = Embedded(directory)
    with _user(directory) as other:
        assert _line(other) == database.start()
        database.leave()
        assert database.running()
        other.communicate()
        assert not database.running()


def test_users_who_start_at_once_share_a_server(place: Path) -> None:
    """Three processes at an empty directory make one cluster and one server."""
    directory = place / "postgres"
    with _user(directory) as one, _user(directory) as two, _user(directory) as three:
        urls = {_line(one), _line(two), _line(three)}
        assert len(urls) == 1
        assert _do(urls.pop(), "SELECT count(*) FROM pg_database WHERE datname = 'mail6m'") == [
            (1,)
        ]
        for user in (one, two, three):
            user.communicate()
            assert user.returncode == 0
    assert not Embedded(directory).running()


def test_users_who_come_and_go(directory: Path) -> None:
    """No start gets a server that somebody's leave is about to stop."""
    command = [sys.executable, "-c", GUEST, str(directory)]
    users = [subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT) for _ in range(3)]
    assert [user.communicate()[1] for user in users] == [b"", b"", b""]
    assert not Embedded(directory).running()


def test_killed_user_leaves_nothing_behind(directory: Path) -> None:
    """The server of a killed process is taken over, and its next user is the last one."""
    with _user(directory) as other:
        url = _line(other)
        other.kill()
        other.wait()
    database = Embedded(directory)
    assert database.running()
    assert database.start() == url
    database.leave()
    assert not database.running()


def test_killed_server_is_started_again(directory: Path) -> None:
    """After ``kill -9`` of the postmaster a start recovers what was committed."""
    database = Embedded(directory)
    _do(database.start(), "CREATE TABLE shelf AS SELECT 42 AS messages")
    _kill_server(database)
    assert not database.running()
    assert _do(database.start(), "SELECT messages FROM shelf") == [(42,)]
    database.leave()


def test_backend_that_outlives_its_server(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one lives, a start waits, for a bounded time; when it is gone, a start succeeds."""
    database = Embedded(directory)
    with contextlib.closing(psycopg2.connect(database.start())) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        try:
            _kill_server(database)
            with monkeypatch.context() as patched:
                patched.setattr(embedded, "PATIENCE", 0.3)
                with pytest.raises(EmbeddedError, match="still at work"):
                    database.start()
        finally:
            os.kill(backend, signal.SIGCONT)
    assert _do(database.start(), "SELECT 1") == [(1,)]
    database.leave()


@pytest.mark.parametrize("program", ["sleep 60", "true"])
def test_pid_file_that_means_somebody_else(directory: Path, program: str) -> None:
    """A number that has come to mean a stranger, or a zombie, of the same user is no obstacle."""
    database = Embedded(directory)
    database.start()
    _kill_server(database)
    root = os.geteuid() == 0
    owner = directory.stat().st_uid
    with subprocess.Popen(program.split(), user=owner if root else None) as stranger:
        if program == "true":
            os.waitid(os.P_PID, stranger.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
        file = directory / "cluster" / "postmaster.pid"
        lines = file.read_text().splitlines()
        file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        assert not database.running()
        assert _do(database.start(), "SELECT 1") == [(1,)]
        database.leave()
        assert stranger.poll() == (0 if program == "true" else None)
        stranger.kill()


@pytest.mark.parametrize("name", ["d" * 120, "one,two", "a b'c$d\"e%f"])
def test_directory_with_an_awkward_name(place: Path, directory: Path, name: str) -> None:
    """Too deep for a socket, a comma that libpq would split at, quotes: all work in private."""
    with _moved(directory, place / name / "postgres") as awkward:
        database = Embedded(awkward)
        url = database.start()
        assert _do(url, "SELECT 1") == [(1,)]
        assert stat.S_IMODE(_host(url).stat().st_mode) == 0o700
        assert _host(url).stat().st_uid == awkward.stat().st_uid
        database.leave()
        assert _host(url).exists() == (_host(url) == awkward)


def test_socket_directory_prepared_by_a_stranger(
    place: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A symbolic link or a directory open to others, where the short one would be, is refused."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with _moved(directory, place / ("d" * 120) / "postgres") as deep:
        database = Embedded(deep)
        short = _host(database.start())
        database.leave()
        short.symlink_to(place)
        try:
            with pytest.raises(EmbeddedError, match=f"{short} is not a directory"):
                database.start()
        finally:
            short.unlink()
        short.mkdir()
        try:
            (short / "bait").touch()
            short.chmod(0o777)
            with pytest.raises(EmbeddedError, match=str(short)):
                database.start()
        finally:
            shutil.rmtree(short)


def test_place_that_the_server_cannot_enter(place: Path) -> None:
    """The error names the directory that is closed and what to do, and nothing was changed."""
    closed = place / "closed"
    closed.mkdir()
    closed.chmod(0o600)
    with pytest.raises(EmbeddedError) as caught:
        Embedded(closed / "data" / "postgres").start()
    assert f"chmod o+x {closed}`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o600
    assert not list(place.glob("closed/data"))


def test_directory_open_to_others(directory: Path) -> None:
    """Every local connection is trusted, so a directory that others may enter is refused."""
    directory.chmod(0o755)
    try:
        with pytest.raises(EmbeddedError, match=f"chmod 700 {directory}`"):
            Embedded(directory).start()
    finally:
        directory.chmod(0o700)


def test_stranger_cannot_connect(directory: Path) -> None:
    """Neither the directory nor the socket lets another user of the machine in."""
    database = Embedded(directory)
    url = database.start()
    assert stat.S_IMODE((directory / ".s.PGSQL.5432").stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    if os.geteuid() == 0:  # who is not root cannot become a stranger
        directory.chmod(0o711)
        assert "Permission denied" in _as("nobody", lambda: psycopg2.connect(url).close())
        directory.chmod(0o700)
        assert "does not belong to user nobody" in _as("nobody", lambda: _start(directory))
    database.leave()


def _start(directory: Path) -> None:
    Embedded(directory).start()


def test_ordinary_user(place: Path) -> None:
    """Who is not root runs the server as himself; root then uses it, and does not take it over."""
    home = place / "home"
    home.mkdir(mode=0o755)
    directory = home / "postgres"

    def use() -> None:
        database = Embedded(directory)
        _do(database.start(), "CREATE TABLE IF NOT EXISTS shelf (messages int)")
        database.leave()
        assert not database.running()

    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        assert _as("nobody", use) == ""
        assert directory.stat().st_uid == nobody.pw_uid
        use()
        assert _as("nobody", use) == ""
    else:
        use()


def test_server_inherits_nothing(directory: Path) -> None:
    """Neither locks nor sockets nor the terminal of who starts the server stay open in it."""
    database = Embedded(directory)
    with socket.socket() as listener:
        listener.set_inheritable(True)
        database.start()
        pid = database._postmaster()
        assert pid is not None
        files = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
        assert f"socket:[{os.fstat(listener.fileno()).st_ino}]" not in files
        assert not [file for file in files if file.startswith(str(directory))]
        assert os.getsid(pid) != os.getsid(0)
    database.leave()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("PG_VERSION", "9\n", "incompatible with server"),  # said before the log collector runs
        ("recovery.signal", "", "must specify"),  # and after
    ],
)
def test_server_that_cannot_start(directory: Path, name: str, content: str, complaint: str) -> None:
    """PostgreSQL's own complaint is passed on in one line, at once."""
    file = directory / "cluster" / name
    ours = file.read_text() if file.exists() else None
    file.write_text(content)
    try:
        with pytest.raises(EmbeddedError, match=complaint) as caught:
            Embedded(directory).start()
    finally:
        file.unlink() if ours is None else file.write_text(ours)
    assert "\n" not in str(caught.value)


def test_server_that_takes_too_long(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is bounded; the server goes on getting ready, and the next start finds it."""
    database = Embedded(directory)
    with monkeypatch.context() as patched:
        patched.setattr(embedded, "PATIENCE", 0)
        with pytest.raises(EmbeddedError, match="not ready after"):
            database.start()
    assert _do(database.start(), "SELECT 1") == [(1,)]
    database.leave()
    assert not database.running()


def test_somebody_else_is_starting(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start waits for whoever starts or stops, for a bounded time; a leave goes without."""
    database = Embedded(directory)
    database.start()
    monkeypatch.setattr(embedded, "PATIENCE", 0)
    monkeypatch.setattr(embedded, "FAREWELL", 0)
    with (directory / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedError, match="another process"):
            Embedded(directory).start()
        database.leave()
    assert database.running()
