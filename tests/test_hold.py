"""Destinations that operators hold: nothing of them goes out, and nothing of them is lost."""

from __future__ import annotations

import smtplib
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest

from mail6m.delivery.giving_up import GivingUp
from mail6m.model import HOUSE
from mail6m.storage.archive import Archive
from mail6m.storage.audit import Audit, By
from mail6m.storage.deliveries import CHANNEL, Deliveries, Due, LetGo
from mail6m.storage.errors import Refused, Unavailable
from mail6m.storage.servers import Servers
from mail6m.web.cabinet import _last
from tests.harness import LOOPBACK, Server, new_place
from tests.reactor_thread import run
from tests.scripted_peer import Peer
from tests.stored import ask, new_customer, new_message, new_pool

OPERATOR = By(HOUSE, "exploitation@mail6m.test", "192.0.2.8")
HELD, OTHER = "retenu.test", "libre.test"
PATIENCE = 30.0


class Table:
    """The queue's tables, and messages for them."""

    def __init__(self, dsn: str, pool: Any) -> None:
        self.dsn = dsn
        self.pool = pool
        self.deliveries = Deliveries(pool)
        self.servers = Servers(pool)
        self.customer = new_customer()
        self.told: list[tuple[UUID, list[str]]] = []

    def add(self, destination: str, count: int = 1, recipients: int = 1) -> list[UUID]:
        """Messages that are due now."""
        messages = [
            new_message(
                self.customer,
                destination=destination,
                recipients=[f"marie{n}@{destination}" for n in range(recipients)],
            )
            for _ in range(count)
        ]
        run(lambda: Archive(self.pool, self.dsn, 20.0).store(messages, 0))
        return [one.id for one in messages]

    def lease(self) -> set[str]:
        """The destinations of all that a server gets in hand."""
        server = run(lambda: self.servers.enlist(str(uuid4())))
        due = run(lambda: self.deliveries.lease(server, without=[], each=100, limit=1_000))
        due += run(lambda: self.deliveries.lease_probes(server))
        due += run(
            lambda: self.deliveries.lease_late(server, lifetime=9e5, warn_after=3_600, limit=99)
        )
        run(lambda: self.servers.resign(server))
        return {one.destination for one in due}

    def hold(self, destination: str) -> int:
        """An operator holds it."""
        return run(lambda: self.deliveries.hold(OPERATOR, destination))

    def release(self, destination: str) -> LetGo:
        """An operator lets it go."""
        let_go: LetGo = run(lambda: self.deliveries.let_go(OPERATOR, destination))
        return let_go

    def let_go(self, destination: str) -> int:
        """An operator lets it go; how many that were."""
        return self.release(destination).destinations

    def add_domain(self, name: str, *hosts: str) -> None:
        """A customer's domain, whose mail goes on to these."""
        known = "INSERT INTO customer VALUES (%s, 'D', 'malle', 1, '\\x00') ON CONFLICT DO NOTHING"
        self.sql(known, self.customer)
        add = "INSERT INTO domain (customer_id, name, hosts) VALUES (%s, %s, %s)"
        self.sql(add, self.customer, name, list(hosts))

    def held(self) -> list[str]:
        """The destinations that are held."""
        return [one.destination for one in run(self.deliveries.held)]

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """One statement."""
        return ask(self.dsn, statement, *values)

    async def report(self, consignment: Any, action: str, items: Any) -> None:
        """Senders are told (as `mail6m.delivery.reports.Report`)."""
        assert action == "failed"
        recipients = [item.recipient.address for item, _ in items]
        self.told.append((consignment.message, recipients))


@pytest.fixture
def table(dsn: str) -> Iterator[Table]:
    """An empty queue."""
    ask(dsn, "TRUNCATE delivery, destination, held_destination, held_host, audit, domain CASCADE")
    with new_pool(dsn, size=3) as pool:
        yield Table(dsn, pool)


def test_nothing_of_it_is_leased(table: Table) -> None:
    """Not what is due, not as a probe, not since it is late; what goes elsewhere is."""
    table.add(HELD, 3)
    table.add(OTHER)
    assert table.hold(HELD) == 1
    assert table.lease() == {OTHER}
    table.sql("UPDATE delivery SET queued_at = now() - interval '9 days' WHERE state = 0")
    table.sql("INSERT INTO destination VALUES (%s, 1, now(), now(), '451')", HELD)
    assert table.lease() == {OTHER}
    assert table.let_go(HELD) == 1
    assert table.lease() == {HELD, OTHER}


