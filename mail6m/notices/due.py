"""Notices become due, and are sent: each once, by whichever process comes first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from mail6m.letters import Notice, Notices
from mail6m.notices.addressees import Addressees, addressees
from mail6m.notices.catalogue import (
    CABINET_FILLING,
    CABINET_FULL,
    CERTIFICATE_ENDING,
    DISK_FILLING,
    FACTOR_OFF,
    PASSWORD_CHANGED,
    QUEUE_MOVING,
    QUEUE_STUCK,
    kind_of,
)
from mail6m.storage.accounts import Accounts
from mail6m.storage.notices import DueNotice, NoticeTable
from mail6m.storage.preferences import PreferencesTable

FILLING, EMPTIER = 0.8, 0.7
"""Parts of a cabinet: from the one on it is told of, and below the other it may be told again."""
PATIENCE = 3_600.0
"""Seconds that a domain's mail waits before it is told of."""
INTERVAL = timedelta(minutes=5)
"""Between two looks at all cabinets and queues."""


class DueNotices:
    """Sends what is to be told."""

    def __init__(
        self,
        table: NoticeTable,
        preferences: PreferencesTable,
        accounts: Accounts,
        notices: Notices,
        now: Callable[[], datetime],
    ) -> None:
        self._table = table
        self._preferences = preferences
        self._accounts = accounts
        self._notices = notices
        self._now = now
        self._next_look: datetime | None = None

    async def send(self) -> int:
        """Look around, if it is time, and send what is due; how many notices."""
        try:
            await self._look()
        finally:  # what is known already is told, whatever a look comes to
            sent = await self._tell()
        return sent

    async def _tell(self) -> int:
        sent = 0
        for due in await self._table.due():
            of = partial(self._notice, due)
            sent += await self._notices.send(self._table, due, due.kind, of)
        return sent

    async def _look(self) -> None:
        now = self._now()
        if self._next_look is not None and now < self._next_look:
            return
        self._next_look = now + INTERVAL
        await self._table.look_at_cabinets(FILLING, EMPTIER)
        await self._table.look_at_queues(PATIENCE)
        await self._table.forget()

    async def _notice(self, due: DueNotice) -> Notice:
        whom = await addressees(due.customer, self._preferences, self._accounts)
        to = [due.address] if due.address else whom.addresses
        path = kind_of(due.kind).path
        return Notice(due.customer, to, whom.language, path, _values(due, whom))


def _values(due: DueNotice, whom: Addressees) -> Mapping[str, Any]:
    """What the template asks for (`mail6m.notices.catalogue.Kind.values`)."""
    common = {"company": whom.company, "time_zone": whom.time_zone}
    return common | _SAID[due.kind](due, due.facts)


def _of_account(due: DueNotice, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Operators are Mail6M, and their command line is no address."""
    who = ("Mail6M", "") if "@" not in facts["by"] else (facts["by"], facts["client"])
    return {"email": due.address, "at": due.due_at, "by": who[0], "client": who[1]}


def _of_cabinet(due: DueNotice, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**facts, "plan": due.plan, "capacity": due.capacity}


def _of_queue(due: DueNotice, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**facts, "domain": due.subject, "since": datetime.fromisoformat(facts["since"])}


def _of_certificate(_: DueNotice, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**facts, "last_day": date.fromisoformat(facts["last_day"])}


def _of_disk(_: DueNotice, facts: Mapping[str, Any]) -> dict[str, Any]:
    return dict(facts)


_SAID: Mapping[str, Callable[[DueNotice, Mapping[str, Any]], dict[str, Any]]] = {
    PASSWORD_CHANGED.name: _of_account,
    FACTOR_OFF.name: _of_account,
    CABINET_FILLING.name: _of_cabinet,
    CABINET_FULL.name: _of_cabinet,
    QUEUE_STUCK.name: _of_queue,
    QUEUE_MOVING.name: _of_queue,
    CERTIFICATE_ENDING.name: _of_certificate,
    DISK_FILLING.name: _of_disk,
}
"""What is said of each, beside the company."""
