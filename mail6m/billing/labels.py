"""Address labels for discs that are sent: 24 to a sheet, 70 mm by 37 mm (as Avery 3474)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mail6m.billing.facturx import country_code
from mail6m.billing.invoice import Party
from mail6m.billing.repertoire import settable
from mail6m.billing.typesetting import typeset

PER_SHEET = 24
"""Three columns of eight."""


@dataclass(frozen=True, slots=True)
class Label:
    """What stands on one."""

    to: Party
    sender: Party
    serial: str
    """Of the disc in the envelope."""


def labels(wanted: Sequence[Label], start: int = 1) -> bytes:
    """The sheets as PDF. Blocks for a tenth of a second.

    ``start``: the first place that is free on the first sheet, from 1 to `PER_SHEET`, row by row.
    Raises `ValueError` for another one, and if there is nothing to print.
    """
    if not 1 <= start <= PER_SHEET:
        raise ValueError(f"a sheet has places from 1 to {PER_SHEET}")
    if not wanted:
        raise ValueError("there is no label to print")
    return typeset("labels.typ", {"skip": start - 1, "labels": [_shown(one) for one in wanted]})


def _shown(label: Label) -> dict[str, object]:
    sender, to = label.sender, label.to
    abroad = country_code(to.country) not in ("", country_code(sender.country))
    lines = (
        to.contact,
        to.street,
        f"{to.postcode} {to.city}",
        to.country.upper() if abroad else "",
    )
    back = (sender.name, sender.street, f"{sender.postcode} {sender.city}")
    return {
        "name": settable(to.name),
        "lines": [said for said in map(settable, lines) if said],
        "sender": ", ".join(said for said in map(settable, back) if said),
        "serial": settable(label.serial),
    }
