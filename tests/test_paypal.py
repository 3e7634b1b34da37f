"""Paying by PayPal, against a stand-in: once, to the cent, whatever is lost, late or forged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.web.client import Agent

from mail6m.billing.checkout import (
    LAST,
    LONGEST_REVIEW,
    QUIET,
    YOUNG,
    Checkout,
    Heard,
    Result,
    UnderWay,
)
from mail6m.billing.invoice import Invoice
from mail6m.billing.paypal import Away, Declined, PayPal, PayPalError, configured
from mail6m.options import read_settings
from mail6m.settings import Settings, SettingsError
from mail6m.storage.errors import Refused, Unavailable
from mail6m.storage.invoices import Invoices
from mail6m.storage.payments import Method, NewPayment, Payments
from mail6m.storage.paypal import PayPalOrders
from mail6m.storage.pool import Pool
from mail6m.tap import Mail6M
from tests.billed import an_invoice
from tests.paypal import CLIENT, SECRET, WEBHOOK, Fault, StandIn, paypal
from tests.reactor_thread import run, the_reactor
from tests.stored import NOWHERE, ask, by, new_pool

CONSOLE = "https://console.mail6m.test"


@dataclass
class Till:
    """A console that takes money by PayPal, and an invoice that somebody pays."""

    dsn: str
    pool: Pool
    paypal: StandIn
    checkout: Checkout
    invoice: Invoice
    later: timedelta = timedelta(0)
    """How much time has passed."""
    heard: list[Heard] = field(default_factory=list)

    def now(self) -> datetime:
        """As the database has it, and later."""
        return datetime.now(UTC) + self.later

    def sweep(self, later: timedelta = timedelta(0)) -> int:
        """The server's turn, after so much time."""
        self.later += later
        return run(self.checkout.sweep)

    def forget_others(self) -> None:
        """Nothing more comes of the orders of other tests."""
        ask(self.dsn, "UPDATE paypal_order SET settled_at = now() WHERE settled_at IS NULL")

    def settled(self, order_id: str) -> bool:
        """Whether nothing more will come of it."""
        rows = ask(self.dsn, "SELECT settled_at FROM paypal_order WHERE order_id = %s", order_id)
        return rows[0][0] is not None

    def refused(self, order_id: str, *statuses: int) -> None:
        """What PayPal says when it is asked about an order."""
        self.paypal.faults[:] = [Fault(order_id, str(status)) for status in statuses]

    def end(self, order_id: str, how: str) -> None:
        """PayPal ends an order."""
        if how == "forgotten":
            del self.paypal.orders[order_id]
            return
        order = self.paypal.orders[order_id]
        order["status"] = "VOIDED"
        order["purchase_units"][0].pop("payments", None)

    def minutes_pass(self, order_id: str) -> None:
        """Since its money was about to be taken."""
        earlier = "UPDATE paypal_order SET capturing_at = capturing_at - interval '6 minutes'"
        ask(self.dsn, earlier + " WHERE order_id = %s", order_id)

    @property
    def under_way(self) -> bool:
        """Whether the customer should not pay now."""
        checkout, invoice = self.checkout, self.invoice
        return run(lambda: checkout.under_way(invoice.customer, invoice.number))

    def pay_otherwise(self, cents: int) -> None:
        """A cheque comes in."""
        number, due_on = self.invoice.number, self.invoice.due_on
        new = NewPayment(self.invoice.customer, number, due_on, cents, Method.CHEQUE)
        assert run(lambda: Payments(self.pool).record(by(self.invoice.customer), new))

    def begin(self) -> str:
        """The button; the order's id."""
        customer, number = self.invoice.customer, self.invoice.number
        url = run(lambda: self.checkout.begin(by(customer), number, "fr"))
        assert url.startswith(self.paypal.url + "/checkoutnow?token=")
        return url.rpartition("=")[2]

    def agreed(self) -> str:
        """An order that its payer has agreed to."""
        order_id = self.begin()
        self.paypal.approve(order_id)
        return order_id

    def back(self, order_id: str) -> Result:
        """The payer's browser comes back."""
        customer, number = self.invoice.customer, self.invoice.number
        return run(lambda: self.checkout.returned(customer, number, order_id))

    def hear(self, octets: bytes, fields: dict[str, str] | None = None) -> int:
        """A webhook."""
        sent = self.paypal.sign(octets) if fields is None else fields
        told = {name.lower(): value for name, value in sent.items()}
        return run(lambda: self.checkout.notified(told, octets))

    def approved(self, order_id: str) -> bytes:
        """The event that the payer has agreed."""
        return self.paypal.event("CHECKOUT.ORDER.APPROVED", {"id": order_id, "intent": "CAPTURE"})

    def captured(self, order_id: str, kind: str = "COMPLETED") -> bytes:
        """The event that it was paid."""
        capture = self.paypal.capture_of(order_id)
        return self.paypal.event(f"PAYMENT.CAPTURE.{kind}", capture)

    @property
    def paid(self) -> list[int]:
        """What has been recorded."""
        payments = Payments(self.pool)
        of = run(lambda: payments.of(self.invoice.customer, self.invoice.number))
        of = [one for one in of if one.method is Method.PAYPAL]
        assert all(one.recorded_by == "PayPal" for one in of)
        return [one.amount for one in of]

    @property
    def captures(self) -> int:
        """How often money was taken at PayPal for the invoice."""
        custom = f"{self.invoice.customer}/{self.invoice.number}"
        units = [order["purchase_units"][0] for order in self.paypal.orders.values()]
        return sum("payments" in unit for unit in units if unit["custom_id"] == custom)


