"""Sécurité, Comptes and the forgotten password, as a browser without a screen goes through them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pyotp
import pytest

from mail6m.access.brake import LIMITS
from mail6m.web.browser import in_words
from tests.console_client import (
    NEW_PASSWORD,
    PASSWORD,
    Browser,
    Console,
    House,
    Page,
    listening,
    new_house,
)

LINK = re.compile(r"https://console\.mail6m\.test(/mot-de-passe\?jeton=[\w-]+)")


@pytest.fixture(scope="module")
def console(database: str) -> Iterator[Console]:
    """A console on the shared database."""
    with listening(database) as console:
        yield console


@pytest.fixture
def house(console: Console) -> House:
    """A customer of its own; nobody's failures are counted, and no letter is on its way."""
    console.ask("DELETE FROM throttle")
    console.letterbox.letters.clear()
    return new_house(console)


@pytest.fixture
def browser(console: Console, house: House) -> Browser:
    """The administrator's."""
    browser = console.browser()
    browser.enter(console, house.admin)
    return browser


def followed(browser: Browser, page: Page) -> str:
    """What the page says that an act leads to."""
    assert page.status == 303, page.text
    return browser.get(page.location).text


def code(secret: str, ahead: int = 0) -> str:
    """A telephone's code, now or some half minutes ahead."""
    return pyotp.TOTP(secret).at(datetime.now(UTC) + timedelta(seconds=30 * ahead))


# Sécurité


def test_a_reader_sees_to_their_own_safety(console: Console, house: House) -> None:
    """The page is for every account, and so are its acts."""
    browser = console.browser()
    browser.enter(console, house.reader)
    assert "Vos sessions ouvertes" in browser.get("/securite").text
    form = [("current", PASSWORD), ("new", NEW_PASSWORD), ("again", NEW_PASSWORD)]
    said = followed(browser, browser.post("/securite/mot-de-passe", form))
    assert "Votre mot de passe est changé." in said
    assert console.browser().sign_in(house.reader_email, NEW_PASSWORD).location == "/meuble"


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({}, 400, "Indiquez votre mot de passe."),
        ({"new": "court", "again": "court"}, 400, "Trop facile à deviner"),
        ({"again": "autre-chose-encore"}, 400, "Les deux mots de passe ne sont pas les mêmes."),
        ({"current": "not this one"}, 403, "Ce n'est pas votre mot de passe."),
    ],
)
def test_a_wrong_form_changes_no_password(
    console: Console, house: House, browser: Browser, form: dict[str, str], status: int, said: str
) -> None:
    """What is wrong is said by its field, and no password comes back in the page."""
    right = {"current": PASSWORD, "new": NEW_PASSWORD, "again": NEW_PASSWORD}
    page = browser.post("/securite/mot-de-passe", list((right | form).items() if form else []))
    assert page.status == status
    assert said in page.text
    assert 'aria-invalid="true"' in page.text
    assert not {PASSWORD, NEW_PASSWORD} & set(re.findall(r'value="([^"]*)"', page.text))
    assert console.browser().sign_in(house.admin_email).location == "/meuble"


def test_a_guesser_inside_is_stopped(browser: Browser) -> None:
    """Somebody at an open session cannot try out passwords."""
    form = [("current", "not this one"), ("new", NEW_PASSWORD), ("again", NEW_PASSWORD)]
    statuses = [
        browser.post("/securite/mot-de-passe", form).status for _ in range(LIMITS["here"] + 1)
    ]
    assert statuses == [403] * LIMITS["here"] + [429]


