"""How long the console's questions take in an archive of millions: pages, and searches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar

import psycopg2
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import blockingCallFromThread

from bench.catalogue import fill
from bench.figure import Figure, progress
from mail6m.model import Criteria
from mail6m.shelves.cabinet import Cabinet, criteria
from mail6m.shelves.indexer import Indexer
from mail6m.storage.catalogue import Catalogue
from mail6m.storage.embedded import Embedded
from mail6m.storage.migrate import migrate
from mail6m.storage.pool import Pool

T = TypeVar("T")

CUSTOMER, MESSAGES = 1, 2_000_000
OTHERS = {2: 1_000_000, 3: 1_000_000, 4: 1_000_000}
ROWS = 30
FRESH = 5_000
"""Messages whose entries are written anew, to see what that takes."""

_FORGET = """
WITH newest AS (
    SELECT customer_id, shelf, message_id FROM message
    WHERE customer_id = %s ORDER BY message_id DESC LIMIT %s
), gone AS (
    DELETE FROM search_entry e USING newest n
    WHERE e.customer_id = n.customer_id AND e.shelf = n.shelf AND e.message_id = n.message_id
)
INSERT INTO unindexed (customers, messages)
SELECT array_agg(customer_id), array_agg(message_id)
FROM (SELECT *, row_number() OVER () / 20 AS part FROM newest) AS n GROUP BY part"""


def search(root: Path, rounds: int) -> list[Figure]:
    """Pages and searches of a customer who has two fifths of an archive."""
    embedded = Embedded(root / "postgres")
    try:
        dsn = embedded.start()
        migrate(dsn)
        fill(root, {CUSTOMER: MESSAGES} | OTHERS)
        return _Questions(dsn, rounds).ask()
    finally:
        embedded.leave()


class _Questions:
    """What a customer asks the cabinet, one question after another."""

    def __init__(self, dsn: str, rounds: int) -> None:
        self._dsn = dsn
        self._rounds = rounds
        self._reactor = _running_reactor()
        pool = Pool(self._reactor, dsn, 2, 30.0)
        catalogue = Catalogue(pool)
        self._indexer = Indexer(self._reactor, catalogue)
        self._cabinet = Cabinet(catalogue, self._indexer)

    def ask(self) -> list[Figure]:
        """All figures."""
        entries = self._entries()
        last = MESSAGES // ROWS
        pages = {"first": 1, "second": 2, "a tenth": last // 10, "middle": last // 2, "last": last}
        took = {name: self._times(self._page(number)) for name, number in pages.items()}
        searches = {name: self._times(self._search(wanted)) for name, wanted in _mix().items()}
        for name, times in searches.items():
            progress(f"  {name}: median {_ms(median(times)):.1f} ms, p95 {_p95(times):.1f} ms")
        others = [seconds for name, times in took.items() if name != "first" for seconds in times]
        every = [seconds for times in searches.values() for seconds in times]
        slowest = max(searches, key=lambda name: median(searches[name]))
        size = f"{MESSAGES} messages of {MESSAGES + sum(OTHERS.values())}"
        return [
            Figure("first page", _p95(took["first"]), "ms p95", "<=", 30, _detail(took["first"])),
            Figure("any other page", _p95(others), "ms p95", "<=", 100, _detail(others)),
            Figure(
                f"search in {size}",
                _p95(every),
                "ms p95",
                "<=",
                50,
                f"{_detail(every)}; slowest: {slowest}, {_detail(searches[slowest])}",
            ),
            Figure("an entry of the index", entries, "µs", "<=", 1000, f"{FRESH} fresh messages"),
        ]

    def _entries(self) -> float:
        """Microseconds to make a message known to the search."""
        with closing(psycopg2.connect(self._dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(_FORGET, (CUSTOMER, FRESH))
            connection.commit()
        begun = time.perf_counter()
        self._run(lambda: self._indexer.catch_up())
        return 1e6 * (time.perf_counter() - begun) / FRESH

    def _page(self, number: int) -> Callable[[], Coroutine[Any, Any, Any]]:
        return lambda: self._cabinet.page(CUSTOMER, number, ROWS)

    def _search(self, wanted: Criteria) -> Callable[[], Coroutine[Any, Any, Any]]:
        return lambda: self._cabinet.search(CUSTOMER, wanted, ROWS)

    def _times(self, question: Callable[[], Coroutine[Any, Any, Any]]) -> list[float]:
        """Seconds of some askings, after one that fetches what lies on the disk."""
        self._run(question)
        times = []
        for _ in range(4 * self._rounds):
            begun = time.perf_counter()
            self._run(question)
            times.append(time.perf_counter() - begun)
        return times

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        call: Any = blockingCallFromThread  # its types know nothing of coroutines
        answer: T = call(self._reactor, lambda: ensureDeferred(work()))
        return answer


def _mix() -> dict[str, Criteria]:
    """What people look for, and what is hard to find."""
    now = datetime.now(UTC)
    long_ago, later = now - timedelta(days=300), now - timedelta(days=298)
    return {
        "a common word": criteria(subject="facture"),
        "a rare word": criteria(subject="zanzibar"),
        "a single message": criteria(subject="quetzalcoatl"),
        "nothing, of rare letters": criteria(subject="xyzzyq"),
        "nothing, of common letters": criteria(subject="brementage"),
        "nothing, of common syllables": criteria(subject="mentation"),
        "two common terms": criteria(sender="jacques", subject="facture"),
        "two common terms, few hits": criteria(sender="orange.fr", subject="livraison chantier"),
        "a common term and a rare one": criteria(sender="gmail.com", subject="belvédère"),
        "three common terms, no hit": criteria(
            sender="albert.", recipient="personne11@", subject="livraison chantier"
        ),
        "a sender and a word": criteria(sender="george.", subject="rendez-vous"),
        "two letters": criteria(subject="ma"),
        "two letters, nowhere": criteria(subject="zq"),
        "a letter": criteria(subject="e"),
        "a letter, nowhere": criteria(subject="~"),
        "accents": criteria(subject="ÉLANCOURT"),
        "two days, long ago": criteria(subject="facture", since=long_ago, until=later),
        "two days, a rare word": criteria(subject="zanzibar", since=long_ago, until=later),
        "a year, a rare word": criteria(subject="zanzibar", since=long_ago),
        "two days, everything": criteria(since=long_ago, until=later),
    }


def _running_reactor() -> Any:
    """The reactor, in a thread that ends with the program."""
    from twisted.internet import reactor

    running: Any = reactor
    if not running.running:
        threading.Thread(target=running.run, args=(False,), daemon=True).start()
    return running


def _ms(seconds: float) -> float:
    return 1000 * seconds


def _p95(times: Sequence[float]) -> float:
    return _ms(quantiles(times, n=20, method="inclusive")[-1])


def _detail(times: Sequence[float]) -> str:
    return f"median {_ms(median(times)):.1f} ms, longest {_ms(max(times)):.1f} ms"
