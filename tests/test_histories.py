"""Whatever happens to a customer's mail: the sum holds, and so does the order of arrival."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import UUID

import psycopg2
import psycopg2.extensions
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from mail6m.storage.archive import DAY, MINUTE
from mail6m.storage.errors import Refused
from tests.chronicle import CABINET, CELLAR, DELETED, THINNED
from tests.harness import Say
from tests.history import MEANWHILE, History
from tests.stored import ask, new_database

SIZES = [60_000, 30_000, 9_000, 300]
KINDS = ["plain", "plain", "queued", "spam"]
APART = [1, MINUTE // 3, DAY // 2]
CABINETS = [1, 150_000, 700_000]
"""Stored bytes."""
MOST = 6
"""Messages in a portion."""
HOW = ["terminate", "cancel", "roll back"]
"""What ends it in its middle."""


class Histories(RuleBasedStateMachine):
    """One step after the other, each of which can be taken where the history has got to.

    Chance takes them, and hypothesis says how many, so that what goes wrong is told by the fewest.
    """

    dsn: str
    folders: Iterator[Path]
    happened: Counter[str]
    """Over all histories."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History(self.dsn, next(self.folders), self.happened)
        self.chronicle = self.history.chronicle
        self.chance = random.Random()

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        """See `History.begin`."""
        self.chance.seed(seed)
        self.history.begin(self.decide())

    def decide(self) -> bool:
        """Yes or no."""
        return self.chance.random() < 0.5

    def portion(self) -> int:
        """How many messages, at the most."""
        return self.chance.randint(1, MOST)

    def some(self, ids: Iterable[UUID]) -> list[UUID]:
        """Some of them, in any order."""
        among = sorted(ids)
        return self.chance.sample(among, min(len(among), self.chance.randint(1, 3)))

    def chances(self) -> dict[str, int]:
        """What can happen now, and how likely it is."""
        chronicle = self.chronicle
        offered, ordered, shipped = map(chronicle.in_state, ("offered", "ordered", "shipped"))
        sendable = chronicle.in_state("written", "shipped")
        waiting = bool(chronicle.brought_back - chronicle.overdue)
        refused = bool(chronicle.discs) and chronicle.discs[-1].state == "refused"
        chances = {
            "arrive": 4,
            "relay": 2 * bool(chronicle.queued),
            "reissue": 1 + 2 * bool(chronicle.unerased),
            "delete": 1,
            "change_plan": 2,
            "change_mind": 1,
            "move": 2 * bool(chronicle.shed(1)),
            "ask_archivist": 2 * bool(chronicle.at(CELLAR)),
            "do_what_is_due": 2,
            "answer": 3 * bool(offered),
            "order_after_all": int(refused),
            "write": 2 * bool(ordered),
            "write_while": 5 * bool(ordered),
            "erase_some": 3 * bool(chronicle.erased()),
            "ship": bool(sendable) + any(disc.state == "written" for disc in sendable),
            "receive": int(any(not disc.received for disc in shipped)),
            "die_destroying": 3 * bool(chronicle.destroyed()),
            "let_time_pass": 1 + 2 * bool(offered) + 2 * waiting,
            "die_in_the_middle": 3 * bool(self.history.under_way()),
        }
        return {what: chance for what, chance in chances.items() if chance}

    @rule()
    def go_on(self) -> None:
        """Something that can happen does."""
        chances = self.chances()
        [what] = self.chance.choices(list(chances), list(chances.values()))
        note(what)
        getattr(self, what)()

    def arrive(self) -> None:
        """Mail comes in."""
        choice, count = self.chance.choice, self.chance.randint(1, 8)
        self.history.arrive([(choice(SIZES), choice(KINDS)) for _ in range(count)], choice(APART))

    def relay(self) -> None:
        """What was queued has got there."""
        self.history.relay(self.some(self.chronicle.queued))

    def reissue(self) -> None:
        """Messages are sent again, wherever they are."""
        for id_ in self.some(self.chronicle.unerased or self.history.there()):
            self.history.send_again(id_)

    def delete(self) -> None:
        """Messages are deleted, wherever they are."""
        self.history.delete(self.some(self.history.there()))

    def change_plan(self) -> None:
        """A smaller or a larger cabinet."""
        self.history.change_plan(self.chance.choice(CABINETS))

    def change_mind(self) -> None:
        """Discs by subscription, or by answer; spam on discs, too, or not."""
        if self.decide():
            self.history.subscribe(not self.chronicle.subscribed)
        else:
            self.history.archive_spam(not self.chronicle.archive_spam)

    def move(self) -> None:
        """A portion goes to the cellar."""
        self.history.move(self.portion())

    def ask_archivist(self) -> None:
        """Something is wanted back, and granted or not."""
        first = self.chance.choice(self.chronicle.at(CELLAR))
        agreed = self.decide() or self.decide()
        self.history.ask_archivist(first, by_subject=self.decide(), agreed=agreed)

    def do_what_is_due(self) -> None:
        """By itself: some of it, or all."""
        getattr(self.history, self.chance.choice(["sweep", "sweep", "offer", "thin"]))()

    def answer(self) -> None:
        """The customer wants the disc, or does not."""
        self.history.answer(self.decide())

    def order_after_all(self) -> None:
        """Whoever has refused the last disc wants one."""
        self.history.order_after_all()

    def write(self) -> None:
        """A disc is written, and nothing happens."""
        self.history.write("nothing", 0.0)

    def write_while(self) -> None:
        """A disc is written, and something happens when a part of that is done."""
        self.history.write(self.chance.choice(MEANWHILE), self.chance.random())

    def erase_some(self) -> None:
        """Not all of it."""
        self.history.erase_some(self.portion())

    def ship(self) -> None:
        """For the first time, or again."""
        self.history.ship(self.chance.choice(self.chronicle.in_state("written", "shipped")))

    def receive(self) -> None:
        """A disc has arrived."""
        under_way = [disc for disc in self.chronicle.in_state("shipped") if not disc.received]
        self.history.receive(self.chance.choice(under_way), dies=self.decide())

    def die_destroying(self) -> None:
        """An image is there still."""
        self.history.die_destroying()

    def let_time_pass(self) -> None:
        """Sixty-one days."""
        self.history.let_time_pass()

    def die_in_the_middle(self) -> None:
        """Of a portion of something."""
        what = self.chance.choice(self.history.under_way())
        self.history.die_in_the_middle(what, self.portion(), self.chance.choice(HOW))

    @invariant()
    def it_holds(self) -> None:
        """Places, the sum, the order, and the discs."""
        self.history.assert_it_holds()

    def teardown(self) -> None:
        """Nothing of it is left for those who come after."""
        self.history.close()


