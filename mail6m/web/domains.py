"""Domaines: what mail is taken in for, and the machines that it goes on to (VII.I)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from wtforms import BooleanField, Form, SelectField, TextAreaField, ValidationError
from wtforms.validators import DataRequired, Length

from mail6m.delivery.conversation import Finding
from mail6m.delivery.trial import Busy, Trial
from mail6m.dialogue.address import AddressError, canonical, canonical_domain
from mail6m.domains import (
    Declarations,
    Pointing,
    Proof,
    Unfit,
    Wrong,
    read_domain,
    record_of,
    unicode_form,
)
from mail6m.guard.listed import MOST_ADDRESSES, NoList, read_list, write_list
from mail6m.guard.listed import Wrong as NotListed
from mail6m.guard.probes import Result
from mail6m.model import Act, Domain, Host, StsMode, TlsPolicy
from mail6m.published import records
from mail6m.storage.audit import Audit
from mail6m.storage.claims import Claim
from mail6m.storage.errors import Refused
from mail6m.storage.recipients import Recipients
from mail6m.storage.trials import Trials
from mail6m.trust import Fault
from mail6m.web.forms import Line, at_most
from mail6m.web.menu import N_
from mail6m.web.routes import act, page
from mail6m.web.visit import Answer, Download, Html, NotFound, Redirect, Visit

TLS = {
    TlsPolicy.OPPORTUNISTIC: N_("Si la machine le peut"),
    TlsPolicy.REQUIRED: N_("Toujours : sans chiffrement, le courrier attend"),
    TlsPolicy.NONE: N_("Jamais"),
}
"""How mail goes on, for people."""

STS = {
    StsMode.NONE: N_("Rien de particulier"),
    StsMode.TESTING: N_("À l'essai : les échecs sont rapportés"),
    StsMode.ENFORCE: N_("Obligatoire : un certificat vérifié"),
}
"""What those who send are asked for, for people."""

WRONG = {
    Wrong.NO_DOMAIN: N_("Ce n'est pas un nom de domaine. Écrivez-le comme mondomaine.fr."),
    Wrong.OURS: N_("Ce nom est celui de nos propres serveurs."),
    Wrong.YOURS: N_("Ce domaine est déjà dans votre liste."),
    Wrong.TAKEN: N_(
        "Ce domaine est déjà déclaré par une autre société. S'il est à vous, écrivez-nous."
    ),
    Wrong.TOO_MANY_CLAIMS: N_(
        "Trop de domaines attendent leur preuve : vérifiez-les ou abandonnez-les d'abord."
    ),
    Wrong.NO_HOST: N_(
        "Écrivez sur chaque ligne un nom ou une adresse IP, comme mail.mondomaine.fr ou"
        " 192.0.2.1:2525."
    ),
    Wrong.TOO_MANY_HOSTS: N_("Cinq machines au plus."),
}
_WRONG_HOST = WRONG | {
    Wrong.OURS: N_("Cette machine est la nôtre : votre courrier nous reviendrait sans fin."),
}

POINTING = {
    Pointing.HERE: N_("Vos MX pointent sur nos serveurs."),
    Pointing.PARTLY: N_(
        "Une partie de vos MX pointe ailleurs : ce qui passe par là n'est pas archivé."
    ),
    Pointing.ELSEWHERE: N_("Vos MX pointent ailleurs : votre courrier n'est pas archivé."),
    Pointing.NOWHERE: N_("Le DNS ne connaît pas de MX pour ce domaine."),
    Pointing.UNKNOWN: N_(
        "Le DNS n'a pas répondu : nous ne savons pas pour l'instant où pointent vos MX."
    ),
}
PROOFS = {
    Proof.MISSING: N_(
        "L'enregistrement TXT n'est pas encore là. Comptez quelques heures, puis vérifiez à"
        " nouveau."
    ),
    Proof.DIFFERENT: N_("Il y a un enregistrement TXT à ce nom, mais ce n'est pas le bon :"),
    Proof.TAKEN: WRONG[Wrong.TAKEN],
    Proof.UNKNOWN: N_("Le DNS n'a pas répondu. Essayez à nouveau dans quelques minutes."),
}
_NO_ADDRESS = N_("Ce n'est pas une adresse. Écrivez-la comme marie@mondomaine.fr.")
FINDINGS = {
    Finding.TAKEN: N_("Tout va bien : cette machine accepte le courrier de votre domaine."),
    Finding.REFUSED: N_("Cette machine refuse le courrier de votre domaine."),
    Finding.LATER: N_(
        "Cette machine n'accepte pas le courrier pour l'instant ; nous essaierions plus tard."
    ),
    Finding.UNWELCOME: N_("Cette machine refuse de nous parler."),
    Finding.NO_ADDRESS: N_("Ce nom n'a pas d'adresse dans le DNS."),
    Finding.CLOSED: N_("Rien n'écoute à ce port de cette machine."),
    Finding.UNREACHABLE: N_("Cette machine n'a pas pu être jointe."),
    Finding.SILENT: N_("Cette machine a été trop lente à répondre."),
    Finding.LOST: N_("Cette machine a coupé la communication."),
    Finding.NO_SMTP: N_("Ce qui répond à ce port ne parle pas SMTP."),
    Finding.NO_TLS: N_("Vous demandez un chiffrement, et cette machine n'en propose pas."),
    Finding.TLS_FAILED: N_("Le chiffrement n'a pas pu être établi."),
    Finding.UNTRUSTED: N_("Votre courrier attendrait : le certificat de cette machine ne va pas."),
    Finding.UNSAFE: N_(
        "Votre courrier attendrait : le DNS ne dit pas quel certificat cette machine doit avoir."
    ),
    Finding.OURSELVES: N_("Cette machine est la nôtre : votre courrier nous reviendrait sans fin."),
}
FAULTS = {
    Fault.ABSENT: N_("Elle n'a pas de certificat."),
    Fault.EXPIRED: N_("Son certificat a expiré."),
    Fault.EARLY: N_("Son certificat n'est pas encore valable."),
    Fault.SELF_SIGNED: N_("Son certificat s'est signé lui-même."),
    Fault.UNKNOWN_ISSUER: N_("Nous ne connaissons pas l'autorité qui a signé son certificat."),
    Fault.NO_SERVER: N_("Son certificat n'est pas fait pour un serveur."),
    Fault.OTHER_NAME: N_("Son certificat est pour un autre nom."),
    Fault.NOT_IN_DNS: N_("Son certificat n'est pas celui que le DNS annonce (TLSA)."),
    Fault.BROKEN: N_("La chaîne de son certificat n'est pas bonne."),
}
"""What is wrong with a machine's certificate, for people."""


