"""A quarter of a company's by a clock that is turned: another cabinet, the invoice, the transfer.

What is issued is judged by others: EN 16931 by its schematron, PDF/A by veraPDF.
"""

from __future__ import annotations

import email
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from email.policy import SMTP
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from facturx import get_facturx_xml_from_pdf
from playwright.sync_api import Browser

from mail6m.billing.months import next_month, next_quarter, paris_day
from mail6m.storage.embedded import Embedded
from tests.browser.conftest import chromium
from tests.browser.stage import Stage, windows
from tests.harness import LOOPBACK, Server, new_place
from tests.scripted_peer import Peer
from tests.statements import camt, entry, transaction
from tests.turned import TurnedClock
from tests.validators import assert_valid_by_schema, validators

SELLER = {
    "name": "Mail6M", "street": "18 Bis avenue du Val de Saône", "postcode": "69580",
    "city": "Sathonay-Camp", "country": "FR", "email": "factures@mail6m.test",
    "siret": "48437337800013", "vat-number": "FR06484373378", "legal": "SARL",
    "iban": "FR7630006000011234567890189", "bic": "AGRIFRPP",
}  # fmt: skip


class Turned(NamedTuple):
    """A server, and the clock that it goes by."""

    stage: Stage
    clock: TurnedClock

    def turn_to(self, day: date) -> None:
        """It is noon of that day, and what is due is done."""
        self.clock.turn_to(datetime.combine(day, time(12), UTC))
        for _ in range(2):  # the invoice, its document; and then the letter about it
            self.stage.server.command("shelves", "sweep")


@pytest.fixture
def turned() -> Iterator[Turned]:
    """A server whose own letters go where all mail goes."""
    chromium()
    with Peer() as peer, new_place() as place:
        clock = TurnedClock(place / "clock")
        clock.turn_to(datetime.now(UTC))
        options = ("--smarthost", f"{LOOPBACK}:{peer.port}")
        with Server(place, *options, clock=clock) as server:
            told = [word for name, value in SELLER.items() for word in (f"--{name}", value)]
            server.command("seller", "set", "--since", str(paris_day(clock())), *told)
            database = Embedded(server.data / "postgres")
            try:
                yield Turned(Stage(server, peer, database.start()), clock)
            finally:
                database.leave()


def subjects(stage: Stage) -> list[str]:
    """Of the letters that have arrived."""
    mails = (email.message_from_bytes(mail.content, policy=SMTP) for mail in stage.peer.mails)
    return [str(mail["Subject"]).replace("\u00a0", " ") for mail in mails]


def reminders(stage: Stage) -> list[str]:
    """Those of them that remind of an invoice."""
    return [one for one in subjects(stage) if "appel" in one]


def test_a_quarter(turned: Turned, browser: Browser, tmp_path: Path) -> None:
    """A larger cabinet from the first of the month on; at the quarter's end it is due, and paid."""
    stage, today = turned.stage, paris_day(turned.clock())
    company = stage.company("Duchemin", "duchemin.test")
    begins, ends = next_month(today), next_quarter(next_month(today))
    with windows(browser, stage) as open_window:
        customer = open_window(company.email)
        customer.go("/preferences")
        customer.send("Enregistrer", plan="malle")
        turned.turn_to(begins)
        assert stage.server.command("customer", "show", str(company.number))["plan"] == "malle"

        turned.turn_to(ends - timedelta(days=1))
        before = {one["number"] for one in invoices(stage)}
        turned.turn_to(ends)
        [invoice] = [one for one in invoices(stage) if one["number"] not in before]
        months = 1 + (ends.month - 1 - begins.month) % 12
        assert invoice["gross"] == 7_500 * min(3, months)

        customer.go("/factures")
        customer.click(invoice["number"], "link")
        with customer.page.expect_download() as downloading:
            customer.page.get_by_role("link", name="Télécharger le PDF").click()
        document = downloading.value.path().read_bytes()
        _, xml = get_facturx_xml_from_pdf(document)
        assert_valid_by_schema(xml)
        with validators() as others:
            assert not others.schematron(xml)
            assert not others.pdf(document)

        paid = transaction(invoice["reference"], name="Duchemin")
        amount = f"{invoice['gross'] // 100}.{invoice['gross'] % 100:02d}"
        statement = tmp_path / "statement.xml"
        statement.write_bytes(camt(entry(amount, paid)))
        assert stage.server.command("payment", "import", str(statement))["recorded"] == 1
        customer.go("/factures")
        assert "payée" in customer.page.locator("main").inner_text()
    stage.wait_for(lambda peer: any(invoice["number"] in one for one in subjects(stage)))


def test_a_reminder(turned: Turned) -> None:
    """Fifteen days after the last day, and again after thirty; and nobody is suspended by that."""
    stage, today = turned.stage, paris_day(turned.clock())
    company = stage.company("Duchemin", "duchemin.test")
    turned.turn_to(next_quarter(next_month(today)))
    due = max(date.fromisoformat(one["due_on"]) for one in invoices(stage))
    for days, count in ((14, 0), (15, 1), (30, 2), (45, 2)):
        turned.turn_to(due + timedelta(days=days))
        stage.wait_for(lambda _, count=count: len(reminders(stage)) >= count)  # by whichever sweep
        assert len(reminders(stage)) == count, subjects(stage)
    [[suspended]] = stage.sql(
        "SELECT suspended_at FROM contract WHERE customer_id = %s", (company.number,)
    )
    assert suspended is None


def invoices(stage: Stage) -> list[dict[str, Any]]:
    """All that have been issued."""
    listed: list[dict[str, Any]] = stage.server.command("invoice", "list")
    return listed
