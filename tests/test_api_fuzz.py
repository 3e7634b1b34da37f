"""The API by its own document: whatever is asked, with every key, and of whom it is not to be had.

schemathesis makes the requests out of `/api/openapi.json`, such as are right and such as are wrong,
and holds every answer against it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth

from mail6m.model import Scope
from mail6m.web.api.cursor import cursor
from mail6m.web.api.operation import Operation, operations_of
from mail6m.web.console import OPERATIONS
from tests.console_client import Console, House, Page, listening, new_house, new_key, versions

ALL = tuple(Scope)
KEYS: dict[str, Sequence[Scope]] = {
    "everything": ALL,
    "nothing": (),
    **{scope.value: (scope,) for scope in Scope},
}
"""Keys by what they may do."""
MANY, FEW = 10, 2
"""Requests of each operation and kind: with the key that may do everything, and with the others."""
TABLE = {f"{one.method} {one.path}": one for group in OPERATIONS for one, _ in operations_of(group)}
WITH_ID = [one for one in TABLE.values() if "{" in one.path]


def drawn(examples: int) -> settings:
    """The same in every run, and not made smaller: what fails says what was asked."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """A console with two customers, where wrong keys are looked at however many come."""
    with patch("mail6m.web.api.gate.WRONG_KEYS", 1_000_000), listening(dsn) as console:
        yield console


@pytest.fixture(scope="module")
def ours(at: Console) -> House:
    """Whose keys are used."""
    return new_house(at)


@pytest.fixture(scope="module")
def theirs(at: Console) -> House:
    """Whose things are not to be had."""
    return new_house(at)


@pytest.fixture(scope="module")
def document(at: Console) -> Any:
    """The API's document, as schemathesis reads it."""
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{at.port}/api/openapi.json")


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Connections that are kept."""
    with requests.Session() as session:
        yield session


def expected(operation: Operation, scopes: Sequence[Scope], case: Case, key: str) -> set[int]:
    """What may be answered to a request, by who asks."""
    if dict(case.headers or {}).get("Authorization") != f"Bearer {key}":
        return {401}
    if operation.scope is not None and operation.scope not in scopes:
        return {403}
    right = {operation.status, 422}
    if operation in WITH_ID:
        right |= {404}
    return right | {kind.status for kind in operation.refuses}


def conforms(case: Case, answer: Any) -> None:
    """It is as the document says; but for keys, which it does not see us put in (`test_api`)."""
    case.validate_response(answer, excluded_checks=[ignored_auth])


def told(secrets: Sequence[str], answer: Any) -> list[str]:
    """What of a customer's an answer has in it."""
    said = answer.text + " ".join(itertools.chain.from_iterable(answer.headers.values()))
    return [secret for secret in secrets if secret in said]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
@pytest.mark.parametrize("name", KEYS)
def test_every_operation_with_every_key(
    at: Console,
    ours: House,
    theirs: House,
    document: Any,
    session: requests.Session,
    name: str,
    mode: GenerationMode,
) -> None:
    """Answers are the document's, never 5xx, 403 without the scope; and nothing is theirs."""
    scopes = KEYS[name]
    key, _ = new_key(at, ours.number, ours.word, scopes)
    before = versions(at, theirs.number)
    for found in document.get_all_operations():
        made = found.ok()
        operation = TABLE[made.label]

        def ask(case: Case, operation: Operation) -> None:
            case.headers = {"Authorization": f"Bearer {key}", **dict(case.headers or {})}
            answer = case.call(session=session)
            assert answer.status_code in expected(operation, scopes, case, key), operation.name
            assert not told(theirs.secrets, answer)
            conforms(case, answer)

        cases = made.as_strategy(generation_mode=mode)
        asking = given(case=cases, operation=st.just(operation))(ask)
        drawn(MANY if scopes == ALL else FEW)(asking)()
    assert versions(at, theirs.number) == before


def their_id(operation: Operation, house: House) -> dict[str, str]:
    """The variable of a path, as it names something of a house's."""
    names = {
        "/messages": {"id": str(house.messages[1])},
        "/queue": {"id": house.deliveries[1]},
        "/discs": {"serial": house.disc},
        "/invoices": {"number": house.invoice},
    }
    [found] = [value for path, value in names.items() if operation.path.startswith(path)]
    return found


