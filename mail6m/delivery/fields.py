"""What a relayed message says of us in its header, and what it must not say in our name.

The archived message stays as it came in. In front of the relayed one stand fields that the
customer's server may believe, since we take out whatever pretends to be one of them: anything of an
antispam's (``X-Spam-...``), results of authentication that claim our name (RFC 8601, 5), and an ARC
chain that claims it without being whole.

``Received`` fields stay, whatever they claim, since none may be taken out (RFC 5321, 4.4): ours is
the first.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from mail6m.model import Judgement, Scan

_SUSPECT = re.compile(rb"^(?:x-spam|authentication-results|arc-)", re.IGNORECASE | re.MULTILINE)
_START = re.compile(rb"(?<=\r\n)(?=[^ \t\r\n])")
_NAME = re.compile(rb"[!-9;-~]*")
_COMMENT = re.compile(rb"\((?:[^()\\]|\\.)*\)", re.DOTALL)
_LONGEST_IDENTIFIER = 2_000
"""Octets in which it must end, comments included."""
_DEEPEST = 5
"""Comments within comments; nobody writes as many."""
_WIDTH = 78
_UNSAFE = re.compile(r"[^A-Za-z0-9_.:-]")
_MOST_TESTS = 100
"""Names of an antispam's tests that are told."""


def head_end(content: bytes) -> int:
    """The offset of the first empty line, or of the end: what anybody may take for the header.

    That is more than `mail6m.header.header_end` says where a line in it is no field: some pass over
    such lines, and go on to believe what stands behind them.
    """
    if content.startswith(b"\r\n"):
        return 0
    end = content.find(b"\r\n\r\n")
    return len(content) if end < 0 else end + 2


def cleaned(head: bytes, names: Collection[str], chain_is_whole: bool) -> bytes:
    """The lines up to the first empty one without what pretends to be ours.

    ``names`` are ours, in lower case; ``chain_is_whole`` says that the ARC chain has been verified.
    """
    if _SUSPECT.search(head) is None:
        return head
    ours = [name.encode() for name in names]
    fields = _START.split(head)
    chain_goes = not chain_is_whole and any(
        _name(field).startswith(b"arc-") and _claims(field, ours) for field in fields
    )
    return b"".join([field for field in fields if not _pretends(field, ours, chain_goes)])


def _pretends(field: bytes, ours: list[bytes], chain_goes: bool) -> bool:
    name = _name(field)
    if name.startswith(b"x-spam"):
        return True
    if name == b"authentication-results":
        return _is_from(field, ours)
    return chain_goes and name.startswith(b"arc-")


def _name(field: bytes) -> bytes:
    match = _NAME.match(field)
    return match[0].lower() if match else b""


def _is_from(field: bytes, ours: list[bytes]) -> bool:
    """Whether the identifier before the first semicolon is ours, or cannot be read for sure."""
    value = field.partition(b":")[2][:_LONGEST_IDENTIFIER]
    for _ in range(_DEEPEST):  # comments may stand in comments
        value = _COMMENT.sub(b" ", value)
    identifier = value.partition(b";")[0].lower()
    doubtful = any(octet > 126 or octet in b'"\\()' for octet in identifier)
    return doubtful or any(name in identifier for name in ours)


def _claims(field: bytes, ours: list[bytes]) -> bool:
    folded = b"".join(field.lower().split())
    return any(name in folded for name in ours)


def judged(judgement: Judgement, hostname: str) -> bytes:
    """The fields that say what we have found out; none where nobody has looked."""
    results = judgement.authentication.results
    fields = [f"Authentication-Results: {hostname};\r\n\t{results}\r\n"] if results else []
    return "".join(fields + _spam_fields(judgement)).encode()


def _spam_fields(judgement: Judgement) -> list[str]:
    if judgement.scan is Scan.NONE and judgement.spam is None:
        return []
    if judgement.spam is None:
        return [f"X-Spam-Status: Unknown, {_NOT_SCANNED[judgement.scan]}\r\n"]
    verdict = "Yes" if judgement.spam else "No"
    flag = f"X-Spam-Flag: {verdict.upper()}\r\n"
    if judgement.corrected:
        return [flag, f"X-Spam-Status: {verdict}, marked by hand\r\n"]
    if judgement.scan is not Scan.DONE:
        return [flag, f"X-Spam-Status: {verdict}, {_NOT_SCANNED[judgement.scan]}\r\n"]
    score = f"{judgement.score:.1f}"
    status = f"{verdict}, score={score} required={judgement.threshold:.1f}"
    tests = [_UNSAFE.sub("_", name)[:60] for name in judgement.symbols[:_MOST_TESTS]]
    return [
        flag,
        f"X-Spam-Score: {score}\r\n",
        _folded(f"X-Spam-Status: {status} tests=", tests or ["none"]),
    ]


_NOT_SCANNED = {
    Scan.NONE: "not scanned",
    Scan.SPARED: "white list",
    Scan.MISSED: "not scanned, the scanner did not answer",
    Scan.TOO_LARGE: "not scanned, too large",
}


def _folded(line: str, words: list[str]) -> str:
    """A line with words behind it, each but the last with a comma, folded (RFC 5322, 2.2.3)."""
    lines = []
    for number, word in enumerate(words):
        word += "," if number < len(words) - 1 else ""
        if len(line) + len(word) > _WIDTH and line.strip():
            lines.append(line)
            line = "\t"
        line += word
    return "\r\n".join([*lines, line]) + "\r\n"
