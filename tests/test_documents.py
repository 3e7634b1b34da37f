"""Documents are made for what has been issued, once, and given to nobody else; and how to pay."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.threads import deferToThread

from mail6m.billing.document import pdf
from mail6m.billing.documents import Documents
from mail6m.billing.invoice import Draft, Invoice, Kind, with_nets
from mail6m.billing.transfer import asked, code, payload
from mail6m.cli.invoices import invoice_pdf
from mail6m.storage.documents import DocumentTable
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from mail6m.storage.pool import Pool
from tests.billed import BY_CHEQUE, CREDIT, DUCHEMIN, FIRST, SELLER, disc
from tests.reactor_thread import run
from tests.stored import ask, by, new_customer, new_pool


def issued(dsn: str, pool: Pool) -> Invoice:
    """Something of a new customer's that has been issued."""
    customer = new_customer()
    ask(dsn, "INSERT INTO contract VALUES (%s, '2026-01-01')", customer)
    lines = with_nets([disc(date(2026, 3, 12), f"D-{customer}")])
    draft = Draft(
        customer, Kind.INVOICE, date(2026, 4, 1), date(2026, 5, 1), SELLER, DUCHEMIN, lines,
        quarter=date(2026, 1, 1),
    )  # fmt: skip
    made = run(lambda: Invoices(pool).issue(by(customer), draft))
    assert made is not None
    return made


def made_by(pool: Pool) -> Documents:
    """As a process has it."""
    return Documents(Invoices(pool), DocumentTable(pool), deferToThread)


def test_what_is_issued_gets_a_document(dsn: str) -> None:
    """Each its own, once; the second look finds nothing to do."""
    with new_pool(dsn) as pool:
        made = made_by(pool)
        one, other = issued(dsn, pool), issued(dsn, pool)
        assert run(made.make_missing) >= 2
        for invoice in (one, other):
            assert run(lambda i=invoice: made.get(i.customer, i.number)) == pdf(invoice)
            standing = run(lambda i=invoice: Invoices(pool).get(i.customer, i.number))
            assert standing.documented
        assert run(made.make_missing) == 0


def test_a_credit_note_names_the_day_of_its_invoice(dsn: str) -> None:
    """It is known from what was issued (EN 16931, BT-26)."""
    with new_pool(dsn) as pool:
        invoice = issued(dsn, pool)
        lines = with_nets(replace(line, gross=-line.gross) for line in invoice.lines)
        draft = Draft(
            invoice.customer, Kind.CREDIT, date(2026, 4, 9), date(2026, 4, 9), SELLER, DUCHEMIN,
            lines, corrects=invoice.number, reason="disque illisible",
        )  # fmt: skip
        credit = run(lambda: Invoices(pool).issue(by(invoice.customer), draft))
        assert credit is not None
        assert credit.corrected_on == date(2026, 4, 1)


def test_two_at_it(dsn: str) -> None:
    """Of two processes that make the same documents at once, each is stored by one."""
    with new_pool(dsn) as one, new_pool(dsn) as two, ThreadPoolExecutor(2) as threads:
        run(made_by(one).make_missing)  # of what other tests have issued
        new = [issued(dsn, one) for _ in range(4)]
        counts = threads.map(lambda pool: run(made_by(pool).make_missing), (one, two))
        assert sum(counts) == len(new)
        rows = ask(dsn, "SELECT number FROM invoice_document WHERE customer_id = ANY (%s)",
                   [invoice.customer for invoice in new])  # fmt: skip
        assert sorted(number for (number,) in rows) == sorted(one.number for one in new)


def test_what_is_kept_stays(dsn: str) -> None:
    """A document that is there is given as it is, and no other takes its place."""
    with new_pool(dsn) as pool:
        invoice = issued(dsn, pool)
        table = DocumentTable(pool)
        assert run(lambda: table.store(invoice.customer, invoice.number, b"as it was sent"))
        assert not run(lambda: table.store(invoice.customer, invoice.number, b"another"))
        given = run(lambda: made_by(pool).get(invoice.customer, invoice.number))
        assert given == b"as it was sent"


def test_it_is_given_to_its_customer_only(dsn: str) -> None:
    """Another customer's number is none, before the document is made and after."""
    with new_pool(dsn) as pool:
        invoice, stranger = issued(dsn, pool), issued(dsn, pool)
        made = made_by(pool)
        for _ in range(2):
            with pytest.raises(Refused, match="there is no invoice"):
                run(lambda: made.get(stranger.customer, invoice.number))
            assert run(lambda: made.get(invoice.customer, invoice.number)).startswith(b"%PDF")


def test_one_that_fails_does_not_stop_the_others(dsn: str) -> None:
    """The others are made, and it is raised at the end."""
    with new_pool(dsn) as pool:
        bad, good = issued(dsn, pool), issued(dsn, pool)

        def unless_bad(work: Callable[[Invoice], bytes], invoice: Invoice) -> Awaitable[bytes]:
            if invoice.number == bad.number:
                raise ValueError("it cannot be set")
            return deferToThread(work, invoice)

        made = Documents(Invoices(pool), DocumentTable(pool), unless_bad)
        with pytest.raises(ValueError, match="it cannot be set"):
            run(made.make_missing)
        table = DocumentTable(pool)
        assert run(lambda: table.get(good.customer, good.number)) is not None
        assert run(lambda: table.get(bad.customer, bad.number)) is None


def test_the_command_prints_it(dsn: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """``mail6m invoice pdf``: nothing but the document, with ``--json`` too."""
    with new_pool(dsn) as pool:
        invoice = issued(dsn, pool)
        business = SimpleNamespace(invoices=Invoices(pool), documents=made_by(pool))
        foundation = SimpleNamespace(business=business)
        options = argparse.Namespace(number=invoice.number, json=True)
        run(lambda: invoice_pdf(cast(Any, foundation), options))
        assert capsysbinary.readouterr().out == pdf(invoice)
        assert not options.json


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {},
            ["AGRIFRPP", "Mail6M", "FR7630006000011234567890189", "EUR130.00", "", "RF3120260001"],
        ),
        ({"bic": ""}, ["", "Mail6M", "FR7630006000011234567890189"]),
        ({"iban": "fr76 3000 6000 0112 3456 7890 189"}, ["AGRIFRPP", "Mail6M", "FR7630006000"]),
    ],
)
def test_what_the_code_says(changes: dict[str, str], lines: list[str]) -> None:
    """EPC069-12, 3.2: one line for each element, in this order."""
    text = payload(replace(FIRST, seller=replace(SELLER, **changes)))
    assert text.startswith("\n".join(["BCD", "002", "1", "SCT", *lines]))
    assert len(text.split("\n")) == 10


@pytest.mark.parametrize("name", ["É" * 300, "株" * 300, "😀" * 300, "a\nBCD\n b"])
def test_a_long_name_fits_into_the_code(name: str) -> None:
    """70 characters, and 331 octets in all; and no name makes a line of its own."""
    party = replace(SELLER.party, name=name)
    one = replace(FIRST, seller=replace(SELLER, party=party))
    lines = payload(one).split("\n")
    assert len(lines) == 10
    assert len(lines[5]) <= 70
    assert len(payload(one).encode()) <= 331
    assert code(one).startswith("<svg")


def test_when_a_transfer_is_asked_for() -> None:
    """Of an invoice with something to pay, and an account to pay it to."""
    assert asked(FIRST)
    assert not asked(CREDIT)
    assert not asked(BY_CHEQUE)
    assert not asked(replace(FIRST, lines=FIRST.lines[:1]))
