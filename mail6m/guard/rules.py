"""What customers ask of the guard, in memory until the database says that it has changed."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from mail6m.storage.whitelist import Rules, Whitelist

KEPT = 60.0


class RuleBook:
    """Every customer's rules."""

    def __init__(self, clock: IReactorTime, whitelist: Whitelist) -> None:
        self._clock = clock
        self._whitelist = whitelist
        self._known: dict[int, tuple[Rules, float]] = {}
        self._changes = 0

    def forget(self) -> None:
        """Something has changed in the database."""
        self._known.clear()
        self._changes += 1

    def known(self, customer: int) -> Rules | None:
        """A customer's rules, if they are in memory."""
        rules, until = self._known.get(customer, (None, 0.0))
        return rules if until >= self._clock.seconds() else None

    async def of(self, customer: int) -> Rules:
        """A customer's rules. Raises `Unavailable`."""
        rules = self.known(customer)
        if rules is None:
            changes = self._changes
            rules = await self._whitelist.rules(customer)
            if changes == self._changes:  # else this may be how it was before
                self._known[customer] = (rules, self._clock.seconds() + KEPT)
        return rules
