"""The guided start: what is so now, at every step, and always a way on."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from mail6m.delivery.conversation import Finding
from mail6m.domains import Pointing, Proof, Record
from mail6m.model import Summary
from mail6m.seal import Keyring
from mail6m.web.domains import FINDINGS, POINTING, PROOFS, WRONG
from mail6m.web.start import Standing
from tests.console_client import (
    MASTER,
    Browser,
    Console,
    House,
    Page,
    listening,
    new_house,
    password_hash,
)
from tests.reactor_thread import run
from tests.scripted_peer import LOOPBACK, Peer
from tests.stored import new_message
from tests.test_domain_pages import shown
from tests.test_domains import Zones

OURS = [(10, "mx1.mail6m.test"), (20, "mx2.mail6m.test")]
STEP = re.compile(r'<li class="step([^"]*)"(.*?)</li>\s*(?=<li class="step|</ol>)', re.DOTALL)


@pytest.fixture(scope="module")
def zones() -> Zones:
    """The DNS."""
    return Zones()


@pytest.fixture(scope="module")
def at(dsn: str, zones: Zones) -> Iterator[Console]:
    """A console with a database of its own."""
    with listening(dsn, resolver=zones) as console:
        yield console


class Newcomer:
    """A customer that has just signed up, and the page that guides it."""

    def __init__(self, at: Console, word: str) -> None:
        self.at = at
        self.domain = f"{word}.fr"
        [[self.number]] = at.ask("SELECT nextval('customer_number')::integer")
        key = Keyring(MASTER).new_wrapped_key(self.number)
        at.ask(
            "INSERT INTO customer VALUES (%s, %s, 'tiroir', 2000000000, %s)",
            self.number, word, key,
        )  # fmt: skip
        at.ask("INSERT INTO preferences (customer_id) VALUES (%s)", self.number)
        self.browser, self.reader = (self._enter(role) for role in ("administrator", "reader"))

    def _enter(self, role: str) -> Browser:
        [[account]] = self.at.ask(
            "INSERT INTO account (customer_id, email, role, password_hash)"
            " VALUES (%s, %s, %s, %s) RETURNING account_id",
            *(self.number, f"{role}@{self.domain}", role, password_hash()),
        )
        browser = self.at.browser()
        browser.enter(self.at, (self.number, account))
        return browser

    def page(self) -> Page:
        """The page as it is now."""
        return self.browser.get("/demarrage")

    def declare(self, hosts: str = "192.0.2.1", name: str = "") -> Page:
        """The first step's button."""
        form = [("name", name or self.domain), ("hosts", hosts), ("tls", "none")]
        return self.browser.post("/demarrage", form)

    def press(self, what: str, **fields: str) -> Page:
        """A button of another step, and the page that it leads to."""
        form = [("domaine", self.domain), *fields.items()]
        answer = self.browser.post(f"/demarrage/{what}", form)
        assert answer.status == 303
        return self.browser.get(answer.location)

    def record(self) -> Record:
        """The TXT record to be set."""
        text = self.browser.get(f"/demarrage?domaine={self.domain}").text
        [[name, value]] = re.findall(r'(_mail6m\.\S+)\. IN TXT "(\S+)"', text)
        return Record(name, value)

    def prove(self, zones: Zones) -> None:
        """Have the domain."""
        zones.txt(self.record())
        self.press("verifier")


@pytest.fixture
def newcomer(at: Console, request: pytest.FixtureRequest) -> Newcomer:
    """Somebody new."""
    return Newcomer(at, re.sub(r"[\W_]+", "-", request.node.name).strip("-").lower()[:60])


def states(page: Page) -> str:
    """A letter for each step: done, current, or later."""
    assert page.status in (200, 400)
    found = [classes for classes, _ in STEP.findall(page.text)]
    letters = ["d" if "done" in one else "c" if "current" in one else "l" for one in found]
    assert len(letters) == 5
    return "".join(letters)


def step(page: Page, number: int) -> str:
    """What a step says, without tags."""
    whole = STEP.findall(page.text)[number - 1][1]
    return " ".join(re.sub(r"<[^>]*>", " ", whole.partition(">")[2]).split())


