"""Customers as operators see them: found, looked at, changed; and no word of their messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mail6m.model import Role
from mail6m.web.operator.customers import ROWS
from tests.console_client import Browser, Console, House, Page, listening, new_house, new_operator
from tests.console_samples import ROUTES as ALL
from tests.console_samples import path_of, sample_of, sent

PATH = "/exploitation/clients"
DESTINATION = "/exploitation/destinations/<destination>"
OF_HOUSE = [route for route in ALL if route.access.of_house]


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """The console."""
    with listening(dsn) as console:
        yield console


@pytest.fixture(scope="module")
def house(at: Console) -> House:
    """A customer."""
    return new_house(at)


@pytest.fixture(scope="module")
def browser(at: Console) -> Browser:
    """One who runs Mail6M."""
    browser = at.browser()
    browser.enter(at, new_operator(at))
    return browser


def found(browser: Browser, **query: str) -> list[str]:
    """The numbers of the customers on the page."""
    shown = browser.get(PATH, list(query.items())).text
    return [part.split('"')[0] for part in shown.split(f'<a href="{PATH}/')[1:]]


def test_it_is_found_by_what_is_known_of_it(at: Console, browser: Browser, house: House) -> None:
    """Company, addresses, domains, in part, without case and accents; a number leads to it."""
    other = new_house(at)
    at.ask(
        "UPDATE customer SET company = 'Ébénisterie Œuvre_100%%' WHERE customer_id = %s",
        house.number,
    )
    number = str(house.number)
    for typed in (
        "ebenisterie", "ÉBÉNIST", "100%", "œuvre_1", house.admin_email.upper(),
        f"contact@{house.domain}", house.domain, house.domain[:7],
    ):  # fmt: skip
        assert number in found(browser, q=typed), typed
        assert str(other.number) not in found(browser, q=typed), typed
    assert found(browser, q="100_") == found(browser, q="introuvable") == []
    assert browser.get(f"{PATH}?q={number}").location == f"{PATH}/{number}"
    at.ask("UPDATE customer SET company = %s WHERE customer_id = %s", house.company, house.number)


def test_a_domain_in_its_own_letters(at: Console, browser: Browser) -> None:
    """Is found by its A-label and as people write it."""
    house = new_house(at)
    name = f"xn--caf-dma-{house.word}.test".replace("xn--caf-dma-", "xn--caf-dma.")
    at.ask("INSERT INTO domain VALUES (%s, %s, '{127.0.0.1:9}')", house.number, name)
    for typed in (name, name.replace("xn--caf-dma", "café")):
        assert found(browser, q=typed) == [str(house.number)]


def test_states(at: Console, browser: Browser) -> None:
    """Those in order, the suspended, and those whose contract ends."""
    good, bad, leaving = (new_house(at) for _ in range(3))
    browser.post(f"{PATH}/{bad.number}/suspendre", [("sur", "oui")])
    browser.post(f"{PATH}/{leaving.number}/resilier", [("company", leaving.company.upper())])
    for house, state in ((good, "active"), (bad, "suspended"), (leaving, "ending")):
        for other in ("active", "suspended", "ending", ""):
            is_in = str(house.number) in found(browser, etat=other)
            assert is_in == (other in (state, "")), (state, other)
    assert browser.get(f"{PATH}?etat=asleep").status == 400


def test_pages(at: Console, browser: Browser) -> None:
    """Many customers on three pages; none is missing, none is twice."""
    at.ask(
        "WITH new AS (INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)"
        " SELECT 5000 + n, 'Foule ' || n, 'tiroir', 2000000000, '' FROM generate_series(1, %s) n"
        " RETURNING customer_id), k AS (INSERT INTO contract (customer_id, started_on)"
        " SELECT customer_id, '2026-01-01' FROM new)"
        " INSERT INTO preferences (customer_id) SELECT customer_id FROM new",
        2 * ROWS + 1,
    )
    numbers = [found(browser, q="foule", page=str(page)) for page in (1, 2, 3, 4)]
    assert [len(one) for one in numbers] == [ROWS, ROWS, 1, 1]  # beyond the last: the last
    assert len({number for one in numbers[:3] for number in one}) == 2 * ROWS + 1
    assert f"{2 * ROWS + 1} clients" in browser.get(f"{PATH}?q=foule").text


def test_what_a_customer_has(browser: Browser, house: House) -> None:
    """Who it is, what it has; and no secret of its accounts."""
    shown = browser.get(f"{PATH}/{house.number}").text
    for word in (
        house.company, house.domain, house.claim, house.admin_email, house.reader_email, house.disc,
        f"tel-{house.word}", f"ville-{house.word}", "au tarif", "15 janvier 2026",
        f"objet-{house.word}",
    ):  # fmt: skip
        assert word in shown, word
    assert f"jeton-{house.word}" not in shown
    assert house.letter not in shown


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.BOOKKEEPER, Role.OBSERVER])
def test_no_word_of_a_message(at: Console, house: House, role: Role) -> None:
    """On no page of operators': no subject, no sender, no content; recipients where they wait."""
    browser = at.browser()
    browser.enter(at, new_operator(at, role))
    for route in OF_HOUSE:
        if route.method == "GET":
            sample = sample_of(route, house)
            shown = browser.get(path_of(route, sample), sent(sample)).text
            for word in ("Sujet 0", f"expediteur-{house.word}"):
                assert word not in shown, route.rule
            if route.rule != DESTINATION:
                assert f"marie0@{house.domain}" not in shown, route.rule
                assert f"0@{house.word}.example" not in shown, route.rule


