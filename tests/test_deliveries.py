"""The queue on a real PostgreSQL: who has what in hand, and what becomes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from twisted.internet.defer import ensureDeferred

from mail6m.model import (
    Client,
    Delivery,
    Domain,
    Envelope,
    Notify,
    Recipient,
    Shelf,
    State,
    TlsPolicy,
)
from mail6m.storage.archive import Archive, NewDelivery, NewMessage
from mail6m.storage.deliveries import (
    _RECORD,
    _RECORD_BY_KEY,
    _WAITING,
    _WAITING_COUNT,
    CHANNEL,
    Deliveries,
    Due,
    Record,
    Waiting,
    read_delivery_id,
)
from mail6m.storage.domains import Domains
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool
from mail6m.storage.servers import Servers
from tests.reactor_thread import run
from tests.stored import ask, by, new_customer, new_database, new_message, new_pool

HERE, THERE = "mondomaine.fr", "example.test"
NOBODY = 999_999
"""The number of a server that nobody ever was."""


@pytest.fixture(scope="module")
def own(database: str) -> str:
    """The DSN of a database without anybody else's deliveries."""
    dsn = new_database(database)
    return dsn


@pytest.fixture(scope="module")
def pool(own: str) -> Iterator[Pool]:
    """Connections for several servers."""
    with new_pool(own, size=4) as pool:
        yield pool


class Queue:
    """The tables, and each of their operations as a plain call."""

    def __init__(self, pool: Pool, dsn: str) -> None:
        self.dsn = dsn
        self.archive = Archive(pool, dsn, 20.0)
        self.deliveries = Deliveries(pool)
        self.servers = Servers(pool)
        self.customer = 0

    def put(self, *messages: NewMessage) -> list[NewMessage]:
        """Store messages."""
        run(lambda: self.archive.store(messages, 0))
        return list(messages)

    def add(
        self,
        destination: str = HERE,
        count: int = 1,
        *,
        server: int | None = None,
        recipients: Sequence[str] = ("marie",),
        shelf: Shelf = Shelf.CABINET,
    ) -> list[UUID]:
        """So many new messages to a destination; their ids."""
        recipients = [f"{name}@{destination}" for name in recipients]
        messages = [
            new_message(
                self.customer,
                destination=destination,
                server=server,
                recipients=recipients,
                shelf=shelf,
            )
            for _ in range(count)
        ]
        return [one.id for one in self.put(*messages)]

    def enlist(self, name: str | None = None) -> int:
        """A new server."""
        return run(lambda: self.servers.enlist(name or str(uuid4())))

    def lease(
        self, server: int, *, without: Sequence[str] = (), each: int = 100, limit: int = 1_000
    ) -> list[UUID]:
        """The ids of what a server gets in hand."""
        due = run(lambda: self.deliveries.lease(server, without=without, each=each, limit=limit))
        return [one.message for one in due]

    def probes(self, server: int) -> list[Due]:
        """The probes that a server gets in hand."""
        return run(lambda: self.deliveries.lease_probes(server))

    def late(self, server: int, *, limit: int = 100) -> list[UUID]:
        """What is older than a day, or than an hour without a warning."""
        due = run(
            lambda: self.deliveries.lease_late(
                server, lifetime=86_400, warn_after=3_600, limit=limit
            )
        )
        return [one.message for one in due]

    def record(self, message: UUID, state: State, number: int = 0, **values: Any) -> None:
        """Write down an outcome."""
        given: dict[str, Any] = {
            "attempts": 1,
            "next_attempt_at": None,
            "reply": "250 ok",
            "host": "mx[192.0.2.1]:25",
            "tls": "",
        }
        record = Record(self.customer, message, number, state, **{**given, **values})
        run(lambda: self.deliveries.record([record]))

    def release(self, server: int, *untried: tuple[UUID, str]) -> None:
        """Give back messages' deliveries to a destination."""
        rows = [(self.customer, message, destination) for message, destination in untried]
        run(lambda: self.deliveries.release(server, rows))

    def down(self, destination: str, *, probe_in: float = -1) -> None:
        """A destination is down, to be probed in so many seconds."""
        at = datetime.now(UTC) + timedelta(seconds=probe_in)
        run(lambda: self.deliveries.down(destination, at, "421 4.3.2 Away\0"))

    def downs(self) -> list[str]:
        """The destinations that are down."""
        return sorted(row.destination for row in run(self.deliveries.down_list))

    def queued(self, **criteria: Any) -> list[Delivery]:
        """What is still to be relayed."""
        return run(lambda: self.deliveries.queued(**criteria))

    def waiting(self, **criteria: Any) -> list[UUID]:
        """The messages that are still to be relayed."""
        return [delivery.message for delivery in self.queued(**criteria)]

    def of(self, message: UUID) -> list[Delivery]:
        """All deliveries of a message."""
        return run(lambda: self.deliveries.of_message(self.customer, message))

    def bury(self) -> int:
        """Look for dead servers."""
        return run(self.servers.bury)

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the tests do behind everybody's back."""
        return ask(self.dsn, statement, *parameters)

    def die(self, server: int) -> None:
        """A server has not been heard of for longer than its lease."""
        sql = "UPDATE server SET lease_until = now() - interval '1 second' WHERE server_id = %s"
        self.sql(sql, server)

    def grow_old(self, message: UUID, hours: float) -> None:
        """A message has waited for so long, and is to be tried again much later."""
        sql = """UPDATE delivery SET queued_at = now() - %s * interval '1 hour',
                 next_attempt_at = now() + interval '1 day' WHERE message_id = %s"""
        self.sql(sql, hours, str(message))


