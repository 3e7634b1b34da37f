"""Sheets of address labels."""

from __future__ import annotations

import re

import pytest

from mail6m.billing.invoice import Party
from mail6m.billing.labels import PER_SHEET, Label, labels

SENDER = Party("Mail6M SAS", "1 rue de la Paix", "59000", "Lille", "FR")


def texts(pdf: bytes) -> str:
    """What is written on the sheets."""
    return pdf.decode("cp1252")


def test_an_address_on_its_label() -> None:
    """With its accents and brackets; who sends it, and which disc; no country at home."""
    to = Party("Café (Lyon)", "2 rue de l'Œuvre", "69001", "Lyon", "FR", contact="Rémy Dupont")
    sheet = texts(labels([Label(to, SENDER, "TCWGR3")]))
    shown = re.findall(r"\((.*)\) Tj", sheet)
    assert shown == [
        "Mail6M SAS, 1 rue de la Paix, 59000 Lille",
        r"Café \(Lyon\)",
        "Rémy Dupont",
        "2 rue de l'Œuvre",
        "69001 Lyon",
        "DVD TCWGR3",
    ]
    abroad = Party("Belga", "Rue 1", "1000", "Bruxelles", "Belgique")
    assert "(BELGIQUE) Tj" in texts(labels([Label(abroad, SENDER, "BWTKKB")]))


@pytest.mark.parametrize(
    ("count", "start", "sheets"), [(1, 1, 1), (24, 1, 1), (24, 2, 2), (25, 1, 2), (1, 24, 1)]
)
def test_sheets(count: int, start: int, sheets: int) -> None:
    """As many as are needed from the first free label on; every object is where its table says."""
    pdf = labels([Label(SENDER, SENDER, "TCWGR3")] * count, start)
    assert pdf.count(b"/Type/Page/") == sheets
    assert pdf.count(b"(DVD TCWGR3)") == count
    begin = int(re.findall(rb"startxref\n(\d+)", pdf)[0])
    assert pdf[begin:].startswith(b"xref")
    for number, offset in enumerate(re.findall(rb"(\d{10}) 00000 n", pdf), 1):
        assert pdf[int(offset) :].startswith(b"%d 0 obj" % number)


@pytest.mark.parametrize("start", [0, PER_SHEET + 1])
def test_no_such_label(start: int) -> None:
    """There are 24 on a sheet."""
    with pytest.raises(ValueError, match="1 to 24"):
        labels([Label(SENDER, SENDER, "TCWGR3")], start)
