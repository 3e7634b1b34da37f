"""What the guard has found out about a message, as the column ``message.judgement`` has it."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from mail6m.model import UNJUDGED, Authentication, Judgement, Scan, Signature
from mail6m.storage.pool import text


def encode(judgement: Judgement) -> str:
    """A judgement without its verdict, which has a column of its own; empty if it says nothing."""
    if judgement is UNJUDGED or judgement == UNJUDGED:
        return ""
    if judgement.symbols or judgement.authentication != UNJUDGED.authentication:
        return _encode(judgement)
    return _encode_again(judgement)


def _encode(judgement: Judgement) -> str:
    told = _told(judgement, UNJUDGED)
    told.pop("spam", None)
    if "authentication" in told:
        authentication = judgement.authentication
        told["authentication"] = _told(authentication, UNJUDGED.authentication)
    # jsonb has no room for NUL, however it is written.
    return text(json.dumps(told, ensure_ascii=False).replace("\\u0000", "\ufffd"))


_encode_again = lru_cache(maxsize=64)(_encode)
"""Of those that say little there are few."""


def _told(values: Any, others: Any) -> dict[str, Any]:
    """The fields in which one named tuple differs from another."""
    pairs = zip(values._fields, values, others, strict=True)
    return {name: value for name, value, other in pairs if value != other}


def decode(stored: dict[str, Any] | None, spam: bool | None) -> Judgement:
    """The judgement out of its two columns."""
    if not stored:
        return UNJUDGED._replace(spam=spam) if spam is not None else UNJUDGED
    told = dict(stored)
    authentication = dict(told.pop("authentication", {}))
    signatures = tuple(Signature(*one) for one in authentication.pop("signatures", ()))
    return Judgement(
        scan=Scan(told.pop("scan", Scan.NONE)),
        symbols=tuple(told.pop("symbols", ())),
        spam=spam,
        authentication=Authentication(signatures=signatures, **authentication),
        **told,
    )
