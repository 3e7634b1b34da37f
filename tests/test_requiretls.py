"""REQUIRETLS through the whole server: in under TLS, archived, out to who keeps it up, reports."""

from __future__ import annotations

import contextlib
import email
import email.policy
import smtplib
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.authority import Authority, the_authority
from tests.harness import Server, new_place
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


def arrived(peer: Peer) -> Mail:
    """The one message that a host has."""
    assert peer.wait_for(lambda peer: bool(peer.mails), 30)
    [mail] = peer.mails
    return mail


def test_carried_through(scene: Scene) -> None:
    """It goes on with the parameter, to a host that was verified; sent again, it does so again."""
    scene.send("knows.test", "REQUIRETLS")
    mail = arrived(scene.hosts["knows.test"])
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
    deadline = time.monotonic() + 30
    reply = ""
    while not reply and time.monotonic() < deadline:
        [row] = [row for row in scene.server.queue() if row["recipient"] == "marie@stranger.test"]
        reply = row["last_reply"]
    assert "450 4.7.10" in reply
    for mail in scene.hosts["stranger.test"].mails:
        assert "REQUIRETLS" not in mail.parameters[0]
