"""MTA-STS: policies read, found by a real DNS, fetched by real HTTPS, kept in a real database."""

from __future__ import annotations

import contextlib
import itertools
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.client import Agent

from mail6m import published
from mail6m.delivery import sts
from mail6m.delivery.route import NoRoute, Routes
from mail6m.delivery.sts import NoPolicy, Policy, StsPolicies, read_id, read_policy
from mail6m.model import Host, StsMode
from mail6m.storage.pool import Pool
from mail6m.storage.sts import StsTable
from mail6m.trust import WebTrust
from tests.authority import Authority, Issued, the_authority
from tests.carried import World
from tests.reactor_thread import run, the_reactor
from tests.scripted_peer import LOOPBACK
from tests.stored import new_pool
from tests.zone import Told, Zone

POLICY = "version: STSv1\r\nmode: enforce\r\nmx: mx.x.test\r\nmx: *.y.test\r\nmax_age: 600000\r\n"
_numbers = itertools.count(1)


# What they say


@pytest.mark.parametrize(
    ("texts", "id_"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1", "v=spf1 -all"], "1"),
        (["v=STSv1 ; foo=bar; id=a ; "], "a"),
        ([], ""),
        (["v=STSv1; id=1;", "v=STSv1; id=1;"], ""),
        (["v=STSv2; id=1;"], ""),
        (["v=STSv1;"], ""),
        (["v=STSv1; id=a b;"], ""),
        (["v=STSv1; id=" + "a" * 33], ""),
        ([" v=STSv1; id=1;"], ""),
    ],
)
def test_ids(texts: list[str], id_: str) -> None:
    """One record of the version, with an id (RFC 8461, 3.1); anything else is nothing."""
    assert read_id(texts) == id_


def test_a_policy() -> None:
    """Its fields in any order, with any ends of lines; what is not known is passed over."""
    assert read_policy(POLICY) == Policy(StsMode.ENFORCE, ("mx.x.test", "*.y.test"), 600_000)
    other = "mx:X.test.\nfoo: bar\nmax_age:99999999\nmode: testing\nversion: STSv1"
    assert read_policy(other) == Policy(StsMode.TESTING, ("x.test",), sts.LONGEST_AGE)
    assert read_policy("version: STSv1\nmode: none\nmax_age: 0").mode is StsMode.NONE


@pytest.mark.parametrize("mode", StsMode)
def test_what_we_serve_is_what_we_read(mode: StsMode) -> None:
    """The policies of customers' domains are ones that senders like ourselves go by."""
    policy = read_policy(published.policy(mode, ["MX1.mail6m.test.", "mx2.mail6m.test"]))
    assert (policy.mode, policy.mx) == (mode, ("mx1.mail6m.test", "mx2.mail6m.test"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("STSv1", "STSv2"),
        ("version: STSv1", ""),
        ("enforce", "always"),
        ("mode: enforce", ""),
        ("max_age: 600000", ""),
        ("600000", "-1"),
        ("600000", "٣"),
        ("mx: ", "xm: "),
        ("mx.x.test", "mx.*.test"),
        ("mx.x.test", "<b>"),
        ("mx.x.test", "\x00"),
    ],
)
def test_what_is_no_policy(old: str, new: str) -> None:
    """Half a policy is none."""
    with pytest.raises(NoPolicy):
        read_policy(POLICY.replace(old, new))


@given(st.text(max_size=200))
def test_anything_fetched(text: str) -> None:
    """Is a policy or is not."""
    with contextlib.suppress(NoPolicy):
        read_policy(f"version: STSv1\nmode: enforce\nmax_age: 1\nmx: {text}")


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("mx.x.test", True),
        ("MX.x.test.", True),
        ("a.y.test", True),
        ("y.test", False),
        ("a.b.y.test", False),
        ("x.test", False),
        ("evil-mx.x.test", False),
    ],
)
def test_which_hosts_it_covers(host: str, covered: bool) -> None:
    """A star stands for one label (RFC 8461, 4.1)."""
    assert read_policy(POLICY).covers(host) is covered


# Found, fetched, kept


