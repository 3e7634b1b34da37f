"""Receiving machines that refuse, break off, fall silent or talk without end: what becomes of mail.

One server relays for all of it, with a domain for each case and short time-outs; what it came to
is read as an operator and a sender see it: ``queue list``, ``message list`` and the bounces.
"""

from __future__ import annotations

import contextlib
import email
import email.message
import email.policy
import smtplib
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg2
import pytest

from mail6m.storage.embedded import Embedded
from tests.authority import Issued, the_authority
from tests.harness import LOOPBACK, Server, free_ports, new_place, require
from tests.scripted_peer import Fault, Mail, Peer, Script

PATIENCE = 40.0
"""Seconds for what should take two or three, on a machine that is busy with other things."""
REPLY_TIMEOUT, FINAL_TIMEOUT, RELAY_IDLE = 4, 7, 1
OPTIONS = (
    *("--reply-timeout", str(REPLY_TIMEOUT), "--final-timeout", str(FINAL_TIMEOUT)),
    *("--connect-timeout", "2", "--relay-idle", str(RELAY_IDLE)),
)
SESSIONS = 20
"""`mail6m.settings.Settings.relay_sessions`."""
PLAIN = ("8BITMIME", "SIZE 100000000")
"""A host without PIPELINING."""
TLS = ("PIPELINING", "8BITMIME", "STARTTLS")

SOONEST = timedelta(seconds=4)
"""The first probe of a host that is down comes after 5 s, less some chance."""
DELIVERED = "delivered"
QUEUED = "queued"
BOUNCED = "bounced"


@dataclass(frozen=True)
class Case:
    """A message to ``marie`` at a domain of its own, what its host does, what should come of it."""

    label: str
    outcome: str
    script: Script = field(default_factory=dict)
    said: str = ""
    """Stands in what the operator or the sender is told."""
    extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "SIZE 100000000")
    tls: str = "opportunistic"
    recipients: Sequence[str] = ("marie",)
    sender: str | None = None
    mail: Sequence[str] = ()
    rcpt: Sequence[str] = ()
    first: Sequence[Script | None] = ()
    """Hosts that stand before it in the domain's list; with None nobody listens."""
    sink: Sequence[str] = ()
    """The host is smtp-sink, with these options."""
    certificate: Issued | None = None
    """Of the host; without one, a good one."""

    @property
    def domain(self) -> str:
        return f"{self.label}.test"

    @property
    def from_(self) -> str:
        return f"{self.label}@example.org" if self.sender is None else self.sender

    def address(self, local: str = "marie") -> str:
        return f"{local}@{self.domain}"

    @property
    def content(self) -> bytes:
        return (
            f"From: <{self.from_}>\r\nTo: <{self.address()}>\r\nSubject: {self.label}\r\n"
            f"\r\nBonjour,\r\n.\r\n..un point\r\nune fin pour {self.label}\r\n"
        ).encode()


@dataclass(frozen=True)
class Bounce:
    """A report that arrived at the smarthost."""

    to: tuple[str, ...]
    from_: str
    message: email.message.EmailMessage

    @property
    def parts(self) -> list[email.message.Message]:
        """Words, fields and the original (RFC 6522, 3)."""
        assert self.message.get_content_type() == "multipart/report"
        return list(self.message.iter_parts())

    @property
    def about(self) -> Any:
        """The fields that concern the message."""
        return self._blocks[0]

    @property
    def recipients(self) -> dict[str, Any]:
        """The fields that concern each recipient, by address."""
        return {
            block["Final-Recipient"].removeprefix("rfc822; "): block for block in self._blocks[1:]
        }

    @property
    def _blocks(self) -> list[Any]:
        status = self.parts[1]
        assert status.get_content_type() == "message/delivery-status"
        return list(status.get_payload())


