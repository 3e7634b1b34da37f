"""Contracts: what changes a plan, sends a disc or ends it all changes what is due, in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest

from mail6m.billing.agreements import Agreements
from mail6m.billing.invoice import Party, Seller
from mail6m.billing.months import Had, Sent
from mail6m.billing.quarters import Invoicing
from mail6m.model import Act, Plan
from mail6m.shelves.closing import Ending
from mail6m.shelves.discs import DiscLife
from mail6m.shelves.plans import PlanChanges
from mail6m.storage import contracts, plans
from mail6m.storage.audit import note
from mail6m.storage.closings import Closings
from mail6m.storage.contracts import Contracts
from mail6m.storage.customers import Customers
from mail6m.storage.discs import Discs
from mail6m.storage.errors import Refused
from mail6m.storage.invoices import Invoices
from mail6m.storage.plans import Order, Plans
from mail6m.storage.pool import Pool
from mail6m.storage.tariffs import SellerTable, TariffTable
from tests.reactor_thread import run
from tests.stored import ask, by, new_database, new_pool

JANUARY = date(2026, 1, 10)
DEDICATED = 5 * 10**10


class Office(NamedTuple):
    """Where contracts are made, changed and ended; what time it is stands in ``clock``."""

    dsn: str
    pool: Pool
    clock: list[datetime]
    contracts: Contracts

    def now(self) -> datetime:
        """As it was set."""
        return self.clock[0]

    def turn(self, day: str) -> None:
        """It is noon of that day."""
        self.clock[0] = datetime.fromisoformat(f"{day}T12:00:00+00:00")

    def customer(self, begins: date = JANUARY, plan: str = "tiroir", capacity: int = 0) -> int:
        """A new customer, whose contract has begun on a day."""
        customers = Customers(self.pool)
        number = run(customers.next_number)
        capacity = capacity or Plan(plan).capacity
        run(lambda: customers.add(
            customer=number, company="Duchemin", email=f"g{number}@duchemin.fr", plan=plan,
            capacity=capacity, wrapped_key=b"", password_hash=None))  # fmt: skip
        ask(self.dsn, "UPDATE contract SET started_on = %s WHERE customer_id = %s", begins, number)
        ask(self.dsn, "UPDATE contract_plan SET since = %s WHERE customer_id = %s", begins, number)
        ask(self.dsn, "UPDATE preferences SET address = 'ZI du parc', postcode = '59110', city ="
            " 'La Madeleine', country = 'France', first_name = 'Georges', last_name = 'Alphan'"
            " WHERE customer_id = %s", number)  # fmt: skip
        return number

    def disc(self, customer: int, serial: str, state: str) -> None:
        """A disc of a customer's."""
        rows = "INSERT INTO disc (customer_id, serial, state) VALUES (%s, %s, %s)"
        ask(self.dsn, rows, customer, serial, state)

    def plans(self, customer: int) -> list[tuple[date, str]]:
        """What it has had, and from when on."""
        return [(had.since, had.plan) for had in run(lambda: self.contracts.get(customer)).plans]

    def changes(self) -> int:
        """What is due of plans takes effect."""
        return run(PlanChanges(Plans(self.pool), self.contracts, self.now).apply)

    def agree(self, customer: int, since: date | None = None, monthly: int = 20000) -> date:
        """A dedicated cabinet."""
        agreements = Agreements(self.contracts, self.now)
        return run(lambda: agreements.agree(by(customer), DEDICATED, monthly, since))


@pytest.fixture
def office(database: str) -> Iterator[Office]:
    """With a database of its own."""
    dsn = new_database(database)
    with new_pool(dsn) as pool:
        office = Office(dsn, pool, [datetime(2026, 1, 10, 12, tzinfo=UTC)], Contracts(pool))
        yield office


