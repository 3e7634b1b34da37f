"""One running server and the peers that the world has: smtplib, swaks, smtp-source, raw sockets.

What comes in is looked up as an operator sees it (``mail6m message list`` and ``export``), and as
a receiving machine sees it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg2
import pytest
import sslyze
from cryptography import x509

from mail6m.model import HOUSE
from mail6m.storage.embedded import Embedded
from tests.certificate_files import renew, renew_rsa
from tests.haproxy import haproxy
from tests.harness import LOOPBACK, ROOT, Server, free_ports, kill, new_place, require
from tests.scripted_peer import Mail, Peer

PATIENCE = 30.0
"""Seconds for what takes a fraction of one, on a machine that is busy with other things."""
LARGEST = 2_000_000
IDN = "café-duchemin.test"
A_LABEL = "xn--caf-duchemin-deb.test"
JEAN, MARIE, VOISIN = "jean@example.org", "marie@mondomaine.fr", "paul@voisin.test"
REPLY = rb"[2-5]\d\d[ -]"
_TRACE = re.compile(rb"Received:[^\r\n]*\r\n(?:\t[^\r\n]*\r\n)*")


class Raw:
    """A session that says what it is told to, octet by octet."""

    def __init__(
        self, server: Server, *, hello: bool = True, port: int = 0, source: str = LOOPBACK
    ) -> None:
        self.socket = socket.create_connection(
            (LOOPBACK, port or server.smtp_port), PATIENCE, source_address=(source, 0)
        )
        self._replies = self.socket.makefile("rb")
        assert self.reply().startswith("220")
        if hello:
            assert self.ask(b"EHLO client.test").startswith("250")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._replies.close()
        self.socket.close()

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> str:
        """One whole reply, its last line first; empty when the server has hung up."""
        lines = []
        while line := self._replies.readline():
            lines.append(line.decode())
            if line[3:4] == b" ":
                break
        return "".join(reversed(lines))

    def ask(self, command: bytes) -> str:
        self.say(command + b"\r\n")
        return self.reply()

    def rest(self) -> bytes:
        """All that comes before the server hangs up, in whatever form."""
        with contextlib.suppress(ConnectionResetError):
            return self._replies.read()
        return b""

    def envelope(self, *recipients: str, sender: str = JEAN, parameters: str = "") -> list[str]:
        """Say MAIL and RCPTs in a group; their replies."""
        lines = [f"MAIL FROM:<{sender}>{parameters}", *(f"RCPT TO:<{to}>" for to in recipients)]
        self.say("".join(f"{line}\r\n" for line in lines).encode())
        return [self.reply() for _ in lines]

    def message(self, *recipients: str, content: bytes, **options: str) -> str:
        """Send a message by DATA, its dots stuffed; the reply to its end."""
        replies = self.envelope(*recipients, **options)
        assert all(reply.startswith("250") for reply in replies), replies
        assert self.ask(b"DATA").startswith("354")
        self.say(re.sub(rb"(?:\A|(?<=\r\n))\.", b"..", content) + b".\r\n")
        return self.reply()

    def secure(self, context: ssl.SSLContext, name: str | None = None) -> ssl.SSLSocket:
        """STARTTLS, the handshake (asking for that name), and EHLO again."""
        assert self.ask(b"STARTTLS").startswith("220")
        self._replies.close()
        secured = context.wrap_socket(self.socket, server_hostname=name)
        self.socket, self._replies = secured, secured.makefile("rb")
        assert self.ask(b"EHLO client.test").startswith("250")
        return secured


def letter(subject: str, text: str = "Bonjour Marie") -> bytes:
    """A small message."""
    return (
        f"From: Jean <{JEAN}>\r\nTo: Marie <{MARIE}>\r\nSubject: {subject}\r\n\r\n{text}\r\n"
    ).encode()


def queue_name(reply: str) -> str:
    """What the 250 of a message calls it."""
    found = re.fullmatch(r"250 2\.0\.0 .* ([0-9a-f-]{36})\r\n", reply)
    assert found, reply
    return found[1]


@dataclass(frozen=True)
class Scene:
    """A server, two customers, and the machines that their mail goes on to."""

    server: Server
    duchemin: int
    voisin: int
    hosts: dict[str, Peer]
    dsn: str
    certificates: list[Path]
    proxied_port: int

    def archived(self, subject: str, customer: int | None = None) -> list[dict[str, Any]]:
        """A customer's messages, Duchemin's if not said, by their subject."""
        number = str(self.duchemin if customer is None else customer)
        words = ("message", "list", "--customer", number, "--subject", subject, "--limit", "1000")
        rows: list[dict[str, Any]] = self.server.command(*words)
        return rows

    def relayed(self, subject: str, count: int = 1, host: str = "duchemin") -> list[Mail]:
        """What a host got under a subject, once it is so many."""
        needle = f"Subject: {subject}\r\n".encode()

        def found(peer: Peer) -> list[Mail]:
            return [mail for mail in peer.mails if needle in mail.content]

        peer = self.hosts[host]
        if not peer.wait_for(lambda peer: len(found(peer)) >= count, PATIENCE):
            raise self.server.error(f"{len(found(peer))} of {count} arrived: {subject}")
        return found(peer)

    def totals(self) -> tuple[int, int, int]:
        """Messages archived for both customers, and messages that arrived."""
        counts = [row["cabinet_messages"] for row in self.server.command("customer", "list")]
        return sum(counts), *(len(peer.mails) for peer in self.hosts.values())

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the web endpoint."""
        url = f"http://{LOOPBACK}:{self.server.web_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def new_data(self, place: Path) -> Path:
        """A data directory beside the server's own, for another process on the same database."""
        shutil.copytree(self.server.data / "keys", place / "data" / "keys")
        return place / "data"

    @contextlib.contextmanager
    def second(self, *options: str) -> Iterator[Server]:
        """Another server on the same database."""
        with new_place() as place:
            self.new_data(place)
            options = ("--database", self.dsn, "--hostname", "second.test", *options)
            with Server(place, *options) as server:
                yield server


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """The server of all the tests here; each tells its messages by a subject of its own."""
    extensions = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 100000000")
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(new_place())
        hosts = {
            name: stack.enter_context(Peer(extensions=extensions))
            for name in ("duchemin", "voisin")
        }
        certificates = [place / f"{name}.crt" for name in ("mail6m", "voisin")]
        tls = []
        renew_rsa(certificates[0], "mail6m.test")
        renew(certificates[1], "mx.voisin.test", "*.voisin.test")
        for path in certificates:
            tls += ["--tls-cert", str(path), "--tls-key", str(path.with_suffix(".key"))]
        [proxied_port] = free_ports(1)
        proxied = ("--smtp", f"haproxy:tcp:{proxied_port}:interface={LOOPBACK}")
        limit = ("--max-message-size", str(LARGEST))
        server = stack.enter_context(Server(place, *tls, *proxied, *limit))
        duchemin = server.add_customer("Duchemin SA", "marie@mondomaine.fr")
        voisin = server.add_customer("Voisin et fils", "paul@voisin.test")
        server.add_domain("mondomaine.fr", duchemin, hosts["duchemin"].port)
        server.add_domain(IDN, duchemin, hosts["duchemin"].port)
        server.add_domain("voisin.test", voisin, hosts["voisin"].port)
        database = Embedded(server.data / "postgres")
        stack.callback(database.leave)
        yield Scene(server, duchemin, voisin, hosts, database.start(), certificates, proxied_port)


