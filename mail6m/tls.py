"""TLS towards receiving machines."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer


@implementer(IOpenSSLClientConnectionCreator)
class Encrypted:
    """TLS towards a receiving machine: encryption; the certificate is not judged (RFC 7435)."""

    _context: SSL.Context | None = None

    def __init__(self, name: str) -> None:
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: D102
        cls = type(self)
        if cls._context is None:
            cls._context = ssl.CertificateOptions(
                raiseMinimumTo=ssl.TLSVersion.TLSv1_2
            ).getContext()
        connection = SSL.Connection(cls._context, None)
        if self._name and not self._name.replace(".", "").isdigit() and ":" not in self._name:
            connection.set_tlsext_host_name(self._name.encode("ascii", "replace"))
        return connection
