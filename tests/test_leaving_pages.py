"""Emporter, résilier: the page, and the file as browsers fetch it."""

from __future__ import annotations

import hashlib
import http.client
import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
from twisted.internet.defer import Deferred, ensureDeferred

from mail6m.seal import Key, Keyring, compress, seal
from mail6m.web.download import Span, _pour, span
from tests.console_client import (
    MASTER,
    PASSWORD,
    Browser,
    Console,
    House,
    listening,
    new_house,
)
from tests.reactor_thread import run
from tests.stored import NOON, new_message

CONTENTS = [
    b"Subject: %d\r\n\r\n" % number + b"%d " % number * 60_000 + b"\r\n" for number in range(6)
]


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console of its own."""
    with listening(dsn) as console:
        yield console


class Taker(NamedTuple):
    """An administrator whose mail can be opened."""

    at: Console
    house: House
    browser: Browser

    def prepare(self, format_: str = "zip", password: str = PASSWORD) -> int:
        """The button Préparer, and the server does it; the status of the answer."""
        form = [("format", format_), ("current", password)]
        status = self.browser.post("/partir/fichiers", form).status
        run(self.at.exporter.measure_all)
        return status

    def link(self, ending: str = ".zip") -> str:
        """Where the page's link to the file leads to."""
        links = [
            part.partition('"')[0] for part in self.browser.get("/partir").text.split('href="')
        ]
        return next(link for link in links if link.endswith(ending) and "fichiers" in link)

    def acts(self) -> list[str]:
        """What the audit has, the oldest first."""
        rows = self.at.ask(
            "SELECT act FROM audit WHERE customer_id = %s ORDER BY audit_id", self.house.number
        )
        return [act for (act,) in rows]


@pytest.fixture
def taker(at: Console) -> Taker:
    """With six messages under the customer's own key, and no others."""
    house = new_house(at)
    at.ask("INSERT INTO contract VALUES (%s, '2026-01-10') ON CONFLICT DO NOTHING", house.number)
    at.ask("DELETE FROM message WHERE customer_id = %s", house.number)
    at.ask("DELETE FROM export WHERE customer_id = %s", house.number)
    at.ask("DELETE FROM shelf_count WHERE customer_id = %s", house.number)
    [[wrapped]] = at.ask("SELECT wrapped_key FROM customer WHERE customer_id = %s", house.number)
    key = Key(Keyring(MASTER).unwrap(house.number, bytes(wrapped)))
    messages = []
    for number, content in enumerate(CONTENTS):
        message = new_message(house.number, content, milliseconds=NOON + number * 60_000)
        message.parts = seal(key, message.id, compress(content, 1))
        message.stored_size = sum(map(len, message.parts))
        messages.append(message)
    run(lambda: at.archive.store(messages, 0))
    browser = at.browser()
    browser.enter(at, house.admin)
    return Taker(at, house, browser)


def test_a_file_is_prepared_and_fetched(taker: Taker) -> None:
    """All of it, with its size, its name and its digest; the audit knows who took it."""
    assert taker.prepare() == 303
    page = taker.browser.get("/partir").text
    got = taker.browser.get(taker.link())
    assert got.status == 200
    digest = hashlib.sha256(got.body).hexdigest()
    assert digest in page
    assert got.headers["etag"] == f'"{digest}"'
    assert got.headers["content-type"] == "application/zip"
    assert got.headers["content-length"] == str(len(got.body))
    assert got.headers["content-disposition"].startswith('attachment; filename="mail6m-')
    with zipfile.ZipFile(io.BytesIO(got.body)) as archive:
        assert [archive.read(name) for name in archive.namelist()] == CONTENTS
    assert taker.acts()[-2:] == ["export asked", "export taken"]


