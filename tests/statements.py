"""Statements as banks make them."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

ACCOUNT = "FR7630006000011234567890189"


def transaction(
    text: str = "",
    *,
    amount: str = "",
    name: str = "",
    reference: str = "",
    version: int = 2,
    sign: str = "",
) -> str:
    """One of the transactions of an entry (``TxDtls``)."""
    party = f"<Nm>{escape(name)}</Nm>"
    party = f"<Dbtr>{party if version < 8 else f'<Pty>{party}</Pty>'}</Dbtr>"
    own = f'<Amt Ccy="EUR">{amount}</Amt>' if amount else ""
    if own and version < 8:
        own = f"<AmtDtls><TxAmt>{own}</TxAmt></AmtDtls>"
    sign = f"<CdtDbtInd>{sign}</CdtDbtInd>" if sign else ""
    written = "".join(f"<Ustrd>{escape(line)}</Ustrd>" for line in text.split("|") if line)
    if reference:
        written += f"<Strd><CdtrRefInf><Ref>{reference}</Ref></CdtrRefInf></Strd>"
    return (
        f"<TxDtls><Refs><EndToEndId>NOTPROVIDED</EndToEndId></Refs>{own}{sign}"
        f"<RltdPties>{party}</RltdPties><RmtInf>{written}</RmtInf></TxDtls>"
    )


def entry(
    amount: str = "120.00",
    *details: str,
    currency: str = "EUR",
    direction: str = "CRDT",
    status: str = "BOOK",
    day: str = "2026-11-02",
    bank: str = "2026110200017",
    version: int = 2,
    more: str = "",
) -> str:
    """An entry (``Ntry``)."""
    state = status if version < 4 else f"<Cd>{status}</Cd>"
    ref = f"<AcctSvcrRef>{bank}</AcctSvcrRef>" if bank else ""
    return (
        f'<Ntry><Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd>{more}'
        f"<Sts>{state}</Sts><BookgDt><Dt>{day}</Dt></BookgDt>{ref}"
        f"<NtryDtls>{''.join(details)}</NtryDtls></Ntry>"
    )


def camt(*entries: str, version: int = 2, account: str = ACCOUNT) -> bytes:
    """A statement (``camt.053.001.xx``)."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version:02d}">'
        "<BkToCstmrStmt><GrpHdr><MsgId>1</MsgId></GrpHdr>"
        f"<Stmt><Id>1</Id><Acct><Id><IBAN>{account}</IBAN></Id></Acct>{''.join(entries)}</Stmt>"
        "</BkToCstmrStmt></Document>"
    ).encode()


def french(lines: Sequence[str], encoding: str = "cp1252") -> bytes:
    """An export of a French bank."""
    head = [
        "Compte courant;FR76 3000 6000 0112 3456 7890 189",
        "Solde au 30/11/2026;12 345,67 €",
        "",
    ]
    head.append("Date opération;Date de valeur;Libellé;Détail;Débit euros;Crédit euros")
    return "\r\n".join([*head, *lines, ""]).encode(encoding)
