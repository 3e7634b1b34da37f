-- Issuing: what is due gets its number and stands for good, in one transaction.

CREATE INDEX invoice_corrected ON invoice (customer_id, corrects) WHERE corrects IS NOT NULL;
CREATE INDEX invoice_newest ON invoice (issued_on);

-- What a transfer names an invoice by (ISO 11649); of a number like 2026-0001 its digits are the body.
CREATE FUNCTION creditor_reference(number text) RETURNS text LANGUAGE sql IMMUTABLE AS
$$
    SELECT 'RF' || lpad((98 - (digits || '271500')::numeric % 97)::text, 2, '0') || digits
    FROM (SELECT replace(number, '-', '')) AS body (digits)
$$;

-- An invoice or a credit note with its lines, under the next number of its year: that number, or null if
-- something of it has been invoiced, or taken back, meanwhile. The contract is locked first, so that whoever
-- comes second sees what the first has done, and no number is taken in vain.
CREATE FUNCTION issue_invoice(
    buyer_id integer, kind_ text, issued_on_ date, due_on_ date, quarter_ date, corrects_ text, reason_ text,
    seller_ jsonb, buyer_ jsonb, lines jsonb
) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
    taken integer;
    number_ text;
BEGIN
    PERFORM 1 FROM contract WHERE customer_id = buyer_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF kind_ = 'invoice' THEN
        IF EXISTS (SELECT FROM invoice
                   WHERE customer_id = buyer_id AND kind = 'invoice' AND quarter = quarter_)
           OR EXISTS (SELECT FROM invoice_line l JOIN invoice i USING (customer_id, number),
                      jsonb_to_recordset(lines) AS new (kind text, day date, object text)
                      WHERE l.customer_id = buyer_id AND i.kind = 'invoice' AND l.kind = new.kind
                        AND CASE WHEN l.kind = 'month' THEN l.day = new.day
                                 ELSE l.object = new.object END) THEN
            RETURN NULL;
        END IF;
    ELSIF EXISTS (
        SELECT FROM (SELECT kind, day, object, sum(gross) AS gross
                     FROM jsonb_to_recordset(lines) AS new (kind text, day date, object text, gross bigint)
                     GROUP BY kind, day, object) AS new
        WHERE new.gross > 0 OR new.gross + coalesce((
            SELECT sum(l.gross) FROM invoice_line l JOIN invoice i USING (customer_id, number)
            WHERE l.customer_id = buyer_id AND corrects_ IN (i.number, i.corrects)
              AND l.kind = new.kind AND l.day = new.day AND l.object = new.object), 0) < 0) THEN
        RETURN NULL;
    END IF;
    INSERT INTO invoice_year AS y VALUES (extract(year FROM issued_on_)::integer, 1)
    ON CONFLICT (year) DO UPDATE SET last = y.last + 1 RETURNING last INTO taken;
    number_ := to_char(issued_on_, 'YYYY-') || CASE WHEN taken < 10000 THEN to_char(taken, 'FM0000')
                                                    ELSE taken::text END;
    INSERT INTO invoice (customer_id, number, kind, issued_on, due_on, quarter, corrects, reason, reference,
                         seller, buyer, gross)
    SELECT buyer_id, number_, kind_, issued_on_, due_on_, quarter_, corrects_, reason_,
           creditor_reference(number_), seller_, buyer_, sum((line ->> 'gross')::bigint)
    FROM jsonb_array_elements(lines) AS line;
    INSERT INTO invoice_line (customer_id, number, position, kind, day, plan, object, gross, net, vat)
    SELECT buyer_id, number_, position, line ->> 'kind', (line ->> 'day')::date, line ->> 'plan',
           line ->> 'object', (line ->> 'gross')::bigint, (line ->> 'net')::bigint, (line ->> 'vat')::integer
    FROM jsonb_array_elements(lines) WITH ORDINALITY AS numbered (line, position);
    RETURN number_;
END
$$;

-- What an invoice says of a customer: billing.invoice.Party.
CREATE FUNCTION buyer_of(who integer) RETURNS jsonb LANGUAGE sql STABLE AS
$$
    SELECT jsonb_build_object(
        'name', c.company, 'street', p.address, 'postcode', p.postcode, 'city', p.city,
        'country', p.country, 'contact', trim(p.first_name || ' ' || p.last_name),
        'email', coalesce(nullif(p.email, ''), (
            SELECT email FROM account a WHERE a.customer_id = c.customer_id AND role = 'administrator'
            ORDER BY account_id LIMIT 1), ''))
    FROM customer c JOIN preferences p USING (customer_id) WHERE c.customer_id = who
$$;

-- As 0009 has it; and what invoices have to say of the customer is kept, before who signs in is forgotten.
CREATE OR REPLACE FUNCTION destroy_key(leaver integer) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM 1 FROM closing
    WHERE customer_id = leaver AND closed_at < now() - interval '1 hour' AND key_destroyed_at IS NULL
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE domain SET closed = true WHERE customer_id = leaver AND NOT closed;
    IF FOUND THEN                                       -- one has been declared meanwhile
        UPDATE closing SET closed_at = now() WHERE customer_id = leaver;
        RETURN false;
    END IF;
    IF EXISTS (SELECT FROM delivery WHERE customer_id = leaver AND state = 0)
       OR EXISTS (SELECT FROM disc WHERE customer_id = leaver AND state IN ('written', 'shipped')) THEN
        RETURN false;
    END IF;
    UPDATE closing c
    SET key_destroyed_at = now(), messages = m.messages, raw_bytes = m.raw_bytes,
        first_at = (SELECT received_at FROM message WHERE customer_id = leaver AND shelf IN (0, 1)
                    ORDER BY message_id LIMIT 1),
        last_at = (SELECT received_at FROM message WHERE customer_id = leaver AND shelf IN (0, 1)
                   ORDER BY message_id DESC LIMIT 1),
        accounts = (SELECT count(*) FROM account WHERE customer_id = leaver),
        discs = (SELECT count(*) FROM disc WHERE customer_id = leaver AND written_at IS NOT NULL),
        serials = ARRAY (SELECT serial FROM disc WHERE customer_id = leaver)
    FROM (SELECT coalesce(sum(s.messages), 0) AS messages, coalesce(sum(s.raw_bytes), 0) AS raw_bytes
          FROM shelf_count s WHERE customer_id = leaver AND shelf IN (0, 1)) AS m
    WHERE c.customer_id = leaver;
    UPDATE contract SET buyer = buyer_of(leaver) WHERE customer_id = leaver;
    UPDATE customer SET wrapped_key = '' WHERE customer_id = leaver;
    DELETE FROM export WHERE customer_id = leaver;
    DELETE FROM account WHERE customer_id = leaver;     -- sessions and letters go with them
    RETURN true;
END
$$;

-- Those who were leaving before there were contracts: theirs ends with the month in which they asked.
UPDATE contract c
SET ended_on = (date_trunc('month', l.asked_at AT TIME ZONE 'Europe/Paris') + interval '1 month - 1 day')::date
FROM closing l WHERE l.customer_id = c.customer_id;
UPDATE contract c SET buyer = buyer_of(c.customer_id)
FROM closing l WHERE l.customer_id = c.customer_id AND l.key_destroyed_at IS NOT NULL;