class Relay:
    """The server, and the hosts that it relays to."""

    def __init__(self, server: Server, smarthost: Peer, hosts: contextlib.ExitStack) -> None:
        self.server = server
        self.smarthost = smarthost
        self.customer = server.add_customer("Duchemin SA", "marie@mondomaine.fr")
        self.peers: dict[str, Peer] = {}
        self._hosts = hosts
        database = Embedded(server.data / "postgres")
        hosts.callback(database.leave)
        self._connection = psycopg2.connect(database.start())
        self._connection.autocommit = True
        hosts.callback(self._connection.close)

    def sql(self, statement: str, *parameters: Any) -> Any:
        """The first value of the first row."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None

    def host(self, case: Case) -> Peer:
        """Set a case's hosts up, and its domain; the last host is the one to look at."""
        ports = [self._port(script) for script in case.first]
        if case.sink:
            ports.append(self._sink(case.sink))
        peer = self.peers[case.label] = self._hosts.enter_context(
            Peer(case.script, extensions=case.extensions, certificate=case.certificate)
        )
        if not case.sink:
            ports.append(peer.port)
        # A hundred times the command would take a minute: what it writes is written at once.
        self.sql(
            "INSERT INTO domain (customer_id, name, hosts, tls, verify_recipients)"
            " VALUES (%s, %s, %s, %s, false)",
            *(self.customer, case.domain, [f"{LOOPBACK}:{port}" for port in ports], case.tls),
        )
        return peer

    def _port(self, script: Script | None) -> int:
        if script is None:
            return free_ports(1)[0]
        return self._hosts.enter_context(Peer(script)).port

    def _sink(self, options: Sequence[str]) -> int:
        [port] = free_ports(1)
        command = [require("smtp-sink", "postfix"), "-u", "nobody", *options, f"{LOOPBACK}:{port}"]
        sink = subprocess.Popen([*command, "100"], stdout=subprocess.DEVNULL)
        self._hosts.callback(sink.wait)
        self._hosts.callback(sink.kill)
        return port

    def send(self, cases: Iterable[Case]) -> None:
        """Bring the cases' messages, in one session; each must get its 250."""
        with smtplib.SMTP(LOOPBACK, self.server.smtp_port) as client:
            for case in cases:
                to = [case.address(local) for local in case.recipients]
                refused = client.sendmail(case.from_, to, case.content, case.mail, case.rcpt)
                assert refused == {}

    def try_out(self, cases: Sequence[Case]) -> Aftermath:
        """Set the cases' hosts up, send, and wait until everything has been tried."""
        for case in cases:
            self.host(case)
        return self.aftermath(cases)

    def aftermath(self, cases: Sequence[Case]) -> Aftermath:
        """Send the cases; how things stand when all have been tried, and their bounces are gone."""
        sent_at = datetime.now(UTC)
        self.send(cases)
        domains = {"example.org", *(case.domain for case in cases)}
        deadline = time.monotonic() + PATIENCE
        while untried := [row for row in self.server.queue() if _untried(row, domains)]:
            if time.monotonic() > deadline:
                raise self.server.error(f"not tried after {PATIENCE:.0f} s: {untried[:5]}")
        queue = self.server.queue()
        archive = self.server.messages(self.customer)
        return Aftermath(sent_at, queue, archive, self.bounces)

    @property
    def bounces(self) -> list[Bounce]:
        """What arrived at the smarthost."""
        return [_bounce(mail) for mail in self.smarthost.mails]

    def queued(self, label: str) -> list[dict[str, Any]]:
        """A case's rows of ``queue list``."""
        words = ("queue", "list", "--destination", f"{label}.test")
        rows: list[dict[str, Any]] = self.server.command(*words)
        return rows

    def retry(self, *words: str) -> int:
        """``queue retry``."""
        return int(self.server.command("queue", "retry", *words)["count"])


@dataclass(frozen=True)
class Aftermath:
    """What an operator and the senders see."""

    sent_at: datetime
    queue: list[dict[str, Any]]
    archive: list[dict[str, Any]]
    bounces: list[Bounce]

    def queued(self, address: str) -> list[dict[str, Any]]:
        return [row for row in self.queue if row["recipient"] == address]

    def archived(self, case: Case) -> list[dict[str, Any]]:
        return [row for row in self.archive if row["subject"] == case.label]

    def bounced(self, address: str) -> list[Bounce]:
        return [bounce for bounce in self.bounces if address in bounce.recipients]

    def reports_to(self, sender: str) -> list[Bounce]:
        return [bounce for bounce in self.bounces if sender in bounce.to]


def _untried(row: dict[str, Any], domains: set[str]) -> bool:
    return not row["attempts"] and row["recipient"].partition("@")[2] in domains


def _bounce(mail: Mail) -> Bounce:
    message = email.message_from_bytes(mail.content, policy=email.policy.SMTP)
    assert isinstance(message, email.message.EmailMessage)
    return Bounce(mail.recipients, mail.sender, message)


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    """A server whose own mail goes to a smarthost that takes it all, but for one sender."""
    refusal: Script = {"RCPT nobody@example.org": "550 5.1.1 No such sender"}
    with (
        new_place() as place,
        Peer(refusal) as smarthost,
        Server(
            place,
            *(*OPTIONS, "--smarthost", f"{LOOPBACK}:{smarthost.port}"),
            *("--tls-ca", str(the_authority().write(place))),
        ) as server,
        contextlib.ExitStack() as hosts,
    ):
        yield Relay(server, smarthost, hosts)


