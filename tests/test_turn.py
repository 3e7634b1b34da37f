"""The end of a turn: what is said then, and what waits until no client talks."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.logger import Logger

from mail6m.turn import Turn
from tests.turn_by_turn import TurnByTurn


class Session:
    """A session that a test watches."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name = name
        self._said = said

    def flush(self) -> None:
        self._said.append(self.name)


class Reactor:
    """A turn of a reactor that a test ends by hand, and what has happened in it."""

    def __init__(self) -> None:
        self.clock = TurnByTurn()
        self.turn = Turn(self.clock)
        self.done: list[str] = []
        self.session = Session("said", self.done)

    def talk(self) -> None:
        """A client speaks, and will be answered."""
        self.turn.hear()
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
        reactor.turn.say(reactor.session)

    reactor.turn.when_quiet(round_of_calls, 1.0)
    assert reactor.end() == ["round", "said"]


def test_work_that_asks_for_more(reactor: Reactor) -> None:
    """What is put off while others' work is done waits for the next turn, and is not forgotten."""

    def twice() -> None:
        reactor.work("once")
        reactor.turn.when_quiet(partial(reactor.work, "more"), 1.0)

    reactor.turn.when_quiet(twice, 1.0)
    assert reactor.end() == ["once"]
    assert reactor.end() == ["more"]
    assert not reactor.clock.getDelayedCalls()


def test_what_is_quiet_goes_at_the_next_turn(reactor: Reactor) -> None:
    """A lone message waits for no longer than one look at the sockets."""
    reactor.talk()
    reactor.turn.when_quiet(reactor.work, 1.0)
    assert reactor.end() == ["said"]
    assert reactor.end() == ["work"]
    assert not reactor.clock.getDelayedCalls()


def test_only_clients_make_noise(reactor: Reactor) -> None:
    """What couriers say does not keep clients waiting for their commit."""
    reactor.turn.say(reactor.session)
    reactor.turn.when_quiet(reactor.work, 1.0)
    assert reactor.end() == ["work", "said"]


def test_what_waits_while_clients_talk(reactor: Reactor) -> None:
    """Talk goes on, company may come: but only for so long."""
    reactor.turn.when_quiet(reactor.work, 1.0)
    for _ in range(9):
        reactor.talk()
        assert reactor.end(0.1) == ["said"]
    reactor.talk()
    assert reactor.end(0.2) == ["work", "said"]
    assert reactor.end() == []


def test_asking_again_is_not_waiting_anew(reactor: Reactor) -> None:
    """Work that is put off again and again is done once, and when it was due at first."""
    for _ in range(3):
        reactor.turn.when_quiet(reactor.work, 1.0)
        reactor.talk()
        assert reactor.end(0.3) == ["said"]
    reactor.turn.when_quiet(reactor.work, 1.0)
    reactor.talk()
    assert reactor.end(0.3) == ["work", "said"]


def test_the_least_patient_goes_first(reactor: Reactor) -> None:
    """A commit, which clients wait for, goes before what nobody waits for, whoever was first."""
    reactor.turn.when_quiet(partial(reactor.work, "relay"), 2.0)
    reactor.talk()
    assert reactor.end(0.5) == ["said"]
    reactor.turn.when_quiet(partial(reactor.work, "commit"), 1.0)
    reactor.turn.when_quiet(partial(reactor.work, "relay more"), 2.0)
    assert reactor.end() == ["commit", "relay", "relay more"]


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
    reactor.turn.when_quiet(reactor.work, 1.0)
    reactor.turn.say(Broken("broken", reactor.done))
    reactor.turn.say(reactor.session)
    assert reactor.end() == ["work", "said"]
    assert len(failures) == 2
    reactor.turn.when_quiet(reactor.work, 1.0)
    assert reactor.end() == ["work"]
