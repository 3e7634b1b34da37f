"""How a page says what it answers to, and what it requires.

A method of a group of pages is made a route by `page` (GET) or `act` (POST). What changes something
is an `act`, and no act is reached without its CSRF token. The one exception is `one_click`: what a
letter's link does for whoever has it. There the guard looks at no cookie, so that nobody is
anybody, and another site can have a browser do nothing that it could not do itself.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
_MARK = "__mail6m_route__"


class Access(enum.Enum):
    """Who may come in."""

    ANYBODY = "everybody, and nobody is known: the page is the same for all"
    PUBLIC = "everybody"
    HALFWAY = "who has given the password, and owes the second factor"
    ACCOUNT = "every account, operators' too"
    READER = "every customer's account"
    ADMINISTRATOR = "customers' administrators"
    OBSERVER = "operators of every role"
    BOOKKEEPER = "operators and bookkeepers"
    OPERATOR = "operators"

    @property
    def of_house(self) -> bool:
        """Whether it is for those who run Mail6M, and for nobody else."""
        return self in (Access.OBSERVER, Access.BOOKKEEPER, Access.OPERATOR)


@dataclass(frozen=True, slots=True)
class Route:
    """One address of the console."""

    rule: str
    """A path, with its variables as werkzeug's rules write them."""
    method: str
    access: Access
    summary: str
    """The first line of the docstring."""
    viewed: bool = False
    """It is there, too, for an operator who sees the console as a customer does."""
    suspended: bool = False
    """An act that a suspended customer may do, too."""
    one_click: bool = False
    """It asks for nothing but what its address says (RFC 8058)."""

    @property
    def csrf(self) -> bool:
        """Whether a CSRF token must come with it."""
        return self.method == "POST" and not self.one_click


def page(rule: str, access: Access = Access.READER, *, viewed: bool = False) -> Callable[[F], F]:
    """A method that shows something, and changes nothing.

    With ``viewed``, operators who see the console as a customer does see it, too: nothing that has
    the content of messages, or lets anybody in.
    """
    return _marked(rule, "GET", access, viewed=viewed)


def act(
    rule: str,
    access: Access = Access.ADMINISTRATOR,
    *,
    viewed: bool = False,
    suspended: bool = False,
) -> Callable[[F], F]:
    """A method that changes something. See `Route` for who else may."""
    return _marked(rule, "POST", access, viewed=viewed, suspended=suspended)


def one_click(rule: str) -> Callable[[F], F]:
    """A method that does what a link in a letter was made for (RFC 8058, 3.2).

    Its address must say all of it, and prove that we have said so: it is reached by machines of
    mail providers, without session, cookie or token, and its visitor is never known.
    """
    return _marked(rule, "POST", Access.ANYBODY, one_click=True)


def _marked(rule: str, method: str, access: Access, **more: bool) -> Callable[[F], F]:
    def mark(function: F) -> F:
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        setattr(function, _MARK, Route(rule, method, access, summary, **more))
        return function

    return mark


def routes_of(pages: object) -> Iterator[tuple[Route, Callable[..., Awaitable[Any]]]]:
    """The routes of a group of pages, an instance or its class, in the order of their names."""
    for name in sorted(dir(pages)):
        method: Any = getattr(pages, name, None)
        route = getattr(method, _MARK, None)
        if route is not None:
            yield route, method
