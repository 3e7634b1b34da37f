"""Every page, in every state that looks different, at two widths, by day and by night.

A page is shown in all four views, its further states in two. Each is photographed into the folder
that the run names at its end, and judged: by axe-core, by html-validate, and by what the browser
itself complained of. A page that no scene shows is one that nobody has looked at: the first test
finds it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Response

import mail6m.web
from mail6m.model import Authentication, Judgement, Scan, Signature
from mail6m.web.routes import Access, Route, routes_of
from tests.browser.judges import Axe, HtmlJudge, install
from tests.browser.letters import HOSTILE, LONG, SECRET, brochure, ordinary
from tests.browser.stage import PASSWORD, Company, Stage, Window, turn_on_second_factor, windows
from tests.harness import free_ports

VIEWS = [(width, theme) for width in (390, 1280) for theme in ("light", "dark")]
TWO_VIEWS = [(390, "light"), (1280, "dark")]
"""The views of the further states of a page: each width, each theme."""
_SHOT: dict[str, Any] = {"type": "jpeg", "quality": 90, "animations": "disabled"}
"""Half the time that a PNG takes."""


def console_routes() -> list[Route]:
    """Every route of every group of pages in ``mail6m.web``."""
    found = {}
    for module in pkgutil.walk_packages(mail6m.web.__path__, "mail6m.web."):
        for _, pages in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            for route, _ in routes_of(pages):
                found[route.method, route.rule] = route
    return list(found.values())


_PATIENT = """const setsOut = setTimeout;
window.setTimeout = (act, delay, ...more) => delay < 1000 ? setsOut(act, delay, ...more) : 0;"""
"""A page that would look again by itself in some seconds stays as it is."""

_CUT_OFF = """[...document.querySelectorAll(".scroll:not([tabindex])")]
.some((place) => place.scrollWidth > place.clientWidth + 1)"""
"""Tables of numbers may be scrolled, and say so by their tabindex; the others fit."""

PAGES = {route.rule: route for route in console_routes() if route.method == "GET"}


@dataclass
class Hall:
    """Who may be in front of a page."""

    stage: Stage
    duchemin: Company
    wary: Company
    windows: dict[str, Window] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """Of customers, by their domains."""
    invoices: list[str] = field(default_factory=list)
    """The hoarder's."""

    def ids(self, *subjects: str, of: Company | None = None) -> str:
        """A query that names messages, of Duchemin's if nobody else is named."""
        rows = self.stage.sql(
            "SELECT message_id FROM message WHERE customer_id = %s AND subject = ANY (%s)",
            ((of or self.duchemin).number, list(subjects)),
        )
        return "&".join(f"id={row[0]}" for row in rows)


Reach = Callable[[Hall, Window], Response]


@dataclass(frozen=True)
class Scene:
    """A page in one of its states: who sees it, and how they come there."""

    name: str
    rule: str
    """The page of the console that it shows; empty for one that answers an act or a mistake."""
    who: str
    reach: Reach


_SPF = Authentication("pass", "yorksaw.com", arc="none", dmarc="none", author="yorksaw.com")
JUDGED = {
    "Votre facture": Judgement(
        Scan.DONE, 16.4, 15.0, ("GTUBE", "RCVD_COUNT_ZERO", "FROM_HAS_DN", "TO_MATCH_ENVRCPT_ALL"),
        True, unconfirmed="att.net",
        authentication=Authentication(
            "softfail", "worldnet.att.net", (Signature("fail", "worldnet.att.net", "s1"),), "fail",
            "fail", "reject", "worldnet.att.net",
        ),
    ),
    "Re: réunion du 13": Judgement(
        Scan.DONE, -0.4, 15.0, ("R_SPF_ALLOW",), False,
        authentication=_SPF._replace(signatures=(Signature("pass", "yorksaw.com", "s1"),)),
    ),
    "Garage": Judgement(Scan.SPARED, spam=False, authentication=_SPF),
    "Blague du jour": Judgement(Scan.DONE, 3.0, 15.0, (), True, corrected=True),
    "Bonjour de l'Ardèche": Judgement(Scan.MISSED),
}  # fmt: skip
"""What the guard has made of some of the brochure's messages."""


def at(path: str) -> Reach:
    """Simply by its address."""
    return lambda hall, window: window.go(path)


def details(*subjects: str) -> Reach:
    """Details of messages."""
    return lambda hall, window: window.go(f"/details?{hall.ids(*subjects)}")


def judged(hall: Hall, window: Window) -> Response:
    """Details of messages that the guard has made something of."""
    return window.go(f"/details?{hall.ids(*JUDGED, of=hall.wary)}")


