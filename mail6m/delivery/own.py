"""Mail that Mail6M writes itself, and its way into the queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol
from uuid import UUID

from mail6m.content import Content
from mail6m.dialogue.address import domain_of
from mail6m.directory import OWN, Directory
from mail6m.intake import Receipt, new_message_id
from mail6m.model import Client, Envelope, Recipient
from mail6m.signing import Signer


class Submission(Protocol):
    """The way in, as seen from here."""

    async def submit(
        self, customer: int, envelope: Envelope, destination: str, content: Content
    ) -> Receipt:
        """Queue a message that Mail6M wrote."""


class OwnMail:
    """Queues mail from the null sender, so that nothing ever answers it (RFC 5321, 4.5.5)."""

    def __init__(
        self,
        hostname: str,
        directory: Directory,
        submission: Submission,
        new_content: Callable[[], Content],
        signer: Signer,
    ) -> None:
        self._hostname = hostname
        self._directory = directory
        self._submission = submission
        self._new_content = new_content
        self._signer = signer

    @property
    def signed(self) -> bool:
        """Whether it has a DKIM signature."""
        return bool(self._signer.domain)

    def new_name(self, now: datetime) -> str:
        """A Message-ID for a message that is written now."""
        return f"<{new_message_id(int(now.timestamp() * 1000))}@{self._hostname}>"

    async def send(
        self, customer: int, to: str, octets: bytes, *, requiretls: bool = False
    ) -> UUID:
        """Queue a message in a customer's name, signed if there is a key; its id.

        Raises `mail6m.intake.Rejected` when it cannot be queued now.
        """
        content = self._new_content()
        content.write(self._signer.sign_own(octets))
        envelope = Envelope(
            "",
            (Recipient(to),),
            Client("127.0.0.1", self._hostname, "", "local"),
            smtputf8=not to.isascii(),
            eightbit=not octets.isascii(),
            requiretls=requiretls,
        )
        # It may be an address of a customer's: then the way there is known.
        owner = await self._directory.owner(to)
        destination = owner.destination if owner is not None and owner.destination else ""
        receipt = await self._submission.submit(
            customer, envelope, destination or OWN + domain_of(to), content
        )
        return receipt.id
