"""Files that are made while they are sent, from any place on (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from mail6m.web.visit import Download

PATIENCE = 300.0
"""Seconds in which a client takes something of a file, or is cut off."""
_ONE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.ASCII)


class Span(NamedTuple):
    """What is sent of a file: from a place on, up to another."""

    start: int
    end: int


def span(asked: str, size: int) -> Span | None:
    """What a Range field asks for; None: it cannot be had (RFC 9110, 14.1.2).

    A field that is not understood, or asks for several parts, is as if it were not there.
    """
    match = _ONE_RANGE.fullmatch(asked.strip())
    if match is None or match.groups() == ("", ""):
        return Span(0, size)
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return Span(0, size)
    return Span(start, end) if start < end else None


@implementer(IPushProducer)
class _Valve:
    """Holds the making back while the client does not take what is made."""

    def __init__(self) -> None:
        self._waiting: Deferred[None] | None = None
        self.gone = False

    async def open(self) -> None:
        """Wait until more is wanted, or nothing any more."""
        if self._waiting is not None:
            await self._waiting

    def pauseProducing(self) -> None:
        """See `twisted.internet.interfaces.IPushProducer`."""
        if self._waiting is None and not self.gone:
            self._waiting = Deferred()

    def resumeProducing(self) -> None:
        """See `twisted.internet.interfaces.IPushProducer`."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """See `twisted.internet.interfaces.IProducer`."""
        self.gone = True
        self.resumeProducing()


async def send(request: Any, download: Download) -> None:
    """Answer with a file, or with the part of it that is asked for.

    If it cannot be made to its end, the connection is cut: a client sees that something is missing.
    """
    etag = f'"{download.etag}"'
    asked = _field(request, "range") if request.method == b"GET" else ""
    if asked and _field(request, "if-range") not in ("", etag):
        asked = ""
    wanted = span(asked, download.size) if asked else Span(0, download.size)
    request.setHeader("accept-ranges", "bytes")
    request.setHeader("etag", etag)
    if wanted is None:
        request.setResponseCode(416)
        request.setHeader("content-range", f"bytes */{download.size}")
        request.setHeader("content-length", "0")
        return
    if asked and wanted != (0, download.size):
        request.setResponseCode(206)
        place = f"bytes {wanted.start}-{wanted.end - 1}/{download.size}"
        request.setHeader("content-range", place)
    request.setHeader("content-type", download.kind)
    request.setHeader("content-disposition", f'attachment; filename="{download.name}"')
    request.setHeader("content-length", str(wanted.end - wanted.start))
    if request.method != b"HEAD":
        await _pour(request, download.pieces(wanted.start), wanted.end - wanted.start)


async def _pour(request: Any, pieces: AsyncIterator[bytes], left: int) -> None:
    valve = _Valve()
    channel = request.channel
    channel.setTimeout(PATIENCE)
    request.notifyFinish().addBoth(lambda _: valve.stopProducing())
    request.registerProducer(valve, True)
    try:
        while left and not valve.gone:
            piece = await anext(pieces, b"")
            if not piece:
                break
            if not valve.gone:
                request.write(piece[:left])
            left -= len(piece[:left])
            await valve.open()
            channel.resetTimeout()
    except BaseException:
        _cut(channel, valve)
        raise
    channel.setTimeout(None)
    if not valve.gone:
        request.unregisterProducer()
    if left:
        _cut(channel, valve)


def _cut(channel: Any, valve: _Valve) -> None:
    if not valve.gone:
        channel.transport.abortConnection()


def _field(request: Any, name: str) -> str:
    value = request.getHeader(name)
    return str(value) if value else ""
