"""The indexer by a turned clock: it works off what waits, and makes room for clients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from mail6m.shelves.indexer import INTERVAL, PORTION, SHARE, Indexer
from mail6m.storage.catalogue import Catalogue, Entry, Unindexed
from mail6m.storage.errors import Unavailable

TOOK = 0.05
"""Seconds that a portion takes here."""


class Notes:
    """A catalogue with so many messages that wait, each with a note of its own."""

    def __init__(self, clock: Clock, waiting: int) -> None:
        self.clock = clock
        self.left = list(range(waiting))
        self.entries: list[Entry] = []
        self.trouble: Exception | None = None
        self.held: Deferred[None] | None = None
        self.asked = 0

    async def unindexed(self, messages: int) -> list[Unindexed]:
        """The oldest that wait."""
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        return [note(number) for number in self.left[:messages]]

    async def index(self, batches: Sequence[int], entries: Iterable[Entry]) -> None:
        """They wait no longer."""
        if self.held is not None:
            await self.held
        self.clock.rightNow += TOOK
        self.left = [number for number in self.left if number not in set(batches)]
        self.entries += entries


def note(number: int) -> Unindexed:
    """What a note says of its message."""
    to = ["Marie@mondomaine.fr", "Élan@mondomaine.fr"]
    return Unindexed(number, 1, UUID(int=number), "a@b.fr", to, "Anne <A@b.fr>", "Équipe", "Œuvre")


def indexer(waiting: int) -> tuple[Clock, Notes, Indexer]:
    """An indexer with work."""
    clock = Clock()
    notes = Notes(clock, waiting)
    return clock, notes, Indexer(clock, cast(Catalogue, notes))


def test_when_nobody_talks_everything_is_worked_off() -> None:
    """At the first look, portion after portion."""
    clock, notes, works = indexer(3 * PORTION + 1)
    works.start(lambda: False)
    assert notes.entries == []
    clock.advance(INTERVAL)
    assert notes.left == []
    assert len(notes.entries) == 3 * PORTION + 1


def test_while_clients_talk_it_takes_its_share_only() -> None:
    """A portion is followed by a long rest, and all is worked off in the end."""
    clock, notes, works = indexer(5 * PORTION)
    busy = True
    works.start(lambda: busy)
    clock.advance(INTERVAL)
    assert len(notes.left) == 4 * PORTION
    clock.advance(SHARE * TOOK - 0.01)
    assert len(notes.left) == 4 * PORTION
    clock.pump([INTERVAL / 10] * 20)
    assert 2 * PORTION <= len(notes.left) <= 3 * PORTION
    busy = False
    clock.pump([INTERVAL / 2] * 4)
    assert notes.left == []


def test_a_search_has_a_portion_worked_off() -> None:
    """And does not wait for the rest of them, but knows that they are there."""
    _, notes, works = indexer(2 * PORTION + 5)
    assert [refreshed(works) for _ in range(4)] == [True, True, False, False]
    assert len(notes.entries) == 2 * PORTION + 5


def test_searches_take_nothing_from_clients() -> None:
    """While clients talk, a search adds nothing to the share; `catch_up` goes on to the end."""
    clock, notes, works = indexer(4 * PORTION)
    works.start(lambda: True)
    assert [refreshed(works) for _ in range(3)] == [True] * 3
    assert len(notes.left) == 3 * PORTION
    clock.advance(SHARE * TOOK)
    assert refreshed(works)
    assert len(notes.left) == 2 * PORTION
    ensureDeferred(works.catch_up())
    assert notes.left == []


def refreshed(works: Indexer) -> bool:
    """What `refresh` returns at once."""
    results: list[bool] = []
    ensureDeferred(works.refresh()).addCallback(results.append)
    return results[0]


def test_one_portion_at_a_time() -> None:
    """Searches and the loop do not write the same entries side by side."""
    clock, notes, works = indexer(5)
    notes.held = Deferred()
    works.start(lambda: False)
    clock.advance(INTERVAL)
    done: list[bool] = []
    ensureDeferred(works.refresh()).addCallback(done.append)
    assert notes.asked == 1
    held, notes.held = notes.held, None
    held.callback(None)
    assert done == [False]
    assert len(notes.entries) == 5


@pytest.mark.parametrize("trouble", [Unavailable("away"), ValueError("a mistake of ours")])
def test_trouble_ends_nothing(trouble: Exception) -> None:
    """When the database is back, or the mistake mended, the work goes on."""
    clock, notes, works = indexer(5)
    notes.trouble = trouble
    works.start(lambda: False)
    clock.pump([INTERVAL] * 3)
    notes.trouble = None
    clock.advance(INTERVAL)
    assert notes.left == []


def test_stopped_is_stopped() -> None:
    """No look after `stop`, which may be said twice, or before the start."""
    clock, notes, works = indexer(5)
    works.stop()
    works.start(lambda: False)
    works.stop()
    works.stop()
    clock.pump([INTERVAL] * 3)
    assert notes.asked == 0


def test_stopping_ends_the_work_in_hand() -> None:
    """A portion that was begun is finished, and no other follows, however many messages wait."""
    clock, notes, works = indexer(3 * PORTION)
    notes.held = Deferred()
    works.start(lambda: False)
    clock.advance(INTERVAL)
    works.stop()
    held, notes.held = notes.held, None
    held.callback(None)
    assert len(notes.entries) == PORTION


def test_an_entry_says_both_envelope_and_header() -> None:
    """Folded, a line for each; the header alone where it says what the envelope does."""
    clock, notes, works = indexer(1)
    works.start(lambda: False)
    clock.advance(INTERVAL)
    [entry] = notes.entries
    assert entry.sender == "anne <a@b.fr>"
    assert entry.recipient == "marie@mondomaine.fr\nelan@mondomaine.fr\nequipe"
    assert entry.subject == "oeuvre"


def test_a_message_that_is_gone_has_no_entry() -> None:
    """Its note is worked off all the same."""
    clock, notes, works = indexer(0)
    gone = Unindexed(7, None, None, "", [], "", "", "")

    async def unindexed(_: int) -> list[Unindexed]:
        return [gone] if notes.left else []

    notes.left = [7]
    notes.unindexed = unindexed  # type: ignore[method-assign]
    works.start(lambda: False)
    clock.advance(INTERVAL)
    assert (notes.left, notes.entries) == ([], [])
