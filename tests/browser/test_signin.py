"""Connexion in a browser: in, on to what was asked for, and out again."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.stage import PASSWORD, Company, Open

WRONG = "L'adresse ou le mot de passe n'est pas le bon."


def test_the_right_password_opens_the_cabinet(open_window: Open, duchemin: Company) -> None:
    """The console's address leads to the form, and the form to the cabinet."""
    window = open_window()
    window.go("/")
    window.click("Se connecter", "link")
    assert window.path == "/connexion"
    window.sign_in(duchemin.email)
    assert (window.path, window.heading) == ("/meuble", "Meuble")
    expect(window.page.locator(".who")).to_have_text(f"Duchemin {duchemin.email}")


@pytest.mark.parametrize("email", ["administrateur@mondomaine.fr", "personne@mondomaine.fr"])
def test_a_wrong_password_says_nothing_of_the_account(
    open_window: Open, duchemin: Company, email: str
) -> None:
    """The same answer whether the account exists or not; the address stays, the password goes."""
    window = open_window()
    window.go("/connexion")
    response = window.sign_in(email, "une armoire sans tiroir")
    assert response.status == 403
    expect(window.page.get_by_role("alert")).to_have_text(WRONG)
    expect(window.page.get_by_label("E-mail")).to_have_value(email)
    expect(window.page.get_by_label("Mot de passe (*)")).to_have_value("")
    window.go("/meuble")
    assert window.path == "/connexion"


def test_signing_in_leads_on_to_the_page_asked_for(open_window: Open, duchemin: Company) -> None:
    """An address with its query, kept while a wrong password is corrected."""
    asked = "/recherche?subject=garage&sender=netscape"
    window = open_window()
    window.go(asked)
    assert window.heading == "Connexion"
    window.sign_in(duchemin.email, "une armoire sans tiroir")
    window.sign_in(duchemin.email)
    assert window.path == asked
    assert window.subjects() == ["Garage"]


@pytest.mark.parametrize(
    "elsewhere", ["//example.org/", "https://example.org/", "/\\example.org", "javascript:alert(1)"]
)
def test_signing_in_leads_to_no_other_site(
    open_window: Open, duchemin: Company, elsewhere: str
) -> None:
    """Whatever a link to the form says, it is our cabinet that opens."""
    window = open_window()
    window.go(f"/connexion?suite={elsewhere}")
    window.sign_in(duchemin.email)
    assert window.path == "/meuble"


def test_signing_out_ends_the_session_itself(open_window: Open, duchemin: Company) -> None:
    """Not only the cookie goes: who kept a copy of it is a stranger, too."""
    window = open_window()
    window.go("/connexion")
    window.sign_in(duchemin.email)
    kept = window.page.context.cookies()
    window.click("Se déconnecter")
    assert window.path == "/connexion"
    for cookies in ([], kept):
        window.page.context.add_cookies(cookies)
        window.go("/meuble")
        assert window.path == "/connexion"


def test_what_is_missing_is_said_by_the_field(open_window: Open, stage: object) -> None:
    """A browser that asks for nothing itself is told by the page; what was typed is kept."""
    window = open_window(java_script_enabled=True)
    window.go("/connexion")
    window.page.locator("main form").evaluate("form => { form.noValidate = true }")
    response = window.sign_in("georges@duchemin.fr", "")
    assert response.status == 400
    field = window.page.get_by_label("Mot de passe (*)")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description("Indiquez votre mot de passe.")
    expect(window.page.get_by_label("E-mail")).to_have_value("georges@duchemin.fr")


def test_a_form_of_another_visitor_is_not_taken(open_window: Open, duchemin: Company) -> None:
    """A form whose cookie is gone changes nothing, and says what to do."""
    window = open_window()
    window.go("/connexion")
    window.page.context.clear_cookies()
    response = window.sign_in(duchemin.email, PASSWORD)
    assert (response.status, window.heading) == (403, "Ce formulaire n'est plus valable")


def test_the_cookie_is_out_of_reach(open_window: Open, duchemin: Company) -> None:
    """No script reads it, no other site sends it."""
    window = open_window(duchemin.email)
    [cookie] = [c for c in window.page.context.cookies() if c["name"].endswith("session")]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    assert window.page.evaluate("document.cookie") == ""


def test_words_follow_the_browsers_language(open_window: Open, stage: object) -> None:
    """English for who asks for it, French for all others."""
    for locale, heading, language in (
        ("en-GB", "Sign in", "en"),
        ("de-DE", "Connexion", "fr"),
    ):
        window = open_window(locale=locale)
        window.go("/connexion")
        assert window.heading == heading
        assert window.page.locator("html").get_attribute("lang") == language
