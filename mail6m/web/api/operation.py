"""How an operation of the API says what it answers to, takes, and gives.

A method is made an operation by `operation`. What it takes is the type of its argument ``asked``,
what it gives that of its result. Requests are read by these types, and the OpenAPI document is made
from them (`mail6m.web.api.openapi`), so that the two cannot differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, get_type_hints

import msgspec
from msgspec import Struct, UnsetType

from mail6m.model import Scope
from mail6m.web.api.problem import Kind, Refusal

PREFIX = "/api/v1"
IDEMPOTENCY_KEY = "Idempotency-Key"
"""The one parameter that is a header field (draft-ietf-httpapi-idempotency-key-header)."""
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
T = TypeVar("T")
_MARK = "__mail6m_operation__"
_VARIABLE = re.compile(r"\{(\w+)\}")
_LITERAL = re.compile(r"true|false|0|-?[1-9][0-9]{0,17}")
"""A truth or a whole number, as JSON writes it."""
_WHERE = re.compile(r"(.*) - at `\$\.([^`]*)`")
"""How msgspec says what is wrong, and with what."""


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """What an operation takes that takes nothing."""


def given(value: T | UnsetType) -> T | None:
    """What was asked for, if it was."""
    return None if isinstance(value, UnsetType) else value


class Pdf(NamedTuple):
    """A document of the business, which is no JSON."""

    name: str
    """Of the file; ASCII, without quotes."""
    body: bytes


class Parameter(NamedTuple):
    """One of the things that an operation takes."""

    name: str
    place: str
    """``path``, ``query`` or ``header``."""
    required: bool
    schema: dict[str, Any]
    """JSON Schema, without the description."""
    description: str

    @property
    def literal(self) -> bool:
        """Whether its text is a truth or a number."""
        return self.schema.get("type") in ("integer", "boolean")


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that the API does."""

    name: str
    """The ``operationId``."""
    group: str
    method: str
    path: str
    """Below `PREFIX`, with its variables in braces."""
    scope: Scope | None
    """What a key must have been given; None: any key will do."""
    summary: str
    description: str
    takes: type[Struct]
    parameters: tuple[Parameter, ...]
    gives: type[Struct] | type[Pdf]
    status: int
    """Of the answer when all is well."""
    refuses: tuple[Kind, ...]
    """Of what only some operations refuse."""
    example: Any

    @property
    def rule(self) -> str:
        """The path as werkzeug's rules write it."""
        return PREFIX + _VARIABLE.sub(r"<\1>", self.path)

    def read(
        self,
        path: Mapping[str, str],
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
    ) -> Struct:
        """What is asked for. Raises `Refusal`: what a path cannot name is not there."""
        known = {parameter.name: parameter for parameter in self.parameters}
        values: dict[str, Any] = dict(path)
        for name, value in query:
            if name not in known or known[name].place != "query":
                raise Refusal(Kind.INVALID, f"{name[:60]}: there is no such parameter")
            if name in values:
                raise Refusal(Kind.INVALID, f"{name}: it is given twice")
            values[name] = value
        for name, parameter in known.items():
            if parameter.place == "header" and name in headers:
                values[name] = headers[name]
            if parameter.literal and _LITERAL.fullmatch(values.get(name, "")):
                values[name] = json.loads(values[name])
        try:
            return msgspec.convert(values, self.takes)
        except msgspec.ValidationError as error:
            raise self._refusal(str(error)) from None

    def _refusal(self, said: str) -> Refusal:
        where = _WHERE.fullmatch(said)
        if where is None:
            return Refusal(Kind.INVALID, said)
        what, name = where.groups()
        if f"{{{name}}}" in self.path:
            return Refusal(Kind.NOT_FOUND)
        return Refusal(Kind.INVALID, f"{name}: {what.replace('`', '')}")


def operation(
    method: str,
    path: str,
    scope: Scope | None,
    *,
    example: Any = None,
    status: int = 200,
    refuses: tuple[Kind, ...] = (),
) -> Callable[[F], F]:
    """A method that is one; its name is the operation's, its docstring what the document says."""

    def mark(function: F) -> F:
        hints = get_type_hints(function)
        lines = (function.__doc__ or "").strip().split("\n")
        made = Operation(
            name=function.__name__,
            group=function.__module__.rpartition(".")[2],
            method=method,
            path=path,
            scope=scope,
            summary=lines[0],
            description=" ".join(" ".join(lines[1:]).split()),
            takes=hints["asked"],
            parameters=tuple(_parameters(path, hints["asked"])),
            gives=hints["return"],
            status=status,
            refuses=refuses,
            example=example,
        )
        setattr(function, _MARK, made)
        return function

    return mark


def operations_of(
    group: object,
) -> Iterator[tuple[Operation, Callable[..., Awaitable[Struct | Pdf]]]]:
    """The operations of a group, an instance or its class, by path and method."""
    found = []
    for name in dir(group):
        function: Any = getattr(group, name, None)
        made = getattr(function, _MARK, None)
        if made is not None:
            found.append((made, function))
    yield from sorted(found, key=lambda one: (one[0].path, one[0].method))


def _parameters(path: str, takes: type[Struct]) -> Iterator[Parameter]:
    schema = msgspec.json.schema(takes)["$defs"][takes.__name__]
    variables = _VARIABLE.findall(path)
    for name, property_ in schema["properties"].items():
        place = "path" if name in variables else "query"
        if name == IDEMPOTENCY_KEY:
            place = "header"
        described = {**property_}
        description = described.pop("description", "")
        yield Parameter(name, place, name in schema["required"], described, description)
