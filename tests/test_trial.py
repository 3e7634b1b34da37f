"""Trials of receiving machines that do as a script says: what is found, said, and shown."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mail6m.delivery import trial as module
from mail6m.delivery.conversation import MOST_LINES, Finding, Line, Side
from mail6m.delivery.demands import Demands
from mail6m.delivery.trial import Attempt, Busy, Trial
from mail6m.model import Host, TlsPolicy
from mail6m.trust import Fault as CertificateFault
from tests.authority import Authority
from tests.carried import trusted
from tests.reactor_thread import run, the_reactor
from tests.scripted_peer import LOOPBACK, Fault, Peer, Script
from tests.zone import Told

DOMAIN = "mondomaine.fr"
OURS = ["mail6m.test", "mx1.mail6m.test"]
PLAIN, WITH_TLS = ("PIPELINING",), ("PIPELINING", "STARTTLS")


def tried(
    *peers: Peer | Host, tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC, customer: int = 1
) -> list[Attempt]:
    """What a trial of these comes to."""
    hosts = [one if isinstance(one, Host) else Host(LOOPBACK, one.port) for one in peers]
    trial = Trial(the_reactor(), Demands(Told(), trusted()), "mail6m.test", OURS)
    return run(lambda: trial.of(customer, DOMAIN, hosts, tls))


def said(peer: Peer) -> list[str]:
    """The commands that a peer was given, in all sessions."""
    return [command for command, _ in peer.commands]


def test_a_host_that_takes_mail() -> None:
    """As far as RCPT and no further, one command after the other, and every line is shown."""
    with Peer(extensions=PLAIN) as peer:
        [attempt] = tried(peer)
        assert attempt.finding is Finding.TAKEN
        assert attempt.tls == ""
        assert attempt.lines == [
            Line(Side.HOST, "220 peer.test ESMTP"),
            Line(Side.CLIENT, "EHLO mail6m.test"),
            Line(Side.HOST, "250-peer.test"),
            Line(Side.HOST, "250 PIPELINING"),
            Line(Side.CLIENT, "MAIL FROM:<>"),
            Line(Side.HOST, "250 2.0.0 Ok"),
            Line(Side.CLIENT, "RCPT TO:<postmaster@mondomaine.fr>"),
            Line(Side.HOST, "250 2.0.0 Ok"),
            Line(Side.CLIENT, "RSET"),
            Line(Side.HOST, "250 2.0.0 Ok"),
            Line(Side.CLIENT, "QUIT"),
            Line(Side.HOST, "221 2.0.0 Bye"),
        ]
        assert peer.mails == ()


def test_encrypted() -> None:
    """What follows STARTTLS is said under TLS, which is named."""
    with Peer(extensions=WITH_TLS) as peer:
        [attempt] = tried(peer, tls=TlsPolicy.REQUIRED)
        assert attempt.finding is Finding.TAKEN
        assert attempt.tls.startswith("TLSv1")
        assert attempt.tls.endswith(", verified (certificate)")
        assert attempt.fault is None
        assert Line(Side.TLS, attempt.tls) in attempt.lines
        assert [command for command, tls in peer.commands if not tls] == [
            "EHLO mail6m.test",
            "STARTTLS",
        ]
        assert peer.commands[-1] == ("QUIT", True)


def test_never_encrypted() -> None:
    """STARTTLS is not said where it is not wanted."""
    with Peer(extensions=WITH_TLS) as peer:
        [attempt] = tried(peer, tls=TlsPolicy.NONE)
        assert attempt.finding is Finding.TAKEN
        assert "STARTTLS" not in said(peer)


def test_an_old_host() -> None:
    """HELO where EHLO is not known."""
    with Peer({"EHLO": "502 5.5.1 What?"}) as peer:
        assert tried(peer)[0].finding is Finding.TAKEN
        assert said(peer)[:2] == ["EHLO mail6m.test", "HELO mail6m.test"]


@pytest.mark.parametrize(
    ("script", "finding"),
    [
        ({"banner": "554 5.7.1 Go away"}, Finding.UNWELCOME),
        ({"banner": "421 4.3.2 Later"}, Finding.UNWELCOME),
        ({"EHLO": "554 Go away", "HELO": "554 Go away"}, Finding.UNWELCOME),
        ({"EHLO": "421 4.3.2 Later"}, Finding.UNWELCOME),
        ({"MAIL": "550 5.7.1 No"}, Finding.REFUSED),
        ({"MAIL": "451 4.7.1 Not now"}, Finding.LATER),
        ({"RCPT": "550 5.1.1 Nobody"}, Finding.REFUSED),
        ({"RCPT": "450 4.7.1 Greylisted"}, Finding.LATER),
        ({"RCPT": "421 4.3.2 Down"}, Finding.LATER),
        ({"banner": "220 MX1.mail6m.test ESMTP"}, Finding.OURSELVES),
        ({"banner": Fault.DROP}, Finding.LOST),
        ({"RCPT": Fault.DROP}, Finding.LOST),
        ({"RSET": Fault.DROP}, Finding.TAKEN),
        ({"QUIT": "500 No"}, Finding.TAKEN),
        ({"banner": Fault.NONSENSE}, Finding.NO_SMTP),
        ({"EHLO": Fault.NONSENSE}, Finding.NO_SMTP),
        ({"EHLO": Fault.ENDLESS_REPLY}, Finding.NO_SMTP),
        ({"EHLO": Fault.ENDLESS_LINE}, Finding.NO_SMTP),
    ],
)
def test_hosts_of_all_sorts(script: Script, finding: Finding) -> None:
    """Each is found for what it is; never is a message begun."""
    with Peer(script) as peer:
        [attempt] = tried(peer)
        assert attempt.finding is finding
        assert "DATA" not in said(peer)
        assert len(attempt.lines) < 2 * MOST_LINES
        assert all(line.text[:3].isdecimal() for line in attempt.lines if line.side is Side.HOST)


@pytest.mark.parametrize("tls", [TlsPolicy.OPPORTUNISTIC, TlsPolicy.REQUIRED])
@pytest.mark.parametrize(
    "answer",
    [
        "454 4.7.0 Not now",
        Fault.HANDSHAKE_GARBAGE,
        Fault.HANDSHAKE_CLOSED,
        Fault.HANDSHAKE_REGRETTED,
    ],
)
def test_tls_that_fails(tls: TlsPolicy, answer: str | Fault) -> None:
    """Mail goes in clear, as relaying does it, or not at all."""
    with Peer({"STARTTLS": answer}, extensions=WITH_TLS) as peer:
        [attempt] = tried(peer, tls=tls)
        again = [line.side for line in attempt.lines].count(Side.AGAIN)
        if tls is TlsPolicy.REQUIRED:
            refused = isinstance(answer, str)
            assert attempt.finding is (Finding.NO_TLS if refused else Finding.TLS_FAILED)
            assert (again, len(peer.sessions)) == (0, 1)
            assert not any(command.startswith("MAIL") for command in said(peer))
        else:
            assert attempt.finding is Finding.TAKEN
            assert attempt.tls == ""
            assert (again, len(peer.sessions)) == ((0, 1) if isinstance(answer, str) else (1, 2))


@pytest.mark.parametrize("tls", [TlsPolicy.OPPORTUNISTIC, TlsPolicy.REQUIRED])
def test_a_certificate_that_will_not_do(tls: TlsPolicy) -> None:
    """What is wrong is told; where encryption is required, nothing more is said to the host."""
    stranger = Authority("Somebody else").issue(LOOPBACK)
    with Peer(extensions=WITH_TLS, certificate=stranger) as peer:
        [attempt] = tried(peer, tls=tls)
        assert attempt.fault is CertificateFault.UNKNOWN_ISSUER
        assert attempt.tls.endswith(", not verified")
        if tls is TlsPolicy.REQUIRED:
            assert attempt.finding is Finding.UNTRUSTED
            assert said(peer) == ["EHLO mail6m.test", "STARTTLS"]
        else:
            assert attempt.finding is Finding.TAKEN


def test_no_tls_where_it_is_required() -> None:
    """Nothing of an envelope is said in clear."""
    with Peer(extensions=PLAIN) as peer:
        assert tried(peer, tls=TlsPolicy.REQUIRED)[0].finding is Finding.NO_TLS
        assert said(peer) == ["EHLO mail6m.test", "QUIT"]


def test_said_in_clear_after_starttls() -> None:
    """What somebody has put in before the handshake is not taken for the host's (RFC 3207, 6)."""
    with speaking(b"220 x\r\n", b"250-x\r\n250 STARTTLS\r\n", b"220 Go\r\n250 x\r\n") as host:
        [attempt] = tried(host, tls=TlsPolicy.REQUIRED)
    assert attempt.finding in (Finding.TLS_FAILED, Finding.NO_SMTP)
    assert attempt.lines[-1] == Line(Side.HOST, "220 Go")


