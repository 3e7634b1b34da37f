"""What a scanner that dies under load costs: the delivered rate beside that without a scanner."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.figure import Figure, per_second, progress
from bench.gateways import Mail6M
from bench.load import BenchError, Load, Sink, free_ports
from bench.ratio import delivered
from bench.scanners import Daemon, Rspamd, running

LOAD = Load("4 KB, 20 sessions", 20, 10_000)
_FIRST_SCANS = 20
"""Messages that are scanned before the scanner dies."""


def antispam(root: Path, rounds: int) -> list[Figure]:
    """Put the same load on a server whose rspamd is killed as it begins, and on one without."""
    rates: list[tuple[float, float]] = []
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(root, *free_ports(1)))
        scanner = stack.enter_context(running(Rspamd, root / "scanner"))
        scans = stack.enter_context(Mail6M(root / "on", sink.port, *scanner.options))
        without = stack.enter_context(Mail6M(root / "off", sink.port))
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}: rspamd dies, and no scanner, in turn")
            if number:
                scanner.start()
            _wait_until_asked(scans)
            pair = (scans, without) if number % 2 else (without, scans)
            found = {}
            for gateway in pair:
                if gateway is scans:
                    threading.Thread(target=_kill, args=(scanner, scans)).start()
                found[gateway] = delivered(sink, gateway, LOAD)
            rates.append((found[scans], found[without]))
        _require_all_there(scans, rounds)
    ours, theirs = (median(column) for column in zip(*rates, strict=True))
    return [
        Figure(
            "mail while the scanner is dead",
            median(there / alone for there, alone in rates),
            "of the rate without one",
            ">=",
            0.9,
            f"with {per_second(ours)}, without {per_second(theirs)},"
            f" by round {min(a / b for a, b in rates):.2f} to {max(a / b for a, b in rates):.2f}",
        )
    ]


def _kill(scanner: Daemon, gateway: Mail6M) -> None:
    """Once it has scanned some of the load."""
    before = gateway.metric('mail6m_scans_total{result="done"}')
    while gateway.metric('mail6m_scans_total{result="done"}') < before + _FIRST_SCANS:
        time.sleep(0.01)
    scanner.kill()


def _wait_until_asked(gateway: Mail6M) -> None:
    deadline = time.monotonic() + 60
    while gateway.metric("mail6m_scanner_up") != 1:
        if time.monotonic() > deadline:
            raise BenchError("Mail6M does not see that the scanner is there")
        time.sleep(0.1)


def _require_all_there(gateway: Mail6M, rounds: int) -> None:
    """Raise `BenchError` unless each message is archived, and marked by what became of it."""
    done, missed = (
        gateway.metric(f'mail6m_scans_total{{result="{result}"}}') for result in ("done", "missed")
    )
    accepted = gateway.metric("mail6m_accepted_messages_total")
    if not done or done + missed != accepted or accepted != rounds * LOAD.messages:
        raise BenchError(f"{accepted:g} archived, {done:g} scanned, {missed:g} not scanned")
    progress(f"  {accepted:g} archived: {done:g} scanned, {missed:g} marked as not scanned")
