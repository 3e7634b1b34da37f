"""Plans change on the first of a month, where the customer is; on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import NamedTuple

import pytest
from twisted.internet.defer import DeferredList, ensureDeferred

from mail6m.model import Plan
from mail6m.shelves.plans import PlanChanges, begins
from mail6m.storage.contracts import Contracts
from mail6m.storage.plans import Order, Plans
from tests.reactor_thread import run
from tests.stored import ask, by, new_customer, new_pool

PARIS, KIRITIMATI, HONOLULU = "Europe/Paris", "Pacific/Kiritimati", "Pacific/Honolulu"


class Calendar:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 10, 5, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Office(NamedTuple):
    """Where plans are ordered, and changed when the day has come."""

    dsn: str
    plans: Plans
    calendar: Calendar
    changes: PlanChanges


@pytest.fixture
def office(dsn: str) -> Iterator[Office]:
    """Anew for every test."""
    ask(dsn, "UPDATE preferences SET next_plan = NULL, next_plan_on = NULL")
    with new_pool(dsn) as pool:
        plans, calendar = Plans(pool), Calendar()
        changes = PlanChanges(plans, Contracts(pool), calendar)
        yield Office(dsn, plans, calendar, changes)


def customer(
    office: Office, zone: str = PARIS, plan: str = "tiroir", capacity: int = 2 * 10**9
) -> int:
    """A customer with a plan."""
    number = new_customer()
    ask(
        office.dsn,
        "INSERT INTO customer VALUES (%s, 'Duchemin', %s, %s, '')",
        number,
        plan,
        capacity,
    )
    ask(
        office.dsn,
        "INSERT INTO preferences (customer_id, time_zone) VALUES (%s, %s)",
        number,
        zone,
    )
    return number


def has(office: Office, number: int) -> tuple[str, int, str | None, date | None]:
    """Plan, gigabytes, the plan to come and its day."""
    of = run(lambda: office.plans.of(number))
    return of.plan, of.capacity // 10**9, of.next_plan, of.next_plan_on


def choose(office: Office, number: int, plan: Plan, zone: str = PARIS) -> None:
    """The customer's choice."""
    run(lambda: office.changes.choose(by(number), plan, zone))


def at(office: Office, moment: str) -> None:
    """Set the clock (UTC), and do what is due."""
    office.calendar.now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    run(office.changes.apply)


def noted(office: Office, number: int) -> list[tuple[str, str, str]]:
    """The customer's audit: who, act, object."""
    return ask(
        office.dsn,
        "SELECT account, act, object FROM audit WHERE customer_id = %s ORDER BY audit_id",
        number,
    )


@pytest.mark.parametrize(
    ("today", "on"),
    [
        (date(2026, 10, 1), date(2026, 10, 1)),
        (date(2026, 10, 2), date(2026, 11, 1)),
        (date(2026, 10, 31), date(2026, 11, 1)),
        (date(2026, 12, 2), date(2027, 1, 1)),
        (date(2026, 12, 31), date(2027, 1, 1)),
        (date(2027, 1, 1), date(2027, 1, 1)),
        (date(2027, 1, 31), date(2027, 2, 1)),
        (date(2028, 2, 29), date(2028, 3, 1)),
    ],
)
def test_the_day_from_which_a_choice_holds(today: date, on: date) -> None:
    """The first of the next month, over the turn of the year too; on a first, that very day."""
    assert begins(today) == on


def test_a_choice_waits_for_the_first_of_the_month(office: Office) -> None:
    """It is kept until then, and plan and capacity change together when the day begins."""
    number = customer(office)
    choose(office, number, Plan.MALLE)
    assert has(office, number) == ("tiroir", 2, "malle", date(2026, 11, 1))
    at(office, "2026-10-31 22:59:59")  # in Paris, a second before midnight
    assert has(office, number)[:2] == ("tiroir", 2)
    at(office, "2026-10-31 23:00:00")
    assert has(office, number) == ("malle", 5, None, None)
    assert noted(office, number) == [
        ("georges@duchemin.fr", "plan ordered", "malle (2026-11-01)"),
        ("mail6m", "plan changed", "malle"),
    ]


def test_each_customer_has_its_own_midnight(office: Office) -> None:
    """Where a day begins first it begins first, though all of them chose at the same moment."""
    zones = (KIRITIMATI, PARIS, HONOLULU)
    numbers = {zone: customer(office, zone) for zone in zones}
    for zone, number in numbers.items():
        choose(office, number, Plan.ARMOIRE, zone)
    changed = []
    for moment in ("10-31 09:59", "10-31 10:00", "10-31 23:00", "11-01 09:59", "11-01 10:00"):
        at(office, f"2026-{moment}")
        changed.append([zone for zone in zones if has(office, numbers[zone])[0] == "armoire"])
    assert changed == [[], [KIRITIMATI], [KIRITIMATI, PARIS], [KIRITIMATI, PARIS], list(zones)]


