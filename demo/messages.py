"""The mail of the demonstration: what the Duchemin company gets in one morning, awkward parts too.

Everything follows from the time that `mails` is given: the same time makes the same bytes.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

DOMAIN = "mondomaine.fr"
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to be sent, and what should become of it."""

    sender: str
    recipients: tuple[str, ...]
    subject: str
    content: bytes
    about: str
    """What is particular about it, in a few words."""
    needs: str = ""
    """The EHLO keyword (lower case) without which it cannot be sent."""
    refusal: int = 0
    """The reply code with which it has to be refused; 0 if it has to be accepted."""
    sha256: str = field(init=False)
    """The digest of the content, in hex."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha256", hashlib.sha256(self.content).hexdigest())


@dataclass(frozen=True, slots=True)
class Stamp:
    """What sets a message apart from every other: its Date and its Message-ID."""

    date: datetime
    message_id: str


def mails(when: datetime) -> tuple[Mail, ...]:
    """All messages, the last one dated ``when`` (aware) and the others a while earlier."""
    first = when - timedelta(seconds=97 * (len(_LETTERS) - 1))
    dates = (first + timedelta(seconds=97 * number) for number in range(len(_LETTERS)))
    return tuple(
        letter(Stamp(date, f"<{when:%Y%m%d%H%M%S%f}.{number}@courrier.example.org>"))
        for number, (letter, date) in enumerate(zip(_LETTERS, dates, strict=True), 1)
    )


def _to(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}@{DOMAIN}" for name in names)


def _message(stamp: Stamp, name: str, sender: str, to: tuple[str, ...], about: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["Date"] = format_datetime(stamp.date)
    message["From"] = Address(name, addr_spec=sender)
    message["To"] = tuple(Address(addr_spec=address) for address in to)
    message["Subject"] = about
    message["Message-ID"] = stamp.message_id
    return message


def _content(message: EmailMessage) -> bytes:
    """The message as bytes, with boundaries that are the same every time."""
    for number, part in enumerate(message.walk()):
        if part.get_content_maintype() == "multipart":
            part.set_boundary(f"=_duchemin_{number:04d}")
    return message.as_bytes()


def _raw(stamp: Stamp, header: str, body: str, charset: str = "utf-8") -> bytes:
    """A message that no library would write, from its lines, in ``charset``."""
    fields = f"Date: {format_datetime(stamp.date)}\nMessage-ID: {stamp.message_id}\n{header}"
    return f"{fields}\n\n{body}".replace("\n", "\r\n").encode(charset)


def _pdf(size: int, seed: str) -> bytes:
    """Bytes that compress as badly as a scanned PDF does."""
    scan = random.Random(seed).randbytes(size)
    return (
        b"%%PDF-1.4\n%%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Length %d /Filter /DCTDecode >>\nstream\n"
        b"%b\nendstream\nendobj\ntrailer\n<< /Size 2 >>\n%%%%EOF\n" % (size, scan)
    )


def _notes_de_frais(stamp: Stamp) -> Mail:
    sender, to, subject = "jacques@vermeulen.net", _to("celine"), "Notes de frais."
    message = _message(stamp, "Jacques Vermeulen", sender, to, subject)
    message.set_content(
        """\
Bonjour Céline,

Voici le détail de mes frais du mois, les justificatifs partent par la poste ce soir :

  - 4/11   Lille-Gand aller-retour, 168 km ................   58,80 EUR
  - 9/11   Déjeuner avec M. Lemaire (2 couverts) ..........   46,50 EUR
  - 12/11  Hôtel à Roubaix, une nuit ......................   72,00 EUR
  - 12/11  Péage A1 .......................................   11,40 EUR
  - 18/11  Train Lille-Lyon, deuxième classe ..............   94,00 EUR

Soit 282,70 EUR au total. L'avance de 150 EUR que j'ai touchée au début du mois est à
déduire. Peux-tu me dire si le remboursement passera avec la paie ou à part ?

Merci d'avance et bonne journée,
Jacques
""",
        cte="8bit",
    )
    return Mail(sender, to, subject, _content(message), "plain text, 8 bits")


def _reunion(stamp: Stamp) -> Mail:
    sender, to, subject = "herve@yorksaw.com", _to("valerie"), "Re: réunion du 13"
    message = _message(stamp, "Hervé Delattre", sender, to, subject)
    message["In-Reply-To"] = "<reunion-13@mondomaine.fr>"
    message.set_content(
        """\
Valérie,

