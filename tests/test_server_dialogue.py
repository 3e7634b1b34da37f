"""The receiving end: hostile scripts against a slow model, and the answers one by one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

import pytest
from dialogue_driver import HOSTNAME, OK, Session, Trace, cut, read_replies
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mail6m.dialogue import server
from mail6m.dialogue.server import (
    COMMANDS,
    Content,
    ContentDropped,
    Limits,
    MessageEnded,
    ServerDialogue,
    State,
    encode,
)
from mail6m.dialogue.transparency import Stuffing
from mail6m.model import Notify, Recipient, Reply

SMALL = Limits(message_size=60, recipients=3, commands=10**6, errors=10**6, line=100)
SMUGGLING = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\n\n.\r\n",
]
INJECTED = b"EHLO evil\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<b@mondomaine.fr>\r\n"


# The model: line by line over the whole stream, without buffers, events or slots.

SENDERS = {
    b"MAIL FROM:<a@example.org>": "a@example.org",
    b"mail from: <> size=60": "",
    b"MAIL FROM:<@x.test:b@Example.org> BODY=8BITMIME RET=HDRS": "b@example.org",
}
BAD_SENDERS = {
    b"MAIL FROM:<a@example.org> SIZE=61": 552,
    b"MAIL FROM:<a@example.org> COLOUR=blue": 555,
    b"MAIL FROM:<a@example..org>": 553,
    b"MAIL TO:<a@example.org>": 501,
}
RECIPIENTS = {
    b"RCPT TO:<x@mondomaine.fr>": "x@mondomaine.fr",
    b"RCPT TO:<y@MONDOMAINE.FR> NOTIFY=NEVER": "y@mondomaine.fr",
    b"rcpt to:<postmaster>": "postmaster",
    b'RCPT TO:<"z z"@mondomaine.fr>': '"z z"@mondomaine.fr',
}
BAD_RECIPIENTS = {b"RCPT TO:<>": 553, b"RCPT TO:<x@mondomaine.fr> NOTIFY=MAYBE": 501}
ANYTIME = {
    b"NOOP": 250,
    b"NOOP a b": 250,
    b"HELP": 214,
    b"VRFY x": 252,
    b"EHLO": 501,
    b"RSET \x00": 501,
}
CHUNKS = {
    b"BDAT 0": (0, False),
    b"BDAT 3": (3, False),
    b"bdat 9  last": (9, True),
    b"BDAT 0 LAST": (0, True),
    b"BDAT 50 LAST": (50, True),
    b"BDAT 61 LAST": (61, True),
    b"BDAT 70": (70, False),
}
BAD_CHUNKS = [b"BDAT", b"BDAT -1", b"BDAT 5 FIRST", b"BDAT 5\x01 LAST", b"BDAT " + b"9" * 20]
GREETINGS = [b"EHLO client.example.org", b"HELO client.example.org"]
OTHERS = [b"RSET", b"QUIT", b"STARTTLS", b"DATA", b"DATA x", b"FROB", b"."]
UNASKED = "421 4.5.2 Commands expected after a refused DATA"
PAST_TLS = "554 5.5.1 Commands pipelined past STARTTLS"


class _Over(Exception):
    """The stream, or the session, is at its end."""


class Model:
    """What must happen when these groups of octets come, each after all is answered."""

    def __init__(self, groups: Sequence[bytes], codes: Sequence[int]) -> None:
        self.stream = b"".join(groups)
        self.ends = set(itertools.accumulate(len(group) for group in groups))
        self.codes = itertools.cycle(codes)
        self.at = 0
        self.trace: Trace = [("reply", 220)]
        self.hello = self.tls = self.unasked = False
        self.reset()

    def reset(self) -> None:
        self.sender: str | None = None
        self.recipients: set[str] = set()
        self.content: bytes | None = None

    def run(self) -> Trace:
        try:
            while True:
                self.command(self.line())
        except _Over:
            return self.trace

    def say(self, code: int) -> None:
        self.trace.append(("reply", code))

    def close(self, code: int) -> None:
        self.say(code)
        self.trace.append(("closed",))
        raise _Over

    def ask(self, *event: object) -> bool:
        self.trace.append(event)
        code = next(self.codes)
        if code == 421:
            self.close(421)
        self.say(code)
        return 200 <= code < 300

    def line(self) -> bytes:
        end = self.stream.find(b"\n", self.at, self.at + SMALL.line + 2)
        if end < 0:
            if len(self.stream) - self.at < SMALL.line + 2:
                raise _Over
            self.close(500)
        line = self.stream[self.at : end + 1]
        if not line.endswith(b"\r\n"):
            self.close(521)
        self.at = end + 1
        return line[:-2]

    def octets(self, size: int) -> bytes:
        taken = self.stream[self.at : self.at + size]
        self.at += size
        if len(taken) < size:
            raise _Over
        return taken

    def command(self, line: bytes) -> None:
        unasked, self.unasked = self.unasked, False
        if line in SENDERS or line in BAD_SENDERS:
            self.mail(line)
        elif line in RECIPIENTS or line in BAD_RECIPIENTS:
            self.rcpt(line)
        elif line in GREETINGS:
            self.hello = True
            self.reset()
            self.say(250)
        elif line in ANYTIME:
            self.say(ANYTIME[line])
        elif line in CHUNKS:
            self.chunk(*CHUNKS[line])
        elif line in BAD_CHUNKS:
            self.close(501)
        elif line == b"RSET":
            self.reset()
            self.say(250)
        elif line == b"QUIT":
            self.close(221)
        elif line == b"STARTTLS":
            self.starttls()
        elif line in (b"DATA", b"DATA x"):
            self.data(line)
        else:
            assert line.split(b" ")[0].upper() not in COMMANDS
            if unasked:
                self.close(421)
            self.say(500)

    def mail(self, line: bytes) -> None:
        if not self.hello or self.sender is not None:
            self.say(503)
        elif line in BAD_SENDERS:
            self.say(BAD_SENDERS[line])
        elif self.ask("sender", SENDERS[line]):
            self.sender = SENDERS[line]

    def rcpt(self, line: bytes) -> None:
        if self.sender is None or self.content is not None:
            self.say(503)
        elif line in BAD_RECIPIENTS:
            self.say(BAD_RECIPIENTS[line])
        elif len(self.recipients) >= SMALL.recipients:
            self.say(452)
        elif self.ask("recipient", RECIPIENTS[line]):
            self.recipients.add(RECIPIENTS[line])

    def starttls(self) -> None:
        if self.sender is not None or self.tls:
            self.say(503)
        elif self.at not in self.ends:
            self.close(554)
        else:
            self.say(220)
            self.trace.append(("tls",))
            self.tls, self.hello = True, False
            self.reset()

    def data(self, line: bytes) -> None:
        if not self.recipients or self.content is not None or line == b"DATA x":
            no_recipient = self.sender is not None and not self.recipients
            self.say(
                554 if no_recipient else 501 if self.content is None and self.recipients else 503
            )
            self.unasked = True
            if self.at not in self.ends:
                self.close(421)
            return
        self.say(354)
        content, bare = b"", False
        while True:
            end = self.stream.find(b"\r\n", self.at)
            if end < 0:
                raise _Over
            text, self.at = self.stream[self.at : end], end + 2
            if text == b".":
                break
            bare = bare or b"\r" in text or b"\n" in text
            content += text.removeprefix(b".") + b"\r\n"
        self.end(content, bare)

    def chunk(self, size: int, last: bool) -> None:
        if not self.recipients:
            self.octets(size)
            self.reset()
            self.say(503)
            return
        # Too big by what is announced already, so that the transaction ends with this chunk.
        too_big = len(self.content or b"") + size > SMALL.message_size
        self.content = (self.content or b"") + self.octets(size)
        seen = self.content if last else self.content.removesuffix(b"\r")
        bare = any(octet in seen.replace(b"\r\n", b"") for octet in b"\r\n")
        if last or too_big or bare:
            self.end(self.content, bare)
        else:
            self.say(250)

    def end(self, content: bytes, bare: bool) -> None:
        self.reset()
        if bare:
            self.say(550)
        elif len(content) > SMALL.message_size:
            self.say(552)
        else:
            self.ask("message", content)


LINES = st.sampled_from(
    [
        *[*SENDERS, *BAD_SENDERS, *RECIPIENTS, *BAD_RECIPIENTS],
        *[*ANYTIME, *CHUNKS, *BAD_CHUNKS, *GREETINGS, *OTHERS],
    ]
).map(lambda line: line + b"\r\n")
FRAGMENTS = st.sampled_from(
    [b".", b"..", b"\r", b"\n", b"\r\n", b"\0", b"a", b"\xff", b"\r\n.\r\n", b"x" * 103, *SMUGGLING]
)
WIRE_CONTENT = st.lists(FRAGMENTS | st.just(b"line\r\n"), max_size=8).map(
    lambda fragments: b"".join(fragments) + b"\r\n.\r\n"
)
HEAD = st.sampled_from(
    [
        b"EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<x@mondomaine.fr>\r\n",
        b"RSET\r\nmail from: <> size=60\r\nrcpt to:<postmaster>\r\n",
    ]
)
BODY = WIRE_CONTENT.map(lambda content: b"DATA\r\n" + content) | st.tuples(
    st.sampled_from(list(CHUNKS)), WIRE_CONTENT
).map(b"\r\n".join)
MESSAGE = st.tuples(HEAD, BODY).map(b"".join)
GROUP = st.lists(MESSAGE | LINES | LINES | FRAGMENTS, max_size=6).map(b"".join)
GROUPS = st.lists(GROUP, max_size=5).map(lambda groups: [b"EHLO client.example.org\r\n", *groups])
CODES = st.lists(
    st.sampled_from([250, 250, 250, 250, 251, 450, 550, 354, 421]), min_size=1, max_size=5
)
PLACES = st.lists(st.integers(0, 400), max_size=12)


def answers(codes: Sequence[int]) -> Callable[[server.Event], Reply]:
    """These codes, in turn."""
    turn = itertools.cycle(codes)
    return lambda event: Reply(code := next(turn), f"{code // 100}.0.0", "as told")


def play(
    groups: Sequence[bytes],
    codes: Sequence[int],
    pieces: Callable[[bytes], list[bytes]] = lambda group: [group],
    *,
    slow: bool = False,
    limits: Limits = SMALL,
) -> Trace:
    """The trace of a session to which these groups come, each cut into pieces."""
    session = Session(answers(codes), limits, slow=slow)
    for group in groups:
        session.feed(*pieces(group))
        session.settle()
    return session.trace


def outline(trace: Trace) -> Trace:
    """A trace as the model gives it: codes without words."""
    short: Trace = []
    for kind, *rest in trace:
        match kind:
            case "reply":
                short.append((kind, int(rest[0][:3])))
            case "recipient":
                short.append((kind, rest[0].address))
            case "sender":
                short.append((kind, rest[0]))
            case "closed":
                short.append((kind,))
            case _:
                short.append((kind, *rest))
    return short


@settings(max_examples=400)
@given(GROUPS, CODES)
@example([b"EHLO client.example.org\r\n", b"DATA\r\n", b"FROB\r\n"], [250])
@example([b"MAIL FROM:<a@example.org>\r\n"], [250])
def test_the_dialogue_is_what_the_model_says(groups: list[bytes], codes: list[int]) -> None:
    """Arbitrary scripts, smuggling included: same replies, envelopes, octets of content."""
    assert outline(play(groups, codes)) == Model(groups, codes).run()


@settings(max_examples=300)
@given(GROUPS, CODES, PLACES, st.booleans(), st.booleans())
def test_how_tcp_cuts_the_octets_changes_nothing(
    groups: list[bytes], codes: list[int], places: list[int], each: bool, slow: bool
) -> None:
    """Any split, answers at once or late: the same trace to the letter."""
    whole = play(groups, codes)
    split = play(groups, codes, lambda group: cut(group, range(400) if each else places), slow=slow)
    if whole[-2:-1] == [("reply", PAST_TLS)] and split[-4:-2] == [
        ("reply", "220 2.0.0 Ready to start TLS"),
        ("tls",),
    ]:
        del split[-4:-2]  # it was said before what came too soon; the session is over all the same
    if whole[-2:-1] == [("reply", UNASKED)]:
        # Only together can they be told from the commands of a client that has waited.
        assert split[: len(whole) - 2] == whole[:-2]
    else:
        assert split == whole


@settings(max_examples=300)
@given(
    st.lists(st.binary(max_size=40) | GROUP, max_size=6),
    st.lists(st.tuples(st.integers(200, 599), st.text(max_size=8)), min_size=1, max_size=4),
    PLACES,
    st.booleans(),
)
def test_any_octets_and_any_answers(
    groups: list[bytes], given_answers: list[tuple[int, str]], places: list[int], slow: bool
) -> None:
    """Never an exception, never events without end, always well formed replies, one end."""
    turn = itertools.cycle(given_answers)

    def answer(event: server.Event) -> Reply:
        code, text = next(turn)
        return Reply(code, f"{code // 100}.0.0", text)

    session = Session(answer, SMALL, slow=slow)
    for group in groups:
        session.feed(*cut(group, places))
        session.settle()
    kinds = [entry[0] for entry in session.trace]
    assert kinds.count("closed") <= 1
    if "closed" in kinds:
        assert kinds[-1] == "closed"
    wire = b"".join(groups)
    ends = wire.count(b".\r\n") + len(re.findall(rb"(?i)bdat +[0-9]+ +last", wire))
    assert len(session.messages) <= ends


CONTENT = st.lists(
    st.sampled_from([*SMUGGLING, b"\r\n", b"\r\n.\r\n", b".", b"a", b"MAIL FROM:<a@b>\r\n", b"\0"]),
    max_size=10,
).map(b"".join)


@settings(max_examples=300)
@given(CONTENT | st.binary(max_size=80), PLACES, st.sampled_from(["DATA", "BDAT", "chunks"]))
@example(b"one" + SMUGGLING[0] + b"MAIL FROM:<a@b>\r\n", [], "DATA")
@example(b"a\r", [], "BDAT")
@example(b"a\r\n", [2], "chunks")
def test_one_message_sent_is_at_most_one_taken(content: bytes, places: list[int], how: str) -> None:
    """Whatever is in it, a message arrives exactly, or is refused with 550 5.6.11; never two."""
    session = Session()
    session.begin()
    if how == "DATA":
        session.say("DATA")
        stuffing = Stuffing()
        session.feed(*cut(stuffing.feed(content) + stuffing.end(), places))
        content = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    else:
        pieces = cut(content, places) if how == "chunks" else [content]
        wire = b"".join(b"BDAT %d\r\n%b" % (len(piece), piece) for piece in pieces)
        session.feed(*cut(wire + b"BDAT 0 LAST\r\n", places))
    bare = any(octet in content.replace(b"\r\n", b"") for octet in b"\r\n")
    assert session.messages == ([] if bare else [content])
    if bare:
        assert any(str(entry[1]).startswith("550 5.6.11 ") for entry in session.trace)
    assert session.say("NOOP") == ["250 2.0.0 OK"]
    assert not session.dialogue.transaction


@pytest.mark.parametrize("sequence", SMUGGLING, ids=repr)
@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_smuggling(sequence: bytes, step: int) -> None:
    """The classic: a second message behind what only lax software takes for an end of data."""
    session = Session()
    session.begin()
    session.say("DATA")
    second = b"MAIL FROM:<ceo@example.org>\r\nRCPT TO:<b@mondomaine.fr>\r\nDATA\r\nforged\r\n"
    wire = b"Subject: one\r\n\r\nhello" + sequence + second + b".\r\n"
    session.feed(*(wire[at : at + step] for at in range(0, len(wire), step)))
    assert session.messages == []
    assert session.last == "550 5.6.11 Bare CR or LF in message: lines must end with CRLF"
    assert [entry[1] for entry in session.trace if entry[0] == "sender"] == ["a@example.org"]
    assert session.dialogue.state is State.READY


# Work


def test_a_message_octet_by_octet() -> None:
    """200 KB in pieces of one octet: four octets at most are kept to be looked at again."""
    session = Session()
    session.begin()
    session.say("DATA")
    body = b"0123456789\r\n..\r\n" * 12_500
    session.most_pending = 0
    session.feed(*(body[at : at + 1] for at in range(len(body))))
    assert session.most_pending <= 4
    session.feed(b".\r\n")
    assert session.messages == [body.replace(b"\r\n..", b"\r\n.")]


def test_a_chunk_octet_by_octet() -> None:
    """The same for BDAT: nothing at all is kept."""
    session = Session()
    session.begin()
    body = b"0123456789\r\n" * 10_000
    session.feed(b"BDAT %d LAST\r\n" % len(body))
    session.most_pending = 0
    session.feed(*(body[at : at + 1] for at in range(len(body))))
    assert session.most_pending == 0
    assert session.messages == [body]


def test_a_large_message_comes_in_the_pieces_it_came_in() -> None:
    """No piece of content is ever put together with another: memory is the caller's to bound."""
    session = Session()
    session.begin()
    session.say("DATA")
    sizes = []
    for _ in range(100):
        session.dialogue.receive_data(b"x" * 1_000 + b"\r\n")
        while (event := session.dialogue.next_event()) is not None:
            assert isinstance(event, Content)
            sizes.append(len(event.data))
    assert max(sizes) <= 1_002


