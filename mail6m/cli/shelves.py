"""``mail6m shelves`` and ``mail6m cellar``: what time does to archived mail."""

from __future__ import annotations

import argparse
from typing import Any

from mail6m.cli.arguments import number
from mail6m.cli.command import CommandLine
from mail6m.cli.output import time_or_none
from mail6m.foundation import Foundation, sweep


def declare(line: CommandLine) -> None:
    """Add both nouns and their verbs."""
    line.noun("shelves", "what time does to archived mail").verb("sweep", shelves_sweep)
    one = line.noun("cellar", "mail that a cabinet had no more room for").verb("show", cellar_show)
    one.add_argument("--customer", type=number, required=True, metavar="N")


async def shelves_sweep(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Do now what time does: plans that are due, overflow, offers, destruction."""
    swept = await sweep(foundation)
    return swept._asdict() | {"files_measured": await foundation.exporter.measure_all()}


async def cellar_show(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """What a customer has in the cellar, and how far it is from the next disc."""
    report = await foundation.cellar.report(options.customer)
    held, ahead = report.held, report.forecast
    return {
        "customer": options.customer,
        "messages": held.messages,
        "bytes": held.bytes,
        "raw_bytes": held.raw_bytes,
        "first_received_at": time_or_none(held.first),
        "last_received_at": time_or_none(held.last),
        "estimated_image_bytes": report.image_size,
        "disc_capacity": report.disc_capacity,
        "days_until_cabinet_full": ahead.cabinet_full,
        "days_until_next_disc": ahead.next_disc,
        "departed": await foundation.shelves.departed(options.customer),
    }
