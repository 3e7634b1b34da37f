"""Who calls the API: a key of a customer's, from somewhere."""

from __future__ import annotations

from dataclasses import dataclass

from mail6m.model import Scope
from mail6m.storage.audit import By
from mail6m.storage.tokens import Bearer


@dataclass(frozen=True, slots=True)
class Caller:
    """A request that has passed the gate."""

    bearer: Bearer
    client: str
    """The address that it comes from."""

    @property
    def customer(self) -> int:
        """Whose data may be told, and whose alone."""
        return self.bearer.customer

    @property
    def by(self) -> By:
        """Who does it, for the audit."""
        return By(self.customer, f"API: {self.bearer.name}", self.client)

    def may(self, scope: Scope) -> bool:
        """Whether its key has been given that."""
        return scope in self.bearer.scopes
