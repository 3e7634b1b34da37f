"""Reports to senders: what they say, how they are built, and that nobody can write into them."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage, Message
from typing import cast, get_args
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail6m.delivery.bounce import Action, Reported, Returned, report, wants
from mail6m.model import Notify

NOW = datetime(2026, 3, 4, 10, 12, tzinfo=UTC)
HOSTNAME = "mail6m.example.org"
MESSAGE_ID = "<report.1@mail6m.example.org>"
HEADER = b"From: Jean <jean@example.org>\r\nSubject: Rendez-vous\r\n\r\n"

RETURNED = Returned(
    message=UUID(int=6),
    sender="jean@example.org",
    envid="QQ+314=159",
    returns="",
    arrived_at=NOW - timedelta(hours=5),
    header=HEADER,
    content=None,
    smtputf8=False,
)
FAILED = Reported(
    recipient="marie@mondomaine.fr",
    original="rfc822;contact@mondomaine.fr",
    action="failed",
    status="5.1.1",
    reply="550 5.1.1 <marie@mondomaine.fr>: no such\r\nuser here",
    host="mx.mondomaine.fr[192.0.2.1]:25",
    last_attempt_at=NOW,
)
DELAYED = replace(
    FAILED,
    recipient="paul@mondomaine.fr",
    original="",
    action="delayed",
    status="4.4.1",
    reply="no answer in 30 s",
    host="",
    will_retry_until=NOW + timedelta(days=5),
)

OUTER = [
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
    *("MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
]
PER_MESSAGE = ["Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"]
PER_RECIPIENT = [
    *("Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA"),
    *("Diagnostic-Code", "Last-Attempt-Date", "Will-Retry-Until"),
]


@dataclass(frozen=True)
class Read:
    """A report as the standard library reads it, and as its raw octets stand."""

    raw: bytes
    whole: EmailMessage
    parts: list[EmailMessage]
    bodies: list[bytes]
    """The octets of each part after its own header, before any decoding."""

    @property
    def text(self) -> str:
        return cast(str, self.parts[0].get_content()).replace("\r\n", "\n")

    @property
    def blocks(self) -> list[Message]:
        """The groups of fields of the second part: the message's, then each recipient's."""
        return [
            email.message_from_bytes(block, policy=email.policy.SMTPUTF8)
            for block in self.bodies[1].rstrip(b"\r\n").split(b"\r\n\r\n")
        ]


def read(
    returned: Returned = RETURNED, recipients: Sequence[Reported] = (FAILED,), now: datetime = NOW
) -> Read:
    """Build a report, hold it to the rules that every report keeps, and take it apart."""
    raw = report(returned, recipients, HOSTNAME, now, MESSAGE_ID)
    assert raw.endswith(b"\r\n")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", raw)
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    whole = email.message_from_bytes(raw, policy=email.policy.default)
    assert not whole.defects
    assert whole.keys() == OUTER
    assert whole.get_content_type() == "multipart/report"
    parts = cast("list[EmailMessage]", list(whole.iter_parts()))
    assert len(parts) == 3
    delimited = raw.split(b"--" + cast(str, whole.get_boundary()).encode())
    assert len(delimited) == 5
    assert delimited[-1] == b"--\r\n"
    return Read(raw, whole, parts, [one.partition(b"\r\n\r\n")[2] for one in delimited[1:4]])


def test_the_envelope_of_a_report() -> None:
    """From us, to the sender, dated, named, and marked so that no robot answers it (RFC 3834)."""
    whole = read().whole
    assert whole["From"] == "Mail6M <MAILER-DAEMON@mail6m.example.org>"
    assert whole["To"].addresses[0].addr_spec == "jean@example.org"
    assert whole["Date"].datetime == NOW
    assert whole["Message-ID"] == MESSAGE_ID
    assert whole["Auto-Submitted"] == "auto-replied"
    assert whole["Content-Type"].params["report-type"] == "delivery-status"
    assert whole["Content-Transfer-Encoding"] == "7bit"


def test_message_id_with_or_without_brackets() -> None:
    """The report's name stands in one pair of angle brackets either way."""
    bare = report(RETURNED, [FAILED], HOSTNAME, NOW, MESSAGE_ID.strip("<>"))
    assert b"\r\nMessage-ID: <report.1@mail6m.example.org>\r\n" in bare


