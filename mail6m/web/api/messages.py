"""Messages of the cabinet: found, described, sent again. What is in them stays sealed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Protocol
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, field

from mail6m import model
from mail6m.model import Scope
from mail6m.shelves.cabinet import Cabinet, criteria
from mail6m.shelves.reissue import OtherMessage, Reissue
from mail6m.storage.archive import Details
from mail6m.storage.deliveries import Deliveries, Once
from mail6m.storage.errors import Refused
from mail6m.web.api.caller import Caller
from mail6m.web.api.cursor import OF_MESSAGES, cursor, place
from mail6m.web.api.operation import IDEMPOTENCY_KEY, given, operation
from mail6m.web.api.problem import Kind, Refusal

_Part = Annotated[str, Meta(max_length=320, description="A part of it, whatever case and accents.")]
_Id = Annotated[
    UUID, Meta(description="A message's id.", examples=["019a9a6c-5f3e-7c21-9b5e-2f4a1c0d9e77"])
]


STATES = [state.name.lower() for state in model.State]
"""What may have become of a delivery."""


class Search(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What messages are known by, all of it together."""

    sender: _Part = ""
    recipient: _Part = ""
    subject: Annotated[
        str, Meta(max_length=500, description="A part of it, whatever case and accents.")
    ] = ""
    since: Annotated[datetime, Meta(tz=True, description="Received then or later.")] | UnsetType = (
        UNSET
    )
    until: Annotated[datetime, Meta(tz=True, description="Received before.")] | UnsetType = UNSET
    spam: (
        Annotated[bool, Meta(description="Spam alone, or all but spam; both without it.")]
        | UnsetType
    ) = UNSET
    cursor: (
        Annotated[str, Meta(pattern=OF_MESSAGES, description="The `next` of the page before.")]
        | UnsetType
    ) = UNSET
    limit: Annotated[int, Meta(ge=1, le=100, description="Messages of a page.")] = 50


class ByMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """One message."""

    id: _Id


