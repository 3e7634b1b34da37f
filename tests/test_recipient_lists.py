"""Lists of recipients: as files, in the database, on a domain's page, and by a command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail6m.guard import listed as module
from mail6m.guard.listed import NoList, Wrong, read_list, write_list
from mail6m.guard.probes import Result
from mail6m.model import Domain, Host, TlsPolicy
from mail6m.storage.domains import Domains
from mail6m.storage.errors import Refused
from mail6m.storage.migrate import migrate
from mail6m.storage.recipients import Asked, Recipients, Stored, Told
from mail6m.web import domains as pages
from tests.console_client import MASTER, Browser, Console, House, listening, new_house
from tests.reactor_thread import run
from tests.stored import ask, by, new_database, new_pool
from tests.test_cli import Site

DOMAIN = "mondomaine.fr"

# Files


@pytest.mark.parametrize(
    "file",
    [
        b"marie@mondomaine.fr\npaul@mondomaine.fr\n",
        b"marie@mondomaine.fr\r\npaul@mondomaine.fr",
        b"marie@mondomaine.fr\rpaul@mondomaine.fr\r",
        b"Adresse\r\nMarie@MonDomaine.FR\r\npaul@mondomaine.fr\r\nPAUL@mondomaine.fr\r\n",
        b"Nom;Adresse\nFoires, Marie;marie@mondomaine.fr\n;;\n\nPaul;paul@mondomaine.fr;\n",
        b'"Nom","Adresse"\n"Marie","marie@mondomaine.fr"\n"Paul"," paul@mondomaine.fr "\n',
        b"Nom\tAdresse\nMarie\tmarie@mondomaine.fr\nPaul\t<paul@mondomaine.fr>\n",
        b"\xef\xbb\xbfmarie@mondomaine.fr\npaul@mondomaine.fr",
        "Prénom;Adresse\nMarie;marie@mondomaine.fr\nPaül;paul@mondomaine.fr".encode("cp1252"),
        "adresse\r\nmarie@mondomaine.fr\r\npaul@mondomaine.fr\r\n".encode("utf-16"),
        b"marie@mondomaine.fr;paul@mondomaine.fr",
        b"\n\nAdresses\nmarie@mondomaine.fr\npaul@mondomaine.fr",
    ],
)
def test_files_of_all_sorts(file: bytes) -> None:
    """As spreadsheets write them, and people."""
    assert read_list(file, DOMAIN) == ["marie", "paul"]


@pytest.mark.parametrize(
    ("file", "why", "line", "text"),
    [
        (b"marie@mondomaine.fr\npaul\n", Wrong.NO_ADDRESS, 2, "paul"),
        (b"Nom\nNom\nmarie@mondomaine.fr\n", Wrong.NO_ADDRESS, 2, "Nom"),
        (b"a b@mondomaine.fr\n", Wrong.NO_ADDRESS, 1, "a b@mondomaine.fr"),
        (b"@mondomaine.fr\n", Wrong.NO_ADDRESS, 1, "@mondomaine.fr"),
        (b"*@mondomaine.fr\n", Wrong.NO_ADDRESS, 1, "*@mondomaine.fr"),
        (b"a@mondomaine.fr\nb@example.org", Wrong.ELSEWHERE, 2, "b@example.org"),
        (b"a@sub.mondomaine.fr", Wrong.ELSEWHERE, 1, "a@sub.mondomaine.fr"),
        (b"a\x00@mondomaine.fr", Wrong.NO_ADDRESS, 1, "a\x00@mondomaine.fr"),
        (b"", Wrong.EMPTY, 0, ""),
        (b"Adresse\r\n", Wrong.EMPTY, 0, ""),
        (b"a" * (module.MOST_OCTETS + 1), Wrong.TOO_LARGE, 0, ""),
    ],
)
def test_files_that_are_none(file: bytes, why: Wrong, line: int, text: str) -> None:
    """One reason, and the line."""
    with pytest.raises(NoList) as caught:
        read_list(file, DOMAIN)
    assert (caught.value.why, caught.value.line, caught.value.text) == (why, line, text)


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each counts once."""
    monkeypatch.setattr(module, "MOST_ADDRESSES", 2)
    assert len(read_list(b"a@mondomaine.fr\nb@mondomaine.fr\nA@mondomaine.fr", DOMAIN)) == 2
    with pytest.raises(NoList):
        read_list(b"a@mondomaine.fr\nb@mondomaine.fr\nc@mondomaine.fr", DOMAIN)


