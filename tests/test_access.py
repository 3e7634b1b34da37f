"""Passwords, codes, sessions and accounts on a real PostgreSQL, and the brakes on guessing."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import argon2
import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.threads import deferToThreadPool

from mail6m.access import brake, factor
from mail6m.access.brake import LIMITS, TooManyFailures, guesses
from mail6m.access.passwords import LEAST, Passwords, too_weak
from mail6m.access.security import NotNow, Security
from mail6m.access.signin import SignIn, WrongCode, WrongPassword, new_token, token_hash
from mail6m.model import HOUSE, Act, Role
from mail6m.seal import Keyring
from mail6m.storage.accounts import Account, Accounts
from mail6m.storage.audit import Audit, By
from mail6m.storage.customers import Customers
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool
from mail6m.storage.sessions import Identity, Sessions
from tests.reactor_thread import run, the_reactor
from tests.stored import ask, new_pool

PASSWORD, OTHER = "tiroir-malle-armoire", "cave-archiviste-DVD-2005"
HERE, THERE = "192.0.2.7", "198.51.100.9"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IDLE, LIFETIME = 3_600.0, 43_200.0
_numbers = itertools.count(1)


@dataclass
class Turned:
    """A clock that is turned by hand."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now


def quick_passwords() -> Passwords:
    """As in production, but hashes cost next to nothing."""
    reactor = the_reactor()
    passwords = Passwords(partial(deferToThreadPool, reactor, reactor.getThreadPool()))
    passwords._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords._nobodys = passwords._hasher.hash("nobody")
    return passwords


