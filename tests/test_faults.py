"""What got a 250 is archived and arrives, whatever is killed and whenever (issue 2, line 5)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import smtplib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import psycopg2
import pytest

from mail6m.storage.embedded import Embedded
from tests.harness import LOOPBACK, Arrival, Say, Server, Sink, free_ports, kill, new_place

SEED = 20
ROUNDS = ["twistd"] * 7 + ["a backend"] * 6 + ["the postmaster"] * 6 + ["twistd and the postmaster"]
RECOVERY_SECONDS = 30.0
"""For the first 250 after a fault."""
DRAIN_SECONDS = 60.0

SENDER = "expediteur@example.org"
RECIPIENTS = (
    ("marie@mondomaine.fr",),
    ("marie@mondomaine.fr", "paul@mondomaine.fr"),  # one destination
    ("marie@mondomaine.fr", "marie@duchemin.test"),  # two, of one customer
    ("marie@mondomaine.fr", "jean@example.test"),  # two customers
)
WEIGHTS = (16, 1, 1, 1)
LINES = base64.encodebytes(random.Random(SEED).randbytes(600_000)).replace(b"\n", b"\r\n")
"""What bodies are cut out of."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to send, known by its name in X-Ledger and Subject."""

    name: str
    recipients: tuple[str, ...]
    content: bytes
    """As it is archived: lines that end with CRLF, dots not stuffed."""
    sha256: str
    """In hex, of the content."""


