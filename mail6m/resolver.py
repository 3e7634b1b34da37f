"""The DNS: a stub resolver that asks the machine's resolvers, and keeps what they say.

Messages are dnspython's, and Twisted carries them: UDP from a new random port and with a new random
id for each question (RFC 5452), TCP when the answer does not fit (RFC 7766). Whether an answer was
validated by DNSSEC is the resolver's word: the AD bit (RFC 6840, 5.7 and 5.8). It is believed where
nobody on the way can have set it: from a resolver on this machine, or one that the operator named.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
from dns.exception import DNSException
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mail6m.model import Host

RESOLV_CONF = Path("/etc/resolv.conf")
TRIES = (1.0, 1.5, 2.5)
"""Seconds for each try of one question; together what anybody waits for an answer."""
MOST_KEPT = 60_000
"""Answers and records in them that are remembered."""
LARGEST = 8_192
"""Octets of an answer: reading one of 64 KB would keep everybody waiting for 0.3 s."""
MOST_AT_ONCE = 1_000
"""Questions under way; what is asked beyond them fails at once."""
LONGEST_KEPT = 86_400
LONGEST_NOTHING_KEPT = 3_600
"""Seconds that an answer without records is kept at most (RFC 2308, 5)."""
FAILURE_KEPT = 1.0
"""Seconds that nobody asks again what has just failed (RFC 9520, 3.2)."""
PAYLOAD = 1_232
"""Bytes of an answer by UDP that pass any network unfragmented."""
MOST_ALIASES = 8

_ANSWERED = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


class Answer(NamedTuple):
    """What the DNS says of a name."""

    records: tuple[dns.rdata.Rdata, ...]
    """Of the kind that was asked for; CNAMEs have been followed."""
    authentic: bool
    """A resolver that is believed has validated it by DNSSEC."""
    ttl: int
    """Seconds that it may be kept."""
    exists: bool
    """False: there is no such name (NXDOMAIN). True without records: it has none of this kind."""
    canonical: str = ""
    """The name at the end of the CNAMEs; empty where there are none."""
    malformed: bool = False
    """There are TLSA records, too, that nobody can read; with other kinds it is a failure."""


class DnsFailure(Exception):
    """There is no answer now: none in time, SERVFAIL, REFUSED. It may come later."""


class Nameserver(NamedTuple):
    """A resolver to be asked."""

    address: str
    port: int = 53
    believed: bool = False
    """Its AD bit counts."""

    def __str__(self) -> str:
        return str(Host(self.address, self.port))


def nameservers(named: Sequence[Host], conf: Path = RESOLV_CONF) -> list[Nameserver]:
    """Those that the operator named, or else the system's (resolv.conf(5))."""
    if named:
        return [Nameserver(host.name, host.port, True) for host in named]
    found = []
    for words in (line.split() for line in _lines(conf)):
        if len(words) > 1 and words[0] == "nameserver" and _is_address(words[1]):
            address = words[1]
            found.append(Nameserver(address, 53, ipaddress.ip_address(address).is_loopback))
    return found[:3] or [Nameserver("127.0.0.1", 53, True)]


def _lines(file: Path) -> Iterable[str]:
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


