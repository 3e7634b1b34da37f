"""Our key at work: DKIM signatures of mail that Mail6M writes, ARC seals of mail that it relays.

OpenSSL signs. Without a key nothing is signed, and it costs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from mail6m import chain
from mail6m.canonical import CanonicalBody, Signable, body_start, relaxed_field, signed_octets
from mail6m.chain import ChainError
from mail6m.dialogue.address import AddressError, canonical_domain
from mail6m.model import Authentication
from mail6m.settings import Settings, SettingsError

LEAST_BITS = 1_024
"""Of an RSA key: what anybody still verifies (RFC 8301, 3.2)."""
BITS = 2_048
"""Of a new RSA key."""
WIDTH = 72

SIGNED = (
    *(b"from", b"sender", b"reply-to", b"to", b"cc", b"subject", b"date", b"message-id"),
    *(b"in-reply-to", b"references", b"mime-version", b"content-type"),
    *(b"content-transfer-encoding", b"auto-submitted", b"list-id", b"list-unsubscribe"),
    *(b"list-unsubscribe-post", b"content-language"),
)
"""Fields that a signature covers where they are there (RFC 6376, 5.4.1; RFC 8058, 4)."""
_MOST_OF_ONE = 5
"""Fields of one name that are covered, from the lowest on: strangers may have written thousands."""
_SELECTOR = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class Signer:
    """Signs and seals with the key of the settings; without one it does neither."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds UTC. Raises `SettingsError` when the key cannot be used."""
        self._key = read_key(settings.signing_key) if settings.signing_key else None
        self._algorithm, self._domain, self._selector = "", "", ""
        self._clock = clock
        if self._key is not None:
            self._algorithm = f"{_kind(self._key)}-sha256"
            self._domain, self._selector = signing_name(settings)

    @property
    def domain(self) -> str:
        """Whose seal it is; empty without a key."""
        return self._domain

    def sign_own(self, octets: bytes) -> bytes:
        """A message of our own with its DKIM-Signature in front (RFC 6376); as it is without a key.

        One From more is signed than there is, so that none can be added (RFC 6376, 8.15).
        """
        if self._key is None:
            return octets
        end = body_start(octets)
        message = Signable(octets[:end], lambda: [octets[end:]])
        names = [*_covered(message, SIGNED), b"from"]
        digest, _ = message.body_hash(relaxed=True)
        tags = self._tags("DKIM-Signature: v=1", digest, names)
        selected = message.selected(names, relaxed=True)
        return self._signed(selected, tags) + b"\r\n" + octets

    def seals(self, authentication: Authentication) -> bool:
        """Whether a message of which that was found out can be sealed, as far as that tells."""
        told = bool(authentication.results) and authentication.arc in ("none", "pass")
        return told and self._key is not None

    def seal_arc(
        self,
        header: bytes,
        digest: bytes,
        authentication: Authentication,
        hostname: str,
    ) -> bytes:
        """An ARC set to put in front of a relayed message (RFC 8617, 5.1): fields, or nothing.

        ``header`` is the message's as it goes on, without what we put in front, and ``digest`` that
        of what stands behind its blank line (`BodyDigest`). ``authentication`` is what was found
        out on arrival, and ``hostname`` the name that its results stand behind.

        Nothing is sealed without a key, where nothing was looked into, or where the chain so far
        does not hold or could not be verified: a seal on it would help nobody (5.1.2).
        """
        status = authentication.arc
        if not self.seals(authentication):
            return b""
        message = Signable(header, list)
        try:
            sets = chain.sets(message)
        except ChainError:
            return b""
        if bool(sets) != (status == "pass") or len(sets) >= chain.MOST:
            return b""
        start = f"i={len(sets) + 1}"
        results = f"ARC-Authentication-Results: {start}; {hostname};\r\n\t{authentication.results}"
        names = [*_covered(message, (*SIGNED, b"dkim-signature")), b"from"]
        tags = self._tags(f"ARC-Message-Signature: {start}", digest, names)
        ours = self._signed(message.selected(names, relaxed=True), tags)
        former = [message.relaxed(field) for one in sets for field in one]
        said = [*former, relaxed_field(results.encode()), relaxed_field(ours)]
        seal = self._signed(said, f"ARC-Seal: {start}; cv={status}; {self._origin()}")
        return b"".join(field + b"\r\n" for field in (seal, ours, results.encode()))

    def _tags(self, start: str, digest: bytes, names: Sequence[bytes]) -> str:
        covered = ":".join(name.decode() for name in names)
        return (
            f"{start}; c=relaxed/relaxed; {self._origin()};\r\n\t"
            f"h={_broken(covered, ':')};\r\n\tbh={base64.b64encode(digest).decode()}"
        )

    def _origin(self) -> str:
        moment = int(self._clock())
        return f"a={self._algorithm};\r\n\td={self._domain}; s={self._selector}; t={moment}"

    def _signed(self, selected: Sequence[bytes], tags: str) -> bytes:
        """The signature's field, without its last CRLF."""
        field = f"{tags};\r\n\tb="
        octets = signed_octets(selected, field.encode(), relaxed=True)
        signature = base64.b64encode(self._sign(octets)).decode()
        lines = [signature[start : start + WIDTH] for start in range(0, len(signature), WIDTH)]
        return (field + "\r\n\t ".join(lines)).encode()

    def _sign(self, octets: bytes) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(octets, padding.PKCS1v15(), SHA256())
        assert self._key is not None
        return self._key.sign(hashlib.sha256(octets).digest())  # RFC 8463, 3