@pytest.mark.parametrize(
    ("actions", "subject"),
    [
        (["failed"], "Non remis / Undelivered: marie@mondomaine.fr"),
        (["delayed"], "En attente / Delayed: marie@mondomaine.fr"),
        (["relayed"], "Transmis / Relayed: marie@mondomaine.fr"),
        (["expanded"], "Diffusé / Expanded: marie@mondomaine.fr"),
        (["delivered"], "Remis / Delivered: marie@mondomaine.fr"),
        (["delivered", "delayed"], "En attente / Delayed: marie@mondomaine.fr (+ 1)"),
    ],
)
def test_subject_says_the_gravest_action(actions: list[Action], subject: str) -> None:
    """The subject alone tells what happened and to whom, in both languages."""
    recipients = [replace(FAILED, action=action) for action in actions]
    assert read(recipients=recipients).whole["Subject"] == subject


@pytest.mark.parametrize("action", get_args(Action))
def test_words_in_french_and_english(action: Action) -> None:
    """People read whom it is about and the words of the other server, in each language."""
    text = read(recipients=[replace(FAILED, action=action)]).text
    french, _, english = text.partition("This is an automatic notice")
    assert "Ceci est un avis automatique du serveur de courrier mail6m.example.org" in french
    assert "Le serveur mx.mondomaine.fr a répondu :" in french
    assert "The server mx.mondomaine.fr replied:" in english
    for language in (french, english):
        assert "<marie@mondomaine.fr>" in language
        assert "550 5.1.1 <marie@mondomaine.fr>: no such user here" in language
        assert "2026-03-04 05:12 UTC" in language.replace("\n", " ")


def test_words_of_our_own() -> None:
    """What no server said is given as our reason, with the time until which we try."""
    text = read(recipients=[DELAYED]).text
    assert "Motif :\n      no answer in 30 s\n    Essais jusqu'au 2026-03-09 10:12 UTC." in text
    assert "Reason:\n      no answer in 30 s\n    It will be tried until 2026-03-09" in text


def test_each_recipient_is_told_under_its_own_action() -> None:
    """In a mixed report a delayed recipient is not said to have failed."""
    text = read(recipients=[DELAYED, FAILED]).text
    order = ["not be delivered to:", "<marie@", "not yet be delivered to:", "<paul@"]
    places = [text.index(words, text.index("This is an")) for words in order]
    assert places == sorted(places)


def test_status_fields() -> None:
    """Programs read the fields of RFC 3464: the message's, then each recipient's."""
    one = read(recipients=[FAILED, DELAYED])
    assert one.parts[1].get_content_type() == "message/delivery-status"
    message, failed, delayed = one.blocks
    assert dict(message.items()) == {
        "Original-Envelope-Id": "QQ+314=159",
        "Reporting-MTA": "dns; mail6m.example.org",
        "Arrival-Date": "Wed, 04 Mar 2026 05:12:00 +0000",
    }
    assert dict(failed.items()) == {
        "Original-Recipient": "rfc822;contact@mondomaine.fr",
        "Final-Recipient": "rfc822; marie@mondomaine.fr",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.mondomaine.fr",
        "Diagnostic-Code": "smtp; 550 5.1.1 <marie@mondomaine.fr>: no such user here",
        "Last-Attempt-Date": "Wed, 04 Mar 2026 10:12:00 +0000",
    }
    assert dict(delayed.items()) == {
        "Final-Recipient": "rfc822; paul@mondomaine.fr",
        "Action": "delayed",
        "Status": "4.4.1",
        "Diagnostic-Code": "x-mail6m; no answer in 30 s",
        "Last-Attempt-Date": "Wed, 04 Mar 2026 10:12:00 +0000",
        "Will-Retry-Until": "Mon, 09 Mar 2026 10:12:00 +0000",
    }
    # The standard library's own reading of message/delivery-status agrees.
    assert [block.keys() for block in one.parts[1].get_payload()] == [  # type: ignore[union-attr]
        block.keys() for block in one.blocks
    ]