# Replies


def test_the_banner_and_ehlo() -> None:
    """RFC 5321, 4.1.1.1: the name first, then the extensions; STARTTLS only where it is offered."""
    session = Session()
    assert session.trace == [("reply", f"220 {HOSTNAME} ESMTP Mail6M")]
    [reply] = session.say("EHLO client.example.org")
    assert reply.splitlines() == [
        f"250 {HOSTNAME} greets client.example.org",
        "PIPELINING",
        "SIZE 52428800",
        "8BITMIME",
        "SMTPUTF8",
        "STARTTLS",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "DSN",
        "HELP",
    ]
    assert session.dialogue.extended
    assert session.dialogue.hello == "client.example.org"
    assert "STARTTLS" not in Session(tls_offered=False).say("EHLO x")[0]


def test_requiretls() -> None:
    """RFC 8689, 2: announced and taken under TLS only; it is one transaction's, without a value."""
    session = Session()
    assert "REQUIRETLS" not in session.say("EHLO x")[0]
    refused = session.say("MAIL FROM:<a@example.org> REQUIRETLS")
    assert refused == ["523 5.7.10 REQUIRETLS is for sessions with TLS"]
    session.say("STARTTLS")
    assert "REQUIRETLS" in session.say("EHLO x")[0].splitlines()
    assert session.say("MAIL FROM:<a@example.org> REQUIRETLS=1")[0].startswith("501 5.5.4 ")
    for parameter, required in ((" requiretls", True), ("", False)):
        assert session.say(f"MAIL FROM:<a@example.org>{parameter}")[0].startswith("250 ")
        assert session.dialogue.transaction is not None
        assert session.dialogue.transaction.requiretls is required
        session.say("RSET")