def chosen(button: str, *subjects: str) -> Reach:
    """By a button below the cabinet's list."""

    def reach(hall: Hall, window: Window) -> Response:
        window.go("/meuble")
        window.choose(*subjects)
        return window.click(button)

    return reach


def sent(path: str, button: str, **fields: str) -> Reach:
    """By a form that is filled in and sent."""

    def reach(hall: Hall, window: Window) -> Response:
        window.go(path)
        return window.send(button, **fields)

    return reach


def unsubscribing(button: str = "") -> Reach:
    """By the link of a letter that one may do without, and its button."""

    def reach(hall: Hall, window: Window) -> Response:
        response = window.go(hall.stage.unsubscribing(hall.wary.email))
        return window.send(button) if button else response

    return reach


def by_letter(**fields: str) -> Reach:
    """By the link of a letter about a lost password, and its form if it is filled in."""

    def reach(hall: Hall, window: Window) -> Response:
        token = secrets.token_urlsafe()
        hall.stage.sql(
            "INSERT INTO password_token (token_hash, customer_id, account_id, expires_at)"
            " SELECT %s, customer_id, account_id, now() + interval '1 hour' FROM account"
            " WHERE email = %s",
            (hashlib.sha256(token.encode()).digest(), hall.duchemin.email),
        )
        response = window.go(f"/mot-de-passe?jeton={token}")
        return window.send("Enregistrer", **fields) if fields else response

    return reach


def by_signup(**fields: str) -> Reach:
    """By the link of a letter to somebody who signs up, and its form if it is filled in."""

    def reach(hall: Hall, window: Window) -> Response:
        response = window.go(f"/inscription/confirmer?jeton={signed_up(hall)}")
        return window.send("Confirmer", **fields) if fields else response

    return reach


def signed_up(hall: Hall, company: str = "Duchemin", *, confirmed: bool = False) -> str:
    """Somebody has signed up; the letter's token."""
    token = secrets.token_urlsafe()
    hall.stage.sql(
        "INSERT INTO signup (token_hash, email, company, last_name, first_name, plan, language,"
        " password_hash, client_address, expires_at, confirmed_at)"
        " VALUES (%s, %s, %s, 'Alphan', 'Georges', 'malle', 'fr', 'none', '192.0.2.44',"
        " now() + interval '1 day', CASE WHEN %s THEN now() END)",
        (
            hashlib.sha256(token.encode()).digest(),
            f"georges@{company.split()[0].lower()}.example",
            company,
            confirmed,
        ),
    )
    return token


def tried(domain: str) -> Reach:
    """By the button of the guided start, which a trial of another scene may have renamed."""

    def reach(hall: Hall, window: Window) -> Response:
        window.go(f"/demarrage?domaine={domain}")
        again = window.page.get_by_role("button", name="Tester à nouveau").count()
        return window.click("Tester à nouveau" if again else "Tester")

    return reach


def all_done(hall: Hall, window: Window) -> Response:
    """The guided start of somebody whose MX records lead to us, and whose machine was tried."""
    hall.stage.zone.add({"mondomaine.fr MX": "10 mx1.mail6m.com."})
    return tried("mondomaine.fr")(hall, window)


def forged(hall: Hall, window: Window) -> Response:
    """By a form whose token is another visitor's."""
    window.go("/connexion")
    token = window.page.locator("main [name=csrf]").first
    token.evaluate("field => { field.value = 'another' }")
    return window.send("Se connecter", email="georges@duchemin.fr", password="armoire")


def invoice(which: int, path: str = "/factures", more: str = "") -> Reach:
    """One of the hoarder's invoices."""
    return lambda hall, window: window.go(f"{path}/{hall.invoices[which]}{more}")


def wrong_credit(hall: Hall, window: Window) -> Response:
    """A credit note of more than there is."""
    window.go(f"/exploitation/factures/{hall.invoices[1]}/avoir")
    return window.send("Émettre l'avoir", **{"ligne-2": "4000", "raison": "Panne"})


def wrong_payment(hall: Hall, window: Window) -> Response:
    """A payment that is typed wrongly."""
    window.go(f"/exploitation/factures/{hall.invoices[3]}")
    return window.send("Enregistrer", amount="dix euros", on="2999-01-01")


def asked_to_remove(hall: Hall, window: Window) -> Response:
    """The question before an account is removed."""
    window.go("/comptes")
    return window.click("Supprimer lecteur@mondomaine.fr")


def of_client(button: str) -> Reach:
    """By a button on an operator's page of a customer."""

    def reach(hall: Hall, window: Window) -> Response:
        window.go(f"/exploitation/clients/{hall.numbers['cave.test']}")
        return window.click(button)

    return reach


