"""The HTTP server below the console: bounded requests, files out of memory, and no access log.

Twisted's own access log would have every path and query in it: what was searched for, and the
tokens of letters.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Coroutine, Sequence
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.web.server import Request, Site
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

LARGEST_BODY = 1 << 17
"""Octets of a request's body: a form of a thousand messages' numbers has a third of that."""
LARGEST_UPLOAD = 1 << 20
"""Octets of one that may have a file in it."""
_UPLOAD = b"multipart/form-data"
_MOST_PARTS = 20
MOST_FIELDS = 2_000
"""Fields of a form, or of a query; reading them takes milliseconds."""
_KINDS = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "png": "image/png",
    "txt": "text/plain; charset=utf-8",
}


class BoundedRequest(Request):
    """A request whose body is in memory, and not taken for ever."""

    _taken = 0
    _refused = False
    _kind = b""
    _largest = LARGEST_BODY
    _uploaded: tuple[Sequence[tuple[str, str]], dict[str, bytes]] | None = None

    def gotLength(self, length: int | None) -> None:
        """The length that was declared, if one was."""
        self.content = self._content = io.BytesIO()
        kind = self.requestHeaders.getRawHeaders(b"content-type", [b""])[0]
        if _is(kind, _UPLOAD):
            self._largest = LARGEST_UPLOAD
        if length is not None and length > self._largest:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        self._taken += len(data)
        if self._taken > self._largest:
            self._refuse()
        else:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of it is here. Twisted would read the body as a form now, and without a bound."""
        if self._refused:
            return
        self._kind = self.requestHeaders.getRawHeaders(b"content-type", [b""])[0]
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]

    def form(self) -> Sequence[tuple[str, str]]:
        """What was typed into a form."""
        if _is(self._kind, b"application/x-www-form-urlencoded"):
            return fields(self._content.getvalue())
        return self._upload()[0]

    def json(self) -> bytes | None:
        """The body, if it says that it is JSON."""
        return self._content.getvalue() if _is(self._kind, b"application/json") else None

    def body(self) -> bytes:
        """All of it, as it is."""
        return self._content.getvalue()

    def files(self) -> dict[str, bytes]:
        """What files came with it, by the names of their fields."""
        return self._upload()[1]

    def _upload(self) -> tuple[Sequence[tuple[str, str]], dict[str, bytes]]:
        """Texts and files of a form that has files (RFC 7578); none, if it is not one."""
        if not _is(self._kind, _UPLOAD):
            return [], {}
        if self._uploaded is None:
            self._uploaded = _parts(self._content, self._kind)
        return self._uploaded

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            channel: Any = self.channel
            channel.transport.write(
                b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            channel.loseConnection()


def fields(encoded: bytes) -> Sequence[tuple[str, str]]:
    """Names and values, as a form or a query has them; none, if it is not one, or has too many.

    NUL, which PostgreSQL cannot store, is replaced like what is not UTF-8.
    """
    try:
        pairs = parse_qsl(
            encoded.decode("utf-8", "replace"),
            keep_blank_values=True,
            errors="replace",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        return []
    return [(name, value.replace("\x00", "\ufffd")) for name, value in pairs]


def _is(kind: bytes, wanted: bytes) -> bool:
    return kind.partition(b";")[0].strip().lower() == wanted


def _parts(content: io.BytesIO, kind: bytes) -> tuple[Sequence[tuple[str, str]], dict[str, bytes]]:
    mimetype, options = parse_options_header(kind.decode("latin-1"))
    parser = FormDataParser(
        lambda *_, **__: io.BytesIO(), LARGEST_BODY, LARGEST_UPLOAD, max_form_parts=_MOST_PARTS
    )
    content.seek(0)
    try:
        _, texts, files = parser.parse(content, mimetype, len(content.getvalue()), options)
    except RequestEntityTooLarge:
        return [], {}
    typed = [(name, value.replace("\x00", "\ufffd")) for name, value in texts.items(multi=True)]
    return typed, {name: file.stream.read() for name, file in files.items()}


def unhurried(answering: Coroutine[Any, Any, bytes]) -> Deferred[bytes]:
    """An answer that is being made. A client that goes away does not interrupt what it began."""
    answered: Deferred[bytes] = Deferred(lambda _: None)

    def done(result: Any) -> None:
        if not answered.called:
            answered.callback(result)

    ensureDeferred(answering).addBoth(done)
    return answered


class QuietSite(Site):
    """A site that keeps no access log."""

    requestFactory = BoundedRequest

    def log(self, request: Any) -> None:
        """Nothing."""


class StaticFile(NamedTuple):
    """A file that comes with the console."""

    body: bytes
    kind: str
    etag: str


def static_files() -> dict[str, StaticFile]:
    """Every file of ``static/``, by name."""
    found = {}
    for entry in resources.files("mail6m.web").joinpath("static").iterdir():
        kind = _KINDS.get(entry.name.rpartition(".")[2])
        if kind is not None:
            body = entry.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:16]
            found[entry.name] = StaticFile(body, kind, etag)
    return found
