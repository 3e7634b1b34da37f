"""What an invoice says, in French: the page and the XML beside it say the same."""

from __future__ import annotations

from calendar import monthrange
from datetime import date

from mail6m.billing.invoice import Invoice, Kind, Line, LineKind
from mail6m.billing.money import WHOLE

NBSP = "\u00a0"
MONTHS = (
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
)
RECOVERY = 4_000
"""Cents that are due for the recovery of a late payment (Code de commerce, D441-5)."""
FRANCHISE = f"TVA non applicable, art.{NBSP}293{NBSP}B du CGI"
"""Of a seller that has no VAT to invoice."""
_CABINETS = {
    "tiroir": f"Tiroir, 2{NBSP}Go",
    "malle": f"Malle, 5{NBSP}Go",
    "armoire": f"Armoire, 10{NBSP}Go",
}


def title(invoice: Invoice) -> str:
    """``Facture 2026-0001``."""
    return f"{'Facture' if invoice.kind is Kind.INVOICE else 'Avoir'} {invoice.number}"


def item(line: Line) -> str:
    """What a line is about: one thing, and when."""
    if line.kind is LineKind.DISC:
        return f"DVD n°{NBSP}{line.object}, envoyé le {day(line.day)}"
    said = f"{_cabinet(line)} – {month(line.day)}"
    return said if line.gross else f"{said}, mois offert"


def period(line: Line) -> tuple[date, date]:
    """The first and the last day of what a line is about."""
    if line.kind is LineKind.DISC:
        return line.day, line.day
    return line.day, line.day.replace(day=monthrange(line.day.year, line.day.month)[1])


def whole_period(invoice: Invoice) -> tuple[date, date]:
    """The first and the last day of what an invoice is about: its quarter, and what came late."""
    periods = [period(line) for line in invoice.lines]
    if invoice.quarter is not None:
        third = invoice.quarter.replace(month=invoice.quarter.month + 2)
        last = third.replace(day=monthrange(third.year, third.month)[1])
        periods.append((invoice.quarter, last))
    return min(first for first, _ in periods), max(last for _, last in periods)


def no_discount() -> str:
    """Code de commerce, L441-9."""
    return "Pas d’escompte pour paiement anticipé."


def late(invoice: Invoice) -> str:
    """The penalties (Code de commerce, L441-10, II)."""
    return (
        "En cas de retard de paiement, des pénalités sont exigibles dès le lendemain de "
        f"l’échéance, sans rappel, au taux annuel de {invoice.seller.late_rate}."
    )


def recovery() -> str:
    """The indemnity (Code de commerce, D441-5)."""
    return (
        f"S’y ajoute une indemnité forfaitaire pour frais de recouvrement de {money(RECOVERY)} "
        f"(Code de commerce, art.{NBSP}L441-10 et D441-5)."
    )


def terms(invoice: Invoice) -> str:
    """When it is to be paid, or what becomes of a credit."""
    if invoice.kind is Kind.CREDIT:
        return "Le montant de cet avoir vient en déduction de ce que vous devez, ou vous est rendu."
    return f"À payer le {day(invoice.due_on)} au plus tard."


def correction(invoice: Invoice) -> str:
    """What a credit note takes back, and why."""
    said = f"Cet avoir corrige la facture n°{NBSP}{invoice.corrects}"
    if invoice.corrected_on is not None:
        said += f" du {day(invoice.corrected_on)}"
    return f"{said}. Motif{NBSP}: {invoice.reason}" if invoice.reason else f"{said}."


def money(cents: int) -> str:
    """``1 234,56 €``, with spaces that do not break and a true minus."""
    whole = f"{abs(cents) // 100:,}".replace(",", NBSP)
    return f"{'−' if cents < 0 else ''}{whole},{abs(cents) % 100:02d}{NBSP}€"


def percent(rate: int) -> str:
    """``20 %``, ``5,5 %``."""
    return f"{plain_percent(rate).replace('.', ',')}{NBSP}%"


def plain_percent(rate: int) -> str:
    """``20``, ``5.5``: without needless zeros, as files for machines have it."""
    unit = WHOLE // 100
    return f"{rate // unit}.{rate % unit:02d}".rstrip("0").rstrip(".")


def day(on: date) -> str:
    """``1er avril 2026``."""
    number = "1er" if on.day == 1 else str(on.day)
    return f"{number}{NBSP}{month(on)}"


def month(of: date) -> str:
    """``avril 2026``."""
    return f"{MONTHS[of.month - 1]}{NBSP}{of.year}"


def _cabinet(line: Line) -> str:
    if line.plan in _CABINETS:
        return _CABINETS[line.plan]
    size = f", {_gigabytes(int(line.object))}" if line.object.isdecimal() else ""
    return f"Meuble dédié{size}"


def _gigabytes(size: int) -> str:
    whole, rest = divmod(size, 1_000_000_000)
    shown = f"{whole},{rest // 100_000_000}" if rest >= 100_000_000 else str(whole)
    return f"{shown}{NBSP}Go"