def of_account(button: str) -> Reach:
    """By a button on the page of those who run Mail6M."""

    def reach(hall: Hall, window: Window) -> Response:
        window.go("/exploitation/comptes")
        return window.click(button)

    return reach


def unfolded(hall: Hall, window: Window) -> Response:
    """The overview, with the numbers behind its charts."""
    response = window.go("/exploitation")
    for summary in window.page.locator("summary").all():
        summary.click()
    return response


def unreasoned(hall: Hall, window: Window) -> Response:
    """A refusal of a request, without a reason."""
    window.go("/exploitation/archiviste")
    form = window.page.locator("form[action='/exploitation/archiviste/refuser']").first
    with window.page.expect_navigation() as navigation:
        form.locator("button:not([formaction])").click()
    return navigation.value


def first_day(hall: Hall, window: Window) -> Response:
    """The overview before anything has been counted."""
    hall.stage.sql(
        "TRUNCATE measure, standing, queue_snapshot, queue_destination, server_report, mishap"
    )
    response = window.go("/exploitation")
    hall.stage.oversight()
    return response


def new_key(hall: Hall, window: Window) -> Response:
    """A key that has just been made."""
    window.go("/cles")
    window.page.get_by_label("Voir les DVD").check()
    return window.send("Créer", name="Inventaire")


