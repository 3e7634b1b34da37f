"""HAProxy in front of a server, on loopback."""

from __future__ import annotations

import contextlib
import csv
import io
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.harness import LOOPBACK, HarnessError, free_ports, require

_PATIENCE = 20.0
_DEFAULTS = """
global
    stats socket {socket}
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    option smtpchk EHLO haproxy.test
"""
_LISTEN = """
listen {option}
    bind {host}:{port}
    server mail6m {host}:{behind} {option} check inter 50
"""


@contextlib.contextmanager
def haproxy(place: Path, behind: int) -> Iterator[list[int]]:
    """Two ports that lead to the port ``behind``, by ``send-proxy`` and by ``send-proxy-v2``.

    They are ready when HAProxy's own health checks, which speak SMTP, have passed.
    """
    program = require("haproxy", "haproxy")
    ports, options = free_ports(2), ("send-proxy", "send-proxy-v2")
    config, control = place / "haproxy.cfg", place / "haproxy.socket"
    config.write_text(
        _DEFAULTS.format(socket=control)
        + "".join(
            _LISTEN.format(option=option, host=LOOPBACK, port=port, behind=behind)
            for option, port in zip(options, ports, strict=True)
        )
    )
    process = subprocess.Popen([program, "-db", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _PATIENCE
        while (checks := _checks(control)) != ["L7OK", "L7OK"]:
            if time.monotonic() > deadline or process.poll() is not None:
                raise HarnessError(f"HAProxy is not satisfied: {checks}")
            time.sleep(0.02)
        yield ports
    finally:
        process.kill()
        process.wait()


def _checks(control: Path) -> list[str]:
    """What came of the last check of each server; empty before it listens."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.connect(str(control))
        client.sendall(b"show stat -1 4 -1\n")
        with client.makefile("r") as told:
            rows = csv.DictReader(io.StringIO(told.read().removeprefix("# ")))
            return [row["check_status"] for row in rows]
    return []
