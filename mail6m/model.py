"""The values that every part of Mail6M speaks. Frozen, and without I/O.

Those that are made several times for each message are named tuples, which are made in a third of
the time that a frozen dataclass takes.

Addresses are ``str``: a local part as it was given, ``@``, and a domain in lower case, in its
A-label form (RFC 5890) when it is internationalised. The null sender (RFC 5321, 4.5.5) is ``""``.
Times are aware ``datetime`` in UTC. Sizes are bytes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

HOUSE = 0
"""The customer number of Mail6M itself, who owns mail to ``postmaster`` without a domain."""


def id_text(id_: UUID) -> str:
    """A message's id as text; it is asked for many times while the message passes through."""
    return _text_of(id_.int)


@lru_cache(maxsize=8_192)
def _text_of(id_: int) -> str:  # looked up by the integer, which is hashed without a call
    digits = f"{id_:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Notify(enum.IntFlag):
    """When a sender wants a report on a recipient (RFC 3461, 4.1). 0: not said, so on failure."""

    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8


class Client(NamedTuple):
    """Who brought a message: its address, the name it gave, how the session was protected."""

    address: str
    hello: str = ""
    name: str = ""
    protocol: str = "SMTP"
    """The "with" of a Received field: SMTP, ESMTP, ESMTPS, UTF8SMTP, UTF8SMTPS (RFC 3848, 6531)."""
    tls: str = ""
    """Version and cipher, as in ``TLSv1.3 TLS_AES_256_GCM_SHA384``; empty in clear."""


class Recipient(NamedTuple):
    """One forward-path of an envelope, with its DSN parameters (RFC 3461)."""

    address: str
    notify: int = 0
    """An or of `Notify` flags."""
    original: str = ""
    """ORCPT, decoded from xtext: ``rfc822;someone@example.org``, or empty."""


class Envelope(NamedTuple):
    """What SMTP says about a message, apart from its content (RFC 5321, 2.3.1)."""

    sender: str
    recipients: tuple[Recipient, ...]
    client: Client
    smtputf8: bool = False
    eightbit: bool = False
    returns: str = ""
    """RET: ``FULL``, ``HDRS`` or empty."""
    envid: str = ""
    """ENVID, decoded from xtext."""
    requiretls: bool = False
    """REQUIRETLS (RFC 8689): only verified hosts may have it, that ask the same of the next."""


class Signature(NamedTuple):
    """One DKIM signature of a message (RFC 6376), and what came of verifying it."""

    result: str
    """RFC 8601: ``pass``, ``fail``, ``policy``, ``neutral``, ``temperror``, ``permerror``."""
    domain: str
    """Its d=, canonical."""
    selector: str = ""


class Authentication(NamedTuple):
    """Who sent a message, as far as it can be proved; an empty text was not looked into."""

    spf: str = ""
    """RFC 7208, 2.6: ``none``, ``neutral``, ``pass``, ``fail``, ``softfail``, ``temperror``..."""
    spf_domain: str = ""
    """The domain that SPF has judged: of the sender, or of the client's hello."""
    signatures: tuple[Signature, ...] = ()
    arc: str = ""
    """RFC 8617, 4.4: ``none``, ``pass``, ``fail``."""
    dmarc: str = ""
    """RFC 7489, 11.2: ``none``, ``pass``, ``fail``, ``temperror``, ``permerror``."""
    dmarc_policy: str = ""
    """What the domain asks for where DMARC fails: ``none``, ``quarantine``, ``reject``."""
    author: str = ""
    """The domain of From that DMARC has judged."""
    results: str = ""
    """What an Authentication-Results field says of all this behind our name (RFC 8601, 2.2)."""

    def confirms(self, domain: str) -> bool:
        """Whether SPF or DKIM proves that it comes from that domain, or one below it."""
        proved = [self.spf_domain] if self.spf == "pass" else []
        proved += [one.domain for one in self.signatures if one.result == "pass"]
        return any(is_within(one, domain) for one in proved)


