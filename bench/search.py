"""How long the console takes in an archive of millions: pages, and searches, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlencode

from bench.browsers import EMAIL, PASSWORD, Browser, sign_in
from bench.catalogue import fill
from bench.figure import Figure, progress
from bench.gateways import Mail6M
from bench.load import BenchError, free_ports

MESSAGES = 2_000_000
"""Of the customer who asks."""
OTHERS = (1_000_000, 1_000_000, 1_000_000)
"""Of customers who are there, too."""
ROWS = 20
"""On a page of the cabinet, as the preferences have it at first."""


def search(root: Path, rounds: int) -> list[Figure]:
    """Pages and searches of a customer who has two fifths of an archive."""
    (nowhere,) = free_ports(1)
    with Mail6M(root, nowhere) as gateway:
        gateway.ask("account", "password", "--email", EMAIL, "--password-stdin", answer=PASSWORD)
        customer, data = gateway.customer, gateway.data
    others = {customer + 1 + number: messages for number, messages in enumerate(OTHERS)}
    fill(data, {customer: MESSAGES} | others)
    with Mail6M(root, nowhere) as gateway:
        browser = Browser(gateway.web, sign_in(gateway.web))
        return _figures(browser, 4 * rounds)


def _figures(browser: Browser, times: int) -> list[Figure]:
    last = MESSAGES // ROWS
    numbers = {"first": 1, "second": 2, "a tenth": last // 10, "middle": last // 2, "last": last}
    pages = {
        name: _asked(browser, f"/meuble?page={number}", times) for name, number in numbers.items()
    }
    searches = {
        name: _asked(browser, f"/recherche?{urlencode(query)}", times)
        for name, query in _mix().items()
    }
    for name, took in (pages | searches).items():
        progress(f"  {name}: median {1000 * median(took):.1f} ms, p95 {_p95(took):.1f} ms")
    others = [seconds for name, took in pages.items() if name != "first" for seconds in took]
    every = [seconds for took in searches.values() for seconds in took]
    slowest = max(searches, key=lambda name: median(searches[name]))
    size = f"{MESSAGES} messages of {MESSAGES + sum(OTHERS)}"
    return [
        Figure("first page", _p95(pages["first"]), "ms p95", "<=", 30, _detail(pages["first"])),
        Figure("any other page", _p95(others), "ms p95", "<=", 100, _detail(others)),
        Figure(
            f"search in {size}",
            _p95(every),
            "ms p95",
            "<=",
            50,
            f"{_detail(every)}; slowest: {slowest}, {_detail(searches[slowest])}",
        ),
    ]


def _asked(browser: Browser, path: str, times: int) -> list[float]:
    """Seconds from request to answer, after one request that fetches what lies on the disk."""
    page = browser.get(path)
    if 'class="messages"' not in page and 'class="empty"' not in page:
        raise BenchError(f"{path} is no list of messages")
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        browser.get(path)
        took.append(time.perf_counter() - begun)
    return took


def _mix() -> dict[str, dict[str, str]]:
    """What people look for, and what is hard to find."""
    long_ago, later = _days_ago(300), _days_ago(298)
    return {
        "a common word": {"subject": "facture"},
        "a rare word": {"subject": "zanzibar"},
        "a single message": {"subject": "quetzalcoatl"},
        "nothing, of rare letters": {"subject": "xyzzyq"},
        "nothing, of common letters": {"subject": "brementage"},
        "nothing, of common syllables": {"subject": "mentation"},
        "two common terms": {"sender": "jacques", "subject": "facture"},
        "two common terms, few hits": {"sender": "orange.fr", "subject": "livraison chantier"},
        "a common term and a rare one": {"sender": "gmail.com", "subject": "belvédère"},
        "three common terms, no hit": {
            "sender": "albert.",
            "recipient": "personne11@",
            "subject": "livraison chantier",
        },
        "a sender and a word": {"sender": "george.", "subject": "rendez-vous"},
        "two letters": {"subject": "ma"},
        "two letters, nowhere": {"subject": "zq"},
        "a letter": {"subject": "e"},
        "a letter, nowhere": {"subject": "~"},
        "accents": {"subject": "ÉLANCOURT"},
        "two days, long ago": {"subject": "facture", "since": long_ago, "until": later},
        "two days, a rare word": {"subject": "zanzibar", "since": long_ago, "until": later},
        "a year, a rare word": {"subject": "zanzibar", "since": long_ago},
        "two days, everything": {"since": long_ago, "until": later},
    }


def _days_ago(days: int) -> str:
    """As people type a date."""
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d %H:%M}"


def _p95(times: Sequence[float]) -> float:
    return 1000 * quantiles(times, n=20, method="inclusive")[-1]


def _detail(times: Sequence[float]) -> str:
    return f"median {1000 * median(times):.1f} ms, longest {1000 * max(times):.1f} ms"