def test_what_is_not_known_is_left_out() -> None:
    """No ENVID, no ORCPT, no host, no reply: no empty fields, and no word of a retry on failure."""
    unknown = replace(FAILED, original="", reply="", host="", last_attempt_at=None)
    unknown = replace(unknown, will_retry_until=NOW)
    message, recipient = read(replace(RETURNED, envid=""), [unknown]).blocks
    assert message.keys() == ["Reporting-MTA", "Arrival-Date"]
    assert recipient.keys() == ["Final-Recipient", "Action", "Status"]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("mx.mondomaine.fr", "mx.mondomaine.fr"),
        ("mx.mondomaine.fr[2001:db8::1]:25", "mx.mondomaine.fr"),
        ("[2001:db8::1]:25", "[2001:db8::1]"),
        ("[192.0.2.1]", "[192.0.2.1]"),
    ],
)
def test_remote_mta_is_a_name_or_an_address(host: str, name: str) -> None:
    """The host of an Outcome is told as RFC 3464 wants it: without its port."""
    assert read(recipients=[replace(FAILED, host=host)]).blocks[1]["Remote-MTA"] == f"dns; {name}"


@pytest.mark.parametrize(
    "status", ["", "550", "5.1", "9.1.1", "5.1.1\r\nX: y", "5.1.1234", "5.١.1"]
)
def test_a_malformed_status_becomes_the_general_one(status: str) -> None:
    """A remote host's odd enhanced status never spoils a field that programs rely on."""
    for action, general in [("failed", "5.0.0"), ("delayed", "4.0.0"), ("delivered", "2.0.0")]:
        one = replace(FAILED, status=status, action=cast(Action, action))
        assert read(recipients=[one]).blocks[1]["Status"] == general


def test_the_header_goes_back() -> None:
    """Without RET=FULL the original's header returns, octet for octet."""
    part = read().parts[2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert part.get_payload(decode=True) == HEADER


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: caf\xe9\r\n",
        b"Subject: caf\xc3\xa9\r\n",
        b"Subject: a\0b\r\n",
        b"Subject: " + b"x" * 10_000 + b"\r\n",
        b"Subject: bare\nLF and \rCR, and \r\r\n\n\r\n",
        b"Subject: trailing \t\r\n \r\n.\r\n--=_\r\n",
        b"",
        b"no end of line",
    ],
)
def test_an_awkward_header_goes_back_exactly(header: bytes) -> None:
    """8-bit, NULs, bare CR and LF and endless lines return as they were, inside a legal part."""
    one = read(replace(RETURNED, header=header))
    assert one.parts[2].get_content_type() == "text/rfc822-headers"
    assert one.parts[2].get_payload(decode=True) == header
    assert one.raw.isascii()


CONTENT = HEADER + b"Bonjour,\r\n--\r\n.\r\n"


def test_the_whole_goes_back_with_a_failure() -> None:
    """RET=FULL returns the original as message/rfc822, unchanged."""
    one = read(replace(RETURNED, returns="FULL", content=CONTENT))
    assert one.parts[2].get_content_type() == "message/rfc822"
    assert one.bodies[2] == CONTENT + b"\r\n"


def test_an_eight_bit_original_makes_an_eight_bit_report() -> None:
    """The report declares 8bit when the original that it carries needs it (RFC 2045, 6.4)."""
    content = HEADER + b"\xe9t\xe9\r\n"
    one = read(replace(RETURNED, returns="FULL", content=content))
    assert one.bodies[2] == content + b"\r\n"
    assert one.parts[2]["Content-Transfer-Encoding"] == "8bit"
    assert one.whole["Content-Transfer-Encoding"] == "8bit"


