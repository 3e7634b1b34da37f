"""Domains that are claimed, proved, changed and removed, on a real PostgreSQL and a made-up DNS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mail6m import domains
from mail6m.domains import (
    MOST_CLAIMS,
    Declarations,
    Direction,
    Exchanger,
    Pointing,
    Proof,
    Record,
    Unfit,
    Wrong,
    read_domain,
    record_of,
    unicode_form,
)
from mail6m.model import Domain, Host, TlsPolicy
from mail6m.storage.claims import Claim, Claims
from mail6m.storage.domains import CHANNEL, Domains
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool
from tests.reactor_thread import run, the_reactor
from tests.stored import ask, by, new_customer, new_pool
from tests.zone import Told

OURS = ["mx1.mail6m.test", "MX2.mail6m.test."]
HOSTS = (Host("mail.duchemin.fr"),)
TLS = TlsPolicy.OPPORTUNISTIC

_numbers = iter(range(1, 10_000))


def new_name() -> str:
    """A domain that nobody has."""
    return f"duchemin{next(_numbers)}.fr"


class Zones(Told):
    """A resolver that knows what a test tells it."""

    def txt(self, record: Record, *more: str) -> None:
        """A name has these texts."""
        self.records[f"{record.name} TXT"] = [*more, record.value]

    def mx(self, name: str, *exchangers: tuple[int, str]) -> None:
        """A domain has these exchangers."""
        self.records[f"{name} MX"] = [f"{weight} {host}." for weight, host in exchangers]


class House:
    """The use cases, and what they stand on."""

    def __init__(self, pool: Pool, dsn: str) -> None:
        self.dsn = dsn
        self.zones = Zones()
        self.domains, self.claims = Domains(pool), Claims(pool)
        self.declarations = Declarations(the_reactor(), self.domains, self.claims, self.zones, OURS)

    def customer(self) -> int:
        """A new customer, with a row of its own."""
        number = new_customer()
        ask(self.dsn, "INSERT INTO customer VALUES (%s, 'Duchemin', 'malle', 1, '\\x00')", number)
        return number

    def claim(self, customer: int, name: str) -> Claim:
        """What a customer has claimed."""
        run(lambda: self.declarations.claim(by(customer), name, HOSTS, TLS))
        found = self.find(customer, read_domain(name))
        assert isinstance(found, Claim)
        return found

    def find(self, customer: int, name: str) -> Domain | Claim | None:
        """A customer's domain or claim."""
        return run(lambda: self.declarations.find(customer, name))

    def add(self, customer: int, name: str) -> Domain:
        """A domain, as an operator adds it."""
        domain = Domain(name, customer, HOSTS)
        run(lambda: self.domains.add(by(customer), domain))
        return domain

    def prove(self, customer: int, claim: Claim) -> Proof:
        """What becomes of a claim."""
        return run(lambda: self.declarations.prove(by(customer), claim))[0]

    def acts(self, customer: int) -> list[tuple[str, str]]:
        """The audit, oldest first."""
        sql = "SELECT act, object FROM audit WHERE customer_id = %s ORDER BY audit_id"
        return [(act, object_) for act, object_ in ask(self.dsn, sql, customer)]


@pytest.fixture(scope="module")
def house(database: str) -> Iterator[House]:
    """In the shared database; every test has customers and names of its own."""
    with new_pool(database) as pool:
        yield House(pool, database)


def wrong(work: Callable[[], Any]) -> Wrong:
    """Why something is not taken."""
    with pytest.raises(Unfit) as refused:
        work()
    return refused.value.why


# What is typed


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("mondomaine.fr", "mondomaine.fr"),
        (" Mail.MonDomaine.FR. ", "mail.mondomaine.fr"),
        ("élan.fr", "xn--lan-9la.fr"),
        ("xn--lan-9la.fr", "xn--lan-9la.fr"),
    ],
)
def test_a_domain(typed: str, name: str) -> None:
    """One canonical name, in whatever form it is given."""
    assert read_domain(typed) == name


@pytest.mark.parametrize(
    "typed",
    [
        *("", "fr", "un deux.fr", "@a.fr", "a@b.fr", "192.0.2.1", "[192.0.2.1]", "a..fr"),
        *("xn--zzzzzz.fr", "http://a.fr", "a.fr/b", "\0.fr", "a." * 120 + "frfr"),
    ],
)
def test_no_domain(typed: str) -> None:
    """Nothing that mail cannot be addressed to, nor what the DNS has no room for."""
    assert wrong(lambda: read_domain(typed)) is Wrong.NO_DOMAIN


@given(st.text(max_size=100))
def test_anything_typed_as_a_domain(typed: str) -> None:
    """Is refused, or is a name that stays what it is, and can be shown."""
    try:
        name = read_domain(typed)
    except Unfit:
        return
    assert read_domain(name) == name
    assert read_domain(unicode_form(name)) == name


