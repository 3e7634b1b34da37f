"""The life of a disc, on a real PostgreSQL: the sum holds at every step, to the message."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mail6m.model import Shelf
from mail6m.seal import compress, seal
from mail6m.shelves import discs
from mail6m.shelves.disc.layout import DiscError
from mail6m.shelves.disc.readback import MANIFEST
from mail6m.shelves.discs import DiscLife
from mail6m.storage.audit import By
from mail6m.storage.discs import CellarReading, Discs
from mail6m.storage.errors import Refused, Unavailable
from tests.harness import require
from tests.reactor_thread import run
from tests.shelved import MASTER, House, assert_counted, make_disc_life, make_house
from tests.stored import NOON, ask, new_message, new_pool

OPERATOR = "operator", "command line"


class Vault(NamedTuple):
    """A house with discs."""

    house: House
    life: DiscLife
    discs: Discs
    folder: Path

    def customer(self, *, subscription: bool = False) -> int:
        """A customer with a key, whose mail goes straight to the cellar."""
        number = self.house.customer(room_for=1_000_000)
        wrapped = MASTER.new_wrapped_key(number)
        ask(
            self.house.dsn,
            "UPDATE customer SET wrapped_key = %s WHERE customer_id = %s",
            *(wrapped, number),
        )
        ask(
            self.house.dsn,
            "INSERT INTO preferences (customer_id, disc_subscription) VALUES (%s, %s)",
            *(number, subscription),
        )
        return number

    def store(
        self, customer: int, count: int, size: int = 2_000, *, spam: bool = False
    ) -> list[bytes]:
        """So many messages are in the cellar, a minute apart; their contents."""
        rows = ask(
            self.house.dsn, "SELECT wrapped_key FROM customer WHERE customer_id = %s", customer
        )
        key = run(lambda: self.key(customer))
        assert rows
        contents = []
        for number in range(count):
            content = b"Subject: %d\r\n\r\n" % number + hashlib.sha256(b"%d" % number).digest() * (
                size // 32
            )
            message = new_message(
                customer, content, milliseconds=NOON + number * 60_000, shelf=Shelf.CELLAR
            )
            message.parts = seal(key, message.id, compress(content, 1))
            message.stored_size = sum(map(len, message.parts))
            run(lambda message=message: self.house.archive.store([message], 0))
            contents.append(content)
        if spam:
            ask(self.house.dsn, "UPDATE message SET spam = true WHERE customer_id = %s AND"
                " message_id IN (SELECT message_id FROM message WHERE customer_id = %s"
                " ORDER BY message_id LIMIT 2)", customer, customer)  # fmt: skip
        return contents

    async def key(self, customer: int) -> Any:
        """The customer's key."""
        return await self.life._directory.key(customer)

    def ordered(self, customer: int) -> str:
        """A disc is offered and ordered; its serial number."""
        assert run(lambda: self.discs.offer(By(customer, "mail6m", ""), discs.new_serial()))
        return run(lambda: self.life.answer(By(customer, "georges@duchemin.fr", ""), True))

    def write(self, serial: str) -> Any:
        """Write it."""
        return run(lambda: self.life.write(*OPERATOR, serial, lambda part: None))

    def sum(self, customer: int) -> dict[str, int]:
        """Where the customer's messages are."""
        [[cabinet, cellar, on_discs]] = ask(
            self.house.dsn,
            "SELECT count(*) FILTER (WHERE shelf = 0), count(*) FILTER (WHERE shelf = 1),"
            " count(*) FILTER (WHERE shelf = 3) FROM message WHERE customer_id = %s",
            customer,
        )
        assert on_discs == 0, "what is on a disc is erased"
        all_discs = run(lambda: self.discs.all(customer))
        kept = [disc for disc in all_discs if disc.state in ("written", "shipped")]
        gone = [disc for disc in all_discs if disc.state == "destroyed"]
        return {
            "cabinet": cabinet,
            "cellar": cellar,
            "discs": sum(disc.messages for disc in kept),
            "destroyed": sum(disc.messages for disc in gone)
            + sum(disc.left_out for disc in [*kept, *gone]),
        }


@pytest.fixture
def vault(dsn: str, tmp_path: Path) -> Iterator[Vault]:
    """With a folder of its own, and discs of 1,200,000 bytes."""
    with new_pool(dsn, size=4) as pool:
        house = make_house(dsn, pool)
        life = make_disc_life(house, pool, tmp_path / "discs", 1_200_000)
        yield Vault(house, life, Discs(pool), tmp_path / "discs")


