"""The console speaks French and English."""

from __future__ import annotations

import re

import pytest
from babel.messages.catalog import Message

from tests.words import english, texts

_PLACE = re.compile(r"%\((\w+)\)s")
WORDS = english()


@pytest.mark.parametrize("message", [m for m in texts() if m.id], ids=lambda m: str(m.id)[:40])
def test_every_text_has_its_english(message: Message) -> None:
    """Nothing that the console shows is left in French for those who read English."""
    translated = WORDS.get(message.id)
    assert translated is not None, "run `python -m tests.words`, and translate"
    strings = translated.string if isinstance(translated.string, tuple) else (translated.string,)
    assert all(strings)


def test_no_translation_is_left_over() -> None:
    """The English catalogue has no text that the console does not show any more."""
    shown = {m.id if isinstance(m.id, str) else m.id[0] for m in texts() if m.id}
    assert {m.id if isinstance(m.id, str) else m.id[0] for m in WORDS if m.id} <= shown


@pytest.mark.parametrize("message", [m for m in WORDS if m.id], ids=lambda m: str(m.id)[:40])
def test_what_is_filled_in_is_the_same(message: Message) -> None:
    """A translation names the values that its text does; a wrong name would fail when shown."""
    ids = (message.id,) if isinstance(message.id, str) else message.id
    strings = (message.string,) if isinstance(message.string, str) else message.string
    places = {place for text in ids for place in _PLACE.findall(text)}
    for string in strings:
        assert set(_PLACE.findall(string)) <= places
