"""Démarrer: the way from a new account to the first archived message, and how far it is.

Each step says what is so now: what is declared, what the DNS says, what the receiving machine said
when it was last tried, and what is in the cabinet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from mail6m.access.signup import START
from mail6m.delivery.conversation import Finding
from mail6m.delivery.trial import Busy, Trial
from mail6m.dialogue.address import AddressError, canonical_domain
from mail6m.domains import (
    Declarations,
    Direction,
    Pointing,
    Proof,
    Unfit,
    record_of,
    unicode_form,
)
from mail6m.model import Act, Domain, Message
from mail6m.shelves.cabinet import Cabinet
from mail6m.storage.audit import Audit
from mail6m.storage.claims import Claim
from mail6m.storage.errors import Refused
from mail6m.storage.trials import Trials, Tried
from mail6m.web.domains import FINDINGS, POINTING, PROOFS, WRONG, DomainForm, HostsForm
from mail6m.web.routes import act, page
from mail6m.web.visit import Answer, Html, NotFound, Redirect, Visit

LOOK_AGAIN = 15
"""Seconds until the page looks again, while something is still to come."""


class Standing(NamedTuple):
    """How far it is with a domain."""

    found: Domain | Claim | None
    """None: nothing is declared."""
    proof: Proof | None
    """What the DNS says of a claim now; None, if it is none."""
    texts: Sequence[str]
    """What the DNS says instead of the proof."""
    tried: Tried | None
    """The last trial of the machines that are named; None, if there was none."""
    direction: Direction | None
    """Where the MX records lead now; None, if no domain is declared."""
    newest: Message | None
    """The newest message in the cabinet."""

    @property
    def proved(self) -> bool:
        """Whether the domain is the customer's."""
        return isinstance(self.found, Domain)

    @property
    def taken(self) -> bool:
        """Whether a machine has said that it takes the domain's mail."""
        return self.tried is not None and Finding.TAKEN.name in self.tried.findings

    @property
    def pointing(self) -> bool:
        """Whether all MX records lead to us."""
        return self.direction is not None and self.direction.pointing is Pointing.HERE

    @property
    def steps(self) -> Sequence[bool]:
        """What is done: declared, proved, machine tried, MX set, a message received."""
        return [
            self.found is not None,
            self.proved,
            self.taken,
            self.pointing,
            self.newest is not None,
        ]

    @property
    def current(self) -> int:
        """The first step that is not done, counted from 1; 0 if all are."""
        return 0 if all(self.steps) else self.steps.index(False) + 1


