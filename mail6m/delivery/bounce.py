"""What a sender is told of a message: delivery status notifications (RFC 3464 in RFC 6522).

A report has three parts: words for people, fields for programs, and the original or its header.
Nothing that a stranger wrote is trusted: addresses, replies and ENVID become single bounded lines,
and the original header travels in quoted-printable whenever it is not plain short ASCII lines. A
report is therefore 7-bit, unless it returns an 8-bit original or names SMTPUTF8 addresses.

A report is sent with the null reverse-path (RFC 3461, 6.2).
"""

from __future__ import annotations

import binascii
import hashlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime
from itertools import count
from typing import Literal, NamedTuple
from uuid import UUID

from mail6m.model import Notify

Action = Literal["failed", "delayed", "relayed", "delivered", "expanded"]
"""What was done about a recipient (RFC 3464, 2.3.3)."""


@dataclass(frozen=True, slots=True)
class Reported:
    """One recipient of a report, and what became of the message there."""

    recipient: str
    original: str
    """ORCPT, decoded: ``rfc822;someone@example.org``, or empty."""
    action: Action
    status: str
    """Enhanced status (RFC 3463), as in ``5.1.1``; ``5.0.0`` or its like replaces nonsense."""
    reply: str
    """The words of the remote host, or ours when ``host`` is empty."""
    host: str
    """The remote host, as a name or as in ``mail.example.org[192.0.2.1]:25``; empty: none."""
    last_attempt_at: datetime | None
    will_retry_until: datetime | None = None
    """Told only of what is delayed."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The message that a report is about."""

    message: UUID
    sender: str
    """Whom the report goes to: never the null sender."""
    envid: str
    """ENVID, decoded, or empty."""
    returns: str
    """RET: ``FULL``, ``HDRS`` or empty."""
    arrived_at: datetime
    header: bytes
    """The original header block, whatever it holds."""
    content: bytes | None
    """The whole original, if RET=FULL was asked for and it is small enough to go back."""
    smtputf8: bool


# The gravest first: a report on several actions is named after the first of them.
_SUBJECTS: dict[Action, str] = {
    "failed": "Non remis / Undelivered",
    "delayed": "En attente / Delayed",
    "relayed": "Transmis / Relayed",
    "expanded": "Diffusé / Expanded",
    "delivered": "Remis / Delivered",
}

_STATUSES: dict[Action, str] = {
    "failed": "5.0.0",
    "delayed": "4.0.0",
    "relayed": "2.0.0",
    "expanded": "2.0.0",
    "delivered": "2.0.0",
}


class _Language(NamedTuple):
    """The words of a report, and for each action what happened and what to do."""

    opening: str
    replied: str
    reason: str
    until: str
    actions: dict[Action, tuple[str, str]]


_FRENCH = _Language(
    "Ceci est un avis automatique du serveur de courrier {host}, au sujet de votre message reçu"
    " le {arrived}. (English below.)",
    "Le serveur {} a répondu :",
    "Motif :",
    "Essais jusqu'au {}.",
    {
        "failed": (
            "Votre message n'a pas pu être remis à :",
            "Il n'y aura pas d'autre essai. Vérifiez l'adresse ; si elle est juste, joignez votre"
            " correspondant par un autre moyen, ou montrez cet avis à la personne qui s'occupe de"
            " votre courrier.",
        ),
        "delayed": (
            "Votre message n'a pas encore pu être remis à :",
            "Vous n'avez rien à faire, et il ne faut pas le renvoyer : les essais continuent.",
        ),
        "relayed": (
            "Votre message a été transmis à un serveur qui n'envoie pas d'avis de remise, pour :",
            "Vous n'avez rien à faire. Il n'y aura pas d'autre avis de remise.",
        ),
        "expanded": (
            "Votre message a été remis à une liste, qui le transmet à ses membres :",
            "Vous n'avez rien à faire.",
        ),
        "delivered": ("Votre message a été remis à :", "Vous n'avez rien à faire."),
    },
)

