"""Those who run Mail6M: who they are, how they come in, and that there is always one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyotp
import pytest
from twisted.internet.defer import DeferredList, ensureDeferred

from mail6m.access.signin import totp_owner
from mail6m.model import HOUSE, Act, Role
from mail6m.seal import Keyring
from mail6m.storage.accounts import Accounts
from mail6m.storage.audit import By
from mail6m.web.render import Renderer
from tests.console_client import (
    MASTER,
    NEW_PASSWORD,
    PASSWORD,
    Browser,
    Console,
    listening,
    new_house,
    new_operator,
)
from tests.reactor_thread import run
from tests.stored import new_pool
from tests.test_own_account import letter_to

PATH = "/exploitation/comptes"


@pytest.fixture
def at(dsn: str) -> Iterator[Console]:
    """The console; nobody runs it yet."""
    with listening(dsn) as console:
        console.ask("DELETE FROM throttle")
        console.ask("DELETE FROM account WHERE customer_id = 0")
        console.ask("DELETE FROM audit WHERE customer_id = 0")
        yield console


def inside(at: Console, role: Role = Role.OPERATOR) -> tuple[Browser, int]:
    """One who runs it, and has come in; the account's number."""
    browser, account = at.browser(), new_operator(at, role)
    browser.enter(at, account)
    return browser, account[1]


def acts(at: Console) -> list[tuple[str, str]]:
    """What the house's audit says, oldest first: act, and on what."""
    rows = at.ask("SELECT act, object FROM audit WHERE customer_id = 0 ORDER BY audit_id")
    return [(act, object_) for act, object_ in rows]


def email_of(at: Console, account: int) -> str:
    """The address of an account."""
    [[email]] = at.ask("SELECT email FROM account WHERE account_id = %s", account)
    return str(email)


# Accounts


def test_one_is_invited_and_comes_in(at: Console) -> None:
    """By a letter in the house's words; then a second factor is turned on, and before no more."""
    browser, _ = inside(at)
    form = [("email", "Marc@Mail6M.test"), ("role", "bookkeeper")]
    assert browser.post(PATH, form).location == PATH
    [(to, letter)] = at.letterbox.letters
    assert to == "Marc@mail6m.test"
    assert "console d'exploitation de Mail6M" in letter.text
    assert "e-mails de l'entreprise" not in letter.text
    [link] = re.findall(r"https://console\.mail6m\.test(\S+)", letter.text)
    marc = at.browser()
    token = re.search(r"jeton=(\S+)", link)
    assert token is not None
    marc.get(link)
    typed = [("jeton", token[1]), ("new", NEW_PASSWORD), ("again", NEW_PASSWORD)]
    assert marc.post("/mot-de-passe", typed).location == "/connexion?choisi=oui"
    marc.sign_in("marc@mail6m.test", NEW_PASSWORD)
    for path in ("/exploitation", "/exploitation/clients", "/exploitation/journal"):
        assert marc.get(path).location == "/securite"
    shown = marc.get("/securite")
    assert "activez-le d'abord" in shown.text
    marc.post("/securite/activer")
    secret = re.search(
        r'class="[^"]*secret[^"]*"[^>]*>([A-Z2-7 ]+)<', marc.get("/securite/code").text
    )
    assert secret is not None
    code = pyotp.TOTP(secret[1].replace(" ", "")).now()
    marc.post("/securite/code", [("current", NEW_PASSWORD), ("code", code)])
    assert marc.get("/exploitation").status == 200
    assert marc.get(PATH).status == 403  # a bookkeeper


def test_a_forgotten_password(at: Console) -> None:
    """Is renewed by a letter, in the house's name."""
    _, account = inside(at)
    at.browser().post("/oubli", [("email", email_of(at, account))])
    assert "sur la console d'exploitation de Mail6M" in letter_to(at, email_of(at, account))


def test_letters_in_english() -> None:
    """Both have other words for operators, in each language."""
    renderer = Renderer("0")
    values = {
        "email": "marc@mail6m.test",
        "link": "https://x.test/",
        "company": "Mail6M",
        "by": "A",
    }
    for name in ("invitation", "password"):
        for language in ("fr", "en"):
            ours = renderer.letter(name, language, house=True, **values)
            theirs = renderer.letter(name, language, house=False, **values)
            assert ours.text != theirs.text
            assert "https://x.test/" in ours.text


@pytest.mark.parametrize("act", ["role", "supprimer"])
def test_the_last_operator_stays(at: Console, act: str) -> None:
    """However many bookkeepers there are; the same of customers' administrators is elsewhere."""
    browser, account = inside(at)
    new_operator(at, Role.BOOKKEEPER)
    form = [("compte", account), ("role", "observer"), ("sur", "oui")]
    browser.post(f"{PATH}/{act}", [(name, str(value)) for name, value in form])
    assert "c'est le dernier" in browser.get(PATH).text
    assert at.ask("SELECT role FROM account WHERE account_id = %s", account) == [("operator",)]
    another = new_operator(at)
    browser.post(f"{PATH}/{act}", [(name, str(value)) for name, value in form])
    left = at.ask("SELECT account_id FROM account WHERE customer_id = 0 AND role = 'operator'")
    assert left == [(another[1],)]


