"""What a disc's image is made of, in the units that it is counted in."""

from __future__ import annotations

SECTOR = 2_048
"""Bytes of a disc that are written as one (ECMA-119, 6.1.2)."""


class DiscError(Exception):
    """A disc cannot be made, or is not what it should be; the text says what to do."""


def sectors(size: int) -> int:
    """How many sectors so many bytes take."""
    return -(-size // SECTOR)