@pytest.mark.parametrize(
    ("returns", "content", "action"),
    [
        ("HDRS", CONTENT, "failed"),
        ("", CONTENT, "failed"),
        ("FULL", None, "failed"),
        ("FULL", CONTENT, "delayed"),
        ("FULL", CONTENT, "delivered"),
        ("FULL", HEADER + b"a\0b", "failed"),
        ("FULL", HEADER + b"bare\nLF", "failed"),
        ("FULL", HEADER + b"x" * 999, "failed"),
    ],
)
def test_only_the_header_goes_back(returns: str, content: bytes | None, action: Action) -> None:
    """Not asked for, not a failure (RFC 3461, 4.3), or not fit for message/rfc822: the header."""
    returned = replace(RETURNED, returns=returns, content=content)
    part = read(returned, [replace(FAILED, action=action)]).parts[2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert part.get_payload(decode=True) == HEADER


def test_smtputf8_addresses() -> None:
    """Non-ASCII addresses are written as they are in the types of RFC 6533."""
    header = "From: Zoé <zoé@example.org>\r\n".encode()
    returned = replace(RETURNED, sender="zoé@example.org", header=header, smtputf8=True)
    one = read(returned, [replace(FAILED, recipient="rené@mondomaine.fr")])
    kinds = [part.get_content_type() for part in one.parts]
    assert kinds == ["text/plain", "message/global-delivery-status", "message/global-headers"]
    assert "To: <zoé@example.org>\r\n".encode() in one.raw
    assert "\r\nFinal-Recipient: utf-8; rené@mondomaine.fr\r\n".encode() in one.raw
    assert one.whole["Subject"].endswith("rené@mondomaine.fr")
    assert one.bodies[2] == header + b"\r\n"


def test_smtputf8_original_goes_back_as_global() -> None:
    """An internationalised original returns whole as message/global."""
    header = "Subject: été\r\n\r\n".encode()
    returned = replace(RETURNED, header=header, smtputf8=True, returns="FULL", content=header)
    kinds = [part.get_content_type() for part in read(returned).parts]
    assert kinds == ["text/plain", "message/delivery-status", "message/global"]


def test_non_ascii_address_in_seven_bits() -> None:
    """Without SMTPUTF8 a non-ASCII address is escaped (RFC 6533, 3), and a reply loses accents."""
    odd = replace(FAILED, recipient="rené+a@mondomaine.fr", original="utf-8;ré+", reply="550 été")
    one = read(recipients=[odd])
    assert one.parts[1].get_content_type() == "message/delivery-status"
    fields = one.blocks[1]
    assert fields["Final-Recipient"] == r"utf-8; ren\x{E9}\x{2B}a@mondomaine.fr"
    assert fields["Original-Recipient"] == r"utf-8;r\x{E9}+"
    assert fields["Diagnostic-Code"] == "smtp; 550 ?t?"
    assert "550 été" in one.text


@pytest.mark.parametrize("reply", ["x" * 100_000, "550 " + "mot " * 100_000, "é" * 100_000])
def test_a_long_reply_is_bounded(reply: str) -> None:
    """An endless reply is cut, with and without spaces to fold at."""
    one = read(recipients=[replace(FAILED, reply=reply)])
    assert 400 < len(one.blocks[1]["Diagnostic-Code"]) <= 1_000
    assert len(one.raw) < 20_000


def test_a_long_address_is_bounded_in_octets() -> None:
    """An address of two-octet letters, too long for any mailbox, still makes legal lines."""
    endless = "é" * 2_000
    returned = replace(RETURNED, sender=endless, smtputf8=True)
    read(returned, [replace(FAILED, recipient=endless, original=endless)])


def test_a_stranger_starts_no_line_in_the_words() -> None:
    """Line ends in an address, a host or a reply cannot pass for words of ours."""
    forged = "a\r\nEnvoyez votre mot de passe\n\r\u2028\x85"
    text = read(recipients=[replace(FAILED, recipient=forged, host=forged, reply=forged)]).text
    assert text.count("Envoyez votre mot de passe") == 6
    assert not re.search(r"^\s*Envoyez", text, re.MULTILINE)


def test_the_boundary_is_never_in_the_parts() -> None:
    """An original that holds the boundary we would have taken makes us take another."""
    first = read().whole.get_boundary()
    content = HEADER + f"--{first}\r\n\r\nforged\r\n--{first}--\r\n".encode()
    one = read(replace(RETURNED, returns="FULL", content=content))
    assert one.whole.get_boundary() != first
    assert one.bodies[2] == content + b"\r\n"


def test_a_report_is_the_same_each_time() -> None:
    """The same facts give the same octets: a report made again after a crash is no new one."""
    assert read().raw == read().raw


def test_no_report_to_the_null_sender_nor_on_nobody() -> None:
    """A report on a report would loop for ever (RFC 5321, 4.5.5)."""
    with pytest.raises(ValueError, match="sender"):
        report(replace(RETURNED, sender=""), [FAILED], HOSTNAME, NOW, MESSAGE_ID)
    with pytest.raises(ValueError, match="recipient"):
        report(RETURNED, [], HOSTNAME, NOW, MESSAGE_ID)


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        (0, {"failed", "delayed"}),
        (Notify.NEVER, set()),
        (Notify.NEVER | Notify.FAILURE, set()),
        (Notify.FAILURE, {"failed"}),
        (Notify.DELAY, {"delayed"}),
        (Notify.SUCCESS, {"relayed", "delivered", "expanded"}),
        (Notify.FAILURE | Notify.DELAY, {"failed", "delayed"}),
        (Notify.SUCCESS | Notify.FAILURE, {"failed", "relayed", "delivered", "expanded"}),
    ],
)
def test_notify_is_honoured(notify: int, wanted: set[str]) -> None:
    """A sender gets the reports that NOTIFY asked for, and by default those on trouble."""
    assert {action for action in get_args(Action) if wants(notify, action)} == wanted