Le 13 me convient, mais plutôt à 10 h 30 qu'à 9 h : mon train arrive à 9 h 52 à Lille-Flandres.
J'apporte les échantillons de lames et le devis révisé. Nous serons trois, avec notre
responsable de la qualité, qui voudrait voir la scie n° 4 en marche.

> Bonjour Hervé,
> Pouvons-nous nous voir le 13 au matin pour arrêter le planning de la maintenance ?
> L'arrêt de l'atelier est prévu la semaine du 20, il nous reste peu de temps.
> Valérie

À bientôt,
Hervé
""",
        cte="quoted-printable",
    )
    return Mail(sender, to, subject, _content(message), "quoted-printable, RFC 2047 subject")


def _blague(stamp: Stamp) -> Mail:
    sender, to, subject = "albert@prodigy.net", _to("etienne"), "Blague du jour"
    message = _message(stamp, "Albert", sender, to, subject)
    message.set_content(
        """\
Salut Étienne,

Celle-ci est pour la machine à café :

Un commercial, un comptable et un informaticien sont en voiture. Elle tombe en panne.
Le commercial : « Changeons de voiture ! »
Le comptable : « Voyons d'abord ce que coûterait la réparation. »
L'informaticien : « Et si on sortait tous, puis qu'on rentrait ? »

À demain,
Albert
""",
        cte="base64",
    )
    return Mail(sender, to, subject, _content(message), "text in base64")


def _garage(stamp: Stamp) -> Mail:
    sender, to, subject = "stephane@netscape.net", _to("rh"), "Garage"
    content = _raw(
        stamp,
        f"From: Stephane <{sender}>\nTo: {to[0]}\nSubject: {subject}",
        """\
Bonjour,

La voiture de service est au garage jusqu'a jeudi (embrayage). Je prendrai le train
pour aller chez le client de Valenciennes mercredi, merci de prevenir l'accueil que je
n'arriverai pas avant 9 h 45.

Le garagiste demande un bon de commande avant de commencer : environ 640 euros TTC,
pieces et main-d'oeuvre. A qui dois-je l'envoyer ?

Stephane
""",
    )
    return Mail(sender, to, subject, content, "US-ASCII, no MIME header")


def _facture(stamp: Stamp) -> Mail:
    sender, to, subject = "remy.dupont@worldnet.att.net", _to("compta"), "Votre facture"
    message = _message(stamp, "Rémy Dupont", sender, to, subject)
    message.set_content(
        """\
Madame, Monsieur,

Veuillez trouver ci-jointe notre facture n° F-2217 de 1 842,60 EUR TTC, payable à trente
jours fin de mois. Les bons de livraison signés y sont joints, numérisés en couleur, comme
vous nous l'aviez demandé ; d'où la taille du fichier.

Pour tout règlement par virement, merci de rappeler le numéro de la facture.

Avec nos salutations distinguées,
Rémy Dupont
Service de la facturation
"""
    )
    pdf = _pdf(5 * MB, "facture F-2217")
    message.add_attachment(pdf, maintype="application", subtype="pdf", filename="F-2217.pdf")
    return Mail(sender, to, subject, _content(message), "scanned PDF of 5 MB")


def _ardeche(stamp: Stamp) -> Mail:
    sender, to, subject = "olivier@spii.net", _to("stephane"), "Bonjour de l'Ardèche"
    message = _message(stamp, "Olivier", sender, to, subject)
    message.set_content(
        """\
Salut Stéphane,

Quelques nouvelles de Vallon : il fait encore 18 degrés à midi, la rivière est basse et le
camping est vide. Deux photos du pont d'Arc, prises hier au lever du soleil.

Le fournisseur d'Aubenas nous reçoit demain à 14 h. Je t'appelle en sortant pour te dire
s'il tient le prix de 3,20 EUR le mètre.

Amitiés,
Olivier
"""
    )
    for number in (1, 2):
        image = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + random.Random(f"arc {number}").randbytes(MB)
        name = f"pont-d'arc-{number}.jpg"
        message.add_attachment(image, maintype="image", subtype="jpeg", filename=name)
    return Mail(sender, to, subject, _content(message), "two photographs of 1 MB")


def _client_hollandais(stamp: Stamp) -> Mail:
    sender, to, subject = "carine@hotmail.com", _to("george"), "Re: client hollandais"
    message = _message(stamp, "Carine", sender, to, subject)
    message.set_content(
        """\
George,

Le client d'Utrecht confirme les 400 pièces, mais en deux livraisons : 150 le 2 décembre,
le reste en janvier. Il demande aussi le certificat de conformité en anglais.

