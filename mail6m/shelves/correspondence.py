"""Letters about discs: what is offered, twice reminded of, and what is on its way.

No answer for sixty days counts as a refusal, if all three letters have been sent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from twisted.logger import Logger

from mail6m.letters import Letter, Letters
from mail6m.storage.accounts import Accounts
from mail6m.storage.audit import By
from mail6m.storage.discs import Disc, Discs
from mail6m.storage.errors import StorageError
from mail6m.storage.preferences import PreferencesTable

PATH = "/dvd"
"""Where a letter leads to, within the console."""
OFFERS = (("disc_offer", 0), ("disc_reminder", 20), ("disc_last_reminder", 40))
"""The letters about an offer, and how many days after it they are sent."""
SILENCE = 60
"""Days without an answer that count as a refusal."""
SHIPPED = "disc_shipped"
ACCOUNT = "mail6m"


class Writer(Protocol):
    """Who knows the words of letters."""

    def letter(self, name: str, language: str, **values: Any) -> Letter:
        """The letter of that name, with these values."""


class Correspondence:
    """Sends letters about discs, each once."""

    log = Logger()

    def __init__(
        self,
        discs: Discs,
        preferences: PreferencesTable,
        accounts: Accounts,
        letters: Letters,
        writer: Writer,
        console_url: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._discs = discs
        self._preferences = preferences
        self._accounts = accounts
        self._letters = letters
        self._writer = writer
        self._console_url = console_url
        self._now = now

    async def send(self) -> int:
        """Send what is due, and take long silence for an answer; how many letters."""
        sent = 0
        for disc in await self._discs.open():
            for letter in self._due(disc):
                sent += await self._tell(disc, letter)
            if self._is_silent(disc):
                await self._discs.silent(By(disc.customer, ACCOUNT, ""), disc.serial)
        return sent

    def _due(self, disc: Disc) -> list[str]:
        if disc.state == "shipped":
            due = [SHIPPED]
        else:
            due = [letter for letter, days in OFFERS if self._age(disc) >= timedelta(days=days)]
        return [letter for letter in due if letter not in disc.told]

    def _is_silent(self, disc: Disc) -> bool:
        told = all(letter in disc.told for letter, _ in OFFERS)
        return disc.state == "offered" and told and self._age(disc) >= timedelta(days=SILENCE)

    def _age(self, disc: Disc) -> timedelta:
        return self._now() - disc.offered_at

    async def _tell(self, disc: Disc, name: str) -> bool:
        """Send a letter; if that cannot be, it is tried again next time."""
        if not await self._discs.tell(disc.serial, name):
            return False
        try:
            await self._send(disc, name)
        except Exception as error:  # noqa: BLE001 - whatever it is, the letter has not been sent
            if not isinstance(error, StorageError):
                self.log.failure("a letter about disc {serial} waits", serial=disc.serial)
            await self._discs.not_told(disc.serial, name)
            return False
        return True

    async def _send(self, disc: Disc, name: str) -> None:
        preferences = await self._preferences.get(disc.customer)
        base = self._console_url()
        letter = self._writer.letter(
            name,
            preferences.language or "fr",
            company=" ".join(preferences.company.split()),
            serial=disc.serial,
            link=base + PATH if base else "",
            last_day=(disc.offered_at + timedelta(days=SILENCE)).date(),
        )
        addresses = [preferences.email] if preferences.email else []
        for address in addresses or await self._accounts.administrators(disc.customer):
            await self._letters.send(disc.customer, address, letter)
