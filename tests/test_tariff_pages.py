"""Tarifs et société: what operators read and type."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail6m.billing.months import paris_day
from mail6m.model import Role
from mail6m.storage.tariffs import SellerTable, TariffTable
from mail6m.web.operator.tariffs import PATH, hundredths
from tests.console_client import Browser, Console, listening, new_operator
from tests.reactor_thread import run
from tests.stored import ask, new_pool

PRICES = {"tiroir": "42", "malle": "76,50", "armoire": "101.05", "disc": "16 €", "vat": "20",
          "free_months": "2"}  # fmt: skip
COMPANY = {
    "name": "Mail6M", "street": "18 Bis avenue du Val de Saône", "postcode": "69580",
    "city": "Sathonay-Camp", "country": "fr", "email": "facturation@mail6m.com", "phone": "",
    "siret": "484 373 378 00013", "vat_number": "FR 06 484373378", "legal": "SARL", "bic": "",
    "iban": "FR14 2004 1010 0505 0001 3M02 606", "payment_days": "45", "late_rate": "12 %",
}  # fmt: skip


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def browser(at: Console) -> Browser:
    """A bookkeeper's; only the brochure's prices are known."""
    at.ask("DELETE FROM tariff WHERE since > '2005-01-01'")
    at.ask("DELETE FROM seller")
    return _browser(at, Role.BOOKKEEPER)


def _browser(at: Console, role: Role) -> Browser:
    browser = at.browser()
    browser.enter(at, new_operator(at, role))
    return browser


def _today() -> date:
    return paris_day(datetime.now(UTC))


def test_prices_from_a_day_on(at: Console, browser: Browser) -> None:
    """Are shown with those of today, hold from that day, and can be withdrawn until then."""
    later = _today() + timedelta(days=40)
    answer = browser.post(PATH, [*PRICES.items(), ("since", later.isoformat())])
    assert answer.location == PATH
    page = browser.get(PATH).text
    for words in ("Les tarifs sont enregistrés.", "42 €", "76,50 €", "101,05 €", "à venir", "40 €"):
        assert words in page
    with new_pool(at.dsn) as pool:
        tariffs = run(TariffTable(pool).all)
    new = tariffs.at(later)
    assert (new.tiroir, new.malle, new.armoire, new.disc) == (4200, 7650, 10105, 1600)
    assert (new.vat, new.free_months, tariffs.at(_today()).tiroir) == (2000, 2, 4000)
    browser.post(PATH + "/retirer", [("quoi", "tarif"), ("depuis", later.isoformat())])
    assert "76,50 €" not in browser.get(PATH).text
    browser.post(PATH + "/retirer", [("quoi", "tarif"), ("depuis", "2005-01-01")])
    assert at.ask("SELECT since FROM tariff") == [(date(2005, 1, 1),)]


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("tiroir", "quarante", "Indiquez un montant comme 40 ou 40,50."),
        ("tiroir", "-1", "Indiquez un montant comme 40 ou 40,50."),
        ("malle", "40,505", "Indiquez un montant comme 40 ou 40,50."),
        ("disc", "", "Remplissez ce champ."),
        ("vat", "100", "Indiquez un taux comme 20 ou 5,5."),
        ("free_months", "121", "Indiquez un nombre de 0 à 120."),
        ("since", "2005-01-01", "Ce jour est passé."),
        ("since", "demain", "Indiquez un jour."),
    ],
)
def test_wrong_prices(at: Console, browser: Browser, name: str, typed: str, said: str) -> None:
    """Are said to be wrong where they stand, and nothing is stored."""
    form = PRICES | {"since": _today().isoformat()} | {name: typed}
    answer = browser.post(PATH, list(form.items()))
    assert answer.status == 400
    assert said in answer.text
    assert f'value="{typed}"' in answer.text
    assert at.ask("SELECT count(*) FROM tariff") == [(1,)]


def test_the_company(at: Console, browser: Browser) -> None:
    """Is kept without the spaces that numbers are typed with."""
    assert "Aucune société n'est encore indiquée" in browser.get(PATH).text
    form = COMPANY | {"since": _today().isoformat()}
    assert browser.post(PATH + "/societe", list(form.items())).location == PATH
    page = browser.get(PATH).text
    assert "48437337800013" in page
    assert "18 Bis avenue du Val de Saône, 69580 Sathonay-Camp" in page
    with new_pool(at.dsn) as pool:
        seller = run(SellerTable(pool).all).at(_today())
    assert (seller.party.vat_number, seller.party.country) == ("FR06484373378", "FR")
    assert (seller.iban, seller.payment_days) == ("FR1420041010050500013M02606", 45)


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("siret", "484 373 378 00014", "Un SIRET a 14 chiffres, et celui-ci n'est pas juste."),
        ("vat_number", "FR07484373378", "Ce numéro n'est pas juste, ou n'est pas celui de ce"),
        ("iban", "FR14 2004 1010 0505 0001 3M02 607", "Cet IBAN n'est pas juste."),
        ("bic", "PSST", "Un BIC a 8 ou 11 signes."),
        ("city", "", "Remplissez ce champ."),
        ("payment_days", "61", "Ce n'est pas juste."),
    ],
)
def test_a_wrong_company(at: Console, browser: Browser, name: str, typed: str, said: str) -> None:
    """Numbers are looked at by their own keys."""
    form = COMPANY | {"since": _today().isoformat()} | {name: typed}
    answer = browser.post(PATH + "/societe", list(form.items()))
    assert answer.status == 400
    assert said in answer.text
    assert at.ask("SELECT count(*) FROM seller") == [(0,)]


def test_who_only_looks(at: Console) -> None:
    """Has no form, and is refused one."""
    browser = _browser(at, Role.OBSERVER)
    page = browser.get(PATH).text
    assert "Tarifs TTC" in page
    assert "Enregistrer les tarifs" not in page
    form = PRICES | {"since": _today().isoformat()}
    assert browser.post(PATH, list(form.items())).status == 403
    assert ask(at.dsn, "SELECT count(*) FROM tariff WHERE tiroir = 4200") == [(0,)]


@given(st.integers(0, 10**8))
def test_amounts(cents: int) -> None:
    """Are read in whatever way they are written."""
    whole, rest = divmod(cents, 100)
    for typed in (f"{whole},{rest:02d}", f"{whole}.{rest:02d} €", f" {whole},{rest:02d}"):
        assert hundredths(typed) == cents
