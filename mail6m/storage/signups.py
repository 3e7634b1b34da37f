"""Who wants to become a customer, and has not yet become one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg2.errors

from mail6m.model import HOUSE, Act, Plan
from mail6m.storage.audit import By, audited, note
from mail6m.storage.customers import FOUNDING
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, Row, text, utc

BESIDE = 8
"""Sign-ups of one address that are kept though no letter went for them: the newest."""

_COLUMNS = """
    signup_id, email, company, last_name, first_name, plan, language, password_hash,
    client_address, asked_at, confirmed_at"""

_ADD = """
WITH crowded AS (
    DELETE FROM signup WHERE token_hash IS NULL AND signup_id IN (
        SELECT signup_id FROM signup
        WHERE lower(email) = lower(%(email)s) AND token_hash IS NULL
        ORDER BY signup_id DESC OFFSET %(beside)s)
)
INSERT INTO signup (token_hash, email, company, last_name, first_name, plan, language,
                    password_hash, client_address, expires_at)
VALUES (%(token)s, %(email)s, %(company)s, %(last_name)s, %(first_name)s, %(plan)s, %(language)s,
        %(password_hash)s, %(client)s, now() + %(seconds)s * interval '1 second')
RETURNING signup_id"""

_SWEEP = """
WITH swept AS (
    DELETE FROM signup WHERE expires_at < now() AND confirmed_at IS NULL RETURNING 1
) SELECT count(*) FROM swept"""

_BESIDE = f"""
SELECT {_COLUMNS} FROM signup
WHERE lower(email) = lower(%s) AND signup_id <> %s AND expires_at > now() AND confirmed_at IS NULL
ORDER BY signup_id DESC LIMIT %s"""

# What was asked for takes the place of what a letter was sent for: the letter is good for it.
_PUT_IN_PLACE = f"""
UPDATE signup s SET
    company = o.company, last_name = o.last_name, first_name = o.first_name, plan = o.plan,
    language = o.language, password_hash = o.password_hash, client_address = o.client_address,
    asked_at = o.asked_at
FROM signup o
WHERE s.signup_id = %s AND o.signup_id = %s AND s.confirmed_at IS NULL
RETURNING {", ".join(f"s.{name.strip()}" for name in _COLUMNS.split(","))}"""

_BY_TOKEN = f"""
SELECT {_COLUMNS} FROM signup
WHERE token_hash = %s AND (expires_at > now() OR confirmed_at IS NOT NULL)"""
_WAITING = f"""
SELECT {_COLUMNS} FROM signup WHERE confirmed_at IS NOT NULL ORDER BY confirmed_at, signup_id"""
_GET = f"SELECT {_COLUMNS} FROM signup WHERE signup_id = %s AND confirmed_at IS NOT NULL"

# Whoever deletes the row has made the customer of it; another row of the address has no use then.
_FOUND = audited(
    f"""
    DELETE FROM signup WHERE signup_id = %(signup)s
      AND (confirmed_at IS NOT NULL OR (NOT %(waited)s AND expires_at > now()))
    RETURNING %(customer)s::integer AS customer, %(capacity)s::bigint AS capacity,
              %(wrapped_key)s::bytea AS wrapped_key, NULL::integer AS monthly, {_COLUMNS}""",
    *FOUNDING,
    "DELETE FROM signup s USING done d WHERE lower(s.email) = lower(d.email)"
    " AND s.signup_id <> d.signup_id",
    f"""
    INSERT INTO audit (customer_id, account, client_address, act, object)
    SELECT customer, email, client_address, '{Act.SIGNED_UP}', plan FROM done WHERE %(waited)s""",
)

# Of several that one address has asked for, the one that it confirms is meant.
_CONFIRM = """
WITH confirmed AS (
    UPDATE signup SET confirmed_at = now()
    WHERE signup_id = %s AND confirmed_at IS NULL AND expires_at > now()
    RETURNING signup_id, email
), gone AS (
    DELETE FROM signup s USING confirmed c WHERE lower(s.email) = lower(c.email)
      AND s.signup_id <> c.signup_id
)
SELECT signup_id FROM confirmed"""

_REFUSE = audited(
    "DELETE FROM signup WHERE signup_id = %(signup)s AND confirmed_at IS NOT NULL RETURNING email"
)
_FORGET = "DELETE FROM signup WHERE signup_id = %s"

_OPERATORS = """
SELECT email FROM account WHERE customer_id = %s AND role = 'operator' ORDER BY account_id"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody typed who wants to become a customer."""

    email: str
    company: str
    last_name: str
    first_name: str
    plan: Plan
    language: str


