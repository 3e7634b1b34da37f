"""The header as a person reads it: awkward examples, hostile bytes, hostile sizes."""

from __future__ import annotations

import base64
import encodings
import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mail6m import header
from mail6m.model import Summary

TYPICAL = (
    b"Received: from mx1.example.org (mx1.example.org [192.0.2.1])\r\n"
    b"\tby mail.example.test with ESMTPS id 4XyZ12; Tue, 2 Jan 2024 10:11:12 +0100\r\n"
    b"received: from [198.51.100.7]\r\n"
    b"\tby mx1.example.org; Tue, 2 Jan 2024 10:11:10 +0100\r\n"
    b"X-Received: by nobody\r\n"
    b"FROM: =?iso-8859-1?Q?Andr=E9?= Martin <andre@example.org>\r\n"
    b"to: Paul Duchemin <p.duchemin@mondomaine.fr>,\r\n"
    b" compta@mondomaine.fr\r\n"
    b"Cc : archives@mondomaine.fr\r\n"
    b"Subject: =?utf-8?Q?R=C3=A9novation?=\r\n"
    b"\tdu  meuble\r\n"
    b"Message-Id: <4212@example.org>\r\n"
    b"\r\n"
)

DECODED = {
    "plain": (b" Devis 4212 ", "Devis 4212"),
    "empty": (b"", ""),
    "blank": (b" \r\n \t\r\n", ""),
    "folded": (b" Devis\r\n   pour\r\n\tle meuble", "Devis pour le meuble"),
    "french q": (b"=?UTF-8?Q?=C3=89t=C3=A9_=C3=A0_la_cave?=", "Été à la cave"),
    "french b": (b"=?utf-8?b?w4l0w6kgw6AgbGEgY2F2ZQ==?=", "Été à la cave"),
    "iso-8859-1": (b"=?ISO-8859-1?Q?caf=E9_cr=E8me?=", "café crème"),
    "iso-8859-1 that is windows-1252": (b"=?iso-8859-1?Q?l=92=80?=", "l’€"),
    "iso-8859-15": (b"=?iso-8859-15?Q?10_=A4?=", "10 €"),
    "windows-1252": (b"=?windows-1252?Q?l=92=E9t=E9_=80?=", "l’été €"),
    "gb2312": (b"=?gb2312?B?xOO6ww==?=", "你好"),
    "gb2312 that is gbk": (
        b"=?gb2312?B?" + base64.b64encode("朱镕基".encode("gbk")) + b"?=",
        "朱镕基",
    ),
    "iso-2022-jp": (b"=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "日本"),
    "shift_jis that is cp932": (b"=?shift_jis?B?h0A=?=", "①"),
    "koi8-r": (b"=?koi8-r?B?8NLJ18XU?=", "Привет"),
    "x- charset": (b"=?x-sjis?B?k/qWew==?=", "日本"),
    "x- charset that Python knows": (b"=?x-mac-japanese?B?k/qWew==?=", "日本"),
    "language (RFC 2231)": (b"=?utf-8*fr?Q?=C3=A9t=C3=A9?=", "été"),
    "languages differ": (b"=?utf-8*fr?Q?=C3?= =?utf-8*en?Q?=A9?=", "é"),
    "words joined": (b"=?utf-8?Q?=C3=A9?= =?utf-8?Q?t=C3=A9?=", "été"),
    "words joined over a fold": (b"=?utf-8?Q?a?=\r\n =?iso-8859-1?Q?=E9?=", "aé"),
    "words glued": (b"=?utf-8?Q?a?==?utf-8?Q?b?=", "ab"),
    "words and text": (b"Re: =?utf-8?Q?=C3=A9?= et =?utf-8?Q?=C3=A0?= !", "Re: é et à !"),
    "within quotes": (b'"=?utf-8?Q?Ren=C3=A9?=" <r@example.org>', '"René" <r@example.org>'),
    "glued to text": (b"(=?utf-8?Q?Ren=C3=A9?=)", "(René)"),
    "split character": (b"=?utf-8?Q?caf=C3?= =?utf-8?Q?=A9?=", "café"),
    "split character, b then q": (b"=?UTF-8?B?w4k=?=\r\n =?utf-8?Q?t=C3?= =?utf-8?B?qQ==?=", "Été"),
    "split gb2312": (b"=?gb2312?B?xOO6?= =?GB2312?B?ww==?=", "你好"),
    "not split between charsets": (b"=?utf-8?Q?=C3=A9?= =?koi8-r?B?8A==?=", "éП"),
    "unknown charset, utf-8": (b"=?unknown-8bit?Q?=C3=A9t=C3=A9?=", "été"),
    "unknown charset, latin": (b"=?unknown-8bit?Q?=E9t=E9?=", "été"),
    "empty charset": (b"=??Q?=C3=A9t=C3=A9?=", "été"),
    "us-ascii that is not": (b"=?us-ascii?Q?=C3=A9t=C3=A9?=", "été"),
    "utf-8 that is windows-1252": (b"=?utf-8?Q?l=92=E9t=E9?=", "l’été"),
    "gb2312 that is windows-1252": (b"=?gb2312?Q?caf=E9_cr=E8me?=", "café crème"),
    "iso-2022-jp that is utf-8": (b"=?iso-2022-jp?Q?=C3=A9t=C3=A9?=", "été"),
    "damaged utf-8": (b"=?utf-8?Q?=C3=A9t=C3=A9_=FF_!?=", "été \ufffd !"),
    "damaged gb2312": (b"=?gb2312?B?xOO6?=", "你\ufffd"),
    "windows-1252 has a hole": (b"\x81\xe9", "\ufffdé"),
    "not a charset: zlib": (b"=?zlib?Q?abc?=", "abc"),
    "not a charset: idna": (b"=?idna?Q?xn--tda?=", "xn--tda"),
    "base64 unpadded": (b"=?utf-8?B?w6l0w6k?=", "été"),
    "base64 short of a byte": (b"=?utf-8?B?w6l0w6k=A?=", "été"),
    "base64 overpadded": (b"=?utf-8?B?w6l0w6k====?=", "été"),
    "base64 padded midway": (b"=?utf-8?B?w6k=dMOp?=", "été"),
    "base64 url-safe": (b"=?utf-8?B?8J-Ygw==?=", "\U0001f603"),
    "base64 folded inside": (b"=?utf-8?B?w6l0\r\n w6k=?=", "été"),
    "base64 of nothing": (b"=?utf-8?B??=", ""),
    "base64 of no digit": (b"=?utf-8?B?!!!?=", ""),
    "q with a wrong escape": (b"=?utf-8?Q?100=ZZ_=C3=A9?=", "100=ZZ é"),
    "q with small digits": (b"=?utf-8?Q?=c3=a9?=", "é"),
    "q with spaces": (b"=?utf-8?Q?un =C3=A9t=C3=A9?=", "un été"),
    "q with a question mark": (b"=?utf-8?Q?=C3=A9t=C3=A9_??=", "été ?"),
    "word cut off": (b"Re: =?utf-8?Q?=C3=A9t=C3=A9", "Re: été"),
    "word cut off, then another": (b"=?utf-8?Q?a\r\n =?utf-8?Q?=C3=A9?=", "=?utf-8?Q?a é"),
    "not a word": (b"a =? b ?= c =?utf-8?X?d?=", "a =? b ?= c =?utf-8?X?d?="),
    "raw utf-8": ("Été à la cave".encode(), "Été à la cave"),
    "raw latin-1": ("Été à la cave".encode("latin-1"), "Été à la cave"),
    "raw windows-1252": (b"l\x92\xe9t\xe9", "l’été"),
    "raw beside a word": (b"\xe9t\xe9 =?utf-8?Q?=C3=A9?=", "été é"),
    "nul and controls": (b"a\x00b\x07\x1b[31mc\x7fd", "a b [31mc d"),
    "controls in a word": (b"=?utf-8?Q?a=00b=0D=0ABcc:_x=C2=85y?=", "a b Bcc: x y"),
    "bidi controls": ("a\u202egnp.exe\u202c \u2066b\u2069".encode(), "agnp.exe b"),
    "bidi controls in a word": (b"=?utf-8?Q?a=E2=80=AEb?=", "ab"),
    "bidi marks stay": ("שלום\u200f!".encode(), "שלום\u200f!"),
    "surrogate by utf-7": (b"=?utf-7?Q?a+2AA-b?=", "a\ufffdb"),
    "surrogate by cesu-8": (b"\xc3\xa9\xed\xa0\x80", "é\ufffd\ufffd\ufffd"),
    "wide spaces": ("a\u00a0:\u3000b\u2028c".encode(), "a : b c"),
}


@pytest.mark.parametrize(("value", "text"), DECODED.values(), ids=DECODED.keys())
def test_decode(value: bytes, text: str) -> None:
    """Each awkward value reads as a person would read it."""
    assert header.decode(value) == text


def test_read() -> None:
    """A usual header gives its four fields and its hops, whatever the case of the names."""
    summary = Summary(
        sender="André Martin <andre@example.org>",
        recipients="Paul Duchemin <p.duchemin@mondomaine.fr>, compta@mondomaine.fr, "
        "archives@mondomaine.fr",
        subject="Rénovation du meuble",
        message_id="<4212@example.org>",
    )
    assert header.read(TYPICAL) == (summary, 2)
    assert header.summarise(TYPICAL) == summary
    assert header.hops(TYPICAL) == 2


def test_read_nothing() -> None:
    """An empty header, and one without the fields, give empty strings."""
    nothing = Summary("", "", "", "")
    assert header.read(b"") == (nothing, 0)
    assert header.read(b"\r\n") == (nothing, 0)
    assert header.read(b"X-Subject: a\r\nSubjects: b\r\n To: c\r\n\r\n") == (nothing, 0)
    assert header.read(b"Subject:\r\nFrom: \r\nTo:\r\nCc:\r\n\r\n") == (nothing, 0)


def test_read_repeated_fields() -> None:
    """The first of a field counts, but To and Cc are all joined, To first, empty ones left out."""
    summary, hops = header.read(
        b"Cc: c1@example.org\r\nTo: t1@example.org\r\nSubject: one\r\nSubject: two\r\n"
        b"From: a@example.org\r\nFrom: b@example.org\r\nMessage-ID:\r\n <1@x.test>\r\n"
        b"Message-ID: <2@x.test>\r\nTo: \r\nTo: t2@example.org\r\nCC: c2@example.org\r\n\r\n"
    )
    assert summary == Summary(
        sender="a@example.org",
        recipients="t1@example.org, t2@example.org, c1@example.org, c2@example.org",
        subject="one",
        message_id="<1@x.test>",
    )
    assert hops == 0


def test_read_is_bounded() -> None:
    """Each field is cut at its bound, in whole characters and not in bytes."""
    long = "é".encode() * 100_000
    names = (b"From", b"To", b"To", b"Cc", b"Subject", b"Message-ID")
    summary, _ = header.read(b"\r\n".join(name + b": " + long for name in names))
    assert summary == Summary("é" * 4_000, "é" * 4_000, "é" * 1_000, "é" * 998)


def test_bound_on_several_fields() -> None:
    """Recipients out of several fields share one bound, separators included."""
    summary, _ = header.read(b"To: %s\r\nCc: %s" % (b"t" * 3_990, b"c" * 20))
    assert summary.recipients == "t" * 3_990 + ", " + "c" * 8


def test_bound_leaves_no_space_at_the_end() -> None:
    """A text that is cut at a space is trimmed like any other."""
    assert header.summarise(b"Subject: " + b"a" * 999 + b" b").subject == "a" * 999


def test_bound_on_bytes() -> None:
    """Bytes far beyond what a bound can take are not looked at: a flood of nothing is cheap."""
    nothing = b"=?utf-8?Q??= " * 10_000
    assert "end" not in header.summarise(b"Subject: " + nothing + b"end").subject
    assert header.summarise(b"Subject: " + nothing[:1_300] + b"end").subject == "end"


def test_bound_holds_whole_characters_of_encoded_words() -> None:
    """A subject in folded Q words of Chinese, the longest encoding there is, fills its bound."""
    word = b"=?utf-8?Q?" + b"=E4=BD=A0" * 5 + b"?=\r\n "
    assert header.summarise(b"Subject: " + word * 300).subject == "你" * 1_000


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (b"", 0),
        (b"\r\n", 2),
        (b"\r\nSubject: body\r\n\r\n", 2),
        (b"Subject: a\r\n\r\nbody\r\n\r\n", 14),
        (b"Subject: a\r\n b\r\n\tc\r\n\r\nbody", 22),
        (b"Subject: a\r\n \r\n\r\nbody", 17),
        (b"Subject : a\r\n\r\n", 15),
        (b"Subject:\r\n\r\n", 12),
        (b"Subject: a\r\n", 12),
        (b"Subject: a", 10),
        (b"Subject: a\x00\xff\r\r\n\r\n", 17),
        (b"Bonjour,\r\n\r\nSubject: a\r\n\r\n", 0),
        (b" Subject: a\r\n\r\n", 0),
        (b": a\r\n\r\n", 0),
        (b"Subject: a\r\nBonjour Paul\r\n\r\n", 12),
        (b"Subject: a\r\nBonjour Paul: oui\r\n\r\n", 12),
        (b"Subject: a\r\nSuj\xe9t: b\r\n\r\n", 12),
        (b"Subject: a\r\nBonjour", 12),
        (TYPICAL + b"Corps\r\n", len(TYPICAL)),
    ],
)
def test_header_end(content: bytes, end: int) -> None:
    """The header ends after its blank line, or where something that is no field begins."""
    assert header.header_end(content) == end


