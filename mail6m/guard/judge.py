"""Judges messages before they are archived: who has sent them, and whether they are spam.

A message is looked at once, however many customers it is for, and judged for each by its own white
list. It is scanned unless the lists of all of them spare it. Whatever fails here, the message is
taken in: a judgement that could not be had is a mark, not a reason to refuse.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine
from typing import Any, Protocol

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.logger import Logger

from mail6m.content import Content
from mail6m.dialogue.address import domain_of
from mail6m.guard.antispam import Antispam, Scanned
from mail6m.guard.rules import RuleBook
from mail6m.model import UNJUDGED, Authentication, Client, Envelope, Judged, Judgement, Reply, Scan
from mail6m.storage.errors import Unavailable
from mail6m.storage.whitelist import Rules

_NOBODY = Authentication()
_UNASKED = Scanned(Scan.NONE)
_SPARED = Judgement(Scan.SPARED, spam=False)
_MISSED = Judgement(Scan.MISSED)


class Authenticator(Protocol):
    """Who finds out who has sent a message."""

    def applies(self, client: Client) -> bool:
        """Whether what this client brings is looked into: it is not one of our own machines."""

    def authenticate(
        self, envelope: Envelope, content: Content
    ) -> Coroutine[Any, Any, Authentication]:
        """Find out; it takes no longer than its own limit, and does not fail."""


class Judge:
    """See `mail6m.intake.Judging`."""

    log = Logger()

    def __init__(
        self, antispam: Antispam, authenticator: Authenticator | None, rules: RuleBook
    ) -> None:
        self._antispam = antispam
        self._authenticator = authenticator
        self._rules = rules

    def judge(
        self, envelope: Envelope, content: Content, customers: Collection[int]
    ) -> Deferred[Judged] | None:
        """A message's judgements, by customer; None if there is nobody who would look at it.

        Does not fail.
        """
        if not self._authenticates(envelope.client):
            if not self._antispam.wanted:
                return None
            if not self._antispam.up and (judged := self._missed(envelope, customers)) is not None:
                return succeed(judged)
        judging = ensureDeferred(self._judge(envelope, content, customers))
        return judging.addErrback(self._failed, customers)

    def _authenticates(self, client: Client) -> bool:
        return self._authenticator is not None and self._authenticator.applies(client)

    def _missed(self, envelope: Envelope, customers: Collection[int]) -> Judged | None:
        """As `_judge` would have it of our own machines' mail while no scanner answers, at once.

        None if not all rules are in memory.
        """
        domain, judgements = domain_of(envelope.sender), {}
        for customer in customers:
            rules = self._rules.known(customer)
            if rules is None:
                return None
            judgements[customer] = _SPARED if rules.entry(domain) else _MISSED
        if _MISSED in judgements.values():
            self._antispam.missed()
        return Judged(judgements)

    def _failed(self, failure: Any, customers: Collection[int]) -> Judged:
        if not failure.check(Unavailable):  # then it is not taken in either, and that is told
            self.log.failure("a message could not be judged, and is taken in as it is", failure)
        missed = UNJUDGED._replace(scan=Scan.MISSED) if self._antispam.wanted else UNJUDGED
        return Judged(dict.fromkeys(customers, missed))

    async def _judge(
        self, envelope: Envelope, content: Content, customers: Collection[int]
    ) -> Judged:
        rules = {customer: await self._rules.of(customer) for customer in customers}
        domain = domain_of(envelope.sender)
        entries = {customer: rules[customer].entry(domain) for customer in customers}
        # It is scanned at once where somebody wants that, however the sender turns out.
        spared = all(entries.values()) or not self._antispam.wanted
        scanning = None if spared else self._scan(envelope, content)
        sender = await self._sender(envelope, content)
        if (refusal := _refusal(sender, rules.values())) is not None:
            if scanning is not None:
                scanning.cancel()
            return Judged({}, refusal)
        proved = {
            customer: not rules[customer].confirm or self._is_proved(envelope, sender, entry)
            for customer, entry in entries.items()
        }
        if scanning is None and self._antispam.wanted and not all(proved.values()):
            scanning = self._scan(envelope, content)
        scanned = await scanning if scanning is not None else _UNASKED
        return Judged(
            {
                customer: self._judgement(scanned, sender, entries[customer], proved[customer])
                for customer in customers
            }
        )

    def _scan(self, envelope: Envelope, content: Content) -> Deferred[Scanned]:
        return ensureDeferred(self._antispam.scan(envelope, content))

    async def _sender(self, envelope: Envelope, content: Content) -> Authentication:
        if self._authenticator is None or not self._authenticator.applies(envelope.client):
            return _NOBODY
        return await self._authenticator.authenticate(envelope, content)

    def _is_proved(self, envelope: Envelope, sender: Authentication, entry: str) -> bool:
        """Whether the message comes from a domain of the white list: our own machines say so."""
        own = self._authenticator is not None and not self._authenticator.applies(envelope.client)
        return own or sender.confirms(entry)

    def _judgement(
        self, scanned: Scanned, sender: Authentication, entry: str, proved: bool
    ) -> Judgement:
        if entry and proved:
            spared = self._antispam.wanted
            return Judgement(
                Scan.SPARED if spared else Scan.NONE,
                spam=False if spared else None,
                authentication=sender,
            )
        report = scanned.report
        if report is None:
            return Judgement(scanned.scan, unconfirmed=entry, authentication=sender)
        return Judgement(
            scanned.scan,
            round(report.score, 2),
            round(report.threshold, 2),
            report.symbols,
            report.spam,
            unconfirmed=entry,
            authentication=sender,
        )


def _refusal(sender: Authentication, rules: Collection[Rules]) -> Reply | None:
    """Why a message is refused: its author's domain asks for it, and so do all customers."""
    # Where several are named as authors, none of them is proved (RFC 7489, 6.6.1).
    forged = sender.dmarc in ("fail", "permerror") and sender.dmarc_policy == "reject"
    if forged and all(one.refuse_forged for one in rules):
        who = sender.author or "one of its authors' domains"
        return Reply(550, "5.7.1", f"Refused, as {who} asks for by DMARC: not its mail")
    return None
