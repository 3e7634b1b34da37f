"""The PDF of an invoice: an archive's file, with the XML in it, and what a person reads on it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any, cast

import pypdfium2
import pytest
import zxingcpp
from facturx import get_facturx_xml_from_pdf
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DictionaryObject, IndirectObject, NameObject

from mail6m.billing.document import pdf
from mail6m.billing.facturx import xml
from mail6m.billing.invoice import Invoice
from mail6m.billing.labels import PER_SHEET, Label, labels
from mail6m.billing.repertoire import RANGES, settable
from mail6m.billing.transfer import payload
from mail6m.billing.typesetting import ARCHIVAL, typeset, with_metadata
from tests.billed import (
    BY_CHEQUE,
    CREDIT,
    DUCHEMIN,
    FIRST,
    LONG,
    SELLER,
    STRANGER,
    disc,
    invoice,
    invoices,
    texts,
)
from tests.validators import Validators, validators

PROFILES = ("PDFA-3A", "PDFUA-1")
MILLIMETRE = 72 / 25.4
EXAMPLES = {"first": FIRST, "long": LONG, "credit": CREDIT, "by cheque": BY_CHEQUE}


@pytest.fixture(scope="module")
def others() -> Iterator[Validators]:
    """Other eyes."""
    with validators() as found:
        yield found


def pages(document: bytes) -> list[str]:
    """What can be read on each page; spaces of all kinds are one."""
    reader = PdfReader(io.BytesIO(document))
    return [" ".join(page.extract_text().split()) for page in reader.pages]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_archival(others: Validators, name: str, profile: str) -> None:
    """It is PDF/A-3 (ISO 19005-3), level A, which level B is a part of, and PDF/UA-1."""
    assert others.pdf(pdf(EXAMPLES[name]), profile) == []


@settings(max_examples=8, deadline=None)
@given(one=invoices())
def test_any_invoice(others: Validators, one: Invoice) -> None:
    """Whatever the names are made of, there is a document, and it is archival."""
    assert others.pdf(pdf(one), "PDFA-3A") == []


@given(st.lists(texts(), min_size=1, max_size=8))
@settings(max_examples=10, deadline=None)
def test_any_text_can_be_set(names: list[str]) -> None:
    """No name keeps an invoice from being made, nor its number from being read."""
    lines = [disc(date(2026, 3, 1), name) for name in names]
    assert "2026-0001" in pages(pdf(invoice(*lines)))[0]


def test_the_repertoire_is_the_fonts_own() -> None:
    """The fonts have each letter that we think they have, by itself and beside the others."""
    every = "".join(chr(point) for first, last in RANGES for point in range(first, last + 1))
    for one in (every, " ".join(every)):
        pdf(replace(FIRST, buyer=replace(DUCHEMIN, name=one)))


@pytest.mark.parametrize(
    ("typed", "shown"),
    [("株式会社 A\n B", "□□□□ A B"), ("e\u0301\u0331x\u0331", "éx"), ("a\u200bb\u202ec\x07", "abc"),
     ("1\u00a0000\u202f€", "1\u00a0000 €"), ("مرحبا", "مرحبا"), ("#x *b* $y$", "#x *b* $y$")],
)  # fmt: skip
def test_settable(typed: str, shown: str) -> None:
    """What no font has is a box; accents that are no letter of their own are left out."""
    assert settable(typed) == shown


def test_the_same_each_time() -> None:
    """Two processes that make it make the same octets."""
    assert pdf(FIRST) == pdf(FIRST)


def test_the_xml_is_in_it() -> None:
    """As Factur-X 1.0 has it: its name, its relationship, and the metadata that announce it."""
    document = pdf(FIRST)
    assert get_facturx_xml_from_pdf(document) == ("factur-x.xml", xml(FIRST))
    reader = PdfReader(io.BytesIO(document))
    (attached,) = cast(Any, reader.trailer["/Root"])["/AF"]
    file: Any = attached.get_object()
    assert (file["/UF"], file["/AFRelationship"]) == ("factur-x.xml", "/Alternative")
    assert file["/EF"]["/F"].get_object()["/Subtype"] == "/text/xml"
    metadata = cast(Any, reader.trailer["/Root"])["/Metadata"].get_data().decode()
    for name, value in (
        ("DocumentType", "INVOICE"),
        ("DocumentFileName", "factur-x.xml"),
        ("Version", "1.0"),
        ("ConformanceLevel", "EN 16931"),
    ):
        assert f"<fx:{name}>{value}</fx:{name}>" in metadata
    assert "<pdfaid:part>3</pdfaid:part>" in metadata


def test_fonts_are_in_it() -> None:
    """Every font is embedded."""
    reader = PdfReader(io.BytesIO(pdf(BY_CHEQUE)))
    descriptors = [
        one
        for number in range(1, len(reader.xref[0]) + 1)
        if isinstance(one := reader.get_object(number), DictionaryObject)
        and one.get("/Type") == "/FontDescriptor"
    ]
    assert len(descriptors) > 2
    assert all({"/FontFile2", "/FontFile3"} & set(one) for one in descriptors)


def without_output_intent(root: Any, writer: PdfWriter) -> None:
    """Colours of a device, and none says of which."""
    del root["/OutputIntents"]
    for one in objects(writer):
        spaces = one.get("/ColorSpace")
        if isinstance(spaces, DictionaryObject):
            spaces.update({name: NameObject("/DeviceGray") for name in spaces})


def without_metadata(root: Any, _: PdfWriter) -> None:
    """It does not say what it is."""
    del root["/Metadata"]


def without_fonts(_: Any, writer: PdfWriter) -> None:
    """They are hoped to be wherever it is read."""
    for one in objects(writer):
        for name in ("/FontFile2", "/FontFile3"):
            one.pop(NameObject(name), None)


def without_relationship(root: Any, _: PdfWriter) -> None:
    """What the attachment has to do with the page stays unsaid."""
    del root["/AF"][0].get_object()["/AFRelationship"]


def with_a_script(root: Any, _: PdfWriter) -> None:
    """Somebody opens it, and something happens."""
    script = DictionaryObject({NameObject("/S"): NameObject("/JavaScript")})
    root[NameObject("/OpenAction")] = script


def objects(writer: PdfWriter) -> Iterator[DictionaryObject]:
    """All dictionaries."""
    for number in range(1, len(writer._objects) + 1):
        one = IndirectObject(number, 0, writer).get_object()
        if isinstance(one, DictionaryObject):
            yield one


@pytest.mark.parametrize(
    ("fault", "clause"),
    [
        (without_output_intent, "6.2.4.3"),
        (without_metadata, "6.6.2.1"),
        (without_fonts, "6.2.11.4"),
        (without_relationship, "6.8"),
        (with_a_script, "6.5.1"),
    ],
)
def test_faults_are_seen(others: Validators, fault: Any, clause: str) -> None:
    """Each is found by its clause of ISO 19005-3; the same file without it is sound."""
    sound, broken = rewritten(lambda *_: None), rewritten(fault)
    assert others.pdf(sound, "PDFA-3B") == []
    found = others.pdf(broken, "PDFA-3B")
    assert any(one.startswith(clause) for one in found), found


def rewritten(change: Any) -> bytes:
    """An invoice, taken apart, changed, and put together again."""
    writer = PdfWriter(clone_from=io.BytesIO(pdf(FIRST)))
    change(writer._root_object, writer)
    into = io.BytesIO()
    writer.write(into)
    return into.getvalue()


def test_what_is_read_on_it() -> None:
    """All that the law wants on an invoice (CGI, annexe II, 242 nonies A; Code de commerce)."""
    (text,) = pages(pdf(FIRST))
    for expected in (
        "Facture 2026-0001",
        "18 bis avenue du Val de Saône",
        "SARL au capital de 10 000 €, RCS Lyon 484 373 378",
        "SIRET 484 373 378 00013",
        "TVA FR06484373378",
        "Duchemin",
        "59110 La Madeleine",
        "SIRET 732 829 320 00074",
        "TVA FR44732829320",
        "1er avril 2026",
        "1er mai 2026",
        "du 1er janvier 2026 au 31 mars 2026",
        "Tiroir, 2 Go – janvier 2026, mois offert 1 0,00 € 20 % 0,00 € 0,00 €",
        "Malle, 5 Go – mars 2026 1 62,50 € 20 % 62,50 € 75,00 €",
        "DVD n° M6M-000012-0003, envoyé le 12 mars 2026 1 12,50 € 20 % 12,50 € 15,00 €",
        "Total HT 108,33 €",
        "Total TTC 130,00 €",
        "20 % 108,33 € 21,67 €",
        "FR76 3000 6000 0112 3456 7890 189",
        "AGRIFRPP",
        "RF31 2026 0001",
        "Pas d’escompte pour paiement anticipé",
        "trois fois le taux d'intérêt légal",
        "indemnité forfaitaire pour frais de recouvrement de 40,00 €",
        "prestation de services",
    ):
        assert expected in text


def test_rounding_is_shown() -> None:
    """0,09 € are 0,08 € and 0,02 € of taxes: what is a cent too much is taken off."""
    (text,) = pages(pdf(invoice(disc(date(2026, 3, 1), gross=9))))
    assert "Total HT 0,08 € TVA 0,02 € Arrondi −0,01 € Total TTC 0,09 €" in text


def test_many_lines() -> None:
    """Sixty discs go on over the page, under the same heads; the total is on the last one."""
    first, *others, last = pages(pdf(LONG))
    assert len(others) == 1
    assert "Désignation" in first
    assert "Désignation" in others[0]
    assert "M6M-000012-0059" in others[0]
    assert "Facture 2026-0001 Mail6M" in last
    assert "Total TTC 2 134,00 €" in last
    assert "Page 3 sur 3" in last


def test_a_credit_note() -> None:
    """It says what it corrects and why, and has nothing that could be paid."""
    (text,) = pages(pdf(CREDIT))
    assert "Avoir 2026-0002" in text
    assert "corrige la facture n° 2026-0001 du 1er avril 2026. Motif : disque illisible" in text
    assert "Total TTC de l’avoir −55,00 €" in text
    assert "IBAN" not in text
    assert "À payer" not in text
    assert not pictures(pdf(CREDIT))


def test_without_an_account() -> None:
    """A seller that takes cheques only has no account on its invoices, and no code."""
    (text,) = pages(pdf(BY_CHEQUE))
    assert "IBAN" not in text
    assert "Par chèque à l’ordre de Mail6M" in text
    assert not pictures(pdf(BY_CHEQUE))
    assert pictures(pdf(FIRST))


def pictures(document: bytes) -> list[str]:
    """What pictures say to those who do not see them, but for the house's mark."""
    found = re.findall(rb"/Alt\(([^)]*)\)", document) + re.findall(rb"/Alt<([0-9A-F]*)>", document)
    said = [bytes.fromhex(one.decode()).decode("utf-16") if one.startswith(b"FEFF") else
            one.decode("latin1") for one in found]  # fmt: skip
    return [one for one in said if one != "Mail6M"]


