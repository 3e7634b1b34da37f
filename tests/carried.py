"""A courier on the real reactor, in a world whose names and ports are as a test has them."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorPluggableNameResolver
from zope.interface import implementer

from mail6m.content import Budget, Content
from mail6m.delivery.consignment import Consignment, Item, Shared
from mail6m.delivery.courier import Courier
from mail6m.delivery.demands import Demands
from mail6m.delivery.heading import Heading
from mail6m.delivery.route import Route
from mail6m.model import Client, Envelope, Outcome, Recipient, Reply
from mail6m.settings import Settings
from mail6m.signing import Signer
from mail6m.trust import Trust
from mail6m.turn import Turn
from tests.authority import the_authority
from tests.reactor_thread import run, the_reactor

LOOPBACK = "127.0.0.1"
MESSAGE = b"From: <jean@example.org>\r\nTo: <marie@example.test>\r\nSubject: x\r\n\r\nBonjour\r\n"
SETTINGS = Settings(hostname="mail6m.test", connect_timeout=5.0)


@implementer(IReactorPluggableNameResolver)
class World:
    """The reactor, where names and ports are this machine's as a test says.

    ``ports`` says where a port of a name really is: ``{("mx.example.test", 25): 40123}``.
    """

    def __init__(self, ports: dict[tuple[str, int], int] | None = None) -> None:
        self._reactor = the_reactor()
        self.ports = ports or {}
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def resolveHostName(self, receiver: Any, host: str, portNumber: int = 0) -> Any:
        """Every name is this machine's (as `twisted.internet.interfaces.IHostnameResolver`)."""
        port = self.ports.get((host, portNumber), portNumber)
        receiver.resolutionBegan(self)
        receiver.addressResolved(IPv4Address("TCP", LOOPBACK, port))
        receiver.resolutionComplete()
        return receiver


@dataclass
class Carried:
    """What a courier was given, and what came of it (as `mail6m.delivery.courier.Dispatch`)."""

    waiting: deque[Consignment] = field(default_factory=deque)
    outcomes: list[Outcome] = field(default_factory=list)
    reply: Reply | None = None
    """How the session ended."""
    done: Deferred[None] = field(default_factory=Deferred)
    courier: Courier | None = None

    def next(self) -> Consignment | None:
        return self.waiting.popleft() if self.waiting else None

    def settled(self, consignment: Consignment, **_: Any) -> None:
        self.outcomes += consignment.outcomes
        if not self.waiting and self.courier is not None:
            self.courier.retire()

    def reached(self) -> None:
        """It is no matter here."""

    def served(self) -> None:
        """Nor is this."""

    def ended(self, courier: Courier, reply: Reply) -> None:
        self.reply = reply
        if not self.done.called:
            self.done.callback(None)

    @property
    def outcome(self) -> Outcome:
        """The only one."""
        [outcome] = self.outcomes
        return outcome


def consignment(**envelope: Any) -> Consignment:
    """A small message for one recipient."""
    content = Content(Budget(1 << 20), Path("/nonexistent"), 1 << 20)
    content.write(MESSAGE)
    recipient, now = Recipient("marie@example.test"), datetime.now(UTC)
    return Consignment(
        customer=1,
        message=uuid4(),
        destination="example.test",
        envelope=Envelope("jean@example.org", (recipient,), Client("192.0.2.1"), **envelope),
        size=len(MESSAGE),
        received_at=now,
        items=[Item(0, recipient, 0, now)],
        shared=Shared(content, 1, lambda: None),
    )


def carry(
    world: World,
    route: Route,
    resolver: Any,
    trust: Trust | None = None,
    messages: Sequence[Consignment] = (),
) -> Carried:
    """What becomes of messages on a route; one message if none are given."""
    carried = Carried(deque(messages or [consignment()]))
    demands = Demands(resolver, trust or trusted())

    async def travel() -> None:
        heading = Heading(SETTINGS, Signer(SETTINGS, lambda: 0.0))
        turn, nothing = Turn(world), Any
        courier = Courier(world, turn, SETTINGS, demands, nothing, heading, carried)
        carried.courier = courier
        await courier.travel(route)
        await carried.done

    run(travel)
    return carried


@cache
def trusted() -> Trust:
    """Of who believes the authority of the tests, and no other."""
    with tempfile.TemporaryDirectory() as directory:
        trust = Trust(the_authority().write(Path(directory)))
        trust.check()  # which reads the file
        return trust
