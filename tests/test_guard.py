"""The door of the console, tried by somebody who means it harm."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urljoin, urlsplit

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mail6m.access.signin import totp_owner
from mail6m.model import HOUSE
from mail6m.seal import Keyring
from mail6m.web.operator.notices import POLICY as OF_LETTERS
from mail6m.web.routes import Access, Route, act, page
from mail6m.web.visit import Answer, Plain, Redirect, Visit, is_inside
from tests.console_client import (
    MASTER,
    Browser,
    Console,
    House,
    Page,
    listening,
    new_house,
    new_operator,
    versions,
)
from tests.console_samples import path_of, sample_of, sent, walk
from tests.reactor_thread import PATIENCE
from tests.stored import NOWHERE

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Mirror:
    """Pages that tell how a visit is understood, and one that waits."""

    def __init__(self) -> None:
        self.gate: Deferred[None] = Deferred()
        self.begun = threading.Event()
        self.ended = threading.Event()

    @page("/miroir", Access.PUBLIC)
    async def show(self, visit: Visit) -> Answer:
        """Who it is, as far as the guard knows."""
        seen = {"client": visit.client, "base": visit.base, "agent": visit.agent}
        return Plain(json.dumps(seen).encode(), "application/json")

    @act("/lent", Access.PUBLIC)
    async def wait(self, visit: Visit) -> Answer:
        """Begin, wait, and end."""
        self.begun.set()
        await self.gate
        self.ended.set()
        return Plain(b"", "text/plain")

    @page("/panne", Access.PUBLIC)
    async def fail(self, visit: Visit) -> Answer:
        """What must not happen."""
        raise RuntimeError("a mistake of ours")

    @page("/ailleurs", Access.PUBLIC)
    async def lead_away(self, visit: Visit) -> Answer:
        """What must not happen, either."""
        return Redirect("//evil.example/")


@pytest.fixture(scope="module")
def mirror() -> Mirror:
    """Pages of the tests' own."""
    return Mirror()


@pytest.fixture(scope="module")
def at(dsn: str, mirror: Mirror) -> Iterator[Console]:
    """A console that browsers come to directly."""
    with listening(dsn, more_pages=[mirror]) as console:
        yield console


@pytest.fixture(scope="module")
def behind(dsn: str) -> Iterator[Console]:
    """The same, behind proxies: on this machine, and in 10.0.0.0/8."""
    with listening(dsn, more_pages=[Mirror()], proxies=["127.0.0.0/8", "10.0.0.0/8"]) as console:
        yield console


@pytest.fixture(scope="module")
def house(at: Console) -> House:
    """A customer, for what changes nothing."""
    return new_house(at)


def halfway(route: Route, browser: Browser, at: Console, house: House) -> Browser:
    """The browser, with a session that the route lets in."""
    browser.enter_for(at, route, house)
    browser.any_token()
    return browser


# No act without its token


@pytest.mark.parametrize("route", walk(csrf=True))
def test_no_act_without_its_token(at: Console, house: House, route: Route) -> None:
    """None, a wrong one, another session's, another visitor's, or in the wrong place: 403."""
    browser, other, visitor = at.browser(), at.browser(), at.browser()
    halfway(route, browser, at, house)
    halfway(route, other, at, house)
    right = browser.token
    sample = sample_of(route, house)
    path, form = path_of(route, sample), sent(sample)
    before = versions(at)
    wrong = ["", "x", right[:-1], right + "x", right.swapcase(), other.token, visitor.any_token()]
    pages = [browser.post(path, form, token=token) for token in wrong]
    pages.append(browser.post(f"{path}?csrf={right}", form, token=""))
    typed = "&".join(f"{name}={value}" for name, value in [*form, ("csrf", right)]).encode()
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x", ""):
        headers = {"Content-Type": kind} if kind else {}
        pages.append(browser.request("POST", path, typed, headers))
    visitor_form = at.browser().post(path, form, token=right)
    for refused in [*pages, visitor_form]:
        assert refused.status == 403
        assert "Ce formulaire n'est plus valable" in refused.text
    assert versions(at) == before


SITES = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://["},
    {"Origin": "\xe9"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "something new"},
]


