"""What the page "Details" says of who has sent a message."""

from __future__ import annotations

from typing import NamedTuple

from mail6m.model import Authentication
from mail6m.web.menu import N_

RESULTS = {
    "pass": N_("confirmé"),
    "fail": N_("démenti"),
    "softfail": N_("plutôt démenti"),
    "neutral": N_("ni confirmé ni démenti"),
    "none": N_("rien à vérifier"),
    "policy": N_("signature non retenue"),
    "temperror": N_("impossible à vérifier sur le moment"),
    "permerror": N_("le domaine se contredit"),
}
"""What the results are called (RFC 8601, 2.7), in French."""
POLICIES = {
    "none": N_("le domaine ne demande rien"),
    "quarantine": N_("le domaine demande la quarantaine"),
    "reject": N_("le domaine demande le refus"),
}


class Proof(NamedTuple):
    """What one method has found out; texts in French, to be translated."""

    method: str
    result: str
    """As the standard names it."""
    label: str
    domain: str
    more: str = ""


def proofs(authentication: Authentication) -> list[Proof]:
    """Method by method; none where nobody has looked."""
    told = []
    if authentication.spf:
        told.append(_proof("SPF", authentication.spf, authentication.spf_domain))
    told += [_proof("DKIM", one.result, one.domain) for one in authentication.signatures]
    if authentication.arc and authentication.arc != "none":
        told.append(_proof("ARC", authentication.arc, ""))
    if authentication.dmarc:
        wish = POLICIES.get(authentication.dmarc_policy, "")
        more = wish if authentication.dmarc == "fail" else ""
        told.append(
            _proof("DMARC", authentication.dmarc, authentication.author)._replace(more=more)
        )
    return told


def _proof(method: str, result: str, domain: str) -> Proof:
    return Proof(method, result, RESULTS.get(result, RESULTS["neutral"]), domain)
