"""The certificates that clients are shown, by handshakes in memory."""

from __future__ import annotations

import datetime
import errno
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from OpenSSL import SSL
from twisted.logger import formatEvent, globalLogPublisher

from mail6m.certificates import Certificates, self_signed
from mail6m.settings import SettingsError
from tests.certificate_files import renew, renew_rsa, replace

NOW = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


class Place:
    """A directory with chains and keys, and the options that name them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.files: list[tuple[Path, Path]] = []

    def add(self, *names: str, now: datetime.datetime = NOW) -> int:
        """A certificate of one more pair; its serial number."""
        chain = self._directory / f"{len(self.files)}.crt"
        self.files.append((chain, chain.with_suffix(".key")))
        return renew(chain, *names, now=now)

    def renew(self, which: int, *names: str) -> int:
        """Another certificate and key in the place of a pair's; its serial number."""
        return renew(self.files[which][0], *names, now=NOW)

    def certificates(self) -> Certificates:
        """As a server has them."""
        return Certificates(self.files)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty one."""
    return Place(tmp_path)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What the log has been told of certificates."""
    said: list[str] = []

    def hear(event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "mail6m.certificates.Certificates":
            said.append(formatEvent(event))

    globalLogPublisher.addObserver(cast(Any, hear))
    yield said
    globalLogPublisher.removeObserver(cast(Any, hear))


def unjudging() -> ssl.SSLContext:
    """A client's context that takes any certificate, and offers every cipher."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


class Handshake:
    """A client's session with a server of those certificates, its octets carried by hand."""

    def __init__(
        self, certificates: Certificates, name: str | None = None, context: Any = None
    ) -> None:
        self._server = certificates.serverConnectionForTLS(cast(Any, None))
        self._server.set_accept_state()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = (context or unjudging()).wrap_bio(self._in, self._out, server_hostname=name)
        while not self._step(self.client.do_handshake, ssl.SSLWantReadError):
            self._carry()
            self._step(self._server.do_handshake, SSL.WantReadError)
            self._carry()

    def _step(self, step: Callable[[], object], unfinished: type[Exception]) -> bool:
        try:
            step()
        except unfinished:
            return False
        return True

    def _carry(self) -> None:
        if said := self._out.read():
            self._server.bio_write(said)
        self._step(lambda: self._in.write(self._server.bio_read(1 << 16)), SSL.WantReadError)

    @property
    def serial(self) -> int:
        """Of the certificate that was shown."""
        der = self.client.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number

    def says(self, text: bytes) -> bytes:
        """What the server hears when the client says it."""
        self.client.write(text)
        self._carry()
        heard: bytes = self._server.recv(1 << 10)
        return heard


# Which one


@pytest.mark.parametrize(
    ("asked", "which"),
    [
        (None, 0),
        ("mx.example.org", 0),
        ("mx.example.net", 1),
        ("MX.Example.NET", 1),
        ("mail.example.com", 2),
        ("special.example.com", 1),
        ("deep.mail.example.com", 0),
        ("example.com", 0),
        ("elsewhere.test", 0),
    ],
)
def test_the_name_that_is_asked_for(place: Place, asked: str | None, which: int) -> None:
    """By SAN, a name before a wildcard of one label (RFC 6125, 6.4.3); else the first pair."""
    serials = [
        place.add("mx.example.org"),
        place.add("mx.example.net", "special.example.com"),
        place.add("*.example.com"),
    ]
    assert Handshake(place.certificates(), asked).serial == serials[which]


def test_two_for_a_name(place: Place) -> None:
    """The earlier pair has it."""
    serials = [place.add("a.test"), place.add("b.test"), place.add("b.test", "c.test")]
    certificates = place.certificates()
    assert Handshake(certificates, "b.test").serial == serials[1]
    assert Handshake(certificates, "c.test").serial == serials[2]


def test_a_whole_chain_is_shown(place: Place) -> None:
    """What stands behind the certificate in its file is sent along."""
    place.add("mx.example.org")
    issuer, _ = self_signed(["Issuer"], NOW)
    chain = place.files[0][0]
    replace(chain, chain.read_bytes() + issuer)
    session = Handshake(place.certificates())
    assert len(session.client._sslobj.get_unverified_chain()) == 2  # type: ignore[attr-defined]


# What is agreed on


@pytest.fixture(scope="module")
def with_rsa(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate that even the weakest ciphers could be used with."""
    chain = tmp_path_factory.mktemp("rsa") / "rsa.crt"
    renew_rsa(chain, "mx.example.org")
    return Certificates([(chain, chain.with_suffix(".key"))])


def offering(ciphers: str) -> ssl.SSLContext:
    """A client's context that knows TLS 1.2 and those ciphers alone."""
    context = unjudging()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    return context


@pytest.mark.parametrize(
    "ciphers",
    ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256", "aNULL"],
)
def test_ciphers_of_yesterday(with_rsa: Certificates, ciphers: str) -> None:
    """A client with nothing but RSA key exchange, CBC, finite fields or no key gets no session."""
    with pytest.raises(SSL.Error, match="no shared cipher"):
        Handshake(with_rsa, context=offering(ciphers))


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"])
def test_ciphers_of_today(with_rsa: Certificates, cipher: str) -> None:
    """TLS 1.2 with forward secrecy and authenticated encryption."""
    session = Handshake(with_rsa, context=offering(f"ECDHE-RSA-{cipher}"))
    agreed = session.client.cipher()
    assert agreed is not None
    assert agreed[:2] == (f"ECDHE-RSA-{cipher}", "TLSv1.2")


# When the files change


def test_a_renewal(place: Place) -> None:
    """The next handshake has the new certificate, under its new names; a session goes on."""
    place.add("mx.example.org")
    old = place.add("mx.example.net")
    certificates = place.certificates()
    before = Handshake(certificates, "mx.example.net")
    new = place.renew(1, "mx.example.net", "more.example.net")
    assert Handshake(certificates, "more.example.net").serial == new
    assert Handshake(certificates, "mx.example.net").serial == new
    assert (before.serial, before.says(b"NOOP")) == (old, b"NOOP")


def test_a_renewal_that_is_broken(place: Place, warnings: list[str]) -> None:
    """The old pair goes on, with one warning for each change; others are renewed meanwhile."""
    old = place.add("mx.example.org")
    place.add("mx.example.net")
    certificates = place.certificates()
    replace(place.files[0][1], b"half of a k")
    assert [Handshake(certificates).serial for _ in range(3)] == [old] * 3
    assert len(warnings) == 1
    assert "keeping the former certificate" in warnings[0]
    assert str(place.files[0][1]) in warnings[0]
    new = place.renew(1, "mx.example.net")
    assert Handshake(certificates, "mx.example.net").serial == new
    place.files[0][0].unlink()
    assert [Handshake(certificates).serial for _ in range(3)] == [old] * 3
    assert len(warnings) == 2
    mended = place.renew(0, "mx.example.org")
    assert Handshake(certificates).serial == mended
    assert len(warnings) == 2


def test_a_key_that_comes_after_its_chain(place: Place) -> None:
    """Between the two writes of a renewal the old pair serves, after them the new one."""
    old = place.add("mx.example.org")
    certificates = place.certificates()
    chain, key = self_signed(["mx.example.org"], NOW)
    replace(place.files[0][0], chain)
    assert Handshake(certificates).serial == old
    replace(place.files[0][1], key)
    assert Handshake(certificates).serial == x509.load_pem_x509_certificate(chain).serial_number


def test_files_that_could_not_be_read_for_a_while(
    place: Place, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process has no descriptor left: they are tried again, and warned of once."""
    place.add("mx.example.org")
    certificates = place.certificates()
    new = place.renew(0, "mx.example.org")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", _no_descriptor)
        assert Handshake(certificates).serial != new
        certificates.look(NOW)
        certificates.look(NOW)
    assert len(warnings) == 1
    assert Handshake(certificates).serial != new  # not at every handshake
    certificates.look(NOW)
    assert Handshake(certificates).serial == new


def _no_descriptor(path: Path) -> bytes:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))


# What cannot be used at the start


def _encrypted(place: Place) -> None:
    from cryptography.hazmat.primitives import serialization as form

    path = place.files[0][1]
    key = form.load_pem_private_key(path.read_bytes(), None)
    secret = form.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, secret)
    path.write_bytes(pem)


BROKEN: dict[str, Callable[[Place], object]] = {
    "no chain": lambda place: place.files[0][0].unlink(),
    "no key": lambda place: place.files[0][1].unlink(),
    "no PEM": lambda place: place.files[0][0].write_bytes(b"-----BEGIN CERTIFICATE-----"),
    "nothing": lambda place: place.files[0][0].write_bytes(b""),
    "another's key": lambda place: place.files[0][1].write_bytes(self_signed(["x"], NOW)[1]),
    "a key with a password": _encrypted,
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_cannot_be_used(place: Place, fault: str) -> None:
    """Each fault is one line that names the options; nobody is asked for a password."""
    place.add("mx.example.org")
    BROKEN[fault](place)
    with pytest.raises(SettingsError, match=r"--tls-cert \S+ and --tls-key \S+: \S") as caught:
        place.certificates()
    assert "\n" not in str(caught.value)


# Until when


def test_an_end_that_is_near(place: Place, warnings: list[str]) -> None:
    """From 14 days before its end on, a certificate is warned of, once a day."""
    made = NOW - 3_653 * DAY
    place.add("mx.example.org", now=made + 14 * DAY)
    place.add("mx.example.net", now=made + 15 * DAY)
    certificates = place.certificates()
    certificates.look(NOW)
    assert warnings == []
    for minutes in range(0, 2_880, 720):
        certificates.look(NOW + DAY + datetime.timedelta(minutes=minutes))
    assert len(warnings) == 3
    assert str(place.files[0][0]) in warnings[0]
    assert "2026-12-12" in warnings[0]


def test_ends_by_name(place: Place) -> None:
    """Every name has the end of the certificate that it is answered with."""
    place.add("mx.example.org", "*.example.org")
    place.add("mx.example.org", "other.test", now=NOW + DAY)
    later = 3_653 * DAY
    assert dict(place.certificates().ends()) == {
        "mx.example.org": NOW + later,
        "*.example.org": NOW + later,
        "other.test": NOW + DAY + later,
    }


def test_a_look_reads_what_has_changed(place: Place) -> None:
    """Without a client, too, so that the figures are those of the new file."""
    place.add("mx.example.org")
    certificates = place.certificates()
    place.renew(0, "new.test")
    certificates.look(NOW)
    assert [name for name, _ in certificates.ends()] == ["new.test"]


def test_a_long_name(place: Place) -> None:
    """Longer than a common name may be, it stands in the SAN, and is found there."""
    name = f"{'a' * 40}.{'b' * 40}.test"
    serial = place.add(name)
    assert Handshake(place.certificates(), name).serial == serial