@pytest.mark.parametrize("operation", WITH_ID, ids=lambda one: one.name)
def test_what_another_customer_has(
    at: Console,
    ours: House,
    theirs: House,
    document: Any,
    session: requests.Session,
    operation: Operation,
) -> None:
    """Named by its real id it is not there, whatever else is said; and our own is."""
    before = versions(at, theirs.number)
    made = document[operation.path][operation.method]

    @drawn(4)
    @given(made.as_strategy(path_parameters=their_id(operation, theirs)))
    def ask(case: Case) -> None:
        case.headers = {**dict(case.headers or {}), "Authorization": f"Bearer {ours.key}"}
        answer = case.call(session=session)
        assert answer.status_code == 404
        assert not told(theirs.secrets, answer)
        conforms(case, answer)

    ask()
    assert versions(at, theirs.number) == before
    path = f"/api/v1{operation.path.format(**their_id(operation, ours))}"
    browser = at.browser(Authorization=f"Bearer {ours.key}")
    assert browser.request(operation.method, path).status == operation.status


IN_QUERIES = {
    "GET /messages": {
        "sender": lambda house: f"expediteur-{house.word}",
        "recipient": lambda house: house.domain,
        "subject": lambda house: f"Sujet 0 {house.word}",
        "cursor": lambda house: cursor(house.messages[4]),
    },
    "GET /queue": {"cursor": lambda house: cursor(house.messages[0], 0)},
}
"""Parameters of queries that can name something of somebody's."""
HARMLESS = {"limit", "since", "until", "spam"}


def test_every_parameter_has_been_thought_of() -> None:
    """A new one either names what somebody has, and is tried with another's, or is harmless."""
    for name, operation in TABLE.items():
        in_query = {one.name for one in operation.parameters if one.place == "query"}
        assert in_query - HARMLESS == set(IN_QUERIES.get(name, ()))


@pytest.mark.parametrize(
    ("name", "parameter"), [(n, p) for n, some in IN_QUERIES.items() for p in some]
)
def test_what_another_customer_has_in_a_query(
    at: Console, ours: House, theirs: House, name: str, parameter: str
) -> None:
    """Finds nothing of theirs."""
    value = IN_QUERIES[name][parameter](theirs)
    browser = at.browser(Authorization=f"Bearer {ours.key}")
    page = browser.get("/api/v1" + TABLE[name].path, [(parameter, value)])
    assert page.status == 200
    assert not [secret for secret in theirs.secrets if secret in page.text]


def test_one_thing_after_another(
    at: Console, theirs: House, document: Any, session: requests.Session
) -> None:
    """What an answer has told is asked for next, and is told of as the document says."""
    house = new_house(at)
    before = versions(at, theirs.number)
    statuses: list[str] = []

    class Steps(document.as_state_machine()):  # type: ignore[misc]
        """As a program goes from a list to what is in it, and does something with that."""

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"session": session, "headers": {"Authorization": f"Bearer {house.key}"}}

        def validate_response(self, response: Any, case: Case, **_: Any) -> None:
            statuses.append(f"{case.operation.label}: {response.status_code}")
            assert response.status_code < 500
            assert not told(theirs.secrets, response)
            conforms(case, response)

    Steps.run(settings=settings(drawn(16), stateful_step_count=8))
    led_to = {"GET /messages/{id}: 200", "POST /messages/{id}/reissue: 202"}
    assert led_to & set(statuses), "no step has led to another"
    assert versions(at, theirs.number) == before


def every_answer(at: Console, house: House) -> Iterator[tuple[Operation, Page]]:
    """What all operations say of a house's things."""
    browser = at.browser(Authorization=f"Bearer {house.key}")
    for operation in TABLE.values():
        known = their_id(operation, house) if operation in WITH_ID else {}
        path = f"/api/v1{operation.path.format(**known)}"
        yield operation, browser.request(operation.method, path)


def test_no_answer_has_content(at: Console) -> None:
    """Nor the sealed content, nor the key that opens it."""
    house = new_house(at)
    bodies = at.ask("SELECT sealed FROM body WHERE customer_id = %s", house.number)
    [[wrapped]] = at.ask("SELECT wrapped_key FROM customer WHERE customer_id = %s", house.number)
    kept = [bytes(sealed) for (sealed,) in bodies] + [bytes(wrapped), b"Bonjour", b"A bient"]
    answered = list(every_answer(at, house))
    assert {page.status for _, page in answered} == {200, 202}
    for operation, page in answered:
        for one in kept:
            forms = (one, one.hex().encode(), json.dumps(one.decode("latin-1")).encode()[1:-1])
            assert not [form for form in forms if form in page.body], operation.name
