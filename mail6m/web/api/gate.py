"""The gate of the API: whose key it is, what it may do, how often; and the form of every answer.

A key comes in the Authorization field and nowhere else (RFC 6750, 2.1). Cookies are not looked at,
so that there is no forged request to guard against, and no page of another site may read an answer:
there is no CORS.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mail6m.access.tokens import api_token_hash, is_api_token
from mail6m.guard.rates import MINUTE, Meter
from mail6m.model import Scope
from mail6m.networks import client_of
from mail6m.storage.errors import Unavailable
from mail6m.storage.tokens import Bearer, Tokens
from mail6m.turn import Round, Turn
from mail6m.web.api.caller import Caller
from mail6m.web.api.openapi import document
from mail6m.web.api.operation import Operation, Pdf, operations_of
from mail6m.web.api.problem import MEDIA_TYPE, Kind, Refusal
from mail6m.web.guard import COMPANY, PATIENCE
from mail6m.web.site import fields, unhurried

DOCUMENT = "/api/openapi.json"
WRONG_KEYS = 30
"""Wrong keys a minute of one client, beyond which its right ones are not looked for, either: they
cannot be guessed, but looking for them costs a question to the database."""
_MOST_QUERIED = 100
"""Parameters that a query is read up to; no operation has so many."""
_REALM = 'Bearer realm="Mail6M"'
_AWAY = "10"
"""Seconds to wait for while the database is away."""
_STATUSES = {400: Kind.REQUEST, 404: Kind.NOT_FOUND, 405: Kind.METHOD}
Function = Callable[..., Awaitable[Struct | Pdf]]


def is_api(path: bytes) -> bool:
    """Whether a path is the API's."""
    return path == b"/api" or path.startswith(b"/api/")


