"""What is found out about a message, by whom, and for whom: without a scanner or a name server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mail6m.content import Budget, Content
from mail6m.guard.antispam import FAILURES, INTERVAL, Antispam
from mail6m.guard.judge import Judge
from mail6m.guard.rules import KEPT, RuleBook
from mail6m.guard.scanner import Report, ScanFailure
from mail6m.model import (
    Authentication,
    Client,
    Envelope,
    Judged,
    Judgement,
    Recipient,
    Scan,
    Signature,
)
from mail6m.settings import Settings
from mail6m.storage.errors import Unavailable
from mail6m.storage.whitelist import Rules

SPAM = Report(True, 15.0, 15.0, ("GTUBE",))
CARGO = Rules(frozenset({"cargo.com"}), confirm=False)
PROVED = Authentication(spf="pass", spf_domain="cargo.com", results="spf=pass")
LIMIT = 8.0


class Scanner:
    """Answers when it is told to."""

    name = "scanner at nowhere"

    def __init__(self) -> None:
        self.asked: list[Deferred[Report]] = []
        self.there = True

    async def answers(self) -> None:
        if not self.there:
            raise ScanFailure("refused")

    async def scan(self, envelope: Envelope, content: Content) -> Report:
        self.asked.append(Deferred())
        return await self.asked[-1]

    async def learn(self, content: AsyncIterator[bytes], spam: bool) -> None:
        """Not here."""


class Sender:
    """Knows who has sent everything."""

    def __init__(self) -> None:
        self.knows = Authentication()
        self.waits: Deferred[None] | None = None

    def applies(self, client: Client) -> bool:
        return not client.address.startswith("127.")

    async def authenticate(self, envelope: Envelope, content: Content) -> Authentication:
        if self.waits is not None:
            await self.waits
        return self.knows


class Lists(dict[int, Rules]):
    """Customers' rules; asked for as in the database."""

    asked = 0
    waits: Deferred[None] | None = None

    async def rules(self, customer: int) -> Rules:
        self.asked += 1
        if customer not in self:
            raise Unavailable("the database is away")
        rules = self[customer]
        if self.waits is not None:
            await self.waits
        return rules


class Scene:
    """A judge, and everybody it asks."""

    def __init__(self, tmp_path: Path, *, scanners: int = 1, **settings: Any) -> None:
        self.clock = Clock()
        self.scanner = Scanner()
        self.sender = Sender()
        self.lists = Lists({1: Rules(), 2: Rules()})
        self.rules = RuleBook(self.clock, self.lists)  # type: ignore[arg-type]
        self.scans: list[Scan] = []
        self.states: list[str] = []
        chosen = Settings(**{"scanner": "rspamd:http://nowhere.test", **settings})
        self.antispam = Antispam(self.clock, chosen, [self.scanner] * scanners, self.scans.append)
        self.judge = Judge(self.antispam, self.sender, self.rules)
        self.content = Content(Budget(1 << 20), tmp_path, 1 << 18)
        self.content.write(b"Subject: facture\r\n\r\n")

    def start(self) -> Scene:
        """Look for the scanner."""
        Deferred.fromCoroutine(self.antispam.start(self.states.append))
        return self

    def judged(
        self, sender: str = "anne@fret.cargo.com", *customers: int, client: str = "192.0.2.7"
    ) -> Any:
        """A message's judging: what has come of it is in a list, as soon as it is known."""
        recipients = (Recipient("marie@mondomaine.test"),)
        envelope = Envelope(sender, recipients, Client(client))
        judging = self.judge.judge(envelope, self.content, customers or (1,))
        if judging is None:
            return None
        came: list[Judged] = []
        judging.addCallback(came.append)
        return came


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """With a scanner that is there."""
    return Scene(tmp_path).start()


def only(came: list[Judged]) -> Judgement:
    """The judgement for customer 1."""
    [judged] = came
    return judged.judgements[1]


