"""The door: time-outs, limits and back-pressure, over transports in memory and a clock by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport, StringTransportWithDisconnection
from twisted.python.failure import Failure

from mail6m.content import Budget, Content
from mail6m.dialogue import client as sending
from mail6m.dialogue.client import ClientDialogue, Transfer
from mail6m.dialogue.server import RECIPIENT_OK
from mail6m.model import Client, Envelope, Recipient, Reply, TlsPolicy
from mail6m.proxied import BehindProxy
from mail6m.settings import Settings
from mail6m.smtp import RELAY_PATIENCE, SmtpClient, SmtpServerFactory
from mail6m.turn import Turn
from tests.turn_by_turn import TurnByTurn

ARCHIVED = Reply(250, "2.0.0", "Archived")
EHLO = b"EHLO client.test\r\n"
ENVELOPE = b"MAIL FROM:<jean@example.org>\r\nRCPT TO:<marie@mondomaine.fr>\r\n"
BEGUN = ENVELOPE + b"DATA\r\n"
MESSAGE = b"Subject: Bonjour\r\n\r\nBonjour Marie\r\n"
SENT = BEGUN + MESSAGE + b".\r\n"
ASKING = b"MAIL FROM:<jean@example.org>\r\nRCPT TO:<marie@unknown.test>\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n"
"""What the PROXY protocol's second version begins with."""
PROXY = b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 25\r\n"
NOOP = b"NOOP " + b"x" * 1_017 + b"\r\n"
"""A kilobyte: 64 of them may stand behind an unanswered question, and no more."""


class FakeAdmission:
    """Knows mondomaine.fr, asks a test about everything else, and notes what is brought."""

    def __init__(self, spool: Path) -> None:
        self.refusal: Reply | None = None
        self.delay = 0.0
        self.unwelcome: dict[str, Reply] = {}
        self.turned_aside: list[tuple[str, str, int]] = []
        self.spool = spool
        self.threshold = 1_000_000
        self.budget = Budget(100_000_000)
        self.messages: list[tuple[Envelope, bytes]] = []
        self.questions: list[Deferred[Reply]] = []

    def meet(self, address: str) -> Reply | None:
        return self.unwelcome.get(address)

    def pause(self, address: str) -> float:
        return self.delay

    def turned_away(self, address: str, reason: str, reply: Reply) -> None:
        self.turned_aside.append((address, reason, reply.code))

    def name_of(self, address: str) -> str:
        return ""

    def admits(self, address: str, size: int) -> Reply | None:
        return self.refusal

    def at_once(self, recipient: str, address: str) -> Reply | None:
        return RECIPIENT_OK if recipient.endswith("@mondomaine.fr") else None

    async def verdict(self, recipient: Recipient, client: Client) -> Reply:
        return await self._ask()

    def content(self) -> Content:
        return Content(self.budget, self.spool, self.threshold)

    def accept(self, envelope: Envelope, content: Content) -> Deferred[Reply]:
        self.messages.append((envelope, b"".join(content.pieces())))
        content.close()
        return ensureDeferred(self._ask())

    async def _ask(self) -> Reply:
        question: Deferred[Reply] = Deferred()
        self.questions.append(question)
        return await question

    def answer(self, reply: Reply = ARCHIVED) -> None:
        """Answer the question that has waited longest."""
        self.questions.pop(0).callback(reply)


class Visit:
    """A client at the door."""

    def __init__(
        self, factory: SmtpServerFactory, transport: StringTransport, address: str, clock: Clock
    ) -> None:
        self.transport = transport
        self._clock = clock
        transport.peerAddr = IPv4Address("TCP", address, 40_000)
        self.protocol = cast(Protocol, factory.buildProtocol(transport.peerAddr))
        transport.protocol = self.protocol  # type: ignore[attr-defined]
        cast(Any, self.protocol).makeConnection(transport)

    def say(self, data: bytes) -> None:
        """Say so much in one turn of the reactor."""
        self.protocol.dataReceived(data)
        self.end_turn()

    def end_turn(self) -> None:
        self._clock.advance(0)

    def heard(self) -> list[str]:
        """The replies since the last look, without their ends of line."""
        self.end_turn()
        replies: list[str] = self.transport.value().decode().splitlines()
        self.transport.clear()
        return replies

    def hears(self, *beginnings: str) -> bool:
        """Whether exactly so many replies have come, and each begins so."""
        heard = self.heard()
        return len(heard) == len(beginnings) and all(map(str.startswith, heard, beginnings))

    @property
    def inside(self) -> bool:
        return bool(self.transport.connected)

    def held_up(self) -> bool:
        return self.transport.producerState == "paused"

    def hang_up(self) -> None:
        self.transport.loseConnection()


