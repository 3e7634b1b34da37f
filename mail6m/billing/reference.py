"""The reference by which a transfer names its invoice (ISO 11649, "RF creditor reference")."""

from __future__ import annotations

import re

_FORM = re.compile(r"RF[0-9]{2}[0-9A-Z]{1,21}")


def reference_of(number: str) -> str:
    """Of an invoice: ``2026-0001`` is ``RF3120260001``; with check digits against slips."""
    body = re.sub(r"[^0-9A-Z]", "", number.upper())
    return f"RF{98 - _remainder(body + 'RF00'):02d}{body}"


def is_reference(text: str) -> bool:
    """Whether it has the form, and its check digits are right (ISO 7064, MOD 97-10)."""
    return _FORM.fullmatch(text) is not None and _remainder(text[4:] + text[:4]) == 1


def spaced(reference: str) -> str:
    """``RF31 2026 0001``: as people read it out to each other."""
    return " ".join(reference[start : start + 4] for start in range(0, len(reference), 4))


def _remainder(text: str) -> int:
    """By 97, each letter being two digits: A is 10, Z is 35."""
    return int("".join(str(int(sign, 36)) for sign in text)) % 97
