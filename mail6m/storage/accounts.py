"""Who may sign in to the console, and how often somebody has failed to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg2.errors

from mail6m.model import HOUSE, Act, Role
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.notices import FACTOR_OFF, PASSWORD_CHANGED, owner_told
from mail6m.storage.pool import Pool, Row, text

_COLUMNS = "customer_id, account_id, email, role, password_hash, totp_secret, totp_step"

_FIND = f"SELECT {_COLUMNS} FROM account WHERE lower(email) = lower(%s)"
_GET = f"SELECT {_COLUMNS} FROM account WHERE customer_id = %s AND account_id = %s"
_LIST = f"SELECT {_COLUMNS} FROM account WHERE customer_id = %s ORDER BY lower(email)"

_ADD = audited("""
    INSERT INTO account (customer_id, email, role) VALUES (%(customer)s, %(email)s, %(role)s)
    RETURNING account_id""")

# The last one who may do everything stays, whoever asks at the same time: all of them are locked
# first, always in the same order, and who is none any more by then is not counted.
_CHIEFS = """
    WITH chiefs AS MATERIALIZED (
        SELECT account_id FROM account
        WHERE customer_id = %(customer)s AND role = %(chief)s
        ORDER BY account_id FOR UPDATE
    )"""
_OTHER_LEFT = "(SELECT count(*) FROM chiefs WHERE account_id <> %(account)s) > 0"

# The keys of the API that an account has made end with its right to make any, for good.
_STOP_KEYS = (
    """
    UPDATE api_token SET account_id = NULL
    WHERE customer_id = %(customer)s AND account_id = %(account)s AND %(role)s <> %(chief)s
      AND EXISTS (SELECT FROM done)
    RETURNING name""",
    f"""
    INSERT INTO audit (customer_id, account, client_address, act, object, by_house)
    SELECT %(by_customer)s, %(by_account)s, %(by_client)s, '{Act.API_KEY_STOPPED}', name,
           %(by_house)s
    FROM also_0""",
)

_SET_ROLE = audited(
    f"""{_CHIEFS}
    UPDATE account SET role = %(role)s
    WHERE customer_id = %(customer)s AND account_id = %(account)s
      AND ({_OTHER_LEFT} OR %(role)s = %(chief)s)
    RETURNING email""",
    *_STOP_KEYS,
)

_REMOVE = audited(
    f"""{_CHIEFS}
    DELETE FROM account
    WHERE customer_id = %(customer)s AND account_id = %(account)s
      AND {_OTHER_LEFT}
    RETURNING email""",
    *_STOP_KEYS,
)

# A new password ends what the old one opened, and every letter that lets somebody choose another.
_SET_PASSWORD = audited(
    """
    UPDATE account SET password_hash = %(hash)s
    WHERE customer_id = %(customer)s AND account_id = %(account)s
    RETURNING customer_id, account_id""",
    """
    DELETE FROM session s USING done WHERE s.customer_id = done.customer_id
      AND s.account_id = done.account_id AND s.session_id <> %(session)s""",
    """
    DELETE FROM password_token t USING done
    WHERE t.customer_id = done.customer_id AND t.account_id = done.account_id""",
    owner_told(PASSWORD_CHANGED),
)

# A letter is good once: whoever deletes its token has used it.
_USE_LETTER = audited(
    """
    DELETE FROM password_token WHERE token_hash = %(token)s AND expires_at > now()
    RETURNING customer_id, account_id""",
    """
    UPDATE account a SET password_hash = %(hash)s FROM done
    WHERE a.customer_id = done.customer_id AND a.account_id = done.account_id""",
    """
    DELETE FROM session s USING done
    WHERE s.customer_id = done.customer_id AND s.account_id = done.account_id""",
    """
    DELETE FROM password_token t USING done WHERE t.customer_id = done.customer_id
      AND t.account_id = done.account_id AND t.token_hash <> %(token)s""",
    owner_told(PASSWORD_CHANGED),
)

_REHASH = """
UPDATE account SET password_hash = %s WHERE customer_id = %s AND account_id = %s"""

# Turned on twice at once, only one of the two secrets and its codes are anybody's. Whoever has come
# in by the password alone, elsewhere, has given no code: those sessions end.
_TOTP_ON = audited(
    """
    UPDATE account SET totp_secret = %(secret)s, totp_step = %(step)s,
                       recovery_hashes = %(recovery)s::bytea[]
    WHERE customer_id = %(customer)s AND account_id = %(account)s AND totp_secret IS NULL
    RETURNING customer_id, account_id""",
    """
    DELETE FROM session s USING done WHERE s.customer_id = done.customer_id
      AND s.account_id = done.account_id AND s.session_id <> %(session)s""",
)

_TOTP_OFF = audited(
    """
    UPDATE account SET totp_secret = NULL, recovery_hashes = '{}'
    WHERE customer_id = %(customer)s AND account_id = %(account)s AND totp_secret IS NOT NULL
    RETURNING customer_id, account_id""",
    owner_told(FACTOR_OFF),
)

# Somebody's telephone is lost, and perhaps with it what it had open.
_TOTP_RESET = audited(
    """
    UPDATE account SET totp_secret = NULL, recovery_hashes = '{}'
    WHERE customer_id = %(customer)s AND account_id = %(account)s AND totp_secret IS NOT NULL
    RETURNING customer_id, account_id, email""",
    """
    DELETE FROM session s USING done
    WHERE s.customer_id = done.customer_id AND s.account_id = done.account_id""",
)

_SET_RECOVERY = audited("""
    UPDATE account SET recovery_hashes = %(recovery)s::bytea[]
    WHERE customer_id = %(customer)s AND account_id = %(account)s AND totp_secret IS NOT NULL
    RETURNING email""")

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

_ADD_LETTER = audited(
    """
    INSERT INTO password_token (token_hash, customer_id, account_id, expires_at)
    VALUES (%(token)s, %(customer)s, %(account)s, now() + %(seconds)s * interval '1 second')
    RETURNING account_id""",
    "DELETE FROM password_token WHERE expires_at < now()",
)

_ADDRESSED = """
SELECT c.company, p.language FROM customer c JOIN preferences p USING (customer_id)
WHERE customer_id = %s"""

_ADMINISTRATORS = """
SELECT email FROM account WHERE customer_id = %s AND role IN ('administrator', 'operator')
ORDER BY account_id"""

_BY_LETTER = """
SELECT a.customer_id, a.account_id, a.email, a.role, a.password_hash, a.totp_secret, a.totp_step
FROM password_token t JOIN account a USING (customer_id, account_id)
WHERE t.token_hash = %s AND t.expires_at > now()"""

# Counted before it is known how an attempt ends, so that many at once are not let pass together.
_ATTEMPT = """
INSERT INTO throttle AS t (key, failures, since) VALUES (%(key)s, 1, now())
ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN t.since > now() - %(window)s * interval '1 second'
                    THEN t.failures + 1 ELSE 1 END,
    since = CASE WHEN t.since > now() - %(window)s * interval '1 second'
                 THEN t.since ELSE now() END