def test_from_nothing_to_the_first_message(newcomer: Newcomer, zones: Zones) -> None:
    """Each step becomes done when it is so, and not before; at the end nothing is looked for."""
    assert states(newcomer.page()) == "cllll"
    assert "data-refresh" not in newcomer.page().text
    with Peer() as peer:
        host = f"{LOOPBACK}:{peer.port}"
        assert newcomer.declare(host).location == f"/demarrage?domaine={newcomer.domain}"
        page = newcomer.page()
        assert states(page) == "dclll"
        assert 'data-refresh="15"' in page.text
        assert PROOFS[Proof.MISSING] in step(page, 2)
        record = newcomer.record()
        assert record.name == f"_mail6m.{newcomer.domain}"
        assert states(newcomer.press("verifier")) == "dclll"
        zones.txt(record)
        assert "L'enregistrement est là. Il ne reste qu'à vérifier." in step(newcomer.page(), 2)
        page = newcomer.press("verifier")
        assert "nous acceptons son courrier dès maintenant" in page.text
        assert states(page) == "ddcll"
        assert "n'a pas encore été essayée" in step(page, 3)
        page = newcomer.press("essai")
        assert states(page) == "dddcl"
        assert f"{host} {FINDINGS[Finding.TAKEN]}" in step(page, 3)
        assert not peer.mails
    assert POINTING[Pointing.NOWHERE] in step(page, 4)
    assert "IN MX 10 mx1.mail6m.test. IN MX 20 mx2.mail6m.test." in step(page, 4)
    zones.mx(newcomer.domain, *OURS)
    page = newcomer.page()
    assert states(page) == "ddddc"
    assert "Rien n'est encore arrivé." in step(page, 5)
    message = new_message(
        newcomer.number,
        recipients=(f"celine@{newcomer.domain}",),
        destination=newcomer.domain,
        summary=Summary("Jacques <jacques@vermeulen.net>", "celine", "Notes <de> frais", "<1@a>"),
    )
    run(lambda: newcomer.at.archive.store([message], 0))
    page = newcomer.page()
    assert states(page) == "ddddd"
    assert "jacques@vermeulen.net" in step(page, 5)
    assert b"Notes &lt;de&gt; frais" in page.body
    assert "Tout est fait" in page.text
    assert "data-refresh" not in page.text


@pytest.mark.parametrize("proof", [Proof.MISSING, Proof.DIFFERENT, Proof.UNKNOWN, Proof.PROVED])
def test_what_the_dns_says_of_the_proof(newcomer: Newcomer, zones: Zones, proof: Proof) -> None:
    """Nothing, something else, no answer, or what is asked for: looked up afresh at each look."""
    newcomer.declare()
    record = newcomer.record()
    if proof is Proof.DIFFERENT:
        zones.records[f"{record.name} TXT"] = ["<b>other</b>"]
    elif proof is Proof.PROVED:
        zones.txt(record)
    elif proof is Proof.UNKNOWN:
        zones.failing.add(record.name)
    zones.asked_afresh.clear()
    page = newcomer.page()
    said = "L'enregistrement est là" if proof is Proof.PROVED else PROOFS[proof]
    assert said in step(page, 2)
    assert (record.name, "TXT") in zones.asked_afresh
    assert (b"&lt;b&gt;other" in page.body) == (proof is Proof.DIFFERENT)
    assert ">Vérifier</button>" in page.text
    assert states(page) == "dclll"


@pytest.mark.parametrize("pointing", list(Pointing))
@pytest.mark.parametrize("proved", [True, False])
def test_what_the_dns_says_of_the_mx(
    newcomer: Newcomer, zones: Zones, pointing: Pointing, proved: bool
) -> None:
    """Each is said, with the records seen; too early it is warned of; the right ones are shown."""
    newcomer.declare()
    if proved:
        newcomer.prove(zones)
    theirs = (5, "mail.example.org")
    seen = {
        Pointing.HERE: OURS,
        Pointing.PARTLY: [OURS[0], theirs],
        Pointing.ELSEWHERE: [theirs],
    }.get(pointing, [])
    if seen:
        zones.mx(newcomer.domain, *seen)
    if pointing is Pointing.UNKNOWN:
        zones.failing.add(f"{newcomer.domain} MX")
    page = newcomer.page()
    assert (newcomer.domain, "MX") in zones.asked_afresh
    said = step(page, 4)
    assert POINTING[pointing] in said
    assert ("mail.example.org" in said) == (theirs in seen)
    assert ("Voici les MX qu'il faut renseigner:" in said) == (pointing is not Pointing.HERE)
    assert states(page)[3] == ("d" if pointing is Pointing.HERE else "l")
    warned = "tant que votre domaine n'est pas prouvé" in said
    assert warned == (pointing is Pointing.HERE and not proved)


