"""A request to every route of the console, which names what is a customer's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from mail6m.notices.catalogue import QUEUE
from mail6m.notices.subscriptions import PATH as UNSUBSCRIBING
from mail6m.notices.subscriptions import Subscriber, Subscriptions
from mail6m.seal import Keyring
from mail6m.web.console import PAGES
from mail6m.web.routes import Access, Route, routes_of
from tests.console_client import MASTER, NEW_PASSWORD, PASSWORD, House

ROUTES: Sequence[Route] = [route for pages in PAGES for route, _ in routes_of(pages)]
"""Every route that there is."""


def named(route: Route) -> str:
    """What a test calls a route."""
    return f"{route.method} {route.rule}"


@dataclass(frozen=True)
class Sample:
    """A request that names a house's objects, as the house's administrator may send it."""

    values: dict[str, object] = field(default_factory=dict)
    """The path's variables."""
    fields: Sequence[tuple[str, object]] = ()
    """The query of a page, the form of an act."""
    own: int | None = None
    """The status that the house's administrator gets, if it is neither 200 nor 303."""
    idle: bool = False
    """An act that finds nothing to change here."""
    foreign: int | None = None
    """The status that another customer's administrator gets, if it names what is the house's."""
    bearer: bool = False
    """It names a secret that lets in whoever has it."""


def unsubscribing(house: House) -> str:
    """The token of a link that unsubscribes a house's administrator."""
    known = Subscriptions(None, Keyring(MASTER).secret("unsubscribing"))  # type: ignore[arg-type]
    subscriber = Subscriber(house.number, house.admin_email, QUEUE)
    return known.path(subscriber).removeprefix(UNSUBSCRIBING)


def path_of(route: Route, sample: Sample) -> str:
    """The route's rule with its variables filled in."""
    return re.sub(r"<(?:[^<>:]+:)?([^<>]+)>", lambda m: str(sample.values[m[1]]), route.rule)


def sent(sample: Sample) -> list[tuple[str, Any]]:
    """Its fields as they are typed; octets are a file's."""
    return [
        (name, value if isinstance(value, bytes) else str(value)) for name, value in sample.fields
    ]


_BACK = ("retour", "/recherche?subject=a")

