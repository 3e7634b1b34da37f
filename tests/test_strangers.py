"""Who may talk to us, through real sockets: a server with everything on, and clients of loopback's.

Addresses of 127.0.0.0/8 are strangers here, and 127.N.0.0/16 is a neighbourhood for each test.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.harness import LOOPBACK, Server, Sink, free_ports, new_place
from tests.zone import Zone

HERE = "marie@mondomaine.fr"
LETTER = "From: anne@example.org\r\nSubject: Bonjour\r\n\r\nBonjour Marie\r\n"
CONNECTIONS, MESSAGES, RECIPIENTS = 20, 10, 12
RECORDS = {"2.0.9.127.bad.test A": "127.0.0.4", "3.0.9.127.bad.test A": "127.0.0.9"}


class Site(Server):
    """A server that holds strangers up in every way, the zone that it asks, and its customer."""

    def __init__(self, place: object, zone: Zone, sink: Sink) -> None:
        [self.proxied_port] = free_ports(1)
        options = {
            "--internal": "192.0.2.0/24",
            "--banner-delay": "0.2",
            "--rate-connections": str(CONNECTIONS),
            "--rate-messages": str(MESSAGES),
            "--rate-recipients": str(RECIPIENTS),
            "--dnsbl": "bad.test=127.0.0.[2..4]*3",
            "--dns": f"{LOOPBACK}:{zone.port}",
        }
        words = [word for option in options.items() for word in option]
        words += ["--dnsbl", "dead.test*3"]
        words += ["--smtp", f"haproxy:tcp:{self.proxied_port}:interface={LOOPBACK}"]
        super().__init__(place, *words)  # type: ignore[arg-type]
        self.zone, self.sink = zone, sink

    def settle_in(self) -> None:
        """A customer with a domain."""
        customer = self.add_customer("Duchemin", "georges@duchemin.fr")
        self.add_domain("mondomaine.fr", customer, self.sink.port)

    def client(self, address: str) -> smtplib.SMTP:
        """A session from that address, greeted. Raises `smtplib.SMTPConnectError`."""
        return smtplib.SMTP(
            LOOPBACK, self.smtp_port, "client.test", timeout=20, source_address=(address, 0)
        )

    def bring(self, address: str, *, to: str = HERE) -> None:
        """Bring a message."""
        with self.client(address) as client:
            client.sendmail("anne@example.org", [to], LETTER)

    def greetings(
        self, address: str, count: int, *, first: bytes = b"", proxied: bool = False
    ) -> Counter[bytes]:
        """The codes that so many connections at once are met with, each saying ``first``."""
        peer = (LOOPBACK, self.proxied_port if proxied else self.smtp_port)
        with contextlib.ExitStack() as open_:
            clients = []
            for _ in range(count):
                client = socket.create_connection(peer, 20, source_address=(address, 0))
                clients.append(open_.enter_context(client))
                client.sendall(first)
            return Counter(client.recv(512)[:4] for client in clients)

    def figure(self, name: str) -> int:
        """What a line of /metrics says, with its label."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.web_port}/metrics") as answer:
            shown = answer.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)", shown, re.M)
        return int(float(found[1])) if found else 0

    def turned_away(self, reason: str) -> int:
        """How many have been, so far."""
        return self.figure(f'mail6m_clients_turned_away_total{{reason="{reason}"}}')

    def logged(self, pattern: str, patience: float = 20.0) -> list[str]:
        """What the log has of that, when it has some: lines wait for others."""
        deadline = time.monotonic() + patience
        while not (found := re.findall(pattern, self.log.read_text())):
            assert time.monotonic() < deadline, f"not in the log: {pattern}"
            self.paused()  # an answer of the server's, to wait for
        return found

    def paused(self) -> int:
        """How many banners were held back, so far."""
        return self.figure("mail6m_clients_paused_total")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One for all these tests."""
    with Zone(RECORDS) as zone, Sink() as sink, new_place() as place:
        zone.failing.add("3.0.9.127.dead.test")
        with Site(place, zone, sink) as site:
            site.settle_in()
            yield site


def test_who_speaks_first_is_turned_away(site: Site) -> None:
    """554 in the banner's place; counted, and no step nearer to being known."""
    before, paused = site.turned_away("early"), site.paused()
    assert site.greetings("127.1.0.1", 2, first=b"EHLO client.test\r\n") == {b"554 ": 2}
    assert site.turned_away("early") == before + 2
    assert site.paused() == paused + 2


def test_who_behaves_is_not_paused_again_even_after_a_restart(site: Site) -> None:
    """A stranger is paused until its first message is accepted; to have waited is not enough."""
    paused = site.paused()
    for _ in range(2):
        site.client("127.2.0.1").quit()
    site.bring("127.2.0.1")
    assert site.paused() == paused + 3
    site.bring("127.2.0.1")
    assert site.paused() == paused + 3
    assert site.terminate() == 0
    site.start()
    paused = site.paused()
    site.bring("127.2.0.1")
    assert site.paused() == paused
    site.bring("127.2.0.2")
    assert site.paused() == paused + 1
    assert site.figure("mail6m_known_clients") >= 2