def test_who_has_a_domain_next_is_not_held(table: Table) -> None:
    """With the domain goes that it was held."""
    number = new_customer()
    table.sql("INSERT INTO customer VALUES (%s, 'D', 'malle', 1, '\\x00')", number)
    table.sql("INSERT INTO domain VALUES (%s, %s, '{127.0.0.1:9}')", number, HELD)
    table.hold(HELD)
    table.sql("DELETE FROM domain WHERE name = %s", HELD)
    assert table.sql("SELECT destination FROM held_destination") == []


def test_time_stands_still_for_it(table: Table) -> None:
    """Held for nine days, it is no older than it was; what came meanwhile has just come."""
    old, new = table.add(HELD)[0], table.add(HELD)[0]
    now = datetime.now(UTC)
    table.hold(HELD)
    table.sql("UPDATE held_destination SET held_at = now() - interval '9 days'")
    aged = "UPDATE delivery SET queued_at = now() - %s * interval '1 day' WHERE message_id = %s"
    table.sql(aged, 10, str(old))
    table.sql(aged, 3, str(new))
    table.let_go(HELD)
    rows = table.sql("SELECT message_id::text, queued_at FROM delivery")
    ages = {id_: now - at for id_, at in rows}
    assert abs(ages[str(old)] - timedelta(days=1)) < timedelta(minutes=5)
    assert abs(ages[str(new)]) < timedelta(minutes=5)


def test_held_by_the_name_of_a_host(table: Table) -> None:
    """All domains that a machine takes mail for, and none other; once is enough."""
    table.sql("INSERT INTO customer VALUES (%s, 'D', 'malle', 1, '\\x00')", table.customer)
    add = "INSERT INTO domain (customer_id, name, hosts) VALUES (%s, %s, %s)"
    for name, host in (
        ("a.test", "mx.a.test:26"),
        ("b.test", "mx.a.test"),
        ("c.test", "mx.c.test"),
    ):
        table.sql(add, table.customer, name, [host])
    assert table.hold("MX.a.test") == 2
    assert table.hold("mx.a.test") == 0
    held = run(table.deliveries.held)
    assert [(one.destination, one.held_by) for one in held] == [
        ("a.test", OPERATOR.account),
        ("b.test", OPERATOR.account),
    ]
    assert table.let_go("a.test") == 1
    assert [one.destination for one in run(table.deliveries.held)] == ["b.test"]


def test_held_by_a_host_that_more_domains_go_on_to(table: Table) -> None:
    """Domains declared, or moved there, while its host is held wait; one may go alone."""
    table.add_domain("a.test", "mx.a.test")
    table.hold("mx.a.test")
    table.add_domain("b.test", "mx.b.test", "mx.a.test:26")
    table.add_domain("c.test", "mx.c.test")
    assert table.held() == ["a.test", "b.test"]
    move = "UPDATE domain SET hosts = %s WHERE name = 'c.test'"
    assert notified(table, lambda: table.sql(move, ["mx.a.test"])) == [CHANNEL]
    assert table.held() == ["a.test", "b.test", "c.test"]
    assert [one.destination for one in run(table.deliveries.held_hosts)] == ["mx.a.test"]
    assert table.let_go("b.test") == 1
    table.sql(move, ["mx.c.test"])
    assert table.let_go("mx.a.test") == 2
    assert table.held() == []
    table.add_domain("d.test", "mx.a.test")
    assert table.held() == []
    acts = [object_ for [object_] in table.sql("SELECT object FROM audit ORDER BY audit_id")]
    assert sorted(acts[:2]) == ["a.test", "mx.a.test"]


def test_held_by_its_own_name_and_by_that_of_its_host(table: Table) -> None:
    """Releasing either leaves what the other one keeps, whichever was said first; it is told."""
    for number, names in enumerate((("a.test", "mx.a.test"), ("mx.a.test", "a.test"))):
        table.sql("TRUNCATE domain, held_destination, held_host CASCADE")
        table.add_domain("a.test", "mx.a.test:26")
        assert [table.hold(name) for name in names] == [1, number]
        assert table.release("mx.a.test") == LetGo(0, 0, ("a.test",))
        assert table.held() == ["a.test"]
        assert table.release("a.test") == LetGo(1, 0)
        assert table.held() == []


