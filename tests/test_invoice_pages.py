"""The pages about invoices: what customers see and pay, and what those who keep the books do."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator

import pytest
from twisted.web.client import Agent

from mail6m.billing.paypal import PayPal
from mail6m.model import Role
from mail6m.web.visit import Html, Leave
from tests.console_client import (
    Browser,
    Console,
    House,
    Page,
    listening,
    new_house,
    new_operator,
)
from tests.paypal import CLIENT, SECRET, WEBHOOK, StandIn, paypal
from tests.reactor_thread import the_reactor
from tests.statements import camt, entry, transaction


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    """PayPal."""
    with paypal() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def at(dsn: str, stand_in: StandIn) -> Iterator[Console]:
    """A console that takes money by it."""
    reactor = the_reactor()
    asks = PayPal(reactor, Agent(reactor), stand_in.url, CLIENT, SECRET, WEBHOOK, 2.0)
    with listening(dsn, cashier=asks) as console:
        yield console


@pytest.fixture
def house(at: Console) -> House:
    """A customer with an invoice of 120 euros, of which 10 are paid."""
    return new_house(at)


def enter(at: Console, account: tuple[int, int]) -> Browser:
    """A browser with a session."""
    browser = at.browser()
    browser.enter(at, account)
    return browser


# The customer


def test_the_list(at: Console, house: House) -> None:
    """Number, date, period, amount, state; and what is to be paid in all."""
    page = enter(at, house.reader).get("/factures")
    for said in (house.invoice, "1 octobre 2026", "3e trimestre 2026", "120,00 €", "en retard",
                 "Reste à payer : 110,00 €."):  # fmt: skip
        assert said in page.text.replace("1er", "1").replace("\u202f", " "), said


def test_an_invoice(at: Console, house: House) -> None:
    """Its lines, how to pay it, and what has been paid; a reader has no button."""
    page = enter(at, house.reader).get(f"/factures/{house.invoice}")
    iban = "FR76 3000 6000 0112 3456 7890 189"
    for said in ("Tiroir, juillet 2026", "33,33 €", "TVA à 20 %", "AGRIFRPP", "RF", iban,
                 "110,00 €", f"cheque-{house.word}"):  # fmt: skip
        assert said in page.text, said
    assert "PayPal" not in page.text
    assert "form-action 'self';" in page.headers["content-security-policy"]


def test_the_pdf(at: Console, house: House) -> None:
    """Is a file to be kept, by its number; while it is made, the page says so."""
    browser = enter(at, house.reader)
    page = browser.get(f"/factures/{house.invoice}.pdf")
    assert page.body == b"%PDF-1.7 " + house.word.encode()
    assert page.headers["content-type"] == "application/pdf"
    name = f'attachment; filename="mail6m-{house.invoice}.pdf"'
    assert page.headers["content-disposition"] == name
    at.ask("ALTER TABLE invoice_document DISABLE TRIGGER invoice_document_stands")
    at.ask("DELETE FROM invoice_document WHERE number = %s", house.invoice)
    page = browser.get(f"/factures/{house.invoice}.pdf")
    assert page.location == f"/factures/{house.invoice}"
    assert "Le PDF est en préparation." in browser.get(page.location).text


@pytest.mark.parametrize("number", ["2026-9999", "x", "2026-0001%00", "..", "%F0%9F%92%B6"])
def test_no_invoice(at: Console, house: House, number: str) -> None:
    """Nothing is there."""
    browser = enter(at, house.admin)
    for path in (f"/factures/{number}", f"/factures/{number}.pdf", f"/factures/{number}/paypal"):
        assert browser.get(path).status == 404
    assert browser.post(f"/factures/{number}/paypal").status == 404


def test_paying_by_paypal(at: Console, house: House, stand_in: StandIn) -> None:
    """From the button to PayPal and back: the page may lead there, and nowhere else."""
    browser = enter(at, house.admin)
    page = browser.get(f"/factures/{house.invoice}")
    assert "Payer 110,00 € par PayPal" in page.text
    assert f"form-action 'self' {stand_in.url};" in page.headers["content-security-policy"]
    sent = browser.post(f"/factures/{house.invoice}/paypal")
    assert sent.status == 303
    assert sent.location.startswith(f"{stand_in.url}/checkoutnow?token=")
    back = stand_in.approve(sent.location.rpartition("=")[2])
    assert back.startswith("https://console.mail6m.test/factures/")
    page = browser.get(back.removeprefix("https://console.mail6m.test"))
    assert page.location == f"/factures/{house.invoice}"
    page = browser.get(page.location)
    assert "Merci, votre paiement est enregistré." in page.text
    assert "payée" in page.text
    assert "par PayPal" not in page.text
    assert browser.post(f"/factures/{house.invoice}/paypal").location.startswith("/factures/")


def test_the_webhook_comes_first(at: Console, house: House, stand_in: StandIn) -> None:
    """Without a session and without a token; then the browser, and it is paid once."""
    browser = enter(at, house.admin)
    browser.get(f"/factures/{house.invoice}")
    order_id = browser.post(f"/factures/{house.invoice}/paypal").location.rpartition("=")[2]
    back = stand_in.approve(order_id).removeprefix("https://console.mail6m.test")
    event = stand_in.event("CHECKOUT.ORDER.APPROVED", {"id": order_id})
    assert stand_in.bring(at.port, event, {}) == 403
    assert stand_in.bring(at.port, event) == 200
    assert stand_in.bring(at.port, event) == 200
    assert browser.get(back).status == 303
    amounts = "SELECT amount FROM payment WHERE number = %s AND method = 'paypal'"
    assert at.ask(amounts, house.invoice) == [(11000,)]


def test_what_paypal_looks_into(at: Console, house: House, stand_in: StandIn) -> None:
    """Has no button any more, for whoever looks, and says why."""
    browser = enter(at, house.admin)
    browser.get(f"/factures/{house.invoice}")
    order_id = browser.post(f"/factures/{house.invoice}/paypal").location.rpartition("=")[2]
    back = stand_in.approve(order_id)
    stand_in.pending = True
    try:
        browser.get(back.removeprefix("https://console.mail6m.test"))
    finally:
        stand_in.pending = False
    said = "ne payez pas une seconde fois"
    page = browser.get(f"/factures/{house.invoice}")
    assert said in page.text
    assert "par PayPal</button>" not in page.text
    assert said in enter(at, house.reader).get(f"/factures/{house.invoice}").text
    assert browser.post(f"/factures/{house.invoice}/paypal").location == page_of(house)
    assert "PayPal vérifie votre paiement" in browser.get(page_of(house)).text
    assert said not in browser.get("/factures").text


def page_of(house: House) -> str:
    """Its invoice's."""
    return f"/factures/{house.invoice}"