class Door:
    """A factory on a clock by hand."""

    def __init__(
        self, spool: Path, *, delay: float = 0.0, tls: bool = False, **settings: Any
    ) -> None:
        self.clock = Clock()
        self.admission = FakeAdmission(spool)
        self.admission.delay = delay
        self.factory = SmtpServerFactory(
            self.clock,
            Turn(self.clock),
            Settings(hostname="mail6m.test", **settings),
            self.admission,
            cast(Any, object()) if tls else None,
        )
        cast(Any, self.factory).doStart()

    def visit(
        self,
        address: str = "192.0.2.1",
        transport: Callable[[], StringTransport] = StringTransportWithDisconnection,
    ) -> Visit:
        """A client that has just connected."""
        return Visit(self.factory, transport(), address, self.clock)

    def proxied(self) -> Visit:
        """A connection that HAProxy has just made."""
        return Visit(
            cast(Any, BehindProxy(self.factory, self.clock)),
            StringTransportWithDisconnection(),
            "192.0.2.100",
            self.clock,
        )

    def guest(self, said: bytes = b"", address: str = "192.0.2.1") -> Visit:
        """A client that has said EHLO, and has been answered."""
        visit = self.visit(address)
        visit.say(EHLO)
        visit.heard()
        if said:
            visit.say(said)
        return visit

    def wait(self, seconds: int) -> None:
        """Let time pass, second by second."""
        self.clock.pump([1.0] * seconds)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """One with the settings' defaults."""
    return Door(tmp_path)


# Time


def test_a_silent_client_is_told_to_go(door: Door) -> None:
    """An idle session ends with a 421 after `idle_timeout`, and every octet begins it anew."""
    visit = door.guest()
    door.wait(299)
    visit.say(b"NOOP\r\n")
    assert visit.hears("250")
    door.wait(300)
    assert visit.hears()
    door.wait(2)  # the watch goes round once a second
    assert visit.hears("421 4.4.2 Timeout")
    assert not visit.inside
    assert not door.factory.sessions


def test_a_command_must_come_to_its_end(door: Door) -> None:
    """A client that drips a command is not idle, but too slow: 421 after `command_timeout`."""
    visit = door.guest()
    for _ in range(30):
        visit.say(b"X")
        door.wait(10)
    assert visit.hears()
    door.wait(2)
    assert visit.hears("421 4.4.2 Timeout: that command took too long")
    assert not visit.inside


def test_commands_that_come_to_their_ends_may_go_on(door: Door) -> None:
    """The time for a command is counted for each of them, not for the session."""
    visit = door.guest()
    for _ in range(50):
        visit.say(b"NO")
        door.wait(5)
        visit.say(b"OP\r\n")
        door.wait(5)
    assert visit.hears(*["250"] * 50)


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(BEGUN, id="data"),
        pytest.param(BEGUN + b"a bare LF\n", id="data that is refused"),
        pytest.param(ENVELOPE + b"BDAT 1000000 LAST\r\n", id="chunk"),
        pytest.param(ENVELOPE + b"BDAT 99999999 LAST\r\n", id="chunk too big"),
        pytest.param(b"BDAT 1000000\r\n", id="chunk that is refused"),
    ],
)
def test_content_that_comes_too_slowly(door: Door, begun: bytes) -> None:
    """Slow-loris: content below `least_rate` over a minute ends the session, kept or not."""
    visit = door.guest(begun)
    visit.heard()
    for _ in range(12):
        visit.say(b"x" * 100)
        door.wait(5)
    assert visit.hears()
    door.wait(2)
    assert visit.hears("421 4.4.2 Timeout: your message comes too slowly")
    assert not visit.inside
    assert door.admission.budget.used == 0


def test_chunks_that_come_too_slowly(door: Door) -> None:
    """Nor does it help to send the drops as whole chunks."""
    visit = door.guest(ENVELOPE)
    visit.heard()
    for _ in range(13):
        visit.say(b"BDAT 1\r\nx")
        door.wait(5)
    assert visit.heard()[-1].startswith("421 4.4.2 Timeout: your message comes too slowly")


