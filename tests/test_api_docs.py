"""docs/api.md says what the API does; and its examples work.

``PYTHONPATH=. python tests/test_api_docs.py`` writes its tables anew.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from mail6m.web.api.operation import PREFIX, Operation, operations_of
from mail6m.web.api.problem import Kind
from mail6m.web.console import OPERATIONS
from tests.console_client import listening, new_house
from tests.harness import require

DOCUMENT = Path(__file__).parent.parent / "docs" / "api.md"
TABLE = [operation for group in OPERATIONS for operation, _ in operations_of(group)]


def operations() -> str:
    """A line for each operation."""
    rows = [["method", "address", "scope", "takes", "what"]]
    return _table(rows + [_row(one) for one in TABLE])


def _row(one: Operation) -> list[str]:
    takes = [parameter.name for parameter in one.parameters if parameter.place != "path"]
    scope = f"`{one.scope.value}`" if one.scope is not None else "any"
    said = ", ".join(f"`{name}`" for name in takes) or "–"
    return [one.method, f"`{PREFIX}{one.path}`", scope, said, one.summary]


def problems() -> str:
    """A line for each kind of problem, by status."""
    rows = [["status", "type", "what"]]
    kinds = sorted(Kind, key=lambda kind: kind.status)
    return _table(rows + [[str(one.status), f"`{one.type}`", one.title] for one in kinds])


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def renewed(text: str) -> str:
    """The document with its tables made anew."""
    for name, made in (("operations", operations()), ("problems", problems())):
        start, end = f"<!-- table: {name} -->\n", "<!-- end -->"
        head, _, rest = text.partition(start)
        text = head + start + made + "\n" + end + rest.partition(end)[2]
    return text


def test_the_tables_are_current() -> None:
    """The document says what there is; write it anew when this fails."""
    text = DOCUMENT.read_text("utf-8")
    assert renewed(text) == text, "run: PYTHONPATH=. python tests/test_api_docs.py"


def test_examples_work(dsn: str) -> None:
    """What is to be typed into a shell answers, with a key and a message that there are."""
    require("curl", "curl")
    examples = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert len(examples) >= 4
    with listening(dsn) as at:
        house = new_house(at)
        known = {
            "MAIL6M": f"http://127.0.0.1:{at.port}",
            "KEY": house.key,
            "MESSAGE": str(house.messages[0]),
            "PATH": "/usr/bin:/bin",
        }
        for example in examples:
            shell = ["sh", "-e", "-c", example]
            said = subprocess.run(shell, env=known, capture_output=True, check=True, timeout=30)
            answer = json.loads(said.stdout)
            assert "status" not in answer, f"{example}: {answer}"
        [[count]] = at.ask("SELECT count(*) FROM api_reissue WHERE customer_id = %s", house.number)
        assert count == 1


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text("utf-8")), "utf-8")
