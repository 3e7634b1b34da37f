"""What time does to a company's mail, played small: by SMTP, in the console, with the commands.

Cabinet, cellar, archivist, offer, disc, index, shipped, received, destroyed; and the refusal. At
every step the sum holds, to the message: accepted = cabinet + cellar + discs + deleted + destroyed.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from playwright.sync_api import Browser, expect

from mail6m.storage.embedded import Embedded
from tests.browser.conftest import chromium
from tests.browser.stage import FRENCH, PASSWORD, Company, Stage, Window, windows
from tests.harness import LOOPBACK, Server, new_place, require
from tests.scripted_peer import Mail, Peer

CABINET = 200_000
DISC = 1_000_000


@pytest.fixture(scope="module")
def small() -> Iterator[Stage]:
    """A server whose discs are small; its own letters go where all mail goes."""
    chromium()
    with Peer() as peer, new_place() as place:
        options = ("--disc-capacity", str(DISC), "--smarthost", f"{LOOPBACK}:{peer.port}")
        with Server(place, *options) as server:
            database = Embedded(server.data / "postgres")
            try:
                yield Stage(server, peer, database.start())
            finally:
                database.leave()


@dataclass
class Letter:
    """A message that does not compress."""

    number: int
    domain: str
    sender: str = "jacques@vermeulen.net"
    content: bytes = b""
    to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.to = (f"celine@{self.domain}",)
        noise = random.Random(self.number).randbytes(20_000).hex()
        lines = "\r\n".join(noise[at : at + 70] for at in range(0, len(noise), 70))
        header = f"From: Jacques <{self.sender}>\r\nSubject: Dossier {self.number} à l'étage\r\n"
        self.content = f"{header}\r\n{lines}\r\n".encode()


@dataclass
class Tale:
    """A company, and how its mail fares."""

    stage: Stage
    company: Company
    letters: list[Letter] = field(default_factory=list)

    def receive(self, count: int) -> None:
        """Mail comes in, goes on to its destination, and what is too much goes to the cellar."""
        first = len(self.letters)
        new = [Letter(number, self.company.domain) for number in range(first, first + count)]
        self.stage.send(new)  # type: ignore[arg-type]
        self.letters += new
        self.command("shelves", "sweep")
        self.holds()

    def command(self, *words: str) -> Any:
        """What a command prints."""
        return self.stage.server.command(*words)

    @property
    def customer(self) -> tuple[str, str]:
        """As commands name it."""
        return ("--customer", str(self.company.number))

    def discs(self) -> list[dict[str, Any]]:
        """The company's."""
        listed: list[dict[str, Any]] = self.command("disc", "list", *self.customer)
        return listed

    def where(self) -> dict[str, int]:
        """Where the messages are; all that were accepted."""
        [row] = self.stage.sql(
            "SELECT count(*) FILTER (WHERE shelf = 0), count(*) FILTER (WHERE shelf = 1),"
            " (SELECT coalesce(sum(messages), 0) FROM disc WHERE customer_id = %(customer)s"
            "  AND state IN ('written', 'shipped')),"
            " (SELECT coalesce(sum(messages), 0) FROM departed WHERE customer_id = %(customer)s"
            "  AND fate = 'deleted'),"
            " (SELECT coalesce(sum(messages), 0) FROM departed WHERE customer_id = %(customer)s"
            "  AND fate = 'destroyed')"
            " + (SELECT coalesce(sum(messages) FILTER (WHERE state = 'destroyed'), 0)"
            "  + coalesce(sum(left_out), 0) FROM disc WHERE customer_id = %(customer)s)"
            " FROM message WHERE customer_id = %(customer)s",
            {"customer": self.company.number},
        )
        names = ("cabinet", "cellar", "discs", "deleted", "destroyed")
        return {name: int(count) for name, count in zip(names, row, strict=True)}

    def shown(self) -> dict[str, int]:
        """The same, as the commands tell it."""
        customer = self.stage.server.customer(self.company.number)
        departed = self.command("cellar", "show", *self.customer)["departed"]
        discs = self.discs()
        kept = [one for one in discs if one["state"] in ("written", "shipped")]
        gone = [one for one in discs if one["state"] == "destroyed"]
        return {
            "cabinet": customer["cabinet_messages"],
            "cellar": customer["cellar_messages"],
            "discs": sum(one["messages"] for one in kept),
            "deleted": departed.get("deleted", 0),
            "destroyed": departed.get("destroyed", 0)
            + sum(one["messages"] for one in gone)
            + sum(one["left_out"] for one in [*kept, *gone]),
        }

    def holds(self) -> dict[str, int]:
        """The sum; where they are."""
        where = self.where()
        assert sum(where.values()) == len(self.letters), where
        return where

    def mail(self, subject: str) -> Mail:
        """A letter of Mail6M's own, as the company's server has got it."""

        def found(peer: Peer) -> list[Mail]:
            return [one for one in peer.mails if subject in _subject(one).replace("\u00a0", " ")]

        self.stage.wait_for(lambda peer: bool(found(peer)))
        return found(self.stage.peer)[-1]