def test_let_go_by_its_name_while_its_host_is_held(table: Table) -> None:
    """It stays held, by the host now; once more, and it goes alone. The audit has each."""
    table.add_domain("a.test", "mx.a.test")
    table.hold("a.test")
    table.hold("mx.a.test")
    assert table.release("a.test") == LetGo(0, 0, ("a.test",))
    assert table.held() == ["a.test"]
    assert table.release("a.test") == LetGo(1, 0)
    assert table.release("mx.a.test") == LetGo(0, 0)
    assert table.sql(
        "SELECT object FROM audit WHERE act = 'destination let go' ORDER BY audit_id"
    ) == [("a.test",), ("a.test",), ("mx.a.test",)]


def test_held_by_two_of_its_hosts(table: Table) -> None:
    """It goes when the second one is let go, whichever that is."""
    hosts = ["mx1.a.test", "mx2.a.test"]
    for first, second in (hosts, hosts[::-1]):
        table.sql("TRUNCATE domain, held_destination, held_host CASCADE")
        table.add_domain("a.test", *hosts)
        for host in hosts:
            table.hold(host)
        assert table.release(first) == LetGo(0, 0, ("a.test",))
        assert table.held() == ["a.test"]
        assert table.release(second) == LetGo(1, 0)
        assert table.held() == []


def test_declared_while_its_host_is_let_go(table: Table) -> None:
    """The release waits for who declares a domain just now, and lets that go, too."""
    table.add_domain("a.test", "mx.a.test")
    table.hold("mx.a.test")
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with closing(psycopg2.connect(table.dsn)) as other, ThreadPoolExecutor(1) as thread:
        add = "INSERT INTO domain (customer_id, name, hosts) VALUES (%s, 'b.test', '{mx.a.test}')"
        other.cursor().execute(add, [table.customer])
        released = thread.submit(table.release, "mx.a.test")
        deadline = time.monotonic() + PATIENCE
        while not released.done() and table.sql(waits) == [(0,)]:
            assert time.monotonic() < deadline
        other.commit()
        assert released.result(PATIENCE) == LetGo(2, 0)
    assert table.held() == []


def test_held_again_while_it_is_let_go(table: Table, monkeypatch: Any) -> None:
    """By its name, by its host, or since it moves to a held host: it stays held, after all."""
    monkeypatch.setattr("mail6m.storage.deliveries.AT_ONCE", 2)
    table.add_domain(HELD, "mx.a.test")
    table.add_domain(OTHER, "mx.b.test")
    table.add(HELD, 3)
    table.hold("mx.b.test")
    move = "UPDATE domain SET hosts = '{mx.b.test}' WHERE name = %s"
    for hold_again, frees in (
        (lambda: table.deliveries.hold(OPERATOR, HELD), HELD),
        (lambda: table.deliveries.hold(OPERATOR, "mx.a.test"), "mx.a.test"),
        (lambda: table.pool.query(move, [HELD]), "mx.b.test"),
    ):
        table.hold(HELD)
        again = Deliveries(Amid(table, 1, hold_again))  # type: ignore[arg-type]
        assert run(partial(again.let_go, OPERATOR, HELD)) == LetGo(0, 0, (HELD,))
        assert HELD in table.held()
        assert table.lease() == set()
        assert table.release(frees).deliveries == 3
        assert HELD not in table.held()


def test_held_again_after_its_release_broke_off(table: Table, monkeypatch: Any) -> None:
    """It is held, and the time of both counts once for what the first release had seen to."""
    monkeypatch.setattr("mail6m.storage.deliveries.AT_ONCE", 2)
    table.add(HELD, 3)
    table.hold(HELD)
    table.sql("UPDATE delivery SET queued_at = now() - interval '7 days'")
    table.sql("UPDATE held_destination SET held_at = now() - interval '2 days'")
    with pytest.raises(Unavailable):
        run(lambda: broken_after(table, 1).let_go(OPERATOR, HELD))
    three_days_later(table)
    assert days_old(table) == [8, 8, 10]
    assert (table.hold(HELD), table.hold(HELD)) == (1, 0)
    assert table.sql("SELECT let_go_at FROM held_destination") == [(None,)]
    assert table.release(HELD) == LetGo(1, 3)
    assert days_old(table) == [5, 5, 5]


