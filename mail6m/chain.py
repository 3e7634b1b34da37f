"""An ARC chain as it stands in a header: its sets, in order (RFC 8617, 4.2 and 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mail6m.canonical import Signable, relaxed_field

MOST = 50
"""Sets that a chain may have (RFC 8617, 4.2.1)."""
LONGEST = 16_384
"""Octets of a field that are read."""
RESULTS, MESSAGE, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"


class ChainError(ValueError):
    """It is not a chain; the text says why."""


class ArcSet(NamedTuple):
    """What one host has said and sealed: three fields, as they stand."""

    results: bytes
    message: bytes
    seal: bytes


def sets(message: Signable) -> list[ArcSet]:
    """The sets, the first one first; none if the message has no chain.

    Raises `ChainError` when one is missing, not whole, or there twice.
    """
    kinds = [_by_instance(message.named(name)) for name in (RESULTS, MESSAGE, SEAL)]
    instances = range(1, len(kinds[0]) + 1)
    if any(kind.keys() != set(instances) for kind in kinds):
        raise ChainError("the chain is not whole")
    return [ArcSet(*(kind[instance] for kind in kinds)) for instance in instances]


def _by_instance(fields: Sequence[bytes]) -> dict[int, bytes]:
    if len(fields) > MOST:
        raise ChainError(f"more than {MOST} sets")
    found = {}
    for field in fields:
        text = _instance(field) if len(field) <= LONGEST else b""
        if not text.isdigit() or len(text) > 2 or int(text) in found:
            raise ChainError("an instance is not clear")
        found[int(text)] = field
    return found


def _instance(field: bytes) -> bytes:
    """Its i=; in an ARC-Authentication-Results that stands first, elsewhere anywhere."""
    for tag in relaxed_field(field).partition(b":")[2].split(b";"):
        name, _, value = tag.partition(b"=")
        if name.strip() == b"i":
            return value.strip()
    return b""