def test_content_is_measured_every_minute_anew(door: Door) -> None:
    """A good first minute earns no credit; one octet a second above the rate is enough."""
    visit = door.guest(BEGUN)
    visit.heard()
    for _ in range(120):
        visit.say(b"x" * 501)
        door.wait(1)
    assert visit.hears()
    visit.say(b"x" * 10_000)
    door.wait(62)
    assert visit.hears("421 4.4.2 Timeout: your message comes too slowly")


def test_a_client_that_waits_for_us_is_not_too_slow(door: Door) -> None:
    """While an answer is awaited, the time is ours; then the client's begins anew."""
    visit = door.guest(SENT)
    assert visit.hears("250", "250", "354")
    door.wait(1_000)
    assert visit.hears()
    door.admission.answer()
    assert visit.hears("250 2.0.0 Archived")
    door.wait(299)
    assert visit.inside


def test_a_client_that_does_not_read_its_goodbye(door: Door) -> None:
    """After a time-out the connection is cut ten seconds later if it is still there."""
    visit = door.visit(transport=StringTransport)
    door.wait(302)
    assert visit.transport.disconnecting
    door.wait(10)
    assert not visit.transport.disconnected
    door.wait(1)
    assert visit.transport.disconnected


def test_the_client_closes_first_after_quit(door: Door) -> None:
    """It gets its 221 and closes; the server's end is then as good as gone."""
    visit = door.guest(b"QUIT\r\n")
    assert visit.hears("221")
    assert visit.inside
    visit.hang_up()
    assert not door.factory.sessions


def test_a_client_that_does_not_close_after_quit(door: Door) -> None:
    """The watch closes its connection when it comes round, whatever is still sent on it."""
    visit = door.guest(b"QUIT\r\n")
    visit.say(b"NOOP\r\n")
    assert visit.hears("221")
    door.wait(1)
    assert visit.hears()
    assert not visit.inside
    assert not door.factory.sessions


def test_a_client_that_has_said_quit_does_not_hold_up_a_stop(door: Door) -> None:
    """Its session is over: it is closed at once, and without another word."""
    visit = door.guest(b"QUIT\r\n")
    assert visit.hears("221")
    stopped = door.factory.shut_down()
    assert stopped.called
    assert visit.hears()
    assert not visit.inside


# How many


def test_sessions_in_all(tmp_path: Path) -> None:
    """One too many gets a 421 for a banner; a place that is left is free again."""
    door = Door(tmp_path, sessions=2)
    first, second = door.visit("192.0.2.1"), door.visit("192.0.2.2")
    assert first.hears("220")
    assert second.hears("220")
    third = door.visit("192.0.2.3")
    assert third.hears("421 4.3.2 Too many sessions")
    assert not third.inside
    first.hang_up()
    assert door.visit("192.0.2.3").hears("220")


def test_sessions_of_one_address(tmp_path: Path) -> None:
    """One too many from an address gets a 421; other addresses are not concerned."""
    door = Door(tmp_path, sessions_per_address=2)
    first = door.visit()
    assert door.visit().hears("220")
    assert door.visit().hears("421 4.7.0 Too many sessions from your address")
    assert door.admission.turned_aside == [("192.0.2.1", "sessions", 421)]
    assert door.visit("192.0.2.2").hears("220")
    first.hang_up()
    assert door.visit().hears("220")


def test_sessions_of_one_ipv6_network(tmp_path: Path) -> None:
    """Who has a /64 has 2^64 addresses, and the sessions of one client."""
    door = Door(tmp_path, sessions_per_address=2)
    first = door.visit("2001:db8:1:2::1")
    assert door.visit("2001:db8:1:2::2").hears("220")
    assert door.visit("2001:db8:1:2:ffff::3").hears("421 4.7.0 Too many sessions")
    assert door.visit("2001:db8:1:3::1").hears("220")
    first.hang_up()
    assert door.visit("2001:db8:1:2::4").hears("220")


def test_a_client_that_is_not_welcome(door: Door) -> None:
    """What `Admission.meet` says stands in the banner's place, and the session is over."""
    door.admission.unwelcome["192.0.2.1"] = Reply(421, "4.7.0", "Too many connections")
    visit = door.visit()
    assert visit.hears("421 4.7.0 Too many connections")
    assert not visit.inside
    assert not door.factory.sessions
    assert door.visit("192.0.2.2").hears("220")