RESULTS = {
    Result.TAKEN: N_("Votre machine accepte l'adresse demandée."),
    Result.REFUSED: N_("Votre machine refuse l'adresse demandée."),
    Result.UNKNOWN: N_("La réponse de votre machine ne dit rien du destinataire :"),
    Result.UNREACHABLE: N_("Votre machine n'a pas pu être jointe."),
}
"""What came of the last question about a recipient."""
NO_LISTS = {
    NotListed.NO_ADDRESS: N_("Ligne %(line)s : « %(text)s » n'est pas une adresse."),
    NotListed.ELSEWHERE: N_("Ligne %(line)s : « %(text)s » n'est pas une adresse de ce domaine."),
    NotListed.EMPTY: N_("Il n'y a pas d'adresse dans ce fichier."),
    NotListed.TOO_LARGE: N_("Ce fichier est trop grand."),
    NotListed.TOO_MANY: N_("Il y a trop d'adresses dans ce fichier."),
}


class HostsForm(Form):
    """Where a domain's mail goes on to."""

    hosts = TextAreaField(
        N_("Machine qui réceptionne le courrier"),
        [
            DataRequired(N_("Indiquez le nom ou l'adresse IP de cette machine.")),
            Length(max=2_000, message=WRONG[Wrong.TOO_MANY_HOSTS]),
        ],
    )
    tls = SelectField(N_("Chiffrement"))

    def __init__(
        self,
        given: Any,
        read: Callable[[str], tuple[Host, ...]],
        _: Callable[[str], str],
        stored: Domain | Claim | None = None,
    ) -> None:
        self._read = read
        data = None if stored is None else {"hosts": _shown(stored.hosts), "tls": stored.tls.value}
        super().__init__(given, data=data)
        self.tls.choices = [(policy.value, _(label)) for policy, label in TLS.items()]

    def validate_hosts(self, field: TextAreaField) -> None:
        """Hosts that can be relayed to; ``read`` has them."""
        try:
            self.read = self._read(field.data or "")
        except Unfit as unfit:
            raise ValidationError(_WRONG_HOST[unfit.why]) from unfit

    @property
    def policy(self) -> TlsPolicy:
        """What was chosen."""
        return TlsPolicy(self.tls.data)


