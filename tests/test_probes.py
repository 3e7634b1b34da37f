"""Questions to receiving machines over SMTP: what is said, what it is taken for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mail6m.delivery.conversation import Caller, Finding, Over
from mail6m.delivery.demands import Demands
from mail6m.guard import probes as module
from mail6m.guard.probes import Found, Probes, Question, Result, opening
from mail6m.model import Domain, Host, TlsPolicy
from tests.carried import trusted
from tests.harness import free_ports
from tests.reactor_thread import run, the_reactor
from tests.scripted_peer import LOOPBACK, Fault, Peer, Script
from tests.zone import Told

DOMAIN = "mondomaine.fr"
WITH_TLS = ("PIPELINING", "STARTTLS")


def asked(
    *peers: Peer | Host,
    addresses: Sequence[str] = (f"nobody@{DOMAIN}",),
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC,
) -> list[Found]:
    """What the first of these that can be reached says of addresses, one after the other."""
    hosts = tuple(one if isinstance(one, Host) else Host(LOOPBACK, one.port) for one in peers)
    domain = Domain(DOMAIN, 1, hosts, tls)

    async def ask() -> list[Found]:
        demands = Demands(Told(), trusted())
        caller = Caller(the_reactor(), demands, "mail6m.test", ["mail6m.test"])
        probes = Probes(the_reactor(), opening(caller))
        found = []
        for address in addresses:
            question = Question(domain, address)
            question.networks.add("192.0.2.1")
            found.append(await probes.ask(question))
        await probes.stop()
        return found

    return run(ask)


def said(peer: Peer) -> list[str]:
    """The commands that a peer was given, in all sessions."""
    return [command for command, _ in peer.commands]


@pytest.fixture
def one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a time, so that a question waits until the last one has been taken back."""
    monkeypatch.setattr(module, "SESSIONS", 1)


@pytest.mark.usefixtures("one_session")
def test_what_is_said() -> None:
    """As far as RCPT, from the null sender; then it is taken back, and the session used again."""
    with Peer({f"RCPT paul@{DOMAIN}": "550 5.1.1 Who?"}) as peer:
        found = asked(peer, addresses=[f"marie@{DOMAIN}", f"paul@{DOMAIN}"])
        assert peer.wait_for(lambda peer: "QUIT" in said(peer), module.KEPT / 2)  # not only then
        assert said(peer) == [
            "EHLO mail6m.test",
            "MAIL FROM:<>", f"RCPT TO:<marie@{DOMAIN}>", "RSET",
            "MAIL FROM:<>", f"RCPT TO:<paul@{DOMAIN}>", "RSET",
            "QUIT",
        ]  # fmt: skip
        assert found == [
            Found(Result.TAKEN, "250 2.0.0 Ok"),
            Found(Result.REFUSED, "550 5.1.1 Who?"),
        ]
        assert len(peer.sessions) == 1


@pytest.mark.parametrize(
    ("refusal", "of_postmaster", "result"),
    [
        ("550 5.7.1 Denied", "250 Ok", Result.REFUSED),
        ("550 5.4.1 Access denied", "250 Ok", Result.REFUSED),
        ("550 5.7.1 Denied", "550 5.7.1 Denied", Result.UNKNOWN),
        ("550 5.1.8 Bad sender", "450 4.1.8 Bad sender", Result.UNKNOWN),
    ],
)
def test_postmaster_tells(refusal: str, of_postmaster: str, result: Result) -> None:
    """A refusal that is perhaps not of the address is, if the same machine takes postmaster."""
    script = {"RCPT": refusal, f"RCPT postmaster@{DOMAIN}": of_postmaster}
    with Peer(script) as peer:
        assert asked(peer) == [Found(result, refusal)]
        assert said(peer)[2:4] == [f"RCPT TO:<nobody@{DOMAIN}>", f"RCPT TO:<postmaster@{DOMAIN}>"]


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ({"RCPT": "450 4.7.1 Greylisted"}, Result.UNKNOWN),
        ({"RCPT": "421 4.3.2 Closing"}, Result.UNKNOWN),
        ({"RCPT": Fault.DROP}, Result.UNKNOWN),
        ({"RCPT": Fault.NONSENSE}, Result.UNKNOWN),
        ({"MAIL": "550 5.7.1 No null sender"}, Result.UNKNOWN),
        ({"MAIL": "451 Later"}, Result.UNKNOWN),
        ({"banner": "554 5.7.1 Go away"}, Result.UNREACHABLE),
        ({"banner": "220 mail6m.test ESMTP"}, Result.UNREACHABLE),
        ({"banner": Fault.DROP}, Result.UNREACHABLE),
        ({"EHLO": Fault.ENDLESS_REPLY}, Result.UNREACHABLE),
        ({"RSET": Fault.DROP}, Result.TAKEN),
        ({"RSET": "500 What?"}, Result.TAKEN),
    ],
)
def test_machines_of_all_sorts(script: Script, result: Result) -> None:
    """What does not say that the address is refused does not refuse it."""
    with Peer(script) as peer:
        [found] = asked(peer)
        assert found.result is result
        assert not any(command.startswith("DATA") for command in said(peer))


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.DRIP])
@pytest.mark.parametrize("step", ["banner", "RCPT"])
def test_machines_that_take_their_time(
    monkeypatch: pytest.MonkeyPatch, step: str, fault: Fault
) -> None:
    """They are cut off."""
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    with Peer({step: fault}) as peer:
        [found] = asked(peer)
        assert found == Found(Result.UNREACHABLE, Finding.SILENT.value)
        assert peer.wait_for(lambda peer: all(s.closed_at for s in peer.sessions), 20)


