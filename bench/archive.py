"""Whether a full archive is slower than an empty one."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench.figure import Figure, per_second, progress
from bench.fill import fill
from bench.gateways import Mail6M
from bench.load import Load, Sink, free_ports
from bench.ratio import delivered

MESSAGES = 2_000_000


def archive(root: Path, rounds: int) -> list[Figure]:
    """The delivered rate on 2,000,000 archived messages, as a part of that on an empty archive."""
    load = Load("4 KB, 20 sessions kept", 20, 3000, reuse=True)
    rates: list[tuple[float, float]] = []
    with Sink(root, *free_ports(1)) as sink:
        with Mail6M(root / "full", sink.port) as gateway:
            customer, data = gateway.customer, gateway.data
        fill(data, customer, MESSAGES)
        with Mail6M(root / "empty", sink.port) as empty, Mail6M(root / "full", sink.port) as full:
            for number in range(rounds):
                progress(f"round {number + 1} of {rounds}: the empty one, then the full one")
                rates.append((delivered(sink, empty, load), delivered(sink, full, load)))
    emptys, fulls = median(rate for rate, _ in rates), median(rate for _, rate in rates)
    ratios = [full / empty for empty, full in rates]
    return [
        Figure(
            f"{MESSAGES} messages archived",
            fulls / emptys,
            "times an empty archive",
            ">=",
            0.85,
            f"full {per_second(fulls)}, empty {per_second(emptys)},"
            f" by round {min(ratios):.2f} to {max(ratios):.2f}",
        )
    ]
