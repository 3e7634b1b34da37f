"""Bank statements are read to the cent, whoever has written them; what they are for is found."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail6m.billing.matching import Matching, Payable, Verdict
from mail6m.billing.statement import LARGEST, Entry, Fault, NoStatement, read_statement
from tests.statements import camt, entry, french, transaction

REFERENCE = "RF1320260001"
INVOICES = Matching(
    [
        Payable("2026-0001", REFERENCE, 12000),
        Payable("2026-0002", "RF8320260002", 22500),
        Payable("2026-0003", "RF5620260003", 0),
        Payable("2026-1201", "RF7320261201", 12000),
    ]
)


def refused(octets: bytes) -> Fault:
    """Why a statement cannot be read."""
    with pytest.raises(NoStatement) as raised:
        read_statement(octets)
    return raised.value.fault


# CAMT.053


@pytest.mark.parametrize("version", [2, 4, 6, 8, 10])
def test_a_credit_in_every_version(version: int) -> None:
    """The namespace, the status and the debtor's place change from one to the next."""
    detail = transaction("Facture|2026-0001", name="Duchemin & fils", version=version)
    [read] = read_statement(camt(entry("120.00", detail, version=version), version=version))
    assert (read.amount, read.booked_on) == (12000, date(2026, 11, 2))
    assert (read.name, read.text) == ("Duchemin & fils", "Facture 2026-0001")


def test_what_is_no_credit_that_is_booked() -> None:
    """Debits, what is announced only, and a debit of ours that came back, are not ours to match."""
    reversal = "<RvslInd>true</RvslInd>"
    others = [entry(direction="DBIT"), entry(status="PDNG"), entry(more=reversal), entry("0.00")]
    assert read_statement(camt(*others)) == []
    assert len(read_statement(camt(*others, entry(more="<RvslInd>false</RvslInd>")))) == 1


@pytest.mark.parametrize("version", [2, 8])
def test_what_is_booked_together_is_split(version: int) -> None:
    """If its parts add up; each has its debtor, its text, and an identity of its own."""
    parts = [
        transaction("2026-0001", amount="120.00", name="Duchemin", version=version),
        transaction("2026-0002", amount="225.00", name="Vermeulen", version=version),
    ]
    first, second = read_statement(camt(entry("345.00", *parts, version=version), version=version))
    assert [(one.amount, one.name) for one in (first, second)] == [
        (12000, "Duchemin"),
        (22500, "Vermeulen"),
    ]
    assert first.source != second.source


@pytest.mark.parametrize(
    "other",
    [
        transaction("2026-0002", amount="224.99"),
        transaction("2026-0002"),
        transaction("2026-0002", amount="225.00", sign="DBIT", version=8),
    ],
)
def test_what_does_not_add_up_stays_together(other: str) -> None:
    """Nothing is lost of it, and somebody will look at it."""
    first = transaction("2026-0001", amount="120.00")
    [read] = read_statement(camt(entry("345.00", first, other)))
    assert read.amount == 34500
    assert "2026-0001 2026-0002" in read.text


def test_a_structured_reference() -> None:
    """It is bare of its spaces, and apart from the text."""
    detail = transaction(reference="RF13 2026 0001")
    [read] = read_statement(camt(entry("120.00", detail)))
    assert (read.reference, read.text) == (REFERENCE, "")


def test_an_entry_is_known_again_in_another_file() -> None:
    """A day's statement and the month's have the same; two that look the same are two."""
    day = camt(entry(), entry())
    month = camt(entry(day="2026-11-01"), entry(), entry(), entry(day="2026-11-03"))
    first, second = read_statement(day)
    assert first.source != second.source
    assert [one.source for one in read_statement(month)][1:3] == [first.source, second.source]
    [elsewhere] = read_statement(camt(entry(), account="FR7612345678901234567890112"))
    assert elsewhere.source not in (first.source, second.source)


@pytest.mark.parametrize(
    ("amount", "cents"),
    [("1", 100), ("0.1", 10), ("0.29", 29), ("1000000.01", 100000001), ("120.00000", 12000)],
)
def test_amounts_are_cents(amount: str, cents: int) -> None:
    """Whatever a float would make of them."""
    assert [one.amount for one in read_statement(camt(entry(amount)))] == [cents]


