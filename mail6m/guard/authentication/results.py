"""What an Authentication-Results field says behind our name (RFC 8601).

All that a stranger has written is checked once more, however it came here: only what is a domain,
a selector or base64 is repeated, and nothing that could begin another field, result or comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from authres.core import AuthenticationResult, AuthenticationResultProperty

from mail6m.guard.authentication.arc import Chain
from mail6m.guard.authentication.dkim import Verified
from mail6m.guard.authentication.dmarc import Dmarc
from mail6m.guard.authentication.spf import Spf

WIDTH = 76
"""Characters of a line, where words allow it (RFC 5322, 2.1.1)."""
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,253}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{1,8}")
_REASON = re.compile(r"[A-Za-z0-9 .,='-]{1,100}")
_Pairs = tuple[tuple[str, str, str], ...]


def text(spf: Spf, verified: Sequence[Verified], dmarc: Dmarc, chain: Chain) -> str:
    """The results, folded; what follows ``Authentication-Results: NAME;``."""
    return ";\r\n\t".join(_results(spf, verified, dmarc, chain))


def _results(spf: Spf, verified: Sequence[Verified], dmarc: Dmarc, chain: Chain) -> Iterator[str]:
    identity = "helo" if spf.hello else "mailfrom"
    yield _often("spf", spf.result, "", (("smtp", identity, spf.domain),))
    for signature, why, b in verified:
        origin = (("header", "d", signature.domain), ("header", "s", signature.selector))
        yield _result("dkim", signature.result, why, (*origin, ("header", "b", b)))
    if not verified:
        yield _often("dkim", "none", "", ())
    yield _often(
        "dmarc", dmarc.result, dmarc.why, (("header", "from", dmarc.author),), dmarc.policy
    )
    if chain.result in ("pass", "fail"):
        yield _often("arc", chain.result, chain.why, (("header", "d", chain.domain),))


def _result(method: str, result: str, why: str, pairs: _Pairs, policy: str = "") -> str:
    told = AuthenticationResult(
        method,
        result=result,
        result_comment=f"p={policy}" if policy else None,
        reason=why if _REASON.fullmatch(why) else None,
        properties=[
            AuthenticationResultProperty(kind, name, value)
            for kind, name, value in pairs
            if (_BASE64 if name == "b" else _PLAIN).fullmatch(value)
        ],
    )
    return _folded(str(told))


_often = lru_cache(maxsize=4_096)(_result)
"""The same for what comes again and again; authres takes its time (a sixth of the whole)."""


def _folded(text: str) -> str:
    """Long ones over several lines: a break in front of what would go beyond the margin."""
    words, lines = text.split(" "), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) + 9 > WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\r\n\t".join(lines)