def test_the_second_factor_from_beginning_to_end(
    console: Console, house: House, browser: Browser
) -> None:
    """On, in with it, new codes, off: each step as its page says."""
    page = browser.post("/securite/activer")
    page = browser.get(page.location)
    [shown] = re.findall(r'class="secret">([A-Z2-7 ]+)<', page.text)
    assert re.fullmatch(r"([A-Z2-7]{4} )+[A-Z2-7]{4}", shown)
    secret = shown.replace(" ", "")
    wrong = browser.post("/securite/code", [("current", PASSWORD), ("code", "000000x")])
    assert (wrong.status, shown in wrong.text) == (403, True)
    page = browser.post("/securite/code", [("current", PASSWORD), ("code", code(secret))])
    codes = re.findall(r"<code>([a-z2-9]{5}-[a-z2-9]{5})</code>", page.text)
    assert len(codes) == 10
    assert "10 codes de secours" in browser.get("/securite").text
    assert browser.get("/securite/code").location == "/securite"

    other = console.browser()
    assert other.sign_in(house.admin_email).location == "/connexion/code"
    assert other.post("/connexion/code", [("code", codes[0])]).location == "/meuble"
    assert "9 codes de secours" in browser.get("/securite").text

    page = browser.post("/securite/codes-de-secours", [("current", PASSWORD)])
    new = re.findall(r"<code>([a-z2-9]{5}-[a-z2-9]{5})</code>", page.text)
    assert len(set(new) - set(codes)) == 10
    form = [("current", PASSWORD), ("code", codes[1])]
    assert browser.post("/securite/desactiver", form).status == 403
    form = [("current", PASSWORD), ("code", new[1])]
    assert "désactivée" in followed(browser, browser.post("/securite/desactiver", form))
    assert console.browser().sign_in(house.admin_email).location == "/meuble"


def test_the_qr_code_is_drawn_within_the_policy(browser: Browser) -> None:
    """An SVG of two shapes, black on white with a quiet zone of four modules, and no style."""
    text = browser.get(browser.post("/securite/activer").location).text
    [drawn] = re.findall(r"<svg[^>]*class=\"qr\".*?</svg>", text, re.DOTALL)
    assert "style" not in drawn
    assert "data:" not in text
    ground, modules = ElementTree.fromstring(drawn)  # noqa: S314 - our own page
    size = int(ElementTree.fromstring(drawn).attrib["viewBox"].split()[-1])  # noqa: S314 - as above
    assert ground.attrib == {"fill": "#fff", "d": f"M0 0h{size}v{size}h-{size}z"}
    assert modules.attrib["stroke"] == "#000"
    assert modules.attrib["d"].startswith("M4 4.5h7")  # the first finder pattern, behind the zone


def test_what_is_off_cannot_be_turned_off(browser: Browser) -> None:
    """Its pages lead back, and its acts change nothing."""
    for path in ("/securite/codes-de-secours", "/securite/desactiver", "/securite/code"):
        assert browser.get(path).location == "/securite"
    form = [("current", PASSWORD), ("code", "123456")]
    assert browser.post("/securite/code", form).location == "/securite"
    assert browser.post("/securite/codes-de-secours", form).location == "/securite"
    assert browser.post("/securite/desactiver", form).status != 500


def test_sessions_are_listed_and_closed(console: Console, house: House, browser: Browser) -> None:
    """Each with its browser in plain words; this one is marked; who is closed out is out."""
    agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
    other = console.browser(User_Agent=agent)
    other.sign_in(house.admin_email)
    text = browser.get("/securite").text
    assert "Firefox, Windows" in text
    assert text.count("Cette session") == 1
    [[number]] = console.ask("SELECT session_id FROM session WHERE user_agent = %s", agent)
    said = followed(browser, browser.post("/securite/sessions/fermer", [("session", str(number))]))
    assert "La session est fermée." in said
    assert "Firefox, Windows" not in said
    assert other.get("/meuble").location == "/connexion"
    followed(browser, browser.post("/securite/sessions/fermer-les-autres"))
    left = "SELECT count(*) FROM session WHERE (customer_id, account_id) = (%s, %s)"
    assert console.ask(left, *house.admin) == [(1,)]


def test_closing_this_session_signs_out(console: Console, browser: Browser) -> None:
    """It leads to the door, and the cookie is gone."""
    [number] = re.findall(
        r'Cette session.*?name="session" value="(\d+)"', browser.get("/securite").text, re.DOTALL
    )
    page = browser.post("/securite/sessions/fermer", [("session", number)])
    assert page.location == "/connexion"
    assert "mail6m-session" not in browser.cookies


@pytest.mark.parametrize("number", ["", "x", "-1", "99999999999", "999999999", "²"])
def test_a_session_that_is_none_is_not_found(browser: Browser, number: str) -> None:
    """Whatever stands for its number."""
    page = browser.post("/securite/sessions/fermer", [("session", number)])
    assert page.status == 404


# Comptes


