"""A zip file of messages, as they are: stored, not compressed, so that all its places are known.

PKWARE's APPNOTE.TXT 6.3.10, with its Zip64 extensions where a number has no room (4.3.14, 4.5.3).
Names are UTF-8 (appendix D). Python's ``zipfile`` can neither begin in the middle nor forget what
it has written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_UTF8, _STORED, _UNIX, _FILE = 1 << 11, 0, 3 << 8, 0o100644 << 16
_NEEDED, _NEEDED64 = 20, 45
"""Versions that a reader must be of (4.4.3)."""
_MOST16, _MOST32 = 0xFFFF, 0xFFFFFFFF
_EXTRA64 = 1


class Member(NamedTuple):
    """A file of the archive."""

    name: str
    clock: int
    day: int
    """When it came in, as `moment` has it."""
    size: int
    crc: int


def moment(at: datetime) -> tuple[int, int]:
    """Time and day as MS-DOS has them (4.4.6): from 1980 on, every two seconds, in no time zone."""
    day = (max(at.year, 1980) - 1980) << 9 | at.month << 5 | at.day
    return at.hour << 11 | at.minute << 5 | at.second // 2, day


def local(member: Member) -> bytes:
    """What stands before a member's content (4.3.7)."""
    name = member.name.encode()
    large = member.size >= _MOST32
    extra = struct.pack("<HHQQ", _EXTRA64, 16, member.size, member.size) if large else b""
    size = _MOST32 if large else member.size
    return (
        _LOCAL.pack(
            b"PK\3\4", _NEEDED64 if large else _NEEDED, _UTF8, _STORED, member.clock, member.day,
            member.crc, size, size, len(name), len(extra),
        ) + name + extra
    )  # fmt: skip


def central(member: Member, offset: int) -> bytes:
    """What the directory says of a member that begins at ``offset`` (4.3.12)."""
    name = member.name.encode()
    large, far = member.size >= _MOST32, offset >= _MOST32
    wide = [member.size, member.size] * large + [offset] * far
    extra = struct.pack(f"<HH{len(wide)}Q", _EXTRA64, 8 * len(wide), *wide) if wide else b""
    size = _MOST32 if large else member.size
    version = _NEEDED64 if wide else _NEEDED
    return (
        _CENTRAL.pack(
            b"PK\1\2", _UNIX | version, version, _UTF8, _STORED, member.clock, member.day,
            member.crc, size, size, len(name), len(extra), 0, 0, 0, _FILE,
            _MOST32 if far else offset,
        ) + name + extra
    )  # fmt: skip


def members(directory: bytes) -> Iterator[Member]:
    """What `central` has told of: all that `local` needs."""
    at = 0
    while at < len(directory):
        (_, _, _, _, _, clock, day, crc, _, size, named, extra, *_) = _CENTRAL.unpack_from(
            directory, at
        )
        at += _CENTRAL.size
        name = directory[at : at + named].decode()
        at += named
        if size == _MOST32:
            (size,) = struct.unpack_from("<Q", directory, at + 4)
        at += extra
        yield Member(name, clock, day, size, crc)


def end(count: int, size: int, offset: int) -> bytes:
    """The end of the archive: its directory has ``count`` members, and stands at ``offset``."""
    wide = b""
    if count >= _MOST16 or size >= _MOST32 or offset >= _MOST32:
        wide = _END64.pack(
            b"PK\6\6", _END64.size - 12, _UNIX | _NEEDED64, _NEEDED64, 0, 0, count, count, size,
            offset,
        ) + _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)  # fmt: skip
    few, small, near = min(count, _MOST16), min(size, _MOST32), min(offset, _MOST32)
    return wide + _END.pack(b"PK\5\6", 0, 0, few, few, small, near, 0)
