"""Clients' names: believed only when they lead back, and never waited for."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.task import Clock

from mail6m import names
from mail6m.names import ClientNames
from tests.zone import Told


def test_a_name_that_leads_back_is_believed() -> None:
    """PTR and A agree: that is the client's name, in lower case."""
    zone = Told(
        {
            "7.2.0.192.in-addr.arpa PTR": "Mail.Example.org",
            "mail.example.org A": ["192.0.2.9", "192.0.2.7"],
        }
    )
    known = ClientNames(Clock(), zone)
    known.look("192.0.2.7")
    assert known.known("192.0.2.7") == "mail.example.org"


def test_ipv6_too() -> None:
    """PTR and AAAA agree."""
    pointer = "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa"
    zone = Told({f"{pointer} PTR": "six.example.org", "six.example.org AAAA": "2001:db8::1"})
    known = ClientNames(Clock(), zone)
    known.look("2001:db8::1")
    assert known.known("2001:db8::1") == "six.example.org"
    assert socket.inet_pton(socket.AF_INET6, "2001:db8::1")


@pytest.mark.parametrize(
    "claimed", ["bank.example.org", r"evil\013\010X:\032y.example.org", "(comment)"]
)
def test_a_name_that_does_not_lead_back_is_not_believed(claimed: str) -> None:
    """Whoever owns an address may claim any name for it."""
    pointer = claimed.replace("(", r"\(").replace(")", r"\)")
    zone = Told({"7.2.0.192.in-addr.arpa PTR": pointer, "bank.example.org A": "198.51.100.1"})
    known = ClientNames(Clock(), zone)
    known.look("192.0.2.7")
    assert known.known("192.0.2.7") == ""
    assert any(kind == "A" for _, kind in zone.asked) is (claimed == "bank.example.org")


def test_answers_are_kept_for_an_hour() -> None:
    """One question an hour for each address, even when there is no name."""
    clock, zone = Clock(), Told()
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
    zone = Told()
    zone.held = []
    known = ClientNames(Clock(), zone)
    for number in range(names.AT_ONCE + 20):
        known.look(f"192.0.2.{number}")
    assert len(zone.held) == names.AT_ONCE
    assert known.known("192.0.2.1") == ""
    for question in zone.held:
        question.callback(None)
    assert len(known._names) == 2


def test_loopback_is_not_looked_up() -> None:
    """Nor is what is no address at all."""
    zone = Told()
    known = ClientNames(Clock(), zone)
    for address in ("127.0.0.1", "::1", "local"):
        known.look(address)
    assert not zone.asked
