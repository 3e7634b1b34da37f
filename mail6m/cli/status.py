"""``mail6m status``."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from mail6m import __version__
from mail6m.cli.command import CommandLine
from mail6m.foundation import Foundation
from mail6m.model import Shelf


def declare(line: CommandLine) -> None:
    """Add the verb that needs no noun."""
    line.verb("status", status)


async def status(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """One look at the whole."""
    cabinet = await foundation.archive.totals(Shelf.CABINET)
    cellar = await foundation.archive.totals(Shelf.CELLAR)
    queued, oldest, reply = await foundation.deliveries.length()
    down = await foundation.deliveries.down_list()
    version = await foundation.pool.query("SHOW server_version")
    schema = await foundation.pool.query("SELECT max(number) FROM schema_version")
    age = (datetime.now(UTC) - oldest).total_seconds() if oldest is not None else None
    return {
        "version": __version__,
        "database": {"postgresql": version[0][0], "schema": schema[0][0]},
        "customers": len(await foundation.customers.all()),
        "domains": len(await foundation.domains.all()),
        "cabinet": {"messages": cabinet[0], "bytes": cabinet[1]},
        "cellar": {"messages": cellar[0], "bytes": cellar[1]},
        "queue": {
            "deliveries": queued,
            "oldest_seconds": age,
            "destinations_down": [row.destination for row in down],
        },
        "antispam": await foundation.servers.recall("antispam"),
        "last_error": down[-1].last_reply if down else reply or None,
    }
