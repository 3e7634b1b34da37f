"""The API: who comes in, how often, and what is done once."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import jsonschema
import pytest
from openapi_spec_validator import validate

from mail6m.access.tokens import PREFIX, api_token_hash, is_api_token, new_api_token
from mail6m.model import Scope
from mail6m.storage.audit import By
from mail6m.storage.tokens import MOST, Tokens
from mail6m.web.api.gate import WRONG_KEYS
from tests.console_client import Browser, Console, House, Page, dump, listening, new_house, new_key
from tests.reactor_thread import run
from tests.stored import NOWHERE, new_pool

TOKEN = "/api/v1/token"


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console that believes a proxy on this machine."""
    with listening(dsn, proxies=["127.0.0.1"]) as console:
        yield console


@pytest.fixture(scope="module")
def house(at: Console) -> House:
    """A customer whose things stay as they are."""
    return new_house(at)


def program(at: Console, key: str, **headers: str) -> Browser:
    """A program with a key."""
    return at.browser(Authorization=f"Bearer {key}", **headers)


def problem(page: Page, status: int, kind: str) -> dict[str, Any]:
    """What a refusal says, which must be of that kind."""
    said: dict[str, Any] = json.loads(page.body)
    assert page.headers["content-type"] == "application/problem+json"
    assert (page.status, said["status"], said["type"]) == (
        status,
        status,
        f"tag:mail6m.com,2026:{kind}",
    )
    return said


# Keys


def test_a_key_is_told_from_any_other_text() -> None:
    """By how it begins, its length, and its last six digits; a slip of the pen is none."""
    key = new_api_token()
    assert re.fullmatch(r"m6m_[0-9A-Za-z]{49}", key)
    assert is_api_token(key)
    for place in range(len(key)):
        other = "x" if key[place] != "x" else "y"
        assert not is_api_token(key[:place] + other + key[place + 1 :])
    assert not any(map(is_api_token, ["", PREFIX, key[:-1], key + "0", key + "\n", " " + key]))


def test_keys_are_as_many_as_there_can_be() -> None:
    """256 random bits, of which every digit of the secret has its share."""
    keys = [new_api_token()[len(PREFIX) : -6] for _ in range(500)]
    assert len(set(keys)) == 500
    assert all(len({key[place] for key in keys}) > 40 for place in range(1, 43))


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic Z2VvcmdlczphcmlvaXJl"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer m6m_"},
        {"Authorization": "Bearer \u00e9"},
    ],
)
def test_without_a_key(at: Console, sent: dict[str, str]) -> None:
    """401 with a challenge (RFC 6750, 3), and nothing else."""
    page = at.browser(X_Forwarded_For="192.0.2.1").request("GET", TOKEN, None, sent)
    assert page.status == 401
    assert page.headers["www-authenticate"].startswith('Bearer realm="Mail6M"')
    assert not page.cookies


def test_a_key_in_any_case_of_its_scheme(at: Console, house: House) -> None:
    """RFC 9110, 11.1: schemes have no case."""
    for scheme in ("bearer", "BEARER", "Bearer"):
        page = at.browser(Authorization=f"{scheme} {house.key}").get(TOKEN)
        assert json.loads(page.body)["customer"] == house.number


def test_a_key_that_nobody_has(at: Console) -> None:
    """It is looked for, and is nobody's."""
    page = program(at, new_api_token(), X_Forwarded_For="192.0.2.2").get(TOKEN)
    problem(page, 401, "wrong-key")
    assert 'error="invalid_token"' in page.headers["www-authenticate"]


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE api_token SET expires_at = now() - interval '1 second' WHERE customer_id = %s",
        "DELETE FROM api_token WHERE customer_id = %s",
        "UPDATE contract SET ended_on = (now() AT TIME ZONE 'Europe/Paris')::date - 1"
        " WHERE customer_id = %s",
        "INSERT INTO closing (customer_id, company, email, language, time_zone, asked_by, due_at,"
        " key_destroyed_at) VALUES (%s, '', '', '', '', '', now(), now())",
    ],
    ids=["expired", "revoked", "ended", "destroyed"],
)
def test_a_key_that_opens_nothing_any_more(at: Console, end: str) -> None:
    """It is as if it had never been."""
    mine = new_house(at)
    browser = program(at, mine.key, X_Forwarded_For="192.0.2.3")
    assert browser.get(TOKEN).status == 200
    at.ask(end, mine.number)
    problem(browser.get(TOKEN), 401, "wrong-key")