def test_helo() -> None:
    """HELO announces nothing, and takes EHLO's place for everything else."""
    session = Session()
    assert session.say("HELO client.example.org") == [f"250 {HOSTNAME} greets client.example.org"]
    assert not session.dialogue.extended
    assert session.say("MAIL FROM:<a@example.org>") == ["250 2.0.0 OK"]


@pytest.mark.parametrize("verb", ["EHLO", "HELO"])
@pytest.mark.parametrize("name", ["", " ", "two names", "x" * 256])
def test_bad_names_in_ehlo(verb: str, name: str) -> None:
    """Refused without an enhanced code (RFC 2034, 4), and nothing is taken over."""
    session = Session()
    assert session.say(f"{verb} {name}") == ["501 Syntax: EHLO hostname"]
    assert session.dialogue.hello == ""


@pytest.mark.parametrize("name", ["[192.0.2.1]", "[IPv6:2001:db8::1]", "élan.fr", "my_pc", "."])
def test_odd_names_in_ehlo(name: str) -> None:
    """Many real clients do not know their name; it decides nothing."""
    session = Session()
    assert session.say(f"EHLO {name}")[0].startswith("250 ")
    assert session.dialogue.hello == name


def test_enhanced_codes_on_every_reply() -> None:
    """RFC 2034, 4: on all 2xx, 4xx and 5xx but the banner and EHLO's, agreeing with the code."""
    scripts = [
        *(
            line.decode("latin-1")
            for line in [*SENDERS, *BAD_SENDERS, *RECIPIENTS, *BAD_RECIPIENTS]
        ),
        *(line.decode("latin-1") for line in [*ANYTIME, *OTHERS, *BAD_CHUNKS, *CHUNKS]),
    ]
    seen = set()
    for before in (
        [],
        ["EHLO x"],
        ["EHLO x", "MAIL FROM:<>"],
        ["EHLO x", "MAIL FROM:<>", "RCPT TO:<b>"],
    ):
        for line in scripts:
            session = Session(limits=SMALL)
            for command in before:
                session.say(command)
            start = len(session.trace)
            session.say(line.encode("latin-1"))
            session.feed(b"x" * 70 + b"\r\n")
            for reply in (entry[1] for entry in session.trace[start:] if entry[0] == "reply"):
                if reply.startswith(("354 ", "501 Syntax: EHLO")):
                    continue
                for text in reply[4:].split("\n"):
                    assert re.match(rf"{reply[0]}\.\d{{1,3}}\.\d{{1,3}} \S", text), reply
                seen.add(reply[:3])
    assert seen >= {
        "214",
        "220",
        "221",
        "250",
        "252",
        "500",
        "501",
        "503",
        "552",
        "553",
        "554",
        "555",
    }