def test_a_contract_begins_with_its_customer(office: Office) -> None:
    """Today, in Paris, with what was chosen."""
    customers = Customers(office.pool)
    number = run(customers.next_number)
    run(lambda: customers.add(customer=number, company="Duchemin", email="g@duchemin.fr",
                              plan="dedicated", capacity=DEDICATED, wrapped_key=b"",
                              password_hash=None, monthly=20000))  # fmt: skip
    [(today,)] = ask(office.dsn, "SELECT (now() AT TIME ZONE 'Europe/Paris')::date")
    contract = run(lambda: office.contracts.get(number))
    assert (contract.started_on, contract.ended_on) == (today, None)
    assert contract.plans == (Had(today, "dedicated", DEDICATED, 20000),)


def test_a_change_of_size_is_due_from_its_day_on(office: Office) -> None:
    """Whenever it is carried out; one that was withdrawn is not."""
    customer, plans = office.customer(), Plans(office.pool)
    changes = PlanChanges(plans, office.contracts, office.now)
    run(lambda: changes.choose(by(customer), Plan.ARMOIRE, "Europe/Paris"))
    run(lambda: changes.choose(by(customer), Plan.TIROIR, "Europe/Paris"))
    office.turn("2026-02-10")
    assert office.changes() == 0
    run(lambda: changes.choose(by(customer), Plan.MALLE, "Europe/Paris"))
    office.turn("2026-03-04")
    assert office.changes() == 1
    assert office.plans(customer) == [(JANUARY, "tiroir"), (date(2026, 3, 1), "malle")]


def test_what_was_chosen_last_on_a_day_holds(office: Office) -> None:
    """Even if that day is the first; and no plan is had before the contract is."""
    plans = Plans(office.pool)
    first = date(2026, 1, 1)
    customer, late = office.customer(first), office.customer(date(2026, 1, 2))
    for number, plan in ((customer, Plan.MALLE), (customer, Plan.ARMOIRE), (late, Plan.MALLE)):
        run(lambda number=number, plan=plan: plans.order(by(number), plan, first))
        order = Order(number, plan, first, "Pacific/Honolulu")
        assert run(lambda order=order: plans.apply(by(order.customer), order))
    assert office.plans(customer) == [(first, "armoire")]
    assert office.plans(late) == [(date(2026, 1, 2), "malle")]


def test_a_disc_is_due_once(office: Office) -> None:
    """On the day that it was first sent, though it did not arrive and is sent again."""
    customer, discs = office.customer(), Discs(office.pool)
    office.disc(customer, "TCWGR3", "written")
    for day in (date(2026, 4, 1), date(2026, 5, 4)):
        assert run(lambda day=day: discs.ship(by(customer), "TCWGR3", day))
    assert run(lambda: office.contracts.get(customer)).discs == (Sent("TCWGR3", date(2026, 4, 1)),)


def test_a_disc_that_was_sent_before_there_were_prices(office: Office) -> None:
    """Is not due, though it did not arrive and is sent again."""
    customer, discs = office.customer(), Discs(office.pool)
    office.disc(customer, "BWTKKC", "shipped")
    ask(office.dsn, "UPDATE disc SET shipped_at = now() WHERE serial = 'BWTKKC'")
    assert run(lambda: discs.ship(by(customer), "BWTKKC", date(2026, 5, 4)))
    assert run(lambda: office.contracts.get(customer)).discs == ()


def test_a_disc_is_due_on_its_day_in_paris(office: Office, tmp_path: Path) -> None:
    """At half past eleven of 31 March in Greenwich, it is 1 April there."""
    customer = office.customer()
    office.disc(customer, "BWTKKA", "written")
    (tmp_path / "BWTKKA.iso").touch()
    office.clock[0] = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)
    nothing: Any = None
    life = DiscLife(Discs(office.pool), nothing, nothing, nothing, nothing, tmp_path, office.dsn,
                    0, nothing, nothing, office.now)  # fmt: skip
    run(lambda: life.ship("operator", "command line", "BWTKKA"))
    assert run(lambda: office.contracts.get(customer)).discs == (Sent("BWTKKA", date(2026, 4, 1)),)