@pytest.mark.parametrize(
    "query", ["access_token=abc", "limit=5&access_token={key}", "sender={key}", "cle={key}"]
)
def test_a_key_in_an_address(at: Console, house: House, query: str) -> None:
    """Is refused (RFC 6750, 2.3 and RFC 9700, 4.3.2), even beside a right one."""
    page = program(at, house.key).get("/api/v1/messages?" + query.format(key=house.key))
    problem(page, 400, "key-in-address")
    assert house.key not in page.text


def test_two_keys(at: Console, house: House) -> None:
    """It is not chosen between them."""
    connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=30)
    connection.putrequest("GET", TOKEN)
    for _ in range(2):
        connection.putheader("Authorization", f"Bearer {house.key}")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_a_session_of_the_console_opens_nothing(at: Console, house: House) -> None:
    """Cookies are not looked at: what a browser sends by itself cannot be misused."""
    browser = at.browser()
    browser.enter(at, house.admin)
    assert browser.get("/meuble").status == 200
    problem(browser.get("/api/v1/messages"), 401, "no-key")
    path = f"/api/v1/messages/{house.messages[0]}/reissue"
    problem(browser.request("POST", path), 401, "no-key")


def test_a_key_opens_no_page(at: Console, house: House) -> None:
    """Pages are for browsers with a session."""
    browser = program(at, house.key)
    for path in ("/meuble", "/cles", "/partir"):
        assert browser.get(path).location.startswith("/connexion")


def test_what_is_noted_of_its_use(at: Console) -> None:
    """When it was used, to the minute; and nothing is written twice in one."""
    mine = new_house(at)
    browser, sql = program(at, mine.key), "SELECT last_used_at, xmin::text FROM api_token"
    of = f"{sql} WHERE customer_id = {mine.number}"
    assert at.ask(of)[0][0] is None
    at.ask("UPDATE api_token SET last_used_at = now() - interval '1 hour' WHERE customer_id = %s",
           mine.number)  # fmt: skip
    browser.get(TOKEN)
    [(used, written)] = at.ask(of)
    assert (used.second, used.microsecond) == (0, 0)
    browser.get(TOKEN)
    [(again, rewritten)] = at.ask(of)
    assert again > used or rewritten == written


# How often


def test_so_many_requests_of_a_key(dsn: str) -> None:
    """The rest gets 429 and is told when to come again; other keys of the customer go on."""
    with listening(dsn, api_rate=3) as at:
        mine = new_house(at)
        browser = program(at, mine.key)
        for left in (2, 1, 0):
            page = browser.get(TOKEN)
            assert page.status == 200
            assert page.headers["ratelimit-policy"] == '"key";q=3;w=60'
            assert page.headers["ratelimit"].startswith(f'"key";r={left};t=')
        page = browser.get(TOKEN)
        problem(page, 429, "too-many-requests")
        assert 1 <= int(page.headers["retry-after"]) <= 20
        assert '"key";r=0;' in page.headers["ratelimit"]
        assert program(at, new_key(at, mine.number)[0]).get(TOKEN).status == 200


def test_so_many_wrong_keys_of_a_client(at: Console, house: House) -> None:
    """Beyond it nothing is looked for, a right key neither; other clients notice nothing."""
    browser = program(at, new_api_token(), X_Forwarded_For="192.0.2.77")
    for _ in range(WRONG_KEYS):
        assert browser.get(TOKEN).status == 401
    page = browser.get(TOKEN)
    problem(page, 429, "too-many-requests")
    assert int(page.headers["retry-after"]) >= 1
    assert program(at, house.key, X_Forwarded_For="192.0.2.77").get(TOKEN).status == 429
    assert program(at, house.key, X_Forwarded_For="192.0.2.78").get(TOKEN).status == 200


