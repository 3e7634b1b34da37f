"""Addresses on a sheet of labels: A4, three by eight, 70 mm by 37 mm (as Avery's 3474), as a PDF.

In Helvetica, which every reader has (ISO 32000-1, 9.6.2.2), and with the letters of its Windows
encoding; what it has no letter for is a question mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mail6m.billing.invoice import Party

PER_SHEET = 24
"""Three columns of eight."""
_COLUMNS = 3
_POINT = 72 / 25.4
"""In a millimetre."""
_WIDTH, _HEIGHT = 70 * _POINT, 37 * _POINT
_PAGE = 210 * _POINT, 297 * _POINT
_MARGIN, _SIZE, _LEADING = 6 * _POINT, 10.0, 12.0
_SMALL = 6.0
"""Of who sends it, above, and of the serial number."""


@dataclass(frozen=True, slots=True)
class Label:
    """What stands on one."""

    to: Party
    sender: Party
    serial: str
    """Of the disc in the envelope."""


def labels(wanted: Sequence[Label], start: int = 1) -> bytes:
    """The sheets as PDF.

    ``start``: the first place that is free on the first sheet, from 1 to `PER_SHEET`, row by row.
    Raises `ValueError` for another one, and if there is nothing to print.
    """
    if not 1 <= start <= PER_SHEET:
        raise ValueError(f"a sheet has places from 1 to {PER_SHEET}")
    if not wanted:
        raise ValueError("there is no label to print")
    sheets = [b""] * -(-(start - 1 + len(wanted)) // PER_SHEET)
    for place, label in enumerate(wanted, start - 1):
        sheets[place // PER_SHEET] += _label(place % PER_SHEET, label)
    return _document(sheets)


def _label(place: int, label: Label) -> bytes:
    row, column = divmod(place, _COLUMNS)
    left, top = column * _WIDTH, _PAGE[1] - row * _HEIGHT
    to, sender = label.to, label.sender
    lines = [to.name, to.contact, *to.street.splitlines(), f"{to.postcode} {to.city}"]
    if to.country and to.country != sender.country:
        lines.append(to.country.upper())
    shown = [line for line in map(str.strip, lines) if line][:7]
    back = ", ".join(
        line for line in (sender.name, sender.street, f"{sender.postcode} {sender.city}".strip())
        if line
    )  # fmt: skip
    at, inside = left + _MARGIN, top - _HEIGHT / 2 + _LEADING * len(shown) / 2 - _SIZE
    clip = f"q {left:.2f} {top - _HEIGHT:.2f} {_WIDTH:.2f} {_HEIGHT:.2f} re W n\n".encode()
    return (
        clip
        + _text(at, top - _MARGIN * 0.6, _SMALL, [back])
        + _text(at, inside, _SIZE, shown)
        + _text(at, top - _HEIGHT + _MARGIN * 0.4, _SMALL, [f"DVD {label.serial}"])
        + b"Q\n"
    )


def _text(left: float, top: float, size: float, lines: Sequence[str]) -> bytes:
    place = f"BT /F1 {size:g} Tf {_LEADING:g} TL {left:.2f} {top:.2f} Td\n".encode()
    return place + b"".join(b"(%s) Tj T*\n" % _escaped(line) for line in lines) + b"ET\n"


def _escaped(line: str) -> bytes:
    octets = line.encode("cp1252", "replace")
    for special in (b"\\", b"(", b")"):
        octets = octets.replace(special, b"\\" + special)
    return octets


def _document(sheets: Sequence[bytes]) -> bytes:
    """The objects of a PDF, and where each begins."""
    pages = [4 + 2 * number for number in range(len(sheets))]
    kids = " ".join(f"{page} 0 R" for page in pages)
    box = f"[0 0 {_PAGE[0]:.2f} {_PAGE[1]:.2f}]"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}/MediaBox{box}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    for page, sheet in zip(pages, sheets, strict=True):
        resources = "/Resources<</Font<</F1 3 0 R>>>>"
        objects += [
            f"<</Type/Page/Parent 2 0 R{resources}/Contents {page + 1} 0 R>>".encode(),
            b"<</Length %d>>\nstream\n%s\nendstream" % (len(sheet), sheet),
        ]
    return _written(objects)


def _written(objects: Sequence[bytes]) -> bytes:
    written, begins = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, one in enumerate(objects, 1):
        begins.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % begin for begin in begins)
    size = len(objects) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
    tail = b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, len(written))
    return written + head + tail
