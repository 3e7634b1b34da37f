"""Who sends: SPF, DKIM, ARC and DMARC, each with the header that results.

The messages are signed by dkimpy, or by hand where dkimpy would not do it.
"""

from __future__ import annotations

import base64
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
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool

from mail6m.content import Budget, Content
from mail6m.guard.authentication import authenticator as authenticating
from mail6m.guard.authentication.authenticator import NOTHING, Authenticator
from mail6m.model import Authentication, Client, Envelope, Recipient
from mail6m.settings import Settings
from mail6m.signing import Signer, make_key, public_record, read_key
from tests.reactor_thread import run, the_reactor
from tests.zone import Told, Zone

NOW = 1_800_000_000
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


WEAK = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIIByQIBAAJhAKKRxKJD45DqcgjA6WSmOXt3N+NRVsDM/TJW47ywd3PDovR5x0IH
KGFngaj17v94rMl+UDig95GbdmoQr9KEXdEY8BibN/lIRwTFlqB3FnKDk+Bhjupj
qRIDnxnLGIs+2wIDAQABAmApJTGaTAptpBjGhGTN15BW4l6fxvdpBrjSo9Ex8Yva
HdrBe4zl9j/PH05ewBgESrsxVaSQfOJ2LK37Y5UJA0g29Z15zDqhXJQfQ+wQ2qFc
2PSafMybhhvuilJhktSBRnECMQDS20fwh/9PS6aETsaWWLSvfVEO+uvnerl9aeM+
yDZOn6cE51A7qJz8mYohLl4dqykCMQDFX/F74ufx0oyW+YsUcGokb1XEYR6/Mrqs
yM/355tUPUuVP2T3/8g+AFS22HyRXmMCMCMQF8xlsQzslYoW12sU4Sb1fc8x5pyd
ic7TFtjPzkgQwGNOW8cv6LsQhSmzXi8s0QIwGy4gMiBIMqv9AllxBqqIY2YVmIqL
Umco/9xTj18Mq+gY/X+SZviJWchv4hIj7VzjAjASsr8ColGc30jpJCGOqFzgTGKl
YTF3jlE1t+RUn04YkhY6AIJuSQEnU2BzrxlscZY=
-----END RSA PRIVATE KEY-----
"""


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
        "v=spf1 exists:" + "a." * 1_900 + "%{i} -all",
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
    start = time.perf_counter()
    judged = _judged(
        told=Told({"hostile.test TXT": record.encode("ascii", "replace").decode()}),
        sender="'a.b+c'@hostile.test",
    )
    assert judged.spf in ("permerror", "fail", "neutral", "none")
    assert time.perf_counter() - start < 0.5


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
    "expired": (lambda: _tagged(b"v=1", b"v=1; x=1700000000"), "fail", "expired"),
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
    start = time.perf_counter()
    judged = _judged(_signed(flood + LETTER), told)
    assert time.perf_counter() - start < 0.5
    assert [one.result for one in judged.signatures] == ["pass"] + ["permerror"] * 4
    assert sum("_domainkey" in name for name, _ in told.asked) == 5
