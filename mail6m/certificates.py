"""The certificates that clients are shown: for which name, until when; read again on a change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from mail6m.settings import SettingsError

SOON = timedelta(days=14)
"""A certificate that ends so soon should have been renewed: it is warned of."""
_AGAIN = timedelta(days=1)
_LASTS = timedelta(days=3_653)
_SKEW = timedelta(hours=1)
"""What other people's clocks may differ by."""
_LONGEST_NAME = 64
"""Of a subject's common name (RFC 5280, appendix A)."""
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""For TLS 1.2: keys that are forgotten, and authenticated encryption (RFC 9325, 4.2). All the
suites of TLS 1.3 are such ones, and so are OpenSSL's own curves at that level."""
_OPTIONS = (
    SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_TICKET
    | SSL.OP_CIPHER_SERVER_PREFERENCE
)


@dataclass(frozen=True, slots=True)
class _Certificate:
    """A chain with its key, ready for handshakes."""

    names: tuple[str, ...]
    """As in its subjectAltName, in lower case: ``mx.example.org``, ``*.example.org``."""
    ends: datetime
    context: SSL.Context


class _Files:
    """Where a chain and its key are, and what they last were when they were good."""

    def __init__(self, chain: Path, key: Path, choose: Callable[[SSL.Connection], None]) -> None:
        self.chain, self._key = chain, key
        self._choose = choose
        self._stamp = self._current_stamp()
        self._failed = False
        self.certificate = self._read()

    def refresh(self, *, retry: bool = False) -> bool:
        """Read them again if they have changed, or could not be read; whether they are new now.

        Raises `SettingsError`, once for each change.
        """
        stamp = self._current_stamp()
        changed = stamp != self._stamp
        if not changed and not (retry and self._failed):
            return False
        self._stamp = stamp
        try:
            self.certificate = self._read()
        except SettingsError:
            self._failed = True
            if changed:
                raise
            return False
        self._failed = False
        return True

    def _current_stamp(self) -> tuple[int, ...]:
        try:
            both = (self.chain.stat(), self._key.stat())
        except OSError:
            return ()
        return tuple(n for one in both for n in (one.st_ctime_ns, one.st_ino, one.st_size))

    def _read(self) -> _Certificate:
        try:
            chain = x509.load_pem_x509_certificates(self.chain.read_bytes())
            key = serialization.load_pem_private_key(self._key.read_bytes(), None)
            context = _new_context()
            context.use_certificate(chain[0])
            for issuer in chain[1:]:
                context.add_extra_chain_cert(issuer)
            context.use_privatekey(key)  # type: ignore[arg-type]
            context.check_privatekey()
            context.set_tlsext_servername_callback(self._choose)
            return _Certificate(_names(chain[0]), chain[0].not_valid_after_utc, context)
        except Exception as error:  # cryptography and OpenSSL have many ways to refuse a file
            why = _openssl_says(error) if isinstance(error, SSL.Error) else str(error)
            raise SettingsError(
                f"--tls-cert {self.chain} and --tls-key {self._key}: {why}"
            ) from error


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """All of them. A client is shown the one for the name that it asks for (RFC 6066, 3).

    A client that asks for no name, or for one that none is for, is shown the first.
    """

    log = Logger()

    def __init__(self, files: Sequence[tuple[Path, Path]]) -> None:
        """Chains, each with its key, in PEM; at least one. Raises `SettingsError`."""
        self._files = [_Files(chain, key, self._choose) for chain, key in files]
        self._by_name: dict[str, _Certificate] = {}
        self._next_warning: datetime | None = None
        self._assort()

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See `IOpenSSLServerConnectionCreator`; sessions that have begun keep what they have."""
        self._refresh()
        return SSL.Connection(self._files[0].certificate.context, None)

    def look(self, now: datetime) -> None:
        """See whether the files have changed, and warn once a day of what ends soon.

        What could not be read is tried again: it need not have been the file's fault.
        """
        self._refresh(retry=True)
        if self._next_warning is not None and now < self._next_warning:
            return
        self._next_warning = now + _AGAIN
        for one in self._files:
            if one.certificate.ends - now < SOON:
                ends = one.certificate.ends.isoformat()
                self.log.warn("the certificate {file} ends on {ends}", file=one.chain, ends=ends)

    def ends(self) -> Iterator[tuple[str, datetime]]:
        """Every name that there is a certificate for, and when that ends."""
        for name, certificate in self._by_name.items():
            yield name, certificate.ends

    def _refresh(self, *, retry: bool = False) -> None:
        for one in self._files:
            try:
                if one.refresh(retry=retry):
                    self._assort()
            except SettingsError as error:  # half written, perhaps: the old one still serves
                self.log.warn("keeping the former certificate: {error}", error=error)

    def _assort(self) -> None:
        self._by_name = {}
        for one in self._files:
            for name in one.certificate.names:
                self._by_name.setdefault(name, one.certificate)

    def _choose(self, connection: SSL.Connection) -> None:
        asked = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        parent = asked.partition(".")[2]
        chosen = self._by_name.get(asked) or self._by_name.get(f"*.{parent}")
        if chosen is not None:
            connection.set_context(chosen.context)


def self_signed(names: Sequence[str], now: datetime) -> tuple[bytes, bytes]:
    """A certificate that nobody vouches for, and its key, in PEM; for a server of those names.

    Enough for opportunistic TLS, which does not judge certificates (RFC 7435).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    common = names[0] if len(names[0]) <= _LONGEST_NAME else "Mail6M"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LASTS)
        .add_extension(x509.SubjectAlternativeName([*map(x509.DNSName, names)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private


def _new_context() -> SSL.Context:
    """What all handshakes have in common: TLS 1.2 and newer (RFC 8996, RFC 9325)."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(_CIPHERS.encode())
    return context


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Those of the subjectAltName; without any, the common name of old (RFC 6125, 6.4.4)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [str(one.value) for one in common]
    return tuple(name.lower() for name in names)


def _openssl_says(error: SSL.Error) -> str:
    """The last of what OpenSSL has put on its stack: ``key values mismatch``."""
    said = [reason for _, _, reason in error.args[0]] if error.args else []
    return said[-1] if said else "not a PEM chain and key"