class Scan(enum.StrEnum):
    """What the antispam did with a message."""

    NONE = "none"
    """There is no scanner."""
    DONE = "done"
    SPARED = "spared"
    """The sender's domain is in the customer's white list."""
    MISSED = "missed"
    """The scanner did not answer, or not in time."""
    TOO_LARGE = "too large"


class Judgement(NamedTuple):
    """What the guard has found out about a message, for one customer."""

    scan: Scan = Scan.NONE
    score: float = 0.0
    threshold: float = 0.0
    """The score from which on the scanner would have it refused."""
    symbols: tuple[str, ...] = ()
    """What the scanner's score is made of, by the scanner's own names."""
    spam: bool | None = None
    """None: nobody knows."""
    corrected: bool = False
    """``spam`` is what the customer says."""
    unconfirmed: str = ""
    """The white list's entry that would have spared it, had SPF or DKIM confirmed the sender."""
    authentication: Authentication = Authentication()


UNJUDGED = Judgement()


class Judged(NamedTuple):
    """A message as it is judged for each customer, or why it is refused for all of them."""

    judgements: dict[int, Judgement]
    refusal: Reply | None = None


def is_within(domain: str, other: str) -> bool:
    """Whether a canonical domain is another one, or below it."""
    return domain == other or domain.endswith("." + other)


class Summary(NamedTuple):
    """What a person knows a message by, out of its header; every field may be empty."""

    sender: str
    recipients: str
    subject: str
    message_id: str


class Reply(NamedTuple):
    """An SMTP reply: code, enhanced status (RFC 3463; may be empty), and lines of text."""

    code: int
    status: str
    text: str

    def __str__(self) -> str:
        code, status, text = self
        if status and text:
            return f"{code} {status} {text}"
        return " ".join([part for part in (str(code), status, text) if part])


class Shelf(enum.IntEnum):
    """Where a message stands. `TRANSIT` is mail of Mail6M's own: kept only until it is gone.

    `DISC` is what has been written to a disc, and is erased a moment later.
    """

    CABINET = 0
    CELLAR = 1
    TRANSIT = 2
    DISC = 3


class State(enum.IntEnum):
    """What has become of a delivery."""

    QUEUED = 0
    DELIVERED = 1
    FAILED = 2
    EXPIRED = 3
    CANCELLED = 4


class Verdict(enum.IntEnum):
    """What one attempt at a delivery came to (RFC 5321, 4.2.1)."""

    DONE = 0
    LATER = 1
    NEVER = 2


class Outcome(NamedTuple):
    """The verdict of one attempt for one recipient, and the words of the host that gave it."""

    verdict: Verdict
    reply: Reply
    host: str = ""
    """Name and address of the host that replied, as in ``mail.example.org[192.0.2.1]:25``."""
    tls: str = ""
    """``TLSv1.3 TLS_AES_256_GCM_SHA384, verified (DANE)``, or ``verified (certificate)``, or ``not
    verified``; empty in clear."""


class Plan(enum.StrEnum):
    """The sizes of cabinet that the brochure sells (section IV)."""

    TIROIR = "tiroir"
    MALLE = "malle"
    ARMOIRE = "armoire"

    @property
    def capacity(self) -> int:
        """Compressed bytes."""
        return {"tiroir": 2, "malle": 5, "armoire": 10}[self.value] * 1_000_000_000


class Role(enum.StrEnum):
    """What an account of the console may do. Those after the first two are the house's own."""

    ADMINISTRATOR = "administrator"
    READER = "reader"
    """Cannot delete, reissue or change settings."""
    OPERATOR = "operator"
    """Runs Mail6M."""
    BOOKKEEPER = "bookkeeper"
    """Looks at all that operators see, and does what is about money."""
    OBSERVER = "observer"
    """Looks, and does nothing."""