SAMPLES: dict[str, Callable[[House], Sample]] = {
    "GET /": lambda _: Sample(),
    "GET /connexion": lambda _: Sample(fields=[("suite", "/recherche?subject=a")]),
    "POST /connexion": lambda h: Sample(
        fields=[("email", f"nul@{h.word}"), ("password", "not this one"), ("suite", "/meuble")],
        own=403,
    ),
    "GET /connexion/code": lambda _: Sample(),
    "POST /connexion/code": lambda _: Sample(fields=[("code", "123456")]),
    "POST /deconnexion": lambda _: Sample(),
    "GET /meuble": lambda _: Sample(fields=[("page", 2)]),
    "GET /recherche": lambda h: Sample(
        fields=[("subject", "sujet"), ("page", 2), ("avant", h.messages[3])]
    ),
    "GET /details": lambda h: Sample(
        fields=[("id", h.messages[0]), ("id", h.messages[1]), _BACK], foreign=404
    ),
    "POST /meuble/details": lambda h: Sample(fields=[("id", h.messages[0]), _BACK], foreign=303),
    "POST /meuble/emettre": lambda h: Sample(fields=[("id", h.messages[0]), _BACK], foreign=303),
    "POST /meuble/spam": lambda h: Sample(fields=[("id", h.messages[0]), _BACK], foreign=303),
    "POST /meuble/legitimes": lambda h: Sample(fields=[("id", h.messages[0]), _BACK], foreign=303),
    "GET /legitimes": lambda h: Sample(fields=[("id", h.messages[0]), _BACK], foreign=404),
    "GET /emissions": lambda h: Sample(fields=[("id", h.messages[0]), _BACK], foreign=404),
    "POST /meuble/supprimer": lambda h: Sample(
        fields=[("id", h.messages[0]), ("sur", "oui"), _BACK], foreign=303
    ),
    "GET /cave": lambda _: Sample(),
    "GET /cave/archiviste": lambda _: Sample(),
    "GET /dvd": lambda _: Sample(),
    "GET /dvd/<serial>/certificat": lambda h: Sample({"serial": h.disc}, foreign=404),
    "POST /dvd/commander": lambda _: Sample(idle=True),
    "POST /dvd/refuser": lambda _: Sample(fields=[("sur", "oui")], idle=True),
    "POST /dvd/<serial>/recu": lambda h: Sample({"serial": h.disc}, [("sur", "oui")], foreign=404),
    "POST /cave/archiviste": lambda h: Sample(
        fields=[("subject", f"sujet {h.word}"), ("since", "2005-07-01"), ("reason", "Litige")]
    ),
    "GET /partir": lambda _: Sample(),
    "POST /partir/fichiers": lambda _: Sample(
        fields=[("format", "zip"), ("current", "not this one")], own=403
    ),
    "GET /partir/fichiers/<name>": lambda h: Sample({"name": h.file}, foreign=404),
    "GET /partir/resilier": lambda _: Sample(),
    "POST /partir/resilier": lambda h: Sample(
        fields=[("company", h.company), ("current", "not this one")], own=403, foreign=400
    ),
    "POST /partir/rester": lambda _: Sample(idle=True),
    "GET /file": lambda _: Sample(fields=[("page", 1)]),
    "POST /file/reessayer": lambda h: Sample(
        fields=[("id", h.deliveries[0]), ("page", 1)], foreign=404
    ),
    "GET /domaines": lambda _: Sample(),
    "POST /domaines": lambda h: Sample(
        fields=[
            ("name", f"autre-{h.word}.example.net"),
            ("hosts", "127.0.0.1:9"),
            ("tls", "opportunistic"),
        ],
    ),
    "GET /domaines/<name>": lambda h: Sample({"name": h.domain}, foreign=404),
    "POST /domaines/<name>": lambda h: Sample(
        {"name": h.domain}, [("hosts", "127.0.0.1:99"), ("tls", "none")], foreign=404
    ),
    "POST /domaines/<name>/verifier": lambda h: Sample({"name": h.claim}, idle=True, foreign=404),
    "POST /domaines/<name>/mta-sts": lambda h: Sample(
        {"name": h.domain}, [("mode", "testing"), ("reports", "")], foreign=404
    ),
    "POST /domaines/<name>/essai": lambda h: Sample({"name": h.domain}, foreign=404),
    "GET /domaines/<name>/destinataires.csv": lambda h: Sample({"name": h.domain}, foreign=404),
    "POST /domaines/<name>/destinataires": lambda h: Sample(
        {"name": h.domain}, [("fichier", f"autre@{h.domain}".encode())], foreign=404
    ),
    "POST /domaines/<name>/destinataires/supprimer": lambda h: Sample(
        {"name": h.domain}, foreign=404
    ),
    "POST /domaines/<name>/supprimer": lambda h: Sample(
        {"name": h.domain}, [("sur", "oui")], foreign=404
    ),
    "GET /liste-blanche": lambda _: Sample(),
    "POST /liste-blanche": lambda h: Sample(fields=[("entry", f"nouveau-{h.word}.example.net")]),
    "POST /liste-blanche/preuve": lambda _: Sample(),
    "POST /liste-blanche/effacer": lambda h: Sample(fields=[("domaine", h.listed)], foreign=404),
    "GET /preferences": lambda _: Sample(),
    "POST /preferences": lambda h: Sample(
        fields=[
            ("company", f"Autre {h.word}"),
            ("email", f"autre@{h.domain}"),
            ("cabinet_rows", 30),
            ("search_rows", 40),
            ("plan", "malle"),
            ("language", "fr"),
            ("time_zone", "Europe/Paris"),
        ],
    ),
    "GET /exploitation": lambda _: Sample(foreign=404),
    "GET /factures": lambda _: Sample(),
    "GET /factures/<number>": lambda h: Sample({"number": h.invoice}, foreign=404),
    "GET /factures/<number>.pdf": lambda h: Sample({"number": h.invoice}, foreign=404),
    "POST /factures/<number>/paypal": lambda h: Sample({"number": h.invoice}, foreign=404),
    "GET /factures/<number>/paypal": lambda h: Sample(
        {"number": h.invoice}, [("token", h.order)], foreign=404
    ),
    "GET /exploitation/factures": lambda h: Sample(
        fields=[("etat", "toutes"), ("q", h.company)], foreign=404
    ),
    "GET /exploitation/factures/<number>": lambda h: Sample({"number": h.invoice}, foreign=404),
    "GET /exploitation/factures/<number>.pdf": lambda h: Sample({"number": h.invoice}, foreign=404),
    "POST /exploitation/factures/<number>/paiements": lambda h: Sample(
        {"number": h.invoice},
        [
            ("method", "cheque"),
            ("amount", "20,00"),
            ("on", "2026-11-03"),
            ("reference", "12"),
            ("once", f"{h.word:x<22}"),
        ],
        foreign=404,
    ),
    "POST /exploitation/factures/<number>/reprendre": lambda h: Sample(
        {"number": h.invoice}, [("paiement", h.payment), ("raison", "Erreur")], foreign=404
    ),
    "GET /exploitation/factures/<number>/avoir": lambda h: Sample(
        {"number": h.invoice}, foreign=404
    ),
    "POST /exploitation/factures/<number>/avoir": lambda h: Sample(
        {"number": h.invoice},
        [("ligne-1", "40,00"), ("raison", "Panne"), ("avoirs", 0)],
        foreign=404,
    ),
    "GET /exploitation/paiements": lambda _: Sample(foreign=404),
    "POST /exploitation/paiements": lambda h: Sample(
        fields=[("releve", f"Date;Montant;Motif\n2026-11-03;1,00;{h.word}\n".encode())],
        foreign=404,
    ),
    "POST /exploitation/paiements/affecter": lambda h: Sample(
        fields=[("ligne", h.entry), ("number", h.invoice), ("amount", "50,00"), ("deja", 0)],
        foreign=404,
    ),
    "POST /exploitation/paiements/ecarter": lambda h: Sample(
        fields=[("ligne", h.entry), ("raison", "Assurance")], foreign=404
    ),
    "POST /exploitation/paiements/reprendre": lambda h: Sample(
        fields=[("ligne", f"{h.entry}-aside")], foreign=404
    ),
    "GET /exploitation/file": lambda _: Sample(fields=[("page", 1)], foreign=404),
    "GET /exploitation/destinations/<destination>": lambda h: Sample(
        {"destination": h.domain}, [("page", 1)], foreign=404
    ),
    "POST /exploitation/file/retenir": lambda h: Sample(
        fields=[("destination", h.domain), ("ici", h.domain)], foreign=404
    ),
    "POST /exploitation/file/liberer": lambda h: Sample(
        fields=[("destination", h.domain)], idle=True, foreign=404
    ),
    "POST /exploitation/file/reessayer": lambda h: Sample(
        fields=[("destination", h.domain)], foreign=404
    ),
    "POST /exploitation/file/annuler": lambda h: Sample(
        fields=[("id", h.deliveries[1]), ("ici", h.domain)], foreign=404
    ),
    "GET /exploitation/dvd": lambda _: Sample(foreign=404),
    "GET /exploitation/dvd/etiquettes": lambda h: Sample(
        fields=[("serial", h.disc), ("premiere", 3)], foreign=404
    ),
    "POST /exploitation/dvd/<serial>/ecrire": lambda h: Sample(
        {"serial": h.disc}, idle=True, foreign=404
    ),
    "POST /exploitation/dvd/<serial>/expedier": lambda h: Sample(
        {"serial": h.disc}, idle=True, foreign=404
    ),
    "GET /exploitation/archiviste": lambda _: Sample(foreign=404),
    "POST /exploitation/archiviste/accorder": lambda h: Sample(
        fields=[("id", h.request)], idle=True, foreign=404
    ),
    "POST /exploitation/archiviste/refuser": lambda h: Sample(
        fields=[("id", h.request), ("reason", "Rien dans la cave")], foreign=404
    ),
    "GET /desabonnement/<token>": lambda h: Sample({"token": unsubscribing(h)}, bearer=True),
    "POST /desabonnement/<token>": lambda h: Sample(
        {"token": unsubscribing(h)}, [("List-Unsubscribe", "One-Click")], bearer=True
    ),
    "GET /exploitation/avis": lambda _: Sample(foreign=404),
    "GET /exploitation/avis/<name>": lambda _: Sample(
        {"name": "queue_stuck"}, [("lettre", "en")], foreign=404
    ),
    "GET /exploitation/avis/<name>/html": lambda _: Sample(
        {"name": "queue_stuck"}, [("lettre", "en")], foreign=404
    ),
    "POST /exploitation/avis/<name>": lambda _: Sample(
        {"name": "queue_stuck"}, [("lettre", "en")], foreign=404
    ),
    "GET /activite": lambda _: Sample(fields=[("page", 1)]),
    "GET /comptes": lambda _: Sample(),
    "POST /comptes": lambda h: Sample(
        fields=[("email", f"nouveau@{h.domain}"), ("role", "reader")]
    ),
    "POST /comptes/inviter": lambda h: Sample(fields=[("compte", h.invited[1])], foreign=404),
    "POST /comptes/role": lambda h: Sample(
        fields=[("compte", h.reader[1]), ("role", "administrator")], foreign=404
    ),
    "POST /comptes/supprimer": lambda h: Sample(
        fields=[("compte", h.reader[1]), ("sur", "oui")], foreign=404
    ),
    "GET /cles": lambda _: Sample(),
    "POST /cles": lambda h: Sample(fields=[("name", h.word), ("scopes", "usage:read")]),
    "POST /cles/revoquer": lambda h: Sample(
        fields=[("cle", h.key_number), ("sur", "oui")], foreign=404
    ),
    "GET /oubli": lambda _: Sample(),
    "POST /oubli": lambda h: Sample(fields=[("email", h.reader_email)], bearer=True),
    "GET /oubli/envoi": lambda _: Sample(),
    "GET /mot-de-passe": lambda h: Sample(fields=[("jeton", h.letter)], bearer=True),
    "POST /mot-de-passe": lambda h: Sample(
        fields=[("jeton", h.letter), ("new", NEW_PASSWORD), ("again", NEW_PASSWORD)], bearer=True
    ),
    "GET /securite": lambda _: Sample(),
    "POST /securite/mot-de-passe": lambda _: Sample(
        fields=[("current", PASSWORD), ("new", NEW_PASSWORD), ("again", NEW_PASSWORD)]
    ),
    "POST /securite/activer": lambda _: Sample(),
    "GET /securite/code": lambda _: Sample(),
    "POST /securite/code": lambda _: Sample(fields=[("current", PASSWORD), ("code", "123456")]),
    "GET /securite/codes-de-secours": lambda _: Sample(),
    "POST /securite/codes-de-secours": lambda _: Sample(fields=[("current", PASSWORD)]),
    "GET /securite/desactiver": lambda _: Sample(),
    "POST /securite/desactiver": lambda _: Sample(
        fields=[("current", PASSWORD), ("code", "123456")]
    ),
    "POST /securite/sessions/fermer": lambda h: Sample(
        fields=[("session", h.session)], foreign=404
    ),
    "POST /securite/sessions/fermer-les-autres": lambda _: Sample(),
    "GET /pourquoi": lambda _: Sample(fields=[("langue", "en")]),
    "GET /fonctionnement": lambda _: Sample(),
    "GET /avantages": lambda _: Sample(),
    "GET /tarifs": lambda _: Sample(),
    "GET /mise-en-place": lambda _: Sample(),
    "GET /conditions": lambda _: Sample(),
    "GET /mentions": lambda _: Sample(),
    "GET /robots.txt": lambda _: Sample(),
    "GET /sitemap.xml": lambda _: Sample(),
    "GET /inscription": lambda _: Sample(fields=[("meuble", "malle")]),
    "POST /inscription": lambda h: Sample(
        fields=[
            ("company", f"Neuve {h.word}"),
            ("last_name", "Alphan"),
            ("first_name", "Georges"),
            ("email", f"neuve@{h.domain}"),
            ("password", PASSWORD),
            ("plan", "malle"),
            ("agreed", "y"),
        ],
    ),
    "GET /inscription/envoi": lambda _: Sample(),
    "GET /inscription/confirmer": lambda h: Sample(fields=[("jeton", h.signup)], bearer=True),
    "POST /inscription/confirmer": lambda h: Sample(
        fields=[("jeton", h.signup), ("password", PASSWORD)], bearer=True
    ),
    "GET /inscription/attente": lambda _: Sample(),
    "GET /exploitation/inscriptions": lambda _: Sample(foreign=404),
    "POST /exploitation/inscriptions/<int:number>/accepter": lambda h: Sample(
        {"number": h.waiting}, foreign=404
    ),
    "POST /exploitation/inscriptions/<int:number>/refuser": lambda h: Sample(
        {"number": h.waiting}, [("reason", "Adresse inconnue")], foreign=404
    ),
    "GET /demarrage": lambda h: Sample(fields=[("domaine", h.domain)], foreign=404),
    "POST /demarrage": lambda h: Sample(
        fields=[
            ("name", f"debut-{h.word}.example.net"),
            ("hosts", "127.0.0.1:9"),
            ("tls", "opportunistic"),
        ],
    ),
    "POST /demarrage/verifier": lambda h: Sample(
        fields=[("domaine", h.claim)], idle=True, foreign=404
    ),
    "POST /demarrage/machines": lambda h: Sample(
        fields=[("domaine", h.domain), ("hosts", "127.0.0.1:99"), ("tls", "none")], foreign=404
    ),
    "POST /demarrage/essai": lambda h: Sample(fields=[("domaine", h.domain)], foreign=404),
    "GET /exploitation/clients": lambda h: Sample(
        fields=[("q", h.domain), ("etat", "active"), ("page", 1)], foreign=404
    ),
    "GET /exploitation/clients/<int:number>": lambda h: Sample({"number": h.number}, foreign=404),
    "POST /exploitation/clients/<int:number>/meuble": lambda h: Sample(
        {"number": h.number}, [("plan", "malle")], foreign=404
    ),
    "GET /exploitation/clients/<int:number>/convenir": lambda h: Sample(
        {"number": h.number}, foreign=404
    ),
    "POST /exploitation/clients/<int:number>/convenir": lambda h: Sample(
        {"number": h.number}, [("capacity", "50"), ("monthly", "250"), ("since", "")], foreign=404
    ),
    "POST /exploitation/clients/<int:number>/suspendre": lambda h: Sample(
        {"number": h.number}, [("sur", "oui")], foreign=404
    ),
    "POST /exploitation/clients/<int:number>/retablir": lambda h: Sample(
        {"number": h.number}, idle=True, foreign=404
    ),
    "GET /exploitation/clients/<int:number>/resilier": lambda h: Sample(
        {"number": h.number}, foreign=404
    ),
    "POST /exploitation/clients/<int:number>/resilier": lambda h: Sample(
        {"number": h.number}, [("company", h.company)], foreign=404
    ),
    "POST /exploitation/clients/<int:number>/garder": lambda h: Sample(
        {"number": h.number}, idle=True, foreign=404
    ),
    "POST /exploitation/clients/<int:number>/voir": lambda h: Sample(
        {"number": h.number}, foreign=404
    ),
    "POST /exploitation/quitter": lambda _: Sample(idle=True, foreign=404),
    "GET /exploitation/journal": lambda h: Sample(
        fields=[("client", h.number), ("acte", "signed in"), ("jour", "2026-11-28")], foreign=404
    ),
    "GET /exploitation/journal.csv": lambda h: Sample(
        fields=[("client", h.number), ("compte", h.admin_email)], foreign=404
    ),
    "GET /exploitation/comptes": lambda _: Sample(foreign=404),
    "POST /exploitation/comptes": lambda h: Sample(
        fields=[("email", f"exploitant@{h.domain}"), ("role", "observer")], foreign=404
    ),
    "POST /exploitation/comptes/inviter": lambda h: Sample(
        fields=[("compte", h.colleague[1])], foreign=404
    ),
    "POST /exploitation/comptes/role": lambda h: Sample(
        fields=[("compte", h.colleague[1]), ("role", "bookkeeper")], foreign=404
    ),
    "POST /exploitation/comptes/supprimer": lambda h: Sample(
        fields=[("compte", h.colleague[1]), ("sur", "oui")], foreign=404
    ),
    "POST /exploitation/comptes/second-facteur": lambda h: Sample(
        fields=[("compte", h.colleague[1]), ("sur", "oui")], foreign=404
    ),
    "GET /exploitation/tarifs": lambda _: Sample(foreign=404),
    "POST /exploitation/tarifs": lambda _: Sample(
        fields=[
            ("since", "2999-01-01"),
            *(("tiroir", "41"), ("malle", "76,50"), ("armoire", "101"), ("disc", "16")),
            *(("vat", "20"), ("free_months", "2")),
        ],
        foreign=404,
    ),
    "POST /exploitation/tarifs/societe": lambda _: Sample(
        fields=[
            *(("since", "2999-01-01"), ("name", "Mail6M"), ("street", "18 Bis avenue du Val")),
            *(("postcode", "69580"), ("city", "Sathonay-Camp"), ("country", "FR")),
            *(("email", "facturation@mail6m.com"), ("phone", ""), ("siret", "484 373 378 00013")),
            *(("vat_number", "FR06 484373378"), ("legal", "SARL"), ("payment_days", "30")),
            *(("late_rate", "trois fois le taux légal"), ("iban", ""), ("bic", "")),
        ],
        foreign=404,
    ),
    "POST /exploitation/tarifs/retirer": lambda _: Sample(
        fields=[("quoi", "tarif"), ("depuis", "2005-01-01")], foreign=404, idle=True
    ),
}
"""By method and rule. A new route needs one here, with what it may name of a customer's objects."""


def sample_of(route: Route, house: House) -> Sample:
    """A request to a route; fails with what to do for a route that has none yet."""
    make = SAMPLES.get(named(route))
    assert make is not None, (
        f"no sample for {named(route)}: add one to SAMPLES in tests/console_samples.py, which names"
        " a customer's objects in every variable and field that can name one, so that the walks"
        " over all routes try it as a stranger, as a reader, and as another customer"
    )
    sample = make(house)
    variables = set(re.findall(r"<(?:[^<>:]+:)?([^<>]+)>", route.rule))
    assert variables == set(sample.values), f"{named(route)} has variables {variables}"
    return sample


def walk(
    access: Access | None = None, method: str | None = None, csrf: bool | None = None
) -> list[Any]:
    """Routes as parameters of a test, by name."""
    return [
        pytest.param(route, id=named(route))
        for route in ROUTES
        if access in (None, route.access)
        and method in (None, route.method)
        and csrf in (None, route.csrf)
    ]
