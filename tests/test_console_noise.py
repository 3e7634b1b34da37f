"""Requests that no browser sends: too large, too odd, too many; and what the log says of them."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import psycopg2
import pyotp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import HostnameEndpoint
from twisted.logger import eventAsText, globalLogPublisher

from mail6m.access.signin import totp_owner
from mail6m.seal import Keyring
from mail6m.web.routes import Access, Route, act
from mail6m.web.site import LARGEST_BODY, MOST_FIELDS, fields
from mail6m.web.visit import Answer, Plain, Visit
from tests.console_client import (
    MASTER,
    NEW_PASSWORD,
    PASSWORD,
    Console,
    House,
    Page,
    listening,
    new_house,
    versions,
)
from tests.console_samples import path_of, sample_of, sent, walk
from tests.stored import NOWHERE

TYPED = "application/x-www-form-urlencoded"


class Scale:
    """A page that tells what it was sent."""

    weighed: int = 0

    @act("/balance", Access.PUBLIC)
    async def weigh(self, visit: Visit) -> Answer:
        """How much it is."""
        self.weighed += 1
        return Plain(str(sum(map(len, visit.form.values()))).encode(), "text/plain")


@pytest.fixture(scope="module")
def scale() -> Scale:
    """The page."""
    return Scale()


@pytest.fixture(scope="module")
def at(dsn: str, scale: Scale) -> Iterator[Console]:
    """A console with a database of its own, for whose trials a refused connection is soon over."""
    # Twisted looks for a host's next address after 0.3 s, and only then knows that there is none.
    soon = patch.object(HostnameEndpoint, "_DEFAULT_ATTEMPT_DELAY", 0.01)
    with soon, listening(dsn, more_pages=[scale]) as console:
        yield console


@pytest.fixture(scope="module")
def house(at: Console) -> House:
    """A customer."""
    return new_house(at)


# Bodies


def raw(at: Console, octets: bytes, *, leave: bool = False) -> bytes:
    """What comes back for octets, until the console closes; it may close before all are sent.

    Whoever leaves does not wait for what comes to octets that are no whole request.
    """
    answer = b""
    with socket.create_connection(("127.0.0.1", at.port), timeout=30) as connection:
        try:
            connection.sendall(octets)
            if leave:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while more := connection.recv(65_536):
                answer += more
        except OSError:
            pass
    return answer


def posted(at: Console, body: bytes, *, chunked: bool, declared: int | None = None) -> bytes:
    """A form for the scale, with a token that is right."""
    browser = at.browser()
    token = browser.any_token()
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    head = f"POST /balance HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: {cookie}\r\n"
    head += f"Content-Type: {TYPED}\r\n"
    form = f"csrf={token}&a=".encode() + body
    if chunked:
        pieces = [form[n : n + 9_000] for n in range(0, len(form), 9_000)]
        form = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        return raw(at, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + form)
    return raw(at, f"{head}Content-Length: {declared or len(form)}\r\n\r\n".encode() + form)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_form_that_fits(at: Console, chunked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is taken in memory: nothing that anybody sends goes to a file."""

    def none(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryFile", none)
    answer = posted(at, b"x" * (LARGEST_BODY - 100), chunked=chunked)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert str(LARGEST_BODY - 100).encode() in answer


@pytest.mark.parametrize("size", [LARGEST_BODY, 1 << 20, 5 << 20])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_form_that_is_too_large(at: Console, scale: Scale, size: int, chunked: bool) -> None:
    """Is refused with 413 where it becomes too large, and nobody sees it."""
    before = scale.weighed
    answer = posted(at, b"x" * size, chunked=chunked)
    # Where the browser still talks, the system may forget our answer with the connection.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1") <= 1
    assert scale.weighed == before


def test_a_length_that_is_too_large(at: Console, scale: Scale) -> None:
    """Is refused before anything comes."""
    before = scale.weighed
    for declared in (LARGEST_BODY + 1, 1 << 20, 1 << 62, 10**30):
        answer = posted(at, b"", chunked=False, declared=declared)
        assert answer.startswith(b"HTTP/1.1 413 ")
    assert scale.weighed == before


def test_a_form_of_very_many_fields(at: Console) -> None:
    """Is none: reading it would take the time of others."""
    assert len(fields(b"a=b&" * MOST_FIELDS)) in (MOST_FIELDS, 0)
    assert len(fields(b"&".join([b"a=b"] * MOST_FIELDS))) == MOST_FIELDS
    assert fields(b"&".join([b"a=b"] * (MOST_FIELDS + 1))) == []
    browser = at.browser()
    form = [("a", "")] * MOST_FIELDS
    assert browser.post("/balance", form).status == 403
    assert browser.post("/balance", form[1:]).status == 200


def test_fields_are_read_as_browsers_write_them() -> None:
    """UTF-8, percent-encoded; what is not is replaced; a semicolon is no separator."""
    assert fields("a=%C3%A9+b&c=;d&e&=f&g=\xe9&h=%FF%".encode("latin-1")) == [
        ("a", "é b"), ("c", ";d"), ("e", ""), ("", "f"), ("g", "\ufffd"), ("h", "\ufffd%"),
    ]  # fmt: skip


# Odd requests

WORST = ["\x00", "9" * 400, "x" * 1_500, "\U0001f989\ud7ff", "\\", "'"]
ODD = [
    *WORST, "9" * 11, "-1", "0", "2147483648", "9223372036854775808", "٣", "%", "on", "oui", "*",
    "00000000-0000-0000-0000-000000000000", "{" * 36, "0001-01-01", "9999-12-31 23:59", "a@b",
    "a@" + "b." * 120, "xn--", "xn--a", "[::1]:25", "127.0.0.1:9", "\u202e", "1e9", "NaN", "a.b\nc",
]  # fmt: skip
anything = st.text(max_size=30) | st.sampled_from(ODD)


ANYWHERE = ["page", "retour", "suite", "id", "sur"]
"""Fields that many pages have."""


def odd_forms(right: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """All fields with something odd in them, and one of them, the others as they should be.

    Those of other pages, which mean nothing here or next to nothing, are odd together.
    """
    own = {name for name, _ in right}
    others = [name for name in ANYWHERE if name not in own]
    for value in ODD:
        yield [(name, value) for name in (*sorted(own), *others)]
    for name in sorted(own):
        for value in WORST:
            yield [(n, v) for n, v in right if n != name] + [(name, value)]
    for value in WORST:
        yield [*right, *((name, value) for name in others)]


@pytest.mark.parametrize("route", walk())
def test_whatever_is_typed(at: Console, route: Route) -> None:
    """Into any field of any page is answered, and never by a failure of ours."""
    house, browser = new_house(at), at.browser()
    sample = sample_of(route, house)
    names = sorted({name for name, _ in sample.fields} | set(ANYWHERE))

    def ask(form: list[tuple[str, str]]) -> Page:
        path = path_of(route, sample)
        return (
            browser.post(path, form, token=browser.token)
            if route.method == "POST"
            else browser.get(path, form)
        )

    def look(form: list[tuple[str, str]]) -> None:
        answer = ask(form)
        if "mail6m-session" not in browser.cookies or answer.status == 403:  # it has ended
            browser.enter_for(at, route, house)
            browser.any_token()
            answer = ask(form)
        assert answer.status < 500, form
        assert "Ce formulaire n'est plus valable" not in answer.text

    @settings(max_examples=10, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(names) | st.text(max_size=5), anything), max_size=8))
    def look_at_anything(form: list[tuple[str, str]]) -> None:
        look([(name, value) for name, value in form if name != "csrf"])

    for form in odd_forms(sent(sample)):
        look(form)
    look_at_anything()


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=60), st.sampled_from(["/connexion?suite=", "/recherche?", "/", "/meuble/"])
)
def test_any_address(at: Console, octets: bytes, before: str) -> None:
    """Is answered."""
    target = before.encode() + octets.translate(None, b" \r\n\t\x0b\x0c\x00")
    answer = raw(at, b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
    assert re.match(rb"HTTP/1.1 [234]\d\d ", answer)


HEADERS = [
    "Host", "Cookie", "User-Agent", "Accept-Language", "Origin", "Referer", "Accept", "Range",
    "Sec-Fetch-Site", "X-Forwarded-For", "X-Forwarded-Proto", "Content-Type",
    "If-None-Match", "Expect", "Upgrade", "Accept-Encoding", "Authorization",
]  # fmt: skip
COOKIE = [b"mail6m-session=", b"mail6m-visitor=\xff", b"mail6m-session=;mail6m-session=x", b"=;=;;"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(HEADERS), st.binary(max_size=40) | st.sampled_from(COOKIE)),
        max_size=6,
    ),
    st.sampled_from(["GET", "POST", "HEAD"]),
    st.sampled_from(["/connexion", "/meuble", "/nulle-part", "/static/console.css"]),
)
def test_any_headers(at: Console, headers: list[tuple[str, bytes]], method: str, path: str) -> None:
    """Are answered, or refused."""
    lines = [
        b"%b: %b" % (name.encode(), value.translate(None, b"\r\n\x00")) for name, value in headers
    ]
    lines = [b"%b %b HTTP/1.1" % (method.encode(), path.encode()), b"Host: a", *lines]
    answer = raw(at, b"\r\n".join([*lines, b"Connection: close", b"", b""]))
    assert re.match(rb"HTTP/1.1 [234]\d\d ", answer)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_octets(at: Console, octets: bytes) -> None:
    """Leave the console as it was."""
    raw(at, octets, leave=True)
    assert at.browser().get("/connexion").status == 200


