"""What is a customer's is nobody else's, on any route; what is an administrator's, no reader's.

The routes are those of the code. One that has no sample in tests/console_samples.py fails here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mail6m.model import Role
from mail6m.web.console import PAGES
from mail6m.web.routes import Access, Route
from tests.console_client import (
    Browser,
    Console,
    House,
    Page,
    listening,
    new_house,
    new_operator,
    versions,
)
from tests.console_samples import ROUTES, SAMPLES, named, path_of, sample_of, sent, walk

ACTS_OF = (Access.ADMINISTRATOR, Access.BOOKKEEPER, Access.OPERATOR)
OF_CUSTOMERS = walk(Access.READER) + walk(Access.ADMINISTRATOR)
OF_HOUSE = walk(Access.OBSERVER) + walk(Access.BOOKKEEPER) + walk(Access.OPERATOR)


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console with a database of its own."""
    with listening(dsn) as console:
        yield console


@pytest.fixture(scope="module")
def theirs(at: Console) -> House:
    """The customer whose things are not to be had."""
    return new_house(at)


@pytest.fixture(scope="module")
def ours(at: Console) -> House:
    """The customer who tries."""
    return new_house(at)


def send(browser: Browser, route: Route, house: House) -> Page:
    """The request to a route that names a house's objects, with a token that is right."""
    sample = sample_of(route, house)
    path = path_of(route, sample)
    ask = browser.get if route.method == "GET" else browser.post
    return ask(path, sent(sample))


FOR_MACHINES = ("/metrics", "/health", "/.well-known/mta-sts.txt", "/static/<name>",
                "/paypal/webhook")  # fmt: skip
"""What is no page."""


def test_every_group_of_pages_is_walked(at: Console) -> None:
    """`PAGES`, which the walks and the documentation go by, is what the console is made of."""
    served = {
        (rule.rule, method)
        for rule in at.web.app.url_map.iter_rules()
        for method in rule.methods or ()
        if rule.rule not in FOR_MACHINES and not rule.rule.startswith("/api/")
    }
    known = {(route.rule, route.method) for route in ROUTES}
    heads = {(rule, "HEAD") for rule, method in known if method == "GET"}
    assert served == known | heads, "mail6m.web.console.PAGES must name every group of pages"
    assert len(set(PAGES)) == len(PAGES)


def test_no_sample_is_left_over() -> None:
    """A sample is of a route that there is."""
    assert set(SAMPLES) <= {named(route) for route in ROUTES}


@pytest.mark.parametrize("route", walk())
def test_samples_are_real(at: Console, route: Route) -> None:
    """The house's own administrator may do all of it: it is who asks that the others fail for."""
    house, browser = new_house(at), at.browser()
    browser.enter(at, new_operator(at) if route.access.of_house else house.admin)
    browser.any_token()
    before = versions(at)
    page = send(browser, route, house)
    sample = sample_of(route, house)
    assert page.status == sample.own if sample.own is not None else page.status in (200, 303)
    if route.csrf and route.access in ACTS_OF and not sample.idle:
        assert versions(at) != before, "the sample does not do what the act is for"


@pytest.mark.parametrize("route", walk())
def test_another_customer(at: Console, theirs: House, route: Route) -> None:
    """Gets 404, or an answer in which nothing is theirs; and changes nothing of theirs."""
    sample = sample_of(route, theirs)
    if sample.bearer:  # a letter's secret lets in whoever has it
        return
    browser = at.browser()
    browser.enter(at, new_house(at).admin)
    before = versions(at, theirs.number)
    page = send(browser, route, theirs)
    if sample.foreign is not None:
        assert page.status == sample.foreign
    assert page.status < 500
    pages = [page] + ([browser.get(page.location)] if page.status == 303 else [])
    named_by_us = " ".join(str(value) for _, value in [*sample.values.items(), *sample.fields])
    for secret in theirs.secrets:
        if secret not in named_by_us:
            assert not [one for one in pages if secret in one.text], f"{secret} is theirs"
    assert versions(at, theirs.number) == before


@pytest.mark.parametrize("route", walk(Access.ADMINISTRATOR))
def test_a_reader(at: Console, ours: House, route: Route) -> None:
    """Is told that this is for administrators, and has changed nothing."""
    browser = at.browser()
    browser.enter(at, ours.reader)
    browser.any_token()
    before = versions(at)
    page = send(browser, route, ours)
    assert page.status == 403
    assert "Réservé aux administrateurs" in page.text
    assert versions(at) == before


