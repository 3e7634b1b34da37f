"""Money: integers of cents, and rates of VAT in hundredths of a percent. Never a float."""

from __future__ import annotations

WHOLE = 10_000
"""A rate of 100 %."""


def net_of(gross: int, rate: int) -> int:
    """What an amount that includes taxes is without them, rounded half away from zero."""
    return _rounded(gross * WHOLE, WHOLE + rate)


def vat_on(net: int, rate: int) -> int:
    """The tax on an amount that is without it, rounded half away from zero."""
    return _rounded(net * rate, WHOLE)


def share(amount: int, part: int, whole: int) -> int:
    """What of an amount falls to a part of a whole, rounded half away from zero."""
    return _rounded(amount * part, whole)


def plain(cents: int) -> str:
    """``120.00``, ``-0.05``: as files for machines have it."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def _rounded(numerator: int, denominator: int) -> int:
    sign = -1 if numerator < 0 else 1
    return sign * ((2 * abs(numerator) + denominator) // (2 * denominator))
