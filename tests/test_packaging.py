"""The wheel: complete, and at work away from the checkout. The example of its configuration."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import fields
from pathlib import Path

import pytest

import mail6m
from mail6m.settings import Settings

CHECKOUT = Path(__file__).resolve().parent.parent
TWISTD = ("-c", "from twisted.scripts.twistd import run; run()")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build folder left in the checkout could hide a mistake."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, source)
    for name in ("mail6m", "twisted"):
        leave = shutil.ignore_patterns("__pycache__", "dropin.cache")
        shutil.copytree(CHECKOUT / name, source / name, ignore=leave)
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    _run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", built, source, cwd=source)
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    """The names of all files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the wheel, and the present one's libraries."""
    home = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(home, symlinks=True)
    interpreter = home / "bin" / "python"
    offline = ("--no-deps", "--no-index", "--quiet")
    _run(sys.executable, "-m", "pip", "--python", interpreter, "install", *offline, wheel, cwd=home)
    # Named in a .pth file, our own folder comes last, and its .pth files (an editable Mail6M) do
    # not count.
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def test_the_wheel_is_of_the_version_that_the_package_states(wheel: Path) -> None:
    """setup.py reads the version without importing, and reads it right."""
    assert wheel.name.startswith(f"mail6m-{mail6m.__version__}-")


def test_the_wheel_holds_every_file_of_the_package(contents: set[str]) -> None:
    """No module, migration, template or picture of the checkout is left behind."""
    files = (path for path in (CHECKOUT / "mail6m").rglob("*") if path.is_file())
    expected = {
        path.relative_to(CHECKOUT).as_posix() for path in files if path.parent.name != "__pycache__"
    }
    assert expected - contents == set()


def test_the_wheel_holds_the_plugin_without_a_package_of_twisted(contents: set[str]) -> None:
    """An __init__.py of ours in twisted/plugins would hide Twisted's own plugins."""
    ours = {name for name in contents if name.startswith("twisted/")}
    assert ours == {"twisted/plugins/mail6m_plugin.py"}


def test_the_wheel_holds_nothing_of_the_tests(contents: set[str]) -> None:
    """Only mail6m, its plugin and the wheel's own records are installed."""
    roots = {name.split("/")[0] for name in contents}
    assert roots == {"mail6m", "twisted", f"mail6m-{mail6m.__version__}.dist-info"}


def test_twistd_lists_mail6m_away_from_the_checkout(python: Path, tmp_path: Path) -> None:
    """The plugin is found where the wheel puts it, not where the checkout has it."""
    assert "mail6m" in _run(python, *TWISTD, "--help", cwd=tmp_path)


def test_twistd_knows_the_options_away_from_the_checkout(python: Path, tmp_path: Path) -> None:
    """The service can be loaded from the installed package."""
    assert "--smarthost" in _run(python, *TWISTD, "mail6m", "--help", cwd=tmp_path)


def test_the_operators_command_is_installed(python: Path, tmp_path: Path) -> None:
    """`mail6m` stands beside the interpreter and explains itself."""
    assert "customer" in _run(python.parent / "mail6m", "--help", cwd=tmp_path)


def test_the_example_configuration_shows_every_setting_with_its_default() -> None:
    """deploy/mail6m.toml neither leaves a setting out, nor invents one, nor misstates a default."""
    example = (CHECKOUT / "deploy" / "mail6m.toml").read_text(encoding="utf-8")
    chosen = tomllib.loads(example)
    shown = tomllib.loads(re.sub(r"^# (?=[a-z-]+ = )", "", example, flags=re.MULTILINE))
    assert list(shown) == [field.name.replace("_", "-") for field in fields(Settings)]
    for field in fields(Settings):
        name = field.name.replace("_", "-")
        value = tuple(shown[name]) if isinstance(shown[name], list) else shown[name]
        if name not in chosen and isinstance(field.default, (int, float, str, tuple)):
            assert value == field.default, name


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
