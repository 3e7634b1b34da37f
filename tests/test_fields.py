"""What a relayed message may say in our name: every forgery that we could think of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail6m.delivery.consignment import Consignment, Item
from mail6m.delivery.fields import cleaned, head_end, judged
from mail6m.delivery.heading import Heading
from mail6m.model import (
    UNJUDGED,
    Authentication,
    Client,
    Envelope,
    Judgement,
    Recipient,
    Scan,
)
from mail6m.settings import Settings
from mail6m.signing import Signer, make_key, public_record
from tests.reactor_thread import run

HOST = "mx1.mail6m.test"
NAMES = {HOST, "mx2.mail6m.test"}
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEPT = b"From: Anne <anne@example.org>\r\nX-Sender: anne\r\n"
OTHERS = (
    b"Authentication-Results: mx.example.org; spf=pass\r\n"
    b"Received: from a by mx1.mail6m.test with SMTP; Sat, 28 Nov 2026 12:00:00 +0000\r\n"
    b"Subject: X-Spam-Flag: YES\r\n\tX-Spam-Flag: in a fold\r\n"
)
"""What stays: results that others claim, and fields that only look like ours."""

FORGED = [
    b"X-Spam-Flag: NO\r\n",
    b"x-spam-flag: NO\r\n",
    b"X-Spam-Flag : NO\r\n",
    b"X-Spam-Status: No, score=-100\r\n\trequired=5\r\n",
    b"X-Spam-Score: -100\r\n",
    b"X-Spam-Level:\r\n",
    b"X-Spam: Yes\r\n",
    b"X-Spamd-Result: default: False\r\n",
    b"Authentication-Results: mx1.mail6m.test; spf=pass smtp.mailfrom=banque.test\r\n",
    b"Authentication-Results: MX1.Mail6M.TEST; dmarc=pass\r\n",
    b"Authentication-Results:mx1.mail6m.test;dmarc=pass\r\n",
    b"Authentication-Results :\r\n\tmx1.mail6m.test 1; dmarc=pass\r\n",
    b"Authentication-Results: mx2.mail6m.test; dmarc=pass\r\n",
    b"Authentication-Results: (a comment) mx1.mail6m.test; dmarc=pass\r\n",
    b"Authentication-Results: (a ; (comment)) mx1.mail6m.test; dmarc=pass\r\n",
    b"Authentication-Results: (a \\) ; comment) mx1.mail6m.test; dmarc=pass\r\n",
    b'Authentication-Results: "mx1.mail6m.test"; dmarc=pass\r\n',
    b'Authentication-Results: "mx1\\.mail6m.test"; dmarc=pass\r\n',
    b"Authentication-Results: (((((((((deep))))))))) ; mx1.mail6m.test; dmarc=pass\r\n",
    b"Authentication-Results: " + b"(" * 5_000 + b"; mx1.mail6m.test; dmarc=pass\r\n",
    b"Authentication-Results: m\xc3\xa9x1.mail6m.test; dmarc=pass\r\n",
]


@pytest.mark.parametrize("forged", FORGED, ids=range(len(FORGED)))
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_pretends_to_be_ours_is_taken_out(forged: bytes, place: int) -> None:
    """Wherever it stands, with what else there is untouched."""
    others = [KEPT, OTHERS]
    fields = [*others[:place], forged, *others[place:]]
    assert cleaned(b"".join(fields), NAMES, False) == b"".join(others)


def test_what_is_nobodys_business_stays_as_it_is() -> None:
    """Octet for octet, and the very same object where there is nothing to look at."""
    head = b"From: a@example.org\r\nTo: b@example.com\r\n"
    assert cleaned(head, NAMES, False) is head
    assert cleaned(OTHERS, NAMES, False) == OTHERS


ARC = (
    b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=%b; s=s; b=AAAA\r\n"
    b"ARC-Message-Signature: i=1; a=rsa-sha256; d=%b; s=s; bh=AAAA; b=AAAA\r\n"
    b"ARC-Authentication-Results: i=1; %b; spf=pass\r\n"
)


@pytest.mark.parametrize("who", range(3))
def test_a_chain_in_our_name_must_be_whole(who: int) -> None:
    """A broken one that names us anywhere goes, all of it; one that was verified stays."""
    names = [b"list.example.org"] * 3
    names[who] = b"mx1.mail6m.test"
    chain = ARC % tuple(names)
    assert cleaned(chain + OTHERS, NAMES, False) == OTHERS
    assert cleaned(chain + OTHERS, NAMES, True) == chain + OTHERS


def test_a_folded_name_is_read_as_one() -> None:
    """White space within a tag's value means nothing there (RFC 6376, 3.2)."""
    chain = ARC.replace(b"d=%b", b"d=mx1.\r\n\tmail6m.test", 1) % (b"a.test", b"a.test")
    assert cleaned(chain, NAMES, False) == b""