class Resend(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message, and a text that makes sure that it is done once."""

    id: _Id
    idempotency_key: (
        Annotated[
            str,
            Meta(
                pattern=r"^[!-~]{1,255}$",
                description="With the same text again, within a day, nothing is done again.",
                examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
            ),
        ]
        | UnsetType
    ) = field(default=UNSET, name=IDEMPOTENCY_KEY)


class Message(Struct, frozen=True, kw_only=True):
    """A message in the cabinet."""

    id: UUID
    received_at: datetime
    sender: Annotated[str, Meta(description="Of the envelope; empty for the null sender.")]
    recipients: Annotated[list[str], Meta(description="Of the envelope.")]
    header_from: str
    header_to: str
    subject: str
    message_id: Annotated[str, Meta(description="The header's.")]
    raw_size: Annotated[int, Meta(description="Octets, as it was received.")]
    stored_size: Annotated[int, Meta(description="Octets that it takes in the cabinet.")]
    sha256: Annotated[str, Meta(description="Of what was received, in hexadecimal digits.")]
    spam: Annotated[bool | None, Meta(description="Null: nobody knows.")]
    brought_back: Annotated[bool, Meta(description="The archivist has fetched it.")]


class Messages(Struct, frozen=True, kw_only=True):
    """A page of messages, the newest first."""

    messages: list[Message]
    next: Annotated[str | None, Meta(description="The cursor of the next page; null: none.")]
    fresh: Annotated[
        bool, Meta(description="Mail comes in now: the latest of it may not be found yet.")
    ]


class Client(Struct, frozen=True, kw_only=True):
    """Who brought a message."""

    address: str
    name: str
    hello: str
    protocol: Annotated[str, Meta(description="SMTP, ESMTP, ESMTPS... (RFC 3848).")]
    tls: Annotated[str, Meta(description="Version and cipher; empty in clear.")]


class Signature(Struct, frozen=True, kw_only=True):
    """A DKIM signature (RFC 6376)."""

    result: str
    domain: str
    selector: str


class Authentication(Struct, frozen=True, kw_only=True):
    """Who sent it, as far as it can be proved; empty: not looked into."""

    spf: str
    spf_domain: str
    dkim: list[Signature]
    arc: str
    dmarc: str
    dmarc_policy: str
    author: Annotated[str, Meta(description="The domain of From.")]


class Judgement(Struct, frozen=True, kw_only=True):
    """What the guard has found out about it."""

    scan: model.Scan
    score: float
    threshold: float
    symbols: list[str]
    corrected: Annotated[bool, Meta(description="`spam` is what the customer says.")]
    authentication: Authentication


class Delivery(Struct, frozen=True, kw_only=True):
    """What became of one recipient."""

    id: str
    recipient: str
    state: Annotated[str, Meta(extra_json_schema={"enum": STATES})]
    attempts: int
    queued_at: datetime
    next_attempt_at: Annotated[datetime | None, Meta(description="Null: it is not queued.")]
    last_reply: Annotated[str, Meta(description="Of the receiving machine.")]
    tls: str


class Described(Struct, frozen=True, kw_only=True):
    """All about a message but its content."""

    message: Message
    client: Client
    judgement: Judgement
    deliveries: list[Delivery]


class Reissued(Struct, frozen=True, kw_only=True):
    """What was queued."""

    message: UUID
    deliveries: int
    without_way: Annotated[
        list[str], Meta(description="Recipients that it cannot go to: no machine takes it.")
    ]


_ID = UUID("019a9a6c-5f3e-7c21-9b5e-2f4a1c0d9e77")
_AT = datetime(2026, 11, 23, 8, 30, 12, tzinfo=UTC)
_MESSAGE = Message(
    id=_ID,
    received_at=_AT,
    sender="albert@prodigy.net",
    recipients=["etienne@mondomaine.fr"],
    header_from="Albert <albert@prodigy.net>",
    header_to="etienne@mondomaine.fr",
    subject="Notes de frais.",
    message_id="<4711@prodigy.net>",
    raw_size=18_422,
    stored_size=7_310,
    sha256=hashlib.sha256(b"").hexdigest(),
    spam=False,
    brought_back=False,
)
_DESCRIBED = Described(
    message=_MESSAGE,
    client=Client(
        address="192.0.2.25",
        name="mail.prodigy.net",
        hello="mail.prodigy.net",
        protocol="ESMTPS",
        tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
    ),
    judgement=Judgement(
        scan=model.Scan.DONE,
        score=-0.4,
        threshold=15.0,
        symbols=["R_SPF_ALLOW"],
        corrected=False,
        authentication=Authentication(
            spf="pass",
            spf_domain="prodigy.net",
            dkim=[Signature(result="pass", domain="prodigy.net", selector="s1")],
            arc="none",
            dmarc="pass",
            dmarc_policy="reject",
            author="prodigy.net",
        ),
    ),
    deliveries=[
        Delivery(
            id=f"7-{_ID}-0",
            recipient="etienne@mondomaine.fr",
            state="delivered",
            attempts=1,
            queued_at=_AT,
            next_attempt_at=None,
            last_reply="250 2.0.0 Ok",
            tls="TLSv1.3 TLS_AES_256_GCM_SHA384, verified (certificate)",
        )
    ],
)


class Register(Protocol):
    """Who knows all about a message but its content (as `mail6m.storage.archive.Archive`)."""

    async def details(self, customer: int, message: UUID) -> Details:
        """Of one in the cabinet. Raises `Refused`."""


class MessageOperations:
    """What is done with a customer's messages."""

    def __init__(
        self, cabinet: Cabinet, register: Register, deliveries: Deliveries, reissue: Reissue
    ) -> None:
        self._cabinet = cabinet
        self._register = register
        self._deliveries = deliveries
        self._reissue = reissue

    @operation(
        "GET",
        "/messages",
        Scope.MESSAGES_READ,
        example=Messages(messages=[_MESSAGE], next=cursor(_ID), fresh=False),
    )
    async def list_messages(self, caller: Caller, asked: Search) -> Messages:
        """Messages in the cabinet that meet all criteria, the newest first.

        The same search as the console's. Mail in the cellar is not online: the archivist has it.
        """
        texts = (asked.sender, asked.recipient, asked.subject)
        wanted = criteria(*texts, given(asked.since), given(asked.until), given(asked.spam))
        before = place(asked.cursor)[0] if asked.cursor else None
        found = await self._cabinet.search(caller.customer, wanted, asked.limit, before)
        return Messages(
            messages=[_message(message) for message in found.messages],
            next=cursor(found.nexts[0]) if found.nexts else None,
            fresh=found.fresh,
        )

    @operation("GET", "/messages/{id}", Scope.MESSAGES_READ, example=_DESCRIBED)
    async def get_message(self, caller: Caller, asked: ByMessage) -> Described:
        """All about a message in the cabinet but its content."""
        try:
            details = await self._register.details(caller.customer, asked.id)
        except Refused:
            raise Refusal(Kind.NOT_FOUND) from None
        deliveries = await self._deliveries.of_message(caller.customer, asked.id)
        return _described(details, deliveries)

    @operation(
        "POST",
        "/messages/{id}/reissue",
        Scope.MESSAGES_REISSUE,
        status=202,
        refuses=(Kind.NO_WAY, Kind.KEY_REUSED),
        example=Reissued(message=_ID, deliveries=1, without_way=[]),
    )
    async def reissue_message(self, caller: Caller, asked: Resend) -> Reissued:
        """Send a message in the cabinet to its recipients once more.

        It is queued; what becomes of it is told by the message's deliveries.
        """
        messages = await self._cabinet.some(caller.customer, [asked.id])
        if not messages:
            raise Refusal(Kind.NOT_FOUND)
        try:
            if asked.idempotency_key:
                key = hashlib.sha256(asked.idempotency_key.encode()).digest()
                once = Once(caller.bearer.token, key)
                sent = await self._reissue.send_once(caller.by, messages[0], once)
            else:
                sent = await self._reissue.send(caller.by, messages)
        except OtherMessage:
            raise Refusal(Kind.KEY_REUSED, "It was sent with another message.") from None
        except Refused:  # it has been deleted meanwhile
            raise Refusal(Kind.NOT_FOUND) from None
        if not sent.deliveries:
            raise Refusal(Kind.NO_WAY, "No machine takes mail for any of its recipients.")
        return Reissued(message=asked.id, deliveries=sent.deliveries, without_way=sent.without_way)


def _message(message: model.Message) -> Message:
    return Message(
        id=message.id,
        received_at=message.received_at,
        sender=message.sender,
        recipients=list(message.recipients),
        header_from=message.header_from,
        header_to=message.header_to,
        subject=message.subject,
        message_id=message.message_id,
        raw_size=message.raw_size,
        stored_size=message.stored_size,
        sha256=message.sha256.hex(),
        spam=message.spam,
        brought_back=message.brought_back,
    )


def _described(details: Details, deliveries: list[model.Delivery]) -> Described:
    client, judged = details.client, details.judgement
    return Described(
        message=_message(details.message),
        client=Client(
            address=client.address,
            name=client.name,
            hello=client.hello,
            protocol=client.protocol,
            tls=client.tls,
        ),
        judgement=Judgement(
            scan=judged.scan,
            score=judged.score,
            threshold=judged.threshold,
            symbols=list(judged.symbols),
            corrected=judged.corrected,
            authentication=_authentication(judged.authentication),
        ),
        deliveries=[_delivery(one) for one in deliveries],
    )


def _authentication(found: model.Authentication) -> Authentication:
    return Authentication(
        spf=found.spf,
        spf_domain=found.spf_domain,
        dkim=[
            Signature(result=one.result, domain=one.domain, selector=one.selector)
            for one in found.signatures
        ],
        arc=found.arc,
        dmarc=found.dmarc,
        dmarc_policy=found.dmarc_policy,
        author=found.author,
    )


def _delivery(one: model.Delivery) -> Delivery:
    waits = one.state is model.State.QUEUED
    return Delivery(
        id=one.id,
        recipient=one.recipient,
        state=STATES[one.state],
        attempts=one.attempts,
        queued_at=one.queued_at,
        next_attempt_at=one.next_attempt_at if waits else None,
        last_reply=one.last_reply,
        tls=one.tls,
    )
