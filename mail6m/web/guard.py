"""The door of the console: who it is, whether it may, and the headers that every answer has.

Every route is reached through `Guard.serve`. There a request is given its session, what its route
requires is checked (`mail6m.web.routes`), and a CSRF token is asked of whatever is not safe
(RFC 9110, 9.2.1). The token is an HMAC over the session's own token, or over a visitor's cookie
before there is one.
"""

from __future__ import annotations

import hmac
import ipaddress
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from werkzeug.datastructures import MultiDict

from mail6m.access.signin import new_token, token_hash
from mail6m.storage.errors import Unavailable
from mail6m.storage.sessions import Identity, Sessions
from mail6m.web.render import Renderer, preferred
from mail6m.web.routes import Access, Route
from mail6m.web.visit import Answer, Html, NotFound, Plain, Redirect, Visit

CSRF_FIELD = "csrf"
LARGEST_FORM = 1 << 20
"""Octets in the body of a request."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; font-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Refusal(Exception):
    """The request is not served; the page that says so."""

    def __init__(self, status: int, template: str) -> None:
        super().__init__(template)
        self.page = Html(template, status=status)


class Origin(NamedTuple):
    """Where a request comes from, and how it was asked."""

    client: str
    secure: bool
    host: str


class Guard:
    """Lets requests in."""

    log = Logger()

    def __init__(
        self,
        sessions: Sessions,
        renderer: Renderer,
        secret: bytes,
        proxies: Sequence[Network],
        clock: Callable[[], datetime],
    ) -> None:
        self._sessions = sessions
        self._renderer = renderer
        self._secret = secret
        self._proxies = proxies
        self._clock = clock

    def serve(
        self,
        request: Any,
        route: Route,
        function: Callable[..., Awaitable[Answer]],
        values: dict[str, Any],
    ) -> Deferred[bytes]:
        """The answer to a request. A browser that goes away does not interrupt what it began."""
        answered: Deferred[bytes] = Deferred(lambda _: None)

        def done(result: Any) -> None:
            if not answered.called:
                answered.callback(result)

        ensureDeferred(self._serve(request, route, function, values)).addBoth(done)
        return answered

    async def _serve(
        self,
        request: Any,
        route: Route,
        function: Callable[..., Awaitable[Answer]],
        values: dict[str, Any],
    ) -> bytes:
        visit = self._stranger(request)
        try:
            visit = await self._visit(request)
            refused = self._refusal(request, route, visit)
            answer = refused or await function(visit, **values)
        except NotFound:
            answer = Html("not_found.html", status=404)
        except Refusal as refusal:
            answer = refusal.page
        except Unavailable as error:
            self.log.warn("{path}: the database is away: {error}", path=route.rule, error=error)
            answer = Html("unavailable.html", status=503)
        except Exception:  # noqa: BLE001 - whatever it is, the visitor gets a page and we the reason
            self.log.failure("{method} {path}", method=route.method, path=route.rule)
            answer = Html("failure.html", status=500)
        return await self._answer(request, visit, answer)

    def page_for(self, request: Any, answer: Html) -> bytes:
        """A page for somebody who is not known, where no route was found."""
        visit = self._stranger(request)
        self._head(request, answer.status, "text/html; charset=utf-8")
        return self._renderer.page(visit, answer)

    # Who it is

    def _origin(self, request: Any) -> Origin:
        """Believes what a proxy says of its client only of proxies that are ours."""
        client = getattr(request.getClientAddress(), "host", "")
        secure = request.isSecure()
        host = (request.getHeader("host") or "localhost").lower()
        if self._is_ours(client):
            chain = [
                hop.strip()
                for line in request.requestHeaders.getRawHeaders("x-forwarded-for", [])
                for hop in line.split(",")
            ]
            while chain and self._is_ours(client):
                client = chain.pop()
            secure = (request.getHeader("x-forwarded-proto") or "").strip().lower() == "https"
        return Origin(client, secure, host)

    def _is_ours(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)

    def _stranger(self, request: Any) -> Visit:
        origin = self._origin(request)
        language = preferred(request.getHeader("accept-language") or "")
        return Visit(
            path=request.uri.decode("ascii", "replace"),
            query=_fields(request.args if request.method in (b"GET", b"HEAD") else {}),
            form=_fields(request.args if request.method == b"POST" else {}),
            client=origin.client,
            agent=request.getHeader("user-agent") or "",
            base=f"{'https' if origin.secure else 'http'}://{origin.host}",
            token="",
            csrf="",
            language=language,
            words=self._renderer.words[language],
            now=self._clock(),
        )

    async def _visit(self, request: Any) -> Visit:
        visit = self._stranger(request)
        secure = visit.base.startswith("https")
        token = _cookie(request, _name("session", secure))
        identity = await self._sessions.look(token_hash(token)) if token else None
        if identity is not None:
            visit.token = token
            visit._identity = identity
            if identity.language in self._renderer.words:
                visit.language = identity.language
                visit.words = self._renderer.words[identity.language]
        visit.csrf = self._csrf(visit.token or self._visitor(request, secure))
        return visit

    def _visitor(self, request: Any, secure: bool) -> str:
        """What the CSRF token of somebody without a session is bound to."""
        name = _name("visitor", secure)
        visitor = _cookie(request, name)
        if not visitor:
            visitor = new_token()
            _set_cookie(request, name, visitor, secure)
        return visitor

    def _csrf(self, binding: str) -> str:
        digest = hmac.digest(self._secret, binding.encode("utf-8", "replace"), "sha256")
        return urlsafe_b64encode(digest).rstrip(b"=").decode()

    # Whether it may

    def _refusal(self, request: Any, route: Route, visit: Visit) -> Answer | None:
        if route.csrf and not self._is_meant(request, visit):
            return Html("expired.html", status=403)
        identity = visit._identity
        if route.access is Access.PUBLIC:
            return None
        if identity is None:
            return _to_sign_in(route, visit)
        if route.access is Access.HALFWAY:
            return None if not identity.complete else Redirect("/meuble")
        if not identity.complete:
            return Redirect("/connexion/code")
        if route.access is Access.ADMINISTRATOR and not visit.administrator:
            return Html("forbidden.html", status=403)
        return None

    def _is_meant(self, request: Any, visit: Visit) -> bool:
        """Whether a form of ours was sent by this visitor, and by no other site for it."""
        sent = visit.form.pop(CSRF_FIELD, "")
        if not hmac.compare_digest(sent.encode("utf-8", "replace"), visit.csrf.encode()):
            return False
        origin = request.getHeader("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != urlsplit(visit.base).netloc:
            return False
        return (request.getHeader("sec-fetch-site") or "same-origin") in ("same-origin", "none")

    # The answer

    async def _answer(self, request: Any, visit: Visit, answer: Answer) -> bytes:
        if isinstance(answer, Redirect):
            return await self._redirect(request, visit, answer)
        if isinstance(answer, Plain):
            self._head(request, answer.status, answer.kind, secure=visit.base.startswith("https"))
            return answer.body
        try:
            body = self._renderer.page(visit, answer)
        except Exception:  # noqa: BLE001 - a template's mistake is ours
            self.log.failure("{template}", template=answer.template)
            answer = Html("failure.html", status=500)
            body = self._renderer.page(visit, answer)
        self._head(
            request, answer.status, "text/html; charset=utf-8", visit.base.startswith("https")
        )
        if visit._identity is not None and visit._identity.notices and answer.status == 200:
            await self._hear(visit._identity)
        return body

    async def _hear(self, identity: Identity) -> None:
        try:
            await self._sessions.heard(identity.session)
        except Unavailable:  # it is said once more
            self.log.debug("a notice could not be taken away")

    async def _redirect(self, request: Any, visit: Visit, answer: Redirect) -> bytes:
        secure = visit.base.startswith("https")
        if answer.say and visit._identity is not None:
            await self._sessions.notice(visit._identity.session, answer.say)
        if answer.session is not None:
            _set_cookie(request, _name("session", secure), answer.session, secure)
        self._head(request, 303, "text/plain; charset=utf-8", secure)
        request.setHeader("location", answer.path)
        return b""

    def _head(self, request: Any, status: int, kind: str, secure: bool = False) -> None:
        request.setResponseCode(status)
        request.setHeader("content-type", kind)
        request.setHeader("cache-control", "no-store")
        secure_headers(request, secure)


def secure_headers(request: Any, secure: bool) -> None:
    """What every answer says about how it may be used."""
    for name, value in _HEADERS.items():
        request.setHeader(name, value)
    if secure:
        request.setHeader("Strict-Transport-Security", "max-age=31536000; includeSubDomains")


def _to_sign_in(route: Route, visit: Visit) -> Redirect:
    """After it, on to the page that was asked for; never to what changes something."""
    if route.method != "GET" or visit.path in ("/", "/meuble"):
        return Redirect("/connexion")
    return Redirect("/connexion?" + urlencode({"suite": visit.path}))


def _name(what: str, secure: bool) -> str:
    """Behind TLS a cookie is bound to this host, and no other may set it (RFC 6265bis, 4.1.3.2)."""
    return f"__Host-mail6m-{what}" if secure else f"mail6m-{what}"


def _cookie(request: IRequest, name: str) -> str:
    value = request.getCookie(name.encode())
    return value.decode("ascii", "replace") if value else ""


def _set_cookie(request: Any, name: str, value: str, secure: bool) -> None:
    request.addCookie(
        name, value, path="/", httpOnly=True, sameSite="lax", secure=secure,
        max_age=None if value else "0",
    )  # fmt: skip


def _fields(args: dict[bytes, list[bytes]]) -> MultiDict[str, str]:
    return MultiDict(
        (name.decode("utf-8", "replace"), value.decode("utf-8", "replace"))
        for name, values in args.items()
        for value in values
    )