class RoutingForm(HostsForm):
    """Where the mail of a customer's domain goes on to, and for whom it is taken in."""

    verify = BooleanField(N_("Destinataires"))

    def __init__(
        self,
        given: Any,
        read: Callable[[str], tuple[Host, ...]],
        _: Callable[[str], str],
        stored: Domain,
    ) -> None:
        super().__init__(given, read, _, stored)
        if given is None:
            self.verify.data = stored.verify_recipients


class DomainForm(HostsForm):
    """A new domain."""

    name = Line(
        N_("Domaine de messagerie"),
        [DataRequired(N_("Indiquez votre domaine, comme mondomaine.fr."))],
    )

    def validate_name(self, field: Line) -> None:
        """A domain's name; whose it is, is seen later."""
        try:
            read_domain(field.data or "")
        except Unfit as unfit:
            raise ValidationError(WRONG[unfit.why]) from unfit


class StsForm(Form):
    """What those who send to a domain are asked for."""

    mode = SelectField(N_("Aux serveurs qui vous écrivent, nous demandons"))
    reports = Line(N_("Adresse pour les rapports"), [at_most(200)])

    def __init__(self, given: Any, _: Callable[[str], str], stored: Domain) -> None:
        data = {"mode": (stored.sts or StsMode.NONE).value, "reports": stored.tls_reports}
        super().__init__(given, data=data)
        self.mode.choices = [(mode.value, _(label)) for mode, label in STS.items()]

    def validate_reports(self, field: Line) -> None:
        """An address, or nothing."""
        typed = (field.data or "").strip()
        try:
            self.address = canonical(typed) if typed else ""
        except AddressError as error:
            raise ValidationError(_NO_ADDRESS) from error
        if typed and "@" not in self.address:
            raise ValidationError(_NO_ADDRESS)