class BodyDigest:
    """SHA-256 of a body in relaxed form, for who is given it piece by piece."""

    def __init__(self) -> None:
        self._body = CanonicalBody(relaxed=True)
        self._digest = hashlib.sha256()

    def feed(self, piece: bytes) -> None:
        """Another piece."""
        for octets in self._body.feed(piece):
            self._digest.update(octets)

    def digest(self) -> bytes:
        """That was all of it; may be asked for once."""
        for octets in self._body.end():
            self._digest.update(octets)
        return self._digest.digest()


def _covered(message: Signable, names: Iterable[bytes]) -> list[bytes]:
    """Each name as often as there are fields of it."""
    return [name for name in names for _ in message.named(name)[:_MOST_OF_ONE]]


def _broken(text: str, at: str) -> str:
    """A long list over several lines."""
    lines = [""]
    for word in text.split(at):
        if len(lines[-1]) + len(word) > WIDTH:
            lines.append("")
        lines[-1] += word + at
    return "\r\n\t ".join(lines).removesuffix(at)


# The key


def signing_name(settings: Settings) -> tuple[str, str]:
    """Domain and selector: its key is published under both. Raises `SettingsError`."""
    given = settings.signing_domain or settings.hostname
    try:
        domain = canonical_domain(given)
    except AddressError as error:
        raise SettingsError(f"--signing-domain {given}: {error}") from error
    if domain.startswith("["):
        raise SettingsError(f"--signing-domain {given}: a domain's name is needed")
    selector = settings.signing_selector.lower()
    if not _SELECTOR.fullmatch(selector):
        raise SettingsError(f"--signing-selector {selector}: letters, digits and - are needed")
    return domain, selector


def read_key(path: Path) -> PrivateKey:
    """A PEM key, RSA or Ed25519, that nobody else may read. Raises `SettingsError`."""
    try:
        pem, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise SettingsError(f"--signing-key {path}: {error.strerror}") from error
    if mode & stat.S_IRWXO:
        raise SettingsError(f"--signing-key {path}: everybody may read it: chmod o= {path}")
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"--signing-key {path}: not a PEM key without password") from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SettingsError(f"--signing-key {path}: RSA or Ed25519 is needed")
    if key.key_size < LEAST_BITS:
        raise SettingsError(f"--signing-key {path}: {key.key_size} bits are too few")
    return key


def make_key(path: Path, kind: str) -> PrivateKey:
    """A new key, ``rsa`` or ``ed25519``, in a file of its own. Raises `FileExistsError`."""
    key: PrivateKey = (
        rsa.generate_private_key(65_537, BITS)
        if kind == "rsa"
        else ed25519.Ed25519PrivateKey.generate()
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return key


def public_record(key: PrivateKey) -> str:
    """The TXT record that publishes the key (RFC 6376, 3.6.1; RFC 8463, 4.2)."""
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        octets = public.public_bytes_raw()
    else:
        octets = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    return f"v=DKIM1; k={_kind(key)}; p={base64.b64encode(octets).decode()}"


def published(name: str, record: str) -> str:
    """The record as a line of a zone file: in strings of at most 255 octets (RFC 1035, 3.3)."""
    strings = [record[start : start + 255] for start in range(0, len(record), 255)]
    return f"{name}. IN TXT " + " ".join(f'"{one}"' for one in strings)


def _kind(key: PrivateKey) -> str:
    return "rsa" if isinstance(key, rsa.RSAPrivateKey) else "ed25519"
