"""Certificates for tests: an authority that issues good ones and bad ones; their TLSA records."""

from __future__ import annotations

import datetime
import functools
import hashlib
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, and the chain that goes out with it."""

    certificate: x509.Certificate
    key: Any
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        """Chain and key."""
        chain = b"".join(one.public_bytes(_PEM) for one in (self.certificate, *self.issuers))
        none = serialization.NoEncryption()
        return chain + self.key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, none)

    @functools.cached_property
    def context(self) -> ssl.SSLContext:
        """For a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:  # the ssl module reads files only
            file.write(self.pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def tlsa(self, usage: int, selector: int = 1, matching: int = 1, *, of: int = 0) -> str:
        """A TLSA record for it, or for the ``of``-th of its chain."""
        certificate = (self.certificate, *self.issuers)[of]
        if selector == 0:
            data = certificate.public_bytes(_DER)
        else:
            spki = serialization.PublicFormat.SubjectPublicKeyInfo
            data = certificate.public_key().public_bytes(_DER, spki)
        if matching:
            data = {1: hashlib.sha256, 2: hashlib.sha512}[matching](data).digest()
        return f"{usage} {selector} {matching} {data.hex()}"


class Authority:
    """Signs certificates."""

    def __init__(self, name: str = "Authority of the tests", by: Authority | None = None) -> None:
        """``by`` is the authority above it, if there is one."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self._name, self._key, authority=True, by=by)

    def write(self, directory: Path) -> Path:
        """A PEM file, for ``--tls-ca``."""
        file = directory / "authority.pem"
        file.write_bytes(self.certificate.public_bytes(_PEM))
        return file

    def issue(self, *names: str, expired: bool = False, signed_by_itself: bool = False) -> Issued:
        """A certificate for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        by = None if signed_by_itself else self
        certificate = self._sign(subject, key, names=names, expired=expired, by=by)
        return Issued(certificate, key, () if signed_by_itself else (self.certificate,))

    def _sign(
        self,
        subject: x509.Name,
        key: Any,
        *,
        names: tuple[str, ...] = (),
        authority: bool = False,
        expired: bool = False,
        by: Authority | None = None,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC) - (3 * DAY if expired else 0 * DAY)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if by is None else by._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(key if by is None else by._key, hashes.SHA256())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@functools.cache
def the_authority() -> Authority:
    """The one that scripted peers have their certificates from."""
    return Authority()
