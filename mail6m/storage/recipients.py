"""Whom domains take mail for: lists, and what receiving machines have said (verdicts)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from mail6m.model import Act, Domain
from mail6m.storage.arrays import booleans, numbers, texts, words
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, text, utc

MOST_COUNTED = 100_000
"""Verdicts of a domain that are counted."""

_ASKED = """
unnest(%(customers)s::integer[], %(domains)s::text[], %(local_parts)s::text[], %(names)s::text[],
       %(bases)s::text[]) WITH ORDINALITY AS a (customer_id, domain, local_part, name, base, n)"""

_FIND = f"""
SELECT EXISTS (SELECT FROM listed_recipient l
               WHERE l.customer_id = a.customer_id AND l.domain = a.domain
                 AND l.local_part IN (a.name, a.base)),
       v.taken, v.words, extract(epoch FROM now() - v.asked_at)::float8
FROM {_ASKED} LEFT JOIN recipient_verdict v
  ON v.customer_id = a.customer_id AND v.domain = a.domain AND v.local_part = a.local_part
 AND v.expires_at > now()
ORDER BY a.n"""

# A verdict of machines that are not the domain's any more is not kept.
_KEEP = """
WITH told AS (
    SELECT t.* FROM unnest(%(customers)s::integer[], %(domains)s::text[], %(hosts)s::text[],
                           %(tls)s::text[], %(local_parts)s::text[], %(results)s::text[],
                           %(words)s::text[], %(lasting)s::integer[], %(taken)s::boolean[])
        AS t (customer_id, domain, hosts, tls, local_part, result, words, lasting, taken)
    JOIN domain d ON d.customer_id = t.customer_id AND d.name = t.domain
     AND d.hosts = string_to_array(t.hosts, ' ') AND d.tls = t.tls
), verdicts AS (
    INSERT INTO recipient_verdict (customer_id, domain, local_part, taken, words, expires_at)
    SELECT customer_id, domain, local_part, taken, words, now() + lasting * interval '1 second'
    FROM told WHERE lasting > 0 ORDER BY customer_id, domain, local_part
    ON CONFLICT (customer_id, domain, local_part) DO UPDATE
    SET taken = EXCLUDED.taken, words = EXCLUDED.words, asked_at = now(),
        expires_at = EXCLUDED.expires_at
)
INSERT INTO recipient_probe (customer_id, domain, result, words)
SELECT DISTINCT ON (customer_id, domain) customer_id, domain, result, words
FROM (SELECT *, row_number() OVER () AS n FROM told) AS numbered
ORDER BY customer_id, domain, n DESC
ON CONFLICT (customer_id, domain) DO UPDATE
SET result = EXCLUDED.result, words = EXCLUDED.words, probed_at = now()"""

_FORGET = """
DELETE FROM recipient_verdict WHERE (customer_id, domain, local_part) IN (
    SELECT customer_id, domain, local_part FROM recipient_verdict
    WHERE expires_at < now() ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED)"""

_STANDING = """
SELECT p.result, p.words, p.probed_at,
       (SELECT count(*) FROM (SELECT FROM recipient_verdict v
        WHERE v.customer_id = d.customer_id AND v.domain = d.name AND v.taken
          AND v.expires_at > now() LIMIT %(most)s) AS first_come)
FROM domain d LEFT JOIN recipient_probe p ON p.customer_id = d.customer_id AND p.domain = d.name
WHERE d.customer_id = %(customer)s AND d.name = %(name)s"""

_LIST = """
SELECT local_part FROM listed_recipient
WHERE customer_id = %s AND domain = %s ORDER BY local_part"""

_REPLACE = audited(
    """
    UPDATE domain SET listed = %(count)s, listed_at = now()
    WHERE customer_id = %(customer)s AND name = %(name)s RETURNING customer_id, name""",
    """
    DELETE FROM listed_recipient l USING done
    WHERE l.customer_id = done.customer_id AND l.domain = done.name
      AND l.local_part NOT IN (SELECT unnest(%(local_parts)s::text[]))""",
    """
    INSERT INTO listed_recipient (customer_id, domain, local_part)
    SELECT done.customer_id, done.name, n.local_part
    FROM done, unnest(%(local_parts)s::text[]) AS n (local_part) ORDER BY n.local_part
    ON CONFLICT DO NOTHING""",
)

_CLEAR = audited(
    """
    UPDATE domain SET listed = NULL, listed_at = NULL
    WHERE customer_id = %(customer)s AND name = %(name)s AND listed IS NOT NULL
    RETURNING customer_id, name""",
    """
    DELETE FROM listed_recipient l USING done
    WHERE l.customer_id = done.customer_id AND l.domain = done.name""",
)


class Asked(NamedTuple):
    """An address that is asked about."""

    domain: Domain
    local_part: str
    """As it was given."""
    name: str
    """What it is called on a list."""
    base: str
    """The same without its detail, if it has one."""


class Stored(NamedTuple):
    """What is known of an address."""

    listed: bool
    taken: bool | None
    """None: its machines have not been asked, or did not say, or it is too long ago."""
    words: str
    age: float
    """Seconds since they were asked."""


class Told(NamedTuple):
    """What came of a question to a domain's machines."""

    domain: Domain
    local_part: str
    result: str
    words: str
    lasting: int
    """Seconds for which it is a verdict; 0: it is none."""
    taken: bool


