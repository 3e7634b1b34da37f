"""Who sends: SPF, DKIM, ARC and DMARC, each with the header that results.

The messages are signed by dkimpy, or by hand where dkimpy would not do it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import authres
import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool

from mail6m.canonical import Signable
from mail6m.chain import ChainError, sets
from mail6m.content import Budget, Content
from mail6m.guard.authentication import authenticator as authenticating
from mail6m.guard.authentication import dmarc, results
from mail6m.guard.authentication.answers import Answers, Missing
from mail6m.guard.authentication.arc import Chain
from mail6m.guard.authentication.authenticator import NOTHING, Authenticator
from mail6m.guard.authentication.dkim import Key, Verified, check_body, read_key, read_tags
from mail6m.guard.authentication.dmarc import Dmarc
from mail6m.guard.authentication.spf import Spf
from mail6m.model import Authentication, Client, Envelope, Recipient, Signature
from mail6m.options import read_settings
from mail6m.resolver import Answer
from mail6m.settings import Settings, SettingsError
from mail6m.signing import BodyDigest, Signer, public_record
from tests.keys import WEAK
from tests.reactor_thread import run, the_reactor
from tests.zone import Told, Zone

NOW = 1_700_000_000
GOOD, BAD = "192.0.2.1", "198.51.100.1"
LETTER = (
    b"From: Marie Duchemin <marie@example.org>\r\n"
    b"To: <paul@mondomaine.fr>\r\n"
    b"Subject: Les plans\r\n"
    b"\r\n"
    b"Bonjour,  voici les plans.\r\n"
)


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


@cache
def _weak() -> rsa.RSAPrivateKey:
    """Of 768 bits: cryptography would not make one."""
    key = serialization.load_pem_private_key(WEAK, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@cache
def _ed25519() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


@cache
def _records() -> dict[str, str | list[str]]:
    """What the DNS says in these tests."""
    rsa_record = public_record(_key())
    return {
        "example.org TXT": ["v=spf1 ip4:192.0.2.0/24 -all", "something else"],
        "soft.test TXT": "v=spf1 ip4:192.0.2.0/24 ~all",
        "neutral.test TXT": "v=spf1 ?all",
        "broken.test TXT": "v=spf1 ip4:nowhere -all",
        "twice.test TXT": ["v=spf1 -all", "v=spf1 +all"],
        "deep.test TXT": "v=spf1 include:a.deep.test mx:mx.deep.test -all",
        "a.deep.test TXT": "v=spf1 a:b.deep.test -all",
        "b.deep.test A": "203.0.113.1",
        "mx.deep.test MX": ["10 c.deep.test", "20 d.deep.test"],
        "c.deep.test A": "203.0.113.2",
        "d.deep.test A": GOOD,
        "endless.test TXT": "v=spf1 include:endless.test -all",
        "voids.test TXT": "v=spf1 a:1.voids.test a:2.voids.test a:3.voids.test +all",
        "_dmarc.example.org TXT": "v=DMARC1; p=reject; sp=quarantine; rua=mailto:d@example.org",
        "_dmarc.strict.example.org TXT": "v=DMARC1;p=none;adkim=s;aspf=s",
        "_dmarc.twice.test TXT": ["v=DMARC1; p=reject", "v=DMARC1; p=none"],
        "rsa._domainkey.example.org TXT": rsa_record,
        "rsa._domainkey.list.test TXT": rsa_record,
        "ed._domainkey.example.org TXT": public_record(_ed25519()),
        "weak._domainkey.example.org TXT": public_record(_weak()),
        "revoked._domainkey.example.org TXT": "v=DKIM1; p=",
        "testing._domainkey.example.org TXT": rsa_record + "; t=y",
        "strict._domainkey.example.org TXT": rsa_record + "; t=s",
        "tlsrpt._domainkey.example.org TXT": rsa_record + "; s=tlsrpt",
        "garbage._domainkey.example.org TXT": "v=DKIM1; p=MIIB@@@",
        "notakey._domainkey.example.org TXT": "v=DKIM1; p=" + "QUFB" * 40,
    }


def _content(octets: bytes, threshold: int = 1 << 20, at: Path = Path("/tmp")) -> Content:
    content = Content(Budget(1 << 26), at, threshold)
    content.write(octets)
    return content


def _envelope(
    sender: str = "marie@example.org", address: str = GOOD, hello: str = "mx.example.org"
) -> Envelope:
    return Envelope(sender, (Recipient("paul@mondomaine.fr"),), Client(address, hello))


def _judged(
    octets: bytes = LETTER,
    told: Told | None = None,
    *,
    settings: Settings | None = None,
    **envelope: str,
) -> Authentication:
    """What is found out about a message, with a DNS that answers at once."""
    here: Any = _Here()
    here.advance(NOW)
    authenticator = Authenticator(settings or Settings(), told or Told(_records()), here, here)
    done: Deferred[Authentication] = ensureDeferred(
        authenticator.authenticate(_envelope(**envelope), _content(octets))
    )
    return _now(done)


class _Here(Clock):
    """A reactor and its threads at once: what is handed to a thread is done on the spot."""

    def callFromThread(self, work: Callable[..., object], *arguments: object) -> None:
        work(*arguments)

    def callInThreadWithCallback(
        self, told: Callable[[bool, Any], None], work: Callable[..., Any], *arguments: Any
    ) -> None:
        told(True, work(*arguments))


def _now(done: Deferred[Any]) -> Any:
    results: list[Any] = []
    done.addBoth(results.append)
    assert results, "it waits for something"
    return results[0]


def _signed(
    octets: bytes = LETTER,
    *,
    selector: str = "rsa",
    domain: str = "example.org",
    forms: str = "relaxed/relaxed",
    key: rsa.RSAPrivateKey | None = None,
    **more: Any,
) -> bytes:
    """Signed by dkimpy."""
    names = [word.encode() for word in forms.split("/")]
    pem = _pem(key or _key())
    return (
        dkim.sign(octets, selector.encode(), domain.encode(), pem, canonicalize=names, **more)
        + octets
    )


def _line(results: str) -> str:
    """Unfolded."""
    return results.replace("\r\n\t", " ")


# SPF

SPF = [
    ("marie@example.org", GOOD, "pass"),
    ("marie@example.org", BAD, "fail"),
    ("marie@example.org", "::ffff:192.0.2.1", "pass"),
    ("marie@example.org", "2001:db8::1", "fail"),
    ("marie@soft.test", BAD, "softfail"),
    ("marie@neutral.test", BAD, "neutral"),
    ("marie@nothing.test", GOOD, "none"),
    ("marie@broken.test", GOOD, "permerror"),
    ("marie@twice.test", GOOD, "permerror"),
    ("marie@deep.test", GOOD, "pass"),
    ("marie@deep.test", BAD, "fail"),
    ("marie@endless.test", GOOD, "permerror"),
    ("marie@voids.test", GOOD, "permerror"),
    ("marie@failing.test", GOOD, "temperror"),
    ("marie@[192.0.2.1]", GOOD, "none"),
    ("marie", GOOD, "none"),
]


@pytest.mark.parametrize(("sender", "address", "result"), SPF)
def test_spf(sender: str, address: str, result: str) -> None:
    """Every result of RFC 7208, 2.6, and what the header says of it."""
    told = Told(_records())
    told.failing.add("failing.test")
    judged = _judged(told=told, sender=sender, address=address)
    domain = sender.partition("@")[2]
    assert judged.spf == result
    named = f" smtp.mailfrom={domain}" if judged.spf_domain else ""
    assert _line(judged.results).startswith(f"spf={result}{named};")


def test_a_null_sender_is_judged_by_its_hello() -> None:
    """RFC 7208, 2.4; a hello that is no domain says nothing."""
    judged = _judged(sender="", hello="Example.ORG", address=BAD)
    assert (judged.spf, judged.spf_domain) == ("fail", "example.org")
    assert judged.results.startswith("spf=fail smtp.helo=example.org;")
    for hello in ("[192.0.2.1]", "localhost", "x (y", "", "1.2.3.4", "\u00e9"):
        assert _judged(sender="", hello=hello).spf == "none"


def test_addresses_of_all_mx_are_asked_for_together() -> None:
    """Ten of them cost one wait, not ten."""
    told = Told(_records())
    _judged(told=told, sender="marie@deep.test")
    assert {("c.deep.test", "A"), ("d.deep.test", "A")} <= set(told.asked)
    assert len(told.asked) == len(set(told.asked))


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 " + "ip4:192.0.2.1 " * 5_000 + "-all",
        "v=spf1 " + ("exists:" + "a." * 1_900 + "%{i} ") * 2 + "-all",
        "v=spf1 exists:%{d}" * 200,
        "v=spf1 a:%{l1r+-/=_.}.%{s}.%{o}.%{p}.example.org -all",
        "v=spf1 include:\x00\u00e9.test",
        "v=spf1 exp=%{x} redirect=%{y}",
        "v=spf1 mx ptr:%{p} ptr a:..",
        "v=spf1 ip6:::::1/999 ip4:/ a:/// -all",
    ],
)
def test_hostile_spf_records_take_no_time(record: str) -> None:
    """Whatever a stranger publishes, there is a result, and soon."""
    start = time.thread_time()
    judged = _judged(
        told=Told({"hostile.test TXT": record.encode("ascii", "replace").decode()}),
        sender="'a.b+c'@hostile.test",
    )
    assert judged.spf in ("permerror", "fail", "neutral", "none")
    assert time.thread_time() - start < 0.2


def test_many_long_spf_records_take_no_time() -> None:
    """Each may be read, but all of them together would be a second of everybody's."""
    terms = "ip4:203.0.113.1 " * 250
    told = Told(
        {f"{n}.long.test TXT": f"v=spf1 {terms} include:{n + 1}.long.test -all" for n in range(9)}
    )
    start = time.thread_time()
    judged = _judged(told=told, sender="a@0.long.test")
    assert judged.spf == "permerror"
    assert time.thread_time() - start < 0.3
    assert ("3.long.test", "TXT") not in told.asked


