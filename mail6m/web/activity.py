"""Activité: who did what, when, from where, on what."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import NamedTuple
from uuid import UUID

from mail6m.model import Act
from mail6m.shelves.cabinet import Cabinet
from mail6m.storage.audit import Audit, Entry
from mail6m.web.menu import N_
from mail6m.web.pager import numbered
from mail6m.web.preferences import LABELS
from mail6m.web.routes import Access, page
from mail6m.web.visit import Answer, Html, Visit

ROWS = 50
MOST = 20_000
"""Acts that can be paged to, the newest ones; a step to the last page stays a matter of
milliseconds."""
_SHOWN = 3
"""Ids that are shown of one act on many messages."""

ACTS = {
    Act.ARCHIVIST_ASKED: N_("Demande à l'archiviste"),
    Act.ARCHIVIST_GRANTED: N_("Demande à l'archiviste accordée"),
    Act.ARCHIVIST_REFUSED: N_("Demande à l'archiviste refusée"),
    Act.DISC_OFFERED: N_("DVD proposé"),
    Act.DISC_ORDERED: N_("DVD commandé"),
    Act.DISC_REFUSED: N_("DVD refusé"),
    Act.DISC_WRITTEN: N_("DVD gravé"),
    Act.DISC_SHIPPED: N_("DVD expédié"),
    Act.DISC_RECEIVED: N_("DVD reçu"),
    Act.DISC_DESTROYED: N_("Image du DVD détruite"),
    Act.EXPORT_ASKED: N_("Fichier de tous les e-mails demandé"),
    Act.EXPORT_TAKEN: N_("Fichier de tous les e-mails téléchargé"),
    Act.CLOSING_ASKED: N_("Résiliation demandée"),
    Act.CLOSING_WITHDRAWN: N_("Résiliation annulée"),
    Act.NOTICES_REFUSED: N_("Avis par e-mail refusés"),
    Act.NOTICES_WANTED: N_("Avis par e-mail demandés à nouveau"),
    Act.SAMPLE_SENT: N_("Exemple d'un avis envoyé"),
    Act.SIGNED_IN: N_("Connexion"),
    Act.PASSWORD_GIVEN: N_("Mot de passe donné, code attendu"),
    Act.SIGN_IN_FAILED: N_("Connexion refusée"),
    Act.WRONG_CODE: N_("Code refusé"),
    Act.SIGNED_OUT: N_("Déconnexion"),
    Act.SESSION_CLOSED: N_("Session fermée"),
    Act.OTHER_SESSIONS_CLOSED: N_("Autres sessions fermées"),
    Act.RECOVERY_CODE_USED: N_("Code de secours utilisé"),
    Act.MESSAGE_REISSUED: N_("Message ré-émis"),
    Act.MESSAGES_DELETED: N_("Messages supprimés"),
    Act.DELIVERIES_RETRIED: N_("Remises essayées à nouveau"),
    Act.DOMAIN_CLAIMED: N_("Domaine demandé"),
    Act.CLAIM_WITHDRAWN: N_("Domaine abandonné"),
    Act.DOMAIN_ADDED: N_("Domaine ajouté"),
    Act.DOMAIN_CHANGED: N_("Domaine changé"),
    Act.DOMAIN_REMOVED: N_("Domaine supprimé"),
    Act.DOMAIN_TESTED: N_("Machine de réception essayée"),
    Act.RECIPIENTS_LISTED: N_("Liste de destinataires envoyée"),
    Act.RECIPIENTS_UNLISTED: N_("Liste de destinataires supprimée"),
    Act.WHITELIST_ADDED: N_("Entrée ajoutée à la liste blanche"),
    Act.WHITELIST_REMOVED: N_("Entrée effacée de la liste blanche"),
    Act.WHITELIST_PROOF: N_("Preuve demandée pour la liste blanche"),
    Act.MARKED_SPAM: N_("Messages marqués comme spam"),
    Act.MARKED_LEGITIMATE: N_("Messages marqués comme légitimes"),
    Act.PREFERENCES_CHANGED: N_("Préférences changées"),
    Act.PLAN_ORDERED: N_("Changement de meuble demandé"),
    Act.PLAN_ORDER_WITHDRAWN: N_("Changement de meuble abandonné"),
    Act.PLAN_CHANGED: N_("Meuble changé"),
    Act.ACCOUNT_ADDED: N_("Compte ajouté"),
    Act.ACCOUNT_REMOVED: N_("Compte supprimé"),
    Act.ROLE_CHANGED: N_("Rôle changé"),
    Act.SECOND_FACTOR_ON: N_("Second facteur activé"),
    Act.SECOND_FACTOR_OFF: N_("Second facteur désactivé"),
    Act.NEW_RECOVERY_CODES: N_("Nouveaux codes de secours"),
    Act.PASSWORD_CHOSEN: N_("Mot de passe choisi"),
    Act.PASSWORD_CHANGED: N_("Mot de passe changé"),
    Act.PASSWORD_LINK_SENT: N_("Lien pour un mot de passe envoyé"),
    Act.WRONG_PASSWORD: N_("Mot de passe refusé"),
    Act.INVITATION_SENT: N_("Invitation envoyée"),
    Act.INVOICE_ISSUED: N_("Facture émise"),
    Act.CREDIT_ISSUED: N_("Avoir émis"),
    Act.PRICE_AGREED: N_("Meuble dédié convenu"),
    Act.TARIFF_SET: N_("Tarifs changés"),
    Act.SELLER_SET: N_("Société changée"),
    Act.PAYMENT_RECORDED: N_("Paiement enregistré"),
    Act.PAYMENT_TAKEN_BACK: N_("Paiement repris"),
    Act.PAYMENT_ASKED: N_("Paiement par PayPal commencé"),
    Act.ENTRY_PUT_ASIDE: N_("Ligne de relevé mise de côté"),
    Act.ENTRY_TAKEN_UP: N_("Ligne de relevé reprise"),
    Act.API_KEY_MADE: N_("Clé d'API créée"),
    Act.API_KEY_REVOKED: N_("Clé d'API révoquée"),
    Act.API_KEY_STOPPED: N_("Clé d'API arrêtée"),
    Act.SIGNED_UP: N_("Inscription"),
    Act.SIGNUP_ACCEPTED: N_("Inscription acceptée"),
    Act.SIGNUP_REFUSED: N_("Inscription refusée"),
    Act.DESTINATION_HELD: N_("Destination retenue"),
    Act.DESTINATION_LET_GO: N_("Destination libérée"),
    Act.DELIVERIES_CANCELLED: N_("Remises annulées"),
    Act.CONSOLE_SEEN: N_("Console consultée par Mail6M"),
    Act.CONSOLE_LEFT: N_("Consultation par Mail6M terminée"),
    Act.CONTRACT_SUSPENDED: N_("Compte suspendu"),
    Act.CONTRACT_RESUMED: N_("Suspension levée"),
    Act.SECOND_FACTOR_RESET: N_("Second facteur réinitialisé"),
}
"""What the acts are called, in French."""
_LABELS = {act.value: label for act, label in ACTS.items()}


_ON_MESSAGES = (
    Act.MESSAGE_REISSUED,
    Act.MESSAGES_DELETED,
    Act.MARKED_SPAM,
    Act.MARKED_LEGITIMATE,
)
_BY_HOUSE = N_("Mail6M (%(account)s)")
"""An operator, at the console."""
_OTHERS = {"operator": N_("Mail6M"), "command line": N_("en ligne de commande")}
"""Who is no account, and where they do it from."""


class Line(NamedTuple):
    """An act as it is shown, in the visitor's language."""

    entry: Entry
    account: str
    client: str
    act: str
    object: str
    """What it was done to, if not to messages."""
    messages: list[tuple[UUID, bool]]
    """Ids of messages that it was done to, and whether there are details of them."""
    more: int
    """Messages beyond these."""


