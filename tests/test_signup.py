"""Signing up: what people do, and what others do to them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from itertools import count

import pytest
from twisted.internet.task import deferLater

from mail6m.access.brake import LIMITS, Counted
from mail6m.access.signin import token_hash
from mail6m.access.signup import Mode, SignUp
from mail6m.model import Role
from mail6m.networks import place_of
from mail6m.seal import Keyring
from mail6m.storage.signups import BESIDE, Signups
from mail6m.web.signup import SignUpPages
from tests.console_client import (
    MASTER,
    PASSWORD,
    Browser,
    Console,
    House,
    Page,
    dump,
    listening,
    new_house,
    new_operator,
    new_signup,
)
from tests.reactor_thread import run, the_reactor
from tests.stored import new_pool

_numbers = count(1)
WAITING = "/exploitation/inscriptions"


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console where everybody may sign up."""
    with listening(dsn) as console:
        yield console


@pytest.fixture(scope="module")
def choosy(dsn: str) -> Iterator[Console]:
    """One where an operator decides."""
    with listening(dsn, signup=Mode.APPROVAL) as console:
        yield console


@pytest.fixture(autouse=True)
def _nothing_counted(at: Console) -> None:
    """Nobody has tried anything yet, and no letter is under way."""
    at.ask("DELETE FROM throttle")


def new_email() -> str:
    """An address that nobody has."""
    return f"georges@duchemin{next(_numbers)}.fr"


def typed(email: str, **other: str) -> list[tuple[str, str]]:
    """The form, filled in; an empty text leaves a field out."""
    form = {
        "company": "Duchemin",
        "last_name": "Alphan",
        "first_name": "Georges",
        "email": email,
        "password": PASSWORD,
        "plan": "malle",
        "agreed": "y",
    }
    return [(name, value) for name, value in (form | other).items() if value]


def use_case(at: Console) -> SignUp:
    """What the pages stand on."""
    [pages] = [one for one in at.pages if isinstance(one, SignUpPages)]
    return pages._signup


def settled(at: Console) -> None:
    """All that goes on after an answer has been done."""
    signup = use_case(at)

    async def done() -> None:
        while signup._under_way:
            await deferLater(the_reactor(), 0.002)

    run(done)


def ask(at: Console, email: str, browser: Browser | None = None, **other: str) -> Page:
    """Sign up, and wait until the letter is written."""
    answer = (browser or at.browser()).post("/inscription", typed(email, **other))
    settled(at)
    return answer


def letters(at: Console, email: str) -> list[str]:
    """What somebody has been sent."""
    said = [f"{one.subject}\n{one.text}" for to, one in at.letterbox.letters if to == email]
    return [one.replace("\u00a0", " ") for one in said]


def token_in(letter: str) -> str:
    """The token of a letter's link."""
    return re.findall(r"/inscription/confirmer\?jeton=([\w-]+)", letter)[0]


def confirm(browser: Browser, token: str, password: str = PASSWORD) -> Page:
    """The button of the page that the link leads to."""
    return browser.post("/inscription/confirmer", [("jeton", token), ("password", password)])


def customers(at: Console, email: str) -> Sequence[int]:
    """The customers of an account's address."""
    return [n for [n] in at.ask("SELECT customer_id FROM account WHERE email = %s", email)]


# What people do