# What it may


def test_every_scope_is_asked_for(at: Console, house: House) -> None:
    """403 names the scope that is missing (RFC 6750, 3.1)."""
    key, _ = new_key(at, house.number, scopes=[Scope.DISCS_READ])
    page = program(at, key).get("/api/v1/usage")
    problem(page, 403, "insufficient-scope")
    assert 'error="insufficient_scope", scope="usage:read"' in page.headers["www-authenticate"]
    assert program(at, key).get("/api/v1/discs").status == 200


def test_what_a_key_says_of_itself(at: Console, house: House) -> None:
    """What it may; never its text."""
    page = program(at, house.key).get(TOKEN)
    said = json.loads(page.body)
    assert said["scopes"] == [scope.value for scope in Scope]
    assert (said["name"], said["suspended"]) == (f"cle-{house.word}", False)
    assert house.key not in page.text


def test_a_suspended_contract(at: Console) -> None:
    """Its keys read, and do nothing."""
    mine = new_house(at)
    browser = program(at, mine.key)
    at.ask("UPDATE contract SET suspended_at = now() WHERE customer_id = %s", mine.number)
    before = dump(at, mine.number)
    for path in (f"messages/{mine.messages[0]}/reissue", f"queue/{mine.deliveries[0]}/retry"):
        problem(browser.request("POST", f"/api/v1/{path}"), 403, "suspended")
    assert without_use(dump(at, mine.number)) == without_use(before)
    assert browser.get("/api/v1/messages").status == 200
    assert json.loads(browser.get(TOKEN).body)["suspended"]


def without_use(rows: list[str]) -> list[str]:
    """Rows but for those that say when keys were used."""
    return [row for row in rows if not row.startswith("api_token ")]


# Messages


def pages_of(browser: Browser, path: str, name: str) -> list[list[dict[str, Any]]]:
    """A list, followed to its end."""
    found, next_ = [], ""
    while True:
        page = json.loads(browser.get(path + next_).body)
        found.append(page[name])
        if page["next"] is None:
            return found
        next_ = f"&cursor={page['next']}"


def test_lists_are_followed_to_their_end(at: Console, house: House) -> None:
    """Every message once, the newest first; every delivery once, in order of arrival."""
    browser = program(at, house.key)
    pages = pages_of(browser, "/api/v1/messages?limit=2", "messages")
    assert [len(page) for page in pages] == [2, 2, 1]
    ids = [message["id"] for page in pages for message in page]
    assert ids == [str(id_) for id_ in reversed(house.messages)]
    for limit, sizes in ((2, [2, 2, 1]), (5, [5]), (4, [4, 1])):
        pages = pages_of(browser, f"/api/v1/queue?limit={limit}", "deliveries")
        assert [len(page) for page in pages] == sizes
        assert [one["id"] for page in pages for one in page] == house.deliveries


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("subject=SUJET%203", [3]),
        ("sender=anne1@", [1]),
        ("recipient=MARIE2", [2]),
        ("sender=anne1&recipient=marie2", []),
        ("spam=true", []),
        ("spam=false&limit=1", [4]),
        ("since=9999-12-31T23:59:59Z", []),
        ("until=0001-01-01T00:00:00%2B14:00", []),
        ("since=0001-01-01T00:00:00%2B14:00&until=9999-12-31T23:59:59-12:00&limit=1", [4]),
    ],
)
def test_the_search(at: Console, house: House, query: str, found: list[int]) -> None:
    """The console's: parts of texts, no case, all of it together; at any time that there is."""
    page = program(at, house.key).get(f"/api/v1/messages?{query}")
    ids = [message["id"] for message in json.loads(page.body)["messages"]]
    assert ids == [str(house.messages[place]) for place in found]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=%2B5", "limit"),
        ("limit=" + "9" * 5_000, "limit"),
        ("spam=1", "spam"),
        ("spam=", "spam"),
        ("since=2005-07-01", "since"),
        ("since=2005-07-01T09:30:00", "since"),
        ("since=1120000000", "since"),
        ("cursor=abc", "cursor"),
        ("sender=" + "a" * 321, "sender"),
        ("shelf=cellar", "shelf"),
        ("id=1", "id"),
        ("Idempotency-Key=1", "Idempotency-Key"),
    ],
)
def test_parameters_that_are_wrong(at: Console, house: House, query: str, name: str) -> None:
    """422, which says which one."""
    page = program(at, house.key).get(f"/api/v1/messages?{query}")
    assert problem(page, 422, "invalid")["detail"].startswith(f"{name}: ")


