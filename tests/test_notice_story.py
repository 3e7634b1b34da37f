"""A notice on its way: from a cabinet that fills, through the queue, to one click that ends it."""

from __future__ import annotations

import contextlib
import email
import email.policy
import http.client
import re
import smtplib
from email.message import EmailMessage
from pathlib import Path

import dkim
import psycopg2

from mail6m.signing import make_key, public_record, read_key
from mail6m.storage.embedded import Embedded
from tests.harness import LOOPBACK, Server, new_place
from tests.scripted_peer import Mail, Peer
from tests.test_letters import body

CONSOLE = "https://console.mail6m.test"
PATIENCE = 30.0


def read(mail: Mail) -> EmailMessage:
    """A message as the destination has got it."""
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def one_click(port: int, path: str, form: str, **headers: str) -> int:
    """What a mail provider's machine does (RFC 8058, 3.2), without a cookie; the status."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    with contextlib.closing(connection):
        connection.request("POST", path, form.encode(), kind | headers)
        response = connection.getresponse()
        assert response.getheader("Set-Cookie") is None
        return response.status


def test_a_notice_arrives_and_ends_with_one_click() -> None:
    """Signed with what ends it, by SMTP like all mail; and then there is none of that topic."""
    with Peer() as peer, new_place() as place:
        key = place / "dkim.pem"
        make_key(key, "rsa")
        config = place / "mail6m.toml"
        config.write_text(f'signing-key = "{key}"\nconsole-url = "{CONSOLE}"\n', "utf-8")
        sweep = ("--config", str(config), "shelves", "sweep")  # it signs, as the server would
        with Server(place, "--smarthost", f"{LOOPBACK}:{peer.port}") as server:
            customer = server.add_customer("Duchemin", "georges@duchemin.test")
            server.add_domain("mondomaine.test", customer, peer.port)
            with smtplib.SMTP(LOOPBACK, server.smtp_port, timeout=PATIENCE) as client:
                client.sendmail("a@x.test", "b@mondomaine.test", b"Subject: Un\r\n\r\nBonjour\r\n")
            assert peer.wait_for(lambda p: len(p.mails) == 1, PATIENCE)
            database = Embedded(server.data / "postgres")
            try:
                connection = psycopg2.connect(database.start())
                connection.autocommit = True
                held = "(SELECT sum(bytes) FROM shelf_count WHERE shelf = 0)"
                with contextlib.closing(connection), connection.cursor() as cursor:
                    cursor.execute(f"UPDATE customer SET capacity = {held} * 1.2")  # noqa: S608
                    assert server.command(*sweep)["letters_sent"] == 1
                    assert peer.wait_for(lambda p: len(p.mails) == 2, PATIENCE)
                    cursor.execute(f"UPDATE customer SET capacity = {held} - 1")  # noqa: S608
                    [_, mail] = peer.mails
                    path = _checked(mail, key)
                    for form in ("", "List-Unsubscribe=Two-Clicks"):
                        assert one_click(server.web_port, path, form) == 400
                    assert (
                        one_click(server.web_port, path[:-1], "List-Unsubscribe=One-Click") == 404
                    )
                    asked = {"Origin": "https://mail.example", "Sec-Fetch-Site": "cross-site"}
                    for _ in range(2):
                        form = "List-Unsubscribe=One-Click"
                        assert one_click(server.web_port, path, form, **asked) == 200
                    assert server.command(*sweep)["letters_sent"] == 0
                    cursor.execute(
                        "SELECT count(*) FROM notice"
                        " WHERE kind = 'cabinet_full' AND told_at IS NOT NULL"
                    )
                    assert cursor.fetchall() == [(1,)]
            finally:
                database.leave()
        assert len(peer.mails) == 2


def _checked(mail: Mail, key: Path) -> str:
    """Where its one click leads to; it is what it should be."""
    assert mail.recipients == ("georges@duchemin.test",)
    assert mail.sender == ""
    message = read(mail)
    assert "plein" in message["Subject"]
    record = public_record(read_key(key)).encode()
    assert dkim.verify(mail.content, dnsfunc=lambda name, timeout=5: record)
    covered = re.sub(r"\s", "", str(message["DKIM-Signature"])).partition(";h=")[2]
    names = covered.partition(";")[0].split(":")
    assert {"list-unsubscribe", "list-unsubscribe-post", "auto-submitted"} <= set(names)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    [link] = re.findall(r"^<(https://\S+)>$", message["List-Unsubscribe"])
    for kind in ("plain", "html"):
        assert link in body(message, kind)
    return str(link).removeprefix(CONSOLE)
