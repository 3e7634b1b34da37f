"""Arguments, out of what was typed: each raises `argparse.ArgumentTypeError`."""

from __future__ import annotations

import argparse
from datetime import UTC, date, datetime
from uuid import UUID

from mail6m.dialogue.address import AddressError, canonical, canonical_domain
from mail6m.shelves.disc.names import is_serial
from mail6m.storage.domains import read_host


def domain_name(value: str) -> str:
    """A domain's name in its canonical form."""
    try:
        name = canonical_domain(value)
    except AddressError as error:
        raise argparse.ArgumentTypeError(f"{value!r}: {error}") from error
    if name.startswith("[") or "." not in name:
        raise argparse.ArgumentTypeError(f"{value!r} is not a domain's name")
    return name


def server_name(value: str) -> str:
    """A name that a certificate can be for: a host's, or ``*.`` and a domain's, in A-labels."""
    name = value.removeprefix("*.")
    try:
        canonical_name = canonical_domain(name)
    except AddressError as error:
        raise argparse.ArgumentTypeError(f"{value!r}: {error}") from error
    if canonical_name.startswith("[") or canonical_name.rpartition(".")[2].isdecimal():
        raise argparse.ArgumentTypeError(f"{value!r} is not a server's name")
    return value[: len(value) - len(name)] + canonical_name


def address(value: str) -> str:
    """A mail address in its canonical form."""
    try:
        canonical_address = canonical(value)
        if "@" not in canonical_address:
            raise AddressError("5.1.3", "an address has an @")
    except AddressError as error:
        raise argparse.ArgumentTypeError(f"{value!r}: {error}") from error
    return canonical_address


def host(value: str) -> str:
    """A receiving machine, with its port or without."""
    try:
        return str(read_host(value))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def nonempty(value: str) -> str:
    """A text that says something."""
    if not value.strip():
        raise argparse.ArgumentTypeError("it cannot be empty")
    return value.strip()


def number(value: str) -> int:
    """A customer's, or a request's; PostgreSQL's integers have 31 bits."""
    if not value.isascii() or not value.isdecimal() or int(value) >= 1 << 31:
        raise argparse.ArgumentTypeError(f"{value!r} is no such number")
    return int(value)


def days(value: str) -> int:
    """How many days, ten years at most."""
    if not value.isascii() or not value.isdecimal() or int(value) > 3_650:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of days, 0 to 3650")
    return int(value)


def serial(value: str) -> str:
    """A disc's serial number."""
    if not is_serial(value.upper()):
        raise argparse.ArgumentTypeError(f"{value!r} is not a disc's serial number, like TCWGR3")
    return value.upper()


def positive(value: str) -> int:
    """A number of at least 1; PostgreSQL's bigint has 63 bits."""
    if not value.isascii() or not value.isdecimal() or not 0 < int(value) < 1 << 62:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of at least 1")
    return int(value)


def message_id(value: str) -> UUID:
    """A message's id."""
    try:
        return UUID(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is not a message's id") from error


def moment(value: str) -> datetime:
    """A time (RFC 3339), UTC unless it says otherwise."""
    try:
        read = datetime.fromisoformat(value.upper())  # the T and the Z may be small, too
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is not a time as in RFC 3339") from error
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


def day(value: str) -> date:
    """A day (RFC 3339): ``2026-04-01``."""
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is not a day, like 2026-04-01") from error


def cents(value: str) -> int:
    """An amount, in whole cents."""
    if not value.isascii() or not value.isdecimal() or int(value) >= 1 << 31:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of cents, like 4000")
    return int(value)
