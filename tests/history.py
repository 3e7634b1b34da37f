"""A history of a customer's mail: all that can happen to it, and what must come of that.

On a real PostgreSQL, with real images. A process may die at anything; another one goes on.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID

import psycopg2
import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThread

from mail6m.billing.documents import Documents
from mail6m.billing.quarters import Invoicing
from mail6m.letters import Letters, Notices
from mail6m.model import State, Summary
from mail6m.seal import SealError, compress, seal
from mail6m.shelves.closing import Ending
from mail6m.shelves.correspondence import OFFERS, Correspondence
from mail6m.shelves.disc.layout import DiscError
from mail6m.shelves.disc.readback import list_files
from mail6m.shelves.plans import PlanChanges
from mail6m.shelves.sweep import Sweep, Swept
from mail6m.storage.accounts import Accounts
from mail6m.storage.archive import MINUTE, NewMessage
from mail6m.storage.archivist import Wish
from mail6m.storage.closings import Closings
from mail6m.storage.contracts import Contracts
from mail6m.storage.deliveries import Deliveries
from mail6m.storage.discs import Discs
from mail6m.storage.documents import DocumentTable
from mail6m.storage.errors import Refused, Unavailable
from mail6m.storage.invoices import Invoices
from mail6m.storage.plans import Plans
from mail6m.storage.pool import Pool
from mail6m.storage.preferences import PreferencesTable
from mail6m.storage.shelves import Shed
from mail6m.storage.signups import Signups
from mail6m.storage.tariffs import SellerTable, TariffTable
from mail6m.web.render import Renderer
from tests.chronicle import (
    CABINET,
    CELLAR,
    DELETED,
    THINNED,
    Chronicle,
    Mail,
    Pressing,
    left_out_of,
)
from tests.reactor_thread import run, the_reactor
from tests.shelved import MASTER, assert_counts_fit, make_disc_life, make_house
from tests.stored import NOON, ask, by, new_message

T = TypeVar("T")

DISC = 400_000
"""Bytes of a disc; what it says of itself takes some 150,000 of them."""
OPERATOR = "operator", "command line"
MANY = 1_000_000
WRITER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = x'6d61696c'::integer::oid
  AND objsubid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""Who has the lock of a disc that is being written."""


class Died(Exception):
    """The process is no more."""


class Threads:
    """Where a process does what blocks; it may die before or after one of these things."""

    def __init__(self) -> None:
        self._done = 0
        self._last: tuple[str, int] | None = None

    def die(self, when: str, number: int) -> None:
        """Die ``before`` or ``after`` the thing of that number, from now on."""
        self._done, self._last = 0, (when, number)

    def __call__(self, work: Callable[[], T]) -> Deferred[T]:
        self._done += 1
        if self._last == ("before", self._done):
            return fail(Died())
        done = deferToThread(work)
        if self._last == ("after", self._done):
            done.addCallback(_die)
        return done


def _die(_: object) -> Any:
    raise Died


LEAVE = 3
"""The third of the things that are done in threads to write a disc."""
MEANWHILE = [
    *("arrival", "reissue", "deletion", "return", "loss", "loss in leaving"),
    *("death", "death before leaving", "death after leaving"),
]
"""What may happen while a disc is written."""


class NoPost:
    """`Letters` that go nowhere."""

    async def send(self, *_: object) -> None:
        """It is as good as sent."""


