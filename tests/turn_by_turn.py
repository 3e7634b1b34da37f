"""A clock that keeps the reactor's turns apart."""

from __future__ import annotations

from twisted.internet.task import Clock


class TurnByTurn(Clock):
    """A clock that leaves what a turn asks for to the next one, as a reactor does."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        due = [call for call in self.calls if call.getTime() <= self.rightNow]
        self.calls = [call for call in self.calls if call not in due]
        for call in due:
            call.func(*call.args, **call.kw)
