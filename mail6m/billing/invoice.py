"""An invoice, or a credit note, as it stands for good: who, what, how much."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from mail6m.billing.money import net_of, vat_on


class Kind(enum.StrEnum):
    """What a document is."""

    INVOICE = "invoice"
    CREDIT = "credit"


class LineKind(enum.StrEnum):
    """What is due."""

    MONTH = "month"
    DISC = "disc"


@dataclass(frozen=True, slots=True)
class Party:
    """Who buys, or who sells."""

    name: str
    street: str = ""
    postcode: str = ""
    city: str = ""
    country: str = ""
    """ISO 3166-1, two letters; of a buyer it may be what it has typed."""
    email: str = ""
    phone: str = ""
    contact: str = ""
    """A person's name."""
    siret: str = ""
    vat_number: str = ""


@dataclass(frozen=True, slots=True)
class Seller:
    """Who sends invoices, and how they are paid."""

    party: Party
    legal: str = ""
    """Form, capital, register: as it is to be printed (Code de commerce, R123-237)."""
    iban: str = ""
    """Empty: no transfers."""
    bic: str = ""
    payment_days: int = 30
    late_rate: str = "trois fois le taux d'intérêt légal"
    """Of penalties (Code de commerce, L441-10)."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is due. Amounts are cents, negative in a credit note."""

    kind: LineKind
    day: date
    """The first day of a month; the day that a disc was sent."""
    plan: str
    """``tiroir``, ``malle``, ``armoire`` or ``dedicated``; empty for a disc."""
    object: str
    """A disc's serial number; of a dedicated cabinet its bytes; else empty."""
    gross: int
    """Taxes included; 0: a free month."""
    vat: int
    """The rate, in hundredths of a percent."""
    net: int = 0
    """Without taxes: the line's share of what its rate's lines are together."""


@dataclass(frozen=True, slots=True)
class VatPart:
    """What is due at one rate (EN 16931, BG-23)."""

    rate: int
    net: int
    vat: int


@dataclass(frozen=True, slots=True)
class Invoice:
    """A document as it was issued."""

    customer: int
    number: str
    kind: Kind
    issued_on: date
    due_on: date
    quarter: date | None
    """Its first day."""
    corrects: str | None
    """The invoice that a credit note takes something back of."""
    reason: str
    reference: str
    """What a transfer names (ISO 11649)."""
    seller: Seller
    buyer: Party
    lines: tuple[Line, ...]
    corrected_on: date | None = None
    """When the invoice that it corrects was issued (EN 16931, BT-26)."""

    @property
    def gross(self) -> int:
        """What is to be paid, taxes included."""
        return sum(line.gross for line in self.lines)

    @property
    def net(self) -> int:
        """Without taxes."""
        return sum(line.net for line in self.lines)

    @property
    def parts(self) -> Sequence[VatPart]:
        """By rate of VAT, the lowest first."""
        rates = sorted({line.vat for line in self.lines})
        nets = {rate: sum(line.net for line in self.lines if line.vat == rate) for rate in rates}
        return [VatPart(rate, net, vat_on(net, rate)) for rate, net in nets.items()]

    @property
    def vat(self) -> int:
        """The taxes."""
        return sum(part.vat for part in self.parts)

    @property
    def rounding(self) -> int:
        """What is between net with taxes, and the sum of prices (EN 16931, BT-114)."""
        return self.gross - self.net - self.vat


@dataclass(frozen=True, slots=True)
class Standing:
    """An invoice or a credit note, and what has been paid and taken back of it; all in cents."""

    invoice: Invoice
    paid: int
    credited: int
    """By credit notes about it; not negative."""
    documented: bool
    """Its PDF is there."""

    @property
    def balance(self) -> int:
        """What is still to be paid; negative: to be paid back. Nothing of a credit note's own."""
        if self.invoice.kind is Kind.CREDIT:
            return 0
        return self.invoice.gross - self.paid - self.credited

    def overdue(self, today: date) -> int:
        """For how many days something should have been paid; 0 if nothing should."""
        return max((today - self.invoice.due_on).days, 0) if self.balance > 0 else 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A document that is about to be issued: all but its number and its reference."""

    customer: int
    kind: Kind
    issued_on: date
    due_on: date
    seller: Seller
    buyer: Party
    lines: tuple[Line, ...]
    quarter: date | None = None
    corrects: str | None = None
    others: int | None = None
    """Credit notes that what it corrects had already when this was made up."""
    reason: str = ""


def with_nets(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Lines with what they are without taxes, so that those of a rate add up to the cent.

    Each line gets what its rate's lines so far are without taxes, less what those before it got.
    """
    gross_so_far: dict[int, int] = {}
    made = []
    for line in lines:
        before = gross_so_far.get(line.vat, 0)
        after = gross_so_far[line.vat] = before + line.gross
        made.append(replace(line, net=net_of(after, line.vat) - net_of(before, line.vat)))
    return tuple(made)
