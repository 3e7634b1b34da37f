"""A server, companies with mail, and Chromium; shared by the tests of the folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from mail6m.storage.embedded import Embedded
from tests.browser.letters import DOMAIN, Letter, awkward, brochure, ordinary
from tests.browser.stage import Company, Open, Stage, windows
from tests.harness import LOOPBACK, Say, Server, new_place, require
from tests.paypal import SECRET, paid_by, paypal
from tests.scripted_peer import Peer
from tests.zone import Zone

_QUIET = (
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    """A server at work."""
    chromium()
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(Peer())
        place = stack.enter_context(new_place())
        zone = stack.enter_context(Zone())
        cashier = stack.enter_context(paypal())
        secret = place / "paypal-secret"
        secret.write_text(SECRET)
        options = ("--mx", "mx1.mail6m.com", "--smarthost", f"{LOOPBACK}:{peer.port}")
        options += ("--dns", str(zone.host), *paid_by(cashier, secret))
        server = stack.enter_context(Server(place, *options))
        database = Embedded(server.data / "postgres")
        stack.callback(database.leave)
        yield Stage(server, peer, database.start(), zone, cashier)


@pytest.fixture(scope="package")
def letters() -> list[Letter]:
    """What is in Duchemin's cabinet, from its top: nine pages, the last one not full."""
    return [*brochure(), *awkward(), *ordinary(154)]


@pytest.fixture(scope="package")
def duchemin(stage: Stage, letters: list[Letter]) -> Company:
    """A company with mail, which tests look at and leave as it is."""
    company = stage.company("Duchemin", DOMAIN)
    stage.send(reversed(letters))
    stage.index(company)
    stage.sql(
        "UPDATE message SET spam = subject LIKE '%%GAGN%%' WHERE customer_id = %s",
        (company.number,),
    )
    return company


@pytest.fixture(scope="package")
def reader(stage: Stage, duchemin: Company) -> str:
    """The address of an account of Duchemin's that may only read."""
    return stage.reader(duchemin)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Each module has its own: playwright's loop must not outlive the folder's tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=_QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_window(stage: Stage, browser: Browser) -> Iterator[Open]:
    """Opens windows; at the end none of them may have seen trouble."""
    with windows(browser, stage) as opens:
        yield opens


@pytest.fixture
def shots(testrun_uid: str, say: Say) -> Path:
    """This run's folder of screenshots: what ``MAIL6M_SCREENSHOTS`` names, else a new one."""
    named = os.environ.get("MAIL6M_SCREENSHOTS")
    folder = Path(named or Path(tempfile.gettempdir(), f"mail6m-screenshots-{testrun_uid[:12]}"))
    folder.mkdir(parents=True, exist_ok=True)
    say(f"screenshots of the console: {folder}")
    return folder


def chromium() -> str:
    """Debian's Chromium; the one that has no windows of its own, if it is there.

    It shows the same pages, and a new page takes a quarter of the time.
    """
    shell = shutil.which("chromium-headless-shell")
    return shell or require("chromium", "chromium-headless-shell")