SCENES = [
    # Connexion
    Scene("connexion", "/connexion", "nobody", at("/connexion")),
    Scene(
        "connexion-refusee", "", "nobody",
        sent("/connexion", "Se connecter", email="qui@example.org", password="armoire"),
    ),
    Scene("connexion-incomplete", "", "nobody", sent("/connexion", "Se connecter", email="a@b.c")),
    Scene("connexion-en-anglais", "", "englishman", at("/connexion")),
    Scene("connexion-code", "/connexion/code", "halfway", at("/connexion/code")),
    Scene("connexion-code-faux", "", "halfway", sent("/connexion/code", "Continuer", code="1")),
    Scene("oubli-incomplet", "", "nobody", sent("/oubli", "Recevoir un lien", email="")),
    Scene("mot-de-passe", "/mot-de-passe", "nobody", by_letter()),
    Scene("mot-de-passe-court", "", "nobody", by_letter(new="court", again="autre")),
    Scene("mot-de-passe-perime", "", "nobody", at("/mot-de-passe?jeton=perime")),
    # Meuble
    Scene("meuble", "/meuble", "administrator", at("/meuble")),
    Scene("meuble-page-5", "", "administrator", at("/meuble?page=5")),
    Scene("meuble-lecteur", "", "reader", at("/meuble")),
    Scene("meuble-vide", "", "newcomer", at("/meuble")),
    Scene("meuble-en-anglais", "", "english", at("/meuble?page=2")),
    Scene("meuble-aucun-choix", "", "administrator", chosen("Supprimer")),
    Scene("supprimer", "", "administrator", chosen("Supprimer", "Garage", LONG, HOSTILE)),
    Scene("emissions", "/emissions", "patient", chosen("Emettre", "Garage", LONG)),
    Scene(
        "emissions-remises", "", "administrator",
        lambda hall, window: window.go(f"/emissions?{hall.ids('Notes de frais.')}"),
    ),
    Scene("details", "/details", "administrator", details("Notes de frais.")),
    Scene("details-plusieurs", "", "administrator", details(LONG, HOSTILE)),
    Scene("details-lecteur", "", "reader", details("Notes de frais.")),
    Scene("details-en-anglais", "", "english", details("Notes de frais.")),
    Scene("details-juges", "", "wary", judged),
    Scene("details-juges-en-anglais", "", "wary english", judged),
    Scene("meuble-spams", "", "wary", at("/meuble?afficher=spam")),
    Scene("meuble-sans-spams", "", "wary", at("/meuble?afficher=legitimes")),
    Scene("meuble-aucun-spam", "", "hoarder", at("/meuble?afficher=spam")),
    Scene("meuble-marque", "", "wary", chosen("C'est un spam", "Re: réunion du 13")),
    Scene("legitimes", "/legitimes", "wary", chosen("Ce n'est pas un spam", "Votre facture")),
    # Recherche
    Scene("recherche", "/recherche", "administrator", at("/recherche")),
    Scene("recherche-trouve", "", "administrator", at("/recherche?sender=belga.com&subject=cafe")),
    Scene("recherche-suite", "", "administrator", at("/recherche?subject=n%C2%B0")),
    Scene("recherche-rien", "", "administrator", at("/recherche?subject=introuvable")),
    Scene(
        "recherche-date-fausse", "", "administrator",
        at("/recherche?subject=garage&since=hier&until=2005-02-30"),
    ),
    # La cave, File d'attente, Domaines
    Scene("cave-vide", "", "newcomer", at("/cave")),
    Scene("cave", "/cave", "hoarder", at("/cave")),
    Scene("cave-en-anglais", "", "hoarder english", at("/cave")),
    Scene("archiviste", "/cave/archiviste", "hoarder", at("/cave/archiviste")),
    Scene("archiviste-faux", "", "newcomer", sent("/cave/archiviste", "Demander", until="hier")),
    Scene("archiviste-lecteur", "", "hoarder reader", at("/cave/archiviste")),
    Scene("dvd", "/dvd", "hoarder", at("/dvd")),
    Scene("dvd-commande", "", "careful", at("/dvd")),
    Scene("dvd-aucun", "", "newcomer", at("/dvd")),
    Scene("dvd-refuse", "", "waiting", at("/dvd")),
    Scene("dvd-refuser", "", "hoarder", sent("/dvd", "Refuser")),
    Scene("dvd-lecteur", "", "hoarder reader", at("/dvd")),
    Scene("dvd-en-anglais", "", "hoarder english", at("/dvd")),
    Scene("dvd-recu", "", "hoarder", sent("/dvd", "Reçu : TCWGR3")),
    Scene(
        "dvd-certificat", "/dvd/<serial>/certificat", "hoarder", at("/dvd/BWTKKB/certificat")
    ),
    Scene("meuble-rapportes", "", "hoarder", at("/meuble")),
    Scene("file-attente", "", "waiting", at("/file")),
    Scene("file-attente-lecteur", "", "waiting reader", at("/file")),
    Scene("domaines-aucun", "", "newcomer", at("/domaines")),
    Scene("domaines-lecteur", "", "reader", at("/domaines")),
    Scene(
        "domaines-faux", "", "administrator",
        sent("/domaines", "Ajouter", name="pas un domaine", hosts="ni une machine !"),
    ),
    Scene("domaine", "/domaines/<name>", "administrator", at("/domaines/mondomaine.fr")),
    Scene(
        "domaine-mta-sts", "", "waiting",
        sent("/domaines/panne.test", "Appliquer", mode="testing", reports="tls@panne.test"),
    ),
    Scene("domaine-lecteur", "", "reader", at("/domaines/mondomaine.fr")),
    Scene(
        "domaine-a-prouver", "", "waiting",
        sent("/domaines", "Ajouter", name="café-à-prouver.test", hosts="192.0.2.1\nmx.example.org"),
    ),
    Scene(
        "domaine-liste", "", "hoarder",
        sent("/domaines/cave.test", "Envoyer la liste", fichier="Nom;Adresse\nM;marie@cave.test"),
    ),
    Scene(
        "domaine-liste-fausse", "", "waiting",
        sent("/domaines/panne.test", "Envoyer la liste", fichier="Adresse\nmarie@example.org"),
    ),
    Scene("domaine-essai", "", "administrator", sent("/domaines/mondomaine.fr", "Tester")),
    Scene("domaine-essai-en-panne", "", "waiting", sent("/domaines/panne.test", "Tester")),
    Scene(
        "domaine-supprimer", "", "administrator",
        sent("/domaines/mondomaine.fr", "Supprimer ce domaine"),
    ),
    # Liste blanche, Préférences
    Scene(
        "liste-blanche-ajoutee", "", "newcomer",
        sent("/liste-blanche", "Ajouter", entry="cargo.com"),
    ),
    Scene(
        "liste-blanche-deconseillee", "", "administrator",
        sent("/liste-blanche", "Ajouter", entry="yahoo.com"),
    ),
    Scene("liste-blanche-lecteur", "", "reader", at("/liste-blanche")),
    Scene(
        "preferences-fausses", "", "administrator",
        sent("/preferences", "Enregistrer", company="", email="georges", cabinet_rows="3"),
    ),
    Scene(
        "preferences-changees", "", "newcomer", sent("/preferences", "Enregistrer", plan="malle")
    ),
    Scene("preferences-lecteur", "", "reader", at("/preferences")),
    Scene("preferences-en-anglais", "", "english", at("/preferences")),
    # Emporter, résilier
    Scene("partir", "/partir", "hoarder", at("/partir")),
    Scene("partir-rien", "", "newcomer", at("/partir")),
    Scene("partir-en-anglais", "", "hoarder english", at("/partir")),
    Scene("partir-faux", "", "newcomer", sent("/partir", "Préparer", current="non")),
    Scene("partir-bientot", "", "careful", at("/partir")),
    Scene(
        "partir-resilier-faux", "", "newcomer",
        sent("/partir/resilier", "Résilier", company="Autre", current=""),
    ),
    # Comptes, Sécurité
    Scene("comptes-faux", "", "administrator", sent("/comptes", "Ajouter", email="celine")),
    Scene(
        "comptes-invite", "", "newcomer", sent("/comptes", "Ajouter", email="celine@mondomaine.fr")
    ),
    Scene("comptes-supprimer", "", "administrator", asked_to_remove),
    Scene(
        "securite-fausse", "", "administrator",
        sent("/securite", "Changer de mot de passe", current="non", new="court", again="autre"),
    ),
    Scene("securite-active", "", "careful", at("/securite")),
    Scene("securite-code", "/securite/code", "administrator", sent("/securite", "Activer")),
    Scene(
        "securite-codes-de-secours", "/securite/codes-de-secours", "careful",
        at("/securite/codes-de-secours"),
    ),
    Scene(
        "securite-nouveaux-codes", "", "careful",
        sent("/securite/codes-de-secours", "Faire de nouveaux codes", current=PASSWORD),
    ),
    Scene("securite-desactiver", "/securite/desactiver", "careful", at("/securite/desactiver")),
    # Avis par e-mail
    Scene("desabonnement", "/desabonnement/<token>", "nobody", unsubscribing()),
    Scene("desabonnement-en-anglais", "", "englishman", unsubscribing()),
    Scene("desabonnement-fait", "", "nobody", unsubscribing("Ne plus recevoir")),
    Scene("avis", "/exploitation/avis/<name>", "operator", at("/exploitation/avis/queue_stuck")),
    Scene("avis-en-anglais", "", "operator english", at("/exploitation/avis/closing_done")),
    Scene(
        "avis-envoye", "", "operator",
        sent("/exploitation/avis/disc_offer", "M'envoyer cet avis"),
    ),
    Scene("exploitation-avis-en-anglais", "", "operator english", at("/exploitation/avis")),
    # Exploitation
    Scene("exploitation-clients", "/exploitation/clients", "operator", at("/exploitation/clients")),
    Scene("exploitation-clients-aucun", "", "operator", at("/exploitation/clients?q=introuvable")),
    Scene(
        "exploitation-clients-en-anglais", "", "operator english",
        at("/exploitation/clients?etat=active"),
    ),
    Scene(
        "exploitation-client", "/exploitation/clients/<int:number>", "operator",
        lambda hall, window: window.go(f"/exploitation/clients/{hall.numbers['cave.test']}"),
    ),
    Scene(
        "exploitation-client-en-anglais", "", "operator english",
        lambda hall, window: window.go(f"/exploitation/clients/{hall.numbers['prudent.test']}"),
    ),
    Scene(
        "exploitation-client-convenir", "/exploitation/clients/<int:number>/convenir", "operator",
        lambda hall, window: window.go(
            f"/exploitation/clients/{hall.numbers['cave.test']}/convenir"
        ),
    ),
    Scene("exploitation-client-suspendre", "", "operator", of_client("Suspendre")),
    Scene(
        "exploitation-client-resilier", "/exploitation/clients/<int:number>/resilier", "operator",
        lambda hall, window: window.go(
            f"/exploitation/clients/{hall.numbers['cave.test']}/resilier"
        ),
    ),
    Scene(
        "exploitation-client-resilier-faux", "", "operator",
        lambda hall, window: sent(
            f"/exploitation/clients/{hall.numbers['cave.test']}/resilier", "Résilier",
            company="Autre",
        )(hall, window),
    ),
    Scene("exploitation-voir", "", "onlooker", at("/meuble")),
    Scene("exploitation-voir-domaine", "", "onlooker", at("/domaines/cave.test")),
    Scene("exploitation-voir-refuse", "", "onlooker", at("/comptes")),
    Scene("exploitation-journal", "/exploitation/journal", "operator", at("/exploitation/journal")),
    Scene(
        "exploitation-journal-rien", "", "operator english",
        at("/exploitation/journal?compte=personne&jour=2026-01-01"),
    ),
    Scene("exploitation-journal-faux", "", "operator", at("/exploitation/journal?client=abc")),
    Scene("exploitation-comptes", "/exploitation/comptes", "operator", at("/exploitation/comptes")),
    Scene(
        "exploitation-comptes-faux", "", "operator",
        sent("/exploitation/comptes", "Ajouter", email="celine"),
    ),
    Scene(
        "exploitation-comptes-supprimer", "", "operator",
        of_account("Supprimer comptable@mail6m.test"),
    ),
    Scene(
        "exploitation-comptes-second-facteur", "", "operator",
        of_account("Réinitialiser le second facteur de comptable@mail6m.test"),
    ),
    Scene("exploitation-interdit", "", "bookkeeper", at("/exploitation/comptes")),
    Scene("exploitation-securite", "", "operator", at("/securite")),
    Scene("suspendu", "", "suspended", at("/meuble")),
    Scene(
        "suspendu-refuse", "", "suspended", sent("/liste-blanche", "Ajouter", entry="cargo.com")
    ),
    # Operators
    Scene("exploitation", "/exploitation", "operator", at("/exploitation")),
    Scene("exploitation-nombres", "", "operator", unfolded),
    Scene("exploitation-en-anglais", "", "operator english", at("/exploitation")),
    Scene("exploitation-file", "/exploitation/file", "operator", at("/exploitation/file")),
    Scene("exploitation-file-en-anglais", "", "operator english", at("/exploitation/file")),
    Scene(
        "exploitation-retenir-faux", "", "operator",
        sent("/exploitation/file", "Retenir", destination="nulle.part.test"),
    ),
    Scene(
        "exploitation-destination", "/exploitation/destinations/<destination>", "operator",
        at("/exploitation/destinations/panne.test"),
    ),
    Scene(
        "exploitation-annuler", "", "operator",
        sent("/exploitation/destinations/panne.test", "Tout annuler"),
    ),
    Scene(
        "exploitation-destination-retenue", "", "operator",
        sent("/exploitation/destinations/panne.test", "Retenir"),
    ),
    Scene("exploitation-dvd", "/exploitation/dvd", "operator", at("/exploitation/dvd")),
    Scene("exploitation-dvd-en-anglais", "", "operator english", at("/exploitation/dvd")),
    Scene(
        "exploitation-archiviste", "/exploitation/archiviste", "operator",
        at("/exploitation/archiviste"),
    ),
    Scene("exploitation-archiviste-sans-raison", "", "operator", unreasoned),
    Scene(
        "exploitation-archiviste-en-anglais", "", "operator english",
        at("/exploitation/archiviste"),
    ),
    Scene("exploitation-premier-jour", "", "operator", first_day),
    # Public pages, inscription
    Scene("accueil", "/", "nobody", at("/")),
    Scene("accueil-en-anglais", "", "englishman", at("/")),
    Scene("pourquoi-en-anglais", "", "nobody", at("/pourquoi?langue=en")),
    Scene("fonctionnement-en-anglais", "", "englishman", at("/fonctionnement")),
    Scene("avantages-en-anglais", "", "englishman", at("/avantages")),
    Scene("tarifs-en-anglais", "", "englishman", at("/tarifs")),
    Scene("mise-en-place-en-anglais", "", "englishman", at("/mise-en-place")),
    Scene("inscription-en-anglais", "", "englishman", at("/inscription?meuble=armoire")),
    Scene(
        "inscription-fausse", "", "nobody",
        sent("/inscription", "S'inscrire", company="", email="georges", password="court"),
    ),
    Scene("inscription-confirmer", "/inscription/confirmer", "nobody", by_signup()),
    Scene("inscription-confirmer-faux", "", "nobody", by_signup(password="armoire")),
    Scene("inscription-perimee", "", "nobody", at("/inscription/confirmer?jeton=perime")),
    Scene(
        "exploitation-inscriptions-sans-motif", "", "operator",
        sent("/exploitation/inscriptions", "Refuser Cargo", reason=""),
    ),
    Scene(
        "exploitation-inscriptions-en-anglais", "", "operator english",
        at("/exploitation/inscriptions"),
    ),
    # Démarrer
    Scene("demarrage", "/demarrage", "newcomer", at("/demarrage")),
    Scene(
        "demarrage-faux", "", "newcomer",
        sent("/demarrage", "Déclarer", name="pas un domaine", hosts="ni une machine !"),
    ),
    Scene(
        "demarrage-a-prouver", "", "newcomer",
        sent("/demarrage", "Déclarer", name="debut-à-prouver.test", hosts="192.0.2.1"),
    ),
    Scene("demarrage-en-panne", "", "waiting", tried("panne.test")),
    Scene("demarrage-fait", "", "administrator", all_done),
    Scene("demarrage-lecteur", "", "waiting reader", at("/demarrage")),
    Scene("demarrage-en-anglais", "", "english", at("/demarrage")),
    # Factures
    Scene("factures", "/factures", "hoarder", at("/factures")),
    Scene("factures-aucune", "", "newcomer", at("/factures")),
    Scene("factures-en-anglais", "", "hoarder english", at("/factures")),
    Scene("facture", "/factures/<number>", "hoarder", invoice(2)),
    Scene("facture-payee", "", "hoarder", invoice(0)),
    Scene("facture-lecteur", "", "hoarder reader", invoice(3)),
    Scene("facture-en-anglais", "", "hoarder english", invoice(2)),
    Scene("facture-avoir", "", "hoarder", invoice(4)),
    Scene("exploitation-factures", "/exploitation/factures", "operator",
          at("/exploitation/factures?etat=toutes")),
    Scene("exploitation-factures-aucune", "", "operator", at("/exploitation/factures?q=zz")),
    Scene("exploitation-factures-en-anglais", "", "operator english",
          at("/exploitation/factures?etat=retard")),
    Scene("exploitation-facture", "/exploitation/factures/<number>", "operator",
          invoice(1, "/exploitation/factures")),
    Scene("exploitation-facture-fausse", "", "operator", wrong_payment),
    Scene("exploitation-avoir", "/exploitation/factures/<number>/avoir", "operator",
          invoice(2, "/exploitation/factures", "/avoir")),
    Scene("exploitation-avoir-faux", "", "operator", wrong_credit),
    Scene("exploitation-paiements", "/exploitation/paiements", "operator",
          at("/exploitation/paiements")),
    Scene("exploitation-paiements-faux", "", "operator",
          sent("/exploitation/paiements", "Importer", releve="Date;Montant\n2026-11-02;1.234\n")),
    Scene("exploitation-paiements-affectes-faux", "", "operator",
          sent("/exploitation/paiements", "Affecter", number="2026-9999", amount="dix")),
    Scene("exploitation-paiements-importes", "", "operator english",
          sent("/exploitation/paiements", "Import", releve="Date;Montant\n2026-11-02;1,00\n")),
    # Tarifs et société
    Scene(
        "exploitation-tarifs-a-venir", "", "operator",
        sent("/exploitation/tarifs", "Enregistrer les tarifs", since="2999-01-01", tiroir="42,50"),
    ),
    Scene(
        "exploitation-tarifs-faux", "", "operator",
        sent("/exploitation/tarifs", "Enregistrer les tarifs", tiroir="quarante", vat="120"),
    ),
    Scene(
        "exploitation-tarifs-societe-fausse", "", "operator",
        sent("/exploitation/tarifs", "Enregistrer la société", name="Mail6M", siret="1",
             iban="FR14 2004 1010 0505 0001 3M02 607", street="18 Bis avenue du Val de Saône"),
    ),
    Scene("exploitation-tarifs-en-anglais", "", "operator english", at("/exploitation/tarifs")),
    # Clés d'API
    Scene("cles", "/cles", "hoarder", at("/cles")),
    Scene("cles-aucune", "", "newcomer", at("/cles")),
    Scene("cles-en-anglais", "", "hoarder english", at("/cles")),
    Scene("cles-fausse", "", "newcomer", sent("/cles", "Créer", name="", until="2005-07-01")),
    Scene("cles-creee", "", "newcomer", new_key),
    Scene("cles-revoquer", "", "hoarder", sent("/cles", "Révoquer Comptabilité")),
    # Mistakes
    Scene("introuvable", "", "administrator", at("/details?id=non")),
    Scene("introuvable-inconnu", "", "nobody", at("/rien")),
    Scene("interdit", "", "reader", at("/comptes")),
    Scene("perime", "", "nobody", forged),
]  # fmt: skip
"""Pages that are reached by their address alone, and look the same to all, need no scene."""