def unjudging(**bounds: ssl.TLSVersion) -> ssl.SSLContext:
    """A client's context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    for name, version in bounds.items():
        setattr(context, name, version)
    return context


def serial_of(secured: ssl.SSLSocket) -> int:
    """The serial number of the certificate that the server has shown."""
    der = secured.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def original(mail: Mail) -> bytes:
    """What arrived, behind the one Received field that must be in front of it."""
    trace = _TRACE.match(mail.content)
    assert trace, mail.content[:200]
    return mail.content[trace.end() :]


def trace(mail: Mail) -> str:
    """That field, on one line."""
    return " ".join(mail.content[: -len(original(mail))].decode().split())


# Real peers


def test_smtplib(scene: Scene) -> None:
    """Python's own client, over TLS: archived and relayed, and the trace says how it came."""
    with smtplib.SMTP(LOOPBACK, scene.server.smtp_port, "client.test", PATIENCE) as client:
        client.starttls(context=unjudging())
        assert client.sendmail(JEAN, [MARIE], letter("smtplib")) == {}
    [row] = scene.archived("smtplib")
    assert (row["sender"], row["recipients"], row["shelf"]) == (JEAN, [MARIE], "cabinet")
    assert scene.server.export(scene.duchemin, row["id"]) == letter("smtplib")
    [mail] = scene.relayed("smtplib")
    assert original(mail) == letter("smtplib")
    assert re.fullmatch(
        r"Received: from client\.test \((?:\S+ )?\[127\.0\.0\.1\]\) \(using TLSv1\.3 \w+\)"
        rf" by mail6m\.test \(Mail6M\) with ESMTPS id {row['id']} for <{MARIE}>; .* \+0000",
        trace(mail),
    )


