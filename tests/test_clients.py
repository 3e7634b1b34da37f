"""Who may talk to us, on a clock by hand: who is counted, refused, paused, logged, left alone."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from prometheus_client import generate_latest
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.python.usage import UsageError

from mail6m.guard.clients import LINES, Clients
from mail6m.guard.known import KnownClients
from mail6m.journal import COMPANY, Journal
from mail6m.model import Reply
from mail6m.options import Options
from mail6m.settings import Settings
from tests.zone import Told

ONE, OTHER, OURS = "192.0.2.7", "198.51.100.7", "127.0.0.1"
BAD = "7.2.0.192.bad.test"


class NoTable:
    """A database that knows nobody."""

    async def note(self, known: Iterable[tuple[str, datetime]]) -> None: ...

    async def latest(self, after: datetime, most: int) -> list[tuple[str, datetime]]:
        return []

    async def forget(self, now: datetime, most: int) -> None: ...


class Site:
    """The guard of a server with these settings."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.told = Told({f"{BAD} A": "127.0.0.2"})
        self.journal = Journal(self.clock)
        self.lines: list[str] = []
        self.journal.log = cast(Any, self)
        known = KnownClients(self.clock, cast(Any, NoTable()), 30 * 86_400, self._now)
        self.clients = Clients(
            self.clock,
            Settings(hostname="mail6m.test", **settings),
            self.told,
            known,
            self.journal,
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=self.clock.seconds())

    def info(self, form: str, *, lines: list[str], **_: Any) -> None:
        """The log."""
        self.lines += lines

    def logged(self) -> list[str]:
        """The lines since the last look."""
        self.clock.advance(COMPANY)
        lines, self.lines = self.lines, []
        return lines

    def metric(self, name: str) -> float:
        """A figure of /metrics."""
        shown = generate_latest(self.journal.registry).decode()
        return next(float(line.split()[-1]) for line in shown.splitlines() if line.startswith(name))

    def turned_away(self, reason: str) -> float:
        return self.metric(f'mail6m_clients_turned_away_total{{reason="{reason}"}}')


def result(work: Coroutine[Any, Any, Reply | None]) -> list[Reply | None]:
    """What comes of it, as soon as something does."""
    results: list[Reply | None] = []
    ensureDeferred(work).addCallback(results.append)
    return results


def code(reply: Reply | None) -> int:
    """Its number; 0 if there is none."""
    return 0 if reply is None else reply.code


# Off


def test_by_default_nobody_is_held_up_and_nothing_asked() -> None:
    """No question to the DNS, no pause, no count, and RCPT is answered at once."""
    site = Site()
    clients = site.clients
    for _ in range(10_000):
        assert clients.meet(ONE) is None
        assert clients.pause(ONE) == 0
        assert clients.message(ONE) is None
        assert clients.recipient(ONE) is None
        assert clients.cleared(ONE)
    clients.behaved(ONE)
    assert not site.told.asked
    assert not site.clock.getDelayedCalls()
    assert clients._stranger.cache_info().currsize == 0  # not even looked at


def test_our_own_are_never_held_up() -> None:
    """Neither by rates, nor by lists, nor by a pause; nor is who comes over a Unix socket."""
    site = Site(
        rate_connections=1,
        rate_messages=1,
        rate_recipients=1,
        dnsbl=("bad.test*9",),
        banner_delay=5.0,
        internal=("127.0.0.0/8", "192.0.2.0/24"),
    )
    clients = site.clients
    for address in (OURS, ONE, f"::ffff:{ONE}", "local"):
        for _ in range(5):
            assert clients.meet(address) is None
            assert clients.pause(address) == 0
            assert clients.message(address) is None
            assert clients.recipient(address) is None
            assert clients.cleared(address)
            assert result(clients.listed(address)) == [None]
    assert not site.told.asked
    assert code(clients.meet(OTHER)) == 0
    assert code(clients.meet(OTHER)) == 421


# Settings


def test_settings_of_the_command_line() -> None:
    """Lists may be given several times, and ours then take the default's place."""
    options = Options()
    words = "--internal 10.0.0.0/8 --internal ::1 --dnsbl bad.test=127.0.0.2*3 --dnsbl good.test*-1"
    options.parseOptions([*words.split(), "--rate-connections", "60", "--hostname", "mail6m.test"])
    settings = options["settings"]
    assert settings.internal == ("10.0.0.0/8", "::1")
    assert settings.dnsbl == ("bad.test=127.0.0.2*3", "good.test*-1")
    assert (settings.rate_connections, settings.rate_messages) == (60, 0)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--internal 10.0.0.1/8", "--internal 10.0.0.1/8: "),
        ("--internal everybody", "--internal everybody: "),
        ("--dnsbl bad.test*much", "--dnsbl bad.test[*]much: ZONE"),
        ("--dnsbl-threshold 0", "--dnsbl-threshold 0: "),
        ("--rate-messages -1", "--rate-messages -1: "),
        ("--rate-messages many", "--rate-messages many: "),
        ("--banner-known-for -1", "--banner-known-for -1"),
    ],
)
def test_settings_that_cannot_be_used(words: str, complaint: str) -> None:
    """They stop the start with a line that names the option."""
    with pytest.raises(UsageError, match=complaint):
        Options().parseOptions([*words.split(), "--hostname", "mail6m.test"])


# Rates