def test_hosts_in_order_and_at_once() -> None:
    """Every host has an attempt of its own, whatever becomes of the others."""
    with Peer() as good, Peer({"RCPT": "550 No"}) as bad:
        with socket.create_server((LOOPBACK, 0)) as listener:
            closed = Host(LOOPBACK, listener.getsockname()[1])
        found = tried(good, closed, bad)
        assert [attempt.finding for attempt in found] == [
            Finding.TAKEN,
            Finding.CLOSED,
            Finding.REFUSED,
        ]
        assert found[1].host == closed
        assert found[1].lines == []


@contextmanager
def speaking(*turns: bytes, heard: list[bytes] | None = None) -> Iterator[Host]:
    """A host that says these things, each after it has heard something; the first at once."""
    noted = heard if heard is not None else []

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            for turn in turns:
                connection.sendall(turn)
                noted.append(connection.recv(4_096))

    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield Host(LOOPBACK, listener.getsockname()[1])
        thread.join()


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2p1\r\n", b"-ERR unknown\r\n"])
def test_another_protocol(greeting: bytes) -> None:
    """A machine of the operator's own network is told nothing, and what it says is not shown."""
    heard: list[bytes] = []
    with speaking(greeting, heard=heard) as host:
        [attempt] = tried(host)
    assert attempt.finding is Finding.NO_SMTP
    assert attempt.lines == []
    assert not any(heard)