def test_a_disc_lives_from_the_offer_to_the_destruction(vault: Vault, tmp_path: Path) -> None:
    """Each step changes what it should, and the sum is the same at every one."""
    require("xorriso", "xorriso")
    customer = vault.customer()
    contents = vault.store(customer, 40)
    assert run(vault.life.offer) == 0  # far from a disc
    serial = vault.ordered(customer)
    assert vault.sum(customer) == {"cabinet": 0, "cellar": 40, "discs": 0, "destroyed": 0}

    written = vault.write(serial)
    assert (written.state, written.messages, written.progress) == ("written", 40, 1.0)
    assert written.image_size == vault.life.image(serial).stat().st_size <= 1_200_000
    assert vault.sum(customer) == {"cabinet": 0, "cellar": 0, "discs": 40, "destroyed": 0}
    assert_counted(vault.house.dsn, customer)
    assert ask(vault.house.dsn, "SELECT count(*) FROM body WHERE customer_id = %s", customer) == [
        (0,)
    ]
    assert run(lambda: vault.life.verify(serial)).manifest == written.manifest_sha256.hex()

    to = tmp_path / "extracted"
    command = ["xorriso", "-osirrox", "on", "-indev", vault.life.image(serial), "-extract", "/", to]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    subprocess.run(["sha256sum", "--quiet", "-c", MANIFEST], cwd=to, check=True, timeout=60)
    found = sorted(path.read_bytes() for path in to.glob("messages/*/*/*/*.eml"))
    assert found == sorted(contents)

    by = By(customer, "georges@duchemin.fr", "192.0.2.7")
    with pytest.raises(Refused, match="not on its way"):
        run(lambda: vault.life.receive(by, serial))
    run(lambda: vault.life.ship(*OPERATOR, serial))
    run(lambda: vault.life.ship(*OPERATOR, serial))  # it did not arrive, and is sent again
    assert vault.life.image(serial).exists()
    with pytest.raises(Refused, match="not on its way"):
        run(lambda: vault.life.receive(by._replace(customer=customer + 1), serial))
    run(lambda: vault.life.receive(by, serial))
    assert not vault.life.image(serial).exists()
    assert vault.sum(customer) == {"cabinet": 0, "cellar": 0, "discs": 0, "destroyed": 40}
    [disc] = run(lambda: vault.discs.all(customer))
    assert (disc.state, disc.manifest_sha256) == ("destroyed", written.manifest_sha256)
    with pytest.raises(Refused, match="it is destroyed"):
        run(lambda: vault.life.ship(*OPERATOR, serial))
    acts = "SELECT account, act FROM audit WHERE customer_id = %s ORDER BY audit_id"
    assert ask(vault.house.dsn, acts, customer) == [
        ("mail6m", "disc offered"),
        ("georges@duchemin.fr", "disc ordered"),
        ("operator", "disc written"),
        ("operator", "disc shipped"),
        ("operator", "disc shipped"),
        ("georges@duchemin.fr", "disc received"),
        ("mail6m", "disc destroyed"),
    ]


def test_a_cellar_that_fills_a_disc_is_offered_one(vault: Vault) -> None:
    """Once; with the subscription it is ordered. What is too much waits for the next one."""
    some, all_ = vault.customer(), vault.customer(subscription=True)
    for customer in (some, all_):
        vault.store(customer, 30, 60_000)
    assert run(vault.life.offer) == 2
    assert run(vault.life.offer) == 0
    states = {
        customer: [disc.state for disc in run(lambda c=customer: vault.discs.all(c))]
        for customer in (some, all_)
    }
    assert states == {some: ["offered"], all_: ["ordered"]}
    serial = run(lambda: vault.life.answer(By(some, "georges", ""), True))
    written = vault.write(serial)
    assert 0.8 * 1_200_000 < written.image_size <= 1_200_000
    assert 0 < written.messages < 30
    assert vault.sum(some)["cellar"] == 30 - written.messages
    assert_counted(vault.house.dsn, some)


