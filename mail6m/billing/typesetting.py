"""Typst: data and a template become a PDF, with fonts of our own and in the clothes of an archive.

What customers have typed reaches a template as data (JSON), so that none of it can be markup. Typst
works in a process of its own, which ends with the document: it takes 40 to 110 MB and keeps them,
and whatever a text may do to it, mail goes on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
ARCHIVAL = ("a-3a", "ua-1")
"""ISO 19005-3, conformance level A (B, with text that machines can read in order); ISO 14289-1."""
PATIENCE = 60.0
"""Seconds for what takes a tenth of one."""
NICENESS = 10
_PLAIN = ("1.7",)
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_METADATA = re.compile(rb"<</Length (\d+)/Type/Metadata/Subtype/XML>>\nstream\n")
_END = re.compile(rb"startxref\n(\d+)\n%%EOF\s*\Z")
_ENTRY = re.compile(rb"(\d{10})( \d{5} n)")


def typeset(template: str, data: Mapping[str, Any], made_at: datetime | None = None) -> bytes:
    """A PDF of ``template``; archival, and the same octets each time, if ``made_at`` is given.

    Blocks for a tenth of a second. Raises `ValueError` if this data cannot be set.
    """
    order = {
        "template": template,
        "data": json.dumps(data),
        "standards": ARCHIVAL if made_at else _PLAIN,
        "timestamp": int((made_at or _NO_TIME).timestamp()),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=json.dumps(order).encode(),
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{template} has not been set within {PATIENCE:.0f} s") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"{template} cannot be set: {said}")
    return done.stdout


def main() -> None:
    """In the other process: an order on standard input, a PDF on standard output."""
    import typst  # not in the process that takes mail

    os.nice(NICENESS)
    order = json.load(sys.stdin)
    made = typst.compile(
        str(TEMPLATES / order["template"]),
        root=str(TEMPLATES),
        font_paths=[str(TEMPLATES / "fonts")],
        ignore_system_fonts=True,
        format="pdf",
        sys_inputs={"data": order["data"]},
        pdf_standards=order["standards"],
        timestamp=order["timestamp"],
    )
    if not isinstance(made, bytes):
        raise TypeError("it is no single document")
    sys.stdout.buffer.write(made)


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


if __name__ == "__main__":
    main()
