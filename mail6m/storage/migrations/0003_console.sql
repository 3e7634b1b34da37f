-- The console: who signs in, what they prefer, what they did.

ALTER TABLE account
    ADD CHECK (role IN ('administrator', 'reader')),
    ADD COLUMN totp_secret bytea,                       -- sealed; null: no second factor
    ADD COLUMN totp_step bigint NOT NULL DEFAULT 0,     -- the last one used: a code is good once
    ADD COLUMN recovery_hashes bytea[] NOT NULL DEFAULT '{}';

-- A session is found by its token before its customer is known, so the token is the key; only its
-- SHA-256 is kept. Until the second factor has been given it is not complete.
CREATE TABLE session (
    token_hash bytea PRIMARY KEY,
    session_id integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    customer_id integer NOT NULL,
    account_id integer NOT NULL,
    complete boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    client_address text NOT NULL,
    user_agent text NOT NULL,
    notices text[] NOT NULL DEFAULT '{}',               -- what the next page has to say
    totp_offered bytea,                                 -- sealed; one that waits for its first code
    FOREIGN KEY (customer_id, account_id) REFERENCES account ON DELETE CASCADE
);
CREATE INDEX session_account ON session (customer_id, account_id);

-- Letters that let somebody choose a password; only the SHA-256 of a token is kept.
CREATE TABLE password_token (
    token_hash bytea PRIMARY KEY,
    customer_id integer NOT NULL,
    account_id integer NOT NULL,
    expires_at timestamptz NOT NULL,
    FOREIGN KEY (customer_id, account_id) REFERENCES account ON DELETE CASCADE
);

-- Failures to sign in, by account or address (hashed: whether the account exists is all the same).
CREATE TABLE throttle (
    key bytea PRIMARY KEY,
    failures integer NOT NULL,
    since timestamptz NOT NULL
);

CREATE TABLE preferences (
    customer_id integer PRIMARY KEY REFERENCES customer,
    last_name text NOT NULL DEFAULT '',
    first_name text NOT NULL DEFAULT '',
    phone text NOT NULL DEFAULT '',
    fax text NOT NULL DEFAULT '',
    email text NOT NULL DEFAULT '',
    address text NOT NULL DEFAULT '',
    postcode text NOT NULL DEFAULT '',
    city text NOT NULL DEFAULT '',
    country text NOT NULL DEFAULT 'France',
    cabinet_rows integer NOT NULL DEFAULT 20,
    search_rows integer NOT NULL DEFAULT 30,
    disc_subscription boolean NOT NULL DEFAULT false,
    archive_spam boolean NOT NULL DEFAULT false,
    language text NOT NULL DEFAULT '',                  -- empty: as the browser asks
    time_zone text NOT NULL DEFAULT 'Europe/Paris',
    next_plan text,                                     -- from the day next_plan_on
    next_plan_on date
);
INSERT INTO preferences (customer_id, email)
SELECT customer_id, coalesce((SELECT email FROM account a WHERE a.customer_id = c.customer_id
                              ORDER BY account_id LIMIT 1), '')
FROM customer c WHERE customer_id <> 0;

CREATE TABLE whitelist (
    customer_id integer NOT NULL REFERENCES customer,
    domain text NOT NULL CHECK (domain = lower(domain)),    -- A-labels
    added_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, domain)
);

-- A domain that a customer says is theirs, until a TXT record proves it.
CREATE TABLE domain_claim (
    customer_id integer NOT NULL REFERENCES customer,
    name text NOT NULL CHECK (name = lower(name)),          -- A-labels
    token text NOT NULL,
    hosts text[] NOT NULL,
    tls text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, name)
);

-- What one customer's queue shows, however long the others' are: 100 octets of WAL for a delivery.
CREATE INDEX delivery_waiting ON delivery (customer_id, message_id, number) WHERE state = 0;

-- Who did what, when, from where. Rows are added, and never changed.
CREATE TABLE audit (
    customer_id integer NOT NULL,
    audit_id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT now(),
    account text NOT NULL,                              -- the address that signed in
    client_address text NOT NULL,
    act text NOT NULL,                                  -- model.Act
    object text NOT NULL DEFAULT '',                    -- on what: an id, a name, a count
    PRIMARY KEY (customer_id, audit_id)
);
