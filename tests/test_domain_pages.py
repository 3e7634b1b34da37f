"""Domaines and File d'attente in the console: real PostgreSQL, a made-up DNS, scripted peers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from mail6m.delivery.conversation import Finding
from mail6m.domains import Pointing, Proof, Record, Wrong
from mail6m.model import TlsPolicy
from mail6m.web import domains as pages
from tests.console_client import Browser, Console, House, Page, listening, new_house
from tests.scripted_peer import LOOPBACK, Peer
from tests.test_domains import Zones


@pytest.fixture(scope="module")
def zones() -> Zones:
    """The DNS."""
    return Zones()


@pytest.fixture(scope="module")
def at(dsn: str, zones: Zones) -> Iterator[Console]:
    """A console with a database of its own."""
    with listening(dsn, resolver=zones) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer."""
    return new_house(at)


@pytest.fixture
def browser(at: Console, house: House) -> Browser:
    """The customer's administrator."""
    browser = at.browser()
    browser.enter(at, house.admin)
    return browser


@pytest.fixture
def reader(at: Console, house: House) -> Browser:
    """Somebody of the customer's who may only look."""
    browser = at.browser()
    browser.enter(at, house.reader)
    return browser


def shown(page: Page) -> str:
    """A page's text, without its tags, in one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.text).split())


def hosts_of(at: Console, name: str) -> list[str]:
    """Where a domain's mail goes on to."""
    return [
        host
        for [hosts] in at.ask("SELECT hosts FROM domain WHERE name = %s", name)
        for host in hosts
    ]


def add(browser: Browser, name: str, hosts: str = "mail.duchemin.fr", tls: str = "none") -> Page:
    """The button Ajouter."""
    return browser.post("/domaines", [("name", name), ("hosts", hosts), ("tls", tls)])


def test_everything_has_a_text() -> None:
    """Whatever can be found out can be said."""
    assert set(pages.WRONG) == set(Wrong)
    assert set(pages.POINTING) == set(Pointing)
    assert set(pages.PROOFS) == set(Proof) - {Proof.PROVED}
    assert set(pages.FINDINGS) == set(Finding)
    assert set(pages.TLS) == set(TlsPolicy)


# The list


def test_the_list(browser: Browser, house: House) -> None:
    """Domains and claims with their machines, and the MX records that are to be set."""
    page = browser.get("/domaines")
    assert page.status == 200
    text = shown(page)
    assert f"{house.domain} 127.0.0.1:9" in text
    assert house.claim in text
    assert "en service" in text
    assert "à prouver" in text
    assert "IN MX 10 mx1.mail6m.test. IN MX 20 mx2.mail6m.test." in text


def test_a_reader_only_reads(reader: Browser, house: House) -> None:
    """No form but that to sign out, on any page about domains or the queue."""
    for path in ("/domaines", f"/domaines/{house.domain}", f"/domaines/{house.claim}", "/file"):
        page = reader.get(path)
        assert page.status == 200
        assert page.text.count("<form") == 1, path


def test_add_prove_and_use(at: Console, zones: Zones, browser: Browser, house: House) -> None:
    """From the form over the TXT record to a domain that mail is taken for."""
    name = f"neuf-{house.word}.fr"
    added = add(browser, f" {name.upper()} ", "mail.duchemin.fr:26\n192.0.2.9", "required")
    assert (added.status, added.location) == (303, f"/domaines/{name}")
    page = browser.get(added.location)
    [token] = re.findall(rf'_mail6m\.{re.escape(name)}\. IN TXT "mail6m=(\w+)"', page.text)
    missing = browser.post(f"/domaines/{name}/verifier")
    assert pages.PROOFS[Proof.MISSING] in missing.text
    assert hosts_of(at, name) == []
    record = Record(f"_mail6m.{name}", f"mail6m={token}")
    zones.records[f"{record.name} TXT"] = ["<b>other</b>"]
    different = browser.post(f"/domaines/{name}/verifier")
    assert pages.PROOFS[Proof.DIFFERENT] in different.text
    assert b"&lt;b&gt;other" in different.body
    zones.txt(record)
    proved = browser.post(f"/domaines/{name}/verifier")
    assert (proved.status, proved.location) == (303, f"/domaines/{name}")
    assert f"{name} est à vous" in browser.get(proved.location).text
    assert hosts_of(at, name) == ["mail.duchemin.fr:26", "192.0.2.9:25"]


