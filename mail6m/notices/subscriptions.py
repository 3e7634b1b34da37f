"""Who does not want to be written to about what, and the links by which that is said (RFC 8058).

A link names its address and its topic, and an HMAC over both is all that it takes: whoever has the
letter may unsubscribe its address, without an account, and do nothing else.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence, Set
from typing import NamedTuple

from mail6m.notices.catalogue import TOPICS
from mail6m.seal import Keyring
from mail6m.storage.audit import By
from mail6m.storage.notices import Refusals
from mail6m.storage.pool import Pool

PATH = "/desabonnement/"
"""Where a link leads to, within the console."""
_MOST = 600
"""Characters of a token: an address has 320 at most."""


class Subscriber(NamedTuple):
    """Somebody who is written to about something."""

    customer: int
    address: str
    topic: str


class Subscriptions:
    """Keeps what people do not want to hear of."""

    def __init__(self, refusals: Refusals, secret: bytes) -> None:
        self._refusals = refusals
        self._secret = secret

    def path(self, subscriber: Subscriber) -> str:
        """The link that unsubscribes somebody, within the console."""
        customer, address, topic = subscriber
        named = f"{customer}.{topic}.{_encoded(address.encode())}"
        return f"{PATH}{named}.{self._mac(named)}"

    def read(self, token: str) -> Subscriber | None:
        """Whom a link unsubscribes; None if we have not made it."""
        named, _, mac = token.rpartition(".")
        if len(token) > _MOST or not token.isascii():
            return None
        if not hmac.compare_digest(mac, self._mac(named)):
            return None
        customer, topic, address = named.split(".")
        known = Subscriber(int(customer), _decoded(address), topic)
        return known if topic in TOPICS else None

    async def end(self, subscriber: Subscriber, client: str) -> None:
        """Write to somebody about that no more; once more is as good as once."""
        customer, address, topic = subscriber
        await self._refusals.refuse(By(customer, address, client), address, topic)

    async def unwanted(self, customer: int, address: str) -> set[str]:
        """The topics that an address of a customer's does not want to hear of."""
        return set(await self._refusals.refused(customer, address))

    async def choose(self, by: By, address: str, wanted: Set[str]) -> None:
        """Write to an address of a customer's about these topics, and no others."""
        unwanted = await self.unwanted(by.customer, address)
        for topic in TOPICS:
            if topic in wanted and topic in unwanted:
                await self._refusals.want(by, address, topic)
            elif topic not in wanted and topic not in unwanted:
                await self._refusals.refuse(by, address, topic)

    async def willing(
        self, customer: int, topic: str, addresses: Sequence[str]
    ) -> list[Subscriber]:
        """Those of a customer's addresses that want to be written to about that."""
        refusing = await self._refusals.refusing(customer, topic)
        return [
            Subscriber(customer, address, topic)
            for address in addresses
            if address.lower() not in refusing
        ]

    def _mac(self, named: str) -> str:
        return _encoded(hmac.digest(self._secret, named.encode("utf-8", "replace"), "sha256"))


def subscriptions(pool: Pool, keyring: Keyring) -> Subscriptions:
    """Those of a database; the links of every process are good for every other one."""
    return Subscriptions(Refusals(pool), keyring.secret("unsubscribing"))


def _encoded(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def _decoded(encoded: str) -> str:
    try:
        return urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:  # we have signed it, so it is ours
        raise AssertionError("a link that was made by us") from error
