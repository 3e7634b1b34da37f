"""Meuble, Recherche, Details; and what the buttons below the list do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from wtforms import Form, SelectField, ValidationError

from mail6m.dialogue.address import domain_of
from mail6m.domains import unicode_form
from mail6m.guard.lessons import Lessons
from mail6m.model import Criteria, Delivery, State
from mail6m.shelves.cabinet import Cabinet, criteria
from mail6m.shelves.reissue import Reissue
from mail6m.storage.archive import Archive
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.domains import Domains
from mail6m.storage.errors import Refused
from mail6m.storage.whitelist import Whitelist
from mail6m.web.forms import Line, at_most
from mail6m.web.menu import N_
from mail6m.web.pager import followed, numbered
from mail6m.web.proofs import proofs
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit, is_inside
from mail6m.web.whitelist import everybodys

MOST = 1_000
"""Messages that can be chosen at once."""
_DETAILS = 20
"""Messages whose details stand on one page."""
_DATE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T]+(\d{1,2})(?:[:h](\d{1,2})(?::(\d{1,2}))?)?)?"
)


def read_date(typed: str, zone: ZoneInfo) -> datetime:
    """``2005-07-01 9:30``, or a day alone, in a time zone. Raises `ValueError`."""
    match = _DATE.fullmatch(typed.strip())
    if match is None:
        raise ValueError(typed)
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    if not 1_970 <= year <= 9_998:  # what is a date in one time zone must be one in all of them
        raise ValueError(typed)
    return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)


class TermsForm(Form):
    """What messages are known by: the fields of the brochure's search (VII.III)."""

    sender = Line(N_("Expéditeur"), [at_most(320)])
    recipient = Line(N_("Destinataire"), [at_most(320)])
    subject = Line(N_("Sujet"), [at_most(500)])
    since = Line(N_("Entre le"))
    until = Line(N_("Et le"))

    def __init__(self, given: Any, zone: ZoneInfo) -> None:
        self.zone = zone
        super().__init__(given)

    def validate_since(self, field: Line) -> None:
        """A date, if anything."""
        if field.data:
            self._read(field)

    def validate_until(self, field: Line) -> None:
        """A date, if anything, and not before the other."""
        if not field.data:
            return
        until = self._read(field)
        try:
            backwards = bool(self.since.data) and until < read_date(
                self.since.data or "", self.zone
            )
        except (ValueError, OverflowError):
            return
        if backwards:
            raise ValidationError(N_("Cette date est avant la première."))

    def _read(self, field: Line) -> datetime:
        try:
            return read_date(field.data or "", self.zone)
        except (ValueError, OverflowError) as error:
            raise ValidationError(
                N_("Écrivez la date comme 2005-07-01 9:30, ou 2005-07-01.")
            ) from error


KINDS = {
    "": N_("Tous les messages"),
    "spam": N_("Les spams"),
    "legitimes": N_("Sans les spams"),
}
"""What a list may be narrowed to."""
_SPAM = {"spam": True, "legitimes": False}


class SearchForm(TermsForm):
    """The brochure's search, and of what kind of messages."""

    show = SelectField(N_("Afficher"), default="")

    def __init__(self, given: Any, zone: ZoneInfo, _: Callable[[str], str]) -> None:
        super().__init__(given, zone)
        self.show.choices = [(kind, _(label)) for kind, label in KINDS.items()]


