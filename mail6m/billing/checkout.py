"""Paying an invoice by PayPal: the order, the way there and back, and what its webhooks tell.

What was paid is always read from PayPal itself, whoever brings word of it: the browser that comes
back, a webhook, or both, in whichever order and however often. A capture is recorded once.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any
from uuid import uuid4

from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from mail6m.billing.invoice import Kind
from mail6m.billing.months import paris_day
from mail6m.billing.paypal import Away, Capture, Declined, Order, PayPal, Terms, cents_of, is_id
from mail6m.storage.audit import By
from mail6m.storage.errors import Refused, Unavailable
from mail6m.storage.invoices import Invoices
from mail6m.storage.payments import Method, NewPayment, Payments
from mail6m.storage.paypal import Asked, PayPalOrders

ACCOUNT = "PayPal"
"""Who records what it says."""
_LOCALES = {"fr": "fr-FR", "en": "en-GB"}
_GIVEN_BACK = ("PAYMENT.CAPTURE.REFUNDED", "PAYMENT.CAPTURE.REVERSED")
_OF_CAPTURES = ("PAYMENT.CAPTURE.COMPLETED", "PAYMENT.CAPTURE.DENIED", "PAYMENT.CAPTURE.DECLINED")
_APPROVED = "CHECKOUT.ORDER.APPROVED"
_AT_ONCE = 4
"""Webhooks that PayPal is asked about at the same time; others wait for their turn."""
MOST_WAITING = 100
"""Those that wait; PayPal brings what is beyond again."""


class Result(enum.Enum):
    """What has come of an order."""

    PAID = enum.auto()
    PENDING = enum.auto()
    """PayPal looks into it, and tells later."""
    DECLINED = enum.auto()
    """The payer's bank does not pay; nothing was taken."""
    OPEN = enum.auto()
    """The payer has not agreed to it."""
    OTHERWISE = enum.auto()
    """It is not to be paid any more, or another amount is: nothing was taken."""


