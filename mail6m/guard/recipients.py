"""Whom customers' domains take mail for: what is said at RCPT.

What is known is in memory, behind it in the database, which all processes share, and behind that
the receiving machines are asked (`mail6m.guard.probes`). What nobody knows within a few seconds is
taken in: verification spares others our bounces, and never costs a customer mail.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from mail6m.batch import Batches
from mail6m.dialogue.server import RECIPIENT_OK
from mail6m.guard.guessing import Guessing
from mail6m.guard.listed import on_list
from mail6m.guard.probes import Found, Probes, Question, Result
from mail6m.model import Domain, Reply
from mail6m.networks import Networks, client_of
from mail6m.storage.errors import StorageError
from mail6m.storage.recipients import Asked, Recipients, Stored, Told

MOST = 50_000
"""Addresses in memory."""
PATIENCE = 5.0
"""Seconds that a client waits at most."""
TAKEN_LASTS = 31 * 86_400
TAKEN_RENEWED = 7 * 86_400
"""An address that is used is asked about anew when it is so old."""
RENEWAL_REPEATED = 3_600
"""If nothing has come of that."""
REFUSED_LASTS = 3 * 3_600
UNKNOWN_LASTS = 60
"""What the machines could not say is not asked again for so long."""
WRITE_PAUSE = 0.2
"""Seconds that verdicts wait for others, to be written together."""
TIDY_PAUSE = 600.0
"""Seconds after which verdicts whose time is over are taken out of the database."""
MOST_AT_ONCE = 500
MOST_TIDIED = 10_000
_RENEWAL = ""
"""Stands in line for nobody but ourselves."""

_SLOWED = Reply(450, "4.7.1", "Too many unknown recipients, try again later")
_CROWDED = Reply(450, "4.7.1", "Too many recipients of yours are being verified, try again later")
_UNLISTED = Reply(550, "5.1.1", "No such recipient here")


class Journal(Protocol):
    """Where operators see it."""

    def probed(self, domain: str, result: str, words: str) -> None:
        """A receiving machine was asked."""

    def unknown(self, client: str, address: str, reply: Reply, told: bool) -> None:
        """A recipient was refused; ``told``: it is worth a line in the log."""

    def slowed(self, client: str, first: bool) -> None:
        """A client that names too many unknown recipients got no answer."""


class _Known(NamedTuple):
    """A verdict in memory."""

    domain: Domain
    """As it was then: if it has changed, the verdict is another's."""
    refusal: Reply | None
    until: float
    renewed_at: float