class Standing(NamedTuple):
    """How a domain's machines answer."""

    result: str
    """Of the last question; empty if there was none."""
    words: str
    at: datetime | None
    known: int
    """Addresses that they take mail for, at most `MOST_COUNTED`."""


class Recipients:
    """The tables ``listed_recipient``, ``recipient_verdict`` and ``recipient_probe``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, asked: Sequence[Asked]) -> list[Stored]:
        """What is known of each. Raises `Unavailable`."""
        parameters = {
            "customers": numbers(one.domain.customer for one in asked),
            "domains": texts([one.domain.name for one in asked]),
            "local_parts": texts([one.local_part for one in asked]),
            "names": texts([one.name for one in asked]),
            "bases": texts([one.base for one in asked]),
        }
        rows = await self._pool.query(_FIND, parameters)
        return [Stored(listed, taken, said or "", age or 0.0) for listed, taken, said, age in rows]

    async def keep(self, told: Sequence[Told]) -> None:
        """Keep what machines have said. Raises `Unavailable`."""
        last = {(one.domain.customer, one.domain.name, one.local_part): one for one in told}
        ones = list(last.values())
        parameters = {
            "customers": numbers(one.domain.customer for one in ones),
            "domains": texts([one.domain.name for one in ones]),
            "hosts": texts([" ".join(map(str, one.domain.hosts)) for one in ones]),
            "tls": words([one.domain.tls.value for one in ones]),
            "local_parts": texts([one.local_part for one in ones]),
            "results": texts([one.result for one in ones]),
            "words": texts([one.words for one in ones]),
            "lasting": numbers(one.lasting for one in ones),
            "taken": booleans(one.taken for one in ones),
        }
        await self._pool.query(_KEEP, parameters)

    async def forget(self, most: int) -> None:
        """Forget verdicts whose time is over, at most so many. Raises `Unavailable`."""
        await self._pool.query(_FORGET, (most,))

    async def standing(self, domain: Domain) -> Standing:
        """How a domain's machines answer."""
        parameters = {"customer": domain.customer, "name": domain.name, "most": MOST_COUNTED}
        rows = await self._pool.query(_STANDING, parameters)
        if not rows:  # it has just been removed
            return Standing("", "", None, 0)
        result, said, at, known = rows[0]
        return Standing(result or "", said or "", utc(at), known)

    async def listed(self, customer: int, domain: str) -> list[str]:
        """The local parts on a domain's list."""
        return [name for (name,) in await self._pool.query(_LIST, (customer, domain))]

    async def replace(self, by: By, domain: str, local_parts: Sequence[str]) -> None:
        """Give a domain a list, in the place of the one that it has.

        ``local_parts`` are in lower case, each once. Raises `Refused` if the customer has no such
        domain.
        """
        parameters = {
            "customer": by.customer,
            "name": domain,
            "count": len(local_parts),
            "local_parts": texts(local_parts),
        }
        act = note(by, Act.RECIPIENTS_LISTED, f"{domain}: {len(local_parts)}")
        if not await self._pool.query(_REPLACE, parameters | act):
            raise Refused(f"{text(domain)} is not declared")

    async def clear(self, by: By, domain: str) -> bool:
        """Take a domain's list away; False if it has none."""
        parameters = {"customer": by.customer, "name": domain}
        act = note(by, Act.RECIPIENTS_UNLISTED, domain)
        return bool(await self._pool.query(_CLEAR, parameters | act))