@dataclass
class Ledger:
    """Every letter that was offered, and whether its client saw a 250."""

    offered: dict[str, Letter] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    farewells: int = 0
    """Sessions that were closed with a 421."""
    errors: list[str] = field(default_factory=list)
    """Replies that no fault explains."""

    def __post_init__(self) -> None:
        self._changed = threading.Condition()

    def offer(self, letter: Letter) -> None:
        """It is about to be sent, for the first time."""
        with self._changed:
            self.offered[letter.name] = letter

    def accept(self, letter: Letter) -> None:
        """Its client has just read the 250."""
        with self._changed:
            self.accepted.add(letter.name)
            self._changed.notify_all()

    def refuse(self, reply: bytes) -> None:
        """A client was told something else than a 2xx or 3xx."""
        with self._changed:
            if reply.startswith(b"421"):
                self.farewells += 1
            elif not reply.startswith(b"451"):
                self.errors.append(reply.decode(errors="replace"))

    def gather(self, seconds: float) -> None:
        """Let the load go on for so long."""
        with self._changed:
            self._changed.wait_for(lambda: False, seconds)

    def wait_for(self, accepted: int, patience: float) -> bool:
        """Wait until so many letters have been accepted in all."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.accepted) >= accepted, patience)


class Refused(Exception):
    """The server does not take a letter now, and this is its reply."""


class Client(threading.Thread):
    """Sends letter after letter, each until it is accepted, in one of three manners."""

    def __init__(self, number: int, port: int, ledger: Ledger, manner: str) -> None:
        super().__init__(daemon=True)
        self._name = f"{manner}{number}"
        self._port = port
        self._ledger = ledger
        self._random = random.Random(SEED * 100 + number)
        self._send = {"single": self._single, "kept": self._kept, "pipelined": self._pipelined}[
            manner
        ]
        self._written = 0
        self._done = threading.Event()

    def stop(self) -> None:
        """Begin no other session, and give up what is not accepted."""
        self._done.set()

    def run(self) -> None:
        """Write some letters and send them, again and again."""
        while not self._done.is_set():
            letters = [self._write() for _ in range(self._random.randint(1, 8))]
            while letters and not self._done.is_set():
                try:
                    self._send(letters)
                except Refused as error:
                    self._ledger.refuse(error.args[0])
                    self._done.wait(0.05)
                except (OSError, smtplib.SMTPServerDisconnected):
                    self._done.wait(0.05)
                except smtplib.SMTPRecipientsRefused as error:
                    [(code, text), *_] = error.recipients.values()
                    self._ledger.refuse(b"%d %s" % (code, text))
                except smtplib.SMTPResponseException as error:
                    self._ledger.refuse(b"%d %s" % (error.smtp_code, _octets(error.smtp_error)))
                    self._done.wait(0.05)

    def _write(self) -> Letter:
        self._written += 1
        chance = self._random
        name = f"{self._name}-{self._written}"
        size = 300_000 if chance.random() < 0.02 else chance.randint(2_000, 8_000)
        start = chance.randrange(len(LINES) - size)
        [recipients] = chance.choices(RECIPIENTS, WEIGHTS)
        header = (
            f"From: {SENDER}\r\nTo: {recipients[0]}\r\nSubject: {name}\r\nX-Ledger: {name}\r\n"
            f"Message-ID: <{name}@example.org>\r\n\r\n.a dot in front\r\n.\r\n"
        )
        content = header.encode() + LINES[start : start + size].strip() + b"\r\nd\xe9j\xe0\r\n"
        letter = Letter(name, recipients, content, hashlib.sha256(content).hexdigest())
        self._ledger.offer(letter)
        return letter

    # Three manners; each takes the letters that were accepted off the list

    def _single(self, letters: list[Letter]) -> None:
        """A session for each."""
        while letters:
            with smtplib.SMTP(LOOPBACK, self._port, timeout=RECOVERY_SECONDS) as client:
                self._with_smtplib(client, letters[0])
            letters.pop(0)

    def _kept(self, letters: list[Letter]) -> None:
        """A session for all."""
        with smtplib.SMTP(LOOPBACK, self._port, timeout=RECOVERY_SECONDS) as client:
            while letters:
                self._with_smtplib(client, letters[0])
                letters.pop(0)

    def _with_smtplib(self, client: smtplib.SMTP, letter: Letter) -> None:
        refused = client.sendmail(SENDER, letter.recipients, letter.content, ["BODY=8BITMIME"])
        if refused:  # the 250 is for some of them only, which the ledger does not know
            self._ledger.errors.append(f"{letter.name} was taken for some recipients: {refused}")
        self._ledger.accept(letter)

    def _pipelined(self, letters: list[Letter]) -> None:
        """A session for all, where a content and the next envelope go together (RFC 2920)."""
        with socket.create_connection((LOOPBACK, self._port), RECOVERY_SECONDS) as connection:
            replies = connection.makefile("rb")
            _expect(replies, b"220")
            connection.sendall(b"EHLO example.org\r\n" + _envelope(letters[0]))
            _expect(replies, b"250")
            while letters:
                letter = letters[0]
                for _ in range(1 + len(letter.recipients)):
                    _expect(replies, b"250")
                _expect(replies, b"354")
                following = _envelope(letters[1]) if len(letters) > 1 else b"QUIT\r\n"
                stuffed = letter.content.replace(b"\r\n.", b"\r\n..")
                connection.sendall(stuffed + b".\r\n" + following)
                _expect(replies, b"250")
                self._ledger.accept(letters.pop(0))
            _expect(replies, b"221")


def _envelope(letter: Letter) -> bytes:
    recipients = "".join(f"RCPT TO:<{address}>\r\n" for address in letter.recipients)
    return f"MAIL FROM:<{SENDER}> BODY=8BITMIME\r\n{recipients}DATA\r\n".encode()


def _expect(replies: BinaryIO, code: bytes) -> None:
    """Read a reply. Raises `Refused`, or `ConnectionError` when there is none."""
    while True:
        line = replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server went away")
        if line[3:4] != b"-":
            break
    if not line.startswith(code):
        raise Refused(line)


def _octets(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


@contextlib.contextmanager
def _load(server: Server, ledger: Ledger) -> Iterator[None]:
    """Five clients at work."""
    manners = ("single", "kept", "kept", "pipelined", "pipelined")
    clients = [
        Client(number, server.smtp_port, ledger, manner) for number, manner in enumerate(manners)
    ]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.stop()
        for client in clients:
            client.join(2 * RECOVERY_SECONDS)


@dataclass(frozen=True)
class Scene:
    """A server, what it relays to, and whose mail it takes: customers by domain."""

    server: Server
    sink: Sink
    customers: dict[str, int]

    def owner(self, recipient: str) -> int:
        """The customer whose mail this is."""
        return self.customers[recipient.partition("@")[2]]


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Two customers with three domains between them."""
    with new_place() as place, Sink() as sink, Server(place) as server:
        first = server.add_customer("Duchemin", "marie@mondomaine.fr")
        second = server.add_customer("Exemple", "jean@example.test")
        customers = {"mondomaine.fr": first, "duchemin.test": first, "example.test": second}
        for domain, customer in customers.items():
            server.add_domain(domain, customer, sink.port)
        yield Scene(server, sink, customers)