_ENGLISH = _Language(
    "This is an automatic notice from the mail server {host}, about your message received on"
    " {arrived}.",
    "The server {} replied:",
    "Reason:",
    "It will be tried until {}.",
    {
        "failed": (
            "Your message could not be delivered to:",
            "It will not be tried again. Check the address; if it is right, reach your"
            " correspondent some other way, or show this notice to whoever looks after your mail.",
        ),
        "delayed": (
            "Your message could not yet be delivered to:",
            "You need do nothing, and should not send it again: it is still being tried.",
        ),
        "relayed": (
            "Your message was passed on to a server that sends no delivery notices, for:",
            "You need do nothing. No other notice of delivery will follow.",
        ),
        "expanded": (
            "Your message was delivered to a list, which passes it on to its members:",
            "You need do nothing.",
        ),
        "delivered": ("Your message was delivered to:", "You need do nothing."),
    },
)

_WANTED_BY: dict[Action, Notify] = {
    "failed": Notify.FAILURE,
    "delayed": Notify.DELAY,
    "relayed": Notify.SUCCESS,
    "expanded": Notify.SUCCESS,
    "delivered": Notify.SUCCESS,
}

_LINE = 998
"""Octets in a line without its CRLF (RFC 5322, 2.1.1)."""

_VALUE = 900
"""Octets of a stranger's words in one field: with the field's name, still a legal line."""

_NOT_QCHAR = " +=\\"
"""What RFC 6533, 3 has escaped in an address besides what is not ASCII."""


def wants(notify: int, action: Action) -> bool:
    """Whether a recipient's NOTIFY asks for a report on ``action`` (RFC 3461, 4.1 and 6.2).

    ``notify`` is an or of `Notify` flags; 0, not said, stands for failure and delay.
    """
    if notify & Notify.NEVER:
        return False
    return bool((notify or Notify.FAILURE | Notify.DELAY) & _WANTED_BY[action])


def report(
    returned: Returned,
    recipients: Sequence[Reported],
    hostname: str,
    now: datetime,
    message_id: str,
) -> bytes:
    """The whole message (RFC 5322) that tells the sender what became of ``recipients``.

    ``hostname`` is ours; ``message_id`` is the report's own, with or without its angle brackets.
    Every line ends in CRLF and holds at most 998 octets. It needs 8BITMIME if it is not ASCII, and
    SMTPUTF8 if its sender's address is not. Raises ValueError when there are no recipients, or
    when the sender is null, since a report on a report would never end (RFC 5321, 4.5.5).
    """
    if not returned.sender or not recipients:
        raise ValueError("a report needs a sender to go to and a recipient to speak of")
    parts = (
        _words(returned, recipients, hostname),
        _status(returned, recipients, hostname),
        _original(returned, recipients),
    )
    boundary = _boundary(message_id, parts)
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    header = _header(returned, recipients, hostname, now, message_id)
    mime = (
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
        f' boundary="{boundary.decode()}"\r\n'
        f"Content-Transfer-Encoding: {_transfer(body)}\r\n\r\n"
    )
    return header.encode() + mime.encode() + body + b"--%b--\r\n" % boundary


def _header(
    returned: Returned,
    recipients: Sequence[Reported],
    hostname: str,
    now: datetime,
    message_id: str,
) -> str:
    hostname = _line(hostname)
    return "".join(
        (
            _field("From", f"Mail6M <MAILER-DAEMON@{hostname}>"),
            _field("To", f"<{_line(returned.sender)}>"),
            f"Subject: {_subject(recipients)}\r\n",
            _field("Date", format_datetime(now)),
            _field("Message-ID", f"<{_line(message_id).strip('<>')}>"),
            _field("Auto-Submitted", "auto-replied"),  # RFC 3834, 5
        )
    )


def _subject(recipients: Sequence[Reported]) -> str:
    """The gravest action and the first recipient it befell, RFC 2047-encoded as need be."""
    actions = [one.action for one in recipients]
    gravest = next(action for action in _SUBJECTS if action in actions)
    subject = f"{_SUBJECTS[gravest]}: {_sentence(recipients[actions.index(gravest)].recipient)}"
    if len(recipients) > 1:
        subject += f" (+ {len(recipients) - 1})"
    charset = "us-ascii" if subject.isascii() else "utf-8"
    return Header(subject, charset, header_name="Subject").encode(linesep="\r\n")


