"""The pages about notices: unsubscribing, choosing them again, and what operators see of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mail6m.model import Act, Role
from mail6m.notices.catalogue import CABINET, KINDS, QUEUE, TOPICS
from mail6m.web.operator.notices import POLICY
from tests.console_client import Browser, Console, House, listening, new_house, new_operator
from tests.console_samples import unsubscribing

CLICK = [("List-Unsubscribe", "One-Click")]


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console with a database of its own."""
    with listening(dsn) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer."""
    return new_house(at)


def refused(at: Console, house: House) -> list[tuple[str, str]]:
    """Which of its addresses are not written to about what."""
    rows = at.ask(
        "SELECT address, topic FROM notice_refusal WHERE customer_id = %s ORDER BY 1, 2",
        house.number,
    )
    return [(address, topic) for address, topic in rows]


# Unsubscribing


def test_a_link_shows_what_would_end_and_its_button_ends_it(at: Console, house: House) -> None:
    """For somebody without an account, without a cookie; looking at it ends nothing."""
    path, browser = f"/desabonnement/{unsubscribing(house)}", at.browser()
    shown = browser.get(path)
    assert shown.status == 200
    assert f"Nous écrivons à {house.admin_email} {TOPICS[QUEUE]}" in shown.text
    assert refused(at, house) == []
    done = at.browser().post(path, CLICK, token="")
    assert (done.status, done.cookies) == (200, [])
    assert f"Nous n'écrirons plus à {house.admin_email} {TOPICS[QUEUE]}" in done.text
    assert refused(at, house) == [(house.admin_email, QUEUE)]
    [act] = at.ask(
        "SELECT account, act, object, client_address FROM audit WHERE customer_id = %s"
        " ORDER BY audit_id DESC LIMIT 1",
        house.number,
    )
    expected = f"{QUEUE} ({house.admin_email})"
    assert act == (house.admin_email, str(Act.NOTICES_REFUSED), expected, "127.0.0.1")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_mail_providers_machine_may_do_it(at: Console, house: House, kind: str) -> None:
    """In either encoding (RFC 8058, 3.2), and from wherever it says that it comes."""
    body = b"List-Unsubscribe=One-Click"
    if kind.startswith("multipart"):
        head = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
        body, kind = head + b"One-Click\r\n--x--\r\n", f"{kind}; boundary=x"
    headers = {"Content-Type": kind, "Origin": "https://x.test", "Sec-Fetch-Site": "cross-site"}
    path = f"/desabonnement/{unsubscribing(house)}"
    assert at.browser().request("POST", path, body, headers).status == 200
    assert refused(at, house) == [(house.admin_email, QUEUE)]


@pytest.mark.parametrize("form", [[], [("List-Unsubscribe", "one-click")], [("csrf", "x")]])
def test_nothing_else_ends_it(at: Console, house: House, form: list[tuple[str, str]]) -> None:
    """A link that is followed by POST for another reason; the page is shown once more."""
    path = f"/desabonnement/{unsubscribing(house)}"
    assert at.browser().post(path, form, token="").status == 400
    assert refused(at, house) == []


def test_a_link_that_is_none_is_not_found(at: Console, house: House) -> None:
    """By GET and by POST; neither says whom it might have been for."""
    token = unsubscribing(house)
    for wrong in (token[:-1], token.replace(QUEUE, CABINET), "x", "%E9", token + "/x"):
        for shown in (
            at.browser().get(f"/desabonnement/{wrong}"),
            at.browser().post(f"/desabonnement/{wrong}", CLICK, token=""),
        ):
            assert shown.status == 404
            assert house.admin_email not in shown.text
    assert refused(at, house) == []


def test_who_has_signed_in_is_nobody_there(at: Console, house: House) -> None:
    """So that no page of another site can do anything in a visitor's name."""
    browser = at.browser()
    browser.enter(at, house.admin)
    other = new_house(at)
    done = browser.post(f"/desabonnement/{unsubscribing(other)}", CLICK, token="")
    assert done.status == 200
    assert house.company not in done.text
    assert refused(at, house) == []
    assert refused(at, other) == [(other.admin_email, QUEUE)]


# Choosing


def form_of(browser: Browser, house: House, *topics: str) -> list[tuple[str, str]]:
    """The form of the preferences, with these boxes ticked."""
    return [
        ("company", house.company), ("email", f"contact@{house.domain}"), ("cabinet_rows", "20"),
        ("search_rows", "30"), ("plan", "tiroir"), ("language", "fr"),
        *(("time_zone", "Europe/Paris"), ("avis-demandes", "oui")),
        *(("avis", topic) for topic in topics),
    ]  # fmt: skip


