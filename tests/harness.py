"""What several tests stand on: a server of their own, its commands, a destination that tells."""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import psycopg2
import pytest

from mail6m.storage.embedded import Embedded
from tests.processes import Daemon, Running
from tests.turned import TurnedClock

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 60.0
"""For a server to answer on its port, crash recovery included."""
COMMAND_SECONDS = 60.0
LOOPBACK = "127.0.0.1"

Say = Callable[[str], None]
"""Says a line at the end of the run: the fixture ``say``."""


class HarnessError(AssertionError):
    """What a test stands on did not hold; the text says what, with the end of the server's log."""


def require(program: str, package: str) -> str:
    """The path of ``program``; without it the test is skipped, but fails where ``CI=true``."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        missing = f"{program} is missing: apt-get install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return path


def free_ports(count: int) -> list[int]:
    """So many loopback ports that nobody listens on now, all different.

    They are below those that Linux gives to who asks for any, which would not stay free: another
    test's client or listener could get one before its server starts, or while it starts again.
    """
    free: set[int] = set()
    while len(free) < count:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind((LOOPBACK, port))
            free.add(port)
    return list(free)


IN_MEMORY = Path("/dev/shm")
"""Linux's file system in memory (shm_overview(7)): fsync(2), which a COMMIT waits for, is free."""
PLENTY = 4 << 30


def _disk() -> Path | None:
    """Where databases of tests go: into memory, if there is plenty of it; else the usual place."""
    with contextlib.suppress(OSError):
        told = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
        available = int(told[1]) << 10 if told else 0
        if min(available, shutil.disk_usage(IN_MEMORY).free) > PLENTY:
            return IN_MEMORY
    return None


