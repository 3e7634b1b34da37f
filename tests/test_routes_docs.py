"""The table of docs/console-routes.md is what the console answers to.

``PYTHONPATH=. python tests/test_routes_docs.py`` writes it anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from mail6m.web.console import PAGES
from mail6m.web.menu import MENU, OPERATORS_MENU
from mail6m.web.routes import Access, Route, routes_of

DOCUMENT = Path(__file__).parent.parent / "docs" / "console-routes.md"
ROUTES = [route for pages in PAGES for route, _ in routes_of(pages)]


def table() -> str:
    """A line for each route; the pages of a group together."""
    rows = [["method", "address", "who", "CSRF token", "what"]]
    for pages in PAGES:
        routes = [route for route, _ in routes_of(pages)]
        rows += [_row(route) for route in sorted(routes, key=lambda r: (r.rule, r.method))]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _row(route: Route) -> list[str]:
    token = "yes" if route.csrf else "–"
    return [route.method, f"`{route.rule}`", route.access.value, token, route.summary]


def renewed(text: str) -> str:
    """The document with its table made anew."""
    made = table()
    pattern = r"(<!-- table: routes -->\n).*?(<!-- end -->)"
    text, found = re.subn(pattern, lambda m: f"{m[1]}{made}\n{m[2]}", text, flags=re.DOTALL)
    assert found == 1, "no place for the table"
    return text


def test_the_table_is_current() -> None:
    """The document says what the console answers to; write it anew when this fails."""
    text = DOCUMENT.read_text()
    assert renewed(text) == text, "run: PYTHONPATH=. python tests/test_routes_docs.py"


def test_every_route_says_what_it_is_for() -> None:
    """In the first line of its docstring, which fits into a table."""
    for route in ROUTES:
        assert route.summary.endswith("."), route.rule
        assert "|" not in route.summary, route.rule


def test_no_two_routes_are_the_same() -> None:
    """A method and an address lead to one page."""
    named = [(route.method, route.rule) for route in ROUTES]
    assert len(set(named)) == len(named)


def test_what_changes_something_asks_for_its_token() -> None:
    """By construction: pages by GET, acts by POST; but for what a letter's link does by itself."""
    assert {route.method for route in ROUTES} == {"GET", "POST"}
    unasked = [route for route in ROUTES if route.csrf != (route.method != "GET")]
    assert [route.rule for route in unasked] == ["/desabonnement/<token>"]
    assert all(route.one_click and route.access is Access.ANYBODY for route in unasked)


def test_the_menu_leads_to_pages() -> None:
    """Each line of the menu is a page, for those who see the line."""
    pages = {route.rule: route for route in ROUTES if route.method == "GET"}
    for entry in (*MENU, *OPERATORS_MENU):
        assert entry.path in pages, f"the menu leads to {entry.path}, where there is nothing"
        limited = pages[entry.path].access in (Access.ADMINISTRATOR, Access.OPERATOR)
        assert entry.administrators == limited
    shared = {Access.ACCOUNT, Access.OBSERVER, Access.OPERATOR}
    assert {pages[entry.path].access for entry in OPERATORS_MENU} <= shared


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text()))
