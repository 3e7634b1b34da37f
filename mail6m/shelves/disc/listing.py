"""What a disc says of its messages: the index that a browser opens, a CSV, and the manifest."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import NamedTuple

from mail6m.model import Message
from mail6m.shelves.disc.layout import SECTOR, sectors
from mail6m.shelves.disc.readback import MANIFEST

CHUNK = 5_000
"""Messages in one file of the index's data."""
TABLE = "messages.csv"
_PAGES = resources.files("mail6m.shelves.disc").joinpath("pages")
_FIXED = ("index.css", "index.js")
_WRITTEN = ("index.html", "LISEZMOI.txt", "README.txt")
"""Pages that say what is on this disc."""
_COLUMNS = (
    "file", "received_at", "sender", "recipients", "from", "to", "subject", "message_id", "bytes",
    "sha256", "spam",
)  # fmt: skip
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_FORMULA = re.compile(r"((?:^|[;,\t\r\n])\s*)(?=[=+\-@])")
"""Where a cell may begin, whatever separates them for the one who opens the table."""
_SCRIPT = 64
"""Bytes of the index for each file of its data."""
_FOLDERS = 8
"""Sectors that its folder may take, and what it is named in."""
_LINE = 200
"""Bytes at the most that a file of the listing takes in the manifest."""


@dataclass(frozen=True, slots=True)
class Label:
    """What is written on a disc."""

    serial: str
    company: str
    written: datetime
    """In the time zone of who reads it."""


class Listed(NamedTuple):
    """A message, its path on the disc, and when it arrived, where the customer is."""

    message: Message
    path: str
    arrived: datetime


class Listing:
    """Grows with the messages, in a folder of its own; in memory it has the last chunk only."""

    def __init__(self, folder: Path, label: Label) -> None:
        self._folder = folder
        self._label = label
        self._manifest = _Growing(folder / MANIFEST)
        self._table = _Growing(folder / TABLE)
        self._table.write("\ufeff")  # or some spreadsheets take it for another encoding
        self._rows = csv.writer(self._table)
        self._rows.writerow(_COLUMNS)
        self._chunk: list[str] = []
        self._pending = 0
        self._chunks: list[str] = []
        self._data_sectors = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self.messages = 0

    def add(self, listed: Listed) -> None:
        """List a message."""
        message, path, arrived = listed
        self._manifest.write(f"{message.sha256.hex()}  {path}\n")
        self._rows.writerow(_row(listed))
        entry = _entry(listed)
        self._chunk.append(entry)
        self._pending += len(entry.encode()) + 2
        if len(self._chunk) == CHUNK:
            self._write_chunk()
        self._first = self._first or arrived
        self._last = arrived
        self.messages += 1

    @property
    def size(self) -> int:
        """Bytes that it will take on the disc, at the most."""
        files = len(self._chunks) + len(_FIXED) + len(_WRITTEN) + 4
        manifest = self._manifest.size + files * _LINE
        grown = sum(map(sectors, (manifest, self._table.size, self._pending + SECTOR)))
        scripts = sectors(len(self._chunks) * _SCRIPT + _SCRIPT)
        return (self._data_sectors + grown + _pages() + scripts + files + _FOLDERS) * SECTOR

    def finish(self) -> Iterator[tuple[str, Path]]:
        """Its files, with their paths on the disc; the manifest, which names them all, is last."""
        if self._chunk:
            self._write_chunk()
        self._table.close()
        for name in _FIXED:
            (self._folder / name).write_bytes(_PAGES.joinpath(name).read_bytes())
        for name in _WRITTEN:
            (self._folder / name).write_text(self._filled(name), "utf-8")
        files = {f"index/{name}": self._folder / name for name in (*_FIXED, *self._chunks)}
        files |= {name: self._folder / name for name in (*_WRITTEN, TABLE)}
        for path, file in files.items():
            self._manifest.write(f"{_sha256(file)}  {path}\n")
        self._manifest.close()
        yield from files.items()
        yield MANIFEST, self._folder / MANIFEST

    def _write_chunk(self) -> None:
        name = f"messages-{len(self._chunks) + 1:04d}.js"
        octets = ("mail6m.push([\n" + ",\n".join(self._chunk) + "\n]);\n").encode()
        (self._folder / name).write_bytes(octets)
        self._data_sectors += sectors(len(octets))
        self._chunks.append(name)
        self._chunk, self._pending = [], 0

    def _filled(self, name: str) -> str:
        """A page with what it says of this disc."""
        assert self._first is not None
        assert self._last is not None
        values = {
            "serial": self._label.serial,
            "company": self._label.company,
            "written": f"{self._label.written:%Y-%m-%d}",
            "messages": str(self.messages),
            "first": f"{self._first:%Y-%m-%d}",
            "last": f"{self._last:%Y-%m-%d}",
        }
        if name.endswith(".html"):
            values = {key: escape(value) for key, value in values.items()}
            values["scripts"] = "\n".join(
                f'<script src="index/{chunk}" defer></script>' for chunk in self._chunks
            )
        return Template(_PAGES.joinpath(name).read_text("utf-8")).substitute(values)


class _Growing:
    """A text file that knows its size."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.size = 0

    def write(self, text: str) -> None:
        """Add to it."""
        octets = text.encode()
        self._file.write(octets)
        self.size += len(octets)

    def close(self) -> None:
        """It is whole."""
        self._file.close()


@lru_cache(maxsize=1)
def _pages() -> int:
    """Sectors of the pages, at the most: what is filled in makes them longer."""
    sizes = (len(_PAGES.joinpath(name).read_bytes()) for name in (*_FIXED, *_WRITTEN))
    return sum(sectors(size) + 1 for size in sizes)


def _row(listed: Listed) -> list[str]:
    message, path, arrived = listed
    return [
        path,
        arrived.isoformat(timespec="seconds"),
        *map(
            _harmless,
            (
                message.sender,
                " ".join(message.recipients),
                message.header_from,
                message.header_to,
                message.subject,
                message.message_id,
            ),
        ),
        str(message.raw_size),
        message.sha256.hex(),
        "" if message.spam is None else str(int(message.spam)),
    ]


def _harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula, whoever wrote it."""
    return _FORMULA.sub(r"\1'", text)


def _entry(listed: Listed) -> str:
    """A message as the index has it: what is shown, what is searched, and the file's name."""
    message, path, arrived = listed
    envelope = "" if message.sender in message.header_from else message.sender
    recipients = ", ".join(message.recipients)
    return _JSON(
        [
            f"{arrived:%Y-%m-%d %H:%M:%S}",
            message.header_from or message.sender,
            envelope if message.header_from else "",
            recipients,
            "" if message.header_to in recipients else message.header_to,
            message.subject,
            message.raw_size,
            path.rpartition("/")[2],
            int(bool(message.spam)),
        ]
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
