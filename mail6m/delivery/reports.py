"""Bounces and warnings: who gets one, and their way into the queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from twisted.logger import Logger

from mail6m.delivery.bounce import Action, Reported, Returned, report, wants
from mail6m.delivery.consignment import Consignment, Item
from mail6m.delivery.own import OwnMail
from mail6m.delivery.schedule import LIFETIME
from mail6m.header import fields, header_end
from mail6m.model import Judgement, Outcome
from mail6m.reader import Reader

LARGEST_HEADER = 65_536
LARGEST_RETURN = 262_144
"""A content up to this size goes back whole, where the sender asked for it (RET=FULL)."""


class Reports:
    """Writes to senders about what became of their messages."""

    log = Logger()

    def __init__(
        self,
        hostname: str,
        reader: Reader,
        own: OwnMail,
        clock: Callable[[], datetime],
    ) -> None:
        self._hostname = hostname
        self._reader = reader
        self._own = own
        self._clock = clock

    async def send(
        self, consignment: Consignment, action: Action, items: Sequence[tuple[Item, Outcome]]
    ) -> None:
        """Queue one report on those of the items whose sender wants to hear of it.

        Nothing goes to the null sender (RFC 3464, 2), so no report can breed another; nor to a
        sender who has most likely not sent it, and would only be annoyed (RFC 5321, 6.2).
        Raises `mail6m.intake.Rejected` when it cannot be queued now.
        """
        sender = consignment.envelope.sender
        wanted = [
            (item, outcome) for item, outcome in items if wants(item.recipient.notify, action)
        ]
        if not sender or not wanted or _is_forged(consignment.judgement):
            return
        now = self._clock()
        envelope = consignment.envelope
        header, whole = await self._original(consignment)
        if envelope.requiretls:  # what was to be protected is not told in a report (RFC 8689, 5)
            header, whole = _message_id_alone(header), None
        returned = Returned(
            message=consignment.message,
            sender=sender,
            envid=envelope.envid,
            returns=envelope.returns,
            arrived_at=consignment.received_at,
            header=header,
            content=whole,
            smtputf8=envelope.smtputf8,
        )
        reported = [
            Reported(
                recipient=item.recipient.address,
                original=item.recipient.original,
                action=action,
                status=_status(outcome, action),
                reply=str(outcome.reply),
                host=outcome.host,
                last_attempt_at=now,
                will_retry_until=item.queued_at + LIFETIME if action == "delayed" else None,
            )
            for item, outcome in wanted
        ]
        octets = report(returned, reported, self._hostname, now, self._own.new_name(now))
        requiretls = envelope.requiretls
        id_ = await self._own.send(consignment.customer, sender, octets, requiretls=requiretls)
        self.log.info(
            "{id} reports to=<{sender}> on={message}",
            id=id_,
            sender=sender,
            message=consignment.message,
        )

    async def _original(self, consignment: Consignment) -> tuple[bytes, bytes | None]:
        if consignment.envelope.returns == "FULL" and consignment.size <= LARGEST_RETURN:
            whole = b""
            async for piece in consignment.pieces(self._reader):
                whole += piece
            return whole[: header_end(whole)][:LARGEST_HEADER], whole
        head = consignment.header
        if head is None:
            head = await self._reader.head(
                consignment.customer, consignment.message, LARGEST_HEADER
            )
            head = head[: header_end(head)]
        return head[:LARGEST_HEADER], None


def _message_id_alone(header: bytes) -> bytes:
    """All that names a message without saying anything of it."""
    found = [value for name, value in fields(header) if name.lower() == b"message-id"]
    return b"Message-ID: " + b" ".join(found[0].split()) + b"\r\n" if found else b""


def _is_forged(judgement: Judgement) -> bool:
    """Whether a report would most likely go to somebody who has not sent the message."""
    return bool(judgement.spam) or judgement.authentication.spf == "fail"


Report = Callable[[Consignment, Action, Sequence[tuple[Item, Outcome]]], Awaitable[None]]


def _status(outcome: Outcome, action: Action) -> str:
    """The reply's own status, if it is of the class that its code says; else a general one."""
    if action in ("relayed", "delivered"):
        return "2.0.0"
    kind = "4" if action == "delayed" else "5"
    status = outcome.reply.status
    if status[:1] == kind:
        return status
    return f"{kind}{status[1:]}" if status[:1] in ("4", "5") else f"{kind}.0.0"