class _Read:
    """An address that is looked for in the database."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.stored: Stored | None = None


class Verification:
    """Answers for recipients at customers' domains."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        recipients: Recipients,
        probes: Probes,
        journal: Journal,
        most_unknown: int,
        internal: Sequence[str] = (),
    ) -> None:
        """``most_unknown``: recipients of a client in ten minutes; 0: no limit.

        ``internal``: addresses or networks of our own machines, which only pass on what others say.
        """
        self._clock = clock
        self._recipients = recipients
        self._probes = probes
        self._journal = journal
        self._guessing = Guessing(clock, most_unknown)
        self._internal = Networks(internal)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._questions: dict[str, Question] = {}
        self._reads: Batches[_Read] = Batches(
            lambda work: clock.callLater(0, work), self._read, most=MOST_AT_ONCE
        )
        self._writes: Batches[Told] = Batches(
            lambda work: clock.callLater(WRITE_PAUSE, work), recipients.keep, most=MOST_AT_ONCE
        )
        self._tidying = LoopingCall(lambda: ensureDeferred(self._tidy()))
        self._tidying.clock = clock

    def start(self) -> None:
        """Begin to tidy up."""
        self._tidying.start(TIDY_PAUSE, now=False)

    async def stop(self) -> None:
        """Write down what the machines have said, and leave them."""
        if self._tidying.running:
            self._tidying.stop()
        await self._writes.finished()
        await self._probes.stop()

    # What is asked at RCPT

    def knows(self, domain: Domain, address: str) -> bool:
        """This recipient is certainly to be taken: nothing needs to be asked."""
        known = self._known.get(address)
        if known is None or known.refusal is not None:
            return False
        now = self._clock.seconds()
        if known.until < now or (known.domain is not domain and known.domain != domain):
            return False
        self._known.move_to_end(address)
        if known.renewed_at < now:
            self._renew(domain, address, known, now)
        return True

    async def verdict(self, domain: Domain, address: str, client: str) -> Reply:
        """250, or why this recipient is not taken; within a few seconds."""
        known = self._in_memory(domain, address)
        if known is not None:
            return self._said(known, address, client, client_of(client))
        network = client_of(client)
        if client not in self._internal and (delay := self._guessing.delay(network)):
            self._journal.slowed(client, first=False)
            await deferLater(self._clock, delay)
            return _SLOWED
        if self._probes.crowded(domain, network):
            self._journal.slowed(client, first=False)
            return _CROWDED
        question = self._question(domain, address, network)
        try:
            known = await question.wait().addTimeout(PATIENCE, self._clock)
        except (CancelledError, TookTooLong):
            question.late.append(client)
            return RECIPIENT_OK
        return RECIPIENT_OK if known is None else self._said(known, address, client, network)

    def _said(self, known: _Known, address: str, client: str, network: str) -> Reply:
        if known.refusal is None:
            return RECIPIENT_OK
        # No more lines in the log than guesses that are allowed.
        told = not self._guessing.too_many(network)
        self._journal.unknown(client, address, known.refusal, told=told)
        if self._guessing.note(network) and client not in self._internal:
            self._journal.slowed(client, first=True)
        return known.refusal

    def _in_memory(self, domain: Domain, address: str) -> _Known | None:
        known = self._known.get(address)
        if known is None or known.until < self._clock.seconds() or known.domain != domain:
            return None
        self._known.move_to_end(address)
        return known

    def _remember(self, address: str, known: _Known) -> _Known:
        self._known[address] = known
        self._known.move_to_end(address)
        while len(self._known) > MOST:
            self._known.popitem(last=False)
        return known

    # What is not in memory

    def _question(self, domain: Domain, address: str, network: str) -> Question:
        """The question about an address, which all who want to know share."""
        question = self._questions.get(address)
        if question is not None and question.domain == domain:
            self._probes.join(question, network)
            return question
        question = self._questions[address] = Question(domain, address)
        question.networks.add(network)
        ensureDeferred(self._inquire(question))
        return question

    async def _inquire(self, question: Question, *, anew: bool = False) -> None:
        """Find the answer to a question; ``anew``, though one is in the database."""
        known = None
        try:
            known = None if anew else await self._looked_up(question)
            if known is None:
                known = self._settle(question, await self._probes.ask(question))
        except Exception:  # noqa: BLE001 - nothing is known, whatever it is
            self.log.failure("a recipient could not be verified")
        if self._questions.get(question.address) is question:
            del self._questions[question.address]
        if known is not None and known.refusal is not None:
            for client in question.late:
                self._guessing.note(client_of(client))
        question.answer(known)

    async def _looked_up(self, question: Question) -> _Known | None:
        """What the database knows. When it is away, nothing is known for a minute."""
        domain, now = question.domain, self._clock.seconds()
        read = _Read(_asked(domain, question.address))
        try:
            await self._reads.add(read)
        except StorageError:
            return self._remember(question.address, _unknown(domain, now))
        stored = read.stored
        assert stored is not None
        if domain.listed is not None:
            refusal = None if stored.listed else _UNLISTED
            until = now + (TAKEN_LASTS if stored.listed else REFUSED_LASTS)
            return self._remember(question.address, _Known(domain, refusal, until, until))
        if stored.taken is None:
            return None
        known = _verdict(domain, stored.taken, stored.words, now - stored.age)
        return self._remember(question.address, known)

    async def _read(self, reads: Sequence[_Read]) -> None:
        found = await self._recipients.find([read.asked for read in reads])
        for read, stored in zip(reads, found, strict=True):
            read.stored = stored

    def _settle(self, question: Question, found: Found) -> _Known:
        """Remember what a machine has said."""
        domain, address, now = question.domain, question.address, self._clock.seconds()
        result, words = found
        if result is not Result.NOT_ASKED:
            self._journal.probed(domain.name, result.value, words)
            lasting = _LASTING.get(result, 0)
            local_part = address.rpartition("@")[0]
            taken = result is Result.TAKEN
            self._writes.put(Told(domain, local_part, result.value, words, lasting, taken))
        if result in _LASTING:
            return self._remember(address, _verdict(domain, result is Result.TAKEN, words, now))
        before = self._in_memory(domain, address)  # of one that was to be renewed
        return before or self._remember(address, _unknown(domain, now))

    def _renew(self, domain: Domain, address: str, known: _Known, now: float) -> None:
        """Ask again about an address that was taken a while ago; nobody waits for it."""
        self._known[address] = known._replace(renewed_at=now + RENEWAL_REPEATED)
        if address in self._questions or self._probes.crowded(domain, _RENEWAL):
            return
        question = self._questions[address] = Question(domain, address)
        question.networks.add(_RENEWAL)
        ensureDeferred(self._inquire(question, anew=True))

    async def _tidy(self) -> None:
        try:
            await self._recipients.forget(MOST_TIDIED)
        except StorageError as error:
            self.log.info("verdicts wait to be forgotten: {error}", error=error)


_LASTING = {Result.TAKEN: TAKEN_LASTS, Result.REFUSED: REFUSED_LASTS}


def _verdict(domain: Domain, taken: bool, words: str, at: float) -> _Known:
    if taken:
        return _Known(domain, None, at + TAKEN_LASTS, at + TAKEN_RENEWED)
    refusal = Reply(550, "5.1.1", f"Its own machine refuses this recipient: {words}")
    return _Known(domain, refusal, at + REFUSED_LASTS, at + REFUSED_LASTS)


def _unknown(domain: Domain, now: float) -> _Known:
    """Taken in, because nobody knows better."""
    return _Known(domain, None, now + UNKNOWN_LASTS, now + UNKNOWN_LASTS)


def _asked(domain: Domain, address: str) -> Asked:
    local_part = address.rpartition("@")[0]
    return Asked(domain, local_part, *on_list(local_part))
