"""The end of a turn: what is said then, what is done before it, and what waits for quiet."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger

from mail6m.turn import Turn


class Session:
    """A session that a test watches."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name = name
        self._said = said

    def flush(self) -> None:
        self._said.append(self.name)


class TurnByTurn(Clock):
    """A clock that leaves what a turn asks for to the next one, as a reactor does."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        due = [call for call in self.calls if call.getTime() <= self.rightNow]
        self.calls = [call for call in self.calls if call not in due]
        for call in due:
            call.func(*call.args, **call.kw)


class Reactor:
    """A turn of a reactor that a test ends by hand, and what has happened in it."""

    def __init__(self) -> None:
        self.clock = TurnByTurn()
        self.turn = Turn(self.clock)
        self.done: list[str] = []
        self.session = Session("said", self.done)

    def talk(self) -> None:
        self.turn.say(self.session)

    def work(self, name: str = "work") -> None:
        self.done.append(name)

    def end(self, seconds: float = 0.0) -> list[str]:
        """End the turn; what was done since the last."""
        self.clock.advance(seconds)
        done, self.done[:] = list(self.done), []
        return done


@pytest.fixture
def reactor() -> Reactor:
    """A reactor at the beginning of a turn."""
    return Reactor()


def test_each_is_flushed_once(reactor: Reactor) -> None:
    """However often a session speaks in a turn, it is one packet, and it is not sent before."""
    other = Session("other", reactor.done)
    for session in (reactor.session, other, reactor.session):
        reactor.turn.say(session)
    assert reactor.done == []
    assert reactor.end() == ["said", "other"]
    assert reactor.end() == []


def test_work_is_done_before_anything_is_said(reactor: Reactor) -> None:
    """What couriers have to say after their round goes out in the same turn."""

    def round_of_calls() -> None:
        reactor.work("round")
        reactor.talk()
        reactor.turn.at_end(partial(reactor.work, "more"))

    reactor.turn.at_end(round_of_calls)
    assert reactor.end() == ["round", "more", "said"]


def test_what_is_quiet_goes_at_the_next_turn(reactor: Reactor) -> None:
    """A lone message waits for no longer than one look at the sockets."""
    reactor.talk()
    reactor.turn.when_quiet(reactor.work, 1.0)
    assert reactor.end() == ["said"]
    assert reactor.end() == ["work"]
    assert not reactor.clock.getDelayedCalls()


def test_what_waits_while_others_talk(reactor: Reactor) -> None:
    """Talk goes on, company may come: but only for so long."""
    reactor.turn.when_quiet(reactor.work, 1.0)
    for _ in range(9):
        reactor.talk()
        assert reactor.end(0.1) == ["said"]
    reactor.talk()
    assert reactor.end(0.2) == ["work", "said"]
    assert reactor.end() == []


def test_one_that_fails(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is logged, and nobody else's work or words are lost by it."""
    failures: list[str] = []
    monkeypatch.setattr(Logger, "failure", lambda self, text, *rest: failures.append(text))

    class Broken(Session):
        def flush(self) -> None:
            raise RuntimeError

    def broken() -> None:
        raise RuntimeError

    reactor.turn.when_quiet(broken, 0.0)
    reactor.turn.at_end(broken)
    reactor.turn.at_end(reactor.work)
    reactor.end()
    reactor.turn.say(Broken("broken", reactor.done))
    reactor.talk()
    assert reactor.end() == ["said"]
    assert len(failures) == 3
    reactor.turn.at_end(reactor.work)
    assert reactor.end() == ["work"]