# The log


@contextmanager
def logged() -> Iterator[list[str]]:
    """All that is logged meanwhile, debug included, with tracebacks."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(eventAsText(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


def test_nothing_secret_is_logged(at: Console) -> None:
    """No password, token or code, nor what is searched for; whether it goes well or not."""
    house, browser, secret = new_house(at), at.browser(), pyotp.random_base32()
    wrapped = Keyring(MASTER).wrap(totp_owner(*house.reader), secret.encode())
    at.ask("DELETE FROM throttle RETURNING 1")
    at.ask("UPDATE account SET totp_secret = %s WHERE account_id = %s RETURNING 1",
           wrapped, house.reader[1])  # fmt: skip
    told = [PASSWORD, NEW_PASSWORD, "mot de passe faux", "secretsearch", "653107", house.letter]
    with logged() as lines, listening(NOWHERE) as away:
        browser.sign_in(house.reader_email, "mot de passe faux")
        browser.sign_in(house.reader_email)
        browser.get("/connexion/code")
        code = pyotp.TOTP(secret).now()
        for tried in ("653107", code):
            browser.post("/connexion/code", [("code", tried)], token=browser.token)
        told += [code, browser.token, *browser.cookies.values()]
        searches = ["recherche?subject=secretsearch", "recherche?since=secretsearch"]
        for path in (
            *searches,
            "secretsearch",
            "/secretsearch",
            f"mot-de-passe?jeton={house.letter}",
        ):
            for method in ("GET", "HEAD", "PUT"):
                browser.request(method, f"/{path}")
        browser.headers["Host"] = "secretsearch/"
        browser.get("/recherche?subject=secretsearch")
        lost = away.browser()
        lost.sign_in(house.reader_email)
        lost.cookies["mail6m-session"] = browser.cookies["mail6m-session"]
        lost.get("/recherche?subject=secretsearch")
        raw(at, b"GET /secretsearch?secretsearch HTTP/1.1\r\nHost: \xff\r\n\xff\r\n\r\n")
        raw(at, b"GET /secretsearch\xff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    whole = "\n".join(lines)
    assert "the database is away" in whole, "nothing is heard of the log at all"
    for secret_told in told:
        assert secret_told not in whole


def test_nothing_secret_is_logged_on_any_route(at: Console) -> None:
    """What is typed stays out of the log, on every route."""
    marker = "zzsecretzz"
    house = new_house(at)
    with logged() as lines:
        for route in [parameters.values[0] for parameters in walk()]:
            browser = at.browser()
            browser.enter_for(at, route, house)
            sample = sample_of(route, house)
            path = path_of(route, sample)
            for form in (
                [(name, marker) for name, _ in sent(sample)],
                [(name, f"{value}{marker}\x00") for name, value in sent(sample)],
            ):
                ask = browser.post if route.method == "POST" else browser.get
                answer = ask(path, form)
                assert answer.status < 500
    assert marker not in "\n".join(lines)


def test_noise_changes_nothing(at: Console, house: House) -> None:
    """What is refused has not been done."""
    before = versions(at)
    raw(
        at,
        b"POST /meuble/supprimer HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nid=",
        leave=True,
    )
    raw(at, b"DELETE /meuble HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert versions(at) == before
    assert isinstance(at.database, psycopg2.extensions.connection)
