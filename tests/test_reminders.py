"""Letters about invoices: when they are sent, to whom, what they say; and that they are all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pytest

from mail6m.billing.credits import CreditNotes
from mail6m.billing.documents import Documents
from mail6m.billing.invoice import Invoice, Party
from mail6m.billing.reminders import InvoiceLetters
from mail6m.model import HOUSE
from mail6m.storage.accounts import Accounts
from mail6m.storage.closings import Closings
from mail6m.storage.documents import DocumentTable
from mail6m.storage.errors import Unavailable
from mail6m.storage.invoices import Invoices
from mail6m.storage.ledger import Ledger
from mail6m.storage.payments import Method, NewPayment, Payments
from mail6m.storage.pool import Pool
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.tariffs import SellerTable
from tests.billed import DUCHEMIN, a_credit, an_invoice
from tests.posted import BASE, Post, Told, add_accounts, add_customer
from tests.reactor_thread import run
from tests.stored import ask, by, new_customer, new_database, new_pool

ISSUED = date(2026, 10, 1)
DUE = date(2026, 10, 31)


async def _no_pdf(*_: object) -> bytes:
    raise AssertionError("it has been made before")


@dataclass
class Office:
    """Where letters are written, on some day."""

    dsn: str
    pool: Pool
    post: Post
    letters_: InvoiceLetters | None = None
    today: date = ISSUED

    def now(self) -> datetime:
        """Just after midnight in Paris, in summer as in winter."""
        return datetime.combine(self.today, time(0), UTC) - timedelta(minutes=30)

    def invoice(self, *, email: str = "georges@duchemin.fr", language: str = "", pdf: bool = True,
                there: bool = True, buyer: Party = DUCHEMIN) -> Invoice:  # fmt: skip
        """One of 120 euros; of a customer that is no more, if it is not ``there``."""
        customer = add_customer(self.dsn, email, language) if there else new_customer()
        invoice = an_invoice(self.dsn, self.pool, customer, issued_on=ISSUED, buyer=buyer)
        if pdf:
            self.document(invoice)
        return invoice

    def document(self, invoice: Invoice) -> None:
        """Its PDF is made."""
        row = (invoice.customer, invoice.number)
        ask(self.dsn, "INSERT INTO invoice_document VALUES (%s, %s, '%%PDF')", *row)

    def leaves(self, customer: int) -> Closings:
        """The customer's contract is over, and nothing is taken in for it since two hours."""
        closings = Closings(self.pool)
        long_ago = datetime(2026, 9, 30, tzinfo=UTC)
        assert run(lambda: closings.ask(by(customer), date(2026, 9, 30), long_ago))
        assert run(lambda: closings.close(customer))
        ask(
            self.dsn,
            "UPDATE closing SET closed_at = now() - interval '2 hours' WHERE customer_id = %s",
            customer,
        )
        return closings

    def pay(self, invoice: Invoice, cents: int) -> None:
        """Some of it is paid."""
        new = NewPayment(invoice.customer, invoice.number, self.today, cents, Method.CHEQUE)
        assert run(lambda: Payments(self.pool).record(by(invoice.customer), new))

    def letters(self, today: date) -> list[Told]:
        """What is sent on that day."""
        self.today = today
        assert self.letters_ is not None
        return self.post.told_by(self.letters_.send)


@pytest.fixture
def office(database: str) -> Iterator[Office]:
    """With a database of its own: nobody else has invoices."""
    dsn = new_database(database)
    with new_pool(dsn) as pool:
        office = Office(dsn, pool, Post())
        office.letters_ = InvoiceLetters(
            Ledger(pool),
            Invoices(pool),
            Documents(Invoices(pool), DocumentTable(pool), _no_pdf),
            Closings(pool),
            PreferencesTable(pool),
            Accounts(pool),
            office.post.notices(office.now),
            office.now,
        )
        yield office


