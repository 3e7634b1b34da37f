"""DKIM (RFC 6376, 8301, 8463): do the signatures of a message hold?

dkimpy reads the lists of tags. Forms and hashes are `mail6m.canonical`'s, and OpenSSL verifies: a
small message costs a tenth of what it costs with dkimpy's arithmetic, and no message costs more
than its length.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import load_der_public_key
from dkim.util import InvalidTagValueList, parse_tag_value

from mail6m.canonical import Signable, relaxed_field, signed_octets
from mail6m.dialogue.address import AddressError, canonical_domain
from mail6m.guard.authentication.answers import Answers, Missing, Question
from mail6m.model import Signature, is_within
from mail6m.resolver import DnsFailure

MOST = 5
"""Signatures of a message that are verified (RFC 6376, 8.4): the topmost."""
LONGEST = 16_384
"""Octets of a signature's field that are read."""
LONGEST_RECORD = 4_096
"""Octets of a key's record; one of 4,096 bits has 800."""
LEAST_BITS, MOST_BITS = 1_024, 4_096
"""Of an RSA key (RFC 8301, 3.2); a larger one is not worth its time."""
LENIENCE = 300
"""Seconds that clocks may differ, where a signature expires."""

Tags = Mapping[bytes, bytes]

_SELECTOR = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_NUMBER = re.compile(rb"[0-9]{1,12}")


class Failed(Exception):
    """It does not hold; ``result`` is RFC 8601's, 2.7.1."""

    def __init__(self, result: str, why: str) -> None:
        super().__init__(why)
        self.result = result
        self.why = why


class Verified(NamedTuple):
    """A signature, what came of it, and what an Authentication-Results field says beside."""

    signature: Signature
    why: str = ""
    b: str = ""
    """The beginning of its b=, by which it is told from others (RFC 6008)."""


def verify_all(message: Signable, answers: Answers, now: float) -> list[Verified]:
    """Verify the signatures, the topmost first. Raises `Missing`. ``now`` is seconds UTC."""
    found = []
    questions: set[Question] = set()
    for field in message.named(b"dkim-signature")[:MOST]:
        try:
            found.append(verify(field, message, answers, now))
        except Missing as missing:
            questions |= missing.questions
    if questions:
        raise Missing(*questions)
    return found


def hash_bodies(message: Signable) -> None:
    """Hash the body in every way that signatures ask for: what takes time, and no answers."""
    for field in message.named(b"dkim-signature")[:MOST]:
        with suppress(Failed):
            check_body(read_tags(field), message)


def verify(field: bytes, message: Signable, answers: Answers, now: float) -> Verified:
    """Verify one signature (RFC 6376, 6.1). Raises `Missing`."""
    tags: Tags = {}
    try:
        tags = read_tags(field)
        names = check_tags(tags, now)
        key = find_key(tags, answers)
        check_body(tags, message)
        key.check(tags, signed(field, tags, names, message))
        if tags.get(b"i") is not None and key.strict and identity(tags) != domain(tags):
            raise Failed("permerror", "i= is below d=, which the key forbids")
        if key.testing:  # it is to be treated like no signature at all (3.6.1, t=y)
            raise Failed("neutral", "a key in test")
    except Failed as failed:
        return _told(tags, failed.result, failed.why)
    except DnsFailure:
        return _told(tags, "temperror", "no answer for the key")
    return _told(tags, "pass", "")


def _told(tags: Tags, result: str, why: str) -> Verified:
    try:
        signature = Signature(result, domain(tags), selector(tags))
    except Failed:
        return Verified(Signature(result, "", ""), why)
    start = re.sub(rb"[^A-Za-z0-9+/]", b"", tags.get(b"b", b"")[:16])[:8]
    return Verified(signature, why, start.decode("ascii"))


def read_tags(field: bytes) -> dict[bytes, bytes]:
    """The tags of a signature's field (3.2). Raises `Failed`."""
    if len(field) > LONGEST:
        raise Failed("neutral", "too long")
    value = relaxed_field(field).partition(b":")[2]
    try:
        return dict(parse_tag_value(value))
    except (InvalidTagValueList, IndexError) as error:
        raise Failed("neutral", "not a list of tags") from error