def test_too_many_parameters(at: Console, house: House) -> None:
    """Criteria are never dropped because there were too many of them."""
    page = program(at, house.key).get("/api/v1/messages?" + "&".join(["a=b"] * 2_500))
    problem(page, 422, "invalid")


def test_mail_in_the_cellar_is_not_online(at: Console) -> None:
    """As in the console: the archivist has it (the brochure's IV)."""
    mine = new_house(at)
    browser, id_ = program(at, mine.key), mine.messages[0]
    at.ask("UPDATE message SET shelf = 1 WHERE message_id = %s", str(id_))
    at.ask("DELETE FROM search_entry WHERE message_id = %s", str(id_))
    problem(browser.get(f"/api/v1/messages/{id_}"), 404, "not-found")
    problem(browser.request("POST", f"/api/v1/messages/{id_}/reissue"), 404, "not-found")
    assert str(id_) not in browser.get("/api/v1/messages").text


def queued(at: Console, house: House, place: int = 0) -> int:
    """Deliveries of a message of a house's, all there ever were."""
    [[count]] = at.ask(
        "SELECT count(*) FROM delivery WHERE message_id = %s", str(house.messages[place])
    )
    return int(count)


def test_sending_again(at: Console) -> None:
    """It is queued, and written down who did it; each time that it is asked for."""
    mine = new_house(at)
    browser, path = program(at, mine.key), f"/api/v1/messages/{mine.messages[0]}/reissue"
    for count in (2, 3):
        page = browser.request("POST", path)
        assert page.status == 202
        assert json.loads(page.body)["deliveries"] == 1
        assert queued(at, mine) == count
    acts = at.ask(
        "SELECT account, act, object FROM audit WHERE customer_id = %s AND act = %s",
        mine.number, "message reissued",
    )  # fmt: skip
    assert acts == [(f"API: cle-{mine.word}", "message reissued", str(mine.messages[0]))] * 2


def test_sending_again_once(at: Console) -> None:
    """Under one Idempotency-Key it is done once, for a day, and the answer is the same."""
    mine = new_house(at)
    browser, path = program(at, mine.key), f"/api/v1/messages/{mine.messages[0]}/reissue"
    under = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}
    answers = [browser.request("POST", path, None, under) for _ in range(3)]
    assert {(page.status, page.body) for page in answers} == {(202, answers[0].body)}
    assert queued(at, mine) == 2
    other = f"/api/v1/messages/{mine.messages[1]}/reissue"
    problem(browser.request("POST", other, None, under), 422, "idempotency-key-reused")
    assert queued(at, mine, 1) == 1
    another_key = program(at, new_key(at, mine.number)[0])
    assert another_key.request("POST", other, None, under).status == 202
    at.ask("UPDATE api_reissue SET at = at - interval '25 hours' WHERE customer_id = %s",
           mine.number)  # fmt: skip
    assert browser.request("POST", path, None, under).status == 202
    assert queued(at, mine) == 3