class DomainPages:
    """The customer's domains."""

    def __init__(
        self,
        declarations: Declarations,
        trial: Trial,
        audit: Audit,
        recipients: Recipients,
        hostnames: Sequence[str],
        console_name: Callable[[], str],
        trials: Trials,
    ) -> None:
        self._declarations = declarations
        self._recipients = recipients
        self._trial = trial
        self._audit = audit
        self._hostnames = hostnames
        self._console_name = console_name
        self._trials = trials

    @page("/domaines", viewed=True)
    async def list(self, visit: Visit) -> Answer:
        """Domaines: the customer's domains, and the form for another one."""
        return await self._list(visit, self._new(visit, None))

    @act("/domaines")
    async def claim(self, visit: Visit) -> Answer:
        """The button Ajouter: a domain that is still to be proved."""
        form = self._new(visit, visit.form)
        if form.validate():
            try:
                name = await self._declarations.claim(
                    visit.by, form.name.data or "", form.read, form.policy
                )
            except Unfit as unfit:
                form.name.errors = [WRONG[unfit.why]]
            else:
                return Redirect(_path(name))
        return await self._list(visit, form, 400)

    @page("/domaines/<name>", viewed=True)
    async def show(self, visit: Visit, name: str) -> Answer:
        """One domain: its MX records and machines, or how to prove that it is the customer's."""
        found = await self._find(visit, name)
        return await self._show(visit, found, self._stored(visit, None, found))

    @act("/domaines/<name>")
    async def change(self, visit: Visit, name: str) -> Answer:
        """The button Enregistrer: other machines, from now on."""
        found = await self._find(visit, name)
        form = self._stored(visit, visit.form, found)
        if not form.validate():
            return await self._show(visit, found, form, status=400)
        try:
            verify = form.verify.data if isinstance(form, RoutingForm) else None
            await self._declarations.change(visit.by, found, form.read, form.policy, verify)
        except Refused as error:
            raise NotFound from error
        return Redirect(_path(found.name), visit._("C'est enregistré, et vaut dès maintenant."))

    @act("/domaines/<name>/verifier")
    async def prove(self, visit: Visit, name: str) -> Answer:
        """The button Vérifier: look for the TXT record, and make the claim a domain."""
        found = await self._find(visit, name)
        if not isinstance(found, Claim):
            return Redirect(_path(found.name))
        try:
            proof, texts = await self._declarations.prove(visit.by, found)
        except Refused as error:
            raise NotFound from error
        if proof is not Proof.PROVED:
            form = self._stored(visit, None, found)
            return await self._show(visit, found, form, wrong=PROOFS[proof], texts=texts)
        say = visit._("%(domain)s est à vous : nous acceptons son courrier dès maintenant.")
        return Redirect(_path(found.name), say % {"domain": unicode_form(found.name)})

    @act("/domaines/<name>/mta-sts")
    async def publish(self, visit: Visit, name: str) -> Answer:
        """The button Appliquer: what those who send to the domain are asked for."""
        found = await self._find(visit, name)
        if isinstance(found, Claim):
            raise NotFound  # nothing is served for a domain that may be somebody else's
        form = StsForm(visit.form, visit._, found)
        if not form.validate():
            hosts = self._stored(visit, None, found)
            return await self._show(visit, found, hosts, status=400, sts=form)
        try:
            mode = StsMode(form.mode.data)
            await self._declarations.publish(visit.by, found, mode, form.address)
        except Refused as error:
            raise NotFound from error
        say = visit._("C'est enregistré. Mettez maintenant votre DNS à jour, comme ci-dessous.")
        return Redirect(_path(found.name), say)

    @act("/domaines/<name>/essai")
    async def test(self, visit: Visit, name: str) -> Answer:
        """The button Tester: a session with each machine, without a message."""
        found = await self._find(visit, name)
        if isinstance(found, Claim):
            raise NotFound  # nobody is relayed to for a domain that may be somebody else's
        await self._audit.add(visit.by, Act.DOMAIN_TESTED, f"{found.name}: {_listed(found.hosts)}")
        try:
            attempts = await self._trial.of(visit.customer, found.name, found.hosts, found.tls)
        except Busy:
            say = visit._("Un autre essai est en cours. Attendez qu'il soit terminé.")
            return Redirect(_path(found.name), say)
        await self._trials.record(found, [attempt.finding.name for attempt in attempts])
        values = {
            "attempts": attempts,
            "findings": FINDINGS,
            "faults": FAULTS,
            "good": Finding.TAKEN,
        }
        return Html("domain_trial.html", {"name": found.name, **_called(found.name), **values})

    @act("/domaines/<name>/supprimer")
    async def remove(self, visit: Visit, name: str) -> Answer:
        """The button Supprimer: asks once; a claim is given up without a question."""
        found = await self._find(visit, name)
        claimed = isinstance(found, Claim)
        if not claimed and visit.form.get("sur") != "oui":
            return Html("domain_remove.html", {"name": found.name, **_called(found.name)})
        try:
            await self._declarations.remove(visit.by, found)
        except Refused as error:
            raise NotFound from error
        say = visit._("%(domain)s n'est plus dans votre liste.")
        return Redirect("/domaines", say % {"domain": unicode_form(found.name)})

    # Its list of recipients

    @page("/domaines/<name>/destinataires.csv")
    async def recipients(self, visit: Visit, name: str) -> Answer:
        """The list of a domain's recipients, as a file for a spreadsheet."""
        found = await self._with_list(visit, name)
        local_parts = await self._recipients.listed(visit.customer, found.name)
        file = write_list(local_parts, found.name)
        version = f"{found.name} {found.listed_at}".encode()
        etag = hashlib.sha256(version).hexdigest()[:16]
        return Download(
            f"{found.name}.csv", "text/csv; charset=utf-8", len(file), etag, partial(_pieces, file)
        )

    @act("/domaines/<name>/destinataires")
    async def list_recipients(self, visit: Visit, name: str) -> Answer:
        """The button Envoyer: a list of recipients, which takes the place of the last one."""
        found = await self._domain(visit, name)
        try:
            local_parts = read_list(visit.files.get("fichier", b""), found.name)
        except NoList as no_list:
            form = self._stored(visit, None, found)
            return await self._show(visit, found, form, status=400, no_list=no_list)
        try:
            await self._recipients.replace(visit.by, found.name, local_parts)
        except Refused as error:
            raise NotFound from error
        return Redirect(_path(found.name), visit._("Votre liste vaut dès maintenant."))

    @act("/domaines/<name>/destinataires/supprimer")
    async def unlist_recipients(self, visit: Visit, name: str) -> Answer:
        """The button Supprimer la liste: the domain's machines are asked again."""
        found = await self._with_list(visit, name)
        await self._recipients.clear(visit.by, found.name)
        return Redirect(_path(found.name), visit._("La liste est supprimée."))

    async def _domain(self, visit: Visit, name: str) -> Domain:
        found = await self._find(visit, name)
        if isinstance(found, Claim):
            raise NotFound
        return found

    async def _with_list(self, visit: Visit, name: str) -> Domain:
        found = await self._domain(visit, name)
        if found.listed is None:
            raise NotFound
        return found

    # What the pages are made of

    def _new(self, visit: Visit, given: Any) -> DomainForm:
        return DomainForm(given, self._declarations.read_hosts, visit._)

    def _stored(self, visit: Visit, given: Any, found: Domain | Claim) -> HostsForm:
        read = self._declarations.read_hosts
        if isinstance(found, Claim):
            return HostsForm(given, read, visit._, found)
        return RoutingForm(given, read, visit._, found)

    async def _find(self, visit: Visit, name: str) -> Domain | Claim:
        try:
            found = await self._declarations.find(visit.customer, canonical_domain(name))
        except AddressError:
            found = None
        if found is None:
            raise NotFound
        return found

    async def _list(self, visit: Visit, form: DomainForm, status: int = 200) -> Answer:
        domains, claims = await self._declarations.of(visit.customer)
        rows = sorted(
            [(unicode_form(domain.name), domain, True) for domain in domains]
            + [(unicode_form(claim.name), claim, False) for claim in claims],
            key=lambda row: row[0],
        )
        values = {"rows": rows, "form": form, "tls": TLS, "hostnames": self._hostnames}
        return Html("domains.html", values, status)

    async def _show(
        self,
        visit: Visit,
        found: Domain | Claim,
        form: HostsForm,
        *,
        status: int = 200,
        wrong: str = "",
        texts: Sequence[str] = (),
        sts: StsForm | None = None,
        no_list: NoList | None = None,
    ) -> Answer:
        values: dict[str, Any] = {
            "found": found,
            **_called(found.name),
            "form": form,
            "tls": TLS,
            "hostnames": self._hostnames,
        }
        if isinstance(found, Claim):
            values |= {"record": record_of(found), "wrong": wrong, "texts": texts}
            return Html("domain_claim.html", values, status)
        direction = await self._declarations.direction(found.name)
        values |= {"direction": direction, "pointing": POINTING, "all_here": Pointing.HERE}
        values |= {"standing": await self._recipients.standing(found), "results": RESULTS}
        values |= {"no_list": no_list, "no_lists": NO_LISTS, "most": MOST_ADDRESSES}
        return Html("domain.html", values | self._published(visit, found, sts), status)

    def _published(self, visit: Visit, found: Domain, form: StsForm | None) -> dict[str, Any]:
        reports = found.tls_reports or visit.identity.email
        return {
            "sts_form": form or StsForm(None, visit._, found),
            "sts": STS,
            "sts_none": StsMode.NONE,
            "reports": reports,
            "records": records(found, self._hostnames, self._console_name(), reports),
        }


def _called(name: str) -> dict[str, str]:
    """A domain as people read it, and its A-labels if they are others."""
    spoken = unicode_form(name)
    return {"spoken": spoken, "a_label": name if spoken != name else ""}


async def _pieces(file: bytes, start: int) -> AsyncIterator[bytes]:
    yield file[start:]


def _path(name: str) -> str:
    return f"/domaines/{name}"


def _shown(hosts: Sequence[Host]) -> str:
    """As they are typed: one a line, without the port that goes without saying."""
    named = [Host(unicode_form(host.name), host.port) for host in hosts]
    return "\n".join(str(host).removesuffix(":25") for host in named)


def _listed(hosts: Sequence[Host]) -> str:
    return ", ".join(map(str, hosts))
