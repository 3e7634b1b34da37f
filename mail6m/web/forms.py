"""What forms have in common."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup, escape
from wtforms import DateField, StringField, ValidationError
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


class Day(DateField):
    """A day, as browsers send it (ISO 8601)."""

    def process_formdata(self, valuelist: Any) -> None:
        """See `wtforms.DateField`, whose own words are English."""
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError(N_("Écrivez la date comme 2027-12-31.")) from None


_MOST_CENTS = 1_000_000_000
_AMOUNT = re.compile(r"([0-9]{1,8})(?:[.,]([0-9]{1,2}))?")


NO_AMOUNT = N_("Écrivez un montant comme 120 ou 1 234,50.")


def cents_in(typed: str) -> int | None:
    """An amount as people write it, in cents; None if it is none, or nothing, or absurd."""
    bare = re.sub(r"[\s\u00a0\u202f\u20ac]", "", typed)
    match = _AMOUNT.fullmatch(bare)
    cents = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else 0
    return cents if 0 < cents <= _MOST_CENTS else None


class Euros(Line):
    """An amount as people write it, ``120`` or ``1 234,50``; once valid, its data are cents."""

    data: Any

    def pre_validate(self, form: Any) -> None:
        """It is more than nothing, and not absurd."""
        cents = cents_in(str(self.data or ""))
        if cents is None:
            raise ValidationError(NO_AMOUNT)
        self.data = cents

    def _value(self) -> str:
        if isinstance(self.data, int):
            return f"{self.data // 100},{self.data % 100:02d}"
        return self.data or ""