def _subject(mail: Mail) -> str:
    return str(email.message_from_bytes(mail.content, policy=email.policy.default)["Subject"])


def tale(stage: Stage, name: str) -> Tale:
    """A new company's."""
    domain = f"{name.lower()}.test"
    address = f"administrateur@{domain}"
    added = stage.server.command(
        *("customer", "add", "--company", name, "--email", address, "--password-stdin"),
        *("--capacity", str(CABINET)),
        stdin=f"{PASSWORD}\n",
    )
    number = int(added["customer"])
    stage.server.add_domain(domain, number, stage.peer.port)
    return Tale(stage, Company(number, address, domain))


def said(window: Window) -> str:
    """What the page says."""
    return window.page.locator("main").inner_text().replace("\u00a0", " ").replace("\u202f", " ")


def test_a_company_takes_its_disc(small: Stage, browser: Browser, tmp_path: Path) -> None:
    """From the first message to the certificate of destruction."""
    require("xorriso", "xorriso")
    story = tale(small, "Duchemin")
    with windows(browser, small) as open_window:
        window = open_window(story.company.email)
        _overflow(story, window)
        _ask_the_archivist(story, window)
        serial = _order(story, window)
        image = _write(story, serial)
        disc = _read(story, image, tmp_path)
        _look_into(browser, disc, story)
        _receive(story, window, serial)
    assert not image.exists()
    assert story.holds()["destroyed"] > 0
    assert story.shown() == story.where()


def _overflow(story: Tale, window: Window) -> None:
    story.receive(20)
    where = story.holds()
    assert 0 < where["cabinet"] < 20
    assert where["cellar"] == 20 - where["cabinet"]
    window.go("/cave")
    assert f"Messages\n{where['cellar']}\n" in said(window)
    window.go("/recherche?subject=Dossier+0+")
    assert "Aucun message trouvé" in said(window)
    window.go("/meuble")
    window.choose("Dossier 19 à l'étage")
    window.click("Supprimer")
    window.click("Supprimer")
    assert story.holds()["deleted"] == 1


def _ask_the_archivist(story: Tale, window: Window) -> None:
    window.go("/cave")
    window.click("Faire appel à l'archiviste", "link")
    window.send("Demander", subject="DOSSIER 3 a l'etage", reason="Litige")
    assert "En attente" in said(window)
    [request] = story.command("archivist", "list", *story.customer)
    assert (request["matches"], request["reason"]) == (1, "Litige")
    story.command("archivist", "grant", "--id", str(request["id"]))
    story.holds()
    window.go("/cave/archiviste")
    window.click("Voir", "link")
    window.choose("Dossier 3 à l'étage")
    before = len(story.stage.peer.mails)
    window.click("Emettre")
    story.stage.wait_for(lambda peer: len(peer.mails) > before)
    assert story.stage.peer.mails[-1].content.endswith(story.letters[3].content)
    story.holds()


def _order(story: Tale, window: Window) -> str:
    story.receive(28)
    [disc] = story.discs()
    assert disc["state"] == "offered"
    offer = story.mail("Votre cave a de quoi remplir un DVD")
    assert offer.recipients == (story.company.email,)
    body = email.message_from_bytes(offer.content, policy=email.policy.default)
    kinds = {part.get_content_type() for part in body.walk()}  # type: ignore[attr-defined]
    assert {"text/plain", "text/html"} <= kinds
    window.go("/dvd")
    window.click("Commander")
    assert f"Le DVD {disc['serial']} est commandé." in said(window)
    story.holds()
    return str(disc["serial"])


