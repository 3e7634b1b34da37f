"""The menu: a line for each page that everybody finds at once; a shelf to come adds its own."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A line of the menu."""

    path: str
    label: str
    """In French; the template translates it."""
    icon: str
    """The name of a symbol in ``static/icons.svg``."""
    group: int
    """Lines of one group stand together."""
    administrators: bool = False
    """Shown to administrators only."""


HOME = "/meuble"
OPERATORS_HOME = "/exploitation"
"""Where who has signed in begins."""


def N_(message: str) -> str:
    """Mark a text for translation where it stands; it is translated where it is shown."""
    return message


MENU = (
    Entry("/meuble", N_("Meuble"), "cabinet", 0),
    Entry("/recherche", N_("Recherche"), "search", 0),
    Entry("/cave", N_("La cave"), "cellar", 0),
    Entry("/dvd", N_("DVD"), "disc", 0),
    Entry("/file", N_("File d'attente"), "queue", 0),
    Entry("/domaines", N_("Domaines"), "domain", 1),
    Entry("/liste-blanche", N_("Liste blanche"), "whitelist", 1),
    Entry("/preferences", N_("Préférences"), "preferences", 1),
    Entry("/factures", N_("Factures"), "invoice", 1),
    Entry("/comptes", N_("Comptes"), "accounts", 2, administrators=True),
    Entry("/activite", N_("Activité"), "activity", 2, administrators=True),
    Entry("/securite", N_("Sécurité"), "security", 2),
)

OPERATORS_MENU = (
    Entry(OPERATORS_HOME, N_("Vue d'ensemble"), "activity", 0),
    Entry("/exploitation/factures", N_("Factures"), "invoice", 1),
    Entry("/exploitation/paiements", N_("Paiements"), "payment", 1),
    Entry("/exploitation/tarifs", N_("Tarifs et société"), "preferences", 1),
    Entry("/securite", N_("Sécurité"), "security", 2),
)
