"""The door: thin Twisted protocols that carry the dialogue over TCP and TLS.

`SmtpServer` and `SmtpServerFactory` receive, `SmtpClient` sends. What a message is, who may have
one and what becomes of it is decided elsewhere; what SMTP says of it, in `mail6m.dialogue`.
"""

from __future__ import annotations

import fcntl
import socket
import termios
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, cast
from typing import Protocol as Interface

from OpenSSL import SSL
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mail6m.content import Content
from mail6m.dialogue import client as sending
from mail6m.dialogue import server as receiving
from mail6m.dialogue.server import SENDER_OK, ServerDialogue, State
from mail6m.model import Client, Envelope, Recipient, Reply
from mail6m.networks import client_of
from mail6m.settings import Settings
from mail6m.trust import Handshake
from mail6m.turn import Turn

HANDSHAKE = 60.0
"""Seconds for TLS to be agreed on, from the 220 on; it takes a few round trips."""
RELAY_PATIENCE = 0.012
"""Seconds that what a receiving machine has said may wait while clients are talking."""
_LATER = Reply(451, "4.3.0", "Try again later")
_CLOSING = Reply(421, "4.3.2", "Closing down, try again later")
_TOO_MANY = Reply(421, "4.3.2", "Too many sessions, try again later")
_TOO_MANY_OF_YOURS = Reply(421, "4.7.0", "Too many sessions from your address, try again later")
_MOST_PENDING = 65_536
"""Octets received and not looked at yet, beyond which a client is made to wait."""
_RATE_WINDOW = 60.0
_NO_OCTETS = bytes(4)
_COMMANDS, _CONTENTS = 8_192, 65_536
"""Octets to read at a time: each read gets memory for all of them, to fill a little of it."""
_UNHEARING = (State.CLOSED, State.TLS)
"""Where a client that takes too long is told nothing: it reads no goodbye, or no clear text."""
_CONTENT = (State.DATA, State.CHUNK, State.CHUNKED)
"""Where the least rate holds, whether the content is kept or has been refused."""


class Admission(Interface):
    """What the door asks of those who decide."""

    def meet(self, address: str) -> Reply | None:
        """A client has come from there. None, or why it has to go at once."""

    def pause(self, address: str) -> float:
        """Seconds that its banner is held back, to see whether it speaks first."""

    def turned_away(self, address: str, reason: str, reply: Reply) -> None:
        """The door itself has sent that client away, for ``sessions`` or ``early``."""

    def name_of(self, address: str) -> str:
        """The name of the client at that address, as far as it is known."""

    def admits(self, address: str, size: int) -> Reply | None:
        """None, or why no message of that size can be taken from that client now."""

    def at_once(self, recipient: str, address: str) -> Reply | None:
        """The answer to a client's RCPT, if nothing needs to be asked for it."""

    def verdict(self, recipient: Recipient, client: Client) -> Coroutine[Any, Any, Reply]:
        """250 for a recipient of a customer's, else why not."""

    def content(self) -> Content:
        """A place for a message's content."""

    def accept(self, envelope: Envelope, content: Content) -> Deferred[Reply]:
        """Take the message in, and close its content some time; the reply is the client's."""


