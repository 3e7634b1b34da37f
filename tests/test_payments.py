"""Payments: what is recorded, by whom, once; and what is made of a bank's statement."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg2.errors
import pytest
from twisted.internet.defer import DeferredList, ensureDeferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool

from mail6m.billing import recognition
from mail6m.billing.invoice import Invoice
from mail6m.billing.matching import Verdict
from mail6m.billing.payments import Bookkeeping, Imported, Twice
from mail6m.billing.recognition import ByHand
from mail6m.billing.statement import NoStatement, bare
from mail6m.model import HOUSE
from mail6m.storage.audit import By
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from mail6m.storage.payments import Method, Payment, Payments
from mail6m.storage.pool import Pool
from tests.billed import a_credit, an_invoice
from tests.reactor_thread import run, the_reactor
from tests.statements import camt, entry, transaction
from tests.stored import ask, new_database, new_pool

TODAY = date(2026, 12, 1)
NOW = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)  # in Paris it is December
BOOKKEEPER = By(HOUSE, "compta@mail6m.test", "192.0.2.9")


@dataclass
class Office:
    """Where payments are recorded, on the first of December."""

    dsn: str
    pool: Pool
    payments: Payments
    invoices: Invoices
    book: Bookkeeping

    def invoice(self, cents: int = 4000) -> Invoice:
        """One to be paid, of three times so much."""
        return an_invoice(self.dsn, self.pool, cents=cents)

    def record(
        self,
        invoice: Invoice,
        cents: int,
        on: date = TODAY,
        method: Method = Method.CHEQUE,
    ) -> int:
        """A cheque, if nothing else is said; what is to be paid then."""
        record = self.book.record
        return run(lambda: record(BOOKKEEPER, invoice.number, cents, method, on, "0000123")).balance

    def bring_file(self, octets: bytes) -> Imported:
        """A statement is imported."""
        return run(lambda: self.book.import_statement(BOOKKEEPER, octets))

    def bring(self, *entries: str) -> Imported:
        """A statement is imported."""
        return run(lambda: self.book.import_statement(BOOKKEEPER, camt(*entries)))

    def balance(self, invoice: Invoice) -> int:
        """What is still to be paid."""
        return run(lambda: self.invoices.get(invoice.customer, invoice.number)).balance

    def of(self, invoice: Invoice) -> list[Payment]:
        """Its payments."""
        return run(lambda: self.payments.of(invoice.customer, invoice.number))

    def audit(self, customer: int) -> list[tuple[str, str, str]]:
        """Who did what to a customer's, but for issuing."""
        rows = "SELECT account, act, object FROM audit WHERE customer_id = %s AND account LIKE %s"
        return ask(self.dsn, rows + " ORDER BY audit_id", customer, "compta%")


@pytest.fixture
def office(database: str) -> Iterator[Office]:
    """With a database of its own: a statement may name any invoice that there is."""
    dsn, reactor = new_database(database), the_reactor()
    with new_pool(dsn) as pool:
        payments, invoices = Payments(pool), Invoices(pool)

        def in_thread(work, *given):  # type: ignore[no-untyped-def]
            return deferToThreadPool(reactor, reactor.getThreadPool(), work, *given)

        yield Office(
            dsn, pool, payments, invoices, Bookkeeping(payments, invoices, in_thread, lambda: NOW)
        )


def test_a_cheque(office: Office) -> None:
    """It pays the invoice, says who has recorded it, and stands in the customer's audit."""
    invoice = office.invoice()
    assert office.record(invoice, 5000) == 7000
    assert office.record(invoice, 7000) == 0
    first, second = office.of(invoice)
    assert (first.amount, first.method, first.reference) == (5000, Method.CHEQUE, "0000123")
    assert (second.recorded_by, second.source) == ("compta@mail6m.test", None)
    said = [("compta@mail6m.test", "payment recorded", f"{invoice.number} {euros}")
            for euros in ("50.00", "70.00")]  # fmt: skip
    assert office.audit(invoice.customer) == said
    assert office.audit(HOUSE) == []


