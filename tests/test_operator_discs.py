"""Discs and the archivist's requests of all customers, as operators see and do them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

import pytest
from twisted.internet.defer import Deferred

from mail6m.billing.invoice import Party
from mail6m.billing.labels import Label, labels
from mail6m.shelves.disc.names import new_serial
from mail6m.shelves.writing import DiscWriting
from mail6m.storage.errors import Refused
from tests.console_client import Browser, Console, House, listening, new_house, new_operator
from tests.reactor_thread import run

SENDER = Party("Mail6M SAS", "1 rue de la Paix", "59000", "Lille", "FR")


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """The console."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer whose disc is on its way, and who has asked the archivist for something."""
    return new_house(at)


@pytest.fixture
def operator(at: Console) -> Browser:
    """Somebody who runs Mail6M."""
    browser = at.browser()
    browser.enter(at, new_operator(at))
    return browser


def disc(at: Console, house: House, state: str) -> str:
    """Another disc of a customer's."""
    serial = new_serial()
    at.ask(
        "INSERT INTO disc (customer_id, serial, state, written_at, image_size, messages)"
        " VALUES (%s, %s, %s, now(), 4700000000, 61234)",
        *(house.number, serial, state),
    )
    return serial


# Labels


def test_labels_of_some_discs(at: Console, house: House, operator: Browser) -> None:
    """The addresses of their customers' preferences, from the label on that is said, as a PDF."""
    at.ask(
        "INSERT INTO seller VALUES ('2020-01-01', 'Mail6M SAS', '1 rue de la Paix', '59000',"
        " 'Lille', 'FR', '', '', '', '', '', '', '', 30, '') ON CONFLICT DO NOTHING"
    )
    serials = [disc(at, house, "written"), house.disc]
    query = [("serial", serial) for serial in serials] + [("premiere", "24")]
    seen: list[Any] = []

    def seen_by(wanted: Sequence[Label], start: int) -> bytes:
        seen.append((wanted, start))
        return labels(wanted, start)

    with patch("mail6m.web.operator.discs.labels", seen_by):
        page = operator.get("/exploitation/dvd/etiquettes", query)
    assert page.headers["content-type"] == "application/pdf"
    assert page.body.startswith(b"%PDF-")
    [(wanted, start)] = seen
    assert start == 24
    assert [one.serial for one in wanted] == serials
    assert {one.sender for one in wanted} == {SENDER}
    assert wanted[0].to.name == house.company
    assert wanted[0].to.city == f"ville-{house.word}"
    assert wanted[0].to.contact == f"prenom-{house.word} nom-{house.word}"
    for wrong in ([], [("serial", "ZZZZZZ")]):
        assert operator.get("/exploitation/dvd/etiquettes", wrong).status == 404


# Discs


def test_discs_by_what_is_to_be_done(at: Console, house: House, operator: Browser) -> None:
    """Of all customers, in their states; what is only offered is not an operator's matter."""
    serials = {state: disc(at, house, state) for state in ("ordered", "written", "refused")}
    page = operator.get("/exploitation/dvd").text
    assert f"/exploitation/dvd/{serials['ordered']}/ecrire" in page
    assert f"mail6m disc burn {serials['written']} --device" in page
    assert serials["refused"] not in page
    assert page.count(house.company) == 3


def test_what_cannot_be_written_or_sent(at: Console, house: House, operator: Browser) -> None:
    """Is said, and nothing has changed: not ordered; no image here."""
    before = at.ask("SELECT serial, state FROM disc ORDER BY 1")
    written = disc(at, house, "written")
    for serial, step, said in (
        (house.disc, "ecrire", "n'est pas à écrire"),
        (written, "expedier", "ne peut pas être expédié"),
    ):
        page = operator.post(f"/exploitation/dvd/{serial}/{step}")
        assert said in operator.get(page.location).text
    at.ask("DELETE FROM disc WHERE serial = %s", written)
    assert at.ask("SELECT serial, state FROM disc ORDER BY 1") == before
    assert operator.post("/exploitation/dvd/ZZZZZZ/ecrire").status == 404