@pytest.mark.parametrize("role", ["administrator", "reader", "king", ""])
def test_roles_of_customers_are_none_of_the_houses(at: Console, role: str) -> None:
    """Nor the other way round."""
    browser, account = inside(at)
    answer = browser.post(f"{PATH}/role", [("compte", str(account)), ("role", role)])
    assert answer.status == 404
    assert browser.post(PATH, [("email", "a@b.test"), ("role", role)]).status == 400
    house = new_house(at)
    georges = at.browser()
    georges.enter(at, house.admin)
    form = [("compte", str(house.reader[1])), ("role", "operator")]
    assert georges.post("/comptes/role", form).status == 404
    assert georges.post("/comptes", [("email", "c@d.test"), ("role", "operator")]).status == 400


def test_accounts_of_customers_are_not_to_be_had(at: Console) -> None:
    """By their numbers, on the page for the house's own."""
    browser, _ = inside(at)
    house = new_house(at)
    for act in ("role", "supprimer", "inviter", "second-facteur"):
        form = [("compte", str(house.reader[1])), ("role", "observer"), ("sur", "oui")]
        assert browser.post(f"{PATH}/{act}", form).status == 404


def test_a_lost_second_factor(at: Console) -> None:
    """Another operator takes it back, asked once; sessions end, and the door is closed again."""
    browser, _ = inside(at)
    lost, account = inside(at)
    form = [("compte", str(account))]
    asked = browser.post(f"{PATH}/second-facteur", form)
    assert "Réinitialiser ce second facteur ?" in asked.text
    assert lost.get("/exploitation").status == 200
    browser.post(f"{PATH}/second-facteur", [*form, ("sur", "oui")])
    assert lost.get("/exploitation").location.startswith("/connexion")
    assert acts(at)[-1] == (Act.SECOND_FACTOR_RESET, email_of(at, account))
    lost.sign_in(email_of(at, account))
    assert lost.get("/exploitation").location == "/securite"


def test_nobody_resets_the_own_second_factor(at: Console) -> None:
    """Nor turns it off."""
    browser, account = inside(at)
    browser.post(f"{PATH}/second-facteur", [("compte", str(account)), ("sur", "oui")])
    assert "Un autre exploitant doit le faire pour vous." in browser.get(PATH).text
    assert browser.get("/securite/desactiver").location == "/securite"
    assert "/securite/desactiver" not in browser.get("/securite").text
    [[sealed]] = at.ask("SELECT totp_secret FROM account WHERE account_id = %s", account)
    secret = Keyring(MASTER).unwrap_for(totp_owner(HOUSE, account), bytes(sealed)).decode()
    form = [("current", PASSWORD), ("code", pyotp.TOTP(secret).now())]
    assert browser.post("/securite/desactiver", form).location == "/securite"
    assert at.ask("SELECT totp_secret FROM account WHERE account_id = %s", account) == [(sealed,)]


def test_a_session_without_a_code_does_not_grow(at: Console) -> None:
    """Who came in by a stolen password gets nothing when the owner turns the second factor on."""
    account = new_operator(at, factor=False)
    thief, owner = at.browser(), at.browser()
    for one in (thief, owner):
        one.enter(at, account)
    assert thief.get("/exploitation").location == "/securite"
    owner.get("/securite")
    owner.post("/securite/activer", token=owner.token)
    secret = re.search(
        r'class="[^"]*secret[^"]*"[^>]*>([A-Z2-7 ]+)<', owner.get("/securite/code").text
    )
    assert secret is not None
    code = pyotp.TOTP(secret[1].replace(" ", "")).now()
    owner.post("/securite/code", [("current", PASSWORD), ("code", code)])
    assert owner.get("/exploitation").status == 200
    assert thief.get("/exploitation").location.startswith("/connexion")


def test_the_last_one_of_two_who_go_at_once(at: Console, dsn: str) -> None:
    """Two operators who remove each other at the same time: one stays."""
    one, two = new_operator(at), new_operator(at)
    with new_pool(dsn, 4) as pool:
        accounts = Accounts(pool)

        async def both() -> None:
            by = By(HOUSE, "operator1@mail6m.test", "192.0.2.1")
            await DeferredList(
                [ensureDeferred(accounts.remove(by, number)) for _, number in (one, two)],
                consumeErrors=True,
            )

        run(both)
    assert len(at.ask("SELECT FROM account WHERE customer_id = 0 AND role = 'operator'")) == 1


def test_the_menu(at: Console) -> None:
    """Operators have no cabinet in it; accounts are for operators alone."""
    for role, sees in ((Role.OPERATOR, True), (Role.BOOKKEEPER, False), (Role.OBSERVER, False)):
        browser, _ = inside(at, role)
        shown = browser.get("/exploitation/clients").text
        assert (f'href="{PATH}"' in shown) == sees
        assert 'href="/meuble"' not in shown
        assert 'href="/exploitation/journal"' in shown
        assert 'href="/securite"' in shown
