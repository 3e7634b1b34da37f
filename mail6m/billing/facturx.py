"""An invoice as a machine reads it: Factur-X 1.0, profile EN 16931 (UN/CEFACT's CII, D22B).

Names of elements are those of UN/CEFACT; BT-n and BG-n are terms of EN 16931-1:2017. What France
wants beside them (AFNOR XP Z12-012: notes AAB, PMD and PMT, SIREN, frame of invoicing) is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import cache
from xml.etree import ElementTree

from babel import Locale

from mail6m.billing import wording
from mail6m.billing.invoice import Invoice, Kind, Line, LineKind, Party, Seller, VatPart
from mail6m.billing.money import plain
from mail6m.billing.repertoire import one_line
from mail6m.billing.transfer import asked, compact

FILENAME = "factur-x.xml"
PROFILE = "EN 16931"
GUIDELINE = "urn:cen.eu:en16931:2017"
_NAMESPACES = {
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "udt": "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100",
    "qdt": "urn:un:unece:uncefact:data:standard:QualifiedDataType:100",
}
_TYPES = {Kind.INVOICE: "380", Kind.CREDIT: "381"}
"""UNTDID 1001 (BT-3)."""
_SERVICES = "S1"
"""The frame of invoicing (BT-23): services, not yet paid."""
_UNITS = {LineKind.MONTH: "MON", LineKind.DISC: "C62"}
"""UN/ECE Recommendation 20 (BT-130): a month, a piece."""
_SEPA_TRANSFER = "58"
"""UNTDID 4461 (BT-81)."""
_SIREN, _SIRET = "0002", "0009"
"""ISO 6523: registers of companies, and of their places."""
_SIRET_LENGTH, _SIREN_LENGTH = 14, 9
_FREE_OF_VAT, _STANDARD = "E", "S"
"""UNTDID 5305 (BT-118)."""
_FRANCHISE = "VATEX-FR-FRANCHISE"
_NO_COUNTRIES = {"AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB"}
_NO_COUNTRIES |= {"XK", "ZZ"}
"""Places that CLDR has a name for, and ISO 3166-1 no two letters."""

for _prefix, _uri in _NAMESPACES.items():
    ElementTree.register_namespace(_prefix, _uri)


def xml(invoice: Invoice) -> bytes:
    """The whole document, in UTF-8.

    A credit note's amounts are positive there: its type says which way the money goes.
    """
    root = ElementTree.Element(_name("rsm:CrossIndustryInvoice"))
    context = _sub(root, "rsm:ExchangedDocumentContext")
    frame = _sub(context, "ram:BusinessProcessSpecifiedDocumentContextParameter")
    _put(frame, "ram:ID", _SERVICES)
    _put(_sub(context, "ram:GuidelineSpecifiedDocumentContextParameter"), "ram:ID", GUIDELINE)
    _document(_sub(root, "rsm:ExchangedDocument"), invoice)
    transaction = _sub(root, "rsm:SupplyChainTradeTransaction")
    for number, line in enumerate(invoice.lines, 1):
        _line(_sub(transaction, "ram:IncludedSupplyChainTradeLineItem"), number, line, invoice)
    _parties(_sub(transaction, "ram:ApplicableHeaderTradeAgreement"), invoice)
    delivery = _sub(transaction, "ram:ApplicableHeaderTradeDelivery")
    event = _sub(delivery, "ram:ActualDeliverySupplyChainEvent")
    _date(event, "ram:OccurrenceDateTime", wording.whole_period(invoice)[1])
    _settlement(_sub(transaction, "ram:ApplicableHeaderTradeSettlement"), invoice)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True))


def _document(document: ElementTree.Element, invoice: Invoice) -> None:
    _put(document, "ram:ID", invoice.number)
    _put(document, "ram:TypeCode", _TYPES[invoice.kind])
    _date(document, "ram:IssueDateTime", invoice.issued_on)
    for subject, said in _notes(invoice):
        note = _sub(document, "ram:IncludedNote")
        _put(note, "ram:Content", said)
        _put(note, "ram:SubjectCode", subject)


def _notes(invoice: Invoice) -> Iterable[tuple[str, str]]:
    """BG-1, with subjects of UNTDID 4451."""
    if invoice.kind is Kind.CREDIT:
        yield "", wording.correction(invoice)
    yield "AAB", wording.no_discount()
    yield "PMD", wording.late(invoice)
    yield "PMT", wording.recovery()


def _line(item: ElementTree.Element, number: int, line: Line, invoice: Invoice) -> None:
    """BG-25. A price is never below zero (BR-27), so what is taken off has a quantity of -1."""
    net = _sign(invoice) * line.net
    _put(_sub(item, "ram:AssociatedDocumentLineDocument"), "ram:LineID", str(number))
    _put(_sub(item, "ram:SpecifiedTradeProduct"), "ram:Name", wording.item(line))
    price = _sub(_sub(item, "ram:SpecifiedLineTradeAgreement"), "ram:NetPriceProductTradePrice")
    _put(price, "ram:ChargeAmount", plain(abs(net)))
    quantity = "-1" if net < 0 else "1"
    delivery = _sub(item, "ram:SpecifiedLineTradeDelivery")
    _put(delivery, "ram:BilledQuantity", quantity, unitCode=_UNITS[line.kind])
    settlement = _sub(item, "ram:SpecifiedLineTradeSettlement")
    tax = _sub(settlement, "ram:ApplicableTradeTax")
    _put(tax, "ram:TypeCode", "VAT")
    _put(tax, "ram:CategoryCode", _category(line.vat))
    _put(tax, "ram:RateApplicablePercent", wording.plain_percent(line.vat))
    _period(settlement, wording.period(line))
    total = _sub(settlement, "ram:SpecifiedTradeSettlementLineMonetarySummation")
    _put(total, "ram:LineTotalAmount", plain(net))


def _parties(agreement: ElementTree.Element, invoice: Invoice) -> None:
    _seller(_sub(agreement, "ram:SellerTradeParty"), invoice.seller)
    _party(_sub(agreement, "ram:BuyerTradeParty"), invoice.buyer, invoice.seller.party.country)


def _seller(party: ElementTree.Element, seller: Seller) -> None:
    """BG-4. Without a VAT number it is known to the tax office by its SIREN (BT-32)."""
    _party(party, seller.party, "FR", seller.legal)
    if not seller.party.vat_number:
        registration = _sub(party, "ram:SpecifiedTaxRegistration")
        _put(registration, "ram:ID", _siren(seller.party) or seller.party.name, schemeID="FC")


def _party(party: ElementTree.Element, who: Party, country: str, legal: str = "") -> None:
    """BG-4 or BG-7. ``country`` is that of a party whose own is no country that we know."""
    siren = _siren(who)
    if siren:
        _put(party, "ram:GlobalID", compact(who.siret), schemeID=_SIRET)
    _put(party, "ram:Name", who.name)
    _put(party, "ram:Description", legal)
    if siren:
        _put(_sub(party, "ram:SpecifiedLegalOrganization"), "ram:ID", siren, schemeID=_SIREN)
    _contact(party, who)
    address = _sub(party, "ram:PostalTradeAddress")
    _put(address, "ram:PostcodeCode", who.postcode)
    _put(address, "ram:LineOne", who.street)
    _put(address, "ram:CityName", who.city)
    _put(address, "ram:CountryID", country_code(who.country) or country)
    if who.email:
        _put(_sub(party, "ram:URIUniversalCommunication"), "ram:URIID", who.email, schemeID="EM")
    if who.vat_number:
        registration = _sub(party, "ram:SpecifiedTaxRegistration")
        _put(registration, "ram:ID", compact(who.vat_number), schemeID="VA")


def _contact(party: ElementTree.Element, who: Party) -> None:
    """BG-6 or BG-9."""
    if not (who.contact or who.phone or who.email):
        return
    contact = _sub(party, "ram:DefinedTradeContact")
    _put(contact, "ram:PersonName", who.contact)
    if who.phone:
        telephone = _sub(contact, "ram:TelephoneUniversalCommunication")
        _put(telephone, "ram:CompleteNumber", who.phone)
    if who.email:
        _put(_sub(contact, "ram:EmailURIUniversalCommunication"), "ram:URIID", who.email)


def _settlement(settlement: ElementTree.Element, invoice: Invoice) -> None:
    _put(settlement, "ram:PaymentReference", invoice.reference)
    _put(settlement, "ram:InvoiceCurrencyCode", "EUR")
    if asked(invoice):
        _transfer(_sub(settlement, "ram:SpecifiedTradeSettlementPaymentMeans"), invoice.seller)
    for part in invoice.parts:
        _tax(_sub(settlement, "ram:ApplicableTradeTax"), part, _sign(invoice))
    _period(settlement, wording.whole_period(invoice))
    terms = _sub(settlement, "ram:SpecifiedTradePaymentTerms")
    _put(terms, "ram:Description", wording.terms(invoice))
    if invoice.kind is Kind.INVOICE:
        _date(terms, "ram:DueDateDateTime", invoice.due_on)
    _totals(_sub(settlement, "ram:SpecifiedTradeSettlementHeaderMonetarySummation"), invoice)
    if invoice.corrects is not None:
        corrected = _sub(settlement, "ram:InvoiceReferencedDocument")
        _put(corrected, "ram:IssuerAssignedID", invoice.corrects)
        if invoice.corrected_on is not None:
            _date(corrected, "ram:FormattedIssueDateTime", invoice.corrected_on, "qdt")


def _transfer(means: ElementTree.Element, seller: Seller) -> None:
    """BG-16 and BG-17."""
    _put(means, "ram:TypeCode", _SEPA_TRANSFER)
    account = _sub(means, "ram:PayeePartyCreditorFinancialAccount")
    _put(account, "ram:IBANID", compact(seller.iban))
    _put(account, "ram:AccountName", seller.party.name)
    if seller.bic:
        bank = _sub(means, "ram:PayeeSpecifiedCreditorFinancialInstitution")
        _put(bank, "ram:BICID", compact(seller.bic))


def _tax(tax: ElementTree.Element, part: VatPart, sign: int) -> None:
    """BG-23."""
    _put(tax, "ram:CalculatedAmount", plain(sign * part.vat))
    _put(tax, "ram:TypeCode", "VAT")
    if _category(part.rate) == _FREE_OF_VAT:
        _put(tax, "ram:ExemptionReason", wording.FRANCHISE)
    _put(tax, "ram:BasisAmount", plain(sign * part.net))
    _put(tax, "ram:CategoryCode", _category(part.rate))
    if _category(part.rate) == _FREE_OF_VAT:
        _put(tax, "ram:ExemptionReasonCode", _FRANCHISE)
    _put(tax, "ram:RateApplicablePercent", wording.plain_percent(part.rate))


def _totals(totals: ElementTree.Element, invoice: Invoice) -> None:
    """BG-22."""
    sign = _sign(invoice)
    _put(totals, "ram:LineTotalAmount", plain(sign * invoice.net))
    _put(totals, "ram:TaxBasisTotalAmount", plain(sign * invoice.net))
    _put(totals, "ram:TaxTotalAmount", plain(sign * invoice.vat), currencyID="EUR")
    if invoice.rounding:
        _put(totals, "ram:RoundingAmount", plain(sign * invoice.rounding))
    _put(totals, "ram:GrandTotalAmount", plain(sign * (invoice.net + invoice.vat)))
    _put(totals, "ram:DuePayableAmount", plain(sign * invoice.gross))


def country_code(said: str) -> str:
    """The two letters of a country that is named by them, in French or in English; else empty."""
    return _countries().get(said.strip().casefold(), "")


@cache
def _countries() -> dict[str, str]:
    known = {}
    for language in ("en", "fr"):
        for code, name in Locale(language).territories.items():
            if code not in _NO_COUNTRIES and code.isalpha() and len(code) == len("FR"):
                known[name.casefold()] = known[code.casefold()] = code
    return known


def _siren(who: Party) -> str:
    """The company's number; empty of one whose SIRET is none."""
    siret = compact(who.siret)
    right = siret.isascii() and siret.isdecimal() and len(siret) == _SIRET_LENGTH
    return siret[:_SIREN_LENGTH] if right else ""


def _category(rate: int) -> str:
    return _STANDARD if rate else _FREE_OF_VAT


def _sign(invoice: Invoice) -> int:
    return -1 if invoice.kind is Kind.CREDIT else 1


def _period(parent: ElementTree.Element, period: tuple[date, date]) -> None:
    """BG-14 or BG-26."""
    both = _sub(parent, "ram:BillingSpecifiedPeriod")
    _date(both, "ram:StartDateTime", period[0])
    _date(both, "ram:EndDateTime", period[1])


def _date(parent: ElementTree.Element, name: str, on: date, prefix: str = "udt") -> None:
    """Format 102 of UNTDID 2379 is CCYYMMDD."""
    _put(_sub(parent, name), f"{prefix}:DateTimeString", f"{on:%Y%m%d}", format="102")


def _put(parent: ElementTree.Element, name: str, text: str, **attributes: str) -> None:
    """An element with text; none where there is no text (an element is never empty)."""
    said = one_line(text)
    if said:
        _sub(parent, name, **attributes).text = said


def _sub(parent: ElementTree.Element, name: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, _name(name), attributes)


def _name(name: str) -> str:
    prefix, local = name.split(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"