IS_DOWN = "SELECT count(*) = 1 FROM destination WHERE destination = %s"
IS_UP = "SELECT count(*) = 0 FROM destination WHERE destination = %s"
IS_DONE = "SELECT count(*) = 0 FROM delivery WHERE destination = %s AND state = 0"

# The cases, all tried at once


def _at_every_verb() -> Iterator[Case]:
    """Each fault at each verb, of hosts with and without PIPELINING."""
    for name, verb in VERBS.items():
        before: Script = {"EHLO": "502 5.5.1 No such verb"} if verb == "HELO" else {}
        for kind, extensions in (("", Case.extensions), ("-plain", PLAIN)):
            if kind and verb not in ("MAIL", "RCPT", "DATA", "."):
                continue
            for fault, (answer, said) in FAULTS.items():
                case = Case(
                    f"{fault}-{name}{kind}",
                    _outcome(verb, fault),
                    {**before, verb: answer},
                    said,
                    extensions,
                )
                yield case


VERBS = {
    "banner": "banner",
    "ehlo": "EHLO",
    "helo": "HELO",
    "mail": "MAIL",
    "rcpt": "RCPT",
    "data": "DATA",
    "dot": ".",
}
FAULTS: dict[str, tuple[str | Fault, str]] = {
    "later": ("451 4.7.1 Come back tomorrow", "451 4.7.1 Come back tomorrow"),
    "never": ("554 5.7.1 Go away", "554 5.7.1 Go away"),
    "closing": ("421 4.3.2 Closing down", "421 4.3.2 Closing down"),
    "dropped": (Fault.DROP, "4.4.2 Connection lost"),
    "silent": (Fault.SILENCE, "4.4.2 Timeout"),
    "endless-reply": (Fault.ENDLESS_REPLY, "4.5.2 The host sent a reply without end"),
    "endless-line": (Fault.ENDLESS_LINE, "4.5.2 The host sent a line without end"),
    "nonsense": (Fault.NONSENSE, "4.5.2 The host said what is not SMTP"),
    "misplaced": ("354 Go on", "354 Go on"),
}


def _outcome(verb: str, fault: str) -> str:
    if fault == "misplaced" and verb == "DATA":
        return DELIVERED
    if fault == "never":
        # Refusing the session judges no message; refusing EHLO, not even the session.
        return {"banner": QUEUED, "HELO": QUEUED, "EHLO": DELIVERED}.get(verb, BOUNCED)
    return QUEUED


def _encrypted() -> Iterator[Case]:
    """STARTTLS, offered and broken in every way, under each policy."""
    broken: dict[str, Script] = {
        "refused": {"STARTTLS": "454 4.7.0 No certificate"},
        "unknown": {"STARTTLS": "502 5.5.1 What is that?"},
        "garbage": {"STARTTLS": Fault.HANDSHAKE_GARBAGE},
        "closed": {"STARTTLS": Fault.HANDSHAKE_CLOSED},
        "silence": {"STARTTLS": Fault.HANDSHAKE_SILENCE},
        "closing": {"STARTTLS": "421 4.7.0 No entropy"},
        "regretted": {"STARTTLS": Fault.HANDSHAKE_REGRETTED},
        "drop": {"STARTTLS": Fault.DROP},
        "mute": {"STARTTLS": Fault.SILENCE},
    }
    for name, script in broken.items():
        yield Case(f"tls-{name}-opportunistic", DELIVERED, script, "", TLS)
        yield Case(f"tls-{name}-required", QUEUED, script, "", TLS, "required")
        yield Case(f"tls-{name}-none", DELIVERED, script, "", TLS, "none")
    for policy in ("opportunistic", "required", "none"):
        yield Case(f"tls-sound-{policy}", DELIVERED, {}, "", TLS, policy)
        certificate = the_authority().issue("peer.test", LOOPBACK, expired=True)
        kind, why = (QUEUED, "4.7.5") if policy == "required" else (DELIVERED, "")
        yield Case(f"tls-expired-{policy}", kind, {}, why, TLS, policy, certificate=certificate)
    yield Case("tls-absent-required", QUEUED, {}, "4.7.4 TLS is required", tls="required")


