"""Connections that come through HAProxy with ``send-proxy`` or ``send-proxy-v2``.

What HAProxy says in front of a connection is the PROXY protocol, both of whose versions Twisted
reads (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt). Whoever reaches such a port is
believed: it must be open to the proxy alone.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHandshakeListener, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

PATIENCE = 10.0
"""Seconds for the header, which a proxy sends along with the connection."""

_UNKNOWN = b"PROXY UNKNOWN\r\n"
"""From HAProxy itself, as in its health checks."""


class _Unannounced(Protocol):
    """Stands in for a session until the header has come."""

    early = b""

    def dataReceived(self, data: bytes) -> None:
        self.early += data


@implementer(IHandshakeListener)
class _Proxied(HAProxyProtocolWrapper):
    """A connection through a proxy; its session begins when it is known whose it is.

    Twisted's own begins it before: the banner is then in time for the header only by chance, and
    every client has the proxy's address.
    """

    factory: Any
    wrappedProtocol: Any
    _unannounced: _Unannounced | None

    def makeConnection(self, transport: Any) -> None:
        self._session = self.wrappedProtocol
        self.wrappedProtocol = self._unannounced = _Unannounced()
        self._overdue = self.factory.clock.callLater(PATIENCE, transport.abortConnection)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        if self._parser is None and data.startswith(_UNKNOWN):  # which Twisted misreads
            data = data.replace(b"\r\n", b" \r\n", 1)
        super().dataReceived(data)
        unannounced = self._unannounced
        if unannounced is not None and self._proxyInfo is not None:
            self._unannounced = None
            self._overdue.cancel()
            self.wrappedProtocol = self._session
            self._session.makeConnection(self)
            if unannounced.early:
                self._session.dataReceived(unannounced.early)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if self._overdue.active():
            self._overdue.cancel()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def handshakeCompleted(self) -> None:
        if IHandshakeListener.providedBy(self.wrappedProtocol):
            self.wrappedProtocol.handshakeCompleted()


class BehindProxy(HAProxyWrappingFactory):
    """A factory whose clients come through a proxy."""

    noisy = False
    protocol: Any = _Proxied

    def __init__(self, factory: Any, clock: IReactorTime) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self.clock = clock
