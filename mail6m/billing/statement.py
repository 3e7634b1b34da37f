"""Bank statements, CAMT.053 (ISO 20022) or CSV as banks hand it out: what has come in, as entries.

What is read here comes from outside: its size is bounded, its XML may declare nothing, and amounts
never pass through a float. Of a statement only credits that are booked are entries.
"""

from __future__ import annotations

import csv
import enum
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from mail6m.fold import fold

LARGEST = 8 << 20
"""Octets of a statement; a month of a busy account has a tenth of that."""
MOST_ENTRIES = 20_000
_LONGEST = 500
"""Characters that are kept of a text or a name."""
_PREAMBLE = 40
"""Lines in which banks say whose account it is, before the headings of a CSV."""
MOST_CENTS = 10**13
"""More than any account has seen."""


class Fault(enum.StrEnum):
    """Why a statement cannot be read."""

    TOO_LARGE = "it is too large"
    NOT_XML = "it is not XML as it should be"
    NO_STATEMENT = "it has no CAMT.053 statement"
    NO_COLUMNS = "no line names a date and an amount, so it is no statement as CSV"
    CURRENCY = "it has another currency than the euro"
    AMOUNT = "an amount cannot be read"
    DATE = "a date cannot be read"


class NoStatement(ValueError):
    """It cannot be read; nothing of it has been."""

    def __init__(self, fault: Fault, found: str = "", line: int = 0) -> None:
        where = ": ".join(part for part in (f"line {line}" if line else "", found) if part)
        super().__init__(f"{fault} ({where})" if where else str(fault))
        self.fault = fault
        self.found = found
        """What stands there."""
        self.line = line
        """Of a CSV; 0: it is none, or all of it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Money that has come in."""

    source: str
    """What it is stored under: its kind, and a digest of all that is said of it."""
    booked_on: date
    amount: int
    """Cents, more than none."""
    name: str
    """Who has paid, if the bank says so."""
    text: str
    """What they have written for us."""
    reference: str
    """The same as a structured reference (ISO 11649), without spaces; else empty."""
    account: str = ""
    """Of ours, if the statement names it."""
    bank: str = ""
    """The bank's own reference of it; empty, if there is none."""
    said: tuple[str, ...] = ()
    """All that is said of it in words, piece by piece, in whichever order."""

    @property
    def kind(self) -> str:
        """Of the file that it stood in: ``camt``, ``csv``."""
        return self.source.partition(":")[0]


class _Raw(NamedTuple):
    """An entry that is not yet told from others that look the same."""

    booked_on: date
    amount: int
    name: str
    text: str
    reference: str
    account: str
    bank: str
    said: tuple[str, ...]


def read_statement(octets: bytes) -> list[Entry]:
    """The credits of a statement, in its order. Raises `NoStatement`."""
    if len(octets) > LARGEST:
        raise NoStatement(Fault.TOO_LARGE)
    if octets.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return _told_apart("camt", _camt(octets))
    return _told_apart("csv", _csv(_text_of(octets)))


