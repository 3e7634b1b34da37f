"""The door of the console: who it is, whether it may, and the headers that every answer has.

Every request passes `Guard.greet`, and every page is reached through `Guard.serve`. There a request
is given its session, what its route requires is checked (`mail6m.web.routes`), and a CSRF token is
asked of whatever is not safe (RFC 9110, 9.2.1), but for what a letter's link does by itself. The
token is an HMAC over the session's own token, or over a visitor's cookie before there is one.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from werkzeug.datastructures import MultiDict

from mail6m.access.signin import new_token, token_hash
from mail6m.model import Role
from mail6m.storage.errors import Unavailable
from mail6m.storage.sessions import Identity, Sessions, Viewing
from mail6m.turn import Round, Turn
from mail6m.web.download import send
from mail6m.web.menu import HOME, N_
from mail6m.web.render import Renderer
from mail6m.web.routes import Access, Route
from mail6m.web.site import fields, unhurried
from mail6m.web.visit import Answer, Download, Html, Leave, NotFound, Plain, Redirect, Visit
from mail6m.web.words import LANGUAGES, preferred

CSRF_FIELD = "csrf"
COMPANY, PATIENCE = 0.06, 0.05
"""Seconds between rounds of pages, and that a round waits for a moment without mail, while mail
comes in: to be thought about, and again to be made. By itself a page takes twice the time."""
_HOST = re.compile(r"([a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
"""A Host field (RFC 9110, 7.2), in lower case."""

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

SECOND_FACTOR = "/securite"
"""Where an account gets one."""
_SECOND_FACTOR_FIRST = N_("L'exploitation demande un second facteur : activez-le d'abord.")
_ROLES: Mapping[Access, Container[Role]] = {
    Access.READER: {Role.ADMINISTRATOR, Role.READER},
    Access.ADMINISTRATOR: {Role.ADMINISTRATOR},
    Access.OBSERVER: {Role.OPERATOR, Role.BOOKKEEPER, Role.OBSERVER},
    Access.BOOKKEEPER: {Role.OPERATOR, Role.BOOKKEEPER},
    Access.OPERATOR: {Role.OPERATOR},
}
"""Who may, of those whose routes they are."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
        turn: Turn,
    ) -> None:
        self._thinking, self._making = (Round(turn, COMPANY, PATIENCE) for _ in range(2))
        self._sessions = sessions
        self._renderer = renderer
        self._keyed = hmac.new(secret, digestmod="sha256")
        self._proxies = proxies
        self._clock = clock

    def greet(self, request: Any) -> int | None:
        """Give an answer its headers, whatever it will be; the status of what is no request.

        Those are what no browser sends: another method than a page's, no name of a host, an
        address that is no text, or that looks like another site's.
        """
        origin = self._origin(request)
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        if origin.secure:
            request.setHeader("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
        request.setHeader("cache-control", "no-store")
        request.responseHeaders.removeHeader("server")  # its version is nobody's business
        if request.method not in (b"GET", b"HEAD", b"POST"):
            request.setHeader("allow", "GET, HEAD, POST")
            return 405
        if not _HOST.fullmatch(origin.host):
            return 400
        if not request.uri.startswith(b"/") or request.uri.startswith(b"//"):
            return 404
        return None if _is_text(request.postpath) else 404

    def client(self, request: Any) -> str:
        """The address that a request comes from."""
        return self._origin(request).client

    def refuse(self, request: Any, status: int) -> bytes:
        """A page for somebody who is not known, where there is nothing to serve."""
        template = "expired.html" if status == 405 else "not_found.html"
        return self._page(request, self._stranger(request), Html(template, status=status))

    def serve(
        self,
        request: Any,
        route: Route,
        function: Callable[..., Awaitable[Answer]],
        values: dict[str, Any],
    ) -> Deferred[bytes]:
        """The answer to a request. A browser that goes away does not interrupt what it began."""
        return unhurried(self._serve(request, route, function, values))

    async def _serve(
        self,
        request: Any,
        route: Route,
        function: Callable[..., Awaitable[Answer]],
        values: dict[str, Any],
    ) -> bytes:
        await self._thinking.join()
        visit = self._stranger(request)
        try:
            if route.access is not Access.ANYBODY:
                await self._recognise(request, visit)
            refused = self._refusal(request, route, visit)
            answer = refused or await function(visit, **values)
            return await self._answer(request, visit, answer)
        except NotFound:
            page = Html("not_found.html", status=404)
        except Unavailable as error:
            self.log.warn("{path}: the database is away: {error}", path=route.rule, error=error)
            page = Html("unavailable.html", status=503)
        except Exception:  # noqa: BLE001 - whatever it is, the visitor gets a page and we the reason
            self.log.failure("{method} {path}", method=route.method, path=route.rule)
            page = Html("failure.html", status=500)
        return self._page(request, visit, page)

    # Who it is

    def _origin(self, request: Any) -> Origin:
        """Believes what a proxy says of its client only of proxies that are ours.

        Of the addresses that they name, the last one that is not a proxy's is the client's: those
        before it are only what the client says.
        """
        client = _address(getattr(request.getClientAddress(), "host", ""))
        secure = request.isSecure()
        host = _header(request, "host") or "localhost"
        if self._is_ours(client):
            chain = _header(request, "x-forwarded-for").split(",")
            while chain and self._is_ours(client):
                hop = _address(chain.pop())
                if hop is None:
                    break
                client = hop
            if scheme := _header(request, "x-forwarded-proto"):
                secure = scheme.rpartition(",")[2].strip().lower() == "https"
        return Origin(str(client or ""), secure, host.lower())

    def _is_ours(self, client: Address | None) -> bool:
        return client is not None and any(client in network for network in self._proxies)

    def _stranger(self, request: Any) -> Visit:
        origin = self._origin(request)
        asked = MultiDict(fields(request.uri.partition(b"?")[2]))
        wanted = asked.get("langue", "")
        wanted = wanted if wanted in LANGUAGES else ""
        language = wanted or preferred(_header(request, "accept-language"))
        reads = request.method in (b"GET", b"HEAD")
        return Visit(
            path=request.uri.decode("ascii", "replace"),
            query=asked if reads else MultiDict(),
            form=MultiDict([] if reads else request.form()),
            client=origin.client,
            agent=_header(request, "user-agent"),
            base=f"{'https' if origin.secure else 'http'}://{origin.host}",
            token="",
            language=language,
            words=self._renderer.words[language],
            now=self._clock(),
            files={} if reads else request.files(),
            asked_language=wanted,
        )

    async def _recognise(self, request: Any, visit: Visit) -> None:
        token = _cookie(request, _name("session", visit.secure))
        identity = await self._sessions.look(token_hash(token)) if token else None
        if identity is not None:
            visit.token = token
            visit._identity = identity
            if identity.language in self._renderer.words:
                visit.language = identity.language
                visit.words = self._renderer.words[identity.language]
            if identity.viewing is not None:
                await self._look_on(visit, identity, identity.viewing)
        visit.bind = lambda: self._csrf(visit.token or self._visitor(request, visit.secure))

    async def _look_on(self, visit: Visit, identity: Identity, viewing: Viewing) -> None:
        """An operator sees the console of a customer, unless time is up, or the right is gone."""
        may = identity.complete and identity.two_factors and identity.role is Role.OPERATOR
        if may and viewing.until > visit.now:
            seen = await self._sessions.seen(viewing.customer)
            if seen is not None:
                visit.viewing, visit._seen = viewing, seen
                return
        await self._sessions.leave(identity.session)

    def _visitor(self, request: Any, secure: bool) -> str:
        """What the CSRF token of somebody without a session is bound to."""
        name = _name("visitor", secure)
        visitor = _cookie(request, name)
        if not visitor:
            visitor = new_token()
            _set_cookie(request, name, visitor, secure)
        return visitor

    def _csrf(self, binding: str) -> str:
        keyed = self._keyed.copy()  # OpenSSL takes longer to key it than to use it
        keyed.update(binding.encode("utf-8", "replace"))
        return urlsafe_b64encode(keyed.digest()).rstrip(b"=").decode()

    # Whether it may

    def _refusal(self, request: Any, route: Route, visit: Visit) -> Answer | None:
        if route.csrf and not self._is_meant(request, visit):
            return Html("expired.html", status=403)
        if route.access is Access.ANYBODY:
            return None
        if visit.viewing is not None:
            return self._on_looking(route, visit)
        identity = visit._identity
        if route.access is Access.PUBLIC:
            return None
        if identity is None:
            return _to_sign_in(route, visit)
        if route.access is Access.HALFWAY:
            return None if not identity.complete else Redirect(visit.home)
        if not identity.complete:
            return Redirect("/connexion/code")
        if route.access is Access.ACCOUNT:
            return None
        if route.access.of_house != visit.operates:
            return self._elsewhere(route, visit)
        if visit.operates and not identity.two_factors:
            return Redirect(SECOND_FACTOR, visit._(_SECOND_FACTOR_FIRST))
        if identity.role not in _ROLES[route.access]:
            return Html("forbidden.html", status=403)
        if route.csrf and identity.suspended_at is not None and not route.suspended:
            return Html("suspended.html", status=403)
        return None

    def _on_looking(self, route: Route, visit: Visit) -> Answer | None:
        """Who sees a customer's console sees what is said to be seen, and does nothing but leave.

        The operator is a reader of that customer's, and of no other's, on those pages only.
        """
        if route.viewed and route.access is Access.READER and not route.csrf:
            visit.look_on()
            return None
        if route.viewed and (route.access.of_house or route.access is Access.PUBLIC):
            return None
        if route.csrf:
            return Html("viewing.html", status=403)
        if route.access in (Access.READER, Access.ADMINISTRATOR):
            raise NotFound
        return Redirect(HOME)

    def _elsewhere(self, route: Route, visit: Visit) -> Answer:
        """Customers do not learn what there is for operators; operators have no cabinet."""
        if route.access.of_house or route.csrf:
            raise NotFound
        return Redirect(visit.home)

    def _is_meant(self, request: Any, visit: Visit) -> bool:
        """Whether a form of ours was sent by this visitor, and by no other site for it."""
        sent = visit.form.pop(CSRF_FIELD, "")
        if not hmac.compare_digest(sent.encode("utf-8", "replace"), visit.csrf.encode()):
            return False
        origin = _header(request, "origin").lower()
        if origin and origin.partition("://")[2] != visit.base.partition("://")[2]:
            return False
        return _header(request, "sec-fetch-site") in ("", "same-origin", "none")

    # The answer

    async def _answer(self, request: Any, visit: Visit, answer: Answer) -> bytes:
        if isinstance(answer, Redirect):
            return await self._redirect(request, visit, answer)
        if isinstance(answer, Leave):
            request.setHeader("location", answer.url)
            return _body(request, 303, "text/plain; charset=utf-8", b"")
        if isinstance(answer, Plain):
            if answer.policy:
                request.setHeader("Content-Security-Policy", answer.policy)
            if answer.lasting and _is_kept(request, answer.body, answer.lasting):
                return b""
            return _body(request, answer.status, answer.kind, answer.body)
        if isinstance(answer, Download):
            return await self._send(request, answer)
        await self._making.join()
        page = self._page(request, visit, answer)
        if visit.signed_in and visit.identity.notices and answer.status == 200:
            await self._whether_or_not(self._sessions.heard(visit.identity.session))
        return page

    def _page(self, request: Any, visit: Visit, page: Html) -> bytes:
        body = self._renderer.page(visit, page)
        if page.leads_to:
            policy = _HEADERS["Content-Security-Policy"]
            to = f"form-action 'self' {page.leads_to}"
            request.setHeader("Content-Security-Policy", policy.replace("form-action 'self'", to))
        if page.lasting and visit.impersonal and _is_kept(request, body, page.lasting):
            return b""
        return _body(request, page.status, "text/html; charset=utf-8", body)

    async def _send(self, request: Any, download: Download) -> bytes:
        try:
            await send(request, download)
        except Exception as error:  # noqa: BLE001 - what was begun is cut; there is no page to show
            self.log.warn("{name} was cut: {error!r}", name=download.name, error=error)
        return b""

    async def _redirect(self, request: Any, visit: Visit, answer: Redirect) -> bytes:
        if answer.say and visit.signed_in:
            await self._whether_or_not(self._sessions.notice(visit.identity.session, answer.say))
        if answer.session is not None:
            _set_cookie(request, _name("session", visit.secure), answer.session, visit.secure)
        request.setHeader("location", answer.path)
        return _body(request, 303, "text/plain; charset=utf-8", b"")

    async def _whether_or_not(self, notice: Awaitable[None]) -> None:
        """What was done has been done, though a notice be lost or said once more."""
        try:
            await notice
        except Unavailable as error:
            self.log.debug("a notice: {error}", error=error)


def _body(request: Any, status: int, kind: str, body: bytes) -> bytes:
    request.setResponseCode(status)
    request.setHeader("content-type", kind)
    request.setHeader("content-length", str(len(body)))
    return body


def _is_kept(request: Any, body: bytes, seconds: int) -> bool:
    """Let an answer be kept, in each language; whether the browser has it already (304).

    Who has signed in meanwhile has another cookie, and so asks again.
    """
    request.setHeader("cache-control", f"public, max-age={seconds}")
    request.setHeader("vary", "Accept-Language, Cookie")
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    return bool(request.setETag(etag.encode()))


def _to_sign_in(route: Route, visit: Visit) -> Redirect:
    """After it, on to the page that was asked for; never to what changes something."""
    if route.method != "GET" or visit.path in ("/", HOME):
        return Redirect("/connexion")
    return Redirect("/connexion?" + urlencode({"suite": visit.path}))


def _name(what: str, secure: bool) -> str:
    """Behind TLS a cookie is bound to this host, and no other may set it (RFC 6265bis, 4.1.3.2)."""
    return f"__Host-mail6m-{what}" if secure else f"mail6m-{what}"


def _header(request: Any, name: str) -> str:
    """A field of the request, whatever octets there are in it; several of a name make a list."""
    values = request.requestHeaders.getRawHeaders(name.encode(), [])
    return b",".join(values).decode("utf-8", "replace")


def _is_text(path: Sequence[bytes]) -> bool:
    try:
        return "\x00" not in b"/".join(path).decode()
    except UnicodeDecodeError:
        return False


def _address(text: str) -> Address | None:
    """``192.0.2.1``, ``192.0.2.1:4711``, ``2001:db8::1``, ``[2001:db8::1]:4711``; else None."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _cookie(request: Any, name: str) -> str:
    value = request.getCookie(name.encode())
    return value.decode("utf-8", "replace") if value else ""


def _set_cookie(request: Any, name: str, value: str, secure: bool) -> None:
    request.addCookie(
        name, value, path="/", httpOnly=True, sameSite="lax", secure=secure,
        max_age=None if value else "0",
    )  # fmt: skip