@contextlib.contextmanager
def new_place() -> Iterator[Path]:
    """A directory that the embedded database's user may pass through, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(prefix="mail6m-test-", dir=_disk()))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@functools.cache
def _cluster() -> Path:
    """The folder of a private PostgreSQL that has been made, and does not run."""
    place = Path(tempfile.mkdtemp(prefix="mail6m-test-", dir=_disk()))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    place.chmod(0o711)
    embedded = Embedded(place / "postgres")
    embedded.start()
    embedded.leave()
    shutil.rmtree(place / "postgres" / "log")  # a server's own tells of itself only
    return place / "postgres"


class Server:
    """A ``twistd mail6m`` process with its embedded database, and the operator's commands on it.

    As a context manager it starts on entry, and leaves no process behind on exit.
    """

    def __init__(self, place: Path, *options: str, clock: TurnedClock | None = None) -> None:
        """Keep everything in ``place``; ``options`` go to the server as they are.

        With a ``clock`` it and its commands go by that.
        """
        self._clock = clock
        self.data = place / "data"
        self.log = place / "server.log"
        self.smtp_port, self.web_port = free_ports(2)
        self._options = options
        self._process: Daemon | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    # Its life

    def start(self) -> None:
        """Start it, and wait until it greets a client. Raises `HarnessError`.

        The first start finds a copy of a cluster, which takes a tenth of what making one does.
        """
        if not (self.data / "postgres").exists():
            self.data.mkdir(mode=0o711, exist_ok=True)
            subprocess.run(["cp", "-a", _cluster(), self.data], check=True)
        endpoints = (f"tcp:{port}:interface={LOOPBACK}" for port in (self.smtp_port, self.web_port))
        smtp, web = endpoints
        words = ["--log-format=text", "mail6m", "--data", str(self.data)]
        words += ["--hostname", "mail6m.test", "--scanner", "none"]
        words += ["--smtp", smtp, "--web", web, *self._options]
        self._process = Daemon(words, self.log, self._clock)
        deadline = time.monotonic() + READY_SECONDS
        while not self._greets():
            if not self._still_runs(0.05):
                raise self.error("the server ended before it was ready")
            if time.monotonic() > deadline:
                raise self.error(f"the server was not ready after {READY_SECONDS:.0f} s")

    def kill(self) -> None:
        """``kill -9``: the process is gone, its database is not."""
        self._running().kill()

    def terminate(self, patience: float = 15.0) -> int:
        """SIGTERM; the exit status. Raises `HarnessError` after ``patience`` seconds."""
        process = self._running()
        process.terminate()
        status = process.wait(patience)
        if status is None:
            raise self.error(f"the server did not stop within {patience:.0f} s")
        return status

    def remove(self) -> None:
        """Leave no process behind, whatever state they are in."""
        if self._process is not None:
            self._process.kill()
        database = Embedded(self.data / "postgres")
        if database.running():
            database.start()
            database.leave()  # the last of its users stops it

    @property
    def pid(self) -> int:
        """The process of twistd."""
        return self._running().pid

    @property
    def alive(self) -> bool:
        """Whether the process of twistd runs."""
        return self._process is not None and self._process.alive

    def _running(self) -> Daemon:
        if self._process is None:
            raise HarnessError("the server has not been started")
        return self._process

    def _still_runs(self, seconds: float) -> bool:
        return self._running().wait(seconds) is None

    def _greets(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.smtp_port), 5) as client:
                return client.recv(4).startswith(b"220")
        except OSError:
            return False

    # Its database

    def postmaster(self) -> int | None:
        """The process number of its PostgreSQL, if that runs."""
        return Embedded(self.data / "postgres")._postmaster()

    def backends(self) -> list[int]:
        """The processes of PostgreSQL that serve a connection, as soon as there are some.

        For a moment there are none: when one is killed, PostgreSQL ends the others and starts anew.
        Raises `HarnessError`.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not (backends := self._backends()):
            if time.monotonic() > deadline:
                raise self.error(f"PostgreSQL has served nobody for {READY_SECONDS:.0f} s")
            time.sleep(0.02)
        return backends

    def _backends(self) -> list[int]:
        postmaster = self.postmaster()
        if postmaster is None:
            return []
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
        try:
            pids = [int(word) for word in children.read_text().split()]
        except OSError:
            return []
        return [pid for pid in pids if _title(pid).startswith("postgres: mail6m mail6m")]

    def sql(self, statement: str, *values: object) -> None:
        """Have its database do something."""
        database = Embedded(self.data / "postgres")
        try:
            with contextlib.closing(psycopg2.connect(database.start())) as connection, connection:
                connection.cursor().execute(statement, values)
        finally:
            database.leave()

    # The operator's commands (../shared/design/contract.md)

    def command(self, *words: str, stdin: str | None = None) -> Any:
        """What ``mail6m WORDS --json`` prints. Raises `HarnessError` when it is refused."""
        return json.loads(self._run([*words, "--json"], stdin))

    def refusal(self, *words: str) -> str:
        """What ``mail6m WORDS`` says on standard error when it is refused, as it must be."""
        done = self._spawn(words, None)
        assert done.returncode == 1, f"mail6m {' '.join(words)}: exit status {done.returncode}"
        return done.stderr.decode()

    def add_customer(
        self, company: str, email: str, plan: str = "armoire", password: str = ""
    ) -> int:
        """A new customer's number; with a password, its first account can sign in."""
        words = ["customer", "add", "--company", company, "--email", email, "--plan", plan]
        if password:
            words.append("--password-stdin")
        return int(self.command(*words, stdin=f"{password}\n" if password else None)["customer"])

    def add_domain(self, name: str, customer: int, port: int, *options: str) -> None:
        """Mail for a domain goes to a port of this machine, unencrypted and unverified."""
        to = ("--to", f"{LOOPBACK}:{port}", "--tls", "none", "--no-verify-recipients")
        self.command("domain", "add", name, "--customer", str(customer), *to, *options)

    def customer(self, customer: int) -> dict[str, Any]:
        """What a customer has, as ``customer show`` counts it."""
        return cast(dict[str, Any], self.command("customer", "show", str(customer)))

    def messages(self, customer: int, limit: int = 1_000_000) -> list[dict[str, Any]]:
        """A customer's archive, newest first."""
        words = ("message", "list", "--customer", str(customer), "--limit", str(limit))
        return cast(list[dict[str, Any]], self.command(*words))

    def export(self, customer: int, message: str) -> bytes:
        """A message, byte for byte."""
        return self._run(["message", "export", "--customer", str(customer), "--id", message], None)

    def queue(self) -> list[dict[str, Any]]:
        """What is still to be relayed."""
        return cast(list[dict[str, Any]], self.command("queue", "list"))

    def wait_until_relayed(self, patience: float) -> None:
        """Wait until the queue is empty. Raises `HarnessError` with what is still in it."""
        deadline = time.monotonic() + patience
        while queue := self.queue():
            if time.monotonic() > deadline:
                rows = "\n".join(map(str, queue[:5]))
                raise self.error(
                    f"{len(queue)} deliveries are still queued after {patience:.0f} s:\n{rows}"
                )

    def _run(self, words: list[str], stdin: str | None) -> bytes:
        done = self._spawn(words, stdin)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise self.error(f"mail6m {' '.join(words)}: status {done.returncode}: {said}")
        return done.stdout

    def _spawn(
        self, words: list[str] | tuple[str, ...], stdin: str | None
    ) -> subprocess.CompletedProcess[bytes]:
        with self.running(*words, stdin=stdin or "") as command:
            return command.done(COMMAND_SECONDS)

    def running(self, *words: str, stdin: str = "") -> Running:
        """``mail6m WORDS``, under way."""
        return Running(["--data", str(self.data), *words], stdin.encode(), self._clock)

    def error(self, text: str) -> HarnessError:
        """An error to raise, with the end of the server's log, and of its PostgreSQL's."""
        logs = [self.log, *(self.data / "postgres" / "log").glob("*.log")]
        ends = [log.read_text(errors="replace")[-4000:] for log in logs if log.exists()]
        return HarnessError("\n".join([text, *ends]))


