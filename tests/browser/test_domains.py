"""Domaines and File d'attente in a browser."""

from __future__ import annotations

import smtplib

import pytest
from playwright.sync_api import expect

from tests.browser.letters import Letter
from tests.browser.stage import Company, Open, Stage
from tests.harness import LOOPBACK


def is_taken(stage: Stage, address: str) -> bool:
    """Whether mail for an address is taken in."""
    with smtplib.SMTP(LOOPBACK, stage.server.smtp_port) as client:
        client.ehlo()
        client.mail("jacques@vermeulen.net")
        code, _ = client.rcpt(address)
    return code == 250


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_new_domain_is_to_be_proved(open_window: Open, stage: Stage, scripts: bool) -> None:
    """From the empty cabinet to the TXT record to set; until it is there no mail is taken."""
    domain = f"declare-{scripts}.test".lower()
    company = stage.company(f"Debut {scripts}".replace(" ", "-"))
    window = open_window(company.email, java_script_enabled=scripts)
    window.click("Déclarez votre domaine", "link")
    assert window.heading == "Domaines"
    window.send("Ajouter", name=domain, hosts=f"mail.{domain}\n192.0.2.1:2525")
    assert window.path == f"/domaines/{domain}"
    expect(window.page.get_by_role("heading", level=2).first).to_have_text(
        "Prouvez que ce domaine est à vous"
    )
    facts = window.facts()
    assert (facts["Nom"], facts["Type"]) == (f"_mail6m.{domain}.", "TXT")
    assert facts["Valeur"].startswith("mail6m=")
    window.click("Vérifier")
    said = window.page.get_by_role("alert").inner_text()
    assert said.startswith(("L'enregistrement TXT n'est pas encore là", "Le DNS n'a pas répondu"))
    assert not is_taken(stage, f"celine@{domain}")
    window.go("/domaines")
    expect(window.page.locator("table.stack tbody tr")).to_contain_text("à prouver")
    window.click(domain, "link")
    window.click("Abandonner ce domaine")
    assert window.notices == [f"{domain} n'est plus dans votre liste."]


def test_what_is_wrong_is_said_by_the_field(open_window: Open, duchemin: Company) -> None:
    """No name, no machine, another company's domain; and everything typed is still there."""
    window = open_window(duchemin.email)
    window.go("/domaines")
    response = window.send("Ajouter", name="pas un domaine", hosts="ni une machine !")
    assert response.status == 400
    name = window.page.get_by_label("Domaine de messagerie (*)")
    hosts = window.page.get_by_label("Machine qui réceptionne le courrier (*)")
    expect(name).to_have_value("pas un domaine")
    expect(hosts).to_have_value("ni une machine !")
    for field in (name, hosts):
        expect(field).to_have_attribute("aria-invalid", "true")
    assert window.page.locator(".field .error").count() == 2


def test_a_domain_of_another_company_is_refused(
    open_window: Open, stage: Stage, duchemin: Company
) -> None:
    """Nobody claims what somebody has."""
    window = open_window(stage.company("Voleur").email)
    window.go("/domaines")
    assert window.send("Ajouter", name=duchemin.domain, hosts="192.0.2.1").status == 400
    expect(window.page.get_by_label("Domaine de messagerie (*)")).to_have_accessible_description(
        "Ce domaine est déjà déclaré par une autre société. S'il est à vous, écrivez-nous."
    )
    assert window.go(f"/domaines/{duchemin.domain}").status == 404


def test_machines_are_changed_tested_and_taken_away(open_window: Open, stage: Stage) -> None:
    """Other machines hold at once; the test shows the dialogue; Supprimer asks once."""
    company = stage.company("Routage", "routage.test")
    window = open_window(company.email)
    window.go("/domaines")
    window.click(company.domain, "link")
    hosts = f"{LOOPBACK}:{stage.peer.port}\nmail2.routage.test:2525"
    window.send("Enregistrer", hosts=hosts, tls="opportunistic")
    assert window.notices == ["C'est enregistré, et vaut dès maintenant."]
    [row] = stage.server.command("domain", "list", "--customer", str(company.number))
    assert row["to"] == hosts.split("\n")
    window.send("Enregistrer", hosts=hosts.split("\n")[0])

    window.click("Tester")
    expect(window.page.locator(".said")).to_have_text(
        "Tout va bien : cette machine accepte le courrier de votre domaine."
    )
    dialogue = window.page.locator(".dialogue").inner_text()
    assert "EHLO mail6m.test" in dialogue
    assert f"RCPT TO:<postmaster@{company.domain}>" in dialogue
    assert "DATA" not in dialogue

    assert is_taken(stage, f"celine@{company.domain}")
    window.click("Retour au domaine", "link")
    window.click("Supprimer ce domaine")
    window.click("Ne rien supprimer", "link")
    window.click("Supprimer ce domaine")
    window.click("Supprimer")
    assert window.notices == [f"{company.domain} n'est plus dans votre liste."]
    assert not is_taken(stage, f"celine@{company.domain}")


def test_what_waits_is_tried_at_once(open_window: Open, stage: Stage) -> None:
    """The queue says why a message waits; Réessayer maintenant brings it to its machine."""
    company = stage.company("Attente", "attente.test")
    recipient = f"celine@{company.domain}"
    stage.peer.script = {f"RCPT {recipient}": ["450 4.2.1 Full", "250 2.1.5 Ok"]}
    window = open_window(company.email)
    window.go("/file")
    expect(window.page.get_by_role("heading", level=2)).to_have_text("Tout a été remis")
    stage.post([Letter("", "jacques@vermeulen.net", (recipient,), "Notes de frais.")])
    stage.wait_for(lambda peer: any(recipient in command for command, _ in peer.commands))
    row = window.page.locator("table.queue tbody tr")
    # The reply is written down a moment after it was said.
    for _ in range(50):
        window.go("/file")
        if row.count() and "450 4.2.1 Full" in row.inner_text():
            break
    expect(row).to_contain_text("450 4.2.1 Full")
    expect(row).to_contain_text("jacques@vermeulen.net")
    window.click(f"Réessayer maintenant : Notes de frais., pour {recipient}")
    assert window.notices == ["La remise est essayée maintenant."]
    assert len(stage.received(recipient)) == 1
