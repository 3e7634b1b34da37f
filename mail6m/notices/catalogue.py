"""Every letter that there is: when it is sent, whether one may do without it, what it asks for.

Its words stand in ``web/templates/letters/NAME.txt``. What is not part of the contract, nor asked
for, nor for somebody's safety has a topic, and whoever gets it may say that it is not wanted (RFC
8058).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

from mail6m.billing.invoice import Party
from mail6m.storage import notices
from mail6m.storage.closings import Closing
from mail6m.texts import N_

ASKED_FOR = N_("Demandé par qui le reçoit, ou par un administrateur pour lui.")
SAFETY = N_("Sécurité du compte : qui l'aurait pris pourrait sinon s'en cacher.")
SILENCE = N_("Fait partie du contrat : le silence vaut refus, il faut donc l'avoir demandé.")
CONTRACT = N_("Fait partie du contrat.")
DUTY = N_("Écrit à ceux qui font marcher Mail6M, pour qu'ils agissent.")
OPTIONAL = N_("Utile, mais pas nécessaire : chacun peut s'en désabonner.")

CABINET, QUEUE = "cabinet", "queue"
TOPICS = {
    CABINET: N_("quand le meuble est plein à 80 %, et quand il est rempli"),
    QUEUE: N_("quand les e-mails d'un domaine attendent depuis une heure, et quand ils repartent"),
}
"""What people may do without, in French."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A letter: one of those that there are. Its texts are French, and translated where shown."""

    name: str
    """Of its template, and of the note that it has been sent."""
    title: str
    """What operators call it."""
    when: str
    """When it is sent."""
    why: str
    """Why one has to get it; or that one need not."""
    path: str
    """Where it leads to, within the console; an example, where that is never twice the same."""
    button: str
    """What stands on the button that leads there; empty without one."""
    values: Mapping[str, Any]
    """Values that its template asks for, beside the link: an example."""
    topic: str = ""
    """What it is about, if one may do without it."""


_COMPANY = {"company": "Duchemin & Fils"}
_ACCOUNT = _COMPANY | {"email": "celine@duchemin.fr", "by": "georges@duchemin.fr"}
_TOKEN = "Sq2Yk8N3mZxV1bT0cWf7HjLr5PdGu9aEoXi4KvRtMwA"  # noqa: S105 - nobody's
_AT = datetime(2026, 3, 2, 9, 12, 45, tzinfo=UTC)
_SAFETY = _COMPANY | {
    "email": "celine@duchemin.fr",
    "by": "celine@duchemin.fr",
    "client": "192.0.2.7",
    "at": _AT,
    "time_zone": "Europe/Paris",
}
_SIGNUP = {"wanted": SimpleNamespace(company="Duchemin & Fils", email="georges@duchemin.fr")}
_CABINET = _COMPANY | {"plan": "tiroir", "capacity": 2_000_000_000}
_QUEUE = _COMPANY | {
    "domain": "duchemin.fr",
    "since": _AT,
    "time_zone": "Europe/Paris",
    "waiting": 1_204,
    "reply": "451 4.3.0 Temporary lookup failure",
}
_DISC = _COMPANY | {"serial": "K7M2QX", "price": 1_500, "last_day": date(2026, 4, 30)}
_INVOICE = _COMPANY | {
    "number": "2026-0042",
    "gross": 24_000,
    "balance": 24_000,
    "due_on": date(2026, 7, 31),
    "reference": "RF18 2026 0042",
    "iban": "FR76 3000 6000 0112 3456 7890 189",
    "payee": Party("Mail6M", "18 Bis avenue du Val de Saône", "69580", "Sathonay-Camp", "FR"),
    "here": True,
}
_CLOSING = Closing(
    customer=12, company="Duchemin & Fils", email="georges@duchemin.fr", language="fr",
    time_zone="Europe/Paris", asked_at=_AT, asked_by="georges@duchemin.fr",
    due_at=datetime(2026, 3, 9, 9, 12, 45, tzinfo=UTC),
    closed_at=datetime(2026, 3, 9, 9, 13, 2, tzinfo=UTC),
    key_destroyed_at=datetime(2026, 3, 9, 10, 14, 6, tzinfo=UTC),
    destroyed_at=datetime(2026, 3, 9, 10, 15, 31, tzinfo=UTC), messages=48_213,
    raw_bytes=9_307_441_206, first_at=datetime(2024, 1, 8, 7, 2, 11, tzinfo=UTC),
    last_at=datetime(2026, 3, 9, 9, 11, 58, tzinfo=UTC), accounts=3, discs=1, told=(),
    ended_on=date(2026, 3, 31),
)  # fmt: skip

