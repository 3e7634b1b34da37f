"""What the tests of storage stand on: databases of their own, and messages ready to be stored."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from mail6m.intake import new_message_id
from mail6m.model import Client, Envelope, Recipient, Shelf, Summary
from mail6m.seal import Key, compress, seal
from mail6m.storage.archive import NewDelivery, NewMessage
from mail6m.storage.audit import By
from mail6m.storage.pool import Pool
from tests.reactor_thread import run, the_reactor

KEY = Key(bytes(range(32)))
"""The key that these messages are sealed with."""
NOON = 1_750_000_000_000
"""Some moment in June 2025, in milliseconds since 1970."""
TEMPLATE = "template_of_tests"
"""A database that is migrated once; its copies cost a third of a migration."""
NOWHERE = "host=/nonexistent dbname=mail6m"
"""The DSN of a database that is away."""

new_customer = itertools.count(1_000).__next__
"""A customer number that no other test uses. The tables of messages ask for no customer's row."""


def by(customer: int) -> By:
    """Somebody of a customer's, who does something."""
    return By(customer, "georges@duchemin.fr", "192.0.2.7")


def make_template(dsn: str) -> None:
    """Have `new_database` copy what is in the database of ``dsn`` now; nobody may be connected."""
    _create(dsn, TEMPLATE, parse_dsn(dsn)["dbname"])


def new_database(dsn: str) -> str:
    """The DSN of a new database beside that of ``dsn``, with today's schema."""
    return _create(dsn, f"test_{uuid4().hex}", TEMPLATE)


def empty_database(dsn: str) -> str:
    """The DSN of a new database beside that of ``dsn``, with nothing in it."""
    return _create(dsn, f"test_{uuid4().hex}", "template1")


def _create(dsn: str, name: str, template: str) -> str:
    postgres = make_dsn(dsn, dbname="postgres", user="postgres")  # the embedded one trusts it
    ask(postgres, f"CREATE DATABASE {name} OWNER mail6m TEMPLATE {template}")
    return make_dsn(dsn, dbname=name)


def ask(dsn: str, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement, on a connection of its own; a lone dict names its parameters."""
    named = parameters[0] if len(parameters) == 1 and isinstance(parameters[0], dict) else None
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql, named or parameters or None)
            return cursor.fetchall() if cursor.description is not None else []
    finally:
        connection.close()


@contextmanager
def new_pool(dsn: str, size: int = 2, timeout: float = 20.0) -> Iterator[Pool]:
    """A pool that the reactor's thread serves."""
    pool = Pool(the_reactor(), dsn, size, timeout)
    try:
        yield pool
    finally:

        async def close() -> None:
            pool.close()

        run(close)


def new_message(
    customer: int,
    content: bytes = b"Subject: Bonjour\r\n\r\nA bient\xc3\xb4t.\r\n",
    *,
    milliseconds: int = NOON,
    sender: str = "anne@example.org",
    recipients: Sequence[str] = ("marie@mondomaine.fr",),
    destination: str = "",
    server: int | None = None,
    shelf: Shelf = Shelf.CABINET,
    summary: Summary | None = None,
) -> NewMessage:
    """A sealed message; with a ``destination``, to be relayed there to each recipient."""
    id_ = new_message_id(milliseconds)
    parts = seal(KEY, id_, compress(content, 5))
    envelope = Envelope(
        sender, tuple(map(Recipient, recipients)), Client("192.0.2.1", "mail.example.org")
    )
    return NewMessage(
        customer,
        id_,
        milliseconds,
        shelf,
        envelope,
        summary or Summary("Anne <anne@example.org>", "Marie", "Bonjour", "<1@example.org>"),
        len(content),
        sum(map(len, parts)),
        hashlib.sha256(content).digest(),
        parts,
        [NewDelivery(r, destination, server) for r in envelope.recipients] if destination else [],
    )
