"""``mail6m``: the operator's commands, beside a running server or without one.

Exit status: 0 done, 1 refused or not found (one line on standard error), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import argon2
from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import provider

from mail6m import __version__
from mail6m.access.passwords import LEAST, too_weak
from mail6m.dialogue.address import AddressError, canonical, canonical_domain
from mail6m.model import HOUSE, Act, Customer, Delivery, Domain, Message, Plan, Shelf, TlsPolicy
from mail6m.seal import SealError
from mail6m.settings import SettingsError
from mail6m.shelves.cabinet import criteria
from mail6m.shelves.closing import DAYS
from mail6m.shelves.disc.layout import DiscError
from mail6m.shelves.disc.names import is_serial
from mail6m.shelves.export.kept import keep, part_of
from mail6m.shelves.export.whole import FORMATS, Changed
from mail6m.shelves.reissue import Reissue
from mail6m.storage.accounts import Account, Accounts
from mail6m.storage.archivist import Request
from mail6m.storage.audit import By
from mail6m.storage.closings import Closing
from mail6m.storage.deliveries import read_delivery_id
from mail6m.storage.discs import Disc
from mail6m.storage.domains import read_host
from mail6m.storage.embedded import EmbeddedError
from mail6m.storage.errors import Refused, StorageError
from mail6m.storage.exports import Export
from mail6m.tap import Foundation, cancel_delivery, read_settings, sweep

Command = Callable[[Foundation, argparse.Namespace], Awaitable[Any]]


def main(arguments: list[str] | None = None) -> None:
    """Run one command, and exit."""
    options = parser().parse_args(arguments)
    globalLogPublisher.addObserver(_unheard)  # or Twisted keeps what nobody reads

    def run(reactor: Any) -> Deferred[None]:
        return ensureDeferred(_run(reactor, options))

    task.react(run)


@provider(ILogObserver)
def _unheard(event: dict[str, Any]) -> None:
    """For people there is one line on standard error; the server has a log."""


async def _run(reactor: Any, options: argparse.Namespace) -> None:
    try:
        result = await _result(reactor, options)
        if options.json:
            print(json.dumps(result))
        elif result is not None:
            _show(result)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has had enough; what is left must not fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, an operator reads it in one line
        expected = isinstance(error, _EXPECTED)
        told = str(error) if expected else f"{type(error).__name__}: {error}"
        print("mail6m:", " ".join(told.split()), file=sys.stderr)
        raise SystemExit(1) from None


async def _result(reactor: Any, options: argparse.Namespace) -> Any:
    settings = replace(read_settings(vars(options)), database_connections=2)
    if not settings.data.is_dir() and not options.makes:
        raise SettingsError(f"--data {settings.data}: there is no such directory")
    foundation = Foundation(reactor, settings)
    try:
        await foundation.start()
        return await options.command(foundation, options)
    finally:
        await foundation.stop()


class _Wrong(Exception):
    """An argument that cannot be used."""


_EXPECTED = (
    StorageError,
    SettingsError,
    EmbeddedError,
    SealError,
    DiscError,
    Changed,
    OSError,
    _Wrong,
)


# What each command does; each returns what ``--json`` prints


async def customer_add(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A customer, and its first console account."""
    password_hash = None
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\n")
        if len(password) < 8:
            raise _Wrong("the password must have 8 characters at least")
        password_hash = argon2.PasswordHasher().hash(password)
    plan = Plan(options.plan)
    number = await foundation.customers.next_number()
    await foundation.customers.add(
        customer=number,
        company=options.company,
        email=options.email,
        plan=plan.value if options.capacity is None else "dedicated",
        capacity=options.capacity or plan.capacity,
        wrapped_key=foundation.keyring.new_wrapped_key(number),
        password_hash=password_hash,
    )
    return {"customer": number}


async def customer_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """All customers."""
    return [_customer(customer) for customer in await foundation.customers.all()]