def check_tags(tags: Tags, now: float) -> list[bytes]:
    """The fields that it signs, by name, if it says all it must (6.1.1). Raises `Failed`."""
    if tags.get(b"v") != b"1":
        raise Failed("neutral", "another version")
    names = check_common(tags, now)
    if not is_within(identity(tags), domain(tags)):
        raise Failed("permerror", "i= is not below d=")
    return names


def check_common(tags: Tags, now: float) -> list[bytes]:
    """What DKIM-Signature and ARC-Message-Signature have in common. Raises `Failed`."""
    check_origin(tags)
    if b"dns/txt" not in _list(tags, b"q", b"dns/txt"):
        raise Failed("neutral", "the key is not in the DNS")
    names = [name.lower() for name in _list(tags, b"h", b"")]
    if b"from" not in names:
        raise Failed("permerror", "From is not signed")
    until = _number(tags, b"x")
    if until is not None and until < now - LENIENCE:
        raise Failed("fail", "expired")
    return names


def check_origin(tags: Tags) -> None:
    """Algorithm, domain, selector and b= are there and can be used. Raises `Failed`."""
    algorithm = tags.get(b"a")
    if algorithm == b"rsa-sha1":
        raise Failed("policy", "SHA-1 proves nothing")  # RFC 8301, 3.1
    if algorithm not in (b"rsa-sha256", b"ed25519-sha256"):
        raise Failed("neutral", "unknown algorithm")
    domain(tags)
    selector(tags)
    unpacked(tags, b"b")


def domain(tags: Tags) -> str:
    """Its d=, canonical. Raises `Failed`."""
    text = tags.get(b"d", b"").decode("utf-8", "replace")
    try:
        name = canonical_domain(text)
    except AddressError as error:
        raise Failed("neutral", "d= is not a domain") from error
    if name.startswith("["):
        raise Failed("neutral", "d= is not a domain")
    return name


def selector(tags: Tags) -> str:
    """Its s=. Raises `Failed`."""
    text = tags.get(b"s", b"").decode("utf-8", "replace")
    if not _SELECTOR.fullmatch(text):
        raise Failed("neutral", "s= is not a selector")
    return text


def identity(tags: Tags) -> str:
    """The domain of its i=, canonical; without one, d=. Raises `Failed`."""
    given = tags.get(b"i")
    if given is None:
        return domain(tags)
    return domain({b"d": given.rpartition(b"@")[2]})


def unpacked(tags: Tags, name: bytes) -> bytes:
    """The octets of a tag in base64. Raises `Failed`."""
    try:
        octets = base64.b64decode(tags.get(name, b"").replace(b" ", b""), validate=True)
    except ValueError as error:
        raise Failed("neutral", f"{name.decode()}= is not base64") from error
    if not octets:
        raise Failed("neutral", f"no {name.decode()}=")
    return octets


def _list(tags: Tags, name: bytes, default: bytes) -> list[bytes]:
    return [word.strip() for word in tags.get(name, default).split(b":")]


def _number(tags: Tags, name: bytes) -> int | None:
    text = tags.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise Failed("neutral", f"{name.decode()}= is not a number")
    return int(text)


def _forms(tags: Tags, default: bytes) -> tuple[bool, bool]:
    """Whether header and body are signed in relaxed form (3.5, c=)."""
    header, _, body = tags.get(b"c", default).partition(b"/")
    body = body or b"simple"
    if {header, body} - {b"relaxed", b"simple"}:
        raise Failed("neutral", "unknown canonicalization")
    return header == b"relaxed", body == b"relaxed"


def check_body(tags: Tags, message: Signable, default: bytes = b"simple/simple") -> None:
    """The body is the one that was signed. Raises `Failed`."""
    length = _number(tags, b"l")
    digest, size = message.body_hash(relaxed=_forms(tags, default)[1])
    if length is not None and length > size:
        raise Failed("fail", "the body is shorter than it was signed")
    if length is not None and length < size:  # what was added may say anything (8.2)
        raise Failed("policy", "not all of the body is signed")
    if digest != unpacked(tags, b"bh"):
        raise Failed("fail", "the body is not the signed one")