def test_idn_in_both_forms(browser: Browser, house: House) -> None:
    """The U-label, with the A-label beside it; the hosts as they were typed."""
    added = add(browser, f"élan-{house.word}.fr", f"mail.élan-{house.word}.fr")
    assert added.location.startswith("/domaines/xn--")
    for path in (added.location, "/domaines"):
        text = browser.get(path).text
        assert f"élan-{house.word}.fr" in text
        assert added.location.removeprefix("/domaines/") in text
    assert f">\nmail.élan-{house.word}.fr</textarea>" in browser.get(added.location).text.replace(
        "\r", ""
    )


@pytest.mark.parametrize(
    ("name", "hosts", "wrong"),
    [
        ("", "mail.fr", "Indiquez votre domaine"),
        ("un deux", "mail.fr", pages.WRONG[Wrong.NO_DOMAIN]),
        ("mx1.mail6m.test", "mail.fr", pages.WRONG[Wrong.OURS]),
        ("libre.fr", "", "Indiquez le nom ou l'adresse IP"),
        ("libre.fr", "mail..fr", pages.WRONG[Wrong.NO_HOST]),
        ("libre.fr", "mx2.mail6m.test", pages._WRONG_HOST[Wrong.OURS]),
        ("libre.fr", "a b c d e f", pages.WRONG[Wrong.TOO_MANY_HOSTS]),
        ("libre.fr", "<b>%s", pages.WRONG[Wrong.NO_HOST]),
    ],
)
def test_what_is_wrong_stands_by_the_field(
    at: Console, browser: Browser, house: House, name: str, hosts: str, wrong: str
) -> None:
    """With status 400, and what was typed; nothing is stored."""
    page = add(browser, name, hosts)
    assert page.status == 400
    assert wrong in page.text
    assert page.text.count('class="error"') == 1
    assert f'value="{name}"' in page.text
    assert at.ask("SELECT count(*) FROM domain_claim WHERE customer_id = %s", house.number) == [
        (1,)
    ]


def test_a_policy_that_there_is_not(browser: Browser) -> None:
    """A choice that the form does not have is refused."""
    assert add(browser, "libre.fr", tls="magic").status == 400


def test_a_domain_of_another_customer(at: Console, browser: Browser) -> None:
    """It is refused by the field, and not said whose it is."""
    other = new_house(at)
    page = add(browser, other.domain)
    assert page.status == 400
    assert pages.WRONG[Wrong.TAKEN] in page.text
    assert not any(secret in page.text for secret in other.secrets if secret not in other.domain)


def test_my_own_domain_again(browser: Browser, house: House) -> None:
    """It is in the list already."""
    assert pages.WRONG[Wrong.YOURS] in add(browser, house.domain).text


# One domain


@pytest.mark.parametrize("name", ["personne.fr", "%00.fr", "..", "[", "%F0%9F%92%A9", "a" * 300])
def test_no_such_domain(browser: Browser, name: str) -> None:
    """Whatever it is called."""
    for suffix in ("/verifier", "/essai", "/supprimer", ""):
        assert browser.post(f"/domaines/{name}{suffix}").status == 404
    assert browser.get(f"/domaines/{name}").status == 404


