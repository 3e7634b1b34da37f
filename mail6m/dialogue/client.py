"""The end of SMTP that sends, as a machine without I/O (RFC 5321).

Give it what the network brings (`ClientDialogue.receive_data`), ask for events
(`ClientDialogue.next_event`), hand it messages (`ClientDialogue.send`, `content`,
`end_content`) while `ClientDialogue.can_send` says so, and send what it has to say
(`ClientDialogue.data_to_send`). The table `STEPS` says what each awaited reply leads to.

With PIPELINING (RFC 2920, 3.1) the envelope goes out as one group, and the envelope of the next
message in the same group as the content of the one before.
"""

from __future__ import annotations

import enum
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from mail6m.dialogue.address import write_xtext
from mail6m.dialogue.transparency import Stuffing
from mail6m.model import Notify, Recipient, Reply, TlsPolicy

LONGEST_LINE = 8_192
MOST_LINES = 128
"""Lines in one reply; a peer that says more is not listened to any longer."""
LONGEST_TEXT = 1_000


@dataclass(slots=True, eq=False)
class Transfer:
    """One message for some recipients at one host, and what the host said of each."""

    sender: str
    recipients: Sequence[Recipient]
    size: int
    eightbit: bool = False
    """The sender declared BODY=8BITMIME."""
    smtputf8: bool = False
    """The sender asked for SMTPUTF8, and an address or the header needs it."""
    returns: str = ""
    envid: str = ""
    requiretls: bool = False
    """Only hosts that are surely the right ones may have it, and that ask the same of others."""
    replies: list[Reply | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.replies = [None] * len(self.recipients)

    @property
    def open(self) -> bool:
        """Somebody is still to be served."""
        return None in self.replies

    def settle(self, reply: Reply) -> None:
        """This reply holds for everybody who has none yet."""
        self.replies = [reply if known is None else known for known in self.replies]


class Ready(NamedTuple):
    """The host has said what it can do: messages may be sent."""

    extensions: dict[str, str]


class TlsWanted(NamedTuple):
    """Start the handshake now; then call `ClientDialogue.tls_started`."""


class ContentWanted(NamedTuple):
    """Send this message's content now."""

    transfer: Transfer


class TransferEnded(NamedTuple):
    """Every recipient has a reply."""

    transfer: Transfer


class SessionFailed(NamedTuple):
    """Nothing more can be done in this session: close it. ``reply`` says why.

    Transfers that have not ended are to be settled by whoever sent them.
    """

    reply: Reply


Event = Ready | TlsWanted | ContentWanted | TransferEnded | SessionFailed


class Step(enum.Enum):
    """What the next reply is about."""

    # Looked up for every reply: Enum's own hash of a name is a call.
    __hash__ = object.__hash__

    GREETING = "the banner"
    EHLO = "EHLO"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    RSET = "RSET"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    END = "end of data"
    QUIT = "QUIT"


class _Awaited(NamedTuple):
    step: Step
    transfer: Transfer | None = None
    recipient: int = 0


_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})([ -]|$)(.*)", re.DOTALL)
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class ClientDialogue:
    """One session with one host, for many messages."""

    def __init__(self, hostname: str, tls: TlsPolicy) -> None:
        self._hostname = hostname
        self._tls_policy = tls
        self._tls = False
        self._sure = False
        self._securing = False
        self._replies = 0
        self._buffer = b""
        self._lines: list[bytes] = []
        self._out: list[bytes] = []
        self._events: deque[Event] = deque()
        self._awaited: deque[_Awaited] = deque([_Awaited(Step.GREETING)])
        self._unsaid: deque[tuple[bytes, _Awaited]] = deque()
        self._stuffing: Stuffing | None = None
        self._clean = True
        self._over = False
        self.extensions: dict[str, str] = {}
        self.ready = False

    @property
    def step(self) -> str:
        """What is being waited for, for people."""
        if self._stuffing is not None:
            return "the host to take the content"
        return self._awaited[0].step.value if self._awaited else "nothing"

    @property
    def awaits_end(self) -> bool:
        """The reply to the end of data is what comes next."""
        return bool(self._awaited) and self._awaited[0].step is Step.END

    @property
    def idle(self) -> bool:
        """Ready, and nothing is under way: no reply is awaited, no content, no event to be taken.

        What is said while a content is wanted would become a part of it.
        """
        quiet = not (self._awaited or self._events or self._unsaid) and self._stuffing is None
        return self.ready and quiet and not self._over

    @property
    def securing(self) -> bool:
        """STARTTLS was said, and no reply has come under TLS yet: what goes wrong is for TLS."""
        return self._securing

    @property
    def can_send(self) -> bool:
        """`send` may be called: the session is idle, or only the last content is awaited."""
        if not self.ready or self._over or self._stuffing is not None:
            return False
        if self._unsaid or self._events:
            return False
        if not self._awaited:
            return True
        only = len(self._awaited) == 1 and self._awaited[0].step is Step.END
        return only and "PIPELINING" in self.extensions

    # In and out

    def receive_data(self, data: bytes) -> bool:
        """Take what the network brought, up to many replies at once; is a whole one among it?"""
        if self._over:
            return False
        replies = self._replies
        buffer = self._buffer + data if self._buffer else data
        start = 0
        while (end := buffer.find(b"\n", start)) >= 0 and not self._over:
            if end - start > LONGEST_LINE:
                break
            line = buffer[start:end].removesuffix(b"\r")
            start = end + 1
            if not self._lines and (reply := _single_line(line)) is not None:
                self._take_reply(reply, [])
            else:
                self._take_line(line)
        self._buffer = buffer[start:]
        if len(self._buffer) > LONGEST_LINE:
            self._fail(Reply(450, "4.5.2", "The host sent a line without end"))
        return self._replies > replies

    def next_event(self) -> Event | None:
        """The next event, or None until more data comes."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """What is to be sent now; each octet is given once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def tls_started(self, *, sure: bool = False) -> None:
        """The handshake is done: introduce ourselves again (RFC 3207, 4.2).

        ``sure``: the host has been verified, and is known to be the one that mail is to go to.
        """
        self._tls = True
        self._sure = sure
        self._buffer = b""
        self._ehlo()

    def send(self, transfer: Transfer) -> None:
        """Begin a message's transaction, or settle it at once when the host cannot take it."""
        assert self._stuffing is None
        if (refusal := self._unfit(transfer)) is not None:
            transfer.settle(refusal)
            self._events.append(TransferEnded(transfer))
            return
        lines, awaited = [], []
        if not self._clean:
            lines.append(b"RSET\r\n")
            awaited.append(_Awaited(Step.RSET))
            self._clean = True
        lines.append(self._mail(transfer))
        awaited.append(_Awaited(Step.MAIL, transfer))
        for number, recipient in enumerate(transfer.recipients):
            lines.append(self._rcpt(recipient))
            awaited.append(_Awaited(Step.RCPT, transfer, number))
        lines.append(b"DATA\r\n")
        awaited.append(_Awaited(Step.DATA, transfer))
        if "PIPELINING" in self.extensions:
            self._out += lines
            self._awaited += awaited
        else:
            self._unsaid.extend(zip(lines, awaited, strict=True))
            self._say_next()

    def content(self, data: bytes) -> None:
        """A piece of the content that was wanted."""
        assert self._stuffing is not None
        self._out.append(self._stuffing.feed(data))

    def end_content(self, transfer: Transfer) -> None:
        """That was all of it."""
        assert self._stuffing is not None
        self._out.append(self._stuffing.end())
        self._stuffing = None
        self._awaited.append(_Awaited(Step.END, transfer))

    def quit(self) -> None:
        """Say goodbye; only when `idle`."""
        assert self.idle
        self._out.append(b"QUIT\r\n")
        self._awaited.append(_Awaited(Step.QUIT))
        self.ready = False

    def lost(self) -> None:
        """The connection is gone: what the host had decided counts, what it had asked for not."""
        self.ready = False
        kept = (TransferEnded, SessionFailed)
        self._events = deque(event for event in self._events if isinstance(event, kept))

    # Replies

    def _take_line(self, line: bytes) -> None:
        match = _REPLY_LINE.fullmatch(line)
        if match is None:
            self._fail(Reply(450, "4.5.2", "The host said what is not SMTP"))
            return
        if not self._awaited:
            # Not even the first line of a reply: said in clear, it must not count after STARTTLS.
            reply = _read_reply(int(match[1]), [match[3]])
            self._fail(reply if reply.code == 421 else _unexpected(reply))
            return
        self._lines.append(match[3])
        if match[2] == b"-":
            if len(self._lines) > MOST_LINES:
                self._fail(Reply(450, "4.5.2", "The host sent a reply without end"))
            return
        lines, self._lines = self._lines, []
        self._take_reply(_read_reply(int(match[1]), lines), lines)

    def _take_reply(self, reply: Reply, lines: list[bytes]) -> None:
        if not self._awaited:
            self._fail(reply if reply.code == 421 else _unexpected(reply))
            return
        awaited = self._awaited.popleft()
        self._replies += 1
        if reply.code == 421:  # the host closes, whatever it was asked (RFC 5321, 3.8)
            self._securing = awaited.step is Step.STARTTLS
            self._fail(reply)
            return
        STEPS[awaited.step](self, awaited, reply, lines)
        if self._unsaid and not self._over and self._stuffing is None:
            self._say_next()

    def _say_next(self) -> None:
        line, awaited = self._unsaid.popleft()
        self._out.append(line)
        self._awaited.append(awaited)

    def _fail(self, reply: Reply) -> None:
        if self._over:
            return
        self._over = True
        self.ready = False
        self._events.append(SessionFailed(reply))

    def _on_greeting(self, awaited: _Awaited, reply: Reply, lines: list[bytes]) -> None:
        if reply.code == 220:
            self._ehlo()
        else:
            self._fail(_at_session(reply))

    def _ehlo(self) -> None:
        self._out.append(f"EHLO {self._hostname}\r\n".encode())
        self._awaited.append(_Awaited(Step.EHLO))

    def _on_ehlo(self, awaited: _Awaited, reply: Reply, lines: list[bytes]) -> None:
        self._securing = False
        if reply.code == 250:
            self.extensions = _read_extensions(lines[1:])
            self._consider_tls()
        elif reply.code >= 500 and not self._tls:
            self._out.append(f"HELO {self._hostname}\r\n".encode())
            self._awaited.append(_Awaited(Step.HELO))
        else:
            self._fail(_at_session(reply))

    def _on_helo(self, awaited: _Awaited, reply: Reply, lines: list[bytes]) -> None:
        if reply.code == 250:
            self.extensions = {}
            self._consider_tls()
        else:
            self._fail(_at_session(reply))

    def _consider_tls(self) -> None:
        offered = "STARTTLS" in self.extensions
        if self._tls or self._tls_policy is TlsPolicy.NONE:
            self._open()
        elif offered:
            self._out.append(b"STARTTLS\r\n")
            self._awaited.append(_Awaited(Step.STARTTLS))
            self._securing = True
        elif self._tls_policy is TlsPolicy.REQUIRED:
            self._fail(Reply(451, "4.7.4", "TLS is required, and the host does not offer it"))
        else:
            self._open()

    def _on_starttls(self, awaited: _Awaited, reply: Reply, lines: list[bytes]) -> None:
        self._securing = reply.code == 220
        if reply.code == 220:
            self._events.append(TlsWanted())
        elif self._tls_policy is TlsPolicy.REQUIRED:
            self._fail(Reply(451, "4.7.4", f"TLS is required, and the host said: {reply}"))
        else:
            self._open()

    def _open(self) -> None:
        self.ready = True
        self._events.append(Ready(self.extensions))

    def _on_rset(self, awaited: _Awaited, reply: Reply, lines: list[bytes]) -> None:
        """Whatever the host says to RSET, the MAIL that follows will tell."""

    def _on_mail(self, awaited: _Awaited, reply: Reply, lines: list[bytes]) -> None:
        transfer = awaited.transfer
        assert transfer is not None
        if reply.code // 100 != 2:
            transfer.settle(_final(reply))
            self._abandon(transfer)

    def _on_rcpt(self, awaited: _Awaited, reply: Reply, lines: list[bytes]) -> None:
        transfer = awaited.transfer
        assert transfer is not None
        if reply.code // 100 != 2 and transfer.replies[awaited.recipient] is None:
            transfer.replies[awaited.recipient] = _final(reply)
        if not transfer.open:
            self._abandon(transfer)

    def _abandon(self, transfer: Transfer) -> None:
        """Nobody is left to be served: what has not been said yet need not be."""
        self._clean = False
        if self._unsaid:
            self._unsaid.clear()
            self._events.append(TransferEnded(transfer))

    def _on_data(self, awaited: _Awaited, reply: Reply, lines: list[bytes]) -> None:
        transfer = awaited.transfer
        assert transfer is not None
        if reply.code != 354:
            self._clean = False
            transfer.settle(_final(reply))
            self._events.append(TransferEnded(transfer))
        elif transfer.open:
            self._stuffing = Stuffing()
            self._events.append(ContentWanted(transfer))
        else:
            # Everybody was refused, and DATA taken all the same: end it, empty (RFC 2920, 3.1).
            self._out.append(b".\r\n")
            self._awaited.append(_Awaited(Step.END, transfer))

    def _on_end(self, awaited: _Awaited, reply: Reply, lines: list[bytes]) -> None:
        transfer = awaited.transfer
        assert transfer is not None
        transfer.settle(reply if reply.code // 100 == 2 else _final(reply))
        self._events.append(TransferEnded(transfer))

    def _on_quit(self, awaited: _Awaited, reply: Reply, lines: list[bytes]) -> None:
        self._fail(reply)

    # Saying

    def _unfit(self, transfer: Transfer) -> Reply | None:
        """Why the host cannot take this message, by what it says of itself."""
        if transfer.smtputf8 and "SMTPUTF8" not in self.extensions:
            return Reply(553, "5.6.7", "The receiving host does not know SMTPUTF8")
        if transfer.eightbit and "8BITMIME" not in self.extensions:
            return Reply(554, "5.6.3", "The receiving host does not know 8BITMIME")
        size = self.extensions.get("SIZE", "")
        if size.isdecimal() and 0 < int(size[:18]) < transfer.size:
            return Reply(552, "5.3.4", f"The receiving host takes messages up to {size} octets")
        return self._unprotected() if transfer.requiretls else None

    def _unprotected(self) -> Reply | None:
        """Why the session will not do for a message with REQUIRETLS (RFC 8689, 4.2.1)."""
        if not self._tls and "STARTTLS" not in self.extensions:
            return Reply(550, "5.7.10", "The message requires TLS, and the host does not offer it")
        if not self._sure:  # a handshake, a certificate and the DNS may be better tomorrow
            return Reply(450, "4.7.10", "The message requires TLS, and the host is not verified")
        if "REQUIRETLS" not in self.extensions:
            return Reply(
                550, "5.7.30", "The host does not know REQUIRETLS, which the message needs"
            )
        return None

    def _mail(self, transfer: Transfer) -> bytes:
        line = f"MAIL FROM:<{transfer.sender}>"
        if "SIZE" in self.extensions:
            line += f" SIZE={transfer.size}"
        if transfer.eightbit:
            line += " BODY=8BITMIME"
        if transfer.smtputf8:
            line += " SMTPUTF8"
        if transfer.requiretls:
            line += " REQUIRETLS"
        if "DSN" in self.extensions:
            line += f" RET={transfer.returns}" if transfer.returns else ""
            line += f" ENVID={write_xtext(transfer.envid)}" if transfer.envid else ""
        return f"{line}\r\n".encode()

    def _rcpt(self, recipient: Recipient) -> bytes:
        line = f"RCPT TO:<{recipient.address}>"
        if "DSN" in self.extensions:
            line += f" NOTIFY={_write_notify(recipient.notify)}" if recipient.notify else ""
            kind, _, original = recipient.original.partition(";")
            line += f" ORCPT={kind};{write_xtext(original)}" if original else ""
        return f"{line}\r\n".encode()


STEPS: dict[Step, Callable[[ClientDialogue, _Awaited, Reply, list[bytes]], None]] = {
    Step.GREETING: ClientDialogue._on_greeting,
    Step.EHLO: ClientDialogue._on_ehlo,
    Step.HELO: ClientDialogue._on_helo,
    Step.STARTTLS: ClientDialogue._on_starttls,
    Step.RSET: ClientDialogue._on_rset,
    Step.MAIL: ClientDialogue._on_mail,
    Step.RCPT: ClientDialogue._on_rcpt,
    Step.DATA: ClientDialogue._on_data,
    Step.END: ClientDialogue._on_end,
    Step.QUIT: ClientDialogue._on_quit,
}


@lru_cache(maxsize=256)
def _single_line(line: bytes) -> Reply | None:
    """The reply in a line that is one; hosts say the same few things all day."""
    match = _REPLY_LINE.fullmatch(line)
    if match is None or match[2] == b"-" or len(line) > LONGEST_LINE:
        return None
    return _read_reply(int(match[1]), [match[3]])


def _read_reply(code: int, lines: list[bytes]) -> Reply:
    words = [_CONTROLS.sub(" ", line.decode("utf-8", "replace")).strip() for line in lines[:20]]
    status = ""
    match = _STATUS.match(words[0])
    if match is not None and words[0][0] == str(code)[0]:  # they must agree (RFC 2034, 4)
        status = match[1]
        words = [word.removeprefix(status).lstrip() for word in words]
    return Reply(code, status, " ".join(word for word in words if word)[:LONGEST_TEXT])


def _final(reply: Reply) -> Reply:
    """A reply of a class that has no meaning here (1xx to 3xx) must not count as delivered."""
    return reply if reply.code >= 400 else _unexpected(reply)


def _unexpected(reply: Reply) -> Reply:
    return Reply(450, "4.5.0", f"The host's reply was not to be expected: {reply}")


def _at_session(reply: Reply) -> Reply:
    """A host that refuses the session has judged no message: try again, or elsewhere, later."""
    return reply if 400 <= reply.code < 500 else Reply(450, "4.3.2", f"The host said: {reply}")


def _read_extensions(lines: list[bytes]) -> dict[str, str]:
    extensions: dict[str, str] = {}
    for line in lines:
        keyword, _, argument = line.decode("latin-1").strip().partition(" ")
        extensions[keyword.upper()] = argument.strip()
    return extensions


def _write_notify(notify: int) -> str:
    return ",".join(flag.name or "" for flag in Notify(notify))