def test_a_refusal_thins_the_cellar_as_far_as_it_must(vault: Vault) -> None:
    """The oldest go, until the cellar is under one disc; and go on to as new mail comes."""
    customer = vault.customer()
    vault.store(customer, 30, 60_000)
    ids = vault.house.on(customer, Shelf.CELLAR)
    assert run(vault.life.offer) == 1
    assert run(vault.life.thin) == 0  # there is no answer yet
    by = By(customer, "georges@duchemin.fr", "")
    serial = run(lambda: vault.life.answer(by, False))
    with pytest.raises(Refused, match="is refused"):
        vault.write(serial)
    each = 30 * 2_048  # what a message of these takes, by the sector
    left = (1_200_000 - 1) // each
    assert run(vault.life.thin) == 30 - left
    assert vault.house.on(customer, Shelf.CELLAR) == ids[30 - left :]
    assert run(vault.life.thin) == 0
    departed = run(lambda: vault.house.shelves.departed(customer))
    assert departed == {"destroyed": 30 - left}
    assert_counted(vault.house.dsn, customer)
    assert run(vault.life.offer) == 0  # it is under one disc


def test_who_has_refused_may_order_after_all(vault: Vault) -> None:
    """And nothing is thinned any more; nobody orders who was offered nothing."""
    customer = vault.customer()
    by = By(customer, "georges@duchemin.fr", "")
    with pytest.raises(Refused, match="no disc is offered"):
        run(lambda: vault.life.answer(by, True))
    assert run(lambda: vault.discs.offer(By(customer, "mail6m", ""), discs.new_serial()))
    refused = run(lambda: vault.life.answer(by, False))
    with pytest.raises(Refused, match="no disc is offered"):
        run(lambda: vault.life.answer(by, False))
    vault.store(customer, 30, 60_000)
    ordered = run(lambda: vault.life.answer(by, True))
    assert ordered != refused
    assert run(vault.life.thin) == 0
    assert vault.write(ordered).state == "written"


def test_spam_is_destroyed_with_the_disc_that_it_is_left_out_of(vault: Vault) -> None:
    """It leaves the cellar at the same moment, and is counted as destroyed."""
    customer = vault.customer()
    vault.store(customer, 6, spam=True)
    written = vault.write(vault.ordered(customer))
    assert (written.messages, written.left_out) == (4, 2)
    assert vault.sum(customer) == {"cabinet": 0, "cellar": 0, "discs": 4, "destroyed": 2}
    assert_counted(vault.house.dsn, customer)


def test_a_cellar_that_changes_meanwhile_stays_as_it_is(vault: Vault) -> None:
    """A message that was deleted while the disc was written is not on it: it is written anew."""
    customer = vault.customer()
    vault.store(customer, 5)
    serial = vault.ordered(customer)
    gone = vault.house.on(customer, Shelf.CELLAR)[2]

    def progress(part: float) -> None:
        if part == 1:
            ask(
                vault.house.dsn,
                "SELECT delete_messages(%s, ARRAY[%s]::uuid[])",
                customer,
                str(gone),
            )

    with pytest.raises(Refused, match="has changed"):
        run(lambda: vault.life.write(*OPERATOR, serial, progress))
    assert vault.sum(customer) == {"cabinet": 0, "cellar": 4, "discs": 0, "destroyed": 0}
    assert list(vault.folder.iterdir()) == []
    assert vault.write(serial).messages == 4


def test_a_body_that_does_not_open_stops_the_disc(vault: Vault) -> None:
    """And nothing leaves the cellar."""
    customer = vault.customer()
    vault.store(customer, 5)
    serial = vault.ordered(customer)
    third = str(vault.house.on(customer, Shelf.CELLAR)[2])
    damage = (
        "UPDATE body SET sealed = set_byte(sealed, 3, 1 + get_byte(sealed, 3) %% 200)"
        " WHERE customer_id = %s AND message_id = %s"
    )
    ask(vault.house.dsn, damage, customer, third)
    with pytest.raises(Exception, match="does not open"):
        vault.write(serial)
    ask(
        vault.house.dsn,
        "DELETE FROM body WHERE customer_id = %s AND message_id = %s",
        customer,
        third,
    )
    with pytest.raises(Exception, match="are missing"):
        vault.write(serial)
    assert vault.sum(customer)["cellar"] == 5
    assert list(vault.folder.iterdir()) == []


def test_one_disc_is_written_by_one_at_a_time(vault: Vault) -> None:
    """Whatever the process; when that one has died, it is free."""
    customer = vault.customer()
    vault.store(customer, 2)
    serial = vault.ordered(customer)
    other = CellarReading(vault.house.dsn, customer, serial)
    with pytest.raises(Refused, match="just now"):
        vault.write(serial)
    other.close()
    written = vault.write(serial)
    assert written.state == "written"
    image = vault.life.image(serial).read_bytes()
    with pytest.raises(Refused, match="is written"):
        vault.write(serial)
    assert vault.life.image(serial).read_bytes() == image


