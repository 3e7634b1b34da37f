"""``mail6m tariff`` and ``mail6m seller``: prices, and who sends the invoices, from a day on."""

from __future__ import annotations

import argparse
from dataclasses import asdict, fields, replace
from typing import Any

from mail6m.billing.identifiers import bare
from mail6m.billing.invoice import Party, Seller
from mail6m.billing.months import paris_day
from mail6m.billing.sellers import NoSeller, faults
from mail6m.billing.tariff import Tariff
from mail6m.cli.arguments import cents, day, days
from mail6m.cli.command import CommandLine, Wrong, operator
from mail6m.foundation import Foundation, now
from mail6m.model import HOUSE

_PRICES = ("tiroir", "malle", "armoire", "disc")
_TEXTS = ("name", "street", "postcode", "city", "country", "email", "phone", "siret",
          "vat_number", "legal", "iban", "bic", "late_rate")  # fmt: skip
_NUMBERS = {"siret", "vat_number", "iban", "bic"}


def declare(line: CommandLine) -> None:
    """Add both nouns and their verbs."""
    noun = line.noun("tariff", "prices in cents, taxes included, from a day on")
    noun.verb("list", tariff_list)
    one = noun.verb("set", tariff_set)
    one.add_argument("--since", type=day, required=True, metavar="DATE")
    for name in _PRICES:
        one.add_argument(f"--{name}", type=cents, metavar="CENTS")
    one.add_argument("--vat", type=cents, metavar="RATE", help="hundredths of a percent: 2000")
    one.add_argument("--free-months", type=cents, metavar="N", help="of contracts that begin then")
    noun = line.noun("seller", "who sends the invoices, from a day on")
    noun.verb("show", seller_show)
    one = noun.verb("set", seller_set)
    one.add_argument("--since", type=day, required=True, metavar="DATE")
    for name in _TEXTS:
        one.add_argument(f"--{name.replace('_', '-')}", metavar="TEXT")
    one.add_argument("--payment-days", type=days, metavar="N")


async def tariff_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """Prices there have been, are, and will be, the newest first."""
    return [_tariff(tariff) for tariff in (await foundation.business.tariffs.all()).newest_first]


async def tariff_set(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Prices from a day on; what is not said stays."""
    given = vars(options)
    changed = {
        field.name: given[field.name] for field in fields(Tariff) if given[field.name] is not None
    }
    if changed.get("vat", 0) > 9_999 or changed.get("free_months", 0) > 120:
        raise Wrong("a rate of VAT is below 10000, and 120 months are free at most")
    tariff = replace((await foundation.business.tariffs.all()).at(options.since), **changed)
    await foundation.business.tariffs.set(operator(HOUSE), tariff, paris_day(now()))
    return _tariff(tariff)


async def seller_show(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """Who has sent the invoices, does, and will, the newest first."""
    sellers = await foundation.business.sellers.all()
    return [{"since": one.since.isoformat()} | _seller(one.seller) for one in sellers.newest_first]


async def seller_set(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Who sends the invoices from a day on; what is not said stays."""
    try:
        seller = (await foundation.business.sellers.all()).at(options.since)
    except NoSeller:
        seller = Seller(Party("", country="FR"))
    given = {name: value for name in _TEXTS if (value := getattr(options, name)) is not None}
    given |= {name: bare(value) for name, value in given.items() if name in _NUMBERS}
    of_party = {field.name for field in fields(Party)}
    seller = replace(
        seller,
        party=replace(seller.party, **{k: v for k, v in given.items() if k in of_party}),
        **{name: value for name, value in given.items() if name not in of_party},
    )
    if options.payment_days is not None:
        seller = replace(seller, payment_days=options.payment_days)
    if wrong := faults(seller):
        said = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        raise Wrong(f"missing, or not right: {said}")
    await foundation.business.sellers.set(operator(HOUSE), options.since, seller, paris_day(now()))
    return {"since": options.since.isoformat()} | _seller(seller)


def _tariff(tariff: Tariff) -> dict[str, Any]:
    return asdict(tariff) | {"since": tariff.since.isoformat()}


def _seller(seller: Seller) -> dict[str, Any]:
    values = asdict(seller.party) | asdict(seller)
    return {name: values[name] for name in (*_TEXTS, "payment_days")}
