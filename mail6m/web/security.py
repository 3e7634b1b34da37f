"""Sécurité: an account's password, its second factor, and its sessions."""

from __future__ import annotations

from typing import Any

import segno
from markupsafe import Markup
from wtforms import Form, PasswordField
from wtforms.validators import InputRequired

from mail6m.access.brake import TooManyFailures
from mail6m.access.factor import provisioning_uri
from mail6m.access.security import NotNow, Security
from mail6m.access.signin import WrongCode, WrongPassword
from mail6m.storage.accounts import Accounts
from mail6m.storage.sessions import Sessions
from mail6m.web.browser import in_words
from mail6m.web.forms import Line, at_most
from mail6m.web.menu import N_
from mail6m.web.newpassword import NewPasswordForm
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

_CURRENT = N_("Mot de passe actuel")
_NEEDED = N_("Indiquez votre mot de passe.")


class ChangeForm(NewPasswordForm):
    """Another password in place of the current one."""

    current = PasswordField(_CURRENT, [InputRequired(_NEEDED), at_most(1000)])


class PasswordForm(Form):
    """Whether it is really the owner."""

    current = PasswordField(_CURRENT, [InputRequired(_NEEDED), at_most(1000)])


class FactorForm(PasswordForm):
    """The same, with a code."""

    code = Line(N_("Code"), [InputRequired(N_("Indiquez le code.")), at_most(40)])


class SecurityPages:
    """What everybody does for their own account."""

    def __init__(self, security: Security, accounts: Accounts, sessions: Sessions) -> None:
        self._security = security
        self._accounts = accounts
        self._sessions = sessions

    @page("/securite", Access.ACCOUNT)
    async def show(self, visit: Visit) -> Answer:
        """Sécurité: password, second factor, open sessions."""
        return await self._page(visit, ChangeForm())

    @act("/securite/mot-de-passe", Access.ACCOUNT)
    async def change_password(self, visit: Visit) -> Answer:
        """Change the password; all other sessions are closed."""
        identity, form = visit.identity, ChangeForm(visit.form, visit.identity.email)
        if not form.validate():
            return await self._page(visit, form, status=400)
        current, new = form.current.data or "", form.new.data or ""
        try:
            token = await self._security.change_password(identity, visit.by, current, new)
        except (WrongPassword, TooManyFailures) as error:
            return await self._page(visit, form, status=blame(form, error))
        say = visit._("Votre mot de passe est changé. Vos autres sessions sont fermées.")
        return Redirect("/securite", say, session=token)

    @act("/securite/activer", Access.ACCOUNT)
    async def offer(self, visit: Visit) -> Answer:
        """Begin to turn the second factor on: a secret is made."""
        if visit.identity.two_factors:
            return Redirect("/securite")
        await self._security.offer(visit.identity)
        return Redirect("/securite/code")

    @page("/securite/code", Access.ACCOUNT)
    async def factor_form(self, visit: Visit) -> Answer:
        """The secret for the telephone, as a QR code, and the form for its first code."""
        return await self._factor(visit, FactorForm())

    @act("/securite/code", Access.ACCOUNT)
    async def turn_on(self, visit: Visit) -> Answer:
        """Turn the second factor on; its recovery codes are shown this once."""
        form = FactorForm(visit.form)
        if not form.validate():
            return await self._factor(visit, form, 400)
        password, code = form.current.data or "", form.code.data or ""
        try:
            codes = await self._security.turn_on(visit.identity, visit.by, password, code)
        except NotNow:
            return Redirect("/securite")
        except (WrongPassword, WrongCode, TooManyFailures) as error:
            return await self._factor(visit, form, blame(form, error))
        return Html("recovery_codes.html", {"codes": codes, "fresh": True})

    @page("/securite/codes-de-secours", Access.ACCOUNT)
    async def codes_form(self, visit: Visit) -> Answer:
        """Whether new recovery codes are wanted."""
        return _codes(visit, PasswordForm())

    @act("/securite/codes-de-secours", Access.ACCOUNT)
    async def renew_codes(self, visit: Visit) -> Answer:
        """Make new recovery codes, which are shown this once."""
        form = PasswordForm(visit.form)
        if not form.validate():
            return _codes(visit, form, 400)
        try:
            codes = await self._security.renew_codes(
                visit.identity, visit.by, form.current.data or ""
            )
        except NotNow:
            return Redirect("/securite")
        except (WrongPassword, TooManyFailures) as error:
            return _codes(visit, form, blame(form, error))
        return Html("recovery_codes.html", {"codes": codes, "fresh": False})

    @page("/securite/desactiver", Access.ACCOUNT)
    async def off_form(self, visit: Visit) -> Answer:
        """Whether the second factor is really to be turned off."""
        return _off(visit, FactorForm())

    @act("/securite/desactiver", Access.ACCOUNT)
    async def turn_off(self, visit: Visit) -> Answer:
        """Turn the second factor off."""
        form = FactorForm(visit.form)
        if not form.validate():
            return _off(visit, form, 400)
        password, code = form.current.data or "", form.code.data or ""
        try:
            await self._security.turn_off(visit.identity, visit.by, password, code)
        except NotNow:
            return Redirect("/securite")
        except (WrongPassword, WrongCode, TooManyFailures) as error:
            return _off(visit, form, blame(form, error))
        return Redirect("/securite", visit._("La validation en deux étapes est désactivée."))

    @act("/securite/sessions/fermer", Access.ACCOUNT)
    async def close(self, visit: Visit) -> Answer:
        """Close one of the account's sessions."""
        number = visit.form.get("session", "")
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise NotFound
        identity, session = visit.identity, int(number)
        if not await self._sessions.close(visit.by, identity.account, session):
            raise NotFound
        if session == identity.session:
            return Redirect("/connexion", session="")
        return Redirect("/securite", visit._("La session est fermée."))

    @act("/securite/sessions/fermer-les-autres", Access.ACCOUNT)
    async def close_others(self, visit: Visit) -> Answer:
        """Close all of the account's sessions but this one."""
        identity = visit.identity
        await self._sessions.close_others(visit.by, identity.account, identity.session)
        return Redirect("/securite", visit._("Vos autres sessions sont fermées."))

    async def _page(self, visit: Visit, form: ChangeForm, status: int = 200) -> Answer:
        identity = visit.identity
        values: dict[str, Any] = {
            "form": form,
            "sessions": [
                (session, in_words(session.agent))
                for session in await self._sessions.all(visit.customer, identity.account)
            ],
            "codes_left": await self._accounts.recovery_left(visit.customer, identity.account),
        }
        return Html("security.html", values, status)

    async def _factor(self, visit: Visit, form: FactorForm, status: int = 200) -> Answer:
        secret = await self._security.offered(visit.identity)
        if secret is None:
            return Redirect("/securite")
        groups = " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))
        values = {"form": form, "qr": _qr(secret, visit.identity.email), "secret": groups}
        return Html("factor_on.html", values, status)


