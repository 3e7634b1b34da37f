"""Clients that have behaved, so that all processes know them, and after a restart, too."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from mail6m.storage.arrays import texts, words
from mail6m.storage.pool import Pool

# By a name and not by chance: two processes that note the same clients lock them in one order.
_NOTE = """
INSERT INTO known_client AS k (client, known_until)
SELECT * FROM unnest(%(clients)s::text[], %(untils)s::timestamptz[]) AS new (client, known_until)
ORDER BY client
ON CONFLICT (client) DO UPDATE SET known_until = EXCLUDED.known_until
WHERE k.known_until < EXCLUDED.known_until"""

_LATEST = """
SELECT client, known_until FROM known_client WHERE known_until > %(after)s
ORDER BY known_until DESC LIMIT %(most)s"""

_FORGET = """
DELETE FROM known_client WHERE known_until < %(now)s
OR known_until <= (SELECT known_until FROM known_client
                   ORDER BY known_until DESC OFFSET %(most)s LIMIT 1)"""


class KnownClientsTable:
    """The table ``known_client``. Clients are as `mail6m.networks.client_of` names them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def note(self, known: Iterable[tuple[str, datetime]]) -> None:
        """These clients are known until then. Raises `Unavailable`."""
        rows = list(known)
        clients = texts([client for client, _ in rows])
        untils = words(f'"{until.isoformat()}"' for _, until in rows)
        await self._pool.query(_NOTE, {"clients": clients, "untils": untils})

    async def latest(self, after: datetime, most: int) -> list[tuple[str, datetime]]:
        """Who is known until a time after that one, the latest first. Raises `Unavailable`."""
        rows = await self._pool.query(_LATEST, {"after": after, "most": most})
        return [(client, until) for client, until in rows]

    async def forget(self, now: datetime, most: int) -> None:
        """Remove who is known no more, and beyond the latest so many. Raises `Unavailable`."""
        await self._pool.query(_FORGET, {"now": now, "most": most})
