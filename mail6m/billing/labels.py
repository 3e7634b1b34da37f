"""Addresses on a sheet of labels: A4, three by eight, 70 mm by 37 mm (as Avery's 3474), as a PDF.

In Helvetica, which every reader has (ISO 32000-1, 9.6.2.2), and with the letters of its Windows
encoding; what it has no letter for is a question mark.
"""

from __future__ import annotations

from collections.abc import Sequence

COLUMNS, ROWS = 3, 8
_POINT = 72 / 25.4
"""In a millimetre."""
_WIDTH, _HEIGHT = 70 * _POINT, 37 * _POINT
_PAGE = 210 * _POINT, 297 * _POINT
_MARGIN, _SIZE, _LEADING = 6 * _POINT, 10.0, 12.0
_MOST = 7
"""Lines of one label."""


def labels(addresses: Sequence[str], start: int = 1) -> bytes:
    """A PDF with an address on each label; the first is on the ``start``-th of the sheet, from 1.

    An address is some lines of text; those beyond what a label has room for are left out.
    """
    on_a_sheet = COLUMNS * ROWS
    if not 1 <= start <= on_a_sheet:
        raise ValueError(f"there is no label {start} on a sheet")
    places = [(start - 1 + n, address) for n, address in enumerate(addresses)]
    sheets = range(max((place for place, _ in places), default=0) // on_a_sheet + 1)
    return _document(
        [
            b"".join(
                _label(place % on_a_sheet, address)
                for place, address in places
                if place // on_a_sheet == sheet
            )
            for sheet in sheets
        ]
    )


def _label(place: int, address: str) -> bytes:
    row, column = divmod(place, COLUMNS)
    lines = address.splitlines()[:_MOST]
    left = column * _WIDTH + _MARGIN
    middle = _PAGE[1] - (row + 0.5) * _HEIGHT
    top = middle + _LEADING * len(lines) / 2 - _SIZE
    shown = b"".join(b"(%s) Tj T*\n" % _escaped(line) for line in lines)
    place_it = f"BT /F1 {_SIZE:g} Tf {_LEADING:g} TL {left:.2f} {top:.2f} Td\n".encode()
    clip = f"q {column * _WIDTH:.2f} {middle - _HEIGHT / 2:.2f} {_WIDTH:.2f} {_HEIGHT:.2f} re W n\n"
    return clip.encode() + place_it + shown + b"ET Q\n"


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
