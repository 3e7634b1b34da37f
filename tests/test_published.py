"""MTA-STS and TLS-RPT for customers' domains: from the form to what a sender's server reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from twisted.internet.task import Clock

from mail6m.model import Domain, Host, StsMode
from mail6m.published import KEPT, Policies, policy, records
from mail6m.storage.errors import Unavailable
from mail6m.storage.migrate import migrate
from mail6m.web import domains as pages
from tests.console_client import Browser, Console, House, Page, listening, new_house
from tests.reactor_thread import run
from tests.stored import new_database
from tests.test_domains import Zones

PATH = "/.well-known/mta-sts.txt"
MX = ("MX1.mail6m.test.", "mx2.mail6m.test")


def domain(mode: StsMode | None = StsMode.TESTING, *, closed: bool = False) -> Domain:
    """One that asks for something."""
    return Domain("mondomaine.fr", 1, (Host("192.0.2.1"),), closed=closed, sts=mode)


class Table:
    """The table ``domain`` in memory (as `mail6m.storage.domains.Domains`)."""

    def __init__(self, *domains: Domain) -> None:
        self.domains = {one.name: one for one in domains}
        self.asked: list[str] = []

    async def find(self, name: str) -> Domain | None:
        """The domain, and a note of the question."""
        self.asked.append(name)
        return self.domains.get(name)


def policies(table: Table, clock: Clock) -> Policies:
    """As the web server asks them."""
    return Policies(clock, cast(Any, table), MX)


def served(of: Policies, host: str = "mta-sts.mondomaine.fr") -> bytes | None:
    """What a sender's server would read."""
    return run(lambda: of.served(host))


# The policy and its records


@pytest.mark.parametrize("mode", StsMode)
def test_a_policy(mode: StsMode) -> None:
    """Byte for byte in the form of RFC 8461, 3.2, with our servers in canonical form."""
    assert policy(mode, MX) == (
        "version: STSv1\r\n"
        f"mode: {mode.value}\r\n"
        "mx: mx1.mail6m.test\r\n"
        "mx: mx2.mail6m.test\r\n"
        "max_age: 604800\r\n"
    )


def test_the_records() -> None:
    """The three of RFC 8461, 3.1 and RFC 8460, 3; an address is written as a URI is."""
    txt, cname, reports = records(domain(), MX, "console.mail6m.test", 'é;"=a+b@mondomaine.fr')
    assert re.fullmatch(r'_mta-sts\.mondomaine\.fr\. IN TXT "v=STSv1; id=[A-Za-z0-9]{1,32};"', txt)
    assert cname == "mta-sts.mondomaine.fr. IN CNAME console.mail6m.test."
    assert reports == (
        '_smtp._tls.mondomaine.fr. IN TXT "v=TLSRPTv1; rua=mailto:%C3%A9%3B%22%3Da+b@mondomaine.fr"'
    )


def test_the_id_follows_the_policy() -> None:
    """The same for the same policy, another one for another mode or other servers."""

    def identity(mode: StsMode, mx_names: tuple[str, ...]) -> str:
        return records(domain(mode), mx_names, "c.test", "a@b.test")[0]

    assert identity(StsMode.TESTING, MX) == identity(StsMode.TESTING, MX)
    ids = {identity(mode, names) for mode in StsMode for names in (MX, MX[::-1], MX[:1])}
    assert len(ids) == 9


def test_no_records_without_a_wish() -> None:
    """Who has never asked for anything has nothing to publish."""
    assert records(domain(None), MX, "c.test", "a@b.test") == []


# What is served


@pytest.mark.parametrize(
    "host", ["mta-sts.mondomaine.fr", "MTA-STS.MonDomaine.FR.", "mta-sts.mondomaine.fr:443"]
)
def test_hosts_with_a_policy(host: str) -> None:
    """A Host field in any of its forms."""
    assert served(policies(Table(domain()), Clock()), host) == policy(StsMode.TESTING, MX).encode()


@pytest.mark.parametrize(
    "host",
    [
        "mondomaine.fr", "mta-sts.autre.fr", "mta-sts.mta-sts.mondomaine.fr", "mta-sts.", "mta-sts",
        "", "xmta-sts.mondomaine.fr", "mta-sts.x.mondomaine.fr", "mta-sts.[192.0.2.1]", "[::1]:80",
    ],
)  # fmt: skip
def test_hosts_without(host: str) -> None:
    """Nothing but exactly the name of the domain's policy."""
    assert served(policies(Table(domain()), Clock()), host) is None


@pytest.mark.parametrize("without", [domain(None), domain(closed=True)])
def test_domains_without(without: Domain) -> None:
    """A domain that has never asked for it, and one whose customer has left."""
    assert served(policies(Table(without), Clock())) is None


def test_an_answer_is_kept() -> None:
    """For some seconds, found or not, nobody asks the database; then there is the new answer."""
    table, clock = Table(domain()), Clock()
    asked = policies(table, clock)
    for _ in range(3):
        assert served(asked) is not None
        assert served(asked, "mta-sts.autre.fr") is None
    assert table.asked == ["mondomaine.fr", "autre.fr"]
    table.domains["mondomaine.fr"] = domain(StsMode.ENFORCE)
    clock.advance(KEPT)
    assert served(asked) == policy(StsMode.ENFORCE, MX).encode()


