"""Work that is done beside the mail: a look now and then, and rests while clients talk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from mail6m.storage.errors import Unavailable


class Background(ABC):
    """Looks for work, every so many seconds, from `start` to `stop`."""

    log = Logger()

    def __init__(self, clock: IReactorTime, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._busy: Callable[[], bool] = lambda: False
        self._loop = LoopingCall(lambda: ensureDeferred(self._look_safely()))
        self._loop.clock = clock

    def start(self, busy: Callable[[], bool], *, at_once: bool = False) -> None:
        """Work until `stop`, and little while ``busy`` says so; ``at_once``: have a first look."""
        self._busy = busy
        self._loop.start(self._interval, now=at_once)

    def stop(self) -> None:
        """No more looks; a portion in hand is finished."""
        if self._loop.running:
            self._loop.stop()

    def going_on(self) -> bool:
        """Whether it has been started, and not stopped."""
        return self._loop.running

    async def rest(self, begun: float, share: float) -> None:
        """While clients talk, rest ``share`` times as long as the work since ``begun`` took."""
        if self._busy():
            time = share * (self._clock.seconds() - begun)
            await deferLater(self._clock, time, lambda: None)

    @abstractmethod
    async def look(self) -> None:
        """Do what there is to be done."""

    async def _look_safely(self) -> None:
        """An exception would end the loop for good."""
        work = type(self).__name__
        try:
            await self.look()
        except Unavailable as error:
            self.log.debug("{work} waits: {error}", work=work, error=error)
        except Exception:  # noqa: BLE001 - the next look may fare better
            self.log.failure("{work} failed", work=work)
