"""Mail6M at work: a server, a customer, a morning's mail, and what became of each message.

``python demo/run.py [--data DIR] [--fresh] [--once]``. Everything stays on the loopback interface
and under DIR: the server has an embedded PostgreSQL, and mail that it writes itself (a bounce, say)
goes to the demonstration's own destination, never to the Internet.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import http.client
import io
import json
import os
import re
import shlex
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import IO, Any

from destination import Copy, Destination
from messages import DOMAIN, Mail, mails

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
SMTP_PORT, WEB_PORT, DESTINATION_PORT = 2525, 8080, 25250
MX_NAMES = ("mx1.mail6m.com", "mx2.mail6m.com")
COMPANY, ACCOUNT, PASSWORD = "Duchemin", "georges@duchemin.fr", "tiroir-malle-armoire"

CLIENT = "mx.example.org"
"""The name that we give as a sending server."""

START_SECONDS = 60.0
STOP_SECONDS = 15.0
RELAY_SECONDS = 30.0
SMTP_SECONDS = 30.0
COMMAND_SECONDS = 60.0
POLL_SECONDS = 0.1
LOG_LINES = 20
LOG_NAME = "demo.log"
CHUNKS = 3
QUEUE_NAME = 8
"""How much of a queue name is shown: its end, which differs the most."""
PIPE_WIDTH = 200
"""Columns when the output is no terminal: room for every subject."""


class Failure(Exception):
    """The demonstration cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to one message, and when: the reply that settled it."""

    at: datetime
    code: int
    text: str

    @property
    def accepted(self) -> bool:
        """Has the server taken the message?"""
        return self.code == 250

    @property
    def name(self) -> str:
        """The queue name in the reply to an accepted message, or the reply's enhanced status."""
        status = re.match(r"[245]\.\d{1,3}\.\d{1,3}\b", self.text)
        if not self.accepted:
            return f"{self.code} {status[0]}" if status else str(self.code)
        named = re.search(r"queued as (\S+)|(\S*\d\S{7,})", self.text)
        return (named[1] or named[2]) if named else "yes"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one message; sizes are bytes, and 0 for what is not in the archive."""

    mail: Mail
    answer: Answer
    raw_size: int = 0
    stored_size: int = 0
    relayed: str = ""
    """``exact``, ``altered``, ``missing``; empty for a message that was refused."""

    @property
    def archived(self) -> bool:
        """Is it in the archive, with the digest and the size of what was sent?"""
        return self.raw_size == len(self.mail.content)

    @property
    def as_expected(self) -> bool:
        """Did happen what should happen to such a message?"""
        if self.mail.refusal:
            return self.answer.code == self.mail.refusal and not self.raw_size and not self.relayed
        return self.answer.accepted and self.archived and self.relayed == "exact"


class Page:
    """Lines for a person: coloured on a terminal unless NO_COLOR is set (no-color.org)."""

    def __init__(self, out: IO[str], environ: Mapping[str, str]) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._coloured = self._terminal and "NO_COLOR" not in environ
        self.width = shutil.get_terminal_size().columns if self._terminal else PIPE_WIDTH

    def line(self, text: str = "", colour: int = 0) -> None:
        """Print a line, in an ANSI colour if one is given."""
        text = f"\x1b[{colour}m{text}\x1b[0m" if colour and self._coloured else text
        print(text, file=self._out, flush=True)

    @contextlib.contextmanager
    def step(self, doing: str) -> Iterator[None]:
        """Say what is being done, and how long it took once it is."""
        print(f"{doing} ...", end="", file=self._out, flush=True)
        begun = time.monotonic()
        try:
            yield
        except BaseException:
            print(file=self._out, flush=True)
            raise
        print(f" {time.monotonic() - begun:.1f} s", file=self._out, flush=True)


class Server:
    """A ``twistd mail6m`` of our own, in its own process group so that ^C reaches us alone."""

    def __init__(self, data: Path, log: IO[bytes], smtp: int, web: int, smarthost: int) -> None:
        self.smtp, self.web, self._log = smtp, web, Path(log.name)
        options = {
            "data": str(data),
            "smtp": f"tcp:{smtp}:interface={LOOPBACK}",
            "web": f"tcp:{web}:interface={LOOPBACK}",
            "smarthost": f"{LOOPBACK}:{smarthost}",
        }
        self._process = subprocess.Popen(
            [
                *_launcher(),
                "mail6m",
                *(f"--{name}={value}" for name, value in options.items()),
                *(f"--mx={name}" for name in MX_NAMES),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        """Is the process there?"""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Return once SMTP and HTTP answer; else raise `Failure`."""
        deadline = time.monotonic() + START_SECONDS
        while not (_greets(self.smtp) and _status(self.web, "/health")):
            if not self.alive:
                raise self.failure(f"The server ended at once (status {self._process.returncode}).")
            if time.monotonic() > deadline:
                raise self.failure(f"The server did not come up in {START_SECONDS:.0f} s.")
            time.sleep(POLL_SECONDS)

    def wait(self) -> None:
        """Return when the process ends."""
        self._process.wait()

    def stop(self) -> bool:
        """Ask it to end (SIGTERM), and wait; False if it had to be killed."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True

    def failure(self, what: str) -> Failure:
        """``what`` happened, with the last lines of the log and what to do."""
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return Failure(
            f"{what} The end of its log, {self._log}:\n\n"
            + "\n".join(f"    {line}" for line in lines or ["(nothing)"])
            + "\n\nIf the log does not say what to do, `make demo` installs everything anew, and"
            "\n`--fresh` begins with an empty archive."
        )


class Operator:
    """The ``mail6m`` commands on one data directory."""

    def __init__(self, data: Path) -> None:
        script = Path(sys.executable).with_name("mail6m")
        program = [str(script)] if script.exists() else [sys.executable, "-m", "mail6m.cli"]
        self._program = [*program, "--data", str(data)]

    def run(self, *arguments: str, answer: str = "") -> Any:
        """The JSON value that a command prints; a refusal is a `Failure` with its words."""
        command = [*self._program, *arguments, "--json"]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                input=answer,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"`mail6m {' '.join(arguments)}` gave no answer.") from None
        if done.returncode:
            raise Failure(f"`mail6m {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def customer(self) -> int:
        """The number of the demonstration's customer, who is made if missing."""
        for row in self.run("customer", "list"):
            if row["company"] == COMPANY:
                return int(row["customer"])
        account = ("--email", ACCOUNT, "--plan", "tiroir", "--password-stdin")
        made = self.run("customer", "add", "--company", COMPANY, *account, answer=f"{PASSWORD}\n")
        return int(made["customer"])

    def route(self, customer: int, port: int) -> None:
        """Have the domain's mail relayed to the loopback ``port``."""
        host = f"{LOOPBACK}:{port}"
        rows = self.run("domain", "list", "--customer", str(customer))
        known = [row for row in rows if row["domain"] == DOMAIN]
        if known and host in json.dumps(known):
            return
        if known:
            self.run("domain", "remove", DOMAIN)
        self.run("domain", "add", DOMAIN, "--customer", str(customer), "--to", host)

    def archived(self, customer: int) -> int:
        """How many messages the customer's archive holds."""
        row = self.run("customer", "show", str(customer))
        return int(row["cabinet_messages"]) + int(row["cellar_messages"])

    def listing(self, customer: int, since: datetime) -> dict[str, Any]:
        """What has been archived ``since``, by SHA-256."""
        span = ("--from", since.isoformat(), "--limit", "1000")
        rows = self.run("message", "list", "--customer", str(customer), *span)
        return {row["sha256"]: row for row in rows}


