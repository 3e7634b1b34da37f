"""The sweep: what fails does not keep the rest from being done."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mail6m.shelves.sweep import Sweep, Swept
from mail6m.storage.errors import Unavailable
from tests.reactor_thread import run


class Work:
    """Every step of the work, each of which counts; some fail."""

    def __init__(self, *failing: str) -> None:
        self.done: list[str] = []
        self._failing = failing

    def __getattr__(self, name: str) -> Any:
        async def step() -> int:
            if name in self._failing:
                raise Unavailable(name)
            self.done.append(name)
            return len(self.done)

        return step


def swept(work: Work) -> Swept:
    """All of it."""
    part = cast(Any, work)
    return run(lambda: Sweep(part, part, part, part, part, part, [part], part).all())


STEPS = ["apply", "sweep", "offer", "thin", "erase_all", "destroy", "advance", "issue_due"]
STEPS += ["make_missing", "forget_expired", "send"]


def test_all_is_done_in_order() -> None:
    """And counted."""
    work = Work()
    assert swept(work) == Swept(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    assert work.done == STEPS


@pytest.mark.parametrize("failing", STEPS)
def test_what_fails_does_not_stop_the_others(failing: str) -> None:
    """It is raised when they are done."""
    work = Work(failing, "send")
    with pytest.raises(Unavailable, match=failing):
        swept(work)
    assert work.done == [step for step in STEPS if step not in (failing, "send")]
