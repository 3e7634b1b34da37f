"""Spam or not: the filter of the lists, and the customer who knows better than the antispam."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from itertools import product

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from mail6m.directory import Directory
from mail6m.guard.lessons import Lessons
from mail6m.guard.scanner import ScanFailure
from mail6m.model import (
    Authentication,
    Criteria,
    Judgement,
    Scan,
    Shelf,
    Signature,
    Summary,
)
from mail6m.reader import Reader
from mail6m.seal import Keyring
from mail6m.shelves.indexer import Indexer
from mail6m.storage.archive import Archive
from mail6m.storage.catalogue import Catalogue
from mail6m.storage.customers import Customers
from mail6m.storage.judgements import decode, encode
from tests.console_client import MASTER, Browser, Console, House, Pupil, listening, new_house
from tests.reactor_thread import run, the_reactor
from tests.stored import NOON, by, new_message, new_pool

MARKED = Judgement(
    Scan.DONE, 15.25, 15.0, ("GTUBE", "É"), True, unconfirmed="cargo.com",
    authentication=Authentication(
        "fail", "cargo.com", (Signature("pass", "example.org", "s1"),), "none", "fail", "reject",
        "cargo.com", "spf=fail smtp.mailfrom=cargo.com;\r\n\tdkim=pass",
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    "judgement",
    [
        Judgement(),
        MARKED,
        Judgement(Scan.SPARED, spam=False),
        Judgement(Scan.MISSED),
        Judgement(spam=True),
        Judgement(authentication=Authentication(spf="none", results="a\x00b\ud800")),
    ],
)
def test_a_judgement_is_kept(dsn: str, judgement: Judgement) -> None:
    """As it was, but for what PostgreSQL has no room for."""
    message = new_message(1)
    message.judgement = judgement
    with new_pool(dsn) as pool:
        archive = Archive(pool, dsn, 20.0)
        run(lambda: archive.store([message], 0))
        kept = run(lambda: archive.details(1, message.id)).judgement
        archive.close()
    sound = judgement.authentication.results.replace("\x00", "\ufffd").replace("\ud800", "?")
    assert kept == judgement._replace(
        authentication=judgement.authentication._replace(results=sound)
    )


def test_what_says_nothing_takes_no_room() -> None:
    """Most mail of a server without a guard."""
    assert encode(Judgement()) == ""
    assert decode(None, None) == Judgement()


# The filter


CUSTOMER = 77


@pytest.fixture(scope="module")
def catalogue(dsn: str) -> Iterator[Catalogue]:
    """A cabinet in which spam, mail that is none, and mail that nobody has scanned alternate."""
    with new_pool(dsn) as pool:
        archive, own = Archive(pool, dsn, 20.0), Catalogue(pool)
        messages = []
        for number in range(120):
            message = new_message(
                CUSTOMER,
                milliseconds=NOON + number,
                summary=Summary("Anne", "Marie", f"Sujet {number % 4}", "<1@example.org>"),
            )
            message.judgement = Judgement(Scan.DONE, spam=(True, False, None)[number % 3])
            messages.append(message)
        run(lambda: archive.store(messages, 0))
        run(Indexer(the_reactor(), own).catch_up)
        yield own
        archive.close()


@pytest.mark.parametrize(
    ("spam", "subject", "shelf"),
    list(product([True, False, None], ["", "sujet 2", "nowhere"], [Shelf.CABINET, Shelf.CELLAR])),
)
def test_a_list_of_one_kind(
    catalogue: Catalogue, spam: bool | None, subject: str, shelf: Shelf
) -> None:
    """Spam alone, or all but spam (what was not scanned is none), newest first, page by page."""
    wanted = Criteria(subject=subject, spam=spam)
    found = run(lambda: catalogue.find(CUSTOMER, shelf, wanted, enough=500, limit=500))
    numbers = [
        number for number in reversed(range(120))
        if subject in ("", f"sujet {number % 4}")
        and (spam is None or (number % 3 == 0) is spam)
    ]  # fmt: skip
    if shelf is Shelf.CELLAR:
        numbers = []
    assert [(id_.int >> 80) - NOON for id_ in found] == numbers
    if len(found) > 3:
        rest = run(
            lambda: catalogue.find(CUSTOMER, shelf, wanted, before=found[2], enough=500, limit=500)
        )
        assert rest == found[3:]


# The customer knows better


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer with five messages, from five senders of one domain."""
    at.pupil.learnt.clear()
    house = new_house(at)
    key = Keyring(MASTER).wrap(
        f"customer {house.number}", bytes(range(32))
    )  # what they are sealed with
    at.ask("UPDATE customer SET wrapped_key = %s WHERE customer_id = %s", key, house.number)
    return house


