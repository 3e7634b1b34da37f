"""Who may bring what: the decisions behind the door, for `mail6m.smtp`."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mail6m.content import Budget, Content
from mail6m.dialogue.address import domain_of
from mail6m.dialogue.server import RECIPIENT_OK
from mail6m.directory import Directory
from mail6m.guard.clients import Clients
from mail6m.guard.recipients import Verification
from mail6m.intake import Intake, Receipt, Rejected
from mail6m.journal import Journal
from mail6m.model import Client, Envelope, Recipient, Reply, id_text
from mail6m.names import ClientNames
from mail6m.settings import Settings
from mail6m.storage.errors import Unavailable

_NOT_HERE = Reply(550, "5.7.1", "Relaying denied: that domain is not a customer's")
_NO_ROOM = Reply(452, "4.3.1", "Not enough room, try again later")
_LATER = Reply(451, "4.3.0", "Recipients cannot be looked up, try again later")


class Reception:
    """See `mail6m.smtp.Admission`."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        directory: Directory,
        intake: Intake,
        journal: Journal,
        budget: Budget,
        names: ClientNames,
        clients: Clients,
        verification: Verification,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._directory = directory
        self._intake = intake
        self._journal = journal
        self._budget = budget
        self._names = names
        self._clients = clients
        self._verification = verification
        self._spool = settings.data / "spool"
        self._free = 0
        self._measured_at = float("-inf")

    def meet(self, address: str) -> Reply | None:
        """See `mail6m.smtp.Admission`."""
        refusal = self._clients.meet(address)
        if refusal is None:
            self._names.look(address)
        return refusal

    def pause(self, address: str) -> float:
        """See `mail6m.smtp.Admission`."""
        return self._clients.pause(address)

    def turned_away(self, address: str, reason: str, reply: Reply) -> None:
        """See `mail6m.smtp.Admission`."""
        self._clients.turned_away(address, reason, reply)

    def name_of(self, address: str) -> str:
        """See `mail6m.smtp.Admission`."""
        return self._names.known(address)

    def admits(self, address: str, size: int) -> Reply | None:
        """See `mail6m.smtp.Admission`: does it bring too many, and is there room?"""
        if (refusal := self._clients.message(address)) is not None:
            return refusal
        now = self._clock.seconds()
        if now - self._measured_at > 1.0:
            self._measured_at = now
            self._free = self._room()
        return _NO_ROOM if self._free - size < self._settings.least_free else None

    def _room(self) -> int:
        try:
            room = os.statvfs(self._spool)
        except OSError as error:
            self.log.error("the spool cannot be looked at: {error}", error=error)
            return 0
        return room.f_bavail * room.f_frsize

    def at_once(self, recipient: str, address: str) -> Reply | None:
        """See `mail6m.smtp.Admission`."""
        if (refusal := self._clients.recipient(address)) is not None:
            return refusal
        return RECIPIENT_OK if self._knows(recipient) and self._clients.cleared(address) else None

    def _knows(self, address: str) -> bool:
        domain = self._directory.known(domain_of(address))
        if domain is None or domain.closed:
            return False
        return not domain.verify_recipients or self._verification.knows(domain, address)

    async def verdict(self, recipient: Recipient, client: Client) -> Reply:
        """See `mail6m.smtp.Admission`."""
        try:
            owner = await self._directory.owner(recipient.address)
        except Unavailable:
            return _LATER
        if owner is None:
            return _NOT_HERE
        if _is_postmaster(recipient.address):  # to whom it can say that we are mistaken
            return RECIPIENT_OK
        refusal = await self._clients.listed(client.address)
        if refusal is not None:
            return refusal
        domain = self._directory.known(owner.destination)
        if domain is None or not domain.verify_recipients:
            return RECIPIENT_OK
        return await self._verification.verdict(domain, recipient.address, client.address)

    def content(self) -> Content:
        """See `mail6m.smtp.Admission`."""
        return Content(self._budget, self._spool, self._settings.spool_threshold)

    def accept(self, envelope: Envelope, content: Content) -> Deferred[Reply]:
        """See `mail6m.smtp.Admission`."""
        return self._intake.accept(envelope, content).addCallbacks(
            self._archived, self._rejected, callbackArgs=(envelope,), errbackArgs=(envelope,)
        )

    def _archived(self, receipt: Receipt, envelope: Envelope) -> Reply:
        if not receipt.spam:
            self._clients.behaved(envelope.client.address)
        return Reply(250, "2.0.0", f"Archived, queued as {id_text(receipt.id)}")

    def _rejected(self, failure: Failure, envelope: Envelope) -> Reply:
        error = failure.value
        if not isinstance(error, Rejected):
            failure.raiseException()
        self._journal.refused(envelope.client.address, envelope.sender, error.reply)
        return error.reply


def _is_postmaster(address: str) -> bool:
    """RFC 5321, 4.5.1."""
    return (address.rpartition("@")[0] or address).lower() == "postmaster"