def test_a_verdict_is_the_scanners(scene: Scene) -> None:
    """With its score and its symbols, and nothing before it has spoken."""
    came = scene.judged()
    assert not came
    scene.scanner.asked[0].callback(SPAM)
    assert only(came) == Judgement(Scan.DONE, 15.0, 15.0, ("GTUBE",), True)
    assert scene.scans == [Scan.DONE]


def test_nobody_who_looks_costs_nothing(tmp_path: Path) -> None:
    """Without a scanner, mail of our own machines is not judged at all."""
    scene = Scene(tmp_path, scanners=0, scanner="none").start()
    assert scene.judged(client="127.0.0.1") is None
    assert scene.lists.asked == 0


def test_a_white_listed_domain_is_spared(scene: Scene) -> None:
    """And those below it; the scanner is not even asked."""
    scene.lists[1] = CARGO
    for sender in ("anne@cargo.com", "anne@fret.cargo.com", "anne@a.b.cargo.com"):
        assert only(scene.judged(sender)) == Judgement(Scan.SPARED, spam=False)
    assert not scene.scanner.asked


@pytest.mark.parametrize(
    "sender", ["anne@notcargo.com", "anne@cargo.com.example.org", "", "anne@com"]
)
def test_others_are_not(scene: Scene, sender: str) -> None:
    """A name that merely ends like it, one that begins like it, the null sender, a parent."""
    scene.lists[1] = CARGO
    scene.judged(sender)
    assert len(scene.scanner.asked) == 1


def test_each_customer_has_a_list_of_its_own(scene: Scene) -> None:
    """One message for two: scanned once, marked for the one, spared for the other."""
    scene.lists[2] = CARGO
    came = scene.judged("anne@cargo.com", 1, 2)
    scene.scanner.asked[0].callback(SPAM)
    assert only(came).spam is True
    assert came[0].judgements[2] == Judgement(Scan.SPARED, spam=False)
    assert len(scene.scanner.asked) == 1


def test_a_forged_sender_does_not_profit(scene: Scene) -> None:
    """Where proof is asked for and there is none, it is scanned, and Details will say why."""
    scene.lists[1] = Rules(frozenset({"cargo.com"}))
    scene.sender.knows = Authentication(spf="fail", spf_domain="cargo.com")
    came = scene.judged("anne@cargo.com")
    scene.scanner.asked[0].callback(SPAM)
    assert (only(came).spam, only(came).unconfirmed) == (True, "cargo.com")


@pytest.mark.parametrize(
    "proof",
    [
        PROVED,
        Authentication(spf="pass", spf_domain="fret.cargo.com"),
        Authentication(signatures=(Signature("fail", "a.test"), Signature("pass", "cargo.com"))),
    ],
)
def test_proof_lets_it_pass(scene: Scene, proof: Authentication) -> None:
    """SPF or a DKIM signature of the domain, or of one below it."""
    scene.lists[1] = Rules(frozenset({"cargo.com"}))
    scene.sender.knows = proof
    assert only(scene.judged("anne@fret.cargo.com")) == Judgement(
        Scan.SPARED, spam=False, authentication=proof
    )
    assert not scene.scanner.asked


@pytest.mark.parametrize(
    "proof",
    [
        Authentication(spf="pass", spf_domain="other.test"),
        Authentication(spf="softfail", spf_domain="cargo.com"),
        Authentication(signatures=(Signature("fail", "cargo.com"),)),
        Authentication(signatures=(Signature("pass", "notcargo.com"),)),
        Authentication(dmarc="pass", author="cargo.com"),
    ],
)
def test_other_proof_is_none(scene: Scene, proof: Authentication) -> None:
    """Of another domain, or of nothing."""
    scene.lists[1] = Rules(frozenset({"cargo.com"}))
    scene.sender.knows = proof
    scene.judged("anne@cargo.com")
    assert len(scene.scanner.asked) == 1