def test_long_lines_and_controls() -> None:
    """What is shown of a line is bounded, and plain text."""
    with speaking(
        b"220 x\r\n", b"250 " + b"a\x1b[31m" * 300 + b"\r\n", b"550 \xff\xfe\r\n"
    ) as host:
        [attempt] = tried(host)
    assert attempt.finding is Finding.REFUSED
    assert all(len(line.text) < 400 and line.text.isprintable() for line in attempt.lines)


@pytest.mark.parametrize(
    ("script", "finding", "extensions"),
    [
        ({"banner": Fault.SILENCE}, Finding.SILENT, PLAIN),
        ({"RCPT": Fault.SILENCE}, Finding.SILENT, PLAIN),
        ({"STARTTLS": Fault.HANDSHAKE_SILENCE}, Finding.SILENT, WITH_TLS),
        ({"EHLO": Fault.DRIP}, Finding.SILENT, PLAIN),
    ],
)
def test_a_host_that_takes_its_time(
    monkeypatch: pytest.MonkeyPatch,
    script: Script,
    finding: Finding,
    extensions: Sequence[str],
) -> None:
    """A trial ends when its time is up; what was said until then is shown, the connection cut."""
    monkeypatch.setattr(module, "PATIENCE", 0.7)
    with Peer(script, extensions=extensions) as peer:
        [attempt] = tried(peer)
        assert attempt.finding is finding
        assert peer.wait_for(lambda peer: all(s.closed_at for s in peer.sessions), 20)


def test_one_at_a_time() -> None:
    """While a customer's trial is under way, there is no other one of theirs; but of others'."""
    trial = Trial(the_reactor(), Demands(Told(), trusted()), "mail6m.test", OURS)
    held = threading.Event()
    with Peer({"banner": held}) as peer, Peer() as another:
        first = start(lambda: trial.of(1, DOMAIN, [Host(LOOPBACK, peer.port)], TlsPolicy.NONE))
        hosts = [Host(LOOPBACK, another.port)]
        with pytest.raises(Busy):
            run(lambda: trial.of(1, DOMAIN, hosts, TlsPolicy.NONE))
        [attempt] = run(lambda: trial.of(2, DOMAIN, hosts, TlsPolicy.NONE))
        assert attempt.finding is Finding.TAKEN
        held.set()
        [attempt] = run(lambda: finished(first))
        assert attempt.finding is Finding.TAKEN
        [attempt] = run(lambda: trial.of(1, DOMAIN, hosts, TlsPolicy.NONE))
        assert attempt.finding is Finding.TAKEN


def start(work: Callable[[], Any]) -> Deferred[Any]:
    """Begin something, and do not wait for it."""

    async def begin() -> list[Deferred[Any]]:  # in a list: a Deferred would be waited for
        return [Deferred.fromCoroutine(work())]

    return run(begin)[0]


async def finished(begun: Deferred[Any]) -> Any:
    """What it came to."""
    return await begun