class Process:
    """What a process of Mail6M has: a pool of connections, and all that stands on it."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.pool = Pool(the_reactor(), dsn, 2, 20.0)
        self.threads = Threads()
        self.house = make_house(dsn, self.pool)
        self.life = make_disc_life(self.house, self.pool, folder, DISC, self.threads)
        self.discs = Discs(self.pool)
        notices = Notices(cast(Letters, NoPost()), Renderer("0"), lambda: "", _now)
        preferences, accounts = PreferencesTable(self.pool), Accounts(self.pool)
        tariffs = TariffTable(self.pool)
        letters = Correspondence(self.discs, preferences, accounts, tariffs, notices, _now)
        contracts = Contracts(self.pool)
        plans = PlanChanges(Plans(self.pool), contracts, _now)
        ending = Ending(Closings(self.pool), _now)
        sellers, invoices = SellerTable(self.pool), Invoices(self.pool)
        invoicing = Invoicing(contracts, tariffs, sellers, invoices, _now)
        documents = Documents(invoices, DocumentTable(self.pool), deferToThread)
        self.sweep = Sweep(
            plans,
            self.house.overflow,
            self.life,
            ending,
            invoicing,
            documents,
            [letters],
            Signups(self.pool),
        )

    def end(self) -> None:
        """Its connections are closed."""

        async def close() -> None:
            self.pool.close()

        run(close)


def _now() -> datetime:
    return datetime.now(UTC)


class History:
    """What happens to the mail of one customer, beside a chronicle of it."""

    def __init__(self, dsn: str, folder: Path, happened: Counter[str]) -> None:
        """``happened`` counts what was worth telling."""
        self.dsn = dsn
        self.folder = folder
        self.happened = happened
        self.process = Process(self.dsn, self.folder)
        self.database = psycopg2.connect(self.dsn)
        self.database.autocommit = True
        self.chronicle = Chronicle(DISC)
        self.customer = self.process.house.customer(room_for=1)
        wrapped = MASTER.new_wrapped_key(self.customer)
        keyed = "UPDATE customer SET wrapped_key = %s WHERE customer_id = %s"
        self.ask(keyed, wrapped, self.customer)
        self.ask(
            "INSERT INTO preferences (customer_id, email) VALUES (%s, 'g@duchemin.fr')",
            self.customer,
        )
        self.key = run(lambda: self.process.life._directory.key(self.customer))
        self.clock = NOON
        self.unlinked_later: set[str] = set()

    def ask(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows, at once."""
        with self.database.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description is not None else []

    def ids(self, sql: str) -> list[UUID]:
        """Messages of the customer's that a statement finds, the oldest first."""
        return sorted(UUID(id_) for (id_,) in self.ask(sql, self.customer))

    def note(self, what: str) -> None:
        """It has happened."""
        self.happened[what] += 1

    # Mail

    def begin(self, subscribed: bool) -> None:
        """There is a disc's worth in the cellar already."""
        self.change_plan(1)
        self.subscribe(subscribed)
        self.arrive([(60_000, "plain")] * 8 + [(30_000, "spam")], MINUTE)
        self.sweep()

    def arrive(self, kinds: list[tuple[int, str]], apart: int) -> None:
        """Mail comes in, whether there is room for it or not."""
        messages: list[NewMessage] = []
        mails: list[Mail] = []
        for size, kind in kinds:
            message, mail = self.letter(len(self.chronicle.mails) + len(mails), size, kind)
            messages.append(message)
            mails.append(mail)
            self.clock += apart
        run(lambda: self.process.house.archive.store(messages, 0))
        self.ask(
            "UPDATE message SET spam = true"
            " WHERE customer_id = %s AND message_id = ANY (%s::uuid[])",
            *(self.customer, [str(mail.id) for mail in mails if mail.spam]),
        )
        self.chronicle.arrive(mails, [message.id for message in messages if message.deliveries])

    def letter(self, number: int, size: int, kind: str) -> tuple[NewMessage, Mail]:
        """A letter that no other one is like."""
        subject = f"lettre {number:04d}"
        noise = random.Random(number).randbytes(size)
        content = f"Subject: {subject}\r\n\r\n".encode() + noise
        message = new_message(
            self.customer,
            content,
            milliseconds=self.clock,
            destination="mondomaine.fr" if kind == "queued" else "",
            summary=Summary("Anne <anne@example.org>", "Marie", subject, f"<{number}@a>"),
        )
        message.parts = seal(self.key, message.id, compress(content, 0))
        message.stored_size = sum(map(len, message.parts))
        known = Mail(
            *(message.id, subject, self.clock, hashlib.sha256(content).hexdigest()),
            *(len(content), message.stored_size, kind == "spam"),
        )
        return message, known

    def relay(self, ids: list[UUID]) -> None:
        """Some of what is queued has got to its destination."""
        self.ask(
            "UPDATE delivery SET state = %s"
            " WHERE customer_id = %s AND message_id = ANY (%s::uuid[])",
            *(int(State.DELIVERED), self.customer, list(map(str, ids))),
        )
        self.chronicle.queued -= set(ids)

    def there(self) -> list[UUID]:
        """All that is in the database still."""
        return sorted({*self.chronicle.at(CABINET, CELLAR), *self.chronicle.unerased})

    def send_again(self, id_: UUID) -> None:
        """One message."""
        way = [("marie@mondomaine.fr", "mondomaine.fr")]
        deliveries = Deliveries(self.process.pool)
        assert run(lambda: deliveries.reissue(by(self.customer), id_, way)) == 1
        self.chronicle.queued.add(id_)
        if self.chronicle.places[id_] not in (CABINET, CELLAR):
            self.note("sent again while it waits to be erased")

    def delete(self, ids: list[UUID]) -> None:
        """Wherever they are, for good."""
        assert self.process.house.delete(self.customer, *ids) == len(ids)
        self.chronicle.leave(ids, DELETED)
        self.note("deleted")

    def change_plan(self, capacity: int) -> None:
        """A smaller or a larger cabinet."""
        self.chronicle.capacity = capacity
        self.ask(
            "UPDATE customer SET capacity = %s WHERE customer_id = %s", capacity, self.customer
        )

    def move(self, most: int) -> None:
        """The oldest goes to the cellar."""
        moving = self.chronicle.shed(most)
        self.chronicle.lower(moving)
        room = self.chronicle.capacity - self.chronicle.stored(self.chronicle.at(CABINET))
        assert self.process.house.shed(self.customer, most) == Shed(len(moving), room)
        if moving:
            self.note("moved")

    # The archivist

    def ask_archivist(self, first: UUID, by_subject: bool, agreed: bool) -> None:
        """A message is wanted, or those of some hours; an operator agrees, or does not."""
        wish, wanted = self.wish(first, by_subject)
        if agreed and self.grant(wish, wanted):
            return
        if not agreed:
            assert run(lambda: self.process.house.archivist.ask(by(self.customer), wish))
        self.refuse()

    def refuse(self) -> None:
        """The operator says no to the request that waits."""
        [request] = self.waiting()
        run(lambda: self.process.house.archivist.refuse(*OPERATOR, request, "non"))
        self.note("archivist refused")

    def wish(self, first: UUID, by_subject: bool) -> tuple[Wish, list[UUID]]:
        """What is asked for, and the messages of the cellar that it means."""
        mail = self.chronicle.mails[first]
        if by_subject:
            return Wish("anne", "", mail.subject, None, None, "procès"), [first]
        since = datetime.fromtimestamp(mail.milliseconds / 1000, UTC)
        until = since + timedelta(hours=13)
        ids = [
            id_
            for id_ in self.chronicle.at(CELLAR)
            if 0 <= self.chronicle.mails[id_].milliseconds - mail.milliseconds < 13 * 60 * MINUTE
        ]
        return Wish("", "", "", since, until, "procès"), ids

    def grant(self, wish: Wish, wanted: list[UUID]) -> bool:
        """Ask, and agree; False if that would take too much of the cabinet."""
        archivist, chronicle = self.process.house.archivist, self.chronicle
        assert run(lambda: archivist.ask(by(self.customer), wish))
        [request] = self.waiting()
        if 2 * chronicle.stored({*wanted, *chronicle.brought_back}) > chronicle.capacity:
            with pytest.raises(Refused, match="more than half"):
                run(lambda: archivist.grant(*OPERATOR, request))
            return False
        assert run(lambda: archivist.grant(*OPERATOR, request)) == len(wanted)
        chronicle.bring_back(wanted)
        self.note("brought back")
        return True

    def waiting(self) -> list[int]:
        """Requests that are not decided."""
        requests = run(lambda: self.process.house.archivist.everywhere(self.customer, waiting=True))
        return [request.id for request in requests]

    # Discs

    def subscribe(self, on: bool) -> None:
        """Discs are ordered without being asked for, or are not any more."""
        self.chronicle.subscribed = on
        self.ask(
            "UPDATE preferences SET disc_subscription = %s WHERE customer_id = %s",
            *(on, self.customer),
        )

    def archive_spam(self, on: bool) -> None:
        """Spam goes on discs, too, or does not."""
        self.chronicle.archive_spam = on
        self.ask(
            "UPDATE preferences SET archive_spam = %s WHERE customer_id = %s", on, self.customer
        )

    def offer(self) -> None:
        """A cellar that fills a disc is offered one."""
        run(self.process.life.offer)
        self.expect_offer()

    def expect_offer(self) -> None:
        """What an offer has to have come to."""
        chronicle, disc = self.chronicle, self.chronicle.open
        if disc is not None and chronicle.subscribed:
            disc.state = "ordered"
        if chronicle.is_offered_now():
            [(serial, state)] = self.ask(
                "SELECT serial, state FROM disc WHERE customer_id = %s"
                " AND state IN ('offered', 'ordered')",
                self.customer,
            )
            assert state == ("ordered" if chronicle.subscribed else "offered")
            chronicle.discs.append(Pressing(serial, state))
            self.note(state)

    def answer(self, accepted: bool) -> None:
        """The customer wants the disc, or does not."""
        [disc] = self.chronicle.in_state("offered")
        assert self.say(accepted) == disc.serial
        disc.state = "ordered" if accepted else "refused"
        self.note(disc.state)

    def order_after_all(self) -> None:
        """Whoever has refused the last disc wants one."""
        self.chronicle.discs.append(Pressing(self.say(True), "ordered"))
        self.note("ordered after all")

    def say(self, accepted: bool) -> str:
        """Answer; the serial number."""
        return run(lambda: self.process.life.answer(by(self.customer), accepted))

    def thin(self) -> None:
        """A cellar without a disc is kept below one."""
        run(self.process.life.thin)
        self.expect_thinned()

    def expect_thinned(self) -> None:
        """What has to have been destroyed."""
        gone = self.chronicle.thinned(MANY)
        self.chronicle.leave(gone, THINNED)
        if gone:
            self.note("thinned")

    def write(self, meanwhile: str, at: float) -> None:
        """A disc is written; something happens when a part of that is done."""
        [disc] = self.chronicle.in_state("ordered")
        planned = self.chronicle.eligible()
        if not self.chronicle.filled(planned):
            with pytest.raises(DiscError, match="no message in the cellar"):
                run(lambda: self.process.life.write(*OPERATOR, disc.serial, lambda part: None))
            return
        happening = Happening(self, planned[0], at, meanwhile)
        error = happening.write(disc.serial)
        [[state]] = self.ask("SELECT state FROM disc WHERE serial = %s", disc.serial)
        assert (state, type(error)) in happening.outcomes, (state, error)
        if state == "written":
            self.expect_written(disc, planned)
            if error is None:
                self.chronicle.leave(self.chronicle.erased(), "erased")
        self.note(f"{state}: {meanwhile}")
        if error is not None and "death" in meanwhile:
            self.go_on_elsewhere(disc.serial)

    def expect_written(self, disc: Pressing, planned: list[UUID]) -> None:
        """What is on the image are the oldest, by their hashes; what was left out is between."""
        image = self.process.life.image(disc.serial)
        written = hashes(image)
        names = {mail.sha256: mail.id for mail in self.chronicle.mails.values()}
        on = sorted(names[digest] for digest in written)
        [(messages, left_out, size, raw)] = self.ask(
            "SELECT messages, left_out, image_size, raw_bytes FROM disc WHERE serial = %s",
            disc.serial,
        )
        assert messages == len(on) == len(written) == len(set(on))
        taken = planned[: messages + left_out]
        spared = [id_ for id_ in taken if not self.chronicle.filled([id_])]
        assert on == [id_ for id_ in taken if id_ not in spared]
        assert size == image.stat().st_size <= DISC
        assert raw == sum(self.chronicle.mails[id_].raw for id_ in on)
        self.chronicle.press(disc, on, spared)

    def go_on_elsewhere(self, serial: str = "") -> None:
        """The process is dead, with what it was at unfinished on the disk; another one goes on."""
        if serial:
            self.folder.mkdir(exist_ok=True)
            (self.folder / f"{serial}.part").write_bytes(b"unfinished")
            work = self.folder / f"{serial}.work"
            work.mkdir(exist_ok=True)
            (work / "unfinished").touch()
        self.process.end()
        self.process = Process(self.dsn, self.folder)

    def erase_some(self, most: int) -> None:
        """A process erases some of what is on discs, and dies."""
        gone = self.chronicle.erased(most)
        assert run(lambda: self.process.discs.erase(self.customer, most)) == len(gone)
        self.chronicle.leave(gone, "erased")
        self.note("erased in part")

    def ship(self, disc: Pressing) -> None:
        """A disc is sent, for the first time or again."""
        assert run(lambda: self.process.life.verify(disc.serial)).files > 0
        run(lambda: self.process.life.ship(*OPERATOR, disc.serial))
        disc.state, disc.aged = "shipped", False
        self.note("shipped")

    def receive(self, disc: Pressing, dies: bool) -> None:
        """A disc has arrived; its image is destroyed, by this process or by another one."""
        disc.received = True
        if dies:
            assert run(lambda: self.process.discs.receive(by(self.customer), disc.serial))
            self.go_on_elsewhere()
        else:
            run(lambda: self.process.life.receive(by(self.customer), disc.serial))
            self.expect_destroyed()

    def die_destroying(self) -> None:
        """A disc is known to be destroyed, and its image is there still."""
        disc = self.chronicle.destroyed()[0]
        assert run(lambda: self.process.discs.destroy(by(self.customer), disc.serial, 60))
        disc.state = "destroyed"
        self.unlinked_later.add(disc.serial)
        self.note("died destroying")

    def expect_destroyed(self) -> None:
        """Which images have to have been destroyed."""
        for disc in self.chronicle.destroyed():
            disc.state = "destroyed"
            self.note("destroyed")
        self.unlinked_later.clear()

    # Time

    def let_time_pass(self) -> None:
        """Sixty-one days go by."""
        ago = "UPDATE {} - interval '61 days' WHERE customer_id = %s"
        self.ask(ago.format("brought_back SET until = until"), self.customer)
        self.ask(
            "UPDATE disc SET offered_at = offered_at - interval '61 days',"
            " told_at = told_at - interval '61 days', shipped_at = shipped_at - interval '61 days'"
            " WHERE customer_id = %s",
            self.customer,
        )
        self.chronicle.overdue |= self.chronicle.brought_back
        for disc in self.chronicle.in_state("offered", "shipped"):
            disc.aged, disc.patient = True, disc.told > 0

    def sweep(self) -> None:
        """All that time does by itself is done."""
        swept: Swept = run(self.process.sweep.all)
        moved = self.chronicle.shed(MANY)
        self.chronicle.lower(moved)
        self.expect_offer()
        self.expect_thinned()
        self.chronicle.leave(self.chronicle.erased(), "erased")
        self.expect_destroyed()
        self.expect_silence()
        assert swept.moved_to_cellar >= len(moved)

    def expect_silence(self) -> None:
        """Three letters, and no answer for long, are a refusal."""
        for disc in self.chronicle.in_state("offered"):
            if disc.aged and disc.told == len(OFFERS) and disc.patient:
                disc.state = "refused"
                self.note("silent")
            due = len(OFFERS) if disc.aged else 1
            disc.patient = disc.patient and disc.told >= due
            disc.told = max(disc.told, due)

    # Death

    def die_in_the_middle(self, what: str, most: int, how: str) -> None:
        """A portion of something is cut when most of it is done: nothing has changed."""
        sql, must_go = self.portions()[what]
        self.cut(how, must_go(most)[-1], sql, (self.customer, most))
        self.note(f"cut: {what}")

    def under_way(self) -> list[str]:
        """Of what there is something to do."""
        return [what for what, (_, must_go) in self.portions().items() if must_go(1)]

    def portions(self) -> dict[str, tuple[str, Callable[[int], list[UUID]]]]:
        """How a portion is done, and the messages that it must touch."""
        return {
            "overflow": ("SELECT shed(%s, %s)", self.chronicle.shed),
            "thinning": (f"SELECT thin_cellar(%s, {DISC}, %s)", self.chronicle.thinned),
            "erasing": ("SELECT erase_what_is_on_discs(%s, %s)", self.chronicle.erased),
        }

    def cut(self, how: str, last: UUID, sql: str, parameters: tuple[int, int]) -> None:
        """Run a statement that waits at the last message that it touches, and end it there."""
        with (
            closing(psycopg2.connect(self.dsn)) as doing,
            doing.cursor() as cursor,
            ThreadPoolExecutor(1) as thread,
        ):
            if how == "roll back":
                cursor.execute(sql, parameters)
                return  # it is closed without a commit
            with self.held(last):
                done = thread.submit(cursor.execute, sql, parameters)
                self.end(doing.info.backend_pid, how, done)
            with pytest.raises(psycopg2.OperationalError):
                done.result()

    @contextmanager
    def held(self, id_: UUID) -> Iterator[None]:
        """Nobody else changes this message."""
        with closing(psycopg2.connect(self.dsn)) as holder, holder.cursor() as cursor:
            cursor.execute(
                "SELECT FROM message WHERE customer_id = %s AND message_id = %s FOR UPDATE",
                (self.customer, str(id_)),
            )
            yield
            holder.rollback()

    def end(self, pid: int, how: str, done: Future[Any]) -> None:
        """End what a connection does, when it waits for a message."""
        waits = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"
        while not ask(self.dsn, waits, pid):
            assert not done.done(), "it did not come to that message"
        ask(self.dsn, f"SELECT pg_{how}_backend(%s)", pid)

    def await_a_lock(self, work: Future[Any]) -> None:
        """Until it waits for somebody else, or is done."""
        waits = "SELECT FROM pg_locks WHERE NOT granted"
        while not work.done() and not ask(self.dsn, waits):
            pass

    # What holds

    def assert_it_holds(self) -> None:
        """Places, the sum, the order, and the discs."""
        self.every_message_is_where_it_must_be()
        self.the_sum_holds()
        self.the_order_of_arrival_is_kept()
        self.discs_are_what_they_must_be()

    def every_message_is_where_it_must_be(self) -> None:
        """On one shelf, or on none; what it says and who is to have it is with it."""
        on_shelf = "SELECT message_id FROM message WHERE customer_id = %s AND shelf = {}"
        chronicle = self.chronicle
        assert self.ids(on_shelf.format(0)) == chronicle.at(CABINET)
        assert self.ids(on_shelf.format(1)) == chronicle.at(CELLAR)
        assert self.ids(on_shelf.format(3)) == sorted(chronicle.unerased)
        bodies = "SELECT DISTINCT message_id FROM body WHERE customer_id = %s"
        assert self.ids(bodies) == self.there()
        queued = "SELECT DISTINCT message_id FROM delivery WHERE customer_id = %s AND state = 0"
        assert self.ids(queued) == sorted(chronicle.queued)
        brought = "SELECT message_id FROM brought_back WHERE customer_id = %s"
        assert self.ids(brought) == sorted(chronicle.brought_back)

    def the_sum_holds(self) -> None:
        """Accepted = cabinet + cellar + discs + deleted + destroyed; the counters know it."""
        chronicle = self.chronicle
        [[shelves, discs, gone]] = self.ask(
            "SELECT (SELECT coalesce(sum(messages), 0) FROM shelf_count"
            "        WHERE customer_id = c AND shelf IN (0, 1)),"
            " (SELECT coalesce(sum(messages + left_out), 0) FROM disc WHERE customer_id = c),"
            " (SELECT coalesce(sum(messages), 0) FROM departed WHERE customer_id = c)"
            " FROM (SELECT %s AS c) AS one",
            self.customer,
        )
        assert shelves + discs + gone == len(chronicle.mails)
        rows = self.ask(
            "SELECT fate, messages, bytes FROM departed WHERE customer_id = %s", self.customer
        )
        for fate, place in (("deleted", DELETED), ("destroyed", THINNED)):
            ids = chronicle.at(place)
            counted = [(count, size) for name, count, size in rows if name == fate]
            assert counted == ([(len(ids), chronicle.stored(ids))] if ids else [])
        assert_counts_fit(lambda sql: self.ask(sql, self.customer))

    def the_order_of_arrival_is_kept(self) -> None:
        """The cellar is older than the cabinet, and each disc than the next one."""
        chronicle = self.chronicle
        own = [id_ for id_ in chronicle.at(CABINET) if id_ not in chronicle.brought_back]
        assert max(chronicle.at(CELLAR), default=UUID(int=0)) < min(own, default=UUID(int=1 << 127))
        [*rows] = self.ask(
            "SELECT serial, first_at, last_at FROM disc"
            " WHERE customer_id = %s AND messages > 0 ORDER BY written_at",
            self.customer,
        )
        newest = UUID(int=0)
        for serial, first, last in rows:
            on = chronicle.at(serial)
            assert (first, last) == (self.arrived(on[0]), self.arrived(on[-1]))
            in_turn = [id_ for id_ in on if id_ not in chronicle.late]
            assert all(id_ > newest for id_ in in_turn)
            newest = max([newest, *in_turn])

    def arrived(self, id_: UUID) -> datetime:
        """When it did."""
        milliseconds = self.chronicle.mails[id_].milliseconds
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)

    def discs_are_what_they_must_be(self) -> None:
        """Their states; and an image is there until it is destroyed."""
        rows = self.ask(
            "SELECT serial, state, messages, left_out FROM disc WHERE customer_id = %s"
            " ORDER BY offered_at",
            self.customer,
        )
        assert rows == [
            (
                *(disc.serial, disc.state),
                len(self.chronicle.at(disc.serial)),
                len(self.chronicle.at(left_out_of(disc.serial))),
            )
            for disc in self.chronicle.discs
        ]
        for disc in self.chronicle.in_state("written", "shipped", "destroyed"):
            there = self.process.life.image(disc.serial).exists()
            assert there == (disc.state != "destroyed" or disc.serial in self.unlinked_later)

    def close(self) -> None:
        """The customer's counters and discs are nothing to those who come after."""
        self.process.end()
        for table in ("disc", "shelf_count", "minute_count"):
            self.ask(f"DELETE FROM {table} WHERE customer_id = %s", self.customer)  # noqa: S608
        self.database.close()


