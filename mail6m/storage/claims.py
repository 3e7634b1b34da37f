"""Domains that customers say are theirs, and have still to prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg2.errors

from mail6m.model import Act, Host, TlsPolicy
from mail6m.storage.audit import By, audited, note
from mail6m.storage.domains import TAKEN_OVER, read_host
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row

_COLUMNS = "customer_id, name, token, hosts, tls, claimed_at"
_ONE = "customer_id = %(customer)s AND name = %(name)s"

_LIST = f"SELECT {_COLUMNS} FROM domain_claim WHERE customer_id = %s ORDER BY name"
_FIND = f"SELECT {_COLUMNS} FROM domain_claim WHERE {_ONE}"

# Whoever claims a domain again keeps the token, which may stand in the DNS already.
_PUT = audited("""
    INSERT INTO domain_claim (customer_id, name, token, hosts, tls)
    VALUES (%(customer)s, %(name)s, %(token)s, %(hosts)s, %(tls)s)
    ON CONFLICT (customer_id, name) DO UPDATE SET hosts = EXCLUDED.hosts, tls = EXCLUDED.tls
    RETURNING name""")

_WITHDRAW = audited(f"DELETE FROM domain_claim WHERE {_ONE} RETURNING name")

_GRANT = audited(
    f"""
    INSERT INTO domain (customer_id, name, hosts, tls)
    SELECT customer_id, name, hosts, tls FROM domain_claim WHERE {_ONE} AND token = %(token)s
    RETURNING customer_id, name""",
    *TAKEN_OVER,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A domain that is said to be a customer's, and where its mail is to go on to."""

    customer: int
    name: str
    token: str
    """What the domain's DNS is to say."""
    hosts: tuple[Host, ...]
    tls: TlsPolicy
    claimed_at: datetime


class Claims:
    """The table ``domain_claim``. Several customers may claim a domain; one can prove it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self, customer: int) -> list[Claim]:
        """A customer's claims, by name."""
        return [_claim(row) for row in await self._pool.query(_LIST, (customer,))]

    async def find(self, customer: int, name: str) -> Claim | None:
        """A customer's claim to a domain, by its canonical name."""
        rows = await self._pool.query(_FIND, {"customer": customer, "name": name})
        return _claim(rows[0]) if rows else None

    async def put(
        self, by: By, name: str, token: str, hosts: Sequence[Host], tls: TlsPolicy
    ) -> None:
        """Claim a domain, or change where a claimed one is to go; its first token stays."""
        parameters = {
            "customer": by.customer,
            "name": name,
            "token": token,
            "hosts": [str(host) for host in hosts],
            "tls": tls,
        }
        await self._pool.query(_PUT, parameters | note(by, Act.DOMAIN_CLAIMED, name))

    async def withdraw(self, by: By, name: str) -> bool:
        """Claim a domain no longer; False if it was not claimed."""
        parameters = {"customer": by.customer, "name": name}
        act = note(by, Act.CLAIM_WITHDRAWN, name)
        return bool(await self._pool.query(_WITHDRAW, parameters | act))

    async def grant(self, by: By, claim: Claim) -> bool:
        """Make a proven claim a domain; False if it has just been withdrawn.

        Raises `Refused` if the domain has become somebody's.
        """
        parameters = {"customer": by.customer, "name": claim.name, "token": claim.token}
        act = note(by, Act.DOMAIN_ADDED, claim.name)
        try:
            return bool(await self._pool.query(_GRANT, parameters | act))
        except psycopg2.errors.UniqueViolation as error:
            raise Refused(f"{claim.name} is already declared") from error


def _claim(row: Row) -> Claim:
    customer, name, token, hosts, tls, claimed_at = row
    return Claim(
        customer, name, token, tuple(map(read_host, hosts)), TlsPolicy(tls),
        claimed_at.astimezone(UTC),
    )  # fmt: skip