def client(stand_in: StandIn, secret: str = SECRET, reactor: object = None) -> PayPal:
    """Who asks PayPal, and is impatient."""
    real = the_reactor()
    return PayPal(reactor or real, Agent(real), stand_in.url, CLIENT, secret, WEBHOOK, 0.5)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    """One for all tests; each has orders of its own."""
    with paypal() as stand_in:
        yield stand_in


@pytest.fixture
def till(dsn: str, stand_in: StandIn) -> Iterator[Till]:
    """An invoice of 120 euros."""
    stand_in.faults.clear()
    stand_in.poor = stand_in.pending = False
    with new_pool(dsn, size=3) as pool:
        heard: list[Heard] = []
        checkout = Checkout(
            client(stand_in),
            PayPalOrders(pool),
            Payments(pool),
            Invoices(pool),
            lambda: CONSOLE,
            lambda: till.now(),
            heard.append,
        )
        till = Till(dsn, pool, stand_in, checkout, an_invoice(dsn, pool), heard=heard)
        yield till


def test_an_invoice_is_paid(till: Till) -> None:
    """What is left of it, in euros, under its number; and the order is its customer's."""
    order_id = till.begin()
    order = till.paypal.orders[order_id]
    [unit] = order["purchase_units"]
    assert unit["amount"] == {"currency_code": "EUR", "value": "120.00"}
    number = till.invoice.number
    assert (unit["invoice_id"], unit["custom_id"]) == (number, f"{till.invoice.customer}/{number}")
    context = order["payment_source"]["paypal"]["experience_context"]
    assert context["return_url"] == f"{CONSOLE}/factures/{number}/paypal"
    assert context["cancel_url"] == f"{CONSOLE}/factures/{number}"
    assert till.back(order_id) is Result.OPEN
    till.paypal.approve(order_id)
    assert till.back(order_id) is Result.PAID
    assert till.paid == [12000]
    [(settled,)] = ask(
        till.dsn, "SELECT settled_at IS NOT NULL FROM paypal_order WHERE order_id = %s", order_id
    )
    assert settled
    with pytest.raises(Refused, match="nothing is to be paid"):
        till.begin()


def test_who_begins_is_written_down(till: Till) -> None:
    """And who has paid."""
    till.back(till.agreed())
    acts = ask(
        till.dsn,
        "SELECT account, act, object FROM audit WHERE customer_id = %s ORDER BY audit_id DESC"
        " LIMIT 2",
        till.invoice.customer,
    )
    assert acts == [
        ("PayPal", "payment recorded", f"{till.invoice.number} 120.00"),
        (by(0).account, "payment by PayPal begun", till.invoice.number),
    ]


def test_once_whoever_brings_word(till: Till) -> None:
    """The browser and the webhooks, in any order and twice: one capture, one payment."""
    order_id = till.agreed()
    assert till.hear(till.approved(order_id)) == 200
    assert till.hear(till.captured(order_id)) == 200
    assert till.back(order_id) is Result.PAID
    again = till.captured(order_id)
    fields = till.paypal.sign(again, "the-same")
    assert [till.hear(again, fields) for _ in range(2)] == [200, 200]
    assert till.hear(till.approved(order_id)) == 200
    assert till.back(order_id) is Result.PAID
    assert till.paid == [12000]


