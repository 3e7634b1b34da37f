"""The documents say what the program has: settings, metrics, commands, modules, links."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from twisted.internet.task import Clock

from mail6m.cli import parser
from mail6m.journal import Journal
from mail6m.settings import Settings

CHECKOUT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
OPERATIONS = CHECKOUT / "docs" / "operations.md"

SETTING = re.compile(r"^\| `--([a-z-]+)` \| (.+?) \| (.+?) \|", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def _default(name: str) -> str:
    """A setting's default as operations.md writes it."""
    [setting] = [one for one in fields(Settings) if one.name == name]
    if setting.default is MISSING:
        return "the machine's full name"
    if setting.default is None or setting.default == ():
        return "none"
    values = setting.default if isinstance(setting.default, tuple) else (setting.default,)
    return ", ".join(f"`{value}`" for value in values)


def test_every_setting_is_documented_with_its_default_and_unit() -> None:
    """docs/operations.md neither leaves a setting out, nor invents one, nor misstates a default."""
    stated = {match[1]: match[2] for match in SETTING.finditer(OPERATIONS.read_text("utf-8"))}
    names = [one.name for one in fields(Settings)]
    assert stated == {name.replace("_", "-"): _default(name) for name in names}
    units = [match[3].strip() for match in SETTING.finditer(OPERATIONS.read_text("utf-8"))]
    assert all(units)


def test_every_metric_is_documented() -> None:
    """What /metrics shows and what docs/operations.md lists are the same."""
    shown = generate_latest(Journal(Clock()).registry).decode()
    exposed = set(re.findall(r"^# TYPE (\w+)", shown, re.MULTILINE))
    listed = re.findall(
        r"^\| `(mail6m_\w+)(?:\{[\w,]+\})?` \|", OPERATIONS.read_text("utf-8"), re.M
    )
    assert set(listed) == exposed


def _commands(of: argparse.ArgumentParser, said: str) -> Iterator[tuple[str, set[str]]]:
    """Every command under a parser, and its own options."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _commands(below, f"{said} {name}")
            return
    options = {option for action in of._actions for option in action.option_strings}
    yield said, {option for option in options if option.startswith("--")} - {"--help", "--json"}


@pytest.mark.parametrize(("command", "options"), list(_commands(parser(), "mail6m")))
def test_every_command_is_documented(command: str, options: set[str]) -> None:
    """Each command has its row in docs/operations.md, with every option that it takes."""
    rows = re.findall(rf"^\| `{command}\b(.*)` \|", OPERATIONS.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 1
    assert {one for one in options if one not in rows[0]} <= {"--verify-recipients"}


def test_every_module_is_on_the_map() -> None:
    """docs/architecture.md names each module, so that the map grows with the house."""
    text = (CHECKOUT / "docs" / "architecture.md").read_text("utf-8")
    modules = {path.name for path in (CHECKOUT / "mail6m").rglob("*.py")} - {"__init__.py"}
    assert {name for name in modules if not re.search(rf"\b{re.escape(name)}\b", text)} == set()


def _anchors(path: Path) -> set[str]:
    """The fragments that a document's headings can be reached by, as GitHub makes them."""
    headings = HEADING.findall(FENCED.sub("", path.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link is to a file that is there, and its fragment to one of its headings."""
    for target in LINK.findall(FENCED.sub("", document.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), f"{target} is not there"
        assert not fragment or fragment in _anchors(path), f"{target} has no such heading"