def test_written_and_read() -> None:
    """A list that is downloaded can be sent again."""
    names = ["hélène", "marie", "paul+devis"]
    assert read_list(write_list(names, DOMAIN), DOMAIN) == names


@given(st.binary(max_size=200) | st.text(max_size=60).map(str.encode))
def test_whatever_comes(file: bytes) -> None:
    """It is a list, or said not to be one; what was read can be written and read again."""
    try:
        found = read_list(file + b"\na@mondomaine.fr", DOMAIN)
    except NoList:
        return
    assert read_list(write_list(found, DOMAIN), DOMAIN) == found


# The database


class Tables:
    """What is stored of recipients."""

    def __init__(self, dsn: str, recipients: Recipients, domains: Domains) -> None:
        self.dsn, self.recipients, self.domains = dsn, recipients, domains
        self.customer = 0

    def domain(self, name: str = DOMAIN) -> Domain:
        """As it is now."""
        found = run(lambda: self.domains.find(name))
        assert found is not None
        return found

    def keep(self, local_part: str, taken: bool, lasting: int = 60, **changes: object) -> None:
        """Keep a verdict."""
        domain = changes.pop("domain", None) or self.domain()
        result = Result.TAKEN if taken else Result.REFUSED
        words = "250 Ok" if taken else "550 No"
        told = Told(domain, local_part, result.value, words, lasting, taken)
        run(lambda: self.recipients.keep([told]))

    def find(self, *local_parts: str) -> list[Stored]:
        """What is known."""
        domain = self.domain()
        asked = [Asked(domain, one, *module.on_list(one)) for one in local_parts]
        return run(lambda: self.recipients.find(asked))

    def taken(self, *local_parts: str) -> list[bool | None]:
        """By verdict."""
        return [stored.taken for stored in self.find(*local_parts)]


@pytest.fixture(scope="module")
def dsn(database: str) -> str:
    """A database of this module's."""
    dsn = new_database(database)
    migrate(dsn)
    return dsn


@pytest.fixture
def tables(dsn: str) -> Iterator[Tables]:
    """With a customer, whose domain it is."""
    with new_pool(dsn) as pool:
        tables = Tables(dsn, Recipients(pool), Domains(pool))
        ask(dsn, "DELETE FROM domain WHERE name IN ('mondomaine.fr', 'autre.test')")
        [[tables.customer]] = ask(
            dsn,
            "INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)"
            " VALUES (nextval('customer_number') + 5000, 'X', 'malle', 1, '')"
            " RETURNING customer_id",
        )
        domain = Domain(DOMAIN, tables.customer, (Host("192.0.2.1"), Host("mx.test", 26)))
        run(lambda: tables.domains.add(by(tables.customer), domain))
        yield tables


def test_verdicts(tables: Tables) -> None:
    """Kept, replaced, found by the address as it was given; with their age."""
    tables.keep("marie", True)
    tables.keep("paul", False)
    [marie, paul, nobody, capital] = tables.find("marie", "paul", "nobody", "Marie")
    assert (marie.taken, paul.taken, paul.words) == (True, False, "550 No")
    assert 0 <= marie.age < 20
    assert (nobody.taken, capital.taken) == (None, None)
    tables.keep("paul", True)
    assert tables.taken("paul") == [True]


