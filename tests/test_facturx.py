"""The XML of an invoice: right by official schema and rules, and it says what the invoice says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from lxml import etree

from mail6m.billing.facturx import country_code, xml
from mail6m.billing.invoice import Invoice, Kind
from mail6m.billing.money import plain
from mail6m.billing.wording import whole_period
from tests.billed import (
    BY_CHEQUE,
    CREDIT,
    DUCHEMIN,
    FIRST,
    LONG,
    SELLER,
    disc,
    invoice,
    invoices,
    month,
)
from tests.validators import (
    EN_16931,
    FRENCH,
    RULES,
    Validators,
    assert_valid_by_schema,
    validators,
)

NAMESPACES = {
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
}
EXAMPLES = {"first": FIRST, "long": LONG, "credit": CREDIT, "by cheque": BY_CHEQUE}


@pytest.fixture(scope="module")
def others() -> Iterator[Validators]:
    """Other eyes."""
    with validators() as found:
        yield found


def said(document: bytes, path: str) -> list[str]:
    """The texts at a path."""
    root: Any = etree.fromstring(document)
    return [element.text for element in root.findall(f".//{path}", NAMESPACES)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_official_rules(others: Validators, name: str) -> None:
    """Schema and schematron of Factur-X find nothing, nor do France's own rules of B2B invoices."""
    document = xml(EXAMPLES[name])
    assert_valid_by_schema(document)
    assert others.schematron(document) == []
    known = [] if EXAMPLES[name].buyer.email else ["BR-FR-12/BT-49"]  # it has no address at all
    assert [fault.split(" ")[0] for fault in others.schematron(document, FRENCH)] == known


@settings(max_examples=25, deadline=None)
@given(one=invoices())
def test_any_invoice(others: Validators, one: Invoice) -> None:
    """Whatever is sold, at whatever rates, to whomever: by the rules, and the sums are ours."""
    document = xml(one)
    assert_valid_by_schema(document)
    assert others.schematron(document) == []
    assert_sums(document, one)


def assert_sums(document: bytes, one: Invoice) -> None:
    """Each sum is the invoice's; what is taken back is positive in a credit note."""
    sign = -1 if one.kind is Kind.CREDIT else 1
    total = "ram:SpecifiedTradeSettlementHeaderMonetarySummation/ram:"
    net = plain(sign * one.net)
    assert said(document, f"{total}LineTotalAmount") == [net]
    assert said(document, f"{total}TaxTotalAmount") == [plain(sign * one.vat)]
    assert said(document, f"{total}GrandTotalAmount") == [plain(sign * (one.net + one.vat))]
    assert said(document, f"{total}DuePayableAmount") == [plain(sign * one.gross)]
    rounding = said(document, f"{total}RoundingAmount")
    assert rounding == ([plain(sign * one.rounding)] if one.rounding else [])
    line = "ram:SpecifiedTradeSettlementLineMonetarySummation/ram:LineTotalAmount"
    assert said(document, line) == [plain(sign * one_line.net) for one_line in one.lines]


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("<ram:DuePayableAmount>130.00<", "<ram:DuePayableAmount>130.01<", "BR-CO-16"),
        ("<ram:GrandTotalAmount>130.00<", "<ram:GrandTotalAmount>130.10<", "BR-CO-15"),
        ("<ram:LineTotalAmount>62.50<", "<ram:LineTotalAmount>62.51<", "BR-CO-10"),
        ("<ram:RateApplicablePercent>20<", "<ram:RateApplicablePercent>0<", "BR-S-05"),
        ("<ram:CountryID>FR<", "<ram:CountryID>FX<", "Value of 'ram:CountryID' is not allowed"),
        ("<ram:TypeCode>58<", "<ram:TypeCode>5x<", "Value of 'ram:TypeCode' is not allowed"),
    ],
)
def test_the_rules_are_looked_at(others: Validators, right: str, wrong: str, rule: str) -> None:
    """A sum that is wrong by a cent, a number that is missing, a code that is none: it is seen."""
    document = xml(FIRST).decode()
    assert right in document
    faults = others.schematron(document.replace(right, wrong).encode())
    assert any(rule in fault for fault in faults), faults


def test_the_schema_is_looked_at() -> None:
    """A document without a type is none."""
    document = xml(FIRST).replace(b"<ram:TypeCode>380</ram:TypeCode>", b"")
    with pytest.raises(Exception, match="not valid against the official"):
        assert_valid_by_schema(document)


def test_the_french_rules_are_looked_at(others: Validators) -> None:
    """An invoice that says nothing of discounts."""
    document = xml(FIRST).replace(b"<ram:SubjectCode>AAB<", b"<ram:SubjectCode>AAI<")
    assert any("BR-FR-05" in fault for fault in others.schematron(document, FRENCH))