@pytest.mark.parametrize(
    "route", OF_CUSTOMERS + OF_HOUSE + walk(Access.ACCOUNT) + walk(Access.HALFWAY)
)
def test_somebody_who_has_not_signed_in(at: Console, ours: House, route: Route) -> None:
    """Is led to the sign-in, and from there on to the page; sees nothing, and changes nothing."""
    browser, before = at.browser(), versions(at)
    page = send(browser, route, ours)
    assert page.status == 303
    assert page.location.partition("?")[0] == "/connexion"
    assert not page.body
    assert versions(at) == before
    if route.csrf:
        assert "?" not in page.location
    else:
        assert "suite=%2F" in page.location


@pytest.mark.parametrize("route", OF_CUSTOMERS + OF_HOUSE + walk(Access.ACCOUNT))
def test_a_password_without_the_second_factor(at: Console, ours: House, route: Route) -> None:
    """Opens nothing."""
    browser = at.browser()
    browser.enter(at, ours.admin, complete=False)
    browser.get("/connexion/code")
    before = versions(at)
    sample = sample_of(route, ours)
    path = path_of(route, sample)
    page = (
        browser.post(path, sent(sample), token=browser.token)
        if route.csrf
        else browser.get(path, sent(sample))
    )
    assert (page.status, page.location, page.body) == (303, "/connexion/code", b"")
    assert versions(at) == before


@pytest.mark.parametrize("route", OF_HOUSE)
@pytest.mark.parametrize("account", ["admin", "reader"])
def test_a_customer_on_operators_pages(
    at: Console, ours: House, route: Route, account: str
) -> None:
    """Finds nothing, and is not told that there is something."""
    browser = at.browser()
    browser.enter(at, getattr(ours, account))
    browser.any_token()
    before = versions(at)
    assert send(browser, route, ours).status == 404
    assert versions(at) == before


@pytest.mark.parametrize("route", OF_CUSTOMERS)
def test_an_operator_on_customers_pages(at: Console, ours: House, route: Route) -> None:
    """Has none of them, and is led to those for operators."""
    browser = at.browser()
    browser.enter(at, new_operator(at))
    browser.any_token()
    before = versions(at)
    page = send(browser, route, ours)
    expected = (404, "") if route.csrf else (303, "/exploitation")
    assert (page.status, page.location) == expected
    assert versions(at) == before


@pytest.mark.parametrize("route", OF_HOUSE)
def test_an_operator_without_a_second_factor(at: Console, ours: House, route: Route) -> None:
    """Is asked to turn it on first, and sees nothing before."""
    browser = at.browser()
    browser.enter(at, new_operator(at, factor=False))
    browser.any_token()
    assert send(browser, route, ours).location == "/securite"
    assert "activez-le d'abord" in browser.get("/securite").text


@pytest.mark.parametrize(
    ("role", "route"),
    [
        pytest.param(role, *one.values, id=f"{role}-{one.id}")
        for role, walked in (
            (Role.OBSERVER, walk(Access.BOOKKEEPER) + walk(Access.OPERATOR)),
            (Role.BOOKKEEPER, walk(Access.OPERATOR)),
        )
        for one in walked
    ],
)
def test_an_operator_of_another_role(at: Console, ours: House, role: Role, route: Route) -> None:
    """Is told that this is for others, and has changed nothing."""
    browser = at.browser()
    browser.enter(at, new_operator(at, role))
    browser.any_token()
    before = versions(at)
    assert send(browser, route, ours).status == 403
    assert versions(at) == before


def test_chosen_messages_of_both(at: Console) -> None:
    """Of messages that are chosen together, those of another customer are as if not chosen."""
    theirs, ours, browser = new_house(at), new_house(at), at.browser()
    browser.enter(at, ours.admin)
    before = versions(at, theirs.number)
    both = [("id", str(house.messages[0])) for house in (theirs, ours)]
    page = browser.get("/details", both)
    assert (page.status, ours.word in page.text, theirs.word in page.text) == (200, True, False)
    for path in ("/meuble/emettre", "/meuble/supprimer"):
        assert browser.post(path, [*both, ("sur", "oui")]).status == 303
    assert versions(at, theirs.number) == before
    assert browser.get("/details", both).status == 404


def test_a_route_without_a_sample() -> None:
    """A new route fails, and says what to add."""
    route = Route("/nouveau/<int:number>", "POST", Access.READER, "")
    with pytest.raises(AssertionError, match="add one to SAMPLES"):
        sample_of(route, None)  # type: ignore[arg-type]
