"""``mail6m customer``: companies whose mail is archived, until their contract ends."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import argon2

from mail6m.cli import exports
from mail6m.cli.arguments import address, cents, day, days, nonempty, number, positive
from mail6m.cli.command import CommandLine, Wrong, operator
from mail6m.cli.output import time_or_none, time_text
from mail6m.foundation import Foundation
from mail6m.model import Customer, Plan
from mail6m.storage.closings import Closing
from mail6m.storage.errors import Refused


def declare(line: CommandLine) -> None:
    """Add the noun and its verbs."""
    noun = line.noun("customer", "companies whose mail is archived")
    one = noun.verb("add", customer_add, makes=True)
    one.add_argument("--company", required=True, type=nonempty)
    one.add_argument("--email", required=True, type=address)
    one.add_argument("--plan", choices=[plan.value for plan in Plan], default="tiroir")
    one.add_argument("--capacity", type=positive, metavar="BYTES", help="of a dedicated cabinet")
    one.add_argument("--monthly", type=cents, metavar="CENTS", help="its price")
    one.add_argument("--password-stdin", action="store_true", help="read a line: the password")
    noun.verb("list", customer_list)
    noun.verb("show", customer_show).add_argument("number", type=number, metavar="N")
    one = noun.verb("agree", customer_agree)
    one.add_argument("number", type=number, metavar="N")
    one.add_argument("--capacity", type=positive, required=True, metavar="BYTES")
    one.add_argument("--monthly", type=cents, required=True, metavar="CENTS")
    one.add_argument("--since", type=day, metavar="DATE", help="the first of a month [the next]")
    one = noun.verb("plan", customer_plan)
    one.add_argument("number", type=number, metavar="N")
    one.add_argument("--plan", choices=[plan.value for plan in Plan], required=True)
    one.add_argument("--since", type=day, metavar="DATE", help="the first of a month [the next]")
    exports.declare(noun)
    one = noun.verb("close", customer_close)
    one.add_argument("number", type=number, metavar="N")
    one.add_argument(
        "--days", type=days, metavar="N", help="and not at the month's end, a week at least"
    )
    noun.verb("keep", customer_keep).add_argument("number", type=number, metavar="N")
    noun.verb("certificate", customer_certificate).add_argument("number", type=number, metavar="N")


async def customer_add(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A customer, and its first console account."""
    password_hash = None
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\n")
        if len(password) < 8:
            raise Wrong("the password must have 8 characters at least")
        password_hash = argon2.PasswordHasher().hash(password)
    if options.monthly is not None and options.capacity is None:
        raise Wrong("--monthly is the price of a dedicated cabinet, which has a --capacity")
    plan = Plan(options.plan)
    new = await foundation.customers.next_number()
    await foundation.customers.add(
        customer=new,
        company=options.company,
        email=options.email,
        plan=plan.value if options.capacity is None else "dedicated",
        capacity=options.capacity or plan.capacity,
        wrapped_key=foundation.keyring.new_wrapped_key(new),
        password_hash=password_hash,
        monthly=options.monthly,
    )
    return {"customer": new}


async def customer_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """All customers."""
    return [_customer(customer) for customer in await foundation.customers.all()]


async def customer_show(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """One customer."""
    return _customer(await foundation.customers.get(options.number))


async def customer_agree(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A customer gets a dedicated cabinet, at a price that has been agreed on."""
    since = await foundation.business.agreements.agree(
        operator(options.number), options.capacity, options.monthly, options.since
    )
    return {"customer": options.number, "since": since.isoformat()}


async def customer_plan(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A customer has a plan at the tariff's price, in place of a dedicated cabinet."""
    since = await foundation.business.agreements.end(
        operator(options.number), Plan(options.plan), options.since
    )
    return {"customer": options.number, "since": since.isoformat()}


async def customer_close(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A customer's contract ends: then all its data is destroyed, and its key."""
    await foundation.customers.get(options.number)
    return _closing(await foundation.ending.ask(operator(options.number), options.days))


async def customer_keep(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """A contract that was to end goes on."""
    await foundation.ending.withdraw(operator(options.number))
    return {"customer": options.number}


async def customer_certificate(
    foundation: Foundation, options: argparse.Namespace
) -> dict[str, Any]:
    """How far the end of a contract is; when all is destroyed, the certificate of that."""
    closing = await foundation.ending.of(options.number)
    if closing is None:
        raise Refused(f"the contract of customer {options.number} is not to end")
    return _closing(closing)


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


def _closing(closing: Closing) -> dict[str, Any]:
    return {
        "customer": closing.customer,
        "company": closing.company,
        "asked_at": time_text(closing.asked_at),
        "asked_by": closing.asked_by,
        "ended_on": closing.ended_on.isoformat() if closing.ended_on else None,
        "due_at": time_text(closing.due_at),
        "closed_at": time_or_none(closing.closed_at),
        "key_destroyed_at": time_or_none(closing.key_destroyed_at),
        "destroyed_at": time_or_none(closing.destroyed_at),
        "messages": closing.messages,
        "raw_bytes": closing.raw_bytes,
        "first_received_at": time_or_none(closing.first_at),
        "last_received_at": time_or_none(closing.last_at),
        "accounts": closing.accounts,
        "discs": closing.discs,
    }
