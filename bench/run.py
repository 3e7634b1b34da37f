"""The benches: figures to standard output, progress to standard error.

``python -m bench.run [PART ...] [--rounds N]``; the exit status is 0
when every figure was had, whether it meets its target or not, and 1 when one could not be had.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.antispam import antispam
from bench.archive import archive
from bench.authentication import authentication
from bench.console import console
from bench.disc import disc
from bench.figure import Figure, progress, table
from bench.load import PROGRAMS, BenchError, require_programs
from bench.memory import idle, memory
from bench.overflow import overflow
from bench.overview import overview
from bench.ratio import compare
from bench.search import search

Part = Callable[[Path, int], list[Figure]]

PARTS: dict[str, Part] = {
    "ratio": compare,
    "memory": lambda root, _: memory(root),
    "idle": lambda root, _: idle(root),
    "antispam": antispam,
    "authentication": authentication,
    "archive": archive,
    "search": search,
    "console": console,
    "overflow": overflow,
    "overview": overview,
    "disc": disc,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for and print their figures."""
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["all"], choices=[*PARTS, "all"])
    parser.add_argument("--rounds", type=int, default=5, help="of the parts that take turns")
    parser.add_argument("--folder", type=Path, help="where archives and queues are made")
    options = parser.parse_args(arguments)
    names = list(PARTS) if "all" in options.parts else options.parts
    figures: list[Figure] = []
    failed = False
    for name in names:
        progress(f"{name}:")
        try:
            figures += _run(PARTS[name], options.folder, options.rounds)
        except BenchError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
    print(f"{os.cpu_count()} processors, Python {platform.python_version()}, {platform.platform()}")
    print(table(figures))
    return 1 if failed else 0


def _run(part: Part, folder: Path | None, rounds: int) -> list[Figure]:
    require_programs(*PROGRAMS)
    with tempfile.TemporaryDirectory(prefix="mail6m-bench-", dir=folder) as name:
        root = Path(name)
        # Postfix and, for root, PostgreSQL run as other users and have to get in.
        root.chmod(0o755)
        return part(root, rounds)


if __name__ == "__main__":
    sys.exit(main())