class Scope(enum.StrEnum):
    """What a key of the API may do."""

    MESSAGES_READ = "messages:read"
    MESSAGES_REISSUE = "messages:reissue"
    USAGE_READ = "usage:read"
    QUEUE_READ = "queue:read"
    QUEUE_RETRY = "queue:retry"
    DISCS_READ = "discs:read"
    INVOICES_READ = "invoices:read"

    @property
    def acts(self) -> bool:
        """Whether it changes something."""
        return self in (Scope.MESSAGES_REISSUE, Scope.QUEUE_RETRY)


class Act(enum.StrEnum):
    """What somebody did, as the audit names it. The page "Activité" has a label for each."""

    SIGNED_IN = "signed in"
    PASSWORD_GIVEN = "password given"  # noqa: S105 - an act's name
    SIGN_IN_FAILED = "sign-in failed"
    WRONG_CODE = "wrong code"
    SIGNED_OUT = "signed out"
    SESSION_CLOSED = "session closed"
    OTHER_SESSIONS_CLOSED = "other sessions closed"
    RECOVERY_CODE_USED = "recovery code used"
    MESSAGE_REISSUED = "message reissued"
    MESSAGES_DELETED = "messages deleted"
    DELIVERIES_RETRIED = "deliveries retried"
    DOMAIN_CLAIMED = "domain claimed"
    CLAIM_WITHDRAWN = "domain claim withdrawn"
    DOMAIN_ADDED = "domain added"
    DOMAIN_CHANGED = "domain changed"
    DOMAIN_REMOVED = "domain removed"
    DOMAIN_TESTED = "receiving machine tested"
    RECIPIENTS_LISTED = "recipients listed"
    RECIPIENTS_UNLISTED = "list of recipients removed"
    WHITELIST_ADDED = "white list entry added"
    WHITELIST_REMOVED = "white list entry removed"
    WHITELIST_PROOF = "white list proof"
    MARKED_SPAM = "marked as spam"
    MARKED_LEGITIMATE = "marked as legitimate"
    PREFERENCES_CHANGED = "preferences changed"
    PLAN_ORDERED = "plan ordered"
    PLAN_ORDER_WITHDRAWN = "plan order withdrawn"
    PLAN_CHANGED = "plan changed"
    ACCOUNT_ADDED = "account added"
    ACCOUNT_REMOVED = "account removed"
    ROLE_CHANGED = "role changed"
    SECOND_FACTOR_ON = "second factor on"
    SECOND_FACTOR_OFF = "second factor off"
    NEW_RECOVERY_CODES = "new recovery codes"
    PASSWORD_CHOSEN = "password chosen"  # noqa: S105 - an act's name
    PASSWORD_CHANGED = "password changed"  # noqa: S105 - an act's name
    PASSWORD_LINK_SENT = "password link sent"  # noqa: S105 - an act's name
    WRONG_PASSWORD = "wrong password"  # noqa: S105 - an act's name
    INVITATION_SENT = "invitation sent"
    ARCHIVIST_ASKED = "archivist asked"
    ARCHIVIST_GRANTED = "archivist's request granted"
    ARCHIVIST_REFUSED = "archivist's request refused"
    DISC_OFFERED = "disc offered"
    DISC_ORDERED = "disc ordered"
    DISC_REFUSED = "disc refused"
    DISC_WRITTEN = "disc written"
    DISC_SHIPPED = "disc shipped"
    DISC_RECEIVED = "disc received"
    DISC_DESTROYED = "disc destroyed"
    EXPORT_ASKED = "export asked"
    EXPORT_TAKEN = "export taken"
    CLOSING_ASKED = "end of contract asked"
    CLOSING_WITHDRAWN = "end of contract withdrawn"
    INVOICE_ISSUED = "invoice issued"
    CREDIT_ISSUED = "credit note issued"
    PRICE_AGREED = "price agreed"
    TARIFF_SET = "tariff set"
    SELLER_SET = "seller set"
    PAYMENT_RECORDED = "payment recorded"
    PAYMENT_TAKEN_BACK = "payment taken back"
    PAYMENT_ASKED = "payment by PayPal begun"
    ENTRY_PUT_ASIDE = "statement entry put aside"
    ENTRY_TAKEN_UP = "statement entry taken up"
    API_KEY_MADE = "API key made"
    API_KEY_REVOKED = "API key revoked"
    API_KEY_STOPPED = "API key stopped"
    """Whoever made it is an administrator no more."""
    SIGNED_UP = "signed up"
    SIGNUP_ACCEPTED = "sign-up accepted"
    SIGNUP_REFUSED = "sign-up refused"
    DESTINATION_HELD = "destination held"
    DESTINATION_LET_GO = "destination let go"
    DELIVERIES_CANCELLED = "deliveries cancelled"
    CONSOLE_SEEN = "console seen"
    CONSOLE_LEFT = "console left"
    CONTRACT_SUSPENDED = "contract suspended"
    CONTRACT_RESUMED = "contract resumed"
    SECOND_FACTOR_RESET = "second factor reset"
    NOTICES_REFUSED = "notices refused"
    NOTICES_WANTED = "notices wanted again"
    SAMPLE_SENT = "sample of a notice sent"