def kill(pid: int) -> bool:
    """``kill -9``; False if the process was gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _title(pid: int) -> str:
    """What a process calls itself; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A whole message as it was offered to a `Sink`."""

    sender: str
    recipients: tuple[str, ...]
    size: int
    """Octets, as sent."""
    sha256: str
    """In hex, of the content behind the Received field that the last relay put in front."""
    ledger: str
    """The X-Ledger field; empty without one."""


_TRACE = re.compile(rb"Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.IGNORECASE)
_LEDGER = re.compile(rb"^X-Ledger:[ \t]*(\S*)[ \t]*\r\n", re.IGNORECASE | re.MULTILINE)
_PATH = re.compile(r"[^<]*<([^>]*)>")

RecipientAnswer = Callable[[str], str]
MessageAnswer = Callable[[Arrival], str]


class Sink:
    """A receiving SMTP server (RFC 5321) in threads, which keeps a note of every message it took.

    ``on_recipient`` and ``on_message`` say what it answers to a RCPT and to the end of a message;
    they may be replaced at any time. An answer of several lines is joined by CRLF, and an empty
    one means that it closes the connection without a word.
    """

    def __init__(
        self,
        *,
        on_recipient: RecipientAnswer = lambda address: "250 2.1.5 Ok",
        on_message: MessageAnswer = lambda arrival: "250 2.0.0 Taken",
        port: int = 0,
    ) -> None:
        self.on_recipient = on_recipient
        self.on_message = on_message
        self._arrivals: list[Arrival] = []
        self._arrived = threading.Condition()
        self._server = _SinkServer((LOOPBACK, port), self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """Every message that it answered 2xx to, oldest first."""
        with self._arrived:
            return tuple(self._arrivals)

    def wait_for(self, arrived: Callable[[tuple[Arrival, ...]], bool], patience: float) -> bool:
        """Wait until ``arrived`` holds of the arrivals, at most ``patience`` seconds; does it?"""
        with self._arrived:
            return self._arrived.wait_for(lambda: arrived(tuple(self._arrivals)), patience)

    def close(self) -> None:
        """Stop listening, and cut the sessions; a new sink may have the port."""
        self._server.shutdown()
        self._server.server_close()
        self._server.cut()
        self._thread.join()

    def take(self, arrival: Arrival) -> str:
        """The answer to a message, which is noted first if it is taken."""
        answer = self.on_message(arrival)
        if answer.startswith("2"):
            with self._arrived:
                self._arrivals.append(arrival)
                self._arrived.notify_all()
        return answer


class _SinkServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], sink: Sink) -> None:
        self.sink = sink
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _SinkSession)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def cut(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _SinkSession(socketserver.StreamRequestHandler):
    """One session. Its buffered reader is what makes pipelining work: nothing read is lost."""

    server: _SinkServer
    timeout = 300.0
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.server.opened(self.request)
        self._reset()
        try:
            with contextlib.suppress(OSError):
                self._say("220 destination.test ESMTP")
                while self._command(self.rfile.readline(4096)):
                    pass
        finally:
            self.server.closed(self.request)

    def _command(self, line: bytes) -> bool:
        """Answer one command; False when the session is over."""
        if not line.endswith(b"\r\n"):
            return False
        verb, _, argument = line[:-2].decode("utf-8", "surrogateescape").partition(" ")
        match verb.upper():
            case "EHLO" | "HELO" | "RSET":
                self._reset()
                return self._say(_EHLO if verb.upper() == "EHLO" else "250 2.0.0 Ok")
            case "MAIL":
                self._sender = _path(argument)
                return self._say("250 2.1.0 Ok")
            case "RCPT":
                return self._recipient(_path(argument))
            case "DATA" if self._recipients:
                return self._data()
            case "DATA":
                return self._say("503 5.5.1 RCPT first")
            case "NOOP":
                return self._say("250 2.0.0 Ok")
            case "QUIT":
                self._say("221 2.0.0 Bye")
                return False
            case _:
                return self._say("500 5.5.1 Unknown command")

    def _say(self, reply: str) -> bool:
        if reply:
            self.wfile.write(f"{reply}\r\n".encode())
        return bool(reply)

    def _reset(self) -> None:
        self._sender = ""
        self._recipients: list[str] = []

    def _recipient(self, address: str) -> bool:
        answer = self.server.sink.on_recipient(address)
        if answer.startswith("2"):
            self._recipients.append(address)
        return self._say(answer)

    def _data(self) -> bool:
        self._say("354 End with a dot")
        content = self._content()
        trace = _TRACE.match(content)
        original = content[trace.end() :] if trace else content
        ledger = _LEDGER.search(original[: original.find(b"\r\n\r\n") + 2])
        arrival = Arrival(
            self._sender,
            tuple(self._recipients),
            len(content),
            hashlib.sha256(original).hexdigest(),
            ledger[1].decode() if ledger else "",
        )
        self._reset()
        return self._say(self.server.sink.take(arrival))

    def _content(self) -> bytes:
        """Read to CRLF.CRLF, and nothing less, without the stuffed dots (RFC 5321, 4.5.2)."""
        content = bytearray()
        while piece := self.rfile.readline(65_536):
            at_line_start = not content or content.endswith(b"\r\n")
            if at_line_start and piece == b".\r\n":
                return bytes(content)
            content += piece[1:] if at_line_start and piece.startswith(b".") else piece
        raise ConnectionResetError("the client went away inside the data")


_EHLO = "\r\n".join(
    [
        "250-destination.test",
        "250-PIPELINING",
        "250-SIZE 104857600",
        "250-8BITMIME",
        "250-SMTPUTF8",
        "250 ENHANCEDSTATUSCODES",
    ]
)


def _path(argument: str) -> str:
    found = _PATH.match(argument)
    return found[1] if found else ""