@pytest.mark.parametrize("route", walk(csrf=True))
def test_no_act_for_another_site(at: Console, house: House, route: Route) -> None:
    """Whatever token it has: a browser that says where a form comes from is believed."""
    browser = halfway(route, at.browser(), at, house)
    sample = sample_of(route, house)
    before = versions(at)
    for headers in SITES:
        path, form = path_of(route, sample), sent(sample)
        refused = browser.post(path, form, token=browser.token, headers=headers)
        assert refused.status == 403, headers
    assert versions(at) == before


def test_a_form_of_ours(at: Console, house: House) -> None:
    """What a browser says with a form of ours is taken."""
    browser = at.browser()
    browser.enter(at, house.admin)
    headers = {"Origin": f"http://127.0.0.1:{at.port}", "Sec-Fetch-Site": "same-origin"}
    form = [("id", str(house.messages[0]))]
    assert browser.post("/meuble/details", form, headers=headers).status == 303


@pytest.mark.parametrize("route", walk())
def test_no_other_method(at: Console, house: House, route: Route) -> None:
    """A page only shows, an act is only for POST, and no other method does anything."""
    browser = halfway(route, at.browser(), at, house)
    sample = sample_of(route, house)
    path = path_of(route, sample)
    both = {one.method for one in _routes() if one.rule == route.rule}
    methods = {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "post", "X"} - both
    typed = "&".join(f"{n}={v}" for n, v in [*sent(sample), ("csrf", browser.token)]).encode()
    before = versions(at)
    for method in sorted(methods):
        refused = browser.request(method, path, typed, FORM | {"X-HTTP-Method-Override": "POST"})
        assert refused.status == 405
        assert set(refused.headers["allow"].split(", ")) <= {"GET", "HEAD", "POST"}
    assert versions(at) == before


def _routes() -> list[Route]:
    return [parameters.values[0] for parameters in walk()]


def test_pages_change_nothing(at: Console, house: House) -> None:
    """Looked at as often as one likes, by GET or by HEAD, by whom they are for, or halfway in."""
    for account, complete in (
        (house.admin, True),
        (house.admin, False),
        (new_operator(at), True),
    ):
        browser = at.browser()
        browser.enter(at, account, complete=complete)
        browser.get("/recherche?subject=sujet")
        before = versions(at)
        for route in _routes():
            sample = sample_of(route, house)
            if route.method == "GET" and route.access.of_house == (account[0] == HOUSE):
                shown = browser.get(path_of(route, sample), sent(sample))
                assert shown.status < 400 or shown.status == 403
                assert versions(at) == before, f"{route.rule} changes something"
                head = browser.request("HEAD", path_of(route, sample))
                assert (head.body, head.status < 500) == (b"", True)
        assert versions(at) == before


def test_head_is_get_without_a_body(at: Console) -> None:
    """With the length that the body would have (RFC 9110, 9.3.2)."""
    browser = at.browser()
    browser.get("/connexion")
    whole, head = browser.get("/connexion"), browser.request("HEAD", "/connexion")
    assert int(head.headers["content-length"]) == len(whole.body) > 0
    assert head.headers["content-type"] == whole.headers["content-type"]
    for path in ("/nulle-part", "//meuble"):
        head = browser.request("HEAD", path)
        assert (head.status, head.body) == (404, b"")


# Sessions and their cookies


def attributes(cookie: str) -> set[str]:
    """What a Set-Cookie says besides name and value."""
    return {part.strip().lower() for part in cookie.split(";")[1:]}


def test_cookies_behind_tls(behind: Console, house: House) -> None:
    """Bound to this host, and never sent in clear nor shown to scripts (RFC 6265bis, 4.1.3.2)."""
    browser = behind.browser(X_Forwarded_Proto="https")
    visitor = browser.get("/connexion").cookies
    session = browser.sign_in(house.admin_email).cookies
    for [cookie], name in ((visitor, "visitor"), (session, "session")):
        assert cookie.startswith(f"__Host-mail6m-{name}=")
        assert attributes(cookie) == {"secure", "httponly", "samesite=lax", "path=/"}
    assert browser.get("/meuble").status == 200
    [ended] = browser.post("/deconnexion", token=browser.token).cookies
    assert attributes(ended) >= {"secure", "path=/", "max-age=0"}


