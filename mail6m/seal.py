"""Content <-> stored bytes: brotli, then AES-256-GCM under a key of the message's own.

A customer's key is random, and stored wrapped under the master key, which never enters the
database. A message's key is HMAC-SHA256 of the customer's key and the message's id, so that no
key ever seals two contents, and the nonce need only be the number of the part. The last part
carries a mark in its nonce, so that a body that was cut short does not open (the STREAM
construction: Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption", 2015).
Destroying a customer's key destroys all of that customer's mail.
"""

from __future__ import annotations

import hmac
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

import brotli
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PART = 8_064
"""Compressed octets in a part: with the tag and the row's own needs it fills a PostgreSQL page."""
TAG = 16
PIECE = 1 << 18
"""Octets that are compressed at a time."""
_WINDOW = 18  # brotli's lgwin: what a large message may take in memory while it is compressed
_DENSE = 0.65
_SAMPLE = 65_536


class SealError(Exception):
    """A stored message cannot be opened: wrong key, or not the bytes that were sealed."""


def master_key(path: Path) -> bytes:
    """The master key at ``path``, made there if there is none; readable by its owner only."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return _make_key(path)
    if len(key) != 32:
        raise SealError(f"{path} does not hold a key of 32 bytes: restore it from a backup")
    return key


def _make_key(path: Path) -> bytes:
    key = os.urandom(32)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    fresh = Path(name)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)  # fails where another process was first: there is one key, for ever
    except FileExistsError:
        key = path.read_bytes()
    finally:
        fresh.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    return key


class Keyring:
    """The master key at work: makes, wraps and unwraps customers' keys."""

    def __init__(self, master: bytes) -> None:
        self._octets = master
        self._master = AESGCM(master)

    def new_wrapped_key(self, customer: int) -> bytes:
        """A random key for a customer, fit to be stored."""
        nonce = os.urandom(12)
        return nonce + self._master.encrypt(nonce, os.urandom(32), _owner(customer))

    def unwrap(self, customer: int, wrapped: bytes) -> bytes:
        """The customer's key. Raises `SealError` if it was wrapped with another master key."""
        try:
            return self._master.decrypt(wrapped[:12], wrapped[12:], _owner(customer))
        except (InvalidTag, ValueError) as error:
            raise SealError(
                f"the key of customer {customer} was not wrapped with this master key:"
                " --data is not the directory that this database belongs to"
            ) from error

    def secret(self, purpose: str) -> bytes:
        """A key of 32 bytes for a purpose, the same for every process that has the master key."""
        return hmac.digest(self._octets, b"mail6m " + purpose.encode(), "sha256")

    def wrap(self, owner: str, secret: bytes) -> bytes:
        """A short secret of somebody's, fit to be stored."""
        nonce = os.urandom(12)
        return nonce + self._master.encrypt(nonce, secret, b"mail6m " + owner.encode())

    def unwrap_for(self, owner: str, wrapped: bytes) -> bytes:
        """What `wrap` wrapped for the same owner. Raises `SealError`."""
        try:
            return self._master.decrypt(wrapped[:12], wrapped[12:], b"mail6m " + owner.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError(f"a secret of {owner} was not wrapped with this master key") from error


def _owner(customer: int) -> bytes:
    return b"mail6m customer %d" % customer


class Key:
    """A customer's key at work: makes the keys of messages.

    HMAC is keyed once, and copied for each message (RFC 2104, 4): OpenSSL takes longer to find it
    and key it than to use it.
    """

    __slots__ = ("_hmac",)

    def __init__(self, octets: bytes) -> None:
        self._hmac = hmac.new(octets, digestmod="sha256")

    def cipher(self, message: UUID) -> AESGCM:
        """What a message's parts are sealed with."""
        keyed = self._hmac.copy()
        keyed.update(b"mail6m message" + message.bytes)
        return AESGCM(keyed.digest())


def compress(content: bytes, quality: int) -> bytes:
    """A small content as it is to be sealed, for one customer or for several."""
    compressed: bytes = brotli.compress(content, quality=quality)
    return compressed


def seal(key: Key, message: UUID, compressed: bytes) -> list[bytes]:
    """The sealed parts of a small content that has been compressed."""
    if len(compressed) > PART:
        return list(_sealed(key, message, [compressed]))
    return [key.cipher(message).encrypt(_ONLY, compressed, None)]


def seal_pieces(key: Key, message: UUID, pieces: Iterable[bytes], quality: int) -> Iterator[bytes]:
    """The sealed parts of a content of any size, in bounded memory."""
    return _sealed(key, message, _compressed(pieces, quality))


def fitting_quality(sample: bytes, quality: int) -> int:
    """The quality that is worth its time: base64 gives up a quarter to any of them."""
    sample = sample[:_SAMPLE]
    dense = len(brotli.compress(sample, quality=1)) > _DENSE * len(sample)
    return min(quality, 1) if dense else quality


def _compressed(pieces: Iterable[bytes], quality: int) -> Iterator[bytes]:
    compressor = brotli.Compressor(quality=quality, lgwin=_WINDOW)
    for piece in pieces:
        yield compressor.process(piece)
    yield compressor.finish()


def _sealed(key: Key, message: UUID, compressed: Iterable[bytes]) -> Iterator[bytes]:
    cipher = key.cipher(message)
    held, number = b"", 0
    for piece in compressed:
        held += piece
        start = 0
        while len(held) - start > PART:
            yield cipher.encrypt(_nonce(number, False), held[start : start + PART], None)
            start += PART
            number += 1
        held = held[start:]
    yield cipher.encrypt(_nonce(number, True), held, None)


def _nonce(number: int, last: bool) -> bytes:
    return struct.pack(">7xBI", last, number)


_ONLY = _nonce(0, True)


class Opening:
    """Sealed parts, in order -> content, in bounded memory."""

    def __init__(self, key: Key, message: UUID) -> None:
        self._cipher = key.cipher(message)
        self._message = message
        self._decompressor = brotli.Decompressor()
        self._number = 0
        self.complete = False
        """The last part has been opened."""

    def feed(self, part: bytes) -> Iterator[bytes]:
        """The content of the next part, in pieces of bounded size. Raises `SealError`."""
        compressed = self._open(part)
        self._number += 1
        try:
            output = self._decompressor.process(compressed, output_buffer_limit=PIECE)
            while output or not self._decompressor.can_accept_more_data():
                yield output
                output = self._decompressor.process(b"", output_buffer_limit=PIECE)
            if self.complete and not self._decompressor.is_finished():
                raise SealError(f"message {self._message} ends too early")
        except brotli.error as error:
            raise SealError(f"message {self._message} is not as it was stored") from error

    def _open(self, part: bytes) -> bytes:
        for last in (len(part) < PART + TAG, True):
            try:
                compressed = self._cipher.decrypt(_nonce(self._number, last), part, None)
            except InvalidTag:
                continue
            self.complete = last
            return compressed
        raise SealError(f"part {self._number} of message {self._message} does not open")


def open_all(key: Key, message: UUID, parts: Iterable[bytes]) -> bytes:
    """The whole content of a small message. Raises `SealError`."""
    opening = Opening(key, message)
    content = b"".join(piece for part in parts for piece in opening.feed(part))
    if not opening.complete:
        raise SealError(f"parts of message {message} are missing")
    return content
