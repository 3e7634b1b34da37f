"""Our own key: what it signs others verify; which keys are taken, and what is said of the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred

from mail6m.canonical import Signable
from mail6m.content import Budget, Content
from mail6m.delivery.own import OwnMail
from mail6m.directory import Directory
from mail6m.guard.authentication.answers import Answers
from mail6m.guard.authentication.dkim import verify_all
from mail6m.intake import Receipt, new_message_id
from mail6m.model import Authentication, Envelope
from mail6m.resolver import Answer
from mail6m.settings import Settings, SettingsError
from mail6m.signing import Signer, make_key, public_record, published, read_key
from tests.keys import WEAK
from tests.zone import _rdata

NOW = 1_700_000_000.0
NAME = "mail6m._domainkey.mail6m.test"
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())


def _pem(password: bytes = b"") -> bytes:
    """A key that is neither RSA nor Ed25519, locked perhaps."""
    lock = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return ELLIPTIC.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock
    )


BOUNCE = (
    b"From: Mail Delivery System <mailer-daemon@mail6m.test>\r\n"
    b"To: <anne@example.org>\r\n"
    b"Subject: Undelivered\r\n"
    b"Auto-Submitted: auto-replied\r\n"
    b"\r\n"
    b"It could not be  delivered.\r\n"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A key of each kind."""
    folder = tmp_path_factory.mktemp("keys")
    paths = {kind: folder / f"{kind}.pem" for kind in ("rsa", "ed25519")}
    for kind, path in paths.items():
        make_key(path, kind)
    return paths


def _signer(path: Path | None, **more: str) -> Signer:
    return Signer(Settings(signing_key=path, hostname="mail6m.test", **more), lambda: NOW)


def _by_dkimpy(octets: bytes, key: Path) -> bool:
    record = public_record(read_key(key)).encode()
    return bool(dkim.verify(octets, dnsfunc=lambda name, timeout=5: record))


def _by_us(octets: bytes, key: Path) -> list[str]:
    header, _, body = octets.partition(b"\r\n\r\n")
    record = _rdata("TXT", public_record(read_key(key)))
    answers = Answers(lambda name, kind: Answer((record,), False, 300, exists=True))
    message = Signable(header, lambda: [body])
    return [one.signature.result for one in verify_all(message, answers, NOW)]


def test_what_we_write_is_signed(keys: dict[str, Path]) -> None:
    """By dkimpy it verifies: the field names domain and selector, and covers From once more."""
    signed = _signer(keys["rsa"]).sign_own(BOUNCE)
    assert signed.endswith(BOUNCE)
    assert _by_dkimpy(signed, keys["rsa"])
    assert b"d=mail6m.test; s=mail6m; t=1700000000;" in signed
    assert b"h=from:to:subject:auto-submitted:from;" in signed
    assert max(map(len, signed.split(b"\r\n"))) < 79
    assert not _by_dkimpy(b"From: <boss@evil.test>\r\n" + signed, keys["rsa"])


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_both_kinds_of_key(keys: dict[str, Path], kind: str) -> None:
    """Ed25519 (RFC 8463) as well, and what is changed afterwards is found out."""
    signed = _signer(keys[kind]).sign_own(BOUNCE)
    assert _by_us(signed, keys[kind]) == ["pass"]
    assert _by_us(signed.replace(b"could not", b"could"), keys[kind]) == ["fail"]


_VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=40)


@given(_VALUE, _VALUE, st.lists(_VALUE))
def test_whatever_we_write_verifies(
    keys: dict[str, Path], subject: str, name: str, lines: list[str]
) -> None:
    """Any words in the header, long lines, spaces at the ends, in any alphabet."""
    body = "".join(f"{line}\r\n" for line in lines)
    octets = f"From: {name} <a@mail6m.test>\r\nSubject: {subject}\r\n\r\n{body}".encode()
    assert _by_us(_signer(keys["ed25519"]).sign_own(octets), keys["ed25519"]) == ["pass"]


def test_without_a_key_nothing_is_signed_or_sealed() -> None:
    """It costs nothing, and changes nothing."""
    signer = _signer(None)
    assert signer.sign_own(BOUNCE) is BOUNCE
    judged = Authentication(arc="none", results="spf=none")
    assert not signer.seals(judged)
    assert signer.seal_arc(b"From: a\r\n\r\n", b"", judged, "mail6m.test") == b""