FILES = {
    "/exploitation/avis/<name>/html",  # tests/browser/test_notices.py looks at letters
    "/factures/<number>/paypal",  # leads on
    "/partir/fichiers/<name>",
    "/domaines/<name>/destinataires.csv",
    "/factures/<number>.pdf",
    "/exploitation/factures/<number>.pdf",
    "/exploitation/journal.csv",
    "/exploitation/dvd/etiquettes",
    "/robots.txt",
    "/sitemap.xml",
}
"""What is no page."""
_BY_DEFAULT = {Access.PUBLIC: "nobody", Access.ANYBODY: "nobody"}
_SHOWN = {scene.rule for scene in SCENES}
SCENES += [
    Scene(rule.strip("/").replace("/", "-"), rule, _BY_DEFAULT.get(route.access, "operator" if
          route.access.of_house else "administrator"), at(rule))
    for rule, route in PAGES.items()
    if rule not in _SHOWN | FILES and "<" not in rule
]  # fmt: skip


@pytest.fixture(scope="module")
def hall(
    stage: Stage, duchemin: Company, reader: str, browser: Browser, axe: Axe
) -> Iterator[Hall]:
    """Windows of everybody."""
    hall = Hall(stage, duchemin, stage.company("Mefiant", "mefiant.test"))
    careful = stage.company("Prudent", "prudent.test")
    [nobody_listens] = free_ports(1)
    waiting = stage.company("Panne", "panne.test", nobody_listens)
    stage.post(ordinary(4, waiting.domain))
    hoarder = stage.company("Caviste", "cave.test")
    stage.send(ordinary(12, hoarder.domain))
    stage.overflow(hoarder, 6)
    stage.archivist(hoarder)
    stage.discs(hoarder, "offered", "written", "shipped", "destroyed")
    stage.discs(careful, "ordered", "destroyed")
    stage.files(hoarder)
    hall.invoices = stage.invoices(hoarder)
    stage.statements(hall.invoices[3])
    stage.keys(hoarder)
    stage.server.command("customer", "close", str(careful.number))
    stage.discs(waiting, "refused")
    stage.oversight()
    stage.send(brochure(hall.wary.domain))
    for subject, judgement in JUDGED.items():
        stage.judge(hall.wary, subject, judgement)
    stage.sql("UPDATE domain SET verify_recipients = true WHERE name = 'cave.test'", ())
    stage.sql("UPDATE domain SET verify_recipients = true WHERE name = 'panne.test'", ())
    suspended = stage.company("Impaye", "impaye.test")
    stage.sql(
        "UPDATE contract SET suspended_at = now() WHERE customer_id = %s", (suspended.number,)
    )
    hall.numbers = {one.domain: one.number for one in (careful, waiting, hoarder, suspended)}
    for company in ("Cargo", "Société d'exploitation des transports fluviaux du Val de Saône"):
        signed_up(hall, company, confirmed=True)
    with windows(browser, stage) as open_window:
        hall.windows = {
            "nobody": open_window(),
            "englishman": open_window(locale="en-GB"),
            "administrator": open_window(duchemin.email),
            "patient": open_window(duchemin.email),
            "english": open_window(duchemin.email, locale="en-GB"),
            "reader": open_window(reader),
            "newcomer": open_window(stage.company("Nouveau").email),
            "careful": open_window(careful.email),
            "hoarder": open_window(hoarder.email),
            "hoarder reader": open_window(stage.reader(hoarder)),
            "hoarder english": open_window(hoarder.email, locale="en-GB"),
            "halfway": open_window(),
            "waiting": open_window(waiting.email),
            "wary": open_window(hall.wary.email),
            "wary english": open_window(hall.wary.email, locale="en-GB"),
            "waiting reader": open_window(stage.reader(waiting)),
            "operator": open_window(stage.operator()),
            "operator english": open_window(stage.operator(), locale="en-GB"),
            "bookkeeper": open_window(stage.operator("comptable", "bookkeeper")),
            "onlooker": open_window(stage.operator("spectateur")),
            "suspended": open_window(suspended.email),
        }
        hall.windows["onlooker"].go(f"/exploitation/clients/{hoarder.number}")
        hall.windows["onlooker"].click("Voir sa console")
        for name in (
            "patient",
            "hoarder",
            "hoarder english",
            "newcomer",
            "waiting",
            "english",
            "waiting reader",
        ):
            hall.windows[name].page.add_init_script(_PATIENT)
        for window in hall.windows.values():
            axe.wait_in(window.page)
        turn_on_second_factor(hall.windows["careful"])
        hall.windows["halfway"].go("/connexion")
        hall.windows["halfway"].sign_in(careful.email)
        yield hall