def test_sending_again_once_at_the_same_time(at: Console) -> None:
    """Of ten programs with one Idempotency-Key, one does it, and all are told the same."""
    mine = new_house(at)
    path = f"/api/v1/messages/{mine.messages[0]}/reissue"

    def ask(_: int) -> Page:
        return program(at, mine.key).request("POST", path, None, {"Idempotency-Key": "une-fois"})

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(ask, range(10)))
    assert {(page.status, page.body) for page in answers} == {(202, answers[0].body)}
    assert queued(at, mine) == 2


def test_a_message_that_has_nowhere_to_go(at: Console) -> None:
    """409, and nothing is queued; under the same key it may be tried again later."""
    mine = new_house(at)
    browser, path = program(at, mine.key), f"/api/v1/messages/{mine.messages[0]}/reissue"
    at.ask("UPDATE message SET recipients = '{a@nobody.example}' WHERE message_id = %s",
           str(mine.messages[0]))  # fmt: skip
    under = {"Idempotency-Key": "a"}
    problem(browser.request("POST", path, None, under), 409, "no-way")
    assert queued(at, mine) == 1
    at.ask("UPDATE message SET recipients = ARRAY[%s] WHERE message_id = %s",
           f"marie0@{mine.domain}", str(mine.messages[0]))  # fmt: skip
    assert browser.request("POST", path, None, under).status == 202


def test_trying_a_delivery_now(at: Console) -> None:
    """It is due; one that has been made is not."""
    mine = new_house(at)
    browser, path = program(at, mine.key), f"/api/v1/queue/{mine.deliveries[0]}/retry"
    assert browser.request("POST", path).status == 202
    of = str(mine.messages[0])
    due = "SELECT next_attempt_at <= now() FROM delivery WHERE message_id = %s"
    assert at.ask(due, of) == [(True,)]
    at.ask("UPDATE delivery SET state = 1 WHERE message_id = %s", of)
    problem(browser.request("POST", path), 409, "not-waiting")
    problem(browser.request("POST", path.replace("-0/", "-7/")), 404, "not-found")


# The form of answers


def test_content_is_not_taken(at: Console, house: House) -> None:
    """No operation has a request with content."""
    path = f"/api/v1/messages/{house.messages[0]}/reissue"
    problem(program(at, house.key).request("POST", path, b"{}"), 415, "unexpected-content")


def test_every_answer_is_guarded(at: Console, house: House) -> None:
    """As the console's are; no other site's page may read one, and none is kept."""
    browser = program(at, house.key, Origin="https://example.org")
    for page in (browser.get("/api/v1/usage"), browser.get("/api/rien"), at.browser().get(TOKEN)):
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not [name for name in page.headers if name.startswith("access-control")]
        assert not page.cookies


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/api", 404, "not-found"),
        ("GET", "/api/v1/", 404, "not-found"),
        ("GET", "/api/v1/usage/", 404, "not-found"),
        ("GET", "/api/v1//usage", 404, "not-found"),
        ("POST", "/api/v1/usage", 405, "method"),
        ("DELETE", "/api/v1/usage", 405, "method"),
        ("OPTIONS", "/api/v1/usage", 405, "method"),
        ("GET", "/api/v1/messages/pas-un-id", 404, "not-found"),
        ("GET", "/api/v1/messages/%FF", 404, "not-found"),
        ("GET", "/api/v1/discs/%00", 404, "not-found"),
        ("GET", "/api/v1/invoices/2026-0001'--", 404, "not-found"),
    ],
)
def test_what_is_no_operation(
    at: Console, house: House, method: str, path: str, status: int, kind: str
) -> None:
    """Is told to programs as all problems are, and not by a page."""
    page = program(at, house.key).request(method, path)
    problem(page, status, kind)
    assert ("allow" in page.headers) == (status == 405)


def test_head(at: Console, house: House) -> None:
    """What GET would say, without its body (RFC 9110, 9.3.2)."""
    page = program(at, house.key).request("HEAD", "/api/v1/usage")
    assert (page.status, page.body) == (200, b"")
    assert int(page.headers["content-length"]) > 0


