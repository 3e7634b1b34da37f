"""Who may sign in to the console, and how often somebody has failed to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg2.errors

from mail6m.model import Role
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row, text

_COLUMNS = "customer_id, account_id, email, role, password_hash, totp_secret, totp_step"

_FIND = f"SELECT {_COLUMNS} FROM account WHERE lower(email) = lower(%s)"
_GET = f"SELECT {_COLUMNS} FROM account WHERE customer_id = %s AND account_id = %s"
_LIST = f"SELECT {_COLUMNS} FROM account WHERE customer_id = %s ORDER BY lower(email)"

_ADD = audited("""
    INSERT INTO account (customer_id, email, role) VALUES (%(customer)s, %(email)s, %(role)s)
    RETURNING account_id""")

# The last administrator stays, whoever asks at the same time: all of them are locked first.
_OTHERS = """
    (SELECT count(*) FROM (
        SELECT 1 FROM account o WHERE o.customer_id = %(customer)s AND o.role = 'administrator'
          AND o.account_id <> %(account)s FOR UPDATE) AS others)"""

_SET_ROLE = audited(f"""
    UPDATE account SET role = %(role)s
    WHERE customer_id = %(customer)s AND account_id = %(account)s
      AND (%(role)s = 'administrator' OR {_OTHERS} > 0)
    RETURNING email""")

_REMOVE = audited(f"""
    DELETE FROM account
    WHERE customer_id = %(customer)s AND account_id = %(account)s AND {_OTHERS} > 0
    RETURNING email""")

_SET_PASSWORD = audited("""
    UPDATE account SET password_hash = %(hash)s
    WHERE customer_id = %(customer)s AND account_id = %(account)s RETURNING email""")

_REHASH = """
UPDATE account SET password_hash = %s WHERE customer_id = %s AND account_id = %s"""

_SET_TOTP = audited("""
    UPDATE account SET totp_secret = %(secret)s, totp_step = %(step)s,
                       recovery_hashes = %(recovery)s::bytea[]
    WHERE customer_id = %(customer)s AND account_id = %(account)s RETURNING email""")

# A code is good once: whoever moves the step on has used it.
_USE_STEP = """
UPDATE account SET totp_step = %(step)s
WHERE customer_id = %(customer)s AND account_id = %(account)s AND totp_step < %(step)s
RETURNING 1"""

_USE_RECOVERY = audited("""
    UPDATE account SET recovery_hashes = array_remove(recovery_hashes, %(hash)s)
    WHERE customer_id = %(customer)s AND account_id = %(account)s
      AND %(hash)s = ANY (recovery_hashes)
    RETURNING cardinality(recovery_hashes)""")

_RECOVERY_LEFT = """
SELECT cardinality(recovery_hashes) FROM account WHERE customer_id = %s AND account_id = %s"""

_ADD_LETTER = """
WITH old AS (DELETE FROM password_token WHERE expires_at < now())
INSERT INTO password_token (token_hash, customer_id, account_id, expires_at)
VALUES (%s, %s, %s, now() + %s * interval '1 second')"""

_BY_LETTER = """
SELECT a.customer_id, a.account_id, a.email, a.role, a.password_hash, a.totp_secret, a.totp_step
FROM password_token t JOIN account a USING (customer_id, account_id)
WHERE t.token_hash = %s AND t.expires_at > now()"""

_USE_LETTERS = "DELETE FROM password_token WHERE customer_id = %s AND account_id = %s"

_FAILURES = """
SELECT coalesce(max(failures), 0) FROM throttle
WHERE key = %s AND since > now() - %s * interval '1 second'"""

_FAILED = """
INSERT INTO throttle AS t (key, failures, since) VALUES (%(key)s, 1, now())
ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN t.since > now() - %(window)s * interval '1 second'
                    THEN t.failures + 1 ELSE 1 END,
    since = CASE WHEN t.since > now() - %(window)s * interval '1 second'
                 THEN t.since ELSE now() END"""

_FORGIVE = "DELETE FROM throttle WHERE key = %s OR since < now() - interval '1 day'"


@dataclass(frozen=True, slots=True)
class Account:
    """One who may sign in."""

    customer: int
    account: int
    email: str
    role: Role
    password_hash: str | None
    """Argon2; None until one has been chosen."""
    totp_secret: bytes | None
    """Sealed; None without a second factor."""
    totp_step: int


class Accounts:
    """The tables ``account``, ``password_token`` and ``throttle``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, email: str) -> Account | None:
        """The account that signs in with an address, whatever its case."""
        rows = await self._pool.query(_FIND, (text(email),))
        return _account(rows[0]) if rows else None

    async def get(self, customer: int, account: int) -> Account:
        """A customer's account. Raises `Refused` if there is none."""
        rows = await self._pool.query(_GET, (customer, account))
        if not rows:
            raise Refused(f"customer {customer} has no account {account}")
        return _account(rows[0])

    async def all(self, customer: int) -> list[Account]:
        """A customer's accounts, by address."""
        return [_account(row) for row in await self._pool.query(_LIST, (customer,))]

    async def add(self, by: By, email: str, role: Role) -> int:
        """Add an account without a password. Raises `Refused` if the address is taken."""
        parameters = {"customer": by.customer, "email": text(email), "role": role.value}
        act = note(by, "account added", f"{email} ({role.value})")
        try:
            return int((await self._pool.query(_ADD, parameters | act))[0][0])
        except psycopg2.errors.UniqueViolation as error:
            raise Refused(f"{email} already signs in to another account") from error

    async def set_role(self, by: By, account: int, role: Role) -> bool:
        """Change a role; False if it was the last administrator's, or there is no such account."""
        parameters = {"customer": by.customer, "account": account, "role": role.value}
        act = note(by, "role changed", f"{await self._email(by, account)} ({role.value})")
        return bool(await self._pool.query(_SET_ROLE, parameters | act))

    async def remove(self, by: By, account: int) -> bool:
        """Remove an account with its sessions; False as for `set_role`."""
        parameters = {"customer": by.customer, "account": account}
        act = note(by, "account removed", await self._email(by, account))
        return bool(await self._pool.query(_REMOVE, parameters | act))

    async def _email(self, by: By, account: int) -> str:
        return (await self.get(by.customer, account)).email

    async def set_password(self, by: By, account: int, password_hash: str, act: str) -> None:
        """Give an account a password; no letter lets anybody choose one any more."""
        parameters = {"customer": by.customer, "account": account, "hash": password_hash}
        await self._pool.query(_SET_PASSWORD, parameters | note(by, act))
        await self._pool.query(_USE_LETTERS, (by.customer, account))

    async def rehash(self, customer: int, account: int, password_hash: str) -> None:
        """The same password, hashed as it is done today."""
        await self._pool.query(_REHASH, (password_hash, customer, account))

    async def set_totp(
        self, by: By, account: int, secret: bytes | None, step: int, recovery: Sequence[bytes]
    ) -> None:
        """Turn the second factor on with a sealed secret, or off with None."""
        parameters = {
            "customer": by.customer,
            "account": account,
            "secret": secret,
            "step": step,
            "recovery": list(recovery),
        }
        act = "second factor on" if secret is not None else "second factor off"
        await self._pool.query(_SET_TOTP, parameters | note(by, act))

    async def use_step(self, customer: int, account: int, step: int) -> bool:
        """Use the code of a step of time; False if it, or a later one, has been used."""
        parameters = {"customer": customer, "account": account, "step": step}
        return bool(await self._pool.query(_USE_STEP, parameters))

    async def use_recovery(self, by: By, account: int, code_hash: bytes) -> bool:
        """Use up a recovery code; False if it is none, or has been used."""
        parameters = {"customer": by.customer, "account": account, "hash": code_hash}
        act = note(by, "recovery code used")
        return bool(await self._pool.query(_USE_RECOVERY, parameters | act))

    async def recovery_left(self, customer: int, account: int) -> int:
        """How many recovery codes have not been used."""
        rows = await self._pool.query(_RECOVERY_LEFT, (customer, account))
        return int(rows[0][0]) if rows else 0

    async def add_token(
        self, customer: int, account: int, token_hash: bytes, seconds: float
    ) -> None:
        """Whoever has the token may choose a password, for so many seconds."""
        await self._pool.query(_ADD_LETTER, (token_hash, customer, account, seconds))

    async def by_token(self, token_hash: bytes) -> Account | None:
        """Whose password a token lets choose; None if it is none, or has run out."""
        rows = await self._pool.query(_BY_LETTER, (token_hash,))
        return _account(rows[0]) if rows else None

    async def failures(self, key: bytes, window: float) -> int:
        """Failures noted under a key, in a window of so many seconds that began with the first."""
        return int((await self._pool.query(_FAILURES, (key, window)))[0][0])

    async def failed(self, key: bytes, window: float) -> None:
        """Note a failure."""
        await self._pool.query(_FAILED, {"key": key, "window": window})

    async def forgive(self, key: bytes) -> None:
        """Forget the failures noted under a key, and those that are old."""
        await self._pool.query(_FORGIVE, (key,))


def _account(row: Row) -> Account:
    customer, account, email, role, password_hash, secret, step = row
    return Account(
        customer, account, email, Role(role), password_hash,
        None if secret is None else bytes(secret), step,
    )  # fmt: skip