def test_a_machine_that_does_not_take_mail(newcomer: Newcomer, zones: Zones) -> None:
    """Its answer is shown; another one is named on the same page, and is yet to be tried."""
    newcomer.declare(f"{LOOPBACK}:1")
    newcomer.prove(zones)
    page = newcomer.press("essai")
    assert states(page) == "ddcll"
    assert FINDINGS[Finding.CLOSED] in step(page, 3)
    assert f'href="/domaines/{newcomer.domain}"' in page.text
    assert ">Tester à nouveau</button>" in page.text
    with Peer({"RCPT": ["550 5.1.1 No"]}) as peer:
        page = newcomer.press("machines", hosts=f"{LOOPBACK}:{peer.port}", tls="none")
        assert "n'a pas encore été essayée" in step(page, 3)
        assert FINDINGS[Finding.REFUSED] in step(newcomer.press("essai"), 3)


def test_one_machine_of_two_is_enough(newcomer: Newcomer, zones: Zones) -> None:
    """Mail goes on to it; the other one's answer is shown as well."""
    with Peer() as peer:
        newcomer.declare(f"{LOOPBACK}:{peer.port}\n{LOOPBACK}:1")
        newcomer.prove(zones)
        page = newcomer.press("essai")
    assert states(page) == "dddcl"
    assert FINDINGS[Finding.CLOSED] in step(page, 3)


def test_a_trial_on_the_domains_page_counts(newcomer: Newcomer, zones: Zones) -> None:
    """It is the same machine; for other machines, or other TLS, it says nothing."""
    with Peer() as peer:
        host = f"{LOOPBACK}:{peer.port}"
        newcomer.declare(host)
        newcomer.prove(zones)
        newcomer.browser.post(f"/domaines/{newcomer.domain}/essai")
        assert states(newcomer.page()) == "dddcl"
        assert states(newcomer.press("machines", hosts=host, tls="required")) == "ddcll"
        assert states(newcomer.press("machines", hosts=host, tls="none")) == "dddcl"


@pytest.mark.parametrize(
    ("name", "hosts", "wrong"),
    [
        ("pas un domaine", "192.0.2.1", "Ce n'est pas un nom de domaine."),
        ("mx1.mail6m.test", "192.0.2.1", "Ce nom est celui de nos propres serveurs."),
        ("", "192.0.2.1", "Indiquez votre domaine"),
        ("bon.fr", "ni une machine !", "Écrivez sur chaque ligne un nom"),
        ("bon.fr", "mx2.mail6m.test", "Cette machine est la nôtre"),
    ],
)
def test_what_is_typed_wrong(newcomer: Newcomer, name: str, hosts: str, wrong: str) -> None:
    """Is said by its field, and can be typed again; the page does not look again by itself."""
    form = [("name", name), ("hosts", hosts), ("tls", "none")]
    page = newcomer.browser.post("/demarrage", form)
    assert page.status == 400
    assert wrong in step(page, 1)
    assert states(page) == "cllll"
    assert "data-refresh" not in page.text


def test_other_machines_typed_wrong(newcomer: Newcomer) -> None:
    """The form that was folded away is open, with what is wrong; nothing has changed."""
    newcomer.declare("192.0.2.7")
    form = [("domaine", newcomer.domain), ("hosts", "!"), ("tls", "none")]
    page = newcomer.browser.post("/demarrage/machines", form)
    assert (page.status, "<details open>" in page.text) == (400, True)
    assert "192.0.2.7" in step(newcomer.page(), 3)


