"""Passwords, hashed by Argon2id (RFC 9106) in a thread: that takes tens of milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import argon2
from twisted.internet.defer import Deferred, DeferredSemaphore

LEAST = 12
"""Characters of a new password."""
MOST = 1_000
"""Characters, beyond which it is no password."""
_AT_ONCE = 2
"""Hashes at once: each takes 64 MB while it lasts."""

InThread = Callable[..., "Deferred[Any]"]
"""Calls a function with arguments in a thread."""


class Passwords:
    """Hashes and compares."""

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread
        self._turn = DeferredSemaphore(_AT_ONCE)
        self._hasher = argon2.PasswordHasher()
        self._nobodys = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """What is stored of a password."""
        return str(await self._turn.run(self._in_thread, self._hasher.hash, password))

    async def fits(self, stored: str | None, password: str) -> bool:
        """Whether it is the password; it takes as long when there is none."""
        fits = await self._turn.run(
            self._in_thread, self._verify, stored or self._nobodys, password[:MOST]
        )
        return bool(fits) and stored is not None

    def is_old(self, stored: str) -> bool:
        """Whether it should be hashed anew, as it is done today."""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


def too_weak(password: str, email: str) -> bool:
    """Whether a new password is too short, or what everybody knows (NIST SP 800-63B)."""
    known = email.lower().partition("@")
    bare = password.lower()
    return (
        not LEAST <= len(password) <= MOST
        or len(set(bare)) < 5
        or bare in (email.lower(), known[0], known[2])
    )
