"""What the journal knows without a look at the archive."""

from __future__ import annotations

from twisted.internet.task import Clock

from mail6m.journal import BUSY, Journal
from tests.stored import new_message


def test_busy_is_a_second_after_a_message() -> None:
    """However seldom it is asked: what came in since the last time counts as of now."""
    clock = Clock()
    journal = Journal(clock)
    assert not journal.busy()
    journal.accepted(new_message(1))
    clock.advance(60)
    assert journal.busy()
    clock.advance(BUSY / 2)
    assert journal.busy()
    clock.advance(BUSY / 2)
    assert not journal.busy()
    journal.accepted(new_message(1))
    assert journal.busy()