def test_a_domain_that_is_somebody_elses(at: Console, newcomer: Newcomer, zones: Zones) -> None:
    """Cannot be declared; proved while another has got it, it says so."""
    house = new_house(at)
    page = newcomer.declare(name=house.domain)
    assert (page.status, WRONG_TAKEN in page.text) == (400, True)
    newcomer.declare()
    zones.txt(newcomer.record())
    at.ask("INSERT INTO domain VALUES (%s, %s, '{127.0.0.1:9}')", house.number, newcomer.domain)
    assert PROOFS[Proof.TAKEN] in newcomer.press("verifier").text
    at.ask("DELETE FROM domain WHERE name = %s", newcomer.domain)


WRONG_TAKEN = next(text for why, text in WRONG.items() if why.name == "TAKEN")


def test_nothing_is_tried_before_it_is_proved(newcomer: Newcomer) -> None:
    """Nobody is relayed to, nor called, for a domain that may be another's."""
    newcomer.declare()
    form = [("domaine", newcomer.domain)]
    assert newcomer.browser.post("/demarrage/essai", form).status == 404
    assert ">Tester</button>" not in newcomer.page().text


def test_several_domains(newcomer: Newcomer, zones: Zones) -> None:
    """The proved one comes first; the others are a link away."""
    newcomer.declare(name=f"autre-{newcomer.domain}")
    newcomer.declare()
    newcomer.prove(zones)
    page = newcomer.page()
    assert states(page) == "ddcll"
    other = newcomer.browser.get(f"/demarrage?domaine=autre-{newcomer.domain}")
    assert states(other) == "dclll"
    assert f'href="/demarrage?domaine={newcomer.domain}"' in other.text
    assert newcomer.browser.get("/demarrage?domaine=nul.fr").status == 404


def test_a_reader_only_looks(newcomer: Newcomer, zones: Zones) -> None:
    """At every step, with nothing to press but what signs out."""
    pages = [newcomer.reader.get("/demarrage")]
    newcomer.declare()
    pages.append(newcomer.reader.get("/demarrage"))
    newcomer.prove(zones)
    pages.append(newcomer.reader.get("/demarrage"))
    assert [states(page) for page in pages] == ["cllll", "dclll", "ddcll"]
    assert [page.text.count("<form") for page in pages] == [1, 1, 1]


def test_a_removed_domain_takes_its_trial_along(newcomer: Newcomer, zones: Zones) -> None:
    """Nothing is left of it, and the way begins anew."""
    with Peer() as peer:
        newcomer.declare(f"{LOOPBACK}:{peer.port}")
        newcomer.prove(zones)
        newcomer.press("essai")
    newcomer.browser.post(f"/domaines/{newcomer.domain}/supprimer", [("sur", "oui")])
    assert states(newcomer.page()) == "cllll"
    assert newcomer.at.ask("SELECT 1 FROM domain_trial WHERE domain = %s", newcomer.domain) == []


def test_an_empty_cabinet_leads_here(newcomer: Newcomer) -> None:
    """As long as nothing has arrived."""
    page = newcomer.browser.get("/meuble")
    assert 'href="/demarrage">Démarrer pas à pas' in page.text
    house = new_house(newcomer.at)
    browser = newcomer.at.browser()
    browser.enter(newcomer.at, house.admin)
    assert "Démarrer pas à pas" not in shown(browser.get("/meuble"))


def test_every_state_has_a_current_step() -> None:
    """Unless all is done: there is no dead end."""
    assert Standing(None, None, (), None, None, None).current == 1
    steps = [(n >> 4 & 1, n >> 3 & 1, n >> 2 & 1, n >> 1 & 1, n & 1) for n in range(32)]
    for done in steps:
        missing = [position for position, one in enumerate(done, 1) if not one]
        standing = type("Any", (Standing,), {"steps": property(lambda _, d=done: list(d))})
        assert standing(None, None, (), None, None, None).current == (missing or [0])[0]


def test_of_whom(at: Console, newcomer: Newcomer) -> None:
    """Another customer's domain is not to be had, by any of the buttons."""
    house: House = new_house(at)
    for what in ("verifier", "machines", "essai"):
        for name in (house.domain, house.claim, "", "é", "a" * 300):
            form = [("domaine", name), ("hosts", "192.0.2.1"), ("tls", "none")]
            assert newcomer.browser.post(f"/demarrage/{what}", form).status == 404
