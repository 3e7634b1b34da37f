"""A DNS server on loopback that says what a test wants it to, and a resolver without one.

`Zone` is a real server (dnslib's, in a thread, by UDP and TCP) for whoever has a real `Resolver`;
`Told` stands in for a `Resolver` where a test wants no sockets.
"""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dnslib import QTYPE, RCODE, RR, SOA, DNSRecord
from dnslib.server import DNSHandler, DNSLogger, DNSServer
from twisted.internet.defer import Deferred

from mail6m.model import Host
from mail6m.resolver import Answer, DnsFailure, Nameserver, Resolver

LOOPBACK = "127.0.0.1"
TTL = 300

Records = Mapping[str, str | Sequence[str]]
"""``{"example.test MX": ["10 mx.example.test"], "mx.example.test A": "192.0.2.1"}``."""
Question = tuple[str, str]
"""A name in lower case without the last dot, and a kind: ``("example.test", "MX")``."""


class Zone:
    """A DNS server: ``with Zone({"example.test TXT": "v=spf1 -all"}) as zone:``.

    Records come as a zone file's text (names absolute, or ``$ORIGIN``), or as a mapping. A name is
    there if it has records, or one below it has. Everything may be changed while it runs.
    """

    def __init__(self, records: Records | str = "", *, authentic: bool = False) -> None:
        self._records: dict[str, list[RR]] = {}
        self.authentic = authentic
        """Whether answers say that DNSSEC has validated them."""
        self.insecure: set[str] = set()
        """Names whose answers never say so."""
        self.failing: set[str] = set()
        """``NAME`` or ``NAME KIND``: SERVFAIL."""
        self.refusing: set[str] = set()
        """The same: REFUSED."""
        self.silent: set[str] = set()
        """The same: no answer."""
        self.negative_ttl = 60
        """SOA minimum."""
        self.asked: Counter[Question] = Counter()
        """Questions."""
        self.asked_by_tcp = 0
        self.udp_size = 1_232
        """Longer answers are truncated."""
        self.add(records)

    def add(self, records: Records | str) -> None:
        """Put these in, beside what is there."""
        text = records if isinstance(records, str) else _zone_text(records)
        for record in RR.fromZone(text, origin=".", ttl=TTL):
            self._records.setdefault(_plain(record.rname), []).append(record)

    def remove(self, name: str, kind: str = "") -> None:
        """Take a name's records out, or those of one kind."""
        left = [one for one in self._records.pop(name, []) if kind and QTYPE[one.rtype] != kind]
        if left:
            self._records[name] = left

    def forget(self) -> None:
        """Count from nothing."""
        self.asked.clear()

    @property
    def host(self) -> Host:
        """Where it listens, for the setting ``--dns``."""
        return Host(LOOPBACK, self.port)

    def resolver(self, reactor: Any, *, believed: bool = True) -> Resolver:
        """A new resolver that asks this server only."""
        return Resolver(reactor, [Nameserver(LOOPBACK, self.port, believed)])

    # As a context

    def __enter__(self) -> Self:
        for _ in range(20):
            udp = DNSServer(self, LOOPBACK, 0, False, _SILENT, _Handler, _Udp)
            self.port: int = udp.server.server_address[1]
            try:
                tcp = DNSServer(self, LOOPBACK, self.port, True, _SILENT, _Handler, _Tcp)
            except OSError:  # somebody else's by TCP
                udp.server.server_close()
                continue
            self._servers = [udp.server, tcp.server]
            break
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            for server in self._servers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    # What it answers

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord | None:
        """A reply, or None for silence (dnslib calls this)."""
        name, kind = _plain(request.q.qname), QTYPE[request.q.qtype]
        self.asked[name, kind] += 1
        self.asked_by_tcp += handler.protocol == "tcp"
        if _among(self.silent, name, kind):
            return None
        reply = request.reply(ra=1, aa=0)
        for names, code in ((self.failing, RCODE.SERVFAIL), (self.refusing, RCODE.REFUSED)):
            if _among(names, name, kind):
                reply.header.rcode = code
                return reply
        self._answer(reply, name, kind)
        # A validating resolver says so to who asks (RFC 6840, 5.8).
        asked_for = bool(request.header.ad)
        names = {name, *(_plain(record.rname) for record in reply.rr)}
        reply.header.ad = int(self.authentic and asked_for and not names & self.insecure)
        return reply

    def _answer(self, reply: DNSRecord, name: str, kind: str) -> None:
        for _ in range(8):
            records = self._records.get(name, [])
            found = [record for record in records if QTYPE[record.rtype] == kind]
            if found:
                reply.add_answer(*found)
                return
            alias = next((record for record in records if record.rtype == QTYPE.CNAME), None)
            if alias is None:
                break
            reply.add_answer(alias)
            name = _plain(alias.rdata.label)
        if not any(one == name or one.endswith("." + name) for one in self._records):
            reply.header.rcode = RCODE.NXDOMAIN
        soa = SOA("ns.test", "root.test", (1, 3_600, 600, 86_400, self.negative_ttl))
        reply.add_auth(RR(".", QTYPE.SOA, ttl=TTL, rdata=soa))