class Web:
    """A web server with TLS that serves one policy, and counts."""

    def __init__(self, certificate: Issued) -> None:
        self.status = 200
        self.headers = {"Content-Type": "text/plain; charset=utf-8"}
        self.body = POLICY.encode()
        self.asked: list[tuple[str, str]] = []
        self.over = threading.Event()
        self.cut_off = False
        """The last client has closed its connection."""
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.asked.append((self.headers["Host"], self.path))
                self.send_response(web.status)
                length = {"Content-Length": str(len(web.body))}
                for name, value in (length | web.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(web.body)
                web.cut_off = not self.rfile.read(1)
                web.over.set()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        context: ssl.SSLContext = certificate.context
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class Site:
    """A domain with a policy, and somebody who looks for it."""

    def __init__(self, pool: Pool, zone: Zone, authorities: Path) -> None:
        self.domain = f"d{next(_numbers)}.test"
        self.zone = zone
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.world = World()
        self.web = self.serve(the_authority().issue(f"mta-sts.{self.domain}"))
        self._pool, self._authorities = pool, authorities
        self.say("1")
        self.restart()

    def serve(self, certificate: Issued) -> Web:
        """From now on, this is who answers."""
        self.web = Web(certificate)
        self.world.ports["mta-sts." + self.domain, 443] = self.web.port
        return self.web

    def say(self, id_: str) -> None:
        """The DNS has this id; none if it is empty."""
        self.zone.remove(f"_mta-sts.{self.domain}")
        if id_:
            self.zone.add({f"_mta-sts.{self.domain} TXT": f"v=STSv1; id={id_};"})
        self.restart()

    def restart(self) -> None:
        """Who looks has just been started: it remembers nothing but what is in the database."""
        self.policies = StsPolicies(
            the_reactor(),
            self.zone.resolver(the_reactor()),
            Agent(self.world, WebTrust(self._authorities)),
            StsTable(self._pool),
            lambda: self.now,
        )

    def find(self) -> Policy | None:
        """What is found."""
        return run(lambda: self.policies.of(self.domain))


@pytest.fixture
def site(database: str, tmp_path: Path) -> Iterator[Site]:
    """A domain that enforces `POLICY`."""
    with new_pool(database, 2, 10.0) as pool, Zone() as zone:
        site = Site(pool, zone, the_authority().write(tmp_path))
        yield site
        site.web.close()


def test_found_and_kept(site: Site) -> None:
    """Fetched once for an id, from the well-known place; a restart forgets nothing."""
    found = site.find()
    assert found is not None
    assert (found.mode, found.mx) == (StsMode.ENFORCE, ("mx.x.test", "*.y.test"))
    assert site.web.asked == [(f"mta-sts.{site.domain}", "/.well-known/mta-sts.txt")]
    site.restart()
    assert site.find() == found
    assert len(site.web.asked) == 1


def test_a_new_id_is_fetched(site: Site) -> None:
    """The DNS says when it has changed."""
    site.find()
    site.web.body = POLICY.replace("enforce", "testing").encode()
    site.say("2")
    found = site.find()
    assert found is not None
    assert found.mode is StsMode.TESTING
    site.web.body = b"version: STSv1\nmode: none\nmax_age: 1000\n"
    site.say("3")
    assert site.find() is None


def test_one_that_is_in_use_does_not_run_out(site: Site) -> None:
    """After a day it is fetched again, though the id is the same."""
    site.find()
    site.now += timedelta(days=6)
    assert site.find() is not None
    assert len(site.web.asked) == 2
    site.now += timedelta(days=6)
    assert site.find() is not None


def test_no_record_no_policy(site: Site) -> None:
    """Nothing is fetched for who does not say that there is something."""
    site.say("")
    assert site.find() is None
    assert not site.web.asked


@pytest.mark.parametrize("gone", ["record", "DNS", "web"])
def test_what_is_kept_holds_until_it_expires(site: Site, gone: str) -> None:
    """Who takes away the record or the server takes no policy away (RFC 8461, 5.1)."""
    site.find()
    site.now += timedelta(days=2)
    if gone == "record":
        site.say("")
    elif gone == "DNS":
        site.zone.failing = {f"_mta-sts.{site.domain}"}
        site.restart()
    else:
        site.web.status = 500
    assert site.find() is not None
    site.now += timedelta(days=6)
    site.restart()
    assert site.find() is None


@pytest.mark.parametrize("what", ["status", "redirect", "kind", "size", "policy", "name", "issuer"])
def test_what_is_not_fetched(site: Site, what: str) -> None:
    """Only 200, text/plain, 64 KB at most, under a good certificate of the right name."""
    match what:
        case "status":
            site.web.status = 404
        case "redirect":
            site.web.status = 301
            site.web.headers["Location"] = f"https://mta-sts.{site.domain}/other"
        case "kind":
            site.web.headers = {"Content-Type": "text/html"}
        case "size":
            site.web.body += b"x: y\n" * sts.LARGEST
        case "policy":
            site.web.body = b"<html>"
        case "name":
            site.web.close()
            site.serve(the_authority().issue(site.domain))
        case "issuer":
            site.web.close()
            site.serve(Authority("Somebody else").issue(f"mta-sts.{site.domain}"))
    assert site.find() is None
    if what not in ("name", "issuer"):
        assert site.web.over.wait(10)
        assert site.web.cut_off  # nobody keeps the connection
    requests = len(site.web.asked)
    assert requests == (0 if what in ("name", "issuer") else 1)
    assert site.find() is None  # and not again at once
    assert len(site.web.asked) == requests


def test_a_server_that_is_slow(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for longer than that."""
    monkeypatch.setattr(sts, "PATIENCE", 0.05)
    site.web.headers["Content-Length"] = "100000"
    assert site.find() is None
    assert site.web.over.wait(10)
    assert site.web.cut_off


def test_expired_policies_are_forgotten(site: Site) -> None:
    """The table holds no more than what counts."""
    site.find()
    site.now += timedelta(days=8)
    other = Site(site._pool, site.zone, site._authorities)
    other.now = site.now
    assert other.find() is not None
    other.web.close()
    rows = run(lambda: site._pool.query("SELECT domain FROM sts_policy"))
    domains = [domain for (domain,) in rows]
    assert site.domain not in domains
    assert other.domain in domains


# Routes


class _NoPolicies:
    asked: list[str]

    def __init__(self, policy: Policy | None = None) -> None:
        self.asked, self.policy = [], policy

    async def of(self, domain: str) -> Policy | None:
        self.asked.append(domain)
        return self.policy


def routes(told: Told, policies: Any, smarthost: Host | None = None) -> Routes:
    """Those of mail that Mail6M writes."""
    nobody: Any = None
    return Routes(nobody, told, policies, smarthost)


@pytest.mark.parametrize("authentic", [True, False])
def test_a_route_by_mx(authentic: bool) -> None:
    """It knows its domain, whether the DNS proves the hosts, and what the domain says of TLS."""
    policy = read_policy(POLICY)
    told = Told({"x.test MX": ["20 b.x.test", "10 a.x.test"]}, authentic=authentic)
    route = run(lambda: routes(told, _NoPolicies(policy)).find("mx:x.test"))
    assert route.hosts == (Host("a.x.test"), Host("b.x.test"))
    assert (route.domain, route.authentic, route.sts) == ("x.test", authentic, policy)


def test_a_route_without_mx() -> None:
    """The domain is its own host (RFC 5321, 5.1)."""
    route = run(lambda: routes(Told({"x.test A": LOOPBACK}), _NoPolicies()).find("mx:x.test"))
    assert route.hosts == (Host("x.test"),)


@pytest.mark.parametrize(
    ("records", "status"),
    [({}, "5.1.2"), ({"x.test MX": "0 ."}, "5.1.10"), (None, "4.4.3")],
)
def test_no_route(records: dict[str, str] | None, status: str) -> None:
    """No such domain, one that takes no mail (RFC 7505), a DNS that does not answer."""
    told = Told(records or {})
    told.failing = {"x.test"} if records is None else set()
    with pytest.raises(NoRoute) as caught:
        run(lambda: routes(told, _NoPolicies()).find("mx:x.test"))
    assert caught.value.reply.status == status


def test_no_policy_is_looked_for_where_there_is_no_mx() -> None:
    """A smarthost and an address are named, not found."""
    policies = _NoPolicies()
    run(lambda: routes(Told(), policies, Host("smart.test")).find("mx:x.test"))
    run(lambda: routes(Told(), policies).find("mx:[192.0.2.1]"))
    assert not policies.asked