def test_what_it_says() -> None:
    """Parties, number, days, period, lines and the account, each in its place."""
    document = xml(FIRST)
    assert said(document, "rsm:ExchangedDocument/ram:ID") == ["2026-0001"]
    assert said(document, "rsm:ExchangedDocument/ram:TypeCode") == ["380"]
    assert said(document, "ram:SpecifiedTradeProduct/ram:Name") == [
        "Tiroir, 2\u00a0Go – janvier\u00a02026, mois offert",
        "Tiroir, 2\u00a0Go – février\u00a02026",
        "Malle, 5\u00a0Go – mars\u00a02026",
        "DVD n°\u00a0M6M-000012-0003, envoyé le 12\u00a0mars\u00a02026",
    ]
    assert said(document, "ram:NetPriceProductTradePrice/ram:ChargeAmount") == [
        *("0.00", "33.33", "62.50", "12.50")
    ]
    assert said(document, "ram:SellerTradeParty/ram:Name") == ["Mail6M"]
    assert said(document, "ram:BuyerTradeParty/ram:Name") == ["Duchemin"]
    identifiers = "ram:SpecifiedTaxRegistration/ram:ID"
    assert said(document, identifiers) == ["FR06484373378", "FR44732829320"]
    assert said(document, "ram:SpecifiedLegalOrganization/ram:ID") == ["484373378", "732829320"]
    assert said(document, "ram:IBANID") == ["FR7630006000011234567890189"]
    assert said(document, "ram:BICID") == ["AGRIFRPP"]
    assert said(document, "ram:PaymentReference") == ["RF3120260001"]
    settlement = "ram:ApplicableHeaderTradeSettlement/ram:BillingSpecifiedPeriod"
    root: Any = etree.fromstring(document)
    days = ["".join(one.itertext()).strip() for one in root.find(f".//{settlement}", NAMESPACES)]
    assert days == ["20260101", "20260331"]


def test_a_credit_note() -> None:
    """Type 381; it names the invoice and its day, and nobody is asked to pay it."""
    document = xml(CREDIT)
    assert said(document, "rsm:ExchangedDocument/ram:TypeCode") == ["381"]
    corrected = "ram:InvoiceReferencedDocument/ram:IssuerAssignedID"
    assert said(document, corrected) == ["2026-0001"]
    assert b">20260401</qdt:DateTimeString>" in document
    assert said(document, "ram:IBANID") == said(document, "ram:DueDateDateTime") == []


def test_rounding(others: Validators) -> None:
    """A cent between net with taxes and the price is BT-114, and right by the rules."""
    one = invoice(disc(date(2026, 3, 1), gross=9))
    document = xml(one)
    assert others.schematron(document) == []
    assert_sums(document, one)
    assert said(document, "ram:RoundingAmount") == ["-0.01"]


def test_without_vat(others: Validators) -> None:
    """At a rate of 0 it says why, and is right by the rules."""
    lines = tuple(replace(line, vat=0, net=line.gross) for line in FIRST.lines)
    document = xml(replace(FIRST, lines=lines))
    assert others.schematron(document) == []
    assert said(document, "ram:ExemptionReasonCode") == ["VATEX-FR-FRANCHISE"]


def test_what_xml_has_no_place_for() -> None:
    """Control characters of a name are left out; nothing else of it is."""
    odd = replace(DUCHEMIN, name="Du\x0bche\x07min\ufffe\n& <Fils> 株式会社")
    name = said(xml(replace(FIRST, buyer=odd)), "ram:BuyerTradeParty/ram:Name")
    assert name == ["Du chemin & <Fils> 株式会社"]


@pytest.mark.parametrize(
    ("typed", "code"),
    [("France", "FR"), ("fr", "FR"), (" belgique ", "BE"), ("Germany", "DE"), ("ALLEMAGNE", "DE"),
     ("États-Unis", "US"), ("Nulle part", ""), ("", ""), ("UN", ""), ("EU", "")],
)  # fmt: skip
def test_countries(typed: str, code: str) -> None:
    """A country is known by its two letters, or by its name in French or English."""
    assert country_code(typed) == code


def test_every_country_is_one_of_the_rules() -> None:
    """No code of ours is unknown to the list that the rules have (ISO 3166-1)."""
    codes = etree.parse(RULES / EN_16931.parent / f"{EN_16931.stem}_codedb.xml").getroot()
    lists = [{one.get("value") for one in codelist} for codelist in codes.findall("cl")]
    (countries,) = [values for values in lists if {"FR", "DE", "US", "ZW"} <= values]
    ours = {
        country_code(a + b)
        for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    }
    assert ours - {""} <= countries
    assert len(ours) > 240


def test_an_unknown_country_is_the_sellers() -> None:
    """A country code there must be (BR-11)."""
    lost = replace(DUCHEMIN, country="chez nous")
    document = xml(replace(FIRST, buyer=lost))
    assert said(document, "ram:CountryID") == ["FR", SELLER.party.country]


def test_what_came_late() -> None:
    """A month or a disc of an earlier quarter is in the period of the invoice that it stands on."""
    assert whole_period(FIRST) == (date(2026, 1, 1), date(2026, 3, 31))
    late = invoice(disc(date(2025, 12, 30)), month(date(2026, 1, 1)))
    assert whole_period(late) == (date(2025, 12, 30), date(2026, 3, 31))


def test_quarter_or_lines() -> None:
    """A document without a quarter is about the days of its lines."""
    document = xml(CREDIT).decode()
    assert f"{date(2026, 2, 1):%Y%m%d}" in document
    assert ">20260312<" in document
    assert ">20260331<" not in document