@pytest.fixture
def browser(at: Console, house: House) -> Browser:
    """Its administrator's."""
    browser = at.browser()
    browser.enter(at, house.admin)
    return browser


def marks(at: Console, house: House) -> list[tuple[bool | None, bool]]:
    """How the messages are marked, and how the search knows them, in order of arrival."""
    return at.ask(
        "SELECT m.spam, e.spam FROM message m JOIN search_entry e USING (customer_id, message_id)"
        " WHERE customer_id = %s AND message_id = ANY (%s::uuid[]) ORDER BY message_id",
        house.number,
        [str(id_) for id_ in house.messages[:5]],
    )


def press(browser: Browser, button: str, house: House, *numbers: int, back: str = "/meuble") -> str:
    """A button below the list, with some messages chosen; where it leads."""
    chosen = [("id", str(house.messages[number])) for number in numbers]
    page = browser.post(f"/meuble/{button}", [*chosen, ("retour", back)])
    assert page.status == 303
    return page.location


def lessons(at: Console, count: int) -> list[bool]:
    """What was taught, as soon as it is so much."""

    async def taught() -> list[bool]:
        while len(at.pupil.learnt) < count:
            await deferLater(the_reactor(), 0.01)
        return [spam for _, spam in at.pupil.learnt]

    return run(taught)


def test_this_is_spam(at: Console, house: House, browser: Browser) -> None:
    """It is marked, found as such, written down, and the antispam learns the very message."""
    assert press(browser, "spam", house, 1, 3, back="/meuble?page=2") == "/meuble?page=2"
    assert "2 messages sont marqués comme spam" in browser.get("/meuble").text
    assert marks(at, house) == [(None, False), (True, True)] * 2 + [(None, False)]
    assert lessons(at, 2) == [True, True]
    [(act, object_)] = at.ask(
        "SELECT act, object FROM audit WHERE customer_id = %s ORDER BY audit_id DESC LIMIT 1",
        house.number,
    )
    assert act == "marked as spam"
    assert set(object_.split()) == {str(house.messages[1]), str(house.messages[3])}
    details = browser.get(f"/details?id={house.messages[1]}").text
    assert "spam, marqué par vous" in details
    assert "Ce n'est pas un spam" in details


def test_this_is_no_spam_after_all(at: Console, house: House, browser: Browser) -> None:
    """Both ways; what is marked so already teaches nothing."""
    press(browser, "spam", house, 0)
    press(browser, "spam", house, 0)
    press(browser, "legitimes", house, 0)
    assert lessons(at, 2) == [True, False]
    assert marks(at, house)[0] == (False, False)


def test_the_senders_domain_is_offered(at: Console, house: House, browser: Browser) -> None:
    """For the white list, once, unless it is there; one click puts it there."""
    page = browser.get(press(browser, "legitimes", house, 0, 1))
    domain = f"expediteur-{house.word}.example"
    assert page.text.count(f"Ajouter {domain}") == 1
    assert browser.post("/liste-blanche", [("entry", domain)]).status == 303
    assert domain in browser.get("/liste-blanche").text
    assert "Ajouter" not in browser.get(press(browser, "legitimes", house, 0)).text


def test_a_provider_of_everybody_is_not_offered(
    at: Console, house: House, browser: Browser
) -> None:
    """Nor the null sender."""
    for number, sender in enumerate(("anne@gmail.com", "")):
        at.ask("UPDATE message SET sender = %s WHERE message_id = %s", sender,
               str(house.messages[number]))  # fmt: skip
    assert "Ajouter" not in browser.get(press(browser, "legitimes", house, 0, 1)).text


