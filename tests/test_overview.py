"""The operators' first page, and what it stands on: every figure is what counting comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher

from mail6m.oversight.backlog import BacklogCount
from mail6m.oversight.mishaps import LONGEST, Mishaps
from mail6m.oversight.recorder import Recorder
from mail6m.storage.backlog import BacklogTable
from mail6m.storage.errors import Unavailable
from mail6m.storage.health import CertificateEnd, Disk, Health
from mail6m.storage.measures import Measures, Tally
from tests.console_client import (
    Browser,
    Console,
    House,
    Role,
    listening,
    new_house,
    new_operator,
)
from tests.reactor_thread import run
from tests.stored import new_pool

NOON = datetime.now(UTC).replace(second=30, microsecond=0) - timedelta(hours=1)
"""Half past some minute, so lately that nothing of it is summed up."""


@pytest.fixture(scope="module")
def at(dsn: str) -> Iterator[Console]:
    """The console."""
    with listening(dsn) as console:
        yield console


@pytest.fixture(scope="module")
def pool(at: Console) -> Iterator[Any]:
    """Connections of a server's own."""
    with new_pool(at.dsn, 3) as pool:
        yield pool


@pytest.fixture
def empty(at: Console) -> Console:
    """Nothing has been counted yet, and nothing waits."""
    at.ask(
        "TRUNCATE measure, standing, queue_snapshot, queue_destination, server_report, mishap,"
        " delivery, destination, held_destination, held_host, server"
    )
    return at


@pytest.fixture
def house(empty: Console) -> House:
    """A customer, for whom five deliveries wait."""
    return new_house(empty)


@pytest.fixture
def operator(at: Console) -> Browser:
    """Somebody who runs Mail6M."""
    browser = at.browser()
    browser.enter(at, new_operator(at))
    return browser


def figures(page: str) -> dict[str, str]:
    """What stands above."""
    found = re.findall(r"<dt>([^<]*)</dt><dd>(?:<a[^>]*>)?([^<]*)", page)
    return {name: value.strip() for name, value in found}


# What passed


def test_minutes_become_hours_and_days(empty: Console, pool: Any) -> None:
    """None of what was counted is lost; what is new stays as it is; each server has its own."""
    measures, now = Measures(pool), datetime.now(UTC)
    for days in (0, 1, 3, 3.01, 100, 100.01, 200):
        for server in ("a", "b"):
            moment = now - timedelta(days=days)
            run(lambda s=server, m=moment: measures.add(s, m, Tally(1, 10, 2, 3, 4, 5)))  # type: ignore[misc]
    run(measures.sum_up)
    run(measures.sum_up)
    rows = empty.ask("SELECT span, sum(accepted), sum(failed) FROM measure GROUP BY 1 ORDER BY 1")
    assert rows == [(1, 4, 20), (60, 4, 20), (1440, 6, 30)]
    [[servers]] = empty.ask("SELECT count(DISTINCT server) FROM measure WHERE span = 1440")
    assert servers == 2


def test_a_minute_in_two_parts(empty: Console, pool: Any) -> None:
    """As when a process starts anew: they are added up, and so are several servers'."""
    measures = Measures(pool)
    for server in ("a", "a", "b"):
        run(lambda s=server: measures.add(s, NOON, Tally(5, 50, relayed=4)))  # type: ignore[misc]
    step = timedelta(minutes=10)
    minute = NOON.replace(second=0)
    found = run(lambda: measures.rates(minute - step, minute + step, step))
    assert found == [(minute, Tally(15, 150, relayed=12))]


class Counting:
    """A server's counters, its clock, and what it writes."""

    def __init__(self, pool: Any, folder: Path) -> None:
        self.tally = Tally()
        self.now = NOON
        self.mishaps = Mishaps(lambda: self.now)
        self.log = Logger(namespace="mail6m.essai", observer=LogPublisher(self.mishaps))
        self.measures, self.health = Measures(pool), Health(pool)
        self.recorder = Recorder(
            Clock(),
            lambda: self.now,
            "ici:/var/lib/mail6m:0",
            self.measures,
            self.health,
            self.mishaps,
            lambda: self.tally,
            lambda: "rspamd",
            lambda: [("mx.mail6m.test", NOON + timedelta(days=40))],
            [("data", folder), ("discs", folder / "discs")],
        )


@pytest.fixture
def counting(empty: Console, pool: Any, tmp_path: Path) -> Counting:
    """A server that counts."""
    return Counting(pool, tmp_path)