@implementer(IHandshakeListener)
class SmtpServer(Protocol):
    """One session with a client."""

    transport: Any

    def __init__(self, factory: SmtpServerFactory) -> None:
        self.factory: SmtpServerFactory = factory
        self._address = ""
        self._admission = factory.admission
        self._turn = factory.turn
        self._dialogue = factory.new_dialogue()
        self._content: Content | None = None
        self._tls = ""
        self._paused = False
        self._parting = False
        self._heard = True
        self._deadline = 0.0
        self._command_since = 0.0
        self._window = 0.0
        self._window_octets = 0
        self._greeting: Any = None

    # Twisted's side

    def connectionMade(self) -> None:  # noqa: D102
        factory = self.factory
        self._address = getattr(self.transport.getPeer(), "host", None) or "local"
        self.transport.bufferSize = _COMMANDS
        refusal = factory.admit(self, self._address) or self._admission.meet(self._address)
        if refusal is not None:
            self._dialogue.shut_down(refusal)
            self._turn.hear(self)
        elif (delay := self._admission.pause(self._address)) > 0:
            self._greeting = factory.clock.callLater(delay, self._greet)
        else:
            self._greet()

    def _greet(self) -> None:
        self._greeting = None
        if early := _already_said(self.transport):
            self._dialogue.receive_data(early)
        if (refusal := self._dialogue.greet()) is not None:
            self._admission.turned_away(self._address, "early", refusal)
        self._turn.hear(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: D102
        self._window_octets += len(data)
        self._heard = True
        self._dialogue.receive_data(data)
        if self._greeting is not None:  # it has spoken first: there is nothing more to wait for
            self._greeting.cancel()
            self._greet()
        else:
            self._turn.hear(self)

    def handshakeCompleted(self) -> None:  # noqa: D102
        self._heard = True
        self._tls = tls_description(self.transport)
        self._dialogue.tls_started()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008, D102
        if self._greeting is not None:
            self._greeting.cancel()
        self.factory.gone(self, self._address)
        self._drop_content()
        self._dialogue.shut_down(_CLOSING)  # what it had sent on must not run without it
        self._dialogue.data_to_send()  # there is nobody to say it to

    # The dialogue's side

    def advance(self) -> None:
        """Let the dialogue go on; what it has to say is sent at the end of the turn."""
        if self not in self.factory.sessions:  # the client has gone away
            return
        dialogue = self._dialogue
        try:
            while (event := dialogue.next_event()) is not None:
                _SERVER_EVENTS[type(event)](self, event)
        except Exception:  # noqa: BLE001 - nobody knows where the session stands now
            self.factory.log.failure("a session with a client failed, and was cut off")
            dialogue.data_to_send()  # not to be said any more
            self.transport.abortConnection()
            return
        if dialogue.waiting:
            if dialogue.pending > _MOST_PENDING and not self._paused:
                self._paused = True
                self.transport.pauseProducing()
        elif self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def flush(self) -> None:
        """Send what the dialogue has to say."""
        if out := self._dialogue.data_to_send():
            send_now(self.transport, out)

    def _answer(self, reply: Reply) -> None:
        if self not in self.factory.sessions:
            return  # the client went away: what it had sent behind its question goes with it
        self._touch()
        self._dialogue.answer(reply)
        if self.factory.stopping:
            self._dialogue.shut_down(_CLOSING)
        self._turn.hear(self)

    def _on_sender(self, event: receiving.SenderOffered) -> None:
        refusal = self._admission.admits(self._address, event.size)
        self._dialogue.answer(SENDER_OK if refusal is None else refusal)

    def _on_recipient(self, event: receiving.RecipientOffered) -> None:
        reply = self._admission.at_once(event.recipient.address, self._address)
        if reply is not None:
            self._dialogue.answer(reply)
        else:
            self._wait_for(self._admission.verdict(event.recipient, self._client()))

    def _on_content(self, event: receiving.Content) -> None:
        if self._content is None:
            self._content = self._admission.content()
        else:
            self.transport.bufferSize = _CONTENTS
        try:
            self._content.write(event.data)
        except OSError as error:
            self.factory.log.error("cannot spool a message: {error}", error=error)
            self._drop_content()
            self._dialogue.refuse_content(Reply(452, "4.3.1", "Not enough room, try again later"))

    def _on_dropped(self, event: receiving.ContentDropped) -> None:
        self._drop_content()

    def _on_ended(self, event: receiving.MessageEnded) -> None:
        transaction = self._dialogue.transaction
        assert transaction is not None
        content, self._content = self._content or self._admission.content(), None
        self.transport.bufferSize = _COMMANDS
        self._window = 0.0
        envelope = Envelope(
            transaction.sender,
            tuple(transaction.recipients.values()),
            self._client(transaction.smtputf8),
            transaction.smtputf8,
            transaction.eightbit,
            transaction.returns,
            transaction.envid,
            transaction.requiretls,
        )
        self._wait_for(self._admission.accept(envelope, content))

    def _on_tls(self, event: receiving.TlsRequested) -> None:
        self.transport.write(self._dialogue.data_to_send())
        self._heard = False  # nothing that it does before the end of the handshake buys it time
        self._deadline = self.factory.clock.seconds() + HANDSHAKE
        self.transport.startTLS(self.factory.tls)

    def _on_closed(self, event: receiving.Closed) -> None:
        self._drop_content()
        if event.asked:
            # The client closes its end when it has our goodbye, and then there is nothing left to
            # wait for, in the reactor or in TIME_WAIT. One that does not is seen to by `check`.
            self._parting = True
        else:
            self._leave()

    def _leave(self) -> None:
        self._parting = False
        self.transport.write(self._dialogue.data_to_send())
        self.transport.loseConnection()

    def _wait_for(self, verdict: Coroutine[Any, Any, Reply] | Deferred[Reply]) -> None:
        ensureDeferred(verdict).addCallbacks(self._answer, self._unanswered)

    def _unanswered(self, failure: Failure) -> None:
        """Whatever it is, the client is to try again."""
        self.factory.log.failure("a session's question was not answered", failure)
        self._answer(_LATER)

    def _client(self, smtputf8: bool = False) -> Client:
        protocol = ("UTF8SMTP" if smtputf8 else "ESMTP") if self._dialogue.extended else "SMTP"
        if self._tls and self._dialogue.extended:
            protocol += "S"
        name = self._admission.name_of(self._address)
        return Client(self._address, self._dialogue.hello, name, protocol, self._tls)

    def _drop_content(self) -> None:
        if self._content is not None:
            self._content.close()
            self._content = None

    # Time

    def _touch(self) -> None:
        self._heard = True
        self._command_since = 0.0

    def check(self, now: float) -> None:
        """Close the session if it has been too slow; called every second."""
        if self._heard:  # within the last second, which is near enough
            self._heard = False
            self._deadline = now + self.factory.settings.idle_timeout
        dialogue = self._dialogue
        if self._parting:
            self._leave()
        elif dialogue.state in _UNHEARING:
            if now > self._deadline:
                self.transport.abortConnection()
        elif dialogue.waiting:
            self._touch()
        elif now > self._deadline:
            self._time_out("Timeout: you were silent for too long", now)
        elif dialogue.state in _CONTENT:
            self._check_rate(now)
        else:
            self._window = 0.0
            self._check_command(now)

    def _check_command(self, now: float) -> None:
        if self._dialogue.pending == 0:
            self._command_since = 0.0
        elif self._command_since == 0.0:
            self._command_since = now
        elif now > self._command_since + self.factory.settings.command_timeout:
            self._time_out("Timeout: that command took too long", now)

    def _check_rate(self, now: float) -> None:
        if not self._window:
            self._window, self._window_octets = now, 0
        if now - self._window < _RATE_WINDOW:
            return
        if self._window_octets < self.factory.settings.least_rate * (now - self._window):
            self._time_out("Timeout: your message comes too slowly", now)
        self._window, self._window_octets = now, 0

    def _time_out(self, text: str, now: float) -> None:
        self._heard, self._deadline = False, now + 10
        self.shut_down(Reply(421, "4.4.2", text))

    def shut_down(self, reply: Reply) -> None:
        """End the session now."""
        if self._parting:
            self._leave()
        elif self._dialogue.state is State.TLS:
            self.transport.abortConnection()
        else:
            self._dialogue.shut_down(reply)
            self._turn.hear(self)

    @property
    def committing(self) -> bool:
        """The client waits for an answer that must not be taken from it."""
        return self._dialogue.waiting


_SERVER_EVENTS: dict[type, Callable[[SmtpServer, Any], None]] = {
    receiving.SenderOffered: SmtpServer._on_sender,
    receiving.RecipientOffered: SmtpServer._on_recipient,
    receiving.Content: SmtpServer._on_content,
    receiving.ContentDropped: SmtpServer._on_dropped,
    receiving.MessageEnded: SmtpServer._on_ended,
    receiving.TlsRequested: SmtpServer._on_tls,
    receiving.Closed: SmtpServer._on_closed,
}


class SmtpServerFactory(ServerFactory):
    """All the sessions, and what they share."""

    log = Logger()
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        turn: Turn,
        settings: Settings,
        admission: Admission,
        tls: IOpenSSLServerConnectionCreator | None,
    ) -> None:
        self.clock = clock
        self.turn = turn
        self.settings = settings
        self.admission = admission
        self.tls = tls
        self.sessions: set[SmtpServer] = set()
        self.stopping = False
        self._by_client: Counter[str] = Counter()
        self._limits = receiving.Limits(
            message_size=settings.max_message_size,
            recipients=settings.max_recipients,
            commands=settings.max_commands,
            errors=settings.max_errors,
            line=settings.max_line,
        )
        self._idle: list[Deferred[None]] = []
        self._watch = LoopingCall(self._check)
        self._watch.clock = clock

    def startFactory(self) -> None:  # noqa: D102
        if not self._watch.running:
            self._watch.start(1.0, now=False)

    def stopFactory(self) -> None:  # noqa: D102
        if self._watch.running and not self.sessions:
            self._watch.stop()

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: D102
        return SmtpServer(self)

    def new_dialogue(self) -> ServerDialogue:
        """A dialogue for a session that begins."""
        offered = self.tls is not None
        return ServerDialogue(self.settings.hostname, self._limits, tls_offered=offered)

    def admit(self, session: SmtpServer, address: str) -> Reply | None:
        """Count a session in; or say why there are too many."""
        self.sessions.add(session)
        client = client_of(address)
        self._by_client[client] += 1
        if self.stopping:
            return _CLOSING
        if len(self.sessions) > self.settings.sessions:
            refusal = _TOO_MANY
        elif self._by_client[client] > self.settings.sessions_per_address:
            refusal = _TOO_MANY_OF_YOURS
        else:
            return None
        self.admission.turned_away(address, "sessions", refusal)
        return refusal

    def gone(self, session: SmtpServer, address: str) -> None:
        """Count a session out."""
        self.sessions.discard(session)
        client = client_of(address)
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
        if not self.sessions:
            waiting, self._idle = self._idle, []
            for deferred in waiting:
                deferred.callback(None)

    def shut_down(self) -> Deferred[None]:
        """Say 421 to every client, once it has the answer that it waits for; fires at the last."""
        self.stopping = True
        for session in list(self.sessions):
            if not session.committing:
                session.shut_down(_CLOSING)
        done: Deferred[None] = Deferred()
        if self.sessions:
            self._idle.append(done)
        else:
            done.callback(None)
        return done

    def _check(self) -> None:
        now = self.clock.seconds()
        for session in list(self.sessions):
            session.check(now)


