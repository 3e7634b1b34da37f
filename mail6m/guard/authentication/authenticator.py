"""Messages are authenticated as they arrive, and the reactor never waits for the DNS.

What is known is evaluated at once. What is not is looked up, all of it together, and then the
evaluation goes on where it stopped, until it needs nothing more or the time is over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mail6m.canonical import Signable, body_start
from mail6m.content import Content
from mail6m.guard.authentication import arc, dkim, dmarc, results, spf
from mail6m.guard.authentication.answers import Answers, Missing
from mail6m.model import Authentication, Client, Envelope
from mail6m.networks import Networks
from mail6m.resolver import Answer, DnsFailure
from mail6m.settings import Settings

SMALL = 65_536
"""Octets of a message up to which hashing is quicker than handing it to a thread."""
AT_ONCE = 500
"""Messages that wait for the DNS; those beyond are judged by what is known already."""
SPF_KEPT, MOST_SPF_KEPT = 60, 10_000
"""Seconds that SPF's answer for a client, sender and hello is kept at most, and how many."""
_LINE = 1_000
"""Octets read beyond the longest header: a field's name that is cut off is not seen as one."""

NOTHING = Authentication()
"""Nothing was looked into: the client is ours, or authentication is off."""

T = TypeVar("T")


class Resolver(Protocol):
    """What is asked of `mail6m.resolver.Resolver`."""

    async def look_up(self, name: str, kind: str) -> Answer:
        """The answer. Raises `DnsFailure`."""

    def known(self, name: str, kind: str) -> Answer | None:
        """The answer, if it is remembered."""


class Authenticator:
    """Says who sent a message, as far as that can be proved: SPF, DKIM, ARC, DMARC."""

    log = Logger()

    def __init__(
        self, settings: Settings, resolver: Resolver, reactor: Any, threads: ThreadPool
    ) -> None:
        """``reactor.seconds()`` is the time in UTC, by which signatures expire."""
        self._settings = settings
        self._resolver = resolver
        self._reactor = reactor
        self._threads = threads
        self._on = settings.authentication == "on"
        self._internal = Networks(settings.internal)
        self._spf: OrderedDict[_SpfKey, tuple[spf.Spf, float]] = OrderedDict()
        self._waiting = 0

    def applies(self, client: Client) -> bool:
        """Whether what this client brings is looked into: not if it is one of our own machines."""
        return self._on and client.address not in self._internal

    async def authenticate(self, envelope: Envelope, content: Content) -> Authentication:
        """Find out who has sent it. Raises nothing, and closes nothing.

        It takes ``authentication_timeout`` seconds at most beside the hashing: what the DNS has not
        answered by then is ``temperror``. Where all answers are known, it does not wait at all.
        """
        if not self.applies(envelope.client):
            return NOTHING
        deadline = self._reactor.seconds() + self._settings.authentication_timeout
        try:
            message = await self._open(content)
            return await self._conclude(self._examination(envelope, message), deadline)
        except Exception:  # noqa: BLE001 - no message is lost for what it is judged by
            self.log.failure("a message could not be authenticated")
            return NOTHING

    async def _open(self, content: Content) -> Signable:
        """The message, and if it is large, its hashes, which a thread takes."""
        longest = self._settings.max_header_size + _LINE
        if content.in_memory and content.size <= SMALL:
            return _opened(content, longest)
        reading = deferToThreadPool(self._reactor, self._threads, _hashed, content, longest)
        return await reading

    async def _conclude(self, examination: _Examination, deadline: float) -> Authentication:
        while True:
            try:
                return examination.conclude()
            except Missing as missing:
                await self._look_up(missing.questions, examination.answers, deadline)

    async def _look_up(
        self, questions: Iterable[tuple[str, str]], answers: Answers, deadline: float
    ) -> None:
        """Add an answer to each question, if only that there was none."""
        seconds = deadline - self._reactor.seconds()
        if self._waiting >= AT_ONCE or seconds <= 0:
            for question in questions:
                answers.add(question, DnsFailure("not asked any more"))
            return
        self._waiting += 1
        try:
            await DeferredList([self._ask(question, answers, seconds) for question in questions])
        finally:
            self._waiting -= 1

    def _ask(self, question: tuple[str, str], answers: Answers, seconds: float) -> Deferred[None]:
        asked = ensureDeferred(self._resolver.look_up(*question))
        asked.addTimeout(seconds, self._reactor)

        def failed(failure: Failure) -> DnsFailure:
            return DnsFailure(failure.getErrorMessage())

        return asked.addErrback(failed).addCallback(partial(answers.add, question))

    def _examination(self, envelope: Envelope, message: Signable) -> _Examination:
        answers = Answers(self._resolver.known)
        return _Examination(envelope, message, answers, self._reactor.seconds(), self._judge_spf)

    def _judge_spf(self, envelope: Envelope, answers: Answers) -> spf.Spf:
        """SPF of an envelope, perhaps the same as a moment ago. Raises `Missing`."""
        client = envelope.client
        key = client.address, envelope.sender, client.hello
        now = self._reactor.seconds()
        judged, until = self._spf.get(key, (None, 0.0))
        if judged is not None and until > now:
            return judged
        answers.ttl = SPF_KEPT
        judged = spf.evaluate(envelope, answers)
        if answers.ttl > 0:
            self._spf[key] = judged, now + answers.ttl
            self._spf.move_to_end(key)
            while len(self._spf) > MOST_SPF_KEPT:
                self._spf.popitem(last=False)
        return judged


