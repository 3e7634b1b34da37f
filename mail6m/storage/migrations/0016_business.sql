-- The business: prices, contracts, what is due, invoices, payments; and the people who run Mail6M.
-- Amounts are cents, taxes included where nothing else is said. What stands in an invoice outlives its
-- customer: accounts are kept for ten years (Code de commerce, L123-22), so nothing here refers to customer.

CREATE TABLE tariff (
    since date PRIMARY KEY,                             -- it holds until the next one's day
    tiroir integer NOT NULL CHECK (tiroir >= 0),        -- a month
    malle integer NOT NULL CHECK (malle >= 0),
    armoire integer NOT NULL CHECK (armoire >= 0),
    disc integer NOT NULL CHECK (disc >= 0),            -- a piece
    vat integer NOT NULL CHECK (vat BETWEEN 0 AND 9999),    -- hundredths of a percent
    free_months integer NOT NULL CHECK (free_months BETWEEN 0 AND 120)  -- of contracts that begin then
);
INSERT INTO tariff VALUES ('2005-01-01', 4000, 7500, 10000, 1500, 2000, 1);

-- Who sends the invoices, from a day on.
CREATE TABLE seller (
    since date PRIMARY KEY,
    name text NOT NULL,
    street text NOT NULL,
    postcode text NOT NULL,
    city text NOT NULL,
    country text NOT NULL,                              -- ISO 3166-1, two letters
    email text NOT NULL,
    phone text NOT NULL,
    siret text NOT NULL,
    vat_number text NOT NULL,
    legal text NOT NULL,                                -- form, capital, register: as it is to be printed
    iban text NOT NULL,                                 -- empty: no transfers
    bic text NOT NULL,
    payment_days integer NOT NULL CHECK (payment_days BETWEEN 0 AND 60),    -- Code de commerce, L441-10
    late_rate text NOT NULL                             -- as it is to be printed
);

CREATE TABLE contract (
    customer_id integer PRIMARY KEY,
    started_on date NOT NULL,
    ended_on date,                                      -- its last day, which is the last of a month
    suspended_at timestamptz,                           -- the console is closed to it; its mail goes on
    buyer jsonb,                                        -- what invoices say of it, once it is destroyed
    billed_from date                                    -- what was before is not due; null: all is
);

-- What it has, from a day on.
CREATE TABLE contract_plan (
    customer_id integer NOT NULL,
    since date NOT NULL,
    plan text NOT NULL,                                 -- tiroir, malle, armoire, dedicated
    capacity bigint NOT NULL,
    monthly integer CHECK (monthly >= 0),               -- agreed on; null: the tariff's
    PRIMARY KEY (customer_id, since)
);
-- What customers had before is not known month by month, so it is due from this month on.
INSERT INTO contract (customer_id, started_on, billed_from)
SELECT customer_id, (created_at AT TIME ZONE 'Europe/Paris')::date,
       date_trunc('month', now() AT TIME ZONE 'Europe/Paris')::date
FROM customer WHERE customer_id <> 0;
INSERT INTO contract_plan (customer_id, since, plan, capacity)
SELECT customer_id, (created_at AT TIME ZONE 'Europe/Paris')::date, plan, capacity FROM customer
WHERE customer_id <> 0;

-- What is due once.
CREATE TABLE charge (
    customer_id integer NOT NULL,
    kind text NOT NULL CHECK (kind = 'disc'),
    object text NOT NULL,                               -- a disc's serial number
    on_day date NOT NULL,
    PRIMARY KEY (customer_id, kind, object)
);

-- The last number of each year; whoever issues an invoice takes the next one in the same transaction.
CREATE TABLE invoice_year (
    year integer PRIMARY KEY,
    last integer NOT NULL
);

CREATE TABLE invoice (
    customer_id integer NOT NULL,
    number text NOT NULL UNIQUE,                        -- 2026-0001
    kind text NOT NULL CHECK (kind IN ('invoice', 'credit')),
    issued_on date NOT NULL,
    due_on date NOT NULL,
    quarter date,                                       -- its first day
    corrects text REFERENCES invoice (number),          -- of a credit note
    reason text NOT NULL DEFAULT '',
    reference text NOT NULL UNIQUE,                     -- what a transfer names (ISO 11649)
    seller jsonb NOT NULL,
    buyer jsonb NOT NULL,
    gross bigint NOT NULL,                              -- negative of a credit note, as are its lines
    issued_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, number),
    CHECK ((kind = 'credit') = (corrects IS NOT NULL))
);
CREATE UNIQUE INDEX invoice_quarter ON invoice (customer_id, quarter) WHERE kind = 'invoice';

CREATE TABLE invoice_line (
    customer_id integer NOT NULL,
    number text NOT NULL,
    position integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('month', 'disc')),
    day date NOT NULL,                                  -- the month's first; the day a disc was sent
    plan text NOT NULL,
    object text NOT NULL,
    gross bigint NOT NULL,
    net bigint NOT NULL,
    vat integer NOT NULL,                               -- the rate, hundredths of a percent
    PRIMARY KEY (customer_id, number, position),
    FOREIGN KEY (customer_id, number) REFERENCES invoice
);

CREATE TABLE invoice_document (
    customer_id integer NOT NULL,
    number text NOT NULL,
    pdf bytea NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, number),
    FOREIGN KEY (customer_id, number) REFERENCES invoice
);

-- An invoice that has been issued is never changed (Code général des impôts, art. 289).
CREATE FUNCTION stands_for_good() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
    RAISE EXCEPTION '% is never changed: issue a credit note', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER invoice_stands BEFORE UPDATE OR DELETE ON invoice
    FOR EACH ROW EXECUTE FUNCTION stands_for_good();
CREATE TRIGGER invoice_line_stands BEFORE UPDATE OR DELETE ON invoice_line
    FOR EACH ROW EXECUTE FUNCTION stands_for_good();
CREATE TRIGGER invoice_document_stands BEFORE UPDATE OR DELETE ON invoice_document
    FOR EACH ROW EXECUTE FUNCTION stands_for_good();

-- Letters about an invoice that have been sent.
CREATE TABLE invoice_told (
    customer_id integer NOT NULL,
    number text NOT NULL,
    told text[] NOT NULL DEFAULT '{}',
    telling_at timestamptz,                             -- somebody is about to send one
    PRIMARY KEY (customer_id, number),
    FOREIGN KEY (customer_id, number) REFERENCES invoice
);

CREATE TABLE payment (
    customer_id integer NOT NULL,
    payment_id bigint GENERATED ALWAYS AS IDENTITY,
    number text NOT NULL,                               -- the invoice that it is for
    received_on date NOT NULL,
    amount bigint NOT NULL CHECK (amount <> 0),         -- negative: paid back
    method text NOT NULL CHECK (method IN ('cheque', 'transfer', 'paypal')),
    reference text NOT NULL DEFAULT '',                 -- the cheque's number, what the transfer says
    source text UNIQUE,                                 -- an entry of a statement, a capture: good once
    recorded_by text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, payment_id),
    FOREIGN KEY (customer_id, number) REFERENCES invoice
);
CREATE INDEX payment_of_invoice ON payment (customer_id, number);

-- Operators are accounts of the house.
ALTER TABLE account DROP CONSTRAINT account_role_check;
ALTER TABLE account ADD CONSTRAINT account_role_check CHECK (
    CASE WHEN customer_id = 0 THEN role IN ('operator', 'bookkeeper', 'observer')
         ELSE role IN ('administrator', 'reader') END);
INSERT INTO preferences (customer_id) SELECT 0 FROM customer WHERE customer_id = 0;
