"""Mail6M's delivered messages per second, as a multiple of a private Postfix's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.figure import Figure, per_second, progress
from bench.gateways import Gateway, Mail6M, Postfix
from bench.load import Load, Sink, attachment, free_ports, measure

MOST_FOR_POSTFIX = 2000
"""Messages: with the loads below, each gateway then has small ones for about as long, some 5 s."""


def loads(root: Path) -> dict[Load, float]:
    """The loads, each with the ratio that it should reach."""
    plans = attachment(root / "plans.eml", 4_900_000)
    return {
        Load("4 KB, 20 sessions", 20, 6000): 3.0,
        Load("4 KB, 20 sessions kept", 20, 6000, reuse=True): 4.5,
        Load("4.9 MB, 4 sessions", 4, 60, file=plans): 0.7,
    }


def compare(root: Path, rounds: int) -> list[Figure]:
    """Put each load on both gateways in turn, ``rounds`` times. Only one has load at a time."""
    targets = loads(root)
    rates: dict[Load, list[tuple[float, float]]] = {load: [] for load in targets}
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(root, *free_ports(1)))
        ours = stack.enter_context(Mail6M(root, sink.port))
        theirs = stack.enter_context(Postfix(root, sink.port))
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for load in targets:
                rates[load].append(_pair(sink, ours, theirs, load, turned=number % 2 == 1))
    return [_figure(load.name, target, rates[load]) for load, target in targets.items()]


def delivered(sink: Sink, gateway: Gateway, load: Load) -> float:
    """Delivered messages per second; the gateway is idle again on return."""
    rate = measure(sink, gateway.port, load)
    gateway.settle()
    progress(
        f"  {load.name}: {gateway.name} {per_second(rate.accepted)} accepted,"
        f" {per_second(rate.delivered)} delivered"
    )
    return rate.delivered


def _pair(
    sink: Sink, ours: Gateway, theirs: Gateway, load: Load, *, turned: bool
) -> tuple[float, float]:
    fewer = replace(load, messages=min(load.messages, MOST_FOR_POSTFIX))
    if turned:
        second = delivered(sink, theirs, fewer)
        return delivered(sink, ours, load), second
    return delivered(sink, ours, load), delivered(sink, theirs, fewer)


def _figure(name: str, target: float, rates: Sequence[tuple[float, float]]) -> Figure:
    ours = median(our for our, _ in rates)
    theirs = median(their for _, their in rates)
    ratios = [our / their for our, their in rates]
    return Figure(
        name,
        ours / theirs,
        "times Postfix",
        ">=",
        target,
        f"Mail6M {per_second(ours)}, Postfix {per_second(theirs)},"
        f" by round {min(ratios):.2f} to {max(ratios):.2f}",
    )
