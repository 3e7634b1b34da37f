"""The sending end: every step with every kind of reply, hostile hosts, and both ends together."""

from __future__ import annotations

from typing import Any

import pytest
from dialogue_driver import OK, Call, Session, cut, transfer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mail6m.dialogue.client import (
    LONGEST_LINE,
    MOST_LINES,
    ClientDialogue,
    ContentWanted,
    Ready,
    SessionFailed,
    TlsWanted,
    Transfer,
    TransferEnded,
)
from mail6m.dialogue.server import Limits
from mail6m.model import Notify, Recipient, Reply, TlsPolicy

ALL = ["PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"]
USUAL = {
    "EHLO": "250 mx.example.test",
    "HELO": "250 mx.example.test",
    "RSET": "250 2.0.0 OK",
    "MAIL": "250 2.1.0 OK",
    "RCPT": "250 2.1.5 OK",
    "DATA": "354 go on",
    "END": "250 2.0.0 queued as 42",
    "QUIT": "221 2.0.0 bye",
}


class Host:
    """A host that reads line by line and says what it was told to say: a reply, or one in turn."""

    def __init__(self, **replies: str | list[str]) -> None:
        self.replies: dict[str, Any] = {**USUAL, **replies}
        self.lines: list[str] = []
        self.messages: list[bytes] = []
        self._rest = b""
        self._content: list[bytes] | None = None

    def hear(self, octets: bytes) -> bytes:
        """What is said to these octets."""
        said = b""
        self._rest += octets
        while b"\r\n" in self._rest:
            line, self._rest = self._rest.split(b"\r\n", 1)
            said += self._line(line)
        return said

    def _line(self, line: bytes) -> bytes:
        if self._content is None:
            self.lines.append(line.decode())
            reply = self._reply(line[:4].decode().upper())
            self._content = [] if line == b"DATA" and reply.startswith(b"354") else None
            return reply
        if line != b".":
            self._content.append(line.removeprefix(b".") + b"\r\n")
            return b""
        self.messages.append(b"".join(self._content))
        self._content = None
        return self._reply("END")

    def _reply(self, step: str) -> bytes:
        reply = self.replies[step]
        text: str = reply.pop(0) if isinstance(reply, list) else reply
        return text.encode() + b"\r\n"


def converse(call: Call, host: Host, said: bytes) -> None:
    """Let them talk until neither has anything to say."""
    while said and (reply := host.hear(said)):
        said = call.hear(reply)


def ready(*extensions: str) -> Call:
    """A call that has got as far as Ready."""
    call = Call()
    call.open(*extensions)
    assert call.dialogue.idle
    assert [type(event) for event in call.events] == [Ready]
    return call


def codes(of: Transfer) -> list[int | None]:
    """The codes that its recipients have got."""
    return [None if reply is None else reply.code for reply in of.replies]


# One transaction


def test_a_message_with_pipelining() -> None:
    """RFC 2920: the envelope goes in one piece, DATA last; the content when 354 has come."""
    call = ready(*ALL)
    one = transfer("b@example.test", "c@example.test")
    assert call.send(one) == (
        b"MAIL FROM:<a@example.org> SIZE=7\r\n"
        b"RCPT TO:<b@example.test>\r\nRCPT TO:<c@example.test>\r\nDATA\r\n"
    )
    assert not call.dialogue.can_send
    assert call.hear(b"250 ok\r\n" * 3) == b""
    assert not call.dialogue.can_send
    assert call.hear(b"354 go\r\n") == b"hello\r\n.\r\n"
    assert call.dialogue.can_send
    assert call.dialogue.awaits_end
    assert not call.dialogue.idle
    call.hear(b"250 2.0.0 queued\r\n")
    assert call.dialogue.idle
    assert one.replies == [Reply(250, "2.0.0", "queued")] * 2
    assert [type(event) for event in call.events[1:]] == [ContentWanted, TransferEnded]