def test_while_the_database_is_away() -> None:
    """503, and when to come again."""
    with listening(NOWHERE) as at:
        page = program(at, new_api_token()).get(TOKEN)
        problem(page, 503, "unavailable")
        assert page.headers["retry-after"] == "10"
        assert at.browser().get("/api/openapi.json").status == 200


def test_a_failure_of_ours(at: Console, house: House) -> None:
    """500, and not a word of why."""
    with patch("mail6m.storage.tokens.Tokens.look", side_effect=RuntimeError("chut")):
        page = program(at, house.key).get(TOKEN)
    problem(page, 500, "failure")
    assert "chut" not in page.text


def test_invoices(at: Console, house: House) -> None:
    """In cents, line by line; and the PDF as it was made."""
    browser = program(at, house.key)
    [summary] = json.loads(browser.get("/api/v1/invoices").body)["invoices"]
    invoice = json.loads(browser.get(f"/api/v1/invoices/{house.invoice}").body)
    assert invoice["summary"] == summary
    assert (summary["gross"], summary["net"], summary["balance"]) == (12_000, 10_000, 11_000)
    assert [line["gross"] for line in invoice["lines"]] == [4_000, 4_000, 4_000]
    page = browser.get(f"/api/v1/invoices/{house.invoice}/pdf")
    assert page.body.startswith(b"%PDF")
    assert page.headers["content-type"] == "application/pdf"
    assert f'"{house.invoice}.pdf"' in page.headers["content-disposition"]


# The document


@pytest.fixture(scope="module")
def document(at: Console) -> dict[str, Any]:
    """As everybody gets it."""
    made: dict[str, Any] = json.loads(at.browser().get("/api/openapi.json").body)
    return made


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    """OpenAPI 3.1, by another's judgement."""
    validate(document)
    assert document["openapi"].startswith("3.1.")


def test_the_document_has_not_changed(at: Console) -> None:
    """Whoever has it is told so by its ETag."""
    page = at.browser().get("/api/openapi.json")
    again = at.browser(If_None_Match=page.headers["etag"]).get("/api/openapi.json")
    assert (again.status, again.body) == (304, b"")


def test_examples_are_as_the_document_says(document: dict[str, Any]) -> None:
    """Every example of an answer and of a problem conforms to its schema."""
    checked = 0

    def look(node: Any) -> None:
        nonlocal checked
        if isinstance(node, list):
            for one in node:
                look(one)
        if not isinstance(node, dict):
            return
        if "schema" in node and ("example" in node or "examples" in node):
            shown = [node["example"]] if "example" in node else []
            shown += [one["value"] for one in node.get("examples", {}).values()]
            schema = {**node["schema"], "components": document["components"]}
            for one in shown:
                jsonschema.validate(one, schema)
                checked += 1
        for one in node.values():
            look(one)

    look(document)
    assert checked > 30


def test_every_operation_says_what_it_takes(document: dict[str, Any]) -> None:
    """Its scope, every error that it has, and each parameter with a word about it."""
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"].endswith(".")
            assert {"400", "401", "415", "422", "429", "500", "503"} <= set(operation["responses"])
            assert all(one["description"] for one in operation["parameters"])
            [[scopes]] = [list(one.values()) for one in operation["security"]]
            assert ("403" in operation["responses"]) == bool(scopes)


# The page


