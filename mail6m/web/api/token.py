"""What the key of a request may do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from mail6m.model import Scope
from mail6m.web.api.caller import Caller
from mail6m.web.api.operation import Nothing, operation


class Token(Struct, frozen=True, kw_only=True):
    """A key, by all but its text."""

    name: str
    customer: int
    scopes: list[Scope]
    created_at: datetime
    expires_at: Annotated[datetime | None, Meta(description="Null: it has no end.")]
    suspended: Annotated[bool, Meta(description="The contract is: the key may only read.")]
    requests_per_minute: int


_EXAMPLE = Token(
    name="Comptabilité",
    customer=7,
    scopes=[Scope.USAGE_READ, Scope.INVOICES_READ],
    created_at=datetime(2026, 11, 23, 8, 30, 12, tzinfo=UTC),
    expires_at=None,
    suspended=False,
    requests_per_minute=120,
)


class TokenOperations:
    """The key itself."""

    def __init__(self, rate: int) -> None:
        self._rate = rate

    @operation("GET", "/token", None, example=_EXAMPLE)
    async def get_token(self, caller: Caller, asked: Nothing) -> Token:
        """What this key may do, and until when."""
        bearer = caller.bearer
        return Token(
            name=bearer.name,
            customer=bearer.customer,
            scopes=list(bearer.scopes),
            created_at=bearer.created_at,
            expires_at=bearer.expires_at,
            suspended=bearer.suspended,
            requests_per_minute=self._rate,
        )