@given(st.integers(200, 599), st.sampled_from(["", "5.0.0"]), st.text())
@example(250, "", "a\r\n250 b\rc\n\u2028d")
@example(250, "", "")
def test_a_reply_is_always_one_reply(code: int, status: str, text: str) -> None:
    """No text, of a scanner or of another host, can end a line of a reply early."""
    [reply] = read_replies(encode(Reply(code, status, text)))
    assert reply.startswith(f"{code} {status}")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("HELP", "214 2.0.0 Commands: "),
        ("help rcpt", "214 2.0.0 Commands: "),
        ("VRFY marie", "252 2.1.5 "),
        ("NOOP anything", "250 2.0.0 "),
        ("RSET", "250 2.0.0 "),
        ("rSeT", "250 2.0.0 "),
        ("QUIT", "221 2.0.0 "),
        ("EXPN list", "500 5.5.2 "),
        ("GET / HTTP/1.1", "500 5.5.2 "),
        ("", "500 5.5.2 "),
        (" NOOP", "500 5.5.2 "),
        ("MAIL FROM:<a@example.org>", "503 5.5.1 "),
        ("RCPT TO:<b@mondomaine.fr>", "503 5.5.1 "),
        ("DATA", "503 5.5.1 "),
    ],
)
def test_before_ehlo(line: str, reply: str) -> None:
    """What may be said at once, and what needs EHLO first."""
    assert Session().say(line)[0].startswith(reply)


@pytest.mark.parametrize(
    "octets", [b"NOOP \xff", b"NOOP a\0b", b"NOOP a\rb", b"RSET \xc3\xa9", b"DATA\0"]
)
def test_octets_that_no_command_may_have(octets: bytes) -> None:
    """Controls, NUL, a CR alone, broken UTF-8: refused, and the session goes on."""
    session = Session()
    assert session.say(octets)[0][:9] in ("501 5.5.2", "500 5.5.2")
    assert session.say("NOOP") == ["250 2.0.0 OK"]


@pytest.mark.parametrize("octets", [b"NOOP\n", b"\n", b"NOOP\r\nNOOP\nNOOP\r\n", b"MAIL\n\r\n"])
def test_a_bare_lf_in_the_commands_ends_the_session(octets: bytes) -> None:
    """521, and nothing behind it is obeyed."""
    session = Session()
    session.feed(octets)
    assert session.last.startswith("521 5.5.2 ")
    assert session.closed
    assert session.say("NOOP") == []


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_the_longest_line(step: int) -> None:
    """Limits.line octets are taken; one more ends the session, however it comes."""
    for excess in (0, 1):
        line = b"NOOP " + b"x" * (Limits().line - 5 + excess) + b"\r\nNOOP\r\n"
        session = Session()
        session.feed(*(line[at : at + step] for at in range(0, len(line), step)))
        if excess:
            assert session.last == "500 5.5.2 Line too long"
            assert session.closed
        else:
            assert session.trace[1:] == [("reply", "250 2.0.0 OK")] * 2


def test_a_line_without_end_is_not_kept() -> None:
    """Memory: what is pending stays below the limit, and a closed session keeps nothing."""
    session = Session()
    session.feed(*([b"x" * 100] * 100))
    assert session.most_pending <= Limits().line + 100
    assert session.dialogue.pending == 0


# Parameters