Tu peux répondre avant ce soir ?

Carine
"""
    )
    message.add_alternative(
        """\
<html><body style="font-family: Verdana, sans-serif">
<p>George,</p>
<p>Le client d'Utrecht confirme les <b>400 pièces</b>, mais en deux livraisons&nbsp;:</p>
<ul><li>150 le 2 décembre,</li><li>le reste en janvier.</li></ul>
<p>Il demande aussi le certificat de conformité <i>en anglais</i>.</p>
<p>Tu peux répondre avant ce soir&nbsp;?</p><p>Carine</p>
</body></html>
""",
        subtype="html",
    )
    return Mail(sender, to, subject, _content(message), "multipart/alternative")


def _bon_de_livraison(stamp: Stamp) -> Mail:
    sender, to = "expedition@papeterie.test", _to("achats")
    subject = "Bon de livraison n° 4471"
    message = _message(stamp, "Papeterie de la Deûle", sender, to, subject)
    message.set_content(
        "Bonjour,\n\nLe détail de la livraison de ce matin est joint (séparateur point-virgule).\n"
        "Deux références sont en reliquat et suivront vendredi.\n\nLe service expédition\n"
    )
    draw = random.Random("bl 4471")
    goods = ("Ramette A4 80 g", "Chemise cartonnée", "Classeur à levier", "Étiquettes 70 x 37")
    rows = ["Référence;Désignation;Quantité;Prix HT"] + [
        f"{draw.randrange(10**6):06d};{draw.choice(goods)};{draw.randint(1, 60)};"
        f"{draw.randint(90, 4900) / 100:.2f}".replace(".", ",")
        for _ in range(3000)
    ]
    csv = "\r\n".join(rows).encode("latin-1")
    message.add_attachment(csv, maintype="text", subtype="csv", filename="BL-4471.csv")
    return Mail(sender, to, subject, _content(message), "CSV in latin-1, base64")


def _journal(stamp: Stamp) -> Mail:
    sender, to = "sauvegarde@hebergement.test", _to("informatique")
    subject = "Sauvegarde de la nuit : terminée avec 2 avertissements"
    message = _message(stamp, "Sauvegarde", sender, to, subject)
    message.set_content(
        "La sauvegarde de la nuit est terminée. 2 fichiers étaient ouverts et n'ont pas été lus.\n"
        "Le journal complet est joint.\n"
    )
    draw = random.Random("journal")
    places = ("compta/factures", "commercial/devis", "rh/contrats", "atelier/plans", "direction")
    lines = (
        f"{(20 + second // 3600) % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d} copie[412]: "
        f"/srv/{draw.choice(places)}/{draw.randrange(10**6):06d}.pdf "
        f"{draw.randint(2_000, 900_000)} octets copiés"
        for second in range(40_000)
    )
    message.add_attachment("\n".join(lines) + "\n", filename="sauvegarde.log", cte="8bit")
    return Mail(sender, to, subject, _content(message), "text log of 3 MB, 8 bits")


def _lettre_du_textile(stamp: Stamp) -> Mail:
    sender, to = "lettre@textile-du-nord.test", _to("direction")
    subject = "La lettre du textile : le lin, valeur sûre du printemps"
    articles = (
        ("Le lin, valeur sûre", "Les surfaces semées progressent de 12 % dans les Flandres."),
        ("Apprentissage", "Quarante places restent à pourvoir à l'école de Roubaix."),
        ("Export", "Les ventes vers le Japon retrouvent leur niveau d'il y a trois ans."),
        ("Énergie", "Comment trois ateliers ont réduit d'un tiers leur facture de gaz."),
        ("Agenda", "Le salon de Tourcoing ouvre ses portes le 6 février, hall 2."),
    )
    blocks = "\n".join(
        f'<tr><td style="padding:12px 24px;border-bottom:1px solid #ddd"><h2>{title}</h2>'
        f'<p style="font:14px/1.5 Georgia,serif;color:#333">{text}</p>'
        f'<a href="https://textile-du-nord.test/article/{number}">Lire la suite</a></td></tr>'
        for number, (title, text) in enumerate(articles, 301)
    )
    message = _message(stamp, "Textile du Nord", sender, to, subject)
    message["List-Unsubscribe"] = "<https://textile-du-nord.test/desinscription>"
    message.set_content(
        f"<html><head><title>{subject}</title></head><body>\n<table width='600'>\n{blocks}\n"
        "</table>\n<p>Vous recevez cette lettre parce que vous y êtes abonné.</p></body></html>\n",
        subtype="html",
    )
    return Mail(sender, to, subject, _content(message), "HTML alone")


def _reclamation(stamp: Stamp) -> Mail:
    sender, to = "atelier@menuiserie-lys.test", _to("qualite")
    subject = "Réclamation : commande 2207 livrée abîmée"
    content = _raw(
        stamp,
        f"From: Frédéric Noël <{sender}>\nTo: {to[0]}\nSubject: {subject}",
        """\