def test_making_a_key(at: Console) -> None:
    """It is shown once; what is kept is its SHA-256, and who made it."""
    mine = new_house(at)
    browser = at.browser()
    browser.enter(at, mine.admin)
    form = [("name", "Compta"), ("scopes", "usage:read"), ("scopes", "invoices:read"),
            ("until", "2027-06-30")]  # fmt: skip
    page = browser.post("/cles", form)
    [key] = re.findall(r"m6m_\w{49}", page.text)
    assert page.status == 200
    assert not [row for row in dump(at) if key in row]
    [row] = at.ask(
        "SELECT name, scopes, created_by, expires_at AT TIME ZONE 'Europe/Paris' FROM api_token"
        " WHERE token_hash = %s",
        api_token_hash(key),
    )
    assert row[:3] == ("Compta", ["usage:read", "invoices:read"], mine.admin_email)
    assert row[3].isoformat() == "2027-07-01T00:00:00"
    page = browser.get("/cles")
    assert key not in page.text
    assert "Compta" in page.text
    assert program(at, key).get("/api/v1/usage").status == 200
    assert program(at, key).get("/api/v1/queue").status == 403
    assert "Clé d'API créée" in browser.get("/activite").text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", "a" * 61),
        ("scopes", ""),
        ("scopes", "tout"),
        ("until", "hier"),
        ("until", "2005-07-01"),
        ("until", "9999-12-31"),
    ],
)
def test_a_key_that_cannot_be(at: Console, house: House, name: str, value: str) -> None:
    """The form says so, and there is none."""
    browser, form = at.browser(), {"name": "Compta", "scopes": "usage:read", "until": ""}
    browser.enter(at, house.admin)
    form[name] = value
    page = browser.post("/cles", list(form.items()))
    assert page.status == 400
    assert 'class="error"' in page.text
    assert "m6m_" not in page.text


def test_no_more_keys_than_that(at: Console) -> None:
    """Somebody who makes keys without end is asked to revoke some."""
    mine = new_house(at)
    for _ in range(MOST - 1):
        new_key(at, mine.number)
    browser = at.browser()
    browser.enter(at, mine.admin)
    page = browser.post("/cles", [("name", "Une de trop"), ("scopes", "usage:read")])
    assert (page.status, "m6m_" in page.text) == (409, False)


def test_revoking_a_key(at: Console) -> None:
    """Asks once; then it opens nothing, from the next request on."""
    mine = new_house(at)
    browser = at.browser()
    browser.enter(at, mine.admin)
    chosen = ("cle", str(mine.key_number))
    assert browser.post("/cles/revoquer", [chosen]).status == 200
    assert program(at, mine.key).get(TOKEN).status == 200
    assert browser.post("/cles/revoquer", [chosen, ("sur", "oui")]).location == "/cles"
    assert program(at, mine.key, X_Forwarded_For="192.0.2.4").get(TOKEN).status == 401
    assert browser.post("/cles/revoquer", [chosen, ("sur", "oui")]).status == 404
    assert "Clé d'API révoquée" in browser.get("/activite").text


@pytest.mark.parametrize("how", ["supprimer", "role", "back again"])
def test_a_key_ends_with_the_right_to_make_keys(at: Console, how: str) -> None:
    """Its maker is removed, or made a reader: it opens nothing more, is shown so, and audited."""
    mine = new_house(at)
    maker = f"partant-{mine.word}@example.org"
    [[account]] = at.ask(
        "INSERT INTO account (customer_id, email, role) VALUES (%s, %s, 'administrator')"
        " RETURNING account_id",
        *(mine.number, maker),
    )
    key = new_api_token()
    by_maker = By(mine.number, maker, "192.0.2.9")
    with new_pool(at.dsn) as pool:
        tokens = Tokens(pool)
        run(lambda: tokens.add(by_maker, "Partante", [*Scope], api_token_hash(key), None))
    assert program(at, key).get(TOKEN).status == 200
    browser, chosen = at.browser(), ("compte", str(account))
    browser.enter(at, mine.admin)
    if how == "supprimer":
        browser.post("/comptes/supprimer", [chosen, ("sur", "oui")])
    else:
        browser.post("/comptes/role", [chosen, ("role", "reader")])
    if how == "back again":
        browser.post("/comptes/role", [chosen, ("role", "administrator")])
    assert program(at, key).get(TOKEN).status == 401
    assert program(at, mine.key).get(TOKEN).status == 200
    page = browser.get("/cles").text
    assert page.count("Arrêtée") == 1
    acts = at.ask("SELECT account, object FROM audit WHERE act = %s AND customer_id = %s",
                  "API key stopped", mine.number)  # fmt: skip
    assert acts == [(mine.admin_email, "Partante")]