MAIL_PARAMETERS = {
    "SIZE=0": 250,
    "SIZE=52428800": 250,
    "SIZE=52428801": 552,
    "SIZE=9999999999999999999": 552,
    "SIZE=99999999999999999999": 501,
    "SIZE=-1": 501,
    "SIZE=+1": 501,
    "SIZE=1_0": 501,
    "SIZE=": 501,
    "SIZE": 501,
    "SIZE=1 SIZE=1": 501,
    "BODY=7BIT": 250,
    "body=8bitmime": 250,
    "BODY=BINARYMIME": 501,
    "BODY": 501,
    "BODY=7BIT BODY=8BITMIME": 501,
    "SMTPUTF8": 250,
    "SMTPUTF8=yes": 501,
    "SMTPUTF8 SMTPUTF8": 501,
    "RET=FULL": 250,
    "RET=hdrs": 250,
    "RET=BOTH": 501,
    "ENVID=QQ314159": 250,
    "ENVID=<a+20b@example.org>": 250,
    "ENVID=a+0D+0AX": 501,
    "ENVID=+FF": 501,
    f"ENVID={'x' * 100}": 250,
    f"ENVID={'x' * 101}": 501,
    "AUTH=<>": 555,
    "FOO": 555,
    "=": 555,
    "NOTIFY=NEVER": 555,
    "SIZE=5 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x": 250,
}


@pytest.mark.parametrize(("parameters", "code"), MAIL_PARAMETERS.items(), ids=MAIL_PARAMETERS)
def test_parameters_of_mail(parameters: str, code: int) -> None:
    """RFC 1870, 6152, 6531, 3461; what is unknown is 555 (RFC 5321, 4.1.1.11)."""
    session = Session()
    session.say("EHLO x")
    [reply] = session.say(f"MAIL FROM:<a@example.org> {parameters}")
    assert int(reply[:3]) == code
    state = State.MAIL if code == 250 else State.READY
    assert session.dialogue.state is state


def test_the_transaction_knows_its_parameters() -> None:
    """They are what the envelope is made of."""
    session = Session()
    session.say("EHLO x")
    session.say("MAIL FROM:<élan@élan.fr> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=hdrs ENVID=<a+2Bb>")
    transaction = session.dialogue.transaction
    assert transaction is not None
    assert transaction == server.Transaction(
        "élan@xn--lan-9la.fr", {}, smtputf8=True, eightbit=True, returns="HDRS", envid="<a+b>"
    )
    assert session.trace[-2:] == [("sender", "élan@xn--lan-9la.fr", 7), ("reply", "250 2.0.0 OK")]


RCPT_PARAMETERS = {
    "": Recipient("b@mondomaine.fr"),
    "NOTIFY=NEVER": Recipient("b@mondomaine.fr", Notify.NEVER),
    "notify=success,Failure,DELAY": Recipient(
        "b@mondomaine.fr", Notify.SUCCESS | Notify.FAILURE | Notify.DELAY
    ),
    "ORCPT=rfc822;b+2Bc@example.org": Recipient("b@mondomaine.fr", 0, "rfc822;b+c@example.org"),
    "ORCPT=rfc822;": Recipient("b@mondomaine.fr", 0, "rfc822;"),
    r"ORCPT=utf-8;\x{E9}@example.org": Recipient("b@mondomaine.fr", 0, r"utf-8;\x{E9}@example.org"),
    "ORCPT=utf-8;+C3+A9@example.org": Recipient("b@mondomaine.fr", 0, "utf-8;é@example.org"),
    "NOTIFY=NEVER,SUCCESS": 501,
    "NOTIFY=": 501,
    "NOTIFY=DELAY,": 501,
    "NOTIFY=ALWAYS": 501,
    "NOTIFY=DELAY NOTIFY=DELAY": 501,
    "ORCPT=b@example.org": 501,
    "ORCPT=;b@example.org": 501,
    "ORCPT=rfc 822;b": 501,
    "ORCPT=rfc822;a=b": 501,
    "ORCPT=rfc822;+0A": 501,
    "ORCPT=utf-8;é@example.org": 553,
    f"ORCPT=rfc822;{'x' * 501}": 501,
    "RRVS=2014-04-03T23:01:00Z": 555,
    "SIZE=1": 555,
}


@pytest.mark.parametrize(("parameters", "expected"), RCPT_PARAMETERS.items(), ids=RCPT_PARAMETERS)
def test_parameters_of_rcpt(parameters: str, expected: Recipient | int) -> None:
    """RFC 3461, 4.1 and 4.2; RFC 6533 for the utf-8 address type."""
    session = Session()
    session.begin("first@mondomaine.fr")
    [reply] = session.say(f"RCPT TO:<b@mondomaine.fr> {parameters}")
    if isinstance(expected, Recipient):
        assert ("recipient", expected) == session.trace[-2]
        assert reply == "250 2.0.0 OK"
    else:
        assert int(reply[:3]) == expected
    transaction = session.dialogue.transaction
    assert transaction is not None
    assert "first@mondomaine.fr" in transaction.recipients


def test_smtputf8_in_a_recipient() -> None:
    """Non-ASCII recipients and ORCPT only in a transaction that asked for SMTPUTF8."""
    session = Session()
    session.begin()
    assert session.say("RCPT TO:<é@mondomaine.fr>")[0].startswith("553 5.6.7 ")
    session.say("RSET")
    session.say("MAIL FROM:<> SMTPUTF8")
    session.say("RCPT TO:<é@ÉLAN.fr> ORCPT=utf-8;é@élan.fr")
    recipient = Recipient("é@xn--lan-9la.fr", 0, "utf-8;é@élan.fr")
    assert session.trace[-2] == ("recipient", recipient)


@pytest.mark.parametrize(
    "line", ["MAIL FROM:<é@b.fr>", "MAIL FROM:<a@é.fr> SIZE=1", "MAIL FROM:<a@b.fr> é"]
)
def test_non_ascii_without_smtputf8(line: str) -> None:
    """Refused: the next host could not be told."""
    session = Session()
    session.say("EHLO x")
    assert session.say(line)[0][:3] in ("553", "555")
    assert session.dialogue.transaction is None


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("<@a.test,@b.test:b@mondomaine.fr>", "b@mondomaine.fr"),
        ('<"b b"@mondomaine.fr>', '"b b"@mondomaine.fr'),
        ("<b@[192.0.2.1]>", "b@[192.0.2.1]"),
        ("<b@[IPv6:2001:db8::0:1]>", "b@[ipv6:2001:db8::1]"),
        ("<PostMaster>", "PostMaster"),
        (" <b@MONDOMAINE.fr.>", "b@mondomaine.fr"),
        ("<b@XN--LAN-9LA.fr>", "b@xn--lan-9la.fr"),
        ("b@mondomaine.fr", "b@mondomaine.fr"),
    ],
)
def test_recipients_in_all_forms(path: str, address: str) -> None:
    """Routes, quotes, literals, postmaster, any case, A-labels."""
    session = Session()
    session.begin("first@mondomaine.fr")
    assert session.say(f"RCPT TO:{path}") == ["250 2.0.0 OK"]
    assert session.trace[-2] == ("recipient", Recipient(address))