def test_a_lost_answer(till: Till) -> None:
    """What was captured is not captured again, and is recorded when PayPal is asked again."""
    order_id = till.agreed()
    till.paypal.faults += [Fault("/capture", "lost")]
    assert till.back(order_id) is Result.PAID
    assert till.paid == [12000]


@pytest.mark.parametrize("kind", ["lost", "500", "slow", "endless"])
def test_away(till: Till, kind: str) -> None:
    """Nothing is recorded, the webhook is told to come again, and then all is well."""
    order_id = till.agreed()
    till.paypal.faults += [Fault("/capture", kind)] * 2
    with pytest.raises(Away):
        till.back(order_id)
    assert till.paid == []
    till.paypal.faults += [Fault("/verify-webhook-signature", "500")]
    assert till.hear(till.approved(order_id)) == 503
    assert till.paid == []
    assert till.hear(till.approved(order_id)) == 200
    assert till.paid == [12000]


def test_captured_already(till: Till) -> None:
    """By another process of ours, whose answer was lost with it."""
    order_id = till.agreed()
    till.paypal.faults += [Fault(order_id, "overtaken")]
    assert till.back(order_id) is Result.PAID
    assert till.paid == [12000]


def test_a_bank_that_does_not_pay(till: Till) -> None:
    """Nothing was taken; the payer may try again."""
    order_id = till.agreed()
    till.paypal.poor = True
    assert till.back(order_id) is Result.DECLINED
    assert till.paid == []
    till.paypal.poor = False
    till.paypal.approve(order_id)
    assert till.back(order_id) is Result.PAID


def test_what_paypal_looks_into(till: Till) -> None:
    """Is paid when it says so, and not before; or never."""
    till.paypal.pending = True
    order_id = till.agreed()
    assert till.back(order_id) is Result.PENDING
    assert till.paid == []
    captures = till.paypal.orders[order_id]["purchase_units"][0]["payments"]["captures"]
    captures[0]["status"] = "DECLINED"
    assert till.hear(till.captured(order_id, "DENIED")) == 200
    assert till.back(order_id) is Result.DECLINED
    assert till.paid == []
    captures[0]["status"] = "COMPLETED"
    assert till.hear(till.captured(order_id)) == 200
    assert till.paid == [12000]


def test_paid_otherwise_meanwhile(till: Till) -> None:
    """Who has paid by transfer before agreeing is not charged."""
    order_id = till.agreed()
    new = NewPayment(
        till.invoice.customer,
        till.invoice.number,
        till.invoice.due_on,
        12000,
        Method.PAYPAL,
        source=f"paypal:other-{order_id}",
    )
    run(
        lambda: Payments(till.pool).record(
            by(till.invoice.customer)._replace(account="PayPal"), new
        )
    )
    assert till.back(order_id) is Result.OTHERWISE
    assert till.hear(till.approved(order_id)) == 200
    assert till.paid == [12000]
    assert till.paypal.orders[order_id]["status"] == "APPROVED"


@pytest.mark.parametrize(
    "amount",
    [
        {"currency_code": "EUR", "value": "1.20"},
        {"currency_code": "USD", "value": "120.00"},
        {"currency_code": "EUR", "value": "120.001"},
        {"currency_code": "EUR", "value": "1e2"},
        None,
    ],
)
def test_a_wrong_amount_is_not_captured(till: Till, amount: object) -> None:
    """Nor another currency."""
    order_id = till.agreed()
    till.paypal.orders[order_id]["purchase_units"][0]["amount"] = amount
    assert till.back(order_id) is Result.OTHERWISE
    assert till.paid == []


def test_an_order_for_something_else(till: Till) -> None:
    """Is not ours to capture, whatever its id."""
    order_id = till.agreed()
    till.paypal.orders[order_id]["purchase_units"][0]["custom_id"] = "1/2026-0001"
    assert till.back(order_id) is Result.OTHERWISE
    assert till.hear(till.approved(order_id)) == 200
    assert till.paid == []