def test_verdicts_of_a_batch(tables: Tables) -> None:
    """The last word on an address counts, and the last one of a domain is shown."""
    domain = tables.domain()
    told = [
        Told(domain, "marie", "refused", "550 No", 60, taken=False),
        Told(domain, "marie", "taken", "250 Ok", 60, taken=True),
        Told(domain, "jean", "unknown", "450 Later", 0, taken=False),
    ]
    run(lambda: tables.recipients.keep(told))
    assert tables.taken("marie", "jean") == [True, None]
    standing = run(lambda: tables.recipients.standing(domain))
    assert (standing.result, standing.words, standing.known) == ("unknown", "450 Later", 1)
    assert standing.at is not None


def test_verdicts_end(tables: Tables) -> None:
    """Then they are not found any more, and are taken out."""
    tables.keep("marie", True)
    tables.keep("paul", True)
    sql = "UPDATE recipient_verdict SET expires_at = now() - interval '1 s' WHERE local_part = %s"
    ask(tables.dsn, sql, "marie")
    assert tables.taken("marie", "paul") == [None, True]
    run(lambda: tables.recipients.forget(100))
    assert ask(tables.dsn, "SELECT local_part FROM recipient_verdict") == [("paul",)]


@pytest.mark.parametrize(
    ("hosts", "tls", "stay"),
    [
        ((Host("192.0.2.1"), Host("mx.test", 26)), TlsPolicy.OPPORTUNISTIC, True),
        ((Host("mx.test", 26), Host("192.0.2.1")), TlsPolicy.OPPORTUNISTIC, False),
        ((Host("192.0.2.1"), Host("mx.test", 26)), TlsPolicy.REQUIRED, False),
    ],
)
def test_another_machine(
    tables: Tables, hosts: tuple[Host, ...], tls: TlsPolicy, stay: bool
) -> None:
    """What the former one said is forgotten, and what it says later is not kept."""
    before = tables.domain()
    tables.keep("marie", True)
    run(lambda: tables.domains.change(by(tables.customer), DOMAIN, hosts, tls))
    assert tables.taken("marie") == [True if stay else None]
    tables.keep("paul", True, domain=before)
    assert tables.taken("paul") == [True if stay else None]


def test_verification_is_switched(tables: Tables) -> None:
    """By the same act as the machines; without a word it stays."""
    hosts, tls = tables.domain().hosts, tables.domain().tls
    for wanted, then in ((False, False), (None, False), (True, True)):
        change = tables.domains.change(by(tables.customer), DOMAIN, hosts, tls, wanted)
        run(lambda change=change: change)
        assert tables.domain().verify_recipients is then


def test_a_list(tables: Tables) -> None:
    """It takes the place of the last one; what is on it is found by name, or without a detail."""
    replace = tables.recipients.replace
    run(lambda: replace(by(tables.customer), DOMAIN, ["jean", "marie"]))
    first = tables.domain()
    assert first.listed == 2
    run(lambda: replace(by(tables.customer), DOMAIN, ["marie", "paul"]))
    assert run(lambda: tables.recipients.listed(tables.customer, DOMAIN)) == ["marie", "paul"]
    assert tables.domain().listed_at != first.listed_at
    found = tables.find("Marie", "paul+devis", "jean", "+marie")
    assert [stored.listed for stored in found] == [True, True, False, False]
    assert run(lambda: tables.recipients.clear(by(tables.customer), DOMAIN))
    assert tables.domain().listed is None
    assert not tables.find("marie")[0].listed
    assert not run(lambda: tables.recipients.clear(by(tables.customer), DOMAIN))
    acts = ask(
        tables.dsn,
        "SELECT act, object FROM audit WHERE customer_id = %s ORDER BY audit_id OFFSET 1",
        tables.customer,
    )
    assert acts == [
        ("recipients listed", "mondomaine.fr: 2"),
        ("recipients listed", "mondomaine.fr: 2"),
        ("list of recipients removed", "mondomaine.fr"),
    ]


