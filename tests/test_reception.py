"""What a client is told, where several have a say in it: the directory, the lists, the rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock

from mail6m.content import Budget, Content
from mail6m.directory import Owner
from mail6m.guard.clients import Clients
from mail6m.intake import Receipt
from mail6m.journal import Journal
from mail6m.model import Client, Domain, Envelope, Recipient, Reply
from mail6m.reception import Reception
from mail6m.settings import Settings
from mail6m.storage.errors import Unavailable
from tests.zone import Told

LISTED, GOOD = "192.0.2.7", "192.0.2.8"
HERE, ELSEWHERE = "marie@mondomaine.fr", "jean@elsewhere.test"
POSTMASTER = "postmaster@mondomaine.fr"


class Friends(set[str]):
    """The clients that have behaved (`KnownClients`)."""

    note = set.add


class House:
    """Everybody whom a reception asks: the directory, the intake, and the names of clients."""

    def __init__(self, place: Path, **settings: Any) -> None:
        self.clock = Clock()
        self.looked_up: list[str] = []
        self.friends = Friends()
        self.away = self.remembers = self.spam = False
        self.told = Told({"7.2.0.192.bad.test A": "127.0.0.2"})
        values = Settings(data=place, hostname="mail6m.test", least_free=0, **settings)
        (place / "spool").mkdir()
        journal, me = Journal(self.clock), cast(Any, self)
        clients = Clients(self.clock, values, self.told, cast(Any, self.friends), journal)
        budget = Budget(1_000_000)
        self.reception = Reception(self.clock, values, me, me, journal, budget, me, clients, me)

    def known(self, domain: str) -> Domain | None:
        """See `mail6m.directory.Directory`."""
        there = Domain("mondomaine.fr", 1, (), verify_recipients=False)
        return there if self.remembers else None

    async def owner(self, address: str) -> Owner | None:
        """See `mail6m.directory.Directory`."""
        if self.away:
            raise Unavailable("away")
        return None if address == ELSEWHERE else Owner(1, "mondomaine.fr", address)

    def look(self, address: str) -> None:
        """See `mail6m.names.ClientNames`."""
        self.looked_up.append(address)

    def accept(self, envelope: Envelope, content: Content) -> Deferred[Receipt]:
        """See `mail6m.intake.Intake`."""
        return succeed(Receipt(uuid4(), self.spam))

    def rcpt(self, to: str, client: str) -> Reply:
        """The answer to RCPT, as the door asks for it."""
        reply = self.reception.at_once(to, client)
        if reply is None:
            replies: list[Reply] = []
            verdict = self.reception.verdict(Recipient(to), Client(client))
            ensureDeferred(verdict).addCallback(replies.append)
            [reply] = replies
        return reply

    def bring(self, client: str) -> Reply:
        """The answer to a message."""
        envelope = Envelope("anne@example.org", (Recipient(HERE),), Client(client))
        replies: list[Reply] = []
        accepted = self.reception.accept(envelope, self.reception.content())
        accepted.addCallback(replies.append)
        [reply] = replies
        return reply


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize(
    ("to", "client", "said"),
    [
        (HERE, GOOD, "250 2.1.5"),
        (HERE, LISTED, "550 5.7.1 192.0.2.7 is listed by bad.test"),
        (POSTMASTER, LISTED, "250 2.1.5"),
        (POSTMASTER.replace("p", "P"), LISTED, "250 2.1.5"),
        ("postmaster", LISTED, "250 2.1.5"),
        ("not-" + POSTMASTER, LISTED, "550 5.7.1 192.0.2.7 is listed"),
    ],
)
def test_recipients(tmp_path: Path, to: str, client: str, said: str, remembers: bool) -> None:
    """Whether the domain is in memory or has to be asked for, a list has its say, but once."""
    house = House(tmp_path, dnsbl=("bad.test*3",))
    house.remembers = remembers
    for _ in range(2):
        assert str(house.rcpt(to, client)).startswith(said)
    assert len(house.told.asked) <= 1


def test_nobody_is_asked_about_where_nothing_can_be_brought(tmp_path: Path) -> None:
    """Relaying is denied, and a database that is away is waited for, listed or not."""
    house = House(tmp_path, dnsbl=("bad.test*3",))
    assert str(house.rcpt(ELSEWHERE, LISTED)).startswith("550 5.7.1 Relaying denied")
    house.away = True
    assert house.rcpt(HERE, LISTED).code == 451
    assert not house.told.asked


def test_rates_come_first(tmp_path: Path) -> None:
    """Who is over its rate costs no question, of the database or of the DNS."""
    house = House(
        tmp_path, rate_connections=1, rate_messages=1, rate_recipients=1, dnsbl=("bad.test*3",)
    )
    reception = house.reception
    assert reception.meet(GOOD) is None
    assert reception.admits(GOOD, 0) is None
    assert house.rcpt(HERE, GOOD).code == 250
    asked = len(house.told.asked)
    house.away = True
    for refusal in (reception.meet(GOOD), reception.admits(GOOD, 0), house.rcpt(HERE, GOOD)):
        assert refusal is not None
        assert refusal.code in (421, 450)
    assert house.looked_up == [GOOD]
    assert len(house.told.asked) == asked


def test_who_brings_spam_has_not_behaved(tmp_path: Path) -> None:
    """It is accepted, as spam is; but the next time it waits for its banner again."""
    house = House(tmp_path, banner_delay=5.0)
    house.spam = True
    assert house.bring(LISTED).code == 250
    house.spam = False
    assert house.bring(GOOD).code == 250
    assert house.friends == {GOOD}