@pytest.mark.parametrize("amount", ["120.001", "1e3", "-5.00", "", "١٢", "9" * 14])
def test_no_amount(amount: str) -> None:
    """Nothing is guessed."""
    assert refused(camt(entry(amount))) is Fault.AMOUNT


def test_other_currencies_are_refused() -> None:
    """All of the statement: it is of another account."""
    assert refused(camt(entry(currency="CHF"))) is Fault.CURRENCY


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<Document><BkToCstmrStmt>&b;</BkToCstmrStmt></Document>"""
OUTSIDE = b"""<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Document>&a;</Document>"""


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (BOMB, Fault.NOT_XML),
        (OUTSIDE, Fault.NOT_XML),
        (b"<!DOCTYPE x SYSTEM 'http://attaque.test/x.dtd'><Document/>", Fault.NOT_XML),
        (b"<Document>", Fault.NOT_XML),
        (b'<?xml version="1.0" encoding="no-such"?><Document/>', Fault.NOT_XML),
        (b"<Document><BkToCstmrDbtCdtNtfctn/></Document>", Fault.NO_STATEMENT),
        (camt(entry(day="2026-02-30")), Fault.DATE),
        (camt(entry(day="")), Fault.DATE),
        (b" " * (LARGEST + 1), Fault.TOO_LARGE),
        (b"", Fault.NO_COLUMNS),
    ],
)
def test_what_is_no_statement(octets: bytes, fault: Fault) -> None:
    """XML that declares something, or is not XML, or is another message, or too large."""
    assert refused(octets) is fault


# CSV


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig"])
def test_a_french_export(encoding: str) -> None:
    """Credits alone; the lines in front of the headings, and sums below, are none."""
    lines = [
        "02/11/2026;02/11/2026;VIR SEPA DUCHEMIN;Facture n° 2026-0001;;120,00",
        "03/11/2026;03/11/2026;PRLV ÉLECTRICITÉ;;-80,12;",
        '04/11/26;04/11/26;"VIR; ""VERMEULEN""";RF83 2026 0002;;1 225,00',
        "Solde au 30/11/2026;;;;;12 345,67",
        ";;Total;;-80,12;1 345,00",
    ]
    first, second = read_statement(french(lines, encoding))
    assert (first.amount, first.booked_on) == (12000, date(2026, 11, 2))
    assert first.text == "VIR SEPA DUCHEMIN Facture n° 2026-0001"
    assert (second.amount, second.booked_on) == (122500, date(2026, 11, 4))
    assert second.text == 'VIR; "VERMEULEN" RF83 2026 0002'


def test_an_export_with_one_amount() -> None:
    """Signed, between commas, with dates as in ISO 8601, a name, and a currency."""
    text = (
        "Date,Montant(EUROS),Tiers,Motif,Devise\n"
        '2026-11-02,"+1.234,56",Duchemin,facture,EUR\n2026-11-02,-5.00,Bail,loyer,EUR\n'
    )
    [read] = read_statement(text.encode())
    assert (read.amount, read.name, read.text) == (123456, "Duchemin", "facture")
    assert refused(text.replace("facture,EUR", "facture,USD").encode()) is Fault.CURRENCY


@pytest.mark.parametrize(
    ("written", "cents"),
    [("120,00", 12000), ("1\u202f234,5", 123450), ("1,234.56 €", 123456), ("(3,00)", None)],
)
def test_amounts_as_they_are_written(written: str, cents: int | None) -> None:
    """In French, in English; what stands in brackets is a debit."""
    read = read_statement(f"Date;Montant\n2026-11-02;{written}\n".encode())
    assert [one.amount for one in read] == ([] if cents is None else [cents])


@pytest.mark.parametrize("written", ["1.234", "1,2,3", "12,345.6", "douze", "1.2345,00"])
def test_amounts_that_may_be_two(written: str) -> None:
    """Are refused, with their line."""
    with pytest.raises(NoStatement, match="line 2"):
        read_statement(f"Date;Montant\n2026-11-02;{written}\n".encode())


def test_the_same_line_twice_is_two() -> None:
    """And they are known again when the file is read again."""
    lines = ["02/11/2026;02/11/2026;VIREMENT;;;120,00"] * 2
    first, second = [one.source for one in read_statement(french(lines))]
    assert first != second
    assert [one.source for one in read_statement(french([*lines, *lines]))][:2] == [first, second]


