"""What domains say about TLS on their MX: MTA-STS policies that have been fetched (RFC 8461)."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from mail6m.storage.arrays import texts
from mail6m.storage.pool import Pool

_FIND = """
    SELECT id, mode, mx, fetched_at, expires_at FROM sts_policy
    WHERE domain = %s AND expires_at > %s"""

_KEEP = """
    WITH expired AS (DELETE FROM sts_policy WHERE expires_at <= %(now)s AND domain <> %(domain)s)
    INSERT INTO sts_policy (domain, id, mode, mx, fetched_at, expires_at)
    VALUES (%(domain)s, %(id)s, %(mode)s, %(mx)s::text[], %(now)s, %(expires_at)s)
    ON CONFLICT (domain) DO UPDATE SET id = excluded.id, mode = excluded.mode, mx = excluded.mx,
        fetched_at = excluded.fetched_at, expires_at = excluded.expires_at"""


class Kept(NamedTuple):
    """A policy as it was fetched."""

    id: str
    mode: str
    mx: tuple[str, ...]
    fetched_at: datetime
    expires_at: datetime


class StsTable:
    """The table ``sts_policy``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, domain: str, now: datetime) -> Kept | None:
        """A domain's policy, if it has not expired."""
        for id_, mode, mx, fetched_at, expires_at in await self._pool.query(_FIND, (domain, now)):
            return Kept(id_, mode, tuple(mx), fetched_at, expires_at)
        return None

    async def keep(self, domain: str, policy: Kept) -> None:
        """Remember a policy in the place of the one before it; forget what has expired."""
        parameters = {
            "domain": domain,
            "id": policy.id,
            "mode": policy.mode,
            "mx": texts(policy.mx),
            "now": policy.fetched_at,
            "expires_at": policy.expires_at,
        }
        await self._pool.query(_KEEP, parameters)
