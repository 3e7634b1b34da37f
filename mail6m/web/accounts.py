"""Comptes: who of a customer's may sign in, and as what."""

from __future__ import annotations

from typing import Any

from wtforms import Form, SelectField, ValidationError
from wtforms.validators import DataRequired

from mail6m.access.brake import TooManyFailures
from mail6m.access.links import NoAddress, PasswordLinks
from mail6m.dialogue.address import AddressError, canonical, domain_of
from mail6m.intake import Rejected
from mail6m.model import Role
from mail6m.storage.accounts import Account, Accounts
from mail6m.storage.errors import Refused
from mail6m.web.forms import Line
from mail6m.web.menu import N_
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

_ROLES = ((Role.READER, N_("Lecteur")), (Role.ADMINISTRATOR, N_("Administrateur")))


class AccountForm(Form):
    """Somebody more."""

    email = Line(N_("E-mail"), [DataRequired(N_("Indiquez une adresse e-mail."))])
    role = SelectField(N_("Rôle"))

    def __init__(self, visit: Visit, given: Any = None) -> None:
        super().__init__(given)
        self.role.choices = [(role.value, visit._(label)) for role, label in _ROLES]

    def validate_email(self, field: Line) -> None:
        """An address that a letter can go to."""
        try:
            field.data = canonical((field.data or "").strip())
        except AddressError:
            field.data = field.data or ""
            raise ValidationError(_NO_ADDRESS) from None
        if "." not in domain_of(field.data) or len(field.data) > 320:
            raise ValidationError(_NO_ADDRESS)


_NO_ADDRESS = N_("Écrivez une adresse comme celine@mondomaine.fr.")


class AccountPages:
    """The accounts of a customer."""

    def __init__(self, accounts: Accounts, links: PasswordLinks) -> None:
        self._accounts = accounts
        self._links = links

    @page("/comptes", Access.ADMINISTRATOR)
    async def list(self, visit: Visit) -> Answer:
        """Comptes: who may sign in, and as what."""
        return await self._page(visit, AccountForm(visit))

    @act("/comptes")
    async def add(self, visit: Visit) -> Answer:
        """Add an account, and invite who is to use it."""
        form = AccountForm(visit, visit.form)
        if not form.validate():
            return await self._page(visit, form, 400)
        email = form.email.data or ""
        try:
            account = await self._accounts.add(visit.by, email, Role(form.role.data))
        except Refused:
            form.email.errors = [N_("Cette adresse a déjà un compte.")]
            return await self._page(visit, form, 409)
        return Redirect("/comptes", await self._invite(visit, account, email))

    @act("/comptes/inviter")
    async def invite(self, visit: Visit) -> Answer:
        """Send the invitation again, to who has no password yet."""
        account = await self._chosen(visit)
        if account.password_hash is not None:
            return Redirect("/comptes", visit._("Ce compte a déjà son mot de passe."))
        return Redirect("/comptes", await self._invite(visit, account.account, account.email))

    @act("/comptes/role")
    async def change_role(self, visit: Visit) -> Answer:
        """Make somebody an administrator, or a reader, from the next request on."""
        account = await self._chosen(visit)
        try:
            role = Role(visit.form.get("role", ""))
        except ValueError:
            raise NotFound from None
        if not await self._accounts.set_role(visit.by, account.account, role):
            return Redirect("/comptes", visit._(_LAST))
        said = N_("%(email)s est maintenant administrateur.")
        if role is Role.READER:
            said = N_("%(email)s est maintenant lecteur.")
        return Redirect("/comptes", visit._(said) % {"email": account.email})

    @act("/comptes/supprimer")
    async def remove(self, visit: Visit) -> Answer:
        """Asks once, then removes an account; its sessions end."""
        account = await self._chosen(visit)
        if visit.form.get("sur") != "oui":
            return Html("account_remove.html", {"account": account})
        if not await self._accounts.remove(visit.by, account.account):
            return Redirect("/comptes", visit._(_LAST))
        said = visit._("Le compte %(email)s est supprimé.") % {"email": account.email}
        return Redirect("/comptes", said)

    async def _page(self, visit: Visit, form: AccountForm, status: int = 200) -> Answer:
        accounts = await self._accounts.all(visit.customer)
        values = {"form": form, "accounts": accounts, "roles": dict(_ROLES)}
        return Html("accounts.html", values, status)

    async def _chosen(self, visit: Visit) -> Account:
        number = visit.form.get("compte", "")
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise NotFound
        try:
            return await self._accounts.get(visit.customer, int(number))
        except Refused:
            raise NotFound from None

    async def _invite(self, visit: Visit, account: int, email: str) -> str:
        said = N_("Une invitation est partie pour %(email)s.")
        try:
            await self._links.invite(visit.by, account, visit.language)
        except TooManyFailures:
            said = N_("Trop d'invitations d'un coup : attendez un quart d'heure pour %(email)s.")
        except (NoAddress, Rejected):
            said = N_("L'invitation pour %(email)s n'a pas pu partir. Essayez plus tard.")
        return visit._(said) % {"email": email}


_LAST = N_("Il faut un administrateur au moins : c'est le dernier.")