def test_an_invoice_is_told_and_twice_reminded_of(office: Office) -> None:
    """At once, then 15 and 30 days after its last day; and nothing else ever happens."""
    number = office.invoice().number
    to = "georges@duchemin.fr"
    assert office.letters(ISSUED) == [(to, f"Votre facture {number}")]
    assert office.letters(DUE) == []
    assert office.letters(DUE + timedelta(days=14)) == []
    reminder = f"Rappel : la facture {number} reste à payer"
    assert office.letters(DUE + timedelta(days=15)) == [(to, reminder)]
    assert office.letters(DUE + timedelta(days=29)) == []
    last = f"Dernier rappel : la facture {number} reste à payer"
    assert office.letters(DUE + timedelta(days=30)) == [(to, last)]
    assert office.letters(DUE + timedelta(days=400)) == []
    assert ask(office.dsn, "SELECT count(*) FROM contract WHERE suspended_at IS NOT NULL") == [(0,)]


def test_who_has_paid_is_not_reminded(office: Office) -> None:
    """Who has paid a part is reminded of the rest."""
    paid, part = office.invoice(), office.invoice(language="en")
    office.letters(ISSUED)
    office.pay(paid, 12000)
    office.pay(part, 11999)
    [(_, subject)] = office.letters(DUE + timedelta(days=15))
    assert subject == f"Reminder: invoice {part.number} is still to be paid"
    [(_, _, letter)] = office.post.sent
    assert "€0.01" in letter.text
    office.pay(part, 1)
    assert office.letters(DUE + timedelta(days=30)) == []


def test_an_invoice_is_told_when_its_pdf_is_there(office: Office) -> None:
    """And not when it is no news any more."""
    soon, late = office.invoice(pdf=False), office.invoice(pdf=False)
    assert office.letters(ISSUED) == []
    office.document(soon)
    assert len(office.letters(ISSUED + timedelta(days=1))) == 1
    office.document(late)
    assert office.letters(DUE + timedelta(days=1)) == []


def test_reminders_do_not_follow_each_other_at_once(office: Office) -> None:
    """Whatever kept the first one back: it comes first, and the last one ten days later."""
    office.invoice()
    office.letters(ISSUED)
    office.post.trouble = Unavailable("away")
    assert office.letters(DUE + timedelta(days=29)) == []
    office.post.trouble = None
    [(_, first)] = office.letters(DUE + timedelta(days=35))
    assert first.startswith("Rappel")
    assert office.letters(DUE + timedelta(days=44)) == []
    [(_, last)] = office.letters(DUE + timedelta(days=45))
    assert last.startswith("Dernier rappel")


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("days", [-30, 15, 30])
def test_a_letter_says_what_how_and_where(office: Office, language: str, days: int) -> None:
    """In the customer's language, as text and as HTML: the amount, the reference, the page."""
    buyer = Party("Duchemin\n\nhttps://attaque.test", email="georges@duchemin.fr")
    invoice = office.invoice(language=language, buyer=buyer)
    if days == 30:
        office.letters(DUE + timedelta(days=15))
    assert len(office.letters(DUE + timedelta(days=days))) == 1
    [(customer, _, letter)] = office.post.sent
    assert customer == invoice.customer
    for said in (letter.text, letter.html):
        text = said.replace("\u00a0", " ").replace("\u202f", " ")
        assert ("120,00 €" if language == "fr" else "€120.00") in text
        assert "RF" in text
        assert "FR76 3000 6000 0112 3456 7890 189" in text
        assert f"{BASE}/factures/{invoice.number}" in text
    assert "Duchemin https://attaque.test" in letter.text
    assert ("Voir la facture" in letter.html) == (language == "fr")


def test_whoever_has_no_address_is_told_through_the_administrators(office: Office) -> None:
    """All of them, and no reader."""
    administrators = add_accounts(office.dsn, office.invoice(email="").customer)
    assert [to for to, _ in office.letters(ISSUED)] == administrators


def test_a_customer_that_is_no_more(office: Office) -> None:
    """Still has an invoice: the letter goes where the invoice says, in our own name."""
    office.invoice(there=False)
    office.invoice(there=False, buyer=Party("Personne"))
    assert [to for to, _ in office.letters(ISSUED)] == ["georges@duchemin.fr"]
    assert [customer for customer, _, _ in office.post.sent] == [HOUSE]