def test_a_message_without_pipelining() -> None:
    """One command, one reply."""
    call = ready("SIZE")
    said = [call.send(transfer("b@example.test", "c@example.test"))]
    said += [
        call.hear(reply) for reply in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n")
    ]
    assert said == [
        b"MAIL FROM:<a@example.org> SIZE=7\r\n",
        b"RCPT TO:<b@example.test>\r\n",
        b"RCPT TO:<c@example.test>\r\n",
        b"DATA\r\n",
        b"hello\r\n.\r\n",
    ]
    assert not call.dialogue.can_send
    call.hear(b"250 queued\r\n")
    assert call.dialogue.idle


NOT_SMTP = 450
REPLIES = {
    "MAIL": {"451 4.3.0 no": [451, 451], "550 5.7.1 no": [550, 550], "354 what": [450, 450]},
    "RCPT": {"450 4.2.1 no": [450, 450], "550 5.1.1 no": [550, 550], "354 what": [450, 450]},
    "DATA": {"451 4.3.0 no": [451, 451], "554 5.5.1 no": [554, 554], "250 what": [450, 450]},
    "END": {"451 4.3.0 no": [451, 451], "554 5.6.0 no": [554, 554], "354 what": [450, 450]},
}
CASES = [(step, reply, got) for step, row in REPLIES.items() for reply, got in row.items()]


@pytest.mark.parametrize("extensions", [ALL, []], ids=["pipelined", "not"])
@pytest.mark.parametrize(("step", "reply", "got"), CASES)
def test_refusals(step: str, reply: str, got: list[int], extensions: list[str]) -> None:
    """4xx stays 4xx, 5xx stays 5xx, nonsense is 450; the session then carries another message."""
    call = ready(*extensions)
    refused = "DATA" if step in ("MAIL", "RCPT") else ""
    host = Host(**{step: reply}, **({"DATA": "503 5.5.1 no"} if refused else {}))
    one = transfer("b@example.test", "c@example.test")
    converse(call, host, call.send(one))
    assert codes(one) == got
    assert [event.transfer for event in call.of(TransferEnded)] == [one]
    assert call.failure is None
    assert call.dialogue.idle
    before = len(host.lines)
    host.replies = dict(USUAL)
    two = transfer("d@example.test")
    converse(call, host, call.send(two, [b"two\r\n"]))
    assert codes(two) == [250]
    assert host.messages[-1] == b"two\r\n"
    assert (host.lines[before] == "RSET") is (step != "END")


@pytest.mark.parametrize("extensions", [ALL, []], ids=["pipelined", "not"])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "END"])
@pytest.mark.parametrize(
    "reply", ["421 4.3.2 closing", "hello?", "999 no", "-", "25", "250_OK", "1250 a"]
)
def test_replies_that_end_the_session(step: str, reply: str, extensions: list[str]) -> None:
    """421, and what is not SMTP: the session fails once, and has no outcome for anybody."""
    call = ready(*extensions)
    one = transfer("b@example.test", "c@example.test")
    converse(call, Host(**{step: reply}), call.send(one))
    assert call.failure is not None
    assert call.failure.code == (421 if reply.startswith("421") else NOT_SMTP)
    assert codes(one) == [None, None]
    assert call.of(TransferEnded) == []
    assert not call.dialogue.ready
    assert not call.dialogue.can_send
    assert not call.dialogue.idle
    assert type(call.events[-1]) is SessionFailed
    assert call.hear(b"250 ok\r\n" * 3) == b""
    assert type(call.events[-1]) is SessionFailed


@pytest.mark.parametrize("extensions", [ALL, []], ids=["pipelined", "not"])
def test_mixed_replies(extensions: list[str]) -> None:
    """Every recipient has its own outcome; END's is for those who were taken."""
    call = ready(*extensions)
    host = Host(RCPT=["250 ok", "550 5.1.1 who", "450 4.2.1 later", "251 elsewhere"])
    one = transfer(*(f"{name}@example.test" for name in "bcde"))
    converse(call, host, call.send(one))
    assert codes(one) == [250, 550, 450, 250]
    assert one.replies[1] == Reply(550, "5.1.1", "who")
    assert host.messages == [b"hello\r\n"]


