"""Recipient verification by a turned clock: memory, sharing, bounds, fairness, patience."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from mail6m.delivery.conversation import Answer, Finding, Over
from mail6m.directory import Owner
from mail6m.guard import probes as probing
from mail6m.guard import recipients as module
from mail6m.guard.clients import Clients
from mail6m.guard.guessing import Guessing
from mail6m.guard.probes import Found, Meaning, Probes, Result, meaning, words_of
from mail6m.guard.recipients import Verification
from mail6m.model import HOUSE, Client, Domain, Host, Recipient, Reply, TlsPolicy
from mail6m.reception import Reception
from mail6m.settings import Settings
from mail6m.storage.errors import Unavailable
from mail6m.storage.recipients import Asked, Stored, Told

DOMAIN = Domain("mondomaine.fr", 7, (Host("mail.mondomaine.fr"),))
LISTED = Domain("liste.test", 7, (Host("mail.liste.test"),), listed=1)
REFUSED = Found(Result.REFUSED, "550 5.1.1 Nobody")
HOUR, DAY = 3_600, 86_400
NOT_IN_MEMORY = Stored(listed=False, taken=None, words="", age=0.0)


class Table:
    """The database."""

    def __init__(self) -> None:
        self.stored: dict[str, Stored] = {}
        self.asked: list[str] = []
        self.told: list[Told] = []
        self.away = False

    async def find(self, asked: Sequence[Asked]) -> list[Stored]:
        if self.away:
            raise Unavailable("away")
        self.asked += [one.local_part for one in asked]
        return [self.stored.get(one.local_part, NOT_IN_MEMORY) for one in asked]

    async def keep(self, told: Sequence[Told]) -> None:
        self.told += told

    async def forget(self, most: int) -> None:
        """Nothing."""


class Session:
    """A session that answers when it is told to."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.spent = False

    async def ask(self, domain: str, address: str) -> Found:
        return await self._machine.asked(self, address)

    async def take_back(self) -> None:
        self._machine.reset += 1

    async def leave(self) -> None:
        self._machine.left += 1

    def cut_off(self) -> None:
        self._machine.cut += 1


class Machine:
    """A receiving machine; ``answers`` has what it says at once."""

    def __init__(self) -> None:
        self.answers: dict[str, Found | Exception] = {}
        self.sessions: list[Session] = []
        self.heard: list[str] = []
        self.pending: dict[str, Deferred[Found]] = {}
        self.unreachable: Finding | None = None
        self.silent = False
        self.opened = self.reset = self.left = self.cut = 0

    def open(self, hosts: Sequence[Host], tls: TlsPolicy) -> Deferred[Any]:
        self.opened += 1
        opened: Deferred[Any] = Deferred()
        if self.unreachable is not None:
            opened.errback(Over(self.unreachable))
        elif not self.silent:
            self.sessions.append(Session(self))
            opened.callback(self.sessions[-1])
        return opened

    def asked(self, session: Session, address: str) -> Deferred[Found]:
        self.heard.append(address)
        answered: Deferred[Found] = Deferred()
        said = self.answers.get(address)
        if isinstance(said, Exception):
            session.spent = True
            answered.errback(said)
        elif said is not None:
            answered.callback(said)
        else:
            self.pending[address] = answered
        return answered

    def say(self, address: str, found: Found = REFUSED) -> None:
        """Answer a question that has been heard."""
        self.pending.pop(address).callback(found)


class Log:
    """What operators see."""

    def __init__(self) -> None:
        self.probes: list[str] = []
        self.held_back = 0
        self.refused = self.lines = 0

    def probed(self, domain: str, result: str, words: str) -> None:
        self.probes.append(result)

    def unknown(self, client: str, address: str, reply: Reply, told: bool) -> None:
        self.refused += 1
        self.lines += told

    def slowed(self, client: str, first: bool) -> None:
        self.held_back += not first