def _write(story: Tale, serial: str) -> Path:
    written = story.command("disc", "write", serial)
    assert written["state"] == "written"
    assert 0.8 * DISC < written["image_bytes"] <= DISC
    where = story.holds()
    assert where["discs"] == written["messages"]
    assert story.command("disc", "verify", serial)["files"] == written["messages"] + 7
    with psycopg2.connect(story.stage.dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT message_id) FROM body WHERE customer_id = %s",
            (story.company.number,),
        )
        [(bodies,)] = cursor.fetchall()
    assert bodies == where["cabinet"] + where["cellar"]
    return story.stage.server.data / "discs" / f"{serial}.iso"


def _read(story: Tale, image: Path, folder: Path) -> Path:
    disc = folder / "disc"
    # A path below /dev would be taken for a drive.
    what = ("-indev", f"stdio:{image}", "-extract", "/", str(disc))
    command = ["xorriso", "-osirrox", "on", *what]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    manifest = ["sha256sum", "--quiet", "-c", "manifest-sha256.txt"]
    subprocess.run(manifest, cwd=disc, check=True, timeout=60)
    sent = {hashlib.sha256(letter.content).digest() for letter in story.letters}
    read = [path.read_bytes() for path in disc.glob("messages/*/*/*/*.eml")]
    assert all(hashlib.sha256(octets).digest() in sent for octets in read)
    assert len(set(read)) == len(read) == story.where()["discs"]
    return disc


def _look_into(browser: Browser, disc: Path, story: Tale) -> None:
    context = browser.new_context(**FRENCH)
    page = context.new_page()
    page.goto((disc / "index.html").as_uri())
    expect(page.locator("#said")).to_have_text(re.compile(rf"^{story.where()['discs']} messages"))
    page.locator("#subject").fill("DOSSIER 5 A L'ETAGE")
    page.get_by_role("button", name="Chercher").click()
    expect(page.locator("#said")).to_have_text("1 message")
    link = page.locator("#rows a").first.get_attribute("href") or ""
    path = page.evaluate(
        "link => decodeURIComponent(new URL(link, document.baseURI).pathname)", link
    )
    assert Path(path).read_bytes() == story.letters[5].content
    context.close()


def _receive(story: Tale, window: Window, serial: str) -> None:
    story.command("disc", "ship", serial)
    story.command("shelves", "sweep")
    assert story.mail(f"Votre DVD {serial} est en route").recipients == (story.company.email,)
    story.holds()
    window.go("/dvd")
    window.click(f"Reçu : {serial}")
    window.click("Reçu")
    assert f"Le DVD {serial} est reçu" in said(window)
    window.click(serial, "link")
    assert f"Certificat de destruction : DVD {serial}" in said(window)
    [disc] = [one for one in story.discs() if one["serial"] == serial]
    assert disc["manifest_sha256"] in said(window)
    assert disc["state"] == "destroyed"


def test_a_company_that_refuses_its_disc_loses_its_oldest_mail(
    small: Stage, browser: Browser
) -> None:
    """Little by little, as new mail comes in, never more than keeps the cellar under one disc."""
    story = tale(small, "Refus")
    story.receive(32)
    [disc] = story.discs()
    with windows(browser, small) as open_window:
        window = open_window(story.company.email)
        window.go("/dvd")
        window.click("Refuser")
        window.click("Refuser")
        assert f"Le DVD {disc['serial']} est refusé." in said(window)
    story.command("shelves", "sweep")
    where = story.holds()
    assert where["destroyed"] > 0
    assert where["cellar"] * 21 * 2_048 < DISC <= (where["cellar"] + 1) * 21 * 2_048
    kept = [one["subject"] for one in story.stage.server.messages(story.company.number)]
    assert kept == [f"Dossier {n} à l'étage" for n in range(31, where["destroyed"] - 1, -1)]
    story.receive(2)
    assert story.holds()["destroyed"] == where["destroyed"] + 2
    assert story.shown() == story.where()
