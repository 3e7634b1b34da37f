-- Keys of the API, which customers make for their programs.

-- Only the SHA-256 of a key is kept: it is 256 random bits, and nothing would be won by salting it.
CREATE TABLE api_token (
    customer_id integer NOT NULL REFERENCES customer ON DELETE CASCADE,
    token_id integer GENERATED ALWAYS AS IDENTITY,
    token_hash bytea NOT NULL UNIQUE,
    name text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,                           -- an account's address, which may be no more
    expires_at timestamptz,
    last_used_at timestamptz,                           -- to the minute
    PRIMARY KEY (customer_id, token_id)
);

-- What was done under an Idempotency-Key is not done again under it, for a day.
CREATE TABLE api_reissue (
    customer_id integer NOT NULL,
    token_id integer NOT NULL,
    key bytea NOT NULL,                                 -- SHA-256
    message_id uuid NOT NULL,
    deliveries integer NOT NULL,                        -- what was answered
    without_way text[] NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, token_id, key),
    FOREIGN KEY (customer_id, token_id) REFERENCES api_token ON DELETE CASCADE
);
