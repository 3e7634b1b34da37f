"""Letters about discs: when they are sent, what they say, and what silence means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest

from mail6m.shelves.correspondence import OFFERS, Correspondence
from mail6m.shelves.disc.names import new_serial
from mail6m.storage.accounts import Accounts
from mail6m.storage.audit import By
from mail6m.storage.discs import Discs
from mail6m.storage.errors import Unavailable
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.tariffs import TariffTable
from tests.posted import BASE, Post, Told, add_accounts, add_customer
from tests.reactor_thread import run
from tests.stored import ask, by, new_database, new_pool


@dataclass
class Office:
    """Where letters are written, on some day."""

    dsn: str
    discs: Discs
    post: Post
    correspondence: Correspondence | None = None
    day: int = 0
    url: str = BASE

    def now(self) -> datetime:
        """So many days after today."""
        return datetime.now(UTC) + timedelta(days=self.day)

    def customer(self, email: str = "georges@duchemin.fr", language: str = "") -> int:
        """A customer."""
        company = "Duchemin\n\nhttps://attaque.test"
        return add_customer(self.dsn, email, language, company=company)

    def offered(self, customer: int) -> str:
        """A disc is offered; its serial number."""
        serial = new_serial()
        assert run(lambda: self.discs.offer(By(customer, "mail6m", ""), serial))
        return serial

    def letters(self, day: int) -> list[Told]:
        """What is sent on that day."""
        self.day = day
        assert self.correspondence is not None
        return self.post.told_by(self.correspondence.send)

    def state(self, serial: str) -> str:
        """What has become of a disc."""
        return run(lambda: self.discs.get(serial)).state


@pytest.fixture
def office(database: str) -> Iterator[Office]:
    """With a database of its own: nobody else has discs."""
    dsn = new_database(database)
    with new_pool(dsn) as pool:
        office = Office(dsn, Discs(pool), Post())
        office.correspondence = Correspondence(
            office.discs,
            PreferencesTable(pool),
            Accounts(pool),
            TariffTable(pool),
            office.post.notices(office.now, console_url=lambda: office.url),
            office.now,
        )
        yield office


OFFER = ("georges@duchemin.fr", "Votre cave a de quoi remplir un DVD")
REMINDER = ("georges@duchemin.fr", "Rappel : un DVD attend votre réponse")
LAST = ("georges@duchemin.fr", "Dernier rappel : un DVD attend votre réponse")


def test_an_offer_is_told_twice_reminded_of_and_then_refused(office: Office) -> None:
    """At once, after 20 and after 40 days; after 60 silence is an answer, and not before."""
    serial = office.offered(office.customer())
    assert office.letters(0) == [OFFER]
    assert office.letters(19) == []
    assert office.letters(20) == [REMINDER]
    assert office.letters(39) == []
    assert office.letters(40) == [LAST]
    assert office.letters(59) == []
    assert office.state(serial) == "offered"
    assert office.letters(60) == []
    assert office.state(serial) == "refused"
    acts = "SELECT account, act FROM audit ORDER BY audit_id"
    assert ask(office.dsn, acts)[-1] == ("mail6m", "disc refused")


def test_an_answer_ends_the_letters(office: Office) -> None:
    """Whichever it is."""
    for accepted in (True, False):
        customer = office.customer()
        office.offered(customer)
        assert office.letters(0) == [OFFER]
        assert run(lambda c=customer, a=accepted: office.discs.answer(by(c), a))
        assert office.letters(60) == []


def test_nobody_is_silent_who_has_not_been_asked(office: Office) -> None:
    """Letters that could not be sent are sent when they can be; before, nothing is refused."""
    serial = office.offered(office.customer())
    office.post.trouble = Unavailable("away")
    assert office.letters(60) == []
    assert office.state(serial) == "offered"
    office.post.trouble = RuntimeError("a mistake")
    assert office.letters(61) == []
    assert office.state(serial) == "offered"
    office.post.trouble = None
    assert len(office.letters(62)) == len(OFFERS)
    assert office.letters(81) == []
    assert office.state(serial) == "offered"
    assert office.letters(83) == []
    assert office.state(serial) == "refused"


def test_a_disc_that_is_on_its_way_is_told(office: Office) -> None:
    """Once, with what to do when it has arrived."""
    serial = office.offered(office.customer())
    ask(
        office.dsn,
        "UPDATE disc SET state = 'shipped', shipped_at = now() WHERE serial = %s",
        serial,
    )
    assert office.letters(0) == [("georges@duchemin.fr", f"Votre DVD {serial} est en route")]
    [(_, _, letter)] = office.post.sent
    assert "cliquez sur" in letter.text
    assert office.letters(90) == []
    customer = run(lambda: office.discs.get(serial)).customer
    assert run(lambda: office.discs.ship(by(customer), serial, date(2026, 4, 1)))
    assert len(office.letters(91)) == 1  # it was sent again


def test_nobody_to_write_to_is_nobody_told(office: Office) -> None:
    """So silence says nothing."""
    serial = office.offered(office.customer(email=""))
    for day in (0, 20, 40, 60, 80, 100):
        assert office.letters(day) == []
    assert office.state(serial) == "offered"


def test_a_subscriber_is_never_silent(office: Office) -> None:
    """Whoever subscribes while an offer waits has answered."""
    customer = office.customer()
    serial = office.offered(customer)
    for day in (0, 20, 40):
        office.letters(day)
    ask(office.dsn, "UPDATE preferences SET disc_subscription = true")
    assert office.letters(99) == []
    assert office.state(serial) == "offered"


@pytest.mark.parametrize("language", ["fr", "en"])
def test_a_letter_says_what_where_and_until_when(office: Office, language: str) -> None:
    """In the customer's language, as text and as HTML; a company's name makes no paragraph."""
    serial = office.offered(office.customer(language=language))
    office.letters(0)
    [(_, _, letter)] = office.post.sent
    for text in (letter.text, letter.html):
        assert serial in text
        assert f"{BASE}/dvd" in text
        assert "15" in text
        assert str((office.now() + timedelta(days=60)).year) in text
    assert "Duchemin https://attaque.test" in letter.text
    assert ("Voir vos DVD" in letter.html) == (language == "fr")
    assert ("Your cellar" in letter.subject) == (language == "en")


def test_without_a_link_it_is_a_letter_still(office: Office) -> None:
    """Where the console is, may not be known."""
    office.url = ""
    office.offered(office.customer())
    assert office.letters(0) == [OFFER]
    [(_, _, letter)] = office.post.sent
    assert "http" not in letter.text.replace("https://attaque.test", "")


def test_whoever_has_no_address_is_told_through_the_administrators(office: Office) -> None:
    """All of them, and no reader."""
    customer = office.customer(email="")
    administrators = add_accounts(office.dsn, customer)
    office.offered(customer)
    assert [to for to, _ in office.letters(0)] == administrators