def _told_apart(kind: str, raws: Iterable[_Raw]) -> list[Entry]:
    """Entries with what they are stored under.

    Banks' own references are not unique everywhere, and a CSV may have none: so all that is said of
    an entry goes into it, whatever the order of columns, and of those that are the same in all of
    it, which of them this is. What has been stored otherwise is `mail6m.billing.recognition`'s.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    entries: list[Entry] = []
    for raw in raws:
        if len(entries) == MOST_ENTRIES:
            raise NoStatement(Fault.TOO_LARGE)
        pieces = sorted(map(bare, raw.said))
        whole = (str(raw.booked_on), str(raw.amount), raw.account, raw.bank, *pieces)
        seen[whole] += 1
        said = "\x1f".join([*whole, str(seen[whole])])
        digest = hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:40]
        entries.append(Entry(f"{kind}:{digest}", *raw))
    return entries


def bare(text: str) -> str:
    """A text without case, accents, and signs: its words."""
    return " ".join(re.findall(r"\w+", fold(text)))


# CAMT.053


def _camt(octets: bytes) -> Iterator[_Raw]:
    try:
        root = fromstring(octets, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise NoStatement(Fault.NOT_XML, str(error)[:100]) from error
    for element in root.iter():  # each version of the message has a namespace of its own
        element.tag = element.tag.rpartition("}")[2]
    message = root if root.tag == "BkToCstmrStmt" else root.find("BkToCstmrStmt")
    if message is None:
        raise NoStatement(Fault.NO_STATEMENT)
    for statement in message.iterfind("Stmt"):
        account = _said(statement, "Acct/Id/IBAN", "Acct/Id/Othr/Id")
        for entry in statement.iterfind("Ntry"):
            if _is_booked_credit(entry):
                yield from _of_entry(account, entry)


def _is_booked_credit(entry: Element) -> bool:
    """It is neither announced only, nor a debit of ours that has come back."""
    booked = _said(entry, "Sts/Cd", "Sts") == "BOOK"  # since version 4 the code is an element
    reversal = _said(entry, "RvslInd") in ("true", "1")
    return booked and _said(entry, "CdtDbtInd") == "CRDT" and not reversal


def _of_entry(account: str, entry: Element) -> Iterator[_Raw]:
    """One, or each of those that the bank has booked together, if they add up to it."""
    amount = _euros(entry.find("Amt"))
    if amount == 0:
        return
    day = _day(_said(entry, "BookgDt/Dt", "BookgDt/DtTm", "ValDt/Dt", "ValDt/DtTm")[:10])
    bank = _said(entry, "AcctSvcrRef")  # NtryRef may be its place in this very file
    details = entry.findall("NtryDtls/TxDtls")
    shares = [_share(one) for one in details]
    if len(details) > 1 and all(shares) and sum(map(int, filter(None, shares))) == amount:
        for one, share in zip(details, shares, strict=True):
            own = _said(one, "Refs/AcctSvcrRef", "Refs/TxId", "Refs/EndToEndId")
            yield _raw(day, share or 0, _told(entry, [one]), account, f"{bank} {own}".strip())
    else:
        own = bank or _said(entry, "NtryDtls/TxDtls/Refs/AcctSvcrRef")
        yield _raw(day, amount, _told(entry, details), account, own)


def _raw(day: date, amount: int, told: tuple[str, str, str], account: str, bank: str) -> _Raw:
    return _Raw(day, amount, *told, account, bank, tuple(filter(None, told)))


def _share(detail: Element) -> int | None:
    """What one of several is of an entry, if it is a credit in euros, and said."""
    if _said(detail, "CdtDbtInd") not in ("", "CRDT"):
        return None
    for path in ("Amt", "AmtDtls/TxAmt/Amt"):
        found = detail.find(path)
        if found is not None:
            return _euros(found) if found.get("Ccy") == "EUR" else None
    return None


def _told(entry: Element, details: Sequence[Element]) -> tuple[str, str, str]:
    """Who, what they have written, and the structured reference if there is one alone."""
    names, texts, references = [], [], []
    for one in details:
        names.append(_said(one, "RltdPties/Dbtr/Pty/Nm", "RltdPties/Dbtr/Nm"))
        texts += [part.text or "" for part in one.iterfind("RmtInf/Ustrd")]
        texts += [part.text or "" for part in one.iterfind("RmtInf/Strd/AddtlRmtInf")]
        references += [part.text or "" for part in one.iterfind("RmtInf/Strd/CdtrRefInf/Ref")]
        end_to_end = _said(one, "Refs/EndToEndId")
        texts.append("" if end_to_end == "NOTPROVIDED" else end_to_end)
    if not any(texts):
        texts.append(_said(entry, "AddtlNtryInf"))
    bare = {re.sub(r"\s", "", reference).upper() for reference in references} - {""}
    if len(bare) > 1:
        texts += sorted(bare)
    alone = bare.pop()[:_LONGEST] if len(bare) == 1 else ""
    return _clean(", ".join(filter(None, names))), _clean(" ".join(texts)), _clean(alone)


def _said(element: Element, *paths: str) -> str:
    """The first of these that says something."""
    for path in paths:
        if said := (element.findtext(path) or "").strip():
            return said[:_LONGEST]
    return ""


def _euros(amount: Element | None) -> int:
    if amount is None:
        raise NoStatement(Fault.AMOUNT)
    currency, text = amount.get("Ccy", ""), (amount.text or "").strip()
    if currency != "EUR":
        raise NoStatement(Fault.CURRENCY, currency[:10])
    match = re.fullmatch(r"([0-9]{1,13})(?:\.([0-9]{0,2})0*)?", text)
    if match is None:
        raise NoStatement(Fault.AMOUNT, text[:30])
    return _bounded(match[1], match[2] or "", text)


# CSV

_DATES = ("date operation", "date de l'operation", "date d'operation", "date comptable",
          "date de comptabilisation", "date comptabilisation", "date", "date de valeur",
          "date valeur", "booking date")  # fmt: skip
_AMOUNTS = ("montant", "montant de l'operation", "montant operation", "montant eur", "amount")
_CREDITS = ("credit", "credit eur", "montant credit", "credit amount")
_NAMES = ("nom", "tiers", "contrepartie", "nom de la contrepartie", "emetteur", "donneur d'ordre",
          "debiteur", "nom du debiteur", "counterparty", "name")  # fmt: skip
_TEXTS = ("libelle", "libelle operation", "libelle de l'operation", "libelle simplifie", "detail",
          "details", "reference", "reference de l'operation", "reference operation", "motif",
          "informations complementaires", "information complementaire", "communication",
          "libelle complementaire", "description", "reference client")  # fmt: skip
_IDS = ("identifiant", "identifiant de l'operation", "identifiant operation",
        "identifiant de la transaction", "identifiant transaction", "id transaction",
        "transaction id", "numero d'operation", "numero operation", "reference bancaire",
        "reference banque", "bank reference")  # fmt: skip
_CURRENCIES = ("devise", "monnaie", "currency")
_EUROS = ("eur", "euro", "euros", "€", "")
_NO_ENTRY = ("solde", "total")
"""What the first words of lines are that sum up."""


class _Columns(NamedTuple):
    """Where things stand in a line."""

    day: int
    amount: int
    texts: Sequence[int]
    names: Sequence[int]
    bank: int | None
    currency: int | None


def _text_of(octets: bytes) -> str:
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return octets.decode(encoding)
        except UnicodeDecodeError:
            continue
    return octets.decode("latin-1")


def _csv(text: str) -> Iterator[_Raw]:
    for delimiter in ";\t,":
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            columns = _headings(lines)
            if columns is not None:
                yield from _entries(lines, columns)
                return
        except csv.Error as error:
            raise NoStatement(Fault.NO_COLUMNS, str(error), lines.line_num) from error
    raise NoStatement(Fault.NO_COLUMNS)


def _headings(lines: Iterator[list[str]]) -> _Columns | None:
    """The columns by their headings, which banks write above the entries."""
    for _, line in zip(range(_PREAMBLE), lines, strict=False):
        named = [_heading(cell) for cell in line]
        day, amount = _first(named, _DATES), _first(named, (*_CREDITS, *_AMOUNTS))
        if day is not None and amount is not None:
            texts, names = ([at for wanted in some for at, name in enumerate(named)
                             if name == wanted] for some in (_TEXTS, _NAMES))  # fmt: skip
            bank, currency = _first(named, _IDS), _first(named, _CURRENCIES)
            return _Columns(day, amount, texts, names, bank, currency)
    return None


def _heading(cell: str) -> str:
    """A heading without accents, case, and what stands in brackets: ``Montant(EUROS)``."""
    bare = re.sub(r"\(.*?\)|[^\w' ]", " ", fold(cell[:100]).replace("\u2019", "'"))
    return " ".join(re.sub(r"\beuros?\b", "eur", bare).split())


def _first(named: Sequence[str], wanted: Iterable[str]) -> int | None:
    return next((named.index(name) for name in wanted if name in named), None)


def _entries(lines: Iterator[list[str]], columns: _Columns) -> Iterator[_Raw]:
    for line in lines:
        number: int = getattr(lines, "line_num", 0)

        def cell(at: int | None, line: list[str] = line) -> str:
            return line[at].strip() if at is not None and at < len(line) else ""

        day, amount = cell(columns.day), cell(columns.amount)
        if not day or not amount or fold(day).startswith(_NO_ENTRY):
            continue
        booked_on, cents = _day(day, number), _cents(amount, number)
        if cents <= 0:
            continue
        currency = cell(columns.currency)
        if currency.lower() not in _EUROS:
            raise NoStatement(Fault.CURRENCY, currency[:10], number)
        name, text = (_clean(" ".join(map(cell, some))) for some in (columns.names, columns.texts))
        said = tuple(filter(None, (_clean(cell(at)) for at in (*columns.names, *columns.texts))))
        yield _Raw(booked_on, cents, name, text, "", "", _clean(cell(columns.bank)), said)


def _cents(text: str, line: int) -> int:
    """``1 234,56``, ``1.234,56 €``, ``+120,5``: cents. What may be read in two ways is not."""
    bare = re.sub(r"[\s\u00a0\u202f'€]|EUR$", "", text)
    sign = -1 if bare.startswith(("-", "\u2212")) or re.fullmatch(r"\(.*\)", bare) else 1
    bare = bare.strip("+-\u2212()")
    match = re.fullmatch(r"([0-9]{1,13})(?:[.,]([0-9]{1,2}))?", bare) or re.fullmatch(
        r"([0-9]{1,3}(?:\.[0-9]{3})+),([0-9]{2})|([0-9]{1,3}(?:,[0-9]{3})+)\.([0-9]{2})", bare
    )
    if match is None:
        raise NoStatement(Fault.AMOUNT, text[:30], line)
    whole, *parts = [group for group in match.groups() if group is not None]
    return sign * _bounded(re.sub(r"[.,]", "", whole), "".join(parts), text, line)


# Both


def _bounded(whole: str, part: str, text: str, line: int = 0) -> int:
    cents = int(whole) * 100 + int(part.ljust(2, "0") or "0")
    if cents > MOST_CENTS:
        raise NoStatement(Fault.AMOUNT, text[:30], line)
    return cents


def _day(text: str, line: int = 0) -> date:
    """``2026-12-01`` or ``01/12/2026``, ``01/12/26``."""
    if match := re.fullmatch(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", text):
        year, month, day = match.groups()
    elif match := re.fullmatch(r"([0-9]{1,2})[/.-]([0-9]{1,2})[/.-]([0-9]{4}|[0-9]{2})", text):
        day, month, year = match.groups()
        year = year.rjust(4, "0").replace("00", "20", 1) if len(year) == 2 else year
    else:
        raise NoStatement(Fault.DATE, text[:30], line)
    try:
        return date(int(year), int(month), int(day))
    except ValueError as error:
        raise NoStatement(Fault.DATE, text[:30], line) from error


def _clean(text: str) -> str:
    """One line, which PostgreSQL can store."""
    words = "".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST]).split()
    return " ".join(words)[:_LONGEST]