@dataclass(frozen=True, slots=True)
class Signup:
    """The same, as it is kept."""

    signup: int
    wanted: Wanted
    password_hash: str
    client: str
    """The address that it came from."""
    asked_at: datetime
    confirmed_at: datetime | None
    """Since when an operator is to decide."""


class Signups:
    """The table ``signup``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(
        self,
        wanted: Wanted,
        password_hash: str,
        token_hash: bytes | None,
        client: str,
        seconds: float,
    ) -> None:
        """Keep what somebody wants, for so many seconds.

        Without a token no letter goes for it; of those an address has `BESIDE` at most.
        """
        parameters = {
            "token": token_hash,
            "email": text(wanted.email),
            "company": text(wanted.company),
            "last_name": text(wanted.last_name),
            "first_name": text(wanted.first_name),
            "plan": wanted.plan.value,
            "language": wanted.language,
            "password_hash": password_hash,
            "client": text(client),
            "seconds": seconds,
            "beside": BESIDE - 1,
        }
        await self._pool.query(_ADD, parameters)

    async def forget_expired(self) -> int:
        """Forget what nobody has confirmed in time; how many."""
        return int((await self._pool.query(_SWEEP))[0][0])

    async def beside(self, signup: Signup) -> list[Signup]:
        """What else has been asked for with the same address, and not confirmed; the newest first.

        They are few, since each may cost a look at its password.
        """
        given = (text(signup.wanted.email), signup.signup, 2 * BESIDE)
        return [_signup(row) for row in await self._pool.query(_BESIDE, given)]

    async def put_in_place(self, signup: Signup, other: Signup) -> Signup:
        """Have a letter confirm what was asked for besides: ``signup``, as ``other`` is.

        Raises `Refused` if either is gone.
        """
        rows = await self._pool.query(_PUT_IN_PLACE, (signup.signup, other.signup))
        if not rows:
            raise Refused(f"{signup.wanted.email} has confirmed meanwhile")
        return _signup(rows[0])

    async def by_token(self, token_hash: bytes) -> Signup | None:
        """The one that a letter's link is of; None if it is none's, or has run out."""
        rows = await self._pool.query(_BY_TOKEN, (token_hash,))
        return _signup(rows[0]) if rows else None

    async def waiting(self) -> list[Signup]:
        """Those that an operator is to decide on, the oldest first."""
        return [_signup(row) for row in await self._pool.query(_WAITING)]

    async def get(self, signup: int) -> Signup | None:
        """One of those."""
        rows = await self._pool.query(_GET, (signup,))
        return _signup(rows[0]) if rows else None

    async def confirm(self, signup: int) -> bool:
        """Let it wait for an operator; False if it does already, or has run out."""
        return bool(await self._pool.query(_CONFIRM, (signup,)))

    async def found(self, by: By, act: Act, signup: Signup, customer: int, key: bytes) -> bool:
        """Make a customer of it, with its first account; False if that has been done.

        ``key`` is the customer's, wrapped. An operator makes one only of what has been confirmed.
        The audit of the house has the customer's number, since it outlives the customer.
        Raises `Refused` if the address has got an account meanwhile.
        """
        parameters = {
            "signup": signup.signup,
            "customer": customer,
            "capacity": signup.wanted.plan.capacity,
            "wrapped_key": key,
            "waited": by.customer == HOUSE,
        }
        try:
            done = await self._pool.query(_FOUND, parameters | note(by, act, customer))
        except psycopg2.errors.UniqueViolation as error:
            raise Refused(f"{signup.wanted.email} already has an account") from error
        return bool(done)

    async def refuse(self, by: By, signup: Signup, reason: str) -> bool:
        """Forget one that waits; False if somebody has decided already.

        The audit has its number and the reason: who it was, nobody is to know for good.
        """
        act = note(by, Act.SIGNUP_REFUSED, f"{signup.signup}: {reason}")
        return bool(await self._pool.query(_REFUSE, {"signup": signup.signup} | act))

    async def forget(self, signup: int) -> None:
        """It is of no use any more."""
        await self._pool.query(_FORGET, (signup,))

    async def operators(self) -> list[str]:
        """The addresses of those who may decide."""
        return [email for (email,) in await self._pool.query(_OPERATORS, (HOUSE,))]


def _signup(row: Row) -> Signup:
    (signup, email, company, last_name, first_name, plan, language, password_hash, client,
     asked_at, confirmed_at) = row  # fmt: skip
    wanted = Wanted(email, company, last_name, first_name, Plan(plan), language)
    return Signup(
        signup, wanted, password_hash, client, asked_at.astimezone(UTC), utc(confirmed_at)
    )