class Api:
    """Lets programs in."""

    log = Logger()

    def __init__(
        self,
        tokens: Tokens,
        groups: Iterable[object],
        version: str,
        rate: int,
        turn: Turn,
        seconds: Callable[[], float],
        client: Callable[[Any], str],
    ) -> None:
        """``rate`` is requests a minute of a key; ``client`` says where a request comes from."""
        self._tokens = tokens
        self._operations = [one for group in groups for one in operations_of(group)]
        self._rate = rate
        self._round = Round(turn, COMPANY, PATIENCE)
        self._seconds = seconds
        self._client = client
        self._requests, self._wrong = Meter(rate), Meter(WRONG_KEYS)
        made = document([operation for operation, _ in self._operations], version)
        self._document = msgspec.json.format(msgspec.json.encode(made), indent=1)
        self._etag = f'"{hashlib.sha256(self._document).hexdigest()[:16]}"'.encode()

    def routes(self) -> Iterator[tuple[str, str, Callable[..., Any]]]:
        """Rule, method, and what answers."""
        yield DOCUMENT, "GET", self.describe
        for operation, function in self._operations:
            yield operation.rule, operation.method, self._serving(operation, function)

    def describe(self, request: Any) -> bytes:
        """The OpenAPI document, for everybody."""
        request.setHeader("content-type", "application/json")
        request.setHeader("cache-control", "no-cache")
        return b"" if request.setETag(self._etag) else self._document

    def refuse(self, request: Any, status: int) -> bytes:
        """The answer to what is no operation."""
        return _refused(request, Refusal(_STATUSES[status]))

    def _serving(self, operation: Operation, function: Function) -> Callable[..., Any]:
        def serve(request: Any, **values: str) -> Deferred[bytes]:
            return unhurried(self._serve(request, operation, function, values))

        return serve

    async def _serve(
        self, request: Any, operation: Operation, function: Function, values: dict[str, str]
    ) -> bytes:
        await self._round.join()
        try:
            query = _query(request)
            caller = await self._recognise(request)
            self._count(request, caller.bearer)
            _check(operation, caller, request)
            asked = operation.read(values, query, _headers(request, operation))
            return _answered(request, operation, await function(caller, asked))
        except Refusal as refusal:
            return _refused(request, refusal)
        except Unavailable as error:
            self.log.warn("{name}: the database is away: {error}", name=operation.name, error=error)
            return _refused(request, Refusal(Kind.UNAVAILABLE, "", {"Retry-After": _AWAY}))
        except Exception:  # noqa: BLE001 - whatever it is, the program gets a problem and we the reason
            self.log.failure("{name}", name=operation.name)
            return _refused(request, Refusal(Kind.FAILURE))

    async def _recognise(self, request: Any) -> Caller:
        """Whose key it is. Raises `Refusal`."""
        text = _credentials(request)
        client = self._client(request)
        who, now = client_of(client), self._seconds()
        if self._wrong.full(who, now):
            raise _too_many("Too many wrong keys came from your address.", self._wrong, who, now)
        found = await self._tokens.look(api_token_hash(text)) if is_api_token(text) else None
        if found is None:
            self._wrong.add(who, now)
            challenge = {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'}
            raise Refusal(Kind.WRONG_KEY, "It is unknown, revoked, or has run out.", challenge)
        return Caller(found, client)

    def _count(self, request: Any, bearer: Bearer) -> None:
        """One request more. Raises `Refusal`."""
        who, now = str(bearer.token), self._seconds()
        full = self._requests.full(who, now)
        if not full:
            self._requests.add(who, now)
        left, used_up = self._requests.left(who, now), self._requests.until(who, now, self._rate)
        request.setHeader("RateLimit-Policy", f'"key";q={self._rate};w={MINUTE:.0f}')
        request.setHeader("RateLimit", f'"key";r={left};t={math.ceil(used_up)}')
        if full:
            raise _too_many(f"A key has {self._rate} a minute.", self._requests, who, now)


def _too_many(why: str, meter: Meter, who: str, now: float) -> Refusal:
    wait = {"Retry-After": str(max(1, math.ceil(meter.until(who, now))))}
    return Refusal(Kind.TOO_MANY, why, wait)


def _check(operation: Operation, caller: Caller, request: Any) -> None:
    """Whether that may be done with that key, and is asked for as it must be. Raises `Refusal`."""
    scope: Scope | None = operation.scope
    if scope is not None and not caller.may(scope):
        challenge = f'{_REALM}, error="insufficient_scope", scope="{scope}"'
        raise Refusal(Kind.SCOPE, f"It takes {scope}.", {"WWW-Authenticate": challenge})
    if scope is not None and scope.acts and caller.bearer.suspended:
        raise Refusal(Kind.SUSPENDED, "Until it is settled, keys may only read.")
    if request.body():
        raise Refusal(Kind.BODY)


def _query(request: Any) -> Sequence[tuple[str, str]]:
    """What the query has. Raises `Refusal` for a key in it: addresses are not kept secret."""
    encoded = request.uri.partition(b"?")[2]
    if encoded.count(b"&") > _MOST_QUERIED:
        raise Refusal(Kind.INVALID, "There are too many parameters.")
    found = fields(encoded)
    if any(name == "access_token" or is_api_token(value) for name, value in found):
        challenge = {"WWW-Authenticate": f'{_REALM}, error="invalid_request"'}
        raise Refusal(Kind.KEY_IN_ADDRESS, "It belongs in the Authorization field.", challenge)
    return found


def _credentials(request: Any) -> str:
    """What comes as a key (RFC 6750, 2.1). Raises `Refusal`."""
    sent = request.requestHeaders.getRawHeaders(b"authorization", [])
    scheme, _, text = sent[0].decode("latin-1").partition(" ") if len(sent) == 1 else ("", "", "")
    if scheme.lower() != "bearer":
        raise Refusal(Kind.NO_KEY, "", {"WWW-Authenticate": _REALM})
    return text.strip()


def _headers(request: Any, operation: Operation) -> dict[str, str]:
    """The fields that are parameters."""
    found = {}
    for parameter in operation.parameters:
        sent = request.requestHeaders.getRawHeaders(parameter.name.encode())
        if parameter.place == "header" and sent:
            found[parameter.name] = b", ".join(sent).decode("latin-1")
    return found


def _answered(request: Any, operation: Operation, answer: Struct | Pdf) -> bytes:
    if isinstance(answer, Pdf):
        request.setHeader("content-disposition", f'attachment; filename="{answer.name}"')
        return _body(request, operation.status, "application/pdf", answer.body)
    return _body(request, operation.status, "application/json", msgspec.json.encode(answer))


def _refused(request: Any, refusal: Refusal) -> bytes:
    for name, value in refusal.headers.items():
        request.setHeader(name, value)
    body = msgspec.json.encode(refusal.problem)
    return _body(request, refusal.kind.status, MEDIA_TYPE, body)


def _body(request: Any, status: int, kind: str, body: bytes) -> bytes:
    request.setResponseCode(status)
    request.setHeader("content-type", kind)
    request.setHeader("content-length", str(len(body)))
    return body