def test_on_the_first_of_the_month_it_changes_at_once(office: Office) -> None:
    """It is the first where the customer is, whatever it is in Greenwich."""
    number, elsewhere = customer(office, KIRITIMATI), customer(office, HONOLULU)
    office.calendar.now = datetime(2026, 12, 31, 11, tzinfo=UTC)
    choose(office, number, Plan.ARMOIRE, KIRITIMATI)
    choose(office, elsewhere, Plan.ARMOIRE, HONOLULU)
    assert has(office, number) == ("armoire", 10, None, None)
    assert has(office, elsewhere) == ("tiroir", 2, "armoire", date(2027, 1, 1))


def test_choosing_what_one_has_withdraws_the_order(office: Office) -> None:
    """Nothing changes on the day, then."""
    number = customer(office)
    choose(office, number, Plan.MALLE)
    choose(office, number, Plan.TIROIR)
    assert has(office, number) == ("tiroir", 2, None, None)
    at(office, "2026-11-02")
    assert has(office, number) == ("tiroir", 2, None, None)
    assert [act for _, act, _ in noted(office, number)] == ["plan ordered", "plan order withdrawn"]


def test_the_last_choice_counts(office: Office) -> None:
    """Another order takes the place of the first, and the same one once more is no news."""
    number = customer(office)
    for plan in (Plan.MALLE, Plan.ARMOIRE, Plan.ARMOIRE, Plan.TIROIR, Plan.TIROIR, Plan.ARMOIRE):
        choose(office, number, plan)
    assert has(office, number)[2] == "armoire"
    assert [act for _, act, _ in noted(office, number)] == [
        *["plan ordered"] * 2,
        "plan order withdrawn",
        "plan ordered",
    ]
    at(office, "2026-11-01 12:00")
    assert has(office, number) == ("armoire", 10, None, None)


def test_a_server_that_was_away_catches_up(office: Office) -> None:
    """What was due while nobody looked is done later, and once."""
    number = customer(office)
    choose(office, number, Plan.MALLE)
    at(office, "2027-03-17")
    at(office, "2027-03-17")
    assert has(office, number) == ("malle", 5, None, None)
    assert [act for _, act, _ in noted(office, number)].count("plan changed") == 1


def test_two_processes_change_it_once(office: Office) -> None:
    """Both see the same order; one of them takes it."""
    number = customer(office)
    order = Order(number, Plan.MALLE, date(2026, 11, 1), PARIS)
    run(lambda: office.plans.order(by(number), order.plan, order.on))

    async def both() -> list[bool]:
        work = [ensureDeferred(office.plans.apply(by(number), order)) for _ in range(2)]
        return sorted(took for _, took in await DeferredList(work, fireOnOneErrback=True))

    assert run(both) == [False, True]
    assert [act for _, act, _ in noted(office, number)].count("plan changed") == 1


def test_a_withdrawn_order_is_not_carried_out(office: Office) -> None:
    """Even by somebody who saw it before it was withdrawn."""
    number = customer(office)
    run(lambda: office.plans.order(by(number), Plan.MALLE, date(2026, 11, 1)))
    [order] = run(lambda: office.plans.due(date(2026, 11, 1)))
    choose(office, number, Plan.TIROIR)
    assert not run(lambda: office.plans.apply(by(number), order))
    assert has(office, number) == ("tiroir", 2, None, None)


def test_an_agreed_capacity_is_not_changed_here(office: Office) -> None:
    """A dedicated plan takes no order, and one that was taken before rests."""
    number = customer(office, plan="dedicated", capacity=50 * 10**9)
    choose(office, number, Plan.MALLE)
    assert has(office, number) == ("dedicated", 50, None, None)
    ask(
        office.dsn,
        "UPDATE preferences SET next_plan = 'malle', next_plan_on = '2026-01-01'"
        " WHERE customer_id = %s",
        number,
    )
    at(office, "2026-11-01")
    assert has(office, number)[:2] == ("dedicated", 50)
    assert noted(office, number) == []


def test_an_unknown_zone_stops_nobody(office: Office) -> None:
    """A zone that this system has lost counts as UTC, and the others change all the same."""
    lost, other = customer(office, "Mars/Olympus"), customer(office)
    choose(office, lost, Plan.MALLE, "Mars/Olympus")
    choose(office, other, Plan.MALLE)
    at(office, "2026-11-01")
    assert has(office, lost)[0] == has(office, other)[0] == "malle"


def test_an_order_is_its_customers(office: Office) -> None:
    """Neither an order nor its withdrawal touches another customer."""
    one, other = customer(office), customer(office)
    choose(office, one, Plan.MALLE)
    choose(office, other, Plan.TIROIR)
    assert has(office, one)[2] == "malle"
    assert has(office, other)[2] is None
