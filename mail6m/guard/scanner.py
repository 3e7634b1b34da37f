"""What an antispam is to us: it judges a message, and it can be taught."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from mail6m.content import Content
from mail6m.model import Envelope


class Report(NamedTuple):
    """What a scanner says of a message."""

    spam: bool
    score: float
    threshold: float
    """The score from which on it would have the message refused."""
    symbols: tuple[str, ...]
    """The names of the tests that the score is made of."""


class ScanFailure(Exception):
    """The scanner has not answered, or not so that it could be understood."""


class Scanner(Protocol):
    """A scanner somewhere. Whoever asks it sets the time limit, and cancels."""

    name: str
    """For operators: what it is, and where."""

    async def answers(self) -> None:
        """Return if it is there. Raises `ScanFailure`."""

    async def scan(self, envelope: Envelope, content: Content) -> Report:
        """Have a message judged. Raises `ScanFailure`."""

    async def learn(self, content: AsyncIterator[bytes], spam: bool) -> None:
        """Teach it that a message is spam, or is not. Raises `ScanFailure`."""