def test_who_is_no_longer_alone_gives_its_image_up(vault: Vault) -> None:
    """A connection that was lost took the lock with it: another process may be at work."""
    customer = vault.customer()
    vault.store(customer, 3)
    serial = vault.ordered(customer)

    def cut(part: float) -> None:
        if part > 0.5:
            ask(
                vault.house.dsn,
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                " AND classid = x'6d61696c'::integer::oid AND objsubid = 2",
            )

    with pytest.raises(Unavailable):
        run(lambda: vault.life.write(*OPERATOR, serial, cut))
    assert list(vault.folder.iterdir()) == []
    assert vault.sum(customer)["cellar"] == 3


def test_an_image_that_has_been_altered_is_not_verified(vault: Vault) -> None:
    """Nor one whose manifest fits its files, but is another's."""
    customer = vault.customer()
    vault.store(customer, 3)
    serial = vault.ordered(customer)
    vault.write(serial)
    image = vault.life.image(serial)
    octets = bytearray(image.read_bytes())
    octets[octets.index(b"Subject: 1")] ^= 1
    image.write_bytes(octets)
    with pytest.raises(DiscError, match="not what its manifest says"):
        run(lambda: vault.life.verify(serial))
    image.unlink()
    with pytest.raises(Refused, match="no image"):
        run(lambda: vault.life.verify(serial))


def test_what_was_sent_long_ago_has_arrived(vault: Vault) -> None:
    """After sixty days its image is destroyed, and not before."""
    customer = vault.customer()
    vault.store(customer, 2)
    serial = vault.ordered(customer)
    vault.write(serial)
    run(lambda: vault.life.ship(*OPERATOR, serial))
    ago = "UPDATE disc SET shipped_at = now() - interval '{} days' WHERE serial = %s"
    ask(vault.house.dsn, ago.format(59), serial)
    assert run(vault.life.destroy) == 0
    ask(vault.house.dsn, ago.format(61), serial)
    assert run(vault.life.destroy) == 1
    assert not vault.life.image(serial).exists()
    [disc] = run(lambda: vault.discs.all(customer))
    assert (disc.state, disc.received_at) == ("destroyed", None)


def test_an_image_is_burnt(vault: Vault, tmp_path: Path) -> None:
    """By xorriso, into a file that stands in a drive's place; or it is said why not."""
    require("xorriso", "xorriso")
    customer = vault.customer()
    vault.store(customer, 3)
    serial = vault.ordered(customer)
    with pytest.raises(Refused, match="no image"):
        run(lambda: vault.life.burn(serial, "stdio:/nowhere"))
    vault.write(serial)
    burnt = tmp_path / "burnt.iso"
    run(lambda: vault.life.burn(serial, f"stdio:{burnt}"))
    octets = vault.life.image(serial).read_bytes()
    assert burnt.read_bytes()[: len(octets)] == octets
    with pytest.raises(DiscError, match="could not burn"):
        run(lambda: vault.life.burn(serial, f"stdio:{tmp_path}/none/there.iso"))


def test_what_is_still_to_be_relayed_is_neither_written_nor_thinned(vault: Vault) -> None:
    """A 250 promised that it goes on, or that its sender is told: it stays until that is done."""
    customer = vault.customer()
    vault.store(customer, 30, 60_000)
    ids = vault.house.on(customer, Shelf.CELLAR)
    queue = (
        "INSERT INTO delivery (customer_id, message_id, number, recipient, notify, original,"
        " destination, state, attempts, queued_at, next_attempt_at)"
        " VALUES (%s, %s, 0, 'a@b', 0, '', 'b', 0, 0, now(), now())"
    )
    for id_ in ids[:3]:
        ask(vault.house.dsn, queue, customer, str(id_))
    assert run(vault.life.offer) == 1
    run(lambda: vault.life.answer(By(customer, "georges", ""), False))
    assert run(vault.life.thin) > 0
    assert vault.house.on(customer, Shelf.CELLAR)[:3] == ids[:3]
    serial = run(lambda: vault.life.answer(By(customer, "georges", ""), True))
    vault.write(serial)
    assert vault.house.on(customer, Shelf.CELLAR)[:3] == ids[:3]
    # What is sent again when it has been written is not erased before it has gone.
    ask(vault.house.dsn, "UPDATE message SET shelf = 3 WHERE message_id = %s", str(ids[0]))
    moved = "UPDATE {} SET shelf = 3 WHERE customer_id = %s AND shelf = 1"
    ask(vault.house.dsn, moved.format("minute_count"), customer)
    assert run(lambda: vault.life.erase(customer)) == 0
    [[queued]] = ask(
        vault.house.dsn, "SELECT count(*) FROM delivery WHERE customer_id = %s", customer
    )
    assert queued == 3


