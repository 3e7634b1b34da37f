"""TLS towards clients, with files that may change, and towards receiving machines."""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from mail6m.settings import SettingsError


class Certificates:
    """The server's chain and key: read again when the files change, without a dropped session."""

    log = Logger()

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self._stamp = self._current_stamp()
        self._context = self._read()

    def __call__(self) -> ssl.CertificateOptions:
        """What a new handshake is to use."""
        stamp = self._current_stamp()
        if stamp != self._stamp:
            try:
                self._context = self._read()
                self._stamp = stamp
            except SettingsError as error:  # half written, perhaps: the old one still serves
                self.log.warn("keeping the former certificate: {error}", error=error)
        return self._context

    def _current_stamp(self) -> tuple[float, ...]:
        try:
            return (self._chain.stat().st_mtime, self._key.stat().st_mtime)
        except OSError:
            return ()

    def _read(self) -> ssl.CertificateOptions:
        try:
            pems = self._chain.read_bytes().split(b"-----BEGIN CERTIFICATE-----")[1:]
            certificates = [
                crypto.load_certificate(crypto.FILETYPE_PEM, b"-----BEGIN CERTIFICATE-----" + pem)
                for pem in pems
            ]
            key = crypto.load_privatekey(crypto.FILETYPE_PEM, self._key.read_bytes())
            options = ssl.CertificateOptions(
                privateKey=key,
                certificate=certificates[0],
                extraCertChain=certificates[1:],
                raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
            )
            options.getContext()
        except (OSError, crypto.Error, SSL.Error, IndexError, ValueError) as error:
            why = str(error) or "not a PEM chain and key"
            raise SettingsError(
                f"--tls-cert {self._chain} and --tls-key {self._key}: {why}"
            ) from error
        return options


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