class Place:
    """All of it."""

    def __init__(self, allowed: int = 0) -> None:
        self.clock = Clock()
        self.table, self.machine, self.log = Table(), Machine(), Log()
        self.verification = self.another(allowed)

    def another(self, allowed: int = 0) -> Verification:
        """Another process's memory, or this one's after a start."""
        probes = Probes(self.clock, self.machine.open)
        return Verification(self.clock, self.table, probes, self.log, allowed)

    def begin(
        self, address: str, client: str = "192.0.2.1", domain: Domain = DOMAIN
    ) -> list[Reply]:
        """Offer a recipient; the reply will be there when it has been said."""
        replies: list[Reply] = []
        verdict = self.verification.verdict(domain, f"{address}@{domain.name}", client)
        ensureDeferred(verdict).addCallback(replies.append)
        self.clock.advance(0)
        return replies

    def offer(self, address: str, client: str = "192.0.2.1", domain: Domain = DOMAIN) -> int:
        """The code of a reply that is there at once."""
        [reply] = self.begin(address, client, domain)
        return reply.code

    def knows(self, address: str, domain: Domain = DOMAIN) -> bool:
        """Whether nothing needs to be asked."""
        return self.verification.knows(domain, f"{address}@{domain.name}")

    def answers(self, address: str, found: Found = REFUSED) -> None:
        """Have the machine answer at once."""
        self.machine.answers[f"{address}@mondomaine.fr"] = found

    def heard(self) -> list[str]:
        """Whom the machine was asked about."""
        return [address.partition("@")[0] for address in self.machine.heard]


@pytest.fixture
def at() -> Place:
    """Without a limit for unknown recipients."""
    return Place()


TAKEN = Found(Result.TAKEN, "250 Ok")
UNKNOWN = Found(Result.UNKNOWN, "450 4.2.0 Greylisted")


# Replies


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        ("250 2.1.5 Ok", Meaning.TAKEN),
        ("251 Will forward", Meaning.TAKEN),
        ("550 5.1.1 Nobody", Meaning.REFUSED),
        ("550 5.1.10 RecipientNotFound", Meaning.REFUSED),
        ("550 5.1.1", Meaning.REFUSED),
        ("554 5.2.1 Mailbox disabled", Meaning.REFUSED),
        ("550 No such user", Meaning.PERHAPS),
        ("551 Not here", Meaning.PERHAPS),
        ("550 relay not permitted", Meaning.PERHAPS),
        ("550 Bounces are not accepted here", Meaning.PERHAPS),
        ("553 Not allowed", Meaning.PERHAPS),
        ("550 5.1.7 Bad sender", Meaning.PERHAPS),
        ("550 5.1.8 Bad sender's domain", Meaning.PERHAPS),
        ("550 5.2.2 Mailbox full", Meaning.PERHAPS),
        ("550 5.7.1 Denied", Meaning.PERHAPS),
        ("550 5.4.1 Access denied", Meaning.PERHAPS),
        ("554 Denied", Meaning.PERHAPS),
        ("552 Mailbox full", Meaning.PERHAPS),
        ("503 Bad sequence", Meaning.PERHAPS),
        ("450 4.1.1 Greylisted", Meaning.NOTHING),
        ("421 4.3.2 Closing", Meaning.NOTHING),
        ("354 What?", Meaning.NOTHING),
        ("550 5.1.1x is not a status", Meaning.PERHAPS),
        ("554 5.1.1x is not a status", Meaning.PERHAPS),
    ],
)
def test_what_a_reply_means(reply: str, what: Meaning) -> None:
    """Only what is said of the address itself, and for good, refuses it."""
    assert meaning(Answer(int(reply[:3]), [reply[4:]])) is what


def test_words_are_bounded_and_plain() -> None:
    """Whatever a machine says fits into one line of our reply."""
    said = words_of(Answer(550, ["5.1.1 No\r\nsuch\x00\x1b[31m é", "x" * 1_000]))
    assert said.startswith("550 5.1.1 No such")
    assert len(said) <= probing.LONGEST_WORDS
    assert said.isascii()
    assert said.isprintable()


# Memory


def test_taken(at: Place) -> None:
    """Once asked, then known without a question for 31 days; its verdict is written down."""
    at.answers("marie", TAKEN)
    assert not at.knows("marie")
    assert at.offer("marie") == 250
    assert at.knows("marie")
    at.clock.advance(6 * DAY)
    assert at.knows("marie")
    assert at.heard() == ["marie"]
    [told] = at.table.told
    assert (told.domain, told.local_part, told.taken) == (DOMAIN, "marie", True)
    assert told.lasting == 31 * DAY
    at.clock.advance(25 * DAY + 1)
    assert not at.knows("marie")


