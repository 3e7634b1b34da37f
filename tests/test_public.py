"""The public pages: the brochure's words, today's prices, and the same page for everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import pytest

from mail6m.billing.sellers import Sellers
from mail6m.billing.showcase import FRESH, Showcase
from mail6m.billing.tariff import Tariff, Tariffs
from mail6m.storage.errors import Unavailable
from mail6m.storage.tariffs import SellerTable, TariffTable
from mail6m.web.forgotten import ForgottenForm
from mail6m.web.public import PATHS
from mail6m.web.routes import Access, page
from mail6m.web.visit import Answer, Html, Visit
from tests.console_client import Browser, Console, House, Page, listening, new_house, new_operator
from tests.reactor_thread import run
from tests.stored import NOWHERE

LARGEST = 40_000
"""Octets of a page."""
ASSET = re.compile(r'(?:src|href)="(/static/[^"?#]+)')
LINK = re.compile(r'<a[^>]* href="(/[^"#]*)"')


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console with a database of its own."""
    with listening(dsn) as console:
        yield console


@pytest.fixture(scope="module")
def house(at: Console) -> House:
    """A customer."""
    return new_house(at)


@pytest.fixture
def stranger(at: Console) -> Browser:
    """Somebody whom nobody knows."""
    return at.browser()


class _Words(HTMLParser):
    """What stands between the tags of a page's main part."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        """See `HTMLParser`."""
        self.words += data.split()


def words(page: Page) -> str:
    """A page's text, in one line."""
    parser = _Words()
    parser.feed(page.body.decode())
    return " ".join(" ".join(parser.words).replace("\u00a0", " ").split())


BROCHURE = {
    "/": [
        "Sauvegarder et archiver vos e-mails en ligne grâce à Mail6M",
        "accusé de réception d'un client, bon de livraison, échange de données informatiques (EDI)",
        "supprime la plupart des autres moyens de communication tels que le fax ou le téléphone.",
    ],
    "/pourquoi": [
        "vous maîtrisez sa croissance tout en augmentant sa disponibilité",
        "De plus, l'archivage est un outil nécessaire lors d'une enquête ou un litige.",
        "analysées par un outil de gestion des données.",
        "doivent conserver les données de leur patient pendant une période 6 ans.",
        "La BAS fut condamnée à payer une amende de 10 millions de dollars (7,69 millions d'euros)",
        "quel que soit le mode utilisé : téléphone portable ou fixe, sms, fax et bien entendu",
    ],
    "/fonctionnement": [
        'vos e-mails sont sauvegardés dans ce que nous appelons un "meuble". Ce dernier est',
        "le tiroir: il peut contenir 2 gigas octets de messages électroniques compressés",
        "la taille peut être réduite de 50 à 70 pour cent.",
        "soit 4,7 gigas octets. Vous serez alors notifiés par e-mail",
        "ils sont automatiquement détruits conformément à la réglementation.",
    ],
    "/avantages": [
        "coûte en moyenne entre 800 et 1000 euros",
        "(Incendie, inondation, foudre, tremblement de terre, panne de courant, etc.)",
        "24 heures sur 24 et 7 jours sur 7.",
        "fini les innombrables classeurs",
    ],
    "/tarifs": [
        "Une facture ainsi que l'ensemble de vos DVDs vous sont envoyés une fois par trimestre",
        "Le premier mois vous est offert.",
        "Attention, un mois commencé est toujours dû.",
    ],
    "/mise-en-place": [
        "Attention, pour le moment, MAIL6M ne gère que les messages en provenance de l'Internet.",
        "IN MX 10 mx1.mail6m.test. IN MX 20 mx2.mail6m.test.",
        "MAIL6M ne gère pas le courrier entrant (POP ou IMAP) mais le transit entre l'Internet",
    ],
}


@pytest.mark.parametrize("path", BROCHURE)
def test_the_brochures_words(stranger: Browser, path: str) -> None:
    """Each page says in French what the brochure says, word for word."""
    shown = words(stranger.get(path))
    for sentence in BROCHURE[path]:
        assert sentence in shown


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("language", ["fr", "en"])
def test_a_page_is_light_and_anonymous(stranger: Browser, path: str, language: str) -> None:
    """No script, no cookie, one sheet, little weight; it may be kept, and is not sent twice."""
    page = stranger.get(f"{path}?langue={language}")
    assert page.status == 200
    assert f'<html lang="{language}">' in page.text
    assert len(page.body) < LARGEST
    assert page.cookies == []
    assert b"<script" not in page.body
    assert b"style=" not in page.body
    assert sorted(set(ASSET.findall(page.text))) == [
        "/static/console.css", "/static/icons.svg", "/static/mark.svg",
    ]  # fmt: skip
    assert page.headers["cache-control"] == "public, max-age=300"
    assert page.headers["vary"] == "Accept-Language, Cookie"
    known = {"If-None-Match": page.headers["etag"]}
    again = stranger.request("GET", f"{path}?langue={language}", headers=known)
    assert (again.status, again.body) == (304, b"")
    for needed in ("<title>", 'name="description"', 'rel="canonical"', 'hreflang="x-default"'):
        assert needed in page.text
    base = "https://console.mail6m.test"
    assert f'rel="canonical" href="{base}{path}?langue={language}"' in page.text