def test_connections_beyond_the_rate(site: Site) -> None:
    """421 in the banner's place, and a client elsewhere notices nothing."""
    before = site.turned_away("connections")
    met = site.greetings("127.3.0.1", 2 * CONNECTIONS)
    assert set(met) == {b"220 ", b"421 "}
    assert CONNECTIONS <= met[b"220 "] < CONNECTIONS + 5  # by the time that it took
    assert site.turned_away("connections") == before + met[b"421 "]
    assert site.greetings("127.4.0.1", 1) == {b"220 ": 1}


def test_messages_beyond_the_rate(site: Site) -> None:
    """450 at MAIL; those before are accepted, and the session goes on."""
    with site.client("127.5.0.1") as client:
        client.ehlo()
        codes = []
        for _ in range(2 * MESSAGES):
            codes.append(client.mail("anne@example.org")[0])
            client.rset()
        assert codes[:MESSAGES] == [250] * MESSAGES
        assert 450 in codes
        assert client.noop()[0] == 250
    site.bring("127.6.0.1")


def test_recipients_beyond_the_rate(site: Site) -> None:
    """450 4.7.1 at RCPT for those beyond, and the message goes to those before."""
    with site.client("127.7.0.1") as client:
        client.ehlo()
        client.mail("anne@example.org")
        answers = [client.rcpt(HERE) for _ in range(2 * RECIPIENTS)]
        assert [code for code, _ in answers[:RECIPIENTS]] == [250] * RECIPIENTS
        assert any(text.startswith(b"4.7.1 Too many recipients") for _, text in answers)
        assert client.data(LETTER)[0] == 250


def test_one_client_over_its_limits_does_not_hold_up_another(site: Site) -> None:
    """While one hammers at the door, every message of another is accepted, and quickly."""
    site.bring("127.10.0.1")
    over = threading.Event()

    def hammer() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                site.greetings("127.8.0.1", 1)

    hammers = [threading.Thread(target=hammer) for _ in range(4)]
    refused = site.turned_away("connections")
    for thread in hammers:
        thread.start()
    try:
        deadline = time.monotonic() + 20
        while site.turned_away("connections") < refused + 100:
            assert time.monotonic() < deadline, "the client that hammers is not refused"
        begun = time.monotonic()
        for _ in range(5):
            site.bring("127.10.0.1")
        assert time.monotonic() - begun < 5.0
    finally:
        over.set()
        for thread in hammers:
            thread.join()
    assert 1 <= len(site.logged(r"turned away client=127\.8\.0\.1 ")) <= 2  # one a minute


def test_behind_a_proxy_it_is_the_clients_own_rate(site: Site) -> None:
    """A client that is over its limit is refused; another through the same proxy is not."""

    def through_proxy(address: str, count: int) -> Counter[bytes]:
        header = f"PROXY TCP4 {address} 192.0.2.1 40000 25\r\n".encode()
        return site.greetings(LOOPBACK, count, first=header, proxied=True)

    met = through_proxy("203.0.113.9", 2 * CONNECTIONS)
    assert set(met) == {b"220 ", b"421 "}
    assert met[b"220 "] >= CONNECTIONS
    assert through_proxy("198.51.100.9", CONNECTIONS) == {b"220 ": CONNECTIONS}


def test_a_listed_client(site: Site) -> None:
    """550 at RCPT that names the list; postmaster can be reached; nothing else comes in."""
    accepted = site.figure("mail6m_accepted_messages_total")
    listed = site.turned_away("listed")
    with site.client("127.9.0.2") as client:
        client.ehlo()
        client.mail("anne@example.org")
        code, text = client.rcpt(HERE)
        assert code == 550
        assert text.startswith(b"5.7.1 127.9.0.2 is listed by bad.test;")
        assert client.rcpt("postmaster@mondomaine.fr")[0] == 250
        assert client.rcpt("postmaster@mail6m.test")[0] == 250
        assert client.rcpt("jean@elsewhere.test")[0] == 550
        client.rset()
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("anne@example.org", [HERE], LETTER)
    assert site.figure("mail6m_accepted_messages_total") == accepted
    assert site.turned_away("listed") == listed + 2


def test_a_client_that_is_not_listed_enough(site: Site) -> None:
    """An answer that does not count, and a list that fails: it brings its mail."""
    failures = site.figure('mail6m_dnsbl_failures_total{zone="dead.test"}')
    site.bring("127.9.0.3")
    assert site.figure('mail6m_dnsbl_failures_total{zone="dead.test"}') == failures + 1
    assert site.zone.asked["3.0.9.127.bad.test", "A"] == 1
