"""Numbers that carry their own check: a slip of a pen is seen where it is typed."""

from __future__ import annotations

import re

_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[0-9A-Z]{11,30}")
_UNION = "AT|BE|BG|CY|CZ|DE|DK|EE|EL|ES|FI|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK|XI"
_VAT_OF_OTHERS = re.compile(rf"({_UNION})[0-9A-Z+*]{{2,12}}")
_BIC = re.compile(r"[A-Z]{6}[0-9A-Z]{2}([0-9A-Z]{3})?")


def bare(text: str) -> str:
    """A number without the spaces, dots and hyphens that people write into it."""
    return re.sub(r"[\s.\-]", "", text).upper()


def is_siret(text: str) -> bool:
    """14 digits whose last one is right (ISO/IEC 7812-1, annex B: Luhn), as are the first nine's.

    Of La Poste (SIREN 356 000 000) only the sum of the digits need be a multiple of five.
    """
    if not re.fullmatch(r"[0-9]{14}", text) or not _luhn(text[:9]):
        return False
    return _luhn(text) or (text.startswith("356000000") and sum(map(int, text)) % 5 == 0)


def is_vat_number(text: str) -> bool:
    """A French one: ``FR``, a key of two digits, and the SIREN that the key is made of."""
    if not re.fullmatch(r"FR[0-9]{11}", text):
        return False
    siren = text[4:]
    return _luhn(siren) and int(text[2:4]) == (12 + 3 * (int(siren) % 97)) % 97


def is_european_vat_number(text: str) -> bool:
    """One of a member state (directive 2006/112/EC, article 215); a French one has to be right."""
    return is_vat_number(text) or _VAT_OF_OTHERS.fullmatch(text) is not None


def is_iban(text: str) -> bool:
    """ISO 13616: its check digits are right (ISO 7064, MOD 97-10); 27 signs if it is French."""
    if not _IBAN.fullmatch(text) or (text.startswith("FR") and len(text) != 27):
        return False
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def is_bic(text: str) -> bool:
    """ISO 9362: eight signs or eleven."""
    return _BIC.fullmatch(text) is not None


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