def test_somebody_elses_order(till: Till) -> None:
    """Is not to be had: another customer's, one of another invoice, and none at all."""
    order_id = till.agreed()
    other = an_invoice(till.dsn, till.pool)
    checkout = till.checkout
    for customer, number, one in (
        (other.customer, other.number, order_id),
        (other.customer, till.invoice.number, order_id),
        (till.invoice.customer, other.number, order_id),
        (till.invoice.customer, till.invoice.number, "5O190127TN364715T"),
        (till.invoice.customer, till.invoice.number, "\0"),
    ):
        with pytest.raises(Refused):
            run(lambda c=customer, n=number, o=one: checkout.returned(c, n, o))
    with pytest.raises(Refused):
        run(lambda: checkout.begin(by(other.customer), till.invoice.number, "fr"))
    assert till.paid == []


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields | {"PayPal-Transmission-Sig": "forged"},
        lambda fields: fields | {"PayPal-Transmission-Id": "another"},
        lambda fields: {name: fields[name] for name in list(fields)[:4]},
        lambda fields: {},
    ],
)
def test_a_forged_webhook(till: Till, change: object) -> None:
    """Changes nothing."""
    octets = till.approved(till.agreed())
    fields = change(till.paypal.sign(octets))  # type: ignore[operator]
    assert till.hear(octets, fields) == 403
    assert till.paid == []


def test_a_signature_is_of_its_octets(till: Till) -> None:
    """The same event in other octets is another."""
    octets = till.approved(till.agreed())
    other = json.dumps(json.loads(octets)).encode()
    assert till.hear(other, till.paypal.sign(octets)) == 403
    assert till.paid == []


@pytest.mark.parametrize(
    "octets",
    [b"", b"{", b"[]", b'{"event_type": 1, "resource": {}}', b'{"event_type": "A"}',
     b'{"event_type": "A", "resource": {"x": NaN}}', b"[" * 100_000, b"\xff"],
)  # fmt: skip
def test_no_event(till: Till, octets: bytes) -> None:
    """Is refused without a question to PayPal."""
    before = len(till.paypal.asked)
    assert till.hear(octets, {}) == 400
    assert len(till.paypal.asked) == before


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("CHECKOUT.ORDER.APPROVED", {"id": "5O190127TN364715T"}),
        ("CHECKOUT.ORDER.APPROVED", {"id": {"a": 1}}),
        ("PAYMENT.CAPTURE.COMPLETED", {"supplementary_data": 1, "links": [1, {"rel": "up"}]}),
        ("PAYMENT.CAPTURE.REFUNDED", {"id": "1", "links": {}}),
        ("CUSTOMER.DISPUTE.CREATED", {}),
    ],
)
def test_what_is_not_ours(till: Till, kind: str, resource: dict[str, object]) -> None:
    """Is heard, and is not worth a question to PayPal."""
    before = len(till.paypal.asked)
    assert till.hear(till.paypal.event(kind, resource), {}) == 200
    assert len(till.paypal.asked) == before


def test_money_goes_back(till: Till) -> None:
    """In parts, each once; a reversal too; the invoice is to be paid again, under another name."""
    order_id = till.agreed()
    till.back(order_id)
    part = till.paypal.refund(order_id, "20.00")
    assert [till.hear(part), till.hear(part)] == [200, 200]
    assert till.paid == [12000, -2000]
    assert till.hear(till.paypal.refund(order_id, "100.00", "REVERSED")) == 200
    assert sum(till.paid) == 0
    again = till.begin()
    [unit] = till.paypal.orders[again]["purchase_units"]
    assert (unit["invoice_id"], unit["amount"]["value"]) == (f"{till.invoice.number}-2", "120.00")


def test_a_refund_that_comes_first(till: Till) -> None:
    """Has to wait for what it is of."""
    order_id = till.agreed()
    till.paypal._capture(till.paypal.orders[order_id])
    refund = till.paypal.refund(order_id, "20.00")
    assert till.hear(refund) == 503
    assert till.hear(till.captured(order_id)) == 200
    assert till.hear(refund) == 200
    assert till.paid == [12000, -2000]


