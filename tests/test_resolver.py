"""The stub resolver, against a real DNS server on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import pytest
from dnslib import QTYPE, RD, RR
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import Clock

from mail6m import resolver as resolving
from mail6m.model import Host
from mail6m.resolver import Answer, DnsFailure, Nameserver, Resolver, nameservers
from tests.reactor_thread import run, the_reactor
from tests.zone import LOOPBACK, Told, Zone

RECORDS = {
    "example.test A": ["192.0.2.1", "192.0.2.2"],
    "example.test AAAA": "2001:db8::1",
    "example.test MX": ["10 mx1.example.test", "20 mx2.example.test"],
    "example.test TXT": ["v=spf1 -all", "x" * 300],
    "1.2.0.192.in-addr.arpa PTR": "example.test",
    "_25._tcp.example.test TLSA": "3 1 1 " + "ab" * 32,
    "www.example.test CNAME": "alias.example.test",
    "alias.example.test CNAME": "example.test",
}


@pytest.fixture
def zone() -> Iterator[Zone]:
    """A server that knows `RECORDS`."""
    with Zone(RECORDS) as zone:
        yield zone


def _ask(resolver: Resolver, name: str, kind: str) -> Answer:
    return run(lambda: resolver.look_up(name, kind))


@pytest.mark.parametrize(
    ("name", "kind", "texts"),
    [
        ("example.test", "A", {"192.0.2.1", "192.0.2.2"}),
        ("EXAMPLE.test.", "AAAA", {"2001:db8::1"}),
        ("example.test", "MX", {"10 mx1.example.test.", "20 mx2.example.test."}),
        ("1.2.0.192.in-addr.arpa", "PTR", {"example.test."}),
        ("_25._tcp.example.test", "TLSA", {"3 1 1 " + "ab" * 32}),
        ("www.example.test", "A", {"192.0.2.1", "192.0.2.2"}),
        ("www.example.test", "CNAME", {"alias.example.test."}),
        ("example.test", "TXT", {'"v=spf1 -all"', f'"{"x" * 255}" "{"x" * 45}"'}),
    ],
)
def test_records_of_every_kind(zone: Zone, name: str, kind: str, texts: set[str]) -> None:
    """What is asked comes as dnspython's records, aliases followed, long texts in their pieces."""
    answer = _ask(zone.resolver(the_reactor()), name, kind)
    assert {record.to_text() for record in answer.records} == texts
    assert answer.exists
    assert answer.ttl == 300


def test_no_name_and_no_data_are_told_apart(zone: Zone) -> None:
    """NXDOMAIN does not exist; a name with other records, or with names below it, does."""
    resolver = zone.resolver(the_reactor())
    nowhere = _ask(resolver, "nowhere.test", "A")
    assert (nowhere.records, nowhere.exists, nowhere.ttl) == ((), False, zone.negative_ttl)
    for name, kind in (("mx1.example.test", "TXT"), ("_tcp.example.test", "TLSA")):
        assert _ask(resolver, name, kind).exists is (name == "_tcp.example.test")


@pytest.mark.parametrize(
    "name", ["a..test", "x" * 64 + ".test", "é.test", ".".join(["a" * 60] * 5)]
)
def test_a_name_that_cannot_be_does_not_exist(zone: Zone, name: str) -> None:
    """Nobody is asked, and nothing fails."""
    assert not _ask(zone.resolver(the_reactor()), name, "A").exists
    assert not zone.asked


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("believed", [True, False])
def test_who_is_believed_that_an_answer_is_authentic(
    zone: Zone, said: bool, believed: bool
) -> None:
    """The AD bit counts from a resolver that is believed, and only if it is set."""
    zone.authentic = said
    resolver = zone.resolver(the_reactor(), believed=believed)
    for name in ("example.test", "nowhere.test"):
        assert _ask(resolver, name, "A").authentic is (said and believed)


def test_an_alias_into_a_zone_without_dnssec_is_not_authentic(zone: Zone) -> None:
    """One link that is not validated is enough."""
    zone.authentic, zone.insecure = True, {"alias.example.test"}
    assert not _ask(zone.resolver(the_reactor()), "www.example.test", "A").authentic