def test_an_answer_at_once(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipient may be refused without a question."""
    later = Reply(450, "4.7.1", "Too many recipients")
    monkeypatch.setattr(door.admission, "at_once", lambda recipient, address: later)
    visit = door.guest(BEGUN)
    assert visit.hears("250", "450 4.7.1 Too many recipients", "554")


# Who speaks first


def test_the_banner_is_held_back(tmp_path: Path) -> None:
    """When it is held back, a client that waits for its turn is greeted after that time."""
    door = Door(tmp_path, delay=5.0)
    visit = door.visit()
    door.wait(4)
    assert visit.hears()
    door.wait(1)
    assert visit.hears("220 mail6m.test")


def test_a_client_that_speaks_before_the_banner(tmp_path: Path) -> None:
    """It is turned away with a 554, and nothing that it said is obeyed."""
    door = Door(tmp_path, delay=5.0)
    visit = door.visit()
    visit.say(EHLO + SENT)
    door.wait(5)
    assert visit.hears("554 You spoke before the banner")
    assert not visit.inside
    assert not door.admission.messages
    assert door.admission.turned_aside == [("192.0.2.1", "early", 554)]


def test_a_flood_before_the_banner(tmp_path: Path) -> None:
    """What comes before the banner is not gathered in memory for as long as that takes."""
    door = Door(tmp_path, delay=5.0)
    visit = door.visit(transport=StringTransport)
    visit.say(NOOP * 65)
    assert visit.held_up() or visit.transport.disconnecting


def test_a_client_that_goes_before_the_banner(tmp_path: Path) -> None:
    """Nothing is left to be done for a client that did not wait."""
    door = Door(tmp_path, delay=5.0)
    door.visit().hang_up()
    [watch] = door.clock.getDelayedCalls()  # and no greeting
    assert watch.getTime() == 1.0


class _SocketTransport(StringTransportWithDisconnection):
    """Has a real socket underneath, which a client may have written to already."""

    TLS = True  # what goes out is not our concern here

    def __init__(self, said: bytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.socket, self._client = socket.socketpair()
        self._client.sendall(said)


@pytest.mark.parametrize(
    ("said", "reply"), [(EHLO, "554 You spoke before the banner"), (b"", "220 mail6m.test")]
)
def test_what_was_said_before_we_looked(door: Door, said: bytes, reply: str) -> None:
    """Without a pause, octets that came along with the connection are seen all the same."""
    assert door.visit(transport=lambda: _SocketTransport(said)).hears(reply)


# Behind a proxy


@pytest.mark.parametrize("pieces", [[PROXY], [PROXY[:20], PROXY[20:]]])
def test_a_client_behind_a_proxy(door: Door, pieces: list[bytes]) -> None:
    """The PROXY header is no early talk; the session begins with it, in the client's name."""
    visit = door.proxied()
    assert visit.hears()
    for piece in pieces:
        visit.say(piece)
    assert visit.hears("220")
    visit.say(EHLO + SENT)
    [(envelope, _)] = door.admission.messages
    assert envelope.client.address == "203.0.113.9"
    visit.hang_up()
    assert not door.factory.sessions


def test_limits_behind_a_proxy(tmp_path: Path) -> None:
    """The limit for an address is the client's, not the proxy's."""
    door = Door(tmp_path, sessions_per_address=1)
    first, second = door.proxied(), door.proxied()
    first.say(PROXY)
    second.say(PROXY.replace(b"203.0.113.9", b"203.0.113.10"))
    assert second.hears("220")
    again = door.proxied()
    again.say(PROXY)
    assert again.hears("421 4.7.0")


def test_no_proxy_where_one_should_be(door: Door) -> None:
    """Who does not begin with the header is cut off, and has never been a session."""
    visit = door.proxied()
    visit.say(EHLO)
    assert not visit.inside
    assert visit.hears()
    assert not door.factory.sessions


@pytest.mark.parametrize("said", [b"", PROXY[:20]])
def test_a_proxy_that_does_not_say_whose_it_is(door: Door, said: bytes) -> None:
    """Without its whole header a connection is cut off in time; with it, that time is over."""
    silent, good = door.proxied(), door.proxied()
    if said:
        silent.say(said)
    good.say(PROXY)
    door.wait(9)
    assert silent.inside
    door.wait(2)
    assert (silent.inside, good.inside) == (False, True)


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 40000 25\r\n", "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n", "192.0.2.100"),
        (V2 + b"\x21\x11\x00\x0c\xcb\x00\x71\x09\xc0\x00\x02\x01\x9c\x40\x00\x19", "203.0.113.9"),
        (V2 + b"\x20\x00\x00\x00", "192.0.2.100"),
    ],
    ids=["version 1, IPv6", "version 1, unknown", "version 2, IPv4", "version 2, local"],
)
def test_headers_of_both_versions(door: Door, header: bytes, address: str) -> None:
    """The client is the one in the header; without one (a health check) it is the proxy itself."""
    visit = door.proxied()
    visit.say(header)
    visit.say(EHLO + SENT)
    [(envelope, _)] = door.admission.messages
    assert envelope.client.address == address


