"""ARC (RFC 8617): is what earlier hosts say they saw still as they said it?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from mail6m.canonical import Signable, signed_octets
from mail6m.guard.authentication.answers import Answers, Missing
from mail6m.guard.authentication.dkim import (
    LONGEST,
    Failed,
    Tags,
    check_body,
    check_common,
    check_origin,
    domain,
    find_key,
    read_tags,
    signed,
)
from mail6m.resolver import DnsFailure

MOST = 50
"""Sets that a chain may have (RFC 8617, 4.2.1)."""
RESULTS, MESSAGE, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
_RELAXED = b"relaxed/relaxed"
_INSTANCE = re.compile(rb"[^:]*:\s*i\s*=\s*([0-9]{1,3})\s*;")


class Chain(NamedTuple):
    """What validating the chain has come to (RFC 8617, 4.4)."""

    result: str
    """``none``, ``pass`` or ``fail``; empty when the DNS does not answer, so that nobody knows."""
    sets: int = 0
    domain: str = ""
    """Who sealed last."""
    why: str = ""


class _Set(NamedTuple):
    results: bytes
    message: bytes
    seal: bytes


def validate(message: Signable, answers: Answers, now: float) -> Chain:
    """Validate the chain (RFC 8617, 5.2). Raises `Missing`. ``now`` is seconds UTC."""
    if not (message.named(SEAL) or message.named(MESSAGE) or message.named(RESULTS)):
        return Chain("none")
    number, last = 0, ""
    try:
        sets = _sets(message)
        number = len(sets)
        seals = [read_tags(one.seal) for one in sets]
        _check_statuses(seals)
        last = domain(seals[-1])
        _check_keys_known(sets, seals, answers)
        _check_message(sets[-1].message, message, answers, now)
        for place in range(number, 0, -1):
            _check_seal(sets[:place], seals[place - 1], message, answers)
    except Failed as failed:
        return Chain("fail", number, last, failed.why)
    except DnsFailure:
        return Chain("", number, last, "no answer for a key")
    return Chain("pass", number, last)


def hash_body(message: Signable) -> None:
    """Hash the body as the last set asks for: what takes time, and no answers."""
    with suppress(Failed, IndexError):
        check_body(read_tags(_sets(message)[-1].message), message, _RELAXED)


def _sets(message: Signable) -> list[_Set]:
    """The sets, the first one first; each is whole, and none is missing. Raises `Failed`."""
    kinds = [_by_instance(message.named(name)) for name in (RESULTS, MESSAGE, SEAL)]
    numbers = range(1, len(kinds[0]) + 1)
    if len(numbers) > MOST or any(set(kind) != set(numbers) for kind in kinds):
        raise Failed("fail", "the chain is not whole")
    return [_Set(*(kind[number] for kind in kinds)) for number in numbers]


def _by_instance(fields: Sequence[bytes]) -> dict[int, bytes]:
    if len(fields) > MOST:
        raise Failed("fail", f"more than {MOST} sets")
    found = {}
    for field in fields:
        # In an ARC-Authentication-Results i= comes first (4.1.1); elsewhere it is a tag.
        if field[: len(RESULTS)].lower() == RESULTS:
            match = _INSTANCE.match(field[:200])
            text = match[1] if match and len(field) <= LONGEST else b""
        else:
            text = read_tags(field).get(b"i", b"")
        if not text.isdigit() or len(text) > 2 or int(text) in found:
            raise Failed("fail", "an instance is not clear")
        found[int(text)] = field
    return found


def _check_statuses(seals: Sequence[Tags]) -> None:
    """Whoever sealed has found the chain before to be good (5.2, 2 and 3). Raises `Failed`."""
    for place, seal in enumerate(seals, 1):
        if b"h" in seal or seal.get(b"cv") != (b"none" if place == 1 else b"pass"):
            raise Failed("fail", f"seal {place} says so")


def _check_keys_known(sets: Sequence[_Set], seals: Sequence[Tags], answers: Answers) -> None:
    """Ask for all keys at once, not for one after the other. Raises `Missing`, `Failed`."""
    questions: set[tuple[str, str]] = set()
    for tags in [read_tags(sets[-1].message), *seals]:
        check_origin(tags)
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


def _check_seal(sets: Sequence[_Set], tags: Tags, message: Signable, answers: Answers) -> None:
    """The last of these seals holds (4.1.3). Raises `Failed`, `Missing`, `DnsFailure`."""
    check_origin(tags)
    fields = [message.relaxed(field) for one in sets for field in one]
    octets = signed_octets(fields[:-1], sets[-1].seal, relaxed=True)
    find_key(tags, answers).check(tags, octets)