class ActivityPages:
    """The audit, for administrators."""

    def __init__(self, audit: Audit, cabinet: Cabinet) -> None:
        self._audit = audit
        self._cabinet = cabinet

    @page("/activite", Access.ADMINISTRATOR)
    async def show(self, visit: Visit) -> Answer:
        """Activité: who did what, when, from where, on what; newest first."""
        count = await self._audit.count(visit.customer, MOST)
        last = max(1, -(-count // ROWS))
        number = visit.number("page", 1, last)
        entries = await self._audit.page(visit.customer, (number - 1) * ROWS, ROWS)
        ids = [id_ for entry in entries for id_ in _messages(entry)[:_SHOWN]]
        there = {message.id for message in await self._cabinet.some(visit.customer, ids)}
        values = {
            "lines": [line_of(entry, there, visit._) for entry in entries],
            "pager": numbered(number, last, lambda n: f"/activite?page={n}"),
            "most": MOST if count == MOST and number == last else None,
        }
        return Html("activity.html", values)


def line_of(entry: Entry, there: Set[UUID], translate: Callable[[str], str]) -> Line:
    """An act in words; of the messages that it was done to, ``there`` are those in the cabinet."""
    ids = _messages(entry)
    label = _LABELS.get(entry.act)
    return Line(
        entry,
        _who(entry, translate),
        translate(_OTHERS.get(entry.client, entry.client)),
        translate(label) if label else entry.act,
        "" if ids else _object(entry, translate),
        [(id_, id_ in there) for id_ in ids[:_SHOWN]],
        max(0, len(ids) - _SHOWN),
    )


def _who(entry: Entry, translate: Callable[[str], str]) -> str:
    if entry.house and "@" in entry.account:
        return translate(_BY_HOUSE) % {"account": entry.account}
    return translate(_OTHERS.get(entry.account, entry.account))


def _messages(entry: Entry) -> list[UUID]:
    """The ids of messages that an act was done to."""
    if entry.act not in _ON_MESSAGES:
        return []
    try:
        return [UUID(word) for word in entry.object.split()]
    except ValueError:  # it was written by another version
        return []


def _object(entry: Entry, translate: Callable[[str], str]) -> str:
    """What an act was done to; the fields of the preferences by their labels."""
    if entry.act in (Act.CONSOLE_SEEN, Act.CONSOLE_LEFT) and entry.object:
        return translate(N_("Client %(number)s")) % {"number": entry.object}
    if entry.act != Act.PREFERENCES_CHANGED:
        return entry.object
    return ", ".join(translate(LABELS.get(name, name)) for name in entry.object.split(", "))