class Checkout:
    """Takes money for invoices by PayPal."""

    log = Logger()

    def __init__(
        self,
        paypal: PayPal,
        orders: PayPalOrders,
        payments: Payments,
        invoices: Invoices,
        console_url: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._paypal = paypal
        self._orders = orders
        self._payments = payments
        self._invoices = invoices
        self._console_url = console_url
        self._now = now
        self._turn = DeferredSemaphore(_AT_ONCE)

    @property
    def site(self) -> str:
        """The origin that payers are sent to."""
        return self._paypal.site

    async def begin(self, by: By, number: str, language: str) -> str:
        """Where ``by`` pays what is left of an invoice of its customer's.

        Raises `Refused` if there is no such invoice, or nothing to be paid of it, and
        `mail6m.billing.paypal.PayPalError`.
        """
        standing = await self._invoices.get(by.customer, number)
        base = self._console_url()
        if standing.balance <= 0 or standing.invoice.kind is Kind.CREDIT:
            raise Refused(f"nothing is to be paid of {number}")
        if not base:
            raise Away("nobody has said where the console is (--console-url)")
        before = await self._orders.captured(by.customer, number)
        here = f"{base}/factures/{number}"
        terms = Terms(
            f"{number}-{before + 1}" if before else number,
            _custom(by.customer, number),
            standing.balance,
            f"Mail6M {number}",
            _LOCALES.get(language, _LOCALES["fr"]),
            f"{here}/paypal",
            here,
        )
        order = await self._paypal.create(str(uuid4()), terms)
        await self._orders.add(by, order.id, number, standing.balance)
        return order.approve

    async def returned(self, customer: int, number: str, order_id: str) -> Result:
        """The payer is back. Raises `Refused` if it is no order for that invoice of theirs."""
        asked = await self._orders.get(customer, order_id)
        if asked is None or asked.number != number:
            raise Refused("there is no such order")
        return await self._settle(asked)

    async def notified(self, fields: Mapping[str, str], octets: bytes) -> int:
        """A webhook: the status of the answer. PayPal brings what is not taken (2xx) again.

        Only what is about an order of ours is worth a question to PayPal: no stranger's flood is.
        """
        event = _event(octets)
        if event is None:
            return 400
        if len(self._turn.waiting) >= MOST_WAITING:
            return 503
        try:
            asked = await self._asked(event)
            if asked is None:
                return 200
            await self._turn.acquire()
            try:
                if not await self._paypal.verifies(fields, octets):
                    self.log.warn("a webhook that is not PayPal's: order {id}", id=asked.order_id)
                    return 403
                return await self._told(asked, event)
            finally:
                self._turn.release()
        except (Away, Unavailable) as error:
            self.log.warn("a webhook of PayPal's waits: {error}", error=error)
            return 503
        except Declined as error:
            self.log.error("a webhook of PayPal's: {error}", error=error)
            return 503

    async def _told(self, asked: Asked, event: Mapping[str, Any]) -> int:
        if event["event_type"] in _GIVEN_BACK:
            await self._give_back(asked, event["resource"])
        else:
            await self._settle(asked)
        return 200

    async def _asked(self, event: Mapping[str, Any]) -> Asked | None:
        """The order that an event is about, if it is one of ours."""
        kind, resource = event["event_type"], event["resource"]
        if kind == _APPROVED:
            order_id = resource.get("id")
        elif kind in _OF_CAPTURES:
            order_id = _related(resource) or _above(resource, "orders")
        elif kind in _GIVEN_BACK:
            return await self._of_capture(resource)
        else:
            return None
        return await self._orders.find(order_id) if is_id(order_id) else None

    async def _of_capture(self, refund: Mapping[str, Any]) -> Asked | None:
        """What was paid by the capture of a refund; `Away` if that is yet to be recorded."""
        capture_id = _above(refund, "captures")
        payment = await self._payments.by_source(_source(capture_id))
        if payment is not None:
            return Asked(payment.customer, capture_id, payment.number, payment.amount, "")
        if _CUSTOM.fullmatch(str(refund.get("custom_id"))):
            raise Away("a refund came before what it is of")
        return None

    async def _settle(self, asked: Asked) -> Result:
        """Take the money if the payer has agreed, and record what has been taken."""
        order = await self._paypal.order(asked.order_id)
        if order.custom != _custom(asked.customer, asked.number):
            self.log.error("order {id} is for something else", id=asked.order_id)
            return Result.OTHERWISE
        if order.status == "APPROVED":
            standing = await self._invoices.get(asked.customer, asked.number)
            if order.amount != asked.amount or standing.balance < asked.amount:
                self.log.warn("order {id}: not captured, its amount is wrong", id=asked.order_id)
                return Result.OTHERWISE
            try:
                order = await self._captured(asked.order_id)
            except Declined as declined:
                self.log.info("order {id}: {why}", id=asked.order_id, why=declined.issue)
                return Result.DECLINED
        return await self._record(asked, order)

    async def _captured(self, order_id: str) -> Order:
        try:
            return await self._paypal.capture(order_id)
        except Declined as declined:
            if declined.issue != "ORDER_ALREADY_CAPTURED":
                raise
            return await self._paypal.order(order_id)

    async def _record(self, asked: Asked, order: Order) -> Result:
        taken = [one for one in order.captures if one.status in _TAKEN]
        for capture in taken:
            if capture.amount != asked.amount:
                self.log.warn("order {id}: another amount was paid", id=asked.order_id)
            await self._payments.record(_by(asked), _payment(asked, capture, self._today()))
        if taken:
            await self._orders.settled(asked)
            return Result.PAID
        if any(one.status == "PENDING" for one in order.captures):
            return Result.PENDING
        return Result.DECLINED if order.captures else Result.OPEN

    async def _give_back(self, asked: Asked, resource: Mapping[str, Any]) -> None:
        """Money has gone back to the payer: by us, or since PayPal or the bank took it away."""
        amount, refund = cents_of(resource.get("amount")), resource.get("id")
        if amount is None or not is_id(refund) or resource.get("status") in ("FAILED", "CANCELLED"):
            self.log.error("order of {number}: a refund that is none", number=asked.number)
            return
        back = Capture(str(refund), "COMPLETED", -amount)
        await self._payments.record(_by(asked), _payment(asked, back, self._today()))

    def _today(self) -> date:
        return paris_day(self._now())


_TAKEN = ("COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED")
"""Of captures that money has come in by; what went back since is told apart."""


_CUSTOM = re.compile("[0-9]+/[0-9]{4}-[0-9]{4,}")


def _custom(customer: int, number: str) -> str:
    return f"{customer}/{number}"


def _source(capture_id: str) -> str:
    return f"paypal:{capture_id}"


def _by(asked: Asked) -> By:
    return By(asked.customer, ACCOUNT, "")


def _payment(asked: Asked, capture: Capture, on: date) -> NewPayment:
    return NewPayment(
        asked.customer, asked.number, on, capture.amount, Method.PAYPAL, capture.id,
        _source(capture.id),
    )  # fmt: skip


def _event(octets: bytes) -> dict[str, Any] | None:
    """An event, if it has the form of one."""
    try:
        event = json.loads(octets, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("resource"), dict):
        return None
    return event if isinstance(event.get("event_type"), str) else None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _related(resource: Mapping[str, Any]) -> Any:
    """The order of a capture, as events say it."""
    data = resource.get("supplementary_data")
    ids = data.get("related_ids") if isinstance(data, dict) else None
    return ids.get("order_id") if isinstance(ids, dict) else None


def _above(resource: Mapping[str, Any], kind: str) -> str:
    """The id of what a resource belongs to, by its link ``up``."""
    links = resource.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "up":
            before, _, id_ = str(link.get("href", "")).rpartition("/")
            if before.endswith(f"/{kind}"):
                return id_
    return ""
