"""The mail that the browser tests look at: the brochure's, a heap of more, and awkward ones."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP

DOMAIN = "mondomaine.fr"
SECRET = "mirabelle-confite"
"""A word in the content of every message, which no page may show."""
LONG = (
    "Re: Tr: Re: compte rendu de la réunion du comité de direction élargi aux chefs d'atelier, avec"
    " les annexes 1 à 14, le tableau des congés et http://intranet.example.org/"
    + "un_chemin_sans_la_moindre_espace_"
    * 4
)
HOSTILE = """<b>Gras</b> & "guillemets" d'ici <script>document.title='pris'</script>"""


@dataclass(frozen=True)
class Letter:
    """One message."""

    name: str
    sender: str
    """Empty: the null sender's."""
    to: tuple[str, ...]
    subject: str | None

    @property
    def shown(self) -> str:
        """The subject as a list shows it."""
        return "(sans objet)" if self.subject is None else self.subject

    @property
    def content(self) -> bytes:
        """The whole message, with `SECRET` in it, more than once so that it can be compressed."""
        message = EmailMessage(policy=SMTP)
        address = self.sender or "mailer-daemon@example.org"
        message["From"] = f'"{self.name}" <{address}>' if self.name else address
        message["To"] = ", ".join(self.to)
        if self.subject is not None:
            message["Subject"] = self.subject
        message["Message-ID"] = f"<{abs(hash(self)):x}@example.org>"
        message.set_content(f"Bonjour,\n\nvoici le mot : {SECRET}.\n" + "À bientôt\n" * 60)
        return message.as_bytes()


def brochure(domain: str = DOMAIN) -> list[Letter]:
    """The seven of the brochure (VII.II), the newest first."""
    rows = [
        ("Jacques Vermeulen", "jacques@vermeulen.net", "Notes de frais.", "celine"),
        ("Hervé", "herve@yorksaw.com", "Re: réunion du 13", "valerie"),
        ("Albert", "albert@prodigy.net", "Blague du jour", "etienne"),
        ("Stéphane", "stephane@netscape.net", "Garage", "rh"),
        ("Rémy Dupont", "remy.dupont@worldnet.att.net", "Votre facture", "compta"),
        ("Olivier", "olivier@spii.net", "Bonjour de l'Ardèche", "stephane"),
        ("Carine", "carine@hotmail.com", "Re: client hollandais", "george"),
    ]
    return [Letter(name, by, (f"{to}@{domain}",), what) for name, by, what, to in rows]


def awkward(domain: str = DOMAIN) -> list[Letter]:
    """What breaks a page that is made carelessly."""
    many = tuple(f"destinataire.numero{n}@{domain}" for n in range(1, 13))
    everybody = (f"tous@{domain}",)
    return [
        Letter("Comité", "direction@example.org", many, LONG),
        Letter("", "automate@example.org", everybody, None),
        Letter("", "", everybody, "Échec de la remise : « Votre commande »"),
        Letter("<img src=x onerror=alert(1)>", "pirate@example.org", everybody, HOSTILE),
        Letter(
            "Ein sehr langer Name",
            "ein.sehr.langer.name.ohne.leerzeichen@eine.ebenso.lange.unterabteilung.example.org",
            (f"service.des.relations.avec.la.clientele.internationale@{domain}",),
            "Größe 🎉 и ещё 語",
        ),
        Letter("Spam & fils", "gagnant@loterie.example.org", everybody, "VOUS AVEZ GAGNÉ !!!"),
    ]


def ordinary(count: int, domain: str = DOMAIN) -> list[Letter]:
    """So many of every day, each with a subject of its own."""
    senders = ["commande@belga.com", "factures@belga.com", "atelier@cargo.com", "anne@wanadoo.fr"]
    subjects = ["Facturation de juillet", "Bon de livraison", "Café à l'étage", "Commande"]
    return [
        Letter("", senders[n % 4], (f"service{n % 5}@{domain}",), f"{subjects[n // 4 % 4]} n° {n}")
        for n in range(1, count + 1)
    ]
