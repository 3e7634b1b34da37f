"""Servers and the operator's commands as processes, forked from one that has imported them.

A new interpreter would import for longer than most commands work, and than a server needs to start.
`tests/test_cli.py`, `tests/test_demo.py` and `tests/test_packaging.py` run them in interpreters of
their own all the same.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
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
_PROCESSES.set_forkserver_preload(["mail6m.cli", "mail6m.tap", __name__])


class Daemon:
    """``python -m twisted WORDS`` in a process of its own; what it says is added to a file."""

    def __init__(self, words: Sequence[str], log: Path, clock: TurnedClock | None = None) -> None:
        self._words = list(words)
        self._process = _PROCESSES.Process(target=_serve, args=(self._words, log, clock))
        self._process.start()

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.exitcode is None

    def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        self._process.kill()
        self._process.join()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def wait(self, seconds: float) -> int | None:
        """Its exit status, if it has ended by then."""
        self._process.join(seconds)
        return self._process.exitcode


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
    _renew_reactor()
    from mail6m.cli import main

    if clock is not None:
        clock.install()
    main(words)


def _serve(words: list[str], log: Path, clock: TurnedClock | None) -> None:
    """In the new process: the server, whose standard streams are the log."""
    log_file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), log_file, log_file)):
        os.dup2(file, number)
    _renew_reactor()
    if clock is not None:
        clock.install()
    sys.argv = ["twisted", *words]
    runpy.run_module("twisted", run_name="__main__", alter_sys=True)


def _renew_reactor() -> None:
    """The one that was there when modules were imported polls by a descriptor that all these
    processes share.
    """
    from twisted import internet

    old = sys.modules.pop("twisted.internet.reactor", None)
    if old is None:
        return
    del internet.reactor
    from twisted.internet import reactor

    for module in list(sys.modules.values()):
        if getattr(module, "reactor", None) is old:
            module.reactor = reactor  # type: ignore[attr-defined]
