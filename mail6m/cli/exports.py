"""``mail6m customer export``: all of a customer's mail as one file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater

from mail6m.cli.arguments import number
from mail6m.cli.command import Noun, Wrong, operator
from mail6m.cli.output import percent
from mail6m.foundation import Foundation
from mail6m.shelves.export.kept import keep, part_of
from mail6m.shelves.export.whole import FORMATS
from mail6m.storage.errors import Refused
from mail6m.storage.exports import Export


def declare(customer: Noun) -> None:
    """Add the verb to its noun."""
    one = customer.verb("export", customer_export)
    one.add_argument("number", type=number, metavar="N")
    one.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    one.add_argument("--output", type=Path, required=True, metavar="FILE")


async def customer_export(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """All of a customer's mail goes into one file; what was interrupted is gone on with."""
    await foundation.customers.get(options.number)
    path: Path = options.output
    if path.exists():
        raise Wrong(f"{path} is there already")
    export = await _export_of(foundation, options)
    if export is None or not part_of(path).exists():
        await foundation.exporter.ask(operator(options.number), options.format)
        export = None
    progress = percent()
    while export is None or export.ready_at is None:
        await foundation.exporter.measure_all()
        export = await _export_of(foundation, options)
        if export is not None and export.failure:
            raise Refused(f"the file cannot be made: {export.failure}")
        if export is None or export.ready_at is None:  # a server is at it
            await deferLater(foundation.reactor, 1.0, lambda: None)
    await keep(path, export, foundation.exporter.pieces, progress)
    return {
        "customer": options.number,
        "file": str(path),
        "messages": export.messages,
        "bytes": export.size,
        "sha256": export.sha256.hex() if export.sha256 else None,
    }


async def _export_of(foundation: Foundation, options: argparse.Namespace) -> Export | None:
    for export in await foundation.exporter.of(options.number):
        if export.format == options.format:
            return export
    return None