class Told:
    """A `Resolver` that knows what a test has told it, at once and without a network."""

    def __init__(self, records: Records | None = None, *, authentic: bool = False) -> None:
        self.records = dict(records or {})
        """As `Records`."""
        self.authentic = authentic
        self.believed = True
        self.failing: set[str] = set()
        """``NAME`` or ``NAME KIND``: no answer now."""
        self.asked: list[Question] = []
        self.asked_afresh: list[Question] = []
        """Those of them that wanted nothing remembered."""
        self.held: list[Deferred[None]] | None = None
        """Set to a list, it keeps answers back until each of these is called."""

    def known(self, name: str, kind: str) -> Answer | None:
        """See `Resolver`: it forgets at once."""
        return None

    async def look_up(self, name: str, kind: str, *, fresh: bool = False) -> Answer:
        """See `Resolver`."""
        name = name.lower().rstrip(".")
        self.asked.append((name, kind))
        if fresh:
            self.asked_afresh.append((name, kind))
        if self.held is not None:
            self.held.append(Deferred())
            await self.held[-1]
        if _among(self.failing, name, kind):
            raise DnsFailure(f"{name} {kind}: no answer")
        values = self.records.get(f"{name} {kind}", [])
        records = tuple(
            _rdata(kind, value) for value in ([values] if isinstance(values, str) else values)
        )
        exists = any(one.split()[0].lower() == name for one in self.records)
        return Answer(records, self.authentic, TTL, exists)


class _Handler(DNSHandler):
    """dnslib's, with silence."""

    def get_reply(self, data: bytes) -> bytes:
        zone: Zone = self.server.resolver
        reply = zone.resolve(DNSRecord.parse(data), self)
        if reply is None:
            raise _Silence
        packed: bytes = reply.pack()
        if self.protocol == "udp" and len(packed) > zone.udp_size:
            reply.rr, reply.auth, reply.header.tc = [], [], 1
            packed = reply.pack()
        return packed

    def handle(self) -> None:
        try:
            super().handle()
        except (_Silence, OSError):
            return


class _Silence(Exception):
    """No answer."""


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    max_packet_size = 65_535
    request_queue_size = 512


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = False


_SILENT = DNSLogger("-request,-reply,-truncated,-error,-recv,-send,-data", False)


def _zone_text(records: Records) -> str:
    lines = []
    for key, values in records.items():
        name, kind = key.split()
        for value in [values] if isinstance(values, str) else values:
            lines.append(f"{name}. IN {kind} {_presented(kind, value)}")
    return "\n".join(lines)


def _rdata(kind: str, value: str) -> dns.rdata.Rdata:
    of_kind, text = dns.rdatatype.from_text(kind), _presented(kind, value)
    return dns.rdata.from_text(dns.rdataclass.IN, of_kind, text, dns.name.root, relativize=False)


def _presented(kind: str, value: str) -> str:
    """A value as zone files have it: texts need not be given in quotes."""
    return _strings(value) if kind == "TXT" and not value.startswith('"') else value


def _strings(text: str) -> str:
    """A text as the strings of at most 255 octets that a TXT record is made of."""
    pieces = [text[start : start + 255] for start in range(0, len(text), 255)] or [""]
    return " ".join('"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in pieces)


def _plain(label: Any) -> str:
    return str(label).rstrip(".").lower()


def _among(names: Collection[str], name: str, kind: str) -> bool:
    return name in names or f"{name} {kind}" in names