def test_spf_of_the_same_client_and_sender_is_remembered_for_its_ttl() -> None:
    """A minute at most, and another client is another question."""
    clock, told = Clock(), Told(_records())
    clock.advance(NOW)
    authenticator = Authenticator(Settings(), told, clock, ThreadPool(0, 1))

    def judge(address: str) -> Authentication:
        judged = authenticator.authenticate(_envelope(address=address), _content(LETTER))
        return _now(ensureDeferred(judged))

    spf = ("example.org", "TXT")
    assert [judge(GOOD).spf, judge(GOOD).spf, told.asked.count(spf)] == ["pass", "pass", 1]
    assert [judge(BAD).spf, told.asked.count(spf)] == ["fail", 2]
    clock.advance(61)
    assert [judge(GOOD).spf, told.asked.count(spf)] == ["pass", 3]


# DKIM


@pytest.mark.parametrize(
    "forms", ["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"]
)
def test_what_dkimpy_signs_passes(forms: str) -> None:
    """In all four forms; the header names domain, selector and the beginning of b=."""
    signed = _signed(forms=forms)
    judged = _judged(signed, address=BAD)
    assert [one.result for one in judged.signatures] == ["pass"]
    assert judged.dmarc == "pass"
    b = b"".join(signed.partition(b" b=")[2].split())[:8].decode()
    dkim_line = _line(judged.results).split(";")[1].strip().replace('"', "")
    assert dkim_line == f"dkim=pass header.d=example.org header.s=rsa header.b={b}"


def _changed(octets: bytes, old: bytes, new: bytes) -> bytes:
    assert old in octets
    return octets.replace(old, new, 1)


