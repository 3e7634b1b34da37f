"""The writing of discs beside the mail, in the server's own process, one after the other."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger

from mail6m.shelves.discs import DiscLife
from mail6m.storage.errors import Refused


class Stopped(Exception):
    """The server stops: the disc can be written anew."""


class DiscWriting:
    """Writes discs that somebody has asked for by a button."""

    log = Logger()

    def __init__(self, life: DiscLife) -> None:
        self._life = life
        self._wanted: dict[str, tuple[str, str]] = {}
        self._failures: dict[str, str] = {}
        self._stopping = False
        self._at_work: Deferred[None] | None = None

    @property
    def wanted(self) -> list[str]:
        """The serial numbers of those that are being written here, or will be next."""
        return list(self._wanted)

    @property
    def failures(self) -> Mapping[str, str]:
        """Why the last attempt at some discs has come to nothing."""
        return self._failures

    def begin(self, account: str, client: str, serial: str) -> None:
        """Write a disc as soon as those before it are done. Raises `Refused` if it is wanted."""
        if serial in self._wanted:
            raise Refused(f"disc {serial} is being written already")
        self._failures.pop(serial, None)
        self._wanted[serial] = account, client
        if self._at_work is None:
            self._at_work = ensureDeferred(self._work())

    async def _work(self) -> None:
        try:
            while self._wanted and not self._stopping:
                serial, (account, client) = next(iter(self._wanted.items()))
                await self._write(account, client, serial)
                del self._wanted[serial]
        finally:
            self._at_work = None

    async def _write(self, account: str, client: str, serial: str) -> None:
        try:
            await self._life.write(account, client, serial, self._go_on)
        except Stopped:
            self.log.info("disc {serial} is not finished, since the server stops", serial=serial)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one may be written
            self._failures[serial] = str(error) or type(error).__name__
            self.log.warn("disc {serial} was not written: {error}", serial=serial, error=error)

    def _go_on(self, part: float) -> None:
        """Called by the thread that writes, every now and then."""
        if self._stopping:
            raise Stopped

    def stop(self) -> None:
        """No more; what is half written is left, and can be written anew."""
        self._stopping = True
