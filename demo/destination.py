"""The mail server at the other end of the demonstration: it takes everything and keeps the digests.

A receiving SMTP server (RFC 5321) in threads, with PIPELINING, SIZE, 8BITMIME, SMTPUTF8 and
ENHANCEDSTATUSCODES. It shares no code with Mail6M, so that it can bear witness to what was relayed.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar

GREETING = "220 destination.test ESMTP"
EXTENSIONS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
COMMAND_BYTES = 4096
PIECE_BYTES = 65536
SILENCE_SECONDS = 300.0

_PATH = re.compile(rb'[^<]*<(?:@[^:>]*:)?((?:"(?:[^"\\]|\\.)*"|[^">])*)>')
_TRACE = re.compile(rb"Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Copy:
    """One message as it arrived: its envelope, its size in bytes, and SHA-256 digests in hex."""

    sender: str
    recipients: tuple[str, ...]
    size: int
    sha256: str
    original: str
    """The digest of what stood behind the first Received field; empty if none was in front."""


def without_trace(content: bytes) -> bytes | None:
    """What the content was before the last relay put its Received field in front (RFC 5321, 4.4).

    None if the content does not begin with a Received field.
    """
    trace = _TRACE.match(content)
    return content[trace.end() :] if trace else None


class Destination:
    """Listens on a loopback port until it is closed; a taken ``port`` raises `OSError`."""

    def __init__(self, port: int = 0) -> None:
        self._copies: list[Copy] = []
        self._arrival = threading.Condition()
        self._server = _Server(("127.0.0.1", port), self._keep)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def copies(self) -> tuple[Copy, ...]:
        """What has arrived so far, oldest first."""
        with self._arrival:
            return tuple(self._copies)

    def wait_for(self, arrived: Callable[[tuple[Copy, ...]], bool], timeout: float) -> bool:
        """Wait until ``arrived`` holds of the copies, at most ``timeout`` seconds; does it?"""
        with self._arrival:
            return self._arrival.wait_for(lambda: arrived(tuple(self._copies)), timeout)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Destination:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _keep(self, copy: Copy) -> None:
        with self._arrival:
            self._copies.append(copy)
            self._arrival.notify_all()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], keep: Callable[[Copy], None]) -> None:
        self.keep = keep
        super().__init__(address, _Session)


class _Session(socketserver.StreamRequestHandler):
    """One client's dialogue. The buffered reader is what makes pipelining work: nothing is lost."""

    server: _Server
    timeout = SILENCE_SECONDS
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._reset()

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self._reply(GREETING)
            while self._command(self.rfile.readline(COMMAND_BYTES)):
                pass

    def _command(self, line: bytes) -> bool:
        """Answer one command line; False when the dialogue is over."""
        if not line.endswith(b"\r\n"):
            return False
        verb, _, argument = line[:-2].partition(b" ")
        name = verb.upper().decode("ascii", "replace")
        answer = self._answers.get(name)
        self._reply(answer(self, argument) if answer else "500 5.5.1 Unknown command")
        return name != "QUIT"

    def _reply(self, reply: str) -> None:
        self.wfile.write(f"{reply}\r\n".encode())

    def _reset(self) -> None:
        self._sender: str | None = None
        self._recipients: list[str] = []

    def _ehlo(self, argument: bytes) -> str:
        self._reset()
        *lines, last = ("destination.test", *EXTENSIONS)
        return "".join(f"250-{line}\r\n" for line in lines) + f"250 {last}"

    def _helo(self, argument: bytes) -> str:
        self._reset()
        return "250 destination.test"

    def _mail(self, argument: bytes) -> str:
        path = _PATH.match(argument)
        if not path or not argument.upper().startswith(b"FROM:"):
            return "501 5.5.4 MAIL FROM:<address>"
        if self._sender is not None:
            return "503 5.5.1 A transaction is open"
        self._sender = path[1].decode(errors="surrogateescape")
        return "250 2.1.0 Ok"

    def _rcpt(self, argument: bytes) -> str:
        path = _PATH.match(argument)
        if not path or not path[1] or not argument.upper().startswith(b"TO:"):
            return "501 5.5.4 RCPT TO:<address>"
        if self._sender is None:
            return "503 5.5.1 MAIL first"
        self._recipients.append(path[1].decode(errors="surrogateescape"))
        return "250 2.1.5 Ok"

    def _data(self, argument: bytes) -> str:
        if self._sender is None or not self._recipients:
            return "503 5.5.1 RCPT first"
        self._reply("354 End with a dot")
        content = self._content()
        original = without_trace(content)
        self.server.keep(
            Copy(
                self._sender,
                tuple(self._recipients),
                len(content),
                hashlib.sha256(content).hexdigest(),
                "" if original is None else hashlib.sha256(original).hexdigest(),
            )
        )
        self._reset()
        return "250 2.0.0 Taken"

    def _content(self) -> bytes:
        """Read to CRLF.CRLF, and nothing less, without the stuffed dots (RFC 5321, 4.5.2)."""
        content = bytearray()
        while piece := self.rfile.readline(PIECE_BYTES):
            at_line_start = not content or content.endswith(b"\r\n")
            if at_line_start and piece == b".\r\n":
                return bytes(content)
            content += piece[1:] if at_line_start and piece.startswith(b".") else piece
        raise ConnectionResetError("the client went away inside the data")

    def _rset(self, argument: bytes) -> str:
        self._reset()
        return "250 2.0.0 Ok"

    def _noop(self, argument: bytes) -> str:
        return "250 2.0.0 Ok"

    def _vrfy(self, argument: bytes) -> str:
        return "252 2.5.0 Send it and see"

    def _quit(self, argument: bytes) -> str:
        return "221 2.0.0 Bye"

    _answers: ClassVar[dict[str, Callable[[_Session, bytes], str]]] = {
        "EHLO": _ehlo,
        "HELO": _helo,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "RSET": _rset,
        "NOOP": _noop,
        "VRFY": _vrfy,
        "QUIT": _quit,
    }
