"""Who sends, from the door to the customer's machine: a real server and a real DNS."""

from __future__ import annotations

import smtplib
import urllib.request
from collections.abc import Iterator
from typing import NamedTuple

import dkim
import pytest

from mail6m.signing import make_key, public_record
from tests.harness import LOOPBACK, Server, new_place
from tests.scripted_peer import Mail, Peer
from tests.zone import Zone

PATIENCE = 30.0
US = "mail6m.test"
FORGED = "Authentication-Results: mail6m.test; spf=pass smtp.mailfrom=banque.test\r\n"
ELSEWHERE = "Authentication-Results: mx.other.test; spf=pass\r\n"


class World(NamedTuple):
    """A server to whom we are a stranger, and the machines that its mail goes to."""

    server: Server
    zone: Zone
    machine: Peer
    smarthost: Peer
    customer: int
    record: str
    """The TXT record of the key that the server seals and signs with."""

    def send(self, sender: str, recipient: str = "marie@mondomaine.test") -> None:
        """A message under forged results, which must be accepted."""
        with smtplib.SMTP(LOOPBACK, self.server.smtp_port, timeout=PATIENCE) as client:
            client.sendmail(sender, recipient, letter(sender))

    def relayed(self, sender: str) -> Mail:
        """The message of a sender that the machine has got."""

        def mails(peer: Peer) -> list[Mail]:
            return [mail for mail in peer.mails if mail.sender == sender]

        assert self.machine.wait_for(lambda peer: bool(mails(peer)), PATIENCE)
        return mails(self.machine)[0]

    def look_up(self, name: bytes, timeout: int = 5) -> bytes:
        """For dkimpy."""
        assert name.rstrip(b".") == b"mail6m._domainkey.mail6m.test"
        return self.record.encode()


def letter(sender: str) -> bytes:
    """A message that claims to have been authenticated by us."""
    return (
        f"{FORGED}{ELSEWHERE}From: Anne <{sender}>\r\nTo: marie@mondomaine.test\r\n"
        "Subject: Les plans\r\nDate: Sat, 28 Nov 2026 12:00:00 +0000\r\n\r\nVoici.\r\n"
    ).encode()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """With a zone of senders of every kind."""
    records = {
        "good.test TXT": "v=spf1 ip4:127.0.0.0/8 -all",
        "_dmarc.good.test TXT": "v=DMARC1; p=reject",
        "fail.test TXT": "v=spf1 ip4:192.0.2.1 -all",
        "_dmarc.fail.test TXT": "v=DMARC1; p=reject",
        "soft.test TXT": "v=spf1 ~all",
        "broken.test TXT": "v=spf1 -all",
        "bounced.test TXT": "v=spf1 ip4:127.0.0.0/8 -all",
    }
    script = {"RCPT gone@mondomaine.test": "550 5.1.1 No such user"}
    with new_place() as place, Zone(records) as zone, Peer(script) as machine, Peer({}) as host:
        zone.failing.add("broken.test")
        key = place / "signing.pem"
        record = public_record(make_key(key, "rsa"))
        options = (
            *("--dns", f"{LOOPBACK}:{zone.port}", "--internal", "192.0.2.0/24"),
            *("--signing-key", str(key), "--smarthost", f"{LOOPBACK}:{host.port}"),
        )
        with Server(place, *options) as server:
            customer = server.add_customer("Duchemin", "georges@duchemin.test")
            server.add_domain("mondomaine.test", customer, machine.port)
            yield World(server, zone, machine, host, customer, record)


@pytest.mark.parametrize(
    ("sender", "results"),
    [
        (
            "anne@good.test",
            "spf=pass smtp.mailfrom=good.test; dkim=none;"
            " dmarc=pass (p=reject) header.from=good.test",
        ),
        (
            "anne@fail.test",
            "spf=fail smtp.mailfrom=fail.test; dkim=none;"
            " dmarc=fail (p=reject) header.from=fail.test",
        ),
        ("anne@soft.test", "spf=softfail smtp.mailfrom=soft.test; dkim=none; dmarc=none"),
        ("anne@broken.test", "spf=temperror smtp.mailfrom=broken.test; dkim=none; dmarc="),
    ],
)
def test_the_customers_machine_is_told(world: World, sender: str, results: str) -> None:
    """By one field of ours, sealed; what claimed to be ours is gone, what others say is not."""
    world.send(sender)
    content = world.relayed(sender).content
    head = content.partition(b"\r\n\r\n")[0].decode() + "\r\n"
    unfolded = head.replace("\r\n\t", " ").replace("\r\n ", " ")
    ours = [
        line for line in unfolded.split("\r\n")
        if line.startswith(f"Authentication-Results: {US};")
    ]  # fmt: skip
    assert len(ours) == 1
    assert ours[0].startswith(f"Authentication-Results: {US}; {results}")
    assert ELSEWHERE in head
    verdict, _, why = dkim.arc_verify(content, dnsfunc=world.look_up)
    assert verdict == b"pass", why


def test_operators_see_how_it_goes(world: World) -> None:
    """By method and result."""
    world.send("figures@good.test")
    world.relayed("figures@good.test")
    with urllib.request.urlopen(f"http://{LOOPBACK}:{world.server.web_port}/metrics") as answer:
        text = answer.read().decode()
    for labels in ('method="spf",result="pass"', 'method="dkim",result="none"'):
        assert f"mail6m_authentication_total{{{labels}}}" in text


def test_the_archive_has_it_as_it_came(world: World) -> None:
    """Forged fields included."""
    world.send("archive@good.test")
    world.relayed("archive@good.test")
    [message] = [
        m for m in world.server.messages(world.customer) if m["sender"] == "archive@good.test"
    ]
    assert world.server.export(world.customer, message["id"]) == letter("archive@good.test")


def test_no_bounce_to_who_has_not_sent_it(world: World) -> None:
    """SPF says it is forged: the delivery fails in silence; another sender is told, and signed."""
    world.send("forged@fail.test", "gone@mondomaine.test")
    world.send("real@bounced.test", "gone@mondomaine.test")
    assert world.smarthost.wait_for(lambda peer: bool(peer.mails), PATIENCE)
    world.server.wait_until_relayed(PATIENCE)
    [bounce] = world.smarthost.mails
    assert bounce.recipients == ("real@bounced.test",)
    assert dkim.verify(bounce.content, dnsfunc=world.look_up)


def send_until_refused(world: World) -> None:
    """The server is told of what has changed while we go on."""
    for number in range(1_000):
        world.send(f"after{number}@fail.test")


def test_dmarc_is_honoured_where_the_customer_asks_for_it(world: World) -> None:
    """Within a moment; until then the message is taken."""
    world.send("before@fail.test")
    world.server.sql("UPDATE preferences SET refuse_forged = true")
    try:
        with pytest.raises(smtplib.SMTPDataError) as refusal:
            send_until_refused(world)
    finally:
        world.server.sql("UPDATE preferences SET refuse_forged = false")
    assert refusal.value.smtp_code == 550
    assert b"5.7.1" in refusal.value.smtp_error
    senders = {m["sender"] for m in world.server.messages(world.customer)}
    assert "before@fail.test" in senders
    assert "after999@fail.test" not in senders
