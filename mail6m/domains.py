"""Domaines: what customers say is theirs, how they prove it, and where its mail goes on to.

A domain that nobody has is a claim first. It becomes a domain when its DNS says so: a TXT record
at a name of its own, with a value that only the claimant was told.
"""

from __future__ import annotations

import enum
import ipaddress
import secrets
from collections.abc import Sequence
from typing import NamedTuple

import idna
from dns.rdata import Rdata
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.TXT import TXT
from twisted.internet.defer import TimeoutError, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mail6m.dialogue.address import canonical_domain
from mail6m.model import Domain, Host, StsMode, TlsPolicy
from mail6m.resolver import DnsFailure, Resolver
from mail6m.storage.audit import By
from mail6m.storage.claims import Claim, Claims
from mail6m.storage.domains import Domains, read_host
from mail6m.storage.errors import Refused

PATIENCE = 2.0
"""Seconds that a page waits for the DNS."""
MOST_HOSTS = 5
MOST_CLAIMS = 50
"""Claims of one customer that are not proved yet."""
_LABEL = "_mail6m"
_SHOWN = 5
"""Records of others that are shown."""


class Wrong(enum.Enum):
    """Why something cannot be declared."""

    NO_DOMAIN = "not a domain's name"
    OURS = "a name of our own servers"
    YOURS = "declared already, by the same customer"
    TAKEN = "declared already, by somebody else"
    TOO_MANY_CLAIMS = "more claims than can be open at once"
    NO_HOST = "not a host"
    TOO_MANY_HOSTS = "more hosts than a domain may have"


class Unfit(ValueError):
    """It cannot be declared; ``value`` is the part of what was typed that is wrong."""

    def __init__(self, why: Wrong, value: str = "") -> None:
        super().__init__(f"{value}: {why.value}")
        self.why = why
        self.value = value


class Pointing(enum.Enum):
    """Where a domain's MX records lead."""

    HERE = "all of them to us"
    PARTLY = "some of them to us"
    ELSEWHERE = "none of them to us"
    NOWHERE = "there are none"
    UNKNOWN = "the DNS did not say"


class Exchanger(NamedTuple):
    """An MX record."""

    preference: int
    name: str
    ours: bool


class Direction(NamedTuple):
    """Where a domain's mail goes, as the DNS says."""

    pointing: Pointing
    exchangers: list[Exchanger]


class Proof(enum.Enum):
    """What became of a claim that was to be proved."""

    PROVED = "the domain is the customer's now"
    MISSING = "there is no record yet"
    DIFFERENT = "there are records, and none of them is the right one"
    TAKEN = "the domain is somebody else's"
    UNKNOWN = "the DNS did not say"


class Record(NamedTuple):
    """A TXT record that proves a claim."""

    name: str
    value: str


def record_of(claim: Claim) -> Record:
    """What the DNS of a claimed domain is to say."""
    return Record(f"{_LABEL}.{claim.name}", f"mail6m={claim.token}")


def unicode_form(name: str) -> str:
    """A canonical domain as people read it (RFC 5890); as it is, if there is no such form."""
    try:
        return idna.decode(name) if "xn--" in name else name
    except idna.IDNAError:
        return name


def read_domain(typed: str) -> str:
    """The canonical name of a mail domain, given in either form. Raises `Unfit`."""
    typed = typed.strip()
    try:
        name = canonical_domain(typed)
        if "xn--" in name:
            idna.decode(name)
    except ValueError as error:
        raise Unfit(Wrong.NO_DOMAIN, typed) from error
    last = name.rpartition(".")[2]
    if "." not in name or last.isdecimal() or name.startswith("[") or len(name) > 240:
        raise Unfit(Wrong.NO_DOMAIN, typed)
    return name


