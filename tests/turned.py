"""A clock that is turned by hand, for a server and its commands: ahead by what a file says.

Only the clock of Mail6M itself is turned (`mail6m.foundation.now`), not PostgreSQL's.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path


class TurnedClock:
    """The time, and the seconds more that stand in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC) + timedelta(seconds=float(self.file.read_text() or 0))

    def turn_to(self, moment: datetime) -> None:
        """Have it be then, from now on."""
        ahead = (moment - datetime.now(UTC)).total_seconds()
        beside = self.file.with_suffix(".new")
        beside.write_text(str(ahead))
        beside.rename(self.file)

    def install(self) -> None:
        """Have this process go by it, whatever it has imported by now."""
        from mail6m import foundation

        real = foundation.now
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] == "mail6m" and getattr(module, "now", None) is real:
                module.now = self  # type: ignore[attr-defined]