class StartPages:
    """The guided start."""

    def __init__(
        self,
        declarations: Declarations,
        trial: Trial,
        trials: Trials,
        audit: Audit,
        cabinet: Cabinet,
        hostnames: Sequence[str],
    ) -> None:
        self._declarations = declarations
        self._trial = trial
        self._trials = trials
        self._audit = audit
        self._cabinet = cabinet
        self._hostnames = hostnames

    @page(START)
    async def show(self, visit: Visit) -> Answer:
        """Démarrer: each step to the first archived message, and whether it is done."""
        return await self._show(visit, visit.query.get("domaine", ""))

    @act(START)
    async def declare(self, visit: Visit) -> Answer:
        """The button Déclarer: a domain that is still to be proved, and its machine."""
        form = DomainForm(visit.form, self._declarations.read_hosts, visit._)
        if form.validate():
            try:
                name = await self._declarations.claim(
                    visit.by, form.name.data or "", form.read, form.policy
                )
            except Unfit as unfit:
                form.name.errors = [WRONG[unfit.why]]
            else:
                return Redirect(_path(name))
        return await self._show(visit, "", form=form)

    @act(f"{START}/verifier")
    async def prove(self, visit: Visit) -> Answer:
        """The button Vérifier: look for the TXT record, and make the claim a domain."""
        found = await self._named(visit)
        if isinstance(found, Domain):
            return Redirect(_path(found.name))
        try:
            proof, _ = await self._declarations.prove(visit.by, found)
        except Refused as error:
            raise NotFound from error
        if proof is not Proof.PROVED:
            say = visit._(PROOFS[proof]) if proof is Proof.TAKEN else ""
            return Redirect(_path(found.name), say)
        say = visit._("%(domain)s est à vous : nous acceptons son courrier dès maintenant.")
        return Redirect(_path(found.name), say % {"domain": unicode_form(found.name)})

    @act(f"{START}/machines")
    async def rename(self, visit: Visit) -> Answer:
        """The button Enregistrer: other machines, from now on."""
        found = await self._named(visit)
        form = self._hosts(visit, visit.form, found)
        if not form.validate():
            return await self._show(visit, found.name, hosts=form)
        try:
            await self._declarations.change(visit.by, found, form.read, form.policy)
        except Refused as error:
            raise NotFound from error
        return Redirect(_path(found.name), visit._("C'est enregistré, et vaut dès maintenant."))

    @act(f"{START}/essai")
    async def test(self, visit: Visit) -> Answer:
        """The button Tester: a session with each machine, without a message."""
        found = await self._named(visit)
        if isinstance(found, Claim):
            raise NotFound  # nobody is relayed to for a domain that may be somebody else's
        hosts = ", ".join(map(str, found.hosts))
        await self._audit.add(visit.by, Act.DOMAIN_TESTED, f"{found.name}: {hosts}")
        try:
            attempts = await self._trial.of(visit.customer, found.name, found.hosts, found.tls)
        except Busy:
            say = visit._("Un autre essai est en cours. Attendez qu'il soit terminé.")
            return Redirect(_path(found.name), say)
        await self._trials.record(found, [attempt.finding.name for attempt in attempts])
        return Redirect(_path(found.name))

    # What the page is made of

    async def _named(self, visit: Visit) -> Domain | Claim:
        try:
            name = canonical_domain(visit.form.get("domaine", ""))
        except AddressError:
            raise NotFound from None
        found = await self._declarations.find(visit.customer, name)
        if found is None:
            raise NotFound
        return found

    async def _chosen(self, visit: Visit, name: str) -> tuple[Domain | Claim | None, list[str]]:
        """The domain that is meant, else one that is proved, else any; and the names of all."""
        domains, claims = await self._declarations.of(visit.customer)
        all_: list[Domain | Claim] = [*domains, *claims]
        names = [one.name for one in all_]
        if name and name not in names:
            raise NotFound
        found = all_[names.index(name)] if name else next(iter(all_), None)
        return found, names

    async def _standing(self, visit: Visit, found: Domain | Claim | None) -> Standing:
        proof, tried, direction = None, None, None
        texts: list[str] = []
        if isinstance(found, Claim):
            proof, texts = await self._declarations.look(found)
        elif found is not None:
            tried = await self._trials.last(found)
        if found is not None:
            direction = await self._declarations.direction(found.name, fresh=True)
        messages = (await self._cabinet.page(visit.customer, 1, 1)).messages
        newest = messages[0] if messages else None
        return Standing(found, proof, texts, tried, direction, newest)

    async def _show(
        self,
        visit: Visit,
        name: str,
        *,
        form: DomainForm | None = None,
        hosts: HostsForm | None = None,
    ) -> Answer:
        found, names = await self._chosen(visit, name)
        if form is not None:
            found = None
        standing = await self._standing(visit, found)
        read = self._declarations.read_hosts
        again = form is None and hosts is None and found is not None and standing.current > 1
        values: dict[str, Any] = {
            "standing": standing,
            "names": [(one, unicode_form(one)) for one in names],
            "spoken": unicode_form(found.name) if found is not None else "",
            "form": form or DomainForm(None, read, visit._),
            "hosts": hosts or (self._hosts(visit, None, found) if found is not None else None),
            "hosts_wrong": hosts is not None,
            "record": record_of(found) if isinstance(found, Claim) else None,
            "proofs": PROOFS | {Proof.PROVED: ""},
            "proof": Proof,
            "findings": self._findings(visit, standing),
            "pointing": POINTING,
            "hostnames": self._hostnames,
            "look_again": LOOK_AGAIN if again else 0,
        }
        return Html("start.html", values, 400 if form is not None or hosts is not None else 200)

    def _findings(self, visit: Visit, standing: Standing) -> list[tuple[str, str, bool]]:
        """Each machine, what came of its trial, and whether that is good."""
        if standing.tried is None or standing.found is None:
            return []
        found = [Finding[name] for name in standing.tried.findings]
        return [
            (str(host), visit._(FINDINGS[finding]), finding is Finding.TAKEN)
            for host, finding in zip(standing.found.hosts, found, strict=False)
        ]

    def _hosts(self, visit: Visit, given: Any, found: Domain | Claim) -> HostsForm:
        return HostsForm(given, self._declarations.read_hosts, visit._, found)


def _path(name: str) -> str:
    return f"{START}?{urlencode({'domaine': name})}"
