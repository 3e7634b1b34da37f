"""Real rspamd and real spamd: what they say, and what becomes of mail when they do not."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.scanners import GTUBE, Daemon, Rspamd, Spamd, running
from mail6m.content import Budget, Content
from mail6m.guard.scanner import Report, ScanFailure, Scanner
from mail6m.guard.scanners import check, scanners
from mail6m.model import Client, Envelope, Recipient
from mail6m.settings import Settings, SettingsError
from tests.harness import LOOPBACK, Server, free_ports, new_place, require
from tests.reactor_thread import run, the_reactor
from tests.scripted_peer import Mail, Peer

PATIENCE = 30.0
LIMIT = 2.0
"""Seconds that the servers of these tests wait for a verdict."""
FRENCH = (
    "Bonjour,\r\n\r\nVeuillez trouver ci-joint notre facture du mois de juillet. Nous restons"
    " à votre disposition.\r\n\r\nCordialement,\r\nAnne Moreau\r\n"
).encode()


class World(NamedTuple):
    """A server with a scanner, and a customer who has a machine."""

    server: Server
    scanner: Daemon
    peer: Peer
    customer: int

    def send(self, sender: str, body: bytes, recipient: str = "marie@mondomaine.test") -> None:
        """A message, which must be accepted."""
        with smtplib.SMTP(LOOPBACK, self.server.smtp_port, timeout=PATIENCE) as client:
            assert client.sendmail(sender, recipient, letter(sender, body)) == {}

    def relayed(self, sender: str, count: int = 1) -> list[Mail]:
        """What the customer's machine has got from somebody."""

        def mails(peer: Peer) -> list[Mail]:
            return [mail for mail in peer.mails if mail.sender == sender]

        assert self.peer.wait_for(lambda peer: len(mails(peer)) >= count, PATIENCE)
        return mails(self.peer)

    def marks(self, sender: str) -> list[bool | None]:
        """Whether what somebody sent is spam, as operators see it."""
        return [m["spam"] for m in self.server.messages(self.customer) if m["sender"] == sender]


