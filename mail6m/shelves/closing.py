"""The end of a contract: nothing is taken in any more, the key is destroyed, and then all the rest.

What was taken in is relayed first. Without the key no content can be read any more. What stays is
the certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from twisted.logger import Logger

from mail6m.letters import Letters, Writer
from mail6m.model import HOUSE
from mail6m.storage.audit import By
from mail6m.storage.closings import Closing, Closings
from mail6m.storage.errors import Refused

DAYS = 7
"""From the asking to the end, in which it can be withdrawn."""
PORTION = 500
"""Messages that are erased at a time."""
PATH = "/partir"
"""Where a letter leads to, within the console."""
ASKED, DONE = "closing_asked", "closing_done"


class Ending:
    """Ends contracts."""

    log = Logger()

    def __init__(self, closings: Closings) -> None:
        self._closings = closings

    async def ask(self, by: By, days: int = DAYS) -> Closing:
        """It ends in so many days. Raises `Refused` if that has been said already."""
        if not await self._closings.ask(by, days):
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

    log = Logger()

    def __init__(
        self,
        closings: Closings,
        letters: Letters,
        writer: Writer,
        console_url: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._closings = closings
        self._letters = letters
        self._writer = writer
        self._console_url = console_url
        self._now = now

    async def send(self) -> int:
        """Send what is due; how many letters."""
        sent = 0
        for closing in await self._closings.all():
            letter = DONE if closing.destroyed_at is not None else ASKED
            if letter not in closing.told and closing.email:
                sent += await self._tell(closing, letter)
        return sent

    async def _tell(self, closing: Closing, name: str) -> bool:
        """Send a letter; if that cannot be, it is tried again next time."""
        if not await self._closings.telling(closing.customer, name, self._now()):
            return False
        base = self._console_url()
        try:
            letter = self._writer.letter(
                name, closing.language, closing=closing, link=base + PATH if base else ""
            )
            # In our own name: the customer's key may be no more.
            await self._letters.send(HOUSE, closing.email, letter)
            await self._closings.told(closing.customer, name)
        except Exception:  # noqa: BLE001 - whatever it is, the letter may not have been sent
            self.log.failure("a letter to customer {customer} waits", customer=closing.customer)
            return False
        return True