_SpfKey = tuple[str, str, str]


_UNKNOWN: dict[str, Any] = {
    "spf": spf.Spf("temperror", ""),
    "dkim": [],
    "arc": arc.Chain(""),
    "policy": dmarc.Found("", result="temperror"),
}
"""What is said of a method that has failed."""


class _Examination:
    """One message's evaluation, which can be interrupted: what has been found out stays."""

    log = Logger()

    def __init__(
        self,
        envelope: Envelope,
        message: Signable,
        answers: Answers,
        now: float,
        judge_spf: Callable[[Envelope, Answers], spf.Spf],
    ) -> None:
        self.answers = answers
        self._message = message
        self._steps: dict[str, Callable[[], Any]] = {
            "spf": partial(judge_spf, envelope, answers),
            "dkim": partial(dkim.verify_all, message, answers, now),
            "arc": partial(arc.validate, message, answers, now),
            "policy": partial(dmarc.find_policy, message, answers),
        }
        self._found: dict[str, Any] = {}

    def conclude(self) -> Authentication:
        """What has been found out about the message. Raises `Missing`, with all that is missing."""
        questions: set[tuple[str, str]] = set()
        for name, step in self._steps.items():
            if name not in self._found:
                try:
                    self._found[name] = step()
                except Missing as missing:
                    questions |= missing.questions
                except Exception:  # noqa: BLE001 - the other methods have something to say
                    self.log.failure("{method} could not be evaluated", method=name)
                    self._found[name] = _UNKNOWN[name]
        if questions:
            raise Missing(*questions)
        return self._sum_up(**self._found)

    def _sum_up(
        self,
        spf: spf.Spf,
        dkim: list[dkim.Verified],
        arc: arc.Chain,
        policy: dmarc.Found,
    ) -> Authentication:
        signatures = tuple(one.signature for one in dkim)
        judged = dmarc.evaluate(policy, spf, signatures)
        return Authentication(
            spf.result,
            spf.domain,
            signatures,
            arc.result,
            judged.result,
            judged.policy,
            judged.author,
            results.text(spf, dkim, judged, arc),
        )


def _opened(content: Content, longest: int) -> Signable:
    """The message as signatures see it; ``longest`` is as much as a header may have."""
    head = content.whole() if content.in_memory else content.head(longest)
    end = body_start(head)
    return Signable(head[:end], partial(_without, content, end))


def _without(content: Content, octets: int) -> Iterator[bytes]:
    """The content, but for its first octets."""
    for piece in content.pieces():
        if octets < len(piece):
            yield piece[octets:] if octets else piece
        octets = max(0, octets - len(piece))


def _hashed(content: Content, longest: int) -> Signable:
    """In a thread: the message, with its body hashed in every way that signatures ask for."""
    message = _opened(content, longest)
    dkim.hash_bodies(message)
    arc.hash_body(message)
    return message
