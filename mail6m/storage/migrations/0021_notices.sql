-- Notices: what is to be told and whether it has been, and who does not want to be told about what.

CREATE TABLE notice (
    customer_id integer NOT NULL REFERENCES customer ON DELETE CASCADE,
    kind text NOT NULL,                                 -- the name of a letter
    subject text NOT NULL,                              -- what it is about, among those of its kind
    address text NOT NULL DEFAULT '',                   -- whom it goes to; empty: whoever reads the customer's
    facts jsonb NOT NULL DEFAULT '{}',                  -- what the letter says of it
    due_at timestamptz NOT NULL DEFAULT now(),
    telling_at timestamptz,                             -- somebody is about to send it
    told_at timestamptz,
    PRIMARY KEY (customer_id, kind, subject)
);
CREATE INDEX notice_due ON notice (due_at) WHERE told_at IS NULL;

CREATE TABLE notice_refusal (
    customer_id integer NOT NULL REFERENCES customer ON DELETE CASCADE,
    address text NOT NULL,                              -- in lower case
    topic text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, address, topic)
);
