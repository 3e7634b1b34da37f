-- Money is counted once, however often word of it comes.

-- What entries of statements are known by in other files: with more columns, in another order, of another kind.
ALTER TABLE statement_entry ADD COLUMN account text NOT NULL DEFAULT '';    -- of ours, if it is said
ALTER TABLE statement_entry ADD COLUMN bank text NOT NULL DEFAULT '';       -- the bank's own reference
ALTER TABLE statement_entry ADD COLUMN said text[] NOT NULL DEFAULT '{}';   -- all else, piece by piece
UPDATE statement_entry SET said = array_remove(ARRAY[name, text, reference], '');
CREATE INDEX statement_entry_day ON statement_entry (booked_on);
CREATE INDEX payment_of_entry ON payment (entry) WHERE entry IS NOT NULL;

-- One order of an invoice may be captured at a time. The others are closed: PayPal forgets them after some hours.
ALTER TABLE paypal_order ADD COLUMN closed_at timestamptz;      -- it is never captured
ALTER TABLE paypal_order ADD COLUMN capturing_at timestamptz;   -- its money is being taken, or looked into
ALTER TABLE paypal_order ADD COLUMN looked_at timestamptz;      -- PayPal was asked about it by itself
UPDATE paypal_order o SET closed_at = now()
WHERE settled_at IS NULL AND EXISTS (
    SELECT FROM paypal_order later
    WHERE (later.customer_id, later.number) = (o.customer_id, o.number) AND later.settled_at IS NULL
      AND (later.created_at, later.order_id) > (o.created_at, o.order_id));
CREATE UNIQUE INDEX paypal_order_open ON paypal_order (customer_id, number)
    WHERE settled_at IS NULL AND closed_at IS NULL;
CREATE INDEX paypal_order_unsettled ON paypal_order (created_at) WHERE settled_at IS NULL;
