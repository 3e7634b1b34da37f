"""Keys of the API, by the SHA-256 of their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mail6m.model import Act, Scope
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Prepared, Row, text, utc

MOST = 50
"""Keys of one customer."""

# Who has made a key answers for it: it opens as long as they might make it today.
_ANSWERED_FOR = """EXISTS (
    SELECT FROM account a WHERE a.customer_id = t.customer_id AND a.account_id = t.account_id
      AND a.role = 'administrator')"""

_COLUMNS = f"""
    token_id, name, scopes, created_at, created_by, expires_at, last_used_at, NOT {_ANSWERED_FOR}"""

# A look also notes that the key is in use, once a minute. A contract that has ended has no keys,
# nor has a customer whose own key has been destroyed.
_LOOK = Prepared(
    "look_for_token",
    f"""
WITH used AS (
    UPDATE api_token t SET last_used_at = date_trunc('minute', now())
    WHERE token_hash = %s::bytea AND (expires_at IS NULL OR expires_at > now())
      AND (last_used_at IS NULL OR last_used_at < date_trunc('minute', now()))
      AND {_ANSWERED_FOR}
)
SELECT t.customer_id, t.token_id, t.name, t.scopes, t.created_at, t.expires_at,
       k.suspended_at IS NOT NULL
FROM api_token t LEFT JOIN contract k USING (customer_id)
WHERE t.token_hash = %s::bytea AND (t.expires_at IS NULL OR t.expires_at > now())
  AND {_ANSWERED_FOR}
  AND (k.ended_on IS NULL OR k.ended_on >= (now() AT TIME ZONE 'Europe/Paris')::date)
  AND NOT EXISTS (SELECT FROM closing e
                  WHERE e.customer_id = t.customer_id AND e.key_destroyed_at IS NOT NULL)""",
)

_ALL = f"SELECT {_COLUMNS} FROM api_token t WHERE customer_id = %s ORDER BY token_id DESC"
_GET = f"SELECT {_COLUMNS} FROM api_token t WHERE customer_id = %s AND token_id = %s"

_ADD = audited("""
    INSERT INTO api_token
        (customer_id, token_hash, name, scopes, created_by, expires_at, account_id)
    SELECT %(customer)s, %(hash)s, %(name)s, %(scopes)s::text[], %(by_account)s, %(expires)s,
           account_id
    FROM account
    WHERE customer_id = %(customer)s AND lower(email) = lower(%(by_account)s)
      AND role = 'administrator'
      AND (SELECT count(*) FROM api_token WHERE customer_id = %(customer)s) < %(most)s
    RETURNING token_id""")

_REVOKE = audited("""
    DELETE FROM api_token WHERE customer_id = %(customer)s AND token_id = %(token)s
    RETURNING token_id""")


@dataclass(frozen=True, slots=True)
class Token:
    """A key as its customer sees it; the key itself is nowhere."""

    token: int
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    created_by: str
    """The address of an account."""
    expires_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""
    stopped: bool
    """It opens nothing: whoever made it is an administrator no more."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whose a key is, and what it may do."""

    customer: int
    token: int
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    suspended: bool
    """Its customer's contract is suspended."""


class Tokens:
    """The table ``api_token``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        pool.prepare(_LOOK)

    async def look(self, token_hash: bytes) -> Bearer | None:
        """Whose key that is; None if it is nobody's, has run out, or its contract has ended.

        Nor is it anybody's when the account that made it is gone, or no administrator's.
        """
        rows = await self._pool.query(_LOOK.execute, (token_hash, token_hash))
        return _bearer(rows[0]) if rows else None

    async def all(self, customer: int) -> list[Token]:
        """A customer's keys, the newest first; those that have run out, too."""
        return [_token(row) for row in await self._pool.query(_ALL, (customer,))]

    async def get(self, customer: int, token: int) -> Token:
        """One of them. Raises `Refused` if there is none of that number."""
        rows = await self._pool.query(_GET, (customer, token))
        if not rows:
            raise Refused(f"customer {customer} has no key {token}")
        return _token(rows[0])

    async def add(
        self,
        by: By,
        name: str,
        scopes: Sequence[Scope],
        token_hash: bytes,
        expires_at: datetime | None,
    ) -> None:
        """A key more, of the administrator who makes it.

        Raises `Refused` if the customer has `MOST` already.
        """
        parameters = {
            "customer": by.customer,
            "hash": token_hash,
            "name": text(name),
            "scopes": [scope.value for scope in scopes],
            "expires": expires_at,
            "most": MOST,
        }
        act = note(by, Act.API_KEY_MADE, f"{name} ({', '.join(scopes)})")
        if not await self._pool.query(_ADD, parameters | act):
            raise Refused(f"customer {by.customer} has {MOST} keys already")

    async def revoke(self, by: By, token: Token) -> bool:
        """It opens nothing any more; False if it is gone already."""
        parameters = {"customer": by.customer, "token": token.token}
        act = note(by, Act.API_KEY_REVOKED, token.name)
        return bool(await self._pool.query(_REVOKE, parameters | act))


def _scopes(stored: Sequence[str]) -> tuple[Scope, ...]:
    """In their order; one that this version does not know opens nothing."""
    return tuple(scope for scope in Scope if scope.value in stored)


def _token(row: Row) -> Token:
    token, name, scopes, created_at, created_by, expires_at, last_used_at, stopped = row
    return Token(
        token, name, _scopes(scopes), created_at.astimezone(UTC), created_by, utc(expires_at),
        utc(last_used_at), stopped,
    )  # fmt: skip


def _bearer(row: Row) -> Bearer:
    customer, token, name, scopes, created_at, expires_at, suspended = row
    return Bearer(
        customer, token, name, _scopes(scopes), created_at.astimezone(UTC), utc(expires_at),
        suspended,
    )  # fmt: skip
