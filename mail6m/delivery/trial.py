"""A session with a receiving machine that brings it nothing, to see what relaying would meet.

It goes as far as RCPT, and then leaves: DATA is never said. Nothing at all is said before the host
has greeted as an SMTP server does, and nothing is shown but SMTP replies, so that a trial tells no
more about a machine than relaying to it would.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IHandshakeListener, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from mail6m.model import Host, TlsPolicy
from mail6m.smtp import tls_description
from mail6m.tls import Encrypted

PATIENCE = 10.0
"""Seconds that a trial may take, of all the hosts of a domain together."""
CONNECT_PATIENCE = 5.0
"""Seconds for a connection to one address."""
MOST_LINES = 100
"""Lines of a host that are listened to."""
LONGEST_LINE = 2_000
_SHOWN = 300
"""Characters of a line that are shown."""

_REPLY = re.compile(rb"([2-5][0-9]{2})([ -]|$)(.*)", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Finding(enum.Enum):
    """What a trial came to."""

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


@dataclass(slots=True)
class Attempt:
    """The trial of one host."""

    host: Host
    finding: Finding = Finding.UNREACHABLE
    lines: list[Line] = field(default_factory=list)
    tls: str = ""
    """Version and cipher; empty in clear."""


class Busy(Exception):
    """The customer's last trial has not ended."""


class Trial:
    """Tries receiving machines."""

    def __init__(self, reactor: IReactorTime, hostname: str, ours: Sequence[str]) -> None:
        self._reactor = reactor
        self._hostname = hostname
        self._ours = {name.lower() for name in ours}
        self._under_way: set[int] = set()

    async def of(
        self, customer: int, domain: str, hosts: Sequence[Host], tls: TlsPolicy
    ) -> list[Attempt]:
        """Try all hosts of a customer's domain at once. Raises `Busy`."""
        if customer in self._under_way:
            raise Busy
        self._under_way.add(customer)
        try:
            attempts = [Attempt(host) for host in hosts]
            await gatherResults(
                [
                    ensureDeferred(self._try(attempt, domain, tls)).addTimeout(
                        PATIENCE, self._reactor
                    )
                    for attempt in attempts
                ]
            )
        finally:
            self._under_way.discard(customer)
        return attempts

    async def _try(self, attempt: Attempt, domain: str, tls: TlsPolicy) -> None:
        with suppress(CancelledError):  # the time is up, and the attempt has what was found
            await self._reach(attempt, domain, tls)
            if attempt.finding is Finding.TLS_FAILED and tls is TlsPolicy.OPPORTUNISTIC:
                # As a courier does it: encryption where it can be, mail in any case (RFC 7435).
                attempt.lines.append(Line(Side.AGAIN, ""))
                await self._reach(attempt, domain, TlsPolicy.NONE)

    async def _reach(self, attempt: Attempt, domain: str, tls: TlsPolicy) -> None:
        host, session = attempt.host, _Session(attempt.lines)
        endpoint = HostnameEndpoint(self._reactor, host.name, host.port, timeout=CONNECT_PATIENCE)
        attempt.finding = Finding.UNREACHABLE
        try:
            await endpoint.connect(_Quiet.forProtocol(lambda: session))
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - Twisted's, of many kinds
            attempt.finding = _unreached(error)
            return
        attempt.finding = Finding.SILENT
        try:
            attempt.finding = await self._converse(session, host, domain, tls)
            await session.leave()
        except _Over as over:
            attempt.finding = over.finding
        finally:
            attempt.tls = session.tls
            session.cut_off()

    async def _converse(
        self, session: _Session, host: Host, domain: str, tls: TlsPolicy
    ) -> Finding:
        greeting = await session.reply()
        if greeting.code != 220:
            return Finding.UNWELCOME
        if greeting.first_word.lower() in self._ours:
            return Finding.OURSELVES
        extensions = await self._hello(session)
        if tls is not TlsPolicy.NONE:
            secured = "STARTTLS" in extensions and (await session.say("STARTTLS")).code == 220
            if secured:
                await session.secure(host.name)
                await self._hello(session)
            elif tls is TlsPolicy.REQUIRED:
                return Finding.NO_TLS
        for command in ("MAIL FROM:<>", f"RCPT TO:<postmaster@{domain}>"):
            reply = await session.say(command)
            if reply.code // 100 != 2:
                return Finding.REFUSED if reply.code >= 500 else Finding.LATER
        return Finding.TAKEN

    async def _hello(self, session: _Session) -> set[str]:
        """What the host says that it can do."""
        reply = await session.say(f"EHLO {self._hostname}")
        if reply.code // 100 == 5:
            reply = await session.say(f"HELO {self._hostname}")
        if reply.code // 100 != 2:
            raise _Over(Finding.UNWELCOME)
        return {line.partition(" ")[0].upper() for line in reply.lines[1:]}


