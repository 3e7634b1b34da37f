"""Questions to receiving machines: do they take mail for an address?

A probe goes as far as RCPT, from the null sender (RFC 5321, 4.5.5), and takes it back with RSET.
Each destination has a few sessions, which are kept for a while, and a line of questions for each
client network that waits: they are taken in turn, so that who asks much makes others not wait.
"""

from __future__ import annotations

import enum
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mail6m.delivery.conversation import Answer, Caller, Conversation, Finding, Over
from mail6m.model import Domain, Host, TlsPolicy

SESSIONS = 4
"""Sessions at once with one destination, those that are kept among them."""
SESSIONS_OF_A_NETWORK = 2
"""Probes under way at a destination for one client network."""
MOST_WAITING = 1_000
"""Questions that wait for one destination."""
MOST_OF_A_NETWORK = 100
"""Those of one client network."""
KEPT = 10.0
"""Seconds for which a session is kept without a question."""
PATIENCE = 20.0
"""Seconds to reach a destination, and again for what it says of an address."""
REST = 60.0
"""Seconds for which a destination that could not be reached is left alone."""
MOST_REFUSALS = 8
"""In one session: Postfix slows a client down at ten errors, and hangs up at twenty."""
LONGEST_WORDS = 200

_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\S)")
_ABOUT_THE_SENDER = ("7", "8")
"""Of the class 5.1 (RFC 3463, 3.2)."""


class Result(enum.StrEnum):
    """What a probe came to."""

    TAKEN = "taken"
    REFUSED = "refused"
    """The address is refused for good."""
    UNKNOWN = "unknown"
    """What the machine says does not tell."""
    UNREACHABLE = "unreachable"
    NOT_ASKED = "not asked"
    """Its machine could not be reached a moment ago, or too many questions wait for it."""


class Found(NamedTuple):
    """What is known of an address now."""

    result: Result
    words: str = ""
    """The machine's, or why it could not be asked."""


class Meaning(enum.Enum):
    """What a reply to RCPT says of the address."""

    TAKEN = enum.auto()
    REFUSED = enum.auto()
    PERHAPS = enum.auto()
    """A refusal for good, of this address or of something else: postmaster's tells which."""
    NOTHING = enum.auto()


def meaning(answer: Answer) -> Meaning:
    """What a reply to RCPT says of the address (RFC 5321, 4.2; RFC 3463, 3.2 and 3.3)."""
    if answer.code // 100 == 2:
        return Meaning.TAKEN
    if answer.code // 100 != 5:
        return Meaning.NOTHING
    status = _STATUS.match(answer.lines[0])
    if status is None:
        return Meaning.PERHAPS  # "relaying denied", "no bounces here": many things are a bare 550
    match status.groups():
        case "5", "1", detail if detail not in _ABOUT_THE_SENDER:
            return Meaning.REFUSED
        case "5", "2", "1":
            return Meaning.REFUSED
    return Meaning.PERHAPS


def words_of(answer: Answer) -> str:
    """A machine's reply in one line of printable ASCII, and not too long."""
    said = " ".join([str(answer.code), *answer.lines]).encode("ascii", "replace").decode()
    plain = "".join(one if one.isprintable() else " " for one in said)
    return " ".join(plain.split())[:LONGEST_WORDS]


class Session(Protocol):
    """A session with a destination."""

    @property
    def spent(self) -> bool:
        """No more questions can be asked."""

    async def ask(self, domain: str, address: str) -> Found:
        """What it says of an address. Raises `Over`."""

    async def take_back(self) -> None:
        """End the transaction. Raises `Over`."""

    async def leave(self) -> None:
        """Say goodbye."""

    def cut_off(self) -> None:
        """Close the connection."""


Open = Callable[[Sequence[Host], TlsPolicy], Deferred[Session]]
"""Reaches the first of some hosts that can be reached; fails with `Over`."""


class SmtpSession:
    """One over SMTP (see `Session`)."""

    def __init__(self) -> None:
        self._conversation = Conversation()
        self._extensions: set[str] = set()
        self._refusals = 0
        self._dismissed = False

    @property
    def spent(self) -> bool:
        """See `Session`."""
        return self._dismissed or self._conversation.lost or self._refusals >= MOST_REFUSALS

    async def begin(self, caller: Caller, host: Host, tls: TlsPolicy) -> None:
        """Reach a host. Raises `Over`."""
        try:
            self._extensions = await caller.begin(self._conversation, host, tls)
        except Over as over:
            await self._conversation.leave()
            if over.finding is not Finding.TLS_FAILED or not self._conversation.may_go_on_in_clear:
                raise
            # As a courier does it: encryption where it can be, mail in any case (RFC 7435).
            self._conversation = Conversation()
            self._extensions = await caller.begin(self._conversation, host, TlsPolicy.NONE)

    async def ask(self, domain: str, address: str) -> Found:
        """See `Session`."""
        international = "" if address.isascii() else " SMTPUTF8"
        if international and "SMTPUTF8" not in self._extensions:
            return Found(Result.UNKNOWN, "the machine has no SMTPUTF8")
        answer = await self._say(f"MAIL FROM:<>{international}")
        if answer.code // 100 != 2:
            return Found(Result.UNKNOWN, words_of(answer))
        answer = await self._say(f"RCPT TO:<{address}>")
        what = meaning(answer)
        if what is Meaning.PERHAPS:
            postmaster = await self._say(f"RCPT TO:<postmaster@{domain}>")
            of_it_alone = postmaster.code // 100 == 2
            what = Meaning.REFUSED if of_it_alone else Meaning.NOTHING
        return Found(_RESULTS[what], words_of(answer))

    async def _say(self, command: str) -> Answer:
        answer = await self._conversation.say(command)
        self._refusals += answer.code >= 400
        self._dismissed = self._dismissed or answer.code == 421
        return answer

    async def take_back(self) -> None:
        """See `Session`."""
        await self._say("RSET")

    async def leave(self) -> None:
        """See `Session`."""
        await self._conversation.leave()
        self._conversation.cut_off()

    def cut_off(self) -> None:
        """See `Session`."""
        self._conversation.cut_off()