Bonjour,

Sur les douze panneaux livrés mardi, trois sont fendus à l'arrière et un quatrième est rayé.
Le chauffeur a refusé de noter la réserve sur le bon ; j'ai gardé l'emballage.

Merci de me dire comment vous procédez : avoir ou remplacement ? Il me les faut avant le 30.

Frédéric Noël
""",
        "latin-1",
    )
    return Mail(sender, to, subject, content, "raw latin-1 in the header")


def _releve_du_mois(stamp: Stamp) -> Mail:
    sender, to = "comptes@cafes-vauban.test", _to("compta")
    subject = "Relevé d'août à octobre : 214,35 €"
    content = _raw(
        stamp,
        f"From: Cafés Vauban <{sender}>\nTo: Comptabilité <{to[0]}>\nSubject: {subject}",
        """\
Bonjour,

Votre compte présente un solde de 214,35 € en notre faveur :

  31/08   facture 1180   café en grains, 12 kg      148,20 €
  30/09   facture 1243   thés et infusions           39,75 €
  31/10   facture 1301   gobelets, sucre             26,40 €

Un règlement sous huitaine nous obligerait.

Cafés Vauban
""",
    )
    return Mail(sender, to, subject, content, "raw UTF-8 in the header")


def _fermeture(stamp: Stamp) -> Mail:
    sender, to = "georges@duchemin.fr", _to("direction", "compta", "rh", "valerie", "celine")
    subject = "Fermeture de l'atelier à Noël"
    message = _message(stamp, "Georges Alphan", sender, to, subject)
    message.set_content(
        """\
À tous,

L'atelier sera fermé du jeudi 24 décembre à midi au lundi 4 janvier à 8 h. Une permanence est
tenue au téléphone les 28 et 29 pour les clients sous contrat.

Pensez à poser vos congés avant vendredi et à vider les frigos.

Georges Alphan
Duchemin, ZI du parc, 59110 La Madeleine
"""
    )
    return Mail(sender, to, subject, _content(message), "five recipients")


def _non_remise(stamp: Stamp) -> Mail:
    to, subject = _to("celine"), "Avis de non-remise : boîte pleine"
    content = _raw(
        stamp,
        f"""\
From: MAILER-DAEMON@messagerie.test
To: {to[0]}
Subject: =?utf-8?q?Avis_de_non-remise_=3A_bo=C3=AEte_pleine?=
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="avis"
""".rstrip(),
        f"""\
--avis
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Votre message à achats@messagerie.test n'a pas pu être remis : la boîte du destinataire
est pleine. Vous pouvez le renvoyer dans quelques jours.

--avis
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.messagerie.test

Final-Recipient: rfc822; achats@messagerie.test
Action: failed
Status: 5.2.2
Diagnostic-Code: smtp; 552 5.2.2 Mailbox full

--avis
Content-Type: text/rfc822-headers

From: {to[0]}
To: achats@messagerie.test
Subject: Commande de novembre

--avis--
""",
    )
    return Mail("", to, subject, content, "null sender (a bounce)")


def _transports(stamp: Stamp) -> Mail:
    sender, to = '"service clients"@transports.test', (f'"jean pierre"@{DOMAIN}',)
    subject = "Enlèvement de demain"
    message = _message(stamp, "Transports Mercier", sender, to, subject)
    message.set_content(
        """\
Bonjour Jean-Pierre,

L'enlèvement des six palettes est avancé à 7 h 15 demain matin, quai n° 2. Le chauffeur aura
besoin des papiers de douane pour les deux palettes de Lausanne : sans eux, il ne charge pas.

Transports Mercier, service clients
"""
    )
    return Mail(sender, to, subject, _content(message), "quoted local parts, with a blank")


def _helene(stamp: Stamp) -> Mail:
    sender, to = "rené@forêt.test", _to("hélène")
    subject = "Chênes de la forêt de Mormal"
    content = _raw(
        stamp,
        f"From: René Lefèvre <{sender}>\nTo: {to[0]}\nSubject: {subject}\nMIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit",
        """\
