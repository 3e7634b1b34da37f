"""The antispam: one scanner, asked in time or not at all.

Whatever becomes of the scanner, no message waits longer than the limit, and none is lost: what it
has not judged is marked "not scanned". One that fails again and again, and does not say either that
it is there, is left alone, and asked every few seconds whether it is back; meanwhile nothing waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from math import inf
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mail6m.content import Content
from mail6m.guard.scanner import Report, ScanFailure, Scanner
from mail6m.model import Envelope, Scan
from mail6m.settings import Settings

FAILURES = 3
"""In a row, after which a scanner is asked whether it is still there."""
INTERVAL = 5.0
"""Seconds between two looks for a scanner that is not there."""
PATIENCE = 5.0
"""Seconds that it may take to say that it is there."""
LESSON_PATIENCE = 60.0


class _TookTooLong(ScanFailure):
    """It may answer yet."""


class Scanned(NamedTuple):
    """What came of asking; a report where there is one."""

    scan: Scan
    report: Report | None = None


class Antispam:
    """Asks whichever of some scanners answers."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        scanners: Sequence[Scanner],
        scanned: Callable[[Scan], None],
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._scanners = scanners
        self._scanned = scanned
        self._scanner: Scanner | None = None
        self._failures = 0
        self._slots = DeferredSemaphore(settings.scans)
        self._asking: set[Deferred[Report]] = set()
        self._was_up = False
        self._in_doubt = False
        self._look = LoopingCall(self._look_for_one)
        self._look.clock = clock
        self._changed: Callable[[str], Any] = lambda state: None
        self.state = "none"
        """For operators."""

    @property
    def wanted(self) -> bool:
        """Messages are to be scanned: one that is not, is a message that has been missed."""
        return self._was_up or (bool(self._scanners) and self._settings.scanner != "auto")

    @property
    def up(self) -> bool:
        """A scanner answers."""
        return self._scanner is not None

    async def start(self, changed: Callable[[str], Any]) -> None:
        """Look for the scanner, now and from now on; ``changed`` is told of every new state."""
        self._changed = changed
        if not self._scanners:
            self._tell("none")
            return
        await self._look_for_one()
        if not self.up:
            self._tell(self._missing())
        self._look.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._look.running:
            self._look.stop()

    def missed(self) -> None:
        """A message goes without, since no scanner answers."""
        self._scanned(Scan.MISSED)

    async def scan(self, envelope: Envelope, content: Content) -> Scanned:
        """Have a message judged, within the limit."""
        scanned = await self._scan(envelope, content)
        self._scanned(scanned.scan)
        return scanned

    async def _scan(self, envelope: Envelope, content: Content) -> Scanned:
        scanner = self._scanner
        if scanner is None:
            return Scanned(Scan.MISSED if self.wanted else Scan.NONE)
        if content.size > self._settings.scan_largest:
            return Scanned(Scan.TOO_LARGE)
        begun = inf

        def ask() -> Deferred[Report]:
            nonlocal begun
            begun = self._clock.seconds()
            return ensureDeferred(scanner.scan(envelope, content))

        limit = self._settings.scan_timeout
        asking = self._slots.run(ask)
        self._asking.add(asking)
        try:
            report = await asking.addTimeout(limit, self._clock, _timed_out)
        except _TookTooLong as error:
            if self._clock.seconds() - begun > limit / 2:  # else it has only waited for its turn
                self._failed(scanner, str(error))
            return Scanned(Scan.MISSED)
        except ScanFailure as error:
            self._failed(scanner, str(error))
            return Scanned(Scan.MISSED)
        except CancelledError:
            return Scanned(Scan.MISSED)
        finally:
            self._asking.discard(asking)
        self._failures = 0
        return Scanned(Scan.DONE, report)

    async def learn(self, content: AsyncIterator[bytes], spam: bool) -> None:
        """Teach the scanner. Raises `ScanFailure`."""
        if self._scanner is None:
            raise ScanFailure("no scanner answers")
        lesson = ensureDeferred(self._scanner.learn(content, spam))
        await lesson.addTimeout(LESSON_PATIENCE, self._clock, _timed_out)

    def _failed(self, scanner: Scanner, why: str) -> None:
        self._failures += 1
        if self._failures >= FAILURES and self._scanner is scanner and not self._in_doubt:
            self._in_doubt = True
            ensureDeferred(self._look_after(scanner, why))

    async def _look_after(self, scanner: Scanner, why: str) -> None:
        """Is it gone? It may be these messages that it fails at: others need not suffer then."""
        gone = not await self._answers(scanner)
        self._in_doubt, self._failures = False, 0
        if gone and self._scanner is scanner:
            self._scanner = None
            self._tell(f"{scanner.name} does not answer, mail is not scanned: {why}")
            for asking in list(self._asking):  # nobody waits for it any longer
                asking.cancel()

    async def _answers(self, scanner: Scanner) -> bool:
        try:
            await ensureDeferred(scanner.answers()).addTimeout(PATIENCE, self._clock, _timed_out)
        except ScanFailure as error:
            self.log.debug("{name}: {why}", name=scanner.name, why=str(error))
            return False
        return True

    async def _look_for_one(self) -> None:
        if self.up:
            return
        for scanner in self._scanners:
            if await self._answers(scanner):
                self._scanner, self._failures, self._was_up = scanner, 0, True
                self._tell(scanner.name)
                return

    def _missing(self) -> str:
        names = ", ".join(scanner.name for scanner in self._scanners)
        if self._settings.scanner == "auto":
            return f"none: neither of {names} answers, mail is not scanned"
        return f"{names} does not answer, mail is not scanned until it does"

    def _tell(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.log.warn("antispam: {state}", state=state)
            self._changed(state)


def _timed_out(result: Any, seconds: float) -> Any:
    raise _TookTooLong(f"no answer within {seconds:g} s")
