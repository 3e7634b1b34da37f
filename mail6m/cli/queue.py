"""``mail6m queue``: what is still to be relayed."""

from __future__ import annotations

import argparse
from typing import Any

from mail6m.cli.arguments import number
from mail6m.cli.command import Command, CommandLine, operator
from mail6m.cli.output import time_text
from mail6m.foundation import Foundation, cancel_delivery
from mail6m.model import HOUSE, Delivery
from mail6m.storage.deliveries import read_delivery_id
from mail6m.storage.errors import Refused


def declare(line: CommandLine) -> None:
    """Add the noun and its verbs."""
    noun = line.noun("queue", "what is still to be relayed")
    lists: tuple[tuple[str, Command], ...] = (("list", queue_list), ("retry", queue_retry))
    for name, command in lists:
        one = noun.verb(name, command)
        one.add_argument("--customer", type=number, metavar="N")
        one.add_argument("--destination", metavar="HOST", help="a domain, or a receiving machine")
        if name == "retry":
            one.add_argument("--id")
    noun.verb("cancel", queue_cancel).add_argument("--id", required=True)
    held: tuple[tuple[str, Command], ...] = (("hold", queue_hold), ("release", queue_release))
    for name, command in held:
        one = noun.verb(name, command)
        one.add_argument("--destination", required=True, metavar="HOST",
                         help="a domain, or a receiving machine")  # fmt: skip


async def queue_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """What is still to be relayed."""
    deliveries = await foundation.deliveries.queued(
        customer=options.customer, destination=options.destination
    )
    return [_delivery(delivery) for delivery in deliveries]


async def queue_retry(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Deliveries are tried now."""
    delivery = read_delivery_id(options.id) if options.id is not None else None
    concerned = delivery[0] if delivery is not None else options.customer
    count = await foundation.deliveries.retry(
        operator(HOUSE if concerned is None else concerned),
        customer=options.customer,
        destination=options.destination,
        delivery=delivery,
    )
    if options.id is not None and not count:
        raise Refused(f"{options.id} is not in the queue, or under way just now")
    return {"count": count}


async def queue_cancel(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A delivery is given up, with a bounce."""
    await cancel_delivery(foundation, read_delivery_id(options.id))
    return {"count": 1}


async def queue_hold(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Nothing goes out to a destination until it is released; how many were not held yet.

    By the name of a host, that is every domain which goes on to it, now or later.
    """
    count = await foundation.deliveries.hold(operator(HOUSE), options.destination)
    await foundation.backlog.take()
    return {"count": count}


async def queue_release(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """What was held goes out now; how many destinations were, and how many deliveries waited.

    And how many destinations of that name stay held, by another one.
    """
    let_go = await foundation.deliveries.let_go(operator(HOUSE), options.destination)
    await foundation.backlog.take()
    return {
        "count": let_go.destinations,
        "deliveries": let_go.deliveries,
        "kept": len(let_go.kept),
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "message": str(delivery.message),
        "recipient": delivery.recipient,
        "attempts": delivery.attempts,
        "next_attempt_at": time_text(delivery.next_attempt_at),
        "last_reply": delivery.last_reply,
    }
