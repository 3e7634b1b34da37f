"""Letters to customers as tests see them: a post that keeps them, and the people they go to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, cast

from mail6m.letters import Letter, Letters, Notices
from mail6m.notices.subscriptions import Subscriptions
from mail6m.web.render import Renderer
from tests.reactor_thread import run
from tests.stored import ask, new_customer

BASE = "https://console.mail6m.test"
"""Where the console is, as letters say."""


class Told(NamedTuple):
    """A letter that was sent, every space in its subject a plain one."""

    to: str
    subject: str


@dataclass
class Post:
    """`Letters` that keeps them."""

    sent: list[tuple[int, str, Letter]] = field(default_factory=list)
    trouble: Exception | None = None

    async def send(self, customer: int, to: str, letter: Letter) -> None:
        """Keep it."""
        if self.trouble is not None:
            raise self.trouble
        self.sent.append((customer, to, letter))

    def notices(
        self,
        now: Callable[[], datetime],
        subscriptions: Subscriptions | None = None,
        console_url: Callable[[], str] = lambda: BASE,
    ) -> Notices:
        """What is written is brought here."""
        return Notices(cast(Letters, self), Renderer("0"), console_url, now, subscriptions)

    def told_by(self, send: Callable[[], Awaitable[int]]) -> list[Told]:
        """What is sent at a look around; asked for twice, it goes once."""
        self.sent = []
        count = run(send)
        assert count == len({(customer, letter.subject) for customer, _, letter in self.sent})
        assert run(send) == 0
        return [Told(to, letter.subject.replace("\u00a0", " ")) for _, to, letter in self.sent]


def add_customer(
    dsn: str,
    email: str = "georges@duchemin.fr",
    language: str = "",
    *,
    company: str = "Duchemin",
    plan: str = "tiroir",
    capacity: int = 1,
) -> int:
    """A customer who may be written to; its number."""
    number = new_customer()
    ask(
        dsn,
        "INSERT INTO customer (customer_id, company, plan, capacity, wrapped_key)"
        " VALUES (%s, %s, %s, %s, 'key')",
        *(number, company, plan, capacity),
    )
    ask(
        dsn,
        "INSERT INTO preferences (customer_id, email, language) VALUES (%s, %s, %s)",
        *(number, email, language),
    )
    return number


def add_accounts(dsn: str, customer: int) -> list[str]:
    """Two administrators and a reader; the addresses of those who run the customer's account."""
    for name, role in (("a", "administrator"), ("b", "reader"), ("c", "administrator")):
        ask(
            dsn,
            "INSERT INTO account (customer_id, email, role) VALUES (%s, %s, %s)",
            *(customer, f"{name}@duchemin.fr", role),
        )
    return ["a@duchemin.fr", "c@duchemin.fr"]
