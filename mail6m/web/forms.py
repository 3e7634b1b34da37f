"""What forms have in common."""

from __future__ import annotations

from wtforms.validators import Length

from mail6m.web.menu import N_


def at_most(characters: int) -> Length:
    """A text that is no longer than that; browsers do not let it become so."""
    return Length(max=characters, message=N_("C'est trop long."))
