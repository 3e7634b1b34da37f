"""PayPal, over HTTPS: Orders v2, and the check of what its webhooks bring.

https://developer.paypal.com/docs/api/orders/v2/ and
https://developer.paypal.com/docs/api/webhooks/v1/#verify-webhook-signature
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from treq.client import HTTPClient
from treq.content import collect
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from mail6m.billing.money import plain
from mail6m.settings import Settings, SettingsError

PATIENCE = 20.0
"""Seconds for an answer."""
LARGEST_ANSWER = 1 << 18
CURRENCY = "EUR"
_EARLY = 60.0
"""Seconds before its end that a token is not used any more."""
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_SIGNED = ("auth-algo", "cert-url", "transmission-id", "transmission-sig", "transmission-time")
"""What a webhook says of its signature, in fields that begin with ``PayPal-``."""


class PayPalError(Exception):
    """PayPal has not done it; the text says why, and nothing that is secret."""


class Away(PayPalError):
    """It cannot be reached, or has not answered as it should; it may have done it all the same."""


class Declined(PayPalError):
    """It has refused (4xx)."""

    def __init__(self, status: int, issue: str) -> None:
        super().__init__(f"PayPal says {status} {issue}")
        self.status = status
        self.issue = issue
        """Its word for it: ``INSTRUMENT_DECLINED``."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What somebody is asked to pay, and where their browser goes afterwards."""

    invoice: str
    """No two payments of a seller's may name the same one."""
    custom: str
    """What we know it by."""
    amount: int
    """Cents."""
    description: str
    locale: str
    """As in ``fr-FR``."""
    return_url: str
    cancel_url: str


