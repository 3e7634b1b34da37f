"""Who sends the invoices, from a day on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from mail6m.billing.identifiers import is_bic, is_iban, is_siret, is_vat_number
from mail6m.billing.invoice import Seller


class NoSeller(LookupError):
    """Nobody is known who could send an invoice on that day."""


@dataclass(frozen=True, slots=True)
class SellerSince:
    """A seller, and the day from which on it is one."""

    since: date
    seller: Seller


class Sellers:
    """All there have been, are, and will be."""

    def __init__(self, sellers: Iterable[SellerSince]) -> None:
        self.newest_first = sorted(sellers, key=lambda one: one.since, reverse=True)

    def at(self, day: date) -> Seller:
        """The one on a day. Raises `NoSeller`."""
        for one in self.newest_first:
            if one.since <= day:
                return one.seller
        raise NoSeller(f"nobody is known who sends invoices on {day}: mail6m seller set")


def faults(seller: Seller) -> list[str]:
    """The names of what cannot be right, or is missing (Code de commerce, L441-9, R123-237)."""
    party = seller.party
    found = [
        name
        for name in ("name", "street", "postcode", "city", "country", "email")
        if not getattr(party, name)
    ]
    checks = {
        "siret": is_siret(party.siret),
        "vat_number": is_vat_number(party.vat_number) and party.vat_number[4:] == party.siret[:9],
        "iban": not seller.iban or is_iban(seller.iban),
        "bic": not seller.bic or is_bic(seller.bic),
        "payment_days": 0 <= seller.payment_days <= 60,
        "legal": bool(seller.legal),
        "late_rate": bool(seller.late_rate),
    }
    return found + [name for name, right in checks.items() if not right]
