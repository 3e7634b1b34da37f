"""Every letter that there is: what it is called, where its button leads to, what it asks for.

Its words stand in ``web/templates/letters/NAME.txt``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from mail6m.storage.closings import Closing
from mail6m.texts import N_


@dataclass(frozen=True, slots=True)
class Kind:
    """A letter: one of those that there are."""

    name: str
    """Of its template, and of the note that it has been sent."""
    path: str
    """Where it leads to, within the console; an example, where that is never twice the same."""
    button: str
    """What stands on the button that leads there, in French; empty without one."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Values that its template asks for, beside the link: an example."""


_COMPANY = {"company": "Duchemin & Fils"}
_ACCOUNT = _COMPANY | {"email": "celine@duchemin.fr", "by": "georges@duchemin.fr"}
_TOKEN = "/mot-de-passe?jeton=Sq2Yk8N3mZxV1bT0cWf7HjLr5PdGu9aEoXi4KvRtMwA"  # noqa: S105 - nobody's
_DISC = _COMPANY | {"serial": "K7M2QX", "last_day": date(2026, 4, 30)}
_CLOSING = Closing(
    customer=12, company="Duchemin & Fils", email="georges@duchemin.fr", language="fr",
    time_zone="Europe/Paris", asked_at=datetime(2026, 3, 2, 9, 12, 45, tzinfo=UTC),
    asked_by="georges@duchemin.fr", due_at=datetime(2026, 3, 9, 9, 12, 45, tzinfo=UTC),
    closed_at=datetime(2026, 3, 9, 9, 13, 2, tzinfo=UTC),
    key_destroyed_at=datetime(2026, 3, 9, 10, 14, 6, tzinfo=UTC),
    destroyed_at=datetime(2026, 3, 9, 10, 15, 31, tzinfo=UTC), messages=48_213,
    raw_bytes=9_307_441_206, first_at=datetime(2024, 1, 8, 7, 2, 11, tzinfo=UTC),
    last_at=datetime(2026, 3, 9, 9, 11, 58, tzinfo=UTC), accounts=3, discs=1, told=(),
    ended_on=date(2026, 3, 31),
)  # fmt: skip

_CHOOSE, _SEE_DISCS = N_("Choisir un mot de passe"), N_("Voir vos DVD")

PASSWORD = Kind("password", _TOKEN, _CHOOSE, _ACCOUNT)
INVITATION = Kind("invitation", _TOKEN, _CHOOSE, _ACCOUNT)
DISC_OFFER = Kind("disc_offer", "/dvd", _SEE_DISCS, _DISC)
DISC_REMINDER = Kind("disc_reminder", "/dvd", _SEE_DISCS, _DISC)
DISC_LAST_REMINDER = Kind("disc_last_reminder", "/dvd", _SEE_DISCS, _DISC)
DISC_SHIPPED = Kind("disc_shipped", "/dvd", _SEE_DISCS, _DISC)
CLOSING_ASKED = Kind("closing_asked", "/partir", N_("Voir la résiliation"), {"closing": _CLOSING})
CLOSING_DONE = Kind("closing_done", "", "", {"closing": _CLOSING})

KINDS = (
    PASSWORD,
    INVITATION,
    DISC_OFFER,
    DISC_REMINDER,
    DISC_LAST_REMINDER,
    DISC_SHIPPED,
    CLOSING_ASKED,
    CLOSING_DONE,
)
"""All of them."""
_BY_NAME = {kind.name: kind for kind in KINDS}


def kind_of(name: str) -> Kind:
    """The letter of that name. Raises `KeyError` if there is none."""
    return _BY_NAME[name]
