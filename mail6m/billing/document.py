"""An invoice as a customer keeps it: a page to read, and the same as XML in it (Factur-X 1.0).

The file is PDF/A-3 (ISO 19005-3) and PDF/UA-1; the XML is its alternative representation.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from mail6m.billing import facturx, wording
from mail6m.billing.invoice import Invoice, Kind, Line, Party
from mail6m.billing.repertoire import settable
from mail6m.billing.transfer import asked, code, compact, grouped
from mail6m.billing.typesetting import TEMPLATES, typeset, with_metadata

_SCHEMA = (TEMPLATES / "factur-x.xmp").read_text("utf-8")
"""What the four properties are (ISO 19005-3, 6.6.2.3.3)."""
_BAG = "<pdfaExtension:schemas><rdf:Bag>"
_END = "</rdf:RDF>"
_PROPERTIES = f"""\
<rdf:Description rdf:about="" xmlns:fx="urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#">
<fx:DocumentType>INVOICE</fx:DocumentType>
<fx:DocumentFileName>{facturx.FILENAME}</fx:DocumentFileName>
<fx:Version>1.0</fx:Version>
<fx:ConformanceLevel>{facturx.PROFILE}</fx:ConformanceLevel>
</rdf:Description>"""


def pdf(invoice: Invoice) -> bytes:
    """The document, the same octets each time. Blocks for a tenth of a second."""
    data = {**_page(invoice), "xml": facturx.xml(invoice).decode()}
    made_at = datetime.combine(invoice.issued_on, time(), UTC)
    return with_metadata(typeset("invoice.typ", data, made_at), _as_facturx)


def _as_facturx(packet: str) -> str:
    if packet.count(_BAG) != 1 or packet.count(_END) != 1:
        raise ValueError("these are no metadata as Typst writes them")
    return packet.replace(_BAG, _BAG + _SCHEMA).replace(_END, _PROPERTIES + _END)


def _page(invoice: Invoice) -> dict[str, Any]:
    """What the template shows: texts, and nothing left to count or to decide."""
    seller = invoice.seller
    return {
        "title": wording.title(invoice),
        "credit": invoice.kind is Kind.CREDIT,
        "issued": [getattr(invoice.issued_on, part) for part in ("year", "month", "day")],
        "file": facturx.FILENAME,
        "seller": {
            "name": settable(seller.party.name),
            "address": _address(seller.party, home=True),
            "reach": _known(seller.party.email, seller.party.phone),
            "legal": settable(seller.legal),
            "numbers": _numbers(seller.party),
        },
        "buyer": {
            "name": settable(invoice.buyer.name),
            "address": [
                *_known(invoice.buyer.contact),
                *_address(invoice.buyer, home=_at_home(invoice)),
            ],
            "numbers": _numbers(invoice.buyer),
        },
        "facts": _facts(invoice),
        "correction": settable(wording.correction(invoice)) if invoice.corrects else "",
        "lines": [_line(line) for line in invoice.lines],
        "taxes": [
            [wording.percent(part.rate), wording.money(part.net), wording.money(part.vat)]
            for part in invoice.parts
        ],
        "exempt": wording.FRANCHISE if any(part.rate == 0 for part in invoice.parts) else "",
        "totals": _totals(invoice),
        "payment": _payment(invoice),
        "mentions": _mentions(invoice),
    }


def _facts(invoice: Invoice) -> list[list[str]]:
    first, last = wording.whole_period(invoice)
    facts = [
        ["Date d’émission", wording.day(invoice.issued_on)],
        ["Période", f"du {wording.day(first)} au {wording.day(last)}"],
        ["Client n°", str(invoice.customer)],
    ]
    if invoice.kind is Kind.INVOICE:
        facts.insert(1, ["Échéance", wording.day(invoice.due_on)])
    return facts


def _line(line: Line) -> list[str]:
    net = wording.money(line.net)
    gross = wording.money(line.gross)
    return [settable(wording.item(line)), "1", net, wording.percent(line.vat), net, gross]


def _totals(invoice: Invoice) -> list[list[str]]:
    """The last one is what is to be paid, or what is taken back."""
    rows = [["Total HT", wording.money(invoice.net)], ["TVA", wording.money(invoice.vat)]]
    if invoice.rounding:
        rows.append(["Arrondi", wording.money(invoice.rounding)])
    label = "Total TTC" if invoice.kind is Kind.INVOICE else "Total TTC de l’avoir"
    return [*rows, [label, wording.money(invoice.gross)]]


def _payment(invoice: Invoice) -> dict[str, Any] | None:
    """How to pay; None if there is nothing to be paid."""
    if invoice.kind is Kind.CREDIT or invoice.gross <= 0:
        return None
    name = settable(invoice.seller.party.name)
    return {
        "due": f"À payer le {wording.day(invoice.due_on)} au plus tard",
        "amount": wording.money(invoice.gross),
        "cheque": f"Ou par chèque à l’ordre de {name}, la référence au dos.",
        "reference": grouped(invoice.reference),
        "transfer": _transfer(invoice) if asked(invoice) else None,
    }


def _transfer(invoice: Invoice) -> dict[str, Any]:
    seller = invoice.seller
    rows = [["Titulaire", settable(seller.party.name)], ["IBAN", grouped(seller.iban)]]
    if seller.bic:
        rows.append(["BIC", compact(seller.bic)])
    return {"rows": rows, "code": code(invoice)}


def _mentions(invoice: Invoice) -> list[str]:
    service = "Nature de l’opération : prestation de services.".replace(" :", f"{wording.NBSP}:")
    if invoice.kind is Kind.CREDIT:
        return [wording.terms(invoice), service]
    return [
        wording.no_discount(),
        settable(wording.late(invoice)),
        wording.recovery(),
        service,
    ]


def _address(party: Party, *, home: bool) -> list[str]:
    """Its lines; the country's only abroad."""
    country = "" if home else party.country
    return _known(party.street, f"{party.postcode} {party.city}", country)


def _at_home(invoice: Invoice) -> bool:
    """Whether a letter to the buyer stays in the seller's country."""
    theirs = facturx.country_code(invoice.buyer.country)
    return not theirs or theirs == facturx.country_code(invoice.seller.party.country)


def _numbers(party: Party) -> list[str]:
    siret = f"SIRET {_threes(party.siret)}" if party.siret else ""
    vat = f"TVA {compact(party.vat_number)}" if party.vat_number else ""
    return _known(siret, vat)


def _threes(siret: str) -> str:
    """``484 373 378 00013``."""
    whole = compact(siret)
    return wording.NBSP.join((whole[:3], whole[3:6], whole[6:9], whole[9:])).strip()


def _known(*texts: str) -> list[str]:
    return [said for said in map(settable, texts) if said]