def test_a_form_sent_twice_at_once(office: Office) -> None:
    """Is one payment, whichever of the two comes first; for another invoice it is another."""
    invoice, other = office.invoice(), office.invoice()

    def record(number: str, cents: int = 5000) -> Any:
        given = (BOOKKEEPER, number, cents, Method.CHEQUE, TODAY, "7", "a-word-for-it-alone")
        return ensureDeferred(office.book.record(*given))

    async def both() -> list[tuple[bool, Any]]:
        return await DeferredList(
            [record(invoice.number) for _ in range(2)], consumeErrors=True
        )  # fmt: skip

    (_, one), (_, two) = sorted(run(both), reverse=True, key=lambda result: result[0])
    assert one.balance == 7000
    assert two.check(Twice)
    assert two.value.same
    assert len(office.of(invoice)) == 1
    with pytest.raises(Twice) as raised:
        run(lambda: record(invoice.number, 4000))
    assert not raised.value.same
    assert run(lambda: record(other.number)).balance == 7000


def test_more_than_is_to_be_paid(office: Office) -> None:
    """It came in, so it is recorded, and the balance says that it is too much."""
    assert office.record(office.invoice(), 12500) == -500


def test_what_cannot_be_recorded(office: Office) -> None:
    """Nothing, what is yet to come, for an invoice that is not there, or for a credit note."""
    invoice = office.invoice()
    credit = a_credit(office.pool, invoice)
    for number, cents, on, why in (
        (invoice.number, 0, TODAY, "more than nothing"),
        (invoice.number, -100, TODAY, "more than nothing"),
        (invoice.number, 100, date(2026, 12, 2), "yet to come"),
        ("2026-9999", 100, TODAY, "no invoice"),
        (credit.number, 100, TODAY, "credit note"),
    ):
        with pytest.raises(Refused, match=why):
            run(
                lambda n=number, c=cents, on=on: office.book.record(
                    BOOKKEEPER, n, c, Method.TRANSFER, on
                )
            )
    assert office.of(invoice) == []
    assert office.balance(invoice) == 8000


def test_a_mistake_is_taken_back_once(office: Office) -> None:
    """By a payment of its own that says why; neither is ever changed or deleted."""
    invoice, other = office.invoice(), office.invoice()
    office.record(invoice, 5000)
    [wrong] = office.of(invoice)

    def take_back(payment: int = wrong.id, reason: str = "Autre client") -> None:
        run(lambda: office.book.take_back(BOOKKEEPER, invoice.number, payment, reason))

    with pytest.raises(Refused, match="why"):
        take_back(reason=" ")
    take_back()
    with pytest.raises(Refused, match="already"):
        take_back()
    first, second = office.of(invoice)
    assert first.taken_back
    assert (second.amount, second.reference, second.received_on) == (-5000, "Autre client", TODAY)
    assert office.balance(invoice) == 12000
    assert office.audit(invoice.customer)[-1][1:] == (
        "payment taken back",
        f"{invoice.number} -50.00",
    )
    with pytest.raises(Refused, match="no such payment"):
        take_back(second.id)
    office.record(invoice, 5000, method=Method.PAYPAL)
    with pytest.raises(Refused, match="at PayPal"):
        take_back(office.of(invoice)[-1].id)
    with pytest.raises(Refused, match="no such payment"):
        run(lambda: office.book.take_back(BOOKKEEPER, other.number, first.id, "non"))
    for statement in ("UPDATE payment SET amount = 1", "DELETE FROM payment"):
        with pytest.raises(psycopg2.errors.RestrictViolation, match="take it back"):
            ask(office.dsn, statement)


# Statements


