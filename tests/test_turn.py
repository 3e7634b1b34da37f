"""The end of a turn: what is said then, and what waits until no client talks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from twisted.internet import epollreactor
from twisted.logger import Logger, capturedLogs

from mail6m.turn import Round, Turn, without_log_context
from tests.turn_by_turn import TurnByTurn


class Session:
    """A session that a test watches."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name = name
        self._said = said

    def advance(self) -> None:
        """A client has spoken, and will be answered."""

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
        """A client speaks."""
        self.turn.hear(self.session)

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


def test_all_is_heard_before_it_is_thought_about(reactor: Reactor) -> None:
    """A session advances once in a turn, and what it then has to say goes out in the same turn."""
    advanced: list[str] = []

    class Thoughtful(Session):
        def advance(self) -> None:
            advanced.append(self.name)
            super().advance()

    sessions = [Thoughtful(name, reactor.done) for name in ("one", "two")]
    for session in (*sessions, *sessions):
        reactor.turn.hear(session)
    assert advanced == []
    assert reactor.end() == ["one", "two"]
    assert advanced == ["one", "two"]


def test_an_answer_that_comes_at_once(reactor: Reactor) -> None:
    """It lets its session advance again, in the same turn."""
    answers = ["first", "second"]

    class Answered(Session):
        def advance(self) -> None:
            reactor.work(answers.pop(0))
            if answers:
                reactor.turn.hear(self)

    reactor.turn.hear(Answered("said", reactor.done))
    assert reactor.end() == ["first", "second", "said"]


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


def rounds(reactor: Reactor) -> Callable[..., list[str]]:
    """A client talks, some join a round, and time passes: what is done then."""
    together = Round(reactor.turn, company=1.0, patience=0.5)

    def pass_(seconds: float, *names: str, talk: bool = True) -> list[str]:
        for name in names:
            together.join().addCallback(lambda _, name=name: reactor.work(name))
        if talk:
            reactor.talk()
        return [done for done in reactor.end(seconds) if done != "said"]

    return pass_


def test_a_round_gathers_while_clients_talk(reactor: Reactor) -> None:
    """The first one goes when it is quiet; those after it go together, a second later."""
    pass_ = rounds(reactor)
    assert pass_(0.0) == []
    assert pass_(0.0, "first") == []
    assert pass_(0.05, talk=False) == ["first"]
    assert pass_(0.05, "second") == []
    assert [pass_(0.05) for _ in range(10)] == [[]] * 10
    assert pass_(0.05, "third") == []
    assert pass_(0.4) == []  # that is enough of company, and there is no quiet yet
    assert pass_(0.0, talk=False) == ["second", "third"]


def test_a_round_has_patience_with_those_who_talk_on(reactor: Reactor) -> None:
    """But not for ever."""
    pass_ = rounds(reactor)
    assert pass_(0.0) == []
    assert pass_(0.4, "first") == []
    assert pass_(0.2) == ["first"]


def test_a_round_goes_at_once_when_nobody_talks(reactor: Reactor) -> None:
    """There is nothing to be gained by waiting."""
    pass_ = rounds(reactor)
    assert pass_(0.0, "first", talk=False) == ["first"]
    assert pass_(0.0, "second", "third", talk=False) == ["second", "third"]
    assert pass_(0.0) == []
    assert pass_(0.2, talk=False) == []
    assert pass_(0.0, "fourth", talk=False) == ["fourth"]


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


def test_what_goes_first_is_said_first(reactor: Reactor) -> None:
    """Hosts have what couriers ask them before the commit is made, which takes its time."""

    def ask() -> None:
        reactor.turn.say(reactor.session)

    reactor.turn.when_quiet(partial(reactor.work, "commit"), 2.0)
    reactor.turn.when_quiet(ask, 1.0)
    assert reactor.end() == ["said", "commit"]


def test_one_that_fails(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is logged, and nobody else's work or words are lost by it."""
    failures: list[str] = []
    monkeypatch.setattr(Logger, "failure", lambda self, text, *rest: failures.append(text))

    class Broken(Session):
        def advance(self) -> None:
            super().advance()
            raise RuntimeError

        def flush(self) -> None:
            raise RuntimeError

    def broken() -> None:
        raise RuntimeError

    reactor.turn.when_quiet(broken, 0.0)
    reactor.turn.when_quiet(reactor.work, 1.0)
    assert reactor.end() == ["work"]
    reactor.turn.hear(Broken("broken", reactor.done))
    reactor.turn.hear(reactor.session)
    assert reactor.end() == ["said"]
    assert len(failures) == 3
    reactor.turn.when_quiet(reactor.work, 1.0)
    assert reactor.end() == ["work"]


def test_sockets_are_called_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a context; one whose call fails is reported, and stops nobody."""
    monkeypatch.setattr(epollreactor, "log", epollreactor.log)
    without_log_context()
    called: list[object] = []
    with capturedLogs() as events:
        epollreactor.log.callWithLogger(None, called.append, 1)
        epollreactor.log.callWithLogger(None, called.remove, 2)
    assert called == [1]
    assert [event["log_failure"].type for event in events] == [ValueError]
