"""Fills an archive for the console: customers with years of mail, as people might write it.

Straight into the tables, with no content: what the console reads is metadata. Words, senders and
times are drawn so that a few are everywhere and most are rare; 2,000,000 messages are a year.
"""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2

from bench.figure import progress
from bench.fill import COUNT, indexed_afterwards
from mail6m.fold import fold
from mail6m.storage.embedded import Embedded

BATCH = 200_000
_COMMON = (
    "facture devis réunion commande livraison chantier rapport contrat offre projet client équipe"
    " planning budget congés formation rendez-vous validation urgent relance paiement acompte"
    " échéance dossier référence compte-rendu invitation question réponse suivi mise à jour"
)

_HEADS = "b c d f g l m n p r s t v ch tr pr gr br cl pl qu st"
_TAILS = "a e i o u é è an on in ou eau oir ant ette ment tion age ure"
_NAMES = "jacques herve albert stephane remy olivier carine celine valerie etienne george"

RARE = {"zanzibar": 7, "Élancourt": 900, "belvédère": 40, "quetzalcoatl": 1}
"""Words in the subjects of so many of a customer's messages, spread over the whole time."""


def vocabulary(seed: int, words: int) -> list[str]:
    """Words of syllables, the common ones first."""
    chance = random.Random(seed)
    heads, tails = _HEADS.split(), _TAILS.split()
    made = dict.fromkeys(_COMMON.split())
    while len(made) < words:
        syllables = chance.randint(2, 4)
        made["".join(chance.choice(heads) + chance.choice(tails) for _ in range(syllables))] = None
    return list(made)


def senders(seed: int, count: int) -> list[str]:
    """Addresses at a quarter as many domains; the first domains are everybody's."""
    chance = random.Random(seed)
    words = [fold(word) for word in vocabulary(seed + 1, count // 4 + 50)]
    big = ["gmail.com", "orange.fr", "wanadoo.fr", "hotmail.com", "free.fr"]
    domains = big + [f"{word}.{chance.choice(['fr', 'com', 'net', 'be'])}" for word in words]
    names = _NAMES.split()
    made = []
    for number in range(count):
        domain = domains[int(len(domains) * chance.random() ** 3)]
        made.append(f"{chance.choice(names)}.{words[number % len(words)]}@{domain}")
    return made


# A power of random() makes the first of a list common, and the last ones rare.
_TABLES = """
CREATE TEMPORARY TABLE word AS
SELECT * FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS w (word, folded, n);
CREATE TEMPORARY TABLE sender AS
SELECT * FROM unnest(%s::text[]) WITH ORDINALITY AS s (address, n);
CREATE UNIQUE INDEX ON word (n);
CREATE UNIQUE INDEX ON sender (n);
ANALYZE word; ANALYZE sender;
"""

_FILL = """
WITH drawn AS MATERIALIZED (
    SELECT n, uuidv7(-n * interval '15 s') AS id, now() - n * interval '15 s' AS received_at,
           1 + floor(%(senders)s * power(random(), 2))::integer AS sender_n,
           'personne' || n %% 60 || '@client' || %(customer)s || '.test' AS recipient,
           1 + floor(%(words)s * power(random(), 4))::integer AS w1,
           1 + floor(%(words)s * power(random(), 3))::integer AS w2,
           1 + floor(%(words)s * power(random(), 3))::integer AS w3,
           CASE WHEN random() < 0.3 THEN 'Re: ' ELSE '' END AS re
    FROM generate_series(%(first)s, %(last)s, -1) AS n
), rare AS (
    SELECT DISTINCT ON (n) n, ' ' || word AS word, ' ' || folded AS folded
    FROM unnest(%(rare_n)s::integer[], %(rare)s::text[], %(rare_folded)s::text[])
    AS r (n, word, folded)
), new AS MATERIALIZED (
    SELECT d.n, d.id, d.received_at, s.address AS sender, d.recipient,
           concat(re, a.word, ' ', b.word, ' ', c.word, ' ', d.n, r.word) AS subject,
           concat(lower(re), a.folded, ' ', b.folded, ' ', c.folded, ' ', d.n, r.folded) AS folded
    FROM drawn d JOIN sender s ON s.n = d.sender_n
    JOIN word a ON a.n = w1 JOIN word b ON b.n = w2 JOIN word c ON c.n = w3
    LEFT JOIN rare r ON r.n = d.n
    ORDER BY d.n DESC
), entries AS (
    INSERT INTO search_entry (customer_id, shelf, message_id, sender, recipient, subject)
    SELECT %(customer)s, 0, id, sender, recipient, folded FROM new
)
INSERT INTO message (customer_id, message_id, shelf, received_at, raw_size, stored_size, sender,
                     recipients, header_from, header_to, subject, header_message_id, sha256,
                     client_address, client_name, client_hello, protocol, tls, smtputf8, eightbit,
                     returns, envid)
SELECT %(customer)s, id, 0, received_at, 4096, 1600, sender, ARRAY[recipient],
       sender, recipient, subject, n || '@sender.test', sha256(n::text::bytea), '192.0.2.1', '',
       'client.sender.test', 'ESMTP', '', false, false, '', ''
FROM new
"""


def fill(data: Path, customers: dict[int, int]) -> None:
    """Give every customer so many messages, in the embedded database under ``data``."""
    embedded = Embedded(data / "postgres")
    words, addresses = vocabulary(2, 20_000), senders(3, 8_000)
    try:
        with closing(psycopg2.connect(embedded.start())) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET synchronous_commit = off; SET work_mem = '256MB'")
                cursor.execute(_TABLES, (words, [fold(word) for word in words], addresses))
                constants = {"words": len(words), "senders": len(addresses)}
                with indexed_afterwards(cursor):
                    for customer, messages in customers.items():
                        _fill(cursor, constants | {"customer": customer}, messages)
                cursor.execute("VACUUM (FREEZE, ANALYZE)")
    finally:
        embedded.leave()


def _fill(cursor: Any, constants: dict[str, int], messages: int) -> None:
    chance = random.Random(1)
    rare = [(chance.randint(1, messages), w) for w, count in RARE.items() for _ in range(count)]
    named = {
        "rare_n": [n for n, _ in rare],
        "rare": [word for _, word in rare],
        "rare_folded": [fold(word) for _, word in rare],
    }
    for first in range(messages, 0, -BATCH):
        last = max(first - BATCH + 1, 1)
        cursor.execute(_FILL, constants | named | {"first": first, "last": last})
    cursor.execute(COUNT, constants)
    progress(f"  customer {constants['customer']}: {messages} messages")
