"""Who may talk to us: rates, DNS lists, and the pause before the banner.

The pause and its memory follow Postfix's postscreen. With the settings' defaults nothing of all
this costs more than a look at None.
"""

from __future__ import annotations

from functools import lru_cache

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mail6m.guard.blocklists import Blocklists, Listing, Resolver, read_entry
from mail6m.guard.known import KnownClients
from mail6m.guard.rates import Meter, Rate
from mail6m.journal import Journal
from mail6m.model import Reply
from mail6m.networks import Networks, Place, place_of
from mail6m.settings import Settings

LINES = 60
"""Lines a minute that the log gets at most; and one of them for each neighbourhood."""

_CONNECTIONS = Reply(421, "4.7.0", "Too many connections from your network, try again later")
_MESSAGES = Reply(450, "4.7.1", "Too many messages from your network, try again later")
_RECIPIENTS = Reply(450, "4.7.1", "Too many recipients from your network, try again later")


class Clients:
    """What is asked about a client, by its address, while it talks to us.

    Who is in the setting ``internal``, or comes over a Unix socket, is never held up.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        resolver: Resolver,
        known: KnownClients,
        journal: Journal,
    ) -> None:
        self._clock = clock
        self._delay = settings.banner_delay
        self._threshold = settings.dnsbl_threshold
        self._hostname = settings.hostname
        self._known = known
        self._journal = journal
        self._internal = Networks(settings.internal)
        self._stranger = lru_cache(maxsize=8_192)(self._find_stranger)
        self._connections = _rate(settings.rate_connections)
        self._messages = _rate(settings.rate_messages)
        self._recipients = _rate(settings.rate_recipients)
        entries = [read_entry(entry) for entry in settings.dnsbl]
        self._lists = Blocklists(clock, resolver, entries, self._silent) if entries else None
        self._lines, self._all_lines, self._list_lines = Meter(1), Meter(LINES), Meter(1)

    def _find_stranger(self, address: str) -> Place | None:
        """Where the client is, unless it is one of ours."""
        place = place_of(address)
        ours = place.address == "local" or place.address in self._internal
        return None if ours else place

    def meet(self, address: str) -> Reply | None:
        """A client has connected. None, or why it has to go; the lists begin to be asked."""
        refusal = self._within(self._connections, address, "connections", _CONNECTIONS)
        if refusal is None and self._lists is not None and (place := self._stranger(address)):
            self._lists.look(place.address)
        return refusal

    def pause(self, address: str) -> float:
        """Seconds that its banner is held back."""
        if self._delay <= 0:
            return 0.0
        place = self._stranger(address)
        if place is None or place.client in self._known:
            return 0.0
        self._journal.paused()
        return self._delay

    def message(self, address: str) -> Reply | None:
        """It begins a message. None, or why not now."""
        return self._within(self._messages, address, "messages", _MESSAGES)

    def recipient(self, address: str) -> Reply | None:
        """It names a recipient. None, or why not now."""
        return self._within(self._recipients, address, "recipients", _RECIPIENTS)

    def cleared(self, address: str) -> bool:
        """Whether it is certain already that no list keeps it from bringing mail."""
        if self._lists is None or (place := self._stranger(address)) is None:
            return True
        listing = self._lists.known(place.address)
        return listing is not None and listing.score < self._threshold

    async def listed(self, address: str) -> Reply | None:
        """None, or why it may bring no mail; waits for the lists, if they are still asked."""
        if self._lists is None or (place := self._stranger(address)) is None:
            return None
        listing = await self._lists.ask(place.address)
        if listing.score < self._threshold:
            return None
        refusal = self._listed_reply(place, listing)
        self.turned_away(address, "listed", refusal)
        return refusal

    def _listed_reply(self, place: Place, listing: Listing) -> Reply:
        zones = ", ".join(listing.zones)
        return Reply(
            550,
            "5.7.1",
            f"{place.address} is listed by {zones}; if in error, write to"
            f" <postmaster@{self._hostname}>",
        )

    def behaved(self, address: str) -> None:
        """It has brought a message, which was accepted."""
        if self._delay > 0 and (place := self._stranger(address)) is not None:
            self._known.note(place.client)

    def turned_away(self, address: str, reason: str, reply: Reply) -> None:
        """Count and log that a client was refused something, for one of `journal.REASONS`."""
        line = f"- turned away client={address} for={reason}: {reply}"
        self._journal.turned_away(reason, line if self._tell(place_of(address)) else "")

    def _within(self, rate: Rate | None, address: str, reason: str, refusal: Reply) -> Reply | None:
        if rate is None or (place := self._stranger(address)) is None:
            return None
        if rate.take(place, self._clock.seconds()):
            return None
        self.turned_away(address, reason, refusal)
        return refusal

    def _tell(self, place: Place) -> bool:
        """Whether the log has room for a line on that: an attack must not fill the disk."""
        now = self._clock.seconds()
        if self._lines.full(place.network, now) or self._all_lines.full("", now):
            return False
        self._lines.add(place.network, now)
        self._all_lines.add("", now)
        return True

    def _silent(self, zone: str, why: str) -> None:
        """A list has not served us."""
        now, line = self._clock.seconds(), ""
        if not self._list_lines.full(zone, now):
            self._list_lines.add(zone, now)
            line = f"- DNS list {zone} does not answer: {why}"
        self._journal.silent_list(zone, line)


def _rate(most: int) -> Rate | None:
    return Rate(most) if most else None