def test_refused(at: Place) -> None:
    """With the machine's words, for three hours."""
    at.answers("nobody")
    [reply] = at.begin("nobody")
    assert (reply.code, reply.status) == (550, "5.1.1")
    assert "550 5.1.1 Nobody" in reply.text
    at.clock.advance(3 * HOUR - 1)
    assert at.offer("nobody") == 550
    assert at.heard() == ["nobody"]
    at.answers("nobody", TAKEN)
    at.clock.advance(2)
    assert at.offer("nobody") == 250
    assert [told.lasting for told in at.table.told] == [3 * HOUR]


def test_written_together(at: Place) -> None:
    """Verdicts wait for others, and no answer waits for them."""
    for name in ("a", "b", "c"):
        at.answers(name)
        assert at.offer(name) == 550
    assert at.table.told == []
    at.clock.advance(module.WRITE_PAUSE)
    assert [told.local_part for told in at.table.told] == ["a", "b", "c"]


def test_the_database_knows(at: Place) -> None:
    """What another process has found out is not asked again, and read once."""
    at.table.stored["marie"] = Stored(False, taken=True, words="", age=DAY)
    at.table.stored["nobody"] = Stored(False, taken=False, words="550 5.1.1 No", age=HOUR)
    assert at.offer("marie") == 250
    assert at.offer("nobody") == 550
    assert at.knows("marie")
    assert at.offer("nobody") == 550
    assert at.table.asked == ["marie", "nobody"]
    assert at.heard() == []
    at.clock.advance(2 * HOUR + 1)  # three hours since it was asked
    at.table.stored.clear()
    at.answers("nobody", TAKEN)
    assert at.offer("nobody") == 250


def test_read_together(at: Place) -> None:
    """Addresses that are asked about at the same time are looked for by one statement."""
    verdicts = [
        ensureDeferred(at.verification.verdict(DOMAIN, f"{n}@mondomaine.fr", "192.0.2.1"))
        for n in range(3)
    ]
    assert at.table.asked == []
    at.clock.advance(0)
    assert at.table.asked == ["0", "1", "2"]
    assert not any(verdict.called for verdict in verdicts)


def test_the_database_is_away(at: Place) -> None:
    """Nobody knows: taken, without a question to the machine."""
    at.table.away = True
    assert at.offer("marie") == 250
    assert at.heard() == []


def test_renewed(at: Place) -> None:
    """After seven days, when it is used, it is asked again: nobody waits, and it stays taken."""
    at.answers("marie", TAKEN)
    at.offer("marie")
    at.clock.advance(7 * DAY + 1)
    at.machine.answers.clear()
    assert at.knows("marie")
    assert at.knows("marie")
    at.clock.advance(0)
    assert at.heard() == ["marie", "marie"]
    assert at.knows("marie")
    at.machine.say("marie@mondomaine.fr", TAKEN)
    at.clock.advance(30 * DAY)
    assert at.knows("marie")


def test_renewed_and_gone(at: Place) -> None:
    """Somebody who has left is refused when that is found out."""
    at.answers("marie", TAKEN)
    at.offer("marie")
    at.clock.advance(8 * DAY)
    at.answers("marie")
    assert at.knows("marie")
    at.clock.advance(0)
    assert not at.knows("marie")
    assert at.offer("marie") == 550


def test_renewed_in_vain(at: Place) -> None:
    """While the machine does not say, what it said before holds; it is asked again in an hour."""
    at.answers("marie", TAKEN)
    at.offer("marie")
    at.clock.advance(8 * DAY)
    at.answers("marie", UNKNOWN)
    assert at.knows("marie")
    at.clock.advance(HOUR - 1)
    assert at.knows("marie")
    assert len(at.heard()) == 2
    at.clock.advance(2)
    assert at.knows("marie")
    at.clock.advance(0)
    assert len(at.heard()) == 3