@pytest.fixture(scope="module")
def tables(own: str, pool: Pool) -> Queue:
    """The tables, with what the last test left there."""
    return Queue(pool, own)


@pytest.fixture
def queue(tables: Queue) -> Queue:
    """An empty queue, and a customer whom nobody knows yet."""
    tables.sql(
        "TRUNCATE message, body, shelf_count, delivery, server, destination, customer CASCADE"
    )
    tables.customer = new_customer()
    return tables


# Leasing


def test_what_is_leased_says_all_that_a_courier_needs(queue: Queue) -> None:
    """Envelope, recipient, times and sizes are those of the message."""
    server = queue.enlist()
    client = Client("192.0.2.7", "hello.test", "name.test", "ESMTPS", "TLSv1.3 X")
    recipient = Recipient("marie@mondomaine.fr", Notify.FAILURE | Notify.DELAY, "rfc822;m@x.test")
    new = new_message(queue.customer, shelf=Shelf.TRANSIT)
    new.envelope = Envelope("", (recipient,), client, True, True, "FULL", "id=1", True)
    new.deliveries = [NewDelivery(recipient, HERE, None)]
    queue.put(new)
    [due] = run(lambda: queue.deliveries.lease(server, without=(), each=1, limit=1))
    assert due.envelope == new.envelope._replace(recipients=())
    assert due.recipient == recipient
    assert (due.customer, due.message, due.number, due.destination) == (
        queue.customer, new.id, 0, HERE,
    )  # fmt: skip
    assert (due.attempts, due.warned, due.last_reply) == (0, False, "")
    assert (due.size, due.ours) == (new.raw_size, True)
    assert due.received_at == datetime.fromtimestamp(new.milliseconds / 1000, UTC)
    assert abs(due.queued_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_is_leased_is_in_nobody_elses_hands(queue: Queue) -> None:
    """Another server, and the same one, get it only when it has been let go of."""
    one, other = queue.enlist(), queue.enlist()
    [message] = queue.add()
    assert queue.lease(one) == [message]
    assert queue.lease(other) == []
    assert queue.lease(one) == []
    queue.release(one, (message, HERE))
    assert queue.lease(other) == [message]


def test_two_servers_never_lease_the_same(queue: Queue) -> None:
    """Six servers at once on one backlog: every delivery is leased, and each of them once."""
    expected = set(queue.add(HERE, 150) + queue.add(THERE, 150))
    servers = [queue.enlist() for _ in range(6)]

    async def rush() -> list[UUID]:
        taken: list[UUID] = []
        while True:
            work = [
                ensureDeferred(queue.deliveries.lease(s, without=(), each=20, limit=30))
                for s in servers
            ]
            got = [due.message for one in work for due in await one]
            if not got:
                return taken
            taken += got

    taken = run(rush)
    assert len(taken) == 300
    assert set(taken) == expected


def test_a_lease_in_another_transaction_is_not_waited_for(queue: Queue) -> None:
    """While somebody's lease is not committed, others take what is left, at once."""
    server = queue.enlist()
    first, second = queue.add(HERE, 2)
    with locked(queue.dsn, "SELECT 1 FROM delivery WHERE message_id = %s FOR UPDATE", str(first)):
        assert queue.lease(server) == [second]
    assert queue.lease(server) == [first]


@contextlib.contextmanager
def locked(dsn: str, sql: str, *parameters: Any) -> Iterator[None]:
    """A transaction of somebody else's that stays open."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.cursor().execute(sql, parameters)
        yield
        connection.rollback()  # closing alone is not waited for


def test_a_backlog_does_not_hide_another_destination(queue: Queue) -> None:
    """However long one queue is, and however old: ``each`` is for each destination."""
    server = queue.enlist()
    backlog = queue.add("aaa.test", 30)
    [hidden] = queue.add("zzz.test")
    leased = queue.lease(server, each=10)
    assert hidden in leased
    assert len(set(leased) & set(backlog)) == 10


def test_limits_and_exceptions(queue: Queue) -> None:
    """No more than asked for in all, and nothing for destinations that are full."""
    server = queue.enlist()
    queue.add(HERE, 5)
    there = queue.add(THERE, 5)
    assert set(queue.lease(server, without=[HERE])) == set(there)
    assert len(queue.lease(server, limit=3)) == 3
    assert len(queue.lease(server)) == 2


def test_what_is_not_due_waits(queue: Queue) -> None:
    """Until its time has come."""
    server = queue.enlist()
    [message] = queue.add()
    later = datetime.now(UTC) + timedelta(hours=1)
    queue.record(message, State.QUEUED, next_attempt_at=later, reply="450 later")
    assert queue.lease(server) == []
    [delivery] = queue.queued()
    assert (delivery.next_attempt_at, delivery.last_reply) == (later, "450 later")
    sql = "UPDATE delivery SET next_attempt_at = now()"
    queue.sql(sql)
    assert queue.lease(server) == [message]


# Outcomes


@pytest.mark.parametrize("state", [State.DELIVERED, State.FAILED, State.EXPIRED, State.CANCELLED])
def test_an_outcome_ends_it(queue: Queue, state: State) -> None:
    """What has come to an end is never leased again, and its message's story can be read."""
    server = queue.enlist()
    [message] = queue.add()
    assert queue.lease(server) == [message]
    queue.record(message, state, attempts=3, reply="250 2.0.0 ok \ud800\0")
    assert queue.waiting() == []
    queue.die(server)
    queue.bury()
    assert queue.lease(queue.enlist()) == []
    [delivery] = queue.of(message)
    assert (delivery.state, delivery.attempts) == (state, 3)
    assert delivery.last_reply.startswith("250 2.0.0 ok ")


def test_recipients_have_outcomes_of_their_own(queue: Queue) -> None:
    """One commit for three recipients of a message, each with its own end."""
    [message] = queue.add(recipients=("anne", "marie", "paul"))
    later = datetime.now(UTC) + timedelta(hours=1)
    states = [(State.DELIVERED, None), (State.QUEUED, later), (State.FAILED, None)]
    records = [
        Record(queue.customer, message, number, state, 1, at, f"reply {number}", "h", "t")
        for number, (state, at) in enumerate(states)
    ]
    run(lambda: queue.deliveries.record(records))
    got = [(one.number, one.state, one.last_reply) for one in queue.of(message)]
    assert got == [(n, state, f"reply {n}") for n, (state, _) in enumerate(states)]
    assert [one.recipient for one in queue.queued()] == ["marie@mondomaine.fr"]


def test_how_the_last_session_was_protected(queue: Queue) -> None:
    """It is kept with the delivery, for Details."""
    [message] = queue.add()
    queue.record(message, State.DELIVERED, tls="TLSv1.3 X, verified (DANE)")
    assert [delivery.tls for delivery in queue.of(message)] == ["TLSv1.3 X, verified (DANE)"]


def test_outcomes_find_their_deliveries_by_the_key(queue: Queue) -> None:
    """However little the planner knows, of an empty table or of a small one."""
    values = ["{1}", f"{{{uuid4()}}}", *(["{1}"] * 3), "{NULL}", *(["{x}"] * 3), "{f}"]
    with contextlib.closing(psycopg2.connect(queue.dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        cursor.execute(_RECORD.prepare)
        for count in (0, 60):
            if count:
                queue.add(HERE, count)
                cursor.execute("ANALYZE delivery")
            cursor.execute(_RECORD_BY_KEY.replace("EXECUTE", "EXPLAIN EXECUTE"), values)
            _, outer, inner = [line for (line,) in cursor if " on " in line]
            assert "Function Scan on r" in outer
            assert "Index Scan using delivery_pkey on delivery q" in inner


def test_an_end_is_final(queue: Queue) -> None:
    """A late outcome of somebody who had lost the lease does not bring a delivery back."""
    [message] = queue.add()
    queue.record(message, State.DELIVERED)
    queue.record(message, State.QUEUED, next_attempt_at=datetime.now(UTC), reply="450")
    [delivery] = queue.of(message)
    assert (delivery.state, delivery.last_reply) == (State.DELIVERED, "250 ok")


def test_only_the_holder_releases(queue: Queue) -> None:
    """What was untried goes back at once: but not what another server has in hand meanwhile."""
    one, other = queue.enlist(), queue.enlist()
    mine, theirs = queue.add(HERE, 2)
    assert queue.lease(one, limit=1) == [mine]
    assert queue.lease(other) == [theirs]
    queue.release(one, (mine, THERE))
    queue.release(one, (theirs, HERE), (uuid4(), HERE))
    assert queue.lease(one) == []
    queue.release(one, (mine, HERE), (theirs, HERE))
    assert queue.lease(other) == [mine]


# Servers that die


def test_a_server_that_is_buried_gives_back(queue: Queue) -> None:
    """All that it had in hand, leased or taken with its messages, is due at once; once."""
    dead, alive = queue.enlist(), queue.enlist()
    leased = queue.add(HERE, 3)
    assert set(queue.lease(dead)) == set(leased)
    taken = queue.add(HERE, 2, server=dead)
    kept = queue.add(HERE, 1, server=alive)
    assert queue.lease(alive) == []
    assert queue.bury() == 0
    queue.die(dead)
    assert queue.bury() == 5
    assert queue.bury() == 0
    assert set(queue.lease(alive)) == {*leased, *taken}
    assert not set(kept) & set(leased)
    assert run(lambda: queue.servers.renew(alive))
    assert not run(lambda: queue.servers.renew(dead))


def test_what_the_dead_had_finished_is_not_given_back(queue: Queue) -> None:
    """A delivery that was made stays made."""
    dead = queue.enlist()
    done, open_ = queue.add(HERE, 2, server=dead)
    queue.record(done, State.DELIVERED)
    queue.die(dead)
    assert queue.bury() == 1
    assert queue.waiting() == [open_]


def test_a_renewed_lease_holds(queue: Queue) -> None:
    """Who gives a sign of life in time is not buried."""
    server = queue.enlist()
    queue.die(server)
    assert run(lambda: queue.servers.renew(server))
    assert queue.bury() == 0
    assert run(lambda: queue.servers.renew(server))


def test_the_successor_frees_the_predecessors(queue: Queue) -> None:
    """A server that comes back under its name after ``kill -9`` need not wait for a lease."""
    before, other = queue.enlist("host:/data:0"), queue.enlist("host:/data:1")
    mine = queue.add(HERE, 2, server=before)
    [theirs] = queue.add(HERE, 1, server=other)
    after = queue.enlist("host:/data:0")
    assert after not in (before, other)
    assert set(queue.lease(after)) == set(mine)
    assert theirs in queue.waiting()
    assert queue.bury() == 0
    assert run(lambda: queue.servers.renew(after))


def test_what_a_buried_server_still_committed_is_not_lost(queue: Queue) -> None:
    """Its last commit came after its burial: the deliveries are free when they are due again."""
    [message] = queue.add(HERE, server=NOBODY)
    server = queue.enlist()
    assert queue.lease(server) == []
    queue.sql("UPDATE delivery SET next_attempt_at = now()")
    assert queue.lease(server) == [message]


def test_who_resigns_gives_back_at_once(queue: Queue) -> None:
    """A server that stops in good order leaves nothing behind for others to wait for."""
    stopping, other = queue.enlist(), queue.enlist()
    messages = queue.add(HERE, 3, server=stopping)
    run(lambda: queue.servers.resign(stopping))
    assert set(queue.lease(other)) == set(messages)
    assert queue.bury() == 0


# Destinations that are down


def test_one_probe_for_each_destination_that_is_down(queue: Queue) -> None:
    """Nothing else is leased for it, by anybody, until the next probe's time."""
    one, other = queue.enlist(), queue.enlist()
    for destination in (HERE, THERE):
        queue.add(destination, 5)
        queue.down(destination)
    [free] = queue.add("up.test")
    assert queue.lease(one) == [free]
    probes = queue.probes(one)
    assert sorted(probe.destination for probe in probes) == [THERE, HERE]
    assert queue.probes(one) == []
    assert queue.probes(other) == []
    assert queue.downs() == [THERE, HERE]


def test_two_servers_never_probe_the_same(queue: Queue) -> None:
    """Asked at the same moment, only one of them gets the probe."""
    servers = [queue.enlist() for _ in range(4)]
    names = [f"d{number}.test" for number in range(10)]
    for name in names:
        queue.add(name, 3)
        queue.down(name)

    async def rush() -> list[str]:
        work = [ensureDeferred(queue.deliveries.lease_probes(server)) for server in servers]
        return [due.destination for one in work for due in await one]

    assert sorted(run(rush)) == names


def test_a_probe_waits_for_its_time(queue: Queue) -> None:
    """A destination just found down is left alone."""
    queue.add()
    queue.down(HERE, probe_in=60)
    assert queue.probes(queue.enlist()) == []


def test_a_probe_does_not_mind_the_deliverys_own_time(queue: Queue) -> None:
    """It finds out about the host, with whatever message is next."""
    server = queue.enlist()
    [message] = queue.add()
    queue.grow_old(message, 0)
    queue.down(HERE)
    assert [probe.message for probe in queue.probes(server)] == [message]


def test_up_again(queue: Queue) -> None:
    """All that waits for it can be leased."""
    server = queue.enlist()
    messages = queue.add(HERE, 3)
    queue.down(HERE)
    queue.down(HERE, probe_in=60)
    [row] = run(queue.deliveries.down_list)
    assert (row.destination, row.failures) == (HERE, 2)
    assert row.last_reply == "421 4.3.2 Away\ufffd"
    assert queue.lease(server) == []
    run(lambda: queue.deliveries.up(HERE))
    assert queue.downs() == []
    assert set(queue.lease(server)) == set(messages)


def test_a_destination_that_nobody_needs_any_more(queue: Queue) -> None:
    """With the last of its deliveries gone it is not down for ever: new mail goes out at once."""
    server = queue.enlist()
    [message] = queue.add()
    queue.down(HERE)
    queue.record(message, State.CANCELLED)
    assert queue.probes(server) == []
    assert queue.downs() == []
    [fresh] = queue.add()
    assert queue.lease(server) == [fresh]


def test_a_destination_is_kept_down_while_its_probe_is_in_hand(queue: Queue) -> None:
    """An empty-handed look does not take it for one that nobody needs."""
    one, other = queue.enlist(), queue.enlist()
    queue.add()
    queue.down(HERE)
    assert len(queue.probes(one)) == 1
    queue.sql("UPDATE destination SET next_probe_at = now()")
    assert queue.probes(other) == []
    assert queue.downs() == [HERE]


# Those that wait for long


def test_the_late_ones(queue: Queue) -> None:
    """Expired ones, and those whose sender should be warned, however their destination is."""
    server = queue.enlist()
    young, warned, unwarned, expired, in_hand = queue.add(HERE, 5)
    for message, hours in ((young, 0.9), (warned, 2), (unwarned, 2), (expired, 25), (in_hand, 25)):
        queue.grow_old(message, hours)
    queue.sql("UPDATE delivery SET warned = true WHERE message_id = %s", str(warned))
    queue.sql("UPDATE delivery SET server_id = %s WHERE message_id = %s", server, str(in_hand))
    queue.down(HERE, probe_in=60)
    assert set(queue.late(server)) == {unwarned, expired}
    assert queue.late(queue.enlist()) == []


def test_a_warning_is_recorded_once(queue: Queue) -> None:
    """Who was warned is late again only when the time is up."""
    server = queue.enlist()
    [message] = queue.add()
    queue.grow_old(message, 2)
    assert queue.late(server) == [message]
    at = datetime.now(UTC) + timedelta(hours=1)
    queue.record(message, State.QUEUED, next_attempt_at=at, warned=True)
    assert queue.late(server) == []
    queue.record(message, State.QUEUED, next_attempt_at=at, warned=False)
    assert queue.late(server) == []
    queue.grow_old(message, 25)
    assert queue.late(server) == [message]


def test_the_late_ones_come_in_handfuls(queue: Queue) -> None:
    """No more at a time than asked for."""
    server = queue.enlist()
    for message in queue.add(HERE, 5):
        queue.grow_old(message, 25)
    assert [len(queue.late(server, limit=2)) for _ in range(4)] == [2, 2, 1, 0]


# An operator's wishes


def test_retry(queue: Queue) -> None:
    """What waits is due at once, a destination that is down is probed at once; nothing in hand."""
    server = queue.enlist()
    waiting, in_hand = queue.add(HERE, 2)
    [elsewhere] = queue.add(THERE)
    for message in (waiting, elsewhere):
        queue.grow_old(message, 0)
    queue.sql("UPDATE delivery SET server_id = %s WHERE message_id = %s", server, str(in_hand))
    queue.down(HERE, probe_in=3_600)
    assert run(lambda: queue.deliveries.retry(by(queue.customer), destination=HERE)) == 1
    assert [probe.message for probe in queue.probes(server)] == [waiting]
    assert queue.lease(server) == []
    assert run(lambda: queue.deliveries.retry(by(queue.customer))) == 1
    assert queue.lease(server) == [elsewhere]


def test_retry_of_a_host_or_of_one_delivery(queue: Queue) -> None:
    """A receiving machine stands for the domains that it serves; an id for one recipient."""
    add_domain(queue, HERE, ["mx.example.org:2525", "[::1]:25"])
    [here] = queue.add(HERE, recipients=("anne", "marie"))
    [there] = queue.add(THERE)
    for message in (here, there):
        queue.grow_old(message, 0)
    retry = partial(queue.deliveries.retry, by(queue.customer))
    for host in ("mx.example.org", "mx.example.org:2525", "MX.Example.org", HERE.upper(), "[::1]"):
        assert run(lambda host=host: retry(destination=host)) == 2, host  # type: ignore[misc]
        assert queue.waiting(destination=host) == [here, here], host
    assert run(lambda: retry(destination="example.org")) == 0
    assert run(lambda: retry(destination="mx.example.org:25")) == 0
    queue.grow_old(here, 0)
    assert run(lambda: retry(delivery=(queue.customer, here, 1))) == 1
    assert run(lambda: retry(delivery=(queue.customer, here, 2))) == 0
    assert run(lambda: retry(delivery=(queue.customer + 1, here, 1))) == 0
    assert run(lambda: retry(customer=queue.customer + 1)) == 0
    assert len(queue.lease(queue.enlist())) == 1


@pytest.mark.parametrize("destination", ["", "a\0b", "\udcff", "%", "'", "mx:", "[::1"])
def test_any_destination_can_be_asked_for(queue: Queue, destination: str) -> None:
    """What nobody is called finds nothing, and is no error."""
    queue.add()
    assert queue.queued(destination=destination) == []
    retry = partial(queue.deliveries.retry, by(queue.customer))
    assert run(lambda: retry(destination=destination)) == 0


# What a customer sees


def waiting(queue: Queue, customer: int, offset: int = 0, limit: int = 50) -> list[Waiting]:
    """A page of a customer's queue."""
    return run(lambda: queue.deliveries.waiting(customer, offset, limit))


def test_what_a_customer_waits_for(queue: Queue) -> None:
    """Its own deliveries that are not made, in order of arrival, page by page, with the words."""
    mine = [*queue.add(HERE, 2, recipients=("anne", "marie")), *queue.add(THERE, 1)]
    done = queue.add(HERE)[0]
    queue.record(done, State.DELIVERED)
    queue.customer += 1
    [other] = queue.add(HERE)
    queue.customer -= 1
    rows = waiting(queue, queue.customer)
    assert [(row.delivery.message, row.delivery.number) for row in rows] == sorted(
        [(mine[0], 0), (mine[0], 1), (mine[1], 0), (mine[1], 1), (mine[2], 0)]
    )
    assert {(row.sender, row.subject) for row in rows} == {("anne@example.org", "Bonjour")}
    pages = [waiting(queue, queue.customer, offset, 2) for offset in (0, 2, 4, 6)]
    assert [row for page in pages for row in page] == rows
    count = queue.deliveries.waiting_count
    assert run(lambda: count(queue.customer)) == 5
    assert run(lambda: count(queue.customer + 1)) == 1
    assert [row.delivery.message for row in waiting(queue, queue.customer + 1)] == [other]


def test_what_is_under_way_and_what_is_down(queue: Queue) -> None:
    """So are marked: in a living server's hands; its destination down; held by an operator."""
    server = queue.enlist()
    [kept] = queue.add("retenu.test")
    run(lambda: queue.deliveries.hold(by(queue.customer), "retenu.test"))
    [free] = queue.add(HERE)
    [held] = queue.add(HERE, server=server)
    [orphan] = queue.add(HERE, server=NOBODY)
    [down] = queue.add(THERE)
    queue.down(THERE)
    marks = {row.delivery.message: row[-3:] for row in waiting(queue, queue.customer)}
    assert marks == {
        kept: (False, False, True),
        free: (False, False, False),
        held: (True, False, False),
        orphan: (False, False, False),
        down: (False, True, False),
    }


def test_only_their_own_destinations_are_down(queue: Queue) -> None:
    """Domains of the customer's that are down while something waits; nobody else's."""
    add_domain(queue, HERE, ["mx.example.org:25"])
    queue.down(HERE)
    queue.down(THERE)
    downs = queue.deliveries.down_of
    assert run(lambda: downs(queue.customer)) == []
    queue.add(HERE)
    queue.add(THERE)
    [down] = run(lambda: downs(queue.customer))
    assert (down.destination, down.failures) == (HERE, 1)
    assert down.down_since.tzinfo is UTC
    assert run(lambda: downs(queue.customer + 1)) == []


def test_a_page_does_not_look_at_the_others(queue: Queue) -> None:
    """What waits for others is not read, however much it is."""
    add_domain(queue, HERE, [])
    queue.customer += 1
    add_domain(queue, "b.test", [])
    queue.sql(
        """INSERT INTO delivery (customer_id, message_id, number, recipient, notify, original,
                                 destination, state, attempts, queued_at, next_attempt_at)
           SELECT %s, gen_random_uuid(), 0, 'a@b.test', 0, '', 'b.test', 0, 0, now(), now()
           FROM generate_series(1, 20000) AS i""",
        queue.customer,
    )
    queue.customer -= 1
    queue.add(HERE, 3)
    queue.sql("ANALYZE delivery")
    parameters = {"customer": queue.customer, "offset": 0, "limit": 50}
    parameters |= {"after": None, "number": None}
    for sql in (_WAITING, _WAITING_COUNT):
        [[[explained]]] = queue.sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
        assert max(rows_read(explained["Plan"])) < 100


def rows_read(plan: dict[str, Any]) -> Iterator[int]:
    """How many rows each step of a plan has read."""
    yield plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    for step in plan.get("Plans", ()):
        yield from rows_read(step)


def test_a_removed_domain_is_still_waited_for(queue: Queue) -> None:
    """By the customer that had it; not by another one that has it now. Letters of ours are not."""
    add_domain(queue, HERE, [])
    queue.add(HERE)
    queue.add("mx:example.org")
    queue.sql("DELETE FROM domain WHERE name = %s", HERE)
    count = lambda: run(lambda: queue.deliveries.waiting_count(queue.customer))  # noqa: E731
    assert count() == 1
    queue.customer += 1
    add_domain(queue, HERE, [])
    assert count() == 0


def test_no_mail_goes_to_a_domains_next_owner(queue: Queue, pool: Pool) -> None:
    """What waits for a domain that was removed waits on, and sets out again if it comes back."""
    domains, first = Domains(pool), queue.customer
    for customer in (first, second := new_customer()):
        queue.sql("INSERT INTO customer VALUES (%s, 'X', 'malle', 1, '\\x00')", customer)
    domain = partial(Domain, HERE, hosts=(), tls=TlsPolicy.NONE, verify_recipients=True)
    [message] = queue.add(HERE)
    run(lambda: domains.add(by(second), domain(second)))
    assert [one.destination for one in queue.of(message)] == [f"left:{HERE}"]
    assert run(lambda: queue.deliveries.waiting_count(first)) == 1
    run(lambda: domains.remove(by(second), HERE))
    run(lambda: domains.add(by(first), domain(first)))
    assert [one.destination for one in queue.of(message)] == [HERE]


def test_a_customer_retries(queue: Queue) -> None:
    """Their own deliveries only, all or one, with a note of how many, or which."""
    first, second = queue.add(HERE, 2)
    for message in (first, second):
        queue.grow_old(message, 0)
    me, other = queue.customer, queue.customer + 1

    def retry(customer: int, delivery: tuple[int, UUID, int] | None = None) -> int:
        return run(
            lambda: queue.deliveries.retry(by(customer), customer=customer, delivery=delivery)
        )

    assert retry(other) == 0
    assert retry(other, (me, first, 0)) == 0
    assert queue.lease(queue.enlist()) == []
    assert retry(me, (me, first, 0)) == 1
    assert queue.lease(queue.enlist()) == [first]
    assert retry(me) == 1
    assert queue.lease(queue.enlist()) == [second]
    notes = "SELECT customer_id, act, object FROM audit WHERE customer_id IN (%s, %s) ORDER BY 1, 3"
    assert queue.sql(notes, me, other) == [
        (me, "deliveries retried", "1"),
        (me, "deliveries retried", f"{me}-{first}-0"),
    ]


def add_domain(queue: Queue, name: str, hosts: list[str]) -> None:
    """A domain of a customer of its own."""
    queue.sql("INSERT INTO customer VALUES (%s, 'Duchemin', 'malle', 1, '\\x00')", queue.customer)
    sql = "INSERT INTO domain (customer_id, name, hosts) VALUES (%s, %s, %s)"
    queue.sql(sql, queue.customer, name, hosts)


def test_operators_are_heard_at_once(queue: Queue, pool: Pool) -> None:
    """Retry and reissue tell the servers, who look at the queue when they hear it."""
    [message] = queue.add()
    reissue: Callable[[], Any] = lambda: queue.deliveries.reissue(  # noqa: E731
        by(queue.customer), message, [("x@y.test", "y.test")]
    )
    retry = partial(queue.deliveries.retry, by(queue.customer))
    for act in (retry, reissue):
        assert notified(queue.dsn, lambda act=act: run(act)) == [CHANNEL]  # type: ignore[misc]


def notified(dsn: str, act: Callable[[], Any]) -> list[str]:
    """The channels that are told when this is done."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"LISTEN {CHANNEL}")
        act()
        cursor.execute("SELECT 1")
        return [notify.channel for notify in connection.notifies]


def test_one_delivery_is_taken_in_hand(queue: Queue) -> None:
    """As for a cancellation: whatever its time, but not out of another server's hands."""
    one, other = queue.enlist(), queue.enlist()
    [message] = queue.add(recipients=("anne", "marie"))
    queue.grow_old(message, 0)
    named = (queue.customer, message, 1)
    due = run(lambda: queue.deliveries.lease_one(one, named))
    assert due is not None
    assert due.recipient.address == "marie@mondomaine.fr"
    assert run(lambda: queue.deliveries.lease_one(other, named)) is None
    queue.record(message, State.CANCELLED, number=1, reply="554 5.0.0 Given up")
    assert run(lambda: queue.deliveries.lease_one(one, named)) is None
    assert [one.number for one in queue.queued()] == [0]


def test_reissue(queue: Queue) -> None:
    """More deliveries of the same message, numbered on, without reports; what was stays."""
    [message] = queue.add(recipients=("anne", "marie"))
    for number in (0, 1):
        queue.record(message, State.DELIVERED, number=number)
    pairs = [("anne@mondomaine.fr", HERE), ("paul@example.test", THERE)]
    assert run(lambda: queue.deliveries.reissue(by(queue.customer), message, pairs)) == 2
    assert [one.number for one in queue.of(message)] == [0, 1, 2, 3]
    server = queue.enlist()
    due = run(lambda: queue.deliveries.lease(server, without=(), each=9, limit=9))
    assert [(d.number, d.recipient, d.destination) for d in due] == [
        (2, Recipient("anne@mondomaine.fr", Notify.NEVER), HERE),
        (3, Recipient("paul@example.test", Notify.NEVER), THERE),
    ]


def test_reissue_of_what_is_not_there(queue: Queue) -> None:
    """Neither an unknown message nor another customer's."""
    [message] = queue.add()
    for customer, id_ in ((queue.customer, uuid4()), (queue.customer + 1, message)):
        with pytest.raises(Refused, match="has no message"):
            run(
                lambda customer=customer, id_=id_: queue.deliveries.reissue(  # type: ignore[misc]
                    by(customer), id_, [("x@y.test", "y.test")]
                )
            )
    assert queue.waiting() == [message]


# Our own letters


def test_forget_transit(queue: Queue) -> None:
    """A letter of ours is gone without a trace once it has nowhere to go, and only then."""
    [done, other] = queue.add(HERE, 2, shelf=Shelf.TRANSIT)
    [half] = queue.add(recipients=("anne", "marie"), shelf=Shelf.TRANSIT)
    [archived] = queue.add()
    for message in (done, half, archived):
        queue.record(message, State.DELIVERED)
    rows = [(queue.customer, message) for message in (done, half, archived, uuid4())]
    for _ in range(2):
        run(lambda: queue.deliveries.forget_transit(rows))
    left = {UUID(id_) for (id_,) in queue.sql("SELECT message_id FROM message")}
    assert left == {other, half, archived}
    assert queue.of(done) == []
    orphans = """SELECT 1 FROM body b LEFT JOIN message m USING (customer_id, message_id)
                 WHERE m.message_id IS NULL"""
    assert queue.sql(orphans) == []
    counted = "SELECT sum(messages), sum(bytes) FROM shelf_count WHERE shelf = 2"
    summed = "SELECT count(*), sum(stored_size) FROM message WHERE shelf = 2"
    assert queue.sql(counted) == queue.sql(summed)


def test_nothing_to_forget_or_release(queue: Queue) -> None:
    """Empty lists are fine."""
    run(lambda: queue.deliveries.forget_transit([]))
    run(lambda: queue.deliveries.release(NOBODY, []))


# At a glance


def test_the_length_of_the_queue(queue: Queue) -> None:
    """How many, since when, and the last that a host said; nothing at all when it is empty."""
    assert run(queue.deliveries.length) == (0, None, "")
    old, new, done = queue.add(HERE, 3)
    queue.grow_old(old, 3)
    queue.record(done, State.FAILED, reply="550 no")
    assert run(queue.deliveries.length)[2] == ""
    queue.record(new, State.QUEUED, reply="450 later")
    count, oldest, reply = run(queue.deliveries.length)
    assert (count, reply) == (2, "450 later")
    assert oldest is not None
    assert timedelta(hours=2.9) < datetime.now(UTC) - oldest < timedelta(hours=3.1)


def test_the_list_shows_why_it_waits(queue: Queue) -> None:
    """A delivery that was never tried itself shows what its destination said."""
    [untried] = queue.add()
    queue.down(HERE)
    [delivery] = queue.queued()
    assert delivery.last_reply == "421 4.3.2 Away\ufffd"
    assert delivery.id == f"{queue.customer}-{untried}-0"
    assert read_delivery_id(delivery.id) == (queue.customer, untried, 0)
    assert queue.queued(customer=queue.customer + 1) == []
    assert queue.queued(limit=0) == []


@pytest.mark.parametrize(
    "text",
    ["", "-", "1", "1-2", "1-2-3", "x" * 100, f"99999999999-{UUID(int=1)}-0",
     f"1-{UUID(int=1)}-99999999999", f"1-{UUID(int=1)}", f"-1-{UUID(int=1)}-0"],
)  # fmt: skip
def test_what_is_no_id(text: str) -> None:
    """`Refused`, whatever an operator has mistyped."""
    with pytest.raises(Refused, match="is not the id of a delivery"):
        read_delivery_id(text)
