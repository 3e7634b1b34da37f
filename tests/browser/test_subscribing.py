"""From the home page to the first archived message: what the brochure promises, played once."""

from __future__ import annotations

import email
import email.policy
import re

from playwright.sync_api import expect

from tests.browser.letters import Letter
from tests.browser.stage import PASSWORD, Open, Stage, Window

DOMAIN = "duchemin-alphan.test"
EMAIL = "georges@duchemin-alphan.example"


def done(window: Window) -> list[bool]:
    """Which of the five steps are done."""
    steps = window.page.locator("ol.steps > li")
    expect(steps).to_have_count(5)
    read = "steps => steps.map(step => step.classList.contains('done'))"
    found: list[bool] = steps.evaluate_all(read)
    return found


def first(count: int) -> list[bool]:
    """So many of them, and no other."""
    return [number < count for number in range(5)]


def link_in(content: bytes) -> str:
    """Where a letter leads to."""
    letter = email.message_from_bytes(content, policy=email.policy.default)
    body = letter.get_body(("plain",))
    assert body is not None
    return re.findall(r"https?://\S+", body.get_content())[0]


def test_from_the_home_page_to_the_first_archived_message(open_window: Open, stage: Stage) -> None:
    """Sign-up, letter, proof, trial, MX, a message by SMTP: each step is done when it is so."""
    window = open_window()
    window.go("/")
    assert window.heading == "Sauvegarder et archiver vos e-mails en ligne grâce à Mail6M"
    assert window.page.context.cookies() == []
    window.click("Tarifs", "link")
    window.click("Choisir Malle", "link")
    expect(window.page.get_by_role("radio", name=re.compile("Malle"))).to_be_checked()
    window.send(
        "S'inscrire",
        company="Duchemin Alphan",
        last_name="Alphan",
        first_name="Georges",
        email=EMAIL,
        password=PASSWORD,
        agreed="y",
    )
    assert window.heading == "Lisez maintenant votre courrier"

    [letter] = stage.received(EMAIL)
    window.page.goto(link_in(letter.content))
    assert window.facts()["Meuble"] == "Malle (5 Go)"
    window.send("Confirmer", password=PASSWORD)
    assert window.path == "/demarrage"
    assert done(window) == first(0)

    window.send("Déclarer", name=DOMAIN, hosts=f"127.0.0.1:{stage.peer.port}")
    assert done(window) == first(1)
    record = window.page.locator("pre.records").first.inner_text()
    window.click("Vérifier")
    assert done(window) == first(1)
    stage.zone.add(record)
    window.click("Vérifier")
    assert done(window) == first(2)
    window.click("Tester")
    assert done(window) == first(3)

    for name in ("mx.elsewhere.test", "mx1.mail6m.com"):
        stage.zone.remove(DOMAIN, "MX")
        stage.zone.add({f"{DOMAIN} MX": f"10 {name}."})
        window.page.reload()
        expect(window.page.locator("ol.steps > li").nth(3)).to_contain_text(f"IN MX 10 {name}.")
        assert done(window) == first(4 if name.endswith("mail6m.com") else 3)

    celine = f"celine@{DOMAIN}"
    stage.post([Letter("", "jacques@vermeulen.net", (celine,), "Notes de frais.")])
    [mail] = stage.received(celine)
    assert b"Notes de frais." in mail.content
    window.page.reload()
    assert done(window) == first(5)
    expect(window.page.get_by_text("Tout est fait : vos e-mails sont archivés.")).to_be_visible()
    window.click("Voir votre meuble", "link")
    assert window.subjects() == ["Notes de frais."]
    assert [mail.recipients for mail in stage.received(EMAIL, 2)] == [(EMAIL,)] * 2


def test_a_page_waits_for_the_message_by_itself(open_window: Open, stage: Stage) -> None:
    """Somebody who leaves the page open sees the step done; without scripts, too."""
    company = stage.company("Attend", "attend.test")
    window = open_window(company.email)
    window.go("/demarrage")
    assert window.page.locator("[data-refresh='15']").count() == 1
    plain = open_window(company.email, java_script_enabled=False)
    response = plain.go("/demarrage")
    assert '<meta http-equiv="refresh" content="15">' in response.text()


def test_the_brochure_is_printed(open_window: Open, stage: Stage) -> None:
    """On paper there is what is read, and nothing to press; each page fits on two sheets."""
    window = open_window()
    for path in ("/", "/pourquoi", "/fonctionnement", "/avantages", "/tarifs", "/mise-en-place"):
        window.go(path)
        window.page.emulate_media(media="print", color_scheme="light")
        expect(window.page.locator(".ways")).to_be_hidden()
        expect(window.page.locator(".entrances")).to_be_hidden()
        pdf = window.page.pdf(format="A4", margin=dict.fromkeys(
            ("top", "bottom", "left", "right"), "15mm"
        ))  # fmt: skip
        assert 1 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) <= 2
        window.page.emulate_media(media="screen")
