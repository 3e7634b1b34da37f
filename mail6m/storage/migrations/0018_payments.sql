-- Payments: what banks and PayPal say has come in, and what it was for.

-- Entries of statements, for good: so that importing one twice changes nothing. They are the house's.
CREATE TABLE statement_entry (
    customer_id integer NOT NULL DEFAULT 0,
    source text NOT NULL,                               -- what it is known by, in whichever file it stands
    booked_on date NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    name text NOT NULL,
    text text NOT NULL,
    reference text NOT NULL,
    verdict text NOT NULL,                              -- what was found when it was imported
    named text[] NOT NULL,                              -- invoices that it names
    assigned bigint NOT NULL DEFAULT 0,                 -- what of it is in payments
    parts integer NOT NULL DEFAULT 0,                   -- in how many of them, those taken back, too
    aside text,                                         -- why it is for no invoice
    imported_by text NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, source),
    CHECK (assigned BETWEEN 0 AND amount)
);
CREATE INDEX statement_entry_waiting ON statement_entry (booked_on)
    WHERE assigned < amount AND aside IS NULL;

-- What a payment is of: the entry of a statement.
ALTER TABLE payment ADD COLUMN entry text;
CREATE INDEX payment_newest ON payment (recorded_at);

-- What was recorded stays: a mistake is taken back by a payment of its own.
CREATE FUNCTION payment_stands() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
    RAISE EXCEPTION 'a payment is never changed: take it back' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER payment_stands BEFORE UPDATE OR DELETE ON payment
    FOR EACH ROW EXECUTE FUNCTION payment_stands();

-- When the last of the letters was sent: so that no two reminders follow each other too closely.
ALTER TABLE invoice_told ADD COLUMN told_at timestamptz;

-- What customers pay by PayPal, from the button to the capture.
CREATE TABLE paypal_order (
    customer_id integer NOT NULL,
    order_id text NOT NULL UNIQUE,                      -- PayPal's
    number text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    asked_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,                             -- nothing more will come of it
    PRIMARY KEY (customer_id, order_id),
    FOREIGN KEY (customer_id, number) REFERENCES invoice
);
CREATE INDEX paypal_order_of_invoice ON paypal_order (customer_id, number);
