"""The life of a disc: offered, ordered, written, shipped, received, destroyed (brochure, IV)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mail6m.billing.months import paris_day
from mail6m.directory import Directory
from mail6m.seal import Key
from mail6m.shelves.cellar import image_size
from mail6m.shelves.contents import Unsealed
from mail6m.shelves.disc.burn import burn
from mail6m.shelves.disc.layout import SECTOR, DiscError
from mail6m.shelves.disc.listing import Label
from mail6m.shelves.disc.master import Mastered, Mastering, Progress, Wanted
from mail6m.shelves.disc.names import new_serial
from mail6m.shelves.disc.readback import Checked, check
from mail6m.storage.audit import By
from mail6m.storage.customers import Customers
from mail6m.storage.discs import CellarReading, Disc, Discs, Written
from mail6m.storage.errors import Refused, Unavailable
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.shelves import Shelves
from mail6m.zones import zone_of

TOLD = 2.0
"""Seconds after which it is told how far the writing of a disc is."""
KEPT = 60
"""Days after which a disc that was sent is taken to have arrived."""
PORTION = 500
"""Messages that are erased at a time."""
SURELY_LESS = 0.5
"""Of a disc: what is estimated to be less than that is not counted to the sector."""
ACCOUNT = "mail6m"
"""Who does what time does."""
T = TypeVar("T")
InThread = Callable[[Callable[[], T]], Deferred[T]]


class DiscLife:
    """What is done with discs."""

    log = Logger()

    def __init__(
        self,
        discs: Discs,
        shelves: Shelves,
        customers: Customers,
        preferences: PreferencesTable,
        directory: Directory,
        folder: Path,
        dsn: str,
        capacity: int,
        in_thread: InThread[Any],
        clock: IReactorTime,
        now: Callable[[], datetime],
    ) -> None:
        self._discs = discs
        self._shelves = shelves
        self._customers = customers
        self._preferences = preferences
        self._directory = directory
        self._folder = folder
        self._place = f"{socket.gethostname()}:{folder.resolve()}"
        self._dsn = dsn
        self._capacity = capacity
        self._in_thread = in_thread
        self._clock = clock
        self._now = now

    def image(self, serial: str) -> Path:
        """Where a disc's image is, if there is one."""
        return self._folder / f"{serial}.iso"

    # Offers

    async def offer(self) -> int:
        """Offer discs to those whose cellar fills one, and order them for subscribers; how many."""
        for customer in await self._discs.subscribed():
            await self._discs.answer(By(customer, ACCOUNT, ""), True)
        count = 0
        for customer in await self._nearly_full():
            if await self._shelves.sectors_in_cellar(customer) * SECTOR >= self._capacity:
                count += await self._discs.offer(By(customer, ACCOUNT, ""), new_serial())
        return count

    async def answer(self, by: By, accepted: bool) -> str:
        """Order or refuse what is offered; its serial number. Raises `Refused`.

        Whoever has refused the last one may order after all.
        """
        serial = await self._discs.answer(by, accepted)
        if serial is None and accepted:
            another = new_serial()
            serial = another if await self._discs.order_anyway(by, another) else None
        if serial is None:
            raise Refused(f"no disc is offered to customer {by.customer}")
        return serial

    async def thin(self) -> int:
        """Destroy the oldest mail of cellars whose disc was refused, as far as it is too much."""
        total = 0
        for customer in await self._nearly_full():
            while thinned := await self._discs.thin(customer, self._capacity, PORTION):
                total += thinned
        return total

    async def _nearly_full(self) -> list[int]:
        """Customers whose cellar may fill a disc."""
        return [
            customer
            for customer, messages, raw_bytes in await self._shelves.cellars()
            if image_size(messages, raw_bytes) >= SURELY_LESS * self._capacity
        ]

    # Writing

    async def write(self, account: str, client: str, serial: str, progress: Progress) -> Disc:
        """Write an ordered disc's image, check it, and take its messages out of the cellar.

        Nothing has changed if that cannot be done, or the process dies: it can be begun anew.
        Raises `Refused`, `Unavailable`, `DiscError`, `SealError`, and `OSError` on a full disk.
        """
        disc = await self._discs.get(serial)
        cellar: CellarReading = await self._in_thread(
            lambda: CellarReading(self._dsn, disc.customer, serial)
        )
        try:
            await self._write(
                By(disc.customer, account, client, house=True), serial, cellar, progress
            )
        finally:
            await self._in_thread(cellar.close)
        await self.erase(disc.customer)
        return await self._discs.get(serial)

    async def _write(self, by: By, serial: str, cellar: CellarReading, progress: Progress) -> None:
        """While nobody else can, until the messages have left the cellar."""
        disc = await self._discs.get(serial)
        if disc.state != "ordered":
            raise Refused(f"disc {serial} is {disc.state}: only what is ordered is written")
        company = (await self._customers.get(by.customer)).company
        preferences = await self._preferences.get(by.customer)
        zone = zone_of(preferences.time_zone)
        key = await self._directory.key(by.customer)
        label = Label(serial, company, self._now().astimezone(zone))
        self._folder.mkdir(mode=0o700, exist_ok=True)
        mastering = Mastering(self._folder, label, self._capacity, zone)
        said = [0.0]

        def told(part: float) -> None:
            said[0] = part
            progress(part)

        def make() -> Mastered:
            return mastering.make(
                cellar.messages(),
                lambda wanted: opened(key, wanted, cellar.bodies(wanted[0].id, wanted[-1].id)),
                told,
                cellar.still_alone,
                archive_spam=preferences.archive_spam,
            )

        teller = LoopingCall(lambda: ensureDeferred(self._tell(serial, said)))
        teller.clock = self._clock
        teller.start(TOLD)
        try:
            made: Mastered = await self._in_thread(make)
        finally:
            teller.stop()
        written = _written(made, self._place)
        if not await self._in_thread(lambda: cellar.leave(by, serial, written)):
            if not await self._has_been_written(serial):
                made.image.unlink()
            raise Refused(f"the cellar has changed while disc {serial} was written: write it again")

    async def _has_been_written(self, serial: str) -> bool:
        try:
            return (await self._discs.get(serial)).state != "ordered"
        except Refused:  # its customer is no more
            return False

    async def _tell(self, serial: str, said: list[float]) -> None:
        """Let the customer see how far the writing is."""
        try:
            await self._discs.progress(serial, said[0])
        except Unavailable:
            self.log.debug("how far disc {serial} is cannot be told now", serial=serial)

    async def erase(self, customer: int) -> int:
        """Erase what is on discs; how many messages there were. Can be begun anew."""
        total = 0
        while erased := await self._discs.erase(customer, PORTION):
            total += erased
        return total

    async def erase_all(self) -> int:
        """Finish what a process that died has left to be erased; how many messages."""
        return sum([await self.erase(customer) for customer in await self._discs.to_erase()])

    async def verify(self, serial: str) -> Checked:
        """Read an image back, and compare it with its manifest. Raises `Refused` or `DiscError`."""
        disc = await self._discs.get(serial)
        image = self._image_of(disc)
        checked: Checked = await self._in_thread(lambda: check(image, lambda _: None))
        if bytes.fromhex(checked.manifest) != disc.manifest_sha256:
            raise DiscError(f"the manifest of disc {serial} is not the one that was written")
        return checked

    # Afterwards

    async def burn(self, serial: str, device: str) -> None:
        """Burn an image on a disc. Raises `Refused` or `DiscError`."""
        image = self._image_of(await self._discs.get(serial))
        await self._in_thread(lambda: burn(image, device))

    async def ship(self, account: str, client: str, serial: str) -> None:
        """It is on its way, for the first time or again. Raises `Refused`."""
        disc = await self._discs.get(serial)
        self._image_of(disc)
        by, today = By(disc.customer, account, client, house=True), paris_day(self._now())
        if not await self._discs.ship(by, serial, today):
            raise Refused(f"disc {serial} is {disc.state}")

    async def receive(self, by: By, serial: str) -> None:
        """It has arrived: its image is destroyed. Raises `Refused`."""
        disc = await self._discs.get(serial)
        if disc.customer != by.customer or not await self._discs.receive(by, serial):
            raise Refused(f"disc {serial} is not on its way")
        await self.destroy()

    async def destroy(self) -> int:
        """Destroy the images of those that have arrived, or were sent long ago; how many.

        Those that are here: another process, on another machine, sees to the others. What cannot be
        destroyed now is tried again each time.
        """
        count = 0
        for disc in await self._discs.due(KEPT):
            if disc.place == self._place or self.image(disc.serial).exists():
                by = By(disc.customer, ACCOUNT, "")
                count += await self._discs.destroy(by, disc.serial, KEPT)
        gone = await self._discs.gone()
        for image in self._folder.glob("*.*"):
            if image.stem in gone:
                try:
                    image.unlink()
                except OSError as error:
                    self.log.error("an image cannot be destroyed: {error}", error=error)
        return count

    def _image_of(self, disc: Disc) -> Path:
        image = self.image(disc.serial)
        if disc.state not in ("written", "shipped") or not image.exists():
            where = f", and its image was written to {disc.place}" if disc.place else ""
            raise Refused(
                f"there is no image of disc {disc.serial} here: it is {disc.state}{where}"
            )
        return image


def opened(
    key: Key, wanted: Sequence[Wanted], rows: Iterator[tuple[str, bytes]]
) -> Iterator[bytes]:
    """The contents of some messages, one behind the other. Raises `SealError`."""
    unsealed = Unsealed(key, rows)
    for message in wanted:
        yield from unsealed.content(message.id, message.size)


def _written(made: Mastered, place: str) -> Written:
    load = made.load
    assert load.first is not None
    assert load.last is not None
    messages: list[UUID] = [message.id for message in load.messages]
    return Written(
        messages, load.left_out, load.raw_bytes, load.first, load.last, made.size,
        bytes.fromhex(made.manifest), place,
    )  # fmt: skip
