"""Connexion: signing in and out."""

from __future__ import annotations

from urllib.parse import urlencode

from wtforms import Form, PasswordField
from wtforms.validators import InputRequired

from mail6m.access.brake import TooManyFailures
from mail6m.access.signin import SignIn, WrongCode, WrongPassword
from mail6m.model import Act
from mail6m.storage.sessions import Sessions
from mail6m.web.forms import Line, at_most
from mail6m.web.menu import N_
from mail6m.web.routes import Access, act, page
from mail6m.web.visit import Answer, Html, Redirect, Visit, is_inside


class SignInForm(Form):
    """Address and password."""

    email = Line(N_("E-mail"), [InputRequired(N_("Indiquez votre adresse e-mail.")), at_most(320)])
    password = PasswordField(
        N_("Mot de passe"), [InputRequired(N_("Indiquez votre mot de passe.")), at_most(1000)]
    )


class CodeForm(Form):
    """The second factor."""

    code = Line(N_("Code"), [InputRequired(N_("Indiquez le code.")), at_most(40)])


class SignInPages:
    """The way in, and out."""

    def __init__(self, signin: SignIn, sessions: Sessions) -> None:
        self._signin = signin
        self._sessions = sessions

    @page("/connexion", Access.PUBLIC, viewed=True)
    async def form(self, visit: Visit) -> Answer:
        """The form to sign in with."""
        if visit.signed_in:
            return Redirect(visit.home)
        return _form(visit, SignInForm(), visit.query.get("suite", ""))

    @act("/connexion", Access.PUBLIC)
    async def enter(self, visit: Visit) -> Answer:
        """Sign in."""
        form, then = SignInForm(visit.form), visit.form.get("suite", "")
        if not form.validate():
            return _form(visit, form, then, status=400)
        email, password = form.email.data or "", form.password.data or ""
        try:
            entered = await self._signin.enter(email.strip(), password, visit.client, visit.agent)
        except WrongPassword:
            wrong = N_("L'adresse ou le mot de passe n'est pas le bon.")
            return _form(visit, form, then, wrong, status=403)
        except TooManyFailures:
            wrong = N_("Trop d'essais. Attendez un quart d'heure, puis essayez à nouveau.")
            return _form(visit, form, then, wrong, status=429)
        if not entered.complete:
            return Redirect(_with_then("/connexion/code", then), session=entered.token)
        return Redirect(_inside(then), session=entered.token)

    @page("/connexion/code", Access.HALFWAY)
    async def code_form(self, visit: Visit) -> Answer:
        """The form for the second factor."""
        then = _inside(visit.query.get("suite", ""))
        return Html("signin_code.html", {"form": CodeForm(), "suite": then, "wrong": ""})

    @act("/connexion/code", Access.HALFWAY)
    async def code(self, visit: Visit) -> Answer:
        """Give the second factor."""
        form, wrong, status = CodeForm(visit.form), "", 400
        then = _inside(visit.form.get("suite", ""))
        if form.validate():
            try:
                token = await self._signin.second_factor(
                    visit.identity, visit.token, form.code.data or "", visit.client
                )
                return Redirect(then, session=token)
            except WrongCode:
                wrong, status = N_("Ce code n'est pas le bon, ou il a déjà servi."), 403
            except TooManyFailures:
                wrong = N_("Trop d'essais. Attendez un quart d'heure, puis essayez à nouveau.")
                status = 429
        return Html("signin_code.html", {"form": form, "suite": then, "wrong": wrong}, status)

    @act("/deconnexion", Access.PUBLIC, viewed=True)
    async def leave(self, visit: Visit) -> Answer:
        """Sign out."""
        if visit.token:
            identity = visit.identity
            await self._sessions.close(visit.by, identity.account, identity.session, Act.SIGNED_OUT)
        return Redirect("/connexion", session="")


def _form(visit: Visit, form: SignInForm, then: str, wrong: str = "", status: int = 200) -> Answer:
    return Html("signin.html", {"form": form, "suite": _inside(then), "wrong": wrong}, status)


def _with_then(path: str, then: str) -> str:
    """A path, and the page that was asked for before."""
    return f"{path}?{urlencode({'suite': then})}" if _inside(then) == then != "/meuble" else path


def _inside(path: str) -> str:
    """A path of this console, whatever was asked for: no other site is led to."""
    return path if is_inside(path) else "/meuble"
