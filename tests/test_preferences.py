"""Préférences: the form, what is stored of it, and what it says of the plan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from mail6m.model import Plan
from mail6m.storage.contracts import Contracts
from mail6m.storage.plans import DEDICATED, Subscription
from mail6m.storage.preferences import Preferences, PreferencesTable
from mail6m.web.preferences import LABELS, PreferencesForm
from mail6m.zones import OTHERS, zone_of, zones
from tests.console_client import Browser, Console, House, listening, new_house
from tests.reactor_thread import run
from tests.stored import by, new_pool

PATH = "/preferences"
DUCHEMIN = Preferences(
    "Duchemin", "Alphan", "Georges", "0800101213", "0800101210", "georges@duchemin.fr",
    "Duchemin, ZI du parc", "59110", "La Madeleine", "France", 20, 30, True, False, "",
    "Europe/Paris",
)  # fmt: skip
"""The brochure's example (section VIII)."""
TYPED: dict[str, str] = {
    **{name: str(getattr(DUCHEMIN, name)) for name in LABELS if hasattr(DUCHEMIN, name)},
    "disc_subscription": "y",
    "plan": "tiroir",
}
del TYPED["archive_spam"], TYPED["refuse_forged"]
SAID = re.compile(r"(Indiquez|Écrivez|Choisissez|200 caractères|Un SIRET|Ce numéro) .*\.")
TIROIR = Subscription("tiroir", Plan.TIROIR.capacity, None, None)


def form(subscription: Subscription = TIROIR, /, **changes: str) -> PreferencesForm:
    """The brochure's form, with changes."""
    return PreferencesForm(MultiDict(TYPED | changes), DUCHEMIN, subscription, str)


def test_the_brochures_labels_in_its_order() -> None:
    """Word for word; what the brochure does not know comes after them."""
    brochure = """Société|Nom|Prénom|Téléphone|Fax|E-mail|Adresse|Code Postal|Ville|Pays
        |Lignes dans le meuble|Lignes dans la recherche|Meuble|DVD|Spams"""
    ours = [field.label.text for field in form()]
    more = ["Langue", "Fuseau horaire", "Usurpation", "N° Siret", "N° de TVA"]
    assert ours == [*(label.strip() for label in brochure.split("|")), *more]
    assert list(LABELS.values()) == ours


def test_the_brochures_example_is_valid() -> None:
    """And is what it was afterwards."""
    filled = form()
    assert filled.validate(), filled.errors
    assert filled.wanted == DUCHEMIN


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"company": " "}, {"company"}),
        ({"email": ""}, {"email"}),
        ({"email": "georges"}, {"email"}),
        ({"email": "georges@duchemin"}, {"email"}),
        ({"email": "@duchemin.fr"}, {"email"}),
        ({"email": "georges@duchemin.fr, anne@duchemin.fr"}, {"email"}),
        ({"email": "georges@exa mple.fr"}, {"email"}),
        ({"cabinet_rows": "4"}, {"cabinet_rows"}),
        ({"cabinet_rows": "5"}, set()),
        ({"search_rows": "200"}, set()),
        ({"search_rows": "201"}, {"search_rows"}),
        ({"cabinet_rows": "vingt", "search_rows": "-20"}, {"cabinet_rows", "search_rows"}),
        ({"cabinet_rows": "", "search_rows": "1e2"}, {"cabinet_rows", "search_rows"}),
        ({"cabinet_rows": "9" * 5_000}, {"cabinet_rows"}),
        ({"plan": "palais"}, {"plan"}),
        ({"plan": "dedicated"}, {"plan"}),
        ({"language": "de"}, {"language"}),
        ({"time_zone": "Europe/Atlantis"}, {"time_zone"}),
        ({"time_zone": "../../etc/passwd"}, {"time_zone"}),
        ({"phone": "0" * 200}, set()),
        ({"phone": "0" * 201}, {"phone"}),
        ({"siret": "732 829 320 00074", "vat_number": "fr 44 732829320"}, set()),
        ({"siret": "732 829 320 00075", "vat_number": "FR44"}, {"siret", "vat_number"}),
        ({"siret": "non", "vat_number": "US123456789"}, {"siret", "vat_number"}),
        ({"siret": "", "vat_number": "BE 0484.373.378"}, set()),
        (dict.fromkeys(("last_name", "phone", "fax", "address", "country"), ""), set()),
    ],
)
def test_what_is_wrong(changes: dict[str, str], wrong: set[str]) -> None:
    """Only what is wrong is said to be, in French."""
    filled = form(**changes)
    assert filled.validate() is not bool(wrong)
    assert set(filled.errors) == wrong
    for field in filled:
        assert len(field.errors) == (field.name in wrong)
        for said in field.errors:
            assert re.fullmatch(
                r"(Indiquez|Écrivez|Choisissez|200 caractères|Un SIRET|Ce numéro) .*\.", str(said)
            )


