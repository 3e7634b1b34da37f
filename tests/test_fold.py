"""What is one text to a search, and the grams that the index knows it by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail6m.fold import Field, fold, grams, term

ODD = "aAéÉèçœŒæßøłıİſǅﬁ²½ªº°Åñ\u0301\u0327 ΣσςЖж漢ガｶﾞ한%_\\'\"\n\0\ud800🙂"


@pytest.mark.parametrize(
    ("typed", "folded"),
    [
        ("Élan", "elan"),
        ("E\u0301LAN", "elan"),
        ("Œuvre", "oeuvre"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ﬁn", "fin"),
        ("Łódź", "lodz"),
        ("ΟΔΟΣ", "οδοσ"),
        ("οδός", "οδοσ"),
        ("ЖУК", "жук"),
        ("ＦＡＣＴＵＲＥ", "facture"),
        ("İstanbul", "istanbul"),
        ("a\0b", "ab"),
        ("fac\u00adture\u200b", "facture"),
        ("100 %_\\'\"", "100 %_\\'\""),
    ],
)
def test_what_is_one_text(typed: str, folded: str) -> None:
    """Case, accents, ligatures and widths do not count; everything else does."""
    assert fold(typed) == folded


@given(st.text() | st.text(ODD))
def test_folding_is_done_once(text: str) -> None:
    """Folded text is folded, storable, and the same whichever case it was written in."""
    once = fold(text)
    assert fold(once) == once
    assert "\0" not in once
    once.encode("utf-8")
    assert fold(text.lower()) == once or not text.isascii()


@given(st.text(ODD), st.text(ODD))
def test_a_part_stays_a_part(one: str, other: str) -> None:
    """What a text contains, its folded form contains."""
    assert fold(one) in fold(one + " " + other)
    assert fold(other) in fold(one + " " + other)


def test_white_space_of_a_term_counts_once() -> None:
    """Whoever copies two lines of a subject finds it."""
    assert term("  Deux\n  mots\t") == "deux mots"


@given(st.text(min_size=1), st.integers(0, 2**31 - 1), st.integers(0, 2))
def test_grams_keep_apart(text: str, customer: int, shelf: int) -> None:
    """Customers, shelves and fields have no gram in common, and all fit a bigint."""
    folded = fold(text)
    if not folded:
        return
    field = Field.SUBJECT
    mine = grams(customer, shelf, field, folded)
    everything = [*mine.every, *mine.any]
    assert all(octets in folded.encode() for octets in mine.every.values())
    assert everything
    assert all(0 <= gram < 1 << 63 for gram in everything)
    assert {gram >> 24 for gram in everything} == {customer << 4 | shelf << 2 | field}
