"""Meuble in a browser: pages, choosing, and what the buttons do."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.letters import HOSTILE, SECRET, Letter, brochure
from tests.browser.stage import Company, Open, Stage, Window

SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])


@SCRIPTS
def test_the_pages_together_are_all_messages(
    open_window: Open, duchemin: Company, letters: list[Letter], scripts: bool
) -> None:
    """Paging by » shows each message once, newest first; the line of pages is the brochure's."""
    window = open_window(duchemin.email, java_script_enabled=scripts)
    line = window.page.get_by_role("navigation", name="Pages").first
    assert re.sub(r"\s+", " ", line.inner_text()) == "Page (1) 2 3 4 ... 9 »"
    shown = window.subjects()
    while window.page.get_by_role("link", name="Page suivante").count():
        window.click("Page suivante", "link")
        shown += window.subjects()
    assert [subject.removesuffix(" Spam") for subject in shown] == [one.shown for one in letters]
    assert window.path == "/meuble?page=9"
    window.click("Page 1", "link")
    assert window.subjects()[0] == "Notes de frais."


def test_a_line_of_the_list_is_the_brochures(open_window: Open, duchemin: Company) -> None:
    """Columns and the first line as in VII.II; markup in a subject is shown, and does nothing."""
    window = open_window(duchemin.email)
    heads = window.page.locator(".messages th").all_inner_texts()
    assert [head.strip() for head in heads] == [
        "Choix", "Date", "Expéditeur", "Objet", "Destinataire(s)",
    ]  # fmt: skip
    expect(window.page.locator(".messages caption")).to_have_text("Contenu de votre meuble")
    first = window.rows()[0]
    assert re.fullmatch(r"(Aujourd'hui|Hier) \d\d:\d\d:\d\d", first.pop("date"))
    assert first == {
        "sender": "jacques@vermeulen.net",
        "subject": "Notes de frais.",
        "recipient": "celine@mondomaine.fr",
    }
    assert HOSTILE in window.subjects()
    assert window.page.title() == "Meuble – Mail6M"
    spam = [subject for subject in window.subjects() if subject.endswith(" Spam")]
    assert spam == ["VOUS AVEZ GAGNÉ !!! Spam"]


def test_choosing_all_of_a_page_and_counting(open_window: Open, duchemin: Company) -> None:
    """The box on top chooses the page; the count follows every tick."""
    window = open_window(duchemin.email)
    count = window.page.locator("[data-chosen]")
    every = window.page.get_by_role("checkbox", name="Choisir toute la page")
    expect(count).to_have_text("Aucun message choisi")
    window.choose("Garage")
    expect(count).to_have_text("1 message choisi")
    assert every.evaluate("box => box.indeterminate")
    every.check()
    expect(count).to_have_text("20 messages choisis")
    window.page.get_by_role("checkbox", name="Choisir « Garage »").uncheck()
    expect(count).to_have_text("19 messages choisis")
    expect(every).not_to_be_checked()
    every.check()
    every.uncheck()
    expect(count).to_have_text("Aucun message choisi")


def test_the_whole_console_works_by_keyboard(open_window: Open, duchemin: Company) -> None:
    """Tab goes first to the content's link, and a message is chosen and opened without a mouse."""
    window = open_window(duchemin.email)
    page = window.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Aller au contenu")).to_be_focused()
    page.keyboard.press("Enter")
    box = page.get_by_role("checkbox", name="Choisir « Notes de frais. »")
    for _ in range(20):
        page.keyboard.press("Tab")
        if box.evaluate("box => box === document.activeElement"):
            break
    page.keyboard.press("Space")
    expect(box).to_be_checked()
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert window.heading == "Details"


@SCRIPTS
def test_details_have_every_fact_and_no_content(
    open_window: Open, stage: Stage, duchemin: Company, scripts: bool
) -> None:
    """Details of two chosen messages: what the archive knows, and no word of their text."""
    window = open_window(duchemin.email, java_script_enabled=scripts)
    window.choose("Notes de frais.", HOSTILE)
    response = window.click("Details")
    assert window.page.get_by_role("article").count() == 2
    assert window.page.get_by_role("heading", level=2).all_inner_texts() == [
        "Notes de frais.", HOSTILE,
    ]  # fmt: skip
    [row] = [
        row for row in stage.server.messages(duchemin.number) if row["subject"] == "Notes de frais."
    ]
    facts = window.facts()
    assert facts["Expéditeur (enveloppe)"] == "jacques@vermeulen.net"
    assert facts["Destinataire(s) (enveloppe)"] == "celine@mondomaine.fr"
    assert facts["De (en-tête)"] == '"Jacques Vermeulen" <jacques@vermeulen.net>'
    assert facts["À, Cc (en-tête)"] == "celine@mondomaine.fr"
    assert facts["SHA-256"] == row["sha256"]
    assert facts["Numéro d'archive"] == row["id"]
    assert facts["Message-ID"].endswith("@example.org>")
    assert re.search(r"\[127\.0\.0\.1\] \(ESMTP, «", facts["Machine émettrice"])
    assert facts["TLS"] == "non chiffré"
    assert f"({row['raw_size']}" in _digits(facts["Taille"])
    assert _digits(facts["Taille archivée"]).startswith(f"{row['stored_size']}octets")
    saving = round(100 - 100 * row["stored_size"] / row["raw_size"])
    assert abs(int(_digits(facts["Économie"]).removesuffix("%")) - saving) <= 1
    assert facts["Antispam"] == "légitime"
    delivery = window.page.locator(".deliveries tbody tr").first.locator("td").all_inner_texts()
    assert re.fullmatch(r"(Aujourd'hui|Hier) \d\d:\d\d:\d\d", delivery.pop(1))
    answer = "250 2.0.0 Ok\nSans chiffrement"
    assert delivery == ["celine@mondomaine.fr", "Remis", "1", "–", answer]
    assert SECRET not in response.text()
    window.click("Retour à la liste", "link")
    assert window.path == "/meuble"