def _words(returned: Returned, recipients: Sequence[Reported], hostname: str) -> bytes:
    """Part 1: what happened, to whom, why, and what to do, in French and then in English."""
    host, arrived = _line(hostname), _time(returned.arrived_at)
    lines: list[str] = []
    for language in (_FRENCH, _ENGLISH):
        lines += [*_wrapped(language.opening.format(host=host, arrived=arrived)), ""]
        lines += _told(recipients, language)
    text = "".join(f"{line}\r\n" for line in lines)
    return _part("text/plain; charset=utf-8", "quoted-printable", _quoted(text.encode()))


def _told(recipients: Sequence[Reported], language: _Language) -> Iterator[str]:
    """The recipients by action, the gravest first, each with the words that came with it."""
    for action in _SUBJECTS:
        concerned = [one for one in recipients if one.action == action]
        if not concerned:
            continue
        happened, advice = language.actions[action]
        yield from (happened, "")
        for one in concerned:
            yield f"  <{_line(one.recipient)}>"
            if reply := _sentence(one.reply):
                host = _mta(one.host)
                yield f"    {language.replied.format(host) if host else language.reason}"
                yield from _wrapped(reply, indent="      ")
            if one.will_retry_until and action == "delayed":
                yield f"    {language.until.format(_time(one.will_retry_until))}"
        yield from ("", *_wrapped(advice), "")


def _status(returned: Returned, recipients: Sequence[Reported], hostname: str) -> bytes:
    """Part 2: the same for programs (RFC 3464, 2; with SMTPUTF8 addresses RFC 6533, 4)."""
    addresses = "".join(one.recipient + one.original for one in recipients)
    wide = returned.smtputf8 and not addresses.isascii()
    blocks = [_message_fields(returned, hostname)]
    blocks += [_recipient_fields(one, wide) for one in recipients]
    body = "\r\n".join(blocks).encode()
    kind = "message/global-delivery-status" if wide else "message/delivery-status"
    return _part(kind, _transfer(body), body)


def _message_fields(returned: Returned, hostname: str) -> str:
    # ENVID goes decoded from xtext (RFC 3461, 6.3 a).
    envid = _field("Original-Envelope-Id", _ascii(_line(returned.envid))) if returned.envid else ""
    return (
        envid
        + _field("Reporting-MTA", f"dns; {_line(hostname)}")
        + _field("Arrival-Date", format_datetime(returned.arrived_at))
    )


