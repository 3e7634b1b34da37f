"""An operator who sees the console as a customer does: what is seen, and that nothing is done."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from mail6m.model import HOUSE, Role
from mail6m.web.console import PAGES
from mail6m.web.routes import Access, Route, act, page, routes_of
from mail6m.web.visit import Answer, Plain, Visit
from tests.console_client import (
    Browser,
    Console,
    House,
    listening,
    new_house,
    new_operator,
    versions,
)
from tests.console_samples import ROUTES, named, path_of, sample_of, sent, walk

SEEN = {
    "/meuble", "/recherche", "/details", "/emissions", "/cave", "/cave/archiviste", "/dvd",
    "/dvd/<serial>/certificat", "/file", "/domaines", "/domaines/<name>", "/liste-blanche",
    "/preferences", "/factures", "/factures/<number>",
}  # fmt: skip
"""What customers' readers see, but a file (the list of recipients) and what asks for an act."""
DOORS = {"GET /connexion", "POST /deconnexion", "POST /exploitation/quitter"}
"""What lets out, or leads to the cabinet."""


class NewPages:
    """Routes that somebody adds, and that do not say that they may be seen."""

    @page("/nouveau")
    async def reader(self, visit: Visit) -> Answer:
        """For readers."""
        return Plain(b"secret", "text/plain")

    @page("/nouveau/public", Access.PUBLIC)
    async def public(self, visit: Visit) -> Answer:
        """For everybody."""
        return Plain(b"secret", "text/plain")

    @act("/nouveau", Access.READER)
    async def do(self, visit: Visit) -> Answer:
        """An act of readers."""
        return Plain(b"done", "text/plain")

    @act("/nouveau/compte", Access.ACCOUNT)
    async def do_own(self, visit: Visit) -> Answer:
        """An act of everybody who has signed in."""
        return Plain(b"done", "text/plain")


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """The console."""
    with listening(dsn, more_pages=[NewPages()]) as console:
        yield console


@pytest.fixture(scope="module")
def theirs(at: Console) -> House:
    """Another customer, of whom nothing is to be seen."""
    return new_house(at)


@pytest.fixture(scope="module")
def seen(at: Console) -> House:
    """The customer whose console is seen."""
    return new_house(at)


def looking(at: Console, house: House, role: Role = Role.OPERATOR) -> Browser:
    """An operator who sees the console of a customer."""
    browser = at.browser()
    browser.enter(at, new_operator(at, role))
    shown = browser.post(f"/exploitation/clients/{house.number}/voir")
    assert shown.location == "/meuble"
    return browser


@pytest.fixture(scope="module")
def browser(at: Console, seen: House) -> Browser:
    """One who is looking, for those tests that leave it so."""
    return looking(at, seen)