BROKEN: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "body": (lambda: _changed(_signed(), b"voici", b"voila"), "fail", "the body is not"),
    "header": (lambda: _changed(_signed(), b"Les plans", b"Les pLans"), "fail", "does not hold"),
    "key missing": (lambda: _signed(selector="none"), "permerror", "no key"),
    "key revoked": (lambda: _signed(selector="revoked"), "permerror", "revoked"),
    "key for reports": (lambda: _signed(selector="tlsrpt"), "permerror", "not for mail"),
    "key not base64": (lambda: _signed(selector="garbage"), "permerror", "cannot be read"),
    "key no key": (lambda: _signed(selector="notakey"), "permerror", "cannot be read"),
    "key of another kind": (lambda: _signed(selector="ed"), "permerror", "another algorithm"),
    "key weak": (
        lambda: _signed(selector="weak", key=_weak()),
        "policy",
        "less than 1024 bits",
    ),
    "key in test": (lambda: _signed(selector="testing"), "neutral", "in test"),
    "DNS away": (lambda: _signed(selector="away"), "temperror", "no answer"),
    "identity": (
        lambda: _signed(selector="strict", identity=b"@below.example.org"),
        "permerror",
        "below",
    ),
    "second From": (
        lambda: _changed(_signed(), b"Subject:", b"From: <boss@evil.test>\r\nSubject:"),
        "fail",
        "does not hold",
    ),
    "third From": (
        lambda: _changed(_signed(), b"Subject:", b"From: <boss@evil.test>\r\n" * 2 + b"Subject:"),
        "fail",
        "not every From",
    ),
    "appended": (
        lambda: _signed(length=True) + b"Buy now.\r\n",
        "policy",
        "not all of the body",
    ),
    "cut off": (
        lambda: _changed(_signed(length=True), b"les plans.", b"les"),
        "fail",
        "shorter",
    ),
    "SHA-1": (lambda: _signed(signature_algorithm=b"rsa-sha1"), "policy", "SHA-1"),
    "algorithm": (lambda: _tagged(b"a=rsa-sha256", b"a=rsa-md5"), "neutral", "algorithm"),
    "version": (lambda: _tagged(b"v=1", b"v=2"), "neutral", "version"),
    "form": (lambda: _tagged(b"c=relaxed/relaxed", b"c=free"), "neutral", "canonical"),
    "twice": (lambda: _tagged(b"v=1", b"v=1; v=1"), "neutral", "tags"),
    "no From": (lambda: _signed().replace(b"from", b"form"), "permerror", "From"),
    "expired": (lambda: _tagged(b"v=1", b"v=1; x=1600000000"), "fail", "expired"),
    "expiry": (lambda: _tagged(b"v=1", b"v=1; x=never"), "neutral", "number"),
    "length": (lambda: _tagged(b"v=1", b"v=1; l=-1"), "neutral", "number"),
    "elsewhere": (lambda: _tagged(b"q=dns/txt", b"q=http/get"), "neutral", "DNS"),
    "other identity": (lambda: _tagged(b"i=@example.org", b"i=@evil.test"), "permerror", "i="),
    "domain": (lambda: _tagged(b"d=example.org", b"d=a b\r\n (c)"), "neutral", "d="),
    "selector": (lambda: _tagged(b"s=rsa", b"s=a;b"), "neutral", "tags"),
    "not base64": (lambda: _tagged(b"bh=", b"bh=@"), "neutral", "bh="),
    "empty": (lambda: b"DKIM-Signature:\r\n" + LETTER, "neutral", ""),
    "nothing": (lambda: b"DKIM-Signature: ;;;\r\n" + LETTER, "neutral", ""),
    "giant": (
        lambda: b"DKIM-Signature: v=1; x=" + b"\r\n 1" * 200_000 + b"\r\n" + LETTER,
        "neutral",
        "too long",
    ),
}


def _tagged(old: bytes, new: bytes) -> bytes:
    """A signature whose tag has been changed after signing: it is not the hash that is tried."""
    return _changed(_signed(), old, new)


@pytest.mark.parametrize("case", BROKEN)
def test_broken_signatures(case: str) -> None:
    """Each way of being broken has its result and its reason, in the header as well."""
    make, result, why = BROKEN[case]
    told = Told(_records())
    told.failing.add("away._domainkey.example.org")
    judged = _judged(make(), told, address=BAD)
    assert [one.result for one in judged.signatures] == [result]
    assert f"dkim={result} " in judged.results
    assert why in _line(judged.results)
    assert judged.dmarc == {"temperror": "temperror"}.get(
        result, "permerror" if " From" in case and case != "no From" else "fail"
    )


def test_records_of_keys() -> None:
    """What makes a record no key for us, one by one."""
    good = public_record(_key()).encode()
    huge = RSAPublicNumbers(65_537, (1 << 4_200) + 1).public_key()
    der = huge.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    reasons = {
        good + b"; h=sha1": "not for SHA-256",
        good.replace(b"v=DKIM1", b"v=DKIM2"): "another version",
        good.replace(b"k=rsa", b"k=dsa"): "cannot be read",
        b"k=rsa; p=" + base64.b64encode(der): "more than 4096 bits",
        b"k=rsa": "cannot be read",
    }
    for record, why in reasons.items():
        key = read_key(record)
        assert isinstance(key, str), why
        assert why in key
    for record in (good, good + b"; h=sha1:sha256; s=email", good.replace(b"v=DKIM1; ", b"")):
        assert isinstance(read_key(record), Key)


def test_a_record_without_measure_is_no_key() -> None:
    """It is not even parsed."""
    record = public_record(_key()) + "; n=" + "x" * 5_000
    judged = _judged(_signed(), Told({"rsa._domainkey.example.org TXT": record}))
    assert 'dkim=permerror reason="the key\'s record is too long"' in _line(judged.results)


def test_a_form_for_the_header_alone_leaves_the_body_simple() -> None:
    """RFC 6376, 3.5: ``c=relaxed`` means ``relaxed/simple``."""
    octets = LETTER.replace(b"plans.", b"plans. ")  # a space that only the relaxed form forgets
    digest = base64.b64encode(hashlib.sha256(b"Bonjour,  voici les plans. \r\n").digest())
    field = b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed; d=x.test; s=s; h=from; b=AA==; bh="
    judged = _judged(field + digest + b"\r\n" + octets)
    assert 'reason="no key"' in judged.results
    check_body(read_tags(field + digest), Signable(b"", lambda: [octets.partition(b"\r\n\r\n")[2]]))