def test_another_customer_at_the_way_back(at: Console, house: House, stand_in: StandIn) -> None:
    """Whoever has the address of somebody's payment has nothing by it."""
    browser = enter(at, house.admin)
    browser.get(f"/factures/{house.invoice}")
    order_id = browser.post(f"/factures/{house.invoice}/paypal").location.rpartition("=")[2]
    stand_in.approve(order_id)
    other = new_house(at)
    stranger = enter(at, other.admin)
    for number in (house.invoice, other.invoice):
        assert stranger.get(f"/factures/{number}/paypal?token={order_id}").status == 404
    assert stand_in.orders[order_id]["status"] == "APPROVED"


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("application/json; charset=utf-8", b"[", 400),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        ("application/json", b" " * 200_000, 413),
    ],
)
def test_what_is_no_webhook(at: Console, kind: str, body: bytes, status: int) -> None:
    """It is bounded, and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=30)
    connection.request("POST", "/paypal/webhook", body, {"Content-Type": kind})
    assert connection.getresponse().status == status
    connection.close()


def test_without_paypal(at: Console, house: House) -> None:
    """There is neither a button nor a webhook."""
    at.web._paypal, heard = None, at.web._paypal
    try:
        browser = at.browser()
        kind = {"Content-Type": "application/json"}
        assert browser.request("POST", "/paypal/webhook", b"{}", kind).status == 404
    finally:
        at.web._paypal = heard


@pytest.mark.parametrize(
    "url",
    ["https://attaque.test/", "https://www.paypal.com.attaque.test/x", "https://www.paypal.com",
     "https://www.paypal.com//x", "https://www.paypal.com/\r\nx", "javascript:alert(1)", ""],
)  # fmt: skip
def test_nobody_leaves_for_elsewhere(url: str) -> None:
    """An answer that leads to another site than the one that is meant cannot be made."""
    with pytest.raises(ValueError, match="not on"):
        Leave(url, "https://www.paypal.com")
    assert Leave("https://www.paypal.com/x?token=1", "https://www.paypal.com")
    assert Html("x").leads_to == ""


# Those who keep the books


@pytest.fixture
def bookkeeper(at: Console) -> Browser:
    """One of them."""
    return enter(at, new_operator(at, Role.BOOKKEEPER))


def test_looking_for_invoices(at: Console, house: House, bookkeeper: Browser) -> None:
    """By number, reference or company, those that are overdue, unpaid, or all."""
    [(reference,)] = at.ask("SELECT reference FROM invoice WHERE number = %s", house.invoice)
    spaced = f"{reference[:4].lower()} {reference[4:]}"
    for words in (house.invoice, spaced, house.company.upper(), ""):
        for state in ("impayees", "retard", "toutes", "non"):
            page = bookkeeper.get("/exploitation/factures", [("etat", state), ("q", words)])
            assert f"/exploitation/factures/{house.invoice}" in page.text, (words, state)
    assert "Aucune facture" in bookkeeper.get("/exploitation/factures?q=%25_%25").text
    assert bookkeeper.get("/exploitation/factures?page=99&etat=%00&q=%00").status == 200


def test_a_cheque(at: Console, house: House, bookkeeper: Browser) -> None:
    """It is recorded by who types it; more than is to be paid is said."""
    path = f"/exploitation/factures/{house.invoice}"
    bookkeeper.get(path)
    form = [("method", "cheque"), ("amount", "1 10,50 €"), ("on", "2026-11-05"), ("reference", "7")]
    form.append(("once", once_of(bookkeeper.get(path).text)))
    assert bookkeeper.post(path + "/paiements", form).location == path
    page = bookkeeper.get(path)
    assert "c'est plus qu'il n'en restait à payer" in page.text
    assert "trop payée" in page.text
    assert "-0,50 €" not in page.text
    assert "0,50 €" in page.text
    assert "bookkeeper" in page.text


@pytest.mark.parametrize(
    "wrong",
    [("amount", "0"), ("amount", "-5"), ("amount", "1e3"), ("amount", ""), ("amount", "9" * 30),
     ("on", "2999-01-01"), ("on", "hier"), ("on", ""), ("method", "paypal"), ("method", ""),
     ("reference", "x" * 200)],
)  # fmt: skip
def test_what_is_no_payment(
    at: Console, house: House, bookkeeper: Browser, wrong: tuple[str, str]
) -> None:
    """Is said at its field, and nothing is recorded."""
    path = f"/exploitation/factures/{house.invoice}"
    bookkeeper.get(path)
    right = {"method": "transfer", "amount": "20", "on": "2026-11-05", "reference": ""}
    right["once"] = once_of(bookkeeper.get(path).text)
    page = bookkeeper.post(path + "/paiements", list((right | dict([wrong])).items()))
    assert page.status == 400
    assert 'aria-invalid="true"' in page.text
    assert len(at.ask("SELECT FROM payment WHERE number = %s", house.invoice)) == 1


def once_of(page: str) -> str:
    """The word that a form is good once by."""
    match = re.search('name="once" value="([^"]+)"', page)
    assert match is not None
    return match[1]


def test_a_form_that_is_sent_twice(at: Console, house: House, bookkeeper: Browser) -> None:
    """Is one payment, and says so; with other figures it has to be sent anew."""
    path = f"/exploitation/factures/{house.invoice}"
    once = once_of(bookkeeper.get(path).text)
    right = {"method": "cheque", "amount": "20", "on": "2026-11-05", "reference": "7"}

    def send(**other: str) -> Page:
        return bookkeeper.post(path + "/paiements", list((right | {"once": once} | other).items()))

    def paid() -> list[tuple[int, ...]]:
        return at.ask(
            "SELECT amount::integer FROM payment WHERE number = %s AND amount <> 1000 ORDER BY 1",
            house.invoice,
        )

    assert send().status == 303
    assert "Le paiement est enregistré." in bookkeeper.get(path).text
    assert send().status == 303
    assert "Ce paiement avait déjà été enregistré" in bookkeeper.get(path).text
    assert paid() == [(2000,)]
    page = send(amount="30")
    assert page.status == 409
    assert 'value="30,00"' in page.text
    assert send(amount="30", once=once_of(page.text)).status == 303
    assert paid() == [(2000,), (3000,)]
    for wrong in ("", "x", "é" * 22):
        assert send(amount="40", once=wrong).status == 400
    assert paid() == [(2000,), (3000,)]


def test_a_payment_like_another(at: Console, house: House, bookkeeper: Browser) -> None:
    """Of the same day and amount: somebody says that it is another, or it is not recorded."""
    path = f"/exploitation/factures/{house.invoice}"
    right = [("method", "cheque"), ("amount", "20"), ("on", "2026-11-05"), ("reference", "7")]
    statuses = []
    for more in ([], [], [("quand-meme", "1")]):
        once = ("once", once_of(bookkeeper.get(path).text))
        page = bookkeeper.post(path + "/paiements", [*right, once, *more])
        statuses.append(page.status)
    assert statuses == [303, 409, 303]
    [(count,)] = at.ask(
        "SELECT count(*) FROM payment WHERE number = %s AND amount = 2000", house.invoice
    )
    assert count == 2


def test_a_mistake(at: Console, house: House, bookkeeper: Browser) -> None:
    """Is taken back with a reason, which the customer does not read."""
    path = f"/exploitation/factures/{house.invoice}"
    bookkeeper.get(path)
    form = [("paiement", house.payment), ("raison", "")]
    bookkeeper.post(path + "/reprendre", [(name, str(value)) for name, value in form])
    assert "Dites pourquoi" in bookkeeper.get(path).text
    form = [("paiement", house.payment), ("raison", "De Vermeulen")]
    bookkeeper.post(path + "/reprendre", [(name, str(value)) for name, value in form])
    page = bookkeeper.get(path)
    assert "De Vermeulen" in page.text
    assert "Le paiement est repris." in page.text
    again = bookkeeper.post(path + "/reprendre", [(name, str(value)) for name, value in form])
    assert again.status == 404
    page = enter(at, house.admin).get(f"/factures/{house.invoice}")
    assert "Vermeulen" not in page.text
    assert "-10,00 €" in page.text


def test_a_credit_note(at: Console, house: House, bookkeeper: Browser) -> None:
    """Of some of a line, with a reason that the customer reads; never of more than is left."""
    path = f"/exploitation/factures/{house.invoice}"
    form = f"{path}/avoir"
    assert "Tiroir, juillet 2026" in bookkeeper.get(form).text
    for typed, status in (
        ([("raison", "Panne")], 400),
        ([("ligne-1", "10"), ("raison", " ")], 400),
        ([("ligne-1", "dix"), ("raison", "Panne")], 400),
        ([("ligne-1", "40,01"), ("raison", "Panne")], 409),
        ([("ligne-9", "1"), ("raison", "Panne")], 409),
    ):
        page = bookkeeper.post(form, [*typed, ("avoirs", "0")])
        assert page.status == status
        assert 'role="alert"' in page.text
    typed = [("ligne-1", "40"), ("ligne-2", "1,5"), ("raison", "Panne"), ("avoirs", "0")]
    issued = bookkeeper.post(form, typed)
    assert issued.status == 303
    again = bookkeeper.post(form, [("ligne-2", "1,5"), *typed[2:]])  # sent twice
    assert again.status == 409
    assert "Un avoir a été émis entre-temps" in again.text
    page = bookkeeper.get(issued.location)
    assert "-41,50 €" in page.text
    assert bookkeeper.get(issued.location + "/avoir").status == 404
    number = issued.location.rpartition("/")[2]
    customer = enter(at, house.reader)
    page = customer.get(f"/factures/{number}")
    assert "Panne" in page.text
    assert "68,50 €" in customer.get(f"/factures/{house.invoice}").text


def test_a_statement(at: Console, house: House, bookkeeper: Browser) -> None:
    """What was matched is recorded; what was not is assigned, or put aside."""
    path = "/exploitation/paiements"
    bookkeeper.get(path)
    unknown = f"inconnu-{house.word}"
    octets = camt(
        entry("110.00", transaction(house.invoice), bank=f"1{house.word}"),
        entry("3.00", transaction(unknown), bank=f"2{house.word}"),
    )
    page = bookkeeper.post(path, [("releve", octets)])
    assert "2 virements dans ce relevé : 1 enregistré, 1 à regarder, 0 déjà connu." in page.text
    assert unknown in page.text
    page = bookkeeper.post(path, [("releve", octets)])
    assert "0 enregistré, 0 à regarder, 2 déjà connus." in page.text
    [(source,)] = at.ask("SELECT source FROM statement_entry WHERE text = %s", unknown)
    wrong = [("ligne", source), ("number", "2026-9999"), ("amount", "3,00"), ("deja", "0")]
    page = bookkeeper.post(path + "/affecter", wrong)
    assert page.status == 409
    assert "Il n'y a pas de facture 2026-9999" in page.text
    assert bookkeeper.post(path + "/affecter", [*wrong[:2], ("amount", "x")]).status == 400
    right = [("ligne", source), ("number", f" {house.invoice} "), ("amount", "1,00")]
    assert bookkeeper.post(path + "/affecter", [*right, ("deja", "x")]).status == 404
    right.append(("deja", "0"))
    assert bookkeeper.post(path + "/affecter", right).location == path
    assert bookkeeper.post(path + "/affecter", right).status == 409, "a double click"
    page = bookkeeper.get(path)
    assert "il en reste 2,00 €" in page.text
    bookkeeper.post(path + "/ecarter", [("ligne", source), ("raison", "Don")])
    assert "Mis de côté" in bookkeeper.get(path).text
    bookkeeper.post(path + "/reprendre", [("ligne", source)])
    assert "il en reste 2,00 €" in bookkeeper.get(path).text


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "aucune ligne ne nomme"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "XML correct"),
        (b"<Document/>", "CAMT.053"),
        (camt(entry(currency="CHF")), "en euros. « CHF »"),
        (b"Date;Montant\n2026-11-02;1.234\n", "Ligne 2 : « 1.234 »"),
    ],
)
def test_what_is_no_statement(bookkeeper: Browser, octets: bytes, said: str) -> None:
    """Is said at its field."""
    bookkeeper.get("/exploitation/paiements")
    page = bookkeeper.post("/exploitation/paiements", [("releve", octets)])
    assert page.status == 400
    assert said in page.text


def test_an_observer_looks(at: Console, house: House) -> None:
    """And has no form; what a bookkeeper may, an observer may not."""
    observer = enter(at, new_operator(at, Role.OBSERVER))
    path = f"/exploitation/factures/{house.invoice}"
    page = observer.get(path)
    assert page.status == 200
    assert page.text.count("<form") == observer.get("/exploitation/paiements").text.count("<form")
    assert observer.get(path + ".pdf").status == 200
    form = [("method", "cheque"), ("amount", "20"), ("on", "2026-11-05"), ("reference", "")]
    assert observer.post(path + "/paiements", form).status == 403
    assert observer.post("/exploitation/paiements", [("releve", b"Date;Montant\n")]).status == 403
