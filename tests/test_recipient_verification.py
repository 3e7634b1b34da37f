"""Recipient verification with a real server, its database, and receiving machines that tell."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.harness import LOOPBACK, Say, Server, free_ports, new_place
from tests.scripted_peer import Peer

UNKNOWN = "550 5.1.1 No such user here"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that lets clients come from everywhere, behind a proxy."""
    with new_place() as place:
        [proxied] = free_ports(1)
        endpoint = f"haproxy:tcp:{proxied}:interface={LOOPBACK}"
        options = ("--smtp", endpoint, "--sessions-per-address", "200")
        with Server(place, *options) as server:
            server.proxied = proxied
            server.owner = server.add_customer("Duchemin", "chef@mondomaine.fr")
            yield server


class Client:
    """A session as somebody's at another address."""

    def __init__(self, server: Server, address: str) -> None:
        self._socket = socket.create_connection((LOOPBACK, server.proxied), 30)
        self._lines = self._socket.makefile("rb")
        self._socket.sendall(f"PROXY TCP4 {address} 192.0.2.25 4711 25\r\n".encode())
        assert self.reply().startswith("220")
        self.say("EHLO client.test")
        self.say("MAIL FROM:<someone@example.org>")

    def reply(self) -> str:
        while (line := self._lines.readline().decode())[3:4] == "-":
            pass
        return line.strip()

    def say(self, command: str) -> str:
        self._socket.sendall(f"{command}\r\n".encode())
        return self.reply()

    def offer(self, address: str) -> str:
        """What RCPT is answered."""
        return self.say(f"RCPT TO:<{address}>")

    def ask(self, *addresses: str) -> None:
        """Say RCPT for each, and do not wait."""
        self._socket.sendall("".join(f"RCPT TO:<{one}>\r\n" for one in addresses).encode())

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@contextmanager
def clients(server: Server, *addresses: str) -> Iterator[list[Client]]:
    """Sessions as somebody's at these."""
    opened = [Client(server, address) for address in addresses]
    try:
        yield opened
    finally:
        for client in opened:
            client.close()


def figures(server: Server) -> dict[str, float]:
    """What /metrics says."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{server.web_port}/metrics") as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def asked(peer: Peer, address: str = "") -> int:
    """How many times a peer was asked for an address, or for any."""
    return sum(said.startswith(f"RCPT TO:<{address}") for said, _ in peer.commands)


def test_unknown_for_a_hundred_sessions(server: Server, say: Say) -> None:
    """One probe answers them all."""
    held = threading.Event()
    script = {"banner": held, "RCPT nobody@hundred.test": UNKNOWN}
    with Peer(script) as peer, clients(server, *(f"192.0.2.{n}" for n in range(100))) as hundred:
        server.add_domain("hundred.test", server.owner, peer.port, "--verify-recipients")
        for client in hundred:
            client.ask("nobody@hundred.test")
        assert peer.wait_for(lambda peer: peer.sessions, 20)
        start = time.monotonic()
        held.set()
        [reply] = {client.reply() for client in hundred}
        took = time.monotonic() - start
        assert reply.startswith("550 5.1.1")
        assert "No such user here" in reply
        assert asked(peer) == 1
        assert [said for said, _ in peer.commands if said.startswith(("MAIL", "DATA"))] == [
            "MAIL FROM:<>"
        ]
        say(f"recipients: 100 sessions, 1 probe, all refused {took * 1000:.0f} ms after its banner")


def test_the_machine_is_down(server: Server, say: Say) -> None:
    """Recipients are taken, the first ones after a refused connection, and then at once."""
    [closed] = free_ports(1)
    server.add_domain("down.test", server.owner, closed, "--verify-recipients")
    with clients(server, "192.0.2.1") as [client]:
        start = time.monotonic()
        said = {client.offer(f"someone{n}@down.test") for n in range(20)}
        took = time.monotonic() - start
        assert {reply[:3] for reply in said} == {"250"}
        assert figures(server)['mail6m_recipient_probes_total{result="unreachable"}'] == 1
        say(f"recipients: machine down, 20 taken in {took * 1000:.0f} ms, 1 connection tried")


def test_ten_thousand_guesses(server: Server, say: Say) -> None:
    """Few of them are asked; who guesses waits, and nobody else does."""
    script = {"RCPT": UNKNOWN} | {f"RCPT good{n}@guessed.test": "250 Ok" for n in range(50)}
    with (
        Peer(script) as peer,
        clients(server, *(["198.51.100.66"] * 100)) as guessing,
        clients(server, "192.0.2.1") as [other],
    ):
        server.add_domain("guessed.test", server.owner, peer.port, "--verify-recipients")
        guesses = (f"{n:05d}.guess@guessed.test" for n in range(10_000))
        for client in guessing:
            client.ask(*(next(guesses) for _ in range(100)))
        waited = []
        for n in range(50):
            start = time.monotonic()
            assert other.offer(f"good{n}@guessed.test").startswith("250")
            waited.append((time.monotonic() - start) * 1000)
        until = time.monotonic() + 20
        while not (slowed := figures(server)["mail6m_slowed_recipients_total"]):
            assert time.monotonic() < until
        probes = asked(peer) - 50
        assert probes <= 150
        while "slowed client=198.51.100.66" not in (log := server.log.read_text()):
            assert time.monotonic() < until
        assert log.count("slowed client=198.51.100.66") == 1
        assert log.count("guess@guessed.test") <= 31
        waited.sort()
        assert waited[-1] < 1000
        say(
            f"recipients: 10,000 guesses of one client: {probes} probes, {slowed:.0f} put off so"
            f" far; 50 new recipients of another: median {waited[25]:.1f} ms, most"
            f" {waited[-1]:.0f} ms"
        )