@pytest.mark.parametrize("path", PATHS)
def test_the_language(at: Console, path: str) -> None:
    """Is the browser's; the address may ask for another one, which the links carry on."""
    english = at.browser(Accept_Language="en-GB, fr;q=0.5")
    assert '<html lang="en">' in english.get(path).text
    assert '<html lang="fr">' in english.get(f"{path}?langue=fr").text
    assert '<html lang="en">' in english.get(f"{path}?langue=xx").text
    chosen = LINK.findall(at.browser().get(f"{path}?langue=en").text)
    assert len(chosen) > 8
    assert [one for one in chosen if "langue=en" not in one] == [f"{path}?langue=fr"]
    plain = LINK.findall(at.browser().get(path).text)
    assert [one for one in plain if "langue=" in one] == [f"{path}?langue=en"]


def test_who_has_signed_in_goes_on(at: Console, house: House) -> None:
    """From the home page to where they begin, and what was kept for strangers is not used."""
    browser = at.browser()
    home = browser.get("/")
    browser.enter(at, house.admin)
    known = {"If-None-Match": home.headers["etag"]}
    on = browser.request("GET", "/", headers=known)
    assert (on.status, on.location, on.headers["cache-control"]) == (303, "/meuble", "no-store")
    browser.enter(at, new_operator(at))
    assert browser.get("/").location == "/exploitation"


def test_nobody_is_known_on_a_page_for_everybody(at: Console, house: House) -> None:
    """Who has signed in sees the very page that strangers see, and it asks for no session."""
    browser = at.browser()
    browser.enter(at, house.admin)
    at.ask("UPDATE preferences SET language = 'en' WHERE customer_id = %s", house.number)
    for path in set(PATHS) - {"/"}:
        shown = browser.get(path)
        assert shown.body == at.browser().get(path).body
        assert house.company not in shown.text


class Careless:
    """Pages that would be kept, and must not be."""

    @page("/formulaire", Access.PUBLIC)
    async def form(self, visit: Visit) -> Answer:
        """With a form."""
        return Html("forgotten.html", {"form": ForgottenForm(), "wrong": ""}, lasting=300)

    @page("/moi", Access.PUBLIC)
    async def me(self, visit: Visit) -> Answer:
        """With whoever has signed in."""
        return Html("forgotten_sent.html", lasting=300)


def test_what_is_somebodys_is_not_kept(dsn: str, stranger: Browser) -> None:
    """Neither a form's token, which comes with its cookie, nor a name, whatever the page says."""
    assert stranger.get("/").cookies == []
    form = stranger.get("/inscription")
    assert form.headers["cache-control"] == "no-store"
    assert [cookie.partition("=")[0] for cookie in form.cookies] == ["mail6m-visitor"]
    with listening(dsn, more_pages=[Careless()]) as console:
        browser = console.browser()
        assert browser.get("/moi").headers["cache-control"] == "public, max-age=300"
        assert browser.get("/formulaire").headers["cache-control"] == "no-store"
        browser.enter(console, new_house(console).admin)
        assert browser.get("/moi").headers["cache-control"] == "no-store"


def test_prices_are_todays(dsn: str, at: Console) -> None:
    """A tariff that holds from today on is shown, one from tomorrow on is not."""
    with listening(dsn) as console:
        page = words(console.browser().get("/tarifs"))
        assert "Tiroir 2 Gigaoctets d'e-mails compressés 40 € TTC/mois" in page
        assert "Armoire 10 Gigaoctets d'e-mails compressés 100 € TTC/mois" in page
    rows = [(0, 4250, 0), (1, 9900, 3)]
    for day, tiroir, free in rows:
        at.ask(
            "INSERT INTO tariff SELECT (now() AT TIME ZONE 'Europe/Paris')::date + %s, %s, malle,"
            " armoire, 1600, vat, %s FROM tariff WHERE since = '2005-01-01'",
            day, tiroir, free,
        )  # fmt: skip
    try:
        with listening(dsn) as console:
            page = words(console.browser().get("/tarifs"))
            assert "42,50 €" in page
            assert "16 € TTC par unité" in page
            assert "99 €" not in page
            assert "offert" not in page
            assert "€42.50" in console.browser().get("/tarifs?langue=en").text
    finally:
        at.ask("DELETE FROM tariff WHERE since > '2005-01-01'")