def test_cookies_in_clear(at: Console, house: House) -> None:
    """Without the prefix, which a browser would not take; whatever the browser itself claims."""
    browser = at.browser(X_Forwarded_Proto="https")
    visitor = browser.get("/connexion").cookies
    for [cookie] in (visitor, browser.sign_in(house.admin_email).cookies):
        assert cookie.startswith("mail6m-")
        assert attributes(cookie) == {"httponly", "samesite=lax", "path=/"}


def test_a_cookie_in_clear_opens_nothing_behind_tls(behind: Console, house: House) -> None:
    """A session's token under the name that anybody on the way could set."""
    browser = behind.browser(X_Forwarded_Proto="https")
    browser.enter(behind, house.admin)
    assert browser.get("/meuble").status == 303
    browser.headers = {}
    assert browser.get("/meuble").status == 200


def test_a_token_set_before_signing_in(at: Console, house: House) -> None:
    """Is worthless after it: a session is never one that somebody else has chosen."""
    for complete in (None, False):
        browser, attacker = at.browser(), at.browser()
        attacker.cookies["mail6m-session"] = "chosen-by-the-attacker"
        if complete is not None:
            attacker.enter(at, new_house(at).admin, complete=complete)
        browser.cookies = dict(attacker.cookies)
        assert browser.sign_in(house.admin_email).location == "/meuble"
        assert browser.cookies["mail6m-session"] != attacker.cookies["mail6m-session"]
        assert browser.get("/meuble").status == 200
        assert attacker.get("/meuble").status == 303


def test_the_second_factor(at: Console) -> None:
    """The password alone opens nothing; the code opens the page asked for, under another token."""
    house, browser, thief = new_house(at), at.browser(), at.browser()
    secret = pyotp.random_base32()
    wrapped = Keyring(MASTER).wrap(totp_owner(*house.admin), secret.encode())
    at.ask(
        "UPDATE account SET totp_secret = %s WHERE account_id = %s RETURNING 1",
        wrapped,
        house.admin[1],
    )
    asked = "/recherche?subject=a"
    there = browser.sign_in(house.admin_email, then=asked).location
    assert there == "/connexion/code?suite=%2Frecherche%3Fsubject%3Da"
    thief.cookies = dict(browser.cookies)
    assert thief.get("/meuble").location == "/connexion/code"
    assert f'name="suite" value="{asked}"' in browser.get(there).text
    code = [("code", pyotp.TOTP(secret).now()), ("suite", asked)]
    assert browser.post("/connexion/code", code, token=browser.token).location == asked
    assert browser.get("/meuble").status == 200
    assert thief.get("/meuble").location == "/connexion"
    assert thief.get("/connexion/code").location.partition("?")[0] == "/connexion"
    assert browser.get("/connexion/code").location == "/meuble"


@pytest.mark.parametrize(
    ("used", "begun", "status"),
    [(59, 60, 200), (61, 60, 303), (1, 719, 200), (1, 721, 303)],
)
def test_a_session_ends(at: Console, house: House, used: int, begun: int, status: int) -> None:
    """An hour after its last request, and twelve hours after signing in."""
    browser = at.browser()
    number = browser.enter(at, house.admin)
    at.ask(
        "UPDATE session SET seen_at = now() - %s * interval '1 minute',"
        " created_at = now() - %s * interval '1 minute' WHERE session_id = %s RETURNING 1",
        used,
        begun,
        number,
    )
    assert browser.get("/meuble").status == status


def test_a_request_keeps_a_session(at: Console, house: House) -> None:
    """It has another hour from there."""
    browser = at.browser()
    number = browser.enter(at, house.admin)
    for _ in range(3):
        at.ask(
            "UPDATE session SET seen_at = seen_at - interval '40 minutes'"
            " WHERE session_id = %s RETURNING 1",
            number,
        )
        assert browser.get("/meuble").status == 200


