"""Leases: which processes are alive, and so whose deliveries are in good hands."""

from __future__ import annotations

from mail6m.storage.pool import Pool

LEASE = 60
"""Seconds that a process is believed alive without a sign of life."""

# A process of the same name is this one's predecessor, and dead: its deliveries are due now.
_ENLIST = """
WITH dead AS (
    UPDATE server SET lease_until = '-infinity' WHERE name = %(name)s RETURNING server_id
), freed AS (
    UPDATE delivery SET server_id = NULL, next_attempt_at = now()
    WHERE state = 0 AND server_id IN (SELECT server_id FROM dead)
)
INSERT INTO server (name, lease_until) VALUES (%(name)s, now() + %(lease)s * interval '1 second')
RETURNING server_id"""

_RENEW = """
UPDATE server SET lease_until = now() + %s * interval '1 second'
WHERE server_id = %s RETURNING server_id"""

# Those whose lease ran out: their deliveries are free again, and the rows are of no more use.
_BURY = """
WITH dead AS (
    SELECT server_id FROM server WHERE lease_until < now() FOR UPDATE SKIP LOCKED
), freed AS (
    UPDATE delivery SET server_id = NULL, next_attempt_at = now()
    WHERE state = 0 AND server_id IN (SELECT server_id FROM dead) RETURNING 1
), buried AS (
    DELETE FROM server WHERE server_id IN (SELECT server_id FROM dead)
)
SELECT count(*) FROM freed"""

_RESIGN = """
WITH freed AS (
    UPDATE delivery SET server_id = NULL, next_attempt_at = now()
    WHERE state = 0 AND server_id = %(server)s
)
DELETE FROM server WHERE server_id = %(server)s"""

_REMEMBER = """
INSERT INTO server_option (name, value) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value"""

_RECALL = "SELECT value FROM server_option WHERE name = %s"


class Servers:
    """The tables ``server`` and ``server_option``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def enlist(self, name: str) -> int:
        """Take a lease under ``name``, which no living process may share; the server's number."""
        rows = await self._pool.query(_ENLIST, {"name": name, "lease": LEASE})
        return int(rows[0][0])

    async def renew(self, server: int) -> bool:
        """Stay alive for another `LEASE`; False if it ran out and
        somebody has buried this server, which must then enlist anew.
        """
        return bool(await self._pool.query(_RENEW, (LEASE, server)))

    async def bury(self) -> int:
        """Give back what the dead had in hand: the number of deliveries."""
        return int((await self._pool.query(_BURY))[0][0])

    async def resign(self, server: int) -> None:
        """Give back everything, at once: this process stops."""
        await self._pool.query(_RESIGN, {"server": server})

    async def remember(self, option: str, value: str) -> None:
        """Let commands know an option that this server was started with."""
        await self._pool.query(_REMEMBER, (option, value))

    async def recall(self, option: str) -> str | None:
        """What the last server had for an option."""
        rows = await self._pool.query(_RECALL, (option,))
        return str(rows[0][0]) if rows else None
