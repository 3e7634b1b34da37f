"""Vue d'ensemble: how Mail6M is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from babel.dates import format_date
from babel.numbers import format_decimal
from markupsafe import Markup

from mail6m.oversight.overview import LATELY, STEP, Overview, View
from mail6m.storage.health import CertificateEnd, Disk, ServerReport
from mail6m.storage.measures import Standing, Tally
from mail6m.web.chart import Mark, Text, bars, curves
from mail6m.web.menu import N_, OPERATORS_HOME
from mail6m.web.routes import Access, page
from mail6m.web.visit import Answer, Html, Visit

SOON = timedelta(days=14)
"""A certificate that ends in less is said to."""
TIGHT = 0.1
"""Of a disk: where less is free, it is said."""
FRESH = timedelta(minutes=3)
"""A server that has not said anything for longer is asked about."""
_AGES = (N_("< 10 min"), N_("< 1 h"), N_("< 4 h"), N_("< 1 j"), N_("< 3 j"), N_("3 j et +"))
_DISKS = {"data": N_("Disque des données"), "discs": N_("Disque des images de DVD")}
_LEVELS = {"warn": N_("avertissement"), "error": N_("erreur"), "critical": N_("grave")}


class State(NamedTuple):
    """A line of the list: whether it is well, what it is about, and words."""

    well: bool
    about: str
    words: str


class Hour(NamedTuple):
    """A line of the table beside the chart of a day: when it begins, and what passed."""

    clock: str
    tally: Tally


class OverviewPages:
    """The first page of operators."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    @page(OPERATORS_HOME, Access.OBSERVER)
    async def show(self, visit: Visit) -> Answer:
        """Vue d'ensemble: rates, queue, archive, health, and what went wrong."""
        view = await self._overview.look(visit.now)
        standing = view.standings[-1] if view.standings else None
        values: dict[str, Any] = {
            "view": view,
            "standing": standing,
            "minutes": LATELY // timedelta(minutes=1),
            "growth": _daily(view.standings),
            "hours": list(_hours(visit, view)),
            "rates_chart": _rates_chart(visit, view),
            "growth_chart": _growth_chart(visit, view),
            "ages_chart": _ages_chart(visit, view),
            "states": list(_states(visit, view)),
            "ages": list(zip(map(visit._, _AGES), _ages(view), strict=True)),
            "levels": {name: visit._(label) for name, label in _LEVELS.items()},
        }
        return Html("operator/overview.html", values)


# Charts


def _number(visit: Visit) -> Callable[[float], str]:
    return lambda number: format_decimal(number, locale=visit.language)


def _rates_chart(visit: Visit, view: View) -> Markup:
    minutes = STEP / timedelta(minutes=1)
    series = [
        [tally.accepted / minutes for tally in view.rates],
        [tally.relayed / minutes for tally in view.rates],
    ]
    told = visit._(_RATES_TOLD) % {
        "accepted": format_decimal(sum(t.accepted for t in view.rates), locale=visit.language),
        "relayed": format_decimal(sum(t.relayed for t in view.rates), locale=visit.language),
    }
    text = Text("rates", visit._(_RATES), told)
    return curves(text, series, list(_clock_marks(visit, view.begins_at)), _number(visit))


def _clock_marks(visit: Visit, begins_at: datetime) -> Iterator[Mark]:
    """Every six hours of the operator's own clock."""
    for number in range(1, 24 * 6):
        local = (begins_at + number * STEP).astimezone(visit.zone)
        if local.hour % 6 == 0 and local.minute == 0:
            yield Mark(number / (24 * 6), f"{local:%H:%M}")


