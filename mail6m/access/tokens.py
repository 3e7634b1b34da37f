"""Keys of the API: text that is told from any other, and what is kept of it."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib

PREFIX = "m6m_"
"""What all of them begin with, so that who looks for secrets in files finds them."""
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET, _CHECK = 43, 6
"""Digits of 256 random bits, and of a CRC-32 of what stands before it."""
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_SECRET + _CHECK}}}")


def new_api_token() -> str:
    """A key that nobody has had."""
    body = PREFIX + _digits(secrets.randbits(256), _SECRET)
    return body + _check(body)


def is_api_token(text: str) -> bool:
    """Whether it is written like one, without asking whose it is; a slip of the pen is not."""
    return bool(_FORM.fullmatch(text)) and hmac.compare_digest(
        text[-_CHECK:], _check(text[:-_CHECK])
    )


def api_token_hash(text: str) -> bytes:
    """What is kept of it."""
    return hashlib.sha256(text.encode()).digest()


def _check(body: str) -> str:
    return _digits(zlib.crc32(body.encode()), _CHECK)


def _digits(number: int, count: int) -> str:
    digits = ""
    for _ in range(count):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
