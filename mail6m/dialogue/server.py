"""The end of SMTP that receives, as a machine without I/O (RFC 5321).

Feed it what the network brings (`ServerDialogue.receive_data`), ask for events
(`ServerDialogue.next_event`) until there is none, answer those that want an answer
(`ServerDialogue.answer`), and send what it has to say (`ServerDialogue.data_to_send`).
Everything that changes the state of a session is in this file; `COMMANDS` is its state table.

Extensions: PIPELINING (RFC 2920), SIZE (1870), 8BITMIME (6152), SMTPUTF8 (6531), STARTTLS (3207),
ENHANCEDSTATUSCODES (2034, 3463), CHUNKING (3030), DSN (3461), REQUIRETLS (8689).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from mail6m.dialogue.address import AddressError, read_path, read_xtext
from mail6m.dialogue.transparency import Unstuffing, has_bare_newline
from mail6m.model import Notify, Recipient, Reply


class State(enum.Enum):
    """Where a session stands."""

    SILENT = "before the banner"
    GREETED = "no EHLO yet"
    READY = "between transactions"
    MAIL = "a sender, no recipient yet"
    RCPT = "at least one recipient"
    DATA = "content, until CRLF.CRLF"
    CHUNK = "content, a counted chunk"
    CHUNKED = "between the chunks of one message"
    TLS = "until the handshake is done"
    CLOSED = "over"


_DEAF = (State.CLOSED, State.TLS, State.SILENT)
"""Where what comes is not looked at."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may ask for."""

    message_size: int = 52_428_800
    recipients: int = 1_000
    commands: int = 5_000
    """Commands without a message accepted."""
    errors: int = 50
    line: int = 4_096
    """Octets in a command line: RFC 5321 asks for 512, and for more with every extension."""


@dataclass(slots=True)
class Transaction:
    """The envelope as far as it has been told."""

    sender: str
    recipients: dict[str, Recipient] = field(default_factory=dict)
    smtputf8: bool = False
    eightbit: bool = False
    returns: str = ""
    envid: str = ""
    requiretls: bool = False


class SenderOffered(NamedTuple):
    """MAIL: answer 250 to begin the transaction."""

    sender: str
    size: int
    """What the client announced, or 0."""


class RecipientOffered(NamedTuple):
    """RCPT: answer 250 to take this recipient into the transaction."""

    recipient: Recipient


class Content(NamedTuple):
    """A piece of the message, exactly as the client meant it. No answer."""

    data: bytes


class ContentDropped(NamedTuple):
    """This message will be refused: forget its content. No answer."""


class MessageEnded(NamedTuple):
    """All of the message is here. The answer is the client's, and ends the transaction."""


class TlsRequested(NamedTuple):
    """STARTTLS was answered 220: start the handshake, then call `ServerDialogue.tls_started`."""


class Closed(NamedTuple):
    """Say what is left to say, then close the connection."""

    reason: str
    asked: bool = False
    """The client has said QUIT, and is about to close its end."""


Event = (
    SenderOffered
    | RecipientOffered
    | Content
    | ContentDropped
    | MessageEnded
    | TlsRequested
    | Closed
)

_ENDED = MessageEnded()
_QUESTIONS = frozenset({SenderOffered, RecipientOffered, MessageEnded})
"""Those that want an answer."""
_GOOD_HELLO = re.compile(r"[!-~\u00a1-\uffff]+")
_ATOM = re.compile(r"[A-Za-z0-9-]+")
_SIZE_DIGITS = re.compile(r"[0-9]{1,19}")

OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
_TOO_EARLY = Reply(554, "", "You spoke before the banner")
_BYE = Reply(221, "2.0.0", "Bye")
_CONTENT_UNASKED = Reply(421, "4.5.2", "Commands expected after a refused DATA")
_GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"
_BAD_CHUNK = Reply(501, "5.5.4", "Syntax: BDAT size [LAST]")
_TOO_BIG = Reply(552, "5.3.4", "Message too big")
_BARE_NEWLINE = Reply(550, "5.6.11", "Bare CR or LF in message: lines must end with CRLF")
_TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients: send to the others separately")
_BAD_SEQUENCE = "Bad sequence of commands: "
_CHUNK_REFUSED = f"503 5.5.1 {_BAD_SEQUENCE}RCPT first\r\n".encode()


