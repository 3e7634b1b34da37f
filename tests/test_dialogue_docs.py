"""The tables of docs/smtp-dialogue.md are what the dialogue does.

``PYTHONPATH=. python tests/test_dialogue_docs.py`` writes them anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from dialogue_driver import Call, Session, transfer

from mail6m.dialogue.client import STEPS, Ready, SessionFailed, Step, TlsWanted, TransferEnded
from mail6m.dialogue.server import COMMANDS, State
from mail6m.model import TlsPolicy

DOCUMENT = Path(__file__).parent.parent / "docs" / "smtp-dialogue.md"

WAYS = {
    State.GREETED: [],
    State.READY: ["EHLO x"],
    State.MAIL: ["EHLO x", "MAIL FROM:<>"],
    State.RCPT: ["EHLO x", "MAIL FROM:<>", "RCPT TO:<b@mondomaine.fr>"],
    State.CHUNKED: ["EHLO x", "MAIL FROM:<>", "RCPT TO:<b@mondomaine.fr>", "BDAT 0"],
}
LINES = {
    "EHLO": ["EHLO x"],
    "HELO": ["HELO x"],
    "MAIL": ["MAIL FROM:<>"],
    "RCPT": ["RCPT TO:<b@mondomaine.fr>"],
    "BDAT": ["BDAT 0", "BDAT 0 LAST"],
}

TO_CLIENT = ["as hoped", "4xx", "5xx", "421", "out of place", "not SMTP"]
HOPED = {Step.GREETING: "220", Step.STARTTLS: "220", Step.DATA: "354", Step.QUIT: "221"}


def server_table() -> str:
    """Verb by state: the reply when the caller answers 250, and the state that follows."""
    rows = [["", *(f"`{state.name}`" for state in WAYS)]]
    for verb in (verb.decode() for verb in COMMANDS):
        for line in LINES.get(verb, [verb]):
            cells = [_served(before, state, line) for state, before in WAYS.items()]
            rows.append([f"**{line.replace(' 0', ' n') if verb == 'BDAT' else verb}**", *cells])
    return _table(rows)


def _served(before: list[str], state: State, line: str) -> str:
    session = Session()
    for command in before:
        session.say(command)
    assert session.dialogue.state is state
    start = len(session.trace)
    session.feed(line.encode() + b"\r\n")
    code = next(entry[1][:3] for entry in session.trace[start:] if entry[0] == "reply")
    after = session.dialogue.state
    return code if after is state else f"{code} → `{after.name}`"


def client_table() -> str:
    """Step by kind of reply: what is said next, and what the caller is told."""
    rows = [["reply to", *TO_CLIENT]]
    for step in STEPS:
        hoped = HOPED.get(step, "250")
        replies = [hoped, "450", "550", "421", "250" if hoped == "354" else "354", "?"]
        rows.append([f"**{step.value}**", *(_led_to(step, reply) for reply in replies)])
    return _table(rows)


def _led_to(step: Step, reply: str) -> str:
    call = _at(step)
    before = len(call.events)
    said = call.hear(f"{reply} words\r\n".encode())
    parts = [
        "content" if line == "hello" else f"`{line[:8] if line == 'STARTTLS' else line[:4]}`"
        for line in said.decode().split("\r\n")
        if line not in ("", ".")
    ]
    for event in call.events[before:]:
        match event:
            case Ready():
                parts.append("ready")
            case TlsWanted():
                parts.append("handshake")
            case TransferEnded(ended):
                assert ended.replies[0] is not None
                code = ended.replies[0].code
                parts.append("delivered" if code == 250 else f"recipients get {code}")
            case SessionFailed(why):
                parts.append("session over" if why.code == 221 else f"session fails, {why.code}")
            case _:
                pass
    return ", ".join(parts)


def _at(step: Step) -> Call:
    """A call in which the reply to this is awaited."""
    call = Call(TlsPolicy.OPPORTUNISTIC)
    call.handshakes = False
    if step is Step.GREETING:
        pass
    elif step in (Step.EHLO, Step.HELO):
        call.hear(b"220 hi\r\n", *([b"502 what\r\n"] if step is Step.HELO else []))
    elif step is Step.STARTTLS:
        call.open("STARTTLS")
    else:
        call.open()
        _in_transaction(call, step)
    assert call.dialogue.step == step.value
    return call


def _in_transaction(call: Call, step: Step) -> None:
    if step is Step.QUIT:
        call.dialogue.quit()
        call.run()
        return
    call.send(transfer("b@example.test"))
    if step is Step.RSET:
        call.hear(b"550 no\r\n")
        call.send(transfer("b@example.test"))
    for reply in [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"]:
        if call.dialogue.step == step.value:
            return
        call.hear(reply)


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


TABLES = {"server": server_table, "client": client_table}


def renewed(text: str) -> str:
    """The document with its tables made anew."""
    for name, table in TABLES.items():
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        made = table()
        assert "\\" not in made
        text, found = re.subn(pattern, rf"\1{made}\n\2", text, flags=re.DOTALL)
        assert found == 1, f"no place for the {name} table"
    return text


def test_the_tables_are_current() -> None:
    """The document says what the dialogue does; write it anew when this fails."""
    text = DOCUMENT.read_text()
    assert renewed(text) == text


def test_every_extension_is_documented() -> None:
    """What EHLO announces stands in the document."""
    text = DOCUMENT.read_text()
    [reply] = Session().say("EHLO x")
    for line in reply.splitlines()[1:]:
        assert line.split()[0] in text


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text()))