class SessionOwner(Interface):
    """Who sends over an `SmtpClient`."""

    def on_event(self, event: sending.Event) -> None:
        """The dialogue has got somewhere."""

    def on_lost(self, reply: Reply) -> None:
        """The connection is gone; nothing comes after this."""


@implementer(IHandshakeListener, IPushProducer)
class SmtpClient(Protocol):
    """One session with a receiving machine."""

    log = Logger()
    transport: Any

    def __init__(
        self,
        dialogue: sending.ClientDialogue,
        owner: SessionOwner,
        tls: Handshake,
        turn: Turn,
        settings: Settings,
    ) -> None:
        self.dialogue = dialogue
        self._owner = owner
        self._context = tls
        self._turn = turn
        self._settings = settings
        self._full: Deferred[None] | None = None
        self._lost_because: Reply | None = None
        self._over = False
        self._handshaking = False
        self._moved = True
        self._deadline = 0.0
        self.tls = ""

    def connectionMade(self) -> None:  # noqa: D102
        self.transport.bufferSize = _COMMANDS
        self.wait()

    def dataReceived(self, data: bytes) -> None:  # noqa: D102
        if self.dialogue.receive_data(data):  # half a reply must not buy a host more time
            self.wait()
        self._turn.when_quiet(self.advance, RELAY_PATIENCE)

    def handshakeCompleted(self) -> None:  # noqa: D102
        self._handshaking = False
        verified = self._context.judge(self.transport.getHandle())
        self.tls = f"{tls_description(self.transport)}, {verified}"
        if verified.refused:  # nothing has been said yet but STARTTLS
            assert verified.fault is not None
            text = f"The host's certificate will not do: {verified.fault.value}"
            self.close(Reply(451, "4.7.5", text))
            return
        self.dialogue.tls_started(sure=verified.sure)
        self.advance()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008, D102
        self.dialogue.lost()
        self.advance()
        self._over = True
        self.resumeProducing()
        if self._handshaking:
            lost = Reply(450, "4.7.5", f"The TLS handshake failed: {_why(reason)}")
        else:
            step = self.dialogue.step
            lost = Reply(450, "4.4.2", f"Connection lost, waiting for {step}: {_why(reason)}")
        self._owner.on_lost(self._lost_because or lost)

    def advance(self) -> None:
        """Let the dialogue go on, and send what it has to say at the end of the turn."""
        try:
            while not self._over and (event := self.dialogue.next_event()) is not None:
                if isinstance(event, sending.TlsWanted):
                    self.flush()
                    self._handshaking = True
                    self.transport.startTLS(self._context)
                else:
                    self._owner.on_event(event)
        except Exception:  # noqa: BLE001 - nobody knows where the session stands now
            self.log.failure("a session with a receiving machine failed, and was cut off")
            self.abort(Reply(451, "4.3.0", "The session failed at our end"))
            return
        self._turn.say(self)

    def flush(self) -> None:
        """Send what the dialogue has to say, now."""
        if not self._over and (out := self.dialogue.data_to_send()):
            send_now(self.transport, out)

    async def room(self) -> bool:
        """Wait until the connection takes more; False when it is gone."""
        if self._full is not None:
            await self._full
        return not self._over

    def begin_content(self) -> None:
        """A large content follows: have the transport say when it is full."""
        self.transport.registerProducer(self, True)

    def end_content(self) -> None:
        """The large content is all there."""
        if not self._over:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:  # noqa: D102
        if self._full is None:
            self._full = Deferred()

    def resumeProducing(self) -> None:  # noqa: D102
        full, self._full = self._full, None
        if full is not None:
            self.wait()
            full.callback(None)

    def stopProducing(self) -> None:  # noqa: D102
        self.resumeProducing()

    # Time

    def wait(self) -> None:
        """Something has moved: the clock of this session starts anew."""
        self._moved = True

    def check(self, now: float) -> None:
        """Give the session up if the host has been silent for too long; called every second."""
        if self._moved:  # within the last second, which is near enough
            self._moved = False
            final = self.dialogue.awaits_end
            limit = self._settings.final_timeout if final else self._settings.reply_timeout
            self._deadline = now + limit
        if not self._over and now > self._deadline and not self.dialogue.idle:
            step = "the TLS handshake" if self._handshaking else self.dialogue.step
            self.abort(Reply(450, "4.4.2", f"Timeout, waiting for {step}"))

    def close(self, reply: Reply) -> None:
        """Close the connection in good order."""
        self._lost_because = self._lost_because or reply
        self.transport.loseConnection()

    def abort(self, reply: Reply) -> None:
        """Close the connection at once."""
        self._lost_because = self._lost_because or reply
        self.transport.abortConnection()