@given(st.binary(max_size=400))
def test_any_octets(octets: bytes) -> None:
    """Are read, or refused, and nothing else happens."""
    for told in (octets, b"<" + octets, b"Date;Credit;Libelle\n" + octets):
        try:
            read_statement(told)
        except NoStatement:
            continue


@given(
    st.lists(
        st.tuples(
            st.integers(1, 10**9),
            st.dates(date(2000, 1, 1), date(2099, 12, 31)),
            st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60),
        ),
        max_size=8,
    )
)
def test_what_is_written_is_read(rows: list[tuple[int, date, str]]) -> None:
    """Every credit, to the cent, by either kind of file; each has an identity of its own."""
    entries = [
        entry(f"{cents // 100}.{cents % 100:02d}", transaction(text.replace("|", "")), day=str(day))
        for cents, day, text in rows
    ]
    lines = [
        f'{day:%d/%m/%Y};;"{text.replace(chr(34), "")}";;;{cents // 100},{cents % 100:02d}'
        for cents, day, text in rows
    ]
    for octets in (camt(*entries), french(lines, "utf-8")):
        read = read_statement(octets)
        assert [(one.amount, one.booked_on) for one in read] == [row[:2] for row in rows]
        assert len({one.source for one in read}) == len(rows)


# What it is for


def matched(text: str, amount: int, reference: str = "") -> tuple[Verdict, dict[str, int]]:
    """What is made of an entry."""
    match = INVOICES.of(Entry("x", date(2026, 11, 2), amount, "", text, reference))
    return match.verdict, dict(match.shares)


@pytest.mark.parametrize(
    "text",
    [
        "2026-0001",
        "VIR facture no2026-0001.",
        "facture 2026 0001 du 1/10",
        "FA20260001",
        "2026 - 0001/Duchemin",
        "rf13 2026 0001",
        "/RFB/RF1320260001 merci",
        "Rf13-2026-0001",
    ],
)
def test_a_number_or_a_reference_however_it_is_written(text: str) -> None:
    """It is what is to be paid, to the cent."""
    assert matched(text, 12000) == (Verdict.MATCHED, {"2026-0001": 12000})


def test_a_reference_of_its_own() -> None:
    """It counts more than what the text names."""
    expected = (Verdict.MATCHED, {"2026-0001": 12000})
    assert matched("2026-0002", 12000, REFERENCE) == expected


@pytest.mark.parametrize(
    "text", ["", "merci", "12026-0001", "2026-00012", "20260001234", "2026-12-01", "2026 et 0001",
             "RF1420260001x", "Duchemin 120,00"]
)  # fmt: skip
def test_nothing_is_named(text: str) -> None:
    """A part of another number is none, and neither is a date."""
    assert matched(text, 12000) == (Verdict.UNKNOWN, {})


def test_another_amount() -> None:
    """A part is certain by the reference alone; more than is to be paid never is."""
    assert matched(REFERENCE, 5000) == (Verdict.PART, {"2026-0001": 5000})
    assert matched("2026-0001", 5000) == (Verdict.OTHER_AMOUNT, {"2026-0001": 0})
    assert matched(REFERENCE, 12001) == (Verdict.OTHER_AMOUNT, {"2026-0001": 0})
    assert matched("2026-0003", 12000) == (Verdict.OTHER_AMOUNT, {"2026-0003": 0})


def test_several() -> None:
    """Certain only if they are paid together, to the cent."""
    both = {"2026-0001": 12000, "2026-0002": 22500}
    assert matched("2026-0001 et 2026-0002", 34500) == (Verdict.MATCHED, both)
    assert matched("2026-0001, 2026-0002", 34500) == (Verdict.MATCHED, both)
    assert matched("2026-0001 et 2026-0002", 12000)[0] is Verdict.AMBIGUOUS
    assert matched("2026-0001 et 2026-0003", 12000)[0] is Verdict.AMBIGUOUS


@given(st.text(max_size=200), st.integers(1, 10**6))
def test_any_text(text: str, amount: int) -> None:
    """Only what is certain has a share, and never of more than came in."""
    verdict, shares = matched(text, amount)
    assert sum(shares.values()) <= amount
    assert any(shares.values()) == (verdict in (Verdict.MATCHED, Verdict.PART))
