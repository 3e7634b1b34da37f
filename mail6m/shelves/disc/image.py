"""The image of a disc, as pycdlib makes it: ISO 9660 with Joliet and Rock Ridge.

Windows and macOS read the names of Joliet, Linux those of Rock Ridge; they are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pycdlib
from pycdlib.dates import DirectoryRecordDate

from mail6m.shelves.disc.contents import Contents
from mail6m.shelves.disc.layout import SECTOR, sectors
from mail6m.shelves.disc.output import Output

BLOCK = 1 << 20
"""Bytes that are read and written at a time."""
MARGIN = 16
"""Sectors that adding a file may take beside its content: directories that grow, or are new."""
_NONE: Any = ()


class Image:
    """An image that grows file by file; its size is known at every moment, to the sector.

    pycdlib has some objects for each file until it writes. What they have in common is shared here,
    and lists that stay empty are not kept.
    """

    def __init__(self, serial: str, when: datetime) -> None:
        self._iso: Any = pycdlib.PyCdlib()
        self._iso.new(
            interchange_level=3,
            vol_ident=serial,
            app_ident_str="MAIL6M",
            joliet=3,
            rock_ridge="1.09",
        )
        self._when = when
        self._folders: set[str] = {""}
        self._contents = Contents()
        self._length = 0
        self._number = 0
        self._permissions: Any = None
        self._folder = ""
        self._in_folder: list[Any] = []

    @property
    def size(self) -> int:
        """Bytes, when it is written."""
        return int(self._iso.pvd.space_size) * SECTOR

    def size_with(self, length: int) -> int:
        """About how large it is at the most with one more file."""
        return self.size + (sectors(length) + MARGIN) * SECTOR

    def add_message(self, path: str, length: int, arrived: datetime) -> None:
        """Add a message, whose content is there only when the image is written."""
        self._add(path, arrived, lambda names: self._iso.add_fp(self._contents, length, **names))
        self._iso.inodes[-1].fp_offset = self._length  # pycdlib takes it for a file of its own
        self._length += length

    def add_file(self, path: str, file: Path) -> None:
        """Add a file that must be there, as it is, until the image has been written."""
        self._add(path, self._when, lambda names: self._iso.add_file(str(file), **names))

    def write(self, to: Path, pieces: Iterator[bytes], progress: Callable[[int], None]) -> None:
        """Write it, with the contents of the messages, and see that it is on the disk.

        ``progress`` is told how many bytes there are. Raises `OSError` when there is no room, which
        is known before anything is written, and `DiscError` when there is not enough in ``pieces``.
        """
        self._contents.begin(pieces)
        with to.open("wb") as file:
            output = Output(file.fileno(), self.size)
            self._iso.write_fp(output, blocksize=BLOCK, progress_cb=lambda done, _: progress(done))
            output.finish()
        self._iso.close()

    def _add(self, path: str, when: datetime, add: Callable[[dict[str, str]], None]) -> None:
        folder, _, name = path.rpartition("/")
        if folder != self._folder:
            self._leave(folder)
        self._make(folder)
        ending = name.rpartition(".")[2].upper()
        plain = f"{self._number:08d}.{ending}"
        self._number += 1
        slash = f"/{folder}" if folder else ""
        add(
            {
                "iso_path": f"{slash.upper()}/{plain};1",
                "rr_name": name,
                "joliet_path": f"{slash}/{name}",
            }
        )
        self._share(_date(when))

    def _leave(self, folder: str) -> None:
        """Go on to another folder: nobody needs to be put in order any more in the last one."""
        for record in self._in_folder:
            record._sort_key = b""
        self._folder, self._in_folder = folder, []

    def _make(self, folder: str) -> None:
        """Make a folder, and those that it is in, if they are not there."""
        if folder in self._folders:
            return
        above, _, name = folder.rpartition("/")
        self._make(above)
        path = f"/{folder}"
        self._iso.add_directory(path.upper(), rr_name=name, joliet_path=path)
        self._folders.add(folder)

    def _share(self, date: Any) -> None:
        """Of the records of the file that was added last, keep what others have not, too."""
        inode = self._iso.inodes[-1]
        inode.linked_records = tuple(inode.linked_records)
        for record, _ in inode.linked_records:
            self._in_folder.append(record)
            record.date = date
            record.children = record.rr_children = record._subdir_children = _NONE
            if record.rock_ridge is not None:
                record.rock_ridge.ce_areas = record.rock_ridge.ce_areas or _NONE
                for entries in (record.rock_ridge.dr_entries, record.rock_ridge.ce_entries):
                    if entries is not None:
                        self._share_entries(entries, date)

    def _share_entries(self, entries: Any, date: Any) -> None:
        for name in ("es_records", "sl_records", "pd_records", "al_records", "nm_records"):
            if not getattr(entries, name):
                setattr(entries, name, _NONE)
        if entries.tf_record is not None:
            times = entries.tf_record
            times.access_time = times.modification_time = times.attribute_change_time = date
        if entries.px_record is not None:
            self._permissions = self._permissions or entries.px_record
            entries.px_record = self._permissions


def _date(when: datetime) -> Any:
    date: Any = DirectoryRecordDate()
    date.new(when.timestamp())
    return date
