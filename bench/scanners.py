"""Real scanners on loopback, without network look-ups: Debian's rspamd and SpamAssassin's spamd."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from bench.load import BenchError, free_ports, require_programs

START_SECONDS = 60.0
LOOPBACK = "127.0.0.1"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

_RSPAMD = """
lua = "/usr/share/rspamd/rules/rspamd.lua";
options {{
    filters = "regexp";
    url_tld = "{place}/suffixes";
    dns {{ nameserver = ["{loopback}:9"]; timeout = 0.1s; retransmits = 1; }}
    tempdir = "{place}"; pidfile = "{place}/pid"; control_socket = "{place}/control mode=0600";
    cache_file = "{place}/cache"; hs_cache_dir = "{place}"; disable_hyperscan = true;
    local_addrs = []; disable_monitoring = true;
}}
logging {{
    type = "file"; filename = "{place}/log"; level = "info";
    log_format = "id <$mid> from <$smtp_from> ip <$ip>: $action";
}}
worker "normal" {{ bind_socket = "{loopback}:{port}"; count = 1; }}
worker "controller" {{
    bind_socket = "{loopback}:{controller}"; count = 1; secure_ip = []; password = "{password}";
}}
classifier "bayes" {{
    tokenizer {{ name = "osb"; }}
    backend = "sqlite3"; min_tokens = 3; min_learns = 1;
    statfile {{ symbol = "BAYES_HAM"; path = "{place}/ham.sqlite"; spam = false; }}
    statfile {{ symbol = "BAYES_SPAM"; path = "{place}/spam.sqlite"; spam = true; }}
}}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
"""
_SPAMD_PLUGINS = ("Check", "HTMLEval", "MIMEEval", "HeaderEval", "BodyEval", "Bayes")
_SPAMD = """
required_score 5
use_bayes 1
bayes_path {place}/bayes
bayes_auto_learn 0
dns_available no
skip_rbl_checks 1
"""


class Daemon(ABC):
    """A scanner in a process of its own, which may be killed and started again at its port."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.port = free_ports(1)[0]
        self._command: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it has written of its work."""
        file = self.place / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def start(self) -> None:
        """Start it, and wait until it answers. Raises `BenchError`."""
        with (self.place / "said").open("ab") as said:
            self._process = subprocess.Popen(
                self._command, stdout=said, stderr=said, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said_ = (self.place / "said").read_text(errors="replace")
                raise BenchError(
                    f"{self._command[0]} does not answer:\n{said_[-2000:]}{self.log[-2000:]}"
                )
            time.sleep(0.05)

    def kill(self) -> None:
        """``kill -9`` of all its processes."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def hold(self) -> None:
        """Let it take connections, and say nothing: SIGSTOP for all its processes."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """After `hold`."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    @property
    @abstractmethod
    def options(self) -> tuple[str, ...]:
        """What Mail6M is told of it."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it answers."""


class Rspamd(Daemon):
    """rspamd with its own rules, a classifier that learns, and no network."""

    password = "of the controller"  # noqa: S105 - of one that lives for seconds

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        require_programs("rspamd")
        [self.controller] = free_ports(1)
        (place / "suffixes").write_text("com\norg\ntest\nfr\nnet\n")
        (place / "rspamd.conf").write_text(
            _RSPAMD.format(
                place=place,
                loopback=LOOPBACK,
                port=self.port,
                controller=self.controller,
                password=self.password,
            )
        )
        self._command = ["rspamd", "-f", "-i", "-u", "root", "-c", f"{place}/rspamd.conf"]

    @property
    def options(self) -> tuple[str, ...]:
        """What Mail6M is told of it."""
        file = self.place / "password"
        file.write_text(self.password)
        return (
            *("--scanner", f"rspamd:http://{LOOPBACK}:{self.port}"),
            *("--rspamd-controller", f"http://{LOOPBACK}:{self.controller}"),
            *("--rspamd-password-file", str(file)),
        )

    def _answers(self) -> bool:
        try:
            for port in (self.port, self.controller):
                urllib.request.urlopen(f"http://{LOOPBACK}:{port}/ping", timeout=5).read()
        except (OSError, urllib.error.URLError):
            return False
        return True


class Spamd(Daemon):
    """spamd with the rules that Debian ships, a classifier that learns, and no network."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        require_programs("spamd")
        site = place / "site"
        site.mkdir()
        plugins = [f"loadplugin Mail::SpamAssassin::Plugin::{name}" for name in _SPAMD_PLUGINS]
        (site / "init.pre").write_text("\n".join(plugins))
        (site / "local.cf").write_text(_SPAMD.format(place=place))
        self._command = [
            *("spamd", "--local", "--nouser-config", "--allow-tell", "--listen"),
            *(f"{LOOPBACK}:{self.port}", f"--siteconfigpath={site}"),
            *("--configpath=/usr/share/spamassassin", f"--helper-home-dir={place}"),
            *("--max-children=2", "--min-children=1", "--min-spare=1", "--max-spare=1"),
            *("--username=nobody", f"--syslog={place}/log", f"--pidfile={place}/pid"),
        ]

    @property
    def options(self) -> tuple[str, ...]:
        """What Mail6M is told of it."""
        return ("--scanner", f"spamd:{LOOPBACK}:{self.port}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), 5) as connection:
                connection.sendall(b"PING SPAMC/1.5\r\n\r\n")
                return b"PONG" in connection.recv(100)
        except OSError:
            return False


@contextlib.contextmanager
def running(kind: type[Daemon], place: Path) -> Iterator[Daemon]:
    """A scanner that works in a place of its own."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    place.chmod(0o777)  # some of its processes have accounts of their own
    daemon = kind(place)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.kill()