def test_from_the_form_to_the_guided_start(at: Console) -> None:
    """The letter, the password once more: a customer with contract, plan, names, and a session."""
    email, browser = new_email(), at.browser()
    asked = ask(at, email, browser, company="  Duchemin \n& fils ")
    assert (asked.status, asked.location) == (303, "/inscription/envoi")
    assert browser.get(asked.location).status == 200
    [letter] = letters(at, email)
    assert letter.startswith("Confirmez votre inscription à Mail6M")
    assert "Duchemin" not in letter
    token = token_in(letter)
    page = browser.get(f"/inscription/confirmer?jeton={token}")
    assert "Duchemin & fils" in page.text
    assert customers(at, email) == []
    entered = confirm(browser, token)
    assert (entered.status, entered.location) == (303, "/demarrage")
    assert "Déclarez votre domaine" in browser.get("/demarrage").text
    [number] = customers(at, email)
    rows = at.ask(
        "SELECT c.company, c.plan, c.capacity, p.email, p.last_name, p.first_name, p.language,"
        " a.role, t.started_on = (now() AT TIME ZONE 'Europe/Paris')::date, t.ended_on, q.plan,"
        " q.capacity, q.monthly FROM customer c JOIN preferences p USING (customer_id)"
        " JOIN account a USING (customer_id) JOIN contract t USING (customer_id)"
        " JOIN contract_plan q USING (customer_id) WHERE customer_id = %s",
        number,
    )
    assert rows == [
        ("Duchemin & fils", "malle", 5_000_000_000, email, "Alphan", "Georges", "fr",
         "administrator", True, None, "malle", 5_000_000_000, None),
    ]  # fmt: skip
    [[key]] = at.ask("SELECT wrapped_key FROM customer WHERE customer_id = %s", number)
    assert Keyring(MASTER).unwrap(number, bytes(key))
    acts = at.ask("SELECT act, account FROM audit WHERE customer_id = %s", number)
    assert ("signed up", email) in acts
    assert at.ask("SELECT 1 FROM signup WHERE email = %s", email) == []
    assert letters(at, email)[1].startswith("Bienvenue chez Mail6M")
    assert at.browser().sign_in(email).location == "/meuble"


def test_in_english(at: Console) -> None:
    """Who asks for English gets it, in the pages and in the letters, and keeps it."""
    email, browser = new_email(), at.browser()
    browser.get("/inscription?langue=en")
    asked = browser.post("/inscription?langue=en", typed(email), token=browser.token)
    settled(at)
    assert asked.location == "/inscription/envoi?langue=en"
    assert "Now read your mail" in browser.get(asked.location).text
    [letter] = letters(at, email)
    assert letter.startswith("Confirm your sign-up")
    confirm(browser, token_in(letter))
    assert letters(at, email)[1].startswith("Welcome to Mail6M")
    assert "Declare your domain" in browser.get("/demarrage").text


@pytest.mark.parametrize(
    ("field", "value", "wrong"),
    [
        ("company", "", "Indiquez le nom de votre société."),
        ("company", " \t", "Indiquez le nom de votre société."),
        ("company", "x" * 201, "C'est trop long."),
        ("email", "georges", "Écrivez une adresse"),
        ("email", "georges@localhost", "Écrivez une adresse"),
        ("email", "a@b.fr\nBcc: c@d.fr", "Écrivez une adresse"),
        ("password", "court", "Trop facile à deviner"),
        ("password", "", "Choisissez un mot de passe."),
        ("plan", "palais", "Choisissez un meuble."),
        ("plan", "dedicated", "Choisissez un meuble."),
        ("agreed", "", "Acceptez les conditions"),
    ],
)
def test_what_is_wrong_is_said(at: Console, field: str, value: str, wrong: str) -> None:
    """By its field; what was typed is still there, the password is not; nothing is sent."""
    email, before = new_email(), len(at.letterbox.letters)
    page = ask(at, **{"email": email, field: value})
    assert page.status == 400
    assert wrong in page.text
    assert 'value="Alphan"' in page.text
    assert PASSWORD not in page.text
    assert len(at.letterbox.letters) == before


def test_a_cabinet_is_chosen_beforehand(at: Console) -> None:
    """By the button below its price; whatever else stands there is a drawer."""
    for asked, chosen in (("armoire", "armoire"), ("palais", "tiroir"), ("", "tiroir")):
        page = at.browser().get(f"/inscription?meuble={asked}").text
        assert re.findall(r'value="(\w+)" checked', page) == [chosen]


# What others do


