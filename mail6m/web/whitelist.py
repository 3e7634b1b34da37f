"""Liste blanche: domains that are never taken for senders of spam (the brochure's VII.V)."""

from __future__ import annotations

from typing import Any

from wtforms import Form, ValidationError
from wtforms.validators import DataRequired

from mail6m.domains import read_domain, unicode_form
from mail6m.storage.whitelist import MOST, Whitelist
from mail6m.web.forms import Line
from mail6m.web.menu import N_
from mail6m.web.routes import act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

# Everybody may have an address there, and those who send spam do.
_BRANDS = {"aol", "gmail", "gmx", "googlemail", "hotmail", "live", "msn", "outlook", "yahoo"}
_PROVIDERS = {
    "163.com", "9online.fr", "aliceadsl.fr", "bbox.fr", "bluewin.ch", "caramail.com",
    "club-internet.fr", "comcast.net", "dbmail.com", "free.fr", "freesurf.fr", "icloud.com",
    "laposte.net", "libertysurf.fr", "mac.com", "mail.com", "mail.ru", "me.com", "neuf.fr",
    "noos.fr", "numericable.fr", "orange.fr", "proton.me", "protonmail.com", "qq.com",
    "rocketmail.com", "sfr.fr", "skynet.be", "t-online.de", "tele2.fr", "tiscali.fr",
    "videotron.ca", "voila.fr", "wanadoo.fr", "web.de", "yandex.ru", "ymail.com", "zoho.com",
}  # fmt: skip


def everybodys(domain: str) -> bool:
    """Whether it is a well-known provider, where everybody may have an address."""
    name, _, rest = domain.partition(".")
    return domain in _PROVIDERS or (name in _BRANDS and rest.count(".") < 2)


class EntryForm(Form):
    """A new entry."""

    entry = Line(N_("Entrée"), [DataRequired(N_("Indiquez un domaine, comme cargo.com."))])

    def __init__(self, given: Any, entries: list[str], sure: str = "") -> None:
        self.asks = False
        """It is one that had better not be added: whoever is sure says so."""
        self._entries = entries
        self._sure = sure
        super().__init__(given)

    def validate_entry(self, field: Line) -> None:
        """A domain that is not there yet; `domain` has its canonical name."""
        typed = field.data or ""
        if "@" in typed:
            raise ValidationError(
                N_("C'est un domaine qu'il faut ici, pas une adresse : ce qui suit le signe @.")
            )
        try:
            self.domain = read_domain(typed)
        except ValueError as error:
            raise ValidationError(
                N_("Ce n'est pas un nom de domaine. Écrivez-le comme cargo.com.")
            ) from error
        if self.domain in self._entries:
            raise ValidationError(N_("Ce domaine est déjà dans votre liste blanche."))
        if len(self._entries) >= MOST:
            raise ValidationError(N_("Votre liste blanche est pleine : 1 000 entrées au plus."))
        if everybodys(self.domain) and self._sure != self.domain:
            self.asks = True
            raise ValidationError(ADVICE)


ADVICE = N_(
    "Nous vous déconseillons vivement de placer dans votre liste blanche des noms de domaines"
    " connus tels que yahoo.com, hotmail.com, wanadoo.fr, etc."
)


class WhitelistPages:
    """The customer's white list."""

    def __init__(self, whitelist: Whitelist) -> None:
        self._whitelist = whitelist

    @page("/liste-blanche", viewed=True)
    async def show(self, visit: Visit) -> Answer:
        """Liste blanche: domains that are never taken for senders of spam."""
        entries = await self._whitelist.all(visit.customer)
        return await self._page(visit, EntryForm(None, entries), entries)

    @act("/liste-blanche")
    async def add(self, visit: Visit) -> Answer:
        """The button Ajouter."""
        entries = await self._whitelist.all(visit.customer)
        form = EntryForm(visit.form, entries, visit.form.get("sur", ""))
        if not form.validate():
            return await self._page(visit, form, entries, status=400)
        await self._whitelist.add(visit.by, form.domain)
        say = visit._("%(domain)s est maintenant dans votre liste blanche.")
        return Redirect("/liste-blanche", say % {"domain": unicode_form(form.domain)})

    @act("/liste-blanche/effacer")
    async def remove(self, visit: Visit) -> Answer:
        """The button Effacer of an entry."""
        domain = visit.form.get("domaine", "")
        if not await self._whitelist.remove(visit.by, domain):
            raise NotFound
        say = visit._("%(domain)s n'est plus dans votre liste blanche.")
        return Redirect("/liste-blanche", say % {"domain": unicode_form(domain)})

    @act("/liste-blanche/preuve")
    async def ask_for_proof(self, visit: Visit) -> Answer:
        """The button Enregistrer below the list: whether SPF or DKIM must confirm a domain."""
        confirm = "preuve" in visit.form
        await self._whitelist.ask_for_proof(visit.by, confirm)
        say = (
            N_("Un domaine de votre liste blanche doit désormais être confirmé par SPF ou DKIM.")
            if confirm
            else N_("Vos domaines en liste blanche sont désormais crus sans preuve.")
        )
        return Redirect("/liste-blanche", visit._(say))

    async def _page(
        self, visit: Visit, form: EntryForm, entries: list[str], status: int = 200
    ) -> Answer:
        rules = await self._whitelist.rules(visit.customer)
        values = {
            "form": form,
            "entries": [(domain, unicode_form(domain)) for domain in entries],
            "advice": ADVICE,
            "confirm": rules.confirm,
        }
        return Html("whitelist.html", values, status)
