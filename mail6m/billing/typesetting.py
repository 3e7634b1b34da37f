"""Typst: data and a template become a PDF, with fonts of our own and in the clothes of an archive.

What customers have typed reaches a template as data (JSON), so that none of it can be markup.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typst import PDFStandard

TEMPLATES = Path(__file__).parent / "templates"
ARCHIVAL: tuple[PDFStandard, ...] = ("a-3a", "ua-1")
"""ISO 19005-3, conformance level A (B, with text that machines can read in order); ISO 14289-1."""
_PLAIN: tuple[PDFStandard, ...] = ("1.7",)
_METADATA = re.compile(rb"<</Length (\d+)/Type/Metadata/Subtype/XML>>\nstream\n")
_END = re.compile(rb"startxref\n(\d+)\n%%EOF\s*\Z")
_ENTRY = re.compile(rb"(\d{10})( \d{5} n)")


def typeset(template: str, data: Mapping[str, Any], made_at: datetime | None = None) -> bytes:
    """A PDF of ``template``; archival, and the same octets each time, if ``made_at`` is given.

    Blocks for some milliseconds. Raises `ValueError` if the template cannot be set with this data.
    """
    import typst  # 30 MB that a server without invoices need not hold

    compiler = typst.Compiler(
        str(TEMPLATES / template),
        root=str(TEMPLATES),
        font_paths=[str(TEMPLATES / "fonts")],
        ignore_system_fonts=True,
    )
    try:
        made = compiler.compile(
            format="pdf",
            sys_inputs={"data": json.dumps(data)},
            pdf_standards=list(ARCHIVAL if made_at else _PLAIN),
            timestamp=made_at or datetime(1970, 1, 1, tzinfo=UTC),
        )
    except typst.TypstError as error:
        raise ValueError(f"{template} cannot be set: {error}") from error
    if not isinstance(made, bytes):
        raise ValueError(f"{template} has made no single document")
    return made


def with_metadata(pdf: bytes, change: Callable[[str], str]) -> bytes:
    """A document of `typeset` with other metadata (an XMP packet, ISO 16684-1).

    Typst has no way to add to them. Its files are plain in this respect: the packet is a stream
    without a filter, and the table of objects is one table. So the packet is replaced in its place,
    and the table corrected. Raises `ValueError` if a file is not like that.
    """
    head, end = _METADATA.search(pdf), _END.search(pdf)
    if head is None or end is None:
        raise ValueError("this is no PDF as Typst writes it")
    table, until = int(end[1]), head.end() + int(head[1])
    packet = change(pdf[head.end() : until].decode()).encode()
    opening = pdf[head.start() : head.end()].replace(head[1], str(len(packet)).encode(), 1)
    grown = len(opening) + len(packet) - (until - head.start())

    def moved(entry: re.Match[bytes]) -> bytes:
        offset = int(entry[1])
        return b"%010d%b" % (offset + grown if offset > head.start() else offset, entry[2])

    return b"".join(
        (
            pdf[: head.start()],
            opening,
            packet,
            pdf[until:table],
            _ENTRY.sub(moved, pdf[table : end.start()]),
            b"startxref\n%d\n%%%%EOF" % (table + grown),
        )
    )