def test_the_seller_is_named(dsn: str, at: Console) -> None:
    """Who sells stands in the legal notice, escaped; until anybody has said so, a way to ask."""
    with listening(dsn) as console:
        assert "postmaster@mail6m.test" in words(console.browser().get("/mentions"))
    at.ask(
        "INSERT INTO seller VALUES ('2020-01-01', 'Mail6M <SARL>', '18 Bis avenue', '69580',"
        " 'Sathonay-Camp', 'FR', 'bonjour@mail6m.test', '0800101213', '48437337800013', 'FR00',"
        " 'SARL au capital de 8 000 €', '', '', 30, '')"
    )
    try:
        with listening(dsn) as console:
            page = console.browser().get("/mentions")
            assert "484 373" not in page.text
            assert "18 Bis avenue 69580 Sathonay-Camp" in words(page)
            assert "48437337800013" in page.text
            assert b"Mail6M &lt;SARL&gt;" in page.body
    finally:
        at.ask("DELETE FROM seller")


def test_robots_and_map(stranger: Browser) -> None:
    """Search engines are told of every page in both languages, and kept from what is a letter's."""
    robots = stranger.get("/robots.txt")
    assert robots.headers["content-type"].startswith("text/plain")
    assert "Sitemap: https://console.mail6m.test/sitemap.xml" in robots.text
    assert "Disallow: /inscription/" in robots.text
    tree = ElementTree.fromstring(stranger.get("/sitemap.xml").body)  # noqa: S314 - our own
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    shown = {one.text or "" for one in tree.iter(f"{space}loc")}
    base = "https://console.mail6m.test"
    assert shown == {f"{base}{path}?langue={one}" for path in PATHS for one in ("fr", "en")}
    for address in shown:
        assert stranger.get(address.removeprefix(base)).status == 200


def test_without_the_database(house: House) -> None:
    """What needs no prices is there all the same; the rest says that it is not."""
    with listening(NOWHERE) as away:
        browser = away.browser()
        browser.cookies["mail6m-session"] = "whatever"
        for path in ("/pourquoi", "/fonctionnement", "/avantages", "/mise-en-place"):
            assert browser.get(path).status == 200
        for path in ("/", "/tarifs"):
            page = browser.get(path)
            assert (page.status, page.headers["cache-control"]) == (503, "no-store")


def test_every_link_leads_somewhere(stranger: Browser) -> None:
    """No link of a public page, in either language, leads to nothing."""
    tried: dict[str, int] = {}
    for path in PATHS:
        for language in ("", "?langue=en"):
            for link in LINK.findall(stranger.get(path + language).text):
                tried.setdefault(link, stranger.get(link).status)
    assert len(tried) > 20
    assert set(tried.values()) == {200}


class Prices:
    """Prices of two days that may be out of reach (as `TariffTable`)."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0

    async def all(self) -> Tariffs:
        """Of the last day of March, and of the first of April."""
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        days = (date(2026, 3, 31), date(2026, 4, 1))
        return Tariffs(Tariff(day, 1, 2, 3, 4, 2000, 1) for day in days)


class Nobody:
    """Sells (as `SellerTable`)."""

    async def all(self) -> Sellers:
        """None."""
        return Sellers([])


def test_prices_are_remembered() -> None:
    """Nobody asks twice a minute; away, the last ones are shown; the day begins in Paris."""
    prices, now = Prices(), [datetime(2026, 3, 31, 21, 59, 30, tzinfo=UTC)]
    showcase = Showcase(cast(TariffTable, prices), cast(SellerTable, Nobody()), lambda: now[0])
    prices.away = True
    with pytest.raises(Unavailable):
        run(showcase.today)
    prices.away = False
    assert run(showcase.today).tariff.since == date(2026, 3, 31)
    assert run(showcase.today).seller is None
    now[0] += FRESH
    assert run(showcase.today).tariff.since == date(2026, 3, 31)
    now[0] += timedelta(seconds=1)
    assert run(showcase.today).tariff.since == date(2026, 4, 1)
    assert prices.asked == 3
    prices.away = True
    now[0] += 2 * FRESH
    assert run(showcase.today).tariff.since == date(2026, 4, 1)


def test_the_brochure_itself() -> None:
    """The sentences that are tested stand in the brochure, where it is at hand."""
    brochure = Path("/work/shared/brochure.md")
    if not brochure.exists():
        pytest.skip("the brochure is not here")
    said = " ".join(brochure.read_text("utf-8").replace("\u00a0", " ").replace("*", "").split())
    ours = {"IN MX 10 mx1.mail6m.test. IN MX 20 mx2.mail6m.test."}
    for sentence in {one for of_page in BROCHURE.values() for one in of_page} - ours:
        assert sentence in said