def test_a_download_goes_on_where_it_was(taker: Taker) -> None:
    """With a Range and the ETag of what there is; another file is sent whole."""
    taker.prepare("mbox")
    link = taker.link(".mbox")
    whole = taker.browser.get(link)
    rest = taker.browser.request(
        "GET", link, headers={"Range": "bytes=300000-", "If-Range": whole.headers["etag"]}
    )
    assert rest.status == 206
    size = len(whole.body)
    assert rest.headers["content-range"] == f"bytes 300000-{size - 1}/{size}"
    assert rest.body == whole.body[300_000:]
    other = taker.browser.request(
        "GET", link, headers={"Range": "bytes=300000-", "If-Range": '"another"'}
    )
    assert (other.status, other.body) == (200, whole.body)
    part = taker.browser.request("GET", link, headers={"Range": "bytes=7-9"})
    assert (part.status, part.body) == (206, whole.body[7:10])
    beyond = taker.browser.request("GET", link, headers={"Range": f"bytes={size}-"})
    assert (beyond.status, beyond.body) == (416, b"")
    assert beyond.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("bytes=0-", Span(0, 100)),
        ("bytes=99-", Span(99, 100)),
        ("bytes=10-19", Span(10, 20)),
        ("bytes=10-1000", Span(10, 100)),
        ("bytes=-30", Span(70, 100)),
        ("bytes=-1000", Span(0, 100)),
        ("bytes=100-", None),
        ("bytes=-0", None),
        ("bytes=5-4", Span(0, 100)),
        ("bytes=0-1,5-6", Span(0, 100)),
        ("bytes=-", Span(0, 100)),
        ("lines=1-2", Span(0, 100)),
        ("bytes=" + "9" * 19 + "-", Span(0, 100)),
        ("bytes=٣-", Span(0, 100)),
    ],
)
def test_what_a_range_asks_for(asked: str, wanted: Span | None) -> None:
    """One part of it; what is not understood asks for all (RFC 9110, 14.2)."""
    assert span(asked, 100) == wanted


def test_head_makes_no_file(taker: Taker) -> None:
    """It has the headers alone, and is nothing for the audit."""
    taker.prepare()
    head = taker.browser.request("HEAD", taker.link(), headers={"Range": "bytes=7-9"})
    assert head.status == 200
    assert int(head.headers["content-length"]) > 300_000
    assert head.body == b""
    assert taker.acts()[-1] == "export asked"


def test_a_file_that_cannot_be_made_to_its_end_is_cut(taker: Taker) -> None:
    """The client sees that something is missing, and the page tells that the mail has changed."""
    taker.prepare()
    link = taker.link()
    [[last]] = taker.at.ask(
        "SELECT message_id::text FROM message WHERE customer_id = %s ORDER BY 1 DESC LIMIT 1",
        taker.house.number,
    )
    taker.at.ask("SELECT delete_messages(%s, ARRAY[%s]::uuid[])", taker.house.number, last)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        taker.browser.get(link)
    assert "Il y en a 5 maintenant" in taker.browser.get("/partir").text


def test_a_browser_that_goes_away(taker: Taker) -> None:
    """In the middle of a file: the server goes on with others."""
    taker.prepare()
    connection = http.client.HTTPConnection("127.0.0.1", taker.browser.port, timeout=30)
    cookies = "; ".join(f"{name}={value}" for name, value in taker.browser.cookies.items())
    connection.request("GET", taker.link(), headers={"Cookie": cookies})
    assert connection.getresponse().read(1_000)
    connection.close()
    assert taker.browser.get(taker.link()).status == 200


class _Slow:
    """A request whose client takes nothing, until it is told to (as `twisted.web.http.Request`)."""

    def __init__(self) -> None:
        self.written = b""
        self.valve: Any = None
        self.gone: Deferred[None] = Deferred()
        self.channel = Mock()

    def notifyFinish(self) -> Deferred[None]:
        return self.gone

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.valve = producer

    def unregisterProducer(self) -> None:
        self.valve = None

    def write(self, data: bytes) -> None:
        self.written += data
        self.valve.pauseProducing()


def test_nothing_is_made_for_a_client_that_does_not_read() -> None:
    """One piece is under way at the most; when the client goes away, no more are made."""
    made = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            made.append(number)
            yield b"0123456789"

    request = _Slow()
    pouring = ensureDeferred(_pour(request, pieces(), 50))
    assert made == [0]
    request.valve.resumeProducing()
    assert made == [0, 1]
    request.gone.callback(None)
    assert pouring.called
    assert made == [0, 1]
    assert len(request.written) == 20