def test_a_suspended_customer(scene: Scene) -> None:
    """Its mail is taken in, archived and relayed as ever."""
    _suspend(scene, True)
    try:
        with smtplib.SMTP(LOOPBACK, scene.server.smtp_port, "client.test", PATIENCE) as client:
            assert client.sendmail(JEAN, [VOISIN], letter("suspendu")) == {}
        assert len(scene.archived("suspendu", scene.voisin)) == 1
        [mail] = scene.relayed("suspendu", host="voisin")
        assert original(mail) == letter("suspendu")
    finally:
        _suspend(scene, False)


def _suspend(scene: Scene, suspended: bool) -> None:
    with contextlib.closing(psycopg2.connect(scene.dsn)) as connection, connection:
        connection.cursor().execute(
            "UPDATE contract SET suspended_at = CASE WHEN %s THEN now() END WHERE customer_id = %s",
            (suspended, scene.voisin),
        )


def test_swaks(scene: Scene) -> None:
    """swaks, over TLS and with PIPELINING."""
    server = ("--server", LOOPBACK, "--port", str(scene.server.smtp_port), "--ehlo", "swaks.test")
    words = ("--from", JEAN, "--to", f"{MARIE},{VOISIN}", "--header", "Subject: swaks")
    command = [require("swaks", "swaks"), *server, *words, "--tls", "--pipeline"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout.decode()
    assert " with ESMTPS " in trace(scene.relayed("swaks")[0])
    assert len(scene.relayed("swaks", host="voisin")) == 1
    assert len(scene.archived("swaks")) == 1


def test_smtp_source(scene: Scene) -> None:
    """Postfix's load generator: each of its messages is archived and arrives once."""
    load = ("-s", "5", "-m", "60", "-l", "5000", "-S", "smtp-source", "-f", JEAN, "-t", MARIE)
    command = [require("smtp-source", "postfix"), *load, f"{LOOPBACK}:{scene.server.smtp_port}"]
    subprocess.run(command, timeout=PATIENCE, check=True)
    assert len(scene.relayed("smtp-source", 60)) == 60
    assert len(scene.archived("smtp-source")) == 60


# STARTTLS (RFC 3207)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_of_today(scene: Scene, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 are spoken, and STARTTLS is offered once."""
    with Raw(scene.server, hello=False) as client:
        assert "STARTTLS" in client.ask(b"EHLO client.test")
        secured = client.secure(unjudging(minimum_version=version, maximum_version=version))
        assert secured.version() == version.name.replace("_", ".")
        assert "STARTTLS" not in client.ask(b"EHLO client.test")
        assert client.ask(b"STARTTLS").startswith("503 5.5.1")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_of_yesterday(scene: Scene) -> None:
    """TLS 1.1 is refused."""
    context = unjudging(
        minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
    )
    with Raw(scene.server) as client, pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        client.secure(context)


def test_commands_injected_before_tls(scene: Scene) -> None:
    """What stands in clear behind STARTTLS is not run under TLS (CVE-2011-0411)."""
    with Raw(scene.server) as client:
        client.say(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
        assert client.reply().startswith("554 5.5.1")
        assert client.reply() == ""


def test_nothing_said_before_tls_counts(scene: Scene) -> None:
    """A transaction begun in clear is over, and EHLO must be said again (RFC 3207, 4.2)."""
    with Raw(scene.server) as client:
        assert client.ask(b"STARTTLS").startswith("220")
        secured = unjudging().wrap_socket(client.socket)
        secured.sendall(b"MAIL FROM:<jean@example.org>\r\n")
        assert secured.recv(100).startswith(b"503")
        secured.close()


def test_commands_injected_during_the_handshake(scene: Scene) -> None:
    """What is typed in clear between the 220 and the handshake ends the session unanswered."""
    with Raw(scene.server) as client:
        assert client.ask(b"STARTTLS").startswith("220")
        client.say(b"EHLO evil.test\r\nMAIL FROM:<evil@example.org>\r\n")
        assert not re.search(REPLY, client.rest())


def test_commands_injected_along_with_the_handshake(scene: Scene) -> None:
    """Nor is it kept for later when the handshake follows it in the same segment."""
    hello = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        unjudging().wrap_bio(ssl.MemoryBIO(), hello).do_handshake()
    with Raw(scene.server) as client:
        assert client.ask(b"STARTTLS").startswith("220")
        client.say(b"NOOP\r\n" + hello.read())
        assert not re.search(REPLY, client.rest())


def test_sslyze(scene: Scene) -> None:
    """What sslyze looks for: old protocols, weak ciphers and curves, compression, known attacks."""
    apart = {sslyze.ScanCommand.CERTIFICATE_INFO, sslyze.ScanCommand.HTTP_HEADERS}
    request = sslyze.ServerScanRequest(
        sslyze.ServerNetworkLocation("mail6m.test", scene.server.smtp_port, LOOPBACK),
        sslyze.ServerNetworkConfiguration(
            "mail6m.test", sslyze.ProtocolWithOpportunisticTlsEnum.SMTP
        ),
        set(sslyze.ScanCommand) - apart,
    )
    scanner = sslyze.Scanner()
    scanner.queue_scans([request])
    [done] = scanner.get_results()
    assert done.scan_result is not None, done.connectivity_error_trace
    found = {name: attempt.result for name, attempt in vars(done.scan_result).items()}
    accepted = {
        name.removesuffix("_cipher_suites"): {one.cipher_suite.name for one in suites}
        for name, result in found.items()
        if (suites := getattr(result, "accepted_cipher_suites", None))
    }
    assert accepted.keys() == {"tls_1_2", "tls_1_3"}
    strong = r"TLS_(ECDHE_(RSA|ECDSA)_WITH_)?(AES_(128|256)_GCM|CHACHA20_POLY1305)_SHA(256|384)"
    suites = accepted["tls_1_2"] | accepted["tls_1_3"]
    assert all(re.fullmatch(strong, suite) for suite in suites), suites
    curves = {curve.name for curve in found["elliptic_curves"].supported_curves}
    assert curves == {"X25519", "X448", "secp256r1", "secp384r1", "secp521r1"}
    assert not found["tls_compression"].supports_compression
    assert not found["tls_1_3_early_data"].supports_early_data
    assert found["tls_fallback_scsv"].supports_fallback_scsv
    assert found["tls_extended_master_secret"].supports_ems_extension
    assert not found["openssl_ccs_injection"].is_vulnerable_to_ccs_injection
    assert not found["heartbleed"].is_vulnerable_to_heartbleed
    assert found["robot"].robot_result.name == "NOT_VULNERABLE_RSA_NOT_SUPPORTED"
    assert found["session_renegotiation"].supports_secure_renegotiation
    assert found["session_renegotiation"].client_renegotiations_success_count == 0


def test_the_certificate_is_read_again(scene: Scene) -> None:
    """New sessions get the new certificate at once, and those that are open go on."""
    [first, _] = scene.certificates
    with Raw(scene.server) as before:
        old = serial_of(before.secure(unjudging()))
        new = renew(first, "mail6m.test")
        with Raw(scene.server) as after:
            assert serial_of(after.secure(unjudging())) == new != old
        assert before.message(MARIE, content=letter("new certificate")).startswith("250")


def test_a_certificate_by_name(scene: Scene) -> None:
    """A client that names the server is shown the certificate of that name (SNI)."""
    shown = []
    for name in (None, "mail6m.test", "mx.voisin.test", "mx2.voisin.test", "elsewhere.test"):
        with Raw(scene.server) as client:
            shown.append(serial_of(client.secure(unjudging(), name)))
    first, second = shown[0], shown[2]
    assert first != second
    assert shown == [first, first, second, second, first]


def test_a_certificate_that_ends_soon(scene: Scene) -> None:
    """Operators see it in the metrics, by name, and read a warning in the log."""
    left = dict(
        re.findall(
            r'^mail6m_certificate_expires{name="(.*)"} ([0-9.e+]+)$',
            scene.get("/metrics")[1],
            re.MULTILINE,
        )
    )
    assert left.keys() == {"mail6m.test", "mx.voisin.test", "*.voisin.test"}
    assert float(left["mx.voisin.test"]) > 300_000_000  # ten years
    assert f"the certificate {scene.certificates[0]} ends on" in scene.server.log.read_text()
    assert f"the certificate {scene.certificates[1]} ends on" not in scene.server.log.read_text()


def test_behind_a_proxy(scene: Scene) -> None:
    """Through HAProxy, by both versions of its protocol, in clear and over TLS: whose it is.

    The trace and the archive name the client and not the proxy.
    """
    client_address = "127.0.0.77"
    with new_place() as place, haproxy(place, scene.proxied_port) as ports:
        for port in ports:
            with Raw(scene.server, port=port, source=client_address) as client:
                assert client.message(MARIE, content=letter("by a proxy")).startswith("250")
                client.secure(unjudging())
                assert client.message(MARIE, content=letter("by a proxy")).startswith("250")
    traces = [trace(mail) for mail in scene.relayed("by a proxy", 4)]
    assert all(f"[{client_address}])" in line for line in traces)
    protocols = re.findall(r" with (\w+) ", " ".join(traces))
    assert sorted(protocols) == ["ESMTP", "ESMTP", "ESMTPS", "ESMTPS"]
    ids = [row["id"] for row in scene.archived("by a proxy")]
    asked = "SELECT DISTINCT client_address FROM message WHERE message_id = ANY (%s::uuid[])"
    with contextlib.closing(psycopg2.connect(scene.dsn)) as connection, connection.cursor() as cur:
        cur.execute(asked, (ids,))
        assert cur.fetchall() == [(client_address,)]


# CHUNKING, SMTPUTF8, addresses


def test_chunking(scene: Scene) -> None:
    """BDAT (RFC 3030): an end of data inside a chunk is content, and stays that on the way on."""
    content = letter("by chunks", "Bonjour\r\n.\r\nMAIL FROM:<evil@example.org>\r\n..\r\n.")
    with Raw(scene.server) as client:
        client.envelope(MARIE)
        pieces = (content[:10], content[10:11], content[11:])
        assert client.ask(b"BDAT 10\r\n" + pieces[0] + b"BDAT 1\r\n" + pieces[1] + b"NOOP")[:3] == (
            "250"
        )
        assert client.reply().startswith("250")
        assert client.reply().startswith("250")
        client.say(b"BDAT %d LAST\r\n" % len(pieces[2]) + pieces[2])
        name = queue_name(client.reply())
    assert scene.server.export(scene.duchemin, name) == content
    [mail] = scene.relayed("by chunks")
    assert original(mail) == content


def test_smtputf8(scene: Scene) -> None:
    """Addresses and headers in UTF-8 (RFC 6531) come in, and go on as what they are."""
    sender, recipient = "rené@exämple.test", "hélène@mondomaine.fr"
    content = "Subject: très utf8\r\nFrom: <rené@exämple.test>\r\n\r\nÉté\r\n".encode()
    with Raw(scene.server) as client:
        assert client.envelope(recipient)[1].startswith("553 5.6.7")
        client.ask(b"RSET")
        name = queue_name(
            client.message(recipient, content=content, sender=sender, parameters=" SMTPUTF8")
        )
    [row] = scene.archived("très utf8")
    assert (row["id"], row["recipients"]) == (name, [recipient])
    [mail] = scene.relayed("très utf8")
    assert "SMTPUTF8" in mail.parameters[0]
    assert (mail.sender, mail.recipients) == ("rené@xn--exmple-cua.test", (recipient,))
    assert " with UTF8SMTP " in trace(mail)
    assert original(mail) == content


def test_addresses_in_all_forms(scene: Scene) -> None:
    """A domain in both its forms and any case, a source route, a quoted local part, a final dot."""
    given = {
        f"u@{IDN}": f"u@{A_LABEL}",
        f"v@{IDN.upper()}": f"v@{A_LABEL}",
        f"a@{A_LABEL}": f"a@{A_LABEL}",
        f"b@{A_LABEL.upper()}": f"b@{A_LABEL}",
        "Marie@MonDomaine.FR": "Marie@mondomaine.fr",
        "@relay.example.org,@other.example.org:route@mondomaine.fr": "route@mondomaine.fr",
        '"jean paul"@mondomaine.fr': '"jean paul"@mondomaine.fr',
        '"a@b>c"@mondomaine.fr': '"a@b>c"@mondomaine.fr',
    }
    with Raw(scene.server) as client:
        name = queue_name(
            client.message(*given, content=letter("all forms"), parameters=" SMTPUTF8")
        )
    [row] = scene.archived("all forms")
    assert row["id"] == name
    assert sorted(row["recipients"]) == sorted(given.values())
    mails = scene.relayed("all forms", 2)
    assert len(mails) == 2  # one for each of the domains
    assert sum(len(mail.recipients) for mail in mails) == len(given)


def test_postmaster(scene: Scene) -> None:
    """Mail to the postmaster of this machine is taken, under all of his names (RFC 5321, 4.5.1)."""
    names = ("postmaster", "PostMaster", "postmaster@[127.0.0.1]", "postmaster@mail6m.test")
    with Raw(scene.server) as client:
        name = queue_name(client.message(*names, content=letter("to the postmaster")))
        assert client.envelope("marie@[127.0.0.1]")[1].startswith("550 5.7.1")
    [row] = scene.archived("to the postmaster", HOUSE)
    assert (row["id"], row["recipients"]) == (name, list(names))


def test_unknown_domain(scene: Scene) -> None:
    """This is no open relay: 550 5.7.1, also for what only looks like a customer's domain."""
    strangers = (
        "marie@example.org",
        "marie@sub.mondomaine.fr",
        "marie",
        "marie%mondomaine.fr@example.org",
        '"marie@mondomaine.fr"@example.org',
        "@mondomaine.fr:marie@example.org",
    )
    with Raw(scene.server) as client:
        replies = client.envelope(*strangers)[1:]
        assert [reply[:9] for reply in replies] == ["550 5.7.1"] * len(strangers)
        assert client.ask(b"DATA").startswith("554 5.5.1")


# Recipients


def test_a_thousand_recipients_and_one(scene: Scene) -> None:
    """The one beyond gets 452, and the thousand before are archived and relayed."""
    recipients = [f"r{number}@mondomaine.fr" for number in range(1_001)]
    with Raw(scene.server) as client:
        replies = client.envelope(*recipients)
        assert [reply[:3] for reply in replies] == ["250"] * 1_001 + ["452"]
        assert replies[-1].startswith("452 4.5.3")
        assert client.ask(b"DATA").startswith("354")
        client.say(letter("a thousand") + b".\r\n")
        assert client.reply().startswith("250")
    [row] = scene.archived("a thousand")
    assert row["recipients"] == recipients[:-1]
    got = [address for mail in scene.relayed("a thousand") for address in mail.recipients]
    assert sorted(got) == sorted(recipients[:-1])


def test_one_message_to_two_customers(scene: Scene) -> None:
    """It is archived once for each, and neither sees anything of the other's recipients."""
    with Raw(scene.server) as client:
        reply = client.message(MARIE, VOISIN, "anne@voisin.test", content=letter("for both"))
        assert reply.startswith("250")
    [ours] = scene.archived("for both")
    [theirs] = scene.archived("for both", scene.voisin)
    assert ours["recipients"] == [MARIE]
    assert theirs["recipients"] == [VOISIN, "anne@voisin.test"]
    for customer, row in ((scene.duchemin, ours), (scene.voisin, theirs)):
        assert scene.server.export(customer, row["id"]) == letter("for both")
    [to_us] = scene.relayed("for both")
    [to_them] = scene.relayed("for both", host="voisin")
    assert to_us.recipients == (MARIE,)
    assert to_them.recipients == (VOISIN, "anne@voisin.test")
    assert "voisin.test" not in trace(to_us)
    assert "mondomaine.fr" not in trace(to_them)
    assert " for <" not in trace(to_them)


# Content


SMUGGLED = (
    b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<marie@mondomaine.fr>\r\n"
    b"DATA\r\nSubject: smuggled\r\n\r\nevil\r\n"
)
FAMILY = (
    *(b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r.\n", b"\n.\r"),
    *(b"\r\r\n.\r\r\n", b"\r\n.\r\r\n", b"\n\n.\n\n", b"\n", b"\r", b"\r\n\x00.\n", b"\r\n\r.\r\n"),
)
"""What one server or another has taken for the end of data; and a bare newline in itself."""


def test_smuggling(scene: Scene) -> None:
    """Each gets 550 5.6.11 and leaves the session in step; none of it is archived or relayed."""
    before = scene.totals()
    with Raw(scene.server) as client:
        for sequence in FAMILY:
            content = letter("smuggler") + sequence + SMUGGLED
            assert client.message(MARIE, content=content).startswith("550 5.6.11"), sequence
            assert client.ask(b"NOOP").startswith("250"), sequence
    with Raw(scene.server) as client:
        for sequence in FAMILY:
            content = letter("smuggler") + sequence + SMUGGLED
            client.envelope(MARIE)
            client.say(b"BDAT %d LAST\r\n" % len(content) + content)
            assert client.reply().startswith("550 5.6.11"), sequence
            assert client.ask(b"NOOP").startswith("250"), sequence
        assert client.message(MARIE, content=letter("after smuggling")).startswith("250")
    scene.relayed("after smuggling")
    archived, *arrived = before
    assert scene.totals() == (archived + 1, arrived[0] + 1, arrived[1])


@pytest.mark.parametrize("line", [b"NOOP\nNOOP\r\n", b"MAIL FROM:<a@example.org>\nDATA\r\n"])
def test_a_bare_lf_in_a_command(scene: Scene, line: bytes) -> None:
    """Commands end with CRLF, too; the session ends, since nobody knows what was meant."""
    with Raw(scene.server) as client:
        client.say(line)
        assert client.reply().startswith("521 5.5.2")
        assert client.reply() == ""


AWKWARD = b"".join(
    [
        "Subject: awkward\r\nX-Latin: d\xe9j\xe0 vu\r\nTo: ".encode("latin-1"),
        bytes(octet for octet in range(256) if octet not in b"\r\n") + b"\r\n\r\n",
        b".\r\n..\r\n...\r\n.x\r\n \r\n\r\n",
        b"\x00" * 1_000 + b"\r\n",
        b"x" * 100_000 + b"\r\n",
        bytes(octet for octet in range(256) if octet not in b"\r\n") * 400 + b"\r\n",
        b"Received: not a header any more\r\n\r\n\r\n.\r\n",
    ]
)


def test_every_octet_is_kept(scene: Scene) -> None:
    """Lines of 100 KB, NULs, 8-bit headers, dots: archived and relayed byte for byte."""
    with Raw(scene.server) as client:
        name = queue_name(client.message(MARIE, content=AWKWARD))
    assert scene.server.export(scene.duchemin, name) == AWKWARD
    [mail] = scene.relayed("awkward")
    assert original(mail) == AWKWARD


def test_a_message_too_big(scene: Scene) -> None:
    """552 at MAIL by what SIZE= says, and at the end of what is too big; the session goes on."""
    line = b"x" * 998 + b"\r\n"
    content = letter("too big") + line * (LARGEST // 1_000)
    with Raw(scene.server, hello=False) as client:
        assert f"SIZE {LARGEST}" in client.ask(b"EHLO client.test")
        assert client.ask(b"MAIL FROM:<a@example.org> SIZE=%d" % (LARGEST + 1))[:9] == "552 5.3.4"
        assert client.message(MARIE, content=content).startswith("552 5.3.4")
        client.envelope(MARIE)
        client.say(b"BDAT %d LAST\r\n" % len(content) + content)
        assert client.reply().startswith("552 5.3.4")
        client.envelope(MARIE)
        client.say(b"BDAT %d\r\n" % LARGEST + content[:LARGEST])
        assert client.reply().startswith("250")
        client.say(b"BDAT 1 LAST\r\nx")
        assert client.reply().startswith("552 5.3.4")
        exact = content[: LARGEST - 2] + b"\r\n"
        assert client.message(MARIE, content=exact, parameters=f" SIZE={LARGEST}")[:3] == "250"
    [row] = scene.archived("too big")
    assert row["raw_size"] == LARGEST
    assert original(scene.relayed("too big")[0]) == exact


def test_hop_count(scene: Scene) -> None:
    """A message with 50 Received fields is still taken, one with 51 goes in circles."""
    hop = b"Received: from a by b;\r\n\tMon, 23 Nov 2026 12:00:00 +0000\r\n"
    with Raw(scene.server) as client:
        assert client.message(MARIE, content=hop * 50 + letter("50 hops")).startswith("250")
        assert client.message(MARIE, content=hop * 51 + letter("51 hops")).startswith("554 5.4.6")
        assert client.ask(b"NOOP").startswith("250")
    assert len(scene.archived("hops")) == 1


# Operating


def test_domains_come_and_go(scene: Scene) -> None:
    """A domain that is added or removed takes effect at once, within an open session."""
    port = scene.hosts["duchemin"].port
    with Raw(scene.server) as client:
        assert client.envelope("marie@neu.test")[1].startswith("550 5.7.1")
        scene.server.add_domain("neu.test", scene.duchemin, port)
        assert client.ask(b"RCPT TO:<marie@neu.test>").startswith("250")
        client.ask(b"RSET")
        assert client.message("marie@neu.test", content=letter("new domain")).startswith("250")
        scene.relayed("new domain")
        scene.server.command("domain", "remove", "neu.test")
        assert client.envelope("marie@neu.test")[1].startswith("550 5.7.1")


def test_health_and_metrics(scene: Scene) -> None:
    """A load balancer and Prometheus get what they ask for."""
    status, body = scene.get("/health")
    assert (status, json.loads(body)["ok"], json.loads(body)["database"]) == (200, True, "ok")
    status, body = scene.get("/metrics")
    assert status == 200
    assert re.search(r"^mail6m_queue_deliveries [0-9.]+$", body, re.MULTILINE)
    assert 'mail6m_errands{kind="disc to write"} 0.0' in body
    with Raw(scene.server):
        assert re.search(r"^mail6m_smtp_sessions [1-9]", scene.get("/metrics")[1], re.MULTILINE)


def test_a_database_that_is_away(scene: Scene) -> None:
    """Without the database every answer is 451 and the health page says 503; then it comes back."""
    with Raw(scene.server) as client:
        assert client.message(MARIE, content=letter("before")).startswith("250")
        with (scene.server.data / "postgres" / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # nobody starts it again before we let go
            postmaster = scene.server.postmaster()
            assert postmaster is not None
            for process in (postmaster, *scene.server.backends()):
                kill(process)
            for _ in range(5):
                assert client.message(MARIE, content=letter("away")).startswith("451 4.3.0")
            assert client.envelope("marie@unheard-of.test")[1].startswith("451 4.3.0")
            client.ask(b"RSET")
            large = letter("away") + (b"x" * 998 + b"\r\n") * 1_000
            assert client.message(MARIE, content=large).startswith("451 4.3.0")
            assert scene.get("/health")[0] == 503
            assert scene.get("/metrics")[0] == 200
        names = _until_taken(client, letter("back"))
    assert scene.get("/health")[0] == 200
    assert scene.archived("away") == []
    assert [row["id"] for row in scene.archived("back")] == names
    scene.relayed("back")


def _until_taken(client: Raw, content: bytes) -> list[str]:
    """Offer a message until it is taken; everything else must be 451. The names it got: one."""
    deadline = time.monotonic() + PATIENCE
    while not (reply := client.message(MARIE, content=content)).startswith("250"):
        assert reply.startswith("451 4.3.0")
        assert time.monotonic() < deadline
        time.sleep(0.1)  # a sender waits for longer
    return [queue_name(reply)]


def test_a_disk_that_is_nearly_full(scene: Scene) -> None:
    """With less room than `least_free` nothing is taken: 452 at MAIL, and never a bounce."""
    with scene.second("--least-free", str(1 << 60)) as server, Raw(server) as client:
        replies = client.envelope(MARIE, parameters=" SIZE=1000")
        assert replies[0].startswith("452 4.3.1")
        assert replies[1].startswith("503")


def test_two_servers_on_one_database(scene: Scene) -> None:
    """They share the queue: what waited for a host goes out once, whoever takes it."""
    count = 40
    [port] = free_ports(1)
    scene.server.add_domain("waiting.test", scene.duchemin, port)
    with scene.second() as second:
        for server in (scene.server, second):
            with Raw(server) as client:
                for number in range(count):
                    content = letter(f"shared {server.smtp_port}-{number}")
                    assert client.message("marie@waiting.test", content=content).startswith("250")
                assert client.message(MARIE, content=letter("direct")).startswith("250")
        by = {trace(mail).split(" by ")[1].split()[0] for mail in scene.relayed("direct", 2)}
        assert by == {"mail6m.test", "second.test"}
        _wait_until_it_waits(scene.dsn, "waiting.test", 2 * count)
        with Peer() as host:
            _move(scene.dsn, "waiting.test", host.port)
            scene.server.command("queue", "retry", "--destination", "waiting.test")
            assert host.wait_for(lambda host: len(host.mails) >= 2 * count, PATIENCE)
            scene.server.wait_until_relayed(PATIENCE)
            contents = [original(mail) for mail in host.mails]
        assert len(contents) == len(set(contents)) == 2 * count
        _stops_in_good_order(second)


def _wait_until_it_waits(dsn: str, domain: str, count: int) -> None:
    """A machine is known to be down, and no server has any of that mail in hand."""
    deadline = time.monotonic() + PATIENCE
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        waiting = 0
        while waiting < count:
            assert time.monotonic() < deadline, f"{waiting} of {count} wait"
            cursor.execute(
                "SELECT count(*) FROM delivery JOIN destination USING (destination)"
                " WHERE destination = %s AND state = 0 AND server_id IS NULL",
                (domain,),
            )
            [[waiting]] = cursor.fetchall()


def _move(dsn: str, domain: str, port: int) -> None:
    """Give a domain another host, as there is no command for that yet."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection:
        hosts = [f"{LOOPBACK}:{port}"]
        connection.cursor().execute("UPDATE domain SET hosts = %s WHERE name = %s", (hosts, domain))


def _stops_in_good_order(server: Server) -> None:
    """SIGTERM: a client that is there hears 421, and the process ends with 0 within 10 s."""
    with Raw(server) as client:
        began = time.monotonic()
        assert server.terminate(10.0) == 0
        assert time.monotonic() - began < 10.0
        assert client.reply().startswith("421 4.3.2")
        assert client.reply() == ""


def start_in_vain(*options: str) -> str:
    """Start a server that cannot start: it ends with 1, and one line says why, which is given."""
    command = [sys.executable, "-m", "twisted", "--log-format=text", "mail6m", "--scanner", "none"]
    done = subprocess.run(
        [*command, "--web", f"tcp:0:interface={LOOPBACK}", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    [line] = [line for line in done.stdout.splitlines() if "critical" in line or "error" in line]
    assert "cannot start: " in line
    return line


def test_a_start_with_the_port_taken(scene: Scene) -> None:
    """The line names the endpoint, and why."""
    with new_place() as place:
        data = str(scene.new_data(place))
        endpoint = f"tcp:{scene.server.smtp_port}:interface={LOOPBACK}"
        line = start_in_vain("--data", data, "--database", scene.dsn, "--smtp", endpoint)
    assert endpoint in line
    assert "in use" in line


def test_a_start_with_the_wrong_master_key(scene: Scene) -> None:
    """A database of somebody else's is not written to with keys of ours."""
    with new_place() as place:
        line = start_in_vain("--data", str(place / "data"), "--database", scene.dsn)
    assert "master key" in line


def test_a_start_with_a_newer_schema(scene: Scene) -> None:
    """A database that a newer program has migrated is left alone."""
    with contextlib.closing(psycopg2.connect(scene.dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("INSERT INTO schema_version (number, name) VALUES (9999, 'the future')")
        try:
            with new_place() as place:
                data = str(scene.new_data(place))
                line = start_in_vain("--data", data, "--database", scene.dsn)
        finally:
            cursor.execute("DELETE FROM schema_version WHERE number = 9999")
    assert "9999" in line
    assert "newer" in line