RETURNING failures"""

_TAKE_BACK = "UPDATE throttle SET failures = failures - 1 WHERE key = %s AND failures > 0"
_FORGIVE = "DELETE FROM throttle WHERE key = %s"
_SWEEP = "DELETE FROM throttle WHERE since < now() - interval '1 day'"


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
        act = note(by, Act.ACCOUNT_ADDED, f"{email} ({role.value})")
        try:
            return int((await self._pool.query(_ADD, parameters | act))[0][0])
        except psycopg2.errors.UniqueViolation as error:
            raise Refused(f"{email} already signs in to another account") from error

    async def set_role(self, by: By, account: int, role: Role) -> bool:
        """Change a role; False if it was the last administrator's, or there is no such account.

        Of the house, that is the last operator's. Keys of the API that an administrator has made
        open nothing when it is one no more.
        """
        parameters = _chiefly(by, account) | {"role": role.value}
        act = note(by, Act.ROLE_CHANGED, f"{await self._email(by, account)} ({role.value})")
        return bool(await self._pool.query(_SET_ROLE, parameters | act))

    async def remove(self, by: By, account: int) -> bool:
        """Remove an account with its sessions and its keys' effect; False as for `set_role`."""
        parameters = _chiefly(by, account) | {"role": ""}
        act = note(by, Act.ACCOUNT_REMOVED, await self._email(by, account))
        return bool(await self._pool.query(_REMOVE, parameters | act))

    async def _email(self, by: By, account: int) -> str:
        return (await self.get(by.customer, account)).email

    async def set_password(
        self,
        by: By,
        account: int,
        password_hash: str,
        act: Act,
        *,
        session: int = 0,
        object_: str = "",
    ) -> None:
        """Give an account a password; of its sessions only that one goes on.

        ``object_`` is its address, for the audit, if somebody else does it.
        """
        parameters = {
            "customer": by.customer,
            "account": account,
            "hash": password_hash,
            "session": session,
        }
        await self._pool.query(_SET_PASSWORD, parameters | note(by, act, object_))

    async def rehash(self, customer: int, account: int, password_hash: str) -> None:
        """The same password, hashed as it is done today."""
        await self._pool.query(_REHASH, (password_hash, customer, account))

    async def turn_totp_on(
        self,
        by: By,
        account: int,
        secret: bytes,
        step: int,
        recovery: Sequence[bytes],
        *,
        session: int = 0,
    ) -> bool:
        """Ask for a second factor from now on, by a sealed secret; False if there is one already.

        ``step`` is that of the code that proved the secret: it is used up. Of the account's
        sessions only that one goes on.
        """
        parameters = {
            "customer": by.customer,
            "account": account,
            "secret": secret,
            "step": step,
            "recovery": list(recovery),
            "session": session,
        }
        return bool(await self._pool.query(_TOTP_ON, parameters | note(by, Act.SECOND_FACTOR_ON)))

    async def turn_totp_off(self, by: By, account: int, object_: str = "") -> bool:
        """Ask for no second factor any more; False if there is none. As for `set_password`."""
        parameters = {"customer": by.customer, "account": account}
        act = note(by, Act.SECOND_FACTOR_OFF, object_)
        return bool(await self._pool.query(_TOTP_OFF, parameters | act))

    async def reset_totp(self, by: By, account: int) -> bool:
        """The same for somebody else, whose sessions end; False if there is none."""
        parameters = {"customer": by.customer, "account": account}
        act = note(by, Act.SECOND_FACTOR_RESET, await self._email(by, account))
        return bool(await self._pool.query(_TOTP_RESET, parameters | act))

    async def set_recovery(self, by: By, account: int, recovery: Sequence[bytes]) -> bool:
        """New recovery codes in place of the old ones; False without a second factor."""
        parameters = {"customer": by.customer, "account": account, "recovery": list(recovery)}
        act = note(by, Act.NEW_RECOVERY_CODES)
        return bool(await self._pool.query(_SET_RECOVERY, parameters | act))

    async def use_step(self, customer: int, account: int, step: int) -> bool:
        """Use the code of a step of time; False if it, or a later one, has been used."""
        parameters = {"customer": customer, "account": account, "step": step}
        return bool(await self._pool.query(_USE_STEP, parameters))

    async def use_recovery(self, by: By, account: int, code_hash: bytes) -> bool:
        """Use up a recovery code; False if it is none, or has been used."""
        parameters = {"customer": by.customer, "account": account, "hash": code_hash}
        act = note(by, Act.RECOVERY_CODE_USED)
        return bool(await self._pool.query(_USE_RECOVERY, parameters | act))

    async def recovery_left(self, customer: int, account: int) -> int:
        """How many recovery codes have not been used."""
        rows = await self._pool.query(_RECOVERY_LEFT, (customer, account))
        return int(rows[0][0]) if rows else 0

    async def add_token(
        self, by: By, account: int, token_hash: bytes, seconds: float, act: Act
    ) -> None:
        """Whoever has the token may choose the account's password, for so many seconds."""
        parameters = {
            "token": token_hash,
            "customer": by.customer,
            "account": account,
            "seconds": seconds,
        }
        object_ = await self._email(by, account)
        await self._pool.query(_ADD_LETTER, parameters | note(by, act, object_))

    async def by_token(self, token_hash: bytes) -> Account | None:
        """Whose password a token lets choose; None if it is none, or has run out."""
        rows = await self._pool.query(_BY_LETTER, (token_hash,))
        return _account(rows[0]) if rows else None

    async def use_token(self, by: By, token_hash: bytes, password_hash: str) -> bool:
        """Choose a password with a token; False if it is none, has been used, or has run out."""
        parameters = {"token": token_hash, "hash": password_hash}
        return bool(await self._pool.query(_USE_LETTER, parameters | note(by, Act.PASSWORD_CHOSEN)))

    async def addressed(self, customer: int) -> tuple[str, str]:
        """How a letter speaks to a customer's accounts: the company's name, and its language."""
        company, language = (await self._pool.query(_ADDRESSED, (customer,)))[0]
        return company, language

    async def administrators(self, customer: int) -> list[str]:
        """The addresses of a customer's administrators, the first one first.

        Of the house, those of its operators.
        """
        return [email for (email,) in await self._pool.query(_ADMINISTRATORS, (customer,))]

    async def attempt(self, key: bytes, window: float) -> int:
        """Count an attempt under a key: how many there are, this one included.

        They are counted in a window of so many seconds that begins with the first.
        """
        return int((await self._pool.query(_ATTEMPT, {"key": key, "window": window}))[0][0])

    async def take_back(self, key: bytes) -> None:
        """An attempt that was counted has been a good one."""
        await self._pool.query(_TAKE_BACK, (key,))

    async def forgive(self, key: bytes) -> None:
        """Forget all that is counted under a key."""
        await self._pool.query(_FORGIVE, (key,))

    async def sweep(self) -> None:
        """Forget what was counted long ago."""
        await self._pool.query(_SWEEP)


def _chiefly(by: By, account: int) -> dict[str, object]:
    """An account, and the role of those who may do everything where it is."""
    chief = Role.OPERATOR if by.customer == HOUSE else Role.ADMINISTRATOR
    return {"customer": by.customer, "account": account, "chief": chief.value}


def _account(row: Row) -> Account:
    customer, account, email, role, password_hash, secret, step = row
    return Account(
        customer, account, email, Role(role), password_hash,
        None if secret is None else bytes(secret), step,
    )  # fmt: skip
