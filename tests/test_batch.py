"""Group commit: what shares a commit, and who suffers when one fails."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mail6m.batch import Batches


class Bad(Exception):
    """An item that cannot be stored."""


class Away(Exception):
    """What `mail6m.storage.errors.Unavailable` looks like from here."""

    transient = True


class Store:
    """Commits that a test ends by hand, oldest first."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self._under_way: list[Deferred[None]] = []

    def commit(self, items: Sequence[str]) -> Deferred[None]:
        self.batches.append(list(items))
        done: Deferred[None] = Deferred()
        self._under_way.append(done)
        return done

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def end(self, error: Exception | None = None) -> None:
        done = self._under_way.pop(0)
        if error is None:
            done.callback(None)
        else:
            done.errback(error)


class Bench:
    """Batches over a `Store`, and what became of each item."""

    def __init__(self, *, most: int = 100, heaviest: int = 1_000) -> None:
        self.clock = Clock()
        self.store = Store()
        self.batches: Batches[str] = Batches(
            partial(self.clock.callLater, 0),
            self.store.commit,
            most=most,
            weigh=len,
            heaviest=heaviest,
        )
        self.results: dict[str, str] = {}

    def add(self, *items: str) -> None:
        for item in items:
            self.batches.add(item).addCallbacks(
                self._done, self._failed, callbackArgs=(item,), errbackArgs=(item,)
            )

    def turn(self) -> None:
        self.clock.advance(0)

    def _done(self, _: None, item: str) -> None:
        assert item not in self.results
        self.results[item] = "done"

    def _failed(self, failure: Failure, item: str) -> None:
        assert item not in self.results
        self.results[item] = f"{type(failure.value).__name__} {failure.value}".strip()


def test_one_turn_of_the_reactor_shares_a_commit() -> None:
    """What comes in the same turn goes together, in its order, and nobody is told too early."""
    bench = Bench()
    bench.add("a", "b", "c")
    assert bench.store.batches == []
    bench.turn()
    assert bench.store.batches == [["a", "b", "c"]]
    assert bench.results == {}
    bench.store.end()
    assert bench.results == dict.fromkeys("abc", "done")


def test_what_comes_meanwhile_shares_the_next() -> None:
    """While a commit is under way others gather, turn after turn, and then go together."""
    bench = Bench()
    bench.add("a")
    bench.turn()
    for item in "bcd":
        bench.add(item)
        bench.turn()
    assert bench.store.batches == [["a"]]
    bench.store.end()
    bench.turn()
    assert bench.results == {"a": "done"}
    assert bench.store.batches == [["a"], ["b", "c", "d"]]
    bench.store.end()
    assert bench.results == dict.fromkeys("abcd", "done")
    assert bench.store.under_way == 0


def test_a_batch_has_its_limit() -> None:
    """More than ``most`` are never asked to share, and the rest follows without being asked."""
    bench = Bench(most=2)
    bench.add(*"abcde")
    bench.turn()
    bench.store.end()
    assert bench.store.batches == [["a", "b"], ["c", "d"]], "a full batch waits for nobody"
    bench.store.end()
    bench.turn()
    bench.store.end()
    assert bench.store.batches == [["a", "b"], ["c", "d"], ["e"]]
    assert bench.results == dict.fromkeys("abcde", "done")


def test_what_is_too_heavy_waits_for_the_next() -> None:
    """Items share up to a weight, in their order; one that is heavier by itself goes alone."""
    bench = Bench(heaviest=3)
    bench.add("a", "bb", "c", "dddd", "ee")
    bench.turn()
    for _ in range(3):
        bench.store.end()
    assert bench.store.batches == [["a", "bb"], ["c"], ["dddd"], ["ee"]], "each follows at once"
    bench.store.end()
    assert set(bench.results.values()) == {"done"}
    assert len(bench.results) == 5


def test_one_bad_item_fails_alone() -> None:
    """After a commit that one of them spoilt each is tried by itself, and hears its own result."""
    bench = Bench()
    bench.add(*"abc")
    bench.turn()
    bench.store.end(Bad("one of them"))
    assert bench.results == {}
    bench.store.end()
    assert bench.results == {"a": "done"}
    bench.store.end(Bad("b"))
    bench.store.end()
    assert bench.store.batches == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert bench.results == {"a": "done", "b": "Bad b", "c": "done"}


def test_a_lone_bad_item_is_not_tried_twice() -> None:
    """There is nobody to part it from."""
    bench = Bench()
    bench.add("a")
    bench.turn()
    bench.store.end(Bad("a"))
    assert bench.store.batches == [["a"]]
    assert bench.results == {"a": "Bad a"}