@pytest.mark.parametrize(
    ("exchangers", "pointing"),
    [
        ([(10, "mx1.mail6m.test"), (20, "mx2.mail6m.test")], Pointing.HERE),
        ([(10, "mx1.mail6m.test"), (20, "mail.example.net")], Pointing.PARTLY),
        ([(10, "mail.example.net")], Pointing.ELSEWHERE),
        (None, Pointing.NOWHERE),
        ("no answer", Pointing.UNKNOWN),
    ],
)
def test_where_the_mx_point(
    zones: Zones, browser: Browser, house: House, exchangers: object, pointing: Pointing
) -> None:
    """It is said, with what the DNS has, and what it should have if that is not the same."""
    if isinstance(exchangers, list):
        zones.mx(house.domain, *exchangers)
    elif exchangers is not None:
        zones.failing.add(house.domain)
    page = browser.get(f"/domaines/{house.domain}")
    assert page.status == 200
    text = shown(page)
    assert pages.POINTING[pointing] in text
    assert ("Voici les MX qu'il faut renseigner:" in text) == (pointing is not Pointing.HERE)
    for preference, host in exchangers if isinstance(exchangers, list) else []:
        assert f"IN MX {preference} {host}." in text


def test_other_hosts(at: Console, browser: Browser, house: House) -> None:
    """They are stored in the order given; what is wrong is said, and what was typed is kept."""
    path = f"/domaines/{house.domain}"
    saved = browser.post(path, [("hosts", "192.0.2.5\nmail.fr:26"), ("tls", "required")])
    assert (saved.status, saved.location) == (303, path)
    assert hosts_of(at, house.domain) == ["192.0.2.5:25", "mail.fr:26"]
    assert "192.0.2.5\nmail.fr:26</textarea>" in browser.get(path).text.replace("\r", "")
    wrong = browser.post(path, [("hosts", "mail.fr:0"), ("tls", "none")])
    assert wrong.status == 400
    assert pages.WRONG[Wrong.NO_HOST] in wrong.text
    assert "mail.fr:0</textarea>" in wrong.text
    assert hosts_of(at, house.domain) == ["192.0.2.5:25", "mail.fr:26"]


def test_removing_asks_once(at: Console, browser: Browser, house: House) -> None:
    """It says what it means; then the domain is gone, and the archive is not."""
    path = f"/domaines/{house.domain}/supprimer"
    asked = browser.post(path)
    assert asked.status == 200
    assert "est refusé dès maintenant" in asked.text
    assert "Ce qui est archivé reste" in asked.text
    assert hosts_of(at, house.domain)
    removed = browser.post(path, [("sur", "oui")])
    assert (removed.status, removed.location) == (303, "/domaines")
    assert hosts_of(at, house.domain) == []
    count = "SELECT count(*) FROM message WHERE customer_id = %s"
    assert at.ask(count, house.number) == [(len(house.messages),)]
    assert browser.post(path, [("sur", "oui")]).status == 404


def test_giving_up_a_claim(at: Console, browser: Browser, house: House) -> None:
    """Without a question: there is nothing to lose."""
    assert browser.post(f"/domaines/{house.claim}/supprimer").location == "/domaines"
    assert at.ask("SELECT 1 FROM domain_claim WHERE name = %s", house.claim) == []


def test_a_trial(at: Console, browser: Browser, house: House) -> None:
    """The dialogue with each stored host is shown, escaped, and the trial is noted."""
    with Peer({"RCPT": "550 5.1.1 <i>nobody</i>"}) as peer:
        hosts = [f"{LOOPBACK}:{peer.port}", "127.0.0.1:9"]
        at.ask("UPDATE domain SET hosts = %s WHERE name = %s", hosts, house.domain)
        page = browser.post(f"/domaines/{house.domain}/essai", [("hosts", "192.0.2.66")])
        assert page.status == 200
        assert f"C: RCPT TO:<postmaster@{house.domain}>" in page.text.replace("<b>C:</b>", "C:")
        assert b"&lt;i&gt;nobody" in page.body
        assert pages.FINDINGS[Finding.REFUSED] in page.text
        assert pages.FINDINGS[Finding.CLOSED] in page.text
    noted = "SELECT object FROM audit WHERE customer_id = %s AND act = 'receiving machine tested'"
    assert at.ask(noted, house.number) == [(f"{house.domain}: {', '.join(hosts)}",)]


def test_no_trial_of_a_claim(at: Console, browser: Browser, house: House) -> None:
    """Nobody is connected to for a domain that may be somebody else's."""
    with Peer() as peer:
        hosts = [f"{LOOPBACK}:{peer.port}"]
        at.ask("UPDATE domain_claim SET hosts = %s WHERE name = %s", hosts, house.claim)
        assert browser.post(f"/domaines/{house.claim}/essai").status == 404
        assert peer.sessions == ()


