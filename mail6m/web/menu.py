"""The menu: a line for each page that everybody finds at once; a shelf to come adds its own."""

from __future__ import annotations

from typing import NamedTuple

from mail6m.texts import N_ as N_


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
    """Shown to those only who may do everything where they are: of the house, to operators."""


HOME = "/meuble"
OPERATORS_HOME = "/exploitation"
"""Where who has signed in begins."""


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
    Entry("/cles", N_("Clés d'API"), "key", 2, administrators=True),
    Entry("/activite", N_("Activité"), "activity", 2, administrators=True),
    Entry("/securite", N_("Sécurité"), "security", 2),
)

WAYS = (
    ("/pourquoi", N_("Pourquoi archiver")),
    ("/fonctionnement", N_("Fonctionnement")),
    ("/avantages", N_("Avantages")),
    ("/tarifs", N_("Tarifs")),
    ("/mise-en-place", N_("Mise en place")),
)
"""Where the public pages lead to, by path."""

OPERATORS_MENU = (
    Entry(OPERATORS_HOME, N_("Vue d'ensemble"), "activity", 0),
    Entry("/exploitation/file", N_("File d'attente"), "queue", 0),
    Entry("/exploitation/dvd", N_("DVD"), "disc", 0),
    Entry("/exploitation/archiviste", N_("L'archiviste"), "cellar", 0),
    Entry("/exploitation/clients", N_("Clients"), "cabinet", 1),
    Entry("/exploitation/inscriptions", N_("Inscriptions"), "accounts", 1),
    Entry("/exploitation/factures", N_("Factures"), "invoice", 1),
    Entry("/exploitation/paiements", N_("Paiements"), "payment", 1),
    Entry("/exploitation/tarifs", N_("Tarifs et société"), "preferences", 1),
    Entry("/exploitation/avis", N_("Avis par e-mail"), "notices", 2),
    Entry("/exploitation/journal", N_("Journal"), "search", 2),
    Entry("/exploitation/comptes", N_("Comptes"), "accounts", 2, administrators=True),
    Entry("/securite", N_("Sécurité"), "security", 2),
)
