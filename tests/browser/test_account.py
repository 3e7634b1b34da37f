"""An account's own safety in a browser: the second factor, and a password that is lost."""

from __future__ import annotations

import re
import time
from email import message_from_bytes, policy

import pyotp
import pytest
from playwright.sync_api import expect

from tests.browser.stage import PASSWORD, Company, Open, Stage, turn_on_second_factor


@pytest.fixture(scope="module")
def coffre(stage: Stage) -> Company:
    """A company whose administrator is careful."""
    return stage.company("Coffre", "coffre.test")


def test_signing_in_with_a_second_factor(open_window: Open, coffre: Company) -> None:
    """Turned on through the page; then a password alone opens nothing, and a code is good once."""
    owner = open_window(coffre.email)
    secret, used = turn_on_second_factor(owner)
    assert owner.heading == "Vos codes de secours"
    recovery = owner.page.locator(".codes code").all_inner_texts()
    assert len(recovery) == 10

    window = open_window()
    window.go("/recherche")
    window.sign_in(coffre.email)
    assert window.heading == "Votre code"
    for path in ("/meuble", "/details", "/securite"):
        window.go(path)
        assert window.path.startswith("/connexion/code")
    for wrong in ("000000", used):
        assert window.send("Continuer", code=wrong).status == 403
        expect(window.page.get_by_role("alert")).to_have_text(
            "Ce code n'est pas le bon, ou il a déjà servi."
        )
    # A step later than the one that is used up: half a minute early, which the clocks may differ.
    window.send("Continuer", code=pyotp.TOTP(secret).at(int(time.time()) + 30))
    assert window.path == "/meuble"

    again = open_window()
    again.go("/connexion")
    again.sign_in(coffre.email)
    again.send("Continuer", code=recovery[0].upper())
    assert again.path == "/meuble"
    again.go("/securite")
    expect(again.page.get_by_text("Il vous reste 9 codes de secours.")).to_be_visible()
    again.click("Désactiver", "link")
    again.send("Désactiver", current=PASSWORD, code=recovery[1])
    assert again.notices == ["La validation en deux étapes est désactivée."]
    window = open_window()
    window.go("/connexion")
    window.sign_in(coffre.email)
    assert window.path == "/meuble"


def test_a_lost_password(open_window: Open, stage: Stage) -> None:
    """A letter brings a link: the new password opens, not the old one, nor the link again."""
    company = stage.company("Oubli", "oubli.test")
    window = open_window()
    window.go("/connexion")
    window.click("Mot de passe oublié ?", "link")
    window.send("Recevoir un lien", email=company.email)
    assert window.heading == "Regardez votre courrier"
    [mail] = stage.received(company.email)
    letter = message_from_bytes(mail.content, policy=policy.default)
    body = letter.get_body(("plain",))
    assert body is not None
    [link] = re.findall(r"http://\S+", body.get_content())
    path = link.removeprefix(stage.base)
    window.go(path)
    assert window.heading == "Choisissez un mot de passe"
    assert window.send("Enregistrer", new="court", again="court").status == 400
    window.send("Enregistrer", new="quatre mots sans rapport", again="quatre mots sans rapport")
    assert window.path.partition("?")[0] == "/connexion"
    assert window.sign_in(company.email).status == 403
    window.sign_in(company.email, "quatre mots sans rapport")
    assert window.path == "/meuble"
    assert window.go(path).status == 410


def test_closing_another_session(open_window: Open, stage: Stage) -> None:
    """The list of sessions closes one that was left open elsewhere."""
    company = stage.company("Ailleurs", "ailleurs.test")
    left, here = open_window(), open_window()
    for window in (left, here):
        window.go("/connexion")
        window.sign_in(company.email)
    here.go("/securite")
    assert here.page.locator("table.stack tbody tr").count() == 2
    here.click("Fermer toutes les autres")
    assert here.notices == ["Vos autres sessions sont fermées."]
    assert here.page.locator("table.stack tbody tr").count() == 1
    left.go("/meuble")
    assert left.path == "/connexion"