def test_another_plan(at: Console, browser: Browser) -> None:
    """From the next first of a month on, as the customer itself orders it; noted as ours."""
    house = new_house(at)
    browser.post(f"{PATH}/{house.number}/meuble", [("plan", "armoire")])
    [row] = at.ask(
        "SELECT plan, next_plan FROM customer JOIN preferences USING (customer_id)"
        " WHERE customer_id = %s", house.number,
    )  # fmt: skip
    assert row in (("tiroir", "armoire"), ("armoire", None))  # today may be such a day
    assert at.ask(
        "SELECT by_house FROM audit WHERE customer_id = %s AND act = 'plan ordered'", house.number
    ) == [(True,)]
    assert browser.post(f"{PATH}/{house.number}/meuble", [("plan", "palais")]).status == 400


def agree(browser: Browser, house: House, **typed: str) -> Page:
    """The form of a dedicated cabinet."""
    form = {"capacity": "50", "monthly": "250,50", "since": ""} | typed
    return browser.post(f"{PATH}/{house.number}/convenir", list(form.items()))


def terms(at: Console, house: House) -> list[tuple[Any, ...]]:
    """What stands in the contract."""
    rows = "SELECT plan, capacity, monthly FROM contract_plan WHERE customer_id = %s ORDER BY since"
    return list(at.ask(rows, house.number))


def test_a_dedicated_cabinet_and_back(at: Console, browser: Browser) -> None:
    """Capacity and price as typed stand in the contract; once it is had, a plan comes after it."""
    house = new_house(at)
    assert "meuble dédié" in browser.get(f"{PATH}/{house.number}/convenir").text
    assert agree(browser, house).location == f"{PATH}/{house.number}"
    assert terms(at, house)[-1] == ("dedicated", 50 * 10**9, 25050)
    at.ask("UPDATE customer SET plan = 'dedicated' WHERE customer_id = %s", house.number)
    assert browser.post(f"{PATH}/{house.number}/meuble", [("plan", "malle")]).status == 303
    assert terms(at, house)[-1] == ("malle", 5 * 10**9, None)
    acts = at.ask("SELECT act FROM audit WHERE customer_id = %s AND by_house", house.number)
    assert {act for [act] in acts} >= {"price agreed", "plan ordered"}