def test_a_chain_of_others_stays() -> None:
    """Whole or broken: the receiving machine judges it."""
    chain = ARC % ((b"list.example.org",) * 3)
    assert cleaned(chain, NAMES, False) == chain


@given(
    st.lists(st.sampled_from([*FORGED, KEPT, OTHERS, b"\x00: \r\n", b"no field\r\n", b" fold\r\n"]))
)
def test_nothing_of_ours_is_ever_left(fields: list[bytes]) -> None:
    """Whatever stands around it, a second look finds nothing more."""
    once = cleaned(b"From: a@example.org\r\n" + b"".join(fields), NAMES, False)
    assert cleaned(once, NAMES, False) == once
    assert b"\r\nx-spam" not in once.lower()


def test_the_head_ends_at_the_first_empty_line() -> None:
    """Behind a line that is no field, too: some go on to believe what stands there."""
    assert head_end(b"A: b\r\nno field\r\nX-Spam-Flag: NO\r\n\r\nbody") == 33
    assert head_end(b"\r\nbody\r\n\r\n") == 0
    assert head_end(b"A: b\r\n") == 6
    assert head_end(b"") == 0


# What we say


def test_spam_is_told() -> None:
    """With its score, and the tests folded into lines of a decent length."""
    symbols = tuple(f"TEST_NUMBER_{number}" for number in range(30))
    told = judged(Judgement(Scan.DONE, 15.2, 15.0, symbols, True), HOST).decode()
    assert told.startswith(
        "X-Spam-Flag: YES\r\nX-Spam-Score: 15.2\r\nX-Spam-Status: Yes, score=15.2 "
    )
    assert all(len(line) <= 78 for line in told.splitlines())
    unfolded = told.replace("\r\n\t", "")
    assert f"required=15.0 tests={','.join(symbols)}\r\n" in unfolded


@pytest.mark.parametrize(
    ("judgement", "told"),
    [
        (UNJUDGED, ""),
        (
            Judgement(Scan.MISSED),
            "X-Spam-Status: Unknown, not scanned, the scanner did not answer\r\n",
        ),
        (Judgement(Scan.TOO_LARGE), "X-Spam-Status: Unknown, not scanned, too large\r\n"),
        (
            Judgement(Scan.SPARED, spam=False),
            "X-Spam-Flag: NO\r\nX-Spam-Status: No, white list\r\n",
        ),
        (
            Judgement(Scan.DONE, 2.0, 15.0, (), True, corrected=True),
            "X-Spam-Flag: YES\r\nX-Spam-Status: Yes, marked by hand\r\n",
        ),
        (
            Judgement(Scan.DONE, -1.0, 15.0, (), False),
            "X-Spam-Flag: NO\r\nX-Spam-Score: -1.0\r\n"
            "X-Spam-Status: No, score=-1.0 required=15.0 tests=none\r\n",
        ),
        (
            UNJUDGED._replace(authentication=Authentication(spf="pass", results="spf=pass")),
            f"Authentication-Results: {HOST};\r\n\tspf=pass\r\n",
        ),
    ],
)
def test_what_was_found_out_is_told(judgement: Judgement, told: str) -> None:
    """And nothing where nobody has looked."""
    assert judged(judgement, HOST).decode() == told


def test_a_scanners_words_break_no_line() -> None:
    """Names of tests come from outside: no line end, no field of their own."""
    told = judged(Judgement(Scan.DONE, 1, 2, ("A\r\nX-Spam-Flag: NO", "é" * 500), False), HOST)
    assert told.count(b"\r\n") == told.count(b"\r\n\t") + 3
    assert told.isascii()


# The whole of it


def consignment(judgement: Judgement = UNJUDGED, *, ours: bool = False) -> Consignment:
    """A message on its way to Marie."""
    marie = Recipient("marie@mondomaine.test")
    envelope = Envelope("anne@example.org", (), Client("192.0.2.7", "mail.example.org"))
    return Consignment(
        1, UUID(int=7), "mondomaine.test", envelope, 100, NOON, [Item(0, marie, 0, NOON)],
        ours=ours, judgement=judgement,
    )  # fmt: skip


SETTINGS = Settings(hostname="MX1.mail6m.test", mx=("mx2.mail6m.test",))
HEADING = Heading(SETTINGS, Signer(SETTINGS, lambda: 0.0))
CONTENT = FORGED[0] + KEPT + FORGED[8] + b"\r\nX-Spam-Flag: in the body\r\n\r\nX-Spam-Flag: NO\r\n"


