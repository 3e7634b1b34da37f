"""``mail6m message``: archived messages."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mail6m.cli.arguments import message_id, moment, number, positive
from mail6m.cli.command import Command, CommandLine, operator
from mail6m.cli.output import time_text
from mail6m.foundation import Foundation
from mail6m.model import Message, Shelf
from mail6m.shelves.cabinet import criteria
from mail6m.shelves.reissue import Reissue
from mail6m.storage.errors import Refused


def declare(line: CommandLine) -> None:
    """Add the noun and its verbs."""
    noun = line.noun("message", "archived messages, without their content")
    one = noun.verb("list", message_list)
    one.add_argument("--customer", type=number, required=True, metavar="N")
    for field in ("sender", "recipient", "subject"):
        one.add_argument(f"--{field}", metavar="S", default="",
                         help="a part of it, whatever the case and accents")  # fmt: skip
    one.add_argument("--from", dest="since", type=moment, metavar="TIME", help="RFC 3339")
    one.add_argument("--until", type=moment, metavar="TIME", help="RFC 3339")
    one.add_argument("--shelf", choices=["cabinet", "cellar"])
    one.add_argument("--limit", type=positive, default=100, metavar="K")
    acts: tuple[tuple[str, Command], ...] = (
        ("export", message_export),
        ("reissue", message_reissue),
        ("delete", message_delete),
    )
    for name, command in acts:
        one = noun.verb(name, command)
        one.add_argument("--customer", type=number, required=True, metavar="N")
        one.add_argument("--id", type=message_id, required=True)


async def message_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """A customer's messages, newest first."""
    await foundation.customers.get(options.customer)
    shelves = [Shelf[options.shelf.upper()]] if options.shelf else [Shelf.CABINET, Shelf.CELLAR]
    wanted = criteria(
        options.sender, options.recipient, options.subject, options.since, options.until
    )
    messages = await foundation.cabinet.newest(options.customer, wanted, shelves, options.limit)
    return [_message(message) for message in messages]


async def message_export(foundation: Foundation, options: argparse.Namespace) -> None:
    """A message, byte for byte as it was received, on standard output."""
    message = await foundation.archive.get(options.customer, options.id)
    async for piece in foundation.reader.pieces(message.customer, message.id):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    if options.json:  # nothing but the message may stand there
        options.json = False


async def message_reissue(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A message goes to its recipients again."""
    message = await foundation.archive.get(options.customer, options.id)
    reissue = Reissue(foundation.directory, foundation.deliveries)
    sent = await reissue.send(operator(options.customer), [message])
    if not sent.deliveries:
        left_out = ", ".join(sent.without_way)
        raise Refused(f"{left_out} is not at a domain of customer {options.customer}")
    if sent.without_way:
        return {"count": sent.deliveries, "without_way": sent.without_way}
    return {"count": sent.deliveries}


async def message_delete(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A message is deleted for good."""
    count = await foundation.archive.delete(operator(options.customer), [options.id])
    if not count:
        raise Refused(f"customer {options.customer} has no message {options.id}")
    return {"count": count}


def _message(message: Message) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "received_at": time_text(message.received_at),
        "sender": message.sender,
        "recipients": list(message.recipients),
        "subject": message.subject,
        "raw_size": message.raw_size,
        "stored_size": message.stored_size,
        "sha256": message.sha256.hex(),
        "spam": message.spam,
        "shelf": message.shelf.name.lower(),
    }