@pytest.mark.parametrize("had", [True, False])
def test_a_dedicated_cabinet_is_not_given_up_by_one_press(
    at: Console, browser: Browser, had: bool
) -> None:
    """Had or agreed on, no plan is chosen beforehand, and one must be; past ones do not count."""
    house = new_house(at)
    path, days = f"{PATH}/{house.number}", -40 if had else 40
    assert '<option value="">' not in browser.get(path).text
    add = "INSERT INTO contract_plan VALUES (%s, now()::date + %s, 'dedicated', 1, 1)"
    at.ask(add, house.number, days)
    if had:
        assert '<option value="">' not in browser.get(path).text, "that one is past"
        at.ask("UPDATE customer SET plan = 'dedicated' WHERE customer_id = %s", house.number)
    before = terms(at, house)
    assert '<option selected value="">' in browser.get(path).text
    for typed in ([("plan", "")], []):
        page = browser.post(f"{path}/meuble", typed)
        assert page.status == 400
        assert '<p class="error" id="plan-wrong">Choisissez dans la liste.' in page.text
        assert '<option selected value="">' in page.text
    assert terms(at, house) == before


def test_an_agreement_is_called_off(at: Console, browser: Browser) -> None:
    """A plan at the tariff takes its place before it has begun."""
    house = new_house(at)
    before = terms(at, house)
    at.ask(
        "INSERT INTO contract_plan VALUES (%s, now()::date + 40, 'dedicated', 1, 1)", house.number
    )
    browser.post(f"{PATH}/{house.number}/meuble", [("plan", "tiroir")])
    assert terms(at, house) == before


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        *(("capacity", value, 400) for value in ("", "0", "-1", "1,5", "x", "9" * 30, "²")),
        *(("monthly", value, 400) for value in ("", "0", "-1", "x", "9" * 12)),
        *(("since", value, 400) for value in ("demain", "2027-02-30")),
        *(("since", value, 409) for value in ("2020-01-01", "2027-01-02")),
    ],
)
def test_what_cannot_be_agreed_on(
    at: Console, browser: Browser, house: House, name: str, value: str, status: int
) -> None:
    """The form says so, and the contract stays."""
    before = terms(at, house)
    page = agree(browser, house, **{name: value})
    assert (page.status, 'class="error"' in page.text) == (status, True)
    assert terms(at, house) == before


def test_the_end(at: Console, browser: Browser) -> None:
    """The name is typed first; it can be taken back; the customer is told that it was Mail6M."""
    house = new_house(at)
    path = f"{PATH}/{house.number}"
    for typed in ("", "Autre", house.company + "x"):
        assert browser.post(f"{path}/resilier", [("company", typed)]).status == 400
    assert at.ask("SELECT FROM closing WHERE customer_id = %s", house.number) == []
    form = [("company", f"  {house.company.upper()} ")]
    assert browser.post(f"{path}/resilier", form).location == path
    assert "Sur le départ" in browser.get(path).text
    assert browser.post(f"{path}/resilier", form).location == path  # once is enough
    georges = at.browser()
    georges.enter(at, house.admin)
    assert "Demande de Mail6M." in georges.get("/partir").text
    assert browser.post(f"{path}/garder").location == path
    assert browser.post(f"{path}/garder").location == path
    assert "En cours" in browser.get(path).text


@pytest.mark.parametrize("number", ["0", "999999", "4294967296", "99999999999999999999"])
def test_nobody(browser: Browser, number: str) -> None:
    """The house is no customer of its own."""
    for act in ("", "/resilier"):
        assert browser.get(f"{PATH}/{number}{act}").status == 404
    for act in ("suspendre", "retablir", "garder", "resilier", "meuble", "convenir"):
        form = [("sur", "oui"), ("plan", "malle"), ("company", "Mail6M")]
        assert browser.post(f"{PATH}/{number}/{act}", form).status == 404


def test_who_only_looks_has_no_buttons(at: Console, house: House) -> None:
    """An observer sees the page, and no act on it."""
    browser = at.browser()
    browser.enter(at, new_operator(at, Role.OBSERVER))
    shown = browser.get(f"{PATH}/{house.number}").text
    assert house.company in shown
    assert shown.count('method="post"') == 1  # signing out