def test_fields() -> None:
    """Fields come in order, lower-case names with values as they stand; other lines do not."""
    assert list(header.fields(b" lost\r\nA: b\r\n c\r\nnot a field\r\nX-Y :\r\nlast:d")) == [
        (b"a", b" b\r\n c"),
        (b"x-y", b""),
        (b"last", b"d"),
    ]


def test_every_codec_is_a_charset() -> None:
    """Every charset that is known decodes any byte to text, and none is looked up in vain."""
    every = bytes(range(256)) * 2
    for charset in header._CODECS:
        name = charset.encode()
        assert isinstance(header.decode(b"=?" + name + b"?B?" + base64.b64encode(every)), str)


def test_unknown_charsets_leave_nothing_behind() -> None:
    """A charset that a stranger made up is not looked up, for Python would remember it."""
    before = len(encodings._cache)
    for number in range(50):
        assert header.decode(b"=?nonesuch-%d?Q?a?=" % number) == "a"
    assert len(encodings._cache) == before


# What the arbitrary bytes below are made of, so that they often come near to a header.
SCRAPS = st.sampled_from(
    [
        *(b"Subject", b"From: ", b"\r\nTo:", b"\r\ncc:", b"\r\nReceived:", b"\r\nMessage-ID:"),
        *(b":", b" ", b"\r\n", b"\r\n ", b"\n", b"\r", b"=?", b"?=", b"?", b"?Q?", b"?b?", b"*fr"),
        *(b"=?utf-8?q?", b"=?gb2312?B?", b"=?iso-2022-jp?q?", b"=?utf-7?q?", b"=?utf-16?b?"),
        *(b"=", b"_", b"=ED", b"=C3", b"=00", b"+2AA-", b"w6k=", b"\x1b$B", b"\x00"),
        *(b"\xc3\xa9", b"\xe9", b"\xe2\x80\xae", b"\xed\xa0\x80"),
    ]
)
HOSTILE = st.binary() | st.lists(SCRAPS | st.binary(max_size=4)).map(b"".join)


