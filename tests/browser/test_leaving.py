"""Leaving, in a browser: all mail in a file that is downloaded, and the end of the contract."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest

from tests.browser.letters import ordinary
from tests.browser.stage import PASSWORD, Company, Open, Stage


@pytest.fixture(scope="module")
def leaver(stage: Stage) -> Company:
    """A company with some mail."""
    company = stage.company("Partant", "partant.test")
    stage.send(ordinary(5, company.domain))
    return company


def test_all_mail_is_prepared_and_downloaded(
    stage: Stage, leaver: Company, open_window: Open, tmp_path: Path
) -> None:
    """The page looks again by itself until the file is there; it has the digest that is shown."""
    window = open_window(leaver.email)
    window.go("/partir")
    window.send("Préparer", format="zip", current=PASSWORD)
    assert window.notices == ["Votre fichier se prépare."]
    link = window.page.get_by_role("link", name=re.compile(r"\.zip$"))
    link.wait_for()
    shown = window.page.locator(".exports .code").inner_text()
    with window.page.expect_download() as downloading:
        link.click()
    file = tmp_path / downloading.value.suggested_filename
    downloading.value.save_as(file)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == shown
    stored = {message["sha256"] for message in stage.server.messages(leaver.number)}
    with zipfile.ZipFile(file) as archive:
        found = [hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()]
    assert len(found) == 5
    assert set(found) == stored


def test_a_page_does_not_look_again_while_somebody_types(stage: Stage, open_window: Open) -> None:
    """What has been typed would be gone."""
    company = stage.company("Patient")
    stage.files(company)
    window = open_window(company.email)
    window.page.clock.install()
    window.go("/partir")
    window.page.evaluate("window.sameAsBefore = true")
    window.page.locator("[name=current]").focus()
    window.page.clock.run_for(30_000)
    assert window.page.evaluate("window.sameAsBefore") is True
    with window.page.expect_navigation():
        window.page.locator("[name=current]").blur()
        window.page.clock.run_for(2_000)
    assert window.page.evaluate("window.sameAsBefore") is None


def test_without_scripts_it_looks_again_too(stage: Stage, open_window: Open) -> None:
    """As long as something is under way."""
    company = stage.company("Sobre")
    window = open_window(company.email, java_script_enabled=False)
    window.go("/partir")
    assert window.page.locator("meta[http-equiv=refresh]").count() == 0
    stage.files(company)
    window.go("/partir")
    assert window.page.locator("meta[http-equiv=refresh]").get_attribute("content") == "30"


def test_the_contract_is_ended_and_kept(stage: Stage, leaver: Company, open_window: Open) -> None:
    """By name and password; the company is written to; and it can be taken back."""
    window = open_window(leaver.email)
    window.go("/partir")
    window.click("Résilier", role="link")
    window.send("Résilier", company="Partant", current=PASSWORD)
    assert window.notices == ["Votre résiliation est demandée."]
    assert "Votre contrat se termine le" in window.page.locator("main").inner_text()
    stage.server.command("shelves", "sweep")
    [letter] = stage.received(leaver.email)
    assert b"/partir" in letter.content
    window.click("Annuler la résiliation")
    assert window.notices == ["Votre résiliation est annulée."]
    assert "Votre contrat se termine le" not in window.page.locator("main").inner_text()
