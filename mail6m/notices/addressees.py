"""Who reads what is written to a customer, and in which language."""

from __future__ import annotations

from dataclasses import dataclass

from mail6m.storage.accounts import Accounts
from mail6m.storage.preferences import PreferencesTable


@dataclass(frozen=True, slots=True)
class Addressees:
    """Whom a letter to a customer goes to."""

    addresses: list[str]
    """The one of its preferences; without it, its administrators'; of the house, its operators'."""
    language: str
    time_zone: str
    company: str
    """As a line of text."""


async def addressees(
    customer: int, preferences: PreferencesTable, accounts: Accounts
) -> Addressees:
    """Those of a customer; there may be none. Raises `Refused` if there is no such customer."""
    known = await preferences.get(customer)
    addresses = [known.email] if known.email else await accounts.administrators(customer)
    company = " ".join(known.company.split())
    return Addressees(addresses, known.language or "fr", known.time_zone, company)
