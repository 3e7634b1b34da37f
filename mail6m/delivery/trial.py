"""A session with a receiving machine that brings it nothing, to see what relaying would meet.

It goes as far as RCPT, and then leaves. Nothing is shown but SMTP replies, so that a trial tells no
more about a machine than relaying to it would.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, ensureDeferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from mail6m.delivery.conversation import Caller, Conversation, Finding, Line, Over, Side
from mail6m.delivery.demands import Demands
from mail6m.model import Host, TlsPolicy
from mail6m.trust import Fault

PATIENCE = 10.0
"""Seconds that a trial may take, of all the hosts of a domain together."""


@dataclass(slots=True)
class Attempt:
    """The trial of one host."""

    host: Host
    finding: Finding = Finding.UNREACHABLE
    lines: list[Line] = field(default_factory=list)
    tls: str = ""
    """Version and cipher, and whether the host was verified; empty in clear."""
    fault: Fault | None = None
    """What is wrong with the certificate: mail does not go there where TLS is required."""


class Busy(Exception):
    """The customer's last trial has not ended."""


class Trial:
    """Tries receiving machines."""

    def __init__(
        self, reactor: IReactorTime, demands: Demands, hostname: str, ours: Sequence[str]
    ) -> None:
        self._reactor = reactor
        self._caller = Caller(reactor, demands, hostname, ours)
        self._under_way: set[int] = set()

    async def of(
        self, customer: int, domain: str, hosts: Sequence[Host], tls: TlsPolicy
    ) -> list[Attempt]:
        """Try all hosts of a customer's domain at once. Raises `Busy`."""
        if customer in self._under_way:
            raise Busy
        self._under_way.add(customer)
        try:
            attempts = [Attempt(host) for host in hosts]
            await gatherResults(
                [
                    ensureDeferred(self._try(attempt, domain, tls)).addTimeout(
                        PATIENCE, self._reactor
                    )
                    for attempt in attempts
                ]
            )
        finally:
            self._under_way.discard(customer)
        return attempts

    async def _try(self, attempt: Attempt, domain: str, tls: TlsPolicy) -> None:
        with suppress(CancelledError):  # the time is up, and the attempt has what was found
            if await self._reach(attempt, domain, tls):
                # As a courier does it: encryption where it can be, mail in any case (RFC 7435).
                attempt.lines.append(Line(Side.AGAIN, ""))
                await self._reach(attempt, domain, TlsPolicy.NONE)

    async def _reach(self, attempt: Attempt, domain: str, tls: TlsPolicy) -> bool:
        """Try once; whether it may be tried again in clear."""
        conversation = Conversation(attempt.lines)
        try:
            attempt.finding = await self._finding(conversation, attempt.host, domain, tls)
            await conversation.leave()
        except CancelledError:
            reached = conversation.transport is not None
            attempt.finding = Finding.SILENT if reached else Finding.UNREACHABLE
            raise
        finally:
            attempt.tls, attempt.fault = conversation.tls, conversation.fault
            conversation.cut_off()
        return conversation.may_go_on_in_clear

    async def _finding(
        self, conversation: Conversation, host: Host, domain: str, tls: TlsPolicy
    ) -> Finding:
        try:
            await self._caller.begin(conversation, host, tls)
            for command in ("MAIL FROM:<>", f"RCPT TO:<postmaster@{domain}>"):
                answer = await conversation.say(command)
                if answer.code // 100 != 2:
                    return Finding.REFUSED if answer.code >= 500 else Finding.LATER
        except Over as over:
            return over.finding
        return Finding.TAKEN
