"""The Received field that is put in front of a message when it goes on (RFC 5321, 4.4)."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from uuid import UUID

from mail6m.model import Client, Envelope, id_text

_UNSAFE = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


def received(
    envelope: Envelope, message: UUID, hostname: str, received_at: datetime, recipient: str
) -> bytes:
    """The field, with its line ends. ``recipient`` is empty when there are several."""
    client = envelope.client
    for_whom = f"\r\n\tfor <{recipient}>" if recipient else ""
    return (
        f"Received: from {_from(client)}\r\n"
        f"\tby {hostname} (Mail6M) with {client.protocol} id {id_text(message)}{for_whom};\r\n"
        f"\t{_date(received_at.replace(microsecond=0))}\r\n"
    ).encode()


@lru_cache(maxsize=256)
def _from(client: Client) -> str:
    hello = _UNSAFE.sub("?", client.hello)[:255] or "unknown"
    literal = f"[IPv6:{client.address}]" if ":" in client.address else f"[{client.address}]"
    name = f"{_UNSAFE.sub('?', client.name)} {literal}" if client.name else literal
    tls = f"\r\n\t(using {client.tls})" if client.tls else ""
    return f"{hello} ({name}){tls}"


@lru_cache(maxsize=64)
def _date(moment: datetime) -> str:
    return format_datetime(moment)
