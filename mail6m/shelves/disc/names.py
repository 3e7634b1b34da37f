"""What discs and the files on them are called."""

from __future__ import annotations

import secrets
import unicodedata
from datetime import datetime

SERIAL = 6
_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Capitals and digits that cannot be taken for another: no 0 and O, no 1 and I."""
_LONGEST = 64
"""Octets of a name in UTF-8, so that Joliet's 64 characters are enough whatever they are."""
_ENDING = ".eml"
_SEPARATE = '<>:"/\\|?*;'
"""What ends a name or means something, on Windows, macOS or by Joliet (section 3.5)."""


def new_serial() -> str:
    """A serial number, as on the brochure: ``TCWGR3``."""
    return "".join(secrets.choice(_LETTERS) for _ in range(SERIAL))


def is_serial(text: str) -> bool:
    """Whether it can be one."""
    return len(text) == SERIAL and all(letter in _LETTERS for letter in text)


class FileNames:
    """Names for a disc's messages, which are given in order of arrival; each is there once.

    A name says time, sender and subject. It is the same on all systems, so it has nothing that one
    of them cannot have, and no two differ by case or accents alone.
    """

    def __init__(self) -> None:
        self._folder = ""
        self._taken: set[str] = set()

    def path(self, arrived: datetime, sender: str, subject: str) -> str:
        """``messages/2005/07/01/09h30m12 jacques@vermeulen.net Notes de frais.eml``.

        ``arrived`` is in the time zone of who reads it.
        """
        folder = f"messages/{arrived:%Y/%m/%d}"
        if folder != self._folder:
            self._folder, self._taken = folder, set()
        told = _plain(f"{arrived:%Hh%Mm%S} {sender} {subject}")
        name, number = _cut(told, _LONGEST - len(_ENDING)), 1
        while (known := _known_by(name)) in self._taken:
            number += 1
            mark = f" ({number})"
            name = _cut(told, _LONGEST - len(_ENDING) - len(mark)) + mark
        self._taken.add(known)
        return f"{folder}/{name}{_ENDING}"


_ASCII = dict.fromkeys([*range(32), 127], " ") | {ord(letter): "_" for letter in _SEPARATE}


def _plain(text: str) -> str:
    """Without what a name cannot have, and without what nobody sees."""
    if text.isascii():
        return " ".join(text.translate(_ASCII).split())
    kept = []
    for letter in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(letter)
        if letter in _SEPARATE or ord(letter) > 0xFFFF:
            kept.append("_")
        elif kind[0] == "Z" or kind == "Cc":
            kept.append(" ")
        elif kind[0] != "C":
            kept.append(letter)
    return " ".join("".join(kept).split())


def _cut(text: str, octets: int) -> str:
    """Its beginning; Windows has no name that ends in a space or a dot."""
    return text.encode()[:octets].decode("utf-8", "ignore").rstrip(" .")


def _known_by(name: str) -> str:
    """What is the same for some file system: Windows knows no case, macOS takes letters apart."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFKD", name).casefold()