class Resolver:
    """Asks, remembers, and lets those who ask the same at once share one question."""

    def __init__(self, reactor: Any, servers: Sequence[Nameserver]) -> None:
        self._reactor = reactor
        self._servers = list(servers)
        self._kept: OrderedDict[tuple[str, str], tuple[Answer | None, float]] = OrderedDict()
        self._kept_in_all = 0
        self._under_way: dict[tuple[str, str], list[Deferred[Answer]]] = {}

    @property
    def believed(self) -> bool:
        """Answers may be authentic: one of the servers is believed."""
        return any(server.believed for server in self._servers)

    def known(self, name: str, kind: str) -> Answer | None:
        """What is remembered, at once."""
        answer, until = self._kept.get(_key(name, kind), (None, 0.0))
        return answer if until > self._reactor.seconds() else None

    async def look_up(self, name: str, kind: str, *, fresh: bool = False) -> Answer:
        """The records of a name, of a kind such as "TXT". Raises `DnsFailure`.

        ``fresh``: not what is remembered here. A name that the DNS cannot have does not exist.
        """
        key = _key(name, kind)
        answer, until = self._kept.get(key, (None, 0.0))
        if until > self._reactor.seconds() and not fresh:
            if answer is None:
                raise DnsFailure(f"{name} {kind} has just failed")
            return answer
        waiting = self._under_way.get(key)
        if waiting is None and len(self._under_way) >= MOST_AT_ONCE:
            raise DnsFailure("too many questions at once")
        mine: Deferred[Answer] = Deferred()
        if waiting is not None:
            waiting.append(mine)
        else:
            self._under_way[key] = [mine]
            ensureDeferred(self._find(key)).addBoth(self._tell, key)
        return await mine

    def _tell(self, result: Answer | Failure, key: tuple[str, str]) -> None:
        now = self._reactor.seconds()
        if isinstance(result, Failure):
            self._keep(key, None, now + FAILURE_KEPT)
        elif result.ttl > 0:
            self._keep(key, result, now + result.ttl)
        for waiting in self._under_way.pop(key):
            waiting.callback(result)

    def _keep(self, key: tuple[str, str], answer: Answer | None, until: float) -> None:
        """Remember it, and forget the oldest; what is new goes to the end."""
        if key in self._kept:
            self._kept_in_all -= _weight(self._kept.pop(key)[0])
        self._kept[key] = answer, until
        self._kept_in_all += _weight(answer)
        while self._kept_in_all > MOST_KEPT:
            _, (forgotten, _) = self._kept.popitem(last=False)
            self._kept_in_all -= _weight(forgotten)

    async def _find(self, key: tuple[str, str]) -> Answer:
        """Ask, and where the answer is an alias only, ask on."""
        name, kind = _name(key[0]), dns.rdatatype.from_text(key[1])
        authentic, ttl, canonical = True, LONGEST_KEPT, ""
        for _ in range(MOST_ALIASES):
            if name is None:
                return Answer((), False, min(ttl, LONGEST_NOTHING_KEPT), exists=False)
            found, target = await self._ask(name, kind)
            authentic, ttl = authentic and found.authentic, min(ttl, found.ttl)
            canonical = found.canonical or canonical
            if target is None:
                return found._replace(authentic=authentic, ttl=ttl, canonical=canonical)
            name = target
        raise DnsFailure(f"{key[0]} {key[1]}: aliases without end")

    async def _ask(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> tuple[Answer, dns.name.Name | None]:
        """The first answer that one of the servers gives, and the alias that it ends with."""
        servers, why = deque(self._servers), "no resolver answers"
        for seconds in TRIES:
            if not servers:
                break
            server = servers.popleft()
            query = dns.message.make_query(name, kind, use_edns=0, payload=PAYLOAD)
            query.flags |= dns.flags.AD  # "tell me if you have validated it" (RFC 6840, 5.7)
            try:
                reply = await self._exchange(server, query, seconds)
                if reply.errors and kind != dns.rdatatype.TLSA:
                    raise reply.errors[0].exception
                if reply.rcode() in _ANSWERED:
                    return _read(reply, server.believed)
                why = f"{server} says {dns.rcode.to_text(reply.rcode())}"
                continue  # asking it again would change nothing
            except TimeoutError:
                why = f"{server} does not answer"
            except (DNSException, OSError, ValueError, ConnectError, ConnectionClosed) as error:
                why = f"{server}: {error}"
            servers.append(server)
        raise DnsFailure(f"{name.to_text(True)} {kind.name}: {why}")

    async def _exchange(
        self, server: Nameserver, query: dns.message.Message, seconds: float
    ) -> dns.message.QueryMessage:
        within = self._reactor.seconds() + seconds
        by_udp = _Datagram(self._reactor, server, query).answer
        reply = await by_udp.addTimeout(seconds, self._reactor)
        if reply.flags & dns.flags.TC:
            left = max(0.1, within - self._reactor.seconds())
            by_tcp = ensureDeferred(self._by_tcp(server, query))
            reply = await by_tcp.addTimeout(left, self._reactor)
        return reply

    async def _by_tcp(
        self, server: Nameserver, query: dns.message.Message
    ) -> dns.message.QueryMessage:
        question = _Stream(query)
        endpoint = HostnameEndpoint(self._reactor, server.address, server.port)
        await connectProtocol(endpoint, question)
        try:
            return await question.answer
        finally:
            cast(Any, question.transport).abortConnection()


@implementer(IReadDescriptor)
class _Datagram:
    """One question by UDP. The socket is connected: the kernel lets only the server's answer in.

    Not `reactor.listenUDP`, which writes two lines into the log for every port.
    """

    def __init__(self, reactor: Any, server: Nameserver, query: dns.message.Message) -> None:
        self._reactor = reactor
        self._query = query
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.answer: Deferred[dns.message.QueryMessage] = Deferred(lambda _: self._close())
        try:
            self._socket.connect((server.address, server.port))
            self._socket.send(query.to_wire())
        except OSError:  # there is no way to it
            self._socket.close()
            raise
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "DNS"

    def doRead(self) -> None:
        """Take an answer; what is none is passed over."""
        try:
            wire = self._socket.recv(65_535)
            if len(wire) > LARGEST:
                raise OSError(f"an answer of {len(wire)} octets")
            reply = _reply(self._query, wire)
        except BlockingIOError:
            return
        except OSError as error:
            self._close()
            self.answer.errback(error)
            return
        if reply is not None:
            self._close()
            self.answer.callback(reply)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nobody listens there (an error is all that there is to read), or the reactor stops."""
        self._socket.close()
        self.answer.errback(ConnectionRefusedError("nobody listens there"))

    def _close(self) -> None:
        self._reactor.removeReader(self)
        self._socket.close()


class _Stream(Protocol):
    """One question by TCP: each message has its length in front (RFC 1035, 4.2.2)."""

    def __init__(self, query: dns.message.Message) -> None:
        self._query = query
        self._heard = b""
        self.answer: Deferred[dns.message.QueryMessage] = Deferred()

    def connectionMade(self) -> None:
        wire = self._query.to_wire()
        cast(Any, self.transport).write(struct.pack("!H", len(wire)) + wire)

    def dataReceived(self, data: bytes) -> None:
        self._heard += data
        end = 2 + int.from_bytes(self._heard[:2], "big")
        if len(self._heard) > 1 and end > LARGEST and not self.answer.called:
            self.answer.errback(OSError(f"an answer of {end - 2} octets"))
        if len(self._heard) < max(3, end) or self.answer.called:
            return
        reply = _reply(self._query, self._heard[2:end])
        if reply is None:
            self.answer.errback(OSError("what came by TCP is not the answer"))
        else:
            self.answer.callback(reply)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.errback(reason)


def _reply(query: dns.message.Message, wire: bytes) -> dns.message.QueryMessage | None:
    """The answer to this question; None if it is anything else, forged or broken."""
    try:
        reply = dns.message.from_wire(wire, ignore_trailing=True, continue_on_error=True)
    except (DNSException, ValueError):
        return None
    if not isinstance(reply, dns.message.QueryMessage) or not query.is_response(reply):
        return None
    return reply


def _read(reply: dns.message.QueryMessage, believed: bool) -> tuple[Answer, dns.name.Name | None]:
    """What a reply says, and the alias to ask for if it ends with one (RFC 1034, 3.6.2)."""
    chain = reply.resolve_chaining()
    authentic = believed and bool(reply.flags & dns.flags.AD)
    exists = reply.rcode() != dns.rcode.NXDOMAIN
    canonical = chain.canonical_name.to_text(True).lower() if chain.cnames else ""
    if chain.answer is not None:
        ttl = min(chain.minimum_ttl, LONGEST_KEPT)
        records = tuple(chain.answer)
        return Answer(records, authentic, ttl, exists, canonical, bool(reply.errors)), None
    ttl = min(chain.minimum_ttl, LONGEST_NOTHING_KEPT)
    unfinished = bool(chain.cnames) and exists and not reply.authority and not reply.errors
    answer = Answer((), authentic, ttl, exists, canonical, bool(reply.errors))
    return answer, chain.canonical_name if unfinished else None


def _weight(answer: Answer | None) -> int:
    return 1 + len(answer.records) if answer is not None else 1


def _key(name: str, kind: str) -> tuple[str, str]:
    return name.lower().rstrip("."), kind


def _name(text: str) -> dns.name.Name | None:
    """A name as the DNS has it: no escapes, no other alphabets; None if there can be none."""
    try:
        labels = [label.encode("ascii") for label in text.split(".")] if text else []
        return dns.name.Name([*labels, b""])
    except (DNSException, UnicodeEncodeError):
        return None
