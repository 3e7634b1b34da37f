"""DNS lists of clients (RFC 5782): asked all at once, weighed, and never waited for long.

In doubt a client is let in. A list that does not answer in time speaks against nobody, and one of
good clients then speaks for everybody: what it knows might have tipped the scales. An answer that
is not in 127.0.0.0/8 is no listing, as from a zone that has been given up and answers everything.
One in 127.255.255.0/24 says that the list does not serve us (as Spamhaus has it), which is as good
as no answer. Operators are told of both.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address, ip_address
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from mail6m.networks import Networks
from mail6m.resolver import Answer, DnsFailure

PATIENCE = 5.0
"""Seconds for all lists to answer."""
MOST = 20_000
"""Clients whose listings are remembered."""
MOST_QUESTIONS = 300
"""Under way at once. A client that comes while there are so many is not looked up."""
_SHORTEST, _LONGEST = 60, 3_600
"""Seconds that what the lists say is kept, whatever their TTL."""

_OCTET = r"(?:[0-9]{1,3}|\[[0-9]{1,3}(?:\.\.[0-9]{1,3})?(?:;[0-9]{1,3}(?:\.\.[0-9]{1,3})?)*\])"
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_ENTRY = re.compile(
    rf"(?P<zone>{_LABEL}(?:\.{_LABEL})*)"
    rf"(?:=(?P<value>{_OCTET}(?:\.{_OCTET}){{3}}))?"
    r"(?:\*(?P<weight>[+-]?[0-9]{1,3}))?",
    re.IGNORECASE | re.ASCII,
)
_LISTED = Networks(["127.0.0.0/8"])
_NOT_SERVED = Networks(["127.255.255.0/24"])


class Entry(NamedTuple):
    """A list, or one of the things that it says, and what that weighs."""

    zone: str
    values: tuple[frozenset[int], ...]
    """Of each octet of an answer that counts; empty: any answer does."""
    weight: int
    """Negative where being listed is a good thing."""

    def matches(self, answer: str) -> bool:
        """Whether an address in the list's answer is one that counts."""
        octets = IPv4Address(answer).packed
        return not self.values or all(
            octet in values for octet, values in zip(octets, self.values, strict=True)
        )


def read_entry(text: str) -> Entry:
    """``ZONE[=VALUE][*WEIGHT]``, as Postfix's postscreen_dnsbl_sites has it. Raises `ValueError`.

    VALUE is an address whose octets may be ``[2;4..7]``. The weight is 1 unless given.
    """
    match = _ENTRY.fullmatch(text.strip())
    if match is None:
        raise ValueError("ZONE[=VALUE][*WEIGHT] is needed, as in bl.example.org=127.0.0.[2..4]*3")
    octets = re.findall(_OCTET, match["value"] or "")
    return Entry(match["zone"].lower(), tuple(map(_values, octets)), int(match["weight"] or 1))


def _values(octet: str) -> frozenset[int]:
    found: set[int] = set()
    for part in octet.strip("[]").split(";"):
        first, _, last = part.partition("..")
        found.update(range(int(first), int(last or first) + 1))
    if not found or max(found) > 255:
        raise ValueError(f"{octet} is no octet of an address")
    return frozenset(found)


def question(address: str, zone: str) -> str:
    """The name to ask for in a list's zone (RFC 5782, 2.1 and 2.4). Raises `ValueError`."""
    ip = ip_address(address)
    backwards, _, _ = ip.reverse_pointer.rsplit(".", 2)
    return f"{backwards}.{zone}"


class Listing(NamedTuple):
    """What all lists say of a client."""

    score: int
    zones: tuple[str, ...]
    """Those that speak against it."""


UNLISTED = Listing(0, ())


class Resolver(Protocol):
    """What is asked of `mail6m.resolver.Resolver`."""

    async def look_up(self, name: str, kind: str) -> Answer:
        """The records of a name. Raises `mail6m.resolver.DnsFailure`."""


class _Inquiry:
    """The questions about one client that are under way."""

    def __init__(self, zones: Iterable[str], timer: IDelayedCall) -> None:
        self.open = set(zones)
        self.timer = timer
        self.answers: dict[str, list[str]] = {}
        self.ttl = _LONGEST
        self.waiting: list[Deferred[Listing]] = []