def _original(content: bytes) -> bytes:
    """Without the Received field in front, which says when it came."""
    return re.sub(rb"\AReceived:.*\r\n(?:[ \t].*\r\n)*", b"", content)


def _digits(text: str) -> str:
    """Without the spaces that numbers are set with."""
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("button", ["Emettre", "Supprimer", "Details"])
def test_a_button_without_a_choice_says_so(
    open_window: Open, duchemin: Company, button: str
) -> None:
    """Nothing is chosen: the list is shown again, and says what to do; only once."""
    window = open_window(duchemin.email)
    window.go("/meuble?page=2")
    window.click(button)
    assert window.path == "/meuble?page=2"
    assert window.notices == ["Cochez d'abord un ou plusieurs messages."]
    window.page.reload()
    assert window.notices == []


@pytest.fixture(scope="module")
def vermeulen(stage: Stage) -> Company:
    """A company whose mail is sent again and deleted."""
    company = stage.company("Vermeulen", "vermeulen.test")
    stage.send(brochure(company.domain))
    return company


def test_a_message_that_is_sent_again_arrives_again(
    open_window: Open, stage: Stage, vermeulen: Company
) -> None:
    """Emettre: the receiving machine has it twice, and the page comes to say so."""
    recipient = f"rh@{vermeulen.domain}"
    window = open_window(vermeulen.email)
    window.choose("Garage")
    window.click("Emettre")
    assert window.heading == "Messages émis"
    first, second = (mail.content for mail in stage.received(recipient, 2))
    assert _original(first) == _original(second)
    # The page looks again by itself until nothing is under way.
    states = window.page.locator(".deliveries .state")
    expect(states).to_have_text(["Remis"], timeout=20_000)
    window.click("Retour à la liste", "link")
    assert window.path == "/meuble"


@SCRIPTS
def test_deleting_asks_once_and_is_for_good(open_window: Open, stage: Stage, scripts: bool) -> None:
    """Supprimer: asked once; then gone from the cabinet, the search and the operator's list."""
    domain = f"supprimer-{scripts}.test".lower()
    company = stage.company(f"Supprimer {scripts}", domain)
    stage.send(brochure(domain))
    window = open_window(company.email, java_script_enabled=scripts)
    window.choose("Garage", "Votre facture")
    window.click("Supprimer")
    assert window.heading == "Supprimer définitivement ?"
    said = window.page.locator(".lead").inner_text()
    assert said.startswith("2 messages seront effacés de l'archive.")
    window.click("Ne rien supprimer", "link")
    assert len(window.rows()) == 7

    window.choose("Garage", "Votre facture")
    window.click("Supprimer")
    window.click("Supprimer")
    assert window.notices == ["2 messages ont été supprimés définitivement."]
    assert len(window.rows()) == 5
    assert not {"Garage", "Votre facture"} & set(window.subjects())
    window.go("/recherche?subject=garage")
    assert window.rows() == []
    assert len(stage.server.messages(company.number)) == 5
    assert _found(stage, company, "Garage") == []


def _found(stage: Stage, company: Company, subject: str) -> list[dict[str, str]]:
    return [row for row in stage.server.messages(company.number) if row["subject"] == subject]


def test_an_empty_cabinet_says_what_to_do_next(open_window: Open, stage: Stage) -> None:
    """Nothing there yet: the MX records to set, and the domain to declare."""
    window = open_window(stage.company("Vide").email)
    expect(window.page.get_by_role("heading", name="Votre meuble est vide")).to_be_visible()
    expect(window.page.locator("pre")).to_have_text("IN MX 10 mx1.mail6m.com.")
    link = window.page.get_by_role("link", name="Déclarez votre domaine")
    assert link.get_attribute("href") == "/domaines"


def test_a_reader_looks_and_changes_nothing(
    open_window: Open, stage: Stage, duchemin: Company, reader: str
) -> None:
    """A reader has Details and no other button; the acts themselves answer 403."""
    window = open_window(reader)
    buttons = window.page.locator(".listing").get_by_role("button").all_inner_texts()
    assert buttons == ["Details"]
    window.choose("Garage")
    window.click("Details")
    assert window.page.locator("main").get_by_role("button").count() == 0
    for act in ("/meuble/emettre", "/meuble/supprimer"):
        window.go("/meuble")
        assert _send_to(window, act).status == 403
    assert len(stage.server.messages(duchemin.number)) == 167


def _send_to(window: Window, act: str) -> object:
    """Send the list's form to another address, as its markup could be changed to."""
    window.choose("Garage")
    window.page.locator(".listing").evaluate("(form, act) => { form.action = act }", act)
    return window.click("Details")
