"""A stand-in for PayPal on the loopback: what its published interface says, and its faults.

https://developer.paypal.com/docs/api/orders/v2/: tokens, orders, the page on which the payer
agrees, captures, refunds; and https://developer.paypal.com/api/rest/webhooks/: events, signed over
the octets that were sent, and the check of the signature.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import http.client
import itertools
import json
import threading
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

CLIENT, SECRET, WEBHOOK = "client-of-mail6m", "very-secret", "5XH07366UA345221E"
_NAMES = itertools.count(1)


@dataclass
class Fault:
    """What goes wrong with the next request to a path that ends so."""

    path: str
    kind: str
    """``lost``: done, and no answer; ``slow``: no answer for long; ``endless``; a status; or, of an
    order, ``overtaken``: what is said of it does not hold any more, somebody has captured it."""


@dataclass
class StandIn:
    """PayPal."""

    port: int = 0
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Methods and paths of all requests."""
    tokens: list[str] = field(default_factory=list)
    """Those that hold."""
    faults: list[Fault] = field(default_factory=list)
    poor: bool = False
    """The payer's bank does not pay."""
    pending: bool = False
    """Captures are looked into first."""
    answered: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    """By PayPal-Request-Id."""
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def approve(self, order_id: str) -> str:
        """The payer agrees; where the browser goes then."""
        order = self.orders[order_id]
        if order["status"] == "PAYER_ACTION_REQUIRED":
            order["status"] = "APPROVED"
        context = order["payment_source"]["paypal"]["experience_context"]
        return f"{context['return_url']}?token={order_id}&PayerID=QYR5Z8XDVJNXQ"

    def capture_of(self, order_id: str) -> dict[str, Any]:
        """The capture of an order."""
        [capture] = self.orders[order_id]["purchase_units"][0]["payments"]["captures"]
        return dict(capture)

    # Events

    def event(self, kind: str, resource: dict[str, Any]) -> bytes:
        """As it is sent: with floats that another hand would write otherwise, and spaces."""
        event = {
            "id": f"WH-{next(_NAMES)}",
            "event_version": "1.0",
            "create_time": "2026-12-01T10:00:00.000Z",
            "resource_type": "checkout-order" if kind.startswith("CHECKOUT") else "capture",
            "event_type": kind,
            "resource": resource,
        }
        return json.dumps(event, indent=1).replace('"1.0"', "1.0").encode()

    def refund(self, order_id: str, value: str, kind: str = "REFUNDED") -> bytes:
        """Money goes back: the event of that."""
        capture = self.capture_of(order_id)
        unit = self.orders[order_id]["purchase_units"][0]
        resource = {
            "id": f"REFUND{next(_NAMES)}",
            "status": "COMPLETED",
            "custom_id": unit["custom_id"],
            "amount": {"currency_code": "EUR", "value": value},
            "links": [{"rel": "up", "href": f"{self.url}/v2/payments/captures/{capture['id']}"}],
        }
        return self.event(f"PAYMENT.CAPTURE.{kind}", resource)

    def sign(self, octets: bytes, transmission: str = "") -> dict[str, str]:
        """The fields that go with an event."""
        transmission = transmission or f"transmission-{next(_NAMES)}"
        at = "2026-12-01T10:00:01Z"
        return {
            "PayPal-Auth-Algo": "SHA256withRSA",
            "PayPal-Cert-Url": "https://api.paypal.com/v1/notifications/certs/CERT-360caa42",
            "PayPal-Transmission-Id": transmission,
            "PayPal-Transmission-Time": at,
            "PayPal-Transmission-Sig": _signature(transmission, at, octets),
        }

    def bring(self, port: int, octets: bytes, fields: dict[str, str] | None = None) -> int:
        """An event is brought to the console; the status that it answers."""
        sent = {"Content-Type": "application/json", "User-Agent": "PayPal/AUHD-214.0-58012"}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            told = self.sign(octets) if fields is None else fields
            connection.request("POST", "/paypal/webhook", octets, sent | told)
            return connection.getresponse().status
        finally:
            connection.close()

    # Its interface

    def answer(self, request: _Request) -> tuple[int, dict[str, Any]]:
        """What it says to a request."""
        parts = request.path.strip("/").split("/")
        if request.path == "/v1/oauth2/token":
            return self._token(request)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, {"error": "invalid_token", "error_description": "Token signature failed"}
        if request.path == "/v1/notifications/verify-webhook-signature":
            return self._verify(request)
        request_id = request.headers.get("PayPal-Request-Id", "")
        if request_id in self.answered:
            return self.answered[request_id]
        if (request.command, request.path) == ("POST", "/v2/checkout/orders"):
            said = self._create(json.loads(request.body))
        elif parts[:3] == ["v2", "checkout", "orders"] and parts[3] in self.orders:
            order = self.orders[parts[3]]
            said = (200, order) if request.command == "GET" else self._capture(order)
        else:
            return 404, _error("RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
        if request_id and said[0] < 300:
            self.answered[request_id] = said
        return said

    def _token(self, request: _Request) -> tuple[int, dict[str, Any]]:
        basic = b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {basic}":
            return 401, {"error": "invalid_client"}
        if request.body != b"grant_type=client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        self.tokens.append(f"A21AA{next(_NAMES)}")
        return 200, {
            "access_token": self.tokens[-1],
            "token_type": "Bearer",
            "expires_in": 32_400,
            "scope": "https://uri.paypal.com/services/payments/payment",
        }

    def _create(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        [unit] = asked["purchase_units"]
        amount = unit["amount"]
        if asked["intent"] != "CAPTURE" or not isinstance(amount["value"], str):
            return 400, _error("INVALID_REQUEST", "INVALID_PARAMETER_SYNTAX")
        order_id = f"5O190127TN3647{next(_NAMES):04d}"
        self.orders[order_id] = asked | {
            "id": order_id,
            "status": "PAYER_ACTION_REQUIRED",
            "links": [
                {"rel": "self", "href": f"{self.url}/v2/checkout/orders/{order_id}"},
                {"rel": "payer-action", "href": f"{self.url}/checkoutnow?token={order_id}"},
            ],
        }
        return 200, self.orders[order_id]

    def _capture(self, order: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if order["status"] == "COMPLETED":
            return 422, _error("UNPROCESSABLE_ENTITY", "ORDER_ALREADY_CAPTURED")
        if order["status"] != "APPROVED":
            return 422, _error("UNPROCESSABLE_ENTITY", "ORDER_NOT_APPROVED")
        if self.poor:
            order["status"] = "PAYER_ACTION_REQUIRED"
            return 422, _error("UNPROCESSABLE_ENTITY", "INSTRUMENT_DECLINED")
        [unit] = order["purchase_units"]
        capture_id = f"3C679366HH9089{next(_NAMES):04d}"
        capture = {
            "id": capture_id,
            "status": "PENDING" if self.pending else "COMPLETED",
            "amount": unit["amount"],
            "custom_id": unit["custom_id"],
            "final_capture": True,
            "supplementary_data": {"related_ids": {"order_id": order["id"]}},
            "links": [{"rel": "up", "href": f"{self.url}/v2/checkout/orders/{order['id']}"}],
        }
        unit["payments"] = {"captures": [capture]}
        order["status"] = "COMPLETED"
        return 201, order

    def _verify(self, request: _Request) -> tuple[int, dict[str, Any]]:
        told = json.loads(request.body)
        octets = request.body.partition(b'"webhook_event": ')[2][:-1]
        right = hmac.compare_digest(
            told["transmission_sig"],
            _signature(told["transmission_id"], told["transmission_time"], octets),
        )
        right = right and told["webhook_id"] == WEBHOOK
        return 200, {"verification_status": "SUCCESS" if right else "FAILURE"}


def _signature(transmission: str, at: str, octets: bytes) -> str:
    """Over what PayPal's is: the checksum of the octets, not what they mean."""
    said = f"{transmission}|{at}|{WEBHOOK}|{zlib.crc32(octets)}"
    return hmac.new(SECRET.encode(), said.encode(), hashlib.sha256).hexdigest()


def _error(name: str, issue: str) -> dict[str, Any]:
    return {"name": name, "details": [{"issue": issue, "description": "…"}], "debug_id": "90957f"}


_PAGE = """<!DOCTYPE html><html lang="fr"><title>PayPal</title><h1>PayPal</h1>
<p>{value} EUR</p><p><a href="/agree?token={token}">Payer</a> <a href="{cancel}">Annuler</a></p>"""


class _Request(BaseHTTPRequestHandler):
    paypal: StandIn
    body = b""

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._serve()

    def do_GET(self) -> None:
        if self.path.startswith(("/checkoutnow?", "/agree?")):
            self._show()
        else:
            self._serve()

    def _serve(self) -> None:
        paypal = self.paypal
        paypal.asked.append(f"{self.command} {self.path}")
        fault = next((one for one in paypal.faults if self.path.endswith(one.path)), None)
        if fault is not None:
            paypal.faults.remove(fault)
        kind = fault.kind if fault is not None else ""
        if kind == "slow":
            paypal.over.wait(20)
            return
        if kind.isdigit():
            self._say(int(kind), json.dumps(_error("INTERNAL_SERVER_ERROR", "FAULT")).encode())
            return
        status, said = copy.deepcopy(paypal.answer(self))
        if kind == "overtaken":
            paypal._capture(paypal.orders[self.path.rpartition("/")[2]])
        if kind == "endless":
            self._say(200, b'{"a": "' + b"a" * (1 << 20) + b'"}')
        elif kind != "lost":
            self._say(status, json.dumps(said).encode())

    def _show(self) -> None:
        """The page of the payer, and what becomes of a click."""
        token = parse_qs(urlsplit(self.path).query)["token"][0]
        order = self.paypal.orders[token]
        if self.path.startswith("/agree?"):
            self.send_response(302)
            self.send_header("Location", self.paypal.approve(token))
            self.end_headers()
            return
        context = order["payment_source"]["paypal"]["experience_context"]
        value = order["purchase_units"][0]["amount"]["value"]
        page = _PAGE.format(value=value, token=token, cancel=context["cancel_url"])
        self._say(200, page.encode(), "text/html; charset=utf-8")

    def _say(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def paid_by(stand_in: StandIn, secret: Path) -> list[str]:
    """The options of a server whose customers pay by it."""
    return [
        *("--paypal-client-id", CLIENT, "--paypal-secret-file", str(secret)),
        *("--paypal-webhook-id", WEBHOOK, "--paypal-api", stand_in.url),
    ]


@contextmanager
def paypal() -> Iterator[StandIn]:
    """It listens for a while."""
    stand_in = StandIn()
    request = type("Request", (_Request,), {"paypal": stand_in})
    server = ThreadingHTTPServer(("127.0.0.1", 0), request)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    stand_in.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield stand_in
    finally:
        stand_in.over.set()
        server.shutdown()
        server.server_close()