def test_memory_is_bounded(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was used least lately is forgotten; the database still knows it."""
    monkeypatch.setattr(module, "MOST", 2)
    for name in ("a", "b", "c"):
        at.answers(name, TAKEN)
        at.offer(name)
        if name == "b":
            assert at.knows("a")
    assert [at.knows(name) for name in ("a", "b", "c")] == [True, False, True]


@pytest.mark.parametrize(
    "changed",
    [
        Domain(DOMAIN.name, 7, (Host("new.mondomaine.fr"),)),
        Domain(DOMAIN.name, 7, DOMAIN.hosts, TlsPolicy.REQUIRED),
        Domain(DOMAIN.name, 8, DOMAIN.hosts),
        Domain(DOMAIN.name, 7, DOMAIN.hosts, listed=3),
    ],
)
def test_another_machine_has_other_recipients(at: Place, changed: Domain) -> None:
    """What was found out of a domain that has changed does not hold; of the same one it does."""
    at.answers("marie", TAKEN)
    at.offer("marie")
    assert at.knows("marie", Domain(DOMAIN.name, 7, DOMAIN.hosts))
    assert not at.knows("marie", changed)


# Fixed lists


def test_on_a_list(at: Place) -> None:
    """By its list, and without a question to the machine."""
    at.table.stored["marie"] = Stored(True, taken=False, words="550 No", age=0.0)
    assert at.offer("marie", domain=LISTED) == 250
    assert at.knows("marie", LISTED)
    [reply] = at.begin("nobody", domain=LISTED)
    assert (reply.code, reply.status) == (550, "5.1.1")
    assert at.machine.opened == 0


@pytest.mark.parametrize(
    ("local_part", "name", "base"),
    [("Marie", "marie", "marie"), ("Marie+Foires", "marie+foires", "marie"), ("+x", "+x", "+x")],
)
def test_what_a_list_is_asked_for(local_part: str, name: str, base: str) -> None:
    """Without regard to case, and for what stands before a detail (RFC 5233)."""
    asked = module._asked(LISTED, f"{local_part}@liste.test")
    assert (asked.local_part, asked.name, asked.base) == (local_part, name, base)


# Sharing and patience


def test_one_question_for_many(at: Place) -> None:
    """Who asks about the same address shares the answer."""
    replies = [at.begin("nobody", f"192.0.2.{n}") for n in range(100)]
    assert at.heard() == ["nobody"]
    at.machine.say("nobody@mondomaine.fr")
    assert {reply.code for [reply] in replies} == {550}
    assert at.table.asked == ["nobody"]


def test_five_seconds(at: Place) -> None:
    """A client waits no longer; what comes late is known the next time."""
    replies = at.begin("nobody")
    at.clock.advance(4.9)
    assert replies == []
    at.clock.advance(0.2)
    assert [reply.code for reply in replies] == [250]
    at.machine.say("nobody@mondomaine.fr")
    assert at.offer("nobody") == 550
    assert at.heard() == ["nobody"]


def test_nothing_known(at: Place) -> None:
    """Taken; it is not asked again for a minute."""
    at.answers("marie", UNKNOWN)
    assert at.offer("marie") == 250
    assert at.knows("marie")
    at.clock.advance(module.UNKNOWN_LASTS + 1)
    assert not at.knows("marie")
    assert [told.lasting for told in at.table.told] == [0]


@pytest.mark.parametrize("finding", [Finding.CLOSED, Finding.NO_TLS, Finding.UNWELCOME])
def test_unreachable(at: Place, finding: Finding) -> None:
    """Everybody is taken, and the machine is left alone for a minute; then it is tried again."""
    at.machine.unreachable = finding
    assert {at.offer(f"someone{n}") for n in range(10)} == {250}
    assert at.machine.opened == 1
    at.clock.advance(probing.REST + 1)
    at.machine.unreachable = None
    at.answers("nobody")
    assert at.offer("nobody") == 550
    assert at.log.probes == ["unreachable", "refused"]


def test_a_silent_machine(at: Place) -> None:
    """It is given up after a while, and those who wait in line with it."""
    at.machine.silent = True
    replies = [at.begin(f"someone{n}", f"192.0.2.{n}") for n in range(6)]
    at.clock.advance(probing.PATIENCE)
    assert {reply.code for [reply] in replies} == {250}
    assert at.offer("another") == 250
    assert at.machine.opened == probing.SESSIONS


def test_silent_at_the_question(at: Place) -> None:
    """The connection is cut, and the machine left alone."""
    replies = at.begin("nobody")
    at.clock.advance(probing.PATIENCE)
    assert replies[0].code == 250
    assert at.machine.cut == 1
    assert at.offer("another") == 250
    assert at.machine.opened == 1


def test_a_kept_session_that_was_lost(at: Place) -> None:
    """The question is asked again over a new one."""
    at.answers("a")
    at.offer("a")
    at.machine.answers["b@mondomaine.fr"] = Over(Finding.LOST)
    at.begin("b")
    assert (at.machine.opened, at.heard()) == (2, ["a", "b", "b"])


def test_a_session_is_kept_for_a_while(at: Place) -> None:
    """For further questions; then it is left in good order."""
    for name in ("a", "b", "c"):
        at.answers(name)
        at.offer(name)
    assert (at.machine.opened, at.machine.reset, at.machine.left) == (1, 3, 0)
    at.clock.advance(probing.KEPT)
    assert at.machine.left == 1
    at.answers("d")
    at.offer("d")
    assert at.machine.opened == 2


def test_a_spent_session_is_left(at: Place) -> None:
    """One in which too much was refused is not used any longer."""
    at.answers("a")
    at.answers("b")
    at.begin("pending")
    at.machine.sessions[0].spent = True
    at.machine.say("pending@mondomaine.fr")
    assert at.machine.left == 1
    at.offer("a")
    assert at.machine.opened == 2


def test_nothing_is_kept_of_a_destination(at: Place) -> None:
    """When all has been said, and its session has ended."""
    at.answers("a")
    at.offer("a")
    at.clock.advance(probing.KEPT)
    assert at.verification._probes._destinations == {}
    assert at.verification._questions == {}


# Bounds and fairness


def test_sessions_are_bounded(at: Place) -> None:
    """So many at once with a destination, of which a client has some only."""
    for n in range(10):
        at.begin(f"guess{n}", "198.51.100.66")
    assert len(at.heard()) == probing.SESSIONS_OF_A_NETWORK
    for n in range(10):
        at.begin(f"other{n}", f"192.0.2.{n}")
    assert at.heard() == ["guess0", "guess1", "other0", "other1"]
    at.machine.say("guess0@mondomaine.fr")
    at.machine.say("other0@mondomaine.fr")
    at.machine.say("other1@mondomaine.fr")
    assert at.machine.opened == probing.SESSIONS


def test_each_in_turn(at: Place) -> None:
    """One who asks much does not come before one who asks little."""
    for n in range(20):
        at.begin(f"guess{n}", "2001:db8:0:1::1")
    at.begin("marie", "192.0.2.1")
    at.begin("jean", "192.0.2.2")
    at.begin("paul", "192.0.2.3")
    assert at.heard() == ["guess0", "guess1", "marie", "jean"]
    at.machine.say("guess0@mondomaine.fr")
    at.machine.say("guess1@mondomaine.fr")
    assert set(at.heard()[4:]) == {"guess2", "paul"}


def test_who_joins_need_not_wait_in_anothers_line(at: Place) -> None:
    """An address that a guesser asks about, too, comes by the shorter line."""
    for n in range(20):
        at.begin(f"guess{n}", "198.51.100.66")
    replies = at.begin("guess19", "192.0.2.1")
    assert at.heard() == ["guess0", "guess1", "guess19"]
    at.machine.say("guess19@mondomaine.fr")
    assert [reply.code for reply in replies] == [550]


def test_a_line_is_bounded(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks faster than it is answered is put off; others are not."""
    monkeypatch.setattr(probing, "MOST_OF_A_NETWORK", 3)
    for n in range(5):
        at.begin(f"guess{n}", "198.51.100.66")
    assert at.offer("guess5", "198.51.100.66") == 450
    assert at.begin("marie", "192.0.2.1") == []


def test_all_lines_are_bounded(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many wait already, recipients are taken."""
    monkeypatch.setattr(probing, "MOST_WAITING", 3)
    for n in range(3):
        assert at.begin(f"someone{n}", f"192.0.2.{n}") == []
    assert at.offer("marie", "192.0.2.99") == 250
    assert "marie" not in at.heard()


# Guessing


def test_who_guesses_is_slowed() -> None:
    """No more questions, and longer for each; those who are known are taken as before."""
    at = Place(allowed=3)
    at.answers("marie", TAKEN)
    assert at.offer("marie", "198.51.100.66") == 250
    for name in ("a", "b", "c"):
        at.answers(name)
        assert at.offer(name, "198.51.100.66") == 550
    delays = []
    for n in range(30):
        replies = at.begin(f"guess{n}", "198.51.100.66")
        start = at.clock.seconds()
        while not replies:
            at.clock.advance(0.05)
        assert (replies[0].code, replies[0].status) == (450, "4.7.1")
        delays.append(at.clock.seconds() - start)
        if at.clock.seconds() > 30:
            break
    assert delays == sorted(delays)
    assert delays[-1] <= 5.1
    assert not any(name.startswith("guess") for name in at.heard())
    assert at.knows("marie")
    for _ in range(100):
        assert at.offer("a", "198.51.100.66") == 550
    assert at.log.held_back == len(delays)
    assert at.log.refused == 103
    assert at.log.lines < 10
    at.answers("jean", TAKEN)
    assert at.offer("jean", "192.0.2.1") == 250


def test_our_own_machines_are_not_slowed() -> None:
    """They pass on what others say."""
    at = Place()
    probes = Probes(at.clock, at.machine.open)
    at.verification = Verification(
        at.clock, at.table, probes, at.log, 2, ("192.0.2.0/24", "2001:db8::/32")
    )
    for n in range(10):
        at.answers(f"guess{n}")
        assert at.offer(f"guess{n}", "192.0.2.9") == 550
    assert at.log.held_back == 0


def test_late_refusals_count() -> None:
    """Of a machine so slow that every guess is taken, too."""
    at = Place(allowed=2)
    for name in ("a", "b"):
        at.begin(name, "198.51.100.66")
    at.clock.advance(5.1)
    for name in ("a", "b"):
        at.machine.say(f"{name}@mondomaine.fr")
    assert at.begin("c", "198.51.100.66") == []
    at.clock.advance(5.1)
    assert at.heard() == ["a", "b"]


def test_guesses_are_forgotten_one_by_one() -> None:
    """So many in ten minutes, evenly."""
    clock = Clock()
    guessing = Guessing(clock, 30)
    firsts = [guessing.note("a") for _ in range(100)]
    assert firsts.index(True) == 29
    assert firsts.count(True) == 1
    assert guessing.delay("a") > 0
    assert guessing.delay("b") == 0
    clock.advance(20.1)
    assert guessing.delay("a") == 0
    guessing.note("a")
    assert guessing.delay("a") > 0
    clock.advance(600)
    assert [guessing.note("a") for _ in range(29)] == [False] * 29


def test_no_limit() -> None:
    """0 is none."""
    guessing = Guessing(Clock(), 0)
    assert not any(guessing.note("a") for _ in range(1_000))
    assert guessing.delay("a") == 0


def test_guessers_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, whoever comes."""
    monkeypatch.setattr("mail6m.guard.guessing.MOST", 10)
    guessing = Guessing(Clock(), 5)
    for n in range(100):
        guessing.note(str(n))
    assert len(guessing._records) == 10


# The door


class Domains:
    """The directory, which knows some domains."""

    def __init__(self, *domains: Domain) -> None:
        self.domains = {domain.name: domain for domain in domains}

    def known(self, name: str) -> Domain | None:
        return self.domains.get(name)

    async def owner(self, address: str) -> Owner | None:
        if address == "postmaster":
            return Owner(HOUSE, DOMAIN.name, f"jean@{DOMAIN.name}")
        found = self.known(address.partition("@")[2])
        return Owner(found.customer, found.name, address) if found else None


@pytest.mark.parametrize(
    ("domain", "address", "known", "code"),
    [
        (DOMAIN, "nobody@mondomaine.fr", False, 550),
        (replace(DOMAIN, verify_recipients=False), "nobody@mondomaine.fr", True, 250),
        (replace(DOMAIN, verify_recipients=False, listed=1), "nobody@mondomaine.fr", True, 250),
        (replace(DOMAIN, verify_recipients=False, closed=True), "a@mondomaine.fr", False, 250),
        (DOMAIN, "nobody@example.org", False, 550),
        (DOMAIN, "postmaster", False, 250),
        (DOMAIN, "PostMaster@mondomaine.fr", False, 250),
        (LISTED, "postmaster@liste.test", False, 250),
        (LISTED, "nobody@liste.test", False, 550),
    ],
)
def test_who_is_asked_about(
    at: Place, tmp_path: Path, domain: Domain, address: str, known: bool, code: int
) -> None:
    """Recipients at domains that want it; and nothing is known for sure of a closed domain."""
    at.answers("nobody")
    settings = Settings(data=tmp_path)
    clients = Clients(at.clock, settings, None, None, None)
    reception = Reception(
        at.clock, settings, Domains(domain), None, None, None, None, clients, at.verification
    )  # fmt: skip
    assert (reception.at_once(address, "192.0.2.1") is not None) is known
    replies: list[Reply] = []
    verdict = reception.verdict(Recipient(address), Client("192.0.2.1"))
    ensureDeferred(verdict).addCallback(replies.append)
    at.clock.advance(0)
    assert [reply.code for reply in replies] == [code]