def test_the_next_host() -> None:
    """In order, the first that can be reached; what it says counts."""
    [closed] = free_ports(1)
    with (
        Peer({"banner": "421 Busy"}) as busy,
        Peer({"RCPT": "550 5.1.1 No"}) as good,
        Peer() as last,
    ):
        [found] = asked(Host(LOOPBACK, closed), busy, good, last)
        assert found.result is Result.REFUSED
        assert last.sessions == ()


def test_nobody_is_there() -> None:
    """Then nothing is asked a second time."""
    [closed] = free_ports(1)
    found = asked(Host(LOOPBACK, closed), addresses=[f"{n}@{DOMAIN}" for n in "ab"])
    assert [one.result for one in found] == [Result.UNREACHABLE, Result.NOT_ASKED]


@pytest.mark.parametrize("tls", list(TlsPolicy))
def test_tls(tls: TlsPolicy) -> None:
    """As the domain's policy has it."""
    with Peer(extensions=WITH_TLS) as peer:
        assert asked(peer, tls=tls)[0].result is Result.TAKEN
        encrypted = dict(peer.commands)
        assert encrypted["MAIL FROM:<>"] is (tls is not TlsPolicy.NONE)


@pytest.mark.parametrize("fault", ["454 4.7.0 Not now", Fault.HANDSHAKE_GARBAGE])
def test_tls_that_fails(fault: str | Fault) -> None:
    """Where it is required, no address is said in clear; else as relaying does it."""
    with Peer({"STARTTLS": fault}, extensions=WITH_TLS) as peer:
        [found] = asked(peer, tls=TlsPolicy.REQUIRED)
        assert found.result is Result.UNREACHABLE
        assert not any(command.startswith("MAIL") for command in said(peer))
    with Peer({"STARTTLS": fault}, extensions=WITH_TLS) as peer:
        assert asked(peer)[0].result is Result.TAKEN


def test_an_international_address() -> None:
    """With SMTPUTF8 (RFC 6531), or nothing is known."""
    address = f"hélène@{DOMAIN}"
    with Peer(extensions=("SMTPUTF8",)) as peer:
        assert asked(peer, addresses=[address])[0].result is Result.TAKEN
        assert said(peer)[1:3] == ["MAIL FROM:<> SMTPUTF8", f"RCPT TO:<{address}>"]
    with Peer() as peer:
        assert asked(peer, addresses=[address])[0].result is Result.UNKNOWN
        assert not any(command.startswith("RCPT") for command in said(peer))


@pytest.mark.usefixtures("one_session")
def test_not_too_much_is_refused_in_a_session() -> None:
    """Before the machine counts it as an abuse, another session goes on."""
    with Peer({"RCPT": "550 5.1.1 No"}) as peer:
        asked(peer, addresses=[f"{n}@{DOMAIN}" for n in range(module.MOST_REFUSALS + 1)])
        assert len(peer.sessions) == 2
        commands = [command for command, _ in peer.sessions[0].commands]
        assert commands.count("MAIL FROM:<>") == module.MOST_REFUSALS


@pytest.mark.usefixtures("one_session")
def test_a_session_that_was_closed_while_it_was_kept() -> None:
    """Another one asks again."""
    with Peer({"RSET": "421 4.3.2 Closing"}) as peer:
        found = asked(peer, addresses=[f"{n}@{DOMAIN}" for n in "abc"])
        assert {one.result for one in found} == {Result.TAKEN}


def test_over_is_named() -> None:
    """What an exception says is what a person reads."""
    assert str(Over(Finding.CLOSED)) == "nobody listens at that port"