class Life:
    """The life of discs (as `mail6m.shelves.discs.DiscLife`), whose writing goes on until told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ends: list[Deferred[None]] = []
        self.progress: Any = None

    async def write(self, account: str, client: str, serial: str, progress: Any) -> None:
        """Write it."""
        self.begun.append(serial)
        self.progress = progress
        self.ends.append(Deferred())
        await self.ends[-1]
        progress(0.5)


def test_one_after_the_other() -> None:
    """Discs wait for those before them; one that fails says why, and may be tried again."""
    life = Life()
    writing = DiscWriting(life)  # type: ignore[arg-type]

    async def play() -> None:
        for serial in ("A", "B"):
            writing.begin("o@mail6m.test", "192.0.2.1", serial)
        assert (life.begun, writing.wanted) == (["A"], ["A", "B"])
        with pytest.raises(Refused, match="being written already"):
            writing.begin("o@mail6m.test", "192.0.2.1", "B")
        life.ends[0].errback(OSError("No space left on device"))
        assert (life.begun, writing.wanted) == (["A", "B"], ["B"])
        assert writing.failures == {"A": "No space left on device"}
        life.ends[1].callback(None)
        assert writing.wanted == []
        writing.begin("o@mail6m.test", "192.0.2.1", "A")
        assert writing.failures == {}
        writing.stop()
        life.ends[2].callback(None)  # its thread hears of it when it tells how far it is
        assert (writing.wanted, writing.failures) == ([], {})

    run(play)


# The archivist


def test_requests_of_all(house: House, operator: Browser) -> None:
    """What the customer has asked for in its own words, and how much meets it."""
    page = operator.get("/exploitation/archiviste").text
    for said in (house.company, f"demande-{house.word}", f"raison-{house.word}"):
        assert said in page
    assert "0 messages y répondent" in page or "0 message y répond" in page


def test_a_refusal_has_a_reason(at: Console, house: House, operator: Browser) -> None:
    """Without one it is asked for, beside the field; the customer reads it."""
    asked = [("id", str(house.request))]
    page = operator.post("/exploitation/archiviste/refuser", asked)
    assert page.status == 400
    assert "Dites pourquoi" in page.text
    operator.post("/exploitation/archiviste/refuser", [*asked, ("reason", "Rien de ces dates")])
    state = "SELECT state, answer FROM archivist_request WHERE request_id = %s"
    assert at.ask(state, house.request) == [("refused", "Rien de ces dates")]
    again = operator.post("/exploitation/archiviste/accorder", asked)
    assert "Ce n'est pas accordé" in operator.get(again.location).text


def test_what_is_granted_is_back(at: Console, house: House, operator: Browser) -> None:
    """The messages stand in the cabinet again; the customer's audit says who has agreed."""
    at.ask("SELECT put_on_shelf(%s, %s::uuid[], 0::smallint, 1::smallint)", house.number,
           [str(id_) for id_ in house.messages[:2]])  # fmt: skip
    at.ask("UPDATE archivist_request SET subject = 'sujet' WHERE request_id = %s", house.request)
    assert "2 messages y répondent" in operator.get("/exploitation/archiviste").text
    granted = operator.post("/exploitation/archiviste/accorder", [("id", str(house.request))])
    assert "2 messages sont de retour" in operator.get(granted.location).text
    shelves = "SELECT count(*) FROM message WHERE customer_id = %s AND shelf = 0"
    assert at.ask(shelves, house.number) == [(5,)]
    act = "SELECT account LIKE 'operator%%' FROM audit WHERE customer_id = %s AND act = %s"
    assert at.ask(act, house.number, "archivist's request granted") == [(True,)]
    assert operator.post("/exploitation/archiviste/accorder", [("id", "x")]).status == 404
