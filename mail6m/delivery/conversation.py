"""A conversation with a receiving machine, line by line, that brings it nothing.

It is had to see what relaying would meet (`mail6m.delivery.trial`), and whom the machine takes mail
for (`mail6m.guard.probes`). DATA is never said. Nothing at all is said before the host has greeted
as an SMTP server does, and nothing is heard but SMTP replies.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from mail6m.delivery.demands import Demands, Unsafe
from mail6m.delivery.route import Route
from mail6m.model import Host, TlsPolicy
from mail6m.smtp import tls_description
from mail6m.trust import Demand, Fault, Handshake, Level

CONNECT_PATIENCE = 5.0
"""Seconds for a connection to one address."""
MOST_LINES = 100
"""Lines of one reply that are listened to."""
LONGEST_LINE = 2_000
_SHOWN = 300
"""Characters of a line that are shown."""

_REPLY = re.compile(rb"([2-5][0-9]{2})([ -]|$)(.*)", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Finding(enum.Enum):
    """What a conversation came to."""

    TAKEN = "the host takes mail for the domain"
    REFUSED = "the host refuses mail for the domain"
    LATER = "the host does not take mail now"
    UNWELCOME = "the host refuses the session"
    NO_ADDRESS = "the name has no address"
    CLOSED = "nobody listens at that port"
    UNREACHABLE = "the host could not be connected to"
    SILENT = "the host took too long"
    LOST = "the host closed the connection"
    NO_SMTP = "what answers does not speak SMTP"
    NO_TLS = "TLS is required, and the host does not have it"
    TLS_FAILED = "the handshake failed"
    UNTRUSTED = "the host's certificate is not what it must be"
    UNSAFE = "what the host's certificate must be cannot be looked up"
    OURSELVES = "the host is ours: mail would go round in circles"


class Side(enum.Enum):
    """Who says a line of a dialogue."""

    CLIENT = "C"
    HOST = "S"
    TLS = "TLS"
    """Nobody: from here on it is encrypted, by what the line names."""
    AGAIN = "again"
    """Nobody: from here on it is another session, without TLS."""


class Line(NamedTuple):
    """A line of a dialogue."""

    side: Side
    text: str


class Over(Exception):
    """The conversation has ended before it was done."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.value)
        self.finding = finding


class Answer(NamedTuple):
    """A reply of the host's: its code, and its lines without it, as plain text."""

    code: int
    lines: list[str]

    @property
    def first_word(self) -> str:
        """Of a greeting: the host's name."""
        return self.lines[0].partition(" ")[0]


class Caller:
    """Begins conversations."""

    def __init__(self, reactor: Any, demands: Demands, hostname: str, ours: Sequence[str]) -> None:
        self._reactor = reactor
        self._demands = demands
        self._hostname = hostname
        self._ours = {name.lower() for name in ours}

    async def begin(self, conversation: Conversation, host: Host, tls: TlsPolicy) -> set[str]:
        """Reach a host, and let it greet us; the extensions that it has. Raises `Over`."""
        try:
            demand = await self._demands.of(Route((host,), tls), host)
        except Unsafe as error:
            raise Over(Finding.UNSAFE) from error
        conversation.demand = demand
        endpoint = HostnameEndpoint(self._reactor, host.name, host.port, timeout=CONNECT_PATIENCE)
        try:
            await endpoint.connect(_Quiet.forProtocol(lambda: conversation))
        except CancelledError:
            raise
        except Exception as error:
            raise Over(_unreached(error)) from error
        greeting = await conversation.reply()
        if greeting.code != 220:
            raise Over(Finding.UNWELCOME)
        if greeting.first_word.lower() in self._ours:
            raise Over(Finding.OURSELVES)
        extensions = await self._hello(conversation)
        if demand.level is Level.CLEAR:
            return extensions
        if "STARTTLS" in extensions and (await conversation.say("STARTTLS")).code == 220:
            await conversation.secure(self._demands.towards(demand))
            return await self._hello(conversation)
        if demand.level is not Level.OFFERED:
            raise Over(Finding.NO_TLS)
        return extensions

    async def _hello(self, conversation: Conversation) -> set[str]:
        """What the host says that it can do."""
        answer = await conversation.say(f"EHLO {self._hostname}")
        if answer.code // 100 == 5:
            answer = await conversation.say(f"HELO {self._hostname}")
        if answer.code // 100 != 2:
            raise Over(Finding.UNWELCOME)
        return {line.partition(" ")[0].upper() for line in answer.lines[1:]}


