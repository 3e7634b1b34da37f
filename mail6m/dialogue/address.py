"""Paths and domains: RFC 5321 (4.1.2, 4.1.3), RFC 6531 (3.3), RFC 5890."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

import idna

LONGEST_LOCAL_PART = 255
"""RFC 5321 asks for 64 octets at least; return paths that name a recipient (VERP) are longer."""
LONGEST_DOMAIN = 255

_PATH = re.compile(
    r"<(?:@[^:>\s]*:(?!>))?"  # a source route is accepted and ignored (RFC 5321, appendix C)
    r'(?P<path>"(?:[^"\\]|\\.)*"@[^<>\s"]+|[^<>\s"]*)>'
    r'|(?P<bare>[^<>\s":,;]+)'
)
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_LOCAL_PART = re.compile(r"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]+")
_XTEXT = re.compile(r"(?:[!-*,-<>-~\u00a1-\U0010ffff]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"')


class AddressError(ValueError):
    """A path that cannot be used; `status` is the enhanced status code that says why."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


def read_path(text: str, *, international: bool) -> tuple[str, str]:
    """Read the path at the start of ``text``, and return its address and what follows it.

    The address is canonical as `mail6m.model` says; ``<>`` gives ``""``, and a path without a
    domain (``<postmaster>``) a lone local part. Non-ASCII is taken only when ``international``
    (SMTPUTF8 was asked for), in what follows as well. Raises `AddressError`.
    """
    match = _PATH.match(text)
    if match is None:
        raise AddressError("5.1.7", "Syntax: an address in angle brackets")
    rest = text[match.end() :]
    if rest and not rest.startswith(" "):
        raise AddressError("5.1.7", "Syntax: an address in angle brackets")
    path = match["path"]
    if path is None:
        path = match["bare"]
    if not international and not text.isascii():
        raise AddressError("5.6.7", "Non-ASCII address without SMTPUTF8")
    return (canonical(path) if path else "", rest.strip(" "))


def canonical(address: str) -> str:
    """The address with its domain canonical, its local part as it is. Raises `AddressError`."""
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = address, ""
    if len(local.encode("utf-8", "replace")) > LONGEST_LOCAL_PART:
        raise AddressError("5.1.3", "Local part too long")
    pattern = _QUOTED if local.startswith('"') else _LOCAL_PART
    if not pattern.fullmatch(local):
        raise AddressError("5.1.3", "Bad local part in address")
    return f"{local}@{canonical_domain(domain)}" if at else local


@lru_cache(maxsize=4_096)
def canonical_domain(domain: str) -> str:
    """Lower case, A-labels, no final dot; address literals checked. Raises `AddressError`."""
    if domain.startswith("["):
        return _literal(domain)
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise AddressError("5.1.2", "Bad internationalised domain") from error
    if len(domain) > LONGEST_DOMAIN or not _DOMAIN.fullmatch(domain):
        raise AddressError("5.1.2", "Bad domain in address")
    return domain.lower().removesuffix(".")


def split_tag(address: str) -> tuple[str, str]:
    """An address without what follows a + in its local part, and that (RFC 5233); many hosts take
    both to the same mailbox, and some do not.
    """
    local, _, domain = address.rpartition("@")
    name, _, tag = local.partition("+")
    return (f"{name}@{domain}", tag) if name else (address, "")


def domain_of(address: str) -> str:
    """What follows the last ``@``; empty for a lone local part."""
    return address.rpartition("@")[2] if "@" in address else ""


def _literal(text: str) -> str:
    inside = text[1:-1]
    try:
        if not text.endswith("]") or "%" in inside:  # a zone means nothing to another host
            raise ValueError
        if inside[:5].lower() == "ipv6:":
            return f"[ipv6:{ipaddress.IPv6Address(inside[5:])}]"
        return f"[{ipaddress.IPv4Address(inside)}]"
    except ValueError as error:
        raise AddressError("5.1.2", "Bad address literal") from error


def read_xtext(text: str) -> str:
    """Decode xtext (RFC 3461, 4), of octets in UTF-8 (RFC 6533, 3). Raises `ValueError`."""
    if not _XTEXT.fullmatch(text):
        raise ValueError("not xtext")
    decoded = _HEXCHAR.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode()).decode()
    if not decoded.isprintable():
        raise ValueError("control characters in xtext")
    return decoded


def write_xtext(text: str) -> str:
    """Encode as xtext (RFC 3461, 4); what is not ASCII goes as its UTF-8 octets."""
    return "".join(
        chr(octet) if 0x21 <= octet <= 0x7E and octet not in b"+=" else f"+{octet:02X}"
        for octet in text.encode("utf-8", "replace")
    )
