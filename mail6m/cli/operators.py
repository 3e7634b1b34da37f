"""``mail6m operator``: who runs Mail6M, and signs in to the console for that."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import argon2

from mail6m.access.passwords import LEAST, too_weak
from mail6m.cli.arguments import address
from mail6m.cli.command import CommandLine, Wrong, operator
from mail6m.foundation import Foundation
from mail6m.model import HOUSE, Act, Role
from mail6m.storage.accounts import Account, Accounts
from mail6m.storage.errors import Refused

_ROLES = (Role.OPERATOR, Role.BOOKKEEPER, Role.OBSERVER)
_BY = operator(HOUSE)


def declare(line: CommandLine) -> None:
    """Add the noun and its verbs."""
    noun = line.noun("operator", "who runs Mail6M, and signs in to the console for that")
    one = noun.verb("add", operator_add, makes=True)
    one.add_argument("--email", required=True, type=address)
    one.add_argument("--role", choices=[role.value for role in _ROLES], default="operator")
    one.add_argument("--password-stdin", action="store_true", help="read a line: the password")
    noun.verb("list", operator_list)
    one = noun.verb("role", operator_role)
    one.add_argument("--email", required=True, type=address)
    one.add_argument("--role", required=True, choices=[role.value for role in _ROLES])
    noun.verb("remove", operator_remove).add_argument("--email", required=True, type=address)


async def operator_add(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Somebody who runs Mail6M; the second factor is turned on at the console."""
    hashed = None
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\n")
        if too_weak(password, options.email):
            raise Wrong(f"the password must have {LEAST} characters at least, and be hard to guess")
        hashed = argon2.PasswordHasher().hash(password)
    accounts, role = Accounts(foundation.pool), Role(options.role)
    account = await accounts.add(_BY, options.email, role)
    if hashed is not None:
        await accounts.set_password(
            _BY, account, hashed, Act.PASSWORD_CHANGED, object_=options.email
        )
    return {"email": options.email, "role": role.value}


async def operator_list(foundation: Foundation, options: argparse.Namespace) -> list[Any]:
    """All who run Mail6M."""
    return [
        {
            "email": account.email,
            "role": account.role.value,
            "password": account.password_hash is not None,
            "second_factor": account.totp_secret is not None,
        }
        for account in await Accounts(foundation.pool).all(HOUSE)
    ]


async def operator_role(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Somebody who runs Mail6M gets another role."""
    accounts, account = await _account_of(foundation, options.email)
    role = Role(options.role)
    if not await accounts.set_role(_BY, account.account, role):
        raise Refused(f"{account.email} is the last operator")
    return {"email": account.email, "role": role.value}


async def operator_remove(foundation: Foundation, options: argparse.Namespace) -> dict[str, Any]:
    """Somebody runs Mail6M no more; the last operator stays."""
    accounts, account = await _account_of(foundation, options.email)
    if not await accounts.remove(_BY, account.account):
        raise Refused(f"{account.email} is the last operator")
    return {"email": account.email}


async def _account_of(foundation: Foundation, email: str) -> tuple[Accounts, Account]:
    accounts = Accounts(foundation.pool)
    account = await accounts.find(email)
    if account is None or account.customer != HOUSE:
        raise Refused(f"{email} is no operator")
    return accounts, account
