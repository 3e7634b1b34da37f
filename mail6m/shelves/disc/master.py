"""Makes the image of a disc, from the plan to a file that has been read back.

Nothing counts before the end: until the last rename there is a file that says it is a part, and
whoever begins again throws it away.
"""

from __future__ import annotations

import gc
import os
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, overload
from uuid import UUID
from zoneinfo import ZoneInfo

from mail6m.header import address_in
from mail6m.model import Message
from mail6m.shelves.disc.image import Image
from mail6m.shelves.disc.layout import DiscError
from mail6m.shelves.disc.listing import Label, Listed, Listing
from mail6m.shelves.disc.names import FileNames
from mail6m.shelves.disc.readback import check

MOST = 250_000
"""Messages on a disc: each takes two kilobytes of memory until the image is written."""
Progress = Callable[[float], None]
"""How much is done, from 0 to 1: half of it is writing, the other half reading back."""


class Wanted(NamedTuple):
    """A message whose content is wanted, and its size."""

    id: UUID
    size: int


class Wants(Sequence[Wanted]):
    """Messages that are wanted, in order of arrival, in 24 bytes each."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._sizes = array("Q")

    def append(self, message: Wanted) -> None:
        """One more."""
        self._ids += message.id.bytes
        self._sizes.append(message.size)

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, at: int) -> Wanted: ...
    @overload
    def __getitem__(self, at: slice) -> list[Wanted]: ...
    def __getitem__(self, at: int | slice) -> Wanted | list[Wanted]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        size = self._sizes[at]
        at %= len(self)
        return Wanted(UUID(bytes=bytes(self._ids[16 * at : 16 * at + 16])), size)


@dataclass(slots=True)
class Load:
    """What goes on a disc."""

    messages: Wants = field(default_factory=Wants)
    left_out: list[UUID] = field(default_factory=list)
    """Spam of the same period."""
    first: datetime | None = None
    last: datetime | None = None
    raw_bytes: int = 0
    stored_bytes: int = 0
    full: bool = False
    """There is no room for more."""

    def add(self, message: Message) -> None:
        """One more."""
        self.messages.append(Wanted(message.id, message.raw_size))
        self.first = self.first or message.received_at
        self.last = message.received_at
        self.raw_bytes += message.raw_size
        self.stored_bytes += message.stored_size


@dataclass(frozen=True, slots=True)
class Mastered:
    """An image that is there, and as it should be."""

    image: Path
    size: int
    load: Load
    manifest: str
    """SHA-256 of the manifest, in hex."""


class Mastering:
    """The making of one image."""

    def __init__(self, folder: Path, label: Label, capacity: int, zone: ZoneInfo) -> None:
        self._folder = folder
        self._label = label
        self._capacity = capacity
        self._zone = zone
        self._part = folder / f"{label.serial}.part"
        self._work = folder / f"{label.serial}.work"

    def make(
        self,
        messages: Iterable[Message],
        contents: Callable[[Sequence[Wanted]], Iterator[bytes]],
        progress: Progress,
        permission: Callable[[], None],
        *,
        archive_spam: bool,
    ) -> Mastered:
        """Take messages, the oldest first, while there is room; write them; read them back.

        ``contents`` gives what these messages are, one behind the other; ``permission`` is asked
        for before the image gets its name, and may raise what it likes. Raises `DiscError`, and
        `OSError` when there is no room on the disk; then nothing is left of it.
        """
        self._clear()
        self._work.mkdir(mode=0o700)
        try:
            load, size = self._write(messages, contents, progress, archive_spam)
            half = 2 * size
            checked = check(self._part, lambda done: progress(0.5 + done / half))
            permission()
            final = self._finish(size)
            progress(1.0)
            return Mastered(final, size, load, checked.manifest)
        finally:
            self._clear()

    def _clear(self) -> None:
        """Leave nothing of what was not finished, now or by a process that has died."""
        shutil.rmtree(self._work, ignore_errors=True)
        self._part.unlink(missing_ok=True)

    def _write(
        self,
        messages: Iterable[Message],
        contents: Callable[[Sequence[Wanted]], Iterator[bytes]],
        progress: Progress,
        archive_spam: bool,
    ) -> tuple[Load, int]:
        """What is on the image, and its size; what it took to plan it is forgotten."""
        image, load = self._plan(messages, archive_spam)
        size = image.size
        if size > self._capacity:
            raise DiscError(f"the image would have {size} bytes, more than {self._capacity}")
        half = 2 * size
        image.write(self._part, contents(load.messages), lambda done: progress(done / half))
        del image
        gc.collect()  # what a library has for each file knows what it is in, and so on in a ring
        return load, size

    def _plan(self, messages: Iterable[Message], archive_spam: bool) -> tuple[Image, Load]:
        image = Image(self._label.serial, self._label.written)
        listing, names, load = Listing(self._work, self._label), FileNames(), Load()
        for message in messages:
            if message.spam and not archive_spam:
                load.left_out.append(message.id)
                continue
            needed = image.size_with(message.raw_size) + listing.size
            if needed > self._capacity or len(load.messages) == MOST:
                load.full = True
                break
            arrived = message.received_at.astimezone(self._zone)
            sender = address_in(message.header_from) or message.sender
            path = names.path(arrived, sender, message.subject)
            image.add_message(path, message.raw_size, arrived)
            listing.add(Listed(message, path, arrived))
            load.add(message)
        if not load.messages:
            raise DiscError(
                "there is no message in the cellar that a disc has room for: --disc-capacity"
                f" {self._capacity} is too small, or all of it is spam or still to be relayed"
            )
        for path, file in listing.finish():
            image.add_file(path, file)
        return image, load

    def _finish(self, size: int) -> Path:
        """Give the image its name, when it is as large as it should be."""
        written = self._part.stat().st_size
        if written != size:
            raise DiscError(f"the image has {written} bytes, and should have {size}")
        final = self._folder / f"{self._label.serial}.iso"
        self._part.replace(final)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return final
