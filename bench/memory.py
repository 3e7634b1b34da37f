"""What the memory of the twistd process comes to: small mail, large mail, idle sessions.

The embedded PostgreSQL's own processes are not counted.
"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from bench.figure import Figure, per_second, progress
from bench.gateways import Mail6M
from bench.load import BenchError, Load, Sink, attachment, free_ports
from bench.ratio import delivered, loads

MEGABYTE = 1_000_000
IDLE_SESSIONS = 3000


def memory(root: Path) -> list[Figure]:
    """Peak memory through the first load, and while 8 sessions each send 48 MB."""
    small = next(iter(loads(root)))
    large = Load("48 MB, 8 sessions", 8, 8, file=attachment(root / "film.eml", 48_000_000))
    with Sink(root, *free_ports(1)) as sink, Mail6M(root, sink.port) as gateway:
        return [
            _peak(sink, gateway, small, 150),
            _peak(sink, gateway, large, 250),
        ]


def idle(root: Path) -> list[Figure]:
    """Memory for each session that has said EHLO and then says nothing."""
    soft = IDLE_SESSIONS + 500
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit[1] != resource.RLIM_INFINITY and limit[1] < soft:
        raise BenchError(f"{IDLE_SESSIONS} idle sessions need `ulimit -Hn` of {soft}")
    # Mail6M inherits this.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit[0]), limit[1]))
    most = str(IDLE_SESSIONS + 100)
    with Mail6M(root, 9, "--sessions", most, "--sessions-per-address", most) as gateway:
        before = _status(gateway.pid, "VmRSS")
        after = asyncio.run(_with_sessions(gateway))
    progress(f"  {IDLE_SESSIONS} sessions: {before:.1f} MB before, {after:.1f} MB with them")
    return [
        Figure(
            f"{IDLE_SESSIONS} idle sessions",
            (after - before) * MEGABYTE / IDLE_SESSIONS / 1000,
            "KB each",
            "<=",
            15,
            f"{before:.1f} MB before, {after:.1f} MB with them",
        )
    ]


def _peak(sink: Sink, gateway: Mail6M, load: Load, target: float) -> Figure:
    before = _status(gateway.pid, "VmRSS")
    # 5 makes the highest resident size start again from the present one: proc(5), clear_refs.
    Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")
    rate = delivered(sink, gateway, load)
    peak, after = _status(gateway.pid, "VmHWM"), _status(gateway.pid, "VmRSS")
    return Figure(
        load.name,
        peak,
        "MB peak",
        "<=",
        target,
        f"{before:.0f} MB before, {after:.0f} MB after, {per_second(rate)} delivered",
    )


def _status(pid: int, field: str) -> float:
    """A size out of /proc/PID/status, in megabytes (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    raise BenchError(f"process {pid} tells no {field}")


async def _with_sessions(gateway: Mail6M) -> float:
    """Resident memory while every session stands idle; each of them still answers afterwards."""
    door = asyncio.Semaphore(50)
    sessions = await asyncio.gather(*(_greet(gateway.port, door) for _ in range(IDLE_SESSIONS)))
    try:
        size = _status(gateway.pid, "VmRSS")
        for reader, writer in sessions:
            await _say(reader, writer, b"NOOP\r\n")
    finally:
        for _, writer in sessions:
            writer.close()
    return size


Session = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _greet(port: int, door: asyncio.Semaphore) -> Session:
    async with door:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await _say(reader, writer, b"")
        await _say(reader, writer, b"EHLO idle.sender.test\r\n")
        return reader, writer


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> None:
    """Send a line and read its reply to the end, which must be a 2xx within 30 seconds."""
    writer.write(line)
    async with asyncio.timeout(30):
        while (reply := await reader.readline())[3:4] == b"-":
            pass
    if not reply.startswith(b"2"):
        raise BenchError(f"an idle session got {reply!r}")
