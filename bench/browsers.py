"""Browsers at work: people of one customer who read pages, and how long each page took them.

``python -m bench.browsers PORT`` prints the seconds of every page as one JSON list when its
standard input ends. Styles and scripts the browsers have already. All of them are one thread, which
costs the machine as little as can be: it is shared with what is measured, and people's browsers are
not.
"""

from __future__ import annotations

import heapq
import http.client
import json
import os
import random
import re
import selectors
import socket
import sys
import time
from collections.abc import Callable
from urllib.parse import urlencode

EMAIL, PASSWORD = "marie@mondomaine.fr", "une armoire bien rangée"
BROWSERS = 200
SESSIONS = 10
"""Sign-ins, whose sessions the browsers share: a password takes its time, by design."""
THINK = float(os.environ.get("MAIL6M_THINK", "2"))
"""Seconds from a page to the next one, on average, spread exponentially up to ten times that:
people in a hurry, since an emulated browser of TPC-W, the benchmark of web shops, takes 7.
``MAIL6M_THINK`` has other ones."""
PATIENCE = 60.0
"""Seconds that a page may take."""

# What people look at, and how often: mostly the newest mail.
PAGES: tuple[tuple[int, Callable[[random.Random], str]], ...] = (
    (50, lambda chance: "/meuble"),
    (15, lambda chance: f"/meuble?page={chance.randint(1, 600)}"),
    (15, lambda chance: "/recherche?subject=facture"),
    (10, lambda chance: f"/recherche?sender=gmail.com&subject=devis%20{chance.randint(1, 9)}"),
    (5, lambda chance: "/preferences"),
    (5, lambda chance: "/domaines"),
)
_WEIGHTS, _KINDS = zip(*PAGES, strict=True)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def sign_in(port: int) -> str:
    """The cookies of a new session. Raises `OSError` if there is none to be had."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    cookies: list[str] = []

    def ask(method: str, path: str, form: dict[str, str] | None = None) -> str:
        headers = {"Cookie": "; ".join(cookies)}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urlencode(form) if form else None, headers)
        response = connection.getresponse()
        cookies.extend(
            cookie.partition(";")[0] for cookie in response.msg.get_all("set-cookie", [])
        )
        return response.read().decode()

    found = re.search(r'name="csrf" value="([^"]+)"', ask("GET", "/connexion"))
    if found is None:
        raise OSError("the form to sign in with has no token")
    ask("POST", "/connexion", {"csrf": found[1], "email": EMAIL, "password": PASSWORD})
    if 'name="password"' in ask("GET", "/meuble"):
        raise OSError("signing in did not work")
    return "; ".join(cookies)


class Browser:
    """A connection that is kept, with the cookies of a session."""

    def __init__(self, port: int, cookies: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._headers = f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookies}\r\n\r\n"
        self._answer = b""

    def fileno(self) -> int:
        """See `selectors`."""
        return self._socket.fileno()

    def ask(self, path: str) -> None:
        """Ask for a page."""
        self._answer = b""
        self._socket.sendall(f"GET {path}{self._headers}".encode())

    def read(self) -> bytes | None:
        """The page, if all of it has come. Raises `OSError` for anything else."""
        piece = self._socket.recv(1 << 18)
        self._answer += piece
        head, _, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if piece and (length is None or len(body) < int(length[1])):
            return None
        if not head.startswith(b"HTTP/1.1 200 "):
            raise OSError(f"not a page: {head[:200]!r}")
        return body

    def get(self, path: str) -> str:
        """A page, which is waited for."""
        self.ask(path)
        while (body := self.read()) is None:
            pass
        return body.decode()


class Person:
    """Somebody who reads pages."""

    def __init__(self, browser: Browser, seed: int) -> None:
        self.browser = browser
        self._chance = random.Random(seed)
        self._asked_at = 0.0
        self.think()

    def __lt__(self, other: Person) -> bool:
        return self.wants_at < other.wants_at

    def think(self) -> None:
        """Read what there is, until the next page is wanted."""
        wait = min(self._chance.expovariate(1 / THINK), 10 * THINK)
        self.wants_at = time.monotonic() + wait

    def ask(self) -> None:
        """Want a page."""
        [kind] = self._chance.choices(_KINDS, _WEIGHTS)
        self.browser.ask(kind(self._chance))
        self._asked_at = time.monotonic()

    def read(self) -> float | None:
        """The seconds that the page took, if it has all come."""
        return None if self.browser.read() is None else time.monotonic() - self._asked_at


def browse(people: list[Person], enough: int) -> list[float]:
    """Read pages until the file ``enough`` has ended; how long each of them took."""
    took: list[float] = []
    waiting, going_on = 0, True
    selector = selectors.DefaultSelector()
    selector.register(enough, selectors.EVENT_READ)
    for person in people:
        selector.register(person.browser, selectors.EVENT_READ, person)
    heapq.heapify(people)
    while going_on or waiting:
        while going_on and people and people[0].wants_at <= time.monotonic():
            heapq.heappop(people).ask()
            waiting += 1
        idle = going_on and people
        for key, _ in selector.select(
            max(0.0, people[0].wants_at - time.monotonic()) if idle else PATIENCE
        ):
            if key.data is None:
                going_on = False
                selector.unregister(enough)
            elif (seconds := key.data.read()) is not None:
                took.append(seconds)
                waiting -= 1
                key.data.think()
                heapq.heappush(people, key.data)
    return took


def main() -> None:
    """Sign in, say so on a line of its own, and read until nobody is interested any more."""
    port = int(sys.argv[1])
    sessions = [sign_in(port) for _ in range(SESSIONS)]
    people = [Person(Browser(port, sessions[n % SESSIONS]), n) for n in range(BROWSERS)]
    print("ready", flush=True)
    print(json.dumps(browse(people, sys.stdin.fileno())))


if __name__ == "__main__":
    main()