def test_a_statement(office: Office) -> None:
    """What is certain is recorded, the rest waits; imported twice, it changes nothing."""
    exact, part, other = office.invoice(), office.invoice(7500), office.invoice(10000)
    entries = [
        entry("120.00", transaction(f"facture {exact.number}", name="Duchemin"), bank="1"),
        entry("100.00", transaction(reference=part.reference), bank="2"),
        entry("99.99", transaction(f"facture {other.number}"), bank="3"),
        entry("15.00", transaction("merci"), bank="4"),
        entry("9.99", direction="DBIT"),
    ]
    assert office.bring(*entries) == Imported(4, 0, 2, 2)
    assert [office.balance(one) for one in (exact, part, other)] == [0, 12500, 30000]
    [payment] = office.of(exact)
    assert (payment.method, payment.received_on) == (Method.TRANSFER, date(2026, 11, 2))
    assert payment.reference == f"facture {exact.number}"
    assert office.audit(exact.customer)[-1][1:] == ("payment recorded", f"{exact.number} 120.00")
    named, unknown = sorted(run(lambda: office.payments.waiting(10)), key=lambda kept: kept.verdict)
    named, unknown = (named, unknown) if named.named else (unknown, named)
    assert (named.verdict, named.named, named.left) == (
        Verdict.OTHER_AMOUNT,
        (other.number,),
        9999,
    )
    assert (unknown.verdict, unknown.entry.text) == (Verdict.UNKNOWN, "merci")
    rows = ask(office.dsn, "SELECT count(*) FROM payment")
    assert office.bring(*entries, entry("1.00", bank="5")) == Imported(5, 4, 0, 1)
    assert ask(office.dsn, "SELECT count(*) FROM payment") == rows


def test_paid_twice(office: Office) -> None:
    """The second transfer of one statement, or of another, waits: it is too much."""
    invoice = office.invoice()
    twice = [entry("120.00", transaction(invoice.number), bank=bank) for bank in "123"]
    assert office.bring(*twice[:2]) == Imported(2, 0, 1, 1)
    assert office.bring(*twice) == Imported(3, 2, 0, 1)
    assert office.balance(invoice) == 0


def test_one_transfer_for_two_invoices(office: Office) -> None:
    """To the cent, each is paid; the parts are of one entry."""
    one, other = office.invoice(), office.invoice(7500)
    text = transaction(f"{one.number} et {other.number}")
    assert office.bring(entry("345.00", text)) == Imported(1, 0, 1, 0)
    assert (office.balance(one), office.balance(other)) == (0, 0)


def test_nothing_is_kept_of_what_cannot_be_read(office: Office) -> None:
    """Not even what stands before the mistake."""
    with pytest.raises(NoStatement):
        office.bring(entry("120.00"), entry("1.00", currency="USD"))
    assert ask(office.dsn, "SELECT FROM statement_entry") == []


# Statements that overlap


def test_two_processes_import_at_once(office: Office) -> None:
    """What the other one has kept since is seen: it is counted once, and the rest is kept."""
    invoice, other = office.invoice(), office.invoice()
    line = f"02/11/2026;VIR {invoice.reference};40,00"
    more = f"02/11/2026;VIR {other.reference};40,00"
    wide = exported(WIDE, f"40,00;X1;merci;;02/11/2026;VIR {invoice.reference};2,00")
    overtaken = []

    class Slow(Payments):
        async def by_hand(self, first: date, last: date) -> list[ByHand]:
            if not overtaken:
                overtaken.append(await office.book.import_statement(BOOKKEEPER, wide))
            return await super().by_hand(first, last)

    book = Bookkeeping(Slow(office.pool), office.invoices, maybeDeferred, lambda: NOW)
    file = exported(NARROW, more, line)
    assert run(lambda: book.import_statement(BOOKKEEPER, file)) == Imported(2, 1, 1, 0)
    assert overtaken == [Imported(1, 0, 1, 0)]
    assert [office.balance(one) for one in (invoice, other)] == [8000, 8000]


