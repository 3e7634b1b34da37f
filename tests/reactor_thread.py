"""Twisted's reactor in a thread of its own, so that a plain test can wait for a coroutine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for what takes some hundredths, on a machine that is busy with other things."""


@cache
def the_reactor() -> Any:
    """The default reactor, which runs from the first call until the tests are over."""
    from twisted.internet import reactor

    running: Any = reactor
    threading.Thread(target=running.run, args=(False,), name="reactor", daemon=True).start()
    threading.Thread(target=_stop_at_exit, args=(running,), daemon=True).start()
    return running


def _stop_at_exit(reactor: Any) -> None:
    # Its pool of threads would keep the interpreter from ending.
    threading.main_thread().join()
    reactor.callFromThread(reactor.stop)


def run(work: Callable[[], Coroutine[Deferred[Any], Any, T]], patience: float = PATIENCE) -> T:
    """What the coroutine returns or raises, run by the reactor. Raises `TimeoutError`."""
    assert threading.current_thread().name != "reactor", "it would wait for itself"
    future: Future[T] = Future()

    def start() -> None:
        ensureDeferred(work()).addCallbacks(
            future.set_result, lambda failure: future.set_exception(failure.value)
        )

    the_reactor().callFromThread(start)
    return future.result(patience)
