"""Both ends of the dialogue, driven as `mail6m.smtp` drives them, with a trace to compare."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mail6m.dialogue import client, server
from mail6m.dialogue.client import ClientDialogue, Transfer
from mail6m.dialogue.server import Limits, ServerDialogue
from mail6m.model import Recipient, Reply, TlsPolicy

HOSTNAME = "mx.example.org"
OK = Reply(250, "2.0.0", "OK")
Trace = list[tuple[Any, ...]]

_LINE = re.compile(rb"([2-5][0-9]{2})([- ])([^\r\n]*)")


def read_replies(octets: bytes) -> list[str]:
    """The replies in these octets, well formed; continued lines are joined by a newline."""
    assert octets.endswith(b"\r\n")
    replies: list[str] = []
    lines: list[str] = []
    code = b""
    for line in octets[:-2].split(b"\r\n"):
        match = _LINE.fullmatch(line)
        assert match is not None, line
        assert not lines or match[1] == code, "a reply with two codes"
        code = match[1]
        lines.append(match[3].decode())
        if match[2] == b" ":
            replies.append(f"{code.decode()} " + "\n".join(lines))
            lines = []
    assert not lines, "a reply without its last line"
    return replies


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The same octets in pieces, cut at these places (taken modulo the length)."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


class Session:
    """A `ServerDialogue` and its caller: what was said and what happened, in order, in ``trace``.

    ``slow`` answers an event only when more data has come, or at `settle`.
    """

    def __init__(
        self,
        answer: Callable[[server.Event], Reply] = lambda event: OK,
        limits: Limits | None = None,
        *,
        tls_offered: bool = True,
        slow: bool = False,
        greet: bool = True,
    ) -> None:
        self.dialogue = ServerDialogue(HOSTNAME, limits or Limits(), tls_offered=tls_offered)
        self.trace: Trace = []
        self.content: list[bytes] = []
        self.most_pending = 0
        self._answer = answer
        self._slow = slow
        self._due: server.Event | None = None
        self._tls_due = False
        self._budget = 100
        if greet:
            self.dialogue.greet()
            self.run()

    def feed(self, *pieces: bytes) -> None:
        """What the network brings."""
        for piece in pieces:
            self._budget += 6 * len(piece) + 6
            self.dialogue.receive_data(piece)
            self._settle()
            self.run()
            self.most_pending = max(self.most_pending, self.dialogue.pending)

    def settle(self) -> None:
        """The client has read everything and waits: answer what is due, shake hands."""
        while self._due is not None:
            self._settle()
            self.run()
        if self._tls_due:
            self._tls_due = False
            self.dialogue.tls_started()

    def say(self, line: str | bytes) -> list[str]:
        """Send one line, wait, and return the replies to it."""
        start = len(self.trace)
        self.feed((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        self.settle()
        return [entry[1] for entry in self.trace[start:] if entry[0] == "reply"]

    def begin(self, *recipients: str) -> None:
        """EHLO, MAIL and these RCPT."""
        for line in ("EHLO client.example.org", "MAIL FROM:<a@example.org>"):
            self.say(line)
        for recipient in recipients or ("b@mondomaine.fr",):
            self.say(f"RCPT TO:<{recipient}>")

    @property
    def messages(self) -> list[bytes]:
        """The messages that were taken in."""
        return [entry[1] for entry in self.trace if entry[0] == "message"]

    @property
    def last(self) -> str:
        """The last reply."""
        return str([entry[1] for entry in self.trace if entry[0] == "reply"][-1])

    @property
    def closed(self) -> bool:
        """The session is over."""
        return bool(self.trace) and self.trace[-1][0] == "closed"

    def run(self) -> None:
        """Take every event that there is."""
        while True:
            self._budget -= 1
            assert self._budget > 0, "events without end"
            event = self.dialogue.next_event()
            if out := self.dialogue.data_to_send():
                self.trace.extend(("reply", reply) for reply in read_replies(out))
            if event is None:
                return
            self._take(event)

    def _settle(self) -> None:
        if self._due is not None:
            due, self._due = self._due, None
            self.dialogue.answer(self._answer(due))

    def _take(self, event: server.Event) -> None:
        match event:
            case server.Content(data):
                assert data
                self.content.append(data)
                return
            case server.ContentDropped():
                self.content.clear()
                return
            case server.MessageEnded():
                self.trace.append(("message", b"".join(self.content)))
                self.content.clear()
            case server.SenderOffered(sender, size):
                self.trace.append(("sender", sender, size))
            case server.RecipientOffered(recipient):
                self.trace.append(("recipient", recipient))
            case server.TlsRequested():
                self.trace.append(("tls",))
                self._tls_due = True
                return
            case server.Closed(reason):
                self.trace.append(("closed", reason))
                return
        self._due = event
        if not self._slow:
            self._settle()


class Call:
    """A `ClientDialogue` and its caller, which sends the content of each transfer when asked."""

    def __init__(
        self,
        policy: TlsPolicy = TlsPolicy.OPPORTUNISTIC,
        contents: dict[Transfer, Sequence[bytes]] | None = None,
    ) -> None:
        self.dialogue = ClientDialogue("relay.example.org", policy)
        self.contents = contents if contents is not None else {}
        self.events: list[client.Event] = []
        self.said: list[bytes] = []
        self.handshakes = True
        """Whether a TLS handshake that is asked for succeeds at once."""
        self._budget = 100

    def hear(self, *pieces: bytes) -> bytes:
        """What the host says; returns what we say to it."""
        said = b""
        for piece in pieces:
            self._budget += 4 * len(piece) + 4
            self.dialogue.receive_data(piece)
            said += self.run()
        return said

    def open(self, *extensions: str) -> None:
        """Be greeted and get ready, with a host that offers these."""
        self.hear(b"220 mx.example.test\r\n")
        lines = ["mx.example.test", *extensions]
        last = len(lines) - 1
        for number, line in enumerate(lines):
            self.hear(f"250{' ' if number == last else '-'}{line}\r\n".encode())

    def send(self, transfer: Transfer, content: Sequence[bytes] = (b"hello\r\n",)) -> bytes:
        """Begin a transfer; returns what is said."""
        self.contents[transfer] = content
        self._budget += 100 + len(content)
        self.dialogue.send(transfer)
        return self.run()

    def of(self, kind: type) -> list[Any]:
        """The events of a kind."""
        return [event for event in self.events if type(event) is kind]

    @property
    def failure(self) -> Reply | None:
        """Why the session failed; it fails once."""
        failures = self.of(client.SessionFailed)
        assert len(failures) <= 1
        return failures[0].reply if failures else None

    def run(self) -> bytes:
        """Take every event that there is; returns what is said."""
        while (event := self.dialogue.next_event()) is not None:
            self._budget -= 1
            assert self._budget > 0, "events without end"
            self.events.append(event)
            match event:
                case client.ContentWanted(transfer):
                    for piece in self.contents[transfer]:
                        self.dialogue.content(piece)
                    self.dialogue.end_content(transfer)
                case client.TlsWanted() if self.handshakes:
                    self.dialogue.tls_started()
                case _:
                    pass
        said = self.dialogue.data_to_send()
        if said:
            self.said.append(said)
        return said


def transfer(*recipients: str | Recipient, sender: str = "a@example.org", **more: Any) -> Transfer:
    """A transfer to these recipients."""
    to = [Recipient(one) if isinstance(one, str) else one for one in recipients]
    return Transfer(sender, to or [Recipient("b@example.test")], more.pop("size", 7), **more)