class StsMode(enum.StrEnum):
    """What senders are asked to do when no server of ours proves its name (RFC 8461, 5)."""

    NONE = "none"
    """Nothing any more, for those who remember another wish."""
    TESTING = "testing"
    """To deliver all the same, and to report it."""
    ENFORCE = "enforce"
    """Not to deliver."""


class TlsPolicy(enum.StrEnum):
    """How a customer's receiving machine is to be reached."""

    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine to relay to: a name or an address, and a port."""

    name: str
    port: int = 25

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Domain:
    """A customer's mail domain and where its mail goes on to."""

    name: str
    customer: int
    hosts: tuple[Host, ...]
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    verify_recipients: bool = True
    closed: bool = False
    """Its customer's contract has ended: it takes no mail in, and what came in before goes on."""
    sts: StsMode | None = None
    """None: there has never been an MTA-STS policy."""
    tls_reports: str = ""
    """The address for TLS reports (RFC 8460); empty: nobody has said."""
    listed: int | None = None
    """How many addresses its list of recipients has; None: there is no list."""
    listed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer, with what the cabinet and the cellar hold (messages, and stored bytes)."""

    customer: int
    company: str
    plan: str
    capacity: int
    cabinet_messages: int
    cabinet_bytes: int
    cellar_messages: int
    cellar_bytes: int


class Message(NamedTuple):
    """An archived message as lists show it: everything but its content."""

    customer: int
    id: UUID
    received_at: datetime
    sender: str
    recipients: tuple[str, ...]
    header_from: str
    header_to: str
    subject: str
    message_id: str
    raw_size: int
    stored_size: int
    sha256: bytes
    spam: bool | None
    shelf: Shelf
    brought_back: bool
    """The archivist has fetched it from the cellar."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a search asks for, all of it together; an empty text or None asks for nothing.

    The texts are parts of what is looked for, folded (`mail6m.fold.term`).
    """

    sender: str = ""
    recipient: str = ""
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None
    """The end of the period, not of it any more."""
    spam: bool | None = None
    """Spam alone, all but spam, or both."""

    @property
    def has_text(self) -> bool:
        """Whether it asks for more than a time."""
        return bool(self.sender or self.recipient or self.subject)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One recipient of one message, on its way out."""

    customer: int
    message: UUID
    number: int
    """Which of the message's deliveries this is, from 0; a reissue adds more."""
    recipient: str
    destination: str
    """The queue it stands in: a customer's domain, or ``mx:`` and a domain for mail of our own."""
    state: State
    attempts: int
    queued_at: datetime
    next_attempt_at: datetime
    last_reply: str
    tls: str = ""
    """What the session of its last attempt had, as in `Outcome`."""

    @property
    def id(self) -> str:
        """What an operator names it by."""
        return f"{self.customer}-{self.message}-{self.number}"
