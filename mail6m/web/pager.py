"""``Page (1) 2 3 4 ... 601 »``: which pages a list leads to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

AROUND = 3
"""Pages that are named beside the one that is shown."""


class Step(NamedTuple):
    """A page's number and its address; no number for a gap, no address for the page shown."""

    number: int | None
    href: str = ""


class Pager(NamedTuple):
    """What the line says; the addresses are empty where there is nothing to go to."""

    steps: list[Step]
    before: str
    after: str


def numbered(current: int, last: int, address: Callable[[int], str]) -> Pager:
    """A list whose length is known: the pages around this one, the first and the last."""
    near = range(max(1, current - AROUND), min(last, current + AROUND) + 1)
    numbers = sorted({1, last, *near})
    steps: list[Step] = []
    for number in numbers:
        if steps and number > (steps[-1].number or number) + 1:
            steps.append(Step(None))
        steps.append(Step(number, "" if number == current else address(number)))
    return Pager(
        steps,
        address(current - 1) if current > 1 else "",
        address(current + 1) if current < last else "",
    )


def followed(current: int, first: str, nexts: Sequence[str]) -> Pager:
    """A list that is looked at as it goes on: the first page, and those behind this one."""
    steps = [Step(current)]
    if current > 1:
        steps = [Step(1, first), *([Step(None)] if current > 2 else []), *steps]
    steps += [Step(current + ahead, href) for ahead, href in enumerate(nexts, 1)]
    return Pager(steps, first if current == 2 else "", nexts[0] if nexts else "")
