"""Paying, in a browser: by PayPal, there and back; by transfer, as the bank tells; reminded."""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.policy import SMTP

import pytest
from playwright.sync_api import expect

from tests.billed import DUCHEMIN, drafted, issued
from tests.browser.stage import Company, Open, Stage, Window
from tests.statements import camt, entry, transaction


@pytest.fixture(scope="module")
def payer(stage: Stage) -> Company:
    """A company that has something to pay."""
    return stage.company("Payeur", "payeur.test")


def new_invoice(stage: Stage, company: Company, issued_on: date) -> str:
    """An invoice of 120 euros, due thirty days later."""
    draft = drafted(company.number, 4000, issued_on, replace(DUCHEMIN, name="Payeur"))
    return issued(stage._ask, draft, b"%PDF-1.7 of " + company.domain.encode())


@contextmanager
def at_paypal(stage: Stage, window: Window) -> Iterator[None]:
    """The window is on PayPal's pages for a while, which is no trouble."""
    yield
    away = f"a request to another host: {stage.paypal.url}/"
    window.trouble[:] = [line for line in window.trouble if not line.startswith(away)]


def test_by_paypal(stage: Stage, payer: Company, open_window: Open) -> None:
    """The button leads to PayPal, and its button back: then the invoice is paid, and says so."""
    number = new_invoice(stage, payer, date(2026, 10, 1))
    window = open_window(payer.email)
    window.go("/factures")
    window.click(number, "link")
    with at_paypal(stage, window):
        window.page.get_by_role("button", name=re.compile("par PayPal")).click()
        window.page.wait_for_url(f"{stage.paypal.url}/checkoutnow?**")
        window.page.get_by_role("link", name="Annuler").click()
        window.page.wait_for_url(f"**/factures/{number}")
        assert window.facts()["État"] == "en retard"
        window.page.get_by_role("button", name=re.compile("par PayPal")).click()
        window.page.get_by_role("link", name="Payer").click()
        window.page.wait_for_url(f"**/factures/{number}")
    assert window.notices == ["Merci, votre paiement est enregistré."]
    assert window.facts()["État"] == "payée"
    expect(window.page.get_by_role("button", name=re.compile("par PayPal"))).to_have_count(0)
    with window.page.expect_download() as downloading:
        window.page.get_by_role("link", name="Télécharger le PDF").click()
    assert downloading.value.suggested_filename == f"mail6m-{number}.pdf"
    assert downloading.value.path().read_bytes() == b"%PDF-1.7 of payeur.test"


def test_by_a_transfer(stage: Stage, payer: Company, open_window: Open) -> None:
    """The bookkeeper imports the bank's statement; the customer sees that the invoice is paid."""
    number = new_invoice(stage, payer, date(2026, 7, 1))
    [(reference,)] = stage.sql("SELECT reference FROM invoice WHERE number = %s", (number,))
    statement = camt(
        entry("120.00", transaction(f"facture {reference}", name="Payeur"), bank="story 1"),
        entry("77.00", transaction("avance", name="Payeur"), bank="story 2"),
    )
    clerk = open_window(stage.operator("compta", "bookkeeper"))
    clerk.go("/exploitation/paiements")
    clerk.send("Importer", releve=statement.decode())
    assert clerk.notices[-1].startswith("2 virements dans ce relevé")
    assert "1 enregistré, 1 à regarder, 0 déjà connu" in clerk.notices[-1]
    other = new_invoice(stage, payer, date(2026, 4, 1))
    card = clerk.page.locator(".card", has_text="avance")
    card.get_by_label("Facture", exact=True).fill(other)
    card.get_by_role("button", name="Affecter").click()
    clerk.page.get_by_text(f"Le paiement de {other} est enregistré.").wait_for()
    window = open_window(payer.email)
    window.go(f"/factures/{number}")
    assert window.facts()["État"] == "payée"
    window.go(f"/factures/{other}")
    assert window.facts()["Reste à payer"].replace("\xa0", " ") == "43,00 €"


def test_a_reminder(stage: Stage, open_window: Open) -> None:
    """Two weeks late, a letter goes out by SMTP; its link leads to the invoice."""
    late = stage.company("Retardataire", "retard.test")
    today = datetime.now(UTC).date()
    number = new_invoice(stage, late, today - timedelta(days=30 + 16))
    stage.sql("UPDATE preferences SET email = 'compta@ailleurs.test' WHERE customer_id = %s",
              (late.number,))  # fmt: skip
    stage.server.command("shelves", "sweep")

    def reminders() -> list[str]:
        mails = [email.message_from_bytes(m.content, policy=SMTP) for m in stage.peer.mails
                 if "compta@ailleurs.test" in m.recipients]  # fmt: skip
        bodies = [mail.get_body(("plain",)) for mail in mails if number in str(mail["Subject"])]
        return [body.get_content() for body in bodies if body is not None]

    stage.wait_for(lambda _: bool(reminders()))
    [text] = reminders()
    [link] = re.findall(r"http\S+", text)
    window = open_window(late.email)
    window.go(link.removeprefix(stage.base))
    assert window.heading == f"Facture {number}"
    assert window.facts()["État"] == "en retard"