class CabinetPages:
    """The cabinet, and what is found in it."""

    def __init__(
        self,
        cabinet: Cabinet,
        archive: Archive,
        deliveries: Deliveries,
        reissue: Reissue,
        lessons: Lessons,
        whitelist: Whitelist,
        domains: Domains,
        hostnames: Sequence[str],
    ) -> None:
        self._cabinet = cabinet
        self._archive = archive
        self._deliveries = deliveries
        self._reissue = reissue
        self._lessons = lessons
        self._whitelist = whitelist
        self._domains = domains
        self._hostnames = hostnames

    @page("/meuble", viewed=True)
    async def list(self, visit: Visit) -> Answer:
        """Meuble: what is in it, page by page, newest first."""
        if (kind := visit.query.get("afficher", "")) in _SPAM:
            return await self._list_of_kind(visit, kind)
        rows = visit.identity.cabinet_rows
        asked = visit.number("page", 1)
        holding, messages = await self._cabinet.page(visit.customer, asked, rows)
        last = max(1, -(-holding.messages // rows))
        number = min(asked, last)
        values: dict[str, Any] = {
            "messages": messages,
            "holding": holding,
            "capacity": visit.identity.capacity,
            "pager": numbered(number, last, lambda n: f"/meuble?page={n}"),
            "back": visit.path,
            "kinds": _kinds(""),
        }
        if not holding.messages:
            values["domains"] = await self._domains.all(visit.customer)
            values["hostnames"] = self._hostnames
        return Html("cabinet.html", values)

    async def _list_of_kind(self, visit: Visit, kind: str) -> Answer:
        """The cabinet's spam alone, or all but spam: pages that follow each other."""
        rows = visit.identity.cabinet_rows
        number, before = _place(visit)
        wanted = Criteria(spam=_SPAM[kind])
        holding = (await self._cabinet.page(visit.customer, 1, 1)).holding
        results = await self._cabinet.search(visit.customer, wanted, rows, before)

        def address(page: int, last: UUID) -> str:
            return "/meuble?" + urlencode({"afficher": kind, "page": page, "avant": last})

        nexts = [address(number + ahead, last) for ahead, last in enumerate(results.nexts, 1)]
        values = {
            "messages": results.messages,
            "holding": holding,
            "capacity": visit.identity.capacity,
            "pager": followed(number, f"/meuble?afficher={kind}", nexts),
            "back": visit.path,
            "kinds": _kinds(kind),
        }
        return Html("cabinet.html", values)

    @page("/recherche", viewed=True)
    async def search(self, visit: Visit) -> Answer:
        """Recherche: by sender, recipient, subject and time, all together."""
        form = SearchForm(visit.query, visit.zone, visit._)
        values: dict[str, Any] = {"form": form, "results": None, "back": visit.path}
        asked = {field.name: (field.data or "").strip() for field in form}
        if not any(asked.values()) or not form.validate():
            return Html("search.html", values)
        number, before = _place(visit)
        rows = visit.identity.search_rows
        since, until = (
            read_date(asked[name], visit.zone) if asked[name] else None
            for name in ("since", "until")
        )
        texts = (asked["sender"], asked["recipient"], asked["subject"])
        wanted = criteria(*texts, since, until, _SPAM.get(asked["show"]))
        results = await self._cabinet.search(visit.customer, wanted, rows, before)

        def address(ahead: int, last: UUID) -> str:
            return search_path({**asked, "page": str(number + ahead), "avant": str(last)})

        nexts = [address(ahead, last) for ahead, last in enumerate(results.nexts, 1)]
        values["results"] = results
        values["pager"] = followed(number, search_path(asked), nexts)
        return Html("search.html", values)

    @page("/details", viewed=True)
    async def details(self, visit: Visit) -> Answer:
        """Details of chosen messages: everything but their content."""
        shown = []
        for id_ in _ids(visit.query.getlist("id"))[:_DETAILS]:
            try:
                details = await self._archive.details(visit.customer, id_)
            except Refused:
                continue
            shown.append((details, await self._deliveries.of_message(visit.customer, id_)))
        if not shown:
            raise NotFound
        values = {
            "shown": shown,
            "back": _inside(visit.query.get("retour", "")),
            "proofs": proofs,
        }
        return Html("details.html", values)

    @act("/meuble/details", Access.READER, suspended=True)
    async def show_details(self, visit: Visit) -> Answer:
        """The button Details: on to the page of the chosen messages."""
        chosen, back = (
            _ids(visit.form.getlist("id"))[:_DETAILS],
            _inside(visit.form.get("retour", "")),
        )
        if not chosen:
            return self._nothing_chosen(visit, back)
        return Redirect("/details?" + urlencode({"id": chosen, "retour": back}, doseq=True))

    @act("/meuble/emettre")
    async def reissue(self, visit: Visit) -> Answer:
        """The button Emettre: the chosen messages go to their recipients again."""
        chosen, back = _ids(visit.form.getlist("id")), _inside(visit.form.get("retour", ""))
        messages = await self._cabinet.some(visit.customer, chosen)
        if not messages:
            return self._nothing_chosen(visit, back)
        sent = await self._reissue.send(visit.by, messages)
        query = {"id": [str(message.id) for message in messages], "retour": back}
        say = ""
        if sent.without_way:
            say = visit._("Sans machine de réception, et donc pas émis : %(addresses)s") % {
                "addresses": ", ".join(dict.fromkeys(sent.without_way))
            }
        return Redirect("/emissions?" + urlencode(query, doseq=True), say)

    @page("/emissions", viewed=True)
    async def reissued(self, visit: Visit) -> Answer:
        """What has become of messages that were sent again."""
        messages = await self._cabinet.some(visit.customer, _ids(visit.query.getlist("id")))
        if not messages:
            raise NotFound
        shown = [
            (message, _last(await self._deliveries.of_message(visit.customer, message.id)))
            for message in messages
        ]
        under_way = any(d.state == State.QUEUED for _, deliveries in shown for d in deliveries)
        back = _inside(visit.query.get("retour", ""))
        return Html("reissued.html", {"shown": shown, "under_way": under_way, "back": back})

    @act("/meuble/supprimer")
    async def delete(self, visit: Visit) -> Answer:
        """The button Supprimer: asks once, then deletes for good."""
        chosen, back = _ids(visit.form.getlist("id")), _inside(visit.form.get("retour", ""))
        messages = await self._cabinet.some(visit.customer, chosen)
        if not messages:
            return self._nothing_chosen(visit, back)
        if visit.form.get("sur") != "oui":
            return Html("delete.html", {"messages": messages, "back": back})
        count = await self._archive.delete(visit.by, [message.id for message in messages])
        say = visit.words.ngettext(
            "%(count)s message a été supprimé définitivement.",
            "%(count)s messages ont été supprimés définitivement.",
            count,
        ) % {"count": count}
        return Redirect(back, say)

    @act("/meuble/spam")
    async def mark_spam(self, visit: Visit) -> Answer:
        """The button "C'est un spam": corrects the mark, and the antispam learns."""
        chosen, back = _ids(visit.form.getlist("id")), _inside(visit.form.get("retour", ""))
        messages = await self._cabinet.some(visit.customer, chosen)
        if not messages:
            return self._nothing_chosen(visit, back)
        await self._lessons.correct(visit.by, [message.id for message in messages], spam=True)
        say = visit.words.ngettext(
            "%(count)s message est marqué comme spam. L'antispam apprend de votre correction.",
            "%(count)s messages sont marqués comme spam. L'antispam apprend de votre correction.",
            len(messages),
        ) % {"count": len(messages)}
        return Redirect(back, say)

    @act("/meuble/legitimes")
    async def mark_legitimate(self, visit: Visit) -> Answer:
        """The button "Ce n'est pas un spam": the same, and it offers the white list."""
        chosen, back = _ids(visit.form.getlist("id")), _inside(visit.form.get("retour", ""))
        messages = await self._cabinet.some(visit.customer, chosen)
        if not messages:
            return self._nothing_chosen(visit, back)
        ids = [message.id for message in messages]
        await self._lessons.correct(visit.by, ids, spam=False)
        query = {"id": [str(id_) for id_ in ids[:_DETAILS]], "retour": back}
        return Redirect("/legitimes?" + urlencode(query, doseq=True))

    @page("/legitimes")
    async def legitimate(self, visit: Visit) -> Answer:
        """Messages that are no spam, and their senders' domains for the white list."""
        chosen = _ids(visit.query.getlist("id"))[:_DETAILS]
        messages = await self._cabinet.some(visit.customer, chosen)
        if not messages:
            raise NotFound
        rules = await self._whitelist.rules(visit.customer)
        domains = dict.fromkeys(domain_of(message.sender) for message in messages)
        offers = [
            (domain, unicode_form(domain))
            for domain in domains
            if "." in domain and not rules.entry(domain) and not everybodys(domain)
        ]
        back = _inside(visit.query.get("retour", ""))
        values = {"messages": messages, "offers": offers, "back": back}
        return Html("legitimate.html", values)

    def _nothing_chosen(self, visit: Visit, back: str) -> Answer:
        return Redirect(back, visit._("Cochez d'abord un ou plusieurs messages."))


def _last(deliveries: list[Delivery]) -> list[Delivery]:
    """Each recipient's last one: the number says, since times move on when an operator lets go."""
    last = {one.recipient: one.number for one in sorted(deliveries, key=lambda one: one.number)}
    return [one for one in deliveries if last[one.recipient] == one.number]


def _place(visit: Visit) -> tuple[int, UUID | None]:
    """Where in a list that is followed: the page's number, and the last id before it."""
    before = _id(visit.query.get("avant", ""))
    return (1 if before is None else visit.number("page", 1)), before


def _kinds(shown: str) -> list[tuple[str, str, bool]]:
    """What the cabinet may be narrowed to: address, label, whether it is."""
    return [
        (f"/meuble?afficher={kind}" if kind else "/meuble", label, kind == shown)
        for kind, label in KINDS.items()
    ]


def search_path(asked: dict[str, str]) -> str:
    """The address of a search, by what is filled in."""
    return "/recherche?" + urlencode({name: value for name, value in asked.items() if value})


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _ids(texts: Sequence[str]) -> list[UUID]:
    """Those that are ids, each once."""
    found = dict.fromkeys(id_ for text in texts[:MOST] if (id_ := _id(text)) is not None)
    return list(found)


def _inside(path: str) -> str:
    """Back to the list that one came from, and nowhere else."""
    lists = ("/meuble", "/recherche?", "/file")
    return path if path.startswith(lists) and is_inside(path) else "/meuble"
