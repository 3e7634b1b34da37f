"""``mail6m account``: who signs in to the console."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import argon2

from mail6m.access.passwords import LEAST, too_weak
from mail6m.cli.arguments import address, number
from mail6m.cli.command import CommandLine, Wrong, operator
from mail6m.foundation import Foundation
from mail6m.model import Act
from mail6m.storage.accounts import Account, Accounts
from mail6m.storage.errors import Refused


def declare(line: CommandLine) -> None:
    """Add the noun and its verbs."""
    noun = line.noun("account", "who signs in to the console")
    one = noun.verb("list", account_list)
    one.add_argument("--customer", type=number, required=True, metavar="N")
    one = noun.verb("password", account_password)
    one.add_argument("--email", required=True, type=address)
    one.add_argument(
        "--password-stdin", action="store_true", required=True, help="read a line: the password"
    )
    one = noun.verb("reset-factor", account_reset_factor)
    one.add_argument("--email", required=True, type=address)


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
        raise Wrong(f"the password must have {LEAST} characters at least, and be hard to guess")
    hashed = argon2.PasswordHasher().hash(password)
    by = operator(account.customer)
    await accounts.set_password(
        by, account.account, hashed, Act.PASSWORD_CHANGED, object_=account.email
    )
    return {"email": account.email, "customer": account.customer}


async def account_reset_factor(
    foundation: Foundation, options: argparse.Namespace
) -> dict[str, Any]:
    """An account is asked for no second factor any more."""
    accounts, account = await _account_of(foundation, options.email)
    by = operator(account.customer)
    if not await accounts.turn_totp_off(by, account.account, account.email):
        raise Refused(f"{account.email} has no second factor")
    return {"email": account.email, "customer": account.customer}


async def _account_of(foundation: Foundation, email: str) -> tuple[Accounts, Account]:
    accounts = Accounts(foundation.pool)
    account = await accounts.find(email)
    if account is None:
        raise Refused(f"nobody signs in as {email}")
    return accounts, account


def _account(account: Account) -> dict[str, Any]:
    return {
        "email": account.email,
        "role": account.role.value,
        "password": account.password_hash is not None,
        "second_factor": account.totp_secret is not None,
    }