def test_a_refund_that_says_not_whose_it_is(till: Till) -> None:
    """Has to wait as well, while an order is unsettled that it may be of; and says nothing."""
    order_id = till.agreed()
    till.paypal._capture(till.paypal.orders[order_id])
    event = json.loads(till.paypal.refund(order_id, "20.00"))
    del event["resource"]["custom_id"]
    refund = json.dumps(event).encode()
    events: list[object] = []

    def watch(event: dict[str, object]) -> None:
        if event["log_level"] in (LogLevel.warn, LogLevel.error, LogLevel.critical):
            events.append(event)

    globalLogPublisher.addObserver(watch)
    try:
        before = len(till.paypal.asked)
        assert [till.hear(refund, {}) for _ in range(5)] == [503] * 5
        assert len(till.paypal.asked) == before, "nobody knows yet whether it is PayPal's"
    finally:
        globalLogPublisher.removeObserver(watch)
    assert events == []
    assert till.heard == [Heard.EARLY] * 5
    assert till.sweep(QUIET) >= 1
    assert till.hear(refund) == 200
    assert till.paid == [12000, -2000]
    till.forget_others()
    assert till.hear(till.paypal.refund(order_id, "1.00")) == 200
    event["resource"]["links"][0]["href"] += "9"
    assert till.hear(json.dumps(event).encode()) == 200, "nothing of ours"


def test_forgeries_do_not_fill_the_log(till: Till) -> None:
    """Whoever knows an order may send as many as they like: one line in ten minutes."""
    octets = till.approved(till.begin())
    forged = till.paypal.sign(octets) | {"PayPal-Transmission-Sig": "forged"}
    lines: list[object] = []

    def watch(event: dict[str, object]) -> None:
        if event["log_level"] is LogLevel.warn:
            lines.append(event)

    globalLogPublisher.addObserver(watch)
    try:
        assert {till.hear(octets, forged) for _ in range(3)} == {403}
        assert len(lines) == 1
        till.later += timedelta(minutes=10)
        till.hear(octets, forged)
        assert len(lines) == 2
    finally:
        globalLogPublisher.removeObserver(watch)


# One order at a time


def test_two_windows_have_one_order(till: Till) -> None:
    """One after the other, or both at once: there is one place to pay, and one payment."""
    customer, number = till.invoice.customer, till.invoice.number

    async def both() -> list[str]:
        begin = till.checkout.begin
        return await gatherResults(
            [ensureDeferred(begin(by(customer), number, "fr")) for _ in range(2)]
        )

    first, second = run(both)
    assert first == second
    order_id = till.begin()
    assert first.endswith(order_id)
    rows = ask(till.dsn, "SELECT order_id FROM paypal_order WHERE number = %s", number)
    assert rows == [(order_id,)]
    till.paypal.approve(order_id)
    assert till.back(order_id) is Result.PAID
    assert (till.paid, till.captures) == ([12000], 1)


def test_what_is_left_has_changed(till: Till) -> None:
    """There is another order, and the first one is never captured, whoever agrees to it."""
    first = till.begin()
    till.pay_otherwise(2000)
    second = till.begin()
    assert second != first
    unit = till.paypal.orders[second]["purchase_units"][0]
    assert unit["amount"]["value"] == "100.00"
    till.paypal.approve(first)
    till.paypal.approve(second)
    till.paypal.orders[first]["purchase_units"][0]["amount"] = unit["amount"]
    ask(till.dsn, "UPDATE paypal_order SET amount = 10000 WHERE order_id = %s", first)
    assert till.back(first) is Result.OTHERWISE
    assert till.hear(till.approved(first)) == 200
    assert till.back(second) is Result.PAID
    assert (till.paid, till.captures) == ([10000], 1)


@pytest.mark.parametrize("forgotten", [True, False])
def test_an_order_that_is_old(till: Till, forgotten: bool) -> None:
    """Is not gone on with: PayPal ends it, or has done so."""
    first = till.begin()
    if forgotten:
        del till.paypal.orders[first]
    else:
        till.later = YOUNG
    second = till.begin()
    assert second != first
    till.paypal.approve(second)
    assert till.back(second) is Result.PAID


def test_pressed_again_when_it_was_agreed_to(till: Till) -> None:
    """The way back was lost: it is paid then, and nothing is left to be."""
    till.agreed()
    with pytest.raises(Refused, match="nothing is to be paid"):
        till.begin()
    assert (till.paid, till.captures) == ([12000], 1)