def test_ed25519(tmp_path: Path) -> None:
    """RFC 8463: the example of its appendix A, whose key and signature are published."""
    judged = _judged(
        RFC_8463,
        Told(
            {
                "brisbane._domainkey.football.example.com TXT": (
                    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
                )
            }
        ),
    )
    assert [one.result for one in judged.signatures] == ["pass"]


RFC_8463 = (
    b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
    b" d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
    b" subject : date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    b" b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n"
    b" Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"
    b"From: Joe SixPack <joe@football.example.com>\r\n"
    b"To: Suzie Q <suzie@shopping.example.net>\r\n"
    b"Subject: Is dinner ready?\r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
    b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
    b"\r\n"
    b"Hi.\r\n"
    b"\r\n"
    b"We lost the game.  Are you hungry yet?\r\n"
    b"\r\n"
    b"Joe.\r\n"
)


def test_a_flood_of_signatures_is_not_verified() -> None:
    """The five topmost are; the rest cost nothing, and no question."""
    flood = b"".join(
        b"DKIM-Signature: v=1; a=rsa-sha256; d=d%d.test; s=s; h=from; bh=AAAA; b=AAAA\r\n" % number
        for number in range(3_000)
    )
    told = Told(_records())
    start = time.thread_time()
    judged = _judged(_signed(flood + LETTER), told)
    assert time.thread_time() - start < 0.5
    assert [one.result for one in judged.signatures] == ["pass"] + ["permerror"] * 4
    assert sum("_domainkey" in name for name, _ in told.asked) == 5


# DMARC


@pytest.mark.parametrize(
    ("author", "sender", "address", "signer", "result", "policy"),
    [
        ("example.org", "example.org", GOOD, "", "pass", "reject"),
        ("example.org", "example.org", BAD, "", "fail", "reject"),
        ("example.org", "example.org", BAD, "example.org", "pass", "reject"),
        ("example.org", "soft.test", GOOD, "", "fail", "reject"),
        ("example.org", "soft.test", GOOD, "list.test", "fail", "reject"),
        ("below.example.org", "example.org", GOOD, "", "pass", "quarantine"),
        ("below.example.org", "soft.test", GOOD, "", "fail", "quarantine"),
        ("EXAMPLE.org", "soft.test", GOOD, "", "fail", "reject"),
        ("strict.example.org", "example.org", GOOD, "example.org", "fail", "none"),
        ("nobody.test", "nobody.test", GOOD, "", "none", ""),
        ("twice.test", "soft.test", GOOD, "", "none", ""),
        ("failing.test", "soft.test", GOOD, "", "temperror", ""),
        ("example.org", "failing.example.org", GOOD, "", "temperror", "reject"),
        ("xn--9ca.test", "xn--9ca.test", GOOD, "", "pass", "reject"),
        ("\u00e9.test", "xn--9ca.test", GOOD, "", "pass", "reject"),
    ],
)
def test_dmarc(
    author: str, sender: str, address: str, signer: str, result: str, policy: str
) -> None:
    """Aligned or not, relaxed or strict, of one's own record or the organisation's."""
    told = Told(_records())
    told.failing |= {"_dmarc.failing.test", "failing.example.org"}
    told.records |= {
        "xn--9ca.test TXT": "v=spf1 +all",
        "_dmarc.xn--9ca.test TXT": "v=DMARC1; p=reject",
    }
    octets = LETTER.replace(b"marie@example.org", f"marie@{author}".encode())
    octets = _signed(octets, domain=signer) if signer else octets
    judged = _judged(octets, told, sender=f"marie@{sender}", address=address)
    assert (judged.dmarc, judged.dmarc_policy) == (result, policy)
    asked = f" (p={policy})" if policy else ""
    assert f"dmarc={result}{asked}" in judged.results
    assert f"header.from={judged.author}" in _line(judged.results)


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        ("marie@example.org", {"example.org"}),
        ("<marie@Example.ORG>", {"example.org"}),
        ('"Duchemin, Marie" <marie@example.org>', {"example.org"}),
        ('"<evil@evil.test>" <marie@example.org>', {"example.org"}),
        ("(<evil@evil.test>) marie@example.org (Marie)", {"example.org"}),
        ("=?utf-8?q?evil=40evil.test?= <marie@example.org>", {"example.org"}),
        ("Marie <marie@example.org>, Paul <paul@example.org>", {"example.org"}),
        ("Marie <marie@example.org>, Paul <paul@soft.test>", {"example.org", "soft.test"}),
        ("Marie\r\n\t<marie@example.org>", {"example.org"}),
        ("Marie <marie@\u00e9.test>", {"xn--9ca.test"}),
        ("Marie <marie@[192.0.2.1]>", set()),
        ("Marie <marie>", set()),
        ("Marie", set()),
        ("undisclosed:;", set()),
        ("", set()),
        ("(" * 5_000 + ")" * 2_000, set()),
        ("a:" * 4_000 + "<marie@example.org>", set()),
        ("a" * 9_000 + " <marie@example.org>", set()),
        ("<marie@example.org>" * 1_000, set()),
    ],
)
def test_who_is_seen_in_from(value: str, domains: set[str]) -> None:
    """The domain that people see counts; where it is not clear which, there is none."""
    start = time.thread_time()
    assert dmarc.author_domains([b"From: " + value.encode()]) == domains
    assert time.thread_time() - start < 0.5


def test_a_body_does_not_become_a_header() -> None:
    """A signed message whose empty line is taken out: what stood in its body is no From of ours."""
    octets = LETTER.replace(b"Bonjour,", b"Bonjour\r\nFrom: <boss@evil.test>\r\n\r\n")
    judged = _judged(_signed(octets).replace(b"\r\n\r\nBonjour", b"\r\nBonjour"))
    assert judged.signatures[0].result == "fail"
    assert judged.dmarc == "permerror"


