"""What it costs to find out who sends: the delivered rate with SPF, DKIM and DMARC, and without."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import psycopg2

from bench.figure import Figure, per_second, progress
from bench.gateways import Mail6M
from bench.load import RECIPIENT, BenchError, Load, Sink, free_ports
from bench.ratio import delivered
from mail6m.settings import Settings
from mail6m.signing import Signer, make_key, public_record, published, read_key
from mail6m.storage.embedded import Embedded

DOMAINS = 200
"""Domains that send, each with its own records and a key of its own in the DNS."""
EACH = 30
"""Messages from each in a load."""
KEYS = 10
"""Different ones; each domain publishes one of them in words of its own, so that each is read."""
SESSIONS = 20
TTL = 3_600
_LINE = "Bonjour, voici  les plans de la maison de campagne, avec les devis.\n"
_JUDGED = """
SELECT count(*), count(*) FILTER (WHERE judgement -> 'authentication' ->> 'spf' = 'pass'
    AND judgement -> 'authentication' -> 'signatures' -> 0 ->> 0 = 'pass'
    AND judgement -> 'authentication' ->> 'dmarc' = 'pass')
FROM message WHERE customer_id = %s"""


def authentication(root: Path, rounds: int) -> list[Figure]:
    """Put the same load on a server that looks into it and on one that does not, in turn."""
    load, records = _correspondence(root)
    rates: list[tuple[float, float]] = []
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(root, *free_ports(1)))
        zone = stack.enter_context(Zone(records))
        # This machine is the client, and must be a stranger.
        asks = ("--dns", f"127.0.0.1:{zone.port}", "--internal", "192.0.2.0/24")
        looks = stack.enter_context(Mail6M(root / "on", sink.port, *asks))
        trusts = stack.enter_context(
            Mail6M(root / "off", sink.port, *asks, "--authentication", "off")
        )
        for gateway in (looks, trusts):  # the first sight of a domain is no round's
            delivered(sink, gateway, replace(load, messages=DOMAINS))
        spent = {gateway: -_processor(gateway.pid) for gateway in (looks, trusts)}
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}: with authentication and without, in turn")
            pair = (looks, trusts) if number % 2 else (trusts, looks)
            found = {gateway: delivered(sink, gateway, load) for gateway in pair}
            rates.append((found[looks], found[trusts]))
        for gateway in spent:
            spent[gateway] += _processor(gateway.pid)
        _require_judged(looks)
    ratio = median(there / without for there, without in rates)
    costs = [1_000_000 * spent[one] / (rounds * load.messages) for one in (looks, trusts)]
    with_it, without_it = (median(column) for column in zip(*rates, strict=True))
    return [
        Figure(
            "mail with SPF, DKIM and DMARC",
            ratio,
            "of the rate without",
            ">=",
            0.5,
            f"with {per_second(with_it)}, without {per_second(without_it)},"
            f" by round {min(on / off for on, off in rates):.2f}"
            f" to {max(on / off for on, off in rates):.2f};"
            f" {costs[0]:.0f} and {costs[1]:.0f} µs of processor a message in twistd",
        )
    ]


def _processor(pid: int) -> float:
    """Seconds of processor that a process has used (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _require_judged(gateway: Mail6M) -> None:
    """Raise `BenchError` unless all mail that came was found to be its sender's."""
    embedded = Embedded(gateway.data / "postgres")
    with closing(psycopg2.connect(embedded.start())) as connection, connection.cursor() as cursor:
        cursor.execute(_JUDGED, (gateway.customer,))
        [(all_of_it, passed)] = cursor.fetchall()
    embedded.leave()
    if not all_of_it or passed != all_of_it:
        raise BenchError(f"only {passed} of {all_of_it} messages passed SPF, DKIM and DMARC")


@dataclass(frozen=True, slots=True)
class Correspondence(Load):
    """A load that comes from many domains: a program for each, some of them at once."""

    letters: tuple[tuple[str, Path], ...] = ()
    """Senders, each with the message that it sends again and again."""

    def command(self, port: int) -> list[str]:
        """Many smtp-source on 127.0.0.1:``port``, ``sessions`` at a time; xargs is cheap."""
        each = self.messages // len(self.letters)
        lines = self.letters[0][1].with_name(f"{port}.list")
        lines.write_text(
            "".join(
                f"-s 1 -m {each} -d -t {RECIPIENT} -f {sender} -F {file} 127.0.0.1:{port}\n"
                for sender, file in self.letters
            )
        )
        return ["xargs", "-a", str(lines), "-L", "1", "-P", str(self.sessions), "smtp-source"]


def _correspondence(root: Path) -> tuple[Correspondence, dict[tuple[str, str], str]]:
    """Messages of some 3 KB, signed before the clock runs, and the DNS of those who send them."""
    folder = root / "letters"
    folder.mkdir()
    for number in range(KEYS):
        make_key(folder / f"{number}.pem", "rsa")
    letters: list[tuple[str, Path]] = []
    records: dict[tuple[str, str], str] = {}
    for number in range(DOMAINS):
        key, name = folder / f"{number % KEYS}.pem", f"d{number}.test"
        settings = Settings(signing_key=key, signing_domain=name, signing_selector="s")
        sender, file = f"marie@{name}", folder / f"{number}.eml"
        octets = _letter(sender, number).replace("\n", "\r\n").encode()
        signed = Signer(settings, time.time).sign_own(octets)
        file.write_bytes(signed.replace(b"\r\n", b"\n"))  # smtp-source adds the CR again
        letters.append((sender, file))
        records |= {
            (name, "TXT"): f'{name}. IN TXT "v=spf1 include:_spf.{name} -all"',
            (f"_spf.{name}", "TXT"): f'_spf.{name}. IN TXT "v=spf1 ip4:127.0.0.0/8 -all"',
            (f"_dmarc.{name}", "TXT"): f'_dmarc.{name}. IN TXT "v=DMARC1; p=reject"',
            (f"s._domainkey.{name}", "TXT"): published(
                f"s._domainkey.{name}", f"{public_record(read_key(key))}; n={name}"
            ),
        }
    load = Correspondence(
        f"3 KB from {DOMAINS} domains, {SESSIONS} sessions kept",
        SESSIONS,
        DOMAINS * EACH,
        reuse=True,
        letters=tuple(letters),
    )
    return load, records


def _letter(sender: str, number: int) -> str:
    return (
        f"From: Marie Duchemin <{sender}>\nTo: <{RECIPIENT}>\nSubject: Les plans {number}\n"
        f"Date: Sat, 28 Nov 2026 10:11:12 +0100\nMessage-ID: <{number}@{sender}>\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n" + 34 * _LINE
    )


class Zone:
    """A DNS server on loopback, by UDP, for answers that are remembered after the first time."""

    def __init__(self, records: Mapping[tuple[str, str], str]) -> None:
        """``records`` are lines of a zone file by name and kind."""
        self._records = records

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(65_535)
            if not wire:
                return
            self._socket.sendto(self._reply(dns.message.from_wire(wire)).to_wire(), client)

    def _reply(self, query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query, recursion_available=True)
        [question] = query.question
        key = question.name.to_text(True).lower(), dns.rdatatype.to_text(question.rdtype)
        line = self._records.get(key)
        if line is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        else:
            name, _, text = line.partition(" IN TXT ")
            reply.answer.append(dns.rrset.from_text(name, TTL, "IN", "TXT", text))
        return reply
