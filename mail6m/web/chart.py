"""Small charts as inline SVG: a series of numbers -> markup. Pure; all colours are in console.css.

A chart is as wide as its place, and as high as it says: what stands in it keeps its size, since
places are parts of the width, and only the curve itself is stretched. A screen reader hears its
title and its description; the numbers stand in a table beside it, which is the page's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor, log10
from typing import NamedTuple

from markupsafe import Markup

HEIGHT = 190
"""Pixels of the whole."""
_TOP, _BOTTOM = 22, 164
"""Where the highest value is, and nothing."""
_LABELS = HEIGHT - 6
_STEPS = (1, 2, 4, 5, 10)
"""What the top of a scale may be, times a power of ten: its half is a plain number, too."""


class Mark(NamedTuple):
    """A place on the axis below: a part of the width, and what stands there."""

    at: float
    label: str


class Text(NamedTuple):
    """What a chart is called, and what a screen reader says of it; a page has one of a name."""

    name: str
    title: str
    description: str


def curves(
    text: Text,
    series: Sequence[Sequence[float]],
    marks: Sequence[Mark],
    number: Callable[[float], str],
) -> Markup:
    """Values over time, one line for each series: the first is full, the second dashed.

    All have the same number of values, at the same distances. ``number`` writes what stands at the
    scale.
    """
    top = scale(max((value for values in series for value in values), default=0))
    drawn = Markup().join(
        Markup('<path class="curve curve-{}" d="{}"/>').format(order, _path(values, top))
        for order, values in enumerate(series, 1)
    )
    last = max(max(map(len, series), default=0) - 1, 1)
    plot = Markup(
        '<svg x="0" y="{}" width="100%" height="{}" viewBox="0 0 {} {}"'
        ' preserveAspectRatio="none">{}</svg>'
    ).format(_TOP, _BOTTOM - _TOP, last, _BOTTOM - _TOP, drawn)
    below = Markup().join(
        Markup('<text class="tick" x="{}%" y="{}" text-anchor="{}">{}</text>').format(
            _plain(100 * mark.at), _LABELS, _anchor(mark.at), mark.label
        )
        for mark in marks
    )
    return _chart(text, _grid(top, number) + plot + below)


def bars(text: Text, values: Sequence[tuple[str, float]], number: Callable[[float], str]) -> Markup:
    """A bar for each labelled value, with the value above it."""
    top = scale(max((value for _, value in values), default=0))
    width = 100 / max(len(values), 1)
    drawn = Markup().join(
        _bar(place * width, width, label, number(value), value / top)
        for place, (label, value) in enumerate(values)
    )
    return _chart(text, drawn + _axis())


def scale(most: float) -> float:
    """The top of a scale on which ``most`` has its place: a round number, and so is its half."""
    if most <= 0:
        return 1
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in _STEPS if step * power >= most * (1 - 1e-9))


def _chart(text: Text, inside: Markup) -> Markup:
    return Markup(
        '<svg class="chart" role="img" width="100%" height="{height}"'
        ' aria-labelledby="{name}-title {name}-told">'
        '<title id="{name}-title">{title}</title><desc id="{name}-told">{told}</desc>'
        "{inside}</svg>"
    ).format(height=HEIGHT, name=text.name, title=text.title, told=text.description, inside=inside)


def _grid(top: float, number: Callable[[float], str]) -> Markup:
    grid = Markup().join(
        Markup(
            '<line class="grid" x1="0" x2="100%" y1="{}" y2="{}"/>'
            '<text class="tick" x="0" y="{}">{}</text>'
        ).format(y, y, y - 5, number(top * part))
        for y, part in ((_TOP, 1.0), ((_TOP + _BOTTOM) // 2, 0.5))
    )
    return grid + _axis()


def _axis() -> Markup:
    return Markup('<line class="axis" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(_BOTTOM)


def _bar(left: float, width: float, label: str, value: str, part: float) -> Markup:
    high = part * (_BOTTOM - _TOP)
    middle = _plain(left + width / 2)
    return Markup(
        '<rect class="block" x="{}%" y="{}" width="{}%" height="{}"/>'
        '<text class="value" x="{}%" y="{}" text-anchor="middle">{}</text>'
        '<text class="tick" x="{}%" y="{}" text-anchor="middle">{}</text>'
    ).format(
        _plain(left + width * 0.14), _plain(_BOTTOM - high), _plain(width * 0.72), _plain(high),
        middle, _plain(_BOTTOM - high - 6), value, middle, _LABELS, label,
    )  # fmt: skip


def _path(values: Sequence[float], top: float) -> str:
    high = _BOTTOM - _TOP
    places = [f"{n} {_plain(high - value / top * high)}" for n, value in enumerate(values)]
    if len(places) == 1:  # a line needs two
        places.append(places[0].replace("0 ", "1 ", 1))
    return "M" + "L".join(places) if places else ""


def _anchor(at: float) -> str:
    return "start" if at <= 0.02 else "end" if at >= 0.98 else "middle"


def _plain(number: float) -> str:
    """A number without decimals that nobody sees."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
