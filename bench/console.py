"""What the console costs the mail, and the mail the console."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles

from bench.browsers import BROWSERS, EMAIL, PASSWORD
from bench.catalogue import fill
from bench.figure import Figure, per_second, progress
from bench.gateways import CHECKOUT, Mail6M
from bench.load import BenchError, Load, Sink, free_ports
from bench.ratio import delivered

MESSAGES = 200_000
"""In the cabinet that is looked at."""


def console(root: Path, rounds: int) -> list[Figure]:
    """The delivered rate while people read, as a part of that without, and what a page takes."""
    load = Load("4 KB, 20 sessions kept", 20, 6_000, reuse=True)
    alone, beside, pages = [], [], []
    with Sink(root, *free_ports(1)) as sink:
        with Mail6M(root, sink.port) as gateway:
            gateway.ask(
                "account", "password", "--email", EMAIL, "--password-stdin", answer=PASSWORD
            )
            customer, data = gateway.customer, gateway.data
        fill(data, {customer: MESSAGES})
        with Mail6M(root, sink.port) as gateway:
            for number in range(rounds):
                progress(
                    f"round {number + 1} of {rounds}: mail alone, then with {BROWSERS} browsers"
                )
                alone.append(delivered(sink, gateway, load))
                with _Readers(gateway.web) as readers:
                    beside.append(delivered(sink, gateway, load))
                pages += readers.took
    ratio = median(there / without for there, without in zip(beside, alone, strict=True))
    p95 = quantiles(pages, n=20)[-1]
    return [
        Figure(
            f"mail while {BROWSERS} browse",
            ratio,
            "of the rate alone",
            ">=",
            0.5,
            f"alone {per_second(median(alone))}, with them {per_second(median(beside))}",
        ),
        Figure(
            f"a page while mail comes, {BROWSERS} browsers",
            1000 * p95,
            "ms p95",
            "<=",
            500,
            f"{len(pages)} pages, median {1000 * median(pages):.0f} ms",
        ),
    ]


class _Readers:
    """The browsers, in a process of their own, until they have had enough."""

    took: list[float]

    def __init__(self, port: int) -> None:
        self._command = [sys.executable, "-m", "bench.browsers", str(port)]

    def __enter__(self) -> _Readers:
        self._process = subprocess.Popen(
            self._command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise BenchError("the browsers could not sign in")
        return self

    def __exit__(self, *_: object) -> None:
        out, _err = self._process.communicate(timeout=120)
        self.took = json.loads(out)