REFUSED: Script = {"RCPT": "550 5.1.1 No such mailbox"}
REFUSED_ALL = {
    "all-refused": Case("all-refused", BOUNCED, REFUSED, "550 5.1.1", recipients=("a", "b")),
    "all-refused-354": Case(
        "all-refused-354",
        BOUNCED,
        {**REFUSED, "DATA": "354 Go on", ".": "554 5.5.1 No valid recipients"},
        "550 5.1.1",
        recipients=("a", "b"),
    ),
}
FIRST_DOWN = [
    Case("first-nobody", DELIVERED, first=[None]),
    Case("first-busy", DELIVERED, first=[{"banner": "421 4.3.2 Busy"}]),
    Case("first-hostile", DELIVERED, first=[{"banner": "554 5.3.2 No service here"}]),
    Case("first-broken", DELIVERED, first=[{"EHLO": Fault.DROP}, None, {"banner": Fault.SILENCE}]),
]
MIXED = Case(
    "mixed",
    DELIVERED,
    {"RCPT b@mixed.test": "451 4.2.1 Full for today", "RCPT c@mixed.test": "550 5.1.1 Unknown"},
    recipients=("a", "b", "c"),
)
MIXED_DATA = Case(
    "mixed-data",
    BOUNCED,
    {"RCPT b@mixed-data.test": "451 4.2.1 Full", "DATA": "554 5.7.1 Not this one"},
    recipients=("a", "b"),
)
NOTIFY = {
    "never": Case("notify-never", BOUNCED, REFUSED, rcpt=["NOTIFY=NEVER"]),
    "success": Case("notify-success", DELIVERED, rcpt=["NOTIFY=SUCCESS"]),
    "success-known": Case(
        "notify-success-known", DELIVERED, extensions=("PIPELINING", "DSN"), rcpt=["NOTIFY=SUCCESS"]
    ),
    "success-only": Case("notify-success-only", BOUNCED, REFUSED, rcpt=["NOTIFY=SUCCESS"]),
    "null": Case("null-sender", BOUNCED, REFUSED, sender=""),
    "nobody": Case("bounce-refused", BOUNCED, REFUSED, sender="nobody@example.org"),
}
RETURNED = {
    "FULL": Case(
        "returned-full",
        BOUNCED,
        REFUSED,
        mail=["RET=FULL", "ENVID=a+2Bb"],
        rcpt=["ORCPT=rfc822;m.duchemin@example.org"],
    ),
    "HDRS": Case("returned-hdrs", BOUNCED, REFUSED, mail=["RET=HDRS", "ENVID=42"]),
    "": Case("returned-plain", BOUNCED, REFUSED),
}
AT_VERBS = list(_at_every_verb())
ENCRYPTED = list(_encrypted())
OTHERS = [*REFUSED_ALL.values(), MIXED, MIXED_DATA, *NOTIFY.values(), *RETURNED.values()]


@pytest.fixture(scope="module")
def down(relay: Relay) -> Sequence[Case]:
    """Two hosts that are down, one of them only once it is asked to work; 201 messages each."""
    cases = (
        Case("down-banner", QUEUED, {"banner": "421 4.3.2 Down for today"}),
        Case("down-mail", QUEUED, {"MAIL": Fault.DROP}),
    )
    for case in cases:
        relay.host(case)
    relay.send(cases)
    for case in cases:
        _wait_until(relay, IS_DOWN, case.domain)
        relay.send([case] * 200)
    return cases


@pytest.fixture(scope="module")
def aftermath(relay: Relay, down: Sequence[Case]) -> Aftermath:
    """How things stand after all the cases with a scripted host.

    It needs nothing of those that are down, but they have something to wait for meanwhile.
    """
    return relay.try_out([*AT_VERBS, *ENCRYPTED, *FIRST_DOWN, *OTHERS])


def _by_label(cases: Iterable[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.label) for case in cases])


@_by_label([*AT_VERBS, *ENCRYPTED, *FIRST_DOWN])
def test_one_fault(relay: Relay, aftermath: Aftermath, case: Case) -> None:
    """What a host does decides: delivered, tried again or bounced; it is archived anyway."""
    [archived] = aftermath.archived(case)
    assert archived["recipients"] == [case.address()]
    _check(case, case.address(), case.outcome, case.said, aftermath)
    if case.outcome == DELIVERED:
        [mail] = relay.peers[case.label].mails
        assert mail.content.endswith(case.content)
        assert (mail.sender, mail.recipients) == (case.from_, (case.address(),))