def test_a_name_that_has_no_unicode_form() -> None:
    """What an operator has declared can be shown, whatever it is."""
    assert unicode_form("xn--lan-9la.fr") == "élan.fr"
    assert unicode_form("xn--zzzzzz.fr") == "xn--zzzzzz.fr"


def test_hosts_in_order(house: House) -> None:
    """Names and addresses, with and without a port, each once, in the order given."""
    typed = (
        "mail.Élan.fr\n 192.0.2.1:2525 \r\n2001:DB8::1\n[2001:db8::2]:26\nmx:587\n192.0.2.1:2525"
    )
    assert house.declarations.read_hosts(typed) == (
        Host("mail.xn--lan-9la.fr"),
        Host("192.0.2.1", 2525),
        Host("2001:db8::1"),
        Host("2001:db8::2", 26),
        Host("mx", 587),
    )


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("mail..fr", Wrong.NO_HOST),
        ("mail.fr:0", Wrong.NO_HOST),
        ("mail.fr:65536", Wrong.NO_HOST),
        ("a.fr\nb_;c.fr", Wrong.NO_HOST),
        ("1.2.3", Wrong.NO_HOST),
        ("fe80::1%eth0", Wrong.NO_HOST),
        ("mx1.mail6m.test", Wrong.OURS),
        ("mx2.MAIL6M.test.:2525", Wrong.OURS),
        ("a b c d e f", Wrong.TOO_MANY_HOSTS),
    ],
)
def test_hosts_that_cannot_be(house: House, typed: str, why: Wrong) -> None:
    """Neither name nor address; ourselves, which is a loop; more than can be tried."""
    assert wrong(lambda: house.declarations.read_hosts(typed)) is why


@given(st.text(max_size=60))
def test_anything_typed_as_hosts(typed: str) -> None:
    """Is refused, or can be stored and read back."""
    nothing: Any = None
    declarations = Declarations(nothing, nothing, nothing, nothing, OURS)
    try:
        hosts = declarations.read_hosts(typed)
    except Unfit:
        return
    assert declarations.read_hosts("\n".join(map(str, hosts))) == hosts


# Claims


def test_a_claim_that_is_proved(house: House) -> None:
    """The right TXT record makes it a domain, with the hosts and the policy that were given."""
    customer, name = house.customer(), new_name()
    claim = house.claim(customer, name.upper())
    record = record_of(claim)
    assert record.name == f"_mail6m.{name}"
    house.zones.txt(record, "v=spf1 -all")
    assert house.prove(customer, claim) is Proof.PROVED
    assert house.zones.asked_afresh == [(record.name, "TXT")]  # it may have been set just now
    assert house.find(customer, name) == Domain(name, customer, HOSTS, TLS)
    assert run(lambda: house.claims.all(customer)) == []
    assert house.acts(customer) == [("domain claimed", name), ("domain added", name)]


def test_texts_in_parts_and_in_quotes(house: House) -> None:
    """A TXT record may be in several parts (RFC 1035, 3.3.14); some hosters add quotes to it."""
    customer, name = house.customer(), new_name()
    claim = house.claim(customer, name)
    record = record_of(claim)
    parts = f'" \\"{record.value[:9]}" "{record.value[9:]}\\""'
    house.zones.records[f"{record.name} TXT"] = [parts]
    assert house.prove(customer, claim) is Proof.PROVED


@pytest.mark.parametrize(
    ("answer", "proof"),
    [
        ({}, Proof.MISSING),
        ({"A": ["192.0.2.1"]}, Proof.MISSING),
        ({"TXT": ["mail6m=another"]}, Proof.DIFFERENT),
        (None, Proof.UNKNOWN),
    ],
)
def test_a_claim_that_is_not_proved(
    house: House, answer: dict[str, list[str]] | None, proof: Proof
) -> None:
    """It stays a claim, and mail is not taken for it."""
    customer, name = house.customer(), new_name()
    claim = house.claim(customer, name)
    name_asked = record_of(claim).name
    if answer is None:
        house.zones.failing.add(name_asked)
    house.zones.records |= {f"{name_asked} {kind}": it for kind, it in (answer or {}).items()}
    assert house.prove(customer, claim) is proof
    assert house.find(customer, name) == claim
    assert run(lambda: house.domains.find(name)) is None


def test_what_stands_there_instead_is_told(house: House) -> None:
    """A few of the records, so that a mistake can be seen."""
    customer = house.customer()
    claim = house.claim(customer, new_name())
    texts = [f'"{"x" * 250}" "y"', *map(str, range(9))]
    house.zones.records[f"{record_of(claim).name} TXT"] = texts
    _, told = run(lambda: house.declarations.prove(by(customer), claim))
    assert told == ["x" * 200, "0", "1", "2", "3"]