def test_the_null_sender_and_a_sender_without_domain() -> None:
    """<> is for reports (RFC 5321, 4.5.5); only recipients may lack a domain."""
    session = Session()
    session.say("EHLO x")
    assert session.say("MAIL FROM:<postmaster>")[0].startswith("553 5.1.7 ")
    assert session.say("MAIL FROM:<>") == ["250 2.0.0 OK"]
    assert session.trace[-2] == ("sender", "", 0)


# Sequence


def test_sequence_errors() -> None:
    """503, or 554 when every recipient has been refused; the transaction stays as it was."""
    session = Session()
    session.say("EHLO x")
    assert session.say("RCPT TO:<b@mondomaine.fr>")[0].startswith("503 5.5.1 ")
    session.say("MAIL FROM:<>")
    assert session.say("MAIL FROM:<>")[0].startswith("503 5.5.1 ")
    assert session.say("DATA")[0].startswith("554 5.5.1 ")
    assert session.say("STARTTLS")[0].startswith("503 5.5.1 ")
    session.say("RCPT TO:<b@mondomaine.fr>")
    session.say("BDAT 0")
    assert session.say("DATA")[0].startswith("503 5.5.1 ")
    assert session.say("RCPT TO:<c@mondomaine.fr>")[0].startswith("503 5.5.1 ")
    session.feed(b"BDAT 7 LAST\r\nhello\r\n")
    assert session.messages == [b"hello\r\n"]


def test_a_message_answered_ends_the_transaction() -> None:
    """Whatever the answer is; the next needs a MAIL of its own, and no EHLO."""
    for code in (250, 451, 550):
        session = Session(answers([250, 250, code, 250]))
        session.begin()
        session.say("DATA")
        assert session.say(".")[0].startswith(str(code))
        assert session.dialogue.state is State.READY
        assert session.say("DATA")[0].startswith("503 ")
        assert session.say("MAIL FROM:<>")[0].startswith("250 ")


def test_refused_sender_and_recipients_leave_nothing() -> None:
    """Only positive answers count."""
    session = Session(answers([550, 250, 450, 354, 251]))
    session.say("EHLO x")
    session.say("MAIL FROM:<a@example.org>")
    assert session.dialogue.transaction is None
    session.say("MAIL FROM:<a@example.org>")
    session.say("RCPT TO:<b@mondomaine.fr>")
    session.say("RCPT TO:<c@mondomaine.fr>")
    assert session.dialogue.state is State.MAIL
    session.say("RCPT TO:<d@mondomaine.fr>")
    transaction = session.dialogue.transaction
    assert transaction is not None
    assert list(transaction.recipients) == ["d@mondomaine.fr"]


def test_a_recipient_given_twice_is_one() -> None:
    """The first counts, with its parameters."""
    session = Session()
    session.begin()
    session.say("RCPT TO:<c@mondomaine.fr> NOTIFY=NEVER")
    session.say("RCPT TO:<c@MonDomaine.FR> NOTIFY=DELAY")
    transaction = session.dialogue.transaction
    assert transaction is not None
    assert list(transaction.recipients) == ["b@mondomaine.fr", "c@mondomaine.fr"]
    assert transaction.recipients["c@mondomaine.fr"].notify == Notify.NEVER


def test_a_thousand_recipients() -> None:
    """452 beyond, those before kept, and the message goes to them."""
    session = Session()
    session.begin("0@mondomaine.fr")
    wire = "".join(f"RCPT TO:<{number}@mondomaine.fr>\r\n" for number in range(1, 1_004))
    session.feed(wire.encode())
    replies = [entry[1] for entry in session.trace if entry[0] == "reply"]
    assert [reply[:9] for reply in replies[-5:]] == ["250 2.0.0"] + ["452 4.5.3"] * 4
    transaction = session.dialogue.transaction
    assert transaction is not None
    assert len(transaction.recipients) == 1_000
    session.feed(b"DATA\r\nhello\r\n.\r\n")
    assert session.messages == [b"hello\r\n"]


@pytest.mark.parametrize("before", ["RSET", "EHLO y", "HELO y"])
def test_reset_between_chunks(before: str) -> None:
    """The chunks so far are dropped, and the next message does not begin with them."""
    session = Session()
    session.begin()
    session.feed(b"BDAT 5\r\nfirst")
    session.say(before)
    assert session.content == []
    assert session.dialogue.transaction is None
    assert session.say("BDAT 0 LAST")[0].startswith("503 ")
    session.say("MAIL FROM:<>")
    session.say("RCPT TO:<b@mondomaine.fr>")
    session.feed(b"BDAT 8 LAST\r\nsecond\r\n")
    assert session.messages == [b"second\r\n"]


# DATA and BDAT refused


@pytest.mark.parametrize("first", ["", "MAIL FROM:<>", "DATA x"])
def test_content_behind_a_refused_data_is_not_run(first: str) -> None:
    """A client that did not wait loses the session, and not a line of its message is a command."""
    wire = INJECTED + b"DATA\r\nforged\r\n.\r\nQUIT\r\n"
    session = Session()
    session.say("EHLO x")
    verb = b"DATA\r\n"
    if first == "DATA x":
        session.begin()
        verb = b"DATA x\r\n"
    elif first:
        session.say(first)
    session.feed(verb + wire)
    assert session.last == UNASKED
    assert session.closed
    assert session.messages == []
    assert not any(entry[:2] == ("sender", "evil@example.org") for entry in session.trace)


@pytest.mark.parametrize("verb", [b"DATA", b"DATA x", b"DATA \xff", b"DATA \0"])
@pytest.mark.parametrize("place", [4, 6, 12])
def test_content_behind_a_refused_data_that_comes_later(verb: bytes, place: int) -> None:
    """The same when TCP brings it in two pieces: a header is no command, so the session ends."""
    session = Session(answers([250, 250, 550]) if verb == b"DATA" else answers([250]))
    session.say("EHLO x")
    session.say("MAIL FROM:<>")
    if verb != b"DATA":
        session.say("RCPT TO:<b@mondomaine.fr>")
    wire = verb + b"\r\nSubject: x\r\n\r\nRSET\r\nMAIL FROM:<evil@example.org>\r\n.\r\n"
    session.feed(wire[:place], wire[place:])
    assert session.last == UNASKED
    assert session.closed