def test_who_has_an_account_is_told_so_by_letter_alone(at: Console) -> None:
    """The answer is the same to the byte; the letter is another one, and no sign-up is kept."""
    known, new = new_house(at).admin_email, new_email()
    answers = [ask(at, email) for email in (known.upper(), new)]
    assert [(one.status, one.location, one.body) for one in answers] == [
        (303, "/inscription/envoi", b"")
    ] * 2
    [letter] = letters(at, known)
    assert letter.startswith("Vous avez déjà un compte Mail6M")
    assert at.ask("SELECT 1 FROM signup WHERE lower(email) = lower(%s)", known) == []


def test_a_scanner_that_follows_links_confirms_nothing(at: Console) -> None:
    """Neither by GET nor by HEAD, however often."""
    email = new_email()
    ask(at, email)
    path = f"/inscription/confirmer?jeton={token_in(letters(at, email)[0])}"
    for method in ("GET", "HEAD", "GET"):
        assert at.browser().request(method, path).status == 200
    assert customers(at, email) == []


def test_nobody_opens_an_account_for_somebody_else(at: Console) -> None:
    """Who has the letter and not the password gets no account, and does not guess for long."""
    email = new_email()
    ask(at, email)
    token, victim = token_in(letters(at, email)[0]), at.browser()
    for _ in range(LIMITS["confirming"]):
        assert confirm(victim, token, "un-autre-mot-de-passe").status == 403
    assert confirm(victim, token).status == 429
    assert customers(at, email) == []


def test_a_letter_is_good_once(at: Console) -> None:
    """The second time there is nothing to confirm, and the first customer stays alone."""
    email = new_email()
    ask(at, email)
    token = token_in(letters(at, email)[0])
    assert confirm(at.browser(), token).status == 303
    for again in (
        confirm(at.browser(), token),
        at.browser().get(f"/inscription/confirmer?jeton={token}"),
    ):
        assert again.status == 410
    assert len(customers(at, email)) == 1