def test_what_is_not_sent_is_not_due(office: Office) -> None:
    """A disc that has not been written."""
    customer, discs = office.customer(), Discs(office.pool)
    office.disc(customer, "BWTKKB", "ordered")
    assert not run(lambda: discs.ship(by(customer), "BWTKKB", date(2026, 4, 1)))
    assert run(lambda: office.contracts.get(customer)).discs == ()


def test_what_was_agreed_on_holds_from_the_first_of_a_month(office: Office) -> None:
    """Until then there is room as before; what was ordered meanwhile is forgotten."""
    customer, plans = office.customer(), Plans(office.pool)
    run(lambda: plans.order(by(customer), Plan.MALLE, date(2026, 2, 1)))
    assert office.agree(customer) == date(2026, 2, 1)
    assert run(lambda: plans.of(customer)).next_plan is None
    assert run(lambda: plans.of(customer)).plan == "tiroir"
    office.turn("2026-02-01")
    assert office.changes() == 1
    assert office.changes() == 0
    subscription = run(lambda: plans.of(customer))
    assert (subscription.plan, subscription.capacity) == ("dedicated", DEDICATED)
    acts = ask(office.dsn, "SELECT act, object FROM audit WHERE customer_id = %s", customer)
    assert ("price agreed", f"{DEDICATED}, 20000 (2026-02-01)") in acts


def test_back_from_a_dedicated_cabinet(office: Office) -> None:
    """At the tariff's price from the first of a month; what was agreed on for later is not had."""
    customer, plans = office.customer(), Plans(office.pool)
    agreements = Agreements(office.contracts, office.now)
    with pytest.raises(Refused, match="no dedicated cabinet"):
        run(lambda: agreements.end(by(customer), Plan.MALLE))
    office.agree(customer, JANUARY)
    office.agree(customer, date(2026, 4, 1), 30000)
    assert run(lambda: agreements.end(by(customer), Plan.MALLE)) == date(2026, 2, 1)
    assert office.plans(customer) == [(JANUARY, "dedicated"), (date(2026, 2, 1), "malle")]
    assert run(lambda: plans.of(customer)).plan == "dedicated"
    office.turn("2026-02-01")
    assert (office.changes(), office.changes()) == (1, 0)
    subscription = run(lambda: plans.of(customer))
    assert (subscription.plan, subscription.capacity) == ("malle", Plan.MALLE.capacity)


def test_what_is_on_an_invoice_is_not_agreed_on_anew(office: Office) -> None:
    """Nor what begins in the middle of a month, or before the contract."""
    customer = office.customer()
    for day in (date(2026, 1, 11), date(2026, 1, 1)):
        with pytest.raises(Refused):
            office.agree(customer, day)
    assert office.agree(customer, JANUARY) == JANUARY, "for that month nobody has said a price"
    _invoice(office, "2026-04-01")
    with pytest.raises(Refused, match="on an invoice"):
        office.agree(customer, date(2026, 3, 1))
    assert office.agree(customer, date(2026, 4, 1), 30000)


def test_an_end_is_the_contract_s_too(office: Office) -> None:
    """And when it is withdrawn, the contract goes on as if nothing had been."""
    customer = office.customer()
    ending = Ending(Closings(office.pool), office.now)
    office.turn("2026-02-10")
    closing = run(lambda: ending.ask(by(customer)))
    assert closing.ended_on == date(2026, 2, 28)
    assert closing.due_at == datetime(2026, 2, 28, 23, tzinfo=UTC)
    assert run(lambda: office.contracts.get(customer)).ended_on == date(2026, 2, 28)
    with pytest.raises(Refused):
        office.agree(customer, date(2026, 3, 1))
    run(lambda: ending.withdraw(by(customer)))
    assert run(lambda: office.contracts.get(customer)).ended_on is None
    office.turn("2026-03-30")
    assert run(lambda: ending.ask(by(customer), 0)).due_at == office.now()
    assert run(lambda: office.contracts.get(customer)).ended_on == date(2026, 3, 31)