def test_anothers_domain(tables: Tables) -> None:
    """Nobody gives a list to it, nor takes one away, nor reads it."""
    run(lambda: tables.recipients.replace(by(tables.customer), DOMAIN, ["marie"]))
    stranger = by(tables.customer + 1)
    with pytest.raises(Refused):
        run(lambda: tables.recipients.replace(stranger, DOMAIN, ["paul"]))
    assert not run(lambda: tables.recipients.clear(stranger, DOMAIN))
    assert run(lambda: tables.recipients.listed(stranger.customer, DOMAIN)) == []
    assert run(lambda: tables.recipients.listed(tables.customer, DOMAIN)) == ["marie"]


def test_all_goes_with_the_domain(tables: Tables) -> None:
    """And what a machine says a moment later is nobody's."""
    before = tables.domain()
    tables.keep("marie", True)
    run(lambda: tables.recipients.replace(by(tables.customer), DOMAIN, ["marie"]))
    run(lambda: tables.domains.remove(by(tables.customer), DOMAIN))
    tables.keep("paul", True, domain=before)
    for table in ("listed_recipient", "recipient_verdict", "recipient_probe"):
        assert ask(tables.dsn, f"TABLE {table}") == [], table
    assert run(lambda: tables.recipients.standing(before)).at is None


def test_as_many_as_there_may_be(tables: Tables) -> None:
    """In one transaction, in a moment."""
    names = [f"{number:05d}.nom" for number in range(module.MOST_ADDRESSES)]
    run(lambda: tables.recipients.replace(by(tables.customer), DOMAIN, names))
    assert tables.domain().listed == module.MOST_ADDRESSES
    assert tables.find("49999.nom")[0].listed


# The page


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer, whose domain has a list."""
    return new_house(at)


@pytest.fixture
def browser(at: Console, house: House) -> Browser:
    """The customer's administrator."""
    browser = at.browser()
    browser.enter(at, house.admin)
    return browser


def test_everything_has_a_text() -> None:
    """Whatever can be found out can be said."""
    assert set(pages.RESULTS) == set(Result) - {Result.NOT_ASKED}
    assert set(pages.NO_LISTS) == set(Wrong)


def test_sent_shown_downloaded_removed(browser: Browser, house: House) -> None:
    """The way of a list through the page."""
    path = f"/domaines/{house.domain}"
    sent = f"Adresse\nMarie@{house.domain}\npaul@{house.domain}\n".encode()
    answer = browser.post(f"{path}/destinataires", [("fichier", sent)])
    assert (answer.status, answer.location) == (303, path)
    page = browser.get(path).text
    assert "Votre liste vaut dès maintenant." in page
    assert "Votre liste a 2 adresses." in page
    file = browser.get(f"{path}/destinataires.csv")
    assert file.headers["content-type"].startswith("text/csv")
    assert file.body.decode("utf-8-sig").split() == [
        "adresse", f"marie@{house.domain}", f"paul@{house.domain}",
    ]  # fmt: skip
    assert browser.post(f"{path}/destinataires/supprimer").location == path
    page = browser.get(path).text
    assert "La liste est supprimée." in page
    assert "Votre machine accepte l'adresse demandée." in page
    assert browser.get(f"{path}/destinataires.csv").status == 404
    assert browser.post(f"{path}/destinataires/supprimer").status == 404


def test_a_wrong_list_is_told_by_the_line(at: Console, browser: Browser, house: House) -> None:
    """And the one before stays; what is shown of the file is text."""
    path = f"/domaines/{house.domain}"
    sent = f"marie@{house.domain}\n<script>@example.org\n".encode()
    page = browser.post(f"{path}/destinataires", [("fichier", sent)])
    assert page.status == 400
    assert "Ligne 2 : « script>@example.org » n'est pas une adresse." in page.text
    assert b"script&gt;@example" in page.body
    page = browser.post(f"{path}/destinataires", [("fichier", b"a@example.org")])
    assert "n'est pas une adresse de ce domaine" in page.text
    page = browser.post(f"{path}/destinataires")
    assert (page.status, "Il n'y a pas d'adresse" in page.text) == (400, True)
    listed = "SELECT local_part FROM listed_recipient WHERE domain = %s"
    assert at.ask(listed, house.domain) == [(f"destinataire-{house.word}",)]


