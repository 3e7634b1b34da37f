"""Clients' names: believed only when they lead back, and never waited for."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import DNSNameError

from mail6m import names
from mail6m.names import ClientNames


class Zone:
    """A resolver that knows a few records, and may keep its answers back."""

    def __init__(self, **records: Any) -> None:
        self.pointers: dict[str, list[str]] = records.get("pointers", {})
        self.addresses: dict[str, list[str]] = records.get("addresses", {})
        self.asked: list[str] = []
        self.held: list[defer.Deferred[Any]] | None = None

    def lookupPointer(self, name: str, timeout: Any = None) -> defer.Deferred[Any]:
        self.asked.append(name)
        if self.held is not None:
            self.held.append(defer.Deferred())
            return self.held[-1]
        found = [dns.Record_PTR(value) for value in self.pointers.get(name, [])]
        return self._answer(dns.PTR, found)

    def lookupAddress(self, name: str, timeout: Any = None) -> defer.Deferred[Any]:
        found = [dns.Record_A(a) for a in self.addresses.get(name, []) if ":" not in a]
        return self._answer(dns.A, found)

    def lookupIPV6Address(self, name: str, timeout: Any = None) -> defer.Deferred[Any]:
        found = [dns.Record_AAAA(a) for a in self.addresses.get(name, []) if ":" in a]
        return self._answer(dns.AAAA, found)

    def _answer(self, kind: int, records: list[Any]) -> defer.Deferred[Any]:
        if not records:
            return defer.fail(DNSNameError())
        headers = [dns.RRHeader(b"x.test", kind, payload=record) for record in records]
        return defer.succeed((headers, [], []))


def test_a_name_that_leads_back_is_believed() -> None:
    """PTR and A agree: that is the client's name, in lower case."""
    zone = Zone(
        pointers={"7.2.0.192.in-addr.arpa": ["Mail.Example.org"]},
        addresses={"Mail.Example.org": ["192.0.2.9", "192.0.2.7"]},
    )
    known = ClientNames(Clock(), zone)
    known.look("192.0.2.7")
    assert known.known("192.0.2.7") == "mail.example.org"


def test_ipv6_too() -> None:
    """PTR and AAAA agree."""
    pointer = "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa"
    zone = Zone(
        pointers={pointer: ["six.example.org"]}, addresses={"six.example.org": ["2001:db8::1"]}
    )
    known = ClientNames(Clock(), zone)
    known.look("2001:db8::1")
    assert known.known("2001:db8::1") == "six.example.org"
    assert socket.inet_pton(socket.AF_INET6, "2001:db8::1")


@pytest.mark.parametrize("claimed", ["bank.example.org", "evil\r\nX: y.example.org", "(comment)"])
def test_a_name_that_does_not_lead_back_is_not_believed(claimed: str) -> None:
    """Whoever owns an address may claim any name for it."""
    zone = Zone(
        pointers={"7.2.0.192.in-addr.arpa": [claimed]},
        addresses={"bank.example.org": ["198.51.100.1"]},
    )
    known = ClientNames(Clock(), zone)
    known.look("192.0.2.7")
    assert known.known("192.0.2.7") == ""


def test_answers_are_kept_for_an_hour() -> None:
    """One question an hour for each address, even when there is no name."""
    clock, zone = Clock(), Zone()
    known = ClientNames(clock, zone)
    known.look("192.0.2.7")
    known.look("192.0.2.7")
    assert len(zone.asked) == 1
    clock.advance(names.KEPT + 1)
    known.look("192.0.2.7")
    assert len(zone.asked) == 2


def test_look_ups_are_bounded_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many under way, a client goes without a name; the memory has an end too."""
    monkeypatch.setattr(names, "MOST", 2)
    zone = Zone()
    zone.held = []
    known = ClientNames(Clock(), zone)
    for number in range(names.AT_ONCE + 20):
        known.look(f"192.0.2.{number}")
    assert len(zone.held) == names.AT_ONCE
    assert known.known("192.0.2.1") == ""
    for question in zone.held:
        question.errback(DNSNameError())
    assert len(known._names) == 2


def test_loopback_is_not_looked_up() -> None:
    """Nor is what is no address at all."""
    zone = Zone()
    known = ClientNames(Clock(), zone)
    for address in ("127.0.0.1", "::1", "local"):
        known.look(address)
    assert not zone.asked