def _check(case: Case, address: str, outcome: str, said: str, aftermath: Aftermath) -> None:
    queued, bounced = aftermath.queued(address), aftermath.bounced(address)
    assert (len(queued), len(bounced)) == (outcome == QUEUED, outcome == BOUNCED)
    for row in queued:
        assert row["attempts"] >= 1
        assert datetime.fromisoformat(row["next_attempt_at"]) > aftermath.sent_at + SOONEST
        assert said in row["last_reply"]
    for bounce in bounced:
        assert (bounce.from_, bounce.to) == ("", (case.from_,))
        fields = bounce.recipients[address]
        assert fields["Action"] == "failed"
        assert fields["Status"].startswith("5.")
        assert LOOPBACK in fields["Remote-MTA"]
        assert fields["Diagnostic-Code"].startswith("smtp; 5")
        assert said in fields["Diagnostic-Code"]


@_by_label(ENCRYPTED)
def test_encryption(relay: Relay, aftermath: Aftermath, case: Case) -> None:
    """Required: no message in clear. None: no STARTTLS. Opportunistic: encrypted if it can."""
    peer = relay.peers[case.label]
    in_clear = {command.partition(" ")[0] for command, tls in peer.commands if not tls}
    if case.tls == "required":
        assert not in_clear - {"EHLO", "STARTTLS", "QUIT"}
    assert ("STARTTLS" in in_clear) == (case.tls != "none" and "STARTTLS" in case.extensions)
    sound = "sound" in case.label or "expired" in case.label
    encrypted = sound and case.tls != "none"
    assert all(mail.tls == encrypted for mail in peer.mails)


def test_mixed_replies(relay: Relay, aftermath: Aftermath) -> None:
    """Of three recipients in one transaction, each has its own outcome."""
    a, b, c = (MIXED.address(local) for local in "abc")
    _check(MIXED, a, DELIVERED, "", aftermath)
    _check(MIXED, b, QUEUED, "451 4.2.1 Full for today", aftermath)
    _check(MIXED, c, BOUNCED, "550 5.1.1 Unknown", aftermath)
    [mail] = relay.peers["mixed"].mails
    assert mail.recipients == (a,)
    [bounce] = aftermath.reports_to(MIXED.from_)
    assert set(bounce.recipients) == {c}


def test_mixed_replies_and_no_data(aftermath: Aftermath) -> None:
    """What is said to DATA holds for those who were accepted, and for nobody else."""
    a, b = (MIXED_DATA.address(local) for local in "ab")
    _check(MIXED_DATA, a, BOUNCED, "554 5.7.1 Not this one", aftermath)
    _check(MIXED_DATA, b, QUEUED, "451 4.2.1 Full", aftermath)


@_by_label(REFUSED_ALL.values())
def test_all_recipients_refused(relay: Relay, aftermath: Aftermath, case: Case) -> None:
    """Nobody is left when DATA goes out: no content follows, and one bounce names everybody."""
    addresses = {case.address(local) for local in case.recipients}
    for address in addresses:
        _check(case, address, BOUNCED, case.said, aftermath)
    [bounce] = aftermath.reports_to(case.from_)
    assert set(bounce.recipients) == addresses
    assert b"".join(mail.content for mail in relay.peers[case.label].mails) == b""


@pytest.mark.parametrize("wish", ["never", "success-only", "success-known", "null"])
def test_no_report(aftermath: Aftermath, wish: str) -> None:
    """None where NOTIFY forbids it, where the host reports itself, and to the null sender."""
    case = NOTIFY[wish]
    assert aftermath.archived(case)
    assert not aftermath.queued(case.address())
    assert not aftermath.bounced(case.address())


def test_report_of_success(relay: Relay, aftermath: Aftermath) -> None:
    """NOTIFY=SUCCESS is passed on to a host that knows it; of another, "relayed" is reported."""
    [mail] = relay.peers["notify-success-known"].mails
    assert mail.parameters[1] == "NOTIFY=SUCCESS"
    case = NOTIFY["success"]
    [bounce] = aftermath.bounced(case.address())
    assert (bounce.from_, bounce.to) == ("", (case.from_,))
    assert bounce.recipients[case.address()]["Action"] == "relayed"
    assert bounce.recipients[case.address()]["Status"].startswith("2.")


@pytest.mark.parametrize("returns", RETURNED)
def test_what_comes_back(aftermath: Aftermath, returns: str) -> None:
    """RET=FULL brings the whole message back, else the header; ENVID and ORCPT are told."""
    case = RETURNED[returns]
    [bounce] = aftermath.bounced(case.address())
    original = bounce.parts[2]
    header = case.content.partition(b"\r\n\r\n")[0]
    if returns == "FULL":
        assert original.get_content_type() == "message/rfc822"
        assert case.content in bounce.message.as_bytes()
        fields = bounce.recipients[case.address()]
        assert fields["Original-Recipient"] == "rfc822;m.duchemin@example.org"
    else:
        assert original.get_content_type() == "text/rfc822-headers"
        assert header in bounce.message.as_bytes()
        assert b"une fin pour" not in bounce.message.as_bytes()
    envid = {"FULL": "a+b", "HDRS": "42"}.get(returns)
    assert bounce.about["Original-Envelope-Id"] == envid