INJECTIONS = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\r\n\r\n",
    "\r\nBcc: victim@example.test",
    "\r\nAction: delivered",
    "\r\n\r\nFinal-Recipient: rfc822; victim@example.test",
    "\r\n--=_84bb92bc7689958f0650badbc820b8b2--\r\n",
    "\x85X-Next-Line: y",
    "\u2028X-Separator: y",
    "\udcff",
    "\u202e",
    "é" * 800,
    "x" * 2_000,
    " ",
    "=?utf-8?q?=0AX:_y?=",
]
hostile = st.lists(
    st.one_of(st.sampled_from(INJECTIONS), st.text(st.characters(exclude_categories=()))),
    max_size=4,
).map("".join)
octets = st.lists(
    st.one_of(
        st.binary(),
        st.sampled_from([one.encode(errors="surrogateescape") for one in INJECTIONS]),
        st.just(b"x" * 10_000),
    ),
    max_size=4,
).map(b"".join)
reported = st.builds(
    Reported,
    recipient=hostile,
    original=hostile,
    action=st.sampled_from(get_args(Action)),
    status=st.one_of(hostile, st.just("5.1.1")),
    reply=hostile,
    host=hostile,
    last_attempt_at=st.sampled_from([None, NOW]),
    will_retry_until=st.sampled_from([None, NOW]),
)
returned_messages = st.builds(
    Returned,
    message=st.just(UUID(int=6)),
    sender=hostile.filter(bool),
    envid=hostile,
    returns=st.sampled_from(["FULL", "HDRS", ""]),
    arrived_at=st.just(NOW),
    header=octets,
    content=st.one_of(st.none(), octets),
    smtputf8=st.booleans(),
)


@settings(deadline=None)
@given(returned_messages, st.lists(reported, min_size=1, max_size=3))
def test_nobody_writes_into_a_report(returned: Returned, recipients: list[Reported]) -> None:
    """Whatever strangers wrote, a report has its three parts and its own fields, and no others."""
    one = read(returned, recipients)
    kinds = [part.get_content_type() for part in one.parts]
    assert kinds[0] == "text/plain"
    assert kinds[1] in {"message/delivery-status", "message/global-delivery-status"}
    message, *others = one.blocks
    assert message.keys() == [name for name in PER_MESSAGE if name in message]
    assert len(others) == len(recipients)
    for fields, recipient in zip(others, recipients, strict=True):
        assert fields.keys() == [name for name in PER_RECIPIENT if name in fields]
        assert fields["Action"] == recipient.action
    if kinds[2] == "text/rfc822-headers":
        assert one.parts[2].get_payload(decode=True) == returned.header
    else:
        assert one.bodies[2].removesuffix(b"\r\n") in (returned.header, returned.content)


@settings(deadline=None)
@given(hostile)
def test_words_for_people_hold_no_control(reply: str) -> None:
    """A reply cannot steer a terminal, nor turn the direction of what follows it."""
    text = read(recipients=[replace(FAILED, reply=reply)]).text
    assert all(char.isprintable() or char in "\n\u200c\u200d" for char in text)