def send(mail: Mail, port: int) -> Answer:
    """Offer ``mail`` to the server as a sending mail server does; its last word on it.

    Raises `OSError` or `smtplib.SMTPException` when the dialogue breaks.
    """
    with smtplib.SMTP(LOOPBACK, port, CLIENT, timeout=SMTP_SECONDS) as smtp:
        smtp.ehlo()
        if mail.needs and not smtp.has_extn(mail.needs):
            return _answer(0, f"the server does not offer {mail.needs.upper()}")
        code, text = smtp.mail(mail.sender, _parameters(mail, smtp))
        for recipient in mail.recipients if code == 250 else ():
            code, text = smtp.rcpt(recipient)
            if code != 250:
                break
        if code == 250:
            code, text = _transfer(mail, smtp)
        return _answer(code, text)


def _answer(code: int, text: bytes | str) -> Answer:
    said = text if isinstance(text, str) else text.decode(errors="replace")
    return Answer(datetime.now().astimezone(), code, said)


def _parameters(mail: Mail, smtp: smtplib.SMTP) -> list[str]:
    parameters = [f"SIZE={len(mail.content)}"] if smtp.has_extn("size") else []
    if not mail.content.isascii() and smtp.has_extn("8bitmime"):
        parameters.append("BODY=8BITMIME")
    if mail.needs == "smtputf8":
        parameters.append("SMTPUTF8")
    return parameters


