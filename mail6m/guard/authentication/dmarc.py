"""DMARC (RFC 7489): does SPF or DKIM speak for the domain that people see, and what if not?

What a domain asks for a share of its mail (pct=) is asked for all of it: it is advice to a receiver
that refuses, and here the customer decides that. Reports are not sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.utils import getaddresses
from functools import lru_cache
from typing import NamedTuple

from dkim.util import InvalidTagValueList, parse_tag_value
from publicsuffixlist import PublicSuffixList

from mail6m.canonical import Signable, relaxed_field
from mail6m.dialogue.address import AddressError, canonical_domain, domain_of
from mail6m.guard.authentication.answers import Answers
from mail6m.guard.authentication.spf import Spf
from mail6m.model import Signature
from mail6m.resolver import DnsFailure

LONGEST_FROM = 8_192
"""Octets of a From field that are read."""
MOST_AUTHORS = 5
"""Authors that are asked about, of a message that has more than one."""
LONGEST_RECORD = 4_096
_POLICIES = ("none", "quarantine", "reject")
_VERSION = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_SIMPLE = re.compile(r'(?:[^<>@,;:"()\\]*|"[^"\\]*" ?)<[^<>@,;:"()\\ ]+@([^<>@,;:"()\\ ]+)>')
_BARE = re.compile(r'[^<>@,;:"()\\ ]+@([^<>@,;:"()\\ ]+)')


class Dmarc(NamedTuple):
    """What DMARC says of the domain in From, and what that asks for where it fails."""

    result: str
    policy: str = ""
    author: str = ""
    why: str = ""


class Policy(NamedTuple):
    """A domain's record (6.3), as far as it is followed."""

    domain: str
    below: str
    """For subdomains that have no record of their own."""
    strict_dkim: bool
    strict_spf: bool


class Found(NamedTuple):
    """The author's domain, and what its organisation asks for."""

    author: str
    policy: Policy | None = None
    inherited: bool = False
    """The record is not the domain's own: it is above."""
    result: str = ""
    """Why there can be no policy, as DMARC's result."""
    why: str = ""


def find_policy(message: Signable, answers: Answers) -> Found:
    """Read From, and find the record that holds for it (6.6.1, 6.6.3). Raises `Missing`."""
    fields = message.named(b"from")
    authors = author_domains(fields)
    if not authors:
        return Found("", result="permerror", why="From names no domain")
    if len(authors) > 1 or len(fields) > 1:
        policy = strictest(sorted(authors)[:MOST_AUTHORS], answers)
        return Found("", policy, result="permerror", why="several authors in From")
    [author] = authors
    try:
        return Found(author, *discover(author, answers))
    except DnsFailure:
        return Found(author, result="temperror", why="no answer for the policy")


def evaluate(found: Found, spf: Spf, signatures: Sequence[Signature]) -> Dmarc:
    """Judge the author's domain (6.6.2)."""
    author, policy = found.author, found.policy
    if policy is None or found.result:
        asked = policy.domain if policy is not None else ""
        return Dmarc(found.result or "none", asked, author, found.why)
    asked = policy.below if found.inherited else policy.domain
    by_spf, by_dkim = policy.strict_spf, policy.strict_dkim
    results = [spf.result] if aligned(spf.domain, author, strict=by_spf) else []
    results += [one.result for one in signatures if aligned(one.domain, author, strict=by_dkim)]
    if "pass" in results:
        return Dmarc("pass", asked, author)
    if "temperror" in results:  # it may be his, and only the DNS is away
        return Dmarc("temperror", asked, author, "no answer for what it rests on")
    return Dmarc("fail", asked, author)


def strictest(authors: Sequence[str], answers: Answers) -> Policy | None:
    """Of several authors' policies the one that asks for most (6.6.1). Raises `Missing`."""
    found = []
    for author in authors:
        try:
            policy, inherited = discover(author, answers)
        except DnsFailure:
            continue
        if policy is not None:
            found.append(policy.below if inherited else policy.domain)
    asked = max(found, key=_POLICIES.index, default="")
    return Policy(asked, asked, False, False) if asked else None


def aligned(domain: str, author: str, *, strict: bool) -> bool:
    """Whether they are one's (3.1): the same, or of the same organisation."""
    if domain == author:
        return True
    return not strict and bool(domain) and organisation(domain) == organisation(author)


def author_domains(fields: Sequence[bytes]) -> frozenset[str]:
    """The domains in From, canonical; empty if they cannot be read."""
    read = [field for field in fields[:MOST_AUTHORS] if len(field) <= LONGEST_FROM]
    return frozenset().union(*(_domains(relaxed_field(field)[5:]) for field in read))


def _domains(value: bytes) -> frozenset[str]:
    text = value.decode("utf-8", "replace")
    found = _SIMPLE.fullmatch(text) or _BARE.fullmatch(text)
    try:
        if found:
            return frozenset([_domain(found[1])])
        return frozenset(_domain(domain_of(address)) for _, address in getaddresses([text]))
    except (AddressError, RecursionError):  # comments within comments within comments
        return frozenset()


def _domain(text: str) -> str:
    """Canonical. Raises `AddressError` when it is not one that the DNS could know."""
    name = canonical_domain(text)
    if name.startswith("[") or not name:
        raise AddressError("5.1.7", "not a domain")
    return name


def discover(author: str, answers: Answers) -> tuple[Policy | None, bool]:
    """The record that holds for the author, and whether it is the organisation's (6.6.3).

    Raises `Missing`, `DnsFailure`.
    """
    own = _record(author, answers)
    parent = organisation(author)
    if own is not None or parent == author:
        return own, False
    return _record(parent, answers), True


def _record(domain: str, answers: Answers) -> Policy | None:
    texts = [text for text in answers.texts(f"_dmarc.{domain}") if _VERSION.match(text)]
    if len(texts) != 1 or len(texts[0]) > LONGEST_RECORD:  # several are as none (6.6.3, step 5)
        return None
    return read_policy(texts[0])


@lru_cache(maxsize=1_024)
def read_policy(record: bytes) -> Policy | None:
    """A record that begins with its version; None if it says nothing that can be followed."""
    try:
        tags = {
            name.lower(): value.lower().decode("ascii", "replace")
            for name, value in parse_tag_value(record).items()
        }
    except (InvalidTagValueList, IndexError):
        return None
    domain, below = tags.get(b"p", ""), tags.get(b"sp", "")
    if domain not in _POLICIES or below not in (*_POLICIES, ""):
        if not tags.get(b"rua"):  # one who wants reports is taken to ask for nothing else (step 6)
            return None
        domain = below = "none"
    strict_dkim, strict_spf = (tags.get(name) == "s" for name in (b"adkim", b"aspf"))
    return Policy(domain, below or domain, strict_dkim, strict_spf)


@lru_cache(maxsize=4_096)
def organisation(domain: str) -> str:
    """The organisational domain (3.2): one label below the longest public suffix."""
    return _suffixes().privatesuffix(domain) or domain


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