def storable(text: str) -> bool:
    """Whether PostgreSQL takes the text, and a page can show it on its line."""
    return (
        text.encode().decode() == text == " ".join(text.split())
        and not any(unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"} for each in text)
        and not any(
            unicodedata.bidirectional(each)
            in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
            for each in text
        )
    )


@settings(deadline=None)
@given(HOSTILE)
@example(TYPICAL)
def test_any_bytes_are_read(content: bytes) -> None:
    """No bytes raise, and what is read is storable, bounded, and the same from every function."""
    summary, hops = header.read(content)
    assert (header.summarise(content), header.hops(content)) == (summary, hops)
    bounds = {"sender": 4_000, "recipients": 4_000, "subject": 1_000, "message_id": 998}
    for name, bound in bounds.items():
        text = getattr(summary, name)
        assert storable(text)
        assert len(text) <= bound
    assert storable(header.decode(content))


@settings(deadline=None)
@given(HOSTILE)
def test_any_bytes_have_an_end_of_header(content: bytes) -> None:
    """The end is within the content, and the header read again is a header to its end."""
    end = header.header_end(content)
    assert 0 <= end <= len(content)
    assert header.header_end(content[:end]) == end
    assert header.hops(content[:end]) == sum(
        name == b"received" for name, _ in header.fields(content[:end])
    )


@settings(deadline=None)
@given(HOSTILE)
def test_fields_make_up_the_header(content: bytes) -> None:
    """Nothing of a header is lost between its fields: they put together again are the header."""
    lines = content.replace(b"\r", b"").replace(b"\n", b"\r\n")
    content = re.sub(rb"[ \t]+:", b":", lines)
    block = content[: header.header_end(content)]
    again = b"".join(name + b":" + value + b"\r\n" for name, value in header.fields(block))
    assert again.rstrip(b"\r\n").lower() == block.rstrip(b"\r\n").lower()


@settings(deadline=None)
@given(st.text(), st.sampled_from(["B", "Q"]), st.integers(1, 45))
def test_words_split_anywhere_read_the_same(text: str, encoding: str, size: int) -> None:
    """However a sender splits UTF-8 into words, the text is that of the whole."""
    raw = text.encode()
    words = []
    for start in range(0, len(raw), size):
        piece = raw[start : start + size]
        coded = base64.b64encode(piece) if encoding == "B" else b"=%02X" * len(piece) % (*piece,)
        words.append(b"=?utf-8?" + encoding.encode() + b"?" + coded + b"?=")
    assert header.decode(b"\r\n ".join(words)) == header.decode(raw)


MILLION = 1_000_000


@pytest.mark.parametrize(
    "hostile",
    [
        b"To: a\r\n" * MILLION,
        b"Received: a\r\n" * MILLION,
        b"X: a\r\n" * MILLION,
        b"Subject: a\r\n" + b" b\r\n" * MILLION,
        b"Subject: " + b"=?utf-8?q?a?= " * MILLION,
        b"Subject: " + b"=?a?q?" * MILLION,
        b"From: " + b"=?a" * MILLION,
        b"From: =?a?b?" + b"Y=" * MILLION,
        b"To: " + b"\xff" * MILLION,
        b"To: " + b"\t" * MILLION + b"\r\nSubject" + b" " * MILLION,
        b"a" * MILLION,
        b"a\r\n" * MILLION,
    ],
    ids=lambda hostile: repr(hostile[:10]),
)
def test_a_million_of_anything(hostile: bytes) -> None:
    """A flood of megabytes is read in one pass: a second look at each would not end today."""
    summary, hops = header.read(hostile)
    assert len(summary.recipients) <= 4_000
    assert hops == hostile.count(b"Received:")
    assert 0 <= header.header_end(hostile) <= len(hostile)
    assert sum(1 for _ in header.fields(hostile)) <= MILLION


@pytest.mark.parametrize(
    "scrap",
    [
        b"=?a?q?",
        b"=?a?q?x? ",
        b"=?",
        b"=?a*",
        b"?",
        b"=?a?b?",
        b"=?a?q?b?= ",
        b"=?a?q??b",
        b"?a?q?=",
    ],
)
def test_a_flood_of_encoded_words(scrap: bytes) -> None:
    """Words begun over and over, or half begun, are not each read to the end of the value."""
    assert isinstance(header.decode(b"=?a?q?" + scrap * 200_000), str)