class Blocklists:
    """Asks the lists, and remembers what they say of clients."""

    def __init__(
        self,
        clock: IReactorTime,
        resolver: Resolver,
        entries: Sequence[Entry],
        on_silence: Callable[[str, str], None],
    ) -> None:
        """``on_silence`` is told the zone of a list that has not answered, and why."""
        self._clock = clock
        self._resolver = resolver
        self._entries = entries
        self._zones = tuple(dict.fromkeys(entry.zone for entry in entries))
        self._on_silence = on_silence
        self._listings: OrderedDict[str, tuple[Listing, float]] = OrderedDict()
        self._inquiries: dict[str, _Inquiry] = {}

    def known(self, client: str) -> Listing | None:
        """What is remembered of the client at that address."""
        listing, until = self._listings.get(client, (UNLISTED, 0.0))
        return listing if until > self._clock.seconds() else None

    def look(self, client: str) -> None:
        """Ask about the client, unless that is known, or being asked."""
        if self.known(client) is not None or client in self._inquiries:
            return
        if (len(self._inquiries) + 1) * len(self._zones) > MOST_QUESTIONS:
            return
        try:
            questions = {zone: question(client, zone) for zone in self._zones}
        except ValueError:
            return
        timer = self._clock.callLater(PATIENCE, self._give_up, client)
        self._inquiries[client] = inquiry = _Inquiry(questions, timer)
        for zone, name in questions.items():
            asked = ensureDeferred(self._resolver.look_up(name, "A"))
            asked.addCallback(partial(self._heard, client, inquiry, zone))
            asked.addErrback(partial(self._not_heard, client, inquiry, zone))

    async def ask(self, client: str) -> Listing:
        """What the lists say of the client; as far as they answer in time."""
        self.look(client)
        inquiry = self._inquiries.get(client)
        if inquiry is None:
            return self.known(client) or UNLISTED
        listing: Deferred[Listing] = Deferred()
        inquiry.waiting.append(listing)
        return await listing

    def _heard(self, client: str, inquiry: _Inquiry, zone: str, answer: Answer) -> None:
        addresses = [str(getattr(record, "address", "")) for record in answer.records]
        refused = next((address for address in addresses if address in _NOT_SERVED), None)
        if refused is not None:
            raise DnsFailure(f"it answers {refused}, which says that it does not serve us")
        inquiry.answers[zone] = [address for address in addresses if address in _LISTED]
        inquiry.ttl = min(inquiry.ttl, answer.ttl)
        self._close(client, inquiry, zone)

    def _not_heard(self, client: str, inquiry: _Inquiry, zone: str, failure: Failure) -> None:
        if zone in inquiry.open:
            self._on_silence(zone, failure.getErrorMessage())
        inquiry.ttl = _SHORTEST
        self._close(client, inquiry, zone)

    def _close(self, client: str, inquiry: _Inquiry, zone: str) -> None:
        inquiry.open.discard(zone)
        if not inquiry.open and self._inquiries.get(client) is inquiry:
            self._settle(client, inquiry)

    def _give_up(self, client: str) -> None:
        inquiry = self._inquiries[client]
        for zone in sorted(inquiry.open):
            self._on_silence(zone, f"no answer in {PATIENCE:.0f} s")
        inquiry.open.clear()
        inquiry.ttl = _SHORTEST
        self._settle(client, inquiry)

    def _settle(self, client: str, inquiry: _Inquiry) -> None:
        del self._inquiries[client]
        if inquiry.timer.active():
            inquiry.timer.cancel()
        listing = self._weigh(inquiry.answers)
        kept = max(_SHORTEST, min(inquiry.ttl, _LONGEST))
        self._listings[client] = listing, self._clock.seconds() + kept
        self._listings.move_to_end(client)
        while len(self._listings) > MOST:
            self._listings.popitem(last=False)
        for waiting in inquiry.waiting:
            waiting.callback(listing)

    def _weigh(self, answers: dict[str, list[str]]) -> Listing:
        matching = [
            entry
            for entry in self._entries
            if any(map(entry.matches, answers.get(entry.zone, ())))
            or (entry.weight < 0 and entry.zone not in answers)
        ]
        against = dict.fromkeys(entry.zone for entry in matching if entry.weight > 0)
        return Listing(sum(entry.weight for entry in matching), tuple(against))
