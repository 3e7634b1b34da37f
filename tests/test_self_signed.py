"""``mail6m tls self-signed``, and the options that take what it makes."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.python.usage import UsageError

from mail6m.certificates import Certificates
from mail6m.cli import parser, program
from mail6m.options import Options
from mail6m.settings import Settings
from tests.reactor_thread import run, the_reactor


def mail6m(data: Path, *words: str) -> None:
    """A command, as the operator gives it. Raises `SystemExit` when it is refused."""
    options = parser().parse_args(["--data", str(data), *words])
    run(lambda: program.run(the_reactor(), options))


def settings(*words: str) -> Settings:
    """What the server makes of its command line. Raises `UsageError`."""
    options = Options()
    options.parseOptions(words)
    made: Settings = options["settings"]
    return made


def test_a_server_of_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it makes can be used as it says, is for the hostname, and lasts; the key is ours alone.

    No database is started, nor even made.
    """
    data = tmp_path / "data"
    mail6m(data, "--hostname", "MX.Example.org", "--json", "tls", "self-signed")
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["names"] == ["mx.example.org"]
    made = settings(*said["settings"].split())
    [(name, ends)] = Certificates([(made.tls_cert[0], made.tls_key[0])]).ends()
    assert name == "mx.example.org"
    [certificate] = x509.load_pem_x509_certificates(made.tls_cert[0].read_bytes())
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert 3_650 < (ends - certificate.not_valid_before_utc).days < 3_660
    assert stat.S_IMODE(made.tls_key[0].stat().st_mode) == 0o600
    assert sorted(path.name for path in data.iterdir()) == ["keys", "spool"]


def test_names_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each once, wildcards and accents included; a person reads the two options, too."""
    names = ("mx.example.org", "*.Élan.test", "mx.example.org")
    mail6m(tmp_path, "tls", "self-signed", *(word for name in names for word in ("--name", name)))
    keys = tmp_path / "keys"
    assert (
        f"--tls-cert {keys / 'tls.crt'} --tls-key {keys / 'tls.key'}\n" in capsys.readouterr().out
    )
    made = Certificates([(keys / "tls.crt", keys / "tls.key")])
    assert [name for name, _ in made.ends()] == ["mx.example.org", "*.xn--lan-9la.test"]


@pytest.mark.parametrize("name", ["192.0.2.1", "[192.0.2.1]", "two words", "", "*."])
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    """Wrong usage: nothing is made."""
    with pytest.raises(SystemExit) as stop:
        mail6m(tmp_path, "tls", "self-signed", "--name", name)
    assert stop.value.code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["tls.key", "tls.crt"])
def test_nothing_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], there: str
) -> None:
    """A key or a certificate that is there stays, and no other half is made beside it."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / there).write_text("precious")
    with pytest.raises(SystemExit) as stop:
        mail6m(tmp_path, "tls", "self-signed")
    assert stop.value.code == 1
    assert f"{keys / there} is there already" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in keys.iterdir()] == [(there, "precious")]


# The options


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('tls-cert = "a.crt"\ntls-key = "a.key"', (("a.crt",), ("a.key",))),
        (
            'tls-cert = ["a.crt", "b.crt"]\ntls-key = ["a.key", "b.key"]',
            (("a.crt", "b.crt"), ("a.key", "b.key")),
        ),
        ("", ((), ())),
    ],
)
def test_certificates_in_toml(
    tmp_path: Path, toml: str, expected: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    """One file or a list of them."""
    config = tmp_path / "mail6m.toml"
    config.write_text(toml)
    read = settings("--config", str(config))
    assert (read.tls_cert, read.tls_key) == tuple(tuple(map(Path, names)) for names in expected)


def test_certificates_on_the_command_line() -> None:
    """In pairs, in order, however they are mixed."""
    read = settings("--tls-cert=a", "--tls-cert", "b", "--tls-key", "a.key", "--tls-key=b.key")
    assert read.tls_cert == (Path("a"), Path("b"))
    assert read.tls_key == (Path("a.key"), Path("b.key"))


@pytest.mark.parametrize(
    "words", [["--tls-cert=a"], ["--tls-key=a"], ["--tls-cert=a", "--tls-key=a", "--tls-key=b"]]
)
def test_a_chain_without_its_key(words: list[str]) -> None:
    """Nothing starts with one more of either."""
    with pytest.raises(UsageError, match="--tls-cert and --tls-key go together"):
        settings(*words)