def test_data_taken_although_nobody_is_left() -> None:
    """RFC 2920, 3.1: an empty message ends it, the content is not sent, and nobody is served."""
    call = ready(*ALL)
    host = Host(RCPT="550 5.1.1 who")
    one = transfer("b@example.test", "c@example.test")
    converse(call, host, call.send(one))
    assert codes(one) == [550, 550]
    assert host.messages == [b""]
    assert call.of(ContentWanted) == []
    assert len(call.of(TransferEnded)) == 1
    assert call.dialogue.idle


def test_the_next_envelope_behind_content() -> None:
    """It may be said when only the reply to content is awaited; each gets its own replies."""
    call = ready(*ALL)
    host = Host(RCPT=["250 ok", "550 5.1.1 who", "250 ok"], END=["250 one", "250 two"])
    one, two = transfer("b@example.test"), transfer("c@example.test", "d@example.test")
    said = call.hear(host.hear(call.send(one, [b"one\r\n"])))
    assert call.dialogue.can_send
    said += call.send(two, [b"two\r\n"])
    assert not call.dialogue.can_send
    converse(call, host, said)
    assert [reply and reply.text for reply in (*one.replies, *two.replies)] == ["one", "who", "two"]
    assert host.messages == [b"one\r\n", b"two\r\n"]
    assert [event.transfer for event in call.of(TransferEnded)] == [one, two]


def test_the_next_envelope_when_content_is_refused() -> None:
    """After a 421 to the first's content, both are their caller's to send elsewhere."""
    call = ready(*ALL)
    one, two = transfer(), transfer()
    call.send(one)
    call.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    call.send(two)
    call.hear(b"421 4.3.2 closing\r\n")
    assert codes(one) == codes(two) == [None]
    assert call.of(TransferEnded) == []
    assert call.failure == Reply(421, "4.3.2", "closing")


def test_a_reply_in_the_middle_of_content() -> None:
    """A host that speaks out of turn is out of step: nothing it says is believed."""
    call = ready(*ALL)
    one = transfer()
    call.dialogue.send(one)
    call.dialogue.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert type(call.dialogue.next_event()) is ContentWanted
    call.dialogue.content(b"hel")
    call.dialogue.receive_data(b"250 2.0.0 have it all\r\n")
    event = call.dialogue.next_event()
    assert isinstance(event, SessionFailed)
    assert event.reply.code == 450
    assert codes(one) == [None]
    call.dialogue.content(b"lo\r\n")
    call.dialogue.end_content(one)
    assert call.dialogue.next_event() is None


# Replies


def test_replies_of_many_lines() -> None:
    """Joined to one text, the status taken off every line, controls made spaces."""
    call = ready()
    one = transfer()
    call.send(one)
    call.hear(b"550-5.7.1 you are\r\n550-5.7.1 on \x1b[31ma list\0\r\n550 5.7.1 see \xff\r\n")
    assert one.replies == [Reply(550, "5.7.1", "you are on  [31ma list see \ufffd")]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"550", Reply(550, "", "")),
        (b"550 ", Reply(550, "", "")),
        (b"550 5.1.1", Reply(550, "5.1.1", "")),
        (b"550 5.1.1 who", Reply(550, "5.1.1", "who")),
        (b"550 2.0.0 who", Reply(550, "", "2.0.0 who")),
        (b"550 5.1.1000 who", Reply(550, "", "5.1.1000 who")),
        (b"550 5.1 who", Reply(550, "", "5.1 who")),
        (b"550 " + b"x" * 5_000, Reply(550, "", "x" * 1_000)),
    ],
)
def test_the_status_of_a_reply(line: bytes, reply: Reply) -> None:
    """RFC 2034, 4: it must agree with the code, else it is only text."""
    call = ready()
    one = transfer()
    call.send(one)
    call.hear(line + b"\n")
    assert one.replies == [reply]


