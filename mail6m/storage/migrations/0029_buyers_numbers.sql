-- What an invoice has to say of a company that buys (CGI, annexe II, 242 nonies A): its SIREN, and its VAT
-- number where there is one.
ALTER TABLE preferences
    ADD COLUMN siret text NOT NULL DEFAULT '',
    ADD COLUMN vat_number text NOT NULL DEFAULT '';

-- As 0017 has it, with both.
CREATE OR REPLACE FUNCTION buyer_of(who integer) RETURNS jsonb LANGUAGE sql STABLE AS
$$
    SELECT jsonb_build_object(
        'name', c.company, 'street', p.address, 'postcode', p.postcode, 'city', p.city,
        'country', p.country, 'contact', trim(p.first_name || ' ' || p.last_name),
        'email', coalesce(nullif(p.email, ''), (
            SELECT email FROM account a WHERE a.customer_id = c.customer_id AND role = 'administrator'
            ORDER BY account_id LIMIT 1), ''),
        'siret', p.siret, 'vat_number', p.vat_number)
    FROM customer c JOIN preferences p USING (customer_id) WHERE c.customer_id = who
$$;
