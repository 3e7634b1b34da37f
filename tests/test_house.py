"""The house's rule: imports point one way (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "mail6m"

# From the ground up; a module may import from its own floor and from those below.
FLOORS = [
    {"model", "mail6m"},
    {"settings", "dialogue", "seal", "header", "fold", "content", "batch", "turn", "zones"}
    | {"canonical", "chain", "networks", "texts", "certificates", "proxied", "trust"}
    | {"delivery.schedule", "delivery.bounce"}
    | {"billing.money", "billing.tariff", "billing.months", "billing.invoice"}
    | {"billing.reference", "billing.identifiers", "billing.sellers"}
    | {"billing.statement", "billing.matching", "billing.recognition"},
    {"storage", "smtp"},
    {"directory", "reader", "names", "delivery.trace", "delivery.consignment", "journal"}
    | {"resolver", "signing", "delivery.fields"},
    {"intake", "delivery", "reception", "shelves", "access", "domains", "letters", "guard"}
    | {"billing"}
    | {"oversight"}
    | {"published", "notices"},
    {"web"},
    {"options", "foundation"},
    {"tap"},
    {"cli"},
]
NEVER = {("storage", "smtp"), ("smtp", "storage")}


def _floor(module: str) -> int:
    """The floor of a module named without ``mail6m.``, by its longest known name."""
    names = [module.rsplit(".", cut)[0] for cut in range(module.count(".") + 1)]
    for name in names:
        for number, floor in enumerate(FLOORS):
            if name in floor:
                return number
    raise AssertionError(f"{module} stands on no floor: give it one in this test")


def _modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(HOUSE.rglob("*.py")):
        name = ".".join(path.relative_to(HOUSE).with_suffix("").parts)
        found.append((name.removesuffix(".__init__").replace("__init__", "mail6m"), path))
    return found


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


@pytest.mark.parametrize(("module", "path"), _modules())
def test_imports_point_down(module: str, path: Path) -> None:
    """No module imports from a floor above its own, nor storage from smtp or smtp from storage."""
    for imported in _imports(path):
        if not imported.startswith("mail6m."):
            continue
        name = imported.removeprefix("mail6m.")
        assert _floor(name) <= _floor(module), f"mail6m.{module} imports {imported}"
        assert (module.split(".")[0], name.split(".")[0]) not in NEVER


NO_CONTENT = {"reader", "seal", "content", "intake", "shelves.contents", "shelves.exports"}
"""What could read a message, or open what is sealed."""


@pytest.mark.parametrize(
    ("module", "path"), [one for one in _modules() if one[0].startswith("web.api")]
)
def test_the_api_cannot_reach_content(module: str, path: Path) -> None:
    """No module of it imports what reads bodies; of the archive, only what describes a message."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "mail6m.storage.archive":
            assert {name.name for name in node.names} == {"Details"}
    for imported in _imports(path) - {"mail6m"}:
        name = imported.removeprefix("mail6m.")
        assert name not in NO_CONTENT, f"mail6m.{module} imports {imported}"
        assert not name.startswith(("shelves.disc", "shelves.export"))


@pytest.mark.parametrize(("module", "path"), _modules())
def test_only_storage_speaks_to_the_database(module: str, path: Path) -> None:
    """SQL and its drivers stay in storage; the reactor is imported by nobody but tap and cli."""
    imported = {name.split(".")[0] for name in _imports(path)}
    if not module.startswith("storage"):
        assert not imported & {"psycopg2", "txpostgres"}, f"mail6m.{module} imports a driver"
    if module.split(".")[0] not in ("tap", "cli"):
        assert "twisted.internet.reactor" not in _imports(path)
        assert "import reactor" not in path.read_text("utf-8")
