"""What a receiving machine's certificate must be, and whether it is.

By its chain and its name (RFC 5280, RFC 9525), or by what the DNS says of it: DANE (RFC 7672).
Every handshake is let through, and judged when it is done, before anything else is said: so that
a session says truly what it had, and a refusal can say why.
"""

from __future__ import annotations

import enum
import hashlib
import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from dns.rdtypes.ANY.TLSA import TLSA
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from mail6m.model import TlsPolicy
from mail6m.settings import SettingsError

_ENDPOINT, _AUTHORITY = 3, 2
"""DANE-EE and DANE-TA, the usages that SMTP knows (RFC 7672, 3.1)."""
_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}


class Fault(enum.Enum):
    """What can be wrong with a certificate."""

    ABSENT = "there is none"
    EXPIRED = "it has expired"
    EARLY = "it is not valid yet"
    SELF_SIGNED = "it has signed itself"
    UNKNOWN_ISSUER = "its issuer is not known"
    NO_SERVER = "it is not meant for a server"
    OTHER_NAME = "it is for another name"
    NOT_IN_DNS = "no TLSA record is for it"
    BROKEN = "its chain is not sound"


_FAULTS = {
    9: Fault.EARLY,
    10: Fault.EXPIRED,
    18: Fault.SELF_SIGNED,
    19: Fault.UNKNOWN_ISSUER,
    20: Fault.UNKNOWN_ISSUER,
    21: Fault.UNKNOWN_ISSUER,
    26: Fault.NO_SERVER,
}
"""By OpenSSL's numbers (X509_V_ERR_...)."""


class Level(enum.Enum):
    """What a session needs to carry mail."""

    CLEAR = "no TLS"
    OFFERED = "TLS if the host has it, whatever its certificate"
    ENCRYPTED = "TLS, whatever the certificate"
    CERTIFICATE = "TLS, and a certificate with a known issuer and the right name"
    DANE = "TLS, and the certificate that the DNS names"

    @property
    def policy(self) -> TlsPolicy:
        """What the dialogue makes of it."""
        if self is Level.CLEAR:
            return TlsPolicy.NONE
        return TlsPolicy.OPPORTUNISTIC if self is Level.OFFERED else TlsPolicy.REQUIRED


class Demand(NamedTuple):
    """What a session with one host needs."""

    level: Level
    name: str
    """The host's name, or its address."""
    tlsa: tuple[TLSA, ...] = ()
    """The usable ones, where the level is DANE."""
    other_names: tuple[str, ...] = ()
    """What a certificate under a DANE-TA may be for as well (RFC 7672, 3.2.2)."""
    sure: bool = False
    """Nobody can have put this host in the place of another one (RFC 8689, 4.2.1)."""


class Verified(NamedTuple):
    """What a handshake has shown."""

    how: str
    """``DANE``, ``certificate``; empty if nothing is proved."""
    fault: Fault | None = None
    """What is wrong with the certificate."""
    refused: bool = False
    """It is not what was demanded: nothing more is to be said to the host."""
    sure: bool = False
    """Host and certificate are what they must be: mail that requires TLS may go there."""

    def __str__(self) -> str:
        return f"verified ({self.how})" if self.how else "not verified"


class Trust:
    """Whose certificates are believed: the system's authorities, or those of a file."""

    def __init__(self, authorities: Path | None = None) -> None:
        self._file = authorities
        self._known: SSL.Context | None = None

    def check(self) -> None:
        """See whether the file can be used. Raises `SettingsError`."""
        self._context()

    def towards(self, demand: Demand) -> Handshake:
        """For one session."""
        return Handshake(self._context(), demand)

    def _context(self) -> SSL.Context:
        if self._known is None:
            context = ssl.CertificateOptions(raiseMinimumTo=ssl.TLSVersion.TLSv1_2).getContext()
            try:
                if self._file is not None:
                    context.load_verify_locations(str(self._file))
                else:
                    context.set_default_verify_paths()
            except SSL.Error as error:
                raise SettingsError(f"--tls-ca {self._file}: not a PEM file") from error
            context.set_verify(SSL.VERIFY_PEER, _note_fault)
            self._known = context
        return self._known


class _Connection(SSL.Connection):
    """A handshake that is let through, with what OpenSSL says against its chain."""

    def __init__(self, context: SSL.Context) -> None:
        super().__init__(context, None)
        self.faults: list[int] = []


def _note_fault(
    connection: SSL.Connection, _certificate: crypto.X509, fault: int, _depth: int, ok: int
) -> bool:
    if not ok:
        cast(_Connection, connection).faults.append(fault)
    return True