class _Quiet(Factory):
    noisy = False


class _Over(Exception):
    """The session has ended before it was done."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.value)
        self.finding = finding


class _Reply(NamedTuple):
    code: int
    lines: list[str]

    @property
    def first_word(self) -> str:
        return self.lines[0].partition(" ")[0]


@implementer(IHandshakeListener)
class _Session(LineOnlyReceiver):
    """One command, one reply; it writes down both."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST_LINE
    transport: Any

    def __init__(self, lines: list[Line]) -> None:
        self._written = lines
        self._heard = 0
        self._reply: list[str] = []
        self._awaited: Deferred[Any] | None = None
        self._handshaking = False
        self._securing = False
        self._because = Finding.LOST
        self._lost = False
        self.tls = ""

    # What it is asked to do

    async def reply(self) -> _Reply:
        """The next reply. Raises `_Over`."""
        return cast(_Reply, await self._next())

    async def say(self, command: str) -> _Reply:
        """The reply to a command. Raises `_Over`."""
        self._written.append(Line(Side.CLIENT, command))
        self.transport.write(f"{command}\r\n".encode())
        return await self.reply()

    async def secure(self, name: str) -> None:
        """Go on encrypted. Raises `_Over`."""
        self._handshaking = self._securing = True
        self.transport.startTLS(Encrypted(name))
        await self._next()

    async def leave(self) -> None:
        """Take back an envelope, and say goodbye; how the host takes that is all the same."""
        begun = any(line.text.startswith("MAIL") for line in self._written)
        with suppress(_Over):
            if begun:
                await self.say("RSET")
            await self.say("QUIT")

    def cut_off(self) -> None:
        """Close the connection, if it still stands."""
        if not self._lost and self.transport is not None:
            self.transport.abortConnection()

    async def _next(self) -> Any:
        if self._lost:
            raise _Over(self._because)
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
        self._written.append(Line(Side.HOST, f"{match[1].decode()}{match[2].decode()}{text}"))
        self._reply.append(text)
        if match[2] != b"-":
            lines, self._reply, self._securing = self._reply, [], False
            self._fire(_Reply(int(match[1]), lines))

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line without end."""
        self._end(Finding.NO_SMTP)

    def handshakeCompleted(self) -> None:
        """It is encrypted now."""
        self._handshaking = False
        self.tls = tls_description(self.transport)
        self._written.append(Line(Side.TLS, self.tls))
        self._fire(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing more comes."""
        self._lost = True
        if self._securing:  # until a reply comes encrypted, what goes wrong is for TLS
            self._because = Finding.TLS_FAILED
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.errback(_Over(self._because))

    def _fire(self, result: Any) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.callback(result)

    def _end(self, because: Finding) -> None:
        self._because = because
        self.transport.abortConnection()


def _unreached(error: Exception) -> Finding:
    if isinstance(error, DNSLookupError):
        return Finding.NO_ADDRESS
    if isinstance(error, ConnectionRefusedError):
        return Finding.CLOSED
    return Finding.UNREACHABLE