def _recipient_fields(one: Reported, wide: bool) -> str:
    fields = ""
    if one.original:
        original = _line(one.original)
        fields += _field("Original-Recipient", original if wide else _escaped(original))
    fields += _field("Final-Recipient", _typed(one.recipient, wide))
    fields += _field("Action", one.action)
    well_formed = re.fullmatch(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", one.status)
    fields += _field("Status", one.status if well_formed else _STATUSES[one.action])
    if one.host:
        fields += _field("Remote-MTA", f"dns; {_ascii(_mta(one.host))}")
    if reply := _ascii(_sentence(one.reply)):
        # "smtp" is for what a remote host said in so many words (RFC 3464, 2.3.6).
        fields += _field("Diagnostic-Code", f"{'smtp' if one.host else 'x-mail6m'}; {reply}")
    if one.last_attempt_at:
        fields += _field("Last-Attempt-Date", format_datetime(one.last_attempt_at))
    if one.will_retry_until and one.action == "delayed":
        fields += _field("Will-Retry-Until", format_datetime(one.will_retry_until))
    return fields


def _original(returned: Returned, recipients: Sequence[Reported]) -> bytes:
    """Part 3: the original if its sender asked for it back, else its header.

    The whole original goes back only with news of a failure (RFC 3461, 4.3), and only if it can
    stand as it is: message/rfc822 allows no encoding (RFC 2046, 5.2.1).
    """
    failed = any(one.action == "failed" for one in recipients)
    content = returned.content
    if returned.returns == "FULL" and failed and content is not None and _legal(content):
        kind = "message/global" if _wide(returned) else "message/rfc822"
        return _part(kind, _transfer(content), content)
    header = returned.header
    if _legal(header) and header.isascii():
        return _part("text/rfc822-headers", "7bit", header)
    if _legal(header) and _wide(returned):
        return _part("message/global-headers", "8bit", header)
    return _part("text/rfc822-headers", "quoted-printable", _quoted(header))  # RFC 6522, 4


def _wide(returned: Returned) -> bool:
    """Whether the original's header is an internationalised one (RFC 6532)."""
    if not returned.smtputf8 or returned.header.isascii():
        return False
    try:
        returned.header.decode()
    except UnicodeDecodeError:
        return False
    return True


def _legal(octets: bytes) -> bool:
    """Whether these are 7-bit or 8-bit data as RFC 2045, 2.7 and 2.8 have them."""
    within = octets.replace(b"\r\n", b"")
    return (
        not any(octet in within for octet in (b"\r", b"\n", b"\0"))
        and max(map(len, octets.split(b"\r\n"))) <= _LINE
    )


def _transfer(octets: bytes) -> str:
    return "7bit" if octets.isascii() else "8bit"


def _quoted(octets: bytes) -> bytes:
    """Quoted-printable (RFC 2045, 6.7) of octets in which CRLF alone ends a line."""
    lines = (binascii.b2a_qp(line, istext=False) for line in octets.split(b"\r\n"))
    return b"\r\n".join(line.replace(b"\n", b"\r\n") for line in lines)


def _part(kind: str, transfer: str, body: bytes) -> bytes:
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n"
    return head.encode() + body


def _boundary(message_id: str, parts: Sequence[bytes]) -> bytes:
    """A delimiter that stands in none of the parts; "=_" cannot stand in quoted-printable."""
    for attempt in count():
        seed = f"{attempt} {message_id}".encode(errors="replace")
        boundary = b"=_" + hashlib.sha256(seed).hexdigest()[:32].encode()
        if not any(boundary in part for part in parts):
            return boundary
    raise AssertionError("unreachable: the attempts do not end")


def _field(name: str, value: str) -> str:
    """A header field, folded between words; ``value`` is a single line."""
    return "\r\n".join(_wrapped(f"{name}: {value}", rest=" ")) + "\r\n"


def _wrapped(text: str, indent: str = "", rest: str | None = None) -> list[str]:
    """Lines of at most 76 characters, as far as the words allow; a word is never broken."""
    return textwrap.wrap(
        text,
        76,
        initial_indent=indent,
        subsequent_indent=indent if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _line(text: str) -> str:
    """A stranger's text as one bounded line: no control, no surrogate, no change of direction."""
    text = "".join(
        # Zero-width joiners are no decoration: some scripts spell with them.
        char if char.isprintable() or char in "\u200c\u200d" else " " if char.isspace() else "?"
        for char in text[:_VALUE]
    )
    return text.encode()[:_VALUE].decode(errors="ignore")


def _sentence(text: str) -> str:
    """The same for words, where the breaks between lines mean nothing."""
    return " ".join(_line(text).split())


def _mta(host: str) -> str:
    """The name alone out of ``name[address]:port``, or the address if there is no name."""
    host = _line(host)
    found = re.match(r"\[[^]]*]|[^[]+", host)
    return found[0] if found else host


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _typed(address: str, wide: bool) -> str:
    """An address with its type: rfc822, or utf-8 (RFC 6533, 3) if it is not ASCII."""
    address = _line(address)
    if address.isascii():
        return f"rfc822; {address}"
    return f"utf-8; {address if wide else _escaped(address, special=_NOT_QCHAR)}"


def _escaped(address: str, special: str = "") -> str:
    r"""An address in 7 bits: ``\x{E9}`` for what is not ASCII (utf-8-addr-xtext, RFC 6533, 3)."""
    return "".join(
        char if char.isascii() and char not in special else f"\\x{{{ord(char):X}}}"
        for char in address
    )[:_VALUE]


def _time(when: datetime) -> str:
    """A time that reads the same in both languages."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