MUST_HAPPEN = {
    *("deleted", "moved", "brought back", "archivist refused", "thinned", "erased in part"),
    *("offered", "ordered", "refused", "ordered after all", "shipped", "destroyed"),
    *("cut: overflow", "cut: thinning", "written: nothing", "written: death after leaving"),
}
"""Or the histories say nothing about it."""


@pytest.fixture(scope="module")
def dsn(database: str) -> str:
    """A database in which nobody else has mail, and which does not wait for its disk."""
    dsn = new_database(database)
    name = psycopg2.extensions.parse_dsn(dsn)["dbname"]
    ask(dsn, f"ALTER DATABASE {name} SET synchronous_commit = off")
    return dsn


def test_any_history_keeps_the_sum_and_the_order(dsn: str, tmp_path: Path, say: Say) -> None:
    """Whatever happens in whatever order, and whoever dies in the middle, to the message."""
    happened: Counter[str] = Counter()
    folders = (tmp_path / str(number) for number in itertools.count())
    kind = type(
        "HistoriesHere", (Histories,), {"dsn": dsn, "folders": folders, "happened": happened}
    )
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    say(f"histories: {', '.join(f'{what} {count}' for what, count in sorted(happened.items()))}")
    assert MUST_HAPPEN - set(happened) == set()


# What chance may leave out


@pytest.fixture
def history(dsn: str, tmp_path: Path) -> Iterator[History]:
    """One in which a disc is ordered."""
    history = History(dsn, tmp_path, Counter())
    history.begin(subscribed=True)
    history.assert_it_holds()
    yield history
    history.assert_it_holds()
    history.close()