def test_a_client_that_waited_goes_on_after_a_refused_data() -> None:
    """RSET, MAIL, QUIT: an ordinary life after all recipients were refused."""
    session = Session(answers([250, 550]))
    session.say("EHLO x")
    session.feed(b"MAIL FROM:<>\r\nRCPT TO:<b@mondomaine.fr>\r\nDATA\r\n")
    assert session.last.startswith("554 5.5.1 ")
    assert session.say("RSET") == ["250 2.0.0 OK"]
    assert session.say("FROB")[0].startswith("500 ")
    assert not session.closed


@pytest.mark.parametrize("before", [[], ["EHLO x"], ["EHLO x", "MAIL FROM:<>"]])
def test_a_refused_chunk_is_skipped(before: list[str]) -> None:
    """RFC 3030, 2: its octets are accepted and discarded, whatever they look like."""
    session = Session()
    for line in before:
        session.say(line)
    chunk = b"MAIL FROM:<evil@example.org>\r\n\n.\r\n"
    session.feed(b"BDAT %d LAST\r\n" % len(chunk) + chunk + b"NOOP\r\n")
    assert [entry[1][:9] for entry in session.trace[-2:]] == ["503 5.5.1", "250 2.0.0"]
    assert ("sender", "evil@example.org", 0) not in session.trace
    assert session.dialogue.state is (State.READY if before else State.GREETED)


@pytest.mark.parametrize("line", BAD_CHUNKS)
@pytest.mark.parametrize("in_transaction", [True, False])
def test_a_chunk_of_unknown_size_ends_the_session(line: bytes, in_transaction: bool) -> None:
    """Nobody knows where the commands go on, so none is obeyed any more."""
    session = Session()
    if in_transaction:
        session.begin()
    session.feed(line + b"\r\nMAIL FROM:<evil@example.org>\r\n")
    assert session.last.startswith("501 5.5")
    assert session.closed


def test_chunks_sent_ahead_of_a_refusal_are_skipped() -> None:
    """A client with hundreds of chunks under way gets a reply to each, and keeps its session."""
    session = Session(limits=Limits(message_size=100, errors=5))
    session.begin()
    session.feed(b"BDAT 80\r\n" + b"x" * 80 + (b"BDAT 80\r\n" + b"x" * 80) * 200 + b"NOOP\r\n")
    codes = [entry[1][:9] for entry in session.trace if entry[0] == "reply"][4:]
    assert codes == ["250 2.0.0", "552 5.3.4"] + ["503 5.5.1"] * 199 + ["250 2.0.0"]


def test_a_message_in_thousands_of_chunks() -> None:
    """Exim sends 8 KB a chunk: they are content, and do not count as so many commands."""
    session = Session(limits=Limits(commands=50))
    session.begin()
    session.feed(b"BDAT 1\r\nx" * 500 + b"BDAT 2 LAST\r\n\r\n")
    assert session.messages == [b"x" * 500 + b"\r\n"]
    session.say("MAIL FROM:<>")
    session.say("RCPT TO:<b@mondomaine.fr>")
    session.feed(b"BDAT 0\r\n" * 60)
    assert session.last.startswith("421 4.7.0 ")


def test_chunks_say_how_much_has_come() -> None:
    """A CR that waits for its LF counts too."""
    session = Session()
    session.begin()
    session.feed(b"BDAT 6\r\nhello\r")
    assert session.last == "250 2.0.0 6 octets received"
    session.feed(b"BDAT 1 LAST\r\n\n")
    assert session.messages == [b"hello\r\n"]


# Sizes


@pytest.mark.parametrize("step", [1, 50, 10_000])
@pytest.mark.parametrize("bare", [b"", b"\n"])
def test_too_big_with_data(step: int, bare: bytes) -> None:
    """552 at its end, in step; a bare newline in it outranks that, however it comes."""
    session = Session(limits=Limits(message_size=100))
    session.begin()
    session.say("DATA")
    wire = b"x" * 200 + bare + b"\r\n.\r\n"
    session.feed(*(wire[at : at + step] for at in range(0, len(wire), step)))
    assert session.last.startswith("550 5.6.11 " if bare else "552 5.3.4 ")
    assert session.content == []
    assert session.messages == []
    assert session.say("NOOP") == ["250 2.0.0 OK"]


def test_exactly_the_limit() -> None:
    """The limit itself is taken, by DATA (stuffed dots do not count) and by BDAT."""
    session = Session(limits=Limits(message_size=100))
    session.begin()
    session.feed(b"DATA\r\n.." + b"x" * 97 + b"\r\n.\r\n")
    session.begin()
    session.feed(b"BDAT 60\r\n" + b"y" * 60 + b"BDAT 40 LAST\r\n" + b"y" * 40)
    assert session.messages == [b"." + b"x" * 97 + b"\r\n", b"y" * 100]


@pytest.mark.parametrize("size", [101, 1_000])
@pytest.mark.parametrize("last", [b"", b" LAST"])
def test_too_big_with_bdat(size: int, last: bytes) -> None:
    """What is announced is enough to refuse; the octets are skipped, then 552, in step."""
    session = Session(limits=Limits(message_size=100))
    session.begin()
    session.feed(b"BDAT %d%b\r\n" % (size, last) + b"y" * size + b"NOOP\r\n")
    assert [entry[1][:9] for entry in session.trace[-2:]] == ["552 5.3.4", "250 2.0.0"]
    assert session.messages == []


def test_a_chunk_that_never_ends() -> None:
    """Nineteen digits: nothing of it is kept, and nothing in it is obeyed."""
    session = Session()
    session.begin()
    before = len(session.trace)
    session.feed(b"BDAT 9999999999999999999 LAST\r\n", *([b"RSET\r\n" * 100] * 10))
    assert len(session.trace) == before
    assert session.content == []
    assert session.dialogue.pending == 0


# Limits of a session


def test_too_many_commands() -> None:
    """421 after so many without a message; a message accepted begins a new count."""
    session = Session(limits=Limits(commands=10))
    for _ in range(5):
        session.begin()
        session.feed(b"DATA\r\n.\r\n")
    session.feed(b"NOOP\r\n" * 10)
    assert not session.closed
    session.feed(b"NOOP\r\n" * 10)
    assert session.last.startswith("421 4.7.0 ")
    assert session.closed
    assert len(session.messages) == 5


