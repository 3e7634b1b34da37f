"""The two gateways under load: Mail6M on its own data, and a private Postfix that archives as well.

Each is a context manager that starts the gateway on entry and leaves nothing running on exit. Both
relay ``example.test`` to the sink, and both keep a copy of every message on disk before their 250.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from bench.figure import progress
from bench.load import BenchError, free_ports, require_programs, stop, wait_for_port
from mail6m.storage.embedded import Embedded

CHECKOUT = Path(__file__).resolve().parent.parent


class Gateway(Protocol):
    """A gateway that runs and listens."""

    name: str
    port: int

    def settle(self) -> None:
        """Return once the gateway has nothing left to do for the mail it was given."""


class Mail6M:
    """`twistd mail6m` on an embedded PostgreSQL, with all its state in ``root``/mail6m."""

    name = "Mail6M"

    def __init__(self, root: Path, sink: int, *options: str) -> None:
        root.mkdir(exist_ok=True)
        self.data = root / "mail6m"
        self.port, self.web = free_ports(2)
        self._sink = sink
        self._log = root / "mail6m.log"
        self._command = [sys.executable, "-m", "twisted", "--log-format=text", "mail6m"]
        self._command += ["--data", str(self.data), "--hostname", "mail6m.test"]
        self._command += ["--smtp", f"tcp:{self.port}:interface=127.0.0.1"]
        self._command += ["--web", f"tcp:{self.web}:interface=127.0.0.1"]
        self._command += ["--scanner", "none", *options]

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=CHECKOUT, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            wait_for_port(self.port, self._process)
            self.customer = self._customer()
        except BaseException:
            progress(self._log.read_text(errors="replace")[-2000:])
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """The process of twistd; its PostgreSQL has others."""
        return self._process.pid

    def ask(self, *command: str, answer: str = "") -> object:
        """What the operator's command ``mail6m command`` prints as JSON, given a line to read."""
        program = "from mail6m.cli import main; raise SystemExit(main())"
        done = subprocess.run(
            [sys.executable, "-c", program, "--data", str(self.data), *command, "--json"],
            cwd=CHECKOUT,
            input=answer.encode(),
            stdout=subprocess.PIPE,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise BenchError(f"mail6m {' '.join(command)}: status {done.returncode}")
        return json.loads(done.stdout)

    def settle(self) -> None:
        """Wait until the queue is empty, and all that came can be searched for."""
        _wait_until(lambda: self.ask("queue", "list") == [], "Mail6M's queue is not empty")
        _wait_until(
            lambda: self.metric("mail6m_unindexed_messages") == 0, "Mail6M's index is behind"
        )

    def metric(self, name: str) -> float:
        """What ``/metrics`` says now of one figure, named with its labels; 0 if there is none."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        return float(text.rpartition(f"\n{name} ")[2].partition("\n")[0] if name in text else 0)

    def _customer(self) -> int:
        """The number of the first customer, who is added when the archive is new."""
        match self.ask("customer", "list"):
            case [{"customer": int(number)}, *_]:
                return number
        add = ("customer", "add", "--company", "Duchemin", "--email", "marie@mondomaine.fr")
        relay = ("--to", f"127.0.0.1:{self._sink}", "--tls", "none", "--no-verify-recipients")
        match self.ask(*add, "--plan", "armoire"):
            case {"customer": int(number)}:
                self.ask("domain", "add", "example.test", "--customer", str(number), *relay)
                return number
            case printed:
                raise BenchError(f"customer add printed {printed!r}")

    def _stop(self) -> None:
        stop(self._process)
        database = Embedded(self.data / "postgres")
        if database.running():
            # It had to be killed and left its database behind: being the last user ends that.
            database.start()
            database.leave()


class Postfix:
    """A private Postfix that archives with always_bcc into a Maildir; it needs root.

    It fsyncs as it does by default. What Mail6M does not do either is off: name look-ups of
    clients, DNS for the destination, limits for a single client, the delay for a fast one.
    """

    name = "Postfix"

    def __init__(self, root: Path, sink: int) -> None:
        if os.geteuid() != 0:
            raise BenchError("a private Postfix needs root: run `make bench` as root")
        require_programs("postfix", "postconf")
        (self.port,) = free_ports(1)
        self._root = root / "postfix"
        self._config = self._root / "etc"
        self._queue = self._root / "queue"
        self._write(sink)

    def __enter__(self) -> Self:
        self._control("start")
        _wait_until(self._listens, "Postfix does not listen")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._control("stop")

    def settle(self) -> None:
        """Wait until the queue is empty: the archive's copies may come after the sink's."""
        _wait_until(self._is_empty, "Postfix's queue is not empty")

    def _is_empty(self) -> bool:
        folders = ("maildrop", "incoming", "active", "deferred")
        return not any(
            path.is_file() for folder in folders for path in (self._queue / folder).rglob("*")
        )

    def _listens(self) -> bool:
        status = subprocess.run(
            ["postfix", "-c", str(self._config), "status"],
            capture_output=True,
            check=False,
            timeout=30,
        )
        return status.returncode == 0

    def _control(self, command: str) -> None:
        done = subprocess.run(
            ["postfix", "-c", str(self._config), command],
            capture_output=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise BenchError(f"postfix {command}: {done.stderr.decode(errors='replace')}")

    def _write(self, sink: int) -> None:
        owner, nobody = pwd.getpwnam("postfix"), pwd.getpwnam("nobody")
        for folder in (self._config, self._queue):
            folder.mkdir(parents=True)
        for name, user in (("data", owner), ("archive", nobody)):
            (self._root / name).mkdir()
            os.chown(self._root / name, user.pw_uid, user.pw_gid)
        main = MAIN_CF.format(root=self._root, sink=sink, uid=nobody.pw_uid, gid=nobody.pw_gid)
        (self._config / "main.cf").write_text(main)
        (self._config / "master.cf").write_text(MASTER_CF.format(port=self.port))


def _wait_until(met: Callable[[], bool], complaint: str, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            raise BenchError(f"{complaint} after {seconds:.0f} s")
        time.sleep(0.2)


MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
myhostname = postfix.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
relay_domains = example.test
relay_transport = relay:[127.0.0.1]:{sink}
always_bcc = archive@archive.test
virtual_mailbox_domains = archive.test
virtual_mailbox_base = {root}/archive
virtual_mailbox_maps = static:archive/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
message_size_limit = 52428800
smtpd_peername_lookup = no
disable_dns_lookups = yes
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""