def test_two_from_are_nobodys() -> None:
    """Neither is chosen: it is said that there are two."""
    judged = _judged(b"From: <a@soft.test>\r\n" + LETTER)
    assert (judged.dmarc, judged.author) == ("permerror", "")


@pytest.mark.parametrize(
    ("record", "policy"),
    [
        (b"v=DMARC1; p=reject", ("reject", "reject", False, False)),
        (b"v=DMARC1;p=Quarantine;sp=NONE;pct=5;adkim=s", ("quarantine", "none", True, False)),
        (b"v=DMARC1; rua=mailto:a@b.test", ("none", "none", False, False)),
        (b"v=DMARC1; p=all; rua=mailto:a@b.test", ("none", "none", False, False)),
        (b"v=DMARC1; p=all", None),
        (b"v=DMARC1", None),
        (b"v=DMARC1; p=none; p=reject", None),
        (b"v=DMARC1; \xff", None),
    ],
)
def test_policies(record: bytes, policy: tuple[object, ...] | None) -> None:
    """RFC 7489, 6.3 and 6.6.3: what cannot be followed is not there, or asks for nothing."""
    assert dmarc.read_policy(record) == policy


# ARC


def _sealer(tmp_path: Path, domain: str, **more: Any) -> Signer:
    path = tmp_path / "key.pem"
    if not path.exists():
        path.write_bytes(_pem(_key()))
        path.chmod(0o600)
    settings = Settings(
        signing_key=path, signing_domain=domain, signing_selector="rsa", hostname=domain, **more
    )
    return Signer(settings, lambda: float(NOW))


def _sealed(octets: bytes, sealer: Signer, hostname: str) -> bytes:
    """As a host named so passes it on, after having judged it."""
    judged = _judged(octets)
    header, _, body = octets.partition(b"\r\n\r\n")
    header += b"\r\n\r\n"
    digest = BodyDigest()
    for piece in (body[:7], body[7:]):
        digest.feed(piece)
    return sealer.seal_arc(header, digest.digest(), judged, hostname) + octets


def _by_dkimpy(octets: bytes) -> str:
    """What dkimpy makes of a chain."""

    def look_up(name: bytes, timeout: int = 5) -> bytes | None:
        record = _records().get(name.decode().rstrip(".") + " TXT")
        return record.encode() if isinstance(record, str) else None

    verdict, _, _ = dkim.arc_verify(octets, dnsfunc=look_up)
    return (verdict or b"gone").decode()


def test_chains_of_one_and_two_hops_hold(tmp_path: Path) -> None:
    """What we seal, we and dkimpy find whole; the header says who sealed last."""
    once = _sealed(LETTER, _sealer(tmp_path, "example.org"), "mx.example.org")
    twice = _sealed(once, _sealer(tmp_path, "list.test"), "mx.list.test")
    for octets, domain in ((once, "example.org"), (twice, "list.test")):
        judged = _judged(octets)
        assert judged.arc == _by_dkimpy(octets) == "pass"
        assert f"arc=pass header.d={domain}" in _line(judged.results)
    assert once.startswith(b"ARC-Seal: i=1; cv=none;")
    assert twice.startswith(b"ARC-Seal: i=2; cv=pass;")
    assert b"ARC-Authentication-Results: i=1; mx.example.org;\r\n\tspf=pass" in once


def test_a_chain_that_dkimpy_begins_holds_and_is_sealed_on(tmp_path: Path) -> None:
    """One by another's hand: dkimpy seals first, we seal after it."""
    arrived = b"Authentication-Results: mx.example.org; spf=pass\r\n" + LETTER
    fields = dkim.arc_sign(arrived, b"rsa", b"example.org", _pem(_key()), b"mx.example.org")
    first = b"".join(fields) + arrived
    assert _judged(first).arc == _by_dkimpy(first) == "pass"
    second = _sealed(first, _sealer(tmp_path, "list.test"), "mx.list.test")
    assert _judged(second).arc == _by_dkimpy(second) == "pass"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"voici", b"voila"),
        (b"Les plans", b"Les pLans"),
        (b"cv=pass", b"cv=fail"),
        (b"cv=none", b"cv=pass"),
        (b"spf=pass", b"spf=fail"),
        (b"ARC-Seal: i=1", b"ARC-Seal: i=3"),
        (b"ARC-Seal: i=1", b"ARC-Seal: i=2"),
        (b"ARC-Seal: i=1", b"ARC-Seal: i=99999999999999999999"),
        (b"ARC-Seal: i=1", b"ARC-Seal: i="),
        (b"ARC-Seal: i=1", b"X-Seal: i=1"),
        (b"ARC-Seal: i=2;", b"ARC-Seal: i=2; h=from;"),
        (b"ARC-Message-Signature: i=2", b"ARC-Message-Signature: x=1600000000; i=2"),
        (b"h=from", b"h=arc-seal:from"),
        (b"d=list.test", b"d=nobody.test"),
        (b"a=rsa-sha256", b"a=rsa-sha1"),
        (b"To: ", b"From: <boss@evil.test>\r\nTo: "),
    ],
)
def test_broken_chains(tmp_path: Path, old: bytes, new: bytes) -> None:
    """Whatever is changed, at whichever hop: the chain has failed, and is not sealed on."""
    once = _sealed(LETTER, _sealer(tmp_path, "example.org"), "mx.example.org")
    twice = _sealed(once, _sealer(tmp_path, "list.test"), "mx.list.test")
    broken = _changed(twice, old, new)
    judged = _judged(broken)
    assert judged.arc == "fail"
    assert "arc=fail reason=" in judged.results
    assert _sealed(broken, _sealer(tmp_path, "example.org"), "mx.example.org") == broken


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"ARC-Seal: i=2;", b"ARC-Seal: i=2; h=from;", "seal 2 has h="),
        (b"h=from", b"h=arc-seal:from", "signs a seal"),
        (b"cv=pass", b"cv=fail", "seal 2 says that it is not whole"),
        (b"ARC-Seal: i=1", b"X-Seal: i=1", "the chain is not whole"),
        (b"From: ", b"ARC-Authentication-Results: i=1; x; spf=pass\r\nFrom: ", "not clear"),
    ],
)
def test_why_a_chain_is_broken(tmp_path: Path, old: bytes, new: bytes, why: str) -> None:
    """The reason is told, and is the rule that was broken, not only the signature."""
    once = _sealed(LETTER, _sealer(tmp_path, "example.org"), "mx.example.org")
    twice = _sealed(once, _sealer(tmp_path, "list.test"), "mx.list.test")
    judged = _judged(_changed(twice, old, new))
    assert why in _line(judged.results).partition("arc=fail reason=")[2]