class ServerDialogue:
    """One session, from the banner to its end."""

    __slots__ = (
        "_buffer",
        "_chunk_last",
        "_chunk_left",
        "_chunk_tail",
        "_commands",
        "_errors",
        "_events",
        "_hostname",
        "_limits",
        "_out",
        "_question",
        "_received",
        "_refusal",
        "_refused_data",
        "_state",
        "_tls",
        "_tls_offered",
        "_unstuffing",
        "extended",
        "hello",
        "transaction",
        "waiting",
    )

    def __init__(self, hostname: str, limits: Limits, *, tls_offered: bool) -> None:
        self._hostname = hostname
        self._limits = limits
        self._tls_offered = tls_offered
        self._tls = False
        self._state = State.SILENT
        self._buffer = b""
        self._out: list[bytes] = []
        self._events: list[Event] = []
        self._question: Event | None = None
        self._commands = 0
        self._errors = 0
        self._unstuffing: Unstuffing | None = None
        self._received = 0
        self._refusal: Reply | None = None
        self._refused_data = False
        self._chunk_left = 0
        self._chunk_last = False
        self._chunk_tail = b""
        self.hello = ""
        """The name that the client gave itself."""
        self.extended = False
        """It said EHLO, not HELO."""
        self.transaction: Transaction | None = None
        self.waiting = False
        """An event has been given out that wants an answer before anything else happens."""

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def pending(self) -> int:
        """Octets received and not looked at yet: the measure for back-pressure."""
        return len(self._buffer)

    # In and out

    def greet(self) -> Reply | None:
        """Say the banner. A client that has already said something is turned away: the reply."""
        if self._buffer:
            self._close(_TOO_EARLY)
            return _TOO_EARLY
        if self._state is State.SILENT:
            self._state = State.GREETED
            self._out.append(f"220 {self._hostname} ESMTP Mail6M\r\n".encode())
        return None

    def receive_data(self, data: bytes) -> None:
        """Take what the network brought."""
        if self._state is State.TLS:
            # Typed in clear before the handshake: it must not be believed after it (RFC 3207, 6).
            self._close(Reply(554, "5.5.1", "Commands pipelined past STARTTLS"))
        elif self._state is not State.CLOSED:
            self._buffer = self._buffer + data if self._buffer else data

    def data_to_send(self) -> bytes:
        """What is to be sent now; each octet is given once."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def next_event(self) -> Event | None:
        """The next event, or None: more data is needed, or an answer is."""
        while not self._events:
            if self.waiting or not (self._buffer or self._state is State.CHUNK):
                return None
            if not self._advance():
                return None
        event = self._events.pop(0)
        if type(event) in _QUESTIONS:
            self._question = event
            self.waiting = True
        return event

    def answer(self, reply: Reply) -> None:
        """Answer the event that is waited for."""
        event, self._question = self._question, None
        self.waiting = False
        if self._state is State.CLOSED:
            return
        positive = 200 <= reply.code < 300
        if type(event) is RecipientOffered:
            if positive and self.transaction is not None:
                recipient = event.recipient
                self.transaction.recipients.setdefault(recipient.address, recipient)
                self._state = State.RCPT
        elif type(event) is SenderOffered:
            if positive:
                self._state = State.MAIL
            else:
                self.transaction = None
        elif type(event) is MessageEnded:
            if positive:
                self._commands = 0
            self._end_transaction()
        else:
            raise RuntimeError("nothing is waiting for an answer")
        self._say(reply)

    def tls_started(self) -> None:
        """The handshake is done: everything said before it is forgotten (RFC 3207, 4.2)."""
        if self._state is not State.TLS:
            return  # closed meanwhile
        self._tls = True
        self._buffer = b""
        self._state = State.GREETED
        self.hello = ""
        self.extended = False
        self._end_transaction(State.GREETED)

    def refuse_content(self, reply: Reply) -> None:
        """The content cannot be kept: the message gets this reply when it has ended."""
        if self.transaction is None:
            return
        ended = any(isinstance(event, MessageEnded) for event in self._events)
        self._events.clear()
        self._refuse(reply)
        if ended:  # its end came with it, and must not be taken for the end of a message kept
            self._end_message()

    def shut_down(self, reply: Reply) -> None:
        """End the session from our side, with a 421 (RFC 5321, 3.8)."""
        if self._state is not State.CLOSED:
            self._close(reply)

    # Advancing: each returns whether there was something to do

    def _advance(self) -> bool:
        state = self._state
        if state is State.DATA:
            return self._take_data()
        if state is State.CHUNK:
            return self._take_chunk()
        if state in _DEAF:
            return False
        return self._take_command()

    def _take_data(self) -> bool:
        assert self._unstuffing is not None
        buffer = self._buffer
        content, used, ended = self._unstuffing.feed(buffer)
        if used == 0 and not ended:
            return False
        self._buffer = buffer[used:] if used < len(buffer) else b""
        if self._unstuffing.bare_newline:
            self._refuse(_BARE_NEWLINE)
        self._take_content(content)
        if ended:
            self._end_message()
        return True

    def _take_chunk(self) -> bool:
        if self._chunk_left:
            taken, self._buffer = self._buffer[: self._chunk_left], self._buffer[self._chunk_left :]
            if not taken:
                return False
            self._chunk_left -= len(taken)
            if self.transaction is not None:
                self._take_chunk_content(taken)
        if self._chunk_left == 0:
            self._end_chunk()
        return True

    def _take_chunk_content(self, taken: bytes) -> None:
        # A CR at the end waits for the LF that may come with the next piece.
        data = self._chunk_tail + taken
        self._chunk_tail = b"\r" if data.endswith(b"\r") else b""
        data = data.removesuffix(b"\r")
        if self._refusal is not _BARE_NEWLINE and has_bare_newline(data):
            self._refuse(_BARE_NEWLINE)
        self._take_content(data)

    def _take_content(self, content: bytes) -> None:
        self._received += len(content)
        if self._received > self._limits.message_size:
            self._refuse(_TOO_BIG)
        if content and self._refusal is None:
            self._events.append(Content(content))

    def _refuse(self, reply: Reply) -> None:
        """The message will get this reply when it has ended, and the session stays in step."""
        if self._refusal is None:
            self._events.append(ContentDropped())
        if self._refusal is not _BARE_NEWLINE:  # it wins, however TCP has cut the octets
            self._refusal = reply

    def _end_message(self) -> None:
        if self._refusal is not None:
            refusal = self._refusal
            self._end_transaction()
            self._say(refusal)
        else:
            self._events.append(_ENDED)

    def _end_chunk(self) -> None:
        if self.transaction is None:  # the chunk of a BDAT that was refused: only counted
            # Not counted as an error: chunks sent before the client could know come in dozens.
            self._out.append(_CHUNK_REFUSED)
            self._end_transaction(self._between)
        elif self._chunk_last:
            if self._chunk_tail:
                self._refuse(_BARE_NEWLINE)
            self._state = State.CHUNKED
            self._end_message()
        elif self._refusal is not None:
            # RFC 3030, 2: the chunks that follow belong to a transaction that has failed.
            refusal = self._refusal
            self._end_transaction()
            self._say(refusal)
        else:
            self._state = State.CHUNKED
            received = self._received + len(self._chunk_tail)
            self._say(Reply(250, "2.0.0", f"{received} octets received"))

    @property
    def _between(self) -> State:
        return State.READY if self.hello else State.GREETED

    def _abandon_transaction(self) -> None:
        """The client wants to hear no more of it."""
        if self._state is State.CHUNKED:
            self._events.append(ContentDropped())
        self._end_transaction(self._between)

    def _end_transaction(self, state: State = State.READY) -> None:
        self.transaction = None
        self._unstuffing = None
        self._received = 0
        self._refusal = None
        self._chunk_tail = b""
        self._state = state

    # Commands

    def _take_command(self) -> bool:
        longest = self._limits.line + 2
        buffer = self._buffer
        end = buffer.find(b"\n", 0, longest)
        if end < 0:
            if len(buffer) < longest:
                return False
            self._close(Reply(500, "5.5.2", "Line too long"))
            return True
        if end == 0 or buffer[end - 1] != 0x0D:
            self._close(Reply(521, "5.5.2", "Bare LF received: lines must end with CRLF"))
            return True
        line, self._buffer = buffer[: end - 1], buffer[end + 1 :]
        self._commands += 1
        if self._commands > self._limits.commands:
            self._close(Reply(421, "4.7.0", "Too many commands: come back later"))
        else:
            self._obey(line)
        return True

    def _obey(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        command = COMMANDS.get(verb)
        refused_data, self._refused_data = self._refused_data, False
        if command is None:
            if refused_data:
                self._close(_CONTENT_UNASKED)
            else:
                self._say(Reply(500, "5.5.2", "Command not recognised"))
        elif self._state not in command.states:
            self._refuse_sequence(verb, rest, command.before)
        elif (text := _read_argument(rest, command.international)) is None:
            self._refuse_command(verb, Reply(501, "5.5.2", "Octets that no command may have"))
        else:
            command.run(self, text)

    def _refuse_command(self, verb: bytes, reply: Reply) -> None:
        """Refuse a command, and the content that a client may have sent behind it."""
        if verb == b"BDAT":
            self._close(reply)  # who knows how many octets of content follow
            return
        self._say(reply)
        if verb == b"DATA" and self._state is not State.CLOSED:
            # A client that did not wait sends content now (against RFC 2920, 3.1): not a line of
            # it may run as a command.
            self._refused_data = True
            if self._buffer:
                self._close(_CONTENT_UNASKED)

    def _refuse_sequence(self, verb: bytes, rest: bytes, before: str) -> None:
        if verb == b"BDAT":
            self._refuse_chunk(rest)
            return
        if verb == b"DATA" and self._state is State.MAIL:
            self._refuse_command(verb, Reply(554, "5.5.1", "No valid recipients"))
        else:
            self._refuse_command(verb, Reply(503, "5.5.1", _BAD_SEQUENCE + before))

    def _refuse_chunk(self, rest: bytes) -> None:
        """Stay in step: the octets announced will come all the same (RFC 3030, 2)."""
        chunk = _read_chunk(rest.decode("latin-1"))
        if chunk is None:
            self._close(_BAD_CHUNK)
            return
        self.transaction = None
        self._begin_chunk(*chunk)

    def _ehlo(self, argument: str) -> None:
        if not self._hello(argument):
            return
        self.extended = True
        offers = [
            f"{self._hostname} greets {self.hello}",
            "PIPELINING",
            f"SIZE {self._limits.message_size}",
            "8BITMIME",
            "SMTPUTF8",
            *(["STARTTLS"] if self._tls_offered and not self._tls else []),
            *(["REQUIRETLS"] if self._tls else []),
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
            "DSN",
            "HELP",
        ]
        self._say(Reply(250, "", "\n".join(offers)))

    def _helo(self, argument: str) -> None:
        if self._hello(argument):
            self.extended = False
            self._say(Reply(250, "", f"{self._hostname} greets {self.hello}"))

    def _hello(self, argument: str) -> bool:
        name = argument.strip()
        if not _GOOD_HELLO.fullmatch(name) or len(name) > 255:
            self._say(Reply(501, "", "Syntax: EHLO hostname"))
            return False
        self.hello = name
        self._abandon_transaction()
        return True

    def _mail(self, argument: str) -> None:
        path = _after(argument, "FROM:")
        if path is None:
            self._say(Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>"))
            return
        try:
            sender, rest = read_path(path, international=True)
            transaction, size = _read_mail_parameters(sender, rest)
            if transaction.requiretls and not self._tls:  # (RFC 8689, 2)
                raise _ParameterError(523, "REQUIRETLS is for sessions with TLS", "5.7.10")
            # SMTPUTF8 stands behind the address that it makes legal.
            if not (transaction.smtputf8 or path.isascii()):
                raise AddressError("5.6.7", "Non-ASCII address without SMTPUTF8")
        except AddressError as error:
            self._say(Reply(553, error.status, str(error)))
            return
        except _ParameterError as error:
            self._say(error.reply)
            return
        if sender and "@" not in sender:
            self._say(Reply(553, "5.1.7", "Sender without a domain"))
        elif size > self._limits.message_size:
            self._say(_TOO_BIG)
        else:
            self.transaction = transaction
            self._events.append(SenderOffered(sender, size))

    def _rcpt(self, argument: str) -> None:
        assert self.transaction is not None
        path = _after(argument, "TO:")
        if path is None:
            self._say(Reply(501, "5.5.4", "Syntax: RCPT TO:<address>"))
            return
        try:
            address, rest = read_path(path, international=self.transaction.smtputf8)
            if not address:
                raise AddressError("5.1.3", "Recipient missing")
            recipient = _read_rcpt_parameters(address, rest)
        except AddressError as error:
            self._say(Reply(553, error.status, str(error)))
            return
        except _ParameterError as error:
            self._say(error.reply)
            return
        if len(self.transaction.recipients) >= self._limits.recipients:
            self._say(_TOO_MANY_RECIPIENTS)
        else:
            self._events.append(RecipientOffered(recipient))

    def _data(self, argument: str) -> None:
        if argument.strip():
            self._refuse_command(b"DATA", Reply(501, "5.5.4", "Syntax: DATA"))
            return
        self._unstuffing = Unstuffing()
        self._state = State.DATA
        self._out.append(_GO_AHEAD)

    def _bdat(self, argument: str) -> None:
        chunk = _read_chunk(argument)
        if chunk is None:
            self._close(_BAD_CHUNK)
            return
        if chunk[0]:
            self._commands -= 1  # content, not talk: Exim sends 8 KB a chunk
        if self._received + chunk[0] > self._limits.message_size:
            self._refuse(_TOO_BIG)
        self._begin_chunk(*chunk)

    def _begin_chunk(self, size: int, last: bool) -> None:
        self._state = State.CHUNK
        self._chunk_left = size
        self._chunk_last = last

    def _rset(self, argument: str) -> None:
        self._abandon_transaction()
        self._say(OK)

    def _noop(self, argument: str) -> None:
        self._say(OK)

    def _help(self, argument: str) -> None:
        verbs = " ".join(verb.decode() for verb in COMMANDS)
        self._say(Reply(214, "2.0.0", f"Commands: {verbs}\nMail6M archives mail and sends it on"))

    def _vrfy(self, argument: str) -> None:
        self._say(Reply(252, "2.1.5", "Send some mail, and see"))

    def _starttls(self, argument: str) -> None:
        if not self._tls_offered or self._tls:
            self._say(Reply(502 if not self._tls else 503, "5.5.1", "STARTTLS not available"))
        elif argument.strip():
            self._say(Reply(501, "5.5.4", "Syntax: STARTTLS"))
        elif self._buffer:
            self._close(Reply(554, "5.5.1", "Commands pipelined past STARTTLS"))
        else:
            self._end_transaction(State.TLS)
            self._say(Reply(220, "2.0.0", "Ready to start TLS"))
            self._events.append(TlsRequested())

    def _quit(self, argument: str) -> None:
        self._close(_BYE, asked=True)

    # Saying

    def _say(self, reply: Reply) -> None:
        if reply.code == 421:
            self._close(reply)
            return
        self._out.append(encode(reply))
        if reply.code >= 500:
            self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors > self._limits.errors and self._state is not State.CLOSED:
            self._close(Reply(421, "4.7.0", "Too many errors"))

    def _close(self, reply: Reply, *, asked: bool = False) -> None:
        self._state = State.CLOSED
        self._buffer = b""
        self.transaction = None
        self._out.append(encode(reply))
        # What has not been asked for yet must not be: a message that ended just now would be
        # taken in, and its client told to bring it again.
        self._events = [Closed(str(reply), asked)]


@lru_cache(maxsize=256)
def encode(reply: Reply) -> bytes:
    """The octets of a reply; every line repeats the code and the status (RFC 2034, 4)."""
    code, status, text = reply
    status = f"{status} " if status else ""
    *others, last = text.splitlines() or [""]
    encoded = f"{code} {status}{last}\r\n"
    if others:
        encoded = "".join([f"{code}-{status}{line}\r\n" for line in others]) + encoded
    return encoded.encode("utf-8", "replace")


def _read_argument(octets: bytes, international: bool) -> str | None:
    """What stands behind a verb; None if there are octets in it that no command may have."""
    try:
        text = octets.decode("utf-8" if international else "ascii")
    except UnicodeError:
        return None
    return text if text.isprintable() or not _has_control(text) else None


def _has_control(text: str) -> bool:
    return any(character < " " or character == "\x7f" for character in text)


def _after(argument: str, keyword: str) -> str | None:
    """What follows ``FROM:`` or ``TO:``, with the space that many clients put there forgiven."""
    if argument[: len(keyword)].upper() != keyword:
        return None
    return argument[len(keyword) :].lstrip(" ")


def _read_chunk(argument: str) -> tuple[int, bool] | None:
    size, _, last = argument.strip().partition(" ")
    if not _SIZE_DIGITS.fullmatch(size) or last.strip().upper() not in ("", "LAST"):
        return None
    return int(size), bool(last)


class _ParameterError(Exception):
    def __init__(self, code: int, text: str, status: str = "5.5.4") -> None:
        super().__init__(text)
        self.reply = Reply(code, status, text)


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in text.split():
        keyword, _, value = word.partition("=")
        keyword = keyword.upper()
        if keyword in found:
            raise _ParameterError(501, "Parameter given twice")
        found[keyword] = value
    return found


def _read_mail_parameters(sender: str, text: str) -> tuple[Transaction, int]:
    transaction, size = Transaction(sender), 0
    for keyword, value in _parameters(text).items() if text else ():
        match keyword, value.upper():
            case "SIZE", _ if _SIZE_DIGITS.fullmatch(value):
                size = int(value)
            case "BODY", "7BIT":
                pass
            case "BODY", "8BITMIME":
                transaction.eightbit = True
            case "SMTPUTF8", "":
                transaction.smtputf8 = True
            case "REQUIRETLS", "":
                transaction.requiretls = True
            case "RET", "FULL" | "HDRS":
                transaction.returns = value.upper()
            case "ENVID", _:
                transaction.envid = _xtext(value, 100, "ENVID")
            case "SIZE" | "BODY" | "SMTPUTF8" | "RET" | "REQUIRETLS", _:
                raise _ParameterError(501, f"Bad value for {keyword}")
            case _:
                raise _ParameterError(555, "MAIL parameter not recognised")
    return transaction, size


def _read_rcpt_parameters(address: str, text: str) -> Recipient:
    if not text:
        return Recipient(address)
    notify, original = 0, ""
    for keyword, value in _parameters(text).items():
        match keyword:
            case "NOTIFY":
                notify = _read_notify(value)
            case "ORCPT":
                kind, semicolon, rest = value.partition(";")
                if not semicolon or not _ATOM.fullmatch(kind):
                    raise _ParameterError(501, "Bad value for ORCPT")
                original = f"{kind};{_xtext(rest, 500, 'ORCPT')}"
            case _:
                raise _ParameterError(555, "RCPT parameter not recognised")
    return Recipient(address, notify, original)


def _read_notify(value: str) -> int:
    notify = 0
    for word in value.upper().split(","):
        if word not in Notify.__members__:
            raise _ParameterError(501, "Bad value for NOTIFY")
        notify |= Notify[word]
    if notify & Notify.NEVER and notify != Notify.NEVER:
        raise _ParameterError(501, "NOTIFY=NEVER stands alone")
    return int(notify)


def _xtext(value: str, longest: int, keyword: str) -> str:
    try:
        if len(value) > longest:
            raise ValueError
        return read_xtext(value)
    except ValueError as error:
        raise _ParameterError(501, f"Bad value for {keyword}") from error


class Command(NamedTuple):
    """A row of the state table: what a verb does, in which states, and what must come before it."""

    run: Callable[[ServerDialogue, str], None]
    states: tuple[State, ...]
    before: str = ""
    international: bool = False


_ANY = (State.GREETED, State.READY, State.MAIL, State.RCPT, State.CHUNKED)
_IDLE = (State.GREETED, State.READY)

COMMANDS: dict[bytes, Command] = {
    b"EHLO": Command(ServerDialogue._ehlo, _ANY, international=True),
    b"HELO": Command(ServerDialogue._helo, _ANY, international=True),
    b"MAIL": Command(ServerDialogue._mail, (State.READY,), "EHLO first, one MAIL at a time", True),
    b"RCPT": Command(ServerDialogue._rcpt, (State.MAIL, State.RCPT), "MAIL first", True),
    b"DATA": Command(ServerDialogue._data, (State.RCPT,), "RCPT first"),
    b"BDAT": Command(ServerDialogue._bdat, (State.RCPT, State.CHUNKED), "RCPT first"),
    b"RSET": Command(ServerDialogue._rset, _ANY),
    b"NOOP": Command(ServerDialogue._noop, _ANY, international=True),
    b"HELP": Command(ServerDialogue._help, _ANY, international=True),
    b"VRFY": Command(ServerDialogue._vrfy, _ANY, international=True),
    b"STARTTLS": Command(ServerDialogue._starttls, _IDLE, "not within a transaction"),
    b"QUIT": Command(ServerDialogue._quit, _ANY),
}
