"""SPF (RFC 7208): may this client send for this domain? pyspf evaluates, our resolver answers."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, cast

import spf as pyspf
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.txtbase import TXTBase

from mail6m.dialogue.address import AddressError, canonical_domain, domain_of
from mail6m.guard.authentication.answers import Answers, Missing
from mail6m.model import Envelope
from mail6m.resolver import DnsFailure

MOST = 10_000
"""Octets of all records that one evaluation reads; more are permerror. A record should fit a
datagram of 512 (RFC 7208, 3.4), and there are eleven at most; pyspf reads a thousand in a ms."""
LONGEST_TERM = 512
"""Characters of a term with macros, which must become a domain name."""

_FULLY_QUALIFIED = re.compile(r"[a-z0-9_.-]{1,253}\.[a-z0-9-]*[a-z][a-z0-9-]*")
"""Names here are canonical already; one without a dot, or an address, is nobody's domain."""


class Spf(NamedTuple):
    """What SPF says, and of which domain; whether that was named by MAIL or by the hello."""

    result: str
    domain: str
    hello: bool = False


def evaluate(envelope: Envelope, answers: Answers) -> Spf:
    """Judge the sender's domain, or the hello of a client that brings a null sender (2.4).

    Raises `Missing`. What has no domain that the DNS could know gives ``none`` (4.3).
    """
    client = envelope.client
    hello = not envelope.sender
    try:
        domain = canonical_domain(client.hello) if hello else domain_of(envelope.sender)
    except AddressError:
        domain = ""
    if not _FULLY_QUALIFIED.fullmatch(domain):
        return Spf("none", "", hello)
    sender = f"postmaster@{domain}" if hello else envelope.sender
    try:
        query = cast(Any, _Query)(client.address, sender, client.hello)
        query.answers = answers
        return Spf(query.check()[0], domain, hello)
    except Missing:
        raise
    except Exception:  # noqa: BLE001 - whatever a stranger's record has led pyspf into
        return Spf("permerror", domain, hello)


class _Query(pyspf.query):  # type: ignore[misc]
    """pyspf's evaluation, with its limits, whose look-ups are ours."""

    answers: Answers
    read = 0
    """Octets of records."""

    def dns(
        self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False
    ) -> list[object]:
        """What pyspf asks of the DNS (its own asks and waits), with the limit of 4.6.4 on voids."""
        try:
            answer = self.answers.records(str(name).lower().removesuffix("."), qtype)
        except DnsFailure as error:
            raise pyspf.TempError(str(error)) from error
        if not answer.records and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > pyspf.MAX_VOID_LOOKUPS:
                raise pyspf.PermError("too many look-ups of nothing")
        return [_as_pyspf_has_it(record) for record in answer.records]

    def dns_mx(self, domainname: str) -> list[object]:
        """The addresses of all MX, which are looked up together."""
        try:
            return cast(list[object], super().dns_mx(domainname))
        except Missing as missing:
            exchanges = cast(Any, self.dns(domainname, "MX", ignore_void=True))
            addresses = [(name, self.A) for _, name in exchanges[: pyspf.MAX_MX]]
            raise Missing(*missing.questions, *addresses) from None

    def check0(self, spf: str | None, recursion: int) -> tuple[str, int, str]:
        """One record's terms, until there are more than anybody needs."""
        self.read += len(spf or "")
        if self.read > MOST:
            raise pyspf.PermError("SPF records without measure")
        return cast(tuple[str, int, str], super().check0(spf, recursion))

    def expand(self, s: str, stripdot: bool = True) -> str:
        """Macros; the longest take pyspf a time that grows with the square."""
        if len(s) > LONGEST_TERM:
            raise pyspf.PermError("a term without measure")
        return cast(str, super().expand(s, stripdot))

    def get_explanation(self, spec: str) -> None:
        """Explanations are for refusals; nothing is refused for SPF, so none is looked up."""


def _as_pyspf_has_it(record: object) -> object:
    if isinstance(record, TXTBase):
        return record.strings
    if isinstance(record, A | AAAA):
        return record.address
    if isinstance(record, MX):
        return record.preference, record.exchange.to_text(True)
    assert isinstance(record, PTR)
    return record.target.to_text(True)
