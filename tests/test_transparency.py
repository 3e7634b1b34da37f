"""The end of data and dot-stuffing, against an implementation that is slow and obviously right."""

from __future__ import annotations

import pytest
from dialogue_driver import cut
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mail6m.dialogue.transparency import Stuffing, Unstuffing, has_bare_newline

SOUP = st.lists(
    st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"a", b"..", b"\r\n.\r\n", b"\0", b"\xe9"]),
    max_size=14,
).map(b"".join)
PLACES = st.lists(st.integers(0, 60), max_size=8)
SMUGGLING = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r\n\0.\r\n",
]


def lines_of(wire: bytes) -> tuple[bytes, bytes, bool]:
    """(content, what follows the end of data, whether it ended), line by line."""
    content, rest = b"", wire
    while b"\r\n" in rest:
        line, rest = rest.split(b"\r\n", 1)
        if line == b".":
            return content, rest, True
        content += line.removeprefix(b".") + b"\r\n"
    return content, rest, False


def unstuff(pieces: list[bytes]) -> tuple[bytes, bytes, bool, bool]:
    """(content, octets not used, whether it ended, whether a bare newline was seen)."""
    unstuffing, content, held = Unstuffing(), b"", b""
    for number, piece in enumerate(pieces):
        taken, used, ended = unstuffing.feed(held + piece)
        content += taken
        held = (held + piece)[used:]
        if ended:
            rest = held + b"".join(pieces[number + 1 :])
            return content, rest, True, unstuffing.bare_newline
        assert len(held) <= 4, "more is held back than can begin an end of data"
    return content, held, False, unstuffing.bare_newline


@settings(max_examples=300)
@given(SOUP, PLACES)
@example(b".\r\n", [1, 2])
@example(b"\r\n.\r\n", [1, 2, 3, 4])
@example(b".\r.\r\n.\r\n", [])
@example(b"..\r\n.\r\n", [1])
def test_unstuffing_reads_lines(wire: bytes, places: list[int]) -> None:
    """The content, and where it ends, are those that reading line by line gives, for any cut."""
    content, rest, ended = lines_of(wire)
    for pieces in (cut(wire, places), cut(wire, range(len(wire)))):
        got, left, found, bare = unstuff(pieces)
        assert found == ended
        if ended:
            assert (got, left) == (content, rest)
            assert bare == _is_bare(wire[: len(wire) - len(rest)])
        else:
            assert (content + rest.removeprefix(b".")).startswith(got)
            assert len(content + rest) - len(got) <= 4


def _is_bare(data: bytes) -> bool:
    return any(octet in data.replace(b"\r\n", b"") for octet in b"\r\n")


@given(SOUP)
def test_bare_newlines_are_found(data: bytes) -> None:
    """A CR or an LF that is not part of a CRLF, wherever it stands."""
    without = data.replace(b"\r\n", b"|")
    assert has_bare_newline(data) == (b"\r" in without or b"\n" in without)


@pytest.mark.parametrize("sequence", SMUGGLING, ids=repr)
@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_nothing_else_ends_data(sequence: bytes, step: int) -> None:
    """What lax software takes for an end of data is content here, and noticed as such."""
    wire = b"one" + sequence + b"MAIL FROM:<a@example.org>\r\n"
    pieces = [wire[at : at + step] for at in range(0, len(wire), step)]
    content, rest, ended, bare = unstuff([*pieces, b".\r\n", b"NOOP\r\n"])
    assert (rest, ended) == (b"NOOP\r\n", True)
    assert b"MAIL FROM" in content
    assert bare is (b"\0" not in sequence)


@settings(max_examples=300)
@given(SOUP | st.binary(max_size=60), PLACES, PLACES)
@example(b".", [], [1])
@example(b"\r\n.", [1, 2], [])
@example(b"a\r\n.b", [3], [])
@example(b"", [], [])
def test_what_is_stuffed_is_unstuffed(content: bytes, out: list[int], back: list[int]) -> None:
    """Any content in any pieces comes back as it was; a last line is given its CRLF."""
    stuffing = Stuffing()
    wire = b"".join(stuffing.feed(piece) for piece in cut(content, out)) + stuffing.end()
    meant = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    got, left, ended, _ = unstuff(cut(wire + b"NEXT", back))
    assert (got, left, ended) == (meant, b"NEXT", True)


@given(SOUP, PLACES)
def test_stuffing_does_not_depend_on_the_cut(content: bytes, places: list[int]) -> None:
    """Pieces give the octets that the whole gives, empty pieces included."""
    whole, pieces = Stuffing(), Stuffing()
    said = b"".join(pieces.feed(piece) + pieces.feed(b"") for piece in cut(content, places))
    assert said + pieces.end() == whole.feed(content) + whole.end()


def test_every_octet_is_looked_at_once() -> None:
    """A long message, octet by octet: no more than four octets are ever fed again."""
    wire = b"line\r\n..\r\n" * 5_000 + b".\r\n"
    content, rest, ended, bare = unstuff([wire[at : at + 1] for at in range(len(wire))])
    assert content == b"line\r\n.\r\n" * 5_000
    assert (rest, ended, bare) == (b"", True, False)