@pytest.mark.parametrize(
    ("setting", "question", "codes"),
    [
        ("rate_connections", Clients.meet, 421),
        ("rate_messages", Clients.message, 450),
        ("rate_recipients", Clients.recipient, 450),
    ],
)
def test_rates(setting: str, question: Any, codes: int) -> None:
    """Beyond its rate a client is told to come later; another is not concerned; later, it may."""
    site = Site(**{setting: 3})
    asked = [code(question(site.clients, ONE)) for _ in range(5)]
    assert asked == [0, 0, 0, codes, codes]
    assert question(site.clients, OTHER) is None
    site.clock.advance(20)
    assert [code(question(site.clients, ONE)) for _ in range(2)] == [0, codes]
    assert site.turned_away(setting.removeprefix("rate_")) == 3


def test_rates_are_apart() -> None:
    """Who connects too often may still finish what was begun."""
    site = Site(rate_connections=1, rate_messages=1, rate_recipients=1)
    assert site.clients.meet(ONE) is None
    assert code(site.clients.meet(ONE)) == 421
    assert site.clients.message(ONE) is None
    assert site.clients.recipient(ONE) is None


# Lists


def test_a_listed_client() -> None:
    """550 that names its address, the list, and whom to write to; counted, and logged."""
    site = Site(dnsbl=("bad.test*3",))
    site.clients.meet(ONE)
    assert not site.clients.cleared(ONE)
    [reply] = result(site.clients.listed(ONE))
    assert reply is not None
    assert (reply.code, reply.status) == (550, "5.7.1")
    for word in (ONE, "bad.test", "<postmaster@mail6m.test>"):
        assert word in reply.text
    assert site.turned_away("listed") == 1
    [line] = site.logged()
    assert line.startswith(f"- turned away client={ONE} for=listed: 550 5.7.1 ")


def test_below_the_threshold() -> None:
    """It brings mail, and is asked about once."""
    site = Site(dnsbl=("bad.test*2", "other.test"))
    site.clients.meet(ONE)
    assert result(site.clients.listed(ONE)) == [None]
    assert site.clients.cleared(ONE)
    site.clients.meet(f"::ffff:{ONE}")
    assert len(site.told.asked) == 2


def test_a_client_waits_at_rcpt_for_the_lists() -> None:
    """They are asked from the connection on; until they have answered, nothing is decided."""
    site = Site(dnsbl=("bad.test*3",))
    site.told.held = []
    site.clients.meet(ONE)
    assert not site.clients.cleared(ONE)
    waiting = result(site.clients.listed(ONE))
    assert waiting == []
    site.told.held[0].callback(None)
    assert [code(reply) for reply in waiting] == [550]


def test_a_client_over_its_rate_is_not_asked_about() -> None:
    """An attack is not passed on to the lists."""
    site = Site(dnsbl=("bad.test*3",), rate_connections=1)
    for number in range(100):
        site.clients.meet(f"2001:db8:1:2::{number:x}")
    assert len(site.told.asked) == 1


# The pause


def test_who_behaves_is_not_paused_again() -> None:
    """A stranger is; once it has brought a message, it is not, nor its /64, for so long."""
    site = Site(banner_delay=5.0)
    clients = site.clients
    six, neighbour = "2001:db8:1:2::1", "2001:db8:1:2::2"
    assert [clients.pause(one) for one in (ONE, six, OTHER)] == [5.0] * 3
    assert site.metric("mail6m_clients_paused_total") == 3
    clients.behaved(ONE)
    clients.behaved(six)
    assert [clients.pause(one) for one in (ONE, six, neighbour, OTHER)] == [0, 0, 0, 5.0]
    site.clock.advance(30 * 86_400)
    assert clients.pause(ONE) == 5.0


# The log


def test_an_attack_does_not_fill_the_log() -> None:
    """A line a minute for a neighbourhood, and so many in all; the figures have everything."""
    site = Site(rate_connections=1)
    for _ in range(1_000):
        site.clients.meet(ONE)
        site.clients.meet("192.0.2.8")
    assert len(site.logged()) == 1
    for number in range(1_000):
        for _ in range(2):
            site.clients.meet(f"2001:db8:{number:x}::1")
    assert len(site.logged()) == LINES - 1
    assert site.turned_away("connections") == 1_998 + 1_000
    site.clock.advance(60)
    for _ in range(2):
        site.clients.meet(ONE)
    assert len(site.logged()) == 1


def test_a_silent_list_is_told_of_once_a_minute() -> None:
    """Operators learn that it does not answer, and from the figures how often."""
    site = Site(dnsbl=("bad.test*3",))
    site.told.failing = {f"{number}.2.0.192.bad.test" for number in range(5)}
    for number in range(5):
        site.clients.meet(f"192.0.2.{number}")
    [line] = site.logged()
    assert line.startswith("- DNS list bad.test does not answer: ")
    assert site.metric('mail6m_dnsbl_failures_total{zone="bad.test"}') == 5


def test_what_the_door_refuses_by_itself_is_counted() -> None:
    """Too many sessions, and who speaks before the banner."""
    site = Site()
    site.clients.turned_away(ONE, "early", Reply(554, "", "You spoke before the banner"))
    assert site.turned_away("early") == 1
    assert site.logged() == [
        f"- turned away client={ONE} for=early: 554 You spoke before the banner"
    ]
