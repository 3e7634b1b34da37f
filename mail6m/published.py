"""What other servers are told about the encryption of mail to customers' domains.

A domain's policy (MTA-STS, RFC 8461) is served by the console's web server under the name
``mta-sts.DOMAIN``; two TXT records say that there is one, and where reports go (RFC 8460).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from urllib.parse import quote

from twisted.internet.interfaces import IReactorTime

from mail6m.dialogue.address import AddressError, canonical_domain
from mail6m.model import Domain, StsMode
from mail6m.storage.domains import Domains

MAX_AGE = 604_800
"""Seconds that a policy is remembered: a week."""
KEPT, _MOST_KEPT = 10.0, 1_000
"""Seconds that an answer is kept here, and how many are."""
_LABEL = "mta-sts."


def policy(mode: StsMode, mx_names: Sequence[str]) -> str:
    """A policy as it is served (RFC 8461, 3.2)."""
    exchangers = [f"mx: {name.lower().rstrip('.')}" for name in mx_names]
    lines = ["version: STSv1", f"mode: {mode}", *exchangers, f"max_age: {MAX_AGE}"]
    return "".join(f"{line}\r\n" for line in lines)


def records(domain: Domain, mx_names: Sequence[str], console: str, reports: str) -> list[str]:
    """What a domain's DNS is to say, as a zone file does; nothing if it has no policy.

    ``console`` is the name of the machine that serves the policy, ``reports`` an address. The id is
    made of the policy, so that whoever has another one in mind reads it anew (RFC 8461, 3.1).
    """
    if domain.sts is None:
        return []
    served = policy(domain.sts, mx_names)
    identity = hashlib.sha256(served.encode()).hexdigest()[:20]
    return [
        f'_mta-sts.{domain.name}. IN TXT "v=STSv1; id={identity};"',
        f"{_LABEL}{domain.name}. IN CNAME {console}.",
        f'_smtp._tls.{domain.name}. IN TXT "v=TLSRPTv1; rua=mailto:{quote(reports, safe="@+")}"',
    ]


class Policies:
    """The policies of all domains that are in service."""

    def __init__(self, clock: IReactorTime, domains: Domains, mx_names: Sequence[str]) -> None:
        self._clock = clock
        self._domains = domains
        self._mx_names = mx_names
        self._kept: dict[str, tuple[bytes | None, float]] = {}

    async def served(self, host: str) -> bytes | None:
        """What a web server of that name serves; None if there is nothing. Raises `Unavailable`."""
        name = _domain_of(host)
        if name is None:
            return None
        now = self._clock.seconds()
        if (kept := self._kept.get(name)) is not None and now < kept[1]:
            return kept[0]
        found = await self._policy_of(name)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[name] = (found, now + KEPT)
        return found

    async def _policy_of(self, name: str) -> bytes | None:
        domain = await self._domains.find(name)
        if domain is None or domain.closed or domain.sts is None:
            return None
        return policy(domain.sts, self._mx_names).encode()


def _domain_of(host: str) -> str | None:
    """The domain whose policy is asked for by a Host field (RFC 9110, 7.2)."""
    name = host.partition(":")[0].lower().rstrip(".")
    if not name.startswith(_LABEL):
        return None
    try:
        return canonical_domain(name.removeprefix(_LABEL))
    except AddressError:
        return None