@dataclass(frozen=True)
class Tally:
    """What was found in the end: messages, and copies beyond the first."""

    offered: int
    accepted: int
    archived_again: int
    arrived_again: int

    def __str__(self) -> str:
        return (
            f"{self.accepted} of {self.offered} messages got a 250; none is missing; duplicates: "
            f"{self.archived_again} in the archive, {self.arrived_again} at the destination"
        )


def _check(scene: Scene, ledger: Ledger) -> Tally:
    """Nothing is missing, nothing was made up, and the counts are right."""
    assert not ledger.errors, ledger.errors[:5]
    relayed = _relayed(scene.sink, ledger)
    archived: Counter[tuple[int, str]] = Counter()
    for customer in sorted(set(scene.customers.values())):
        messages = scene.server.messages(customer)
        _check_counters(scene.server.customer(customer), messages)
        for message in messages:
            letter = ledger.offered[message["subject"]]
            assert message["sha256"] == letter.sha256, f"{message} was archived altered"
            theirs = [r for r in letter.recipients if scene.owner(r) == customer]
            assert message["recipients"] == theirs
            assert all(relayed[letter.name, r] for r in theirs), f"{message} did not arrive"
            archived[customer, letter.name] += 1
        _check_sample(scene.server, customer, messages, ledger)
    for name in ledger.accepted:
        for recipient in ledger.offered[name].recipients:
            assert archived[scene.owner(recipient), name], f"{name} got a 250 and is not archived"
            assert relayed[name, recipient], f"{name} got a 250 and did not reach {recipient}"
    return Tally(
        len(ledger.offered),
        len(ledger.accepted),
        archived.total() - len(archived),
        relayed.total() - len(relayed),
    )


def _relayed(sink: Sink, ledger: Ledger) -> Counter[tuple[str, str]]:
    """How often each letter has reached each recipient, unaltered."""
    relayed: Counter[tuple[str, str]] = Counter()
    for arrival in sink.arrivals:
        assert arrival.sha256 == ledger.offered[arrival.ledger].sha256, f"{arrival} was altered"
        relayed.update((arrival.ledger, recipient) for recipient in arrival.recipients)
    return relayed


