"""Browsers at work: people of one customer who read pages, and how long each page took them.

``python -m bench.browsers PORT`` prints the seconds of every page as one JSON list when its
standard input ends. Styles and scripts the browsers have already.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import sys
import threading
import time
from urllib.parse import urlencode

EMAIL, PASSWORD = "marie@mondomaine.fr", "une armoire bien rangée"
BROWSERS = 200
SESSIONS = 10
"""Sign-ins, whose sessions the browsers share: a password takes its time, by design."""
THINK = float(os.environ.get("MAIL6M_THINK", "2"))
"""Seconds from a page to the next one, on average, spread exponentially up to ten times that:
people in a hurry, since an emulated browser of TPC-W, the benchmark of web shops, takes 7.
``MAIL6M_THINK`` has other ones."""

# What people look at, and how often: mostly the newest mail.
PAGES = (
    (50, lambda chance: "/meuble"),
    (15, lambda chance: f"/meuble?page={chance.randint(1, 600)}"),
    (15, lambda chance: "/recherche?subject=facture"),
    (10, lambda chance: f"/recherche?sender=gmail.com&subject=devis%20{chance.randint(1, 9)}"),
    (5, lambda chance: "/preferences"),
    (5, lambda chance: "/domaines"),
)


class Browser:
    """A connection that is kept, with its cookies."""

    def __init__(self, port: int, cookies: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.cookies = cookies

    def get(self, path: str) -> str:
        """A page. Raises `OSError` if it is not one."""
        return self._ask("GET", path)

    def sign_in(self) -> None:
        """Get a session of the bench's account."""
        form = self.get("/connexion")
        found = re.search(r'name="csrf" value="([^"]+)"', form)
        if found is None:
            raise OSError("the form to sign in with has no token")
        self._ask("POST", "/connexion", {"csrf": found[1], "email": EMAIL, "password": PASSWORD})
        if 'name="password"' in self.get("/meuble"):
            raise OSError("signing in did not work")

    def _ask(self, method: str, path: str, form: dict[str, str] | None = None) -> str:
        headers = {"Cookie": self.cookies}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, urlencode(form) if form else None, headers)
        response = self._connection.getresponse()
        body = response.read().decode()
        if response.status not in (200, 303):
            raise OSError(f"{method} {path}: {response.status}")
        for cookie in response.msg.get_all("set-cookie", []):
            self.cookies = "; ".join(filter(None, (self.cookies, cookie.partition(";")[0])))
        return body


def browse(port: int, cookies: str, seed: int, enough: threading.Event, took: list[float]) -> None:
    """Read pages until it is enough."""
    chance = random.Random(seed)
    browser = Browser(port, cookies)
    weights, kinds = zip(*PAGES, strict=True)
    while not enough.wait(min(chance.expovariate(1 / THINK), 10 * THINK)):
        [kind] = chance.choices(kinds, weights)
        begun = time.monotonic()
        browser.get(kind(chance))
        took.append(time.monotonic() - begun)


def main() -> None:
    """Sign in, say so on a line of its own, and read until nobody is interested any more."""
    port, enough = int(sys.argv[1]), threading.Event()
    sessions = [Browser(port) for _ in range(SESSIONS)]
    for session in sessions:
        session.sign_in()
    print("ready", flush=True)
    took: list[float] = []
    people = [
        threading.Thread(
            target=browse, args=(port, sessions[n % SESSIONS].cookies, n, enough, took)
        )
        for n in range(BROWSERS)
    ]
    for person in people:
        person.start()
    sys.stdin.read()
    enough.set()
    for person in people:
        person.join()
    print(json.dumps(took))


if __name__ == "__main__":
    main()