def test_a_long_queue_is_let_go_piece_by_piece(table: Table, monkeypatch: Any) -> None:
    """Broken off, it stays held; done again, each is younger once, and it is told how many."""
    monkeypatch.setattr("mail6m.storage.deliveries.AT_ONCE", 2)
    table.add(HELD, 5)
    table.sql("UPDATE delivery SET queued_at = now() - interval '10 days'")
    table.hold(HELD)
    table.sql("UPDATE held_destination SET held_at = now() - interval '9 days'")
    pieces = broken_after(table, 1)
    with pytest.raises(Unavailable):
        run(lambda: pieces.let_go(OPERATOR, HELD))
    assert days_old(table) == [1, 1, 10, 10, 10]
    assert (table.held(), table.lease()) == ([HELD], set())
    assert run(lambda: table.deliveries.let_go(OPERATOR, HELD)) == LetGo(1, 3)
    assert days_old(table) == [1, 1, 1, 1, 1]
    assert (table.held(), table.lease()) == ([], {HELD})


def test_let_go_again_days_after_it_was_broken_off(table: Table, monkeypatch: Any) -> None:
    """The days in between were held, too: of what had been seen to, and of what had not."""
    monkeypatch.setattr("mail6m.storage.deliveries.AT_ONCE", 2)
    table.add(HELD, 4)
    table.sql("UPDATE delivery SET queued_at = now() - interval '7 days'")
    table.hold(HELD)
    table.sql("UPDATE held_destination SET held_at = now() - interval '6 days'")
    pieces = broken_after(table, 1)
    with pytest.raises(Unavailable):
        run(lambda: pieces.let_go(OPERATOR, HELD))
    three_days_later(table)
    assert days_old(table) == [4, 4, 10, 10]
    assert table.let_go(HELD) == 1
    assert days_old(table) == [1, 1, 1, 1]


def three_days_later(table: Table) -> None:
    """As if all that has been done had been done three days ago."""
    back = timedelta(days=3)
    table.sql(
        "UPDATE held_destination SET held_at = held_at - %s, let_go_at = let_go_at - %s", back, back
    )
    table.sql(
        "UPDATE delivery SET queued_at = queued_at - %s, next_attempt_at = next_attempt_at - %s",
        back,
        back,
    )


def test_what_was_sent_again_is_shown_when_part_of_it_was_held(table: Table) -> None:
    """The last delivery to each recipient, though those that were held seem to be younger."""
    [message] = table.add(HELD)
    again = [(f"{name}@{domain}", domain) for name in "ab" for domain in (HELD, OTHER)]
    by_customer = By(table.customer, "marie@example.org", "192.0.2.9")
    table.hold(HELD)
    for _ in range(2):
        run(lambda: table.deliveries.reissue(by_customer, message, again))
    table.let_go(HELD)
    shown = _last(run(lambda: table.deliveries.of_message(table.customer, message)))
    assert [(one.recipient, one.number) for one in shown] == [
        ("marie0@retenu.test", 0),
        *((address, 5 + number) for number, (address, _) in enumerate(again)),
    ]


class Amid:
    """The database, where something is done when an act has seen to so many pieces."""

    def __init__(
        self, table: Table, pieces: int, act: Callable[[], Awaitable[Any]], of: str = "WITH held"
    ) -> None:
        self.prepare = table.pool.prepare
        self._query, self._left, self._act, self._of = table.pool.query, pieces, act, of

    async def query(self, sql: str, *parameters: Any) -> Any:
        """One statement, and before that what is to be done."""
        if sql.strip().startswith(self._of):
            if not self._left:
                await self._act()
            self._left -= 1
        return await self._query(sql, *parameters)


def broken_after(table: Table, pieces: int) -> Deliveries:
    """The queue on a database that goes away when so many pieces have been done."""

    async def fail() -> None:
        raise Unavailable

    return Deliveries(Amid(table, pieces, fail))  # type: ignore[arg-type]


def days_old(table: Table) -> list[int]:
    """The ages of what is queued."""
    rows = table.sql("SELECT extract(epoch FROM now() - queued_at) FROM delivery WHERE state = 0")
    return sorted(round(float(seconds) / 86_400) for [seconds] in rows)


def test_what_nobody_has(table: Table) -> None:
    """`Refused`, and nothing is held."""
    with pytest.raises(Refused, match="nothing waits for"):
        table.hold("nulle.part.test")
    assert run(table.deliveries.held) == []