def test_pages_of_one_kind(at: Console, house: House, browser: Browser) -> None:
    """In the cabinet and in the search, page after page, and nobody else's."""
    press(browser, "spam", house, 0, 2, 4)
    subjects = [f"Sujet {number} {house.word}" for number in range(5)]

    def shown(path: str) -> list[int]:
        text = browser.get(path).text
        return [number for number, subject in enumerate(subjects) if f">{subject}<" in text]

    assert shown("/meuble?afficher=spam") == [2, 4]
    [onward] = set(re.findall(r'href="(/meuble\?afficher=spam[^"]*page=2[^"]*)"',
                              browser.get("/meuble?afficher=spam").text))  # fmt: skip
    assert shown(onward) == [0]
    assert shown("/meuble?afficher=legitimes") == [1, 3]
    assert shown("/recherche?subject=sujet&show=spam") == [0, 2, 4]
    assert shown("/recherche?show=legitimes") == [1, 3]
    assert shown("/recherche?subject=sujet+2&show=legitimes") == []


def test_nothing_chosen(at: Console, house: House, browser: Browser) -> None:
    """Nothing happens, and that is said."""
    for button in ("spam", "legitimes"):
        assert press(browser, button, house) == "/meuble"
        assert "Cochez d'abord" in browser.get("/meuble").text
    assert marks(at, house) == [(None, False)] * 5


def test_readers_do_not_mark(at: Console, house: House) -> None:
    """They see the list, and no such button."""
    browser = at.browser()
    browser.enter(at, house.reader)
    assert "un spam" not in browser.get("/meuble").text
    for button in ("spam", "legitimes"):
        page = browser.post(f"/meuble/{button}", [("id", str(house.messages[0]))])
        assert page.status == 403
    assert marks(at, house)[0] == (None, False)


class Slow(Pupil):
    """Thinks about the first lesson until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.thinks: Deferred[None] = Deferred()

    async def learn(self, content: AsyncIterator[bytes], spam: bool) -> None:
        """Think, and learn."""
        if not self.thinks.called:
            await self.thinks
        await super().learn(content, spam)


def test_lessons_are_bounded(at: Console, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who marks without end is not taught without end; the marks are made."""
    monkeypatch.setattr("mail6m.guard.lessons.MOST_WAITING", 1)
    pupil = Slow()
    directory = Directory(
        the_reactor(), None, Customers(at.archive._pool), Keyring(MASTER), "", None
    )
    taught = Lessons(at.archive, Reader(at.archive, directory), pupil, 1_000_000)
    run(lambda: taught.correct(by(house.number), house.messages[:5], True))
    assert [mark for mark, _ in marks(at, house)] == [True] * 5

    async def go_on() -> None:
        pupil.thinks.callback(None)
        await taught._lock.acquire()  # behind the one that waits

    run(go_on)
    assert len(pupil.learnt) == 2


class Stubborn(Pupil):
    """Fails, and then learns."""

    async def learn(self, content: AsyncIterator[bytes], spam: bool) -> None:
        """Fail once."""
        await super().learn(content, spam)
        if len(self.learnt) == 1:
            raise ScanFailure("not in the mood")


def test_a_lesson_that_fails_holds_up_no_other(at: Console, house: House) -> None:
    """And the mark is corrected all the same; what is too large is not read at all."""
    pupil = Stubborn()
    directory = Directory(
        the_reactor(), None, Customers(at.archive._pool), Keyring(MASTER), "", None
    )
    reader = Reader(at.archive, directory)
    at.ask("UPDATE message SET raw_size = 10000 WHERE message_id = %s", str(house.messages[1]))
    taught = Lessons(at.archive, reader, pupil, 1_000)
    run(lambda: taught.correct(by(house.number), house.messages[:3], True))
    at.pupil, kept = pupil, at.pupil
    try:
        lessons(at, 2)
    finally:
        at.pupil = kept
    assert [mark for mark, _ in marks(at, house)] == [True] * 3 + [None] * 2
    assert len(pupil.learnt) == 2
