"""The white list: what may be an entry, and whose it is; on a real PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from mail6m.domains import read_domain, unicode_form
from mail6m.storage.whitelist import MOST, Whitelist
from mail6m.web.whitelist import ADVICE, EntryForm, everybodys
from tests.console_client import Browser, Console, House, Page, listening, new_house
from tests.reactor_thread import run
from tests.stored import by, new_pool

PATH = "/liste-blanche"


@pytest.mark.parametrize(
    ("typed", "domain"),
    [
        ("cargo.com", "cargo.com"),
        ("  Cargo.COM. ", "cargo.com"),
        ("mail.cargo.co.uk", "mail.cargo.co.uk"),
        ("Müller.example", "xn--mller-kva.example"),
        ("xn--mller-kva.example", "xn--mller-kva.example"),
        ("XN--MLLER-KVA.EXAMPLE", "xn--mller-kva.example"),
        ("ÉLAN。fr", "xn--lan-9la.fr"),
        ("4711.example", "4711.example"),
    ],
)
def test_a_domain_in_either_form(typed: str, domain: str) -> None:
    """One name, however it is written, is one entry."""
    assert read_domain(typed) == domain


NO_DOMAINS = """
com 192.0.2.1 [192.0.2.1] [ipv6:2001:db8::1] 2001:db8::1 *.cargo.com http://cargo.com cargo.com/
cargo..com .cargo.com -cargo.com cargo,com xn--zzzzzz.example xn--a.com
"""


@pytest.mark.parametrize(
    "typed",
    [*NO_DOMAINS.split(), "", " ", "cargo com.fr", "a" * 64 + ".fr", "a." * 130 + "fr", "\0.fr"],
)
def test_what_is_no_domain(typed: str) -> None:
    """Addresses of machines, bare words, patterns, and names that cannot be."""
    with pytest.raises(ValueError, match=r"\w"):
        read_domain(typed)


@given(st.text(max_size=80))
def test_any_entry(typed: str) -> None:
    """Whatever is typed is refused, or has one canonical form that can be shown."""
    try:
        domain = read_domain(typed)
    except ValueError:
        return
    assert domain.isascii()
    assert domain == domain.lower()
    assert read_domain(domain) == read_domain(unicode_form(domain)) == domain


@pytest.mark.parametrize(
    ("domain", "known"),
    [
        *[(name, True) for name in ("yahoo.com", "hotmail.com", "wanadoo.fr", "yahoo.co.uk")],
        *[(name, True) for name in ("hotmail.fr", "gmail.com", "orange.fr", "free.fr", "gmx.de")],
        *[(name, False) for name in ("cargo.com", "oleane.net", "myyahoo.com", "orange.cargo.com")],
        *[(name, False) for name in ("yahoo.cargo.co.uk", "live-music.example", "free.com")],
    ],
)
def test_providers_of_everybody(domain: str, known: bool) -> None:
    """The brochure's three and their like, under any country; not what only looks like them."""
    assert everybodys(domain) is known


def errors(typed: str, entries: Sequence[str] = (), sure: str = "") -> list[str]:
    """What the form says of an entry."""
    form = EntryForm(MultiDict({"entry": typed}), list(entries), sure)
    form.validate()
    return list(form.entry.errors)


def test_what_the_form_says() -> None:
    """Each mistake has its own words, and a good entry none."""
    full = [f"d{n}.example" for n in range(MOST)]
    said = [
        errors(""),
        errors("marie@cargo.com"),
        errors("cargo"),
        errors("Cargo.com", ["cargo.com"]),
        errors("Müller.example", ["xn--mller-kva.example"]),
        errors("cargo.com", full),
        errors("yahoo.com"),
    ]
    assert [len(one) for one in said] == [1] * len(said)
    assert said[3] == said[4]
    assert "pas une adresse" in said[1][0]
    assert said[6] == [ADVICE]
    assert len({one[0] for one in said}) == len(said) - 1
    assert errors("cargo.com", full[1:]) == []


def test_a_provider_is_added_by_who_is_sure() -> None:
    """Sure of that domain, not of another that was asked about before."""
    assert errors("Yahoo.com", sure="yahoo.com") == []
    assert errors("hotmail.com", sure="yahoo.com") == [ADVICE]
    assert errors("marie@yahoo.com", sure="yahoo.com") != []


# The page


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console with a database of its own."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer, with one entry."""
    return new_house(at)


@pytest.fixture
def browser(at: Console, house: House) -> Browser:
    """Its administrator's."""
    browser = at.browser()
    browser.enter(at, house.admin)
    return browser