def test_names_without_end_are_not_kept() -> None:
    """Memory stays bounded, whatever is asked for."""
    asked = policies(Table(), Clock())
    for number in range(2_500):
        served(asked, f"mta-sts.d{number}.test")
    assert len(asked._kept) <= 1_000


# In the console


@pytest.fixture(scope="module")
def at(database: str) -> Iterator[Console]:
    """A console with a database of its own."""
    dsn = new_database(database)
    migrate(dsn)
    with listening(dsn, resolver=Zones()) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer."""
    return new_house(at)


@pytest.fixture
def browser(at: Console, house: House) -> Browser:
    """Its administrator."""
    browser = at.browser()
    browser.enter(at, house.admin)
    return browser


def ask(browser: Browser, name: str, mode: str, reports: str = "") -> Page:
    """The button Appliquer."""
    return browser.post(f"/domaines/{name}/mta-sts", [("mode", mode), ("reports", reports)])


def read(at: Console, name: str) -> Page:
    """What somebody else's server reads, without a cookie."""
    return at.browser(Host=f"mta-sts.{name}").get(PATH)


def test_every_mode_has_a_text() -> None:
    """Whatever can be asked for can be chosen."""
    assert set(pages.STS) == set(StsMode)


def test_from_the_form_to_the_sender(at: Console, browser: Browser, house: House) -> None:
    """What is asked for is served as plain text, and the page says what the DNS needs."""
    page = browser.get(f"/domaines/{house.domain}")
    assert "_mta-sts" not in page.text
    done = ask(browser, house.domain, "testing", f" tls@{house.domain.upper()} ")
    assert (done.status, done.location) == (303, f"/domaines/{house.domain}")
    shown = browser.get(f"/domaines/{house.domain}").text
    expected = records(
        Domain(house.domain, 1, (), sts=StsMode.TESTING),
        ["mx1.mail6m.test", "mx2.mail6m.test"],
        "console.mail6m.test",
        f"tls@{house.domain}",
    )
    assert all(record in shown for record in expected)
    served = read(at, house.domain)
    assert served.status == 200
    assert served.headers["content-type"] == "text/plain; charset=us-ascii"
    assert served.cookies == []
    assert served.text.splitlines()[:2] == ["version: STSv1", "mode: testing"]
    assert "MTA-STS testing" in browser.get("/activite").text


def test_reports_go_to_oneself(browser: Browser, house: House) -> None:
    """Without an address it is the one that the account has."""
    ask(browser, house.domain, "enforce")
    page = browser.get(f"/domaines/{house.domain}")
    [own] = re.findall(r"rua=mailto:([^\"]+)\"", page.text)
    assert own == f"georges@{house.domain}"


def test_nothing_any_more(at: Console, browser: Browser, house: House) -> None:
    """Who has asked for something is served `none`, so that others forget it (RFC 8461, 8.3)."""
    ask(browser, house.domain, "enforce")
    ask(browser, house.domain, "none")
    assert "mode: none\n" in read(at, house.domain).text.replace("\r", "")
    assert "une semaine encore" in browser.get(f"/domaines/{house.domain}").text


def test_nothing_ever(at: Console, browser: Browser, house: House) -> None:
    """Who asks for nothing and never has: 404, and no records."""
    assert ask(browser, house.domain, "none").status == 303
    assert "_mta-sts" not in browser.get(f"/domaines/{house.domain}").text
    assert read(at, house.domain).status == 404


def test_a_claim_has_no_policy(at: Console, browser: Browser, house: House) -> None:
    """A domain that may be somebody else's is neither offered the form, nor served."""
    assert "mta-sts" not in browser.get(f"/domaines/{house.claim}").text
    assert ask(browser, house.claim, "enforce").status == 404
    assert read(at, house.claim).status == 404


@pytest.mark.parametrize(
    ("mode", "reports", "text"),
    [("testing", "marie", "Ce n'est pas une adresse"), ("testing", "a b@c.fr", "pas une adresse"),
     ("testing", "a@" + "b" * 200 + ".fr", "trop long"), ("strict", "", "")],
)  # fmt: skip
def test_what_cannot_be_asked_for(
    at: Console, browser: Browser, house: House, mode: str, reports: str, text: str
) -> None:
    """The page comes back with what was typed, and nothing has changed."""
    page = ask(browser, house.domain, mode, reports)
    assert page.status == 400
    assert text in page.text
    assert at.ask("SELECT sts FROM domain WHERE name = %s", house.domain) == [(None,)]


def test_a_reader_sees_what_is_asked_for(at: Console, browser: Browser, house: House) -> None:
    """And the records, but no form."""
    ask(browser, house.domain, "enforce")
    reader = at.browser()
    reader.enter(at, house.reader)
    page = reader.get(f"/domaines/{house.domain}")
    assert pages.STS[StsMode.ENFORCE] in page.text
    assert "_smtp._tls" in page.text
    assert page.text.count("<form") == 1


def test_other_paths_of_that_host(at: Console) -> None:
    """There is no policy under any other address, nor one by another method."""
    somebody = at.browser(Host="mta-sts.autre.test")
    assert somebody.get("/.well-known/mta-sts").status == 404
    assert somebody.request("HEAD", PATH).status == 404
    assert somebody.request("POST", PATH, b"").status == 405


def test_a_database_that_is_away(at: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """503: whoever knows a policy keeps to it, and asks again."""

    async def away(host: str) -> bytes | None:
        raise Unavailable("away")

    monkeypatch.setattr(at.web, "_policy", away)
    assert read(at, "mondomaine.fr").status == 503