def test_our_own_machines_need_no_proof(scene: Scene) -> None:
    """They are not looked into."""
    scene.lists[1] = Rules(frozenset({"cargo.com"}))
    assert only(scene.judged("anne@cargo.com", client="127.0.0.1")).scan is Scan.SPARED


def test_scanner_and_name_server_are_asked_together(scene: Scene) -> None:
    """A message that is scanned in any case does not wait for the one and then for the other."""
    scene.sender.waits = Deferred()
    came = scene.judged("anne@example.org")
    assert len(scene.scanner.asked) == 1
    scene.sender.waits.callback(None)
    assert not came
    scene.scanner.asked[0].callback(SPAM)
    assert only(came).spam


FORGED = Authentication(dmarc="fail", dmarc_policy="reject", author="banque.test")


def test_several_authors_are_no_way_round_dmarc(scene: Scene) -> None:
    """None of them is proved, and one wants forgeries refused (RFC 7489, 6.6.1)."""
    scene.lists[1] = Rules(refuse_forged=True)
    scene.sender.knows = FORGED._replace(dmarc="permerror", author="")
    [judged] = scene.judged("anne@banque.test")
    assert judged.refusal is not None


def test_dmarc_refuses_where_all_customers_ask_for_it(scene: Scene) -> None:
    """One that does not ask for it is to have its mail, and then the other has it, too."""
    scene.lists[1] = scene.lists[2] = Rules(refuse_forged=True)
    scene.sender.knows = FORGED
    [judged] = scene.judged("anne@banque.test", 1, 2)
    assert judged.refusal is not None
    assert str(judged.refusal).startswith("550 5.7.1 ")
    scene.lists[2] = Rules()
    scene.rules.forget()
    came = scene.judged("anne@banque.test", 1, 2)
    scene.scanner.asked[-1].callback(SPAM)
    assert came[0].refusal is None
    assert scene.antispam.up  # who gave up asking is no failure of the scanner's


@pytest.mark.parametrize("policy", ["none", "quarantine"])
def test_other_wishes_are_no_refusal(scene: Scene, policy: str) -> None:
    """Nor is a DMARC that passes."""
    scene.lists[1] = Rules(refuse_forged=True)
    scene.sender.knows = FORGED._replace(dmarc_policy=policy)
    came = scene.judged("anne@banque.test")
    scene.scanner.asked[0].callback(SPAM)
    assert came[0].refusal is None


# A scanner that fails


def test_nobody_waits_longer_than_the_limit(scene: Scene) -> None:
    """The message is taken in, and marked."""
    came = scene.judged()
    scene.clock.advance(LIMIT - 0.1)
    assert not came
    scene.clock.advance(0.2)
    assert only(came) == Judgement(Scan.MISSED)


def test_who_waits_for_a_turn_waits_no_longer_either(tmp_path: Path) -> None:
    """The limit holds from the beginning."""
    scene = Scene(tmp_path, scans=1).start()
    first, second = scene.judged(), scene.judged()
    assert len(scene.scanner.asked) == 1
    scene.clock.advance(LIMIT + 0.1)
    assert only(first).scan is only(second).scan is Scan.MISSED


def fail(scene: Scene, times: int) -> None:
    """Have so many messages fail."""
    for _ in range(times):
        scene.judged()
        scene.scanner.asked[-1].errback(ScanFailure("broken"))


def test_a_scanner_that_fails_is_left_alone(scene: Scene) -> None:
    """And whoever waits for it is let go at once; then nobody waits for it."""
    waiting = scene.judged()
    scene.scanner.there = False
    fail(scene, FAILURES)
    assert only(waiting).scan is Scan.MISSED
    asked = len(scene.scanner.asked)
    assert only(scene.judged()).scan is Scan.MISSED
    assert len(scene.scanner.asked) == asked
    assert scene.states[-1].endswith("mail is not scanned: broken")