def test_long_answers_come_by_tcp(zone: Zone) -> None:
    """An answer that is truncated is asked for again by TCP."""
    zone.add({"long.test TXT": [f"{number:03} " + "y" * 200 for number in range(30)]})
    assert len(_ask(zone.resolver(the_reactor()), "long.test", "TXT").records) == 30
    assert zone.asked_by_tcp == 1


def test_answers_without_measure_are_not_read(zone: Zone) -> None:
    """One of 20 KB would take as long as a hundred messages: it is a failure."""
    zone.add({"long.test TXT": [f"{number:03} " + "y" * 200 for number in range(100)]})
    with pytest.raises(DnsFailure, match="octets"):
        _ask(zone.resolver(the_reactor()), "long.test", "TXT")


@pytest.mark.parametrize("how", ["failing", "refusing"])
def test_failures_are_told_and_not_asked_again_at_once(zone: Zone, how: str) -> None:
    """SERVFAIL is no answer, which is remembered for a second (RFC 9520); other names answer."""
    setattr(zone, how, {"example.test TXT"})
    resolver = zone.resolver(the_reactor())
    for _ in range(3):
        with pytest.raises(DnsFailure, match=r"example\.test"):
            _ask(resolver, "example.test", "TXT")
    assert zone.asked["example.test", "TXT"] == 1
    assert _ask(resolver, "example.test", "A").records