def test_nobody_pays_again_what_paypal_looks_into(till: Till) -> None:
    """Until PayPal says that it is paid, or that it is not."""
    till.paypal.pending = True
    order_id = till.agreed()
    assert not till.under_way
    assert till.back(order_id) is Result.PENDING
    assert till.under_way
    with pytest.raises(UnderWay):
        till.begin()
    captures = till.paypal.orders[order_id]["purchase_units"][0]["payments"]["captures"]
    captures[0]["status"] = "DECLINED"
    assert till.hear(till.captured(order_id, "DENIED")) == 200
    assert not till.under_way
    till.paypal.pending = False
    again = till.begin()
    till.paypal.approve(again)
    assert till.back(again) is Result.PAID
    assert till.paid == [12000]


def test_whoever_had_it_taken(till: Till) -> None:
    """Though it was not claimed here, nobody pays again what PayPal looks into."""
    order_id = till.agreed()
    till.paypal.pending = True
    till.paypal._capture(till.paypal.orders[order_id])
    assert till.back(order_id) is Result.PENDING
    assert till.under_way


def test_nobody_pays_again_what_may_have_been_taken(till: Till) -> None:
    """While the answer is missing; when it is there, the bank has refused, and it may be."""
    order_id = till.agreed()
    till.paypal.faults += [Fault("/capture", "500")] * 2
    with pytest.raises(Away):
        till.back(order_id)
    assert till.under_way
    till.paypal.faults += [Fault(order_id, "500")] * 2
    with pytest.raises(Away):
        till.begin()
    till.paypal.poor = True
    assert till.begin() != order_id
    assert not till.under_way


@pytest.mark.parametrize("ended", ["forgotten", "voided"])
def test_what_was_never_taken_may_be_paid(till: Till, ended: str) -> None:
    """The answer to a capture was lost, and PayPal has ended the order since."""
    order_id = till.agreed()
    till.paypal.faults += [Fault("/capture", "500")] * 2
    with pytest.raises(Away):
        till.back(order_id)
    till.end(order_id, ended)
    with pytest.raises(UnderWay):
        till.begin()
    till.minutes_pass(order_id)
    assert till.begin() != order_id
    assert not till.under_way


def test_what_was_never_taken_and_is_less_by_now(till: Till) -> None:
    """The answer to a capture was lost, and a cheque came in: what is left may be paid."""
    order_id = till.agreed()
    till.paypal.faults += [Fault("/capture", "500")] * 2
    with pytest.raises(Away):
        till.back(order_id)
    till.pay_otherwise(2000)
    with pytest.raises(UnderWay):
        till.begin()
    till.minutes_pass(order_id)
    assert till.begin() != order_id


@pytest.mark.parametrize("ended", ["forgotten", "voided"])
def test_what_paypal_looks_into_is_never_old(till: Till, ended: str) -> None:
    """Its money may come after all, even if the order says nothing of it any more."""
    till.paypal.pending = True
    order_id = till.agreed()
    assert till.back(order_id) is Result.PENDING
    till.end(order_id, ended)
    till.minutes_pass(order_id)
    with pytest.raises(UnderWay):
        till.begin()


def test_a_claim_is_as_old_as_the_last_one(till: Till) -> None:
    """It is not released while the capture that was tried again is on its way."""
    order_id = till.agreed()
    for _ in range(2):
        till.paypal.faults += [Fault("/capture", "500")] * 2
        till.minutes_pass(order_id)
        with pytest.raises(Away):
            till.back(order_id)
    del till.paypal.orders[order_id]
    with pytest.raises(UnderWay):
        till.begin()


def test_pressed_again_when_paypal_has_denied_it(till: Till) -> None:
    """No word of that has come: who asks is told by PayPal, and may pay."""
    till.paypal.pending = True
    order_id = till.agreed()
    assert till.back(order_id) is Result.PENDING
    captures = till.paypal.orders[order_id]["purchase_units"][0]["payments"]["captures"]
    captures[0]["status"] = "DENIED"
    till.paypal.pending = False
    again = till.begin()
    assert again != order_id
    till.paypal.approve(again)
    assert till.back(again) is Result.PAID
    assert till.paid == [12000]


def test_an_order_of_another_account(till: Till) -> None:
    """PayPal says nothing of it: when it is old there is another one, if it was never taken."""
    order_id = till.begin()
    till.refused(order_id, 403)
    with pytest.raises(Declined):
        till.begin()
    till.later = YOUNG
    till.refused(order_id, 401, 401)
    with pytest.raises(Declined):
        till.begin()
    ask(till.dsn, "UPDATE paypal_order SET capturing_at = now() WHERE order_id = %s", order_id)
    till.refused(order_id, 403)
    with pytest.raises(Declined):
        till.begin()
    ask(till.dsn, "UPDATE paypal_order SET capturing_at = NULL WHERE order_id = %s", order_id)
    till.refused(order_id, 403)
    assert till.begin() != order_id