def test_a_dns_that_says_nothing(house: House) -> None:
    """Nobody waits for it longer than two seconds."""
    clock, zones = Clock(), Zones()
    declarations = Declarations(clock, house.domains, house.claims, zones, OURS)
    zones.held = []
    found: list[Direction] = []

    async def look() -> None:
        found.append(await declarations.direction("silent.fr"))

    waiting = Deferred.fromCoroutine(look())
    clock.advance(domains.PATIENCE - 0.1)
    assert not found
    clock.advance(0.2)
    assert found == [Direction(Pointing.UNKNOWN, [])]
    assert waiting.called


def test_claimed_again(house: House) -> None:
    """The token stays, which may stand in the DNS already; the hosts are the last ones given."""
    customer, name = house.customer(), new_name()
    first = house.claim(customer, name)
    hosts, tls = (Host("192.0.2.2", 26),), TlsPolicy.REQUIRED
    run(lambda: house.declarations.claim(by(customer), name, hosts, tls))
    again = house.find(customer, name)
    assert isinstance(again, Claim)
    assert (again.token, again.hosts, again.tls) == (first.token, hosts, tls)


def test_a_claim_that_is_withdrawn(house: House) -> None:
    """It cannot be proved any more, even by who has seen it before."""
    customer, name = house.customer(), new_name()
    claim = house.claim(customer, name)
    house.zones.txt(record_of(claim))
    run(lambda: house.declarations.remove(by(customer), claim))
    with pytest.raises(Refused):
        house.prove(customer, claim)
    with pytest.raises(Refused):
        run(lambda: house.declarations.remove(by(customer), claim))
    assert run(lambda: house.domains.find(name)) is None


def test_no_more_claims_than_that(house: House) -> None:
    """Claims are not a place to store things; those that there are can still be changed."""
    customer = house.customer()
    names = [new_name() for _ in range(MOST_CLAIMS)]
    for name in names:
        house.claim(customer, name)
    assert wrong(lambda: house.claim(customer, new_name())) is Wrong.TOO_MANY_CLAIMS
    house.claim(customer, names[0])


def test_ourselves(house: House) -> None:
    """Our own names are nobody's mail domains."""
    assert wrong(lambda: house.claim(house.customer(), "mx2.mail6m.test")) is Wrong.OURS


# Whose it is


def test_a_domain_of_another_customer(house: House) -> None:
    """It can be neither claimed, nor seen, changed, proved or removed."""
    owner, other, name = house.customer(), house.customer(), new_name()
    domain = house.add(owner, name)
    assert wrong(lambda: house.claim(other, name)) is Wrong.TAKEN
    assert wrong(lambda: house.claim(owner, name)) is Wrong.YOURS
    assert house.find(other, name) is None
    with pytest.raises(Refused):
        run(lambda: house.declarations.change(by(other), domain, (Host("evil.test"),), TLS))
    with pytest.raises(Refused):
        run(lambda: house.declarations.remove(by(other), domain))
    assert house.find(owner, name) == domain
    assert house.acts(other) == []


def test_a_claim_of_another_customer(house: House) -> None:
    """Its token is good for its owner only, and nobody else sees or withdraws it."""
    owner, other, name = house.customer(), house.customer(), new_name()
    claim = house.claim(owner, name)
    house.zones.txt(record_of(claim))
    assert house.find(other, name) is None
    with pytest.raises(Refused):
        house.prove(other, claim)
    with pytest.raises(Refused):
        run(lambda: house.declarations.remove(by(other), claim))
    assert house.find(owner, name) == claim
    assert house.acts(other) == []


def test_two_claim_the_same(house: House) -> None:
    """Each has a token of its own; who proves it has it, and the other is told that it is taken."""
    first, second, name = house.customer(), house.customer(), new_name()
    claims = [house.claim(customer, name) for customer in (first, second)]
    assert claims[0].token != claims[1].token
    house.zones.txt(record_of(claims[1]), record_of(claims[0]).value)
    assert house.prove(second, claims[1]) is Proof.PROVED
    assert house.prove(first, claims[0]) is Proof.TAKEN
    assert house.find(second, name) == Domain(name, second, HOSTS)
    assert house.find(first, name) == claims[0]


def test_an_operator_needs_no_proof(house: House) -> None:
    """What an operator adds is a domain at once, and a claim no longer."""
    customer, name = house.customer(), new_name()
    house.claim(customer, name)
    assert house.find(customer, name) != house.add(customer, name)
    assert isinstance(house.find(customer, name), Domain)
    assert run(lambda: house.claims.all(customer)) == []
    with pytest.raises(Refused):
        house.add(house.customer(), name)


# What is changed


