"""The second factor: codes that change with time (RFC 6238), and codes for a lost phone."""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime

import pyotp

PERIOD = 30
"""Seconds that a code holds."""
_DRIFT = 1
"""Periods that a phone's clock may be off, either way."""
RECOVERY_CODES = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""What cannot be misread."""


def new_secret() -> str:
    """A secret in base32, as a person can type it into a phone."""
    return pyotp.random_base32()


def provisioning_uri(secret: str, email: str) -> str:
    """What the QR code says (Key Uri Format of Google Authenticator's wiki)."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name="Mail6M")


def step_of(secret: str, code: str, now: datetime) -> int | None:
    """The step of time that a code is of, if it is a right one now."""
    digits = "".join(code.split())
    if len(digits) != 6 or not digits.isascii() or not digits.isdecimal():
        return None
    totp = pyotp.TOTP(secret, interval=PERIOD)
    current = int(now.timestamp()) // PERIOD
    for step in range(current - _DRIFT, current + _DRIFT + 1):
        if secrets.compare_digest(totp.at(step * PERIOD), digits):
            return step
    return None


def new_recovery_codes() -> list[str]:
    """Codes that are good once each: ``abcde-fghjk``, 49 bits of chance."""
    return ["-".join(_part() for _ in range(2)) for _ in range(RECOVERY_CODES)]


def _part() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(5))


def recovery_hash(key: bytes, code: str) -> bytes:
    """What is stored of a recovery code, however it is typed.

    It takes a key, since 49 bits are soon tried out by whoever has the table alone.
    """
    bare = "".join(code.lower().split()).replace("-", "")
    return hmac.digest(key, bare.encode("utf-8", "replace"), "sha256")