def test_somebody_is_invited_and_comes_in(console: Console, house: House, browser: Browser) -> None:
    """Added, invited, a password chosen by the letter's link, and in, as a reader."""
    address = f"celine@{house.domain}"
    form = [("email", f" celine@{house.domain.upper()} "), ("role", "reader")]
    waiting = browser.get("/comptes").text.count("Pas encore")
    said = followed(browser, browser.post("/comptes", form))
    assert f"Une invitation est partie pour {address}." in said
    assert said.count("Pas encore") == waiting + 1
    [(to, letter)] = console.letterbox.letters
    assert to == address
    [link] = LINK.findall(letter.text)

    guest = console.browser()
    assert address in guest.get(link).text
    form = [("jeton", link.partition("=")[2]), ("new", NEW_PASSWORD), ("again", NEW_PASSWORD)]
    page = guest.post("/mot-de-passe", form)
    assert "Votre mot de passe est enregistré." in followed(guest, page)
    assert guest.sign_in(address, NEW_PASSWORD).location == "/meuble"
    assert guest.get("/comptes").status == 403
    assert browser.get("/comptes").text.count("Pas encore") == waiting


@pytest.mark.parametrize(
    "address", ["", "celine", "celine@", "@x.test", "a b@x.test", "a@localhost"]
)
def test_what_is_no_address_gets_no_account(
    console: Console, browser: Browser, address: str
) -> None:
    """It is said by the field, what was typed is kept, and no letter goes anywhere."""
    page = browser.post("/comptes", [("email", address), ("role", "reader")])
    assert page.status == 400
    assert f'value="{address}"' in page.text
    assert console.letterbox.letters == []


def test_no_role_but_the_two(console: Console, browser: Browser, house: House) -> None:
    """Another one is refused, for new accounts and for old ones."""
    form = [("email", f"celine@{house.domain}"), ("role", "operator")]
    assert browser.post("/comptes", form).status == 400
    form = [("compte", str(house.reader[1])), ("role", "operator")]
    assert browser.post("/comptes/role", form).status == 404


def test_an_address_that_signs_in_elsewhere_is_refused(
    console: Console, house: House, browser: Browser
) -> None:
    """And nothing says where: the words are those for an address of one's own."""
    other = new_house(console)
    pages = [
        browser.post("/comptes", [("email", address), ("role", "reader")])
        for address in (other.reader_email.upper(), house.reader_email)
    ]
    for page in pages:
        assert page.status == 409
        assert "Cette adresse a déjà un compte." in page.text
    assert other.company not in pages[0].text
    assert console.letterbox.letters == []


def test_an_invitation_is_sent_again(console: Console, house: House, browser: Browser) -> None:
    """To who has not chosen a password yet; not to who has, nor too often."""
    has = [("compte", str(house.reader[1]))]
    assert "déjà son mot de passe" in followed(browser, browser.post("/comptes/inviter", has))
    form = [("compte", str(house.invited[1]))]
    for _ in range(LIMITS["letters"]):
        said = followed(browser, browser.post("/comptes/inviter", form))
        assert "Une invitation est partie" in said
    assert "Trop d'invitations" in followed(browser, browser.post("/comptes/inviter", form))
    assert len(console.letterbox.letters) == LIMITS["letters"]


def test_roles_and_removal(console: Console, house: House, browser: Browser) -> None:
    """A role holds from the next request on; removal asks once; the last administrator stays."""
    reader = console.browser()
    reader.enter(console, house.reader)
    its, mine = [("compte", str(house.reader[1]))], [("compte", str(house.admin[1]))]
    for act, form in (("role", ("role", "reader")), ("supprimer", ("sur", "oui"))):
        assert "c'est le dernier" in followed(
            browser, browser.post(f"/comptes/{act}", [*mine, form])
        )
    assert reader.get("/comptes").status == 403
    said = followed(browser, browser.post("/comptes/role", [*its, ("role", "administrator")]))
    assert f"{house.reader_email} est maintenant administrateur." in said
    assert reader.get("/comptes").status == 200
    asked = browser.post("/comptes/supprimer", its)
    assert (asked.status, house.reader_email in asked.text) == (200, True)
    assert reader.get("/comptes").status == 200
    followed(browser, browser.post("/comptes/supprimer", [*its, ("sur", "oui")]))
    assert reader.get("/comptes").location.startswith("/connexion")
    assert browser.post("/comptes/supprimer", its).status == 404


# The forgotten password


