"""What commands are made of: a noun, a verb, arguments, and who gives them."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import Any

from mail6m.foundation import Foundation
from mail6m.storage.audit import By

Command = Callable[[Foundation, argparse.Namespace], Awaitable[Any]]
"""What a command does; it returns what ``--json`` prints."""

OPERATOR = "operator", "command line"
"""Who gives these commands, and where from, for the customers' audit."""


def operator(customer: int) -> By:
    """The operator, at a customer's data."""
    return By(customer, *OPERATOR)


class Wrong(Exception):
    """An argument that cannot be used."""


class Noun:
    """What some verbs are about: ``mail6m NOUN VERB``."""

    def __init__(self, verbs: Any, common: argparse.ArgumentParser) -> None:
        """``verbs`` is what `argparse.ArgumentParser.add_subparsers` returned."""
        self._verbs, self._common = verbs, common

    def verb(
        self, name: str, command: Command, *, makes: bool = False, alone: bool = False
    ) -> argparse.ArgumentParser:
        """Add a command, whose help is its docstring; its arguments are for the caller to add.

        ``makes``: it makes the server's ``--data`` if that is not there yet. ``alone``: it needs no
        database, and its foundation is not started.
        """
        told = command.__doc__
        added: argparse.ArgumentParser = self._verbs.add_parser(
            name, help=told, description=told, parents=[self._common]
        )
        added.set_defaults(command=command, makes=makes, alone=alone)
        return added


class CommandLine(Noun):
    """The whole: nouns with their verbs, and verbs that need no noun."""

    def noun(self, name: str, told: str) -> Noun:
        """Add a noun, and say what it means."""
        verbs = self._verbs.add_parser(name, help=told)
        return Noun(verbs.add_subparsers(metavar="VERB", required=True), self._common)
