"""Time zones by their names in the IANA database."""

from __future__ import annotations

from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_PLACES = ("Europe", "Africa", "America", "Asia", "Atlantic", "Australia", "Indian", "Pacific")
_NOWHERE = {"Factory", "localtime"}
"""A system's name for a zone that nobody has chosen, and for its own one."""

OTHERS = ""
"""The group of the names that stand for no place, or are there for old times' sake."""


def zone_of(name: str) -> ZoneInfo:
    """The zone of that name; UTC if this system does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


@cache
def zones() -> dict[str, list[str]]:
    """All names, by the part of the world: Europe first, `OTHERS` last, and each in order."""
    found: dict[str, list[str]] = {place: [] for place in (*_PLACES, OTHERS)}
    for name in sorted(available_timezones() - _NOWHERE):
        place = name.partition("/")[0]
        found[place if place in _PLACES else OTHERS].append(name)
    return {place: names for place, names in found.items() if names}