def test_what_is_tidied_up() -> None:
    """Spaces around and lines within a text go; an address has its canonical domain."""
    filled = form(
        company="  Duchemin \r\n et  fils ", email=" Georges@Élan.FR ", siret="732 829 320 00074 "
    )
    assert filled.validate()
    assert filled.wanted.siret == "73282932000074"
    assert filled.wanted.company == "Duchemin et fils"
    assert filled.wanted.email == "Georges@xn--lan-9la.fr"


@given(st.dictionaries(st.sampled_from(sorted(LABELS)), st.text(max_size=300)))
def test_any_form(changes: dict[str, str]) -> None:
    """Whatever is typed is refused, or can be stored: one line each, and the rows a list's."""
    filled = form(**changes)
    if filled.validate():
        wanted = filled.wanted
        texts = [value for value in vars_of(wanted).values() if isinstance(value, str)]
        assert all(text == " ".join(text.split()) and len(text) <= 320 for text in texts)
        assert 5 <= wanted.cabinet_rows <= 200
        assert 5 <= wanted.search_rows <= 200


def vars_of(preferences: Preferences) -> dict[str, Any]:
    """Its fields by name."""
    return {field.name: getattr(preferences, field.name) for field in fields(preferences)}


def test_an_order_stays_chosen() -> None:
    """So that somebody who changes a telephone number does not withdraw it."""
    ordered = replace(TIROIR, next_plan=Plan.MALLE, next_plan_on=date(2026, 11, 1))
    assert PreferencesForm(None, DUCHEMIN, ordered, str).plan.data == "malle"
    assert PreferencesForm(None, DUCHEMIN, TIROIR, str).plan.data == "tiroir"


def test_an_agreed_plan_is_no_choice() -> None:
    """Whatever is sent."""
    filled = form(Subscription(DEDICATED, 50 * 10**9, None, None), plan="armoire")
    assert filled.validate()
    assert "plan" not in filled
    assert filled.wanted == DUCHEMIN


def test_all_time_zones_europe_first() -> None:
    """Each once, and each of them known; but the system's own names for none."""
    listed = [name for names in zones().values() for name in names]
    assert sorted(listed) == sorted(available_timezones() - {"localtime", "Factory"})
    places = list(zones())
    assert (places[0], places[-1]) == ("Europe", OTHERS)
    assert all(str(zone_of(name)) == name for name in listed)
    assert str(zone_of("Mars/Olympus")) == str(zone_of("/etc/passwd")) == "UTC"


# What is stored


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console with a database of its own."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer."""
    return new_house(at)


@pytest.fixture
def browser(at: Console, house: House) -> Browser:
    """Its administrator's."""
    browser = at.browser()
    browser.enter(at, house.admin)
    return browser


def acts(at: Console, house: House) -> list[tuple[str, str]]:
    """What was done, and on what."""
    sql = "SELECT act, object FROM audit WHERE customer_id = %s ORDER BY audit_id OFFSET 1"
    return at.ask(sql, house.number)


def test_save_and_get(at: Console, house: House) -> None:
    """Everything is kept; the audit names what has changed, and only that, without the values."""
    other = new_house(at)
    with new_pool(at.dsn) as pool:
        table = PreferencesTable(pool)
        before = run(lambda: table.get(other.number))
        run(lambda: table.save(by(house.number), DUCHEMIN))
        assert run(lambda: table.get(house.number)) == DUCHEMIN
        moved = replace(DUCHEMIN, city="Lille", company="Duchemin \0 SA", archive_spam=True)
        changed = run(lambda: table.save(by(house.number), moved))
        assert changed == ["company", "city", "archive_spam"]
        assert run(lambda: table.save(by(house.number), moved)) == []
        stored = run(lambda: table.get(house.number))
        assert stored == replace(moved, company="Duchemin \ufffd SA")
        assert run(lambda: table.get(other.number)) == before
    done = acts(at, house)
    assert len(done) == 2
    assert done[1] == ("preferences changed", "company, city, archive_spam")


def test_invoices_name_the_companys_numbers(at: Console, house: House) -> None:
    """As they are when it is issued (CGI, annexe II, 242 nonies A)."""
    numbers = replace(DUCHEMIN, siret="73282932000074", vat_number="FR44732829320")
    with new_pool(at.dsn) as pool:
        run(lambda: PreferencesTable(pool).save(by(house.number), numbers))
        buyer = run(lambda: Contracts(pool).buyer(house.number))
    assert (buyer.siret, buyer.vat_number) == (numbers.siret, numbers.vat_number)


# The page


def test_saved_and_shown(at: Console, house: House, browser: Browser) -> None:
    """What was typed is what the page shows from then on, and what the lists go by."""
    typed = TYPED | {"company": "Duchemin & <fils>", "plan": "tiroir"}
    answer = browser.post(PATH, list(typed.items()))
    assert (answer.status, answer.location) == (303, PATH)
    page = browser.get(PATH)
    assert "Vos préférences sont enregistrées." in page.text
    assert "<strong>Duchemin &amp; &lt;fils&gt;</strong>" in page.body.decode()
    for value in ("Alphan", "0800101213", "59110", "La Madeleine", "20", "30"):
        assert f'value="{value}"' in page.text
    assert re.search(r'<input[^>]* checked [^>]*id="disc_subscription"', page.text)
    assert not re.search(r'<input[^>]* checked [^>]*id="archive_spam"', page.text)


