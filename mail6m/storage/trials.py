"""What came of the last trial of a domain's receiving machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mail6m.model import Domain
from mail6m.storage.pool import Pool

# It may have been removed while its machines were tried.
_RECORD = """
INSERT INTO domain_trial (customer_id, domain, hosts, tls, findings)
SELECT customer_id, name, %(hosts)s, %(tls)s, %(findings)s FROM domain
WHERE customer_id = %(customer)s AND name = %(name)s
ON CONFLICT (customer_id, domain) DO UPDATE
SET hosts = EXCLUDED.hosts, tls = EXCLUDED.tls, findings = EXCLUDED.findings, tried_at = now()"""

_LAST = """
SELECT findings, tried_at FROM domain_trial
WHERE customer_id = %s AND domain = %s AND hosts = %s AND tls = %s"""


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial."""

    findings: tuple[str, ...]
    """The names of `mail6m.delivery.conversation.Finding`, for each host in its order."""
    at: datetime


class Trials:
    """The table ``domain_trial``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record(self, domain: Domain, findings: Sequence[str]) -> None:
        """Keep what was found of the domain's machines, as they are known."""
        parameters = {
            "customer": domain.customer,
            "name": domain.name,
            "hosts": [str(host) for host in domain.hosts],
            "tls": domain.tls.value,
            "findings": list(findings),
        }
        await self._pool.query(_RECORD, parameters)

    async def last(self, domain: Domain) -> Tried | None:
        """The last trial of a domain's machines; None if these have not been tried."""
        hosts = [str(host) for host in domain.hosts]
        key = (domain.customer, domain.name, hosts, domain.tls.value)
        rows = await self._pool.query(_LAST, key)
        return Tried(tuple(rows[0][0]), rows[0][1].astimezone(UTC)) if rows else None