def exported(headings: str, *lines: str) -> bytes:
    """A CSV."""
    return "\n".join([headings, *lines, ""]).encode()


def verdicts(office: Office) -> list[Verdict]:
    """Why entries wait."""
    return [kept.verdict for kept in run(lambda: office.payments.waiting(10))]


NARROW = "Date;Libellé;Montant"
REFERRED = "Date;Libellé;Montant;Référence"
WIDE = "Montant;Identifiant;Détail;Tiers;Date;Libellé;Solde"


def test_columns_that_change_change_no_entry(office: Office) -> None:
    """In another order, or with more of them or fewer: known, whichever came first."""
    one, other = office.invoice(), office.invoice()
    narrow = exported(
        NARROW,
        f"02/11/2026;VIR {one.reference};40,00",
        f"2026-11-02;Vir  {other.reference};40,00",
    )
    wide = exported(
        WIDE,
        f"40,00;X2;;Duchemin;02/11/2026;VIR {other.reference};1,00",
        f"40,00;X1;merci;;02/11/2026;VIR {one.reference};2,00",
    )
    assert office.bring_file(narrow) == Imported(2, 0, 2, 0)
    for again in (wide, narrow, wide):
        assert office.bring_file(again) == Imported(2, 2, 0, 0)
    third = office.invoice()
    line = f"40,00;X3;merci;;02/11/2026;VIR {third.reference};2,00"
    assert office.bring_file(exported(WIDE, line)) == Imported(1, 0, 1, 0)
    line = f"02/11/2026;VIR {third.reference};40,00"
    assert office.bring_file(exported(NARROW, line)) == Imported(1, 1, 0, 0)
    assert [office.balance(each) for each in (one, other, third)] == [8000] * 3


def test_equal_lines_are_as_many_as_one_file_has(office: Office) -> None:
    """Two in a file are two, and in another file they are the same two; a third is one more."""
    invoice = office.invoice()
    line = f"02/11/2026;VIR {invoice.reference};10,00"
    wide = f"10,00;;merci;;02/11/2026;VIR {invoice.reference};2,00"
    for file, recorded in (
        (exported(NARROW, line, line), 2),
        (exported(NARROW, line), 0),
        (exported(WIDE, wide, wide), 0),
        (exported(WIDE, wide, wide, wide), 1),
        (exported(NARROW, line, line, line), 0),
    ):
        assert office.bring_file(file).recorded == recorded
    assert office.balance(invoice) == 12000 - 3000
    assert verdicts(office) == []


def test_what_differs_in_a_column_is_another(office: Office) -> None:
    """However alike the others are: nothing that came in is left out."""
    invoice = office.invoice()
    lines = [f"02/11/2026;VIREMENT RECU;10,00;{invoice.reference} {who}" for who in ("A", "B")]
    assert office.bring_file(exported(NARROW + ";Motif", lines[0])).recorded == 1
    office.bring_file(exported(NARROW + ";Motif", lines[1]))
    assert verdicts(office) == [Verdict.PERHAPS], "it has come alone, so it is asked for"
    assert office.bring_file(exported(NARROW + ";Motif", *lines)) == Imported(2, 2, 0, 0)
    both = [line.replace("02/11", "12/11") for line in lines]
    assert office.bring_file(exported(NARROW + ";Motif", *both)).recorded == 2


@pytest.mark.parametrize("named_first", [True, False])
def test_one_that_says_its_invoice_and_one_that_does_not(office: Office, named_first: bool) -> None:
    """May be two transfers of one payer's: the second waits for somebody, and neither is lost."""
    invoice = office.invoice()
    lines = ["02/11/2026;VIR INST DUPONT;27,00;", "02/11/2026;VIR INST DUPONT;27,00;"]
    lines[0 if named_first else 1] += invoice.number
    for line in lines:
        assert office.bring_file(exported(REFERRED, line)) == Imported(1, 0, 0, 1)
    assert Verdict.PERHAPS in verdicts(office)
    assert len(verdicts(office)) == 2
    assert office.bring_file(exported(REFERRED, *lines)) == Imported(2, 2, 0, 0)