Chère Hélène,

La coupe est finie : quarante-deux mètres cubes de chêne, première qualité, prêts au bord du
chemin. Je peux vous les garder jusqu'à la Saint-Nicolas ; après, le scieur belge les prend.

René Lefèvre
""",
    )
    return Mail(sender, to, subject, content, "SMTPUTF8 addresses", needs="smtputf8")


def _plan_de_charge(stamp: Stamp) -> Mail:
    sender, to = "planning@sous-traitance.test", _to("atelier")
    subject = "Plan de charge de la semaine 48"
    message = _message(stamp, "Planning", sender, to, subject)
    draw = random.Random("charge")
    machines = ("scie n° 4", "plieuse", "presse 80 t", "tour à commande", "fraiseuse", "cabine")
    rows = "\n".join(
        f"  {day:<9} {machine:<16} {draw.randint(2, 16):>3} h   lot {draw.randint(2200, 2299)}"
        for day in ("lundi", "mardi", "mercredi", "jeudi", "vendredi")
        for machine in machines
    )
    message.set_content(
        f"Bonjour,\n\nLe plan de la semaine, à confirmer avant jeudi midi :\n\n{rows}\n\n"
        "Les heures au-delà de 14 par jour supposent l'équipe du soir.\n\nLe planning\n",
        cte="8bit",
    )
    content = _content(message)
    return Mail(sender, to, subject, content, "sent by BDAT, in three chunks", needs="chunking")


def _edi(stamp: Stamp) -> Mail:
    sender, to, subject = "edi@grande-distribution.test", _to("edi"), "EDI ORDERS D96A lot 88120"
    draw = random.Random("edi")
    lines = []
    for order in range(3):
        line = f"UNB+UNOC:3+3020400000016:14+3015550000012:14+261123:0730+{88120 + order}'"
        while len(line) < 20_000:
            line += (
                f"LIN+{draw.randrange(999)}++{draw.randrange(10**12, 10**13)}:EN'"
                f"QTY+21:{draw.randint(1, 480)}:PCE'PRI+AAA:{draw.randint(50, 9000) / 100:.2f}'"
            )
        lines.append(f"{line}UNZ+1+{88120 + order}'")
    content = _raw(
        stamp,
        f"From: {sender}\nTo: {to[0]}\nSubject: {subject}\nMIME-Version: 1.0\n"
        "Content-Type: application/EDIFACT",
        "\n".join(lines) + "\n",
    )
    return Mail(sender, to, subject, content, "lines of 20,000 bytes")


def _catalogue(stamp: Stamp) -> Mail:
    sender, to = "imprimerie@flandres.test", _to("commercial")
    subject = "Sommaire du catalogue : bon à tirer"
    content = _raw(
        stamp,
        f"From: {sender}\nTo: {to[0]}\nSubject: =?iso-8859-1?Q?Sommaire_du_catalogue_:_bon_=E0"
        "_tirer?=\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
        "Content-Transfer-Encoding: 8bit",
        """\
Bonjour, voici le sommaire avant tirage. Les points de conduite commencent bien en marge :

.
..
... Panneaux et lames ................................ page 4
.... Quincaillerie ................................... page 19
..suite de la quincaillerie .......................... page 27
. Conditions de vente ................................ page 40
.

Merci de nous rendre le bon à tirer signé pour mercredi.
.
""",
    )
    return Mail(sender, to, subject, content, "dots at the start of lines")


def _automate(stamp: Stamp) -> Mail:
    sender, to, subject = "presse80t@atelier.test", _to("maintenance"), "Alarme 31 : presse 80 t"
    frames = "\n".join(
        f"trame {number:02d} : \0\1\2{chr(65 + number)}\0\0 pression {210 + number} bar \0\x7f"
        for number in range(12)
    )
    content = _raw(
        stamp,
        f"From: {sender}\nTo: {to[0]}\nSubject: {subject}",
        f"Alarme 31 : pression hors limites.\nDernieres trames de l'automate :\n\n{frames}\n",
    )
    return Mail(sender, to, subject, content, "NUL bytes in the body")


def _bien_recu(stamp: Stamp) -> Mail:
    sender, to, subject = "remy.dupont@worldnet.att.net", _to("compta"), "Bien reçu, merci"
    message = _message(stamp, "Rémy Dupont", sender, to, subject)
    message.set_content("")
    return Mail(sender, to, subject, _content(message).rstrip() + b"\r\n\r\n", "empty body")


def _devis(stamp: Stamp) -> Mail:
    sender, to = "devis@chaudronnerie.test", _to("achats")
    subject = "Devis à signer : cuve de 3 m³"
    message = _message(stamp, "Chaudronnerie Wattrelos", sender, to, subject)
    message.set_content(
        """\