def test_reports_are_forgotten(relay: Relay, aftermath: Aftermath) -> None:
    """Of a report nothing is left once it has gone, or was refused; and none breeds another."""
    assert aftermath.bounces
    refused = "RCPT TO:<nobody@example.org>"
    assert [c for c, _ in relay.smarthost.commands].count(refused) == 1
    assert not aftermath.reports_to("nobody@example.org")
    _wait_until(relay, "SELECT count(*) = 0 FROM message WHERE shelf = 2")
    unowned = "SELECT count(*) FROM {} WHERE message_id NOT IN (SELECT message_id FROM message)"
    assert [relay.sql(unowned.format(table)) for table in ("body", "delivery")] == [0, 0]
    assert (
        relay.sql("SELECT sum(messages) || '/' || sum(bytes) FROM shelf_count WHERE shelf = 2")
        == "0/0"
    )


def _wait_until(relay: Relay, statement: str, *parameters: Any) -> None:
    """What is written down follows what a peer sees by a commit: give it that time."""
    deadline = time.monotonic() + PATIENCE
    while not relay.sql(statement, *parameters):
        assert time.monotonic() < deadline, statement
        relay.sql("SELECT pg_sleep(0.02)")


# smtp-sink, which others wrote

SINKS = [
    Case(f"sink-{name}-{verb.lower().replace('.', 'dot')}", outcome, sink=[option, verb])
    for name, option, outcomes in (
        ("soft", "-r", {}),
        ("hard", "-f", {"MAIL": BOUNCED, "RCPT": BOUNCED, "DATA": BOUNCED, ".": BOUNCED}),
        ("quit", "-q", {}),
        ("closing", "-Q", {}),
    )
    for verb in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".")
    # A host that refuses EHLO is asked with HELO.
    for outcome in [DELIVERED if (name, verb) == ("hard", "EHLO") else outcomes.get(verb, QUEUED)]
] + [Case("sink-sound", DELIVERED, sink=["-c"]), Case("sink-old", DELIVERED, sink=["-e"])]


@pytest.fixture(scope="module")
def after_sinks(relay: Relay) -> Aftermath:
    """How things stand after all the cases with smtp-sink."""
    return relay.try_out(SINKS)


@_by_label(SINKS)
def test_smtp_sink(after_sinks: Aftermath, case: Case) -> None:
    """An independent server's rejections and hang-ups lead to the same outcomes."""
    assert after_sinks.archived(case)
    _check(case, case.address(), case.outcome, "", after_sinks)


# What takes several steps


def test_outcome_of_each_message(relay: Relay) -> None:
    """Of three messages to one host, each has its own outcome."""
    answers = ["250 2.0.0 Taken", "554 5.6.0 Not that one", "451 4.3.0 Later"]
    case = Case("one-by-one", DELIVERED, {".": answers})
    relay.host(case)
    aftermath = relay.aftermath([case] * 3)
    assert len(aftermath.archived(case)) == 3
    assert len(relay.peers[case.label].mails) == 1
    _check(case, case.address(), BOUNCED, answers[1], replace(aftermath, queue=[]))
    _check(case, case.address(), QUEUED, answers[2], replace(aftermath, bounces=[]))


def test_silent_host_holds_nobody_back(relay: Relay) -> None:
    """While a host keeps every session waiting, what goes to another one arrives."""
    silent = Case("tarpit", QUEUED, {"banner": Fault.SILENCE})
    sound = Case("beside-tarpit", DELIVERED)
    tarpit, beside = relay.host(silent), relay.host(sound)
    relay.send([silent] * 50)
    assert tarpit.wait_for(lambda peer: bool(peer.sessions), PATIENCE)
    relay.send([sound])
    assert beside.wait_for(lambda peer: bool(peer.mails), PATIENCE)
    # The time-out has not struck yet: nobody waited for it.
    assert all(session.closed_at is None for session in tarpit.sessions)
    _wait_until(relay, IS_DOWN, silent.domain)
    rows = relay.queued(silent.label)
    assert len(rows) == 50
    assert all("4.4.2 Timeout" in row["last_reply"] for row in rows)