_RESULTS = {
    Meaning.TAKEN: Result.TAKEN,
    Meaning.REFUSED: Result.REFUSED,
    Meaning.NOTHING: Result.UNKNOWN,
}


def opening(caller: Caller) -> Open:
    """How sessions over SMTP begin."""

    async def begin(hosts: Sequence[Host], tls: TlsPolicy) -> Session:
        over = Over(Finding.UNREACHABLE)
        for host in hosts:
            session = SmtpSession()
            try:
                await session.begin(caller, host, tls)
            except Over as why:
                session.cut_off()
                over = why
            except CancelledError:
                session.cut_off()
                raise
            else:
                return session
        raise over

    return lambda hosts, tls: ensureDeferred(begin(hosts, tls))


class Question:
    """An address that somebody wants to know about, and all who do."""

    def __init__(self, domain: Domain, address: str) -> None:
        self.domain = domain
        self.address = address
        self.networks: set[str] = set()
        self.late: list[str] = []
        """The client networks of those who did not wait for the answer."""
        self.begun = False
        """Nobody needs to wait in line for it any more."""
        self._waiting: list[Deferred[Any]] = []

    def wait(self) -> Deferred[Any]:
        """The answer, when it is there."""
        answered: Deferred[Any] = Deferred()
        self._waiting.append(answered)
        return answered

    def answer(self, what: Any) -> None:
        """Tell all who wait."""
        waiting, self._waiting = self._waiting, []
        for answered in waiting:
            if not answered.called:
                answered.callback(what)


class Probes:
    """All destinations."""

    def __init__(self, clock: IReactorTime, open_: Open) -> None:
        self._clock = clock
        self._open = open_
        self._destinations: dict[tuple[tuple[Host, ...], TlsPolicy], _Destination] = {}

    def crowded(self, domain: Domain, network: str) -> bool:
        """Whether a client network has as many questions there as it may."""
        destination = self._destinations.get((domain.hosts, domain.tls))
        return destination is not None and destination.crowded(network)

    def ask(self, question: Question) -> Deferred[Found]:
        """Have a domain's machines asked, for the networks that the question has."""
        key = question.domain.hosts, question.domain.tls
        destination = self._destinations.get(key)
        if destination is None:
            destination = self._destinations[key] = _Destination(
                self._clock, self._open, *key, lambda: self._destinations.pop(key, None)
            )
        return destination.ask(question)

    def join(self, question: Question, network: str) -> None:
        """One more client network wants to know."""
        if network not in question.networks:
            question.networks.add(network)
            destination = self._destinations.get((question.domain.hosts, question.domain.tls))
            if destination is not None:
                destination.line_up(question, network)

    async def stop(self) -> None:
        """Leave all sessions."""
        for destination in list(self._destinations.values()):
            await destination.stop()


