"""The archivist: what is asked for, granted, and back in the cabinet; on a real PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from twisted.internet.defer import DeferredList, ensureDeferred

from mail6m.model import Shelf
from mail6m.shelves import archivist
from mail6m.shelves.archivist import Match
from mail6m.storage.archive import DAY, MINUTE
from mail6m.storage.archivist import Request, Wish
from mail6m.storage.errors import Refused
from mail6m.storage.shelves import Shed
from tests import console_client
from tests.console_client import Browser, Console, listening, new_house
from tests.reactor_thread import run
from tests.shelved import House, assert_counted
from tests.stored import NOON, ask, by

OPERATOR = "operator", "command line"


def moment(milliseconds: int) -> datetime:
    """As a time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def wish(subject: str = "", since: int | None = None, until: int | None = None) -> Wish:
    """What somebody asks for."""
    return Wish(
        *("", "", subject),
        moment(since) if since is not None else None,
        moment(until) if until is not None else None,
        "Un litige",
    )


def request(house: House, customer: int, wanted: Wish) -> Request:
    """Ask for it."""
    assert run(lambda: house.archivist.ask(by(customer), wanted))
    return run(lambda: house.archivist.of(customer))[0]


def grant(house: House, of: Request) -> int:
    """An operator agrees."""
    return run(lambda: house.archivist.grant(*OPERATOR, of.id))


def test_what_was_asked_for_comes_back_and_is_not_shed_again(house: House) -> None:
    """Marked as brought back, though the cabinet is full: others go in its place."""
    customer = house.customer(room_for=6)
    ids = house.store(customer, 10, apart=DAY)
    house.shed(customer)
    asked = request(house, customer, wish("jour", since=NOON + DAY, until=NOON + 3 * DAY))
    assert run(lambda: house.archivist.match(asked)) == Match(2, False)
    assert grant(house, asked) == 2
    assert house.on(customer, Shelf.CABINET) == ids[1:3] + ids[4:]
    assert_counted(house.dsn, customer)
    assert house.shed(customer) == Shed(2, 0)
    assert house.on(customer, Shelf.CABINET) == ids[1:3] + ids[6:]
    page = run(lambda: house.cabinet.page(customer, 1, 20)).messages
    assert [message.id for message in page if message.brought_back] == [ids[2], ids[1]]
    assert_counted(house.dsn, customer)


def test_after_thirty_days_it_is_shed_like_any_other(house: House) -> None:
    """The oldest first, and nothing is left of it; until then, it stays."""
    customer = house.customer(room_for=4)
    ids = house.store(customer, 6, apart=DAY)
    house.shed(customer)
    grant(house, request(house, customer, wish(until=NOON + DAY)))
    assert house.shed(customer) == Shed(1, 0)
    assert house.on(customer, Shelf.CABINET) == ids[:1] + ids[3:]
    kept = "SELECT until - now() FROM brought_back WHERE customer_id = %s"
    [[left]] = ask(house.dsn, kept, customer)
    assert left.days == 29
    ask(house.dsn, "UPDATE brought_back SET until = now() WHERE customer_id = %s", customer)
    house.resize(customer, 3)
    assert house.shed(customer) == Shed(1, 0)
    assert house.on(customer, Shelf.CABINET) == ids[3:]
    assert ask(house.dsn, kept, customer) == []
    assert_counted(house.dsn, customer)


def test_what_is_deleted_after_it_came_back_is_gone(house: House) -> None:
    """It does not keep those of its minute from being shed."""
    customer = house.customer(room_for=4)
    ids = house.store(customer, 8, apart=1)
    house.shed(customer)
    grant(house, request(house, customer, wish(until=NOON + 2)))
    assert house.delete(customer, *ids[:2]) == 2
    house.resize(customer, 1)
    assert house.shed(customer) == Shed(3, 0)
    assert house.on(customer, Shelf.CABINET) == ids[7:]
    assert_counted(house.dsn, customer)


def test_a_request_is_decided_once(house: House) -> None:
    """Whoever comes second, at the same moment or later, is told."""
    customer = house.customer(room_for=4)
    house.store(customer, 6)
    house.shed(customer)
    asked = request(house, customer, wish("bonjour"))

    async def race() -> list[tuple[bool, object]]:
        both = [
            ensureDeferred(house.archivist.grant(*OPERATOR, asked.id)),
            ensureDeferred(house.archivist.refuse(*OPERATOR, asked.id, "non")),
            ensureDeferred(house.archivist.grant(*OPERATOR, asked.id)),
        ]
        return await DeferredList(both, consumeErrors=True)

    outcomes = [done for done, _ in run(race)]
    assert sorted(outcomes) == [False, False, True]
    [decided] = run(lambda: house.archivist.of(customer))
    back = len(house.on(customer, Shelf.CABINET)) - 4
    assert (decided.state, back) == (("refused", 0) if outcomes[1] else ("granted", 2))
    with pytest.raises(Refused, match=r"decided already|nothing in the cellar"):
        grant(house, asked)
    with pytest.raises(Refused, match="decided already"):
        run(lambda: house.archivist.refuse(*OPERATOR, asked.id, "non"))


