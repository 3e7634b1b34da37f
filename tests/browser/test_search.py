"""Recherche in a browser: each field, all together, dates, pages, addresses."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from tests.browser.letters import Letter
from tests.browser.stage import Company, Open, Window

LABELS = ("Expéditeur", "Destinataire", "Sujet", "Entre le", "Et le")


def day(days: int) -> str:
    """A date so many days from today, where the company is."""
    return (datetime.now(ZoneInfo("Europe/Paris")) + timedelta(days)).strftime("%Y-%m-%d")


def search(window: Window, **fields: str) -> None:
    """Fill in the form, and Chercher."""
    window.go("/recherche")
    for label, typed in fields.items():
        window.page.get_by_label(label.replace("_", " "), exact=True).fill(typed)
    window.click("Chercher")


def test_the_form_is_the_brochures(open_window: Open, duchemin: Company) -> None:
    """VII.III: its title, its fields in their order, its button; behind them, what is newer."""
    window = open_window(duchemin.email)
    window.go("/recherche")
    assert window.heading == "Recherche de messages"
    labels = window.page.locator("form.search label").all_inner_texts()
    assert (tuple(labels[:-1]), labels[-1]) == (LABELS, "Afficher")
    assert window.page.locator("form.search button.primary").inner_text() == "Chercher"
    search(window, Sujet="garage")
    buttons = window.page.locator(".listing").get_by_role("button").all_inner_texts()
    assert buttons[:3] == ["Emettre", "Supprimer", "Details"]
    assert buttons[3:] == ["C'est un spam", "Ce n'est pas un spam"]


def test_each_field_and_all_together(
    open_window: Open, duchemin: Company, letters: list[Letter]
) -> None:
    """A part of an address or a subject is enough, case and accents do not count, all must fit."""
    window = open_window(duchemin.email)
    for typed, found in (
        ({"Expéditeur": "yorksaw.com"}, ["Re: réunion du 13"]),
        ({"Expéditeur": "CARINE@HOTMAIL.COM"}, ["Re: client hollandais"]),
        ({"Expéditeur": "vermeulen"}, ["Notes de frais."]),
        ({"Destinataire": "etienne@mondomaine.fr"}, ["Blague du jour"]),
        ({"Destinataire": "numero12@"}, [letters[7].subject]),
        ({"Sujet": "bonjour DE L'ARDECHE"}, ["Bonjour de l'Ardèche"]),
        ({"Sujet": "Réünion du 13"}, ["Re: réunion du 13"]),
        ({"Sujet": "<b>gras"}, [letters[10].subject]),
        ({"Expéditeur": "cargo.com", "Sujet": "cafe a l'etage n° 26"}, ["Café à l'étage n° 26"]),
        ({"Expéditeur": "cargo.com", "Destinataire": "service1", "Sujet": "n° 26"},
         ["Café à l'étage n° 26"]),
        ({"Expéditeur": "yorksaw.com", "Sujet": "garage"}, []),
        ({"Sujet": "garage", "Entre_le": day(-1), "Et_le": day(1)}, ["Garage"]),
        ({"Sujet": "garage", "Entre_le": f"{day(-1)} 9:30", "Et_le": f"{day(1)} 17:30"},
         ["Garage"]),
        ({"Sujet": "garage", "Entre_le": day(1)}, []),
        ({"Sujet": "garage", "Et_le": day(-1)}, []),
        ({"Sujet": "garage", "Entre_le": day(-1)}, ["Garage"]),
    ):  # fmt: skip
        search(window, **typed)
        assert window.subjects() == found, typed
        if not found:
            expect(window.page.get_by_role("heading", level=2)).to_have_text("Aucun message trouvé")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_the_pages_found_together_are_all_that_fits(
    open_window: Open, duchemin: Company, letters: list[Letter], scripts: bool
) -> None:
    """Thirty rows a page, on and on by », and back to the first by its number."""
    window = open_window(duchemin.email, java_script_enabled=scripts)
    search(window, Sujet="n°")
    shown = window.subjects()
    assert len(shown) == 30
    while window.page.get_by_role("link", name="Page suivante").count():
        window.click("Page suivante", "link")
        shown += window.subjects()
    assert shown == [one.subject for one in letters if "n°" in one.shown]
    window.click("Page 1", "link")
    assert window.subjects() == shown[:30]


@pytest.mark.parametrize(
    ("since", "until", "wrong", "said"),
    [
        ("hier", "", "Entre le", "Écrivez la date comme 2005-07-01 9:30, ou 2005-07-01."),
        ("2005-02-30", "", "Entre le", "Écrivez la date comme 2005-07-01 9:30, ou 2005-07-01."),
        ("", "08/07/2005", "Et le", "Écrivez la date comme 2005-07-01 9:30, ou 2005-07-01."),
        ("2005-07-08", "2005-07-01 9:30", "Et le", "Cette date est avant la première."),
    ],
)
def test_a_wrong_date_is_said_by_its_field(
    open_window: Open, duchemin: Company, since: str, until: str, wrong: str, said: str
) -> None:
    """No list is shown, the field says what is wrong, and everything typed is still there."""
    window = open_window(duchemin.email)
    search(window, Sujet="garage", Entre_le=since, Et_le=until)
    field = window.page.get_by_label(wrong, exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(said)
    assert window.page.locator("[aria-invalid]").count() == 1
    for label, typed in (("Sujet", "garage"), ("Entre le", since), ("Et le", until)):
        expect(window.page.get_by_label(label, exact=True)).to_have_value(typed)
    assert window.rows() == []


def test_what_was_found_has_an_address(open_window: Open, duchemin: Company) -> None:
    """The address of a result shows it again, the form filled in; details lead back to it."""
    window = open_window(duchemin.email)
    search(window, Expéditeur="belga.com", Sujet="facturation", Entre_le=f"{day(-1)} 9:30")
    shown, address = window.subjects(), window.path
    assert len(shown) > 5
    again = open_window(duchemin.email)
    again.go(address)
    assert again.subjects() == shown
    expect(again.page.get_by_label("Expéditeur", exact=True)).to_have_value("belga.com")
    expect(again.page.get_by_label("Entre le", exact=True)).to_have_value(f"{day(-1)} 9:30")
    again.click(shown[2], "link")
    assert again.page.get_by_role("heading", level=2).inner_text() == shown[2]
    again.click("Retour à la liste", "link")
    assert again.subjects() == shown


def test_a_date_can_be_picked(open_window: Open, duchemin: Company) -> None:
    """What is chosen in the browser's own picker stands in the field as it would be typed."""
    window = open_window(duchemin.email)
    window.go("/recherche")
    opener = window.page.get_by_role("button", name="Choisir une date (Entre le)")
    expect(opener).to_be_visible()
    picker = opener.locator("xpath=following-sibling::input")
    picker.evaluate(
        "picker => { picker.value = '2005-07-01T09:30'; picker.dispatchEvent(new Event('change')) }"
    )
    expect(window.page.get_by_label("Entre le", exact=True)).to_have_value("2005-07-01 09:30")
