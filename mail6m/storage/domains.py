"""Customers' mail domains, and the machines that their mail goes on to."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg2.errors

from mail6m.model import Act, Domain, Host, StsMode, TlsPolicy
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row, utc

CHANNEL = "mail6m_routes"
"""NOTIFY goes here when a domain or a customer has changed."""

_COLUMNS = """
    name, customer_id, hosts, tls, verify_recipients, closed, sts, tls_reports, listed, listed_at"""

TAKEN_OVER = (
    """
    DELETE FROM domain_claim c USING done
    WHERE (c.customer_id, c.name) = (done.customer_id, done.name)""",
    """
    UPDATE delivery q
    SET destination = CASE WHEN q.customer_id = done.customer_id THEN done.name
                           ELSE 'left:' || done.name END
    FROM done WHERE q.destination IN (done.name, 'left:' || done.name) AND q.state = 0""",
)
"""What comes with a domain's becoming somebody's (``done``). It is claimed no longer; and mail that
waited when another customer removed it does not go to the new one's machine."""

_ADD = audited(
    """
    INSERT INTO domain (customer_id, name, hosts, tls, verify_recipients)
    VALUES (%(customer)s, %(name)s, %(hosts)s, %(tls)s, %(verify)s)
    RETURNING customer_id, name""",
    *TAKEN_OVER,
)

# Other hosts may be up where the last ones were down: they are probed at once.
_CHANGE = audited(
    """
    UPDATE domain SET hosts = %(hosts)s, tls = %(tls)s,
        verify_recipients = coalesce(%(verify)s, verify_recipients)
    WHERE customer_id = %(customer)s AND name = %(name)s RETURNING name""",
    """
    UPDATE destination d SET next_probe_at = now() FROM done WHERE d.destination = done.name""",
)

_PUBLISH = audited("""
    UPDATE domain SET sts = %(sts)s, tls_reports = %(reports)s
    WHERE customer_id = %(customer)s AND name = %(name)s RETURNING name""")

_FIND = f"SELECT {_COLUMNS} FROM domain WHERE name = %s"

_LIST = f"""
SELECT {_COLUMNS} FROM domain
WHERE %(customer)s::integer IS NULL OR customer_id = %(customer)s ORDER BY name"""

_REMOVE = audited("""
    DELETE FROM domain WHERE customer_id = %(customer)s AND name = %(name)s RETURNING name""")


class Domains:
    """The table ``domain``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, by: By, domain: Domain) -> None:
        """Add a domain, which is claimed no longer then.

        Raises `Refused` if it is somebody's already, or the customer nobody.
        """
        parameters = {
            "customer": domain.customer,
            "name": domain.name,
            "hosts": [str(host) for host in domain.hosts],
            "tls": domain.tls,
            "verify": domain.verify_recipients,
        }
        try:
            await self._pool.query(_ADD, parameters | note(by, Act.DOMAIN_ADDED, domain.name))
        except psycopg2.errors.UniqueViolation as error:
            raise Refused(f"{domain.name} is already declared") from error
        except psycopg2.errors.ForeignKeyViolation as error:
            raise Refused(f"there is no customer {domain.customer}") from error

    async def change(
        self,
        by: By,
        name: str,
        hosts: Sequence[Host],
        tls: TlsPolicy,
        verify: bool | None = None,
    ) -> None:
        """Let a domain's mail go on to other hosts, and its recipients be verified or not.

        ``verify`` is None where that stays as it is. Raises `Refused` if the customer has it not.
        """
        told = [str(host) for host in hosts]
        parameters = {"customer": by.customer, "name": name, "hosts": told, "tls": tls}
        parameters["verify"] = verify
        unverified = ", unverified" if verify is False else ""
        act = note(by, Act.DOMAIN_CHANGED, f"{name}: {', '.join(told)} ({tls}{unverified})")
        if not await self._pool.query(_CHANGE, parameters | act):
            raise Refused(f"{name} is not declared")

    async def publish(self, by: By, name: str, mode: StsMode | None, reports: str) -> None:
        """Another MTA-STS policy, and an address for reports, or neither.

        Raises `Refused` if the customer has no such domain.
        """
        parameters = {"customer": by.customer, "name": name, "sts": mode, "reports": reports}
        act = note(by, Act.DOMAIN_CHANGED, f"{name}: MTA-STS {mode or StsMode.NONE}")
        if not await self._pool.query(_PUBLISH, parameters | act):
            raise Refused(f"{name} is not declared")

    async def find(self, name: str) -> Domain | None:
        """The domain of that canonical name."""
        rows = await self._pool.query(_FIND, (name,))
        return _domain(rows[0]) if rows else None

    async def all(self, customer: int | None = None) -> list[Domain]:
        """All domains, or a customer's, by name."""
        return [_domain(row) for row in await self._pool.query(_LIST, {"customer": customer})]

    async def remove(self, by: By, name: str) -> None:
        """Remove a domain. Raises `Refused` if the customer has it not."""
        parameters = {"customer": by.customer, "name": name}
        if not await self._pool.query(_REMOVE, parameters | note(by, Act.DOMAIN_REMOVED, name)):
            raise Refused(f"{name} is not declared")


def _domain(row: Row) -> Domain:
    name, customer, hosts, tls, verify, closed, sts, tls_reports, listed, listed_at = row
    to, mode = tuple(map(read_host, hosts)), StsMode(sts) if sts is not None else None
    return Domain(
        name,
        customer,
        to,
        TlsPolicy(tls),
        verify,
        closed,
        mode,
        tls_reports,
        listed,
        utc(listed_at),
    )


def read_host(value: str, port: int = 25) -> Host:
    """``NAME``, ``NAME:PORT``, ``ADDRESS`` or ``[ADDRESS]:PORT``. Raises `ValueError`."""
    name, separator, given = value.strip().rpartition(":")
    if value.startswith("["):
        name, _, rest = value[1:].partition("]")
        given = rest.removeprefix(":")
        separator = ":" if given else ""
    elif not separator or ":" in name:  # a name alone, or a bare IPv6 address
        name, given, separator = value.strip(), "", ""
    if separator:
        if not given.isascii() or not given.isdecimal() or not 0 < int(given) < 65536:
            raise ValueError(f"{value}: the port must be a number from 1 to 65535")
        port = int(given)
    if not name or any(character.isspace() or not character.isprintable() for character in name):
        raise ValueError(f"{value!r}: a host is HOST or HOST:PORT")
    return Host(name.lower(), port)