# The queue


def test_what_waits(browser: Browser, house: House) -> None:
    """Message, recipient, attempts, next attempt and last reply, with a way to the details."""
    page = browser.get("/file")
    text = shown(page)
    assert f"{len(house.messages)} remises n'ont pas encore atteint" in text
    for position, message in enumerate(house.messages):
        assert f"/details?id={message}&retour=/file" in page.text
        row = f"Sujet {position} {house.word} anne@expediteur-{house.word}.example"
        assert f"{row} marie{position}@{house.domain} 3 " in text
    assert text.count(f"451 reponse-{house.word}") == len(house.messages)
    assert "Retour" in browser.get(f"/details?id={house.messages[0]}&retour=/file").text


def test_pages_of_fifty(at: Console, browser: Browser, house: House) -> None:
    """No more than fifty on a page; a page that is none is the last one."""
    at.ask(
        """INSERT INTO delivery SELECT customer_id, message_id, number + i, recipient, notify,
           original, destination, 0, 0, false, queued_at, next_attempt_at
           FROM delivery, generate_series(1, 10) AS i WHERE customer_id = %s""",
        house.number,
    )
    first, second = browser.get("/file"), browser.get("/file?page=2")
    assert [page.text.count('name="id"') for page in (first, second)] == [50, 5]
    assert browser.get("/file?page=99").text.count('name="id"') == 5


def test_a_machine_that_is_down(at: Console, browser: Browser, house: House) -> None:
    """It is said which, since when, and what it said last."""
    at.ask(
        "INSERT INTO destination (destination, failures, next_probe_at, last_reply)"
        " VALUES (%s, 3, now(), '421 4.3.2 Down for <lunch>')",
        house.domain,
    )
    page = browser.get("/file")
    assert f"{house.domain} : la machine ne répond pas" in page.text
    assert b"Down for &lt;lunch&gt;" in page.body
    assert "dès que la machine répond" in page.text


def due(at: Console, house: House) -> int:
    """How much is due now."""
    sql = "SELECT count(*) FROM delivery WHERE customer_id = %s AND next_attempt_at <= now()"
    return int(at.ask(sql, house.number)[0][0])


def test_retry_one_and_all(at: Console, browser: Browser, house: House) -> None:
    """One is due then, and all; and both are said and noted."""
    one = browser.post("/file/reessayer", [("id", house.deliveries[0]), ("page", "2")])
    assert (one.status, one.location) == (303, "/file?page=2")
    assert due(at, house) == 1
    assert "essayée maintenant" in browser.get("/file").text
    assert browser.post("/file/reessayer", [("tout", "oui"), ("page", "x")]).location == "/file"
    assert due(at, house) == len(house.messages)
    noted = "SELECT object FROM audit WHERE customer_id = %s AND act = 'deliveries retried'"
    assert at.ask(noted + " ORDER BY audit_id", house.number) == [(house.deliveries[0],), ("5",)]


@pytest.mark.parametrize("id_", ["", "x", "1-2-3", "-", "\0"])
def test_no_such_delivery(browser: Browser, id_: str) -> None:
    """Whatever it is called."""
    assert browser.post("/file/reessayer", [("id", id_)]).status == 404


def test_retry_of_what_is_done(at: Console, browser: Browser, house: House) -> None:
    """It is said that there is nothing to do."""
    at.ask("UPDATE delivery SET state = 1 WHERE customer_id = %s", house.number)
    for form in ([("id", house.deliveries[0])], [("tout", "oui")]):
        browser.post("/file/reessayer", form)
        assert "Rien à réessayer" in browser.get("/file").text


def test_an_empty_queue(at: Console, browser: Browser, house: House) -> None:
    """Everything has been delivered, and that is said."""
    at.ask("UPDATE delivery SET state = 1 WHERE customer_id = %s", house.number)
    assert "Tout a été remis" in browser.get("/file").text