def test_a_mistake_is_shown_with_what_was_typed(
    at: Console, house: House, browser: Browser
) -> None:
    """All that was typed is kept, nothing is stored, and Effacer leads to what is stored."""
    answer = browser.post(PATH, list((TYPED | {"email": "georges", "cabinet_rows": "x"}).items()))
    assert answer.status == 400
    assert 'value="georges"' in answer.text
    assert 'value="x"' in answer.text
    assert 'value="La Madeleine"' in answer.text
    assert answer.text.count('aria-invalid="true"') == 2
    [button] = re.findall(r"<button([^>]*)>Effacer<", answer.text)
    assert 'form="stored"' in button
    assert '<form id="stored" action="/preferences"></form>' in answer.text
    assert f'value="Société {house.word}"' in browser.get(f"{PATH}?").text
    assert acts(at, house) == []


def not_on_a_first() -> str:
    """A time zone where it is not the first of a month: there, a plan would change at once."""
    now, around = datetime.now(UTC), ("Europe/Paris", "Pacific/Kiritimati", "Pacific/Pago_Pago")
    return next(zone for zone in around if now.astimezone(zone_of(zone)).day != 1)


def test_a_plan_is_ordered_and_withdrawn(at: Console, house: House, browser: Browser) -> None:
    """The page says what comes when; choosing today's plan again says no more of it."""
    typed = TYPED | {"time_zone": not_on_a_first()}
    browser.post(PATH, list(typed.items()))
    assert "Attention, un mois commencé est toujours dû." in browser.get(PATH).text
    assert "À partir du" not in browser.get(PATH).text
    browser.post(PATH, list((typed | {"plan": "armoire"}).items()))
    page = browser.get(PATH)
    assert "Aujourd'hui : Tiroir. À partir du 1er " in page.text
    assert " : Armoire." in page.text
    assert '<option selected value="armoire">' in page.text
    browser.post(PATH, list((typed | {"plan": "tiroir"}).items()))
    assert "À partir du" not in browser.get(PATH).text
    assert [act for act, _ in acts(at, house)] == [
        "preferences changed",
        "plan ordered",
        "plan order withdrawn",
    ]


def test_the_zone_is_chosen(browser: Browser) -> None:
    """One of all zones is; what is none is refused, chosen nowhere, and harmless."""
    browser.post(PATH, list((TYPED | {"time_zone": "America/New_York"}).items()))
    text = browser.get(PATH).text
    assert text.count("<optgroup") == len(zones())
    assert re.findall(r'<option value="([^"]+)" selected>', text) == ["America/New_York"]
    page = browser.post(PATH, list((TYPED | {"time_zone": '"><b>'}).items()))
    assert page.status == 400
    assert '" selected>' not in page.text
    assert "<b>" not in page.text


def test_an_agreed_plan_is_told(at: Console, house: House, browser: Browser) -> None:
    """Its size stands there, and cannot be chosen."""
    at.ask(
        "UPDATE customer SET plan = 'dedicated', capacity = 50000000000 WHERE customer_id = %s",
        house.number,
    )
    page = browser.get(PATH)
    assert "Solution dédiée : 50 Go" in page.text
    assert 'name="plan"' not in page.text
    assert browser.post(PATH, list((TYPED | {"plan": "malle"}).items())).status == 303
    [[plan, capacity]] = at.ask(
        "SELECT plan, capacity FROM customer WHERE customer_id = %s", house.number
    )
    assert (plan, capacity) == ("dedicated", 50_000_000_000)


def test_the_language_speaks_at_once(at: Console, house: House, browser: Browser) -> None:
    """The next page is in the language that was chosen, whatever the browser asks for."""
    browser.post(PATH, list((TYPED | {"language": "en"}).items()))
    assert '<html lang="en">' in browser.get(PATH).text
    browser.post(PATH, list((TYPED | {"language": "fr"}).items()))
    page = browser.get(PATH)
    assert '<html lang="fr">' in page.text
    assert "Vos préférences sont enregistrées." in page.text


def test_readers_look_only(at: Console, house: House) -> None:
    """Fields that cannot be changed, and no button; what they send is refused."""
    browser = at.browser()
    browser.enter(at, house.reader)
    page = browser.get(PATH)
    assert f'value="Société {house.word}"' in page.text
    assert "<fieldset disabled>" in page.text
    assert "Enregistrer" not in page.text
    assert ">Effacer<" not in page.text
    assert browser.post(PATH, list(TYPED.items())).status == 403
    assert acts(at, house) == []