def _transfer(mail: Mail, smtp: smtplib.SMTP) -> tuple[int, bytes]:
    """The content by DATA, or by BDAT (RFC 3030) for a message that needs CHUNKING."""
    if mail.needs != "chunking":
        return smtp.data(mail.content)
    size = -(-len(mail.content) // CHUNKS)
    code, text = 0, b""
    for start in range(0, len(mail.content), size):
        chunk = mail.content[start : start + size]
        last = " LAST" if start + size >= len(mail.content) else ""
        smtp.send(b"BDAT %d%b\r\n%b" % (len(chunk), last.encode(), chunk))
        code, text = smtp.getreply()
        if code != 250:
            break
    return code, text


def arrived(mail: Mail, copies: Sequence[Copy]) -> bool:
    """Has every recipient got a copy that is exact behind the Received field put in front?"""
    exact = (copy for copy in copies if copy.original == mail.sha256)
    return set(mail.recipients) <= {name for copy in exact for name in copy.recipients}


def wait_relayed(sent: Sequence[Mail], destination: Destination, server: Server) -> None:
    """Return when all of ``sent`` has arrived, when time is up, or when the server is gone."""
    deadline = time.monotonic() + RELAY_SECONDS
    while server.alive and time.monotonic() < deadline:
        if destination.wait_for(lambda copies: all(arrived(mail, copies) for mail in sent), 1.0):
            return


def fate(mail: Mail, answer: Answer, archive: Mapping[str, Any], copies: Sequence[Copy]) -> Fate:
    """What became of ``mail``, by the archive's listing and by what the destination got."""
    row = archive.get(mail.sha256, {"raw_size": 0, "stored_size": 0})
    sizes = int(row["raw_size"]), int(row["stored_size"])
    if arrived(mail, copies):
        return Fate(mail, answer, *sizes, "exact")
    alike = [copy for copy in copies if copy.sender == mail.sender]
    others = [copy for copy in alike if set(copy.recipients) & set(mail.recipients)]
    if mail.refusal and not others and not answer.accepted:
        return Fate(mail, answer, *sizes)
    return Fate(mail, answer, *sizes, "altered" if others else "missing")


def size(count: int) -> str:
    """Bytes for a person, in at most 7 columns: ``996 B``, ``60.4 kB``, ``6.84 MB``."""
    amount, unit = (count / 1e6, "MB") if count >= 999_500 else (count / 1e3, "kB")
    if count < 1000:
        return f"{count} B"
    return f"{amount:.{2 if amount < 9.995 else 1 if amount < 99.95 else 0}f} {unit}"


def saved(raw: int, stored: int) -> str:
    """What compression saved, in percent."""
    return f"{100 * (raw - stored) / raw:.0f} %" if raw else "-"


def row_of(outcome: Fate) -> tuple[str, ...]:
    """One row of the table."""
    mail, answer = outcome.mail, outcome.answer
    stored = "-"
    if outcome.raw_size:
        percent = saved(outcome.raw_size, outcome.stored_size)
        stored = f"{size(outcome.raw_size):>7} -> {size(outcome.stored_size):>7}  {percent:>4}"
    relayed = outcome.relayed or ("refused" if outcome.as_expected else "failed")
    name = answer.name[-QUEUE_NAME:] if answer.accepted else answer.name
    sender = mail.sender or "<>"
    return (f"{answer.at:%H:%M:%S}", sender, mail.subject, name, stored, relayed, mail.about)


HEADINGS = ("Time", "Sender", "Subject", "Accepted", "Stored", "Relayed", "About")
SENDER, SUBJECT, ABOUT = 1, 2, 6


def table(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Aligned lines, headings first, in ``width`` columns (80 at least).

    What does not fit goes: the last column at first, then the ends of subjects and senders.
    """
    whole = [HEADINGS, *rows]
    widths = [max(len(row[column]) for row in whole) for column in range(len(HEADINGS))]
    if sum(widths) + 2 * ABOUT > width:
        del widths[ABOUT]
    excess = max(0, sum(widths) + 2 * (len(widths) - 1) - width)
    for column, least in ((SUBJECT, 32), (SENDER, 20), (SUBJECT, 11), (SENDER, 10)):
        cut = min(excess, max(0, widths[column] - least))
        widths[column] -= cut
        excess -= cut
    return [
        "  ".join(_cell(text, width) for text, width in zip(row, widths, strict=False)).rstrip()
        for row in whole
    ]


def _cell(text: str, width: int) -> str:
    return (text if len(text) <= width else f"{text[: width - 1]}~").ljust(width)


def show(page: Page, fates: Sequence[Fate]) -> None:
    """The table and the totals."""
    headings, *lines = table([row_of(outcome) for outcome in fates], page.width)
    page.line()
    page.line(headings, 1)
    for line, outcome in zip(lines, fates, strict=True):
        page.line(line, (2 if outcome.mail.refusal else 0) if outcome.as_expected else 31)
    page.line()
    for outcome in fates:
        if not outcome.as_expected:
            said = f"{outcome.answer.code} {outcome.answer.text}"
            page.line(f"not as expected: {outcome.mail.subject} (the server said: {said})", 31)
    wanted = [outcome for outcome in fates if not outcome.mail.refusal]
    raw = sum(outcome.raw_size for outcome in fates)
    stored = sum(outcome.stored_size for outcome in fates)
    refused = [outcome for outcome in fates if outcome.mail.refusal]
    exact = sum(outcome.relayed == "exact" for outcome in wanted)
    page.line(
        f"Messages   {sum(outcome.answer.accepted for outcome in wanted)}/{len(wanted)}"
        f" accepted, {sum(outcome.as_expected for outcome in refused)}/{len(refused)}"
        " refused as they should be"
    )
    page.line(
        f"Archived   {sum(outcome.archived for outcome in wanted)}/{len(wanted)}"
        f" with the SHA-256 of what was sent, {size(raw)} -> {size(stored)},"
        f" {saved(raw, stored)} saved"
    )
    page.line(f"Relayed    {exact}/{len(wanted)} byte for byte, behind one Received field")


def post(page: Page, morning: Sequence[Mail], server: Server) -> list[Answer]:
    """Send everything, in turn."""
    answers = []
    with page.step(f"Sending {len(morning)} messages by SMTP"):
        for mail in morning:
            try:
                answers.append(send(mail, server.smtp))
            except smtplib.SMTPResponseException as error:
                answers.append(_answer(error.smtp_code, error.smtp_error))
            except (OSError, smtplib.SMTPException) as error:
                if not server.alive:
                    raise server.failure("The server ended while it was sent mail.") from error
                answers.append(_answer(0, f"the dialogue broke off: {error!r}"))
    return answers


def settle(page: Page, operator: Operator, destination: Destination) -> int:
    """Make sure of the customer and its domain, and say what its archive holds; its number."""
    with page.step(f"Making sure of the customer {COMPANY} and its domain {DOMAIN}"):
        customer = operator.customer()
        operator.route(customer, destination.port)
        before = operator.archived(customer)
    if before:
        page.line(f"Going on with an archive of {before} messages; --fresh would empty it.")
    else:
        page.line("A clean start: the archive is empty.")
    return customer


def demonstrate(
    page: Page, server: Server, operator: Operator, destination: Destination, customer: int
) -> bool:
    """Send the mail and show what happened to it; did everything go as it should?"""
    start = datetime.now().astimezone().replace(microsecond=0)
    morning = mails(start)
    answers = post(page, morning, server)
    sent = [mail for mail, answer in zip(morning, answers, strict=True) if answer.accepted]
    with page.step("Waiting for the destination"):
        wait_relayed(sent, destination, server)
    with page.step("Asking the archive"):
        archive = operator.listing(customer, start)
    copies = destination.copies
    fates = [
        fate(mail, answer, archive, copies) for mail, answer in zip(morning, answers, strict=True)
    ]
    show(page, fates)
    digests = {mail.sha256 for mail in morning}
    if strangers := sum(copy.original not in digests for copy in copies):
        page.line(f"Besides    {strangers} at the destination from an earlier run or by Mail6M")
    return all(outcome.as_expected for outcome in fates)


def near(path: Path) -> str:
    """The path as a person in the current directory would write it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def addresses(
    page: Page, data: Path, server: Server, destination: Destination, customer: int
) -> None:
    """Where everything is, and how to look further."""
    program = Path(sys.executable).with_name("mail6m")
    shown = near(program) if program.exists() else "python -m mail6m.cli"
    if shutil.which("mail6m") == str(program):
        shown = "mail6m"
    web = f"http://{LOOPBACK}:{server.web}"
    page.line()
    page.line(f"SMTP         {LOOPBACK}:{server.smtp}, for anyone at {DOMAIN}")
    if _status(server.web, "/") not in (0, HTTPStatus.NOT_FOUND):
        page.line(f"Console      {web}/, as {ACCOUNT}, password {PASSWORD}")
    page.line(f"Metrics      {web}/metrics, and {web}/health")
    page.line(f"Destination  {LOOPBACK}:{destination.port}, which keeps digests only")
    page.line(f"Data         {data}, with the log in {LOG_NAME}")
    look = f"--data {shlex.quote(near(data))} message list --customer {customer}"
    page.line(f"To look      {shown} {look}")


def take(data: Path, fresh: bool) -> IO[bytes]:
    """The log of a data directory that is ours alone; emptied if ``fresh``.

    The log marks a directory as the demonstration's, and its lock goes with the server that
    inherits it: neither two demonstrations nor one and a server that outlived another can meet.
    """
    log_path = data / LOG_NAME
    if data.exists() and not log_path.exists() and any(data.iterdir()):
        raise Failure(f"{data} is not a demonstration's directory: choose another by --data.")
    data.mkdir(parents=True, exist_ok=True)
    log = log_path.open("ab")
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        log.close()
        raise Failure(
            f"Another demonstration, or its server, is at work on {data}: stop it, or choose"
            f" another directory by --data. (`fuser {log_path}` names the process.)"
        ) from None
    log.truncate(0)
    for entry in data.iterdir() if fresh else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != log_path:
            entry.unlink()
    return log


def free_port(page: Page, preferred: int, purpose: str) -> int:
    """``preferred``, or any free loopback port if it is taken, which is said."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            found = int(probe.getsockname()[1])
            if found != preferred:
                page.line(f"Port {preferred} is taken: {purpose} uses {found}.")
            return found
    raise Failure("There is no free port on the loopback interface.")


def _launcher() -> list[str]:
    """The way of starting Twisted that finds our plugin."""
    twist = [sys.executable, "-m", "twisted"]
    twistd = [str(Path(sys.executable).with_name("twistd"))]
    for program, options in ((twist, ["--log-format=text"]), (twistd, ["-n", "--pidfile="])):
        with contextlib.suppress(FileNotFoundError):
            known = subprocess.run([*program, "--help"], cwd=ROOT, capture_output=True, text=True)
            if re.search(r"^\s+mail6m\b", known.stdout, re.MULTILINE):
                return [*program, *options]
    raise Failure("Twisted does not find the plugin mail6m: `make demo` installs it.")


def _greets(port: int) -> bool:
    with contextlib.suppress(OSError), smtplib.SMTP(LOOPBACK, port, CLIENT, timeout=5):
        return True
    return False


def _status(port: int, path: str) -> int:
    """The status of an HTTP reply; 0 if there is none."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def serving(page: Page, data: Path, log: IO[bytes], smarthost: int) -> Iterator[Server]:
    """A server that is ready, and stopped at the end whatever happens."""
    smtp = free_port(page, SMTP_PORT, "SMTP")
    web = free_port(page, WEB_PORT, "the console")
    first = "" if any(entry.name != LOG_NAME for entry in data.iterdir()) else ", the first time"
    server: Server | None = None
    try:
        with page.step(f"Starting Mail6M and its database in {near(data)}{first}"):
            server = Server(data, log, smtp, web, smarthost)
            server.wait_ready()
        yield server
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if server is not None and server.alive:
            with contextlib.suppress(BrokenPipeError):
                page.line("Stopping the server ...")
            if not server.stop():
                page.line(f"It had to be killed after {STOP_SECONDS:.0f} s; see its log.", 31)


def run(page: Page, data: Path, fresh: bool, once: bool) -> bool:
    """The whole demonstration; did everything go as it should?"""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(take(data, fresh))
        port = free_port(page, DESTINATION_PORT, "the destination")
        destination = stack.enter_context(Destination(port))
        server = stack.enter_context(serving(page, data, log, port))
        operator = Operator(data)
        customer = settle(page, operator, destination)
        good = demonstrate(page, server, operator, destination, customer)
        addresses(page, data, server, destination, customer)
        if not once:
            page.line("\nRunning until ^C.")
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()
                raise server.failure("The server ended.")
        return good


def main() -> int:
    """The exit status: 0 if all was accepted, archived and relayed as it should be, else 1."""
    parser = argparse.ArgumentParser(description="Show Mail6M at work, on this machine alone.")
    parser.add_argument("--data", type=Path, default=Path("demo-data"), metavar="DIR")
    parser.add_argument("--fresh", action="store_true", help="begin with an empty archive")
    parser.add_argument("--once", action="store_true", help="end after the report")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    page = Page(sys.stdout, os.environ)
    try:
        return 0 if run(page, options.data.resolve(), options.fresh, options.once) else 1
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output is gone (`| head`); the interpreter would flush to it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
