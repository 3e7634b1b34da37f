"""A receiving SMTP server that does what a table says: every reply, and every way of failing.

The table maps what a client says to what it gets. Its keys are ``banner``, a verb, or a verb and
an address (``RCPT jean@mondomaine.fr``), which goes before the verb alone; ``.`` is the end of
data. Its values are a reply, a `Fault`, an event to wait for before it is granted, or a list
of these: one for each time, and the last of them from then on. What is not there is granted.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self

from tests.authority import Issued, the_authority

LOOPBACK = "127.0.0.1"
DRIP_SECONDS = 0.5
"""Between two lines of a `Fault.DRIP`."""


class Fault(enum.Enum):
    """What a host can do instead of replying."""

    DROP = "closes the connection"
    SILENCE = "says nothing, and keeps the connection"
    ENDLESS_REPLY = "sends lines that announce another one, as fast as it can"
    ENDLESS_LINE = "sends a line that does not end, as fast as it can"
    DRIP = "sends a line that announces another one, now and then"
    NONSENSE = "sends a line that is no reply"
    # In the place of a reply to STARTTLS: all of them say 220 first.
    HANDSHAKE_GARBAGE = "answers the handshake with what is not TLS"
    HANDSHAKE_CLOSED = "closes the connection when the handshake begins"
    HANDSHAKE_SILENCE = "says nothing to the handshake"
    HANDSHAKE_REGRETTED = "closes the connection right after the handshake"


Answer = str | Fault | threading.Event
Script = Mapping[str, Answer | Sequence[Answer]]


@dataclass(frozen=True, slots=True)
class Mail:
    """A message that was taken: 2xx was said to its end, or would have been but for a fault."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    """Without the stuffed dots."""
    parameters: tuple[str, ...]
    """What followed the addresses in MAIL and in each RCPT, in that order."""
    tls: bool


@dataclass(slots=True)
class Session:
    """What a connection was used for. Times are seconds of the monotonic clock."""

    opened_at: float
    closed_at: float | None = None
    commands: list[tuple[str, bool]] = field(default_factory=list)
    """Each with whether it came encrypted."""


class Peer:
    """The server, on a port of its own, in threads; a context manager."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "SIZE 100000000"),
        certificate: Issued | None = None,
    ) -> None:
        """Listen. ``extensions`` are what EHLO is answered with; STARTTLS among them works."""
        self.certificate = certificate or server_certificate()
        self.script: Script = script or {}
        """May be replaced at any time."""
        self.extensions = tuple(extensions)
        self._sessions: list[Session] = []
        self._mails: list[Mail] = []
        self._said: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._open: set[_Conversation] = set()
        self._listener = socket.create_server((LOOPBACK, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and cut the sessions."""
        with self._changed:
            open_now = list(self._open)
        for connection in (self._listener, *(one.connection for one in open_now)):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    # What it has seen

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Every connection, oldest first."""
        with self._changed:
            return tuple(self._sessions)

    @property
    def mails(self) -> tuple[Mail, ...]:
        """Every message that was taken, oldest first."""
        with self._changed:
            return tuple(self._mails)

    @property
    def commands(self) -> list[tuple[str, bool]]:
        """Every command of every session, with whether it came encrypted."""
        return [command for session in self.sessions for command in session.commands]

    def wait_for(self, seen: Callable[[Peer], bool], patience: float) -> bool:
        """Wait until ``seen`` holds, at most ``patience`` seconds; does it?"""
        with self._changed:
            return self._changed.wait_for(lambda: seen(self), patience)

    # What it does

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        session = Session(time.monotonic())
        conversation = _Conversation(self, session, connection)
        with self._changed:
            self._open.add(conversation)
            self._sessions.append(session)
            self._changed.notify_all()
        with contextlib.suppress(OSError, _Over):
            conversation.run()
        conversation.close()
        with self._changed:
            self._open.discard(conversation)
            session.closed_at = time.monotonic()
            self._changed.notify_all()

    def answer(self, *keys: str) -> Answer | None:
        """What the table has for the first of these keys that it knows."""
        with self._changed:
            for key in keys:
                answers = self.script.get(key)
                if answers is None:
                    continue
                if isinstance(answers, Answer):
                    return answers
                self._said[key] += 1
                return answers[min(self._said[key], len(answers)) - 1]
        return None

    def heard(self, session: Session, command: str, tls: bool) -> None:
        """Note a command."""
        with self._changed:
            session.commands.append((command, tls))
            self._changed.notify_all()

    def took(self, mail: Mail) -> None:
        """Note a message."""
        with self._changed:
            self._mails.append(mail)
            self._changed.notify_all()


class _Over(Exception):
    """Nothing more is to be said in this session."""


_PATH = re.compile(r"(?:FROM|TO):<([^>]*)>\s*(.*)", re.IGNORECASE)


_GRANTED = {
    "banner": "220 peer.test ESMTP",
    "STARTTLS": "220 Go on",
    "DATA": "354 Go on",
    "QUIT": "221 2.0.0 Bye",
}


class _Conversation:
    """One session."""

    def __init__(self, peer: Peer, session: Session, connection: socket.socket) -> None:
        self._peer = peer
        self._session = session
        self.connection = connection
        self._input: BinaryIO = connection.makefile("rb")
        self._reset()

    @property
    def _tls(self) -> bool:
        return isinstance(self.connection, ssl.SSLSocket)

    def _reset(self) -> None:
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._parameters: list[str] = []

    def close(self) -> None:
        """Close the connection, whatever is still to be read."""
        self._input.close()
        self.connection.close()

    def run(self) -> None:
        self._give(self._answer("banner"))
        while line := self._input.readline(65_536):
            command = line.decode("utf-8", "replace").strip()
            self._peer.heard(self._session, command, self._tls)
            verb, _, argument = command.partition(" ")
            self._command(verb.upper(), argument)

    def _command(self, verb: str, argument: str) -> None:
        found = _PATH.match(argument)
        address, parameters = found.groups() if found else ("", "")
        answer = self._answer(f"{verb} {address}", verb)
        self._give(answer)
        if not isinstance(answer, str):
            self._handshake(answer)
            return
        match verb, answer[0]:
            case (("EHLO" | "HELO" | "RSET"), _):
                self._reset()
            case "MAIL", "2":
                self._sender, self._parameters = address, [parameters]
            case "RCPT", "2":
                self._recipients.append(address)
                self._parameters.append(parameters)
            case "DATA", "3":
                self._content()
            case "STARTTLS", "2":
                self._encrypt()
            case "QUIT", _:
                raise _Over

    def _answer(self, *keys: str) -> str | Fault:
        answer = self._peer.answer(*keys)
        if isinstance(answer, threading.Event):
            answer.wait()
            answer = None
        return self._granted(keys[-1]) if answer is None else answer

    def _granted(self, verb: str) -> str:
        """The reply of a host without faults."""
        if verb == "EHLO":
            lines = ["peer.test", *(one for one in self._peer.extensions if self._still(one))]
            last = len(lines) - 1
            return "\r\n".join(f"250{' ' if i == last else '-'}{s}" for i, s in enumerate(lines))
        if (verb == "RCPT" and self._sender is None) or (verb == "DATA" and not self._recipients):
            return "503 5.5.1 Bad sequence of commands"
        return _GRANTED.get(verb, "250 2.0.0 Ok")

    def _still(self, extension: str) -> bool:
        return not (self._tls and extension == "STARTTLS")

    def _content(self) -> None:
        content = bytearray()
        while (line := self._input.readline(65_536)) != b".\r\n":
            if not line:
                raise _Over
            content += line.removeprefix(b".")
        answer = self._answer(".")
        if not isinstance(answer, str) or answer.startswith("2"):
            self._peer.took(
                Mail(
                    self._sender or "",
                    tuple(self._recipients),
                    bytes(content),
                    tuple(self._parameters),
                    self._tls,
                )
            )
        self._reset()
        self._give(answer)

    # Replies, and faults

    def _give(self, answer: str | Fault) -> None:
        match answer:
            case str():
                self.connection.sendall(answer.encode() + b"\r\n")
                if answer.startswith("421"):
                    raise _Over
            case Fault.DROP:
                raise _Over
            case Fault.SILENCE:
                self._listen_in_vain()
            case Fault.ENDLESS_REPLY:
                self._flood(b"250-More of this\r\n" * 1_000)
            case Fault.ENDLESS_LINE:
                self._flood(b"2" * 16_384)
            case Fault.DRIP:
                self._drip()
            case Fault.NONSENSE:
                self.connection.sendall(b"Hello?\r\n")
                self._listen_in_vain()
            case _:
                self.connection.sendall(b"220 Go on\r\n")

    def _listen_in_vain(self) -> None:
        while self.connection.recv(65_536):
            pass
        raise _Over

    def _flood(self, data: bytes) -> None:
        while True:
            self.connection.sendall(data)

    def _drip(self) -> None:
        self.connection.settimeout(DRIP_SECONDS)
        while True:
            self.connection.sendall(b"250-Wait\r\n")
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(65_536):
                    raise _Over

    def _handshake(self, fault: Fault) -> None:
        self.connection.recv(1, socket.MSG_PEEK)  # the handshake has begun
        match fault:
            case Fault.HANDSHAKE_GARBAGE:
                self.connection.sendall(b"500 5.5.2 What do you mean?\r\n" * 10)
                self._listen_in_vain()
            case Fault.HANDSHAKE_SILENCE:
                self._listen_in_vain()
            case Fault.HANDSHAKE_REGRETTED:
                self._encrypt()
        raise _Over

    def _encrypt(self) -> None:
        self._input.close()
        context = self._peer.certificate.context
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self._input = self.connection.makefile("rb")


@functools.cache
def server_certificate() -> Issued:
    """What a peer shows who is not given another: good for ``peer.test``, and its address."""
    return the_authority().issue("peer.test", LOOPBACK)
