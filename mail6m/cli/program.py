"""One command, from the arguments to the exit status."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import provider

from mail6m.cli.command import Wrong
from mail6m.cli.command_line import parser
from mail6m.cli.output import show
from mail6m.foundation import Foundation
from mail6m.options import read_settings
from mail6m.seal import SealError
from mail6m.settings import SettingsError
from mail6m.shelves.disc.layout import DiscError
from mail6m.shelves.export.whole import Changed
from mail6m.storage.embedded import EmbeddedError
from mail6m.storage.errors import StorageError

_EXPECTED = (
    StorageError,
    SettingsError,
    EmbeddedError,
    SealError,
    DiscError,
    Changed,
    OSError,
    Wrong,
)
"""What says by itself what is the matter; anything else is told with its name."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command, and exit."""
    options = parser().parse_args(arguments)
    globalLogPublisher.addObserver(_unheard)  # or Twisted keeps what nobody reads

    def start(reactor: Any) -> Deferred[None]:
        return ensureDeferred(run(reactor, options))

    task.react(start)


@provider(ILogObserver)
def _unheard(event: dict[str, Any]) -> None:
    """For people there is one line on standard error; the server has a log."""


async def run(reactor: Any, options: argparse.Namespace) -> None:
    """Do what was asked, and print what came of it. Raises `SystemExit` when it is refused."""
    try:
        result = await _result(reactor, options)
        if options.json:
            print(json.dumps(result))
        elif result is not None:
            show(result)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has had enough; what is left must not fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, an operator reads it in one line
        expected = isinstance(error, _EXPECTED)
        told = str(error) if expected else f"{type(error).__name__}: {error}"
        print("mail6m:", " ".join(told.split()), file=sys.stderr)
        raise SystemExit(1) from None


async def _result(reactor: Any, options: argparse.Namespace) -> Any:
    settings = replace(read_settings(vars(options)), database_connections=2)
    if not settings.data.is_dir() and not options.makes:
        raise SettingsError(f"--data {settings.data}: there is no such directory")
    foundation = Foundation(reactor, settings)
    try:
        if not options.alone:
            await foundation.start()
        return await options.command(foundation, options)
    finally:
        await foundation.stop()
