"""Paths as clients write them, well and badly; canonical forms; xtext."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mail6m.dialogue.address import (
    AddressError,
    canonical,
    canonical_domain,
    domain_of,
    read_path,
    read_xtext,
    write_xtext,
)

READ = {
    "plain": ("<marie@mondomaine.fr>", "marie@mondomaine.fr", ""),
    "parameters": (
        "<marie@mondomaine.fr> SIZE=1 RET=FULL",
        "marie@mondomaine.fr",
        "SIZE=1 RET=FULL",
    ),
    "null sender": ("<>", "", ""),
    "null sender and parameters": ("<> SIZE=1", "", "SIZE=1"),
    "the domain is folded, the local part is not": (
        "<Marie@MonDomaine.FR>",
        "Marie@mondomaine.fr",
        "",
    ),
    "final dot": ("<marie@mondomaine.fr.>", "marie@mondomaine.fr", ""),
    "postmaster alone": ("<Postmaster>", "Postmaster", ""),
    "source route": ("<@a.test,@b.test:marie@mondomaine.fr>", "marie@mondomaine.fr", ""),
    "source route, quoted": ('<@a.test:"m d"@mondomaine.fr>', '"m d"@mondomaine.fr', ""),
    "quoted": ('<"marie d"@mondomaine.fr>', '"marie d"@mondomaine.fr', ""),
    "quoted at sign": ('<"a@b"@mondomaine.fr>', '"a@b"@mondomaine.fr', ""),
    "quoted bracket": (
        '<"a> SIZE=1"@mondomaine.fr> RET=HDRS',
        '"a> SIZE=1"@mondomaine.fr',
        "RET=HDRS",
    ),
    "quoted pair": (r'<"a\"\\b"@mondomaine.fr>', r'"a\"\\b"@mondomaine.fr', ""),
    "quoted, empty": ('<""@mondomaine.fr>', '""@mondomaine.fr', ""),
    "IPv4": ("<marie@[192.0.2.1]>", "marie@[192.0.2.1]", ""),
    "IPv6": ("<marie@[IPv6:2001:DB8:0::1]>", "marie@[ipv6:2001:db8::1]", ""),
    "no brackets": ("marie@mondomaine.fr SIZE=1", "marie@mondomaine.fr", "SIZE=1"),
    "VERP": (
        "<list-bounces+marie=mondomaine.fr-0123456789012345678901234567890123456789@example.org>",
        "list-bounces+marie=mondomaine.fr-0123456789012345678901234567890123456789@example.org",
        "",
    ),
    "dots everywhere": ("<.marie..d.@mondomaine.fr>", ".marie..d.@mondomaine.fr", ""),
    "underscore in a domain": ("<marie@my_host.example.org>", "marie@my_host.example.org", ""),
    "U-label": ("<marie@Élan.example.org>", "marie@xn--lan-9la.example.org", ""),
    "A-label": ("<marie@XN--LAN-9LA.example.org>", "marie@xn--lan-9la.example.org", ""),
    "full-width": ("<marie@ｍｏｎｄｏｍａｉｎｅ。ｆｒ>", "marie@mondomaine.fr", ""),
    "UTF-8 local part": ("<élodie@mondomaine.fr>", "élodie@mondomaine.fr", ""),
    "quoted UTF-8": ('<"é e"@mondomaine.fr>', '"é e"@mondomaine.fr', ""),
}

REFUSED = {
    "nothing": "",
    "open": "<marie@mondomaine.fr",
    "shut": "marie@mondomaine.fr>",
    "no space before parameters": "<marie@mondomaine.fr>SIZE=1",
    "space": "<marie d@mondomaine.fr>",
    "no local part": "<@mondomaine.fr>",
    "no domain": "<marie@>",
    "only an at sign": "<@>",
    "two at signs": "<marie@a@mondomaine.fr>",
    "a route to nowhere is no null sender": "<@a.test:>",
    "empty label": "<marie@mondomaine..fr>",
    "dot": "<marie@.>",
    "hyphen first": "<marie@-mondomaine.fr>",
    "hyphen last": "<marie@mondomaine-.fr>",
    "long label": f"<marie@{'a' * 64}.fr>",
    "long domain": f"<marie@{'a.' * 128}fr>",
    "long U-label": f"<marie@{'é' * 64}.fr>",
    "long local part": f"<{'a' * 256}@mondomaine.fr>",
    "long local part in octets": f"<{'é' * 128}@mondomaine.fr>",
    "bad domain": "<marie@mondo!maine.fr>",
    "bad U-label": "<marie@é\u2260\u0338.fr>",
    "IPv4 too big": "<marie@[256.0.2.1]>",
    "IPv4, open": "<marie@[192.0.2.1>",
    "IPv6 without its tag": "<marie@[2001:db8::1]>",
    "IPv6 with a zone": "<marie@[IPv6:fe80::1%eth0]>",
    "literal, empty": "<marie@[]>",
    "literal of another kind": "<marie@[x400:c=fr]>",
    "quote in a quoted local part": '<"a"b"@mondomaine.fr>',
    "quoted, then more": '<"a"b@mondomaine.fr>',
    "quoted, open": '<"a@mondomaine.fr>',
    "quoted postmaster alone": '<"postmaster">',
    "backslash unquoted": r"<a\b@mondomaine.fr>",
    "comma": "<a,b@mondomaine.fr>",
    "control": "<a\x01b@mondomaine.fr>",
    "newline, quoted": '<"a\nb"@mondomaine.fr>',
}


@pytest.mark.parametrize(("text", "address", "rest"), READ.values(), ids=READ)
def test_paths_are_read(text: str, address: str, rest: str) -> None:
    """The address is canonical, and what follows it is left for the parameters."""
    assert read_path(text, international=True) == (address, rest)


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_bad_paths_are_refused(text: str) -> None:
    """What is not an address is refused with a permanent status, by AddressError only."""
    with pytest.raises(AddressError) as caught:
        read_path(text, international=True)
    assert caught.value.status in ("5.1.2", "5.1.3", "5.1.7")


@pytest.mark.parametrize("text", ["<élodie@mondomaine.fr>", "<a@élan.example.org>", "<a@b.fr> X=é"])
def test_non_ascii_needs_smtputf8(text: str) -> None:
    """RFC 6531, 3.3: without SMTPUTF8, the whole argument is ASCII."""
    with pytest.raises(AddressError) as caught:
        read_path(text, international=False)
    assert caught.value.status == "5.6.7"


def test_both_forms_of_a_domain_are_one() -> None:
    """A customer's domain is found by its U-label, its A-label, in any case."""
    forms = ["élan.fr", "ÉLAN.FR", "xn--lan-9la.fr", "XN--LAN-9LA.Fr.", "e\u0301lan.fr"]
    assert {canonical_domain(form) for form in forms} == {"xn--lan-9la.fr"}