def test_a_liar_cannot_mend_a_chain(tmp_path: Path) -> None:
    """Who seals a broken chain as whole is found out: every seal is verified, not the last only."""
    once = _sealed(LETTER, _sealer(tmp_path, "example.org"), "mx.example.org")
    broken = _changed(once, b"spf=pass", b"spf=fail")
    liar = _sealer(tmp_path, "list.test")
    said = Authentication(arc="pass", results="arc=pass")
    header, _, body = broken.partition(b"\r\n\r\n")
    digest = BodyDigest()
    digest.feed(body)
    twice = liar.seal_arc(header, digest.digest(), said, "mx.list.test") + broken
    judged = _judged(twice)
    assert judged.arc == "fail"
    assert "the signature does not hold" in _line(judged.results).partition("arc=fail")[2]


def test_a_chain_has_fifty_sets_at_most() -> None:
    """RFC 8617, 4.2.1."""

    def header(count: int) -> bytes:
        names = (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results")
        numbers = range(1, count + 1)
        return b"".join(b"%s: i=%d; x\r\n" % (name, n) for n in numbers for name in names)

    assert len(sets(Signable(header(50), lambda: []))) == 50
    with pytest.raises(ChainError, match="more than 50"):
        sets(Signable(header(51), lambda: []))


def test_a_chain_without_its_keys_is_neither_whole_nor_broken(tmp_path: Path) -> None:
    """While the DNS is away nobody knows, so nothing is said, and nothing sealed."""
    once = _sealed(LETTER, _sealer(tmp_path, "list.test"), "mx.list.test")
    told = Told(_records())
    told.failing.add("rsa._domainkey.list.test")
    judged = _judged(once, told)
    assert judged.arc == ""
    assert "\tarc=" not in judged.results
    sealer = _sealer(tmp_path, "example.org")
    assert sealer.seal_arc(once, b"", judged, "mx.example.org") == b""


def test_a_flood_of_sets_costs_nothing() -> None:
    """Thousands of fields of a chain are no chain, and no question is asked for them."""
    flood = b"".join(
        b"ARC-Seal: i=%d; cv=none; a=rsa-sha256; d=x%d.test; s=s; b=AAAA\r\n" % (n, n)
        for n in range(3_000)
    )
    told = Told(_records())
    start = time.thread_time()
    assert _judged(flood + LETTER, told).arc == "fail"
    assert time.thread_time() - start < 0.5
    assert not any("_domainkey" in name for name, _ in told.asked)


def test_keys_of_a_chain_are_asked_for_together(tmp_path: Path) -> None:
    """The last host's first, which must hold before anybody else is asked; then all the others."""
    once = _sealed(LETTER, _sealer(tmp_path, "example.org"), "mx.example.org")
    twice = _sealed(once, _sealer(tmp_path, "list.test"), "mx.list.test")
    told = Told(_records())
    told.held = []
    here: Any = _Here()
    authenticator = Authenticator(Settings(), told, here, here)
    ensureDeferred(authenticator.authenticate(_envelope(), _content(twice)))
    assert ("rsa._domainkey.list.test", "TXT") in told.asked
    assert ("rsa._domainkey.example.org", "TXT") not in told.asked
    for waiting in told.held:
        waiting.callback(None)
    assert ("rsa._domainkey.example.org", "TXT") in told.asked


def test_a_flood_of_seals_asks_nobody(tmp_path: Path) -> None:
    """Fifty forged sets, each with a key of its own: one question, whatever it comes to."""
    forged = b"".join(
        b"ARC-Seal: i=%d; a=rsa-sha256; cv=%b; d=d%d.test; s=s; b=AAAA\r\n"
        b"ARC-Message-Signature: i=%d; a=rsa-sha256; c=relaxed/relaxed; d=d%d.test; s=s; h=from;"
        b" bh=AAAA; b=AAAA\r\nARC-Authentication-Results: i=%d; mx.test; spf=pass\r\n"
        % (number, b"pass" if number > 1 else b"none", number, number, number, number)
        for number in range(1, 51)
    )
    told = Told(_records())
    judged = _judged(forged + LETTER, told)
    assert judged.arc == "fail"
    assert sum(".d" in f".{name}" and "_domainkey" in name for name, _ in told.asked) <= 1


# What stands in the header


@pytest.mark.parametrize(
    "text",
    [
        "a\r\nBcc: x",
        "a; dkim=pass header.d=bank.test",
        "a (comment",
        'a"b',
        "a\\",
        "a b",
        "a\x00b",
        "\u00e9.test",
        "a" * 300,
        "a\tb",
        "a\nb",
    ],
)
def test_nobody_writes_into_the_header(text: str) -> None:
    """Of what a stranger has written, only what is a name or base64 is repeated at all."""
    written = results.text(
        Spf("pass", text),
        [Verified(Signature("pass", text, text), text, text)],
        Dmarc("fail", "reject", text, text),
        Chain("pass", 1, text, text),
    )
    plain = "spf=pass; dkim=pass%s; dmarc=fail (p=reject)%s; arc=pass%s"
    reason = f' reason="{text}"' if text in ("a b",) else ""
    assert _line(written) == plain % (reason, reason, reason) or text == "a" * 300
    assert text not in written or reason


def test_a_hostile_sender_cannot_add_a_result() -> None:
    """Tried from outside: in the sender, the hello, From, and the tags of a signature."""
    evil = "evil.test; dkim=pass header.d=bank.test"
    octets = (
        f"DKIM-Signature: v=1; a=rsa-sha256; d=x(; s=y\r\n z; h=from; b=A)A=;\r\n bh={evil}\r\n"
        f'From: "x; dkim=pass" <a@b;dkim=pass.test>\r\n\r\nx\r\n'
    ).encode()
    judged = _judged(octets, sender=f"a@{evil}", hello=evil)
    header = authres.AuthenticationResultsHeader.parse(
        f"Authentication-Results: mail6m.test; {_line(judged.results)}"
    )
    methods = [(result.method, result.result) for result in header.results]
    assert methods == [("spf", "none"), ("dkim", "neutral"), ("dmarc", "permerror")]
    assert judged.results.isascii()
    assert "bank" not in judged.results


def test_lines_are_folded_and_can_be_read_by_others(tmp_path: Path) -> None:
    """Each result begins a line, no line is long, and authres reads what we have written."""
    octets = _signed(_sealed(LETTER, _sealer(tmp_path, "list.test"), "mx.list.test"))
    judged = _judged(octets)
    assert all(len(line) < 78 for line in judged.results.split("\r\n\t"))
    assert judged.results.isascii()
    header = authres.AuthenticationResultsHeader.parse(
        f"Authentication-Results: mail6m.test; {_line(judged.results)}"
    )
    assert [(result.method, result.result) for result in header.results] == [
        ("spf", "pass"),
        ("dkim", "pass"),
        ("dmarc", "pass"),
        ("arc", "pass"),
    ]


# How it is asked


def _authenticator(told: Told, clock: Clock | None = None, **settings: Any) -> Authenticator:
    here: Any = clock or _Here()
    here.advance(NOW)
    return Authenticator(Settings(**settings), told, here, here)


@pytest.mark.parametrize(
    ("address", "internal"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("", True),
        (GOOD, False),
        ("2001:db8::1", False),
    ],
)
def test_our_own_machines_are_not_looked_into(address: str, internal: bool) -> None:
    """Nothing is asked and nothing is said of what comes from the operator's own networks."""
    told = Told(_records())
    authenticator = _authenticator(told)
    envelope = _envelope(address=address)
    assert authenticator.applies(envelope.client) is not internal
    judged = _now(ensureDeferred(authenticator.authenticate(envelope, _content(LETTER))))
    assert (judged == NOTHING) is internal
    assert bool(told.asked) is not internal


def test_other_networks_can_be_internal_and_all_of_it_can_be_off() -> None:
    """``internal`` replaces the default; ``off`` is for everybody."""
    one = _authenticator(Told(), internal=("192.0.2.0/24", "2001:db8::/32"))
    for address, ours in ((GOOD, True), ("2001:db8::1", True), ("127.0.0.1", False)):
        assert one.applies(Client(address)) is not ours
    off = _authenticator(Told(), authentication="off")
    assert not off.applies(Client(GOOD))
    assert _now(ensureDeferred(off.authenticate(_envelope(), _content(LETTER)))) == NOTHING


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"authentication": "maybe"}, "--authentication maybe: on or off"),
        ({"internal": ["192.0.2.1/24"]}, "--internal 192.0.2.1/24: .*host bits"),
        ({"signing-key": "x", "signing-selector": "a b"}, "--signing-selector a b: "),
        ({"signing-key": "x", "signing-domain": "a b"}, "--signing-domain a b: "),
        ({"authentication-timeout": "-1"}, "--authentication-timeout -1.0: "),
    ],
)
def test_settings_that_cannot_be_used(options: dict[str, Any], why: str) -> None:
    """The start says which, and nothing has begun."""
    with pytest.raises(SettingsError, match=why):
        read_settings(options)


