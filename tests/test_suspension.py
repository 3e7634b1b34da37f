"""A suspended customer looks, and takes along, and does nothing else; its mail goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from mail6m.directory import Directory
from mail6m.seal import Keyring
from mail6m.storage.customers import Customers
from mail6m.storage.domains import Domains
from mail6m.web.routes import Access, Route
from tests.console_client import (
    MASTER,
    Browser,
    Console,
    House,
    listening,
    new_house,
    new_operator,
    versions,
)
from tests.console_samples import ROUTES, named, path_of, sample_of, sent, walk
from tests.reactor_thread import run
from tests.stored import new_pool

STILL = {
    *("POST /meuble/details", "POST /partir/fichiers", "POST /factures/<number>/paypal"),
    *("POST /partir/resilier", "POST /partir/rester"),
}
"""Acts of customers that go on: they take along what is theirs, pay, and end their contract."""


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """The console."""
    with listening(dsn) as console:
        yield console


def operator(at: Console) -> Browser:
    """One who runs Mail6M."""
    browser = at.browser()
    browser.enter(at, new_operator(at))
    return browser


def suspend(at: Console, house: House) -> None:
    """As an operator does it."""
    path = f"/exploitation/clients/{house.number}"
    assert operator(at).post(f"{path}/suspendre", [("sur", "oui")]).location == path


@pytest.fixture(scope="module")
def suspended(at: Console) -> House:
    """Who is suspended."""
    house = new_house(at)
    suspend(at, house)
    return house


def test_what_goes_on_is_listed() -> None:
    """An act that a suspended customer may do is added here, by somebody who has thought of it."""
    acts = (Access.READER, Access.ADMINISTRATOR)
    assert {named(route) for route in ROUTES if route.suspended} == STILL
    assert all(route.access in acts and route.csrf for route in ROUTES if route.suspended)


@pytest.mark.parametrize("route", walk(Access.READER, "POST") + walk(Access.ADMINISTRATOR, "POST"))
def test_acts(at: Console, suspended: House, route: Route) -> None:
    """None is done, but those that take along; the page says why."""
    browser = at.browser()
    browser.enter(at, suspended.admin)
    browser.any_token()
    before, sample = versions(at), sample_of(route, suspended)
    answer = browser.post(path_of(route, sample), sent(sample), token=browser.token)
    if named(route) in STILL:
        assert "Compte suspendu" not in answer.text
    else:
        assert answer.status == 403
        assert "Compte suspendu" in answer.text
        assert versions(at) == before


@pytest.mark.parametrize("account", ["admin", "reader"])
def test_every_page_says_so(at: Console, suspended: House, account: str) -> None:
    """And shows what it shows to others."""
    browser = at.browser()
    browser.enter(at, getattr(suspended, account))
    for path in ("/meuble", "/recherche?subject=sujet", "/securite", "/preferences"):
        shown = browser.get(path)
        assert shown.status == 200
        assert "Votre compte est suspendu depuis le" in shown.text


def test_its_accounts_stay_safe(at: Console) -> None:
    """A password is changed, and a session closed, whatever is owed."""
    house = new_house(at)
    suspend(at, house)
    browser = at.browser()
    browser.enter(at, house.admin)
    closed = browser.post("/securite/sessions/fermer", [("session", house.session)])
    assert closed.location == "/securite"
    assert at.ask("SELECT FROM session WHERE session_id = %s", house.session) == []
    assert browser.post("/deconnexion").location == "/connexion"


def test_it_is_asked_once_and_noted(at: Console) -> None:
    """Who suspended, and who took it back, stands in the customer's audit; twice is once."""
    house, browser = new_house(at), operator(at)
    path = f"/exploitation/clients/{house.number}"
    asked = browser.post(f"{path}/suspendre")
    assert f"Suspendre {house.company} ?" in asked.text
    assert "Suspendu" not in browser.get(path).text
    for _ in range(2):
        browser.post(f"{path}/suspendre", [("sur", "oui")])
    assert "Suspendu" in browser.get(path).text
    for _ in range(2):
        browser.post(f"{path}/retablir")
    georges = at.browser()
    georges.enter(at, house.admin)
    shown = georges.get("/activite").text
    assert shown.count("Compte suspendu") == shown.count("Suspension levée") == 1
    assert "Mail6M (operator" in shown
    assert georges.post("/liste-blanche", [("entry", "cargo.com")]).status == 303
    assert "Votre compte est suspendu" not in georges.get("/meuble").text


def test_its_mail_goes_on(at: Console, suspended: House, dsn: str) -> None:
    """What is taken in, relayed and archived asks the directory, which knows of no suspension."""
    with new_pool(dsn) as pool:
        directory = Directory(
            Clock(), Domains(pool), Customers(pool), Keyring(MASTER), "mail6m.test", None
        )
        owner = run(lambda: directory.owner(f"marie@{suspended.domain}"))
        assert owner is not None
        assert owner.customer == suspended.number
        assert run(lambda: directory.key(suspended.number)) is not None