def send_now(transport: Any, data: bytes) -> None:
    """Write, without waiting for the reactor's next turn when nothing stands before us.

    Twisted's ``write`` asks epoll first: two system calls and a turn of the reactor for a reply
    of 30 octets, which was a tenth of the whole cost of a message (docs/performance.md).
    """
    sock = getattr(transport, "socket", None)
    if (
        sock is None
        or transport.TLS
        or transport.dataBuffer
        or transport._tempDataBuffer
        or transport.disconnecting
        or not transport.connected
    ):
        transport.write(data)
        return
    try:
        sent = sock.send(data)
    except OSError:  # full, or gone: Twisted knows what to do about either
        sent = 0
    if sent < len(data):
        transport.write(data[sent:] if sent else data)


def tls_description(transport: Any) -> str:
    """Version and cipher, as in ``TLSv1.3 TLS_AES_256_GCM_SHA384``."""
    connection: SSL.Connection = transport.getHandle()
    return f"{connection.get_protocol_version_name()} {connection.get_cipher_name()}"


def _already_said(transport: Any) -> bytes:
    """What a client sent before the banner, without taking it; most clients say nothing."""
    handle = getattr(transport, "socket", None)
    if handle is None:
        return b""
    try:
        if fcntl.ioctl(handle, termios.FIONREAD, _NO_OCTETS) == _NO_OCTETS:
            return b""
        return cast(bytes, handle.recv(16, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return b""


def _why(reason: Failure) -> str:
    text = reason.getErrorMessage().strip()
    return (text or type(reason.value).__name__)[:200]
