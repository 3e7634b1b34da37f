"""Who is told that a message could not be delivered, and who is spared."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from mail6m.delivery.consignment import Consignment, Item
from mail6m.delivery.reports import Reports
from mail6m.model import (
    UNJUDGED,
    Authentication,
    Client,
    Envelope,
    Judgement,
    Outcome,
    Recipient,
    Reply,
    Scan,
    Verdict,
)
from tests.reactor_thread import run

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Desk:
    """Where letters would leave from (`mail6m.delivery.own.OwnMail`)."""

    def __init__(self) -> None:
        self.to: list[str] = []

    def new_name(self, now: datetime) -> str:
        return "<1@mail6m.test>"

    async def send(self, customer: int, to: str, octets: bytes, **more: Any) -> UUID:
        self.to.append(to)
        return UUID(int=1)


def told(sender: str, judgement: Judgement) -> list[str]:
    """Who gets a report on a message that was refused for good."""
    desk = Desk()
    item = Item(0, Recipient("marie@mondomaine.test"), 1, NOON)
    consignment = Consignment(
        1, UUID(int=7), "mondomaine.test", Envelope(sender, (), Client("192.0.2.7")), 100, NOON,
        [item], judgement=judgement, header=b"Subject: facture\r\n\r\n",
    )  # fmt: skip
    outcome = Outcome(Verdict.NEVER, Reply(550, "5.1.1", "No such user"))
    reports = Reports("mail6m.test", None, desk, lambda: NOON)  # type: ignore[arg-type]
    run(lambda: reports.send(consignment, "failed", [(item, outcome)]))
    return desk.to


@pytest.mark.parametrize(
    "judgement",
    [
        UNJUDGED,
        Judgement(Scan.DONE, spam=False),
        Judgement(Scan.MISSED),
        Judgement(authentication=Authentication(spf="softfail")),
        Judgement(authentication=Authentication(spf="temperror", dmarc="fail")),
        Judgement(authentication=Authentication(spf="pass")),
    ],
)
def test_a_sender_is_told(judgement: Judgement) -> None:
    """Who may well have sent it."""
    assert told("anne@example.org", judgement) == ["anne@example.org"]


@pytest.mark.parametrize(
    "judgement",
    [
        Judgement(Scan.DONE, 15.0, 15.0, (), True),
        Judgement(spam=True, corrected=True),
        Judgement(authentication=Authentication(spf="fail")),
    ],
)
def test_a_forged_sender_is_spared(judgement: Judgement) -> None:
    """Spam, and what SPF says is forged: whoever it names has most likely not sent it."""
    assert told("anne@example.org", judgement) == []


def test_nobody_is_told_for_the_null_sender() -> None:
    """A report on a report would go round for ever (RFC 3464, 2)."""
    assert told("", UNJUDGED) == []
