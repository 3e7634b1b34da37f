"""Clés d'API: what a customer's programs come in with, and what each of them may do."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

from wtforms import Form, SelectMultipleField, ValidationError
from wtforms.validators import DataRequired, Optional

from mail6m.access.tokens import api_token_hash, new_api_token
from mail6m.model import Scope
from mail6m.storage.errors import Refused
from mail6m.storage.tokens import Token, Tokens
from mail6m.web.forms import Day, Line, at_most
from mail6m.web.menu import N_
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

PATH = "/cles"
LONGEST = timedelta(days=3_660)
"""How far off the end of a key may be: ten years."""
SCOPES = {
    Scope.MESSAGES_READ: N_("Chercher des messages et voir leurs détails"),
    Scope.MESSAGES_REISSUE: N_("Emettre des messages à nouveau"),
    Scope.USAGE_READ: N_("Voir ce que contiennent le meuble et la cave"),
    Scope.QUEUE_READ: N_("Voir la file d'attente"),
    Scope.QUEUE_RETRY: N_("Réessayer une remise qui attend"),
    Scope.DISCS_READ: N_("Voir les DVD"),
    Scope.INVOICES_READ: N_("Voir les factures et les télécharger"),
}
"""What they are called on the page."""


class KeyForm(Form):
    """A new key."""

    name = Line(
        N_("Nom de la clé"), [DataRequired(N_("Dites quel programme s'en servira.")), at_most(60)]
    )
    scopes = SelectMultipleField(
        N_("Ce qu'elle permet"),
        [DataRequired(N_("Cochez ce que la clé permet."))],
        choices=[],  # the page has them
        validate_choice=False,
    )
    until = Day(N_("Jusqu'au"), [Optional()])

    def __init__(self, given: Any, visit: Visit) -> None:
        self._visit = visit
        super().__init__(given)

    def validate_scopes(self, field: SelectMultipleField) -> None:
        """Nothing that the page does not offer."""
        if not set(field.data or []) <= set(Scope):
            raise ValidationError(N_("Cochez ce que la clé permet."))

    def validate_until(self, field: Day) -> None:
        """A day to come, if anything."""
        today = self._visit.today
        if field.data is not None and not today <= field.data <= today + LONGEST:
            raise ValidationError(N_("Choisissez un jour à venir, d'ici à dix ans."))

    def expires_at(self) -> datetime | None:
        """The end of that day, where the customer is."""
        if self.until.data is None:
            return None
        day = self.until.data + timedelta(days=1)
        return datetime.combine(day, time(), tzinfo=self._visit.zone)

    def chosen(self) -> list[Scope]:
        """What it is to open."""
        return [scope for scope in Scope if scope in (self.scopes.data or [])]


class KeyPages:
    """The keys of a customer's programs."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    @page(PATH, Access.ADMINISTRATOR)
    async def list(self, visit: Visit) -> Answer:
        """Clés d'API: what programs come in with, and what each key may do."""
        return await self._page(visit, KeyForm(None, visit))

    @act(PATH)
    async def add(self, visit: Visit) -> Answer:
        """The button Créer: a new key, which is shown this once."""
        form = KeyForm(visit.form, visit)
        if not form.validate():
            return await self._page(visit, form, 400)
        key, name = new_api_token(), form.name.data or ""
        try:
            await self._tokens.add(
                visit.by, name, form.chosen(), api_token_hash(key), form.expires_at()
            )
        except Refused:
            form.name.errors = [_FULL]
            return await self._page(visit, form, 409)
        return Html("key_made.html", {"key": key, "name": name})

    @act("/cles/revoquer")
    async def revoke(self, visit: Visit) -> Answer:
        """The button Révoquer: asks once, then the key opens nothing any more."""
        token = await self._chosen(visit)
        if visit.form.get("sur") != "oui":
            return Html("key_revoke.html", {"token": token})
        if not await self._tokens.revoke(visit.by, token):
            raise NotFound
        return Redirect(PATH, visit._(_REVOKED) % {"name": token.name})

    async def _page(self, visit: Visit, form: KeyForm, status: int = 200) -> Answer:
        tokens = await self._tokens.all(visit.customer)
        shown = [(token, _ended(token, visit)) for token in tokens]
        values = {"form": form, "tokens": shown, "labels": SCOPES, "last": timedelta(seconds=1)}
        return Html("keys.html", values, status)

    async def _chosen(self, visit: Visit) -> Token:
        number = visit.form.get("cle", "")
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise NotFound
        try:
            return await self._tokens.get(visit.customer, int(number))
        except Refused:
            raise NotFound from None


_FULL = N_("Vous avez déjà 50 clés : révoquez celles qui ne servent plus.")
_REVOKED = N_("La clé « %(name)s » est révoquée : elle n'ouvre plus rien.")


def _ended(token: Token, visit: Visit) -> bool:
    return token.expires_at is not None and token.expires_at <= visit.now