# The TLS handshake


class _TlsServerTransport(StringTransportWithDisconnection):
    """Is asked for TLS, and leaves the handshake to the test."""

    handshaking = False

    def startTLS(self, context: object) -> None:
        self.handshaking = True

    def getHandle(self) -> Any:
        """A session that has been agreed on."""
        return SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)


@pytest.fixture
def handshake(tmp_path: Path) -> tuple[Door, Visit]:
    """A client that has said STARTTLS, been answered 220, and says nothing more."""
    door = Door(tmp_path, tls=True)
    visit = door.visit(transport=_TlsServerTransport)
    visit.say(EHLO)
    visit.say(b"STARTTLS\r\n")
    assert visit.heard()[-1].startswith("220")
    assert cast(_TlsServerTransport, visit.transport).handshaking
    return door, visit


def test_a_handshake_that_does_not_end(handshake: tuple[Door, Visit]) -> None:
    """It is cut after a minute, without a word in clear."""
    door, visit = handshake
    door.wait(60)
    assert visit.inside
    door.wait(2)
    assert not visit.inside
    assert visit.heard() == []


def test_a_handshake_in_time(handshake: tuple[Door, Visit]) -> None:
    """Then the session has its own patience again."""
    door, visit = handshake
    door.wait(59)
    cast(Any, visit.protocol).handshakeCompleted()
    door.wait(200)
    visit.say(EHLO)
    assert visit.heard()[-1].startswith("250")
    assert visit.inside


def test_closing_down_during_a_handshake(handshake: tuple[Door, Visit]) -> None:
    """Nothing can be said, and nobody is waited for."""
    door, visit = handshake
    assert door.factory.shut_down().called
    assert not visit.inside
    assert visit.heard() == []


# Back-pressure


@pytest.mark.parametrize("question", [ASKING, SENT], ids=["recipient", "commit"])
def test_back_pressure(door: Door, question: bytes) -> None:
    """A client that goes on talking while an answer is awaited is not read from beyond 64 KB."""
    visit = door.guest(question)
    visit.say(NOOP * 64)
    assert not visit.held_up()
    visit.say(NOOP)
    assert visit.held_up()
    visit.heard()
    door.admission.answer()
    assert visit.hears("250 2.0.0 Archived", *["250 2.0.0 OK"] * 65)
    assert not visit.held_up()


def test_back_pressure_through_several_questions(door: Door) -> None:
    """The client stays held up from one question to the next, as long as too much is pending."""
    visit = door.guest(ASKING)
    visit.say(b"RCPT TO:<jean@unknown.test>\r\n" + NOOP * 65)
    assert visit.held_up()
    door.admission.answer()
    visit.end_turn()
    assert visit.held_up()
    door.admission.answer()
    visit.end_turn()
    assert not visit.held_up()


# What cannot be kept


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([SENT], id="data at once"),
        pytest.param([BEGUN, b"x" * 50 + b"\r\n", MESSAGE, b".\r\n"], id="data in pieces"),
        pytest.param([ENVELOPE, b"BDAT 30 LAST\r\n" + b"x" * 30], id="chunk at once"),
        pytest.param([ENVELOPE, b"BDAT 30 LAST\r\n", b"x" * 10, b"x" * 20], id="chunk in pieces"),
    ],
)
def test_a_spool_that_cannot_be_written(door: Door, sent: list[bytes]) -> None:
    """452 at the end of the message and not before; the next message finds the session in step."""
    spool = door.admission.spool
    door.admission.spool, door.admission.threshold = spool / "is not there", 10
    visit = door.guest()
    for piece in sent:
        visit.say(piece)
    replies = visit.heard()
    assert [reply[:3] for reply in replies[:-1]] in (["250", "250", "354"], ["250", "250"])
    assert replies[-1].startswith("452 4.3.1")
    assert not door.admission.messages
    assert door.admission.budget.used == 0
    door.admission.spool = spool
    visit.say(SENT)
    door.admission.answer()
    assert visit.hears("250", "250", "354", "250 2.0.0 Archived")
    assert [content for _, content in door.admission.messages] == [MESSAGE]


