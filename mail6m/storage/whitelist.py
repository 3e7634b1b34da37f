"""Domains that are never taken for spammers, and what else a customer asks of the guard."""

from __future__ import annotations

from dataclasses import dataclass

from mail6m.model import Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.pool import Pool

MOST = 1_000
"""Entries of one customer."""
CHANNEL = "mail6m_guard"
"""NOTIFY goes here when a customer asks for something else."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a customer asks of the guard."""

    spared: frozenset[str] = frozenset()
    """Domains whose mail, and that of those below them, is not scanned."""
    confirm: bool = True
    """SPF or DKIM must confirm that it comes from there."""
    refuse_forged: bool = False
    """What its author's domain wants refused (DMARC) is refused."""

    def entry(self, domain: str) -> str:
        """The entry that spares a canonical domain; empty if none does."""
        while domain and domain not in self.spared:
            domain = domain.partition(".")[2]
        return domain


_LIST = "SELECT domain FROM whitelist WHERE customer_id = %s ORDER BY domain"

_ADD = audited("""
    INSERT INTO whitelist (customer_id, domain)
    SELECT %(customer)s, %(domain)s
    WHERE (SELECT count(*) FROM whitelist WHERE customer_id = %(customer)s) < %(most)s
    ON CONFLICT DO NOTHING RETURNING domain""")

_REMOVE = audited("""
    DELETE FROM whitelist WHERE customer_id = %(customer)s AND domain = %(domain)s
    RETURNING domain""")

_RULES = """
SELECT confirm_whitelist, refuse_forged,
       ARRAY(SELECT domain FROM whitelist w WHERE w.customer_id = p.customer_id)
FROM preferences p WHERE customer_id = %s"""

_CONFIRM = audited("""
    UPDATE preferences SET confirm_whitelist = %(confirm)s
    WHERE customer_id = %(customer)s AND confirm_whitelist <> %(confirm)s RETURNING customer_id""")


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

    async def rules(self, customer: int) -> Rules:
        """All that a customer asks of the guard."""
        rows = await self._pool.query(_RULES, (customer,))
        if not rows:
            return Rules()
        [(confirm, refuse_forged, domains)] = rows
        return Rules(frozenset(domains), confirm, refuse_forged)

    async def ask_for_proof(self, by: By, confirm: bool) -> None:
        """Whether SPF or DKIM must confirm the senders that the white list spares."""
        act = note(by, Act.WHITELIST_PROOF, "on" if confirm else "off")
        await self._pool.query(_CONFIRM, {"customer": by.customer, "confirm": confirm} | act)