def test_who_is_destroyed_is_still_sent_the_last_invoice(office: Office) -> None:
    """To the name and address there were; contract and invoices stay."""
    customer, closings = office.customer(), Closings(office.pool)
    ending = Ending(closings, lambda: datetime.now(UTC) - timedelta(days=1))
    run(lambda: ending.ask(by(customer), 0))
    ask(office.dsn, "UPDATE contract SET ended_on = '2026-03-31' WHERE customer_id = %s", customer)
    assert run(ending.advance) == 0
    ask(office.dsn, "UPDATE closing SET closed_at = now() - interval '2 hours'")
    assert run(ending.advance) == 1
    assert ask(office.dsn, "SELECT 1 FROM customer WHERE customer_id = %s", customer) == []
    _invoice(office, "2026-07-01")
    [standing] = run(lambda: Invoices(office.pool).of(customer))
    assert standing.invoice.gross == 8000
    assert standing.invoice.buyer == Party(
        "Duchemin", "ZI du parc", "59110", "La Madeleine", "France", f"g{customer}@duchemin.fr",
        contact="Georges Alphan",
    )  # fmt: skip


def _invoice(office: Office, day: str) -> None:
    """What is due is issued on a day."""
    office.turn(day)
    sellers, invoices = SellerTable(office.pool), Invoices(office.pool)
    seller = Seller(Party("Mail6M"))
    run(lambda: sellers.set(by(0), date(2026, 1, 1), seller, date(2026, 1, 1)))
    tariffs = TariffTable(office.pool)
    run(lambda: Invoicing(office.contracts, tariffs, sellers, invoices, office.now).issue())


def at_once(office: Office, sql: str, parameters: dict[str, Any], then: Callable[[], Any]) -> Any:
    """What comes of an act, when another one has been done by then but not been committed."""
    with closing(psycopg2.connect(office.dsn)) as other, ThreadPoolExecutor(1) as thread:
        other.cursor().execute(sql, parameters)
        result = thread.submit(then)
        waits = (
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
        while not result.done() and not ask(office.dsn, waits):
            wait([result], timeout=0.01)
        other.commit()
        return result.result(30)


def test_an_agreement_and_an_order_at_once(office: Office) -> None:
    """Whichever comes first, the agreement stands, and no order takes its place on that day."""
    february = date(2026, 2, 1)
    early, late = office.customer(), office.customer()
    order = {"customer": early, "plan": "armoire", "on": february}
    order |= note(by(early), Act.PLAN_ORDERED)
    at_once(office, plans._ORDER, order, lambda: office.agree(early, february))
    agreement = {"customer": late, "since": february, "capacity": DEDICATED, "monthly": 20000}
    agreement |= {"plan": "dedicated"} | note(by(late), Act.PRICE_AGREED)
    table = Plans(office.pool)
    ordered = at_once(
        office, contracts._AGREE, agreement,
        lambda: run(lambda: table.order(by(late), Plan.ARMOIRE, february)),
    )  # fmt: skip
    assert not ordered
    for customer in (early, late):
        assert run(lambda: table.of(customer)).next_plan is None  # noqa: B023
    office.turn("2026-02-01")
    office.changes()
    for customer in (early, late):
        assert office.plans(customer)[-1] == (february, "dedicated")


def test_an_agreement_while_an_order_is_carried_out(office: Office) -> None:
    """Neither is in the other's way: what was agreed on is had."""
    customer, table, january = office.customer(), Plans(office.pool), date(2026, 1, 10)
    assert run(lambda: table.order(by(customer), Plan.MALLE, january))
    change = {"customer": customer, "plan": "malle", "on": january, "capacity": 1}
    change |= note(by(customer), Act.PLAN_CHANGED)
    at_once(office, plans._APPLY, change, lambda: office.agree(customer, january))
    assert office.plans(customer) == [(january, "dedicated")]
    assert run(lambda: table.of(customer)).plan == "dedicated"