def test_what_was_captured_is_not_released(till: Till) -> None:
    """Though PayPal says no more of it than that."""
    order_id = till.agreed()
    order = till.paypal.orders[order_id]
    till.paypal.faults += [Fault(order_id, "overtaken"), Fault(order_id, "403")]
    with pytest.raises(Declined):
        till.back(order_id)
    assert till.under_way
    assert order["status"] == "COMPLETED"


# What no word comes of


def test_a_sweep_takes_what_was_agreed_to(till: Till) -> None:
    """Without a browser and a webhook; not at once, and not twice."""
    till.forget_others()
    order_id = till.agreed()
    before = len(till.paypal.asked)
    assert till.sweep() == 0
    assert len(till.paypal.asked) == before
    assert till.sweep(QUIET) == 1
    assert (till.paid, till.captures) == ([12000], 1)
    assert till.settled(order_id)
    assert till.sweep(timedelta(hours=2)) == 0


def test_a_sweep_records_what_was_taken(till: Till) -> None:
    """Whose answer was lost, or that PayPal has looked into."""
    till.forget_others()
    till.paypal.pending = True
    order_id = till.agreed()
    till.paypal.faults += [Fault("/capture", "lost")] * 2
    with pytest.raises(Away):
        till.back(order_id)
    assert till.sweep(QUIET) == 1
    assert (till.paid, till.under_way) == ([], True)
    till.paypal.orders[order_id]["purchase_units"][0]["payments"]["captures"][0]["status"] = (
        "COMPLETED"
    )
    assert till.sweep(timedelta(minutes=50)) == 0, "it has been asked about"
    assert till.sweep(timedelta(minutes=11)) == 1
    assert (till.paid, till.captures, till.under_way) == ([12000], 1, False)


def test_a_sweep_settles_what_is_over(till: Till) -> None:
    """In three days, whatever PayPal still knows of it; what it looks into is waited for."""
    till.forget_others()
    first = till.begin()
    till.pay_otherwise(2000)
    second = till.begin()
    del till.paypal.orders[first]
    assert till.sweep(QUIET) == 2
    assert not till.settled(first)
    assert till.sweep(LAST) == 2
    assert till.settled(first)
    assert till.settled(second)
    till.paypal.pending = True
    third = till.agreed()
    till.back(third)
    till.sweep(2 * LAST)
    assert not till.settled(third)


def test_a_sweep_settles_what_paypal_says_nothing_of(till: Till) -> None:
    """In three days; not if it is us whom PayPal does not know."""
    till.forget_others()
    order_id = till.begin()
    for status, later, settled in ((403, QUIET, 0), (401, LAST, 0), (403, LAST, 1)):
        till.refused(order_id, *[status] * (2 if status == 401 else 1))
        assert till.sweep(later) == 1
        assert till.settled(order_id) == settled
    assert till.begin() != order_id


def test_a_sweep_waits_longer_for_what_paypal_looks_into(till: Till) -> None:
    """Though PayPal says nothing of it for a while: its money is there, and may come."""
    till.forget_others()
    till.paypal.pending = True
    order_id = till.agreed()
    assert till.back(order_id) is Result.PENDING
    till.refused(order_id, 403)
    assert till.sweep(2 * LAST) == 1
    assert till.under_way
    del till.paypal.orders[order_id]
    assert till.sweep(LAST) == 1
    assert till.under_way
    assert till.sweep(LONGEST_REVIEW) == 1
    assert not till.under_way


def test_a_sweep_while_paypal_is_away(till: Till) -> None:
    """Asks no more of it than once, and comes again."""
    till.forget_others()
    order_id = till.agreed()
    till.paypal.faults += [Fault(order_id, "500")] * 2
    assert till.sweep(QUIET) == 0
    assert till.paid == []
    assert till.sweep(timedelta(hours=1, seconds=1)) == 1
    assert till.paid == [12000]


