"""Comptes: who runs Mail6M, and as what."""

from __future__ import annotations

from mail6m.access.links import PasswordLinks
from mail6m.model import Role
from mail6m.storage.accounts import Accounts
from mail6m.web.accounts import Circle, Members
from mail6m.web.menu import N_
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, Visit

PATH = "/exploitation/comptes"
OF_HOUSE = Circle(
    PATH,
    "operator/",
    {
        Role.OBSERVER: N_("Observateur"),
        Role.BOOKKEEPER: N_("Comptable"),
        Role.OPERATOR: N_("Exploitant"),
    },
    {
        Role.OBSERVER: N_("%(email)s est maintenant observateur."),
        Role.BOOKKEEPER: N_("%(email)s est maintenant comptable."),
        Role.OPERATOR: N_("%(email)s est maintenant exploitant."),
    },
    N_("Il faut un exploitant au moins : c'est le dernier."),
)


class OperatorAccountPages:
    """The accounts of the house."""

    def __init__(self, accounts: Accounts, links: PasswordLinks) -> None:
        self._accounts = accounts
        self._members = Members(OF_HOUSE, accounts, links)

    @page(PATH, Access.OPERATOR)
    async def list(self, visit: Visit) -> Answer:
        """Comptes: who runs Mail6M, and as what."""
        return await self._members.show(visit)

    @act(PATH, Access.OPERATOR)
    async def add(self, visit: Visit) -> Answer:
        """Add an account of the house, and invite who is to use it."""
        return await self._members.add(visit)

    @act(PATH + "/inviter", Access.OPERATOR)
    async def invite(self, visit: Visit) -> Answer:
        """Send the invitation again, to who has no password yet."""
        return await self._members.invite(visit)

    @act(PATH + "/role", Access.OPERATOR)
    async def change_role(self, visit: Visit) -> Answer:
        """Give somebody of the house another role, from the next request on."""
        return await self._members.change_role(visit)

    @act(PATH + "/supprimer", Access.OPERATOR)
    async def remove(self, visit: Visit) -> Answer:
        """Asks once, then removes an account of the house; its sessions end."""
        return await self._members.remove(visit)

    @act(PATH + "/second-facteur", Access.OPERATOR)
    async def reset(self, visit: Visit) -> Answer:
        """Asks once, then takes a lost second factor back from another; the sessions end."""
        account = await self._members.chosen(visit)
        if account.account == visit.identity.account:
            return self._members.back(visit, _NOT_OWN)
        if visit.form.get("sur") != "oui":
            return Html("operator/factor_reset.html", {"account": account})
        if not await self._accounts.reset_totp(visit.by, account.account):
            return self._members.back(visit, _NONE, account.email)
        return self._members.back(visit, _RESET, account.email)


_NOT_OWN = N_("Un autre exploitant doit le faire pour vous.")
_NONE = N_("%(email)s n'a pas de second facteur.")
_RESET = N_("%(email)s doit activer un nouveau second facteur.")
