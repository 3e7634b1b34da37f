"""``mail6m disc``: discs, from the offer to the destruction."""

from __future__ import annotations

import argparse
from typing import Any

from mail6m.cli.arguments import number, serial
from mail6m.cli.command import OPERATOR, Command, CommandLine, operator
from mail6m.cli.output import percent, time_or_none, time_text
from mail6m.foundation import Foundation
from mail6m.storage.discs import Disc


def declare(line: CommandLine) -> None:
    """Add the noun and its verbs."""
    noun = line.noun("disc", "discs, from the offer to the destruction")
    noun.verb("list", disc_list).add_argument("--customer", type=number, metavar="N")
    answers: tuple[tuple[str, Command], ...] = (("accept", disc_accept), ("refuse", disc_refuse))
    for name, command in answers:
        one = noun.verb(name, command)
        one.add_argument("--customer", type=number, required=True, metavar="N")
    steps: tuple[tuple[str, Command], ...] = (
        ("write", disc_write),
        ("verify", disc_verify),
        ("burn", disc_burn),
        ("ship", disc_ship),
        ("receive", disc_receive),
    )
    for name, command in steps:
        one = noun.verb(name, command)
        one.add_argument("serial", type=serial, metavar="SERIAL")
        if name == "burn":
            one.add_argument("--device", required=True, metavar="DEV",
                             help="as in /dev/sr0, or stdio:FILE")  # fmt: skip


async def disc_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """Discs, and what has become of them."""
    return [_disc(disc) for disc in await foundation.discs.all(options.customer)]


async def disc_accept(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """The disc that a customer is offered is ordered."""
    serial = await foundation.disc_life.answer(operator(options.customer), True)
    return {"serial": serial}


async def disc_refuse(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """The disc that a customer is offered is not wanted."""
    serial = await foundation.disc_life.answer(operator(options.customer), False)
    return {"serial": serial}


async def disc_write(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """An ordered disc's image is made and checked; then its messages leave the cellar."""
    disc = await foundation.disc_life.write(*OPERATOR, options.serial, percent())
    return _disc(disc)


async def disc_verify(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A disc's image is read, and every file compared with its manifest."""
    checked = await foundation.disc_life.verify(options.serial)
    return {"serial": options.serial, "files": checked.files, "bytes": checked.bytes}


async def disc_burn(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A disc's image is burnt, by xorriso."""
    await foundation.disc_life.burn(options.serial, options.device)
    return {"serial": options.serial, "device": options.device}


async def disc_ship(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A disc is on its way, for the first time or again."""
    await foundation.disc_life.ship(*OPERATOR, options.serial)
    return {"serial": options.serial}


async def disc_receive(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A disc has arrived: its image is destroyed."""
    disc = await foundation.discs.get(options.serial)
    await foundation.disc_life.receive(operator(disc.customer), options.serial)
    return {"serial": options.serial}


def _disc(disc: Disc) -> dict[str, Any]:
    return {
        "serial": disc.serial,
        "customer": disc.customer,
        "state": disc.state,
        "progress": round(disc.progress, 3),
        "messages": disc.messages,
        "left_out": disc.left_out,
        "image_bytes": disc.image_size,
        "manifest_sha256": disc.manifest_sha256.hex() if disc.manifest_sha256 else None,
        "first_received_at": time_or_none(disc.first_at),
        "last_received_at": time_or_none(disc.last_at),
        "offered_at": time_text(disc.offered_at),
        "answered_at": time_or_none(disc.answered_at),
        "written_at": time_or_none(disc.written_at),
        "shipped_at": time_or_none(disc.shipped_at),
        "received_at": time_or_none(disc.received_at),
        "destroyed_at": time_or_none(disc.destroyed_at),
        "image": f"{disc.place}/{disc.serial}.iso" if disc.place else None,
    }