def _codes(visit: Visit, form: PasswordForm, status: int = 200) -> Answer:
    if not visit.identity.two_factors:
        return Redirect("/securite")
    return Html("recovery_renew.html", {"form": form}, status)


def _off(visit: Visit, form: FactorForm, status: int = 200) -> Answer:
    if visit.operates or not visit.identity.two_factors:
        return Redirect("/securite")
    return Html("factor_off.html", {"form": form}, status)


def blame(form: Any, error: Exception) -> int:
    """Say it by the field that is wrong; the status that goes with it."""
    if isinstance(error, WrongCode):
        form.code.errors = [N_("Ce code n'est pas le bon, ou il a déjà servi.")]
        return 403
    if isinstance(error, WrongPassword):
        form.current.errors = [N_("Ce n'est pas votre mot de passe.")]
        return 403
    form.current.errors = [N_("Trop d'essais. Attendez un quart d'heure, puis essayez à nouveau.")]
    return 429


def _qr(secret: str, email: str) -> Markup:
    """An SVG of shapes alone: no style, which the Content-Security-Policy forbids, no image."""
    code = segno.make(provisioning_uri(secret, email), error="m", micro=False)
    drawn = code.svg_inline(
        omitsize=True, border=4, dark="#000", light="#fff", svgclass="qr", lineclass=None
    )
    return Markup(drawn)  # noqa: S704 - of modules that segno has drawn