def test_too_many_errors() -> None:
    """421 behind the reply to one error too many; refused recipients count."""
    session = Session(answers([250, 550]), Limits(errors=3))
    session.begin()
    session.feed(b"FROB\r\n" * 5)
    codes = [entry[1][:9] for entry in session.trace if entry[0] == "reply"][3:]
    assert codes == ["550 5.0.0", *["500 5.5.2"] * 3, "421 4.7.0"]
    assert session.closed


def test_an_answer_421_ends_the_session() -> None:
    """To any event; nothing pipelined behind it is looked at."""
    for number in range(3):
        session = Session(answers([250] * number + [421]))
        session.feed(
            b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@mondomaine.fr>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n"
        )
        assert session.last == "421 4.0.0 as told"
        assert session.closed
        assert session.dialogue.pending == 0
        assert session.dialogue.transaction is None


# The two moments of trust: the banner and STARTTLS


def test_an_early_talker() -> None:
    """Who speaks before the banner gets 554 instead of it, without an enhanced code."""
    session = Session(greet=False)
    session.feed(b"EHLO x\r\n")
    assert session.trace == []
    session.dialogue.greet()
    session.run()
    assert session.trace[0] == ("reply", "554 You spoke before the banner")
    assert session.closed
    assert session.say("NOOP") == []


def test_starttls() -> None:
    """RFC 3207, 4.2: 220, then everything from before is forgotten, and it is not offered again."""
    session = Session()
    session.begin()
    assert session.say("STARTTLS")[0].startswith("503 ")
    session.say("RSET")
    assert session.say("STARTTLS x")[0].startswith("501 ")
    assert session.say("STARTTLS") == ["220 2.0.0 Ready to start TLS"]
    assert session.trace[-1] == ("tls",)
    assert session.dialogue.hello == ""
    assert not session.dialogue.extended
    assert session.dialogue.state is State.GREETED
    assert session.say("MAIL FROM:<>")[0].startswith("503 ")
    assert "STARTTLS" not in session.say("EHLO x")[0]
    assert session.say("STARTTLS")[0].startswith("503 ")
    assert Session(tls_offered=False).say("STARTTLS")[0].startswith("502 ")


@pytest.mark.parametrize("place", range(len(b"STARTTLS\r\n") + 3))
def test_nothing_said_in_clear_survives_starttls(place: int) -> None:
    """RFC 3207, 6: octets behind STARTTLS end the session, wherever TCP cuts."""
    session = Session()
    session.say("EHLO x")
    wire = b"STARTTLS\r\n" + INJECTED
    session.feed(wire[:place], wire[place:])
    session.settle()
    assert session.last == PAST_TLS
    assert session.closed
    assert session.dialogue.state is State.CLOSED
    assert not any(entry[0] in ("sender", "recipient") for entry in session.trace)


def test_a_handshake_after_the_end_revives_nothing() -> None:
    """A session that was shut down while it shook hands stays closed."""
    session = Session()
    session.feed(b"STARTTLS\r\n")
    session.dialogue.shut_down(Reply(421, "4.3.2", "Bye"))
    session.dialogue.tls_started()
    session.run()
    assert session.dialogue.state is State.CLOSED
    assert session.say("NOOP") == []


# Shutting down


@settings(max_examples=200)
@given(GROUPS, CODES, st.integers(0, 60), st.booleans())
def test_shutting_down_at_any_moment(
    groups: list[bytes], codes: list[int], after: int, slow: bool
) -> None:
    """421 and Closed, once, and no event after them: not a message whose client was told 421."""
    dialogue = ServerDialogue(HOSTNAME, SMALL, tls_offered=True)
    dialogue.greet()
    answer = answers(codes)
    reply = Reply(421, "4.3.2", "Closing")
    waiting: list[server.Event] = []
    dialogue.receive_data(b"".join(groups))
    for _ in range(after):
        event = dialogue.next_event()
        if event is None and not waiting:
            break
        if isinstance(event, server.Closed):
            return
        if dialogue.waiting and event is not None:
            waiting.append(event)
        if waiting and not (slow and event is not None):
            dialogue.answer(answer(waiting.pop()))
    dialogue.data_to_send()
    already = dialogue.state is State.CLOSED
    dialogue.shut_down(reply)
    dialogue.shut_down(reply)
    events = []
    while (event := dialogue.next_event()) is not None:
        events.append(event)
    assert [type(event) for event in events] == [server.Closed]
    assert dialogue.data_to_send() == (b"" if already else b"421 4.3.2 Closing\r\n")
    if dialogue.waiting:
        dialogue.answer(OK)
    dialogue.receive_data(b"NOOP\r\n")
    dialogue.greet()
    assert dialogue.next_event() is None
    assert dialogue.data_to_send() == b""
    assert dialogue.pending == 0


def test_shutting_down_before_the_banner() -> None:
    """421 stands in its place."""
    session = Session(greet=False)
    session.dialogue.shut_down(Reply(421, "4.7.0", "Too many sessions"))
    session.dialogue.greet()
    session.run()
    assert session.trace[0] == ("reply", "421 4.7.0 Too many sessions")
    assert session.closed


# The caller's own refusal


@pytest.mark.parametrize("wire", [b"DATA\r\nhello\r\n.\r\n", b"BDAT 7 LAST\r\nhello\r\n"])
@pytest.mark.parametrize("step", [1, 8, 1000])
def test_content_that_cannot_be_kept(wire: bytes, step: int) -> None:
    """A full disk: the message gets that reply and is never offered, even if its end is here."""
    dialogue = ServerDialogue(HOSTNAME, Limits(), tls_offered=False)
    dialogue.greet()
    said, events = b"", []
    script = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@mondomaine.fr>\r\n" + wire + b"NOOP\r\n"
    for at in range(0, len(script), step):
        dialogue.receive_data(script[at : at + step])
        while (event := dialogue.next_event()) is not None:
            events.append(type(event))
            if dialogue.waiting:
                dialogue.answer(OK)
            elif isinstance(event, Content):
                dialogue.refuse_content(Reply(452, "4.3.1", "Not enough room"))
        said += dialogue.data_to_send()
    assert MessageEnded not in events
    assert events.count(Content) == 1
    assert events.count(ContentDropped) <= 1
    assert read_replies(said)[-2:] == ["452 4.3.1 Not enough room", "250 2.0.0 OK"]
    assert dialogue.state is State.READY


def test_answering_nothing_is_a_mistake_of_the_caller() -> None:
    """RuntimeError, not a reply that nobody asked for."""
    session = Session()
    with pytest.raises(RuntimeError):
        session.dialogue.answer(OK)
