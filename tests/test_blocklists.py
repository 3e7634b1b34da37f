"""DNS lists of clients: what they say, what it weighs, and that nobody waits for a silent one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from mail6m.guard import blocklists as module
from mail6m.guard.blocklists import PATIENCE, Blocklists, Listing, question, read_entry
from tests.reactor_thread import run, the_reactor
from tests.zone import TTL, Told, Zone

CLIENT = "192.0.2.7"
BAD, GOOD = "7.2.0.192.bad.test", "7.2.0.192.good.test"


class Lists:
    """Blocklists on a clock by hand, and a resolver that was told what it knows."""

    def __init__(self, *entries: str) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.told = Told()
        self.silences: list[tuple[str, str]] = []
        self.lists = Blocklists(
            self.clock,
            self.told,
            [read_entry(entry) for entry in entries],
            lambda zone, why: self.silences.append((zone, why)),
        )

    def tell(self, name: str, *addresses: str) -> None:
        self.told.records[f"{name} A"] = list(addresses)

    def ask(self, client: str = CLIENT) -> list[Listing]:
        """What comes of asking, as soon as something does."""
        answers: list[Listing] = []
        ensureDeferred(self.lists.ask(client)).addCallback(answers.append)
        return answers


# Entries


@pytest.mark.parametrize(
    ("text", "zone", "weight", "yes", "no"),
    [
        ("Zen.Example.test", "zen.example.test", 1, ["127.0.0.2", "127.9.9.9"], []),
        ("bl.test*3", "bl.test", 3, ["127.0.0.2"], []),
        ("bl.test*-2", "bl.test", -2, ["127.0.0.2"], []),
        ("bl.test=127.0.0.2", "bl.test", 1, ["127.0.0.2"], ["127.0.0.3", "127.0.1.2"]),
        (
            "bl.test=127.0.0.[2;4..6]*3",
            "bl.test",
            3,
            ["127.0.0.2", "127.0.0.4", "127.0.0.6"],
            ["127.0.0.3", "127.0.0.7"],
        ),
        (" wl.test=127.0.[0..255].[1..3]*-4 ", "wl.test", -4, ["127.0.9.3"], ["127.0.9.4"]),
    ],
)
def test_entries(text: str, zone: str, weight: int, yes: list[str], no: list[str]) -> None:
    """Zone, answers that count and weight, as Postfix writes them."""
    entry = read_entry(text)
    assert (entry.zone, entry.weight) == (zone, weight)
    assert all(map(entry.matches, yes))
    assert not any(map(entry.matches, no))


@pytest.mark.parametrize(
    "text",
    [
        *("", "*3", "=127.0.0.2", "bl.test*", "bl.test*x", "bl.test=", "bl.test=127.0.0"),
        *("bl.test=127.0.0.256", "bl.test=127.0.0.[5..2]", "bl.test=127.0.0.[]", "bl..test"),
        *("bl.test.", "-bl.test", "b l.test", "bl.test=127.0.0.2=3", "bl.test*3*4", "bl.test*1.5"),
        "bl.test=::1",
    ],
)
def test_no_entries(text: str) -> None:
    """A slip of the pen stops the start, rather than a client."""
    with pytest.raises(ValueError, match=r"needed|octet"):
        read_entry(text)


@given(st.text(max_size=60))
def test_any_entry(text: str) -> None:
    """Whatever is written, it is an entry or a ValueError."""
    try:
        entry = read_entry(text)
    except ValueError:
        return
    assert entry.zone.isascii()
    assert entry.zone == entry.zone.lower()


def test_names_to_ask_for() -> None:
    """RFC 5782's own examples: octets backwards, or nibbles."""
    assert question("192.0.2.99", "bad.test") == "99.2.0.192.bad.test"
    nibbles = "2.3.3.2.0.0.1.0" + ".0" * 16 + ".8.b.d.0.1.0.0.2"
    assert question("2001:db8::100:2332", "ugly.test") == f"{nibbles}.ugly.test"


# What they say


def test_weights_are_summed() -> None:
    """Each entry counts once, whatever the number of answers; good lists count against bad ones."""
    at = Lists("bad.test=127.0.0.2*3", "bad.test=127.0.0.9*2", "good.test*-1", "other.test*7")
    at.tell(BAD, "127.0.0.2", "127.0.0.9", "127.0.0.10")
    at.tell(GOOD, "127.0.0.5", "127.0.0.6")
    assert at.ask() == [Listing(4, ("bad.test",))]
    assert sorted(at.told.asked) == [
        ("7.2.0.192.bad.test", "A"),
        ("7.2.0.192.good.test", "A"),
        ("7.2.0.192.other.test", "A"),
    ]


def test_a_client_that_no_list_knows() -> None:
    """It weighs nothing."""
    assert Lists("bad.test").ask() == [Listing(0, ())]


@pytest.mark.parametrize("answer", ["192.0.2.1", "128.0.0.1", "0.0.0.0"])
def test_a_zone_that_answers_everything(answer: str) -> None:
    """A list that was given up, and whose name now leads to advertisements, lists nobody."""
    at = Lists("bad.test*9")
    at.tell(BAD, answer)
    assert at.ask() == [Listing(0, ())]


def test_a_list_that_does_not_serve_us() -> None:
    """127.255.255.254 is no listing, whatever counts; operators hear of it."""
    at = Lists("bad.test=127.[0..255].[0..255].[0..255]*9")
    at.tell(BAD, "127.255.255.254")
    assert at.ask() == [Listing(0, ())]
    assert at.silences == [
        ("bad.test", "it answers 127.255.255.254, which says that it does not serve us")
    ]