class Door:
    """Everything behind the console's door, and accounts to try it with."""

    def __init__(self, dsn: str, pool: Pool) -> None:
        self.dsn, self.pool = dsn, pool
        self.clock = Turned()
        self.keyring = Keyring(bytes(32))
        self.accounts, self.audit = Accounts(pool), Audit(pool)
        self.sessions = Sessions(pool, IDLE, LIFETIME)
        self.passwords = quick_passwords()
        self.signin = SignIn(
            self.accounts, self.sessions, self.audit, self.passwords, self.keyring, self.clock
        )
        self.security = Security(
            self.signin, self.accounts, self.sessions, self.passwords, self.keyring, self.clock
        )

    def ask(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement."""
        return ask(self.dsn, sql, *parameters)

    def customer(self, password: str | None = PASSWORD) -> Account:
        """A customer's first account, an administrator's."""
        email = f"georges{next(_numbers)}@duchemin.test"

        async def add() -> Account | None:
            customers = Customers(self.pool)
            await customers.add(
                customer=await customers.next_number(),
                company="Duchemin",
                email=email,
                plan="tiroir",
                capacity=2_000_000_000,
                wrapped_key=b"",
                password_hash=await self.passwords.hash(password) if password else None,
            )
            return await self.accounts.find(email)

        account = run(add)
        assert account is not None
        return account

    def colleague(self, of: Account, role: Role = Role.READER) -> Account:
        """One more account of a customer's, without a password."""
        email = f"celine{next(_numbers)}@duchemin.test"
        number = run(lambda: self.accounts.add(by(of), email, role))
        return self.again(Account(of.customer, number, email, role, None, None, 0))

    def again(self, account: Account) -> Account:
        """The account as it is now."""
        return run(lambda: self.accounts.get(account.customer, account.account))

    def enter(
        self, account: Account, password: str = PASSWORD, client: str = HERE
    ) -> tuple[str, bool]:
        """Sign in: the token, and whether that is all."""
        entered = run(lambda: self.signin.enter(account.email, password, client, AGENT))
        return entered.token, entered.complete

    def look(self, token: str) -> Identity | None:
        """Who has a token."""
        return run(lambda: self.sessions.look(token_hash(token)))

    def inside(self, account: Account) -> Identity:
        """Somebody who has signed in."""
        identity = self.look(self.enter(account)[0])
        assert identity is not None
        return identity

    def with_factor(self, account: Account) -> tuple[str, list[str]]:
        """Turn the second factor on: the secret in the telephone, and the recovery codes."""
        identity = self.inside(account)
        run(lambda: self.security.offer(identity))
        secret = run(lambda: self.security.offered(identity))
        assert secret is not None
        code = pyotp.TOTP(secret).at(self.clock.now)
        codes = run(lambda: self.security.turn_on(identity, by(account), PASSWORD, code))
        return secret, codes

    def second(self, token: str, code: str) -> str:
        """Give the second factor: the new token."""
        identity = self.look(token)
        assert identity is not None
        return run(lambda: self.signin.second_factor(identity, token, code, HERE))

    def acts(self, account: Account) -> list[str]:
        """What the customer's audit says, oldest first."""
        return [
            act
            for [act] in self.ask(
                "SELECT act FROM audit WHERE customer_id = %s ORDER BY audit_id", account.customer
            )
        ]


def by(account: Account) -> By:
    """That account, as who does something."""
    return By(account.customer, account.email, HERE)


@pytest.fixture(scope="module")
def pool(database: str) -> Iterator[Pool]:
    """Connections."""
    with new_pool(database, 6) as pool:
        yield pool


@pytest.fixture
def door(database: str, pool: Pool) -> Door:
    """The door, with nobody's failures counted."""
    ask(database, "DELETE FROM throttle")
    return Door(database, pool)


def at_once(*works: Coroutine[Any, Any, Any]) -> list[tuple[bool, Any]]:
    """Whether each of these succeeded, and with what, all of them begun before any has ended."""

    async def begin() -> Any:
        return await DeferredList([ensureDeferred(work) for work in works], consumeErrors=True)

    ended: list[tuple[bool, Any]] = run(begin)
    return ended


# Passwords


@pytest.mark.parametrize(
    "password",
    [
        *("", "Aa1!bcdefgh"[: LEAST - 1], "a" * 100, "abcabcabcabc", f"{PASSWORD}{'x' * 1_000}"),
        *("georges@duchemin.fr", "GEORGES@duchemin.fr"),
    ],
)
def test_a_password_that_is_soon_guessed_is_refused(password: str) -> None:
    """Too short, too long to be one, of too few letters, or the address itself."""
    assert too_weak(password, "georges@duchemin.fr")


@pytest.mark.parametrize("password", [PASSWORD, "correct horse battery", "Ünïcödé-0123"])
def test_a_long_password_needs_nothing_else(password: str) -> None:
    """Length is what counts: no digits, no capitals, no signs are asked for."""
    assert not too_weak(password, "georges@duchemin.fr")


def test_parts_of_the_address_are_no_password() -> None:
    """Neither its local part nor its domain, however long."""
    assert too_weak("georges.duchemin", "georges.duchemin@example.org")
    assert too_weak("laposte.example.org", "a@laposte.example.org")


def test_only_the_password_itself_fits() -> None:
    """A hash fits its password alone; no hash, or what is none, fits nothing."""
    passwords = quick_passwords()
    stored = run(lambda: _await(passwords.hash(PASSWORD)))
    assert PASSWORD not in stored
    assert run(lambda: passwords.fits(stored, PASSWORD))
    assert not run(lambda: passwords.fits(stored, PASSWORD + " "))
    assert not run(lambda: passwords.fits(None, "nobody"))
    assert not run(lambda: passwords.fits("not a hash", PASSWORD))


async def _await(work: Any) -> Any:
    return await work


def test_an_account_without_a_password_costs_a_hash_as_well() -> None:
    """The time that a guess takes does not tell whether there is such an account."""
    passwords = quick_passwords()
    with patch.object(passwords, "_verify", wraps=passwords._verify) as verify:
        run(lambda: passwords.fits(None, "anything"))
    verify.assert_called_once()


def test_new_hashes_are_argon2id() -> None:
    """What production stores is Argon2id with the library's present parameters (RFC 9106)."""
    passwords = Passwords(quick_passwords()._in_thread)
    stored = run(lambda: passwords.hash(PASSWORD))
    assert stored.startswith("$argon2id$")
    assert not passwords.is_old(stored)
    assert passwords.is_old(run(lambda: quick_passwords().hash(PASSWORD)))


# Codes


def test_codes_are_those_of_the_rfc() -> None:
    """RFC 6238, appendix B: the last six of its eight digits, for SHA-1."""
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # 12345678901234567890
    for seconds, code in ((59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")):
        now = datetime.fromtimestamp(seconds, UTC)
        assert factor.step_of(secret, code, now) == seconds // 30
        assert factor.step_of(secret, f" {code[:3]} {code[3:]} ", now) == seconds // 30


def test_a_code_holds_for_its_period_and_one_on_either_side() -> None:
    """A telephone may be half a minute off, and not more."""
    secret, now = factor.new_secret(), datetime(2026, 1, 1, tzinfo=UTC)
    code = pyotp.TOTP(secret).at(now)
    step = int(now.timestamp()) // 30
    held = [
        factor.step_of(secret, code, now + timedelta(seconds=30 * periods)) == step
        for periods in (-2, -1, 0, 1, 2)
    ]
    assert held == [False, True, True, True, False]


@given(st.text())
def test_anything_can_be_typed_for_a_code(typed: str) -> None:
    """Whatever is typed is a code or is not; nothing fails."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    factor.step_of("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", typed, now)
    assert len(factor.recovery_hash(b"key", typed)) == 32


def test_recovery_codes_are_read_as_people_type_them() -> None:
    """Ten of them, all different; case, blanks and hyphens do not matter, the key does."""
    codes = factor.new_recovery_codes()
    assert len(set(codes)) == len(codes) == 10
    code = codes[0]
    hashed = factor.recovery_hash(b"key", code)
    assert factor.recovery_hash(b"key", f" {code.upper().replace('-', ' ')}") == hashed
    assert factor.recovery_hash(b"another", code) != hashed
    assert factor.recovery_hash(b"key", codes[1]) != hashed


def test_the_qr_code_says_whose_secret_it_is() -> None:
    """The key URI has the issuer and the address, so that a telephone can show them."""
    secret = factor.new_secret()
    uri = factor.provisioning_uri(secret, "georges@duchemin.fr")
    parsed = pyotp.parse_uri(uri)
    assert (parsed.issuer, parsed.name) == ("Mail6M", "georges@duchemin.fr")
    assert parsed.secret == secret


# Signing in


def test_the_right_password_opens_a_session(door: Door) -> None:
    """The token names the account, and only its hash is stored; the audit has it."""
    account = door.customer()
    token, complete = door.enter(account)
    assert complete
    identity = door.look(token)
    assert identity is not None
    assert (identity.customer, identity.account) == (account.customer, account.account)
    assert (identity.role, identity.two_factors) == (Role.ADMINISTRATOR, False)
    [row] = door.ask(
        "SELECT token_hash, client_address, user_agent FROM session WHERE session_id = %s",
        identity.session,
    )
    assert (bytes(row[0]), *row[1:]) == (token_hash(token), HERE, AGENT)
    assert door.acts(account) == [Act.SIGNED_IN]


def test_the_address_is_known_however_it_is_typed(door: Door) -> None:
    """Capitals and blanks around it do not matter; nor whether a domain is written in Unicode."""
    account = door.customer()
    door.ask(
        "UPDATE account SET email = %s WHERE account_id = %s",
        email := f"rene{next(_numbers)}@xn--socit-esab.test",
        account.account,
    )
    for typed in (f"  {email.upper()} ", email.replace("xn--socit-esab", "société")):
        assert run(lambda typed=typed: door.signin.enter(typed, PASSWORD, HERE, AGENT)).complete


def test_every_sign_in_has_a_token_of_its_own(door: Door) -> None:
    """A token that somebody knew before is not the one that gets signed in."""
    account = door.customer()
    tokens = {door.enter(account)[0] for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 43 for token in tokens)


def test_a_wrong_password_and_a_stranger_are_not_told_apart(door: Door) -> None:
    """The same answer, after the same work: statement by statement, and one hash each."""
    known, invited = door.customer(), door.customer(password=None)
    work: dict[str, list[str]] = {}
    for email in (known.email, invited.email, "stranger@example.org", "no address at all"):
        with (
            patch.object(door.pool, "query", wraps=door.pool.query) as query,
            patch.object(door.passwords, "_verify", wraps=door.passwords._verify) as verify,
            pytest.raises(WrongPassword),
        ):
            run(lambda email=email: door.signin.enter(email, "wrong", HERE, AGENT))
        work[email] = [call.args[0] for call in query.call_args_list]
        verify.assert_called_once()
    assert len(set(map(tuple, work.values()))) == 1
    assert door.acts(known) == door.acts(invited) == [Act.SIGN_IN_FAILED]


def test_what_a_stranger_types_is_not_kept(door: Door) -> None:
    """The house's audit says that somebody failed, but not as whom: it may be a password."""
    with pytest.raises(WrongPassword):
        run(lambda: door.signin.enter("my-password@oops.test", "wrong", "203.0.113.5", AGENT))
    rows = door.ask(
        "SELECT account, object FROM audit WHERE customer_id = %s AND client_address = %s",
        HOUSE,
        "203.0.113.5",
    )
    assert rows == [("?", "")]


def test_an_old_hash_is_made_anew(door: Door) -> None:
    """At a sign-in the password is there to be hashed as it is done today."""
    account = door.customer()
    stored = argon2.PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(PASSWORD)
    door.ask("UPDATE account SET password_hash = %s WHERE email = %s", stored, account.email)
    door.enter(account)
    now = door.again(account).password_hash
    assert now is not None
    assert now != stored
    assert not door.passwords.is_old(now)
    door.enter(account)


# Brakes


def fail(door: Door, email: str, client: str, times: int) -> None:
    """Give wrong passwords."""
    for _ in range(times):
        with pytest.raises(WrongPassword):
            run(lambda: door.signin.enter(email, "wrong", client, AGENT))


def test_one_address_cannot_go_on_guessing_at_one_account(door: Door) -> None:
    """Then the right password is not looked at either, but the owner elsewhere comes in."""
    account = door.customer()
    fail(door, account.email, HERE, LIMITS["here"])
    with pytest.raises(TooManyFailures):
        door.enter(account)
    with pytest.raises(TooManyFailures):
        run(lambda: door.signin.enter(account.email.upper(), PASSWORD, HERE, AGENT))
    assert door.enter(account, client=THERE)[1]


def test_what_is_stopped_does_not_count_against_the_account(door: Door) -> None:
    """One address alone cannot lock an account for everybody, however long it goes on."""
    account = door.customer()
    fail(door, account.email, HERE, LIMITS["here"])
    for _ in range(LIMITS["account"]):
        with pytest.raises(TooManyFailures):
            run(lambda: door.signin.enter(account.email, "wrong", HERE, AGENT))
    assert door.enter(account, client=THERE)[1]


def test_many_addresses_cannot_go_on_guessing_at_one_account(door: Door) -> None:
    """The account has a limit of its own."""
    account = door.customer()
    clients = [f"10.0.0.{n}" for n in range(LIMITS["account"])]
    for client in clients:
        fail(door, account.email, client, 1)
    with pytest.raises(TooManyFailures):
        door.enter(account, client=THERE)
    assert door.enter(door.customer(), client=THERE)[1]


def test_one_address_cannot_go_on_guessing_at_many_accounts(door: Door) -> None:
    """Whether they exist or not; and to get one right does not buy more guesses."""
    account = door.customer()
    for number in range(LIMITS["address"]):
        fail(door, f"stranger{number}@example.org", HERE, 1)
        if number % 10 == 5:
            door.enter(account)
    with pytest.raises(TooManyFailures):
        door.enter(account)
    assert door.enter(account, client=THERE)[1]


def test_an_account_that_does_not_exist_is_braked_alike(door: Door) -> None:
    """Or the brake would say which accounts exist."""
    fail(door, "stranger@example.org", HERE, LIMITS["here"])
    with pytest.raises(TooManyFailures):
        run(lambda: door.signin.enter("stranger@example.org", "wrong", HERE, AGENT))


def test_guesses_at_once_are_counted_one_by_one(door: Door) -> None:
    """Whoever sends them all before the first answer gets no more of them than others."""
    account = door.customer()
    ended = at_once(
        *(door.signin.enter(account.email, f"wrong {n}", HERE, AGENT) for n in range(40))
    )
    kinds = [failure.type for good, failure in ended if not good]
    assert len(kinds) == 40
    assert kinds.count(WrongPassword) == LIMITS["here"]
    assert kinds.count(TooManyFailures) == 40 - LIMITS["here"]


def test_the_brake_loosens(door: Door) -> None:
    """After a quarter of an hour one may try again; a right password forgets the wrong ones."""
    account = door.customer()
    fail(door, account.email, HERE, LIMITS["here"])
    door.ask("UPDATE throttle SET since = since - interval '14 minutes 50 seconds'")
    with pytest.raises(TooManyFailures):
        door.enter(account)
    door.ask("UPDATE throttle SET since = since - interval '11 seconds'")
    door.enter(account)
    fail(door, account.email, HERE, LIMITS["here"] - 1)
    door.enter(account)
    fail(door, account.email, HERE, LIMITS["here"] - 1)
    door.enter(account)


def test_what_was_counted_long_ago_is_swept_out(door: Door) -> None:
    """The table does not grow with every guess that was ever made."""
    fail(door, "stranger@example.org", HERE, 1)
    door.ask("UPDATE throttle SET since = since - interval '2 days'")
    door.enter(door.customer(), client=THERE)
    keys = [bytes(key) for [key] in door.ask("SELECT key FROM throttle")]
    assert not {one.key for one in guesses("stranger@example.org", HERE)} & set(keys)


def test_neighbours_in_ipv6_are_braked_together(door: Door) -> None:
    """Guesses from many addresses of one /64 are one guesser's."""
    account = door.customer()
    for host in range(LIMITS["here"]):
        fail(door, account.email, f"2001:db8:1:2::{host + 1}", 1)
    with pytest.raises(TooManyFailures):
        door.enter(account, client="2001:db8:1:2:abcd::1")
    assert door.enter(account, client="2001:db8:1:3::1")[1]


def test_what_is_counted_names_nobody(door: Door) -> None:
    """The table has hashes: which accounts are guessed at cannot be read from it."""
    for one in guesses("georges@duchemin.fr", HERE):
        assert len(one.key) == 32
        assert b"georges" not in one.key
    assert len({one.key for one in guesses("georges@duchemin.fr", HERE)}) == 3
    assert set(brake._FORGIVEN) <= set(LIMITS)


# The second factor


def test_the_second_factor_is_asked_for(door: Door) -> None:
    """The password alone opens half a session, which says so."""
    account = door.customer()
    door.with_factor(account)
    token, complete = door.enter(account)
    assert not complete
    identity = door.look(token)
    assert identity is not None
    assert not identity.complete
    listed = run(lambda: door.sessions.all(account.customer, account.account))
    assert identity.session not in [session.session for session in listed]


def test_the_token_changes_with_the_second_factor(door: Door) -> None:
    """Who has seen the token of half a session has nothing."""
    account = door.customer()
    secret, _ = door.with_factor(account)
    door.clock.now += timedelta(seconds=60)
    token, _ = door.enter(account)
    new = door.second(token, pyotp.TOTP(secret).at(door.clock.now))
    assert new != token
    assert door.look(token) is None
    identity = door.look(new)
    assert identity is not None
    assert identity.complete
    assert door.acts(account)[-2:] == [Act.PASSWORD_GIVEN, Act.SIGNED_IN]


def test_a_code_is_good_once(door: Door) -> None:
    """Neither the code that turned it on, nor one that was used, nor one before that."""
    account = door.customer()
    secret, _ = door.with_factor(account)
    totp = pyotp.TOTP(secret)
    with pytest.raises(WrongCode):
        door.second(door.enter(account)[0], totp.at(door.clock.now))
    door.clock.now += timedelta(seconds=60)
    code, before = totp.at(door.clock.now), totp.at(door.clock.now - timedelta(seconds=30))
    door.second(door.enter(account)[0], code)
    for used in (code, before):
        with pytest.raises(WrongCode):
            door.second(door.enter(account)[0], used)
    assert door.acts(account).count(Act.WRONG_CODE) == 3


def test_a_code_is_good_once_even_at_once(door: Door) -> None:
    """Two who give the same code at the same time do not both come in."""
    account = door.customer()
    secret, _ = door.with_factor(account)
    door.clock.now += timedelta(seconds=60)
    code = pyotp.TOTP(secret).at(door.clock.now)
    tokens = [door.enter(account)[0] for _ in range(2)]
    found = [door.look(token) for token in tokens]
    ended = at_once(
        *(
            door.signin.second_factor(identity, token, code, HERE)
            for identity, token in zip(found, tokens, strict=True)
            if identity is not None
        )
    )
    assert sorted(good for good, _ in ended) == [False, True]


def test_a_recovery_code_is_good_once(door: Door) -> None:
    """However it is typed; the others stay good, and what is left is counted."""
    account = door.customer()
    _, codes = door.with_factor(account)
    left = partial(door.accounts.recovery_left, account.customer, account.account)
    assert run(left) == 10
    door.second(door.enter(account)[0], codes[3].upper())
    assert run(left) == 9
    with pytest.raises(WrongCode):
        door.second(door.enter(account)[0], codes[3])
    door.second(door.enter(account)[0], codes[4].replace("-", " "))
    assert run(left) == 8
    assert Act.RECOVERY_CODE_USED in door.acts(account)


def test_recovery_codes_are_their_owners(door: Door) -> None:
    """Another account's are good for nothing here."""
    account, other = door.customer(), door.customer()
    door.with_factor(account)
    _, codes = door.with_factor(other)
    with pytest.raises(WrongCode):
        door.second(door.enter(account)[0], codes[0])


def test_codes_cannot_be_guessed(door: Door) -> None:
    """After some wrong ones the right one is not looked at, whatever session it is given in."""
    account = door.customer()
    secret, _ = door.with_factor(account)
    door.clock.now += timedelta(seconds=60)
    right = pyotp.TOTP(secret).at(door.clock.now)
    for _ in range(LIMITS["codes"]):
        with pytest.raises(WrongCode):
            door.second(door.enter(account)[0], "wrong")
    with pytest.raises(TooManyFailures):
        door.second(door.enter(account)[0], right)


def test_the_secret_is_sealed(door: Door) -> None:
    """What is stored says nothing without the master key, and opens for its account alone."""
    account, other = door.customer(), door.customer()
    secret, _ = door.with_factor(account)
    sealed = door.again(account).totp_secret
    assert sealed is not None
    assert secret.encode() not in sealed
    door.ask("UPDATE account SET totp_secret = %s WHERE account_id = %s", sealed, other.account)
    token, _ = door.enter(other)
    with pytest.raises(Exception, match="was not wrapped"):
        door.second(token, "123456")


def test_it_is_not_on_before_its_first_code(door: Door) -> None:
    """A secret that was offered and never proved is asked of nobody."""
    account = door.customer()
    identity = door.inside(account)
    run(lambda: door.security.offer(identity))
    secret = run(lambda: door.security.offered(identity))
    assert secret is not None
    code = pyotp.TOTP(secret).at(door.clock.now)
    with pytest.raises(WrongCode):
        run(lambda: door.security.turn_on(identity, by(account), PASSWORD, "000 00"))
    with pytest.raises(WrongPassword):
        run(lambda: door.security.turn_on(identity, by(account), "wrong", code))
    assert door.enter(account)[1]
    assert run(lambda: door.security.offered(identity)) == secret


def test_an_offer_is_one_sessions_own(door: Door) -> None:
    """Another session of the same account can neither see the secret nor turn it on."""
    account = door.customer()
    first, second = door.inside(account), door.inside(account)
    run(lambda: door.security.offer(first))
    assert run(lambda: door.security.offered(second)) is None
    with pytest.raises(NotNow):
        run(lambda: door.security.turn_on(second, by(account), PASSWORD, "123456"))


def test_turned_on_twice_at_once_it_is_on_once(door: Door) -> None:
    """Only one of two forms gets codes; the other's would be nobody's."""
    account = door.customer()
    identity = door.inside(account)
    run(lambda: door.security.offer(identity))
    secret = run(lambda: door.security.offered(identity))
    assert secret is not None
    code = pyotp.TOTP(secret).at(door.clock.now)
    ended = at_once(
        *(door.security.turn_on(identity, by(account), PASSWORD, code) for _ in range(2))
    )
    [codes] = [result for good, result in ended if good]
    door.second(door.enter(account)[0], codes[0])


def test_new_recovery_codes_replace_the_old_ones(door: Door) -> None:
    """They need the password; then only the new ones are good."""
    account = door.customer()
    _, old = door.with_factor(account)
    identity = door.look(door.second(door.enter(account)[0], old[0]))
    assert identity is not None
    with pytest.raises(WrongPassword):
        run(lambda: door.security.renew_codes(identity, by(account), "wrong"))
    new = run(lambda: door.security.renew_codes(identity, by(account), PASSWORD))
    assert not set(new) & set(old)
    with pytest.raises(WrongCode):
        door.second(door.enter(account)[0], old[1])
    door.second(door.enter(account)[0], new[1])


def test_turning_it_off_takes_password_and_code(door: Door) -> None:
    """One of the two is not enough; afterwards the password is, and no code is left."""
    account = door.customer()
    _, codes = door.with_factor(account)
    identity = door.look(door.second(door.enter(account)[0], codes[0]))
    assert identity is not None

    def off(password: str, code: str) -> None:
        run(lambda: door.security.turn_off(identity, by(account), password, code))

    with pytest.raises(WrongPassword):
        off("wrong", codes[1])
    with pytest.raises(WrongCode):
        off(PASSWORD, "123456")
    off(PASSWORD, codes[1])
    assert door.enter(account)[1]
    assert run(lambda: door.accounts.recovery_left(account.customer, account.account)) == 0
    assert door.acts(account).count(Act.SECOND_FACTOR_OFF) == 1
    with pytest.raises(NotNow):
        run(lambda: door.security.renew_codes(identity, by(account), PASSWORD))


# Passwords, changed


def test_another_password_ends_the_other_sessions(door: Door) -> None:
    """The one that changed it goes on, under a new token; half a session ends as well."""
    account = door.customer()
    token, elsewhere = door.enter(account)[0], door.enter(account)[0]
    identity = door.look(token)
    assert identity is not None
    new = run(lambda: door.security.change_password(identity, by(account), PASSWORD, OTHER))
    assert door.look(token) is None
    assert door.look(elsewhere) is None
    kept = door.look(new)
    assert kept is not None
    assert kept.session == identity.session
    with pytest.raises(WrongPassword):
        door.enter(account, PASSWORD)
    door.enter(account, OTHER)
    assert Act.PASSWORD_CHANGED in door.acts(account)


def test_a_password_is_changed_by_who_knows_it(door: Door) -> None:
    """A session alone is not enough, and guessing is braked as at the door."""
    account = door.customer()
    identity = door.inside(account)

    def change(current: str) -> None:
        run(lambda: door.security.change_password(identity, by(account), current, OTHER))

    for _ in range(LIMITS["here"]):
        with pytest.raises(WrongPassword):
            change("wrong")
    with pytest.raises(TooManyFailures):
        change(PASSWORD)
    assert door.enter(account, PASSWORD, THERE)[1]
    assert door.acts(account).count(Act.WRONG_PASSWORD) == LIMITS["here"]


def test_a_changed_password_voids_the_letters(door: Door) -> None:
    """A link that was sent before does not undo it."""
    account = door.customer()
    token = add_letter(door, account)
    identity = door.inside(account)
    run(lambda: door.security.change_password(identity, by(account), PASSWORD, OTHER))
    assert run(lambda: door.accounts.by_token(token_hash(token))) is None


# Sessions


def test_a_session_ends_when_it_is_idle(door: Door) -> None:
    """Up to the limit it is alive, beyond it is gone, and from the list as well."""
    account = door.customer()
    token, _ = door.enter(account)
    age(door, account, "seen_at", IDLE - 5)
    assert door.look(token) is not None
    age(door, account, "seen_at", IDLE + 1)
    assert door.look(token) is None
    assert run(lambda: door.sessions.all(account.customer, account.account)) == []


def test_looking_keeps_a_session_alive(door: Door) -> None:
    """A request moves the hour on; but not one that comes too late."""
    account = door.customer()
    token, _ = door.enter(account)
    for _ in range(3):
        age(door, account, "seen_at", IDLE - 60)
        assert door.look(token) is not None
    age(door, account, "seen_at", IDLE + 1)
    assert door.look(token) is None
    assert door.look(token) is None


def test_a_session_ends_at_last(door: Door) -> None:
    """However much it is used."""
    account = door.customer()
    token, _ = door.enter(account)
    age(door, account, "created_at", LIFETIME - 5)
    assert door.look(token) is not None
    age(door, account, "created_at", 6)
    assert door.look(token) is None
    assert run(lambda: door.sessions.all(account.customer, account.account)) == []


@pytest.mark.parametrize(("column", "seconds"), [("seen_at", IDLE), ("created_at", LIFETIME)])
def test_sessions_that_are_over_are_swept_out(door: Door, column: str, seconds: float) -> None:
    """The next sign-in, whoever's, deletes their rows; others stay."""
    account, other = door.customer(), door.customer()
    door.enter(account)
    age(door, account, column, seconds + 1)
    token, _ = door.enter(other)
    door.enter(door.customer())
    count = "SELECT count(*) FROM session WHERE customer_id = %s"
    assert door.ask(count, account.customer) == [(0,)]
    assert door.look(token) is not None


def age(door: Door, account: Account, column: str, seconds: float) -> None:
    """As if so many seconds had passed for an account's sessions."""
    door.ask(
        f"UPDATE session SET {column} = {column} - %s * interval '1 second'"  # noqa: S608 - names of columns
        " WHERE customer_id = %s",
        seconds,
        account.customer,
    )


def test_sessions_are_closed_by_their_account_alone(door: Door) -> None:
    """Another account's number closes nothing, of the same customer or not."""
    account, stranger = door.customer(), door.customer()
    colleague = door.colleague(account)
    identity = door.inside(account)
    for who in (stranger, colleague):
        assert not run(lambda who=who: door.sessions.close(by(who), who.account, identity.session))
    assert run(lambda: door.sessions.close(by(account), account.account, identity.session))
    assert run(lambda: door.sessions.all(account.customer, account.account)) == []
    assert door.acts(account)[-1] == Act.SESSION_CLOSED


def test_all_other_sessions_are_closed(door: Door) -> None:
    """This one stays, and so do other accounts'."""
    account, other = door.customer(), door.customer()
    tokens = [door.enter(account)[0] for _ in range(3)]
    others = door.enter(other)[0]
    identity = door.look(tokens[0])
    assert identity is not None
    run(lambda: door.sessions.close_others(by(account), account.account, identity.session))
    assert [door.look(token) is not None for token in tokens] == [True, False, False]
    assert door.look(others) is not None


def test_a_notice_is_said_once(door: Door) -> None:
    """It waits for the next page of that session."""
    account = door.customer()
    token, _ = door.enter(account)
    identity = door.look(token)
    assert identity is not None
    run(lambda: door.sessions.notice(identity.session, "C'est fait.\x00"))
    again = door.look(token)
    assert again is not None
    assert again.notices == ("C'est fait.\ufffd",)
    run(lambda: door.sessions.heard(identity.session))
    last = door.look(token)
    assert last is not None
    assert last.notices == ()


def test_roles_change_at_the_next_request(door: Door) -> None:
    """A session has the role that its account has now."""
    account = door.customer()
    door.colleague(account, Role.ADMINISTRATOR)
    token, _ = door.enter(account)
    assert run(lambda: door.accounts.set_role(by(account), account.account, Role.READER))
    identity = door.look(token)
    assert identity is not None
    assert identity.role == Role.READER


# Letters' tokens


def add_letter(door: Door, account: Account, seconds: float = 3_600.0) -> str:
    """A token that was sent to an account."""
    token = new_token()
    run(
        lambda: door.accounts.add_token(
            by(account), account.account, token_hash(token), seconds, Act.PASSWORD_LINK_SENT
        )
    )
    return token


def choose(door: Door, account: Account, token: str, hashed: str = "hash") -> bool:
    """Choose a password by a token."""
    return run(lambda: door.accounts.use_token(by(account), token_hash(token), hashed))


def test_a_token_is_good_once(door: Door) -> None:
    """It sets the password, ends every session, and voids itself and its like."""
    account, other = door.customer(), door.customer()
    session, others = door.enter(account)[0], door.enter(other)[0]
    token, second, foreign = (add_letter(door, one) for one in (account, account, other))
    found = run(lambda: door.accounts.by_token(token_hash(token)))
    assert found == account
    assert choose(door, account, token)
    assert door.again(account).password_hash == "hash"
    assert door.look(session) is None
    assert door.look(others) is not None
    assert not choose(door, account, token, "again")
    assert not choose(door, account, second, "again")
    assert door.again(account).password_hash == "hash"
    assert run(lambda: door.accounts.by_token(token_hash(foreign))) == other
    assert door.acts(account).count(Act.PASSWORD_CHOSEN) == 1


def test_a_token_is_good_once_even_at_once(door: Door) -> None:
    """Of two who use it at the same time one sets the password."""
    account = door.customer()
    token = add_letter(door, account)
    ended = at_once(
        *(door.accounts.use_token(by(account), token_hash(token), f"{n}") for n in range(5))
    )
    assert sorted(used for _, used in ended) == [False] * 4 + [True]
    [winner] = [str(n) for n, (_, used) in enumerate(ended) if used]
    assert door.again(account).password_hash == winner


def test_a_token_runs_out(door: Door) -> None:
    """To the second; what has run out is deleted when the next is made."""
    account = door.customer()
    token = add_letter(door, account, 60)
    door.ask("UPDATE password_token SET expires_at = expires_at - interval '61 seconds'")
    assert run(lambda: door.accounts.by_token(token_hash(token))) is None
    assert not choose(door, account, token)
    assert door.again(account).password_hash == account.password_hash
    add_letter(door, account)
    count = "SELECT count(*) FROM password_token WHERE customer_id = %s"
    assert door.ask(count, account.customer) == [(1,)]


# Accounts


def test_the_last_administrator_stays(door: Door) -> None:
    """It can be neither removed nor made a reader, readers beside it or not."""
    account = door.customer()
    reader = door.colleague(account)
    assert not run(lambda: door.accounts.remove(by(account), account.account))
    assert not run(lambda: door.accounts.set_role(by(account), account.account, Role.READER))
    assert door.again(account) == account
    assert run(lambda: door.accounts.set_role(by(account), reader.account, Role.ADMINISTRATOR))
    assert run(lambda: door.accounts.set_role(by(account), account.account, Role.READER))
    assert run(lambda: door.accounts.remove(by(account), account.account))
    assert not run(lambda: door.accounts.remove(by(account), reader.account))


def test_a_reader_can_be_removed_beside_the_last_administrator(door: Door) -> None:
    """Only administrators count."""
    account = door.customer()
    reader = door.colleague(account)
    assert run(lambda: door.accounts.set_role(by(account), reader.account, Role.READER))
    assert run(lambda: door.accounts.remove(by(account), reader.account))
    assert run(lambda: door.accounts.all(account.customer)) == [account]


@pytest.mark.parametrize("act", ["remove", "demote", "both"])
def test_administrators_who_go_at_once_leave_one(door: Door, act: str) -> None:
    """Each sees the others still there, and yet one stays; nothing fails."""
    for _ in range(5):
        first = door.customer()
        everybody = [first, *(door.colleague(first, Role.ADMINISTRATOR) for _ in range(4))]
        ended = at_once(
            *(
                door.accounts.remove(by(first), one.account)
                if act == "remove" or (act == "both" and number % 2)
                else door.accounts.set_role(by(first), one.account, Role.READER)
                for number, one in enumerate(everybody)
            )
        )
        assert sorted(result for _, result in ended) == [False, True, True, True, True]
        left = run(lambda first=first: door.accounts.all(first.customer))
        assert [one.role for one in left].count(Role.ADMINISTRATOR) == 1


def test_an_account_goes_with_its_sessions_and_letters(door: Door) -> None:
    """Who has been removed is out at the next request."""
    account = door.customer()
    other = door.colleague(account, Role.ADMINISTRATOR)
    token, letter = door.enter(account)[0], add_letter(door, account)
    assert run(lambda: door.accounts.remove(by(other), account.account))
    assert door.look(token) is None
    assert run(lambda: door.accounts.by_token(token_hash(letter))) is None
    assert run(lambda: door.accounts.find(account.email)) is None
    assert door.acts(account)[-1] == Act.ACCOUNT_REMOVED


def test_an_address_signs_in_to_one_account(door: Door) -> None:
    """Whatever its case, and whosesoever it is."""
    account, other = door.customer(), door.customer()
    for who in (account, other):
        with pytest.raises(Refused):
            run(lambda who=who: door.accounts.add(by(who), account.email.upper(), Role.READER))
    assert len(run(lambda: door.accounts.all(other.customer))) == 1


def test_another_customers_account_is_out_of_reach(door: Door) -> None:
    """It can be neither seen, nor changed, nor removed."""
    account, stranger = door.customer(), door.customer()
    reader = door.colleague(account)
    for work in (
        lambda: door.accounts.get(stranger.customer, reader.account),
        lambda: door.accounts.set_role(by(stranger), reader.account, Role.ADMINISTRATOR),
        lambda: door.accounts.remove(by(stranger), reader.account),
        lambda: door.accounts.add_token(
            by(stranger), reader.account, b"token", 60, Act.INVITATION_SENT
        ),
    ):
        with pytest.raises(Refused):
            run(work)
    run(
        lambda: door.accounts.set_password(
            by(stranger), reader.account, "hash", Act.PASSWORD_CHANGED
        )
    )
    assert door.again(reader) == reader
    assert Act.PASSWORD_CHANGED not in door.acts(stranger)