def test_floods_are_bounded() -> None:
    """A line, a reply or replies without end: the session fails, and memory stays small."""
    for flood in (b"x", b"250-more\r\n", b"250 more\r\n", b"250-" + b"y" * 200 + b"\r\n", b"\n"):
        for step in (1, 7, 100_000):
            call = ready()
            call.send(transfer())
            wire = flood * (2 * LONGEST_LINE // len(flood) + 2 * MOST_LINES)
            for at in range(0, len(wire), step):
                call.dialogue.receive_data(wire[at : at + step])
                call.run()
                if call.failure:
                    break
            assert call.failure is not None
            assert call.failure.code == 450
            assert at <= (LONGEST_LINE + 1) + MOST_LINES * (len(flood) + 1)
            call.dialogue.receive_data(wire)
            assert call.dialogue.next_event() is None


def test_garbage_and_a_line_without_end() -> None:
    """The session fails once, not once for each."""
    call = ready()
    call.hear(b"garbage\r\n" + b"x" * 10_000)
    assert call.failure is not None


@pytest.mark.parametrize("line", [b"250 hello", b"421 4.4.2 timeout", b"250-hello", b"nonsense"])
def test_unsolicited_replies(line: bytes) -> None:
    """A host that speaks when nothing was asked is out of step; its 421 is taken for what it is."""
    call = ready(*ALL)
    call.hear(line + b"\r\n")
    assert call.failure is not None
    assert call.failure.code == (421 if line.startswith(b"421") else 450)


# The session


@pytest.mark.parametrize(
    ("greeting", "code"),
    [("554 5.7.1 listed", 450), ("421 4.7.0 busy", 421), ("450 4.7.1 later", 450), ("250 hm", 450)],
)
def test_a_host_that_refuses_the_session(greeting: str, code: int) -> None:
    """It has judged no message: a 5xx at the banner is tried again, and not bounced."""
    call = Call()
    call.hear(greeting.encode() + b"\r\n")
    assert call.failure is not None
    assert call.failure.code == code
    assert call.said == []


def test_helo_when_ehlo_is_not_known() -> None:
    """RFC 5321, 3.2: 5xx to EHLO, then HELO, and no extension."""
    call = Call()
    assert call.hear(b"220 hi\r\n") == b"EHLO relay.example.org\r\n"
    assert call.hear(b"502 5.5.1 what\r\n") == b"HELO relay.example.org\r\n"
    call.hear(b"250 hi\r\n")
    assert call.of(Ready) == [Ready({})]
    assert call.send(transfer()) == b"MAIL FROM:<a@example.org>\r\n"


@pytest.mark.parametrize(
    "replies", [["451 4.3.0 no"], ["421 no"], ["502 no", "550 no"], ["299 hm"]]
)
def test_a_host_that_refuses_hello(replies: list[str]) -> None:
    """Tried again later, whatever the code."""
    call = Call()
    call.hear(b"220 hi\r\n")
    for reply in replies:
        call.hear(reply.encode() + b"\r\n")
    assert call.failure is not None
    assert 400 <= call.failure.code < 500


TLS = {
    (TlsPolicy.OPPORTUNISTIC, "220 go"): "tls",
    (TlsPolicy.OPPORTUNISTIC, "454 4.7.0 no"): "clear",
    (TlsPolicy.OPPORTUNISTIC, "502 5.5.1 no"): "clear",
    (TlsPolicy.OPPORTUNISTIC, "421 4.3.2 no"): "fails",
    (TlsPolicy.OPPORTUNISTIC, None): "clear",
    (TlsPolicy.REQUIRED, "220 go"): "tls",
    (TlsPolicy.REQUIRED, "454 4.7.0 no"): "fails",
    (TlsPolicy.REQUIRED, "502 5.5.1 no"): "fails",
    (TlsPolicy.REQUIRED, "421 4.3.2 no"): "fails",
    (TlsPolicy.REQUIRED, None): "fails",
    (TlsPolicy.NONE, "220 go"): "not asked",
    (TlsPolicy.NONE, None): "not asked",
}


@pytest.mark.parametrize(("case", "outcome"), TLS.items(), ids=str)
def test_starttls(case: tuple[TlsPolicy, str | None], outcome: str) -> None:
    """Each policy, with a host that offers TLS, refuses it, or does not offer it."""
    policy, reply = case
    call = Call(policy)
    call.handshakes = False
    call.open("SIZE 1", *(["STARTTLS"] if reply else []))
    asked = b"STARTTLS\r\n" in b"".join(call.said)
    assert asked is (reply is not None and outcome != "not asked")
    if asked and reply:
        assert not call.dialogue.ready
        call.hear(reply.encode() + b"\r\n")
    if outcome == "tls":
        assert [type(event) for event in call.events] == [TlsWanted]
        call.dialogue.tls_started()
        assert call.run() == b"EHLO relay.example.org\r\n"
        call.hear(b"250-hi\r\n250-STARTTLS\r\n250 DSN\r\n")
        assert call.of(Ready) == [Ready({"STARTTLS": "", "DSN": ""})]
    elif outcome == "fails":
        assert [type(event) for event in call.events] == [SessionFailed]
        assert call.failure is not None
        assert 400 <= call.failure.code < 500
    else:
        assert [type(event) for event in call.events] == [Ready]


REQUIRETLS = {
    # TLS, sure of the host, what it offers: the reply for a message that requires TLS
    (True, True, "REQUIRETLS"): None,
    (True, True, "DSN"): "550 5.7.30",
    (True, False, "REQUIRETLS"): "450 4.7.10",
    (True, False, "DSN"): "450 4.7.10",
    (False, False, "REQUIRETLS"): "550 5.7.10",
    (False, False, "STARTTLS"): "450 4.7.10",
}


@pytest.mark.parametrize(("case", "refusal"), REQUIRETLS.items(), ids=str)
def test_requiretls(case: tuple[bool, bool, str], refusal: str | None) -> None:
    """RFC 8689, 4.2.1: it goes with its parameter where all holds, and else nowhere; others go."""
    tls, sure, offered = case
    call = Call(TlsPolicy.OPPORTUNISTIC if tls else TlsPolicy.NONE)
    call.handshakes = False
    call.open(*(["STARTTLS"] if tls else [offered]))
    if tls:
        call.hear(b"220 go\r\n")
        call.dialogue.tls_started(sure=sure)
        call.run()
        call.hear(f"250-hi\r\n250 {offered}\r\n".encode())
    one = transfer(requiretls=True)
    said = call.send(one)
    if refusal is None:
        assert said == b"MAIL FROM:<a@example.org> REQUIRETLS\r\n"
    else:
        assert said == b""
        assert str(one.replies[0]).startswith(refusal)
        assert call.send(transfer()) == b"MAIL FROM:<a@example.org>\r\n"


@pytest.mark.parametrize(
    "injected",
    [b"250 AUTH", b"250-evil\r\n250-AUTH\r\n", b"250-evil", b"250 evil\r\n", b"2", b"\r\n"],
)
@pytest.mark.parametrize("together", [True, False])
def test_nothing_said_in_clear_survives_starttls(injected: bytes, together: bool) -> None:
    """What stands behind the 220 is never part of a reply heard through TLS (RFC 3207, 5)."""
    call = Call()
    call.handshakes = False
    call.open("STARTTLS")
    call.hear(*([b"220 go\r\n" + injected] if together else [b"220 go\r\n", injected]))
    call.dialogue.tls_started()
    call.hear(b"250-mx.example.test\r\n250 SIZE 5\r\n")
    if call.failure is None:
        assert call.of(Ready) == [Ready({"SIZE": "5"})]
    else:
        assert call.of(Ready) == []


def test_ehlo_refused_through_tls() -> None:
    """No HELO there, and no way back to clear."""
    call = Call()
    call.open("STARTTLS")
    call.hear(b"220 go\r\n")
    call.hear(b"502 5.5.1 what\r\n")
    assert call.failure is not None
    assert call.failure.code == 450
    assert b"HELO" not in b"".join(call.said)


def test_quit() -> None:
    """Said when idle; whatever is said to it, the session is over."""
    call = ready(*ALL)
    call.dialogue.quit()
    assert not call.dialogue.can_send
    assert not call.dialogue.idle
    assert call.run() == b"QUIT\r\n"
    assert call.dialogue.step == "QUIT"
    call.hear(b"221 2.0.0 bye\r\n")
    assert call.failure == Reply(221, "2.0.0", "bye")


# What the host can take


@pytest.mark.parametrize(
    ("extensions", "more", "code", "status"),
    [
        (["SIZE 1000"], {"size": 1_001}, 552, "5.3.4"),
        (["SIZE 1000"], {"size": 1_000}, None, ""),
        (["SIZE 0"], {"size": 10**9}, None, ""),
        (["SIZE"], {"size": 10**9}, None, ""),
        (["SIZE lots"], {"size": 10**9}, None, ""),
        (["SIZE " + "9" * 40], {"size": 10**9}, None, ""),
        ([], {"size": 10**9}, None, ""),
        (["8BITMIME"], {"smtputf8": True}, 553, "5.6.7"),
        (["SMTPUTF8"], {"smtputf8": True}, None, ""),
        (["SMTPUTF8"], {"eightbit": True}, 554, "5.6.3"),
        (["8bitmime"], {"eightbit": True}, None, ""),
    ],
)
def test_what_the_host_cannot_take(
    extensions: list[str], more: dict[str, Any], code: int | None, status: str
) -> None:
    """Refused here, with the status that says why, and not a word is said to the host."""
    call = ready(*extensions)
    one = transfer("b@example.test", "c@example.test", **more)
    said = call.send(one)
    if code is None:
        assert said.startswith(b"MAIL FROM")
        assert codes(one) == [None, None]
    else:
        assert said == b""
        assert [(reply.code, reply.status) for reply in one.replies if reply] == [
            (code, status)
        ] * 2
        assert [event.transfer for event in call.of(TransferEnded)] == [one]
        assert call.dialogue.idle


RICH: dict[str, Any] = {"returns": "HDRS", "envid": "a+b é", "eightbit": True, "smtputf8": True}
RICH_RECIPIENTS = [
    Recipient("b@example.test", Notify.SUCCESS | Notify.DELAY, "rfc822;b=c@example.org"),
    Recipient("é@example.test", Notify.NEVER, r"utf-8;\x{E9}@example.org"),
    Recipient("d@example.test"),
    Recipient("e@example.test", 0, "rfc822;"),
]


def test_parameters_are_passed_on() -> None:
    """DSN's (RFC 3461), BODY and SMTPUTF8, in xtext and UTF-8."""
    call = ready(*ALL)
    assert call.send(transfer(*RICH_RECIPIENTS, sender="é@example.org", **RICH)).decode() == (
        "MAIL FROM:<é@example.org> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+20+C3+A9\r\n"
        "RCPT TO:<b@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+3Dc@example.org\r\n"
        "RCPT TO:<é@example.test> NOTIFY=NEVER ORCPT=utf-8;\\x{E9}@example.org\r\n"
        "RCPT TO:<d@example.test>\r\n"
        "RCPT TO:<e@example.test>\r\n"
        "DATA\r\n"
    )


def test_parameters_only_where_they_are_offered() -> None:
    """A host without DSN and SIZE gets none of them."""
    call = ready("PIPELINING", "SMTPUTF8", "8BITMIME")
    assert call.send(transfer(*RICH_RECIPIENTS, **RICH)).decode() == (
        "MAIL FROM:<a@example.org> BODY=8BITMIME SMTPUTF8\r\n"
        "RCPT TO:<b@example.test>\r\nRCPT TO:<é@example.test>\r\n"
        "RCPT TO:<d@example.test>\r\nRCPT TO:<e@example.test>\r\nDATA\r\n"
    )


# Hostile hosts


REPLY_LINES = st.sampled_from(
    [
        *[
            "220 hi",
            "250 ok",
            "250-PIPELINING",
            "250-STARTTLS",
            "250 SIZE 5",
            "250 2.1.5 ok",
            "250-",
        ],
        *["354 go", "421 4.3.2 bye", "451 4.3.0 no", "500 what", "550 5.1.1 who", "", "xyz", "\0"],
    ]
).map(lambda line: line.encode() + b"\r\n")
GOOD = st.sampled_from([b"220 hi\r\n250-hi\r\n250 PIPELINING\r\n", b"220 hi\r\n250 hi\r\n", b""])
SPEECH = st.tuples(GOOD, st.lists(REPLY_LINES | st.binary(max_size=6), max_size=14)).map(
    lambda parts: [parts[0], *parts[1]]
)


def listen(pieces: list[bytes], policy: TlsPolicy) -> tuple[Call, list[Transfer]]:
    """Hear these pieces, sending a transfer whenever it may be sent."""
    call = Call(policy)
    sent: list[Transfer] = []
    for piece in pieces:
        call.hear(piece)
        while call.dialogue.can_send and len(sent) < 4:
            sent.append(transfer("b@example.test", "c@example.test", size=4 + len(sent)))
            call.send(sent[-1])
    return call, sent


@settings(max_examples=300)
@given(SPEECH, st.sampled_from(list(TlsPolicy)))
def test_any_host(speech: list[bytes], policy: TlsPolicy) -> None:
    """Never an exception; each transfer ends once, or is left to the caller of a failed session."""
    call, sent = listen(speech, policy)
    ended = [event.transfer for event in call.of(TransferEnded)]
    assert len({id(one) for one in ended}) == len(ended)
    assert all(not one.open for one in ended)
    failure = call.failure
    assert (
        (type(call.events[-1]) is SessionFailed) is (failure is not None) if call.events else True
    )
    if failure is None and call.dialogue.idle:
        assert ended == sent
    for one in sent:
        for reply in one.replies:
            assert reply is None or reply.code // 100 in (2, 4, 5)


@settings(max_examples=300)
@given(SPEECH, st.sampled_from(list(TlsPolicy)), st.lists(st.integers(0, 300), max_size=9))
@example(
    [b"220 hi\r\n", b"250-STARTTLS\r\n250 hi\r\n", b"220 go\r\n250-evil\r\n250 a\r\n"],
    TlsPolicy.NONE,
    [3],
)
def test_how_tcp_cuts_the_replies_changes_nothing(
    speech: list[bytes], policy: TlsPolicy, places: list[int]
) -> None:
    """The same events, the same words, for any split of what the host says."""
    whole = b"".join(speech)

    def outcome(pieces: list[bytes]) -> tuple[Any, ...]:
        call = Call(policy)
        call.handshakes = False
        call.hear(*pieces)
        return [type(event) for event in call.events], call.failure, b"".join(call.said)

    assert outcome([whole]) == outcome(cut(whole, places))
    assert outcome([whole]) == outcome(cut(whole, range(len(whole))))


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_any_octets(pieces: list[bytes]) -> None:
    """Line noise: never an exception, and nobody is served."""
    _, sent = listen(pieces, TlsPolicy.OPPORTUNISTIC)
    assert all(code != 250 for one in sent for code in codes(one))


# Both ends


PIECES = st.lists(
    st.lists(
        st.sampled_from(
            [b".", b"..", b"\r\n", b"\r\n.\r\n", b"a", b"\xe9\0", b"\r", b"\n", b"QUIT\r\n"]
        ),
        max_size=6,
    ).map(b"".join),
    max_size=4,
)


class Pair:
    """The two dialogues, connected in memory by octets cut at these places."""

    def __init__(self, call: Call, session: Session, places: list[int]) -> None:
        self.call = call
        self.session = session
        self.places = places
        self._heard = 0

    def talk(self, said: bytes = b"") -> None:
        """Until neither has anything to say."""
        while True:
            self.session.feed(*cut(said, self.places))
            self.session.settle()
            replies = [entry[1] for entry in self.session.trace if entry[0] == "reply"]
            new, self._heard = replies[self._heard :], len(replies)
            said = self.call.hear(
                *(piece for reply in new for piece in cut(_wire(reply), self.places))
            )
            if not said:
                return


def _wire(reply: str) -> bytes:
    lines = reply[4:].split("\n")
    marks = ["-"] * (len(lines) - 1) + [" "]
    return "".join(
        f"{reply[:3]}{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=True)
    ).encode()


@settings(max_examples=200)
@given(
    st.lists(PIECES, min_size=1, max_size=4),
    st.lists(st.integers(0, 200), max_size=6),
    st.booleans(),
    st.sampled_from([TlsPolicy.OPPORTUNISTIC, TlsPolicy.NONE]),
)
def test_both_ends_together(
    messages: list[list[bytes]], places: list[int], slow: bool, policy: TlsPolicy
) -> None:
    """Messages arrive exactly, or are refused for a bare newline, over one session, any split."""
    pair = Pair(Call(policy), Session(lambda event: OK, slow=slow), places)
    pair.talk()
    assert (("tls",) in pair.session.trace) is (policy is not TlsPolicy.NONE)
    arrived = []
    for number, pieces in enumerate(messages):
        content = b"".join(pieces)
        one = transfer(
            f"{number}@mondomaine.fr", sender=f"a{number}@example.org", size=len(content)
        )
        pair.talk(pair.call.send(one, pieces))
        assert pair.call.failure is None
        bare = any(octet in content.replace(b"\r\n", b"") for octet in b"\r\n")
        assert codes(one) == [550 if bare else 250]
        if bare:
            assert one.replies[0] is not None
            assert one.replies[0].status == "5.6.11"
        else:
            arrived.append(content if content[-2:] in (b"", b"\r\n") else content + b"\r\n")
    assert pair.session.messages == arrived


def test_an_envelope_arrives_as_it_was() -> None:
    """Everything RFC 3461 and 6531 know goes through both ends unchanged."""
    pair = Pair(Call(), Session(), [])
    pair.talk()
    recipients = [one for one in RICH_RECIPIENTS if one.original != "rfc822;"]
    pair.talk(pair.call.send(transfer(*recipients, sender='"é @"@example.org', **RICH)))
    trace = pair.session.trace
    assert [entry[1] for entry in trace if entry[0] == "recipient"] == recipients
    assert ("sender", '"é @"@example.org', 7) in trace
    assert pair.session.messages == [b"hello\r\n"]


def test_a_thousand_and_one_recipients() -> None:
    """Those before the limit are served; the last is told to come again."""
    pair = Pair(Call(), Session(limits=Limits(recipients=20)), [])
    pair.talk()
    one = transfer(*(f"{number}@mondomaine.fr" for number in range(21)))
    pair.talk(pair.call.send(one))
    assert codes(one) == [250] * 20 + [452]


def test_a_name_that_is_said() -> None:
    """`step` is for people."""
    dialogue = ClientDialogue("relay.example.org", TlsPolicy.NONE)
    assert dialogue.step == "the banner"
    call = ready()
    assert call.dialogue.step == "nothing"
    call.send(transfer())
    assert call.dialogue.step == "MAIL"


def test_nothing_is_said_into_a_content() -> None:
    """From the 354 to the last reply the session is busy: what it says would alter the mail."""
    dialogue = ClientDialogue("mail6m.test", TlsPolicy.NONE)
    dialogue.receive_data(b"220 hello\r\n250-mx.example.test\r\n250 PIPELINING\r\n")
    assert not dialogue.idle, "its being ready has not been taken note of"
    assert not dialogue.can_send
    assert isinstance(dialogue.next_event(), Ready)
    assert dialogue.idle
    message = Transfer("anne@example.org", [Recipient("marie@mondomaine.fr")], 9)
    dialogue.send(message)
    dialogue.receive_data(b"250 ok\r\n250 ok\r\n354 go on\r\n")
    dialogue.data_to_send()

    def busy() -> None:
        assert not dialogue.idle
        with pytest.raises(AssertionError):
            dialogue.quit()
        with pytest.raises(AssertionError):
            dialogue.send(message)
        assert dialogue.data_to_send() == b""

    busy()
    assert isinstance(dialogue.next_event(), ContentWanted)
    assert dialogue.step == "the host to take the content"
    busy()
    dialogue.content(b"Bonjour\r\n")
    assert dialogue.data_to_send() == b"Bonjour\r\n"
    busy()
    dialogue.end_content(message)
    assert not dialogue.idle
    dialogue.receive_data(b"250 taken\r\n")
    assert not dialogue.idle
    assert isinstance(dialogue.next_event(), TransferEnded)
    assert dialogue.idle