Bonjour,

Suite à votre visite, voici notre devis pour la cuve en inox de 3 m³, posée et raccordée :
9 480 € HT, délai de six semaines à réception de la commande. L'offre vaut deux mois.

Le plan coté est joint. Un exemplaire signé par retour nous suffit.
""",
        charset="windows-1252",
        cte="quoted-printable",
    )
    pdf = _pdf(280_000, "devis")
    name = "Devis à signer, cuve n° 3.pdf"
    message.add_attachment(pdf, maintype="application", subtype="pdf", filename=name)
    return Mail(sender, to, subject, _content(message), "windows-1252, RFC 2231 file name")


def _litige(stamp: Stamp) -> Mail:
    sender, to = "valerie@duchemin.fr", _to("direction", "george")
    subject = "Tr: litige avec le transporteur"
    forwarded = _message(
        stamp, "Transports Mercier", "litiges@transports.test", _to("valerie"), "Dossier 7713"
    )
    forwarded.set_content(
        "Madame,\n\nAprès enquête, nous reconnaissons l'avarie sur deux des quatre colis et vous\n"
        "proposons 310 € à titre commercial, sans reconnaissance de responsabilité.\n\nMercier\n"
    )
    message = _message(stamp, "Valérie", sender, to, subject)
    message.set_content("Pour avis : j'accepterais, l'expertise coûterait davantage.\n\nValérie\n")
    message.add_attachment(forwarded)
    return Mail(sender, to, subject, _content(message), "a message inside the message")


def _accuse(stamp: Stamp) -> Mail:
    sender, to = "commandes@visserie-ouest.test", _to("achats")
    subject = "Accusé de réception de votre commande CF-1093"
    message = _message(stamp, "Visserie de l'Ouest", sender, to, subject)
    message.set_content(
        """\
Bonjour,

Nous avons bien enregistré votre commande CF-1093 :

   2 000  vis à bois 5 x 60, tête fraisée           61,40 EUR
     500  tire-fond 8 x 120, galvanisés             88,00 EUR
      50  chevilles chimiques                      112,50 EUR

Expédition prévue après-demain, franco de port.
"""
    )
    hops = "".join(
        f"Received: from {source}.test ([192.0.2.{number}])\r\n\tby {target}.test with ESMTPS "
        f"id 4Tx{number}Qd;\r\n\t{format_datetime(stamp.date)}\r\n"
        for number, (source, target) in enumerate(
            (("relais", "sortie"), ("interne", "relais"), ("poste-14", "interne")), 21
        )
    )
    content = hops.encode() + _content(message)
    return Mail(sender, to, subject, content, "three Received fields of its own")


def _a_transmettre(stamp: Stamp) -> Mail:
    sender, to, subject = "annonces@courtage.test", ("confrere@example.org",), "À transmettre"
    message = _message(stamp, "Courtage", sender, to, subject)
    message.set_content("Bonjour,\n\nMerci de faire suivre notre offre à votre confrère.\n")
    about = "recipient elsewhere: no open relay"
    return Mail(sender, to, subject, _content(message), about, refusal=550)


def _bon_de_commande(stamp: Stamp) -> Mail:
    sender, to, subject = "script@boutique.test", _to("commandes"), "Bon de commande 5512"
    content = _raw(
        stamp,
        f"From: {sender}\nTo: {to[0]}\nSubject: {subject}",
        "Reference 118 : 4 pieces\nReference 207 : 1 piece\nTotal : 96,00 EUR\n",
    ).replace(b"pieces\r\n", b"pieces\n")
    return Mail(sender, to, subject, content, "bare LF: could smuggle mail", refusal=550)


_LETTERS: tuple[Callable[[Stamp], Mail], ...] = (
    _notes_de_frais,
    _reunion,
    _blague,
    _garage,
    _facture,
    _ardeche,
    _client_hollandais,
    _bon_de_livraison,
    _journal,
    _lettre_du_textile,
    _reclamation,
    _releve_du_mois,
    _fermeture,
    _non_remise,
    _transports,
    _helene,
    _plan_de_charge,
    _edi,
    _catalogue,
    _automate,
    _bien_recu,
    _devis,
    _litige,
    _accuse,
    _a_transmettre,
    _bon_de_commande,
)
