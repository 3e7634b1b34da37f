"""Comptes: who of a customer's may sign in, and as what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Circle:
    """Whose accounts some pages are about: a customer's, or the house's."""

    path: str
    templates: str
    """The folder of its templates."""
    roles: Mapping[Role, str]
    """Those that there are, in French."""
    named: Mapping[Role, str]
    """What is said when somebody has got one."""
    last: str
    """What is said when it would be without one who may do everything."""


OF_CUSTOMERS = Circle(
    "/comptes",
    "",
    {Role.READER: N_("Lecteur"), Role.ADMINISTRATOR: N_("Administrateur")},
    {
        Role.READER: N_("%(email)s est maintenant lecteur."),
        Role.ADMINISTRATOR: N_("%(email)s est maintenant administrateur."),
    },
    N_("Il faut un administrateur au moins : c'est le dernier."),
)


class AccountForm(Form):
    """Somebody more."""

    email = Line(N_("E-mail"), [DataRequired(N_("Indiquez une adresse e-mail."))])
    role = SelectField(N_("Rôle"))

    def __init__(self, visit: Visit, roles: Mapping[Role, str], given: Any = None) -> None:
        super().__init__(given)
        self.role.choices = [(role.value, visit._(label)) for role, label in roles.items()]

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


class Members:
    """The accounts of a circle: who is in it, who comes, what they may do, who leaves."""

    def __init__(self, circle: Circle, accounts: Accounts, links: PasswordLinks) -> None:
        self._circle = circle
        self._accounts = accounts
        self._links = links

    async def show(
        self, visit: Visit, form: AccountForm | None = None, status: int = 200
    ) -> Answer:
        """All of them, and the form for another."""
        circle = self._circle
        values = {
            "form": form or AccountForm(visit, circle.roles),
            "accounts": await self._accounts.all(visit.customer),
            "roles": circle.roles,
        }
        return Html(circle.templates + "accounts.html", values, status)

    async def add(self, visit: Visit) -> Answer:
        """Add one, and invite who is to use it."""
        form = AccountForm(visit, self._circle.roles, visit.form)
        if not form.validate():
            return await self.show(visit, form, 400)
        email = form.email.data or ""
        try:
            account = await self._accounts.add(visit.by, email, Role(form.role.data))
        except Refused:
            form.email.errors = [N_("Cette adresse a déjà un compte.")]
            return await self.show(visit, form, 409)
        return Redirect(self._circle.path, await self._invite(visit, account, email))

    async def invite(self, visit: Visit) -> Answer:
        """Invite somebody again, who has no password yet."""
        account = await self.chosen(visit)
        if account.password_hash is not None:
            return self.back(visit, N_("Ce compte a déjà son mot de passe."))
        said = await self._invite(visit, account.account, account.email)
        return Redirect(self._circle.path, said)

    async def change_role(self, visit: Visit) -> Answer:
        """Give somebody another role, from the next request on."""
        account = await self.chosen(visit)
        named = self._circle.named
        role = next((role for role in named if role == visit.form.get("role")), None)
        if role is None:
            raise NotFound
        if not await self._accounts.set_role(visit.by, account.account, role):
            return self.back(visit, self._circle.last)
        return self.back(visit, named[role], account.email)

    async def remove(self, visit: Visit) -> Answer:
        """Asks once, then removes an account; its sessions end."""
        account = await self.chosen(visit)
        if visit.form.get("sur") != "oui":
            return Html(self._circle.templates + "account_remove.html", {"account": account})
        if not await self._accounts.remove(visit.by, account.account):
            return self.back(visit, self._circle.last)
        return self.back(visit, N_("Le compte %(email)s est supprimé."), account.email)

    async def chosen(self, visit: Visit) -> Account:
        """The one that a form is about. Raises `NotFound`."""
        number = visit.form.get("compte", "")
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise NotFound
        try:
            return await self._accounts.get(visit.customer, int(number))
        except Refused:
            raise NotFound from None

    def back(self, visit: Visit, said: str, email: str = "") -> Answer:
        """To all of them, where this is said."""
        words = visit._(said)
        return Redirect(self._circle.path, words % {"email": email} if email else words)

    async def _invite(self, visit: Visit, account: int, email: str) -> str:
        said = N_("Une invitation est partie pour %(email)s.")
        try:
            await self._links.invite(visit.by, account, visit.language)
        except TooManyFailures:
            said = N_("Trop d'invitations d'un coup : attendez un quart d'heure pour %(email)s.")
        except (NoAddress, Rejected):
            said = N_("L'invitation pour %(email)s n'a pas pu partir. Essayez plus tard.")
        return visit._(said) % {"email": email}


class AccountPages:
    """The accounts of a customer."""

    def __init__(self, accounts: Accounts, links: PasswordLinks) -> None:
        self._members = Members(OF_CUSTOMERS, accounts, links)

    @page("/comptes", Access.ADMINISTRATOR)
    async def list(self, visit: Visit) -> Answer:
        """Comptes: who may sign in, and as what."""
        return await self._members.show(visit)

    @act("/comptes")
    async def add(self, visit: Visit) -> Answer:
        """Add an account, and invite who is to use it."""
        return await self._members.add(visit)

    @act("/comptes/inviter")
    async def invite(self, visit: Visit) -> Answer:
        """Send the invitation again, to who has no password yet."""
        return await self._members.invite(visit)

    @act("/comptes/role")
    async def change_role(self, visit: Visit) -> Answer:
        """Make somebody an administrator, or a reader, from the next request on."""
        return await self._members.change_role(visit)

    @act("/comptes/supprimer")
    async def remove(self, visit: Visit) -> Answer:
        """Asks once, then removes an account; its sessions end."""
        return await self._members.remove(visit)