def test_a_silent_dns_costs_the_limit_and_nothing_more() -> None:
    """What has not been answered by then is temperror, and nothing fails for it."""
    clock, told = _Here(), Told(_records())
    told.held = []
    authenticator = _authenticator(told, clock, authentication_timeout=5.0)
    signed = _signed()
    done: Deferred[Any] = ensureDeferred(authenticator.authenticate(_envelope(), _content(signed)))
    clock.advance(4.9)
    assert not done.called
    clock.advance(0.2)
    judged = _now(done)
    assert (judged.spf, judged.dmarc, judged.signatures[0].result) == ("temperror",) * 3
    assert not clock.getDelayedCalls()


def test_those_who_are_too_many_are_judged_by_what_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the bound nobody waits for the DNS, and nobody is refused for it."""
    monkeypatch.setattr(authenticating, "AT_ONCE", 3)
    told = Told(_records())
    told.held = []
    authenticator = _authenticator(told)
    waiting: list[Deferred[Any]] = [
        ensureDeferred(authenticator.authenticate(_envelope(), _content(LETTER))) for _ in range(5)
    ]
    assert [done.called for done in waiting] == [False] * 3 + [True] * 2
    assert _now(waiting[4]).spf == "temperror"
    held, told.held = told.held, None
    for one in held:
        one.callback(None)
    assert [_now(done).spf for done in waiting[:3]] == ["pass"] * 3


def test_what_goes_wrong_loses_no_mail() -> None:
    """A content that cannot be read back, or a fault of ours: nothing is said of the message."""
    content = _content(LETTER)
    content.close()
    authenticator = _authenticator(Told(_records()))
    assert _now(ensureDeferred(authenticator.authenticate(_envelope(), content))) == NOTHING


@pytest.mark.parametrize("lines", [1, 30_000, 300_000])
@pytest.mark.parametrize("forms", ["relaxed/relaxed", "simple/simple"])
def test_messages_of_any_size_are_verified(tmp_path: Path, lines: int, forms: str) -> None:
    """In memory or in a file, hashed on the reactor or in a thread: the same comes of it."""
    signed = _signed(LETTER + b"Une ligne  de plus.\r\n" * lines, forms=forms)
    reactor, threads = the_reactor(), ThreadPool(0, 1)
    threads.start()
    try:
        authenticator = Authenticator(Settings(), Told(_records()), reactor, threads)
        for octets, result in ((signed, "pass"), (signed + b".\r\n", "fail")):
            content = _content(octets, 262_144, tmp_path)

            async def work(content: Content = content) -> Authentication:
                return await authenticator.authenticate(_envelope(), content)

            assert [one.result for one in run(work).signatures] == [result]
            content.close()
    finally:
        threads.stop()


class _Watched(Content):
    """A content that notes which threads read it."""

    __slots__ = ("readers",)
    readers: set[str]

    def pieces(self) -> Iterator[bytes]:
        self.readers.add(threading.current_thread().name)
        return super().pieces()


def test_large_messages_are_hashed_off_the_reactor(tmp_path: Path) -> None:
    """Those of signatures and those of chains: the reactor does not read them."""
    octets = LETTER + b"Une ligne  de plus.\r\n" * 30_000
    sealed = _sealed(
        _signed(octets, forms="simple/simple"), _sealer(tmp_path, "list.test"), "mx.list.test"
    )
    reactor, threads = the_reactor(), ThreadPool(0, 1)
    threads.start()
    authenticator = Authenticator(Settings(), Told(_records()), reactor, threads)
    content = _Watched(Budget(1 << 26), tmp_path, 262_144)
    content.readers = set()
    content.write(sealed)

    async def work() -> Authentication:
        return await authenticator.authenticate(_envelope(), content)

    try:
        judged = run(work)
    finally:
        threads.stop()
    assert (judged.signatures[0].result, judged.arc) == ("pass", "pass")
    assert content.readers
    assert "reactor" not in content.readers


def test_an_answer_stays_until_the_evaluation_ends() -> None:
    """It may expire half way, and is not asked for again."""
    left = [Answer((), False, 300, exists=True)]
    answers = Answers(lambda name, kind: left.pop() if left else None)
    assert answers.records("example.org", "TXT") is answers.records("example.org", "TXT")
    with pytest.raises(Missing):
        answers.records("example.org", "A")


# With a real DNS server


@pytest.fixture(scope="module")
def zone() -> Iterator[Zone]:
    """A server that knows `_records`."""
    with Zone(_records()) as zone:
        zone.failing.add("failing.test")
        yield zone


OVER_DNS: dict[str, tuple[Callable[[Path], bytes], str, str, str]] = {
    "spf pass, aligned": (
        lambda _: LETTER,
        "marie@example.org",
        GOOD,
        "spf=pass smtp.mailfrom=example.org; dkim=none;"
        " dmarc=pass (p=reject) header.from=example.org",
    ),
    "spf fail": (
        lambda _: LETTER,
        "marie@example.org",
        BAD,
        "spf=fail smtp.mailfrom=example.org; dkim=none;"
        " dmarc=fail (p=reject) header.from=example.org",
    ),
    "spf softfail": (
        lambda _: LETTER,
        "marie@soft.test",
        BAD,
        "spf=softfail smtp.mailfrom=soft.test; dkim=none;"
        " dmarc=fail (p=reject) header.from=example.org",
    ),
    "spf temperror": (
        lambda _: LETTER,
        "marie@failing.test",
        GOOD,
        "spf=temperror smtp.mailfrom=failing.test; dkim=none;"
        " dmarc=fail (p=reject) header.from=example.org",
    ),
    "dkim good, not aligned": (
        lambda _: _signed(domain="list.test"),
        "marie@nothing.test",
        GOOD,
        "spf=none smtp.mailfrom=nothing.test; dkim=pass header.d=list.test header.s=rsa"
        " header.b=*; dmarc=fail (p=reject) header.from=example.org",
    ),
    "dkim good, aligned": (
        lambda _: _signed(),
        "marie@soft.test",
        BAD,
        "spf=softfail smtp.mailfrom=soft.test; dkim=pass header.d=example.org header.s=rsa"
        " header.b=*; dmarc=pass (p=reject) header.from=example.org",
    ),
    "dkim broken": (
        lambda _: _changed(_signed(), b"voici", b"voila"),
        "marie@soft.test",
        BAD,
        'spf=softfail smtp.mailfrom=soft.test; dkim=fail reason="the body is not the signed'
        ' one" header.d=example.org header.s=rsa header.b=*;'
        " dmarc=fail (p=reject) header.from=example.org",
    ),
    "two hops": (
        lambda path: _sealed(
            _sealed(LETTER, _sealer(path, "example.org"), "a.test"),
            _sealer(path, "list.test"),
            "b.test",
        ),
        "marie@soft.test",
        GOOD,
        "spf=pass smtp.mailfrom=soft.test; dkim=none;"
        " dmarc=fail (p=reject) header.from=example.org; arc=pass header.d=list.test",
    ),
    "a broken chain": (
        lambda path: _changed(
            _sealed(LETTER, _sealer(path, "example.org"), "a.test"), b"voici", b"voila"
        ),
        "marie@soft.test",
        GOOD,
        "spf=pass smtp.mailfrom=soft.test; dkim=none;"
        " dmarc=fail (p=reject) header.from=example.org;"
        ' arc=fail reason="the body is not the signed one" header.d=example.org',
    ),
}


@pytest.mark.parametrize("case", OVER_DNS)
def test_over_a_real_dns(zone: Zone, tmp_path: Path, case: str) -> None:
    """Through a real resolver and a real server: the header, word for word."""
    make, sender, address, expected = OVER_DNS[case]
    reactor = the_reactor()
    authenticator = Authenticator(
        Settings(), zone.resolver(reactor), reactor, reactor.getThreadPool()
    )
    octets = make(tmp_path)

    async def work() -> Authentication:
        return await authenticator.authenticate(
            _envelope(sender=sender, address=address), _content(octets)
        )

    written = re.sub(r'header\.b="?[A-Za-z0-9+/]{8}"?', "header.b=*", _line(run(work).results))
    assert written == expected

    questions = zone.asked.total()
    if "temperror" not in case:  # failures are forgotten soon; the rest needs no second question
        run(work)
        assert zone.asked.total() == questions
