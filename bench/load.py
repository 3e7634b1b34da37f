"""Load on a gateway, measured at both ends: smtp-source -> the gateway -> smtp-sink.

Both programs are in Debian's ``postfix`` package; nothing else of Postfix takes part. A rate is
messages per second. "Accepted" runs until smtp-source has its last 250, "delivered" until the sink
holds every message. One process measures every gateway in the same way, on the same machine as the
gateway, so ratios mean more than figures.
"""

from __future__ import annotations

import base64
import os
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SENDER = "a@sender.test"
RECIPIENT = "b@example.test"
PROGRAMS = ("smtp-source", "smtp-sink")
LIMIT = 600.0
"""Seconds after which smtp-source is given up."""


class BenchError(Exception):
    """Why a figure could not be had, in one line for the person who asked for it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What smtp-source is to send: how many messages, how large, over how many sessions at once."""

    name: str
    sessions: int
    messages: int
    size: int = 4096
    """Bytes of a message that smtp-source makes up itself; not used with a ``file``."""
    file: Path | None = None
    """A whole message with LF line ends (smtp-source adds a CR to whatever it finds)."""
    reuse: bool = False
    """Many messages to a session; without it, each message has its own."""

    def command(self, port: int) -> list[str]:
        """The smtp-source command that puts this load on 127.0.0.1:``port``."""
        content = ["-F", str(self.file)] if self.file else ["-l", str(self.size)]
        counts = ["-s", str(self.sessions), "-m", str(self.messages)]
        reuse = ["-d"] if self.reuse else []
        envelope = ["-f", SENDER, "-t", RECIPIENT]
        return ["smtp-source", *counts, *envelope, *content, *reuse, f"127.0.0.1:{port}"]


@dataclass(frozen=True, slots=True)
class Rate:
    """Messages per second."""

    accepted: float
    delivered: float


class Sink:
    """The destination: smtp-sink, which counts the messages it has taken in whole."""

    def __init__(self, root: Path, port: int) -> None:
        self.port = port
        self._log = root / "sink.log"

    def __enter__(self) -> Self:
        # smtp-sink refuses to run as root, and cannot change its user when it is not.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["smtp-sink", *user, "-c", f"127.0.0.1:{self.port}", "1000"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for_port(self.port, self._process)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stop(self._process)

    def count(self) -> int:
        """Messages taken in so far, out of the last counters that smtp-sink wrote."""
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - 200))
            counts = re.findall(rb"mesg=(\d+)", log.read())
        return int(counts[-1]) if counts else 0


def measure(sink: Sink, port: int, load: Load, wait: float = 120.0) -> Rate:
    """Put the load on the gateway at ``port`` and wait until ``sink`` holds all of it.

    Raises `BenchError` when a message is refused, or has not arrived ``wait`` seconds after the
    last was accepted.
    """
    base = sink.count()
    start = time.monotonic()
    # Not `wait` with a limit: that looks every 50 ms, which is a tenth of some runs.
    with subprocess.Popen(load.command(port)) as source:
        patience = threading.Timer(LIMIT, source.kill)
        patience.start()
        status = source.wait()
        accepted = time.monotonic()
        patience.cancel()
    if status:
        raise BenchError(
            f"{load.name}: smtp-source ended with status {status} after {accepted - start:.0f} s"
        )
    while (got := sink.count() - base) < load.messages:
        if time.monotonic() - accepted > wait:
            raise BenchError(f"{load.name}: {got} of {load.messages} arrived within {wait:.0f} s")
        time.sleep(0.002)
    delivered = time.monotonic()
    return Rate(load.messages / (accepted - start), load.messages / (delivered - start))


def attachment(path: Path, size: int) -> Path:
    """Write a message of about ``size`` bytes as sent: a line of French, and random bytes in MIME.

    The line ends in the file are LF; each becomes CRLF on its way. The same size gives the same
    message.
    """
    lines = size // 78
    content = base64.encodebytes(random.Random(size).randbytes(lines * 57)).decode("ascii")
    path.write_text(
        f"From: Marie Duchemin <{SENDER}>\n"
        f"To: <{RECIPIENT}>\n"
        "Subject: =?utf-8?q?Les_plans_de_l=27=C3=A9tage?=\n"
        f"Message-ID: <{size}.plans@sender.test>\n"
        "MIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="bound"\n'
        "\n"
        "--bound\n"
        "Content-Type: text/plain; charset=utf-8\n"
        "Content-Transfer-Encoding: quoted-printable\n"
        "\n"
        "Bonjour, voici les plans de l'=C3=A9tage.\n"
        "--bound\n"
        "Content-Type: application/octet-stream\n"
        "Content-Transfer-Encoding: base64\n"
        'Content-Disposition: attachment; filename="plans.bin"\n'
        "\n"
        f"{content}"
        "--bound--\n",
        encoding="ascii",
    )
    return path


_PACKAGES = {"rspamd": "rspamd", "spamd": "spamd"}
"""Where programs come from that are not Postfix's."""


def require_programs(*names: str) -> None:
    """Raise `BenchError`, naming the Debian package, when a program is missing."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin"
    missing = [name for name in names if shutil.which(name, path=path) is None]
    if missing:
        packages = sorted({_PACKAGES.get(name, "postfix") for name in missing})
        raise BenchError(f"{', '.join(missing)} missing: apt-get install {' '.join(packages)}")
    os.environ["PATH"] = path


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 on which nothing listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """Return once 127.0.0.1:``port`` takes connections.

    Raises `BenchError` when the process that should listen there ends first, or is too slow.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BenchError(f"{process.args!r} ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise BenchError(f"nothing listens on 127.0.0.1:{port} after {seconds:.0f} s")


def stop(process: subprocess.Popen[bytes], seconds: float = 15.0) -> None:
    """End a process: SIGTERM, and SIGKILL when that has not done it in ``seconds``."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(seconds)