def test_silence_is_a_failure_after_all_tries(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try has its time, and then there is no answer."""
    monkeypatch.setattr(resolving, "TRIES", (0.02, 0.02, 0.02))
    zone.silent = {"example.test"}
    with pytest.raises(DnsFailure, match="does not answer"):
        _ask(zone.resolver(the_reactor()), "example.test", "A")
    assert zone.asked["example.test", "A"] == 3


def test_another_server_is_asked_when_one_fails(zone: Zone) -> None:
    """Nobody listens at the first, the second says SERVFAIL, the third answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody, Zone() as failing:
        nobody.bind((LOOPBACK, 0))
        port = nobody.getsockname()[1]
        nobody.close()
        failing.failing = {"example.test"}
        servers = [Nameserver(LOOPBACK, one) for one in (port, failing.port, zone.port)]
        answer = _ask(Resolver(the_reactor(), servers), "example.test", "A")
    assert len(answer.records) == 2


def test_answers_are_kept_and_bounded(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    """One question while its TTL lasts; `known` says so at once; the memory has an end."""
    monkeypatch.setattr(resolving, "MOST_KEPT", 4)
    resolver = zone.resolver(the_reactor())
    assert resolver.known("example.test", "A") is None
    for _ in range(2):
        _ask(resolver, "example.test", "A")
    assert zone.asked["example.test", "A"] == 1
    assert resolver.known("Example.test", "A") is not None
    for kind in ("AAAA", "MX"):
        _ask(resolver, "example.test", kind)
    assert resolver.known("example.test", "A") is None
    assert resolver.known("example.test", "MX") is not None


def test_what_is_wanted_afresh_is_asked_again(zone: Zone) -> None:
    """A record that has been set since is found, and remembered in its turn."""
    resolver = zone.resolver(the_reactor())
    assert not _ask(resolver, "new.test", "TXT").exists
    zone.add({"new.test TXT": "here"})
    assert not _ask(resolver, "new.test", "TXT").exists
    assert run(lambda: resolver.look_up("new.test", "TXT", fresh=True)).exists
    assert _ask(resolver, "new.test", "TXT").exists


def test_what_is_kept_grows_old() -> None:
    """After its TTL an answer is not known any more."""
    clock = Clock()
    resolver = Resolver(clock, [])
    resolver._under_way["a.test", "A"] = []
    resolver._tell(Answer((), False, 60, True), ("a.test", "A"))
    clock.advance(59)
    assert resolver.known("a.test", "A") is not None
    clock.advance(1)
    assert resolver.known("a.test", "A") is None


def test_the_same_question_is_asked_once(zone: Zone) -> None:
    """A hundred who ask at the same time share one question, and one who leaves harms nobody."""
    resolver = zone.resolver(the_reactor())

    async def crowd() -> list[Any]:
        asking = [ensureDeferred(resolver.look_up("example.test", "MX")) for _ in range(100)]
        asking[0].addErrback(lambda failure: None).cancel()
        return await gatherResults(asking[1:])

    assert all(len(answer.records) == 2 for answer in run(crowd))
    assert zone.asked["example.test", "MX"] == 1


def test_questions_under_way_are_bounded(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked beyond the bound fails at once."""
    monkeypatch.setattr(resolving, "MOST_AT_ONCE", 2)
    monkeypatch.setattr(resolving, "TRIES", (0.05,))
    zone.silent = {"a.test", "b.test"}
    resolver = zone.resolver(the_reactor())

    async def crowd() -> None:
        waiting = [ensureDeferred(resolver.look_up(name, "A")) for name in ("a.test", "b.test")]
        with pytest.raises(DnsFailure, match="too many"):
            await resolver.look_up("example.test", "A")
        for one in waiting:
            with pytest.raises(DnsFailure):
                await one

    run(crowd)


def test_forged_answers_are_passed_over() -> None:
    """Another id, question or sender, or no answer at all: only the true one counts."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((LOOPBACK, 0))
        servers = [Nameserver(LOOPBACK, server.getsockname()[1])]
        thread = threading.Thread(target=_forge, args=(server,))
        thread.start()
        answer = _ask(Resolver(the_reactor(), servers), "victim.test", "A")
        thread.join()
    assert [record.to_text() for record in answer.records] == ["192.0.2.99"]


def _forge(server: socket.socket) -> None:
    wire, client = server.recvfrom(4_096)
    query = dns.message.from_wire(wire)

    def reply(address: str, question: dns.message.Message = query) -> dns.message.Message:
        made = dns.message.make_response(question)
        made.answer.append(dns.rrset.from_text("victim.test.", 60, "IN", "A", address))
        return made

    other_id = reply("192.0.2.66")
    other_id.id ^= 1
    other_question = reply("192.0.2.66", dns.message.make_query("other.test", "A", id=query.id))
    no_answer = reply("192.0.2.66")
    no_answer.flags &= ~dns.flags.QR
    for forged in (other_id, other_question, no_answer):
        server.sendto(forged.to_wire(), client)
    server.sendto(b"nonsense", client)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(reply("192.0.2.66").to_wire(), client)
    server.sendto(reply("192.0.2.99").to_wire(), client)


def test_records_that_nobody_can_read(zone: Zone) -> None:
    """Half an answer is none, and that is known at once; of TLSA it is told, since it means TLS."""
    zone.add({"bad.test A": "192.0.2.1", "bad.test TLSA": "3 1 1 " + "ab" * 32})
    for kind in (QTYPE.A, QTYPE.TLSA):
        zone._records["bad.test"].append(RR("bad.test", kind, rdata=RD(b"\3\1\1")))
    resolver = zone.resolver(the_reactor())
    with pytest.raises(DnsFailure):
        _ask(resolver, "bad.test", "A")
    tlsa = _ask(resolver, "bad.test", "TLSA")
    assert (len(tlsa.records), tlsa.malformed) == (1, True)


def test_aliases_without_end_fail(zone: Zone) -> None:
    """A ring of aliases is no answer."""
    zone.add({"a.test CNAME": "b.test", "b.test CNAME": "a.test"})
    with pytest.raises(DnsFailure):
        _ask(zone.resolver(the_reactor()), "a.test", "A")


def test_whose_servers(tmp_path: Path) -> None:
    """Those that are named are believed; of the system's only those on this machine."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("# x\nnameserver 192.0.2.53\nnameserver ::1\nnameserver nonsense\nsearch a\n")
    assert nameservers([], conf) == [
        Nameserver("192.0.2.53", 53, False),
        Nameserver("::1", 53, True),
    ]
    assert nameservers([Host("192.0.2.1", 5_353)], conf) == [Nameserver("192.0.2.1", 5_353, True)]
    assert nameservers([], tmp_path / "none") == [Nameserver("127.0.0.1", 53, True)]


def test_what_stands_in_for_it_says_the_same(zone: Zone) -> None:
    """The resolver without a network answers as the one with one."""
    told, resolver = Told(RECORDS), zone.resolver(the_reactor())
    for name, kind in [*(key.split() for key in RECORDS), ("nowhere.test", "A")]:
        if kind != "CNAME":
            real, fake = _ask(resolver, name, kind), run(lambda n=name, k=kind: told.look_up(n, k))
            assert (set(real.records), real.exists) == (set(fake.records), fake.exists)