def test_a_file_that_ends_too_soon_is_cut() -> None:
    """A connection that is kept would have the client wait for the rest."""
    cut = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"0123456789"

    request = Mock(notifyFinish=Deferred)
    request.channel.transport.abortConnection = lambda: cut.append(True)
    ensureDeferred(_pour(request, pieces(), 50))
    assert cut == [True]


def test_a_reader_takes_nothing_away(taker: Taker) -> None:
    """Who may see no content on any page."""
    taker.prepare()
    link = taker.link()
    reader = taker.at.browser()
    reader.enter(taker.at, taker.house.reader)
    for path in ("/partir", link):
        assert reader.get(path).status == 403
    assert 'href="/partir"' not in reader.get("/preferences").text


def test_preparing_needs_the_password(taker: Taker) -> None:
    """A session that was left open does not give everything away."""
    assert taker.prepare(password="not this one") == 403
    assert run(lambda: taker.at.exporter.of(taker.house.number)) == []


def test_a_file_that_cannot_be_made(taker: Taker) -> None:
    """The page says so, and what to do."""
    taker.at.ask("DELETE FROM body WHERE customer_id = %s", taker.house.number)
    taker.prepare()
    page = taker.browser.get("/partir").text
    assert "Un e-mail ne peut pas être lu : écrivez-nous." in page
    assert "refresh" not in page


def test_another_format_is_refused(taker: Taker) -> None:
    """There are two."""
    assert taker.prepare("pst") == 400


def test_what_is_not_ready_is_not_there(taker: Taker) -> None:
    """Nor is what was never asked for."""
    taker.prepare()
    link = taker.link()
    taker.browser.post("/partir/fichiers", [("format", "zip"), ("current", PASSWORD)])
    assert "en préparation, 0 %" in taker.browser.get("/partir").text
    assert taker.browser.get(link).status == 404
    assert taker.browser.get(link.replace(".zip", ".mbox")).status == 404


def test_the_contract_ends_when_it_is_really_meant(taker: Taker) -> None:
    """By the company's name and the password; and until the day it can be taken back."""
    company, post = taker.house.company, taker.browser.post
    wrong_name = post("/partir/resilier", [("company", "Vermeulen"), ("current", PASSWORD)])
    assert wrong_name.status == 400
    assert "Ce n'est pas le nom de votre société." in wrong_name.text
    wrong_password = post("/partir/resilier", [("company", company), ("current", "no")])
    assert wrong_password.status == 403
    assert "Votre contrat se termine le" not in taker.browser.get("/partir").text
    typed = [("company", f"  {company.upper()} "), ("current", PASSWORD)]
    assert post("/partir/resilier", typed).location == "/partir"
    assert "Votre contrat se termine le" in taker.browser.get("/partir").text
    assert post("/partir/rester").location == "/partir"
    assert "Votre contrat se termine le" not in taker.browser.get("/partir").text
    wanted = ["end of contract asked", "end of contract withdrawn"]
    assert [act for act in taker.acts() if act.startswith("end of")] == wanted


def test_every_page_tells_that_the_contract_ends(taker: Taker) -> None:
    """And that a disc is offered; to those who may do something about it, where."""
    taker.at.ask(
        "INSERT INTO disc (customer_id, serial, state) VALUES (%s, 'ZZZZZZ', 'offered')",
        taker.house.number,
    )
    page = taker.browser.get("/meuble").text
    assert "Un DVD vous est proposé." in page
    assert "Votre contrat se termine" not in page
    typed = [("company", taker.house.company), ("current", PASSWORD)]
    taker.browser.post("/partir/resilier", typed)
    assert "tout sera détruit le" in taker.browser.get("/meuble").text
    assert 'href="/partir"' in taker.browser.get("/recherche").text
    reader = taker.at.browser()
    reader.enter(taker.at, taker.house.reader)
    page = reader.get("/recherche").text
    assert "tout sera détruit le" in page
    assert 'href="/partir"' not in page