def test_our_own_mail_does_not_wait_for_one_that_is_gone(scene: Scene) -> None:
    """It is marked at once, by the lists that are in memory, as it would be otherwise."""
    scene.lists[1], scene.lists[2] = Rules(), Rules(frozenset({"cargo.com"}))
    scene.scanner.there = False
    fail(scene, FAILURES)
    for asked in (2, 2):  # the rules of the second customer are asked for once
        came = scene.judged("anne@cargo.com", 1, 2, client="127.0.0.1")
        assert came[0].judgements == {
            1: Judgement(Scan.MISSED),
            2: Judgement(Scan.SPARED, spam=False),
        }
        assert scene.lists.asked == asked
    assert scene.scans[-2:] == [Scan.MISSED] * 2


def test_messages_that_it_fails_at_cost_nobody_else(scene: Scene) -> None:
    """It fails at some in a row, and says that it is there: others under way are scanned."""
    waiting = scene.judged()
    fail(scene, FAILURES)
    assert scene.antispam.up
    assert not waiting
    scene.scanner.asked[0].callback(SPAM)
    assert only(waiting).spam


def test_waiting_for_a_turn_is_no_failure(tmp_path: Path) -> None:
    """One that is slow, and twenty that wait for it."""
    scene = Scene(tmp_path, scans=1).start()
    scene.scanner.there = False
    came = [scene.judged() for _ in range(FAILURES + 5)]
    scene.clock.advance(LIMIT + 0.1)
    assert [only(one).scan for one in came] == [Scan.MISSED] * len(came)
    assert scene.antispam.up


def test_one_failure_is_none(scene: Scene) -> None:
    """Only failures in a row count."""
    for _ in range(3):
        fail(scene, FAILURES - 1)
        scene.judged()
        scene.scanner.asked[-1].callback(SPAM)
    assert scene.antispam.up


def test_a_scanner_that_is_back_is_asked_again(scene: Scene) -> None:
    """Within seconds, and operators are told."""
    scene.scanner.there = False
    fail(scene, FAILURES)
    scene.clock.advance(INTERVAL)
    assert not scene.antispam.up
    scene.scanner.there = True
    scene.clock.advance(INTERVAL)
    assert scene.antispam.up
    assert scene.states[-1] == Scanner.name
    came = scene.judged()
    scene.scanner.asked[-1].callback(SPAM)
    assert only(came).spam


@pytest.mark.parametrize(("scanner", "scan"), [("auto", Scan.NONE), ("spamd:x.test", Scan.MISSED)])
def test_one_that_never_was_there(tmp_path: Path, scanner: str, scan: Scan) -> None:
    """Is missed if it was named; and is no scanner if it was only looked for."""
    scene = Scene(tmp_path, scanner=scanner)
    scene.scanner.there = False
    scene.start()
    came = scene.judged()
    assert only(came).scan is scan
    assert scene.states != []


def test_what_is_too_large_is_not_scanned(tmp_path: Path) -> None:
    """It is marked, and no failure."""
    scene = Scene(tmp_path, scan_largest=10).start()
    assert only(scene.judged()).scan is Scan.TOO_LARGE


def test_a_database_that_is_away_loses_no_message(scene: Scene) -> None:
    """The message is marked, and its commit will say the rest."""
    assert scene.judged("anne@cargo.com", 7)[0].judgements == {7: Judgement(Scan.MISSED)}


def test_rules_are_asked_for_once(scene: Scene) -> None:
    """Until they change, or a minute has passed."""
    for _ in range(3):
        scene.judged()
    assert scene.lists.asked == 1
    scene.clock.advance(KEPT + 1)
    scene.judged()
    scene.rules.forget()
    scene.judged()
    assert scene.lists.asked == 3


def test_rules_that_change_while_they_are_asked_for(scene: Scene) -> None:
    """What comes back may be how it was before: it is not kept."""
    scene.lists.waits = waits = Deferred()
    scene.judged("anne@cargo.com")
    scene.lists[1] = CARGO
    scene.rules.forget()
    scene.lists.waits = None
    waits.callback(None)
    assert only(scene.judged("anne@cargo.com")).scan is Scan.SPARED