def _check_counters(customer: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    assert customer["cabinet_messages"] == len(messages)
    assert customer["cabinet_bytes"] == sum(message["stored_size"] for message in messages)


def _check_sample(
    server: Server, customer: int, messages: list[dict[str, Any]], ledger: Ledger
) -> None:
    """The largest, and some others, octet by octet."""
    ordered = sorted(messages, key=lambda message: int(message["raw_size"]))
    for message in (ordered[0], ordered[len(ordered) // 2], ordered[-1]):
        content = ledger.offered[message["subject"]].content
        assert server.export(customer, message["id"]) == content


def _strike(server: Server, what: str, chance: random.Random) -> None:
    """Kill it, and start again what nobody else would."""
    postmaster = server.postmaster()
    if what == "a backend":
        # The others die with it: PostgreSQL does not trust what they share any more.
        assert kill(chance.choice(server.backends()))
    if "postmaster" in what:
        assert postmaster is not None
        assert kill(postmaster)
    if "twistd" in what:
        server.kill()
        server.start()


def test_nothing_is_lost_when_processes_are_killed(scene: Scene, say: Say) -> None:
    """Whatever got a 250 is in the archive and at its destination, after 20 kill -9 under load."""
    ledger, chance = Ledger(), random.Random(SEED)
    rounds = chance.sample(ROUNDS, len(ROUNDS))
    slowest = 0.0
    with _load(scene.server, ledger):
        for number, what in enumerate(rounds, 1):
            ledger.gather(chance.uniform(0.2, 0.8))
            struck = time.monotonic()
            _strike(scene.server, what, chance)
            # More than the clients had under way, so that some came after the fault.
            recovered = ledger.wait_for(len(ledger.accepted) + 20, RECOVERY_SECONDS)
            if not recovered:  # not an assertion, which would cut the logs short
                raise scene.server.error(f"round {number}: too few 250s since {what} was killed")
            slowest = max(slowest, time.monotonic() - struck)
    assert scene.server.alive
    scene.server.wait_until_relayed(DRAIN_SECONDS)
    assert "Traceback" not in scene.server.log.read_text()
    tally = _check(scene, ledger)
    say(f"{len(rounds)} kills: {tally}; slowest recovery {slowest:.1f} s")


def test_sigterm_under_load_loses_nothing(scene: Scene, say: Say) -> None:
    """SIGTERM ends the server within 10 s with status 0; clients hear 421, and their 250s hold."""
    ledger = Ledger()
    with socket.create_connection((LOOPBACK, scene.server.smtp_port), 15) as idle:
        replies = idle.makefile("rb")
        _expect(replies, b"220")
        with _load(scene.server, ledger):
            assert ledger.wait_for(300, RECOVERY_SECONDS)
            began = time.monotonic()
            assert scene.server.terminate() == 0
            seconds = time.monotonic() - began
        _expect(replies, b"421")
        assert replies.read() == b""
    assert seconds < 10
    assert ledger.farewells
    assert scene.server.postmaster() is None
    scene.server.start()
    scene.server.wait_until_relayed(DRAIN_SECONDS)
    tally = _check(scene, ledger)
    say(f"SIGTERM, obeyed in {seconds:.1f} s: {tally}")


def test_a_destination_that_is_down_costs_no_copies_elsewhere(scene: Scene) -> None:
    """Mail to two destinations, one of them down: what goes to the other is not let go of."""
    server, sink = scene.server, scene.sink
    [nobody] = free_ports(1)
    server.command("domain", "remove", "duchemin.test")
    server.add_domain("duchemin.test", scene.customers["duchemin.test"], nobody)
    go_on, offered = threading.Event(), []

    def answer(arrival: Arrival) -> str:
        offered.append(arrival)
        return "250 2.0.0 Taken" if go_on.wait(60) else "451 4.3.0 Late"

    sink.on_message = answer
    recipients = ("marie@mondomaine.fr", "marie@duchemin.test")
    with contextlib.ExitStack() as sessions:
        ends = [sessions.enter_context(_almost_sent(server, recipients)) for _ in range(8)]
        for end in ends:  # all at once, so that they wait together for the one that is down
            end()
    while server.command("queue", "retry", "--destination", "duchemin.test")["count"] < 2:
        assert server.alive
    assert server.command("queue", "retry", "--destination", "mondomaine.fr")["count"] == 0
    go_on.set()
    assert sink.wait_for(lambda arrivals: len(arrivals) >= 8, RECOVERY_SECONDS)
    assert len(offered) == 8


def test_what_a_server_takes_in_after_it_was_given_up_is_relayed(scene: Scene) -> None:
    """A process that another one takes for dead leaves nothing in the queue for ever."""
    server, sink = scene.server, scene.sink
    go_on = threading.Event()
    sink.on_message = lambda arrival: "250 2.0.0 Taken" if go_on.is_set() else ""
    embedded = Embedded(server.data / "postgres")
    with contextlib.closing(psycopg2.connect(embedded.start())) as database:
        database.autocommit = True
        cursor = database.cursor()
        cursor.execute("DELETE FROM server")
        with _almost_sent(server, ("marie@mondomaine.fr",)) as end:
            end()
        server.kill()
        go_on.set()
        cursor.execute("UPDATE delivery SET next_attempt_at = now()")  # a quarter of an hour passes
        server.start()
        assert sink.wait_for(lambda arrivals: len(arrivals) == 1, RECOVERY_SECONDS)
    embedded.leave()


@contextlib.contextmanager
def _almost_sent(server: Server, recipients: tuple[str, ...]) -> Iterator[Callable[[], None]]:
    """A message in a session of its own that lacks its last dot; on exit it has been accepted."""
    letter = Letter("almost", recipients, b"Subject: almost\r\n\r\nNothing.\r\n", "")
    with socket.create_connection((LOOPBACK, server.smtp_port), RECOVERY_SECONDS) as connection:
        replies = connection.makefile("rb")
        _expect(replies, b"220")
        connection.sendall(b"EHLO example.org\r\n" + _envelope(letter))
        for code in (b"250", b"250", *(b"250" for _ in recipients), b"354"):
            _expect(replies, code)
        connection.sendall(letter.content)
        yield lambda: connection.sendall(b".\r\n")
        _expect(replies, b"250")