class Declarations:
    """Domains, those that are claimed, and what the DNS says of both."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        domains: Domains,
        claims: Claims,
        resolver: Resolver,
        ours: Sequence[str],
    ) -> None:
        self._clock = clock
        self._domains = domains
        self._claims = claims
        self._resolver = resolver
        self._ours = {name.lower().rstrip(".") for name in ours}

    async def of(self, customer: int) -> tuple[list[Domain], list[Claim]]:
        """A customer's domains, and claims, by name."""
        return await self._domains.all(customer), await self._claims.all(customer)

    async def find(self, customer: int, name: str) -> Domain | Claim | None:
        """A customer's domain of that canonical name, or else the claim to it."""
        domain = await self._domains.find(name)
        if domain is not None and domain.customer == customer:
            return domain
        return await self._claims.find(customer, name)

    # What is typed

    def read_hosts(self, typed: str) -> tuple[Host, ...]:
        """Hosts in the order in which they are to be tried. Raises `Unfit`."""
        hosts = tuple(dict.fromkeys(self._read_host(word) for word in typed.split()))
        if len(hosts) > MOST_HOSTS:
            raise Unfit(Wrong.TOO_MANY_HOSTS)
        return hosts

    def _read_host(self, typed: str) -> Host:
        try:
            host = read_host(typed)
            name = _host_name(host.name)
        except ValueError as error:
            raise Unfit(Wrong.NO_HOST, typed) from error
        if name in self._ours:  # the message would come back to us, until its hops are counted
            raise Unfit(Wrong.OURS, typed)
        return Host(name, host.port)

    async def claim(self, by: By, typed: str, hosts: Sequence[Host], tls: TlsPolicy) -> str:
        """Claim a domain; its canonical name. Raises `Unfit`."""
        name = read_domain(typed)
        if name in self._ours:
            raise Unfit(Wrong.OURS, typed)
        owner = await self._domains.find(name)
        if owner is not None:
            raise Unfit(Wrong.YOURS if owner.customer == by.customer else Wrong.TAKEN, typed)
        claimed = {claim.name for claim in await self._claims.all(by.customer)}
        if len(claimed) >= MOST_CLAIMS and name not in claimed:
            raise Unfit(Wrong.TOO_MANY_CLAIMS)
        await self._claims.put(by, name, secrets.token_hex(16), hosts, tls)
        return name

    # What changes

    async def change(
        self,
        by: By,
        found: Domain | Claim,
        hosts: Sequence[Host],
        tls: TlsPolicy,
        verify: bool | None = None,
    ) -> None:
        """Let the mail go on to other hosts, and a domain's recipients be verified or not.

        ``verify`` is None where that stays as it is. Raises `Refused` if it is not the customer's.
        """
        if isinstance(found, Claim):
            await self._claims.put(by, found.name, found.token, hosts, tls)
        else:
            await self._domains.change(by, found.name, hosts, tls, verify)

    async def publish(self, by: By, found: Domain, mode: StsMode, reports: str) -> None:
        """Ask those who send to the domain for verified TLS, or no longer; see `StsMode`.

        Who has never asked for anything does not do so by asking for nothing. Raises `Refused`.
        """
        never = mode is StsMode.NONE and found.sts is None
        await self._domains.publish(by, found.name, None if never else mode, reports)

    async def remove(self, by: By, found: Domain | Claim) -> None:
        """A domain, or a claim to it, is no more. Raises `Refused` if it has just been removed."""
        if not isinstance(found, Claim):
            await self._domains.remove(by, found.name)
        elif not await self._claims.withdraw(by, found.name):
            raise Refused(f"{found.name} is not claimed")

    async def prove(self, by: By, claim: Claim) -> tuple[Proof, list[str]]:
        """Look for a claim's TXT record, and make the claim a domain if it is there.

        What stands there instead comes with it. Raises `Refused` if the claim has been withdrawn.
        """
        proof, texts = await self.look(claim)
        if proof is not Proof.PROVED:
            return proof, texts
        try:
            granted = await self._claims.grant(by, claim)
        except Refused:
            return Proof.TAKEN, []
        if not granted:
            raise Refused(f"{claim.name} is not claimed")
        return Proof.PROVED, []

    # What the DNS says

    async def look(self, claim: Claim) -> tuple[Proof, list[str]]:
        """What `prove` would find now, and what stands there instead; it changes nothing."""
        wanted = record_of(claim)
        try:  # afresh, since the record may have been set a moment ago
            records = await self._asked(wanted.name, "TXT", fresh=True)
        except _Unanswered:
            return Proof.UNKNOWN, []
        texts = [_text(record) for record in records if isinstance(record, TXT)]
        if wanted.value in texts:
            return Proof.PROVED, []
        return (Proof.DIFFERENT if texts else Proof.MISSING), texts[:_SHOWN]

    async def direction(self, name: str, *, fresh: bool = False) -> Direction:
        """Where a domain's MX records lead (RFC 5321, 5.1); never fails, nor takes long.

        ``fresh``: whatever the DNS has said before.
        """
        try:
            records = await self._asked(name, "MX", fresh=fresh)
        except _Unanswered:
            return Direction(Pointing.UNKNOWN, [])
        found = sorted(
            Exchanger(record.preference, host, host in self._ours)
            for record in records
            if isinstance(record, MX)
            if (host := _host(record))  # without a name: a null MX (RFC 7505)
        )
        ours = sum(exchanger.ours for exchanger in found)
        if not found:
            return Direction(Pointing.NOWHERE, [])
        if not ours:
            return Direction(Pointing.ELSEWHERE, found)
        return Direction(Pointing.HERE if ours == len(found) else Pointing.PARTLY, found)

    async def _asked(self, name: str, kind: str, *, fresh: bool = False) -> tuple[Rdata, ...]:
        """The records, none if there is no such name. Raises `_Unanswered`."""
        answer = ensureDeferred(self._resolver.look_up(name, kind, fresh=fresh))
        try:
            return (await answer.addTimeout(PATIENCE, self._clock)).records
        except (DnsFailure, TimeoutError) as error:
            self.log.info("the DNS did not answer: {error!r}", error=error)
            raise _Unanswered from error


class _Unanswered(Exception):
    """The DNS did not answer, or not in time."""


def _host_name(name: str) -> str:
    """A host's name in A-labels, or its address. Raises `ValueError`."""
    if "%" in name:  # a zone is a matter of one machine
        raise ValueError(f"{name} has a zone")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        canonical = canonical_domain(name)
    if canonical.startswith("[") or canonical.rpartition(".")[2].isdecimal():
        raise ValueError(f"{name} is neither a name nor an address")
    return canonical


def _host(record: MX) -> str:
    return record.exchange.to_text(True).removesuffix(".").lower()


def _text(record: TXT) -> str:
    """A TXT record's text, without the quotes that some take for a part of it."""
    whole = b"".join(record.strings).decode("utf-8", "replace")
    return whole.strip().strip('"')[:200]
