"""MTA-STS: what a domain says about TLS on its MX, found by DNS, fetched by HTTPS (RFC 8461)."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from dns.rdtypes.ANY.TXT import TXT
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from mail6m.model import StsMode
from mail6m.resolver import DnsFailure, Resolver
from mail6m.storage.sts import Kept, StsTable

PATIENCE = 30.0
"""Seconds for a policy to be fetched; RFC 8461, 3.3 suggests a minute at most."""
LARGEST = 65_536
"""Bytes of a policy (RFC 8461, 3.3)."""
LONGEST_AGE = 31_557_600
"""Seconds that a policy may hold: a year (RFC 8461, 3.2)."""
FRESH = timedelta(days=1)
"""A policy that is older is fetched again, so that one that is in use does not run out."""
RETRY = 300.0
"""Seconds after a failure before the next try (RFC 8461, 3.3)."""
MOST_FAILURES = 1_000
"""Domains whose failures are remembered."""
MOST_MX = 100

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9._-]{0,250}[a-z0-9])?")


class Policy(NamedTuple):
    """What a domain says of its hosts."""

    mode: StsMode
    mx: tuple[str, ...]
    """Names, some of them with ``*`` for their first label; in lower case."""
    max_age: int
    """Seconds."""

    def covers(self, host: str) -> bool:
        """Whether a host may stand for the domain (RFC 8461, 4.1)."""
        host = host.lower().rstrip(".")
        above = "*." + host.partition(".")[2]
        return host in self.mx or above in self.mx


class NoPolicy(ValueError):
    """What was fetched is no policy; the text says why."""


def read_id(texts: list[str]) -> str:
    """The id in a domain's TXT records; empty if they do not say exactly one (RFC 8461, 3.1)."""
    records = [text for text in texts if re.match(r"v=STSv1[ \t]*(;|$)", text)]
    if len(records) != 1:
        return ""
    fields = [field.strip().partition("=") for field in records[0].split(";")]
    ids = [value.strip() for key, _, value in fields if key.strip() == "id"]
    return ids[0] if len(ids) == 1 and _ID.fullmatch(ids[0]) else ""


def read_policy(text: str) -> Policy:
    """A policy file (RFC 8461, 3.2). Raises `NoPolicy`."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), []).append(value.strip())
    first = {key: of_key[0] for key, of_key in values.items()}
    if first.get("version") != "STSv1":
        raise NoPolicy("it is of no version that is known")
    if first.get("mode") not in set(StsMode):
        raise NoPolicy("it has no mode")
    mode, age = StsMode(first["mode"]), first.get("max_age", "")
    if not age.isascii() or not age.isdecimal() or len(age) > 10:
        raise NoPolicy("it has no max_age")
    mx = tuple(pattern.lower().rstrip(".") for pattern in values.get("mx", []))
    if mode is not StsMode.NONE and not mx:
        raise NoPolicy("it names no mx")
    if len(mx) > MOST_MX or not all(_PATTERN.fullmatch(pattern) for pattern in mx):
        raise NoPolicy("an mx in it is not a name")
    return Policy(mode, mx, min(int(age), LONGEST_AGE))


class StsPolicies:
    """Finds policies, and keeps them."""

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        resolver: Resolver,
        agent: IAgent,
        table: StsTable,
        clock: Callable[[], datetime],
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._agent = agent
        self._table = table
        self._clock = clock
        self._failed: OrderedDict[str, float] = OrderedDict()

    async def of(self, domain: str) -> Policy | None:
        """A domain's policy, unless it has none, or wants none. Raises `Unavailable`.

        What is kept holds until it expires, even when nothing is to be found any more: an attacker
        must not be able to take it away (RFC 8461, 5.1).
        """
        now = self._clock()
        kept = await self._table.find(domain, now)
        id_ = await self._id(domain)
        current = kept is not None and kept.id == id_ and now - kept.fetched_at < FRESH
        if id_ and not current and self._failed.get(domain, 0.0) <= self._reactor.seconds():
            kept = await self._renew(domain, id_, now) or kept
        if kept is None or kept.mode == StsMode.NONE:
            return None
        return Policy(StsMode(kept.mode), kept.mx, 0)

    async def _id(self, domain: str) -> str:
        try:
            answer = await self._resolver.look_up(f"_mta-sts.{domain}", "TXT")
        except DnsFailure:
            return ""
        found = [record for record in answer.records if isinstance(record, TXT)]
        return read_id([b"".join(record.strings).decode("utf-8", "replace") for record in found])

    async def _renew(self, domain: str, id_: str, now: datetime) -> Kept | None:
        try:
            fetching = ensureDeferred(self._fetch(domain))
            policy = read_policy(await fetching.addTimeout(PATIENCE, self._reactor))
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - Twisted's and OpenSSL's, of many kinds
            self.log.warn(
                "the MTA-STS policy of {domain} cannot be had: {error!r}",
                domain=domain,
                error=error,
            )
            self._note_failure(domain)
            return None
        expires_at = now + timedelta(seconds=policy.max_age)
        kept = Kept(id_, policy.mode.value, policy.mx, now, expires_at)
        await self._table.keep(domain, kept)
        return kept

    def _note_failure(self, domain: str) -> None:
        self._failed[domain] = self._reactor.seconds() + RETRY
        self._failed.move_to_end(domain)
        while len(self._failed) > MOST_FAILURES:
            self._failed.popitem(last=False)

    async def _fetch(self, domain: str) -> str:
        """The policy file; redirects are not followed (RFC 8461, 3.3)."""
        url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt".encode("ascii")
        headers = Headers({"User-Agent": ["Mail6M"]})
        response: IResponse = await cast(Any, self._agent.request(b"GET", url, headers))
        kind = (response.headers.getRawHeaders(b"content-type") or [b""])[0]
        body = _Body()
        response.deliverBody(body)
        if response.code != 200 or kind.partition(b";")[0].strip().lower() != b"text/plain":
            body.whole.addErrback(lambda _: b"")
            body.cut_off()
            raise NoPolicy(f"the answer is {response.code} {kind.decode('latin-1')}"[:100])
        return (await body.whole).decode("utf-8", "replace")


class _Body(Protocol):
    """A response's body, within bounds."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self.whole: Deferred[bytes] = Deferred(lambda _: self.cut_off())

    def cut_off(self) -> None:
        """Hear no more of it."""
        if self.transport is not None:
            cast(Any, self.transport).stopProducing()

    def dataReceived(self, data: bytes) -> None:
        if self.whole.called:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > LARGEST:
            self.whole.errback(NoPolicy("it is too large"))
            self.cut_off()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)
