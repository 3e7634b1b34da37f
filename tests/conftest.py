"""What tests share: places that a private PostgreSQL can live in, one database for many, a say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mail6m.storage.embedded import Embedded
from mail6m.storage.migrate import migrate
from tests.harness import Say, new_place
from tests.shelved import House, make_house
from tests.stored import make_template, new_database, new_pool

_SAID = "said"

LONGEST = [
    "browser/test_gallery.py",
    "test_destination_faults.py",
    "test_disc_faults.py",
    "test_faults.py",
    "browser/test_story.py",
    "test_api_fuzz.py",
    "browser/test_list.py",
    "browser/test_domains.py",
    "browser/test_search.py",
    "browser/test_settings.py",
    "browser/test_paying.py",
    "browser/test_quarter.py",
    "browser/test_leaving.py",
    "browser/test_account.py",
    "browser/test_signin.py",
    "browser/test_disc_index.py",
    "browser/test_notices.py",
    "browser/test_subscribing.py",
    "test_money.py",
    "test_document.py",
    "test_facturx.py",
    "test_api.py",
    "test_console_strangers.py",
    "test_console_noise.py",
    "test_end_to_end.py",
    "test_demo.py",
    "test_guard.py",
    "test_access.py",
    "test_histories.py",
    "test_overflow.py",
    "test_header.py",
    "test_full_disk.py",
]
"""What takes longest comes first, so that no worker is left with it when the others are done.

The browser's files follow each other: a worker sets their stage up once, and goes on with it.
"""


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A directory that PostgreSQL's own account can enter (pytest's own ones are closed to it)."""
    with new_place() as path:
        yield path


@pytest.fixture(scope="session")
def database(place: Path) -> Iterator[str]:
    """The DSN of a real database with today's schema, shared by the tests of a run."""
    embedded = Embedded(place / "postgres")
    dsn = embedded.start()
    migrate(dsn)
    make_template(dsn)
    yield dsn
    embedded.leave()


@pytest.fixture(scope="module")
def dsn(database: str) -> str:
    """The DSN of a database with today's schema in which nobody is but the tests of a file."""
    return new_database(database)


@pytest.fixture(scope="module")
def house(dsn: str) -> Iterator[House]:
    """An archive and what moves mail in it, for all tests of a file."""
    with new_pool(dsn, size=4) as pool:
        yield make_house(dsn, pool)


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Say:
    """Says lines at the end of the run; what a test prints is lost where it runs in a worker."""
    return lambda line: record_property(_SAID, line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of `LONGEST` in front, in that order."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_configure(config: pytest.Config) -> None:
    """Debian keeps some servers' programs where only root's PATH looks."""
    sbin = "/usr/sbin"
    if shutil.which("smtp-sink") is None and Path(sbin, "smtp-sink").exists():
        os.environ["PATH"] += os.pathsep + sbin


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have said, each line once."""
    reports = [one for some in terminalreporter.stats.values() for one in some]
    properties = [pair for one in reports for pair in getattr(one, "user_properties", ())]
    for line in dict.fromkeys(line for name, line in properties if name == _SAID):
        terminalreporter.write_line(line)