def test_no_room_is_said_at_mail(door: Door) -> None:
    """What `Admission.admits` says is the answer to MAIL, and nothing has begun."""
    door.admission.refusal = Reply(452, "4.3.1", "Not enough room")
    visit = door.guest(ENVELOPE)
    assert visit.hears("452 4.3.1", "503 5.5.1")


@pytest.mark.parametrize("question", [ASKING, SENT], ids=["recipient", "commit"])
def test_a_question_that_fails(door: Door, question: bytes) -> None:
    """An error of ours is never the sender's: 451, and the session goes on."""
    visit = door.guest(question)
    visit.heard()
    door.factory.log = _Deaf()  # type: ignore[assignment]
    door.admission.questions.pop().errback(RuntimeError("a mistake"))
    assert visit.hears("451 4.3.0")
    visit.say(b"NOOP\r\n")
    assert visit.hears("250")


def test_a_mistake_of_ours_ends_the_session(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that nobody knows the state of is cut off; the message in it is not accepted."""

    def mistaken(address: str, size: int) -> Reply | None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(door.admission, "admits", mistaken)
    door.factory.log = _Deaf()  # type: ignore[assignment]
    visit = door.guest(SENT)
    assert visit.hears()
    assert not visit.inside
    assert not door.admission.messages


class _Deaf:
    """A logger for what is expected to be logged."""

    def failure(self, *_: Any) -> None: ...


# Closing down


def test_closing_down(door: Door) -> None:
    """Everybody hears a 421, but not in the place of the answer to a message that is committed."""
    idle, writing = door.guest(), door.guest(BEGUN)
    asking, committing = door.guest(ASKING), door.guest(SENT + b"NOOP\r\n")
    visits = (idle, writing, asking, committing)
    for visit in visits:
        visit.heard()
    done = door.factory.shut_down()
    for visit in (idle, writing):
        assert visit.hears("421 4.3.2 Closing down")
        assert not visit.inside
    for visit in (asking, committing):
        assert visit.hears()
        assert not done.called
        door.admission.answer()
        assert visit.hears("250 2.0.0 Archived", "421 4.3.2 Closing down")
        assert not visit.inside
    assert done.called
    assert door.visit().hears("421 4.3.2 Closing down")


def test_closing_down_with_nobody_there(door: Door) -> None:
    """There is nothing to wait for."""
    assert door.factory.shut_down().called


# Clients that go away


def test_a_client_that_goes_while_its_message_is_committed(door: Door) -> None:
    """The message is kept: the client did not see its 250, and will bring it again at worst."""
    visit = door.guest(SENT)
    visit.heard()
    visit.hang_up()
    assert not door.factory.sessions
    door.admission.answer()
    assert visit.hears()
    assert len(door.admission.messages) == 1


@pytest.mark.parametrize("question", [ASKING, SENT], ids=["recipient", "commit"])
def test_what_a_client_that_went_had_still_sent(door: Door, question: bytes) -> None:
    """What stood behind an unanswered question is forgotten, and takes no memory."""
    visit = door.guest(question + b"RSET\r\n" + BEGUN + MESSAGE)
    before = len(door.admission.messages)
    visit.hang_up()
    door.admission.answer()
    assert len(door.admission.messages) == before
    assert door.admission.budget.used == 0


def test_a_client_that_goes_inside_its_message(door: Door) -> None:
    """Half a message is nothing, and takes no memory."""
    visit = door.guest(BEGUN + MESSAGE)
    assert door.admission.budget.used > 0
    visit.hang_up()
    assert door.admission.budget.used == 0
    assert not door.admission.messages


# The other end: sessions with receiving machines

GREETING = b"220 mx.example.org ESMTP\r\n"
PLAIN = b"250 mx.example.org\r\n"
OFFERS_TLS = b"250-mx.example.org\r\n250 STARTTLS\r\n"
PIPELINING = b"250-mx.example.org\r\n250 PIPELINING\r\n"
GRANTED = b"250 2.0.0 OK\r\n"
GO_ON = b"354 Go on\r\n"


class _TlsTransport(StringTransport):
    """Notes that a handshake was to begin."""

    secured = False

    def startTLS(self, context: object) -> None:
        self.secured = True


class Host:
    """A session with a receiving machine that a test speaks for; it sends ``transfers``."""

    def __init__(self, transfers: int = 1, tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC) -> None:
        self.clock = TurnByTurn()
        self.settings = Settings(hostname="mail6m.test")
        self.transport: StringTransport = cast(Any, _TlsTransport)()
        self.lost: list[Reply] = []
        self.ended: list[Transfer] = []
        self.asked = 0
        self._to_send = transfers
        dialogue = ClientDialogue("mail6m.test", tls)
        self.turn = Turn(self.clock)
        self.session = SmtpClient(dialogue, self, cast(Any, None), self.turn, self.settings)
        cast(Any, self.session).makeConnection(self.transport)

    def say(self, *replies: bytes) -> None:
        """Reply, each time in a turn of its own."""
        for reply in replies:
            self.say_last(reply)
            self.clock.advance(0)

    def say_last(self, reply: bytes) -> None:
        """Reply, in a turn that does not end before `hang_up`."""
        self.session.dataReceived(reply)

    def wait(self, seconds: float) -> None:
        """Let time pass; couriers look after their sessions every second."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.session.check(self.clock.seconds())

    def given_up(self) -> bool:
        """Whether our end has cut the connection."""
        return self.transport.disconnected

    def secured(self) -> bool:
        """Whether our end has begun a handshake."""
        return cast(_TlsTransport, self.transport).secured

    def hang_up(self) -> None:
        self.session.connectionLost(Failure(ConnectionLost("reset by peer")))

    # mail6m.smtp.SessionOwner

    def on_event(self, event: sending.Event) -> None:
        match event:
            case sending.Ready():
                self._send()
            case sending.ContentWanted(transfer):
                self.asked += 1
                self.session.dialogue.content(MESSAGE)
                self.session.dialogue.end_content(transfer)
                self.session.wait()
                self._send()
            case sending.TransferEnded(transfer):
                self.ended.append(transfer)
            case sending.SessionFailed(reply):
                self.session.close(reply)

    def on_lost(self, reply: Reply) -> None:
        self.lost.append(reply)

    def _send(self) -> None:
        if self._to_send and self.session.dialogue.can_send:
            self._to_send -= 1
            recipients = [Recipient("marie@example.org")]
            self.session.dialogue.send(Transfer("jean@example.org", recipients, len(MESSAGE)))
            self.session.wait()


def _quitting() -> Host:
    host = Host(transfers=0)
    host.say(GREETING, PLAIN)
    host.session.dialogue.quit()
    host.session.advance()
    host.session.wait()
    return host


def _at(*replies: bytes, **options: Any) -> Callable[[], Host]:
    def bring_there() -> Host:
        host = Host(**options)
        host.say(*replies)
        return host

    return bring_there


STEPS: dict[str, Callable[[], Host]] = {
    "the banner": _at(),
    "EHLO": _at(GREETING),
    "HELO": _at(GREETING, b"502 5.5.1 What?\r\n"),
    "STARTTLS": _at(GREETING, OFFERS_TLS),
    "MAIL": _at(GREETING, PLAIN),
    "RCPT": _at(GREETING, PLAIN, GRANTED),
    "DATA": _at(GREETING, PLAIN, GRANTED, GRANTED),
    "end of data": _at(GREETING, PLAIN, GRANTED, GRANTED, GO_ON),
    "QUIT": _quitting,
}


@pytest.fixture(params=list(STEPS))
def step(request: pytest.FixtureRequest) -> tuple[str, Host]:
    """Each of the replies that a session waits for, and a session that does."""
    return request.param, STEPS[request.param]()


def test_a_host_that_does_not_reply(step: tuple[str, Host]) -> None:
    """It has `reply_timeout`, and `final_timeout` for the end of data, to the second's watch."""
    name, host = step
    limit = host.settings.final_timeout if name == "end of data" else host.settings.reply_timeout
    host.wait(limit)
    assert not host.given_up()
    host.wait(2)
    assert host.given_up()
    host.hang_up()
    assert host.lost == [Reply(450, "4.4.2", f"Timeout, waiting for {name}")]


def test_a_host_that_hangs_up(step: tuple[str, Host]) -> None:
    """Whatever it was asked, its owner is told once, transiently, and with the place."""
    name, host = step
    host.hang_up()
    [reply] = host.lost
    assert (reply.code, reply.status) == (450, "4.4.2")
    assert reply.text.startswith(f"Connection lost, waiting for {name}")
    host.wait(1_000)
    assert not host.given_up()
    assert len(host.lost) == 1


def test_a_host_that_falls_silent_after_the_end_of_data() -> None:
    """The long time is for the reply to the end of data only, not for the message behind it."""
    host = Host(transfers=2)
    host.say(GREETING, PIPELINING, GRANTED + GRANTED + GO_ON)
    host.wait(host.settings.reply_timeout + 1)
    assert not host.given_up()
    host.say(GRANTED)
    assert len(host.ended) == 1
    host.wait(host.settings.reply_timeout)
    assert not host.given_up()
    host.wait(2)
    assert host.given_up()


def test_an_idle_session_is_not_timed_out() -> None:
    """When nothing is awaited, silence is no fault."""
    host = Host(transfers=0)
    host.say(GREETING, PLAIN)
    host.wait(10_000)
    assert not host.given_up()


def test_a_handshake_that_is_not_answered() -> None:
    """A host that says 220 to STARTTLS and nothing after it is given up in time."""
    host = Host(tls=TlsPolicy.REQUIRED)
    host.say(GREETING, OFFERS_TLS, b"220 Go on\r\n")
    assert host.secured()
    host.wait(host.settings.reply_timeout + 2)
    assert host.given_up()
    host.hang_up()
    [reply] = host.lost
    assert reply.code == 450
    assert "TLS" in reply.text


def test_a_handshake_that_fails() -> None:
    """The reply says that it was TLS, so that what went wrong can be told from silence."""
    host = Host(tls=TlsPolicy.REQUIRED)
    host.say(GREETING, OFFERS_TLS, b"220 Go on\r\n")
    host.hang_up()
    [reply] = host.lost
    assert (reply.code, reply.status) == (450, "4.7.5")


def test_a_host_that_says_421_and_closes() -> None:
    """Its words are what the owner is told, not that the connection was lost."""
    host = Host()
    host.say(GREETING, PLAIN, b"421 4.3.2 Closing down\r\n")
    assert host.transport.disconnecting
    host.hang_up()
    assert host.lost == [Reply(421, "4.3.2", "Closing down")]


def test_last_words_count() -> None:
    """A host that takes the message and closes at once has taken it: sent again, it came twice."""
    host = Host(transfers=2)
    host.say(GREETING, PLAIN, GRANTED, GRANTED, GO_ON)
    host.say_last(GRANTED)
    host.hang_up()
    [transfer] = host.ended
    assert transfer.replies == [Reply(250, "2.0.0", "OK")]
    assert len(host.lost) == 1


@pytest.mark.parametrize("replies", [(GREETING, PLAIN), (GREETING, PLAIN, GRANTED, GRANTED, GO_ON)])
def test_last_wishes_do_not(replies: tuple[bytes, ...]) -> None:
    """A host that asks for a message and closes at once gets nothing more from us."""
    host = Host()
    host.say(*replies[:-1])
    host.say_last(replies[-1])
    host.hang_up()
    assert (host.asked, host.ended) == (0, [])
    assert len(host.lost) == 1
    assert not host.session.dialogue.can_send


def test_a_mistake_of_ours_ends_a_session_with_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was in hand in it is to be tried again, and at once, not when a time-out runs out."""
    host = Host()

    def mistaken(event: sending.Event) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(host, "on_event", mistaken)
    monkeypatch.setattr(SmtpClient, "log", _Deaf())
    host.say(GREETING, PLAIN)
    assert host.given_up()
    host.hang_up()
    assert host.lost == [Reply(451, "4.3.0", "The session failed at our end")]


class _Talking:
    """A client's session, in the midst of it."""

    def advance(self) -> None: ...

    def flush(self) -> None: ...


def test_clients_come_first() -> None:
    """While clients talk, a host's reply waits until they are quiet, but not for long."""
    host = Host()
    host.say(GREETING)
    host.transport.clear()
    host.say_last(PLAIN)
    host.turn.hear(_Talking())
    host.clock.advance(0)
    assert host.transport.value() == b""
    host.turn.hear(_Talking())
    host.clock.advance(RELAY_PATIENCE)
    assert host.transport.value().startswith(b"MAIL FROM:")


def test_a_large_content_waits_for_room() -> None:
    """Content is not piled up before a connection that takes no more; its end ends the waiting."""
    host = Host(transfers=0)
    session = host.session
    session.begin_content()
    assert host.transport.producer is session
    assert _results(session.room()) == [True]
    session.pauseProducing()
    room = _results(session.room())
    assert room == []
    session.resumeProducing()
    assert room == [True]
    session.pauseProducing()
    room = _results(session.room())
    host.hang_up()
    assert room == [False]
    session.end_content()  # of a connection that is gone: nothing to do


def _results(coroutine: Any) -> list[bool]:
    """What a coroutine comes to, as soon as it does."""
    results: list[bool] = []
    ensureDeferred(coroutine).addCallback(results.append)
    return results