class _Destination:
    """Some hosts, the sessions with them, and who waits for one."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        open_: Open,
        hosts: tuple[Host, ...],
        tls: TlsPolicy,
        forget: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._open = open_
        self._hosts = hosts
        self._tls = tls
        self._forget = forget
        self._asked: dict[Question, Deferred[Found]] = {}
        self._lines: OrderedDict[str, deque[Question]] = OrderedDict()
        self._under_way: Counter[str] = Counter()
        self._idle: dict[Session, Any] = {}
        """The sessions that are kept, and the timers that end them."""
        self._sessions = 0
        self._closed_until = float("-inf")
        self._stopping = False

    def crowded(self, network: str) -> bool:
        """See `Probes.crowded`."""
        return len(self._lines.get(network, ())) >= MOST_OF_A_NETWORK

    def ask(self, question: Question) -> Deferred[Found]:
        """See `Probes.ask`."""
        answered: Deferred[Found] = Deferred()
        closed = self._clock.seconds() < self._closed_until
        if closed or len(self._asked) >= MOST_WAITING:
            question.begun = True
            answered.callback(Found(Result.NOT_ASKED))
            return answered
        self._asked[question] = answered
        for network in question.networks:
            self._lines.setdefault(network, deque()).append(question)
        self._go_on()
        return answered

    def line_up(self, question: Question, network: str) -> None:
        """A question that waits already is one of this network, too."""
        if question in self._asked and not question.begun:
            self._lines.setdefault(network, deque()).append(question)
            self._go_on()

    def _go_on(self) -> None:
        while self._idle or self._sessions < SESSIONS:
            if (next_ := self._next()) is None:
                return
            session = self._kept_session()
            if session is None:
                self._sessions += 1
            ensureDeferred(self._work(*next_, session))

    def _next(self) -> tuple[Question, str] | None:
        """The question whose turn it is: one of each network, then the next one of each."""
        for network in list(self._lines):
            if self._under_way[network] >= SESSIONS_OF_A_NETWORK:
                continue
            line = self._lines.pop(network)
            while line and line[0].begun:
                line.popleft()
            if line:
                question = line.popleft()
                if line:
                    self._lines[network] = line
                return question, network
        return None

    def _kept_session(self) -> Session | None:
        while self._idle:
            session, timer = self._idle.popitem()
            timer.cancel()
            if not session.spent:
                return session
            self._sessions -= 1
        return None

    async def _work(self, question: Question, network: str, session: Session | None) -> None:
        """Have a session ask one question; then it is kept, or left."""
        question.begun = True
        self._under_way[network] += 1
        session, found = await self._probe(question, session)
        self._under_way[network] -= 1
        if not self._under_way[network]:
            del self._under_way[network]
        if found.result is Result.UNREACHABLE:
            self._close()
        self._asked.pop(question).callback(found)
        if session is None or not await self._put_back(session):
            self._sessions -= 1
        self._go_on()
        self._forget_if_idle()

    async def _probe(
        self, question: Question, session: Session | None
    ) -> tuple[Session | None, Found]:
        """What comes of a question, and the session if it still stands."""
        if session is not None:
            with suppress(Over):  # it has been closed while it was kept, most likely
                return await self._say(question, session)
        try:
            session = await self._open(self._hosts, self._tls).addTimeout(PATIENCE, self._clock)
        except Over as over:
            return None, Found(Result.UNREACHABLE, over.finding.value)
        except (CancelledError, TookTooLong):
            return None, Found(Result.UNREACHABLE, Finding.SILENT.value)
        except Exception:  # noqa: BLE001 - nothing is known, whatever it is
            self.log.failure("a probe failed")
            return None, Found(Result.UNREACHABLE)
        try:
            return await self._say(question, session)
        except Over as over:
            return None, Found(Result.UNKNOWN, over.finding.value)

    async def _say(self, question: Question, session: Session) -> tuple[Session | None, Found]:
        asking = ensureDeferred(session.ask(question.domain.name, question.address))
        try:
            return session, await asking.addTimeout(PATIENCE, self._clock)
        except Over:
            session.cut_off()
            raise
        except (CancelledError, TookTooLong):
            session.cut_off()
            return None, Found(Result.UNREACHABLE, Finding.SILENT.value)
        except Exception:  # noqa: BLE001 - nothing is known, whatever it is
            self.log.failure("a probe failed")
            session.cut_off()
            return None, Found(Result.UNKNOWN)

    async def _put_back(self, session: Session) -> bool:
        """Keep a session for other questions; False if it has come to its end."""
        try:
            taking_back = ensureDeferred(session.take_back())
            await taking_back.addTimeout(PATIENCE, self._clock)
        except Exception:  # noqa: BLE001 - it has said what was asked; how it parts is all the same
            session.cut_off()
            return False
        if session.spent or self._stopping:
            self._leave(session)
            return False
        self._idle[session] = self._clock.callLater(KEPT, self._let_go, session)
        return True

    def _let_go(self, session: Session) -> None:
        del self._idle[session]
        self._sessions -= 1
        self._leave(session)
        self._forget_if_idle()

    def _leave(self, session: Session) -> Deferred[None]:
        left = ensureDeferred(session.leave()).addTimeout(PATIENCE, self._clock)
        return left.addErrback(lambda _: session.cut_off())

    def _close(self) -> None:
        """Nobody is there: those who wait go away without an answer, for a minute."""
        self._closed_until = self._clock.seconds() + REST
        self._clock.callLater(REST, self._forget_if_idle)
        self._lines.clear()
        for question in [one for one in self._asked if not one.begun]:
            question.begun = True
            self._asked.pop(question).callback(Found(Result.NOT_ASKED))

    def _forget_if_idle(self) -> None:
        open_again = self._clock.seconds() >= self._closed_until
        if open_again and not self._asked and not self._sessions:
            self._forget()

    async def stop(self) -> None:
        """See `Probes.stop`."""
        self._stopping = True
        self._lines.clear()
        for session, timer in list(self._idle.items()):
            timer.cancel()
            await self._leave(session)
        self._idle.clear()