def test_the_answer_is_the_same_whoever_it_is(console: Console, house: House) -> None:
    """Status, place and page; the letter comes, or does not, behind its back."""
    pages = []
    for address in (house.admin_email, "stranger@example.org", "no address"):
        browser = console.browser()
        sent = browser.post("/oubli", [("email", address)])
        pages.append((sent.status, sent.location, browser.get(sent.location).text))
    assert len(set(pages)) == 1
    assert "Si cette adresse a un compte, un message lui a été envoyé." in pages[0][2]


def test_a_forgotten_password_is_replaced(console: Console, house: House) -> None:
    """By the link; all sessions end, and the second factor is still asked for."""
    open_one = console.browser()
    open_one.enter(console, house.admin)
    secret_page = open_one.get(open_one.post("/securite/activer").location).text
    secret = re.findall(r'class="secret">([^<]+)<', secret_page)[0].replace(" ", "")
    open_one.post("/securite/code", [("current", PASSWORD), ("code", code(secret))])

    browser = console.browser()
    browser.post("/oubli", [("email", house.admin_email.upper())])
    [link] = LINK.findall(letter_to(console, house.admin_email))
    token = link.partition("=")[2]
    page = browser.get(link)
    assert (page.status, house.admin_email in page.text) == (200, True)
    assert page.headers["cache-control"] == "no-store"
    weak = browser.post("/mot-de-passe", [("jeton", token), ("new", "court"), ("again", "court")])
    assert (weak.status, token in weak.text) == (400, True)
    form = [("jeton", token), ("new", NEW_PASSWORD), ("again", NEW_PASSWORD)]
    assert browser.post("/mot-de-passe", form).location.startswith("/connexion")
    assert open_one.get("/meuble").location == "/connexion"
    assert browser.sign_in(house.admin_email).status == 403
    assert browser.sign_in(house.admin_email, NEW_PASSWORD).location == "/connexion/code"
    for late in (browser.get(link), browser.post("/mot-de-passe", form)):
        assert late.status == 410
        assert "Ce lien n'est plus valable" in late.text


def test_a_link_followed_by_somebody_who_is_in(console: Console, house: House) -> None:
    """It leads to the door all the same: whoever was in, in this browser, is not any more."""
    browser = console.browser()
    browser.enter(console, house.reader)
    form = [("jeton", house.letter), ("new", NEW_PASSWORD), ("again", NEW_PASSWORD)]
    other = console.browser()
    other.enter(console, house.admin)
    assert "Connectez-vous" in followed(other, other.post("/mot-de-passe", form))
    assert other.get("/meuble").location == "/connexion"
    assert browser.get("/meuble").location == "/connexion"


def letter_to(console: Console, address: str) -> str:
    """The text of the one letter to an address, which may still be on its way."""
    for _ in range(500):
        found = [letter for to, letter in console.letterbox.letters if to == address]
        if found:
            return str(found[0].text)
        console.browser().get("/connexion")  # the reactor turns meanwhile
    raise AssertionError(f"no letter to {address}")


def test_an_empty_form_asks_for_an_address(console: Console, house: House) -> None:
    """It is said by the field."""
    page = console.browser().post("/oubli", [("email", " ")])
    assert page.status == 400


def test_who_asks_too_often_is_told(console: Console, house: House) -> None:
    """By the address that asks, which says nothing of whom it asked for."""
    browser = console.browser()
    statuses = [
        browser.post("/oubli", [("email", f"stranger{n}@example.org")]).status
        for n in range(LIMITS["asking"] + 1)
    ]
    assert statuses == [303] * LIMITS["asking"] + [429]


# Browsers' names

_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox, Linux",
        ),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Safari/537.36", "Chrome, Windows"),
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Safari/537.36 Edg/140.0.0.0",
            "Edge, Windows",
        ),
        (f"{_MAC} {_WEBKIT} Version/18.5 Safari/605.1.15", "Safari, macOS"),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) {_WEBKIT} Version/18.5 Mobile"
            "/15E148 Safari/604.1",
            "Safari, iPhone",
        ),
        (f"Mozilla/5.0 (Linux; Android 15) {_CHROME} Mobile Safari/537.36", "Chrome, Android"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541) {_CHROME} Safari/537.36", "Chrome, ChromeOS"),
        ("Firefox/140.0", "Firefox"),
        ("curl/8.14.1", "curl/8.14.1"),
        ("", ""),
        ("x" * 61, "x" * 59 + "…"),
    ],
)
def test_browsers_in_plain_words(agent: str, words: str) -> None:
    """Those that people use by name, others as they call themselves, cut."""
    assert in_words(agent) == words
