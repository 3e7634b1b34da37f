"""One measured figure beside its target, and how a table of them is printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, what it came to, what it should come to, and where it comes from."""

    name: str
    value: float
    unit: str
    side: Literal[">=", "<="]
    target: float
    detail: str

    @property
    def met(self) -> bool:
        """Whether the value is on the target's right side."""
        return self.value >= self.target if self.side == ">=" else self.value <= self.target


def table(figures: Sequence[Figure]) -> str:
    """The figures as lines of text in columns."""
    rows = [("what", "measured", "target", "met", "detail")]
    rows += [
        (
            figure.name,
            f"{figure.value:.2f} {figure.unit}".strip(),
            f"{figure.side} {figure.target:g}",
            "yes" if figure.met else "NO",
            figure.detail,
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def per_second(rate: float) -> str:
    """A rate for people: with a decimal when it is small."""
    return f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def progress(line: str) -> None:
    """Say on standard error how far the bench is."""
    print(line, file=sys.stderr, flush=True)