def test_time_to_finish(relay: Relay, aftermath: Aftermath) -> None:
    """The end of data is given its own, longer time (RFC 5321, 4.5.3.2.6): it must not be cut."""
    session = relay.peers["silent-dot"].sessions[0]
    assert session.closed_at is not None
    assert session.closed_at - session.opened_at > FINAL_TIMEOUT - 1


def test_dripping_reply(relay: Relay) -> None:
    """A host that always says a bit more does not get more time than one that says nothing."""
    case = Case("dripping", QUEUED, {"EHLO": Fault.DRIP})
    peer = relay.host(case)
    relay.send([case])
    assert peer.wait_for(lambda peer: any(s.closed_at for s in peer.sessions), PATIENCE)
    assert not peer.mails


def test_one_probe_and_no_herd(relay: Relay, down: Sequence[Case]) -> None:
    """With 200 messages waiting, single probes find that a host is back; then all of it goes."""
    for case in down:
        peer = relay.peers[case.label]
        assert peer.wait_for(lambda peer: len(peer.sessions) >= 3, PATIENCE)
        times = [session.opened_at for session in peer.sessions]
        assert all(later - earlier > 4.0 for earlier, later in pairwise(times))
        assert [row["attempts"] for row in relay.queued(case.label)].count(0) >= 190
        peer.script = {}
        relay.retry("--destination", case.domain)
        assert peer.wait_for(lambda peer: len(peer.mails) >= 201, PATIENCE)
        assert len(peer.sessions) - len(times) <= SESSIONS + 1
    for case in down:
        _wait_until(relay, IS_DONE, case.domain)
        assert len(relay.peers[case.label].mails) == 201


def test_host_slow_to_say_goodbye(relay: Relay) -> None:
    """A session that waits for the reply to QUIT is no use to new mail, which gets another one."""
    case = Case("long-goodbye", DELIVERED, {"QUIT": Fault.SILENCE})
    peer = relay.host(case)
    relay.send([case])
    assert peer.wait_for(lambda peer: ("QUIT", False) in peer.commands, PATIENCE)
    relay.send([case])
    assert peer.wait_for(lambda peer: len(peer.mails) == 2, PATIENCE)
    first, second = peer.sessions
    assert first.closed_at is None or second.opened_at < first.closed_at


def test_other_hosts_at_once(relay: Relay) -> None:
    """When a domain's hosts are changed, a session with the last ones gets no more messages."""
    case = Case("moved", DELIVERED)
    former = relay.host(case)
    relay.send([case])
    assert former.wait_for(lambda peer: len(peer.mails) == 1, PATIENCE)
    with Peer() as new:
        hosts = [f"{LOOPBACK}:{new.port}"]
        relay.sql("UPDATE domain SET hosts = %s WHERE name = %s", hosts, case.domain)
        while not new.mails:  # one after the other, so that no session has time to be idle
            before = len(former.mails)
            assert before < 100
            relay.send([case])
            _wait_until(relay, IS_DONE, case.domain)
        for _ in range(5):
            relay.send([case])
            _wait_until(relay, IS_DONE, case.domain)
        assert len(former.mails) == before
        assert len(new.mails) == 6


def test_session_that_came_too_late(relay: Relay) -> None:
    """A second session for which no work was left is no sign that the host is down."""
    dot, banner = threading.Event(), threading.Event()
    script: Script = {"banner": ["220 Go on", banner], ".": [dot, "250 2.0.0 Taken"]}
    case = Case("too-late", DELIVERED, script, extensions=PLAIN)
    peer = relay.host(case)
    relay.send([case] * 2)
    assert peer.wait_for(lambda peer: len(peer.sessions) == 2, PATIENCE)
    dot.set()
    assert peer.wait_for(lambda peer: len(peer.mails) == 2, PATIENCE)
    assert peer.wait_for(lambda peer: ("QUIT", False) in peer.sessions[0].commands, PATIENCE)
    banner.set()  # now it is the last one
    assert peer.wait_for(lambda peer: all(s.closed_at for s in peer.sessions), PATIENCE)
    assert ("QUIT", False) in peer.sessions[1].commands
    relay.send([case])  # who had been taken for down would be probed later
    assert peer.wait_for(lambda peer: len(peer.mails) == 3, PATIENCE)
    assert f"{case.domain} cannot be reached" not in relay.server.log.read_text()