def test_what_is_refused_can_be_wanted_again(at: Console, house: House) -> None:
    """On the page Préférences, for the address that stands there; a box for each topic."""
    browser, address = at.browser(), f"contact@{house.domain}"
    browser.enter(at, house.admin)
    assert ticked(browser) == set(TOPICS)
    for topics in ((CABINET,), (), (CABINET, QUEUE), ("something else", QUEUE)):
        assert browser.post("/preferences", form_of(browser, house, *topics)).status == 303
        wanted = set(topics) & set(TOPICS)
        assert ticked(browser) == wanted
        assert refused(at, house) == [(address, one) for one in sorted(set(TOPICS) - wanted)]


def ticked(browser: Browser) -> set[str]:
    """The boxes that are ticked."""
    shown = browser.get("/preferences").text
    return {topic for topic in TOPICS if f'name="avis" value="{topic}" checked' in shown}


def test_a_mistake_elsewhere_keeps_what_was_ticked(at: Console, house: House) -> None:
    """And stores nothing."""
    browser = at.browser()
    browser.enter(at, house.admin)
    form = [one for one in form_of(browser, house, CABINET) if one[0] != "email"]
    wrong = browser.post("/preferences", [*form, ("email", "no address")])
    assert wrong.status == 400
    assert f'value="{CABINET}" checked' in wrong.text
    assert f'value="{QUEUE}" checked' not in wrong.text
    assert refused(at, house) == []


# Operators


@pytest.fixture
def operator(at: Console) -> Browser:
    """One of those who run Mail6M."""
    browser = at.browser()
    browser.enter(at, new_operator(at))
    return browser


def test_every_letter_is_listed_and_shown(operator: Browser) -> None:
    """In both languages: its subject and its text, and its HTML under a policy of its own."""
    listed = operator.get("/exploitation/avis").text
    for kind in KINDS:
        assert kind.title in listed
        for language in ("fr", "en"):
            path = f"/exploitation/avis/{kind.name}"
            assert f'href="{path}?lettre={language}"' in listed
            shown = operator.get(path, [("lettre", language)])
            html = operator.get(f"{path}/html", [("lettre", language)])
            assert (shown.status, html.status) == (200, 200)
            assert f'<html lang="{language}">' in html.text
            assert html.headers["content-type"] == "text/html; charset=utf-8"
            assert html.headers["content-security-policy"] == POLICY
            assert ("Ne plus recevoir" in html.text) == (bool(kind.topic) and language == "fr")


def test_a_letters_page_may_do_nothing() -> None:
    """No script, no form, nothing fetched, and no page around it."""
    assert "sandbox" in POLICY
    assert "allow-" not in POLICY
    assert POLICY.startswith("default-src 'none'; style-src 'unsafe-inline'; form-action 'none'")
    assert "frame-ancestors 'none'" in POLICY


@pytest.mark.parametrize("language", ["fr", "en"])
def test_an_operator_has_a_letter_sent(at: Console, operator: Browser, language: str) -> None:
    """To the address that they signed in with, said to be a sample, and in the audit."""
    before = len(at.letterbox.letters)
    sent = operator.post("/exploitation/avis/cabinet_full", [("lettre", language)])
    assert sent.location == f"/exploitation/avis/cabinet_full?lettre={language}"
    assert "L'avis vous a été envoyé." in operator.get(sent.location).text
    [(to, letter)] = at.letterbox.letters[before:]
    assert letter.subject.startswith("Essai\u00a0: ")
    assert letter.language == language
    assert letter.unsubscribe.startswith("https://console.mail6m.test/desabonnement/0.cabinet.")
    [act] = at.ask("SELECT account, act, object FROM audit ORDER BY audit_id DESC LIMIT 1")
    assert act == (to, str(Act.SAMPLE_SENT), f"cabinet_full ({language})")


def test_observers_look_only(at: Console) -> None:
    """They have no button, either."""
    browser = at.browser()
    browser.enter(at, new_operator(at, Role.OBSERVER))
    assert "M'envoyer cet avis" not in browser.get("/exploitation/avis/cabinet_full").text


def test_a_letter_that_there_is_not(operator: Browser) -> None:
    """Is not found, whatever is asked about it."""
    for path in ("/exploitation/avis/x", "/exploitation/avis/frame/html", "/exploitation/avis/.."):
        assert operator.get(path).status == 404
    assert operator.post("/exploitation/avis/x", [("lettre", "fr")]).status == 404
    shown = operator.get("/exploitation/avis/password", [("lettre", "xx")])
    assert shown.status == 200
