"""The command line, put together: what every command takes, then the nouns."""

from __future__ import annotations

import argparse

from mail6m import __version__
from mail6m.cli import (
    accounts,
    archivist,
    customers,
    discs,
    domains,
    invoices,
    messages,
    payments,
    queue,
    shelves,
    signing,
    status,
    tariffs,
    tls,
)
from mail6m.cli.command import CommandLine

_NOUNS = (
    customers,
    accounts,
    domains,
    messages,
    queue,
    shelves,
    archivist,
    discs,
    signing,
    tls,
    invoices,
    tariffs,
    status,
    payments,
)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    top = argparse.ArgumentParser(prog="mail6m", description="Operate a Mail6M archive.")
    top.add_argument("--config", metavar="FILE", help="the server's TOML file")
    top.add_argument("--data", metavar="DIR", help="the server's --data [mail6m-data]")
    top.add_argument("--database", metavar="URL", help="the server's --database [embedded:]")
    top.add_argument("--hostname", metavar="NAME", help="the server's --hostname, for bounces")
    top.add_argument("--json", action="store_true", help="print one JSON value")
    top.add_argument("--version", action="version", version=f"mail6m {__version__}")
    top.set_defaults(makes=False)
    line = CommandLine(top.add_subparsers(metavar="COMMAND", required=True), common)
    for noun in _NOUNS:
        noun.declare(line)
    top.add_argument("--disc-capacity", metavar="BYTES", help="the server's --disc-capacity")
    return top
