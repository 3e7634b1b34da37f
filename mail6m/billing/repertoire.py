"""Texts that people have typed, made fit for a document: one line, and letters that can be set."""

from __future__ import annotations

import re
import unicodedata

MISSING = "□"
"""Stands for a letter that no font of ours has. The XML in the document has the letter itself."""
RANGES = (
    (0x0020, 0x007E),
    (0x00A0, 0x00AC),
    (0x00AE, 0x0241),  # Latin with all its accents
    (0x0386, 0x0386),
    (0x0388, 0x038A),
    (0x038C, 0x038C),
    (0x038E, 0x03A1),
    (0x03A3, 0x03CE),  # Greek
    (0x0400, 0x045F),  # Cyrillic
    (0x0490, 0x04C4),
    (0x05D0, 0x05EA),  # Hebrew
    (0x0621, 0x063A),
    (0x0641, 0x064A),  # Arabic
    (0x0660, 0x066D),
    (0x1E00, 0x1E9B),
    (0x1EA0, 0x1EF9),  # Vietnamese
    (0x2010, 0x2027),
    (0x2030, 0x2037),
    (0x2039, 0x203F),
    (0x20A0, 0x20B5),  # currencies
    (0x2116, 0x2117),
    (0x2122, 0x2122),
    (0x2190, 0x2195),
    (0x2212, 0x2212),
    (0x25A0, 0x25FF),
    (0x2605, 0x2606),
)
"""What the fonts of `typesetting` have, bold too; PDF/A takes no letter that they have not."""

_SPACES = re.compile(r"[^\S\u00a0]+")
_KNOWN = frozenset(point for first, last in RANGES for point in range(first, last + 1))


def one_line(text: str) -> str:
    """Without line breaks, control characters and whatever else XML has no place for."""
    spaced = _SPACES.sub(" ", text)
    kept = (letter for letter in spaced if unicodedata.category(letter) not in ("Cc", "Cs", "Cn"))
    return "".join(kept).strip()


def settable(text: str) -> str:
    """One line of what can be set: accents that make no letter of their own are left out."""
    return "".join(map(_set, unicodedata.normalize("NFC", one_line(text)))).strip()


def _set(letter: str) -> str:
    if ord(letter) in _KNOWN:
        return letter
    return "" if unicodedata.category(letter)[0] in "MC" else MISSING
