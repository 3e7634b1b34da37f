"""``mail6m archivist``: what customers ask to have back from the cellar."""

from __future__ import annotations

import argparse
from typing import Any

from mail6m.cli.arguments import number
from mail6m.cli.command import OPERATOR, CommandLine
from mail6m.cli.output import time_or_none, time_text
from mail6m.foundation import Foundation
from mail6m.storage.archivist import Request


def declare(line: CommandLine) -> None:
    """Add the noun and its verbs."""
    noun = line.noun("archivist", "what customers ask to have back from the cellar")
    one = noun.verb("list", archivist_list)
    one.add_argument("--customer", type=number, metavar="N")
    one.add_argument("--all", action="store_true", help="also what has been decided")
    noun.verb("grant", archivist_grant).add_argument("--id", type=number, required=True)
    one = noun.verb("refuse", archivist_refuse)
    one.add_argument("--id", type=number, required=True)
    one.add_argument("--because", default="", metavar="TEXT", help="the customer reads it")


async def archivist_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """What customers ask to have back from the cellar, and how many messages that is."""
    requests = await foundation.archivist.everywhere(options.customer, waiting=not options.all)
    return [await _request(foundation, request) for request in requests]


async def archivist_grant(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for goes back to the cabinet, for 30 days at least."""
    count = await foundation.archivist.grant(*OPERATOR, options.id)
    return {"id": options.id, "count": count}


async def archivist_refuse(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for stays in the cellar."""
    await foundation.archivist.refuse(*OPERATOR, options.id, options.because)
    return {"id": options.id}


async def _request(foundation: Foundation, request: Request) -> dict[str, Any]:
    wish = request.wish
    waits = request.state == "waiting"
    match = await foundation.archivist.match(request) if waits else None
    return {
        "id": request.id,
        "customer": request.customer,
        "asked_at": time_text(request.asked_at),
        "account": request.account,
        "sender": wish.sender,
        "recipient": wish.recipient,
        "subject": wish.subject,
        "from": time_or_none(wish.since),
        "until": time_or_none(wish.until),
        "reason": wish.reason,
        "state": request.state,
        "matches": match.messages if match is not None else None,
        "too_many": match.too_many if match is not None else None,
        "decided_at": time_or_none(request.decided_at),
        "answer": request.answer,
        "brought_back": request.messages,
    }
