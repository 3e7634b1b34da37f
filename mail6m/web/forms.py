"""What forms have in common."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup, escape
from wtforms import StringField
from wtforms.validators import Length
from wtforms.widgets import TextInput

from mail6m.web.menu import N_


def at_most(characters: int) -> Length:
    """A text that is no longer than that; browsers do not let it become so."""
    return Length(max=characters, message=N_("C'est trop long."))


def attributes(**given: Any) -> Markup:
    """HTML's attributes: True is one without a value, False none; a name has no underscores.

    What `wtforms.widgets.html_params` does, in a fifth of the time: of several fields that is
    felt in a page.
    """
    made = [
        name if value is True else f'{name}="{escape(value)}"'
        for name, value in given.items()
        if value is not False
    ]
    return Markup(" ".join(made))  # noqa: S704 - escaped


class _Input(TextInput):
    html_params = staticmethod(attributes)


class Line(StringField):
    """A line of text."""

    widget = _Input()