def test_the_servers_turn_sweeps() -> None:
    """Every minute, whatever became of the other work."""
    done: list[str] = []

    class Work:
        async def look(self) -> None:
            raise Unavailable("away")

        async def all(self) -> None:
            raise RuntimeError

        async def sweep(self) -> None:
            done.append("swept")

    server: Any = Mail6M(Settings())
    server._certificates, server._machine, server._sweep = None, Work(), Work()
    server.log = Logger(observer=lambda _: None)
    for checkout in (Work(), None):
        server._checkout = checkout
        run(server._let_time_pass)
    assert done == ["swept"]


def test_the_database_is_away(till: Till) -> None:
    """PayPal comes again."""
    octets = till.approved(till.agreed())
    with new_pool(NOWHERE) as pool:
        nowhere = Checkout(
            client(till.paypal), PayPalOrders(pool), Payments(pool), Invoices(pool),
            lambda: CONSOLE, lambda: datetime.now(UTC),
        )  # fmt: skip
        fields = {name.lower(): value for name, value in till.paypal.sign(octets).items()}
        assert run(lambda: nowhere.notified(fields, octets)) == 503


def test_a_token_is_kept_until_it_ends(stand_in: StandIn) -> None:
    """Then there is a new one; and when PayPal does not know it any more."""
    clock = Clock()
    one = client(stand_in, reactor=clock)

    def tokens() -> int:
        with pytest.raises(Declined, match="INVALID_RESOURCE_ID"):
            run(lambda: one.order("NONE"))
        return len(stand_in.tokens)

    first = tokens()
    assert tokens() == first
    clock.advance(32_400 - 60)
    assert tokens() == first + 1
    stand_in.tokens[-1] = "ended"
    assert tokens() == first + 2


def test_wrong_credentials(stand_in: StandIn) -> None:
    """Are said, and the secret is not."""
    with pytest.raises(PayPalError) as raised:
        run(lambda: client(stand_in, "wrong-secret").order("NONE"))
    assert "invalid_client" in str(raised.value)
    assert "wrong-secret" not in str(raised.value)


def test_a_place_to_pay_that_is_strange(till: Till) -> None:
    """Nobody is sent there."""
    create = till.paypal._create

    def elsewhere(asked: dict[str, object]) -> tuple[int, dict[str, object]]:
        status, order = create(asked)
        return status, order | {"links": [{"rel": "approve", "href": "https://attaque.test/"}]}

    till.paypal._create = elsewhere  # type: ignore[method-assign]
    try:
        with pytest.raises(Away, match="strange"):
            till.begin()
    finally:
        till.paypal._create = create  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("api", "site"),
    [
        ("https://api-m.paypal.com", "https://www.paypal.com"),
        ("https://api-m.sandbox.paypal.com/", "https://www.sandbox.paypal.com"),
        ("http://127.0.0.1:8099", "http://127.0.0.1:8099"),
    ],
)
def test_where_people_pay(api: str, site: str) -> None:
    """It follows from where the interface is."""
    assert PayPal(Clock(), None, api, "", "", "").site == site  # type: ignore[arg-type]


ALL = {"paypal-client-id": "a", "paypal-secret-file": "b", "paypal-webhook-id": "c"}


@pytest.mark.parametrize("missing", ALL)
def test_settings_go_together(missing: str) -> None:
    """A part of them is a mistake, and not a button that does nothing."""
    with pytest.raises(SettingsError, match="go together"):
        read_settings({name: value for name, value in ALL.items() if name != missing})
    read_settings(ALL)


@pytest.mark.parametrize("api", ["http://api-m.paypal.com", "api-m.paypal.com", "https://a/b"])
def test_an_interface_that_is_none(api: str) -> None:
    """Secrets go by TLS alone, but to a loopback."""
    with pytest.raises(SettingsError, match="--paypal-api"):
        read_settings({"paypal-api": api})


def test_off_unless_configured(tmp_path: Path) -> None:
    """Nobody asks without settings; without its secret the start fails, and says so."""
    agent = Agent(the_reactor())
    assert configured(Clock(), agent, Settings()) is None  # type: ignore[arg-type]
    secret = tmp_path / "secret"
    given = Settings(paypal_client_id="a", paypal_secret_file=secret, paypal_webhook_id="c")
    with pytest.raises(SettingsError, match="--paypal-secret-file"):
        configured(Clock(), agent, given)  # type: ignore[arg-type]
    secret.write_text("very-secret\n")
    paypal = configured(Clock(), agent, given)  # type: ignore[arg-type]
    assert paypal is not None
    assert paypal.site == "https://www.paypal.com"
