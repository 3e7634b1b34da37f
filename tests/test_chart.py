"""Charts: numbers become places, and words are escaped."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail6m.web.chart import HEIGHT, Mark, Text, bars, curves, scale

TEXT = Text("a", "Un <titre>", "Dit & redit")


def plain(number: float) -> str:
    """As it stands at a scale."""
    return f"{number:g}"


def read(svg: str) -> ElementTree.Element:
    """The chart, as XML."""
    return ElementTree.fromstring(svg)  # noqa: S314 - our own


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 1), (0.3, 0.4), (1, 1), (3, 4), (5, 5), (7, 10), (11, 20), (99, 100), (4.1e6, 5e6)],
)
def test_scale(most: float, top: float) -> None:
    """It ends at a round number that nothing is above of."""
    assert scale(most) == pytest.approx(top)


@given(st.floats(0, 1e12))
def test_nothing_is_above_the_scale(most: float) -> None:
    """Nor is the scale ten times too large."""
    top = scale(most)
    assert most <= top * (1 + 1e-6)
    assert most < 1e-9 or top <= most * 10.001


def test_curves() -> None:
    """The highest value touches the top, nothing is at the bottom, and time goes to the right."""
    svg = curves(TEXT, [[0, 50, 100], [10, 0, 0]], [Mark(0.5, "12:00")], plain)
    paths = re.findall(r'class="curve curve-(\d)" d="([^"]+)"', svg)
    assert paths == [("1", "M0 142L1 71L2 0"), ("2", "M0 127.8L1 142L2 142")]
    assert re.findall(r"<text[^>]*>([^<]*)<", svg) == ["100", "50", "12:00"]


def test_what_is_read_aloud() -> None:
    """The title and the description, which are escaped; the ids are the chart's own."""
    chart = read(curves(TEXT, [[1]], [], plain))
    assert chart.attrib["aria-labelledby"] == "a-title a-told"
    assert [chart.findtext("title"), chart.findtext("desc")] == ["Un <titre>", "Dit & redit"]
    assert chart.attrib["role"] == "img"


@pytest.mark.parametrize("series", [[], [[]], [[0]], [[0, 0]], [[5]]])
def test_little_to_show(series: list[list[float]]) -> None:
    """Is a chart all the same."""
    assert read(curves(TEXT, series, [], plain)).attrib["height"] == str(HEIGHT)


def test_bars() -> None:
    """Each has its height, its value above it and its label below, and keeps to its place."""
    chart = read(bars(TEXT, [("< 1 h", 10), ("1 j", 0), ("> 1 j", 5)], plain))
    blocks = [one for one in chart.iter() if one.attrib.get("class") == "block"]
    assert [float(one.attrib["height"]) for one in blocks] == [142, 0, 71]
    assert [one.text for one in chart.iter("text")] == ["10", "< 1 h", "0", "1 j", "5", "> 1 j"]
    for place, block in enumerate(blocks):
        left = float(block.attrib["x"].rstrip("%"))
        right = left + float(block.attrib["width"].rstrip("%"))
        assert 100 / 3 * place < left < right < 100 / 3 * (place + 1)


def test_no_styles_within() -> None:
    """The console's policy allows none: colours are in its sheet."""
    for svg in (curves(TEXT, [[1, 2]], [], plain), bars(TEXT, [("a", 1)], plain)):
        assert "style" not in svg
        assert "#" not in svg