def test_what_cannot_be_granted_says_why(house: House) -> None:
    """Nothing there, too much at once, or more than half of the cabinet; and it waits still."""
    customer = house.customer(room_for=4)
    house.store(customer, 9)
    house.shed(customer)
    with pytest.raises(Refused, match="nothing in the cellar"):
        grant(house, request(house, customer, wish("introuvable")))
    some = request(house, customer, wish(until=NOON + 2 * MINUTE))
    most = request(house, customer, wish("bonjour"))
    with pytest.raises(Refused, match="more than half"):
        grant(house, most)
    assert grant(house, some) == 2
    with pytest.raises(Refused, match="more than half"):
        grant(house, most)
    with patch.object(archivist, "MOST", 2):
        assert run(lambda: house.archivist.match(most)) == Match(2, True)
        with pytest.raises(Refused, match="more than 2"):
            grant(house, most)
    with pytest.raises(Refused, match="no request"):
        run(lambda: house.archivist.grant(*OPERATOR, 1 << 30))
    states = [one.state for one in run(lambda: house.archivist.of(customer))]
    assert states == ["waiting", "granted", "waiting"]


def test_only_the_cellar_of_whoever_asks_is_looked_into(house: House) -> None:
    """What stands in the cabinet is there already; and another's mail is another's."""
    one, other = house.customer(room_for=9), house.customer(room_for=1)
    house.store(one, 3)
    house.store(other, 3)
    house.shed(other)
    asked = request(house, one, wish("bonjour"))
    assert run(lambda: house.archivist.match(asked)) == Match(0, False)


def test_so_many_requests_wait_at_once(house: House) -> None:
    """A customer does not fill the operator's list alone."""
    customer = house.customer(room_for=1)
    for _ in range(archivist.WAITING):
        last = request(house, customer, wish("a"))
    assert not run(lambda: house.archivist.ask(by(customer), wish("a")))
    run(lambda: house.archivist.refuse(*OPERATOR, last.id, "non"))
    assert run(lambda: house.archivist.ask(by(customer), wish("a")))


def test_all_of_it_is_in_the_audit(house: House) -> None:
    """Who asked, and who decided, in the customer's own."""
    customer = house.customer(room_for=4)
    house.store(customer, 5)
    house.shed(customer)
    grant(house, request(house, customer, wish("bonjour")))
    last = request(house, customer, wish("devis"))
    run(lambda: house.archivist.refuse(*OPERATOR, last.id, "non"))
    rows = "SELECT account, act FROM audit WHERE customer_id = %s ORDER BY audit_id"
    assert ask(house.dsn, rows, customer) == [
        ("georges@duchemin.fr", "archivist asked"),
        ("operator", "archivist's request granted"),
        ("georges@duchemin.fr", "archivist asked"),
        ("operator", "archivist's request refused"),
    ]


# The page


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console on it."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def customer(at: Console) -> console_client.House:
    """A customer."""
    return new_house(at)


def entered(at: Console, account: tuple[int, int]) -> Browser:
    """A browser in which somebody has signed in."""
    browser = at.browser(Accept_Language="fr")
    browser.enter(at, account)
    return browser


def words(text: str) -> str:
    """What a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("\u00a0", " ").split())


PAGE = "/cave/archiviste"


def test_a_request_is_made_and_its_state_shown(at: Console, customer: console_client.House) -> None:
    """As it was typed, with the answer; a reader sees it, and cannot ask."""
    browser = entered(at, customer.admin)
    asked = [("subject", "Devis <b>"), ("since", "2005-07-01 9:30"), ("reason", "Un litige")]
    assert browser.post(PAGE, asked).location == PAGE
    page = browser.get(PAGE)
    assert b"Devis &lt;b&gt;" in page.body
    said = words(page.text)
    assert "Votre demande est faite." in said
    assert "Sujet : Devis Entre le 01/07/2005 09:30:00 Un litige En attente" in said
    [[number]] = at.ask(
        "SELECT request_id FROM archivist_request WHERE customer_id = %s AND request_id <> %s",
        *(customer.number, customer.request),
    )
    at.ask(
        "UPDATE archivist_request SET state = 'refused', decided_at = now(), answer = 'Trop vieux'"
        " WHERE request_id = %s",
        number,
    )
    reader = entered(at, customer.reader)
    page = reader.get(PAGE)
    assert re.search(r"Refusée , aujourd'hui [\d:]+ Trop vieux", words(page.text))
    assert "Demander" not in words(page.text)
    assert reader.post(PAGE, asked).status == 403


def test_what_has_come_back_is_led_to(at: Console, customer: console_client.House) -> None:
    """By the search for it."""
    browser = entered(at, customer.admin)
    browser.post(PAGE, [("sender", "anne"), ("until", "2005-07-08"), ("reason", "Un litige")])
    at.ask(
        "UPDATE archivist_request SET state = 'granted', decided_at = now(), messages = 3"
        " WHERE customer_id = %s",
        customer.number,
    )
    text = browser.get(PAGE).text
    assert "3 messages sont de retour dans le meuble." in words(text)
    assert "/recherche?sender=anne&until=2005-07-08+00%3A00%3A00" in text


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ([("reason", "Un litige")], "Indiquez au moins une chose"),
        ([("subject", "devis")], "Dites pourquoi"),
        ([("since", "hier"), ("reason", "Un litige")], "Écrivez la date comme"),
        ([("subject", "a" * 501), ("reason", "Un litige")], "trop long"),
    ],
)
def test_a_wrong_request_is_told_by_the_field(
    at: Console,
    customer: console_client.House,
    typed: list[tuple[str, str]],
    complaint: str,
) -> None:
    """And nothing is asked for."""
    page = entered(at, customer.admin).post(PAGE, typed)
    assert page.status == 400
    assert complaint in words(page.text)
    rows = "SELECT count(*) FROM archivist_request WHERE customer_id = %s"
    assert at.ask(rows, customer.number) == [(1,)]  # the one that it had before
