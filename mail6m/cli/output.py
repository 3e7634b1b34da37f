"""What a command shows: one JSON value to a program, lines to people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any


def show(result: Any) -> None:
    """The same for people: a line for each thing, a column for each value."""
    if isinstance(result, dict):
        for name, value in result.items():
            shown = json.dumps(value) if isinstance(value, dict | list) else value
            print(f"{name:<18} {'-' if shown is None else shown}")
        return
    if not result:
        return
    columns = list(result[0])
    cells = [[_cell(row[column]) for column in columns] for row in result]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(columns)]
    for row in [columns, *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)


def time_text(moment: datetime) -> str:
    """A moment (RFC 3339), in UTC and to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_or_none(moment: datetime | None) -> str | None:
    """The same, of what may not have happened."""
    return time_text(moment) if moment is not None else None


def percent() -> Callable[[float], None]:
    """Called with parts of 1 that are done; a person at a terminal sees them."""
    return _Percent() if sys.stderr.isatty() else lambda part: None


class _Percent:
    """How far something is, for somebody who looks on."""

    def __init__(self) -> None:
        self._shown = -1

    def __call__(self, part: float) -> None:
        """So much of 1 is done."""
        if (percent := int(100 * part)) != self._shown:
            self._shown = percent
            print(f"\r{percent} %", end="\n" if percent == 100 else "", file=sys.stderr, flush=True)