@pytest.fixture(scope="module")
def axe() -> Axe:
    """axe-core."""
    install()
    return Axe()


@pytest.fixture(scope="module")
def html_judge() -> Iterator[HtmlJudge]:
    """html-validate."""
    install()
    with HtmlJudge() as judge:
        yield judge


def test_every_page_is_shown() -> None:
    """No page of the console is without a scene, but what is none: a file."""
    shown = {scene.rule for scene in SCENES} - {""}
    assert shown == set(PAGES) - FILES


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_page(hall: Hall, axe: Axe, html_judge: HtmlJudge, shots: Path, scene: Scene) -> None:
    """It stands what axe-core, html-validate, its CSP and its width ask, and keeps the secret."""
    window = hall.windows[scene.who]
    page = window.page
    page.set_viewport_size({"width": 1280, "height": 900})
    response = scene.reach(hall, window)
    html = response.text()
    if scene.rule:
        assert response.status == 200
        assert re.fullmatch(re.sub("<.*?>", "[^/]+", scene.rule), window.path.partition("?")[0])
    faults = html_judge.faults(html)
    if SECRET in html:
        faults.append("the content of a message")
    for width, theme in VIEWS if scene.rule else TWO_VIEWS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        view = f"{scene.name}-{width}-{theme}"
        page.screenshot(path=shots / f"{view}.jpg", full_page=True, **_SHOT)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            faults.append(f"{view}: it is wider than the window")
        if page.evaluate(_CUT_OFF):
            faults.append(f"{view}: a table is wider than its place, and hides its last columns")
        faults += [f"{view}: {fault}" for fault in axe.faults(page)]
    faults += window.trouble
    window.trouble.clear()
    assert not faults, "\n".join(dict.fromkeys(faults))
