-- A credit note is made up of what is left of an invoice: if others have been issued meanwhile, it is none.
DROP FUNCTION issue_invoice(integer, text, date, date, date, text, text, jsonb, jsonb, jsonb);

-- As 0017 has it, with that.
-- An invoice or a credit note with its lines, under the next number of its year: that number, or null if
-- something of it has been invoiced, or taken back, meanwhile: of what a credit note is about there must be
-- as many others as there were when it was made up. The contract is locked first, so that whoever comes
-- second sees what the first has done, and no number is taken in vain.
CREATE FUNCTION issue_invoice(
    buyer_id integer, kind_ text, issued_on_ date, due_on_ date, quarter_ date, corrects_ text, others integer,
    reason_ text, seller_ jsonb, buyer_ jsonb, lines jsonb
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
    ELSIF (SELECT count(*) FROM invoice WHERE customer_id = buyer_id AND corrects = corrects_) <> others
       OR EXISTS (
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
