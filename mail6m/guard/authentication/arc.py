"""ARC (RFC 8617): is what earlier hosts say they saw still as they said it?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from mail6m.canonical import Signable, signed_octets
from mail6m.chain import SEAL, ArcSet, ChainError, sets
from mail6m.guard.authentication.answers import Answers, Missing
from mail6m.guard.authentication.dkim import (
    Failed,
    Tags,
    check_body,
    check_common,
    check_origin,
    domain,
    find_key,
    read_tags,
    selector,
    signed,
)
from mail6m.resolver import DnsFailure

MOST_KEYS = 10
"""Different keys of the seals that are looked up: each is a question to somebody else's server."""
_RELAXED = b"relaxed/relaxed"


class Chain(NamedTuple):
    """What validating the chain has come to (RFC 8617, 4.4)."""

    result: str
    """``none``, ``pass`` or ``fail``; empty when the DNS does not answer, so that nobody knows."""
    sets: int = 0
    domain: str = ""
    """Who sealed last."""
    why: str = ""


def validate(message: Signable, answers: Answers, now: float) -> Chain:
    """Validate the chain (RFC 8617, 5.2). Raises `Missing`. ``now`` is seconds UTC."""
    number, last = 0, ""
    try:
        chain = sets(message)
        if not chain:
            return Chain("none")
        number = len(chain)
        seals = [read_tags(one.seal) for one in chain]
        _check_statuses(seals)
        last = domain(seals[-1])
        _check_message(chain[-1].message, message, answers, now)  # one key, before all the others
        _check_keys_known(seals, answers)
        for place in range(number, 0, -1):
            _check_seal(chain[:place], seals[place - 1], message, answers)
    except (ChainError, Failed) as failed:
        return Chain("fail", number, last, str(failed))
    except DnsFailure:
        return Chain("", number, last, "no answer for a key")
    return Chain("pass", number, last)


def hash_body(message: Signable) -> None:
    """Hash the body as the last set asks for: what takes time, and no answers."""
    with suppress(ChainError, Failed, IndexError):
        check_body(read_tags(sets(message)[-1].message), message, _RELAXED)


def _check_statuses(seals: Sequence[Tags]) -> None:
    """Whoever sealed has found the chain before to be good (5.2, 2 and 3). Raises `Failed`."""
    for place, seal in enumerate(seals, 1):
        if b"h" in seal:
            raise Failed("fail", f"seal {place} has h=")
        if seal.get(b"cv") != (b"none" if place == 1 else b"pass"):
            raise Failed("fail", f"seal {place} says that it is not whole")


def _check_keys_known(seals: Sequence[Tags], answers: Answers) -> None:
    """Ask for all keys at once, not for one after the other. Raises `Missing`, `Failed`."""
    questions: set[tuple[str, str]] = set()
    for tags in seals:
        check_origin(tags)
    if len({(selector(tags), domain(tags)) for tags in seals}) > MOST_KEYS:
        raise Failed("fail", "too many keys")
    for tags in seals:
        try:
            find_key(tags, answers)
        except Missing as missing:
            questions |= missing.questions
    if questions:
        raise Missing(*questions)


def _check_message(field: bytes, message: Signable, answers: Answers, now: float) -> None:
    """The last ARC-Message-Signature holds (4.1.2). Raises `Failed`, `Missing`, `DnsFailure`."""
    tags = read_tags(field)
    names = check_common(tags, now)
    if SEAL in names:
        raise Failed("fail", "a message signature signs a seal")
    check_body(tags, message, _RELAXED)
    find_key(tags, answers).check(tags, signed(field, tags, names, message, _RELAXED))


def _check_seal(chain: Sequence[ArcSet], tags: Tags, message: Signable, answers: Answers) -> None:
    """The last of these seals holds (4.1.3). Raises `Failed`, `Missing`, `DnsFailure`."""
    check_origin(tags)
    fields = [message.relaxed(field) for one in chain for field in one]
    octets = signed_octets(fields[:-1], chain[-1].seal, relaxed=True)
    find_key(tags, answers).check(tags, octets)
