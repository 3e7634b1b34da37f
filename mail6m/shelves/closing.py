"""The end of a contract: nothing is taken in any more, the key is destroyed, and then all the rest.

A contract ends with a month, and there is a week at least in which that can be withdrawn. What was
taken in is relayed first. Without the key no content can be read any more. What stays is the
certificate, and what accounts are to be kept of.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from typing import NamedTuple

from twisted.logger import Logger

from mail6m.billing.months import end_of_month, midnight, next_month, paris_day
from mail6m.letters import Notice, Notices
from mail6m.model import HOUSE
from mail6m.storage.audit import By
from mail6m.storage.closings import Closing, Closings
from mail6m.storage.errors import Refused

DAYS = 7
"""From the asking to the destruction, at least, in which it can be withdrawn."""
PORTION = 500
"""Messages that are erased at a time."""
PATH = "/partir"
"""Where a letter leads to, within the console."""
ASKED, DONE = "closing_asked", "closing_done"


class Term(NamedTuple):
    """When a contract ends that is asked to end now."""

    last_day: date
    """Its last one: that of the month, for a month begun is due (brochure, section VIII)."""
    due_at: datetime
    """When all is destroyed: not before the month is over, nor before there was time to think."""


def term(now: datetime) -> Term:
    """Of a contract that is asked to end at this moment."""
    last_day = end_of_month(paris_day(now))
    return Term(last_day, max(midnight(next_month(last_day)), now + timedelta(days=DAYS)))


class Ending:
    """Ends contracts."""

    log = Logger()

    def __init__(self, closings: Closings, now: Callable[[], datetime]) -> None:
        self._closings = closings
        self._now = now

    def term(self) -> Term:
        """When a contract would end that is asked to end at this moment."""
        return term(self._now())

    async def ask(self, by: By, days: int | None = None) -> Closing:
        """It ends with the month, and all is destroyed then, or in so many days.

        Raises `Refused` if that has been said already.
        """
        last_day, due_at = self.term()
        if days is not None:
            due_at = self._now() + timedelta(days=days)
        if not await self._closings.ask(by, last_day, due_at):
            raise Refused(f"there is no contract of customer {by.customer} to be ended")
        closing = await self._closings.of(by.customer)
        assert closing is not None
        return closing

    async def withdraw(self, by: By) -> None:
        """It goes on. Raises `Refused` if it was not to end, or has ended."""
        if not await self._closings.withdraw(by):
            raise Refused(f"the contract of customer {by.customer} was not to end, or has ended")

    async def of(self, customer: int) -> Closing | None:
        """What is known of a customer's, if it ends or has ended."""
        return await self._closings.of(customer)

    async def advance(self) -> int:
        """Go on with all that is due; how many customers have been destroyed."""
        count = 0
        failed: Exception | None = None
        for closing in await self._closings.all():
            try:
                count += await self._go_on(closing)
            except Exception as error:  # noqa: BLE001 - one must not keep the others; raised below
                failed = failed or error
        if failed is not None:
            raise failed
        return count

    async def _go_on(self, closing: Closing) -> bool:
        if closing.destroyed_at is not None:
            return False
        customer = closing.customer
        if closing.closed_at is None and await self._closings.close(customer):
            self.log.info("customer {customer}: no mail is taken in any more", customer=customer)
        if closing.key_destroyed_at is None and not await self._closings.destroy_key(customer):
            return False
        while await self._closings.erase(customer, PORTION):
            pass
        self.log.info("customer {customer}: everything is destroyed", customer=customer)
        return True


class ClosingLetters:
    """Tells customers that their contract ends, and sends them the certificate; each once."""

    def __init__(self, closings: Closings, notices: Notices) -> None:
        self._closings = closings
        self._notices = notices

    async def send(self) -> int:
        """Send what is due; how many letters."""
        sent = 0
        for closing in await self._closings.all():
            letter = DONE if closing.destroyed_at is not None else ASKED
            if letter not in closing.told and closing.email:
                of = partial(self._notice, closing)
                sent += await self._notices.send(self._closings, closing.customer, letter, of)
        return sent

    async def _notice(self, closing: Closing) -> Notice:
        # In our own name: the customer's key may be no more.
        return Notice(HOUSE, [closing.email], closing.language, PATH, {"closing": closing})