def test_two_at_once_are_one(at: Console) -> None:
    """A button that is pressed twice, or two letters of one address, make one customer."""
    email = new_email()
    for _ in range(2):
        ask(at, email)
        at.ask("UPDATE throttle SET since = since - interval '61 minutes'")
    first, second = (token_in(letter) for letter in letters(at, email))
    browsers = [at.browser() for _ in range(4)]
    for browser in browsers:
        browser.any_token()
    answers: list[int] = []

    def press(browser: Browser, token: str) -> None:
        form = [("jeton", token), ("password", PASSWORD)]
        answers.append(browser.post("/inscription/confirmer", form, token=browser.token).status)

    threads = [
        threading.Thread(target=press, args=pair)
        for pair in zip(browsers, (first, first, second, second), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == [303, 410, 410, 410]
    assert len(customers(at, email)) == 1
    assert at.ask("SELECT 1 FROM signup WHERE email = %s", email) == []


def test_the_other_letters_are_good_no_more(at: Console) -> None:
    """Once one of an address's sign-ups is confirmed, nothing is kept of the others."""
    email = new_email()
    for _ in range(2):
        ask(at, email)
        at.ask("UPDATE throttle SET since = since - interval '61 minutes'")
    confirm(at.browser(), token_in(letters(at, email)[1]))
    assert at.ask("SELECT 1 FROM signup WHERE email = %s", email) == []


def test_an_address_that_was_taken_meanwhile(at: Console) -> None:
    """By an invitation, say: the letter is good no more, and nothing is changed."""
    email, house = new_email(), new_house(at)
    ask(at, email)
    at.ask(
        "INSERT INTO account (customer_id, email, role) VALUES (%s, %s, 'reader')",
        house.number, email.upper(),
    )  # fmt: skip
    page = confirm(at.browser(), token_in(letters(at, email)[0]))
    assert page.status == 410
    assert "cette adresse a déjà un compte" in page.text
    assert customers(at, email) == []


def test_a_link_that_is_too_old(at: Console) -> None:
    """Confirms nothing."""
    token, number = new_signup(at, new_email())
    at.ask("UPDATE signup SET expires_at = now() WHERE signup_id = %s", number)
    assert confirm(at.browser(), token).status == 410


@pytest.mark.parametrize("token", ["", "x", "\x00", "%00", "a" * 5_000, "é", "' OR 1=1 --"])
def test_tokens_are_not_guessed(at: Console, token: str) -> None:
    """Whatever it is, it is none."""
    browser = at.browser()
    assert browser.get("/inscription/confirmer", [("jeton", token)]).status == 410
    assert confirm(browser, token).status == 410


def test_the_token_itself_is_not_kept(at: Console) -> None:
    """Only its hash is, and the password's: who reads the table can confirm nothing."""
    email = new_email()
    ask(at, email)
    token = token_in(letters(at, email)[0])
    [[row, kept]] = at.ask("SELECT signup::text, token_hash FROM signup WHERE email = %s", email)
    assert token not in row
    assert PASSWORD not in row
    assert bytes(kept) == token_hash(token)


def from_anywhere(at: Console) -> None:
    """What comes next comes from clients that have asked for nothing yet."""
    for kind, name in (("signups", "127.0.0.1"), ("neighbours", place_of("127.0.0.1").network)):
        at.ask("DELETE FROM throttle WHERE key = %s", Counted(kind, name).key)


def test_nobody_is_bombed_with_letters(at: Console) -> None:
    """A thousand sign-ups for one address, from everywhere, are a letter an hour."""
    email = new_email()
    for client in range(8):
        from_anywhere(at)
        assert ask(at, email.upper() if client % 2 else email).status == 303
    assert sum(len(letters(at, one)) for one in (email, email.upper())) == 1
    for minutes, more in ((59, 0), (2, 1)):
        from_anywhere(at)
        at.ask("UPDATE throttle SET since = since - %s * interval '1 minute'", minutes)
        before = len(at.letterbox.letters)
        ask(at, email)
        assert len(at.letterbox.letters) == before + more
    [[kept]] = at.ask("SELECT count(*) FROM signup WHERE lower(email) = %s", email)
    assert kept <= BESIDE + 2


def test_tags_are_no_way_round(at: Console) -> None:
    """Addresses of one mailbox have its letters together; whose has no tag has its own."""
    name, _, domain = new_email().partition("@")
    tagged = [f"{name}+{number}@{domain}" for number in range(6)]
    for email in (*tagged, f"{name}@{domain}"):
        from_anywhere(at)
        ask(at, email)
    assert sum(len(letters(at, one)) for one in tagged) == LIMITS["tags"]
    assert len(letters(at, f"{name}@{domain}")) == 1


def test_nobody_is_kept_out_by_another_who_asks(at: Console) -> None:
    """Somebody else has used up the letter: it is good for what its reader has asked for."""
    email, browser = new_email(), at.browser()
    ask(at, email, company="Un autre", password="le-mot-de-passe-d-un-autre")
    assert ask(at, email, browser, company="La mienne").location == "/inscription/envoi"
    [letter] = letters(at, email)
    assert confirm(browser, token_in(letter), "pas-ce-mot-de-passe-la").status == 403
    assert confirm(browser, token_in(letter)).location == "/demarrage"
    company = "SELECT company FROM customer WHERE customer_id = %s"
    assert at.ask(company, *customers(at, email)) == [("La mienne",)]
    assert at.ask("SELECT FROM signup WHERE email = %s", email) == []


def test_the_letter_of_one_address_confirms_no_other(at: Console) -> None:
    """Not everybody's + is a tag: that may be somebody else's mailbox."""
    name, _, domain = new_email().partition("@")
    mine, theirs = f"{name}+moi@{domain}", f"{name}@{domain}"
    ask(at, mine, password="le-mot-de-passe-d-un-autre")
    ask(at, theirs)
    assert confirm(at.browser(), token_in(letters(at, mine)[0])).status == 403


def test_what_is_not_confirmed_is_forgotten(at: Console, dsn: str) -> None:
    """By the sweep, though nobody else signs up; what waits for an operator waits on."""
    late, waits, new = (new_signup(at, new_email())[1] for _ in range(3))
    at.ask("UPDATE signup SET confirmed_at = now() WHERE signup_id = %s", waits)
    at.ask("UPDATE signup SET expires_at = now() WHERE signup_id <> %s", new)
    with new_pool(dsn) as pool:
        assert run(Signups(pool).forget_expired) >= 1
    left = {number for [number] in at.ask("SELECT signup_id FROM signup")}
    assert left & {late, waits, new} == {waits, new}
    at.ask("DELETE FROM signup")


def test_neighbours_sign_up_so_often_together(at: Console) -> None:
    """Beyond that, a network is told to wait."""
    key = Counted("neighbours", place_of("127.0.0.1").network).key
    at.ask("INSERT INTO throttle VALUES (%s, %s, now())", key, LIMITS["neighbours"])
    assert ask(at, new_email()).status == 429


def test_one_client_signs_up_so_often_and_no_more(
    at: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is told to wait, before anything is hashed."""
    hashed: list[str] = []
    passwords = use_case(at)._passwords

    async def hash_(password: str) -> str:
        hashed.append(password)
        return "hash"

    monkeypatch.setattr(passwords, "hash", hash_)
    statuses = [ask(at, new_email()).status for _ in range(LIMITS["signups"] + 3)]
    assert statuses == [303] * LIMITS["signups"] + [429] * 3
    assert len(hashed) == LIMITS["signups"]


def test_hashing_is_bounded(at: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients without number, all at once: beyond some, they are told to wait."""
    signup = use_case(at)
    monkeypatch.setattr(signup, "_under_way", 20)
    page = at.browser().post("/inscription", typed(new_email()))
    assert page.status == 429


HOSTILE = "<script>alert(1)</script>\r\n\r\nhttp://evil.example/ \u202e"


def test_what_was_typed_goes_to_nobody_who_has_not_asked(at: Console) -> None:
    """Neither names nor HTML stand in the letter, and on pages they are text."""
    email, browser = new_email(), at.browser()
    ask(at, email, browser, company=HOSTILE, last_name=HOSTILE, first_name=HOSTILE)
    [letter] = [one for to, one in at.letterbox.letters if to == email]
    for part in (letter.subject, letter.text, letter.html):
        assert "evil" not in part
        assert "alert" not in part
    token = token_in(letter.text)
    assert b"<script>alert" not in browser.get(f"/inscription/confirmer?jeton={token}").body
    confirm(browser, token)
    [[company]] = at.ask(
        "SELECT company FROM customer WHERE customer_id = %s", *customers(at, email)
    )
    assert company == "<script>alert(1)</script> http://evil.example/"
    welcome = at.letterbox.letters[-1][1]
    assert "<script>" not in welcome.html
    assert 'href="http://evil' not in welcome.html


# Where an operator decides, or nobody signs up


def test_closed(dsn: str, at: Console) -> None:
    """The page says so, and what is sent all the same is refused."""
    with listening(dsn, signup=Mode.CLOSED) as console:
        token, _ = new_signup(console, new_email())
        browser = console.browser()
        assert "Les inscriptions sont fermées" in browser.get("/inscription").text
        assert browser.post("/inscription", typed(new_email())).status == 403
        assert confirm(browser, token).status == 410
        assert console.letterbox.letters == []


def test_an_operator_lets_in(choosy: Console) -> None:
    """What was confirmed waits, operators are told, and who is accepted signs in."""
    operator, browser, email = choosy.browser(), choosy.browser(), new_email()
    operator.enter(choosy, new_operator(choosy))
    assert "Nous examinons chaque demande" in browser.get("/inscription").text
    ask(choosy, email, browser)
    token = token_in(letters(choosy, email)[0])
    assert email not in operator.get(WAITING).text
    for _ in range(2):
        assert confirm(browser, token).location == "/inscription/attente"
    assert (
        "Votre demande est confirmée" in browser.get(f"/inscription/confirmer?jeton={token}").text
    )
    told = [one for to, one in choosy.letterbox.letters if to.startswith("operator")]
    assert len([one for one in told if email in one.text]) == len({
        to for to, _ in choosy.letterbox.letters if to.startswith("operator")
    })  # fmt: skip
    assert customers(choosy, email) == []
    [[number]] = choosy.ask("SELECT signup_id FROM signup WHERE email = %s", email)
    page = operator.get(WAITING)
    assert email in page.text
    accepted = operator.post(f"{WAITING}/{number}/accepter")
    assert accepted.location == WAITING
    assert "Duchemin est cliente" in operator.get(WAITING).text
    assert operator.post(f"{WAITING}/{number}/accepter").status == 404
    [customer] = customers(choosy, email)
    acts = choosy.ask("SELECT act FROM audit WHERE customer_id = %s", customer)
    assert acts == [("signed up",)]
    [[noted]] = choosy.ask(
        "SELECT object FROM audit WHERE customer_id = 0 AND act = 'sign-up accepted'"
    )
    assert noted == str(customer)
    assert not of_the_house(choosy, email)
    assert "est acceptée" in letters(choosy, email)[-1]
    assert choosy.browser().sign_in(email).location == "/meuble"


def of_the_house(at: Console, email: str) -> list[str]:
    """What the house's audit, which is for good, has of an address."""
    return [row for row in dump(at, 0) if row.startswith("audit ") and email in row]


def test_an_operator_refuses(choosy: Console) -> None:
    """With a reason, which is sent and noted; the rest is forgotten."""
    operator, email = choosy.browser(), new_email()
    operator.enter(choosy, new_operator(choosy))
    token, number = new_signup(choosy, email)
    assert operator.post(f"{WAITING}/{number}/refuser", [("reason", "Non")]).status == 404
    choosy.ask("UPDATE signup SET confirmed_at = now() WHERE signup_id = %s", number)
    page = operator.post(f"{WAITING}/{number}/refuser", [("reason", " ")])
    assert page.status == 400
    assert "Dites pourquoi vous refusez." in page.text
    reason = [("reason", "Société\ninconnue")]
    assert operator.post(f"{WAITING}/{number}/refuser", reason).location == WAITING
    assert "Le motif : Société inconnue" in letters(choosy, email)[-1]
    assert choosy.ask("SELECT 1 FROM signup WHERE signup_id = %s", number) == []
    [[noted]] = choosy.ask(
        "SELECT object FROM audit WHERE customer_id = 0 AND act = 'sign-up refused'"
    )
    assert noted == f"{number}: Société inconnue"
    assert not of_the_house(choosy, email)
    assert confirm(choosy.browser(), token).status == 410


def test_accepting_what_was_taken_meanwhile(choosy: Console) -> None:
    """Makes nothing, says so, and the sign-up is gone."""
    operator, house = choosy.browser(), new_house(choosy)
    operator.enter(choosy, new_operator(choosy))
    _, number = new_signup(choosy, house.reader_email.upper())
    choosy.ask("UPDATE signup SET confirmed_at = now() WHERE signup_id = %s", number)
    operator.post(f"{WAITING}/{number}/accepter")
    assert "a un compte depuis" in operator.get(WAITING).text
    assert choosy.ask("SELECT 1 FROM signup WHERE signup_id = %s", number) == []


@pytest.mark.parametrize("role", [Role.OBSERVER, Role.BOOKKEEPER])
def test_others_of_the_house_only_look(choosy: Console, role: Role) -> None:
    """They see who waits, and have no button."""
    browser, house = choosy.browser(), new_house(choosy)
    browser.enter(choosy, new_operator(choosy, role))
    page = browser.get(WAITING)
    assert f"deux@inscrit-{house.word}.example" in page.text
    assert page.text.count("<form") == 1


def test_without_an_address_of_the_console_nobody_signs_up(
    at: Console, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link cannot be written then: it says that it is closed, rather than promise a letter."""
    signup = use_case(at)
    monkeypatch.setattr(signup, "_console_url", lambda: "")
    assert "Les inscriptions sont fermées" in at.browser().get("/inscription").text


@pytest.fixture(scope="module")
def house(at: Console) -> House:
    """A customer."""
    return new_house(at)
