"""Where a list goes on: text that programs hand back as they got it."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

OF_MESSAGES = r"^[A-Za-z0-9_-]{22}$"
OF_DELIVERIES = r"^[A-Za-z0-9_-]{27}$"
"""What they look like: a message's id, or that and a number of four octets."""


def cursor(message: UUID, number: int | None = None) -> str:
    """Behind a message, or a delivery."""
    octets = message.bytes + (b"" if number is None else number.to_bytes(4, "big"))
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def place(text: str) -> tuple[UUID, int]:
    """The message, and the number if there is one, that a cursor stands behind."""
    octets = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return UUID(bytes=octets[:16]), int.from_bytes(octets[16:], "big")