async def customer_show(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """One customer."""
    return _customer(await foundation.customers.get(options.number))


async def customer_export(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """All of a customer's mail goes into one file; what was interrupted is gone on with."""
    await foundation.customers.get(options.number)
    path: Path = options.output
    if path.exists():
        raise _Wrong(f"{path} is there already")
    export = await _export_of(foundation, options)
    if export is None or not part_of(path).exists():
        await foundation.exporter.ask(_operator(options.number), options.format)
        export = None
    progress = _percent()
    while export is None or export.ready_at is None:
        await foundation.exporter.measure_all()
        export = await _export_of(foundation, options)
        if export is not None and export.failure:
            raise Refused(f"the file cannot be made: {export.failure}")
        if export is None or export.ready_at is None:  # a server is at it
            await deferLater(foundation.reactor, 1.0, lambda: None)
    await keep(path, export, foundation.exporter.pieces, progress)
    return {
        "customer": options.number,
        "file": str(path),
        "messages": export.messages,
        "bytes": export.size,
        "sha256": export.sha256.hex() if export.sha256 else None,
    }


async def _export_of(foundation: Foundation, options: argparse.Namespace) -> Export | None:
    for export in await foundation.exporter.of(options.number):
        if export.format == options.format:
            return export
    return None


async def customer_close(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A customer's contract ends: then all its data is destroyed, and its key."""
    await foundation.customers.get(options.number)
    return _closing(await foundation.ending.ask(_operator(options.number), options.days))


async def customer_keep(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A contract that was to end goes on."""
    await foundation.ending.withdraw(_operator(options.number))
    return {"customer": options.number}


async def customer_certificate(
    foundation: Foundation, options: argparse.Namespace
) -> dict[str, Any]:
    """How far the end of a contract is; when all is destroyed, the certificate of that."""
    closing = await foundation.ending.of(options.number)
    if closing is None:
        raise Refused(f"the contract of customer {options.number} is not to end")
    return _closing(closing)


async def domain_add(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A domain whose mail is taken in, archived and relayed."""
    name = _domain_name(options.name)
    hosts = tuple(read_host(host) for host in options.to)
    tls = TlsPolicy(options.tls)
    domain = Domain(name, options.customer, hosts, tls, options.verify_recipients)
    await foundation.domains.add(_operator(options.customer), domain)
    return {"domain": name}


async def domain_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """Domains, and where their mail goes on to."""
    return [_domain(domain) for domain in await foundation.domains.all(options.customer)]


async def domain_remove(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Mail for the domain is refused from now on."""
    name = _domain_name(options.name)
    domain = await foundation.domains.find(name)
    if domain is None:
        raise Refused(f"{name} is not declared")
    await foundation.domains.remove(_operator(domain.customer), name)
    return {"domain": name, "customer": domain.customer}


async def message_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """A customer's messages, newest first."""
    await foundation.customers.get(options.customer)
    shelves = [Shelf[options.shelf.upper()]] if options.shelf else [Shelf.CABINET, Shelf.CELLAR]
    wanted = criteria(
        options.sender, options.recipient, options.subject, options.since, options.until
    )
    messages = await foundation.cabinet.newest(options.customer, wanted, shelves, options.limit)
    return [_message(message) for message in messages]


async def message_export(foundation: Foundation, options: argparse.Namespace) -> None:
    """A message, byte for byte as it was received, on standard output."""
    message = await foundation.archive.get(options.customer, options.id)
    async for piece in foundation.reader.pieces(message.customer, message.id):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    if options.json:  # nothing but the message may stand there
        options.json = False


async def message_reissue(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A message goes to its recipients again."""
    message = await foundation.archive.get(options.customer, options.id)
    reissue = Reissue(foundation.directory, foundation.deliveries)
    sent = await reissue.send(_operator(options.customer), [message])
    if not sent.deliveries:
        left_out = ", ".join(sent.without_way)
        raise Refused(f"{left_out} is not at a domain of customer {options.customer}")
    if sent.without_way:
        return {"count": sent.deliveries, "without_way": sent.without_way}
    return {"count": sent.deliveries}


async def message_delete(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A message is deleted for good."""
    count = await foundation.archive.delete(_operator(options.customer), [options.id])
    if not count:
        raise Refused(f"customer {options.customer} has no message {options.id}")
    return {"count": count}


async def account_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """Who of a customer's signs in to the console."""
    await foundation.customers.get(options.customer)
    accounts = await Accounts(foundation.pool).all(options.customer)
    return [_account(account) for account in accounts]


async def account_password(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """An account gets another password; its sessions end."""
    accounts, account = await _account_of(foundation, options.email)
    password = sys.stdin.readline().rstrip("\n")
    if too_weak(password, account.email):
        raise _Wrong(f"the password must have {LEAST} characters at least, and be hard to guess")
    hashed = argon2.PasswordHasher().hash(password)
    by = _operator(account.customer)
    await accounts.set_password(
        by, account.account, hashed, Act.PASSWORD_CHANGED, object_=account.email
    )
    return {"email": account.email, "customer": account.customer}


async def account_reset_factor(
    foundation: Foundation, options: argparse.Namespace
) -> dict[str, Any]:
    """An account is asked for no second factor any more."""
    accounts, account = await _account_of(foundation, options.email)
    by = _operator(account.customer)
    if not await accounts.turn_totp_off(by, account.account, account.email):
        raise Refused(f"{account.email} has no second factor")
    return {"email": account.email, "customer": account.customer}


async def _account_of(foundation: Foundation, email: str) -> tuple[Accounts, Account]:
    accounts = Accounts(foundation.pool)
    account = await accounts.find(email)
    if account is None:
        raise Refused(f"nobody signs in as {email}")
    return accounts, account


_OPERATOR = "operator", "command line"
"""Who gives these commands, and where from, for the customers' audit."""


def _operator(customer: int) -> By:
    return By(customer, *_OPERATOR)


async def queue_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """What is still to be relayed."""
    deliveries = await foundation.deliveries.queued(
        customer=options.customer, destination=options.destination
    )
    return [_delivery(delivery) for delivery in deliveries]


async def queue_retry(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Deliveries are tried now."""
    delivery = read_delivery_id(options.id) if options.id is not None else None
    concerned = delivery[0] if delivery is not None else options.customer
    count = await foundation.deliveries.retry(
        _operator(HOUSE if concerned is None else concerned),
        customer=options.customer,
        destination=options.destination,
        delivery=delivery,
    )
    if options.id is not None and not count:
        raise Refused(f"{options.id} is not in the queue, or under way just now")
    return {"count": count}


async def queue_cancel(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A delivery is given up, with a bounce."""
    await cancel_delivery(foundation, read_delivery_id(options.id))
    return {"count": 1}


async def shelves_sweep(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Do now what time does: plans that are due, overflow, offers, destruction."""
    swept = await sweep(foundation)
    return swept._asdict() | {"files_measured": await foundation.exporter.measure_all()}


async def cellar_show(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """What a customer has in the cellar, and how far it is from the next disc."""
    report = await foundation.cellar.report(options.customer)
    held, ahead = report.held, report.forecast
    return {
        "customer": options.customer,
        "messages": held.messages,
        "bytes": held.bytes,
        "raw_bytes": held.raw_bytes,
        "first_received_at": _time_or_none(held.first),
        "last_received_at": _time_or_none(held.last),
        "estimated_image_bytes": report.image_size,
        "disc_capacity": report.disc_capacity,
        "days_until_cabinet_full": ahead.cabinet_full,
        "days_until_next_disc": ahead.next_disc,
        "departed": await foundation.shelves.departed(options.customer),
    }


async def archivist_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """What customers ask to have back from the cellar, and how many messages that is."""
    requests = await foundation.archivist.everywhere(options.customer, waiting=not options.all)
    return [await _request(foundation, request) for request in requests]


async def archivist_grant(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for goes back to the cabinet, for 30 days at least."""
    count = await foundation.archivist.grant(*_OPERATOR, options.id)
    return {"id": options.id, "count": count}


async def archivist_refuse(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for stays in the cellar."""
    await foundation.archivist.refuse(*_OPERATOR, options.id, options.because)
    return {"id": options.id}


async def disc_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """Discs, and what has become of them."""
    return [_disc(disc) for disc in await foundation.discs.all(options.customer)]


async def disc_accept(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """The disc that a customer is offered is ordered."""
    serial = await foundation.disc_life.answer(_operator(options.customer), True)
    return {"serial": serial}


async def disc_refuse(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """The disc that a customer is offered is not wanted."""
    serial = await foundation.disc_life.answer(_operator(options.customer), False)
    return {"serial": serial}


async def disc_write(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """An ordered disc's image is made and checked; then its messages leave the cellar."""
    disc = await foundation.disc_life.write(*_OPERATOR, options.serial, _percent())
    return _disc(disc)


def _percent() -> Callable[[float], None]:
    return _Percent() if sys.stderr.isatty() else lambda part: None


class _Percent:
    """How far something is, for somebody who looks on."""

    def __init__(self) -> None:
        self._shown = -1

    def __call__(self, part: float) -> None:
        """So much of 1 is done."""
        if (percent := int(100 * part)) != self._shown:
            self._shown = percent
            print(f"\r{percent} %", end="\n" if percent == 100 else "", file=sys.stderr, flush=True)


async def disc_verify(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A disc's image is read, and every file compared with its manifest."""
    checked = await foundation.disc_life.verify(options.serial)
    return {"serial": options.serial, "files": checked.files, "bytes": checked.bytes}


async def disc_burn(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A disc's image is burnt, by xorriso."""
    await foundation.disc_life.burn(options.serial, options.device)
    return {"serial": options.serial, "device": options.device}


async def disc_ship(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A disc is on its way, for the first time or again."""
    await foundation.disc_life.ship(*_OPERATOR, options.serial)
    return {"serial": options.serial}


async def disc_receive(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A disc has arrived: its image is destroyed."""
    disc = await foundation.discs.get(options.serial)
    await foundation.disc_life.receive(_operator(disc.customer), options.serial)
    return {"serial": options.serial}


async def status(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """One look at the whole."""
    cabinet = await foundation.archive.totals(Shelf.CABINET)
    cellar = await foundation.archive.totals(Shelf.CELLAR)
    queued, oldest, reply = await foundation.deliveries.length()
    down = await foundation.deliveries.down_list()
    version = await foundation.pool.query("SHOW server_version")
    schema = await foundation.pool.query("SELECT max(number) FROM schema_version")
    age = (datetime.now(UTC) - oldest).total_seconds() if oldest is not None else None
    return {
        "version": __version__,
        "database": {"postgresql": version[0][0], "schema": schema[0][0]},
        "customers": len(await foundation.customers.all()),
        "domains": len(await foundation.domains.all()),
        "cabinet": {"messages": cabinet[0], "bytes": cabinet[1]},
        "cellar": {"messages": cellar[0], "bytes": cellar[1]},
        "queue": {
            "deliveries": queued,
            "oldest_seconds": age,
            "destinations_down": [row.destination for row in down],
        },
        "last_error": down[-1].last_reply if down else reply or None,
    }


# Values as JSON


def _customer(customer: Customer) -> dict[str, Any]:
    return {
        "customer": customer.customer,
        "company": customer.company,
        "plan": customer.plan,
        "capacity": customer.capacity,
        "cabinet_messages": customer.cabinet_messages,
        "cabinet_bytes": customer.cabinet_bytes,
        "cellar_messages": customer.cellar_messages,
        "cellar_bytes": customer.cellar_bytes,
    }


def _account(account: Account) -> dict[str, Any]:
    return {
        "email": account.email,
        "role": account.role.value,
        "password": account.password_hash is not None,
        "second_factor": account.totp_secret is not None,
    }


def _domain(domain: Domain) -> dict[str, Any]:
    return {
        "domain": domain.name,
        "customer": domain.customer,
        "to": [str(host) for host in domain.hosts],
        "tls": domain.tls.value,
        "verify_recipients": domain.verify_recipients,
    }


def _message(message: Message) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "received_at": _time(message.received_at),
        "sender": message.sender,
        "recipients": list(message.recipients),
        "subject": message.subject,
        "raw_size": message.raw_size,
        "stored_size": message.stored_size,
        "sha256": message.sha256.hex(),
        "spam": message.spam,
        "shelf": message.shelf.name.lower(),
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "message": str(delivery.message),
        "recipient": delivery.recipient,
        "attempts": delivery.attempts,
        "next_attempt_at": _time(delivery.next_attempt_at),
        "last_reply": delivery.last_reply,
    }


async def _request(foundation: Foundation, request: Request) -> dict[str, Any]:
    wish = request.wish
    waits = request.state == "waiting"
    match = await foundation.archivist.match(request) if waits else None
    return {
        "id": request.id,
        "customer": request.customer,
        "asked_at": _time(request.asked_at),
        "account": request.account,
        "sender": wish.sender,
        "recipient": wish.recipient,
        "subject": wish.subject,
        "from": _time_or_none(wish.since),
        "until": _time_or_none(wish.until),
        "reason": wish.reason,
        "state": request.state,
        "matches": match.messages if match is not None else None,
        "too_many": match.too_many if match is not None else None,
        "decided_at": _time_or_none(request.decided_at),
        "answer": request.answer,
        "brought_back": request.messages,
    }


def _disc(disc: Disc) -> dict[str, Any]:
    return {
        "serial": disc.serial,
        "customer": disc.customer,
        "state": disc.state,
        "progress": round(disc.progress, 3),
        "messages": disc.messages,
        "left_out": disc.left_out,
        "image_bytes": disc.image_size,
        "manifest_sha256": disc.manifest_sha256.hex() if disc.manifest_sha256 else None,
        "first_received_at": _time_or_none(disc.first_at),
        "last_received_at": _time_or_none(disc.last_at),
        "offered_at": _time(disc.offered_at),
        "answered_at": _time_or_none(disc.answered_at),
        "written_at": _time_or_none(disc.written_at),
        "shipped_at": _time_or_none(disc.shipped_at),
        "received_at": _time_or_none(disc.received_at),
        "destroyed_at": _time_or_none(disc.destroyed_at),
        "image": f"{disc.place}/{disc.serial}.iso" if disc.place else None,
    }


def _closing(closing: Closing) -> dict[str, Any]:
    return {
        "customer": closing.customer,
        "company": closing.company,
        "asked_at": _time(closing.asked_at),
        "asked_by": closing.asked_by,
        "due_at": _time(closing.due_at),
        "closed_at": _time_or_none(closing.closed_at),
        "key_destroyed_at": _time_or_none(closing.key_destroyed_at),
        "destroyed_at": _time_or_none(closing.destroyed_at),
        "messages": closing.messages,
        "raw_bytes": closing.raw_bytes,
        "first_received_at": _time_or_none(closing.first_at),
        "last_received_at": _time_or_none(closing.last_at),
        "accounts": closing.accounts,
        "discs": closing.discs,
    }


def _time_or_none(moment: datetime | None) -> str | None:
    return _time(moment) if moment is not None else None


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _show(result: Any) -> None:
    """The same for people: a line for each thing, a column for each value."""
    if isinstance(result, dict):
        for name, value in result.items():
            shown = json.dumps(value) if isinstance(value, dict | list) else value
            print(f"{name:<18} {'-' if shown is None else shown}")
        return
    if not result:
        return
    columns = list(result[0])
    cells = [[_cell(row[column]) for column in columns] for row in result]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(columns)]
    for row in [columns, *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)


# The command line


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    top = argparse.ArgumentParser(prog="mail6m", description="Operate a Mail6M archive.")
    top.add_argument("--config", metavar="FILE", help="the server's TOML file")
    top.add_argument("--data", metavar="DIR", help="the server's --data [mail6m-data]")
    top.add_argument("--database", metavar="URL", help="the server's --database [embedded:]")
    top.add_argument("--hostname", metavar="NAME", help="the server's --hostname, for bounces")
    top.add_argument("--json", action="store_true", help="print one JSON value")
    top.add_argument("--version", action="version", version=f"mail6m {__version__}")
    top.set_defaults(makes=False)
    nouns = top.add_subparsers(metavar="COMMAND", required=True)

    def verbs(noun: str, help_: str) -> Any:
        return nouns.add_parser(noun, help=help_).add_subparsers(metavar="VERB", required=True)

    def verb(of: Any, name: str, command: Command, *, makes: bool = False) -> Any:
        added = of.add_parser(
            name, help=command.__doc__, description=command.__doc__, parents=[common]
        )
        added.set_defaults(command=command, makes=makes)
        return added

    customer = verbs("customer", "companies whose mail is archived")
    one = verb(customer, "add", customer_add, makes=True)
    one.add_argument("--company", required=True, type=_nonempty)
    one.add_argument("--email", required=True, type=_address)
    one.add_argument("--plan", choices=[plan.value for plan in Plan], default="tiroir")
    one.add_argument("--capacity", type=_positive, metavar="BYTES", help="of a dedicated cabinet")
    one.add_argument("--password-stdin", action="store_true", help="read a line: the password")
    verb(customer, "list", customer_list)
    leaving: tuple[tuple[str, Command], ...] = (
        ("show", customer_show),
        ("export", customer_export),
        ("close", customer_close),
        ("keep", customer_keep),
        ("certificate", customer_certificate),
    )
    for name, command in leaving:
        one = verb(customer, name, command)
        one.add_argument("number", type=_number, metavar="N")
        if name == "export":
            one.add_argument("--format", choices=FORMATS, default=FORMATS[0])
            one.add_argument("--output", type=Path, required=True, metavar="FILE")
        elif name == "close":
            one.add_argument("--days", type=_days, default=DAYS, metavar="N",
                             help="until then it can be withdrawn")  # fmt: skip

    account = verbs("account", "who signs in to the console")
    one = verb(account, "list", account_list)
    one.add_argument("--customer", type=_number, required=True, metavar="N")
    one = verb(account, "password", account_password)
    one.add_argument("--email", required=True, type=_address)
    one.add_argument(
        "--password-stdin", action="store_true", required=True, help="read a line: the password"
    )
    one = verb(account, "reset-factor", account_reset_factor)
    one.add_argument("--email", required=True, type=_address)

    domain = verbs("domain", "domains, and where their mail goes on to")
    one = verb(domain, "add", domain_add)
    one.add_argument("name", metavar="NAME", type=_a_domain)
    one.add_argument("--customer", type=_number, required=True, metavar="N")
    one.add_argument("--to", required=True, action="append", type=_a_host, metavar="HOST[:PORT]",
                     help="the receiving machine; again for a second one")  # fmt: skip
    one.add_argument(
        "--tls", choices=[policy.value for policy in TlsPolicy], default="opportunistic"
    )
    one.add_argument("--verify-recipients", action=argparse.BooleanOptionalAction, default=True)
    verb(domain, "list", domain_list).add_argument("--customer", type=_number, metavar="N")
    verb(domain, "remove", domain_remove).add_argument("name", metavar="NAME", type=_a_domain)

    message = verbs("message", "archived messages, without their content")
    one = verb(message, "list", message_list)
    one.add_argument("--customer", type=_number, required=True, metavar="N")
    for field in ("sender", "recipient", "subject"):
        one.add_argument(f"--{field}", metavar="S", default="",
                         help="a part of it, whatever the case and accents")  # fmt: skip
    one.add_argument("--from", dest="since", type=_moment, metavar="TIME", help="RFC 3339")
    one.add_argument("--until", type=_moment, metavar="TIME", help="RFC 3339")
    one.add_argument("--shelf", choices=["cabinet", "cellar"])
    one.add_argument("--limit", type=_positive, default=100, metavar="K")
    acts: tuple[tuple[str, Command], ...] = (
        ("export", message_export),
        ("reissue", message_reissue),
        ("delete", message_delete),
    )
    for name, command in acts:
        one = verb(message, name, command)
        one.add_argument("--customer", type=_number, required=True, metavar="N")
        one.add_argument("--id", type=_uuid, required=True)

    queue = verbs("queue", "what is still to be relayed")
    lists: tuple[tuple[str, Command], ...] = (("list", queue_list), ("retry", queue_retry))
    for name, command in lists:
        one = verb(queue, name, command)
        one.add_argument("--customer", type=_number, metavar="N")
        one.add_argument("--destination", metavar="HOST", help="a domain, or a receiving machine")
        if name == "retry":
            one.add_argument("--id")
    verb(queue, "cancel", queue_cancel).add_argument("--id", required=True)
    shelves = verbs("shelves", "what time does to archived mail")
    verb(shelves, "sweep", shelves_sweep)
    cellar = verbs("cellar", "mail that a cabinet had no more room for")
    one = verb(cellar, "show", cellar_show)
    one.add_argument("--customer", type=_number, required=True, metavar="N")
    archivist = verbs("archivist", "what customers ask to have back from the cellar")
    one = verb(archivist, "list", archivist_list)
    one.add_argument("--customer", type=_number, metavar="N")
    one.add_argument("--all", action="store_true", help="also what has been decided")
    verb(archivist, "grant", archivist_grant).add_argument("--id", type=_number, required=True)
    one = verb(archivist, "refuse", archivist_refuse)
    one.add_argument("--id", type=_number, required=True)
    one.add_argument("--because", default="", metavar="TEXT", help="the customer reads it")
    disc = verbs("disc", "discs, from the offer to the destruction")
    verb(disc, "list", disc_list).add_argument("--customer", type=_number, metavar="N")
    answers: tuple[tuple[str, Command], ...] = (("accept", disc_accept), ("refuse", disc_refuse))
    for name, command in answers:
        one = verb(disc, name, command)
        one.add_argument("--customer", type=_number, required=True, metavar="N")
    steps: tuple[tuple[str, Command], ...] = (
        ("write", disc_write),
        ("verify", disc_verify),
        ("burn", disc_burn),
        ("ship", disc_ship),
        ("receive", disc_receive),
    )
    for name, command in steps:
        one = verb(disc, name, command)
        one.add_argument("serial", type=_serial, metavar="SERIAL")
        if name == "burn":
            one.add_argument("--device", required=True, metavar="DEV",
                             help="as in /dev/sr0, or stdio:FILE")  # fmt: skip
    top.add_argument("--disc-capacity", metavar="BYTES", help="the server's --disc-capacity")
    verb(nouns, "status", status)
    return top


def _domain_name(name: str) -> str:
    return canonical_domain(name)


def _a_domain(value: str) -> str:
    try:
        name = canonical_domain(value)
    except AddressError as error:
        raise argparse.ArgumentTypeError(f"{value!r}: {error}") from error
    if name.startswith("[") or "." not in name:
        raise argparse.ArgumentTypeError(f"{value!r} is not a domain's name")
    return name


def _address(value: str) -> str:
    try:
        address = canonical(value)
        if "@" not in address:
            raise AddressError("5.1.3", "an address has an @")
    except AddressError as error:
        raise argparse.ArgumentTypeError(f"{value!r}: {error}") from error
    return address


def _a_host(value: str) -> str:
    try:
        return str(read_host(value))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _nonempty(value: str) -> str:
    if not value.strip():
        raise argparse.ArgumentTypeError("it cannot be empty")
    return value.strip()


def _number(value: str) -> int:
    """A customer's, or a request's; PostgreSQL's integers have 31 bits."""
    if not value.isascii() or not value.isdecimal() or int(value) >= 1 << 31:
        raise argparse.ArgumentTypeError(f"{value!r} is no such number")
    return int(value)


def _days(value: str) -> int:
    if not value.isascii() or not value.isdecimal() or int(value) > 3_650:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of days, 0 to 3650")
    return int(value)


def _serial(value: str) -> str:
    if not is_serial(value.upper()):
        raise argparse.ArgumentTypeError(f"{value!r} is not a disc's serial number, like TCWGR3")
    return value.upper()


def _positive(value: str) -> int:
    if not value.isascii() or not value.isdecimal() or not 0 < int(value) < 1 << 62:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of at least 1")
    return int(value)


def _uuid(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is not a message's id") from error


def _moment(value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value.upper())  # the T and the Z may be small, too
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is not a time as in RFC 3339") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


if __name__ == "__main__":
    main()