def signed(
    field: bytes,
    tags: Tags,
    names: Collection[bytes],
    message: Signable,
    default: bytes = b"simple/simple",
) -> bytes:
    """The octets that the signature is made of. Raises `Failed`."""
    relaxed = _forms(tags, default)[0]
    # A second From that nobody signed would be the one that people see (8.15).
    if sum(name == b"from" for name in names) < len(message.named(b"from")):
        raise Failed("fail", "not every From is signed")
    return signed_octets(message.selected(names, relaxed=relaxed), field, relaxed=relaxed)


class Key(NamedTuple):
    """A public key, as its record in the DNS has it (3.6.1)."""

    public: RSAPublicKey | Ed25519PublicKey
    testing: bool = False
    strict: bool = False
    """i= has to be d= itself."""

    def check(self, tags: Tags, octets: bytes) -> None:
        """The signature is this key's, of these octets. Raises `Failed`."""
        signature = unpacked(tags, b"b")
        try:
            if isinstance(self.public, RSAPublicKey) and tags[b"a"] == b"rsa-sha256":
                self.public.verify(signature, octets, PKCS1v15(), SHA256())
            elif isinstance(self.public, Ed25519PublicKey) and tags[b"a"] == b"ed25519-sha256":
                digest = Hash(SHA256())
                digest.update(octets)
                self.public.verify(signature, digest.finalize())
            else:
                raise Failed("permerror", "the key is for another algorithm")
        except InvalidSignature as error:
            raise Failed("fail", "the signature does not hold") from error


def find_key(tags: Tags, answers: Answers) -> Key:
    """The key that the signature names. Raises `Failed`, `Missing`, `DnsFailure`."""
    records = answers.texts(f"{selector(tags)}._domainkey.{domain(tags)}")
    if not records:
        raise Failed("permerror", "no key")
    if len(records[0]) > LONGEST_RECORD:
        raise Failed("permerror", "the key's record is too long")
    key = read_key(records[0])
    if isinstance(key, str):
        raise Failed("policy" if key in (_WEAK, _STRONG) else "permerror", key)
    return key


_WEAK, _STRONG = f"a key of less than {LEAST_BITS} bits", f"a key of more than {MOST_BITS} bits"


@lru_cache(maxsize=1_024)
def read_key(record: bytes) -> Key | str:
    """The key of a record, or why there is none; remembered, since reading one takes a while."""
    try:
        tags: Tags = parse_tag_value(record)
        octets = base64.b64decode(b"".join(tags[b"p"].split()), validate=True)
    except (InvalidTagValueList, IndexError, KeyError, ValueError):
        return "the key's record cannot be read"
    if tags.get(b"v", b"DKIM1") != b"DKIM1":
        return "the key's record is of another version"
    if not octets:
        return "the key has been revoked"
    if not {b"*", b"email"} & set(_list(tags, b"s", b"*")):
        return "the key is not for mail"
    if b"sha256" not in _list(tags, b"h", b"sha256"):
        return "the key is not for SHA-256"
    flags = _list(tags, b"t", b"")
    try:
        public = _public(tags.get(b"k", b"rsa"), octets)
    except (ValueError, UnsupportedAlgorithm):
        return "the key cannot be read"
    if isinstance(public, RSAPublicKey) and public.key_size < LEAST_BITS:
        return _WEAK
    if isinstance(public, RSAPublicKey) and public.key_size > MOST_BITS:
        return _STRONG
    return Key(public, b"y" in flags, b"s" in flags)


def _public(kind: bytes, octets: bytes) -> RSAPublicKey | Ed25519PublicKey:
    if kind == b"ed25519":
        return Ed25519PublicKey.from_public_bytes(octets)
    # Most are SubjectPublicKeyInfo; RFC 6376 says RSAPublicKey, and OpenSSL takes either.
    public = load_der_public_key(octets)
    if kind != b"rsa" or not isinstance(public, RSAPublicKey):
        raise ValueError("another kind of key")
    return public
