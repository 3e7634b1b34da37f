"""The OpenAPI 3.1 document, made from the operations themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from mail6m.model import Scope
from mail6m.web.api.operation import PREFIX, Operation, Parameter, Pdf
from mail6m.web.api.problem import MEDIA_TYPE, Kind, Problem, Refusal

_SCHEMAS = "#/components/schemas/"
_COMMON = (
    Kind.KEY_IN_ADDRESS,
    Kind.NO_KEY,
    Kind.WRONG_KEY,
    Kind.SCOPE,
    Kind.BODY,
    Kind.INVALID,
    Kind.TOO_MANY,
    Kind.FAILURE,
    Kind.UNAVAILABLE,
)
"""What every operation may refuse."""
_DESCRIPTION = """\
What the console shows of a customer's mail, and two of the things that it does, for programs. The
content of a message is nowhere in it.

A key is made by an administrator on the console's page "Clés d'API", and is sent as
`Authorization: Bearer m6m_...`. Lists are followed by their `next`, until it is null. Times are RFC
3339, sizes are octets, amounts are cents with taxes included. Errors are RFC 9457; programs go by
their `type`."""

_HEADERS = {
    "RateLimit-Policy": (
        "Requests that a key has, and in how many seconds (draft-ietf-httpapi-ratelimit-headers).",
        '"key";q=120;w=60',
    ),
    "RateLimit": (
        "How many of them are left, and the seconds until none is used up.",
        '"key";r=119;t=1',
    ),
    "Retry-After": ("Seconds to wait for.", "3"),
    "WWW-Authenticate": ("RFC 6750.", 'Bearer realm="Mail6M", error="invalid_token"'),
}
_LIMITS = ("RateLimit-Policy", "RateLimit")
_OF_STATUS: dict[int, tuple[str, ...]] = {
    400: ("WWW-Authenticate",),
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate", *_LIMITS),
    429: ("Retry-After", *_LIMITS),
    503: ("Retry-After",),
}


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """All that the API does."""
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mail6M", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": PREFIX}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"A key's scopes are some of {', '.join(Scope)}.",
                }
            },
            "headers": {
                name: {"description": text, "schema": {"type": "string"}, "example": example}
                for name, (text, example) in _HEADERS.items()
            },
            "responses": _responses(operations),
            "schemas": _schemas(operations),
        },
    }


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    given = dict.fromkeys(one.gives for one in operations if one.gives is not Pdf)
    template = _SCHEMAS + "{name}"
    _, schemas = msgspec.json.schema_components([*given, Problem], ref_template=template)
    return dict(schemas)


def _operation(one: Operation) -> dict[str, Any]:
    described = {"description": one.description} if one.description else {}
    scopes = [one.scope.value] if one.scope is not None else []
    return {
        "operationId": one.name,
        "tags": [one.group],
        "summary": one.summary,
        **described,
        "security": [{"key": scopes}],
        "parameters": [_parameter(parameter) for parameter in one.parameters],
        "responses": {str(one.status): _answer(one), **_refusals(one)},
    }


def _parameter(one: Parameter) -> dict[str, Any]:
    return {
        "name": one.name,
        "in": one.place,
        "required": one.required,
        "description": one.description,
        "schema": one.schema,
    }


def _answer(one: Operation) -> dict[str, Any]:
    if one.gives is Pdf:
        content: dict[str, Any] = {"application/pdf": {}}
    else:
        reference = {"$ref": _SCHEMAS + one.gives.__name__}
        example = msgspec.to_builtins(one.example)
        content = {"application/json": {"schema": reference, "example": example}}
    phrase = HTTPStatus(one.status).phrase
    return {"description": phrase, "headers": _headers(_LIMITS), "content": content}


def _refusals(one: Operation) -> dict[str, Any]:
    return {
        str(status): {"$ref": "#/components/responses/" + _name(kinds)}
        for status, kinds in _refused(one).items()
    }


def _refused(one: Operation) -> dict[int, list[Kind]]:
    """What an operation may refuse, by status, which may stand for several kinds."""
    kinds = [*_COMMON, *one.refuses]
    if "{" in one.path:
        kinds.append(Kind.NOT_FOUND)
    if one.scope is None:
        kinds.remove(Kind.SCOPE)
    elif one.scope.acts:
        kinds.append(Kind.SUSPENDED)
    by_status: dict[int, list[Kind]] = {}
    for kind in sorted(kinds, key=lambda kind: kind.status):
        by_status.setdefault(kind.status, []).append(kind)
    return by_status


def _responses(operations: Iterable[Operation]) -> dict[str, Any]:
    """Every refusal once."""
    found = {_name(kinds): kinds for one in operations for kinds in _refused(one).values()}
    return {name: _refusal(kinds) for name, kinds in sorted(found.items())}


def _name(kinds: Sequence[Kind]) -> str:
    return "Or".join(kind.name.title().replace("_", "") for kind in kinds)


def _refusal(kinds: Sequence[Kind]) -> dict[str, Any]:
    examples = {
        kind.name.lower(): {"value": msgspec.to_builtins(Refusal(kind).problem)} for kind in kinds
    }
    return {
        "description": "; ".join(kind.title for kind in kinds) + ".",
        "headers": _headers(_OF_STATUS.get(kinds[0].status, _LIMITS)),
        "content": {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS + "Problem"}, "examples": examples}},
    }


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