def _growth_chart(visit: Visit, view: View) -> Markup:
    days = _daily(view.standings)
    told = visit._(_GROWTH_TOLD) % {
        "first": _day(visit, days[0]) if days else "–",
        "last": _day(visit, days[-1]) if days else "–",
        "messages": format_decimal(days[-1].messages if days else 0, locale=visit.language),
    }
    text = Text("growth", visit._(_GROWTH), told)
    places = (0, len(days) // 2, len(days) - 1) if len(days) > 2 else range(len(days))
    marks = [Mark(place / max(len(days) - 1, 1), _day(visit, days[place])) for place in places]
    return curves(text, [[one.messages for one in days]], marks, _number(visit))


def _day(visit: Visit, standing: Standing) -> str:
    pattern = "d MMM"
    return format_date(standing.day.date(), pattern, locale=visit.language)


def _daily(standings: Sequence[Standing]) -> Sequence[Standing]:
    """A standing for each day: on one when no server ran, nothing has changed."""
    days: list[Standing] = []
    for standing in standings:
        while days and standing.day - days[-1].day > timedelta(days=1):
            days.append(_next_day(days[-1]))
        days.append(standing)
    return days


def _next_day(one: Standing) -> Standing:
    return Standing(
        one.day + timedelta(days=1), one.taken_at, one.messages, one.bytes, one.queued,
        one.disk_free, one.database_bytes,
    )  # fmt: skip


def _ages_chart(visit: Visit, view: View) -> Markup:
    text = Text("ages", visit._(_BY_AGE), visit._(_BY_AGE_TOLD))
    labels = map(visit._, _AGES)
    return bars(text, list(zip(labels, _ages(view), strict=True)), _number(visit))


def _ages(view: View) -> Sequence[int]:
    return view.snapshot.ages if view.snapshot is not None else [0] * len(_AGES)


def _hours(visit: Visit, view: View) -> Iterator[Hour]:
    """What passed in each hour, the last one first."""
    steps = timedelta(hours=1) // STEP
    for first in reversed(range(0, len(view.rates), steps)):
        columns = zip(*view.rates[first : first + steps], strict=True)
        at = (view.begins_at + first * STEP).astimezone(visit.zone)
        yield Hour(f"{at:%H:%M}", Tally(*map(sum, columns)))


# Health


def _states(visit: Visit, view: View) -> Iterator[State]:
    database = view.database
    crowded = database.connections > 0.9 * database.most
    yield State(
        not crowded,
        visit._(N_("Base de données")),
        visit._(_DATABASE)
        % {
            "version": database.version.split(" ")[0],
            "time": format_decimal(round(1000 * view.latency, 1), locale=visit.language),
            "connections": database.connections,
            "most": database.most,
        },
    )
    if not view.reports:
        yield State(False, visit._(N_("Serveurs")), visit._(N_("Aucun serveur ne s'est signalé.")))
    for report in view.reports:
        yield from _server(visit, report)


def _server(visit: Visit, report: ServerReport) -> Iterator[State]:
    fresh = report.alive and visit.now - report.reported_at < FRESH
    name = report.server.split(":")[0]
    words = visit._(_ALIVE if fresh else _SILENT)
    yield State(
        fresh,
        visit._(N_("Serveur %(name)s")) % {"name": name},
        words % {"version": report.version, "server": report.server},
    )
    if not fresh:
        return
    yield State(
        "not scanned" not in report.scanner,
        visit._(N_("Antispam")),
        visit._(N_("aucun")) if report.scanner == "none" else report.scanner,
    )
    for disk in report.disks:
        yield _disk(visit, disk)
    for certificate in report.certificates:
        yield _certificate(visit, certificate)


def _disk(visit: Visit, disk: Disk) -> State:
    words = visit._(N_("%(free)s Go libres sur %(size)s Go"))
    free, size = (
        format_decimal(round(octets / 1e9, 1), locale=visit.language)
        for octets in (disk.free, disk.size)
    )
    about = visit._(_DISKS.get(disk.what, disk.what))
    return State(disk.free >= TIGHT * disk.size, about, words % {"free": free, "size": size})


def _certificate(visit: Visit, certificate: CertificateEnd) -> State:
    left = certificate.ends - visit.now
    words = visit._(_ENDED if left <= timedelta() else _ENDS)
    ends = certificate.ends.astimezone(visit.zone).date()
    day = format_date(ends, "d MMMM y", locale=visit.language)
    about = visit._(N_("Certificat de %(name)s")) % {"name": certificate.name}
    return State(left > SOON, about, words % {"day": day, "days": max(left.days, 0)})


_RATES = N_("Messages par minute, sur 24 heures")
_RATES_TOLD = N_(
    "Deux courbes : %(accepted)s messages reçus et %(relayed)s remis en 24 heures."
    " Les nombres sont dans le tableau qui suit."
)
_GROWTH = N_("Messages archivés, sur 90 jours")
_GROWTH_TOLD = N_(
    "Une courbe, du %(first)s au %(last)s, qui finit à %(messages)s messages."
    " Les nombres sont dans le tableau qui suit."
)
_BY_AGE = N_("File d'attente par âge")
_BY_AGE_TOLD = N_("Une barre par tranche d'âge, avec le nombre de remises qui attendent.")
_DATABASE = N_(
    "PostgreSQL %(version)s répond en %(time)s ms, %(connections)s connexions sur %(most)s"
)
_ALIVE = N_("en marche, version %(version)s, %(server)s")
_SILENT = N_("ne donne plus signe de vie (%(server)s)")
_ENDS = N_("jusqu'au %(day)s, encore %(days)s jours")
_ENDED = N_("terminé depuis le %(day)s")
