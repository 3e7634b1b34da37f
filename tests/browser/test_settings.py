"""Liste blanche and Préférences in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.letters import ordinary
from tests.browser.stage import Company, Open, Stage


@pytest.fixture(scope="module")
def company(stage: Stage) -> Company:
    """A company whose settings change."""
    company = stage.company("Alphan", "alphan.test")
    stage.send(ordinary(12, company.domain))
    return company


def test_the_white_list(open_window: Open, company: Company) -> None:
    """Ajouter and Effacer, in words as on a button; a wrong domain is said by the field."""
    window = open_window(company.email)
    window.go("/liste-blanche")
    assert window.heading == "Liste blanche"
    window.send("Ajouter", entry="Cargo.COM")
    assert window.notices == ["cargo.com est maintenant dans votre liste blanche."]
    window.send("Ajouter", entry="oleane.net")
    entries = window.page.locator("table.entries tbody tr td:first-child")
    expect(entries).to_have_text(["cargo.com", "oleane.net"])

    assert window.send("Ajouter", entry="pas un domaine").status == 400
    field = window.page.get_by_label("Entrée (*)")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("pas un domaine")

    window.go("/liste-blanche")
    window.click("Effacer cargo.com")
    assert window.notices == ["cargo.com n'est plus dans votre liste blanche."]
    expect(entries).to_have_text(["oleane.net"])


def test_the_white_list_advises_against_what_everybody_has(
    open_window: Open, company: Company
) -> None:
    """yahoo.com is advised against in the brochure's words, and taken from who is sure."""
    window = open_window(company.email)
    window.go("/liste-blanche")
    assert window.send("Ajouter", entry="yahoo.com").status == 400
    expect(window.page.get_by_label("Entrée (*)")).to_have_accessible_description(
        "Nous vous déconseillons vivement de placer dans votre liste blanche des noms de domaines"
        " connus tels que yahoo.com, hotmail.com, wanadoo.fr, etc."
    )
    window.click("Ajouter tout de même")
    assert window.notices == ["yahoo.com est maintenant dans votre liste blanche."]


BROCHURE = {
    "company": "Duchemin",
    "last_name": "Alphan",
    "first_name": "Georges",
    "phone": "0800101213",
    "fax": "0800101210",
    "email": "georges@duchemin.fr",
    "address": "Duchemin, ZI du parc",
    "postcode": "59110",
    "city": "La Madeleine",
    "country": "France",
    "disc_subscription": "on",
}


def test_preferences_are_the_brochures(open_window: Open, company: Company) -> None:
    """VIII: its fields in its order, with its marks, keep its example; its two buttons."""
    window = open_window(company.email)
    window.go("/preferences")
    labels = window.page.locator("main .field > label, main .field > .label").all_inner_texts()
    assert labels[:15] == [
        "Société (*)", "Nom", "Prénom", "Téléphone", "Fax", "E-mail (*)", "Adresse", "Code Postal",
        "Ville", "Pays", "Lignes dans le meuble", "Lignes dans la recherche", "Meuble", "DVD",
        "Spams",
    ]  # fmt: skip
    assert window.page.locator("main").get_by_role("button").all_inner_texts() == [
        "Enregistrer", "Effacer",
    ]  # fmt: skip
    window.send("Enregistrer", **BROCHURE)
    assert len(window.notices) == 1
    window.go("/preferences")
    for name, value in BROCHURE.items():
        field = window.page.locator(f"[name={name}]")
        if value == "on":
            expect(field).to_be_checked()
        else:
            expect(field).to_have_value(value)
    expect(window.page.locator(".who strong")).to_have_text("Duchemin")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_effacer_resets_the_form(open_window: Open, company: Company, scripts: bool) -> None:
    """What was typed and not kept is gone."""
    window = open_window(company.email, java_script_enabled=scripts)
    window.go("/preferences")
    city = window.page.locator("[name=city]")
    before = city.input_value()
    city.fill("Ailleurs")
    window.click("Effacer")
    expect(city).to_have_value(before)


def test_rows_of_the_lists(open_window: Open, company: Company) -> None:
    """The pages have as many rows as the preferences say; a wrong number is said by its field."""
    window = open_window(company.email)
    window.go("/preferences")
    assert window.send("Enregistrer", cabinet_rows="3", city="Lille").status == 400
    field = window.page.get_by_label("Lignes dans le meuble")
    expect(field).to_have_accessible_description("Indiquez un nombre de 5 à 200.")
    expect(window.page.locator("[name=city]")).to_have_value("Lille")
    window.send("Enregistrer", cabinet_rows="5", search_rows="7")
    window.go("/meuble")
    assert len(window.rows()) == 5
    window.go("/recherche?recipient=alphan.test")
    assert len(window.rows()) == 7


def test_the_size_changes_on_the_first(open_window: Open, stage: Stage) -> None:
    """A change of the meuble is taken now, says from when it holds, and changes nothing today."""
    company = stage.company("Tiroir", "tiroir.test")
    window = open_window(company.email)
    window.go("/preferences")
    window.send("Enregistrer", plan="tiroir")
    window.go("/preferences")
    field = window.page.get_by_label("Meuble", exact=True)
    expect(field).to_have_value("tiroir")
    help_ = field.locator("xpath=..").locator(".help").inner_text()
    assert "À partir du 1er" in help_
    assert stage.server.customer(company.number)["plan"] == "armoire"


def test_both_languages(open_window: Open, stage: Stage) -> None:
    """The preference goes before the browser's language, either way."""
    company = stage.company("Langues", "langues.test")
    window = open_window(company.email)
    for language, button, heading in (
        ("en", "Enregistrer", "Preferences"),
        ("fr", "Save", "Préférences"),
    ):
        window.go("/preferences")
        window.send(button, language=language)
        window.go("/preferences")
        assert window.heading == heading
        assert window.page.locator("html").get_attribute("lang") == language
    english = open_window(company.email, locale="en-GB")
    english.go("/preferences")
    assert english.heading == "Préférences"
    english.send("Enregistrer", language="")
    english.go("/meuble")
    assert english.page.locator("html").get_attribute("lang") == "en"


def test_a_reader_reads_the_settings(open_window: Open, stage: Stage, company: Company) -> None:
    """No button but the frame's own, and the acts answer 403."""
    reader = stage.reader(company)
    window = open_window(reader)
    for path in ("/liste-blanche", "/preferences", "/domaines"):
        assert window.go(path).status == 200
        assert window.page.locator("main").get_by_role("button").count() == 0, path
    menu = window.page.get_by_role("navigation", name="Menu").get_by_role("link").all_inner_texts()
    assert not {"Comptes", "Activité"} & {entry.strip() for entry in menu}
    for path in ("/comptes", "/activite"):
        assert window.go(path).status == 403