def test_shared_message(relay: Relay) -> None:
    """What is put off for one destination stays under way to another, and arrives there once."""
    dot, banner = threading.Event(), threading.Event()
    up = Case("shared-up", DELIVERED, {".": [dot, dot, "250 2.0.0 Taken"]})
    down = Case("shared-down", QUEUED, {"banner": banner, "EHLO": "421 4.3.2 Down"})
    above = relay.host(up)
    relay.host(down)
    with smtplib.SMTP(LOOPBACK, relay.server.smtp_port) as client:
        for _ in range(2):
            client.sendmail(up.from_, [up.address(), down.address()], up.content)
    banner.set()
    put_off = "SELECT count(*) = 2 FROM delivery WHERE destination = %s AND server_id IS NULL"
    _wait_until(relay, put_off, down.domain)
    dot.set()
    _wait_until(relay, IS_DONE, up.domain)
    last = replace(up, recipients=["last"])
    relay.send([last])
    assert above.wait_for(lambda peer: peer.mails[-1].recipients[0].startswith("last"), PATIENCE)
    assert len(above.mails) == 3


@pytest.mark.parametrize("by", ["id", "domain", "host"])
def test_retry(relay: Relay, by: str) -> None:
    """``queue retry`` tries at once what is named by its id, its domain or its host."""
    case = Case(f"retried-by-{by}", DELIVERED, {"DATA": ["451 4.3.0 Not yet", "354 Go on"]})
    peer = relay.host(case)
    relay.send([case])
    _wait_until(relay, "SELECT attempts = 1 FROM delivery WHERE destination = %s", case.domain)
    [row] = relay.queued(case.label)
    named = {
        "id": ("--id", row["id"]),
        "domain": ("--destination", case.domain),
        "host": ("--destination", f"{LOOPBACK}:{peer.port}"),
    }
    assert relay.retry(*named[by]) == 1
    assert peer.wait_for(lambda peer: bool(peer.mails), PATIENCE)
    _wait_until(relay, IS_DONE, case.domain)
    assert relay.queued(case.label) == []


def test_cancel(relay: Relay) -> None:
    """``queue cancel`` gives up, with a bounce; the message stays in the archive."""
    case = Case("cancelled", BOUNCED, {"banner": "421 4.3.2 Down"})
    relay.host(case)
    relay.send([case])
    _wait_until(relay, IS_DOWN, case.domain)
    [row] = relay.queued(case.label)
    assert relay.server.command("queue", "cancel", "--id", row["id"]) == {"count": 1}
    assert relay.smarthost.wait_for(lambda _: len(_reports(relay, case)) == 1, PATIENCE)
    [bounce] = _reports(relay, case)
    assert (bounce.from_, bounce.to) == ("", (case.from_,))
    fields = bounce.recipients[case.address()]
    assert fields["Action"] == "failed"
    assert fields["Status"].startswith("5.")
    assert "Given up by the operator" in fields["Diagnostic-Code"]
    assert relay.queued(case.label) == []
    words = ("message", "list", "--customer", str(relay.customer), "--subject", case.label)
    assert len(relay.server.command(*words)) == 1
    assert row["id"] in relay.server.refusal("queue", "retry", "--id", row["id"])
    assert relay.server.refusal("queue", "cancel", "--id", row["id"])


def test_host_that_nothing_waits_for(relay: Relay) -> None:
    """Once nothing is left to probe a host with, it is no more taken for down: new mail goes."""
    case = Case("given-up", QUEUED, {"banner": ["421 4.3.2 Down", "220 Here we are"]})
    peer = relay.host(case)
    relay.send([case])
    _wait_until(relay, IS_DOWN, case.domain)
    given_up = "UPDATE delivery SET state = 4 WHERE destination = %s"  # as queue cancel does
    relay.sql(given_up, case.domain)
    _wait_until(relay, IS_UP, case.domain)
    relay.send([case])
    assert peer.wait_for(lambda peer: bool(peer.mails), PATIENCE)


def _reports(relay: Relay, case: Case) -> list[Bounce]:
    return [bounce for bounce in relay.bounces if case.address() in bounce.recipients]


def test_reissue(relay: Relay) -> None:
    """``message reissue`` sends a message again, byte for byte, out of the archive."""
    case = Case("reissued", DELIVERED)
    peer = relay.host(case)
    relay.send([case])
    _wait_until(relay, IS_DONE, case.domain)
    words = ("--customer", str(relay.customer))
    [row] = relay.server.command("message", "list", *words, "--subject", case.label)
    reissued = relay.server.command("message", "reissue", *words, "--id", row["id"])
    assert reissued == {"count": 1}
    assert peer.wait_for(lambda peer: len(peer.mails) == 2, PATIENCE)
    assert all(mail.content.endswith(case.content) for mail in peer.mails)
    assert [mail.recipients for mail in peer.mails] == [(case.address(),)] * 2
