"""Avis par e-mail: every letter that Mail6M writes, as those get it whom it is for."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from mail6m.intake import Rejected
from mail6m.letters import Letter, Letters, Notices
from mail6m.model import HOUSE, Act
from mail6m.notices.catalogue import KINDS, TOPICS, Kind, kind_of
from mail6m.storage.audit import Audit
from mail6m.web.menu import N_
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Plain, Redirect, Visit
from mail6m.web.words import LANGUAGES

PATH = "/exploitation/avis"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'none'; sandbox"
)
"""A letter has its styles in itself, as mail readers want it; it may do nothing else here."""
_NAMES = {"fr": N_("en français"), "en": N_("en anglais")}
_SAMPLE = N_("Essai :")
_SENT = N_("L'avis vous a été envoyé.")
_NOT_SENT = N_("L'avis n'a pas pu être mis en file. Essayez à nouveau plus tard.")


class Shown(NamedTuple):
    """A letter in a language, as an example."""

    kind: Kind
    language: str
    letter: Letter

    @property
    def path(self) -> str:
        """Where it is shown."""
        return f"{PATH}/{self.kind.name}"


class NoticePages:
    """What customers, their people and operators are written to."""

    def __init__(self, notices: Notices, letters: Letters, audit: Audit) -> None:
        self._notices = notices
        self._letters = letters
        self._audit = audit

    @page(PATH, Access.OBSERVER)
    async def index(self, visit: Visit) -> Answer:
        """Avis par e-mail: which there are, when they are sent, and who may do without."""
        return Html("operator/notices.html", {"kinds": KINDS, "languages": _NAMES})

    @page(f"{PATH}/<name>", Access.OBSERVER)
    async def show(self, visit: Visit, name: str) -> Answer:
        """One of them, with values that are made up: its subject and its text."""
        shown = self._shown(visit, name, visit.query.get("lettre", ""))
        values = {"shown": shown, "topics": TOPICS, "languages": _NAMES, "section": PATH}
        return Html("operator/notice.html", values)

    @page(f"{PATH}/<name>/html", Access.OBSERVER)
    async def show_html(self, visit: Visit, name: str) -> Answer:
        """The same as mail readers show it; a page with a policy of its own."""
        shown = self._shown(visit, name, visit.query.get("lettre", ""))
        return Plain(shown.letter.html.encode(), "text/html; charset=utf-8", policy=POLICY)

    @act(f"{PATH}/<name>", Access.OPERATOR)
    async def send(self, visit: Visit, name: str) -> Answer:
        """The button M'envoyer cet avis: the example, to the operator's own address."""
        shown = self._shown(visit, name, visit.form.get("lettre", ""))
        subject = f"{visit._(_SAMPLE)} {shown.letter.subject}"
        back = f"{shown.path}?lettre={shown.language}"
        try:
            letter = replace(shown.letter, subject=subject)
            await self._letters.send(HOUSE, visit.identity.email, letter)
        except Rejected:
            return Redirect(back, visit._(_NOT_SENT))
        await self._audit.add(visit.by, Act.SAMPLE_SENT, f"{name} ({shown.language})")
        return Redirect(back, visit._(_SENT))

    def _shown(self, visit: Visit, name: str, asked: str) -> Shown:
        language = asked if asked in LANGUAGES else visit.language
        try:
            kind = kind_of(name)
        except KeyError as error:
            raise NotFound from error
        letter = self._notices.sample(name, HOUSE, visit.identity.email, language)
        return Shown(kind, language, letter)
