"""Paying an invoice by PayPal: the order, the way there and back, and what its webhooks tell.

What was paid is always read from PayPal itself, whoever brings word of it: the browser that comes
back, a webhook, or both, in whichever order and however often. A capture is recorded once. Where no
word comes, PayPal is asked: `Checkout.sweep`.

Of an invoice one order is open at a time, whatever is pressed in how many windows, and only that
one is captured.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4

from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from mail6m.billing.invoice import Kind, Standing
from mail6m.billing.months import paris_day
from mail6m.billing.paypal import Away, Capture, Declined, Order, PayPal, Terms, cents_of, is_id
from mail6m.billing.reminders import PATH
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
YOUNG = timedelta(hours=2)
"""So long an order is gone on with; PayPal ends it after three hours."""
QUIET = timedelta(minutes=10)
"""So long the browser and the webhooks have for bringing word of an order."""
EVERY = timedelta(hours=1)
"""So often PayPal is asked about an order that no word came of."""
LAST = timedelta(days=3)
"""After which nothing comes of an order that was not captured; so long PayPal repeats webhooks."""
LONGEST_REVIEW = timedelta(days=30)
"""After which nothing comes of money that PayPal looks into, and says nothing of any more."""
_MOST_ASKED = 50
"""Orders that are asked about in one turn."""
_SELDOM = timedelta(minutes=10)
"""Between two warnings of forged webhooks."""


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


class UnderWay(Exception):
    """Money for that invoice is being taken, or PayPal looks into it."""


class Heard(enum.StrEnum):
    """What is made of a webhook."""

    TAKEN = "taken"
    FOREIGN = "foreign"
    """About nothing of ours."""
    EARLY = "early"
    """About what is yet to be recorded here, or is not ours."""
    FORGED = "forged"
    AWAY = "away"
    """PayPal, or the database, could not be asked."""
    MALFORMED = "malformed"


_STATUS = {Heard.TAKEN: 200, Heard.FOREIGN: 200, Heard.EARLY: 503, Heard.FORGED: 403,
           Heard.AWAY: 503, Heard.MALFORMED: 400}  # fmt: skip


class _Early(Exception):
    """An event is about what is yet to be recorded, or is nothing of ours."""


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
        heard: Callable[[Heard], None] = lambda _: None,
    ) -> None:
        """``heard`` counts webhooks by what was made of them."""
        self._paypal = paypal
        self._orders = orders
        self._payments = payments
        self._invoices = invoices
        self._console_url = console_url
        self._now = now
        self._turn = DeferredSemaphore(_AT_ONCE)
        self._heard = heard
        self._warned_at: datetime | None = None

    @property
    def site(self) -> str:
        """The origin that payers are sent to."""
        return self._paypal.site

    async def begin(self, by: By, number: str, language: str) -> str:
        """Where ``by`` pays what is left of an invoice of its customer's.

        An order that is open already is gone on with, if it is still for that. Raises `Refused` if
        there is no such invoice, or nothing to be paid of it, `UnderWay` if it may have been paid
        already, and `mail6m.billing.paypal.PayPalError`.
        """
        if not self._console_url():
            raise Away("nobody has said where the console is (--console-url)")
        for _ in range(3):  # what another window has done meanwhile is seen the next time
            standing = await self._invoices.get(by.customer, number)
            if standing.balance <= 0 or standing.invoice.kind is Kind.CREDIT:
                raise Refused(f"nothing is to be paid of {number}")
            if (asked := await self._orders.open(by.customer, number)) is not None:
                approve = await self._gone_on_with(asked, standing.balance)
            else:
                approve = await self._new(by, standing, language)
            if approve:
                return approve
        raise UnderWay(number)

    async def _new(self, by: By, standing: Standing, language: str) -> str:
        """Where a new order is agreed to; nothing if somebody has just begun another."""
        number = standing.invoice.number
        before = await self._orders.captured(by.customer, number)
        here = f"{self._console_url()}{PATH}/{number}"
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
        added = await self._orders.add(by, order.id, number, standing.balance)
        return order.approve if added else ""

    async def _gone_on_with(self, asked: Asked, balance: int) -> str:
        """Where an open order is agreed to; nothing if it has come to something, or is closed."""
        order = await self._look_again(asked)
        if order is not None and _waits(order) and order.amount == balance == asked.amount:
            young = self._now() - asked.asked_at < YOUNG
            if young and order.approve.startswith(f"{self.site}/"):
                return order.approve
        result = await self._advance(asked, order)
        if result is Result.PENDING:
            raise UnderWay(asked.number)
        if result is Result.PAID or await self._orders.close(asked):
            return ""
        if await self._orders.under_way(asked.customer, asked.number):
            raise UnderWay(asked.number)
        return ""

    async def under_way(self, customer: int, number: str) -> bool:
        """Whether an invoice may have been paid already, and PayPal has not said so yet."""
        return await self._orders.under_way(customer, number)

    async def returned(self, customer: int, number: str, order_id: str) -> Result:
        """The payer is back. Raises `Refused` if it is no order for that invoice of theirs."""
        asked = await self._orders.get(customer, order_id)
        if asked is None or asked.number != number:
            raise Refused("there is no such order")
        return await self._settle(asked)

    async def sweep(self) -> int:
        """Ask about orders that no word came of, and settle what can be; how many they were.

        Whatever was taken is recorded, what was agreed to is taken, and what is over is settled.
        """
        for count in range(_MOST_ASKED):
            now = self._now()
            asked = await self._orders.next(now, now - QUIET, now - EVERY)
            if asked is None:
                return count
            try:
                result = await self._settle(asked)
            except Away as error:  # the next turn may fare better, and so may the others
                self.log.warn("orders at PayPal wait: {error}", error=error)
                return count
            except Declined as error:
                self.log.error("order {id}: {error}", id=asked.order_id, error=error)
                over = _is_final(error)
            else:
                over = result not in (Result.PAID, Result.PENDING)
            if over and now - asked.asked_at > LAST:
                await self._orders.over(asked, now - LONGEST_REVIEW)
        return _MOST_ASKED

    async def notified(self, fields: Mapping[str, str], octets: bytes) -> int:
        """A webhook: the status of the answer. PayPal brings what is not taken (2xx) again.

        Only what is about an order of ours is worth a question to PayPal: no stranger's flood is,
        nor a line in the log.
        """
        heard = await self._hear(fields, octets)
        self._heard(heard)
        return _STATUS[heard]

    async def _hear(self, fields: Mapping[str, str], octets: bytes) -> Heard:
        event = _event(octets)
        if event is None:
            return Heard.MALFORMED
        if len(self._turn.waiting) >= MOST_WAITING:
            return Heard.AWAY
        try:
            asked = await self._asked(event)
            if asked is None:
                return Heard.FOREIGN
            await self._turn.acquire()
            try:
                if not await self._paypal.verifies(fields, octets):
                    self._warn_of_forgery(asked)
                    return Heard.FORGED
                await self._told(asked, event)
                return Heard.TAKEN
            finally:
                self._turn.release()
        except _Early:
            return Heard.EARLY
        except (Away, Unavailable) as error:
            self.log.warn("a webhook of PayPal's waits: {error}", error=error)
        except Declined as error:
            self.log.error("a webhook of PayPal's: {error}", error=error)
        return Heard.AWAY

    def _warn_of_forgery(self, asked: Asked) -> None:
        """Now and then: whoever knows an order may send as many as they like."""
        now = self._now()
        if self._warned_at is None or now - self._warned_at >= _SELDOM:
            self._warned_at = now
            self.log.warn("a webhook that is not PayPal's: order {id}", id=asked.order_id)

    async def _told(self, asked: Asked, event: Mapping[str, Any]) -> None:
        if event["event_type"] in _GIVEN_BACK:
            await self._give_back(asked, event["resource"])
        else:
            await self._settle(asked)

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
        """What was paid by the capture of a refund; `_Early` if that may be yet to be recorded."""
        capture_id = _above(refund, "captures")
        payment = await self._payments.by_source(_source(capture_id))
        if payment is not None:
            amount, at = payment.amount, payment.recorded_at
            return Asked(payment.customer, capture_id, payment.number, amount, "", at)
        if not is_id(capture_id):
            return None
        if _CUSTOM.fullmatch(str(refund.get("custom_id"))) or await self._orders.any_unsettled():
            raise _Early
        return None

    async def _settle(self, asked: Asked) -> Result:
        """Take the money if the payer has agreed, and record what has been taken."""
        return await self._advance(asked, await self._look(asked))

    async def _look(self, asked: Asked) -> Order | None:
        """An order as it stands; None if PayPal has forgotten it, as it does after some hours."""
        try:
            return await self._paypal.order(asked.order_id)
        except Declined as declined:
            if declined.status != 404:
                raise
            return None

    async def _look_again(self, asked: Asked) -> Order | None:
        """The same; None as well if PayPal says nothing of an old one, which was never taken.

        It does so when it is another account's, or of its sandbox.
        """
        try:
            return await self._look(asked)
        except Declined as declined:
            young = self._now() - asked.asked_at < YOUNG
            if (
                young
                or not _is_final(declined)
                or await self.under_way(asked.customer, asked.number)
            ):
                raise
            self.log.warn("order {id} is closed: {error}", id=asked.order_id, error=declined)
            return None

    async def _advance(self, asked: Asked, order: Order | None) -> Result:
        if order is None:
            await self._orders.release_old(asked)
            await self._orders.close(asked)
            return Result.OPEN
        if order.custom != _custom(asked.customer, asked.number):
            self.log.error("order {id} is for something else", id=asked.order_id)
            return Result.OTHERWISE
        if order.status == "APPROVED":
            return await self._take(asked, order)
        if _waits(order) or (order.status == "VOIDED" and not order.captures):
            await self._orders.release_old(asked)
        return await self._record(asked, order)

    async def _take(self, asked: Asked, order: Order) -> Result:
        """Capture what was agreed to, if it is still to be paid, and the order is open."""
        standing = await self._invoices.get(asked.customer, asked.number)
        if order.amount != asked.amount or standing.balance < asked.amount:
            self.log.warn("order {id}: not captured, its amount is wrong", id=asked.order_id)
            await self._orders.release_old(asked)
            return Result.OTHERWISE
        if not await self._orders.claim(asked):
            return Result.OTHERWISE
        try:
            taken = await self._paypal.capture(asked.order_id)
        except Declined as declined:
            if declined.issue == "ORDER_ALREADY_CAPTURED":
                return await self._record(asked, await self._paypal.order(asked.order_id))
            self.log.info("order {id}: {why}", id=asked.order_id, why=declined.issue)
            await self._orders.release(asked)
            return Result.DECLINED
        return await self._record(asked, taken)

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
            await self._orders.pending(asked)
            return Result.PENDING
        if order.captures:
            await self._orders.settled(asked)
            return Result.DECLINED
        return Result.OPEN

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


def _waits(order: Order) -> bool:
    """For its payer to agree."""
    return order.status in ("CREATED", "PAYER_ACTION_REQUIRED") and not order.captures


def _is_final(declined: Declined) -> bool:
    """Whether it is about what was asked for, and not about who asks: those may mend that."""
    return declined.status != 401


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