def test_many_are_compared_without_holding_anybody_up(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread, and each of them is read a few times, not once for each of the others."""
    read: list[int] = []

    def counted(text: str) -> str:
        read.append(threading.get_ident())
        return bare(text)

    lines = [f"02/11/2026;VIR DUPONT {number};10,00;" for number in range(40)]
    office.bring_file(exported(REFERRED, *lines))
    monkeypatch.setattr(recognition, "bare", counted)
    wide = [line + "merci" for line in reversed(lines)]
    assert office.bring_file(exported(REFERRED, *wide)) == Imported(40, 40, 0, 0)

    async def here() -> int:
        return threading.get_ident()

    assert len(read) < 10 * len(lines)
    assert run(here) not in read


@pytest.mark.parametrize("day", ["02/11/2026", "04/11/2026"])
@pytest.mark.parametrize("camt_first", [True, False])
def test_the_same_account_as_camt_and_as_csv(office: Office, camt_first: bool, day: str) -> None:
    """The second word of a transfer waits, even of a part; what only one file has is recorded."""
    invoice, other = office.invoice(), office.invoice()
    xml = camt(entry("40.00", transaction(reference=invoice.reference, name="Duchemin")))
    line = f"{day};VIR SEPA DUCHEMIN {invoice.reference};40,00"
    more = f"{day};VIR SEPA {other.reference};40,00"
    text = exported(NARROW, line, more)
    first, second = (xml, text) if camt_first else (text, xml)
    assert office.bring_file(first).waiting == 0
    assert office.bring_file(second) == Imported(*((2, 0, 1, 1) if camt_first else (1, 0, 0, 1)))
    assert (office.balance(invoice), office.balance(other)) == (8000, 8000)
    assert verdicts(office) == [Verdict.PERHAPS]
    for again in (first, second):
        imported = office.bring_file(again)
        assert imported.known == imported.entries
    assert office.balance(invoice) == 8000


def test_the_banks_own_reference_is_the_same_in_both(office: Office) -> None:
    """Then nobody has to look; but of a reference that all share, texts say whose it is."""
    invoice, other = office.invoice(), office.invoice()
    detail = transaction(reference=invoice.reference, name="Duchemin")
    assert office.bring(entry("40.00", detail, bank="B1")).recorded == 1
    line = f"40,00;B1;;Duchemin;02/11/2026;VIR {invoice.reference};2,00"
    assert office.bring_file(exported(WIDE, line)) == Imported(1, 1, 0, 0)
    shared = transaction(reference=other.reference, name="Vermeulen")
    assert office.bring(entry("40.00", shared, bank="B1")).recorded == 1
    assert (office.balance(invoice), office.balance(other)) == (8000, 8000)


def test_two_transfers_with_references_of_their_own(office: Office) -> None:
    """Are two, though the second comes in another file and says the same."""
    invoice = office.invoice()
    detail = transaction(reference=invoice.reference)
    for bank in "12":
        assert office.bring(entry("40.00", detail, bank=bank)).recorded == 1
    assert office.balance(invoice) == 4000


def test_what_was_recorded_by_hand_first(office: Office) -> None:
    """Is not counted again when the bank says it; unless it has been taken back."""
    invoice = office.invoice()
    office.record(invoice, 4000, date(2026, 11, 3), Method.TRANSFER)
    [wrong] = office.of(invoice)
    detail = transaction(reference=invoice.reference)
    assert office.bring(entry("40.00", detail, bank="1")).waiting == 1
    assert verdicts(office) == [Verdict.PERHAPS]
    assert office.bring(entry("40.00", detail, bank="2", day="2026-11-09")).recorded == 1
    run(lambda: office.book.take_back(BOOKKEEPER, invoice.number, wrong.id, "Deux fois"))
    assert office.bring(entry("40.00", detail, bank="3")).recorded == 1
    assert office.balance(invoice) == 4000


def test_entries_that_were_kept_in_another_form(office: Office) -> None:
    """Before their pieces were: they are known by their words."""
    invoice = office.invoice()
    line = f"40,00;;merci;Duchemin;02/11/2026;VIR {invoice.reference};2,00"
    office.bring_file(exported(WIDE, line))
    ask(
        office.dsn,
        "UPDATE statement_entry SET source = 'csv:old', said = array_remove("
        "ARRAY[name, text, reference], '')",
    )
    assert office.bring_file(exported(WIDE, line)) == Imported(1, 1, 0, 0)


def test_what_waits_is_assigned(office: Office) -> None:
    """In parts, each to an invoice, never more than came in; then it waits no more."""
    one, other = office.invoice(), office.invoice(7500)
    office.bring(entry("130.00", transaction("deux factures")))
    [kept] = run(lambda: office.payments.waiting(10))
    source = kept.entry.source
    assign = office.book.assign
    assert run(lambda: assign(BOOKKEEPER, source, one.number, 12000)).balance == 0
    assert [kept.left for kept in run(lambda: office.payments.waiting(10))] == [1000]
    with pytest.raises(Refused, match="not left"):
        run(lambda: assign(BOOKKEEPER, source, other.number, 1001))
    with pytest.raises(Refused, match="more than nothing"):
        run(lambda: assign(BOOKKEEPER, source, other.number, 0))
    with pytest.raises(Refused, match="not left"):
        run(lambda: assign(BOOKKEEPER, "camt:none", other.number, 1))
    assert run(lambda: assign(BOOKKEEPER, source, other.number, 1000)).balance == 21500
    assert run(lambda: office.payments.waiting(10)) == []
    assert office.audit(one.customer)[-1][1:] == ("payment recorded", f"{one.number} 120.00")


def test_what_was_assigned_wrongly_waits_again(office: Office) -> None:
    """When it is taken back; and can be assigned to the same invoice after all."""
    invoice = office.invoice()
    office.bring(entry("120.00", transaction(invoice.number)))
    [payment] = office.of(invoice)
    run(lambda: office.book.take_back(BOOKKEEPER, invoice.number, payment.id, "Pas lui"))
    [kept] = run(lambda: office.payments.waiting(10))
    assert kept.left == 12000
    again = run(lambda: office.book.assign(BOOKKEEPER, kept.entry.source, invoice.number, 12000))
    assert again.balance == 0
    assert sorted(one.amount for one in office.of(invoice)) == [-12000, 12000, 12000]


def test_what_is_for_no_invoice_is_put_aside(office: Office) -> None:
    """With a reason; it can be taken up again, and is not assigned meanwhile."""
    invoice = office.invoice()
    office.bring(entry("120.00", transaction("remboursement")))
    [kept] = run(lambda: office.payments.waiting(10))
    source = kept.entry.source
    assert run(lambda: office.payments.put_aside(BOOKKEEPER, source, "Assurance"))
    assert not run(lambda: office.payments.put_aside(BOOKKEEPER, source, "Assurance"))
    assert run(lambda: office.payments.waiting(10)) == []
    assert [one.aside for one in run(lambda: office.payments.aside(10))] == ["Assurance"]
    with pytest.raises(Refused):
        run(lambda: office.book.assign(BOOKKEEPER, source, invoice.number, 100))
    assert run(lambda: office.payments.take_up(BOOKKEEPER, source))
    assert [one.entry.source for one in run(lambda: office.payments.waiting(10))] == [source]
    assert [act for _, act, _ in office.audit(HOUSE)] == [
        "statement entry put aside",
        "statement entry taken up",
    ]