def test_domain_of() -> None:
    """The domain follows the last at sign, quoted ones not counting; postmaster alone has none."""
    assert domain_of('"a@b"@mondomaine.fr') == "mondomaine.fr"
    assert domain_of("postmaster") == ""
    assert domain_of("") == ""


@given(st.text() | st.text(alphabet='<>@:,."\\[]a é-%') | st.from_regex(r"<[^<>]*@[^<>]*>"))
@example("<a@\u3002.fr>")
@example("<a@é.\u200d.fr>")
@example("<a@[IPv6:\u0661::]>")
@example("<a@\u06dd\u0661>")
@example("<" + "a@" * 2000 + ">")
@example("<@" + "a," * 2000 + ">")
@example('<"' + "\\a" * 2000)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but AddressError comes out, and a canonical address is its own canonical form."""
    try:
        address, _ = read_path(text, international=True)
    except AddressError:
        return
    assert domain_of(address).isascii()
    assert not any(octet in address for octet in "\r\n\0")
    if address:
        assert canonical(address) == address
        assert read_path(f"<{address}>", international=True) == (address, "")


@given(st.text())
def test_canonical_raises_nothing_else(text: str) -> None:
    """Addresses also come from operators and forms: any text, lone surrogates included."""
    try:
        once = canonical(text)
    except AddressError:
        return
    assert canonical(once) == once


def test_canonical_survives_surrogates() -> None:
    """What a broken decoder leaves is refused in the domain, and raises nothing else."""
    with pytest.raises(AddressError):
        canonical("a@\udc80.fr")


XTEXT = {
    "plain": ("abc", "abc"),
    "empty": ("", ""),
    "plus and equals": ("a+2Bb+3Dc", "a+b=c"),
    "space": ("a+20b", "a b"),
    "UTF-8": ("+C3+A9", "é"),
    "brackets": ("<QQ314159@example.org>", "<QQ314159@example.org>"),
    "RFC 6533, embedded": (r"\x{E9}", r"\x{E9}"),
    "RFC 6533, as it is": ("é", "é"),
}


@pytest.mark.parametrize(("text", "meaning"), XTEXT.values(), ids=XTEXT)
def test_xtext_is_read(text: str, meaning: str) -> None:
    """RFC 3461, 4; octets are those of UTF-8."""
    assert read_xtext(text) == meaning


@pytest.mark.parametrize("text", ["a=b", "a b", "+", "+2", "+2b", "+0D+0A", "+7F", "+FF", "a\n"])
def test_bad_xtext_is_refused(text: str) -> None:
    """What is not xtext, not text, or would end a line when it is written out."""
    with pytest.raises(ValueError):  # noqa: PT011
        read_xtext(text)


@given(st.text())
def test_xtext_is_written_as_it_is_read(text: str) -> None:
    """What is written is ASCII without spaces, and is read back the same if it is printable."""
    written = write_xtext(text)
    assert written.isascii()
    assert written.isprintable()
    assert " " not in written
    if text.isprintable():
        assert read_xtext(written) == text


@given(st.text(alphabet=st.characters(codec="utf-8")).filter(str.isprintable))
def test_xtext_passes_through(text: str) -> None:
    """ENVID and ORCPT reach the next host with the meaning they came with."""
    once = write_xtext(text)
    assert write_xtext(read_xtext(once)) == once