class Happening:
    """What happens while a disc is written, and what may come of it."""

    def __init__(self, history: History, planned: UUID, at: float, what: str) -> None:
        self._history = history
        self._planned = planned
        self._at = at
        self._what = what
        self._begun = False
        self._over: Future[None] = Future()
        self._threads = ThreadPoolExecutor(1)
        self.outcomes: set[tuple[str, type | None]] = {("written", type(None))}

    def write(self, serial: str) -> Exception | None:
        """Write the disc; what that has raised."""
        life, threads = self._history.process.life, self._history.process.threads
        if self._what == "death before leaving":
            threads.die("before", LEAVE)
            self.outcomes = {("ordered", Died)}
        elif self._what == "death after leaving":
            threads.die("after", LEAVE)
            self.outcomes = {("written", Died)}
        try:
            run(lambda: life.write(*OPERATOR, serial, self._progress))
        except (Died, Refused, Unavailable, SealError) as error:
            return error
        finally:
            self._over.set_result(None)
            self._threads.shutdown()
        return None

    def _progress(self, part: float) -> None:
        if part < self._at or self._begun:
            return
        self._begun = True
        getattr(self, f"_{self._what.replace(' ', '_')}")()

    def _nothing(self) -> None:
        pass

    _death_before_leaving = _death_after_leaving = _nothing

    def _arrival(self) -> None:
        self._history.arrive([(9_000, "plain"), (300, "queued")], MINUTE)
        self._history.move(3)

    def _reissue(self) -> None:
        self._history.send_again(self._planned)

    def _deletion(self) -> None:
        self.outcomes = {("ordered", Refused), ("ordered", SealError)}
        self._history.delete([self._planned])

    def _return(self) -> None:
        wish, wanted = self._history.wish(self._planned, by_subject=True)
        if self._history.grant(wish, wanted):
            self.outcomes = {("ordered", Refused)}
        else:
            self._history.refuse()

    def _death(self) -> None:
        self.outcomes = {("ordered", Died)}
        raise Died

    def _loss(self) -> None:
        self.outcomes = {("ordered", Unavailable)}
        [[writer]] = ask(self._history.dsn, WRITER)
        ask(self._history.dsn, "SELECT pg_terminate_backend(%s)", writer)

    def _loss_in_leaving(self) -> None:
        self.outcomes = {("ordered", Unavailable)}
        [[writer]] = ask(self._history.dsn, WRITER)
        held = ExitStack()
        held.enter_context(self._history.held(self._planned))

        def lose() -> None:
            with held:
                self._history.end(writer, "terminate", self._over)

        self._threads.submit(lose)


def hashes(image: Path) -> list[str]:
    """SHA-256 of every message on an image, in hex."""
    with image.open("rb") as file:
        found = []
        for each in list_files(file):
            if each.path.endswith(".eml"):
                file.seek(each.offset)
                found.append(hashlib.sha256(file.read(each.length)).hexdigest())
    return found
