"""Chains and keys in files, as a server is given them, and renewed under its eyes."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from mail6m.certificates import self_signed

DAY = datetime.timedelta(days=1)


def renew(chain: Path, *names: str, now: datetime.datetime | None = None) -> int:
    """A chain there, and its key beside it (``.key``), replaced if need be; the serial number."""
    pem, key = self_signed(names, now or datetime.datetime.now(datetime.UTC))
    return _put(chain, pem, key)


def renew_rsa(chain: Path, name: str) -> int:
    """The same with RSA, without which the weakest ciphers cannot be tried at all."""
    key = rsa.generate_private_key(65_537, 2_048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    return _put(chain, certificate.public_bytes(pem), private)


def replace(path: Path, octets: bytes) -> None:
    """Another content at once, as those who renew certificates do it."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(octets)
    fresh.replace(path)


def _put(chain: Path, pem: bytes, key: bytes) -> int:
    replace(chain.with_suffix(".key"), key)
    replace(chain, pem)
    return x509.load_pem_x509_certificate(pem).serial_number
