"""One session with one destination, for many messages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from mail6m.delivery.consignment import Consignment
from mail6m.delivery.demands import Demands, Unsafe
from mail6m.delivery.heading import Heading
from mail6m.delivery.route import Route
from mail6m.dialogue import client as sending
from mail6m.dialogue.client import ClientDialogue, Transfer
from mail6m.model import Host, Outcome, Reply, Verdict
from mail6m.reader import Reader
from mail6m.settings import Settings
from mail6m.smtp import SmtpClient
from mail6m.trust import Demand, Level
from mail6m.turn import Turn

_GOODBYE = Reply(450, "4.3.2", "The session was closed")


class _Quiet(Factory):
    noisy = False


class Dispatch(Protocol):
    """Where a courier gets its work, and reports."""

    def next(self) -> Consignment | None:
        """The next consignment, if there is one."""

    def settled(self, consignment: Consignment, *, reports_passed_on: bool, seconds: float) -> None:
        """Every item of it has an outcome, after so long."""

    def reached(self) -> None:
        """A host has taken the session."""

    def served(self) -> None:
        """The host has answered in a transaction: it is up."""

    def ended(self, courier: Courier, reply: Reply) -> None:
        """The session is over; what was in hand has been settled."""


class Courier:
    """Reaches a host of a route, then carries consignments until there are no more."""

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        turn: Turn,
        settings: Settings,
        demands: Demands,
        reader: Reader,
        heading: Heading,
        dispatch: Dispatch,
    ) -> None:
        self._reactor = reactor
        self._turn = turn
        self._settings = settings
        self._demands = demands
        self._reader = reader
        self._heading = heading
        self._dispatch = dispatch
        self._session: SmtpClient | None = None
        self._host = ""
        self._in_hand: dict[Transfer, tuple[Consignment, bytes, float]] = {}
        self._over = False
        self._retired = False
        self._working = False
        self._worked = False
        self._established: Deferred[Reply | None] | None = None
        self._idle_since = 0.0
        self.route: Route | None = None
        """Where it goes."""
        self.reached = False
        """It has had a session."""
        self.served = False
        """The host has answered in a transaction: with a verdict, or by asking for the content."""
        self.in_vain = False
        """It lost its session with a message in hand, before it was served."""

    @property
    def ready(self) -> bool:
        """It has a session, and could take more."""
        session = self._session
        return session is not None and not self._retired and session.dialogue.can_send

    async def travel(self, route: Route) -> None:
        """Reach the first of the hosts that answers; `Dispatch.ended` if none does."""
        self.route = route
        reply = Reply(451, "4.4.1", "No host to connect to")
        for host in route.hosts:
            failure = await self._try(route, host)
            if failure is None:
                return
            reply = failure
            if self._over:
                break
        self._end(reply)

    async def _try(self, route: Route, host: Host) -> Reply | None:
        try:
            demand = await self._demands.of(route, host)
        except Unsafe as error:
            return error.reply
        failure, broken_tls = await self._connect(host, demand)
        if broken_tls and demand.level is Level.OFFERED:
            # RFC 7435, 4.1: encryption is done where it can be; where it cannot, mail still flows.
            self.log.info("{host}: {failure}; going on in clear", host=host, failure=failure)
            failure, _ = await self._connect(host, Demand(Level.CLEAR, host.name))
        return failure

    async def _connect(self, host: Host, demand: Demand) -> tuple[Reply | None, bool]:
        timeout = self._settings.connect_timeout
        endpoint = HostnameEndpoint(self._reactor, host.name, host.port, timeout=timeout)
        session = SmtpClient(
            ClientDialogue(self._settings.hostname, demand.level.policy),
            self,
            self._demands.towards(demand),
            self._turn,
            self._settings,
        )
        self._established = Deferred()
        try:
            await endpoint.connect(_Quiet.forProtocol(lambda: session))
        except Exception as error:  # noqa: BLE001 - Twisted's and OpenSSL's, of many kinds
            self._established = None
            text = str(error) or type(error).__name__
            return Reply(451, "4.4.1", f"Cannot connect to {host}: {text}"[:400]), False
        self._session = session
        peer = cast(Any, session.transport).getPeer()
        self._host = f"{host.name}[{getattr(peer, 'host', '')}]:{host.port}"
        failure = await self._established
        if failure is not None:
            self._session = None
        return failure, session.dialogue.securing

    def check(self, now: float) -> None:
        """Give up on silence, and close what has been idle for long; called every second."""
        if self._session is None:
            return
        self._session.check(now)
        if self._worked or not self._session.dialogue.idle:
            self._worked = False
            self._idle_since = now
        elif now > self._idle_since + self._settings.relay_idle:
            self.leave()

    def leave(self) -> None:
        """Say goodbye, if nothing is in hand."""
        if self._session is not None and self._session.dialogue.idle:
            self._session.dialogue.quit()
            self._session.wait()
            self._session.advance()

    def retire(self) -> None:
        """Take nothing more, and leave when what is in hand has been settled."""
        self._retired = True
        self.leave()

    def stop(self) -> None:
        """Stop at once; what is in hand is settled as not delivered."""
        self._over = True
        if self._session is not None:
            if self._session.dialogue.idle:
                self.leave()
            else:
                self._session.abort(_GOODBYE)

    def work(self) -> None:
        """Take what there is to take."""
        session = self._session
        if session is None or self._working:
            return
        if self._retired:
            self.leave()
            return
        self._working = True  # what is said below may call for more work: the loop sees to it
        while session.dialogue.can_send and (consignment := self._dispatch.next()) is not None:
            front = self._heading.front(consignment)
            transfer = consignment.transfer(front)
            self._in_hand[transfer] = (consignment, front, self._reactor.seconds())
            session.dialogue.send(transfer)
            session.wait()
            session.advance()
        self._working = False
        self._worked = True

    # What the session says

    def on_event(self, event: sending.Event) -> None:
        """See `mail6m.smtp.SessionOwner`."""
        _EVENTS[type(event)](self, event)

    def _on_ready(self, event: sending.Ready) -> None:
        established, self._established = self._established, None
        if established is not None:
            established.callback(None)
        self.reached = True
        self._dispatch.reached()
        self.work()

    def _on_content_wanted(self, event: sending.ContentWanted) -> None:
        if not self.served:
            self._note_service()
        self._send_content(event.transfer)

    def _on_transfer_ended(self, event: sending.TransferEnded) -> None:
        if not self.served:
            self._note_service()
        self._settle(event.transfer)
        self.work()

    def _on_session_failed(self, event: sending.SessionFailed) -> None:
        if self._session is not None:
            self._session.close(event.reply)

    def _note_service(self) -> None:
        self.served = True
        self._dispatch.served()

    def on_lost(self, reply: Reply) -> None:
        """See `mail6m.smtp.SessionOwner`."""
        established, self._established = self._established, None
        if established is not None:  # it never got as far as being ready
            established.callback(reply)
            return
        self.in_vain = bool(self._in_hand) and not self.served
        for transfer in list(self._in_hand):
            transfer.settle(_as_transient(reply))
            self._settle(transfer)
        self._end(reply)

    def _end(self, reply: Reply) -> None:
        self._session = None
        self._over = True
        self._dispatch.ended(self, reply)

    def _settle(self, transfer: Transfer) -> None:
        found = self._in_hand.pop(transfer, None)
        if found is None:
            return
        consignment, _, since = found
        session = self._session
        tls = session.tls if session is not None else ""
        consignment.outcomes = [
            Outcome(_verdict(reply), reply, self._host, tls)
            for reply in cast(list[Reply], transfer.replies)
        ]
        passed_on = session is not None and "DSN" in session.dialogue.extensions
        seconds = self._reactor.seconds() - since
        self._dispatch.settled(consignment, reports_passed_on=passed_on, seconds=seconds)

    def _send_content(self, transfer: Transfer) -> None:
        consignment, front, _ = self._in_hand[transfer]
        session = self._session
        assert session is not None
        shared = consignment.shared
        if shared is not None and shared.content.in_memory:
            content = shared.content.whole()
            session.dialogue.content(self._heading.of_whole(consignment, front, content))
            session.dialogue.end_content(transfer)
            session.wait()
            # The envelope of the next message goes in the same packet as this content.
            self.work()
        else:
            ensureDeferred(self._stream(session, consignment, transfer, front))

    async def _stream(
        self, session: SmtpClient, consignment: Consignment, transfer: Transfer, front: bytes
    ) -> None:
        session.begin_content()
        try:
            reading = partial(consignment.pieces, self._reader)
            async for piece in self._heading.of_pieces(consignment, front, reading):
                session.dialogue.content(piece)
                session.flush()
                session.wait()
                if not await session.room():
                    return
            session.dialogue.end_content(transfer)
        except Exception as error:  # noqa: BLE001
            # Half a message must not end with a dot: only breaking off tells the host so.
            self.log.failure("message {id} cannot be read back", id=consignment.message)
            session.abort(Reply(451, "4.3.0", f"The message cannot be read back: {error}"))
            return
        finally:
            session.end_content()
        session.flush()
        session.wait()
        self.work()


_EVENTS: dict[type, Callable[[Courier, Any], None]] = {
    sending.Ready: Courier._on_ready,
    sending.ContentWanted: Courier._on_content_wanted,
    sending.TransferEnded: Courier._on_transfer_ended,
    sending.SessionFailed: Courier._on_session_failed,
}


def _verdict(reply: Reply) -> Verdict:
    if 200 <= reply.code < 300:
        return Verdict.DONE
    return Verdict.NEVER if reply.code >= 500 else Verdict.LATER


def _as_transient(reply: Reply) -> Reply:
    """Losing a session is never the message's fault, whatever the host said when it closed."""
    return reply if 400 <= reply.code < 500 else Reply(450, "4.4.2", f"The host said: {reply}")
