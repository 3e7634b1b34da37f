"""What can go wrong with storage, in the words of those who use it."""

from __future__ import annotations


class StorageError(Exception):
    """The database refused what was asked; the text says what to do."""

    transient = False


class Unavailable(StorageError):
    """The database is away, or too slow: to be tried again. What was asked may have happened."""

    transient = True


class Refused(StorageError):
    """What was asked cannot be: not found, taken already, or out of range."""
