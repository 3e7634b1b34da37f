"""A customer's mail as a history says it must be: every message has one place, and keeps it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

CABINET, CELLAR, DELETED, THINNED = "cabinet", "cellar", "deleted", "thinned"
"""Places; the others are discs, by their serial numbers, and what was left out of one."""
SECTOR = 2_048


class Mail(NamedTuple):
    """A message that was accepted."""

    id: UUID
    subject: str
    milliseconds: int
    """When it arrived."""
    sha256: str
    raw: int
    stored: int
    spam: bool


@dataclass
class Pressing:
    """A disc, and what must have become of it."""

    serial: str
    state: str
    told: int = 0
    """Letters of the offer that have been sent."""
    aged: bool = False
    """It was offered, or sent, long ago."""
    patient: bool = False
    """The last letter was sent long ago."""
    received: bool = False


@dataclass
class Chronicle:
    """What has been accepted, and where it must be; ids are in order of arrival."""

    disc_capacity: int
    capacity: int = 0
    """Stored bytes that the cabinet may hold."""
    archive_spam: bool = False
    subscribed: bool = False
    mails: dict[UUID, Mail] = field(default_factory=dict)
    places: dict[UUID, str] = field(default_factory=dict)
    queued: set[UUID] = field(default_factory=set)
    """Still to be relayed."""
    brought_back: set[UUID] = field(default_factory=set)
    overdue: set[UUID] = field(default_factory=set)
    """Of those, whose time in the cabinet is over."""
    discs: list[Pressing] = field(default_factory=list)
    unerased: set[UUID] = field(default_factory=set)
    """On a disc, or left out of it, and still in the database."""
    late: set[UUID] = field(default_factory=set)
    """They were not in the cellar, or not to be taken, when it was their turn to go on a disc."""

    def at(self, *places: str) -> list[UUID]:
        """What is there, the oldest first."""
        return sorted(id_ for id_, place in self.places.items() if place in places)

    def put(self, ids: Iterable[UUID], place: str) -> None:
        """Move them."""
        self.places |= dict.fromkeys(ids, place)

    def stored(self, ids: Iterable[UUID]) -> int:
        """Stored bytes of some messages."""
        return sum(self.mails[id_].stored for id_ in ids)

    def arrive(self, mails: Iterable[Mail], queued: Iterable[UUID]) -> None:
        """They have been accepted."""
        for mail in mails:
            self.mails[mail.id] = mail
            self.places[mail.id] = CABINET
        self.queued |= set(queued)

    def leave(self, ids: Iterable[UUID], place: str) -> None:
        """They are in the database no more."""
        gone = set(ids)
        self.put((id_ for id_ in gone if self.places[id_] in (CABINET, CELLAR)), place)
        for those in (self.queued, self.brought_back, self.overdue, self.unerased):
            those -= gone

    # What must move

    def shed(self, most: int) -> list[UUID]:
        """What has to go to the cellar, the oldest first."""
        kept = self.brought_back - self.overdue
        excess = self.stored(self.at(CABINET)) - self.capacity
        moving: list[UUID] = []
        for id_ in self.at(CABINET):
            if len(moving) == most or self.stored(moving) >= excess:
                break
            moving += [id_] if id_ not in kept else []
        return moving

    def lower(self, ids: Iterable[UUID]) -> None:
        """They go to the cellar."""
        moving = set(ids)
        self.put(moving, CELLAR)
        self.brought_back -= moving
        self.overdue -= moving

    def bring_back(self, ids: Iterable[UUID]) -> None:
        """They come back from the cellar, and may miss a disc."""
        raised = set(ids)
        self.put(raised, CABINET)
        self.brought_back |= raised
        self.overdue -= raised
        self.late |= raised

    def filled(self, ids: Iterable[UUID]) -> int:
        """Bytes that messages take on a disc, by the sector."""
        mails = [self.mails[id_] for id_ in ids]
        counted = [mail for mail in mails if not mail.spam or self.archive_spam]
        return sum(-(-mail.raw // SECTOR) * SECTOR for mail in counted)

    def thinned(self, most: int) -> list[UUID]:
        """What of a cellar without a disc has to be destroyed, the oldest first."""
        if self.subscribed or not self.discs or self.discs[-1].state != "refused":
            return []
        left = self.filled(self.at(CELLAR))
        gone: list[UUID] = []
        for id_ in self.eligible():
            if left < self.disc_capacity or len(gone) == most:
                break
            gone.append(id_)
            left -= self.filled([id_])
        return gone

    def eligible(self) -> list[UUID]:
        """What a disc may take from the cellar."""
        return [id_ for id_ in self.at(CELLAR) if id_ not in self.queued]

    # Discs

    @property
    def open(self) -> Pressing | None:
        """The disc that is offered or ordered."""
        return next((disc for disc in self.discs if disc.state in ("offered", "ordered")), None)

    def in_state(self, *states: str) -> list[Pressing]:
        """The discs that are so far."""
        return [disc for disc in self.discs if disc.state in states]

    def is_offered_now(self) -> bool:
        """Whether a disc is about to be offered, or ordered by the subscription."""
        refused = bool(self.discs) and self.discs[-1].state == "refused"
        full = self.filled(self.at(CELLAR)) >= self.disc_capacity
        return full and self.open is None and (self.subscribed or not refused)

    def press(self, disc: Pressing, on: list[UUID], left_out: list[UUID]) -> None:
        """These have left the cellar for a disc."""
        self.late |= set(self.at(CABINET, CELLAR)) & self.queued
        self.put(on, disc.serial)
        self.put(left_out, left_out_of(disc.serial))
        self.unerased |= {*on, *left_out}
        disc.state = "written"

    def erased(self, most: int | None = None) -> list[UUID]:
        """What of the discs' messages has to be erased, the oldest first."""
        return sorted(self.unerased - self.queued)[:most]

    def destroyed(self) -> list[Pressing]:
        """Discs whose image has to be destroyed."""
        return [disc for disc in self.in_state("shipped") if disc.received or disc.aged]


def left_out_of(serial: str) -> str:
    """Where spam is that is on no disc, and went with one."""
    return f"left out of {serial}"
