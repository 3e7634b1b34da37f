"""Who judges the pages, both from npm: axe-core their use, html-validate their markup."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import Page

from tests.harness import require

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
INSTALL_SECONDS = 300.0


def install() -> None:
    """What package-lock.json says; nothing is fetched when it is there already."""
    npm = require("npm", "npm")
    installed, wanted = MODULES / ".package-lock.json", HERE / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    assert done.returncode == 0, f"npm ci: {done.stderr}"


class Axe:
    """Says what stands in the way of somebody who cannot see, hear or point well."""

    # Nothing is fetched once more: no rule that is on by default asks for style sheets' texts, and
    # no page has sound.
    _RUN = """async () => (await axe.run(
            document, { resultTypes: ["violations"], preload: false })).violations
        .flatMap(({ id, help, nodes }) => nodes.map(
            node => `${id}: ${help}: ${node.target} (${node.failureSummary})`))"""

    def __init__(self) -> None:
        self._source = (MODULES / "axe-core" / "axe.min.js").read_text(encoding="utf-8")

    def wait_in(self, page: Page) -> None:
        """Be there already wherever that page goes: half as long as coming each time."""
        page.add_init_script(self._source)

    def faults(self, page: Page) -> list[str]:
        """Violations of any of its rules, as the page is shown now."""
        if not page.evaluate("'axe' in window"):
            page.evaluate(self._source)  # not as a script of the page: its CSP would forbid that
        faults: list[str] = page.evaluate(self._RUN)
        return faults


class HtmlJudge:
    """html-validate's recommended rules, in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [require("node", "nodejs"), "judge.mjs"],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def faults(self, html: str) -> list[str]:
        """What is wrong with a page, as the server sent it."""
        source: Any = self._process.stdin
        answers: Any = self._process.stdout
        source.write(json.dumps(html) + "\n")
        source.flush()
        faults: list[str] = json.loads(answers.readline())
        return faults