def test_the_code_is_read() -> None:
    """A telephone that looks at the printed page reads how to pay (EPC069-12)."""
    page = pypdfium2.PdfDocument(pdf(FIRST))[0].render(scale=150 / 72).to_pil()
    (read,) = zxingcpp.read_barcodes(page)
    assert read.text == payload(FIRST)


def test_markup_is_text() -> None:
    """A name that looks like markup is read as it was typed; letters that no font has are boxes."""
    (text,) = pages(pdf(BY_CHEQUE))
    assert '#import "x" *□□□□* $x$ <a> & □' in text
    assert "Łódź" in text
    assert "[1]: `rue` \\ 2" in text
    assert "Allemagne" in text


def test_metadata_of_another_make() -> None:
    """A PDF that is not as Typst writes it is refused, not spoilt."""
    for wrong in (b"", b"%PDF-1.7\n%%EOF", pdf(FIRST)[:-9]):
        with pytest.raises(ValueError, match="as Typst writes it"):
            with_metadata(wrong, str)


def test_a_template_that_fails() -> None:
    """Data that a template cannot show: an error that says so."""
    with pytest.raises(ValueError, match=r"invoice\.typ cannot be set"):
        typeset("invoice.typ", {})


def test_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that Typst does not come to an end with is given up."""
    monkeypatch.setattr("mail6m.billing.typesetting.PATIENCE", 0.001)
    with pytest.raises(ValueError, match="has not been set within"):
        pdf(FIRST)


def test_it_claims_what_is_checked() -> None:
    """The standards that veraPDF looks at above are those that Typst is told."""
    assert {f"PDF{one.replace('-', '-', 1).upper()}" for one in ARCHIVAL} == {"PDFA-3A", "PDFUA-1"}


def label(serial: str, **other: Any) -> Label:
    """For a disc of Duchemin's."""
    return Label(replace(DUCHEMIN, **other), SELLER.party, serial)


