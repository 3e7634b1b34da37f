"""What is said to a program that cannot have what it asks for (RFC 9457)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

MEDIA_TYPE = "application/problem+json"
_TYPES = "tag:mail6m.com,2026:"
"""Begins all types (RFC 4151)."""


class Kind(enum.Enum):
    """What is wrong: a name that programs go by, a status, and the same in a few words."""

    KEY_IN_ADDRESS = ("key-in-address", 400, "A key does not belong in an address")
    NO_KEY = ("no-key", 401, "A key is needed")
    WRONG_KEY = ("wrong-key", 401, "The key opens nothing")
    SCOPE = ("insufficient-scope", 403, "The key may not do that")
    SUSPENDED = ("suspended", 403, "The contract is suspended")
    NOT_FOUND = ("not-found", 404, "There is no such thing")
    METHOD = ("method", 405, "That cannot be done to it")
    NO_WAY = ("no-way", 409, "It has nowhere to go")
    NOT_WAITING = ("not-waiting", 409, "It does not wait")
    BODY = ("unexpected-content", 415, "A request has no content here")
    INVALID = ("invalid", 422, "A parameter is not as it must be")
    KEY_REUSED = ("idempotency-key-reused", 422, "The Idempotency-Key was for something else")
    TOO_MANY = ("too-many-requests", 429, "Too many requests")
    FAILURE = ("failure", 500, "Something went wrong here")
    UNAVAILABLE = ("unavailable", 503, "The database is away")
    REQUEST = ("bad-request", 400, "That is no request")

    def __init__(self, name_: str, status: int, title: str) -> None:
        self.type = _TYPES + name_
        self.status = status
        self.title = title


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was refused (RFC 9457)."""

    type: Annotated[str, Meta(description="What programs go by.")]
    title: Annotated[str, Meta(description="The same in a few words.")]
    status: Annotated[int, Meta(description="The status code of the answer.")]
    detail: Annotated[str, Meta(description="What is wrong this time.")] = ""


class Refusal(Exception):
    """A request that gets a problem for an answer."""

    def __init__(
        self, kind: Kind, detail: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}

    @property
    def problem(self) -> Problem:
        """What is sent."""
        kind = self.kind
        return Problem(type=kind.type, title=kind.title, status=kind.status, detail=self.detail)