def test_a_list_may_be_large(browser: Browser, house: House) -> None:
    """Larger than any other form; but not without end, and no other form may be as large."""
    path = f"/domaines/{house.domain}"
    large = b"".join(b"%06d@%s\n" % (n, house.domain.encode()) for n in range(30_000))
    assert len(large) > 600_000
    assert browser.post(f"{path}/destinataires", [("fichier", large)]).status == 303
    assert browser.post(path, [("hosts", "x" * 200_000)]).status == 413
    larger = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "1100000"}
    assert browser.request("POST", f"{path}/destinataires", b"", larger).status == 413


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="a"'),
        ("multipart/form-data; boundary=\xff", b"--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: x\r\n\r\n1\r\n" * 1_000),
        ("MultiPart/Form-Data; boundary=b", b"--b\r\n" * 1_000 + b"--b--"),
    ],
)
def test_uploads_that_are_none(browser: Browser, house: House, kind: str, body: bytes) -> None:
    """Are forms without fields, and so without a token."""
    path = f"/domaines/{house.domain}/destinataires"
    assert browser.request("POST", path, body, {"Content-Type": kind}).status == 403


def test_the_check_box(at: Console, browser: Browser, house: House) -> None:
    """With a tick recipients are verified; the page says what that means."""
    path = f"/domaines/{house.domain}"
    kept = [("hosts", "127.0.0.1:9"), ("tls", "opportunistic")]
    verified = "SELECT verify_recipients FROM domain WHERE name = %s"
    for ticks, wanted in (([], False), ([("verify", "y")], True)):
        assert browser.post(path, [*kept, *ticks]).status == 303
        assert at.ask(verified, house.domain) == [(wanted,)]
        assert ("Les destinataires ne sont pas vérifiés" in browser.get(path).text) is not wanted
        assert ("checked" in browser.get(path).text) is wanted


# The command


def test_by_command(dsn: str, tmp_path: Path, tables: Tables) -> None:
    """Whom a domain takes mail for, and how its machine answers."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "master.key").write_bytes(MASTER)
    site, file = Site(dsn, tmp_path), tmp_path / "liste.csv"
    try:
        tables.keep("marie", True)
        shown = site.json("domain", "recipients", DOMAIN)
        assert shown.pop("last_probe")
        assert shown == {
            "domain": DOMAIN,
            "customer": tables.customer,
            "verify_recipients": True,
            "listed": None,
            "known": 1,
            "last_result": "taken",
            "last_words": "250 Ok",
        }
        file.write_text(f"jean@{DOMAIN}\npaul@{DOMAIN}\n")
        imported = site.json("domain", "recipients", DOMAIN, "--import", str(file))
        assert imported["listed"] == 2
        assert run(lambda: tables.recipients.listed(tables.customer, DOMAIN)) == ["jean", "paul"]
        file.write_text(f"jean@{DOMAIN}\npaul@example.org\n")
        assert "line 2: 'paul@example.org'" in site.refusal(
            "domain", "recipients", DOMAIN, "--import", str(file)
        )
        assert "No such file" in site.refusal("domain", "recipients", DOMAIN, "--import", "/no/x")
        assert site.json("domain", "recipients", DOMAIN, "--clear")["listed"] is None
        assert "has no list" in site.refusal("domain", "recipients", DOMAIN, "--clear")
        assert "not declared" in site.refusal("domain", "recipients", "autre.test")
        site.misuse("domain", "recipients", DOMAIN, "--clear", "--import", str(file))
    finally:
        site.close()