def test_each_minute_has_what_passed_in_it(empty: Console, counting: Counting) -> None:
    """And not what passed before; where nothing did, there is no row."""
    for minute, accepted in enumerate((3, 3, 10)):
        counting.now = NOON + timedelta(minutes=minute)
        counting.tally = Tally(accepted, 100 * accepted)
        run(counting.recorder.look)
    rows = empty.ask("SELECT begins_at, accepted FROM measure ORDER BY 1")
    minute = NOON.replace(second=0)
    assert rows == [(minute, 3), (minute + timedelta(minutes=2), 7)]


def test_what_could_not_be_written_is_written_later(
    empty: Console, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away for a minute: what passed and what happened in it is not forgotten."""

    async def away(*_: Any) -> None:
        raise Unavailable("away")

    counting.tally = Tally(4)
    counting.log.warn("{what} is odd", what="this")
    with monkeypatch.context() as patch:
        patch.setattr(Measures, "add", away)
        patch.setattr(Health, "add_mishaps", away)
        with pytest.raises(Unavailable):
            run(counting.recorder.look)
        with pytest.raises(Unavailable):
            run(counting.recorder._tell_mishaps)
    counting.log.warn("{what} is odd", what="that")
    run(counting.recorder.look)
    assert empty.ask("SELECT accepted FROM measure") == [(4,)]
    assert empty.ask("SELECT said, times FROM mishap") == [("that is odd", 2)]


def test_how_a_server_is(counting: Counting, tmp_path: Path) -> None:
    """Its disks, but only those that are there, its certificates, its scanner."""
    run(counting.recorder.look)
    [report] = run(counting.health.reports)
    assert (report.server, report.scanner, report.alive) == (
        "ici:/var/lib/mail6m:0",
        "rspamd",
        False,
    )
    assert [disk.what for disk in report.disks] == ["data"]
    assert 0 < report.disks[0].free <= report.disks[0].size
    assert report.certificates == [CertificateEnd("mx.mail6m.test", NOON + timedelta(days=40))]


# What went wrong


def test_only_what_goes_wrong_of_our_own() -> None:
    """Warnings and worse, of our own modules; each kind once, with its last words."""
    mishaps = Mishaps(lambda: NOON)
    publisher = LogPublisher(mishaps)
    ours = Logger(namespace="mail6m.delivery.queue", observer=publisher)
    for name in ("a.test", "b.test"):
        ours.warn("{name} cannot be reached", name=name)
    ours.info("nothing to worry about")
    Logger(namespace="twisted.web", observer=publisher).error("of others")
    Logger(namespace="mail6market", observer=publisher).error("of others")
    assert [(one.level, one.said, one.times) for one in mishaps.take()] == [
        ("warn", "b.test cannot be reached", 2)
    ]
    assert mishaps.take() == []


def test_what_an_exception_says_is_not_kept() -> None:
    """It may be out of somebody's mail; its kind is."""
    mishaps = Mishaps(lambda: NOON)
    log = Logger(namespace="mail6m", observer=LogPublisher(mishaps))
    try:
        raise ValueError("Subject: SECRET")
    except ValueError:
        log.failure("the queue failed")
    log.error("x" * 5_000)
    said = [one.said for one in mishaps.take()]
    assert said == ["the queue failed (ValueError)", "x" * (LONGEST - 1) + "…"]


# The queue


def test_the_queue_by_destination_and_age(house: House, at: Console, pool: Any) -> None:
    """As counting it row by row has it; what is gone from the queue is gone from the count."""
    backlog = BacklogTable(pool)
    aged = "UPDATE delivery SET queued_at = now() - %s * interval '1 second' WHERE message_id = %s"
    for message, age in zip(house.messages, (60, 4_000, 90_000, 300_000, 300_001), strict=True):
        at.ask(aged, age, str(message))
    at.ask("UPDATE delivery SET destination = 'mx:b.test' WHERE message_id = %s",
           str(house.messages[1]))  # fmt: skip
    run(backlog.take)
    snapshot = run(backlog.snapshot)
    assert snapshot is not None
    assert (snapshot.deliveries, list(snapshot.ages)) == (5, [1, 0, 1, 0, 1, 2])
    assert snapshot.oldest_at == at.ask("SELECT min(queued_at) FROM delivery")[0][0]
    found = run(lambda: backlog.destinations(0, 10))
    assert [(one.destination, one.deliveries) for one in found] == [
        (house.domain, 4),
        ("mx:b.test", 1),
    ]
    assert run(lambda: backlog.one("mx:b.test")) == found[1]
    at.ask("UPDATE delivery SET state = 1 WHERE destination = 'mx:b.test'")
    run(backlog.take)
    assert [one.destination for one in run(lambda: backlog.destinations(0, 10))] == [house.domain]
    assert run(lambda: backlog.one("mx:b.test")) is None
    at.ask("UPDATE delivery SET state = 1")
    run(backlog.take)
    snapshot = run(backlog.snapshot)
    assert snapshot is not None
    assert (snapshot.deliveries, snapshot.oldest_at, sum(snapshot.ages)) == (0, None, 0)


def test_it_is_counted_by_one_server_at_a_time(house: House, pool: Any) -> None:
    """Whoever comes while the count is fresh leaves it; later it counts anew."""
    clock, table, shift = Clock(), BacklogTable(pool), [timedelta()]
    count = BacklogCount(clock, table, lambda: datetime.now(UTC) + shift[0])
    run(count.look)
    first = run(table.snapshot)
    run(count.look)
    assert run(table.snapshot) == first
    shift[0] = timedelta(seconds=30)
    run(count.look)
    second = run(table.snapshot)
    assert first is not None
    assert second is not None
    assert second.taken_at > first.taken_at


# The page


def test_before_anything_has_been_counted(empty: Console, operator: Browser) -> None:
    """It says so, and that no server has reported."""
    page = operator.get("/exploitation")
    assert page.status == 200
    assert figures(page.text)["En attente"] == "–"
    for said in ("Elle n'a pas été comptée encore", "Aucun serveur ne s'est signalé"):
        assert said in page.text


def test_figures(house: House, at: Console, operator: Browser, counting: Counting) -> None:
    """They are what is in the tables, whatever is added after the next count."""
    backlog = BacklogTable(counting.measures._pool)
    now = datetime.now(UTC)
    tally = Tally(600, 6_000, relayed=450)
    run(lambda: counting.measures.add("a", now - timedelta(minutes=2), tally))
    run(backlog.take)
    run(counting.measures.stand)
    page = operator.get("/exploitation").text
    [[messages]] = at.ask("SELECT count(*) FROM message WHERE shelf IN (0, 1)")
    [[customers]] = at.ask("SELECT count(*) FROM customer WHERE customer_id <> 0")
    shown = figures(page)
    assert shown | {"La plus ancienne": ""} == {
        "Reçus par minute": "120",
        "Remis par minute": "90",
        "En attente": "5",
        "La plus ancienne": "",
        "Messages archivés": str(messages),
        "Clients": str(customers),
    }
    at.ask("UPDATE delivery SET state = 1")
    operator.post("/exploitation/file/reessayer", [("destination", house.domain)])
    assert figures(operator.get("/exploitation").text)["En attente"] == "0"


def test_what_is_amiss_is_marked(empty: Console, operator: Browser, pool: Any) -> None:
    """A full disk, a certificate that ends, a scanner that is gone, a server that is silent."""
    health = Health(pool)
    empty.ask(
        "INSERT INTO server (name, lease_until) VALUES ('un:/d:0', now() + interval '1 minute')"
    )
    now = datetime.now(UTC)
    ends = [CertificateEnd("mx.test", now + timedelta(days=5)),
            CertificateEnd("www.test", now + timedelta(days=80))]  # fmt: skip
    disks = [Disk("data", 5_000_000_000, 100_000_000_000), Disk("discs", 50, 100)]
    gone = "rspamd does not answer, mail is not scanned: refused"
    run(lambda: health.report("un:/d:0", "1.0", gone, disks, ends))
    run(lambda: health.report("deux:/d:0", "1.0", "none", [], []))
    page = operator.get("/exploitation").text
    amiss = re.findall(r'class="amiss">([^<]*)<', page)
    assert amiss == ["Serveur deux", "Antispam", "Disque des données", "Certificat de mx.test"]
    assert "5 Go libres sur 100 Go" in page


def test_destinations_in_trouble(house: House, at: Console, operator: Browser, pool: Any) -> None:
    """What is down, held or has waited for long; what has just come is none."""
    run(BacklogTable(pool).take)
    assert "Aucune : rien n'attend depuis plus d'une heure" in operator.get("/exploitation").text
    at.ask("INSERT INTO destination VALUES (%s, 1, now(), now(), '451 4.4.1 refusé')", house.domain)
    page = operator.get("/exploitation").text
    assert "451 4.4.1 refusé" in page
    assert "1 destination en difficulté" in page


# The queue's page


def test_hold_and_release_by_buttons(house: House, at: Console, operator: Browser) -> None:
    """From the list, and from a destination's own page, to which one comes back."""
    here = [("destination", house.domain), ("ici", house.domain)]
    path = f"/exploitation/destinations/{house.domain}"
    assert operator.post("/exploitation/file/retenir", here).location == path
    page = operator.get(path).text
    assert "rien ne part" in page
    assert "une fois libérée" in page
    assert operator.get("/exploitation/file").text.count("une fois libérée") == 1
    operator.post("/exploitation/file/liberer", [("destination", house.domain)])
    assert at.ask("SELECT FROM held_destination") == []


def test_what_another_name_keeps_is_told(house: House, at: Console, operator: Browser) -> None:
    """When one of the two by which a domain is held is let go, and the other is not."""
    at.ask("UPDATE domain SET hosts = '{mx.double.test}' WHERE name = %s", house.domain)
    for name, said in (
        ("mx.double.test", "1 de ses domaines reste retenu sous un autre nom."),
        (house.domain, f"{house.domain} reste retenue : par une de ses machines"),
    ):
        for one in (house.domain, "mx.double.test"):
            operator.post("/exploitation/file/retenir", [("destination", one)])
        operator.post("/exploitation/file/liberer", [("destination", name)])
        assert said in operator.get("/exploitation/file").text
    for name in ("mx.double.test", house.domain):
        operator.post("/exploitation/file/liberer", [("destination", name)])
    assert at.ask("SELECT FROM held_destination") == []


def test_a_host_is_held_by_its_name(house: House, at: Console, operator: Browser) -> None:
    """The page says so while it is, whatever domains it has, and lets it go."""
    at.ask("UPDATE domain SET hosts = '{mx.tenu.test:25}' WHERE name = %s", house.domain)
    operator.post("/exploitation/file/retenir", [("destination", "mx.tenu.test")])
    operator.post("/exploitation/file/liberer", [("destination", house.domain)])
    assert "La machine mx.tenu.test est retenue" in operator.get("/exploitation/file").text
    operator.post("/exploitation/file/liberer", [("destination", "mx.tenu.test")])
    assert "mx.tenu.test est libérée" in operator.get("/exploitation/file").text
    assert "mx.tenu.test" not in operator.get("/exploitation/file").text


def test_a_customer_sees_that_it_is_held(house: House, at: Console, operator: Browser) -> None:
    """On the page of its own queue, in the place of a time that does not hold."""
    operator.post("/exploitation/file/retenir", [("destination", house.domain)])
    browser = at.browser()
    browser.enter(at, house.admin)
    assert browser.get("/file").text.count("retenu par Mail6M") == 5


def test_holding_what_nobody_has(empty: Console, operator: Browser) -> None:
    """Says so beside the field, and keeps what was typed."""
    page = operator.post("/exploitation/file/retenir", [("destination", "nulle.part.test")])
    assert page.status == 400
    assert 'value="nulle.part.test"' in page.text


def test_cancel_asks_once_with_the_count(house: House, at: Console, operator: Browser) -> None:
    """And then all of it is given up, and gone from the page."""
    asked = operator.post("/exploitation/file/annuler", [("destination", house.domain)])
    assert "5 remises sont abandonnées" in asked.text
    assert at.ask("SELECT count(*) FROM delivery WHERE state = 0") == [(5,)]
    sure = [("destination", house.domain), ("sur", "oui")]
    assert operator.post("/exploitation/file/annuler", sure).location == "/exploitation/file"


def test_one_delivery(house: House, at: Console, operator: Browser) -> None:
    """Is retried or cancelled by its id; there is no subject on the page."""
    page = operator.get(f"/exploitation/destinations/{house.domain}").text
    assert house.company in page
    assert "Sujet" not in page
    one = [("id", house.deliveries[0]), ("ici", house.domain)]
    operator.post("/exploitation/file/reessayer", one)
    assert at.ask("SELECT count(*) FROM delivery WHERE next_attempt_at <= now()") == [(1,)]
    operator.post("/exploitation/file/annuler", one)
    assert at.ask("SELECT count(*) FROM delivery WHERE state = 4") == [(1,)]
    assert operator.post("/exploitation/file/annuler", one).status == 303
    assert operator.post("/exploitation/file/annuler", [("id", "non")]).status == 404


def test_an_observer_has_no_buttons(house: House, at: Console) -> None:
    """He looks, and that is all."""
    browser = at.browser()
    browser.enter(at, new_operator(at, Role.OBSERVER))
    for path in ("", "/file", f"/destinations/{house.domain}", "/dvd", "/archiviste"):
        page = browser.get(f"/exploitation{path}").text
        assert re.findall(r"<button[^>]*>([^<]*)<", page) == ["Se déconnecter"], path