# Those that do not answer


def test_a_list_that_fails_counts_nothing() -> None:
    """The others count as ever."""
    at = Lists("bad.test*3", "dead.test*2")
    at.tell(BAD, "127.0.0.2")
    at.told.failing.add("7.2.0.192.dead.test")
    assert at.ask() == [Listing(3, ("bad.test",))]
    assert [zone for zone, _ in at.silences] == ["dead.test"]


def test_a_list_of_good_clients_that_fails_speaks_for_everybody() -> None:
    """Nobody is refused for want of what it might have said; a list of both does not clear all."""
    at = Lists("bad.test*3", "good.test*-2", "good.test=127.0.0.9*5")
    at.tell(BAD, "127.0.0.2")
    assert at.ask() == [Listing(3, ("bad.test",))]
    at.clock.advance(TTL + 1)
    at.told.failing.add(GOOD)
    assert at.ask() == [Listing(1, ("bad.test",))]


@pytest.mark.parametrize("fails", [False, True])
def test_nobody_waits_longer_than_patience(fails: bool) -> None:
    """What has come by then counts; a late answer changes nothing and hurts nobody."""
    at = Lists("bad.test*3", "slow.test*3")
    at.tell(BAD, "127.0.0.2")
    at.tell("7.2.0.192.slow.test", "127.0.0.2")
    at.told.held = []
    at.lists.look(CLIENT)
    at.told.held[0].callback(None)
    at.clock.advance(PATIENCE / 2)
    asked = at.ask()
    assert asked == []
    at.clock.advance(PATIENCE / 2)
    assert asked == [Listing(3, ("bad.test",))]
    assert at.silences == [("slow.test", "no answer in 5 s")]
    if fails:
        at.told.failing.add("7.2.0.192.slow.test")
    at.told.held[1].callback(None)
    assert at.lists.known(CLIENT) == Listing(3, ("bad.test",))
    assert len(at.silences) == 1


def test_a_late_answer_is_not_the_next_questions() -> None:
    """Asked again after the first was given up, a client waits for the second's answers."""
    at = Lists("slow.test*3")
    at.told.held = []
    at.lists.look(CLIENT)
    at.clock.pump([PATIENCE, 61])
    asked = at.ask()
    at.told.held[0].callback(None)
    assert asked == []
    at.tell("7.2.0.192.slow.test", "127.0.0.2")
    at.told.held[1].callback(None)
    assert asked == [Listing(3, ("slow.test",))]


# Memory


def test_answers_are_kept_as_long_as_they_say() -> None:
    """One question for as many sessions, at once and within the TTL; then another."""
    at = Lists("bad.test*3")
    at.tell(BAD, "127.0.0.2")
    at.told.held = []
    asked = [at.ask(), at.ask()]
    at.told.held[0].callback(None)
    assert asked == [[Listing(3, ("bad.test",))]] * 2
    at.told.held = None
    at.clock.advance(TTL - 1)
    at.ask()
    assert len(at.told.asked) == 1
    at.clock.advance(2)
    assert at.lists.known(CLIENT) is None
    at.ask()
    assert len(at.told.asked) == 2


def test_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many clients are remembered, and so many questions are under way, and no more."""
    monkeypatch.setattr(module, "MOST", 10)
    at = Lists("bad.test", "good.test")
    for number in range(100):
        at.lists.look(f"192.0.2.{number}")
    assert len(at.lists._listings) == 10
    at.told.held = []
    for number in range(1_000):
        at.lists.look(f"2001:db8::{number:x}")
    assert len(at.told.held) == module.MOST_QUESTIONS
    assert at.ask("2001:db8:ffff::") == [Listing(0, ())]
    at.clock.advance(PATIENCE)
    assert not at.lists._inquiries


def test_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was asked about anew goes after those that were not."""
    monkeypatch.setattr(module, "MOST", 2)
    at = Lists("bad.test")
    for client in ("192.0.2.1", "192.0.2.2"):
        at.lists.look(client)
        at.clock.advance(TTL / 2 + 1)
    for client in ("192.0.2.1", "192.0.2.3"):
        at.lists.look(client)
    assert at.lists.known("192.0.2.1") is not None
    assert at.lists.known("192.0.2.2") is None


def test_what_is_no_address_is_not_asked_about() -> None:
    """Such as a Unix socket's peer."""
    at = Lists("bad.test")
    assert at.ask("local") == [Listing(0, ())]
    assert not at.told.asked


# With a real resolver and a real zone


@pytest.fixture
def zone() -> Iterator[Zone]:
    """A server with two lists."""
    records = {f"{BAD} A": ["127.0.0.2", "127.0.0.4"], f"{GOOD} A": "127.0.0.1"}
    with Zone(records) as zone:
        yield zone


def test_with_a_real_zone(zone: Zone) -> None:
    """Two lists, of which one knows nobody else; a third that fails counts nothing."""

    async def ask() -> tuple[Listing, Listing]:
        entries = [read_entry(one) for one in ("bad.test=127.0.0.4*5", "good.test*-2", "dead.test")]
        resolver = zone.resolver(the_reactor())
        lists = Blocklists(the_reactor(), resolver, entries, lambda zone, why: None)
        return await lists.ask(CLIENT), await lists.ask("192.0.2.8")

    zone.failing.add("7.2.0.192.dead.test")
    listed, unlisted = run(ask)
    assert listed == Listing(3, ("bad.test",))
    assert unlisted == Listing(0, ())