def entries(at: Console, house: House) -> list[str]:
    """What is stored."""
    sql = "SELECT domain FROM whitelist WHERE customer_id = %s ORDER BY domain"
    return [domain for (domain,) in at.ask(sql, house.number)]


def acts(at: Console, house: House) -> list[tuple[str, str]]:
    """The last acts, and on what."""
    sql = "SELECT act, object FROM audit WHERE customer_id = %s ORDER BY audit_id OFFSET 1"
    return at.ask(sql, house.number)


def add(browser: Browser, typed: str, sure: str = "") -> Page:
    """Press Ajouter, or the button beside it."""
    return browser.post(PATH, [("entry", typed), *([("sur", sure)] if sure else [])])


def test_add_and_remove(at: Console, house: House, browser: Browser) -> None:
    """An entry comes, is listed in both its forms, goes, and each is written down."""
    assert add(browser, "Müller.example").status == 303
    page = browser.get(PATH)
    assert "müller.example est maintenant dans votre liste blanche." in page.text
    assert "xn--mller-kva.example" in page.text
    assert entries(at, house) == [house.listed, "xn--mller-kva.example"]
    remove = [("domaine", "xn--mller-kva.example")]
    assert browser.post(f"{PATH}/effacer", remove).status == 303
    assert entries(at, house) == [house.listed]
    assert browser.post(f"{PATH}/effacer", remove).status == 404
    assert acts(at, house) == [
        ("white list entry added", "xn--mller-kva.example"),
        ("white list entry removed", "xn--mller-kva.example"),
    ]


def test_a_mistake_is_shown_with_what_was_typed(
    at: Console, house: House, browser: Browser
) -> None:
    """Beside the field, and nothing is stored."""
    page = add(browser, 'marie@"cargo".com')
    assert page.status == 400
    assert 'value="marie@&#34;cargo&#34;.com"' in page.body.decode()
    assert 'aria-invalid="true"' in page.text
    assert "pas une adresse" in page.text
    assert entries(at, house) == [house.listed]
    assert acts(at, house) == []


def test_a_known_provider_is_asked_about_once_more(
    at: Console, house: House, browser: Browser
) -> None:
    """The advice stands by the field, and a button adds it all the same."""
    page = add(browser, "Hotmail.com")
    assert (page.status, entries(at, house)) == (400, [house.listed])
    assert page.text.count(ADVICE) == 1
    [sure] = re.findall(r'name="sur" value="([^"]*)"', page.text)
    assert add(browser, "Hotmail.com", sure).status == 303
    assert entries(at, house) == [house.listed, "hotmail.com"]


def test_there_is_an_end(at: Console, house: House, browser: Browser) -> None:
    """The database counts, too, for those who add at the same time."""
    at.ask(
        "INSERT INTO whitelist SELECT %s, 'd' || n || '.example' FROM generate_series(2, %s) n",
        house.number,
        MOST,
    )
    assert len(entries(at, house)) == MOST
    page = add(browser, "cargo.com")
    assert page.status == 400
    assert "pleine" in page.text
    with new_pool(at.dsn) as pool:
        assert not run(lambda: Whitelist(pool).add(by(house.number), "cargo.com"))
        assert run(lambda: Whitelist(pool).remove(by(house.number), "d2.example"))
        assert run(lambda: Whitelist(pool).add(by(house.number), "cargo.com"))
        assert not run(lambda: Whitelist(pool).add(by(house.number), "cargo.com"))


def test_another_customers_entries(at: Console, house: House, browser: Browser) -> None:
    """They are not seen, not removed, and no hindrance to the same entry of one's own."""
    theirs = new_house(at)
    assert theirs.listed not in browser.get(PATH).text
    assert browser.post(f"{PATH}/effacer", [("domaine", theirs.listed)]).status == 404
    assert add(browser, theirs.listed).status == 303
    assert entries(at, house) == sorted([house.listed, theirs.listed])
    assert browser.post(f"{PATH}/effacer", [("domaine", theirs.listed)]).status == 303
    assert entries(at, theirs) == [theirs.listed]


def test_readers_look_only(at: Console, house: House) -> None:
    """They see the entries, and neither a button nor a field."""
    browser = at.browser()
    browser.enter(at, house.reader)
    page = browser.get(PATH)
    assert house.listed in page.text
    assert "Ajouter" not in page.text
    assert '/effacer"><button' not in page.text
    assert 'name="domaine"' not in page.text
    assert add(browser, "cargo.com").status == 403
    assert entries(at, house) == [house.listed]