def test_a_subscription_answers_for_good(vault: Vault) -> None:
    """After a refusal, too, or while an offer waits: nothing is thinned, discs are ordered."""
    customer = vault.customer()
    by = By(customer, "georges", "")
    subscribe = "UPDATE preferences SET disc_subscription = %s WHERE customer_id = %s"
    vault.store(customer, 30, 60_000)
    assert run(vault.life.offer) == 1
    ask(vault.house.dsn, subscribe, True, customer)
    run(vault.life.offer)
    assert [disc.state for disc in run(lambda: vault.discs.all(customer))] == ["ordered"]
    ask(vault.house.dsn, "UPDATE disc SET state = 'refused' WHERE customer_id = %s", customer)
    assert run(vault.life.thin) == 0
    assert run(vault.life.offer) == 1
    assert run(lambda: vault.discs.all(customer))[0].state == "ordered"
    assert by.customer == customer


def test_an_image_elsewhere_is_not_said_to_be_destroyed(vault: Vault) -> None:
    """The process beside it sees to it; and what cannot be destroyed is tried again."""
    customer = vault.customer()
    vault.store(customer, 2)
    serial = vault.ordered(customer)
    vault.write(serial)
    run(lambda: vault.life.ship(*OPERATOR, serial))
    image = vault.life.image(serial)
    elsewhere = image.with_suffix(".away")
    image.rename(elsewhere)
    ask(vault.house.dsn, "UPDATE disc SET place = 'other:/data/discs' WHERE serial = %s", serial)
    run(lambda: vault.life.receive(By(customer, "georges", ""), serial))
    assert run(lambda: vault.discs.get(serial)).state == "shipped"
    with pytest.raises(Refused, match="other:/data/discs"):
        run(lambda: vault.life.verify(serial))
    elsewhere.rename(image)
    assert run(vault.life.destroy) == 1
    assert not image.exists()
    image.mkdir()  # which cannot be unlinked
    assert run(vault.life.destroy) == 0
    image.rmdir()


def test_an_image_that_is_sent_again_in_time_is_kept(vault: Vault) -> None:
    """On the last day as well."""
    customer = vault.customer()
    vault.store(customer, 2)
    serial = vault.ordered(customer)
    vault.write(serial)
    run(lambda: vault.life.ship(*OPERATOR, serial))
    assert not run(lambda: vault.discs.destroy(By(customer, "mail6m", ""), serial, 60))
    assert run(vault.life.destroy) == 0
    assert vault.life.image(serial).exists()


def test_a_customer_who_has_left_leaves_no_image(vault: Vault) -> None:
    """Nor a part of one, of a writing that died; and nobody else's is touched."""
    left, stays = vault.customer(), vault.customer()
    serials = vault.ordered(left), vault.ordered(stays)
    vault.folder.mkdir(exist_ok=True)
    files = [vault.folder / f"{serial}{end}" for serial in serials for end in (".iso", ".part")]
    for file in files:
        file.write_bytes(b"mail")
    ask(
        vault.house.dsn,
        "INSERT INTO closing (customer_id, company, email, language, time_zone, asked_by, due_at,"
        " closed_at) VALUES (%s, '', '', 'fr', 'UTC', '', now(), now() - interval '2 hours')",
        left,
    )
    run(vault.life.destroy)
    assert [file.exists() for file in files] == [True] * 4
    assert ask(vault.house.dsn, "SELECT destroy_key(%s)", left) == [(True,)]
    run(vault.life.destroy)
    assert [file.exists() for file in files] == [False, False, True, True]


def test_what_waits_for_an_operator_is_counted(vault: Vault) -> None:
    """An order until the disc is written, and a disc until it is shipped."""

    def errands() -> tuple[int, int]:
        found = run(vault.discs.errands)
        return found["disc to write"], found["disc to ship"]

    customer = vault.customer()
    vault.store(customer, 3)
    to_write, to_ship = errands()
    serial = vault.ordered(customer)
    assert errands() == (to_write + 1, to_ship)
    vault.write(serial)
    assert errands() == (to_write, to_ship + 1)
    run(lambda: vault.life.ship(*OPERATOR, serial))
    assert errands() == (to_write, to_ship)
