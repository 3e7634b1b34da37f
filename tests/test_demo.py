"""The demonstration: its destination bears true witness, its mail is what it says, and it works."""

from __future__ import annotations

import hashlib
import re
import smtplib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

from destination import Copy, Destination, without_trace
from messages import Mail, mails
from run import Answer, Failure, Fate, fate, row_of, send, size, table, take

ROOT = Path(__file__).resolve().parent.parent
MORNING = mails(datetime(2026, 11, 23, 8, 30, tzinfo=UTC))
PATIENCE = 10.0


@pytest.fixture
def destination() -> Iterator[Destination]:
    """A destination on a free port."""
    with Destination() as destination:
        yield destination


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory that others may enter: root's database runs as a user of its own."""
    with tempfile.TemporaryDirectory(prefix="mail6m-demo-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def transaction(content: bytes) -> bytes:
    """The commands and the stuffed content of one whole transaction, to be sent in one go."""
    return (
        b"MAIL FROM:<> BODY=8BITMIME\r\nRCPT TO:<celine@mondomaine.fr>\r\n"
        b"DATA\r\n" + content + b".\r\n"
    )


def pipeline(port: int, *pieces: bytes) -> list[bytes]:
    """Send EHLO, the pieces and QUIT without waiting for any reply; the codes of all replies."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(b"EHLO mx.example.org\r\n" + b"".join(pieces) + b"QUIT\r\n")
        with connection.makefile("rb") as replies:
            return [line[:3] for line in replies if line[3:4] == b" "]


def test_dots_are_unstuffed(destination: Destination) -> None:
    """What smtplib stuffs comes out as it was: lone dots, leading dots, dots on line 1."""
    content = b".\r\n..\r\n...three\r\ntext\r\n.\r\nlast.\r\n.\r\n"
    with smtplib.SMTP("127.0.0.1", destination.port, timeout=PATIENCE) as client:
        client.sendmail("albert@prodigy.net", ["etienne@mondomaine.fr"], content)
    (copy,) = destination.copies
    assert (copy.sha256, copy.size) == (digest(content), len(content))
    assert (copy.sender, copy.recipients) == ("albert@prodigy.net", ("etienne@mondomaine.fr",))


def test_transactions_may_be_pipelined(destination: Destination) -> None:
    """Two transactions and QUIT in one packet are two messages, each with its replies in order."""
    one, two = b"Subject: un\r\n\r\n", b"Subject: deux\r\n\r\n\xe9\0\r\n"
    codes = pipeline(destination.port, transaction(one), transaction(two))
    assert codes == b"220 250 250 250 354 250 250 250 354 250 221".split()
    assert [copy.sha256 for copy in destination.copies] == [digest(one), digest(two)]


def test_only_crlf_dot_crlf_ends_the_data(destination: Destination) -> None:
    """A dot after a bare LF, or before one, is content: else it would witness to smuggled mail."""
    content = b"a\n.\r\nb\r\n.\nc\r\n"
    stuffed = b"a\n.\r\nb\r\n..\nc\r\n"
    assert pipeline(destination.port, transaction(stuffed))[-2:] == [b"250", b"221"]
    assert [copy.sha256 for copy in destination.copies] == [digest(content)]


@pytest.mark.parametrize("length", range(65_533, 65_538))
def test_a_line_longer_than_a_piece_stays_whole(destination: Destination, length: int) -> None:
    """Wherever a piece that is read ends, inside CRLF too, nothing is lost or unstuffed."""
    content = b"x" * length + b"\r\n.y\r\n"
    pipeline(destination.port, transaction(content.replace(b"\r\n.", b"\r\n..")))
    assert [copy.sha256 for copy in destination.copies] == [digest(content)]


def test_commands_out_of_order_are_refused(destination: Destination) -> None:
    """No recipient without a sender, no content without a recipient, no unknown command."""
    wrong = b"RCPT TO:<a@mondomaine.fr>\r\nDATA\r\nMAIL FROM:<>\r\nDATA\r\nRCPT TO:<>\r\nSAML\r\n"
    assert pipeline(destination.port, wrong)[2:-1] == b"503 503 250 503 501 500".split()
    assert destination.copies == ()


def test_a_message_cut_off_is_not_kept(destination: Destination) -> None:
    """A client that goes away inside the data has sent nothing."""
    with socket.create_connection(("127.0.0.1", destination.port), PATIENCE) as connection:
        connection.sendall(b"EHLO a\r\n" + transaction(b"half\r\n")[:-3])
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as replies:
            assert replies.read().endswith(b"354 End with a dot\r\n")
    assert destination.copies == ()


def test_one_received_field_is_taken_off() -> None:
    """The field in front goes with its folded lines, and no other; without one there is none."""
    rest = b"Received: from elsewhere\r\n\tby here\r\nSubject: a\r\n\r\n"
    assert without_trace(b"Received: from a\r\n by b;\r\n\tdate\r\n" + rest) == rest
    assert without_trace(b"Subject: a\r\n" + rest) is None


def test_the_same_time_makes_the_same_mail() -> None:
    """The mail is deterministic, and every message differs from every other, in any run."""
    again = mails(datetime(2026, 11, 23, 8, 30, tzinfo=UTC))
    later = mails(datetime(2026, 11, 23, 8, 31, tzinfo=UTC))
    assert again == MORNING
    assert len({mail.sha256 for mail in MORNING + later}) == 2 * len(MORNING)


def test_the_mail_is_as_awkward_as_it_says() -> None:
    """Only the message that must be refused for it has a bare newline, and the rest is there."""
    bare = [mail for mail in MORNING if re.search(rb"(?<!\r)\n|\r(?!\n)", mail.content)]
    assert [mail.refusal for mail in bare] == [550]
    assert {mail.needs for mail in MORNING} == {"", "smtputf8", "chunking"}
    assert any(mail.sender == "" for mail in MORNING)
    assert any(len(mail.recipients) > 3 for mail in MORNING)
    assert any(b"\0" in mail.content for mail in MORNING)
    assert any(b"\r\n.\r\n" in mail.content for mail in MORNING)
    assert any(mail.content.endswith(b"\r\n\r\n") for mail in MORNING)
    assert sum(len(mail.content) > 2_000_000 for mail in MORNING) >= 3
    assert max(len(line) for mail in MORNING for line in mail.content.split(b"\r\n")) > 20_000


def test_mail_is_sent_unchanged(destination: Destination) -> None:
    """Whatever needs no extension that the other side lacks arrives byte for byte."""
    plain = [mail for mail in MORNING if mail.needs != "chunking" and not mail.refusal]
    for mail in plain:
        assert send(mail, destination.port).accepted
    copies = destination.copies
    assert [copy.sha256 for copy in copies] == [mail.sha256 for mail in plain]
    assert [copy.recipients for copy in copies] == [mail.recipients for mail in plain]
    assert [copy.sender for copy in copies] == [mail.sender for mail in plain]


def test_mail_that_cannot_be_sent_is_not_called_sent(destination: Destination) -> None:
    """Without CHUNKING on the other side, the message for BDAT is no success."""
    (mail,) = (mail for mail in MORNING if mail.needs == "chunking")
    answer = send(mail, destination.port)
    assert (answer.accepted, answer.text) == (False, "the server does not offer CHUNKING")
    assert not fate(mail, answer, {}, ()).as_expected


def told(mail: Mail, code: int, original: str | None, sha256: str | None = None) -> Fate:
    """The fate of ``mail`` after a reply, with a copy of digest ``original`` and a row if any."""
    answer = Answer(datetime(2026, 11, 23, tzinfo=UTC), code, "2.0.0 Ok: queued as 0123456789ab")
    copies = [Copy(mail.sender, mail.recipients, 1, "", original)] if original is not None else []
    row = {"raw_size": len(mail.content), "stored_size": 1}
    return fate(mail, answer, {sha256 or "": row}, copies)


def test_only_an_exact_copy_and_an_exact_record_are_a_success() -> None:
    """A change on the way, a missing copy or record, or a forbidden success is told as such."""
    mail = MORNING[0]
    assert told(mail, 250, mail.sha256, mail.sha256).as_expected
    assert told(mail, 250, digest(b"else"), mail.sha256).relayed == "altered"
    assert told(mail, 250, None, mail.sha256).relayed == "missing"
    assert not told(mail, 250, digest(b"else"), mail.sha256).as_expected
    assert not told(mail, 250, None, mail.sha256).as_expected
    assert not told(mail, 250, mail.sha256).as_expected
    assert not told(mail, 451, None).as_expected
    refused = MORNING[-1]
    assert told(refused, 550, None).as_expected
    assert not told(refused, 250, None, refused.sha256).as_expected
    assert not told(refused, 550, digest(b"mended")).as_expected
    assert not told(refused, 451, None).as_expected


@pytest.mark.parametrize("width", [80, 100, 132, 200])
def test_the_table_is_aligned_and_fits(width: int) -> None:
    """Columns begin at the same place in every line, and no line is wider than the terminal."""
    fates = [
        told(mail, mail.refusal or 250, None if mail.refusal else mail.sha256, mail.sha256)
        for mail in MORNING
    ]
    lines = table([row_of(outcome) for outcome in fates], width)
    assert max(map(len, lines)) <= width
    starts = [lines[0].index(heading) for heading in ("Sender", "Subject", "Accepted", "Stored")]
    for line in lines:
        assert all(line[start - 2 : start] == "  " and line[start] != " " for start in starts[:3])
    assert ("NUL bytes" in "".join(lines)) is (width == 200)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (999, "999 B"),
        (1000, "1.00 kB"),
        (60_402, "60.4 kB"),
        (384_285, "384 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (6_843_339, "6.84 MB"),
        (99_990_000, "100 MB"),
    ],
)
def test_sizes_are_short(count: int, said: str) -> None:
    """Three digits and the right unit on either side of every step."""
    assert size(count) == said


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Even --fresh deletes nothing in a directory that the demonstration did not make."""
    (tmp_path / "thesis").write_text("important")
    with pytest.raises(Failure, match="not a demonstration's directory"):
        take(tmp_path, fresh=True)
    assert (tmp_path / "thesis").read_text() == "important"


def test_a_directory_is_for_one_demonstration_at_a_time(tmp_path: Path) -> None:
    """A second one is told so, and with --fresh destroys nothing of the first."""
    with take(tmp_path, fresh=False):
        (tmp_path / "keys").mkdir()
        with pytest.raises(Failure, match="is at work"):
            take(tmp_path, fresh=True)
        assert (tmp_path / "keys").exists()
    with take(tmp_path, fresh=True):
        assert [entry.name for entry in tmp_path.iterdir()] == ["demo.log"]


def test_the_whole_demonstration(place: Path) -> None:
    """A first run accepts, archives and relays everything, and says so; a second one goes on."""
    wanted = sum(not mail.refusal for mail in MORNING)
    command = [sys.executable, str(ROOT / "demo" / "run.py"), "--once", "--data", str(place)]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "A clean start" in first.stdout
    assert f"Messages   {wanted}/{wanted} accepted, 2/2 refused" in first.stdout
    assert re.search(rf"Archived   {wanted}/{wanted} with .* -> .* MB, \d\d % saved", first.stdout)
    assert f"Relayed    {wanted}/{wanted} byte for byte" in first.stdout
    for mail in MORNING:
        assert mail.subject in first.stdout
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"Going on with an archive of {wanted} messages" in second.stdout