class _Quiet(Factory):
    noisy = False


@implementer(IHandshakeListener)
class Conversation(LineOnlyReceiver):
    """One command, one reply; it writes down both."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST_LINE
    transport: Any

    def __init__(self, lines: list[Line] | None = None) -> None:
        """``lines`` gets all that is said."""
        self._lines = lines
        self._begun = False
        self._heard = 0
        self._reply: list[str] = []
        self._awaited: Deferred[Any] | None = None
        self._handshaking = False
        self._securing = False
        self._because = Finding.LOST
        self._handshake: Handshake | None = None
        self.demand: Demand | None = None
        """What the session needs, once that is known."""
        self.lost = False
        self.tls = ""
        self.fault: Fault | None = None
        """What is wrong with the host's certificate, if it has shown one."""

    @property
    def may_go_on_in_clear(self) -> bool:
        """TLS has failed, and nobody has asked for it (RFC 7435, 4.1)."""
        offered = self.demand is not None and self.demand.level is Level.OFFERED
        return offered and self._because is Finding.TLS_FAILED

    # What it is asked to do

    async def reply(self) -> Answer:
        """The next reply. Raises `Over`."""
        return cast(Answer, await self._next())

    async def say(self, command: str) -> Answer:
        """The reply to a command. Raises `Over`."""
        self._note(Side.CLIENT, command)
        self._begun = command.startswith("MAIL") or (self._begun and command != "RSET")
        self._heard = 0
        self.transport.write(f"{command}\r\n".encode())
        return await self.reply()

    async def secure(self, handshake: Handshake) -> None:
        """Go on encrypted. Raises `Over`."""
        self._handshaking = self._securing = True
        self._handshake = handshake
        self.transport.startTLS(handshake)
        await self._next()

    async def leave(self) -> None:
        """Take back an envelope, and say goodbye; how the host takes that is all the same."""
        if self.lost or self.transport is None:
            return
        with suppress(Over):
            if self._begun:
                await self.say("RSET")
            await self.say("QUIT")

    def cut_off(self) -> None:
        """Close the connection, if it still stands."""
        if not self.lost and self.transport is not None:
            self.transport.abortConnection()

    async def _next(self) -> Any:
        if self.lost:
            raise Over(self._because)
        self._awaited = Deferred()
        return await self._awaited

    # What it hears

    def lineReceived(self, line: bytes) -> None:
        """A line of the host's: shown if it is one of SMTP, and otherwise the end."""
        self._heard += 1
        match = _REPLY.fullmatch(line.removesuffix(b"\r"))
        # What comes unasked, or in clear while the handshake is under way, is not listened to.
        if match is None or self._awaited is None or self._handshaking or self._heard > MOST_LINES:
            self._end(Finding.NO_SMTP)
            return
        text = _CONTROLS.sub(" ", match[3].decode("utf-8", "replace"))[:_SHOWN].rstrip()
        self._note(Side.HOST, f"{match[1].decode()}{match[2].decode()}{text}")
        self._reply.append(text)
        if match[2] != b"-":
            lines, self._reply, self._securing = self._reply, [], False
            self._fire(Answer(int(match[1]), lines))

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line without end."""
        self._end(Finding.NO_SMTP)

    def handshakeCompleted(self) -> None:
        """It is encrypted now."""
        assert self._handshake is not None
        self._handshaking = False
        verified = self._handshake.judge(self.transport.getHandle())
        self.tls, self.fault = f"{tls_description(self.transport)}, {verified}", verified.fault
        self._note(Side.TLS, self.tls)
        if verified.refused:
            self._securing = False  # the handshake was well
            self._end(Finding.UNTRUSTED)
        else:
            self._fire(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing more comes."""
        self.lost = True
        if self._securing:  # until a reply comes encrypted, what goes wrong is for TLS
            self._because = Finding.TLS_FAILED
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.errback(Over(self._because))

    def _note(self, side: Side, text: str) -> None:
        if self._lines is not None:
            self._lines.append(Line(side, text))

    def _fire(self, result: Any) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.callback(result)

    def _end(self, because: Finding) -> None:
        self._because = because
        self.lost = True
        self.transport.abortConnection()


def _unreached(error: Exception) -> Finding:
    if isinstance(error, DNSLookupError):
        return Finding.NO_ADDRESS
    if isinstance(error, ConnectionRefusedError):
        return Finding.CLOSED
    return Finding.UNREACHABLE
