"""The operator's commands as processes, forked from one that has imported them.

A new interpreter would import for longer than most commands work. `tests/test_cli.py` runs some in
interpreters of their own all the same.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.turned import TurnedClock

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["mail6m.cli", __name__])


class Running:
    """``mail6m WORDS`` in a process of its own; at the end of its context it has ended."""

    def __init__(
        self, words: Sequence[str], stdin: bytes = b"", clock: TurnedClock | None = None
    ) -> None:
        self._words = list(words)
        self._folder = tempfile.TemporaryDirectory(prefix="mail6m-command-")
        self._files = [Path(self._folder.name, name) for name in ("in", "out", "err")]
        self._files[0].write_bytes(stdin)
        for file in self._files[1:]:
            file.touch()
        self._process = _PROCESSES.Process(target=_main, args=(self._words, self._files, clock))
        self._process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.join()
        self._folder.cleanup()

    def wait(self, seconds: float) -> bool:
        """Whether it ends so soon."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self._process.exitcode is None and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self._process.pid, number)

    def done(self, seconds: float) -> subprocess.CompletedProcess[bytes]:
        """What a shell sees of it. Raises `subprocess.TimeoutExpired` if it goes on longer."""
        if not self.wait(seconds):
            raise subprocess.TimeoutExpired(["mail6m", *self._words], seconds)
        out, err = (file.read_bytes() for file in self._files[1:])
        status = self._process.exitcode
        return subprocess.CompletedProcess(["mail6m", *self._words], status or 0, out, err)


def _main(words: list[str], files: list[Path], clock: TurnedClock | None) -> None:
    """In the new process: the command, with files for its standard streams."""
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_RDWR), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open
    _forget_reactor()
    from mail6m.cli import main

    if clock is not None:
        clock.install()
    main(words)


def _forget_reactor() -> None:
    """The one that Klein has imported polls by a descriptor that all these processes share."""
    from twisted import internet

    if sys.modules.pop("twisted.internet.reactor", None) is not None:
        del internet.reactor
