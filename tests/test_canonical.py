"""Canonical forms, against dkimpy's and against time."""

from __future__ import annotations

import hashlib
import time
from itertools import pairwise

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given
from hypothesis import strategies as st

from mail6m.canonical import Signable, canonical_body, relaxed_field, signed_octets, without_b

_BODIES = st.lists(
    st.sampled_from([b"\r\n", b" ", b"\t", b"a", b"b c", b" \r\n", b"\r\n\r\n\r\n", b"."])
).map(lambda parts: b"".join([*parts, b"\r\n"]))


def _split(octets: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts)})
    return [octets[start:end] for start, end in pairwise(places)]


@given(_BODIES, st.lists(st.integers(0, 200), max_size=8))
def test_a_body_in_any_pieces_is_what_dkimpy_makes_of_the_whole(
    body: bytes, cuts: list[int]
) -> None:
    """Wherever the pieces end, in a run of spaces, in a CRLF, among empty lines."""
    pieces = _split(body, cuts)
    for relaxed, theirs in ((True, Relaxed), (False, Simple)):
        assert b"".join(canonical_body(pieces, relaxed=relaxed)) == theirs.canonicalize_body(body)


@pytest.mark.parametrize(
    ("body", "relaxed", "simple"),
    [
        (b"", b"", b"\r\n"),
        (b"\r\n\r\n", b"", b"\r\n"),
        (b" \t\r\n", b"", b" \t\r\n"),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n", b" C \r\nD \t E\r\n"),  # RFC 6376, 3.4.5
        (b"no end", b"no end\r\n", b"no end\r\n"),
        (b"a bare\rone\n\r\n", b"a bare\rone\n\r\n", b"a bare\rone\n\r\n"),
        (b"a bare\r", b"a bare\r\r\n", b"a bare\r\r\n"),
        (b"\r\n\n\r\n\r\n", b"\r\n\n\r\n", b"\r\n\n\r\n"),
    ],
)
def test_bodies_at_the_edge(body: bytes, relaxed: bytes, simple: bytes) -> None:
    """Empty ones, ones without a last line end, and ones with CR or LF alone."""
    assert b"".join(canonical_body([body], relaxed=True)) == relaxed
    assert b"".join(canonical_body([body], relaxed=False)) == simple


@given(st.text("aB \t", min_size=1), st.lists(st.sampled_from(["x", " ", "\t", "\r\n ", "=;"])))
def test_a_field_is_what_dkimpy_makes_of_it(name: str, parts: list[str]) -> None:
    """Folds, tabs, spaces at either end, and space in front of the colon."""
    name, value = "N" + name.replace("\t", "").strip(), "".join(parts)
    [(their_name, theirs)] = Relaxed.canonicalize_headers([(name.encode(), value.encode())])
    assert relaxed_field(f"{name}:{value}".encode()) + b"\r\n" == their_name + b":" + theirs


@pytest.mark.parametrize("fill", [b" ", b"\t", b"\r\n", b" \t", b"\r\n ", b"\r", b"a \r\n"])
def test_hostile_bodies_take_linear_time(fill: bytes) -> None:
    """Eight megabytes of what pattern machines go back and forth in take no two seconds."""
    pieces = [(fill * 262_144)[:262_144]] * 32
    for relaxed in (True, False):
        start = time.thread_time()
        size = sum(map(len, canonical_body(pieces, relaxed=relaxed)))
        assert size <= 8 * 1_048_576 + 2
        assert time.thread_time() - start < 2.0


def test_fields_are_chosen_from_the_lowest_up() -> None:
    """A name that comes again means the next one above; what is not there counts for nothing."""
    header = b"To: one\r\nX: x\r\nto : two\r\n folded\r\nno field\r\n\r\n"
    message = Signable(header, lambda: [])
    assert message.named(b"to") == [b"To: one", b"to : two\r\n folded"]
    assert message.selected([b"to", b"cc", b"to", b"to"], relaxed=True) == [
        b"to:two folded",
        b"to:one",
    ]
    assert message.selected([b"to"], relaxed=False) == [b"to : two\r\n folded"]


def test_a_signatures_own_value_is_left_out() -> None:
    """Only b= is emptied, not bh=, and nothing else changes."""
    field = b"DKIM-Signature: v=1; bh=abc;\r\n\tb = x\r\n yz= ; d=b.test"
    assert without_b(field) == b"DKIM-Signature: v=1; bh=abc;\r\n\tb =; d=b.test"
    assert signed_octets([b"from:a"], field, relaxed=True) == (
        b"from:a\r\ndkim-signature:v=1; bh=abc; b =; d=b.test"
    )


def test_a_body_is_hashed_once_in_each_form() -> None:
    """However many signatures ask for it."""
    reads = []
    message = Signable(b"", lambda: reads.append(1) or [b"ab ", b" cd\r\n", b"ef\r\n"])
    for _ in range(3):
        digest, size = message.body_hash(relaxed=True)
        assert (digest, size) == (hashlib.sha256(b"ab cd\r\nef\r\n").digest(), 11)
    assert len(reads) == 1
    assert message.body_hash(relaxed=False)[1] == 12
