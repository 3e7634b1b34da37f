"""Every knob, once: its name, its unit, its default.

The names are those of the command line's options and of the TOML file's keys, with ``-`` for ``_``.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path

DISC_CAPACITY = 4_700_000_000
"""Bytes of a DVD, as it is sold."""


class SettingsError(ValueError):
    """A setting that cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one Mail6M process behaves. Times are seconds, sizes are bytes."""

    data: Path = Path("mail6m-data")
    """Keys, embedded database, disc images: all state that is not in an external database."""
    database: str = "embedded:"
    """``embedded:``, or a libpq URL."""
    smtp: tuple[str, ...] = ("tcp:2525:interface=127.0.0.1",)
    """Twisted server endpoints for MX traffic."""
    web: tuple[str, ...] = ("tcp:8080:interface=127.0.0.1",)
    """Twisted server endpoints for the console, the metrics and the health page."""
    console_url: str | None = None
    """Where browsers reach the console, for links in letters; without it, --web if a loopback."""
    mx: tuple[str, ...] = ()
    """The names that customers' MX records point at; without one, the hostname."""
    trusted_proxy: tuple[str, ...] = ()
    """Addresses or networks of reverse proxies, which are believed what they say of a client."""
    session_idle: float = 3_600.0
    """A session of the console ends so long after its last request."""
    session_lifetime: float = 43_200.0
    """A session of the console ends so long after signing in."""
    api_rate: int = 120
    """Requests a minute of one key of the API."""
    signup: str = "open"
    """Who may sign up: ``open``: everybody, ``approval``: whom an operator lets, ``closed``."""
    hosted_by: str | None = None
    """Name, address, telephone of who hosts the site (LCEN, art. 1-1); without it, its editor."""
    hostname: str = field(default_factory=socket.getfqdn)
    """The name in the SMTP banner, in Received: and in bounces."""
    dns: tuple[str, ...] = ()
    """ADDRESS[:PORT] of resolvers, believed what they say of DNSSEC; without one, the system's."""
    tls_cert: tuple[Path, ...] = ()
    tls_key: tuple[Path, ...] = ()
    """PEM chains for STARTTLS, and the key of each; read again when the files change. A client gets
    the one for the name that it asks for, else the first."""
    tls_ca: Path | None = None
    """PEM authorities for the certificates of receiving machines; without it, the system's."""
    smarthost: str | None = None
    """HOST[:PORT] where mail that Mail6M itself writes goes; without it, MX look-up."""
    postmaster: str | None = None
    """Where mail to ``postmaster`` without a domain goes on to; it is archived in any case."""
    scanner: str = "auto"
    scan_timeout: float = 8.0
    """How long a message may wait for its verdict; then it is taken in, and marked not scanned."""
    scans: int = 20
    """Messages that the scanner is asked about at once."""
    scan_largest: int = 2_000_000
    """A message larger than this is not scanned."""
    rspamd_controller: str | None = None
    """Where rspamd is taught; without it, port 11334 of the machine that scans."""
    rspamd_password_file: Path | None = None
    """The password that the controller asks for, in a file."""
    authentication: str = "on"
    """``on`` or ``off``: SPF, DKIM, ARC and DMARC of mail from outside."""
    authentication_timeout: float = 5.0
    """What the DNS has not answered by then is ``temperror``."""
    internal: tuple[str, ...] = ("127.0.0.0/8", "::1")
    """Addresses or networks of our own machines: neither authenticated nor held up."""
    signing_key: Path | None = None
    """PEM key that mail of our own is signed with (DKIM), and relayed mail sealed (ARC)."""
    signing_domain: str | None = None
    """The domain that signs; without it, the hostname."""
    signing_selector: str = "mail6m"
    """Its key is published as SELECTOR._domainkey.DOMAIN."""
    paypal_client_id: str | None = None
    """Who we are to PayPal; with the next two, customers may pay by it."""
    paypal_secret_file: Path | None = None
    """The secret that goes with it, in a file."""
    paypal_webhook_id: str | None = None
    """Of the webhook that PayPal tells of payments."""
    paypal_api: str = "https://api-m.paypal.com"
    """Where PayPal's interface is."""
    disc_capacity: int = DISC_CAPACITY
    """How large a disc's image may be, its file system included; commands go by the server's."""

    max_message_size: int = 52_428_800
    max_line: int = 4_096
    """Bytes in a command line: RFC 5321 asks for 512, and for more with every extension."""
    max_header_size: int = 1_048_576
    max_recipients: int = 1_000
    max_commands: int = 5_000
    """Commands in a session without a message accepted."""
    max_errors: int = 50
    """Refused commands in a session."""
    max_hops: int = 50
    """Received fields (RFC 5321, 6.3)."""
    sessions: int = 4_000
    """SMTP sessions at once."""
    sessions_per_address: int = 100
    """SMTP sessions at once from one client address."""
    idle_timeout: float = 300.0
    """Without an octet from the client (RFC 5321, 4.5.3.2.7)."""
    command_timeout: float = 300.0
    """From the first to the last octet of one command."""
    least_rate: int = 500
    """Octets a second that content must come at, over the first minute and every one after it."""
    max_unknown_recipients: int = 30
    """Recipients that do not exist, of one client in ten minutes; beyond it, it is slowed down. 0:
    no limit."""
    banner_delay: float = 0.0
    """How long the banner is held back, to see who speaks first."""
    banner_known_for: float = 2_592_000.0
    """Who has waited for it and then brought a message need not wait again for so long."""
    rate_connections: int = 0
    """Connections a minute from one client, an IPv4 address or an IPv6 /64; 0: no limit."""
    rate_messages: int = 0
    """Messages a minute from one client; 0: no limit."""
    rate_recipients: int = 0
    """Recipients a minute from one client; 0: no limit."""
    dnsbl: tuple[str, ...] = ()
    """DNS lists of clients, ``ZONE[=VALUE][*WEIGHT]``."""
    dnsbl_threshold: int = 3
    """A client whose lists weigh so much together may bring nothing."""

    memory_budget: int = 48_000_000
    """What all message contents together may take in memory; beyond it they go to a file."""
    spool_threshold: int = 262_144
    """A content larger than this goes to a file."""
    least_free: int = 268_435_456
    """With less room than this on the data disk, mail is answered 452."""
    quality: int = 5
    """Brotli's quality, 0 to 11."""
    seal_threads: int = 2
    """Large messages that are compressed and stored at once."""
    database_connections: int = 6
    console_connections: int = 3
    """The console's and the indexer's own, so that no message waits behind pages."""
    database_timeout: float = 20.0
    """For one statement; beyond it the sender is told 451."""

    relay_sessions: int = 20
    """Sessions at once with one destination."""
    relay_idle: float = 20.0
    """How long an idle session with a destination is kept."""
    connect_timeout: float = 30.0
    reply_timeout: float = 300.0
    """For a reply of the receiving machine (RFC 5321, 4.5.3.2)."""
    final_timeout: float = 600.0
    """For the reply to the end of data, which must not be cut short (RFC 5321, 4.5.3.2.6)."""
    queue_poll: float = 1.0
    """How often the queue looks for deliveries that are due."""

    @property
    def mx_names(self) -> tuple[str, ...]:
        """What customers' MX records point at, the first one first."""
        return self.mx or (self.hostname,)