def test_hosts_are_changed(house: House) -> None:
    """From now on, with a note of what they are; what a host was down for is forgotten at once."""
    customer, name = house.customer(), new_name()
    domain = house.add(customer, name)
    sql = "INSERT INTO destination VALUES (%s, 1, now(), now() + interval '9 minutes', '421')"
    ask(house.dsn, sql, name)
    hosts = (Host("192.0.2.3", 2525), Host("2001:db8::1"))
    run(lambda: house.declarations.change(by(customer), domain, hosts, TlsPolicy.REQUIRED))
    assert house.find(customer, name) == Domain(name, customer, hosts, TlsPolicy.REQUIRED)
    object_ = f"{name}: 192.0.2.3:2525, [2001:db8::1]:25 (required)"
    assert house.acts(customer)[-1] == ("domain changed", object_)
    due = "SELECT next_probe_at <= now() FROM destination WHERE destination = %s"
    assert ask(house.dsn, due, name) == [(True,)]
    ask(house.dsn, "DELETE FROM destination WHERE destination = %s", name)


def test_a_claims_hosts_are_changed(house: House) -> None:
    """They are what the domain will have, and the token stays."""
    customer, name = house.customer(), new_name()
    claim = house.claim(customer, name)
    hosts = (Host("192.0.2.4"),)
    run(lambda: house.declarations.change(by(customer), claim, hosts, TlsPolicy.NONE))
    changed = house.find(customer, name)
    assert isinstance(changed, Claim)
    assert (changed.token, changed.hosts, changed.tls) == (claim.token, hosts, TlsPolicy.NONE)


def test_a_domain_is_removed(house: House) -> None:
    """Nobody has it any more, and whoever proves it may have it."""
    customer, name = house.customer(), new_name()
    domain = house.add(customer, name)
    run(lambda: house.declarations.remove(by(customer), domain))
    assert house.find(customer, name) is None
    assert house.acts(customer) == [("domain added", name), ("domain removed", name)]
    house.claim(house.customer(), name)


def test_servers_hear_of_it_at_once(house: House) -> None:
    """A domain that is proved, changed or removed is told to the processes that relay."""
    customer, name = house.customer(), new_name()
    heard: list[str] = []
    with new_pool(house.dsn) as pool:

        async def listen() -> None:
            pool.listen(CHANNEL, lambda: heard.append(CHANNEL))
            await pool.keep_listening()

        run(listen)

        def told(work: Callable[[], Any]) -> bool:
            heard.clear()
            run(work)
            deadline = time.monotonic() + 20
            while not heard and time.monotonic() < deadline:
                run(lambda: pool.query("SELECT pg_sleep(0.01)"))
            return bool(heard)

        claim = house.claim(customer, name)
        house.zones.txt(record_of(claim))
        assert told(lambda: house.declarations.prove(by(customer), claim))
        domain = Domain(name, customer, HOSTS)
        assert told(lambda: house.declarations.change(by(customer), domain, HOSTS, TLS))
        assert told(lambda: house.declarations.remove(by(customer), domain))


# Where the MX lead


@pytest.mark.parametrize(
    ("exchangers", "pointing"),
    [
        ([(10, "mx1.mail6m.test"), (20, "mx2.mail6m.test")], Pointing.HERE),
        ([(10, "MX1.Mail6M.test")], Pointing.HERE),
        ([(10, "mx1.mail6m.test"), (20, "mail.duchemin.fr")], Pointing.PARTLY),
        ([(10, "mail.duchemin.fr")], Pointing.ELSEWHERE),
        ([(0, "")], Pointing.NOWHERE),  # takes no mail (RFC 7505)
        ([], Pointing.NOWHERE),
    ],
)
def test_where_mail_goes(
    house: House, exchangers: list[tuple[int, str]], pointing: Pointing
) -> None:
    """All of it to us, some, none, or nowhere."""
    name = new_name()
    house.zones.mx(name, *exchangers)
    assert run(lambda: house.declarations.direction(name)).pointing is pointing


def test_exchangers_in_order(house: House) -> None:
    """As mail servers try them, with a mark at those that are ours."""
    name = new_name()
    house.zones.mx(name, (20, "mx2.mail6m.test"), (5, "mail.duchemin.fr"))
    assert run(lambda: house.declarations.direction(name)).exchangers == [
        Exchanger(5, "mail.duchemin.fr", False),
        Exchanger(20, "mx2.mail6m.test", True),
    ]


def test_a_dns_that_fails(house: House) -> None:
    """A failure is no error: it is said what is not known. A name that is not there is known."""
    name = new_name()
    house.zones.failing.add(name)
    unknown = run(lambda: house.declarations.direction(name))
    assert unknown == Direction(Pointing.UNKNOWN, [])
    nowhere = run(lambda: house.declarations.direction(new_name()))
    assert nowhere == Direction(Pointing.NOWHERE, [])
