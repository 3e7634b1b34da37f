"""What operators see of the traffic: a line in the log per message and per outcome, and figures.

Never content, and no subject: a log is read by people whom the mail does not belong to.
"""

from __future__ import annotations

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from twisted.logger import Logger

from mail6m.delivery.consignment import Consignment, Item
from mail6m.model import Outcome, Reply, State
from mail6m.storage.archive import NewMessage


class Journal:
    """Logs, and counts in a registry of its own."""

    log = Logger()

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._accepted = Counter(
            "mail6m_accepted_messages", "Messages archived, one for each customer", registry=self.registry
        )
        self._raw = Counter(
            "mail6m_accepted_raw_bytes", "Size of accepted messages as received", registry=self.registry
        )
        self._stored = Counter(
            "mail6m_accepted_stored_bytes", "Size of accepted messages as stored", registry=self.registry
        )
        self._refused = Counter(
            "mail6m_refused_messages", "Messages refused at their end", ["code"], registry=self.registry
        )
        outcomes = Counter(
            "mail6m_delivery_outcomes", "Attempts to relay, by what came of them", ["state"],
            registry=self.registry,
        )  # fmt: skip
        self._outcomes = {state: outcomes.labels(state.name.lower()) for state in State}
        self._delay = Histogram(
            "mail6m_delivery_delay_seconds", "From acceptance to delivery", registry=self.registry,
            buckets=(0.1, 0.5, 1, 5, 30, 120, 600, 3600, 14400, 86400),
        )  # fmt: skip
        self.queued = Gauge(
            "mail6m_queue_deliveries", "Deliveries still to be made", registry=self.registry
        )
        self.oldest = Gauge(
            "mail6m_queue_oldest_seconds", "Age of the oldest of them", registry=self.registry
        )
        self.destinations_down = Gauge(
            "mail6m_destinations_down", "Destinations that cannot be reached", registry=self.registry
        )
        self.sessions = Gauge("mail6m_smtp_sessions", "SMTP sessions open", registry=self.registry)
        self.memory = Gauge(
            "mail6m_content_memory_bytes", "Memory that contents take", registry=self.registry
        )
        self.last_error = ""

    def accepted(self, message: NewMessage) -> None:
        """A message has been archived for a customer."""
        self._accepted.inc()
        self._raw.inc(message.raw_size)
        self._stored.inc(message.stored_size)
        self.log.info(
            "{id} accepted customer={customer} from=<{sender}> recipients={recipients}"
            " size={raw} stored={stored} client={client} with={protocol}",
            id=message.id,
            customer=message.customer,
            sender=message.envelope.sender,
            recipients=len(message.envelope.recipients),
            raw=message.raw_size,
            stored=message.stored_size,
            client=message.envelope.client.address,
            protocol=message.envelope.client.protocol,
        )

    def refused(self, client: str, sender: str, reply: Reply) -> None:
        """A message was refused when it had ended."""
        self._refused.labels(str(reply.code)).inc()
        self.log.info(
            "refused from=<{sender}> client={client}: {reply}",
            sender=sender,
            client=client,
            reply=str(reply),
        )

    def settled(
        self, consignment: Consignment, item: Item, outcome: Outcome, state: State, now: datetime
    ) -> None:
        """An attempt at a delivery has come to something."""
        self._outcomes[state].inc()
        if state is State.DELIVERED:
            self._delay.observe((now - item.queued_at).total_seconds())
        self.log.info(
            "{id} {state} to=<{recipient}> customer={customer} attempt={attempt} host={host}: {reply}",
            id=consignment.message,
            state=state.name.lower() if state is not State.QUEUED else "deferred",
            recipient=item.recipient.address,
            customer=consignment.customer,
            attempt=item.attempts,
            host=outcome.host,
            reply=str(outcome.reply),
        )