@pytest.mark.parametrize("email", ["compta@duchemin.fr", ""])
@pytest.mark.parametrize("stage", ["closed", "key destroyed", "destroyed"])
def test_whoever_cannot_sign_in_any_more_gets_all_by_letter(
    office: Office, stage: str, email: str
) -> None:
    """The last invoice comes after the end: as a file, with ways to pay, and no way in."""
    invoice = office.invoice(email=email, language="en", buyer=Party("Duchemin"))
    customer = invoice.customer
    account = "INSERT INTO account (customer_id, email, role) VALUES (%s, %s, 'administrator')"
    ask(office.dsn, account, customer, "georges@duchemin.fr")
    closings = office.leaves(customer)
    if stage != "closed":
        assert run(lambda: closings.destroy_key(customer))
    if stage == "destroyed":
        assert run(lambda: closings.erase(customer, 10)) == 0
    to = email or "georges@duchemin.fr"
    for days in (-30, 15, 30):
        assert [to for to, _ in office.letters(DUE + timedelta(days=days))] == [to]
        [(queued_for, _, letter)] = office.post.sent
        assert queued_for == HOUSE, "its own key is no more"
        [attached] = letter.attachments
        assert (attached.name, attached.octets) == (f"mail6m-{invoice.number}.pdf", b"%PDF")
        for said in (letter.text, letter.html):
            assert "console.mail6m.test" not in said
            assert "Your console" not in said.replace("your console is closed", "")
            assert "still received" not in said
            assert "your console is closed" in said
            assert "FR76 3000 6000 0112 3456 7890 189" in said.replace("\u00a0", " ")
            assert "69580 Sathonay-Camp" in said
    notes = CreditNotes(Invoices(office.pool), SellerTable(office.pool), office.now)
    credit = run(lambda: notes.credit(by(HOUSE), invoice.number, "Erreur"))
    assert (credit.gross, credit.buyer) == (-12000, invoice.buyer)
    assert run(lambda: Invoices(office.pool).get(customer, invoice.number)).balance == 0


def test_who_may_still_sign_in_has_the_file_too(office: Office) -> None:
    """For by the time that the letter is read, that may be over; until then the link is there."""
    invoice = office.invoice()
    closings = Closings(office.pool)
    day = datetime(2099, 1, 1, tzinfo=UTC)
    run(lambda: closings.ask(by(invoice.customer), date(2098, 12, 31), day))
    office.letters(ISSUED)
    [(customer, _, letter)] = office.post.sent
    assert customer == invoice.customer
    assert f"/factures/{invoice.number}" in letter.text
    assert [one.octets for one in letter.attachments] == [b"%PDF"]


@pytest.mark.parametrize("paid", [0, 8000, 12000])
def test_a_credit_note_is_told(office: Office, paid: int) -> None:
    """Once, with its file: what it takes back and why, and what is left; no reminder follows."""
    invoice = office.invoice()
    office.letters(ISSUED)
    if paid:
        office.pay(invoice, paid)
    credit = a_credit(office.pool, invoice)
    assert office.letters(DUE) == [], "its file is not there yet"
    office.document(credit)
    [(to, subject)] = office.letters(DUE)
    assert to == "georges@duchemin.fr"
    assert subject == f"Avoir {credit.number} sur la facture {invoice.number}"
    [(_, _, letter)] = office.post.sent
    text = letter.text.replace("\u00a0", " ").replace("\u202f", " ")
    assert "40,00 € TTC" in text
    assert "Geste commercial" in text
    left = {0: "Il reste 80,00 € à payer", 8000: "ne reste rien", 12000: "payé 40,00 € de trop"}
    assert left[paid] in text
    assert f"/factures/{credit.number}" in text
    assert [one.name for one in letter.attachments] == [f"mail6m-{credit.number}.pdf"]
    if paid:
        assert office.letters(DUE + timedelta(days=40)) == []