def letter(sender: str, body: bytes) -> bytes:
    """A message with a header that nobody could find fault with, but for what it forges."""
    return (
        f"Date: Sat, 28 Nov 2026 12:00:00 +0000\r\nFrom: Anne Moreau <{sender}>\r\n"
        f"To: Marie <marie@mondomaine.test>\r\nSubject: Facture de juillet\r\n"
        f"Message-ID: <{time.monotonic_ns()}.facture@{sender.partition('@')[2]}>\r\n"
        "X-Spam-Flag: NO\r\nX-Spam-Status: No, score=-100\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    ).encode() + body


@pytest.fixture(scope="module", params=[Rspamd, Spamd], ids=["rspamd", "spamd"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One for each scanner."""
    require(request.param.__name__.lower(), request.param.__name__.lower())
    with new_place() as place, running(request.param, place / "scanner") as scanner:
        options = (*scanner.options, "--scan-timeout", str(LIMIT))
        with Server(place, *options) as server, Peer({}) as peer:
            customer = server.add_customer("Duchemin", "georges@duchemin.test")
            server.add_domain("mondomaine.test", customer, peer.port)
            yield World(server, scanner, peer, customer)


def test_spam_is_marked_and_arrives_marked(world: World) -> None:
    """GTUBE, under a forged header that says it is none; the archive has it as it came."""
    world.send("spam@example.org", GTUBE + b"\r\n")
    [mail] = world.relayed("spam@example.org")
    head = mail.content.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"X-Spam-Flag: YES\r\nX-Spam-Score: ")
    assert b"GTUBE" in head
    assert head.count(b"X-Spam-Flag") == head.count(b"X-Spam-Status") == 1
    assert world.marks("spam@example.org") == [True]
    [message] = [m for m in world.server.messages(world.customer) if m["spam"]]
    archived = world.server.export(world.customer, message["id"])
    assert b"\r\nX-Spam-Flag: NO\r\n" in archived
    assert GTUBE in archived


def test_a_plain_letter_is_not_spam(world: World) -> None:
    """In French, with accents."""
    world.send("anne@example.org", FRENCH)
    [mail] = world.relayed("anne@example.org")
    assert mail.content.startswith(b"X-Spam-Flag: NO\r\nX-Spam-Score: ")
    assert mail.content.endswith(FRENCH)
    assert world.marks("anne@example.org") == [False]


def test_a_white_listed_domain_is_not_scanned(world: World) -> None:
    """The scanner's own log has one of the two messages."""
    world.server.sql(
        "INSERT INTO whitelist (customer_id, domain) VALUES (%s, 'cargo.test'), (%s, 'sign.test')",
        world.customer,
        world.customer,
    )
    deadline = time.monotonic() + PATIENCE
    while False not in world.marks("here@sign.test"):  # the server is told while we go on
        assert time.monotonic() < deadline
        world.send("here@sign.test", GTUBE + b"\r\n")
    for sender in ("spared@fret.cargo.test", "scanned@other.test"):
        world.send(sender, GTUBE + b"\r\n")
        world.relayed(sender)
    assert world.marks("spared@fret.cargo.test") == [False]
    assert world.marks("scanned@other.test") == [True]
    [mail] = world.relayed("spared@fret.cargo.test")
    assert mail.content.startswith(b"X-Spam-Flag: NO\r\nX-Spam-Status: No, white list\r\n")
    deadline = time.monotonic() + PATIENCE  # a log is written when there is time
    while "other.test" not in world.scanner.log and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert "facture@other.test" in world.scanner.log
    assert "cargo.test" not in world.scanner.log


def test_a_scanner_that_is_held_up_delays_nobody_beyond_the_limit(world: World) -> None:
    """The message is taken in after the limit, and marked; when the scanner goes on, so do we."""
    world.scanner.hold()
    try:
        begun = time.monotonic()
        world.send("held@example.org", FRENCH)
        assert LIMIT * 0.9 < time.monotonic() - begun < LIMIT + 5
    finally:
        world.scanner.go_on()
    assert world.marks("held@example.org") == [None]
    [mail] = world.relayed("held@example.org")
    assert mail.content.startswith(b"X-Spam-Status: Unknown, not scanned")


def test_a_scanner_that_is_killed_under_load_loses_nothing(world: World) -> None:
    """Every message is there, marked or "not scanned"; then it comes back, and is asked again."""
    sent, killed = 60, threading.Event()

    def bring(first: int) -> None:
        with smtplib.SMTP(LOOPBACK, world.server.smtp_port, timeout=PATIENCE) as client:
            for number in range(first, sent, 4):
                if number >= sent // 2:
                    assert killed.wait(PATIENCE)
                client.sendmail(
                    "load@example.org", "marie@mondomaine.test", letter("load@example.org", FRENCH)
                )

    threads = [threading.Thread(target=bring, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    world.relayed("load@example.org", 5)
    world.scanner.kill()
    killed.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(world.relayed("load@example.org", sent)) == sent
    marks = world.marks("load@example.org")
    assert (len(marks), set(marks) <= {False, None}) == (sent, True)
    assert marks.count(None) >= sent // 2
    assert "not scanned" in world.server.command("status")["antispam"]
    world.scanner.start()
    deadline = time.monotonic() + PATIENCE
    while True not in world.marks("back@example.org"):
        assert time.monotonic() < deadline
        world.send("back@example.org", GTUBE + b"\r\n")


# Without a server around it


@pytest.fixture
def taught(world: World) -> Scanner:
    """The scanner, as the server asks it."""
    return chosen(world.scanner)


def chosen(daemon: Daemon) -> Scanner:
    """What the server would ask, by its options."""
    options = dict(zip(daemon.options[::2], daemon.options[1::2], strict=True))
    named = {name.removeprefix("--").replace("-", "_"): value for name, value in options.items()}
    if "rspamd_password_file" in named:
        named["rspamd_password_file"] = Path(named["rspamd_password_file"])
    [scanner] = scanners(the_reactor(), Settings(**named))
    return scanner


ENVELOPE = Envelope(
    "anne@example.org",
    (Recipient("marie@mondomaine.test"), Recipient("jean@mondomaine.test")),
    Client("192.0.2.7", "mail.example.org"),
)


def scan(scanner: Scanner, octets: bytes, tmp_path: Path, threshold: int = 1 << 20) -> Report:
    """What a scanner says of a message."""
    content = Content(Budget(1 << 22), tmp_path, threshold)
    content.write(octets)
    try:
        return run(lambda: scanner.scan(ENVELOPE, content))
    finally:
        content.close()


async def pieces(octets: bytes) -> AsyncIterator[bytes]:
    """As the archive would give them."""
    yield octets[:100]
    yield octets[100:]


@pytest.mark.parametrize("kind", ["rspamd:http://{}", "spamd:{}"])
@pytest.mark.parametrize("threshold", [10, 1 << 20])
def test_all_of_a_message_is_sent(kind: str, threshold: int, tmp_path: Path) -> None:
    """Out of a file, piece by piece, and out of memory."""
    octets = letter("anne@example.org", FRENCH * 4_000)
    heard: list[bytes] = []
    with answering(b"nothing", heard) as where:
        [scanner] = scanners(the_reactor(), Settings(scanner=kind.format(where)))
        with pytest.raises(ScanFailure):
            scan(scanner, octets, tmp_path, threshold)
    assert b"".join(heard).endswith(octets)


def test_a_last_line_without_an_end(taught: Scanner, tmp_path: Path) -> None:
    """BDAT lets a message end anywhere; the scanner does not wait for the rest of the line."""
    octets = letter("anne@example.org", FRENCH + GTUBE + b"\r\nthe end")
    assert scan(taught, octets, tmp_path).spam


def test_a_thousand_recipients(taught: Scanner, tmp_path: Path) -> None:
    """The scanner is told of as many as it stands."""
    many = tuple(Recipient(f"marie+{'a' * 200}{n}@mondomaine.test") for n in range(1_000))
    content = Content(Budget(1 << 22), tmp_path, 1 << 20)
    content.write(letter("anne@example.org", GTUBE + b"\r\n"))
    envelope = ENVELOPE._replace(recipients=many)
    assert run(lambda: taught.scan(envelope, content)).spam


def test_it_learns(taught: Scanner, tmp_path: Path) -> None:
    """What it has been told is spam, it takes for spam; told twice is no failure."""
    words = " ".join(f"pilule{number} rabais{number}" for number in range(200))
    spam = letter("spam@example.org", f"{words}\r\n".encode())
    for _ in range(2):
        run(lambda: taught.learn(pieces(spam), True))
    for number in range(12):
        ham = letter("anne@example.org", FRENCH + f"Affaire {number * 7919}\r\n".encode())
        run(lambda ham=ham: taught.learn(pieces(ham), False))
    assert isinstance(scan(taught, spam, tmp_path), Report)


@pytest.mark.parametrize("kind", ["rspamd:http://{}", "spamd:{}"])
@pytest.mark.parametrize(
    "answer",
    [b"", b"220 mail.example.org ESMTP\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
     b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", b"SPAMD/1.1 74 EX_IOERR\r\n\r\n",
     b"SPAMD/1.1 0 EX_OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000],
)  # fmt: skip
def test_nonsense_is_a_failure(kind: str, answer: bytes, tmp_path: Path) -> None:
    """Whatever answers at the port: nothing at all, another server, one that is broken, a flood."""
    with answering(answer, []) as where:
        [scanner] = scanners(the_reactor(), Settings(scanner=kind.format(where)))
        with pytest.raises(ScanFailure):
            scan(scanner, letter("anne@example.org", FRENCH), tmp_path)


@contextlib.contextmanager
def answering(answer: bytes, heard: list[bytes]) -> Iterator[str]:
    """A server that hears one question out, and answers the same to whatever it was."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=_answer, args=(listener, answer, heard), daemon=True)
        thread.start()
        yield f"{LOOPBACK}:{listener.getsockname()[1]}"
        thread.join(PATIENCE)


def _answer(listener: socket.socket, answer: bytes, heard: list[bytes]) -> None:
    connection, _ = listener.accept()
    connection.settimeout(0.3)
    with connection, contextlib.suppress(OSError):
        with contextlib.suppress(TimeoutError):
            while octets := connection.recv(65_536):
                heard.append(octets)
        connection.settimeout(PATIENCE)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass


@pytest.mark.parametrize("kind", ["rspamd:http://{}", "spamd:{}"])
def test_nobody_there_is_a_failure(kind: str) -> None:
    """And told as one."""
    [port] = free_ports(1)
    [scanner] = scanners(the_reactor(), Settings(scanner=kind.format(f"{LOOPBACK}:{port}")))
    with pytest.raises(ScanFailure):
        run(scanner.answers)


@pytest.mark.parametrize(
    "wrong", ["rspamd", "rspamd:", "rspamd:127.0.0.1:11333", "rspamd:ftp://x.test", "spamd:",
              "spamd:x.test:0", "rspamd:http://x.test:99999", "clamd:x.test", "auto:x", "none:"],
)  # fmt: skip
def test_a_wrong_setting_is_told(wrong: str) -> None:
    """Before anything starts."""
    with pytest.raises(SettingsError):
        check(Settings(scanner=wrong))


def test_a_password_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """By its name."""
    missing = tmp_path / "missing"
    with pytest.raises(SettingsError, match="missing"):
        scanners(the_reactor(), Settings(scanner="auto", rspamd_password_file=missing))
