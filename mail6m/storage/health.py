"""How the servers are, by their own account, and what went wrong lately."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from mail6m.storage.pool import Pool, Row, text

MISHAPS_KEPT = 30
"""Days after which a mishap that has not happened again is forgotten."""
SILENT = 7
"""Days after which a server that says nothing any more is forgotten."""

_REPORT = """
INSERT INTO server_report (server, reported_at, version, scanner, disks, certificates)
VALUES (%(server)s, now(), %(version)s, %(scanner)s, %(disks)s, %(certificates)s)
ON CONFLICT (server) DO UPDATE
SET reported_at = now(), version = EXCLUDED.version, scanner = EXCLUDED.scanner,
    disks = EXCLUDED.disks, certificates = EXCLUDED.certificates"""

_REPORTS = """
SELECT r.server, r.reported_at, r.version, r.scanner, r.disks, r.certificates,
       EXISTS (SELECT 1 FROM server s WHERE s.name = r.server AND s.lease_until > now())
FROM server_report r ORDER BY r.server"""

_MISHAP = """
INSERT INTO mishap AS m (server, kind, level, said, times, first_at, last_at)
SELECT %s, r.* FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::timestamptz[],
                           %s::timestamptz[]) AS r
ON CONFLICT (server, kind) DO UPDATE
SET level = EXCLUDED.level, said = EXCLUDED.said, times = m.times + EXCLUDED.times,
    last_at = EXCLUDED.last_at"""

_MISHAPS = """
SELECT server, kind, level, said, times, first_at, last_at FROM mishap
ORDER BY last_at DESC LIMIT %s"""

_FORGET = """
WITH silent AS (
    DELETE FROM server_report WHERE reported_at < now() - %(silent)s * interval '1 day'
)
DELETE FROM mishap WHERE last_at < now() - %(kept)s * interval '1 day'"""

_DATABASE = """
SELECT current_setting('server_version'),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::integer"""


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system that something of ours is on."""

    what: str
    """``data`` or ``discs``."""
    free: int
    size: int


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """Until when a certificate holds that servers show."""

    name: str
    ends: datetime


@dataclass(frozen=True, slots=True)
class ServerReport:
    """How a server says that it is."""

    server: str
    """As in table ``server``."""
    reported_at: datetime
    version: str
    scanner: str
    """The antispam's state (`mail6m.guard.antispam.Antispam.state`)."""
    disks: Sequence[Disk]
    certificates: Sequence[CertificateEnd]
    alive: bool
    """Its lease holds."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """A warning or an error of the log; of what happens again, how often, and the last words."""

    server: str
    kind: str
    level: str
    """``warn``, ``error`` or ``critical``."""
    said: str
    times: int
    first_at: datetime
    last_at: datetime


class DatabaseState(NamedTuple):
    """How PostgreSQL is."""

    version: str
    connections: int
    """Of all its clients'."""
    most: int


class Health:
    """The tables ``server_report`` and ``mishap``, and PostgreSQL itself."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def report(
        self,
        server: str,
        version: str,
        scanner: str,
        disks: Sequence[Disk],
        certificates: Sequence[CertificateEnd],
    ) -> None:
        """A server is like that."""
        ends = [{"name": one.name, "ends": one.ends.isoformat()} for one in certificates]
        parameters = {
            "server": server,
            "version": version,
            "scanner": text(scanner),
            "disks": json.dumps([asdict(disk) for disk in disks]),
            "certificates": json.dumps(ends),
        }
        await self._pool.query(_REPORT, parameters)

    async def reports(self) -> Sequence[ServerReport]:
        """What servers have said lately."""
        return [_report(row) for row in await self._pool.query(_REPORTS)]

    async def add_mishaps(self, server: str, mishaps: Sequence[Mishap]) -> None:
        """These have happened to a server."""
        columns = zip(
            *((m.kind, m.level, text(m.said), m.times, m.first_at, m.last_at) for m in mishaps),
            strict=True,
        )
        await self._pool.query(_MISHAP, (server, *map(list, columns)))

    async def mishaps(self, limit: int) -> Sequence[Mishap]:
        """What happened last comes first."""
        rows = await self._pool.query(_MISHAPS, (limit,))
        return [
            Mishap(server, kind, level, said, times, first.astimezone(UTC), last.astimezone(UTC))
            for server, kind, level, said, times, first, last in rows
        ]

    async def forget(self) -> None:
        """Drop what is old."""
        await self._pool.query(_FORGET, {"silent": SILENT, "kept": MISHAPS_KEPT})

    async def database(self) -> DatabaseState:
        """How PostgreSQL is now."""
        return DatabaseState(*(await self._pool.query(_DATABASE))[0])


def _report(row: Row) -> ServerReport:
    server, at, version, scanner, disks, certificates, alive = row
    return ServerReport(
        server,
        at.astimezone(UTC),
        version,
        scanner,
        [Disk(**disk) for disk in disks],
        [CertificateEnd(one["name"], datetime.fromisoformat(one["ends"])) for one in certificates],
        alive,
    )