def views(at: Console) -> list[tuple[int, str, bool, str, str]]:
    """What the audits say about consoles that are seen, the newest first."""
    rows = at.ask(
        "SELECT customer_id, account, by_house, act, object FROM audit"
        " WHERE act IN ('console seen', 'console left') ORDER BY audit_id DESC, customer_id"
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


def test_what_may_be_seen_is_listed() -> None:
    """A route that is to be seen, too, is added here, by somebody who has thought about it."""
    viewed = {named(route) for route in ROUTES if route.viewed}
    assert viewed == {f"GET {rule}" for rule in SEEN} | DOORS
    assert all(
        route.access is Access.READER for route in ROUTES if route.rule in SEEN and not route.csrf
    )


@pytest.mark.parametrize("route", walk(method="GET"))
def test_what_is_seen(
    at: Console, browser: Browser, seen: House, theirs: House, route: Route
) -> None:
    """What a reader of that customer's sees; the rest is not there; and nobody else's is shown."""
    sample = sample_of(route, seen)
    before = versions(at)
    shown = browser.get(path_of(route, sample), sent(sample))
    assert versions(at) == before
    if route.rule in SEEN:
        assert shown.status == 200
        assert seen.company in shown.text
        assert f"Vous voyez la console de {seen.company}" in shown.text
        assert "/securite" not in shown.text
        acts = re.findall(r'method="post" action="(.*?)"', shown.text)
        assert acts == ["/exploitation/quitter", "/deconnexion"]
        assert 'name="id"' not in shown.text
    elif route.access in (Access.READER, Access.ADMINISTRATOR):
        assert shown.status == 404
        assert seen.word not in re.sub("(?s)<aside class=.viewing.*?</aside>", "", shown.text)
    elif route.access is Access.ANYBODY:
        assert shown.status == 200  # as for everybody: whom it would know is not asked
    else:
        assert (shown.status, shown.location) == (303, "/meuble")
    for word in theirs.secrets:
        assert word not in shown.text
    for secret in (seen.letter, f"Firefox-{seen.word}", f"objet-{seen.word}"):
        assert secret not in shown.text, "sessions, links and the audit are not shown"


@pytest.mark.parametrize("route", walk(method="GET"))
def test_nothing_of_another_customer_is_seen(
    at: Console, browser: Browser, theirs: House, route: Route
) -> None:
    """Who names it finds nothing, as that customer would not."""
    sample = sample_of(route, theirs)
    shown = browser.get(path_of(route, sample), sent(sample))
    for word in theirs.secrets:
        if word not in (theirs.word, theirs.domain):  # which were asked for
            assert word not in shown.text


@pytest.mark.parametrize("route", walk(method="POST"))
def test_nothing_is_done(at: Console, browser: Browser, seen: House, route: Route) -> None:
    """No act of anybody's works, but leaving."""
    if named(route) in DOORS or route.one_click:  # which is done in nobody's name
        return
    sample = sample_of(route, seen)
    browser.any_token()
    before = versions(at)
    answer = browser.post(path_of(route, sample), sent(sample), token=browser.token)
    assert answer.status == 403
    assert "Vous ne faites que voir" in answer.text
    assert versions(at) == before


def test_a_new_route_is_refused(browser: Browser) -> None:
    """Until it says that it may be seen."""
    assert browser.get("/nouveau").status == 404
    assert browser.get("/nouveau/public").location == "/meuble"
    for path in ("/nouveau", "/nouveau/compte"):
        answer = browser.post(path)
        assert (answer.status, b"done" in answer.body) == (403, False)


def test_every_pages_routes_are_walked() -> None:
    """The walks above miss none."""
    assert len(ROUTES) == sum(1 for pages in PAGES for _ in routes_of(pages))


def test_it_is_noted_for_both(at: Console) -> None:
    """When it begins, and when it is left, in the customer's audit and in the house's."""
    house = new_house(at)
    browser = looking(at, house)
    left = browser.post("/exploitation/quitter")
    assert left.location == f"/exploitation/clients/{house.number}"
    assert browser.get(left.location).status == 200
    by = at.ask("SELECT account FROM audit ORDER BY audit_id DESC LIMIT 1")[0][0]
    number = str(house.number)
    assert sorted(views(at)[:4]) == [
        (HOUSE, by, True, "console left", number),
        (HOUSE, by, True, "console seen", number),
        (house.number, by, True, "console left", ""),
        (house.number, by, True, "console seen", ""),
    ]
    georges = at.browser()
    georges.enter(at, house.admin)
    shown = georges.get("/activite").text
    assert f"Mail6M ({by})" in shown
    assert "Console consultée par Mail6M" in shown
    assert "Consultation par Mail6M terminée" in shown


@pytest.mark.parametrize(
    "how",
    [
        "UPDATE session SET viewing_until = now() - interval '1 second' WHERE session_id = {0}",
        "DELETE FROM session WHERE session_id = {0}",
        "DELETE FROM account WHERE account_id = {1}",
        "UPDATE account SET role = 'observer' WHERE account_id = {1}",
        "UPDATE account SET totp_secret = NULL WHERE account_id = {1}",
    ],
)
def test_however_it_ends(at: Console, how: str) -> None:
    """By time, with the session, with the account, or with its rights: it ends, and is noted."""
    house = new_house(at)
    browser = looking(at, house)
    [[session, account]] = at.ask(
        "SELECT session_id, account_id FROM session WHERE viewing = %s", house.number
    )
    at.ask(how.format(session, account))
    shown = browser.get("/meuble")
    assert shown.status == 303
    assert shown.location != "/meuble"
    assert house.word not in browser.get("/meuble").text
    assert [row[:1] + row[3:] for row in sorted(views(at)[:2])] == [
        (HOUSE, "console left", str(house.number)),
        (house.number, "console left", ""),
    ]
    assert at.ask("SELECT FROM session WHERE viewing = %s", house.number) == []


def test_what_nobody_looks_at_any_more_ends_at_its_time(at: Console) -> None:
    """The next one who signs in finds it; the audit has the time at which it ended."""
    house = new_house(at)
    looking(at, house)
    at.ask(
        "UPDATE session SET viewing_until = '2026-11-01 12:00+00' WHERE viewing = %s", house.number
    )
    at.browser().sign_in(house.admin_email)
    [[when]] = at.ask(
        "SELECT at AT TIME ZONE 'UTC' FROM audit WHERE customer_id = %s AND act = 'console left'",
        house.number,
    )
    assert f"{when:%Y-%m-%d %H:%M}" == "2026-11-01 12:00"


def test_signing_out_ends_both(at: Console) -> None:
    """The session is gone, not that of an account of the customer's."""
    house = new_house(at)
    browser = looking(at, house)
    [[session]] = at.ask("SELECT session_id FROM session WHERE viewing = %s", house.number)
    assert browser.post("/deconnexion").location == "/connexion"
    assert at.ask("SELECT FROM session WHERE session_id = %s", session) == []
    assert at.ask("SELECT FROM session WHERE session_id = %s", house.session) != []


@pytest.mark.parametrize("role", [Role.BOOKKEEPER, Role.OBSERVER])
def test_operators_alone_may(at: Console, seen: House, role: Role) -> None:
    """Neither who keeps the books, nor who only looks."""
    browser = at.browser()
    browser.enter(at, new_operator(at, role))
    before = views(at)
    assert browser.post(f"/exploitation/clients/{seen.number}/voir").status == 403
    assert views(at) == before


@pytest.mark.parametrize("number", [HOUSE, 999_999, 2**31 + 5])
def test_of_nobody(at: Console, number: int) -> None:
    """The house is no customer, nor is nobody."""
    browser = at.browser()
    browser.enter(at, new_operator(at))
    assert browser.post(f"/exploitation/clients/{number}/voir").status == 404


def test_a_customer_cannot_see_another(at: Console, seen: House, theirs: House) -> None:
    """A session of a customer's never shows another's, even if its row said so."""
    browser = at.browser()
    session = browser.enter(at, theirs.admin)
    at.ask(
        "UPDATE session SET viewing = %s, viewing_until = now() + interval '1 hour'"
        " WHERE session_id = %s",
        seen.number,
        session,
    )
    shown = browser.get("/meuble")
    assert theirs.company in shown.text
    assert seen.word not in shown.text
