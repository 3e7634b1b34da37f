"""Discs, and what becomes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from mail6m.model import Scope
from mail6m.storage import discs
from mail6m.storage.errors import Refused
from mail6m.web.api.caller import Caller
from mail6m.web.api.operation import Nothing, operation
from mail6m.web.api.problem import Kind, Refusal

STATES = ["offered", "refused", "ordered", "written", "shipped", "destroyed"]


class BySerial(Struct, frozen=True, forbid_unknown_fields=True):
    """One disc."""

    serial: Annotated[
        str,
        Meta(
            pattern=r"^[A-Z0-9]{1,20}$", description="A disc's serial number.", examples=["TCWGR3"]
        ),
    ]


class Disc(Struct, frozen=True, kw_only=True):
    """A disc, what is on it, and what has become of it."""

    serial: str
    state: Annotated[
        str,
        Meta(
            extra_json_schema={"enum": STATES},
            description="`destroyed`: its image here, once the disc has arrived.",
        ),
    ]
    offered_at: datetime
    answered_at: datetime | None
    written_at: datetime | None
    shipped_at: datetime | None
    received_at: datetime | None
    destroyed_at: datetime | None
    messages: int
    left_out: Annotated[int, Meta(description="Spam of the same period, destroyed with it.")]
    raw_size: Annotated[int, Meta(description="Octets of its messages as they were received.")]
    first_at: Annotated[datetime | None, Meta(description="When its oldest message came in.")]
    last_at: datetime | None
    image_size: int
    manifest_sha256: Annotated[str, Meta(description="Of its list of files; empty before that.")]


class Discs(Struct, frozen=True, kw_only=True):
    """All discs, the newest first."""

    discs: list[Disc]


_DAY = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
_EXAMPLE = Disc(
    serial="TCWGR3",
    state="shipped",
    offered_at=_DAY,
    answered_at=_DAY.replace(day=3),
    written_at=_DAY.replace(day=4),
    shipped_at=_DAY.replace(day=5),
    received_at=None,
    destroyed_at=None,
    messages=182_004,
    left_out=1_204,
    raw_size=4_610_223_114,
    first_at=_DAY.replace(year=2024),
    last_at=_DAY.replace(year=2025),
    image_size=4_690_018_304,
    manifest_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
)


class DiscOperations:
    """The customer's discs."""

    def __init__(self, table: discs.Discs) -> None:
        self._discs = table

    @operation("GET", "/discs", Scope.DISCS_READ, example=Discs(discs=[_EXAMPLE]))
    async def list_discs(self, caller: Caller, asked: Nothing) -> Discs:
        """All discs there are or were offered, the newest first."""
        return Discs(discs=[_disc(one) for one in await self._discs.all(caller.customer)])

    @operation("GET", "/discs/{serial}", Scope.DISCS_READ, example=_EXAMPLE)
    async def get_disc(self, caller: Caller, asked: BySerial) -> Disc:
        """One disc."""
        try:
            disc = await self._discs.get(asked.serial)
        except Refused:
            raise Refusal(Kind.NOT_FOUND) from None
        if disc.customer != caller.customer:
            raise Refusal(Kind.NOT_FOUND)
        return _disc(disc)


def _disc(one: discs.Disc) -> Disc:
    return Disc(
        serial=one.serial,
        state=one.state,
        offered_at=one.offered_at,
        answered_at=one.answered_at,
        written_at=one.written_at,
        shipped_at=one.shipped_at,
        received_at=one.received_at,
        destroyed_at=one.destroyed_at,
        messages=one.messages,
        left_out=one.left_out,
        raw_size=one.raw_bytes,
        first_at=one.first_at,
        last_at=one.last_at,
        image_size=one.image_size,
        manifest_sha256=one.manifest_sha256.hex() if one.manifest_sha256 else "",
    )
