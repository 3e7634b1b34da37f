"""What operators see of the traffic: a line in the log per message and per outcome, and figures.

Never content, and no subject: a log is read by people whom the mail does not belong to.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from math import inf

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mail6m.delivery.consignment import Consignment, Item
from mail6m.model import Authentication, Outcome, Reply, Scan, State, id_text
from mail6m.storage.archive import NewMessage
from mail6m.storage.measures import Tally

COMPANY = 0.05
"""Seconds that a line waits for others."""
BUSY = 1.0
"""Seconds after a message in which others may follow."""
_WORDS = {state: state.name.lower() for state in State} | {State.QUEUED: "deferred"}
REASONS = ("sessions", "connections", "messages", "recipients", "early", "listed")
"""Why clients are turned away."""
_DELAYS = (0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 14400.0, 86400.0)


class Journal:
    """Logs, and counts in a registry of its own."""

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._lines: list[str] = []
        self.registry = CollectorRegistry()
        # Plain numbers, made into metrics when somebody asks: a counter of prometheus-client
        # takes a lock at every step, and there are a dozen steps to a message.
        self._messages = 0
        self._seen, self._seen_at = 0, -inf
        self._raw = 0
        self._stored = 0
        self._refused: Counter[int] = Counter()
        self._probes: Counter[str] = Counter()
        self._unknown = 0
        self._slowed = 0
        self._outcomes: Counter[State] = Counter()
        self._scans: Counter[Scan] = Counter()
        self._proofs: Counter[tuple[str, str]] = Counter()
        self._turned_away: Counter[str] = Counter()
        self._paused = 0
        self._silent_lists: Counter[str] = Counter()
        self._webhooks: Counter[str] = Counter()
        self._delays = [0] * (len(_DELAYS) + 1)
        self._delay_sum = 0.0
        self.registry.register(self)
        self.queued = Gauge(
            "mail6m_queue_deliveries", "Deliveries still to be made", registry=self.registry
        )
        self.oldest = Gauge(
            "mail6m_queue_oldest_seconds", "Age of the oldest of them", registry=self.registry
        )
        self.destinations_down = Gauge(
            "mail6m_destinations_down",
            "Destinations that cannot be reached",
            registry=self.registry,
        )
        self.sessions = Gauge("mail6m_smtp_sessions", "SMTP sessions open", registry=self.registry)
        self.memory = Gauge(
            "mail6m_content_memory_bytes", "Memory that contents take", registry=self.registry
        )
        self.known_clients = Gauge(
            "mail6m_known_clients",
            "Clients whose banner is not held back",
            registry=self.registry,
        )
        self.errands = Gauge(
            "mail6m_errands",
            "What waits for an operator",
            ["kind"],
            registry=self.registry,
        )
        self.unindexed = Gauge(
            "mail6m_unindexed_messages",
            "Messages that no search finds yet",
            registry=self.registry,
        )
        self.scanner = Gauge("mail6m_scanner_up", "A scanner answers", registry=self.registry)
        self._certificates = Gauge(
            "mail6m_certificate_expires",
            "Seconds until the certificate for a name ends",
            ["name"],
            registry=self.registry,
        )
        self.last_error = ""

    def accepted(self, message: NewMessage) -> None:
        """A message has been archived for a customer."""
        self._messages += 1
        self._raw += message.raw_size
        self._stored += message.stored_size
        if (sender := message.judgement.authentication).spf:
            self._authenticated(sender)
        envelope, client = message.envelope, message.envelope.client
        self._say(
            f"{id_text(message.id)} accepted customer={message.customer} from=<{envelope.sender}>"
            f" recipients={len(envelope.recipients)} size={message.raw_size}"
            f" stored={message.stored_size} client={client.address} with={client.protocol}"
        )

    def tally(self) -> Tally:
        """What has passed since the process began."""
        outcomes = self._outcomes
        return Tally(
            self._messages,
            self._raw,
            sum(self._refused.values()),
            outcomes[State.DELIVERED],
            outcomes[State.QUEUED],
            outcomes[State.FAILED] + outcomes[State.EXPIRED],
        )

    def certificates(self, ends: Iterable[tuple[str, datetime]], now: datetime) -> None:
        """What names there are certificates for, and until when."""
        self._certificates.clear()
        for name, end in ends:
            self._certificates.labels(name).set((end - now).total_seconds())

    def _authenticated(self, sender: Authentication) -> None:
        results = [one.result for one in sender.signatures] or ["none"]
        proofs = self._proofs
        proofs["spf", sender.spf] += 1
        proofs["dkim", "pass" if "pass" in results else results[0]] += 1
        proofs["dmarc", sender.dmarc] += 1

    def busy(self) -> bool:
        """Whether messages have come in since this was asked last, or within the last second."""
        now = self._clock.seconds()
        if self._messages != self._seen:
            self._seen, self._seen_at = self._messages, now
        return now - self._seen_at < BUSY

    def scanned(self, scan: Scan) -> None:
        """The antispam has looked at a message, or should have."""
        self._scans[scan] += 1

    def refused(self, client: str, sender: str, reply: Reply) -> None:
        """A message was refused when it had ended."""
        self._refused[reply.code] += 1
        self._say(f"- refused from=<{sender}> client={client}: {reply}")

    def turned_away(self, reason: str, line: str) -> None:
        """A client was refused something, for one of `REASONS`; ``line`` may be empty."""
        self._turned_away[reason] += 1
        if line:
            self._say(line)

    def paused(self) -> None:
        """A client's banner is held back."""
        self._paused += 1

    def silent_list(self, zone: str, line: str) -> None:
        """A DNS list of clients has not served us; ``line`` may be empty."""
        self._silent_lists[zone] += 1
        if line:
            self._say(line)

    def webhook(self, result: str) -> None:
        """PayPal has told something, or somebody else in its name."""
        self._webhooks[result] += 1

    def probed(self, domain: str, result: str, words: str) -> None:
        """A domain's receiving machine was asked whether it takes mail for an address."""
        self._probes[result] += 1
        if result not in ("taken", "refused"):
            self._say(f"- recipients of {domain} cannot be verified: {result}: {words}")

    def unknown(self, client: str, address: str, reply: Reply, told: bool) -> None:
        """A recipient was refused; ``told``: it is worth a line in the log."""
        self._unknown += 1
        if told:
            self._say(f"- refused to=<{address}> client={client}: {reply}")

    def slowed(self, client: str, first: bool) -> None:
        """A client that names too many unknown recipients got no answer, or will get none."""
        self._slowed += not first
        if first:
            self._say(f"- slowed client={client}: too many unknown recipients")

    def _say(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) == 1:
            self._clock.callLater(COMPANY, self._write)

    def _write(self) -> None:
        """One event for many lines: an event costs more than all the rest of it."""
        lines, self._lines = self._lines, []
        self.log.info("{text}", text="\n".join(lines), lines=lines)

    def settled(
        self, consignment: Consignment, item: Item, outcome: Outcome, state: State, now: datetime
    ) -> None:
        """An attempt at a delivery has come to something."""
        self._outcomes[state] += 1
        if state is State.DELIVERED:
            delay = (now - item.queued_at).total_seconds()
            self._delays[bisect_left(_DELAYS, delay)] += 1
            self._delay_sum += delay
        self._say(
            f"{id_text(consignment.message)} {_WORDS[state]} to=<{item.recipient.address}>"
            f" customer={consignment.customer} attempt={item.attempts} host={outcome.host}:"
            f" {outcome.reply}"
        )

    def collect(self) -> Iterator[Metric]:
        """For prometheus-client: the figures as they stand."""
        for name, text, value in (
            (
                "mail6m_accepted_messages",
                "Messages archived, one for each customer",
                self._messages,
            ),
            ("mail6m_accepted_raw_bytes", "Their size as received", self._raw),
            ("mail6m_accepted_stored_bytes", "Their size as stored", self._stored),
        ):
            yield CounterMetricFamily(name, text, value)
        refused = CounterMetricFamily(
            "mail6m_refused_messages", "Messages refused at their end", labels=["code"]
        )
        for code, count in self._refused.items():
            refused.add_metric([str(code)], count)
        yield refused
        scans = CounterMetricFamily(
            "mail6m_scans", "Messages, by what the antispam did with them", labels=["result"]
        )
        for scan, count in self._scans.items():
            scans.add_metric([scan], count)
        yield scans
        proofs = CounterMetricFamily(
            "mail6m_authentication",
            "Messages from outside, by what was found out of their senders",
            labels=["method", "result"],
        )
        for labels, count in self._proofs.items():
            proofs.add_metric(labels, count)
        yield proofs
        yield from self._collect_clients()
        yield from self._recipients()
        outcomes = CounterMetricFamily(
            "mail6m_delivery_outcomes", "Attempts to relay, by what came of them", labels=["state"]
        )
        for state in State:
            outcomes.add_metric([state.name.lower()], self._outcomes[state])
        yield outcomes
        webhooks = CounterMetricFamily(
            "mail6m_paypal_webhooks", "Webhooks, by what was made of them", labels=["result"]
        )
        for result, count in self._webhooks.items():
            webhooks.add_metric([result], count)
        yield webhooks
        yield self._delay_histogram()

    def _collect_clients(self) -> Iterator[Metric]:
        turned_away = CounterMetricFamily(
            "mail6m_clients_turned_away", "What clients were refused", labels=["reason"]
        )
        for reason in REASONS:
            turned_away.add_metric([reason], self._turned_away[reason])
        yield turned_away
        yield CounterMetricFamily(
            "mail6m_clients_paused", "Banners that were held back", self._paused
        )
        silent = CounterMetricFamily(
            "mail6m_dnsbl_failures", "Questions that a DNS list did not answer", labels=["zone"]
        )
        for zone, count in self._silent_lists.items():
            silent.add_metric([zone], count)
        yield silent

    def _recipients(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "mail6m_unknown_recipients", "Recipients refused as unknown", self._unknown
        )
        yield CounterMetricFamily(
            "mail6m_slowed_recipients",
            "Recipients put off, of clients that name too many unknown ones",
            self._slowed,
        )
        probes = CounterMetricFamily(
            "mail6m_recipient_probes",
            "Questions to receiving machines about recipients, by what came of them",
            labels=["result"],
        )
        for result, count in self._probes.items():
            probes.add_metric([result], count)
        yield probes

    def _delay_histogram(self) -> HistogramMetricFamily:
        total, buckets = 0, []
        for bound, count in zip((*map(str, _DELAYS), "+Inf"), self._delays, strict=True):
            total += count
            buckets.append((bound, total))
        return HistogramMetricFamily(
            "mail6m_delivery_delay_seconds", "From acceptance to delivery", buckets, self._delay_sum
        )
