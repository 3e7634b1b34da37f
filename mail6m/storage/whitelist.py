"""Domains that are never taken for senders of spam."""

from __future__ import annotations

from mail6m.model import Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.pool import Pool

MOST = 1_000
"""Entries of one customer."""

_LIST = "SELECT domain FROM whitelist WHERE customer_id = %s ORDER BY domain"

_ADD = audited("""
    INSERT INTO whitelist (customer_id, domain)
    SELECT %(customer)s, %(domain)s
    WHERE (SELECT count(*) FROM whitelist WHERE customer_id = %(customer)s) < %(most)s
    ON CONFLICT DO NOTHING RETURNING domain""")

_REMOVE = audited("""
    DELETE FROM whitelist WHERE customer_id = %(customer)s AND domain = %(domain)s
    RETURNING domain""")


class Whitelist:
    """The table ``whitelist``. Domains are canonical."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self, customer: int) -> list[str]:
        """A customer's entries, by name."""
        return [domain for (domain,) in await self._pool.query(_LIST, (customer,))]

    async def add(self, by: By, domain: str) -> bool:
        """Add an entry; False if it is there, or there are as many as there may be."""
        parameters = {"customer": by.customer, "domain": domain, "most": MOST}
        act = note(by, Act.WHITELIST_ADDED, domain)
        return bool(await self._pool.query(_ADD, parameters | act))

    async def remove(self, by: By, domain: str) -> bool:
        """Remove an entry; False if there is none of that name."""
        parameters = {"customer": by.customer, "domain": domain}
        act = note(by, Act.WHITELIST_REMOVED, domain)
        return bool(await self._pool.query(_REMOVE, parameters | act))