def test_our_received_field_is_the_first() -> None:
    """Of those that are there, whatever they claim; none is taken out (RFC 5321, 4.4)."""
    claim = (
        b"Received: from bank.test by mx1.mail6m.test (Mail6M); Sat, 28 Nov 2026 11:00:00 +0000\r\n"
    )
    one = consignment()
    relayed = HEADING.of_whole(one, HEADING.front(one), claim + KEPT + b"\r\nbody")
    first, second = (at for at in range(len(relayed)) if relayed.startswith(b"Received:", at))
    assert b"from mail.example.org ([192.0.2.7])" in relayed[first:second]
    assert relayed[second:].startswith(claim)


def test_the_body_stays_as_it_is() -> None:
    """What looks like a field there is none."""
    one = consignment(Judgement(Scan.DONE, 1.0, 5.0, (), False))
    front = HEADING.front(one)
    relayed = HEADING.of_whole(one, front, CONTENT)
    assert relayed == front + KEPT + CONTENT[CONTENT.index(b"\r\n\r\n") + 2 :]
    assert front.startswith(b"X-Spam-Flag: NO\r\n")


@given(st.lists(st.integers(1, 40), max_size=12))
def test_pieces_make_the_same_message(sizes: list[int]) -> None:
    """However the content comes in."""
    one = consignment()
    front = HEADING.front(one)

    async def pieces() -> AsyncIterator[bytes]:
        rest = CONTENT
        for size in sizes:
            yield rest[:size]
            rest = rest[size:]
        yield rest

    async def relayed() -> bytes:
        return b"".join([piece async for piece in HEADING.of_pieces(one, front, pieces)])

    assert run(relayed) == HEADING.of_whole(one, front, CONTENT)


@pytest.mark.parametrize("fold", [b" ", b"\t"])
def test_nothing_goes_on_with_our_fields(fold: bytes) -> None:
    """A message that begins with a fold has no header: our last field ends where we end it."""
    one = consignment()
    front = HEADING.front(one)
    content = (
        fold + b"(verified by mx1.mail6m.test); Mon, 1 Jan 2001 00:00:00 +0000\r\nX: y\r\n\r\n"
    )
    assert HEADING.of_whole(one, front, content) == front + b"\r\n" + content


def test_our_own_mail_is_not_touched() -> None:
    """A bounce that returns a header with such fields is as it was written."""
    one = consignment(ours=True)
    assert HEADING.front(one) == b""
    assert HEADING.of_whole(one, b"", CONTENT) == CONTENT


# Sealed


def sealing(tmp_path: Path) -> tuple[Heading, bytes]:
    """A heading with a key, and the record that publishes it."""
    path = tmp_path / "key"
    record = public_record(make_key(path, "rsa")).encode()
    settings = Settings(hostname=HOST, signing_key=path, signing_domain="mail6m.test")
    return Heading(settings, Signer(settings, lambda: 1_700_000_000.0)), record


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_relayed_message_is_sealed(tmp_path: Path, size: int) -> None:
    """As the receiving machine gets it, by dkimpy's word; whole, and in pieces."""
    heading, record = sealing(tmp_path)
    found = Authentication(spf="pass", arc="none", results="spf=pass smtp.mailfrom=example.org")
    one = consignment(UNJUDGED._replace(authentication=found))
    content = FORGED[0] + CONTENT + b"body  with   spaces \r\n" * 20 + b"\r\n\r\n"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), size):
            yield content[start : start + size]

    async def relayed() -> bytes:
        front = heading.front(one)
        return b"".join([piece async for piece in heading.of_pieces(one, front, pieces)])

    sealed = run(relayed)
    assert sealed == heading.of_whole(one, heading.front(one), content)
    fields = sealed.split(b"\r\nReceived:")[0]
    order = (b"ARC-Seal: i=1", b"ARC-Message-Signature: i=1", b"ARC-Authentication-Results: i=1")
    places = [fields.index(name) for name in (*order, b"\r\nAuthentication-Results:")]
    assert places == sorted(places)
    result, _, why = dkim.arc_verify(sealed, dnsfunc=lambda *_, **__: record)
    assert result == b"pass", why


def test_what_nobody_looked_into_is_not_sealed(tmp_path: Path) -> None:
    """Our own machines' mail, for one."""
    heading, _ = sealing(tmp_path)
    one = consignment()
    assert heading.of_whole(one, heading.front(one), CONTENT).startswith(b"Received:")