@pytest.mark.parametrize(
    ("header", "judged"),
    [
        (b"From: a\r\n", Authentication()),
        (b"From: a\r\n", Authentication(arc="", results="spf=none")),
        (b"From: a\r\n", Authentication(arc="fail", results="spf=none")),
        (b"From: a\r\n", Authentication(arc="pass", results="spf=none")),
        (b"From: a\r\nARC-Seal: i=1; x\r\n", Authentication(arc="none", results="spf=none")),
    ],
)
def test_what_cannot_be_vouched_for_is_not_sealed(
    keys: dict[str, Path], header: bytes, judged: Authentication
) -> None:
    """Nothing was looked into, the chain is broken, or the header is not what was looked at."""
    assert _signer(keys["ed25519"]).seal_arc(header, b"", judged, "mail6m.test") == b""


def test_a_message_that_is_all_fields_is_sealed_in_bounded_size(keys: dict[str, Path]) -> None:
    """Thousands of To do not make thousands of names in h=, and hundreds of From are no matter."""
    judged = Authentication(arc="none", results="spf=none")
    header = b"To: a\r\nFrom: b\r\n" * 20_000
    sealed = _signer(keys["ed25519"]).seal_arc(header, b"x", judged, "mail6m.test")
    assert len(sealed) < 2_000


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_bytes(b"nothing"), "not a PEM key"),
        (lambda path: path.write_bytes(_pem()), "Ed25519"),
        (lambda path: path.write_bytes(WEAK), "768 bits are too few"),
        (lambda path: path.mkdir(mode=0o700), "Is a directory"),
    ],
)
def test_keys_that_cannot_be_used(tmp_path: Path, make: Callable[[Path], object], why: str) -> None:
    """The start ends with one line that says what is wrong with the file."""
    path = tmp_path / "key.pem"
    make(path)
    if path.is_file():
        path.chmod(0o600)
    with pytest.raises(SettingsError, match=f"--signing-key {re.escape(str(path))}: .*{why}"):
        _signer(path)


def test_a_key_that_everybody_may_read_is_none(tmp_path: Path) -> None:
    """A group may, as that is how services are given their secrets."""
    path = tmp_path / "key.pem"
    make_key(path, "ed25519")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    read_key(path)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="everybody may read it"):
        read_key(path)


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    """It may be the one that is published."""
    path = tmp_path / "key.pem"
    make_key(path, "ed25519")
    with pytest.raises(FileExistsError):
        make_key(path, "ed25519")


@pytest.mark.parametrize(
    "more",
    [
        {"signing_domain": "a b"},
        {"signing_domain": "[192.0.2.1]"},
        {"signing_selector": "../x"},
        {"signing_selector": "a;b"},
    ],
)
def test_names_that_cannot_be_published(keys: dict[str, Path], more: dict[str, str]) -> None:
    """They would stand in a header, and in the DNS."""
    with pytest.raises(SettingsError, match=r"--signing-(domain|selector) "):
        _signer(keys["ed25519"], **more)


def test_the_record_is_what_a_zone_takes(keys: dict[str, Path]) -> None:
    """Its strings have no more than 255 octets, and together they are the key."""
    record = public_record(read_key(keys["rsa"]))
    strings = re.findall(r'"([^"]*)"', published(NAME, record))
    assert published(NAME, record).startswith(f'{NAME}. IN TXT "v=DKIM1; k=rsa; p=')
    assert "".join(strings) == record
    assert all(len(one) <= 255 for one in strings)
    assert public_record(read_key(keys["ed25519"])).startswith("v=DKIM1; k=ed25519; p=")


class _Queue:
    """The way in, which keeps what it is given."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def submit(
        self, customer: int, envelope: Envelope, destination: str, content: Content
    ) -> Receipt:
        self.taken.append(content.whole())
        return Receipt(new_message_id(0))


class _Nobody(Directory):
    def __init__(self) -> None:
        pass

    async def owner(self, address: str) -> None:
        return None


def test_all_mail_of_our_own_goes_out_signed(keys: dict[str, Path], tmp_path: Path) -> None:
    """Bounces, warnings and letters have one way into the queue, and it signs."""
    queue = _Queue()
    own = OwnMail(
        "mail6m.test",
        _Nobody(),
        queue,
        lambda: Content(Budget(1 << 20), tmp_path, 1 << 20),
        _signer(keys["rsa"]),
    )
    ensureDeferred(own.send(0, "anne@example.org", BOUNCE))
    [octets] = queue.taken
    assert octets.endswith(BOUNCE)
    assert _by_dkimpy(octets, keys["rsa"])