@dataclass(frozen=True, slots=True)
class Capture:
    """Money that has been taken, or given back."""

    id: str
    status: str
    amount: int
    """Cents of a euro."""


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody pays, or has paid."""

    id: str
    status: str
    """``CREATED``, ``PAYER_ACTION_REQUIRED``, ``APPROVED``, ``COMPLETED``, ``VOIDED``."""
    custom: str
    amount: int | None
    """Cents; None: it is not said, or is in another currency."""
    captures: tuple[Capture, ...]
    approve: str
    """Where the payer agrees to it; empty, if there is nothing to agree to."""


class PayPal:
    """The part of PayPal's interface that takes money for invoices."""

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        agent: IAgent,
        api: str,
        client_id: str,
        secret: str,
        webhook_id: str,
        patience: float = PATIENCE,
    ) -> None:
        """``patience``: seconds for an answer."""
        self._reactor = reactor
        self._client = HTTPClient(agent)
        self._api = api.rstrip("/")
        self._basic = b64encode(f"{client_id}:{secret}".encode()).decode()
        self._webhook_id = webhook_id
        self._patience = patience
        self._token = ""
        self._token_until = 0.0

    @property
    def site(self) -> str:
        """The origin on which people pay; of another than PayPal's own it is that of its API."""
        parts = urlsplit(self._api)
        host = parts.netloc
        if parts.netloc.endswith(".paypal.com"):
            host = re.sub(r"^api(-m)?\.", "www.", host)
        return f"{parts.scheme}://{host}"

    async def create(self, request_id: str, terms: Terms) -> Order:
        """An order that somebody can agree to. Raises `PayPalError`.

        Asked for again under the same ``request_id``, it is the same order.
        """
        amount = {"currency_code": CURRENCY, "value": plain(terms.amount)}
        body = {
            "intent": "CAPTURE",
            "purchase_units": [
                {
                    "invoice_id": terms.invoice,
                    "custom_id": terms.custom,
                    "description": terms.description[:127],
                    "amount": amount,
                }
            ],
            "payment_source": {
                "paypal": {
                    "experience_context": {
                        "brand_name": "Mail6M",
                        "locale": terms.locale,
                        "shipping_preference": "NO_SHIPPING",
                        "user_action": "PAY_NOW",
                        "payment_method_preference": "IMMEDIATE_PAYMENT_REQUIRED",
                        "return_url": terms.return_url,
                        "cancel_url": terms.cancel_url,
                    }
                }
            },
        }
        order = _order(await self._ask("POST", "/v2/checkout/orders", body, request_id))
        if not order.approve.startswith(self.site + "/"):
            raise Away("PayPal names no place to pay, or a strange one")
        return order

    async def order(self, order_id: str) -> Order:
        """An order as it stands. Raises `PayPalError`."""
        return _order(await self._ask("GET", f"/v2/checkout/orders/{quote(order_id, safe='')}"))

    async def capture(self, order_id: str) -> Order:
        """Take the money of an order that its payer has agreed to. Raises `PayPalError`.

        However often it is asked for, it is taken once.
        """
        path = f"/v2/checkout/orders/{quote(order_id, safe='')}/capture"
        return _order(await self._ask("POST", path, {}, f"capture-{order_id}"))

    async def verifies(self, fields: Mapping[str, str], event: bytes) -> bool:
        """Whether a webhook is PayPal's own, and for us. Raises `PayPalError` if it cannot say.

        The event goes back as it came, to the octet: its signature is over those, and PayPal makes
        JSON that is put together again something else (paypal/PayPal-Python-SDK#175).
        """
        told = {name.replace("-", "_"): fields.get(f"paypal-{name}", "") for name in _SIGNED}
        if not all(told.values()):
            return False
        head = json.dumps(told | {"webhook_id": self._webhook_id}).encode()
        body = head[:-1] + b', "webhook_event": ' + event + b"}"
        answer = await self._ask("POST", "/v1/notifications/verify-webhook-signature", body)
        return answer.get("verification_status") == "SUCCESS"

    async def _ask(
        self, method: str, path: str, body: Any = None, request_id: str = ""
    ) -> dict[str, Any]:
        """Ask; once more when the token is no good, or, if that does no harm, when it is away."""
        for attempt in (1, 2):
            try:
                return await self._try(method, path, body, request_id)
            except Declined as declined:
                if declined.status != 401 or attempt == 2:
                    raise
                self._token = ""
            except Away:
                if attempt == 2 or not (request_id or method == "GET"):
                    raise
        raise AssertionError("the second attempt returns or raises")

    async def _try(self, method: str, path: str, body: Any, request_id: str) -> dict[str, Any]:
        fields = {"Authorization": f"Bearer {await self._current_token()}"}
        if request_id:
            fields |= {"PayPal-Request-Id": request_id, "Prefer": "return=representation"}
        octets = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if octets is not None:
            fields["Content-Type"] = "application/json"
        return await self._send(method, path, fields, octets)

    async def _current_token(self) -> str:
        if not self._token or self._reactor.seconds() >= self._token_until:
            fields = {
                "Authorization": f"Basic {self._basic}",
                "Content-Type": "application/x-www-form-urlencoded",
            }
            path, grant = "/v1/oauth2/token", b"grant_type=client_credentials"
            answer = await self._send("POST", path, fields, grant)
            token, lasts = answer.get("access_token"), answer.get("expires_in")
            if not isinstance(token, str) or not isinstance(lasts, int):
                raise Away("PayPal gives no token")
            self._token, self._token_until = token, self._reactor.seconds() + lasts - _EARLY
        return self._token

    async def _send(
        self, method: str, path: str, fields: dict[str, str], body: bytes | None
    ) -> dict[str, Any]:
        sending: Deferred[tuple[int, bytes]] = ensureDeferred(
            self._exchange(method, path, fields, body)
        )
        try:
            code, octets = await sending.addTimeout(self._patience, self._reactor)
            answer = json.loads(octets)
        except Away:
            raise
        except Exception as error:  # Twisted's and OpenSSL's, of many kinds
            raise Away(f"{path}: {type(error).__name__}") from error
        if not isinstance(answer, dict):
            raise Away(f"{path}: the answer is no object of JSON")
        if code // 100 == 4 and code != 429:
            raise Declined(code, _issue(answer))
        if code // 100 != 2:
            raise Away(f"{path}: {code} {_issue(answer)}")
        return answer

    async def _exchange(
        self, method: str, path: str, fields: dict[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        headers = Headers({name: [value] for name, value in fields.items()})
        headers.addRawHeader("Accept", "application/json")
        response = await self._client.request(
            method, self._api + path, headers=headers, data=body, allow_redirects=False
        )
        pieces: list[bytes] = []
        size = 0

        def take(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            if size > LARGEST_ANSWER:
                raise Away(f"{path}: the answer has no end")
            pieces.append(piece)

        await collect(response, take)
        return response.code, b"".join(pieces) or b"{}"


def configured(reactor: IReactorTime, agent: IAgent, settings: Settings) -> PayPal | None:
    """Who asks PayPal, if customers may pay by it. Raises `SettingsError`."""
    file = settings.paypal_secret_file
    if settings.paypal_client_id is None or settings.paypal_webhook_id is None or file is None:
        return None
    try:
        secret = file.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"--paypal-secret-file {file}: {error}") from error
    client_id, webhook_id = settings.paypal_client_id, settings.paypal_webhook_id
    return PayPal(reactor, agent, settings.paypal_api, client_id, secret, webhook_id)


def cents_of(money: Any) -> int | None:
    """An amount as PayPal writes it; None if it is none, or not in euros."""
    if not isinstance(money, dict) or money.get("currency_code") != CURRENCY:
        return None
    match = re.fullmatch(r"([0-9]{1,10})(?:\.([0-9]{2}))?", str(money.get("value", "")))
    return int(match[1]) * 100 + int(match[2] or 0) if match else None


def is_id(text: object) -> bool:
    """Whether it may be the id of an order or a capture."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def _order(answer: dict[str, Any]) -> Order:
    try:
        [unit] = answer["purchase_units"]
        captures = [
            Capture(str(one["id"]), str(one["status"]), cents)
            for one in unit.get("payments", {}).get("captures", [])
            if (cents := cents_of(one["amount"])) is not None
        ]
        links = {link["rel"]: str(link["href"]) for link in answer.get("links", [])}
        order_id = str(answer["id"])
        custom = str(unit.get("custom_id", ""))
        amount, status = cents_of(unit.get("amount")), str(answer["status"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Away(f"PayPal's order says not what it should: {error!r}"[:200]) from error
    if not is_id(order_id):
        raise Away("PayPal's order has no id")
    approve = links.get("payer-action") or links.get("approve", "")
    return Order(order_id, status, custom, amount, tuple(captures), approve)


def _issue(answer: dict[str, Any]) -> str:
    """What an error is called (``details[0].issue``, else ``name`` or OAuth's ``error``)."""
    details = answer.get("details")
    if isinstance(details, list) and details and isinstance(details[0], dict):
        return str(details[0].get("issue", ""))[:80]
    return str(answer.get("name") or answer.get("error") or "")[:80]