def test_labels() -> None:
    """Each has addressee, sender and serial number; after a sheet's last place comes another."""
    sheets = pages(labels([label(f"D-{at:02d}") for at in range(30)], start=4))
    assert [sheet.count("Georges Alphan") for sheet in sheets] == [21, 9]
    assert "D-20" in sheets[0]
    assert "D-21" in sheets[1]
    assert sheets[1].count("Mail6M, 18 bis avenue du Val de Saône, 69580 Sathonay-Camp") == 9


def test_a_label_at_its_place() -> None:
    """The last place of a sheet is at the right, below."""
    reader = PdfReader(io.BytesIO(labels([label("D-1")], start=PER_SHEET)))
    (page,) = reader.pages
    places = []

    def look(text: str, matrix: Any, at: Any, *_: Any) -> None:
        if "Duchemin" in text:
            places.append((at[4] * matrix[0] + matrix[4], at[5] * matrix[3] + matrix[5]))

    page.extract_text(visitor_text=look)
    ((across, up),) = places
    assert 140 * MILLIMETRE < across < 150 * MILLIMETRE
    assert up < 37.5 * MILLIMETRE
    assert (page.mediabox.width, page.mediabox.height) == pytest.approx((595.28, 841.89), abs=0.1)


def test_labels_go_abroad() -> None:
    """The country stands last, in capitals; at home it does not."""
    assert "ALLEMAGNE" in pages(labels([Label(STRANGER, SELLER.party, "D")]))[0]
    assert "FRANCE" not in pages(labels([label("D")]))[0]


def test_long_addresses_stay_on_their_label() -> None:
    """However much there is to say: 24 labels are one sheet."""
    long = label("D" * 300, name="W" * 300, street="rue " * 200, contact="i" * 500)
    assert len(pages(labels([long] * PER_SHEET))) == 1


@pytest.mark.parametrize(("count", "start"), [(1, 0), (1, 25), (0, 1)])
def test_no_such_sheet(count: int, start: int) -> None:
    """Places that a sheet has not, and sheets without a label."""
    with pytest.raises(ValueError, match=r"sheet has places|no label"):
        labels([label("D")] * count, start)