@pytest.mark.parametrize("part", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_a_disc_whose_writing_is_disturbed_is_written_in_the_end(
    history: History, meanwhile: str, part: float
) -> None:
    """Whatever happens at its beginning, in its middle or at its end; its messages are erased."""
    history.change_plan(1_000_000)
    history.write(meanwhile, part)
    history.assert_it_holds()
    if history.chronicle.in_state("ordered"):
        history.write("nothing", 0.0)
        history.assert_it_holds()
    history.relay(sorted(history.chronicle.queued))
    history.sweep()
    assert not history.chronicle.unerased


@pytest.mark.parametrize("how", HOW)
def test_an_overflow_that_is_cut_moves_nothing_and_then_all(history: History, how: str) -> None:
    """In the middle of a portion."""
    history.arrive([(9_000, "plain"), (300, "queued"), (300, "spam")], MINUTE)
    history.die_in_the_middle("overflow", 3, how)
    history.assert_it_holds()
    history.move(3)
    assert history.happened["moved"] == 1


def refuse_a_disc(history: History) -> None:
    """So that there is something to be thinned."""
    history.write("nothing", 0.0)
    history.subscribe(False)
    history.arrive([(60_000, "plain"), (60_000, "spam"), (60_000, "queued")] * 6, MINUTE)
    history.sweep()
    history.answer(False)


@pytest.mark.parametrize("how", HOW)
def test_a_thinning_that_is_cut_destroys_nothing_and_then_all(history: History, how: str) -> None:
    """In the middle of a portion; and it goes on when more mail has come."""
    refuse_a_disc(history)
    history.die_in_the_middle("thinning", 2, how)
    history.assert_it_holds()
    history.thin()
    history.assert_it_holds()
    history.arrive([(60_000, "plain")] * 4, MINUTE)
    history.sweep()
    assert history.happened["thinned"] == 2


@pytest.mark.parametrize("how", HOW)
def test_an_erasing_that_is_cut_erases_nothing_and_then_all(history: History, how: str) -> None:
    """In the middle of a portion; what is sent again meanwhile waits until it is relayed."""
    history.write("death after leaving", 0.0)
    first, second, *_ = sorted(history.chronicle.unerased)
    history.die_in_the_middle("erasing", 3, how)
    history.send_again(first)
    history.assert_it_holds()
    history.erase_some(1)
    assert second not in history.chronicle.unerased
    history.sweep()
    assert history.chronicle.unerased == {first}
    history.assert_it_holds()
    history.relay([first])
    history.sweep()
    assert not history.chronicle.unerased


def test_what_was_brought_back_goes_down_when_its_time_is_over(history: History) -> None:
    """Not before, though it is older than what goes in its place."""
    history.change_plan(1_000_000)
    wanted = history.chronicle.at(CELLAR)[2]
    history.ask_archivist(wanted, by_subject=True, agreed=True)
    history.arrive([(9_000, "plain")] * 3, MINUTE)
    history.change_plan(1)
    history.sweep()
    history.assert_it_holds()
    assert history.chronicle.at(CABINET) == [wanted]
    history.arrive([(9_000, "plain")], MINUTE)
    history.let_time_pass()
    history.move(1)
    history.assert_it_holds()
    assert wanted in history.chronicle.at(CELLAR)


def test_silence_and_time_do_what_they_must(history: History) -> None:
    """A disc that was sent long ago is destroyed; an offer that nobody answers is refused."""
    history.write("nothing", 0.0)
    [disc] = history.chronicle.in_state("written")
    history.ship(disc)
    history.subscribe(False)
    history.arrive([(60_000, "plain")] * 9, MINUTE)
    for _ in range(3):
        history.sweep()
        history.assert_it_holds()
        history.let_time_pass()
    history.sweep()
    states = [disc.state for disc in history.chronicle.discs]
    assert states == ["destroyed", "refused"]
    assert history.happened["silent"] == 1


def test_what_is_sent_again_while_it_is_deleted_is_gone_with_its_deliveries(
    history: History,
) -> None:
    """Whoever asks for it waits for the deletion, and is told; no delivery is left without mail."""
    id_ = history.chronicle.at(CELLAR)[0]
    with (
        closing(psycopg2.connect(history.dsn)) as deleting,
        deleting.cursor() as cursor,
        ThreadPoolExecutor(1) as thread,
    ):
        ids = [str(id_)]
        cursor.execute("SELECT delete_messages(%s, %s::uuid[])", (history.customer, ids))
        sent = thread.submit(history.send_again, id_)
        history.await_a_lock(sent)
        deleting.commit()
        with pytest.raises(Refused, match="has no message"):
            sent.result()
    history.chronicle.leave([id_], DELETED)


@pytest.mark.parametrize("what", ["thinning", "erasing"])
def test_what_is_sent_again_at_the_last_moment_stays(history: History, what: str) -> None:
    """It was to be thinned or erased just now: that waits until it is known, and leaves it out."""
    if what == "thinning":
        refuse_a_disc(history)
    else:
        history.write("death after leaving", 0.0)
    sql, must_go = history.portions()[what]
    first, second = must_go(2)
    with (
        closing(psycopg2.connect(history.dsn)) as sending,
        sending.cursor() as cursor,
        ThreadPoolExecutor(1) as thread,
    ):
        cursor.execute(
            "INSERT INTO delivery (customer_id, message_id, number, recipient, notify, original,"
            " destination, state, attempts, queued_at, next_attempt_at)"
            " SELECT customer_id, message_id, 0, 'a@b', 0, '', 'b', 0, 0, now(), now()"
            " FROM message WHERE customer_id = %s AND message_id = %s FOR KEY SHARE",
            (history.customer, str(first)),
        )
        done = thread.submit(ask, history.dsn, sql, history.customer, 2)
        history.await_a_lock(done)
        sending.commit()
        assert done.result() == [(1,)]
    history.chronicle.queued.add(first)
    history.chronicle.leave([second], THINNED)