CONFIRMATION = Kind(
    "confirmation",
    N_("Inscription à confirmer"),
    N_("À l'inscription ; le lien est valable trois jours."),
    ASKED_FOR,
    f"/inscription/confirmer?jeton={_TOKEN}",
    N_("Confirmer l'inscription"),
    {"days": 3},
)
SIGNUP_KNOWN = Kind(
    "signup_known",
    N_("Inscription d'une adresse connue"),
    N_("À l'inscription, si l'adresse a déjà un compte."),
    ASKED_FOR,
    "/connexion",
    N_("Se connecter"),
    {},
)
WELCOME = Kind(
    "welcome",
    N_("Bienvenue"),
    N_("Quand l'inscription est confirmée."),
    CONTRACT,
    "/demarrage",
    N_("Démarrer"),
    _SIGNUP,
)
SIGNUP_ACCEPTED = Kind(
    "signup_accepted",
    N_("Inscription acceptée"),
    N_("Quand un opérateur a accepté l'inscription."),
    CONTRACT,
    "/connexion",
    N_("Se connecter"),
    _SIGNUP,
)
SIGNUP_REFUSED = Kind(
    "signup_refused",
    N_("Inscription refusée"),
    N_("Quand un opérateur a refusé l'inscription."),
    ASKED_FOR,
    "",
    "",
    _SIGNUP | {"reason": "Le domaine n'est pas celui de votre société."},
)
SIGNUP_WAITING = Kind(
    "signup_waiting",
    N_("Inscription à décider"),
    N_("Quand une inscription attend un opérateur."),
    DUTY,
    "/exploitation/inscriptions",
    N_("Voir les inscriptions"),
    _SIGNUP,
)
PASSWORD = Kind(
    "password",
    N_("Mot de passe oublié"),
    N_("Quand quelqu'un dit l'avoir oublié ; le lien est valable une heure."),
    ASKED_FOR,
    f"/mot-de-passe?jeton={_TOKEN}",
    N_("Choisir un mot de passe"),
    _ACCOUNT,
)
INVITATION = Kind(
    "invitation",
    N_("Invitation"),
    N_("Quand un administrateur ajoute un compte ; le lien est valable sept jours."),
    ASKED_FOR,
    f"/mot-de-passe?jeton={_TOKEN}",
    N_("Choisir un mot de passe"),
    _ACCOUNT,
)
PASSWORD_CHANGED = Kind(
    notices.PASSWORD_CHANGED,
    N_("Mot de passe changé"),
    N_("Quand le mot de passe d'un compte a changé, où que ce soit."),
    SAFETY,
    "/oubli",
    N_("Choisir un autre mot de passe"),
    _SAFETY,
)
FACTOR_OFF = Kind(
    notices.FACTOR_OFF,
    N_("Second facteur désactivé"),
    N_("Quand un compte n'a plus de second facteur."),
    SAFETY,
    "/securite",
    N_("Voir la sécurité de votre compte"),
    _SAFETY,
)
CABINET_FILLING = Kind(
    notices.CABINET_FILLING,
    N_("Meuble plein à 80 %"),
    N_("Une fois ; à nouveau quand le meuble est descendu sous 70 %, et remonté."),
    OPTIONAL,
    "/preferences",
    N_("Voir vos préférences"),
    _CABINET | {"part": 0.83},
    CABINET,
)
CABINET_FULL = Kind(
    notices.CABINET_FULL,
    N_("Meuble rempli"),
    N_("Quand le premier e-mail est placé dans la cave ; à nouveau après être passé sous 70 %."),
    OPTIONAL,
    "/preferences",
    N_("Voir vos préférences"),
    _CABINET,
    CABINET,
)
QUEUE_STUCK = Kind(
    notices.QUEUE_STUCK,
    N_("File d'attente arrêtée"),
    N_(
        "Quand plus rien n'arrive à un domaine, et que le plus ancien e-mail attend depuis 1 heure."
    ),
    OPTIONAL,
    "/file",
    N_("Voir la file d'attente"),
    _QUEUE,
    QUEUE,
)
QUEUE_MOVING = Kind(
    notices.QUEUE_MOVING,
    N_("File d'attente repartie"),
    N_("Quand les e-mails de ce domaine arrivent de nouveau."),
    OPTIONAL,
    "/file",
    N_("Voir la file d'attente"),
    _QUEUE,
    QUEUE,
)
DISC_OFFER = Kind(
    "disc_offer",
    N_("DVD proposé"),
    N_("Quand la cave contient de quoi remplir un DVD."),
    SILENCE,
    "/dvd",
    N_("Voir vos DVD"),
    _DISC,
)
DISC_REMINDER = Kind(
    "disc_reminder",
    N_("DVD proposé, rappel"),
    N_("20 jours après, sans réponse."),
    SILENCE,
    "/dvd",
    N_("Voir vos DVD"),
    _DISC,
)
DISC_LAST_REMINDER = Kind(
    "disc_last_reminder",
    N_("DVD proposé, dernier rappel"),
    N_("40 jours après, sans réponse."),
    SILENCE,
    "/dvd",
    N_("Voir vos DVD"),
    _DISC,
)
DISC_SHIPPED = Kind(
    "disc_shipped",
    N_("DVD expédié"),
    N_("Quand le DVD est parti ; 60 jours après, son image est détruite."),
    CONTRACT,
    "/dvd",
    N_("Voir vos DVD"),
    _DISC,
)
INVOICE = Kind(
    "invoice",
    N_("Facture"),
    N_("Quand une facture est émise ; elle y est jointe."),
    CONTRACT,
    "/factures/2026-0042",
    N_("Voir la facture"),
    _INVOICE,
)
INVOICE_REMINDER = Kind(
    "invoice_reminder",
    N_("Facture, rappel"),
    N_("15 jours après l'échéance, sans paiement ; la facture y est jointe."),
    CONTRACT,
    "/factures/2026-0042",
    N_("Voir la facture"),
    _INVOICE,
)
INVOICE_LAST_REMINDER = Kind(
    "invoice_last_reminder",
    N_("Facture, dernier rappel"),
    N_("30 jours après l'échéance, sans paiement ; la facture y est jointe."),
    CONTRACT,
    "/factures/2026-0042",
    N_("Voir la facture"),
    _INVOICE,
)
CREDIT_NOTE = Kind(
    "credit_note",
    N_("Avoir"),
    N_("Quand un avoir est émis ; il y est joint."),
    CONTRACT,
    "/factures/2026-0043",
    N_("Voir l'avoir"),
    _COMPANY
    | {
        "number": "2026-0043",
        "corrects": "2026-0042",
        "amount_back": 4_000,
        "reason": "Geste commercial",
        "balance": 20_000,
        "here": True,
    },
)
CLOSING_ASKED = Kind(
    "closing_asked",
    N_("Résiliation demandée"),
    N_("Quand la fin du contrat est demandée."),
    CONTRACT,
    "/partir",
    N_("Voir la résiliation"),
    {"closing": _CLOSING},
)
CLOSING_DONE = Kind(
    "closing_done",
    N_("Certificat de destruction"),
    N_("Quand tout ce que nous gardions pour un client est détruit."),
    CONTRACT,
    "",
    "",
    {"closing": _CLOSING},
)
CERTIFICATE_ENDING = Kind(
    notices.CERTIFICATE_ENDING,
    N_("Certificat TLS qui expire"),
    N_("14 jours avant la fin d'un certificat, et encore 3 jours avant."),
    DUTY,
    "/exploitation",
    N_("Voir l'exploitation"),
    {"names": "mx1.mail6m.fr, mx2.mail6m.fr", "last_day": date(2026, 3, 16)},
)
DISK_FILLING = Kind(
    notices.DISK_FILLING,
    N_("Disque presque plein"),
    N_("Une fois ; à nouveau quand il y a eu de la place."),
    DUTY,
    "/exploitation",
    N_("Voir l'exploitation"),
    {"place": "mail6m-1:/var/lib/mail6m", "free": 2_400_000_000, "least": 268_435_456},
)

KINDS = (
    CONFIRMATION,
    SIGNUP_KNOWN,
    WELCOME,
    SIGNUP_ACCEPTED,
    SIGNUP_REFUSED,
    SIGNUP_WAITING,
    PASSWORD,
    INVITATION,
    PASSWORD_CHANGED,
    FACTOR_OFF,
    CABINET_FILLING,
    CABINET_FULL,
    QUEUE_STUCK,
    QUEUE_MOVING,
    DISC_OFFER,
    DISC_REMINDER,
    DISC_LAST_REMINDER,
    DISC_SHIPPED,
    INVOICE,
    INVOICE_REMINDER,
    INVOICE_LAST_REMINDER,
    CREDIT_NOTE,
    CLOSING_ASKED,
    CLOSING_DONE,
    CERTIFICATE_ENDING,
    DISK_FILLING,
)
"""All there are, in the order that operators see."""
_BY_NAME = {kind.name: kind for kind in KINDS}


def kind_of(name: str) -> Kind:
    """The letter of that name. Raises `KeyError` if there is none."""
    return _BY_NAME[name]
