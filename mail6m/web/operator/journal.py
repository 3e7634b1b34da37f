"""Journal: what everybody did, customers and the house; filtered, and as a file."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import AsyncIterator
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from wtforms import Form, SelectField, ValidationError
from wtforms.validators import Optional

from mail6m.access.passwords import InThread
from mail6m.storage.audit import EPOCH, NOW, Audit, Noted, Place, Wanted
from mail6m.web.activity import ACTS, Line, line_of
from mail6m.web.forms import Day, at_most
from mail6m.web.forms import Line as TextLine
from mail6m.web.menu import N_
from mail6m.web.pager import followed
from mail6m.web.routes import Access, page
from mail6m.web.visit import Answer, Download, Html, Visit

PATH = "/exploitation/journal"
ROWS = 50
WALKED = 20_000
"""Acts that are looked at for a page; a filter that lets few through goes on from there."""
FILE_ROWS, FILE_WALKED = 5_000, 100_000
"""The same for a file."""
_LATEST = 250_000_000_000_000_000
"""Microseconds since 1970 that a moment can have, before the year 9892."""


class JournalForm(Form):
    """Which acts; an empty field asks for nothing."""

    client = TextLine(N_("Client n°"))
    compte = TextLine(N_("Compte"), [at_most(320)])
    acte = SelectField(N_("Action"), default="")
    jour = Day(N_("Jour"), [Optional()])

    def __init__(self, given: Any, visit: Visit) -> None:
        super().__init__(given)
        named = sorted((visit._(label), act.value) for act, label in ACTS.items())
        self.acte.choices = [("", visit._(N_("Toutes")))] + [(act, label) for label, act in named]

    def validate_client(self, field: TextLine) -> None:
        """A customer's number, or the house's."""
        typed = field.data = (field.data or "").strip()
        if typed and not (_is_number(typed) and int(typed) < 2**31):
            raise ValidationError(N_("Ce n'est pas un numéro."))

    def wanted(self, visit: Visit) -> Wanted:
        """What has been typed, once it is valid; a day is the visitor's."""
        since, until = EPOCH, NOW.at
        if self.jour.data is not None and self.jour.data < date(9000, 1, 1):
            since = datetime.combine(self.jour.data, time(), visit.zone)
            until = datetime.combine(self.jour.data + timedelta(days=1), time(), visit.zone)
        account = (self.compte.data or "").strip()
        client = int(self.client.data) if self.client.data else None
        return Wanted(client, account, self.acte.data or "", since, until)


class JournalPages:
    """The audit of all."""

    def __init__(self, audit: Audit, in_thread: InThread) -> None:
        self._audit = audit
        self._in_thread = in_thread

    @page(PATH, Access.OBSERVER)
    async def show(self, visit: Visit) -> Answer:
        """Journal: what everybody did, newest first, with a filter."""
        form = JournalForm(visit.query, visit)
        if not form.validate():
            return Html("operator/journal.html", _shown(form, visit, [], None), 400)
        wanted, before = form.wanted(visit), _place(visit.query.get("avant", ""))
        stretch = await self._audit.walk(wanted, before, ROWS, WALKED)
        number = visit.number("page", 1)
        query = _query(form)
        following = []
        if stretch.next is not None:
            further = {"page": number + 1, "avant": _written(stretch.next)}
            following = [f"{PATH}?{urlencode(query | further)}"]
        first = f"{PATH}?{urlencode(query)}" if query else PATH
        values = _shown(form, visit, stretch.acts, stretch.reached)
        values |= {
            "pager": followed(number, first, following),
            "further": following[0] if following and len(stretch.acts) < ROWS else "",
        }
        return Html("operator/journal.html", values)

    @page(PATH + ".csv", Access.OBSERVER)
    async def file(self, visit: Visit) -> Answer:
        """The same as a file for a spreadsheet, of the newest acts."""
        form = JournalForm(visit.query, visit)
        if not form.validate():
            return Html("operator/journal.html", _shown(form, visit, [], None), 400)
        stretch = await self._audit.walk(form.wanted(visit), NOW, FILE_ROWS, FILE_WALKED)
        octets: bytes = await self._in_thread(_csv, stretch.acts)
        etag = hashlib.sha256(octets).hexdigest()[:16]
        name = f"journal-{visit.today}.csv"
        kind = "text/csv; charset=utf-8"
        return Download(name, kind, len(octets), etag, partial(_pieces, octets))


def _shown(
    form: JournalForm, visit: Visit, acts: list[Noted], reached: datetime | None
) -> dict[str, Any]:
    query = _query(form)
    return {
        "form": form,
        "lines": [(noted, _line(noted, visit)) for noted in acts],
        "reached": reached,
        "pager": followed(1, PATH, []),
        "further": "",
        "file": f"{PATH}.csv?{urlencode(query)}" if query else f"{PATH}.csv",
        "file_rows": FILE_ROWS,
    }


def _line(noted: Noted, visit: Visit) -> Line:
    return line_of(noted.entry, frozenset(), visit._)


def _query(form: JournalForm) -> dict[str, Any]:
    """What has been typed, for a link."""
    return {name: value for name, value in form.data.items() if value not in (None, "")}


def _written(place: Place) -> str:
    return f"{(place.at - EPOCH) // timedelta(microseconds=1)}-{place.number}"


def _place(written: str) -> Place:
    """Where a link goes on; what is none begins with the newest."""
    moment, dash, number = written.partition("-")
    if not (dash and _is_number(moment) and _is_number(number) and int(moment) < _LATEST):
        return NOW
    return Place(EPOCH + timedelta(microseconds=int(moment)), int(number))


def _is_number(written: str) -> bool:
    return written.isascii() and written.isdecimal() and len(written) < 19


def _csv(acts: list[Noted]) -> bytes:
    made = io.StringIO(newline="")
    writer = csv.writer(made, delimiter=";")
    writer.writerow(("at", "customer", "company", "account", "house", "client", "act", "object"))
    for noted in acts:
        entry = noted.entry
        row = (
            entry.at.isoformat(timespec="milliseconds"), noted.customer, noted.company,
            entry.account, int(entry.house), entry.client, entry.act, entry.object,
        )  # fmt: skip
        writer.writerow([_inert(str(value)) for value in row])
    return b"\xef\xbb\xbf" + made.getvalue().encode("utf-8", "replace")


def _inert(value: str) -> str:
    """What somebody typed is no formula of a spreadsheet."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


async def _pieces(octets: bytes, place: int) -> AsyncIterator[bytes]:
    yield octets[place:]