def test_a_transient_failure_fails_all_at_once() -> None:
    """When the database is away, asking once is enough: senders must not wait for it in a row."""
    bench = Bench()
    bench.add(*"abc")
    bench.turn()
    bench.store.end(Away())
    assert bench.store.batches == [["a", "b", "c"]]
    assert bench.results == dict.fromkeys("abc", "Away")


def test_life_goes_on_after_a_failure() -> None:
    """Whatever went wrong, the next batch goes out, with those that have waited meanwhile."""
    for error in (Bad(), Away()):
        bench = Bench()
        bench.add("a")
        bench.turn()
        bench.add("b")
        bench.store.end(error)
        bench.turn()
        assert bench.store.batches == [["a"], ["b"]]
        bench.store.end()
        bench.add("c")
        bench.turn()
        bench.store.end()
        assert bench.results == {"a": type(error).__name__, "b": "done", "c": "done"}


def test_who_waits_meanwhile_is_not_mixed_with_the_parted() -> None:
    """While items are tried one by one, new ones gather as ever."""
    bench = Bench()
    bench.add("a", "b")
    bench.turn()
    bench.store.end(Bad())
    bench.add("c", "d")
    bench.turn()
    bench.store.end()
    bench.store.end()
    bench.turn()
    assert bench.store.batches == [["a", "b"], ["a"], ["b"], ["c", "d"]]


def test_a_commit_that_raises_before_it_waits() -> None:
    """A failure without a pause leaves nobody waiting."""
    clock = Clock()

    async def commit(items: Sequence[str]) -> None:
        if "bad" in items:
            raise Bad

    batches: Batches[str] = Batches(partial(clock.callLater, 0), commit, most=10)
    good, bad = batches.add("good"), batches.add("bad")
    clock.advance(0)
    assert good.called
    assert bad.called
    results: list[Failure] = []
    bad.addErrback(results.append)
    assert isinstance(results[0].value, Bad)


def test_who_goes_away_takes_nobody_along() -> None:
    """A cancelled waiter hears of it at once; its commit and the others' go on."""
    bench = Bench()
    bench.add("a")
    leaver = bench.batches.add("b")
    bench.add("c")
    bench.turn()
    leaver.cancel()
    failures: list[Failure] = []
    leaver.addErrback(failures.append)
    assert failures[0].check(CancelledError)
    bench.store.end()
    assert bench.store.batches == [["a", "b", "c"]]
    assert bench.results == {"a": "done", "c": "done"}


def test_what_is_added_by_a_result_is_not_forgotten() -> None:
    """The courier's next record is added from the callback of the last one."""
    bench = Bench()
    bench.batches.add("a").addCallback(lambda _: bench.add("b"))
    bench.turn()
    bench.store.end()
    bench.turn()
    assert bench.store.batches == [["a"], ["b"]]
    bench.store.end()
    assert bench.results == {"b": "done"}


def test_what_nobody_waits_for() -> None:
    """What is put shares commits with the rest; that it all is written down can be waited for."""
    bench = Bench()
    bench.batches.put("a")
    bench.add("b")
    finished = bench.batches.finished()
    bench.turn()
    bench.batches.put("c")
    bench.store.end()
    assert bench.results == {"b": "done"}
    bench.turn()
    assert not finished.called
    bench.store.end(Bad("c"))
    assert finished.called
    assert bench.store.batches == [["a", "b"], ["c"]]
    assert bench.batches.finished().called


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 4)),
        st.tuples(st.just("turn"), st.just(0)),
        st.tuples(st.sampled_from(["end", "bad", "away"]), st.just(0)),
    ),
    max_size=60,
)


@given(steps=steps)
def test_any_order_of_events(steps: list[tuple[str, int]]) -> None:
    """Everybody hears exactly once, one commit is under way, and nothing is left behind."""
    bench = Bench(most=3)
    added = 0
    for step, number in steps:
        if step == "add":
            bench.add(*map(str, range(added, added + number)))
            added += number
        elif step == "turn":
            bench.turn()
        elif bench.store.under_way:
            error = {"end": None, "bad": Bad(), "away": Away()}[step]
            bench.store.end(error)
        assert bench.store.under_way <= 1
    bench.turn()
    while bench.store.under_way:
        bench.store.end()
        bench.turn()
    assert len(bench.results) == added
    first_tries: list[str] = []
    for items in bench.store.batches:
        first_tries += [item for item in items if item not in first_tries]
    assert first_tries == list(map(str, range(added)))