def test_signing_out(at: Console, house: House) -> None:
    """Ends the session on the server, whoever has a copy of the cookie."""
    browser, thief = at.browser(), at.browser()
    browser.enter(at, house.admin)
    thief.cookies = dict(browser.cookies)
    assert thief.get("/meuble").status == 200
    assert browser.post("/deconnexion").location == "/connexion"
    assert "mail6m-session" not in browser.cookies
    assert thief.get("/meuble").status == 303


# Where it comes from

HOPS = [
    ([], "127.0.0.1"),
    (["203.0.113.7"], "203.0.113.7"),
    (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
    (["198.51.100.1, 203.0.113.7, 10.0.0.3, 127.0.0.1"], "203.0.113.7"),
    (["198.51.100.1", "203.0.113.7, 10.0.0.3"], "203.0.113.7"),
    (["10.0.0.3"], "10.0.0.3"),
    (["2001:db8::7"], "2001:db8::7"),
    (["[2001:DB8::7]:4711"], "2001:db8::7"),
    (["203.0.113.7:4711"], "203.0.113.7"),
    (["::ffff:203.0.113.7"], "203.0.113.7"),
    (["198.51.100.1, ::ffff:10.0.0.3"], "198.51.100.1"),
    (["fe80::1%<script>"], "fe80::1"),
    (["203.0.113.7, unknown"], "127.0.0.1"),
    (["203.0.113.7, unknown, 10.0.0.3"], "10.0.0.3"),
    ([""], "127.0.0.1"),
    ([",,,"], "127.0.0.1"),
    (["\xff\xfe, '; DROP TABLE"], "127.0.0.1"),
    (["999.1.1.1"], "127.0.0.1"),
    (["203.0.113.7," * 700], "127.0.0.1"),
    ([", ".join(["198.51.100.1"] * 700)], "198.51.100.1"),
]


def asked(at: Console, *headers: tuple[str, str]) -> dict[str, str]:
    """What the mirror sees of a request with these headers."""
    connection = HTTPConnection("127.0.0.1", at.port, timeout=30)
    connection.putrequest("GET", "/miroir")
    for name, value in headers:
        connection.putheader(name, value.encode("latin-1"))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 200
    seen: dict[str, str] = json.loads(response.read())
    connection.close()
    return seen


@pytest.mark.parametrize(("hops", "client"), HOPS)
def test_the_client_behind_proxies(behind: Console, hops: list[str], client: str) -> None:
    """The last address that no proxy of ours has; what a client makes up is before it."""
    headers = [("X-Forwarded-For", value) for value in hops]
    assert asked(behind, *headers)["client"] == client


def test_anybody_may_claim_anything(at: Console) -> None:
    """Without a trusted proxy nothing of it is believed."""
    claims = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https")]
    claims += [("Forwarded", "for=203.0.113.7;proto=https"), ("X-Real-IP", "203.0.113.7")]
    claims += [("X-Forwarded-Host", "evil.example")]
    seen = asked(at, *claims)
    assert (seen["client"], seen["base"]) == ("127.0.0.1", f"http://127.0.0.1:{at.port}")


@pytest.mark.parametrize(
    ("said", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http", "http"),
        ("http, https", "https"),
        ("https, http", "http"),
        ("httpsx", "http"),
        ("", "http"),
    ],
)
def test_the_scheme_behind_proxies(behind: Console, said: str, scheme: str) -> None:
    """As the proxy says."""
    assert asked(behind, ("X-Forwarded-Proto", said))["base"].startswith(scheme + "://")


# The headers of every answer

ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def check_headers(shown: Page, what: str, *, secure: bool = False) -> None:
    """Of one answer."""
    assert ALWAYS.items() <= shown.headers.items(), what
    policy = shown.headers["content-security-policy"]
    if policy == OF_LETTERS:
        assert re.fullmatch(r"GET /exploitation/avis/\w+/html", what)
    else:
        assert "unsafe" not in policy, what
    assert "*" not in policy, what
    for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action"):
        assert part in policy, what
    assert ("strict-transport-security" in shown.headers) == secure, what
    assert "server" not in shown.headers, what
    kept = shown.headers["cache-control"]
    if kept.startswith("public"):  # the same for everybody: then nobody is known by it
        assert not shown.cookies, what
        assert {"etag", "vary"} <= shown.headers.keys(), what
        assert what.startswith("GET "), what
        assert b'name="csrf"' not in shown.body, what
    elif not what.startswith("/static"):
        assert kept == "no-store", what


ODD = ["/nulle-part", "/meuble/", "//meuble", "/%FF", "/panne", "/ailleurs", "/meuble/emettre",
       "/static/console.css", "/static/console.css?v=1", "/static/none", "/static/..%2Fapp.py",
       "/metrics", "/health", "/connexion?suite=%00"]  # fmt: skip


@pytest.mark.parametrize("secure", [False, True])
def test_headers_of_every_answer(at: Console, house: House, secure: bool, dsn: str) -> None:
    """Of every route to everybody, and of whatever is not a route."""
    with listening(dsn, more_pages=[Mirror()], proxies=["127.0.0.1"]) as console:
        proto = "https" if secure else "http"
        for role in (None, house.reader, house.admin, new_operator(at)):
            browser = console.browser(X_Forwarded_Proto=proto)
            if role is not None:
                browser.enter(console, role)
                browser.cookies["__Host-mail6m-session"] = browser.cookies["mail6m-session"]
            for route in _routes():
                sample = sample_of(route, house)
                path = path_of(route, sample)
                check_headers(browser.get(path, sent(sample)), f"GET {path}", secure=secure)
                check_headers(browser.post(path, token=""), f"POST {path}", secure=secure)
                check_headers(browser.request("PUT", path), f"PUT {path}", secure=secure)
            for path in ODD:
                check_headers(browser.get(path), path, secure=secure)
            refused = browser.request("GET", "/", headers={"Host": "a b"})
            assert refused.status == 400
            check_headers(refused, "no host", secure=secure)


def test_static_files(at: Console) -> None:
    """Kept for good when asked for with a version; not sent twice; and nothing beside them."""
    browser = at.browser()
    lasting, fresh = browser.get("/static/console.css?v=1"), browser.get("/static/console.css")
    assert lasting.headers["cache-control"] == "max-age=31536000, immutable"
    assert fresh.headers["cache-control"] == "no-cache"
    again = browser.request(
        "GET", "/static/console.css", headers={"If-None-Match": fresh.headers["etag"]}
    )
    assert (again.status, again.body) == (304, b"")
    check_headers(again, "/static 304")
    for path in ("/static/", "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%5capp.py"):
        assert browser.get(path).status == 404


def test_a_mistake_of_ours(at: Console) -> None:
    """Is a page without a word of why; the reason is in the log."""
    shown = at.browser().get("/panne")
    assert shown.status == 500
    assert "L'erreur est de notre côté" in shown.text
    assert "mistake" not in shown.text
    assert "Traceback" not in shown.text


def test_no_redirect_but_ours(at: Console) -> None:
    """A page has one address, and no other one leads to it."""
    for path in (
        "/meuble/",
        "/meuble//details",
        "//meuble",
        "/./meuble",
        "/x/../meuble",
        "/MEUBLE",
    ):
        shown = at.browser().get(path)
        assert (shown.status, shown.location) == (404, ""), path


def test_what_is_no_request(at: Console) -> None:
    """Is refused with a page."""
    for host in (
        "a b",
        "a/b",
        "a@b",
        "a\\b",
        "é.fr",
        "",
        "a" * 64,
        "a..b",
        "[",
        "x:99999999",
        "a,b",
    ):
        browser = at.browser(Host=host)
        assert browser.get("/connexion").status == (200 if host == "" else 400), host
    for path in ("http://evil.example/connexion", "connexion", "/%c3%28"):
        assert at.browser().get(path).status == 404


# Away from here

AWAY = [
    "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
    "\t//evil.example", " //evil.example", "https://evil.example", "https:evil.example",
    "javascript:alert(1)", "/a\r\nSet-Cookie: x=y", "/\u2028/evil", "/é", "data:text/html,x",
    "%2f%2fevil.example", "/..//evil.example\\x", "evil.example", "", ".",
    "/meuble\\..\\..\\\\evil", "http:/\\evil.example", "/\x00/evil.example", "/recherche?\n",
    "/recherche?\\evil.example",
]  # fmt: skip


def stays(location: str) -> bool:
    """Whether a browser that is sent there stays here; to it a backslash is a slash (WHATWG)."""
    cleaned = re.sub(r"[\t\r\n]", "", location.strip()).replace("\\", "/")
    return urlsplit(urljoin("https://console.test/connexion", cleaned)).netloc == "console.test"


@pytest.mark.parametrize("path", AWAY)
def test_no_way_leads_away(at: Console, house: House, path: str) -> None:
    """Not after signing in, and not back to a list."""
    browser = at.browser()
    assert "evil" not in browser.get("/connexion", [("suite", path)]).text
    browser.enter(at, house.admin)
    one = ("id", str(house.messages[0]))
    shown = browser.get("/details", [one, ("retour", path)])
    assert "evil" not in shown.text
    for form in ([one, ("retour", path)], [("retour", path)]):
        for act_path in ("/meuble/details", "/meuble/supprimer"):
            answer = browser.post(act_path, form)
            assert stays(answer.location)
            assert "evil" not in answer.text
            assert not [c for c in answer.cookies if c.startswith("x=")]


@pytest.mark.parametrize("path", [*AWAY, "/recherche?subject=é", "/recherche?subject=a"])
def test_after_signing_in(at: Console, house: House, path: str) -> None:
    """On to a page of ours, or to the cabinet."""
    wanted = path if path.isascii() and path == "/recherche?subject=a" else "/meuble"
    at.ask("DELETE FROM throttle RETURNING 1")
    assert at.browser().sign_in(house.admin_email, then=path).location == wanted


@given(st.text(alphabet=st.sampled_from("/\\:@.evil?#%\t\n\r\x00é "), max_size=12))
def test_what_is_inside(path: str) -> None:
    """Nothing that a browser could understand as another site's is taken for a path of ours."""
    if is_inside(path):
        assert stays(path)
        assert Redirect(path).path == path
    else:
        with pytest.raises(ValueError, match="no path of the console"):
            Redirect(path)


# Browsers that go away, and a database that is away


def test_a_browser_that_goes_away(
    at: Console, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Does not interrupt what it began."""
    left = threading.Event()
    serve = at.guard.serve

    def observed(*arguments: object) -> Deferred[bytes]:
        answer = serve(*arguments)  # type: ignore[arg-type]

        def gone(failure: object) -> object:
            left.set()
            mirror.gate.callback(None)
            return failure

        return answer.addErrback(gone)  # type: ignore[arg-type]

    browser = at.browser()
    token = browser.any_token()
    monkeypatch.setattr(at.guard, "serve", observed)
    body = f"csrf={token}".encode()
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    head = f"POST /lent HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n"
    head += f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", at.port)) as connection:
        connection.sendall(head.encode() + body)
        assert mirror.begun.wait(PATIENCE)
    assert left.wait(PATIENCE)
    assert mirror.ended.wait(PATIENCE)


@pytest.fixture(scope="module")
def alone() -> Iterator[Console]:
    """A console whose database is away."""
    with listening(NOWHERE) as console:
        yield console


@pytest.mark.parametrize("route", walk())
def test_the_database_is_away(alone: Console, house: House, route: Route) -> None:
    """A page that says so, with 503, whatever was asked for; no stack trace."""
    browser = alone.browser()
    browser.get("/connexion")
    sample = sample_of(route, house)
    path = path_of(route, sample)
    browser.cookies["mail6m-session"] = "whatever"
    shown = (
        browser.post(path, sent(sample), token="")
        if route.method == "POST"
        else browser.get(path, sent(sample))
    )
    assert "Traceback" not in shown.text
    if route.access is Access.ANYBODY and shown.status == 200:
        return  # what says the same to everybody may need none
    assert shown.status == 503
    assert "L'archive ne répond pas pour l'instant" in shown.text


def test_signing_in_without_the_database(alone: Console, house: House) -> None:
    """The form is there; what it cannot do now, it says."""
    shown = alone.browser().sign_in(house.admin_email)
    assert shown.status == 503
    assert not [cookie for cookie in shown.cookies if "session" in cookie]
