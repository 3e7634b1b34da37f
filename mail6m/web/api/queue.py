"""What has not reached the receiving machine yet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from mail6m.model import Scope
from mail6m.storage.deliveries import Deliveries, Waiting, read_delivery_id
from mail6m.storage.errors import Refused
from mail6m.web.api.caller import Caller
from mail6m.web.api.cursor import OF_DELIVERIES, cursor, place
from mail6m.web.api.operation import operation
from mail6m.web.api.problem import Kind, Refusal


class QueuePage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where in the queue."""

    cursor: (
        Annotated[str, Meta(pattern=OF_DELIVERIES, description="The `next` of the page before.")]
        | UnsetType
    ) = UNSET
    limit: Annotated[int, Meta(ge=1, le=100, description="Deliveries of a page.")] = 50


class ByDelivery(Struct, frozen=True, forbid_unknown_fields=True):
    """One delivery."""

    id: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]{1,10}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9]{1,10}$",
            description="As the queue names it.",
            examples=["7-019a9a6c-5f3e-7c21-9b5e-2f4a1c0d9e77-0"],
        ),
    ]


class Queued(Struct, frozen=True, kw_only=True):
    """A delivery that has not been made."""

    id: str
    message: UUID
    sender: str
    recipient: str
    subject: str
    attempts: int
    queued_at: datetime
    next_attempt_at: datetime
    last_reply: Annotated[str, Meta(description="Of the receiving machine.")]
    under_way: Annotated[bool, Meta(description="It is being tried, or about to be.")]
    down: Annotated[bool, Meta(description="The receiving machine cannot be reached.")]


class Queue(Struct, frozen=True, kw_only=True):
    """A page of what waits, in order of arrival."""

    deliveries: list[Queued]
    next: Annotated[str | None, Meta(description="The cursor of the next page; null: none.")]


class Retried(Struct, frozen=True, kw_only=True):
    """A delivery that is due now."""

    id: str


_MESSAGE = UUID("019a9a6c-5f3e-7c21-9b5e-2f4a1c0d9e77")
_ID = f"7-{_MESSAGE}-0"
_AT = datetime(2026, 11, 23, 8, 30, 12, tzinfo=UTC)
_EXAMPLE = Queue(
    deliveries=[
        Queued(
            id=_ID,
            message=_MESSAGE,
            sender="albert@prodigy.net",
            recipient="etienne@mondomaine.fr",
            subject="Notes de frais.",
            attempts=2,
            queued_at=_AT,
            next_attempt_at=_AT.replace(minute=36),
            last_reply="451 4.3.2 Please try again later",
            under_way=False,
            down=False,
        )
    ],
    next=None,
)


class QueueOperations:
    """The customer's queue."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    @operation("GET", "/queue", Scope.QUEUE_READ, example=_EXAMPLE)
    async def list_queue(self, caller: Caller, asked: QueuePage) -> Queue:
        """What has not reached the receiving machine yet, in order of arrival."""
        after = place(asked.cursor) if asked.cursor else None
        waiting = await self._deliveries.waiting(caller.customer, 0, asked.limit + 1, after)
        shown = waiting[: asked.limit]
        last = shown[-1].delivery if len(waiting) > asked.limit else None
        return Queue(
            deliveries=[_queued(one) for one in shown],
            next=cursor(last.message, last.number) if last is not None else None,
        )

    @operation(
        "POST",
        "/queue/{id}/retry",
        Scope.QUEUE_RETRY,
        status=202,
        refuses=(Kind.NOT_WAITING,),
        example=Retried(id=_ID),
    )
    async def retry_delivery(self, caller: Caller, asked: ByDelivery) -> Retried:
        """Try a delivery now, rather than when its turn comes."""
        try:
            delivery = read_delivery_id(asked.id)
        except Refused:
            raise Refusal(Kind.NOT_FOUND) from None
        customer, message, number = delivery
        theirs = await self._deliveries.of_message(caller.customer, message)
        if customer != caller.customer or number not in [one.number for one in theirs]:
            raise Refusal(Kind.NOT_FOUND)
        if not await self._deliveries.retry(caller.by, customer=customer, delivery=delivery):
            raise Refusal(Kind.NOT_WAITING, "It has been made, given up, or is being tried.")
        return Retried(id=asked.id)


def _queued(one: Waiting) -> Queued:
    delivery = one.delivery
    return Queued(
        id=delivery.id,
        message=delivery.message,
        sender=one.sender,
        recipient=delivery.recipient,
        subject=one.subject,
        attempts=delivery.attempts,
        queued_at=delivery.queued_at,
        next_attempt_at=delivery.next_attempt_at,
        last_reply=delivery.last_reply,
        under_way=one.under_way,
        down=one.down,
    )
