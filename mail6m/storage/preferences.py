"""What a customer says of itself, and how it likes to work."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from mail6m.model import Act
from mail6m.storage.audit import By, audited, note
from mail6m.storage.errors import Refused
from mail6m.storage.pool import Pool, text


@dataclass(frozen=True, slots=True)
class Preferences:
    """What stands on the page "Préférences", but for the plan (`mail6m.storage.plans`)."""

    company: str
    last_name: str
    first_name: str
    phone: str
    fax: str
    email: str
    address: str
    postcode: str
    city: str
    country: str
    cabinet_rows: int
    search_rows: int
    disc_subscription: bool
    archive_spam: bool
    language: str
    """Empty: as the browser asks."""
    time_zone: str
    """A name of the IANA database."""
    refuse_forged: bool = False
    """What its author's domain wants refused (DMARC) is refused."""
    siret: str = ""
    """What invoices call the company by, without spaces, as the next; empty: it has none."""
    vat_number: str = ""


_NAMES = [field.name for field in fields(Preferences)]

_GET = f"""
SELECT {", ".join(_NAMES)} FROM customer JOIN preferences USING (customer_id)
WHERE customer_id = %s"""

_SAVE = audited(
    f"""
    UPDATE preferences SET {", ".join(f"{name} = %({name})s" for name in _NAMES[1:])}
    WHERE customer_id = %(customer)s RETURNING customer_id""",
    """
    UPDATE customer c SET company = %(company)s FROM done
    WHERE c.customer_id = done.customer_id AND c.company <> %(company)s""",
)


class PreferencesTable:
    """The table ``preferences``, and the company's name."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, customer: int) -> Preferences:
        """A customer's preferences. Raises `Refused` if there is no such customer."""
        rows = await self._pool.query(_GET, (customer,))
        if not rows:
            raise Refused(f"there is no customer {customer}")
        return Preferences(*rows[0])

    async def save(self, by: By, wanted: Preferences) -> list[str]:
        """Store what has changed, and return the names of it. Raises `Refused`."""
        old, new = asdict(await self.get(by.customer)), asdict(wanted)
        new |= {name: text(value) for name, value in new.items() if isinstance(value, str)}
        changed = [name for name in _NAMES if new[name] != old[name]]
        if changed:
            act = note(by, Act.PREFERENCES_CHANGED, ", ".join(changed))
            await self._pool.query(_SAVE, new | {"customer": by.customer} | act)
        return changed
