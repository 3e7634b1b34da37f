"""TLS through the whole server: in, archived, and out to who proves to be the right one."""

from __future__ import annotations

import contextlib
import email
import email.policy
import smtplib
import ssl
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.authority import Authority, the_authority
from tests.harness import Server, new_place, require
from tests.scripted_peer import LOOPBACK, Mail, Peer

EXTENSIONS = ("PIPELINING", "8BITMIME", "DSN", "STARTTLS", "REQUIRETLS")
CONTENT = (
    b"From: Jean <jean@example.org>\r\nTo: Marie <marie@secret.test>\r\nCc: paul@secret.test\r\n"
    b"Message-ID: <1@example.org>\r\nSubject: Le secret\r\n\r\nLe secret.\r\n"
)


class Scene:
    """A server with TLS, its smarthost, and a domain for each kind of host."""

    def __init__(self, server: Server, smarthost: Peer, hosts: dict[str, Peer]) -> None:
        self.server, self.smarthost, self.hosts = server, smarthost, hosts
        self.customer = server.add_customer("Duchemin SA", "marie@mondomaine.fr")
        for name, host in hosts.items():
            server.add_domain(name, self.customer, host.port, "--tls", "opportunistic")
            server.add_domain(f"required.{name}", self.customer, host.port, "--tls", "required")

    def send(self, domain: str, *options: str) -> None:
        """Bring a message for a domain under TLS."""
        context = ssl.create_default_context(cafile=None)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP(LOOPBACK, self.server.smtp_port, "client.test") as client:
            client.starttls(context=context)
            client.ehlo("client.test")
            assert client.has_extn("requiretls")
            client.sendmail("jean@example.org", [f"marie@{domain}"], CONTENT, options)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """Hosts that know REQUIRETLS, do not, and show a stranger's certificate."""
    stranger = Authority("Somebody else").issue(LOOPBACK)
    with new_place() as place, contextlib.ExitStack() as peers:
        key = place / "server.pem"
        key.write_bytes(the_authority().issue("mail6m.test").pem)
        smarthost = peers.enter_context(Peer(extensions=EXTENSIONS))
        hosts = {
            "knows.test": peers.enter_context(Peer(extensions=EXTENSIONS)),
            "does-not.test": peers.enter_context(Peer(extensions=EXTENSIONS[:-1])),
            "stranger.test": peers.enter_context(Peer(extensions=EXTENSIONS, certificate=stranger)),
        }
        options = ["--tls-cert", str(key), "--tls-key", str(key)]
        options += ["--tls-ca", str(the_authority().write(place))]
        options += ["--smarthost", f"{LOOPBACK}:{smarthost.port}"]
        with Server(place, *options) as server:
            yield Scene(server, smarthost, hosts)


def arrived(peer: Peer, recipient: str = "") -> Mail:
    """The one message that a host has, or has for somebody."""

    def found(peer: Peer) -> list[Mail]:
        return [mail for mail in peer.mails if not recipient or recipient in mail.recipients]

    assert peer.wait_for(lambda peer: bool(found(peer)), 30)
    [mail] = found(peer)
    return mail


def put_off(scene: Scene, recipient: str) -> str:
    """What the host has said to a delivery that is still queued, once it has been tried."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for row in scene.server.queue():
            if row["recipient"] == recipient and row["last_reply"]:
                return str(row["last_reply"])
    raise AssertionError(f"nothing has been tried for {recipient}")


def swaks(scene: Scene, recipient: str) -> None:
    """Bring a message by swaks, through TLS."""
    server = ("--server", LOOPBACK, "--port", str(scene.server.smtp_port), "--ehlo", "swaks.test")
    words = ("--from", "jean@example.org", "--to", recipient, "--tls", "--silent", "2")
    command = [require("swaks", "swaks"), *server, *words]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout.decode()


def test_required_is_met(scene: Scene) -> None:
    """By swaks in through TLS, and out to a host whose certificate is good."""
    swaks(scene, "marie@required.knows.test")
    mail = arrived(scene.hosts["knows.test"], "marie@required.knows.test")
    assert mail.tls
    assert b"with ESMTPS" in mail.content


def test_required_is_not_met(scene: Scene) -> None:
    """A stranger's certificate: it is deferred, not sent, and nothing of it has been said."""
    swaks(scene, "marie@required.stranger.test")
    assert put_off(scene, "marie@required.stranger.test").startswith("451 4.7.5 ")
    said = [line for line, _ in scene.hosts["stranger.test"].commands]
    assert not any("required.stranger.test" in line for line in said)


def test_carried_through(scene: Scene) -> None:
    """It goes on with the parameter, to a host that was verified; sent again, it does so again."""
    scene.send("knows.test", "REQUIRETLS")
    mail = arrived(scene.hosts["knows.test"], "marie@knows.test")
    assert mail.tls
    assert "REQUIRETLS" in mail.parameters[0].split()
    [message] = scene.server.messages(scene.customer, 1)
    assert scene.server.export(scene.customer, message["id"]) == CONTENT


def test_what_does_not_ask_for_it(scene: Scene) -> None:
    """Other mail goes to the same hosts as ever."""
    scene.send("stranger.test")
    assert "REQUIRETLS" not in arrived(scene.hosts["stranger.test"]).parameters[0]


def test_a_report_tells_nothing(scene: Scene) -> None:
    """Returned with 5.7.30; the report requires TLS, too, and names the message by its id only."""
    scene.send("does-not.test", "REQUIRETLS", "RET=FULL")
    report = arrived(scene.smarthost)
    assert not scene.hosts["does-not.test"].mails
    assert (report.sender, report.recipients) == ("", ("jean@example.org",))
    assert report.tls
    assert "REQUIRETLS" in report.parameters[0].split()
    parsed = email.message_from_bytes(report.content, policy=email.policy.SMTP)
    _, status, original = parsed.iter_parts()
    about: Any = status.get_payload()
    assert about[1]["Status"] == "5.7.30"
    assert original.get_content_type() == "text/rfc822-headers"
    assert original.get_content().split() == ["Message-ID:", "<1@example.org>"]
    assert b"secret" not in report.content


def test_an_unverified_host_waits_for_better_days(scene: Scene) -> None:
    """A stranger's certificate may be changed: it is deferred, and nothing of it was said."""
    scene.send("stranger.test", "REQUIRETLS")
    assert "450 4.7.10" in put_off(scene, "marie@stranger.test")
    for mail in scene.hosts["stranger.test"].mails:
        assert "REQUIRETLS" not in mail.parameters[0]
