"""The HTTP server below the console: bounded requests, files out of memory, and no access log.

Twisted's own access log would have every path and query in it: what was searched for, and the
tokens of letters.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any, NamedTuple

from twisted.web.server import Request, Site

LARGEST_BODY = 1 << 20
"""Octets of a request's body."""
_KINDS = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "png": "image/png",
    "txt": "text/plain; charset=utf-8",
}


class BoundedRequest(Request):
    """A request whose body is not taken for ever."""

    _taken = 0

    def gotLength(self, length: int | None) -> None:
        """The length that was declared, if one was."""
        if length is not None and length > LARGEST_BODY:
            self._refuse()
        super().gotLength(length)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        self._taken += len(data)
        if self._taken > LARGEST_BODY:
            self._refuse()
            return
        super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def _refuse(self) -> None:
        channel: Any = self.channel
        if channel is not None and not channel.transport.disconnecting:
            channel.transport.write(
                b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            channel.transport.loseConnection()


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
