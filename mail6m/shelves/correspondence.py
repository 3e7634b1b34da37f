"""Letters about discs: what is offered, twice reminded of, and what is on its way.

No answer for sixty days counts as a refusal, if all three letters have been sent, the last one not
too late.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from mail6m.billing.months import paris_day
from mail6m.letters import Notice, Notices
from mail6m.storage.accounts import Accounts
from mail6m.storage.audit import By
from mail6m.storage.discs import Disc, Discs
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.tariffs import TariffTable

PATH = "/dvd"
"""Where a letter leads to, within the console."""
OFFERS = (("disc_offer", 0), ("disc_reminder", 20), ("disc_last_reminder", 40))
"""The letters about an offer, and how many days after it they are sent."""
SILENCE = 60
"""Days without an answer that count as a refusal."""
PATIENCE = timedelta(days=20)
"""What there must be between the last letter and a refusal by silence, whenever it was sent."""
SHIPPED = "disc_shipped"
ACCOUNT = "mail6m"


class NoAddress(Exception):
    """There is nobody to be told."""


class Correspondence:
    """Sends letters about discs, each once."""

    def __init__(
        self,
        discs: Discs,
        preferences: PreferencesTable,
        accounts: Accounts,
        tariffs: TariffTable,
        notices: Notices,
        now: Callable[[], datetime],
    ) -> None:
        self._discs = discs
        self._preferences = preferences
        self._accounts = accounts
        self._tariffs = tariffs
        self._notices = notices
        self._now = now

    async def send(self) -> int:
        """Send what is due, and take long silence for an answer; how many letters."""
        sent = 0
        for disc in await self._discs.open():
            for letter in self._due(disc):
                of = partial(self._notice, disc)
                sent += await self._notices.send(self._discs, disc.serial, letter, of)
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
        told = disc.told_at is not None and all(letter in disc.told for letter, _ in OFFERS)
        since = self._now() - disc.told_at if disc.told_at is not None else timedelta(0)
        long_ago = self._age(disc) >= timedelta(days=SILENCE) and since >= PATIENCE
        return disc.state == "offered" and told and long_ago

    def _age(self, disc: Disc) -> timedelta:
        return self._now() - disc.offered_at

    async def _notice(self, disc: Disc) -> Notice:
        preferences = await self._preferences.get(disc.customer)
        addresses = [preferences.email] if preferences.email else []
        addresses = addresses or await self._accounts.administrators(disc.customer)
        if not addresses:
            raise NoAddress(f"customer {disc.customer} has no address to write to")
        values = {
            "company": " ".join(preferences.company.split()),
            "serial": disc.serial,
            "price": (await self._tariffs.all()).at(paris_day(self._now())).disc,
            "last_day": (disc.offered_at + timedelta(days=SILENCE)).date(),
        }
        return Notice(disc.customer, addresses, preferences.language or "fr", PATH, values)