@implementer(IOpenSSLClientConnectionCreator)
class Handshake:
    """TLS towards one host."""

    def __init__(self, context: SSL.Context, demand: Demand) -> None:
        self._context = context
        self._demand = demand

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: D102
        connection = _Connection(self._context)
        if not is_address(self._demand.name):
            connection.set_tlsext_host_name(self._demand.name.encode("ascii", "replace"))
        return connection

    def judge(self, connection: SSL.Connection) -> Verified:
        """What the host has shown, once the handshake is done."""
        level = self._demand.level
        if level is Level.DANE:
            fault, how = _unlike_dns(connection, self._demand), "DANE"
        else:
            fault, how = _fault(connection, self._demand.name), "certificate"
        if fault is None:
            return Verified(how, sure=self._demand.sure)
        return Verified("", fault, refused=level in (Level.CERTIFICATE, Level.DANE))


def is_address(name: str) -> bool:
    """Whether a host is given by its address."""
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


# The chain and the name


def _fault(connection: SSL.Connection, name: str) -> Fault | None:
    if connection.get_peer_certificate() is None:
        return Fault.ABSENT
    for number in cast(_Connection, connection).faults:
        return _FAULTS.get(number, Fault.BROKEN)
    return None if _is_for(connection, name) else Fault.OTHER_NAME


def _is_for(connection: SSL.Connection, name: str) -> bool:
    verify: Any = verify_ip_address if is_address(name) else verify_hostname
    try:
        verify(connection, name)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


# DANE


def usable(record: TLSA) -> bool:
    """Whether SMTP can go by a TLSA record (RFC 7672, 3.1)."""
    if record.usage not in (_ENDPOINT, _AUTHORITY) or record.selector not in (0, 1):
        return False
    if record.mtype == 0:
        return bool(record.cert)
    digest = _DIGESTS.get(record.mtype)
    return digest is not None and len(record.cert) == digest().digest_size


def _unlike_dns(connection: SSL.Connection, demand: Demand) -> Fault | None:
    """How a chain differs from what the TLSA records say; not at all if one of them fits."""
    chain = connection.get_peer_cert_chain() or []
    if not chain:
        return Fault.ABSENT
    if any(_fits(record, chain[0]) for record in demand.tlsa if record.usage == _ENDPOINT):
        return None  # whatever its name and its dates say (RFC 7672, 3.1.1)
    anchors = list(_anchors(demand.tlsa, chain[1:]))
    if not anchors or not _leads_to(anchors, chain):
        return Fault.NOT_IN_DNS
    names = (demand.name, *demand.other_names)
    return None if any(_is_for(connection, name) for name in names) else Fault.OTHER_NAME


def _fits(record: TLSA, certificate: crypto.X509) -> bool:
    if record.selector == 0:
        data = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
    else:
        data = crypto.dump_publickey(crypto.FILETYPE_ASN1, certificate.get_pubkey())
    digest = _DIGESTS.get(record.mtype)
    return (data if digest is None else digest(data).digest()) == record.cert


def _anchors(records: Sequence[TLSA], issuers: Sequence[crypto.X509]) -> Iterator[crypto.X509]:
    """The authorities that TLSA records name: of the chain, or whole in the DNS."""
    for record in records:
        if record.usage == _AUTHORITY:
            yield from (one for one in issuers if _fits(record, one))
            if (record.selector, record.mtype) == (0, 0):
                try:
                    yield crypto.load_certificate(crypto.FILETYPE_ASN1, record.cert)
                except crypto.Error:
                    continue


def _leads_to(anchors: Sequence[crypto.X509], chain: Sequence[crypto.X509]) -> bool:
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # an anchor need not have signed itself
    for anchor in anchors:
        store.add_cert(anchor)
    try:
        crypto.X509StoreContext(store, chain[0], list(chain[1:])).verify_certificate()
    except crypto.X509StoreContextError:
        return False
    return True


# HTTPS


@implementer(IPolicyForHTTPS)
class WebTrust:
    """The same authorities, for HTTPS: a certificate that is not good ends the handshake."""

    def __init__(self, authorities: Path | None = None) -> None:
        self._file = authorities

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:  # noqa: D102
        return ssl.optionsForClientTLS(hostname.decode("ascii"), trustRoot=self._roots())

    def _roots(self) -> Any:
        if self._file is None:
            return ssl.platformTrust()
        return ssl.trustRootFromCertificates(
            [ssl.Certificate(certificate) for certificate in read_chain(self._file)]
        )


def read_chain(file: Path) -> list[crypto.X509]:
    """The certificates of a PEM file. Raises `OSError` or `OpenSSL.crypto.Error`."""
    begin = b"-----BEGIN CERTIFICATE-----"
    pems = file.read_bytes().split(begin)[1:]
    return [crypto.load_certificate(crypto.FILETYPE_PEM, begin + pem) for pem in pems]