def test_who_has_held_it(table: Table) -> None:
    """Stands in the audit of the house; and the servers are told."""
    table.add("mx:example.org")
    assert notified(table, lambda: table.hold("mx:example.org")) == [CHANNEL]
    assert notified(table, lambda: table.let_go("mx:example.org")) == [CHANNEL]
    assert table.sql("SELECT customer_id, account, act, object FROM audit ORDER BY audit_id") == [
        (HOUSE, OPERATOR.account, "destination held", "mx:example.org"),
        (HOUSE, OPERATOR.account, "destination let go", "mx:example.org"),
    ]


def notified(table: Table, act: Callable[[], Any]) -> list[str]:
    """The channels that are told when this is done."""
    with closing(psycopg2.connect(table.dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"LISTEN {CHANNEL}")
        act()
        cursor.execute("SELECT 1")
        return [notify.channel for notify in connection.notifies]


def test_all_of_it_is_given_up(table: Table) -> None:
    """Held or not: each sender is told once of all recipients; others wait on; the audit knows."""
    messages = table.add(HELD, 3, recipients=2)
    table.add(OTHER)
    table.hold(HELD)
    giving_up = GivingUp(table.deliveries, table.servers, Audit(table.pool), table.report)
    assert run(lambda: giving_up.all_to(OPERATOR, HELD)) == 6
    both = [f"marie0@{HELD}", f"marie1@{HELD}"]
    assert sorted(table.told) == sorted((id_, both) for id_ in messages)
    states = "SELECT destination, state, count(*) FROM delivery GROUP BY 1, 2 ORDER BY 1"
    assert table.sql(states) == [(OTHER, 0, 1), (HELD, 4, 6)]
    [(_, act, object_)] = table.sql(
        "SELECT audit_id, act, object FROM audit WHERE act = 'deliveries cancelled'"
    )
    assert (act, object_) == ("deliveries cancelled", f"{HELD}: 6")
    assert run(table.servers.bury) == 0, "it has given back what it had in hand"


def test_what_comes_while_all_is_given_up(table: Table, monkeypatch: Any) -> None:
    """It is delivered: nobody has seen it and said that it should not be."""
    monkeypatch.setattr("mail6m.delivery.giving_up.PORTION", 1)
    table.add(HELD, 2)
    late: list[UUID] = []

    async def report(consignment: Any, action: str, items: Any) -> None:
        if not late:
            message = new_message(table.customer, destination=HELD, recipients=[f"marie@{HELD}"])
            late.append(message.id)
            await Archive(table.pool, table.dsn, 20.0).store([message], 0)

    giving_up = GivingUp(table.deliveries, table.servers, Audit(table.pool), report)
    assert run(lambda: giving_up.all_to(OPERATOR, HELD)) == 2
    left = table.sql("SELECT message_id::text FROM delivery WHERE state = 0")
    assert left == [(str(late[0]),)]


def test_a_long_queue_is_tried_piece_by_piece(table: Table, monkeypatch: Any) -> None:
    """All of it, once, however many pieces that makes."""
    monkeypatch.setattr("mail6m.storage.deliveries.AT_ONCE", 2)
    table.add(HELD, 5)
    table.sql("UPDATE delivery SET next_attempt_at = now() + interval '1 hour'")
    assert run(lambda: table.deliveries.retry(OPERATOR, destination=HELD)) == 5
    assert table.sql("SELECT count(*) FROM delivery WHERE next_attempt_at <= now()") == [(5,)]
    noted = table.sql("SELECT object FROM audit ORDER BY audit_id")
    assert noted == [(f"{HELD}: 2",), (f"{HELD}: 2",), (f"{HELD}: 1",)]


def test_what_fails_again_meanwhile_is_not_tried_again(table: Table, monkeypatch: Any) -> None:
    """One act tries each delivery once, and so comes to its end."""
    monkeypatch.setattr("mail6m.storage.deliveries.AT_ONCE", 2)
    table.add(HELD, 4)
    fail = (
        "UPDATE delivery SET attempted_at = now(), next_attempt_at = now() + interval '1 hour'"
        " WHERE next_attempt_at <= now()"
    )
    table.sql("UPDATE delivery SET next_attempt_at = now() + interval '1 hour'")
    amid = Amid(table, 1, lambda: table.pool.query(fail), of="WITH due")
    deliveries = Deliveries(amid)  # type: ignore[arg-type]
    assert run(lambda: deliveries.retry(OPERATOR, destination=HELD)) == 4


def test_what_is_under_way_is_not_given_up(table: Table) -> None:
    """Another server has it in hand: it is not taken from it."""
    [message] = table.add(HELD)
    server = run(lambda: table.servers.enlist(str(uuid4())))
    due: list[Due] = run(lambda: table.deliveries.lease(server, without=[], each=9, limit=9))
    assert [one.message for one in due] == [message]
    giving_up = GivingUp(table.deliveries, table.servers, Audit(table.pool), table.report)
    assert run(lambda: giving_up.all_to(OPERATOR, HELD)) == 0
    with pytest.raises(Refused, match="under way"):
        run(lambda: giving_up.one(OPERATOR, (table.customer, message, 0)))
    assert table.told == []


# Two servers


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    """The machine that all mail goes on to."""
    with Peer() as peer:
        yield peer


@pytest.fixture(scope="module")
def pair(peer: Peer) -> Iterator[tuple[Server, Server]]:
    """Two processes on one database."""
    with new_place() as place, ExitStack() as stack:
        first, second = (stack.enter_context(Server(place)) for _ in range(2))
        customer = first.add_customer("Duchemin", "georges@duchemin.fr")
        for name in (HELD, OTHER):
            first.add_domain(name, customer, peer.port)
        yield first, second


def send(server: Server, subject: str, *domains: str) -> None:
    """A message to somebody at each of these domains."""
    with smtplib.SMTP(LOOPBACK, server.smtp_port, timeout=PATIENCE) as client:
        for domain in domains:
            client.sendmail("anne@example.org", [f"marie@{domain}"], f"Subject: {subject}\r\n\r\n")


def arrived(peer: Peer, domain: str) -> int:
    """How much the machine has got for somebody there."""
    return sum(f"marie@{domain}" in mail.recipients for mail in peer.mails)


def test_no_process_sends_what_is_held(peer: Peer, pair: tuple[Server, Server]) -> None:
    """What comes to either server for it waits, other mail goes on; released, all of it goes."""
    first, second = pair
    send(first, "avant", HELD)
    assert peer.wait_for(lambda peer: arrived(peer, HELD) == 1, PATIENCE)
    assert first.command("queue", "hold", "--destination", HELD) == {"count": 1}
    for server in pair:
        send(server, "retenu", HELD, OTHER)
    assert peer.wait_for(lambda peer: arrived(peer, OTHER) == 2, PATIENCE)
    for _ in range(2):  # both look at what is due, when they are told to, and then there is more
        assert first.command("queue", "retry", "--destination", HELD)["count"] == 2
        send(second, "encore", OTHER)
    assert peer.wait_for(lambda peer: arrived(peer, OTHER) == 4, PATIENCE)
    assert arrived(peer, HELD) == 1
    assert [one["attempts"] for one in first.queue()] == [0, 0]
    assert second.command("queue", "release", "--destination", HELD)["count"] == 1
    assert peer.wait_for(lambda peer: arrived(peer, HELD) == 3, PATIENCE)
    first.wait_until_relayed(PATIENCE)


def test_what_waits_for_a_machine_that_is_down(peer: Peer, pair: tuple[Server, Server]) -> None:
    """Held while it is down, it is not even probed; released, it is, at once."""
    first, _ = pair
    first.sql("UPDATE domain SET hosts = '{127.0.0.1:9}' WHERE name = %s", HELD)
    send(first, "en panne", HELD)
    deadline = time.monotonic() + PATIENCE
    while first.command("status")["queue"]["destinations_down"] != [HELD]:
        assert time.monotonic() < deadline, "the machine is not known to be down"
    first.command("queue", "hold", "--destination", HELD)
    first.sql("UPDATE domain SET hosts = %s WHERE name = %s", [f"{LOOPBACK}:{peer.port}"], HELD)
    before = arrived(peer, HELD)
    first.sql("UPDATE destination SET next_probe_at = now()")
    send(first, "ailleurs", OTHER)
    there = arrived(peer, OTHER)
    first.command("queue", "retry", "--destination", HELD)
    send(first, "ailleurs", OTHER)
    assert peer.wait_for(lambda peer: arrived(peer, OTHER) > there, PATIENCE)
    assert arrived(peer, HELD) == before
    first.command("queue", "release", "--destination", HELD)
    assert peer.wait_for(lambda peer: arrived(peer, HELD) == before + 1, PATIENCE)
