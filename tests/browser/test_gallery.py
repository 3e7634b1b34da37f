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

PAGES = {route.rule: route for route in console_routes() if route.method == "GET"}


@dataclass
class Hall:
    """Who may be in front of a page."""

    stage: Stage
    duchemin: Company
    wary: Company
    windows: dict[str, Window] = field(default_factory=dict)

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


def forged(hall: Hall, window: Window) -> Response:
    """By a form whose token is another visitor's."""
    window.go("/connexion")
    token = window.page.locator("main [name=csrf]").first
    token.evaluate("field => { field.value = 'another' }")
    return window.send("Se connecter", email="georges@duchemin.fr", password="armoire")


def asked_to_remove(hall: Hall, window: Window) -> Response:
    """The question before an account is removed."""
    window.go("/comptes")
    return window.click("Supprimer lecteur@mondomaine.fr")


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

_BY_DEFAULT = {Access.PUBLIC: "nobody"}
_SHOWN = {scene.rule for scene in SCENES}
SCENES += [
    Scene(rule.strip("/").replace("/", "-"), rule, _BY_DEFAULT.get(route.access, "operator" if
          route.access.of_house else "administrator"), at(rule))
    for rule, route in PAGES.items()
    if rule not in _SHOWN and rule != "/" and "<" not in rule
]  # fmt: skip


@pytest.fixture(scope="module")
def hall(stage: Stage, duchemin: Company, reader: str, browser: Browser) -> Iterator[Hall]:
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
    stage.keys(hoarder)
    stage.server.command("customer", "close", str(careful.number))
    stage.discs(waiting, "refused")
    stage.send(brochure(hall.wary.domain))
    for subject, judgement in JUDGED.items():
        stage.judge(hall.wary, subject, judgement)
    stage.sql("UPDATE domain SET verify_recipients = true WHERE name = 'cave.test'", ())
    stage.sql("UPDATE domain SET verify_recipients = true WHERE name = 'panne.test'", ())
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
        }
        for name in ("patient", "hoarder", "hoarder english"):
            hall.windows[name].page.add_init_script(_PATIENT)
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
    """No page of the console is without a scene, but what is none: what leads on, and a file."""
    shown = {scene.rule for scene in SCENES} - {""}
    files = {"/partir/fichiers/<name>", "/domaines/<name>/destinataires.csv"}
    assert shown == set(PAGES) - {"/"} - files


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
        page.screenshot(path=shots / f"{view}.png", full_page=True, animations="disabled")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            faults.append(f"{view}: it is wider than the window")
        faults += [f"{view}: {fault}" for fault in axe.faults(page)]
    faults += window.trouble
    window.trouble.clear()
    assert not faults, "\n".join(dict.fromkeys(faults))
